//! Decisions: load the aggregate, decide, append at the loaded revision, and repeat after a conflict.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;

use futures_util::future::try_join;
use uuid::Uuid;

use super::error::{ExecuteError, LoadError};
use super::load::{Loaded, Place};
use super::{Repository, SnapshotWrite};
use crate::domain::aggregate::Aggregate;
use crate::domain::domain_event::UnwritableEvent;
use crate::event::candidate::EventCandidate;
use crate::event::metadata::Metadata;
use crate::event::{Event, ExtensionValue};
use crate::store::EventDb;
use crate::store::append::Appended;
use crate::store::command::Command;
use crate::store::error::{BoxError, Conflict, Error};
use crate::store::precondition::{ExpectedState, Precondition};
use crate::store::retry::Attempts;

/// The result of a decision.
#[derive(Debug)]
#[non_exhaustive]
pub struct Executed<A> {
    /// The aggregate after the decision, including its events. If the command was
    /// [done before](Self::is_repetition), it can also include later events.
    pub aggregate: Loaded<A>,
    /// The stored events; empty if the decision returned none.
    pub events: Vec<Event>,
    /// Whether the command was done before, so that the events are those of that call.
    pub is_repetition: bool,
    /// How often the decision was made: the number of conflicts plus one.
    pub attempts: u32,
    /// The snapshot that is being written, if one was due.
    pub snapshot: Option<SnapshotWrite>,
}

type Decide<'a, A, E> = Box<dyn FnMut(&A) -> Result<Vec<<A as Aggregate>::Event>, E> + Send + 'a>;

type DecideBoth<'a, A, B, E> = Box<dyn FnMut(&A, &B) -> Result<EventsOfBoth<A, B>, E> + Send + 'a>;

type EventsOfBoth<A, B> = (Vec<<A as Aggregate>::Event>, Vec<<B as Aggregate>::Event>);

/// A request to decide on an aggregate: see [`Repository::execute`].
#[must_use = "a request does nothing until it is awaited"]
pub struct Execute<'a, A: Aggregate, E> {
    repository: Repository<A>,
    subject: String,
    decide: Decide<'a, A, E>,
    command: Option<String>,
    revision: Option<u64>,
}

/// A request to decide on two aggregates together: see [`Repository::execute_with`].
#[must_use = "a request does nothing until it is awaited"]
pub struct ExecuteWith<'a, A: Aggregate, B: Aggregate, E> {
    repository: Repository<A>,
    subject: String,
    others: Repository<B>,
    other_subject: String,
    decide: DecideBoth<'a, A, B, E>,
    command: Option<String>,
    revision: Option<u64>,
    other_revision: Option<u64>,
}

impl<A: Aggregate> Repository<A> {
    /// Loads the aggregate of a subject, calls `decide` with its state, and appends the returned
    /// events, provided that the subject hasn't changed in the meantime.
    ///
    /// If it has changed, the new events are read and `decide` is called again, with random pauses,
    /// until the operation's [time limit](crate::TimeLimits) has passed since loading. So `decide` can
    /// be called several times and should have no side effects. If it returns an error, the result is
    /// [`ExecuteError::Domain`]. If it returns no events, nothing is written.
    ///
    /// The result is a request, which is awaited. Before that, it can be given a
    /// [command id](Execute::command), so that a command that arrives twice is executed once, and
    /// [the revision that the caller saw](Execute::only_at_revision).
    ///
    /// # Cost
    /// [`load`](Self::load), and an append at a stated revision. For each conflict, also a read of the
    /// last known event and the later ones, and another append.
    ///
    /// # Errors
    /// [`ExecuteError`]: the domain's error, contention, or the failure of loading or writing.
    ///
    /// ```no_run
    /// # use eventdb::{Aggregate, ExecuteError, Repository};
    /// # trait Borrow: Aggregate { fn borrow(&self, user: &str) -> Result<Vec<Self::Event>, String>; }
    /// # async fn example<Book: Borrow>(books: Repository<Book>) -> Result<(), ExecuteError<String>> {
    /// let executed = books.execute("book:123", |book| book.borrow("user:456")).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn execute<'a, D, I, E>(
        &self,
        subject: impl Into<String>,
        mut decide: D,
    ) -> Execute<'a, A, E>
    where
        D: FnMut(&A) -> Result<I, E> + Send + 'a,
        I: IntoIterator<Item = A::Event>,
    {
        Execute {
            repository: self.clone(),
            subject: subject.into(),
            decide: Box::new(move |state| decide(state).map(|events| events.into_iter().collect())),
            command: None,
            revision: None,
        }
    }

    /// Decides on two aggregates together. `decide` returns the events of both. Either all of them are
    /// stored or none, and only if neither subject has changed in the meantime. Otherwise, it works
    /// like [`execute`](Self::execute).
    ///
    /// The other aggregate may be of the same type or another, but must have another subject. Its
    /// state is checked even if it gets no events. The two aggregates aren't read at the same moment.
    /// So a rejection may be based on states that didn't exist at the same time, but events are stored
    /// only if both states are current.
    ///
    /// # Cost
    /// Loads both. An aggregate without new events adds 2 write units to the append.
    ///
    /// # Errors
    /// As for [`execute`](Self::execute), and [`ExecuteError::DifferentTables`] and
    /// [`ExecuteError::SameSubject`].
    ///
    /// ```no_run
    /// # use eventdb::{Aggregate, ExecuteError, Repository};
    /// # trait Lend: Aggregate { fn lend(&self) -> Vec<Self::Event>; }
    /// # trait MayBorrow: Aggregate { fn may_borrow(&self) -> bool; }
    /// # async fn example<Book: Lend, User: MayBorrow>(books: Repository<Book>, users: Repository<User>)
    /// # -> Result<(), ExecuteError<&'static str>> {
    /// let (book, user) = books
    ///     .execute_with("book:123", &users, "user:456", |book, user| match user.may_borrow() {
    ///         true => Ok((book.lend(), None)),
    ///         false => Err("the user may not borrow"),
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn execute_with<'a, B, D, I, J, E>(
        &self,
        subject: impl Into<String>,
        others: &Repository<B>,
        other_subject: impl Into<String>,
        mut decide: D,
    ) -> ExecuteWith<'a, A, B, E>
    where
        B: Aggregate,
        D: FnMut(&A, &B) -> Result<(I, J), E> + Send + 'a,
        I: IntoIterator<Item = A::Event>,
        J: IntoIterator<Item = B::Event>,
    {
        ExecuteWith {
            repository: self.clone(),
            subject: subject.into(),
            others: others.clone(),
            other_subject: other_subject.into(),
            decide: Box::new(move |one, other| {
                let (events, other_events) = decide(one, other)?;
                Ok((events.into_iter().collect(), other_events.into_iter().collect()))
            }),
            command: None,
            revision: None,
            other_revision: None,
        }
    }
}

impl<A: Aggregate, E> Execute<'_, A, E> {
    /// Gives the command an id, such as the idempotency key of an HTTP request. A command is executed
    /// once: if one with this id is done, the result is its [events](Executed::events), with
    /// [`is_repetition`](Executed::is_repetition). That also holds if the decision would now reject
    /// the command or return no events, if another revision is required, and if two callers send the
    /// command at the same time.
    ///
    /// The id must be unique per source of a repository. Only the id decides, so don't use it for
    /// another command: on another subject this is an error, but on the same subject it goes
    /// unnoticed.
    ///
    /// Only events are remembered. After a rejection and after a decision without events, the
    /// command can be sent again and is decided again.
    ///
    /// # Cost
    /// 1 action and 2 write units, or more if the keys of its events have more than 1 KB. A repetition
    /// takes one request more, or two if the decision returns an error or no events. A
    /// rejection or a decision without events takes one request more.
    pub fn command(mut self, id: impl Into<String>) -> Self {
        self.command = Some(id.into());
        self
    }

    /// Executes the command because of an event, once, however often the event is delivered: the
    /// [command id](Self::command) is made from the reaction's name and the event's `source` and
    /// `id`. The new events get the event's correlation, and its id as their causation.
    ///
    /// The name tells several reactions to the same event apart. Never change it, or the reaction
    /// happens again for events that are delivered again.
    ///
    /// ```no_run
    /// # use eventdb::{Aggregate, Event, ExecuteError, Repository};
    /// # trait Remind: Aggregate { fn remind(&self) -> Result<Vec<Self::Event>, String>; }
    /// /// A borrowed book leads to a reminder for the user.
    /// async fn on_borrowed<User: Remind>(users: &Repository<User>, borrowed: &Event)
    /// -> Result<(), ExecuteError<String>> {
    ///     let user = borrowed.data["userId"].as_str().unwrap_or_default();
    ///     users.execute(user, User::remind).in_reaction_to("remind", borrowed).await?;
    ///     Ok(())
    /// }
    /// ```
    pub fn in_reaction_to(self, reaction: &str, event: &Event) -> Self {
        self.command(reaction_id(reaction, event)).metadata(&Metadata::caused_by(event))
    }

    /// Decides only if the subject is at this revision, the one that the caller saw (0 without
    /// events). Otherwise, the result is [`ExecuteError::OtherRevision`], unless the
    /// [command](Self::command) is done.
    pub fn only_at_revision(mut self, revision: u64) -> Self {
        self.revision = Some(revision);
        self
    }

    /// Says who and what led to the command: see [`Metadata`]. It is added to the new events.
    pub fn metadata(mut self, metadata: &Metadata) -> Self {
        metadata.add_to(&mut self.repository.extensions);
        self
    }

    /// Adds a CloudEvents extension attribute to the new events, such as the `correlationid` of a
    /// request. It replaces that of the [repository](Repository::with_extension).
    pub fn extension(mut self, name: impl Into<String>, value: impl Into<ExtensionValue>) -> Self {
        self.repository.extensions.insert(name.into(), value.into());
        self
    }
}

impl<'a, A: Aggregate, E: Send> Execute<'a, A, E> {
    async fn run(mut self) -> Result<Executed<A>, ExecuteError<E>> {
        let repository = &self.repository;
        let db = &repository.db;
        let command = command(&repository.source, self.command.as_deref())?;
        let command = command.as_ref();
        let mut loaded = repository.load(self.subject).await?;
        let mut attempts = db.table().attempts("execute").about(Some(&loaded.subject));
        loop {
            let decided = loaded.check_revision(self.revision).and_then(|()| {
                let events = (self.decide)(&loaded.state).map_err(ExecuteError::Domain)?;
                Ok(repository.decision(&loaded.subject, events)?)
            });
            let decision = match decided {
                Ok(decision) if !decision.candidates.is_empty() => decision,
                undecided => {
                    if let Some(events) = done(db, command).await? {
                        return repository
                            .repeated(loaded, command, events, attempts.count())
                            .await;
                    }
                    let appended = Appended { events: Vec::new(), is_repetition: false };
                    return Ok(repository.executed(loaded, undecided?, appended, attempts.count()));
                }
            };
            let preconditions = [loaded.precondition()];
            match append(db, decision.candidates.clone(), preconditions, command).await {
                Ok(appended) if appended.is_repetition => {
                    let events = appended.events;
                    return repository.repeated(loaded, command, events, attempts.count()).await;
                }
                Ok(appended) => {
                    return Ok(repository.executed(loaded, decision, appended, attempts.count()));
                }
                Err(error) => {
                    let conflict = pause_after(&mut attempts, error).await?;
                    loaded = repository.catch_up(loaded, &conflict).await?;
                }
            }
        }
    }
}

impl<'a, A: Aggregate, E: Send + 'a> IntoFuture for Execute<'a, A, E> {
    type Output = Result<Executed<A>, ExecuteError<E>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl<A: Aggregate, E> fmt::Debug for Execute<'_, A, E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Execute")
            .field("subject", &self.subject)
            .field("command", &self.command)
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}

impl<A: Aggregate, B: Aggregate, E> ExecuteWith<'_, A, B, E> {
    /// Gives the command an id: see [`Execute::command`]. It must be unique per source of the first
    /// repository.
    pub fn command(mut self, id: impl Into<String>) -> Self {
        self.command = Some(id.into());
        self
    }

    /// Executes the command because of an event, once: see [`Execute::in_reaction_to`].
    pub fn in_reaction_to(self, reaction: &str, event: &Event) -> Self {
        self.command(reaction_id(reaction, event)).metadata(&Metadata::caused_by(event))
    }

    /// Decides only if the first subject is at this revision: see [`Execute::only_at_revision`].
    pub fn only_at_revision(mut self, revision: u64) -> Self {
        self.revision = Some(revision);
        self
    }

    /// Decides only if the other subject is at this revision: see [`Execute::only_at_revision`].
    pub fn only_at_other_revision(mut self, revision: u64) -> Self {
        self.other_revision = Some(revision);
        self
    }

    /// Says who and what led to the command: see [`Metadata`]. It is added to the new events of both.
    pub fn metadata(mut self, metadata: &Metadata) -> Self {
        metadata.add_to(&mut self.repository.extensions);
        metadata.add_to(&mut self.others.extensions);
        self
    }

    /// Adds a CloudEvents extension attribute to the new events of both: see [`Execute::extension`].
    pub fn extension(mut self, name: impl Into<String>, value: impl Into<ExtensionValue>) -> Self {
        let (name, value) = (name.into(), value.into());
        self.others.extensions.insert(name.clone(), value.clone());
        self.repository.extensions.insert(name, value);
        self
    }
}

impl<'a, A: Aggregate, B: Aggregate, E: Send> ExecuteWith<'a, A, B, E> {
    async fn run(mut self) -> Result<(Executed<A>, Executed<B>), ExecuteError<E>> {
        let (repository, others) = (&self.repository, &self.others);
        let db = &repository.db;
        if db.table().name() != others.db.table().name() {
            let [one, other] = [db.table().name(), others.db.table().name()].map(str::to_owned);
            return Err(ExecuteError::DifferentTables(one, other));
        }
        if self.subject == self.other_subject {
            return Err(ExecuteError::SameSubject(self.subject));
        }
        let command = command(&repository.source, self.command.as_deref())?;
        let command = command.as_ref();
        let (mut one, mut other) =
            try_join(repository.load(self.subject), others.load(self.other_subject)).await?;
        let mut attempts = db.table().attempts("execute").about(Some(&one.subject));
        loop {
            let revisions = one
                .check_revision(self.revision)
                .and_then(|()| other.check_revision(self.other_revision));
            let decided = revisions.and_then(|()| {
                let (events, other_events) =
                    (self.decide)(&one.state, &other.state).map_err(ExecuteError::Domain)?;
                let decision = repository.decision(&one.subject, events)?;
                Ok((decision, others.decision(&other.subject, other_events)?))
            });
            let is_for_nothing = |decision: &Decision<A>, other: &Decision<B>| {
                decision.candidates.is_empty() && other.candidates.is_empty()
            };
            let appended = match &decided {
                Ok((decision, other_decision)) if !is_for_nothing(decision, other_decision) => {
                    let preconditions = [one.precondition(), other.precondition()];
                    let mut candidates = decision.candidates.clone();
                    candidates.extend_from_slice(&other_decision.candidates);
                    append(db, candidates, preconditions, command).await
                }
                _ => Ok(match done(db, command).await? {
                    Some(events) => Appended { events, is_repetition: true },
                    None => Appended { events: Vec::new(), is_repetition: false },
                }),
            };
            let count = attempts.count();
            match appended {
                Ok(appended) if appended.is_repetition => {
                    let (events, other_events) =
                        appended.events.into_iter().partition(|event| event.subject == one.subject);
                    return try_join(
                        repository.repeated(one, command, events, count),
                        others.repeated(other, command, other_events, count),
                    )
                    .await;
                }
                Ok(mut appended) => {
                    let (decision, other_decision) = decided?;
                    let other_events = appended.events.split_off(decision.candidates.len());
                    let others_appended = Appended { events: other_events, is_repetition: false };
                    return Ok((
                        repository.executed(one, decision, appended, count),
                        others.executed(other, other_decision, others_appended, count),
                    ));
                }
                Err(error) => {
                    let conflict = pause_after(&mut attempts, error).await?;
                    (one, other) = try_join(
                        repository.catch_up(one, &conflict),
                        others.catch_up(other, &conflict),
                    )
                    .await?;
                }
            }
        }
    }
}

impl<'a, A: Aggregate, B: Aggregate, E: Send + 'a> IntoFuture for ExecuteWith<'a, A, B, E> {
    type Output = Result<(Executed<A>, Executed<B>), ExecuteError<E>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl<A: Aggregate, B: Aggregate, E> fmt::Debug for ExecuteWith<'_, A, B, E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ExecuteWith")
            .field("subject", &self.subject)
            .field("other_subject", &self.other_subject)
            .field("command", &self.command)
            .finish_non_exhaustive()
    }
}

impl<A: Aggregate> Repository<A> {
    /// The result for a command that was done before. The state includes at least its events.
    async fn repeated<E>(
        &self,
        mut aggregate: Loaded<A>,
        command: Option<&Command>,
        events: Vec<Event>,
        attempts: u32,
    ) -> Result<Executed<A>, ExecuteError<E>> {
        if let Some(other) = events.iter().find(|event| event.subject != aggregate.subject) {
            return Err(ExecuteError::CommandReused {
                command: command.map(|command| command.id().to_owned()).unwrap_or_default(),
                subject: other.subject.clone(),
            });
        }
        let reached = events.last().and_then(|event| event.revision).unwrap_or_default();
        if aggregate.revision < reached {
            // Loaded before the events were stored.
            aggregate = self.refresh(aggregate).await?;
            aggregate = self.complete(aggregate, reached).await?;
        }
        Ok(Executed { aggregate, events, is_repetition: true, attempts, snapshot: None })
    }

    /// Reads the events up to the revision in a conflict.
    async fn catch_up(
        &self,
        loaded: Loaded<A>,
        conflict: &Conflict,
    ) -> Result<Loaded<A>, LoadError> {
        let loaded = self.refresh(loaded).await?;
        let is_of = |loaded: &Loaded<A>| conflict.subject == loaded.subject;
        let revision = if is_of(&loaded) { conflict.actual.revision() } else { 0 };
        self.complete(loaded, revision).await
    }

    pub(super) fn decision(
        &self,
        subject: &str,
        events: impl IntoIterator<Item = A::Event>,
    ) -> Result<Decision<A>, UnwritableEvent> {
        let mut decision = Decision { events: Vec::new(), candidates: Vec::new() };
        for event in events {
            let (mut candidate, event) =
                EventCandidate::typed_and_read_back(&event, &*self.source, subject)?;
            candidate.extensions.clone_from(&self.extensions);
            decision.candidates.push(candidate);
            decision.events.push(event);
        }
        Ok(decision)
    }

    pub(super) fn executed(
        &self,
        mut aggregate: Loaded<A>,
        decision: Decision<A>,
        Appended { events, is_repetition }: Appended,
        attempts: u32,
    ) -> Executed<A> {
        for (event, stored) in decision.events.into_iter().zip(&events) {
            aggregate.state.apply_stored(event, stored);
        }
        if let Some(last) = events.last() {
            aggregate.revision = last.revision.unwrap_or(aggregate.revision);
            aggregate.last = Some(Place::of(last));
            aggregate.numbered = true;
            // Another writer's event stays the last one where its clock runs ahead.
            let first = events.first().map(|event| event.time.timestamp_millis());
            aggregate.uncounted = aggregate.uncounted.filter(|time| first <= Some(*time));
        }
        let snapshot = if events.is_empty() { None } else { self.write_snapshot(&mut aggregate) };
        Executed { aggregate, events, is_repetition, attempts, snapshot }
    }
}

/// The new events of one aggregate.
pub(super) struct Decision<A: Aggregate> {
    /// The events as every reader will see them. They are folded into the state.
    events: Vec<A::Event>,
    pub(super) candidates: Vec<EventCandidate>,
}

impl<A> Loaded<A> {
    fn check_revision<E>(&self, expected: Option<u64>) -> Result<(), ExecuteError<E>> {
        match expected {
            Some(expected) if expected != self.revision => Err(ExecuteError::OtherRevision {
                subject: self.subject.clone(),
                expected,
                actual: self.revision,
            }),
            _ => Ok(()),
        }
    }

    pub(super) fn precondition(&self) -> Precondition {
        match &self.known {
            Some(known) if known.revision() == self.revision => known.clone().into(),
            _ => Precondition::subject_is_at_revision(&self.subject, self.revision),
        }
    }
}

/// The id of the command that an event leads to. It never changes.
pub(super) fn reaction_id(reaction: &str, event: &Event) -> String {
    /// Any constant.
    const NAMESPACE: Uuid = Uuid::from_u128(0x9a5b_0f3e_6c1d_4b62_8f0a_3d5e_77c2_41b8);
    // Source and id together can be longer than a key. The length keeps them apart.
    let name = format!("{}#{}{}", event.source.len(), event.source, event.id);
    format!("reaction/{reaction}/{}", Uuid::new_v5(&NAMESPACE, name.as_bytes()))
}

pub(super) fn command<E>(
    source: &str,
    id: Option<&str>,
) -> Result<Option<Command>, ExecuteError<E>> {
    id.map(|id| Command::new(source, id)).transpose().map_err(ExecuteError::Store)
}

/// The events of the command, if it is done.
pub(super) async fn done<E>(
    db: &EventDb,
    command: Option<&Command>,
) -> Result<Option<Vec<Event>>, ExecuteError<E>> {
    match command {
        Some(command) => command.find(db.table()).await.map_err(ExecuteError::Store),
        None => Ok(None),
    }
}

pub(super) async fn append(
    db: &EventDb,
    candidates: Vec<EventCandidate>,
    preconditions: impl IntoIterator<Item = Precondition>,
    command: Option<&Command>,
) -> Result<Appended, Error> {
    preconditions
        .into_iter()
        .fold(db.add_new_events(candidates), |request, precondition| request.only_if(precondition))
        .of_command(command.cloned())
        .run()
        .await
}

/// Waits after a conflict and returns it. It fails if no time is left, or after another error. The
/// caller reads the new events after the pause, so that the next decision has the current state.
pub(super) async fn pause_after<E>(
    attempts: &mut Attempts,
    error: Error,
) -> Result<Box<Conflict>, ExecuteError<E>> {
    let conflict = match error {
        Error::Conflict(conflict) => conflict,
        // Other transactions were using the subject until the append's time was up.
        Error::Contended { subject, source, .. } => {
            return Err(ExecuteError::Contended { attempts: attempts.count(), subject, source });
        }
        error => return Err(ExecuteError::Store(error)),
    };
    // A revision never decreases, so the head doesn't match the events.
    if is_behind(&conflict) {
        return Err(ExecuteError::Store(Error::Conflict(conflict)));
    }
    let reason: BoxError = conflict.to_string().into();
    match attempts.pause_after_conflict(reason, Some(&conflict.subject)).await {
        Ok(()) => Ok(conflict),
        Err(_) => Err(ExecuteError::Contended {
            attempts: attempts.count(),
            subject: conflict.subject.clone(),
            source: conflict,
        }),
    }
}

/// Whether the conflict has an earlier revision than the loaded one.
fn is_behind(conflict: &Conflict) -> bool {
    matches!(conflict.expected, ExpectedState::Revision(expected)
        if conflict.actual.revision() < expected)
}
