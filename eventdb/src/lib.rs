//! An event store on Amazon DynamoDB: domain events as [CloudEvents], appended atomically, with
//! optimistic concurrency and a gapless revision per subject.
//!
//! ```
//! use eventdb::serde_json::json;
//! use eventdb::{EmbeddedDynamoDb, EventCandidate, EventDb, Precondition};
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
//!   [`fetch_events_for_subject_and_type`](EventDb::fetch_events_for_subject_and_type),
//!   [`fetch_all_events`](EventDb::fetch_all_events) and [`fetch_trace`](EventDb::fetch_trace) (what
//!   caused what) to read.
//! - **Events**: you append an [`EventCandidate`], and the store returns it as an [`Event`]. An event
//!   can be serialized to CloudEvents 1.0 JSON and read from it.
//! - **Concurrency**: a [`Precondition`] makes an append depend on the state of any subject. If it
//!   doesn't hold, the [`Conflict`] contains the actual state.
//! - **Errors**: [`Error`] is classified by what you can do about it:
//!   [`is_conflict`](Error::is_conflict) and [`is_retryable`](Error::is_retryable).
//! - **Paging**: a read collects all pages, or [streams](FetchEvents::stream) them. A [`Cursor`]
//!   resumes it. Rows that can't be read as events are returned as [`InvalidItem`]s.
//! - **Costs**: a [`CapacityMeter`] adds up the capacity units that DynamoDB reports.
//! - **A database for experiments and tests**: [`EmbeddedDynamoDb`].
//!
//! To build services on the store:
//!
//! - **Typed events**: a serde enum is a [`DomainEvent`], and [`Upcaster`]s convert old shapes.
//! - **Aggregates**: an [`Aggregate`] folds the events of a subject. A [`Repository`] loads it and
//!   [executes](Repository::execute) decisions on one or two subjects, with [`Snapshots`] if needed.
//!   [`EventDb::decision`] decides over any number.
//! - **Tests of decisions**: [`testing`], with given, when and then.
//! - **Read models**: a [`ReceivedMessage`] is an event and the store that it comes from. A
//!   [`Projection`] passes each event once and in order to a [`ReadModel`], such as a
//!   [`DynamoDbReadModel`]. It reads missing events from an [`EventReader`], such as the store.
//! - **The feed**: [`Feed`] reads which events were published, in an order that can be
//!   [followed](Feed::follow) from a [`FeedCursor`], without missing one.
//!
//! # Versions of other crates
//!
//! Types of other crates that occur in this API are re-exported, so that you don't need to find out
//! the right versions: [`chrono`], [`serde_json`], [`serde_dynamo`], [`futures_util`], and
//! `aws_sdk_dynamodb` with the feature `dynamodb`.
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `dynamodb` (default) | the store, and read models in DynamoDB; without it, the crate has only events, messages and projections, and compiles no AWS client |
//! | `embedded` | [`EmbeddedDynamoDb`], a DynamoDB emulator in the process |
//! | `testing` | [`testing`], tests of decisions with given, when and then |
//! | `cloudevents-sdk` | `TryFrom` to and from the event of the crate `cloudevents-sdk` |
//!
//! # What it doesn't do
//!
//! - It doesn't publish events: the table's stream and the publisher function do.
//! - It doesn't delete events, and changes them only to [erase](EventDb::erase) their data.
//! - Reads of all events use an index that is updated shortly after the table. That index has a
//!   single partition, which limits a store to about 1,000 write units per second.
//!
//! [CloudEvents]: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md

mod codec;
mod domain;
mod event;
#[cfg(feature = "dynamodb")]
mod feed;
mod schema;
#[cfg(feature = "dynamodb")]
mod store;
mod subscribe;

pub use codec::cursor::{Cursor, CursorError};
pub use codec::feed::chunk::InvalidFeedItem;
pub use codec::feed::cursor::FeedCursor;
pub use codec::feed::entry::{FeedEntry, Listing};
pub use codec::item::InvalidItem;
pub use codec::message::Message;
pub use codec::received_message::{MessageError, ReceivedMessage};
pub use codec::store_id::{InvalidStoreId, StoreId};
pub use codec::validation::{ValidationError, ValidationErrors};
pub use domain::aggregate::Aggregate;
pub use domain::domain_event::{
    DomainEvent, ShapeError, UnknownTypes, UnreadableEvent, UnwritableEvent,
};
#[cfg(feature = "testing")]
pub use domain::testing;
pub use domain::upcaster::{Shape, Upcaster};
pub use event::candidate::{EventCandidate, EventCandidateBuilder};
pub use event::data::EventData;
pub use event::metadata::Metadata;
pub use event::{BoxError, Event, EventBuilder, ExtensionValue};
pub use subscribe::box_read_model::{BoxReadModel, BoxReadModelError};
pub use subscribe::event_reader::{EventReader, NoEventReader, SubjectRow, SubjectRows};
pub use subscribe::projection::{FailedMessage, OtherStore, Projection, ProjectionError};
pub use subscribe::read_model::{
    ApplyOutcome, Parked, ParkingReadModel, Position, ReadModel, Step,
};

#[cfg(feature = "dynamodb")]
pub use {
    domain::repository::{
        Decided, Decision, DecisionRequest, EventsRead, Execute, ExecuteError, ExecuteWith,
        Executed, LoadError, Loaded, Repository, SnapshotError, SnapshotWrite, Snapshots,
    },
    feed::Feed,
    feed::error::FeedError,
    feed::events::{FeedEventsPage, FollowEvents, MissingEvent, MissingReason},
    feed::examine::{Examination, Examine, Finding, Problem},
    feed::follow::{FeedPage, Follow},
    feed::verify::adopt::{Adopt, Adoption},
    feed::verify::stored::InvalidRow,
    feed::verify::subjects::{Damage, DamagedSubject},
    feed::verify::{Verification, VerificationRounds, Verify},
    store::error::{CompleteEvent, Conflict, Error, IdReuse, StoredEvent, UnsettledEvents},
    store::precondition::{ExpectedState, KnownRevision, Precondition, SubjectState},
    store::{
        AddEvents, AddNewEvents, CapacityMeter, ConsumedCapacity, CopyError, CopyEvents,
        CopyReport, CreateTable, Erase, ErasedEvent, Erasure, EventDb, Export, ExportCursor,
        ExportPage, FetchEvent, FetchEvents, FetchSubjects, FetchTrace, History, Import,
        ImportError, ImportMisfit, ImportReport, InvalidTableLayout, ListedSubject, Misfit,
        MissingCause, MissingRevisions, Subjects, TableLayout, TimeLimits, Trace, TraceLine,
        TracedEvent,
    },
    subscribe::dynamodb_read_model::{
        DynamoDbReadModel, ParkedSubject, PositionTable, ReadModelError,
    },
    subscribe::fill::{FillError, FillProgress},
    subscribe::lag::{Lag, LagError},
    subscribe::positions::{
        ExaminePositionsError, PositionExamination, PositionFinding, PositionProblem,
        StoredPosition,
    },
    subscribe::wait::WaitError,
};

#[cfg(feature = "embedded")]
pub use store::embedded::{EmbeddedDynamoDb, EmbeddedError};

// Other crates whose types occur in this API.
#[cfg(feature = "dynamodb")]
pub use aws_sdk_dynamodb;
pub use {chrono, futures_util, serde_dynamo, serde_json};

/// For the publisher function and for this project's tests and tools.
///
/// It isn't part of the public API, and can change in any release.
#[doc(hidden)]
pub mod internals {
    pub use crate::codec::feed;
    pub use crate::codec::fifo;
    pub use crate::codec::item;
    pub use crate::codec::message::ATTRIBUTE_TYPE;
    pub use crate::codec::validation;

    /// The names and limits in `eventdb/schema.json`.
    pub mod schema {
        pub use crate::schema::*;
    }
}

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
    #[doc = include_str!("../../docs/feed.md")]
    struct FollowingTheFeed;
    #[doc = include_str!("../../docs/rebuilding.md")]
    struct Rebuilding;
    #[doc = include_str!("../../docs/migrating.md")]
    struct Migrating;
    #[doc = include_str!("../../docs/operating.md")]
    struct Operating;
}
