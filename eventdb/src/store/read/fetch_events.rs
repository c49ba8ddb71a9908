//! Reading the events of a subject, of one type of a subject, or of all subjects.

use std::collections::HashMap;
use std::future::{Future, IntoFuture};
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, Utc};
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};

use crate::codec::cursor::{Cursor, CursorError, RowKeys};
use crate::codec::item::{self, InvalidItem, Place};
use crate::codec::validation;
use crate::event::Event;
use crate::schema::{self, attribute};
use crate::store::error::Error;
use crate::store::head::{OutOfOrder, SdkItem};
use crate::store::read::query::{Page, Query, TimeRange, number, string};
use crate::store::table::Table;

/// How often a page with a missing revision is read again before the event counts as removed.
const GAP_RETRIES: u32 = 3;

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
    table: Table,
    selection: Selection,
    range: TimeRange,
    after: Option<Cursor>,
    backwards: bool,
    limit: Option<usize>,
}

/// Which events are read.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Selection {
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
        Self { table, selection, range, after: None, backwards: false, limit: None }
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
    pub fn limit(mut self, rows: usize) -> Self {
        self.limit = Some(rows);
        self
    }

    /// A stream of pages, each of at most 1 MB. A page can be empty. The stream ends after an error.
    /// To continue, start a new read with the cursor of the last page.
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
        Box::pin(stream::try_unfold(None, move |pages| {
            let request = self.clone();
            async move {
                let mut pages: Pages = match pages {
                    Some(pages) => pages,
                    None => Pages::begin(request)?,
                };
                let page = pages.next_page().await?;
                Ok(page.map(|page| (page, Some(pages))))
            }
        }))
    }

    /// The rows in the order of the read, including unreadable ones.
    pub(crate) fn rows(self) -> BoxStream<'static, Result<Row, Error>> {
        let pages = stream::try_unfold(None, move |pages| {
            let request = self.clone();
            async move {
                let mut pages: Pages = match pages {
                    Some(pages) => pages,
                    None => Pages::begin(request)?,
                };
                let read = pages.next_rows().await?;
                let rows = |read: Rows| stream::iter(read.rows.into_iter().map(Ok));
                Ok::<_, Error>(read.map(|read| (rows(read), Some(pages))))
            }
        });
        pages.try_flatten().boxed()
    }

    async fn collect(self) -> Result<History, Error> {
        let mut pages = Pages::begin(self)?;
        let mut history = History { cursor: pages.cursor.clone(), ..History::default() };
        while let Some(page) = pages.next_page().await? {
            history.events.extend(page.events);
            history.invalid.extend(page.invalid);
            history.missing.extend(page.missing);
            history.cursor = page.cursor;
        }
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

fn ceiling_of_milliseconds(time: DateTime<Utc>) -> i64 {
    let finer = !time.timestamp_subsec_nanos().is_multiple_of(1_000_000);
    time.timestamp_millis().saturating_add(i64::from(finer))
}

/// A running read.
struct Pages {
    table: Table,
    selection: Selection,
    range: TimeRange,
    query: Query,
    /// Whether it is known that the rows of the subject are in the order of their times.
    is_in_order: bool,
    cursor: Option<Cursor>,
    remaining: Option<usize>,
    revisions: Revisions,
    ended: bool,
}

impl Pages {
    /// Checks the request, without sending anything.
    fn begin(request: FetchEvents) -> Result<Self, Error> {
        let FetchEvents { table, selection, range, after, backwards, limit } = request;
        let mut query = match &selection {
            Selection::Subject(subject) => {
                validation::check_stored_subject(subject)?;
                Query::of_subject(subject).in_key_range(range)
            }
            Selection::SubjectAndType(subject, ty) => {
                validation::check_stored_subject(subject)?;
                validation::check_stored_type(ty)?;
                Query::of_subject_and_type(subject, ty).filtered_by_time(range)
            }
            Selection::All => Query::of_all().in_time_range(range),
        };
        query.backwards = backwards;
        let mut ended = limit == Some(0)
            || matches!((range.since, range.until), (Some(since), Some(until)) if since >= until);
        if let Some(cursor) = &after {
            match start(&selection, range, backwards, &cursor.0)? {
                Start::AfterKey(key) => query = query.starting_after(key),
                Start::AtBound => {}
                Start::Nowhere => ended = true,
            }
        }
        // Whether the read includes the subject's first row.
        let since_the_first = range.since.is_none_or(|since| since <= 0);
        let first_is_read = since_the_first && (backwards || after.is_none());
        Ok(Self {
            table,
            range,
            query,
            is_in_order: false,
            cursor: after,
            remaining: limit,
            revisions: Revisions::new(backwards, first_is_read),
            ended,
            selection,
        })
    }

    async fn next_page(&mut self) -> Result<Option<History>, Error> {
        let Some(Rows { rows, missing, .. }) = self.next_rows().await? else { return Ok(None) };
        let mut history = History { cursor: self.cursor.clone(), missing, ..History::default() };
        for row in rows {
            match row {
                Ok(event) => history.events.push(event),
                Err(invalid) => history.invalid.push(*invalid),
            }
        }
        Ok(Some(history))
    }

    async fn next_rows(&mut self) -> Result<Option<Rows>, Error> {
        if self.ended {
            return Ok(None);
        }
        let (read, next) = match self.selection.clone() {
            Selection::SubjectAndType(..) => {
                let items = self.all_items(self.query.clone()).await?;
                (self.read(self.ordered(items)), None)
            }
            Selection::Subject(subject) => self.rows_of_subject(&subject).await?,
            Selection::All => {
                let page = self.table.query(&self.limited_query()).await?;
                (self.read(page.items), page.next)
            }
        };
        if let Some(last) = &read.last {
            self.cursor = Some(Cursor(last.clone()));
        }
        if let Some(remaining) = &mut self.remaining {
            *remaining = remaining.saturating_sub(read.rows.len());
        }
        match next {
            Some(next) if self.remaining != Some(0) => {
                self.query = self.query.clone().starting_after(next);
            }
            _ => self.ended = true,
        }
        Ok(Some(read))
    }

    fn limited_query(&self) -> Query {
        self.query.clone().limited_to(self.remaining)
    }

    /// One page of a subject. A query isn't isolated from concurrent transactions, so a revision may
    /// be missing for a moment. Then the page is read again.
    /// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html#transaction-isolation>
    async fn rows_of_subject(&mut self, subject: &str) -> Result<(Rows, Option<SdkItem>), Error> {
        let mut retry = 0;
        loop {
            let page = self.table.query(&self.limited_query()).await?;
            if !self.is_in_order {
                if self.is_out_of_order(subject, &page).await? {
                    let items = self.all_items(Query::of_subject(subject)).await?;
                    return Ok((self.read(self.ordered(items)), None));
                }
                self.is_in_order = true;
            }
            let is_whole =
                page.next.is_none() && self.remaining.is_none_or(|most| page.items.len() < most);
            let mut read = self.read_within_range(page.items);
            if self.revisions.need_legacy_events(&read.rows, is_whole) {
                let head = self.table.stored_head(subject).await?;
                self.revisions.legacy_events = head.map(|head| head.legacy_events);
            }
            let mut revisions = self.revisions.clone();
            let missing = revisions.advance(&read.rows, is_whole);
            if retry == GAP_RETRIES || missing.is_empty() {
                self.revisions = revisions;
                read.missing = missing
                    .into_iter()
                    .map(|revisions| MissingRevisions { subject: subject.to_owned(), revisions })
                    .collect();
                return Ok((read, page.next));
            }
            tokio::time::sleep(Duration::from_millis(20 << retry)).await;
            retry += 1;
        }
    }

    /// Whether rows of a subject are out of order, which can happen if only the original library has
    /// written it. `page` is the first page of the read.
    ///
    /// If a row has a revision or there is a head, all legacy rows were in order when the head was
    /// created. Otherwise, the whole subject has to be checked.
    async fn is_out_of_order(&self, subject: &str, page: &Page) -> Result<bool, Error> {
        if page.items.iter().any(|row| row.contains_key(attribute::REVISION)) {
            return Ok(false);
        }
        let mut out_of_order = OutOfOrder::default();
        let is_all = page.next.is_none()
            && self.range == TimeRange::default()
            && self.cursor.is_none()
            && self.remaining.is_none_or(|most| page.items.len() < most);
        if is_all {
            page.items.iter().for_each(|row| out_of_order.look_at(row));
            // With a head, such rows come from another writer and aren't sorted.
            return Ok(!out_of_order.is_empty() && self.table.stored_head(subject).await?.is_none());
        }
        if self.table.stored_head(subject).await?.is_some() {
            return Ok(false);
        }
        let keys = self.all_items(Query::of_subject(subject).keys_of_events()).await?;
        keys.iter().for_each(|row| out_of_order.look_at(row));
        Ok(!out_of_order.is_empty())
    }

    async fn all_items(&self, mut query: Query) -> Result<Vec<SdkItem>, Error> {
        let mut items = Vec::new();
        loop {
            let page = self.table.query(&query).await?;
            items.extend(page.items);
            match page.next {
                Some(next) => query = query.starting_after(next),
                None => return Ok(items),
            }
        }
    }

    /// Sorts all rows by their times, and applies the range, the cursor and the limit.
    fn ordered(&self, mut items: Vec<SdkItem>) -> Vec<SdkItem> {
        let backwards = self.query.backwards;
        items.retain(|item| self.range.holds(time_of(item)));
        items.sort_by(|one, other| Place::of(key_of(one)).cmp(&Place::of(key_of(other))));
        if backwards {
            items.reverse();
        }
        if let Some(Cursor(
            RowKeys::SubjectAndType { time_type, .. } | RowKeys::Subject { time_type, .. },
        )) = &self.cursor
        {
            let cursor = Place::of(time_type);
            items.retain(|item| {
                let place = Place::of(key_of(item));
                if backwards { place < cursor } else { place > cursor }
            });
        }
        items.truncate(self.remaining.unwrap_or(usize::MAX));
        items
    }

    /// Removes rows outside the range. The query can return them if their sort keys don't sort by
    /// time.
    fn read_within_range(&self, items: Vec<SdkItem>) -> Rows {
        let last = items.last().map(|last| row_keys(&self.selection, last));
        let is_in_range =
            |item: &SdkItem| item::sorts_by_time(key_of(item)) || self.range.holds(time_of(item));
        Rows { last, ..self.read(items.into_iter().filter(is_in_range).collect()) }
    }

    fn read(&self, items: Vec<SdkItem>) -> Rows {
        let last = items.last().map(|last| row_keys(&self.selection, last));
        let rows = items.into_iter().map(|item| decode(item).map_err(Box::new)).collect();
        Rows { rows, last, missing: Vec::new() }
    }
}

fn key_of(item: &SdkItem) -> &str {
    item.get(attribute::TIME_TYPE).and_then(|key| key.as_s().ok()).map_or("", String::as_str)
}

fn time_of(item: &SdkItem) -> Option<i64> {
    item.get(attribute::TIME)?.as_n().ok()?.parse().ok()
}

/// Where a read with a cursor begins.
enum Start {
    AfterKey(SdkItem),
    /// The cursor is before the range, so the read begins with the range.
    AtBound,
    /// The cursor is after the range, so nothing is left to read.
    Nowhere,
}

/// Compares the cursor with the range, because DynamoDB refuses a start key outside the range.
fn start(
    selection: &Selection,
    range: TimeRange,
    backwards: bool,
    position: &RowKeys,
) -> Result<Start, CursorError> {
    let text = |name: &str, value: &str| (name.to_owned(), string(value));
    let (key, time) = match (selection, position) {
        (Selection::Subject(of), RowKeys::Subject { subject, time_type }) if of == subject => (
            HashMap::from([
                text(attribute::SUBJECT, subject),
                // The row may have been moved to its right place since the cursor was returned.
                text(
                    attribute::TIME_TYPE,
                    &Place::of(time_type).sort_key().unwrap_or_else(|| time_type.clone()),
                ),
            ]),
            Place::of(time_type).time(),
        ),
        (Selection::SubjectAndType(of, of_type), RowKeys::SubjectAndType { subject, ty, .. })
            if of == subject && of_type == ty =>
        {
            return Ok(Start::AtBound);
        }
        (Selection::All, RowKeys::All { time, subject, time_type }) => (
            HashMap::from([
                text(attribute::PK_ALL, schema::ALL_EVENTS),
                (attribute::TIME.to_owned(), number(*time)),
                text(attribute::SUBJECT, subject),
                text(attribute::TIME_TYPE, time_type),
            ]),
            Some(*time),
        ),
        _ => return Err(CursorError::OtherRead),
    };
    let before_since = matches!((range.since, time), (Some(since), Some(time)) if time < since);
    let behind_until = matches!((range.until, time), (Some(until), Some(time)) if time >= until);
    Ok(match (before_since, behind_until) {
        (false, false) => Start::AfterKey(key),
        (true, _) if backwards => Start::Nowhere,
        (true, _) => Start::AtBound,
        (_, true) if backwards => Start::AtBound,
        (_, true) => Start::Nowhere,
    })
}

/// Finds the missing revisions of a subject.
///
/// Rows without a revision count only before the first row with one: those are the legacy events that
/// were stored before the subject had a head. Later ones come from a writer that doesn't assign
/// revisions, and say nothing about gaps.
#[derive(Debug, Clone)]
struct Revisions {
    backwards: bool,
    /// Whether the read includes the subject's first row.
    first_is_read: bool,
    /// The last revision that was read.
    last: Option<u64>,
    /// Number of rows without a revision since then, or since the first row.
    uncounted: u64,
    /// Number of legacy events according to the subject's head, once it was read.
    legacy_events: Option<u64>,
}

impl Revisions {
    fn new(backwards: bool, first_is_read: bool) -> Self {
        Self { backwards, first_is_read, last: None, uncounted: 0, legacy_events: None }
    }

    /// Whether the head is needed to find out which revision should be the first.
    fn need_legacy_events(&self, rows: &[Row], is_whole: bool) -> bool {
        if !self.first_is_read || self.legacy_events.is_some() {
            return false;
        }
        let is_uncounted = |row: Option<&Row>| row.is_some_and(|row| revision_of(row).is_none());
        let some_are_numbered = || rows.iter().any(|row| revision_of(row).is_some());
        if self.backwards {
            let ends_uncounted = self.uncounted > 0 && rows.is_empty() || is_uncounted(rows.last());
            is_whole && ends_uncounted && (self.last.is_some() || some_are_numbered())
        } else {
            let begins_uncounted = self.uncounted > 0 || is_uncounted(rows.first());
            self.last.is_none() && begins_uncounted && some_are_numbered()
        }
    }

    fn advance(&mut self, rows: &[Row], is_whole: bool) -> Vec<RangeInclusive<u64>> {
        let mut missing = Vec::new();
        for row in rows {
            let Some(revision) = revision_of(row) else {
                self.uncounted += 1;
                continue;
            };
            match self.last {
                None if self.backwards => {}
                None => missing.extend(self.missing_before_first(revision)),
                Some(last) => {
                    let (low, high) =
                        if self.backwards { (revision, last) } else { (last, revision) };
                    if high > low.saturating_add(1) {
                        missing.push(low + 1..=high - 1);
                    }
                }
            }
            self.last = Some(revision);
            self.uncounted = 0;
        }
        if let (true, true, Some(first)) = (self.backwards, is_whole, self.last) {
            missing.extend(self.missing_before_first(first));
        }
        missing
    }

    /// The revisions that are missing before the first one that was read.
    fn missing_before_first(&self, first: u64) -> Option<RangeInclusive<u64>> {
        let counted = self.legacy_events.unwrap_or(self.uncounted).min(self.uncounted);
        let is_missing = self.first_is_read && first > counted.saturating_add(1);
        is_missing.then(|| counted + 1..=first - 1)
    }
}

/// The revision of a row. It may be readable even if the rest of the row isn't.
fn revision_of(row: &Row) -> Option<u64> {
    match row {
        Ok(event) => event.revision,
        Err(invalid) => item::revision(&invalid.item).ok().flatten(),
    }
}

/// A row of the table, read as an event if possible.
pub(crate) type Row = Result<Event, Box<InvalidItem>>;

/// Rows of the table, and the keys of the last one.
struct Rows {
    rows: Vec<Row>,
    last: Option<RowKeys>,
    missing: Vec<MissingRevisions>,
}

/// The keys of a row. They are taken from the row, because the keys of a legacy row can't be computed
/// from its event.
fn row_keys(selection: &Selection, row: &SdkItem) -> RowKeys {
    let text =
        |name: &str| row.get(name).and_then(|value| value.as_s().ok().cloned()).unwrap_or_default();
    let (subject, time_type) = (text(attribute::SUBJECT), text(attribute::TIME_TYPE));
    match selection {
        Selection::Subject(_) => RowKeys::Subject { subject, time_type },
        Selection::SubjectAndType(_, ty) => {
            RowKeys::SubjectAndType { subject, ty: ty.clone(), time_type }
        }
        Selection::All => {
            let time = row.get(attribute::TIME).and_then(|value| value.as_n().ok()?.parse().ok());
            RowKeys::All { time: time.unwrap_or_default(), subject, time_type }
        }
    }
}

/// Reads the event of a row from the AWS client.
pub(crate) fn decode(row: SdkItem) -> Result<Event, InvalidItem> {
    if row.values().all(is_known) {
        return item::decode(row.into());
    }
    let (known, unknown): (SdkItem, SdkItem) =
        row.into_iter().partition(|(_, value)| is_known(value));
    let name = unknown.keys().next().map_or("?", String::as_str);
    let reason = format!("`{name}` has a type that this version of the AWS client doesn't know");
    Err(InvalidItem { item: known.into(), reason })
}

/// Whether the AWS client knows the types of a value and of all values in it.
fn is_known(value: &AttributeValue) -> bool {
    match value {
        AttributeValue::M(map) => map.values().all(is_known),
        AttributeValue::L(values) => values.iter().all(is_known),
        AttributeValue::B(_)
        | AttributeValue::Bool(_)
        | AttributeValue::Bs(_)
        | AttributeValue::N(_)
        | AttributeValue::Ns(_)
        | AttributeValue::Null(_)
        | AttributeValue::S(_)
        | AttributeValue::Ss(_) => true,
        _ => false,
    }
}
