//! Verifying that every stored event was published, adopting, and acknowledging.

use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use eventdb::{Damage, Event, Feed, FeedEntry, FeedError, Listing, TableLayout, Verification};
use futures_util::StreamExt;
use http_body_util::BodyExt;
use serde_json::json;

use crate::feed::{Listed, entries_of, with_feed};
use crate::support::{at, event, with_revision};

/// Long enough for what a test does between the looks, short where nothing happens.
pub(crate) const NOTHING_BETWEEN: Duration = Duration::from_millis(1);

impl Listed {
    pub(crate) async fn verify(&self) -> Verification {
        let verify = self.feed.verify(&self.store.db);
        verify.second_look_after(NOTHING_BETWEEN).await.expect("verified")
    }

    /// The feed as it would be if its table had been created two hours after the table of events.
    pub(crate) fn created_later(&self) -> Feed {
        let inner = aws_smithy_http_client::Builder::new().build_http();
        let http_client = http_client_fn(move |settings, components| {
            let connector = inner.http_connector(settings, components);
            SharedHttpConnector::new(TwoHoursLater(connector))
        });
        let config = self.store.client.config().to_builder().http_client(http_client);
        Feed::new(aws_sdk_dynamodb::Client::from_conf(config.build()), &self.table)
    }

    pub(crate) async fn import(&self, event: Event) -> Event {
        self.store.db.add_events([event]).await.expect("stored").remove(0)
    }
}

/// Changes the answers of `DescribeTable`.
#[derive(Debug)]
struct TwoHoursLater(SharedHttpConnector);

impl HttpConnector for TwoHoursLater {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let sent = self.0.call(request);
        HttpConnectorFuture::new(async move {
            let mut response = sent.await?;
            let failed = |error| ConnectorError::other(error, None);
            let body = response.take_body().collect().await.map_err(failed)?.to_bytes();
            let mut body = body.to_vec();
            if let Ok(mut json) = serde_json::from_slice::<serde_json::Value>(&body)
                && let Some(created) = json.pointer_mut("/Table/CreationDateTime")
            {
                *created = json!(created.as_f64().unwrap_or_default() + 7200.0);
                body = json.to_string().into_bytes();
                response.headers_mut().remove("x-amz-crc32");
                response.headers_mut().remove("content-length");
            }
            *response.body_mut() = SdkBody::from(body);
            Ok(response)
        })
    }
}

fn names(entries: &[FeedEntry]) -> Vec<(&str, Option<u64>)> {
    let mut names: Vec<_> =
        entries.iter().map(|entry| (entry.subject.as_str(), entry.revision)).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn exactly_the_events_that_the_feed_lacks_are_unpublished() {
    with_feed(|listed| async move {
        let mut published = Vec::new();
        let mut lost = Vec::new();
        for subject in ["book:1", "book:2", "Büch:ß"] {
            for (index, event) in listed.store.fill(subject, 5).await.into_iter().enumerate() {
                if index % 2 == 0 { published.push(event) } else { lost.push(event) }
            }
        }
        listed.list(entries_of(&published)).await;
        let found = listed.verify().await;
        assert_eq!(found.events, 15);
        assert_eq!(found.unpublished_events, 6);
        assert_eq!(names(&found.unpublished), names(&entries_of(&lost)));
        assert_eq!((found.unknown_events, found.invalid_rows, &*found.damaged), (0, 0, &[][..]));
        assert!(!found.is_clean());

        listed.list(entries_of(&lost)).await;
        let found = listed.verify().await;
        assert!(found.is_clean(), "{found}");
        assert_eq!(found.events, 15);
    })
    .await;
}

#[tokio::test]
async fn nothing_was_published_while_there_is_no_feed_yet() {
    with_feed(|listed| async move {
        assert!(listed.verify().await.is_clean());
        listed.store.fill("book:1", 2).await;
        assert_eq!(listed.verify().await.unpublished_events, 2);
    })
    .await;
}

#[tokio::test]
async fn another_event_with_the_same_revision_does_not_count() {
    with_feed(|listed| async move {
        let stored = listed.store.fill("book:1", 1).await;
        let mut other = stored.clone();
        "of-another-time".clone_into(&mut other[0].id);
        listed.list(entries_of(&other)).await;
        assert_eq!(listed.verify().await.unpublished, entries_of(&stored));
    })
    .await;
}

#[tokio::test]
async fn an_imported_event_with_an_old_time_is_missed_too() {
    with_feed(|listed| async move {
        let published = listed.store.fill("book:1", 2).await;
        listed.list(entries_of(&published)).await;
        let imported = listed.import(event("book:old", "imported", 1_000, json!({}))).await;
        assert_eq!(listed.verify().await.unpublished, entries_of(&[imported]));
    })
    .await;
}

#[tokio::test]
async fn events_from_before_the_feed_are_unknown_until_they_are_adopted() {
    with_feed(|listed| async move {
        let mut old = listed.store.fill("book:1", 3).await;
        old.extend(listed.store.fill("book:2", 600).await);
        let feed = listed.created_later();
        let db = &listed.store.db;
        let verify = || feed.verify(db).second_look_after(NOTHING_BETWEEN);

        let found = verify().await.expect("verified");
        assert_eq!((found.events, found.unknown_events), (603, 603));
        assert!(found.is_clean(), "{found}");

        let adoption = feed.adopt(db).await.expect("adopted");
        assert_eq!((adoption.events, adoption.adopted), (603, 603));
        let entries: Vec<FeedEntry> = feed
            .follow()
            .until_caught_up()
            .stream()
            .flat_map(|page| futures_util::stream::iter(page.expect("page").entries))
            .collect()
            .await;
        assert!(entries.iter().all(|entry| entry.listing == Listing::Adopted));
        for subject in ["book:1", "book:2"] {
            let listed = entries.iter().filter(|entry| entry.subject == subject);
            let revisions: Vec<_> = listed.filter_map(|entry| entry.revision).collect();
            assert!(revisions.iter().copied().eq(1..=u64::try_from(revisions.len()).unwrap_or(0)));
        }
        assert_eq!(entries.len(), 603);
        let found = verify().await.expect("verified");
        assert_eq!((found.unknown_events, found.unpublished_events), (0, 0));

        // Nothing is unknown any more, however old it is.
        let imported = listed.import(event("book:old", "imported", 1_000, json!({}))).await;
        let found = verify().await.expect("verified");
        assert_eq!(found.unpublished, entries_of(std::slice::from_ref(&imported)));
        assert_eq!(feed.adopt(db).await.expect("adopted").adopted, 0);
        feed.adopt_events(found.unpublished).await.expect("adopted");
        assert!(verify().await.expect("verified").is_clean());
    })
    .await;
}

#[tokio::test]
async fn what_was_published_since_there_is_a_feed_is_not_unknown() {
    with_feed(|listed| async move {
        let feed = listed.created_later();
        // Its header says that it was created in 1970.
        listed.list(entries_of(&listed.store.fill("book:1", 1).await)).await;
        let lost = listed.store.fill("book:2", 1).await;
        let found = feed.verify(&listed.store.db).second_look_after(NOTHING_BETWEEN).await;
        let found = found.expect("verified");
        assert_eq!(found.unpublished, entries_of(&lost));
        assert_eq!(found.unknown_events, 0);
    })
    .await;
}

#[tokio::test]
async fn segments_together_are_everything() {
    with_feed(|listed| async move {
        for subject in 0..30 {
            listed.store.fill(&format!("book:{subject}"), 3).await;
        }
        let mut unpublished = Vec::new();
        let mut events = 0;
        for index in 0..7 {
            let verify = listed.feed.verify(&listed.store.db).segment(index, 7);
            let found = verify.second_look_after(NOTHING_BETWEEN).await.expect("verified");
            events += found.events;
            assert_eq!(found.damaged, []);
            unpublished.extend(found.unpublished);
        }
        assert_eq!((events, names(&unpublished).len()), (90, 90));
        for (index, of) in [(0, 0), (7, 7), (0, 1_000_001)] {
            let refused = listed.feed.verify(&listed.store.db).segment(index, of).await;
            assert!(matches!(refused, Err(FeedError::UnknownSegment { .. })), "{index} of {of}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_next_segment_is_remembered_and_what_it_found() {
    with_feed(|listed| async move {
        listed.store.fill("book:1", 2).await;
        let before = chrono::Utc::now();
        let next = || {
            let verify = listed.feed.verify(&listed.store.db).next_segment();
            verify.second_look_after(NOTHING_BETWEEN).into_future()
        };
        let rounds = next().await.expect("verified").rounds.expect("rounds");
        assert_eq!(rounds.unpublished_events, 2);
        assert!(rounds.complete_since >= before - chrono::TimeDelta::seconds(1));
        listed.list(entries_of(&listed.store.subject("book:1").await)).await;
        let later = next().await.expect("verified").rounds.expect("rounds");
        assert_eq!(later.unpublished_events, 0);
        assert!(later.complete_since > rounds.complete_since);
        assert_eq!(listed.verify().await.rounds, None);
    })
    .await;
}

#[tokio::test]
async fn a_time_is_compared_by_the_index() {
    with_feed(|listed| async move {
        let now = chrono::Utc::now().timestamp_millis();
        let hours = |hours: i64| now - hours * 3_600_000;
        let mut events = Vec::new();
        for (id, time) in [("one", 50), ("two", 30), ("three", 10), ("four", 5)] {
            let subject = format!("book:{id}");
            events.push(listed.import(event(&subject, id, hours(time), json!({}))).await);
        }
        let verify = |since| {
            let verify = listed.feed.verify(&listed.store.db).since(at(hours(since)));
            verify.second_look_after(NOTHING_BETWEEN).into_future()
        };
        let found = verify(20).await.expect("verified");
        assert_eq!(found.events, 2);
        assert_eq!(names(&found.unpublished), names(&entries_of(&events[2..])));
        // One was listed when it happened, another one long before, by a clock that was wrong.
        listed.list_at(entries_of(&events[..2]), hours(29)).await;
        listed.list_at(entries_of(&events[3..]), hours(28)).await;
        listed.list_at(entries_of(&events[2..3]), hours(9)).await;
        let found = verify(20).await.expect("verified");
        assert!(found.is_clean(), "{found}");
        assert_eq!(verify(40).await.expect("verified").events, 3);
        assert_eq!(verify(-1).await.expect("verified").events, 0);
    })
    .await;
}

#[tokio::test]
async fn rows_that_are_not_events_are_found_and_can_be_acknowledged() {
    with_feed(|listed| async move {
        let published = listed.store.fill("book:1", 3).await;
        listed.list(entries_of(&published)).await;
        let store = &listed.store;
        let row = |subject: &str| {
            store.item(&with_revision(&event(subject, subject, 1_738_074_600_000, json!({})), 1))
        };
        let (mut without_partition, mut without_source) = (row("book:2"), row("book:3"));
        without_partition.remove("pk_all");
        without_source.remove("source");
        for row in [&without_partition, &without_source] {
            let put = store.client.put_item().table_name(&store.table);
            put.set_item(Some(row.clone())).send().await.expect("put");
        }
        let mut found = listed.verify().await;
        found.invalid.sort_by(|one, other| one.subject.cmp(&other.subject));
        let reasons: Vec<_> =
            found.invalid.iter().map(|row| (row.subject.as_str(), row.reason.as_str())).collect();
        assert_eq!(
            reasons,
            [
                ("book:2", "its `pk_all` isn't that of an event"),
                ("book:3", "`source` is missing; it must be text")
            ]
        );
        assert_eq!(found.events, 3);
        for row in &found.invalid {
            for _ in 0..2 {
                listed.feed.acknowledge_row(row, "written by hand").await.expect("acknowledged");
            }
        }
        let found = listed.verify().await;
        assert_eq!((found.invalid_rows, found.acknowledged), (0, 2));
        // By time, these subjects have no heads.
        let heads = if store.layout == TableLayout::ByTime { 2 } else { 0 };
        assert_eq!(found.damaged.len(), heads);
    })
    .await;
}

#[tokio::test]
async fn acknowledged_events_are_no_longer_unpublished() {
    with_feed(|listed| async move {
        let events = entries_of(&listed.store.fill("book:1", 3).await);
        let db = &listed.store.db;
        let (first, second) = (
            listed.feed.acknowledge(db, &events[0], "too large"),
            listed.feed.acknowledge(db, &events[1], "too large"),
        );
        let (first, second) = tokio::join!(first, second);
        first.expect("acknowledged");
        second.expect("acknowledged");
        let found = listed.verify().await;
        assert_eq!(found.acknowledged, 2);
        assert_eq!(found.unpublished, &events[2..]);
    })
    .await;
}

#[tokio::test]
async fn removed_events_are_found() {
    with_feed(|listed| async move {
        let store = &listed.store;
        for subject in ["book:begin", "book:middle", "book:end", "book:whole"] {
            let events = store.fill(subject, 6).await;
            listed.list(entries_of(&events)).await;
            match subject {
                "book:begin" => store.remove(&events[0]).await,
                "book:middle" => {
                    store.remove(&events[2]).await;
                    store.remove(&events[3]).await;
                }
                "book:end" => store.remove(&events[5]).await,
                _ => {}
            }
        }
        let mut found = listed.verify().await;
        found.damaged.sort_by(|one, other| one.subject.cmp(&other.subject));
        let damaged: Vec<_> =
            found.damaged.iter().map(|found| (found.subject.as_str(), found.damage)).collect();
        let mut expected = vec![("book:begin", Damage::Missing { revisions: 1, first: 1 })];
        // By revision, nothing says that there was a later one.
        if store.layout == TableLayout::ByTime {
            expected.push(("book:end", Damage::EndRemoved { head: 6, last: 5 }));
        }
        expected.push(("book:middle", Damage::Missing { revisions: 2, first: 3 }));
        assert_eq!(damaged, expected);
        assert_eq!(found.unpublished_events, 0);
    })
    .await;
}

#[tokio::test]
async fn without_the_feeds_table_there_is_nothing_to_compare_with() {
    with_feed(|listed| async move {
        let feed = Feed::new(listed.store.client.clone(), "there-is-no-such-table");
        let refused = feed.verify(&listed.store.db).await;
        assert!(matches!(refused, Err(FeedError::NoFeed { .. })));
        let refused = feed.adopt(&listed.store.db).await;
        assert!(matches!(refused, Err(FeedError::NoFeed { .. })));
        let refused = listed.feed.adopt(&listed.store.db).partitions_of_new_feed(0).await;
        assert!(matches!(refused, Err(FeedError::InvalidItem { .. })));
    })
    .await;
}
