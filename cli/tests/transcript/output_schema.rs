//! Every line of JSON that a test sees is one that `output.schema.json` describes.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::{Value, json};

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../output.schema.json")).expect("the schema is JSON")
});

/// The kinds of lines that the schema describes.
fn kinds() -> Vec<&'static str> {
    let references = SCHEMA["oneOf"].as_array().expect("a list").iter();
    let name = |reference: &'static Value| reference["$ref"].as_str()?.strip_prefix("#/$defs/");
    references.map(|reference| name(reference).expect("a reference to a definition")).collect()
}

/// Only the definition of this kind: its errors say more than those of a choice.
fn validator(kind: &str) -> Validator {
    let schema = json!({
        "$schema": SCHEMA["$schema"],
        "$ref": format!("#/$defs/{kind}"),
        "$defs": SCHEMA["$defs"],
    });
    jsonschema::validator_for(&schema).expect("a schema")
}

/// The lines of JSON of an output.
pub(crate) fn lines(stdout: &str) -> Vec<Value> {
    let lines = stdout.lines().map(|line| serde_json::from_str::<Value>(line).expect(line));
    lines.inspect(check).collect()
}

fn check(line: &Value) {
    let kind = line["kind"].as_str().expect("each line has a kind");
    assert!(kinds().contains(&kind), "output.schema.json doesn't list the kind `{kind}`: {line}");
    let validator = validator(kind);
    let faults: Vec<String> = validator
        .iter_errors(line)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(faults.is_empty(), "{line}\n{}", faults.join("\n"));
}

#[test]
fn the_schema_is_valid_and_each_line_names_its_kind() {
    jsonschema::meta::validate(&SCHEMA).expect("a valid schema");
    jsonschema::validator_for(&SCHEMA).expect("its references lead somewhere");
    for kind in kinds() {
        let definition = &SCHEMA["$defs"][kind];
        assert_eq!(definition["properties"]["kind"]["const"], kind);
        assert_eq!(definition["additionalProperties"], false, "{kind}");
        assert!(definition["description"].is_string(), "{kind}");
    }
}

#[test]
fn a_line_that_the_schema_does_not_describe_is_noticed() {
    let faults = |line: &Value| validator("adopted").iter_errors(line).count();
    assert_eq!(faults(&json!({ "kind": "adopted", "unknown": 1, "unpublished": 0 })), 0);
    assert_eq!(faults(&json!({ "kind": "adopted", "unknown": -1, "unpublished": 0 })), 1);
    assert_eq!(faults(&json!({ "kind": "adopted", "unknown": 1 })), 1);
    assert_eq!(faults(&json!({ "kind": "adopted", "unknown": 1, "unpublished": 0, "more": 1 })), 1);
}

/// The text of all source files below a directory.
fn source(directory: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => text.push_str(&source(&path)),
            false => text.push_str(&fs::read_to_string(&path).expect("UTF-8")),
        }
    }
    text
}

#[test]
fn the_schema_lists_exactly_the_kinds_that_the_tool_prints() {
    let source = source(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    for printed in source.split(r#""kind": ""#).skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(kinds().contains(&printed), "output.schema.json doesn't list the kind `{printed}`");
    }
    for kind in kinds() {
        assert!(source.contains(&format!("\"{kind}\"")), "nothing prints the kind `{kind}`");
    }
}
