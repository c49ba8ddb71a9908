//! The id of a store.

use crate::codec::store_id::{InvalidStoreId, StoreId};
use crate::store::EventDb;
use crate::store::error::Error;

impl EventDb {
    /// The id of this store, as in its published messages. Use it to pass events that you read from
    /// the store to a [`Projection`](crate::Projection), for example to fill a new read model.
    ///
    /// It stays the same as long as the table exists and its stream stays enabled, so one call is
    /// enough.
    ///
    /// # Cost
    /// One `DescribeTable`, which takes no units. The caller needs the permission
    /// `dynamodb:DescribeTable` on the table.
    ///
    /// # Errors
    /// [`Error::Unavailable`] and [`Error::Refused`]. A table without a stream has no id, because
    /// nothing is published from it.
    ///
    /// ```no_run
    /// use eventdb::{Projection, ReadModel, ReceivedMessage};
    /// use futures_util::TryStreamExt;
    ///
    /// /// Fills a new read model with all stored events. Subscribe its queue first, so that the queue
    /// /// receives the events that are stored in the meantime.
    /// async fn fill<Loans: ReadModel>(loans: Loans, db: eventdb::EventDb)
    /// -> Result<(), Box<dyn std::error::Error>> {
    ///     let store = db.store_id().await?;
    ///     let mut pages = db.fetch_all_events().stream();
    ///     let projection = Projection::new(loans).reading(db);
    ///     while let Some(page) = pages.try_next().await? {
    ///         for event in page.events {
    ///             projection.handle(&ReceivedMessage::of_store(event, store.clone())).await?;
    ///         }
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub async fn store_id(&self) -> Result<StoreId, Error> {
        let table = self.table();
        let arn = table.describe().await?.and_then(|table| table.latest_stream_arn);
        let Some(arn) = arn else {
            return Err(
                table.refused("the table has no stream, so the store has no id; enable it".into())
            );
        };
        arn.parse().map_err(|error: InvalidStoreId| table.refused(Box::new(error)))
    }
}
