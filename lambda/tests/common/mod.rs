//! A topic that fails on demand, and batches as Lambda delivers them.
#![allow(dead_code, reason = "each test file is a separate crate and uses only a part of this")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test fails by a panic"
)]

pub(crate) mod feed_table;
pub(crate) mod mapping;

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use eventdb_publisher::topic::{Answer, Entry, FailureKind, Limits, PublishFailure, Topic};
use serde_json::{Value, json};
use tokio::time::Instant;

/// What the topic does with one entry, or with a whole request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Accept,
    /// The entry fails temporarily.
    Pass,
    /// The entry is refused permanently.
    Refuse,
    /// The entry isn't mentioned in the answer, and was not accepted.
    Omit,
    /// The whole request fails temporarily, before the topic has accepted it.
    FailBefore,
    /// The whole request fails temporarily, after the topic has accepted it.
    FailAfter,
    /// The whole request is never answered, and the topic hasn't accepted it.
    SilentBefore,
    /// The whole request is never answered, but the topic has accepted it.
    SilentAfter,
    /// The whole request is refused because of some entry.
    RefuseRequest,
    /// Permission denied.
    Deny,
}

/// A topic that follows a script, entry by entry, and then accepts everything.
#[derive(Debug, Default)]
pub(crate) struct ScriptedTopic {
    pub(crate) script: Mutex<VecDeque<Step>>,
    /// Ids whose entries are always treated in this way.
    pub(crate) always: Vec<(String, Step)>,
    /// Ids in the order in which they were accepted, including repetitions.
    pub(crate) accepted: Mutex<Vec<String>>,
    /// Number of entries of each request, in the order of arrival.
    pub(crate) requests: Mutex<Vec<usize>>,
    pub(crate) bodies: Mutex<Vec<String>>,
    pub(crate) latency: Duration,
    /// What it accepts.
    pub(crate) limits: Limits,
    pub(crate) under_way: AtomicUsize,
    pub(crate) most_under_way: AtomicUsize,
}

impl ScriptedTopic {
    pub(crate) fn with_script(script: impl IntoIterator<Item = Step>) -> Self {
        Self { script: Mutex::new(script.into_iter().collect()), ..Self::default() }
    }

    pub(crate) fn with_always(id: &str, step: Step) -> Self {
        Self { always: vec![(id.to_owned(), step)], ..Self::default() }
    }

    pub(crate) fn accepted(&self) -> Vec<String> {
        self.accepted.lock().unwrap().clone()
    }

    pub(crate) fn requests(&self) -> Vec<usize> {
        self.requests.lock().unwrap().clone()
    }

    fn step(&self, entry: &Entry) -> Step {
        match self.always.iter().find(|(id, _)| *id == entry.id) {
            Some((_, step)) => *step,
            None => self.script.lock().unwrap().pop_front().unwrap_or(Step::Accept),
        }
    }

    fn accept(&self, entry: &Entry) {
        self.accepted.lock().unwrap().push(entry.id.clone());
        self.bodies.lock().unwrap().push(entry.message.body.clone());
    }
}

pub(crate) fn failure(kind: FailureKind) -> PublishFailure {
    PublishFailure { kind, code: format!("{kind:?}") }
}

impl Topic for ScriptedTopic {
    fn limits(&self) -> Limits {
        self.limits
    }

    async fn publish_batch(&self, entries: &[Entry]) -> Result<Answer, PublishFailure> {
        let bytes: usize = entries.iter().map(|entry| entry.message.size()).sum();
        assert!(!entries.is_empty() && entries.len() <= self.limits.entries);
        assert!(bytes <= self.limits.request_bytes);
        self.requests.lock().unwrap().push(entries.len());
        let under_way = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_under_way.fetch_max(under_way, Ordering::SeqCst);
        tokio::time::sleep(self.latency).await;
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        let steps: Vec<_> = entries.iter().map(|entry| self.step(entry)).collect();
        if steps.contains(&Step::Deny) {
            return Err(failure(FailureKind::Denied));
        }
        if steps.contains(&Step::RefuseRequest) {
            return Err(failure(FailureKind::InvalidEntry));
        }
        if steps.contains(&Step::SilentAfter) {
            entries.iter().for_each(|entry| self.accept(entry));
        }
        if steps.contains(&Step::SilentBefore) || steps.contains(&Step::SilentAfter) {
            std::future::pending::<()>().await;
        }
        if steps.contains(&Step::FailBefore) {
            return Err(failure(FailureKind::Transient));
        }
        if steps.contains(&Step::FailAfter) {
            entries.iter().for_each(|entry| self.accept(entry));
            return Err(failure(FailureKind::Transient));
        }
        let mut answer = Answer::default();
        for (index, (entry, step)) in entries.iter().zip(steps).enumerate() {
            match step {
                Step::Pass => answer.failed.push((index, failure(FailureKind::Transient))),
                Step::Refuse => answer.failed.push((index, failure(FailureKind::InvalidEntry))),
                Step::Omit => {}
                _ => {
                    self.accept(entry);
                    answer.accepted.push(index);
                }
            }
        }
        Ok(answer)
    }
}

/// A sequence number like those of AWS: it has more digits than an integer type can hold.
pub(crate) fn sequence_number(position: usize) -> String {
    format!("4421584500000000017450439{position:09}")
}

/// The record of a new event whose id is `{subject}#{revision}`.
pub(crate) fn event_record(position: usize, subject: &str, revision: u64) -> Value {
    event_record_with(position, subject, revision, &json!({ "n": { "N": "1" } }))
}

/// The same with data as DynamoDB JSON.
pub(crate) fn event_record_with(
    position: usize,
    subject: &str,
    revision: u64,
    data: &Value,
) -> Value {
    let time = 1_738_074_600_000 + revision;
    record(
        position,
        "INSERT",
        &json!({
            "subject": { "S": subject },
            "time_type": { "S": format!("{time}_book.borrowed") },
            "id": { "S": format!("{subject}#{revision}") },
            "type": { "S": "book.borrowed" },
            "source": { "S": "https://library.example.com" },
            "time": { "N": time.to_string() },
            "pk_all": { "S": "all" },
            "revision": { "N": revision.to_string() },
            "data": { "M": data },
        }),
    )
}

/// The record of a row that should be an event but has no id.
pub(crate) fn poison_record(position: usize, subject: &str, revision: u64) -> Value {
    let mut record = event_record(position, subject, revision);
    record["dynamodb"]["NewImage"].as_object_mut().unwrap().remove("id");
    record
}

pub(crate) fn record(position: usize, event_name: &str, image: &Value) -> Value {
    json!({
        "eventID": format!("{position:032x}"),
        "eventName": event_name,
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "eu-west-1",
        "dynamodb": {
            "ApproximateCreationDateTime": 1_738_074_600.0,
            "Keys": { "subject": image["subject"], "time_type": image["time_type"] },
            "NewImage": image,
            "SequenceNumber": sequence_number(position),
            "SizeBytes": 300,
            "StreamViewType": "NEW_IMAGE",
        },
        "eventSourceARN": "arn:aws:dynamodb:eu-west-1:123456789012:table/Events/stream/2025-01-28T14:00:00.000",
    })
}

pub(crate) fn payload(records: &[Value]) -> String {
    json!({ "Records": records }).to_string()
}

/// A minute from now.
pub(crate) fn deadline() -> Instant {
    Instant::now() + Duration::from_secs(60)
}
