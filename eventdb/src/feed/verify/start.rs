//! From where to read the feed to find the events of a time.

use std::collections::BTreeMap;

use chrono::TimeDelta;

use crate::codec::feed::chunk::{self, Header};
use crate::codec::feed::cursor::FeedCursor;
use crate::codec::feed::read::{ChunkName, Position};
use crate::feed::error::FeedError;
use crate::store::table::Table;

/// The clocks of writers may be ahead of the publisher's by this. If it is more, the second look reads
/// the whole feed.
const CLOCKS: TimeDelta = TimeDelta::hours(1);

/// A cursor before everything that was listed since a time, in milliseconds.
pub(super) async fn listed_since(
    feed: &Table,
    header: &Header,
    since: i64,
) -> Result<FeedCursor, FeedError> {
    let since = since.saturating_sub(CLOCKS.num_milliseconds());
    let mut positions = BTreeMap::new();
    for partition in 0..header.partitions {
        positions.insert(partition, position(feed, partition, since).await?);
    }
    Ok(FeedCursor::new(header.clone(), positions))
}

/// The end of the last chunk that was listed before a time, by bisection.
async fn position(feed: &Table, partition: u32, since: i64) -> Result<Position, FeedError> {
    let table = feed.begin();
    let failed = |error| FeedError::of_table(feed.name(), error);
    let invalid = |source| FeedError::invalid_item(feed.name(), source);
    let mut position = Position::default();
    let Some(last) = table.feed_end(partition).await.map_err(failed)? else { return Ok(position) };
    let (_, end) = chunk::extent_of(&last).map_err(invalid)?;
    let mut after = end.offset;
    while position.offset < after {
        let middle = position.offset.midpoint(after);
        let chunk = table.feed_first_from(partition, middle).await.map_err(failed)?;
        let Some(chunk) = chunk else {
            after = middle;
            continue;
        };
        if chunk::listed_at(&chunk).map_err(invalid)? >= since {
            after = middle;
            continue;
        }
        let (offset, end) = chunk::extent_of(&chunk).map_err(invalid)?;
        let name = end.tag.map(|tag| ChunkName { offset, tag });
        position = Position { offset: end.offset, chunk: name };
    }
    Ok(position)
}
