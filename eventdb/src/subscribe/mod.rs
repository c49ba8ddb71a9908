//! The subscriber's side: each event once and in order, to a read model.

pub(crate) mod dynamodb_read_model;
pub(crate) mod projection;
