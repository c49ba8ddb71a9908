//! Reading the events of a subject, of one type of a subject, or of all subjects.

use std::future::{Future, IntoFuture};
use std::ops::RangeInclusive;
use std::pin::Pin;

use chrono::{DateTime, Utc};
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt, TryStreamExt};

use crate::codec::cursor::Cursor;
use crate::codec::item::InvalidItem;
use crate::codec::validation;
use crate::event::Event;
use crate::store::error::Error;
use crate::store::layout::Pages;
use crate::store::precondition::KnownRevision;
use crate::store::read::query::TimeRange;
use crate::store::table::Table;

/// A request for events: see [`EventDb::fetch_events_for_subject`](crate::EventDb::fetch_events_for_subject),
/// [`EventDb::fetch_events_for_subject_and_type`](crate::EventDb::fetch_events_for_subject_and_type) and [`EventDb::fetch_all_events`](crate::EventDb::fetch_all_events).
///
/// If you await it, it reads all pages and returns one [`History`]. As a [`stream`](Self::stream), it
/// yields one [`History`] per page, in constant memory.
///
/// ```no_run
/// # async fn example(db: eventdb::EventDb) -> Result<(), eventdb::Error> {
/// let last_two = db.fetch_events_for_subject("book:123").backwards().limit(2).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a request does nothing until it is awaited"]
pub struct FetchEvents {
    pub(crate) table: Table,
    pub(crate) selection: Selection,
    pub(crate) range: TimeRange,
    pub(crate) from_revision: Option<u64>,
    pub(crate) after: Option<Cursor>,
    pub(crate) backwards: bool,
    pub(crate) limit: Option<usize>,
}

/// Which events are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Selection {
    Subject(String),
    SubjectAndType(String, String),
    All,
}

/// The events of a read, and the rows that can't be read as events.
///
/// ```no_run
/// # async fn example(db: eventdb::EventDb) -> Result<(), eventdb::Error> {
/// let history = db.fetch_events_for_subject("book:123").await?;
/// for row in &history.invalid {
///     eprintln!("{row}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct History {
    /// The events, in the order of the read.
    pub events: Vec<Event>,
    /// The rows that can't be read as events, in the order of the read.
    pub invalid: Vec<InvalidItem>,
    /// When a subject is read: revisions whose events should be there but aren't. Somebody has
    /// removed them from the table, or a writer that doesn't check, such as the original library, has
    /// overwritten them. Empty in an intact table.
    ///
    /// A read finds gaps between two events, and before the first event if it includes the beginning
    /// of the subject. It can't find events that are missing after the last one.
    pub missing: Vec<MissingRevisions>,
    /// The position of the last row, to continue [`after`](FetchEvents::after) it. If no row was
    /// read, it is the position at which the read began, if any.
    pub cursor: Option<Cursor>,
    /// Whether the read stopped at its [limit](FetchEvents::limit), so that more rows may follow. If
    /// exactly as many rows as the limit exist, it is `true`, and the next read finds nothing.
    pub limit_reached: bool,
    pub(crate) known: Option<KnownRevision>,
}

impl History {
    /// When a subject was read from a table by revision: its latest revision that was read. An append
    /// can build on it without looking for it again.
    pub fn known_revision(&self) -> Option<&KnownRevision> {
        self.known.as_ref()
    }
}

/// Revisions of a subject whose events are missing from the table.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MissingRevisions {
    /// The subject.
    pub subject: String,
    /// The missing revisions, in ascending order.
    pub revisions: RangeInclusive<u64>,
}

impl FetchEvents {
    fn new(table: Table, selection: Selection) -> Self {
        let range = TimeRange::default();
        Self {
            table,
            selection,
            range,
            from_revision: None,
            after: None,
            backwards: false,
            limit: None,
        }
    }

    pub(crate) fn of_subject(table: Table, subject: String) -> Self {
        Self::new(table, Selection::Subject(subject))
    }

    pub(crate) fn of_subject_and_type(table: Table, subject: String, ty: String) -> Self {
        Self::new(table, Selection::SubjectAndType(subject, ty))
    }

    pub(crate) fn of_all(table: Table) -> Self {
        Self::new(table, Selection::All)
    }

    /// Only events with this time or a later one.
    pub fn since(mut self, time: DateTime<Utc>) -> Self {
        self.range.since = Some(ceiling_of_milliseconds(time));
        self
    }

    /// Only events before this time. So `until(t)` and `since(t)` together return every event once.
    pub fn until(mut self, time: DateTime<Utc>) -> Self {
        self.range.until = Some(ceiling_of_milliseconds(time));
        self
    }

    /// Only events with this revision or a later one: for reads of a subject.
    ///
    /// In a table by revision, the read begins there and costs nothing for earlier events. In a table
    /// by time, it reads the earlier events and leaves them out; [`since`](Self::since) avoids that
    /// if you know the time. Events without a revision count as earlier ones.
    ///
    /// ```no_run
    /// # async fn example(db: eventdb::EventDb) -> Result<(), eventdb::Error> {
    /// let new_ones = db.fetch_events_for_subject("book:123").from_revision(8).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_revision(mut self, revision: u64) -> Self {
        self.from_revision = Some(revision);
        self
    }

    /// Only an event that is known and the later ones, at the lowest cost that the layout has.
    pub(crate) fn beginning_at(self, revision: u64, time: DateTime<Utc>) -> Self {
        match self.table.layout().sorts_by_revision() {
            true => self.from_revision(revision),
            false => self.since(time),
        }
    }

    /// Only events after the position at which an earlier read stopped, in the direction of this
    /// read. The earlier read must have been of the same kind.
    ///
    /// ```no_run
    /// # async fn example(db: eventdb::EventDb) -> Result<(), eventdb::Error> {
    /// let first = db.fetch_events_for_subject("book:123").limit(100).await?;
    /// if let Some(cursor) = first.cursor {
    ///     let more = db.fetch_events_for_subject("book:123").after(cursor).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn after(mut self, cursor: Cursor) -> Self {
        self.after = Some(cursor);
        self
    }

    /// Starts with the last event and reads in reverse order.
    pub fn backwards(mut self) -> Self {
        self.backwards = true;
        self
    }

    /// At most this number of rows, including those that can't be read as events.
    /// [`History::limit_reached`] tells whether more may follow.
    pub fn limit(mut self, rows: usize) -> Self {
        self.limit = Some(rows);
        self
    }

    /// A stream of pages, each of at most 1 MB and 4,096 events. A page can be empty. The stream ends after
    /// an error. To continue, start a new read with the cursor of the last page.
    ///
    /// Two kinds of reads yield a single page, because the events have to be sorted: those of one
    /// type, and those of a subject that only the original library has written and whose rows are out
    /// of order.
    ///
    /// ```no_run
    /// use futures_util::TryStreamExt;
    ///
    /// # async fn example(db: eventdb::EventDb) -> Result<(), eventdb::Error> {
    /// let mut pages = db.fetch_all_events().stream();
    /// while let Some(page) = pages.try_next().await? {
    ///     println!("{} events", page.events.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn stream(self) -> BoxStream<'static, Result<History, Error>> {
        self.pages().map_ok(history_of).boxed()
    }

    /// A stream of single events. It reads page by page, in constant memory.
    ///
    /// It ends with an error at the first row that can't be read, and where a revision is missing:
    /// [`Error::InvalidItem`] and [`Error::MissingRevisions`]. The events before that come first. To
    /// go on behind such a row, use the [pages](Self::stream).
    ///
    /// ```
    /// use futures_util::TryStreamExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dynamodb = eventdb::EmbeddedDynamoDb::in_memory().await?;
    /// # eventdb::EventDb::create_table(&dynamodb.client(), "Events").await?;
    /// # let db = eventdb::EventDb::new(dynamodb.client(), "Events");
    /// let mut events = db.fetch_events_for_subject("book:123").events();
    /// while let Some(event) = events.try_next().await? {
    ///     println!("{}", event.ty);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn events(self) -> BoxStream<'static, Result<Event, Error>> {
        let backwards = self.backwards;
        let pages = self.pages().map_ok(move |read| stream::iter(single(read, backwards)));
        pages
            .try_flatten()
            .scan(false, |has_failed, event| {
                let next = (!*has_failed).then_some(event);
                *has_failed |= next.as_ref().is_some_and(Result::is_err);
                std::future::ready(next)
            })
            .boxed()
    }

    /// The rows in the order of the read, including unreadable ones.
    pub(crate) fn rows(self) -> BoxStream<'static, Result<Row, Error>> {
        self.pages()
            .map_ok(|read| stream::iter(read.rows.into_iter().map(Ok)))
            .try_flatten()
            .boxed()
    }

    fn pages(self) -> impl Stream<Item = Result<Rows, Error>> + Send + 'static {
        stream::try_unfold(None, move |pages| {
            let request = self.clone();
            async move {
                let mut pages: Pages = match pages {
                    Some(pages) => pages,
                    None => request.begin()?,
                };
                let read = pages.next().await?;
                Ok(read.map(|read| (read, Some(pages))))
            }
        })
    }

    fn begin(self) -> Result<Pages, Error> {
        if self.from_revision.is_some() && self.selection == Selection::All {
            return Err(validation::only_of_a_subject("from_revision").into());
        }
        self.table.layout().pages(self)
    }

    async fn collect(self) -> Result<History, Error> {
        let limit = self.limit;
        let mut history = History { cursor: self.after.clone(), ..History::default() };
        let mut pages = self.begin()?;
        while let Some(page) = pages.next().await?.map(history_of) {
            history.events.extend(page.events);
            history.invalid.extend(page.invalid);
            history.missing.extend(page.missing);
            history.cursor = page.cursor;
            history.known = KnownRevision::later(history.known, page.known);
        }
        let rows = history.events.len() + history.invalid.len();
        history.limit_reached = limit.is_some_and(|limit| rows >= limit);
        Ok(history)
    }
}

impl IntoFuture for FetchEvents {
    type Output = Result<History, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.collect())
    }
}

fn history_of(Rows { rows, missing, cursor, known }: Rows) -> History {
    let mut history = History { missing, cursor, known, ..History::default() };
    for row in rows {
        match row {
            Ok(event) => history.events.push(event),
            Err(invalid) => history.invalid.push(*invalid),
        }
    }
    history
}

/// The events of some rows, and an error in the place of each row or revision that lacks its event.
fn single(read: Rows, backwards: bool) -> Vec<Result<Event, Error>> {
    let mut missing = read.missing.into_iter().peekable();
    let mut events = Vec::with_capacity(read.rows.len());
    for row in read.rows {
        let revision = revision_of(&row);
        let lies_before = |gap: &MissingRevisions| {
            revision.is_some_and(|revision| match backwards {
                false => *gap.revisions.end() < revision,
                true => *gap.revisions.start() > revision,
            })
        };
        while let Some(gap) = missing.next_if(lies_before) {
            events.push(Err(Error::MissingRevisions(gap)));
        }
        events.push(row.map_err(Error::InvalidItem));
    }
    events.extend(missing.map(|gap| Err(Error::MissingRevisions(gap))));
    events
}

fn ceiling_of_milliseconds(time: DateTime<Utc>) -> i64 {
    let finer = !time.timestamp_subsec_nanos().is_multiple_of(1_000_000);
    time.timestamp_millis().saturating_add(i64::from(finer))
}

/// The revision of a row. It may be readable even if the rest of the row isn't.
pub(crate) fn revision_of(row: &Row) -> Option<u64> {
    match row {
        Ok(event) => event.revision,
        Err(invalid) => invalid.revision(),
    }
}

/// A row of the table, read as an event if possible.
pub(crate) type Row = Result<Event, Box<InvalidItem>>;

/// Some rows of a running read.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) rows: Vec<Row>,
    pub(crate) missing: Vec<MissingRevisions>,
    /// The position of the last row of the read so far.
    pub(crate) cursor: Option<Cursor>,
    /// The last revision of the subject among them, by revision only.
    pub(crate) known: Option<KnownRevision>,
}
