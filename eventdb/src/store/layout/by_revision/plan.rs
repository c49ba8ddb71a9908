//! Finds out what an append builds on.

use std::collections::HashSet;

use super::{guard, guarded_key, key, key_of};
use crate::event::Event;
use crate::schema::attribute;
use crate::store::append::transaction::{Append, Sent};
use crate::store::append::{guarded_events, refusal::StoredKey};
use crate::store::concurrently::concurrently;
use crate::store::error::{Conflict, Error};
use crate::store::layout::{Base, Beginning, Plan, SdkItem};
use crate::store::precondition::{ExpectedState, Precondition, SubjectState};
use crate::store::read::query::Query;
use crate::store::read::{decode_repetition, revision_of_item};
use crate::store::table::Table;

/// Where a subject's history ends: its highest sort key, whether or not that row can be read as an
/// event.
#[derive(Debug, Default)]
pub(super) struct End {
    pub(super) revision: u64,
    pub(super) last_id: String,
}

impl End {
    fn state(self) -> SubjectState {
        match self.revision {
            0 => SubjectState::Pristine,
            revision => SubjectState::Populated { revision, last_event_id: self.last_id },
        }
    }
}

/// What was found out about one subject.
enum Found {
    /// A written subject ends here.
    Base {
        subject: String,
        revision: u64,
        is_fixed: bool,
    },
    /// Nothing may have been stored after this revision of another subject.
    Check {
        subject: String,
        revision: u64,
    },
    /// What was asked of another subject can't change any more.
    Settled,
    Conflict(Conflict),
}

/// Whether preconditions and stated revisions fix where every event is stored. Otherwise the same call
/// made again would store its complete events again.
pub(crate) fn slots_are_fixed(append: &Append) -> bool {
    let is_fixed = |expected: &Vec<&ExpectedState>| {
        expected.iter().any(|expected| expected.stated_revision().is_some())
    };
    append.subjects().values().all(is_fixed)
}

/// Finds out where the written subjects end and which checks the append needs.
///
/// No conflict is reported before it is certain that the append isn't a repetition.
pub(crate) async fn begin(table: &Table, append: &Append) -> Result<Beginning, Error> {
    let mut plan = Plan::default();
    let mut subjects = Vec::new();
    let sent = append.settled_on.as_ref();
    for (subject, expected) in append.subjects() {
        match sent.and_then(|sent| sent.bases.get(subject)) {
            Some(base) => settle_on(&mut plan, subject, *base),
            None => subjects.push((subject.to_owned(), owned(expected), true)),
        }
    }
    for (subject, expected) in append.checked_subjects() {
        match sent {
            Some(sent) if sent.resolved.contains(subject) => {
                if let Some(revision) = sent.checks.get(subject) {
                    plan.checks.insert(subject.to_owned(), *revision);
                }
            }
            _ => subjects.push((subject.to_owned(), owned(expected), false)),
        }
    }
    let known: HashSet<(String, u64)> =
        append.preconditions.iter().filter_map(|precondition| known(table, precondition)).collect();
    let known = &known;
    let found = concurrently(subjects, |(subject, expected, is_written)| {
        find(table, subject, expected, is_written, known)
    })
    .await?;
    let mut conflict = None;
    for found in found {
        match found {
            Found::Base { subject, revision, is_fixed } => {
                if is_fixed {
                    plan.fixed.insert(subject.clone());
                }
                plan.bases.insert(subject, Base { revision, last_time: None });
            }
            Found::Check { subject, revision } => {
                plan.checks.insert(subject, revision);
            }
            Found::Settled => {}
            Found::Conflict(found) => conflict = conflict.or(Some(found)),
        }
    }
    let Some(conflict) = conflict else { return Ok(Beginning::On(plan)) };
    match stored_before(table, append, &plan).await? {
        Some(events) => Ok(Beginning::AlreadyStored(events)),
        None => Err(Error::Conflict(Box::new(conflict))),
    }
}

fn settle_on(plan: &mut Plan, subject: &str, revision: u64) {
    plan.bases.insert(subject.to_owned(), Base { revision, last_time: None });
    plan.fixed.insert(subject.to_owned());
}

fn owned(expected: Vec<&ExpectedState>) -> Vec<ExpectedState> {
    expected.into_iter().cloned().collect()
}

/// A revision that this store has read from this table. It exists permanently.
fn known(table: &Table, precondition: &Precondition) -> Option<(String, u64)> {
    let known = precondition.known_revision(table)?;
    Some((precondition.subject.clone(), known))
}

/// Finds out what can be known of one subject with the fewest reads. Only what a read has shown can
/// contradict a precondition.
async fn find(
    table: &Table,
    subject: String,
    expected: Vec<ExpectedState>,
    is_written: bool,
    known: &HashSet<(String, u64)>,
) -> Result<Found, Error> {
    let stated = stated_alone(&expected);
    let only_populated = expected.iter().all(|expected| *expected == ExpectedState::Populated);
    // That a revision exists stays true, and so does that a subject has events.
    let exists = match stated {
        Some(0) => true,
        Some(revision) => {
            known.contains(&(subject.clone(), revision))
                || table.get(key(&subject, revision)).await?.is_some()
        }
        None => only_populated && !is_written && table.get(key(&subject, 1)).await?.is_some(),
    };
    let mut revision = stated.unwrap_or_default();
    if !exists {
        let state = end(table, &subject).await?.state();
        // The subject may have reached the stated revision since that was looked for.
        let is_reached = stated.is_some_and(|stated| stated <= state.revision());
        let unmet = expected.iter().find(|expected| !expected.is_met_by(&state));
        if let Some(expected) = unmet.filter(|_| !is_reached).cloned() {
            return Ok(Found::Conflict(Conflict { subject, expected, actual: state }));
        }
        revision = stated.unwrap_or(state.revision());
    }
    Ok(match (is_written, only_populated) {
        (true, _) => Found::Base { subject, revision, is_fixed: !only_populated },
        (false, false) => Found::Check { subject, revision },
        (false, true) => Found::Settled,
    })
}

/// The revision that preconditions state, if they agree and nothing else has to be read.
fn stated_alone(expected: &[ExpectedState]) -> Option<u64> {
    let revision = expected.iter().find_map(ExpectedState::stated_revision)?;
    let agrees = |expected: &ExpectedState| match expected {
        ExpectedState::EventId(_) => false,
        ExpectedState::Populated => revision > 0,
        other => other.stated_revision() == Some(revision),
    };
    expected.iter().all(agrees).then_some(revision)
}

/// Where a subject ends, strongly consistent.
pub(super) async fn end(table: &Table, subject: &str) -> Result<End, Error> {
    let mut query = Query::of_subject_from(subject, 1).limited_to(Some(1));
    query.backwards = true;
    loop {
        let page = table.query(&query).await?;
        if let Some(row) = page.items.first() {
            let id = row.get(attribute::ID).and_then(|id| id.as_s().ok().cloned());
            let revision = revision_of_item(row).ok_or_else(|| {
                table.refused(
                    format!("the last row of the subject {subject:?} has no whole number as its revision")
                        .into(),
                )
            })?;
            return Ok(End { revision, last_id: id.unwrap_or_default() });
        }
        match page.next {
            Some(next) => query = query.starting_after(next),
            None => return Ok(End::default()),
        }
    }
}

/// Where the history of a subject ends.
pub(crate) async fn base(table: &Table, subject: &str) -> Result<Base, Error> {
    Ok(Base { revision: end(table, subject).await?.revision, last_time: None })
}

/// The events of an append that was stored before, found by their guards or at the revisions that
/// they must have.
async fn stored_before(
    table: &Table,
    append: &Append,
    plan: &Plan,
) -> Result<Option<Vec<Event>>, Error> {
    if append.events.is_empty() {
        return Ok(None);
    }
    if let Some(command) = &append.command {
        return command.find(table).await;
    }
    if append.ids_are_guarded {
        let guards = append.events.iter().map(|event| key_of(guard(event))).collect();
        let guards = rows(table, guards).await?;
        let keys: Option<Vec<StoredKey>> = guards
            .iter()
            .enumerate()
            .map(|(index, guard)| Some(StoredKey { index, key: guarded_key(guard.as_ref()?)? }))
            .collect();
        return match keys {
            Some(keys) => guarded_events(table, &append.events, keys).await.map(Some),
            None => Ok(None),
        };
    }
    // New ids were generated for this call, so nobody has stored them before.
    let is_placed = append.events.iter().all(|event| plan.fixed.contains(&event.subject));
    if !append.times_are_given || !is_placed {
        return Ok(None);
    }
    let placed = super::build(append.clone(), plan, 0).append.events;
    let keys = placed.iter().map(|event| key(&event.subject, event.revision.unwrap_or_default()));
    let rows = rows(table, keys.collect()).await?;
    let stored = rows.into_iter().zip(&append.events).map(|(row, given)| {
        let (stored, difference) = decode_repetition(row?, given).ok()?;
        (stored.id == given.id && difference.is_none()).then_some(stored)
    });
    Ok(stored.collect())
}

/// Rows by their keys, strongly consistent.
async fn rows(table: &Table, keys: Vec<SdkItem>) -> Result<Vec<Option<SdkItem>>, Error> {
    concurrently(keys, |key| table.get(key)).await
}

/// What an unanswered append was sent on.
pub(crate) fn sent_on(append: &Append, plan: &Plan) -> Option<Sent> {
    // Guards recognise it wherever it is stored.
    (!append.ids_are_guarded && append.command.is_none()).then(|| Sent {
        bases: plan.bases.iter().map(|(subject, base)| (subject.clone(), base.revision)).collect(),
        checks: plan.checks.clone(),
        resolved: append.preconditions.iter().map(|of| of.subject.clone()).collect(),
    })
}
