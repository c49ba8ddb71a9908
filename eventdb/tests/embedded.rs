//! What only the embedded database can show: exact capacity units, and a database in a file.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    reason = "a test fails by a panic"
)]

use eventdb::{
    CapacityMeter, EmbeddedDynamoDb, EmbeddedError, EventCandidate, EventDb, Precondition,
    TableLayout,
};
use serde_json::json;

async fn store() -> (EmbeddedDynamoDb, EventDb) {
    let dynamodb = EmbeddedDynamoDb::in_memory().await.unwrap();
    EventDb::create_table(&dynamodb.client(), "TestEvents").await.unwrap();
    let db = EventDb::new(dynamodb.client(), "TestEvents");
    (dynamodb, db)
}

fn candidate(subject: &str, filling: usize) -> EventCandidate {
    EventCandidate::builder()
        .source("https://library.example.com")
        .ty("book.borrowed")
        .subject(subject)
        .data(json!({ "filling": "x".repeat(filling) }))
        .build()
}

#[tokio::test]
async fn a_meter_adds_up_what_the_database_reports() {
    let (_dynamodb, db) = store().await;
    let meter = CapacityMeter::new();
    let metered = db.metered_by(&meter);

    metered.add_new_events([candidate("book:1", 0)]).await.unwrap();
    let first = meter.take();
    // 2 for the head, 2 for the item, 1 for each of its three entries in indexes, and 1 for the
    // subject's.
    assert_eq!(first.write_units, 8.0);
    assert_eq!(first.table_units - first.read_units, 4.0);
    let indexes = ["AllEventsById", "AllEventsByTime", "AllSubjects", "SubjectEventsByType"];
    assert!(
        first
            .index_units
            .iter()
            .map(|(index, units)| (index.as_str(), *units))
            .eq(indexes.map(|index| (index, 1.0)))
    );
    assert_eq!(first.requests, 3, "the head, legacy events, the transaction");

    let at_revision = Precondition::subject_is_at_revision("book:1", 1);
    metered.add_new_events([candidate("book:1", 0)]).only_if(at_revision).await.unwrap();
    let stated = meter.take();
    // The subject's entry stays as it is.
    assert_eq!((stated.write_units, stated.read_units, stated.requests), (7.0, 0.0, 1));

    // The next KB costs 2 for the item and 1 for its copy in the index of all events: the entries
    // of the other two hold keys only.
    metered.add_new_events([candidate("book:1", 1024)]).await.unwrap();
    assert_eq!(meter.take().write_units, 10.0);

    db.fetch_events_for_subject("book:1").await.unwrap();
    assert_eq!(meter.total().requests, 0, "only the metered store counts");
    metered.clone().fetch_events_for_subject("book:1").await.unwrap();
    let read = meter.total();
    assert_eq!((read.read_units, read.write_units, read.requests), (1.0, 0.0, 1));

    let conflict = Precondition::subject_is_pristine("book:1");
    metered.add_new_events([candidate("book:1", 0)]).only_if(conflict).await.unwrap_err();
    assert!(meter.total().requests > read.requests, "failed requests count as requests");
}

#[tokio::test]
async fn the_cost_of_an_append_does_not_grow_with_its_subject() {
    let (_dynamodb, db) = store().await;
    let meter = CapacityMeter::new();
    let metered = db.metered_by(&meter);
    let mut costs = Vec::new();
    for _ in 0..4 {
        db.add_new_events((0..60).map(|_| candidate("book:1", 0))).await.unwrap();
        metered.add_new_events([candidate("book:1", 0)]).await.unwrap();
        costs.push(meter.take());
    }
    assert!(costs.windows(2).all(|pair| pair[0] == pair[1]), "{costs:?}");
}

#[tokio::test]
async fn a_database_in_a_file_keeps_its_events() {
    let path = std::env::temp_dir().join(format!("eventdb-{}.sqlite", uuid::Uuid::now_v7()));
    let stored = {
        let dynamodb = EmbeddedDynamoDb::file(&path).await.unwrap();
        let client = dynamodb.client();
        EventDb::create_table(&client, "TestEvents").await.unwrap();
        let db = EventDb::new(client, "TestEvents");
        let stored = db.add_new_events([candidate("book:1", 0)]).await.unwrap();
        drop(db);
        dynamodb.stop().await;
        stored
    };
    let dynamodb = EmbeddedDynamoDb::file(&path).await.unwrap();
    // It is there already, and sound.
    EventDb::create_table(&dynamodb.client(), "TestEvents").await.unwrap();
    let db = EventDb::new(dynamodb.client(), "TestEvents");
    assert_eq!(db.fetch_events_for_subject("book:1").await.unwrap().events, stored);
    drop(db);
    dynamodb.stop().await;
    std::fs::remove_file(&path).unwrap();
}

#[tokio::test]
async fn a_table_of_another_shape_is_refused() {
    use aws_sdk_dynamodb::types::{
        AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
    };
    let dynamodb = EmbeddedDynamoDb::in_memory().await.unwrap();
    let client = dynamodb.client();
    let key = KeySchemaElement::builder().attribute_name("pk").key_type(KeyType::Hash);
    let attribute =
        AttributeDefinition::builder().attribute_name("pk").attribute_type(ScalarAttributeType::S);
    client
        .create_table()
        .table_name("TestEvents")
        .billing_mode(BillingMode::PayPerRequest)
        .key_schema(key.build().unwrap())
        .attribute_definitions(attribute.build().unwrap())
        .send()
        .await
        .unwrap();
    let error = EventDb::create_table(&client, "TestEvents").await.unwrap_err();
    let reason = std::error::Error::source(&error).unwrap().to_string();
    assert!(reason.contains("[\"pk\"]") && reason.contains("time_type"), "{reason}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_named() {
    let path = std::env::temp_dir().join(format!("eventdb-{}.txt", uuid::Uuid::now_v7()));
    std::fs::write(&path, "no database at all, but long enough to look like something").unwrap();
    let error = EmbeddedDynamoDb::file(&path).await.unwrap_err();
    assert!(matches!(&error, EmbeddedError::Open { .. }), "{error:?}");
    assert!(error.to_string().contains(path.to_str().unwrap()));
    std::fs::remove_file(&path).unwrap();
}

#[tokio::test]
async fn an_index_that_is_left_out_takes_no_units() {
    let dynamodb = EmbeddedDynamoDb::in_memory().await.unwrap();
    let client = dynamodb.client();
    let with_indexes = || EventDb::create_table(&client, "All").layout(TableLayout::ByRevision);
    with_indexes().await.unwrap();
    EventDb::create_table(&client, "Few")
        .layout(TableLayout::ByRevision)
        .without_all_events_by_time()
        .without_all_events_by_id()
        .await
        .unwrap();
    for (table, expected) in [("All", [3.0, 3.0, 12.0]), ("Few", [1.0, 1.0, 10.0])] {
        let meter = CapacityMeter::new();
        let db = EventDb::new(client.clone(), table).with_layout(TableLayout::ByRevision);
        let db = db.metered_by(&meter);
        let event = |bytes: usize| {
            EventCandidate::builder()
                .source("https://library.example.com")
                .ty("book.borrowed")
                .subject("book:1")
                .data(json!({ "filling": "x".repeat(bytes - 230) }))
                .build()
        };
        // A subject's first event is in one more index.
        db.add_new_events([event(512)]).await.unwrap();
        meter.take();
        for (bytes, units) in [512, 1_024, 10_240].into_iter().zip(expected) {
            db.add_new_events([event(bytes)]).await.unwrap();
            assert!((meter.take().write_units - units).abs() < 0.01, "{table}, {bytes} bytes");
        }
    }
}

#[tokio::test]
async fn the_database_runs_as_long_as_one_of_its_clients() {
    let db = {
        let dynamodb = EmbeddedDynamoDb::in_memory().await.unwrap();
        let (client, other) = (dynamodb.client(), dynamodb.client());
        drop(dynamodb);
        EventDb::create_table(&client, "TestEvents").await.unwrap();
        drop(other);
        EventDb::new(client, "TestEvents")
    };
    db.add_new_events([candidate("book:1", 0)]).await.unwrap();

    // Without clients, it stops.
    let dynamodb = EmbeddedDynamoDb::in_memory().await.unwrap();
    let address = dynamodb.endpoint().strip_prefix("http://").unwrap().to_owned();
    let client = dynamodb.client();
    drop(dynamodb);
    tokio::net::TcpStream::connect(&address).await.unwrap();
    drop(client);
    while tokio::net::TcpStream::connect(&address).await.is_ok() {
        tokio::task::yield_now().await;
    }
}
