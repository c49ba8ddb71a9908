//! The errors of loading aggregates and of executing decisions.

use crate::codec::item::InvalidItem;
use crate::domain::domain_event::{UnreadableEvent, UnwritableEvent};
use crate::store::MissingRevisions;
use crate::store::error::{BoxError, Error};

/// An aggregate that can't be loaded.
///
/// A plain read returns unreadable rows next to the events. But a state that lacks an event would be
/// wrong, and so would decisions on it. So an unreadable row is an error here.
///
/// The message says what is wrong. [`source`](std::error::Error::source) is its cause, and doesn't
/// repeat the message.
///
/// ```
/// # use eventdb::LoadError;
/// fn is_worth_another_try(error: &LoadError) -> bool {
///     matches!(error, LoadError::Store(error) if error.is_retryable())
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Error),

    /// A row of the subject isn't readable as an event.
    #[error(transparent)]
    InvalidItem(Box<InvalidItem>),

    /// Events were removed from the subject's history, or overwritten by a writer other than this
    /// crate. Retrying doesn't help; restore the rows from a backup.
    #[error(
        "the history of `{}` can't be folded: it lacks the revisions {} to {}, which were removed \
         from the table or overwritten",
        .0.subject, .0.revisions.start(), .0.revisions.end()
    )]
    MissingRevisions(MissingRevisions),

    /// An event doesn't have the shape of the aggregate's event type.
    #[error(transparent)]
    Event(#[from] Box<UnreadableEvent>),
}

/// A decision that failed. None of its events was stored, except that
/// [`Error::OutcomeUnknown`], which contains the events, leaves this open.
///
/// `E` is the domain's error, which the decision returned.
///
/// ```
/// # use eventdb::ExecuteError;
/// fn status<E>(error: &ExecuteError<E>) -> u16 {
///     match error {
///         ExecuteError::Domain(_) => 409,
///         ExecuteError::Contended { .. } => 503,
///         _ => 500,
///     }
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecuteError<E> {
    /// The decision returned an error. It needn't implement [`std::error::Error`], so it is part of
    /// the message and not the source.
    #[error("the decision was rejected: {0}")]
    Domain(E),

    /// Other writers changed the subject first in every attempt. Calling again may succeed.
    #[error(
        "contention: other writers changed the subject `{subject}` first in each of {attempts} \
         attempts"
    )]
    Contended {
        /// How often the decision was made.
        attempts: u32,
        /// A subject on which others were first.
        subject: String,
        /// What happened the last time: a [`Conflict`](crate::Conflict), or DynamoDB's reason.
        source: BoxError,
    },

    /// The subject isn't at the revision that the caller [requires](crate::Execute::only_at_revision).
    /// Over HTTP, this is the status 412. Load it again and decide again.
    #[error(
        "the subject `{subject}` is at revision {actual}, but the caller requires revision \
         {expected}; load it again and decide again"
    )]
    OtherRevision {
        /// The subject.
        subject: String,
        /// The revision that the caller requires.
        expected: u64,
        /// The revision that the subject has.
        actual: u64,
    },

    /// A command with this id is done, but it stored events of another subject. Give each command
    /// its own id.
    #[error(
        "the command id `{command}` was used before, for a command that stored events of the \
         subject `{subject}`; give each command its own id"
    )]
    CommandReused {
        /// The id.
        command: String,
        /// A subject of the command that is done.
        subject: String,
    },

    /// The aggregate couldn't be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),

    /// A new event can't be written.
    #[error(transparent)]
    Event(#[from] UnwritableEvent),

    /// The two repositories of a decision are in different tables. A transaction of the store works
    /// in one table only.
    #[error("the repositories are in different tables, `{0}` and `{1}`; both must be in one table")]
    DifferentTables(String, String),

    /// Both aggregates of a decision have the same subject.
    #[error(
        "both aggregates of the decision have the subject `{0}`; they must have different subjects"
    )]
    SameSubject(String),

    /// The store refused the events or failed.
    #[error(transparent)]
    Store(Error),
}

impl<E> ExecuteError<E> {
    /// Whether the same call may succeed later and is safe to repeat.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Contended { .. } => true,
            Self::Load(LoadError::Store(error)) | Self::Store(error) => error.is_retryable(),
            _ => false,
        }
    }
}
