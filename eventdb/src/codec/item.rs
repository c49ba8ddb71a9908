//! The codec between an [`Event`] and its item in the table.
//!
//! It works on [`serde_dynamo`]'s item, so it doesn't need a DynamoDB client: Lambda's stream
//! records hold such items, and the AWS client's items can be converted to and from them.
//!
//! It also reads the items of the original library: rows without a revision, sort keys whose time
//! isn't padded, times from the year 0000 to 9999, and sets or binary values in `data`, which become
//! arrays and Base64 text.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};
use data_encoding::BASE64;
use serde_dynamo::{AttributeValue, Item};
use serde_json::Value;

use crate::codec::attributes::Attributes;
use crate::codec::cloud_event;
use crate::event::data::EventData;
use crate::event::decimal::{self, Decimal};
use crate::event::path::Path;
use crate::event::{Event, ExtensionValue};
use crate::schema::{self, attribute, limit};

/// A row of the table that can't be read as an event.
///
/// The row is unchanged in [`item`](Self::item). The [`Display`](fmt::Display) and
/// [`Debug`](fmt::Debug) forms name only the key and the reason, so they are safe to log.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct InvalidItem {
    /// The row as it is in the table.
    pub item: Item,
    /// What is wrong: the attribute, its problem, and what it must be.
    pub reason: String,
}

impl InvalidItem {
    /// The row's partition key, if it is text.
    pub fn subject(&self) -> Option<&str> {
        text(self.item.get(attribute::SUBJECT))
    }

    /// The row's sort key in a table by time, if it is text.
    pub fn time_type(&self) -> Option<&str> {
        text(self.item.get(attribute::TIME_TYPE))
    }

    /// The revision, if it is readable. It may be even if the rest of the row isn't.
    #[cfg(feature = "dynamodb")]
    pub(crate) fn revision(&self) -> Option<u64> {
        revision(self.item.get(attribute::REVISION)).ok().flatten()
    }
}

impl fmt::Display for InvalidItem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the row with the key ({:?}, ", self.subject().unwrap_or("?"))?;
        match (self.time_type(), self.item.get(attribute::REVISION)) {
            (None, Some(AttributeValue::N(revision))) => write!(formatter, "{revision}"),
            (time_type, _) => write!(formatter, "{:?}", time_type.unwrap_or("?")),
        }?;
        write!(formatter, ") isn't a valid event: {}", self.reason)
    }
}

impl fmt::Debug for InvalidItem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("InvalidItem")
            .field("subject", &self.subject())
            .field("time_type", &self.time_type())
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

impl std::error::Error for InvalidItem {}

/// The sort key of an event: its time in milliseconds, padded to 13 digits, then `_` and its type.
pub fn time_type(time: DateTime<Utc>, ty: &str) -> String {
    format!("{:0TIME_DIGITS$}_{ty}", time.timestamp_millis())
}

/// Number of digits to which times are padded so that they sort as text, until the year 2286.
const TIME_DIGITS: usize = 13;

/// The place of a row among the rows of its subject, according to its sort key: by time, then by
/// type. Rows whose sort key doesn't begin with a time come last.
#[cfg(feature = "dynamodb")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place<'key> {
    has_no_time: bool,
    time: i64,
    rest: &'key str,
}

#[cfg(feature = "dynamodb")]
impl<'key> Place<'key> {
    pub(crate) fn of(time_type: &'key str) -> Self {
        let read = time_type.split_once('_').and_then(|(time, rest)| {
            let digits = time.strip_prefix('-').unwrap_or(time);
            let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| time.parse().ok()).flatten().map(|time| (time, rest))
        });
        match read {
            Some((time, rest)) => Self { has_no_time: false, time, rest },
            None => Self { has_no_time: true, time: i64::MAX, rest: time_type },
        }
    }

    /// The time in milliseconds, if the sort key begins with one.
    pub(crate) fn time(&self) -> Option<i64> {
        (!self.has_no_time).then_some(self.time)
    }

    /// The padded sort key that would put the row in its right place, if there is one.
    pub(crate) fn sort_key(&self) -> Option<String> {
        let time = self.time().filter(|time| (0..=limit::TIME_MILLISECONDS).contains(time))?;
        Some(format!("{time:0TIME_DIGITS$}_{}", self.rest))
    }
}

/// Whether a sort key sorts by its time. It does if the time has 13 digits. The original library
/// doesn't pad times, so its events from before 2001-09-09T01:46:40Z have fewer.
#[cfg(feature = "dynamodb")]
pub(crate) fn sorts_by_time(time_type: &str) -> bool {
    time_type.split_once('_').is_some_and(|(time, _)| {
        time.len() == TIME_DIGITS && time.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Size in bytes of the sort key of an event of this type.
pub(crate) fn time_type_size(ty: &str) -> usize {
    TIME_DIGITS + 1 + ty.len()
}

/// The item of an event in a table by time.
///
/// The event should have passed the validation. A number in its data that DynamoDB can't hold is
/// written unchanged, and DynamoDB refuses it.
pub fn encode(event: &Event) -> Item {
    let mut item = encode_common(event);
    item.insert(
        attribute::TIME_TYPE.to_owned(),
        AttributeValue::S(time_type(event.time, &event.ty)),
    );
    item.insert(attribute::PK_ALL.to_owned(), AttributeValue::S(schema::ALL_EVENTS.to_owned()));
    item.insert(attribute::DATA.to_owned(), to_attribute(&event.data));
    item
}

/// The item of an event in a table by revision. The payload is stored as JSON text.
pub fn encode_by_revision(event: &Event) -> Item {
    let mut item = encode_common(event);
    let partition = partition_of(&event.subject);
    let mut put = |name: &str, value| item.insert(name.to_owned(), AttributeValue::S(value));
    put(attribute::PK_ALL, all_events_partition(partition));
    put(attribute::DATA, event.data.as_json().to_owned());
    if event.revision == Some(1) {
        put(attribute::SUBJECT_PARTITION, subject_partition(partition));
    }
    item
}

/// The payload of an event in a table by time.
#[cfg(feature = "dynamodb")]
pub(crate) fn data_by_time(data: &Value) -> AttributeValue {
    to_attribute(data)
}

/// The partition of a subject in the index of subjects, and by revision in that of all events, from 0
/// to 15: the CRC-32 (ISO-HDLC) of its UTF-8 bytes, modulo 16.
pub fn partition_of(subject: &str) -> u32 {
    crc32fast::hash(subject.as_bytes()) % schema::ALL_EVENTS_PARTITIONS
}

/// The value of `pk_all` of a partition of the index of all events.
pub fn all_events_partition(partition: u32) -> String {
    format!("{}{partition:02}", schema::ALL_EVENTS_PREFIX)
}

/// The value of `subject_partition` of a partition of the index of subjects.
pub fn subject_partition(partition: u32) -> String {
    format!("{}{partition:02}", schema::SUBJECT_PARTITION_PREFIX)
}

fn encode_common(event: &Event) -> Item {
    let string = |value: &str| AttributeValue::S(value.to_owned());
    let mut item = Item::default();
    let mut put = |name: &str, value| item.insert(name.to_owned(), value);
    put(attribute::SUBJECT, string(&event.subject));
    put(attribute::ID, string(&event.id));
    put(attribute::TYPE, string(&event.ty));
    put(attribute::SOURCE, string(&event.source));
    put(attribute::TIME, AttributeValue::N(event.time.timestamp_millis().to_string()));
    if let Some(revision) = event.revision {
        put(attribute::REVISION, AttributeValue::N(revision.to_string()));
    }
    if let Some(media_type) = &event.datacontenttype {
        put(attribute::DATACONTENTTYPE, string(media_type));
    }
    if let Some(uri) = &event.dataschema {
        put(attribute::DATASCHEMA, string(uri));
    }
    if !event.extensions.is_empty() {
        let extensions = event
            .extensions
            .iter()
            .map(|(name, value)| (name.clone(), extension_to_attribute(value)))
            .collect();
        put(attribute::EXTENSIONS, AttributeValue::M(extensions));
    }
    item
}

/// The event of an item, whether this crate or the original library wrote it. Unknown attributes
/// are ignored.
///
/// # Errors
/// The row and the reason, if the row can't be read as an event without loss.
pub fn decode(item: Item) -> Result<Event, InvalidItem> {
    decode_attributes(item.into_inner())
}

/// [`decode`] for a row that isn't a [`serde_dynamo`] item yet.
pub(crate) fn decode_attributes(
    item: impl IntoIterator<Item = (String, AttributeValue)>,
) -> Result<Event, InvalidItem> {
    let mut row = Attributes::of(item);
    // An invalid row is returned whole, so check all of it before taking anything out.
    let checked = match check(&row) {
        Ok(checked) => checked,
        Err(reason) => return Err(InvalidItem { item: row.into_item(), reason }),
    };
    let data = match row.take(attribute::DATA) {
        // Only a table by revision has text. It is the last thing that is checked.
        Some(AttributeValue::S(text)) => match EventData::of_text(text) {
            Ok(data) => data,
            Err((text, problem)) => {
                row.put(attribute::DATA, AttributeValue::S(text));
                let reason = format!("`{}` {problem}", attribute::DATA);
                return Err(InvalidItem { item: row.into_item(), reason });
            }
        },
        data => data.map_or(Value::Null, take_value).into(),
    };
    let mut take = |name: &str| match row.take(name) {
        Some(AttributeValue::S(text)) => Some(text),
        _ => None,
    };
    let mut required = |name: &str| take(name).unwrap_or_default();
    Ok(Event {
        subject: required(attribute::SUBJECT),
        id: required(attribute::ID),
        source: required(attribute::SOURCE),
        ty: required(attribute::TYPE),
        time: checked.time,
        data,
        revision: checked.revision,
        datacontenttype: take(attribute::DATACONTENTTYPE),
        dataschema: take(attribute::DATASCHEMA),
        extensions: checked.extensions,
    })
}

/// Partition key of the id guard: the item that prevents a caller's id from being stored twice.
#[cfg(feature = "dynamodb")]
pub(crate) fn id_guard_partition_key(source: &str, id: &str) -> String {
    format!("{}{}", schema::ID_GUARD_PREFIX, source_and_id(source, id))
}

/// Partition key of a command's guard.
#[cfg(feature = "dynamodb")]
pub(crate) fn command_partition_key(source: &str, command: &str) -> String {
    format!("{}{}", schema::COMMAND_PREFIX, source_and_id(source, command))
}

/// A source may contain `#`. It is escaped, so the first `#` always separates source and id.
#[cfg(feature = "dynamodb")]
fn source_and_id(source: &str, id: &str) -> String {
    format!("{}#{id}", source.replace('%', "%25").replace('#', "%23"))
}

/// Size in bytes of an event's item as DynamoDB counts it, without the copies in the indexes, and
/// with the largest revision.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html>
pub(crate) fn largest_size(event: &Event) -> usize {
    let of_layout = attribute::TIME_TYPE.len()
        + time_type_size(&event.ty)
        + attribute::PK_ALL.len()
        + schema::ALL_EVENTS.len()
        + attribute::DATA.len()
        + json_size(&event.data);
    largest_common_size(event) + of_layout
}

/// [`largest_size`] in a table by revision.
#[cfg(feature = "dynamodb")]
pub(crate) fn largest_size_by_revision(event: &Event) -> usize {
    let partition = schema::ALL_EVENTS_PREFIX.len() + 2;
    let subject_partition = schema::SUBJECT_PARTITION_PREFIX.len() + 2;
    let of_layout = attribute::PK_ALL.len()
        + partition
        + attribute::SUBJECT_PARTITION.len()
        + subject_partition
        + attribute::DATA.len()
        + event.data.as_json().len();
    largest_common_size(event) + of_layout
}

fn largest_common_size(event: &Event) -> usize {
    let number = |digits: usize| digits.div_ceil(2) + 1;
    let text = |name: &str, value: &Option<String>| {
        value.as_ref().map_or(0, |value| name.len() + value.len())
    };
    let time = event.time.timestamp_millis();
    let mut size = attribute::SUBJECT.len() + event.subject.len();
    size += attribute::ID.len() + event.id.len();
    size += attribute::TYPE.len() + event.ty.len();
    size += attribute::SOURCE.len() + event.source.len();
    size += attribute::TIME.len() + number_size(&time.to_string());
    size += attribute::REVISION.len() + number(20);
    size += text(attribute::DATACONTENTTYPE, &event.datacontenttype);
    size += text(attribute::DATASCHEMA, &event.dataschema);
    if !event.extensions.is_empty() {
        let value = |value: &ExtensionValue| match value {
            ExtensionValue::String(text) => text.len(),
            ExtensionValue::Boolean(_) => 1,
            ExtensionValue::Integer(number) => number_size(&number.to_string()),
        };
        let extensions = event.extensions.iter();
        size += attribute::EXTENSIONS.len() + 3;
        size += extensions.map(|(name, of)| 1 + name.len() + value(of)).sum::<usize>();
    }
    size
}

fn number_size(text: &str) -> usize {
    Decimal::parse(text).map_or(text.len(), |decimal| decimal.size())
}

/// Size in bytes of a JSON value that is stored as an attribute.
fn json_size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 1,
        Value::Number(number) => number_size(&number.to_string()),
        Value::String(text) => text.len(),
        Value::Array(values) => 3 + values.iter().map(|value| 1 + json_size(value)).sum::<usize>(),
        Value::Object(object) => {
            3 + object.iter().map(|(name, value)| 1 + name.len() + json_size(value)).sum::<usize>()
        }
    }
}

/// The parts of an item that had to be parsed to check them.
struct Checked {
    time: DateTime<Utc>,
    revision: Option<u64>,
    extensions: BTreeMap<String, ExtensionValue>,
}

fn check(row: &Attributes) -> Result<Checked, String> {
    let subject = check_required(row, attribute::SUBJECT)?;
    let is_by_revision = text(row.get(attribute::PK_ALL))
        .is_some_and(|of| of.starts_with(schema::ALL_EVENTS_PREFIX));
    if is_by_revision {
        check_by_revision(row, subject)?;
        check_required(row, attribute::DATA)?;
    } else {
        check_by_time(row)?;
    }
    check_required(row, attribute::ID)?;
    check_required(row, attribute::SOURCE)?;
    check_required(row, attribute::TYPE)?;
    check_optional(row, attribute::DATACONTENTTYPE)?;
    check_optional(row, attribute::DATASCHEMA)?;
    Ok(Checked {
        time: time(row)?,
        revision: revision(row.get(attribute::REVISION))?,
        extensions: extensions(row)?,
    })
}

fn check_by_time(row: &Attributes) -> Result<(), String> {
    check_required(row, attribute::TIME_TYPE)?;
    if check_required(row, attribute::PK_ALL)? != schema::ALL_EVENTS {
        return Err(wrong(attribute::PK_ALL, "is other text", "`all`"));
    }
    match row.get(attribute::DATA) {
        Some(data @ AttributeValue::M(_)) => check_value(data, &Path::new(attribute::DATA)),
        Some(other) => Err(mismatch(attribute::DATA, other, "a map")),
        None => Err(wrong(attribute::DATA, "is missing", "a map")),
    }
}

fn check_by_revision(row: &Attributes, subject: &str) -> Result<(), String> {
    let partition = all_events_partition(partition_of(subject));
    if check_required(row, attribute::PK_ALL)? != partition {
        let expected = format!("`{partition}`, by its subject");
        return Err(wrong(attribute::PK_ALL, "is other text", &expected));
    }
    match revision(row.get(attribute::REVISION))? {
        Some(_) => Ok(()),
        None => Err(wrong(attribute::REVISION, "is missing", "a whole number of at least 1")),
    }
}

fn wrong(name: &str, problem: &str, expected: &str) -> String {
    format!("`{name}` {problem}; it must be {expected}")
}

fn mismatch(name: &str, value: &AttributeValue, expected: &str) -> String {
    let kind = match value {
        AttributeValue::S(_) => "text",
        AttributeValue::N(_) => "a number",
        AttributeValue::B(_) => "binary",
        AttributeValue::Bool(_) => "true or false",
        AttributeValue::Null(_) => "null",
        AttributeValue::L(_) => "a list",
        AttributeValue::M(_) => "a map",
        AttributeValue::Ss(_) | AttributeValue::Ns(_) | AttributeValue::Bs(_) => "a set",
    };
    wrong(name, &format!("is {kind}"), expected)
}

fn text(value: Option<&AttributeValue>) -> Option<&str> {
    match value {
        Some(AttributeValue::S(text)) => Some(text),
        _ => None,
    }
}

fn check_optional<'row>(row: &'row Attributes, name: &str) -> Result<Option<&'row str>, String> {
    match row.get(name) {
        Some(AttributeValue::S(text)) if text.is_empty() => Err(wrong(name, "is empty", "text")),
        Some(AttributeValue::S(text)) => Ok(Some(text)),
        Some(other) => Err(mismatch(name, other, "text")),
        None => Ok(None),
    }
}

fn check_required<'row>(row: &'row Attributes, name: &str) -> Result<&'row str, String> {
    check_optional(row, name)?.ok_or_else(|| wrong(name, "is missing", "text"))
}

fn time(row: &Attributes) -> Result<DateTime<Utc>, String> {
    let expected = "a whole number of milliseconds, from the year 0000 to 9999";
    let wrong_time = || wrong(attribute::TIME, "is out of range or not a whole number", expected);
    match row.get(attribute::TIME) {
        // The original library stores any time that a JavaScript `Date` can hold.
        Some(AttributeValue::N(text)) => decimal::to_json(text)
            .and_then(|number| number.as_i64())
            .and_then(DateTime::from_timestamp_millis)
            .filter(|time| cloud_event::is_writable(*time))
            .ok_or_else(wrong_time),
        Some(other) => Err(mismatch(attribute::TIME, other, expected)),
        None => Err(wrong(attribute::TIME, "is missing", expected)),
    }
}

fn revision(value: Option<&AttributeValue>) -> Result<Option<u64>, String> {
    let expected = "a whole number of at least 1";
    match value {
        None => Ok(None),
        Some(AttributeValue::N(text)) => decimal::to_json(text)
            .and_then(|number| number.as_u64())
            .filter(|revision| *revision >= 1)
            .map(Some)
            .ok_or_else(|| wrong(attribute::REVISION, &format!("is {text}"), expected)),
        Some(other) => Err(mismatch(attribute::REVISION, other, expected)),
    }
}

fn extensions(row: &Attributes) -> Result<BTreeMap<String, ExtensionValue>, String> {
    let expected = "a map of text, true or false, and whole numbers of 32 bits";
    let map = match row.get(attribute::EXTENSIONS) {
        None => return Ok(BTreeMap::new()),
        Some(AttributeValue::M(map)) => map,
        Some(other) => return Err(mismatch(attribute::EXTENSIONS, other, expected)),
    };
    map.iter()
        .map(|(name, value)| {
            let path = format!("{}.{name}", attribute::EXTENSIONS);
            // In the published JSON, it would duplicate the attribute with that name.
            if !cloud_event::is_extension_name(name) {
                return Err(format!(
                    "`{path}` isn't a valid extension name; it must have only a-z and 0-9 and not \
                     be the name of another attribute"
                ));
            }
            let expected = "text, true or false, or a whole number of 32 bits";
            let value = match value {
                AttributeValue::S(text) => ExtensionValue::String(text.clone()),
                AttributeValue::Bool(value) => ExtensionValue::Boolean(*value),
                AttributeValue::N(text) => decimal::to_json(text)
                    .and_then(|number| number.as_i64())
                    .and_then(|number| i32::try_from(number).ok())
                    .map(ExtensionValue::Integer)
                    .ok_or_else(|| wrong(&path, &format!("is {text}"), expected))?,
                other => return Err(mismatch(&path, other, expected)),
            };
            Ok((name.clone(), value))
        })
        .collect()
}

fn extension_to_attribute(value: &ExtensionValue) -> AttributeValue {
    match value {
        ExtensionValue::String(text) => AttributeValue::S(text.clone()),
        ExtensionValue::Boolean(value) => AttributeValue::Bool(*value),
        ExtensionValue::Integer(number) => AttributeValue::N(number.to_string()),
    }
}

fn to_attribute(value: &Value) -> AttributeValue {
    match value {
        Value::Null => AttributeValue::Null(true),
        Value::Bool(value) => AttributeValue::Bool(*value),
        Value::Number(number) => {
            AttributeValue::N(decimal::from_json(number).unwrap_or_else(|| number.to_string()))
        }
        Value::String(text) => AttributeValue::S(text.clone()),
        Value::Array(values) => AttributeValue::L(values.iter().map(to_attribute).collect()),
        Value::Object(object) => AttributeValue::M(
            object.iter().map(|(name, value)| (name.clone(), to_attribute(value))).collect(),
        ),
    }
}

/// Checks that [`take_value`] can convert a value without loss.
fn check_value(value: &AttributeValue, path: &Path<'_>) -> Result<(), String> {
    // DynamoDB doesn't store deeper nesting, but a forged stream record must not overflow the stack.
    if path.depth() > limit::NESTING_LEVELS {
        return Err(format!(
            "`data` is nested too deeply; it must have at most {} levels",
            limit::NESTING_LEVELS
        ));
    }
    let check_number = |text: &String, path: &Path<'_>| match decimal::to_json(text) {
        Some(_) => Ok(()),
        None => Err(wrong(
            &path.to_string(),
            "is a number that JSON can't hold exactly",
            "a whole number of 64 bits or a double",
        )),
    };
    match value {
        AttributeValue::N(text) => check_number(text, path),
        AttributeValue::Ns(numbers) => numbers
            .iter()
            .enumerate()
            .try_for_each(|(index, number)| check_number(number, &path.index(index))),
        AttributeValue::M(map) => {
            map.iter().try_for_each(|(name, value)| check_value(value, &path.name(name)))
        }
        AttributeValue::L(values) => values
            .iter()
            .enumerate()
            .try_for_each(|(index, value)| check_value(value, &path.index(index))),
        AttributeValue::S(_)
        | AttributeValue::B(_)
        | AttributeValue::Bool(_)
        | AttributeValue::Null(_)
        | AttributeValue::Ss(_)
        | AttributeValue::Bs(_) => Ok(()),
    }
}

/// The JSON of a value that has passed [`check_value`].
fn take_value(value: AttributeValue) -> Value {
    let number = |text: String| decimal::to_json(&text).map_or(Value::Null, Value::Number);
    let binary = |bytes: Vec<u8>| Value::String(BASE64.encode(&bytes));
    match value {
        AttributeValue::S(text) => Value::String(text),
        AttributeValue::N(text) => number(text),
        AttributeValue::B(bytes) => binary(bytes),
        AttributeValue::Bool(value) => Value::Bool(value),
        AttributeValue::Null(_) => Value::Null,
        AttributeValue::M(map) => {
            map.into_iter().map(|(name, value)| (name, take_value(value))).collect()
        }
        AttributeValue::L(values) => values.into_iter().map(take_value).collect(),
        AttributeValue::Ss(texts) => texts.into(),
        AttributeValue::Ns(numbers) => numbers.into_iter().map(number).collect(),
        AttributeValue::Bs(blobs) => blobs.into_iter().map(binary).collect(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::option;
    use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof, proptest};

    use super::*;

    fn counted(item: &Item) -> usize {
        item.iter().map(|(name, value)| name.len() + value_size(value)).sum()
    }

    fn value_size(value: &AttributeValue) -> usize {
        match value {
            AttributeValue::S(text) => text.len(),
            AttributeValue::N(text) => number_size(text),
            AttributeValue::Bool(_) | AttributeValue::Null(_) => 1,
            AttributeValue::L(values) => {
                3 + values.iter().map(|value| 1 + value_size(value)).sum::<usize>()
            }
            AttributeValue::M(map) => {
                3 + map
                    .iter()
                    .map(|(name, value)| 1 + name.len() + value_size(value))
                    .sum::<usize>()
            }
            other => panic!("`encode` never writes {other:?}"),
        }
    }

    fn any_data() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            (-1e15..1e15).prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..5).prop_map(Value::from),
                btree_map(".{1,5}", inner, 0..5).prop_map(Value::from_iter),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_computed_size_is_that_of_the_item(
            (id, ty, subject) in (".{3,9}", ".{3,9}", ".{3,9}"),
            milliseconds in 0..=limit::TIME_MILLISECONDS,
            schema in option::of(".{3,9}"),
            extension in option::of(prop_oneof![
                ".*".prop_map(ExtensionValue::from),
                any::<bool>().prop_map(ExtensionValue::from),
                any::<i32>().prop_map(ExtensionValue::from),
            ]),
            data in any_data(),
        ) {
            let mut event = Event::builder()
                .id(id)
                .source("https://library.example.com")
                .ty(ty)
                .subject(subject)
                .time(DateTime::from_timestamp_millis(milliseconds).expect("a time in range"))
                .data(data)
                .build();
            event.dataschema = schema;
            event.extensions = extension.map(|value| ("partitionkey".to_owned(), value)).into_iter().collect();
            let size = largest_size(&event);
            event.revision = Some(u64::MAX);
            prop_assert_eq!(size, counted(&encode(&event)));
        }
    }
}
