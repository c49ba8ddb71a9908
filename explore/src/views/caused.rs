//! What caused an event, and what it caused.

use std::time::Duration;

use axum::extract::{Query, State};
use eventdb::TraceLine;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, answer, event_of, shown};
use crate::explorer::Explored;
use crate::problem::Problem;

/// Most causes that are followed back.
const CAUSES: usize = 100;
/// How many events are read to find effects, unless more are asked for.
const FEWEST: usize = 200;
/// Most events that are read to find effects.
const MOST: usize = 20_000;
/// By how much that grows from one step to the next. Each step reads from the beginning again.
const GROWTH: usize = 10;
/// Longest time after an event in which effects are looked for, in minutes.
const LONGEST: u32 = 366 * 24 * 60;

/// Which event is asked for.
#[derive(Debug, Deserialize)]
pub(crate) struct Choice {
    id: String,
    source: Option<String>,
    /// How many minutes after the event effects are looked for.
    within: u32,
    /// How many events are read for it.
    limit: Option<usize>,
}

/// The event, its causes, and what they caused, each below its cause.
pub(crate) async fn caused(
    State(explored): State<Explored>,
    Query(choice): Query<Choice>,
) -> Answer {
    let mut reader = explored.store.reader();
    let db = reader.db();
    let event = event_of(&db, &choice.id, choice.source).await?;
    let limit = choice.limit.unwrap_or(FEWEST).clamp(1, MOST);
    let within = Duration::from_secs(60 * u64::from(choice.within.min(LONGEST)));
    let trace = db.fetch_trace(&event).causes(CAUSES).within(within).limit(limit).await;
    let trace = trace.map_err(|error| Problem::of("the events can't be read", &error))?;
    // An event by its id is a row of the index, and one of the table.
    reader.count_rows(2 * (1 + trace.causes().len()) + trace.rows_read());
    let more = limit.saturating_mul(GROWTH).min(MOST);
    let body = json!({
        "lines": trace.lines().into_iter().map(line_json).collect::<Vec<Value>>(),
        "isComplete": trace.is_complete(),
        "readUntil": shown(trace.read_until()),
        "nextLimit": (!trace.is_complete() && more > limit).then_some(more),
    });
    Ok(answer(&explored, &reader, body))
}

fn line_json(line: TraceLine<'_>) -> Value {
    match line {
        TraceLine::Event { depth, event, is_repeated } => json!({
            "kind": "event",
            "depth": depth,
            "isRepeated": is_repeated,
            "id": event.id,
            "source": event.source,
            "type": event.ty,
            "subject": event.subject,
            "time": shown(event.time),
            "revision": event.revision,
        }),
        TraceLine::MissingCause { depth, id, reason } => json!({
            "kind": "missing",
            "depth": depth,
            "id": id,
            "reason": reason.to_string(),
        }),
    }
}
