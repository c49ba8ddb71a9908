//! Conditions on the state of subjects that an append requires.

use std::fmt;

/// The state that one subject must be in for an append to succeed. The append may write the subject
/// or only check it.
///
/// ```no_run
/// # async fn example(db: eventdb::EventDb, candidates: Vec<eventdb::EventCandidate>)
/// # -> Result<(), eventdb::Error> {
/// use eventdb::Precondition;
///
/// db.add_new_events(candidates)
///     .only_if(Precondition::subject_is_at_revision("book:123", 7))
///     .only_if(Precondition::subject_is_populated("user:456"))
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Precondition {
    /// The subject whose state is checked.
    pub subject: String,
    /// The state that it must be in.
    pub expected: ExpectedState,
}

/// The state that a [`Precondition`] requires.
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
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubjectState {
    /// It has no events.
    Pristine,
    /// It has events.
    Populated {
        /// Revision of the last event, which is also the number of events.
        revision: u64,
        /// Id of the last event.
        last_event_id: String,
    },
}

impl SubjectState {
    /// The revision of the last event; 0 without events.
    pub fn revision(&self) -> u64 {
        match self {
            Self::Pristine => 0,
            Self::Populated { revision, .. } => *revision,
        }
    }
}

impl Precondition {
    /// The subject has no events.
    pub fn subject_is_pristine(subject: impl Into<String>) -> Self {
        Self { subject: subject.into(), expected: ExpectedState::Pristine }
    }

    /// The subject has at least one event.
    pub fn subject_is_populated(subject: impl Into<String>) -> Self {
        Self { subject: subject.into(), expected: ExpectedState::Populated }
    }

    /// The subject's last event has the given revision; 0 means that it has no events. With this
    /// precondition, an append doesn't need to read the subject first.
    pub fn subject_is_at_revision(subject: impl Into<String>, revision: u64) -> Self {
        Self { subject: subject.into(), expected: ExpectedState::Revision(revision) }
    }

    /// The subject's last event has the given id.
    pub fn subject_is_at_event_id(subject: impl Into<String>, event_id: impl Into<String>) -> Self {
        Self { subject: subject.into(), expected: ExpectedState::EventId(event_id.into()) }
    }
}

impl ExpectedState {
    /// Whether the given state meets the expectation.
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

    /// The one revision that a subject in this state has, so that nobody needs to read it; `None`
    /// where several would do.
    pub(crate) fn stated_revision(&self) -> Option<u64> {
        match self {
            Self::Pristine => Some(0),
            Self::Revision(revision) => Some(*revision),
            Self::Populated | Self::EventId(_) => None,
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
