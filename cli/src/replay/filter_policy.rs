//! The filter policy of a subscription, as SNS applies it to message attributes.
//!
//! <https://docs.aws.amazon.com/sns/latest/dg/string-value-matching.html>. All attributes of an event's
//! message are text, so conditions on numbers never match, as in SNS.

use std::str::FromStr;

use serde_json::{Map, Value};

/// Which messages a subscription delivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterPolicy(Vec<Rule>);

/// A part of a policy; all must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    /// The attribute meets one of the conditions.
    Attribute { name: String, conditions: Vec<Condition> },
    /// One of these policies holds: `$or`.
    OneOf(Vec<FilterPolicy>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    Exists(bool),
    Text(Pattern),
    /// It exists, and is none of these.
    NoneOf(Vec<Pattern>),
    /// A condition on another type than text.
    Never,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Equals(String),
    EqualsIgnoringCase(String),
    Prefix(String),
    Suffix(String),
    /// The texts between the wildcards.
    Wildcard(Vec<String>),
    /// A number or another value that no text equals.
    NoText,
}

/// Why a filter policy can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the filter policy can't be used: {0}")]
pub struct InvalidFilterPolicy(String);

impl FilterPolicy {
    /// The policy that lets everything through.
    pub fn everything() -> Self {
        Self(Vec::new())
    }

    /// Whether SNS would deliver a message with these attributes.
    pub fn matches(&self, attributes: &[(&'static str, String)]) -> bool {
        self.0.iter().all(|rule| match rule {
            Rule::OneOf(policies) => policies.iter().any(|policy| policy.matches(attributes)),
            Rule::Attribute { name, conditions } => {
                let found = attributes.iter().find(|(attribute, _)| attribute == name);
                let value = found.map(|(_, value)| value.as_str());
                conditions.iter().any(|condition| condition.matches(value))
            }
        })
    }

    /// Whether the policy has a condition on this attribute.
    pub fn mentions(&self, attribute: &str) -> bool {
        self.0.iter().any(|rule| match rule {
            Rule::OneOf(policies) => policies.iter().any(|policy| policy.mentions(attribute)),
            Rule::Attribute { name, .. } => name == attribute,
        })
    }

    fn read(object: &Map<String, Value>) -> Result<Self, InvalidFilterPolicy> {
        let rule = |(name, value): (&String, &Value)| {
            let Some(values) = value.as_array() else {
                return Err(InvalidFilterPolicy(format!(
                    "the conditions on `{name}` must be a list; a filter on the message's body \
                     isn't supported"
                )));
            };
            if name == "$or" {
                let policies = values.iter().map(|value| {
                    let not_object = || InvalidFilterPolicy("`$or` must list objects".to_owned());
                    Self::read(value.as_object().ok_or_else(not_object)?)
                });
                return Ok(Rule::OneOf(policies.collect::<Result<_, _>>()?));
            }
            let conditions = values.iter().map(|value| Condition::read(name, value));
            Ok(Rule::Attribute {
                name: name.clone(),
                conditions: conditions.collect::<Result<_, _>>()?,
            })
        };
        Ok(Self(object.iter().map(rule).collect::<Result<_, _>>()?))
    }
}

impl FromStr for FilterPolicy {
    type Err = InvalidFilterPolicy;

    fn from_str(text: &str) -> Result<Self, InvalidFilterPolicy> {
        let value: Value = serde_json::from_str(text)
            .map_err(|error| InvalidFilterPolicy(format!("it isn't JSON: {error}")))?;
        let object = value.as_object();
        Self::read(object.ok_or_else(|| InvalidFilterPolicy("it isn't an object".to_owned()))?)
    }
}

impl Condition {
    fn read(name: &str, value: &Value) -> Result<Self, InvalidFilterPolicy> {
        let unknown = || {
            InvalidFilterPolicy(format!(
                "the condition {value} on `{name}` isn't known here; known are texts, `prefix`, \
                 `suffix`, `wildcard`, `equals-ignore-case`, `anything-but`, `exists` and `numeric`"
            ))
        };
        let Some(object) = value.as_object() else {
            return Ok(match value {
                Value::String(text) => Self::Text(Pattern::Equals(text.clone())),
                _ => Self::Never,
            });
        };
        let mut members = object.iter();
        let (Some((operator, operand)), None) = (members.next(), members.next()) else {
            return Err(unknown());
        };
        match (operator.as_str(), operand) {
            ("exists", Value::Bool(exists)) => Ok(Self::Exists(*exists)),
            ("numeric", Value::Array(_)) => Ok(Self::Never),
            ("anything-but", Value::Array(values)) => {
                Ok(Self::NoneOf(values.iter().map(Pattern::of_value).collect()))
            }
            ("anything-but", Value::Object(object)) => {
                let pattern = object.iter().next().filter(|_| object.len() == 1);
                let pattern = pattern.and_then(|(operator, value)| Pattern::read(operator, value));
                Ok(Self::NoneOf(vec![pattern.ok_or_else(unknown)?]))
            }
            ("anything-but", value) => Ok(Self::NoneOf(vec![Pattern::of_value(value)])),
            (operator, value) => Pattern::read(operator, value).map(Self::Text).ok_or_else(unknown),
        }
    }

    fn matches(&self, value: Option<&str>) -> bool {
        match (self, value) {
            (Self::Exists(exists), value) => value.is_some() == *exists,
            (Self::Text(pattern), Some(text)) => pattern.matches(text),
            (Self::NoneOf(patterns), Some(text)) => {
                !patterns.iter().any(|pattern| pattern.matches(text))
            }
            (Self::Never, _) | (_, None) => false,
        }
    }
}

impl Pattern {
    fn of_value(value: &Value) -> Self {
        value.as_str().map_or(Self::NoText, |text| Self::Equals(text.to_owned()))
    }

    fn read(operator: &str, value: &Value) -> Option<Self> {
        let text = value.as_str()?;
        Some(match operator {
            "prefix" => Self::Prefix(text.to_owned()),
            "suffix" => Self::Suffix(text.to_owned()),
            "equals-ignore-case" => Self::EqualsIgnoringCase(text.to_lowercase()),
            "wildcard" => Self::Wildcard(between_wildcards(text)),
            _ => return None,
        })
    }

    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Equals(wanted) => text == wanted,
            Self::EqualsIgnoringCase(wanted) => text.to_lowercase() == *wanted,
            Self::Prefix(prefix) => text.starts_with(prefix),
            Self::Suffix(suffix) => text.ends_with(suffix),
            Self::Wildcard(texts) => matches_in_order(texts, text),
            Self::NoText => false,
        }
    }
}

/// The texts before, between and after the wildcards. `\*` and `\\` stand for themselves.
fn between_wildcards(pattern: &str) -> Vec<String> {
    let mut texts = Vec::new();
    let mut text = String::new();
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => text.extend(characters.next()),
            '*' => texts.push(std::mem::take(&mut text)),
            _ => text.push(character),
        }
    }
    texts.push(text);
    texts
}

/// Whether the text begins with the first of these, ends with the last, and has the others in between,
/// in this order.
fn matches_in_order(texts: &[String], text: &str) -> bool {
    let [first, between @ .., last] = texts else {
        return texts.first().is_some_and(|only| only == text);
    };
    let Some(mut rest) = text.strip_prefix(first.as_str()) else { return false };
    for wanted in between {
        let Some((_, behind)) = rest.split_once(wanted.as_str()) else { return false };
        rest = behind;
    }
    rest.ends_with(last.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(policy: &str) -> bool {
        let attributes = [
            ("type", "book.borrowed".to_owned()),
            ("subject", "book:1*".to_owned()),
            ("sequence", "00000000000000000007".to_owned()),
        ];
        policy.parse::<FilterPolicy>().expect(policy).matches(&attributes)
    }

    #[test]
    fn a_policy_matches_as_in_sns() {
        for (policy, expected) in [
            ("{}", true),
            (r#"{"type":["book.returned","book.borrowed"]}"#, true),
            (r#"{"type":["book.returned"]}"#, false),
            (r#"{"type":["book.borrowed"],"subject":[{"prefix":"user:"}]}"#, false),
            (r#"{"type":["book.borrowed"],"subject":[{"prefix":"book:"}]}"#, true),
            (r#"{"type":[{"suffix":".borrowed"}]}"#, true),
            (r#"{"type":[{"equals-ignore-case":"Book.BORROWED"}]}"#, true),
            (r#"{"type":[{"wildcard":"b*k.*ed"}]}"#, true),
            (r#"{"type":[{"wildcard":"book.borrowed*d"}]}"#, false),
            (r#"{"type":[{"wildcard":"*k.k*"}]}"#, false),
            (r#"{"subject":[{"wildcard":"*\\*"}]}"#, true),
            (r#"{"type":[{"wildcard":"*\\*"}]}"#, false),
            (r#"{"type":[{"anything-but":["book.returned","book.lost"]}]}"#, true),
            (r#"{"type":[{"anything-but":"book.borrowed"}]}"#, false),
            (r#"{"type":[{"anything-but":{"prefix":"book."}}]}"#, false),
            (r#"{"type":[{"anything-but":7}]}"#, true),
            (r#"{"other":[{"anything-but":"x"}]}"#, false),
            (r#"{"sequence":[{"exists":true}]}"#, true),
            (r#"{"sequence":[{"exists":false}]}"#, false),
            (r#"{"other":[{"exists":false}]}"#, true),
            (r#"{"sequence":[7,{"numeric":["=",7]}]}"#, false),
            (r#"{"$or":[{"type":["book.lost"]},{"subject":[{"prefix":"book:"}]}]}"#, true),
            (r#"{"$or":[{"type":["book.lost"]},{"subject":["book:2"]}]}"#, false),
            (r#"{"type":[]}"#, false),
        ] {
            assert_eq!(matches(policy), expected, "{policy}");
        }
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for (policy, reason) in [
            ("[]", "it isn't an object"),
            ("{", "it isn't JSON"),
            (r#"{"data":{"userId":["user:1"]}}"#, "the message's body"),
            (r#"{"subject":[{"cidr":"10.0.0.0/24"}]}"#, "isn't known here"),
            (r#"{"subject":[{"prefix":7}]}"#, "isn't known here"),
            (r#"{"subject":[{"anything-but":{"cidr":"10.0.0.0/24"}}]}"#, "isn't known here"),
            (r#"{"$or":["type"]}"#, "must list objects"),
        ] {
            let error = policy.parse::<FilterPolicy>().expect_err(policy).to_string();
            assert!(error.contains(reason), "{policy}: {error}");
        }
        let by_source = r#"{"$or":[{"source":["a"]},{"type":["b"]}]}"#.parse::<FilterPolicy>();
        assert!(by_source.is_ok_and(|policy| policy.mentions("source") && !policy.mentions("id")));
    }
}
