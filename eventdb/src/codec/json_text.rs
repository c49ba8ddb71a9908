//! Reads JSON text exactly: what can't be given back unchanged is refused.

use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::event::decimal::{self, Decimal};
use crate::schema::limit;

/// Reads JSON text.
///
/// # Errors
/// What is wrong: invalid JSON, lone surrogates, two members of one name, objects and arrays nested
/// deeper than DynamoDB's maps could be, or a number that a double or 64 bits can't hold exactly.
pub(crate) fn read(text: &str) -> Result<Value, String> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Exact { depth: 1 }
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|error| format!("isn't JSON that can be kept exactly: {error}"))?;
    match rounded_number(text) {
        None => Ok(value),
        Some(number) => Err(format!(
            "has the number {number}, which would be rounded; it must be a whole number of 64 bits \
             or a double"
        )),
    }
}

/// The first number of valid JSON that isn't the one that it is read as.
fn rounded_number(text: &str) -> Option<&str> {
    /// Every number this short is exact: a double holds 15 digits.
    const SURELY_EXACT: usize = 15;
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at += 1;
                // To the quote that ends the string.
                while let Some(byte) = bytes.get(at).filter(|byte| **byte != b'"') {
                    at += if *byte == b'\\' { 2 } else { 1 };
                }
                at += 1;
            }
            b'-' | b'0'..=b'9' => {
                let is_part =
                    |byte: &u8| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
                let length = bytes.get(at..)?.iter().take_while(|byte| is_part(byte)).count();
                let number = text.get(at..at + length)?;
                let is_plain = length <= SURELY_EXACT && !number.contains(['e', 'E']);
                if !is_plain && !is_exact(number) {
                    return Some(number);
                }
                at += length;
            }
            _ => at += 1,
        }
    }
    None
}

fn is_exact(number: &str) -> bool {
    let read = serde_json::from_str::<serde_json::Number>(number).ok();
    let read = read.and_then(|read| Decimal::parse(&read.to_string()));
    read.is_some() && read == Decimal::parse(number) && decimal::to_json(number).is_some()
}

/// Builds a value, and refuses what a [`Value`] would drop.
#[derive(Clone, Copy)]
struct Exact {
    depth: usize,
}

impl Exact {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= limit::NESTING_LEVELS {
            return Err(E::custom(format!(
                "objects and arrays must have at most {} levels",
                limit::NESTING_LEVELS - 1
            )));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Exact {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Exact {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Value, A::Error> {
        let within = self.deeper()?;
        let mut array = Vec::new();
        while let Some(value) = values.next_element_seed(within)? {
            array.push(value);
        }
        Ok(array.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let within = self.deeper()?;
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(within)?;
            if object.insert(name.clone(), value).is_some() {
                return Err(A::Error::custom(format!("two members have the name {name:?}")));
            }
        }
        Ok(object.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_exactly_or_refused() {
        for text in [
            "{}",
            r#"{"a":[1,-2.5,1e3,0.1,18446744073709551615,-9223372036854775808,null,true]}"#,
            r#"{"text":"12345678901234567890.123 \" 1e999 \u00e4"}"#,
            r#"{"a":123456789012345.6}"#,
        ] {
            assert!(read(text).is_ok(), "{text}: {:?}", read(text));
        }
        for (text, problem) in [
            (r#"{"a":1,"a":1}"#, "two members"),
            (r#"{"a":{"b":1,"\u0062":2}}"#, "two members"),
            (r#"{"a":"\ud800"}"#, "hex escape"),
            (r#"{"a":1e400}"#, "out of range"),
            (r#"{"a":18446744073709551616}"#, "rounded"),
            (r#"{"a":0.10000000000000000555}"#, "rounded"),
            (r#"{"a":[1e-400]}"#, "rounded"),
            (r#"{"a":1} {}"#, "trailing"),
            ("", "EOF"),
        ] {
            let refused = read(text).expect_err(text);
            assert!(refused.contains(problem), "{text}: {refused}");
        }
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(read(&nested(limit::NESTING_LEVELS - 1)).is_ok());
        assert!(read(&nested(limit::NESTING_LEVELS)).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in ".*") {
            let _ = read(&text);
        }
    }
}
