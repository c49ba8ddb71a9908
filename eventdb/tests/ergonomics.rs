//! What a service relies on without noticing: errors go through `?`, and requests can be spawned.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails by a panic")]

use std::error::Error as StdError;

use eventdb::{
    Aggregate, DomainEvent, EmbeddedDynamoDb, EmbeddedError, EventDb, Execute, ExecuteError,
    LoadError, Repository, UnknownTypes,
};
use futures_util::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum BookEvent {
    #[serde(rename = "book.borrowed")]
    Borrowed {},
}

impl DomainEvent for BookEvent {
    const UNKNOWN_TYPES: UnknownTypes = UnknownTypes::Reject;
}

#[derive(Default)]
struct Book(u32);

impl Aggregate for Book {
    type Event = BookEvent;

    fn apply(&mut self, _: BookEvent) {
        self.0 += 1;
    }
}

fn is_usable<E: StdError + Send + Sync + 'static>() {}

#[test]
fn errors_go_through_the_question_mark() {
    is_usable::<eventdb::Error>();
    is_usable::<eventdb::Conflict>();
    is_usable::<LoadError>();
    is_usable::<ExecuteError<String>>();
    is_usable::<ExecuteError<std::convert::Infallible>>();
    is_usable::<eventdb::SnapshotError>();
    is_usable::<eventdb::UnwritableEvent>();
    is_usable::<eventdb::UnreadableEvent>();
    is_usable::<Box<eventdb::UnreadableEvent>>();
    is_usable::<eventdb::ShapeError>();
    is_usable::<eventdb::ValidationErrors>();
    is_usable::<eventdb::ValidationError>();
    is_usable::<eventdb::CursorError>();
    is_usable::<eventdb::InvalidItem>();
    is_usable::<eventdb::MessageError>();
    is_usable::<eventdb::InvalidStoreId>();
    is_usable::<eventdb::InvalidTableLayout>();
    is_usable::<eventdb::FeedError>();
    is_usable::<eventdb::InvalidFeedItem>();
    is_usable::<eventdb::ReadModelError>();
    is_usable::<eventdb::ProjectionError<eventdb::ReadModelError>>();
    is_usable::<eventdb::OtherStore>();
    is_usable::<eventdb::WaitError<eventdb::ReadModelError>>();
    is_usable::<eventdb::FillError<eventdb::ReadModelError>>();
    is_usable::<eventdb::BoxReadModelError>();
    is_usable::<eventdb::CopyError>();
    is_usable::<EmbeddedError>();
}

async fn store() -> Result<EventDb, Box<dyn StdError + Send + Sync>> {
    let dynamodb = EmbeddedDynamoDb::in_memory().await?;
    EventDb::create_table(&dynamodb.client(), "Events").await?;
    Ok(EventDb::new(dynamodb.client(), "Events"))
}

fn borrow(books: &Repository<Book>) -> Execute<'static, Book, String> {
    books.execute("book:1", |_| Ok([BookEvent::Borrowed {}]))
}

#[tokio::test]
async fn requests_can_be_spawned() {
    let db = store().await.unwrap();
    let books = Repository::<Book>::new(&db, "https://library.example.com");
    let both = books.execute_with("book:1", &books, "book:2", |_, _| {
        Ok::<_, String>(([BookEvent::Borrowed {}], [BookEvent::Borrowed {}]))
    });
    let command = borrow(&books).command("command-1").only_at_revision(0);
    tokio::spawn(command.into_future()).await.unwrap().unwrap();
    tokio::spawn(both.into_future()).await.unwrap().unwrap();
    tokio::spawn(db.fetch_events_for_subject("book:1").into_future()).await.unwrap().unwrap();
    tokio::spawn(db.fetch_events_for_subject("book:1").stream().count()).await.unwrap();
    let events = db.fetch_events_for_subject("book:1").events();
    let events: Vec<_> = tokio::spawn(events.try_collect()).await.unwrap().unwrap();
    assert_eq!(events.len(), 2);
    let done = tokio::spawn(async move {
        let done = db.fetch_command("https://library.example.com", "command-1").await?;
        let loaded = books.load("book:1").await?;
        Ok::<_, Box<dyn StdError + Send + Sync>>((done.is_some(), loaded.state.0))
    });
    assert_eq!(done.await.unwrap().unwrap(), (true, 2));
}
