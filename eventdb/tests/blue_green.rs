//! The example of a read model that is rebuilt next to the old one: no mail is sent twice or missed,
//! wherever the old one stops.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    dead_code,
    missing_docs,
    reason = "a test fails by a panic"
)]

#[path = "../examples/blue_green/rebuild.rs"]
mod rebuild;
#[path = "../examples/blue_green/switch.rs"]
mod switch;

use std::sync::Arc;

use eventdb::{
    EmbeddedDynamoDb, Event, EventCandidate, EventDb, Message, Projection, ReceivedMessage,
};
use rebuild::{Loans, Mails};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn the_new_read_model_takes_over_while_a_writer_goes_on() {
    let switched = switch::switch().await.unwrap();
    let sent = switched.mails.sent();
    assert_eq!(sent.len(), switched.stored.len(), "a mail about each event");
    assert!(sent.values().all(|times| *times == 1), "{sent:?}");
    let all: u64 = switched.new.counts().values().sum();
    assert_eq!(all, switched.stored.len() as u64);
}

async fn handle(loans: &Arc<Loans>, db: &EventDb, events: &[Event]) {
    let projection = Projection::new(Arc::clone(loans)).reading(db.clone());
    for event in events {
        let message = ReceivedMessage::read(&Message::new(event).body).unwrap();
        projection.handle(&message).await.unwrap();
    }
}

/// The old one is behind the new one, or ahead of it, when it stops.
#[tokio::test]
async fn no_mail_is_sent_twice_or_missed_wherever_the_two_are() {
    for (of_old, of_new) in [(2, 5), (5, 2), (0, 3), (3, 0), (4, 4)] {
        let dynamodb = EmbeddedDynamoDb::in_memory().await.unwrap();
        EventDb::create_table(&dynamodb.client(), "Events").await.unwrap();
        let db = EventDb::new(dynamodb.client(), "Events");
        let mut events = Vec::new();
        for _ in 0..6 {
            let borrowed = EventCandidate::builder()
                .source("https://library.example.com")
                .ty("book.borrowed")
                .subject("book:1")
                .data(json!({}))
                .build();
            events.extend(db.add_new_events([borrowed]).await.unwrap());
        }
        let mails = Arc::new(Mails::default());
        let (old, new) = (Arc::new(Loans::first(&mails)), Arc::new(Loans::rebuilt(&mails)));
        handle(&old, &db, &events[..of_old]).await;
        handle(&new, &db, &events[..of_new]).await;
        assert_eq!(mails.sent().len(), of_old, "the new one holds its mails back");
        new.take_over(&old, &db).await.unwrap();
        handle(&new, &db, &events).await;
        let sent = mails.sent();
        assert!(sent.len() == 6 && sent.values().all(|times| *times == 1), "{of_old}, {of_new}");
    }
}
