//! Passing records to the publisher, as the stream does.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::InvocationType;
use eventdb::internals::schema::attribute;
use serde_dynamo::Item;
use serde_json::{Value, json};

use crate::connection::Row;
use crate::failure::Failure;

/// The publisher of a store.
#[derive(Debug)]
pub struct Publisher {
    lambda: aws_sdk_lambda::Client,
    name: String,
}

impl Publisher {
    /// The function with this name or ARN.
    pub fn new(lambda: aws_sdk_lambda::Client, name: String) -> Self {
        Self { lambda, name }
    }

    /// Publishes a batch of stream records, and waits until they are published.
    ///
    /// # Errors
    /// If the function fails, or doesn't answer as a publisher. The inner error is the sequence number
    /// from which on records couldn't be published.
    pub async fn publish(&self, batch: &Value) -> Result<Result<(), String>, Failure> {
        let name = &self.name;
        let payload = serde_json::to_vec(batch)
            .map_err(|error| Failure::of("the records can't be written as JSON", &error))?;
        let answer = self
            .lambda
            .invoke()
            .function_name(name)
            .invocation_type(InvocationType::RequestResponse)
            .payload(Blob::new(payload))
            .send()
            .await
            .map_err(|error| {
                Failure::of(format!("the publisher `{name}` can't be invoked"), &error)
            })?;
        let payload = answer.payload.map(Blob::into_inner).unwrap_or_default();
        let said = String::from_utf8_lossy(&payload);
        if let Some(error) = answer.function_error {
            return Err(Failure::new(format!("the publisher `{name}` failed ({error}): {said}")));
        }
        let answer: Value = serde_json::from_slice(&payload).unwrap_or_default();
        // Another function would also answer without an error, and the events would be lost.
        let Some(failures) = answer.get("batchItemFailures").and_then(Value::as_array) else {
            return Err(Failure::new(format!(
                "`{name}` isn't the publisher: it doesn't answer with `batchItemFailures`, but with \
                 {said}"
            )));
        };
        Ok(match failures.first() {
            None => Ok(()),
            Some(first) => {
                let number = first.get("itemIdentifier").and_then(Value::as_str);
                Err(number.unwrap_or_default().to_owned())
            }
        })
    }
}

/// A record of the stream, as it was when the row was stored. Its sequence number is the given one.
pub fn stream_record(row: &Row, stream: &str, sequence_number: &str) -> Value {
    let key_names = [attribute::SUBJECT, attribute::TIME_TYPE, attribute::REVISION];
    let is_by_time = row.contains_key(attribute::TIME_TYPE);
    let keys: Row = row
        .iter()
        .filter(|(name, _)| key_names.contains(&name.as_str()))
        .filter(|(name, _)| !is_by_time || name.as_str() != attribute::REVISION)
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let time = row.get(attribute::TIME).and_then(|time| time.as_n().ok());
    let seconds = time.and_then(|time| time.parse::<i64>().ok()).unwrap_or_default() / 1000;
    json!({
        "eventID": sequence_number,
        "eventName": "INSERT",
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": stream.split(':').nth(3).unwrap_or_default(),
        "eventSourceARN": stream,
        "dynamodb": {
            // So the publisher looks into the feed first: the event may have been published meanwhile.
            "ApproximateCreationDateTime": seconds,
            "Keys": dynamodb_json(&keys),
            "NewImage": dynamodb_json(row),
            "SequenceNumber": sequence_number,
            // The publisher doesn't use it, but its records must have it.
            "SizeBytes": 0,
            "StreamViewType": "NEW_IMAGE"
        }
    })
}

/// An item in DynamoDB's JSON, with the types of its values.
pub fn dynamodb_json(row: &HashMap<String, AttributeValue>) -> Value {
    serde_json::to_value(Item::from(row.clone())).unwrap_or_default()
}
