//! A table that the ancestor has written can be read and continued, and the ancestor can read ours.
//!
//! The ancestor's rules are those of the article: no revision, no padding, no head.

use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use eventdb::{EventCandidate, Precondition, SubjectState};
use serde_json::json;

use crate::support::{SOURCE, Store, at, candidate, candidate_with_id, with_store};

fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn number(number: i64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

async fn put_legacy(store: &Store, subject: &str, id: &str, time: i64, ty: &str) {
    let data = HashMap::from([("userId".to_owned(), text("user:456"))]);
    store
        .put_row([
            ("subject", text(subject)),
            ("time_type", text(&format!("{time}_{ty}"))),
            ("id", text(id)),
            ("type", text(ty)),
            ("source", text(SOURCE)),
            ("time", number(time)),
            ("pk_all", text("all")),
            ("data", AttributeValue::M(data)),
        ])
        .await;
}

const FIRST: i64 = 1_738_074_600_000;

/// Three events, two of them in one millisecond.
async fn legacy_store(store: &Store) {
    put_legacy(store, "book:1", "550e8400-e29b-41d4-a716-446655440000", FIRST, "book.borrowed")
        .await;
    put_legacy(store, "book:1", "legacy-2", FIRST + 5, "book.returned").await;
    put_legacy(store, "book:1", "legacy-3", FIRST + 5, "book.shelved").await;
}

#[tokio::test]
async fn legacy_events_are_read_by_every_operation() {
    with_store(|store| async move {
        legacy_store(&store).await;
        let db = &store.db;
        let history = db.fetch_events_for_subject("book:1").await.unwrap();
        let ids: Vec<_> = history.events.iter().map(|event| event.id.as_str()).collect();
        assert_eq!(ids, ["550e8400-e29b-41d4-a716-446655440000", "legacy-2", "legacy-3"]);
        let first = &history.events[0];
        assert_eq!((first.time, first.revision), (at(FIRST), None));
        assert_eq!(first.data, json!({ "userId": "user:456" }));
        assert_eq!(db.fetch_all_events().await.unwrap().events, history.events);
        assert_eq!(db.fetch_event("legacy-2").await.unwrap().as_ref(), history.events.get(1));
        let shelved = db.fetch_events_for_subject_and_type("book:1", "book.shelved").await.unwrap();
        assert_eq!(shelved.events, history.events[2..]);
        let rest = db.fetch_events_for_subject("book:1").limit(1).await.unwrap().cursor.unwrap();
        let rest = db.fetch_events_for_subject("book:1").after(rest).await.unwrap();
        assert_eq!(rest.events, history.events[1..]);
    })
    .await;
}

#[tokio::test]
async fn a_legacy_subject_is_continued_after_its_last_event() {
    with_store(|store| async move {
        legacy_store(&store).await;
        let stored =
            store.db.add_new_events([candidate("book:1", json!({}))]).await.unwrap().remove(0);
        assert_eq!(stored.revision, Some(4));
        let events = store.subject("book:1").await;
        assert_eq!(events.len(), 4);
        assert_eq!(events[3], stored);
    })
    .await;
}

#[tokio::test]
async fn preconditions_count_legacy_events() {
    with_store(|store| async move {
        let append = |subject: &str, precondition| {
            store.db.add_new_events([candidate(subject, json!({}))]).only_if(precondition)
        };
        for subject in ["book:1", "book:2", "book:3", "book:4", "book:5"] {
            put_legacy(&store, subject, &format!("legacy-of-{subject}"), FIRST, "book.borrowed")
                .await;
        }
        let actual =
            SubjectState::Populated { revision: 1, last_event_id: "legacy-of-book:1".to_owned() };
        for writing in ["book:1", "book:9"] {
            let pristine = Precondition::subject_is_pristine("book:1");
            let error = append(writing, pristine).await.unwrap_err();
            assert_eq!(error.conflict().unwrap().actual, actual);
        }
        append("book:2", Precondition::subject_is_at_revision("book:2", 1)).await.unwrap();
        append("book:9", Precondition::subject_is_populated("book:3")).await.unwrap();
        let at_event = Precondition::subject_is_at_event_id("book:4", "legacy-of-book:4");
        append("book:9", at_event).await.unwrap();
        let error = append("book:5", Precondition::subject_is_at_revision("book:5", 7)).await;
        assert_eq!(error.unwrap_err().conflict().unwrap().actual.revision(), 1);
    })
    .await;
}

#[tokio::test]
async fn sets_and_binary_of_other_writers_are_readable() {
    with_store(|store| async move {
        let set = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let data = HashMap::from([
            ("tags".to_owned(), AttributeValue::Ss(set(&["red"]))),
            ("sizes".to_owned(), AttributeValue::Ns(set(&["7"]))),
            ("cover".to_owned(), AttributeValue::B(Blob::new("\u{0}ab"))),
            ("pages".to_owned(), AttributeValue::Bs(vec![Blob::new("x")])),
        ]);
        store
            .put_row([
                ("subject", text("book:1")),
                ("time_type", text(&format!("{FIRST}_book.added"))),
                ("id", text("legacy-1")),
                ("type", text("book.added")),
                ("source", text(SOURCE)),
                ("time", number(FIRST)),
                ("pk_all", text("all")),
                ("data", AttributeValue::M(data)),
                ("unknown", AttributeValue::Bool(true)),
            ])
            .await;
        assert_eq!(
            store.subject("book:1").await[0].data,
            json!({ "tags": ["red"], "sizes": [7], "cover": "AGFi", "pages": ["eA=="] })
        );
    })
    .await;
}

/// The ancestor's validation of a row, as the article gives it.
fn assert_ancestor_reads(row: &HashMap<String, AttributeValue>) {
    for name in ["id", "type", "subject", "source"] {
        assert!(row[name].as_s().unwrap().chars().count() >= 3, "{name}");
    }
    let time: i64 = row["time"].as_n().unwrap().parse().unwrap();
    assert!(time >= 0);
    let ty = row["type"].as_s().unwrap();
    assert_eq!(row["time_type"].as_s().unwrap(), &format!("{time}_{ty}"));
    assert_eq!(row["pk_all"].as_s().unwrap(), "all");
    assert!(row["data"].is_m());
}

#[tokio::test]
async fn the_ancestor_can_read_our_events_in_our_order() {
    with_store(|store| async move {
        let full = EventCandidate::builder()
            .source(SOURCE)
            .ty("book.added")
            .subject("book:1")
            .data(json!({ "title": "Die Verwandlung" }))
            .datacontenttype("application/json")
            .dataschema("https://library.example.com/schema")
            .extension("correlationid", "order-77")
            .build();
        store.db.add_new_events([full, candidate("book:1", json!({}))]).await.unwrap();
        store.db.add_new_events([candidate_with_id("book:1", "command", json!({}))]).await.unwrap();
        // It queries a subject for all rows, in the order of the sort key.
        let query = store
            .client
            .query()
            .table_name(&store.table)
            .key_condition_expression("subject = :subject")
            .expression_attribute_values(":subject", text("book:1"))
            .send()
            .await
            .unwrap();
        let rows = query.items();
        let revisions: Vec<_> =
            rows.iter().map(|row| row["revision"].as_n().unwrap().as_str()).collect();
        assert_eq!(revisions, ["1", "2", "3"], "no head or guard among them");
        rows.iter().for_each(assert_ancestor_reads);
    })
    .await;
}
