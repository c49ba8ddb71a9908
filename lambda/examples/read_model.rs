//! A Lambda function that keeps a read model: who has which book.
//!
//! Messages come from its SQS queue, which is subscribed to the topic. Each event counts once and
//! in the order of its subject, whatever SQS and SNS do: view and position change in one
//! transaction, repetitions are passed over, gaps are closed from the event store. What fails is
//! reported by message, so that only that one is delivered again.
//!
//! `VIEW_TABLE` names the view's table, with the partition key `id` (text); `EVENT_TABLE` the event
//! store's, and `EVENT_TABLE_LAYOUT` its layout, if it isn't `byTime`. The mapping of the queue must have `ReportBatchItemFailures`. `tests/pipeline` deploys
//! it.

use std::collections::HashMap;

use aws_config::BehaviorVersion;
use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem, Update};
use eventdb::{
    BoxError, DomainEvent, DynamoDbReadModel, Event, EventDb, PositionTable, Projection,
    TableLayout, UnknownTypes,
};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde::{Deserialize, Serialize};
use tracing::Level;

/// What the view needs of a book's events; all others are passed over.
#[derive(Serialize, Deserialize)]
enum BookEvent {
    #[serde(rename = "book.borrowed", rename_all = "camelCase")]
    Borrowed { user_id: String },
    #[serde(rename = "book.returned")]
    Returned {},
}

impl DomainEvent for BookEvent {
    const UNKNOWN_TYPES: UnknownTypes = UnknownTypes::Ignore;
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tracing_subscriber::fmt().json().with_max_level(Level::WARN).init();
    let view = std::env::var("VIEW_TABLE").map_err(|_| "VIEW_TABLE must name the view's table")?;
    let events =
        std::env::var("EVENT_TABLE").map_err(|_| "EVENT_TABLE must name the event store's")?;
    let layout = match std::env::var("EVENT_TABLE_LAYOUT") {
        Ok(name) => name.parse()?,
        Err(_) => TableLayout::ByTime,
    };
    let client = Client::new(&aws_config::load_defaults(BehaviorVersion::latest()).await);
    let positions = PositionTable {
        table: view.clone(),
        partition_key: "id".to_owned(),
        sort_key: None,
        read_model: "loans".to_owned(),
    };
    let loans =
        DynamoDbReadModel::new(client.clone(), positions, move |event| changes(&view, event));
    let projection =
        &Projection::new(loans).reading(EventDb::new(client, events).with_layout(layout));
    lambda_runtime::run(service_fn(async |batch: LambdaEvent<SqsEvent>| {
        let messages = batch.payload.records.into_iter().map(|message| {
            (message.message_id.unwrap_or_default(), message.body.unwrap_or_default())
        });
        let failed = projection.handle_batch(messages).await;
        let mut response = SqsBatchResponse::default();
        response.batch_item_failures = failed
            .into_iter()
            .map(|failed| {
                let mut failure = BatchItemFailure::default();
                failure.item_identifier = failed.id;
                failure
            })
            .collect();
        Ok::<_, Error>(response)
    }))
    .await
}

/// What an event changes in the view: one item for each book.
fn changes(view: &str, event: &Event) -> Result<Vec<TransactWriteItem>, BoxError> {
    let (expression, values) = match event.typed()? {
        Some(BookEvent::Borrowed { user_id }) => (
            "SET borrower = :borrower",
            Some(HashMap::from([(":borrower".to_owned(), AttributeValue::S(user_id))])),
        ),
        Some(BookEvent::Returned {}) => ("REMOVE borrower", None),
        None => return Ok(vec![]),
    };
    let update = Update::builder()
        .table_name(view)
        .key("id", AttributeValue::S(event.subject.clone()))
        .update_expression(expression)
        .set_expression_attribute_values(values)
        .build()?;
    Ok(vec![TransactWriteItem::builder().update(update).build()])
}
