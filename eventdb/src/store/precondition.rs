//! Conditions on the state of subjects, under which an append may happen.

use std::fmt;

/// What must hold for an append to happen: the state of one subject, written by it or not.
///
/// ```
/// use eventdb::Precondition;
///
/// let precondition = Precondition::subject_is_at_revision("book:123", 7);
/// assert_eq!(precondition.to_string(), "`book:123` is at revision 7");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Precondition {
    /// The subject whose state counts.
    pub subject: String,
    /// The state it must be in.
    pub expected: ExpectedState,
}

/// The state that a [`Precondition`] asks for.
///
/// ```
/// assert_eq!(eventdb::ExpectedState::Pristine.to_string(), "has no events");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExpectedState {
    /// The subject has no events.
    Pristine,
    /// The subject has events.
    Populated,
    /// The subject's last event has this revision; 0 is the same as [`Pristine`](Self::Pristine).
    Revision(u64),
    /// The subject's last event has this id.
    EventId(String),
}

/// The state that a subject is in.
///
/// ```
/// assert_eq!(eventdb::SubjectState::Pristine.revision(), 0);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubjectState {
    /// It has no events.
    Pristine,
    /// It has events.
    Populated {
        /// Revision of the last one, which is also how many there are.
        revision: u64,
        /// Id of the last one.
        last_event_id: String,
    },
}

impl SubjectState {
    /// The revision of the last event, 0 without events.
    ///
    /// ```
    /// assert_eq!(eventdb::SubjectState::Pristine.revision(), 0);
    /// ```
    pub fn revision(&self) -> u64 {
        match self {
            Self::Pristine => 0,
            Self::Populated { revision, .. } => *revision,
        }
    }
}

impl Precondition {
    /// The subject has no events.
    ///
    /// ```
    /// # use eventdb::Precondition;
    /// let precondition = Precondition::subject_is_pristine("book:123");
    /// ```
    pub fn subject_is_pristine(subject: impl Into<String>) -> Self {
        Self { subject: subject.into(), expected: ExpectedState::Pristine }
    }

    /// The subject has at least one event.
    ///
    /// ```
    /// # use eventdb::Precondition;
    /// let precondition = Precondition::subject_is_populated("book:123");
    /// ```
    pub fn subject_is_populated(subject: impl Into<String>) -> Self {
        Self { subject: subject.into(), expected: ExpectedState::Populated }
    }

    /// The subject's last event has the given revision; 0 means that it has no events. An append
    /// under this condition needs no read before it.
    ///
    /// ```
    /// # use eventdb::Precondition;
    /// let precondition = Precondition::subject_is_at_revision("book:123", 7);
    /// ```
    pub fn subject_is_at_revision(subject: impl Into<String>, revision: u64) -> Self {
        Self { subject: subject.into(), expected: ExpectedState::Revision(revision) }
    }

    /// The subject's last event has the given id.
    ///
    /// ```
    /// # use eventdb::Precondition;
    /// let precondition = Precondition::subject_is_at_event_id("book:123", "evt-abc-123");
    /// ```
    pub fn subject_is_at_event_id(subject: impl Into<String>, event_id: impl Into<String>) -> Self {
        Self { subject: subject.into(), expected: ExpectedState::EventId(event_id.into()) }
    }
}

impl ExpectedState {
    /// Whether a subject in the given state is as expected.
    ///
    /// ```
    /// use eventdb::{ExpectedState, SubjectState};
    /// assert!(ExpectedState::Revision(0).is_met_by(&SubjectState::Pristine));
    /// ```
    pub fn is_met_by(&self, actual: &SubjectState) -> bool {
        match (self, actual) {
            (Self::Pristine, state) => *state == SubjectState::Pristine,
            (Self::Populated, state) => *state != SubjectState::Pristine,
            (Self::Revision(expected), state) => *expected == state.revision(),
            (Self::EventId(_), SubjectState::Pristine) => false,
            (Self::EventId(expected), SubjectState::Populated { last_event_id, .. }) => {
                expected == last_event_id
            }
        }
    }
}

impl fmt::Display for Precondition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "`{}` {}", self.subject, self.expected)
    }
}

impl fmt::Display for ExpectedState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pristine => formatter.write_str("has no events"),
            Self::Populated => formatter.write_str("has events"),
            Self::Revision(revision) => write!(formatter, "is at revision {revision}"),
            Self::EventId(id) => write!(formatter, "is at the event with the id `{id}`"),
        }
    }
}

impl fmt::Display for SubjectState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pristine => formatter.write_str("it has no events"),
            Self::Populated { revision, last_event_id } => {
                write!(formatter, "it is at revision {revision}, event `{last_event_id}`")
            }
        }
    }
}
