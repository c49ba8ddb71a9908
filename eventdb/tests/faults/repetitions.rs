//! Events that are sent again are recognised, whatever is in the way.

use std::future::IntoFuture;
use std::sync::Arc;

use eventdb::{Error, EventDb, Precondition, TableLayout};
use serde_json::{Value, json};
use tracing::instrument::WithSubscriber;

use crate::common::Lines;
use crate::world::{
    Action, Fault, candidate, commands, complete, error_body, on_both_layouts, somebody_else, two,
    world_of_appends,
};

#[tokio::test]
async fn a_repetition_is_found_although_its_revision_is_reached_only_while_it_is_looked_for() {
    let world = world_of_appends(TableLayout::ByRevision, vec![]).await;
    world.calm.add_new_events([candidate()]).await.unwrap();
    let append = |db: &EventDb| {
        db.add_events(complete()).only_if(Precondition::subject_is_at_revision("book:1", 2))
    };
    // Revision 2 isn't there. Before the end is read, it is stored, and the same append behind it.
    let (calm, other) = (world.calm.clone(), somebody_else(&world.calm));
    let action: Action = Arc::new(move || {
        let (other, same) = (other(), append(&calm).into_future());
        Box::pin(async move {
            other.await;
            same.await.unwrap();
        })
    });
    let db = world.through_faults("Query", vec![Fault::LoseRequestThen(action)], None);
    assert_eq!(append(&db).await.unwrap(), world.stored().await[2..]);
}

/// Some reasons of a cancelled transaction are that items were busy, whatever they were.
fn busy_instead(which: fn(usize, usize) -> bool) -> impl Fn(&mut Value) {
    move |body| {
        // The very same transaction may be answered as one that has succeeded.
        let Some(reasons) = body["CancellationReasons"].as_array_mut() else { return };
        let all = reasons.len();
        for (index, reason) in reasons.iter_mut().enumerate() {
            if which(index, all) && reason["Code"] == "ConditionalCheckFailed" {
                *reason = json!({ "Code": "TransactionConflict" });
            }
        }
    }
}

#[tokio::test]
async fn a_repetition_is_recognised_though_some_of_its_places_are_busy() {
    on_both_layouts(async |layout| {
        // The head, one of two events, both events; and the guards, where the caller chose the ids.
        let changes: [fn(&mut Value); 4] = [
            |body| busy_instead(|index, _| index == 0)(body),
            |body| busy_instead(|index, _| index == 1)(body),
            |body| busy_instead(|index, all| index == all - 1)(body),
            |body| busy_instead(|index, _| index > 0)(body),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            for kind in 0..4 {
                let world = world_of_appends(layout, vec![]).await;
                let at = Precondition::subject_is_at_revision("book:1", 0);
                let (first, again) = match kind {
                    0 => (
                        world.calm.add_events(complete()).await.unwrap(),
                        world.next_append_meets(Fault::Change(change)).add_events(complete()).await,
                    ),
                    1 => (
                        world.calm.add_events(complete()).only_if(at.clone()).await.unwrap(),
                        world
                            .next_append_meets(Fault::Change(change))
                            .add_events(complete())
                            .only_if(at)
                            .await,
                    ),
                    2 => (
                        world.calm.add_new_events(commands()).await.unwrap(),
                        world
                            .next_append_meets(Fault::Change(change))
                            .add_new_events(commands())
                            .await,
                    ),
                    _ => (
                        world.calm.add_new_events(commands()).only_if(at.clone()).await.unwrap(),
                        world
                            .next_append_meets(Fault::Change(change))
                            .add_new_events(commands())
                            .only_if(at)
                            .await,
                    ),
                };
                assert_eq!(again.unwrap(), first, "kind {kind}, change {number}");
                assert_eq!(world.stored().await, first, "kind {kind}, change {number}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_reused_id_brings_what_is_stored_and_its_debug_form_tells_no_data() {
    on_both_layouts(async |layout| {
        let world = world_of_appends(layout, vec![]).await;
        let stored = world.calm.add_new_events(commands()).await.unwrap();
        let mut other = commands();
        other[1].data = json!({ "secret": true }).into();
        let error = world.calm.add_new_events(other).await.unwrap_err();
        assert!(!format!("{error:?}").contains("user:456"), "{error:?}");
        let Error::IdReused { index: 1, stored: Some(found), .. } = error else {
            panic!("{error:?}")
        };
        assert_eq!(found.into_event(), stored[1]);
    })
    .await;
}

#[tokio::test]
async fn repetitions_are_logged_with_subject_and_attempt_and_from_the_fifth_as_warnings() {
    on_both_layouts(async |layout| {
        let busy = || Fault::Answer(400, error_body("ThrottlingException"));
        let world = world_of_appends(layout, vec![busy(), busy(), busy(), busy(), busy()]).await;
        let somebody_else = somebody_else(&world.calm);
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        async {
            world.db.add_new_events(two()).await.unwrap();
            let overtaken = world.next_append_meets(Fault::LoseRequestThen(somebody_else));
            overtaken.add_new_events(two()).await.unwrap();
        }
        .with_subscriber(subscriber)
        .await;
        let text = lines.text();
        let ours: Vec<_> = text.lines().filter(|line| line.contains("trying again")).collect();
        for attempt in 1..=5 {
            let level = if attempt < 5 { "DEBUG" } else { "WARN" };
            let is_it = |line: &&&str| {
                line.contains(level)
                    && line.contains(&format!("attempt={attempt} "))
                    && line.contains("subject=\"book:1\"")
                    && line.contains("ThrottlingException")
            };
            assert!(ours.iter().any(|line| is_it(&line)), "attempt {attempt}: {ours:#?}");
        }
        let others =
            ours.iter().any(|line| line.contains("another writer of the subject was first"));
        assert!(others, "{ours:#?}");
        assert!(ours.iter().all(|line| !line.contains("user:456")), "no data: {ours:#?}");
    })
    .await;
}

#[tokio::test]
async fn another_trace_or_correlation_does_not_make_a_repetition_look_different() {
    on_both_layouts(async |layout| {
        let world = world_of_appends(layout, vec![]).await;
        let with = |extension: &str, value: &str| {
            commands().map(|mut candidate| {
                candidate.extensions.insert(extension.to_owned(), value.into());
                candidate
            })
        };
        for extension in ["traceparent", "tracestate", "correlationid", "causationid"] {
            let first = world.calm.add_new_events(with(extension, "one")).await.unwrap();
            assert_eq!(world.calm.add_new_events(with(extension, "two")).await.unwrap(), first);
        }
        let other = world.calm.add_new_events(with("priority", "high")).await.unwrap_err();
        assert!(matches!(other, Error::IdReused { .. }), "{other:?}");
    })
    .await;
}
