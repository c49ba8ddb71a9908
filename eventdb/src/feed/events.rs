//! Fetching the events that the feed lists.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::time::Duration;

use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};

use crate::codec::feed::cursor::FeedCursor;
use crate::codec::feed::entry::FeedEntry;
use crate::codec::item::InvalidItem;
use crate::event::Event;
use crate::feed::error::FeedError;
use crate::feed::follow::Follow;
use crate::feed::reader::{ReadPage, Reader};
use crate::store::EventDb;
use crate::store::error::Error;
use crate::store::layout::EventKey;
use crate::store::read::decode;
use crate::store::table::{KEYS_PER_REQUEST, Table};

/// Requests that fetch events at the same time.
const REQUESTS_IN_FLIGHT: usize = 4;

/// In a replica of a global table, an event can arrive after its entry in the feed. If an entry is
/// younger than this, its event is looked for again, after these pauses.
const MAY_ARRIVE_WITHIN: i64 = 60_000;
const PAUSES: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_millis(1250),
];

/// A request to follow the feed and to fetch its events: see
/// [`Follow::events_of`](crate::Follow::events_of).
///
/// # Cost
/// In addition to the feed, half a read unit per 4 KB of each event, rounded up for each. An event that
/// isn't found is read again, strongly consistent.
#[derive(Debug, Clone)]
#[must_use = "a request does nothing until its stream is read"]
pub struct FollowEvents {
    follow: Follow,
    pub(crate) db: EventDb,
}

/// Events that the feed lists, in the order of their partition. A page can be empty.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct FeedEventsPage {
    /// The events, all from one partition of the feed.
    pub events: Vec<Event>,
    /// The entries whose events couldn't be fetched, in the order of the feed.
    pub missing: Vec<MissingEvent>,
    /// Where the reader is after this page, as in [`FeedPage`](crate::FeedPage).
    pub cursor: FeedCursor,
    /// Whether the reader has caught up, as in [`FeedPage`](crate::FeedPage).
    pub caught_up: bool,
}

/// An entry of the feed whose event couldn't be fetched.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct MissingEvent {
    /// The entry.
    pub entry: FeedEntry,
    /// Why its event is missing.
    pub reason: MissingReason,
}

/// Why the event of an entry couldn't be fetched.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum MissingReason {
    /// The table doesn't have it: it was removed, the table was restored to an earlier time, or it is
    /// the table of another store.
    NotFound,
    /// Another event has its place: the table was restored to an earlier time and continued, or it is
    /// the table of another store.
    OtherEvent {
        /// The id of that event.
        id: String,
    },
    /// Its row can't be read.
    Invalid(Box<InvalidItem>),
}

impl fmt::Display for MissingEvent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FeedEntry { id, subject, revision, .. } = &self.entry;
        write!(formatter, "the event `{id}` was published, but ")?;
        match &self.reason {
            MissingReason::NotFound => formatter.write_str("isn't in the table"),
            MissingReason::OtherEvent { id } => {
                write!(formatter, "the table has the event `{id}` in its place")
            }
            MissingReason::Invalid(invalid) => write!(formatter, "can't be read: {invalid}"),
        }?;
        match revision {
            Some(revision) => write!(formatter, " (revision {revision} of `{subject}`)"),
            None => write!(formatter, " (an event of `{subject}` without a revision)"),
        }
    }
}

impl FollowEvents {
    pub(super) fn new(follow: Follow, db: EventDb) -> Self {
        Self { follow, db }
    }

    pub(crate) fn feed_table(&self) -> Table {
        self.follow.table.clone()
    }

    /// The pages of events. It waits and ends as the [stream of entries](Follow::stream).
    ///
    /// An entry whose event isn't found stays in the feed, so a read from an earlier cursor finds it
    /// again.
    pub fn stream(self) -> BoxStream<'static, Result<FeedEventsPage, FeedError>> {
        let Self { follow, db } = self;
        let events = db.table().clone();
        let reader = follow.reader(KEYS_PER_REQUEST);
        stream::try_unfold((reader, events), |(mut reader, events): (Reader, Table)| async move {
            let Some(read) = reader.next().await? else { return Ok(None) };
            let page = fetch(&events, read).await?;
            Ok(Some((page, (reader, events))))
        })
        .boxed()
    }
}

async fn fetch(events: &Table, read: ReadPage) -> Result<FeedEventsPage, Error> {
    let ReadPage { page, listed_at } = read;
    let mut outcomes = look_up(events, &page.entries, false).await?;
    let mut pauses = PAUSES.into_iter();
    loop {
        let lacking: Vec<_> = outcomes
            .iter()
            .zip(&page.entries)
            .filter(|(outcome, _)| is_lacking(outcome))
            .map(|(_, entry)| entry.clone())
            .collect();
        if lacking.is_empty() {
            break;
        }
        // This read is strongly consistent.
        let mut again = look_up(events, &lacking, true).await?.into_iter();
        for outcome in outcomes.iter_mut().filter(|outcome| is_lacking(outcome)) {
            if let Some(again) = again.next() {
                *outcome = again;
            }
        }
        let may_arrive = events.now().saturating_sub(listed_at) < MAY_ARRIVE_WITHIN;
        if !may_arrive || !outcomes.iter().any(is_lacking) {
            break;
        }
        let Some(pause) = pauses.next() else { break };
        tokio::time::sleep(pause).await;
    }
    let mut found = Vec::with_capacity(outcomes.len());
    let mut missing = Vec::new();
    for (outcome, entry) in outcomes.into_iter().zip(page.entries) {
        match outcome {
            Ok(event) => found.push(event),
            Err(reason) => missing.push(MissingEvent { entry, reason }),
        }
    }
    let (cursor, caught_up) = (page.cursor, page.caught_up);
    Ok(FeedEventsPage { events: found, missing, cursor, caught_up })
}

type Outcome = Result<Event, MissingReason>;

fn is_lacking(outcome: &Outcome) -> bool {
    matches!(outcome, Err(MissingReason::NotFound | MissingReason::OtherEvent { .. }))
}

/// Looks for the events of the entries, and returns what came of each, in their order.
async fn look_up(
    events: &Table,
    entries: &[FeedEntry],
    consistent: bool,
) -> Result<Vec<Outcome>, Error> {
    let table = events.begin();
    let keys: Vec<EventKey> =
        entries.iter().map(|entry| table.layout().key_of_entry(entry)).collect();
    // An event can be listed twice, but a request can't have a key twice.
    let mut distinct = keys.iter().cloned().collect::<BTreeSet<_>>().into_iter().peekable();
    let mut requests = Vec::new();
    while distinct.peek().is_some() {
        let keys: BTreeSet<_> = distinct.by_ref().take(KEYS_PER_REQUEST).collect();
        let table = table.clone();
        requests.push(async move { table.rows(&keys, consistent).await });
    }
    let rows: Vec<_> =
        stream::iter(requests).buffer_unordered(REQUESTS_IN_FLIGHT).try_collect().await?;
    let rows: HashMap<EventKey, _> = rows.into_iter().flatten().collect();
    let outcome = |(key, entry): (&EventKey, &FeedEntry)| {
        let row = rows.get(key).ok_or(MissingReason::NotFound)?;
        match decode(row.clone()) {
            Ok(event) if event.id == entry.id => Ok(event),
            Ok(other) => Err(MissingReason::OtherEvent { id: other.id }),
            Err(invalid) => Err(MissingReason::Invalid(Box::new(invalid))),
        }
    };
    Ok(keys.iter().zip(entries).map(outcome).collect())
}
