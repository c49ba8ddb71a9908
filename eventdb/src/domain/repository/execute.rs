//! Decisions: load, decide, append at what was loaded; on a conflict once more.

use futures_util::future::try_join;

use super::error::{ExecuteError, LoadError};
use super::load::{Loaded, Place};
use super::{Repository, SnapshotWrite};
use crate::domain::aggregate::Aggregate;
use crate::domain::domain_event::UnwritableEvent;
use crate::event::Event;
use crate::event::candidate::EventCandidate;
use crate::store::EventDb;
use crate::store::error::{Conflict, Error};
use crate::store::precondition::{ExpectedState, Precondition};
use crate::store::retry::Attempts;

/// What a decision came to.
///
/// ```no_run
/// # fn example<A>(executed: &eventdb::Executed<A>) {
/// for event in &executed.events {
///     println!("{} is revision {:?} of {}", event.ty, event.revision, event.subject);
/// }
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Executed<A> {
    /// The aggregate after the decision: its events are folded in already.
    pub aggregate: Loaded<A>,
    /// The events that were stored; none if the decision was that nothing is to be done.
    pub events: Vec<Event>,
    /// How often it was decided: once more than there were conflicts.
    pub attempts: u32,
    /// The snapshot that is being written, if it was time for one.
    pub snapshot: Option<SnapshotWrite>,
}

impl<A: Aggregate> Repository<A> {
    /// Loads the aggregate of a subject, lets `decide` make events of its state, and appends them
    /// on the condition that the subject has not moved meanwhile.
    ///
    /// When it has, only the new events are read and `decide` is called again, with random pauses,
    /// until the [time limit](crate::TimeLimits) of an operation has passed since loading. So it may be called several times and should
    /// do nothing but decide. What it returns as an error ends the matter as
    /// [`ExecuteError::Domain`]; no events are a decision too, and nothing is written.
    ///
    /// A command that is sent twice is decided twice: a decision on the state should make nothing
    /// of a repetition, as in the example of [`Aggregate`].
    ///
    /// # Cost
    /// That of [`load`](Self::load), and an append at a stated revision; with each conflict a read
    /// of the events since, the last known one included, and an append.
    ///
    /// # Errors
    /// [`ExecuteError`]: the domain's, the contention, or why loading or writing failed.
    ///
    /// ```no_run
    /// # use eventdb::{Aggregate, ExecuteError, Repository};
    /// # trait Borrow: Aggregate { fn borrow(&self, user: &str) -> Result<Vec<Self::Event>, String>; }
    /// # async fn example<Book: Borrow>(books: Repository<Book>) -> Result<(), ExecuteError<String>> {
    /// let executed = books.execute("book:123", |book| book.borrow("user:456")).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn execute<D, I, E>(
        &self,
        subject: impl Into<String>,
        mut decide: D,
    ) -> Result<Executed<A>, ExecuteError<E>>
    where
        D: FnMut(&A) -> Result<I, E>,
        I: IntoIterator<Item = A::Event>,
    {
        let mut loaded = self.load(subject).await?;
        let mut attempts = self.db.table().attempts("execute").about(Some(&loaded.subject));
        loop {
            let events = decide(&loaded.state).map_err(ExecuteError::Domain)?;
            let decision = self.decision(&loaded.subject, events)?;
            let preconditions = [loaded.precondition()];
            match append(&self.db, decision.candidates.clone(), preconditions).await {
                Ok(stored) => return Ok(self.executed(loaded, decision, stored, attempts.count())),
                Err(error) => {
                    let conflict = pause_after(&mut attempts, error).await?;
                    loaded = self.catch_up(loaded, &conflict).await?;
                }
            }
        }
    }

    /// Decides on two aggregates at once: `decide` returns the events of both, and they are stored
    /// only if neither subject has moved meanwhile, all or none. Otherwise as
    /// [`execute`](Self::execute).
    ///
    /// The other aggregate may be of the same kind or another, but of another subject. Its state
    /// counts even where it gets no events. The two are not read at the same instant: a decision to
    /// reject is made on states that each were true, a decision to write on states that are.
    ///
    /// # Cost
    /// Loads both; an aggregate that gets no events adds 2 write units to the append.
    ///
    /// # Errors
    /// As [`execute`](Self::execute), [`ExecuteError::DifferentTables`] and
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
    pub async fn execute_with<B, D, I, J, E>(
        &self,
        subject: impl Into<String>,
        others: &Repository<B>,
        other_subject: impl Into<String>,
        mut decide: D,
    ) -> Result<(Executed<A>, Executed<B>), ExecuteError<E>>
    where
        B: Aggregate,
        D: FnMut(&A, &B) -> Result<(I, J), E>,
        I: IntoIterator<Item = A::Event>,
        J: IntoIterator<Item = B::Event>,
    {
        if self.db.table().name() != others.db.table().name() {
            let tables = [self.db.table().name(), others.db.table().name()].map(str::to_owned);
            let [one, other] = tables;
            return Err(ExecuteError::DifferentTables(one, other));
        }
        let (subject, other_subject) = (subject.into(), other_subject.into());
        if subject == other_subject {
            return Err(ExecuteError::SameSubject(subject));
        }
        let (mut one, mut other) = try_join(self.load(subject), others.load(other_subject)).await?;
        let mut attempts = self.db.table().attempts("execute").about(Some(&one.subject));
        loop {
            let (events, other_events) =
                decide(&one.state, &other.state).map_err(ExecuteError::Domain)?;
            let decision = self.decision(&one.subject, events)?;
            let other_decision = others.decision(&other.subject, other_events)?;
            let preconditions = [one.precondition(), other.precondition()];
            let mut candidates = decision.candidates.clone();
            candidates.extend_from_slice(&other_decision.candidates);
            match append(&self.db, candidates, preconditions).await {
                Ok(mut stored) => {
                    let other_stored = stored.split_off(decision.candidates.len());
                    return Ok((
                        self.executed(one, decision, stored, attempts.count()),
                        others.executed(other, other_decision, other_stored, attempts.count()),
                    ));
                }
                Err(error) => {
                    let conflict = pause_after(&mut attempts, error).await?;
                    (one, other) =
                        try_join(self.catch_up(one, &conflict), others.catch_up(other, &conflict))
                            .await?;
                }
            }
        }
    }

    /// Brings a state up to where a conflict says that its subject is.
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

    fn decision(
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

    fn executed(
        &self,
        mut aggregate: Loaded<A>,
        decision: Decision<A>,
        events: Vec<Event>,
        attempts: u32,
    ) -> Executed<A> {
        for event in decision.events {
            aggregate.state.apply(event);
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
        Executed { aggregate, events, attempts, snapshot }
    }
}

/// What was decided for one aggregate.
struct Decision<A: Aggregate> {
    /// As every reader will have them, which is what the state is folded from.
    events: Vec<A::Event>,
    candidates: Vec<EventCandidate>,
}

impl<A> Loaded<A> {
    fn precondition(&self) -> Precondition {
        Precondition::subject_is_at_revision(&self.subject, self.revision)
    }
}

async fn append(
    db: &EventDb,
    candidates: Vec<EventCandidate>,
    preconditions: impl IntoIterator<Item = Precondition>,
) -> Result<Vec<Event>, Error> {
    // Nothing to write is nothing to check either.
    if candidates.is_empty() {
        return Ok(Vec::new());
    }
    preconditions
        .into_iter()
        .fold(db.add_new_events(candidates), |request, precondition| request.only_if(precondition))
        .await
}

/// Waits after a conflict and returns it, unless there is no time left; other errors end the matter.
/// What is there is read after the pause, so that the next decision is made on what is.
async fn pause_after<E>(
    attempts: &mut Attempts,
    error: Error,
) -> Result<Box<Conflict>, ExecuteError<E>> {
    let conflict = match error {
        Error::Conflict(conflict) => conflict,
        error => return Err(ExecuteError::Store(error)),
    };
    // A subject never goes back, so its head isn't in accord with its events.
    if is_behind(&conflict) {
        return Err(ExecuteError::Store(Error::Conflict(conflict)));
    }
    let reason = conflict.to_string().into();
    match attempts.pause_after_conflict(reason, Some(&conflict.subject)).await {
        Ok(()) => Ok(conflict),
        Err(_) => Err(ExecuteError::Contended { attempts: attempts.count(), conflict }),
    }
}

/// Whether a subject is said to be at an earlier revision than the one that was loaded.
fn is_behind(conflict: &Conflict) -> bool {
    matches!(conflict.expected, ExpectedState::Revision(expected)
        if conflict.actual.revision() < expected)
}
