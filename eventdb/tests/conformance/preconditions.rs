//! Optimistic concurrency: an append happens only in the state that it was decided on.

use eventdb::{Conflict, Error, Precondition, SubjectState};
use serde_json::json;

use crate::support::{Store, candidate, event, with_store};

/// The conflict of an append that also writes the subject, and of one that writes another.
async fn conflicts(store: &Store, precondition: &Precondition) -> [Option<Conflict>; 2] {
    let rows = store.rows().await.len();
    let mut found = [None, None];
    for (conflict, subject) in found.iter_mut().zip([precondition.subject.as_str(), "book:other"]) {
        let append = store.db.add_new_events([candidate(subject, json!({}))]);
        match append.only_if(precondition.clone()).await {
            Ok(_) => {}
            Err(Error::Conflict(error)) => *conflict = Some(*error),
            Err(other) => panic!("{other:?}"),
        }
    }
    if found.iter().all(Option::is_some) {
        assert_eq!(store.rows().await.len(), rows, "a conflict stores nothing");
    }
    found
}

async fn assert_conflict(store: &Store, precondition: Precondition, actual: SubjectState) {
    for conflict in conflicts(store, &precondition).await {
        let conflict = conflict.unwrap_or_else(|| panic!("no conflict: {precondition}"));
        assert_eq!(conflict.subject, precondition.subject);
        assert_eq!(conflict.expected, precondition.expected);
        assert_eq!(conflict.actual, actual);
    }
}

async fn assert_no_conflict(store: &Store, precondition: Precondition) {
    let append = store.db.add_new_events([candidate("book:third", json!({}))]);
    append.only_if(precondition.clone()).await.unwrap_or_else(|error| {
        panic!("{precondition} not written: {error}");
    });
    let append = store.db.add_new_events([candidate(&precondition.subject, json!({}))]);
    append.only_if(precondition.clone()).await.unwrap_or_else(|error| {
        panic!("{precondition} written: {error}");
    });
}

#[tokio::test]
async fn on_a_pristine_subject() {
    with_store(|store| async move {
        let pristine = SubjectState::Pristine;
        let populated = Precondition::subject_is_populated("book:1");
        assert_conflict(&store, populated, pristine.clone()).await;
        let revision = Precondition::subject_is_at_revision("book:1", 1);
        assert_conflict(&store, revision, pristine.clone()).await;
        let id = Precondition::subject_is_at_event_id("book:1", "evt-1");
        assert_conflict(&store, id, pristine).await;
        assert_no_conflict(&store, Precondition::subject_is_pristine("book:1")).await;
        assert_no_conflict(&store, Precondition::subject_is_at_revision("book:2", 0)).await;
    })
    .await;
}

#[tokio::test]
async fn on_a_populated_subject() {
    with_store(|store| async move {
        let last = store.fill("book:1", 3).await.remove(2);
        let actual = SubjectState::Populated { revision: 3, last_event_id: last.id.clone() };
        for precondition in [
            Precondition::subject_is_pristine("book:1"),
            Precondition::subject_is_at_revision("book:1", 0),
            Precondition::subject_is_at_revision("book:1", 2),
            Precondition::subject_is_at_revision("book:1", 4),
            Precondition::subject_is_at_revision("book:1", u64::MAX),
            Precondition::subject_is_at_event_id("book:1", "evt-of-nobody"),
        ] {
            assert_conflict(&store, precondition, actual.clone()).await;
        }
        assert_no_conflict(&store, Precondition::subject_is_at_event_id("book:1", last.id)).await;
        assert_no_conflict(&store, Precondition::subject_is_at_revision("book:1", 4)).await;
        assert_no_conflict(&store, Precondition::subject_is_populated("book:1")).await;
        store.assert_sound(&store.subject("book:1").await);
    })
    .await;
}

#[tokio::test]
async fn all_preconditions_must_hold() {
    with_store(|store| async move {
        let last = store.fill("book:1", 1).await.remove(0);
        store.fill("user:456", 2).await;
        let append = || store.db.add_new_events([candidate("book:1", json!({}))]);
        let error = append()
            .only_if(Precondition::subject_is_at_revision("book:1", 1))
            .only_if(Precondition::subject_is_at_revision("user:456", 1))
            .await
            .unwrap_err();
        assert_eq!(error.conflict().unwrap().subject, "user:456");
        let error = append()
            .only_if(Precondition::subject_is_pristine("book:1"))
            .only_if(Precondition::subject_is_populated("book:1"))
            .await
            .unwrap_err();
        assert!(error.is_conflict());
        append()
            .only_if(Precondition::subject_is_at_revision("book:1", 1))
            .only_if(Precondition::subject_is_at_event_id("book:1", &last.id))
            .only_if(Precondition::subject_is_populated("book:1"))
            .only_if(Precondition::subject_is_populated("user:456"))
            .only_if(Precondition::subject_is_at_revision("user:456", 2))
            .await
            .unwrap();
    })
    .await;
}

#[tokio::test]
async fn preconditions_that_contradict_each_other_never_hold() {
    with_store(|store| async move {
        let last = store.fill("book:1", 2).await.remove(1);
        let at = |revision| Precondition::subject_is_at_revision("book:1", revision);
        let at_id = || Precondition::subject_is_at_event_id("book:1", &last.id);
        let pristine = || Precondition::subject_is_pristine("book:1");
        let new = || Precondition::subject_is_pristine("book:new");
        let populated = || Precondition::subject_is_populated("book:new");
        let other_id = Precondition::subject_is_at_event_id("book:1", "evt-of-nobody");
        for (one, other) in [
            (at(2), at(1)),
            (at(2), pristine()),
            (at(2), other_id),
            (at_id(), at(1)),
            (at_id(), at(3)),
            (new(), populated()),
        ] {
            for [first, second] in [[&one, &other], [&other, &one]] {
                // An append that writes the subject, and one that doesn't.
                for written in [first.subject.as_str(), "book:third"] {
                    let append = store.db.add_new_events([candidate(written, json!({}))]);
                    let append = append.only_if(first.clone()).only_if(second.clone());
                    let error = append.await.expect_err("a conflict");
                    assert!(error.is_conflict(), "{first} and {second}: {error:?}");
                }
            }
        }
        assert_eq!(store.subject("book:1").await.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn preconditions_are_checked_without_events_too() {
    with_store(|store| async move {
        store.fill("book:1", 1).await;
        let check = |revision| {
            store
                .db
                .add_new_events([])
                .only_if(Precondition::subject_is_at_revision("book:1", revision))
        };
        assert_eq!(check(1).await.unwrap(), []);
        assert!(check(2).await.unwrap_err().is_conflict());
    })
    .await;
}

#[tokio::test]
async fn a_precondition_on_a_subject_that_cannot_be_is_invalid() {
    with_store(|store| async move {
        for subject in ["", "ab", "$head/book:1", "a\u{0}bc"] {
            let append = store.db.add_new_events([candidate("book:1", json!({}))]);
            let error =
                append.only_if(Precondition::subject_is_pristine(subject)).await.unwrap_err();
            assert!(matches!(error, Error::Invalid(_)), "{error:?}");
        }
        assert_eq!(store.rows().await, []);
    })
    .await;
}

#[tokio::test]
async fn complete_events_can_be_conditional_as_well() {
    with_store(|store| async move {
        let append = |id: &str, time| store.db.add_events([event("book:1", id, time, json!({}))]);
        append("evt-1", 1000).only_if(Precondition::subject_is_pristine("book:1")).await.unwrap();
        let error = append("evt-2", 2000)
            .only_if(Precondition::subject_is_pristine("book:1"))
            .await
            .unwrap_err();
        assert_eq!(error.conflict().unwrap().actual.revision(), 1);
        append("evt-2", 2000)
            .only_if(Precondition::subject_is_at_event_id("book:1", "evt-1"))
            .await
            .unwrap();
    })
    .await;
}
