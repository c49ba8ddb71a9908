//! Commands that may arrive twice. Each has one guard, which lists the events that it led to. The
//! guard is stored in the transaction that stores the events: docs/decisions/0063.

use crate::codec::{item, validation};
use crate::event::Event;
use crate::schema::attribute;
use crate::store::EventDb;
use crate::store::error::Error;
use crate::store::layout::{EventKey, SdkItem, TableLayout};
use crate::store::read::decode;
use crate::store::read::query::string;
use crate::store::table::Table;

/// The identity of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command {
    source: String,
    id: String,
}

impl Command {
    /// # Errors
    /// [`Error::Invalid`] if the id is empty, has control characters or doesn't fit in a key.
    pub(crate) fn new(source: &str, id: &str, layout: TableLayout) -> Result<Self, Error> {
        validation::check_command(source, id, layout.rules())?;
        Ok(Self { source: source.to_owned(), id: id.to_owned() })
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    fn key(&self, layout: TableLayout) -> SdkItem {
        layout.command_key(item::command_partition_key(&self.source, &self.id))
    }

    /// The guard of an append with these events. It has no index attributes, so it isn't in any
    /// index and is never published.
    pub(crate) fn guard(&self, layout: TableLayout, events: &[Event]) -> SdkItem {
        guard(layout, item::command_partition_key(&self.source, &self.id), events)
    }

    /// The events that the command led to, in the order of its append; `None` if it isn't done.
    pub(crate) async fn find(&self, table: &Table) -> Result<Option<Vec<Event>>, Error> {
        let table = table.begin();
        // A plain read isn't isolated from a transaction that is being stored: a caller that has seen one
        // of its events might not see the guard yet.
        let guard = table.get_isolated(vec![self.key(table.layout())]).await?;
        match guard.into_iter().next().flatten() {
            Some(guard) => self.events(&table, &guard).await.map(Some),
            None => Ok(None),
        }
    }

    /// The events that the guard lists.
    pub(crate) async fn events(&self, table: &Table, guard: &SdkItem) -> Result<Vec<Event>, Error> {
        let broken = |what: String| {
            table.refused(
                format!("{what}; the events of the command `{}` can't be read", self.id).into(),
            )
        };
        let keys = guard.get(attribute::EVENTS).and_then(|keys| keys.as_s().ok());
        let keys: Option<Vec<EventKey>> = keys.and_then(|keys| serde_json::from_str(keys).ok());
        let keys = keys.ok_or_else(|| broken("its guard has no list of keys".to_owned()))?;
        // They were stored in one transaction, so they fit in one.
        let rows = keys.iter().map(|key| table.layout().key(key)).collect();
        let mut rows = table.get_isolated(rows).await?.into_iter();
        keys.into_iter()
            .map(|key| {
                let row = rows.next().flatten().ok_or_else(|| {
                    broken(format!(
                        "the event of the subject `{}` with the sort key `{}` was removed from the \
                         table",
                        key.0, key.1
                    ))
                })?;
                decode(row).map_err(|invalid| Error::InvalidItem(Box::new(invalid)))
            })
            .collect()
    }
}

/// The guard with a partition key.
pub(crate) fn guard(layout: TableLayout, partition: String, events: &[Event]) -> SdkItem {
    let keys: Vec<EventKey> = events.iter().map(|event| layout.key_of_event(event)).collect();
    let mut guard = layout.command_key(partition);
    let keys = serde_json::to_string(&keys).unwrap_or_default();
    guard.insert(attribute::EVENTS.to_owned(), string(keys));
    guard
}

impl EventDb {
    /// The events that a command led to, in the order of its append. `None` means that no events
    /// of it were stored: it wasn't executed, it failed, its decision returned no events, or it is
    /// still under way.
    ///
    /// The answer is strongly consistent and doesn't depend on indexes. It is about commands that
    /// were executed with [an id](crate::Execute::command). `source` is that of the repository.
    ///
    /// # Cost
    /// 2 read units, in one request. If the command is done, one request more: 2 read units for
    /// each 4 KB of each event.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an impossible id, [`Error::Unavailable`], [`Error::Refused`], and
    /// [`Error::InvalidItem`] if an event can't be read.
    ///
    /// ```no_run
    /// # async fn example(db: eventdb::EventDb) -> Result<(), eventdb::Error> {
    /// let events = db.fetch_command("https://library.example.com", "request-17").await?;
    /// println!("{}", if events.is_some() { "done" } else { "not done" });
    /// # Ok(())
    /// # }
    /// ```
    pub async fn fetch_command(
        &self,
        source: &str,
        command: &str,
    ) -> Result<Option<Vec<Event>>, Error> {
        Command::new(source, command, self.table().layout())?.find(self.table()).await
    }
}
