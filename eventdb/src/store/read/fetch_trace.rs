//! Reading what caused an event, and what it caused.

use std::collections::HashSet;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;

use crate::event::Event;
use crate::store::error::Error;
use crate::store::read::fetch_event::FetchEvent;
use crate::store::read::fetch_events::{FetchEvents, History};
use crate::store::read::trace::{MissingCause, TraceLine, TracedEvent, lines};
use crate::store::table::Table;

/// How far the clocks of writers may differ: an effect may seem to be this much older than its cause.
const CLOCKS_DIFFER: TimeDelta = TimeDelta::minutes(1);

/// A request for what caused an event and what it caused: see
/// [`EventDb::fetch_trace`](crate::EventDb::fetch_trace).
///
/// If you await it, it reads everything. To show progress, or to stop early, [begin](Self::begin) it
/// and [read on](Trace::read_on).
#[derive(Debug, Clone)]
#[must_use = "a request does nothing until it is awaited"]
pub struct FetchTrace {
    table: Table,
    asked: TracedEvent,
    within: Duration,
    rows: usize,
    causes: usize,
}

impl FetchTrace {
    pub(crate) fn new(table: Table, event: &Event) -> Self {
        Self {
            table,
            asked: TracedEvent::of(event),
            within: Duration::from_secs(60 * 60),
            rows: 10_000,
            causes: 100,
        }
    }

    /// How long after the event effects are looked for. Default: an hour.
    pub fn within(mut self, time: Duration) -> Self {
        self.within = time;
        self
    }

    /// At most this number of rows are read to find effects. Default: 10,000.
    pub fn limit(mut self, rows: usize) -> Self {
        self.rows = rows;
        self
    }

    /// At most this number of causes are read. Default: 100.
    pub fn causes(mut self, events: usize) -> Self {
        self.causes = events;
        self
    }

    /// Reads the causes. [`Trace::read_on`] reads the effects.
    ///
    /// # Errors
    /// As for [`EventDb::fetch_trace`](crate::EventDb::fetch_trace).
    pub async fn begin(self) -> Result<Trace, Error> {
        let (causes, missing) = self.read_causes().await?;
        let Self { table, asked, within, rows: limit, .. } = self;
        let first =
            causes.iter().map(|cause| cause.time).min().map_or(asked.time, |t| t.min(asked.time));
        let since = first.checked_sub_signed(CLOCKS_DIFFER).unwrap_or(first);
        let within = TimeDelta::from_std(within).unwrap_or(TimeDelta::MAX);
        let until = asked.time.checked_add_signed(within).unwrap_or(DateTime::<Utc>::MAX_UTC);
        let pages = FetchEvents::of_all(table).since(since).until(until).limit(limit).stream();
        Ok(Trace {
            asked,
            causes,
            missing,
            linked: Vec::new(),
            since,
            until,
            limit,
            pages: Some(pages),
            rows_read: 0,
            last_time: None,
        })
    }

    /// The causes, the nearest first, and why there are no more of them.
    async fn read_causes(
        &self,
    ) -> Result<(Vec<TracedEvent>, Option<(String, MissingCause)>), Error> {
        let mut causes: Vec<TracedEvent> = Vec::new();
        let mut seen = HashSet::from([self.asked.id.clone()]);
        let mut next = self.asked.causation.clone();
        while let Some(id) = next.take() {
            if !seen.insert(id.clone()) {
                // A cycle: the lines show it.
                break;
            }
            if causes.len() >= self.causes {
                return Ok((causes, Some((id, MissingCause::LimitReached))));
            }
            match FetchEvent::new(self.table.clone(), id.clone()).await {
                Ok(Some(cause)) => {
                    let cause = TracedEvent::of(&cause);
                    next = cause.causation.clone();
                    causes.push(cause);
                }
                Ok(None) => break,
                Err(error) if error.is_retryable() => return Err(error),
                // For example, the row can't be read.
                Err(error) => return Ok((causes, Some((id, MissingCause::Unreadable(error))))),
            }
        }
        Ok((causes, None))
    }
}

impl IntoFuture for FetchTrace {
    type Output = Result<Trace, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let mut trace = self.begin().await?;
            while trace.read_on().await?.is_some() {}
            Ok(trace)
        })
    }
}

/// What caused an event, and what it caused, over all subjects. It has no data of events.
///
/// ```no_run
/// use eventdb::TraceLine;
///
/// # async fn example(db: eventdb::EventDb, event: eventdb::Event) -> Result<(), eventdb::Error> {
/// let trace = db.fetch_trace(&event).await?;
/// for line in trace.lines() {
///     match line {
///         TraceLine::Event { depth, event, .. } => println!("{depth} {}", event.ty),
///         TraceLine::MissingCause { depth, id, reason } => println!("{depth} {id}: {reason}"),
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub struct Trace {
    asked: TracedEvent,
    /// The nearest first.
    causes: Vec<TracedEvent>,
    missing: Option<(String, MissingCause)>,
    /// Events that say what caused them, or what they belong to.
    linked: Vec<TracedEvent>,
    since: DateTime<Utc>,
    until: DateTime<Utc>,
    limit: usize,
    /// What is left to read.
    pages: Option<BoxStream<'static, Result<History, Error>>>,
    rows_read: usize,
    last_time: Option<DateTime<Utc>>,
}

impl fmt::Debug for Trace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Trace")
            .field("asked", &self.asked)
            .field("rows_read", &self.rows_read)
            .finish_non_exhaustive()
    }
}

impl Trace {
    /// Reads a page of the events among which effects are looked for, and returns the number of its
    /// rows; `None` if everything is read. It can be dropped while it waits, and called again.
    ///
    /// # Errors
    /// As for [`EventDb::fetch_all_events`](crate::EventDb::fetch_all_events). After an error, nothing
    /// more is read.
    pub async fn read_on(&mut self) -> Result<Option<usize>, Error> {
        let Some(pages) = &mut self.pages else { return Ok(None) };
        let Some(page) = pages.try_next().await? else {
            self.pages = None;
            return Ok(None);
        };
        let rows = page.events.len() + page.invalid.len();
        self.rows_read += rows;
        self.last_time = page.events.last().map(|event| event.time).or(self.last_time);
        self.linked.extend(page.events.iter().map(TracedEvent::of).filter(TracedEvent::is_linked));
        Ok(Some(rows))
    }

    /// The event and all that belong to it, each below its cause. First causes and events of the same
    /// depth are in the order of time.
    ///
    /// To the event belong its causes, their effects and the effects of these; events with the same
    /// `correlationid`, or with the id of the event or of a cause as theirs; and events of the same
    /// trace in `traceparent`. A cause is named by its id only, so sources don't count there.
    pub fn lines(&self) -> Vec<TraceLine<'_>> {
        let missing = self.missing.as_ref().map(|(id, reason)| (id.as_str(), reason));
        lines(&self.asked, &self.causes, &self.linked, missing)
    }

    /// The causes that were found, the nearest first.
    pub fn causes(&self) -> &[TracedEvent] {
        &self.causes
    }

    /// Effects are looked for from this time on: a minute before the first of the events, because
    /// clocks differ.
    pub fn since(&self) -> DateTime<Utc> {
        self.since
    }

    /// Until when effects were looked for: the end of the period or, if not everything was read, the
    /// time of the last event that was.
    pub fn read_until(&self) -> DateTime<Utc> {
        match self.is_complete() {
            true => self.until,
            false => self.last_time.unwrap_or(self.since),
        }
    }

    /// The number of rows that were read to find effects.
    pub fn rows_read(&self) -> usize {
        self.rows_read
    }

    /// Whether the whole period was read.
    pub fn is_complete(&self) -> bool {
        self.pages.is_none() && self.rows_read < self.limit
    }
}
