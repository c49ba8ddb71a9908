//! Serializing an [`Event`] to CloudEvents 1.0 JSON (structured mode), and reading it.
//!
//! <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>

use std::io;

use chrono::{DateTime, Datelike, SecondsFormat, Utc};
use serde::de::Error as _;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::codec::store_id::StoreId;
use crate::event::data::EventData;
use crate::event::{self, Event, ExtensionValue};
use crate::schema::extension::{SEQUENCE, STORE};

/// The only supported version of the specification.
const SPECVERSION: &str = "1.0";

/// Names that an extension can't have: those of the CloudEvents attributes, of the members of the
/// JSON format, and of the attributes that the store adds.
pub(crate) const RESERVED_NAMES: [&str; 11] = [
    "specversion",
    "id",
    "source",
    "type",
    "subject",
    "time",
    "datacontenttype",
    "dataschema",
    "data",
    SEQUENCE,
    STORE,
];

/// Whether an extension can have this name: only `a`–`z` and `0`–`9`, and not a reserved name.
/// <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md#naming-conventions>
pub(crate) fn is_extension_name(name: &str) -> bool {
    is_attribute_name(name) && !RESERVED_NAMES.contains(&name)
}

pub(crate) fn is_attribute_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9'))
}

/// A revision as text that sorts like the number: every `u64` fits in 20 digits.
pub(crate) fn sequence(revision: u64) -> String {
    format!("{revision:020}")
}

/// RFC 3339 with milliseconds, in UTC.
pub(crate) fn timestamp(time: DateTime<Utc>) -> String {
    event::whole_milliseconds(time).to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// The years that RFC 3339 can write, in UTC.
pub(crate) fn is_writable(time: DateTime<Utc>) -> bool {
    (0..=9999).contains(&time.year())
}

/// The time of a timestamp, in whole milliseconds of UTC.
fn read_timestamp(text: &str) -> Result<DateTime<Utc>, String> {
    let time = DateTime::parse_from_rfc3339(text)
        .map_err(|error| format!("`time` isn't an RFC 3339 timestamp: {error}"))?;
    // The offset can move a time out of the years that RFC 3339 can write in UTC.
    let time = event::whole_milliseconds(time.to_utc());
    if is_writable(time) {
        Ok(time)
    } else {
        Err("`time` is outside the years 0000 to 9999 in UTC".to_owned())
    }
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        write(&Published { event: self, store: None, with_data: true }, serializer)
    }
}

/// Writes an event as it is published, with the store that it comes from. Data that is JSON text is
/// copied byte for byte.
///
/// # Errors
/// Only those of the writer.
pub(crate) fn write_json(
    event: &Event,
    store: Option<&StoreId>,
    mut writer: impl io::Write,
) -> Result<(), serde_json::Error> {
    let Some(text) = event.data.known_json() else {
        let published = Published { event, store, with_data: true };
        return serde_json::to_writer(writer, &published);
    };
    // serde_json could copy the text only after it has parsed it once more.
    let mut attributes = serde_json::to_vec(&Published { event, store, with_data: false })?;
    attributes.pop();
    for part in [attributes.as_slice(), b",\"data\":", text.as_bytes(), b"}"] {
        writer.write_all(part).map_err(serde_json::Error::io)?;
    }
    Ok(())
}

/// The text that [`write_json`] writes.
pub(crate) fn to_json(event: &Event, store: Option<&StoreId>) -> String {
    let mut text = Vec::new();
    // Can't fail: it writes text to memory, and all keys are strings.
    let _ = write_json(event, store, &mut text);
    String::from_utf8(text).unwrap_or_default()
}

struct Published<'event> {
    event: &'event Event,
    store: Option<&'event StoreId>,
    with_data: bool,
}

impl Serialize for Published<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        write(self, serializer)
    }
}

fn write<S: Serializer>(published: &Published<'_>, serializer: S) -> Result<S::Ok, S::Error> {
    let Published { event, store, with_data } = published;
    let mut map = serializer.serialize_map(None)?;
    map.serialize_entry("specversion", SPECVERSION)?;
    map.serialize_entry("id", &event.id)?;
    map.serialize_entry("source", &event.source)?;
    map.serialize_entry("type", &event.ty)?;
    map.serialize_entry("subject", &event.subject)?;
    map.serialize_entry("time", &timestamp(event.time))?;
    if let Some(media_type) = &event.datacontenttype {
        map.serialize_entry("datacontenttype", media_type)?;
    }
    if let Some(uri) = &event.dataschema {
        map.serialize_entry("dataschema", uri)?;
    }
    if let Some(revision) = event.revision {
        map.serialize_entry(SEQUENCE, &sequence(revision))?;
    }
    if let Some(store) = store {
        map.serialize_entry(STORE, store.as_str())?;
    }
    for (name, value) in &event.extensions {
        match value {
            ExtensionValue::String(text) => map.serialize_entry(name, text)?,
            ExtensionValue::Boolean(value) => map.serialize_entry(name, value)?,
            ExtensionValue::Integer(number) => map.serialize_entry(name, number)?,
        }
    }
    if *with_data {
        map.serialize_entry("data", &event.data)?;
    }
    map.end()
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut members = Map::deserialize(deserializer)?;
        let data = match members.remove("data") {
            Some(data @ Value::Object(_)) => Some(data.into()),
            Some(_) => return Err(D::Error::custom("`data` isn't an object")),
            None => None,
        };
        read(members, data).map_err(D::Error::custom)
    }
}

/// Reads an event from CloudEvents JSON. The text of its data is kept as it is, and checked: what
/// can't be kept exactly is refused.
#[cfg(feature = "dynamodb")]
pub(crate) fn read_text(text: &str) -> Result<Event, String> {
    let mut parts: std::collections::BTreeMap<String, &serde_json::value::RawValue> =
        serde_json::from_str(text).map_err(|error| format!("it isn't a JSON object: {error}"))?;
    let data = parts.remove("data").map(|data| EventData::of_text(data.get().to_owned()));
    let data = data.transpose().map_err(|(_, problem)| format!("`data` {problem}"))?;
    let members: Result<Map<_, _>, _> = parts
        .into_iter()
        .map(|(name, value)| Ok((name, serde_json::from_str(value.get())?)))
        .collect();
    read(members.map_err(|error: serde_json::Error| error.to_string())?, data)
}

fn read(mut members: Map<String, Value>, data: Option<EventData>) -> Result<Event, String> {
    if required(&mut members, "specversion")? != SPECVERSION {
        return Err(format!("`specversion` isn't supported; it must be {SPECVERSION:?}"));
    }
    let time = read_timestamp(&required(&mut members, "time")?)?;
    let revision = match optional(&mut members, SEQUENCE)? {
        None => None,
        Some(text) => Some(
            text.bytes()
                .all(|byte| byte.is_ascii_digit())
                .then(|| text.parse::<u64>().ok())
                .flatten()
                .filter(|revision| *revision >= 1)
                .ok_or("`sequence` isn't a revision; it must be text with a whole number from 1")?,
        ),
    };
    // The store isn't part of the event: `ReceivedMessage` keeps it.
    members.remove(STORE);
    if members.contains_key("data_base64") {
        return Err("`data_base64` isn't supported; use `data` with an object".to_owned());
    }
    let data = data.ok_or("`data` is missing; it must be an object")?;
    Ok(Event {
        id: required(&mut members, "id")?,
        source: required(&mut members, "source")?,
        ty: required(&mut members, "type")?,
        subject: required(&mut members, "subject")?,
        time,
        data,
        revision,
        datacontenttype: optional(&mut members, "datacontenttype")?,
        dataschema: optional(&mut members, "dataschema")?,
        extensions: members
            .into_iter()
            // In the JSON format, a null member is the same as a missing one.
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| extension(&name, value).map(|value| (name, value)))
            .collect::<Result<_, _>>()?,
    })
}

fn optional(members: &mut Map<String, Value>, name: &str) -> Result<Option<String>, String> {
    match members.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Err(format!("`{name}` is empty")),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("`{name}` isn't text")),
    }
}

fn required(members: &mut Map<String, Value>, name: &str) -> Result<String, String> {
    optional(members, name)?.ok_or_else(|| format!("`{name}` is missing"))
}

fn extension(name: &str, value: Value) -> Result<ExtensionValue, String> {
    // The reserved names have been removed before, so only the characters are left to check.
    if !is_attribute_name(name) {
        return Err(format!(
            "{name:?} isn't a valid attribute name; it must have only a-z and 0-9"
        ));
    }
    match value {
        Value::String(text) => Ok(ExtensionValue::String(text)),
        Value::Bool(value) => Ok(ExtensionValue::Boolean(value)),
        Value::Number(number) => number
            .as_i64()
            .and_then(|number| i32::try_from(number).ok())
            .map(ExtensionValue::Integer)
            .ok_or_else(|| format!("`{name}` isn't a whole number of 32 bits")),
        _ => Err(format!("`{name}` must be text, true or false, or a whole number of 32 bits")),
    }
}
