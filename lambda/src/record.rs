//! Converts a record of the table's stream to an [`Entry`] for the topic. No I/O.

use aws_lambda_events::dynamodb::EventRecord;
use chrono::{DateTime, TimeDelta, Utc};
use eventdb::internals::item;
use eventdb::internals::schema::{self, attribute};
use eventdb::{FeedEntry, InvalidItem, Listing, Message, StoreId};
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
    pub time_type: Option<String>,
    /// What is wrong with it.
    pub reason: String,
}

/// Reads the record at a position of its batch.
///
/// An event is an `INSERT` whose `pk_all` is `all`, as in the stream mapping's
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
            time_type: text(&keys, attribute::TIME_TYPE),
            reason: "the record has no new image; the stream's view type must be NEW_IMAGE"
                .to_owned(),
        });
    }
    if !matches!(image.get(attribute::PK_ALL), Some(AttributeValue::S(value)) if value == schema::ALL_EVENTS)
    {
        return Record::Skipped("not an event, but another item of the store");
    }
    let sort_key = text(&image, attribute::TIME_TYPE);
    match item::decode(image) {
        Ok(event) => {
            let listing = FeedEntry::new(&event, sort_key.as_deref(), Listing::Published);
            let message = match &store {
                Some(store) => Message::of_store(&event, store),
                None => Message::new(&event),
            };
            let time_type = item::time_type(event.time, &event.ty);
            Record::Event(Entry {
                position,
                time_type,
                subject: event.subject,
                revision: event.revision,
                source: event.source,
                id: event.id,
                streamed: streamed_at(streamed, event.time),
                message,
                listing,
            })
        }
        Err(invalid) => Record::Unpublishable(unreadable(position, &keys, &invalid)),
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

fn unreadable(position: usize, keys: &Item, invalid: &InvalidItem) -> Unpublishable {
    let key = |in_image: Option<&str>, name| in_image.map(str::to_owned).or(text(keys, name));
    Unpublishable {
        position,
        subject: key(invalid.subject(), attribute::SUBJECT),
        time_type: key(invalid.time_type(), attribute::TIME_TYPE),
        reason: invalid.reason.clone(),
    }
}

fn text(item: &Item, name: &str) -> Option<String> {
    match item.get(name) {
        Some(AttributeValue::S(text)) => Some(text.clone()),
        _ => None,
    }
}
