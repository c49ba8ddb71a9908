//! The message under which an event is published, and how large it is.
//!
//! The publisher sends it, the store refuses events whose message would be too large: both take it
//! from here.

use crate::cloud_event;
use crate::event::Event;
use crate::schema::message_attribute;

/// An event as subscribers get it: CloudEvents JSON, and attributes for their filters.
///
/// ```
/// use eventdb::Message;
/// # let event: eventdb::Event = serde_json::from_str(r#"{"specversion":"1.0","id":"evt-1",
/// #   "source":"https://library.example.com","type":"book.returned","subject":"book:123",
/// #   "time":"2025-01-28T14:30:00.000Z","sequence":"7","data":{"userId":"user:456"}}"#)?;
/// let message = Message::new(&event);
/// assert!(message.attributes.contains(&("sequence", "00000000000000000007".to_owned())));
/// assert!(message.size() < eventdb::schema::limit::MESSAGE_BYTES);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// The event in CloudEvents 1.0 JSON, structured mode.
    pub body: String,
    /// Names and values of the message attributes, each of the type [`ATTRIBUTE_TYPE`].
    pub attributes: Vec<(&'static str, String)>,
}

/// The SNS data type of every message attribute.
pub const ATTRIBUTE_TYPE: &str = "String";

impl Message {
    /// The message of an event.
    ///
    /// ```
    /// # let event: eventdb::Event = serde_json::from_str(r#"{"specversion":"1.0","id":"evt-1",
    /// #   "source":"https://library.example.com","type":"book.returned","subject":"book:123",
    /// #   "time":"2025-01-28T14:30:00.000Z","data":{"userId":"user:456"}}"#)?;
    /// let message = eventdb::Message::new(&event);
    /// assert_eq!(serde_json::from_str::<eventdb::Event>(&message.body)?, event);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    pub fn new(event: &Event) -> Self {
        let body = serde_json::to_string(event)
            // Writing to memory can't fail, and every key of an event is text.
            .unwrap_or_default()
            // SNS and SQS take the characters of XML 1.0, which these two are not. In JSON they
            // only stand inside strings, where an escape means the same.
            // https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
            .replace('\u{FFFE}', "\\ufffe")
            .replace('\u{FFFF}', "\\uffff");
        let mut attributes = vec![
            (message_attribute::ID, event.id.clone()),
            (message_attribute::TYPE, event.ty.clone()),
            (message_attribute::TIME, cloud_event::timestamp(event.time)),
            (message_attribute::SOURCE, event.source.clone()),
            (message_attribute::SUBJECT, event.subject.clone()),
        ];
        if let Some(revision) = event.revision {
            attributes.push((message_attribute::SEQUENCE, cloud_event::sequence(revision)));
        }
        Self { body, attributes }
    }

    /// Bytes that SNS counts: the body and the name, type and value of each attribute.
    /// <https://docs.aws.amazon.com/sns/latest/dg/sns-message-attributes.html>
    ///
    /// ```
    /// # let event: eventdb::Event = serde_json::from_str(r#"{"specversion":"1.0","id":"evt-1",
    /// #   "source":"https://library.example.com","type":"book.returned","subject":"book:123",
    /// #   "time":"2025-01-28T14:30:00.000Z","data":{"userId":"user:456"}}"#)?;
    /// let message = eventdb::Message::new(&event);
    /// assert!(message.size() > message.body.len());
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    pub fn size(&self) -> usize {
        let attributes = self.attributes.iter();
        self.body.len()
            + attributes
                .map(|(name, value)| name.len() + ATTRIBUTE_TYPE.len() + value.len())
                .sum::<usize>()
    }
}
