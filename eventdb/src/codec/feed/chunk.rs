//! The items of the feed's table: chunks and the header.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use serde_dynamo::{AttributeValue, Item};
use uuid::Uuid;

use crate::codec::feed::entry::FeedEntry;
use crate::schema::feed;

/// A random text that names a chunk. A reader recognises by it whether the chunk it read last is
/// still there, and a writer whether the chunk in its place is its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tag(String);

impl Tag {
    /// A tag that no other chunk has.
    pub fn random() -> Self {
        Self(BASE64URL_NOPAD.encode(Uuid::now_v7().as_bytes()))
    }

    /// The tag with this text, as in an item or a cursor.
    pub fn from_text(text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        let valid =
            (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        valid.then_some(Self(text))
    }

    /// The tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where a partition ends: after its last chunk. The default is the end of an empty partition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct End {
    /// The offset of the next chunk: the number of entries in the partition.
    pub offset: u64,
    /// The tag of the last chunk; `None` if there is none.
    pub tag: Option<Tag>,
}

/// Entries that were listed together.
#[derive(Debug, Clone, PartialEq)]
pub struct Chunk {
    /// Number of its partition, from 0.
    pub partition: u32,
    /// How many entries precede it.
    pub offset: u64,
    /// Its tag.
    pub tag: Tag,
    /// The tag of the chunk before it; `None` on the first one.
    pub previous_tag: Option<Tag>,
    /// When it was made, in milliseconds, by the writer's clock. It orders nothing.
    pub listed_at: i64,
    /// Its entries, at least one.
    pub entries: Vec<FeedEntry>,
}

/// An item of the feed's table that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the feed's item with partition {partition} and offset {offset} can't be read: {reason}")]
pub struct InvalidFeedItem {
    /// The partition, as in the item.
    pub partition: String,
    /// The offset, as in the item.
    pub offset: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Chunk {
    /// Where the partition ends if this is its last chunk.
    pub fn end(&self) -> End {
        let length = u64::try_from(self.entries.len()).unwrap_or(u64::MAX);
        End { offset: self.offset.saturating_add(length), tag: Some(self.tag.clone()) }
    }

    /// Reads a chunk.
    ///
    /// # Errors
    /// If the item isn't a whole chunk.
    pub fn decode(item: &Item) -> Result<Self, InvalidFeedItem> {
        let end = end_of(item)?;
        let read = || {
            let partition = text(item, feed::PARTITION)?;
            let partition = partition
                .parse()
                .map_err(|_| format!("`{}` isn't the number of a partition", feed::PARTITION))?;
            let previous_tag = match item.get(feed::PREVIOUS_TAG) {
                None => None,
                Some(_) => Some(tag(item, feed::PREVIOUS_TAG)?),
            };
            let entries: Vec<FeedEntry> = serde_json::from_str(text(item, feed::ENTRIES)?)
                .map_err(|error| {
                    format!("`{}` isn't an array of entries: {error}", feed::ENTRIES)
                })?;
            let chunk = Self {
                partition,
                offset: number(item, feed::OFFSET)?,
                tag: tag(item, feed::TAG)?,
                previous_tag,
                listed_at: number(item, feed::LISTED_AT)?,
                entries,
            };
            if chunk.end() != end {
                return Err(format!(
                    "`{}` has {} entries, but `{}` is another number",
                    feed::ENTRIES,
                    chunk.entries.len(),
                    feed::LENGTH
                ));
            }
            Ok(chunk)
        };
        read().map_err(|reason| invalid(item, reason))
    }
}

/// Where a partition ends if the item is its last chunk. It doesn't need the chunk's entries.
///
/// # Errors
/// If the item isn't a chunk.
pub fn end_of(item: &Item) -> Result<End, InvalidFeedItem> {
    extent_of(item).map(|(_, end)| end)
}

/// The offset of a chunk, and where it ends. It doesn't need the chunk's entries.
///
/// # Errors
/// If the item isn't a chunk.
pub fn extent_of(item: &Item) -> Result<(u64, End), InvalidFeedItem> {
    let read = || {
        let offset: u64 = number(item, feed::OFFSET)?;
        let length: u64 = number(item, feed::LENGTH)?;
        let next = offset.checked_add(length).filter(|_| length > 0);
        let next = next.ok_or_else(|| format!("`{}` is {length}", feed::LENGTH))?;
        Ok((offset, End { offset: next, tag: Some(tag(item, feed::TAG)?) }))
    };
    read().map_err(|reason| invalid(item, reason))
}

/// The attributes that [`end_of`] needs.
pub const END_ATTRIBUTES: [&str; 4] = [feed::PARTITION, feed::OFFSET, feed::LENGTH, feed::TAG];

/// The partition key of a partition.
pub fn partition_key(partition: u32) -> String {
    partition.to_string()
}

/// What a feed's header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The number of partitions.
    pub partitions: u32,
    /// A tag that no other feed has. A restored feed keeps it.
    pub tag: Tag,
}

/// The header of a new feed. `created_at` is in milliseconds.
pub fn encode_header(partitions: u32, created_at: i64) -> Item {
    let mut item = header_key();
    item.insert(feed::PARTITIONS.to_owned(), AttributeValue::N(partitions.to_string()));
    item.insert(feed::TAG.to_owned(), AttributeValue::S(Tag::random().to_string()));
    item.insert(feed::CREATED_AT.to_owned(), AttributeValue::N(created_at.to_string()));
    item
}

/// Reads a header.
///
/// # Errors
/// If the item isn't a header.
pub fn decode_header(item: &Item) -> Result<Header, InvalidFeedItem> {
    let read = || {
        let partitions: u32 = number(item, feed::PARTITIONS)?;
        let most = feed::MOST_PARTITIONS;
        if !(1..=most).contains(&partitions) {
            return Err(format!("it has {partitions} partitions; it must have 1 to {most}"));
        }
        Ok(Header { partitions, tag: tag(item, feed::TAG)? })
    };
    read().map_err(|reason| invalid(item, reason))
}

/// When the feed with this header was created, in milliseconds, by the publisher's clock.
pub fn created_at(header: &Item) -> Option<i64> {
    number(header, feed::CREATED_AT).ok()
}

/// When a chunk was made, in milliseconds, by the writer's clock.
///
/// # Errors
/// If the item doesn't say it.
pub fn listed_at(chunk: &Item) -> Result<i64, InvalidFeedItem> {
    number(chunk, feed::LISTED_AT).map_err(|reason| invalid(chunk, reason))
}

/// The key of the mark of a feed that lists all events of the store.
pub fn complete_key() -> Item {
    key(feed::COMPLETE.to_owned(), 0)
}

/// The key of the item that says when each segment of the table of events was verified.
pub fn rounds_key() -> Item {
    key(feed::VERIFICATION.to_owned(), 0)
}

/// The key of the header.
pub fn header_key() -> Item {
    key(feed::HEADER.to_owned(), 0)
}

/// The key of an item.
pub(crate) fn key(partition: String, offset: u64) -> Item {
    let mut item = Item::default();
    item.insert(feed::PARTITION.to_owned(), AttributeValue::S(partition));
    item.insert(feed::OFFSET.to_owned(), AttributeValue::N(offset.to_string()));
    item
}

fn invalid(item: &Item, reason: String) -> InvalidFeedItem {
    let shown = |name| match item.get(name) {
        Some(AttributeValue::S(text)) => format!("{text:?}"),
        Some(AttributeValue::N(number)) => number.clone(),
        _ => "?".to_owned(),
    };
    InvalidFeedItem { partition: shown(feed::PARTITION), offset: shown(feed::OFFSET), reason }
}

fn text<'item>(item: &'item Item, name: &str) -> Result<&'item str, String> {
    match item.get(name) {
        Some(AttributeValue::S(text)) => Ok(text),
        Some(_) => Err(format!("`{name}` isn't text")),
        None => Err(format!("`{name}` is missing")),
    }
}

fn tag(item: &Item, name: &str) -> Result<Tag, String> {
    Tag::from_text(text(item, name)?).ok_or_else(|| format!("`{name}` isn't a tag"))
}

fn number<T: std::str::FromStr>(item: &Item, name: &str) -> Result<T, String> {
    match item.get(name) {
        Some(AttributeValue::N(text)) => {
            text.parse().map_err(|_| format!("`{name}` is {text}; it must be a whole number"))
        }
        Some(_) => Err(format!("`{name}` isn't a number")),
        None => Err(format!("`{name}` is missing")),
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}
