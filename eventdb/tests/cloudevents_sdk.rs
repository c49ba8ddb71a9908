//! Our CloudEvents JSON and the official SDK for Rust understand each other, and events convert
//! both ways.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by a panic")]

use chrono::{DateTime, TimeZone, Utc};
use cloudevents::event::{AttributesReader, Data, ExtensionValue as SdkExtension};
use cloudevents::{EventBuilder, EventBuilderV03, EventBuilderV10};
use eventdb::{Event, ExtensionValue};
use serde_json::{Value, json};

type SdkEvent = cloudevents::Event;

const SOURCE: &str = "/library?shelf=a%20b";
const SCHEMA: &str = "https://library.example.com/schemas/book.json#/v2";

fn time() -> DateTime<Utc> {
    Utc.timestamp_millis_opt(1_738_074_600_123).single().expect("a time")
}

fn data() -> Value {
    json!({
        "título": "O Alquimista 📚",
        "numbers": [0, -1, 0.1, 5e-324, u64::MAX, i64::MIN],
        "nested": { "a": [null, true, {}] },
    })
}

/// Ours, with every attribute there is.
fn complete() -> Event {
    let mut event = Event::builder()
        .id("evt-📚")
        .source(SOURCE)
        .ty("book.borrowed")
        .subject("книга:123")
        .time(time())
        .datacontenttype("application/vnd.library+json")
        .dataschema(SCHEMA)
        .data(data())
        .extension("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        .extension("audited", true)
        .extension("attempt", i32::MIN)
        .build();
    event.revision = Some(7);
    event
}

/// Ours, with what is required.
fn minimal() -> Event {
    Event::builder()
        .id("evt-1")
        .source("https://library.example.com")
        .ty("book.borrowed")
        .subject("book:123")
        .time(time())
        .data(json!({}))
        .build()
}

/// The SDK's, with every attribute there is.
fn sdk_builder() -> EventBuilderV10 {
    EventBuilderV10::new()
        .id("evt-📚")
        .source(SOURCE)
        .ty("book.borrowed")
        .subject("книга:123")
        .time(time())
        .extension("sequence", "00000000000000000007")
        .extension("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        .extension("audited", true)
        .extension("attempt", i64::from(i32::MIN))
        .data_with_schema("application/vnd.library+json", SCHEMA, data())
}

fn sdk_complete() -> SdkEvent {
    sdk_builder().build().expect("a valid event")
}

/// The SDK's, with what the store requires.
fn sdk_minimal() -> EventBuilderV10 {
    EventBuilderV10::new()
        .id("evt-1")
        .source("https://library.example.com")
        .ty("book.borrowed")
        .subject("book:123")
        .time(time())
}

fn refusal(event: SdkEvent) -> String {
    Event::try_from(event).expect_err("a refusal").to_string()
}

#[test]
fn the_sdk_reads_our_json_with_equal_attributes() {
    let event: SdkEvent =
        serde_json::from_str(&serde_json::to_string(&complete()).unwrap()).expect("our JSON");
    assert_eq!(event.specversion().as_str(), "1.0");
    assert_eq!(event.id(), "evt-📚");
    assert_eq!(event.source(), SOURCE);
    assert_eq!(event.ty(), "book.borrowed");
    assert_eq!(event.subject(), Some("книга:123"));
    assert_eq!(event.time(), Some(&time()));
    assert_eq!(event.datacontenttype(), Some("application/vnd.library+json"));
    assert_eq!(event.dataschema().map(|schema| schema.as_str()), Some(SCHEMA));
    assert_eq!(event.data(), Some(&Data::Json(data())));
    let mut extensions: Vec<_> = event.iter_extensions().collect();
    extensions.sort_by_key(|(name, _)| *name);
    assert_eq!(
        extensions,
        [
            ("attempt", &SdkExtension::Integer(i64::from(i32::MIN))),
            ("audited", &SdkExtension::Boolean(true)),
            ("sequence", &SdkExtension::String("00000000000000000007".to_owned())),
            (
                "traceparent",
                &SdkExtension::String(
                    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()
                )
            ),
        ]
    );
    assert_eq!(event, sdk_complete());
}

#[test]
fn the_sdk_reads_an_event_with_required_attributes_only() {
    let event: SdkEvent =
        serde_json::from_str(&serde_json::to_string(&minimal()).unwrap()).expect("our JSON");
    assert_eq!(event.datacontenttype(), None);
    assert_eq!(event.dataschema(), None);
    assert_eq!(event.data(), Some(&Data::Json(json!({}))));
    assert_eq!(event.iter_extensions().count(), 0);
}

#[test]
fn we_read_the_json_of_the_sdk() {
    let event: Event =
        serde_json::from_str(&serde_json::to_string(&sdk_complete()).unwrap()).expect("its JSON");
    assert_eq!(event, complete());
    assert_eq!(event.extensions.get("audited"), Some(&ExtensionValue::Boolean(true)));
}

#[test]
fn events_convert_to_the_sdk_and_back() {
    for event in [complete(), minimal()] {
        let converted = SdkEvent::try_from(event.clone()).expect("an event of the SDK");
        assert_eq!(Event::try_from(converted).expect("an event of ours"), event);
    }
    assert_eq!(SdkEvent::try_from(complete()).unwrap(), sdk_complete());
}

#[test]
fn events_of_the_sdk_convert_and_come_back() {
    let event = Event::try_from(sdk_complete()).expect("an event of ours");
    assert_eq!(event, complete());
    assert_eq!(SdkEvent::try_from(event).unwrap(), sdk_complete());
}

#[test]
fn data_that_the_sdk_holds_as_bytes_or_text_is_read_as_json() {
    for data in [Data::Binary(br#"{"a":1}"#.to_vec()), Data::String(r#"{"a":1}"#.to_owned())] {
        let event = sdk_minimal().data("application/json", data).build().unwrap();
        assert_eq!(Event::try_from(event).expect("an event of ours").data, json!({ "a": 1 }));
    }
}

#[test]
fn what_the_store_requires_is_asked_of_events_of_the_sdk() {
    let build = |builder: EventBuilderV10| builder.data("application/json", json!({})).build();
    let required = || EventBuilderV10::new().id("evt-1").source(SOURCE).ty("book.borrowed");
    assert_eq!(refusal(build(required().time(time())).unwrap()), "`subject` is missing",);
    assert_eq!(refusal(build(required().subject("book:123")).unwrap()), "`time` is missing");
    assert_eq!(refusal(sdk_minimal().build().unwrap()), "`data` is missing");
}

#[test]
fn data_of_the_sdk_must_be_an_object() {
    for data in [json!([1, 2]), json!("text"), json!(1), json!(true), Value::Null] {
        let event = sdk_minimal().data("application/json", data).build().unwrap();
        assert_eq!(refusal(event), "`data` isn't an object");
    }
    let text = sdk_minimal().data("text/plain", "The book is back.").build().unwrap();
    Event::try_from(text).expect_err("text is refused");
    let bytes = sdk_minimal().data("image/png", vec![0x89, b'P', b'N', b'G']).build().unwrap();
    Event::try_from(bytes).expect_err("bytes are refused");
}

#[test]
fn numbers_of_64_bits_are_refused_in_extensions() {
    for number in [i64::from(i32::MAX) + 1, i64::from(i32::MIN) - 1, i64::MAX] {
        assert_eq!(
            refusal(sdk_builder().extension("attempt", number).build().unwrap()),
            "`attempt` isn't a whole number of 32 bits"
        );
    }
}

#[test]
fn a_sequence_that_is_no_revision_is_refused() {
    for sequence in ["0", "-1", "+1", "one", "18446744073709551616"] {
        assert_eq!(
            refusal(sdk_builder().extension("sequence", sequence).build().unwrap()),
            "`sequence` isn't a revision; it must be text with a whole number from 1",
            "{sequence}"
        );
    }
    assert_eq!(
        refusal(sdk_builder().extension("sequence", 1).build().unwrap()),
        "`sequence` isn't text"
    );
}

#[test]
fn an_older_version_of_the_specification_is_refused() {
    let event = EventBuilderV03::new()
        .id("evt-1")
        .source("https://library.example.com")
        .ty("book.borrowed")
        .subject("book:123")
        .time(time())
        .data("application/json", json!({}))
        .build()
        .unwrap();
    assert_eq!(refusal(event), "`specversion` isn't supported; it must be \"1.0\"");
}

#[test]
fn a_schema_that_is_no_absolute_uri_does_not_convert() {
    let mut event = minimal();
    event.dataschema = Some("book.json".to_owned());
    SdkEvent::try_from(event).expect_err("the SDK only holds absolute URIs");
}
