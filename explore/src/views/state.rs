//! The state of an aggregate after each event of a subject.

use axum::extract::{Query, State};
use eventdb::{Aggregate, Event};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Answer, answer, shown};
use crate::explorer::Explored;
use crate::problem::{Problem, causes};

/// Most events of a subject that are folded.
const EVENTS: usize = 1_000;

/// An aggregate whose states can be shown.
#[derive(Debug, Clone)]
pub(crate) struct StateViewer {
    pub(crate) name: String,
    /// What its subjects begin with.
    pub(crate) prefix: String,
    /// The state before the first event.
    initial: fn() -> Value,
    fold: fn(&[Event]) -> Vec<Result<Value, String>>,
}

impl StateViewer {
    pub(crate) fn of<A: Aggregate + Serialize>(name: String, prefix: String) -> Self {
        let initial = || serde_json::to_value(A::default()).unwrap_or_default();
        Self { name, prefix, initial, fold: fold::<A> }
    }
}

/// The states after each event. It ends with the first event that can't be folded.
fn fold<A: Aggregate + Serialize>(events: &[Event]) -> Vec<Result<Value, String>> {
    let mut aggregate = A::default();
    let mut states = Vec::with_capacity(events.len());
    for event in events {
        match event.typed::<A::Event>() {
            Ok(Some(typed)) => aggregate.apply_stored(typed, event),
            // Its type is unknown, and the aggregate ignores those.
            Ok(None) => {}
            Err(error) => {
                states.push(Err(causes(&error)));
                break;
            }
        }
        states.push(serde_json::to_value(&aggregate).map_err(|error| causes(&error)));
    }
    states
}

/// Which states are asked for.
#[derive(Debug, Deserialize)]
pub(crate) struct Choice {
    subject: String,
    aggregate: String,
}

/// The states of a subject. They are made from the data of its events.
pub(crate) async fn state(
    State(explored): State<Explored>,
    Query(choice): Query<Choice>,
) -> Answer {
    let viewer = explored.what.states.iter().find(|viewer| viewer.name == choice.aggregate);
    let Some(viewer) = viewer else {
        return Err(Problem::not_found("The page was opened without this aggregate."));
    };
    let mut reader = explored.store.reader();
    let history = reader.db().fetch_events_for_subject(&choice.subject).limit(EVENTS).await;
    let history = history.map_err(|error| Problem::of("the subject can't be read", &error))?;
    reader.count_rows(history.events.len() + history.invalid.len());
    let states = (viewer.fold)(&history.events);
    let steps: Vec<Value> = history
        .events
        .iter()
        .zip(states)
        .map(|(event, state)| {
            json!({
                "id": event.id,
                "source": event.source,
                "type": event.ty,
                "time": shown(event.time),
                "revision": event.revision,
                "state": state.as_ref().ok(),
                "error": state.as_ref().err(),
            })
        })
        .collect();
    let body = json!({
        "initial": (viewer.initial)(),
        "steps": steps,
        "isWhole": !history.limit_reached,
        "problems": history.invalid.len() + history.missing.len(),
    });
    Ok(answer(&explored, &reader, body))
}
