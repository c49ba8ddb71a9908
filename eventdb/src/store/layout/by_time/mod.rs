//! Tables by time: the layout of the original library, with a head item per subject.

pub(crate) mod append;
pub(crate) mod head;
pub(crate) mod pages;
mod refusal;

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::types::{ProjectionType, ScalarAttributeType};

pub(crate) use append::{build, extra_size};
pub(crate) use refusal::{examine, judge};

use crate::codec::item;
use crate::event::Event;
use crate::schema::{self, attribute, index};
use crate::store::append::transaction::Append;
use crate::store::concurrently::concurrently;
use crate::store::create_table::{IndexParts, TableParts};
use crate::store::error::Error;
use crate::store::layout::by_time::head::Head;
use crate::store::layout::{Base, Beginning, Plan, SdkItem, TableLayout};
use crate::store::precondition::ExpectedState;
use crate::store::read::query::string;
use crate::store::table::Table;

pub(crate) fn encode(event: &Event) -> SdkItem {
    item::encode(event).into()
}

pub(crate) fn key_of(mut row: SdkItem) -> SdkItem {
    let keys = [attribute::SUBJECT, attribute::TIME_TYPE];
    keys.into_iter().filter_map(|name| row.remove_entry(name)).collect()
}

/// It holds the event's key, and no index attributes, so it isn't in any index.
pub(crate) fn guard(event: &Event) -> SdkItem {
    let partition_key = item::id_guard_partition_key(&event.source, &event.id);
    let text = |name: &str, value: String| (name.to_owned(), string(value));
    HashMap::from([
        text(attribute::SUBJECT, partition_key),
        text(attribute::TIME_TYPE, schema::ID_GUARD_SORT_KEY.to_owned()),
        text(attribute::EVENT_SUBJECT, event.subject.clone()),
        text(attribute::EVENT_TIME_TYPE, item::time_type(event.time, &event.ty)),
    ])
}

pub(crate) fn guarded_key(guard: &SdkItem) -> Option<SdkItem> {
    let key =
        |of: &str, name: &str| Some((name.to_owned(), string(guard.get(of)?.as_s().ok()?.clone())));
    Some(HashMap::from([
        key(attribute::EVENT_SUBJECT, attribute::SUBJECT)?,
        key(attribute::EVENT_TIME_TYPE, attribute::TIME_TYPE)?,
    ]))
}

/// A key that no item has.
pub(crate) fn any_key() -> SdkItem {
    head::key("")
}

pub(crate) fn table_parts() -> TableParts {
    use ScalarAttributeType::{N, S};
    TableParts {
        attributes: vec![
            (attribute::SUBJECT, S),
            (attribute::TIME_TYPE, S),
            (attribute::ID, S),
            (attribute::TYPE, S),
            (attribute::TIME, N),
            (attribute::PK_ALL, S),
            (attribute::SUBJECT_PARTITION, S),
            (attribute::LISTED_SUBJECT, S),
        ],
        keys: [attribute::SUBJECT, attribute::TIME_TYPE],
        has_stream: true,
        global_indexes: vec![
            IndexParts {
                name: index::ALL_EVENTS_BY_TIME,
                keys: &[attribute::PK_ALL, attribute::TIME],
                projection: ProjectionType::All,
                included: &[],
                may_be_missing: false,
            },
            IndexParts {
                name: index::ALL_EVENTS_BY_ID,
                keys: &[attribute::ID],
                projection: ProjectionType::KeysOnly,
                included: &[],
                may_be_missing: false,
            },
            IndexParts {
                name: index::ALL_SUBJECTS,
                keys: &[attribute::SUBJECT_PARTITION, attribute::LISTED_SUBJECT],
                projection: ProjectionType::KeysOnly,
                included: &[],
                // Tables from before this index are used as they are.
                may_be_missing: true,
            },
        ],
        local_indexes: vec![IndexParts {
            name: index::SUBJECT_EVENTS_BY_TYPE,
            keys: &[attribute::SUBJECT, attribute::TYPE],
            projection: ProjectionType::KeysOnly,
            included: &[],
            may_be_missing: false,
        }],
    }
}

/// Reads where the histories of the written subjects end, unless a precondition states it.
pub(crate) async fn begin(table: &Table, append: &Append) -> Result<Beginning, Error> {
    let mut bases = BTreeMap::new();
    let mut unknown = Vec::new();
    let mut said_to_be_pristine = Vec::new();
    for (subject, expected) in append.subjects() {
        match stated_revision(&expected) {
            Some(revision) => {
                bases.insert(subject.to_owned(), Base { revision, last_time: None });
                if revision == 0 {
                    said_to_be_pristine.push(subject.to_owned());
                }
            }
            None => unknown.push(subject.to_owned()),
        }
    }
    for (subject, expected) in append.checked_subjects() {
        if stated_revision(&expected) == Some(0) {
            said_to_be_pristine.push(subject.to_owned());
        }
    }
    // A legacy subject may have events but no head yet. It isn't pristine.
    concurrently(&said_to_be_pristine, |subject| table.adopt_legacy_events(subject)).await?;
    bases.extend(TableLayout::ByTime.ends(table, unknown.clone()).await?);
    let looked_for_legacy = said_to_be_pristine.into_iter().chain(unknown).collect();
    Ok(Beginning::On(Plan { bases, looked_for_legacy, ..Plan::default() }))
}

/// Where the history of a subject ends, read from its head.
pub(crate) async fn base(table: &Table, subject: &str) -> Result<Base, Error> {
    let head = table.head(subject).await?;
    Ok(head.map_or(Base::default(), |head| Base {
        revision: head.revision,
        last_time: Some(head.last_time),
    }))
}

/// The revisions of the last events of subjects, read from their heads.
///
/// They are read one by one: a batch costs the same units, and needs a permission that reading doesn't
/// need otherwise.
pub(crate) async fn last_revisions(
    table: &Table,
    subjects: &[String],
) -> Result<HashMap<String, u64>, Error> {
    let revisions = concurrently(subjects, |subject| async move {
        let head = table.get(head::key(subject)).await?;
        Ok::<_, Error>(head.as_ref().and_then(Head::read).map(|head| head.revision))
    })
    .await?;
    let with_revision = subjects.iter().cloned().zip(revisions);
    Ok(with_revision.filter_map(|(subject, revision)| Some((subject, revision?))).collect())
}

/// The revision that a precondition on a subject states, if any.
fn stated_revision(expected: &[&ExpectedState]) -> Option<u64> {
    expected.iter().find_map(|expected| expected.stated_revision())
}

/// The last revision that a subject has reached, or had a moment ago; 0 if it has no head. Whether
/// the event is still in the table is another question.
pub(crate) async fn recorded_end(table: &Table, subject: &str) -> Result<u64, Error> {
    Ok(table.last_revision(subject).await?.unwrap_or(0))
}

/// It has the partition key of the subject's head, so the permission to write the head includes it.
/// It has no index attributes, so it isn't in any index and is never published.
pub(crate) fn snapshot_key(subject: &str, aggregate: &str) -> SdkItem {
    let partition = format!("{}{subject}", schema::HEAD_PREFIX);
    let sort = format!("{}{aggregate}", schema::SNAPSHOT_SORT_KEY_PREFIX);
    HashMap::from([
        (attribute::SUBJECT.to_owned(), string(partition)),
        (attribute::TIME_TYPE.to_owned(), string(sort)),
    ])
}
