//! What the store does when the way to the database fails: requests and answers are lost, answered
//! with errors, or changed, between the unmodified client and the embedded database.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    reason = "a test fails by a panic"
)]

#[path = "../common/mod.rs"]
mod common;

mod commands;
mod errors;
mod lost_answers;
mod reading;
mod repetitions;
mod settling;
mod world;
