//! An append without an answer is settled by what is stored.

use std::time::Duration;

use chrono::TimeDelta;
use eventdb::{Error, Precondition, TableLayout, TimeLimits};

use crate::world::{
    Fault, candidate, commands, complete, error_body, on_both_layouts, somebody_else, two, world,
    world_of_appends,
};

#[tokio::test]
async fn an_unknown_outcome_is_settled_by_its_events_where_it_had_happened() {
    on_both_layouts(async |layout| {
        let world = world(layout, "TransactWriteItems", vec![], Some(Fault::LoseAnswer)).await;
        let error = world.db.add_new_events(two()).await.unwrap_err();
        assert!(!error.is_retryable(), "the same candidates would be stored twice");
        assert!(!format!("{error} {error:?}").contains("user:456"), "errors are logged: no data");
        let Error::OutcomeUnknown { events, .. } = error else { panic!("{error:?}") };
        assert_eq!(world.calm.add_events(events).await.unwrap(), world.stored().await);
        assert_eq!(world.stored().await.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn an_unknown_outcome_is_settled_by_its_events_where_it_had_not_happened() {
    on_both_layouts(async |layout| {
        let world = world(layout, "TransactWriteItems", vec![], Some(Fault::LoseRequest)).await;
        let error = world.db.add_new_events(two()).await.unwrap_err();
        let Error::OutcomeUnknown { events, .. } = error else { panic!("{error:?}") };
        assert_eq!(world.stored().await, []);
        assert_eq!(world.calm.add_events(events).await.unwrap(), world.stored().await);
        assert_eq!(world.stored().await.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn an_unknown_outcome_of_own_ids_is_settled_though_they_were_stored_long_ago() {
    on_both_layouts(async |layout| {
        let refused = Fault::Answer(400, error_body("AccessDeniedException"));
        let world = world_of_appends(layout, vec![Fault::LoseRequest, refused]).await;
        let first = world.calm.add_new_events(commands()).await.unwrap();
        world.calm.add_new_events(two()).await.unwrap();
        // The process was restarted and sends it again, in vain; its events have other times now.
        let error = world.db.add_new_events(commands()).await.unwrap_err();
        let Error::OutcomeUnknown { events, .. } = error else { panic!("{error:?}") };
        assert_eq!(world.calm.add_events(events).await.unwrap(), first);
        assert_eq!(world.stored().await.len(), 4);
    })
    .await;
}

#[tokio::test]
async fn an_unknown_outcome_is_settled_under_the_preconditions_of_its_append() {
    on_both_layouts(async |layout| {
        let world = world(layout, "TransactWriteItems", vec![], Some(Fault::LoseRequest)).await;
        let mut events = complete();
        // Later than what others append now, so that nothing but the precondition is against them.
        for event in &mut events {
            event.time += TimeDelta::days(20_000);
        }
        let pristine = Precondition::subject_is_pristine("book:1");
        let error = world.db.add_events(events).only_if(pristine).await.unwrap_err();
        let Error::OutcomeUnknown { events, .. } = error else { panic!("{error:?}") };
        somebody_else(&world.calm)().await;
        let error = world.calm.add_events(events).await.unwrap_err();
        assert!(error.is_conflict(), "{error:?}");
        assert_eq!(world.stored().await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn settling_that_is_throttled_throughout_leaves_the_outcome_unknown() {
    on_both_layouts(async |layout| {
        for (fault, stored) in [(Fault::LoseAnswer, 2), (Fault::LoseRequest, 0)] {
            let limits = TimeLimits::default().operation(std::time::Duration::from_millis(500));
            let world = world(layout, "TransactWriteItems", vec![], Some(fault)).await;
            let hurried = world.db.with_time_limits(limits);
            let error = hurried.add_new_events(two()).await.unwrap_err();
            let Error::OutcomeUnknown { events, .. } = error else { panic!("{error:?}") };
            // By revision, the refusal of the transaction tells, and nothing else is read.
            let operations: &[_] = match layout {
                TableLayout::ByRevision => &["TransactWriteItems"],
                _ => &["TransactWriteItems", "GetItem"],
            };
            for operation in operations {
                let busy = Some(Fault::Answer(400, error_body("ThrottlingException")));
                let db = world.through_faults(operation, vec![], busy);
                let settling = db.with_time_limits(limits).add_events(events.clone());
                let error = settling.await.unwrap_err();
                let Error::OutcomeUnknown { events: again, .. } = error else {
                    panic!("{error:#}")
                };
                assert_eq!(again, events, "{operation}");
            }
            assert_eq!(world.stored().await.len(), stored);
        }
    })
    .await;
}

/// Only the places to which it was sent can tell. What was found out about other subjects counts as it
/// was, also if they have moved on or can't be read.
#[tokio::test]
async fn an_append_by_revision_is_settled_without_reading_other_subjects() {
    for fault in [Fault::LoseAnswer, Fault::LoseRequest] {
        for operation in ["Query", "GetItem"] {
            let limits = TimeLimits::default().operation(Duration::from_millis(500));
            let fault = Some(fault.clone());
            let world = world(TableLayout::ByRevision, "TransactWriteItems", vec![], fault).await;
            let others = ["book:2", "book:3"].map(|subject| {
                let mut other = candidate();
                subject.clone_into(&mut other.subject);
                other
            });
            let others = world.calm.add_new_events(others).await.unwrap();
            let error = world
                .db
                .with_time_limits(limits)
                .add_new_events(two())
                .only_if(Precondition::subject_is_at_event_id("book:2", &others[0].id))
                .only_if(Precondition::subject_is_populated("book:3"))
                .await
                .unwrap_err();
            let Error::OutcomeUnknown { events, .. } = error else { panic!("{error:?}") };
            let busy = Some(Fault::Answer(400, error_body("ThrottlingException")));
            let db = world.through_faults(operation, vec![], busy).with_time_limits(limits);
            assert_eq!(db.add_events(events).await.unwrap(), world.stored().await);
            assert_eq!(world.stored().await.len(), 2);
        }
    }
}

#[tokio::test]
async fn preconditions_alone_leave_no_outcome_unknown() {
    on_both_layouts(async |layout| {
        let world = world(layout, "TransactWriteItems", vec![], Some(Fault::LoseAnswer)).await;
        let pristine = Precondition::subject_is_pristine("book:1");
        let error = world.db.add_new_events([]).only_if(pristine).await.unwrap_err();
        assert!(error.is_retryable(), "{error:?}");
    })
    .await;
}

#[tokio::test]
async fn a_refusal_after_a_lost_answer_leaves_the_outcome_unknown() {
    on_both_layouts(async |layout| {
        let world = world_of_appends(
            layout,
            vec![Fault::LoseAnswer, Fault::Answer(400, error_body("AccessDeniedException"))],
        )
        .await;
        let error = world.db.add_new_events(two()).await.unwrap_err();
        assert!(matches!(error, Error::OutcomeUnknown { attempts: 2, .. }), "{error:?}");
    })
    .await;
}
