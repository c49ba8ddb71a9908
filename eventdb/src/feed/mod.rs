//! Following the feed: which events were published, partition by partition.

pub(crate) mod error;
pub(crate) mod events;
pub(crate) mod examine;
pub(crate) mod follow;
pub(crate) mod reader;
pub(crate) mod verify;

use std::fmt;

use crate::codec::feed::cursor::FeedCursor;
use crate::codec::feed::entry::FeedEntry;
use crate::feed::error::FeedError;
use crate::feed::follow::Follow;
use crate::feed::reader::{end_of_partitions, header};
use crate::feed::verify::Verify;
use crate::feed::verify::acknowledged::{self, RowName};
use crate::feed::verify::adopt::Adopt;
use crate::feed::verify::stored::InvalidRow;
use crate::store::error::Error;
use crate::store::table::Table;
use crate::store::table::feed::Client;
use crate::store::{CapacityMeter, EventDb, TimeLimits};

/// The feed of a store: a second table, in which the publisher lists the events that it has published.
///
/// The feed has some partitions, 4 unless it was deployed with another number. A subject is in one of
/// them. Within a partition, each entry has an offset: 0, 1, 2, … An entry never appears behind
/// another one that can already be read, so a reader that follows the offsets misses nothing.
///
/// - It lists what was *published*: an event is in it shortly after the topic has accepted it.
/// - An event is listed at least once. After a time-out of the publisher, it can be listed twice.
/// - The events of a subject are listed in the order in which they were published. That is the order
///   of their revisions, except after failures.
///
/// It is cheap to clone.
///
/// ```
/// use eventdb::{EmbeddedDynamoDb, EventDb, Feed};
/// use futures_util::TryStreamExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dynamodb = EmbeddedDynamoDb::in_memory().await?;
/// # let client = dynamodb.client();
/// # EventDb::create_table(&client, "LibraryEvents").await?;
/// # Feed::create_table(&client, "LibraryFeed").await?;
/// let db = EventDb::new(client.clone(), "LibraryEvents");
/// let feed = Feed::new(client, "LibraryFeed");
///
/// // Without `until_caught_up`, it waits for the next events.
/// let mut pages = feed.follow().until_caught_up().events_of(&db).stream();
/// while let Some(page) = pages.try_next().await? {
///     for event in &page.events {
///         println!("{} {:?} {}", event.subject, event.revision, event.ty);
///     }
///     for missing in &page.missing {
///         eprintln!("{missing}");
///     }
///     let text = page.cursor.to_string(); // keep it, to go on there
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Feed {
    table: Table,
}

impl fmt::Debug for Feed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Feed").field("table", &self.table.name()).finish_non_exhaustive()
    }
}

impl Feed {
    /// The feed in the table with the given name, which the deployment shows as `FeedTableName`.
    /// Nothing is sent.
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { table: Table::new(client, table) }
    }

    /// The same feed with other time limits. Each page counts as one operation.
    #[must_use]
    pub fn with_time_limits(&self, limits: TimeLimits) -> Self {
        Self { table: self.table.within(limits) }
    }

    /// The same feed, but its requests also add their consumed capacity to the given meter.
    #[must_use]
    pub fn metered_by(&self, meter: &CapacityMeter) -> Self {
        Self { table: self.table.metered_by(meter) }
    }

    /// Follows the feed, from its beginning unless [`after`](Follow::after) or
    /// [`from_now`](Follow::from_now) says otherwise.
    ///
    /// # Cost
    /// All reads are strongly consistent. 1 read unit per 4 KB of chunks, which are some 30 to 40
    /// entries. A reader that has caught up consumes 1 read unit per partition and poll, and as much
    /// as the last chunk of each partition (at most 25) twice a minute.
    pub fn follow(&self) -> Follow {
        Follow::new(self.table.clone())
    }

    /// The number of partitions; `None` while nothing has been published yet. It never changes.
    ///
    /// # Errors
    /// [`FeedError::NoFeed`], [`FeedError::InvalidItem`] and [`FeedError::Store`].
    pub async fn partitions(&self) -> Result<Option<u32>, FeedError> {
        Ok(header(&self.table.begin()).await?.map(|header| header.partitions))
    }

    /// Where the feed ends now, in all partitions: a reader that reaches it has everything that was
    /// listed before this call.
    ///
    /// # Cost
    /// 1 read unit, and for each partition 1 read unit per 4 KB of its last chunk.
    ///
    /// # Errors
    /// As for [`partitions`](Self::partitions).
    pub async fn end(&self) -> Result<FeedCursor, FeedError> {
        let table = self.table.begin();
        let Some(header) = header(&table).await? else { return Ok(FeedCursor::default()) };
        let positions = end_of_partitions(&table, 0..header.partitions).await?;
        Ok(FeedCursor::new(header, positions))
    }

    /// Verifies that every stored event was published: compares the table of events with this feed.
    ///
    /// It counts an event as unpublished only if the feed doesn't list it in two looks, some minutes
    /// apart. Events are compared by subject, revision and id. It also finds rows that can't be read as
    /// events, and subjects whose revisions aren't complete.
    ///
    /// ```no_run
    /// # async fn example(db: eventdb::EventDb, feed: eventdb::Feed) -> Result<(), eventdb::FeedError> {
    /// let found = feed.verify(&db).await?;
    /// for event in &found.unpublished {
    ///     println!("{} {:?} {}", event.subject, event.revision, event.id);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Cost
    /// Half a read unit per 4 KB of the table, some 1 read unit per 30 to 40 entries of the feed, and
    /// in a table by time half a unit per subject. If an event isn't listed, its part of the table is
    /// read a second time. For every million items of the table, the feed is read once. With
    /// [`since`](Verify::since): the rows of the index and the entries of that time.
    ///
    /// # Errors
    /// As for [`Follow::stream`], and [`FeedError::Store`] if a read of the table of events fails. It
    /// needs the permissions `Scan`, `Query`, `BatchGetItem`, `GetItem` and `DescribeTable` on the
    /// table of events, `Query` on its indexes, and `Query`, `GetItem` and `DescribeTable` on the feed.
    pub fn verify(&self, db: &EventDb) -> Verify {
        Verify::new(self.table.clone(), db.table().clone())
    }

    /// Lists all events that are older than this feed and that it doesn't list, without publishing
    /// them. A reader that follows the feed from its beginning then gets them, too, marked
    /// [`Listing::Adopted`](crate::Listing::Adopted).
    ///
    /// A store has such events if its feed was switched on later. Afterwards, every event that the feed
    /// doesn't list counts as unpublished. The events of a subject are listed in the order of their
    /// rows. Services can write meanwhile, and the publisher can list their events. If it is
    /// interrupted, the next call goes on.
    ///
    /// # Cost
    /// As for [`verify`](Self::verify), twice for the table, and 1 write unit per KB of entries, which
    /// are some 8 to 10.
    ///
    /// # Errors
    /// As for [`verify`](Self::verify). It also needs the permission `PutItem` on the feed.
    pub fn adopt(&self, db: &EventDb) -> Adopt {
        Adopt::new(self.table.clone(), db.table().clone())
    }

    /// Lists these events as adopted, without publishing them. Use it for events that must not be
    /// published, for example after an import with the publisher off. List only events that
    /// [`verify`](Self::verify) has found: it isn't checked here that they are stored.
    ///
    /// # Cost
    /// 1 write unit per KB of entries, which are some 8 to 10, and 2 read units per partition.
    ///
    /// # Errors
    /// As for [`partitions`](Self::partitions). If it fails, some of the events may be listed. Listing
    /// them again does no harm.
    pub async fn adopt_events(
        &self,
        events: impl IntoIterator<Item = FeedEntry>,
    ) -> Result<(), FeedError> {
        verify::adopt::adopt(&self.table, events.into_iter().collect()).await
    }

    /// Lists those of these stored events as adopted that the feed doesn't list yet, without publishing
    /// them, and returns how many. Use it after an [import](EventDb::import) with the publisher off: only
    /// then can't an event be on its way to the feed.
    ///
    /// # Cost
    /// As for reading the whole feed and for [`adopt_events`](Self::adopt_events). Pass on many events
    /// together, for example 100,000.
    ///
    /// # Errors
    /// As for [`adopt_events`](Self::adopt_events).
    pub async fn adopt_unlisted(
        &self,
        events: impl IntoIterator<Item = FeedEntry>,
    ) -> Result<u64, FeedError> {
        verify::adopt::adopt_unlisted(&self.table, events.into_iter().collect()).await
    }

    /// Says that an event will never be published, for example because its message is too large, and
    /// why. From then on, [`verify`](Self::verify) counts it as acknowledged.
    ///
    /// # Cost
    /// 1 write unit, and 1 read unit per 4 KB of earlier acknowledgements.
    ///
    /// # Errors
    /// As for [`partitions`](Self::partitions).
    pub async fn acknowledge(
        &self,
        db: &EventDb,
        event: &FeedEntry,
        reason: &str,
    ) -> Result<(), FeedError> {
        let name = RowName::of_entry(db.table().layout(), event);
        acknowledged::write(&self.table, name, reason).await
    }

    /// The same as [`acknowledge`](Self::acknowledge), for a row that can't be read as an event.
    ///
    /// # Errors
    /// As for [`partitions`](Self::partitions).
    pub async fn acknowledge_row(&self, row: &InvalidRow, reason: &str) -> Result<(), FeedError> {
        acknowledged::write(&self.table, RowName::of_row(row), reason).await
    }

    /// Creates the feed's table and waits until it is ready. It stays empty until a publisher uses it.
    ///
    /// Use it for local work and tests; the CDK construct `EventDB` deploys one. If a table with
    /// this name exists, it isn't changed.
    ///
    /// # Errors
    /// [`Error::Refused`] if the database refuses the request, if the table isn't ready within a
    /// minute, or if a table with this name has other keys. [`Error::Unavailable`].
    pub async fn create_table(client: &Client, name: impl Into<String>) -> Result<(), Error> {
        Table::new(client.clone(), name).create_feed().await
    }
}
