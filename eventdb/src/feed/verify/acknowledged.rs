//! Acknowledgements: events and rows that will never be published, and a person knows it.

use std::collections::HashSet;

use serde_dynamo::{AttributeValue, Item};

use crate::codec::feed::chunk;
use crate::codec::feed::entry::FeedEntry;
use crate::feed::error::FeedError;
use crate::feed::verify::stored::InvalidRow;
use crate::schema::feed;
use crate::store::layout::TableLayout;
use crate::store::table::Table;

/// What identifies an event or a row: subject, sort key and id.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::feed) struct RowName {
    subject: String,
    sort_key: String,
    id: Option<String>,
}

impl RowName {
    pub(in crate::feed) fn of_entry(layout: TableLayout, entry: &FeedEntry) -> Self {
        let (subject, sort_key) = layout.key_of_entry(entry);
        Self { subject, sort_key, id: Some(entry.id.clone()) }
    }

    pub(in crate::feed) fn of_row(row: &InvalidRow) -> Self {
        let InvalidRow { subject, sort_key, id, .. } = row.clone();
        Self { subject, sort_key, id }
    }

    fn of_item(item: &Item) -> Option<Self> {
        let text = |name: &str| match item.get(name) {
            Some(AttributeValue::S(text)) => Some(text.clone()),
            _ => None,
        };
        let id = text(feed::ACKNOWLEDGED_ID);
        let (subject, sort_key) =
            (text(feed::ACKNOWLEDGED_SUBJECT)?, text(feed::ACKNOWLEDGED_SORT_KEY)?);
        Some(Self { subject, sort_key, id })
    }

    fn item(self, number: u64, reason: &str, now: i64) -> Item {
        let mut item = chunk::key(feed::ACKNOWLEDGED.to_owned(), number);
        let mut put = |name: &str, value| item.insert(name.to_owned(), value);
        put(feed::ACKNOWLEDGED_SUBJECT, AttributeValue::S(self.subject));
        put(feed::ACKNOWLEDGED_SORT_KEY, AttributeValue::S(self.sort_key));
        if let Some(id) = self.id {
            put(feed::ACKNOWLEDGED_ID, AttributeValue::S(id));
        }
        put(feed::ACKNOWLEDGED_REASON, AttributeValue::S(reason.to_owned()));
        put(feed::ACKNOWLEDGED_AT, AttributeValue::N(now.to_string()));
        item
    }
}

/// Everything that was acknowledged.
pub(in crate::feed) async fn read(feed: &Table) -> Result<HashSet<RowName>, FeedError> {
    let mut names = HashSet::new();
    let mut from = 0;
    loop {
        let page = feed.begin().feed_items(feed::ACKNOWLEDGED, from).await;
        let page = page.map_err(|error| FeedError::of_table(feed.name(), error))?;
        let last = page.items.last().and_then(number);
        names.extend(page.items.iter().filter_map(RowName::of_item));
        match last {
            Some(last) if !page.is_end => from = last.saturating_add(1),
            _ => return Ok(names),
        }
    }
}

/// Acknowledges one row. Doing it twice changes nothing.
pub(in crate::feed) async fn write(
    feed: &Table,
    name: RowName,
    reason: &str,
) -> Result<(), FeedError> {
    if read(feed).await?.contains(&name) {
        return Ok(());
    }
    let table = feed.begin();
    let failed = |error| FeedError::of_table(feed.name(), error);
    loop {
        let end = table.feed_last(feed::ACKNOWLEDGED).await.map_err(failed)?;
        let number = end.as_ref().and_then(number).map_or(0, |last| last.saturating_add(1));
        let item = name.clone().item(number, reason, table.now());
        let refused = table.put_in_feed(item).await.map_err(failed)?;
        // An earlier attempt of this request, if it is the same row.
        if refused.is_none_or(|existing| RowName::of_item(&existing).as_ref() == Some(&name)) {
            return Ok(());
        }
    }
}

fn number(item: &Item) -> Option<u64> {
    match item.get(feed::OFFSET) {
        Some(AttributeValue::N(number)) => number.parse().ok(),
        _ => None,
    }
}
