//! Sends queued events to the topic: several requests at a time, and again what failed in passing.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep, timeout_at};

use crate::queues::Queues;
use crate::topic::{Answer, Entry, Fault, FaultKind, Topic};

/// Most requests under way at the same time. Each holds a connection of its own, whose TLS
/// handshake costs a small function more than a fifth request at a time would win.
pub const REQUESTS_IN_FLIGHT: usize = 4;

/// Most times that an entry is sent within one invocation. Lambda's own retries come on top.
pub const ATTEMPTS: u32 = 6;

/// Longest time that one request may take before it counts as failed.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Upper bound of the pause before the first repetition; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Upper bound of every pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What became of the queued events.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Requests that were sent, repetitions included.
    pub requests: usize,
    /// Events that the topic has accepted.
    pub published: usize,
    /// For each of them, the milliseconds since the stream got it, where its record says when.
    pub lags: Vec<u64>,
    /// Positions of all records that were not published, in no particular order.
    pub failed: Vec<usize>,
}

/// Publishes the queued events, until all are settled or the deadline has come.
///
/// Subjects don't wait for each other: when one has failed the others go on, although Lambda will
/// deliver those behind the failure again. Lambda may give up on the whole rest of a batch, and what
/// was published by then is not lost to subscribers.
/// `docs/decisions/0024-others-go-on-behind-a-failure.md` has the reasons.
///
/// ```
/// use std::time::Duration;
///
/// use eventdb_publisher::publish::publish;
/// use eventdb_publisher::queues::Queues;
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
/// let outcome = publish(&Accepting, Queues::new(Vec::new(), &[]), deadline).await;
/// assert!(outcome.failed.is_empty());
/// # }
/// ```
pub async fn publish(topic: &impl Topic, queues: Queues, deadline: Instant) -> Outcome {
    let mut work = Work {
        queues,
        again: Vec::new(),
        published: 0,
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
            Some((request, Err(fault))) => work.settle_failure(request, &fault),
            None => break,
        }
    }
    drop(in_flight);
    Outcome {
        requests: work.requests,
        published: work.published,
        lags: work.lags,
        failed: work.queues.into_failed(),
    }
}

/// What is still to be done, and what has been.
struct Work {
    queues: Queues,
    /// Requests that are sent again, whole or in part.
    again: Vec<Request>,
    published: usize,
    lags: Vec<u64>,
    requests: usize,
    /// Nothing is begun any more, neither new requests nor repetitions.
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

    /// Settles a request that was answered, entry by entry.
    fn settle(&mut self, request: Request, answer: &Answer) {
        let pause = self.pause_after(request.attempt);
        let mut again = Vec::new();
        for (index, entry) in request.entries.into_iter().enumerate() {
            match (fault_of(index, answer), pause) {
                (None, _) => {
                    self.published += 1;
                    self.lags.extend(entry.streamed.map(lag));
                    self.queues.accepted(&entry);
                }
                (Some(Fault { kind: FaultKind::Passing, code }), Some(_)) => {
                    tracing::warn!(code, attempt = request.attempt, "an entry is sent again");
                    again.push(entry);
                }
                (Some(fault), _) => self.give_up(&entry, &fault),
            }
        }
        if let (Some(pause), false) = (pause, again.is_empty()) {
            self.again.push(Request { entries: again, attempt: request.attempt + 1, pause });
        }
    }

    /// Settles a request that failed as a whole.
    fn settle_failure(&mut self, request: Request, fault: &Fault) {
        let Request { attempt, ref entries, .. } = request;
        tracing::warn!(code = fault.code, attempt, entries = entries.len(), "a request failed");
        match (fault.kind, self.pause_after(attempt)) {
            (FaultKind::Sender, _) if entries.len() > 1 => self.again.extend(request.halves()),
            (FaultKind::Sender, _) => entries.iter().for_each(|entry| self.give_up(entry, fault)),
            (FaultKind::Passing, Some(pause)) => {
                self.again.push(Request { attempt: attempt + 1, pause, ..request });
            }
            (FaultKind::Passing | FaultKind::Denied, _) => {
                // What this request met awaits every other: to go on would only make things worse
                // for the topic, and use up the time.
                self.stopped = true;
                entries.iter().for_each(|entry| self.give_up(entry, fault));
            }
        }
    }

    /// The pause before the next attempt, if there is to be one: "full jitter", so that functions
    /// which were throttled together don't come back together.
    /// <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>
    fn pause_after(&self, attempt: u32) -> Option<Duration> {
        let bound = FIRST_PAUSE.saturating_mul(1 << attempt.saturating_sub(1).min(16));
        let pause = bound.min(LONGEST_PAUSE).mul_f64(fastrand::f64());
        let in_time = Instant::now() + pause < self.deadline;
        (!self.stopped && attempt < ATTEMPTS && in_time).then_some(pause)
    }

    fn give_up(&mut self, entry: &Entry, fault: &Fault) {
        tracing::error!(
            subject = entry.subject,
            time_type = entry.time_type,
            code = fault.code,
            sender_fault = fault.kind == FaultKind::Sender,
            "an event was not published"
        );
        self.queues.failed(entry);
    }
}

/// A request that is sent after a pause, for the first time or again.
struct Request {
    entries: Vec<Entry>,
    attempt: u32,
    pause: Duration,
}

impl Request {
    fn new(entries: Vec<Entry>) -> Self {
        Self { entries, attempt: 1, pause: Duration::ZERO }
    }

    /// SNS refuses a whole request when it dislikes one entry in certain ways; halving it until
    /// that entry is alone lets the others through.
    fn halves(mut self) -> [Self; 2] {
        let second = self.entries.split_off(self.entries.len() / 2);
        [Self::new(self.entries), Self::new(second)]
    }
}

async fn send(
    topic: &impl Topic,
    request: Request,
    deadline: Instant,
) -> (Request, Result<Answer, Fault>) {
    if !request.pause.is_zero() {
        sleep(request.pause).await;
    }
    let end = deadline.min(Instant::now() + REQUEST_TIMEOUT);
    let answer = timeout_at(end, topic.publish_batch(&request.entries)).await;
    let timed_out = || Fault { kind: FaultKind::Passing, code: "Timeout".to_owned() };
    (request, answer.unwrap_or_else(|_| Err(timed_out())))
}

/// The fault of an entry, `None` if it was accepted and only then: an entry that the answer doesn't
/// mention, or mentions in both ways, has failed.
fn fault_of(index: usize, answer: &Answer) -> Option<Fault> {
    if let Some((_, fault)) = answer.failed.iter().find(|(failed, _)| *failed == index) {
        return Some(fault.clone());
    }
    let missing = || Fault { kind: FaultKind::Passing, code: "MissingInAnswer".to_owned() };
    (!answer.accepted.contains(&index)).then(missing)
}

fn lag(streamed: DateTime<Utc>) -> u64 {
    let now = std::time::SystemTime::now();
    // The stream's clock may be ahead of ours.
    let since_streamed = now.duration_since(streamed.into()).unwrap_or_default();
    u64::try_from(since_streamed.as_millis()).unwrap_or(u64::MAX)
}
