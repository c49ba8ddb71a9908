//! Following a feed of a million entries: how fast, and how much memory the reader takes.

use std::collections::BTreeMap;
use std::time::Instant;

use aws_sdk_dynamodb::Client;
use eventdb::internals::feed::append::PartitionAppend;
use eventdb::internals::feed::chunk::{self, End};
use eventdb::internals::feed::partition_of;
use eventdb::serde_json::json;
use eventdb::{
    CapacityMeter, Event, EventCandidate, EventDb, Feed, FeedEntry, Listing, TableLayout,
};
use futures_util::TryStreamExt;

use crate::engine::{Engine, create_event_table};
use crate::growth::{forget_peak, peak};

const PARTITIONS: u32 = 4;

/// Events that are stored. The feed lists each of them many times.
const EVENTS: usize = 10_000;

/// Events that an invocation of the publisher lists together.
const BATCH: usize = 100;

pub fn run() {
    let runtime = crate::runtime();
    let engine = Engine::start();
    runtime.block_on(follow(&engine.client()));
}

async fn follow(client: &Client) {
    create_event_table(client, "Events", TableLayout::ByTime, false).await;
    let db = EventDb::new(client.clone(), "Events");
    let events = store(&db).await;
    println!("| entries | read | per second | read units per 1,000 | most memory resident |");
    println!("|---:|---|---:|---:|---:|");
    for entries in [10_000, 100_000, 1_000_000] {
        let table = format!("Feed{entries}");
        Feed::create_table(client, &table).await.unwrap();
        list(client, &table, &events, entries).await;
        for with_events in [false, true] {
            forget_peak();
            let meter = CapacityMeter::new();
            let db = db.metered_by(&meter);
            let follow =
                Feed::new(client.clone(), &table).metered_by(&meter).follow().until_caught_up();
            let started = Instant::now();
            let mut read = 0;
            if with_events {
                let mut pages = follow.events_of(&db).stream();
                while let Some(page) = pages.try_next().await.unwrap() {
                    assert!(page.missing.is_empty());
                    read += page.events.len();
                }
            } else {
                let mut pages = follow.stream();
                while let Some(page) = pages.try_next().await.unwrap() {
                    read += page.entries.len();
                }
            }
            assert_eq!(read, entries);
            println!(
                "| {entries} | {} | {:.0} | {:.0} | {:.1} MiB |",
                if with_events { "events of 0.5 KB" } else { "entries" },
                read as f64 / started.elapsed().as_secs_f64(),
                meter.total().read_units * 1_000.0 / read as f64,
                peak() as f64 / 1024.0
            );
        }
    }
}

async fn store(db: &EventDb) -> Vec<Event> {
    let mut events = Vec::with_capacity(EVENTS);
    for subject in 0..EVENTS / 50 {
        let candidates = (0..50).map(|_| {
            EventCandidate::builder()
                .source("https://library.example.com")
                .ty("book.borrowed")
                .subject(format!("book:{subject}"))
                .data(json!({ "note": "x".repeat(300) }))
                .build()
        });
        events.extend(db.add_new_events(candidates).await.unwrap());
    }
    events
}

/// Writes a feed as the publisher does.
async fn list(client: &Client, table: &str, events: &[Event], entries: usize) {
    put(client, table, chunk::encode_header(PARTITIONS, 1)).await;
    let mut ends: BTreeMap<u32, End> = BTreeMap::new();
    let all: Vec<&Event> = events.iter().cycle().take(entries).collect();
    for batch in all.chunks(BATCH) {
        let mut by_partition: BTreeMap<u32, Vec<FeedEntry>> = BTreeMap::new();
        for event in batch {
            let entry = FeedEntry::new(event, None, Listing::Published);
            by_partition.entry(partition_of(&entry.subject, PARTITIONS)).or_default().push(entry);
        }
        for (partition, entries) in by_partition {
            let end = ends.remove(&partition).unwrap_or_default();
            let mut append = PartitionAppend::new(partition, entries, 1, end).unwrap();
            while let Some(item) = append.next_chunk() {
                put(client, table, item.clone()).await;
                append.stored();
                let (_, end) = chunk::extent_of(&item).unwrap();
                ends.insert(partition, end);
            }
        }
    }
}

async fn put(client: &Client, table: &str, item: serde_dynamo::Item) {
    client.put_item().table_name(table).set_item(Some(item.into())).send().await.unwrap();
}
