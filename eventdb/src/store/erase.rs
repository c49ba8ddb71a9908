//! Erasing the data of single events in place, for example because a person has asked for it.

use std::collections::BTreeSet;
use std::future::{Future, IntoFuture};
use std::pin::Pin;

use chrono::{DateTime, Utc};

use crate::event::data::EventData;
use crate::schema::attribute;
use crate::store::EventDb;
use crate::store::copy::numbering::Numbering;
use crate::store::error::Error;
use crate::store::layout::SdkItem;
use crate::store::read::query::{Query, number, string};
use crate::store::read::{decode, revision_of_item};
use crate::store::table::Table;

impl EventDb {
    /// Overwrites the data of events of a subject in place, and removes all snapshots of the subject.
    ///
    /// The events stay where they are, with their ids, types and times, so that revisions and positions
    /// stay true. Their data becomes `{}`, or what [`data`](Erase::data) says, and the row gets the
    /// attribute `erased`. The stream's filter doesn't pass changes, so nothing is published. A repetition
    /// of the append is still recognised: the data of an erased event isn't compared. Erasing again
    /// changes nothing.
    ///
    /// Copies elsewhere aren't touched: messages in queues, read models, exports, backups (a restore brings
    /// the data back), and the failure bucket. A service that runs can hold the state and write a snapshot
    /// from it again: restart services, then repeat the call.
    ///
    /// # Cost
    /// By revision, 1 read unit per 4 KB of the events; by time, per 4 KB of the subject. For each event,
    /// the write units of an append of its old size, and 1 or more per snapshot. It needs the permissions
    /// `Query`, `GetItem`, `UpdateItem` and `DeleteItem`.
    ///
    /// # Errors
    /// [`Error::Unavailable`] and [`Error::Refused`]. Some of the events can then be erased: repeat it.
    ///
    /// ```
    /// # use eventdb::{EmbeddedDynamoDb, EventCandidate, EventDb};
    /// # use serde_json::json;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dynamodb = EmbeddedDynamoDb::in_memory().await?;
    /// # EventDb::create_table(&dynamodb.client(), "Events").await?;
    /// # let db = EventDb::new(dynamodb.client(), "Events");
    /// # db.add_new_events([EventCandidate::builder().source("https://library.example.com")
    /// #     .ty("reader.registered").subject("reader:1").data(json!({ "name": "Zoë" })).build()]).await?;
    /// let erasure = db.erase("reader:1", [1]).await?;
    /// assert_eq!(erasure.events[0].revision, 1);
    /// let history = db.fetch_events_for_subject("reader:1").await?;
    /// assert_eq!(history.events[0].data, json!({}));
    /// # Ok(())
    /// # }
    /// ```
    pub fn erase(
        &self,
        subject: impl Into<String>,
        revisions: impl IntoIterator<Item = u64>,
    ) -> Erase {
        Erase {
            table: self.table().clone(),
            subject: subject.into(),
            revisions: revisions.into_iter().collect(),
            data: serde_json::Value::Object(serde_json::Map::new()).into(),
            with_extensions: false,
            is_dry_run: false,
        }
    }
}

/// A request to erase the data of events: see [`EventDb::erase`].
#[derive(Debug, Clone)]
#[must_use = "a request does nothing until it is awaited"]
pub struct Erase {
    table: Table,
    subject: String,
    revisions: BTreeSet<u64>,
    data: EventData,
    with_extensions: bool,
    is_dry_run: bool,
}

/// What an erasure has found and done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Erasure {
    /// The events, by revision.
    pub events: Vec<ErasedEvent>,
    /// Revisions that the subject doesn't have.
    pub missing: Vec<u64>,
    /// Snapshots of the subject that were removed. In a dry run, those that would be.
    pub snapshots: u64,
}

/// An event whose data is erased.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ErasedEvent {
    /// Its revision.
    pub revision: u64,
    /// Its id.
    pub id: String,
    /// Its type.
    pub ty: String,
    /// Its time.
    pub time: DateTime<Utc>,
    /// When it was erased before; `None` if this call erases it.
    pub erased_before: Option<DateTime<Utc>>,
}

impl Erase {
    /// What the data becomes, a JSON object: for example one that your types can still read.
    pub fn data(mut self, data: impl Into<EventData>) -> Self {
        self.data = data.into();
        self
    }

    /// Removes the extensions of the events, too, such as the user of a command.
    pub fn with_extensions(mut self) -> Self {
        self.with_extensions = true;
        self
    }

    /// Only says what would be erased.
    pub fn dry_run(mut self) -> Self {
        self.is_dry_run = true;
        self
    }

    async fn run(self) -> Result<Erasure, Error> {
        let mut erasure = Erasure::default();
        let layout = self.table.layout();
        for (revision, row) in self.rows().await? {
            let Some(row) = row else {
                erasure.missing.push(revision);
                continue;
            };
            let erased_before = erased_at(&row);
            let text = |name: &str| {
                row.get(name).and_then(|value| value.as_s().ok()).cloned().unwrap_or_default()
            };
            let id = text(attribute::ID);
            let time = crate::store::read::time_of(&row)
                .and_then(DateTime::from_timestamp_millis)
                .unwrap_or_default();
            let event = ErasedEvent {
                revision,
                id: id.clone(),
                ty: text(attribute::TYPE),
                time,
                erased_before,
            };
            if erased_before.is_none() && !self.is_dry_run {
                let mut values =
                    SdkItem::from([(attribute::ERASED.to_owned(), number(self.table.now()))]);
                values.insert(attribute::DATA.to_owned(), layout.data_attribute(&self.data));
                let removed: &[&str] =
                    if self.with_extensions { &[attribute::EXTENSIONS] } else { &[] };
                // The id is checked, so a row that somebody removes meanwhile isn't created again.
                let expected = SdkItem::from([(attribute::ID.to_owned(), string(id))]);
                let key = layout.key_of(row);
                let table = self.table.begin();
                if !table.update_if(key, expected, values, removed).await? {
                    erasure.missing.push(revision);
                    continue;
                }
            }
            erasure.events.push(event);
        }
        // After the events, so that no snapshot is made from their data between the two.
        for key in self.table.snapshots_of(&self.subject).await? {
            if !self.is_dry_run {
                self.table.begin().delete(key).await?;
            }
            erasure.snapshots += 1;
        }
        Ok(erasure)
    }

    /// The rows of the revisions.
    async fn rows(&self) -> Result<Vec<(u64, Option<SdkItem>)>, Error> {
        let layout = self.table.layout();
        let mut found = Vec::new();
        if layout.sorts_by_revision() {
            for revision in &self.revisions {
                let key = layout.key(&(self.subject.clone(), revision.to_string()));
                found.push((*revision, self.table.begin().get(key).await?));
            }
            return Ok(found);
        }
        let mut query = Query::of_subject(&self.subject);
        let mut numbering = Numbering::default();
        let mut missing = self.revisions.clone();
        loop {
            let page = self.table.begin().query(&query).await?;
            for row in page.items {
                let stated = revision_of_item(&row);
                let revision = match decode(row.clone()) {
                    Ok(_) => numbering.next(stated).0,
                    Err(_) => {
                        numbering.pass(stated);
                        continue;
                    }
                };
                if missing.remove(&revision) {
                    found.push((revision, Some(row)));
                }
            }
            match page.next {
                Some(next) if !missing.is_empty() => query = query.starting_after(next),
                _ => break,
            }
        }
        found.extend(missing.into_iter().map(|revision| (revision, None)));
        found.sort_by_key(|(revision, _)| *revision);
        Ok(found)
    }
}

impl IntoFuture for Erase {
    type Output = Result<Erasure, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

/// When a row was erased.
fn erased_at(row: &SdkItem) -> Option<DateTime<Utc>> {
    let time = row.get(attribute::ERASED)?.as_n().ok()?.parse().ok();
    Some(time.and_then(DateTime::from_timestamp_millis).unwrap_or_default())
}

impl Table {
    /// The keys of all snapshots of a subject.
    pub(crate) async fn snapshots_of(&self, subject: &str) -> Result<Vec<SdkItem>, Error> {
        let layout = self.layout();
        let mut query = layout.snapshots(subject);
        let mut keys = Vec::new();
        loop {
            let page = self.begin().query(&query).await?;
            keys.extend(page.items.into_iter().map(|item| layout.key_of(item)));
            match page.next {
                Some(next) => query = query.starting_after(next),
                None => return Ok(keys),
            }
        }
    }
}
