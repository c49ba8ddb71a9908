//! Which events are stored: all of them, those of a segment, or those of a time.

use std::fmt;

use chrono::DateTime;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};

use crate::codec::feed::entry::FeedEntry;
use crate::codec::item;
use crate::schema::{self, attribute};
use crate::store::error::Error;
use crate::store::items::{self, ItemKind};
use crate::store::layout::{SdkItem, TableLayout};
use crate::store::read::query::{Query, TimeRange};
use crate::store::read::{decode, revision_of_item, time_of};
use crate::store::table::Table;
use crate::store::table::scan::{Scan, Segment};

/// Which events are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// Those of a segment of the table.
    Segment(Segment),
    /// Those of a time, by the index of all events.
    Times(TimeRange),
}

/// A row that should be an event.
#[derive(Debug)]
pub(super) enum StoredRow {
    Event(FeedEntry),
    Invalid(InvalidRow),
}

/// A row of the table that should be an event and can't be read as one, so it is never published.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidRow {
    /// The row's partition key.
    pub subject: String,
    /// The row's sort key: its `time_type` or, in a table by revision, its revision.
    pub sort_key: String,
    /// The row's revision, if it is readable.
    pub revision: Option<u64>,
    /// The row's id, if it is text.
    pub id: Option<String>,
    /// What is wrong with the row.
    pub reason: String,
}

impl fmt::Display for InvalidRow {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, sort_key, reason, .. } = self;
        write!(
            formatter,
            "the row with the key ({subject:?}, {sort_key}) can't be published: {reason}"
        )
    }
}

/// The rows that should be events, in pages. The rows of a subject follow each other if the scope is a
/// segment.
pub(super) fn pages(
    table: &Table,
    scope: Scope,
) -> BoxStream<'static, Result<Vec<StoredRow>, Error>> {
    let table = table.clone();
    match scope {
        Scope::Segment(segment) => stream::try_unfold(Some(None), move |after| {
            let table = table.clone();
            async move {
                let Some(after) = after else { return Ok(None) };
                let scan = Scan { segment, consistent: false, attributes: None };
                let page = table.begin().scan(&scan, after).await?;
                let layout = table.layout();
                let rows = page.items.into_iter().filter_map(|row| row_of_table(layout, row));
                Ok(Some((rows.collect(), page.next.map(Some))))
            }
        })
        .boxed(),
        Scope::Times(range) => {
            let partitions = match table.layout() {
                TableLayout::ByTime => vec![schema::ALL_EVENTS.to_owned()],
                TableLayout::ByRevision => {
                    (0..schema::ALL_EVENTS_PARTITIONS).map(item::all_events_partition).collect()
                }
            };
            let partitions = if range.is_empty() { Vec::new() } else { partitions };
            stream::iter(partitions.into_iter().map(Ok::<_, Error>))
                .map_ok(move |partition| pages_of_index(table.clone(), &partition, range))
                .try_flatten()
                .boxed()
        }
    }
}

/// The readable events among these rows.
pub(super) fn events(table: &Table, scope: Scope) -> BoxStream<'static, Result<FeedEntry, Error>> {
    let event = |row| match row {
        StoredRow::Event(entry) => Some(Ok(entry)),
        StoredRow::Invalid(_) => None,
    };
    pages(table, scope)
        .map_ok(move |rows| stream::iter(rows.into_iter().filter_map(event)))
        .try_flatten()
        .boxed()
}

fn pages_of_index(
    table: Table,
    partition: &str,
    range: TimeRange,
) -> BoxStream<'static, Result<Vec<StoredRow>, Error>> {
    let query = Query::of_all_in(partition).in_time_range(range);
    stream::try_unfold(Some(query), move |query| {
        let table = table.clone();
        async move {
            let Some(query) = query else { return Ok(None) };
            let page = table.begin().query(&query).await?;
            let layout = table.layout();
            let rows = page.items.iter().map(|row| row_of_index(layout, row));
            let next = page.next.map(|key| query.starting_after(key));
            Ok(Some((rows.collect(), next)))
        }
    })
    .boxed()
}

/// A row of the table; `None` if it isn't meant to be an event.
fn row_of_table(layout: TableLayout, row: SdkItem) -> Option<StoredRow> {
    match items::kind(&row) {
        ItemKind::Event => {}
        ItemKind::Foreign => {
            let reason = format!("its `{}` isn't that of an event", attribute::PK_ALL);
            return Some(StoredRow::Invalid(InvalidRow::of(layout, &row, reason)));
        }
        ItemKind::Head | ItemKind::Snapshot | ItemKind::Guard | ItemKind::Reserved => return None,
    }
    let invalid = InvalidRow::of(layout, &row, String::new());
    let read = entry(layout, &row).and_then(|entry| match decode(row) {
        Ok(_) => Ok(entry),
        Err(error) => Err(error.reason),
    });
    Some(match read {
        Ok(entry) => StoredRow::Event(entry),
        Err(reason) => StoredRow::Invalid(InvalidRow { reason, ..invalid }),
    })
}

/// A row of the index of all events. It has what the feed lists, but not the whole event.
fn row_of_index(layout: TableLayout, row: &SdkItem) -> StoredRow {
    match entry(layout, row) {
        Ok(entry) => StoredRow::Event(entry),
        Err(reason) => StoredRow::Invalid(InvalidRow::of(layout, row, reason)),
    }
}

/// The entry of an event, from the attributes that the feed lists.
fn entry(layout: TableLayout, row: &SdkItem) -> Result<FeedEntry, String> {
    let text = |name: &str| {
        let value = row.get(name).and_then(|value| value.as_s().ok());
        value.cloned().ok_or_else(|| format!("`{name}` isn't text"))
    };
    let time = time_of(row).and_then(DateTime::from_timestamp_millis);
    let time = time.ok_or_else(|| format!("`{}` isn't a time", attribute::TIME))?;
    let sort_key = match layout {
        TableLayout::ByTime => Some(text(attribute::TIME_TYPE)?),
        TableLayout::ByRevision => None,
    };
    Ok(FeedEntry::of_attributes(
        (text(attribute::SUBJECT)?, revision_of_item(row)),
        (text(attribute::TYPE)?, text(attribute::ID)?),
        time,
        sort_key.as_deref(),
    ))
}

impl InvalidRow {
    fn of(layout: TableLayout, row: &SdkItem, reason: String) -> Self {
        let (subject, sort_key) = layout.event_key(row).unwrap_or_default();
        let id = row.get(attribute::ID).and_then(|value| value.as_s().ok()).cloned();
        Self { subject, sort_key, revision: revision_of_item(row), id, reason }
    }
}
