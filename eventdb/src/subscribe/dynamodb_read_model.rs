//! A read model in DynamoDB: the view and its position, changed in one transaction.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{TransactWriteItem, Update};
use chrono::DateTime;

use crate::event::Event;
use crate::schema::limit;
use crate::store::append::cancellation::{BUSY_REASONS, CONDITION_FAILED};
use crate::store::error::BoxError;
use crate::store::failure::{Failure, Transmission};
use crate::store::head::SdkItem;
use crate::store::pauses;
use crate::store::read::query::{number, string};
use crate::subscribe::projection::{Position, ReadModel, Taken};

/// Attributes of a position item.
const REVISION: &str = "revision";
const TIME: &str = "time";

/// Where the positions of a read model lie: one item per subject, in any table of the account and
/// region, such as that of the view.
///
/// An item's partition key is `$position/{read_model}/{subject}`, its sort key, if the table has
/// one, `$position`. Both keys must be text.
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
    /// Name of the read model, which tells apart those that share the table.
    pub read_model: String,
}

/// A [`ReadModel`] in DynamoDB: an event's changes of the view and the step of its position are one
/// transaction, so that each event counts once whatever happens.
///
/// What an event changes is said by a function from the event to the actions of a transaction, on
/// any tables of the account and region; none for an event that the view doesn't need.
///
/// ```no_run
/// use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem, Update};
/// use eventdb::{DynamoDbReadModel, PositionTable, Projection};
///
/// # fn example(client: aws_sdk_dynamodb::Client) {
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
    client: Client,
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

/// What can go wrong with a [`DynamoDbReadModel`]; nothing was changed, or the event counts as
/// applied when it comes again.
///
/// ```
/// # use eventdb::ReadModelError;
/// fn is_worth_another_try(error: &ReadModelError) -> bool {
///     matches!(error, ReadModelError::Unavailable { .. })
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadModelError {
    /// The function that says what an event changes has failed.
    #[error("the changes of the event `{id}` can't be said")]
    Changes {
        /// The event's id.
        id: String,
        /// What the function said.
        source: BoxError,
    },
    /// The event changes more than fits in a transaction beside its position.
    #[error("the event `{id}` makes {actual} changes; allowed are {allowed}")]
    TooManyChanges {
        /// The event's id.
        id: String,
        /// How many there are.
        actual: usize,
        /// How many may be.
        allowed: usize,
    },
    /// A change was refused, such as by its own condition.
    #[error("change {index} of the event `{id}` was refused: {code}")]
    ChangeRefused {
        /// The event's id.
        id: String,
        /// Which change it was, from 0.
        index: usize,
        /// DynamoDB's code, such as `ConditionalCheckFailed`.
        code: String,
    },
    /// A position item isn't one.
    #[error("the position of `{subject}` is damaged: it needs the numbers `revision` and `time`")]
    DamagedPosition {
        /// The subject.
        subject: String,
    },
    /// DynamoDB was busy or out of reach.
    #[error("the database was not available, in {attempts} attempts")]
    Unavailable {
        /// How often the request was sent.
        attempts: u32,
        /// The last failure.
        source: BoxError,
    },
    /// DynamoDB refused the request for good, such as for a missing table or right.
    #[error("the database refused the request")]
    Refused(#[source] BoxError),
}

impl DynamoDbReadModel {
    /// A read model whose positions lie in the given table, and whose view is changed by the given
    /// function.
    ///
    /// ```no_run
    /// # fn example(client: aws_sdk_dynamodb::Client, positions: eventdb::PositionTable) {
    /// let nothing = eventdb::DynamoDbReadModel::new(client, positions, |_| Ok(vec![]));
    /// # }
    /// ```
    pub fn new(
        client: Client,
        positions: PositionTable,
        changes: impl Fn(&Event) -> Result<Vec<TransactWriteItem>, BoxError> + Send + Sync + 'static,
    ) -> Self {
        Self { client, positions, changes: Arc::new(changes) }
    }

    fn key(&self, subject: &str) -> SdkItem {
        let PositionTable { partition_key, sort_key, read_model, .. } = &self.positions;
        let partition = string(format!("$position/{read_model}/{subject}"));
        let mut key = HashMap::from([(partition_key.clone(), partition)]);
        if let Some(name) = sort_key {
            key.insert(name.clone(), string("$position"));
        }
        key
    }

    /// The step of the position, on the condition that it is where it should be.
    fn step(&self, subject: &str, to: Position) -> Result<TransactWriteItem, BoxError> {
        let from = to.revision.saturating_sub(1);
        let step = Update::builder()
            .table_name(&self.positions.table)
            .set_key(Some(self.key(subject)))
            .update_expression("SET #revision = :to, #time = :time")
            .expression_attribute_names("#revision", REVISION)
            .expression_attribute_names("#time", TIME)
            .expression_attribute_values(":to", number(to.revision))
            .expression_attribute_values(":time", number(to.time.timestamp_millis()));
        let step = if from == 0 {
            step.condition_expression("attribute_not_exists(#revision)")
        } else {
            step.condition_expression("#revision = :from")
                .expression_attribute_values(":from", number(from))
        };
        Ok(TransactWriteItem::builder().update(step.build()?).build())
    }
}

impl ReadModel for DynamoDbReadModel {
    type Error = ReadModelError;

    async fn position(&self, subject: &str) -> Result<Position, ReadModelError> {
        let output = self
            .client
            .get_item()
            .table_name(&self.positions.table)
            .set_key(Some(self.key(subject)))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| match Failure::of(error, &Transmission::presumed()) {
                Failure::Busy(source) | Failure::Unanswered(source) => {
                    ReadModelError::Unavailable { attempts: 1, source }
                }
                Failure::Refused(source) => ReadModelError::Refused(source),
                Failure::Service(error) => ReadModelError::Refused(Box::new(error)),
            })?;
        let Some(item) = output.item else { return Ok(Position::default()) };
        let number = |name: &str| item.get(name)?.as_n().ok()?.parse::<i64>().ok();
        let read = || {
            Some(Position {
                revision: u64::try_from(number(REVISION)?).ok()?,
                time: DateTime::from_timestamp_millis(number(TIME)?)?,
            })
        };
        read().ok_or_else(|| ReadModelError::DamagedPosition { subject: subject.to_owned() })
    }

    async fn apply(&self, event: &Event, to: Position) -> Result<Taken, ReadModelError> {
        let id = || event.id.clone();
        let changes =
            (self.changes)(event).map_err(|source| ReadModelError::Changes { id: id(), source })?;
        let allowed = limit::TRANSACTION_ACTIONS - 1;
        if changes.len() > allowed {
            let actual = changes.len();
            return Err(ReadModelError::TooManyChanges { id: id(), actual, allowed });
        }
        let mut actions = vec![self.step(&event.subject, to).map_err(ReadModelError::Refused)?];
        actions.extend(changes);
        let mut attempts = 0;
        let mut pauses = pauses().take(15);
        loop {
            attempts += 1;
            let request =
                self.client.transact_write_items().set_transact_items(Some(actions.clone()));
            // Sent again after silence, the step's own condition tells whether it had happened.
            let source: BoxError = match request
                .send()
                .await
                .map_err(|error| Failure::of(error, &Transmission::presumed()))
            {
                Ok(_) => return Ok(Taken::Applied),
                Err(Failure::Busy(source) | Failure::Unanswered(source)) => source,
                Err(Failure::Refused(source)) => return Err(ReadModelError::Refused(source)),
                Err(Failure::Service(TransactWriteItemsError::TransactionCanceledException(
                    cancelled,
                ))) => {
                    let codes = cancelled
                        .cancellation_reasons()
                        .iter()
                        .map(|reason| reason.code().unwrap_or("None"));
                    match judge(codes) {
                        Verdict::Elsewhere => return Ok(Taken::Elsewhere),
                        Verdict::Busy => Box::new(cancelled),
                        Verdict::Refused { index, code } => {
                            return Err(ReadModelError::ChangeRefused { id: id(), index, code });
                        }
                        Verdict::Unclear => {
                            return Err(ReadModelError::Refused(Box::new(cancelled)));
                        }
                    }
                }
                Err(Failure::Service(error)) => {
                    return Err(ReadModelError::Refused(Box::new(error)));
                }
            };
            match pauses.next() {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(ReadModelError::Unavailable { attempts, source }),
            }
        }
    }
}

/// What the reasons of a cancelled transaction mean, the step's being the first.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Elsewhere,
    Busy,
    Refused { index: usize, code: String },
    Unclear,
}

fn judge<'code>(codes: impl Iterator<Item = &'code str>) -> Verdict {
    let mut verdict = Verdict::Unclear;
    for (action, code) in codes.enumerate() {
        match (action, code) {
            (_, "None") => {}
            (0, CONDITION_FAILED) => return Verdict::Elsewhere,
            (_, code) if BUSY_REASONS.contains(&code) => verdict = Verdict::Busy,
            (action, code) if action > 0 && verdict == Verdict::Unclear => {
                verdict = Verdict::Refused { index: action - 1, code: code.to_owned() };
            }
            _ => {}
        }
    }
    verdict
}
