//! Checks JSON text without building anything from it: what can't be given back unchanged is refused.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};

use crate::event::decimal::{self, Decimal};
use crate::schema::limit;

/// Most bytes of a member's name, if DynamoDB stores the object as a map.
pub(crate) const MEMBER_NAME_BYTES: usize = 65_535;

/// Checks that text is a JSON object that can be read exactly.
///
/// # Errors
/// What is wrong: invalid JSON, lone surrogates, two members of one name, objects and arrays nested
/// deeper than DynamoDB's maps could be, or a number that a double or 64 bits can't hold exactly.
pub(crate) fn check(text: &str) -> Result<(), String> {
    scan(text, false)
}

/// [`check`], and that DynamoDB could hold it as a map of attributes. This is the rule for new events
/// in both layouts.
///
/// # Errors
/// As above, or a number or the name of a member that DynamoDB can't hold.
pub(crate) fn check_storable(text: &str) -> Result<(), String> {
    scan(text, true)
}

fn scan(text: &str, must_be_storable: bool) -> Result<(), String> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let has_doubles = Cell::new(false);
    Scan { depth: 1, must_be_storable, has_doubles: &has_doubles }
        .deserialize(&mut deserializer)
        .and_then(|()| deserializer.end())
        .map_err(|error| format!("isn't JSON that can be kept exactly: {error}"))?;
    if !text.trim_start().starts_with('{') {
        return Err("isn't the text of a JSON object; it must be one".to_owned());
    }
    // A whole number that was read as one is exact.
    let inexact = if has_doubles.get() { inexact_number(text, must_be_storable) } else { None };
    match inexact {
        None => Ok(()),
        Some(number) if is_exact(number) => Err(format!(
            "has the number {number}, which DynamoDB can't hold; {}",
            decimal::NUMBER_RULE
        )),
        Some(number) => Err(format!(
            "has the number {number}, which would be rounded; it must be a whole number of 64 bits \
             or a double"
        )),
    }
}

/// The first number of valid JSON that isn't the one that it is read as, or that DynamoDB can't hold
/// if it must.
fn inexact_number(text: &str, must_be_storable: bool) -> Option<&str> {
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
                if !is_plain && !(is_exact(number) && (!must_be_storable || is_storable(number))) {
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

fn is_storable(number: &str) -> bool {
    serde_json::from_str(number).is_ok_and(|number| decimal::from_json(&number).is_some())
}

/// Reads a value, and refuses what a tree of values would drop.
#[derive(Clone, Copy)]
struct Scan<'scan> {
    depth: usize,
    must_be_storable: bool,
    has_doubles: &'scan Cell<bool>,
}

impl Scan<'_> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= limit::NESTING_LEVELS {
            return Err(E::custom(format!(
                "objects and arrays must have at most {} levels",
                limit::NESTING_LEVELS - 1
            )));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Scan<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Scan<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        self.has_doubles.set(true);
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<(), A::Error> {
        let within = self.deeper()?;
        while values.next_element_seed(within)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let within = self.deeper()?;
        let mut names = Names::default();
        while let Some(name) = members.next_key_seed(Name)? {
            members.next_value_seed(within)?;
            if self.must_be_storable && !(1..=MEMBER_NAME_BYTES).contains(&name.len()) {
                return Err(A::Error::custom(format!(
                    "a member has a name of {} bytes; it must have 1 to {}",
                    name.len(),
                    MEMBER_NAME_BYTES
                )));
            }
            if let Some(name) = names.insert(name) {
                return Err(A::Error::custom(format!("two members have the name {name:?}")));
            }
        }
        Ok(())
    }
}

/// Reads the name of a member, which is copied only if it has escapes.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: serde::Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the name of a member")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

/// The names of an object's members so far.
#[derive(Default)]
struct Names<'text> {
    few: Vec<Cow<'text, str>>,
    many: HashSet<Cow<'text, str>>,
}

impl<'text> Names<'text> {
    /// Adds a name, or returns it if it is there already.
    fn insert(&mut self, name: Cow<'text, str>) -> Option<Cow<'text, str>> {
        /// Comparing a name with so many others is faster than hashing it.
        const FEW: usize = 16;
        if self.few.contains(&name) || self.many.contains(&name) {
            return Some(name);
        }
        if self.few.len() < FEW {
            self.few.push(name);
        } else {
            self.many.insert(name);
        }
        None
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
            assert!(check(text).is_ok(), "{text}: {:?}", check(text));
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
            let refused = check(text).expect_err(text);
            assert!(refused.contains(problem), "{text}: {refused}");
        }
        // The object around them is one level.
        let nested =
            |levels: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
        assert!(check(&nested(limit::NESTING_LEVELS - 2)).is_ok());
        assert!(check(&nested(limit::NESTING_LEVELS - 1)).is_err());
    }

    #[test]
    fn two_members_of_one_name_are_found_among_many() {
        let object = |last: usize| {
            let members: Vec<String> =
                (0..40).chain([last]).map(|n| format!("\"{n}\":0")).collect();
            format!("{{{}}}", members.join(","))
        };
        assert!(check(&object(40)).is_ok());
        for name in [0, 15, 16, 39] {
            assert!(check(&object(name)).is_err_and(|problem| problem.contains("two members")));
        }
    }

    #[test]
    fn text_for_a_new_event_must_fit_in_attributes() {
        for text in [r#"{"a":9.99e125,"b":[1e-130],"c":-0.0}"#, r#"{"a":{"b":0.1}}"#] {
            assert_eq!(check_storable(text), Ok(()), "{text}");
        }
        for (text, problem) in [
            (r#"{"a":1e126}"#, "the number 1e126, which DynamoDB can't hold"),
            (r#"{"a":[9e-131]}"#, "the number 9e-131, which DynamoDB can't hold"),
            (r#"{"a":{"":1}}"#, "a name of 0 bytes"),
            (r#"{"a":1e-400}"#, "rounded"),
        ] {
            let refused = check_storable(text).expect_err(text);
            assert!(refused.contains(problem), "{text}: {refused}");
        }
        assert_eq!(check(r#"{"a":[1e126,9e-131],"":1}"#), Ok(()), "text of a row can have it");
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in ".*") {
            let _ = check(&text);
        }
    }
}
