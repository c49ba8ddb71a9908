//! The two layouts of a table, behind one interface. Nothing outside this folder knows which layout a
//! table has.
//!
//! | what differs | by time | by revision |
//! |---|---|---|
//! | sort key of an event | its time and type | its revision |
//! | end of a subject | its head item | its highest sort key |
//! | one event at a known revision | a transaction of two actions | one `PutItem` |
//! | `data` | a map of attributes | JSON text |

pub(crate) mod by_revision;
pub(crate) mod by_time;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::str::FromStr;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::codec::feed::entry::FeedEntry;
use crate::codec::item;
use crate::codec::validation::Rules;
use crate::event::Event;
use crate::event::data::EventData;
use crate::schema::{self, attribute};
use crate::store::append::refusal::{Outcome, Refused};
use crate::store::append::transaction::{Append, Sent, Transaction};
use crate::store::concurrently::concurrently;
use crate::store::create_table::TableParts;
use crate::store::error::{Conflict, Error};
use crate::store::layout::by_time::head::Head;
use crate::store::read::fetch_events::{FetchEvents, Rows};
use crate::store::read::query::{Query, string};
use crate::store::read::revision_of_item;
use crate::store::snapshot::Snapshot;
use crate::store::table::Table;

/// The attributes of an item in the form of the AWS client.
pub(crate) type SdkItem = HashMap<String, AttributeValue>;

/// The key of an event as text: its subject and its sort key.
pub(crate) type EventKey = (String, String);

/// How a table stores events. It is a property of the table and can't be changed later.
///
/// | | by time | by revision |
/// |---|---|---|
/// | write units for an event of 0.5 KB, 1 KB, 10 KB | 7, 7, 34 | 3, 3, 12 |
/// | most events per second of all subjects together | about 1,000 of 1 KB | about 16,000 of 1 KB |
/// | history of one subject | at most 10 GB | no limit |
/// | events older than the subject's last one | refused | allowed |
/// | members of `data` in DynamoDB's filters and exports | attributes | JSON text |
/// | tables of the original library | read and continued | not possible |
///
/// ```no_run
/// use eventdb::{EventDb, TableLayout};
///
/// # async fn example(client: eventdb::aws_sdk_dynamodb::Client) -> Result<(), eventdb::Error> {
/// EventDb::create_table(&client, "Events").layout(TableLayout::ByRevision).await?;
/// let db = EventDb::new(client, "Events").with_layout(TableLayout::ByRevision);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TableLayout {
    /// The sort key is the time and the type of an event. This is the table of the original library.
    #[default]
    ByTime,
    /// The sort key is the revision of an event. Use it for new stores, unless other tools read
    /// members of `data` in the table.
    ByRevision,
}

/// Text that isn't the name of a layout.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` isn't the layout of a table; it must be `byTime` or `byRevision`")]
pub struct InvalidTableLayout(String);

impl FromStr for TableLayout {
    type Err = InvalidTableLayout;

    /// Reads `byTime` or `byRevision`, the values of the construct's `tableLayout`, for example from an
    /// environment variable.
    fn from_str(text: &str) -> Result<Self, InvalidTableLayout> {
        match text {
            "byTime" => Ok(Self::ByTime),
            "byRevision" => Ok(Self::ByRevision),
            _ => Err(InvalidTableLayout(text.to_owned())),
        }
    }
}

impl fmt::Display for TableLayout {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::ByTime => "byTime",
            Self::ByRevision => "byRevision",
        })
    }
}

/// Where the history of a written subject is assumed to end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Base {
    pub(crate) revision: u64,
    /// In milliseconds, by time only. `None` if it isn't known; then the condition checks it.
    pub(crate) last_time: Option<i64>,
}

/// What an append builds on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Where the histories of the written subjects are assumed to end. A subject that is missing here
    /// counts as pristine.
    pub(crate) bases: BTreeMap<String, Base>,
    /// By revision only: written subjects whose base is fixed by a precondition. If their next
    /// revision is taken, it is a conflict.
    pub(crate) fixed: BTreeSet<String>,
    /// By revision only: subjects that aren't written, and the revisions after which nothing may have
    /// been stored.
    pub(crate) checks: BTreeMap<String, u64>,
    /// By time only: the subjects whose heads are known to be up to date.
    pub(crate) looked_for_legacy: BTreeSet<String>,
}

/// How an append begins.
pub(crate) enum Beginning {
    /// With a plan.
    On(Plan),
    /// It was stored before. These are its events.
    AlreadyStored(Vec<Event>),
}

/// What to do about a conflict that a refusal has reported.
pub(crate) enum Verdict {
    /// It is one.
    Conflict(Conflict),
    /// It isn't one: send the same again.
    Again(&'static str),
}

/// The rows of a running read.
pub(crate) enum Pages {
    ByTime(Box<by_time::pages::Pages>),
    ByRevision(by_revision::pages::Pages),
}

impl Pages {
    /// The next rows, or `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Rows>, Error> {
        match self {
            Self::ByTime(pages) => pages.next_rows().await,
            Self::ByRevision(pages) => pages.next_rows().await,
        }
    }
}

impl TableLayout {
    /// This layout and the other one, as messages say them, and the other one's name in the code.
    pub(crate) fn and_the_other(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::ByTime => ("by time", "by revision", "ByRevision"),
            Self::ByRevision => ("by revision", "by time", "ByTime"),
        }
    }

    /// What this layout demands of events.
    pub(crate) fn rules(self) -> Rules {
        match self {
            Self::ByTime => Rules::BY_TIME,
            Self::ByRevision => Rules::BY_REVISION,
        }
    }

    /// What to create a table from. `left_out` names optional indexes.
    pub(crate) fn table_parts(self, left_out: &[&str]) -> TableParts {
        match self {
            Self::ByTime => by_time::table_parts(),
            Self::ByRevision => by_revision::table_parts(left_out),
        }
    }

    /// An event with its payload as it will be read back.
    pub(crate) fn as_read_back(self, mut event: Event) -> Event {
        event.data.make_canonical(self == Self::ByRevision);
        event
    }

    pub(crate) fn encode(self, event: &Event) -> SdkItem {
        match self {
            Self::ByTime => by_time::encode(event),
            Self::ByRevision => by_revision::encode(event),
        }
    }

    /// The key of a row of the table, taken from a row of an index.
    pub(crate) fn key_of(self, row: SdkItem) -> SdkItem {
        match self {
            Self::ByTime => by_time::key_of(row),
            Self::ByRevision => by_revision::key_of(row),
        }
    }

    fn sort_key(self) -> &'static str {
        match self {
            Self::ByTime => attribute::TIME_TYPE,
            Self::ByRevision => attribute::REVISION,
        }
    }

    /// The key of an event that the feed lists.
    pub(crate) fn key_of_entry(self, entry: &FeedEntry) -> EventKey {
        let sort_key = match self {
            Self::ByTime => entry.sort_key_by_time(),
            Self::ByRevision => entry.revision.unwrap_or_default().to_string(),
        };
        (entry.subject.clone(), sort_key)
    }

    /// The key of an event that is placed.
    pub(crate) fn key_of_event(self, event: &Event) -> EventKey {
        let sort_key = match self {
            Self::ByTime => item::time_type(event.time, &event.ty),
            Self::ByRevision => event.revision.unwrap_or_default().to_string(),
        };
        (event.subject.clone(), sort_key)
    }

    /// The key of a command's guard.
    pub(crate) fn command_key(self, partition: String) -> SdkItem {
        let sort_key = match self {
            Self::ByTime => schema::COMMAND_SORT_KEY.to_owned(),
            Self::ByRevision => schema::COMMAND_REVISION.to_string(),
        };
        self.key(&(partition, sort_key))
    }

    /// The item that keeps where a subject ends, if the layout has one.
    pub(crate) fn end_item(self, last: &Event) -> Option<SdkItem> {
        match self {
            Self::ByTime => Some(by_time::head::item(last)),
            Self::ByRevision => None,
        }
    }

    /// The key of the item that tells whether a subject has this revision: its head or, by revision,
    /// that event. `None` for revision 0, which needs no event.
    pub(crate) fn key_of_end(self, subject: &str, revision: u64) -> Option<EventKey> {
        match self {
            Self::ByTime => self.event_key(&by_time::head::key(subject)),
            Self::ByRevision => (revision > 0).then(|| (subject.to_owned(), revision.to_string())),
        }
    }

    /// The revision that the item with [`key_of_end`](Self::key_of_end) tells of, and by time the time
    /// of that event, in milliseconds.
    pub(crate) fn read_end(self, item: &SdkItem) -> Option<(u64, Option<i64>)> {
        match self {
            Self::ByTime => Head::read(item).map(|head| (head.revision, Some(head.last_time))),
            Self::ByRevision => revision_of_item(item).map(|revision| (revision, None)),
        }
    }

    /// The first row of a subject without an end, if the layout keeps where subjects end.
    pub(crate) async fn first_row_without_end(
        self,
        table: &Table,
        subject: &str,
    ) -> Result<Option<EventKey>, Error> {
        if self == Self::ByRevision {
            return Ok(None);
        }
        let query = Query::of_subject(subject).limited_to(Some(1));
        let page = table.begin().query(&query).await?;
        Ok(page.items.first().and_then(|row| self.event_key(row)))
    }

    /// All snapshots of a subject.
    pub(crate) fn snapshots(self, subject: &str) -> Query {
        match self {
            Self::ByTime => Query::of_snapshots_by_time(subject),
            Self::ByRevision => Query::of_subject(&format!("{}{subject}", schema::SNAPSHOT_PREFIX)),
        }
    }

    /// The payload of an event as an attribute.
    pub(crate) fn data_attribute(self, data: &EventData) -> AttributeValue {
        match self {
            Self::ByTime => item::data_by_time(data).into(),
            Self::ByRevision => string(data.as_json()),
        }
    }

    /// Lets a subject end at least at this event, if the layout keeps where subjects end. `false` if
    /// somebody else changes the end at the same time.
    pub(crate) async fn advance_end(self, table: &Table, last: &Event) -> Result<bool, Error> {
        match self {
            Self::ByTime => table.begin().advance_head(last).await,
            Self::ByRevision => Ok(true),
        }
    }

    /// The revision at which a copied subject ends.
    pub(crate) async fn end_of_copy(self, table: &Table, subject: &str) -> Result<u64, Error> {
        match self {
            Self::ByTime => Ok(table.stored_head(subject).await?.map_or(0, |head| head.revision)),
            Self::ByRevision => Ok(by_revision::base(table, subject).await?.revision),
        }
    }

    /// The key in the form of the AWS client.
    pub(crate) fn key(self, (subject, sort_key): &EventKey) -> SdkItem {
        let sort_key = match self {
            Self::ByTime => AttributeValue::S(sort_key.clone()),
            Self::ByRevision => AttributeValue::N(sort_key.clone()),
        };
        HashMap::from([
            (attribute::SUBJECT.to_owned(), string(subject)),
            (self.sort_key().to_owned(), sort_key),
        ])
    }

    /// The key of a row.
    pub(crate) fn event_key(self, row: &SdkItem) -> Option<EventKey> {
        let subject = row.get(attribute::SUBJECT)?.as_s().ok()?;
        let sort_key = match row.get(self.sort_key())? {
            AttributeValue::S(text) | AttributeValue::N(text) => text,
            _ => return None,
        };
        Some((subject.clone(), sort_key.clone()))
    }

    /// The item that guards the id of an event.
    pub(crate) fn guard(self, event: &Event) -> SdkItem {
        match self {
            Self::ByTime => by_time::guard(event),
            Self::ByRevision => by_revision::guard(event),
        }
    }

    /// The key of the event that a guard item guards; `None` if it isn't a guard.
    pub(crate) fn guarded_key(self, guard: &SdkItem) -> Option<SdkItem> {
        match self {
            Self::ByTime => by_time::guarded_key(guard),
            Self::ByRevision => by_revision::guarded_key(guard),
        }
    }

    /// Whether the repetition of these complete events is recognised by guards of their ids, because
    /// nothing else says at which keys they are stored.
    pub(crate) fn guards_complete_events(self, append: &Append) -> bool {
        match self {
            Self::ByTime => false,
            Self::ByRevision => !by_revision::slots_are_fixed(append),
        }
    }

    /// Bytes and actions of an append besides its events and guards.
    pub(crate) fn extra_size(self, append: &Append) -> (usize, usize) {
        match self {
            Self::ByTime => by_time::extra_size(append),
            Self::ByRevision => by_revision::extra_size(append),
        }
    }

    /// Finds out what the append builds on.
    pub(crate) async fn begin(self, table: &Table, append: &Append) -> Result<Beginning, Error> {
        match self {
            Self::ByTime => by_time::begin(table, append).await,
            Self::ByRevision => by_revision::begin(table, append).await,
        }
    }

    /// Where the histories of subjects end, read again.
    pub(crate) async fn ends(
        self,
        table: &Table,
        subjects: Vec<String>,
    ) -> Result<Vec<(String, Base)>, Error> {
        concurrently(subjects, |subject| async move {
            let base = match self {
                Self::ByTime => by_time::base(table, &subject).await?,
                Self::ByRevision => by_revision::base(table, &subject).await?,
            };
            Ok((subject, base))
        })
        .await
    }

    /// The append with its events as they will be stored, and the actions that store them.
    pub(crate) fn build(self, append: Append, plan: &Plan, now: i64) -> Result<Transaction, Error> {
        match self {
            Self::ByTime => by_time::build(append, plan, now),
            Self::ByRevision => Ok(by_revision::build(append, plan, now)),
        }
    }

    /// What an append without an answer must be settled on, if the events alone don't say it.
    pub(crate) fn sent_on(self, append: &Append, plan: &Plan) -> Option<Sent> {
        match self {
            Self::ByTime => None,
            Self::ByRevision => by_revision::sent_on(append, plan),
        }
    }

    /// What a refusal means that isn't explained by a repetition.
    pub(crate) fn judge(
        self,
        transaction: &Transaction,
        plan: &Plan,
        failed: &[Refused<'_>],
    ) -> Option<Outcome> {
        match self {
            Self::ByTime => by_time::judge(transaction, failed),
            Self::ByRevision => by_revision::judge(transaction, plan, failed),
        }
    }

    /// Looks closer at a conflict, with a read if needed.
    pub(crate) async fn examine(
        self,
        table: &Table,
        conflict: Conflict,
        plan: &mut Plan,
    ) -> Result<Verdict, Error> {
        match self {
            Self::ByTime => by_time::examine(table, conflict, &mut plan.looked_for_legacy).await,
            Self::ByRevision => Ok(Verdict::Conflict(by_revision::examine(table, conflict).await)),
        }
    }

    /// Whether events with a known revision can be read without those before it.
    pub(crate) fn sorts_by_revision(self) -> bool {
        self == Self::ByRevision
    }

    /// The last revision that a subject has reached, if the layout keeps it anywhere but in the
    /// events.
    pub(crate) async fn recorded_end(self, table: &Table, subject: &str) -> Result<u64, Error> {
        match self {
            Self::ByTime => by_time::recorded_end(table, subject).await,
            Self::ByRevision => Ok(0),
        }
    }

    /// The snapshot of a subject, if there is a readable one. The read is eventually consistent, so it
    /// may return an older snapshot. It costs half as much, and the events after the snapshot are read
    /// anyway.
    pub(crate) async fn snapshot(
        self,
        table: &Table,
        subject: &str,
        aggregate: &str,
    ) -> Result<Option<Snapshot>, Error> {
        let (key, revision) = match self {
            Self::ByTime => (by_time::snapshot_key(subject, aggregate), attribute::REVISION),
            // `revision` is the sort key here, and says nothing about the state.
            Self::ByRevision => {
                (by_revision::snapshot_key(subject, aggregate), attribute::STATE_REVISION)
            }
        };
        let item = table.get_eventually(key).await?;
        Ok(item.as_ref().and_then(|item| Snapshot::read(item, aggregate, revision)))
    }

    /// Writes the snapshot without a condition. If it replaces a newer one, the next readers read a
    /// few more events, and a later snapshot replaces it.
    pub(crate) async fn put_snapshot(
        self,
        table: &Table,
        subject: &str,
        aggregate: &str,
        snapshot: Snapshot,
    ) -> Result<(), Error> {
        match self {
            Self::ByTime => {
                let key = by_time::snapshot_key(subject, aggregate);
                table.set(key, snapshot.attributes(attribute::REVISION)).await
            }
            Self::ByRevision => {
                let mut item = by_revision::snapshot_key(subject, aggregate);
                item.extend(snapshot.attributes(attribute::STATE_REVISION));
                item.insert(attribute::AGGREGATE.to_owned(), string(aggregate));
                table.put(item).await
            }
        }
    }

    /// Fails if the table has the other layout. An index has the same keys in both, so a read of one
    /// that finds nothing asks this. It takes half a read unit.
    pub(crate) async fn check(self, table: &Table) -> Result<(), Error> {
        let key = match self {
            Self::ByTime => by_time::any_key(),
            Self::ByRevision => by_revision::any_key(),
        };
        table.get_eventually(key).await.map(|_| ())
    }

    /// The sort key of the index of subjects: the attribute that has the subject.
    pub(crate) fn listed_subject(self) -> &'static str {
        match self {
            Self::ByTime => attribute::LISTED_SUBJECT,
            Self::ByRevision => attribute::SUBJECT,
        }
    }

    /// The revisions of the last events of subjects, strongly consistent. A subject whose end can't be
    /// read is left out.
    pub(crate) async fn last_revisions(
        self,
        table: &Table,
        subjects: &[String],
    ) -> Result<HashMap<String, u64>, Error> {
        match self {
            Self::ByTime => by_time::last_revisions(table, subjects).await,
            Self::ByRevision => {
                let ends = self.ends(table, subjects.to_vec()).await?;
                Ok(ends.into_iter().map(|(subject, end)| (subject, end.revision)).collect())
            }
        }
    }

    /// Begins a read.
    pub(crate) fn pages(self, request: FetchEvents) -> Result<Pages, Error> {
        Ok(match self {
            Self::ByTime => Pages::ByTime(Box::new(by_time::pages::Pages::begin(request)?)),
            Self::ByRevision => Pages::ByRevision(by_revision::pages::Pages::begin(request)?),
        })
    }
}
