//! Prints the messages that a recorded batch of stream records is published as, one a line, for
//! checks by other tools: `cargo run -p eventdb-publisher --example published_messages`

#![allow(clippy::print_stdout, reason = "what it prints is the point of an example")]

use std::error::Error;
use std::time::Duration;

use eventdb_publisher::handler::handle;
use eventdb_publisher::topic::{Answer, Entry, PublishFailure, Topic};
use tokio::time::Instant;

/// Prints what it is given and accepts it.
struct Printing;

impl Topic for Printing {
    async fn publish_batch(&self, entries: &[Entry]) -> Result<Answer, PublishFailure> {
        for entry in entries {
            println!("{}", entry.message.body);
        }
        Ok(Answer { accepted: (0..entries.len()).collect(), failed: Vec::new() })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let deadline = Instant::now() + Duration::from_secs(10);
    let batch = include_str!("../tests/fixtures/stream_batch.json");
    let (checkpoint, metrics) = handle(&Printing, batch, deadline).await;
    match checkpoint?.sequence_number() {
        None if metrics.published > 0 => Ok(()),
        _ => Err("not all events of the batch were published".into()),
    }
}
