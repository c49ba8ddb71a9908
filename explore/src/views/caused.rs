//! What caused an event, and what it caused.

use std::collections::HashSet;

use axum::extract::{Query, State};
use eventdb::chrono::TimeDelta;
use eventdb::{Cursor, Event, Metadata};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, answer, shown};
use crate::explorer::Explored;
use crate::problem::Problem;
use crate::store::Reader;

/// Most causes that are followed back.
const CAUSES: usize = 30;
/// Most events that are read at a time to find effects.
const ROWS: usize = 200;
/// How far the clocks of writers may differ.
const CLOCKS_DIFFER: TimeDelta = TimeDelta::minutes(1);
/// Longest time after an event in which effects are looked for.
const LONGEST: u32 = 366 * 24 * 60;

/// Which event is asked for.
#[derive(Debug, Deserialize)]
pub(crate) struct Choice {
    id: String,
    source: Option<String>,
    /// How many minutes after the event effects are looked for.
    within: u32,
    after: Option<String>,
}

/// The causes of an event, and events after the first cause that say what caused them.
///
/// No index leads from a cause to its effects, so events are read in the order of time, a step at a
/// time. The page asks for the next step.
pub(crate) async fn caused(
    State(explored): State<Explored>,
    Query(choice): Query<Choice>,
) -> Answer {
    let mut reader = explored.store.reader();
    let (causes, is_whole) = causes(&mut reader, &choice).await?;
    let (Some(first), Some(last)) = (causes.first(), causes.last()) else {
        return Err(Problem::not_found("No event has this id. A new one may take a moment."));
    };
    let minutes = i64::from(choice.within.min(LONGEST));
    let mut request = reader
        .db()
        .fetch_all_events()
        .since(first.time - CLOCKS_DIFFER)
        .until(last.time + TimeDelta::minutes(minutes))
        .limit(ROWS);
    if let Some(after) = choice.after {
        let cursor: Cursor =
            after.parse().map_err(|error| Problem::of("`after` can't be read", &error))?;
        request = request.after(cursor);
    }
    let read = request.await.map_err(|error| Problem::of("the events can't be read", &error))?;
    reader.count_rows(read.events.len() + read.invalid.len());
    let linked = read
        .events
        .iter()
        .map(linked_json)
        .filter(|event| !event["causation"].is_null() || !event["correlation"].is_null());
    let linked: Vec<Value> = linked.collect();
    let reached = read.events.last().map(|event| shown(event.time));
    let body = json!({
        "causes": causes.iter().map(linked_json).collect::<Vec<Value>>(),
        "isWhole": is_whole,
        "linked": linked,
        "reached": reached,
        "next": read.cursor.filter(|_| read.limit_reached).map(|cursor| cursor.to_string()),
    });
    Ok(answer(&explored, &reader, body))
}

/// The event and what caused it, the first cause first, and whether all of them were found.
async fn causes(reader: &mut Reader<'_>, choice: &Choice) -> Result<(Vec<Event>, bool), Problem> {
    let mut causes: Vec<Event> = Vec::new();
    let mut seen = HashSet::new();
    let mut next = Some(choice.id.clone());
    while let Some(id) = next.take() {
        if causes.len() == CAUSES || !seen.insert(id.clone()) {
            return Ok((reversed(causes), false));
        }
        let mut request = reader.db().fetch_event(&id);
        if let (true, Some(source)) = (causes.is_empty(), &choice.source) {
            request = request.from_source(source);
        }
        let found =
            request.await.map_err(|error| Problem::of("the event can't be read", &error))?;
        reader.count_rows(1);
        let Some(event) = found else { return Ok((reversed(causes), false)) };
        next = Metadata::of(&event).causation;
        causes.push(event);
    }
    Ok((reversed(causes), true))
}

fn reversed(mut events: Vec<Event>) -> Vec<Event> {
    events.reverse();
    events
}

fn linked_json(event: &Event) -> Value {
    let metadata = Metadata::of(event);
    json!({
        "id": event.id,
        "source": event.source,
        "type": event.ty,
        "subject": event.subject,
        "time": shown(event.time),
        "revision": event.revision,
        "causation": metadata.causation,
        "correlation": metadata.correlation,
    })
}
