//! What to do after DynamoDB has cancelled a transaction, according to the reasons it gives.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::CancellationReason;
use chrono::{DateTime, Utc};

use crate::event::Event;
use crate::schema::attribute;
use crate::store::append::transaction::{Action, Base, Transaction};
use crate::store::error::{Conflict, Error, IdReuse, StoredEvent};
use crate::store::head::{self, Head, SdkItem};
use crate::store::precondition::{ExpectedState, SubjectState};
use crate::store::read::fetch_events::decode;

/// What to do after a transaction was cancelled.
#[derive(Debug)]
pub(crate) enum CancellationOutcome {
    /// The append was stored before. These are its events.
    AlreadyStored(Vec<Event>),
    /// The ids of all its events are guarded, so it was stored before. These are the keys of the
    /// stored events.
    AlreadyGuarded(Vec<StoredKey>),
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
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct StoredKey {
    pub(crate) index: usize,
    pub(crate) subject: String,
    pub(crate) time_type: String,
}

/// The reasons that call for another attempt.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html#API_TransactWriteItems_Errors>
pub(crate) const BUSY_REASONS: [&str; 4] = [
    TRANSACTION_CONFLICT,
    "ThrottlingError",
    "ProvisionedThroughputExceeded",
    "RequestLimitExceeded",
];

const TRANSACTION_CONFLICT: &str = "TransactionConflict";

pub(crate) const CONDITION_FAILED: &str = "ConditionalCheckFailed";

/// Decides what to do. DynamoDB gives one reason per action, in the same order.
pub(crate) fn classify(
    transaction: &Transaction,
    reasons: &[CancellationReason],
) -> CancellationOutcome {
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
        return CancellationOutcome::Refused(format!("{}: {message}", code(reason)));
    }
    let with_reasons = || transaction.actions.iter().zip(reasons);
    let failed: Vec<(&Action, Option<&SdkItem>)> = with_reasons()
        .filter(|(_, reason)| reason.code.as_deref() == Some(CONDITION_FAILED))
        .map(|(action, reason)| (action, reason.item.as_ref().filter(|item| !item.is_empty())))
        .collect();
    let busy = |of: fn(&Action) -> bool| {
        with_reasons()
            .filter(|(action, _)| of(action))
            .map(|(_, reason)| code(reason))
            .find(|code| BUSY_REASONS.contains(&code.as_str()))
            .map(|code| match code.as_str() {
                TRANSACTION_CONFLICT => CancellationOutcome::Contended(code),
                _ => CancellationOutcome::Busy(code),
            })
    };
    // Check for a repetition first: it is one even if its preconditions no longer hold. As long as
    // the key of an event or a guard is busy, the event may be stored there.
    guarded(transaction, &failed)
        .or_else(|| repeated(transaction, &failed))
        .or_else(|| {
            busy(|action| matches!(action, Action::PutEvent { .. } | Action::GuardId { .. }))
        })
        .or_else(|| reused_in_part(transaction, &failed))
        .or_else(|| taken(transaction, &failed))
        .or_else(|| conflict(transaction, &failed))
        .or_else(|| overtaken(&failed))
        .or_else(|| busy(|_| true))
        .unwrap_or_else(|| {
            CancellationOutcome::Refused(
                "the transaction was cancelled without a reason".to_owned(),
            )
        })
}

/// All ids of the append are guarded already: the append was stored before.
fn guarded(
    transaction: &Transaction,
    failed: &[(&Action, Option<&SdkItem>)],
) -> Option<CancellationOutcome> {
    let mut keys = Vec::new();
    for (action, guard) in failed {
        if let Action::GuardId { index } = action {
            let text = |name: &str| guard.as_ref()?.get(name)?.as_s().ok().cloned();
            let key = text(attribute::EVENT_SUBJECT).zip(text(attribute::EVENT_TIME_TYPE));
            let Some((subject, time_type)) = key else {
                return Some(CancellationOutcome::Refused(
                    "an id guard doesn't contain the key of its event".to_owned(),
                ));
            };
            keys.push(StoredKey { index: *index, subject, time_type });
        }
    }
    (!keys.is_empty() && keys.len() == transaction.append.events.len())
        .then_some(CancellationOutcome::AlreadyGuarded(keys))
}

/// The stored events at the keys of the append's events that have the same ids, by their index.
fn found(transaction: &Transaction, failed: &[(&Action, Option<&SdkItem>)]) -> Vec<(usize, Event)> {
    let found = |(action, row): &(&Action, Option<&SdkItem>)| {
        let Action::PutEvent { index } = action else { return None };
        let given = transaction.append.events.get(*index)?;
        let event = decode((*row)?.clone()).ok()?;
        (event.id == given.id).then_some((*index, event))
    };
    failed.iter().filter_map(found).collect()
}

/// All events of the append are stored at their keys: the append was stored before.
fn repeated(
    transaction: &Transaction,
    failed: &[(&Action, Option<&SdkItem>)],
) -> Option<CancellationOutcome> {
    let found = found(transaction, failed);
    for (index, event) in &found {
        let given = transaction.append.events.get(*index)?;
        if let Some(attribute) = given.difference(event) {
            let reason = IdReuse::OtherContent { attribute };
            return Some(reused(transaction, *index, reason, Some(event.clone())));
        }
    }
    (!found.is_empty() && found.len() == transaction.append.events.len()).then(|| {
        CancellationOutcome::AlreadyStored(found.into_iter().map(|(_, event)| event).collect())
    })
}

/// Some events or ids of the append are stored, and others certainly aren't.
fn reused_in_part(
    transaction: &Transaction,
    failed: &[(&Action, Option<&SdkItem>)],
) -> Option<CancellationOutcome> {
    let guard = failed.iter().find_map(|(action, _)| match action {
        Action::GuardId { index } => Some((*index, None)),
        _ => None,
    });
    let event =
        || found(transaction, failed).into_iter().next().map(|(at, event)| (at, Some(event)));
    let (index, stored) = guard.or_else(event)?;
    Some(reused(transaction, index, IdReuse::PartOfAppend, stored))
}

/// Another event is stored at the key of an event.
fn taken(
    transaction: &Transaction,
    failed: &[(&Action, Option<&SdkItem>)],
) -> Option<CancellationOutcome> {
    for (action, _) in failed {
        let Action::PutEvent { index } = action else { continue };
        let given = transaction.append.events.get(*index)?;
        if transaction.append.times_are_given {
            return Some(not_newer(transaction, *index, given.time));
        }
        // If the head has moved as well, its condition decides.
        if !has_moved(failed, &given.subject) {
            return Some(CancellationOutcome::Rebase(BTreeMap::from([(
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
fn has_moved(failed: &[(&Action, Option<&SdkItem>)], written: &str) -> bool {
    failed.iter().any(|(action, head)| {
        matches!(action, Action::MoveHead { subject, .. } if subject == written) && head.is_some()
    })
}

/// A precondition that the caller gave doesn't hold.
fn conflict(
    transaction: &Transaction,
    failed: &[(&Action, Option<&SdkItem>)],
) -> Option<CancellationOutcome> {
    for (action, head) in failed {
        let (subject, expected) = match action {
            Action::MoveHead { subject, expected, .. } | Action::Check { subject, expected } => {
                (subject, expected)
            }
            _ => continue,
        };
        let actual = head.and_then(Head::read);
        let state = actual.as_ref().map_or(SubjectState::Pristine, Head::state);
        if let Some(expected) = expected.iter().find(|expected| !expected.is_met_by(&state)) {
            return Some(CancellationOutcome::Conflict(Conflict {
                subject: subject.clone(),
                expected: expected.clone(),
                actual: state,
            }));
        }
        // The expected revision matches, so the condition on the times must have failed.
        if let (Action::MoveHead { first_time, .. }, Some(actual), true) =
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
fn overtaken(failed: &[(&Action, Option<&SdkItem>)]) -> Option<CancellationOutcome> {
    let bases: BTreeMap<_, _> = failed
        .iter()
        .filter_map(|(action, head)| match action {
            Action::MoveHead { subject, .. } => {
                let base = head.and_then(Head::read).map_or(Base::default(), |head| Base {
                    revision: head.revision,
                    last_time: Some(head.last_time),
                });
                Some((subject.clone(), base))
            }
            _ => None,
        })
        .collect();
    (!bases.is_empty()).then_some(CancellationOutcome::Rebase(bases))
}

fn reused(
    transaction: &Transaction,
    index: usize,
    reason: IdReuse,
    stored: Option<Event>,
) -> CancellationOutcome {
    let id = transaction.append.events.get(index).map(|event| event.id.clone()).unwrap_or_default();
    let stored = stored.map(StoredEvent::new);
    CancellationOutcome::Failed(Error::IdReused { index, id, reason, stored })
}

fn not_newer(
    transaction: &Transaction,
    index: usize,
    last_time: DateTime<Utc>,
) -> CancellationOutcome {
    let subject =
        transaction.append.events.get(index).map(|event| event.subject.clone()).unwrap_or_default();
    CancellationOutcome::Failed(Error::NotNewer { index, subject, last_time })
}

/// Whether the condition may have failed only because a legacy subject doesn't have a head yet.
pub(crate) fn may_be_legacy(conflict: &Conflict) -> bool {
    conflict.actual == SubjectState::Pristine && conflict.expected != ExpectedState::Pristine
}
