//! Retries and time limits: the only place in the store that decides about them.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;

use crate::store::error::{BoxError, Error};
use crate::store::failure::NeverSent;

/// How long the store waits for the answer to one request, and for a whole operation.
///
/// These limits replace the client's time-outs and retries. In a read of several pages, each page
/// counts as one operation. A limit ends the operation, but DynamoDB may still carry out a request
/// that it has received.
///
/// ```
/// use eventdb::TimeLimits;
/// use std::time::Duration;
///
/// let limits = TimeLimits::default().operation(Duration::from_secs(10));
/// assert_eq!(limits.attempt, Duration::from_secs(5));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TimeLimits {
    /// For one request, from getting credentials to the answer. Default: 5 seconds.
    pub attempt: Duration,
    /// For one operation with all its requests and pauses. Default: 30 seconds.
    pub operation: Duration,
}

impl Default for TimeLimits {
    fn default() -> Self {
        Self { attempt: Duration::from_secs(5), operation: Duration::from_secs(30) }
    }
}

impl TimeLimits {
    /// Changes the limit for one request.
    #[must_use]
    pub fn attempt(self, attempt: Duration) -> Self {
        Self { attempt, ..self }
    }

    /// Changes the limit for one operation.
    #[must_use]
    pub fn operation(self, operation: Duration) -> Self {
        Self { operation, ..self }
    }

    pub(crate) fn deadline(&self) -> Instant {
        after(self.operation)
    }

    pub(crate) fn end_of_attempt(&self, deadline: Option<Instant>) -> Instant {
        let end = after(self.attempt);
        deadline.map_or(end, |deadline| deadline.min(end))
    }
}

/// The instant after the given time. It is limited to a day, so the addition can't overflow.
fn after(time: Duration) -> Instant {
    Instant::now() + time.min(Duration::from_secs(86_400))
}

/// Disables the client's retries. The store must know the outcome of each attempt, and errors report
/// the number of attempts.
pub(crate) fn without_retries() -> aws_sdk_dynamodb::config::Builder {
    aws_sdk_dynamodb::Config::builder()
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::disabled())
}

/// The first pause after the database was busy or didn't answer.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// The first pause after another writer was first. It is shorter, because the other writer is done
/// already: docs/benchmarks.md compares both with a loop that doesn't pause.
const FIRST_PAUSE_AFTER_CONFLICT: Duration = Duration::from_millis(3);

/// The pauses between attempts. The base delay doubles from the first one up to 1 s, and each pause is
/// random between one and two times that delay.
fn pauses(first: Duration) -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_jitter()
        .with_min_delay(first)
        .with_max_delay(Duration::from_secs(1))
        .without_max_times()
        .build()
}

/// After this number of failed attempts, the database counts as unavailable.
const MOST_ATTEMPTS: u32 = 16;

/// From this attempt on, a retry is logged as a warning.
const WORTH_A_WARNING: u32 = 5;

/// The attempts of one operation.
#[derive(Debug)]
pub(crate) struct Attempts {
    operation: &'static str,
    table: Arc<str>,
    /// The subject that the operation is about, for the log.
    subject: Option<String>,
    deadline: Instant,
    pauses: ExponentialBackoff,
    pauses_after_conflict: ExponentialBackoff,
    /// How many attempts were started.
    count: u32,
    /// How many of them failed, without those that other writers caused.
    failed: u32,
    /// Whether any request was sent.
    sent: bool,
}

/// The operation ends here, without another attempt.
#[derive(Debug)]
struct NoMoreAttempts {
    operation: &'static str,
    table: Arc<str>,
    attempts: u32,
    sent: bool,
    source: BoxError,
}

impl From<NoMoreAttempts> for Error {
    fn from(ended: NoMoreAttempts) -> Self {
        Self::Unavailable {
            operation: ended.operation,
            table: ended.table.to_string(),
            attempts: ended.attempts,
            sent: ended.sent,
            source: ended.source,
        }
    }
}

impl Attempts {
    pub(crate) fn until(deadline: Instant, operation: &'static str, table: &Arc<str>) -> Self {
        let table = Arc::clone(table);
        Self {
            operation,
            table,
            subject: None,
            deadline,
            pauses: pauses(FIRST_PAUSE),
            pauses_after_conflict: pauses(FIRST_PAUSE_AFTER_CONFLICT),
            count: 1,
            failed: 0,
            sent: false,
        }
    }

    pub(crate) fn about(mut self, subject: Option<&str>) -> Self {
        self.subject = subject.map(str::to_owned);
        self
    }

    /// How many were begun.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Waits after a failure. It fails if there were too many failures or no time is left.
    pub(crate) async fn pause(&mut self, source: BoxError) -> Result<(), Error> {
        self.failed += 1;
        self.sent |= !source.is::<NeverSent>();
        if self.failed >= MOST_ATTEMPTS {
            return Err(self.ended(source).into());
        }
        let pause = self.pauses.next();
        Ok(self.wait(pause, source).await?)
    }

    /// Waits after another writer was first. It fails if no time is left.
    pub(crate) async fn pause_after_conflict(
        &mut self,
        source: BoxError,
        subject: Option<&str>,
    ) -> Result<(), Error> {
        self.sent = true;
        let pause = self.pauses_after_conflict.next();
        self.wait(pause, source).await.map_err(|ended| Error::Contended {
            table: ended.table.to_string(),
            subject: subject.unwrap_or_default().to_owned(),
            attempts: ended.attempts,
            source: ended.source,
        })
    }

    async fn wait(
        &mut self,
        pause: Option<Duration>,
        source: BoxError,
    ) -> Result<(), NoMoreAttempts> {
        let pause = pause.unwrap_or(Duration::from_secs(1));
        let again = Instant::now() + pause;
        if again >= self.deadline {
            return Err(self.ended(source));
        }
        let (operation, table, attempt) = (self.operation, &*self.table, self.count);
        let subject = self.subject.as_deref().unwrap_or_default();
        let reason = source.as_ref();
        if attempt >= WORTH_A_WARNING {
            tracing::warn!(target: "eventdb", operation, table, subject, attempt, reason, ?pause, "trying again");
        } else {
            tracing::debug!(target: "eventdb", operation, table, subject, attempt, reason, ?pause, "trying again");
        }
        tokio::time::sleep_until(again).await;
        self.count += 1;
        Ok(())
    }

    fn ended(&self, source: BoxError) -> NoMoreAttempts {
        let table = Arc::clone(&self.table);
        NoMoreAttempts {
            operation: self.operation,
            table,
            attempts: self.count,
            sent: self.sent,
            source,
        }
    }
}
