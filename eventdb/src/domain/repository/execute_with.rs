//! Decisions on two aggregates together.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;

use futures_util::future::try_join;

use super::attempt::{Decision, append, command, done, pause_after, reaction_id};
use super::error::ExecuteError;
use super::{Executed, Repository};
use crate::domain::aggregate::Aggregate;
use crate::event::metadata::Metadata;
use crate::event::{Event, ExtensionValue};
use crate::store::append::Appended;

type DecideBoth<'a, A, B, E> = Box<dyn FnMut(&A, &B) -> Result<EventsOfBoth<A, B>, E> + Send + 'a>;

type EventsOfBoth<A, B> = (Vec<<A as Aggregate>::Event>, Vec<<B as Aggregate>::Event>);

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

impl<A: Aggregate, B: Aggregate, E> ExecuteWith<'_, A, B, E> {
    /// Gives the command an id: see [`Execute::command`](crate::Execute::command). It must be unique
    /// per source of the first repository.
    pub fn command(mut self, id: impl Into<String>) -> Self {
        self.command = Some(id.into());
        self
    }

    /// Executes the command because of an event, once: see
    /// [`Execute::in_reaction_to`](crate::Execute::in_reaction_to).
    pub fn in_reaction_to(self, reaction: &str, event: &Event) -> Self {
        self.command(reaction_id(reaction, event)).metadata(&Metadata::caused_by(event))
    }

    /// Decides only if the first subject is at this revision: see
    /// [`Execute::only_at_revision`](crate::Execute::only_at_revision).
    pub fn only_at_revision(mut self, revision: u64) -> Self {
        self.revision = Some(revision);
        self
    }

    /// Decides only if the other subject is at this revision: see
    /// [`Execute::only_at_revision`](crate::Execute::only_at_revision).
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

    /// Adds a CloudEvents extension attribute to the new events of both: see
    /// [`Execute::extension`](crate::Execute::extension).
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
        let command = command(db, &repository.source, self.command.as_deref())?;
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
