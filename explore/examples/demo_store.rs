//! Writes a store to a file, to look into: `cargo run -p eventdb-explore --example demo_store FILE`
//!
//! Options: `--by-revision`; `--hostile` with texts that try to be markup; `--damaged` with a gap and a
//! row that isn't an event; `--many N` with N events more; `--without-feed`.

#![allow(clippy::print_stdout, reason = "what it prints is the point of an example")]

use std::error::Error;

use eventdb::aws_sdk_dynamodb::Client;
use eventdb::aws_sdk_dynamodb::types::AttributeValue;
use eventdb::chrono::{DateTime, TimeDelta, Utc};
use eventdb::internals::item;
use eventdb::serde_json::json;
use eventdb::{
    Aggregate, DomainEvent, DynamoDbReadModel, EmbeddedDynamoDb, Event, EventDb, Feed, FeedEntry,
    Listing, PositionTable, Projection, Repository, Snapshots, TableLayout, UnknownTypes,
};
use futures_util::TryStreamExt;
use serde::{Deserialize, Serialize};

const SOURCE: &str = "https://library.example.com";
const HOSTILE: &str = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>{{7*7}}&lt;b&gt;\u{202e}";
const TITLES: [&str; 12] = [
    "dune", "emma", "ulysses", "beloved", "hamlet", "walden", "kim", "ivanhoe", "candide", "faust",
    "medea", "utopia",
];
const READERS: [&str; 5] = ["ada", "ben", "cleo", "dan", "eve"];

#[derive(Serialize, Deserialize)]
enum BookEvent {
    #[serde(rename = "book.borrowed", rename_all = "camelCase")]
    Borrowed { user_id: String, due_date: String },
    #[serde(rename = "book.returned", rename_all = "camelCase")]
    Returned { user_id: String },
}

impl DomainEvent for BookEvent {
    const UNKNOWN_TYPES: UnknownTypes = UnknownTypes::Ignore;
}

#[derive(Default, Serialize, Deserialize)]
struct Book {
    borrower: Option<String>,
    loans: u64,
}

impl Aggregate for Book {
    type Event = BookEvent;

    fn apply(&mut self, event: BookEvent) {
        match event {
            BookEvent::Borrowed { user_id, .. } => {
                self.borrower = Some(user_id);
                self.loans += 1;
            }
            BookEvent::Returned { .. } => self.borrower = None,
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |option: &str| arguments.iter().any(|argument| argument == option);
    let after = |option: &str| {
        let place = arguments.iter().position(|argument| argument == option)?;
        arguments.get(place + 1)?.parse::<u64>().ok()
    };
    let file = arguments.first().ok_or("which file?")?;
    let layout = match has("--by-revision") {
        true => TableLayout::ByRevision,
        false => TableLayout::ByTime,
    };
    let database = EmbeddedDynamoDb::file(file).await?;
    let client = database.client();
    let has_feed = !has("--without-feed");
    EventDb::create_table(&client, "LibraryEvents").layout(layout).await?;
    if has_feed {
        Feed::create_table(&client, "LibraryFeed").await?;
    }
    let db = EventDb::new(client.clone(), "LibraryEvents").with_layout(layout);
    let events = loans(&db).await?;
    if has_feed {
        // What the publisher would do. The last events are left out, as if they were under way.
        let listed = events.get(..events.len().saturating_sub(6)).unwrap_or_default();
        let (seen, later) = listed.split_at(listed.len() - 30);
        list_in_feed(&client, seen).await?;
        fill_read_model(&client, &db).await?;
        list_in_feed(&client, later).await?;
    }
    let year = Repository::<Book>::new(&db, SOURCE)
        .with_snapshots(Snapshots { name: "book", version: 1, every: 5 })
        .execute("book:dune", |_| {
            Ok::<_, std::convert::Infallible>(vec![BookEvent::Borrowed {
                user_id: "user:eve".to_owned(),
                due_date: "2026-12-24".to_owned(),
            }])
        })
        .await?;
    if let Some(snapshot) = year.snapshot {
        snapshot.await?;
    }
    if has("--hostile") {
        hostile(&db).await?;
    }
    if has("--damaged") {
        damage(&client, &db, layout).await?;
    }
    // Last, because the emulator counts all rows whenever a table is described.
    if let Some(number) = after("--many") {
        many(&client, layout, number).await?;
    }
    database.stop().await;
    println!("{file}");
    Ok(())
}

/// Loans of the last hours, each with what it caused.
async fn loans(db: &EventDb) -> Result<Vec<Event>, Box<dyn Error>> {
    let mut time = Utc::now() - TimeDelta::hours(30);
    let mut events = Vec::new();
    for number in 0..120_usize {
        time += TimeDelta::minutes(if number % 7 == 0 { 41 } else { 9 });
        let title = TITLES.iter().cycle().nth(number * 5).copied().unwrap_or_default();
        let reader = READERS.iter().cycle().nth(number * 3).copied().unwrap_or_default();
        let (book, user) = (format!("book:{title}"), format!("user:{reader}"));
        let is_loan = number % 24 < 12;
        let due = (time + TimeDelta::days(14)).date_naive().to_string();
        let (ty, data) = match is_loan {
            true => ("book.borrowed", json!({ "userId": user, "dueDate": due })),
            false => ("book.returned", json!({ "userId": user })),
        };
        let correlation = format!("loan-{number}");
        let event = |id: String, subject: &str, ty: &str, time: DateTime<Utc>, data| {
            Event::builder()
                .id(id)
                .source(SOURCE)
                .subject(subject)
                .ty(ty)
                .time(time)
                .data(data)
                .extension("correlationid", correlation.clone())
        };
        let cause = event(format!("evt-{number}"), &book, ty, time, data).build();
        let noted = event(
            format!("evt-{number}-noted"),
            &user,
            if is_loan { "user.took-book" } else { "user.gave-book-back" },
            time + TimeDelta::milliseconds(180),
            json!({ "book": book }),
        );
        let noted = noted.extension("causationid", cause.id.clone()).build();
        let mailed = event(
            format!("evt-{number}-mailed"),
            &format!("mail:{reader}"),
            "mail.sent",
            time + TimeDelta::seconds(2),
            json!({ "to": format!("{reader}@example.com"), "about": book }),
        );
        let mailed = mailed.extension("causationid", noted.id.clone()).build();
        events.extend(db.add_events([cause, noted, mailed]).await?);
    }
    Ok(events)
}

async fn list_in_feed(client: &Client, events: &[Event]) -> Result<(), Box<dyn Error>> {
    let entries = events.iter().map(|event| FeedEntry::new(event, None, Listing::Published));
    Feed::new(client.clone(), "LibraryFeed").adopt_events(entries).await?;
    Ok(())
}

/// A read model that takes everything that is listed so far.
async fn fill_read_model(client: &Client, db: &EventDb) -> Result<(), Box<dyn Error>> {
    use eventdb::aws_sdk_dynamodb::types::{
        AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
    };
    let name = "LibraryReadModels";
    let attribute = AttributeDefinition::builder().attribute_name("key");
    let key = KeySchemaElement::builder().attribute_name("key").key_type(KeyType::Hash);
    client
        .create_table()
        .table_name(name)
        .attribute_definitions(attribute.attribute_type(ScalarAttributeType::S).build()?)
        .key_schema(key.build()?)
        .billing_mode(BillingMode::PayPerRequest)
        .send()
        .await?;
    let positions = PositionTable {
        table: name.to_owned(),
        partition_key: "key".to_owned(),
        sort_key: None,
        read_model: "loans".to_owned(),
    };
    let loans = DynamoDbReadModel::new(client.clone(), positions, |_| Ok(vec![]));
    let feed = Feed::new(client.clone(), "LibraryFeed");
    let pages = feed.follow().until_caught_up().events_of(db);
    let progress = pages.apply_to(Projection::new(loans).reading(db.clone()));
    progress.try_for_each(|_| async { Ok(()) }).await?;
    Ok(())
}

async fn hostile(db: &EventDb) -> Result<(), Box<dyn Error>> {
    let event = |id: &str| {
        Event::builder()
            .id(id)
            .source("https://x.example/?q=%3Cscript%3E")
            .subject(HOSTILE)
            .ty(HOSTILE)
            .time(Utc::now())
            .data(json!({ HOSTILE: HOSTILE, "list": [HOSTILE, { "__proto__": { "a": HOSTILE } }] }))
            .extension("correlationid", HOSTILE)
            .extension("hostile", HOSTILE)
            .build()
    };
    db.add_events([event(HOSTILE)]).await?;
    Ok(())
}

/// Removes a row, and puts one that isn't an event.
async fn damage(client: &Client, db: &EventDb, layout: TableLayout) -> Result<(), Box<dyn Error>> {
    let history = db.fetch_events_for_subject("book:dune").await?;
    let key = |event: &Event| match layout {
        TableLayout::ByRevision => {
            ("revision", AttributeValue::N(event.revision.unwrap_or_default().to_string()))
        }
        _ => ("time_type", AttributeValue::S(item::time_type(event.time, &event.ty))),
    };
    let subject = || AttributeValue::S("book:dune".to_owned());
    let (Some(removed), Some(spoilt)) = (history.events.get(3), history.events.get(6)) else {
        return Err("the history is too short".into());
    };
    let (name, value) = key(removed);
    let request = client.delete_item().table_name("LibraryEvents").key("subject", subject());
    request.key(name, value).send().await?;
    let (name, value) = key(spoilt);
    let request = client.update_item().table_name("LibraryEvents").key("subject", subject());
    request
        .key(name, value)
        .update_expression("REMOVE #source")
        .expression_attribute_names("#source", "source")
        .send()
        .await?;
    Ok(())
}

/// Rows as the store writes them, but by the quickest way.
async fn many(client: &Client, layout: TableLayout, number: u64) -> Result<(), Box<dyn Error>> {
    use eventdb::aws_sdk_dynamodb::types::{PutRequest, StreamSpecification, WriteRequest};
    // The emulator searches the whole stream for each write.
    let off = StreamSpecification::builder().stream_enabled(false).build()?;
    client.update_table().table_name("LibraryEvents").stream_specification(off).send().await?;
    let begin = Utc::now() - TimeDelta::days(400);
    let all: Vec<u64> = (0..number).collect();
    for counts in all.chunks(25) {
        let mut batch = Vec::new();
        for count in counts {
            let milliseconds = i64::try_from(*count)? * 30;
            let mut event = Event::builder()
                .id(format!("many-{count}"))
                .source(SOURCE)
                .subject(format!("reader:{}", count / 20))
                .ty(if count % 3 == 0 { "reader.visited" } else { "reader.searched" })
                .time(begin + TimeDelta::milliseconds(milliseconds))
                .data(json!({ "count": count }))
                .build();
            event.revision = Some(count % 20 + 1);
            let row = match layout {
                TableLayout::ByRevision => item::encode_by_revision(&event),
                _ => item::encode(&event),
            };
            let put = PutRequest::builder().set_item(Some(row.into())).build()?;
            batch.push(WriteRequest::builder().put_request(put).build());
        }
        client.batch_write_item().request_items("LibraryEvents", batch).send().await?;
    }
    Ok(())
}
