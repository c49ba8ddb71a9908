//! The codec: golden items of the ancestor and of ours, and any event there and back.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    reason = "a test fails by a panic"
)]

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use eventdb::internals::{item, schema, validation};
use eventdb::{Event, ExtensionValue, Message};
use proptest::collection::{btree_map, hash_map, vec};
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use serde_dynamo::{AttributeValue, Item};
use serde_json::{Value, json};

/// A row as the article's library writes it.
fn ancestor_row() -> Value {
    json!({
        "subject": { "S": "book:123" },
        "time_type": { "S": "1738074600000_book.borrowed" },
        "id": { "S": "550e8400-e29b-41d4-a716-446655440000" },
        "type": { "S": "book.borrowed" },
        "source": { "S": "https://library.example.com" },
        "time": { "N": "1738074600000" },
        "data": { "M": {
            "userId": { "S": "user:456" },
            "dueDate": { "S": "2025-02-15" },
            "renewals": { "N": "0" },
            "price": { "N": "12.5" },
            "tags": { "L": [{ "S": "novel" }, { "NULL": true }, { "BOOL": false }] }
        } },
        "pk_all": { "S": "all" }
    })
}

fn ancestor_row_as_json() -> Value {
    serde_json::to_value(item::decode(row(ancestor_row())).unwrap()).unwrap()
}

fn row(json: Value) -> Item {
    serde_json::from_value(json).unwrap()
}

fn refusal(change: impl FnOnce(&mut Value)) -> String {
    let mut json = ancestor_row();
    change(&mut json);
    let item = row(json);
    let invalid = item::decode(item.clone()).unwrap_err();
    assert_eq!(invalid.item, item, "the row is handed back whole");
    invalid.reason
}

#[test]
fn a_row_of_the_ancestor_is_read() {
    let event = item::decode(row(ancestor_row())).unwrap();
    assert_eq!(
        serde_json::to_value(&event).unwrap(),
        json!({
            "specversion": "1.0",
            "id": "550e8400-e29b-41d4-a716-446655440000",
            "source": "https://library.example.com",
            "type": "book.borrowed",
            "subject": "book:123",
            "time": "2025-01-28T14:30:00.000Z",
            "data": {
                "userId": "user:456",
                "dueDate": "2025-02-15",
                "renewals": 0,
                "price": 12.5,
                "tags": ["novel", null, false]
            }
        })
    );
}

#[test]
fn our_row_is_the_ancestors_and_a_little_more() {
    let mut event = item::decode(row(ancestor_row())).unwrap();
    event.revision = Some(7);
    event.datacontenttype = Some("application/json".to_owned());
    event.dataschema = Some("https://library.example.com/schema".to_owned());
    event.extensions = BTreeMap::from([
        ("attempt".to_owned(), ExtensionValue::Integer(2)),
        ("correlationid".to_owned(), ExtensionValue::String("order-77".to_owned())),
        ("replayed".to_owned(), ExtensionValue::Boolean(true)),
    ]);
    let mut expected = ancestor_row();
    expected["revision"] = json!({ "N": "7" });
    expected["datacontenttype"] = json!({ "S": "application/json" });
    expected["dataschema"] = json!({ "S": "https://library.example.com/schema" });
    expected["extensions"] = json!({ "M": {
        "attempt": { "N": "2" },
        "correlationid": { "S": "order-77" },
        "replayed": { "BOOL": true }
    } });
    assert_eq!(item::encode(&event), row(expected));
}

#[test]
fn a_row_that_is_no_event_says_why() {
    let cases: [(&str, Value, &str); 18] = [
        ("subject", json!({ "N": "1" }), "`subject` is a number; it must be text"),
        ("id", json!({ "S": "" }), "`id` is empty; it must be text"),
        ("pk_all", json!({ "S": "some" }), "`pk_all` is other text; it must be `all`"),
        ("data", json!({ "L": [] }), "`data` is a list; it must be a map"),
        ("time", json!({ "S": "2025" }), "`time` is text; it must be"),
        ("time", json!({ "N": "-62167219200001" }), "`time` is out of range"),
        ("time", json!({ "N": "1.5" }), "`time` is out of range"),
        ("time", json!({ "N": "253402300800000" }), "`time` is out of range"),
        ("revision", json!({ "N": "0" }), "`revision` is 0; it must be"),
        ("revision", json!({ "S": "1" }), "`revision` is text"),
        ("extensions", json!({ "S": "x" }), "`extensions` is text"),
        (
            "extensions",
            json!({ "M": { "n": { "N": "3000000000" } } }),
            "`extensions.n` is 3000000000; it must be",
        ),
        // Each would be a second member of the same name, or none that CloudEvents allows.
        (
            "extensions",
            json!({ "M": { "specversion": { "S": "1.0" } } }),
            "`extensions.specversion` is",
        ),
        (
            "extensions",
            json!({ "M": { "sequence": { "S": "1" } } }),
            "`extensions.sequence` isn't a valid extension name",
        ),
        (
            "extensions",
            json!({ "M": { "Upper": { "S": "x" } } }),
            "`extensions.Upper` isn't a valid extension name",
        ),
        ("dataschema", json!({ "S": "" }), "`dataschema` is empty"),
        ("dataschema", json!({ "BOOL": true }), "`dataschema` is true or false"),
        (
            "data",
            json!({ "M": { "a": { "L": [{ "NULL": true }, { "N": "0.12345678901234567890" }] } } }),
            "`data.a.1` is a number that JSON can't hold exactly",
        ),
    ];
    for (name, value, reason) in cases {
        let found = refusal(|row| row[name] = value);
        assert!(found.starts_with(reason), "{found} is not {reason}");
    }
    for name in ["subject", "time_type", "id", "type", "source", "time", "data", "pk_all"] {
        let found = refusal(|row| {
            row.as_object_mut().unwrap().remove(name);
        });
        assert!(found.starts_with(&format!("`{name}` is missing")), "{found}");
    }
}

#[test]
fn the_head_of_a_subject_is_no_event() {
    let head = json!({
        "subject": { "S": "$head/book:123" },
        "time_type": { "S": "$head" },
        "revision": { "N": "3" },
        "last_time": { "N": "1738074600000" },
        "last_id": { "S": "evt-abc-123" }
    });
    assert!(item::decode(row(head)).is_err());
}

#[test]
fn a_row_nested_deeper_than_dynamodb_stores_does_not_exhaust_the_stack() {
    let mut value = AttributeValue::Null(true);
    for _ in 0..100_000 {
        value = AttributeValue::L(vec![value]);
    }
    let mut item = row(ancestor_row());
    item.insert("data".to_owned(), AttributeValue::M(HashMap::from([("deep".to_owned(), value)])));
    let mut invalid = item::decode(item).unwrap_err();
    assert_eq!(invalid.reason, "`data` is nested too deeply; it must have at most 32 levels");
    // Taken apart by hand, since dropping it would be as deep.
    let mut next = match invalid.item.remove("data") {
        Some(AttributeValue::M(mut map)) => map.remove("deep"),
        other => panic!("{other:?}"),
    };
    while let Some(AttributeValue::L(mut list)) = next {
        next = list.pop();
    }
}

#[test]
fn cloudevents_that_are_not_ours_to_store_say_why() {
    let good = serde_json::to_value(item::decode(row(ancestor_row())).unwrap()).unwrap();
    let cases = [
        ("specversion", json!("0.3"), "`specversion` isn't supported"),
        ("time", json!("yesterday"), "`time` isn't an RFC 3339 timestamp"),
        ("time", json!("9999-12-31T23:59:59-01:00"), "`time` is outside the years 0000 to 9999"),
        ("time", json!("9999-12-31T23:59:60Z"), "`time` is outside the years 0000 to 9999"),
        ("time", json!("0000-01-01T00:00:00+01:00"), "`time` is outside the years 0000 to 9999"),
        ("data", json!([]), "`data` isn't an object"),
        ("data_base64", json!("AA=="), "`data_base64` isn't supported"),
        ("sequence", json!("0"), "`sequence` isn't a revision"),
        ("sequence", json!("+1"), "`sequence` isn't a revision"),
        ("id", json!(7), "`id` isn't text"),
        ("subject", json!(""), "`subject` is empty"),
        ("Upper", json!("x"), "\"Upper\" isn't a valid attribute name"),
        ("nested", json!({}), "`nested` must be text"),
        ("large", json!(2_147_483_648_u32), "`large` isn't a whole number of 32 bits"),
    ];
    for (name, value, reason) in cases {
        let mut changed = good.clone();
        changed[name] = value;
        let error = serde_json::from_value::<Event>(changed).unwrap_err().to_string();
        assert!(error.starts_with(reason), "{error} is not {reason}");
    }
    for name in ["specversion", "id", "source", "type", "subject", "time", "data"] {
        let mut changed = good.clone();
        changed.as_object_mut().unwrap().remove(name);
        let error = serde_json::from_value::<Event>(changed).unwrap_err().to_string();
        assert!(error.starts_with(&format!("`{name}` is missing")), "{error}");
    }
}

#[test]
fn a_row_is_read_with_any_time_that_can_be_published() {
    for (milliseconds, written) in [
        ("-62167219200000", "0000-01-01T00:00:00.000Z"),
        ("-1", "1969-12-31T23:59:59.999Z"),
        ("999999999999", "2001-09-09T01:46:39.999Z"),
        ("253402300799999", "9999-12-31T23:59:59.999Z"),
    ] {
        let mut json = ancestor_row();
        json["time"] = json!({ "N": milliseconds });
        let event = item::decode(row(json)).unwrap();
        let message = Message::new(&event);
        assert!(message.attributes.contains(&("time", written.to_owned())));
        assert_eq!(serde_json::from_str::<Event>(&message.body).unwrap(), event);
        assert_eq!(item::decode(item::encode(&event)), Ok(event));
    }
}

#[test]
fn a_message_holds_only_characters_that_sns_takes() {
    let mut event = item::decode(row(ancestor_row())).unwrap();
    event.data = json!({ "text": "\u{0}\u{1F}\u{FFFE}\u{FFFF}\u{10FFFF} \u{1F4D5}" }).into();
    let message = Message::new(&event);
    let allowed = |character: char| {
        matches!(character, '\t' | '\n' | '\r' | ' '..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}')
            || character >= '\u{10000}'
    };
    assert!(message.body.chars().all(allowed), "{}", message.body);
    assert_eq!(serde_json::from_str::<Event>(&message.body).unwrap(), event);
}

#[test]
fn the_message_of_a_store_says_which_and_the_event_does_not() {
    let mut event = item::decode(row(ancestor_row())).unwrap();
    event.revision = Some(7);
    event.data = json!({ "userId": "user:456" }).into();
    let stream =
        "arn:aws:dynamodb:eu-west-1:111111111111:table/Events/stream/2025-01-28T14:00:00.000";
    let message = Message::of_store(&event, &stream.parse().unwrap());
    let expected = format!(
        r#"{{"specversion":"1.0","id":"550e8400-e29b-41d4-a716-446655440000","source":"https://library.example.com","type":"book.borrowed","subject":"book:123","time":"2025-01-28T14:30:00.000Z","sequence":"00000000000000000007","eventstore":"{stream}","data":{{"userId":"user:456"}}}}"#
    );
    assert_eq!(message.body, expected);
    assert_eq!(message.attributes, Message::new(&event).attributes);
    assert_eq!(serde_json::from_str::<Event>(&message.body).unwrap(), event);
    // Copied into another store, it would else say the wrong one.
    event.extensions = BTreeMap::from([("eventstore".to_owned(), "mine".into())]);
    let faults = validation::check_events(&[event]).unwrap_err();
    assert!(faults.to_string().contains("eventstore"), "{faults}");
    let mut own = ancestor_row();
    own["extensions"] = json!({ "M": { "eventstore": { "S": "mine" } } });
    let invalid = item::decode(row(own)).unwrap_err();
    assert!(invalid.reason.contains("`extensions.eventstore`"), "{invalid}");
}

#[test]
fn a_sequence_sorts_as_text() {
    let sequences: Vec<String> = [1, 9, 10, 99, 1_000_000, u64::MAX]
        .into_iter()
        .map(|revision| {
            let mut event = item::decode(row(ancestor_row())).unwrap();
            event.revision = Some(revision);
            let message = serde_json::to_value(&event).unwrap();
            message["sequence"].as_str().unwrap().to_owned()
        })
        .collect();
    assert!(sequences.is_sorted(), "{sequences:?}");
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e120..1e120).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            hash_map(".{1,8}", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn extension() -> impl Strategy<Value = ExtensionValue> {
    prop_oneof![
        "[ -~äöü📚]{1,20}".prop_map(ExtensionValue::String),
        any::<bool>().prop_map(ExtensionValue::Boolean),
        any::<i32>().prop_map(ExtensionValue::Integer),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let name = "[^\\p{C}$][^\\p{C}]{2,20}";
    let required = (name, name, name, "[a-z]{1,5}:[a-zA-Z0-9./]{2,20}", 0..=9_999_999_999_999_i64);
    let optional = (
        option::of(1..=u64::MAX),
        option::of(Just("application/json".to_owned())),
        option::of(Just("urn:schema".to_owned())),
        btree_map("x[a-z0-9]{1,10}", extension(), 0..4),
    );
    let data = hash_map(".{1,8}", json_value(), 0..5);
    (required, optional, data).prop_map(|(required, optional, data)| {
        let (id, ty, subject, source, milliseconds) = required;
        let mut event = Event::builder()
            .id(id)
            .ty(ty)
            .subject(subject)
            .source(source)
            .time(DateTime::<Utc>::from_timestamp_millis(milliseconds).unwrap())
            .data(Value::Object(data.into_iter().collect()))
            .build();
        (event.revision, event.datacontenttype, event.dataschema, event.extensions) = optional;
        event
    })
}

fn attribute_value() -> impl Strategy<Value = AttributeValue> {
    let leaf = prop_oneof![
        any::<String>().prop_map(AttributeValue::S),
        any::<String>().prop_map(AttributeValue::N),
        any::<bool>().prop_map(AttributeValue::Bool),
        any::<bool>().prop_map(AttributeValue::Null),
        vec(any::<u8>(), 0..8).prop_map(AttributeValue::B),
        vec(any::<String>(), 0..3).prop_map(AttributeValue::Ss),
        vec(any::<String>(), 0..3).prop_map(AttributeValue::Ns),
    ];
    leaf.prop_recursive(4, 20, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(AttributeValue::L),
            hash_map(any::<String>(), inner, 0..4).prop_map(AttributeValue::M),
        ]
    })
}

proptest! {
    #[test]
    fn any_event_survives_the_table_and_the_message(event in event()) {
        prop_assert!(validation::check_events(std::slice::from_ref(&event)).is_ok());
        // What the table keeps is the same, but for numbers that are written otherwise.
        let stored = item::decode(item::encode(&event)).unwrap();
        prop_assert_eq!(item::decode(item::encode(&stored)), Ok(stored.clone()));
        prop_assert_eq!(stored.time, event.time);
        let message = Message::new(&stored);
        prop_assert_eq!(serde_json::from_str::<Event>(&message.body).unwrap(), stored);
    }

    /// One rule for every way that a time comes in: whole milliseconds of UTC.
    #[test]
    fn a_time_is_the_same_however_it_is_given(
        seconds in -62_135_596_800_i64..=253_402_214_399,
        nanoseconds in 0..2_000_000_000_u32,
        offset in -86_340..=86_340_i32,
        digits in 1..=9_usize,
    ) {
        // What chrono has for a leap second, where there can be one.
        let nanoseconds = if seconds.rem_euclid(60) == 59 { nanoseconds } else { nanoseconds % 1_000_000_000 };
        let time = DateTime::from_timestamp(seconds, nanoseconds).unwrap();
        let expected = DateTime::from_timestamp_millis(
            seconds * 1_000 + i64::from(nanoseconds / 1_000_000)
        ).unwrap();
        let offset = chrono::FixedOffset::east_opt(offset / 60 * 60).unwrap();
        let written = time.with_timezone(&offset).format("%Y-%m-%dT%H:%M:%S%.9f%:z").to_string();
        let given = |text: &str| {
            let mut event = ancestor_row_as_json();
            event["time"] = json!(text);
            serde_json::from_value::<Event>(event)
        };
        let built = Event::builder()
            .id("evt-1").source("/x/y").ty("book.lent").subject("book:1").data(json!({}))
            .time(time)
            .build();
        prop_assert_eq!(built.time, expected);
        // The local year may be one that RFC 3339 can't write.
        if let Ok(read) = given(&written) {
            prop_assert_eq!(read.time, expected, "{}", written);
            let again = serde_json::to_value(&read).unwrap();
            prop_assert_eq!(serde_json::from_value::<Event>(again).unwrap(), read);
        }
        let mut set_by_hand = built.clone();
        set_by_hand.time = time;
        prop_assert_eq!(item::encode(&set_by_hand), item::encode(&built));
        prop_assert_eq!(Message::new(&set_by_hand), Message::new(&built));
        // Fewer digits than milliseconds are zeros.
        let fraction = format!("{:09}", nanoseconds % 1_000_000_000);
        let kept = &fraction[..digits];
        let shorter = format!("2025-01-28T14:30:00.{kept}Z");
        let milliseconds = format!("{:0<3}", kept)[..3].parse::<i64>().unwrap();
        prop_assert_eq!(
            given(&shorter).unwrap().time.timestamp_millis(),
            1_738_074_600_000 + milliseconds
        );
    }

    #[test]
    fn any_row_is_read_or_handed_back(
        mut attributes in hash_map(
            prop_oneof![
                proptest::sample::select(vec![
                    "subject", "time_type", "id", "type", "source", "time", "data", "pk_all",
                    "revision", "extensions", "datacontenttype", "dataschema",
                ]).prop_map(str::to_owned),
                any::<String>(),
            ],
            attribute_value(),
            0..8,
        ),
        sound in any::<bool>(),
    ) {
        if sound {
            for (name, value) in row(ancestor_row()).into_inner() {
                attributes.entry(name).or_insert(value);
            }
        }
        let item = Item::from(attributes);
        match item::decode(item.clone()) {
            Ok(event) => prop_assert_eq!(
                Some(&AttributeValue::S(event.subject)),
                item.get(schema::attribute::SUBJECT)
            ),
            Err(invalid) => prop_assert_eq!(invalid.item, item),
        }
    }

    #[test]
    fn any_text_is_read_as_cloudevents_json_or_refused(text in ".*") {
        let _ = serde_json::from_str::<Event>(&text);
    }

    #[test]
    fn any_members_are_read_as_cloudevents_json_or_refused(
        members in hash_map("[a-z]{1,12}|data|time|id|sequence", json_value(), 0..10),
    ) {
        let members = Value::Object(members.into_iter().collect());
        let _ = serde_json::from_value::<Event>(members);
    }
}
