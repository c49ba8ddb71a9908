//! What version 0.1 stored and published can be read by every later one: `docs/stored-format.md`.
//!
//! Each directory of `tests/golden` holds the rows of a table and the messages of one version, and
//! what they mean. They are never changed after that version's release. To write those of a new
//! version: `EVENTDB_WRITE_GOLDEN=v0.2 cargo test -p eventdb --all-features --test golden`. In
//! `before-v0.1`, the heads of a table by time aren't in the index of subjects.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    reason = "a test that panics has done its work"
)]

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use eventdb::{
    Aggregate, DomainEvent, EmbeddedDynamoDb, Event, EventCandidate, EventDb, Execute, Message,
    Precondition, ReceivedMessage, Repository, Snapshots, TableLayout, UnknownTypes,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const TABLE: &str = "LibraryEvents";
const SOURCE: &str = "https://library.example.com";
const OWN_ID: &str = "command-17";
const COMMAND: &str = "request-1";
const COUNTED: &str = "shelf:1";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum ShelfEvent {
    #[serde(rename = "book.shelved")]
    Shelved {},
}

impl DomainEvent for ShelfEvent {
    const UNKNOWN_TYPES: UnknownTypes = UnknownTypes::Reject;
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Shelf {
    books: u64,
}

impl Aggregate for Shelf {
    type Event = ShelfEvent;

    fn apply(&mut self, _: ShelfEvent) {
        self.books += 1;
    }
}

const LAYOUTS: [TableLayout; 2] = [TableLayout::ByTime, TableLayout::ByRevision];

/// The file of a layout in the directory of a version.
fn file(layout: TableLayout) -> &'static str {
    match layout {
        TableLayout::ByRevision => "table-by-revision.json",
        _ => "table.json",
    }
}

#[derive(Serialize, Deserialize)]
struct Golden {
    #[serde(skip)]
    layout: TableLayout,
    /// In DynamoDB's JSON, in the order of their keys.
    rows: Vec<BTreeMap<String, Value>>,
    /// The history of each subject, in CloudEvents JSON.
    subjects: BTreeMap<String, Vec<Value>>,
    /// Text of a cursor behind the first event of `subject`, by kind of read.
    cursors: BTreeMap<String, String>,
    /// Bodies of messages, one of each event that has a revision.
    messages: Vec<PublishedMessage>,
}

#[derive(Serialize, Deserialize)]
struct PublishedMessage {
    body: String,
    attributes: BTreeMap<String, String>,
}

/// The files of all versions, the newest version last.
fn tables() -> Vec<PathBuf> {
    let of_version = |version: PathBuf| LAYOUTS.map(|layout| version.join(file(layout)));
    versions().into_iter().flat_map(of_version).collect()
}

fn versions() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut found: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    assert!(found.iter().any(|path| path.ends_with("v0.1")), "v0.1 is there for good: {found:?}");
    found
}

fn read(table: &Path) -> Golden {
    let layout = LAYOUTS.into_iter().find(|layout| table.ends_with(file(*layout))).unwrap();
    let golden = serde_json::from_str(&fs::read_to_string(table).unwrap()).unwrap();
    Golden { layout, ..golden }
}

fn to_json(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::S(text) => json!({ "S": text }),
        AttributeValue::N(number) => json!({ "N": number }),
        AttributeValue::Bool(flag) => json!({ "BOOL": flag }),
        AttributeValue::Null(_) => json!({ "NULL": true }),
        AttributeValue::L(list) => json!({ "L": list.iter().map(to_json).collect::<Vec<_>>() }),
        AttributeValue::M(map) => {
            let map: BTreeMap<_, _> =
                map.iter().map(|(key, value)| (key, to_json(value))).collect();
            json!({ "M": map })
        }
        other => panic!("no row has {other:?}"),
    }
}

fn from_json(value: &Value) -> AttributeValue {
    let (kind, value) = value.as_object().unwrap().iter().next().unwrap();
    match (kind.as_str(), value) {
        ("S", Value::String(text)) => AttributeValue::S(text.clone()),
        ("N", Value::String(number)) => AttributeValue::N(number.clone()),
        ("BOOL", Value::Bool(flag)) => AttributeValue::Bool(*flag),
        ("NULL", _) => AttributeValue::Null(true),
        ("L", Value::Array(list)) => AttributeValue::L(list.iter().map(from_json).collect()),
        ("M", Value::Object(map)) => AttributeValue::M(
            map.iter().map(|(key, value)| (key.clone(), from_json(value))).collect(),
        ),
        other => panic!("no row has {other:?}"),
    }
}

async fn put(client: &Client, row: HashMap<String, AttributeValue>) {
    client.put_item().table_name(TABLE).set_item(Some(row)).send().await.unwrap();
}

/// A store whose table has these rows, each with further attributes.
async fn restore(
    golden: &Golden,
    further: &[(&str, AttributeValue)],
) -> (EmbeddedDynamoDb, EventDb) {
    let dynamodb = EmbeddedDynamoDb::in_memory().await.unwrap();
    let client = dynamodb.client();
    EventDb::create_table(&client, TABLE).layout(golden.layout).await.unwrap();
    for row in &golden.rows {
        let mut row: HashMap<_, _> =
            row.iter().map(|(name, value)| (name.clone(), from_json(value))).collect();
        row.extend(further.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        put(&client, row).await;
    }
    let db = EventDb::new(client, TABLE).with_layout(golden.layout);
    (dynamodb, db)
}

async fn history(db: &EventDb, subject: &str) -> Vec<Event> {
    let history = db.fetch_events_for_subject(subject).await.unwrap();
    assert!(history.invalid.is_empty(), "{subject}: {:?}", history.invalid);
    history.events
}

fn cloud_events(events: &[Event]) -> Vec<Value> {
    events.iter().map(|event| serde_json::to_value(event).unwrap()).collect()
}

fn candidate(subject: &str) -> EventCandidate {
    EventCandidate::builder()
        .source(SOURCE)
        .ty("book.found")
        .subject(subject)
        .data(json!({}))
        .build()
}

fn repeated() -> EventCandidate {
    EventCandidate::builder()
        .id(OWN_ID)
        .source(SOURCE)
        .ty("book.borrowed")
        .subject("book:1")
        .data(json!({ "userId": "user:456" }))
        .build()
}

fn shelve(db: &EventDb) -> Execute<'static, Shelf, Infallible> {
    shelves(db).execute(COUNTED, |_| Ok([ShelfEvent::Shelved {}]))
}

fn shelves(db: &EventDb) -> Repository<Shelf> {
    Repository::new(db, SOURCE).with_snapshots(Snapshots { name: "shelf", version: 1, every: 2 })
}

#[tokio::test]
async fn rows_of_every_version_are_read() {
    for version in tables() {
        let golden = read(&version);
        let (_dynamodb, db) = restore(&golden, &[]).await;
        for (subject, expected) in &golden.subjects {
            let events = history(&db, subject).await;
            assert_eq!(&cloud_events(&events), expected, "{version:?}: {subject}");
            for event in events {
                let found = db.fetch_event(&event.id).await.unwrap();
                assert_eq!(found.as_ref(), Some(&event), "{version:?}: by id");
            }
        }
        let all = db.fetch_all_events().await.unwrap();
        assert_eq!(all.events.len(), golden.subjects.values().map(Vec::len).sum::<usize>());
    }
}

#[tokio::test]
async fn histories_of_every_version_are_continued() {
    for version in tables() {
        let golden = read(&version);
        let (_dynamodb, db) = restore(&golden, &[]).await;
        for (subject, before) in &golden.subjects {
            let stored = db.add_new_events([candidate(subject)]).await.unwrap();
            assert_eq!(stored[0].revision, Some(before.len() as u64 + 1), "{version:?}: {subject}");
            assert_eq!(history(&db, subject).await.len(), before.len() + 1);
        }
        let repeated = db.add_new_events([repeated()]).await.unwrap();
        let expected = golden.subjects["book:1"].iter().find(|event| event["id"] == OWN_ID);
        assert_eq!(cloud_events(&repeated).first(), expected, "{version:?}: stored only once");
    }
}

#[tokio::test]
async fn subjects_of_every_version_are_listed_after_a_repair() {
    for version in tables() {
        let golden = read(&version);
        let (_dynamodb, db) = restore(&golden, &[]).await;
        db.examine().without_settings().repair().await.unwrap();
        let listed = db.fetch_subjects().with_revisions().await.unwrap().subjects;
        let listed: Vec<_> =
            listed.into_iter().map(|of| (of.subject, of.revision.unwrap())).collect();
        let subjects = golden.subjects.iter();
        let expected: Vec<_> =
            subjects.map(|(of, events)| (of.clone(), events.len() as u64)).collect();
        assert_eq!(listed, expected, "{version:?}");
    }
}

#[tokio::test]
async fn commands_of_every_version_are_not_executed_again() {
    for version in tables() {
        let golden = read(&version);
        let (_dynamodb, db) = restore(&golden, &[]).await;
        let again = shelve(&db).command(COMMAND).await.unwrap();
        assert!(again.is_repetition, "{version:?}");
        assert_eq!(cloud_events(&again.events), golden.subjects[COUNTED][..1], "{version:?}");
    }
}

#[tokio::test]
async fn snapshots_of_every_version_are_used() {
    for version in tables() {
        let golden = read(&version);
        let (_dynamodb, db) = restore(&golden, &[]).await;
        let loaded = shelves(&db).load(COUNTED).await.unwrap();
        let books = golden.subjects[COUNTED].len() as u64;
        assert_eq!(loaded.state, Shelf { books }, "{version:?}");
        assert!(loaded.read.folded < books, "{version:?}: {:?}", loaded.read);
    }
}

#[tokio::test]
async fn cursors_of_every_version_go_on_where_they_stopped() {
    for version in tables() {
        let golden = read(&version);
        let (_dynamodb, db) = restore(&golden, &[]).await;
        let cursor = |kind: &str| golden.cursors[kind].parse().unwrap();
        let subject = db.fetch_events_for_subject("book:1").after(cursor("subject"));
        let ty = db
            .fetch_events_for_subject_and_type("book:1", "book.borrowed")
            .after(cursor("subject and type"));
        let all = db.fetch_all_events().after(cursor("all"));
        let expected = &golden.subjects["book:1"][1..];
        assert_eq!(cloud_events(&subject.await.unwrap().events), expected, "{version:?}");
        assert!(
            ty.await.unwrap().events.iter().all(|event| event.revision > Some(1)),
            "{version:?}"
        );
        let events = golden.subjects.values().map(Vec::len).sum::<usize>();
        assert_eq!(all.await.unwrap().events.len(), events - 1, "{version:?}");
    }
}

/// For a rollback: a later version may add attributes, which this one passes over.
#[tokio::test]
async fn attributes_of_a_later_version_are_passed_over() {
    let later = [(
        "later",
        AttributeValue::M(HashMap::from([("n".to_owned(), AttributeValue::N("1".to_owned()))])),
    )];
    for version in tables() {
        let golden = read(&version);
        let (_dynamodb, db) = restore(&golden, &later).await;
        for (subject, expected) in &golden.subjects {
            assert_eq!(&cloud_events(&history(&db, subject).await), expected, "{version:?}");
            db.add_new_events([candidate(subject)]).await.unwrap();
        }
    }
}

#[test]
fn messages_of_every_version_are_read_and_have_lost_nothing() {
    for version in tables() {
        let golden = read(&version);
        for message in &golden.messages {
            let event = ReceivedMessage::read(&message.body).unwrap().event;
            let expected = golden.subjects[&event.subject]
                .iter()
                .find(|each| each["id"] == event.id.as_str())
                .unwrap();
            assert_eq!(&serde_json::to_value(&event).unwrap(), expected, "{version:?}");

            // Subscribers of that version find in today's message all that they found then.
            let today = Message::new(&event);
            let today_body: Value = serde_json::from_str(&today.body).unwrap();
            let then: Value = serde_json::from_str(&message.body).unwrap();
            for (name, value) in then.as_object().unwrap() {
                assert_eq!(&today_body[name], value, "{version:?}: {name}");
            }
            let today: BTreeMap<_, _> = today.attributes.into_iter().collect();
            for (name, value) in &message.attributes {
                assert_eq!(today.get(name.as_str()), Some(value), "{version:?}: attribute {name}");
            }
        }
    }
}

/// A member that a later version adds to a message is kept as an extension.
#[test]
fn members_of_a_later_version_are_kept() {
    for version in tables() {
        for message in &read(&version).messages {
            let mut body: Value = serde_json::from_str(&message.body).unwrap();
            body["later"] = json!("text");
            let event = ReceivedMessage::read(&body.to_string()).unwrap().event;
            assert_eq!(serde_json::to_value(&event).unwrap()["later"], "text");
        }
    }
}

/// Writes the corpus of a version when it is asked for, and else makes sure that today's code would
/// still write one of the same kind: a kind of row that nobody has kept can't be promised.
#[tokio::test]
async fn the_newest_corpus_has_every_kind_of_row_that_is_written() {
    for layout in LAYOUTS {
        the_newest_corpus_has_every_kind_of_row_of(layout).await;
    }
}

async fn the_newest_corpus_has_every_kind_of_row_of(layout: TableLayout) {
    let made = write_golden(layout).await;
    if let Ok(version) = std::env::var("EVENTDB_WRITE_GOLDEN") {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(version);
        fs::create_dir_all(&folder).unwrap();
        let text = serde_json::to_string_pretty(&made).unwrap();
        fs::write(folder.join(file(layout)), text + "\n").unwrap();
    }
    let newest = read(&versions().last().unwrap().join(file(layout)));
    let kinds = |golden: &Golden| -> Vec<(String, Vec<String>)> {
        let mut kinds: Vec<_> = golden
            .rows
            .iter()
            .map(|row| {
                let subject = row["subject"]["S"].as_str().unwrap();
                let prefix = subject.split_once('/').map_or("", |(prefix, _)| prefix);
                let names = row.keys().cloned().collect();
                (if prefix.starts_with('$') { prefix.to_owned() } else { String::new() }, names)
            })
            .collect();
        kinds.sort();
        kinds.dedup();
        kinds
    };
    assert_eq!(
        kinds(&made),
        kinds(&newest),
        "the rows have other attributes than those of the newest corpus: if docs/stored-format.md \
         allows the change, write the corpus of the next version"
    );
}

/// A table with each kind of row: events of ours and of the original library, heads, the guard of
/// an id and of a command, a snapshot.
async fn write_golden(layout: TableLayout) -> Golden {
    let dynamodb = EmbeddedDynamoDb::in_memory().await.unwrap();
    let client = dynamodb.client();
    EventDb::create_table(&client, TABLE).layout(layout).await.unwrap();
    let db = EventDb::new(client.clone(), TABLE).with_layout(layout);

    // The original library has no tables by revision.
    let legacy = [("1738074600000", "legacy-1"), ("1738074600001", "legacy-2")];
    let legacy = if layout == TableLayout::ByTime { &legacy[..] } else { &[] };
    for (time, id) in legacy {
        let row = json!({ "M": {
            "subject": { "S": "book:legacy" },
            "time_type": { "S": format!("{time}_book.borrowed") },
            "id": { "S": id },
            "type": { "S": "book.borrowed" },
            "source": { "S": SOURCE },
            "time": { "N": time },
            "data": { "M": { "userId": { "S": "user:456" }, "price": { "N": "12.5" } } },
            "pk_all": { "S": "all" },
        } });
        let AttributeValue::M(row) = from_json(&row) else { unreachable!("it is a map") };
        put(&client, row).await;
    }
    let everything = EventCandidate::builder()
        .source(SOURCE)
        .ty("book.returned")
        .subject("book:1")
        .data(json!({
            "text": "Ünïcödé 📚 \u{2028} \"quoted\"",
            "empty": "",
            "number": -12.25,
            "large": 9_007_199_254_740_993_u64,
            "list": [1, null, true, { "nested": [] }],
            "object": {}
        }))
        .datacontenttype("application/json")
        .dataschema("https://library.example.com/returned/1")
        .extension("attempt", 2)
        .extension("replayed", true)
        .extension("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .build();
    db.add_new_events([repeated()])
        .only_if(Precondition::subject_is_pristine("book:1"))
        .await
        .unwrap();
    db.add_new_events([everything, candidate("book:Ünïcödé 📚")]).await.unwrap();
    db.add_new_events([candidate("book:1")])
        .only_if(Precondition::subject_is_populated("book:Ünïcödé 📚"))
        .await
        .unwrap();
    shelve(&db).command(COMMAND).await.unwrap();
    if let Some(snapshot) = shelve(&db).await.unwrap().snapshot {
        snapshot.await.unwrap();
    }

    let first = db.fetch_events_for_subject("book:1").limit(1).await.unwrap();
    let first_of_type =
        db.fetch_events_for_subject_and_type("book:1", "book.borrowed").limit(1).await.unwrap();
    let first_of_all = db.fetch_all_events().limit(1).await.unwrap();
    let cursors = [
        ("subject", first.cursor),
        ("subject and type", first_of_type.cursor),
        ("all", first_of_all.cursor),
    ];
    let mut subjects = BTreeMap::new();
    let mut messages = Vec::new();
    let all = ["book:1", "book:Ünïcödé 📚", COUNTED, "book:legacy"];
    let all = if legacy.is_empty() { &all[..3] } else { &all };
    for subject in all {
        let subject = *subject;
        let events = history(&db, subject).await;
        messages.extend(events.iter().map(|event| {
            let Message { body, attributes, .. } = Message::new(event);
            let attributes =
                attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            PublishedMessage { body, attributes }
        }));
        subjects.insert(subject.to_owned(), cloud_events(&events));
    }
    let scan = client.scan().table_name(TABLE).send().await.unwrap();
    let mut rows: Vec<BTreeMap<String, Value>> = scan
        .items()
        .iter()
        .map(|row| row.iter().map(|(name, value)| (name.clone(), to_json(value))).collect())
        .collect();
    rows.sort_by_key(|row| {
        (
            row["subject"].to_string(),
            row.get("time_type").or(row.get("revision")).cloned().map(|key| key.to_string()),
        )
    });
    let cursors = cursors
        .into_iter()
        .map(|(kind, cursor)| (kind.to_owned(), cursor.expect(kind).to_string()))
        .collect();
    Golden { layout, rows, subjects, cursors, messages }
}
