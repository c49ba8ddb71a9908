//! The way to the database, on which everything goes wrong that can: the engine is called directly,
//! without sockets, so that with a paused clock nothing is left to chance but the seed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::http::{HttpRequest, HttpResponse};
use aws_sdk_dynamodb::config::retry::RetryPartition;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_smithy_async::time::TimeSource;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use chrono::{DateTime, Utc};
use dynoxide::{Database, DynoxideError};
use fastrand::Rng;
use serde_json::{Value, json};
use tokio::time::sleep;

/// What happens to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// It never arrives.
    LoseRequest,
    /// It is carried out, but the connection breaks before the answer.
    LoseAnswer,
    /// The connection breaks, and it arrives all the same, some time later.
    ArriveLate,
    /// It takes a second there and a second back.
    Delay,
    /// It is not carried out, and answered with 500.
    FailBefore,
    /// It is carried out, and answered with 500.
    FailAfter,
    Throttle,
    ThroughputExceeded,
    LimitExceeded,
    TransactionInProgress,
    /// Of a transaction: cancelled for a conflict with another one.
    TransactionConflict,
    /// Of a transaction: cancelled for want of throughput on one action.
    CancelledByThrottling,
    CancelledByThroughput,
    /// Of a transaction: where conditions have failed, some of these items are busy instead.
    PartlyBusy,
    /// Of a query: the page ends early.
    ShortPage,
    /// Of a query: nothing but the place to go on from.
    EmptyPage,
    /// Of a query of a global index: its newest rows aren't there yet.
    StaleIndex,
}

const ANY: [Fault; 9] = [
    Fault::LoseRequest,
    Fault::LoseAnswer,
    Fault::ArriveLate,
    Fault::Delay,
    Fault::FailBefore,
    Fault::FailAfter,
    Fault::Throttle,
    Fault::ThroughputExceeded,
    Fault::LimitExceeded,
];
/// A Put is also refused while a transaction writes to its item.
const OF_PUTS: [Fault; 1] = [Fault::TransactionConflict];
const OF_TRANSACTIONS: [Fault; 5] = [
    Fault::TransactionInProgress,
    Fault::TransactionConflict,
    Fault::CancelledByThrottling,
    Fault::CancelledByThroughput,
    Fault::PartlyBusy,
];
const OF_QUERIES: [Fault; 3] = [Fault::ShortPage, Fault::EmptyPage, Fault::StaleIndex];
/// Those of which a service that is cut off can't tell whether its transaction was carried out.
const SILENT: [Fault; 6] = [
    Fault::LoseRequest,
    Fault::LoseAnswer,
    Fault::ArriveLate,
    Fault::FailBefore,
    Fault::FailAfter,
    Fault::TransactionInProgress,
];

/// How many kinds there are.
pub(crate) const KINDS: usize = ANY.len() + OF_TRANSACTIONS.len() + OF_QUERIES.len();

/// A way to the database with faults by a seeded plan.
#[derive(Clone)]
pub(crate) struct Network {
    database: Database,
    random: Arc<Mutex<Rng>>,
    /// Of a hundred requests, how many meet a fault.
    percentage: u8,
    met: Arc<Mutex<BTreeMap<Fault, u64>>>,
    clock: Clock,
    /// The client's quota of retries, which it would share with all clients of the process.
    retries: RetryPartition,
    /// What the transactions to come of this service meet, while it is cut off.
    silent: Arc<Mutex<Vec<Fault>>>,
}

impl fmt::Debug for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Network").finish_non_exhaustive()
    }
}

impl Network {
    pub(crate) fn new(database: Database, seed: u64, percentage: u8, clock: Clock) -> Self {
        let random = Arc::new(Mutex::new(Rng::with_seed(seed)));
        let retries = RetryPartition::custom("storm").build();
        let (met, silent) = (Arc::default(), Arc::default());
        Self { database, random, percentage, met, clock, retries, silent }
    }

    /// The same for one service, which can be cut off by itself.
    pub(crate) fn of_one_service(&self) -> Self {
        Self { silent: Arc::default(), ..self.clone() }
    }

    /// Lets that many transactions to come of this service end without a word: all of them in the
    /// same way, or each in another.
    pub(crate) fn cut_off(&self, transactions: usize) {
        let mut random = self.random.lock().unwrap();
        let mut silent = vec![SILENT[random.usize(0..SILENT.len())]; transactions];
        if random.bool() {
            silent.fill_with(|| SILENT[random.usize(0..SILENT.len())]);
        }
        *self.silent.lock().unwrap() = silent;
    }

    /// Lets that many transactions to come of this service be throttled.
    pub(crate) fn throttle(&self, transactions: usize) {
        *self.silent.lock().unwrap() = vec![Fault::Throttle; transactions];
    }

    /// The same database by a way on which nothing happens.
    pub(crate) fn calm(&self) -> Self {
        Self { percentage: 0, ..self.clone() }
    }

    /// How often each fault was met.
    pub(crate) fn met(&self) -> BTreeMap<Fault, u64> {
        self.met.lock().unwrap().clone()
    }

    pub(crate) fn client(&self) -> Client {
        let connector = SharedHttpConnector::new(self.clone());
        let credentials = Credentials::new("test", "test", None, None, "test");
        Client::from_conf(
            aws_sdk_dynamodb::Config::builder()
                .behavior_version(BehaviorVersion::latest())
                .region(Region::from_static("eu-west-1"))
                .credentials_provider(credentials)
                .endpoint_url("http://dynamodb.invalid")
                .http_client(http_client_fn(move |_, _| connector.clone()))
                .time_source(self.clock)
                .retry_partition(self.retries.clone())
                .build(),
        )
    }

    fn fault(&self, operation: &str) -> Option<Fault> {
        let mut random = self.random.lock().unwrap();
        let is_append = ["TransactWriteItems", "PutItem"].contains(&operation);
        let silent = if is_append { self.silent.lock().unwrap().pop() } else { None };
        let fault = silent.or_else(|| {
            if random.u8(0..100) >= self.percentage {
                return None;
            }
            let own: &[Fault] = match operation {
                "TransactWriteItems" => &OF_TRANSACTIONS,
                "PutItem" => &OF_PUTS,
                "Query" => &OF_QUERIES,
                _ => &[],
            };
            random.choice(ANY.iter().chain(own).copied().collect::<Vec<_>>())
        });
        if let Some(fault) = fault {
            *self.met.lock().unwrap().entry(fault).or_default() += 1;
        }
        fault
    }

    fn pause(&self, longest_milliseconds: u64) -> Duration {
        Duration::from_micros(self.random.lock().unwrap().u64(0..longest_milliseconds * 1_000))
    }

    /// Lets the request meet its fault.
    async fn carry(self, operation: String, mut request: Value) -> Result<Reply, ConnectorError> {
        let broken = || ConnectorError::io("the connection was closed".into());
        let fault = self.fault(&operation);
        if let Some(members) = request.as_object_mut() {
            // Nobody reads it here, and the engine searches all of it for each write.
            members.remove("StreamSpecification");
        }
        if self.random.lock().unwrap().bool() {
            // As if the ten minutes were over for which DynamoDB remembers it.
            if let Some(members) = request.as_object_mut() {
                members.remove("ClientRequestToken");
            }
        }
        let delay = if fault == Some(Fault::Delay) { 1_000 } else { 3 };
        sleep(self.pause(delay)).await;
        let reply = match fault {
            None | Some(Fault::Delay) => self.carry_out(&operation, &request),
            Some(Fault::LoseRequest) => return Err(broken()),
            Some(Fault::LoseAnswer) => {
                self.carry_out(&operation, &request);
                return Err(broken());
            }
            Some(Fault::ArriveLate) => {
                let late = self.pause(300);
                tokio::spawn(async move {
                    sleep(late).await;
                    self.carry_out(&operation, &request);
                });
                return Err(broken());
            }
            Some(Fault::FailBefore) => Reply::error(500, "InternalServerError"),
            Some(Fault::FailAfter) => {
                self.carry_out(&operation, &request);
                Reply::error(500, "InternalServerError")
            }
            Some(Fault::Throttle) => Reply::error(400, "ThrottlingException"),
            Some(Fault::ThroughputExceeded) => {
                Reply::error(400, "ProvisionedThroughputExceededException")
            }
            Some(Fault::LimitExceeded) => Reply::error(400, "RequestLimitExceeded"),
            Some(Fault::TransactionInProgress) => {
                Reply::error(400, "TransactionInProgressException")
            }
            Some(Fault::TransactionConflict) if operation == "PutItem" => {
                Reply::error(400, "TransactionConflictException")
            }
            Some(Fault::TransactionConflict) => self.cancelled(&request, "TransactionConflict"),
            Some(Fault::CancelledByThrottling) => self.cancelled(&request, "ThrottlingError"),
            Some(Fault::CancelledByThroughput) => {
                self.cancelled(&request, "ProvisionedThroughputExceeded")
            }
            Some(Fault::PartlyBusy) => {
                let mut reply = self.carry_out(&operation, &request);
                let reasons = reply.body["CancellationReasons"].as_array_mut();
                for reason in reasons.into_iter().flatten() {
                    let mut random = self.random.lock().unwrap();
                    if reason["Code"] == "ConditionalCheckFailed" && random.bool() {
                        let busy = ["TransactionConflict", "ThrottlingError"][random.usize(0..2)];
                        *reason = json!({ "Code": busy });
                    }
                }
                reply
            }
            Some(Fault::ShortPage) => {
                let limit = request["Limit"].as_u64().unwrap_or(u64::MAX);
                let short = self.random.lock().unwrap().u64(1..4);
                request["Limit"] = limit.min(short).into();
                self.carry_out(&operation, &request)
            }
            Some(Fault::EmptyPage) => match request.get("ExclusiveStartKey") {
                Some(key) => Reply {
                    status: 200,
                    body: json!({ "Items": [], "Count": 0, "ScannedCount": 0, "LastEvaluatedKey": key }),
                },
                None => self.carry_out(&operation, &request),
            },
            Some(Fault::StaleIndex) => {
                let mut reply = self.carry_out(&operation, &request);
                let is_global =
                    request["IndexName"].as_str().is_some_and(|name| name.starts_with("AllEvents"));
                if is_global && reply.body.get("LastEvaluatedKey").is_none() {
                    let missing = self.random.lock().unwrap().usize(1..4);
                    let forward = request["ScanIndexForward"] != json!(false);
                    if let Some(items) = reply.body["Items"].as_array_mut() {
                        if !forward {
                            items.reverse();
                        }
                        items.truncate(items.len().saturating_sub(missing));
                        if !forward {
                            items.reverse();
                        }
                    }
                }
                reply
            }
        };
        sleep(self.pause(delay)).await;
        Ok(reply)
    }

    /// A cancelled transaction, for a reason on one of its actions.
    fn cancelled(&self, request: &Value, code: &str) -> Reply {
        let actions = request["TransactItems"].as_array().map_or(1, Vec::len);
        let guilty = self.random.lock().unwrap().usize(0..actions);
        let mut reply = Reply::error(400, "TransactionCanceledException");
        reply.body["CancellationReasons"] = (0..actions)
            .map(|action| json!({ "Code": if action == guilty { code } else { "None" } }))
            .collect();
        reply
    }

    fn carry_out(&self, operation: &str, request: &Value) -> Reply {
        let database = &self.database;
        macro_rules! call {
            ($method:ident) => {
                serde_json::from_value(request.clone())
                    .map_err(|error| DynoxideError::ValidationException(error.to_string()))
                    .and_then(|request| database.$method(request))
                    .map(|answer| serde_json::to_value(answer).unwrap())
            };
        }
        let answer = match operation {
            "CreateTable" => call!(create_table),
            "DescribeTable" => call!(describe_table),
            "GetItem" => call!(get_item),
            "PutItem" => call!(put_item),
            "UpdateItem" => call!(update_item),
            "BatchGetItem" => call!(batch_get_item),
            "Query" => call!(query),
            "TransactGetItems" => call!(transact_get_items),
            "TransactWriteItems" => call!(transact_write_items),
            other => panic!("{other} is not expected"),
        };
        match answer {
            Ok(body) => Reply { status: 200, body },
            Err(error) => Reply {
                status: error.status_code(),
                body: serde_json::from_str(&error.to_json()).unwrap(),
            },
        }
    }
}

/// What the database answers.
struct Reply {
    status: u16,
    body: Value,
}

impl Reply {
    fn error(status: u16, code: &str) -> Self {
        let code = format!("com.amazonaws.dynamodb.v20120810#{code}");
        Self { status, body: json!({ "__type": code, "message": "not now" }) }
    }
}

impl HttpConnector for Network {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        let body = request.body().bytes().unwrap_or_default();
        let body: Value = serde_json::from_slice(body).unwrap();
        // On its way it is out of the client's hands: it goes on when the client is killed.
        let carried = tokio::spawn(self.clone().carry(operation, body));
        HttpConnectorFuture::new(async move {
            let Reply { status, body } = carried.await.unwrap()?;
            let mut response =
                HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body.to_string()));
            response.headers_mut().insert("content-type", "application/x-amz-json-1.0");
            Ok(response)
        })
    }
}

/// The clock of a run, in virtual time: each run begins at the same moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(tokio::time::Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(tokio::time::Instant::now())
    }

    /// Since the run began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    /// The time of day.
    pub(crate) fn time(&self) -> DateTime<Utc> {
        self.now().into()
    }
}

impl TimeSource for Clock {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000) + self.elapsed()
    }
}
