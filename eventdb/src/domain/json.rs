//! Comparing two JSON values and finding the first difference.

use serde_json::Value;

use crate::event::path::Path;

/// The path of the first difference between two values. The order of arrays doesn't count, because a
/// set is written as an array whose order may vary.
pub(crate) fn difference(one: &Value, other: &Value, path: &Path<'_>) -> Option<String> {
    if one == other {
        return None;
    }
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => one
            .iter()
            .find_map(|(name, value)| match other.get(name) {
                Some(other) => difference(value, other, &path.name(name)),
                None => Some(path.name(name).to_string()),
            })
            .or_else(|| {
                let added = other.keys().find(|name| !one.contains_key(*name));
                added.map(|name| path.name(name).to_string())
            }),
        (Value::Array(ones), Value::Array(others)) => {
            if sorted(one) == sorted(other) {
                return None;
            }
            let mut pairs = ones.iter().zip(others).enumerate();
            pairs
                .find_map(|(index, (one, other))| difference(one, other, &path.index(index)))
                .or_else(|| Some(path.to_string()))
        }
        _ => Some(path.to_string()),
    }
}

/// The same value with all arrays sorted.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(values) => {
            let mut values: Vec<Value> = values.iter().map(sorted).collect();
            values.sort_by_cached_key(Value::to_string);
            Value::Array(values)
        }
        Value::Object(object) => Value::Object(
            object.iter().map(|(name, value)| (name.clone(), sorted(value))).collect(),
        ),
        value => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_place_of_a_difference_is_named() {
        for (one, other, expected) in [
            (json!({}), json!({}), None),
            (json!([1, [3, 2]]), json!([[2, 3], 1]), None),
            (json!({ "a": { "b": 1 } }), json!({ "a": { "b": 2 } }), Some("data.a.b")),
            (json!({ "a": 1 }), json!({}), Some("data.a")),
            (json!({}), json!({ "a": null }), Some("data.a")),
            (json!({ "a": [1, 1] }), json!({ "a": [1] }), Some("data.a")),
            (json!({ "a": [1, 1, 2] }), json!({ "a": [1, 2, 2] }), Some("data.a.1")),
            (json!(1), json!("1"), Some("data")),
        ] {
            let found = difference(&one, &other, &Path::new("data"));
            assert_eq!(found.as_deref(), expected, "{one} {other}");
        }
    }
}
