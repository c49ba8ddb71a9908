//! The payload of an event: JSON that is kept as text, as a tree of values, or as both.

use std::fmt;
use std::ops::Deref;
use std::sync::OnceLock;

use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::event::{decimal, json_text};

/// The payload of an event: a JSON object.
///
/// It is used like a [`Value`], to which it dereferences. A payload that comes from a table by
/// revision is JSON text. It is parsed when it is first used as a [`Value`], and never if you only
/// read it as your own type or pass it on.
///
/// ```
/// use eventdb::EventData;
/// use serde_json::json;
///
/// let data = EventData::from(json!({ "userId": "user:456" }));
/// assert_eq!(data["userId"], "user:456");
///
/// // In a table by revision, this text is stored and published unchanged.
/// let data = EventData::from_json(r#"{ "price": 12.50 }"#)?;
/// assert_eq!(data.as_json(), r#"{ "price": 12.50 }"#);
/// assert_eq!(data["price"], 12.5);
/// # Ok::<(), eventdb::ValidationErrors>(())
/// ```
#[derive(Clone)]
pub struct EventData {
    // At least one of them is set, and they mean the same. The text has passed the check.
    text: OnceLock<String>,
    tree: OnceLock<Value>,
}

impl EventData {
    /// The payload in the text of a row. If it can't be read exactly, the text and what is wrong.
    pub(crate) fn of_text(text: String) -> Result<Self, (String, String)> {
        match json_text::check(&text) {
            Ok(()) => Ok(Self { text: OnceLock::from(text), tree: OnceLock::new() }),
            Err(problem) => Err((text, problem)),
        }
    }

    /// The payload as JSON text: the text that it was made from, or the shortest text of its values.
    pub fn as_json(&self) -> &str {
        self.text.get_or_init(|| self.as_value().to_string())
    }

    /// The payload as a tree of values.
    pub fn as_value(&self) -> &Value {
        // Text is set if the tree isn't, and it was checked, so it can be read.
        self.tree.get_or_init(|| {
            self.text.get().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
        })
    }

    /// The payload as a tree of values, without a copy if there is one already.
    pub fn into_value(self) -> Value {
        self.as_value();
        self.tree.into_inner().unwrap_or_default()
    }

    /// The text, if nothing has to be computed for it.
    pub(crate) fn known_json(&self) -> Option<&str> {
        self.text.get().map(String::as_str)
    }

    /// The tree, if nothing has to be computed for it.
    pub(crate) fn known_value(&self) -> Option<&Value> {
        self.tree.get()
    }

    /// Writes every number as it will be read back from attributes. Text that was given as text keeps
    /// its numbers if `keep_text` is set.
    #[cfg(feature = "dynamodb")]
    pub(crate) fn make_canonical(&mut self, keep_text: bool) {
        if keep_text && self.text.get().is_some() {
            return;
        }
        let mut tree = self.tree.take().unwrap_or_else(|| self.as_value().clone());
        decimal::make_canonical(&mut tree);
        *self = Self::from(tree);
    }

    /// Reads the payload as your type, without a tree of values if it is text.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        match (self.known_value(), self.known_json()) {
            (None, Some(text)) => serde_json::from_str(text),
            _ => T::deserialize(self.as_value()),
        }
    }
}

impl From<Value> for EventData {
    fn from(value: Value) -> Self {
        Self { text: OnceLock::new(), tree: OnceLock::from(value) }
    }
}

impl From<EventData> for Value {
    fn from(data: EventData) -> Self {
        data.into_value()
    }
}

impl Deref for EventData {
    type Target = Value;

    fn deref(&self) -> &Value {
        self.as_value()
    }
}

impl PartialEq for EventData {
    /// Whether both mean the same JSON. Spaces, the order of members and the form of numbers don't
    /// count: `1.0` equals `1`.
    fn eq(&self, other: &Self) -> bool {
        match (self.known_json(), other.known_json()) {
            (Some(text), Some(other)) if text == other => true,
            _ => is_same(self, other),
        }
    }
}

impl PartialEq<Value> for EventData {
    fn eq(&self, other: &Value) -> bool {
        is_same(self, other)
    }
}

impl PartialEq<EventData> for Value {
    fn eq(&self, other: &EventData) -> bool {
        is_same(self, other)
    }
}

fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            one == other
                || decimal::to_json(&one.to_string()) == decimal::to_json(&other.to_string())
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len()
                && one.iter().zip(other).all(|(one, other)| is_same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(name, one)| other.get(name).is_some_and(|of| is_same(one, of)))
        }
        (one, other) => one == other,
    }
}

impl fmt::Debug for EventData {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_value().fmt(formatter)
    }
}

impl fmt::Display for EventData {
    /// The JSON text.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_json())
    }
}

impl Serialize for EventData {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.as_value().serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(text: &str) -> EventData {
        EventData::from_json(text).expect(text)
    }

    #[test]
    fn text_stays_as_it_is_and_is_parsed_only_when_it_is_looked_into() {
        let data = text("{ \"b\": 1.0,\n\"a\": [\"\\u00e4\"] }");
        let read: std::collections::BTreeMap<String, Value> = data.read().expect("an object");
        assert_eq!(read["a"], json!(["ä"]));
        assert!(data.known_value().is_none(), "nobody asked for a tree");
        assert_eq!(data["a"][0], "ä");
        assert_eq!(data.as_json(), "{ \"b\": 1.0,\n\"a\": [\"\\u00e4\"] }");
        assert_eq!(data.into_value(), json!({ "a": ["ä"], "b": 1.0 }));
    }

    #[test]
    fn payloads_are_compared_by_what_they_mean() {
        assert_eq!(text(r#"{"a":1.0,"b":[1e2]}"#), text(r#"{ "b" : [100], "a" : 1 }"#));
        assert_eq!(text(r#"{"a":-0}"#), json!({ "a": 0 }));
        assert_eq!(json!({ "a": "ä" }), text(r#"{"a":"\u00e4"}"#));
        for (one, other) in [
            ("{}", r#"{"a":null}"#),
            (r#"{"a":1}"#, r#"{"a":"1"}"#),
            (r#"{"a":[1,2]}"#, r#"{"a":[2,1]}"#),
            (r#"{"a":0.1}"#, r#"{"a":0.10000000000000002}"#),
        ] {
            assert_ne!(text(one), text(other));
        }
    }

    #[test]
    fn a_payload_must_be_an_object() {
        for (given, problem) in [("[]", "object"), ("", "EOF"), (r#"{"a":1,"a":1}"#, "two members")]
        {
            let refused = EventData::from_json(given).expect_err(given).to_string();
            assert!(refused.starts_with("`data` ") && refused.contains(problem), "{refused}");
        }
    }
}
