//! A fuzz target for the decoder of stream records: no input may bring it down, and what it makes
//! of one must be a message that reads back as the same event.
//!
//! `node lambda/fuzz/run.mjs` runs it, guided by coverage (libFuzzer), for a bounded time.

#![no_main]

use aws_lambda_events::dynamodb;
use eventdb_publisher::record::{self, Record};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|payload: &[u8]| {
    let Ok(batch) = serde_json::from_slice::<dynamodb::Event>(payload) else { return };
    for (position, record) in batch.records.into_iter().enumerate() {
        let image = record.change.new_image.clone();
        match record::read(position, record) {
            Record::Event(entry) => {
                let event = eventdb::item::decode(image).expect("the image of an event");
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
});
