//! A running reader: it visits the partitions in turn, and pauses when it has caught up.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::{Instant, sleep};

use crate::codec::feed::chunk::{self, Header};
use crate::codec::feed::cursor::FeedCursor;
use crate::codec::feed::read::{BrokenChain, ChunkName, NewEntries, PartitionRead, Position};
use crate::feed::error::FeedError;
use crate::feed::follow::{Choice, FeedPage, Follow, Start};
use crate::schema::feed;
use crate::store::table::Table;

/// How often a read is repeated that doesn't continue the one before, before that is an error.
const READS_OF_BROKEN_CHAIN: u32 = 4;

/// A reader that has caught up checks so often that the feed is still the same.
const CHECKED_EVERY: Duration = Duration::from_secs(30);

/// Bounds of the pauses that a caller can choose.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// The feed's header; `None` if the feed hasn't been created yet.
pub(crate) async fn header(table: &Table) -> Result<Option<Header>, FeedError> {
    let item =
        table.feed_header().await.map_err(|error| FeedError::of_table(table.name(), error))?;
    let header = item.as_ref().map(chunk::decode_header).transpose();
    header.map_err(|source| FeedError::invalid_item(table.name(), source))
}

/// Where these partitions end.
pub(crate) async fn end_of_partitions(
    table: &Table,
    partitions: impl IntoIterator<Item = u32>,
) -> Result<BTreeMap<u32, Position>, FeedError> {
    let mut positions = BTreeMap::new();
    for partition in partitions {
        let last = table.feed_end(partition).await;
        let last = last.map_err(|error| FeedError::of_table(table.name(), error))?;
        let position = match last.as_ref().map(position_after).transpose() {
            Ok(position) => position.unwrap_or_default(),
            Err(broken) => return Err(FeedError::broken(table.name(), partition, broken)),
        };
        positions.insert(partition, position);
    }
    Ok(positions)
}

/// Where a chunk ends, as a reader that has read it keeps it.
pub(crate) fn position_after(chunk: &serde_dynamo::Item) -> Result<Position, BrokenChain> {
    let (offset, end) = chunk::extent_of(chunk)?;
    let chunk = end.tag.map(|tag| ChunkName { offset, tag });
    Ok(Position { offset: end.offset, chunk })
}

/// A page, and what only reading its events needs.
pub(crate) struct ReadPage {
    pub(crate) page: FeedPage,
    /// The latest time at which an entry of the page was listed, by the publisher's clock.
    pub(crate) listed_at: i64,
}

/// The pauses of a reader that has caught up. Each is random between a half and the whole of a delay
/// that doubles, so that readers that began together spread.
fn pauses(request: &Follow) -> ExponentialBackoff {
    let shortest = request.first_pause.max(SHORTEST_PAUSE);
    let longest = request.longest_pause.clamp(shortest, LONGEST_PAUSE);
    ExponentialBuilder::new()
        .with_jitter()
        .with_min_delay(shortest / 2)
        .with_max_delay(longest / 2)
        .without_max_times()
        .build()
}

/// One partition that is followed.
struct Partition {
    number: u32,
    read: PartitionRead,
    /// Up to where pages were returned.
    delivered: Position,
    /// When it was last seen that the partition is the one that was read before.
    checked: Instant,
}

/// One visit of every partition.
#[derive(Default)]
struct Round {
    /// The next partition, by its index.
    next: usize,
    /// How many of the partitions were read to their ends.
    ends: usize,
    has_read: bool,
}

pub(crate) struct Reader {
    table: Table,
    request: Follow,
    /// Most entries of a page.
    page_size: usize,
    /// `None` until the feed has been created.
    feed: Option<Header>,
    header_checked: Instant,
    partitions: Vec<Partition>,
    /// What was read of the partition with this index, and isn't delivered yet.
    waiting: (usize, VecDeque<NewEntries>),
    round: Round,
    /// How many chosen entries may still be delivered.
    remaining: Option<usize>,
    /// Whether the last page said that the reader has caught up.
    said_caught_up: bool,
    pauses: ExponentialBackoff,
    ended: bool,
}

impl Reader {
    pub(crate) fn new(table: Table, request: Follow, default_page_size: usize) -> Self {
        Self {
            table,
            page_size: request.page_size.unwrap_or(default_page_size).max(1),
            feed: None,
            header_checked: Instant::now(),
            partitions: Vec::new(),
            waiting: (0, VecDeque::new()),
            round: Round::default(),
            remaining: request.limit,
            said_caught_up: false,
            pauses: pauses(&request),
            ended: request.limit == Some(0),
            request,
        }
    }

    /// The next page, when there is one; `None` if the reader was asked to stop here.
    pub(crate) async fn next(&mut self) -> Result<Option<ReadPage>, FeedError> {
        while !self.ended {
            if self.feed.is_none() && !self.begin().await? {
                if let Some(page) = self.say_caught_up() {
                    return Ok(Some(page));
                }
                self.wait().await;
                continue;
            }
            if !self.waiting.1.is_empty() {
                return Ok(Some(self.deliver()));
            }
            if self.round.next < self.partitions.len() {
                self.read_next_partition().await?;
                continue;
            }
            let round = std::mem::take(&mut self.round);
            if self.is_complete(&round) {
                if let Some(page) = self.say_caught_up() {
                    return Ok(Some(page));
                }
                if !round.has_read {
                    self.wait().await;
                }
            }
            self.check_header().await?;
        }
        Ok(None)
    }

    /// Finds out where to begin, once there is a feed.
    async fn begin(&mut self) -> Result<bool, FeedError> {
        if let Choice::These(chosen) = &self.request.partitions {
            let impossible = chosen.iter().find(|chosen| **chosen >= feed::MOST_PARTITIONS);
            if chosen.is_empty() || impossible.is_some() {
                let chosen = impossible.copied();
                return Err(FeedError::UnknownPartition { chosen, partitions: None });
            }
        }
        let table = self.table.begin();
        let header = header(&table).await?;
        let expected = match &self.request.start {
            Start::After(cursor) => cursor.feed(),
            Start::Beginning | Start::Now => None,
        };
        if expected.is_some() && expected != header.as_ref() {
            return Err(FeedError::other_header(table.name()));
        }
        let Some(header) = header else {
            // Whatever is listed later comes after now.
            self.request.start = Start::Beginning;
            return Ok(false);
        };
        let chosen: Vec<u32> = match &self.request.partitions {
            Choice::All => (0..header.partitions).collect(),
            Choice::These(chosen) => chosen.iter().copied().collect(),
        };
        if let Some(unknown) = chosen.iter().find(|chosen| **chosen >= header.partitions) {
            let partitions = Some(header.partitions);
            return Err(FeedError::UnknownPartition { chosen: Some(*unknown), partitions });
        }
        let mut positions = match &self.request.start {
            Start::Now => end_of_partitions(&table, chosen.iter().copied()).await?,
            Start::After(cursor) if cursor.feed().is_some() => chosen
                .iter()
                .map(|partition| match cursor.position(*partition) {
                    Some(position) => Ok((*partition, position.clone())),
                    None => Err(FeedError::CursorLacksPartition { partition: *partition }),
                })
                .collect::<Result<_, _>>()?,
            Start::After(_) | Start::Beginning => BTreeMap::new(),
        };
        let now = Instant::now();
        self.partitions = chosen
            .into_iter()
            .map(|number| {
                let delivered = positions.remove(&number).unwrap_or_default();
                let read = PartitionRead::after(delivered.clone());
                Partition { number, read, delivered, checked: now }
            })
            .collect();
        self.feed = Some(header);
        self.header_checked = now;
        Ok(true)
    }

    /// Reads what follows in the next partition of the round.
    async fn read_next_partition(&mut self) -> Result<(), FeedError> {
        let index = self.round.next;
        self.round.next += 1;
        let Some(partition) = self.partitions.get_mut(index) else { return Ok(()) };
        let name = self.table.name();
        if partition.checked.elapsed() >= CHECKED_EVERY {
            partition.read.check_again();
        }
        let mut reads = 1;
        let new = loop {
            let from = partition.read.read_from();
            let read = self.table.begin().feed_chunks(partition.number, from).await;
            let read = read.map_err(|error| FeedError::of_table(name, error))?;
            let is_empty = read.items.is_empty();
            match partition.read.take(&read.items) {
                Ok(new) => {
                    if !is_empty {
                        partition.checked = Instant::now();
                    }
                    self.round.ends += usize::from(read.is_end);
                    break new;
                }
                // A query isn't isolated from concurrent writes. A second one shows what is there.
                Err(broken) if reads == READS_OF_BROKEN_CHAIN => {
                    return Err(FeedError::broken(name, partition.number, broken));
                }
                Err(_) => {
                    partition.read.check_again();
                    sleep(Duration::from_millis(10 << reads)).await;
                    reads += 1;
                }
            }
        };
        if !new.is_empty() {
            self.round.has_read = true;
            self.pauses = pauses(&self.request);
            self.waiting = (index, new.into());
        }
        Ok(())
    }

    /// The next page of what was read.
    fn deliver(&mut self) -> ReadPage {
        let (index, waiting) = &mut self.waiting;
        let mut entries = Vec::new();
        let mut listed_at = i64::MIN;
        let mut left = self.page_size;
        while let Some(mut next) = waiting.pop_front() {
            listed_at = listed_at.max(next.listed_at);
            let mut taken = 0;
            let mut rest = std::mem::take(&mut next.entries).into_iter();
            while left > 0 && self.remaining != Some(0) {
                let Some(entry) = rest.next() else { break };
                taken += 1;
                left -= 1;
                if self.request.chooses(&entry) {
                    self.remaining = self.remaining.map(|remaining| remaining - 1);
                    entries.push(entry);
                }
            }
            let position = next.position_after(taken);
            if let (Some(partition), true) = (self.partitions.get_mut(*index), taken > 0) {
                partition.delivered = position.clone();
            }
            if rest.len() > 0 {
                next.offset = position.offset;
                next.entries = rest.collect();
                waiting.push_front(next);
                break;
            }
        }
        let is_last = waiting.is_empty() && self.round.next == self.partitions.len();
        let caught_up = is_last && self.is_complete(&self.round);
        self.said_caught_up = caught_up;
        self.ended = self.remaining == Some(0) || caught_up && self.request.until_caught_up;
        let page = FeedPage { entries, cursor: self.cursor(), caught_up };
        ReadPage { page, listed_at }
    }

    /// Whether every partition was read to its end in this round.
    fn is_complete(&self, round: &Round) -> bool {
        round.ends == self.partitions.len()
    }

    /// A page without entries that says so, unless the last one did.
    fn say_caught_up(&mut self) -> Option<ReadPage> {
        self.ended = self.request.until_caught_up;
        if std::mem::replace(&mut self.said_caught_up, true) {
            return None;
        }
        let page = FeedPage { entries: Vec::new(), cursor: self.cursor(), caught_up: true };
        Some(ReadPage { page, listed_at: i64::MIN })
    }

    fn cursor(&self) -> FeedCursor {
        let Some(feed) = &self.feed else { return FeedCursor::default() };
        let positions = self.partitions.iter().map(|of| (of.number, of.delivered.clone()));
        FeedCursor::new(feed.clone(), positions.collect())
    }

    /// Finds out from time to time whether the table has been created again.
    async fn check_header(&mut self) -> Result<(), FeedError> {
        if self.header_checked.elapsed() >= CHECKED_EVERY {
            let table = self.table.begin();
            if header(&table).await? != self.feed {
                return Err(FeedError::other_header(table.name()));
            }
            self.header_checked = Instant::now();
        }
        Ok(())
    }

    /// Pauses before the next round, longer each time.
    async fn wait(&mut self) {
        let pause = self.pauses.next().unwrap_or(self.request.longest_pause);
        sleep(pause).await;
    }
}
