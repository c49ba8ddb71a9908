//! The library once more, the way a team writes it: typed events, aggregates, commands that may come
//! twice, decisions over several subjects, snapshots, and a read model that follows.
//!
//! `cargo run --example typed_library` runs it on a database inside the process; with
//! `AWS_ENDPOINT_URL_DYNAMODB` set on the database there, with `LIBRARY_TABLE` set on the deployed
//! table of that name. With `--by-revision` the table is one by revision. With `--explore` it serves a
//! page at the end, which shows the state of each book and reader after each event. `cargo test -p
//! eventdb --example typed_library` tests its decisions.

#![allow(clippy::print_stdout, reason = "what it prints is the point of an example")]

mod domain;

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Mutex, PoisonError};

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::Client;
use chrono::{Days, Utc};
use domain::{Address, Book, BookEvent, Rejection, User, lend, register};
use eventdb::{
    ApplyOutcome, CapacityMeter, EmbeddedDynamoDb, Event, EventCandidate, EventDb, ExecuteError,
    Message, Position, Projection, ReadModel, Repository, Snapshots, Step, TableLayout,
    UnreadableEvent,
};
use eventdb_explore::Explorer;
use serde_json::json;

const SOURCE: &str = "https://library.example.com";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let layout = match std::env::args().any(|argument| argument == "--by-revision") {
        true => TableLayout::ByRevision,
        false => TableLayout::ByTime,
    };
    let table = std::env::var("LIBRARY_TABLE");
    if table.is_err() && std::env::var_os("AWS_ENDPOINT_URL_DYNAMODB").is_none() {
        let dynamodb = EmbeddedDynamoDb::in_memory().await?;
        println!("An embedded DynamoDB listens on {}.", dynamodb.endpoint());
        EventDb::create_table(&dynamodb.client(), "LibraryEvents").layout(layout).await?;
        let db = EventDb::new(dynamodb.client(), "LibraryEvents").with_layout(layout);
        library(db).await?;
        return explore(Explorer::new(dynamodb.client(), "LibraryEvents").embedded()).await;
    }
    let client = Client::new(&aws_config::load_defaults(BehaviorVersion::latest()).await);
    let name = match table {
        Ok(name) => name,
        Err(_) => {
            EventDb::create_table(&client, "LibraryEvents").layout(layout).await?;
            "LibraryEvents".to_owned()
        }
    };
    library(EventDb::new(client.clone(), &name).with_layout(layout)).await?;
    explore(Explorer::new(client, name)).await
}

/// Serves the page of `eventdb explore` with the library's aggregates, if asked to.
async fn explore(explorer: Explorer) -> Result<(), Box<dyn Error>> {
    if !std::env::args().any(|argument| argument == "--explore") {
        return Ok(());
    }
    let explorer = explorer.aggregate::<Book>("Book", "book:").aggregate::<User>("Reader", "user:");
    let page = explorer.listen(0).await?;
    println!("\nOpen {}", page.address());
    let interrupted = async {
        // Where there are no signals, the page ends immediately.
        let _ = tokio::signal::ctrl_c().await;
    };
    Ok(page.serve_until(interrupted).await?)
}

async fn library(db: EventDb) -> Result<(), Box<dyn Error>> {
    // Subjects of this run only, so that it can be run again on the same table.
    let run = Utc::now().timestamp_millis();
    let [dune, emma, old, worn] =
        ["dune", "emma", "old", "worn"].map(|b| format!("book:{run}-{b}"));
    let [ada, ben] = ["ada", "ben"].map(|user| format!("user:{run}-{user}"));
    let due = (Utc::now() + Days::new(14)).date_naive().to_string();

    let books = Repository::<Book>::new(&db, SOURCE);
    let users = Repository::<User>::new(&db, SOURCE);
    // A request has its own id, so that it may be sent again.
    let borrow = async |book: &str, user: &str, request: &str| {
        let decision = |state: &Book, reader: &User| lend(state, reader, book, user, &due);
        books.execute_with(book, &users, user, decision).command(format!("{run}-{request}")).await
    };

    println!("\nA decision on two subjects: the book must be free and the reader registered.");
    if let Err(error) = borrow(&dune, &ada, "request-1").await {
        println!("  {error}");
    }

    println!("\nAn address belongs to one reader, so it is a subject, too:");
    let of_ada = format!("address:{run}-ada@example.com");
    let of_ben = format!("address:{run}-ben@example.com");
    for (user, address) in [(&ada, &of_ada), (&ben, &of_ada), (&ben, &of_ben)] {
        match sign_up(&db, user, address).await {
            Ok(()) => println!("  {user} has {address}"),
            Err(error) => println!("  {user} hasn't: {error}"),
        }
    }

    println!("\nThe request again, now twice, because its answer got lost:");
    for _ in 0..2 {
        let (book, reader) = borrow(&dune, &ada, "request-1").await?;
        let how = if book.is_repetition { "done before:" } else { "done:" };
        for event in book.events.iter().chain(&reader.events) {
            println!(
                "  {how} revision {:?} of {}: {} {}",
                event.revision, event.subject, event.ty, event.data
            );
        }
    }

    println!("\nTwo readers want the same book at the same moment; each decision sees what is:");
    let (one, other) =
        tokio::join!(borrow(&emma, &ada, "request-2"), borrow(&emma, &ben, "request-3"),);
    for (user, outcome) in [(&ada, one), (&ben, other)] {
        match outcome {
            Ok(_) => println!("  {user} has it"),
            Err(error) => println!("  {user} doesn't: {error}"),
        }
    }

    println!("\nAn event in a shape of years ago is lifted to today's when it is read:");
    let lent = EventCandidate::builder()
        .source(SOURCE)
        .ty("book.lent")
        .subject(&old)
        .data(json!({ "user": ada, "until": due }))
        .build();
    for event in db.add_new_events([lent]).await? {
        println!("  stored as {} {}", event.ty, event.data);
        println!("  read as   {:?}", event.typed::<BookEvent>()?);
    }

    println!("\nA book that was lent 490 times, loaded without snapshots and with them:");
    let policy = Snapshots { name: "book", version: 1, every: 100 };
    let kept = books.with_snapshots(policy);
    let loan = [
        BookEvent::Borrowed { user_id: ada.clone(), due_date: due.clone() },
        BookEvent::Returned { user_id: ada.clone() },
    ];
    for _ in 0..10 {
        let year = |_: &Book| Ok::<_, Rejection>(std::iter::repeat_n(loan.clone(), 49).flatten());
        if let Some(snapshot) = kept.execute(&worn, year).await?.snapshot {
            snapshot.await?;
        }
    }
    let meter = CapacityMeter::new();
    let without = Repository::<Book>::new(&db.metered_by(&meter), SOURCE);
    for (how, books) in [("without", without.clone()), ("with", without.with_snapshots(policy))] {
        let book = books.load(&worn).await?;
        let consumed = meter.take();
        println!(
            "  {how}: {} loans, from {} events, {} read units in {} requests",
            book.state.loans, book.read.folded, consumed.read_units, consumed.requests
        );
    }

    println!("\nA read model takes what subscribers get, in any order and more than once:");
    let loans = Loans::default();
    let mut published: Vec<Event> = Vec::new();
    for subject in [&dune, &emma, &worn] {
        published.extend(db.fetch_events_for_subject(subject).await?.events);
    }
    published.extend(published.clone());
    published.reverse();
    let messages = published.iter().map(|event| (event.id.clone(), Message::new(event).body));
    let failed = Projection::new(&loans).reading(db).handle_batch(messages).await;
    println!("  {} messages, {} to be delivered again", published.len(), failed.len());
    for (book, (position, borrower)) in &*loans.lock() {
        let borrower = borrower.as_deref().unwrap_or("nobody");
        println!("  {book}, as of revision {}, is with {borrower}", position.revision);
    }
    Ok(())
}

/// Registers a reader under an address that nobody else has.
async fn sign_up(db: &EventDb, user: &str, address: &str) -> Result<(), ExecuteError<Rejection>> {
    let users = Repository::<User>::new(db, SOURCE);
    let addresses = Repository::<Address>::new(db, SOURCE);
    db.decision()
        .execute(async |decision| {
            let reader = decision.load(&users, user).await?;
            let claimed = decision.load(&addresses, address).await?;
            let (registered, claim) =
                register(&reader.state, &claimed.state, user).map_err(ExecuteError::Domain)?;
            decision.append(&users, reader, registered)?;
            decision.append(&addresses, claimed, claim)?;
            Ok(())
        })
        .await?;
    Ok(())
}

/// Who has which book. In a database, view and position would change in one transaction.
#[derive(Default)]
struct Loans(Mutex<BTreeMap<String, (Position, Option<String>)>>);

impl Loans {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, (Position, Option<String>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReadModel for Loans {
    type Error = Box<UnreadableEvent>;

    async fn position(&self, subject: &str) -> Result<Position, Box<UnreadableEvent>> {
        Ok(self.lock().get(subject).map(|(position, _)| position.clone()).unwrap_or_default())
    }

    async fn apply(
        &self,
        event: &Event,
        step: &Step,
    ) -> Result<ApplyOutcome, Box<UnreadableEvent>> {
        let typed = event.typed()?;
        let mut loans = self.lock();
        let (position, borrower) = loans.entry(event.subject.clone()).or_default();
        if !step.begins_at(position) {
            return Ok(ApplyOutcome::PositionDiffers);
        }
        *position = step.to.clone();
        match typed {
            Some(BookEvent::Borrowed { user_id, .. }) => *borrower = Some(user_id),
            Some(BookEvent::Returned { .. }) => *borrower = None,
            None => {}
        }
        Ok(ApplyOutcome::Applied)
    }
}
