//! Typed events, upcasters and given/when/then: what needs no database.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    reason = "a test fails by a panic"
)]

use std::collections::BTreeMap;
use std::error::Error as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use eventdb::testing::{assert_snapshot_keeps, given};
use eventdb::{
    Aggregate, DomainEvent, Event, EventCandidate, ReceivedMessage, Shape, ShapeError,
    UnknownTypes, Upcaster,
};
use proptest::prelude::{Strategy, any, prop_assert_eq, prop_oneof, proptest};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const SOURCE: &str = "https://library.example.com";

fn event(ty: &str, dataschema: Option<&str>, data: Value) -> Event {
    let mut event = Event::builder()
        .id("evt-1")
        .source(SOURCE)
        .ty(ty)
        .subject("book:1")
        .time(chrono::DateTime::UNIX_EPOCH)
        .data(data)
        .build();
    event.dataschema = dataschema.map(str::to_owned);
    event
}

fn stored<E: DomainEvent>(event: &E) -> Event {
    let candidate = EventCandidate::typed(event, SOURCE, "book:1").unwrap();
    self::event(&candidate.ty, candidate.dataschema.as_deref(), candidate.data.into_value())
}

/// Every form that serde gives a variant of an enum.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Forms {
    #[serde(rename = "form.unit")]
    Unit,
    #[serde(rename = "form.struct", rename_all = "camelCase")]
    Struct {
        user_id: String,
        count: Option<u32>,
        ratio: f64,
        #[serde(default)]
        tags: Vec<String>,
    },
    #[serde(rename = "form.newtype")]
    Newtype(Content),
    #[serde(rename = "form.map")]
    Map(BTreeMap<String, i64>),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Content {
    Known { name: String },
    Other,
}

impl DomainEvent for Forms {
    const UNKNOWN_TYPES: UnknownTypes = UnknownTypes::Reject;

    fn dataschema(&self) -> Option<&str> {
        matches!(self, Self::Newtype(_)).then_some("https://library.example.com/content/1")
    }
}

fn any_form() -> impl Strategy<Value = Forms> {
    let ratio = any::<f64>().prop_filter("JSON has no others", |ratio| ratio.is_finite());
    let structure = (any::<String>(), any::<Option<u32>>(), ratio, any::<Vec<String>>());
    prop_oneof![
        any::<bool>().prop_map(|_| Forms::Unit),
        structure.prop_map(|(user_id, count, ratio, tags)| Forms::Struct {
            user_id,
            count,
            ratio,
            tags
        }),
        any::<String>().prop_map(|name| Forms::Newtype(Content::Known { name })),
        any::<bool>().prop_map(|_| Forms::Newtype(Content::Other)),
        any::<BTreeMap<String, i64>>().prop_map(Forms::Map),
    ]
}

proptest! {
    #[test]
    fn any_typed_event_comes_back_as_it_was(form in any_form()) {
        prop_assert_eq!(stored(&form).typed::<Forms>().unwrap(), Some(form));
    }

    #[test]
    fn no_event_makes_reading_panic(ty in "form\\.[a-z]{3,7}|.*", data in any_json(), schema in any::<Option<String>>()) {
        let _ = event(&ty, schema.as_deref(), data).typed::<Forms>();
    }

    #[test]
    fn no_body_makes_receiving_panic(body in ".*", json in any_json()) {
        let _ = ReceivedMessage::read(&body);
        let _ = ReceivedMessage::read(&json.to_string());
        let envelope = json!({ "Type": "Notification", "Message": json.to_string() });
        let _ = ReceivedMessage::read(&envelope.to_string());
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<Option<bool>>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    let names = "specversion|Type|Message|userId|kind|[a-z]{0,3}";
    leaf.prop_recursive(3, 16, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(names, inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

#[test]
fn a_variant_is_a_type_and_what_it_holds_is_the_data() {
    let structure =
        Forms::Struct { user_id: "user:456".into(), count: None, ratio: 0.5, tags: vec![] };
    let newtype = Forms::Newtype(Content::Known { name: "Dune".into() });
    let map = Forms::Map([("a".to_owned(), 1)].into());
    for (form, ty, data) in [
        (Forms::Unit, "form.unit", json!({})),
        (
            structure,
            "form.struct",
            json!({ "userId": "user:456", "count": null, "ratio": 0.5, "tags": [] }),
        ),
        (newtype, "form.newtype", json!({ "kind": "Known", "name": "Dune" })),
        (map, "form.map", json!({ "a": 1 })),
    ] {
        let candidate = EventCandidate::typed(&form, SOURCE, "book:1").unwrap();
        assert_eq!((candidate.ty.as_str(), candidate.data.as_value()), (ty, &data));
        assert_eq!((candidate.source.as_str(), candidate.subject.as_str()), (SOURCE, "book:1"));
        let has_schema = ty == "form.newtype";
        assert_eq!(candidate.dataschema.is_some(), has_schema);
    }
}

#[test]
fn what_is_new_in_the_data_is_passed_over_and_what_is_missing_is_an_error() {
    let more = event("form.unit", None, json!({ "since": "2026" }));
    assert_eq!(more.typed::<Forms>().unwrap(), Some(Forms::Unit));
    let missing = event("form.struct", None, json!({ "userId": "secret", "ratio": "secret" }));
    let error = missing.typed::<Forms>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the event `evt-1` of `book:1`, type `form.struct`, can't be read: `data.ratio` doesn't \
         have the shape of the event's type"
    );
    let cause = error.source().unwrap().to_string();
    assert_eq!(cause, "invalid type: string \"secret\", expected f64");
}

#[test]
fn what_is_no_event_is_said() {
    #[derive(Serialize, Deserialize)]
    enum Wrong {
        #[serde(rename = "book.renamed")]
        Text(String),
        #[serde(rename = "book.moved")]
        Tuple(u8, u8),
        #[serde(rename = "book.unwritable")]
        Unwritable(BTreeMap<Vec<u8>, u8>),
    }
    impl DomainEvent for Wrong {
        const UNKNOWN_TYPES: UnknownTypes = UnknownTypes::Ignore;
    }
    #[derive(Serialize, Deserialize)]
    #[serde(tag = "type", content = "data")]
    enum Tagged {
        Renamed { to: String },
    }
    impl DomainEvent for Tagged {
        const UNKNOWN_TYPES: UnknownTypes = UnknownTypes::Ignore;
    }
    #[derive(Serialize, Deserialize)]
    struct Number(u8);
    impl DomainEvent for Number {
        const UNKNOWN_TYPES: UnknownTypes = UnknownTypes::Ignore;
    }

    fn reason<E: DomainEvent>(event: &E) -> ShapeError {
        EventCandidate::typed(event, SOURCE, "book:1").unwrap_err().reason
    }
    let text = reason(&Wrong::Text("Dune".into()));
    assert!(matches!(text, ShapeError::NoObject { variant } if variant == "book.renamed"));
    assert!(matches!(reason(&Wrong::Tuple(1, 2)), ShapeError::NoObject { .. }));
    let map = Wrong::Unwritable([(vec![1], 1)].into());
    assert!(matches!(reason(&map), ShapeError::Unserializable { .. }));
    assert!(matches!(reason(&Tagged::Renamed { to: "Dune".into() }), ShapeError::NoEnum { .. }));
    assert!(matches!(reason(&Number(1)), ShapeError::NoEnum { .. }));

    // And when reading: such a type is a mistake, not an unknown one.
    let renamed = event("Renamed", None, json!({ "to": "Dune" }));
    assert!(matches!(renamed.typed::<Tagged>().err().unwrap().reason, ShapeError::NoEnum { .. }));
    assert!(matches!(renamed.typed::<Number>().err().unwrap().reason, ShapeError::NoEnum { .. }));
    let moved = event("book.moved", None, json!({}));
    assert!(matches!(moved.typed::<Wrong>().err().unwrap().reason, ShapeError::NoObject { .. }));
}

#[test]
fn unknown_types_are_ignored_refused_or_caught() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Some {
        #[serde(rename = "book.returned")]
        Returned,
    }
    impl DomainEvent for Some {
        const UNKNOWN_TYPES: UnknownTypes = UnknownTypes::Ignore;
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Others {
        #[serde(rename = "book.returned")]
        Returned,
        #[serde(other)]
        Other,
    }
    impl DomainEvent for Others {
        const UNKNOWN_TYPES: UnknownTypes = UnknownTypes::Reject;
    }
    let eaten = event("book.eaten", None, json!({ "by": "dog" }));
    assert_eq!(eaten.typed::<Some>().unwrap(), None);
    assert_eq!(eaten.typed::<Others>().unwrap(), Option::Some(Others::Other));
    assert_eq!(
        eaten.typed::<Forms>().unwrap_err().reason.to_string(),
        "the type is unknown; it must be one of `form.unit`, `form.struct`, `form.newtype`, \
         `form.map`"
    );
    // A known type with data that doesn't fit is never passed over.
    let known = event("form.struct", None, json!({}));
    assert!(known.typed::<Forms>().is_err());
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Lifted {
    #[serde(rename = "book.borrowed", rename_all = "camelCase")]
    Borrowed { user_id: String, branch: String },
}

const SECOND: &str = "https://library.example.com/borrowed/2";
const THIRD: &str = "https://library.example.com/borrowed/3";

impl DomainEvent for Lifted {
    const UNKNOWN_TYPES: UnknownTypes = UnknownTypes::Ignore;
    // Not in the order of the chain.
    const UPCASTERS: &'static [Upcaster] = &[
        Upcaster::from_dataschema(SECOND, add_branch),
        Upcaster::from_type("book.lent", rename_user),
        Upcaster::from_type("book.borrowed", |_| Ok(())),
        Upcaster::from_type("book.circular", |_| Ok(())),
    ];

    fn dataschema(&self) -> Option<&str> {
        Some(THIRD)
    }
}

fn rename_user(shape: &mut Shape) -> Result<(), String> {
    shape.ty = "book.borrowed".to_owned();
    shape.dataschema = Some(SECOND.to_owned());
    let user = shape.data.remove("user").ok_or("`user` is missing")?;
    shape.data.insert("userId".to_owned(), user);
    Ok(())
}

fn add_branch(shape: &mut Shape) -> Result<(), String> {
    shape.dataschema = Some(THIRD.to_owned());
    shape.data.entry("branch").or_insert("main".into());
    Ok(())
}

#[test]
fn old_shapes_are_lifted_along_the_chain() {
    let borrowed =
        |branch: &str| Some(Lifted::Borrowed { user_id: "user:456".into(), branch: branch.into() });
    let first = event("book.lent", None, json!({ "user": "user:456" }));
    assert_eq!(first.typed::<Lifted>().unwrap(), borrowed("main"));
    let second = event("book.borrowed", Some(SECOND), json!({ "userId": "user:456" }));
    assert_eq!(second.typed::<Lifted>().unwrap(), borrowed("main"));
    let today = stored(&borrowed("east").unwrap());
    assert_eq!(today.dataschema.as_deref(), Some(THIRD));
    assert_eq!(today.typed::<Lifted>().unwrap(), borrowed("east"));
    // One that changes nothing ends too, and leaves the type unknown.
    assert_eq!(event("book.circular", None, json!({})).typed::<Lifted>().unwrap(), None);
}

#[test]
fn an_upcaster_that_fails_is_named_even_where_unknown_types_are_ignored() {
    let error = event("book.lent", None, json!({})).typed::<Lifted>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the event `evt-1` of `book:1`, type `book.lent`, can't be read: its upcaster from \
         `book.lent` failed: `user` is missing"
    );
    let no_object = event("book.lent", None, json!([])).typed::<Lifted>().unwrap_err();
    assert!(matches!(no_object.reason, ShapeError::NoObject { .. }));
}

#[test]
fn an_upcaster_is_for_exactly_the_old_shape() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Versions {
        #[serde(rename = "book.borrowed")]
        Borrowed { user: String },
    }
    const FIRST: &str = "https://library.example.com/borrowed/1";
    impl DomainEvent for Versions {
        const UNKNOWN_TYPES: UnknownTypes = UnknownTypes::Reject;
        const UPCASTERS: &'static [Upcaster] = &[
            Upcaster::from_shape("book.borrowed", Some(FIRST), |shape| {
                shape.data.insert("user".to_owned(), "of the first".into());
                Ok(())
            }),
            // Neither the shape of today nor the other old one.
            Upcaster::from_shape("book.borrowed", None, |shape| {
                let reader = shape.data.remove("reader").ok_or("`reader` is missing")?;
                shape.data.insert("user".to_owned(), reader);
                shape.dataschema = Some(SECOND.to_owned());
                Ok(())
            }),
        ];

        fn dataschema(&self) -> Option<&str> {
            Some(SECOND)
        }
    }
    let borrowed = |user: &str| Some(Versions::Borrowed { user: user.to_owned() });
    let without = event("book.borrowed", None, json!({ "reader": "user:456" }));
    assert_eq!(without.typed::<Versions>().unwrap(), borrowed("user:456"));
    let first = event("book.borrowed", Some(FIRST), json!({}));
    assert_eq!(first.typed::<Versions>().unwrap(), borrowed("of the first"));
    let today = stored(&borrowed("user:789").unwrap());
    assert_eq!(today.typed::<Versions>().unwrap(), borrowed("user:789"));
    let error = event("book.borrowed", None, json!({})).typed::<Versions>().unwrap_err();
    assert!(error.to_string().ends_with("from `book.borrowed` failed: `reader` is missing"));
    let other = event("book.lent", None, json!({}));
    assert!(matches!(
        other.typed::<Versions>().unwrap_err().reason,
        ShapeError::UnknownType { .. }
    ));
}

#[derive(Debug, Default, PartialEq)]
struct Counter {
    count: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Counted {
    #[serde(rename = "counter.counted")]
    Up { by: u64 },
    #[serde(rename = "counter.lossy")]
    Lossy {
        #[serde(skip)]
        forgotten: u64,
    },
    #[serde(rename = "counter.named")]
    Named(String),
}

impl DomainEvent for Counted {
    const UNKNOWN_TYPES: UnknownTypes = UnknownTypes::Reject;
}

impl Aggregate for Counter {
    type Event = Counted;

    fn apply(&mut self, event: Counted) {
        if let Counted::Up { by } = event {
            self.count += by;
        }
    }
}

fn by(by: u64) -> Counted {
    Counted::Up { by }
}

fn panics<T>(test: impl FnOnce() -> T) -> String {
    let outcome = catch_unwind(AssertUnwindSafe(test));
    let panic = outcome.err().expect("the test should have failed");
    let text = panic.downcast_ref::<String>().expect("text").clone();
    // Without the colours.
    let mut plain = String::new();
    let mut parts = text.split('\u{1b}');
    plain.push_str(parts.next().unwrap());
    for part in parts {
        plain.push_str(part.split_once('m').unwrap().1);
    }
    plain
}

#[test]
fn given_when_then() {
    let up = |counter: &Counter| Ok::<_, String>([by(counter.count)]);
    let after = given::<Counter>([by(1), by(2)]).when(up).then([by(3)]);
    assert_eq!(after, Counter { count: 6 });
    let no = |_: &Counter| Err::<Vec<_>, _>("no");
    given::<Counter>([]).when(no).then_error("no");
    given::<Counter>([]).when(|_| Ok::<_, String>(None)).then([]);
    let (one, other) = given::<Counter>([by(1)])
        .and::<Counter>([by(2)])
        .when(|one, other| Ok::<_, String>((Some(by(other.count)), [by(one.count)])))
        .then([by(2)], [by(1)]);
    assert_eq!((one.count, other.count), (3, 3));
    given::<Counter>([])
        .and::<Counter>([])
        .when(|_, _| Err::<(Vec<_>, Vec<_>), _>("no"))
        .then_error("no");
}

#[test]
fn what_was_decided_is_handed_out() {
    let up = |counter: &Counter| Ok::<_, String>([by(counter.count), by(1)]);
    assert_eq!(given::<Counter>([by(2)]).when(up).then_events(), [by(2), by(1)]);
    assert_eq!(given::<Counter>([by(2)]).when(up).decided(), Ok(vec![by(2), by(1)]));
    let no = |_: &Counter| Err::<Vec<_>, _>("no");
    assert_eq!(given::<Counter>([]).when(no).decided(), Err("no"));
    let both = |_: &Counter, other: &Counter| Ok::<_, String>(([by(other.count)], None));
    let given_both = || given::<Counter>([]).and::<Counter>([by(7)]);
    assert_eq!(given_both().when(both).then_events(), (vec![by(7)], vec![]));

    let rejected = panics(|| given::<Counter>([]).when(no).then_events());
    assert_eq!(rejected, "expected events, but the decision was rejected: \"no\"");
    let lossy = |_: &Counter| Ok::<_, String>([Counted::Lossy { forgotten: 7 }]);
    let changed = panics(|| given::<Counter>([]).when(lossy).then_events());
    assert!(changed.starts_with("an event is another one once it is stored"), "{changed}");
}

#[derive(Debug, Default, PartialEq)]
struct Timed(Vec<(u64, i64)>);

impl Aggregate for Timed {
    type Event = Counted;

    fn apply(&mut self, _: Counted) {}

    fn apply_stored(&mut self, _: Counted, stored: &Event) {
        self.0.push((stored.revision.unwrap(), stored.time.timestamp_millis()));
    }
}

#[test]
fn given_events_have_times() {
    let noon = chrono::DateTime::from_timestamp_millis(1_000_000).unwrap();
    let state = given::<Timed>([by(1), by(2)])
        .at(noon, [by(3)])
        .when(|_| Ok::<_, String>([by(4)]))
        .then([by(4)]);
    assert_eq!(state.0, [(1, 1), (2, 2), (3, 1_000_000), (4, 1_000_001)]);
}

#[test]
fn a_test_that_fails_shows_the_difference() {
    let decided = || given::<Counter>([]).when(|_| Ok::<_, String>([by(1), by(7)]));
    let difference = panics(|| decided().then([by(1), by(8)]));
    assert!(difference.contains("<        by: 7,\n>        by: 8,"), "{difference}");
    let fewer = panics(|| decided().then([by(1)]));
    assert!(fewer.contains("<        by: 7,"), "{fewer}");
    let accepted = panics(|| decided().then_error("no".to_owned()));
    assert!(accepted.contains("Err(") && accepted.contains("\"no\""), "{accepted}");
    let rejected = || given::<Counter>([]).when(|_| Err::<Vec<_>, _>("no"));
    assert_eq!(
        panics(|| rejected().then([])),
        "expected events, but the decision was rejected: \"no\""
    );
    let other = panics(|| rejected().then_error("never"));
    assert!(other.contains("\"no\"") && other.contains("\"never\""), "{other}");
    let both =
        || given::<Counter>([]).and::<Counter>([]).when(|_, _| Ok::<_, String>(([], [by(1)])));
    let second = panics(|| both().then([], []));
    assert!(second.starts_with("other events of the second were decided on"), "{second}");
}

#[test]
fn events_that_would_not_come_back_fail_the_test() {
    let lossy = Counted::Lossy { forgotten: 7 };
    let test =
        || given::<Counter>([]).when(|_| Ok::<_, String>([lossy.clone()])).then([lossy.clone()]);
    let changed = panics(test);
    assert!(changed.starts_with("an event is another one once it is stored"), "{changed}");
    let named = || given::<Counter>([Counted::Named("Dune".into())]);
    let unwritable = panics(named);
    assert!(
        unwritable.contains("the variant `counter.named` doesn't hold an object"),
        "{unwritable}"
    );
}

#[test]
fn a_test_tells_what_a_snapshot_would_lose() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct State {
        #[serde(with = "chrono::serde::ts_seconds")]
        at: chrono::DateTime<chrono::Utc>,
        #[serde(skip)]
        cache: u8,
        ratio: f64,
    }
    let at = |milliseconds| chrono::DateTime::from_timestamp_millis(milliseconds).unwrap();
    let fine = State { at: at(1_000), cache: 0, ratio: 0.1 };
    assert_snapshot_keeps(&fine);
    let lost = panics(|| assert_snapshot_keeps(&State { cache: 1, ..fine }));
    assert!(lost.starts_with("a state is another one once it comes from a snapshot"), "{lost}");
    panics(|| assert_snapshot_keeps(&State { at: at(1_001), ..fine }));
    let unreadable = panics(|| assert_snapshot_keeps(&State { ratio: f64::NAN, ..fine }));
    assert!(unreadable.starts_with("the state can't be read again from {"), "{unreadable}");
}

#[test]
fn messages_are_read_raw_and_in_the_envelope() {
    let stream =
        "arn:aws:dynamodb:eu-west-1:111111111111:table/Events/stream/2025-01-28T14:00:00.000";
    let body = json!({
        "specversion": "1.0", "id": "evt-1", "source": SOURCE, "type": "book.returned",
        "subject": "book:1", "time": "2025-01-28T14:30:00.000Z",
        "sequence": "00000000000000000007", "eventstore": stream, "data": { "user": "日本 🦀" },
    })
    .to_string();
    let raw = ReceivedMessage::read(&body).unwrap();
    assert_eq!(raw.store.as_ref().map(|store| store.as_str()), Some(stream));
    assert!(raw.event.extensions.is_empty(), "the store isn't part of the event");
    assert_eq!((raw.event.revision, raw.topic_arn.as_deref()), (Some(7), None));
    let envelope = json!({
        "Type": "Notification", "MessageId": "22b80b92", "TopicArn": "arn:aws:sns:…",
        "Message": body, "Timestamp": "2025-01-28T14:30:01.000Z",
        "MessageAttributes": { "type": { "Type": "String", "Value": "book.returned" } },
    });
    let enveloped = ReceivedMessage::read(&envelope.to_string()).unwrap();
    assert_eq!(enveloped.store, raw.store);
    assert_eq!(
        (enveloped.event, enveloped.topic_arn.as_deref()),
        (raw.event, Some("arn:aws:sns:…"))
    );
}

#[test]
fn other_messages_are_told_apart_without_quoting_them() {
    let confirmation = json!({ "Type": "SubscriptionConfirmation", "Message": "secret" });
    let inner = json!({ "Type": "Notification", "Message": "{\"secret\": 1}" });
    for (body, expected) in [
        ("", "it isn't JSON: EOF while parsing a value at line 1 column 0"),
        ("secret", "it isn't JSON: expected value at line 1 column 1"),
        ("[]", "it has neither `specversion` nor `Type`"),
        ("{\"Type\": 1}", "a member of the envelope isn't text"),
        ("{\"Type\": \"Notification\"}", "the envelope has no `Message`"),
        (&confirmation.to_string(), "the envelope's `Type` isn't `Notification`"),
        (&inner.to_string(), "`specversion` is missing"),
        ("{\"specversion\": \"1.0\", \"eventstore\": 1}", "`eventstore`: it must be text"),
        (
            "{\"specversion\": \"1.0\", \"eventstore\": \"a b\"}",
            "1 to 384 printable ASCII characters other than quotation marks and backslashes",
        ),
        ("{\"specversion\": \"0.3\"}", "`specversion` isn't supported; it must be \"1.0\""),
    ] {
        let error = ReceivedMessage::read(body).unwrap_err().to_string();
        assert!(error.ends_with(expected), "{body}: {error}");
        assert!(!error.contains("secret"), "{error}");
    }
}
