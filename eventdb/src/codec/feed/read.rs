//! Reading a partition of the feed: where to read on, and whether what is there continues what was
//! read before.

use serde_dynamo::Item;

use crate::codec::feed::chunk::{Chunk, InvalidFeedItem, Tag};
use crate::codec::feed::entry::FeedEntry;

/// A place between two entries of a partition. The default is the beginning.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Position {
    /// How many entries precede it in the partition.
    pub offset: u64,
    /// The chunk that has the entry before it; `None` at the beginning.
    pub chunk: Option<ChunkName>,
}

/// What distinguishes a chunk from all others of its partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkName {
    /// The chunk's offset.
    pub offset: u64,
    /// The chunk's tag.
    pub tag: Tag,
}

/// Entries of one chunk that follow a position.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEntries {
    /// The chunk that contains them.
    pub chunk: ChunkName,
    /// The offset of the first one.
    pub offset: u64,
    /// When the chunk was made, in milliseconds, by the writer's clock.
    pub listed_at: i64,
    /// The entries, at least one.
    pub entries: Vec<FeedEntry>,
}

impl NewEntries {
    /// The position after the given number of these entries.
    pub fn position_after(&self, entries: usize) -> Position {
        let entries = u64::try_from(entries).unwrap_or(u64::MAX);
        let offset = self.offset.saturating_add(entries);
        Position { offset, chunk: Some(self.chunk.clone()) }
    }
}

/// What was read isn't the continuation of what was read before. DynamoDB doesn't isolate a query from
/// concurrent writes, so the reader should [check again](PartitionRead::check_again) first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokenChain {
    /// Entries between the position and the next chunk are missing.
    #[error("the entries from offset {offset} to {found} are missing")]
    Gap {
        /// The offset of the first missing entry.
        offset: u64,
        /// The offset of the next chunk.
        found: u64,
    },
    /// The chunk that was read before isn't there any more, or the next one follows another.
    #[error("what precedes offset {offset} isn't what was read before")]
    OtherFeed {
        /// The offset of the position.
        offset: u64,
    },
    /// An item isn't a chunk.
    #[error(transparent)]
    InvalidItem(#[from] InvalidFeedItem),
}

/// A partition that is being read. A chunk is taken only where the last one ends, and only if it names
/// that one's tag.
#[derive(Debug, Clone)]
pub struct PartitionRead {
    /// Up to where entries were taken.
    position: Position,
    /// Where the position's chunk ends; `None` if the chunk has to be read again to find out.
    end: Option<u64>,
}

impl PartitionRead {
    /// Reads from this position on.
    pub fn after(position: Position) -> Self {
        let end = position.chunk.is_none().then_some(0);
        Self { position, end }
    }

    /// The offset from which the chunks have to be read, in ascending order.
    pub fn read_from(&self) -> u64 {
        let chunk = self.position.chunk.as_ref().map_or(0, |chunk| chunk.offset);
        self.end.unwrap_or(chunk)
    }

    /// The next read includes the last chunk, to find out whether it is still there.
    pub fn check_again(&mut self) {
        if self.position.chunk.is_some() {
            self.end = None;
        }
    }

    /// Takes the chunks that a read from [`read_from`](Self::read_from) on has returned, and returns
    /// the entries that weren't taken before.
    ///
    /// # Errors
    /// See [`BrokenChain`]. Then nothing was taken.
    pub fn take(&mut self, items: &[Item]) -> Result<Vec<NewEntries>, BrokenChain> {
        let mut next = self.clone();
        let mut new = Vec::new();
        for item in items {
            new.extend(next.take_chunk(Chunk::decode(item)?)?);
        }
        if next.end.is_none() {
            return Err(next.other_feed());
        }
        *self = next;
        Ok(new)
    }

    fn take_chunk(&mut self, mut chunk: Chunk) -> Result<Option<NewEntries>, BrokenChain> {
        let Position { offset, chunk: last } = &self.position;
        let chunk_end = chunk.end().offset;
        let name = ChunkName { offset: chunk.offset, tag: chunk.tag.clone() };
        let taken = match self.end {
            None => {
                let is_same = last.as_ref() == Some(&name) && *offset <= chunk_end;
                let taken = offset.checked_sub(chunk.offset).filter(|_| is_same);
                taken.ok_or_else(|| self.other_feed())?
            }
            Some(end) if chunk.offset > end => {
                return Err(BrokenChain::Gap { offset: end, found: chunk.offset });
            }
            Some(end)
                if chunk.offset < end
                    || chunk.previous_tag.as_ref() != last.as_ref().map(|last| &last.tag) =>
            {
                return Err(self.other_feed());
            }
            Some(_) => 0,
        };
        let taken = usize::try_from(taken).unwrap_or(usize::MAX).min(chunk.entries.len());
        let entries = chunk.entries.split_off(taken);
        let offset = chunk_end.saturating_sub(u64::try_from(entries.len()).unwrap_or(u64::MAX));
        self.position = Position { offset: chunk_end, chunk: Some(name.clone()) };
        self.end = Some(chunk_end);
        let new = NewEntries { chunk: name, offset, listed_at: chunk.listed_at, entries };
        Ok((!new.entries.is_empty()).then_some(new))
    }

    fn other_feed(&self) -> BrokenChain {
        BrokenChain::OtherFeed { offset: self.position.offset }
    }
}
