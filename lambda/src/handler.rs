//! One invocation of the function: from the payload to the answer and the metrics.

use lambda_runtime::Diagnostic;
use tokio::time::Instant;

use crate::batch::{InvalidPayload, Payload};
use crate::checkpoint::{Checkpoint, MissingSequenceNumber};
use crate::listing::{Feed, FeedTable, NoFeedTable};
use crate::metrics::Metrics;
use crate::publish::publish;
use crate::queues::Queues;
use crate::topic::{Entry, Topic};

/// The invocation as a whole failed: Lambda delivers the same batch again.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandlerError {
    /// The payload isn't a batch.
    #[error(transparent)]
    Payload(#[from] InvalidPayload),
    /// The failure can't be reported as a checkpoint.
    #[error(transparent)]
    MissingSequenceNumber(#[from] MissingSequenceNumber),
}

impl From<HandlerError> for Diagnostic {
    fn from(error: HandlerError) -> Self {
        let error_type = match error {
            HandlerError::Payload(_) => "InvalidPayload",
            HandlerError::MissingSequenceNumber(_) => "MissingSequenceNumber",
        };
        Self { error_type: error_type.to_owned(), error_message: error.to_string() }
    }
}

/// Publishes the events of a batch of stream records, and stops at the deadline.
///
/// It returns metrics even if the invocation fails.
///
/// ```
/// use std::time::Duration;
///
/// use eventdb_publisher::handler::handle;
/// # use eventdb_publisher::topic::{Answer, Entry, PublishFailure, Topic};
/// # struct Accepting;
/// # impl Topic for Accepting {
/// #     async fn publish_batch(&self, entries: &[Entry]) -> Result<Answer, PublishFailure> {
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
    payload: impl Into<Payload>,
    deadline: Instant,
) -> (Result<Checkpoint, HandlerError>, Metrics) {
    handle_with_feed(topic, None::<&Feed<NoFeedTable>>, payload, deadline).await
}

/// The same as [`handle`], and lists the published events in a feed.
///
/// Events that this process, or the feed, knows as published aren't sent again. If an event can't be
/// listed, its record is reported as failed, so that it is delivered again: no published event is
/// missing in the feed, unless Lambda gives up on its record and passes it to the failure
/// destination.
pub async fn handle_with_feed<F: FeedTable>(
    topic: &impl Topic,
    feed: Option<&Feed<F>>,
    payload: impl Into<Payload>,
    deadline: Instant,
) -> (Result<Checkpoint, HandlerError>, Metrics) {
    let mut batch = match payload.into() {
        Payload(Ok(batch)) => batch,
        Payload(Err(invalid)) => return (Err(invalid.into()), Metrics::default()),
    };
    let limits = topic.limits();
    batch.refuse_larger_than(limits.message_bytes);
    for (position, reason) in &batch.skipped {
        tracing::debug!(position, reason, "a record was skipped");
    }
    for row in &batch.unpublishable {
        tracing::error!(
            subject = row.subject,
            sort_key = row.sort_key.as_ref().map(tracing::field::display),
            reason = row.reason,
            "a row can't be published"
        );
    }
    let mut to_list = Vec::new();
    let mut repeated = 0;
    if let Some(feed) = feed {
        let published = feed.published_before(&batch.entries, feed.publish_by(deadline)).await;
        repeated = published.listed.len() + published.unlisted.len();
        batch.entries.retain(|entry| !published.listed.contains(&entry.position));
        let unlisted = |entry: &mut Entry| published.unlisted.contains(&entry.position);
        to_list.extend(
            batch.entries.extract_if(.., unlisted).map(|entry| (entry.position, entry.listing)),
        );
    }
    let queues = Queues::new(batch.entries, &batch.unpublishable).within(limits);
    let publish_by = feed.map_or(deadline, |feed| feed.publish_by(deadline));
    let outcome = publish(topic, queues, publish_by).await;
    let mut failed = outcome.failed;
    let mut metrics = Metrics {
        published: outcome.accepted.len(),
        skipped: batch.skipped.len(),
        failed: failed.len(),
        unlisted: None,
        repeated,
        requests: outcome.requests,
        lags: outcome.lags,
    };
    if let Some(feed) = feed {
        to_list.extend(outcome.accepted);
        let unlisted = feed.list(to_list, deadline).await;
        metrics.unlisted = Some(unlisted.len());
        failed.extend(unlisted);
    }
    (Checkpoint::new(&failed, &batch.sequence_numbers).map_err(HandlerError::from), metrics)
}
