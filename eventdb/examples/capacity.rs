//! Prints what each operation consumes, as the table in docs/costs-and-limits.md.
//!
//! The numbers are the database's own answers: here those of the embedded database, whose figures
//! are modelled on captured answers of AWS; with `AWS_ENDPOINT_URL_DYNAMODB` or `CAPACITY_TABLE`
//! set, those of the database there. With `--by-revision` the table is one by revision.

#![allow(clippy::print_stdout, reason = "what it prints is the point of an example")]

use std::error::Error;

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::Client;
use eventdb::{
    Aggregate, CapacityMeter, DomainEvent, EmbeddedDynamoDb, EventCandidate, EventDb, Precondition,
    Repository, Snapshots, TableLayout, UnknownTypes,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

const SOURCE: &str = "https://library.example.com";

/// An event whose item takes so many bytes in the table.
fn event_of(bytes: usize, subject: &str) -> EventCandidate {
    EventCandidate::builder()
        .source(SOURCE)
        .ty("book.borrowed")
        .subject(subject)
        // What an event of this kind takes without the filling.
        .data(json!({ "filling": "x".repeat(bytes.saturating_sub(230)) }))
        .build()
}

/// The same events, typed.
#[derive(Serialize, Deserialize)]
enum LoanEvent {
    #[serde(rename = "book.borrowed")]
    Borrowed { filling: String },
}

impl DomainEvent for LoanEvent {
    const UNKNOWN_TYPES: UnknownTypes = UnknownTypes::Reject;
}

/// How often a book was lent.
#[derive(Default, Serialize, Deserialize)]
struct Loans {
    count: u64,
}

impl Aggregate for Loans {
    type Event = LoanEvent;

    fn apply(&mut self, _: LoanEvent) {
        self.count += 1;
    }
}

struct Table {
    db: EventDb,
    meter: CapacityMeter,
}

impl Table {
    fn row(&self, operation: &str) {
        let consumed = self.meter.take();
        println!(
            "| {operation} | {} | {} | {} |",
            consumed.write_units, consumed.read_units, consumed.requests
        );
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let layout = match std::env::args().any(|argument| argument == "--by-revision") {
        true => TableLayout::ByRevision,
        false => TableLayout::ByTime,
    };
    let table = std::env::var("CAPACITY_TABLE");
    if table.is_ok() || std::env::var_os("AWS_ENDPOINT_URL_DYNAMODB").is_some() {
        let client = Client::new(&aws_config::load_defaults(BehaviorVersion::latest()).await);
        let name = table.unwrap_or_else(|_| "CapacityEvents".to_owned());
        return print(client, &name, layout).await;
    }
    let dynamodb = EmbeddedDynamoDb::in_memory().await?;
    print(dynamodb.client(), "CapacityEvents", layout).await
}

async fn print(client: Client, name: &str, layout: TableLayout) -> Result<(), Box<dyn Error>> {
    EventDb::create_table(&client, name).layout(layout).await?;
    let meter = CapacityMeter::new();
    let db = EventDb::new(client, name).with_layout(layout).metered_by(&meter);
    let table = Table { db, meter };
    let db = &table.db;
    // Subjects of this run only, of one length, so that it can be run again.
    let run = chrono::Utc::now().timestamp_millis();
    let subject = |name: &str| format!("book:{run}-{name}");

    println!("| operation | write units | read units | requests |");
    println!("|---|---:|---:|---:|");
    for (size, bytes) in [("0.5 KB", 512), ("1 KB", 1024), ("4 KB", 4096), ("10 KB", 10_240)] {
        let book = subject(&format!("{bytes:05}"));
        db.add_new_events([event_of(bytes, &book)]).await?;
        table.row(&format!("append the first event of a subject, {size}"));
        db.add_new_events([event_of(bytes, &book)]).await?;
        table.row(&format!("append an event, {size}"));
        db.add_new_events([event_of(bytes, &book)])
            .only_if(Precondition::subject_is_at_revision(&book, 2))
            .await?;
        table.row(&format!("append an event at a stated revision, {size}"));
        if layout == TableLayout::ByRevision {
            let last = db.fetch_events_for_subject(&book).backwards().limit(1).await?;
            let known = last.known_revision().ok_or("the subject has no events")?.clone();
            table.meter.take();
            db.add_new_events([event_of(bytes, &book)]).only_if(known.into()).await?;
            table.row(&format!("append an event at a revision that was read, {size}"));
        }
    }
    let many = subject("many");
    db.add_new_events([event_of(512, &many)]).await?;
    table.meter.take();
    db.add_new_events((0..10).map(|_| event_of(512, &many))).await?;
    table.row("append 10 events together, 0.5 KB each");
    let mut command = event_of(512, &many);
    command.id = Some(format!("command-{run}"));
    let stored = db.add_new_events([command.clone()]).await?;
    table.row("append an event with an id of the caller's own, 0.5 KB");
    db.add_new_events([command]).await?;
    table.row("repeat that append");
    db.add_new_events([event_of(512, &many)])
        .only_if(Precondition::subject_is_populated(subject("00512")))
        .await?;
    table.row("append an event with a precondition on another subject, 0.5 KB");

    db.add_new_events((0..87).map(|_| event_of(512, &many))).await?;
    table.meter.take();
    db.fetch_events_for_subject(&many).await?;
    table.row("read a subject of 100 events, 0.5 KB each");
    db.fetch_events_for_subject(&many).backwards().limit(1).await?;
    table.row("read the last event of a subject, 0.5 KB");
    db.fetch_events_for_subject_and_type(&many, "book.borrowed").await?;
    table.row("read the 100 events of one type of a subject, 0.5 KB each");
    if let Some(event) = stored.first() {
        db.fetch_event(&event.id).await?;
        table.row("read an event by its id, 0.5 KB");
    }
    db.fetch_events_for_subject(subject("none")).await?;
    table.row("read a subject without events");
    let last_100 = db.fetch_all_events().backwards().limit(100);
    last_100.await?;
    table.row("read 100 of all events, 0.5 KB each");

    let long = subject("long");
    let snapshots = Snapshots { name: "loans", version: 1, every: 1 };
    let loans = Repository::<Loans>::new(db, SOURCE);
    for _ in 0..101 {
        db.add_new_events((0..99).map(|_| event_of(512, &long))).await?;
    }
    let borrowed = || LoanEvent::Borrowed { filling: "x".repeat(282) };
    if let Some(snapshot) = loans
        .with_snapshots(snapshots)
        .execute(&long, |_| Ok::<_, String>([borrowed()]))
        .await?
        .snapshot
    {
        snapshot.await?;
    }
    table.meter.take();
    let without = loans.load(&long).await?;
    table.row("load an aggregate of 10,000 events, 0.5 KB each");
    let with = loans.with_snapshots(snapshots).load(&long).await?;
    table.row("the same with a snapshot, 0.1 KB");
    if (without.revision, without.state.count) != (10_000, with.state.count) {
        return Err("the snapshot changed the answer".into());
    }
    Ok(())
}
