//! Appending entries to a partition of the feed: which chunk to put next, and what a refusal means.

use std::collections::VecDeque;

use serde_dynamo::{AttributeValue, Item};

use crate::codec::feed::chunk::{self, End, InvalidFeedItem, Tag};
use crate::codec::feed::entry::FeedEntry;
use crate::schema::feed;

/// Bytes of a chunk's item without its entries. The attributes' names and the longest values take
/// about 200.
const OTHER_ATTRIBUTES: usize = 512;

/// Entries on their way to the end of a partition.
///
/// Put [`next_chunk`](Self::next_chunk) with the condition that no item has its key. Then say what
/// came of it, until there is no next chunk. An unanswered request can be sent again: if the first one
/// was carried out, the refusal of the second shows the chunk's tag.
///
/// ```
/// use eventdb::internals::feed::append::PartitionAppend;
/// use eventdb::internals::feed::chunk::End;
///
/// let append = PartitionAppend::new(0, Vec::new(), 1_738_074_600_000, End::default())?;
/// assert!(append.next_chunk().is_none());
/// # Ok::<(), eventdb::serde_json::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct PartitionAppend {
    partition: u32,
    listed_at: i64,
    end: End,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug, Clone)]
struct Waiting {
    tag: Tag,
    length: usize,
    entries: String,
}

/// What a refusal of a chunk means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// An earlier attempt of this writer has put the chunk.
    IsOurs,
    /// Another writer was first. The next chunk goes behind theirs.
    IsTaken,
}

impl PartitionAppend {
    /// Entries for the end of a partition, in their order. `listed_at` is in milliseconds.
    ///
    /// # Errors
    /// If an entry can't be written as JSON. That doesn't happen for entries of events.
    pub fn new(
        partition: u32,
        entries: impl IntoIterator<Item = FeedEntry>,
        listed_at: i64,
        end: End,
    ) -> Result<Self, serde_json::Error> {
        let mut waiting: VecDeque<Waiting> = VecDeque::new();
        for entry in entries {
            let json = serde_json::to_string(&entry)?;
            match waiting.back_mut() {
                Some(last)
                    if last.entries.len() + 2 + json.len() + OTHER_ATTRIBUTES
                        <= feed::CHUNK_BYTES =>
                {
                    last.entries.push(',');
                    last.entries.push_str(&json);
                    last.length += 1;
                }
                _ => waiting.push_back(Waiting {
                    tag: Tag::random(),
                    length: 1,
                    entries: format!("[{json}"),
                }),
            }
        }
        for chunk in &mut waiting {
            chunk.entries.push(']');
        }
        Ok(Self { partition, listed_at, end, waiting })
    }

    /// The item to put next, or `None` if all entries are in the feed.
    pub fn next_chunk(&self) -> Option<Item> {
        let next = self.waiting.front()?;
        let mut item = chunk::key(chunk::partition_key(self.partition), self.end.offset);
        let mut put = |name: &str, value| item.insert(name.to_owned(), value);
        put(feed::LENGTH, AttributeValue::N(next.length.to_string()));
        put(feed::TAG, AttributeValue::S(next.tag.to_string()));
        if let Some(previous) = &self.end.tag {
            put(feed::PREVIOUS_TAG, AttributeValue::S(previous.to_string()));
        }
        put(feed::LISTED_AT, AttributeValue::N(self.listed_at.to_string()));
        put(feed::ENTRIES, AttributeValue::S(next.entries.clone()));
        Some(item)
    }

    /// The chunk was put.
    pub fn stored(&mut self) {
        if let Some(Waiting { tag, length, .. }) = self.waiting.pop_front() {
            let length = u64::try_from(length).unwrap_or(u64::MAX);
            self.end = End { offset: self.end.offset.saturating_add(length), tag: Some(tag) };
        }
    }

    /// The chunk was refused, because the given item has its key.
    ///
    /// # Errors
    /// If that item isn't a chunk. Nothing can be put behind it.
    pub fn refused(&mut self, existing: &Item) -> Result<Refusal, InvalidFeedItem> {
        let end = chunk::end_of(existing)?;
        if end.tag.is_some() && self.waiting.front().map(|next| &next.tag) == end.tag.as_ref() {
            self.stored();
            return Ok(Refusal::IsOurs);
        }
        self.end = end;
        Ok(Refusal::IsTaken)
    }

    /// The partition ends here now, as a later read has shown.
    pub fn moved_to(&mut self, end: End) {
        if end.offset > self.end.offset {
            self.end = end;
        }
    }
}
