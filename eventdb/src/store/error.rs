//! What can go wrong in the store, by what the caller can do about it.

use std::fmt;
use std::sync::Arc;

use crate::codec::cursor::CursorError;
use crate::codec::item::InvalidItem;
use crate::codec::validation::Faults;
use crate::event::Event;
use crate::store::precondition::{ExpectedState, Precondition, SubjectState};

/// The failure of an operation of the store.
///
/// For an append every variant but [`OutcomeUnknown`](Self::OutcomeUnknown) means that nothing was
/// stored.
///
/// ```
/// use eventdb::Error;
///
/// fn advice(error: &Error) -> &'static str {
///     if error.is_conflict() {
///         "load the subject again and decide again"
///     } else if error.is_retryable() {
///         "send the same again, later"
///     } else {
///         "look at the message"
///     }
/// }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The given events or arguments can't be used: correct what the faults name.
    Invalid(Faults),

    /// The append doesn't fit in one transaction: split it, giving up that it is atomic.
    TooLarge {
        /// What there is too much of: `actions` or `bytes`.
        what: &'static str,
        /// How many the append needs.
        actual: usize,
        /// How many DynamoDB allows.
        allowed: usize,
    },

    /// A precondition doesn't hold: load the subject again and decide again.
    ///
    /// Where it may come true later (a subject gets populated, or reaches the revision) and an
    /// earlier attempt of this append got no answer, that attempt may still be under way. AWS
    /// takes it [within five minutes][1], and stores the events if the precondition is true by then.
    ///
    /// [1]: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html
    Conflict(Box<Conflict>),

    /// Other writers of the same subjects were first, again and again, until the
    /// [time limit](crate::TimeLimits): the database is well, and the subject is in demand. The
    /// same call may succeed later.
    Contended {
        /// The table.
        table: String,
        /// A subject on which others were first.
        subject: String,
        /// How often the append was tried.
        attempts: u32,
        /// What happened the last time.
        source: BoxError,
    },

    /// A complete event isn't newer than what its subject holds already: the history of a subject
    /// only grows at its end.
    NotNewer {
        /// Which of the given events it is, from 0.
        index: usize,
        /// Its subject.
        subject: String,
        /// The time of the subject's last event.
        last_time: chrono::DateTime<chrono::Utc>,
    },

    /// The subject's last event is so late that no time is left for another: append to another
    /// subject. A table can hold times up to 2286-11-20T17:46:39.999Z.
    NoLaterTime {
        /// Which of the given events it is, from 0.
        index: usize,
        /// Its subject.
        subject: String,
        /// The time of the subject's last event.
        last_time: chrono::DateTime<chrono::Utc>,
    },

    /// A subject that only the original library has written can't be continued yet, because the sort
    /// keys of some of its rows don't sort by their time: those of events before
    /// 2001-09-09T01:46:40Z, whose time has fewer than 13 digits, and of events after
    /// 2286-11-20T17:46:39.999Z or before 1970. It can be read, in the right order; to continue it,
    /// move these rows, as the guide to migrating describes.
    OutOfOrder {
        /// The subject.
        subject: String,
        /// The sort key of the first such row.
        sort_key: String,
        /// The sort key under which that row would stand where it belongs, if there is one.
        belongs: Option<String>,
        /// How many such rows there are.
        rows: u64,
    },

    /// A complete event states a revision that it doesn't get: leave the revision out, or append
    /// what is missing before it.
    OtherRevision {
        /// Which of the given events it is, from 0.
        index: usize,
        /// Its subject.
        subject: String,
        /// The revision that it states.
        stated: u64,
        /// The revision that it would get, or has where it is stored already.
        assigned: u64,
    },

    /// The id of a given event is in use for something else.
    IdReused {
        /// Which of the given events it is, from 0.
        index: usize,
        /// Its id.
        id: String,
        /// How the stored event and the given one disagree.
        reason: IdReuse,
        /// The event that is stored with this id, where it was read.
        stored: Option<StoredEvent>,
    },

    /// A cursor can't be used here.
    Cursor(CursorError),

    /// The event was found, but its row can't be read.
    InvalidItem(Box<InvalidItem>),

    /// The database was busy or out of reach, for longer than the store kept trying. Nothing was
    /// stored, and sending the same again, later, is harmless.
    Unavailable {
        /// The operation of DynamoDB that failed, such as `Query`.
        operation: &'static str,
        /// The table.
        table: String,
        /// How often the request was sent, or tried to be.
        attempts: u32,
        /// Whether any request left the process; `false` without credentials or a connection.
        sent: bool,
        /// The last failure.
        source: BoxError,
    },

    /// No answer came that tells whether the append happened. Its events are here as they would be
    /// stored: `db.add_events(events)` finds them, or stores them under the preconditions that the
    /// append had, and so settles it. An append whose candidates had ids of their own may as well
    /// be repeated as it was.
    OutcomeUnknown {
        /// The events, complete but for their revisions.
        events: UnsettledEvents,
        /// How often the transaction was sent.
        attempts: u32,
        /// The last failure.
        source: BoxError,
    },

    /// The database refuses the request, or it can't even be sent: somebody has to repair the
    /// deployment, such as a missing table, permission or credentials. The source says what.
    Refused {
        /// The table.
        table: String,
        /// Its reason.
        source: BoxError,
    },
}

impl fmt::Display for Error {
    /// Says what happened; with `{:#}` also what caused it, as its sources say.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(faults) => write!(formatter, "{faults}"),
            Self::TooLarge { what, actual, allowed } => write!(
                formatter,
                "the append needs {actual} {what}; one transaction holds at most {allowed}"
            ),
            Self::Conflict(conflict) => write!(formatter, "conflict: {conflict}"),
            Self::Contended { table, subject, attempts, .. } => write!(
                formatter,
                "the subject `{subject}` on the table `{table}` is in demand: other writers were \
                 first in all of {attempts} attempts; nothing was stored"
            ),
            Self::NotNewer { index, subject, last_time } => write!(
                formatter,
                "event {index} isn't newer than the last event of its subject `{subject}`, which \
                 is of {last_time}; it must be later, by at least 1 ms"
            ),
            Self::NoLaterTime { index, subject, last_time } => write!(
                formatter,
                "event {index} can't follow the last event of its subject `{subject}`, which is \
                 of {last_time}: its time must be later, and the latest that a table can hold is \
                 2286-11-20T17:46:39.999Z; append to another subject"
            ),
            Self::OutOfOrder { subject, sort_key, belongs, rows } => write!(
                formatter,
                "the subject `{subject}` can't be continued: the sort key `{sort_key}`{} doesn't \
                 sort by its time; {}",
                more(*rows),
                moving(belongs.as_deref())
            ),
            Self::OtherRevision { index, subject, stated, assigned } => write!(
                formatter,
                "event {index} states the revision {stated}, but the next of its subject \
                 `{subject}` is {assigned}; state that one, or none"
            ),
            Self::IdReused { index, id, reason, .. } => {
                write!(formatter, "event {index} has the id `{id}`, which is in use: {reason}")
            }
            Self::Cursor(error) => write!(formatter, "{error}"),
            Self::InvalidItem(item) => write!(formatter, "{item}"),
            Self::Unavailable { operation, table, attempts, sent, .. } => write!(
                formatter,
                "{operation} on the table `{table}` failed in {attempts} attempt{}; the database \
                 is {}",
                if *attempts == 1 { "" } else { "s" },
                match (sent, *operation) {
                    (false, _) => "out of reach: nothing was sent",
                    (true, "GetItem" | "Query" | "DescribeTable") => "busy or out of reach",
                    (true, _) => "busy or out of reach, and nothing was stored",
                }
            ),
            Self::OutcomeUnknown { events, attempts, .. } => write!(
                formatter,
                "no answer in {attempts} attempt{}: it is unknown whether the append of {} events \
                 happened; give them to add_events to settle it",
                if *attempts == 1 { "" } else { "s" },
                events.as_slice().len()
            ),
            Self::Refused { table, .. } => {
                write!(formatter, "the request on the table `{table}` was refused")
            }
        }?;
        if formatter.alternate() {
            let mut cause = std::error::Error::source(self);
            while let Some(error) = cause {
                write!(formatter, ": {error}")?;
                cause = error.source();
            }
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Contended { source, .. }
            | Self::Unavailable { source, .. }
            | Self::OutcomeUnknown { source, .. }
            | Self::Refused { source, .. } => Some(&**source),
            // These say it all themselves.
            Self::Invalid(_)
            | Self::TooLarge { .. }
            | Self::Conflict(_)
            | Self::NotNewer { .. }
            | Self::NoLaterTime { .. }
            | Self::OutOfOrder { .. }
            | Self::OtherRevision { .. }
            | Self::IdReused { .. }
            | Self::Cursor(_)
            | Self::InvalidItem(_) => None,
        }
    }
}

impl From<Faults> for Error {
    fn from(faults: Faults) -> Self {
        Self::Invalid(faults)
    }
}

impl From<CursorError> for Error {
    fn from(error: CursorError) -> Self {
        Self::Cursor(error)
    }
}

/// The event that an [`Error`] found in the table.
///
/// Errors are logged, so its debug form says which event it is and nothing of what it holds.
#[derive(Clone, PartialEq)]
pub struct StoredEvent(Box<Event>);

impl StoredEvent {
    pub(crate) fn new(event: Event) -> Self {
        Self(Box::new(event))
    }

    /// The event as it is stored.
    ///
    /// ```
    /// # fn example(error: eventdb::Error) {
    /// if let eventdb::Error::IdReused { stored: Some(stored), .. } = error {
    ///     let event = stored.into_event();
    /// }
    /// # }
    /// ```
    pub fn into_event(self) -> Event {
        *self.0
    }
}

impl std::ops::Deref for StoredEvent {
    type Target = Event;

    fn deref(&self) -> &Event {
        &self.0
    }
}

impl fmt::Debug for StoredEvent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "event {}", self.0.id)
    }
}

fn more(rows: u64) -> String {
    match rows.saturating_sub(1) {
        0 => String::new(),
        more => format!(", and that of {more} more of its rows,"),
    }
}

fn moving(belongs: Option<&str>) -> String {
    match belongs {
        Some(key) => format!("move the row to the sort key `{key}` (see docs/migrating.md)"),
        None => "a table can hold times from 1970 to 2286-11-20T17:46:39.999Z; go on with another \
                 subject (see docs/migrating.md)"
            .to_owned(),
    }
}

/// The events of an append whose outcome is unknown, for `db.add_events(events)`; they bring the
/// preconditions of the append with them.
///
/// Errors are logged, so its debug form says how many they are and nothing of what they hold.
///
/// ```no_run
/// # async fn example(db: eventdb::EventDb, error: eventdb::Error) -> Result<(), eventdb::Error> {
/// match error {
///     eventdb::Error::OutcomeUnknown { events, .. } => db.add_events(events).await.map(|_| ()),
///     other => Err(other),
/// }
/// # }
/// ```
#[derive(Clone, PartialEq)]
pub struct UnsettledEvents {
    pub(crate) events: Vec<Event>,
    pub(crate) append: Arc<UnsettledAppend>,
}

/// What the events of an unsettled append have in common.
#[derive(PartialEq)]
pub(crate) struct UnsettledAppend {
    /// Whether the ids are the caller's own, by which the events are recognised at any time.
    pub(crate) ids_are_guarded: bool,
    pub(crate) preconditions: Vec<Precondition>,
}

impl UnsettledEvents {
    /// The events in the order in which they were given.
    ///
    /// ```
    /// # fn example(events: eventdb::UnsettledEvents) {
    /// let ids: Vec<&str> = events.as_slice().iter().map(|event| event.id.as_str()).collect();
    /// # }
    /// ```
    pub fn as_slice(&self) -> &[Event] {
        &self.events
    }
}

impl IntoIterator for UnsettledEvents {
    type Item = CompleteEvent;
    type IntoIter = std::vec::IntoIter<CompleteEvent>;

    fn into_iter(self) -> Self::IntoIter {
        let Self { events, append } = self;
        let complete =
            events.into_iter().map(|event| CompleteEvent { event, append: Some(append.clone()) });
        complete.collect::<Vec<_>>().into_iter()
    }
}

/// What [`EventDb::add_events`](crate::EventDb::add_events) takes: an [`Event`], or one of the
/// [`UnsettledEvents`] of an append, which brings the append's preconditions, and is recognised by
/// its id where the append's ids were the caller's own.
///
/// ```
/// # fn example(event: eventdb::Event) {
/// let complete: eventdb::CompleteEvent = event.into();
/// # }
/// ```
#[derive(Clone, PartialEq)]
pub struct CompleteEvent {
    pub(crate) event: Event,
    /// The append that it is of, if that is unsettled.
    pub(crate) append: Option<Arc<UnsettledAppend>>,
}

impl From<Event> for CompleteEvent {
    fn from(event: Event) -> Self {
        Self { event, append: None }
    }
}

impl fmt::Debug for CompleteEvent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "event {}", self.event.id)
    }
}

impl fmt::Debug for UnsettledEvents {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} events", self.events.len())
    }
}

pub(crate) use crate::event::BoxError;

/// A precondition that didn't hold: what was expected, and what is there.
///
/// ```
/// # use eventdb::{Conflict, Error};
/// fn revision_of_the_winner(error: &Error) -> Option<u64> {
///     error.conflict().map(|conflict| conflict.actual.revision())
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Conflict {
    /// The subject of the precondition.
    pub subject: String,
    /// The state that was asked for.
    pub expected: ExpectedState,
    /// The state that the subject is in.
    pub actual: SubjectState,
}

impl fmt::Display for Conflict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "expected that `{}` {}, but {}", self.subject, self.expected, self.actual)
    }
}

/// How the id of a given event is in use.
///
/// ```
/// # use eventdb::IdReuse;
/// let reuse = IdReuse::OtherContent { attribute: "data" };
/// assert_eq!(reuse.to_string(), "the stored event differs in `data`");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdReuse {
    /// The stored event with this id is another one.
    OtherContent {
        /// The first attribute in which they differ.
        attribute: &'static str,
    },
    /// Of this append some events are stored and others aren't, so it is no repetition.
    PartOfAppend,
    /// The id was used by an event that has been removed from the table since.
    EventRemoved,
}

impl fmt::Display for IdReuse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherContent { attribute } => {
                write!(formatter, "the stored event differs in `{attribute}`")
            }
            Self::PartOfAppend => formatter.write_str(
                "it is stored, but not all events of the append are; an append is repeated whole",
            ),
            Self::EventRemoved => formatter.write_str("its event was removed from the table"),
        }
    }
}

impl Error {
    /// Whether a precondition didn't hold, so that the caller should load and decide again.
    ///
    /// ```
    /// # fn example(error: eventdb::Error) {
    /// if error.is_conflict() { /* load and decide again */ }
    /// # }
    /// ```
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict(_))
    }

    /// Whether the very same call may succeed later and can do no harm.
    ///
    /// ```
    /// # fn example(error: eventdb::Error) {
    /// if error.is_retryable() { /* wait, then call again */ }
    /// # }
    /// ```
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Contended { .. })
    }

    /// Whether other writers of the same subject were first: a precondition of the caller's didn't
    /// hold, or an append without one ran out of time.
    ///
    /// ```
    /// # fn example(error: eventdb::Error) {
    /// if error.is_contention() { /* the subject is in demand; the database is well */ }
    /// # }
    /// ```
    pub fn is_contention(&self) -> bool {
        matches!(self, Self::Conflict(_) | Self::Contended { .. })
    }

    /// The conflict, if it is one.
    ///
    /// ```
    /// # fn example(error: eventdb::Error) {
    /// if let Some(conflict) = error.conflict() {
    ///     println!("{} is at {}", conflict.subject, conflict.actual.revision());
    /// }
    /// # }
    /// ```
    pub fn conflict(&self) -> Option<&Conflict> {
        match self {
            Self::Conflict(conflict) => Some(conflict),
            _ => None,
        }
    }
}
