//! Keeping a read model up to date: each event once, in the order of its subject.

mod error;
mod handling;
mod parking;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use chrono::{DateTime, Utc};
use futures_util::{StreamExt, TryStreamExt, stream};

pub use error::{FailedMessage, OtherStore, ProjectionError};

use crate::codec::item::InvalidItem;
use crate::codec::received_message::ReceivedMessage;
use crate::codec::store_id::StoreId;
use crate::event::Event;
use crate::subscribe::event_reader::{EventReader, NoEventReader, SubjectRow, SubjectRows};
use crate::subscribe::read_model::{ApplyOutcome, Position, ReadModel};
use error::{Causes, unreadable};
use handling::Handling;

/// Maximum number of subjects of one batch that are processed concurrently.
const CONCURRENT_SUBJECTS: usize = 16;

/// How often a read model may refuse a step that begins at its own position.
const REFUSALS: u32 = 16;

/// Passes events to a read model: each event once, and the events of a subject in the order of their
/// revisions.
///
/// Messages are delivered at least once and in any order. A repeated event is recognised by its store
/// and its `sequence`, and ignored. If events are missing before an event, they are
/// [read](EventReader) from the store, strongly consistent, and applied first. So a new read model
/// catches up with a subject as soon as a message about it is delivered. If the subscriber can't read
/// the store, an event that arrives too early fails. It is delivered again later, when the missing
/// events have been applied.
///
/// # Filters
/// If the subscription filters by type, every event that it holds back leaves a hole. Say which types
/// it delivers: [`delivering_types`](Self::delivering_types). Then holes are closed by reading the
/// store, and events of other types are passed over. Without a store, a filter by type and the order
/// of a subject exclude each other, because a hole can't be told from an event that is still on its
/// way.
///
/// # Several stores
/// Each position contains the store whose revisions it counts. If the read model already has events
/// of a subject, an event from another store is the error [`OtherStore`], because its revisions are
/// those of another history. What to do depends on the reason:
/// - The store was moved or restored into another table, with its revisions:
///   [`with_moved_store`](Self::with_moved_store).
/// - The table was deleted and created again: delete the view and its positions, and fill them again.
/// - The read model should have the events of both stores: use two projections with separate
///   positions.
///
/// # Past a hole or a bad row
/// An event fails if a row before it can't be read or revisions before it are missing from the store,
/// until somebody decides:
/// - Repair the row: update it in place, with the same key and `revision`. The waiting message is
///   applied when it is delivered the next time.
/// - Continue without it: [`passing_over`](Self::passing_over).
///
/// - Park the subject, so that its messages needn't wait in the queue: [`park`](Self::park).
///
/// # Events without a `sequence`
/// If only another library has written to a subject, its rows have no revision, and its messages have
/// no `sequence`. Then the place of a row in the history counts as its revision. To find it, the
/// subject is read from its first row, and once more to close a gap, if any. Without a reader, such a
/// message fails. If the other library inserts a row *before* rows that are already applied, their
/// places change, and the inserted event is missed. Rows without a revision that follow rows with one
/// aren't counted, and their messages fail.
///
/// ```no_run
/// # async fn example<Loans: eventdb::ReadModel>(loans: Loans, db: eventdb::EventDb)
/// # -> Result<(), eventdb::ProjectionError<Loans::Error>> {
/// use eventdb::{Projection, ReceivedMessage};
///
/// let projection = Projection::new(loans).reading(db);
/// # let body = "";
/// let applied = projection.handle(&ReceivedMessage::read(body)?).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Projection<M, R = NoEventReader> {
    read_model: M,
    reader: R,
    moved: Vec<(StoreId, StoreId)>,
    passed_over: BTreeMap<String, Vec<RangeInclusive<u64>>>,
    /// The types that the subscription delivers; `None` if it doesn't filter by type.
    types: Option<BTreeSet<String>>,
}

impl<M: ReadModel> Projection<M> {
    /// Passes events to the given read model, without a store from which to read missing events.
    pub fn new(read_model: M) -> Self {
        Self {
            read_model,
            reader: NoEventReader,
            moved: Vec::new(),
            passed_over: BTreeMap::new(),
            types: None,
        }
    }
}

impl<M: ReadModel, R: EventReader> Projection<M, R> {
    /// Reads missing events with the given reader, such as an `EventDb`. It must read the store whose
    /// messages are handled.
    #[must_use]
    pub fn reading<Other: EventReader>(self, reader: Other) -> Projection<M, Other> {
        let Self { read_model, moved, passed_over, types, .. } = self;
        Projection { read_model, reader, moved, passed_over, types }
    }

    /// Accepts that the store `from` has become the store `to`, with the same events at the same
    /// revisions: its table was restored or copied to another one, or its stream was disabled and
    /// enabled. Positions in `from` continue in `to`, each with the next event of its subject.
    ///
    /// A restored store may lack the last events, and may have assigned their revisions to other
    /// events since. These count as repetitions and are ignored. If this is possible, fill the read
    /// model again.
    ///
    /// ```
    /// # fn example<Loans: eventdb::ReadModel>(loans: Loans)
    /// # -> Result<(), eventdb::InvalidStoreId> {
    /// let table = "arn:aws:dynamodb:eu-west-1:111111111111:table/Events";
    /// let projection = eventdb::Projection::new(loans).with_moved_store(
    ///     format!("{table}/stream/2025-01-28T14:00:00.000").parse()?,
    ///     format!("{table}-restored/stream/2025-03-01T09:30:00.000").parse()?,
    /// );
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_moved_store(mut self, from: StoreId, to: StoreId) -> Self {
        self.moved.push((from, to));
        self
    }

    /// Says that the subscription delivers events of these types only, and holds others back. The
    /// projection then passes over events of other types: in messages, and where it reads the store to
    /// close a hole. The types must be exactly those of the subscription's filter.
    ///
    /// It needs a store to read from. Without one, each message is the error
    /// [`FilterWithoutStore`](ProjectionError::FilterWithoutStore).
    ///
    /// Where many events are held back, nearly every event costs a read, and subscribing to all types
    /// may be cheaper.
    ///
    /// ```
    /// # fn example<Loans: eventdb::ReadModel>(loans: Loans, db: eventdb::EventDb) {
    /// let projection = eventdb::Projection::new(loans)
    ///     .reading(db)
    ///     .delivering_types(["book.borrowed", "book.returned"]);
    /// # }
    /// ```
    #[must_use]
    pub fn delivering_types(mut self, types: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.types = Some(types.into_iter().map(Into::into).collect());
        self
    }

    /// Continues without these revisions of a subject if they are missing or can't be read. Those
    /// that can be read are applied.
    ///
    /// Use it only for events that will never be delivered. An event that is delivered after its
    /// successor was applied counts as a repetition.
    ///
    /// ```
    /// # fn example<Loans: eventdb::ReadModel>(loans: Loans) {
    /// let projection = eventdb::Projection::new(loans).passing_over("book:123", 7..=7);
    /// # }
    /// ```
    #[must_use]
    pub fn passing_over(
        mut self,
        subject: impl Into<String>,
        revisions: RangeInclusive<u64>,
    ) -> Self {
        self.passed_over.entry(subject.into()).or_default().push(revisions);
        self
    }

    /// Passes one event to the read model, after the missing events of its subject. Returns the
    /// number of applied events: 0 for a repetition.
    ///
    /// # Cost
    /// One call of [`ReadModel::apply`]. For an event out of order and for one that fails, also
    /// one call of [`ReadModel::position`]. For a gap, also a read of the event, to check that it is
    /// the right store, and a read of the missing events and the last applied one.
    ///
    /// # Errors
    /// [`ProjectionError`]. Events that were applied before the error stay applied.
    ///
    /// ```no_run
    /// # async fn example<Loans: eventdb::ReadModel>(
    /// #     projection: eventdb::Projection<Loans>, message: eventdb::ReceivedMessage)
    /// # -> Result<(), eventdb::ProjectionError<Loans::Error>> {
    /// let applied = projection.handle(&message).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn handle(
        &self,
        message: &ReceivedMessage,
    ) -> Result<u64, ProjectionError<M::Error>> {
        let store = message.store.as_ref().map(|store| self.current(store));
        let event = &message.event;
        if self.types.is_some() {
            if !self.takes(event) {
                return Ok(0);
            }
            if self.read(&event.subject, &Position::default(), None).is_none() {
                return Err(ProjectionError::FilterWithoutStore {
                    subject: event.subject.clone(),
                    revision: event.revision.unwrap_or_default(),
                });
            }
        }
        let Some(revision) = event.revision else {
            let revision = self.place_of(event).await?;
            return Handling { projection: self, event, revision, store }.catch_up(true).await;
        };
        let handling = Handling { projection: self, event, revision, store };
        // It is nearly always the next event, so try it first without reading the position.
        let from = Position {
            revision: revision.saturating_sub(1),
            store: store.cloned().filter(|_| revision > 1),
            ..Position::default()
        };
        match handling.apply(event, &from).await {
            Ok(ApplyOutcome::Applied) => Ok(1),
            Ok(ApplyOutcome::PositionDiffers) => handling.catch_up(false).await,
            // A read model can fail on the event before it looks at its position. A repetition of an
            // event whose row was repaired meanwhile is still the old one.
            Err(error) => match self.read_model.position(&event.subject).await {
                Ok(position) if position.parked.is_some() || position.revision >= revision => {
                    handling.check_store(&position).map(|()| 0)
                }
                _ => Err(error),
            },
        }
    }

    /// Passes a batch of messages, given as pairs of id and body, to the read model. Returns the
    /// messages that should be delivered again, in the given order, for an answer with
    /// [partial batch responses].
    ///
    /// Subjects are processed concurrently, and the events of each subject in their order, whatever
    /// the order of the batch. After a failure, the later events of the same subject fail, too. Each
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
        // A failure in one store doesn't affect events of another.
        let mut subjects = BTreeMap::<(String, Option<StoreId>), Vec<Waiting>>::new();
        for (place, (id, body)) in messages.into_iter().enumerate() {
            let id = id.into();
            match ReceivedMessage::read(body.as_ref()) {
                Ok(message) => {
                    let of = (message.event.subject.clone(), message.store.clone());
                    subjects.entry(of).or_default().push(Waiting { place, id, message });
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
        waiting.sort_by_key(|waiting| waiting.message.event.revision);
        let mut failed = Vec::new();
        let mut failed_revision = None;
        for Waiting { place, id, message } in waiting {
            // An event without a place in the order doesn't block others.
            if let (Some(revision), Some(_)) = (failed_revision, message.event.revision) {
                let subject = message.event.subject;
                failed.push((place, id, ProjectionError::BehindFailure { subject, revision }));
            } else if let Err(error) = self.handle(&message).await {
                failed_revision = message.event.revision;
                failed.push((place, id, error));
            }
        }
        failed
    }

    /// The store that the given store has become.
    fn current<'a>(&'a self, store: &'a StoreId) -> &'a StoreId {
        self.moved.iter().fold(store, |store, (from, to)| if store == from { to } else { store })
    }

    pub(super) async fn position(
        &self,
        subject: &str,
    ) -> Result<Position, ProjectionError<M::Error>> {
        self.read_model
            .position(subject)
            .await
            .map_err(|source| ProjectionError::Position { subject: subject.to_owned(), source })
    }

    /// Whether the subscription holds events back by their types.
    #[cfg(feature = "dynamodb")]
    pub(super) fn holds_types_back(&self) -> bool {
        self.types.is_some()
    }

    /// Whether the subscription delivers events of this type.
    pub(super) fn takes(&self, event: &Event) -> bool {
        self.types.as_ref().is_none_or(|types| types.contains(&event.ty))
    }

    pub(crate) fn passes_over(&self, subject: &str, mut revisions: RangeInclusive<u64>) -> bool {
        let passed_over = self.passed_over.get(subject).map(Vec::as_slice).unwrap_or_default();
        revisions.all(|revision| passed_over.iter().any(|range| range.contains(&revision)))
    }

    /// Whether the event with this revision may be applied after those up to `seen`.
    fn check_hole(
        &self,
        subject: &str,
        seen: u64,
        revision: u64,
        invalid: &mut Option<Box<InvalidItem>>,
    ) -> Result<(), ProjectionError<M::Error>> {
        let invalid = invalid.take();
        let revisions = seen + 1..=revision - 1;
        if revisions.is_empty() || self.passes_over(subject, revisions.clone()) {
            return Ok(());
        }
        let subject = subject.to_owned();
        Err(match invalid {
            Some(source) => ProjectionError::InvalidItem { subject, revisions, source },
            None => ProjectionError::MissingRevisions { subject, revisions },
        })
    }

    pub(super) fn read<'a>(
        &'a self,
        subject: &'a str,
        after: &'a Position,
        until: Option<DateTime<Utc>>,
    ) -> Option<SubjectRows<'a>> {
        self.reader.read_subject(subject, after, until)
    }

    /// The place of an event without a revision in the history of its subject.
    async fn place_of(&self, event: &Event) -> Result<u64, ProjectionError<M::Error>> {
        let (subject, id) = (event.subject.clone(), event.id.clone());
        let beginning = Position::default();
        // Keys of other libraries don't always sort by time, so the read has no bounds.
        let Some(mut rows) = self.read(&event.subject, &beginning, None) else {
            return Err(ProjectionError::NoSequence { id, subject });
        };
        while let Some(row) = rows.try_next().await.map_err(unreadable(event))? {
            if let SubjectRow::Event(Event { revision: Some(place), id, source, .. }) = row
                && id == event.id
                && source == event.source
            {
                return Ok(place);
            }
        }
        Err(ProjectionError::NotInStore { subject, revision: None, id })
    }
}

/// A message of a batch that waits to be processed.
struct Waiting {
    place: usize,
    id: String,
    message: ReceivedMessage,
}
