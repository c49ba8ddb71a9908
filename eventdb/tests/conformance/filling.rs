//! Building a read model from the feed while writers go on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use eventdb::{
    DynamoDbReadModel, FillError, FillProgress, Lag, MissingReason, Projection, ReadModel,
    ReceivedMessage,
};
use futures_util::TryStreamExt;
use serde_json::json;
use tokio::task::JoinSet;

use crate::feed::{Listed, entries_of, with_feed};
use crate::read_models::parking::{fill_with_poison, repair};
use crate::read_models::{Memory, counted, counts, model, view_table};
use crate::support::candidate;

const SUBJECTS: u64 = 12;

/// Appends one event to one of the subjects, and lists it as the publisher does.
async fn append(listed: &Listed, number: u64) {
    let subject = format!("book:{}", number % SUBJECTS);
    let candidate = candidate(&subject, json!({ "number": number }));
    let events = listed.store.db.add_new_events([candidate]).await.unwrap();
    listed.list(entries_of(&events)).await;
}

/// Fills the read model until it has caught up or the process is killed. It keeps the cursor.
async fn fill(
    listed: Arc<Listed>,
    loans: DynamoDbReadModel,
    kept: Arc<Mutex<Option<String>>>,
    pages: Arc<Mutex<Vec<FillProgress>>>,
    most_pages: usize,
) {
    let mut follow = listed.feed.follow().page_size(7).until_caught_up();
    if let Some(cursor) = kept.lock().unwrap().as_deref() {
        follow = follow.after(cursor.parse().unwrap());
    }
    let projection = Projection::new(loans).reading(listed.store.db.clone());
    let mut progress = follow.events_of(&listed.store.db).apply_to(projection);
    while let Some(progress) = progress.try_next().await.unwrap() {
        *kept.lock().unwrap() = Some(progress.cursor.to_string());
        let count = {
            let mut pages = pages.lock().unwrap();
            pages.push(progress);
            pages.len()
        };
        if count >= most_pages {
            std::future::pending::<()>().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_read_model_is_built_while_writers_go_on_and_survives_a_kill() {
    with_feed(|listed| async move {
        let table = view_table(&listed.store.client).await;
        let loans = model(&listed.store, &table, counts(&table));
        for number in 0..150 {
            append(&listed, number).await;
        }
        let mut writers = JoinSet::new();
        for writer in 0..3 {
            let listed = Arc::clone(&listed);
            writers.spawn(async move {
                for number in 0..25 {
                    append(&listed, 150 + writer * 25 + number).await;
                }
            });
        }
        let kept = Arc::default();
        let pages: Arc<Mutex<Vec<FillProgress>>> = Arc::default();
        let run = |most_pages| {
            let (kept, pages) = (Arc::clone(&kept), Arc::clone(&pages));
            fill(Arc::clone(&listed), loans.clone(), kept, pages, most_pages)
        };
        // Killed somewhere in the first half, in the middle of whatever it does. If the machine is
        // so busy that the kill comes late, it waits for it.
        let killed = tokio::spawn(run(15));
        let pages_before = fastrand::usize(1..10);
        while pages.lock().unwrap().len() < pages_before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        killed.abort();
        assert!(killed.await.unwrap_err().is_cancelled(), "killed before the end");
        let last = pages.lock().unwrap().last().cloned().unwrap();
        assert!(!last.caught_up && last.remaining > 0, "{last}");
        assert!(last.handled > 0 && last.per_second > 0.0, "{last}");

        // The next one goes on while the writers do, and one more run takes the rest.
        run(usize::MAX).await;
        writers.join_all().await;
        run(usize::MAX).await;
        let last = pages.lock().unwrap().last().cloned().unwrap();
        assert!(last.caught_up && last.remaining == 0, "{last}");

        let mut expected = BTreeMap::<String, (u64, u64)>::new();
        for number in 0..225 {
            let (count, sum) = expected.entry(format!("book:{}", number % SUBJECTS)).or_default();
            *count += 1;
            *sum += number;
        }
        for (subject, (count, sum)) in expected {
            let counted = counted(&listed.store.client, &table, &subject).await;
            assert_eq!(counted, (count.to_string(), sum.to_string()), "{subject}");
            assert_eq!(loans.position(&subject).await.unwrap().revision, count, "{subject}");
        }
        // Once more from the beginning: everything is a repetition.
        let projection = Projection::new(loans.clone()).reading(listed.store.db.clone());
        let follow = listed.feed.follow().until_caught_up().events_of(&listed.store.db);
        let all: Vec<_> = follow.apply_to(projection).try_collect().await.unwrap();
        let last = all.last().unwrap();
        assert!((last.handled, last.applied) >= (225, 0) && last.applied == 0, "{last:?}");
    })
    .await;
}

#[tokio::test]
async fn an_event_that_cannot_be_applied_ends_the_fill_and_it_goes_on_from_the_cursor() {
    with_feed(|listed| async move {
        let store = &listed.store;
        let events = fill_with_poison(store, "book:1", 3).await;
        listed.list(entries_of(&events)).await;
        let memory = Memory::default();
        let run = |projection: Projection<Memory, _>| {
            let follow = listed.feed.follow().page_size(1).until_caught_up();
            let pages = follow.events_of(&store.db).apply_to(projection);
            pages.try_collect::<Vec<_>>()
        };
        let projection = Projection::new(memory.clone()).reading(store.db.clone());
        let error = run(projection.clone()).await.unwrap_err();
        assert!(matches!(error, FillError::Projection(_)), "{error}");
        assert_eq!(memory.revisions("book:1"), [1, 2]);
        repair(store, &events[2]).await;
        let pages = run(projection.clone()).await.unwrap();
        let last = pages.last().unwrap();
        assert_eq!((last.handled, last.applied), (5, 3));
        assert!(last.to_string().starts_with("5 events, "), "{last}");
        assert!(last.to_string().ends_with(" per second, 0 remaining"), "{last}");
        assert_eq!(memory.revisions("book:1"), [1, 2, 3, 4, 5]);

        // An event that is listed and isn't there.
        let more = store.fill("book:2", 3).await;
        listed.list(entries_of(&more)).await;
        store.remove(&more[1]).await;
        let FillError::Missing(missing) = run(projection.clone()).await.unwrap_err() else {
            panic!("another error")
        };
        assert_eq!((missing.entry.revision, &missing.reason), (Some(2), &MissingReason::NotFound));
        run(projection.passing_over("book:2", 2..=2)).await.unwrap();
        assert_eq!(memory.revisions("book:2"), [1, 3]);
    })
    .await;
}

#[tokio::test]
async fn the_lag_of_a_read_model_is_what_it_lacks() {
    with_feed(|listed| async move {
        let store = &listed.store;
        let memory = Memory::default();
        let lag = |read_model: Memory| {
            let follow = listed.feed.follow();
            async move { follow.lag_of(&read_model).await.unwrap() }
        };
        assert_eq!(lag(memory.clone()).await.to_string(), "0 events");
        let events = fill_with_poison(store, "book:1", 3).await;
        listed.list(entries_of(&events)).await;
        let others = store.fill("book:2", 2).await;
        listed.list(entries_of(&others)).await;
        // A second listing isn't a second event.
        listed.list(entries_of(&others)).await;

        let projection = Projection::new(memory.clone()).reading(store.db.clone());
        let id = store.db.store_id().await.unwrap();
        let message = |event| ReceivedMessage::of_store(event, id.clone());
        projection.handle(&message(events[1].clone())).await.unwrap();
        let behind = lag(memory.clone()).await;
        assert_eq!((behind.events, behind.subjects, behind.parked), (5, 2, 0));
        assert_eq!(behind.oldest, Some(events[2].time.min(others[0].time)));
        let age = behind.age(events[4].time.max(others[1].time)).unwrap();
        assert!(age < Duration::from_secs(60), "{age:?}");

        let poison = message(events[2].clone());
        let error = projection.handle(&poison).await.unwrap_err();
        projection.park(&poison, &error).await.unwrap();
        projection.handle(&message(others[1].clone())).await.unwrap();
        let parked = lag(memory.clone()).await;
        assert_eq!((parked.events, parked.subjects, parked.parked), (3, 1, 1));
        assert!(parked.to_string().ends_with("; 1 subject parked"), "{parked}");
        let other_type = listed.feed.follow().types(["book.lost"]).lag_of(&memory).await.unwrap();
        assert_eq!(other_type, Lag::default());
    })
    .await;
}
