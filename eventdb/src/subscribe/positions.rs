//! Whether the table has the events at which read models are. After a restore, it can lack them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::pin::pin;

use futures_util::{Stream, StreamExt, TryStreamExt, stream};

use crate::codec::store_id::StoreId;
use crate::store::EventDb;
use crate::store::error::Error;
use crate::store::layout::TableLayout;
use crate::store::read::query::{Query, TimeRange};
use crate::store::read::{revision_of_item, time_of};
use crate::store::table::{KEYS_PER_REQUEST, Table};
use crate::subscribe::read_model::Position;

/// Most findings that are kept. All are counted.
const FINDINGS: usize = 10_000;

/// Subjects that are looked at together.
const CONCURRENT_SUBJECTS: usize = 16;

/// A position as a read model has stored it: see
/// [`DynamoDbReadModel::stored_positions`](crate::DynamoDbReadModel::stored_positions).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredPosition {
    /// The name of the read model.
    pub read_model: String,
    /// The subject.
    pub subject: String,
    /// The position; `None` if it can't be read.
    pub position: Option<Position>,
}

/// What an examination of positions has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PositionExamination {
    /// Positions that were examined.
    pub positions: u64,
    /// What is wrong, at most 10,000.
    pub findings: Vec<PositionFinding>,
    /// How many more there are.
    pub more_findings: u64,
}

/// A position that doesn't fit the table, or all of a read model that come from another store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PositionFinding {
    /// The name of the read model.
    pub read_model: String,
    /// The subject; `None` if it is about several.
    pub subject: Option<String>,
    /// What is wrong.
    pub problem: PositionProblem,
}

/// What is wrong with positions.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PositionProblem {
    /// The read model has applied more events of the subject than the table has.
    Beyond {
        /// The revision of the position.
        revision: u64,
        /// That of the subject's last event; `None` if it has none.
        last: Option<u64>,
    },
    /// The read model has applied another event of this revision than the one that the table has: the
    /// table was restored and then continued, or the event was removed.
    Replaced {
        /// The revision of the position.
        revision: u64,
    },
    /// Positions count the revisions of another store, so events of this one are refused.
    OtherStore {
        /// That store.
        store: StoreId,
        /// How many positions.
        positions: u64,
        /// For how many of these this table has the event at which they are.
        fitting: u64,
    },
    /// The position can't be read.
    Unreadable,
}

/// Why positions can't be examined.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExaminePositionsError<E> {
    /// The table can't be read.
    #[error(transparent)]
    Store(#[from] Error),
    /// The positions can't be read.
    #[error("the positions can't be read")]
    Positions(#[source] E),
}

impl StoredPosition {
    /// A position, from what a read model has stored.
    pub fn new(
        read_model: impl Into<String>,
        subject: impl Into<String>,
        position: impl Into<Option<Position>>,
    ) -> Self {
        Self { read_model: read_model.into(), subject: subject.into(), position: position.into() }
    }
}

impl PositionExamination {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty() && self.more_findings == 0
    }

    fn add(&mut self, finding: PositionFinding) {
        if self.findings.len() < FINDINGS {
            self.findings.push(finding);
        } else {
            self.more_findings += 1;
        }
    }
}

impl PositionProblem {
    /// A name for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Beyond { .. } => "positionBeyond",
            Self::Replaced { .. } => "positionReplaced",
            Self::OtherStore { .. } => "positionsOfOtherStore",
            Self::Unreadable => "positionUnreadable",
        }
    }

    /// What to do about it.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Beyond { .. } => {
                "the read model shows events that are gone, as after a restore, and would pass over those \
                 that take their revisions: import the events, or rebuild the read model"
            }
            Self::Replaced { .. } => {
                "the read model shows an event that isn't in the table, and has passed over the one that is: \
                 rebuild the read model"
            }
            Self::OtherStore { positions, fitting, .. } if positions == fitting => {
                "this table continues that store: let the projection accept it \
                 (`Projection::with_moved_store`); if events were appended there after the copy, rebuild the \
                 read model"
            }
            Self::OtherStore { fitting: 0, .. } => {
                "if the read model also takes events of that store, this is right; otherwise rebuild it"
            }
            Self::OtherStore { .. } => {
                "this table was made from that store and lacks a part of it: rebuild the read model"
            }
            Self::Unreadable => "somebody else has written it: rebuild the read model",
        }
    }
}

impl fmt::Display for PositionProblem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Beyond { revision, last: Some(last) } => write!(
                formatter,
                "it is at revision {revision}, but the last event in the table has revision {last}"
            ),
            Self::Beyond { revision, last: None } => {
                write!(formatter, "it is at revision {revision}, which the table doesn't have")
            }
            Self::Replaced { revision } => write!(
                formatter,
                "it is at revision {revision}, but not at the event that the table has there"
            ),
            Self::OtherStore { store, positions, fitting } => write!(
                formatter,
                "{positions} positions are in another store, {store}; this table has the events of {fitting} \
                 of them"
            ),
            Self::Unreadable => formatter.write_str("it can't be read"),
        }
    }
}

impl fmt::Display for PositionFinding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the read model `{}`", self.read_model)?;
        match &self.subject {
            Some(subject) => write!(formatter, ", {subject:?}: {}", self.problem),
            None => write!(formatter, ": {}", self.problem),
        }
    }
}

impl EventDb {
    /// Examines positions of read models: whether this table has the events at which they are. After a
    /// restore, read models can be ahead of the table; they would then pass over new events.
    ///
    /// It works with any read model: [`DynamoDbReadModel::stored_positions`] reads those in DynamoDB, and
    /// those in another database are made by [`StoredPosition::new`]. An event is recognised by its
    /// revision and its time in milliseconds.
    ///
    /// Positions that name another store are reported together. Those of them that don't fit are listed
    /// only if others do: then this table was made from that store.
    ///
    /// [`DynamoDbReadModel::stored_positions`]: crate::DynamoDbReadModel::stored_positions
    ///
    /// # Cost
    /// For each position 1 read unit per 4 KB of its event, and half a unit to 1 more if it isn't found.
    /// It takes little memory. It needs the permissions `DescribeTable` and `Query`, and by revision
    /// `BatchGetItem`.
    ///
    /// # Errors
    /// [`ExaminePositionsError::Store`] and [`ExaminePositionsError::Positions`].
    ///
    /// ```no_run
    /// # async fn example(db: eventdb::EventDb, loans: eventdb::DynamoDbReadModel)
    /// # -> Result<(), Box<dyn std::error::Error>> {
    /// let examination = db.examine_positions(loans.stored_positions()).await?;
    /// for finding in &examination.findings {
    ///     println!("{finding}: {}", finding.problem.advice());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn examine_positions<P, E>(
        &self,
        positions: P,
    ) -> Result<PositionExamination, ExaminePositionsError<E>>
    where
        P: Stream<Item = Result<StoredPosition, E>> + Send,
        E: std::error::Error + Send + Sync + 'static,
    {
        let table = self.table();
        table.layout().check(table).await?;
        // A restored table has no stream at first, and then there is no id to compare with.
        let own = table.describe().await?.and_then(|table| table.latest_stream_arn);
        let mut found = PositionExamination::default();
        let mut others: BTreeMap<(String, StoreId), OfOtherStore> = BTreeMap::new();
        let mut chunks = pin!(positions.try_chunks(KEYS_PER_REQUEST));
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| ExaminePositionsError::Positions(error.1))?;
            for (stored, problem) in compared(table, chunk).await? {
                found.positions += 1;
                let StoredPosition { read_model, subject, position } = stored;
                let store = position.and_then(|position| position.store);
                let store =
                    store.filter(|store| own.as_ref().is_some_and(|own| own != store.as_str()));
                let other =
                    store.map(|store| others.entry((read_model.clone(), store)).or_default());
                let finding = problem.map(|problem| PositionFinding {
                    read_model,
                    subject: Some(subject),
                    problem,
                });
                match (other, finding) {
                    (Some(other), finding) => other.add(finding),
                    (None, Some(finding)) => found.add(finding),
                    (None, None) => {}
                }
            }
        }
        for ((read_model, store), other) in others {
            let OfOtherStore { positions, unfitting, more_unfitting } = other;
            let fitting = positions - unfitting.len() as u64 - more_unfitting;
            let problem = PositionProblem::OtherStore { store, positions, fitting };
            found.add(PositionFinding { read_model, subject: None, problem });
            if fitting > 0 {
                unfitting.into_iter().for_each(|finding| found.add(finding));
                found.more_findings += more_unfitting;
            }
        }
        Ok(found)
    }
}

/// The positions of a read model that are in one other store.
#[derive(Default)]
struct OfOtherStore {
    positions: u64,
    /// At most as many as an examination keeps.
    unfitting: Vec<PositionFinding>,
    more_unfitting: u64,
}

impl OfOtherStore {
    fn add(&mut self, finding: Option<PositionFinding>) {
        self.positions += 1;
        match finding {
            Some(finding) if self.unfitting.len() < FINDINGS => self.unfitting.push(finding),
            Some(_) => self.more_unfitting += 1,
            None => {}
        }
    }
}

/// Each position with what is wrong with it, in any order.
async fn compared(
    table: &Table,
    positions: Vec<StoredPosition>,
) -> Result<Vec<(StoredPosition, Option<PositionProblem>)>, Error> {
    let keys: BTreeSet<_> = match table.layout() {
        TableLayout::ByTime => BTreeSet::new(),
        TableLayout::ByRevision => positions.iter().filter_map(key).collect(),
    };
    let rows = match keys.is_empty() {
        true => None,
        false => Some(table.begin().all_rows(keys, true).await?),
    };
    stream::iter(positions)
        .map(|stored| {
            let rows = rows.as_ref();
            async move {
                let Some(position) = &stored.position else {
                    return Ok((stored, Some(PositionProblem::Unreadable)));
                };
                if position.revision == 0 {
                    return Ok((stored, None));
                }
                let table = table.begin();
                let has_event = match table.layout() {
                    TableLayout::ByTime => {
                        has_event_by_time(&table, &stored.subject, position).await?
                    }
                    TableLayout::ByRevision => {
                        let row = key(&stored).and_then(|key| rows?.get(&key));
                        row.is_some_and(|row| {
                            time_of(row).is_none_or(|time| time == millis(position))
                        })
                    }
                };
                let problem = match has_event {
                    true => None,
                    false => Some(problem_of(&table, &stored.subject, position.revision).await?),
                };
                Ok((stored, problem))
            }
        })
        .buffer_unordered(CONCURRENT_SUBJECTS)
        .try_collect()
        .await
}

fn millis(position: &Position) -> i64 {
    position.time.timestamp_millis()
}

/// The key of the event, by revision. No subject is empty.
fn key(stored: &StoredPosition) -> Option<(String, String)> {
    let revision = stored.position.as_ref()?.revision;
    (revision > 0 && !stored.subject.is_empty())
        .then(|| (stored.subject.clone(), revision.to_string()))
}

/// Whether a table by time has the event. A row without a revision counts as the one that is meant.
async fn has_event_by_time(
    table: &Table,
    subject: &str,
    position: &Position,
) -> Result<bool, Error> {
    if subject.is_empty() {
        return Ok(false);
    }
    let time = millis(position);
    let range = TimeRange { since: Some(time), until: Some(time.saturating_add(1)) };
    let page = table.query(&Query::of_subject(subject).in_key_range(range)).await?;
    let is_meant = |row| revision_of_item(row).is_none_or(|revision| revision == position.revision);
    Ok(page.items.iter().any(is_meant))
}

async fn problem_of(table: &Table, subject: &str, revision: u64) -> Result<PositionProblem, Error> {
    if subject.is_empty() {
        return Ok(PositionProblem::Beyond { revision, last: None });
    }
    let mut query = Query::of_subject(subject).limited_to(Some(1));
    query.backwards = true;
    let page = table.query(&query).await?;
    let last = page.items.first().and_then(revision_of_item);
    Ok(match last {
        Some(last) if last >= revision => PositionProblem::Replaced { revision },
        last => PositionProblem::Beyond { revision, last },
    })
}
