//! Conditions on the state of subjects that an append requires.

use std::fmt;

use crate::store::table::{Table, TableIdentity};

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
    known: Option<KnownRevision>,
}

/// A revision that a subject certainly has, because the store has read it from the table.
///
/// In a table by revision, an append at such a revision doesn't need to check that the revision
/// exists, which saves a read unit. In a table by time, it is the same as a number.
///
/// It belongs to the [`EventDb`](crate::EventDb) that has read it, and to that store's clones.
/// Elsewhere it counts as the number. You get it from a [`History`](crate::History); it can't be built
/// or kept in a database, because a number from elsewhere proves nothing about this table.
///
/// ```no_run
/// # async fn example(db: eventdb::EventDb, candidates: Vec<eventdb::EventCandidate>)
/// # -> Result<(), eventdb::Error> {
/// let history = db.fetch_events_for_subject("book:123").await?;
/// if let Some(known) = history.known_revision() {
///     db.add_new_events(candidates).only_if(known.clone().into()).await?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct KnownRevision {
    table: TableIdentity,
    subject: String,
    revision: u64,
}

impl KnownRevision {
    pub(crate) fn read_from(table: &Table, subject: String, revision: u64) -> Self {
        Self { table: table.identity(), subject, revision }
    }

    /// The subject.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The revision.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The later one of two.
    pub(crate) fn later(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        [one, other].into_iter().flatten().max_by_key(|known| known.revision)
    }
}

impl fmt::Debug for KnownRevision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "revision {} of {:?}", self.revision, self.subject)
    }
}

impl PartialEq for KnownRevision {
    fn eq(&self, other: &Self) -> bool {
        self.revision == other.revision
            && self.subject == other.subject
            && self.table == other.table
    }
}

impl Eq for KnownRevision {}

impl From<KnownRevision> for Precondition {
    /// The subject's last event has this revision.
    fn from(known: KnownRevision) -> Self {
        let expected = ExpectedState::Revision(known.revision);
        Self { subject: known.subject.clone(), expected, known: Some(known) }
    }
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
    fn new(subject: impl Into<String>, expected: ExpectedState) -> Self {
        Self { subject: subject.into(), expected, known: None }
    }

    /// The expected revision, if this table has it with certainty.
    pub(crate) fn known_revision(&self, table: &Table) -> Option<u64> {
        let known = self.known.as_ref().filter(|known| known.table == table.identity())?;
        // The fields are public, so they may have been changed.
        let is_of_it = known.subject == self.subject
            && self.expected == ExpectedState::Revision(known.revision);
        is_of_it.then_some(known.revision)
    }

    /// The subject has no events.
    pub fn subject_is_pristine(subject: impl Into<String>) -> Self {
        Self::new(subject, ExpectedState::Pristine)
    }

    /// The subject has at least one event.
    pub fn subject_is_populated(subject: impl Into<String>) -> Self {
        Self::new(subject, ExpectedState::Populated)
    }

    /// The subject's last event has the given revision; 0 means that it has no events. With this
    /// precondition, an append doesn't need to read the subject first.
    pub fn subject_is_at_revision(subject: impl Into<String>, revision: u64) -> Self {
        Self::new(subject, ExpectedState::Revision(revision))
    }

    /// The subject's last event has the given id.
    pub fn subject_is_at_event_id(subject: impl Into<String>, event_id: impl Into<String>) -> Self {
        Self::new(subject, ExpectedState::EventId(event_id.into()))
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
