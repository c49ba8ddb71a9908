//! An event store on Amazon DynamoDB: domain events as [CloudEvents], appended atomically, with
//! optimistic concurrency and a gapless revision per subject.
//!
//! ```
//! use eventdb::{EmbeddedDynamoDb, EventCandidate, EventDb, Precondition};
//! use serde_json::json;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // For a deployed table: let client = aws_sdk_dynamodb::Client::new(&config);
//! let dynamodb = EmbeddedDynamoDb::in_memory().await?;
//! let client = dynamodb.client();
//! EventDb::create_table(&client, "LibraryEvents").await?;
//! let db = EventDb::new(client, "LibraryEvents");
//!
//! let events = db
//!     .add_new_events([EventCandidate::builder()
//!         .source("https://library.example.com")
//!         .ty("book.borrowed")
//!         .subject("book:123")
//!         .data(json!({ "userId": "user:456", "dueDate": "2025-02-15" }))
//!         .build()])
//!     .only_if(Precondition::subject_is_pristine("book:123"))
//!     .await?;
//!
//! let history = db.fetch_events_for_subject("book:123").await?;
//! assert_eq!(history.events, events);
//! assert_eq!(history.events[0].revision, Some(1));
//! # Ok(())
//! # }
//! ```
//!
//! # Where things are
//!
//! - **The store**: [`EventDb`], with [`add_new_events`](EventDb::add_new_events) and
//!   [`add_events`](EventDb::add_events) to write, [`fetch_event`](EventDb::fetch_event),
//!   [`fetch_events_for_subject`](EventDb::fetch_events_for_subject),
//!   [`fetch_events_for_subject_and_type`](EventDb::fetch_events_for_subject_and_type) and
//!   [`fetch_all_events`](EventDb::fetch_all_events) to read.
//! - **Events**: [`EventCandidate`] is what a caller gives, [`Event`] what is stored. An event
//!   serializes to CloudEvents 1.0 JSON and is read from it.
//! - **Concurrency**: a [`Precondition`] makes an append depend on the state of any subject;
//!   [`Conflict`] tells the loser what is there.
//! - **Errors**: [`Error`], by what the caller can do; [`is_conflict`](Error::is_conflict) and
//!   [`is_retryable`](Error::is_retryable).
//! - **Paging**: a read collects all pages, or [streams](FetchEvents::stream) them; a [`Cursor`]
//!   resumes it. Rows that are no events come as [`InvalidItem`]s beside the others.
//! - **Costs**: a [`CapacityMeter`] adds up the units that DynamoDB reports.
//! - **Names and limits**: [`schema`] and [`validation`]; the items of the table: [`item`]; what
//!   subscribers get: [`Message`].
//! - **A database to try it on**: [`EmbeddedDynamoDb`].
//!
//! What a team builds on that:
//!
//! - **Typed events**: a serde enum as a [`DomainEvent`]; [`Upcaster`]s lift old shapes.
//! - **Aggregates**: an [`Aggregate`] folds a subject's events; a [`Repository`] loads it and
//!   [executes](Repository::execute) decisions on one subject or two, with [`Snapshots`] if wanted.
//! - **Tests of decisions**: [`testing`], given / when / then.
//! - **Read models**: a [`ReceivedMessage`] is an event and the store that it comes from; a
//!   [`Projection`] brings each once and in order to a [`ReadModel`], such as a
//!   [`DynamoDbReadModel`], and reads what it lacks from an [`EventReader`], such as the store.
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `dynamodb` (default) | the store, and read models in DynamoDB; without it events, messages and projections are left, and no AWS client is compiled |
//! | `embedded` | [`EmbeddedDynamoDb`], a DynamoDB inside the process |
//! | `testing` | [`testing`], given / when / then for decisions |
//! | `cloudevents-sdk` | `TryFrom` to and from the event of the crate `cloudevents-sdk` |
//!
//! # What it doesn't do
//!
//! It doesn't publish: the table's stream and the publisher function do. It doesn't delete or change
//! events. Reads of all events follow an index that is updated a moment later, and one partition
//! holds that index: some 1,000 write units per second in all.
//!
//! [CloudEvents]: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md

mod codec;
mod domain;
mod event;
pub mod schema;
#[cfg(feature = "dynamodb")]
mod store;
mod subscribe;

pub use codec::cursor::{Cursor, CursorError};
pub use codec::item::{self, InvalidItem};
pub use codec::message::{ATTRIBUTE_TYPE, Message};
pub use codec::received_message::{MessageError, ReceivedMessage};
pub use codec::store_id::{InvalidStoreId, StoreId};
pub use codec::validation;
pub use domain::aggregate::Aggregate;
pub use domain::domain_event::{
    DomainEvent, ShapeError, UnknownTypes, UnreadableEvent, UnwritableEvent,
};
#[cfg(feature = "testing")]
pub use domain::testing;
pub use domain::upcaster::{Shape, Upcaster};
pub use event::candidate::{EventCandidate, EventCandidateBuilder};
pub use event::{BoxError, Event, EventBuilder, ExtensionValue};
pub use subscribe::event_reader::{EventReader, NoEventReader, SubjectRow, SubjectRows};
pub use subscribe::projection::{FailedMessage, OtherStore, Projection, ProjectionError};
pub use subscribe::read_model::{ApplyOutcome, Position, ReadModel, Step};

#[cfg(feature = "dynamodb")]
pub use {
    domain::repository::{
        EventsRead, ExecuteError, Executed, LoadError, Loaded, Repository, SnapshotError,
        SnapshotWrite, Snapshots,
    },
    store::error::{CompleteEvent, Conflict, Error, IdReuse, StoredEvent, UnsettledEvents},
    store::precondition::{ExpectedState, Precondition, SubjectState},
    store::{
        AddEvents, AddNewEvents, CapacityMeter, ConsumedCapacity, EventDb, FetchEvent, FetchEvents,
        History, MissingRevisions, TimeLimits,
    },
    subscribe::dynamodb_read_model::{DynamoDbReadModel, PositionTable, ReadModelError},
};

#[cfg(feature = "embedded")]
pub use store::embedded::{EmbeddedDynamoDb, EmbeddedError};

/// Every Rust snippet of the README and of the guide, run as a test.
#[cfg(doctest)]
mod guide {
    #[doc = include_str!("../../README.md")]
    struct Readme;
    #[doc = include_str!("../../docs/getting-started.md")]
    struct GettingStarted;
    #[doc = include_str!("../../docs/writing-and-reading.md")]
    struct WritingAndReading;
    #[doc = include_str!("../../docs/modelling.md")]
    struct Modelling;
    #[doc = include_str!("../../docs/consuming.md")]
    struct Consuming;
    #[doc = include_str!("../../docs/migrating.md")]
    struct Migrating;
    #[doc = include_str!("../../docs/operating.md")]
    struct Operating;
}
