//! Aggregates: loaded from their events, decided on, and decided on again after a conflict.

use std::error::Error as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, Utc};
use eventdb::internals::schema::limit;
use eventdb::{
    Aggregate, CapacityMeter, Conflict, DomainEvent, Error, Event, EventDb, ExecuteError,
    LoadError, Message, Metadata, ReceivedMessage, Repository, Snapshots, TableLayout, TimeLimits,
    UnknownTypes,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::library::{Book, BookEvent, LOANS, No, User, borrowed};
use crate::support::{
    SOURCE, Store, candidate, candidate_of_type, event, meanwhile, revisions, with_store,
    with_store_by_time,
};

fn books(store: &Store) -> Repository<Book> {
    Repository::new(&store.db, SOURCE)
}

/// Puts an event as the original library does: without a revision, and past the head.
async fn put_legacy_event(store: &Store, subject: &str, time: i64, ty: &str) {
    let text = |value: &str| AttributeValue::S(value.to_owned());
    let data = [("userId".to_owned(), text("user:456"))];
    store
        .put_row([
            ("subject", text(subject)),
            ("time_type", text(&format!("{time}_{ty}"))),
            ("id", text(&format!("legacy-{time}-{ty}"))),
            ("type", text(ty)),
            ("source", text(SOURCE)),
            ("time", AttributeValue::N(time.to_string())),
            ("pk_all", text("all")),
            ("data", AttributeValue::M(data.into())),
        ])
        .await;
}

#[tokio::test]
async fn a_subject_without_events_has_the_default_state() {
    with_store(|store| async move {
        let book = books(&store).load("book:1").await.unwrap();
        assert_eq!((book.state, book.revision), (Book::default(), 0));
        assert_eq!((book.read.folded, book.read.ignored, book.read.snapshot), (0, 0, None));
    })
    .await;
}

#[tokio::test]
async fn decisions_are_stored_and_folded() {
    with_store(|store| async move {
        let books = books(&store);
        let executed = books.execute("book:1", |book| book.borrow("user:456")).await.unwrap();
        assert_eq!(executed.attempts, 1);
        assert_eq!(executed.aggregate.state.borrower.as_deref(), Some("user:456"));
        assert_eq!(executed.aggregate.revision, 1);
        books.execute("book:1", Book::give_back).await.unwrap();
        let third = books.execute("book:1", |book| book.borrow("user:789")).await.unwrap();

        let loaded = books.load("book:1").await.unwrap();
        assert_eq!(loaded.state, third.aggregate.state);
        assert_eq!(loaded.state, Book { borrower: Some("user:789".to_owned()), loans: 2 });
        assert_eq!((loaded.revision, loaded.read.folded), (3, 3));

        let events = store.subject("book:1").await;
        assert_eq!(events[2..], third.events[..]);
        let types: Vec<_> = events.iter().map(|event| event.ty.as_str()).collect();
        assert_eq!(types, ["book.borrowed", "book.returned", "book.borrowed"]);
        assert_eq!(events[0].data, json!({ "userId": "user:456" }));
        assert_eq!(events[1].data, json!({}));
        assert_eq!(events[0].source, SOURCE);
        assert_eq!(events[0].typed::<BookEvent>().unwrap(), Some(borrowed("user:456")));
    })
    .await;
}

#[tokio::test]
async fn a_repository_has_the_message_limit_of_its_store() {
    with_store(|store| async move {
        let user = "u".repeat(limit::MESSAGE_BYTES);
        let error = books(&store).execute("book:1", |book| book.borrow(&user)).await.unwrap_err();
        assert!(error.to_string().contains("at most 262144, the store's message limit"), "{error}");

        let raised = store.db.with_message_limit(limit::LARGEST_MESSAGE_BYTES).unwrap();
        let books = Repository::<Book>::new(&raised, SOURCE).clone();
        let executed = books.execute("book:1", |book| book.borrow(&user)).await.unwrap();
        assert_eq!(executed.aggregate.revision, 1);
    })
    .await;
}

#[tokio::test]
async fn several_events_of_one_decision_are_one_append() {
    with_store(|store| async move {
        let both = |_: &Book| Ok::<_, No>([borrowed("user:456"), BookEvent::Returned]);
        let executed = books(&store).execute("book:1", both).await.unwrap();
        assert_eq!(revisions(&executed.events), [1, 2]);
        assert_eq!(executed.aggregate.state, Book { borrower: None, loans: 1 });
    })
    .await;
}

#[tokio::test]
async fn a_rejected_decision_and_one_for_nothing_write_nothing() {
    with_store(|store| async move {
        let books = books(&store);
        let rejected = books.execute("book:1", Book::give_back).await.unwrap_err();
        assert!(matches!(rejected, ExecuteError::Domain(No::NotBorrowed)), "{rejected:?}");
        books.execute("book:1", |book| book.borrow("user:456")).await.unwrap();
        let rows = store.rows().await;
        let again = books.execute("book:1", |book| book.borrow("user:456")).await.unwrap();
        assert_eq!((again.events, again.aggregate.revision), (vec![], 1));
        assert_eq!(store.rows().await, rows);
    })
    .await;
}

#[tokio::test]
async fn new_events_carry_the_extensions() {
    with_store(|store| async move {
        let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let traced = books(&store).with_extension("traceparent", traceparent);
        let executed = traced.execute("book:1", |book| book.borrow("user:456")).await.unwrap();
        assert_eq!(executed.events[0].extensions["traceparent"], traceparent.into());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_conflict_only_the_tail_is_read_and_it_is_decided_again() {
    with_store(|store| async move {
        // A history of two pages, so that reading it whole would take two requests.
        let large = "x".repeat(250_000);
        for _ in 0..5 {
            let loan = candidate("book:1", json!({ "userId": large }));
            store.db.add_new_events([loan]).await.unwrap();
        }
        let meter = CapacityMeter::new();
        let books = Repository::<Book>::new(&store.db.metered_by(&meter), SOURCE);
        let mut seen = Vec::new();
        let executed = books
            .execute("book:1", |book| {
                seen.push(book.loans);
                if seen.len() == 1 {
                    let other = candidate_of_type("book:1", "book.returned");
                    meanwhile(store.db.add_new_events([other]).into_future()).unwrap();
                }
                Ok::<_, No>([borrowed("user:789")])
            })
            .await
            .unwrap();
        assert_eq!((seen, executed.attempts), (vec![5, 5], 2));
        assert_eq!(executed.aggregate.revision, 7);
        assert_eq!(executed.aggregate.state, books.load("book:1").await.unwrap().state);
        store.assert_sound(&store.subject("book:1").await);
        // The head and two pages, an append in vain, the tail, the append; and the head and two
        // pages to compare above. By revision there is no head. After a refused Put, one read finds
        // the subject's end.
        let expected = match store.layout {
            TableLayout::ByRevision => 2 + 1 + 1 + 1 + 1 + 2,
            _ => 6 + 3,
        };
        assert_eq!(meter.total().requests, expected);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_decide_at_once_each_one_decides_on_what_is() {
    with_store(|store| async move {
        const WRITERS: usize = 16;
        let barrier = Arc::new(Barrier::new(WRITERS));
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let (books, barrier) = (books(&store), Arc::clone(&barrier));
            writers.spawn(async move {
                barrier.wait().await;
                let user = format!("user:{writer}");
                books.execute("book:1", |book| book.borrow(&user)).await
            });
        }
        let outcomes = writers.join_all().await;
        let (won, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1);
        for error in lost {
            assert!(matches!(error, Err(ExecuteError::Domain(No::AlreadyBorrowed))), "{error:?}");
        }
        assert_eq!(store.subject("book:1").await, won.into_iter().next().unwrap().unwrap().events);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subject_that_moves_each_time_is_contended() {
    with_store(|store| async move {
        let mut decisions = 0;
        let limits = TimeLimits::default().operation(Duration::from_secs(1));
        let db = store.db.with_time_limits(limits);
        let error = Repository::<Book>::new(&db, SOURCE)
            .execute("book:1", |_| {
                decisions += 1;
                let other = candidate_of_type("book:1", "book.returned");
                meanwhile(store.db.add_new_events([other]).into_future()).unwrap();
                Ok::<_, No>([borrowed("user:456")])
            })
            .await
            .unwrap_err();
        assert!(error.is_retryable());
        let ExecuteError::Contended { attempts, subject, source } = error else {
            panic!("{error:?}")
        };
        let conflict = source.downcast_ref::<Conflict>().unwrap();
        assert!(decisions > 1);
        assert_eq!(attempts, decisions);
        assert_eq!((&*subject, &*conflict.subject), ("book:1", "book:1"));
        assert_eq!(conflict.actual.revision(), u64::from(decisions));
    })
    .await;
}

#[tokio::test]
async fn a_history_with_a_hole_is_not_folded() {
    with_store(|store| async move {
        let events = store.fill("book:1", 3).await;
        store.remove(&events[1]).await;
        let error = Repository::<User>::new(&store.db, SOURCE).load("book:1").await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the history of `book:1` can't be folded: it lacks the revisions 2 to 2, which were \
             removed from the table or overwritten"
        );
    })
    .await;
}

#[tokio::test]
async fn a_bad_row_is_not_folded() {
    with_store(|store| async move {
        store.fill("book:1", 1).await;
        let text = |value: &str| AttributeValue::S(value.to_owned());
        let sort_key = match store.layout {
            TableLayout::ByRevision => AttributeValue::N("2".to_owned()),
            _ => text("9000000000000_book.borrowed"),
        };
        store.put_row([("subject", text("book:1")), (store.sort_key(), sort_key)]).await;
        let error = Repository::<User>::new(&store.db, SOURCE).load("book:1").await.unwrap_err();
        assert!(matches!(error, LoadError::InvalidItem(_)), "{error:?}");
        let executed = Repository::<User>::new(&store.db, SOURCE)
            .execute("book:1", |user| user.take("book:2"))
            .await
            .unwrap_err();
        assert!(matches!(executed, ExecuteError::Load(LoadError::InvalidItem(_))), "{executed:?}");
    })
    .await;
}

#[tokio::test]
async fn unknown_types_are_passed_over_or_refused_as_the_team_chose() {
    with_store(|store| async move {
        store.db.add_new_events([candidate_of_type("book:1", "book.eaten")]).await.unwrap();
        let users = Repository::<User>::new(&store.db, SOURCE);
        let user = users.load("book:1").await.unwrap();
        assert_eq!((user.revision, user.read.ignored, user.read.folded), (1, 1, 0));
        let taken = users.execute("book:1", |user| user.take("book:2")).await.unwrap();
        assert_eq!(taken.aggregate.revision, 2);

        let error = books(&store).load("book:1").await.unwrap_err();
        let LoadError::Event(unreadable) = &error else { panic!("{error:?}") };
        assert_eq!((unreadable.ty.as_str(), unreadable.revision), ("book.eaten", Some(1)));
        assert!(
            error.to_string().ends_with(
                "type `book.eaten`, can't be read: the type is unknown; it must be one \
                 of `book.borrowed`, `book.returned`"
            ),
            "{error}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_legacy_history_is_continued() {
    with_store_by_time(|store| async move {
        for (time, ty) in [(1, "book.borrowed"), (1, "book.returned"), (2, "book.borrowed")] {
            put_legacy_event(&store, "book:1", 1_700_000_000_000 + time, ty).await;
        }
        let books = books(&store);
        assert_eq!(books.load("book:1").await.unwrap().revision, 3);
        let executed = books.execute("book:1", Book::give_back).await.unwrap();
        assert_eq!(executed.aggregate.revision, 4);
        assert_eq!(books.load("book:1").await.unwrap().state, executed.aggregate.state);
    })
    .await;
}

#[tokio::test]
async fn a_decision_on_two_writes_both_or_none() {
    with_store(|store| async move {
        let books = books(&store);
        let users = Repository::<User>::new(&store.db, SOURCE);
        let lend = |book: &Book, user: &User| {
            Ok::<_, No>((book.borrow("user:456")?, user.take("book:1")?))
        };
        let (book, user) = books.execute_with("book:1", &users, "user:456", lend).await.unwrap();
        assert_eq!((book.aggregate.revision, user.aggregate.revision), (1, 1));
        assert_eq!(user.aggregate.state.books, ["book:1"]);
        assert_eq!(store.subject("book:1").await, book.events);
        assert_eq!(store.subject("user:456").await, user.events);

        let error = books
            .execute_with("book:1", &users, "user:789", |book, user| {
                Ok::<_, No>((book.borrow("user:789")?, user.take("book:1")?))
            })
            .await
            .unwrap_err();
        assert!(matches!(error, ExecuteError::Domain(No::AlreadyBorrowed)), "{error:?}");
        assert_eq!(store.subject("user:789").await, []);

        // One that gets no events still counts.
        let (book, user) = books
            .execute_with("book:1", &users, "user:456", |book, _| {
                Ok::<_, No>((book.give_back()?, None))
            })
            .await
            .unwrap();
        assert_eq!((book.aggregate.revision, user.aggregate.revision), (2, 1));
        assert_eq!((book.events.len(), user.events.len()), (1, 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decision_on_two_is_made_again_when_either_has_moved() {
    with_store(|store| async move {
        for moves in ["book:1", "user:456"] {
            let users = Repository::<User>::new(&store.db, SOURCE);
            let others = Repository::<User>::new(&store.db, SOURCE);
            let mut decisions = 0;
            // Written is only the first; the second is looked at.
            let (one, other) = users
                .execute_with("book:1", &others, "user:456", |_, _| {
                    decisions += 1;
                    if decisions == 1 {
                        let moved = candidate_of_type(moves, "user.moved");
                        meanwhile(store.db.add_new_events([moved]).into_future()).unwrap();
                    }
                    Ok::<_, No>((User::default().take("book:9")?, None))
                })
                .await
                .unwrap();
            assert_eq!((decisions, one.attempts, other.attempts), (2, 2, 2), "{moves}");
            assert_eq!(one.aggregate.revision, users.load("book:1").await.unwrap().revision);
            assert_eq!(other.aggregate.revision, users.load("user:456").await.unwrap().revision);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rule_over_two_subjects_holds_in_a_race() {
    with_store(|store| async move {
        const WRITERS: usize = 8;
        let barrier = Arc::new(Barrier::new(WRITERS));
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let (books, barrier) = (books(&store), Arc::clone(&barrier));
            let users = Repository::<User>::new(&store.db, SOURCE);
            writers.spawn(async move {
                let book = format!("book:{writer}");
                barrier.wait().await;
                books
                    .execute_with(&*book, &users, "user:456", |state, user| {
                        Ok::<_, No>((state.borrow("user:456")?, user.take(&book)?))
                    })
                    .await
                    .map(|_| book)
            });
        }
        let outcomes = writers.join_all().await;
        let mut lent: Vec<_> = outcomes.into_iter().filter_map(Result::ok).collect();
        lent.sort();
        let user = Repository::<User>::new(&store.db, SOURCE).load("user:456").await.unwrap();
        let mut books_of_user = user.state.books;
        books_of_user.sort();
        assert_eq!(books_of_user, lent);
        assert_eq!(lent.len(), LOANS);
        for writer in 0..WRITERS {
            let book = format!("book:{writer}");
            let is_lent = books(&store).load(&*book).await.unwrap().state.borrower.is_some();
            assert_eq!(is_lent, lent.contains(&book), "{book}");
        }
    })
    .await;
}

#[tokio::test]
async fn what_no_decision_can_span_is_said() {
    with_store(|store| async move {
        let users = Repository::<User>::new(&store.db, SOURCE);
        let nothing = |_: &Book, _: &User| Ok::<_, No>((None, None));
        let same = books(&store).execute_with("book:1", &users, "book:1", nothing).await;
        assert_eq!(
            same.unwrap_err().to_string(),
            "both aggregates of the decision have the subject `book:1`; they must have different \
             subjects"
        );
        let elsewhere = EventDb::new(store.client.clone(), "Elsewhere");
        let users = Repository::<User>::new(&elsewhere, SOURCE);
        let different = books(&store).execute_with("book:1", &users, "user:1", nothing).await;
        assert!(matches!(different, Err(ExecuteError::DifferentTables(_, other)) if other == "Elsewhere"));
    })
    .await;
}

#[tokio::test]
async fn the_errors_of_the_store_come_through() {
    with_store(|store| async move {
        let books = books(&store);
        let invalid = books.load("$head/book:1").await.unwrap_err();
        assert!(matches!(invalid, LoadError::Store(Error::Invalid(_))), "{invalid:?}");
        let many = |_: &Book| Ok::<_, No>(vec![BookEvent::Returned; 101]);
        let too_large = books.execute("book:1", many).await.unwrap_err();
        assert!(matches!(too_large, ExecuteError::Store(Error::TooLarge { .. })), "{too_large:?}");
        let elsewhere = EventDb::new(store.client.clone(), "Elsewhere").with_layout(store.layout);
        let error = Repository::<Book>::new(&elsewhere, SOURCE).load("book:1").await.unwrap_err();
        assert!(matches!(error, LoadError::Store(Error::Refused { .. })), "{error:?}");

        // A complete event of another shape.
        store.db.add_events([event("book:2", "evt", 1_700_000_000_000, json!({}))]).await.unwrap();
        let error = books.load("book:2").await.unwrap_err();
        assert!(error.to_string().ends_with("`data` doesn't have the shape of the event's type"));
    })
    .await;
}

/// A meter whose readings lose their milliseconds when they are written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum MeterEvent {
    #[serde(rename = "meter.read")]
    Read {
        celsius: f64,
        #[serde(with = "chrono::serde::ts_seconds")]
        at: DateTime<Utc>,
    },
}

impl DomainEvent for MeterEvent {
    const UNKNOWN_TYPES: UnknownTypes = UnknownTypes::Reject;
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Meter {
    celsius: f64,
    at: DateTime<Utc>,
}

impl Aggregate for Meter {
    type Event = MeterEvent;

    fn apply(&mut self, MeterEvent::Read { celsius, at }: MeterEvent) {
        *self = Self { celsius, at };
    }
}

#[tokio::test]
async fn the_state_is_folded_from_what_was_stored() {
    with_store(|store| async move {
        let plain = Repository::<Meter>::new(&store.db, SOURCE);
        let snapshots = Snapshots { name: "meter", version: 1, every: 1 };
        let meters = plain.with_snapshots(snapshots);
        let at = DateTime::from_timestamp_millis(1_700_000_000_987).unwrap();
        let read = |_: &Meter| Ok::<_, No>([MeterEvent::Read { celsius: -0.0, at }]);
        let executed = meters.execute("meter:1", read).await.unwrap();
        executed.snapshot.unwrap().await.unwrap();
        let state = executed.aggregate.state;
        assert_eq!(state.at.timestamp_millis(), 1_700_000_000_000);
        assert!(state.celsius.is_sign_positive(), "the table has one zero");

        let from_snapshot = meters.load("meter:1").await.unwrap();
        assert_eq!(from_snapshot.read.snapshot, Some(1));
        assert_eq!(from_snapshot.state, state);
        assert_eq!(plain.load("meter:1").await.unwrap().state, state);

        let both =
            |_: &Meter, _: &Meter| Ok::<_, No>((None, [MeterEvent::Read { celsius: 1.0, at }]));
        let (_, other) = plain.execute_with("meter:1", &plain, "meter:2", both).await.unwrap();
        assert_eq!(other.aggregate.state, plain.load("meter:2").await.unwrap().state);
    })
    .await;
}

#[tokio::test]
async fn an_event_that_could_not_be_read_again_is_not_stored() {
    with_store(|store| async move {
        let meters = Repository::<Meter>::new(&store.db, SOURCE);
        let at = DateTime::UNIX_EPOCH;
        let read = |celsius| move |_: &Meter| Ok::<_, No>([MeterEvent::Read { celsius, at }]);
        let error = meters.execute("meter:1", read(f64::NAN)).await.unwrap_err();
        assert!(!error.is_retryable());
        assert!(matches!(error, ExecuteError::Event(_)), "{error:?}");
        assert!(error.to_string().contains("`data.celsius` would be stored as null"), "{error}");
        assert_eq!(store.rows().await, []);
        meters.execute("meter:1", read(20.5)).await.unwrap();
        assert_eq!(meters.load("meter:1").await.unwrap().state.celsius, 20.5);
    })
    .await;
}

#[tokio::test]
async fn a_history_without_its_end_is_reported_immediately() {
    with_store_by_time(|store| async move {
        let plain = books(&store);
        let with_snapshots = plain.with_snapshots(Snapshots { name: "book", version: 1, every: 2 });
        let others = Repository::<User>::new(&store.db, SOURCE);
        for _ in 0..5 {
            let executed = with_snapshots
                .execute("book:1", |_| Ok::<_, No>([borrowed("user:456")]))
                .await
                .unwrap();
            if let Some(snapshot) = executed.snapshot {
                snapshot.await.unwrap();
            }
        }
        let events = store.subject("book:1").await;
        store.remove(&events[4]).await;
        let lacks = |error: LoadError, revisions| {
            assert!(
                matches!(&error, LoadError::MissingRevisions(missing)
                    if missing.subject == "book:1" && missing.revisions == revisions),
                "{error:?}"
            );
        };
        let started = Instant::now();
        for books in [&plain, &with_snapshots] {
            lacks(books.load("book:1").await.unwrap_err(), 5..=5);
            let mut decisions = 0;
            let error = books
                .execute("book:1", |_| {
                    decisions += 1;
                    Ok::<_, No>([borrowed("user:789")])
                })
                .await
                .unwrap_err();
            assert!(!error.is_retryable());
            assert_eq!(decisions, 0);
            let ExecuteError::Load(error) = error else { panic!("{error:?}") };
            lacks(error, 5..=5);
        }
        let nothing = |_: &User, _: &Book| Ok::<_, No>((None, None));
        let error = others.execute_with("user:1", &plain, "book:1", nothing).await.unwrap_err();
        assert!(matches!(error, ExecuteError::Load(LoadError::MissingRevisions(_))), "{error:?}");
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());

        for event in &events[..4] {
            store.remove(event).await;
        }
        lacks(plain.load("book:1").await.unwrap_err(), 1..=5);
        lacks(with_snapshots.load("book:1").await.unwrap_err(), 1..=5);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_goes_while_it_is_decided_is_reported_too() {
    with_store_by_time(|store| async move {
        store.fill("book:1", 2).await;
        let users = Repository::<User>::new(&store.db, SOURCE);
        let started = Instant::now();
        let mut decisions = 0;
        let error = users
            .execute("book:1", |user| {
                decisions += 1;
                meanwhile(async {
                    store.fill("book:1", 1).await;
                    store.remove(store.subject("book:1").await.last().unwrap()).await;
                });
                user.take("book:9")
            })
            .await
            .unwrap_err();
        let ExecuteError::Load(LoadError::MissingRevisions(missing)) = error else {
            panic!("{error:?}")
        };
        assert_eq!((missing.revisions, decisions), (3..=3, 1));
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    })
    .await;
}

#[tokio::test]
async fn an_event_of_the_original_library_behind_one_of_ours_locks_nothing() {
    with_store_by_time(|store| async move {
        let plain = books(&store);
        let kept = plain.with_snapshots(Snapshots { name: "book", version: 1, every: 1 });
        let lend = |_: &Book| Ok::<_, No>([borrowed("user:456")]);
        let snapshot_of = async |executed: eventdb::Executed<Book>| {
            let snapshot = executed.snapshot;
            match snapshot {
                Some(snapshot) => snapshot.await.map(|()| true).unwrap(),
                None => false,
            }
        };
        let first = kept.execute("book:1", lend).await.unwrap();
        let time = first.events[0].time.timestamp_millis();
        assert!(snapshot_of(first).await);
        put_legacy_event(&store, "book:1", time + 1, "book.borrowed").await;

        let loaded = kept.load("book:1").await.unwrap();
        assert_eq!((loaded.revision, loaded.state.loans, loaded.read.snapshot), (1, 2, Some(1)));
        tokio::time::sleep(Duration::from_millis(5)).await;
        let second = kept.execute("book:1", lend).await.unwrap();
        assert_eq!((second.attempts, second.aggregate.revision), (1, 2));
        assert_eq!(second.aggregate.state.loans, 3);
        assert!(snapshot_of(second).await);
        for books in [&plain, &kept] {
            let loaded = books.load("book:1").await.unwrap();
            assert_eq!((loaded.revision, loaded.state.loans), (2, 3), "{:?}", loaded.read);
        }

        // One whose clock runs ahead stays the last one: there is no snapshot behind it, and none
        // of its events is folded twice.
        let ahead = Utc::now().timestamp_millis() + 3_600_000;
        put_legacy_event(&store, "book:1", ahead, "book.borrowed").await;
        put_legacy_event(&store, "book:1", ahead + 1, "book.borrowed").await;
        for revision in 3..6 {
            let executed = kept.execute("book:1", lend).await.unwrap();
            assert_eq!((executed.attempts, executed.aggregate.revision), (1, revision));
            assert_eq!(executed.aggregate.state.loans, revision + 3);
            assert!(!snapshot_of(executed).await);
            for books in [&plain, &kept] {
                let loaded = books.load("book:1").await.unwrap();
                assert_eq!((loaded.revision, loaded.state.loans), (revision, revision + 3));
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_legacy_event_that_is_gone_is_missed() {
    with_store_by_time(|store| async move {
        for time in 1..4 {
            put_legacy_event(&store, "book:1", 1_700_000_000_000 + time, "book.borrowed").await;
        }
        let books = books(&store);
        books.execute("book:1", Book::give_back).await.unwrap();
        let events = store.subject("book:1").await;
        store.remove(&events[1]).await;
        let error = books.load("book:1").await.unwrap_err();
        let LoadError::MissingRevisions(missing) = error else { panic!("{error:?}") };
        assert_eq!(missing.revisions, 3..=3);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn however_many_decide_together_all_succeed() {
    for writers in [20, 40, 200] {
        with_store(move |store| async move {
            // However slow the machine is.
            let limits = TimeLimits::default().operation(Duration::from_secs(300));
            let db = store.db.with_time_limits(limits);
            let barrier = Arc::new(Barrier::new(writers));
            let started = Instant::now();
            let mut tasks = JoinSet::new();
            for _ in 0..writers {
                let barrier = Arc::clone(&barrier);
                let books = Repository::<Book>::new(&db, SOURCE);
                tasks.spawn(async move {
                    barrier.wait().await;
                    books.execute("book:1", |_| Ok::<_, No>([borrowed("user:456")])).await
                });
            }
            let mut attempts = Vec::new();
            for outcome in tasks.join_all().await {
                attempts.push(outcome.unwrap().attempts);
            }
            let most = attempts.iter().max();
            println!("{writers} writers: {:?}, at most {most:?} attempts", started.elapsed());
            assert_eq!(store.subject("book:1").await.len(), writers);
            assert_eq!(books(&store).load("book:1").await.unwrap().state.loans, writers as u64);
        })
        .await;
    }
}

#[tokio::test]
async fn a_head_behind_its_events_is_a_conflict_and_no_contention() {
    with_store_by_time(|store| async move {
        store.fill("book:1", 3).await;
        let mut head = store.rows().await;
        head.retain(|row| row["time_type"] == AttributeValue::S("$head".to_owned()));
        let mut head = head.remove(0);
        head.insert("revision".to_owned(), AttributeValue::N("1".to_owned()));
        store.client.put_item().table_name(&store.table).set_item(Some(head)).send().await.unwrap();
        let users = Repository::<User>::new(&store.db, SOURCE);
        let started = Instant::now();
        let error = users.execute("book:1", |user| user.take("book:2")).await.unwrap_err();
        assert!(matches!(error, ExecuteError::Store(Error::Conflict(_))), "{error:?}");
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    })
    .await;
}

#[tokio::test]
async fn no_error_says_its_cause_twice() {
    with_store(|store| async move {
        store.db.add_events([event("book:2", "evt", 1_700_000_000_000, json!({}))]).await.unwrap();
        let error = books(&store).execute("book:2", Book::give_back).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("`evt` of `book:2`, revision 1, type `book.borrowed`"), "{text}");
        let cause = error.source().expect("a cause");
        assert!(cause.to_string().starts_with("missing field `userId`"), "{cause}");
        assert!(!text.contains(&cause.to_string()), "{text}");
        assert!(cause.source().is_none());
    })
    .await;
}

/// A state that needs to know when and by whom it was changed.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct Audited {
    changes: Vec<(u64, String, DateTime<Utc>, Option<String>)>,
}

impl Aggregate for Audited {
    type Event = BookEvent;

    fn apply(&mut self, _: BookEvent) {}

    fn apply_stored(&mut self, _: BookEvent, stored: &Event) {
        let user = Metadata::of(stored).user;
        let revision = stored.revision.unwrap_or_default();
        self.changes.push((revision, stored.id.clone(), stored.time, user));
    }
}

#[tokio::test]
async fn a_fold_sees_how_events_are_stored() {
    with_store(|store| async move {
        let plain = Repository::<Audited>::new(&store.db, SOURCE);
        let kept = plain.with_snapshots(Snapshots { name: "audited", version: 1, every: 2 });
        for number in 0..3 {
            let metadata = Metadata::default().user(format!("user:{number}"));
            let executed = kept
                .execute("book:1", |_| Ok::<_, No>([borrowed("user:456"), BookEvent::Returned]))
                .metadata(&metadata)
                .await
                .unwrap();
            executed.snapshot.unwrap().await.unwrap();
            // What was just decided, what comes from a snapshot and what is read are the same.
            let expected: Vec<_> = store
                .subject("book:1")
                .await
                .into_iter()
                .map(|event| {
                    let user = format!("user:{}", (event.revision.unwrap() - 1) / 2);
                    (event.revision.unwrap(), event.id, event.time, Some(user))
                })
                .collect();
            assert_eq!(executed.aggregate.state.changes, expected);
            assert_eq!(kept.load("book:1").await.unwrap().state.changes, expected);
            assert_eq!(plain.load("book:1").await.unwrap().state.changes, expected);
        }
    })
    .await;
}

#[tokio::test]
async fn metadata_of_a_command_is_stored_and_published() {
    with_store(|store| async move {
        let metadata = Metadata::default().correlation("order-77").causation("m-1").user("user:1");
        let users = Repository::<User>::new(&store.db, SOURCE);
        let (book, user) = books(&store)
            .execute_with("book:1", &users, "user:456", |book, user| {
                Ok::<_, No>((book.borrow("user:456")?, user.take("book:1")?))
            })
            .metadata(&metadata)
            .await
            .unwrap();
        for event in [&book.events[0], &user.events[0]] {
            assert_eq!(Metadata::of(event), metadata);
            let message = Message::new(event).body;
            let received = ReceivedMessage::read(&message).unwrap();
            assert_eq!(Metadata::of(&received.event), metadata);
        }
        let event = &book.events[0];
        let next = Metadata::caused_by(event);
        assert_eq!(next, Metadata::default().correlation("order-77").causation(&*event.id));
        // The first event of a transaction correlates what follows.
        let alone =
            books(&store).execute("book:1", Book::give_back).await.unwrap().events.remove(0);
        assert_eq!(Metadata::of(&alone), Metadata::default());
        let next = Metadata::caused_by(&alone);
        assert_eq!(next, Metadata::default().correlation(&*alone.id).causation(&*alone.id));
    })
    .await;
}
