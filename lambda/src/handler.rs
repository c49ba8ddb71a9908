//! One invocation of the function: from the payload to the answer and the metrics.

use aws_lambda_events::dynamodb;
use lambda_runtime::Diagnostic;
use tokio::time::Instant;

use crate::checkpoint::{Checkpoint, MissingSequenceNumber};
use crate::metrics::Metrics;
use crate::publish::publish;
use crate::queues::Queues;
use crate::record::{self, Record};
use crate::topic::Topic;

/// The invocation as a whole failed: Lambda delivers the same batch again.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandlerError {
    /// The payload isn't what Lambda delivers from a DynamoDB stream. What the parser says would
    /// quote the payload, so only the place is named.
    #[error("the payload is no batch of DynamoDB stream records (line {line}, column {column})")]
    Payload {
        /// Line of the payload, from 1.
        line: usize,
        /// Column of that line, from 1.
        column: usize,
    },
    /// The failure can't be reported as a checkpoint.
    #[error(transparent)]
    MissingSequenceNumber(#[from] MissingSequenceNumber),
}

impl From<HandlerError> for Diagnostic {
    fn from(error: HandlerError) -> Self {
        let error_type = match error {
            HandlerError::Payload { .. } => "InvalidPayload",
            HandlerError::MissingSequenceNumber(_) => "MissingSequenceNumber",
        };
        Self { error_type: error_type.to_owned(), error_message: error.to_string() }
    }
}

/// Publishes the events of a batch of stream records, until the deadline at the latest.
///
/// The metrics are there whether or not the invocation succeeds.
///
/// ```
/// use std::time::Duration;
///
/// use eventdb_publisher::handler::handle;
/// # use eventdb_publisher::topic::{Answer, Entry, Fault, Topic};
/// # struct Accepting;
/// # impl Topic for Accepting {
/// #     async fn publish_batch(&self, entries: &[Entry]) -> Result<Answer, Fault> {
/// #         Ok(Answer { accepted: (0..entries.len()).collect(), failed: Vec::new() })
/// #     }
/// # }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
/// let (checkpoint, metrics) = handle(&Accepting, r#"{"Records":[]}"#, deadline).await;
/// assert_eq!(checkpoint.unwrap().sequence_number(), None);
/// assert_eq!(metrics.published, 0);
/// # }
/// ```
pub async fn handle(
    topic: &impl Topic,
    payload: impl AsRef<str>,
    deadline: Instant,
) -> (Result<Checkpoint, HandlerError>, Metrics) {
    let batch: dynamodb::Event = match serde_json::from_str(payload.as_ref()) {
        Ok(batch) => batch,
        Err(error) => {
            let (line, column) = (error.line(), error.column());
            return (Err(HandlerError::Payload { line, column }), Metrics::default());
        }
    };
    // It may have 6 MB, which are not needed any more.
    drop(payload);
    let mut sequence_numbers = Vec::with_capacity(batch.records.len());
    let mut entries = Vec::with_capacity(batch.records.len());
    let mut unpublishable = Vec::new();
    let mut skipped = 0;
    for (position, mut record) in batch.records.into_iter().enumerate() {
        sequence_numbers.push(record.change.sequence_number.take());
        match record::read(position, record) {
            Record::Event(entry) => entries.push(entry),
            Record::Skipped(reason) => {
                tracing::debug!(position, reason, "a record was skipped");
                skipped += 1;
            }
            Record::Unpublishable(row) => {
                tracing::error!(
                    subject = row.subject,
                    time_type = row.time_type,
                    reason = row.reason,
                    "a row can't be published"
                );
                unpublishable.push(row);
            }
        }
    }
    let outcome = publish(topic, Queues::new(entries, &unpublishable), deadline).await;
    let metrics = Metrics {
        published: outcome.lags.len(),
        skipped,
        failed: outcome.failed.len(),
        requests: outcome.requests,
        lags: outcome.lags,
    };
    (Checkpoint::new(&outcome.failed, &sequence_numbers).map_err(HandlerError::from), metrics)
}
