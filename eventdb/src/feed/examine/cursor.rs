//! Whether the feed has what precedes a reader's cursor. After a restore, it can lack it.

use crate::codec::feed::cursor::FeedCursor;
use crate::codec::feed::read::BrokenChain;
use crate::feed::Feed;
use crate::feed::error::FeedError;
use crate::feed::reader::{header, position_after};

impl Feed {
    /// Checks that a reader can go on after this cursor, without reading what follows.
    ///
    /// # Cost
    /// 1 read unit, and for each partition 1 read unit per 4 KB of a chunk.
    ///
    /// # Errors
    /// [`FeedError::OtherFeed`] if the feed doesn't have what precedes the cursor: it was restored or
    /// created again, or the cursor is one of another feed. Otherwise as for
    /// [`partitions`](Self::partitions).
    ///
    /// ```no_run
    /// # async fn example(feed: eventdb::Feed, kept: String) -> Result<(), Box<dyn std::error::Error>> {
    /// if let Err(error @ eventdb::FeedError::OtherFeed { .. }) = feed.check(&kept.parse()?).await {
    ///     eprintln!("{error}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn check(&self, cursor: &FeedCursor) -> Result<(), FeedError> {
        // Whatever is listed later follows a cursor from before the feed was created.
        let Some(expected) = cursor.feed() else { return Ok(()) };
        let table = self.table.begin();
        if header(&table).await?.as_ref() != Some(expected) {
            return Err(FeedError::other_header(table.name()));
        }
        for (partition, offset) in cursor.offsets() {
            let chunk = cursor.position(partition).and_then(|position| position.chunk.as_ref());
            let Some(chunk) = chunk else { continue };
            let there = table.feed_first_from(partition, chunk.offset).await;
            let there = there.map_err(|error| FeedError::of_table(table.name(), error))?;
            let there = there.as_ref().map(position_after).transpose();
            let there =
                there.map_err(|broken| FeedError::broken(table.name(), partition, broken))?;
            let is_same = there
                .is_some_and(|there| there.chunk.as_ref() == Some(chunk) && offset <= there.offset);
            if !is_same {
                let broken = BrokenChain::OtherFeed { offset };
                return Err(FeedError::broken(table.name(), partition, broken));
            }
        }
        Ok(())
    }
}
