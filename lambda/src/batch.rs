//! Parsing the payload of an invocation. Each record is converted as soon as it is parsed. No I/O.

use std::fmt;

use aws_lambda_events::dynamodb::EventRecord;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::record::{self, Record, Unpublishable};
use crate::topic::Entry;

/// The payload isn't what Lambda delivers from a DynamoDB stream. It contains only the place, because
/// the parser's message would quote the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the payload isn't a batch of DynamoDB stream records (line {line}, column {column})")]
pub struct InvalidPayload {
    /// Line of the payload, from 1.
    pub line: usize,
    /// Column of that line, from 1.
    pub column: usize,
}

/// A batch of stream records.
///
/// A batch can have 6 MB of JSON. To save memory, each record is converted to a message before the
/// next one is parsed.
#[derive(Debug, Default)]
pub struct Batch {
    /// The sequence number of each record, by its position.
    pub sequence_numbers: Vec<Option<String>>,
    /// The events.
    pub entries: Vec<Entry>,
    /// The rows that should be published but can't be.
    pub unpublishable: Vec<Unpublishable>,
    /// Positions of the records that aren't new events, and why they aren't.
    pub skipped: Vec<(usize, &'static str)>,
}

impl Batch {
    /// Reads the JSON that Lambda delivers.
    ///
    /// # Errors
    /// If a part of it isn't a stream record. Then the whole batch is refused.
    ///
    /// ```
    /// use eventdb_publisher::batch::Batch;
    ///
    /// assert!(Batch::read(r#"{"Records":[]}"#)?.entries.is_empty());
    /// let invalid = Batch::read("{}").unwrap_err();
    /// assert_eq!((invalid.line, invalid.column), (1, 2));
    /// # Ok::<(), eventdb_publisher::batch::InvalidPayload>(())
    /// ```
    pub fn read(payload: &str) -> Result<Self, InvalidPayload> {
        #[derive(Deserialize)]
        struct Event {
            #[serde(rename = "Records", deserialize_with = "batch")]
            records: Batch,
        }

        match serde_json::from_str::<Event>(payload) {
            Ok(event) => Ok(event.records),
            Err(error) => Err(InvalidPayload { line: error.line(), column: error.column() }),
        }
    }

    /// Moves the events whose message is too large for the topic to the unpublishable rows. The store
    /// refuses such events, but other writers may have written them.
    ///
    /// ```
    /// use eventdb_publisher::batch::Batch;
    ///
    /// let mut batch = Batch::read(r#"{"Records":[]}"#)?;
    /// batch.refuse_larger_than(262_144);
    /// assert!(batch.unpublishable.is_empty());
    /// # Ok::<(), eventdb_publisher::batch::InvalidPayload>(())
    /// ```
    pub fn refuse_larger_than(&mut self, bytes: usize) {
        for entry in self.entries.extract_if(.., |entry| entry.message.size() > bytes) {
            let size = entry.message.size();
            self.unpublishable.push(Unpublishable {
                position: entry.position,
                subject: Some(entry.subject),
                sort_key: entry.sort_key,
                reason: format!("its message has {size} bytes; it must have at most {bytes}"),
            });
        }
    }

    fn add(&mut self, mut record: EventRecord) {
        let position = self.sequence_numbers.len();
        self.sequence_numbers.push(record.change.sequence_number.take());
        match record::read(position, record) {
            Record::Event(entry) => self.entries.push(entry),
            Record::Skipped(reason) => self.skipped.push((position, reason)),
            Record::Unpublishable(row) => self.unpublishable.push(row),
        }
    }
}

/// Reads an array of stream records.
fn batch<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Batch, D::Error> {
    struct Records;

    impl<'de> Visitor<'de> for Records {
        type Value = Batch;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("an array of stream records")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut records: A) -> Result<Batch, A::Error> {
            let mut batch = Batch::default();
            while let Some(record) = records.next_element()? {
                batch.add(record);
            }
            Ok(batch)
        }
    }

    deserializer.deserialize_seq(Records)
}

/// The payload of an invocation: a batch, or the reason why it isn't one.
///
/// Deserializing it never fails. So this function reports the error, and not the Lambda runtime,
/// which would quote the payload.
///
/// ```
/// use eventdb_publisher::batch::Payload;
///
/// assert!(Payload::from(r#"{"Records":[]}"#).0.is_ok());
/// let payload: Payload = serde_json::from_str("[]")?;
/// assert!(payload.0.is_err());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug)]
pub struct Payload(pub Result<Batch, InvalidPayload>);

impl<T: AsRef<str>> From<T> for Payload {
    fn from(json: T) -> Self {
        Self(Batch::read(json.as_ref()))
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The runtime records the path to each member for its errors, but not inside a raw value.
        <&RawValue>::deserialize(deserializer).map(|json| Self::from(json.get()))
    }
}
