//! What to do after DynamoDB has refused an append, according to the reasons it gives.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::CancellationReason;

use crate::event::Event;
use crate::store::append::transaction::{Action, Transaction};
use crate::store::error::{Conflict, Error, IdReuse, StoredEvent};
use crate::store::layout::{Base, Plan, SdkItem, TableLayout};
use crate::store::read::decode_repetition;

/// What to do after an append was refused.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The append was stored before. These are its events.
    AlreadyStored(Vec<Event>),
    /// The ids of all its events are guarded, so it was stored before. These are the keys of the
    /// stored events.
    AlreadyGuarded(Vec<StoredKey>),
    /// The command was done before. This is its guard.
    CommandDone(SdkItem),
    /// A precondition doesn't hold.
    Conflict(Conflict),
    /// The append is impossible.
    Failed(Error),
    /// Other writers have appended to these subjects, and no precondition forbids it: build the
    /// transaction again. The histories end here or later.
    Rebase(BTreeMap<String, Base>),
    /// Another transaction was writing the same items: send the same again.
    Contended(String),
    /// DynamoDB throttled the transaction: send the same again.
    Busy(String),
    /// Sending it again won't help.
    Refused(String),
}

/// The key of a stored event, according to its id guard.
#[derive(Debug, PartialEq)]
pub(crate) struct StoredKey {
    pub(crate) index: usize,
    pub(crate) key: SdkItem,
}

/// An action whose condition has failed, and the row that was there, if any.
pub(crate) type Refused<'a> = (&'a Action, Option<&'a SdkItem>);

/// The reasons that call for another attempt.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html#API_TransactWriteItems_Errors>
pub(crate) const BUSY_REASONS: [&str; 4] = [
    TRANSACTION_CONFLICT,
    "ThrottlingError",
    "ProvisionedThroughputExceeded",
    "RequestLimitExceeded",
];

pub(crate) const TRANSACTION_CONFLICT: &str = "TransactionConflict";

pub(crate) const CONDITION_FAILED: &str = "ConditionalCheckFailed";

/// Decides what to do. DynamoDB gives one reason per action, in the same order.
pub(crate) fn classify(
    layout: TableLayout,
    transaction: &Transaction,
    plan: &Plan,
    reasons: &[CancellationReason],
) -> Outcome {
    let code = |reason: &CancellationReason| reason.code.clone().unwrap_or_default();
    let refused = reasons.iter().find(|reason| {
        let code = code(reason);
        !code.is_empty()
            && code != "None"
            && code != CONDITION_FAILED
            && !BUSY_REASONS.contains(&code.as_str())
    });
    if let Some(reason) = refused {
        let message = reason.message.as_deref().unwrap_or("no further explanation");
        return Outcome::Refused(format!("{}: {message}", code(reason)));
    }
    let with_reasons = || transaction.actions.iter().zip(reasons);
    let failed: Vec<Refused<'_>> = with_reasons()
        .filter(|(_, reason)| reason.code.as_deref() == Some(CONDITION_FAILED))
        .map(|(action, reason)| (action, reason.item.as_ref().filter(|item| !item.is_empty())))
        .collect();
    let busy = |of: fn(&Action) -> bool| {
        with_reasons()
            .filter(|(action, _)| of(action))
            .map(|(_, reason)| code(reason))
            .find(|code| BUSY_REASONS.contains(&code.as_str()))
            .map(|code| match code.as_str() {
                TRANSACTION_CONFLICT => Outcome::Contended(code),
                _ => Outcome::Busy(code),
            })
    };
    // Check for a repetition first: it is one even if its preconditions no longer hold. As long as
    // the key of an event or a guard is busy, the event may be stored there.
    command_done(&failed)
        .or_else(|| guarded(layout, transaction, &failed))
        .or_else(|| repeated(transaction, &failed))
        .or_else(|| {
            busy(|action| {
                matches!(
                    action,
                    Action::PutEvent { .. } | Action::GuardId { .. } | Action::GuardCommand
                )
            })
        })
        .or_else(|| reused_in_part(transaction, &failed))
        .or_else(|| layout.judge(transaction, plan, &failed))
        .or_else(|| busy(|_| true))
        .unwrap_or_else(|| {
            Outcome::Refused("the transaction was cancelled without a reason".to_owned())
        })
}

/// The command has a guard already.
fn command_done(failed: &[Refused<'_>]) -> Option<Outcome> {
    failed.iter().find_map(|(action, guard)| match action {
        Action::GuardCommand => Some(Outcome::CommandDone((*guard).cloned().unwrap_or_default())),
        _ => None,
    })
}

/// All ids of the append are guarded already: the append was stored before.
fn guarded(
    layout: TableLayout,
    transaction: &Transaction,
    failed: &[Refused<'_>],
) -> Option<Outcome> {
    let mut keys = Vec::new();
    for (action, guard) in failed {
        if let Action::GuardId { index } = action {
            let Some(key) = guard.and_then(|guard| layout.guarded_key(guard)) else {
                return Some(Outcome::Refused(
                    "an id guard doesn't contain the key of its event".to_owned(),
                ));
            };
            keys.push(StoredKey { index: *index, key });
        }
    }
    (!keys.is_empty() && keys.len() == transaction.append.events.len())
        .then_some(Outcome::AlreadyGuarded(keys))
}

/// A stored event at the key of the append's event with this index, which has the same id.
struct Found {
    index: usize,
    event: Event,
    /// What shows that it isn't a repetition, if anything does.
    difference: Option<&'static str>,
}

fn found(transaction: &Transaction, failed: &[Refused<'_>]) -> Vec<Found> {
    let found = |(action, row): &Refused<'_>| {
        let Action::PutEvent { index } = action else { return None };
        let given = transaction.append.events.get(*index)?;
        let (event, difference) = decode_repetition((*row)?.clone(), given).ok()?;
        (event.id == given.id).then_some(Found { index: *index, event, difference })
    };
    failed.iter().filter_map(found).collect()
}

/// All events of the append are stored at their keys: the append was stored before.
fn repeated(transaction: &Transaction, failed: &[Refused<'_>]) -> Option<Outcome> {
    let found = found(transaction, failed);
    for Found { index, event, difference } in &found {
        if let Some(attribute) = difference {
            let reason = IdReuse::OtherContent { attribute };
            return Some(reused(transaction, *index, reason, Some(event.clone())));
        }
    }
    (!found.is_empty() && found.len() == transaction.append.events.len())
        .then(|| Outcome::AlreadyStored(found.into_iter().map(|found| found.event).collect()))
}

/// Some events or ids of the append are stored, and others certainly aren't.
fn reused_in_part(transaction: &Transaction, failed: &[Refused<'_>]) -> Option<Outcome> {
    let guard = failed.iter().find_map(|(action, _)| match action {
        Action::GuardId { index } => Some((*index, None)),
        _ => None,
    });
    let event = || {
        let found = found(transaction, failed).into_iter().next();
        found.map(|found| (found.index, Some(found.event)))
    };
    let (index, stored) = guard.or_else(event)?;
    Some(reused(transaction, index, IdReuse::PartOfAppend, stored))
}

fn reused(
    transaction: &Transaction,
    index: usize,
    reason: IdReuse,
    stored: Option<Event>,
) -> Outcome {
    let id = transaction.append.events.get(index).map(|event| event.id.clone()).unwrap_or_default();
    let stored = stored.map(StoredEvent::new);
    Outcome::Failed(Error::IdReused { index, id, reason, stored })
}
