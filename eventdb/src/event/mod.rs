//! The stored [`Event`] and its extension attributes.

pub(crate) mod candidate;
pub(crate) mod data;
pub(crate) mod decimal;
pub(crate) mod json_text;
pub(crate) mod metadata;
pub(crate) mod path;

use std::collections::BTreeMap;
use std::fmt;

use bon::Builder;
use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;

use crate::event::data::EventData;

/// An error whose type only the one who provides it knows, such as a read model's database.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A domain event as it is stored: a [CloudEvent] with a JSON object as its data.
///
/// Events come from the store, from CloudEvents JSON (`serde_json::from_str::<Event>`) or from
/// [`Event::builder`], which compiles only if every required attribute is set. Serializing an event
/// gives CloudEvents 1.0 JSON (structured mode). There, the revision is the extension [`sequence`],
/// padded with zeros to 20 digits so that it sorts as text.
///
/// [CloudEvent]: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md
/// [`sequence`]: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/extensions/sequence.md
///
/// ```
/// use chrono::{TimeZone, Utc};
/// use eventdb::Event;
/// use serde_json::json;
///
/// let event = Event::builder()
///     .id("evt-abc-123")
///     .source("https://library.example.com")
///     .ty("book.returned")
///     .subject("book:123")
///     .time(Utc.with_ymd_and_hms(2025, 1, 28, 14, 30, 0).unwrap())
///     .data(json!({ "userId": "user:456" }))
///     .extension("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
///     .build();
/// assert_eq!(event.data["userId"], "user:456");
/// assert_eq!(event.revision, None, "the store assigns it");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Builder)]
#[builder(on(String, into))]
#[non_exhaustive]
pub struct Event {
    /// CloudEvents extension attributes by name. A name has 1 to 64 lower-case letters and digits,
    /// and can't be the name of another attribute of this struct or `sequence`.
    #[builder(field)]
    pub extensions: BTreeMap<String, ExtensionValue>,
    /// Identifies the event together with `source`. At least 3 characters, at most 2,048 bytes.
    pub id: String,
    /// Where the event comes from: a [URI-reference], at least 3 characters.
    ///
    /// [URI-reference]: https://datatracker.ietf.org/doc/html/rfc3986#section-4.1
    pub source: String,
    /// What happened (`type` in CloudEvents), such as `book.borrowed`. At least 3 characters, at
    /// most 1,010 bytes.
    pub ty: String,
    /// The entity that it happened to, such as `book:123`. At least 3 characters, at most 2,042
    /// bytes, or 1,024 in a table by revision. It can't begin with `$`.
    pub subject: String,
    /// When it happened, in whole milliseconds of UTC.
    ///
    /// Finer digits are cut off, however an event is made: from CloudEvents JSON, by the builder,
    /// from an event of the CloudEvents SDK, or with a time that is set here before `add_events`.
    /// A leap second counts as the first second of the next minute, as in Unix time: `23:59:60.5Z`
    /// becomes `00:00:00.500Z`. The store holds times from 1970 to 2286-11-20T17:46:39.999Z.
    #[builder(with = |time: impl Into<DateTime<Utc>>| whole_milliseconds(time.into()))]
    pub time: DateTime<Utc>,
    /// The payload: always a JSON object.
    #[builder(into)]
    pub data: EventData,
    /// Position in the subject: 1, 2, 3, … without a gap. `None` on legacy rows, which were written
    /// without one, and usually before the event is stored. If you set it before
    /// `EventDb::add_events`, the append succeeds only if the event gets exactly this revision.
    #[builder(skip)]
    pub revision: Option<u64>,
    /// Media type of the payload: `application/json` or one that ends in `+json`. Absent means
    /// `application/json`.
    pub datacontenttype: Option<String>,
    /// The payload's schema: an absolute URI.
    pub dataschema: Option<String>,
}

/// A time in the precision in which times are compared, stored and returned.
pub(crate) fn whole_milliseconds(time: DateTime<Utc>) -> DateTime<Utc> {
    // In Unix milliseconds, a leap second equals the second that follows it. The conversion back
    // can't fail, because the number comes from a valid time.
    DateTime::from_timestamp_millis(time.timestamp_millis()).unwrap_or(time)
}

impl<S: event_builder::State> EventBuilder<S> {
    /// Adds a CloudEvents extension attribute. A second one with the same name replaces the first.
    /// See the example at [`Event`].
    pub fn extension(mut self, name: impl Into<String>, value: impl Into<ExtensionValue>) -> Self {
        self.extensions.insert(name.into(), value.into());
        self
    }
}

impl Event {
    /// The payload, deserialized into your type.
    ///
    /// # Errors
    /// When the payload doesn't have the shape of `T`.
    ///
    /// ```
    /// # use eventdb::Event;
    /// #[derive(serde::Deserialize)]
    /// struct Returned {
    ///     #[serde(rename = "userId")]
    ///     user_id: String,
    /// }
    /// # let event: Event = serde_json::from_str(r#"{"specversion":"1.0","id":"evt-1",
    /// #   "source":"https://library.example.com","type":"book.returned","subject":"book:123",
    /// #   "time":"2025-01-28T14:30:00.000Z","data":{"userId":"user:456"}}"#)?;
    /// assert_eq!(event.data_as::<Returned>()?.user_id, "user:456");
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    pub fn data_as<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        self.data.read()
    }

    /// The first attribute that shows that another event isn't a repetition of this one, if any.
    ///
    /// Time and revision aren't compared, because the store assigns them. The attributes of the
    /// request (`traceparent`, `tracestate`, `correlationid` and `causationid`) aren't either,
    /// because a repeated call usually runs in another trace.
    #[cfg(feature = "dynamodb")]
    pub(crate) fn difference(&self, other: &Self) -> Option<&'static str> {
        /// Extensions that describe the request that caused the event, not the event itself.
        const OF_THE_REQUEST: [&str; 4] =
            ["traceparent", "tracestate", "correlationid", "causationid"];
        let without_trace = |event: &Self| {
            let mut extensions = event.extensions.clone();
            extensions.retain(|name, _| !OF_THE_REQUEST.contains(&name.as_str()));
            extensions
        };
        [
            ("id", self.id != other.id),
            ("source", self.source != other.source),
            ("type", self.ty != other.ty),
            ("subject", self.subject != other.subject),
            ("data", self.data != other.data),
            ("datacontenttype", self.datacontenttype != other.datacontenttype),
            ("dataschema", self.dataschema != other.dataschema),
            ("extensions", without_trace(self) != without_trace(other)),
        ]
        .into_iter()
        .find_map(|(attribute, differs)| differs.then_some(attribute))
    }
}

/// The value of a CloudEvents extension attribute: one of the types that the [JSON format]
/// distinguishes.
///
/// [JSON format]: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md#22-type-system-mapping
///
/// ```
/// use eventdb::ExtensionValue;
///
/// assert_eq!(ExtensionValue::from("order-77").to_string(), "order-77");
/// assert_eq!(ExtensionValue::from(true), ExtensionValue::Boolean(true));
/// assert_eq!(ExtensionValue::from(7), ExtensionValue::Integer(7));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExtensionValue {
    /// Text, including times, URIs and Base64, which CloudEvents writes as text.
    String(String),
    /// True or false.
    Boolean(bool),
    /// A whole number of 32 bits.
    Integer(i32),
}

impl fmt::Display for ExtensionValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::String(value) => value.fmt(formatter),
            Self::Boolean(value) => value.fmt(formatter),
            Self::Integer(value) => value.fmt(formatter),
        }
    }
}

impl From<String> for ExtensionValue {
    fn from(value: String) -> Self {
        Self::String(value)
    }
}

impl From<&str> for ExtensionValue {
    fn from(value: &str) -> Self {
        Self::String(value.to_owned())
    }
}

impl From<bool> for ExtensionValue {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl From<i32> for ExtensionValue {
    fn from(value: i32) -> Self {
        Self::Integer(value)
    }
}
