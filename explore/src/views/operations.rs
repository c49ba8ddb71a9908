//! What an operator looks at: how far the read models are, and what couldn't be published.

use axum::Json;
use axum::extract::{Query, State};
use serde::Deserialize;
use serde_json::json;

use super::Answer;
use crate::explorer::Explored;
use crate::problem::Problem;

/// Where to go on.
#[derive(Debug, Deserialize)]
pub(crate) struct Place {
    after: Option<String>,
}

/// Which failed batch is asked for.
#[derive(Debug, Deserialize)]
pub(crate) struct Choice {
    key: String,
}

/// How much the read models lack.
pub(crate) async fn lag(State(explored): State<Explored>) -> Answer {
    let Some(lag) = &explored.what.lag else {
        return Err(Problem::not_found("The page was opened without a list of read models."));
    };
    let lag = lag.lag().await;
    let lag = lag.map_err(|error| Problem::of("the lag can't be found out", &*error))?;
    Ok(Json(json!({ "readModels": lag })))
}

/// What couldn't be published.
pub(crate) async fn failures(
    State(explored): State<Explored>,
    Query(place): Query<Place>,
) -> Answer {
    let Some(bucket) = &explored.what.failures else {
        return Err(Problem::not_found("The page was opened without a failure bucket."));
    };
    let found = bucket.list(place.after).await;
    let found = found.map_err(|error| Problem::of("the bucket can't be listed", &*error))?;
    Ok(Json(json!(found)))
}

/// One failed batch, with its data.
pub(crate) async fn failure(
    State(explored): State<Explored>,
    Query(choice): Query<Choice>,
) -> Answer {
    let Some(bucket) = &explored.what.failures else {
        return Err(Problem::not_found("The page was opened without a failure bucket."));
    };
    let read = bucket.read(choice.key).await;
    let read = read.map_err(|error| Problem::of("the object can't be read", &*error))?;
    Ok(Json(json!({ "content": read })))
}
