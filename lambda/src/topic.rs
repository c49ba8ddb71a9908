//! The topic as the publisher sees it: something that takes a batch and answers entry by entry.

use std::future::Future;

use chrono::{DateTime, Utc};
use eventdb::Message;

/// An event on its way to the topic.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Position of its record in the batch that Lambda delivered.
    pub position: usize,
    /// The event's subject.
    pub subject: String,
    /// The event's revision; `None` on a legacy row.
    pub revision: Option<u64>,
    /// The event's sort key in the table.
    pub time_type: String,
    /// The event's source.
    pub source: String,
    /// The event's id.
    pub id: String,
    /// When the stream got the event; `None` where its record doesn't say.
    pub streamed: Option<DateTime<Utc>>,
    /// What is sent.
    pub message: Message,
}

/// Where events are published to: SNS, or a stand-in for it in tests.
///
/// ```
/// use eventdb_publisher::topic::{Answer, Entry, Fault, Topic};
///
/// /// A topic that accepts everything.
/// struct Accepting;
///
/// impl Topic for Accepting {
///     async fn publish_batch(&self, entries: &[Entry]) -> Result<Answer, Fault> {
///         Ok(Answer { accepted: (0..entries.len()).collect(), failed: Vec::new() })
///     }
/// }
/// ```
pub trait Topic {
    /// Most bytes that it takes, attributes included, of one message and of all entries of one
    /// request together: [`limit::BYTES`], unless the topic was told to take more.
    fn message_bytes(&self) -> usize {
        limit::BYTES
    }

    /// Sends one batch, which the caller keeps within [`limit`], and doesn't try again by itself.
    ///
    /// # Errors
    /// When the request failed as a whole. Whether the topic took its entries is then unknown.
    fn publish_batch(
        &self,
        entries: &[Entry],
    ) -> impl Future<Output = Result<Answer, Fault>> + Send;
}

/// What the topic answered to a batch; the numbers are indexes into it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// Entries that the topic has accepted.
    pub accepted: Vec<usize>,
    /// Entries that it hasn't, and why.
    pub failed: Vec<(usize, Fault)>,
}

/// Why a request or an entry failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What can be done about it.
    pub kind: FaultKind,
    /// The error code, for the log. Error *messages* may quote a message's contents, so they are
    /// not kept.
    pub code: String,
}

/// What can be done about a [`Fault`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// Throttled, unreachable, timed out or a failure inside SNS: the same may succeed later.
    Passing,
    /// The topic will never take this entry; of a request: at least one of its entries.
    Sender,
    /// The topic takes nothing from us as things are: permission denied, no such topic, key disabled.
    Denied,
}

/// Limits of one request to the topic.
pub mod limit {
    /// Most entries of one request: [PublishBatch](https://docs.aws.amazon.com/sns/latest/api/API_PublishBatch.html).
    pub const ENTRIES: usize = 10;
    /// Most bytes of all entries of one request, attributes included: the limit of a single
    /// message holds for [their sum](https://docs.aws.amazon.com/sns/latest/api/API_PublishBatch.html) too.
    /// A topic can be told to take more: [`Topic::message_bytes`](super::Topic::message_bytes).
    pub const BYTES: usize = eventdb::schema::limit::MESSAGE_BYTES;
}
