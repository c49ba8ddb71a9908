//! Read models: each event once and in order, whatever the order and number of its deliveries.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType,
    ScalarAttributeType, TransactWriteItem, Update,
};
use eventdb::{
    ApplyOutcome, BoxError, BoxReadModel, DynamoDbReadModel, Event, EventDb, Message, Parked,
    ParkingReadModel, Position, PositionTable, Projection, ProjectionError, ReadModel,
    ReadModelError, ReceivedMessage, Step, StoreId, WaitError,
};
use proptest::prelude::{Just, Strategy};
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::support::{Store, candidate, with_store, with_store_by_time};

/// A view that remembers the revisions of each subject as they were applied, in memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory(Arc<Mutex<HashMap<String, Applied>>>);

/// The position of a subject, and the revisions of what was applied.
type Applied = (Position, Vec<u64>);

impl Memory {
    fn of(&self, subject: &str) -> Applied {
        self.0.lock().unwrap().get(subject).cloned().unwrap_or_default()
    }

    pub(crate) fn revisions(&self, subject: &str) -> Vec<u64> {
        self.of(subject).1
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the view is out of order")]
pub(crate) struct OutOfOrder;

impl ReadModel for Memory {
    type Error = OutOfOrder;

    async fn position(&self, subject: &str) -> Result<Position, OutOfOrder> {
        Ok(self.of(subject).0)
    }

    async fn apply(&self, event: &Event, step: &Step) -> Result<ApplyOutcome, OutOfOrder> {
        if event.data["number"] == "poison" {
            return Err(OutOfOrder);
        }
        let mut subjects = self.0.lock().unwrap();
        let (position, revisions) = subjects.entry(event.subject.clone()).or_default();
        if !step.begins_at(position) {
            return Ok(ApplyOutcome::PositionDiffers);
        }
        assert_eq!(event.revision, Some(step.to.revision));
        *position = step.to.clone();
        revisions.push(step.to.revision);
        Ok(ApplyOutcome::Applied)
    }
}

impl ParkingReadModel for Memory {
    async fn mark(
        &self,
        subject: &str,
        position: &Position,
        parked: Option<&Parked>,
    ) -> Result<ApplyOutcome, OutOfOrder> {
        let mut subjects = self.0.lock().unwrap();
        let (current, _) = subjects.entry(subject.to_owned()).or_default();
        if (current.revision, &current.store) != (position.revision, &position.store) {
            return Ok(ApplyOutcome::PositionDiffers);
        }
        *current = current.clone().with_parked(parked.cloned());
        Ok(ApplyOutcome::Applied)
    }
}

pub(crate) fn store_id(table: &str) -> StoreId {
    let arn = format!("arn:aws:dynamodb:eu-west-1:111111111111:table/{table}");
    format!("{arn}/stream/2025-01-28T14:00:00.000").parse().unwrap()
}

/// An event as its message brings it.
fn message(event: &Event) -> ReceivedMessage {
    ReceivedMessage::of_store(event.clone(), store_id("Events"))
}

/// The message of an event as a queue delivers it, with SNS's envelope or without.
fn body(event: &Event, is_raw: bool) -> String {
    let body = Message::of_store(event, &store_id("Events")).body;
    if is_raw {
        return body;
    }
    let topic = "arn:aws:sns:eu-west-1:111111111111:EventDB";
    json!({ "Type": "Notification", "TopicArn": topic, "Message": body }).to_string()
}

/// A table for a view, with a partition key `pk` and a sort key `sk`.
pub(crate) async fn view_table(client: &Client) -> String {
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
pub(crate) fn counts(
    table: &str,
) -> impl Fn(&Event) -> Result<Vec<TransactWriteItem>, BoxError> + use<> {
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

pub(crate) fn model(
    store: &Store,
    table: &str,
    changes: impl Fn(&Event) -> Result<Vec<TransactWriteItem>, BoxError> + Send + Sync + 'static,
) -> DynamoDbReadModel {
    DynamoDbReadModel::new(store.client.clone(), positions(table), changes)
}

async fn position(store: &Store, table: &str) -> Position {
    model(store, table, counts(table)).position("book:1").await.unwrap()
}

pub(crate) async fn counted(client: &Client, table: &str, subject: &str) -> (String, String) {
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

/// Puts a row as another library writes it: without a revision.
pub(crate) async fn put_legacy_row(store: &Store, subject: &str, number: u64) {
    let data = [("number".to_owned(), AttributeValue::N(number.to_string()))];
    store
        .put_row([
            ("subject", text(subject)),
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

/// Makes the row of an event one that can't be read, keeping what the store counts by.
async fn damage(store: &Store, event: &Event) {
    let mut row = store.item(event);
    row.remove("source");
    store.client.put_item().table_name(&store.table).set_item(Some(row)).send().await.unwrap();
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

/// Five events of a subject, of which one can't be applied.
pub(crate) async fn fill_with_poison(store: &Store, subject: &str, poison: u64) -> Vec<Event> {
    let mut events = Vec::new();
    for number in 1..=5 {
        let number = if number == poison { json!("poison") } else { json!(number) };
        let candidate = candidate(subject, json!({ "number": number }));
        events.extend(store.db.add_new_events([candidate]).await.unwrap());
    }
    events
}

pub(crate) async fn repair(store: &Store, event: &Event) {
    let mut repaired = event.clone();
    repaired.data = json!({ "number": event.revision }).into();
    let row = store.item(&repaired);
    store.put_row(row.iter().map(|(name, value)| (name.as_str(), value.clone()))).await;
}

async fn parks_and_goes_on<M: ParkingReadModel + Clone>(store: &Store, model: M, poison: u64) {
    let subject = format!("book:{poison}");
    let events = fill_with_poison(store, &subject, poison).await;
    let others = store.fill(&format!("book:other-{poison}"), 1).await;
    let projection = Projection::new(model.clone()).reading(store.db.clone());
    let place = usize::try_from(poison - 1).unwrap();
    let batch = |receives: u32| {
        let messages = events[..4].iter().chain(&others);
        messages.map(move |event| (event.id.clone(), body(event, true), receives))
    };
    // The poisoned event and those behind it are to be delivered again.
    let failed = projection.handle_batch_or_park(batch(2), 3).await;
    assert_eq!(failed.len(), 4 - place);
    let failed = projection.handle_batch_or_park(batch(3), 3).await;
    assert_eq!(failed.len(), 4 - place - 1, "those behind it, which nobody has looked at");
    let position = model.position(&subject).await.unwrap();
    let parked = position.parked.clone().unwrap();
    assert_eq!((position.revision, parked.revision), (poison - 1, poison));
    assert!(parked.reason.contains(&format!("revision {poison} of `{subject}`")), "{parked:?}");

    // Everything is acknowledged from now on, the poisoned event, too, and nothing is applied.
    assert!(projection.handle_batch_or_park(batch(1), 3).await.is_empty());
    assert_eq!(projection.handle(&message(&events[4])).await.unwrap(), 0);
    assert_eq!(model.position(&subject).await.unwrap(), position);
    let error = projection.handle(&message(&events[place])).await;
    assert_eq!(error.unwrap(), 0);
    let again = projection.retry(&subject).await.unwrap_err();
    assert!(again.can_be_parked());
    assert_eq!(model.position(&subject).await.unwrap(), position);

    repair(store, &events[place]).await;
    assert_eq!(projection.retry(&subject).await.unwrap(), 5 - (poison - 1));
    // Its message is still what it was, and may be delivered again.
    assert_eq!(projection.handle(&message(&events[place])).await.unwrap(), 0);
    let position = model.position(&subject).await.unwrap();
    assert_eq!((position.revision, position.parked), (5, None));
    assert_eq!(projection.retry(&subject).await.unwrap(), 0);
    let next = store.db.add_new_events([candidate(&subject, json!({ "number": 6 }))]).await;
    assert_eq!(projection.handle(&message(&next.unwrap()[0])).await.unwrap(), 1);
}

#[tokio::test]
async fn a_subject_with_a_poisoned_event_is_parked_and_goes_on_from_the_store() {
    with_store(|store| async move {
        let table = view_table(&store.client).await;
        for poison in [1, 3] {
            let memory = Memory::default();
            parks_and_goes_on(&store, memory.clone(), poison).await;
            assert_eq!(memory.revisions(&format!("book:{poison}")), [1, 2, 3, 4, 5, 6]);
        }
        for poison in [2, 4] {
            let model = model(&store, &table, counts(&table));
            parks_and_goes_on(&store, model, poison).await;
            let counted = counted(&store.client, &table, &format!("book:{poison}")).await;
            assert_eq!(counted, ("6".to_owned(), "21".to_owned()));
        }
    })
    .await;
}

#[tokio::test]
async fn a_dynamodb_view_can_be_parked_before_its_first_event() {
    with_store(|store| async move {
        let table = view_table(&store.client).await;
        let model = model(&store, &table, counts(&table));
        let events = fill_with_poison(&store, "book:1", 1).await;
        let projection = Projection::new(model.clone()).reading(store.db.clone());
        let error = projection.handle(&message(&events[0])).await.unwrap_err();
        projection.park(&message(&events[0]), &error).await.unwrap();
        assert_eq!(projection.handle(&message(&events[4])).await.unwrap(), 0);
        // Without the event: what can't be repaired is passed over.
        store.remove(&events[0]).await;
        assert!(projection.retry("book:1").await.unwrap_err().can_be_parked());
        let projection = projection.passing_over("book:1", 1..=1);
        assert_eq!(projection.retry("book:1").await.unwrap(), 4);
        assert_eq!(model.position("book:1").await.unwrap().parked, None);
        assert_eq!(projection.handle(&message(&events[4])).await.unwrap(), 0);
    })
    .await;
}

#[tokio::test]
async fn parked_subjects_of_one_read_model_are_listed_and_go_on() {
    with_store(|store| async move {
        let table = view_table(&store.client).await;
        let model = model(&store, &table, counts(&table));
        assert_eq!(model.parked_subjects().await.unwrap(), []);
        let other = PositionTable { read_model: "counts/2".to_owned(), ..positions(&table) };
        let other = DynamoDbReadModel::new(store.client.clone(), other, counts(&table));
        let (projection, of_other) =
            (Projection::new(model.clone()), Projection::new(other.clone()));
        let (projection, of_other) =
            (projection.reading(store.db.clone()), of_other.reading(store.db.clone()));
        store.fill("book:good", 3).await;
        let mut parked = Vec::new();
        for (number, poison) in [(1, 3), (2, 1), (3, 2)] {
            let subject = format!("book:{number}");
            let events = fill_with_poison(&store, &subject, poison).await;
            let message = message(&events[4]);
            let error = projection.handle(&message).await.unwrap_err();
            projection.park(&message, &error).await.unwrap();
            let mark = model.position(&subject).await.unwrap().parked.unwrap();
            assert_eq!(mark.revision, poison);
            parked.push((mark.since, subject.clone(), mark));
            if number == 1 {
                of_other.park(&message, &error).await.unwrap();
            }
        }
        parked.sort_by_key(|(since, subject, _)| (*since, subject.clone()));
        let listed = model.parked_subjects().await.unwrap();
        let listed: Vec<_> =
            listed.into_iter().map(|of| (of.parked.since, of.subject, of.parked)).collect();
        assert_eq!(listed, parked);
        assert_eq!(other.parked_subjects().await.unwrap().len(), 1);

        for (_, subject, mark) in parked {
            let place = usize::try_from(mark.revision - 1).unwrap();
            repair(&store, &store.subject(&subject).await[place]).await;
            projection.retry(&subject).await.unwrap();
        }
        assert_eq!(model.parked_subjects().await.unwrap(), []);
        assert_eq!(other.parked_subjects().await.unwrap()[0].subject, "book:1");
    })
    .await;
}

#[tokio::test]
async fn what_is_left_alone_during_a_retry_is_applied_by_it() {
    with_store(|store| async move {
        let events = fill_with_poison(&store, "book:1", 3).await;
        let memory = Memory::default();
        let projection = Projection::new(memory.clone()).reading(store.db.clone());
        let error = projection.handle(&message(&events[4])).await.unwrap_err();
        projection.park(&message(&events[4]), &error).await.unwrap();
        repair(&store, &events[2]).await;
        // Messages are acknowledged while the retry runs.
        let mut running = JoinSet::new();
        for number in 6..=20 {
            let (db, projection) = (store.db.clone(), projection.clone());
            running.spawn(async move {
                let candidate = candidate("book:1", json!({ "number": number }));
                let events = db.add_new_events([candidate]).await.unwrap();
                projection.handle(&message(&events[0])).await.unwrap();
            });
        }
        let retry = projection.clone();
        running.spawn(async move {
            retry.retry("book:1").await.unwrap();
        });
        running.join_all().await;
        assert_eq!(memory.revisions("book:1"), (1..=20).collect::<Vec<_>>());
        assert_eq!(memory.of("book:1").0.parked, None);
    })
    .await;
}

#[tokio::test]
async fn a_subject_is_not_parked_without_a_store() {
    with_store(|store| async move {
        let events = fill_with_poison(&store, "book:1", 1).await;
        let projection = Projection::new(Memory::default());
        let error = projection.handle(&message(&events[0])).await.unwrap_err();
        let error = projection.park(&message(&events[0]), &error).await.unwrap_err();
        assert!(matches!(error, ProjectionError::ParkingWithoutStore { .. }), "{error}");
        // What isn't the event's fault parks nothing.
        let batch = [(events[1].id.clone(), body(&events[1], true), 100)];
        let failed = projection.handle_batch_or_park(batch, 3).await;
        assert!(matches!(failed[0].error, ProjectionError::Gap { .. }));
    })
    .await;
}

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(500);

#[tokio::test]
async fn a_writer_waits_until_the_view_shows_its_event() {
    with_store(|store| async move {
        let table = view_table(&store.client).await;
        let view = model(&store, &table, counts(&table));
        let events = store.fill("book:1", 3).await;
        // Another process keeps the view up to date; the writer only knows its positions.
        let writer = Projection::new(view.clone());
        assert_eq!(writer.wait_for("book:1", 0, Duration::MAX).await.unwrap().revision, 0);
        let error = writer.wait_for("book:1", 3, SHORT).await.unwrap_err();
        let WaitError::TimedOut { ref subject, revision: 3, position: Some(0), within: SHORT } =
            error
        else {
            panic!("{error}")
        };
        assert_eq!(subject, "book:1");
        assert_eq!(
            error.to_string(),
            "after 500 ms the read model hasn't reached revision 3 of `book:1` yet; it is at \
             revision 0"
        );

        let (consumer, last) = (Projection::new(view).reading(store.db.clone()), &events[2]);
        let (position, applied) = tokio::join!(writer.wait_for("book:1", 3, LONG), async {
            // The writer has looked at least once, and found nothing.
            writer.wait_for("book:1", 1, SHORT).await.unwrap_err();
            consumer.handle(&message(last)).await.unwrap()
        });
        assert_eq!((position.unwrap().revision, applied), (3, 3));
        // What is further is shown, too.
        assert_eq!(writer.wait_for("book:1", 2, LONG).await.unwrap().revision, 3);
        writer.wait_for("book:1", 4, SHORT).await.unwrap_err();
        let passing = writer.passing_over("book:1", 4..=4);
        assert_eq!(passing.wait_for("book:1", 4, LONG).await.unwrap().revision, 3);
    })
    .await;
}

#[tokio::test]
async fn a_writer_waits_for_the_last_event_of_a_type_that_the_view_takes() {
    with_store(|store| async move {
        let mut events = Vec::new();
        for ty in ["taken", "other", "taken", "other", "other"] {
            let mut candidate = candidate("book:1", json!({ "number": 1 }));
            ty.clone_into(&mut candidate.ty);
            events.extend(store.db.add_new_events([candidate]).await.unwrap());
        }
        let memory = Memory::default();
        let projection =
            Projection::new(memory.clone()).reading(store.db.clone()).delivering_types(["taken"]);
        let at = async |revision| {
            let position = projection.wait_for("book:1", revision, LONG).await;
            position.unwrap().revision
        };
        let not_at = async |revision| {
            projection.wait_for("book:1", revision, SHORT).await.unwrap_err();
        };
        not_at(1).await;
        projection.handle(&message(&events[0])).await.unwrap();
        assert_eq!(at(2).await, 1, "the second isn't for this view");
        not_at(3).await;
        not_at(5).await;
        projection.handle(&message(&events[2])).await.unwrap();
        assert_eq!(at(5).await, 3);
        // Of an event that isn't stored, nobody knows whether the view takes it.
        not_at(6).await;
        let mut next = candidate("book:1", json!({ "number": 1 }));
        "other".clone_into(&mut next.ty);
        let (position, _) = tokio::join!(projection.wait_for("book:1", 6, LONG), async {
            not_at(6).await;
            store.db.add_new_events([next]).await.unwrap()
        });
        assert_eq!(position.unwrap().revision, 3);

        let without = Projection::new(memory).delivering_types(["taken"]);
        let error = without.wait_for("book:1", 5, SHORT).await.unwrap_err();
        let WaitError::Projection(ProjectionError::FilterWithoutStore { .. }) = error else {
            panic!("{error}")
        };
    })
    .await;
}

#[tokio::test]
async fn nobody_waits_for_a_parked_subject() {
    with_store(|store| async move {
        let events = fill_with_poison(&store, "book:1", 3).await;
        let memory = Memory::default();
        let projection = Projection::new(memory.clone()).reading(store.db.clone());
        let error = projection.handle(&message(&events[4])).await.unwrap_err();
        let (waited, ()) = tokio::join!(projection.wait_for("book:1", 4, LONG), async {
            projection.wait_for("book:1", 3, SHORT).await.unwrap_err();
            projection.park(&message(&events[4]), &error).await.unwrap();
        });
        let error = waited.unwrap_err();
        let WaitError::Parked { ref subject, revision: 4, ref parked } = error else {
            panic!("{error}")
        };
        assert_eq!((&**subject, parked.revision), ("book:1", 3));
        assert!(error.to_string().contains("parked at revision 3 since "), "{error}");
        // What was applied before is shown.
        assert_eq!(projection.wait_for("book:1", 2, LONG).await.unwrap().revision, 2);
    })
    .await;
}

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
