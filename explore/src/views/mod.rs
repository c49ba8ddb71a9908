//! What the page asks for: a file for each view. Every answer says what it has consumed.

mod caused;
mod event;
mod events;
mod feed_place;
mod operations;
pub(crate) mod state;
mod subject;
mod subjects;

use std::sync::PoisonError;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use eventdb::chrono::{DateTime, SecondsFormat, Utc};
use eventdb::{Event, EventDb};
use serde_json::{Value, json};

use crate::explorer::Explored;
use crate::problem::Problem;
use crate::store::Reader;

/// An answer, or why there is none.
type Answer = Result<Json<Value>, Problem>;

/// The addresses of the data.
pub(crate) fn routes() -> Router<Explored> {
    Router::new()
        .route("/api/store", get(about))
        .route("/api/events", get(events::events))
        .route("/api/rate", get(events::rate))
        .route("/api/subjects", get(subjects::subjects))
        .route("/api/subject", get(subject::subject))
        .route("/api/event", get(event::event))
        .route("/api/caused", get(caused::caused))
        .route("/api/feed-place", get(feed_place::feed_place))
        .route("/api/state", get(state::state))
        .route("/api/lag", get(operations::lag))
        .route("/api/failures", get(operations::failures))
        .route("/api/failure", get(operations::failure))
}

/// Which store it is, and which views it has. It sends nothing.
async fn about(State(explored): State<Explored>) -> Answer {
    let (store, what) = (&explored.store, &explored.what);
    let failures = match what.is_embedded {
        true => "A store in a file or in memory has no failure bucket.",
        false => "The page was opened without the failure bucket.",
    };
    let feed = store.feed.is_none().then(|| "The page was opened without a feed.".to_owned());
    let states: Vec<Value> = what
        .states
        .iter()
        .map(|state| json!({ "name": state.name, "prefix": state.prefix }))
        .collect();
    let answer = json!({
        "table": store.table,
        "layout": if store.is_by_revision() { "by revision" } else { "by time" },
        "items": store.items,
        "isEmbedded": what.is_embedded,
        "states": states,
        "missing": {
            "feed": feed,
            "failures": what.failures.is_none().then_some(failures),
            "lag": what.lag.is_none().then_some(
                "The page was opened without read models. `eventdb explore --positions TABLE` shows \
                 those whose positions are in that table of DynamoDB.",
            ),
        },
    });
    Ok(Json(answer))
}

/// An answer with what it has consumed, which is also added to the sum.
fn answer(explored: &Explored, reader: &Reader<'_>, mut answer: Value) -> Json<Value> {
    let consumed = reader.consumed();
    *explored.consumed.lock().unwrap_or_else(PoisonError::into_inner) += consumed;
    if let Some(members) = answer.as_object_mut() {
        members.insert("consumed".to_owned(), json!(consumed));
    }
    Json(answer)
}

/// The event with this id, of any source if none is given.
async fn event_of(db: &EventDb, id: &str, source: Option<String>) -> Result<Event, Problem> {
    let mut request = db.fetch_event(id);
    if let Some(source) = source {
        request = request.from_source(source);
    }
    request
        .await
        .map_err(|error| Problem::of("the event can't be read", &error))?
        .ok_or_else(|| Problem::not_found("No event has this id. A new one may take a moment."))
}

/// A time as the page takes it: RFC 3339, in milliseconds, in UTC.
fn shown(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// An event as the page takes it. Without its data, unless they were asked for.
fn event_json(event: &Event, with_data: bool) -> Value {
    let extensions: serde_json::Map<String, Value> = event
        .extensions
        .iter()
        .map(|(name, value)| (name.clone(), Value::String(value.to_string())))
        .collect();
    let mut shown = json!({
        "id": event.id,
        "source": event.source,
        "type": event.ty,
        "subject": event.subject,
        "time": shown(event.time),
        "revision": event.revision,
        "datacontenttype": event.datacontenttype,
        "dataschema": event.dataschema,
    });
    if let (true, Some(members)) = (with_data, shown.as_object_mut()) {
        members.insert("extensions".to_owned(), Value::Object(extensions));
        members.insert("data".to_owned(), Value::String(event.data.to_string()));
    }
    shown
}
