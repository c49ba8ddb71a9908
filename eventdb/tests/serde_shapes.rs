//! What serde can make of an event: each shape is either read back, or refused with its reason.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    reason = "a test fails by a panic"
)]

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::error::Error as _;

use chrono::{DateTime, Utc};
use eventdb::{DomainEvent, Event, EventCandidate, EventData, ShapeError, UnknownTypes, Upcaster};
use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::test_runner::TestCaseError;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

const SOURCE: &str = "https://library.example.com";

macro_rules! domain_event {
    ($($ty:ty),* $(,)?) => {$(
        impl DomainEvent for $ty {
            const UNKNOWN_TYPES: UnknownTypes = UnknownTypes::Reject;
        }
    )*};
}

fn write<E: DomainEvent>(event: &E) -> Result<EventCandidate, eventdb::UnwritableEvent> {
    EventCandidate::typed(event, SOURCE, "book:1")
}

/// The error of an event that can't be written, and all its causes.
fn refusal<E: DomainEvent>(event: &E) -> String {
    let error = write(event).expect_err("the event should have been refused");
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// The event as the table gives it back: whole numbers have lost their `.0`, and zero its sign.
fn stored(candidate: &EventCandidate) -> Event {
    fn numbers(value: &mut Value) {
        match value {
            Value::Number(number) => {
                // As text, because a whole double is one with `.0` there.
                if let Some(whole) = number.to_string().strip_suffix(".0") {
                    *value = Value::from(whole.parse::<i64>().unwrap());
                }
            }
            Value::Array(values) => values.iter_mut().for_each(numbers),
            Value::Object(object) => object.values_mut().for_each(numbers),
            Value::Null | Value::Bool(_) | Value::String(_) => {}
        }
    }
    let mut data = candidate.data.clone().into_value();
    numbers(&mut data);
    let mut event = Event::builder()
        .id("evt-1")
        .source(&candidate.source)
        .ty(&candidate.ty)
        .subject(&candidate.subject)
        .time(DateTime::UNIX_EPOCH)
        .data(data)
        .build();
    event.dataschema.clone_from(&candidate.dataschema);
    event
}

/// What was accepted can be read, and is written alike again; what comes back from JSON as it was
/// is accepted.
fn both_directions<E>(event: &E) -> Result<(), TestCaseError>
where
    E: DomainEvent + Clone + PartialEq + std::fmt::Debug,
{
    match write(event) {
        Ok(candidate) => {
            let read = stored(&candidate).typed::<E>().map_err(|error| {
                TestCaseError::fail(format!("{event:?} was accepted, but: {error}"))
            })?;
            let read = read.expect("unknown types are an error");
            // A table by revision gives the text, which is read without values in between.
            let mut as_text = stored(&candidate);
            as_text.data = EventData::from_json(as_text.data.to_string()).expect("as it is stored");
            let from_text = as_text.typed::<E>().expect("readable").expect("of a known type");
            prop_assert_eq!(&from_text, &read);
            let again =
                stored(&write(&read).map_err(|error| TestCaseError::fail(error.to_string()))?);
            let first = stored(&candidate);
            prop_assert_eq!(&again.ty, &first.ty);
            prop_assert_eq!(in_order(&again.data), in_order(&first.data));
        }
        Err(error) => {
            let json = serde_json::to_value(event);
            let back = json.and_then(serde_json::from_value::<E>);
            prop_assert!(
                !matches!(&back, Ok(back) if back == event),
                "{:?} comes back from JSON, but: {}",
                event,
                error
            );
            prop_assert!(!error.to_string().is_empty());
        }
    }
    Ok(())
}

fn in_order(value: &Value) -> Value {
    match value {
        Value::Array(values) => {
            let mut values: Vec<Value> = values.iter().map(in_order).collect();
            values.sort_by_key(Value::to_string);
            Value::Array(values)
        }
        Value::Object(object) => {
            object.iter().map(|(name, value)| (name.clone(), in_order(value))).collect()
        }
        value => value.clone(),
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Meter {
    #[serde(rename = "meter.read")]
    Read { celsius: f64 },
    #[serde(rename = "meter.read-all")]
    ReadAll { all: Vec<Reading> },
    #[serde(rename = "meter.estimated")]
    Estimated { celsius: Option<f64>, quality: f32 },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Reading {
    celsius: f64,
    sensors: BTreeMap<String, f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Buffered {
    #[serde(rename = "order.flat")]
    Flat {
        #[serde(flatten)]
        common: Common,
    },
    #[serde(rename = "order.flat-names")]
    FlatNames {
        id: u64,
        #[serde(flatten)]
        names: BTreeMap<String, Value>,
    },
    #[serde(rename = "order.tagged")]
    Tagged(InnerTagged),
    #[serde(rename = "order.untagged")]
    Untagged { amount: InnerUntagged },
    #[serde(rename = "order.large")]
    Large {
        #[serde(flatten)]
        large: Large,
    },
    #[serde(rename = "order.inner")]
    Inner { inner: Inner },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Common {
    lines: HashMap<u32, String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Large {
    large: i128,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum InnerTagged {
    Map { counts: BTreeMap<i32, u8> },
    Text { text: String },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum InnerUntagged {
    Whole(i64),
    Fraction(f64),
    Text(String),
    Nothing(()),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Inner {
    Unit,
    Struct {
        ratio: f64,
    },
    Newtype(char),
    Tuple(u8, Option<Box<Inner>>),
    #[serde(other)]
    Other,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Collections {
    #[serde(rename = "all.sets")]
    Sets { hashed: HashSet<String>, ordered: BTreeSet<i64>, nested: Vec<HashSet<u8>> },
    #[serde(rename = "all.keys")]
    Keys { whole: BTreeMap<i8, ()>, bools: BTreeMap<bool, u8>, chars: HashMap<char, Option<u8>> },
    #[serde(rename = "all.pairs")]
    Pairs { pairs: BTreeSet<(Vec<u8>, bool)> },
    #[serde(rename = "all.vectors")]
    Vectors(BTreeMap<String, Vec<Option<Vec<i32>>>>),
    #[serde(rename = "all.keys-of-lists")]
    KeysOfLists { lists: BTreeMap<Vec<u8>, u8> },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Numbers {
    #[serde(rename = "numbers.whole")]
    Whole { signed: i128, unsigned: u128, large: u64, small: i64 },
    #[serde(rename = "numbers.doubles")]
    Doubles { double: f64, single: f32 },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum LeftOut {
    #[serde(rename = "left-out.option")]
    Option {
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        tags: Vec<String>,
    },
    #[serde(rename = "left-out.without-default")]
    WithoutDefault {
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tags: Vec<String>,
    },
    #[serde(rename = "left-out.other-default")]
    OtherDefault {
        #[serde(skip_serializing_if = "is_zero", default = "one")]
        count: u32,
    },
    #[serde(rename = "left-out.skipped")]
    Skipped {
        #[serde(skip)]
        cache: u32,
        kept: u32,
    },
    #[serde(rename = "left-out.renamed")]
    Renamed {
        #[serde(rename(serialize = "new", deserialize = "old"), default)]
        count: u32,
    },
    #[serde(rename = "left-out.seconds")]
    Seconds {
        #[serde(with = "chrono::serde::ts_seconds")]
        at: DateTime<Utc>,
    },
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

fn one() -> u32 {
    1
}

domain_event!(Meter, Buffered, Collections, Numbers, LeftOut);

fn any_double() -> impl Strategy<Value = f64> {
    let edges =
        [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 1.0, f64::MAX, f64::MIN_POSITIVE];
    prop_oneof![
        any::<f64>(),
        any::<i32>().prop_map(f64::from),
        proptest::sample::select(edges.to_vec())
    ]
}

fn any_meter() -> impl Strategy<Value = Meter> {
    let sensors = proptest::collection::btree_map("[a-z.]{0,3}", any_double(), 0..3);
    let reading =
        (any_double(), sensors).prop_map(|(celsius, sensors)| Reading { celsius, sensors });
    prop_oneof![
        any_double().prop_map(|celsius| Meter::Read { celsius }),
        proptest::collection::vec(reading, 0..3).prop_map(|all| Meter::ReadAll { all }),
        (proptest::option::of(any_double()), any::<f32>())
            .prop_map(|(celsius, quality)| Meter::Estimated { celsius, quality }),
    ]
}

fn any_inner() -> impl Strategy<Value = Inner> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(|unit| if unit { Inner::Unit } else { Inner::Other }),
        any_double().prop_map(|ratio| Inner::Struct { ratio }),
        any::<char>().prop_map(Inner::Newtype),
    ];
    leaf.prop_recursive(3, 8, 1, |inner| {
        (any::<u8>(), proptest::option::of(inner.prop_map(Box::new)))
            .prop_map(|(number, inner)| Inner::Tuple(number, inner))
    })
}

fn any_buffered() -> impl Strategy<Value = Buffered> {
    let names = proptest::collection::btree_map("[a-z]{0,3}|id|kind", any::<i64>(), 0..3);
    let tagged = prop_oneof![
        any::<BTreeMap<i32, u8>>().prop_map(|counts| InnerTagged::Map { counts }),
        any::<String>().prop_map(|text| InnerTagged::Text { text }),
    ];
    let untagged = prop_oneof![
        any::<i64>().prop_map(InnerUntagged::Whole),
        any_double().prop_map(InnerUntagged::Fraction),
        any::<String>().prop_map(InnerUntagged::Text),
        any::<bool>().prop_map(|_| InnerUntagged::Nothing(())),
    ];
    prop_oneof![
        any::<HashMap<u32, String>>().prop_map(|lines| Buffered::Flat { common: Common { lines } }),
        (any::<u64>(), names).prop_map(|(id, names)| Buffered::FlatNames {
            id,
            names: names.into_iter().map(|(name, value)| (name, value.into())).collect()
        }),
        tagged.prop_map(Buffered::Tagged),
        untagged.prop_map(|amount| Buffered::Untagged { amount }),
        prop_oneof![any::<i128>(), any::<i64>().prop_map(i128::from)]
            .prop_map(|large| Buffered::Large { large: Large { large } }),
        any_inner().prop_map(|inner| Buffered::Inner { inner }),
    ]
}

fn few<T: Strategy>(values: T) -> impl Strategy<Value = Vec<T::Value>> {
    proptest::collection::vec(values, 0..4)
}

fn any_collection() -> impl Strategy<Value = Collections> {
    prop_oneof![
        (any::<HashSet<String>>(), any::<BTreeSet<i64>>(), few(any::<HashSet<u8>>()))
            .prop_map(|(hashed, ordered, nested)| Collections::Sets { hashed, ordered, nested }),
        (
            any::<BTreeMap<i8, ()>>(),
            any::<BTreeMap<bool, u8>>(),
            any::<HashMap<char, Option<u8>>>()
        )
            .prop_map(|(whole, bools, chars)| Collections::Keys { whole, bools, chars }),
        proptest::collection::btree_set((few(any::<u8>()), any::<bool>()), 0..4)
            .prop_map(|pairs| Collections::Pairs { pairs }),
        proptest::collection::btree_map(
            any::<String>(),
            few(proptest::option::of(few(any::<i32>()))),
            0..4
        )
        .prop_map(Collections::Vectors),
        proptest::collection::btree_map(any::<Vec<u8>>(), any::<u8>(), 0..3)
            .prop_map(|lists| Collections::KeysOfLists { lists }),
    ]
}

fn any_numbers() -> impl Strategy<Value = Numbers> {
    let signed = prop_oneof![any::<i128>(), any::<i64>().prop_map(i128::from)];
    let unsigned = prop_oneof![any::<u128>(), any::<u64>().prop_map(u128::from)];
    prop_oneof![
        (signed, unsigned, any::<u64>(), any::<i64>()).prop_map(
            |(signed, unsigned, large, small)| Numbers::Whole { signed, unsigned, large, small }
        ),
        (any_double(), any::<f32>())
            .prop_map(|(double, single)| Numbers::Doubles { double, single }),
    ]
}

fn any_left_out() -> impl Strategy<Value = LeftOut> {
    let count = || 0..3_u32;
    let milliseconds = 0..4_000_000_000_000_i64;
    prop_oneof![
        (any::<Option<String>>(), any::<Vec<String>>())
            .prop_map(|(name, tags)| LeftOut::Option { name, tags }),
        any::<Vec<String>>().prop_map(|tags| LeftOut::WithoutDefault { tags }),
        count().prop_map(|count| LeftOut::OtherDefault { count }),
        (count(), count()).prop_map(|(cache, kept)| LeftOut::Skipped { cache, kept }),
        count().prop_map(|count| LeftOut::Renamed { count }),
        milliseconds.prop_map(|at| LeftOut::Seconds {
            at: DateTime::from_timestamp_millis(at).expect("a time")
        }),
    ]
}

proptest! {
    #[test]
    fn doubles(event in any_meter()) {
        both_directions(&event)?;
    }

    #[test]
    fn what_serde_buffers(event in any_buffered()) {
        both_directions(&event)?;
    }

    #[test]
    fn collections(event in any_collection()) {
        both_directions(&event)?;
    }

    #[test]
    fn numbers(event in any_numbers()) {
        both_directions(&event)?;
    }

    #[test]
    fn what_is_left_out(event in any_left_out()) {
        both_directions(&event)?;
    }
}

#[test]
fn what_cannot_be_read_again_is_refused_with_its_place() {
    let nan = Meter::Read { celsius: f64::NAN };
    assert_eq!(
        refusal(&nan),
        "the domain event `meter.read` can't be written: `data.celsius` would be stored as null, \
         as NaN and infinite numbers are, and couldn't be read again: invalid type: null, \
         expected f64"
    );
    let fine = Reading { celsius: 1.0, sensors: BTreeMap::new() };
    let sensors = [("roof".to_owned(), f64::NEG_INFINITY)].into();
    let infinite = Meter::ReadAll { all: vec![fine.clone(), Reading { sensors, ..fine }] };
    let error = write(&infinite).unwrap_err();
    assert_eq!(error.ty.as_deref(), Some("meter.read-all"));
    assert!(
        matches!(&error.reason, ShapeError::NotReadBack { path, null: true, .. }
            if path == "data.all.1.sensors.roof"),
        "{error}"
    );
    let flat = Buffered::Flat { common: Common { lines: [(7, "x".to_owned())].into() } };
    assert_eq!(
        refusal(&flat),
        "the domain event `order.flat` can't be written: `data` couldn't be read again once it is \
         stored: invalid type: string \"7\", expected u32"
    );
    let tagged = Buffered::Tagged(InnerTagged::Map { counts: [(7, 1)].into() });
    assert!(refusal(&tagged).contains("`order.tagged` can't be written: `data` couldn't be read"));
    let large = Numbers::Whole { signed: 0, unsigned: u128::MAX, large: 0, small: 0 };
    assert_eq!(
        refusal(&large),
        "the domain event can't be written: `data.unsigned` can't be written as JSON: number out \
         of range"
    );
    let lists = Collections::KeysOfLists { lists: [(vec![1], 1)].into() };
    assert!(
        refusal(&lists).contains("`data.lists` can't be written as JSON: key must be a string")
    );
    let without_default = LeftOut::WithoutDefault { tags: vec![] };
    assert!(refusal(&without_default).ends_with("missing field `tags`"));
    for (event, path) in [
        (LeftOut::OtherDefault { count: 0 }, "data.count"),
        (LeftOut::Renamed { count: 2 }, "data.new"),
    ] {
        assert_eq!(
            write(&event).unwrap_err().reason.to_string(),
            format!("`{path}` would be read back as something else than what is written")
        );
    }
}

#[test]
fn what_is_lost_when_it_is_written_is_no_reason_to_refuse_it() {
    let at = DateTime::from_timestamp_millis(1_700_000_000_987).unwrap();
    let candidate = write(&LeftOut::Seconds { at }).unwrap();
    assert_eq!(candidate.data, json!({ "at": 1_700_000_000 }));
    for event in [
        LeftOut::Skipped { cache: 7, kept: 1 },
        LeftOut::OtherDefault { count: 2 },
        LeftOut::Option { name: None, tags: vec![] },
    ] {
        write(&event).unwrap();
    }
    // A set has no order, so it may come back in another one.
    let hashed: HashSet<String> = (0..100).map(|number| number.to_string()).collect();
    let nested = vec![(0..100).collect(); 3];
    write(&Collections::Sets { hashed, ordered: BTreeSet::new(), nested }).unwrap();
    // Zero loses its sign in the table.
    write(&Meter::Read { celsius: -0.0 }).unwrap();
    write(&Meter::Estimated { celsius: Some(f64::NAN), quality: 0.1 }).unwrap();
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Plain {
    #[serde(rename = "book.moved")]
    Moved { shelf: String },
    #[serde(rename = "book.returned")]
    Returned,
}

mod forms {
    use super::{Deserialize, Plain, Serialize};

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    pub(super) struct Address {
        pub(super) street: String,
    }

    pub(super) fn address() -> Address {
        Address { street: "Main Street".to_owned() }
    }

    #[derive(Serialize, Deserialize)]
    #[serde(tag = "type")]
    pub(super) enum Tagged {
        Returned,
        Moved { to: Address },
    }

    #[derive(Serialize, Deserialize)]
    #[serde(tag = "type", content = "data")]
    pub(super) enum Adjacent {
        Returned,
        Moved { to: Address },
    }

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    pub(super) enum Untagged {
        Moved { address: Address },
        Nothing,
    }

    #[derive(Serialize, Deserialize)]
    pub(super) struct Moved {
        pub(super) address: Address,
    }

    #[derive(Serialize, Deserialize)]
    pub(super) enum OneUntagged {
        Moved {
            address: Address,
        },
        #[serde(untagged)]
        Other(serde_json::Value),
    }

    #[derive(Clone, Serialize, Deserialize)]
    #[serde(from = "Rep")]
    pub(super) enum From {
        Moved { address: Address },
    }

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Rep {
        Moved { address: Address },
    }

    impl std::convert::From<Rep> for From {
        fn from(Rep::Moved { address }: Rep) -> Self {
            Self::Moved { address }
        }
    }

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    pub(super) enum OfOthers {
        Plain(Plain),
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(into = "Plain", try_from = "Plain")]
    pub(super) struct Converted(pub(super) String);

    impl std::convert::From<Converted> for Plain {
        fn from(Converted(shelf): Converted) -> Self {
            Self::Moved { shelf }
        }
    }

    impl TryFrom<Plain> for Converted {
        type Error = String;

        fn try_from(plain: Plain) -> Result<Self, String> {
            match plain {
                Plain::Moved { shelf } if shelf.is_empty() => Err("no shelf".to_owned()),
                Plain::Moved { shelf } => Ok(Self(shelf)),
                Plain::Returned => Err("it is returned".to_owned()),
            }
        }
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(transparent)]
    pub(super) struct Transparent(pub(super) Plain);

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    pub(super) struct Wrapped(pub(super) Box<Option<Plain>>);
}

domain_event!(
    Plain,
    forms::Tagged,
    forms::Adjacent,
    forms::Untagged,
    forms::Moved,
    forms::OneUntagged,
    forms::From,
    forms::OfOthers,
    forms::Converted,
    forms::Transparent,
    forms::Wrapped,
);

#[test]
fn forms_of_enums_that_cannot_work_are_named() {
    fn form<E: DomainEvent>(event: &E) -> String {
        let error = write(event).unwrap_err();
        assert!(matches!(error.reason, ShapeError::NoEnum { .. }), "{error}");
        assert_eq!(error.ty, None);
        // Reading says the same.
        let stored = Event::builder()
            .id("evt-1")
            .source(SOURCE)
            .ty("Moved")
            .subject("book:1")
            .time(DateTime::UNIX_EPOCH)
            .data(json!({ "address": { "street": "Main Street" } }))
            .build();
        let unreadable = stored.typed::<E>().err().expect("unreadable");
        assert_eq!(unreadable.reason.to_string(), error.reason.to_string());
        error.to_string()
    }
    let address = forms::address;
    let of = |form: &str| {
        format!(
            "the domain event can't be written: the Rust type is {form}; it must be an enum in \
             serde's default form (externally tagged), without `tag`, `content` and `untagged`"
        )
    };
    let tagged = of("an enum with `tag`");
    assert_eq!(form(&forms::Tagged::Returned), tagged);
    assert_eq!(form(&forms::Tagged::Moved { to: address() }), tagged);
    let untagged = of("an enum with `untagged`, or has a variant with `untagged`");
    assert_eq!(form(&forms::Untagged::Moved { address: address() }), untagged);
    assert_eq!(form(&forms::Untagged::Nothing), untagged);
    assert_eq!(form(&forms::OneUntagged::Moved { address: address() }), untagged);
    assert_eq!(form(&forms::OneUntagged::Other(json!({}))), untagged);
    assert_eq!(form(&forms::OneUntagged::Other(json!(7))), untagged);
    assert_eq!(form(&forms::From::Moved { address: address() }), untagged);
    assert_eq!(form(&forms::OfOthers::Plain(Plain::Returned)), untagged);
    let adjacent = of("an enum with `tag` and `content`");
    assert_eq!(form(&forms::Adjacent::Returned), adjacent);
    assert_eq!(form(&forms::Adjacent::Moved { to: address() }), adjacent);
    assert_eq!(form(&forms::Moved { address: address() }), of("a struct"));
}

#[test]
fn what_stands_for_an_enum_in_the_default_form_works() {
    for plain in [Plain::Moved { shelf: "A 7".to_owned() }, Plain::Returned] {
        both_directions(&forms::Transparent(plain.clone())).unwrap();
        both_directions(&forms::Wrapped(Box::new(Some(plain.clone())))).unwrap();
        assert!(write(&forms::Wrapped(Box::new(Some(plain)))).is_ok());
    }
    both_directions(&forms::Converted("A 7".to_owned())).unwrap();
    assert!(write(&forms::Converted("A 7".to_owned())).is_ok());
    assert!(refusal(&forms::Converted(String::new())).ends_with("once it is stored: no shelf"));
    assert!(matches!(
        write(&forms::Wrapped(Box::new(None))).unwrap_err().reason,
        ShapeError::NoEnum { .. }
    ));
}

#[test]
fn an_event_is_read_back_through_the_upcasters_as_every_reader_reads_it() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Upcast {
        #[serde(rename = "book.borrowed")]
        Borrowed { user: String },
        #[serde(rename = "book.lent")]
        Lent { user: String },
        #[serde(rename(serialize = "book.written", deserialize = "book.read"))]
        OtherName { user: String },
    }
    impl DomainEvent for Upcast {
        const UNKNOWN_TYPES: UnknownTypes = UnknownTypes::Ignore;
        const UPCASTERS: &'static [Upcaster] = &[
            Upcaster::from_type("book.lent", |shape| {
                shape.ty = "book.borrowed".to_owned();
                Ok(())
            }),
            Upcaster::from_type("book.borrowed", |shape| match shape.data.contains_key("reader") {
                true => Ok(()),
                false => Err("`reader` is missing".to_owned()),
            }),
        ];
    }
    let user = || "user:456".to_owned();
    let failed = write(&Upcast::Borrowed { user: user() }).unwrap_err();
    assert!(
        matches!(failed.reason, ShapeError::Upcaster { from: "book.borrowed", .. }),
        "{failed}"
    );
    let other = write(&Upcast::OtherName { user: user() }).unwrap_err();
    assert!(
        matches!(&other.reason, ShapeError::ReadAsAnother { path } if path == "type"),
        "{other}"
    );
    assert_eq!(other.ty.as_deref(), Some("book.written"));
}

/// A shape that is read in another way than it is written, but loses nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Custom {
    #[serde(rename = "custom.double")]
    Double {
        /// null stands for NaN.
        #[serde(deserialize_with = "nan_from_null")]
        double: f64,
    },
}

fn nan_from_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

domain_event!(Custom);

#[test]
fn a_type_that_reads_null_as_nan_may_write_it() {
    for double in [f64::NAN, 1.5] {
        write(&Custom::Double { double }).unwrap();
    }
}

/// Any type that serde can write and read is a fine payload.
#[test]
fn generic_payloads() {
    #[derive(Serialize, Deserialize)]
    #[serde(bound = "T: Serialize + DeserializeOwned")]
    enum Of<T> {
        #[serde(rename = "of.value")]
        Value { value: T },
    }
    impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> DomainEvent for Of<T> {
        const UNKNOWN_TYPES: UnknownTypes = UnknownTypes::Reject;
    }
    write(&Of::Value { value: (1, "two".to_owned(), [3.0, 4.5]) }).unwrap();
    write(&Of::Value { value: Some(Some(())) }).unwrap();
    write(&Of::Value { value: std::time::Duration::from_millis(1_500) }).unwrap();
    write(&Of::Value { value: Ok::<u8, String>(7) }).unwrap();
    write(&Of::Value { value: json!({ "a": [1.0, -0.0, null, 1e300] }) }).unwrap();
    write(&Of::Value { value: Plain::Returned }).unwrap();
}
