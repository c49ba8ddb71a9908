//! What a failure is called, and what is said of it.

use std::sync::atomic::Ordering;

use eventdb::{EmbeddedDynamoDb, Error, EventDb, Precondition};

use crate::world::{
    Fault, error_body, on_both_layouts, one_of_two, two, want_all_events, world, world_of_appends,
};

#[tokio::test]
async fn failures_for_good_are_told_at_once_and_are_no_conflict() {
    on_both_layouts(async |layout| {
        let faults = [
            one_of_two(layout, 1, "ItemCollectionSizeLimitExceeded"),
            one_of_two(layout, 0, "ValidationError"),
            Fault::Answer(400, error_body("ResourceNotFoundException")),
            Fault::Answer(400, error_body("AccessDeniedException")),
            Fault::Answer(400, error_body("IdempotentParameterMismatchException")),
        ];
        for fault in faults {
            let world = world_of_appends(layout, vec![fault]).await;
            let error = world.db.add_new_events(two()).await.unwrap_err();
            assert!(matches!(error, Error::Refused { .. }), "{error:?}");
            assert!(!error.is_conflict() && !error.is_retryable());
            assert!(error.to_string().contains("TestEvents"));
            assert_eq!(world.sent.load(Ordering::Relaxed), 1);
            assert_eq!(world.stored().await, []);
        }
    })
    .await;
}

#[tokio::test]
async fn a_database_that_stays_busy_is_reported_as_such() {
    on_both_layouts(async |layout| {
        let busy = Fault::Answer(400, error_body("ThrottlingException"));
        let world = world(layout, "TransactWriteItems", vec![], Some(busy)).await;
        let error = world.db.add_new_events(two()).await.unwrap_err();
        assert!(matches!(error, Error::Unavailable { attempts: 16, .. }), "{error:?}");
        assert!(error.is_retryable());
        assert_eq!(world.sent.load(Ordering::Relaxed), 16);
        assert_eq!(world.stored().await, []);
    })
    .await;
}

#[tokio::test]
async fn the_cause_of_an_error_is_said_once_and_is_its_source() {
    on_both_layouts(async |layout| {
        let denied = error_body("AccessDeniedException");
        let world = world_of_appends(layout, vec![Fault::Answer(400, denied)]).await;
        let error = world.db.add_new_events(two()).await.unwrap_err();
        assert!(!error.to_string().contains("not now"), "{error}");
        for text in [format!("{error:#}"), anyhow(&error)] {
            assert_eq!(text.matches("not now").count(), 1, "{text}");
        }
        let invalid = world.db.fetch_events_for_subject("").await.unwrap_err();
        let text = anyhow(&invalid);
        assert_eq!(text.matches("subject").count(), invalid.to_string().matches("subject").count());
    })
    .await;
}

/// An error as most programs print it: itself, then each of its sources.
fn anyhow(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(Some(error), |error| error.source());
    sources.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[tokio::test]
async fn nobody_at_the_endpoint_is_unavailable_and_nothing_was_stored() {
    want_all_events();
    let dynamodb = EmbeddedDynamoDb::in_memory().await.unwrap();
    let client = dynamodb.client();
    dynamodb.stop().await;
    let db = EventDb::new(client, "TestEvents");
    let read = db.fetch_events_for_subject("book:1").await.unwrap_err();
    let append = db
        .add_new_events(two())
        .only_if(Precondition::subject_is_at_revision("book:1", 7))
        .await
        .unwrap_err();
    for error in [read, append] {
        assert!(matches!(error, Error::Unavailable { .. }) && error.is_retryable(), "{error:?}");
    }
}

#[tokio::test]
async fn a_missing_table_is_named() {
    on_both_layouts(async |layout| {
        let world = world_of_appends(layout, vec![]).await;
        let db = EventDb::new(world.dynamodb.client(), "Nowhere");
        for error in [
            db.add_new_events(two()).await.unwrap_err(),
            db.fetch_events_for_subject("book:1").await.unwrap_err(),
            db.fetch_event("evt-1").await.unwrap_err(),
        ] {
            assert!(
                matches!(&error, Error::Refused { table, .. } if table == "Nowhere"),
                "{error:?}"
            );
        }
    })
    .await;
}
