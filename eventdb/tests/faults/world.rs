//! A store whose way to the database fails as planned.

use std::collections::VecDeque;
use std::future::IntoFuture;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Once};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::http::{HttpRequest, HttpResponse};
use aws_smithy_http_client::Connector;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use chrono::TimeDelta;
use eventdb::{EmbeddedDynamoDb, Event, EventCandidate, EventDb, TableLayout};
use futures_util::future::BoxFuture;
use http_body_util::BodyExt;
use serde_json::{Value, json};

/// What happens to one request.
#[derive(Clone)]
pub(crate) enum Fault {
    /// It never arrives.
    LoseRequest,
    /// It is carried out, but its answer never arrives.
    LoseAnswer,
    /// It is carried out, its answer is lost, and then something else happens.
    LoseAnswerThen(Action),
    /// It never arrives, and then something else happens.
    LoseRequestThen(Action),
    /// It is not carried out and answered with this error.
    Answer(u16, Value),
    /// It is carried out, and its answer is changed on the way.
    Change(fn(&mut Value)),
}

pub(crate) type Action = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// The faults of the requests to come of one operation; without any left, requests pass.
#[derive(Clone)]
struct Plan {
    operation: &'static str,
    faults: Arc<Mutex<VecDeque<Fault>>>,
    /// Met by every request once the others are used up.
    forever: Option<Fault>,
    sent: Arc<AtomicU32>,
    inner: Arc<Connector>,
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Plan").field("operation", &self.operation).finish_non_exhaustive()
    }
}

impl HttpConnector for Plan {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        if !target.ends_with(&format!(".{}", self.operation)) {
            return self.inner.call(request);
        }
        self.sent.fetch_add(1, Ordering::Relaxed);
        let fault = self.faults.lock().unwrap().pop_front().or_else(|| self.forever.clone());
        let inner = Arc::clone(&self.inner);
        HttpConnectorFuture::new(async move {
            let lost = || ConnectorError::io("the connection was closed".into());
            match fault {
                None => inner.call(request).await,
                Some(Fault::LoseRequest) => Err(lost()),
                Some(Fault::LoseRequestThen(action)) => {
                    action().await;
                    Err(lost())
                }
                Some(Fault::LoseAnswer) => {
                    inner.call(request).await?;
                    Err(lost())
                }
                Some(Fault::LoseAnswerThen(action)) => {
                    inner.call(request).await?;
                    action().await;
                    Err(lost())
                }
                Some(Fault::Answer(status, body)) => {
                    let body = SdkBody::from(body.to_string());
                    Ok(HttpResponse::new(status.try_into().unwrap(), body))
                }
                Some(Fault::Change(change)) => {
                    let response = inner.call(request).await?;
                    let status = response.status();
                    let body = response.into_body().collect().await.unwrap().to_bytes();
                    let mut body = serde_json::from_slice(&body).unwrap();
                    change(&mut body);
                    Ok(HttpResponse::new(status, SdkBody::from(body.to_string())))
                }
            }
        })
    }
}

pub(crate) fn error_body(code: &str) -> Value {
    json!({ "__type": format!("com.amazonaws.dynamodb.v20120810#{code}"), "message": "not now" })
}

pub(crate) fn cancelled(reasons: &[&str]) -> Fault {
    let mut body = error_body("TransactionCanceledException");
    body["CancellationReasons"] = reasons.iter().map(|code| json!({ "Code": code })).collect();
    Fault::Answer(400, body)
}

/// The append of two events is cancelled because of the action with this index. By time, it also has
/// one for the head.
pub(crate) fn one_of_two(layout: TableLayout, index: usize, code: &str) -> Fault {
    let actions = if layout == TableLayout::ByRevision { 2 } else { 3 };
    let mut reasons = vec!["None"; actions];
    reasons[index % actions] = code;
    cancelled(&reasons)
}

pub(crate) struct World {
    /// Through the faults.
    pub(crate) db: EventDb,
    /// Past them.
    pub(crate) calm: EventDb,
    layout: TableLayout,
    pub(crate) sent: Arc<AtomicU32>,
    pub(crate) dynamodb: EmbeddedDynamoDb,
}

/// `tracing` remembers for all threads whether an event is wanted. Most tests want none, and one looks at
/// what is logged.
pub(crate) fn want_all_events() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing::subscriber::set_global_default(tracing_subscriber::registry()).unwrap();
    });
}

/// Runs a test on a table by time and on one by revision, at the same time: they mostly wait.
pub(crate) async fn on_both_layouts(test: impl AsyncFn(TableLayout)) {
    tokio::join!(test(TableLayout::ByTime), test(TableLayout::ByRevision));
}

pub(crate) async fn world(
    layout: TableLayout,
    operation: &'static str,
    faults: Vec<Fault>,
    forever: Option<Fault>,
) -> World {
    want_all_events();
    let dynamodb = EmbeddedDynamoDb::in_memory().await.unwrap();
    EventDb::create_table(&dynamodb.client(), "TestEvents").layout(layout).await.unwrap();
    let sent = Arc::new(AtomicU32::new(0));
    let db = through_faults(&dynamodb, operation, faults, forever, &sent).with_layout(layout);
    let calm = EventDb::new(dynamodb.client(), "TestEvents").with_layout(layout);
    World { db, calm, layout, sent, dynamodb }
}

fn through_faults(
    dynamodb: &EmbeddedDynamoDb,
    operation: &'static str,
    faults: Vec<Fault>,
    forever: Option<Fault>,
    sent: &Arc<AtomicU32>,
) -> EventDb {
    let connector = SharedHttpConnector::new(Plan {
        operation,
        faults: Arc::new(Mutex::new(faults.into())),
        forever,
        sent: Arc::clone(sent),
        inner: Arc::new(Connector::builder().build_http()),
    });
    let client = http_client_fn(move |_, _| connector.clone());
    let configuration = dynamodb.client().config().to_builder().http_client(client).build();
    EventDb::new(Client::from_conf(configuration), "TestEvents")
}

pub(crate) async fn world_of_appends(layout: TableLayout, faults: Vec<Fault>) -> World {
    world(layout, "TransactWriteItems", faults, None).await
}

impl World {
    /// The same store, whose next append meets the fault.
    pub(crate) fn next_append_meets(&self, fault: Fault) -> EventDb {
        self.through_faults("TransactWriteItems", vec![fault], None)
    }

    pub(crate) fn through_faults(
        &self,
        operation: &'static str,
        faults: Vec<Fault>,
        forever: Option<Fault>,
    ) -> EventDb {
        through_faults(&self.dynamodb, operation, faults, forever, &self.sent)
            .with_layout(self.layout)
    }

    pub(crate) async fn stored(&self) -> Vec<Event> {
        let history = self.calm.fetch_events_for_subject("book:1").await.unwrap();
        let revisions: Vec<_> =
            history.events.iter().map(|event| event.revision.unwrap()).collect();
        assert_eq!(revisions, (1..).take(revisions.len()).collect::<Vec<_>>());
        history.events
    }
}

pub(crate) fn candidate() -> EventCandidate {
    EventCandidate::builder()
        .source("https://library.example.com")
        .ty("book.borrowed")
        .subject("book:1")
        .data(json!({ "userId": "user:456", "price": 1.0 }))
        .build()
}

pub(crate) fn two() -> [EventCandidate; 2] {
    [candidate(), candidate()]
}

pub(crate) fn commands() -> [EventCandidate; 2] {
    let mut candidates = two();
    for (number, candidate) in candidates.iter_mut().enumerate() {
        candidate.id = Some(format!("command-{number}"));
    }
    candidates
}

pub(crate) fn complete() -> Vec<Event> {
    let time = chrono::DateTime::UNIX_EPOCH + TimeDelta::days(20_000);
    (0..2)
        .map(|number| {
            Event::builder()
                .id(format!("evt-{number}"))
                .source("https://library.example.com")
                .ty("book.borrowed")
                .subject("book:1")
                .time(time + TimeDelta::milliseconds(number))
                .data(json!({}))
                .build()
        })
        .collect()
}

/// Somebody else appends one event, past the faults.
pub(crate) fn somebody_else(calm: &EventDb) -> Action {
    let calm = calm.clone();
    Arc::new(move || {
        let append = calm.add_new_events([candidate()]).into_future();
        Box::pin(async move {
            append.await.unwrap();
        })
    })
}
