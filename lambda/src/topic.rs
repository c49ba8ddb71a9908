//! The interface of a topic: it accepts a batch and answers for each entry.

use std::future::Future;

use crate::record::SortKey;
use chrono::{DateTime, Utc};
use eventdb::{FeedEntry, Message};

/// An event to be sent to the topic.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Position of its record in the batch that Lambda delivered.
    pub position: usize,
    /// The event's subject.
    pub subject: String,
    /// The event's revision; `None` on a legacy row.
    pub revision: Option<u64>,
    /// The event's sort key in the table.
    pub sort_key: Option<SortKey>,
    /// The event's source.
    pub source: String,
    /// The event's id.
    pub id: String,
    /// When the event arrived in the stream; `None` if its record doesn't contain it.
    pub streamed: Option<DateTime<Utc>>,
    /// The message to send.
    pub message: Message,
    /// How the feed lists it once the topic has accepted it.
    pub listing: FeedEntry,
}

/// The topic to which events are published: SNS, or a substitute in tests.
///
/// ```
/// use eventdb_publisher::topic::{Answer, Entry, PublishFailure, Topic};
///
/// /// A topic that accepts everything.
/// struct Accepting;
///
/// impl Topic for Accepting {
///     async fn publish_batch(&self, entries: &[Entry]) -> Result<Answer, PublishFailure> {
///         Ok(Answer { accepted: (0..entries.len()).collect(), failed: Vec::new() })
///     }
/// }
/// ```
pub trait Topic {
    /// What the topic accepts. The default is the limits of SNS.
    fn limits(&self) -> Limits {
        Limits::default()
    }

    /// Sends one batch once. The caller keeps the batch within [`limits`](Self::limits), and decides
    /// about retries.
    ///
    /// # Errors
    /// If the request failed as a whole. Then it is unknown whether the topic accepted its entries.
    fn publish_batch(
        &self,
        entries: &[Entry],
    ) -> impl Future<Output = Result<Answer, PublishFailure>> + Send;
}

/// What a topic accepts. Sizes include attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most entries of one request.
    pub entries: usize,
    /// Most bytes of one message.
    pub message_bytes: usize,
    /// Most bytes of all entries of one request together, at least `message_bytes`.
    pub request_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: limit::ENTRIES, message_bytes: limit::BYTES, request_bytes: limit::BYTES }
    }
}

/// The topic's answer to a batch. The numbers are indexes of entries in the batch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// Entries that the topic has accepted.
    pub accepted: Vec<usize>,
    /// Entries that it hasn't accepted, and why.
    pub failed: Vec<(usize, PublishFailure)>,
}

/// Why a request or an entry failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishFailure {
    /// What can be done about it.
    pub kind: FailureKind,
    /// The error code, for the log. Error messages aren't kept, because they may quote event data.
    pub code: String,
}

/// What can be done about a [`PublishFailure`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// Throttling, no connection, a time-out or an error in SNS: a retry may succeed.
    Transient,
    /// The topic will never accept this entry or, for a request, at least one of its entries.
    InvalidEntry,
    /// The topic accepts nothing at present: no permission, no such topic, or a disabled key.
    Denied,
}

/// Limits of one request to SNS.
pub mod limit {
    /// Most entries of one request: [PublishBatch](https://docs.aws.amazon.com/sns/latest/api/API_PublishBatch.html).
    pub const ENTRIES: usize = 10;
    /// Most bytes of all entries of one request, including attributes. The limit of a single message
    /// also applies to [their sum](https://docs.aws.amazon.com/sns/latest/api/API_PublishBatch.html).
    /// A topic can be configured to accept more: [`Topic::limits`](super::Topic::limits).
    pub const BYTES: usize = eventdb::internals::schema::limit::MESSAGE_BYTES;
}
