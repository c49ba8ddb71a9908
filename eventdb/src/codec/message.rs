//! The message in which an event is published, and its size.
//!
//! The publisher sends it, and the store refuses events whose message would be too large.

use std::borrow::Cow;
use std::io;

use crate::codec::cloud_event;
use crate::codec::store_id::StoreId;
use crate::event::Event;
use crate::schema::{extension, limit, message_attribute};

/// The message in which the publisher sends an event: CloudEvents JSON, and attributes for filters.
///
/// The publisher builds it. In tests of a subscriber, it gives you the messages that the subscriber
/// will receive:
///
/// ```
/// # let event: eventdb::Event = serde_json::from_str(r#"{"specversion":"1.0","id":"evt-1",
/// #   "source":"https://library.example.com","type":"book.returned","subject":"book:123",
/// #   "time":"2025-01-28T14:30:00.000Z","sequence":"7","data":{"userId":"user:456"}}"#)?;
/// use eventdb::{Message, ReceivedMessage, StoreId};
///
/// let store: StoreId = "library".parse()?;
/// let message = Message::of_store(&event, &store);
/// let received = ReceivedMessage::read(&message.body)?;
/// assert_eq!(received.event, event);
/// assert_eq!(received.store, Some(store));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// The event in CloudEvents 1.0 JSON, structured mode.
    pub body: String,
    /// Names and values of the message attributes, each of the SNS data type `String`.
    pub attributes: Vec<(&'static str, String)>,
}

/// The SNS data type of every message attribute.
pub const ATTRIBUTE_TYPE: &str = "String";

/// Characters that JSON text may have but a message may not, and their escapes.
const ESCAPED: [(char, &str); 2] = [('\u{FFFE}', "\\ufffe"), ('\u{FFFF}', "\\uffff")];

/// The first byte of both. Few other characters begin with it, so text without it is the usual case.
const FIRST_BYTE_OF_ESCAPED: u8 = 0xEF;

impl Message {
    /// The message of an event, without the id of its store.
    pub fn new(event: &Event) -> Self {
        Self::published(event, None)
    }

    /// The message of an event of the given store, as the publisher sends it. The body names the
    /// store in the attribute `eventstore`.
    pub fn of_store(event: &Event, store: &StoreId) -> Self {
        Self::published(event, Some(store))
    }

    fn published(event: &Event, store: Option<&StoreId>) -> Self {
        let mut body = cloud_event::to_json(event, store);
        // SNS and SQS accept only the characters of XML 1.0, which excludes these two. In JSON they
        // occur only in strings, where the escape means the same.
        // https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
        if body.as_bytes().contains(&FIRST_BYTE_OF_ESCAPED) {
            for (character, escape) in ESCAPED {
                body = body.replace(character, escape);
            }
        }
        let attributes = attributes(event, event.revision)
            .map(|(name, value)| (name, value.into_owned()))
            .collect();
        Self { body, attributes }
    }

    /// Size in bytes as SNS counts it: the body, and the name, type and value of each attribute.
    /// <https://docs.aws.amazon.com/sns/latest/dg/sns-message-attributes.html>
    pub fn size(&self) -> usize {
        let attributes = self.attributes.iter();
        self.body.len() + attributes.map(|(name, value)| attribute_size(name, value)).sum::<usize>()
    }
}

fn attributes(
    event: &Event,
    revision: Option<u64>,
) -> impl Iterator<Item = (&'static str, Cow<'_, str>)> {
    let sequence = revision.map(cloud_event::sequence);
    [
        (message_attribute::ID, event.id.as_str().into()),
        (message_attribute::TYPE, event.ty.as_str().into()),
        (message_attribute::TIME, cloud_event::timestamp(event.time).into()),
        (message_attribute::SOURCE, event.source.as_str().into()),
        (message_attribute::SUBJECT, event.subject.as_str().into()),
    ]
    .into_iter()
    .chain(sequence.map(|sequence| (message_attribute::SEQUENCE, sequence.into())))
}

fn attribute_size(name: &str, value: &str) -> usize {
    name.len() + ATTRIBUTE_TYPE.len() + value.len()
}

/// The largest size that the message of an event can have, whatever its revision and store. It is
/// computed without building the message.
pub(crate) fn largest_size(event: &Event) -> usize {
    let mut body = Counter(0);
    // Counting bytes can't fail.
    let _ = cloud_event::write_json(event, None, &mut body);
    if event.revision.is_none() {
        body.0 += member_size(extension::SEQUENCE, cloud_event::sequence(u64::MAX).len());
    }
    body.0 += member_size(extension::STORE, limit::STORE_ID_BYTES);
    let attributes = attributes(event, Some(u64::MAX));
    body.0 + attributes.map(|(name, value)| attribute_size(name, &value)).sum::<usize>()
}

/// Size in bytes of another member of an object, whose value is text of `value` bytes.
fn member_size(name: &str, value: usize) -> usize {
    ",\"\":\"\"".len() + name.len() + value
}

/// Counts the bytes of JSON. Characters that a message can't have count as their escapes.
struct Counter(usize);

impl io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Strings are written in pieces between their escapes, so no character is split.
        let escaped = if bytes.contains(&FIRST_BYTE_OF_ESCAPED) {
            bytes.windows(3).filter(|bytes| matches!(bytes, [0xEF, 0xBF, 0xBE | 0xBF])).count()
        } else {
            0
        };
        self.0 += bytes.len() + escaped * ("\\uffff".len() - '\u{FFFF}'.len_utf8());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use proptest::prelude::{any, prop_assert_eq, proptest};
    use serde_json::json;

    use super::*;

    proptest! {
        #[test]
        fn the_computed_size_is_that_of_the_message(
            id in ".{3,9}",
            texts in proptest::collection::vec(
                "[\u{FFFE}\u{FFFF}\u{FFFD}\u{1}\"\\\\\n/a-zäß\u{10FFFF}]*", 0..4),
            number in any::<f64>(),
            is_stored in any::<bool>(),
        ) {
            let mut event = Event::builder()
                .id(id)
                .source("https://library.example.com")
                .ty("book.borrowed")
                .subject("book:1")
                .time(DateTime::UNIX_EPOCH)
                .data(json!({ "texts": texts, "number": number }))
                .build();
            event.revision = is_stored.then_some(7);
            let size = largest_size(&event);
            event.revision = Some(u64::MAX);
            let store = "s".repeat(limit::STORE_ID_BYTES).parse().expect("as long as it may be");
            prop_assert_eq!(size, Message::of_store(&event, &store).size());
        }
    }
}
