//! The whole of it: an old read model at work, a new one next to it, and the switch.

use std::error::Error;
use std::sync::Arc;

use eventdb::{EmbeddedDynamoDb, Event, EventCandidate, EventDb, Feed};
use serde_json::json;
use tokio::sync::watch;

use crate::rebuild::{Loans, Mails, Topic, consume, fill};

/// What has happened.
pub(crate) struct Switched {
    /// The ids of all events that were stored.
    pub(crate) stored: Vec<String>,
    /// How many of them were stored before the new read model was begun.
    pub(crate) before: usize,
    /// The read models after the switch.
    pub(crate) old: Arc<Loans>,
    /// The new one.
    pub(crate) new: Arc<Loans>,
    /// The mails of both.
    pub(crate) mails: Arc<Mails>,
}

/// Switches from an old read model to a new one while a writer appends.
///
/// # Errors
/// If anything fails.
pub(crate) async fn switch() -> Result<Switched, Box<dyn Error>> {
    let dynamodb = EmbeddedDynamoDb::in_memory().await?;
    EventDb::create_table(&dynamodb.client(), "LibraryEvents").await?;
    Feed::create_table(&dynamodb.client(), "LibraryFeed").await?;
    let db = EventDb::new(dynamodb.client(), "LibraryEvents");
    let feed = Feed::new(dynamodb.client(), "LibraryFeed");
    let topic = Arc::new(Topic::new(feed.clone(), db.store_id().await?));
    let mails = Arc::new(Mails::default());

    // The old read model at work, and a history.
    let old = Arc::new(Loans::first(&mails));
    let (stop_old, old_stops) = watch::channel(false);
    let old_consumer =
        tokio::spawn(consume(topic.subscribe(), Arc::clone(&old), db.clone(), old_stops));
    let mut stored = Vec::new();
    for number in 0..100 {
        stored.extend(borrow(&db, &topic, number).await?);
    }
    let before = stored.len();

    // A writer that goes on all the time.
    let (stop_writer, writer_stops) = watch::channel(false);
    let writer = tokio::spawn(write(db.clone(), Arc::clone(&topic), writer_stops));

    // 1. Subscribe the new one's queue, so that nothing is missed from now on. 2. Fill it; it holds its
    // mails back.
    let queue = topic.subscribe();
    let new = Arc::new(Loans::rebuilt(&mails));
    fill(&new, &feed, &db).await?;
    // 3. Stop the old one: what it has handled is what it has sent mails about.
    stop_old.send(true)?;
    old_consumer.await?.map_err(|error| error.to_string())?;
    // 4. Send what is missing, and go on with the queue. It repeats what the history had.
    new.take_over(&old, &db).await?;
    let (stop_new, new_stops) = watch::channel(false);
    let new_consumer = tokio::spawn(consume(queue, Arc::clone(&new), db.clone(), new_stops));

    stop_writer.send(true)?;
    stored.extend(writer.await?.map_err(|error| error.to_string())?);
    stored.extend(borrow(&db, &topic, 0).await?);
    // Without a topic, the queue ends when it is empty.
    drop(topic);
    new_consumer.await?.map_err(|error| error.to_string())?;
    drop(stop_new);
    Ok(Switched { stored, before, old, new, mails })
}

/// Appends and publishes until it is told to stop.
async fn write(
    db: EventDb,
    topic: Arc<Topic>,
    stops: watch::Receiver<bool>,
) -> Result<Vec<String>, Box<dyn Error + Send + Sync>> {
    let mut stored = Vec::new();
    for number in 0.. {
        if *stops.borrow() {
            break;
        }
        stored.extend(borrow(&db, &topic, number).await.map_err(|error| error.to_string())?);
    }
    Ok(stored)
}

/// A book is borrowed.
async fn borrow(db: &EventDb, topic: &Topic, number: u64) -> Result<Vec<String>, Box<dyn Error>> {
    let borrowed = EventCandidate::builder()
        .source("https://library.example.com")
        .ty("book.borrowed")
        .subject(format!("book:{}", number % 10))
        .data(json!({ "userId": "user:456" }))
        .build();
    let events: Vec<Event> = db.add_new_events([borrowed]).await?;
    topic.publish(&events).await?;
    Ok(events.into_iter().map(|event| event.id).collect())
}
