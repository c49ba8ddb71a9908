//! The latest events, and how many there were over time.

use std::collections::BTreeMap;

use axum::extract::{Query, State};
use eventdb::aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use eventdb::aws_sdk_dynamodb::types::AttributeValue;
use eventdb::chrono::{DateTime, Utc};
use eventdb::internals::item::all_events_partition;
use eventdb::internals::schema::{ALL_EVENTS, ALL_EVENTS_PARTITIONS, attribute, index};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Answer, answer, shown};
use crate::explorer::Explored;
use crate::problem::Problem;
use crate::store::{Queried, Reader, Row, Store, number, text};

/// Most rows that are read for a list.
const ROWS_OF_A_LIST: usize = 192;
/// Most rows that are read for a step of counting.
const ROWS_OF_A_COUNT: usize = 4_000;
/// Most columns of a plot.
const COLUMNS: i64 = 1_000;

/// Which events are asked for.
#[derive(Debug, Deserialize)]
pub(crate) struct Choice {
    /// Only events of this type.
    #[serde(rename = "type")]
    ty: Option<String>,
    /// Only events whose subject begins with this.
    prefix: Option<String>,
    since: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
    /// Where an earlier answer stopped.
    after: Option<String>,
    /// Milliseconds of a column of the plot.
    step: Option<i64>,
}

/// Where the reading of one partition of the index stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum Place {
    /// Nothing was taken yet.
    #[serde(rename = "begin")]
    Beginning,
    /// This was the last row: time, subject, and sort key of the table.
    #[serde(rename = "after")]
    After(i64, String, String),
    /// Everything was taken.
    #[serde(rename = "end")]
    End,
}

/// A row of the index, without its data.
#[derive(Debug, Clone, PartialEq)]
struct Listed {
    time: i64,
    subject: String,
    /// The sort key of the table.
    sort_key: String,
    ty: String,
    id: String,
    revision: Option<u64>,
}

/// The latest of the chosen events, without their data.
pub(crate) async fn events(
    State(explored): State<Explored>,
    Query(choice): Query<Choice>,
) -> Answer {
    let mut reader = explored.store.reader();
    let (listed, next) = read(&mut reader, &choice, ROWS_OF_A_LIST).await?;
    let events: Vec<Value> = listed.iter().map(Listed::json).collect();
    let body = json!({ "events": events, "next": next });
    Ok(answer(&explored, &reader, body))
}

/// How many of the chosen events there were in each column of a plot, by type.
pub(crate) async fn rate(State(explored): State<Explored>, Query(choice): Query<Choice>) -> Answer {
    let (Some(since), Some(step)) = (choice.since, choice.step) else {
        return Err(Problem::bad_request("`since` and `step` are missing"));
    };
    let since = since.timestamp_millis();
    if step < 1 {
        return Err(Problem::bad_request("`step` must be at least 1 ms"));
    }
    let mut reader = explored.store.reader();
    let (listed, next) = read(&mut reader, &choice, ROWS_OF_A_COUNT).await?;
    let mut counts: BTreeMap<&str, BTreeMap<i64, u64>> = BTreeMap::new();
    for event in &listed {
        let column = event.time.saturating_sub(since) / step;
        if (0..COLUMNS).contains(&column) {
            *counts.entry(&event.ty).or_default().entry(column).or_default() += 1;
        }
    }
    let reached = listed.last().and_then(|last| DateTime::from_timestamp_millis(last.time));
    let body = json!({ "counts": counts, "next": next, "reached": reached.map(shown) });
    Ok(answer(&explored, &reader, body))
}

/// Reads the chosen events from the last one back, in one round of requests: one for each partition of
/// the index. Returns where to go on; `None` if there is nothing more.
async fn read(
    reader: &mut Reader<'_>,
    choice: &Choice,
    rows: usize,
) -> Result<(Vec<Listed>, Option<String>), Problem> {
    let names = partitions(reader.store);
    let mut places: Vec<Place> = match &choice.after {
        None => vec![Place::Beginning; names.len()],
        Some(text) => serde_json::from_str(text)
            .ok()
            .filter(|places: &Vec<Place>| places.len() == names.len())
            .ok_or_else(|| Problem::bad_request("`after` isn't from an earlier answer"))?,
    };
    let limit = i32::try_from(rows / names.len()).unwrap_or(i32::MAX).max(1);
    let open: Vec<usize> = (0..names.len())
        .filter(|number| !matches!(places.get(*number), Some(Place::End)))
        .collect();
    let queries = open.iter().filter_map(|number| {
        let (name, place) = (names.get(*number)?, places.get(*number)?);
        Some(query(reader, choice, name, place).limit(limit))
    });
    let queries = queries.collect();
    let answers = reader.queries(queries).await?;
    let ends: Vec<Option<Listed>> = answers
        .iter()
        .map(|answer| answer.next.as_ref().and_then(|key| Listed::read(key, reader.store)))
        .collect();
    // Below this time, a partition may have rows that weren't read yet.
    let horizon = ends.iter().flatten().map(|end| end.time).max().unwrap_or(i64::MIN);
    let mut listed = Vec::new();
    for ((number, Queried { rows, next }), end) in open.into_iter().zip(answers).zip(ends) {
        let read = rows.iter().filter_map(|row| Listed::read(row, reader.store));
        let (taken, left): (Vec<Listed>, Vec<Listed>) =
            read.partition(|event| event.time >= horizon);
        let Some(place) = places.get_mut(number) else { continue };
        *place = match (end, taken.last()) {
            (Some(end), _) if end.time >= horizon => end.place(),
            (None, _) if left.is_empty() && next.is_none() => Place::End,
            (_, Some(last)) => last.place(),
            (_, None) => place.clone(),
        };
        listed.extend(taken);
    }
    listed.sort_by(|one, other| other.time.cmp(&one.time).then(other.revision.cmp(&one.revision)));
    let has_ended = places.iter().all(|place| matches!(place, Place::End));
    let next = (!has_ended).then(|| serde_json::to_string(&places).unwrap_or_default());
    Ok((listed, next))
}

/// The partition keys of the index of all events.
fn partitions(store: &Store) -> Vec<String> {
    match store.is_by_revision() {
        true => (0..ALL_EVENTS_PARTITIONS).map(all_events_partition).collect(),
        false => vec![ALL_EVENTS.to_owned()],
    }
}

fn query(
    reader: &Reader<'_>,
    choice: &Choice,
    partition: &str,
    place: &Place,
) -> QueryFluentBuilder {
    let mut condition = "#pk_all = :partition".to_owned();
    let mut query = reader
        .of_events()
        .index_name(index::ALL_EVENTS_BY_TIME)
        .scan_index_forward(false)
        .expression_attribute_names("#pk_all", attribute::PK_ALL)
        .expression_attribute_values(":partition", string(partition));
    let since = choice.since.map(|since| since.timestamp_millis());
    let until = choice.until.map(|until| until.timestamp_millis().saturating_sub(1));
    let bounds = match (since, until) {
        (None, None) => None,
        (Some(_), None) => Some("#time >= :since"),
        (None, Some(_)) => Some("#time <= :until"),
        (Some(_), Some(_)) => Some("#time BETWEEN :since AND :until"),
    };
    if let Some(bounds) = bounds {
        condition = format!("{condition} AND {bounds}");
    }
    for (alias, time) in [(":since", since), (":until", until)] {
        if let Some(time) = time {
            query = query.expression_attribute_values(alias, AttributeValue::N(time.to_string()));
        }
    }
    let mut filters = Vec::new();
    if let Some(ty) = &choice.ty {
        filters.push("#type = :type");
        query = query.expression_attribute_values(":type", string(ty));
    }
    if let Some(prefix) = &choice.prefix {
        filters.push("begins_with(#subject, :prefix)");
        query = query.expression_attribute_values(":prefix", string(prefix));
    }
    // The data aren't even transferred.
    let mut names = vec![
        ("#subject", attribute::SUBJECT),
        ("#time", attribute::TIME),
        ("#type", attribute::TYPE),
        ("#id", attribute::ID),
        ("#revision", attribute::REVISION),
    ];
    if !reader.store.is_by_revision() {
        // By revision, the index doesn't have it, and DynamoDB refuses to be asked for it.
        names.push(("#time_type", attribute::TIME_TYPE));
    }
    for (alias, name) in &names {
        query = query.expression_attribute_names(*alias, *name);
    }
    if let Place::After(time, subject, sort_key) = place {
        let (sort_key_name, sort_key) = match reader.store.is_by_revision() {
            true => (attribute::REVISION, AttributeValue::N(sort_key.clone())),
            false => (attribute::TIME_TYPE, string(sort_key)),
        };
        query = query
            .exclusive_start_key(attribute::PK_ALL, string(partition))
            .exclusive_start_key(attribute::TIME, AttributeValue::N(time.to_string()))
            .exclusive_start_key(attribute::SUBJECT, string(subject))
            .exclusive_start_key(sort_key_name, sort_key);
    }
    query
        .key_condition_expression(condition)
        .projection_expression(names.iter().map(|(alias, _)| *alias).collect::<Vec<_>>().join(", "))
        .set_filter_expression((!filters.is_empty()).then(|| filters.join(" AND ")))
}

fn string(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

impl Listed {
    /// Reads a row of the index, or the key of one.
    fn read(row: &Row, store: &Store) -> Option<Self> {
        let revision = number(row, attribute::REVISION);
        let sort_key = match store.is_by_revision() {
            true => row.get(attribute::REVISION)?.as_n().ok()?.clone(),
            false => text(row, attribute::TIME_TYPE)?.to_owned(),
        };
        let shown = |name| text(row, name).unwrap_or_default().to_owned();
        Some(Self {
            time: number(row, attribute::TIME)?,
            subject: text(row, attribute::SUBJECT)?.to_owned(),
            sort_key,
            ty: shown(attribute::TYPE),
            id: shown(attribute::ID),
            revision,
        })
    }

    fn place(&self) -> Place {
        Place::After(self.time, self.subject.clone(), self.sort_key.clone())
    }

    fn json(&self) -> Value {
        json!({
            "time": DateTime::from_timestamp_millis(self.time).map(shown),
            "subject": self.subject,
            "type": self.ty,
            "id": self.id,
            "revision": self.revision,
            "key": self.sort_key,
        })
    }
}
