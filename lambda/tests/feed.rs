//! The feed's table through the AWS client, on the embedded database.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a test fails by a panic"
)]

mod common;

use std::time::Duration;

use common::{ScriptedTopic, event_record, payload};
use eventdb::EmbeddedDynamoDb;
use eventdb::internals::feed::chunk::{Chunk, decode_header};
use eventdb_publisher::configuration::Configuration;
use eventdb_publisher::feed::DynamoDbFeedTable;
use eventdb_publisher::handler::handle_with_feed;
use eventdb_publisher::listing::{Feed, FeedTable, Put};
use eventdb_publisher::sns::https_client;
use futures_util::TryStreamExt;
use tokio::time::Instant;

fn table(endpoint: &str, name: &str) -> DynamoDbFeedTable {
    let configuration = Configuration::read(|variable| match variable {
        "EVENT_TOPIC_ARN" => Some("arn:aws:sns:eu-west-1:123456789012:Events".to_owned()),
        "FEED_TABLE" => Some(name.to_owned()),
        "AWS_ENDPOINT_URL_DYNAMODB" => Some(endpoint.to_owned()),
        "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => Some("test".to_owned()),
        _ => None,
    })
    .unwrap();
    DynamoDbFeedTable::new(&configuration, https_client(configuration.trust)).unwrap()
}

#[tokio::test]
async fn published_events_are_listed_by_partition() {
    let dynamodb = EmbeddedDynamoDb::in_memory().await.unwrap();
    eventdb::Feed::create_table(&dynamodb.client(), "Feed").await.unwrap();
    let table = table(dynamodb.endpoint(), "Feed");
    let topic = ScriptedTopic::default();
    // "book:1", "book:2" and "book:3" are in the partitions 1, 3 and 1 of four.
    for records in [
        [event_record(0, "book:1", 1), event_record(1, "book:2", 1)],
        [event_record(0, "book:3", 1), event_record(1, "book:1", 2)],
    ] {
        let feed = Feed::new(table.clone(), 4);
        let deadline = Instant::now() + Duration::from_secs(30);
        let (answer, metrics) =
            handle_with_feed(&topic, Some(&feed), payload(&records), deadline).await;
        assert_eq!(answer.unwrap().sequence_number(), None);
        assert_eq!((metrics.published, metrics.unlisted), (2, Some(0)));
    }
    let header = table.last("$feed", 1, true).await.unwrap();
    assert_eq!(decode_header(&header[0]).unwrap().partitions, 4);
    let chunks = table.last("1", 5, true).await.unwrap();
    let chunks: Vec<_> = chunks.iter().rev().map(|item| Chunk::decode(item).unwrap()).collect();
    let ids: Vec<Vec<_>> = chunks
        .iter()
        .map(|chunk| chunk.entries.iter().map(|entry| entry.id.as_str()).collect())
        .collect();
    assert_eq!(ids, [vec!["book:1#1"], vec!["book:3#1", "book:1#2"]]);
    assert_eq!(chunks[1].previous_tag.as_ref(), Some(&chunks[0].tag));
    assert_eq!(chunks[1].entries[1].sort_key_by_time(), "1738074600002_book.borrowed");
    // The crate reads what the publisher has written.
    let feed = eventdb::Feed::new(dynamodb.client(), "Feed");
    let pages = feed.follow().until_caught_up().stream().try_collect::<Vec<_>>().await.unwrap();
    let read: Vec<_> = pages.iter().flat_map(|page| &page.entries).map(|entry| &entry.id).collect();
    assert_eq!(read, ["book:1#1", "book:3#1", "book:1#2", "book:2#1"]);
    assert_eq!(pages.last().unwrap().cursor, feed.end().await.unwrap());
    // The end of a partition is read without the entries.
    let end = table.last("1", 1, false).await.unwrap();
    assert_eq!(end.len(), 1);
    assert!(!end[0].contains_key("entries"));
    // A refusal returns what is there.
    let second = table.last("1", 1, true).await.unwrap().remove(0);
    assert_eq!(table.put(&second).await.unwrap(), Put::Refused(second));
}

#[tokio::test]
async fn a_failure_says_whether_it_is_permanent() {
    let dynamodb = EmbeddedDynamoDb::in_memory().await.unwrap();
    let failure = table(dynamodb.endpoint(), "Missing").last("0", 1, true).await.unwrap_err();
    assert_eq!((failure.is_permanent, failure.code.as_str()), (true, "ResourceNotFoundException"));
    let failure = table("http://127.0.0.1:9", "Feed").last("0", 1, true).await.unwrap_err();
    assert_eq!((failure.is_permanent, failure.code.as_str()), (false, "DispatchFailure"));
}
