//! Why a feed can't be followed.

use crate::codec::feed::chunk::InvalidFeedItem;
use crate::codec::feed::read::BrokenChain;
use crate::store::error::Error;
use crate::store::table::feed::is_of_no_feed;

/// The feed can't be followed. Nothing was passed over: after the cause is repaired, go on with the
/// cursor of the last page.
///
/// ```
/// use eventdb::FeedError;
///
/// fn advice(error: &FeedError) -> &'static str {
///     match error {
///         error if error.is_retryable() => "follow it again, after the last cursor",
///         FeedError::OtherFeed { .. } => "follow the new feed from its beginning",
///         _ => "read the message",
///     }
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FeedError {
    /// The table doesn't exist, or it isn't the table of a feed.
    #[error(
        "the table `{table}` isn't a feed, or doesn't exist in this region and account; give the \
         name that the deployment shows as `FeedTableName`; a store that is deployed without a feed \
         has none"
    )]
    NoFeed {
        /// The table.
        table: String,
        /// The answer of DynamoDB.
        source: Box<Error>,
    },

    /// What was read before isn't in this feed: the table was restored or created again, or the
    /// cursor belongs to another feed. It can't be told which events were listed before.
    #[error(
        "another feed: {what} isn't what was read before, so the table `{table}` was restored or \
         created again, or the cursor is one of another table; check the name of the table, or \
         follow this feed from its beginning and pass over what you have by subject and revision"
    )]
    OtherFeed {
        /// The table.
        table: String,
        /// What differs: the feed's header, or what precedes an offset of a partition.
        what: String,
    },

    /// Entries are missing in the middle of a partition. The publisher leaves no gaps, so somebody
    /// has deleted them.
    #[error(
        "the feed in the table `{table}` has a gap: in partition {partition}, the entries from \
         offset {offset} to {found} are missing; somebody has deleted them; restore the table to an \
         earlier time, or read the events from the store"
    )]
    Gap {
        /// The table.
        table: String,
        /// The partition.
        partition: u32,
        /// The offset of the first missing entry.
        offset: u64,
        /// The offset of the next entry.
        found: u64,
    },

    /// An item of the table can't be read. A later version of the publisher may have written it.
    #[error("{source}, in the table `{table}`; a later version of this crate may read it")]
    InvalidItem {
        /// The table.
        table: String,
        /// The item and what is wrong with it.
        source: InvalidFeedItem,
    },

    /// A chosen partition doesn't exist, or none is chosen.
    #[error("{}", unknown_partition(*.chosen, *.partitions))]
    UnknownPartition {
        /// The chosen partition; `None` if none is chosen.
        chosen: Option<u32>,
        /// How many partitions the feed has, if it is known.
        partitions: Option<u32>,
    },

    /// The cursor has no position in a partition that should be followed: its reader followed others.
    #[error(
        "the cursor has no position in partition {partition}; it comes from a reader of other \
         partitions; join it with the cursors of the other readers, or choose the partitions that it \
         has"
    )]
    CursorLacksPartition {
        /// The partition.
        partition: u32,
    },

    /// A segment of the table that can't be.
    #[error(
        "there is no segment {index} of {of}; with {of} segments, their numbers are 0 to {}, and a \
         table can have at most 1,000,000", .of.saturating_sub(1)
    )]
    UnknownSegment {
        /// The number of the segment.
        index: u32,
        /// The number of segments.
        of: u32,
    },

    /// A request to the feed's table, or to that of the events, failed.
    #[error(transparent)]
    Store(#[from] Error),
}

fn unknown_partition(chosen: Option<u32>, partitions: Option<u32>) -> String {
    match (chosen, partitions) {
        (Some(chosen), Some(partitions)) => format!(
            "the feed has no partition {chosen}; it has {partitions}, with the numbers 0 to {}",
            partitions.saturating_sub(1)
        ),
        (Some(chosen), None) => format!("a feed can't have a partition {chosen}"),
        (None, _) => "no partition is chosen; choose at least one".to_owned(),
    }
}

impl FeedError {
    /// Whether following again after the last cursor may succeed.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_retryable())
    }

    pub(crate) fn broken(table: &str, partition: u32, broken: BrokenChain) -> Self {
        let table = table.to_owned();
        match broken {
            BrokenChain::Gap { offset, found } => Self::Gap { table, partition, offset, found },
            BrokenChain::OtherFeed { offset } => {
                let what = format!("what precedes offset {offset} of partition {partition}");
                Self::OtherFeed { table, what }
            }
            BrokenChain::InvalidItem(source) => Self::invalid_item(&table, source),
        }
    }

    pub(crate) fn invalid_item(table: &str, source: InvalidFeedItem) -> Self {
        Self::InvalidItem { table: table.to_owned(), source }
    }

    pub(crate) fn other_header(table: &str) -> Self {
        Self::OtherFeed { table: table.to_owned(), what: "its header".to_owned() }
    }

    /// The failure of a request to the feed's table.
    pub(crate) fn of_table(table: &str, error: Error) -> Self {
        match is_of_no_feed(&error) {
            true => Self::NoFeed { table: table.to_owned(), source: Box::new(error) },
            false => Self::Store(error),
        }
    }
}
