//! A reaction: an event of one aggregate leads to a command on another, once, however often the event
//! is delivered. A borrowed book adds to what its reader owes.
//!
//! `cargo run --example reaction` runs it on a database inside the process. Deployed, the messages
//! come from a queue that is subscribed to the topic: see `subscriber`.

#![allow(clippy::print_stdout, reason = "what it prints is the point of an example")]

use std::convert::Infallible;
use std::error::Error;

use eventdb::{
    Aggregate, DomainEvent, EmbeddedDynamoDb, EventDb, ExecuteError, Message, Metadata,
    ReceivedMessage, Repository, UnknownTypes,
};
use serde::{Deserialize, Serialize};

const SOURCE: &str = "https://library.example.com";

#[derive(Serialize, Deserialize)]
enum BookEvent {
    #[serde(rename = "book.borrowed")]
    Borrowed { reader: String },
}

impl DomainEvent for BookEvent {
    // A reaction sees every event of its queue, and cares for some.
    const UNKNOWN_TYPES: UnknownTypes = UnknownTypes::Ignore;
}

#[derive(Default)]
struct Book;

impl Aggregate for Book {
    type Event = BookEvent;

    fn apply(&mut self, _: BookEvent) {}
}

#[derive(Serialize, Deserialize)]
enum BillEvent {
    #[serde(rename = "bill.charged")]
    Charged { cents: u64 },
}

impl DomainEvent for BillEvent {
    const UNKNOWN_TYPES: UnknownTypes = UnknownTypes::Reject;
}

#[derive(Default)]
struct Bill {
    cents: u64,
}

impl Aggregate for Bill {
    type Event = BillEvent;

    fn apply(&mut self, BillEvent::Charged { cents }: BillEvent) {
        self.cents += cents;
    }
}

impl Bill {
    fn charge(&self, cents: u64) -> Result<Option<BillEvent>, Infallible> {
        Ok(Some(BillEvent::Charged { cents }))
    }
}

/// If it fails, the message should be delivered again.
async fn react(bills: &Repository<Bill>, message: &str) -> Result<(), Box<dyn Error>> {
    let event = ReceivedMessage::read(message)?.event;
    let Some(BookEvent::Borrowed { reader }) = event.typed()? else { return Ok(()) };
    let charged = bills
        .execute(format!("bill:{reader}"), |bill| bill.charge(50))
        .in_reaction_to("charge", &event)
        .await;
    match charged {
        Ok(charged) => {
            let word = if charged.is_repetition { "was charged before" } else { "is charged" };
            println!("  {}: the bill {word}", event.subject);
            Ok(())
        }
        // A rejection is final here: nobody is there to decide otherwise.
        Err(ExecuteError::Domain(never)) => match never {},
        Err(error) => Err(error.into()),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let dynamodb = EmbeddedDynamoDb::in_memory().await?;
    EventDb::create_table(&dynamodb.client(), "LibraryEvents").await?;
    let db = EventDb::new(dynamodb.client(), "LibraryEvents");
    let books = Repository::<Book>::new(&db, SOURCE);
    let bills = Repository::<Bill>::new(&db, SOURCE);

    let metadata = Metadata::default().correlation("visit-7");
    let mut messages = Vec::new();
    for book in ["book:dune", "book:emma"] {
        let borrow =
            |_: &Book| Ok::<_, Infallible>([BookEvent::Borrowed { reader: "ada".to_owned() }]);
        let borrowed = books.execute(book, borrow).metadata(&metadata).await?;
        messages.extend(borrowed.events.iter().map(|event| Message::new(event).body));
    }

    println!("Each message is delivered twice:");
    for message in messages.iter().chain(&messages) {
        react(&bills, message).await?;
    }

    let bill = bills.load("bill:ada").await?;
    println!("ada owes {} cents.", bill.state.cents);
    for event in db.fetch_events_for_subject("bill:ada").await?.events {
        let Metadata { correlation, causation, .. } = Metadata::of(&event);
        println!("  revision {:?}: {correlation:?}, because of {causation:?}", event.revision);
    }
    match bill.state.cents {
        100 => Ok(()),
        cents => Err(format!("two books cost 100 cents, not {cents}").into()),
    }
}
