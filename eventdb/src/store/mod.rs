//! The store. It reads and writes the table with the DynamoDB client.

pub(crate) mod append;
pub(crate) mod capacity;
pub(crate) mod command;
pub(crate) mod concurrently;
pub(crate) mod copy;
mod create_table;
#[cfg(feature = "embedded")]
pub(crate) mod embedded;
pub(crate) mod erase;
pub(crate) mod error;
pub(crate) mod export;
pub(crate) mod failure;
mod identity;
pub(crate) mod items;
pub(crate) mod layout;
mod mismatch;
pub(crate) mod precondition;
pub(crate) mod read;
pub(crate) mod retry;
pub(crate) mod snapshot;
pub(crate) mod table;

use std::fmt;

use aws_sdk_dynamodb::Client;

pub use append::{AddEvents, AddNewEvents};
pub use capacity::{CapacityMeter, ConsumedCapacity};
pub use copy::import::Import;
pub use copy::import::report::{ImportError, ImportMisfit, ImportReport};
pub use copy::{CopyError, CopyEvents, CopyReport, Misfit};
pub use create_table::CreateTable;
pub use erase::{Erase, ErasedEvent, Erasure};
pub use export::{Export, ExportCursor, ExportPage};
pub use layout::{InvalidTableLayout, TableLayout};
pub(crate) use precondition::KnownRevision;
pub use read::fetch_event::FetchEvent;
pub use read::fetch_events::{FetchEvents, History, MissingRevisions};
pub use read::fetch_subjects::{FetchSubjects, ListedSubject, Subjects};
pub use read::fetch_trace::{FetchTrace, Trace};
pub use read::trace::{MissingCause, TraceLine, TracedEvent};
pub use retry::TimeLimits;

use crate::codec::validation;
use crate::event::Event;
use crate::event::candidate::EventCandidate;
use crate::store::error::{CompleteEvent, Error};
use crate::store::table::Table;

/// An event store in one DynamoDB table.
///
/// It is cheap to clone, so create one per table and share it. Every operation returns a request. You
/// can refine the request before you await it, and nothing is sent before that.
///
/// ```no_run
/// use eventdb::{EventCandidate, EventDb, Precondition};
/// use eventdb::serde_json::json;
///
/// # async fn example(client: eventdb::aws_sdk_dynamodb::Client) -> Result<(), eventdb::Error> {
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
    /// The store in the table with the given name. The table should exist: [`create_table`] creates
    /// one for local work, and the CDK construct `EventDB` deploys one.
    ///
    /// The store retries requests within its [`TimeLimits`] and doesn't use the client's retries and
    /// time-outs. New events get their times from the client's time source. That is the system clock
    /// unless [`Config::time_source`](aws_sdk_dynamodb::config::Builder::time_source) is set.
    ///
    /// [`create_table`]: Self::create_table
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { table: Table::new(client, table).with_layout(TableLayout::default()) }
    }

    pub(crate) fn of_table(table: Table) -> Self {
        Self { table }
    }

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

    /// The same store with another size limit for the messages of events, including their
    /// attributes: from 262,144 bytes (the default) to 1,048,576 bytes.
    ///
    /// Use the value with which the store is deployed (`maxMessageBytes` of the CDK construct
    /// `EventDB`). An append refuses events that the topic wouldn't accept. If the limit here is
    /// higher than that of the topic, larger events are stored but never published: they go to the
    /// failure bucket.
    ///
    /// A DynamoDB item still has at most 400 KB. Characters that JSON escapes, such as quotation
    /// marks and line breaks, take more bytes in the message than in the item.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for any other number.
    ///
    /// ```no_run
    /// # fn example(client: eventdb::aws_sdk_dynamodb::Client) -> Result<(), eventdb::Error> {
    /// let db = eventdb::EventDb::new(client, "LibraryEvents").with_message_limit(1_048_576)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_message_limit(&self, bytes: usize) -> Result<Self, Error> {
        validation::check_message_limit(bytes)?;
        Ok(Self { table: self.table.with_message_bytes(bytes) })
    }

    /// The same store in a table with this layout. Default: [`TableLayout::ByTime`].
    ///
    /// The layout is a property of the table. If the table has the other one, the first request is
    /// refused, and the error says so.
    ///
    /// ```no_run
    /// # fn example(client: eventdb::aws_sdk_dynamodb::Client) {
    /// use eventdb::{EventDb, TableLayout};
    ///
    /// let db = EventDb::new(client, "LibraryEvents").with_layout(TableLayout::ByRevision);
    /// # }
    /// ```
    #[must_use]
    pub fn with_layout(&self, layout: TableLayout) -> Self {
        Self { table: self.table.with_layout(layout) }
    }

    /// The same store, but its operations also add their consumed capacity to the given meter.
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

    /// Appends new events. Each gets a time, the next revision of its subject and, if it has none, an
    /// id. The request returns the stored events in the given order.
    ///
    /// Either all events are stored or none, for any number of subjects. Times come from the client's
    /// clock. Within a subject, they increase by at least 1 ms, so the times of a burst can run
    /// slightly ahead of the clock. An append without events succeeds.
    ///
    /// If other writers are first on a subject without a precondition, the append waits, reads where
    /// the subject ends now, and tries again until its [`TimeLimits`] are reached. It is safe to drop
    /// the request while it runs, but then the append may or may not happen.
    ///
    /// # Cost
    /// One transaction with one action per subject and one per event, at most 100 actions and 4 MB.
    ///
    /// - Per event: 3 write units for each KB, and 2 write units for the other index entries.
    /// - Per subject: 2 write units. 1 read unit, unless a precondition states its revision, and 1
    ///   more each time that other writers are first. 1 write unit for the first event of a subject, to
    ///   list it, and 1 read unit to look for legacy rows.
    /// - Per id that you choose: 1 action and 2 write units.
    /// - Per precondition on a subject that isn't written: 1 action and 2 write units, and 1 read unit
    ///   if the subject must be pristine.
    ///
    /// # Errors
    /// All except [`Error::NotNewer`], [`Error::OtherRevision`], [`Error::Cursor`] and
    /// [`Error::InvalidItem`]. [`Error::OutOfOrder`] occurs only if the original library wrote the
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

    /// Appends complete events, which already have an id and a time. The request returns the stored
    /// events with their revisions, in the given order.
    ///
    /// The events must be newer than the last event of their subject and, within a subject, in the
    /// order of their times. If you send the same events again, at any time, the store finds them
    /// and doesn't store a second copy.
    ///
    /// If an event states a revision, as events from another store do, it is stored at that revision
    /// or not at all. So a copied history keeps its revisions, or the copy stops.
    ///
    /// # Cost
    /// As for [`add_new_events`](Self::add_new_events).
    ///
    /// # Errors
    /// As for [`add_new_events`](Self::add_new_events), and
    /// [`Error::NotNewer`](crate::Error::NotNewer) and
    /// [`Error::OtherRevision`](crate::Error::OtherRevision).
    ///
    /// ```no_run
    /// # use eventdb::{Event, EventDb};
    /// use eventdb::chrono::Utc;
    /// use eventdb::serde_json::json;
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

    /// Reads one event by its id. The request returns `None` if there is no such event.
    ///
    /// It uses an index that is updated shortly after the table, so an event that has just been
    /// stored may not be found yet. Ids are unique only within a source. If several sources use the
    /// same id, the request returns the oldest event, unless you choose one with
    /// [`from_source`](FetchEvent::from_source).
    ///
    /// # Cost
    /// Half a read unit for the index, and 1 read unit per 4 KB of each event that has the id.
    ///
    /// # Errors
    /// [`Error::InvalidItem`] if the row can't be read; [`Error::Invalid`] if the id is empty or
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
    /// You can read any subject in the table, even one that new events can't have. Events that
    /// another writer stored without a revision appear among the others in the order of their sort
    /// keys. If a subject has only such events, they are read in the order of their times.
    ///
    /// # Cost
    /// 1 read unit per 4 KB, summed over each page of at most 1 MB. If the first page contains no
    /// revision and isn't the whole subject, 1 more read unit for the subject's head. If there is no
    /// head either, the keys of the whole subject are read, which costs as much as the subject.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the subject is empty, longer than 2,048 bytes or reserved for the
    /// store's own items; [`Error::Cursor`], [`Error::Unavailable`] and [`Error::Refused`].
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
    /// The index doesn't guarantee an order. So the request always reads all events of the type,
    /// holds them in memory and sorts them, even if it has a limit or a cursor.
    ///
    /// # Cost
    /// 1 read unit per 4 KB of the index's keys, and 1 per 4 KB of each event, rounded up for each.
    ///
    /// # Errors
    /// As for [`fetch_events_for_subject`](Self::fetch_events_for_subject).
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
    /// The index is updated shortly after the table, and an event with an earlier time can appear in
    /// it after an event with a later time. If you poll for new events this way, start each read a
    /// little before the last time. Or subscribe to the published events instead.
    ///
    /// # Cost
    /// Half a read unit per 4 KB, summed over each page of at most 1 MB.
    ///
    /// # Errors
    /// As for [`fetch_events_for_subject`](Self::fetch_events_for_subject).
    ///
    /// ```no_run
    /// use eventdb::chrono::{TimeDelta, Utc};
    /// use futures_util::TryStreamExt;
    ///
    /// # async fn example(db: eventdb::EventDb) -> Result<(), eventdb::Error> {
    /// let yesterday = Utc::now() - TimeDelta::days(1);
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

    /// Lists the subjects that have events, in the order of their UTF-8 bytes.
    ///
    /// The index `AllSubjects` is updated shortly after the table, so a new subject appears in it a moment
    /// later. A table by time from before this index lacks it, and then the error says how to add it.
    /// Subjects that were stored before enter it with their next event, or all together by
    /// [`examine`](Self::examine) with [`repair`](crate::Examine::repair). Subjects of more than 1,024
    /// bytes, which only a table by time has, aren't listed.
    ///
    /// # Cost
    /// Half a read unit per 4 KB of keys, summed over each request. There are 16 requests or more for
    /// each read, because the index has 16 partitions. The revisions of the subjects are read only if
    /// [asked for](FetchSubjects::with_revisions).
    ///
    /// # Errors
    /// [`Error::Refused`] if the table lacks the index, or the request is refused otherwise;
    /// [`Error::Cursor`] if the cursor belongs to another read or to another prefix;
    /// [`Error::Unavailable`].
    ///
    /// ```no_run
    /// # async fn example(db: eventdb::EventDb) -> Result<(), eventdb::Error> {
    /// let books = db.fetch_subjects().subject_prefix("book:").with_revisions().await?;
    /// for book in books.subjects {
    ///     println!("{} is at revision {:?}", book.subject, book.revision);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn fetch_subjects(&self) -> FetchSubjects {
        FetchSubjects::new(self.table.clone())
    }

    /// Reads what caused an event and what it caused, over all subjects.
    ///
    /// The causes are read one by one, by the extension attribute `causationid`. No index leads from a
    /// cause to its effects. So the events from a minute before the first cause until an hour after the
    /// event are read in the order of time, and those that [belong to it](Trace::lines) are kept.
    /// [`within`](FetchTrace::within) and [`limit`](FetchTrace::limit) say how many.
    ///
    /// # Cost
    /// As for [`fetch_event`](Self::fetch_event) for each cause, and as for
    /// [`fetch_all_events`](Self::fetch_all_events) of that time.
    ///
    /// # Errors
    /// As for [`fetch_all_events`](Self::fetch_all_events). A cause that can't be read is a
    /// [line](TraceLine::MissingCause) of the trace.
    ///
    /// ```no_run
    /// # async fn example(db: eventdb::EventDb) -> Result<(), eventdb::Error> {
    /// if let Some(event) = db.fetch_event("evt-abc-123").await? {
    ///     let trace = db.fetch_trace(&event).limit(1_000).await?;
    ///     println!("{} causes", trace.causes().len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn fetch_trace(&self, event: &Event) -> FetchTrace {
        FetchTrace::new(self.table.clone(), event)
    }
}
