//! Reading one event by its id.

use std::future::{Future, IntoFuture};
use std::pin::Pin;

use crate::codec::validation;
use crate::event::Event;
use crate::store::error::Error;
use crate::store::read::decode;
use crate::store::read::query::Query;
use crate::store::table::Table;

/// A request for one event: see [`EventDb::fetch_event`](crate::EventDb::fetch_event).
#[derive(Debug, Clone)]
#[must_use = "a request does nothing until it is awaited"]
pub struct FetchEvent {
    table: Table,
    id: String,
    source: Option<String>,
}

impl FetchEvent {
    pub(crate) fn new(table: Table, id: String) -> Self {
        Self { table, id, source: None }
    }

    /// Selects the event of this source if several sources use the same id.
    ///
    /// ```no_run
    /// # async fn example(db: eventdb::EventDb) -> Result<(), eventdb::Error> {
    /// let event = db.fetch_event("1").from_source("https://library.example.com").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_source(mut self, source: impl Into<String>) -> Self {
        self.source = Some(source.into());
        self
    }

    async fn run(self) -> Result<Option<Event>, Error> {
        validation::check_stored_id(&self.id)?;
        let table = self.table.begin();
        let mut oldest: Option<Event> = None;
        let mut query = Query::of_id(&self.id);
        let mut found_key = false;
        loop {
            let page = table.query(&query).await?;
            for row in page.items {
                found_key = true;
                let key = table.layout().key_of(row);
                // The index may still contain the key of a row that was removed.
                let Some(item) = table.get(key).await? else { continue };
                let event =
                    decode(item).map_err(|invalid| Error::InvalidItem(Box::new(invalid)))?;
                match &self.source {
                    Some(source) if *source == event.source => return Ok(Some(event)),
                    Some(_) => {}
                    None if oldest.as_ref().is_some_and(|oldest| oldest.time <= event.time) => {}
                    None => oldest = Some(event),
                }
            }
            match page.next {
                Some(next) => query = query.starting_after(next),
                None if !found_key => return table.layout().check(&table).await.map(|()| None),
                None => return Ok(oldest),
            }
        }
    }
}

impl IntoFuture for FetchEvent {
    type Output = Result<Option<Event>, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
