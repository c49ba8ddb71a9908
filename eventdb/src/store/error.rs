//! The errors of the store, classified by what the caller can do about them.

use std::fmt;
use std::sync::Arc;

use crate::codec::cursor::CursorError;
use crate::codec::item::InvalidItem;
use crate::codec::validation::ValidationErrors;
use crate::event::Event;
use crate::store::append::transaction::Sent;
use crate::store::command::Command;
use crate::store::precondition::{ExpectedState, Precondition, SubjectState};
use crate::store::read::fetch_events::MissingRevisions;

/// The failure of an operation of the store.
///
/// After a failed append, nothing was stored, except that [`OutcomeUnknown`](Self::OutcomeUnknown)
/// leaves this open.
///
/// ```
/// use eventdb::Error;
///
/// fn advice(error: &Error) -> &'static str {
///     if error.is_conflict() {
///         "load the subject again and decide again"
///     } else if error.is_retryable() {
///         "call again later"
///     } else {
///         "read the message"
///     }
/// }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The given events or arguments are invalid. Correct the errors that it lists.
    Invalid(ValidationErrors),

    /// The append doesn't fit in one transaction. Split it, if it needn't be atomic.
    TooLarge {
        /// What exceeds the limit: `actions` or `bytes`.
        what: &'static str,
        /// How many the append needs.
        actual: usize,
        /// How many DynamoDB allows.
        allowed: usize,
    },

    /// A precondition doesn't hold. Load the subject again and decide again.
    ///
    /// In rare cases, the append can still happen: an earlier attempt of it got no answer, AWS
    /// accepts this attempt [within five minutes][1], and the precondition holds by then, for example
    /// because the subject has been populated.
    ///
    /// [1]: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html
    Conflict(Box<Conflict>),

    /// Other writers of the same subjects were first in every attempt until the
    /// [time limit](crate::TimeLimits). The database is healthy, but the subject is in high demand.
    /// The same call may succeed later.
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

    /// A complete event isn't newer than the last event of its subject. A history grows only at its
    /// end.
    NotNewer {
        /// Which of the given events it is, from 0.
        index: usize,
        /// Its subject.
        subject: String,
        /// The time of the subject's last event.
        last_time: chrono::DateTime<chrono::Utc>,
    },

    /// The subject's last event has the latest possible time, so no event can follow it. Append to
    /// another subject. A table can hold times up to 2286-11-20T17:46:39.999Z.
    NoLaterTime {
        /// Which of the given events it is, from 0.
        index: usize,
        /// Its subject.
        subject: String,
        /// The time of the subject's last event.
        last_time: chrono::DateTime<chrono::Utc>,
    },

    /// A subject that only the original library has written can't be continued yet, because the sort
    /// keys of some rows don't sort by time. These rows have times before 2001-09-09T01:46:40Z,
    /// which have fewer than 13 digits, or times before 1970 or after 2286-11-20T17:46:39.999Z. The
    /// subject can be read in the right order. To continue it, move these rows as the migration
    /// guide describes.
    OutOfOrder {
        /// The subject.
        subject: String,
        /// The sort key of the first such row.
        sort_key: String,
        /// The sort key to which that row should be moved, if there is one.
        belongs: Option<String>,
        /// How many such rows there are.
        rows: u64,
    },

    /// A complete event states a revision that it can't get. Leave the revision out, or append the
    /// events that are missing before it.
    OtherRevision {
        /// Which of the given events it is, from 0.
        index: usize,
        /// Its subject.
        subject: String,
        /// The revision that it states.
        stated: u64,
        /// The revision that it would get, or that it has if it is stored already.
        assigned: u64,
    },

    /// The id of a given event is already in use.
    IdReused {
        /// Which of the given events it is, from 0.
        index: usize,
        /// Its id.
        id: String,
        /// How the stored event and the given one disagree.
        reason: IdReuse,
        /// The event that is stored with this id, if the store has read it.
        stored: Option<StoredEvent>,
    },

    /// A cursor can't be used here.
    Cursor(CursorError),

    /// The event was found, but its row can't be read.
    InvalidItem(Box<InvalidItem>),

    /// Events were removed from a subject's history, or overwritten by a writer other than this
    /// crate. It ends a stream of [single events](crate::FetchEvents::events). Other reads return it
    /// in [`History::missing`](crate::History::missing).
    MissingRevisions(MissingRevisions),

    /// The database was busy or unreachable for longer than the store kept trying. Nothing was
    /// stored. It is safe to repeat the call later.
    Unavailable {
        /// The DynamoDB operation that failed, such as `Query`.
        operation: &'static str,
        /// The table.
        table: String,
        /// How often the request was attempted.
        attempts: u32,
        /// Whether any request was sent. `false` if there were no credentials or no connection.
        sent: bool,
        /// The last failure.
        source: BoxError,
    },

    /// The store got no answer that says whether the append happened. To settle it, call
    /// `db.add_events(events)`: it finds the events, or stores them with the preconditions of the
    /// append. If you chose the ids of all candidates, you can also repeat the original call.
    OutcomeUnknown {
        /// The events as they would be stored, without their revisions.
        events: UnsettledEvents,
        /// How often the transaction was sent.
        attempts: u32,
        /// The last failure.
        source: BoxError,
    },

    /// The database refuses the request, or the request can't be sent. Somebody has to repair the
    /// deployment: for example, a missing table, missing permissions or missing credentials. The
    /// source says what is wrong.
    Refused {
        /// The table.
        table: String,
        /// The reason.
        source: BoxError,
    },
}

impl fmt::Display for Error {
    /// Writes what happened. `{:#}` also writes the causes.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(errors) => write!(formatter, "{errors}"),
            Self::TooLarge { what, actual, allowed } => write!(
                formatter,
                "the append needs {actual} {what}; it must need at most {allowed} to fit in one \
                 transaction; split it"
            ),
            Self::Conflict(conflict) => write!(formatter, "conflict: {conflict}"),
            Self::Contended { table, subject, attempts, .. } => write!(
                formatter,
                "the subject `{subject}` in the table `{table}` is in high demand: other writers \
                 were first in all {attempts} attempts; nothing was stored; try again later"
            ),
            Self::NotNewer { index, subject, last_time } => write!(
                formatter,
                "event {index} isn't newer than the last event of its subject `{subject}`, whose \
                 time is {last_time}; it must be at least 1 ms later"
            ),
            Self::NoLaterTime { index, subject, last_time } => write!(
                formatter,
                "event {index} can't follow the last event of its subject `{subject}`, whose time \
                 is {last_time}: its time must be later, but the latest time that a table can hold \
                 is 2286-11-20T17:46:39.999Z; append to another subject"
            ),
            Self::OutOfOrder { subject, sort_key, belongs, rows } => write!(
                formatter,
                "the subject `{subject}` can't be continued, because the sort key `{sort_key}`{} \
                 doesn't sort by time; {}",
                more(*rows),
                moving(belongs.as_deref())
            ),
            Self::OtherRevision { index, subject, stated, assigned } => write!(
                formatter,
                "event {index} states the revision {stated}, but its revision in the subject \
                 `{subject}` is {assigned}; state that revision or none"
            ),
            Self::IdReused { index, id, reason, .. } => {
                write!(formatter, "event {index} has the id `{id}`, which is in use: {reason}")
            }
            Self::Cursor(error) => write!(formatter, "{error}"),
            Self::InvalidItem(item) => write!(formatter, "{item}"),
            Self::MissingRevisions(MissingRevisions { subject, revisions }) => write!(
                formatter,
                "the history of `{subject}` lacks the revisions {} to {}, which were removed from \
                 the table or overwritten; restore their rows from a backup",
                revisions.start(),
                revisions.end()
            ),
            Self::Unavailable { operation, table, attempts, sent, .. } => write!(
                formatter,
                "{operation} on the table `{table}` failed after {attempts} attempt{}: the \
                 database is {}; try again later",
                if *attempts == 1 { "" } else { "s" },
                match (sent, *operation) {
                    (false, _) => "unreachable, and nothing was sent",
                    (true, "GetItem" | "TransactGetItems" | "Query" | "DescribeTable") =>
                        "busy or unreachable",
                    (true, _) => "busy or unreachable, and nothing was stored",
                }
            ),
            Self::OutcomeUnknown { events, attempts, .. } => write!(
                formatter,
                "no answer after {attempts} attempt{}: it is unknown whether the append of {} \
                 event{} happened; pass the events to add_events to settle it",
                if *attempts == 1 { "" } else { "s" },
                events.as_slice().len(),
                if events.as_slice().len() == 1 { "" } else { "s" }
            ),
            Self::Refused { table, .. } => {
                write!(formatter, "the request to the table `{table}` was refused")
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
            // Their text already contains the cause.
            Self::Invalid(_)
            | Self::TooLarge { .. }
            | Self::Conflict(_)
            | Self::NotNewer { .. }
            | Self::NoLaterTime { .. }
            | Self::OutOfOrder { .. }
            | Self::OtherRevision { .. }
            | Self::IdReused { .. }
            | Self::Cursor(_)
            | Self::InvalidItem(_)
            | Self::MissingRevisions(_) => None,
        }
    }
}

impl From<ValidationErrors> for Error {
    fn from(errors: ValidationErrors) -> Self {
        Self::Invalid(errors)
    }
}

impl From<CursorError> for Error {
    fn from(error: CursorError) -> Self {
        Self::Cursor(error)
    }
}

/// The event that an [`Error`] found in the table.
///
/// Because errors are logged, the debug form contains only the event's id.
#[derive(Clone, PartialEq)]
pub struct StoredEvent(Box<Event>);

impl StoredEvent {
    pub(crate) fn new(event: Event) -> Self {
        Self(Box::new(event))
    }

    /// The event as it is stored.
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
        1 => " (and that of 1 more row)".to_owned(),
        more => format!(" (and those of {more} more rows)"),
    }
}

fn moving(belongs: Option<&str>) -> String {
    match belongs {
        Some(key) => format!("move the row to the sort key `{key}` (see docs/migrating.md)"),
        None => "its time must be from 1970 to 2286-11-20T17:46:39.999Z; continue with another \
                 subject (see docs/migrating.md)"
            .to_owned(),
    }
}

/// The events of an append whose outcome is unknown, for `db.add_events(events)`. They carry the
/// preconditions of the append.
///
/// Because errors are logged, the debug form contains only the number of events.
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
    /// Whether the caller chose the ids. Then their guards identify the events permanently.
    pub(crate) ids_are_guarded: bool,
    pub(crate) preconditions: Vec<Precondition>,
    /// The command that it belongs to, if any. Its guard identifies the events permanently.
    pub(crate) command: Option<Command>,
    /// What it was sent on, in a table by revision.
    pub(crate) sent: Option<Sent>,
}

impl UnsettledEvents {
    /// The events in the order of the append.
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

/// The argument of [`EventDb::add_events`](crate::EventDb::add_events): an [`Event`], or one of the
/// [`UnsettledEvents`] of an append. You don't need to name this type: both convert into it.
#[derive(Clone, PartialEq)]
pub struct CompleteEvent {
    pub(crate) event: Event,
    /// The unsettled append that the event is part of, if any.
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

/// A precondition that didn't hold: the expected and the actual state.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Conflict {
    /// The subject of the precondition.
    pub subject: String,
    /// The state that the precondition requires.
    pub expected: ExpectedState,
    /// The state that the subject is in.
    pub actual: SubjectState,
}

impl std::error::Error for Conflict {}

impl fmt::Display for Conflict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "expected that `{}` {}, but {}", self.subject, self.expected, self.actual)
    }
}

/// How the id of a given event is already in use.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdReuse {
    /// A different event is stored with this id.
    OtherContent {
        /// The first attribute in which they differ.
        attribute: &'static str,
    },
    /// Some events of this append are stored and others aren't, so it isn't a repetition.
    PartOfAppend,
    /// The event with this id was removed from the table.
    EventRemoved,
}

impl fmt::Display for IdReuse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherContent { attribute } => {
                write!(formatter, "the stored event differs in `{attribute}`")
            }
            Self::PartOfAppend => formatter.write_str(
                "it is stored, but other events of the append aren't; repeat exactly the same events",
            ),
            Self::EventRemoved => formatter.write_str("its event was removed from the table"),
        }
    }
}

impl Error {
    /// Whether a precondition didn't hold, so that the caller should load and decide again.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict(_))
    }

    /// Whether the same call may succeed later and is safe to repeat.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Contended { .. })
    }

    /// Whether other writers of the same subject were first: a precondition didn't hold, or an append
    /// without a precondition reached its time limit. The database is healthy then.
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
