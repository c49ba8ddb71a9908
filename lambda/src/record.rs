//! Converts a record of the table's stream to an [`Entry`] for the topic. No I/O.

use std::fmt;

use aws_lambda_events::dynamodb::EventRecord;
use chrono::{DateTime, TimeDelta, Utc};
use eventdb::internals::item;
use eventdb::internals::schema::{self, attribute};
use eventdb::{FeedEntry, Listing, Message, StoreId};
use serde_dynamo::{AttributeValue, Item};

use crate::topic::Entry;

/// What a stream record means to the publisher.
///
/// ```
/// use aws_lambda_events::dynamodb::EventRecord;
/// use eventdb_publisher::record::{self, Record};
///
/// let record: EventRecord = serde_json::from_str(
///     r#"{"eventID":"1","eventName":"REMOVE","awsRegion":"eu-west-1",
///         "dynamodb":{"SequenceNumber":"111","SizeBytes":26}}"#,
/// )?;
/// assert!(matches!(record::read(0, record), Record::Skipped("not an INSERT")));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "almost every record is an event")]
pub enum Record {
    /// A new event, ready for the topic.
    Event(Entry),
    /// Not a new event, and the reason: for example, a head item or a deletion.
    Skipped(&'static str),
    /// A new row that should be published but can't be.
    Unpublishable(Unpublishable),
}

/// A row that can't be read as an event, or whose message is too large. It contains the key and the
/// reason, but no event data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpublishable {
    /// Position of its record in the batch.
    pub position: usize,
    /// The row's partition key, if it has one.
    pub subject: Option<String>,
    /// The row's sort key, if it has one.
    pub sort_key: Option<SortKey>,
    /// What is wrong with it.
    pub reason: String,
}

/// The sort key of a row. The keys of a subject's events have the order of the events.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SortKey {
    /// In a table by time: its `time_type`.
    TimeType(String),
    /// In a table by revision.
    Revision(u64),
}

impl fmt::Display for SortKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimeType(key) => formatter.write_str(key),
            Self::Revision(key) => key.fmt(formatter),
        }
    }
}

impl SortKey {
    /// The sort key of an item, if it has one.
    fn of(item: &Item) -> Option<Self> {
        // Rows of a table by time have a revision, too, but it isn't their key.
        if let Some(key) = text(item, attribute::TIME_TYPE) {
            return Some(Self::TimeType(key));
        }
        match item.get(attribute::REVISION) {
            Some(AttributeValue::N(number)) => number.parse().ok().map(Self::Revision),
            _ => None,
        }
    }
}

/// Reads the record at a position of its batch.
///
/// An event is an `INSERT` whose `pk_all` is `all`, or `all-00` to `all-15` in a table by revision, as in the stream mapping's
/// [filter](eventdb::internals::schema::document). Other records are skipped, so the function also
/// works without the filter.
///
/// The message contains the store that the event comes from: the stream's ARN, from the record.
///
/// ```
/// use aws_lambda_events::dynamodb::EventRecord;
/// use eventdb_publisher::record::{self, Record};
///
/// let record: EventRecord = serde_json::from_str(
///     r#"{"eventID":"1","eventName":"INSERT","awsRegion":"eu-west-1",
///         "dynamodb":{"SequenceNumber":"111","SizeBytes":26,"StreamViewType":"NEW_IMAGE",
///           "NewImage":{"subject":{"S":"book:123"},"pk_all":{"S":"all"}}}}"#,
/// )?;
/// let Record::Unpublishable(row) = record::read(0, record) else { panic!() };
/// assert_eq!(row.reason, "`time_type` is missing; it must be text");
/// # Ok::<(), serde_json::Error>(())
/// ```
pub fn read(position: usize, record: EventRecord) -> Record {
    if record.event_name != "INSERT" {
        return Record::Skipped("not an INSERT");
    }
    let store = record.event_source_arn.and_then(|arn| arn.parse::<StoreId>().ok());
    let streamed = record.change.approximate_creation_date_time;
    let keys = record.change.keys;
    let image = record.change.new_image;
    if image.is_empty() {
        // If it were skipped, a stream with the wrong view would lose every event.
        return Record::Unpublishable(Unpublishable {
            position,
            subject: text(&keys, attribute::SUBJECT),
            sort_key: SortKey::of(&keys),
            reason: "the record has no new image; the stream's view type must be NEW_IMAGE"
                .to_owned(),
        });
    }
    let is_event = match image.get(attribute::PK_ALL) {
        Some(AttributeValue::S(partition)) => {
            partition == schema::ALL_EVENTS || partition.starts_with(schema::ALL_EVENTS_PREFIX)
        }
        _ => false,
    };
    if !is_event {
        return Record::Skipped("not an event, but another item of the store");
    }
    let sort_key = SortKey::of(&image);
    match item::decode(image) {
        Ok(event) => {
            let time_type = match &sort_key {
                Some(SortKey::TimeType(key)) => Some(key.as_str()),
                _ => None,
            };
            let listing = FeedEntry::new(&event, time_type, Listing::Published);
            let message = match &store {
                Some(store) => Message::of_store(&event, store),
                None => Message::new(&event),
            };
            Record::Event(Entry {
                position,
                sort_key,
                subject: event.subject,
                revision: event.revision,
                source: event.source,
                id: event.id,
                streamed: streamed_at(streamed, event.time),
                message,
                listing,
            })
        }
        Err(invalid) => Record::Unpublishable(Unpublishable {
            position,
            subject: text(&invalid.item, attribute::SUBJECT)
                .or_else(|| text(&keys, attribute::SUBJECT)),
            sort_key: sort_key.or_else(|| SortKey::of(&keys)),
            reason: invalid.reason,
        }),
    }
}

/// When the event arrived in the stream. The record contains only the second. If the event's time is
/// in that second, it is used instead, so that a lag of milliseconds is visible. The time of an
/// imported event, or one from a wrong clock, isn't in that second.
fn streamed_at(second: DateTime<Utc>, event: DateTime<Utc>) -> Option<DateTime<Utc>> {
    // A record without a time is parsed to this value.
    if second == DateTime::UNIX_EPOCH {
        return None;
    }
    Some(event.max(second).min(second + TimeDelta::milliseconds(999)))
}

fn text(item: &Item, name: &str) -> Option<String> {
    match item.get(name) {
        Some(AttributeValue::S(text)) => Some(text.clone()),
        _ => None,
    }
}
