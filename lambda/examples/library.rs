//! The library of the article: books are borrowed and returned, and nothing is ever lost.
//!
//! `cargo run --example library` runs it on a database inside the process, whose stream it hands to
//! the publisher as Lambda would, and shows what subscribers get. With `AWS_ENDPOINT_URL_DYNAMODB`
//! set it uses the database there instead; with `LIBRARY_TABLE` set, the deployed table of that name
//! in your AWS account, whose own publisher then publishes.

#![allow(clippy::print_stdout, reason = "what it prints is the point of an example")]

use std::error::Error;
use std::sync::Mutex;
use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodbstreams::config::Region;
use aws_sdk_dynamodbstreams::types::{Record, ShardIteratorType};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use eventdb::{
    CapacityMeter, EmbeddedDynamoDb, Event, EventCandidate, EventDb, Message, Precondition,
};
use eventdb_publisher::handler::handle;
use eventdb_publisher::topic::{Answer, Entry, PublishFailure, Topic};
use futures_util::TryStreamExt;
use serde::Deserialize;
use serde_dynamo::Item;
use serde_json::{Value, json};
use tokio::time::Instant;

const SOURCE: &str = "https://library.example.com";

/// What is known of a book once its events are folded.
#[derive(Debug, Default, PartialEq)]
struct BookStatus {
    borrower: Option<String>,
    due_date: Option<String>,
}

/// The payload of `book.borrowed`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BookBorrowed {
    user_id: String,
    due_date: String,
}

fn borrowed(book: &str, user: &str, due: DateTime<Utc>) -> EventCandidate {
    EventCandidate::builder()
        .source(SOURCE)
        .ty("book.borrowed")
        .subject(book)
        .data(json!({ "userId": user, "dueDate": due.date_naive().to_string() }))
        .build()
}

fn returned(book: &str, user: &str) -> EventCandidate {
    EventCandidate::builder()
        .source(SOURCE)
        .ty("book.returned")
        .subject(book)
        .data(json!({ "userId": user }))
        .build()
}

/// Folds the history of a book into its present status.
fn status(events: &[Event]) -> Result<BookStatus, serde_json::Error> {
    let mut status = BookStatus::default();
    for event in events {
        match event.ty.as_str() {
            "book.borrowed" => {
                let BookBorrowed { user_id, due_date } = event.data_as()?;
                status = BookStatus { borrower: Some(user_id), due_date: Some(due_date) };
            }
            "book.returned" => status = BookStatus::default(),
            _ => {}
        }
    }
    Ok(status)
}

fn print(event: &Event) {
    println!(
        "  {:>3}  {}  {:<14} {:<10} {}",
        event.revision.unwrap_or_default(),
        event.time.to_rfc3339_opts(SecondsFormat::Millis, true),
        event.ty,
        event.subject,
        event.data
    );
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let table = std::env::var("LIBRARY_TABLE");
    let endpoint = std::env::var("AWS_ENDPOINT_URL_DYNAMODB");
    if table.is_ok() || endpoint.is_ok() {
        let configuration = aws_config::load_defaults(BehaviorVersion::latest()).await;
        let client = Client::new(&configuration);
        let name = match table {
            Ok(name) => name,
            Err(_) => {
                EventDb::create_table(&client, "LibraryEvents").await?;
                "LibraryEvents".to_owned()
            }
        };
        return library(EventDb::new(client, name)).await;
    }
    let dynamodb = EmbeddedDynamoDb::in_memory().await?;
    println!("An embedded DynamoDB listens on {}.", dynamodb.endpoint());
    EventDb::create_table(&dynamodb.client(), "LibraryEvents").await?;
    library(EventDb::new(dynamodb.client(), "LibraryEvents")).await?;
    publish(&dynamodb).await
}

async fn library(db: EventDb) -> Result<(), Box<dyn Error>> {
    let meter = CapacityMeter::new();
    let db = db.metered_by(&meter);
    let started = Utc::now();
    // Books of this run only, so that it can be run again on the same table.
    let run = started.timestamp_millis();
    let book = format!("book:{run}-1");
    let due = started + TimeDelta::days(14);

    println!("\nA book that nobody has touched is borrowed, returned and borrowed again:");
    let first = db
        .add_new_events([borrowed(&book, "user:456", due)])
        .only_if(Precondition::subject_is_pristine(&book))
        .await?;
    db.add_new_events([returned(&book, "user:456")]).await?;
    db.add_new_events([borrowed(&book, "user:789", due)]).await?;
    let history = db.fetch_events_for_subject(&book).await?;
    history.events.iter().for_each(print);

    println!("\nIts status, folded from its history:");
    println!("  {:?}", status(&history.events)?);

    println!("\nWho borrowed it:");
    for event in db.fetch_events_for_subject_and_type(&book, "book.borrowed").await?.events {
        let BookBorrowed { user_id, due_date } = event.data_as()?;
        println!("  {user_id}, on {}, due {due_date}", event.time.date_naive());
    }

    println!("\nA complete event, with an id and a time from elsewhere, stored twice:");
    let complete = Event::builder()
        .id(format!("evt-abc-{run}"))
        .time(Utc::now() + TimeDelta::milliseconds(1))
        .source(SOURCE)
        .ty("book.returned")
        .subject(&book)
        .data(json!({ "userId": "user:789" }))
        .build();
    for attempt in ["first", "again"] {
        let stored = db.add_events([complete.clone()]).await?;
        let revision = stored.first().and_then(|event| event.revision);
        println!("  {attempt}: revision {}", revision.unwrap_or_default());
    }

    println!("\nOne event by its id:");
    if let Some(event) = first.first() {
        match db.fetch_event(&event.id).await? {
            Some(event) => print(&event),
            None => println!("  not in the index yet"),
        }
    }

    println!("\nA burst of ten events in one call, each with its own time:");
    let burst = format!("book:{run}-2");
    let candidates = (0..10).map(|_| borrowed(&burst, "user:456", due));
    let events = db.add_new_events(candidates).await?;
    let stored = db.fetch_events_for_subject(&burst).await?;
    println!("  {} sent, {} stored", events.len(), stored.events.len());
    stored.events.iter().take(3).for_each(print);
    println!("    …");

    println!("\nTwo readers want the same book; both saw that it is free:");
    let wanted = format!("book:{run}-3");
    let free = || Precondition::subject_is_pristine(&wanted);
    let (one, other) = tokio::join!(
        db.add_new_events([borrowed(&wanted, "user:456", due)]).only_if(free()).into_future(),
        db.add_new_events([borrowed(&wanted, "user:789", due)]).only_if(free()).into_future(),
    );
    for (user, outcome) in [("user:456", one), ("user:789", other)] {
        match outcome {
            Ok(_) => println!("  {user} has it"),
            Err(error) if error.is_conflict() => println!("  {user} doesn't: {error}"),
            Err(error) => return Err(error.into()),
        }
    }

    println!("\nAll events of this run, in the order of time:");
    let mut pages = db.fetch_all_events().since(started).stream();
    let mut count = 0;
    while let Some(page) = pages.try_next().await? {
        for event in page.events {
            count += 1;
            if event.subject != burst {
                print(&event);
            }
        }
    }
    println!("  {count} events, the burst included");

    let consumed = meter.total();
    println!(
        "\nConsumed: {} write units, {} read units, {} requests.",
        consumed.write_units, consumed.read_units, consumed.requests
    );
    Ok(())
}

/// A topic inside the process, which takes everything.
#[derive(Default)]
struct Messages(Mutex<Vec<Message>>);

impl Topic for Messages {
    async fn publish_batch(&self, entries: &[Entry]) -> Result<Answer, PublishFailure> {
        let mut messages = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        messages.extend(entries.iter().map(|entry| entry.message.clone()));
        Ok(Answer { accepted: (0..entries.len()).collect(), failed: Vec::new() })
    }
}

/// Hands the table's stream to the publisher, as Lambda does, and shows the messages.
async fn publish(dynamodb: &EmbeddedDynamoDb) -> Result<(), Box<dyn Error>> {
    println!("\nThe table's stream, in the hands of the publisher:");
    let (arn, records) = stream_records(dynamodb).await?;
    let delivered = records.iter().map(|record| as_lambda_delivers(&arn, record));
    let batch = json!({ "Records": delivered.collect::<Vec<_>>() });
    let topic = Messages::default();
    let deadline = Instant::now() + Duration::from_secs(10);
    let (checkpoint, metrics) = handle(&topic, batch.to_string(), deadline).await;
    println!(
        "  {} records: {} events published, {} other items skipped, {}",
        records.len(),
        metrics.published,
        metrics.skipped,
        match checkpoint?.sequence_number() {
            None => "nothing to deliver again".to_owned(),
            Some(number) => format!("to be delivered again from {number}"),
        }
    );

    println!("\nThe first of them, as a subscriber gets it:");
    let messages = topic.0.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(message) = messages.first() {
        for (name, value) in &message.attributes {
            println!("  {name}: {value}");
        }
        println!("  {:#}", serde_json::from_str::<Value>(&message.body)?);
    }
    Ok(())
}

/// The ARN of the embedded database's only stream, and all its records.
async fn stream_records(
    dynamodb: &EmbeddedDynamoDb,
) -> Result<(String, Vec<Record>), Box<dyn Error>> {
    let configuration = aws_sdk_dynamodbstreams::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("eu-west-1"))
        .credentials_provider(aws_sdk_dynamodbstreams::config::Credentials::new(
            "embedded", "embedded", None, None, "embedded",
        ))
        .endpoint_url(dynamodb.endpoint())
        .build();
    let client = aws_sdk_dynamodbstreams::Client::from_conf(configuration);
    let (mut source, mut records) = (String::new(), Vec::new());
    for stream in client.list_streams().send().await?.streams() {
        let arn = stream.stream_arn().unwrap_or_default();
        arn.clone_into(&mut source);
        let stream = client.describe_stream().stream_arn(arn).send().await?.stream_description;
        for shard in stream.map(|stream| stream.shards.unwrap_or_default()).unwrap_or_default() {
            let mut iterator = client
                .get_shard_iterator()
                .stream_arn(arn)
                .shard_id(shard.shard_id.unwrap_or_default())
                .shard_iterator_type(ShardIteratorType::TrimHorizon)
                .send()
                .await?
                .shard_iterator;
            while let Some(next) = iterator {
                let page = client.get_records().shard_iterator(next).send().await?;
                // An open shard never ends; all that was written is read once a page is empty.
                iterator =
                    page.next_shard_iterator.filter(|_| !page.records.iter().all(Vec::is_empty));
                records.extend(page.records.unwrap_or_default());
            }
        }
    }
    Ok((source, records))
}

/// A record in the JSON that Lambda delivers.
fn as_lambda_delivers(arn: &str, record: &Record) -> Value {
    let change = record.dynamodb.clone();
    json!({
        "eventID": record.event_id(),
        "eventName": record.event_name().map(|name| name.as_str()),
        "awsRegion": "eu-west-1",
        "eventSourceARN": arn,
        "dynamodb": change.map(|change| json!({
            "SequenceNumber": change.sequence_number,
            "SizeBytes": change.size_bytes,
            "StreamViewType": "NEW_IMAGE",
            "Keys": change.keys.map(Item::from),
            "NewImage": change.new_image.map(Item::from),
        })),
    })
}
