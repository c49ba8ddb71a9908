//! Positions belong to one read model and one store.

use eventdb::{
    DynamoDbReadModel, Event, Message, Position, PositionTable, Projection, ProjectionError,
    ReadModel, ReceivedMessage, StoreId,
};

use super::{
    Memory, body, counted, counts, message, model, position, positions, store_id, view_table,
};
use crate::support::with_store;

#[tokio::test]
async fn two_stores_with_one_subject_are_never_taken_for_each_other() {
    with_store(|store| async move {
        let events = store.fill("user:1", 3).await;
        let table = view_table(&store.client).await;
        let memory = Memory::default();
        let counting = Projection::new(model(&store, &table, counts(&table)));
        let remembering = Projection::new(memory.clone());
        let other = |event: &Event| ReceivedMessage::of_store(event.clone(), store_id("Elsewhere"));
        for event in &events[..2] {
            assert_eq!(counting.handle(&message(event)).await.unwrap(), 1);
            assert_eq!(remembering.handle(&message(event)).await.unwrap(), 1);
        }
        // What would be a repetition, the next one, and one of a store that isn't named.
        let unnamed = ReceivedMessage::from(events[1].clone());
        for received in [other(&events[0]), other(&events[2]), unnamed] {
            let expected = store_id("Events");
            let error = counting.handle(&received).await.unwrap_err();
            let ProjectionError::OtherStore(error) = error else { panic!("{error:?}") };
            assert_eq!((&error.expected, &error.actual), (&expected, &received.store));
            assert!(error.to_string().contains(expected.as_str()) && !error.is_same_table());
            let error = remembering.handle(&received).await.unwrap_err();
            assert!(matches!(error, ProjectionError::OtherStore(_)), "{error:?}");
        }
        let of_two = ("2".to_owned(), "3".to_owned());
        assert_eq!(counted(&store.client, &table, "user:1").await, of_two);

        // In a batch the one store doesn't hold back the other.
        let batch = [
            ("other", Message::of_store(&events[0], &store_id("Elsewhere")).body),
            ("next", body(&events[2], true)),
        ];
        let failed = counting.handle_batch(batch).await;
        assert_eq!(failed.iter().map(|failed| failed.id.as_str()).collect::<Vec<_>>(), ["other"]);

        // A subject that only the other store has is fine.
        let mut elsewhere = events[0].clone();
        "user:2".clone_into(&mut elsewhere.subject);
        assert_eq!(counting.handle(&other(&elsewhere)).await.unwrap(), 1);
        store.client.delete_table().table_name(table).send().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_store_that_has_moved_is_accepted_by_name() {
    with_store(|store| async move {
        let events = store.fill("book:1", 4).await;
        let table = view_table(&store.client).await;
        let recreated: StoreId =
            store_id("Events").to_string().replace("2025", "2026").parse().unwrap();
        let moved = |event: &Event| ReceivedMessage::of_store(event.clone(), recreated.clone());
        let projection = Projection::new(model(&store, &table, counts(&table)));
        // An older version of the publisher didn't say the store.
        let unnamed = ReceivedMessage::from(events[0].clone());
        assert_eq!(projection.handle(&unnamed).await.unwrap(), 1);
        assert_eq!(projection.handle(&message(&events[1])).await.unwrap(), 1);
        let error = projection.handle(&moved(&events[2])).await.unwrap_err();
        let ProjectionError::OtherStore(error) = error else { panic!("{error:?}") };
        assert!(error.is_same_table() && error.to_string().contains("created again"), "{error}");

        let projection = projection.with_moved_store(store_id("Events"), recreated.clone());
        assert_eq!(projection.handle(&moved(&events[2])).await.unwrap(), 1);
        assert_eq!(position(&store, &table).await.store, Some(recreated.clone()));
        assert_eq!(projection.handle(&message(&events[2])).await.unwrap(), 0, "it comes late");
        assert_eq!(projection.handle(&message(&events[3])).await.unwrap(), 1);
        let expected = Position::new(4, events[3].time, Some(recreated));
        assert_eq!(position(&store, &table).await, expected);
        store.client.delete_table().table_name(table).send().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn names_of_read_models_share_a_table_whatever_is_in_them() {
    with_store(|store| async move {
        let events = store.fill("book:1", 1).await;
        let table = view_table(&store.client).await;
        let named = |name: &str| {
            let positions = PositionTable { read_model: name.to_owned(), ..positions(&table) };
            let model = DynamoDbReadModel::new(store.client.clone(), positions, |_| Ok(vec![]));
            Projection::new(model)
        };
        let (mut other, mut nested) = (events[0].clone(), events[0].clone());
        // The name `x` with the subject `a/bbb`, and the name `x/a` with a subject that ends alike.
        "bbb".clone_into(&mut nested.subject);
        "a/bbb".clone_into(&mut other.subject);
        assert_eq!(named("x").handle(&message(&other)).await.unwrap(), 1);
        assert_eq!(named("x/a").handle(&message(&nested)).await.unwrap(), 1, "not a repetition");
        store.client.delete_table().table_name(table).send().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_table_of_positions_with_other_keys_is_not_taken_for_one_of_events() {
    with_store(|store| async move {
        // Its keys aren't those of the positions.
        let model = model(&store, &store.table, |_| Ok(vec![]));
        let error = model.position("book:1").await.unwrap_err();
        let text = format!("{error:?}");
        assert!(text.contains("does not match the schema"), "{text}");
        assert!(!text.contains("OtherLayout"), "{text}");
    })
    .await;
}
