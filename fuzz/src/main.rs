//! Fuzz targets for everything that is read from outside without a database: no input may bring it
//! down, and what was read must come back as it is. The first byte of an input chooses what the
//! rest is taken for.
//!
//! `node fuzz/run.mjs` runs them, guided by coverage (libFuzzer), for a bounded time and
//! with bounded memory.

#![no_main]

use std::collections::HashMap;
use std::fmt::{Debug, Display};
use std::str::FromStr;

use aws_lambda_events::dynamodb;
use data_encoding::BASE64URL_NOPAD;
use eventdb::internals::feed::chunk::{self, Chunk};
use eventdb::internals::feed::read::{PartitionRead, Position};
use eventdb::internals::item;
use eventdb::{Cursor, Event, EventData, FeedCursor, ReceivedMessage};
use eventdb_publisher::batch::Batch;
use eventdb_publisher::configuration::Configuration;
use libfuzzer_sys::fuzz_target;
use serde_dynamo::{AttributeValue, Item};

fuzz_target!(|input: &[u8]| match input.split_first() {
    Some((b'i', rest)) => row(rest),
    Some((b'e', rest)) => cloud_event(rest),
    Some((b'c', rest)) => configuration(rest),
    Some((b'p', rest)) => cursor(rest),
    Some((b'f', rest)) => feed_cursor(rest),
    Some((b'k', rest)) => feed_items(rest),
    Some((b'd', rest)) => data(rest),
    // As they are, so that any batch is an input.
    _ => records(input),
});

/// A batch of stream records: each becomes a message that reads back as the same event.
fn records(payload: &[u8]) {
    let Ok(payload) = std::str::from_utf8(payload) else { return };
    let batch = Batch::read(payload);
    let records = serde_json::from_str::<dynamodb::Event>(payload).map(|event| event.records);
    let (batch, records) = match (batch, records) {
        (Ok(batch), Ok(records)) => (batch, records),
        (Err(invalid), Err(_)) => {
            assert!(!invalid.to_string().is_empty());
            return;
        }
        (batch, _) => panic!("it isn't read as what it is: {batch:?}"),
    };
    assert_eq!(batch.sequence_numbers.len(), records.len());
    assert_eq!(
        batch.entries.len() + batch.unpublishable.len() + batch.skipped.len(),
        records.len()
    );
    assert!(batch.unpublishable.iter().all(|row| !row.reason.is_empty()));
    for entry in batch.entries {
        let image = records[entry.position].change.new_image.clone();
        let event = item::decode(image).expect("the image of an event");
        assert_eq!(entry.id, event.id);
        let message: serde_json::Value =
            serde_json::from_str(&entry.message.body).expect("a message is JSON");
        assert_eq!(message["specversion"], "1.0");
        assert_eq!(message["id"], event.id.as_str());
        assert_eq!(message["data"], event.data);
        // Text is published as it is, but for two characters that a message can't have.
        let text = event.data.as_json();
        if !text.contains(['\u{FFFE}', '\u{FFFF}']) {
            assert!(entry.message.body.ends_with(&format!(",\"data\":{text}}}")));
        }
    }
}

/// JSON text of a payload: what is taken is kept, and any reader finds the same values in it.
fn data(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let values = serde_json::from_str::<serde_json::Value>(text);
    match EventData::from_json(text) {
        Ok(data) => {
            assert_eq!(data.as_json(), text);
            let values = values.expect("JSON");
            assert_eq!(*data, values);
            // Written anew, it has lost nothing.
            let again = EventData::from_json(values.to_string()).expect("the same values");
            assert_eq!(again, data);
        }
        Err(error) => assert!(error.to_string().starts_with("`data` ")),
    }
}

/// A cursor of a read.
fn cursor(input: &[u8]) {
    read_cursor::<Cursor>(input);
}

/// A cursor of the feed: joined with itself, it is the same.
fn feed_cursor(input: &[u8]) {
    for cursor in read_cursor::<FeedCursor>(input) {
        assert_eq!(cursor.clone().joined_with(cursor.clone()).as_ref(), Ok(&cursor));
        assert!(cursor.offsets().count() <= 256);
    }
}

/// The text of a cursor, or the JSON in it: what is one is written as a text that reads the same.
fn read_cursor<C>(input: &[u8]) -> Vec<C>
where
    C: FromStr<Err: Debug + PartialEq> + Display + Debug + PartialEq,
{
    let as_text = std::str::from_utf8(input).ok().and_then(|text| text.parse::<C>().ok());
    let as_json = BASE64URL_NOPAD.encode(input).parse::<C>().ok();
    let read: Vec<C> = as_text.into_iter().chain(as_json).collect();
    for cursor in &read {
        assert_eq!(cursor.to_string().parse::<C>().as_ref(), Ok(cursor));
    }
    read
}

/// Items of the feed's table, as DynamoDB JSON: chunks follow each other without a gap, or are refused.
fn feed_items(json: &[u8]) {
    let Ok(items) = serde_json::from_slice::<Vec<HashMap<String, AttributeValue>>>(json) else {
        return;
    };
    let items: Vec<Item> = items.into_iter().map(Item::from).collect();
    for item in &items {
        match Chunk::decode(item) {
            Ok(chunk) => assert_eq!(chunk::end_of(item).expect("of a chunk"), chunk.end()),
            Err(invalid) => assert!(!invalid.reason.is_empty()),
        }
        if let Err(invalid) = chunk::decode_header(item) {
            assert!(!invalid.reason.is_empty());
        }
    }
    let mut read = PartitionRead::after(Position::default());
    if let Ok(new) = read.take(&items) {
        let entries: usize = new.iter().map(|new| new.entries.len()).sum();
        assert_eq!(read.read_from(), u64::try_from(entries).expect("a few"));
    }
}

/// A row of the table, as DynamoDB JSON: an event of it is stored as one that reads the same.
fn row(json: &[u8]) {
    let Ok(row) = serde_json::from_slice::<HashMap<String, AttributeValue>>(json) else { return };
    match item::decode(Item::from(row)) {
        Ok(event) => {
            let stored = item::encode(&event);
            assert_eq!(item::decode(stored).expect("what was encoded"), event);
            // By revision, data is text, and an event has a revision.
            let text = EventData::from_json(event.data.as_json());
            if let (Ok(text), Some(_)) = (text, event.revision) {
                let stored = item::encode_by_revision(&event);
                let read = item::decode(stored).expect("what was encoded");
                assert_eq!(read, event);
                assert_eq!(read.data.as_json(), text.as_json());
            }
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
