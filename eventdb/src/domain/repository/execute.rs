//! Decisions on one aggregate: load it, decide, append at the loaded revision, and repeat after a
//! conflict.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;

use super::attempt::{append, command, done, pause_after, reaction_id};
use super::error::ExecuteError;
use super::load::Loaded;
use super::{Repository, SnapshotWrite};
use crate::domain::aggregate::Aggregate;
use crate::event::metadata::Metadata;
use crate::event::{Event, ExtensionValue};
use crate::store::append::Appended;

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

/// A request to decide on an aggregate: see [`Repository::execute`].
#[must_use = "a request does nothing until it is awaited"]
pub struct Execute<'a, A: Aggregate, E> {
    repository: Repository<A>,
    subject: String,
    decide: Decide<'a, A, E>,
    command: Option<String>,
    revision: Option<u64>,
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
        let command = command(db, &repository.source, self.command.as_deref())?;
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
