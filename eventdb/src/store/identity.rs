//! Which store it is.

use crate::codec::store_id::{InvalidStoreId, StoreId};
use crate::store::EventDb;
use crate::store::error::Error;

impl EventDb {
    /// The id of this store, as its published messages say it: for events that are read here and
    /// given to a [`Projection`](crate::Projection), as a new read model needs them.
    ///
    /// It stays the same while the table exists and its stream isn't switched off: ask once.
    ///
    /// # Cost
    /// One `DescribeTable`, which takes no units. The caller needs the permission
    /// `dynamodb:DescribeTable` on the table.
    ///
    /// # Errors
    /// [`Error::Unavailable`] and [`Error::Refused`], also when the table has no stream: nothing
    /// is published from it, so nothing says which store it is.
    ///
    /// ```no_run
    /// use eventdb::{Projection, ReadModel, ReceivedMessage};
    /// use futures_util::TryStreamExt;
    ///
    /// /// Fills a new read model with all that is stored. Run it when messages are delivered to its
    /// /// queue already: what is stored meanwhile comes by the queue.
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
                table.refused("the table has no stream, so nothing says which store it is".into())
            );
        };
        arn.parse().map_err(|error: InvalidStoreId| table.refused(Box::new(error)))
    }
}
