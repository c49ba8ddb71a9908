//! What listing in the feed costs:
//! `cargo run -p eventdb-publisher --all-features --example feed_costs`
//!
//! Invocations of the publisher list batches of several sizes, several at the same time, in an
//! embedded database that says what each request consumes. `docs/feed.md` quotes what it prints.

#![allow(clippy::print_stdout, reason = "what it prints is the point of it")]

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeValue, ReturnConsumedCapacity, ReturnValuesOnConditionCheckFailure,
};
use eventdb::internals::feed::chunk::END_ATTRIBUTES;
use eventdb::internals::schema::feed;
use eventdb::serde_json::json;
use eventdb::{EmbeddedDynamoDb, Event, Feed, FeedEntry, Listing};
use eventdb_publisher::listing::{self, FeedFailure, FeedTable, Put};
use serde_dynamo::Item;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

const PARTITIONS: u32 = 4;

/// About how long DynamoDB takes for a request, in milliseconds. The embedded database is faster, and
/// so would hide that invocations compete for the end of a partition.
const REQUEST: std::ops::Range<u64> = 3..8;

/// About how long the topic takes for a batch, in milliseconds.
const PUBLISHING: std::ops::Range<u64> = 20..60;

/// Batches that each of the invocations lists, one after the other.
const ROUNDS: usize = 10;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    println!(
        "| events in a batch | invocations at the same time | puts for a chunk | write units for an \
         event | read units for an event |"
    );
    println!("|---:|---:|---:|---:|---:|");
    for batch in [1, 10, 100, 1_000] {
        for at_once in [1, 4, 16, 64] {
            list(batch, at_once).await?;
        }
    }
    Ok(())
}

/// Lists batches, and prints what that took.
async fn list(batch: usize, at_once: usize) -> Result<(), Box<dyn Error>> {
    let dynamodb = EmbeddedDynamoDb::in_memory().await?;
    Feed::create_table(&dynamodb.client(), "Feed").await?;
    let table = MeteredTable::new(dynamodb.client());
    let feed = Arc::new(listing::Feed::new(table.clone(), PARTITIONS));
    feed.list(vec![(0, entry(0))], in_a_minute()).await;
    table.take();
    let mut invocations = JoinSet::new();
    for invocation in 0..at_once {
        let feed = Arc::clone(&feed);
        invocations.spawn(async move {
            let mut unlisted = 0;
            for round in 0..ROUNDS {
                pause(PUBLISHING).await;
                let first = (invocation * ROUNDS + round) * batch;
                let events = (0..batch).map(|event| (event, entry(first + event))).collect();
                unlisted += feed.list(events, in_a_minute()).await.len();
            }
            unlisted
        });
    }
    let unlisted: usize = invocations.join_all().await.into_iter().sum();
    let used = table.take();
    let events = (batch * at_once * ROUNDS - unlisted) as f64;
    println!(
        "| {batch} | {at_once} | {:.2} | {:.3} | {:.3} |{}",
        f64::from(used.puts) / f64::from(used.stored.max(1)),
        used.write_units / events,
        used.read_units / events,
        match unlisted {
            0 => String::new(),
            _ => format!(" ({unlisted} not listed in time)"),
        }
    );
    Ok(())
}

/// The entry of the event with this number. Each subject has 50 events.
fn entry(number: usize) -> FeedEntry {
    let mut event = Event::builder()
        // As long as a UUID.
        .id(format!("{number:036}"))
        .source("https://library.example.com")
        .ty("book.borrowed")
        .subject(format!("book:{:06}", number / 50))
        .time(eventdb::chrono::Utc::now())
        .data(json!(null))
        .build();
    event.revision = u64::try_from(number % 50 + 1).ok();
    FeedEntry::new(&event, None, Listing::Published)
}

fn in_a_minute() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

async fn pause(milliseconds: std::ops::Range<u64>) {
    sleep(Duration::from_millis(fastrand::u64(milliseconds))).await;
}

#[derive(Debug, Default)]
struct Used {
    puts: u32,
    stored: u32,
    write_units: f64,
    read_units: f64,
}

/// The feed's table in the embedded database, which says what a request consumes.
#[derive(Debug, Clone)]
struct MeteredTable {
    client: Client,
    used: Arc<Mutex<Used>>,
}

impl MeteredTable {
    fn new(client: Client) -> Self {
        Self { client, used: Arc::default() }
    }

    fn take(&self) -> Used {
        std::mem::take(&mut self.used.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn count(&self, count: impl FnOnce(&mut Used)) {
        count(&mut self.used.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl FeedTable for MeteredTable {
    async fn last(
        &self,
        partition: &str,
        most: i32,
        with_entries: bool,
    ) -> Result<Vec<Item>, FeedFailure> {
        pause(REQUEST).await;
        let projection = END_ATTRIBUTES.iter().enumerate();
        let names = projection.clone().map(|(index, name)| (format!("#a{index}"), *name));
        let mut request = self
            .client
            .query()
            .table_name("Feed")
            .key_condition_expression("#partition = :partition")
            .expression_attribute_names("#partition", feed::PARTITION)
            .expression_attribute_values(":partition", AttributeValue::S(partition.to_owned()))
            .scan_index_forward(false)
            .consistent_read(true)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .limit(most);
        if !with_entries {
            let aliases: Vec<_> = projection.map(|(index, _)| format!("#a{index}")).collect();
            request = request.projection_expression(aliases.join(", "));
            for (alias, name) in names {
                request = request.expression_attribute_names(alias, name);
            }
        }
        let output = request.send().await.map_err(|error| failure(&error))?;
        let units = output.consumed_capacity.and_then(|consumed| consumed.capacity_units);
        self.count(|used| used.read_units += units.unwrap_or_default());
        Ok(output.items.unwrap_or_default().into_iter().map(Item::from).collect())
    }

    async fn put(&self, new: &Item) -> Result<Put, FeedFailure> {
        pause(REQUEST).await;
        let sent = self
            .client
            .put_item()
            .table_name("Feed")
            .set_item(Some(new.clone().into()))
            .condition_expression("attribute_not_exists(#partition)")
            .expression_attribute_names("#partition", feed::PARTITION)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await;
        let error = match sent {
            Ok(output) => {
                let units = output.consumed_capacity.and_then(|consumed| consumed.capacity_units);
                self.count(|used| {
                    used.puts += 1;
                    used.stored += 1;
                    used.write_units += units.unwrap_or_default();
                });
                return Ok(Put::Stored);
            }
            Err(error) => error,
        };
        let service = error.as_service_error();
        let refused = service.filter(|error| error.is_conditional_check_failed_exception());
        let Some(existing) = refused.and_then(refused_by) else { return Err(failure(&error)) };
        // DynamoDB charges for the larger of both items, and doesn't say so in the answer.
        let size = size_of(new).max(size_of(&existing));
        self.count(|used| {
            used.puts += 1;
            used.write_units += size.div_ceil(1_024) as f64;
        });
        Ok(Put::Refused(existing))
    }
}

fn refused_by(error: &aws_sdk_dynamodb::operation::put_item::PutItemError) -> Option<Item> {
    use aws_sdk_dynamodb::operation::put_item::PutItemError;
    match error {
        PutItemError::ConditionalCheckFailedException(refusal) => {
            Some(Item::from(refusal.item.clone()?))
        }
        _ => None,
    }
}

/// The size of an item of the feed, nearly: its texts and names. Its numbers are short.
fn size_of(item: &Item) -> usize {
    let value = |value: &serde_dynamo::AttributeValue| match value {
        serde_dynamo::AttributeValue::S(text) => text.len(),
        _ => 8,
    };
    item.inner().iter().map(|(name, attribute)| name.len() + value(attribute)).sum()
}

fn failure(error: &dyn Error) -> FeedFailure {
    FeedFailure { is_permanent: false, code: error.to_string() }
}
