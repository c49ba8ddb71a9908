//! Tables by revision: one row per event under its subject and revision, and no head items.
//!
//! Events are never removed, so "revision n exists" and "the subject has events" never stop being true
//! once they were read from the table. Only "revision n + 1 doesn't exist yet" can change, and that is
//! what every append checks: docs/decisions/0054.

pub(crate) mod pages;
mod plan;
mod refusal;

use std::collections::HashMap;

use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::types::{
    ConditionCheck, ProjectionType, ReturnValuesOnConditionCheckFailure, ScalarAttributeType,
    TransactWriteItem,
};
use chrono::DateTime;
use uuid::Uuid;

pub(crate) use plan::{base, begin, sent_on, slots_are_fixed};
pub(crate) use refusal::{examine, judge};

use crate::codec::item;
use crate::event::Event;
use crate::schema::{self, attribute, index};
use crate::store::append::transaction::{Action, Append, Transaction, size};
use crate::store::create_table::{IndexParts, TableParts};
use crate::store::layout::{Plan, SdkItem};
use crate::store::read::query::{number, string};

pub(crate) fn encode(event: &Event) -> SdkItem {
    item::encode_by_revision(event).into()
}

/// The key of an event.
pub(crate) fn key(subject: &str, revision: u64) -> SdkItem {
    HashMap::from([
        (attribute::SUBJECT.to_owned(), string(subject)),
        (attribute::REVISION.to_owned(), number(revision)),
    ])
}

pub(crate) fn key_of(mut row: SdkItem) -> SdkItem {
    let keys = [attribute::SUBJECT, attribute::REVISION];
    keys.into_iter().filter_map(|name| row.remove_entry(name)).collect()
}

/// It holds the event's key, and no index attributes, so it isn't in any index.
pub(crate) fn guard(event: &Event) -> SdkItem {
    let partition = item::id_guard_partition_key(&event.source, &event.id);
    let mut guard = key(&partition, schema::ID_GUARD_REVISION);
    guard.insert(attribute::EVENT_SUBJECT.to_owned(), string(&*event.subject));
    guard.insert(attribute::EVENT_REVISION.to_owned(), number(event.revision.unwrap_or_default()));
    guard
}

pub(crate) fn guarded_key(guard: &SdkItem) -> Option<SdkItem> {
    let subject = guard.get(attribute::EVENT_SUBJECT)?.as_s().ok()?;
    let revision = guard.get(attribute::EVENT_REVISION)?.as_n().ok()?.parse().ok()?;
    Some(key(subject, revision))
}

/// All snapshots of a subject have one partition key, so they can be listed and removed together. The
/// sort key is a number made from the aggregate's name. The item also holds the name, so two names
/// with the same number only overwrite each other's cache.
pub(crate) fn snapshot_key(subject: &str, aggregate: &str) -> SdkItem {
    /// Any constant.
    const NAMESPACE: Uuid = Uuid::from_u128(0x0f6d_1c35_5d8e_4f53_a5a7_7f0d_3c0e_94b1);
    let hash = Uuid::new_v5(&NAMESPACE, aggregate.as_bytes());
    let (high, _) = hash.as_u64_pair();
    key(&format!("{}{subject}", schema::SNAPSHOT_PREFIX), high)
}

/// A key that no item has.
pub(crate) fn any_key() -> SdkItem {
    key(schema::ID_GUARD_PREFIX, 0)
}

pub(crate) fn table_parts(left_out: &[&str]) -> TableParts {
    use ScalarAttributeType::{N, S};
    let mut attributes =
        vec![(attribute::SUBJECT, S), (attribute::REVISION, N), (attribute::SUBJECT_PARTITION, S)];
    let mut global_indexes = vec![IndexParts {
        name: index::ALL_SUBJECTS,
        keys: &[attribute::SUBJECT_PARTITION, attribute::SUBJECT],
        projection: ProjectionType::KeysOnly,
        included: &[],
        may_be_missing: false,
    }];
    if !left_out.contains(&index::ALL_EVENTS_BY_TIME) {
        attributes.extend([(attribute::PK_ALL, S), (attribute::TIME, N)]);
        global_indexes.push(IndexParts {
            name: index::ALL_EVENTS_BY_TIME,
            keys: &[attribute::PK_ALL, attribute::TIME],
            projection: ProjectionType::Include,
            included: &[attribute::ID, attribute::TYPE],
            may_be_missing: false,
        });
    }
    if !left_out.contains(&index::ALL_EVENTS_BY_ID) {
        attributes.push((attribute::ID, S));
        global_indexes.push(IndexParts {
            name: index::ALL_EVENTS_BY_ID,
            keys: &[attribute::ID],
            projection: ProjectionType::KeysOnly,
            included: &[],
            may_be_missing: false,
        });
    }
    let keys = [attribute::SUBJECT, attribute::REVISION];
    TableParts { attributes, keys, has_stream: true, global_indexes, local_indexes: Vec::new() }
}

/// Bytes and actions of the checks. They aren't known before the plan, so every checked subject
/// counts.
pub(crate) fn extra_size(append: &Append) -> (usize, usize) {
    let checks = append.checked_subjects();
    (checks.keys().map(|subject| size(&key(subject, u64::MAX))).sum(), checks.len())
}

/// The append on a plan: the events after the bases of their subjects.
pub(crate) fn build(mut append: Append, plan: &Plan, now: i64) -> Transaction {
    let mut ends = HashMap::<String, (u64, i64)>::new();
    for event in &mut append.events {
        let (revision, time) = ends.entry(event.subject.clone()).or_insert_with(|| {
            let base = plan.bases.get(&event.subject).copied().unwrap_or_default();
            (base.revision, now)
        });
        // A caller may state any revision, even the largest. The append is then refused.
        *revision = revision.saturating_add(1);
        event.revision = Some(*revision);
        if !append.times_are_given {
            // A millisecond apart, so that reads by time keep the order of one append.
            event.time = DateTime::from_timestamp_millis(*time).unwrap_or(DateTime::UNIX_EPOCH);
            *time = time.saturating_add(1);
        }
    }
    let checks = plan.checks.iter().map(|(subject, revision)| Action::CheckAbsent {
        subject: subject.clone(),
        revision: revision.saturating_add(1),
    });
    let actions = append.puts().chain(checks).collect();
    Transaction { append, actions }
}

pub(crate) fn check_absent(
    table: &str,
    subject: &str,
    revision: u64,
) -> Result<TransactWriteItem, BuildError> {
    let check = ConditionCheck::builder()
        .table_name(table)
        .set_key(Some(key(subject, revision)))
        .condition_expression("attribute_not_exists(#subject)")
        .expression_attribute_names("#subject", attribute::SUBJECT)
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        .build()?;
    Ok(TransactWriteItem::builder().condition_check(check).build())
}
