//! A service over HTTP: a client that gets no answer sends its request again, and it is booked once.
//!
//! - `Idempotency-Key` is the id of the command.
//! - `ETag` is the revision of the account, and `If-Match` the one that the client saw.
//! - Errors are problem details (RFC 9457).
//!
//! `cargo run --example http` serves it on a database inside the process. Try:
//!
//! ```text
//! curl -i localhost:8080/accounts/account:1
//! curl -i localhost:8080/accounts/account:1/bookings -H 'Idempotency-Key: 1' --json '{"cents":500}'
//! curl -i localhost:8080/accounts/account:1/bookings -H 'Idempotency-Key: 1' --json '{"cents":500}'
//! curl -i localhost:8080/accounts/account:1/bookings -H 'Idempotency-Key: 2' -H 'If-Match: "0"' \
//!     --json '{"cents":-100}'
//! ```
//!
//! `cargo test -p eventdb --example http` tests it.

#![allow(clippy::print_stdout, reason = "what it prints is the point of an example")]

mod account;
mod problem;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::header::{ETAG, IF_MATCH};
use axum::http::{HeaderMap, HeaderName};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use eventdb::{EmbeddedDynamoDb, EventDb, Repository};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use account::Account;
use problem::Problem;

const SOURCE: &str = "https://bank.example.com";
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dynamodb = EmbeddedDynamoDb::in_memory().await?;
    EventDb::create_table(&dynamodb.client(), "Accounts").await?;
    let db = EventDb::new(dynamodb.client(), "Accounts");
    let listener = TcpListener::bind("127.0.0.1:8080").await?;
    println!("The bank is open at http://{}.", listener.local_addr()?);
    Ok(axum::serve(listener, service(&db)).await?)
}

fn service(db: &EventDb) -> Router {
    Router::new()
        .route("/accounts/{account}", get(show))
        .route("/accounts/{account}/bookings", post(book))
        .with_state(Repository::new(db, SOURCE))
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Balance {
    cents: i64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Booking {
    cents: i64,
}

async fn show(
    State(accounts): State<Repository<Account>>,
    Path(account): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    let loaded = accounts.load(account).await?;
    Ok(([(ETAG, etag(loaded.revision))], Json(Balance { cents: loaded.state.balance })))
}

async fn book(
    State(accounts): State<Repository<Account>>,
    Path(account): Path<String>,
    headers: HeaderMap,
    booking: Result<Json<Booking>, JsonRejection>,
) -> Result<impl IntoResponse, Problem> {
    let Json(booking) = booking.map_err(|error| Problem::bad_request(error.body_text()))?;
    let key = text(&headers, &IDEMPOTENCY_KEY)?
        .ok_or_else(|| Problem::bad_request("The header Idempotency-Key is missing."))?;
    let mut command = accounts.execute(account, |state| state.book(booking.cents)).command(key);
    if let Some(revision) = seen(&headers)? {
        command = command.only_at_revision(revision);
    }
    let executed = command.await?;
    let balance = Balance { cents: executed.aggregate.state.balance };
    Ok(([(ETAG, etag(executed.aggregate.revision))], Json(balance)))
}

fn etag(revision: u64) -> String {
    format!("\"{revision}\"")
}

/// The revision that the client saw, if it says so.
fn seen(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(etag) = text(headers, &IF_MATCH)? else { return Ok(None) };
    let revision = etag.strip_prefix('"').and_then(|etag| etag.strip_suffix('"'));
    match revision.map(str::parse) {
        Some(Ok(revision)) => Ok(Some(revision)),
        _ => Err(Problem::bad_request(format!(
            "If-Match is {etag}; it must be the ETag of the account, such as \"3\"."
        ))),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    match (values.next().map(|value| value.to_str()), values.next()) {
        (None, _) => Ok(None),
        (Some(Ok(text)), None) => Ok(Some(text)),
        _ => Err(Problem::bad_request(format!("The header {name} must be there once, as ASCII."))),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by a panic")]
mod tests;
