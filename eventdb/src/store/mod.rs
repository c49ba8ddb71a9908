//! The store itself. Only this folder knows the DynamoDB client.

pub(crate) mod append;
pub(crate) mod capacity;
mod create_table;
#[cfg(feature = "embedded")]
pub(crate) mod embedded;
pub(crate) mod error;
pub(crate) mod failure;
pub(crate) mod head;
mod identity;
pub(crate) mod precondition;
pub(crate) mod read;
pub(crate) mod retry;
mod snapshot;
pub(crate) mod table;

use std::fmt;

use aws_sdk_dynamodb::Client;

pub use append::{AddEvents, AddNewEvents};
pub use capacity::{CapacityMeter, ConsumedCapacity};
pub use read::fetch_event::FetchEvent;
pub use read::fetch_events::{FetchEvents, History, MissingRevisions};
pub use retry::TimeLimits;
pub(crate) use snapshot::Snapshot;

use crate::codec::validation;
use crate::event::candidate::EventCandidate;
use crate::store::error::{CompleteEvent, Error};
use crate::store::table::Table;

/// An event store in one DynamoDB table.
///
/// It is cheap to clone; make one per table and share it. Every operation returns a request that
/// can be refined before it is awaited, and sends nothing until then.
///
/// ```no_run
/// use eventdb::{EventCandidate, EventDb, Precondition};
/// use serde_json::json;
///
/// # async fn example(client: aws_sdk_dynamodb::Client) -> Result<(), eventdb::Error> {
/// let db = EventDb::new(client, "LibraryEvents");
/// let events = db
///     .add_new_events([EventCandidate::builder()
///         .source("https://library.example.com")
///         .ty("book.borrowed")
///         .subject("book:123")
///         .data(json!({ "userId": "user:456", "dueDate": "2025-02-15" }))
///         .build()])
///     .only_if(Precondition::subject_is_pristine("book:123"))
///     .await?;
/// assert_eq!(events[0].revision, Some(1));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct EventDb {
    table: Table,
}

impl fmt::Debug for EventDb {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("EventDb").field("table", &self.table.name()).finish_non_exhaustive()
    }
}

impl EventDb {
    /// The store in the table of the given name, which should exist: [`create_table`] makes one for
    /// local work, the CDK construct `EventDB` deploys one.
    ///
    /// The store repeats its requests itself, within its [`TimeLimits`]; the client's own retries
    /// and time-outs aren't used. New events get their times from the client's time source, the
    /// system's clock unless
    /// [`Config::time_source`](aws_sdk_dynamodb::config::Builder::time_source) is set.
    ///
    /// [`create_table`]: Self::create_table
    ///
    /// ```no_run
    /// # async fn example(client: aws_sdk_dynamodb::Client) {
    /// let db = eventdb::EventDb::new(client, "LibraryEvents");
    /// # }
    /// ```
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { table: Table::new(client, table) }
    }

    /// The table that the store is in.
    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// The same store with other time limits.
    ///
    /// ```no_run
    /// # use eventdb::{EventDb, TimeLimits};
    /// use std::time::Duration;
    ///
    /// # fn example(db: EventDb) {
    /// let db = db.with_time_limits(TimeLimits::default().operation(Duration::from_secs(10)));
    /// # }
    /// ```
    #[must_use]
    pub fn with_time_limits(&self, limits: TimeLimits) -> Self {
        Self { table: self.table.within(limits) }
    }

    /// The same store, which takes events whose messages have up to so many bytes, attributes
    /// included: from 262,144 ([`MESSAGE_BYTES`], the default) to 1,048,576
    /// ([`LARGEST_MESSAGE_BYTES`]).
    ///
    /// Give what the store was deployed with (`maxMessageBytes` of the CDK construct `EventDB`). An
    /// append refuses an event that the topic couldn't take. With a higher limit here than there,
    /// such an event is stored and never published: it ends up in the failure bucket.
    ///
    /// An item of DynamoDB still has at most 400 KB. Text that JSON escapes, such as quotation marks
    /// and line breaks, takes two bytes or more in the message and fewer in the item.
    ///
    /// [`MESSAGE_BYTES`]: crate::schema::limit::MESSAGE_BYTES
    /// [`LARGEST_MESSAGE_BYTES`]: crate::schema::limit::LARGEST_MESSAGE_BYTES
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for any other number.
    ///
    /// ```no_run
    /// # fn example(client: aws_sdk_dynamodb::Client) -> Result<(), eventdb::Error> {
    /// let db = eventdb::EventDb::new(client, "LibraryEvents").with_message_limit(1_048_576)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_message_limit(&self, bytes: usize) -> Result<Self, Error> {
        validation::check_message_limit(bytes)?;
        Ok(Self { table: self.table.with_message_bytes(bytes) })
    }

    /// The same store, whose operations also add what they consume to the given meter.
    ///
    /// ```no_run
    /// # async fn example(db: eventdb::EventDb) -> Result<(), eventdb::Error> {
    /// let meter = eventdb::CapacityMeter::new();
    /// db.metered_by(&meter).fetch_events_for_subject("book:123").await?;
    /// println!("{} read units", meter.total().read_units);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn metered_by(&self, meter: &CapacityMeter) -> Self {
        Self { table: self.table.metered_by(meter) }
    }

    /// Appends events, giving each a time, its subject's next revision and, unless it has one, an
    /// id; the request yields them in the given order, as they are stored.
    ///
    /// All of them are stored or none, over any number of subjects. The times are those of the
    /// client's clock, and a subject's strictly increase by at least 1 ms, so a burst runs a little
    /// ahead of it. An empty append succeeds.
    ///
    /// Where other writers are first on a subject without a precondition, the append waits, learns
    /// where the subject stands now, and tries again, as long as its [`TimeLimits`] allow. Dropping
    /// the request while it runs is safe, but leaves open whether the append happens.
    ///
    /// # Cost
    /// One transaction of one action per subject and one per event, at most 100 actions and 4 MB:
    /// 3 write units for each KB of an event and 2 more for its other index entries, and 2 per
    /// subject; an id of the caller's own takes one action and 2 units more, and so does a
    /// precondition on a subject that isn't written, but for a read unit where it is pristine. One
    /// read unit per subject, unless its revision is stated by a precondition, and one more each
    /// time that others are first; one more for a subject's first event, which looks for legacy
    /// rows.
    ///
    /// # Errors
    /// All but [`Error::NotNewer`], [`Error::OtherRevision`], [`Error::Cursor`] and
    /// [`Error::InvalidItem`]. [`Error::OutOfOrder`] only where the original library wrote the
    /// subject first.
    ///
    /// [`Error::NotNewer`]: crate::Error::NotNewer
    /// [`Error::OtherRevision`]: crate::Error::OtherRevision
    /// [`Error::OutOfOrder`]: crate::Error::OutOfOrder
    /// [`Error::Cursor`]: crate::Error::Cursor
    /// [`Error::InvalidItem`]: crate::Error::InvalidItem
    ///
    /// ```no_run
    /// # use eventdb::{EventCandidate, EventDb};
    /// # async fn example(db: EventDb, candidates: Vec<EventCandidate>) -> Result<(), eventdb::Error> {
    /// let events = db.add_new_events(candidates).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn add_new_events(
        &self,
        candidates: impl IntoIterator<Item = EventCandidate>,
    ) -> AddNewEvents {
        AddNewEvents::new(self.table.clone(), candidates.into_iter().collect())
    }

    /// Appends complete events, whose id and time are given; the request yields them with their
    /// revisions, in the given order.
    ///
    /// They must be newer than the last event of their subject and, within a subject, in the order
    /// of their times. Sending the same events again finds them and stores no second copy, whenever
    /// it happens.
    ///
    /// An event that states a revision, as those read from another store do, is stored at that
    /// revision or not at all. A copied history therefore keeps its revisions, or the copy stops.
    ///
    /// # Cost
    /// As [`add_new_events`](Self::add_new_events).
    ///
    /// # Errors
    /// As [`add_new_events`](Self::add_new_events), [`Error::NotNewer`](crate::Error::NotNewer) and
    /// [`Error::OtherRevision`](crate::Error::OtherRevision).
    ///
    /// ```no_run
    /// # use eventdb::{Event, EventDb};
    /// use chrono::Utc;
    /// use serde_json::json;
    ///
    /// # async fn example(db: EventDb) -> Result<(), eventdb::Error> {
    /// let event = Event::builder()
    ///     .id("evt-abc-123")
    ///     .time(Utc::now())
    ///     .source("https://library.example.com")
    ///     .ty("book.returned")
    ///     .subject("book:123")
    ///     .data(json!({ "userId": "user:456" }))
    ///     .build();
    /// let stored = db.add_events([event]).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn add_events<E: Into<CompleteEvent>>(
        &self,
        events: impl IntoIterator<Item = E>,
    ) -> AddEvents {
        AddEvents::new(self.table.clone(), events.into_iter().map(Into::into).collect())
    }

    /// Reads one event by its id; the request yields `None` when there is none.
    ///
    /// The index that finds it is updated a moment after the table, so an event that was stored
    /// just now may not be found yet. Ids are unique only within a source; where several sources
    /// use the same one, the oldest event is returned unless
    /// [`from_source`](FetchEvent::from_source) chooses.
    ///
    /// # Cost
    /// Half a read unit for the index and, for each event with the id that is looked at, 1 read
    /// unit per 4 KB.
    ///
    /// # Errors
    /// [`Error::InvalidItem`] when its row can't be read; [`Error::Invalid`] when the id is empty or
    /// longer than 2,048 bytes; [`Error::Unavailable`] and [`Error::Refused`].
    ///
    /// [`Error::Invalid`]: crate::Error::Invalid
    /// [`Error::InvalidItem`]: crate::Error::InvalidItem
    /// [`Error::Unavailable`]: crate::Error::Unavailable
    /// [`Error::Refused`]: crate::Error::Refused
    ///
    /// ```no_run
    /// # async fn example(db: eventdb::EventDb) -> Result<(), eventdb::Error> {
    /// if let Some(event) = db.fetch_event("evt-abc-123").await? {
    ///     println!("{}", event.ty);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn fetch_event(&self, id: impl Into<String>) -> FetchEvent {
        FetchEvent::new(self.table.clone(), id.into())
    }

    /// Reads the events of a subject in the order of their revisions, strongly consistent.
    ///
    /// Any subject that is in the table can be read, also one that new events can't have. Events
    /// that another writer stored without a revision stand among the others in the order of their
    /// sort keys; a subject that has only such events is read in the order of their times.
    ///
    /// # Cost
    /// 1 read unit per 4 KB, summed over each page of at most 1 MB. Where the first page holds no
    /// revision and isn't the whole subject, 1 read unit more for the subject's head; without a
    /// head the keys of the whole subject are read, too, which costs as much as the subject.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the subject is empty, longer than 2,048 bytes or one of the store's
    /// own items; [`Error::Cursor`], [`Error::Unavailable`] and [`Error::Refused`].
    ///
    /// [`Error::Invalid`]: crate::Error::Invalid
    /// [`Error::Cursor`]: crate::Error::Cursor
    /// [`Error::Unavailable`]: crate::Error::Unavailable
    /// [`Error::Refused`]: crate::Error::Refused
    ///
    /// ```no_run
    /// # async fn example(db: eventdb::EventDb) -> Result<(), eventdb::Error> {
    /// let history = db.fetch_events_for_subject("book:123").await?;
    /// for event in &history.events {
    ///     println!("{:?} {}", event.revision, event.ty);
    /// }
    /// let last = db.fetch_events_for_subject("book:123").backwards().limit(1).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn fetch_events_for_subject(&self, subject: impl Into<String>) -> FetchEvents {
        FetchEvents::of_subject(self.table.clone(), subject.into())
    }

    /// Reads the events of one type of a subject in the order of their revisions, strongly
    /// consistent.
    ///
    /// Every event of the type is read whatever the refinements, because the index promises no
    /// order: they are sorted here, and held in memory meanwhile.
    ///
    /// # Cost
    /// 1 read unit per 4 KB of the index's keys, and 1 per 4 KB of each event, rounded up for each.
    ///
    /// # Errors
    /// As [`fetch_events_for_subject`](Self::fetch_events_for_subject).
    ///
    /// ```no_run
    /// # async fn example(db: eventdb::EventDb) -> Result<(), eventdb::Error> {
    /// let borrowed = db.fetch_events_for_subject_and_type("book:123", "book.borrowed").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn fetch_events_for_subject_and_type(
        &self,
        subject: impl Into<String>,
        ty: impl Into<String>,
    ) -> FetchEvents {
        FetchEvents::of_subject_and_type(self.table.clone(), subject.into(), ty.into())
    }

    /// Reads the events of all subjects in the order of their times.
    ///
    /// The index is updated a moment after the table, and an event with an earlier time may appear
    /// in it after one with a later time. Whoever follows the store this way should read again from
    /// a little before the last time, or subscribe to the published events instead.
    ///
    /// # Cost
    /// Half a read unit per 4 KB, summed over each page of at most 1 MB.
    ///
    /// # Errors
    /// As [`fetch_events_for_subject`](Self::fetch_events_for_subject).
    ///
    /// ```no_run
    /// use futures_util::TryStreamExt;
    ///
    /// # async fn example(db: eventdb::EventDb) -> Result<(), eventdb::Error> {
    /// let yesterday = chrono::Utc::now() - chrono::TimeDelta::days(1);
    /// let mut pages = db.fetch_all_events().since(yesterday).stream();
    /// while let Some(page) = pages.try_next().await? {
    ///     println!("{} events", page.events.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn fetch_all_events(&self) -> FetchEvents {
        FetchEvents::of_all(self.table.clone())
    }
}
