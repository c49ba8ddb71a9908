//! Lists the events that the topic has accepted in the feed.
//!
//! Each invocation reads where the partitions end and puts chunks there. If other invocations are
//! first, it tries behind them. It keeps no position from one invocation to the next, because the
//! feed may have been restored in between. `docs/decisions/0057-the-feed.md` has the reasons.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use eventdb::FeedEntry;
use eventdb::internals::feed::append::PartitionAppend;
use eventdb::internals::feed::chunk::{self, Chunk, End, InvalidFeedItem};
use eventdb::internals::feed::entry::EntryKey;
use eventdb::internals::feed::partition_of;
use eventdb::internals::schema::feed;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_dynamo::Item;
use tokio::time::{Instant, sleep, timeout_at};

use crate::topic::Entry;

/// Most time for the feed at the end of an invocation.
pub const LISTING_TIME: Duration = Duration::from_secs(8);

/// Most time for looking into the feed before publishing.
pub const LOOKUP_TIME: Duration = Duration::from_secs(2);

/// Time after which a request counts as unanswered.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// A batch with records of at least this age may have been delivered before.
pub const AGE_OF_REPETITIONS: Duration = Duration::from_secs(10);

/// How many chunks of a partition are searched for events that were listed before.
pub const CHUNKS_SEARCHED: i32 = 25;

/// Most events that are remembered as published but not listed: as many as a batch can have records.
pub const REMEMBERED: usize = 10_000;

/// Most partitions that are written at the same time. Each takes a connection.
const PARTITIONS_IN_FLIGHT: usize = 4;

/// After so many refusals in a row, the end of the partition is read again.
const REFUSALS_PER_READ: u32 = 2;

/// Upper bound of the pause after a failure. It doubles with each failure in a row, up to 16 times.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// The feed's table: DynamoDB, or a substitute in tests.
pub trait FeedTable {
    /// Reads the last items of a partition, strongly consistent, the last one first: at most the
    /// given number and 1 MB. Without entries, they have the attributes that the end of a partition
    /// needs.
    ///
    /// # Errors
    /// See [`FeedFailure`].
    fn last(
        &self,
        partition: &str,
        most: i32,
        with_entries: bool,
    ) -> impl Future<Output = Result<Vec<Item>, FeedFailure>> + Send;

    /// Puts an item if no item has its key.
    ///
    /// # Errors
    /// See [`FeedFailure`].
    fn put(&self, item: &Item) -> impl Future<Output = Result<Put, FeedFailure>> + Send;
}

/// The answer to [`FeedTable::put`].
#[derive(Debug, Clone, PartialEq)]
pub enum Put {
    /// The item is in the table.
    Stored,
    /// This item has its key.
    Refused(Item),
}

/// Why a request to the feed's table failed. Unless the failure is permanent, the request may have
/// been carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedFailure {
    /// Whether the same request would fail again, for example without the permission.
    pub is_permanent: bool,
    /// The error code, for the log.
    pub code: String,
}

/// No feed: for a publisher that has none.
#[derive(Debug, Clone, Copy)]
pub enum NoFeedTable {}

impl FeedTable for NoFeedTable {
    async fn last(&self, _: &str, _: i32, _: bool) -> Result<Vec<Item>, FeedFailure> {
        match *self {}
    }

    async fn put(&self, _: &Item) -> Result<Put, FeedFailure> {
        match *self {}
    }
}

/// The feed of a publisher. It lives as long as the function's process.
#[derive(Debug)]
pub struct Feed<F> {
    table: F,
    partitions_of_new_feed: u32,
    /// Events that the topic has accepted and that couldn't be listed yet.
    unlisted: Mutex<HashSet<EntryKey>>,
}

/// What is known of the events of a batch before they are published.
#[derive(Debug, Default)]
pub struct Published {
    /// Positions of events that the feed lists already: there is nothing to do.
    pub listed: HashSet<usize>,
    /// Positions of events that this process has published, and which must still be listed.
    pub unlisted: HashSet<usize>,
}

/// Why events couldn't be listed.
#[derive(Debug, thiserror::Error)]
enum ListingError {
    #[error("the feed's table answered {0}")]
    Table(String),
    #[error("the time of the invocation was used up; the last failure was {0}")]
    OutOfTime(String),
    #[error(transparent)]
    InvalidItem(#[from] InvalidFeedItem),
    #[error("an entry can't be written")]
    Entry(#[from] serde_json::Error),
}

impl<F: FeedTable> Feed<F> {
    /// The feed in a table. If the table is empty, the feed is created with the given number of
    /// partitions.
    pub fn new(table: F, partitions_of_new_feed: u32) -> Self {
        Self { table, partitions_of_new_feed, unlisted: Mutex::default() }
    }

    /// The deadline for publishing, which leaves time for the feed: a third of the remaining time, at
    /// most [`LISTING_TIME`].
    pub fn publish_by(&self, deadline: Instant) -> Instant {
        let left = deadline.saturating_duration_since(Instant::now());
        deadline.checked_sub(LISTING_TIME.min(left / 3)).unwrap_or(deadline)
    }

    /// Finds out which events of a batch were published before. If some records are old, or this
    /// process has published some of the events, it searches the last chunks of the feed. If that
    /// fails, the events are published again, which subscribers must be ready for.
    pub async fn published_before(&self, entries: &[Entry], deadline: Instant) -> Published {
        let mut published = Published::default();
        {
            let unlisted = self.unlisted.lock().unwrap_or_else(PoisonError::into_inner);
            let known = entries.iter().filter(|entry| unlisted.contains(&entry.listing.key()));
            published.unlisted = known.map(|entry| entry.position).collect();
        }
        let now = SystemTime::now();
        let is_old = |entry: &Entry| {
            let age = entry.streamed.and_then(|at| now.duration_since(at.into()).ok());
            age.is_some_and(|age| age >= AGE_OF_REPETITIONS)
        };
        if published.unlisted.is_empty() && !entries.iter().any(is_old) {
            return published;
        }
        let end = deadline.min(Instant::now() + LOOKUP_TIME);
        match timeout_at(end, self.search(entries)).await {
            Ok(Ok(listed)) => {
                published.unlisted.retain(|position| !listed.contains(position));
                let mut unlisted = self.unlisted.lock().unwrap_or_else(PoisonError::into_inner);
                for entry in entries.iter().filter(|entry| listed.contains(&entry.position)) {
                    unlisted.remove(&entry.listing.key());
                }
                drop(unlisted);
                published.listed = listed;
            }
            Ok(Err(error)) => tracing::warn!(%error, "the feed couldn't be searched"),
            Err(_) => tracing::warn!(error = "Timeout", "the feed couldn't be searched"),
        }
        published
    }

    /// The positions of the entries that the last chunks of their partitions contain.
    async fn search(&self, entries: &[Entry]) -> Result<HashSet<usize>, ListingError> {
        let failed = |failure: FeedFailure| ListingError::Table(failure.code);
        let header = self.table.last(feed::HEADER, 1, true).await.map_err(failed)?;
        let Some(header) = header.first() else { return Ok(HashSet::new()) };
        let partitions = chunk::decode_header(header)?.partitions;
        let mut by_partition: HashMap<u32, HashMap<EntryKey, usize>> = HashMap::new();
        for entry in entries {
            let partition = partition_of(&entry.subject, partitions);
            by_partition.entry(partition).or_default().insert(entry.listing.key(), entry.position);
        }
        let mut searches = futures_util::stream::iter(by_partition)
            .map(async |(partition, positions)| {
                let key = chunk::partition_key(partition);
                let items = self.table.last(&key, CHUNKS_SEARCHED, true).await;
                (positions, items)
            })
            .buffer_unordered(PARTITIONS_IN_FLIGHT);
        let mut listed = HashSet::new();
        while let Some((positions, items)) = searches.next().await {
            for item in items.map_err(failed)? {
                let entries = Chunk::decode(&item)?.entries;
                listed.extend(entries.iter().filter_map(|entry| positions.get(&entry.key())));
            }
        }
        Ok(listed)
    }

    /// Lists events that the topic has accepted, in the given order. It returns the positions of those
    /// that couldn't be listed: their records must be delivered again. A warm process remembers them.
    pub async fn list(&self, events: Vec<(usize, FeedEntry)>, deadline: Instant) -> Vec<usize> {
        if events.is_empty() {
            return Vec::new();
        }
        let deadline = deadline.min(Instant::now() + LISTING_TIME);
        let keys: Vec<_> =
            events.iter().map(|(position, entry)| (*position, entry.key())).collect();
        // Until they are listed: the process may be stopped and used again.
        self.remember(keys.iter().map(|(_, key)| key.clone()));
        let listed = match self.partitions(deadline).await {
            Ok(partitions) => self.list_in(partitions, events, deadline).await,
            Err(error) => {
                tracing::error!(%error, events = keys.len(), "events couldn't be listed");
                HashSet::new()
            }
        };
        let mut unlisted = self.unlisted.lock().unwrap_or_else(PoisonError::into_inner);
        let mut failed = Vec::new();
        for (position, key) in keys {
            if listed.contains(&position) {
                unlisted.remove(&key);
            } else {
                failed.push(position);
            }
        }
        failed
    }

    fn remember(&self, keys: impl ExactSizeIterator<Item = EntryKey>) {
        let mut unlisted = self.unlisted.lock().unwrap_or_else(PoisonError::into_inner);
        // What another process has listed meanwhile would stay here. Forgetting costs a repetition.
        if unlisted.len() + keys.len() > REMEMBERED {
            unlisted.clear();
        }
        unlisted.extend(keys);
    }

    /// Lists the events in their partitions, and returns the positions of those that are listed.
    async fn list_in(
        &self,
        partitions: u32,
        events: Vec<(usize, FeedEntry)>,
        deadline: Instant,
    ) -> HashSet<usize> {
        let mut by_partition: BTreeMap<u32, (Vec<usize>, Vec<FeedEntry>)> = BTreeMap::new();
        for (position, entry) in events {
            let partition = partition_of(&entry.subject, partitions);
            let (positions, entries) = by_partition.entry(partition).or_default();
            positions.push(position);
            entries.push(entry);
        }
        let mut waiting = by_partition.into_iter();
        let mut in_flight = FuturesUnordered::new();
        let mut listed = HashSet::new();
        loop {
            while in_flight.len() < PARTITIONS_IN_FLIGHT {
                let Some((partition, (positions, entries))) = waiting.next() else { break };
                in_flight.push(async move {
                    let result = self.append(partition, entries, deadline).await;
                    (partition, positions, result)
                });
            }
            match in_flight.next().await {
                Some((_, positions, Ok(()))) => listed.extend(positions),
                Some((partition, positions, Err(error))) => {
                    let events = positions.len();
                    tracing::error!(%error, partition, events, "events couldn't be listed");
                }
                None => return listed,
            }
        }
    }

    /// The feed's number of partitions. It creates the feed if there is none.
    async fn partitions(&self, deadline: Instant) -> Result<u32, ListingError> {
        let mut attempts = Attempts::until(deadline);
        loop {
            let read = attempts.within(self.table.last(feed::HEADER, 1, true)).await;
            match read.map(|items| items.into_iter().next()) {
                Ok(Some(header)) => return Ok(chunk::decode_header(&header)?.partitions),
                Ok(None) => {}
                Err(failure) => {
                    attempts.pause_after(failure).await?;
                    continue;
                }
            }
            let header = chunk::encode_header(self.partitions_of_new_feed, now());
            match attempts.within(self.table.put(&header)).await {
                Ok(Put::Stored) => return Ok(self.partitions_of_new_feed),
                Ok(Put::Refused(header)) => return Ok(chunk::decode_header(&header)?.partitions),
                Err(failure) => attempts.pause_after(failure).await?,
            }
        }
    }

    /// Puts entries at the end of a partition.
    async fn append(
        &self,
        partition: u32,
        entries: Vec<FeedEntry>,
        deadline: Instant,
    ) -> Result<(), ListingError> {
        let mut attempts = Attempts::until(deadline);
        let end = self.end(partition, &mut attempts).await?;
        let mut append = PartitionAppend::new(partition, entries, now(), end)?;
        let mut refusals = 0;
        while let Some(item) = append.next_chunk() {
            match attempts.within(self.table.put(&item)).await {
                Ok(Put::Stored) => append.stored(),
                Ok(Put::Refused(existing)) => {
                    append.refused(&existing)?;
                    refusals += 1;
                    if refusals % REFUSALS_PER_READ == 0 {
                        append.moved_to(self.end(partition, &mut attempts).await?);
                    }
                    attempts.check()?;
                }
                Err(failure) => attempts.pause_after(failure).await?,
            }
        }
        Ok(())
    }

    /// Where a partition ends.
    async fn end(&self, partition: u32, attempts: &mut Attempts) -> Result<End, ListingError> {
        let key = chunk::partition_key(partition);
        loop {
            match attempts.within(self.table.last(&key, 1, false)).await {
                Ok(items) => {
                    return Ok(items.first().map(chunk::end_of).transpose()?.unwrap_or_default());
                }
                Err(failure) => attempts.pause_after(failure).await?,
            }
        }
    }
}

/// The requests for one purpose, and the pauses between them.
struct Attempts {
    deadline: Instant,
    failures: u32,
}

impl Attempts {
    fn until(deadline: Instant) -> Self {
        Self { deadline, failures: 0 }
    }

    /// Waits for an answer, within the time limit of a request.
    async fn within<T>(
        &mut self,
        request: impl Future<Output = Result<T, FeedFailure>>,
    ) -> Result<T, FeedFailure> {
        let end = self.deadline.min(Instant::now() + REQUEST_TIMEOUT);
        let timeout = || FeedFailure { is_permanent: false, code: "Timeout".to_owned() };
        let answer = timeout_at(end, request).await.unwrap_or_else(|_| Err(timeout()))?;
        self.failures = 0;
        Ok(answer)
    }

    fn check(&self) -> Result<(), ListingError> {
        match Instant::now() < self.deadline {
            true => Ok(()),
            false => Err(ListingError::OutOfTime("a chunk of another invocation".to_owned())),
        }
    }

    async fn pause_after(&mut self, failure: FeedFailure) -> Result<(), ListingError> {
        if failure.is_permanent {
            return Err(ListingError::Table(failure.code));
        }
        let bound = FIRST_PAUSE.saturating_mul(1 << self.failures.min(4));
        self.failures += 1;
        let pause = bound.mul_f64(fastrand::f64());
        if Instant::now() + pause >= self.deadline {
            return Err(ListingError::OutOfTime(failure.code));
        }
        tracing::warn!(code = failure.code, "a request to the feed is sent again");
        sleep(pause).await;
        Ok(())
    }
}

/// Milliseconds since 1970.
fn now() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}
