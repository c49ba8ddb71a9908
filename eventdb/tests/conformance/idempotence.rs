//! Repeating an append is harmless.

use eventdb::{Error, EventDb, IdReuse, Precondition, TableLayout};
use serde_json::json;

use crate::support::{candidate, candidate_with_id, event, with_store};

fn reason(error: Error) -> (usize, IdReuse) {
    match error {
        Error::IdReused { index, reason, .. } => (index, reason),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn complete_events_sent_again_are_found_whatever_came_after_them() {
    with_store(|store| async move {
        let events = [
            event("book:1", "evt-1", 1000, json!({ "n": 1.0 })),
            event("book:2", "evt-2", 1000, json!({ "n": 2 })),
            event("book:1", "evt-3", 1001, json!({ "n": 3 })),
        ];
        let first = store.db.add_events(events.clone()).await.unwrap();
        assert_eq!(store.db.add_events(events.clone()).await.unwrap(), first);
        store.fill("book:1", 2).await;
        assert_eq!(store.db.add_events(events.clone()).await.unwrap(), first);
        assert_eq!(store.subject("book:1").await.len(), 4);
        // As they were read, with their revisions.
        assert_eq!(store.db.add_events(first.clone()).await.unwrap(), first);
    })
    .await;
}

#[tokio::test]
async fn a_conditional_append_of_complete_events_sent_again_is_found() {
    with_store(|store| async move {
        let events =
            [event("book:1", "evt-1", 1000, json!({})), event("book:1", "evt-2", 1001, json!({}))];
        let append = || {
            let append = store.db.add_events(events.clone());
            append.only_if(Precondition::subject_is_pristine("book:1"))
        };
        let first = append().await.unwrap();
        store.fill("book:1", 1).await;
        assert_eq!(append().await.unwrap(), first);
        assert_eq!(store.subject("book:1").await.len(), 3);
    })
    .await;
}

#[tokio::test]
async fn complete_events_that_are_stored_otherwise_or_in_part_are_refused() {
    with_store(|store| async move {
        let first = event("book:1", "evt-1", 1000, json!({ "n": 1 }));
        let second = event("book:1", "evt-2", 2000, json!({ "n": 2 }));
        store.db.add_events([first.clone()]).await.unwrap();

        let mut other = first.clone();
        other.data = json!({ "n": 7 }).into();
        let error = store.db.add_events([other]).await.unwrap_err();
        assert_eq!(reason(error), (0, IdReuse::OtherContent { attribute: "data" }));

        let error = store.db.add_events([first.clone(), second.clone()]).await.unwrap_err();
        assert_eq!(reason(error), (0, IdReuse::PartOfAppend));

        // Where times order nothing, another event of the same time is simply the next one.
        if store.layout == TableLayout::ByTime {
            let mut taken = first.clone();
            taken.id = "evt-9".to_owned();
            let error = store.db.add_events([taken]).await.unwrap_err();
            assert!(matches!(error, Error::NotNewer { index: 0, .. }), "{error:?}");
        }

        assert_eq!(store.subject("book:1").await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn an_id_of_the_callers_own_is_recognised_for_ever() {
    with_store(|store| async move {
        let command = || {
            [
                candidate_with_id("book:1", "command-7/0", json!({ "n": 1 })),
                candidate_with_id("user:456", "command-7/1", json!({ "n": 2.0 })),
            ]
        };
        let first = store.db.add_new_events(command()).await.unwrap();
        assert_eq!(first[0].id, "command-7/0");
        store.fill("book:1", 3).await;
        assert_eq!(store.db.add_new_events(command()).await.unwrap(), first);
        // A condition that held then needn't hold now.
        let again = store
            .db
            .add_new_events(command())
            .only_if(Precondition::subject_is_pristine("book:1"))
            .await
            .unwrap();
        assert_eq!(again, first);
        assert_eq!(store.subject("user:456").await.len(), 1);
        store.assert_sound(&store.subject("book:1").await);
    })
    .await;
}

#[tokio::test]
async fn an_id_of_the_callers_own_is_refused_for_anything_else() {
    with_store(|store| async move {
        let of = |id: &str, n: u32| candidate_with_id("book:1", id, json!({ "n": n }));
        store.db.add_new_events([of("one", 1), of("two", 2)]).await.unwrap();

        let error = store.db.add_new_events([of("one", 1), of("two", 7)]).await.unwrap_err();
        assert_eq!(reason(error), (1, IdReuse::OtherContent { attribute: "data" }));
        let error = store.db.add_new_events([of("new", 3), of("two", 2)]).await.unwrap_err();
        assert_eq!(reason(error), (1, IdReuse::PartOfAppend));
        let other = candidate_with_id("book:2", "one", json!({ "n": 1 }));
        let error = store.db.add_new_events([other]).await.unwrap_err();
        assert_eq!(reason(error), (0, IdReuse::OtherContent { attribute: "subject" }));
        assert_eq!(store.subject("book:1").await.len(), 2);
        assert_eq!(store.subject("book:2").await, []);
    })
    .await;
}

#[tokio::test]
async fn a_repetition_may_run_in_another_trace() {
    with_store(|store| async move {
        let traced = |trace: &str| {
            let mut candidate = candidate_with_id("book:1", "command-7", json!({}));
            candidate.extensions.insert("traceparent".to_owned(), trace.into());
            [candidate]
        };
        let first = store.db.add_new_events(traced("trace-1")).await.unwrap();
        assert_eq!(store.db.add_new_events(traced("trace-2")).await.unwrap(), first);
    })
    .await;
}

#[tokio::test]
async fn an_id_counts_within_its_source_only() {
    with_store(|store| async move {
        let of = |source: &str, id: &str| {
            let mut candidate = candidate_with_id("book:1", id, json!({}));
            candidate.source = source.to_owned();
            [candidate]
        };
        // Were the two simply joined, some of these would be taken for the same.
        let pairs = [
            ("abc", "def"),
            ("abcd", "def"),
            ("abc#d", "efg"),
            ("abc", "d#efg"),
            ("abc%23d", "efg"),
        ];
        for (source, id) in pairs {
            store.db.add_new_events(of(source, id)).await.unwrap();
        }
        assert_eq!(store.subject("book:1").await.len(), pairs.len());
        for (source, id) in pairs {
            store.db.add_new_events(of(source, id)).await.unwrap();
            let found = store.db.fetch_event(id).from_source(source).await.unwrap().unwrap();
            assert_eq!((found.source.as_str(), found.id.as_str()), (source, id));
        }
        assert_eq!(store.subject("book:1").await.len(), pairs.len());
    })
    .await;
}

#[tokio::test]
async fn ids_are_given_to_all_events_of_an_append_or_to_none_and_once_each() {
    with_store(|store| async move {
        let error = store
            .db
            .add_new_events([
                candidate_with_id("book:1", "command-7", json!({})),
                candidate("book:1", json!({})),
            ])
            .await
            .unwrap_err();
        assert!(error.to_string().contains("event 1: `id` is missing"), "{error}");
        let error = store
            .db
            .add_new_events([
                candidate_with_id("book:1", "command-7", json!({ "n": 1 })),
                candidate_with_id("book:1", "command-7", json!({ "n": 2 })),
            ])
            .await
            .unwrap_err();
        assert!(error.to_string().contains("event 1: `id` is also that of event 0"), "{error}");
        let error = store
            .db
            .add_events([
                event("book:1", "evt-1", 1000, json!({})),
                event("book:1", "evt-1", 1001, json!({})),
            ])
            .await
            .unwrap_err();
        assert!(error.to_string().contains("event 1: `id` is also that of event 0"), "{error}");
        assert_eq!(store.rows().await, []);
    })
    .await;
}

#[tokio::test]
async fn the_id_of_an_event_that_was_removed_is_not_used_again() {
    with_store(|store| async move {
        let command = || [candidate_with_id("book:1", "command-7", json!({}))];
        let stored = store.db.add_new_events(command()).await.unwrap().remove(0);
        store.remove(&stored).await;
        let error = store.db.add_new_events(command()).await.unwrap_err();
        assert_eq!(reason(error), (0, IdReuse::EventRemoved));
    })
    .await;
}

/// A token of a transaction counts for the whole account, and not for one table.
#[tokio::test]
async fn a_second_store_takes_the_same_events() {
    with_store(|store| async move {
        let second = format!("{}-second", store.table);
        EventDb::create_table(&store.client, &second).await.unwrap();
        let copy = EventDb::new(store.client.clone(), &second);
        let original = event("book:1", "evt-1", 1_700_000_000_000, json!({}));
        let stored = store.db.add_events([original.clone()]).await.unwrap();
        let copied = copy.add_events([original]).await;
        let read = copy.fetch_events_for_subject("book:1").await;
        store.client.delete_table().table_name(&second).send().await.unwrap();
        assert_eq!(copied.unwrap(), stored);
        assert_eq!(read.unwrap().events, stored);
    })
    .await;
}
