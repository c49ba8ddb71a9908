//! One event, with its row and its message.

use axum::extract::{Query, State};
use eventdb::aws_sdk_dynamodb::types::AttributeValue;
use eventdb::internals::schema::attribute;
use eventdb::{Event, FeedEntry, Listing, Message, StoreId};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, answer, event_json, event_of};
use crate::explorer::Explored;
use crate::store::{Row, Store, dynamodb_json};

/// Which event is asked for.
#[derive(Debug, Deserialize)]
pub(crate) struct Choice {
    id: String,
    source: Option<String>,
    #[serde(default)]
    data: bool,
}

/// One event. Its row and its message are read only if the data are asked for.
pub(crate) async fn event(
    State(explored): State<Explored>,
    Query(choice): Query<Choice>,
) -> Answer {
    let mut reader = explored.store.reader();
    let event = event_of(&reader.db(), &choice.id, choice.source).await?;
    reader.count_rows(2);
    let (mut row, mut message) = (None, None);
    if choice.data {
        let found = reader.item(&explored.store.table, key(&explored.store, &event)).await?;
        row = found.map(dynamodb_json);
        message = Some(message_json(&explored.store, &event));
    }
    let body = json!({ "event": event_json(&event, choice.data), "row": row, "message": message });
    Ok(answer(&explored, &reader, body))
}

/// The key of an event's row.
fn key(store: &Store, event: &Event) -> Row {
    let entry = FeedEntry::new(event, None, Listing::Published);
    let (name, value) = match event.revision {
        Some(revision) if store.is_by_revision() => {
            (attribute::REVISION, AttributeValue::N(revision.to_string()))
        }
        _ => (attribute::TIME_TYPE, AttributeValue::S(entry.sort_key_by_time())),
    };
    Row::from([
        (attribute::SUBJECT.to_owned(), AttributeValue::S(event.subject.clone())),
        (name.to_owned(), value),
    ])
}

/// The message as it is published.
fn message_json(store: &Store, event: &Event) -> Value {
    let id = store.stream.as_deref().and_then(|stream| stream.parse::<StoreId>().ok());
    let message = match &id {
        Some(id) => Message::of_store(event, id),
        None => Message::new(event),
    };
    let attributes: serde_json::Map<String, Value> = message
        .attributes
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.as_str().into()))
        .collect();
    json!({ "body": message.body, "attributes": attributes })
}
