//! The subjects of a store.

use axum::extract::{Query, State};
use eventdb::Cursor;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, answer};
use crate::explorer::Explored;
use crate::problem::Problem;

/// Most subjects of an answer.
const SUBJECTS: usize = 200;

/// Which subjects are asked for.
#[derive(Debug, Deserialize)]
pub(crate) struct Choice {
    #[serde(default)]
    prefix: String,
    after: Option<String>,
}

/// The subjects that begin with a prefix.
pub(crate) async fn subjects(
    State(explored): State<Explored>,
    Query(choice): Query<Choice>,
) -> Answer {
    let mut reader = explored.store.reader();
    let mut request = reader.db().fetch_subjects().subject_prefix(choice.prefix).limit(SUBJECTS);
    if let Some(after) = choice.after {
        let cursor: Cursor =
            after.parse().map_err(|error| Problem::of("`after` can't be read", &error))?;
        request = request.after(cursor);
    }
    let found =
        request.await.map_err(|error| Problem::of("the subjects can't be listed", &error))?;
    reader.count_rows(found.subjects.len());
    let subjects: Vec<Value> =
        found.subjects.iter().map(|listed| Value::String(listed.subject.clone())).collect();
    let next = found.cursor.filter(|_| found.limit_reached).map(|cursor| cursor.to_string());
    Ok(answer(&explored, &reader, json!({ "subjects": subjects, "next": next })))
}
