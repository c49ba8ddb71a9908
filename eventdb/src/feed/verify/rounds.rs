//! Which segment of the table is verified next, and since when everything is.

use chrono::{DateTime, Utc};
use serde_dynamo::{AttributeValue, Item};

use crate::codec::feed::chunk;
use crate::feed::error::FeedError;
use crate::schema::feed;
use crate::store::table::Table;
use crate::store::table::scan::Segment;

/// When each segment was verified, and what was found there. It is an item of the feed's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rounds {
    /// For each segment: milliseconds. Until a segment was verified, it is when the rounds began.
    checked: Vec<i64>,
    /// For each segment, how many events were unpublished.
    unpublished: Vec<u64>,
}

impl Rounds {
    /// Reads the item. It begins anew if there is none, or the table has another number of segments.
    pub(super) async fn read(feed: &Table, segments: u32, now: i64) -> Result<Self, FeedError> {
        let item = feed.begin().get(chunk::rounds_key().into()).await;
        let item = item.map_err(|error| FeedError::of_table(feed.name(), error))?;
        let length = usize::try_from(segments).unwrap_or(usize::MAX);
        let stored = item.map(Item::from).as_ref().and_then(Self::decode);
        let stored = stored.filter(|rounds| rounds.checked.len() == length);
        let new = || Self { checked: vec![now; length], unpublished: vec![0; length] };
        Ok(stored.unwrap_or_else(new))
    }

    fn decode(item: &Item) -> Option<Self> {
        let checked = numbers(item, feed::CHECKED)?;
        let unpublished = numbers(item, feed::UNPUBLISHED)?;
        (checked.len() == unpublished.len() && !checked.is_empty())
            .then_some(Self { checked, unpublished })
    }

    /// The segment whose turn it is: the one that was verified longest ago.
    pub(super) fn next(&self) -> Segment {
        let oldest = self.checked.iter().enumerate().min_by_key(|(_, checked)| **checked);
        let whole = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let index = oldest.map_or(0, |(index, _)| whole(index));
        Segment { index, of: whole(self.checked.len()) }
    }

    /// A segment was verified.
    pub(super) fn add(&mut self, segment: Segment, now: i64, unpublished: u64) {
        let index = usize::try_from(segment.index).unwrap_or(usize::MAX);
        if let (Some(at), Some(events)) =
            (self.checked.get_mut(index), self.unpublished.get_mut(index))
        {
            *at = now;
            *events = unpublished;
        }
    }

    /// Everything was verified since then.
    pub(super) fn complete_since(&self) -> Option<DateTime<Utc>> {
        self.checked.iter().min().copied().and_then(DateTime::from_timestamp_millis)
    }

    /// How many events were unpublished when their segments were verified.
    pub(super) fn unpublished(&self) -> u64 {
        self.unpublished.iter().fold(0, |sum, events| sum.saturating_add(*events))
    }

    /// Keeps it. If two verify at the same time, one of them is forgotten, and its segment has its turn
    /// earlier.
    pub(super) async fn write(&self, feed: &Table) -> Result<(), FeedError> {
        let list = |numbers: Vec<String>| {
            AttributeValue::L(numbers.into_iter().map(AttributeValue::N).collect())
        };
        let mut item = chunk::rounds_key();
        let checked = self.checked.iter().map(ToString::to_string).collect();
        let unpublished = self.unpublished.iter().map(ToString::to_string).collect();
        item.insert(feed::CHECKED.to_owned(), list(checked));
        item.insert(feed::UNPUBLISHED.to_owned(), list(unpublished));
        let written = feed.begin().put(item.into()).await;
        written.map_err(|error| FeedError::of_table(feed.name(), error))
    }
}

fn numbers<T: std::str::FromStr>(item: &Item, name: &str) -> Option<Vec<T>> {
    let AttributeValue::L(numbers) = item.get(name)? else { return None };
    let number = |value: &AttributeValue| match value {
        AttributeValue::N(number) => number.parse().ok(),
        _ => None,
    };
    numbers.iter().map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::Rounds;

    #[test]
    fn each_segment_has_its_turn() {
        let mut rounds = Rounds { checked: vec![5; 3], unpublished: vec![0; 3] };
        let mut turns = Vec::new();
        for now in 6..12 {
            let segment = rounds.next();
            turns.push(segment.index);
            rounds.add(segment, now, u64::from(segment.index));
        }
        assert_eq!(turns, [0, 1, 2, 0, 1, 2]);
        assert_eq!(rounds.complete_since().map(|time| time.timestamp_millis()), Some(9));
        assert_eq!(rounds.unpublished(), 3);
    }
}
