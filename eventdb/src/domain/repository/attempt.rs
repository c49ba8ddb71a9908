//! What all decisions have in common: their new events, the append with its conditions, what follows
//! a conflict, and the answer to a command that was done before.

use uuid::Uuid;

use super::error::{ExecuteError, LoadError};
use super::load::{Loaded, Place};
use super::{Executed, Repository};
use crate::domain::aggregate::Aggregate;
use crate::domain::domain_event::UnwritableEvent;
use crate::event::Event;
use crate::event::candidate::EventCandidate;
use crate::store::EventDb;
use crate::store::append::Appended;
use crate::store::command::Command;
use crate::store::error::{BoxError, Conflict, Error};
use crate::store::precondition::{ExpectedState, Precondition};
use crate::store::retry::Attempts;

impl<A: Aggregate> Repository<A> {
    /// The result for a command that was done before. The state includes at least its events.
    pub(super) async fn repeated<E>(
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
    pub(super) async fn catch_up(
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
    pub(super) fn check_revision<E>(&self, expected: Option<u64>) -> Result<(), ExecuteError<E>> {
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
    db: &EventDb,
    source: &str,
    id: Option<&str>,
) -> Result<Option<Command>, ExecuteError<E>> {
    let layout = db.table().layout();
    id.map(|id| Command::new(source, id, layout)).transpose().map_err(ExecuteError::Store)
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
