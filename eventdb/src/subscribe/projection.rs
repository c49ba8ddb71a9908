//! Keeping a read model: each event once, in the order of its subject.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::codec::item::InvalidItem;
use crate::codec::received_message::{MessageError, ReceivedMessage};
use crate::event::Event;
use crate::store::error::Error;
use crate::store::{EventDb, MissingRevisions, pauses};

/// Subjects of one batch that are worked on at the same time.
const CONCURRENT_SUBJECTS: usize = 16;

/// How far a read model has come with a subject: the last event that it knows of.
///
/// ```
/// assert_eq!(eventdb::Position::default().revision, 0);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Position {
    /// Its revision; 0 before the first event.
    pub revision: u64,
    /// Its time, to the millisecond.
    pub time: DateTime<Utc>,
}

/// Whether a read model took an event in.
///
/// ```
/// # use eventdb::Taken;
/// assert_ne!(Taken::Applied, Taken::Elsewhere);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// The event is applied and the position moved, both at once.
    Applied,
    /// The subject's position isn't the one before the event: nothing was changed.
    Elsewhere,
}

/// A view for queries, and its positions: the part that a team writes.
///
/// [`DynamoDbReadModel`](crate::DynamoDbReadModel) does it for views in DynamoDB. In a relational
/// database, [`apply`](Self::apply) is one database transaction.
///
/// ```
/// use std::collections::HashMap;
/// use std::convert::Infallible;
/// use std::sync::Mutex;
///
/// use eventdb::{Event, Position, ReadModel, Taken};
///
/// /// Counts the events of each subject, in memory.
/// #[derive(Default)]
/// struct Counts(Mutex<HashMap<String, (Position, u64)>>);
///
/// impl ReadModel for Counts {
///     type Error = Infallible;
///
///     async fn position(&self, subject: &str) -> Result<Position, Infallible> {
///         Ok(self.0.lock().unwrap().get(subject).map(|(position, _)| *position).unwrap_or_default())
///     }
///
///     async fn apply(&self, event: &Event, to: Position) -> Result<Taken, Infallible> {
///         let mut counts = self.0.lock().unwrap();
///         let (position, count) = counts.entry(event.subject.clone()).or_default();
///         if position.revision + 1 != to.revision {
///             return Ok(Taken::Elsewhere);
///         }
///         *position = to;
///         *count += 1;
///         Ok(Taken::Applied)
///     }
/// }
/// ```
pub trait ReadModel: Send + Sync {
    /// What can go wrong.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The position of a subject; the default before its first event.
    ///
    /// # Errors
    /// When it can't be read: the event is to be delivered again.
    fn position(&self, subject: &str)
    -> impl Future<Output = Result<Position, Self::Error>> + Send;

    /// Takes the event in and moves its subject's position to `to`, both or neither, and only if
    /// the position has the revision before `to`'s.
    ///
    /// # Errors
    /// When it can't be done: nothing is changed, and the event is to be delivered again.
    fn apply(
        &self,
        event: &Event,
        to: Position,
    ) -> impl Future<Output = Result<Taken, Self::Error>> + Send;
}

/// Brings events to a read model, each once and each subject's in the order of its revisions.
///
/// Messages come at least once and in any order. A repeated event is recognised by its `sequence`
/// and passed over. Where events are missing before one, they are read from the store, strongly
/// consistent, and applied first; so a new read model catches up by itself with each subject that
/// something happens to. A subscriber that may not read the store does without: there an event that
/// came too early fails, to be delivered again when the missing ones have come.
///
/// A subscription with a filter shows a gap at every event that it holds back, which costs a read
/// each time.
///
/// ```no_run
/// # async fn example<Loans: eventdb::ReadModel>(loans: Loans, db: eventdb::EventDb)
/// # -> Result<(), eventdb::ProjectionError<Loans::Error>> {
/// use eventdb::{Projection, ReceivedMessage};
///
/// let projection = Projection::new(loans).reading(db);
/// # let body = "";
/// let message = ReceivedMessage::read(body)?;
/// let applied = projection.handle(&message.event).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Projection<M> {
    read_model: M,
    store: Option<EventDb>,
}

/// An event that could not be brought to the read model. It is to be delivered again.
///
/// ```
/// # use eventdb::ProjectionError;
/// fn is_out_of_order<E>(error: &ProjectionError<E>) -> bool {
///     matches!(error, ProjectionError::Gap { .. } | ProjectionError::BehindFailure)
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProjectionError<E> {
    /// The message holds no event.
    #[error(transparent)]
    Message(#[from] MessageError),

    /// The event states no `sequence`, as legacy events don't: its place is unknown.
    #[error("the event `{id}` of `{subject}` has no `sequence`, so its place isn't known")]
    NoSequence {
        /// The event's id.
        id: String,
        /// Its subject.
        subject: String,
    },

    /// Events before this one haven't come yet, and there is no store to read them from.
    #[error("`{subject}` is at revision {position}; revision {revision} has come too early")]
    Gap {
        /// The subject.
        subject: String,
        /// Revision of the last event that was applied.
        position: u64,
        /// Revision of the event.
        revision: u64,
    },

    /// Another message of the same subject, before this one in the batch, has failed.
    #[error("an earlier event of the subject in the same batch has failed")]
    BehindFailure,

    /// A row that is needed to close a gap can't be read as an event.
    #[error("a gap can't be closed: {0}")]
    InvalidItem(Box<InvalidItem>),

    /// Events that are needed to close a gap were removed from the store, or it is another store.
    #[error(
        "a gap can't be closed: the store lacks the revisions {} to {} of `{}`",
        .0.revisions.start(), .0.revisions.end(), .0.subject
    )]
    MissingRevisions(MissingRevisions),

    /// Others moved the position each time.
    #[error("others moved the position of `{subject}`, {attempts} times")]
    Contended {
        /// The subject.
        subject: String,
        /// How often it was tried.
        attempts: u32,
    },

    /// The store could not be read.
    #[error("a gap can't be closed")]
    Store(#[source] Error),

    /// The read model failed.
    #[error("the read model failed")]
    ReadModel(#[source] E),
}

/// A message of a batch that is to be delivered again.
///
/// ```
/// # fn example(failed: &eventdb::FailedMessage<std::io::Error>) {
/// println!("{} is to be delivered again: {}", failed.id, failed.error);
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct FailedMessage<E> {
    /// The message's id, as it was given.
    pub id: String,
    /// Why.
    pub error: ProjectionError<E>,
}

impl<M: ReadModel> Projection<M> {
    /// Brings events to the given read model, without a store to read missing ones from.
    ///
    /// ```
    /// # fn example<Loans: eventdb::ReadModel>(loans: Loans) {
    /// let projection = eventdb::Projection::new(loans);
    /// # }
    /// ```
    pub fn new(read_model: M) -> Self {
        Self { read_model, store: None }
    }

    /// Reads events that are missing from the given store.
    ///
    /// ```
    /// # fn example<Loans: eventdb::ReadModel>(loans: Loans, db: eventdb::EventDb) {
    /// let projection = eventdb::Projection::new(loans).reading(db);
    /// # }
    /// ```
    #[must_use]
    pub fn reading(self, store: EventDb) -> Self {
        Self { store: Some(store), ..self }
    }

    /// Brings one event to the read model, and before it those of its subject that are missing.
    /// Yields how many were applied: 0 for a repetition.
    ///
    /// # Cost
    /// One call of [`ReadModel::apply`]. Out of order, also one of [`ReadModel::position`] and,
    /// for a gap, a read of the missing events and of the last one that is known.
    ///
    /// # Errors
    /// [`ProjectionError`]; what was applied until then stays applied.
    ///
    /// ```no_run
    /// # async fn example<Loans: eventdb::ReadModel>(
    /// #     projection: eventdb::Projection<Loans>, event: eventdb::Event)
    /// # -> Result<(), eventdb::ProjectionError<Loans::Error>> {
    /// let applied = projection.handle(&event).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn handle(&self, event: &Event) -> Result<u64, ProjectionError<M::Error>> {
        let Some(revision) = event.revision else {
            return Err(ProjectionError::NoSequence {
                id: event.id.clone(),
                subject: event.subject.clone(),
            });
        };
        let mut applied = 0;
        let mut attempts = 1;
        let mut pauses = pauses().take(15);
        loop {
            // Nearly always it is the next one, so that needs no look at the position.
            if self.apply(event, revision).await? == Taken::Applied {
                return Ok(applied + 1);
            }
            let position = self
                .read_model
                .position(&event.subject)
                .await
                .map_err(ProjectionError::ReadModel)?;
            if position.revision >= revision {
                return Ok(applied);
            }
            if position.revision + 1 < revision {
                applied += self.close_gap(position, event, revision).await?;
            }
            // Either the gap is closed now, or somebody else works on the same subject.
            let Some(pause) = pauses.next() else {
                return Err(ProjectionError::Contended {
                    subject: event.subject.clone(),
                    attempts,
                });
            };
            if attempts > 1 {
                tokio::time::sleep(pause).await;
            }
            attempts += 1;
        }
    }

    /// Brings a batch of messages, given by id and body, to the read model, and yields those that
    /// are to be delivered again, in the order given: as an answer with [partial batch
    /// responses] wants them.
    ///
    /// Subjects are worked on at the same time, the events of each in their order, whatever the
    /// order of the batch. Behind a failure the later ones of the same subject fail too. Each
    /// failure is logged with the message's id and the reason.
    ///
    /// [partial batch responses]: https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
    ///
    /// ```no_run
    /// # async fn example<Loans: eventdb::ReadModel>(projection: eventdb::Projection<Loans>) {
    /// let messages = [("c80e8021-a70a-42c7-a470-796e1186f753", "{…}")];
    /// for failed in projection.handle_batch(messages).await {
    ///     println!("to be delivered again: {}", failed.id);
    /// }
    /// # }
    /// ```
    pub async fn handle_batch<I, B>(
        &self,
        messages: impl IntoIterator<Item = (I, B)>,
    ) -> Vec<FailedMessage<M::Error>>
    where
        I: Into<String>,
        B: AsRef<str>,
    {
        let mut failed = Vec::new();
        let mut subjects = BTreeMap::<String, Vec<Waiting>>::new();
        for (place, (id, body)) in messages.into_iter().enumerate() {
            let id = id.into();
            match ReceivedMessage::read(body.as_ref()) {
                Ok(ReceivedMessage { event, .. }) => {
                    let waiting = Waiting { place, id, event };
                    subjects.entry(waiting.event.subject.clone()).or_default().push(waiting);
                }
                Err(error) => failed.push((place, id, error.into())),
            }
        }
        let of_subjects: Vec<_> = stream::iter(subjects.into_values())
            .map(|waiting| self.handle_subject(waiting))
            .buffer_unordered(CONCURRENT_SUBJECTS)
            .collect()
            .await;
        failed.extend(of_subjects.into_iter().flatten());
        failed.sort_by_key(|(place, ..)| *place);
        failed
            .into_iter()
            .map(|(_, id, error)| {
                let causes = Causes(&error);
                tracing::warn!(target: "eventdb", message = id, "not applied: {causes}");
                FailedMessage { id, error }
            })
            .collect()
    }

    async fn handle_subject(
        &self,
        mut waiting: Vec<Waiting>,
    ) -> Vec<(usize, String, ProjectionError<M::Error>)> {
        waiting.sort_by_key(|waiting| waiting.event.revision);
        let mut failed = Vec::new();
        let mut is_held_back = false;
        for Waiting { place, id, event } in waiting {
            // One without a place in the order holds nobody back.
            if is_held_back && event.revision.is_some() {
                failed.push((place, id, ProjectionError::BehindFailure));
            } else if let Err(error) = self.handle(&event).await {
                is_held_back = event.revision.is_some();
                failed.push((place, id, error));
            }
        }
        failed
    }

    async fn apply(
        &self,
        event: &Event,
        revision: u64,
    ) -> Result<Taken, ProjectionError<M::Error>> {
        let to = Position { revision, time: event.time };
        self.read_model.apply(event, to).await.map_err(ProjectionError::ReadModel)
    }

    /// Applies what lies between the position and the event, as far as nobody else does.
    async fn close_gap(
        &self,
        position: Position,
        event: &Event,
        revision: u64,
    ) -> Result<u64, ProjectionError<M::Error>> {
        let subject = &event.subject;
        let Some(store) = &self.store else {
            return Err(ProjectionError::Gap {
                subject: subject.clone(),
                position: position.revision,
                revision,
            });
        };
        // Without a revision, as legacy events are, their places count, from the first one on.
        let mut place = 0;
        let mut next = position.revision + 1;
        let mut applied = 0;
        let mut begin = (position.revision > 0).then_some(position.time);
        'read: loop {
            let mut request = store
                .fetch_events_for_subject(subject)
                .until(event.time + TimeDelta::milliseconds(1));
            if let Some(time) = begin {
                request = request.since(time);
            }
            let mut pages = request.stream();
            while let Some(page) = pages.try_next().await.map_err(ProjectionError::Store)? {
                if let Some(row) = page.invalid.into_iter().next() {
                    return Err(ProjectionError::InvalidItem(Box::new(row)));
                }
                for mut stored in page.events {
                    if stored.revision.is_none() && begin.take().is_some() {
                        continue 'read;
                    }
                    place = stored.revision.unwrap_or(place + 1);
                    if place > next {
                        break 'read;
                    }
                    if place < next {
                        continue;
                    }
                    if place == revision {
                        return Ok(applied);
                    }
                    stored.revision = Some(place);
                    match self.apply(&stored, place).await? {
                        Taken::Applied => applied += 1,
                        Taken::Elsewhere => return Ok(applied),
                    }
                    next += 1;
                }
            }
            break;
        }
        let until = place.max(revision).saturating_sub(1).max(next);
        Err(ProjectionError::MissingRevisions(MissingRevisions {
            subject: subject.clone(),
            revisions: next..=until,
        }))
    }
}

/// A message of a batch whose turn will come.
struct Waiting {
    place: usize,
    id: String,
    event: Event,
}

/// An error with what caused it.
struct Causes<'error>(&'error (dyn std::error::Error + 'static));

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
