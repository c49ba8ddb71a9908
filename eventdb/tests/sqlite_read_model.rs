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

use eventdb::{EmbeddedDynamoDb, EventCandidate, EventDb, Message, Projection, ProjectionError};
use loans::{Loans, LoansError};
use rusqlite::Connection;
use serde_json::json;

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
    EventCandidate::builder()
        .source("https://library.example.com")
        .ty(ty)
        .subject("book:1")
        .data(json!({ "userId": user }))
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
