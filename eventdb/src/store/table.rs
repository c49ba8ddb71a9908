//! One table, which all operations use. Only this module, the creation of the table and read models
//! send requests to DynamoDB.

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use std::time::UNIX_EPOCH;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::client::Waiters;
use aws_sdk_dynamodb::error::{BuildError, ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::create_table::CreateTableError;
use aws_sdk_dynamodb::operation::create_table::builders::CreateTableFluentBuilder;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::transact_get_items::TransactGetItemsError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::error::TransactionCanceledException;
use aws_sdk_dynamodb::types::{
    self, CancellationReason, KeysAndAttributes, ReturnConsumedCapacity,
    ReturnValuesOnConditionCheckFailure, TableDescription, TransactWriteItem,
};
use tokio::time::Instant;
use tracing::Instrument;

use crate::schema::{attribute, limit};
use crate::store::append::refusal::{BUSY_REASONS, CONDITION_FAILED, TRANSACTION_CONFLICT};
use crate::store::append::transaction::Transaction;
use crate::store::capacity::{CapacityMeter, ConsumedCapacity, Kind};
use crate::store::concurrently::concurrently;
use crate::store::error::{BoxError, Error};
use crate::store::failure::{Failure, Transmission};
use crate::store::layout::{EventKey, SdkItem, TableLayout};
use crate::store::mismatch;
use crate::store::read::query::{Page, Query};
use crate::store::retry::{Attempts, TimeLimits};

/// Distinguishes the tables that this process has opened. Clones of a [`Table`] have the same one.
#[derive(Clone, Debug)]
pub(crate) struct TableIdentity(Arc<str>);

impl PartialEq for TableIdentity {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// What came of sending an append.
pub(crate) enum Written {
    Stored,
    /// It was refused for these reasons, one per action.
    Refused(Vec<CancellationReason>),
}

/// A table and its client. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    client: Client,
    name: Arc<str>,
    meter: Option<CapacityMeter>,
    limits: TimeLimits,
    /// `None` if the table isn't known to hold the events of a store.
    layout: Option<TableLayout>,
    identity: TableIdentity,
    /// Most bytes of an event's message.
    message_bytes: usize,
    /// When the running operation must have ended.
    deadline: Option<Instant>,
}

/// A new table of a few indexes takes some ten seconds on AWS.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Most rows of a page. DynamoDB ends a page at 1 MB, which is fewer rows unless they have less than 256
/// bytes. The embedded database would read all rows that are left, for each page.
pub(crate) const ROWS_PER_PAGE: i32 = 4_096;

/// Most keys of one `BatchGetItem`.
pub(crate) const KEYS_PER_REQUEST: usize = 100;

/// Sends a request without the client's retries, and observes whether it was passed to the network.
macro_rules! send {
    ($table:ident, $operation:literal, $kind:expr, $request:expr, $consumed:expr) => {{
        let transmission = Transmission::default();
        // It is large, and everything that waits for it would be.
        let request = Box::pin(
            $request
                .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
                .customize()
                .config_override(crate::store::retry::without_retries())
                .interceptor(transmission.clone())
                .send(),
        );
        $table.attempt($operation, $kind, transmission, request, $consumed)
    }};
}

impl Table {
    pub(crate) fn new(client: Client, name: impl Into<String>) -> Self {
        let name: Arc<str> = name.into().into();
        Self {
            client,
            layout: None,
            identity: TableIdentity(Arc::clone(&name)),
            name,
            meter: None,
            limits: TimeLimits::default(),
            message_bytes: limit::MESSAGE_BYTES,
            deadline: None,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn layout(&self) -> TableLayout {
        self.layout.unwrap_or_default()
    }

    pub(crate) fn with_layout(&self, layout: TableLayout) -> Self {
        Self { layout: Some(layout), ..self.clone() }
    }

    pub(crate) fn identity(&self) -> TableIdentity {
        self.identity.clone()
    }

    pub(crate) fn metered_by(&self, meter: &CapacityMeter) -> Self {
        Self { meter: Some(meter.clone()), ..self.clone() }
    }

    pub(crate) fn within(&self, limits: TimeLimits) -> Self {
        Self { limits, ..self.clone() }
    }

    pub(crate) fn with_message_bytes(&self, message_bytes: usize) -> Self {
        Self { message_bytes, ..self.clone() }
    }

    pub(crate) fn message_bytes(&self) -> usize {
        self.message_bytes
    }

    /// The table for one operation, whose requests share a time limit.
    pub(crate) fn begin(&self) -> Self {
        let deadline = self.deadline.unwrap_or_else(|| self.limits.deadline());
        Self { deadline: Some(deadline), ..self.clone() }
    }

    /// The attempts of the operation that [`begin`](Self::begin) has started, or of a new one.
    pub(crate) fn attempts(&self, operation: &'static str) -> Attempts {
        let deadline = self.deadline.unwrap_or_else(|| self.limits.deadline());
        Attempts::until(deadline, operation, &self.name)
    }

    /// Milliseconds since 1970 by the client's clock.
    pub(crate) fn now(&self) -> i64 {
        let time = self.client.config().time_source().unwrap_or_default().now();
        let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
    }

    /// Reads one item, strongly consistent.
    pub(crate) async fn get(&self, key: SdkItem) -> Result<Option<SdkItem>, Error> {
        self.get_item(key, true).await
    }

    /// Reads one item, eventually consistent, at half the cost.
    pub(crate) async fn get_eventually(&self, key: SdkItem) -> Result<Option<SdkItem>, Error> {
        self.get_item(key, false).await
    }

    async fn get_item(&self, key: SdkItem, consistent: bool) -> Result<Option<SdkItem>, Error> {
        self.repeat("GetItem", || {
            let request = self
                .client
                .get_item()
                .table_name(&*self.name)
                .set_key(Some(key.clone()))
                .consistent_read(consistent);
            send!(self, "GetItem", Kind::Read, request, |output| output
                .consumed_capacity
                .as_slice())
        })
        .await
        .map(|output| output.item)
    }

    /// Reads items in a transaction, so that no other transaction is seen in part. It costs twice as
    /// much as [`get`](Self::get), and takes at most 100 items of 4 MB together. The permission that
    /// it needs is that of `GetItem`.
    pub(crate) async fn get_isolated(
        &self,
        keys: Vec<SdkItem>,
    ) -> Result<Vec<Option<SdkItem>>, Error> {
        let get = |key: SdkItem| {
            let get = types::Get::builder().table_name(&*self.name).set_key(Some(key)).build()?;
            Ok(types::TransactGetItem::builder().get(get).build())
        };
        let gets: Result<Vec<_>, BuildError> = keys.into_iter().map(get).collect();
        let gets = gets.map_err(|error| self.refused(Box::new(error)))?;
        let mut attempts = self.attempts("TransactGetItems");
        loop {
            let request = self.client.transact_get_items().set_transact_items(Some(gets.clone()));
            let answer = send!(self, "TransactGetItems", Kind::Read, request, |output| {
                output.consumed_capacity.as_deref().unwrap_or_default()
            })
            .await;
            match answer {
                Ok(output) => {
                    let rows = output.responses.into_iter().flatten();
                    let row = |row: types::ItemResponse| row.item.filter(|item| !item.is_empty());
                    return Ok(rows.map(row).collect());
                }
                // A transaction is storing one of the items at this moment.
                Err(Failure::Service(TransactGetItemsError::TransactionCanceledException(
                    cancelled,
                ))) if is_busy(&cancelled) => attempts.pause(Box::new(cancelled)).await?,
                Err(failure) => self.pause_after(failure, &mut attempts).await?,
            }
        }
    }

    /// Reads one page, of at most 1 MB.
    pub(crate) async fn query(&self, query: &Query) -> Result<Page, Error> {
        let output = self
            .repeat("Query", || {
                let request = query.on(self.client.query().table_name(&*self.name));
                send!(self, "Query", Kind::Read, request, |output| output
                    .consumed_capacity
                    .as_slice())
            })
            .await?;
        let next = output.last_evaluated_key.filter(|key| !key.is_empty());
        Ok(Page { items: output.items.unwrap_or_default(), next })
    }

    /// A request to create the table, to be completed.
    pub(crate) fn creation(&self) -> CreateTableFluentBuilder {
        self.client.create_table().table_name(&*self.name)
    }

    /// Creates the table, unless one of that name is there, and waits until it is ready.
    pub(crate) async fn create(
        &self,
        request: &CreateTableFluentBuilder,
    ) -> Result<Option<TableDescription>, Error> {
        let mut attempts = self.attempts("CreateTable");
        loop {
            let transmission = Transmission::default();
            let sent = request
                .clone()
                .customize()
                .config_override(crate::store::retry::without_retries())
                .interceptor(transmission.clone())
                .send();
            match self.attempt("CreateTable", Kind::Write, transmission, sent, |_| &[]).await {
                Ok(_) | Err(Failure::Service(CreateTableError::ResourceInUseException(_))) => break,
                Err(failure) => self.pause_after(failure, &mut attempts).await?,
            }
        }
        let waiter = self.client.wait_until_table_exists().table_name(&*self.name);
        let ready = tokio::time::timeout(READY_WITHIN, waiter.wait(READY_WITHIN))
            .await
            .map_err(|_| self.refused("the table isn't ready within a minute".into()))?
            .map_err(|error| self.refused(Box::new(error)))?;
        Ok(ready.into_result().ok().and_then(|output| output.table))
    }

    /// What DynamoDB says of the table.
    pub(crate) async fn describe(&self) -> Result<Option<TableDescription>, Error> {
        self.repeat("DescribeTable", || {
            let transmission = Transmission::default();
            let request = self
                .client
                .describe_table()
                .table_name(&*self.name)
                .customize()
                .config_override(crate::store::retry::without_retries())
                .interceptor(transmission.clone())
                .send();
            self.attempt("DescribeTable", Kind::Read, transmission, request, |_| &[])
        })
        .await
        .map(|output| output.table)
    }

    /// Puts an item if no item has its key; otherwise it returns the item that has it. After an
    /// unanswered request, that can be the item that this call has put. `partition_key` is the name of
    /// the table's partition key.
    pub(crate) async fn put_if_absent(
        &self,
        item: SdkItem,
        partition_key: &str,
    ) -> Result<Option<SdkItem>, Error> {
        let mut attempts = self.attempts("PutItem");
        loop {
            let request = self
                .client
                .put_item()
                .table_name(&*self.name)
                .set_item(Some(item.clone()))
                .condition_expression("attribute_not_exists(#partition)")
                .expression_attribute_names("#partition", partition_key)
                .return_values_on_condition_check_failure(
                    ReturnValuesOnConditionCheckFailure::AllOld,
                );
            let put = send!(self, "PutItem", Kind::Write, request, |output| output
                .consumed_capacity
                .as_slice())
            .await;
            match put {
                Ok(_) => return Ok(None),
                Err(Failure::Service(PutItemError::ConditionalCheckFailedException(refused))) => {
                    return Ok(Some(refused.item.unwrap_or_default()));
                }
                Err(failure) => self.pause_after(failure, &mut attempts).await?,
            }
        }
    }

    /// Sets attributes of an item without a condition.
    pub(crate) async fn set(&self, key: SdkItem, values: SdkItem) -> Result<(), Error> {
        let assignments: Vec<_> =
            (0..values.len()).map(|index| format!("#a{index} = :v{index}")).collect();
        self.repeat("UpdateItem", || {
            let mut request = self
                .client
                .update_item()
                .table_name(&*self.name)
                .set_key(Some(key.clone()))
                .update_expression(format!("SET {}", assignments.join(", ")));
            for (index, (name, value)) in values.iter().enumerate() {
                request = request
                    .expression_attribute_names(format!("#a{index}"), name)
                    .expression_attribute_values(format!(":v{index}"), value.clone());
            }
            send!(self, "UpdateItem", Kind::Write, request, |output| output
                .consumed_capacity
                .as_slice())
        })
        .await
        .map(|_| ())
    }

    /// Sets and removes attributes of an item if its attributes are the expected ones, of which there
    /// must be at least one. Otherwise it changes nothing and returns `false`. After an unanswered
    /// request, `false` can also mean that an earlier attempt has changed what is expected.
    pub(crate) async fn update_if(
        &self,
        key: SdkItem,
        expected: SdkItem,
        values: SdkItem,
        removed: &[&str],
    ) -> Result<bool, Error> {
        let assign = |prefix: &str, count: usize, joint: &str| {
            let all = (0..count).map(|index| format!("#{prefix}{index} = :{prefix}{index}"));
            all.collect::<Vec<_>>().join(joint)
        };
        let mut update = match values.is_empty() {
            true => String::new(),
            false => format!("SET {}", assign("v", values.len(), ", ")),
        };
        if !removed.is_empty() {
            let aliases: Vec<_> = (0..removed.len()).map(|index| format!("#r{index}")).collect();
            update.push_str(&format!(" REMOVE {}", aliases.join(", ")));
        }
        let mut attempts = self.attempts("UpdateItem");
        loop {
            let mut request = self
                .client
                .update_item()
                .table_name(&*self.name)
                .set_key(Some(key.clone()))
                .update_expression(&update)
                .condition_expression(assign("e", expected.len(), " AND "));
            for (prefix, attributes) in [("v", &values), ("e", &expected)] {
                for (index, (name, value)) in attributes.iter().enumerate() {
                    request = request
                        .expression_attribute_names(format!("#{prefix}{index}"), name)
                        .expression_attribute_values(format!(":{prefix}{index}"), value.clone());
                }
            }
            for (index, name) in removed.iter().enumerate() {
                request = request.expression_attribute_names(format!("#r{index}"), *name);
            }
            let answer = send!(self, "UpdateItem", Kind::Write, request, |output| output
                .consumed_capacity
                .as_slice())
            .await;
            match answer {
                Ok(_) => return Ok(true),
                Err(Failure::Service(UpdateItemError::ConditionalCheckFailedException(_))) => {
                    return Ok(false);
                }
                Err(failure) => self.pause_after(failure, &mut attempts).await?,
            }
        }
    }

    /// Deletes an item. It does nothing if there is none.
    pub(crate) async fn delete(&self, key: SdkItem) -> Result<(), Error> {
        self.repeat("DeleteItem", || {
            let request =
                self.client.delete_item().table_name(&*self.name).set_key(Some(key.clone()));
            send!(self, "DeleteItem", Kind::Write, request, |output| output
                .consumed_capacity
                .as_slice())
        })
        .await
        .map(|_| ())
    }

    /// Puts an item without a condition.
    pub(crate) async fn put(&self, item: SdkItem) -> Result<(), Error> {
        self.repeat("PutItem", || {
            let request =
                self.client.put_item().table_name(&*self.name).set_item(Some(item.clone()));
            send!(self, "PutItem", Kind::Write, request, |output| output
                .consumed_capacity
                .as_slice())
        })
        .await
        .map(|_| ())
    }

    /// The rows with these keys, at most [`KEYS_PER_REQUEST`]. Those that aren't there are left out.
    pub(crate) async fn rows(
        &self,
        keys: &BTreeSet<EventKey>,
        consistent: bool,
    ) -> Result<HashMap<EventKey, SdkItem>, Error> {
        debug_assert!(keys.len() <= KEYS_PER_REQUEST, "DynamoDB would refuse it");
        let layout = self.layout();
        let mut found = HashMap::with_capacity(keys.len());
        let mut missing: Vec<SdkItem> = keys.iter().map(|key| layout.key(key)).collect();
        let mut attempts = self.attempts("BatchGetItem");
        while !missing.is_empty() {
            let wanted = KeysAndAttributes::builder()
                .set_keys(Some(missing.clone()))
                .consistent_read(consistent)
                .build()
                .map_err(|error| self.refused(Box::new(error)))?;
            let request = self.client.batch_get_item().request_items(&*self.name, wanted);
            let answer = send!(self, "BatchGetItem", Kind::Read, request, |output| {
                output.consumed_capacity.as_deref().unwrap_or_default()
            })
            .await;
            match answer {
                Ok(output) => {
                    let rows = output.responses.into_iter().flat_map(HashMap::into_values);
                    let before = found.len();
                    let with_key = |row: SdkItem| Some((layout.event_key(&row)?, row));
                    found.extend(rows.flatten().filter_map(with_key));
                    let left = output.unprocessed_keys.into_iter().flat_map(HashMap::into_values);
                    missing = left.flat_map(|left| left.keys).collect();
                    // A page of 16 MB leaves the rest; an answer with nothing is throttled.
                    if !missing.is_empty() && found.len() == before {
                        attempts.pause("DynamoDB processed none of the keys".into()).await?;
                    }
                }
                Err(failure) => self.pause_after(failure, &mut attempts).await?,
            }
        }
        Ok(found)
    }

    /// The rows with any number of keys, which are read in several requests.
    pub(crate) async fn all_rows(
        &self,
        mut keys: BTreeSet<EventKey>,
        consistent: bool,
    ) -> Result<HashMap<EventKey, SdkItem>, Error> {
        let mut parts = Vec::new();
        while !keys.is_empty() {
            let rest = match keys.iter().nth(KEYS_PER_REQUEST).cloned() {
                Some(first) => keys.split_off(&first),
                None => BTreeSet::new(),
            };
            parts.push(std::mem::replace(&mut keys, rest));
        }
        let read = concurrently(parts, |part| async move { self.rows(&part, consistent).await });
        let read = read.await?;
        Ok(read.into_iter().flatten().collect())
    }

    /// Sends an append once: as a transaction, unless it is nothing but storing one event.
    pub(crate) async fn write(
        &self,
        transaction: &Transaction,
    ) -> Result<Written, Failure<BoxError>> {
        if let Some(item) = transaction.single_put(self.layout()) {
            return self.put_event(item).await;
        }
        let actions = transaction
            .to_sdk(self.layout(), &self.name)
            .map_err(|error| Failure::Refused(Box::new(error)))?;
        match self.transact(actions, transaction.token(&self.name)).await {
            Ok(()) => Ok(Written::Stored),
            Err(Failure::Service(TransactWriteItemsError::TransactionCanceledException(
                cancelled,
            ))) => Ok(Written::Refused(cancelled.cancellation_reasons.unwrap_or_default())),
            Err(failure) => Err(failure.boxed()),
        }
    }

    async fn put_event(&self, item: SdkItem) -> Result<Written, Failure<BoxError>> {
        let request = self
            .client
            .put_item()
            .table_name(&*self.name)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(#subject)")
            .expression_attribute_names("#subject", attribute::SUBJECT)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let put = send!(self, "PutItem", Kind::Write, request, |output| output
            .consumed_capacity
            .as_slice());
        let reason = |code: &str| CancellationReason::builder().code(code);
        match put.await {
            Ok(_) => Ok(Written::Stored),
            Err(Failure::Service(PutItemError::ConditionalCheckFailedException(refused))) => {
                let reason = reason(CONDITION_FAILED).set_item(refused.item);
                Ok(Written::Refused(vec![reason.build()]))
            }
            // Everywhere else the request is sent again. Here it counts as losing to another writer.
            Err(Failure::Busy(error)) if is_transaction_conflict(&error) => {
                Ok(Written::Refused(vec![reason(TRANSACTION_CONFLICT).build()]))
            }
            Err(failure) => Err(failure.boxed()),
        }
    }

    /// Sends a transaction once.
    pub(crate) async fn transact(
        &self,
        actions: Vec<TransactWriteItem>,
        token: String,
    ) -> Result<(), Failure<TransactWriteItemsError>> {
        let request = self
            .client
            .transact_write_items()
            .set_transact_items(Some(actions))
            .client_request_token(token);
        send!(self, "TransactWriteItems", Kind::Write, request, |output| {
            output.consumed_capacity.as_deref().unwrap_or_default()
        })
        .await
        .map(|_| ())
    }

    /// Sends an idempotent request until it is answered.
    async fn repeat<O, E, F>(
        &self,
        operation: &'static str,
        mut request: impl FnMut() -> F,
    ) -> Result<O, Error>
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
        F: Future<Output = Result<O, Failure<E>>>,
    {
        let mut attempts = self.attempts(operation);
        loop {
            match request().await {
                Ok(output) => return Ok(output),
                Err(failure) => self.pause_after(failure, &mut attempts).await?,
            }
        }
    }

    /// Waits before the next attempt. It fails if the failure is permanent or a limit is reached.
    async fn pause_after<E>(
        &self,
        failure: Failure<E>,
        attempts: &mut Attempts,
    ) -> Result<(), Error>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        match failure {
            Failure::Busy(source) | Failure::Unanswered(source) => attempts.pause(source).await,
            Failure::Refused(source) => Err(self.refused(source)),
            Failure::Service(source) => Err(self.refused(Box::new(source))),
        }
    }

    pub(crate) fn refused(&self, source: BoxError) -> Error {
        let source = match self.layout {
            Some(layout) => mismatch::explained(layout, source),
            None => source,
        };
        Error::Refused { table: self.name.to_string(), source }
    }

    /// Sends one request in a span with OpenTelemetry's database attributes, and meters it.
    /// <https://opentelemetry.io/docs/specs/semconv/database/dynamodb/>
    async fn attempt<O, E>(
        &self,
        operation: &'static str,
        kind: Kind,
        transmission: Transmission,
        request: impl Future<Output = Result<O, SdkError<E>>>,
        consumed: impl FnOnce(&O) -> &[types::ConsumedCapacity],
    ) -> Result<O, Failure<E>>
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let span = tracing::info_span!(
            target: "eventdb",
            "DynamoDB",
            otel.name = operation,
            otel.kind = "client",
            otel.status_code = tracing::field::Empty,
            db.system.name = "aws.dynamodb",
            db.operation.name = operation,
            db.collection.name = &*self.name,
            aws.dynamodb.consumed_capacity = tracing::field::Empty,
            error.r#type = tracing::field::Empty,
        );
        let until = self.limits.end_of_attempt(self.deadline);
        let answer = tokio::time::timeout_at(until, request).instrument(span.clone()).await;
        let (consumed, result) = match answer {
            Ok(Ok(output)) => {
                let consumed = ConsumedCapacity::of_request(kind, consumed(&output));
                span.record(
                    "aws.dynamodb.consumed_capacity",
                    consumed.read_units + consumed.write_units,
                );
                (consumed, Ok(output))
            }
            Ok(Err(error)) => {
                span.record("otel.status_code", "ERROR");
                span.record("error.type", error.code().unwrap_or("no answer"));
                (ConsumedCapacity::unanswered(), Err(Failure::of(error, &transmission)))
            }
            Err(_) => {
                span.record("otel.status_code", "ERROR");
                span.record("error.type", "timeout");
                (ConsumedCapacity::unanswered(), Err(Failure::of_silence(&transmission)))
            }
        };
        if let Some(meter) = &self.meter {
            meter.add(&consumed);
            // Behind the answer, so that the pause doesn't count against the operation's time limit.
            meter.keep_rate().await;
        }
        result
    }
}

/// Whether a transaction was cancelled for reasons that pass.
fn is_busy(cancelled: &TransactionCanceledException) -> bool {
    let mut codes = cancelled.cancellation_reasons().iter().filter_map(|reason| reason.code());
    codes.any(|code| BUSY_REASONS.contains(&code))
}

// Behind the macro that it uses.
pub(crate) mod feed;
pub(crate) mod scan;
pub(crate) mod settings;

fn is_transaction_conflict(error: &BoxError) -> bool {
    matches!(error.downcast_ref(), Some(PutItemError::TransactionConflictException(_)))
}
