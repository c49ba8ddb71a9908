//! Writers that meet: the store holds exactly the winners, and every loser is told.

use std::sync::Arc;

use eventdb::{Error, Event, EventCandidate, Precondition};
use serde_json::json;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::support::{Store, candidate, candidate_with_id, event, with_store};

const WRITERS: u64 = 16;

/// Runs one append per writer; all of them wait for each other before they begin.
async fn race<F>(store: &Arc<Store>, append: F) -> Vec<Result<Vec<Event>, Error>>
where
    F: Fn(u64) -> (Vec<EventCandidate>, Vec<Precondition>),
{
    let barrier = Arc::new(Barrier::new(usize::try_from(WRITERS).unwrap()));
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (candidates, preconditions) = append(writer);
        let db = store.db.clone();
        let barrier = Arc::clone(&barrier);
        writers.spawn(async move {
            barrier.wait().await;
            let mut request = db.add_new_events(candidates);
            for precondition in preconditions {
                request = request.only_if(precondition);
            }
            request.await
        });
    }
    writers.join_all().await
}

fn won(outcomes: Vec<Result<Vec<Event>, Error>>) -> Vec<Event> {
    outcomes.into_iter().filter_map(Result::ok).flatten().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_without_conditions_all_win() {
    with_store(|store| async move {
        let outcomes = race(&store, |writer| {
            let candidates = (0..3).map(|n| candidate("book:1", json!({ "w": writer, "n": n })));
            (candidates.collect(), vec![])
        })
        .await;
        let mut winners: Vec<_> =
            outcomes.into_iter().flat_map(|outcome| outcome.unwrap()).collect();
        winners.sort_by_key(|event| event.revision);
        let stored = store.subject("book:1").await;
        store.assert_sound(&stored);
        assert_eq!(stored, winners);
        // Each append lies in one piece.
        for append in stored.chunks(3) {
            assert!(append.iter().all(|event| event.data["w"] == append[0].data["w"]));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_writer_wins_a_pristine_subject() {
    with_store(|store| async move {
        let outcomes = race(&store, |writer| {
            (
                vec![candidate("book:1", json!({ "writer": writer }))],
                vec![Precondition::subject_is_pristine("book:1")],
            )
        })
        .await;
        for outcome in &outcomes {
            if let Err(error) = outcome {
                let conflict = error.conflict().unwrap_or_else(|| panic!("{error:?}"));
                assert_eq!(conflict.actual.revision(), 1);
            }
        }
        let winners = won(outcomes);
        assert_eq!(winners.len(), 1);
        assert_eq!(store.subject("book:1").await, winners);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_writer_wins_each_revision() {
    with_store(|store| async move {
        for revision in 0..5 {
            let outcomes = race(&store, |writer| {
                (
                    vec![candidate("book:1", json!({ "writer": writer }))],
                    vec![Precondition::subject_is_at_revision("book:1", revision)],
                )
            })
            .await;
            assert_eq!(won(outcomes).len(), 1, "revision {revision}");
        }
        let stored = store.subject("book:1").await;
        assert_eq!(stored.len(), 5);
        store.assert_sound(&stored);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_limit_over_two_subjects_is_kept() {
    with_store(|store| async move {
        // Each writer lends its own book, but only while the user's list is as it was seen.
        let outcomes = race(&store, |writer| {
            (
                vec![
                    candidate(&format!("book:{writer}"), json!({})),
                    candidate("user:456", json!({ "book": writer })),
                ],
                vec![Precondition::subject_is_pristine("user:456")],
            )
        })
        .await;
        assert_eq!(won(outcomes).len(), 2);
        assert_eq!(store.subject("user:456").await.len(), 1);
        let all = store.db.fetch_all_events().await.unwrap().events;
        assert_eq!(all.len(), 2, "the losers' books are not lent");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_of_the_same_subjects_in_other_orders_do_not_lock_each_other_out() {
    with_store(|store| async move {
        let outcomes = race(&store, |writer| {
            let mut subjects = ["book:1", "book:2", "book:3"];
            subjects.rotate_left(usize::try_from(writer % 3).unwrap());
            (subjects.iter().map(|subject| candidate(subject, json!({}))).collect(), vec![])
        })
        .await;
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        for subject in ["book:1", "book:2", "book:3"] {
            let stored = store.subject(subject).await;
            assert_eq!(stored.len(), usize::try_from(WRITERS).unwrap());
            store.assert_sound(&stored);
        }
    })
    .await;
}

/// Two events are stored, and every writer was answered with them.
async fn assert_two_stored_once(store: &Store, outcomes: Vec<Result<Vec<Event>, Error>>) {
    let stored = store.subject("book:1").await;
    assert_eq!(stored.len(), 2);
    for outcome in outcomes {
        assert_eq!(outcome.unwrap(), stored);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_same_command_from_all_writers_is_stored_once() {
    with_store(|store| async move {
        let outcomes = race(&store, |_| {
            let command =
                (0..2).map(|n| candidate_with_id("book:1", &format!("command-{n}"), json!({})));
            (command.collect(), vec![])
        })
        .await;
        assert_two_stored_once(&store, outcomes).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_same_complete_events_from_all_writers_are_stored_once() {
    with_store(|store| async move {
        let given =
            [event("book:1", "evt-1", 1000, json!({})), event("book:1", "evt-2", 2000, json!({}))];
        let mut writers = JoinSet::new();
        for _ in 0..WRITERS {
            writers.spawn(store.db.add_events(given.clone()).into_future());
        }
        let outcomes = writers.join_all().await;
        assert_two_stored_once(&store, outcomes).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_among_writers_never_see_a_gap() {
    with_store(|store| async move {
        let writer = {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for _ in 0..30 {
                    let candidates = (0..5).map(|_| candidate("book:1", json!({})));
                    store.db.add_new_events(candidates).await.unwrap();
                }
            })
        };
        let mut seen = 0;
        while !writer.is_finished() {
            let events = store.subject("book:1").await;
            store.assert_sound(&events);
            assert!(events.len() >= seen, "a history only grows");
            seen = events.len();
        }
        writer.await.unwrap();
        assert_eq!(store.subject("book:1").await.len(), 150);
    })
    .await;
}

/// More writers than attempts that an append has for failures: contention isn't one of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn any_number_of_writers_of_one_subject_all_win() {
    const MANY: u64 = 60;
    with_store(|store| async move {
        let barrier = Arc::new(Barrier::new(usize::try_from(MANY).unwrap()));
        let mut writers = JoinSet::new();
        for writer in 0..MANY {
            let db = store.db.clone();
            let barrier = Arc::clone(&barrier);
            writers.spawn(async move {
                barrier.wait().await;
                db.add_new_events([candidate("book:1", json!({ "w": writer }))]).await
            });
        }
        let won = won(writers.join_all().await);
        assert_eq!(won.len(), usize::try_from(MANY).unwrap());
        let stored = store.subject("book:1").await;
        store.assert_sound(&stored);
        assert_eq!(stored.len(), won.len());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn losing_to_other_writers_is_contention_and_not_an_outage() {
    with_store(|store| async move {
        let limits = eventdb::TimeLimits::default().operation(std::time::Duration::from_millis(1));
        let hurried = store.db.with_time_limits(limits.operation(std::time::Duration::ZERO));
        let error = hurried.add_new_events([candidate("book:1", json!({}))]).await.unwrap_err();
        // On a busy machine, the limit can be noticed after the write was sent.
        let no_answer = matches!(error, Error::Unavailable { .. } | Error::OutcomeUnknown { .. });
        assert!(no_answer && !error.is_contention(), "{error:#}");
        // There is time for a few attempts, and another writer is first in each of them.
        let limits = limits.operation(std::time::Duration::from_millis(400));
        let patient = store.db.with_time_limits(limits);
        let others = store.db.clone();
        let busy = tokio::spawn(async move {
            loop {
                others.add_new_events([candidate("book:1", json!({}))]).await.unwrap();
            }
        });
        // On a slow machine, an answer can take longer than the limit: then try again, but not
        // without end.
        let mut unanswered = 0;
        let error = loop {
            match patient.add_new_events([candidate("book:1", json!({}))]).await {
                Ok(_) => {}
                Err(Error::OutcomeUnknown { .. } | Error::Unavailable { .. })
                    if unanswered < 50 =>
                {
                    unanswered += 1;
                }
                Err(error) => break error,
            }
        };
        busy.abort();
        let Error::Contended { subject, .. } = &error else { panic!("{error:#}") };
        assert_eq!(subject, "book:1");
        assert!(error.is_retryable() && error.is_contention() && !error.is_conflict());
        assert!(error.to_string().contains("nothing was stored"), "{error}");
    })
    .await;
}
