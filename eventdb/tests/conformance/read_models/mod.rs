//! Read models: each event once and in order, whatever the order and number of its deliveries.

mod deliveries;
mod gaps;
pub(crate) mod parking;
mod stores;
mod waiting;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType,
    ScalarAttributeType, TransactWriteItem, Update,
};
use eventdb::{
    ApplyOutcome, BoxError, DynamoDbReadModel, Event, Message, Parked, ParkingReadModel, Position,
    PositionTable, ReadModel, ReceivedMessage, Step, StoreId,
};
use serde_json::json;
use uuid::Uuid;

use crate::support::Store;

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
