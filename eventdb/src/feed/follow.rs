//! What a reader follows, and the pages that it yields.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use crate::codec::feed::cursor::FeedCursor;
use crate::codec::feed::entry::FeedEntry;
use crate::feed::error::FeedError;
use crate::feed::events::FollowEvents;
use crate::feed::reader::Reader;
use crate::store::EventDb;
use crate::store::table::Table;

/// Most entries of a page, unless another number is chosen.
const ENTRIES_PER_PAGE: usize = 1000;

/// A request to follow the feed: see [`Feed::follow`](crate::Feed::follow).
///
/// [`stream`](Self::stream) yields the entries, and [`events_of`](Self::events_of) fetches the events.
/// Several processes can share a feed: each follows other [partitions](Self::partitions) and keeps a
/// separate cursor.
///
/// ```no_run
/// use futures_util::TryStreamExt;
///
/// # async fn example(feed: eventdb::Feed, kept: String) -> Result<(), Box<dyn std::error::Error>> {
/// let mut pages = feed
///     .follow()
///     .after(kept.parse()?)
///     .partitions([0, 1])
///     .subject_prefix("book:")
///     .types(["book.borrowed", "book.returned"])
///     .stream();
/// while let Some(page) = pages.try_next().await? {
///     for entry in &page.entries {
///         println!("{} {:?}", entry.subject, entry.revision);
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a request does nothing until its stream is read"]
pub struct Follow {
    pub(super) table: Table,
    pub(super) start: Start,
    pub(super) partitions: Choice,
    types: Option<HashSet<String>>,
    subject_prefix: Option<String>,
    condition: Option<Condition>,
    pub(super) page_size: Option<usize>,
    pub(super) limit: Option<usize>,
    pub(super) until_caught_up: bool,
    pub(super) first_pause: Duration,
    pub(super) longest_pause: Duration,
}

/// Where a reader begins.
#[derive(Debug, Clone)]
pub(super) enum Start {
    Beginning,
    Now,
    After(FeedCursor),
}

/// Which partitions a reader follows.
#[derive(Debug, Clone)]
pub(super) enum Choice {
    All,
    These(BTreeSet<u32>),
}

/// What a caller wants of an entry.
#[derive(Clone)]
struct Condition(Arc<dyn Fn(&FeedEntry) -> bool + Send + Sync>);

impl fmt::Debug for Condition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a condition")
    }
}

/// Entries of the feed, in the order of their partition. A page can be empty.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct FeedPage {
    /// The entries that the request chooses, all from one partition.
    pub entries: Vec<FeedEntry>,
    /// Where the reader is after this page, to go on [`after`](Follow::after) it. It also counts the
    /// entries that the request doesn't choose.
    pub cursor: FeedCursor,
    /// Whether the reader has caught up: with this page and those before it, it has everything that
    /// was listed in its partitions when it last read their ends, which was after it had begun.
    pub caught_up: bool,
}

impl Follow {
    pub(crate) fn new(table: Table) -> Self {
        Self {
            table,
            start: Start::Beginning,
            partitions: Choice::All,
            types: None,
            subject_prefix: None,
            condition: None,
            page_size: None,
            limit: None,
            until_caught_up: false,
            first_pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(5),
        }
    }

    /// Goes on where an earlier reader was.
    ///
    /// The stream fails with [`FeedError::OtherFeed`] if the feed doesn't have what precedes the
    /// cursor, for example after it was restored.
    pub fn after(mut self, cursor: FeedCursor) -> Self {
        self.start = Start::After(cursor);
        self
    }

    /// Begins with what is listed after the stream was first polled. The first page is empty, and its
    /// cursor says where that is.
    pub fn from_now(mut self) -> Self {
        self.start = Start::Now;
        self
    }

    /// Only these partitions, by their numbers from 0. At least one must be given, and the feed must
    /// have them: see [`Feed::partitions`](crate::Feed::partitions).
    pub fn partitions(mut self, partitions: impl IntoIterator<Item = u32>) -> Self {
        self.partitions = Choice::These(partitions.into_iter().collect());
        self
    }

    /// Only events of these types. The others are read all the same, but aren't returned.
    pub fn types<T: Into<String>>(mut self, types: impl IntoIterator<Item = T>) -> Self {
        self.types = Some(types.into_iter().map(Into::into).collect());
        self
    }

    /// Only events whose subject begins with this text. The others are read all the same, but aren't
    /// returned.
    pub fn subject_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.subject_prefix = Some(prefix.into());
        self
    }

    /// Only entries that meet this condition, for example those of a time. The others are read all the
    /// same, but aren't returned, and their events aren't fetched.
    ///
    /// ```no_run
    /// # fn example(feed: eventdb::Feed, since: eventdb::chrono::DateTime<eventdb::chrono::Utc>) {
    /// let follow = feed.follow().matching(move |entry| entry.time >= since);
    /// # }
    /// ```
    pub fn matching(
        mut self,
        condition: impl Fn(&FeedEntry) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.condition = Some(Condition(Arc::new(condition)));
        self
    }

    /// The stream ends after this number of chosen entries.
    pub fn limit(mut self, entries: usize) -> Self {
        self.limit = Some(entries);
        self
    }

    /// At most this number of entries per page, including those that aren't chosen. Default: 1,000, or
    /// 100 when the events are fetched. 0 counts as 1.
    pub fn page_size(mut self, entries: usize) -> Self {
        self.page_size = Some(entries);
        self
    }

    /// The stream ends when the reader has caught up, instead of waiting for more. Its last page has
    /// `caught_up`.
    pub fn until_caught_up(mut self) -> Self {
        self.until_caught_up = true;
        self
    }

    /// How long a reader that has caught up pauses before it looks again: the first time, and at most
    /// when nothing has been listed for a while. Default: 0.2 and 5 seconds. Each pause is random
    /// between a half and the whole of that. It must be 10 ms to 1 hour; other values count as the
    /// nearest one.
    pub fn pauses(mut self, first: Duration, longest: Duration) -> Self {
        self.first_pause = first;
        self.longest_pause = longest;
        self
    }

    /// Fetches the events from this store. It must be the one whose events are listed here.
    pub fn events_of(self, db: &EventDb) -> FollowEvents {
        FollowEvents::new(self, db.clone())
    }

    /// The pages of entries. The stream waits for new entries and ends only if
    /// [`until_caught_up`](Self::until_caught_up) or [`limit`](Self::limit) says so, or after an
    /// error. To go on after an error, follow again after the cursor of the last page.
    ///
    /// It reads only when it is polled, and holds at most 1 MB of the feed. It may be dropped at any
    /// time.
    pub fn stream(self) -> BoxStream<'static, Result<FeedPage, FeedError>> {
        let reader = self.reader(ENTRIES_PER_PAGE);
        stream::try_unfold(reader, |mut reader| async move {
            Ok(reader.next().await?.map(|read| (read.page, reader)))
        })
        .boxed()
    }

    pub(super) fn reader(self, default_page_size: usize) -> Reader {
        Reader::new(self.table.clone(), self, default_page_size)
    }

    pub(super) fn chooses(&self, entry: &FeedEntry) -> bool {
        let has_type = self.types.as_ref().is_none_or(|types| types.contains(&entry.ty));
        let prefix = self.subject_prefix.as_deref().unwrap_or_default();
        let is_wanted = self.condition.as_ref().is_none_or(|condition| (condition.0)(entry));
        has_type && entry.subject.starts_with(prefix) && is_wanted
    }
}
