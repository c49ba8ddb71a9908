//! Read models: each event once and in order, whatever the order and number of its deliveries.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType,
    ScalarAttributeType, TransactWriteItem, Update,
};
use eventdb::{
    BoxError, DynamoDbReadModel, Event, EventDb, Message, Position, PositionTable, Projection,
    ProjectionError, ReadModel, ReadModelError, Taken,
};
use proptest::prelude::{Just, Strategy};
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::support::{Store, candidate, with_store};

/// A view that remembers the revisions of each subject as they were applied, in memory.
#[derive(Debug, Clone, Default)]
struct Memory(Arc<Mutex<HashMap<String, Vec<u64>>>>);

impl Memory {
    fn revisions(&self, subject: &str) -> Vec<u64> {
        self.0.lock().unwrap().get(subject).cloned().unwrap_or_default()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the view is out of order")]
struct OutOfOrder;

impl ReadModel for Memory {
    type Error = OutOfOrder;

    async fn position(&self, subject: &str) -> Result<Position, OutOfOrder> {
        let revision = self.revisions(subject).last().copied().unwrap_or_default();
        Ok(Position { revision, ..Position::default() })
    }

    async fn apply(&self, event: &Event, to: Position) -> Result<Taken, OutOfOrder> {
        if event.data["number"] == "poison" {
            return Err(OutOfOrder);
        }
        let mut subjects = self.0.lock().unwrap();
        let revisions = subjects.entry(event.subject.clone()).or_default();
        if revisions.last().copied().unwrap_or_default() + 1 != to.revision {
            return Ok(Taken::Elsewhere);
        }
        revisions.push(to.revision);
        Ok(Taken::Applied)
    }
}

/// The message of an event as a queue delivers it, with SNS's envelope or without.
fn body(event: &Event, is_raw: bool) -> String {
    let body = Message::new(event).body;
    if is_raw {
        return body;
    }
    let topic = "arn:aws:sns:eu-west-1:111111111111:EventDB";
    json!({ "Type": "Notification", "TopicArn": topic, "Message": body }).to_string()
}

/// A table for a view, with a partition key `pk` and a sort key `sk`.
async fn view_table(client: &Client) -> String {
    let name = format!("view-{}", Uuid::now_v7());
    let key =
        |name, ty| KeySchemaElement::builder().attribute_name(name).key_type(ty).build().unwrap();
    let attribute = |name| {
        let attribute = AttributeDefinition::builder().attribute_name(name);
        attribute.attribute_type(ScalarAttributeType::S).build().unwrap()
    };
    let table = client.create_table().table_name(&name).billing_mode(BillingMode::PayPerRequest);
    let table = table.key_schema(key("pk", KeyType::Hash)).key_schema(key("sk", KeyType::Range));
    let table = table.attribute_definitions(attribute("pk"));
    table.attribute_definitions(attribute("sk")).send().await.unwrap();
    name
}

fn positions(table: &str) -> PositionTable {
    PositionTable {
        table: table.to_owned(),
        partition_key: "pk".to_owned(),
        sort_key: Some("sk".to_owned()),
        read_model: "counts".to_owned(),
    }
}

fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

/// Counts a subject's events and adds up their numbers, in one item.
fn counts(table: &str) -> impl Fn(&Event) -> Result<Vec<TransactWriteItem>, BoxError> + use<> {
    let table = table.to_owned();
    move |event| {
        let number = event.data["number"].as_u64().ok_or("`number` is no number")?;
        let update = Update::builder()
            .table_name(&table)
            .key("pk", text(&event.subject))
            .key("sk", text("counts"))
            .update_expression("ADD count_of_events :one, sum_of_numbers :number")
            .expression_attribute_values(":one", AttributeValue::N("1".to_owned()))
            .expression_attribute_values(":number", AttributeValue::N(number.to_string()));
        Ok(vec![TransactWriteItem::builder().update(update.build()?).build()])
    }
}

fn model(
    store: &Store,
    table: &str,
    changes: impl Fn(&Event) -> Result<Vec<TransactWriteItem>, BoxError> + Send + Sync + 'static,
) -> DynamoDbReadModel {
    DynamoDbReadModel::new(store.client.clone(), positions(table), changes)
}

async fn position(store: &Store, table: &str) -> Position {
    model(store, table, counts(table)).position("book:1").await.unwrap()
}

async fn counted(client: &Client, table: &str, subject: &str) -> (String, String) {
    let request = client.get_item().table_name(table).consistent_read(true);
    let request = request.key("pk", text(subject)).key("sk", text("counts"));
    let item = request.send().await.unwrap().item.unwrap_or_default();
    let number = |name: &str| item.get(name).map(|value| value.as_n().unwrap().clone());
    (number("count_of_events").unwrap_or_default(), number("sum_of_numbers").unwrap_or_default())
}

#[tokio::test]
async fn repetitions_are_passed_over_and_gaps_are_closed() {
    with_store(|store| async move {
        let events = store.fill("book:1", 5).await;
        let memory = Memory::default();
        let projection = Projection::new(memory.clone()).reading(store.db.clone());
        assert_eq!(projection.handle(&events[0]).await.unwrap(), 1);
        assert_eq!(projection.handle(&events[0]).await.unwrap(), 0, "a repetition");
        assert_eq!(projection.handle(&events[3]).await.unwrap(), 3, "two were missing");
        assert_eq!(projection.handle(&events[1]).await.unwrap(), 0, "it comes late");
        assert_eq!(projection.handle(&events[4]).await.unwrap(), 1);
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
        assert_eq!(projection.handle(&last[2]).await.unwrap(), 12);
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
        let early = projection.handle(&events[1]).await.unwrap_err();
        assert_eq!(early.to_string(), "`book:1` is at revision 0; revision 2 has come too early");
        // Within a batch the order is restored.
        let batch = [&events[2], &events[0], &events[1]];
        let batch = batch.map(|event| (event.id.clone(), body(event, false)));
        assert!(projection.handle_batch(batch).await.is_empty());
        assert_eq!(memory.revisions("book:1"), [1, 2, 3]);
    })
    .await;
}

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
        assert!(matches!(failed[0].error, ProjectionError::BehindFailure));
        assert!(matches!(failed[1].error, ProjectionError::Message(_)));
        assert!(matches!(failed[2].error, ProjectionError::ReadModel(OutOfOrder)));
        assert!(matches!(failed[3].error, ProjectionError::NoSequence { .. }));
        assert_eq!(memory.revisions("book:1"), [1, 2]);
        assert_eq!(memory.revisions("book:2"), [1]);
        assert!(projection.handle_batch::<String, String>([]).await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_closed_is_said() {
    with_store(|store| async move {
        let events = store.fill("book:1", 3).await;
        // The subscriber was given the wrong table.
        EventDb::create_table(&store.client, format!("{}-other", store.table)).await.unwrap();
        let other = EventDb::new(store.client.clone(), format!("{}-other", store.table));
        let projection = Projection::new(Memory::default()).reading(other);
        let error = projection.handle(&events[2]).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "a gap can't be closed: the store lacks the revisions 1 to 2 of `book:1`"
        );
        store
            .client
            .delete_table()
            .table_name(format!("{}-other", store.table))
            .send()
            .await
            .unwrap();

        let key = [
            ("subject".to_owned(), text("book:1")),
            (
                "time_type".to_owned(),
                text(eventdb::item::time_type(events[1].time, "book.borrowed")),
            ),
        ];
        let removal = store.client.delete_item().table_name(&store.table);
        removal.set_key(Some(key.into())).send().await.unwrap();
        let memory = Memory::default();
        let projection = Projection::new(memory.clone()).reading(store.db.clone());
        let error = projection.handle(&events[2]).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "a gap can't be closed: the store lacks the revisions 2 to 2 of `book:1`"
        );
        assert_eq!(memory.revisions("book:1"), [1]);

        let bad = [("subject", text("book:2")), ("time_type", text("1600000000000_book.borrowed"))];
        store.put_row(bad).await;
        let mut event = events[2].clone();
        "book:2".clone_into(&mut event.subject);
        let error = projection.handle(&event).await.unwrap_err();
        assert!(matches!(error, ProjectionError::InvalidItem(_)), "{error:?}");
    })
    .await;
}

#[tokio::test]
async fn a_legacy_history_is_caught_up_with() {
    with_store(|store| async move {
        for number in 1..=3_u64 {
            let data = [("number".to_owned(), AttributeValue::N(number.to_string()))];
            store
                .put_row([
                    ("subject", text("book:1")),
                    ("time_type", text(format!("170000000000{number}_book.borrowed"))),
                    ("id", text(format!("legacy-{number}"))),
                    ("type", text("book.borrowed")),
                    ("source", text(crate::support::SOURCE)),
                    ("time", AttributeValue::N(format!("170000000000{number}"))),
                    ("pk_all", text("all")),
                    ("data", AttributeValue::M(data.into())),
                ])
                .await;
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
        assert_eq!(projection.handle(&first).await.unwrap(), 1);
        assert_eq!(projection.handle(&events[0]).await.unwrap(), 3);
        let counted = counted(&store.client, &table, "book:1").await;
        assert_eq!(counted, ("4".to_owned(), "10".to_owned()));
        store.client.delete_table().table_name(table).send().await.unwrap();
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
        let error = Projection::new(refused).handle(&events[0]).await.unwrap_err();
        let ProjectionError::ReadModel(ReadModelError::ChangeRefused { index, code, .. }) = error
        else {
            panic!("{error:?}")
        };
        assert_eq!((index, code.as_str()), (1, "ConditionalCheckFailed"));
        assert_eq!(position(&store, &table).await.revision, 0);
        assert_eq!(counted(&store.client, &table, "book:1").await, (String::new(), String::new()));

        let unsayable = model(&store, &table, |_| Err("no idea".into()));
        let error = Projection::new(unsayable).handle(&events[0]).await.unwrap_err();
        assert!(matches!(error, ProjectionError::ReadModel(ReadModelError::Changes { .. })));
        let many_table = table.clone();
        let many = model(&store, &table, move |event| {
            Ok((0..100).flat_map(|_| counts(&many_table)(event).unwrap()).collect())
        });
        let error = Projection::new(many).handle(&events[0]).await.unwrap_err();
        let ProjectionError::ReadModel(error) = error else { panic!("{error:?}") };
        assert_eq!(
            error.to_string(),
            format!("the event `{}` makes 100 changes; allowed are 99", events[0].id)
        );
        assert_eq!(position(&store, &table).await.revision, 0);

        let good = model(&store, &table, counts(&table));
        assert_eq!(Projection::new(good).handle(&events[0]).await.unwrap(), 1);
        let expected = Position { revision: 1, time: events[0].time };
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
        let error = Projection::new(good).handle(&events[1]).await.unwrap_err();
        assert!(
            matches!(error, ProjectionError::ReadModel(ReadModelError::DamagedPosition { .. })),
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
        let mut projection = Projection::new(memory.clone());
        if reads_the_store {
            projection = projection.reading(store.db.clone());
        }
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
