//! A record of the table's stream becomes an [`Entry`] for the topic. No I/O.

use aws_lambda_events::dynamodb::EventRecord;
use chrono::{DateTime, TimeDelta, Utc};
use eventdb::schema::{self, attribute};
use eventdb::{InvalidItem, Message, StoreId, item};
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
/// assert!(matches!(record::read(0, record), Record::Skipped("no INSERT")));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug)]
pub enum Record {
    /// A new event, ready for the topic.
    Event(Entry),
    /// No new event, for this reason: a head item, say, or a deletion.
    Skipped(&'static str),
    /// A new row that should be published and can't be.
    Unpublishable(Unpublishable),
}

/// A row that can't be read as an event, or whose message is too large. It holds the key and the
/// reason, never the contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpublishable {
    /// Position of its record in the batch.
    pub position: usize,
    /// The row's partition key, where it has one.
    pub subject: Option<String>,
    /// The row's sort key, where it has one.
    pub time_type: Option<String>,
    /// What is wrong with it.
    pub reason: String,
}

/// Reads the record at a position of its batch.
///
/// An event is what the [schema's filter](eventdb::schema::document) of the stream lets through:
/// an `INSERT` whose `pk_all` is `all`. Anything else is skipped, so that the function is also
/// right where the filter is missing.
///
/// The message says which store it comes from: the stream's ARN, which each record holds.
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
/// assert_eq!(row.reason, "`time_type` is missing; allowed is text");
/// # Ok::<(), serde_json::Error>(())
/// ```
pub fn read(position: usize, record: EventRecord) -> Record {
    if record.event_name != "INSERT" {
        return Record::Skipped("no INSERT");
    }
    let store = record.event_source_arn.and_then(|arn| arn.parse::<StoreId>().ok());
    let streamed = record.change.approximate_creation_date_time;
    let keys = record.change.keys;
    let image = record.change.new_image;
    if image.is_empty() {
        // Skipping these would lose every event of a table whose stream has the wrong view.
        return Record::Unpublishable(Unpublishable {
            position,
            subject: text(&keys, attribute::SUBJECT),
            time_type: text(&keys, attribute::TIME_TYPE),
            reason: "the record has no new image; the stream's view must be NEW_IMAGE".to_owned(),
        });
    }
    if !matches!(image.get(attribute::PK_ALL), Some(AttributeValue::S(value)) if value == schema::ALL_EVENTS)
    {
        return Record::Skipped("an item of the store's own");
    }
    match item::decode(image) {
        Ok(event) => {
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
            })
        }
        Err(invalid) => Record::Unpublishable(unreadable(position, &keys, &invalid)),
    }
}

/// When the stream got an event, of whose time it says only the second. Where the event's own time
/// lies in that second it is taken, so that a lag of milliseconds can be seen; an imported event's
/// time, or one by a wrong clock, doesn't.
fn streamed_at(second: DateTime<Utc>, event: DateTime<Utc>) -> Option<DateTime<Utc>> {
    // What a record without it is parsed to.
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
