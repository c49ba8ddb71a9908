//! A read model in DynamoDB. The view and its position change in one transaction.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::builders::UpdateBuilder;
use aws_sdk_dynamodb::types::{TransactWriteItem, Update};
use chrono::DateTime;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use uuid::Uuid;

use crate::codec::store_id::StoreId;
use crate::event::{BoxError, Event};
use crate::schema::limit;
use crate::store::append::refusal::{BUSY_REASONS, CONDITION_FAILED};
use crate::store::error::Error;
use crate::store::failure::Failure;
use crate::store::layout::SdkItem;
use crate::store::read::query::{number, string};
use crate::store::table::Table;
use crate::store::table::scan::Marked;
use crate::store::{CapacityMeter, TimeLimits};
use crate::subscribe::positions::StoredPosition;
use crate::subscribe::read_model::{
    ApplyOutcome, Parked, ParkingReadModel, Position, ReadModel, Step,
};

/// How the partition key of a position begins.
const POSITION: &str = "$position/";

/// Attributes of a position item.
const REVISION: &str = "revision";
const TIME: &str = "time";
const STORE: &str = "store";
const PARKED_SINCE: &str = "parked_since";
const PARKED_REVISION: &str = "parked_revision";
const PARKED_REASON: &str = "parked_reason";

/// The table in which a read model keeps its positions: one item per subject, in any table of the
/// account and region, such as that of the view.
///
/// An item's partition key is `$position/{read_model}/{subject}`, where `%` and `/` in the name of
/// the read model are percent-encoded; its sort key, if the table has one, is `$position`. Both keys
/// must be text. Next to the keys an item has `revision`, `time` (milliseconds since 1970) and `store`,
/// and if the subject is [parked](ParkingReadModel), `parked_since` (milliseconds since 1970),
/// `parked_revision` and `parked_reason`.
///
/// ```
/// let positions = eventdb::PositionTable {
///     table: "Loans".to_owned(),
///     partition_key: "user".to_owned(),
///     sort_key: Some("book".to_owned()),
///     read_model: "loans".to_owned(),
/// };
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PositionTable {
    /// Name of the table.
    pub table: String,
    /// Name of its partition key.
    pub partition_key: String,
    /// Name of its sort key, if it has one.
    pub sort_key: Option<String>,
    /// Name of the read model. It distinguishes read models that share the table.
    pub read_model: String,
}

/// A subject that is parked: see [`DynamoDbReadModel::parked_subjects`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParkedSubject {
    /// The subject.
    pub subject: String,
    /// Its mark: at which revision, since when, and why.
    pub parked: Parked,
}

/// A [`ReadModel`] in DynamoDB. The changes of the view and of the position are one transaction, so
/// each event counts exactly once.
///
/// Temporary failures are retried here, up to 16 times within the [`TimeLimits`]. The client's retry
/// configuration isn't used, and the [`Projection`](crate::Projection) doesn't retry.
///
/// A function converts each event to the actions of a transaction, on any tables of the account and
/// region. It returns no actions for an event that the view doesn't need.
///
/// ```no_run
/// use eventdb::aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem, Update};
/// use eventdb::{DynamoDbReadModel, PositionTable, Projection};
///
/// # fn example(client: eventdb::aws_sdk_dynamodb::Client) {
/// let positions = PositionTable {
///     table: "LoansPerUser".to_owned(),
///     partition_key: "user".to_owned(),
///     sort_key: None,
///     read_model: "loans".to_owned(),
/// };
/// let loans = DynamoDbReadModel::new(client, positions, |event| {
///     let Some(user) = event.data["userId"].as_str() else { return Ok(vec![]) };
///     let count = Update::builder()
///         .table_name("LoansPerUser")
///         .key("user", AttributeValue::S(user.to_owned()))
///         .update_expression("ADD loans :one")
///         .expression_attribute_values(":one", AttributeValue::N("1".to_owned()))
///         .build()?;
///     Ok(vec![TransactWriteItem::builder().update(count).build()])
/// });
/// let projection = Projection::new(loans);
/// # }
/// ```
#[derive(Clone)]
pub struct DynamoDbReadModel {
    table: Table,
    positions: PositionTable,
    changes: Arc<Changes>,
}

/// What an event changes in the view.
type Changes = dyn Fn(&Event) -> Result<Vec<TransactWriteItem>, BoxError> + Send + Sync;

impl fmt::Debug for DynamoDbReadModel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("DynamoDbReadModel")
            .field("positions", &self.positions)
            .finish_non_exhaustive()
    }
}

/// An error of a [`DynamoDbReadModel`]. It is safe to deliver the event again: either nothing was
/// changed, or the event then counts as applied.
///
/// ```
/// # use eventdb::ReadModelError;
/// fn is_worth_another_try(error: &ReadModelError) -> bool {
///     matches!(error, ReadModelError::Database(error) if error.is_retryable())
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadModelError {
    /// The function that determines the changes of an event has failed.
    #[error("the changes of the event `{id}` couldn't be determined")]
    Changes {
        /// The event's id.
        id: String,
        /// The function's error.
        source: BoxError,
    },
    /// The event changes more than fits in a transaction with its position.
    #[error("the event `{id}` makes {actual} changes; it may make at most {allowed}")]
    TooManyChanges {
        /// The event's id.
        id: String,
        /// The number of changes.
        actual: usize,
        /// The maximum number.
        allowed: usize,
    },
    /// A change was refused, for example because its condition failed.
    #[error("change {index} of the event `{id}` was refused: {code}")]
    ChangeRefused {
        /// The event's id.
        id: String,
        /// Which change it was, from 0.
        index: usize,
        /// DynamoDB's code, such as `ConditionalCheckFailed`.
        code: String,
    },
    /// A position item is damaged.
    #[error(
        "the position of `{subject}` is damaged: it needs the numbers `revision` and `time`, and in \
         `store`, if there is one, the ARN of a stream; a mark needs all its three attributes"
    )]
    DamagedPosition {
        /// The subject.
        subject: String,
    },
    /// The actions of the transaction can't be built.
    #[error("the transaction of the event `{id}` can't be built")]
    Build {
        /// The event's id.
        id: String,
        /// What is missing.
        source: BoxError,
    },
    /// The database was unavailable or refused the request.
    #[error(transparent)]
    Database(#[from] Error),
}

impl DynamoDbReadModel {
    /// A read model that keeps its positions in the given table. The given function returns the
    /// changes of an event: see the example at [`DynamoDbReadModel`].
    pub fn new(
        client: Client,
        positions: PositionTable,
        changes: impl Fn(&Event) -> Result<Vec<TransactWriteItem>, BoxError> + Send + Sync + 'static,
    ) -> Self {
        let table = Table::new(client, &*positions.table);
        Self { table, positions, changes: Arc::new(changes) }
    }

    /// The same read model with other time limits for applying an event and for reading a position.
    ///
    /// ```no_run
    /// # use eventdb::{DynamoDbReadModel, TimeLimits};
    /// use std::time::Duration;
    ///
    /// # fn example(loans: DynamoDbReadModel) {
    /// let loans = loans.with_time_limits(TimeLimits::default().operation(Duration::from_secs(10)));
    /// # }
    /// ```
    #[must_use]
    pub fn with_time_limits(self, limits: TimeLimits) -> Self {
        Self { table: self.table.within(limits), ..self }
    }

    /// The same read model, but its requests also add their consumed capacity to the given meter.
    #[must_use]
    pub fn metered_by(&self, meter: &CapacityMeter) -> Self {
        Self { table: self.table.metered_by(meter), ..self.clone() }
    }

    /// All positions in the table, those of other read models included, in no order. Pass them to
    /// [`EventDb::examine_positions`](crate::EventDb::examine_positions).
    ///
    /// # Cost
    /// As for [`parked_subjects`](Self::parked_subjects).
    ///
    /// # Errors
    /// The stream ends after an [`Error`].
    pub fn stored_positions(&self) -> BoxStream<'static, Result<StoredPosition, Error>> {
        let (table, key) = (self.table.clone(), self.positions.partition_key.clone());
        stream::try_unfold(Some(None), move |after: Option<Option<SdkItem>>| {
            let (table, key) = (table.clone(), key.clone());
            async move {
                let Some(after) = after else { return Ok::<_, Error>(None) };
                let marked = Marked { attribute: &key, partition_key: &key, prefix: POSITION };
                let page = table.begin().scan_marked(marked, after).await?;
                let positions: Vec<_> =
                    page.items.iter().filter_map(|item| stored_position(item, &key)).collect();
                Ok(Some((stream::iter(positions).map(Ok), page.next.map(Some))))
            }
        })
        .try_flatten()
        .boxed()
    }

    /// The subjects that are parked, the longest first.
    ///
    /// It is for operators, not for each message: DynamoDB finds the marks only by reading the whole
    /// table of the positions.
    ///
    /// # Cost
    /// A read unit for each 4 KB of that table, views in it included. It needs the permission
    /// `dynamodb:Scan`.
    ///
    /// # Errors
    /// [`ReadModelError::Database`], and [`ReadModelError::DamagedPosition`] if a mark can't be read.
    ///
    /// ```no_run
    /// # async fn example(
    /// #     loans: eventdb::DynamoDbReadModel,
    /// #     projection: eventdb::Projection<eventdb::DynamoDbReadModel, eventdb::EventDb>,
    /// # ) -> Result<(), Box<dyn std::error::Error>> {
    /// for parked in loans.parked_subjects().await? {
    ///     println!("{} since {}", parked.subject, parked.parked.since);
    ///     projection.retry(&parked.subject).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn parked_subjects(&self) -> Result<Vec<ParkedSubject>, ReadModelError> {
        let prefix = self.partition_of("");
        let marked = Marked {
            attribute: PARKED_SINCE,
            partition_key: &self.positions.partition_key,
            prefix: &prefix,
        };
        let mut parked = Vec::new();
        let mut after = None;
        loop {
            // Each page has its own time limit, however many there are.
            let page = self.table.begin().scan_marked(marked, after).await?;
            for item in page.items {
                let partition = item.get(&self.positions.partition_key);
                let partition = partition.and_then(|partition| partition.as_s().ok());
                let subject = partition.and_then(|partition| partition.strip_prefix(&prefix));
                let subject = subject.unwrap_or_default().to_owned();
                let position = read_position(&item);
                match position.and_then(|position| position.parked) {
                    Some(mark) => parked.push(ParkedSubject { subject, parked: mark }),
                    None => return Err(ReadModelError::DamagedPosition { subject }),
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        parked.sort_by(|one, other| {
            (one.parked.since, &one.subject).cmp(&(other.parked.since, &other.subject))
        });
        Ok(parked)
    }

    /// The partition key of a subject's position.
    fn partition_of(&self, subject: &str) -> String {
        // Escaped, so that the first `/` ends the name.
        let read_model = self.positions.read_model.replace('%', "%25").replace('/', "%2F");
        format!("{POSITION}{read_model}/{subject}")
    }

    fn key(&self, subject: &str) -> SdkItem {
        let PositionTable { partition_key, sort_key, .. } = &self.positions;
        let partition = string(self.partition_of(subject));
        let mut key = HashMap::from([(partition_key.clone(), partition)]);
        if let Some(name) = sort_key {
            key.insert(name.clone(), string("$position"));
        }
        key
    }

    /// The update of the position, on the condition that the step begins there.
    fn update(&self, subject: &str, step: &Step) -> Result<TransactWriteItem, BoxError> {
        let Position { revision, time, store, parked } = &step.to;
        let mut change = "SET #revision = :revision, #time = :time".to_owned();
        let (mut update, mut condition) =
            self.if_at(subject, step.from_revision, step.from_store.as_ref());
        update = update
            .expression_attribute_names("#time", TIME)
            .expression_attribute_names("#parked", PARKED_SINCE)
            .expression_attribute_values(":revision", number(*revision))
            .expression_attribute_values(":time", number(time.timestamp_millis()));
        if let Some(store) = store {
            change.push_str(", #store = :store");
            update = update
                .expression_attribute_names("#store", STORE)
                .expression_attribute_values(":store", string(store.as_str()));
        }
        condition.push_str(match parked {
            Some(_) => " AND attribute_exists(#parked)",
            None => " AND attribute_not_exists(#parked)",
        });
        let update = update.update_expression(change).condition_expression(condition).build()?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    /// An update of a position item, and the condition that it has this revision and store.
    fn if_at(
        &self,
        subject: &str,
        revision: u64,
        store: Option<&StoreId>,
    ) -> (UpdateBuilder, String) {
        let mut update = Update::builder()
            .table_name(&self.positions.table)
            .set_key(Some(self.key(subject)))
            .expression_attribute_names("#revision", REVISION)
            .expression_attribute_values(":from", number(revision));
        let condition = match store {
            // A subject that was parked before its first event has the revision 0.
            _ if revision == 0 => "(attribute_not_exists(#revision) OR #revision = :from)",
            None => "#revision = :from AND attribute_not_exists(#store)",
            Some(store) => {
                update = update.expression_attribute_values(":from_store", string(store.as_str()));
                "#revision = :from AND #store = :from_store"
            }
        };
        if revision > 0 {
            update = update.expression_attribute_names("#store", STORE);
        }
        (update, condition.to_owned())
    }

    /// The update of a mark, on the condition that the position is the given one.
    fn marking(
        &self,
        subject: &str,
        position: &Position,
        parked: Option<&Parked>,
    ) -> Result<TransactWriteItem, BoxError> {
        let (update, condition) = self.if_at(subject, position.revision, position.store.as_ref());
        let update = update
            .expression_attribute_names("#since", PARKED_SINCE)
            .expression_attribute_names("#parked_revision", PARKED_REVISION)
            .expression_attribute_names("#reason", PARKED_REASON);
        let update = match parked {
            None => update.update_expression("REMOVE #since, #parked_revision, #reason"),
            Some(Parked { revision, since, reason }) => update
                .update_expression(
                    "SET #revision = :from, #time = :time, #since = :since, \
                     #parked_revision = :parked_revision, #reason = :reason",
                )
                .expression_attribute_names("#time", TIME)
                .expression_attribute_values(":time", number(position.time.timestamp_millis()))
                .expression_attribute_values(":since", number(since.timestamp_millis()))
                .expression_attribute_values(":parked_revision", number(*revision))
                .expression_attribute_values(":reason", string(&**reason)),
        };
        let update = update.condition_expression(condition).build()?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    /// Sends a transaction whose first action is that of the position. `id` is that of the event.
    async fn transact(
        &self,
        subject: &str,
        id: &str,
        actions: Vec<TransactWriteItem>,
    ) -> Result<ApplyOutcome, ReadModelError> {
        let table = self.table.begin();
        let mut attempts = table.attempts("TransactWriteItems").about(Some(subject));
        // One token for all attempts: after an unanswered attempt, DynamoDB repeats its result.
        let token = Uuid::now_v7().to_string();
        loop {
            let source: BoxError = match table.transact(actions.clone(), token.clone()).await {
                Ok(()) => return Ok(ApplyOutcome::Applied),
                Err(Failure::Busy(source) | Failure::Unanswered(source)) => source,
                Err(Failure::Refused(source)) => return Err(table.refused(source).into()),
                Err(Failure::Service(TransactWriteItemsError::TransactionCanceledException(
                    cancelled,
                ))) => {
                    let codes = cancelled
                        .cancellation_reasons()
                        .iter()
                        .map(|reason| reason.code().unwrap_or("None"));
                    match judge(codes) {
                        Cancellation::PositionDiffers => return Ok(ApplyOutcome::PositionDiffers),
                        Cancellation::Busy => Box::new(cancelled),
                        Cancellation::ChangeRefused { index, code } => {
                            return Err(ReadModelError::ChangeRefused {
                                id: id.to_owned(),
                                index,
                                code,
                            });
                        }
                        Cancellation::Unclear => {
                            return Err(table.refused(Box::new(cancelled)).into());
                        }
                    }
                }
                Err(Failure::Service(error)) => return Err(table.refused(Box::new(error)).into()),
            };
            attempts.pause(source).await?;
        }
    }
}

/// A position with the names in its key; `None` if it isn't one.
fn stored_position(item: &SdkItem, partition_key: &str) -> Option<StoredPosition> {
    let key = item.get(partition_key)?.as_s().ok()?;
    let (read_model, subject) = key.strip_prefix(POSITION)?.split_once('/')?;
    let read_model = read_model.replace("%2F", "/").replace("%25", "%");
    Some(StoredPosition::new(read_model, subject, read_position(item)))
}

/// The position that an item holds; `None` if it is damaged.
fn read_position(item: &SdkItem) -> Option<Position> {
    let number = |name: &str| item.get(name)?.as_n().ok()?.parse::<i64>().ok();
    let store = match item.get(STORE) {
        Some(store) => Some(store.as_s().ok()?.parse().ok()?),
        None => None,
    };
    let parked = match item.get(PARKED_SINCE) {
        Some(_) => Some(Parked {
            revision: u64::try_from(number(PARKED_REVISION)?).ok()?,
            since: DateTime::from_timestamp_millis(number(PARKED_SINCE)?)?,
            reason: item.get(PARKED_REASON)?.as_s().ok()?.clone(),
        }),
        None => None,
    };
    let revision = u64::try_from(number(REVISION)?).ok()?;
    let time = DateTime::from_timestamp_millis(number(TIME)?)?;
    Some(Position::new(revision, time, store).with_parked(parked))
}

impl ReadModel for DynamoDbReadModel {
    type Error = ReadModelError;

    async fn position(&self, subject: &str) -> Result<Position, ReadModelError> {
        let Some(item) = self.table.begin().get(self.key(subject)).await? else {
            return Ok(Position::default());
        };
        read_position(&item)
            .ok_or_else(|| ReadModelError::DamagedPosition { subject: subject.to_owned() })
    }

    async fn apply(&self, event: &Event, step: &Step) -> Result<ApplyOutcome, ReadModelError> {
        let id = || event.id.clone();
        let changes =
            (self.changes)(event).map_err(|source| ReadModelError::Changes { id: id(), source })?;
        let allowed = limit::TRANSACTION_ACTIONS - 1;
        if changes.len() > allowed {
            let actual = changes.len();
            return Err(ReadModelError::TooManyChanges { id: id(), actual, allowed });
        }
        let mut actions = vec![
            self.update(&event.subject, step)
                .map_err(|source| ReadModelError::Build { id: id(), source })?,
        ];
        actions.extend(changes);
        self.transact(&event.subject, &event.id, actions).await
    }
}

impl ParkingReadModel for DynamoDbReadModel {
    async fn mark(
        &self,
        subject: &str,
        position: &Position,
        parked: Option<&Parked>,
    ) -> Result<ApplyOutcome, ReadModelError> {
        let marking = self
            .marking(subject, position, parked)
            .map_err(|source| ReadModelError::Build { id: subject.to_owned(), source })?;
        self.transact(subject, "", vec![marking]).await
    }
}

/// Interprets the reasons of a cancelled transaction. The first one is that of the position.
#[derive(Debug, PartialEq, Eq)]
enum Cancellation {
    PositionDiffers,
    Busy,
    ChangeRefused { index: usize, code: String },
    Unclear,
}

fn judge<'code>(codes: impl Iterator<Item = &'code str>) -> Cancellation {
    let mut cancellation = Cancellation::Unclear;
    for (action, code) in codes.enumerate() {
        match (action, code) {
            (_, "None") => {}
            (0, CONDITION_FAILED) => return Cancellation::PositionDiffers,
            (_, code) if BUSY_REASONS.contains(&code) => cancellation = Cancellation::Busy,
            (action, code) if action > 0 && cancellation == Cancellation::Unclear => {
                cancellation =
                    Cancellation::ChangeRefused { index: action - 1, code: code.to_owned() };
            }
            _ => {}
        }
    }
    cancellation
}
