//! What the store does when the way to the database fails: requests and answers are lost, answered
//! with errors, or changed, between the unmodified client and the embedded database.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    reason = "a test fails by a panic"
)]

mod common;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::IntoFuture;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::http::{HttpRequest, HttpResponse};
use aws_smithy_http_client::Connector;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use chrono::TimeDelta;
use common::Lines;
use eventdb::{
    Aggregate, DomainEvent, EmbeddedDynamoDb, Error, Event, EventCandidate, EventDb, Execute,
    ExecuteError, Precondition, Repository, TableLayout, TimeLimits, UnknownTypes,
};
use futures_util::future::BoxFuture;
use http_body_util::BodyExt;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tracing::instrument::WithSubscriber;

/// What happens to one request.
#[derive(Clone)]
enum Fault {
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

type Action = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

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

fn error_body(code: &str) -> Value {
    json!({ "__type": format!("com.amazonaws.dynamodb.v20120810#{code}"), "message": "not now" })
}

fn cancelled(reasons: &[&str]) -> Fault {
    let mut body = error_body("TransactionCanceledException");
    body["CancellationReasons"] = reasons.iter().map(|code| json!({ "Code": code })).collect();
    Fault::Answer(400, body)
}

/// The append of two events is cancelled because of the action with this index. By time, it also has
/// one for the head.
fn one_of_two(layout: TableLayout, index: usize, code: &str) -> Fault {
    let actions = if layout == TableLayout::ByRevision { 2 } else { 3 };
    let mut reasons = vec!["None"; actions];
    reasons[index % actions] = code;
    cancelled(&reasons)
}

struct World {
    /// Through the faults.
    db: EventDb,
    /// Past them.
    calm: EventDb,
    layout: TableLayout,
    sent: Arc<AtomicU32>,
    dynamodb: EmbeddedDynamoDb,
}

/// `tracing` remembers for all threads whether an event is wanted. Most tests want none, and one looks at
/// what is logged.
fn want_all_events() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing::subscriber::set_global_default(tracing_subscriber::registry()).unwrap();
    });
}

/// Runs a test on a table by time and on one by revision, at the same time: they mostly wait.
async fn on_both_layouts(test: impl AsyncFn(TableLayout)) {
    tokio::join!(test(TableLayout::ByTime), test(TableLayout::ByRevision));
}

async fn world(
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

async fn world_of_appends(layout: TableLayout, faults: Vec<Fault>) -> World {
    world(layout, "TransactWriteItems", faults, None).await
}

impl World {
    /// The same store, whose next append meets the fault.
    fn next_append_meets(&self, fault: Fault) -> EventDb {
        self.through_faults("TransactWriteItems", vec![fault], None)
    }

    fn through_faults(
        &self,
        operation: &'static str,
        faults: Vec<Fault>,
        forever: Option<Fault>,
    ) -> EventDb {
        through_faults(&self.dynamodb, operation, faults, forever, &self.sent)
            .with_layout(self.layout)
    }

    async fn stored(&self) -> Vec<Event> {
        let history = self.calm.fetch_events_for_subject("book:1").await.unwrap();
        let revisions: Vec<_> =
            history.events.iter().map(|event| event.revision.unwrap()).collect();
        assert_eq!(revisions, (1..).take(revisions.len()).collect::<Vec<_>>());
        history.events
    }
}

fn candidate() -> EventCandidate {
    EventCandidate::builder()
        .source("https://library.example.com")
        .ty("book.borrowed")
        .subject("book:1")
        .data(json!({ "userId": "user:456", "price": 1.0 }))
        .build()
}

fn two() -> [EventCandidate; 2] {
    [candidate(), candidate()]
}

fn commands() -> [EventCandidate; 2] {
    let mut candidates = two();
    for (number, candidate) in candidates.iter_mut().enumerate() {
        candidate.id = Some(format!("command-{number}"));
    }
    candidates
}

fn complete() -> Vec<Event> {
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
fn somebody_else(calm: &EventDb) -> Action {
    let calm = calm.clone();
    Arc::new(move || {
        let append = calm.add_new_events([candidate()]).into_future();
        Box::pin(async move {
            append.await.unwrap();
        })
    })
}

#[tokio::test]
async fn a_lost_answer_is_found_out_for_every_kind_of_append() {
    on_both_layouts(async |layout| {
        for kind in 0..5 {
            let world = world_of_appends(layout, vec![Fault::LoseAnswer, Fault::LoseAnswer]).await;
            let db = &world.db;
            let pristine = Precondition::subject_is_pristine("book:1");
            let events = match kind {
                0 => db.add_new_events(two()).await,
                1 => db.add_new_events(two()).only_if(pristine).await,
                2 => db.add_new_events(commands()).await,
                3 => db.add_events(complete()).await,
                _ => db.add_events(complete()).only_if(pristine).await,
            };
            assert_eq!(events.unwrap(), world.stored().await, "kind {kind}");
            assert_eq!(world.stored().await.len(), 2, "kind {kind}");
            assert_eq!(world.sent.load(Ordering::Relaxed), 3, "kind {kind}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_lost_request_is_sent_again() {
    on_both_layouts(async |layout| {
        let world = world_of_appends(layout, vec![Fault::LoseRequest]).await;
        let events = world.db.add_new_events(two()).await.unwrap();
        assert_eq!(events, world.stored().await);
        assert_eq!(events.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_lost_answer_is_found_out_even_when_others_have_written_since() {
    on_both_layouts(async |layout| {
        for (number, conditional) in [(0, false), (1, true)] {
            let world = world_of_appends(layout, vec![]).await;
            let fault = Fault::LoseAnswerThen(somebody_else(&world.calm));
            let faulty = world.next_append_meets(fault);
            let mut request = faulty.add_new_events(two());
            if conditional {
                request = request.only_if(Precondition::subject_is_pristine("book:1"));
            }
            let events = request.await.unwrap();
            let stored = world.stored().await;
            assert_eq!(stored.len(), 3, "case {number}");
            assert_eq!(events, stored[..2], "case {number}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_append_that_was_overtaken_unseen_is_built_anew_or_conflicts() {
    on_both_layouts(async |layout| {
        let world = world_of_appends(layout, vec![]).await;
        let fault = Fault::LoseRequestThen(somebody_else(&world.calm));
        let faulty = world.next_append_meets(fault.clone());
        let events = faulty.add_new_events(two()).await.unwrap();
        assert_eq!(events, world.stored().await[1..]);
        let faulty = world.next_append_meets(fault);
        let error = faulty
            .add_new_events(two())
            .only_if(Precondition::subject_is_at_revision("book:1", 3))
            .await
            .unwrap_err();
        assert_eq!(error.conflict().unwrap().actual.revision(), 4);
        assert_eq!(world.stored().await.len(), 4);
    })
    .await;
}

#[tokio::test]
async fn passing_failures_are_waited_out() {
    on_both_layouts(async |layout| {
        let world = world_of_appends(
            layout,
            vec![
                Fault::Answer(500, error_body("InternalServerError")),
                Fault::Answer(503, json!({})),
                Fault::Answer(400, error_body("ThrottlingException")),
                Fault::Answer(400, error_body("ProvisionedThroughputExceededException")),
                Fault::Answer(400, error_body("RequestLimitExceeded")),
                Fault::Answer(400, error_body("TransactionInProgressException")),
                one_of_two(layout, 0, "TransactionConflict"),
                one_of_two(layout, 1, "ThrottlingError"),
                one_of_two(layout, 2, "ProvisionedThroughputExceeded"),
            ],
        )
        .await;
        let pristine = Precondition::subject_is_pristine("book:1");
        let events = world.db.add_new_events(two()).only_if(pristine).await.unwrap();
        assert_eq!(events, world.stored().await);
        assert_eq!(world.sent.load(Ordering::Relaxed), 10);
    })
    .await;
}

#[tokio::test]
async fn failures_for_good_are_told_at_once_and_are_no_conflict() {
    on_both_layouts(async |layout| {
        let faults = [
            one_of_two(layout, 1, "ItemCollectionSizeLimitExceeded"),
            one_of_two(layout, 0, "ValidationError"),
            Fault::Answer(400, error_body("ResourceNotFoundException")),
            Fault::Answer(400, error_body("AccessDeniedException")),
            Fault::Answer(400, error_body("IdempotentParameterMismatchException")),
        ];
        for fault in faults {
            let world = world_of_appends(layout, vec![fault]).await;
            let error = world.db.add_new_events(two()).await.unwrap_err();
            assert!(matches!(error, Error::Refused { .. }), "{error:?}");
            assert!(!error.is_conflict() && !error.is_retryable());
            assert!(error.to_string().contains("TestEvents"));
            assert_eq!(world.sent.load(Ordering::Relaxed), 1);
            assert_eq!(world.stored().await, []);
        }
    })
    .await;
}

#[tokio::test]
async fn a_database_that_stays_busy_is_reported_as_such() {
    on_both_layouts(async |layout| {
        let busy = Fault::Answer(400, error_body("ThrottlingException"));
        let world = world(layout, "TransactWriteItems", vec![], Some(busy)).await;
        let error = world.db.add_new_events(two()).await.unwrap_err();
        assert!(matches!(error, Error::Unavailable { attempts: 16, .. }), "{error:?}");
        assert!(error.is_retryable());
        assert_eq!(world.sent.load(Ordering::Relaxed), 16);
        assert_eq!(world.stored().await, []);
    })
    .await;
}

#[tokio::test]
async fn an_unknown_outcome_is_settled_by_its_events_where_it_had_happened() {
    on_both_layouts(async |layout| {
        let world = world(layout, "TransactWriteItems", vec![], Some(Fault::LoseAnswer)).await;
        let error = world.db.add_new_events(two()).await.unwrap_err();
        assert!(!error.is_retryable(), "the same candidates would be stored twice");
        assert!(!format!("{error} {error:?}").contains("user:456"), "errors are logged: no data");
        let Error::OutcomeUnknown { events, .. } = error else { panic!("{error:?}") };
        assert_eq!(world.calm.add_events(events).await.unwrap(), world.stored().await);
        assert_eq!(world.stored().await.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn an_unknown_outcome_is_settled_by_its_events_where_it_had_not_happened() {
    on_both_layouts(async |layout| {
        let world = world(layout, "TransactWriteItems", vec![], Some(Fault::LoseRequest)).await;
        let error = world.db.add_new_events(two()).await.unwrap_err();
        let Error::OutcomeUnknown { events, .. } = error else { panic!("{error:?}") };
        assert_eq!(world.stored().await, []);
        assert_eq!(world.calm.add_events(events).await.unwrap(), world.stored().await);
        assert_eq!(world.stored().await.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn an_unknown_outcome_of_own_ids_is_settled_though_they_were_stored_long_ago() {
    on_both_layouts(async |layout| {
        let refused = Fault::Answer(400, error_body("AccessDeniedException"));
        let world = world_of_appends(layout, vec![Fault::LoseRequest, refused]).await;
        let first = world.calm.add_new_events(commands()).await.unwrap();
        world.calm.add_new_events(two()).await.unwrap();
        // The process was restarted and sends it again, in vain; its events have other times now.
        let error = world.db.add_new_events(commands()).await.unwrap_err();
        let Error::OutcomeUnknown { events, .. } = error else { panic!("{error:?}") };
        assert_eq!(world.calm.add_events(events).await.unwrap(), first);
        assert_eq!(world.stored().await.len(), 4);
    })
    .await;
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum BookEvent {
    #[serde(rename = "book.borrowed")]
    Borrowed {},
}

impl DomainEvent for BookEvent {
    const UNKNOWN_TYPES: UnknownTypes = UnknownTypes::Reject;
}

#[derive(Debug, Default)]
struct Book;

impl Aggregate for Book {
    type Event = BookEvent;

    fn apply(&mut self, _: BookEvent) {}
}

fn borrow(db: &EventDb) -> Execute<'static, Book, Infallible> {
    Repository::<Book>::new(db, "https://library.example.com")
        .execute("book:1", |_| Ok([BookEvent::Borrowed {}]))
        .command("command-1")
}

#[tokio::test]
async fn a_command_without_an_answer_is_found_out() {
    on_both_layouts(async |layout| {
        let faults = vec![Fault::LoseAnswer, Fault::LoseAnswer];
        let world = world(layout, "TransactWriteItems", faults, None).await;
        let executed = borrow(&world.db).await.unwrap();
        assert!(!executed.is_repetition, "its own first attempt stored it");
        assert_eq!(executed.events, world.stored().await);
        assert!(borrow(&world.db).await.unwrap().is_repetition);
        assert_eq!(world.stored().await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_command_whose_outcome_is_unknown_is_settled_by_its_events_and_by_a_repetition() {
    on_both_layouts(async |layout| {
        for fault in [Fault::LoseAnswer, Fault::LoseRequest] {
            for settle_first in [true, false] {
                let fault = Some(fault.clone());
                let world = world(layout, "TransactWriteItems", vec![], fault).await;
                let limits = TimeLimits::default().operation(Duration::from_millis(300));
                let error = borrow(&world.db.with_time_limits(limits)).await.unwrap_err();
                let ExecuteError::Store(Error::OutcomeUnknown { events, .. }) = error else {
                    panic!("{error:?}")
                };
                let settle = async || world.calm.add_events(events.clone()).await.unwrap();
                let repeat = async || borrow(&world.calm).await.unwrap().events;
                let answers = match settle_first {
                    true => [settle().await, repeat().await],
                    false => [repeat().await, settle().await],
                };
                let stored = world.stored().await;
                assert_eq!(stored.len(), 1, "{layout:?}");
                assert_eq!(answers, [stored.clone(), stored]);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_rejected_command_looks_for_its_events_until_no_transaction_is_in_the_way() {
    on_both_layouts(async |layout| {
        let busy = || cancelled(&["TransactionConflict"]);
        let busy = world(layout, "TransactGetItems", vec![busy(), busy()], None).await;
        let first = borrow(&busy.calm).await.unwrap();
        let books = Repository::<Book>::new(&busy.db, "https://library.example.com");
        let rejected = |_: &Book| Err::<[BookEvent; 0], _>("no");
        let again = books.execute("book:1", rejected).command("command-1").await.unwrap();
        assert_eq!(again.events, first.events);
        assert_eq!(
            busy.sent.load(Ordering::Relaxed),
            4,
            "its guard, twice in vain, and its events"
        );

        let silent = world(layout, "TransactGetItems", vec![], Some(Fault::LoseAnswer)).await;
        let limits = TimeLimits::default().operation(Duration::from_millis(200));
        let books = Repository::<Book>::new(
            &silent.db.with_time_limits(limits),
            "https://library.example.com",
        );
        // Whether the command is done isn't known, so it isn't rejected.
        let error = books.execute("book:1", rejected).command("command-1").await.unwrap_err();
        assert!(error.is_retryable(), "{error:?}");
        assert!(!error.to_string().contains("nothing was stored"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn a_subject_that_transactions_keep_busy_is_contention_for_a_decision_too() {
    on_both_layouts(async |layout| {
        let (operation, busy) = match layout {
            // One event is a single put.
            TableLayout::ByRevision => {
                ("PutItem", Fault::Answer(400, error_body("TransactionConflictException")))
            }
            _ => ("TransactWriteItems", cancelled(&["TransactionConflict", "None"])),
        };
        let world = world(layout, operation, vec![], Some(busy)).await;
        let limits = TimeLimits::default().operation(Duration::from_millis(200));
        let error = Repository::<Book>::new(
            &world.db.with_time_limits(limits),
            "https://library.example.com",
        )
        .execute("book:1", |_| Ok::<_, Infallible>([BookEvent::Borrowed {}]))
        .await
        .unwrap_err();
        assert!(error.is_retryable());
        let ExecuteError::Contended { subject, attempts: 1, .. } = error else {
            panic!("{error:?}")
        };
        assert_eq!(subject, "book:1");
    })
    .await;
}

#[tokio::test]
async fn an_unknown_outcome_is_settled_under_the_preconditions_of_its_append() {
    on_both_layouts(async |layout| {
        let world = world(layout, "TransactWriteItems", vec![], Some(Fault::LoseRequest)).await;
        let mut events = complete();
        // Later than what others append now, so that nothing but the precondition is against them.
        for event in &mut events {
            event.time += TimeDelta::days(20_000);
        }
        let pristine = Precondition::subject_is_pristine("book:1");
        let error = world.db.add_events(events).only_if(pristine).await.unwrap_err();
        let Error::OutcomeUnknown { events, .. } = error else { panic!("{error:?}") };
        somebody_else(&world.calm)().await;
        let error = world.calm.add_events(events).await.unwrap_err();
        assert!(error.is_conflict(), "{error:?}");
        assert_eq!(world.stored().await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn settling_that_is_throttled_throughout_leaves_the_outcome_unknown() {
    on_both_layouts(async |layout| {
        for (fault, stored) in [(Fault::LoseAnswer, 2), (Fault::LoseRequest, 0)] {
            let limits = TimeLimits::default().operation(std::time::Duration::from_millis(500));
            let world = world(layout, "TransactWriteItems", vec![], Some(fault)).await;
            let hurried = world.db.with_time_limits(limits);
            let error = hurried.add_new_events(two()).await.unwrap_err();
            let Error::OutcomeUnknown { events, .. } = error else { panic!("{error:?}") };
            // By revision, the refusal of the transaction tells, and nothing else is read.
            let operations: &[_] = match layout {
                TableLayout::ByRevision => &["TransactWriteItems"],
                _ => &["TransactWriteItems", "GetItem"],
            };
            for operation in operations {
                let busy = Some(Fault::Answer(400, error_body("ThrottlingException")));
                let db = world.through_faults(operation, vec![], busy);
                let settling = db.with_time_limits(limits).add_events(events.clone());
                let error = settling.await.unwrap_err();
                let Error::OutcomeUnknown { events: again, .. } = error else {
                    panic!("{error:#}")
                };
                assert_eq!(again, events, "{operation}");
            }
            assert_eq!(world.stored().await.len(), stored);
        }
    })
    .await;
}

#[tokio::test]
async fn a_repetition_is_found_although_its_revision_is_reached_only_while_it_is_looked_for() {
    let world = world_of_appends(TableLayout::ByRevision, vec![]).await;
    world.calm.add_new_events([candidate()]).await.unwrap();
    let append = |db: &EventDb| {
        db.add_events(complete()).only_if(Precondition::subject_is_at_revision("book:1", 2))
    };
    // Revision 2 isn't there. Before the end is read, it is stored, and the same append behind it.
    let (calm, other) = (world.calm.clone(), somebody_else(&world.calm));
    let action: Action = Arc::new(move || {
        let (other, same) = (other(), append(&calm).into_future());
        Box::pin(async move {
            other.await;
            same.await.unwrap();
        })
    });
    let db = world.through_faults("Query", vec![Fault::LoseRequestThen(action)], None);
    assert_eq!(append(&db).await.unwrap(), world.stored().await[2..]);
}

/// Only the places to which it was sent can tell. What was found out about other subjects counts as it
/// was, also if they have moved on or can't be read.
#[tokio::test]
async fn an_append_by_revision_is_settled_without_reading_other_subjects() {
    for fault in [Fault::LoseAnswer, Fault::LoseRequest] {
        for operation in ["Query", "GetItem"] {
            let limits = TimeLimits::default().operation(Duration::from_millis(500));
            let fault = Some(fault.clone());
            let world = world(TableLayout::ByRevision, "TransactWriteItems", vec![], fault).await;
            let others = ["book:2", "book:3"].map(|subject| {
                let mut other = candidate();
                subject.clone_into(&mut other.subject);
                other
            });
            let others = world.calm.add_new_events(others).await.unwrap();
            let error = world
                .db
                .with_time_limits(limits)
                .add_new_events(two())
                .only_if(Precondition::subject_is_at_event_id("book:2", &others[0].id))
                .only_if(Precondition::subject_is_populated("book:3"))
                .await
                .unwrap_err();
            let Error::OutcomeUnknown { events, .. } = error else { panic!("{error:?}") };
            let busy = Some(Fault::Answer(400, error_body("ThrottlingException")));
            let db = world.through_faults(operation, vec![], busy).with_time_limits(limits);
            assert_eq!(db.add_events(events).await.unwrap(), world.stored().await);
            assert_eq!(world.stored().await.len(), 2);
        }
    }
}

/// Some reasons of a cancelled transaction are that items were busy, whatever they were.
fn busy_instead(which: fn(usize, usize) -> bool) -> impl Fn(&mut Value) {
    move |body| {
        // The very same transaction may be answered as one that has succeeded.
        let Some(reasons) = body["CancellationReasons"].as_array_mut() else { return };
        let all = reasons.len();
        for (index, reason) in reasons.iter_mut().enumerate() {
            if which(index, all) && reason["Code"] == "ConditionalCheckFailed" {
                *reason = json!({ "Code": "TransactionConflict" });
            }
        }
    }
}

#[tokio::test]
async fn a_repetition_is_recognised_though_some_of_its_places_are_busy() {
    on_both_layouts(async |layout| {
        // The head, one of two events, both events; and the guards, where the caller chose the ids.
        let changes: [fn(&mut Value); 4] = [
            |body| busy_instead(|index, _| index == 0)(body),
            |body| busy_instead(|index, _| index == 1)(body),
            |body| busy_instead(|index, all| index == all - 1)(body),
            |body| busy_instead(|index, _| index > 0)(body),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            for kind in 0..4 {
                let world = world_of_appends(layout, vec![]).await;
                let at = Precondition::subject_is_at_revision("book:1", 0);
                let (first, again) = match kind {
                    0 => (
                        world.calm.add_events(complete()).await.unwrap(),
                        world.next_append_meets(Fault::Change(change)).add_events(complete()).await,
                    ),
                    1 => (
                        world.calm.add_events(complete()).only_if(at.clone()).await.unwrap(),
                        world
                            .next_append_meets(Fault::Change(change))
                            .add_events(complete())
                            .only_if(at)
                            .await,
                    ),
                    2 => (
                        world.calm.add_new_events(commands()).await.unwrap(),
                        world
                            .next_append_meets(Fault::Change(change))
                            .add_new_events(commands())
                            .await,
                    ),
                    _ => (
                        world.calm.add_new_events(commands()).only_if(at.clone()).await.unwrap(),
                        world
                            .next_append_meets(Fault::Change(change))
                            .add_new_events(commands())
                            .only_if(at)
                            .await,
                    ),
                };
                assert_eq!(again.unwrap(), first, "kind {kind}, change {number}");
                assert_eq!(world.stored().await, first, "kind {kind}, change {number}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_reused_id_brings_what_is_stored_and_its_debug_form_tells_no_data() {
    on_both_layouts(async |layout| {
        let world = world_of_appends(layout, vec![]).await;
        let stored = world.calm.add_new_events(commands()).await.unwrap();
        let mut other = commands();
        other[1].data = json!({ "secret": true }).into();
        let error = world.calm.add_new_events(other).await.unwrap_err();
        assert!(!format!("{error:?}").contains("user:456"), "{error:?}");
        let Error::IdReused { index: 1, stored: Some(found), .. } = error else {
            panic!("{error:?}")
        };
        assert_eq!(found.into_event(), stored[1]);
    })
    .await;
}

#[tokio::test]
async fn the_cause_of_an_error_is_said_once_and_is_its_source() {
    on_both_layouts(async |layout| {
        let denied = error_body("AccessDeniedException");
        let world = world_of_appends(layout, vec![Fault::Answer(400, denied)]).await;
        let error = world.db.add_new_events(two()).await.unwrap_err();
        assert!(!error.to_string().contains("not now"), "{error}");
        for text in [format!("{error:#}"), anyhow(&error)] {
            assert_eq!(text.matches("not now").count(), 1, "{text}");
        }
        let invalid = world.db.fetch_events_for_subject("").await.unwrap_err();
        let text = anyhow(&invalid);
        assert_eq!(text.matches("subject").count(), invalid.to_string().matches("subject").count());
    })
    .await;
}

/// An error as most programs print it: itself, then each of its sources.
fn anyhow(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(Some(error), |error| error.source());
    sources.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[tokio::test]
async fn repetitions_are_logged_with_subject_and_attempt_and_from_the_fifth_as_warnings() {
    on_both_layouts(async |layout| {
        let busy = || Fault::Answer(400, error_body("ThrottlingException"));
        let world = world_of_appends(layout, vec![busy(), busy(), busy(), busy(), busy()]).await;
        let somebody_else = somebody_else(&world.calm);
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        async {
            world.db.add_new_events(two()).await.unwrap();
            let overtaken = world.next_append_meets(Fault::LoseRequestThen(somebody_else));
            overtaken.add_new_events(two()).await.unwrap();
        }
        .with_subscriber(subscriber)
        .await;
        let text = lines.text();
        let ours: Vec<_> = text.lines().filter(|line| line.contains("trying again")).collect();
        for attempt in 1..=5 {
            let level = if attempt < 5 { "DEBUG" } else { "WARN" };
            let is_it = |line: &&&str| {
                line.contains(level)
                    && line.contains(&format!("attempt={attempt} "))
                    && line.contains("subject=\"book:1\"")
                    && line.contains("ThrottlingException")
            };
            assert!(ours.iter().any(|line| is_it(&line)), "attempt {attempt}: {ours:#?}");
        }
        let others =
            ours.iter().any(|line| line.contains("another writer of the subject was first"));
        assert!(others, "{ours:#?}");
        assert!(ours.iter().all(|line| !line.contains("user:456")), "no data: {ours:#?}");
    })
    .await;
}

#[tokio::test]
async fn another_trace_or_correlation_does_not_make_a_repetition_look_different() {
    on_both_layouts(async |layout| {
        let world = world_of_appends(layout, vec![]).await;
        let with = |extension: &str, value: &str| {
            commands().map(|mut candidate| {
                candidate.extensions.insert(extension.to_owned(), value.into());
                candidate
            })
        };
        for extension in ["traceparent", "tracestate", "correlationid", "causationid"] {
            let first = world.calm.add_new_events(with(extension, "one")).await.unwrap();
            assert_eq!(world.calm.add_new_events(with(extension, "two")).await.unwrap(), first);
        }
        let other = world.calm.add_new_events(with("priority", "high")).await.unwrap_err();
        assert!(matches!(other, Error::IdReused { .. }), "{other:?}");
    })
    .await;
}

#[tokio::test]
async fn preconditions_alone_leave_no_outcome_unknown() {
    on_both_layouts(async |layout| {
        let world = world(layout, "TransactWriteItems", vec![], Some(Fault::LoseAnswer)).await;
        let pristine = Precondition::subject_is_pristine("book:1");
        let error = world.db.add_new_events([]).only_if(pristine).await.unwrap_err();
        assert!(error.is_retryable(), "{error:?}");
    })
    .await;
}

#[tokio::test]
async fn a_refusal_after_a_lost_answer_leaves_the_outcome_unknown() {
    on_both_layouts(async |layout| {
        let world = world_of_appends(
            layout,
            vec![Fault::LoseAnswer, Fault::Answer(400, error_body("AccessDeniedException"))],
        )
        .await;
        let error = world.db.add_new_events(two()).await.unwrap_err();
        assert!(matches!(error, Error::OutcomeUnknown { attempts: 2, .. }), "{error:?}");
    })
    .await;
}

#[tokio::test]
async fn a_dropped_append_is_stored_whole_or_not_at_all() {
    on_both_layouts(async |layout| {
        for delay in [0, 1, 3, 6, 10, 20] {
            let world = world_of_appends(layout, vec![]).await;
            let append = world.db.add_new_events(two()).into_future();
            let _ = tokio::time::timeout(std::time::Duration::from_millis(delay), append).await;
            // What was sent may still be carried out; once it is, or isn't, the next append comes.
            world.calm.add_new_events([candidate()]).await.unwrap();
            assert!([1, 3].contains(&world.stored().await.len()), "after {delay} ms");
        }
    })
    .await;
}

#[tokio::test]
async fn nobody_at_the_endpoint_is_unavailable_and_nothing_was_stored() {
    want_all_events();
    let dynamodb = EmbeddedDynamoDb::in_memory().await.unwrap();
    let client = dynamodb.client();
    dynamodb.stop().await;
    let db = EventDb::new(client, "TestEvents");
    let read = db.fetch_events_for_subject("book:1").await.unwrap_err();
    let append = db
        .add_new_events(two())
        .only_if(Precondition::subject_is_at_revision("book:1", 7))
        .await
        .unwrap_err();
    for error in [read, append] {
        assert!(matches!(error, Error::Unavailable { .. }) && error.is_retryable(), "{error:?}");
    }
}

#[tokio::test]
async fn a_missing_table_is_named() {
    on_both_layouts(async |layout| {
        let world = world_of_appends(layout, vec![]).await;
        let db = EventDb::new(world.dynamodb.client(), "Nowhere");
        for error in [
            db.add_new_events(two()).await.unwrap_err(),
            db.fetch_events_for_subject("book:1").await.unwrap_err(),
            db.fetch_event("evt-1").await.unwrap_err(),
        ] {
            assert!(
                matches!(&error, Error::Refused { table, .. } if table == "Nowhere"),
                "{error:?}"
            );
        }
    })
    .await;
}

/// By time, because by revision no key lies before a subject's first row.
#[tokio::test]
async fn an_empty_page_with_more_behind_it_does_not_end_a_read() {
    fn without_rows(body: &mut Value) {
        // Ends just before the first row: the next page begins where this one did.
        let key = body["Items"][0].clone();
        body["LastEvaluatedKey"] = json!({ "subject": key["subject"], "time_type": { "S": "0" } });
        body["Items"] = json!([]);
        body["Count"] = json!(0);
    }
    let faults = vec![Fault::Change(without_rows)];
    let world = world(TableLayout::ByTime, "Query", faults, None).await;
    let stored = world.calm.add_new_events(two()).await.unwrap();
    let history = world.db.fetch_events_for_subject("book:1").await.unwrap();
    assert_eq!(history.events, stored);
    assert_eq!(world.sent.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_page_that_was_read_in_the_midst_of_a_transaction_is_read_again() {
    on_both_layouts(async |layout| {
        fn without_the_second(body: &mut Value) {
            body["Items"].as_array_mut().unwrap().remove(1);
            body["Count"] = json!(2);
        }
        let world = world(layout, "Query", vec![Fault::Change(without_the_second)], None).await;
        let stored =
            world.calm.add_new_events([candidate(), candidate(), candidate()]).await.unwrap();
        let history = world.db.fetch_events_for_subject("book:1").await.unwrap();
        assert_eq!(history.events, stored);
        assert_eq!(history.missing, []);
        assert_eq!(world.sent.load(Ordering::Relaxed), 2);
    })
    .await;
}

#[tokio::test]
async fn an_attribute_type_of_the_future_makes_a_row_invalid_and_nothing_else() {
    on_both_layouts(async |layout| {
        fn of_the_future(body: &mut Value) {
            body["Items"][0]["data"] = json!({ "M": { "vector": { "QUBIT": "01" } } });
        }
        let world = world(layout, "Query", vec![Fault::Change(of_the_future)], None).await;
        let stored = world.calm.add_new_events(two()).await.unwrap();
        let history = world.db.fetch_events_for_subject("book:1").await.unwrap();
        assert_eq!(history.events, stored[1..]);
        assert_eq!(history.invalid.len(), 1);
    })
    .await;
}
