//! What can go wrong with aggregates: the domain's, another writer's, the history's, the store's.

use crate::codec::item::InvalidItem;
use crate::domain::domain_event::{UnreadableEvent, UnwritableEvent};
use crate::store::MissingRevisions;
use crate::store::error::{Conflict, Error};

/// An aggregate that can't be loaded.
///
/// A reader of events gets a bad row next to the good ones; a state that lacks an event would be
/// wrong, and decisions on it too, so here it is an error.
///
/// The message says what is wrong; [`source`](std::error::Error::source) leads to what lies behind
/// it, and neither repeats the other.
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

    /// Events were removed from the subject's history, or overwritten by another kind of writer.
    /// Trying again doesn't help; the rows must be restored from a backup.
    #[error(
        "the history of `{}` can't be folded: it lacks the revisions {} to {}, which were removed \
         from the table or overwritten",
        .0.subject, .0.revisions.start(), .0.revisions.end()
    )]
    MissingRevisions(MissingRevisions),

    /// An event doesn't have the shape that the aggregate's event type asks for.
    #[error(transparent)]
    Event(#[from] Box<UnreadableEvent>),
}

/// A decision that came to nothing: no event of it was stored, unless it is
/// [`Error::OutcomeUnknown`], which carries the events.
///
/// `E` is the domain's own error, as the decision returned it.
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
    /// The domain said no. Its error needn't implement [`std::error::Error`], so it is part of the
    /// message and not the source.
    #[error("the decision was rejected: {0}")]
    Domain(E),

    /// Other writers changed the subject first each time: it is contended. Calling again may
    /// succeed.
    #[error(
        "contention: other writers changed the subject first in each of {attempts} attempts; the \
         last time: {conflict}"
    )]
    Contended {
        /// How often it was decided.
        attempts: u32,
        /// What was there instead, the last time.
        conflict: Box<Conflict>,
    },

    /// The state to decide on could not be had.
    #[error(transparent)]
    Load(#[from] LoadError),

    /// An event that was decided on can't be written.
    #[error(transparent)]
    Event(#[from] UnwritableEvent),

    /// The two repositories of one decision are in different tables, which no transaction of this
    /// store spans.
    #[error("the repositories are in different tables, `{0}` and `{1}`; both must be in one table")]
    DifferentTables(String, String),

    /// A decision on two aggregates was given one subject for both.
    #[error(
        "both aggregates of the decision have the subject `{0}`; they must have different subjects"
    )]
    SameSubject(String),

    /// The store refused the events or failed.
    #[error(transparent)]
    Store(Error),
}

impl<E> ExecuteError<E> {
    /// Whether the very same call may succeed later and can do no harm.
    ///
    /// ```
    /// # fn example(error: eventdb::ExecuteError<std::fmt::Error>) {
    /// if error.is_retryable() { /* wait, then call again */ }
    /// # }
    /// ```
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Contended { .. } => true,
            Self::Load(LoadError::Store(error)) | Self::Store(error) => error.is_retryable(),
            _ => false,
        }
    }
}
