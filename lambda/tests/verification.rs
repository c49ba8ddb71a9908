//! The scheduled verification, on the embedded database.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a test fails by a panic"
)]

use std::time::Duration;

use chrono::{DateTime, Utc};
use eventdb::{EmbeddedDynamoDb, EventCandidate, EventDb, Feed, FeedEntry, Listing};
use eventdb_publisher::configuration::VerifierConfiguration;
use eventdb_publisher::verification::Verifier;
use serde_json::json;

async fn verifier() -> (EmbeddedDynamoDb, Verifier) {
    let dynamodb = EmbeddedDynamoDb::in_memory().await.expect("database");
    let client = dynamodb.client();
    EventDb::create_table(&client, "Events").await.expect("table");
    Feed::create_table(&client, "Feed").await.expect("feed");
    let verifier = Verifier {
        db: EventDb::new(client.clone(), "Events"),
        feed: Feed::new(client, "Feed"),
        window: Some(Duration::from_secs(3600)),
        second_look_after: Duration::from_millis(1),
    };
    (dynamodb, verifier)
}

fn now() -> DateTime<Utc> {
    std::time::SystemTime::now().into()
}

#[tokio::test]
async fn the_metrics_say_what_a_run_has_found() {
    let (_dynamodb, verifier) = verifier().await;
    let candidate = || {
        EventCandidate::builder()
            .source("https://library.example.com")
            .subject("book:1")
            .ty("book.borrowed")
            .data(json!({}))
            .build()
    };
    let stored = verifier.db.add_new_events([candidate(), candidate()]).await.expect("stored");
    let report = verifier.run(now()).await.expect("verified");
    assert_eq!(report.unpublished_events(), 2);
    let line = report.embedded("verifier", now());
    assert_eq!(line["UnpublishedEvents"], 2);
    assert_eq!(line["FunctionName"], "verifier");
    // The window and the one segment that there is.
    assert_eq!(line["VerifiedEvents"], 4);
    assert!(line["OldestVerification"].as_i64().is_some_and(|age| (0..60).contains(&age)));
    let declared = line["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().expect("metrics");
    for metric in declared {
        let name = metric["Name"].as_str().expect("name");
        assert!(line[name].is_number(), "{name} has no value");
    }

    let entries = stored.iter().map(|event| FeedEntry::new(event, None, Listing::Published));
    verifier.feed.adopt_events(entries).await.expect("listed");
    let report = verifier.run(now()).await.expect("verified");
    assert_eq!(report.embedded("verifier", now())["UnpublishedEvents"], 0);
}

#[tokio::test]
async fn without_the_index_only_segments_are_compared() {
    let (_dynamodb, mut verifier) = verifier().await;
    verifier.window = None;
    let report = verifier.run(now()).await.expect("verified");
    assert!(report.window.is_none());
    assert_eq!(report.segment.events, 0);
}

#[tokio::test]
async fn a_missing_table_is_an_error_that_says_which() {
    let (dynamodb, mut verifier) = verifier().await;
    verifier.feed = Feed::new(dynamodb.client(), "NoFeed");
    let error = verifier.run(now()).await.expect_err("no feed");
    assert!(error.message().contains("`NoFeed`"), "{}", error.message());
}

#[test]
fn wrong_settings_are_refused_with_what_they_must_be() {
    let valid = |name: &str| match name {
        "EVENT_TABLE" | "FEED_TABLE" => Some("Table".to_owned()),
        "AWS_REGION" => Some("eu-west-1".to_owned()),
        "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => Some("test".to_owned()),
        _ => None,
    };
    assert!(VerifierConfiguration::read(valid).is_ok());
    for (wrong, value, expected) in [
        ("FEED_TABLE", "", "FEED_TABLE is missing"),
        ("TABLE_LAYOUT", "byDay", "byTime or byRevision"),
        ("VERIFICATION_WINDOW", "1h", "a whole number"),
        ("SECOND_LOOK_AFTER", "-1", "a whole number"),
        ("LOG_LEVEL", "loud", "DEBUG"),
    ] {
        let read = VerifierConfiguration::read(|name| {
            if name == wrong { Some(value.to_owned()) } else { valid(name) }
        });
        let error = read.expect_err(wrong).to_string();
        assert!(error.contains(expected), "{wrong}: {error}");
    }
}
