//! An event store on Amazon DynamoDB.

mod cloud_event;
#[cfg(feature = "cloudevents-sdk")]
mod cloudevents_sdk;
#[cfg(feature = "dynamodb")]
mod cursor;
mod decimal;
#[cfg(feature = "dynamodb")]
mod dynamodb;
#[cfg(feature = "embedded")]
mod embedded;
#[cfg(feature = "dynamodb")]
mod error;
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

#[cfg(feature = "dynamodb")]
pub use {
    cursor::{Cursor, CursorError},
    dynamodb::{
        AddEvents, AddNewEvents, CapacityMeter, ConsumedCapacity, EventDb, FetchEvent, FetchEvents,
        History, MissingRevisions,
    },
    error::{BoxError, Conflict, Error, IdReuse},
};

#[cfg(feature = "embedded")]
pub use embedded::{EmbeddedDynamoDb, EmbeddedError};
