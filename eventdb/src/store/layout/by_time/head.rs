//! The head item of a subject: where its history ends.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, Utc};

use crate::codec::item;
use crate::event::Event;
use crate::schema::{self, attribute, limit};
use crate::store::error::Error;
use crate::store::layout::SdkItem;
use crate::store::precondition::SubjectState;
use crate::store::read::query::{Query, number, string};
use crate::store::table::Table;

/// The end of a subject's history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) revision: u64,
    /// Milliseconds.
    pub(crate) last_time: i64,
    pub(crate) last_id: String,
    /// The number of events that were stored before the head was created. Their rows have no
    /// revision.
    pub(crate) legacy_events: u64,
}

impl Head {
    /// Reads a head item; `None` if it isn't one.
    pub(crate) fn read(item: &SdkItem) -> Option<Self> {
        let number = |name: &str| item.get(name)?.as_n().ok()?.parse::<u64>().ok();
        Some(Self {
            revision: number(attribute::REVISION)?,
            last_time: i64::try_from(number(attribute::LAST_TIME)?).ok()?,
            last_id: item.get(attribute::LAST_ID)?.as_s().ok()?.clone(),
            legacy_events: number(attribute::LEGACY_EVENTS).unwrap_or_default(),
        })
    }

    pub(crate) fn state(&self) -> SubjectState {
        SubjectState::Populated { revision: self.revision, last_event_id: self.last_id.clone() }
    }
}

/// Converts milliseconds to a time. Values out of range become the latest time.
pub(crate) fn time(milliseconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(milliseconds).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// The key of a subject's head item.
pub(crate) fn key(subject: &str) -> SdkItem {
    HashMap::from([
        (attribute::SUBJECT.to_owned(), string(format!("{}{subject}", schema::HEAD_PREFIX))),
        (attribute::TIME_TYPE.to_owned(), string(schema::HEAD_SORT_KEY)),
    ])
}

/// The head of a subject whose last event this is, and all of whose events have revisions.
pub(crate) fn item(last: &Event) -> SdkItem {
    let mut item = key(&last.subject);
    item.insert(attribute::REVISION.to_owned(), number(last.revision.unwrap_or_default()));
    item.insert(attribute::LAST_TIME.to_owned(), number(last.time.timestamp_millis()));
    item.insert(attribute::LAST_ID.to_owned(), string(&*last.id));
    item.extend(listing(&last.subject));
    item
}

/// The attributes that enter a head into the index of subjects, the only index that has heads. There are
/// none for a subject that is too long for a key of it.
///
/// They never change, so only the first write of a head costs a unit of the index. Every write sets
/// them all the same, so that heads of earlier versions enter it.
///
/// Their order is always the same: DynamoDB takes a transaction for a repetition only if its text is.
pub(crate) fn listing(subject: &str) -> Vec<(String, AttributeValue)> {
    if !can_be_listed(subject) {
        return Vec::new();
    }
    let partition = item::subject_partition(item::partition_of(subject));
    vec![
        (attribute::SUBJECT_PARTITION.to_owned(), string(partition)),
        (attribute::LISTED_SUBJECT.to_owned(), string(subject)),
    ]
}

/// Whether the index of subjects can have a subject.
pub(crate) fn can_be_listed(subject: &str) -> bool {
    !subject.is_empty() && subject.len() <= limit::SORT_KEY_BYTES
}

/// Whether a head item is in the index of subjects, or never can be.
pub(crate) fn is_listed(item: &SdkItem, subject: &str) -> bool {
    listing(subject).into_iter().all(|(name, value)| item.get(&name) == Some(&value))
}

/// Whether a subject can have a head: the key of one must fit. Only another writer can have stored a
/// longer subject.
fn can_have_one(subject: &str) -> bool {
    subject.len() <= limit::SUBJECT_BYTES
}

/// The rows of a subject whose sort keys don't sort by time.
#[derive(Debug, Default)]
pub(crate) struct OutOfOrder {
    /// The sort key of the first one.
    first: Option<String>,
    rows: u64,
}

impl OutOfOrder {
    pub(crate) fn look_at(&mut self, row: &SdkItem) {
        let key = row.get(attribute::TIME_TYPE).and_then(|key| key.as_s().ok());
        if let Some(key) = key.filter(|key| !item::sorts_by_time(key)) {
            self.rows += 1;
            self.first.get_or_insert_with(|| key.clone());
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows == 0
    }
}

impl Table {
    /// The stored head of a subject, strongly consistent.
    pub(crate) async fn stored_head(&self, subject: &str) -> Result<Option<Head>, Error> {
        if !can_have_one(subject) {
            return Ok(None);
        }
        match self.get(key(subject)).await? {
            Some(item) => self.readable(subject, &item).map(Some),
            None => Ok(None),
        }
    }

    /// The head of a subject, strongly consistent. If a subject with legacy events has no head, it is
    /// created.
    pub(crate) async fn head(&self, subject: &str) -> Result<Option<Head>, Error> {
        match self.stored_head(subject).await? {
            Some(head) => Ok(Some(head)),
            None => self.adopt_legacy_events(subject).await,
        }
    }

    /// The last revision that a subject has reached, or had a moment ago; `None` where there is no
    /// head to tell. Whether the event is still in the table is another question.
    pub(crate) async fn last_revision(&self, subject: &str) -> Result<Option<u64>, Error> {
        if !can_have_one(subject) {
            return Ok(None);
        }
        let item = self.get_eventually(key(subject)).await?;
        Ok(item.as_ref().and_then(Head::read).map(|head| head.revision))
    }

    /// Lets a subject end at least at this event. `false` if somebody else changes its head at the same
    /// time.
    pub(crate) async fn advance_head(&self, last: &Event) -> Result<bool, Error> {
        let revision = last.revision.unwrap_or_default();
        let new = item(last);
        let stored = match self.stored_head(&last.subject).await? {
            Some(head) => head,
            None => match self.put_if_absent(new.clone(), attribute::SUBJECT).await? {
                None => return Ok(true),
                Some(there) => self.readable(&last.subject, &there)?,
            },
        };
        if stored.revision >= revision {
            return Ok(true);
        }
        let mut values = new;
        let key = key(&last.subject);
        values.retain(|name, _| !key.contains_key(name));
        let expected = SdkItem::from([(attribute::REVISION.to_owned(), number(stored.revision))]);
        Ok(self.update_if(key, expected, values, &[]).await?
            || self.stored_head(&last.subject).await?.is_some_and(|head| head.revision == revision))
    }

    /// Enters a head into the index of subjects. `false` if there is no head, or none that can be in it.
    pub(crate) async fn list_subject(&self, subject: &str) -> Result<bool, Error> {
        let listing: SdkItem = listing(subject).into_iter().collect();
        if listing.is_empty() {
            return Ok(false);
        }
        let mut expected = key(subject);
        expected.remove(attribute::TIME_TYPE);
        self.update_if(key(subject), expected, listing, &[]).await
    }

    fn readable(&self, subject: &str, item: &SdkItem) -> Result<Head, Error> {
        Head::read(item).ok_or_else(|| {
            self.refused(
                format!(
                    "the head item of the subject {subject:?} is damaged: it must have the numbers \
                     `{}` and `{}` and the text `{}`",
                    attribute::REVISION,
                    attribute::LAST_TIME,
                    attribute::LAST_ID
                )
                .into(),
            )
        })
    }

    /// Creates the head of a subject that has events but no head, as the original library leaves it.
    ///
    /// The position of an event in the history counts as its revision, and the next event continues
    /// the count. So all events must be in the order of their times, or the subject is refused.
    pub(crate) async fn adopt_legacy_events(&self, subject: &str) -> Result<Option<Head>, Error> {
        let mut query = Query::of_subject(subject).keys_of_events();
        // Read a single row first. Most subjects with rows have a head, and then there is no need to
        // read the whole history.
        let first = self.query(&query.clone().limited_to(Some(1))).await?;
        if first.items.is_empty() && first.next.is_none() {
            return Ok(None);
        }
        if let Some(head) = self.stored_head(subject).await? {
            return Ok(Some(head));
        }
        let mut head: Option<Head> = None;
        let mut out_of_order = OutOfOrder::default();
        loop {
            let page = self.query(&query).await?;
            for row in &page.items {
                out_of_order.look_at(row);
                let time = row
                    .get(attribute::TIME)
                    .and_then(|value| value.as_n().ok()?.parse::<i64>().ok())
                    .unwrap_or_default();
                let id = row.get(attribute::ID).and_then(|value| value.as_s().ok().cloned());
                let head = head.get_or_insert_default();
                head.revision += 1;
                head.legacy_events += 1;
                head.last_time = head.last_time.max(time);
                head.last_id = id.unwrap_or_default();
            }
            match page.next {
                Some(next) => query = query.starting_after(next),
                None => break,
            }
        }
        let Some(head) = head else { return Ok(None) };
        if let Some(first) = out_of_order.first {
            let place = item::Place::of(&first);
            return Err(Error::OutOfOrder {
                subject: subject.to_owned(),
                belongs: place.sort_key(),
                sort_key: first,
                rows: out_of_order.rows,
            });
        }
        let mut item = key(subject);
        item.insert(attribute::REVISION.to_owned(), number(head.revision));
        item.insert(attribute::LAST_TIME.to_owned(), number(head.last_time));
        item.insert(attribute::LAST_ID.to_owned(), string(head.last_id.clone()));
        item.insert(attribute::LEGACY_EVENTS.to_owned(), number(head.legacy_events));
        item.extend(listing(subject));
        if self.put_if_absent(item, attribute::SUBJECT).await?.is_none() {
            return Ok(Some(head));
        }
        // Another writer was first.
        self.stored_head(subject).await
    }
}
