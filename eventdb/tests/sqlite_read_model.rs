//! The read model on SQLite of the examples: view and position change in one transaction, each
//! event once, also over restarts and with several consumers.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    reason = "a test fails by a panic"
)]

#[path = "../examples/sqlite_read_model/loans.rs"]
mod loans;

use std::path::PathBuf;

use eventdb::aws_sdk_dynamodb::types::AttributeValue;
use eventdb::{
    EmbeddedDynamoDb, EventCandidate, EventDb, Message, Projection, ProjectionError, ReadModel,
};
use loans::{Loans, LoansError};
use rusqlite::Connection;
use serde_json::{Value, json};

/// A file that goes with the test.
struct File(PathBuf);

impl File {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("loans-{}.sqlite", uuid::Uuid::now_v7())))
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn store() -> (EmbeddedDynamoDb, EventDb) {
    let dynamodb = EmbeddedDynamoDb::in_memory().await.unwrap();
    EventDb::create_table(&dynamodb.client(), "Events").await.unwrap();
    let db = EventDb::new(dynamodb.client(), "Events");
    (dynamodb, db)
}

fn candidate(ty: &str, user: &str) -> EventCandidate {
    candidate_with(ty, json!({ "userId": user }))
}

fn candidate_with(ty: &str, data: Value) -> EventCandidate {
    EventCandidate::builder()
        .source("https://library.example.com")
        .ty(ty)
        .subject("book:1")
        .data(data)
        .build()
}

#[tokio::test]
async fn each_event_counts_once_over_restarts_and_repetitions() {
    let (_dynamodb, db) = store().await;
    let file = File::new();
    let loans = [
        ("book.borrowed", "user:1"),
        ("book.returned", "user:1"),
        ("book.cleaned", "x"),
        ("book.borrowed", "user:2"),
    ];
    let events = db.add_new_events(loans.map(|(ty, user)| candidate(ty, user))).await.unwrap();
    let store = db.store_id().await.unwrap();
    let body = |index: usize| Message::of_store(&events[index], &store).body;

    let view = Loans::open(&file.0).unwrap();
    assert!(Projection::new(&view).handle_batch([("1", body(0))]).await.is_empty());
    assert_eq!(view.borrower("book:1").unwrap().as_deref(), Some("user:1"));
    drop(view);

    // Another process, which closes the gap from the store.
    let view = Loans::open(&file.0).unwrap();
    let projection = Projection::new(&view).reading(db);
    let batch = [("4", body(3)), ("1", body(0)), ("2", body(1)), ("4 again", body(3))];
    assert!(projection.handle_batch(batch).await.is_empty());
    assert_eq!(view.borrower("book:1").unwrap().as_deref(), Some("user:2"));
    let rows = Connection::open(&file.0).unwrap();
    let query = "SELECT revision, store FROM position WHERE subject = 'book:1'";
    let position: (u64, String) =
        rows.query_row(query, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!(position, (4, store.to_string()));
}

#[tokio::test]
async fn a_change_that_fails_moves_no_position() {
    let (_dynamodb, db) = store().await;
    let file = File::new();
    let view = Loans::open(&file.0).unwrap();
    let event = db.add_new_events([candidate("book.borrowed", "user:1")]).await.unwrap().remove(0);
    let store = db.store_id().await.unwrap();
    let message = eventdb::ReceivedMessage::of_store(event, store);
    // The position's statement, the last of the transaction, is what fails.
    let trigger = "CREATE TRIGGER full BEFORE INSERT ON position
                   BEGIN SELECT RAISE(ABORT, 'disk full'); END;";
    let other = Connection::open(&file.0).unwrap();
    other.execute_batch(trigger).unwrap();
    let error = Projection::new(&view).handle(&message).await.unwrap_err();
    assert!(
        matches!(
            error,
            ProjectionError::ReadModel { revision: 1, source: LoansError::Database(_), .. }
        ),
        "{error:?}"
    );
    assert_eq!(view.borrower("book:1").unwrap(), None, "the view has not changed either");
    other.execute_batch("DROP TRIGGER full").unwrap();
    assert_eq!(Projection::new(&view).handle(&message).await.unwrap(), 1);
    assert_eq!(view.borrower("book:1").unwrap().as_deref(), Some("user:1"));
}

#[tokio::test]
async fn a_poisoned_event_parks_its_subject_until_a_retry_reads_on() {
    for poison in [1, 3] {
        let (dynamodb, db) = store().await;
        let file = File::new();
        let users = (1..=4).map(|place| match place == poison {
            true => candidate_with("book.borrowed", json!({})),
            false => candidate("book.borrowed", &format!("user:{place}")),
        });
        let events = db.add_new_events(users).await.unwrap();
        let store = db.store_id().await.unwrap();
        let batch = |receives: u32| {
            let body = |event| Message::of_store(event, &store).body;
            events.iter().map(move |event| (event.id.clone(), body(event), receives))
        };
        let view = Loans::open(&file.0).unwrap();
        let projection = Projection::new(&view).reading(db.clone());
        let revision = poison - 1;
        assert_eq!(projection.handle_batch_or_park(batch(1), 2).await.len() as u64, 4 - revision);
        assert_eq!(view.parked().unwrap(), []);
        projection.handle_batch_or_park(batch(2), 2).await;
        let parked = view.parked().unwrap();
        assert_eq!((&*parked[0].0, parked[0].1.revision, parked.len()), ("book:1", poison, 1));
        assert!(parked[0].1.reason.contains("missing field `userId`"), "{parked:?}");
        drop(view);

        // Another process acknowledges its messages, until the row is repaired.
        let view = Loans::open(&file.0).unwrap();
        let projection = Projection::new(&view).reading(db.clone());
        assert!(projection.handle_batch_or_park(batch(1), 2).await.is_empty());
        assert!(projection.retry("book:1").await.unwrap_err().can_be_parked());
        let position = view.position("book:1").await.unwrap();
        assert_eq!((position.revision, position.parked.is_some()), (revision, true));

        let repaired = events[usize::try_from(revision).unwrap()].clone();
        let names = ["subject", "time_type"];
        let key = [
            repaired.subject.clone(),
            format!("{:013}_{}", repaired.time.timestamp_millis(), repaired.ty),
        ];
        let mut update = dynamodb.client().update_item().table_name("Events");
        for (name, value) in names.into_iter().zip(key) {
            update = update.key(name, AttributeValue::S(value));
        }
        let data = AttributeValue::M(
            [("userId".to_owned(), AttributeValue::S("user:9".to_owned()))].into(),
        );
        let update = update
            .update_expression("SET #data = :data")
            .condition_expression("attribute_exists(id)")
            .expression_attribute_names("#data", "data")
            .expression_attribute_values(":data", data);
        update.send().await.unwrap();
        assert_eq!(projection.retry("book:1").await.unwrap(), 4 - revision);
        assert_eq!(view.borrower("book:1").unwrap().as_deref(), Some("user:4"));
        assert_eq!(view.parked().unwrap(), []);
        assert_eq!(view.position("book:1").await.unwrap().revision, 4);
        assert!(projection.handle_batch(batch(1).map(|(id, body, _)| (id, body))).await.is_empty());
    }
}
