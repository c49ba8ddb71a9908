//! The errors of a projection.

use std::fmt;
use std::ops::RangeInclusive;

use super::REFUSALS;
use crate::codec::item::InvalidItem;
use crate::codec::received_message::MessageError;
use crate::codec::store_id::StoreId;
use crate::event::{BoxError, Event};
use crate::subscribe::read_model::Position;

/// Why an event couldn't be passed to the read model. Its message should be delivered again.
///
/// ```
/// # use eventdb::ProjectionError;
/// fn may_be_right_the_next_time<E>(error: &ProjectionError<E>) -> bool {
///     matches!(error, ProjectionError::Gap { .. } | ProjectionError::BehindFailure { .. })
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProjectionError<E> {
    /// The message doesn't contain an event.
    #[error(transparent)]
    Message(#[from] MessageError),

    /// The event has no `sequence`, and there is no reader to find its place.
    #[error(
        "the event `{id}` of `{subject}` has no `sequence`, so its place isn't known; give the \
         projection a store to read it from"
    )]
    NoSequence {
        /// The event's id.
        id: String,
        /// Its subject.
        subject: String,
    },

    /// The event comes from another store than those before it.
    #[error(transparent)]
    OtherStore(Box<OtherStore>),

    /// The subscription holds types back, and there is no store to find out what a hole is.
    #[error(
        "the subscription holds types back, so revision {revision} of `{subject}` can't be put in \
         its order; give the projection a store to read from, or subscribe to all types"
    )]
    FilterWithoutStore {
        /// The subject.
        subject: String,
        /// Revision of the event, 0 if it has none.
        revision: u64,
    },

    /// A subject can be parked only if its later events can be read from the store.
    #[error("`{subject}` can't be parked, because the projection has no store to read from later")]
    ParkingWithoutStore {
        /// The subject.
        subject: String,
    },

    /// The store that the projection reads doesn't have the event: it is another store, the event was
    /// removed, or its row has no revision and follows rows that have one.
    #[error(
        "the store doesn't count the event `{id}` of `{subject}`{}: either the projection reads \
         another store than the messages come from, or the row was removed, or another library wrote \
         it without a revision behind rows that have one",
        of_revision(.revision)
    )]
    NotInStore {
        /// The subject.
        subject: String,
        /// The event's revision, as the message states it.
        revision: Option<u64>,
        /// The event's id.
        id: String,
    },

    /// Earlier events haven't been delivered yet, and there is no store to read them from.
    #[error("`{subject}` is at revision {position}; revision {revision} was delivered too early")]
    Gap {
        /// The subject.
        subject: String,
        /// Revision of the last event that was applied.
        position: u64,
        /// Revision of the event.
        revision: u64,
    },

    /// An earlier message of the same subject in this batch has failed.
    #[error("waits for revision {revision} of `{subject}`, which has failed in the same batch")]
    BehindFailure {
        /// The subject.
        subject: String,
        /// Revision of the event that has failed.
        revision: u64,
    },

    /// A row before the event can't be read. The events before that row are applied.
    #[error(
        "revision {} of `{subject}` can't be read; repair its row in place, or let the projection \
         pass over it", .revisions.start()
    )]
    InvalidItem {
        /// The subject.
        subject: String,
        /// The revisions that can't be read.
        revisions: RangeInclusive<u64>,
        /// The first such row.
        source: Box<InvalidItem>,
    },

    /// Events before the event were removed from the store. The events before those are applied.
    #[error(
        "the store lacks the revisions {} to {} of `{subject}`; put them back, or let the \
         projection pass over them", .revisions.start(), .revisions.end()
    )]
    MissingRevisions {
        /// The subject.
        subject: String,
        /// The revisions.
        revisions: RangeInclusive<u64>,
    },

    /// The read model refused a step, although the step begins at the position that it returns.
    #[error(
        "the read model refused {attempts} times to continue from revision {position} of \
         `{subject}`, although this is its position"
    )]
    StepRefused {
        /// The subject.
        subject: String,
        /// The position's revision.
        position: u64,
        /// How often it was tried.
        attempts: u32,
    },

    /// The subject's history couldn't be read.
    #[error("the history of `{subject}` couldn't be read")]
    Store {
        /// The subject.
        subject: String,
        /// The reader's error. For an `EventDb`, it is an `Error`.
        source: BoxError,
    },

    /// The read model failed on the event, or on a missing event before it.
    #[error("the read model failed on revision {revision} of `{subject}`, the event `{id}`")]
    ReadModel {
        /// The subject.
        subject: String,
        /// Revision of the event that it failed on.
        revision: u64,
        /// That event's id.
        id: String,
        /// The read model's error.
        source: E,
    },

    /// The position of a subject couldn't be read.
    #[error("the read model's position of `{subject}` couldn't be read")]
    Position {
        /// The subject.
        subject: String,
        /// The read model's error.
        source: E,
    },
}

fn of_revision(revision: &Option<u64>) -> String {
    revision.map(|revision| format!(" at revision {revision}")).unwrap_or_default()
}

/// An event of another store than the one whose revisions a position counts. See
/// [`Projection`](crate::Projection#several-stores) for what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the event `{id}` of `{subject}` comes from {}, but the read model counts that subject's \
     revisions in the store {expected}, up to revision {position}{}",
    .actual.as_ref().map_or("a store that it doesn't name".to_owned(), |store| format!("the store {store}")),
    self.hint()
)]
#[non_exhaustive]
pub struct OtherStore {
    /// The subject.
    pub subject: String,
    /// The event's id.
    pub id: String,
    /// The position's revision.
    pub position: u64,
    /// The store that the position counts.
    pub expected: StoreId,
    /// The store that the event comes from, if it is known.
    pub actual: Option<StoreId>,
}

impl OtherStore {
    fn hint(&self) -> &'static str {
        if self.is_same_table() {
            ". It is the same table, which was created again or whose stream was disabled and \
             enabled: fill the read model again, or accept that the store has moved"
        } else {
            ". Accept that the store has moved, or keep positions for each store"
        }
    }

    /// Whether both are the same table, which was deleted and created again, or whose stream was
    /// disabled and enabled.
    pub fn is_same_table(&self) -> bool {
        self.actual.as_ref().is_some_and(|actual| actual.table() == self.expected.table())
    }
}

/// A message of a batch that should be delivered again.
#[derive(Debug)]
#[non_exhaustive]
pub struct FailedMessage<E> {
    /// The message's id, as it was given.
    pub id: String,
    /// Why.
    pub error: ProjectionError<E>,
}

impl<E> ProjectionError<E> {
    /// Whether it is about an event that may fail each time, so that its subject can be
    /// [parked](crate::Projection::park): the read model failed on it, its row can't be read, or revisions
    /// before it are missing from the store.
    pub fn can_be_parked(&self) -> bool {
        self.failed_revision().is_some()
    }

    pub(super) fn failed_revision(&self) -> Option<u64> {
        match self {
            Self::ReadModel { revision, .. } => Some(*revision),
            Self::InvalidItem { revisions, .. } | Self::MissingRevisions { revisions, .. } => {
                Some(*revisions.start())
            }
            _ => None,
        }
    }
}

pub(super) fn refused<E>(subject: &str, position: &Position) -> ProjectionError<E> {
    ProjectionError::StepRefused {
        subject: subject.to_owned(),
        position: position.revision,
        attempts: REFUSALS,
    }
}

pub(super) fn unreadable<E>(event: &Event) -> impl FnOnce(BoxError) -> ProjectionError<E> {
    let subject = event.subject.clone();
    move |source| ProjectionError::Store { subject, source }
}

/// An error with its causes.
pub(super) struct Causes<'error>(pub(super) &'error (dyn std::error::Error + 'static));

impl fmt::Display for Causes<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(formatter, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
