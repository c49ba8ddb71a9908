//! Reading the body of a message that a subscriber receives.

use serde::Deserialize;
use serde_json::Value;

use crate::codec::store_id::{InvalidStoreId, StoreId};
use crate::event::Event;
use crate::schema::{extension, message_attribute};

/// A published event as it arrives in a subscriber's queue.
///
/// With raw message delivery, the body is the event in CloudEvents JSON. Otherwise, that JSON is in
/// [SNS's envelope]. Both are recognised.
///
/// [SNS's envelope]: https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html
///
/// ```
/// use eventdb::ReceivedMessage;
///
/// let body = r#"{
///     "Type": "Notification",
///     "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
///     "TopicArn": "arn:aws:sns:eu-west-1:111111111111:EventDB-prod",
///     "Message": "{\"specversion\":\"1.0\",\"id\":\"evt-1\",\"type\":\"book.returned\",\"source\":\"https://library.example.com\",\"subject\":\"book:123\",\"time\":\"2025-01-28T14:30:00.000Z\",\"sequence\":\"00000000000000000007\",\"data\":{}}"
/// }"#;
/// let message = ReceivedMessage::read(body)?;
/// assert_eq!(message.event.revision, Some(7));
/// assert_eq!(message.topic_arn.as_deref(), Some("arn:aws:sns:eu-west-1:111111111111:EventDB-prod"));
/// # Ok::<(), eventdb::MessageError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ReceivedMessage {
    /// The event. Its revision is the message's `sequence`.
    pub event: Event,
    /// The store that the event comes from: the message's `eventstore`. `None` if another publisher
    /// sent the message.
    pub store: Option<StoreId>,
    /// ARN of the topic that sent it, as the envelope says; `None` with raw message delivery.
    pub topic_arn: Option<String>,
    /// The name of the replay that sent it; `None` if the event was published now, or if the
    /// attributes of the message [aren't known](Self::with_attributes).
    pub replay: Option<String>,
}

/// A message that doesn't contain an event. The error text doesn't quote the message's data.
///
/// ```
/// let error = eventdb::ReceivedMessage::read("{}").unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "the message is neither a CloudEvent in JSON nor an SNS notification: it has neither \
///      `specversion` nor `Type`"
/// );
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// The body is neither a CloudEvent nor an SNS notification.
    #[error("the message is neither a CloudEvent in JSON nor an SNS notification: {0}")]
    Foreign(String),
    /// It is an invalid CloudEvent, or one that this store can't hold, such as one without a subject.
    #[error("the message isn't an event that this store can hold: {0}")]
    Event(#[source] serde_json::Error),
}

/// <https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html#http-notification-json>
#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "Type")]
    ty: String,
    #[serde(rename = "TopicArn")]
    topic_arn: Option<String>,
    #[serde(rename = "Message")]
    message: Option<String>,
}

impl ReceivedMessage {
    /// A message for a [`Projection`](crate::Projection), from an event that was read directly from
    /// the given store: see [`EventDb::store_id`](crate::EventDb::store_id).
    pub fn of_store(event: Event, store: StoreId) -> Self {
        Self { event, store: Some(store), topic_arn: None, replay: None }
    }

    /// The same message, with what its SQS message attributes say, given as names and values of text.
    /// They tell whether the message was [replayed](Self::replay): its body is the same as when the
    /// event was published. Ask SQS for the attribute `replay`; a Lambda function gets all attributes.
    ///
    /// ```
    /// # fn send_mail(event: &eventdb::Event) {}
    /// # fn example(body: &str) -> Result<(), eventdb::MessageError> {
    /// let message = eventdb::ReceivedMessage::read(body)?.with_attributes([("replay", "replay-7")]);
    /// if message.replay.is_none() {
    ///     send_mail(&message.event);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_attributes<N: AsRef<str>, V: Into<String>>(
        self,
        attributes: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let mut attributes = attributes.into_iter();
        let replay = attributes.find(|(name, _)| name.as_ref() == message_attribute::REPLAY);
        Self { replay: replay.map(|(_, value)| value.into()), ..self }
    }

    fn published(value: Value, topic_arn: Option<String>) -> Result<Self, MessageError> {
        use serde::de::Error as _;
        let invalid = |problem: String| {
            let problem = format!("`{}`: {problem}", extension::STORE);
            MessageError::Event(serde_json::Error::custom(problem))
        };
        let store = match value.get(extension::STORE) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => {
                let store = text.parse();
                Some(store.map_err(|error: InvalidStoreId| invalid(error.to_string()))?)
            }
            Some(_) => return Err(invalid("it must be text".to_owned())),
        };
        let event = serde_json::from_value(value).map_err(MessageError::Event)?;
        Ok(Self { event, store, topic_arn, replay: None })
    }

    /// Reads the body of a message from SQS or HTTPS. It doesn't check the signature of an HTTPS
    /// message.
    ///
    /// # Errors
    /// [`MessageError`] if the body doesn't contain an event.
    ///
    /// ```
    /// # use eventdb::ReceivedMessage;
    /// let message = ReceivedMessage::read(
    ///     r#"{"specversion":"1.0","id":"evt-1","source":"https://library.example.com",
    ///         "type":"book.returned","subject":"book:123","time":"2025-01-28T14:30:00.000Z",
    ///         "sequence":"00000000000000000007","data":{}}"#,
    /// )?;
    /// assert_eq!(message.topic_arn, None);
    /// # Ok::<(), eventdb::MessageError>(())
    /// ```
    pub fn read(body: &str) -> Result<Self, MessageError> {
        let foreign = |reason: String| MessageError::Foreign(reason);
        let value: Value = serde_json::from_str(body)
            .map_err(|error| foreign(format!("it isn't JSON: {error}")))?;
        if value.get("specversion").is_some() {
            return Self::published(value, None);
        }
        if value.get("Type").is_none() {
            return Err(foreign("it has neither `specversion` nor `Type`".to_owned()));
        }
        let envelope: Envelope = serde_json::from_value(value)
            .map_err(|_| foreign("a member of the envelope isn't text".to_owned()))?;
        match (envelope.ty.as_str(), envelope.message) {
            ("Notification", Some(message)) => {
                let value = serde_json::from_str(&message).map_err(MessageError::Event)?;
                Self::published(value, envelope.topic_arn)
            }
            ("Notification", None) => Err(foreign("the envelope has no `Message`".to_owned())),
            // For example, a request to confirm a subscription.
            _ => Err(foreign("the envelope's `Type` isn't `Notification`".to_owned())),
        }
    }
}

impl From<Event> for ReceivedMessage {
    /// A message for an event whose store isn't known.
    fn from(event: Event) -> Self {
        Self { event, store: None, topic_arn: None, replay: None }
    }
}
