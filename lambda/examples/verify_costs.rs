//! What verifying costs: `cargo run -p eventdb-publisher --all-features --example verify_costs`
//!
//! Tables of both layouts are filled, with many events for each subject or few, and listed in the feed
//! by the publisher. Then they are verified in an embedded database that says what each request
//! consumes. `docs/feed.md` quotes what it prints.

#![allow(clippy::print_stdout, reason = "what it prints is the point of it")]

use std::error::Error;
use std::time::Duration;

use eventdb::serde_json::json;
use eventdb::{
    CapacityMeter, EmbeddedDynamoDb, EventCandidate, EventDb, Feed, FeedEntry, Listing, TableLayout,
};
use eventdb_publisher::configuration::Configuration;
use eventdb_publisher::feed::DynamoDbFeedTable;
use eventdb_publisher::listing;
use eventdb_publisher::sns::https_client;
use tokio::time::Instant;

/// Events in the table.
const EVENTS: usize = 4_000;

/// Events that the publisher lists together.
const BATCH: usize = 100;

/// Events that are stored together.
const TRANSACTION: usize = 20;

const PARTITIONS: u32 = 4;

/// The price of a million read units in dollars, in most regions.
const PRICE: f64 = 0.125;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    println!(
        "| layout | events of a subject | read units of the table for a million events | of the feed \
         | most, at ${PRICE} for a million units |"
    );
    println!("|---|---:|---:|---:|---:|");
    for (layout, name) in [(TableLayout::ByTime, "time"), (TableLayout::ByRevision, "revision")] {
        for subjects in [20, 2_000] {
            let dynamodb = EmbeddedDynamoDb::in_memory().await?;
            let (table, feed) = verify(&dynamodb, layout, subjects).await?;
            println!(
                "| by {name} | {} | {table:.0} | {feed:.0} | ${:.3} |",
                EVENTS / subjects,
                (table + feed) * PRICE / 1e6
            );
        }
    }
    Ok(())
}

/// Fills a table and its feed, and returns what verifying reads of both for a million events.
async fn verify(
    dynamodb: &EmbeddedDynamoDb,
    layout: TableLayout,
    subjects: usize,
) -> Result<(f64, f64), Box<dyn Error>> {
    let client = dynamodb.client();
    EventDb::create_table(&client, "Events").layout(layout).await?;
    Feed::create_table(&client, "Feed").await?;
    let db = EventDb::new(client.clone(), "Events").with_layout(layout);
    let publisher = publisher(dynamodb)?;
    for batch in 0..EVENTS / BATCH {
        let mut stored = Vec::new();
        for first in (0..BATCH).step_by(TRANSACTION) {
            let numbers = batch * BATCH + first..batch * BATCH + first + TRANSACTION;
            let candidates = numbers.map(|number| candidate(number % subjects));
            stored.extend(db.add_new_events(candidates).await?);
        }
        let entries = stored.iter().map(|event| FeedEntry::new(event, None, Listing::Published));
        let deadline = Instant::now() + Duration::from_secs(60);
        let unlisted = publisher.list(entries.enumerate().collect(), deadline).await;
        assert!(unlisted.is_empty(), "events couldn't be listed");
    }
    let (table, feed) = (CapacityMeter::new(), CapacityMeter::new());
    let found = Feed::new(client, "Feed").metered_by(&feed).verify(&db.metered_by(&table)).await?;
    assert!(found.is_clean(), "{found}");
    let of_a_million = |meter: &CapacityMeter| meter.total().read_units * 1e6 / EVENTS as f64;
    Ok((of_a_million(&table), of_a_million(&feed)))
}

fn publisher(
    dynamodb: &EmbeddedDynamoDb,
) -> Result<listing::Feed<DynamoDbFeedTable>, Box<dyn Error>> {
    let configuration = Configuration::read(|variable| match variable {
        "EVENT_TOPIC_ARN" => Some("arn:aws:sns:eu-west-1:123456789012:Events".to_owned()),
        "FEED_TABLE" => Some("Feed".to_owned()),
        "AWS_ENDPOINT_URL_DYNAMODB" => Some(dynamodb.endpoint().to_owned()),
        "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => Some("test".to_owned()),
        _ => None,
    })?;
    let table = DynamoDbFeedTable::new(&configuration, https_client(configuration.trust));
    Ok(listing::Feed::new(table.ok_or("no table")?, PARTITIONS))
}

/// An event of 0.5 KB for one of the subjects.
fn candidate(subject: usize) -> EventCandidate {
    EventCandidate::builder()
        .source("https://library.example.com")
        .ty("book.borrowed")
        .subject(format!("book:{subject:06}"))
        .data(json!({ "note": "x".repeat(300) }))
        .build()
}
