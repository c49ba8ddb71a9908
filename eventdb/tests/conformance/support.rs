//! A table for each test, and short ways to fill it.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, TimeZone, Utc};
use eventdb::{EmbeddedDynamoDb, Event, EventCandidate, EventDb};
use serde_json::{Value, json};
use uuid::Uuid;

pub(crate) const SOURCE: &str = "https://library.example.com";

pub(crate) struct Store {
    pub(crate) db: EventDb,
    pub(crate) client: Client,
    pub(crate) table: String,
    /// Kept so that it lives as long as the test.
    _embedded: Option<EmbeddedDynamoDb>,
}

/// Runs a test on a new table; one outside this process is deleted afterwards, come what may.
pub(crate) async fn with_store<F, T>(test: F)
where
    F: FnOnce(Arc<Store>) -> T,
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
    EventDb::create_table(&client, &table).await.expect("table");
    let db = EventDb::new(client.clone(), &table);
    let store = Arc::new(Store { db, client: client.clone(), table, _embedded: embedded });
    let outcome = tokio::spawn(test(Arc::clone(&store))).await;
    if external {
        client.delete_table().table_name(&store.table).send().await.expect("deleted table");
    }
    if let Err(failure) = outcome {
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

    pub(crate) async fn subject(&self, subject: &str) -> Vec<Event> {
        let history = self.db.fetch_events_for_subject(subject).await.expect("history");
        assert_eq!(history.invalid, [], "{subject}");
        assert_eq!(history.missing, [], "{subject}");
        history.events
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

/// The promises that hold for every subject at any time: no gap, and times that increase.
pub(crate) fn assert_sound(events: &[Event]) {
    let expected: Vec<u64> = (1..).take(events.len()).collect();
    assert_eq!(revisions(events), expected);
    for pair in events.windows(2) {
        assert!(pair[0].time < pair[1].time, "{} then {}", pair[0].time, pair[1].time);
    }
}
