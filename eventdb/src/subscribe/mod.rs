//! The subscriber's side: each event once and in order, to a read model.
//!
//! Nothing here needs the AWS SDK but what is behind the feature `dynamodb`.

#[cfg(feature = "dynamodb")]
pub(crate) mod dynamodb_read_model;
#[cfg(feature = "dynamodb")]
mod event_db;
pub(crate) mod event_reader;
pub(crate) mod projection;
pub(crate) mod read_model;
