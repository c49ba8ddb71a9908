//! The behaviour that any DynamoDB must let the store have.
//!
//! The suite runs on an embedded database of its own for each test or, with
//! `AWS_ENDPOINT_URL_DYNAMODB` set, on tables of its own in the database there.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    reason = "a test fails by a panic"
)]

mod aggregates;
mod idempotence;
mod legacy;
mod library;
mod limits;
mod model;
mod preconditions;
mod races;
mod read_models;
mod reading;
mod snapshots;
mod support;
mod writing;
