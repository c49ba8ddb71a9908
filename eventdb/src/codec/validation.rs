//! The rules that an event must follow to be stored and published. All errors of a call are reported
//! together.

use std::collections::HashMap;
use std::fmt;

use fluent_uri::{Uri, UriRef};
use serde_json::Value;

use crate::codec::cloud_event;
use crate::codec::item;
use crate::codec::message;
use crate::event::data::EventData;
use crate::event::path::Path;
use crate::event::{Event, ExtensionValue, decimal, json_text};
use crate::schema::{self, attribute, limit};

/// Most characters of an extension's name. CloudEvents recommends at most 20, but some names in use
/// are longer.
pub const EXTENSION_NAME_CHARACTERS: usize = 64;

/// What a table's layout demands of events.
#[derive(Clone, Copy)]
pub(crate) struct Rules {
    /// Whether the times of a subject's events must increase.
    times_increase: bool,
    /// Most bytes of a subject: other items have longer keys made from it.
    subject_bytes: usize,
    /// Most bytes of the partition key of any item.
    #[cfg(feature = "dynamodb")]
    key_bytes: usize,
    /// Size in bytes of an event's item, with its largest revision.
    item_size: fn(&Event) -> usize,
    /// Whether copies of the keys in a local index count to the item's size.
    has_local_index: bool,
}

impl Rules {
    pub(crate) const BY_TIME: Self = Self {
        times_increase: true,
        subject_bytes: limit::SUBJECT_BYTES,
        #[cfg(feature = "dynamodb")]
        key_bytes: limit::PARTITION_KEY_BYTES,
        item_size: item::largest_size,
        has_local_index: true,
    };
    #[cfg(feature = "dynamodb")]
    pub(crate) const BY_REVISION: Self = Self {
        times_increase: false,
        subject_bytes: limit::SUBJECT_BYTES_BY_REVISION,
        // It is the sort key of the index of subjects. DynamoDB may refuse an item whose value is too
        // long for that, although it isn't in the index.
        key_bytes: limit::SORT_KEY_BYTES,
        item_size: item::largest_size_by_revision,
        has_local_index: false,
    };

    #[cfg(feature = "dynamodb")]
    pub(crate) fn key_bytes(self) -> usize {
        self.key_bytes
    }

    #[cfg(feature = "dynamodb")]
    pub(crate) fn item_size(self, event: &Event) -> usize {
        (self.item_size)(event)
    }
}

/// An argument that only reads of a subject have.
#[cfg(feature = "dynamodb")]
pub(crate) fn only_of_a_subject(argument: &str) -> ValidationErrors {
    ValidationErrors(vec![ValidationError {
        index: None,
        attribute: argument.to_owned(),
        problem: "works only when a subject is read, because revisions count per subject"
            .to_owned(),
    }])
}

/// One error of one event or argument.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ValidationError {
    /// The position of the event in the call, from 0. `None` for an argument that isn't part of an
    /// event, such as the subject of a read.
    pub index: Option<usize>,
    /// The attribute, such as `subject` or `data.amount`.
    pub attribute: String,
    /// What is wrong, and what the attribute must be.
    pub problem: String,
}

impl std::error::Error for ValidationError {}

impl fmt::Display for ValidationError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(index) = self.index {
            write!(formatter, "event {index}: ")?;
        }
        write!(formatter, "`{}` {}", self.attribute, self.problem)
    }
}

/// All errors that one call has found in its arguments: at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidationErrors(Vec<ValidationError>);

impl ValidationErrors {
    /// The errors in the order of the events.
    pub fn as_slice(&self) -> &[ValidationError] {
        &self.0
    }
}

impl fmt::Display for ValidationErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, error) in self.0.iter().enumerate() {
            if position > 0 {
                formatter.write_str("; ")?;
            }
            error.fmt(formatter)?;
        }
        Ok(())
    }
}

impl std::error::Error for ValidationErrors {}

/// The errors found so far, and the position of the event that is being checked.
#[derive(Default)]
struct Findings {
    errors: Vec<ValidationError>,
    index: Option<usize>,
}

impl Findings {
    fn add(&mut self, attribute: impl Into<String>, problem: impl Into<String>) {
        self.errors.push(ValidationError {
            index: self.index,
            attribute: attribute.into(),
            problem: problem.into(),
        });
    }

    fn into_result(mut self) -> Result<(), ValidationErrors> {
        self.errors.sort_by_key(|error| error.index);
        if self.errors.is_empty() { Ok(()) } else { Err(ValidationErrors(self.errors)) }
    }
}

impl EventData {
    /// A payload from JSON text. A table by revision stores exactly this text. A table by time stores
    /// its values: numbers are then written in one form, and spaces are lost.
    ///
    /// # Errors
    /// The first problem, if the text isn't a JSON object that every reader reads in the same way: for
    /// example, because two members have the same name, a number would be rounded, or a string has
    /// half of a surrogate pair.
    pub fn from_json(text: impl Into<String>) -> Result<Self, ValidationErrors> {
        Self::of_text(text.into()).map_err(|(_, problem)| {
            let mut findings = Findings::default();
            findings.add(attribute::DATA, problem);
            ValidationErrors(findings.errors)
        })
    }
}

/// Checks complete events that one append is to store.
///
/// # Errors
/// All errors of all events.
pub fn check_events(events: &[Event]) -> Result<(), ValidationErrors> {
    check_events_within(events, limit::MESSAGE_BYTES)
}

/// [`check_events`] for a store whose topic accepts larger messages: see
/// `EventDb::with_message_limit`.
///
/// # Errors
/// All errors of all events, or a message limit that isn't from 262,144 to 1,048,576 bytes.
pub fn check_events_within(events: &[Event], message_bytes: usize) -> Result<(), ValidationErrors> {
    check_complete_events(events, message_bytes, Rules::BY_TIME)
}

/// Checks complete events for a table with the given rules.
pub(crate) fn check_complete_events(
    events: &[Event],
    message_bytes: usize,
    rules: Rules,
) -> Result<(), ValidationErrors> {
    check_message_limit(message_bytes)?;
    check(events, true, message_bytes, rules, Findings::default())
}

/// Checks that the id of an event can be guarded.
#[cfg(feature = "dynamodb")]
fn check_guard(event: &Event, rules: Rules, findings: &mut Findings) {
    let guard = item::id_guard_partition_key(&event.source, &event.id).len();
    if guard > rules.key_bytes {
        findings.add(
            attribute::ID,
            format!(
                "is too long together with its source: the key that guards them has {guard} bytes; \
                 it must have at most {}",
                rules.key_bytes
            ),
        );
    }
}

/// Checks complete events whose ids are guarded.
#[cfg(feature = "dynamodb")]
pub(crate) fn check_guards(events: &[Event], rules: Rules) -> Result<(), ValidationErrors> {
    let mut findings = Findings::default();
    for (index, event) in events.iter().enumerate() {
        findings.index = Some(index);
        check_guard(event, rules, &mut findings);
    }
    findings.into_result()
}

/// Checks the id of a command.
#[cfg(feature = "dynamodb")]
pub(crate) fn check_command(
    source: &str,
    command: &str,
    rules: Rules,
) -> Result<(), ValidationErrors> {
    let mut findings = Findings::default();
    let name = "command id";
    if command.is_empty() {
        findings.add(name, "is empty; it must have at least 1 character");
    }
    if command.chars().any(char::is_control) {
        findings.add(name, "has control characters; it must have none");
    }
    let key = item::command_partition_key(source, command).len();
    if key > rules.key_bytes {
        findings.add(
            name,
            format!(
                "is too long together with the source: the key of its guard has {key} bytes; it \
                 must have at most {}",
                rules.key_bytes
            ),
        );
    }
    findings.into_result()
}

/// Checks the message limit of a store, which must be one that a topic can have.
///
/// # Errors
/// If it is less than SNS's default (262,144) or more than SNS allows (1,048,576).
pub fn check_message_limit(bytes: usize) -> Result<(), ValidationErrors> {
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

/// Checks events to which the store will assign times. `own_ids` says for each event whether the
/// caller chose its id.
#[cfg(feature = "dynamodb")]
pub(crate) fn check_new_events(
    events: &[Event],
    own_ids: &[bool],
    message_bytes: usize,
    rules: Rules,
) -> Result<(), ValidationErrors> {
    let mut findings = Findings::default();
    let some_have_one = own_ids.contains(&true);
    for (index, (event, own_id)) in events.iter().zip(own_ids).enumerate() {
        findings.index = Some(index);
        if some_have_one && !own_id {
            findings.add(
                attribute::ID,
                "is missing, but other events of the append have one; give an id to all events or \
                 to none, so that a repeated append can be recognised",
            );
        }
        if *own_id {
            check_guard(event, rules, &mut findings);
        }
    }
    check(events, false, message_bytes, rules, findings)
}

fn check(
    events: &[Event],
    times_are_given: bool,
    message_bytes: usize,
    rules: Rules,
    mut findings: Findings,
) -> Result<(), ValidationErrors> {
    let mut positions = HashMap::new();
    let mut last_of_subject: HashMap<&str, (usize, &Event)> = HashMap::new();
    for (index, event) in events.iter().enumerate() {
        findings.index = Some(index);
        check_event(event, message_bytes, rules, &mut findings);
        if let Some(first) = positions.insert((&event.source, &event.id), index) {
            findings.add(
                attribute::ID,
                format!("is also that of event {first}; an id must be unique per source"),
            );
        }
        if !times_are_given {
            continue;
        }
        check_time(event, &mut findings);
        if !rules.times_increase {
            continue;
        }
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

/// Checks a subject that is to be written, or of a precondition: see [`Event::subject`].
#[cfg(feature = "dynamodb")]
pub(crate) fn check_subject(subject: &str, rules: Rules) -> Result<(), ValidationErrors> {
    let mut findings = Findings::default();
    subject_findings(subject, rules, &mut findings);
    findings.into_result()
}

/// Checks the subject of a read. Other writers may have stored events that break the rules for new
/// events, so it refuses only subjects that no table can hold and those of the store's own items.
#[cfg(feature = "dynamodb")]
pub(crate) fn check_stored_subject(subject: &str) -> Result<(), ValidationErrors> {
    let mut findings = Findings::default();
    stored_text_findings(attribute::SUBJECT, subject, limit::PARTITION_KEY_BYTES, &mut findings);
    let reserved = [
        schema::HEAD_PREFIX,
        schema::ID_GUARD_PREFIX,
        schema::COMMAND_PREFIX,
        schema::SNAPSHOT_PREFIX,
    ];
    for prefix in reserved {
        if subject.starts_with(prefix) {
            findings.add(
                attribute::SUBJECT,
                format!("begins with `{prefix}`, which is reserved for the store's own items"),
            );
        }
    }
    findings.into_result()
}

/// Checks the type of a read, like [`check_stored_subject`].
#[cfg(feature = "dynamodb")]
pub(crate) fn check_stored_type(ty: &str) -> Result<(), ValidationErrors> {
    let mut findings = Findings::default();
    stored_text_findings(attribute::TYPE, ty, limit::SORT_KEY_BYTES, &mut findings);
    findings.into_result()
}

/// Checks the id of a read, like [`check_stored_subject`].
#[cfg(feature = "dynamodb")]
pub(crate) fn check_stored_id(id: &str) -> Result<(), ValidationErrors> {
    let mut findings = Findings::default();
    stored_text_findings(attribute::ID, id, limit::PARTITION_KEY_BYTES, &mut findings);
    findings.into_result()
}

#[cfg(feature = "dynamodb")]
fn stored_text_findings(name: &str, text: &str, most_bytes: usize, findings: &mut Findings) {
    if text.is_empty() {
        findings.add(name, "is empty; it must have at least 1 character");
    }
    if text.len() > most_bytes {
        findings.add(name, format!("has {} bytes; it must have at most {most_bytes}", text.len()));
    }
}

fn check_event(event: &Event, message_bytes: usize, rules: Rules, findings: &mut Findings) {
    let before = findings.errors.len();
    text_findings(attribute::ID, &event.id, limit::PARTITION_KEY_BYTES, findings);
    text_findings(attribute::TYPE, &event.ty, limit::TYPE_BYTES, findings);
    subject_findings(&event.subject, rules, findings);
    text_findings(attribute::SOURCE, &event.source, limit::ITEM_BYTES, findings);
    if UriRef::parse(event.source.as_str()).is_err() {
        findings.add(
            attribute::SOURCE,
            "isn't a URI-reference (RFC 3986); percent-encode the characters that it can't have",
        );
    }
    if let Some(media_type) = &event.datacontenttype
        && !is_json(media_type)
    {
        findings.add(
            attribute::DATACONTENTTYPE,
            "isn't a JSON media type; it must be application/json or end in +json",
        );
    }
    if let Some(uri) = &event.dataschema
        && Uri::parse(uri.as_str()).is_err()
    {
        findings.add(attribute::DATASCHEMA, "isn't an absolute URI (RFC 3986)");
    }
    check_extensions(event, findings);
    match (event.data.known_value(), event.data.known_json()) {
        // Text is checked as text, so that no tree is built.
        (None, Some(text)) => {
            if let Err(problem) = json_text::check_storable(text) {
                findings.add(attribute::DATA, problem);
            }
        }
        _ if event.data.is_object() => {
            check_value(&event.data, &Path::new(attribute::DATA), findings);
        }
        _ => findings.add(attribute::DATA, "isn't a JSON object"),
    }
    // The size of an event with other errors would only distract from them.
    if findings.errors.len() == before {
        check_sizes(event, message_bytes, rules, findings);
    }
}

fn subject_findings(subject: &str, rules: Rules, findings: &mut Findings) {
    text_findings(attribute::SUBJECT, subject, rules.subject_bytes, findings);
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
                "has {characters} character{}; it must have at least {}",
                if characters == 1 { "" } else { "s" },
                limit::MINIMUM_CHARACTERS
            ),
        );
    }
    if text.len() > most_bytes {
        findings.add(name, format!("has {} bytes; it must have at most {most_bytes}", text.len()));
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
                "has the character U+{:04X} at byte {position}; it must not have control \
                 characters or noncharacters",
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
                    "isn't a valid extension name; it must have 1 to {EXTENSION_NAME_CHARACTERS} \
                     characters, each a-z or 0-9"
                ),
            );
        } else if !cloud_event::is_extension_name(name) {
            findings.add(&path, "isn't an extension: the name belongs to another attribute");
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
    // The innermost value counts as a level, so objects and arrays get one level less.
    if path.depth() >= limit::NESTING_LEVELS && (value.is_object() || value.is_array()) {
        findings.add(
            path.to_string(),
            format!(
                "is nested deeper than DynamoDB can store; objects and arrays must have at most {} \
                 levels",
                limit::NESTING_LEVELS - 1
            ),
        );
        return;
    }
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                if !(1..=json_text::MEMBER_NAME_BYTES).contains(&name.len()) {
                    findings.add(
                        path.to_string(),
                        format!(
                            "has a member whose name has {} bytes; it must have 1 to {}",
                            name.len(),
                            json_text::MEMBER_NAME_BYTES
                        ),
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
            format!("is a number that DynamoDB can't hold exactly; {}", decimal::NUMBER_RULE),
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

/// What prevents a stored event from being copied into a table with these rules. The rules for new
/// events, such as that a source is a URI-reference, don't count.
#[cfg(feature = "dynamodb")]
pub(crate) fn misfits(event: &Event, before: Option<&Event>, rules: Rules) -> Vec<String> {
    let mut findings = Findings::default();
    let longest = |name: &str, text: &str, most: usize, findings: &mut Findings| {
        if text.len() > most {
            findings.add(name, format!("has {} bytes; it must have at most {most}", text.len()));
        }
    };
    longest(attribute::SUBJECT, &event.subject, rules.subject_bytes, &mut findings);
    let data = if rules.times_increase {
        longest(attribute::TYPE, &event.ty, limit::TYPE_BYTES, &mut findings);
        check_time(event, &mut findings);
        // Two events of one time are in order if their types are, as those of the original library.
        let key = |event: &Event| item::time_type(event.time, &event.ty);
        if let Some(before) = before.filter(|before| key(event) <= key(before)) {
            findings.add(
                attribute::TIME,
                format!(
                    "is {}, which isn't after {}, the time of the event before it; in a table by \
                     time, the times of a subject must increase",
                    cloud_event::timestamp(event.time),
                    cloud_event::timestamp(before.time)
                ),
            );
        }
        json_text::check_storable(event.data.as_json())
    } else {
        json_text::check(event.data.as_json())
    };
    if let Err(problem) = data {
        findings.add(attribute::DATA, problem);
    }
    check_item_size(event, rules, &mut findings);
    findings.errors.iter().map(ToString::to_string).collect()
}

fn check_sizes(event: &Event, message_bytes: usize, rules: Rules, findings: &mut Findings) {
    // A table by revision makes the text here, of which the message's size is then counted.
    check_item_size(event, rules, findings);
    let size = message::largest_size(event);
    if size > message_bytes {
        findings.add(
            attribute::DATA,
            format!(
                "makes the event too large to publish: its message has {size} bytes with \
                 attributes; it must have at most {message_bytes}, the store's message limit"
            ),
        );
    }
}

fn check_item_size(event: &Event, rules: Rules, findings: &mut Findings) {
    // The copies of the three keys in the local index count.
    let keys = [attribute::SUBJECT, attribute::TIME_TYPE, attribute::TYPE];
    let in_local_index: usize = keys.iter().map(|name| name.len()).sum::<usize>()
        + event.subject.len()
        + item::time_type_size(&event.ty)
        + event.ty.len();
    let key_bytes = if rules.has_local_index { in_local_index } else { 0 };
    let size = (rules.item_size)(event) + key_bytes;
    if size > limit::ITEM_BYTES {
        findings.add(
            attribute::DATA,
            format!(
                "makes the event too large to store: its item has {size} bytes with its index \
                 entries; it must have at most {}",
                limit::ITEM_BYTES
            ),
        );
    }
}
