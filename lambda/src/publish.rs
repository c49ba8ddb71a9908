//! Sends queued events to the topic: several requests at the same time, with retries of temporary
//! failures.

use std::time::Duration;

use chrono::{DateTime, Utc};
use eventdb::FeedEntry;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep, timeout_at};

use crate::queues::Queues;
use crate::topic::{Answer, Entry, FailureKind, PublishFailure, Topic};

/// Most concurrent requests. Each needs a separate connection, and the TLS handshake of a fifth one
/// would cost a small function more time than it would save.
pub const REQUESTS_IN_FLIGHT: usize = 4;

/// How often an entry is sent at most within one invocation. Lambda's retries of the invocation come
/// on top.
pub const ATTEMPTS: u32 = 6;

/// Time after which a request counts as failed.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Upper bound of the pause before the first retry. It doubles with each retry.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Upper bound of every pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The result of publishing the queued events.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Requests that were sent, including repetitions.
    pub requests: usize,
    /// Positions of the events that the topic has accepted, in the order of acceptance, and how the
    /// feed lists them.
    pub accepted: Vec<(usize, FeedEntry)>,
    /// For each of them, the milliseconds since its arrival in the stream, if its record contains it.
    pub lags: Vec<u64>,
    /// Positions of all records that weren't published, in no particular order.
    pub failed: Vec<usize>,
}

/// Publishes the queued events until all have succeeded or failed, or until the deadline.
///
/// Subjects don't wait for each other. After a failure, the other subjects continue, although Lambda
/// will deliver the events after the failed record again. If Lambda finally gives up on the rest of
/// the batch, subscribers have at least received those events.
/// `docs/decisions/0024-others-go-on-behind-a-failure.md` has the reasons.
///
/// ```
/// use std::time::Duration;
///
/// use eventdb_publisher::publish::publish;
/// use eventdb_publisher::queues::Queues;
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
/// let outcome = publish(&Accepting, Queues::new(Vec::new(), &[]), deadline).await;
/// assert!(outcome.failed.is_empty());
/// # }
/// ```
pub async fn publish(topic: &impl Topic, queues: Queues, deadline: Instant) -> Outcome {
    let mut work = Work {
        queues,
        again: Vec::new(),
        accepted: Vec::new(),
        lags: Vec::new(),
        requests: 0,
        stopped: false,
        deadline,
    };
    let mut in_flight = FuturesUnordered::new();
    loop {
        while in_flight.len() < REQUESTS_IN_FLIGHT {
            let Some(request) = work.next_request() else { break };
            work.requests += 1;
            in_flight.push(send(topic, request, deadline));
        }
        match in_flight.next().await {
            Some((request, Ok(answer))) => work.settle(request, &answer),
            Some((request, Err(failure))) => work.settle_failure(request, &failure),
            None => break,
        }
    }
    drop(in_flight);
    Outcome {
        requests: work.requests,
        accepted: work.accepted,
        lags: work.lags,
        failed: work.queues.into_failed(),
    }
}

/// The state of publishing a batch.
struct Work {
    queues: Queues,
    /// Requests to send again, whole or in part.
    again: Vec<Request>,
    accepted: Vec<(usize, FeedEntry)>,
    lags: Vec<u64>,
    requests: usize,
    /// Whether no request may be started any more, neither new ones nor repetitions.
    stopped: bool,
    deadline: Instant,
}

impl Work {
    fn next_request(&mut self) -> Option<Request> {
        if let Some(request) = self.again.pop() {
            return Some(request);
        }
        if self.stopped || Instant::now() >= self.deadline {
            return None;
        }
        self.queues.next_request().map(Request::new)
    }

    /// Processes the answer to a request, entry by entry.
    fn settle(&mut self, request: Request, answer: &Answer) {
        let pause = self.pause_after(request.attempt);
        let mut again = Vec::new();
        for (index, entry) in request.entries.into_iter().enumerate() {
            match (failure_of(index, answer), pause) {
                (None, _) => {
                    self.lags.extend(entry.streamed.map(lag));
                    self.queues.accepted(&entry);
                    self.accepted.push((entry.position, entry.listing));
                }
                (Some(PublishFailure { kind: FailureKind::Transient, code }), Some(_)) => {
                    tracing::warn!(code, attempt = request.attempt, "an entry is sent again");
                    again.push(entry);
                }
                (Some(failure), _) => self.give_up(&entry, &failure),
            }
        }
        if let (Some(pause), false) = (pause, again.is_empty()) {
            self.again.push(Request { entries: again, attempt: request.attempt + 1, pause });
        }
    }

    /// Processes the failure of a whole request.
    fn settle_failure(&mut self, request: Request, failure: &PublishFailure) {
        let Request { attempt, ref entries, .. } = request;
        tracing::warn!(code = failure.code, attempt, entries = entries.len(), "a request failed");
        match (failure.kind, self.pause_after(attempt)) {
            (FailureKind::InvalidEntry, _) if entries.len() > 1 => {
                self.again.extend(request.halves());
            }
            (FailureKind::InvalidEntry, _) => {
                entries.iter().for_each(|entry| self.give_up(entry, failure));
            }
            (FailureKind::Transient, Some(pause)) => {
                self.again.push(Request { attempt: attempt + 1, pause, ..request });
            }
            (FailureKind::Transient | FailureKind::Denied, _) => {
                // Every other request would fail in the same way. More requests would only add load
                // and use up the time.
                self.stopped = true;
                entries.iter().for_each(|entry| self.give_up(entry, failure));
            }
        }
    }

    /// The pause before the next attempt, or `None` if there must be no more. It has "full jitter", so
    /// that functions that were throttled together don't retry together.
    /// <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>
    fn pause_after(&self, attempt: u32) -> Option<Duration> {
        let bound = FIRST_PAUSE.saturating_mul(1 << attempt.saturating_sub(1).min(16));
        let pause = bound.min(LONGEST_PAUSE).mul_f64(fastrand::f64());
        let in_time = Instant::now() + pause < self.deadline;
        (!self.stopped && attempt < ATTEMPTS && in_time).then_some(pause)
    }

    fn give_up(&mut self, entry: &Entry, failure: &PublishFailure) {
        tracing::error!(
            subject = entry.subject,
            sort_key = entry.sort_key.as_ref().map(tracing::field::display),
            code = failure.code,
            sender_fault = failure.kind == FailureKind::InvalidEntry,
            "an event wasn't published"
        );
        self.queues.failed(entry);
    }
}

/// A request, and the pause before it is sent.
struct Request {
    entries: Vec<Entry>,
    attempt: u32,
    pause: Duration,
}

impl Request {
    fn new(entries: Vec<Entry>) -> Self {
        Self { entries, attempt: 1, pause: Duration::ZERO }
    }

    /// For certain errors in one entry, SNS refuses the whole request. Splitting it until that entry
    /// is alone lets the others through.
    fn halves(mut self) -> [Self; 2] {
        let second = self.entries.split_off(self.entries.len() / 2);
        [Self::new(self.entries), Self::new(second)]
    }
}

async fn send(
    topic: &impl Topic,
    request: Request,
    deadline: Instant,
) -> (Request, Result<Answer, PublishFailure>) {
    if !request.pause.is_zero() {
        sleep(request.pause).await;
    }
    let end = deadline.min(Instant::now() + REQUEST_TIMEOUT);
    let answer = timeout_at(end, topic.publish_batch(&request.entries)).await;
    let timed_out = || PublishFailure { kind: FailureKind::Transient, code: "Timeout".to_owned() };
    (request, answer.unwrap_or_else(|_| Err(timed_out())))
}

/// The failure of an entry, or `None` if it was accepted. An entry has failed, too, if the answer
/// doesn't mention it or mentions it as accepted and failed.
fn failure_of(index: usize, answer: &Answer) -> Option<PublishFailure> {
    if let Some((_, failure)) = answer.failed.iter().find(|(failed, _)| *failed == index) {
        return Some(failure.clone());
    }
    let missing =
        || PublishFailure { kind: FailureKind::Transient, code: "MissingInAnswer".to_owned() };
    (!answer.accepted.contains(&index)).then(missing)
}

fn lag(streamed: DateTime<Utc>) -> u64 {
    let now = std::time::SystemTime::now();
    // The stream's clock may be ahead of ours.
    let since_streamed = now.duration_since(streamed.into()).unwrap_or_default();
    u64::try_from(since_streamed.as_millis()).unwrap_or(u64::MAX)
}
