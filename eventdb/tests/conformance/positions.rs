//! Positions of read models at events that the table doesn't have, as after a restore.

use std::fmt::Error;

use aws_sdk_dynamodb::types::AttributeValue;
use eventdb::{
    DynamoDbReadModel, Event, Position, PositionExamination, PositionFinding, PositionProblem,
    Projection, ReceivedMessage, StoreId, StoredPosition,
};
use futures_util::stream;
use serde_json::json;

use crate::read_models::{counts, model, put_legacy_row, store_id, view_table};
use crate::support::{Store, event, with_revision, with_store, with_store_by_time};

/// A read model that has applied these events, of this store.
async fn applied(store: &Store, view: &str, id: &StoreId, events: &[Event]) -> DynamoDbReadModel {
    let loans = model(store, view, counts(view));
    let projection = Projection::new(loans.clone());
    for event in events {
        let message = ReceivedMessage::of_store(event.clone(), id.clone());
        assert_eq!(projection.handle(&message).await.expect("applied"), 1);
    }
    loans
}

async fn examined(store: &Store, loans: &DynamoDbReadModel) -> PositionExamination {
    store.db.examine_positions(loans.stored_positions()).await.expect("examined")
}

/// The findings as text, in the order of their subjects.
fn findings(examination: &PositionExamination) -> Vec<String> {
    let mut findings: Vec<_> = examination.findings.iter().map(ToString::to_string).collect();
    findings.sort_unstable();
    findings
}

/// Puts a position past the read model; without a revision, it can't be read.
async fn put_position(store: &Store, view: &str, key: &str, revision: Option<&str>) {
    let put = store.client.put_item().table_name(view);
    let put = put.item("pk", AttributeValue::S(key.to_owned()));
    let mut put = put.item("sk", AttributeValue::S("$position".to_owned()));
    if let Some(revision) = revision {
        put = put.item("revision", AttributeValue::N(revision.to_owned()));
        put = put.item("time", AttributeValue::N("1738074600000".to_owned()));
    }
    put.send().await.expect("stored");
}

#[tokio::test]
async fn positions_beyond_the_table_are_found() {
    with_store(|store| async move {
        let view = view_table(&store.client).await;
        let id = store.db.store_id().await.expect("an id");
        let mut events = Vec::new();
        for (subject, count) in [("book:1", 5), ("book:2", 3), ("book:3", 1), ("book:4", 2)] {
            events.extend(store.fill(subject, count).await);
        }
        let loans = applied(&store, &view, &id, &events).await;
        let sound = examined(&store, &loans).await;
        assert!(sound.is_clean(), "{:?}", sound.findings);
        assert_eq!(sound.positions, 4);

        // What a restore lacks: the end of a subject, all of another one.
        for lost in [&events[3], &events[4], &events[8]] {
            store.remove(lost).await;
        }
        // It was continued: another event has taken the revision.
        store.remove(&events[7]).await;
        let time = events[7].time.timestamp_millis() + 1;
        let other = with_revision(&event("book:2", "other", time, json!({})), 3);
        store.put_row(store.item(&other).iter().map(|(name, value)| (&**name, value.clone()))).await;
        let found = examined(&store, &loans).await;
        assert!(!found.is_clean());
        assert_eq!(
            findings(&found),
            [
                "the read model `counts`, \"book:1\": it is at revision 5, but the last event in the table \
                 has revision 3",
                "the read model `counts`, \"book:2\": it is at revision 3, but not at the event that the \
                 table has there",
                "the read model `counts`, \"book:3\": it is at revision 1, which the table doesn't have",
            ]
        );
        let problem = |subject: &str| {
            let of = |finding: &&PositionFinding| finding.subject.as_deref() == Some(subject);
            found.findings.iter().find(of).expect("a finding").problem.clone()
        };
        assert_eq!(problem("book:1"), PositionProblem::Beyond { revision: 5, last: Some(3) });
        assert_eq!(problem("book:2"), PositionProblem::Replaced { revision: 3 });
        assert_eq!(problem("book:3"), PositionProblem::Beyond { revision: 1, last: None });
    })
    .await;
}

#[tokio::test]
async fn positions_that_somebody_else_has_written_end_nothing() {
    with_store(|store| async move {
        let view = view_table(&store.client).await;
        let events = store.fill("book:1", 1).await;
        let id = store.db.store_id().await.expect("an id");
        let loans = applied(&store, &view, &id, &events).await;
        put_position(&store, &view, "$position/loans%2F2%25/book:1", None).await;
        put_position(&store, &view, "$position/other/", Some("1")).await;
        put_position(&store, &view, "$position/parked/book:1", Some("0")).await;
        put_position(&store, &view, "$position/nothing", Some("1")).await;
        let found = examined(&store, &loans).await;
        assert_eq!(found.positions, 4);
        assert_eq!(
            findings(&found),
            [
                "the read model `loans/2%`, \"book:1\": it can't be read",
                "the read model `other`, \"\": it is at revision 1, which the table doesn't have",
            ]
        );
    })
    .await;
}

#[tokio::test]
async fn positions_of_another_store_are_reported_together() {
    with_store(|store| async move {
        let view = view_table(&store.client).await;
        let mut events = store.fill("book:1", 2).await;
        events.extend(store.fill("book:2", 1).await);
        let loans = applied(&store, &view, &store_id("Events"), &events).await;
        let others = |positions, fitting| {
            let store = store_id("Events");
            PositionProblem::OtherStore { store, positions, fitting }
        };
        let problems = |found: &PositionExamination| {
            found.findings.iter().map(|finding| finding.problem.clone()).collect::<Vec<_>>()
        };
        // The table is a whole copy of that store.
        let found = examined(&store, &loans).await;
        assert_eq!(problems(&found), [others(2, 2)]);
        assert!(found.findings[0].problem.advice().contains("with_moved_store"));
        // It lacks a part.
        store.remove(&events[1]).await;
        let found = examined(&store, &loans).await;
        let beyond = PositionProblem::Beyond { revision: 2, last: Some(1) };
        assert_eq!(problems(&found), [others(2, 1), beyond]);
        // It has nothing of it, so these may be the right positions of another store.
        store.remove(&events[0]).await;
        store.remove(&events[2]).await;
        assert_eq!(problems(&examined(&store, &loans).await), [others(2, 0)]);
    })
    .await;
}

#[tokio::test]
async fn many_positions_of_any_read_model_are_examined() {
    with_store(|store| async move {
        let events = store.fill("book:1", 120).await;
        let id = store.db.store_id().await.expect("an id");
        // A position in each event, and then in events that there aren't.
        let mut positions = Vec::new();
        for beyond in [0, 120] {
            for event in &events {
                let revision = event.revision.expect("a revision") + beyond;
                let position = Position::new(revision, event.time, Some(id.clone()));
                positions.push(Ok::<_, Error>(StoredPosition::new("sql", "book:1", position)));
            }
        }
        let found = store.db.examine_positions(stream::iter(positions)).await;
        let found = found.expect("examined");
        assert_eq!((found.positions, found.findings.len(), found.more_findings), (240, 120, 0));
        let is_beyond = |finding: &PositionFinding| {
            matches!(finding.problem, PositionProblem::Beyond { last: Some(120), .. })
        };
        assert!(found.findings.iter().all(is_beyond), "{:?}", found.findings);
        let failing = stream::iter([Err(Error)]);
        let error = store.db.examine_positions(failing).await.expect_err("no positions");
        assert_eq!(error.to_string(), "the positions can't be read");
    })
    .await;
}

#[tokio::test]
async fn events_of_the_original_library_are_recognised_by_their_times() {
    with_store_by_time(|store| async move {
        for number in 1..=2 {
            put_legacy_row(&store, "book:1", number).await;
        }
        let at = |number: i64| {
            let time = crate::support::at(1_700_000_000_000 + number);
            let position = Position::new(number.unsigned_abs(), time, None);
            Ok::<_, Error>(StoredPosition::new("sql", "book:1", position))
        };
        let positions = stream::iter([at(1), at(2), at(3)]);
        let found = store.db.examine_positions(positions).await.expect("examined");
        let beyond = PositionProblem::Beyond { revision: 3, last: None };
        assert_eq!(found.findings.len(), 1);
        assert_eq!(found.findings[0].problem, beyond);
    })
    .await;
}
