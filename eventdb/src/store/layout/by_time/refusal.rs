//! What a refusal means for a table with heads.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::append::HeadAction;
use super::head::{self, Head};
use crate::store::append::refusal::{Outcome, Refused};
use crate::store::append::transaction::{Action, Transaction};
use crate::store::error::{Conflict, Error};
use crate::store::layout::{Base, Verdict};
use crate::store::precondition::{ExpectedState, SubjectState};
use crate::store::table::Table;

/// What the failed conditions mean, apart from repetitions.
pub(crate) fn judge(transaction: &Transaction, failed: &[Refused<'_>]) -> Option<Outcome> {
    taken(transaction, failed)
        .or_else(|| conflict(transaction, failed))
        .or_else(|| overtaken(failed))
}

/// Another event is stored at the key of an event.
fn taken(transaction: &Transaction, failed: &[Refused<'_>]) -> Option<Outcome> {
    for (action, _) in failed {
        let Action::PutEvent { index } = action else { continue };
        let given = transaction.append.events.get(*index)?;
        if transaction.append.times_are_given {
            return Some(not_newer(transaction, *index, given.time));
        }
        // If the head has moved as well, its condition decides.
        if !has_moved(failed, &given.subject) {
            return Some(Outcome::Rebase(BTreeMap::from([(
                given.subject.clone(),
                Base {
                    revision: given.revision.unwrap_or(1).saturating_sub(1),
                    last_time: Some(given.time.timestamp_millis()),
                },
            )])));
        }
    }
    None
}

/// Whether the head of a subject says where its history ends now. That can be many events later,
/// because the times of a burst run ahead of the clock.
fn has_moved(failed: &[Refused<'_>], written: &str) -> bool {
    failed.iter().any(|(action, head)| {
        matches!(action, Action::Head(HeadAction::Move { subject, .. }) if subject == written)
            && head.is_some()
    })
}

/// A precondition that the caller gave doesn't hold.
fn conflict(transaction: &Transaction, failed: &[Refused<'_>]) -> Option<Outcome> {
    for (action, head) in failed {
        let (subject, expected) = match action {
            Action::Head(
                HeadAction::Move { subject, expected, .. }
                | HeadAction::Check { subject, expected },
            ) => (subject, expected),
            _ => continue,
        };
        let actual = head.and_then(Head::read);
        let state = actual.as_ref().map_or(SubjectState::Pristine, Head::state);
        if let Some(expected) = expected.iter().find(|expected| !expected.is_met_by(&state)) {
            return Some(Outcome::Conflict(Conflict {
                subject: subject.clone(),
                expected: expected.clone(),
                actual: state,
            }));
        }
        // The expected revision matches, so the condition on the times must have failed.
        if let (Action::Head(HeadAction::Move { first_time, .. }), Some(actual), true) =
            (action, &actual, transaction.append.times_are_given)
            && actual.last_time >= *first_time
        {
            let last_time = head::time(actual.last_time);
            let index = transaction
                .append
                .events
                .iter()
                .position(|event| event.subject == *subject && event.time <= last_time)?;
            return Some(not_newer(transaction, index, last_time));
        }
    }
    None
}

/// Heads have moved, and no precondition forbids it.
fn overtaken(failed: &[Refused<'_>]) -> Option<Outcome> {
    let bases: BTreeMap<_, _> = failed
        .iter()
        .filter_map(|(action, head)| match action {
            Action::Head(HeadAction::Move { subject, .. }) => {
                let base = head.and_then(Head::read).map_or(Base::default(), |head| Base {
                    revision: head.revision,
                    last_time: Some(head.last_time),
                });
                Some((subject.clone(), base))
            }
            _ => None,
        })
        .collect();
    (!bases.is_empty()).then_some(Outcome::Rebase(bases))
}

fn not_newer(transaction: &Transaction, index: usize, last_time: DateTime<Utc>) -> Outcome {
    let subject =
        transaction.append.events.get(index).map(|event| event.subject.clone()).unwrap_or_default();
    Outcome::Failed(Error::NotNewer { index, subject, last_time })
}

/// A subject may have legacy events and no head yet, so that the condition failed only for the lack of
/// a head. Looks once, and only if it could change the outcome.
pub(crate) async fn examine(
    table: &Table,
    conflict: Conflict,
    looked_for_legacy: &mut BTreeSet<String>,
) -> Result<Verdict, Error> {
    let may_be_legacy = conflict.actual == SubjectState::Pristine
        && conflict.expected != ExpectedState::Pristine
        && looked_for_legacy.insert(conflict.subject.clone());
    if may_be_legacy && table.adopt_legacy_events(&conflict.subject).await?.is_some() {
        return Ok(Verdict::Again("the subject had legacy events"));
    }
    Ok(Verdict::Conflict(conflict))
}
