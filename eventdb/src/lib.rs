//! An event store on Amazon DynamoDB.

mod cloud_event;
#[cfg(feature = "cloudevents-sdk")]
mod cloudevents_sdk;
mod decimal;
mod event;
mod event_candidate;
pub mod item;
mod message;
mod precondition;
pub mod schema;
pub mod validation;

pub use event::{Event, EventBuilder, ExtensionValue};
pub use event_candidate::{EventCandidate, EventCandidateBuilder};
pub use item::InvalidItem;
pub use message::{ATTRIBUTE_TYPE, Message};
pub use precondition::{ExpectedState, Precondition, SubjectState};
