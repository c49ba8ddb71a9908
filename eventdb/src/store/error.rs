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
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The given events or arguments can't be used: correct what the faults name.
    #[error("invalid: {0}")]
    Invalid(#[from] Faults),

    /// The append doesn't fit in one transaction: split it, giving up that it is atomic.
    #[error("the append is too large for one transaction: {actual} {what}, allowed are {allowed}")]
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
    #[error("conflict: {0}")]
    Conflict(Box<Conflict>),

    /// A complete event isn't newer than what its subject holds already: the history of a subject
    /// only grows at its end.
    #[error(
        "event {index} is not newer than the last event of its subject `{subject}`, which is of \
         {last_time}; allowed are later times, at least 1 ms apart"
    )]
    NotNewer {
        /// Which of the given events it is, from 0.
        index: usize,
        /// Its subject.
        subject: String,
        /// The time of the subject's last event.
        last_time: chrono::DateTime<chrono::Utc>,
    },

    /// The id of a given event is in use for something else.
    #[error("event {index} has the id `{id}`, which is in use: {reason}")]
    IdReused {
        /// Which of the given events it is, from 0.
        index: usize,
        /// Its id.
        id: String,
        /// How the stored event and the given one disagree.
        reason: IdReuse,
    },

    /// A cursor can't be used here.
    #[error(transparent)]
    Cursor(#[from] CursorError),

    /// The event was found, but its row can't be read.
    #[error(transparent)]
    InvalidItem(Box<InvalidItem>),

    /// The database was busy or out of reach, for longer than the store kept trying. Sending the
    /// same again, later, is harmless.
    #[error("the database was not available, in {attempts} attempts; nothing was stored")]
    Unavailable {
        /// How often the request was sent.
        attempts: u32,
        /// The last failure.
        source: BoxError,
    },

    /// No answer came that tells whether the append happened. Its events are here as they would be
    /// stored: `db.add_events(events)` finds them, or stores them under the preconditions that the
    /// append had, and so settles it. An append whose candidates had ids of their own may as well
    /// be repeated as it was.
    #[error(
        "no answer in {attempts} attempts: it is unknown whether the append of {} events happened; \
         give them to add_events to settle it",
        events.as_slice().len()
    )]
    OutcomeUnknown {
        /// The events, complete but for their revisions.
        events: UnsettledEvents,
        /// How often the request was sent.
        attempts: u32,
        /// The last failure.
        source: BoxError,
    },

    /// The database refused the request for good, such as for a missing table or right.
    #[error("the database refused the request on the table `{table}`")]
    Refused {
        /// The table.
        table: String,
        /// Its reason.
        source: BoxError,
    },
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

/// The cause of an [`Error`] in the layer below.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

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
        matches!(self, Self::Unavailable { .. })
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
