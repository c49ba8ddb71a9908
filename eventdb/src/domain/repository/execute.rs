//! Decisions: load the aggregate, decide, append at the loaded revision, and repeat after a conflict.

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

/// The result of a decision.
#[derive(Debug)]
#[non_exhaustive]
pub struct Executed<A> {
    /// The aggregate after the decision, including its events.
    pub aggregate: Loaded<A>,
    /// The stored events; empty if the decision returned none.
    pub events: Vec<Event>,
    /// How often the decision was made: the number of conflicts plus one.
    pub attempts: u32,
    /// The snapshot that is being written, if one was due.
    pub snapshot: Option<SnapshotWrite>,
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
    /// A command that is sent twice is decided twice. So a decision should return no events for a
    /// repeated command, as in the example of [`Aggregate`].
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

/// The new events of one aggregate.
struct Decision<A: Aggregate> {
    /// The events as every reader will see them. They are folded into the state.
    events: Vec<A::Event>,
    candidates: Vec<EventCandidate>,
}

impl<A> Loaded<A> {
    fn precondition(&self) -> Precondition {
        match &self.known {
            Some(known) if known.revision() == self.revision => known.clone().into(),
            _ => Precondition::subject_is_at_revision(&self.subject, self.revision),
        }
    }
}

async fn append(
    db: &EventDb,
    candidates: Vec<EventCandidate>,
    preconditions: impl IntoIterator<Item = Precondition>,
) -> Result<Vec<Event>, Error> {
    // Without events to write, nothing has to be checked.
    if candidates.is_empty() {
        return Ok(Vec::new());
    }
    preconditions
        .into_iter()
        .fold(db.add_new_events(candidates), |request, precondition| request.only_if(precondition))
        .await
}

/// Waits after a conflict and returns it. It fails if no time is left, or after another error. The
/// caller reads the new events after the pause, so that the next decision has the current state.
async fn pause_after<E>(
    attempts: &mut Attempts,
    error: Error,
) -> Result<Box<Conflict>, ExecuteError<E>> {
    let conflict = match error {
        Error::Conflict(conflict) => conflict,
        error => return Err(ExecuteError::Store(error)),
    };
    // A revision never decreases, so the head doesn't match the events.
    if is_behind(&conflict) {
        return Err(ExecuteError::Store(Error::Conflict(conflict)));
    }
    let reason = conflict.to_string().into();
    match attempts.pause_after_conflict(reason, Some(&conflict.subject)).await {
        Ok(()) => Ok(conflict),
        Err(_) => Err(ExecuteError::Contended { attempts: attempts.count(), conflict }),
    }
}

/// Whether the conflict has an earlier revision than the loaded one.
fn is_behind(conflict: &Conflict) -> bool {
    matches!(conflict.expected, ExpectedState::Revision(expected)
        if conflict.actual.revision() < expected)
}
