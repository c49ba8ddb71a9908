//! Which stored events the feed doesn't list.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use futures_util::TryStreamExt;

use crate::codec::feed::cursor::FeedCursor;
use crate::codec::feed::entry::FeedEntry;
use crate::feed::error::FeedError;
use crate::feed::follow::Follow;

/// Stored events that weren't found in the feed. It keeps a hash of 8 bytes for each event, so a
/// million events take some 20 MB. The hash is seeded anew in each process, so nobody can choose events
/// that collide; two of ten million events collide with a probability of 1 in 400,000.
#[derive(Debug, Clone, Default)]
pub(super) struct Unlisted {
    hasher: RandomState,
    events: HashSet<u64>,
}

impl Unlisted {
    pub(super) fn add(&mut self, entry: &FeedEntry) {
        self.events.insert(self.hasher.hash_one(entry.key()));
    }

    pub(super) fn contains(&self, entry: &FeedEntry) -> bool {
        self.events.contains(&self.hasher.hash_one(entry.key()))
    }

    fn remove(&mut self, entry: &FeedEntry) {
        self.events.remove(&self.hasher.hash_one(entry.key()));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub(super) fn len(&self) -> u64 {
        u64::try_from(self.events.len()).unwrap_or(u64::MAX)
    }

    /// No events, to be added later with [`extend`](Self::extend).
    pub(super) fn none_of(&self) -> Self {
        Self { hasher: self.hasher.clone(), events: HashSet::new() }
    }

    /// Adds the events of another one, which comes from [`none_of`](Self::none_of).
    pub(super) fn extend(&mut self, other: Self) {
        self.events.extend(other.events);
    }
}

/// Removes the events that are listed from here to the end of the feed, and returns where that is.
pub(super) async fn remove_listed<const N: usize>(
    mut unlisted: [&mut Unlisted; N],
    follow: Follow,
) -> Result<FeedCursor, FeedError> {
    let mut pages = follow.until_caught_up().stream();
    let mut cursor = FeedCursor::default();
    while let Some(page) = pages.try_next().await? {
        for entry in &page.entries {
            for events in &mut unlisted {
                events.remove(entry);
            }
        }
        cursor = page.cursor;
    }
    Ok(cursor)
}
