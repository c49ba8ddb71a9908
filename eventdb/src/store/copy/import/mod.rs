//! Writing events from outside, such as those of an export, into a table.

pub(crate) mod report;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;

use futures_util::{Stream, StreamExt, TryStreamExt, stream};

use crate::codec::{cloud_event, message, validation};
use crate::event::Event;
use crate::schema;
use crate::store::EventDb;
use crate::store::copy::import::report::{ImportError, ImportMisfit, ImportReport, misfit};
use crate::store::copy::numbering::Numbering;
use crate::store::copy::target::{Target, difference};
use crate::store::copy::{CONCURRENT_SUBJECTS, CopyError};
use crate::store::error::Error;
use crate::store::layout::{EventKey, SdkItem};

/// Events that are compared and written together.
const EVENTS_PER_BATCH: usize = 1_000;

/// Bytes of the lines of a batch.
const BYTES_PER_BATCH: usize = 8 * 1024 * 1024;

impl EventDb {
    /// Writes events from lines of CloudEvents JSON, such as those of [`export`](Self::export), with
    /// their ids, times and revisions. The events of a subject must follow each other in their order.
    ///
    /// An event without a `sequence` gets the revision after the one before it. A subject can go on
    /// where it ends in this table. What is there already is compared and not written again, so the
    /// same import can be repeated after an interruption, or at any time.
    ///
    /// Nobody may write to the same subjects meanwhile. Guards of ids aren't imported: an append from
    /// before that is repeated afterwards isn't recognised. [`copy_to`](Self::copy_to) copies them.
    ///
    /// # Cost
    /// 1 read unit per 4 KB of the events, and for those that are written 1 write unit per KB, as much
    /// for their indexes as in an append, and 1 read unit per 4 KB to verify them. In a table by time, 1
    /// or 2 units more for the head of each subject. It needs the permissions `DescribeTable`,
    /// `BatchGetItem`, `GetItem`, `Query`, `PutItem` and, by time, `UpdateItem`.
    ///
    /// ```no_run
    /// use eventdb::EventDb;
    /// use futures_util::stream;
    ///
    /// # async fn example(db: EventDb, text: String) -> Result<(), eventdb::ImportError> {
    /// let lines = || stream::iter(text.lines().map(|line| Ok(line.to_owned())));
    /// let report = db.import().dry_run().lines(lines()).await?;
    /// for misfit in &report.misfits {
    ///     eprintln!("{misfit}");
    /// }
    /// if report.misfits.is_empty() {
    ///     db.import().lines(lines()).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn import(&self) -> Import {
        Import { target: Target(self.table().clone()), publishes: false, is_dry_run: false }
    }
}

/// A request to write events from outside: see [`EventDb::import`].
#[derive(Debug, Clone)]
#[must_use = "a request does nothing until it gets lines"]
pub struct Import {
    target: Target,
    publishes: bool,
    is_dry_run: bool,
}

impl Import {
    /// Only checks all lines and compares them with the table.
    pub fn dry_run(mut self) -> Self {
        self.is_dry_run = true;
        self
    }

    /// Writes to a table with a stream, too. The publisher then publishes the events. Without this, such
    /// a table is refused: [`CopyError::HasStream`].
    pub fn publish(mut self) -> Self {
        self.publishes = true;
        self
    }

    /// Imports these lines. Empty lines are passed over. If the stream of lines ends early, everything
    /// up to there is imported.
    ///
    /// # Errors
    /// [`ImportError`]. What doesn't fit isn't an error: it is in the [`ImportReport`].
    pub async fn lines(
        self,
        lines: impl Stream<Item = io::Result<String>> + Send,
    ) -> Result<ImportReport, ImportError> {
        self.batches(lines, async |_| Ok(())).await
    }

    /// The same as [`lines`](Self::lines), and after each batch it passes on the events that are in the
    /// table now, whether they were there before or not: at most 1,000. In a dry run, it passes on none.
    ///
    /// # Errors
    /// As for [`lines`](Self::lines), and those of `stored`, which end the import.
    pub async fn batches<E: From<ImportError>>(
        self,
        lines: impl Stream<Item = io::Result<String>> + Send,
        mut stored: impl AsyncFnMut(Vec<Event>) -> Result<(), E>,
    ) -> Result<ImportReport, E> {
        self.begin().await?;
        let mut lines = std::pin::pin!(lines);
        let mut report = ImportReport::default();
        let mut batch = Batch::default();
        let mut end = None;
        while let Some(line) = lines.next().await {
            report.lines += 1;
            let number = report.lines;
            let line = line.map_err(|source| ImportError::Line { line: number, source })?;
            if line.trim().is_empty() {
                continue;
            }
            match cloud_event::read_text(&line) {
                Ok(event) => {
                    report.events += 1;
                    if !batch.takes(&event) {
                        let full = std::mem::take(&mut batch);
                        let (new_end, events) = self.process(full, end, &mut report).await?;
                        end = new_end;
                        if !events.is_empty() {
                            stored(events).await?;
                        }
                    }
                    batch.add(number, line.len(), event);
                }
                Err(problem) => report.add_misfit(ImportMisfit {
                    line: number,
                    id: None,
                    subject: None,
                    revision: None,
                    problem: format!("isn't an event that a store can hold: {problem}"),
                }),
            }
            if !self.is_dry_run && !report.misfits.is_empty() {
                return Ok(report);
            }
        }
        let (_, events) = self.process(batch, end, &mut report).await?;
        if !events.is_empty() {
            stored(events).await?;
        }
        Ok(report)
    }

    async fn begin(&self) -> Result<(), ImportError> {
        self.target.check().await?;
        if !self.publishes && self.target.has_stream().await? {
            let table = self.target.0.name().to_owned();
            return Err(CopyError::HasStream { table }.into());
        }
        Ok(())
    }

    /// Checks a batch, compares it with the table and, unless it is a dry run or something doesn't fit,
    /// writes it. Returns where its last subject ends, and what is stored now.
    async fn process(
        &self,
        mut batch: Batch,
        before: Option<End>,
        report: &mut ImportReport,
    ) -> Result<(Option<End>, Vec<Event>), ImportError> {
        let mut end = before;
        for group in &mut batch.groups {
            end = self.check(group, end, report);
        }
        let there = self.read(&batch).await?;
        let parts = stream::iter(batch.groups)
            .map(|group| self.compare(group, &there))
            .buffered(CONCURRENT_SUBJECTS);
        let parts: Vec<Compared> = parts.try_collect().await?;
        for part in &parts {
            report.present += part.present;
            for misfit in &part.misfits {
                report.add_misfit(misfit.clone());
            }
        }
        let missing: usize = parts.iter().map(|part| part.missing.len()).sum();
        let missing = u64::try_from(missing).unwrap_or(u64::MAX);
        let mut stored = Vec::new();
        if self.is_dry_run {
            report.written += missing;
        } else if report.misfits.is_empty() {
            let work: Vec<_> = parts.iter().map(|part| self.write(part)).collect();
            stream::iter(work)
                .buffer_unordered(CONCURRENT_SUBJECTS)
                .try_collect::<Vec<()>>()
                .await?;
            report.written += missing;
            stored = parts.into_iter().flat_map(|part| part.events).collect();
        }
        Ok((end, stored))
    }

    /// Numbers the events of a group, and checks them without the table.
    fn check(
        &self,
        group: &mut Group,
        before: Option<End>,
        report: &mut ImportReport,
    ) -> Option<End> {
        let rules = self.target.0.layout().rules();
        let mut end = match before {
            Some(end) if end.last.subject == group.subject => end,
            _ => {
                let first = group.events.first()?.1.clone();
                // What goes before the first event must be in the table.
                let base = first.revision.unwrap_or(1).saturating_sub(1);
                group.base = Some(base);
                End { numbering: Numbering::after(base), last: first }
            }
        };
        for (place, (line, event)) in group.events.iter_mut().enumerate() {
            let (revision, problem) = end.numbering.next(event.revision);
            event.revision = Some(revision);
            let is_first = place == 0 && group.base.is_some();
            let previous = (!is_first).then_some(&end.last);
            let mut problems = validation::misfits(event, previous, rules);
            problems.extend(problem);
            if event.subject.starts_with(schema::RESERVED_SUBJECT_PREFIX) {
                problems.push(format!(
                    "its subject begins with `{}`, which is reserved for the store",
                    schema::RESERVED_SUBJECT_PREFIX
                ));
            }
            let size = if self.publishes { message::largest_size(event) } else { 0 };
            let most = self.target.0.message_bytes();
            if size > most {
                problems.push(format!(
                    "its message has {size} bytes; it must have at most {most} to be published"
                ));
            }
            for problem in problems {
                report.add_misfit(misfit(*line, event, problem));
            }
            end.last = event.clone();
        }
        Some(end)
    }

    /// What the table has in the places of a batch.
    async fn read(&self, batch: &Batch) -> Result<HashMap<EventKey, SdkItem>, Error> {
        let layout = self.target.0.layout();
        let mut keys = BTreeSet::new();
        for group in &batch.groups {
            keys.extend(group.events.iter().map(|(_, event)| layout.key_of_event(event)));
            keys.extend(layout.key_of_end(&group.subject, group.base.unwrap_or_default()));
        }
        self.target.0.begin().all_rows(keys, true).await
    }

    /// Compares a group with what the table has in its place.
    async fn compare(
        &self,
        group: Group,
        there: &HashMap<EventKey, SdkItem>,
    ) -> Result<Compared, Error> {
        let layout = self.target.0.layout();
        let mut compared = Compared::default();
        let base = group.base;
        let end = layout
            .key_of_end(&group.subject, base.unwrap_or_default())
            .and_then(|key| there.get(&key))
            .and_then(|item| layout.read_end(item));
        for (line, event) in &group.events {
            match there.get(&layout.key_of_event(event)) {
                None => compared.missing.push((*line, event.clone())),
                Some(row) => match difference(event, row.clone()) {
                    None => compared.present += 1,
                    Some(problem) => compared.misfits.push(misfit(*line, event, problem)),
                },
            }
        }
        compared.events = group.events.into_iter().map(|(_, event)| event).collect();
        let is_of_group =
            |row: &EventKey| compared.events.iter().any(|event| layout.key_of_event(event) == *row);
        let Some((line, first)) = compared.missing.first() else { return Ok(compared) };
        let revision = first.revision.unwrap_or_default();
        let (ends_at, ends_when) = end.unwrap_or_default();
        let problem = if base.is_some_and(|base| base > ends_at) {
            Some(format!(
                "the event before it, of revision {}, is neither in the line before it nor in the \
                 table; all events of a subject are needed, one after the other",
                base.unwrap_or_default()
            ))
        } else if !layout.sorts_by_revision() && revision <= ends_at {
            Some(format!("the subject goes to revision {ends_at} in the table, without this event"))
        } else if !layout.sorts_by_revision()
            && revision == ends_at.saturating_add(1)
            && ends_when.is_some_and(|time| first.time.timestamp_millis() <= time)
        {
            Some("its time isn't later than that of the last event in the table".to_owned())
        } else if base.is_some() && end.is_none() {
            let row = layout.first_row_without_end(&self.target.0, &group.subject).await?;
            row.filter(|row| !is_of_group(row)).map(|_| {
                "the table has other events of its subject, which have no head; an append makes one"
                    .to_owned()
            })
        } else {
            None
        };
        if let Some(problem) = problem {
            let misfit = misfit(*line, first, problem);
            compared.misfits.push(misfit);
        }
        Ok(compared)
    }

    /// Writes what is missing of a group, and verifies it.
    async fn write(&self, compared: &Compared) -> Result<(), CopyError> {
        let Some(last) = compared.events.last() else { return Ok(()) };
        let events: Vec<Event> = compared.missing.iter().map(|(_, event)| event.clone()).collect();
        self.target.put_all(&events, self.publishes).await?;
        let unwritten = self.target.write(&last.subject, &events).await?;
        if unwritten > 0 {
            let problem = format!("{unwritten} events were removed after they were written");
            return Err(self.target.differs(&last.subject, problem));
        }
        self.target.advance(last).await
    }
}

/// Where a subject ends, as far as the lines were read.
struct End {
    numbering: Numbering,
    last: Event,
}

/// Events that follow each other and have the same subject, with their lines.
struct Group {
    subject: String,
    events: Vec<(u64, Event)>,
    /// The revision before the first event, unless that was in a line before.
    base: Option<u64>,
}

/// A group, compared with the table.
#[derive(Default)]
struct Compared {
    present: u64,
    missing: Vec<(u64, Event)>,
    misfits: Vec<ImportMisfit>,
    /// All events of the group.
    events: Vec<Event>,
}

/// Events that are processed together. The events of a subject are in one group.
#[derive(Default)]
struct Batch {
    groups: Vec<Group>,
    subjects: HashSet<String>,
    events: usize,
    bytes: usize,
}

impl Batch {
    /// Whether the event can be added.
    fn takes(&self, event: &Event) -> bool {
        let is_last = self.groups.last().is_some_and(|group| group.subject == event.subject);
        let is_full = self.events >= EVENTS_PER_BATCH || self.bytes >= BYTES_PER_BATCH;
        !is_full && (is_last || !self.subjects.contains(&event.subject))
    }

    fn add(&mut self, line: u64, bytes: usize, event: Event) {
        self.events += 1;
        self.bytes += bytes;
        match self.groups.last_mut() {
            Some(group) if group.subject == event.subject => group.events.push((line, event)),
            _ => {
                let subject = event.subject.clone();
                self.subjects.insert(subject.clone());
                self.groups.push(Group { subject, events: vec![(line, event)], base: None });
            }
        }
    }
}
