//! Subjects of several pages, read as a whole and page by page.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use aws_sdk_dynamodb::types::AttributeValue;
use eventdb::{Event, History};
use futures_util::TryStreamExt;
use serde_json::json;

use crate::reading::pages;
use crate::support::{Store, candidate, revisions, with_store, with_store_by_revision};

const SUBJECT: &str = "book:1";

async fn append(store: &Store, kilobytes: usize) -> Vec<Event> {
    let candidate = candidate(SUBJECT, json!({ "filling": "x".repeat(kilobytes * 1_000) }));
    store.db.add_new_events([candidate]).await.unwrap()
}

/// What a read of all pages returns, which is what the pages have together.
async fn read(store: &Store) -> History {
    let request = || store.db.fetch_events_for_subject(SUBJECT);
    let whole = request().await.unwrap();
    let mut joined = History::default();
    for page in pages(request()).await {
        joined.events.extend(page.events);
        joined.invalid.extend(page.invalid);
        joined.missing.extend(page.missing);
        joined.cursor = page.cursor;
    }
    assert_eq!(whole.events, joined.events);
    assert_eq!(whole.invalid, joined.invalid);
    assert_eq!(whole.missing, joined.missing);
    assert_eq!(whole.cursor, joined.cursor);
    whole
}

async fn length_of_first_page(store: &Store) -> u64 {
    let mut pages = store.db.fetch_events_for_subject(SUBJECT).stream();
    u64::try_from(pages.try_next().await.unwrap().unwrap().events.len()).unwrap()
}

#[tokio::test]
async fn events_of_any_size_come_once_and_in_order() {
    with_store(|store| async move {
        let mut stored = Vec::new();
        // Many events to a page, then few, and again.
        for (kilobytes, count) in [(20, 60), (150, 12), (5, 30), (90, 15), (1, 20)] {
            for _ in 0..count {
                stored.extend(append(&store, kilobytes).await);
            }
            assert_eq!(read(&store).await.events, stored);
        }
        let later = store.db.fetch_events_for_subject(SUBJECT).from_revision(7);
        assert_eq!(later.await.unwrap().events, stored[6..]);
    })
    .await;
}

#[tokio::test]
async fn what_is_missing_or_invalid_is_told_wherever_a_page_begins() {
    with_store_by_revision(|store| async move {
        let mut stored = Vec::new();
        for _ in 0..60 {
            stored.extend(append(&store, 80).await);
        }
        let page = length_of_first_page(&store).await;
        // From the end of the first page into the third one.
        let touched = page + 1..=2 * page + 2;
        for number in touched.clone() {
            let row = [
                ("subject", AttributeValue::S(SUBJECT.to_owned())),
                ("revision", AttributeValue::N(format!("{number}.5"))),
            ];
            store.put_row(row).await;
        }
        let history = read(&store).await;
        assert_eq!(history.events, stored);
        assert_eq!(history.invalid.len() as u64, page + 2);

        let is_removed = |event: &&Event| touched.contains(&event.revision.unwrap());
        for event in stored.iter().filter(is_removed) {
            store.remove(event).await;
        }
        let history = read(&store).await;
        let missing: Vec<_> = history.missing.iter().map(|gap| gap.revisions.clone()).collect();
        assert_eq!(missing, std::slice::from_ref(&touched));
        assert_eq!(history.events.len() as u64, 60 - (page + 2));
    })
    .await;
}

#[tokio::test]
async fn beside_a_writer_each_read_is_a_beginning_of_the_history() {
    with_store(|store| async move {
        let (stored, is_done) = (AtomicU64::new(0), AtomicBool::new(false));
        let write = async {
            for _ in 0..30 {
                append(&store, 80).await;
                stored.fetch_add(1, Ordering::SeqCst);
            }
            is_done.store(true, Ordering::SeqCst);
        };
        let read = async {
            while !is_done.load(Ordering::SeqCst) {
                let least = stored.load(Ordering::SeqCst);
                let history = store.db.fetch_events_for_subject(SUBJECT).await.unwrap();
                let length = history.events.len() as u64;
                assert!(least <= length, "{least} were stored before, {length} were read");
                assert_eq!(revisions(&history.events), (1..=length).collect::<Vec<_>>());
                assert_eq!(history.missing, []);
            }
        };
        tokio::join!(write, read);
    })
    .await;
}
