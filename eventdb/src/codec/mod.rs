//! The other forms of an event: an item of the table, CloudEvents JSON, a message.

mod attributes;
pub(crate) mod cloud_event;
#[cfg(feature = "cloudevents-sdk")]
mod cloudevents_sdk;
pub(crate) mod cursor;
pub mod feed;
pub mod fifo;
pub mod item;
pub(crate) mod message;
pub(crate) mod received_message;
pub(crate) mod store_id;
pub mod validation;
