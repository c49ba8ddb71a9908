//! What a team builds its decisions on: typed events, aggregates, their repository.

pub(crate) mod aggregate;
pub(crate) mod domain_event;
mod json;
#[cfg(feature = "dynamodb")]
pub(crate) mod repository;
#[cfg(feature = "testing")]
pub mod testing;
pub(crate) mod upcaster;
