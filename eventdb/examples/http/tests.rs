use axum::Router;
use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, ETAG, IF_MATCH};
use axum::http::{Request, StatusCode};
use eventdb::{EmbeddedDynamoDb, EventDb};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt;

use crate::{IDEMPOTENCY_KEY, service};

async fn bank() -> (EmbeddedDynamoDb, EventDb, Router) {
    let dynamodb = EmbeddedDynamoDb::in_memory().await.unwrap();
    EventDb::create_table(&dynamodb.client(), "Accounts").await.unwrap();
    let db = EventDb::new(dynamodb.client(), "Accounts");
    let service = service(&db);
    (dynamodb, db, service)
}

struct Answer {
    status: StatusCode,
    etag: Option<String>,
    kind: String,
    body: Value,
}

async fn send(bank: &Router, request: Request<Body>) -> Answer {
    let response = bank.clone().oneshot(request).await.unwrap();
    let text = |name| Some(response.headers().get(name)?.to_str().unwrap().to_owned());
    let (status, etag, kind) = (response.status(), text(ETAG), text(CONTENT_TYPE).unwrap());
    let body = response.into_body().collect().await.unwrap().to_bytes();
    Answer { status, etag, kind, body: serde_json::from_slice(&body).unwrap() }
}

async fn book(bank: &Router, key: &str, if_match: Option<&str>, cents: i64) -> Answer {
    let mut request = Request::post("/accounts/account:1/bookings")
        .header(IDEMPOTENCY_KEY, key)
        .header(CONTENT_TYPE, "application/json");
    if let Some(etag) = if_match {
        request = request.header(IF_MATCH, etag);
    }
    let body = json!({ "cents": cents }).to_string();
    send(bank, request.body(Body::from(body)).unwrap()).await
}

async fn show(bank: &Router) -> Answer {
    send(bank, Request::get("/accounts/account:1").body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn a_request_that_comes_twice_is_booked_once() {
    let (_dynamodb, _, bank) = bank().await;
    for _ in 0..2 {
        let answer = book(&bank, "key-1", None, 500).await;
        assert_eq!((answer.status, answer.body), (StatusCode::OK, json!({ "cents": 500 })));
        assert_eq!(answer.etag.as_deref(), Some("\"1\""));
    }
    book(&bank, "key-2", None, -500).await;
    // The decision would say no by now.
    let late = book(&bank, "key-2", None, -500).await;
    assert_eq!((late.status, late.etag.as_deref()), (StatusCode::OK, Some("\"2\"")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_hangs_up_and_repeats_is_booked_once() {
    let (_dynamodb, db, bank) = bank().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(axum::serve(listener, bank.clone()).into_future());
    for number in 1..=20 {
        let body = json!({ "cents": 100 }).to_string();
        let request = format!(
            "POST /accounts/account:1/bookings HTTP/1.1\r\nHost: bank\r\n\
             Content-Type: application/json\r\nIdempotency-Key: key-{number}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        drop(client);
        let answer = book(&bank, &format!("key-{number}"), None, 100).await;
        assert_eq!(
            (answer.status, answer.body),
            (StatusCode::OK, json!({ "cents": number * 100 }))
        );
    }
    server.abort();
    let history = db.fetch_events_for_subject("account:1").await.unwrap();
    assert_eq!(history.events.len(), 20);
}

#[tokio::test]
async fn a_client_changes_only_what_it_saw() {
    let (_dynamodb, _, bank) = bank().await;
    assert_eq!(show(&bank).await.etag.as_deref(), Some("\"0\""));
    book(&bank, "key-1", Some("\"0\""), 500).await;
    let seen = show(&bank).await.etag;
    let changed = book(&bank, "key-2", seen.as_deref(), 100).await;
    assert_eq!((changed.status, changed.etag.as_deref()), (StatusCode::OK, Some("\"2\"")));
    // The answer got lost.
    let again = book(&bank, "key-2", seen.as_deref(), 100).await;
    assert_eq!((again.status, again.etag.as_deref()), (StatusCode::OK, Some("\"2\"")));
    let late = book(&bank, "key-3", seen.as_deref(), 100).await;
    assert_eq!(late.status, StatusCode::PRECONDITION_FAILED);
    assert!(late.body["detail"].as_str().unwrap().contains("ETag is \"2\""), "{}", late.body);
    assert_eq!(show(&bank).await.body, json!({ "cents": 600 }));
}

#[tokio::test]
async fn errors_are_problem_details() {
    let (_dynamodb, _, bank) = bank().await;
    let other = Request::post("/accounts/account:2/bookings")
        .header(IDEMPOTENCY_KEY, "key-1")
        .header(CONTENT_TYPE, "application/json");
    let without_key = Request::post("/accounts/account:1/bookings")
        .header(CONTENT_TYPE, "application/json")
        .body(Body::from("{\"cents\":1}"))
        .unwrap();
    let malformed = Request::post("/accounts/account:1/bookings")
        .header(IDEMPOTENCY_KEY, "key-9")
        .header(CONTENT_TYPE, "application/json")
        .body(Body::from("{\"euros\":1}"))
        .unwrap();
    let reserved = Request::get("/accounts/$head%2Faccount:1").body(Body::empty()).unwrap();
    book(&bank, "key-1", None, 1).await;
    for (answer, status, detail) in [
        (book(&bank, "key-2", None, -2).await, 409, "the balance is 1 cents"),
        (send(&bank, without_key).await, 400, "Idempotency-Key is missing"),
        (send(&bank, malformed).await, 400, "unknown field `euros`"),
        (book(&bank, "", None, 1).await, 400, "command id"),
        (book(&bank, "key-3", Some("W/\"1\""), 1).await, 400, "If-Match is W/\"1\""),
        (send(&bank, other.body(Body::from("{\"cents\":1}")).unwrap()).await, 422, "key-1"),
        (send(&bank, reserved).await, 400, "reserved"),
    ] {
        assert_eq!(answer.status.as_u16(), status, "{}", answer.body);
        assert_eq!(answer.body["status"], status);
        assert_eq!(answer.kind, "application/problem+json");
        assert!(answer.body["detail"].as_str().unwrap().contains(detail), "{}", answer.body);
    }
}
