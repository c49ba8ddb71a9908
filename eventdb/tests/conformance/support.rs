//! A table for each test, and short ways to fill it.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, TimeZone, Utc};
use eventdb::internals::item;
use eventdb::{EmbeddedDynamoDb, Event, EventCandidate, EventDb, TableLayout};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::task::block_in_place;
use uuid::Uuid;

pub(crate) const SOURCE: &str = "https://library.example.com";

pub(crate) struct Store {
    pub(crate) db: EventDb,
    pub(crate) client: Client,
    pub(crate) table: String,
    pub(crate) layout: TableLayout,
    /// Kept so that it lives as long as the test.
    _embedded: Option<EmbeddedDynamoDb>,
}

const LAYOUTS: [TableLayout; 2] = [TableLayout::ByTime, TableLayout::ByRevision];

/// Runs a test on a new table of each layout. Tables outside this process are deleted afterwards, even
/// after a failure.
pub(crate) async fn with_store<F, T>(test: F)
where
    F: Fn(Arc<Store>) -> T,
    T: Future<Output = ()> + Send + 'static,
{
    for layout in LAYOUTS {
        with_layout(layout, &test).await;
    }
}

/// Runs a test of what only tables by time have.
pub(crate) async fn with_store_by_time<F, T>(test: F)
where
    F: Fn(Arc<Store>) -> T,
    T: Future<Output = ()> + Send + 'static,
{
    with_layout(TableLayout::ByTime, &test).await;
}

/// Runs a test of what only tables by revision have.
pub(crate) async fn with_store_by_revision<F, T>(test: F)
where
    F: Fn(Arc<Store>) -> T,
    T: Future<Output = ()> + Send + 'static,
{
    with_layout(TableLayout::ByRevision, &test).await;
}

async fn with_layout<F, T>(layout: TableLayout, test: &F)
where
    F: Fn(Arc<Store>) -> T,
    T: Future<Output = ()> + Send + 'static,
{
    let external = std::env::var_os("AWS_ENDPOINT_URL_DYNAMODB").is_some();
    let table = format!("conformance-{}", Uuid::now_v7());
    let (client, embedded) = if external {
        (Client::new(&aws_config::load_defaults(BehaviorVersion::latest()).await), None)
    } else {
        let embedded = EmbeddedDynamoDb::in_memory().await.expect("embedded database");
        (embedded.client(), Some(embedded))
    };
    EventDb::create_table(&client, &table).layout(layout).await.expect("table");
    let db = EventDb::new(client.clone(), &table).with_layout(layout);
    let store = Store { db, client: client.clone(), table, layout, _embedded: embedded };
    let store = Arc::new(store);
    let outcome = tokio::spawn(test(Arc::clone(&store))).await;
    if external {
        client.delete_table().table_name(&store.table).send().await.expect("deleted table");
    }
    if let Err(failure) = outcome {
        eprintln!("failed on a table of the layout {layout:?}");
        std::panic::resume_unwind(failure.into_panic());
    }
}

impl Store {
    /// Puts a row as another writer would, past the store.
    pub(crate) async fn put_row(&self, row: impl IntoIterator<Item = (&str, AttributeValue)>) {
        let row = row.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let put = self.client.put_item().table_name(&self.table).set_item(Some(row));
        put.send().await.expect("put row");
    }

    /// Every row of the table, the store's own items included.
    pub(crate) async fn rows(&self) -> Vec<HashMap<String, AttributeValue>> {
        let scan = self.client.scan().table_name(&self.table).consistent_read(true);
        scan.into_paginator().items().send().collect::<Result<_, _>>().await.expect("scan")
    }

    /// The name of the sort key of the table.
    pub(crate) fn sort_key(&self) -> &'static str {
        match self.layout {
            TableLayout::ByRevision => "revision",
            _ => "time_type",
        }
    }

    /// The item of an event, as the store writes it.
    pub(crate) fn item(&self, event: &Event) -> HashMap<String, AttributeValue> {
        match self.layout {
            TableLayout::ByRevision => item::encode_by_revision(event).into(),
            _ => item::encode(event).into(),
        }
    }

    pub(crate) fn key(
        &self,
        row: &HashMap<String, AttributeValue>,
    ) -> HashMap<String, AttributeValue> {
        ["subject", self.sort_key()].map(|name| (name.to_owned(), row[name].clone())).into()
    }

    /// Removes an event as somebody else would: the store itself removes nothing.
    pub(crate) async fn remove(&self, event: &Event) {
        self.remove_row(&self.item(event)).await;
    }

    pub(crate) async fn remove_row(&self, row: &HashMap<String, AttributeValue>) {
        let removal = self.client.delete_item().table_name(&self.table);
        removal.set_key(Some(self.key(row))).send().await.expect("removed row");
    }

    pub(crate) async fn subject(&self, subject: &str) -> Vec<Event> {
        let history = self.db.fetch_events_for_subject(subject).await.expect("history");
        assert_eq!(history.invalid, [], "{subject}");
        assert_eq!(history.missing, [], "{subject}");
        history.events
    }

    /// The promises that hold for every subject at any time: no gap, and, by time, times that increase.
    pub(crate) fn assert_sound(&self, events: &[Event]) {
        let expected: Vec<u64> = (1..).take(events.len()).collect();
        assert_eq!(revisions(events), expected);
        if self.layout == TableLayout::ByTime {
            for pair in events.windows(2) {
                assert!(pair[0].time < pair[1].time, "{} then {}", pair[0].time, pair[1].time);
            }
        }
    }

    /// Appends events with the numbers 1 to `count` to a subject, one by one.
    pub(crate) async fn fill(&self, subject: &str, count: u64) -> Vec<Event> {
        let mut events = Vec::new();
        for number in 1..=count {
            let candidate = candidate(subject, json!({ "number": number }));
            events.extend(self.db.add_new_events([candidate]).await.expect("append"));
        }
        events
    }
}

pub(crate) fn candidate(subject: &str, data: Value) -> EventCandidate {
    EventCandidate::builder().source(SOURCE).ty("book.borrowed").subject(subject).data(data).build()
}

pub(crate) fn candidate_of_type(subject: &str, ty: &str) -> EventCandidate {
    EventCandidate::builder()
        .source(SOURCE)
        .ty(ty)
        .subject(subject)
        .data(json!({ "userId": "user:456" }))
        .build()
}

pub(crate) fn candidate_with_id(subject: &str, id: &str, data: Value) -> EventCandidate {
    EventCandidate::builder()
        .id(id)
        .source(SOURCE)
        .ty("book.borrowed")
        .subject(subject)
        .data(data)
        .build()
}

/// A complete event.
pub(crate) fn event(subject: &str, id: &str, milliseconds: i64, data: Value) -> Event {
    Event::builder()
        .id(id)
        .source(SOURCE)
        .ty("book.borrowed")
        .subject(subject)
        .time(at(milliseconds))
        .data(data)
        .build()
}

pub(crate) fn at(milliseconds: i64) -> DateTime<Utc> {
    Utc.timestamp_millis_opt(milliseconds).single().expect("time")
}

pub(crate) fn revisions(events: &[Event]) -> Vec<u64> {
    events.iter().map(|event| event.revision.expect("revision")).collect()
}

pub(crate) fn with_revision(event: &Event, revision: u64) -> Event {
    let mut event = event.clone();
    event.revision = Some(revision);
    event
}

/// What another writer does at the worst of times: while a decision is made.
pub(crate) fn meanwhile<T>(work: impl Future<Output = T>) -> T {
    block_in_place(|| Handle::current().block_on(work))
}
