//! What the disorder of a standard queue costs a consumer that can't read the store: how many
//! events end as dead letters, by how often a message may be received. It prints a table:
//! `cargo test -p eventdb --all-features --test queue_disorder -- --nocapture`
//!
//! The queue is a **model** of SQS, after its documentation, and not the real thing:
//! - Each delivery takes a message from its place in the queue or from up to so many places behind:
//!   "best-effort ordering".
//!   <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/standard-queues.html>
//! - A batch has 10 messages. What a consumer reports as failed is hidden for the visibility timeout
//!   and then delivered again, behind what has come meanwhile.
//! - A message that has been received as often as allowed becomes a dead letter instead of being
//!   received once more.
//!   <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html>
//!
//! The consumer is the real one: a [`Projection`] without a reader.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    reason = "a test fails by a panic"
)]

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::Mutex;

use eventdb::{ApplyOutcome, Event, Message, Position, Projection, ReadModel, Step};

const SUBJECTS: usize = 5;
const EVENTS: u64 = 100;
const BATCH: usize = 10;

/// Batches that are delivered while a failed message is hidden.
const HIDDEN: usize = 20;

/// Positions alone, for the order is what matters.
#[derive(Default)]
struct Positions(Mutex<HashMap<String, Position>>);

impl ReadModel for Positions {
    type Error = Infallible;

    async fn position(&self, subject: &str) -> Result<Position, Infallible> {
        Ok(self.0.lock().unwrap().get(subject).cloned().unwrap_or_default())
    }

    async fn apply(&self, event: &Event, step: &Step) -> Result<ApplyOutcome, Infallible> {
        let mut positions = self.0.lock().unwrap();
        let position = positions.entry(event.subject.clone()).or_default();
        if !step.begins_at(position) {
            return Ok(ApplyOutcome::PositionDiffers);
        }
        *position = step.to.clone();
        Ok(ApplyOutcome::Applied)
    }
}

/// The bodies of the messages, in the order in which they are published.
fn messages() -> Vec<String> {
    let message = |place: usize| {
        let (subject, revision) = (place % SUBJECTS, place / SUBJECTS + 1);
        let event = serde_json::json!({
            "specversion": "1.0", "id": format!("evt-{place}"), "type": "book.borrowed",
            "source": "https://library.example.com", "subject": format!("book:{subject}"),
            "time": "2025-01-28T14:30:00.000Z", "sequence": revision.to_string(), "data": {},
        });
        Message::new(&serde_json::from_value(event).unwrap()).body
    };
    (0..SUBJECTS * usize::try_from(EVENTS).unwrap()).map(message).collect()
}

/// What became of all messages.
#[derive(Default)]
struct Outcome {
    dead: usize,
    /// How often the message that was received most often was.
    most_receives: usize,
}

/// Delivers all messages, disordered by up to so many places, until each is applied or dead.
async fn deliver(bodies: &[String], disorder: usize, allowed: usize, seed: u64) -> Outcome {
    let mut random = fastrand::Rng::with_seed(seed);
    // Where in the queue each message stands.
    let mut queue: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    for message in 0..bodies.len() {
        queue.insert((message + random.usize(..=disorder), message), message);
    }
    let projection = Projection::new(Positions::default());
    let mut receives = vec![0; bodies.len()];
    let mut outcome = Outcome::default();
    let mut delivered = 0;
    while !queue.is_empty() {
        let mut batch = Vec::new();
        while batch.len() < BATCH
            && let Some((_, message)) = queue.pop_first()
        {
            if receives[message] == allowed {
                outcome.dead += 1;
            } else {
                receives[message] += 1;
                batch.push((message.to_string(), &bodies[message]));
            }
        }
        delivered += BATCH;
        for failed in projection.handle_batch(batch).await {
            let message = failed.id.parse().unwrap();
            let place = delivered + HIDDEN * BATCH + random.usize(..=disorder);
            queue.insert((place, message), message);
        }
    }
    outcome.most_receives = receives.into_iter().max().unwrap();
    outcome
}

/// The construct's default, which is what most queues are deployed with.
fn default_of_the_construct() -> usize {
    let path =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../infra/lib/subscription/event-subscription.ts");
    let code = std::fs::read_to_string(path).unwrap();
    let (_, default) = code.split_once("const MAX_RECEIVE_COUNT = ").unwrap();
    default.split(';').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn the_default_receive_count_survives_the_disorder_of_a_queue() {
    let bodies = messages();
    let default = default_of_the_construct();
    let counts = [3, 5, 10, 20, 50, default];
    println!("Dead letters of {} events, by the most receives:", bodies.len());
    println!(
        "| disorder within | {} | receives needed |",
        counts.map(|n| n.to_string()).join(" | ")
    );
    println!("|---:|{}---:|", "---:|".repeat(counts.len()));
    for disorder in [0, 1, 4, 12, 25, 50] {
        let mut cells = Vec::new();
        for allowed in counts {
            cells.push(deliver(&bodies, disorder, allowed, 1).await.dead.to_string());
        }
        let needed = deliver(&bodies, disorder, usize::MAX, 1).await.most_receives;
        println!("| {disorder} | {} | {needed} |", cells.join(" | "));
    }
    for seed in 0..20 {
        assert_eq!(deliver(&bodies, 12, default, seed).await.dead, 0, "seed {seed}");
    }
    // So the model isn't one in which nothing happens.
    assert!(deliver(&bodies, 12, 3, 1).await.dead > 100);
}
