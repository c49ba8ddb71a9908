//! The spans that the store opens. This test has a process for itself: `tracing` remembers for all
//! threads whether a span is wanted, and other tests want none.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails by a panic")]

mod common;

use common::Lines;
use eventdb::{EmbeddedDynamoDb, EventCandidate, EventDb};
use serde_json::json;
use tracing::instrument::WithSubscriber;
use tracing_subscriber::fmt::format::FmtSpan;

#[tokio::test]
async fn spans_have_the_names_of_opentelemetry_and_no_event_data() {
    let dynamodb = EmbeddedDynamoDb::in_memory().await.unwrap();
    EventDb::create_table(&dynamodb.client(), "TestEvents").await.unwrap();
    let db = EventDb::new(dynamodb.client(), "TestEvents");
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_span_events(FmtSpan::CLOSE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let secret = "secret-of-the-reader";
    async {
        let candidate = EventCandidate::builder()
            .id(format!("command-{secret}"))
            .source("https://library.example.com")
            .ty("user.registered")
            .subject(format!("user:{secret}"))
            .data(json!({ "name": secret }))
            .build();
        let append = db.add_new_events([candidate.clone()]);
        append.await.unwrap();
        db.add_new_events([candidate]).await.unwrap();
        db.fetch_events_for_subject(format!("user:{secret}")).await.unwrap();
        EventDb::new(dynamodb.client(), "Nowhere").fetch_all_events().await.unwrap_err();
    }
    .with_subscriber(subscriber)
    .await;
    let text = lines.text();
    let ours: Vec<_> = text.lines().filter(|line| line.contains("eventdb")).collect();
    for part in [
        "db.system.name=\"aws.dynamodb\"",
        "db.operation.name=\"TransactWriteItems\"",
        "db.operation.name=\"Query\"",
        "db.collection.name=\"TestEvents\"",
        "aws.dynamodb.consumed_capacity=10",
        "otel.kind=\"client\"",
        "error.type=\"ResourceNotFoundException\"",
    ] {
        assert!(ours.iter().any(|line| line.contains(part)), "{part} is not in {ours:#?}");
    }
    assert!(ours.iter().all(|line| !line.contains(secret)), "{ours:#?}");
}
