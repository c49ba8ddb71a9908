//! Fuzz targets for everything that is read from outside without a database: no input may bring it
//! down, and what was read must come back as it is. The first byte of an input chooses what the
//! rest is taken for.
//!
//! `node lambda/fuzz/run.mjs` runs them, guided by coverage (libFuzzer), for a bounded time and
//! with bounded memory.

#![no_main]

use std::collections::HashMap;

use aws_lambda_events::dynamodb;
use eventdb::{Event, ReceivedMessage, item};
use eventdb_publisher::configuration::Configuration;
use eventdb_publisher::record::{self, Record};
use libfuzzer_sys::fuzz_target;
use serde_dynamo::{AttributeValue, Item};

fuzz_target!(|input: &[u8]| match input.split_first() {
    Some((b'i', rest)) => row(rest),
    Some((b'e', rest)) => cloud_event(rest),
    Some((b'c', rest)) => configuration(rest),
    // As they are, so that any batch is an input.
    _ => records(input),
});

/// A batch of stream records: each becomes a message that reads back as the same event.
fn records(payload: &[u8]) {
    let Ok(batch) = serde_json::from_slice::<dynamodb::Event>(payload) else { return };
    for (position, record) in batch.records.into_iter().enumerate() {
        let image = record.change.new_image.clone();
        match record::read(position, record) {
            Record::Event(entry) => {
                let event = item::decode(image).expect("the image of an event");
                assert_eq!(entry.position, position);
                assert_eq!(entry.id, event.id);
                assert!(entry.message.size() <= eventdb_publisher::topic::limit::BYTES);
                let message: serde_json::Value =
                    serde_json::from_str(&entry.message.body).expect("a message is JSON");
                assert_eq!(message["specversion"], "1.0");
                assert_eq!(message["id"], event.id.as_str());
                assert_eq!(message["data"], event.data);
            }
            Record::Unpublishable(row) => assert!(!row.reason.is_empty()),
            Record::Skipped(_) => {}
        }
    }
}

/// A row of the table, as DynamoDB JSON: an event of it is stored as one that reads the same.
fn row(json: &[u8]) {
    let Ok(row) = serde_json::from_slice::<HashMap<String, AttributeValue>>(json) else { return };
    match item::decode(Item::from(row)) {
        Ok(event) => {
            let stored = item::encode(&event);
            assert_eq!(item::decode(stored).expect("what was encoded"), event);
        }
        Err(invalid) => assert!(!invalid.reason.is_empty()),
    }
}

/// CloudEvents JSON, bare or in the envelope: an event of it is written as one that reads the same.
fn cloud_event(json: &[u8]) {
    if let Ok(event) = serde_json::from_slice::<Event>(json) {
        let written = serde_json::to_vec(&event).expect("an event is JSON");
        assert_eq!(serde_json::from_slice::<Event>(&written).expect("what was written"), event);
    }
    if let Ok(body) = std::str::from_utf8(json) {
        let _ = ReceivedMessage::read(body);
    }
}

/// The variables of an environment, a line each.
fn configuration(lines: &[u8]) {
    let Ok(lines) = std::str::from_utf8(lines) else { return };
    let variables: HashMap<_, _> = lines.lines().filter_map(|line| line.split_once('=')).collect();
    let read = Configuration::read(|name| variables.get(name).map(|&value| value.to_owned()));
    if let Err(error) = read {
        assert!(!error.to_string().is_empty());
    }
}
