//! Keeping a read model up to date: each event once, in the order of its subject.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::RangeInclusive;
use std::time::SystemTime;

use chrono::{DateTime, Utc};
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::codec::item::InvalidItem;
use crate::codec::received_message::{MessageError, ReceivedMessage};
use crate::codec::store_id::StoreId;
use crate::event::{BoxError, Event, whole_milliseconds};
use crate::subscribe::event_reader::{EventReader, NoEventReader, SubjectRow, SubjectRows};
use crate::subscribe::read_model::{
    ApplyOutcome, Parked, ParkingReadModel, Position, ReadModel, Step,
};

/// Maximum number of subjects of one batch that are processed concurrently.
const CONCURRENT_SUBJECTS: usize = 16;

/// Most characters of the reason in a mark.
const MARK_CHARACTERS: usize = 1000;

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
/// [`Projection`](Projection#several-stores) for what to do.
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

impl<M: ParkingReadModel, R: EventReader> Projection<M, R> {
    /// Parks the subject of a message that can't be applied, so that the message can be acknowledged.
    ///
    /// From then on, the messages of the subject are acknowledged without being applied: `handle`
    /// returns 0. Other subjects go on. The mark at the subject's position says since when and why.
    /// When the cause is removed, [`retry`](Self::retry) reads on from the store, so nothing is lost.
    ///
    /// Park a subject when its message has been delivered several times in vain, and watch for the
    /// log's error. [`handle_batch_or_park`](Self::handle_batch_or_park) does so.
    ///
    /// # Errors
    /// [`ProjectionError::ParkingWithoutStore`], and errors of the read model.
    ///
    /// ```no_run
    /// # async fn example<Loans: eventdb::ParkingReadModel>(
    /// #     projection: eventdb::Projection<Loans, eventdb::EventDb>,
    /// #     message: eventdb::ReceivedMessage, receives: u32)
    /// # -> Result<(), eventdb::ProjectionError<Loans::Error>> {
    /// if let Err(error) = projection.handle(&message).await {
    ///     if receives < 5 || !error.can_be_parked() {
    ///         return Err(error); // deliver it again
    ///     }
    ///     projection.park(&message, &error).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn park(
        &self,
        message: &ReceivedMessage,
        error: &ProjectionError<M::Error>,
    ) -> Result<(), ProjectionError<M::Error>> {
        let event = &message.event;
        let subject = &event.subject;
        if self.read(subject, &Position::default(), None).is_none() {
            return Err(ProjectionError::ParkingWithoutStore { subject: subject.clone() });
        }
        let revision = match event.revision {
            Some(revision) => revision,
            None => self.place_of(event).await?,
        };
        let store = message.store.as_ref().map(|store| self.current(store));
        let handling = Handling { projection: self, event, revision, store };
        let parked = Parked {
            revision: error.failed_revision().unwrap_or(revision),
            since: whole_milliseconds(SystemTime::now().into()),
            reason: Causes(error).to_string().chars().take(MARK_CHARACTERS).collect(),
        };
        let mut position = Position::default();
        for _ in 0..REFUSALS {
            position = self.position(subject).await?;
            handling.check_store(&position)?;
            if position.parked.is_some() || position.revision >= revision {
                return Ok(());
            }
            if self.mark(subject, &position, Some(&parked)).await? == ApplyOutcome::Applied {
                tracing::error!(
                    target: "eventdb", subject, revision = parked.revision,
                    "the subject is parked: {}", parked.reason
                );
                return Ok(());
            }
        }
        Err(refused(subject, &position))
    }

    /// Continues a parked subject: reads on from the store, up to its end, and removes the mark. It
    /// returns the number of applied events. For a subject that isn't parked, it applies what is
    /// missing.
    ///
    /// If an event fails again, the subject stays parked, with what was applied before.
    ///
    /// # Cost
    /// Two reads of the subject from its position on, and one call of [`ReadModel::apply`] for each
    /// event.
    ///
    /// # Errors
    /// [`ProjectionError::ReadModel`] if an event fails again, and those of reading.
    ///
    /// ```no_run
    /// # async fn example<Loans: eventdb::ParkingReadModel>(
    /// #     projection: eventdb::Projection<Loans, eventdb::EventDb>)
    /// # -> Result<(), eventdb::ProjectionError<Loans::Error>> {
    /// let applied = projection.retry("book:123").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn retry(&self, subject: &str) -> Result<u64, ProjectionError<M::Error>> {
        let mut applied = 0;
        let mut refusals = 0;
        loop {
            let position = self.position(subject).await?;
            let (count, reached) = self.read_on(subject, &position).await?;
            applied += count;
            let is_moved = match reached {
                Some(reached) if position.parked.is_some() => {
                    self.mark(subject, &reached, None).await? == ApplyOutcome::PositionDiffers
                }
                // What was left alone while the mark was there has been read after it was removed.
                Some(_) if count == 0 => return Ok(applied),
                Some(_) => false,
                None => true,
            };
            refusals = if is_moved && count == 0 { refusals + 1 } else { 0 };
            if refusals == REFUSALS {
                return Err(refused(subject, &position));
            }
        }
    }

    /// Like [`handle_batch`](Self::handle_batch), but a subject whose message was received at least
    /// `most_receives` times is [parked](Self::park), if its error
    /// [can be parked](ProjectionError::can_be_parked). Each message comes with the number of times
    /// that it was received (`ApproximateReceiveCount` of SQS).
    ///
    /// Choose a number below the `maxReceiveCount` of the queue, so that the message doesn't become a
    /// dead letter first.
    ///
    /// ```no_run
    /// # async fn example<Loans: eventdb::ParkingReadModel>(
    /// #     projection: eventdb::Projection<Loans, eventdb::EventDb>) {
    /// let messages = [("c80e8021-a70a-42c7-a470-796e1186f753", "{…}", 3)];
    /// for failed in projection.handle_batch_or_park(messages, 4).await {
    ///     println!("to be delivered again: {}", failed.id);
    /// }
    /// # }
    /// ```
    pub async fn handle_batch_or_park<I, B>(
        &self,
        messages: impl IntoIterator<Item = (I, B, u32)>,
        most_receives: u32,
    ) -> Vec<FailedMessage<M::Error>>
    where
        I: Into<String>,
        B: AsRef<str>,
    {
        let messages: Vec<(String, B, u32)> =
            messages.into_iter().map(|(id, body, receives)| (id.into(), body, receives)).collect();
        let batch = messages.iter().map(|(id, body, _)| (id.as_str(), body.as_ref()));
        let mut failed = Vec::new();
        for FailedMessage { id, error } in self.handle_batch(batch).await {
            let message = messages.iter().find(|(given, ..)| *given == id);
            let (Some((_, body, receives)), true) = (message, error.can_be_parked()) else {
                failed.push(FailedMessage { id, error });
                continue;
            };
            if *receives < most_receives {
                failed.push(FailedMessage { id, error });
                continue;
            }
            let parked = match ReceivedMessage::read(body.as_ref()) {
                Ok(message) => self.park(&message, &error).await,
                Err(error) => Err(error.into()),
            };
            if let Err(error) = parked {
                let causes = Causes(&error);
                tracing::warn!(target: "eventdb", message = id, "not parked: {causes}");
                failed.push(FailedMessage { id, error });
            }
        }
        failed
    }

    async fn mark(
        &self,
        subject: &str,
        position: &Position,
        parked: Option<&Parked>,
    ) -> Result<ApplyOutcome, ProjectionError<M::Error>> {
        self.read_model
            .mark(subject, position, parked)
            .await
            .map_err(|source| ProjectionError::Position { subject: subject.to_owned(), source })
    }

    /// Applies the events after a position up to the end of the subject, and keeps its mark. Returns
    /// their number and the new position, or `None` if somebody else has moved it.
    async fn read_on(
        &self,
        subject: &str,
        position: &Position,
    ) -> Result<(u64, Option<Position>), ProjectionError<M::Error>> {
        let Some(mut rows) = self.read(subject, position, None) else {
            return Err(ProjectionError::ParkingWithoutStore { subject: subject.to_owned() });
        };
        let unreadable = |source| ProjectionError::Store { subject: subject.to_owned(), source };
        let mut reached = position.clone();
        let mut seen = position.revision;
        let mut applied = 0;
        let mut invalid = None;
        while let Some(row) = rows.try_next().await.map_err(unreadable)? {
            let event = match row {
                SubjectRow::Event(event) => event,
                SubjectRow::Invalid(row) => {
                    invalid.get_or_insert(row);
                    continue;
                }
            };
            let Some(revision) = event.revision.filter(|revision| *revision > seen) else {
                // The unreadable row is before the last applied event.
                invalid = None;
                continue;
            };
            self.check_hole(subject, seen, revision, &mut invalid)?;
            seen = revision;
            if !self.takes(&event) {
                continue;
            }
            let store = position.store.as_ref().map(|store| self.current(store).clone());
            let step = Step {
                from_revision: reached.revision,
                from_store: reached.store.clone(),
                to: Position::new(revision, event.time, store).with_parked(position.parked.clone()),
            };
            let outcome = self.read_model.apply(&event, &step).await.map_err(|source| {
                ProjectionError::ReadModel {
                    subject: subject.to_owned(),
                    revision,
                    id: event.id.clone(),
                    source,
                }
            })?;
            if outcome == ApplyOutcome::PositionDiffers {
                return Ok((applied, None));
            }
            applied += 1;
            reached = step.to;
        }
        if let Some(source) = invalid
            && !self.passes_over(subject, seen + 1..=seen + 1)
        {
            let (subject, revisions) = (subject.to_owned(), seen + 1..=seen + 1);
            return Err(ProjectionError::InvalidItem { subject, revisions, source });
        }
        Ok((applied, Some(reached)))
    }
}

impl<E> ProjectionError<E> {
    /// Whether it is about an event that may fail each time, so that its subject can be
    /// [parked](Projection::park): the read model failed on it, its row can't be read, or revisions
    /// before it are missing from the store.
    pub fn can_be_parked(&self) -> bool {
        self.failed_revision().is_some()
    }

    fn failed_revision(&self) -> Option<u64> {
        match self {
            Self::ReadModel { revision, .. } => Some(*revision),
            Self::InvalidItem { revisions, .. } | Self::MissingRevisions { revisions, .. } => {
                Some(*revisions.start())
            }
            _ => None,
        }
    }
}

fn refused<E>(subject: &str, position: &Position) -> ProjectionError<E> {
    ProjectionError::StepRefused {
        subject: subject.to_owned(),
        position: position.revision,
        attempts: REFUSALS,
    }
}

fn unreadable<E>(event: &Event) -> impl FnOnce(BoxError) -> ProjectionError<E> {
    let subject = event.subject.clone();
    move |source| ProjectionError::Store { subject, source }
}

/// An event to be passed to the read model.
struct Handling<'a, M, R> {
    projection: &'a Projection<M, R>,
    event: &'a Event,
    revision: u64,
    /// The store that it comes from, or the store that this one has become.
    store: Option<&'a StoreId>,
}

impl<M: ReadModel, R: EventReader> Handling<'_, M, R> {
    /// Applies an event of the subject, which must have its revision.
    async fn apply(
        &self,
        event: &Event,
        from: &Position,
    ) -> Result<ApplyOutcome, ProjectionError<M::Error>> {
        let revision = event.revision.unwrap_or(self.revision);
        let step = Step {
            from_revision: from.revision,
            from_store: from.store.clone(),
            to: Position::new(revision, event.time, self.store.cloned()),
        };
        let applied = self.projection.read_model.apply(event, &step).await;
        applied.map_err(|source| ProjectionError::ReadModel {
            subject: event.subject.clone(),
            revision,
            id: event.id.clone(),
            source,
        })
    }

    /// Applies the missing events and the event, from the read model's position on.
    async fn catch_up(
        &self,
        is_known_to_be_stored: bool,
    ) -> Result<u64, ProjectionError<M::Error>> {
        let read_model = &self.projection.read_model;
        let subject = &self.event.subject;
        let mut is_known_to_be_stored = is_known_to_be_stored;
        let mut applied = 0;
        let mut last: Option<Position> = None;
        let mut refusals = 0;
        loop {
            let position = read_model
                .position(subject)
                .await
                .map_err(|source| ProjectionError::Position { subject: subject.clone(), source })?;
            self.check_store(&position)?;
            if position.revision >= self.revision {
                return Ok(applied);
            }
            if let Some(parked) = &position.parked {
                // It will be read from the store.
                tracing::debug!(
                    target: "eventdb", subject, revision = self.revision,
                    "left alone, because the subject is parked at revision {}", parked.revision
                );
                return Ok(applied);
            }
            // A step is refused if another worker processes the same subject. Then the position has
            // moved, and fewer events are left, so this ends.
            if last.as_ref() == Some(&position) {
                refusals += 1;
                if refusals == REFUSALS {
                    return Err(ProjectionError::StepRefused {
                        subject: subject.clone(),
                        position: position.revision,
                        attempts: REFUSALS,
                    });
                }
            } else {
                refusals = 0;
            }
            last = Some(position.clone());
            let (count, reached) = self.close_gap(position, &mut is_known_to_be_stored).await?;
            applied += count;
            let Some(from) = reached else { continue };
            let outcome = if self.event.revision.is_some() {
                self.apply(self.event, &from).await?
            } else {
                let event = Event { revision: Some(self.revision), ..self.event.clone() };
                self.apply(&event, &from).await?
            };
            if outcome == ApplyOutcome::Applied {
                return Ok(applied + 1);
            }
        }
    }

    fn check_store(&self, position: &Position) -> Result<(), ProjectionError<M::Error>> {
        match &position.store {
            Some(expected) if Some(self.projection.current(expected)) != self.store => {
                Err(ProjectionError::OtherStore(Box::new(OtherStore {
                    subject: self.event.subject.clone(),
                    id: self.event.id.clone(),
                    position: position.revision,
                    expected: expected.clone(),
                    actual: self.store.cloned(),
                })))
            }
            _ => Ok(()),
        }
    }

    /// Applies the events between the position and the event. Returns their number and the position
    /// from which the event may be applied, or `None` if another worker has moved it.
    async fn close_gap(
        &self,
        position: Position,
        is_known_to_be_stored: &mut bool,
    ) -> Result<(u64, Option<Position>), ProjectionError<M::Error>> {
        let subject = &self.event.subject;
        let next = position.revision.saturating_add(1);
        let hole = next..=self.revision.saturating_sub(1);
        if hole.is_empty() {
            return Ok((0, Some(position)));
        }
        // A row without a revision may be anywhere, whatever its time.
        let until = self.event.revision.map(|_| self.event.time);
        let Some(mut rows) = self.projection.read(subject, &position, until) else {
            if self.projection.passes_over(subject, hole) {
                return Ok((0, Some(position)));
            }
            return Err(ProjectionError::Gap {
                subject: subject.clone(),
                position: position.revision,
                revision: self.revision,
            });
        };
        if !*is_known_to_be_stored {
            self.check_that_it_is_stored().await?;
            *is_known_to_be_stored = true;
        }
        let mut reached = position.clone();
        // Events of types that are held back don't move the position.
        let mut seen = position.revision;
        let mut applied = 0;
        let mut invalid = None;
        while let Some(row) = rows.try_next().await.map_err(unreadable(self.event))? {
            let event = match row {
                SubjectRow::Event(event) => event,
                SubjectRow::Invalid(row) => {
                    invalid.get_or_insert(row);
                    continue;
                }
            };
            let Some(revision) = event.revision.filter(|revision| *revision > seen) else {
                // The unreadable row is before the last applied event.
                invalid = None;
                continue;
            };
            if revision >= self.revision {
                break;
            }
            self.projection.check_hole(subject, seen, revision, &mut invalid)?;
            seen = revision;
            if !self.projection.takes(&event) {
                continue;
            }
            if self.apply(&event, &reached).await? == ApplyOutcome::PositionDiffers {
                return Ok((applied, None));
            }
            applied += 1;
            reached = Position::new(revision, event.time, self.store.cloned());
        }
        self.projection.check_hole(subject, seen, self.revision, &mut invalid)?;
        Ok((applied, Some(reached)))
    }

    /// Checks that the reader reads the store that the event comes from.
    async fn check_that_it_is_stored(&self) -> Result<(), ProjectionError<M::Error>> {
        let event = self.event;
        let before = Position::new(self.revision - 1, event.time, self.store.cloned());
        let rows = self.projection.read(&event.subject, &before, Some(event.time));
        let mut rows = rows.unwrap_or_else(|| stream::empty().boxed());
        while let Some(row) = rows.try_next().await.map_err(unreadable(event))? {
            if let SubjectRow::Event(stored) = row
                && stored.revision == event.revision
                && stored.id == event.id
                && stored.source == event.source
            {
                return Ok(());
            }
        }
        Err(ProjectionError::NotInStore {
            subject: event.subject.clone(),
            revision: event.revision,
            id: event.id.clone(),
        })
    }
}

/// A message of a batch that waits to be processed.
struct Waiting {
    place: usize,
    id: String,
    message: ReceivedMessage,
}

/// An error with its causes.
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
