//! Whatever the order and number of deliveries, each event is applied once and in order.

use std::sync::Arc;

use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem, Update};
use eventdb::{
    ApplyOutcome, BoxReadModel, Event, EventDb, Message, Position, Projection, ProjectionError,
    ReadModel, ReadModelError, ReceivedMessage, Step,
};
use proptest::prelude::{Just, Strategy};
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::{
    Memory, OutOfOrder, body, counted, counts, message, model, position, store_id, text, view_table,
};
use crate::support::{Store, candidate, with_store};

#[tokio::test]
async fn of_a_batch_exactly_what_failed_is_to_come_again() {
    with_store(|store| async move {
        let good = store.fill("book:1", 2).await;
        let mut poisoned = store.fill("book:2", 1).await;
        for number in [json!("poison"), json!(3)] {
            let candidate = candidate("book:2", json!({ "number": number }));
            poisoned.extend(store.db.add_new_events([candidate]).await.unwrap());
        }
        let mut without_sequence = good[0].clone();
        without_sequence.revision = None;
        "not of this store".clone_into(&mut without_sequence.id);

        let memory = Memory::default();
        let projection = Projection::new(memory.clone()).reading(store.db.clone());
        let failed = projection
            .handle_batch([
                ("later", body(&poisoned[2], true)),
                ("good", body(&good[0], true)),
                ("no JSON", "{".to_owned()),
                ("before", body(&poisoned[0], false)),
                ("poison", body(&poisoned[1], true)),
                ("no sequence", body(&without_sequence, true)),
                ("good too", body(&good[1], false)),
            ])
            .await;
        let ids: Vec<_> = failed.iter().map(|failed| failed.id.as_str()).collect();
        assert_eq!(ids, ["later", "no JSON", "poison", "no sequence"]);
        assert!(matches!(failed[0].error, ProjectionError::BehindFailure { revision: 2, .. }));
        assert!(matches!(failed[1].error, ProjectionError::Message(_)));
        assert!(matches!(
            failed[2].error,
            ProjectionError::ReadModel { revision: 2, source: OutOfOrder, .. }
        ));
        assert!(matches!(failed[3].error, ProjectionError::NotInStore { revision: None, .. }));
        assert_eq!(memory.revisions("book:1"), [1, 2]);
        assert_eq!(memory.revisions("book:2"), [1]);
        assert!(projection.handle_batch::<String, String>([]).await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_new_read_model_is_filled_from_the_store_and_goes_on_with_its_messages() {
    with_store(|store| async move {
        let id = store.db.store_id().await.unwrap();
        assert_eq!(id, store.db.store_id().await.unwrap());
        assert!(id.table().ends_with(&format!(":table/{}", store.table)), "{id}");
        let mut published = store.fill("book:1", 3).await;
        published.extend(store.fill("book:2", 2).await);
        let memory = Memory::default();
        let projection = Projection::new(memory.clone()).reading(store.db.clone());
        for event in store.db.fetch_all_events().await.unwrap().events {
            projection.handle(&ReceivedMessage::of_store(event, id.clone())).await.unwrap();
        }
        let later = store.fill("book:1", 2).await;
        let bodies = published.iter().chain(&later);
        let bodies = bodies.map(|event| (event.id.clone(), Message::of_store(event, &id).body));
        assert!(projection.handle_batch(bodies).await.is_empty());
        assert_eq!(memory.revisions("book:1"), [1, 2, 3, 4, 5]);
        assert_eq!(memory.revisions("book:2"), [1, 2]);
    })
    .await;
}

#[tokio::test]
async fn a_read_model_that_contradicts_itself_is_not_asked_for_ever() {
    #[derive(Default)]
    struct Stubborn(std::sync::atomic::AtomicU32);

    impl ReadModel for Stubborn {
        type Error = OutOfOrder;

        async fn position(&self, _: &str) -> Result<Position, OutOfOrder> {
            Ok(Position::default())
        }

        async fn apply(&self, _: &Event, _: &Step) -> Result<ApplyOutcome, OutOfOrder> {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Ok(ApplyOutcome::PositionDiffers)
        }
    }

    with_store(|store| async move {
        let events = store.fill("book:1", 1).await;
        let stubborn = Arc::new(Stubborn::default());
        let error =
            Projection::new(stubborn.clone()).handle(&message(&events[0])).await.unwrap_err();
        assert!(matches!(error, ProjectionError::StepRefused { position: 0, .. }), "{error:?}");
        assert!(stubborn.0.load(std::sync::atomic::Ordering::Relaxed) < 20);
    })
    .await;
}

#[tokio::test]
async fn types_that_a_subscription_holds_back_are_passed_over() {
    with_store(|store| async move {
        let mut events = Vec::new();
        for number in 1..=12 {
            let mut candidate = candidate("book:1", json!({ "number": number }));
            candidate.ty = format!("book.type-{}", number % 3);
            events.extend(store.db.add_new_events([candidate]).await.unwrap());
        }
        let types = ["book.type-0", "book.type-1"];
        let delivered: Vec<_> = events.iter().filter(|event| types.contains(&&*event.ty)).collect();
        let expected = [1, 3, 4, 6, 7, 9, 10, 12];
        // In order, in reverse, and with one that the filter should have held back.
        let in_order = delivered.clone();
        let reverse: Vec<_> = delivered.iter().rev().copied().collect();
        let all: Vec<_> = events.iter().collect();
        for deliveries in [in_order, reverse, all] {
            let memory = Memory::default();
            let projection =
                Projection::new(memory.clone()).reading(store.db.clone()).delivering_types(types);
            for event in deliveries.iter().chain(&deliveries) {
                projection.handle(&message(event)).await.unwrap();
            }
            assert_eq!(memory.revisions("book:1"), expected);
            assert_eq!(memory.of("book:1").0.revision, 12);
        }
        // An event that is missing from the store is a hole, whatever its type was.
        store.remove(&events[4]).await;
        let memory = Memory::default();
        let projection =
            Projection::new(memory.clone()).reading(store.db.clone()).delivering_types(types);
        let error = projection.handle(&message(&events[11])).await.unwrap_err();
        assert!(error.to_string().contains("lacks the revisions 5 to 5"), "{error}");
        assert_eq!(memory.revisions("book:1"), [1, 3, 4]);

        let without = Projection::new(Memory::default()).delivering_types(types);
        let unset = Projection::new(Memory::default()).reading(None::<EventDb>);
        for error in [
            without.handle(&message(&events[0])).await.unwrap_err(),
            unset.delivering_types(types).handle(&message(&events[0])).await.unwrap_err(),
        ] {
            let ProjectionError::FilterWithoutStore { subject, revision: 1 } = error else {
                panic!("{error}")
            };
            assert_eq!(subject, "book:1");
        }
    })
    .await;
}

#[tokio::test]
async fn one_consumer_feeds_read_models_of_several_types() {
    with_store(|store| async move {
        let table = view_table(&store.client).await;
        let memory = Arc::new(Memory::default());
        let views = [
            BoxReadModel::new(Arc::clone(&memory)),
            BoxReadModel::new(Box::new(model(&store, &table, counts(&table)))),
        ];
        let events = store.fill("book:1", 3).await;
        for view in &views {
            let projection = Projection::new(view).reading(&store.db);
            assert_eq!(projection.handle(&message(&events[2])).await.unwrap(), 3);
            assert_eq!(view.position("book:1").await.unwrap().revision, 3);
        }
        assert_eq!(memory.revisions("book:1"), [1, 2, 3]);
        let poison = candidate("book:1", json!({ "number": "poison" }));
        let poison = store.db.add_new_events([poison]).await.unwrap();
        let projection = Projection::new(views[0].clone());
        let error = projection.handle(&message(&poison[0])).await.unwrap_err();
        let ProjectionError::ReadModel { source, .. } = error else { panic!("{error}") };
        assert!(source.as_inner().is::<OutOfOrder>());
        assert_eq!(source.to_string(), OutOfOrder.to_string());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn consumers_that_meet_count_each_event_once() {
    with_store(|store| async move {
        const CONSUMERS: usize = 6;
        let mut events = store.fill("book:1", 12).await;
        events.extend(store.fill("book:2", 6).await);
        let table = view_table(&store.client).await;
        let barrier = Arc::new(Barrier::new(CONSUMERS));
        let mut consumers = JoinSet::new();
        for consumer in 0..CONSUMERS {
            let model = model(&store, &table, counts(&table));
            let projection = Projection::new(model).reading(store.db.clone());
            let mut events = events.clone();
            events.rotate_left(consumer * 3);
            let barrier = Arc::clone(&barrier);
            consumers.spawn(async move {
                barrier.wait().await;
                for batch in events.chunks(5) {
                    let batch = batch.iter().map(|event| (event.id.clone(), body(event, true)));
                    let failed = projection.handle_batch(batch).await;
                    assert!(failed.is_empty(), "{failed:?}");
                }
            });
        }
        consumers.join_all().await;
        for (subject, count) in [("book:1", 12_u64), ("book:2", 6)] {
            let total = count * (count + 1) / 2;
            let expected = (count.to_string(), total.to_string());
            assert_eq!(counted(&store.client, &table, subject).await, expected, "{subject}");
        }
        store.client.delete_table().table_name(table).send().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn view_and_position_change_together_or_not_at_all() {
    with_store(|store| async move {
        let events = store.fill("book:1", 2).await;
        let table = view_table(&store.client).await;
        let refused_table = table.clone();
        let refused = model(&store, &table, move |event| {
            let mut changes = counts(&refused_table)(event)?;
            let update = Update::builder()
                .table_name(&refused_table)
                .key("pk", text("never"))
                .key("sk", text("never"))
                .update_expression("SET seen = :one")
                .condition_expression("attribute_exists(pk)")
                .expression_attribute_values(":one", AttributeValue::N("1".to_owned()));
            changes.push(TransactWriteItem::builder().update(update.build()?).build());
            Ok(changes)
        });
        let error = Projection::new(refused).handle(&message(&events[0])).await.unwrap_err();
        let ProjectionError::ReadModel {
            source: ReadModelError::ChangeRefused { index, code, .. },
            ..
        } = error
        else {
            panic!("{error:?}")
        };
        assert_eq!((index, code.as_str()), (1, "ConditionalCheckFailed"));
        assert_eq!(position(&store, &table).await.revision, 0);
        assert_eq!(counted(&store.client, &table, "book:1").await, (String::new(), String::new()));

        let unsayable = model(&store, &table, |_| Err("no idea".into()));
        let error = Projection::new(unsayable).handle(&message(&events[0])).await.unwrap_err();
        assert!(matches!(
            error,
            ProjectionError::ReadModel { source: ReadModelError::Changes { .. }, .. }
        ));
        let many_table = table.clone();
        let many = model(&store, &table, move |event| {
            Ok((0..100).flat_map(|_| counts(&many_table)(event).unwrap()).collect())
        });
        let error = Projection::new(many).handle(&message(&events[0])).await.unwrap_err();
        let ProjectionError::ReadModel { source: error, .. } = error else { panic!("{error:?}") };
        assert_eq!(
            error.to_string(),
            format!("the event `{}` makes 100 changes; it may make at most 99", events[0].id)
        );
        assert_eq!(position(&store, &table).await.revision, 0);

        let good = model(&store, &table, counts(&table));
        assert_eq!(Projection::new(good).handle(&message(&events[0])).await.unwrap(), 1);
        let expected = Position::new(1, events[0].time, Some(store_id("Events")));
        assert_eq!(position(&store, &table).await, expected);
        assert_eq!(counted(&store.client, &table, "book:1").await, ("1".into(), "1".into()));

        let damaged = [
            ("pk".to_owned(), text("$position/counts/book:1")),
            ("sk".to_owned(), text("$position")),
            ("revision".to_owned(), text("one")),
        ];
        let put = store.client.put_item().table_name(&table).set_item(Some(damaged.into()));
        put.send().await.unwrap();
        let good = model(&store, &table, counts(&table));
        let error = Projection::new(good).handle(&message(&events[1])).await.unwrap_err();
        assert!(
            matches!(
                error,
                ProjectionError::Position { source: ReadModelError::DamagedPosition { .. }, .. }
            ),
            "{error:?}"
        );
        store.client.delete_table().table_name(table).send().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_deliveries_leave_each_event_applied_once_and_in_order() {
    with_store(|store| async move {
        let mut events = store.fill("book:1", 8).await;
        events.extend(store.fill("book:2", 4).await);
        let twice: Vec<usize> = (0..events.len()).chain(0..events.len()).collect();
        // Any order of two deliveries of each, in batches of any size.
        let deliveries = (Just(twice).prop_shuffle(), 1..10_usize);
        let runtime = tokio::runtime::Handle::current();
        let mut runner = TestRunner::new(Config { cases: 48, ..Config::default() });
        let outcome = tokio::task::block_in_place(|| {
            runner.run(&deliveries, |(order, batch)| {
                runtime.block_on(deliver(&store, &events, &order, batch));
                Ok(())
            })
        });
        outcome.unwrap();
    })
    .await;
}

async fn deliver(store: &Store, events: &[Event], order: &[usize], batch: usize) {
    for reads_the_store in [true, false] {
        let memory = Memory::default();
        let projection =
            Projection::new(memory.clone()).reading(reads_the_store.then(|| store.db.clone()));
        let mut queue: Vec<usize> = order.to_vec();
        let mut rounds = 0;
        while !queue.is_empty() {
            rounds += 1;
            assert!(rounds <= order.len() + 1, "what fails must be possible later");
            let mut again = Vec::new();
            for batch in queue.chunks(batch) {
                let messages = batch.iter().map(|index| {
                    (index.to_string(), body(&events[*index], index.is_multiple_of(2)))
                });
                let failed = projection.handle_batch(messages).await;
                again.extend(failed.iter().map(|failed| failed.id.parse::<usize>().unwrap()));
            }
            assert!(again.is_empty() || !reads_the_store, "{again:?}");
            queue = again;
        }
        assert_eq!(memory.revisions("book:1"), (1..=8).collect::<Vec<_>>());
        assert_eq!(memory.revisions("book:2"), (1..=4).collect::<Vec<_>>());
    }
}
