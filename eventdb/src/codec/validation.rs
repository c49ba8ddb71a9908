//! What an event must be like to be stored and published; every fault is reported at once.

use std::collections::HashMap;
use std::fmt;

use fluent_uri::{Uri, UriRef};
use serde_json::Value;

use crate::codec::cloud_event;
use crate::codec::item;
use crate::codec::message;
use crate::event::decimal;
use crate::event::path::Path;
use crate::event::{Event, ExtensionValue};
use crate::schema::{self, attribute, limit};

/// Most characters of an extension's name. CloudEvents recommends at most 20; this is the room that
/// everyone else's names seem to need, and a bound.
pub const EXTENSION_NAME_CHARACTERS: usize = 64;

/// One fault of one event or argument.
///
/// ```
/// # let faults = eventdb::validation::check_subject("$x").unwrap_err();
/// assert_eq!(faults.as_slice()[0].attribute, "subject");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// Which of the given events it is, from 0; `None` for an argument that belongs to no event.
    pub index: Option<usize>,
    /// The attribute, such as `subject` or `data.amount`.
    pub attribute: String,
    /// What is wrong and what is allowed.
    pub problem: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(index) = self.index {
            write!(formatter, "event {index}: ")?;
        }
        write!(formatter, "`{}` {}", self.attribute, self.problem)
    }
}

/// All faults of the events of one call; never empty.
///
/// ```
/// let faults = eventdb::validation::check_subject("x").unwrap_err();
/// assert_eq!(
///     faults.to_string(),
///     "`subject` has 1 character; allowed are at least 3"
/// );
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// The faults in the order of the events.
    ///
    /// ```
    /// # let faults = eventdb::validation::check_subject("x").unwrap_err();
    /// assert_eq!(faults.as_slice().len(), 1);
    /// ```
    pub fn as_slice(&self) -> &[Fault] {
        &self.0
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, fault) in self.0.iter().enumerate() {
            if position > 0 {
                formatter.write_str("; ")?;
            }
            fault.fmt(formatter)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// Collects faults, remembering which event is looked at.
#[derive(Default)]
struct Findings {
    faults: Vec<Fault>,
    index: Option<usize>,
}

impl Findings {
    fn add(&mut self, attribute: impl Into<String>, problem: impl Into<String>) {
        self.faults.push(Fault {
            index: self.index,
            attribute: attribute.into(),
            problem: problem.into(),
        });
    }

    fn into_result(mut self) -> Result<(), Faults> {
        self.faults.sort_by_key(|fault| fault.index);
        if self.faults.is_empty() { Ok(()) } else { Err(Faults(self.faults)) }
    }
}

/// Checks complete events as one append would store them.
///
/// # Errors
/// Every fault of every event.
///
/// ```
/// # let event: eventdb::Event = serde_json::from_str(r#"{"specversion":"1.0","id":"evt-1",
/// #   "source":"https://library.example.com","type":"book.returned","subject":"book:123",
/// #   "time":"2025-01-28T14:30:00.000Z","data":{"userId":"user:456"}}"#)?;
/// use eventdb::validation::check_events;
///
/// assert!(check_events(&[event.clone()]).is_ok());
/// let faults = check_events(&[event.clone(), event]).unwrap_err();
/// assert!(faults.to_string().starts_with("event 1: `id` is also that of event 0"));
/// # Ok::<(), serde_json::Error>(())
/// ```
pub fn check_events(events: &[Event]) -> Result<(), Faults> {
    check_events_within(events, limit::MESSAGE_BYTES)
}

/// [`check_events`] for a store whose topic takes larger messages: see `EventDb::with_message_limit`.
///
/// # Errors
/// Every fault of every event, and a message limit outside 262,144 to 1,048,576 bytes.
///
/// ```
/// # let event: eventdb::Event = serde_json::from_str(r#"{"specversion":"1.0","id":"evt-1",
/// #   "source":"https://library.example.com","type":"book.returned","subject":"book:123",
/// #   "time":"2025-01-28T14:30:00.000Z","data":{"userId":"user:456"}}"#)?;
/// use eventdb::{schema::limit, validation};
///
/// assert!(validation::check_events_within(&[event], limit::LARGEST_MESSAGE_BYTES).is_ok());
/// # Ok::<(), serde_json::Error>(())
/// ```
pub fn check_events_within(events: &[Event], message_bytes: usize) -> Result<(), Faults> {
    check_message_limit(message_bytes)?;
    check(events, true, message_bytes, Findings::default())
}

/// Checks whether a topic can be told to take messages of at most so many bytes.
///
/// # Errors
/// It is less than SNS's default (262,144) or more than SNS allows (1,048,576).
///
/// ```
/// use eventdb::validation::check_message_limit;
///
/// assert!(check_message_limit(1_048_576).is_ok());
/// let faults = check_message_limit(2_000_000).unwrap_err();
/// assert_eq!(
///     faults.to_string(),
///     "`message limit` is 2000000 bytes; it must be from 262144 to 1048576 bytes, the \
///      `MaximumMessageSize` of the topic"
/// );
/// ```
pub fn check_message_limit(bytes: usize) -> Result<(), Faults> {
    let mut findings = Findings::default();
    if !(limit::MESSAGE_BYTES..=limit::LARGEST_MESSAGE_BYTES).contains(&bytes) {
        findings.add(
            "message limit",
            format!(
                "is {bytes} bytes; it must be from {} to {} bytes, the `MaximumMessageSize` of \
                 the topic",
                limit::MESSAGE_BYTES,
                limit::LARGEST_MESSAGE_BYTES
            ),
        );
    }
    findings.into_result()
}

/// Checks events whose time the store has yet to give, and which of them have an id of the caller's
/// own.
#[cfg(feature = "dynamodb")]
pub(crate) fn check_new_events(
    events: &[Event],
    own_ids: &[bool],
    message_bytes: usize,
) -> Result<(), Faults> {
    let mut findings = Findings::default();
    let some_have_one = own_ids.contains(&true);
    for (index, (event, own_id)) in events.iter().zip(own_ids).enumerate() {
        findings.index = Some(index);
        if some_have_one && !own_id {
            findings.add(
                attribute::ID,
                "is missing while other events of the append have one; give one to all or to none, \
                 or a repetition could not be recognised",
            );
        }
        let guard = item::id_guard_partition_key(&event.source, &event.id).len();
        if *own_id && guard > limit::PARTITION_KEY_BYTES {
            findings.add(
                attribute::ID,
                format!(
                    "is too long to be guarded together with its source: the key has {guard} \
                     bytes, allowed are {}",
                    limit::PARTITION_KEY_BYTES
                ),
            );
        }
    }
    check(events, false, message_bytes, findings)
}

fn check(
    events: &[Event],
    times_are_given: bool,
    message_bytes: usize,
    mut findings: Findings,
) -> Result<(), Faults> {
    let mut positions = HashMap::new();
    let mut last_of_subject: HashMap<&str, (usize, &Event)> = HashMap::new();
    for (index, event) in events.iter().enumerate() {
        findings.index = Some(index);
        check_event(event, message_bytes, &mut findings);
        if let Some(first) = positions.insert((&event.source, &event.id), index) {
            findings.add(
                attribute::ID,
                format!("is also that of event {first}; allowed is each id once per source"),
            );
        }
        if !times_are_given {
            continue;
        }
        check_time(event, &mut findings);
        if let Some((first, last)) = last_of_subject.insert(&event.subject, (index, event))
            && event.time.timestamp_millis() <= last.time.timestamp_millis()
        {
            findings.add(
                attribute::TIME,
                format!(
                    "is {}, in whole milliseconds, which isn't after that of event {first} of the \
                     same subject; times must increase by at least 1 ms",
                    cloud_event::timestamp(event.time)
                ),
            );
        }
    }
    findings.into_result()
}

/// Checks whether a subject can be one: see [`Event::subject`].
///
/// # Errors
/// The faults of the subject.
///
/// ```
/// assert!(eventdb::validation::check_subject("book:123").is_ok());
/// assert!(eventdb::validation::check_subject("$head/book:123").is_err());
/// ```
pub fn check_subject(subject: &str) -> Result<(), Faults> {
    let mut findings = Findings::default();
    subject_findings(subject, &mut findings);
    findings.into_result()
}

/// Checks whether a subject can be read. What other writers have stored may break the rules for new
/// events; only what no table holds, and the store's own items, are refused.
#[cfg(feature = "dynamodb")]
pub(crate) fn check_stored_subject(subject: &str) -> Result<(), Faults> {
    let mut findings = Findings::default();
    stored_text_findings(attribute::SUBJECT, subject, limit::PARTITION_KEY_BYTES, &mut findings);
    for prefix in [schema::HEAD_PREFIX, schema::ID_GUARD_PREFIX] {
        if subject.starts_with(prefix) {
            findings.add(
                attribute::SUBJECT,
                format!("begins with `{prefix}`, under which the store keeps its own items"),
            );
        }
    }
    findings.into_result()
}

/// Checks whether events of a type can be read, whoever has stored them.
#[cfg(feature = "dynamodb")]
pub(crate) fn check_stored_type(ty: &str) -> Result<(), Faults> {
    let mut findings = Findings::default();
    stored_text_findings(attribute::TYPE, ty, limit::SORT_KEY_BYTES, &mut findings);
    findings.into_result()
}

/// Checks whether an event of an id can be read, whoever has stored it.
#[cfg(feature = "dynamodb")]
pub(crate) fn check_stored_id(id: &str) -> Result<(), Faults> {
    let mut findings = Findings::default();
    stored_text_findings(attribute::ID, id, limit::PARTITION_KEY_BYTES, &mut findings);
    findings.into_result()
}

#[cfg(feature = "dynamodb")]
fn stored_text_findings(name: &str, text: &str, most_bytes: usize, findings: &mut Findings) {
    if text.is_empty() {
        findings.add(name, "is empty; no row has such a key");
    }
    if text.len() > most_bytes {
        findings.add(
            name,
            format!("has {} bytes; a key of the table has at most {most_bytes}", text.len()),
        );
    }
}

/// Checks whether an id can be one: see [`Event::id`].
///
/// # Errors
/// The faults of the id.
///
/// ```
/// assert!(eventdb::validation::check_id("evt-abc-123").is_ok());
/// assert!(eventdb::validation::check_id("").is_err());
/// ```
pub fn check_id(id: &str) -> Result<(), Faults> {
    let mut findings = Findings::default();
    text_findings(attribute::ID, id, limit::PARTITION_KEY_BYTES, &mut findings);
    findings.into_result()
}

/// Checks whether a type can be one: see [`Event::ty`].
///
/// # Errors
/// The faults of the type.
///
/// ```
/// assert!(eventdb::validation::check_type("book.borrowed").is_ok());
/// assert!(eventdb::validation::check_type("a\u{7}b").is_err());
/// ```
pub fn check_type(ty: &str) -> Result<(), Faults> {
    let mut findings = Findings::default();
    text_findings(attribute::TYPE, ty, limit::TYPE_BYTES, &mut findings);
    findings.into_result()
}

fn check_event(event: &Event, message_bytes: usize, findings: &mut Findings) {
    let before = findings.faults.len();
    text_findings(attribute::ID, &event.id, limit::PARTITION_KEY_BYTES, findings);
    text_findings(attribute::TYPE, &event.ty, limit::TYPE_BYTES, findings);
    subject_findings(&event.subject, findings);
    text_findings(attribute::SOURCE, &event.source, limit::ITEM_BYTES, findings);
    if UriRef::parse(event.source.as_str()).is_err() {
        findings.add(
            attribute::SOURCE,
            "is no URI-reference (RFC 3986); other characters must be percent-encoded",
        );
    }
    if let Some(media_type) = &event.datacontenttype
        && !is_json(media_type)
    {
        findings.add(
            attribute::DATACONTENTTYPE,
            "is no media type of JSON; allowed are application/json and those ending in +json",
        );
    }
    if let Some(uri) = &event.dataschema
        && Uri::parse(uri.as_str()).is_err()
    {
        findings.add(attribute::DATASCHEMA, "is no absolute URI (RFC 3986)");
    }
    check_extensions(event, findings);
    match &event.data {
        Value::Object(_) => check_value(&event.data, &Path::new(attribute::DATA), findings),
        _ => findings.add(attribute::DATA, "is no JSON object"),
    }
    // Sizes mean something only once the parts are right.
    if findings.faults.len() == before {
        check_sizes(event, message_bytes, findings);
    }
}

fn subject_findings(subject: &str, findings: &mut Findings) {
    text_findings(attribute::SUBJECT, subject, limit::SUBJECT_BYTES, findings);
    if subject.starts_with(schema::RESERVED_SUBJECT_PREFIX) {
        findings.add(
            attribute::SUBJECT,
            format!(
                "begins with `{}`, which is reserved for the store's own items",
                schema::RESERVED_SUBJECT_PREFIX
            ),
        );
    }
}

fn text_findings(name: &str, text: &str, most_bytes: usize, findings: &mut Findings) {
    let characters = text.chars().take(limit::MINIMUM_CHARACTERS).count();
    if characters < limit::MINIMUM_CHARACTERS {
        findings.add(
            name,
            format!(
                "has {characters} character{}; allowed are at least {}",
                if characters == 1 { "" } else { "s" },
                limit::MINIMUM_CHARACTERS
            ),
        );
    }
    if text.len() > most_bytes {
        findings.add(name, format!("has {} bytes; allowed are at most {most_bytes}", text.len()));
    }
    check_characters(name, text, findings);
}

/// <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md#type-system>
fn check_characters(name: &str, text: &str, findings: &mut Findings) {
    let is_noncharacter = |character: char| {
        let code = u32::from(character);
        (0xFDD0..=0xFDEF).contains(&code) || code & 0xFFFE == 0xFFFE
    };
    if let Some((position, character)) = text
        .char_indices()
        .find(|(_, character)| character.is_control() || is_noncharacter(*character))
    {
        findings.add(
            name,
            format!(
                "has the character U+{:04X} at byte {position}; control characters and \
                 noncharacters are not allowed",
                u32::from(character)
            ),
        );
    }
}

fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    let is_token = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
    };
    match essence.split_once('/') {
        Some((kind, subtype)) if is_token(kind) && is_token(subtype) => {
            let subtype = subtype.to_ascii_lowercase();
            subtype == "json" || subtype.ends_with("+json")
        }
        _ => false,
    }
}

fn check_extensions(event: &Event, findings: &mut Findings) {
    for (name, value) in &event.extensions {
        let path = format!("{}.{name}", attribute::EXTENSIONS);
        if name.len() > EXTENSION_NAME_CHARACTERS || !cloud_event::is_attribute_name(name) {
            findings.add(
                &path,
                format!(
                    "is no name of an extension; allowed are 1 to {EXTENSION_NAME_CHARACTERS} of \
                     a-z and 0-9"
                ),
            );
        } else if !cloud_event::is_extension_name(name) {
            findings.add(&path, "has the name of an attribute that is set elsewhere");
        }
        if let ExtensionValue::String(text) = value {
            if text.is_empty() {
                findings.add(&path, "is empty; leave it out instead");
            }
            check_characters(&path, text, findings);
        }
    }
}

fn check_value(value: &Value, path: &Path<'_>, findings: &mut Findings) {
    // A leaf may be wrapped in one level less than the limit.
    if path.depth() >= limit::NESTING_LEVELS && (value.is_object() || value.is_array()) {
        findings.add(
            path.to_string(),
            format!(
                "nests deeper than DynamoDB stores; allowed are {} levels",
                limit::NESTING_LEVELS - 1
            ),
        );
        return;
    }
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                if name.is_empty() || name.len() > 65_535 {
                    findings.add(
                        path.to_string(),
                        format!("has a name of {} bytes; DynamoDB allows 1 to 65535", name.len()),
                    );
                }
                check_value(value, &path.name(name), findings);
            }
        }
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                check_value(value, &path.index(index), findings);
            }
        }
        Value::Number(number) if decimal::from_json(number).is_none() => findings.add(
            path.to_string(),
            "is a number that DynamoDB can't hold exactly; allowed are at most 38 digits and \
             magnitudes from 1e-130 to 9.99e125, as a whole number of 64 bits or a double",
        ),
        _ => {}
    }
}

fn check_time(event: &Event, findings: &mut Findings) {
    let milliseconds = event.time.timestamp_millis();
    if !(0..=limit::TIME_MILLISECONDS).contains(&milliseconds) {
        findings.add(
            attribute::TIME,
            format!(
                "is {}; it must be from 1970-01-01T00:00:00.000Z to 2286-11-20T17:46:39.999Z",
                cloud_event::timestamp(event.time)
            ),
        );
    }
}

fn check_sizes(event: &Event, message_bytes: usize, findings: &mut Findings) {
    let size = message::largest_size(event);
    if size > message_bytes {
        findings.add(
            attribute::DATA,
            format!(
                "makes the event too large to publish: its message has {size} bytes with \
                 attributes, the store's message limit is {message_bytes} bytes"
            ),
        );
    }
    // The local index repeats the three keys, and counts.
    let keys = [attribute::SUBJECT, attribute::TIME_TYPE, attribute::TYPE];
    let key_bytes: usize = keys.iter().map(|name| name.len()).sum::<usize>()
        + event.subject.len()
        + item::time_type_size(&event.ty)
        + event.ty.len();
    let size = item::largest_size(event) + key_bytes;
    if size > limit::ITEM_BYTES {
        findings.add(
            attribute::DATA,
            format!(
                "makes the event too large to store: its item has {size} bytes with its index \
                 entries, DynamoDB allows {}",
                limit::ITEM_BYTES
            ),
        );
    }
}
