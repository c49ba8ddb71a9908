//! Lost requests and answers of appends.

use std::future::IntoFuture;
use std::sync::atomic::Ordering;

use eventdb::Precondition;
use serde_json::json;

use crate::world::{
    Fault, candidate, commands, complete, error_body, on_both_layouts, one_of_two, somebody_else,
    two, world_of_appends,
};

#[tokio::test]
async fn a_lost_answer_is_found_out_for_every_kind_of_append() {
    on_both_layouts(async |layout| {
        for kind in 0..5 {
            let world = world_of_appends(layout, vec![Fault::LoseAnswer, Fault::LoseAnswer]).await;
            let db = &world.db;
            let pristine = Precondition::subject_is_pristine("book:1");
            let events = match kind {
                0 => db.add_new_events(two()).await,
                1 => db.add_new_events(two()).only_if(pristine).await,
                2 => db.add_new_events(commands()).await,
                3 => db.add_events(complete()).await,
                _ => db.add_events(complete()).only_if(pristine).await,
            };
            assert_eq!(events.unwrap(), world.stored().await, "kind {kind}");
            assert_eq!(world.stored().await.len(), 2, "kind {kind}");
            assert_eq!(world.sent.load(Ordering::Relaxed), 3, "kind {kind}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_lost_request_is_sent_again() {
    on_both_layouts(async |layout| {
        let world = world_of_appends(layout, vec![Fault::LoseRequest]).await;
        let events = world.db.add_new_events(two()).await.unwrap();
        assert_eq!(events, world.stored().await);
        assert_eq!(events.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_lost_answer_is_found_out_even_when_others_have_written_since() {
    on_both_layouts(async |layout| {
        for (number, conditional) in [(0, false), (1, true)] {
            let world = world_of_appends(layout, vec![]).await;
            let fault = Fault::LoseAnswerThen(somebody_else(&world.calm));
            let faulty = world.next_append_meets(fault);
            let mut request = faulty.add_new_events(two());
            if conditional {
                request = request.only_if(Precondition::subject_is_pristine("book:1"));
            }
            let events = request.await.unwrap();
            let stored = world.stored().await;
            assert_eq!(stored.len(), 3, "case {number}");
            assert_eq!(events, stored[..2], "case {number}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_append_that_was_overtaken_unseen_is_built_anew_or_conflicts() {
    on_both_layouts(async |layout| {
        let world = world_of_appends(layout, vec![]).await;
        let fault = Fault::LoseRequestThen(somebody_else(&world.calm));
        let faulty = world.next_append_meets(fault.clone());
        let events = faulty.add_new_events(two()).await.unwrap();
        assert_eq!(events, world.stored().await[1..]);
        let faulty = world.next_append_meets(fault);
        let error = faulty
            .add_new_events(two())
            .only_if(Precondition::subject_is_at_revision("book:1", 3))
            .await
            .unwrap_err();
        assert_eq!(error.conflict().unwrap().actual.revision(), 4);
        assert_eq!(world.stored().await.len(), 4);
    })
    .await;
}

#[tokio::test]
async fn passing_failures_are_waited_out() {
    on_both_layouts(async |layout| {
        let world = world_of_appends(
            layout,
            vec![
                Fault::Answer(500, error_body("InternalServerError")),
                Fault::Answer(503, json!({})),
                Fault::Answer(400, error_body("ThrottlingException")),
                Fault::Answer(400, error_body("ProvisionedThroughputExceededException")),
                Fault::Answer(400, error_body("RequestLimitExceeded")),
                Fault::Answer(400, error_body("TransactionInProgressException")),
                one_of_two(layout, 0, "TransactionConflict"),
                one_of_two(layout, 1, "ThrottlingError"),
                one_of_two(layout, 2, "ProvisionedThroughputExceeded"),
            ],
        )
        .await;
        let pristine = Precondition::subject_is_pristine("book:1");
        let events = world.db.add_new_events(two()).only_if(pristine).await.unwrap();
        assert_eq!(events, world.stored().await);
        assert_eq!(world.sent.load(Ordering::Relaxed), 10);
    })
    .await;
}

#[tokio::test]
async fn a_dropped_append_is_stored_whole_or_not_at_all() {
    on_both_layouts(async |layout| {
        for delay in [0, 1, 3, 6, 10, 20] {
            let world = world_of_appends(layout, vec![]).await;
            let append = world.db.add_new_events(two()).into_future();
            let _ = tokio::time::timeout(std::time::Duration::from_millis(delay), append).await;
            // What was sent may still be carried out; once it is, or isn't, the next append comes.
            world.calm.add_new_events([candidate()]).await.unwrap();
            assert!([1, 3].contains(&world.stored().await.len()), "after {delay} ms");
        }
    })
    .await;
}
