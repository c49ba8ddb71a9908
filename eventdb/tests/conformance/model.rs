//! Any sequence of appends from any writers reads back gapless and in order.

use std::collections::BTreeMap;
use std::sync::Arc;

use eventdb::{Error, Precondition};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, prop_oneof};
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;

use crate::support::{Store, candidate, with_store};

/// A step of some writer on the subjects `book:0` to `book:2`.
#[derive(Debug, Clone)]
enum Step {
    /// Appends one event to each of these.
    Append(Vec<u8>),
    /// Appends one event to the first, if the second has so many.
    AppendIf(u8, u8, u64),
    /// Sends the last append of complete events again, or makes one.
    Repeat(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => vec(0..3_u8, 1..5).prop_map(Step::Append),
        2 => (0..3_u8, 0..3_u8, 0..6_u64).prop_map(|(to, on, at)| Step::AppendIf(to, on, at)),
        1 => (0..3_u8).prop_map(Step::Repeat),
        1 => Just(Step::Append(vec![0; 12])),
    ];
    vec(step, 1..15)
}

fn subject(number: u8) -> String {
    format!("book:{number}")
}

/// What the store should hold: ids by subject.
type Model = BTreeMap<String, Vec<String>>;

async fn run(store: &Store, prefix: &str, steps: &[Step]) {
    let db = &store.db;
    let mut model = Model::new();
    let mut last_complete = None;
    let subject = |number: u8| format!("{prefix}/{}", subject(number));
    for step in steps {
        match step {
            Step::Append(subjects) => {
                let candidates = subjects.iter().map(|to| candidate(&subject(*to), json!({})));
                for event in db.add_new_events(candidates).await.unwrap() {
                    model.entry(event.subject).or_default().push(event.id);
                }
            }
            Step::AppendIf(to, on, at) => {
                let expected = model.get(&subject(*on)).map_or(0, Vec::len) as u64 == *at;
                let outcome = db
                    .add_new_events([candidate(&subject(*to), json!({}))])
                    .only_if(Precondition::subject_is_at_revision(subject(*on), *at))
                    .await;
                match outcome {
                    Ok(events) => {
                        assert!(expected);
                        for event in events {
                            model.entry(event.subject).or_default().push(event.id);
                        }
                    }
                    Err(Error::Conflict(_)) => assert!(!expected),
                    Err(other) => panic!("{other:?}"),
                }
            }
            Step::Repeat(to) => {
                let again = last_complete.take().unwrap_or_else(|| {
                    let number: usize = model.values().map(Vec::len).sum();
                    crate::support::event(
                        &subject(*to),
                        &format!("{prefix}/evt-{number}"),
                        // Later than all others of this run.
                        9_000_000_000_000 + i64::try_from(number).unwrap(),
                        json!({}),
                    )
                });
                let stored = db.add_events([again.clone()]).await.unwrap().remove(0);
                let ids = model.entry(stored.subject).or_default();
                if !ids.contains(&stored.id) {
                    ids.push(stored.id);
                }
                last_complete = Some(again);
            }
        }
    }
    for (subject, ids) in model {
        let events = db.fetch_events_for_subject(&subject).await.unwrap().events;
        store.assert_sound(&events);
        let stored: Vec<_> = events.into_iter().map(|event| event.id).collect();
        assert_eq!(stored, ids);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_sequence_of_appends_reads_back_as_a_model_says() {
    with_store(|store| async move {
        let runtime = tokio::runtime::Handle::current();
        tokio::task::spawn_blocking(move || {
            let cases = std::cell::Cell::new(0_u32);
            let configuration =
                Config { cases: 24, failure_persistence: None, ..Config::default() };
            TestRunner::new(configuration)
                .run(&steps(), |steps| {
                    // A separate subject for each case, so that one table serves all.
                    cases.set(cases.get() + 1);
                    let prefix = format!("case-{}", cases.get());
                    let store = Arc::clone(&store);
                    runtime.block_on(async move {
                        let run = tokio::spawn(async move { run(&store, &prefix, &steps).await });
                        run.await.map_err(|failure| {
                            proptest::test_runner::TestCaseError::fail(failure.to_string())
                        })
                    })
                })
                .unwrap();
        })
        .await
        .unwrap();
    })
    .await;
}
