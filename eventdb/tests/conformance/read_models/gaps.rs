//! What a read model missed is read from the store.

use eventdb::{EventDb, Projection, ProjectionError};
use serde_json::json;

use super::{Memory, body, counted, counts, damage, message, model, put_legacy_row, view_table};
use crate::support::{candidate, with_store, with_store_by_time};

#[tokio::test]
async fn repetitions_are_passed_over_and_gaps_are_closed() {
    with_store(|store| async move {
        let events = store.fill("book:1", 5).await;
        let memory = Memory::default();
        let projection = Projection::new(memory.clone()).reading(store.db.clone());
        assert_eq!(projection.handle(&message(&events[0])).await.unwrap(), 1);
        assert_eq!(projection.handle(&message(&events[0])).await.unwrap(), 0, "a repetition");
        assert_eq!(projection.handle(&message(&events[3])).await.unwrap(), 3, "two were missing");
        assert_eq!(projection.handle(&message(&events[1])).await.unwrap(), 0, "it comes late");
        assert_eq!(projection.handle(&message(&events[4])).await.unwrap(), 1);
        assert_eq!(memory.revisions("book:1"), [1, 2, 3, 4, 5]);
    })
    .await;
}

#[tokio::test]
async fn a_new_read_model_catches_up_with_a_subject_of_several_pages() {
    with_store(|store| async move {
        let large = "x".repeat(200_000);
        let mut last = Vec::new();
        for _ in 0..4 {
            let events = (0..3).map(|_| candidate("book:1", json!({ "filling": large })));
            last = store.db.add_new_events(events).await.unwrap();
        }
        let memory = Memory::default();
        let projection = Projection::new(memory.clone()).reading(store.db.clone());
        assert_eq!(projection.handle(&message(&last[2])).await.unwrap(), 12);
        assert_eq!(memory.revisions("book:1"), (1..=12).collect::<Vec<_>>());
    })
    .await;
}

#[tokio::test]
async fn what_comes_too_early_without_a_store_is_to_come_again() {
    with_store(|store| async move {
        let events = store.fill("book:1", 3).await;
        let memory = Memory::default();
        let projection = Projection::new(memory.clone());
        let early = projection.handle(&message(&events[1])).await.unwrap_err();
        assert_eq!(
            early.to_string(),
            "`book:1` is at revision 0; revision 2 was delivered too early"
        );
        // Within a batch the order is restored.
        let batch = [&events[2], &events[0], &events[1]];
        let batch = batch.map(|event| (event.id.clone(), body(event, false)));
        assert!(projection.handle_batch(batch).await.is_empty());
        assert_eq!(memory.revisions("book:1"), [1, 2, 3]);
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_closed_is_said() {
    with_store(|store| async move {
        let events = store.fill("book:1", 3).await;
        // The subscriber was given the wrong table.
        let other = format!("{}-other", store.table);
        EventDb::create_table(&store.client, &other).layout(store.layout).await.unwrap();
        let other = EventDb::new(store.client.clone(), other).with_layout(store.layout);
        let projection = Projection::new(Memory::default()).reading(other);
        let error = projection.handle(&message(&events[2])).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "the store doesn't count the event `{}` of `book:1` at revision 3: either the projection \
                 reads another store than the messages come from, or the row was removed, or another \
                 library wrote it without a revision behind rows that have one",
                events[2].id
            )
        );
        store
            .client
            .delete_table()
            .table_name(format!("{}-other", store.table))
            .send()
            .await
            .unwrap();

        store.remove(&events[1]).await;
        let memory = Memory::default();
        let projection = Projection::new(memory.clone()).reading(store.db.clone());
        let error = projection.handle(&message(&events[2])).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the store lacks the revisions 2 to 2 of `book:1`; put them back, or let the projection pass \
             over them"
        );
        assert_eq!(memory.revisions("book:1"), [1]);
    })
    .await;
}

#[tokio::test]
async fn good_events_before_a_bad_row_are_applied_and_the_row_is_named() {
    with_store(|store| async move {
        let events = store.fill("book:1", 6).await;
        damage(&store, &events[2]).await;
        let memory = Memory::default();
        let projection = Projection::new(memory.clone()).reading(store.db.clone());
        let error = projection.handle(&message(&events[4])).await.unwrap_err();
        let ProjectionError::InvalidItem { subject, revisions, source } = error else {
            panic!("{error:?}")
        };
        assert_eq!((subject.as_str(), revisions), ("book:1", 3..=3));
        assert!(source.reason.contains("`source` is missing"), "{source}");
        assert_eq!(memory.revisions("book:1"), [1, 2], "what comes before it is applied");

        // One way on: without it.
        let projection = projection.passing_over("book:1", 3..=3);
        assert_eq!(projection.handle(&message(&events[4])).await.unwrap(), 2);
        assert_eq!(memory.revisions("book:1"), [1, 2, 4, 5]);
        assert_eq!(projection.handle(&message(&events[5])).await.unwrap(), 1);

        // The other: the row is repaired in place.
        let memory = Memory::default();
        let projection = Projection::new(memory.clone()).reading(store.db.clone());
        projection.handle(&message(&events[5])).await.unwrap_err();
        let request = store.client.put_item().table_name(&store.table);
        request.set_item(Some(store.item(&events[2]))).send().await.unwrap();
        assert_eq!(projection.handle(&message(&events[5])).await.unwrap(), 4);
        assert_eq!(memory.revisions("book:1"), [1, 2, 3, 4, 5, 6]);
    })
    .await;
}

#[tokio::test]
async fn a_failure_inside_a_gap_names_the_revision_that_failed() {
    with_store(|store| async move {
        let mut events = store.fill("book:1", 1).await;
        for number in [json!("poison"), json!(3), json!(4), json!(5)] {
            let candidate = candidate("book:1", json!({ "number": number }));
            events.extend(store.db.add_new_events([candidate]).await.unwrap());
        }
        let memory = Memory::default();
        let projection = Projection::new(memory.clone()).reading(store.db.clone());
        let error = projection.handle(&message(&events[4])).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "the read model failed on revision 2 of `book:1`, the event `{}`",
                events[1].id
            )
        );
        assert_eq!(memory.revisions("book:1"), [1]);
    })
    .await;
}

#[tokio::test]
async fn a_hole_that_is_known_is_passed_over_with_and_without_a_store() {
    with_store(|store| async move {
        let events = store.fill("book:1", 5).await;
        for event in &events[1..3] {
            store.remove(event).await;
        }
        for reader in [Some(store.db.clone()), None] {
            let memory = Memory::default();
            let projection = Projection::new(memory.clone()).reading(reader);
            projection.handle(&message(&events[0])).await.unwrap();
            projection.handle(&message(&events[3])).await.unwrap_err();
            let half = projection.clone().passing_over("book:1", 2..=2);
            half.handle(&message(&events[3])).await.unwrap_err();
            let projection = projection.passing_over("book:1", 2..=2).passing_over("book:1", 3..=3);
            assert_eq!(projection.handle(&message(&events[3])).await.unwrap(), 1);
            assert_eq!(projection.handle(&message(&events[4])).await.unwrap(), 1);
            assert_eq!(memory.revisions("book:1"), [1, 4, 5]);
        }
    })
    .await;
}

#[tokio::test]
async fn a_subject_with_legacy_events_only_is_projected() {
    with_store_by_time(|store| async move {
        for number in 1..=4 {
            put_legacy_row(&store, "book:1", number).await;
        }
        let events = store.subject("book:1").await;
        assert!(events.iter().all(|event| event.revision.is_none()));
        let memory = Memory::default();
        let alone = Projection::new(memory.clone());
        let error = alone.handle(&message(&events[0])).await.unwrap_err();
        assert!(matches!(error, ProjectionError::NoSequence { .. }), "{error:?}");
        let projection = alone.reading(store.db.clone());
        let deliveries = [(1, 2), (0, 0), (1, 0), (3, 2), (2, 0)];
        for (index, applied) in deliveries {
            assert_eq!(projection.handle(&message(&events[index])).await.unwrap(), applied);
        }
        assert_eq!(memory.revisions("book:1"), [1, 2, 3, 4]);

        // Adopted by a writer of ours, the count goes on.
        let next = store.db.add_new_events([candidate("book:1", json!({ "number": 5 }))]);
        let next = next.await.unwrap().remove(0);
        assert_eq!(projection.handle(&message(&next)).await.unwrap(), 1);
        assert_eq!(memory.revisions("book:1"), [1, 2, 3, 4, 5]);

        let mut unknown = events[0].clone();
        "legacy-9".clone_into(&mut unknown.id);
        let error = projection.handle(&message(&unknown)).await.unwrap_err();
        assert!(matches!(error, ProjectionError::NotInStore { revision: None, .. }), "{error:?}");
    })
    .await;
}

#[tokio::test]
async fn a_legacy_history_is_caught_up_with() {
    with_store_by_time(|store| async move {
        for number in 1..=3 {
            put_legacy_row(&store, "book:1", number).await;
        }
        let new = candidate("book:1", json!({ "number": 4 }));
        let events = store.db.add_new_events([new]).await.unwrap();
        assert_eq!(events[0].revision, Some(4));
        let table = view_table(&store.client).await;
        let model = model(&store, &table, counts(&table));
        // Broken off within the legacy part, the next read counts from the first one on.
        let mut first = store.subject("book:1").await.remove(0);
        first.revision = Some(1);
        let projection = Projection::new(model).reading(store.db.clone());
        assert_eq!(projection.handle(&message(&first)).await.unwrap(), 1);
        assert_eq!(projection.handle(&message(&events[0])).await.unwrap(), 3);
        let counted = counted(&store.client, &table, "book:1").await;
        assert_eq!(counted, ("4".to_owned(), "10".to_owned()));
        store.client.delete_table().table_name(table).send().await.unwrap();
    })
    .await;
}
