//! Commands without an answer.

use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::time::Duration;

use eventdb::{
    Aggregate, DomainEvent, Error, EventDb, Execute, ExecuteError, Repository, TableLayout,
    TimeLimits, UnknownTypes,
};
use serde::{Deserialize, Serialize};

use crate::world::{Fault, cancelled, error_body, on_both_layouts, world};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum BookEvent {
    #[serde(rename = "book.borrowed")]
    Borrowed {},
}

impl DomainEvent for BookEvent {
    const UNKNOWN_TYPES: UnknownTypes = UnknownTypes::Reject;
}

#[derive(Debug, Default)]
struct Book;

impl Aggregate for Book {
    type Event = BookEvent;

    fn apply(&mut self, _: BookEvent) {}
}

fn borrow(db: &EventDb) -> Execute<'static, Book, Infallible> {
    Repository::<Book>::new(db, "https://library.example.com")
        .execute("book:1", |_| Ok([BookEvent::Borrowed {}]))
        .command("command-1")
}

#[tokio::test]
async fn a_command_without_an_answer_is_found_out() {
    on_both_layouts(async |layout| {
        let faults = vec![Fault::LoseAnswer, Fault::LoseAnswer];
        let world = world(layout, "TransactWriteItems", faults, None).await;
        let executed = borrow(&world.db).await.unwrap();
        assert!(!executed.is_repetition, "its own first attempt stored it");
        assert_eq!(executed.events, world.stored().await);
        assert!(borrow(&world.db).await.unwrap().is_repetition);
        assert_eq!(world.stored().await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_command_whose_outcome_is_unknown_is_settled_by_its_events_and_by_a_repetition() {
    on_both_layouts(async |layout| {
        for fault in [Fault::LoseAnswer, Fault::LoseRequest] {
            for settle_first in [true, false] {
                let fault = Some(fault.clone());
                let world = world(layout, "TransactWriteItems", vec![], fault).await;
                let limits = TimeLimits::default().operation(Duration::from_millis(300));
                let error = borrow(&world.db.with_time_limits(limits)).await.unwrap_err();
                let ExecuteError::Store(Error::OutcomeUnknown { events, .. }) = error else {
                    panic!("{error:?}")
                };
                let settle = async || world.calm.add_events(events.clone()).await.unwrap();
                let repeat = async || borrow(&world.calm).await.unwrap().events;
                let answers = match settle_first {
                    true => [settle().await, repeat().await],
                    false => [repeat().await, settle().await],
                };
                let stored = world.stored().await;
                assert_eq!(stored.len(), 1, "{layout:?}");
                assert_eq!(answers, [stored.clone(), stored]);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_rejected_command_looks_for_its_events_until_no_transaction_is_in_the_way() {
    on_both_layouts(async |layout| {
        let busy = || cancelled(&["TransactionConflict"]);
        let busy = world(layout, "TransactGetItems", vec![busy(), busy()], None).await;
        let first = borrow(&busy.calm).await.unwrap();
        let books = Repository::<Book>::new(&busy.db, "https://library.example.com");
        let rejected = |_: &Book| Err::<[BookEvent; 0], _>("no");
        let again = books.execute("book:1", rejected).command("command-1").await.unwrap();
        assert_eq!(again.events, first.events);
        assert_eq!(
            busy.sent.load(Ordering::Relaxed),
            4,
            "its guard, twice in vain, and its events"
        );

        let silent = world(layout, "TransactGetItems", vec![], Some(Fault::LoseAnswer)).await;
        let limits = TimeLimits::default().operation(Duration::from_millis(200));
        let books = Repository::<Book>::new(
            &silent.db.with_time_limits(limits),
            "https://library.example.com",
        );
        // Whether the command is done isn't known, so it isn't rejected.
        let error = books.execute("book:1", rejected).command("command-1").await.unwrap_err();
        assert!(error.is_retryable(), "{error:?}");
        assert!(!error.to_string().contains("nothing was stored"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn a_subject_that_transactions_keep_busy_is_contention_for_a_decision_too() {
    on_both_layouts(async |layout| {
        let (operation, busy) = match layout {
            // One event is a single put.
            TableLayout::ByRevision => {
                ("PutItem", Fault::Answer(400, error_body("TransactionConflictException")))
            }
            _ => ("TransactWriteItems", cancelled(&["TransactionConflict", "None"])),
        };
        let world = world(layout, operation, vec![], Some(busy)).await;
        let limits = TimeLimits::default().operation(Duration::from_millis(200));
        let error = Repository::<Book>::new(
            &world.db.with_time_limits(limits),
            "https://library.example.com",
        )
        .execute("book:1", |_| Ok::<_, Infallible>([BookEvent::Borrowed {}]))
        .await
        .unwrap_err();
        assert!(error.is_retryable());
        let ExecuteError::Contended { subject, attempts: 1, .. } = error else {
            panic!("{error:?}")
        };
        assert_eq!(subject, "book:1");
    })
    .await;
}
