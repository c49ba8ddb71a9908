//! What a team writes: a view, and how far it has come with each subject.

use std::future::Future;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::codec::store_id::StoreId;
use crate::event::Event;

/// How far a read model has come with a subject: the last event that it knows of.
///
/// The default is the position before the first event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Position {
    /// Its revision; 0 before the first event.
    pub revision: u64,
    /// Its time, to the millisecond: where a read of the store goes on.
    pub time: DateTime<Utc>,
    /// The store whose revisions are counted, as far as it is known.
    pub store: Option<StoreId>,
}

impl Position {
    /// A position that a read model has stored.
    ///
    /// ```
    /// # fn example(revision: u64, milliseconds: i64, store: Option<String>)
    /// # -> Result<(), Box<dyn std::error::Error>> {
    /// use chrono::DateTime;
    /// use eventdb::Position;
    ///
    /// let time = DateTime::from_timestamp_millis(milliseconds).ok_or("no time")?;
    /// let store = store.map(|text| text.parse()).transpose()?;
    /// let position = Position::new(revision, time, store);
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(revision: u64, time: DateTime<Utc>, store: Option<StoreId>) -> Self {
        Self { revision, time, store }
    }
}

/// The step of a position that an event makes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// The revision that the position must have now; 0 when there must be none. Mostly the one
    /// before `to`'s, but not where events are passed over.
    pub from_revision: u64,
    /// The store that the position must count now; `None` when it must not name one.
    pub from_store: Option<StoreId>,
    /// What the position becomes.
    pub to: Position,
}

impl Step {
    /// Whether this step begins at the given position. If it doesn't, nothing must be changed.
    ///
    /// A view in a database compares there, in the transaction that changes the view.
    ///
    /// ```
    /// # fn example(step: eventdb::Step, position: &mut eventdb::Position) {
    /// if step.begins_at(position) {
    ///     *position = step.to.clone();
    /// }
    /// # }
    /// ```
    pub fn begins_at(&self, position: &Position) -> bool {
        self.from_revision == position.revision && self.from_store == position.store
    }
}

/// What became of an event in a read model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "an event may not have been applied"]
pub enum ApplyOutcome {
    /// The event is applied and the position moved, both together.
    Applied,
    /// The step doesn't begin at the subject's position: nothing was changed.
    PositionDiffers,
}

/// A view for queries, and its positions: the part that a team writes.
///
/// [`DynamoDbReadModel`](crate::DynamoDbReadModel) does it for views in DynamoDB. In a relational
/// database, [`apply`](Self::apply) is one database transaction; the example `sqlite_read_model` is
/// one on SQLite.
///
/// Several read models may share a database if each keeps its positions under another name. One read
/// model takes events of several stores as long as they share no subject; where they do, each store
/// needs separate positions.
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
    /// What can go wrong.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The position of a subject; the default before its first event.
    ///
    /// It must be the latest one, or one that was the latest since the call began.
    ///
    /// # Errors
    /// When it can't be read: the event is to be delivered again.
    fn position(&self, subject: &str)
    -> impl Future<Output = Result<Position, Self::Error>> + Send;

    /// Applies the event and moves its subject's position to `step.to`, both or neither, and only
    /// if [the step begins](Step::begins_at) at the position.
    ///
    /// A read model that tries again after a failure of its database does so here: the
    /// [`Projection`](crate::Projection) doesn't.
    ///
    /// # Errors
    /// When it can't be done: the event is to be delivered again. If it is unknown whether it was
    /// done, the step tells when it is.
    fn apply(
        &self,
        event: &Event,
        step: &Step,
    ) -> impl Future<Output = Result<ApplyOutcome, Self::Error>> + Send;
}

macro_rules! delegate {
    ($($pointer:ty),*) => {$(
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
