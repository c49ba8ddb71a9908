//! Copying a whole store into another table, of the same or of the other layout.

pub(crate) mod import;
pub(crate) mod numbering;
mod target;

use std::collections::BTreeSet;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};

use crate::codec::validation;
use crate::event::Event;
use crate::schema::{self, attribute};
use crate::store::copy::numbering::Numbering;
use crate::store::copy::target::Target;
use crate::store::error::Error;
use crate::store::items::{self, ItemKind};
use crate::store::layout::{EventKey, SdkItem};
use crate::store::read::decode;
use crate::store::read::fetch_events::FetchEvents;
use crate::store::table::scan::{Scan, Segment};
use crate::store::table::{KEYS_PER_REQUEST, Table};
use crate::store::{EventDb, command};

/// Subjects that are copied at the same time.
const CONCURRENT_SUBJECTS: usize = 16;

/// Most misfits that a report lists.
const LISTED_MISFITS: usize = 1_000;

impl EventDb {
    /// Copies all events of this store, with their ids, revisions and times, and the guards of ids
    /// into the table of another store. The other table may have the other layout.
    ///
    /// Nobody may write to either table meanwhile: see the guide on
    /// [moving to the other layout](https://github.com/eventdb/eventdb/blob/main/docs/migrating.md#moving-to-the-other-layout).
    ///
    /// First, everything is checked. If anything doesn't fit in the other table, the report lists it
    /// and nothing is written. A copy that was interrupted is continued by the same call: it reads
    /// what is there and writes what is missing. The copy is complete when a call reports that it has
    /// written nothing.
    ///
    /// Events that the original library has stored without a revision get the one that they count as.
    /// Snapshots aren't copied; they are made again.
    ///
    /// It reads this table four times (two scans, and each subject twice), and the other one once per
    /// 100 events. This needs the permissions `Scan`, `Query`, `GetItem` and `BatchGetItem` here, and
    /// `DescribeTable`, `GetItem`, `BatchGetItem`, `Query` and `PutItem` there, and `UpdateItem` to go on
    /// with a copy by time that an earlier version has begun.
    ///
    /// # Errors
    /// [`CopyError`]
    ///
    /// ```no_run
    /// use eventdb::{EventDb, TableLayout};
    ///
    /// # async fn example(client: eventdb::aws_sdk_dynamodb::Client) -> Result<(), eventdb::CopyError> {
    /// let old = EventDb::new(client.clone(), "LibraryEvents");
    /// let new = EventDb::new(client, "LibraryEvents2").with_layout(TableLayout::ByRevision);
    /// let report = old.copy_to(&new).dry_run().await?;
    /// for misfit in &report.misfits {
    ///     eprintln!("{misfit}");
    /// }
    /// if report.misfits.is_empty() {
    ///     while old.copy_to(&new).await?.written > 0 {}
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn copy_to(&self, other: &Self) -> CopyEvents {
        CopyEvents {
            source: self.table().clone(),
            target: Target(other.table().clone()),
            is_dry_run: false,
        }
    }
}

/// A request to copy a store: see [`EventDb::copy_to`].
#[derive(Debug, Clone)]
#[must_use = "a request does nothing until it is awaited"]
pub struct CopyEvents {
    source: Table,
    target: Target,
    is_dry_run: bool,
}

/// What a copy has found and done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopyReport {
    /// Subjects in the source.
    pub subjects: u64,
    /// Events in the source.
    pub events: u64,
    /// Guards of ids in the source: of events and of commands.
    pub guards: u64,
    /// Items that this call has written. 0 says that the copy was complete before.
    pub written: u64,
    /// What can't be copied, at most 1,000. If there is any, nothing was written.
    pub misfits: Vec<Misfit>,
    /// How many more there are.
    pub more_misfits: u64,
}

/// An item that can't be copied to the other table.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Misfit {
    /// The partition key of the item.
    pub subject: String,
    /// The revision of the event, if it has one or counts as one.
    pub revision: Option<u64>,
    /// What is wrong, and what it must be.
    pub problem: String,
}

impl fmt::Display for Misfit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.subject)?;
        if let Some(revision) = self.revision {
            write!(formatter, ", revision {revision}")?;
        }
        write!(formatter, ": {}", self.problem)
    }
}

/// A copy that couldn't be carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// A request failed. Repeat the call; it continues where it was.
    #[error(transparent)]
    Store(#[from] Error),
    /// The other table has a stream, so the copied events could be published a second time.
    #[error(
        "the table `{table}` has a stream, so the copied events could be published again; turn the \
         stream off while you copy (with the construct: `publish: false`)"
    )]
    HasStream {
        /// The name of the other table.
        table: String,
    },
    /// The other table has something else in the place of an event, of the end of a subject or of the
    /// guard of an id. Somebody else has written to it. Nothing was overwritten.
    #[error("the table `{table}` has something else for {subject:?}: {problem}")]
    Differs {
        /// The name of the other table.
        table: String,
        /// The subject, or the partition key of the guard.
        subject: String,
        /// What is there.
        problem: String,
    },
}

impl CopyEvents {
    /// Only checks whether everything fits in the other layout. It neither reads nor writes the other
    /// table, which needn't exist yet.
    pub fn dry_run(mut self) -> Self {
        self.is_dry_run = true;
        self
    }

    async fn run(self) -> Result<CopyReport, CopyError> {
        let this = Arc::new(self);
        this.source.layout().check(&this.source).await?;
        let checked = this.pass(false).await?;
        if this.is_dry_run || !checked.misfits.is_empty() {
            return Ok(checked);
        }
        this.target.check().await?;
        if this.target.has_stream().await? {
            return Err(CopyError::HasStream { table: this.target.0.name().to_owned() });
        }
        this.pass(true).await
    }

    /// Goes through the whole source once.
    async fn pass(self: &Arc<Self>, writes: bool) -> Result<CopyReport, CopyError> {
        let mut report = CopyReport::default();
        let mut start = None;
        let mut last_subject = None;
        loop {
            let page = self.source.scan(&KEYS, start).await?;
            let mut subjects = BTreeSet::new();
            let mut guards = Vec::new();
            for item in page.items {
                let subject = item.get(attribute::SUBJECT).and_then(|key| key.as_s().ok());
                let subject = subject.cloned().unwrap_or_default();
                let problem = match items::kind(&item) {
                    ItemKind::Event if items::is_like_own_item(&subject) => {
                        "is an event whose subject begins as the store's own items do"
                    }
                    // Rows that aren't events are found when their subject is read.
                    ItemKind::Event | ItemKind::Foreign => {
                        // A page may begin in the middle of a subject.
                        if last_subject.as_ref() != Some(&subject) {
                            subjects.insert(subject.clone());
                        }
                        last_subject = Some(subject);
                        continue;
                    }
                    ItemKind::Guard => {
                        guards.push((subject, item));
                        continue;
                    }
                    ItemKind::Head | ItemKind::Snapshot => continue,
                    ItemKind::Reserved => {
                        "is an item of the store that this version doesn't know; use a later one"
                    }
                };
                let problem = problem.to_owned();
                report.add_misfit(Misfit { subject, revision: None, problem });
            }
            let parts: Vec<CopyReport> = stream::iter(subjects)
                .map(|subject| {
                    let this = Arc::clone(self);
                    async move { this.subject(subject, writes).await }
                })
                .buffered(CONCURRENT_SUBJECTS)
                .try_collect()
                .await?;
            for part in parts {
                report.add(part);
            }
            while !guards.is_empty() {
                let rest = guards.split_off(guards.len().min(KEYS_PER_REQUEST));
                let chunk = std::mem::replace(&mut guards, rest);
                report.add(self.guards(chunk, writes).await?);
            }
            match page.next {
                Some(next) => start = Some(next),
                None => return Ok(report),
            }
        }
    }

    async fn subject(
        self: Arc<Self>,
        subject: String,
        writes: bool,
    ) -> Result<CopyReport, CopyError> {
        let mut report = CopyReport { subjects: 1, ..CopyReport::default() };
        let mut numbering = Numbering::default();
        let mut chunk = Vec::new();
        let mut last = None;
        let rules = self.target.0.layout().rules();
        let misfit = |revision, problem| Misfit { subject: subject.clone(), revision, problem };
        let mut rows = FetchEvents::of_subject(self.source.clone(), subject.clone()).rows();
        while let Some(row) = rows.try_next().await? {
            let mut event = match row {
                Ok(event) => event,
                Err(invalid) => {
                    let revision = invalid.revision();
                    numbering.pass(revision);
                    report.add_misfit(misfit(revision, invalid.to_string()));
                    continue;
                }
            };
            report.events += 1;
            let (revision, problem) = numbering.next(event.revision);
            event.revision = Some(revision);
            let problems = validation::misfits(&event, last.as_ref(), rules);
            for problem in problem.into_iter().chain(problems) {
                report.add_misfit(misfit(Some(revision), problem));
            }
            if writes {
                chunk.push(event.clone());
                if chunk.len() == KEYS_PER_REQUEST {
                    report.written += self.target.write(&subject, &chunk).await?;
                    chunk.clear();
                }
            }
            last = Some(event);
        }
        let end = self.source.layout().recorded_end(&self.source, &subject).await?;
        if end > numbering.last {
            let problem = format!(
                "is the end of the subject, but the events after revision {} are missing",
                numbering.last
            );
            report.add_misfit(misfit(Some(end), problem));
        }
        if let (true, Some(last)) = (writes, last) {
            report.written += self.target.write(&subject, &chunk).await?;
            report.written += self.target.finish(&last).await?;
        }
        Ok(report)
    }

    async fn guards(
        &self,
        guards: Vec<(String, SdkItem)>,
        writes: bool,
    ) -> Result<CopyReport, CopyError> {
        let mut report = CopyReport::default();
        let guards: Vec<(SdkItem, String, Option<Vec<EventKey>>)> = guards
            .into_iter()
            .map(|(partition, guard)| {
                let keys = self.guarded_keys(&partition, &guard);
                (guard, partition, keys)
            })
            .collect();
        let keys: BTreeSet<EventKey> =
            guards.iter().filter_map(|(.., keys)| keys.clone()).flatten().collect();
        let rows = self.source.all_rows(keys, true).await?;
        for (guard, partition, keys) in guards {
            report.guards += 1;
            let event = |key: &EventKey| decode(rows.get(key)?.clone()).ok();
            let events: Option<Vec<Event>> = keys.and_then(|keys| keys.iter().map(event).collect());
            let is_numbered = |events: &Vec<Event>| {
                !events.is_empty() && events.iter().all(|event| event.revision.is_some())
            };
            let Some(events) = events.filter(is_numbered) else {
                let problem = "guards an id, but an event of it is missing or can't be read";
                let problem = problem.to_owned();
                report.add_misfit(Misfit { subject: partition, revision: None, problem });
                continue;
            };
            let most = self.target.0.layout().rules().key_bytes();
            if partition.len() > most {
                let bytes = partition.len();
                let problem = format!("is a key of {bytes} bytes; it must have at most {most}");
                report.add_misfit(Misfit { subject: partition, revision: None, problem });
                continue;
            }
            if writes {
                let item = self.target_guard(&partition, &guard, &events);
                report.written += self.target.put_same(&partition, item).await?;
            }
        }
        Ok(report)
    }

    /// The keys of the events that a guard names.
    fn guarded_keys(&self, partition: &str, guard: &SdkItem) -> Option<Vec<EventKey>> {
        if partition.starts_with(schema::COMMAND_PREFIX) {
            return serde_json::from_str(guard.get(attribute::EVENTS)?.as_s().ok()?).ok();
        }
        let layout = self.source.layout();
        Some(vec![layout.event_key(&layout.guarded_key(guard)?)?])
    }

    /// The same guard in the other table.
    fn target_guard(&self, partition: &str, guard: &SdkItem, events: &[Event]) -> SdkItem {
        let layout = self.target.0.layout();
        match events {
            [event] if !guard.contains_key(attribute::EVENTS) => layout.guard(event),
            events => command::guard(layout, partition.to_owned(), events),
        }
    }
}

impl CopyReport {
    fn add_misfit(&mut self, misfit: Misfit) {
        if self.misfits.len() < LISTED_MISFITS {
            self.misfits.push(misfit);
        } else {
            self.more_misfits += 1;
        }
    }

    fn add(&mut self, part: Self) {
        let Self { subjects, events, guards, written, misfits, more_misfits } = part;
        self.subjects += subjects;
        self.events += events;
        self.guards += guards;
        self.written += written;
        self.more_misfits += more_misfits;
        for misfit in misfits {
            self.add_misfit(misfit);
        }
    }
}

impl IntoFuture for CopyEvents {
    type Output = Result<CopyReport, CopyError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

/// What tells events, guards and other items apart, and what guards hold, of the whole table.
const KEYS: Scan = Scan {
    segment: Segment::WHOLE_TABLE,
    consistent: true,
    attributes: Some(&[
        attribute::SUBJECT,
        attribute::TIME_TYPE,
        attribute::PK_ALL,
        attribute::EVENT_SUBJECT,
        attribute::EVENT_TIME_TYPE,
        attribute::EVENT_REVISION,
        attribute::EVENTS,
        attribute::REVISION,
    ]),
};
