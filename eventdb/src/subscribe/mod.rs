//! The subscriber's side: passing each event once and in order to a read model.
//!
//! Only the parts behind the feature `dynamodb` need the AWS SDK.

pub(crate) mod box_read_model;
#[cfg(feature = "dynamodb")]
pub(crate) mod dynamodb_read_model;
#[cfg(feature = "dynamodb")]
mod event_db;
pub(crate) mod event_reader;
#[cfg(feature = "dynamodb")]
pub(crate) mod fill;
#[cfg(feature = "dynamodb")]
pub(crate) mod lag;
#[cfg(feature = "dynamodb")]
pub(crate) mod positions;
pub(crate) mod projection;
pub(crate) mod read_model;
#[cfg(feature = "dynamodb")]
pub(crate) mod wait;
