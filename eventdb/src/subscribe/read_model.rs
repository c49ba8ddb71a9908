//! The interface of a read model: a view, and its position in each subject.

use std::future::Future;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::codec::store_id::StoreId;
use crate::event::Event;

/// The position of a read model in a subject: the last event that it has applied.
///
/// The default is the position before the first event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Position {
    /// The revision of that event; 0 before the first event.
    pub revision: u64,
    /// The time of that event in milliseconds, from which a read of the store continues.
    pub time: DateTime<Utc>,
    /// The store whose revisions are counted, if it is known.
    pub store: Option<StoreId>,
    /// Whether the subject waits here for somebody to look at it: see [`ParkingReadModel`].
    pub parked: Option<Parked>,
}

impl Position {
    /// A position, from the values that a read model has stored.
    pub fn new(revision: u64, time: DateTime<Utc>, store: Option<StoreId>) -> Self {
        Self { revision, time, store, parked: None }
    }

    /// The same position, with a mark that a [`ParkingReadModel`] has stored.
    #[must_use]
    pub fn with_parked(self, parked: Option<Parked>) -> Self {
        Self { parked, ..self }
    }
}

/// Why a subject is parked: see [`Projection::park`](crate::Projection::park).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Parked {
    /// The revision that couldn't be applied.
    pub revision: u64,
    /// Since when, in whole milliseconds.
    pub since: DateTime<Utc>,
    /// The error with its causes, at most 1,000 characters. It may quote values of the event.
    pub reason: String,
}

impl Parked {
    /// A mark, from the values that a read model has stored.
    pub fn new(revision: u64, since: DateTime<Utc>, reason: impl Into<String>) -> Self {
        Self { revision, since, reason: reason.into() }
    }
}

/// The change of a position by an event.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// The revision that the position must have now; 0 if there must be no position. It is usually
    /// the revision before that of `to`, unless events are passed over.
    pub from_revision: u64,
    /// The store that the position must have now; `None` if it must have none.
    pub from_store: Option<StoreId>,
    /// The new position.
    pub to: Position,
}

impl Step {
    /// Whether this step begins at the given position. If not, the read model must not be changed.
    ///
    /// If the view is in a database, make this comparison in the transaction that changes the view.
    ///
    /// Only a [retry](crate::Projection::retry) moves the position of a parked subject, and it keeps
    /// the mark.
    pub fn begins_at(&self, position: &Position) -> bool {
        self.from_revision == position.revision
            && self.from_store == position.store
            && self.to.parked.is_some() == position.parked.is_some()
    }
}

/// The result of applying an event to a read model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "an event may not have been applied"]
pub enum ApplyOutcome {
    /// The event was applied and the position was moved, both together.
    Applied,
    /// Nothing was changed, because the step doesn't begin at the subject's position.
    PositionDiffers,
}

/// A view for queries and its positions. You implement it for your database.
///
/// [`DynamoDbReadModel`](crate::DynamoDbReadModel) implements it for views in DynamoDB. In a
/// relational database, [`apply`](Self::apply) is one database transaction. The example
/// `sqlite_read_model` shows this with SQLite.
///
/// Several read models may share a database if they keep their positions under different names. A
/// read model can have events of several stores if these have no subjects in common. Otherwise, each
/// store needs separate positions.
///
/// ```
/// use std::collections::HashMap;
/// use std::convert::Infallible;
/// use std::sync::Mutex;
///
/// use eventdb::{ApplyOutcome, Event, Position, ReadModel, Step};
///
/// /// Counts the events of each subject, in memory.
/// #[derive(Default)]
/// struct Counts(Mutex<HashMap<String, (Position, u64)>>);
///
/// impl ReadModel for Counts {
///     type Error = Infallible;
///
///     async fn position(&self, subject: &str) -> Result<Position, Infallible> {
///         let counts = self.0.lock().unwrap();
///         Ok(counts.get(subject).map(|(position, _)| position.clone()).unwrap_or_default())
///     }
///
///     async fn apply(&self, event: &Event, step: &Step) -> Result<ApplyOutcome, Infallible> {
///         let mut counts = self.0.lock().unwrap();
///         let (position, count) = counts.entry(event.subject.clone()).or_default();
///         if !step.begins_at(position) {
///             return Ok(ApplyOutcome::PositionDiffers);
///         }
///         *position = step.to.clone();
///         *count += 1;
///         Ok(ApplyOutcome::Applied)
///     }
/// }
/// ```
pub trait ReadModel: Send + Sync {
    /// The error of the read model.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The position of a subject; the default before its first event.
    ///
    /// It must be the latest position at some moment during the call.
    ///
    /// # Errors
    /// If it can't be read. Then the event should be delivered again.
    fn position(&self, subject: &str)
    -> impl Future<Output = Result<Position, Self::Error>> + Send;

    /// Applies the event and moves its subject's position to `step.to`, both or neither, and only
    /// if [the step begins](Step::begins_at) at the position.
    ///
    /// To retry after a failure of the database, do it here. The [`Projection`](crate::Projection)
    /// doesn't retry.
    ///
    /// # Errors
    /// If the event can't be applied, or if it is unknown whether it was. Then the event should be
    /// delivered again, and the step shows whether it was applied.
    fn apply(
        &self,
        event: &Event,
        step: &Step,
    ) -> impl Future<Output = Result<ApplyOutcome, Self::Error>> + Send;
}

/// A read model that can park a subject: a mark next to its position says that an event can't be
/// applied, and why. Until it is removed, the events of the subject are left alone.
///
/// [`position`](ReadModel::position) returns the mark in [`Position::parked`], and
/// [`apply`](ReadModel::apply) refuses steps as [`Step::begins_at`] says.
/// [`DynamoDbReadModel`](crate::DynamoDbReadModel) implements it.
pub trait ParkingReadModel: ReadModel {
    /// Sets or removes the mark of a subject, if its position still has the given revision and store.
    ///
    /// # Errors
    /// If it can't be changed, or if it is unknown whether it was.
    fn mark(
        &self,
        subject: &str,
        position: &Position,
        parked: Option<&Parked>,
    ) -> impl Future<Output = Result<ApplyOutcome, Self::Error>> + Send;
}

macro_rules! delegate {
    ($($pointer:ty),*) => {$(
        impl<M: ParkingReadModel + ?Sized> ParkingReadModel for $pointer {
            async fn mark(
                &self,
                subject: &str,
                position: &Position,
                parked: Option<&Parked>,
            ) -> Result<ApplyOutcome, M::Error> {
                (**self).mark(subject, position, parked).await
            }
        }

        impl<M: ReadModel + ?Sized> ReadModel for $pointer {
            type Error = M::Error;

            async fn position(&self, subject: &str) -> Result<Position, M::Error> {
                (**self).position(subject).await
            }

            async fn apply(&self, event: &Event, step: &Step) -> Result<ApplyOutcome, M::Error> {
                (**self).apply(event, step).await
            }
        }
    )*};
}

delegate!(&M, Arc<M>, Box<M>);
