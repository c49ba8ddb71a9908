//! The history of a subject.

use axum::extract::{Query, State};
use eventdb::aws_sdk_dynamodb::types::AttributeValue;
use eventdb::chrono::DateTime;
use eventdb::internals::item::time_type;
use eventdb::internals::schema::{
    HEAD_PREFIX, SNAPSHOT_PREFIX, SNAPSHOT_SORT_KEY_PREFIX, attribute,
};
use eventdb::{Cursor, Event, History, InvalidItem};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, answer, event_json, shown};
use crate::explorer::Explored;
use crate::problem::Problem;
use crate::store::{Reader, Row, Store, number, text};

/// Most rows of an answer.
const ROWS: usize = 150;

/// Which part of a history is asked for.
#[derive(Debug, Deserialize)]
pub(crate) struct Choice {
    subject: String,
    after: Option<String>,
    #[serde(default)]
    data: bool,
}

/// The latest events of a subject, its snapshots, and what is wrong with its rows.
pub(crate) async fn subject(
    State(explored): State<Explored>,
    Query(choice): Query<Choice>,
) -> Answer {
    let mut reader = explored.store.reader();
    let mut request = reader.db().fetch_events_for_subject(&choice.subject).backwards().limit(ROWS);
    let is_first = choice.after.is_none();
    if let Some(after) = choice.after {
        let cursor: Cursor =
            after.parse().map_err(|error| Problem::of("`after` can't be read", &error))?;
        request = request.after(cursor);
    }
    let history =
        request.await.map_err(|error| Problem::of("the subject can't be read", &error))?;
    reader.count_rows(history.events.len() + history.invalid.len());
    let snapshots = match is_first {
        true => snapshots(&mut reader, &choice.subject, choice.data).await?,
        false => Vec::new(),
    };
    let body = json!({
        "rows": rows(&explored.store, &history, choice.data),
        "snapshots": snapshots,
        "next": history.cursor.filter(|_| history.limit_reached).map(|cursor| cursor.to_string()),
    });
    Ok(answer(&explored, &reader, body))
}

/// Events, rows that aren't events, and gaps, in the order of the table, the last one first.
fn rows(store: &Store, history: &History, with_data: bool) -> Vec<Value> {
    let mut rows: Vec<(SortKey, Option<u64>, Value)> = Vec::new();
    for event in &history.events {
        let mut row = event_json(event, with_data);
        if let Some(members) = row.as_object_mut() {
            members.insert("kind".to_owned(), "event".into());
        }
        rows.push((SortKey::of_event(store, event), event.revision, row));
    }
    for invalid in &history.invalid {
        rows.push((SortKey::of_row(invalid), None, invalid_json(invalid, with_data)));
    }
    rows.sort_by(|(one, ..), (other, ..)| other.cmp(one));
    let mut missing: Vec<_> =
        history.missing.iter().map(|missing| missing.revisions.clone()).collect();
    let mut all = Vec::new();
    for (_, revision, row) in rows {
        all.push(row);
        let Some(revision) = revision else { continue };
        missing.retain(|gap| {
            let follows = gap.end().saturating_add(1) == revision;
            if follows {
                all.push(json!({ "kind": "missing", "from": gap.start(), "to": gap.end() }));
            }
            !follows
        });
    }
    // A gap next to a row that can't be read stands at the end.
    let left = missing.into_iter();
    all.extend(left.map(|gap| json!({ "kind": "missing", "from": gap.start(), "to": gap.end() })));
    all
}

/// The place of a row in its subject.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum SortKey {
    ByRevision(u64),
    ByTime(String),
}

impl SortKey {
    fn of_event(store: &Store, event: &Event) -> Self {
        match event.revision {
            Some(revision) if store.is_by_revision() => Self::ByRevision(revision),
            _ => Self::ByTime(time_type(event.time, &event.ty)),
        }
    }

    fn of_row(row: &InvalidItem) -> Self {
        match (row.time_type(), row.item.get(attribute::REVISION)) {
            (Some(key), _) => Self::ByTime(key.to_owned()),
            (None, Some(serde_dynamo::AttributeValue::N(revision))) => {
                Self::ByRevision(revision.parse().unwrap_or_default())
            }
            (None, _) => Self::ByTime(String::new()),
        }
    }
}

fn invalid_json(invalid: &InvalidItem, with_data: bool) -> Value {
    let key = match (invalid.time_type(), invalid.item.get(attribute::REVISION)) {
        (Some(key), _) => key.to_owned(),
        (None, Some(serde_dynamo::AttributeValue::N(revision))) => revision.clone(),
        (None, _) => "?".to_owned(),
    };
    json!({
        "kind": "invalid",
        "key": key,
        "reason": invalid.reason,
        "row": with_data.then(|| serde_json::to_value(&invalid.item).unwrap_or_default()),
    })
}

/// The snapshots of a subject.
async fn snapshots(
    reader: &mut Reader<'_>,
    subject: &str,
    with_data: bool,
) -> Result<Vec<Value>, Problem> {
    let (partition, revision_name) = match reader.store.is_by_revision() {
        true => (format!("{SNAPSHOT_PREFIX}{subject}"), attribute::STATE_REVISION),
        false => (format!("{HEAD_PREFIX}{subject}"), attribute::REVISION),
    };
    let mut query = reader
        .of_events()
        .limit(40)
        .expression_attribute_names("#subject", attribute::SUBJECT)
        .expression_attribute_values(":partition", AttributeValue::S(partition));
    query = match reader.store.is_by_revision() {
        true => query.key_condition_expression("#subject = :partition"),
        false => query
            .key_condition_expression("#subject = :partition AND begins_with(#key, :prefix)")
            .expression_attribute_names("#key", attribute::TIME_TYPE)
            .expression_attribute_values(
                ":prefix",
                AttributeValue::S(SNAPSHOT_SORT_KEY_PREFIX.to_owned()),
            ),
    };
    let found = reader.query(query).await?;
    Ok(found.rows.iter().map(|row| snapshot_json(row, revision_name, with_data)).collect())
}

fn snapshot_json(row: &Row, revision_name: &str, with_data: bool) -> Value {
    let key = text(row, attribute::TIME_TYPE).unwrap_or_default();
    let aggregate = text(row, attribute::AGGREGATE)
        .or_else(|| key.strip_prefix(SNAPSHOT_SORT_KEY_PREFIX))
        .unwrap_or("?");
    let time = number(row, attribute::LAST_TIME).and_then(DateTime::from_timestamp_millis);
    json!({
        "aggregate": aggregate,
        "revision": number::<u64>(row, revision_name),
        "version": number::<u64>(row, attribute::STATE_VERSION),
        "time": time.map(shown),
        "state": text(row, attribute::STATE).filter(|_| with_data),
    })
}
