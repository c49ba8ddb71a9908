//! Listing events without publishing them.

use std::collections::BTreeMap;
use std::future::{Future, IntoFuture};
use std::pin::Pin;

use futures_util::TryStreamExt;

use crate::codec::feed::append::PartitionAppend;
use crate::codec::feed::chunk::{self, Header};
use crate::codec::feed::entry::{FeedEntry, Listing};
use crate::codec::feed::partition_of;
use crate::feed::error::FeedError;
use crate::feed::follow::Follow;
use crate::feed::verify::Comparison;
use crate::feed::verify::stored;
use crate::feed::verify::unlisted::{self, Unlisted};
use crate::schema::feed;
use crate::store::table::Table;

/// Entries of a partition that are listed together.
const ENTRIES_PER_WRITE: usize = 500;

/// A request to list events that are older than the feed: see [`Feed::adopt`](crate::Feed::adopt).
#[derive(Debug, Clone)]
#[must_use = "a request does nothing until it is awaited"]
pub struct Adopt {
    feed: Table,
    events: Table,
    partitions_of_new_feed: u32,
}

/// What [`Feed::adopt`](crate::Feed::adopt) has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Adoption {
    /// How many events were looked at.
    pub events: u64,
    /// How many of them are in the feed now and weren't before.
    pub adopted: u64,
}

impl Adopt {
    pub(in crate::feed) fn new(feed: Table, events: Table) -> Self {
        Self { feed, events, partitions_of_new_feed: feed::DEFAULT_PARTITIONS }
    }

    /// The number of partitions, from 1 to 256, if the feed is still empty: that of the deployment,
    /// unless it is 4.
    pub fn partitions_of_new_feed(mut self, partitions: u32) -> Self {
        self.partitions_of_new_feed = partitions;
        self
    }

    async fn run(self) -> Result<Adoption, FeedError> {
        let writer = Writer::begin(&self.feed, self.partitions_of_new_feed).await?;
        let comparison = Comparison::begin(&self.feed, &self.events).await?;
        let mut adoption = Adoption::default();
        if comparison.unknown_before.is_none() {
            return Ok(adoption);
        }
        for scope in comparison.all_segments() {
            let mut unknown = Unlisted::default();
            let mut events = stored::events(&self.events, scope);
            while let Some(entry) = events.try_next().await? {
                adoption.events += 1;
                if comparison.is_unknown(&entry) {
                    unknown.add(&entry);
                }
            }
            unlisted::remove_listed([&mut unknown], Follow::new(self.feed.clone())).await?;
            if unknown.is_empty() {
                continue;
            }
            // The table is read again, because only hashes of the events were kept.
            let mut waiting = Waiting::default();
            let mut events = stored::events(&self.events, scope);
            while let Some(entry) = events.try_next().await? {
                if unknown.contains(&entry) {
                    adoption.adopted += 1;
                    waiting.add(&writer, entry).await?;
                }
            }
            waiting.write_all(&writer).await?;
        }
        writer.mark_complete().await?;
        Ok(adoption)
    }
}

impl IntoFuture for Adopt {
    type Output = Result<Adoption, FeedError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

/// Lists these events as adopted.
pub(in crate::feed) async fn adopt(feed: &Table, entries: Vec<FeedEntry>) -> Result<(), FeedError> {
    if entries.is_empty() {
        return Ok(());
    }
    let writer = Writer::begin(feed, feed::DEFAULT_PARTITIONS).await?;
    let mut waiting = Waiting::default();
    for entry in entries {
        waiting.add(&writer, entry).await?;
    }
    waiting.write_all(&writer).await
}

/// Lists those of these events as adopted that the feed doesn't list.
pub(in crate::feed) async fn adopt_unlisted(
    feed: &Table,
    entries: Vec<FeedEntry>,
) -> Result<u64, FeedError> {
    let mut unlisted = Unlisted::default();
    for entry in &entries {
        unlisted.add(entry);
    }
    unlisted::remove_listed([&mut unlisted], Follow::new(feed.clone())).await?;
    let entries: Vec<_> = entries.into_iter().filter(|entry| unlisted.contains(entry)).collect();
    let adopted = u64::try_from(entries.len()).unwrap_or(u64::MAX);
    adopt(feed, entries).await?;
    Ok(adopted)
}

/// Entries that will be written together, by their partitions.
#[derive(Default)]
struct Waiting(BTreeMap<u32, Vec<FeedEntry>>);

impl Waiting {
    async fn add(&mut self, writer: &Writer, mut entry: FeedEntry) -> Result<(), FeedError> {
        entry.listing = Listing::Adopted;
        let partition = partition_of(&entry.subject, writer.header.partitions);
        let waiting = self.0.entry(partition).or_default();
        waiting.push(entry);
        match waiting.len() < ENTRIES_PER_WRITE {
            true => Ok(()),
            false => writer.append(partition, std::mem::take(waiting)).await,
        }
    }

    async fn write_all(self, writer: &Writer) -> Result<(), FeedError> {
        for (partition, entries) in self.0 {
            writer.append(partition, entries).await?;
        }
        Ok(())
    }
}

/// Writes to the feed, next to the publisher.
struct Writer {
    feed: Table,
    header: Header,
}

impl Writer {
    /// Creates the feed if it is still empty.
    async fn begin(feed: &Table, partitions_of_new_feed: u32) -> Result<Self, FeedError> {
        let table = feed.begin();
        let failed = |error| FeedError::of_table(feed.name(), error);
        let header = match table.feed_header().await.map_err(failed)? {
            Some(header) => header,
            None => {
                let new = chunk::encode_header(partitions_of_new_feed, table.now());
                // A header that can't be read is refused before it is written.
                chunk::decode_header(&new)
                    .map_err(|source| FeedError::invalid_item(feed.name(), source))?;
                table.put_in_feed(new.clone()).await.map_err(failed)?.unwrap_or(new)
            }
        };
        let header = chunk::decode_header(&header)
            .map_err(|source| FeedError::invalid_item(feed.name(), source))?;
        Ok(Self { feed: feed.clone(), header })
    }

    /// Puts entries at the end of a partition, as the publisher does.
    async fn append(&self, partition: u32, entries: Vec<FeedEntry>) -> Result<(), FeedError> {
        let table = self.feed.begin();
        let failed = |error| FeedError::of_table(self.feed.name(), error);
        let end = table.feed_end(partition).await.map_err(failed)?;
        let invalid = |source| FeedError::invalid_item(self.feed.name(), source);
        let end = end.as_ref().map(chunk::end_of).transpose();
        let end = end.map_err(invalid)?.unwrap_or_default();
        let mut append = PartitionAppend::new(partition, entries, table.now(), end)
            .map_err(|error| FeedError::Store(table.refused(Box::new(error))))?;
        while let Some(chunk) = append.next_chunk() {
            // Each chunk is an operation with its own time limit.
            match self.feed.begin().put_in_feed(chunk).await.map_err(failed)? {
                None => append.stored(),
                Some(existing) => {
                    append.refused(&existing).map_err(invalid)?;
                }
            }
        }
        Ok(())
    }

    /// From now on, every event that the feed doesn't list is unpublished.
    async fn mark_complete(&self) -> Result<(), FeedError> {
        let failed = |error| FeedError::of_table(self.feed.name(), error);
        self.feed.begin().put_in_feed(chunk::complete_key()).await.map_err(failed)?;
        Ok(())
    }
}
