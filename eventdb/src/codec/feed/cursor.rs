//! [`FeedCursor`]: where a reader of the feed is, as text that it can keep.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::codec::cursor::{self, CursorError};
use crate::codec::feed::chunk::{Header, Tag};
use crate::codec::feed::read::{ChunkName, Position};
use crate::schema::feed;

/// Where a reader of the feed is, in each partition that it follows.
///
/// Keep its text unchanged, and pass it to [`Follow::after`](crate::Follow::after) to go on there. The
/// text is URL-safe and contains no event data. It names the feed, and the chunk that was read last in
/// each partition. So a feed that was created again or restored is recognised.
///
/// ```
/// use eventdb::FeedCursor;
///
/// let error = "not-a-cursor".parse::<FeedCursor>().unwrap_err();
/// assert!(error.to_string().starts_with("this text isn't a cursor"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FeedCursor {
    /// The feed; `None` if it hadn't been created yet.
    feed: Option<Header>,
    positions: BTreeMap<u32, Position>,
}

impl FeedCursor {
    /// A cursor of the feed with this header.
    #[cfg(any(feature = "dynamodb", test))]
    pub(crate) fn new(feed: Header, positions: BTreeMap<u32, Position>) -> Self {
        Self { feed: Some(feed), positions }
    }

    /// The header of the feed; `None` if the feed hadn't been created yet.
    #[cfg(feature = "dynamodb")]
    pub(crate) fn feed(&self) -> Option<&Header> {
        self.feed.as_ref()
    }

    /// The position in a partition; `None` if the reader doesn't follow it.
    #[cfg(feature = "dynamodb")]
    pub(crate) fn position(&self, partition: u32) -> Option<&Position> {
        self.positions.get(&partition)
    }

    /// The partitions that the reader follows, and how many entries of each precede the cursor.
    ///
    /// Subtract them from those of [`Feed::end`](crate::Feed::end) to find out how many entries the
    /// reader lacks.
    pub fn offsets(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        self.positions.iter().map(|(partition, position)| (*partition, position.offset))
    }

    /// The positions of two cursors together, to share the partitions among the readers in another
    /// way. If both have the same partition, the earlier position counts.
    ///
    /// # Errors
    /// [`CursorError::OtherRead`] if they are cursors of two feeds.
    ///
    /// ```
    /// # fn example(first: eventdb::FeedCursor, second: eventdb::FeedCursor)
    /// #     -> Result<(), eventdb::CursorError> {
    /// let of_both = first.joined_with(second)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn joined_with(mut self, other: Self) -> Result<Self, CursorError> {
        match (&self.feed, &other.feed) {
            (Some(one), Some(another)) if one != another => return Err(CursorError::OtherRead),
            // The feed was empty then: that is the beginning of every partition.
            (None, _) => return Ok(self),
            (_, None) => return Ok(other),
            _ => {}
        }
        for (partition, position) in other.positions {
            let earlier = self.positions.entry(partition).or_insert_with(|| position.clone());
            if position.offset < earlier.offset {
                *earlier = position;
            }
        }
        Ok(self)
    }
}

/// The form of a cursor in its text.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    /// Tag and number of partitions of the feed.
    #[serde(rename = "f")]
    feed: Option<(String, u32)>,
    /// For each partition the offset, and the offset and the tag of the chunk before it.
    #[serde(rename = "p")]
    positions: BTreeMap<u32, (u64, Option<(u64, String)>)>,
}

impl Stored {
    fn of(cursor: &FeedCursor) -> Self {
        let chunk = |chunk: &ChunkName| (chunk.offset, chunk.tag.to_string());
        Self {
            feed: cursor.feed.as_ref().map(|feed| (feed.tag.to_string(), feed.partitions)),
            positions: cursor
                .positions
                .iter()
                .map(|(partition, position)| {
                    (*partition, (position.offset, position.chunk.as_ref().map(chunk)))
                })
                .collect(),
        }
    }

    /// The cursor; `None` if no reader can have made it.
    fn read(self) -> Option<FeedCursor> {
        let feed = match self.feed {
            Some((tag, partitions)) if (1..=feed::MOST_PARTITIONS).contains(&partitions) => {
                Some(Header { partitions, tag: Tag::from_text(tag)? })
            }
            Some(_) => return None,
            None => None,
        };
        let partitions = feed.as_ref().map_or(0, |feed| feed.partitions);
        let mut positions = BTreeMap::new();
        for (partition, (offset, chunk)) in self.positions {
            let chunk = match chunk {
                Some((offset, tag)) => Some(ChunkName { offset, tag: Tag::from_text(tag)? }),
                None => None,
            };
            let is_behind_chunk = match &chunk {
                Some(chunk) => offset > chunk.offset,
                None => offset == 0,
            };
            if partition >= partitions || !is_behind_chunk {
                return None;
            }
            positions.insert(partition, Position { offset, chunk });
        }
        Some(FeedCursor { feed, positions })
    }
}

impl fmt::Display for FeedCursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        cursor::write_text(&Stored::of(self), formatter)
    }
}

impl FromStr for FeedCursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        cursor::read_text::<Stored>(text)?.read().ok_or(CursorError::Malformed)
    }
}

impl Serialize for FeedCursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FeedCursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::cursor::LONGEST_TEXT;
    use data_encoding::BASE64URL_NOPAD;
    use proptest::collection::btree_map;
    use proptest::prelude::{Strategy, any, prop_assert_eq, proptest};

    fn cursors() -> impl Strategy<Value = FeedCursor> {
        let position = (0..u64::MAX, 0..1000_u64).prop_map(|(chunk, entries)| Position {
            offset: chunk.saturating_add(entries + 1),
            chunk: Some(ChunkName { offset: chunk, tag: Tag::random() }),
        });
        let positions = btree_map(0..256_u32, proptest::option::of(position), 0..256);
        positions.prop_map(|positions| {
            let positions = positions.into_iter().map(|(p, at)| (p, at.unwrap_or_default()));
            FeedCursor::new(Header { partitions: 256, tag: Tag::random() }, positions.collect())
        })
    }

    proptest! {
        #[test]
        fn every_cursor_survives_as_text(cursor in cursors()) {
            prop_assert_eq!(cursor.to_string().parse::<FeedCursor>(), Ok(cursor));
        }

        #[test]
        fn any_decoded_text_is_read_without_panic(bytes in any::<Vec<u8>>()) {
            let _ = BASE64URL_NOPAD.encode(&bytes).parse::<FeedCursor>();
        }
    }

    #[test]
    fn the_longest_cursor_fits() {
        let chunk = ChunkName { offset: u64::MAX - 1, tag: Tag::random() };
        let position = Position { offset: u64::MAX, chunk: Some(chunk) };
        let positions = (0..256).map(|partition| (partition, position.clone())).collect();
        let cursor = FeedCursor::new(Header { partitions: 256, tag: Tag::random() }, positions);
        assert_eq!(cursor.to_string().parse::<FeedCursor>(), Ok(cursor));
    }

    #[test]
    fn what_no_reader_has_made_is_malformed() {
        for json in [
            "{}",
            r#"{"f":["t",0],"p":{}}"#,
            r#"{"f":["t",257],"p":{}}"#,
            r#"{"f":["",4],"p":{}}"#,
            r#"{"f":["t",4],"p":{"4":[0,null]}}"#,
            r#"{"f":["t",4],"p":{"0":[1,null]}}"#,
            r#"{"f":["t",4],"p":{"0":[5,[5,"t"]]}}"#,
            r#"{"f":["t",4],"p":{"0":[6,[5," "]]}}"#,
            r#"{"f":null,"p":{"0":[0,null]}}"#,
            r#"{"f":["t",4],"p":{},"s":1}"#,
        ] {
            let text = BASE64URL_NOPAD.encode(json.as_bytes());
            assert_eq!(text.parse::<FeedCursor>(), Err(CursorError::Malformed), "{json}");
        }
        let text = "A".repeat(LONGEST_TEXT + 1);
        assert_eq!(text.parse::<FeedCursor>(), Err(CursorError::Malformed));
        let event_cursor = BASE64URL_NOPAD.encode(br#"{"s":{"subject":"a","time_type":"b"}}"#);
        assert_eq!(event_cursor.parse::<FeedCursor>(), Err(CursorError::Malformed));
    }

    #[test]
    fn joined_cursors_have_the_earlier_position() {
        let header = Header { partitions: 4, tag: Tag::random() };
        let at = |offset: u64| Position {
            offset,
            chunk: Some(ChunkName { offset: offset - 1, tag: Tag::random() }),
        };
        let one = FeedCursor::new(header.clone(), BTreeMap::from([(0, at(5)), (1, at(9))]));
        let other = FeedCursor::new(header, BTreeMap::from([(1, at(7)), (2, Position::default())]));
        let joined = one.clone().joined_with(other).expect("of one feed");
        assert_eq!(joined.offsets().collect::<Vec<_>>(), [(0, 5), (1, 7), (2, 0)]);
        let strange =
            FeedCursor::new(Header { partitions: 4, tag: Tag::random() }, BTreeMap::new());
        assert_eq!(one.clone().joined_with(strange), Err(CursorError::OtherRead));
        assert_eq!(one.joined_with(FeedCursor::default()), Ok(FeedCursor::default()));
    }
}
