//! The behaviour of the store on any implementation of DynamoDB.
//!
//! Each test uses a separate embedded database. If `AWS_ENDPOINT_URL_DYNAMODB` is set, each test uses
//! separate tables in the database at that address.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    missing_docs,
    reason = "a test fails by a panic"
)]

mod aggregates;
mod commands;
mod copying;
mod decisions;
mod feed;
mod filling;
mod idempotence;
mod layouts;
mod legacy;
mod library;
mod limits;
mod long_subjects;
mod model;
mod positions;
mod preconditions;
mod races;
mod read_models;
mod reading;
mod snapshots;
mod subjects;
mod support;
mod unlisted_subjects;
mod verify;
mod verify_races;
mod writing;
