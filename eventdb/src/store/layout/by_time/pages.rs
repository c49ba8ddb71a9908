//! A running read of a table by time.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use super::head::OutOfOrder;
use crate::codec::cursor::{Cursor, CursorError, RowKeys};
use crate::codec::item::{self, Place};
use crate::codec::validation;
use crate::schema::{self, attribute};
use crate::store::error::Error;
use crate::store::layout::SdkItem;
use crate::store::read::fetch_events::{
    FetchEvents, MissingRevisions, Row, Rows, Selection, revision_of,
};
use crate::store::read::query::{Page, Query, TimeRange, number, string};
use crate::store::read::{GAP_RETRIES, decode, pause_before_reread, revision_of_item, time_of};
use crate::store::table::Table;

/// A running read.
pub(crate) struct Pages {
    table: Table,
    selection: Selection,
    range: TimeRange,
    /// Rows with an earlier revision, or without one, are left out.
    from_revision: Option<u64>,
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
    pub(crate) fn begin(request: FetchEvents) -> Result<Self, Error> {
        let FetchEvents { table, selection, range, from_revision, after, backwards, limit } =
            request;
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
        let mut ended = limit == Some(0) || range.is_empty();
        if let Some(cursor) = &after {
            match start(&selection, range, backwards, &cursor.0)? {
                Start::AfterKey(key) => query = query.starting_after(key),
                Start::AtBound => {}
                Start::Nowhere => ended = true,
            }
        }
        // Whether the read includes the subject's first row.
        let since_the_first = range.since.is_none_or(|since| since <= 0);
        let first_is_read = since_the_first
            && from_revision.is_none_or(|first| first <= 1)
            && (backwards || after.is_none());
        Ok(Self {
            table,
            range,
            from_revision,
            query,
            is_in_order: false,
            cursor: after,
            remaining: limit,
            revisions: Revisions::new(backwards, first_is_read),
            ended,
            selection,
        })
    }

    pub(crate) async fn next_rows(&mut self) -> Result<Option<Rows>, Error> {
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
                if page.items.is_empty() && self.cursor.is_none() {
                    self.table.layout().check(&self.table).await?;
                }
                (self.read(page.items), page.next)
            }
        };
        if let Some(last) = &read.last {
            self.cursor = Some(Cursor(last.clone()));
        }
        if let Some(remaining) = &mut self.remaining {
            *remaining = remaining.saturating_sub(read.rows.len());
        }
        let Read { rows, missing, .. } = read;
        match next {
            Some(next) if self.remaining != Some(0) => {
                self.query = self.query.clone().starting_after(next);
            }
            _ => self.ended = true,
        }
        Ok(Some(Rows { rows, missing, cursor: self.cursor.clone(), known: None }))
    }

    fn limited_query(&self) -> Query {
        // Rows that are left out don't count.
        let limit = if self.from_revision.is_some() { None } else { self.remaining };
        self.query.clone().limited_to(limit)
    }

    /// Leaves out the rows before the first revision that is wanted.
    fn leave_out_earlier(&self, items: &mut Vec<SdkItem>) {
        if let Some(first) = self.from_revision {
            items.retain(|item| revision_of_item(item).is_some_and(|revision| revision >= first));
            items.truncate(self.remaining.unwrap_or(usize::MAX));
        }
    }

    /// One page of a subject. It is read again while a revision is missing.
    async fn rows_of_subject(&mut self, subject: &str) -> Result<(Read, Option<SdkItem>), Error> {
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
            let mut items = page.items;
            self.leave_out_earlier(&mut items);
            let mut read = self.read_within_range(items);
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
            pause_before_reread(retry).await;
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
        self.leave_out_earlier(&mut items);
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
    fn read_within_range(&self, items: Vec<SdkItem>) -> Read {
        let last = items.last().map(|last| row_keys(&self.selection, last));
        let is_in_range =
            |item: &SdkItem| item::sorts_by_time(key_of(item)) || self.range.holds(time_of(item));
        Read { last, ..self.read(items.into_iter().filter(is_in_range).collect()) }
    }

    fn read(&self, items: Vec<SdkItem>) -> Read {
        let last = items.last().map(|last| row_keys(&self.selection, last));
        let rows = items.into_iter().map(|item| decode(item).map_err(Box::new)).collect();
        Read { rows, last, missing: Vec::new() }
    }
}

fn key_of(item: &SdkItem) -> &str {
    item.get(attribute::TIME_TYPE).and_then(|key| key.as_s().ok()).map_or("", String::as_str)
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

/// Rows of the table, and the keys of the last one.
struct Read {
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
            RowKeys::All { time: time_of(row).unwrap_or_default(), subject, time_type }
        }
    }
}
