//! What a refusal means for a table by revision. Each one is final: a revision that others have taken
//! can't be taken by a late attempt of ours.

use std::collections::BTreeMap;

use super::plan::{self, End};
use crate::schema::attribute;
use crate::store::append::refusal::{Outcome, Refused};
use crate::store::append::transaction::{Action, Transaction};
use crate::store::error::Conflict;
use crate::store::layout::{Base, Plan, SdkItem};
use crate::store::precondition::{ExpectedState, SubjectState};
use crate::store::table::Table;

/// What the failed conditions mean, apart from repetitions.
pub(crate) fn judge(
    transaction: &Transaction,
    plan: &Plan,
    failed: &[Refused<'_>],
) -> Option<Outcome> {
    let mut overtaken = BTreeMap::new();
    for (action, row) in failed {
        let (subject, taken, is_fixed) = match action {
            Action::PutEvent { index } => {
                let event = transaction.append.events.get(*index)?;
                let revision = event.revision.unwrap_or_default();
                (&event.subject, revision, plan.fixed.contains(&event.subject))
            }
            Action::CheckAbsent { subject, revision } => (subject, *revision, true),
            Action::GuardId { .. } | Action::GuardCommand | Action::Head(_) => continue,
        };
        if is_fixed {
            let actual = state_of(taken, *row);
            return Some(Outcome::Conflict(conflict(transaction, plan, subject, actual)));
        }
        overtaken.entry(subject.clone()).or_insert(Base { revision: taken, last_time: None });
    }
    (!overtaken.is_empty()).then_some(Outcome::Rebase(overtaken))
}

/// The subject has at least this row.
fn state_of(revision: u64, row: Option<&SdkItem>) -> SubjectState {
    let id = row.and_then(|row| row.get(attribute::ID)?.as_s().ok().cloned());
    SubjectState::Populated { revision, last_event_id: id.unwrap_or_default() }
}

/// The precondition that doesn't hold. Of an append that is being settled without one, it is the
/// revision on which it was sent.
fn conflict(
    transaction: &Transaction,
    plan: &Plan,
    subject: &str,
    actual: SubjectState,
) -> Conflict {
    let unmet = transaction.append.preconditions.iter().find(|precondition| {
        precondition.subject == subject && !precondition.expected.is_met_by(&actual)
    });
    let sent_on = || {
        let base = plan.bases.get(subject).map(|base| base.revision);
        ExpectedState::Revision(base.or(plan.checks.get(subject).copied()).unwrap_or_default())
    };
    let expected = unmet.map_or_else(sent_on, |precondition| precondition.expected.clone());
    Conflict { subject: subject.to_owned(), expected, actual }
}

/// Reads exactly where the subject stands. If that fails, the conflict says the revision that it has
/// reached at least.
pub(crate) async fn examine(table: &Table, conflict: Conflict) -> Conflict {
    match plan::end(table, &conflict.subject).await {
        Ok(End { revision, last_id }) if revision > conflict.actual.revision() => {
            let actual = SubjectState::Populated { revision, last_event_id: last_id };
            Conflict { actual, ..conflict }
        }
        _ => conflict,
    }
}
