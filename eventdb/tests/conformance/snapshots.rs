//! Snapshots: a shortcut that changes no answer.

use std::collections::{HashMap, HashSet};

use aws_sdk_dynamodb::types::AttributeValue;
use eventdb::{Aggregate, CapacityMeter, Repository, SnapshotError, Snapshots, TableLayout};
use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof};
use proptest::test_runner::{Config, TestRunner};
use serde::{Deserialize, Serialize};

use crate::library::{Book, BookEvent, No, User, borrowed};
use crate::support::{SOURCE, Store, candidate_of_type, with_store};

const EVERY_THREE: Snapshots = Snapshots { name: "book", version: 1, every: 3 };

type Row = HashMap<String, AttributeValue>;

fn books(store: &Store, snapshots: Snapshots) -> Repository<Book> {
    Repository::new(&store.db, SOURCE).with_snapshots(snapshots)
}

/// Stores so many loans, one by one; returns how many snapshots were written.
async fn lend(books: &Repository<Book>, subject: &str, count: usize) -> usize {
    let mut written = 0;
    for _ in 0..count {
        let loan = |_: &Book| Ok::<_, No>([borrowed("user:456")]);
        if let Some(snapshot) = books.execute(subject, loan).await.unwrap().snapshot {
            snapshot.await.unwrap();
            written += 1;
        }
    }
    written
}

/// The snapshot items of the table.
async fn snapshots(store: &Store) -> Vec<Row> {
    let mut rows = store.rows().await;
    rows.retain(|row| row.contains_key("state"));
    rows
}

/// The attribute that says which event a snapshot includes last.
fn revision_attribute(store: &Store) -> &'static str {
    match store.layout {
        TableLayout::ByRevision => "state_revision",
        _ => "revision",
    }
}

async fn replace(store: &Store, attribute: &str, value: AttributeValue) {
    let mut row = snapshots(store).await.remove(0);
    row.insert(attribute.to_owned(), value);
    store.client.put_item().table_name(&store.table).set_item(Some(row)).send().await.unwrap();
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

fn number(value: u64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

#[tokio::test]
async fn a_snapshot_is_written_after_so_many_events_and_no_reader_sees_it() {
    with_store(|store| async move {
        let books = books(&store, EVERY_THREE);
        assert_eq!(lend(&books, "book:1", 2).await, 0);
        assert_eq!(snapshots(&store).await, Vec::<Row>::new());
        assert_eq!(lend(&books, "book:1", 5).await, 2, "at the revisions 3 and 6");

        let rows = snapshots(&store).await;
        let [snapshot] = rows.as_slice() else { panic!("{rows:?}") };
        if store.layout == TableLayout::ByTime {
            assert_eq!(snapshot["subject"], text("$head/book:1"));
            assert_eq!(snapshot["time_type"], text("$snapshot/book"));
        } else {
            assert_eq!(snapshot["subject"], text("$snapshot/book:1"));
            assert_eq!(snapshot["aggregate"], text("book"));
        }
        let revision = &snapshot[revision_attribute(&store)];
        assert_eq!((revision, &snapshot["state_version"]), (&number(6), &number(1)));
        let state: Book = serde_json::from_str(snapshot["state"].as_s().unwrap()).unwrap();
        assert_eq!(state, Book { borrower: Some("user:456".to_owned()), loans: 6 });
        // No attribute of an index, so none holds it, and the stream's filter keeps it back.
        for name in ["pk_all", "time", "id", "type"] {
            assert!(!snapshot.contains_key(name), "{name}");
        }
        assert_eq!(store.subject("book:1").await.len(), 7);
        assert_eq!(store.db.fetch_all_events().await.unwrap().events.len(), 7);

        let loaded = books.load("book:1").await.unwrap();
        assert_eq!((loaded.read.snapshot, loaded.read.folded, loaded.revision), (Some(6), 1, 7));
        assert_eq!(loaded.state.loans, 7);
    })
    .await;
}

#[tokio::test]
async fn with_a_snapshot_loading_takes_at_most_three_requests() {
    with_store(|store| async move {
        for _ in 0..10 {
            // Each is a separate page of the read.
            let events = (0..4).map(|_| {
                let mut candidate = candidate_of_type("book:1", "book.borrowed");
                let filling = "x".repeat(240_000);
                candidate.data =
                    serde_json::json!({ "userId": "user:456", "filling": filling }).into();
                candidate
            });
            store.db.add_new_events(events).await.unwrap();
        }
        let meter = CapacityMeter::new();
        let metered = Repository::<Book>::new(&store.db.metered_by(&meter), SOURCE);
        assert_eq!(metered.load("book:1").await.unwrap().state.loans, 40);
        assert!(meter.take().requests >= 10);
        lend(&books(&store, EVERY_THREE), "book:1", 1).await;
        let metered = metered.with_snapshots(EVERY_THREE);
        assert_eq!(metered.load("book:1").await.unwrap().state.loans, 41);
        let consumed = meter.take();
        let expected = match store.layout {
            TableLayout::ByRevision => (2, 1.5),
            _ => (3, 2.0),
        };
        let consumed = (consumed.requests, consumed.read_units);
        assert_eq!(consumed, expected, "snapshot, head where there is one, events");
    })
    .await;
}

#[tokio::test]
async fn aggregates_of_one_subject_have_snapshots_of_their_own() {
    with_store(|store| async move {
        store.db.add_new_events([candidate_of_type("it:1", "user.moved")]).await.unwrap();
        let users = Repository::<User>::new(&store.db, SOURCE).with_snapshots(Snapshots {
            name: "user",
            version: 1,
            every: 1,
        });
        let other = Repository::<User>::new(&store.db, SOURCE).with_snapshots(Snapshots {
            name: "reader",
            version: 1,
            every: 1,
        });
        for repository in [&users, &other] {
            let taken = repository.execute("it:1", |user| user.take("book:1")).await.unwrap();
            taken.snapshot.unwrap().await.unwrap();
        }
        assert_eq!(snapshots(&store).await.len(), 2);
        assert_eq!(users.load("it:1").await.unwrap().read.snapshot, Some(2));
        assert_eq!(other.load("it:1").await.unwrap().read.snapshot, Some(3));
        assert_eq!(users.load("it:1").await.unwrap().state.books.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn what_is_no_good_snapshot_is_passed_over_and_replaced() {
    with_store(|store| async move {
        let books = books(&store, EVERY_THREE);
        let mut revision = 0;
        for (what, attribute, value) in [
            ("another version", "state_version", number(7)),
            ("no JSON", "state", text("{\"borrower\":")),
            ("another shape", "state", text("[1, 2]")),
            ("no text", "state", number(1)),
            ("no number", "revision", text("three")),
            ("ahead of the history", "revision", number(1_000)),
            ("behind its event", "revision", number(1)),
            ("of another event", "last_id", text("evt-of-another-table")),
            ("of a later time", "last_time", number(9_999_999_999_999)),
            ("of no time", "last_time", number(u64::MAX)),
            ("without a time", "last_time", AttributeValue::Null(true)),
        ] {
            // By revision, the place of an event doesn't contain its time.
            if what == "of a later time" && store.layout == TableLayout::ByRevision {
                continue;
            }
            lend(&books, "book:1", 3).await;
            revision += 3;
            assert_eq!(books.load("book:1").await.unwrap().read.snapshot, Some(revision), "{what}");
            let attribute =
                if attribute == "revision" { revision_attribute(&store) } else { attribute };
            replace(&store, attribute, value).await;

            let loaded = books.load("book:1").await.unwrap();
            assert_eq!(loaded.read.snapshot, None, "{what}");
            assert_eq!((loaded.revision, loaded.state.loans), (revision, revision), "{what}");
            assert_eq!(lend(&books, "book:1", 1).await, 1, "{what}: replaced immediately");
            revision += 1;
            assert_eq!(books.load("book:1").await.unwrap().read.snapshot, Some(revision), "{what}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_snapshot_that_cannot_be_written_stands_in_nobodys_way() {
    with_store(|store| async move {
        let books = books(&store, Snapshots { every: 1, ..EVERY_THREE });
        let large = "x".repeat(210_000);
        for _ in 0..2 {
            store.db.add_new_events([candidate_of_type("user:1", "user.moved")]).await.unwrap();
        }
        let users = Repository::<User>::new(&store.db, SOURCE).with_snapshots(Snapshots {
            name: "user",
            version: 1,
            every: 1,
        });
        let mut failures = 0;
        for _ in 0..3 {
            let executed = users.execute("user:1", |user| user.take(&large)).await.unwrap();
            failures += u32::from(executed.snapshot.unwrap().await.is_err());
        }
        assert_eq!(failures, 2, "a state of 420 KB and one of 630 KB fit in no item");
        let loaded = users.load("user:1").await.unwrap();
        assert_eq!((loaded.state.books.len(), loaded.read.snapshot), (3, Some(3)));

        // Nor one that nobody waits for.
        books.execute("book:1", |book| book.borrow("user:456")).await.unwrap();
        assert_eq!(books.load("book:1").await.unwrap().state.loans, 1);
    })
    .await;
}

/// A state whose JSON doesn't always give it back.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Odd {
    sum: f64,
    seen: HashSet<String>,
    #[serde(flatten)]
    by_number: ByNumber,
    #[serde(skip_serializing_if = "is_three", default)]
    three: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct ByNumber {
    names: HashMap<u32, String>,
}

fn is_three(number: &u64) -> bool {
    *number == 3
}

impl Aggregate for Odd {
    type Event = BookEvent;

    fn apply(&mut self, event: BookEvent) {
        let BookEvent::Borrowed { user_id } = event else { return };
        match &*user_id {
            "user:infinite" => self.sum = f64::INFINITY,
            "user:number" => self.by_number.names = [(7, user_id)].into(),
            "user:three" => self.three = 3,
            _ => {
                self.seen.insert(user_id);
            }
        }
    }
}

#[tokio::test]
async fn a_state_that_would_not_come_back_is_no_snapshot() {
    with_store(|store| async move {
        let plain = Repository::<Odd>::new(&store.db, SOURCE);
        let odd = plain.with_snapshots(Snapshots { name: "odd", version: 1, every: 1 });
        let lend = async |subject: &str, users: &[&str]| {
            let events: Vec<_> = users.iter().map(|user| borrowed(user)).collect();
            let executed = odd.execute(subject, |_| Ok::<_, No>(events.clone())).await.unwrap();
            let written = executed.snapshot.unwrap().await;
            let [with, without] =
                [odd.load(subject).await.unwrap().state, plain.load(subject).await.unwrap().state];
            assert_eq!(with, without);
            assert_eq!(executed.aggregate.state, without);
            written
        };
        // The order of a set is another one each time.
        let users: Vec<_> = (0..50).map(|number| format!("user:{number}")).collect();
        let users: Vec<_> = users.iter().map(String::as_str).collect();
        lend("it:1", &users).await.unwrap();
        assert_eq!(snapshots(&store).await.len(), 1);

        let infinite = lend("it:2", &["user:infinite"]).await.unwrap_err();
        assert!(matches!(infinite, SnapshotError::NotReadBack(_)), "{infinite:?}");
        let number = lend("it:3", &["user:number"]).await.unwrap_err();
        assert!(matches!(number, SnapshotError::NotReadBack(_)), "{number:?}");
        let three = lend("it:4", &["user:three"]).await.unwrap_err();
        assert_eq!(
            three.to_string(),
            "`state.three` would be read back as something else than what is written"
        );
        assert_eq!(snapshots(&store).await.len(), 1);
    })
    .await;
}

/// What may happen to a subject.
#[derive(Debug, Clone)]
enum Step {
    Lend(usize),
    GiveBack,
    AnotherWriter,
    RemoveSnapshots,
    OlderSnapshot,
    OtherVersion,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..5_usize).prop_map(Step::Lend),
        2 => Just(Step::GiveBack),
        2 => Just(Step::AnotherWriter),
        1 => Just(Step::RemoveSnapshots),
        1 => Just(Step::OlderSnapshot),
        1 => Just(Step::OtherVersion),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_snapshots_or_without_the_answers_are_the_same() {
    with_store(|store| async move {
        let runtime = tokio::runtime::Handle::current();
        let cases = proptest::collection::vec(step(), 1..20);
        let strategy = (cases, 1..6_u32, any::<u64>());
        let mut runner = TestRunner::new(Config { cases: 24, ..Config::default() });
        let outcome =
            tokio::task::block_in_place(|| {
                runner.run(&strategy, |(steps, every, run)| {
                    runtime.block_on(async {
                        let subject = format!("book:{run}-{}", uuid::Uuid::now_v7());
                        let snapshots = Snapshots { every, ..EVERY_THREE };
                        let with = books(&store, snapshots);
                        let newer = books(&store, Snapshots { version: 2, ..snapshots });
                        let without = Repository::<Book>::new(&store.db, SOURCE);
                        let mut kept: Option<Row> = None;
                        for step in steps {
                            let mine = mine(&store, &subject).await;
                            match step {
                                Step::Lend(count) => {
                                    lend(&with, &subject, count).await;
                                }
                                Step::GiveBack => {
                                    let back = |_: &Book| Ok::<_, No>([BookEvent::Returned]);
                                    let executed = with.execute(&*subject, back).await.unwrap();
                                    let reloaded = without.load(&*subject).await.unwrap();
                                    prop_assert_eq!(executed.aggregate.state, reloaded.state);
                                }
                                Step::AnotherWriter => {
                                    lend(&without, &subject, 1).await;
                                }
                                Step::RemoveSnapshots => {
                                    for row in &mine {
                                        store.remove_row(row).await;
                                    }
                                }
                                Step::OlderSnapshot => match kept.take() {
                                    Some(row) => {
                                        store
                                            .put_row(row.iter().map(|(name, value)| {
                                                (name.as_str(), value.clone())
                                            }))
                                            .await;
                                    }
                                    None => kept = mine.into_iter().next(),
                                },
                                Step::OtherVersion => {
                                    lend(&newer, &subject, 1).await;
                                }
                            }
                            let one = with.load(&*subject).await.unwrap();
                            let other = without.load(&*subject).await.unwrap();
                            prop_assert_eq!(one.state, other.state);
                            prop_assert_eq!(one.revision, other.revision);
                        }
                        Ok(())
                    })
                })
            });
        outcome.unwrap();
    })
    .await;
}

/// The snapshots of one subject.
async fn mine(store: &Store, subject: &str) -> Vec<Row> {
    let mut rows = snapshots(store).await;
    rows.retain(|row| row["subject"].as_s().unwrap().ends_with(subject));
    rows
}
