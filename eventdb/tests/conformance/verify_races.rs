//! Verifying and adopting while events are under way.

use std::future::IntoFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use eventdb::{CapacityMeter, EventDb, Feed, TableLayout};
use futures_util::TryStreamExt;
use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::time::timeout;

use crate::feed::{Listed, entries_of, with_feed};
use crate::support::{candidate, event};

type Action = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// Does something before each request of these operations.
struct Before {
    operations: &'static [&'static str],
    action: Action,
    inner: SharedHttpConnector,
}

impl std::fmt::Debug for Before {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Before").field(&self.operations).finish()
    }
}

impl HttpConnector for Before {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default();
        if !self.operations.contains(&operation) {
            return self.inner.call(request);
        }
        let (action, inner) = (Arc::clone(&self.action), self.inner.clone());
        HttpConnectorFuture::new(async move {
            action().await;
            inner.call(request).await
        })
    }
}

impl Listed {
    /// The same store, and something happens before each of its requests of these operations.
    fn store_after<T>(
        &self,
        operations: &'static [&'static str],
        action: impl Fn() -> T + Send + Sync + 'static,
    ) -> EventDb
    where
        T: Future<Output = ()> + Send + 'static,
    {
        let client = self.client_after(operations, action);
        EventDb::new(client, &self.store.table).with_layout(self.store.layout)
    }

    fn client_after<T>(
        &self,
        operations: &'static [&'static str],
        action: impl Fn() -> T + Send + Sync + 'static,
    ) -> Client
    where
        T: Future<Output = ()> + Send + 'static,
    {
        let inner = aws_smithy_http_client::Builder::new().build_http();
        let action: Action = Arc::new(move || Box::pin(action()));
        let http_client = http_client_fn(move |settings, components| {
            let inner = inner.http_connector(settings, components);
            let action = Arc::clone(&action);
            SharedHttpConnector::new(Before { operations, action, inner })
        });
        let config = self.store.client.config().to_builder().http_client(http_client);
        Client::from_conf(config.build())
    }
}

#[tokio::test]
async fn an_event_that_was_under_way_at_the_first_look_is_not_unpublished() {
    with_feed(|listed| async move {
        let published = listed.store.fill("book:1", 3).await;
        listed.list(entries_of(&published)).await;
        let meter = CapacityMeter::new();
        let feed = listed.feed.metered_by(&meter);
        assert!(feed.verify(&listed.store.db).await.expect("verified").is_clean());
        let of_one_look = meter.take().requests;

        let mut under_way = listed.store.fill("book:1", 1).await;
        // The times of writers say nothing about when an event was stored.
        under_way.push(listed.import(event("book:old", "imported", 1_000, json!({}))).await);
        let verify = feed.verify(&listed.store.db).second_look_after(Duration::from_secs(5));
        let verifying = tokio::spawn(verify.into_future());
        while meter.total().requests < of_one_look {
            tokio::task::yield_now().await;
        }
        listed.list(entries_of(&under_way)).await;
        let found = verifying.await.expect("ran").expect("verified");
        assert!(found.is_clean(), "{found}");
        assert_eq!(found.events, 5);
    })
    .await;
}

/// The table is read first. If the feed were, everything that is published meanwhile would be missed in
/// it, and each verification would wait for a second look.
#[tokio::test]
async fn an_event_that_is_published_before_the_table_is_read_needs_no_second_look() {
    with_feed(|listed| async move {
        let published = listed.store.fill("book:1", 3).await;
        listed.list(entries_of(&published)).await;
        let publisher = Arc::clone(&listed);
        let db = listed.store_after(&["Scan"], move || {
            let publisher = Arc::clone(&publisher);
            async move {
                let event = publisher.store.fill("book:2", 1).await;
                publisher.list(entries_of(&event)).await;
            }
        });
        let verify = listed.feed.verify(&db).second_look_after(Duration::from_secs(3600));
        let found = timeout(Duration::from_secs(60), verify.into_future()).await;
        let found = found.expect("no second look").expect("verified");
        assert!(found.is_clean(), "{found}");
        assert_eq!(found.events, 4);
    })
    .await;
}

#[tokio::test]
async fn nothing_is_damaged_while_services_write() {
    with_feed(|listed| async move {
        let store = Arc::clone(&listed.store);
        let writer = tokio::spawn(async move {
            for round in 0..150 {
                let subject = format!("book:{}", round % 3);
                store.db.add_new_events([candidate(&subject, json!({}))]).await.expect("stored");
            }
        });
        while !writer.is_finished() {
            let found = listed.verify().await;
            assert_eq!(found.damaged, []);
        }
        writer.await.expect("written");
    })
    .await;
}

/// The head is read before the events and after them, so that neither can be ahead without a reason.
#[tokio::test]
async fn a_subject_that_grows_between_any_two_requests_is_not_damaged() {
    with_feed(|listed| async move {
        let published = listed.store.fill("book:1", 3).await;
        listed.list(entries_of(&published)).await;
        let writer = Arc::clone(&listed.store);
        let operations = &["BatchGetItem", "GetItem", "Query"];
        let db = listed.store_after(operations, move || {
            let writer = Arc::clone(&writer);
            async move {
                writer.fill("book:1", 1).await;
            }
        });
        let found = listed.feed.verify(&db).await.expect("verified");
        assert!(found.is_clean(), "{found}");
        // By time, the heads are compared, then the subject is read with its head before and after. By
        // revision, nothing suspicious is found.
        let appended = if listed.store.layout == TableLayout::ByTime { 4 } else { 0 };
        assert_eq!(listed.store.subject("book:1").await.len(), 3 + appended);
    })
    .await;
}

#[tokio::test]
async fn a_feed_is_adopted_while_others_write_to_it() {
    with_feed(|listed| async move {
        for subject in 0..40 {
            listed.store.fill(&format!("book:{subject}"), 5).await;
        }
        let feed = listed.created_later();
        let writing = Arc::clone(&listed);
        let publisher = tokio::spawn(async move {
            for round in 0..30 {
                let events = writing.store.fill(&format!("new:{round}"), 2).await;
                writing.list(entries_of(&events)).await;
            }
        });
        // Two of them at the same time, by mistake.
        let (one, other) = tokio::join!(
            feed.adopt(&listed.store.db).into_future(),
            feed.adopt(&listed.store.db).into_future()
        );
        one.expect("adopted");
        other.expect("adopted");
        publisher.await.expect("published");
        // Following it fails if its offsets have a gap.
        let pages: Vec<_> =
            feed.follow().until_caught_up().stream().try_collect().await.expect("no gap");
        let mut names: Vec<_> = pages
            .iter()
            .flat_map(|page| &page.entries)
            .map(|entry| (entry.subject.clone(), entry.revision))
            .collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 40 * 5 + 30 * 2);
        assert!(listed.verify().await.is_clean());
    })
    .await;
}

#[tokio::test]
async fn what_is_adopted_goes_behind_what_was_listed_meanwhile() {
    with_feed(|listed| async move {
        let events = entries_of(&listed.store.fill("book:1", 3).await);
        listed.list(events[..1].to_vec()).await;
        // The publisher lists an event after the end was read, and before the chunk is put.
        let (publisher, second) = (Arc::clone(&listed), events[1].clone());
        let is_first = Arc::new(AtomicBool::new(true));
        let client = listed.client_after(&["PutItem"], move || {
            let (publisher, second) = (Arc::clone(&publisher), second.clone());
            let is_first = Arc::clone(&is_first);
            async move {
                if is_first.swap(false, Ordering::Relaxed) {
                    publisher.list([second]).await;
                }
            }
        });
        Feed::new(client, &listed.table).adopt_events([events[2].clone()]).await.expect("adopted");
        let follow = listed.feed.follow().until_caught_up();
        let pages: Vec<_> = follow.stream().try_collect().await.expect("no gap");
        let ids: Vec<_> = pages.iter().flat_map(|page| &page.entries).map(|of| &of.id).collect();
        assert_eq!(ids, [&events[0].id, &events[1].id, &events[2].id]);
    })
    .await;
}
