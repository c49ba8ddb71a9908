//! A running read of a table by revision.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use futures_util::future::try_join_all;

use super::key;
use crate::codec::cursor::{Cursor, CursorError, RowKeys};
use crate::codec::item;
use crate::codec::validation;
use crate::schema::{self, attribute};
use crate::store::error::Error;
use crate::store::layout::{EventKey, SdkItem};
use crate::store::precondition::KnownRevision;
use crate::store::read::fetch_events::{FetchEvents, MissingRevisions, Row, Rows, Selection};
use crate::store::read::query::{Query, TimeRange, number, string};
use crate::store::read::{GAP_RETRIES, decode, pause_before_reread, revision_of_item, time_of};
use crate::store::table::{KEYS_PER_REQUEST, Table};

pub(crate) enum Pages {
    Subject(Box<SubjectPages>),
    All(Box<AllPages>),
}

impl Pages {
    /// Checks the request, without sending anything.
    pub(crate) fn begin(request: FetchEvents) -> Result<Self, Error> {
        let FetchEvents { table, selection, range, from_revision, after, backwards, limit } =
            request;
        let is_empty = limit == Some(0) || range.is_empty();
        let (subject, ty) = match selection {
            Selection::All => {
                let pages = AllPages::new(table, range, after, backwards, limit, is_empty)?;
                return Ok(Self::All(Box::new(pages)));
            }
            Selection::Subject(subject) => (subject, None),
            Selection::SubjectAndType(subject, ty) => (subject, Some(ty)),
        };
        validation::check_stored_subject(&subject)?;
        if let Some(ty) = &ty {
            validation::check_stored_type(ty)?;
        }
        let first = from_revision.unwrap_or(1).max(1);
        let mut query = Query::of_subject_from(&subject, first);
        query.backwards = backwards;
        if let Some(ty) = &ty {
            query = query.filtered_by_type(ty);
        }
        let mut ended = is_empty;
        let mut is_first_read = first == 1;
        if let Some(Cursor(position)) = &after {
            match position {
                RowKeys::SubjectByRevision { subject: of, ty: of_type, revision }
                    if *of == subject && *of_type == ty =>
                {
                    // DynamoDB refuses a position outside the condition.
                    match (*revision < first, backwards) {
                        (true, true) => ended = true,
                        (true, false) => {}
                        (false, _) => query = query.starting_after(key(of, *revision)),
                    }
                    is_first_read &= backwards;
                }
                _ => return Err(CursorError::OtherRead.into()),
            }
        }
        let revisions = Revisions { backwards, is_first_read, last: None };
        let remaining = limit;
        let subject = SubjectPages {
            table,
            subject,
            ty,
            range,
            query,
            revisions,
            remaining,
            cursor: after,
            ended,
        };
        Ok(Self::Subject(Box::new(subject)))
    }

    pub(crate) async fn next_rows(&mut self) -> Result<Option<Rows>, Error> {
        match self {
            Self::Subject(pages) => pages.next_rows().await,
            Self::All(pages) => pages.next_rows().await,
        }
    }
}

/// The rows of a subject, or those of one type of it.
pub(crate) struct SubjectPages {
    table: Table,
    subject: String,
    ty: Option<String>,
    range: TimeRange,
    query: Query,
    revisions: Revisions,
    remaining: Option<usize>,
    cursor: Option<Cursor>,
    ended: bool,
}

impl SubjectPages {
    /// One page. It is read again while a revision is missing.
    async fn next_rows(&mut self) -> Result<Option<Rows>, Error> {
        if self.ended {
            return Ok(None);
        }
        // Rows that are left out don't count, so they can't be limited by the query.
        let is_chosen = self.range != TimeRange::default() || self.ty.is_some();
        let limit = if is_chosen { None } else { self.remaining };
        let query = self.query.clone().limited_to(limit);
        let mut retry = 0;
        let (items, next, missing) = loop {
            let page = self.table.query(&query).await?;
            let is_whole = page.next.is_none() && limit.is_none_or(|most| page.items.len() < most);
            let mut revisions = self.revisions.clone();
            // Rows of other types are missing from the page.
            let missing = match &self.ty {
                Some(_) => Vec::new(),
                None => revisions.advance(&page.items, is_whole),
            };
            if missing.is_empty() || retry == GAP_RETRIES {
                self.revisions = revisions;
                break (page.items, page.next, missing);
            }
            pause_before_reread(retry).await;
            retry += 1;
        };
        let mut items = items;
        let known = items.iter().filter_map(revision_of_item).max();
        let range = self.range;
        items.retain(|item| range.holds(time_of(item)));
        items.truncate(self.remaining.unwrap_or(usize::MAX));
        if let Some(revision) = items.last().and_then(revision_of_item) {
            self.cursor = Some(Cursor(RowKeys::SubjectByRevision {
                subject: self.subject.clone(),
                ty: self.ty.clone(),
                revision,
            }));
        }
        if let Some(remaining) = &mut self.remaining {
            *remaining = remaining.saturating_sub(items.len());
        }
        match next {
            Some(next) if self.remaining != Some(0) => {
                self.query = self.query.clone().starting_after(next);
            }
            _ => self.ended = true,
        }
        let missing = missing
            .into_iter()
            .map(|revisions| MissingRevisions { subject: self.subject.clone(), revisions })
            .collect();
        let known = known
            .map(|revision| KnownRevision::read_from(&self.table, self.subject.clone(), revision));
        Ok(Some(Rows { rows: rows(items), missing, cursor: self.cursor.clone(), known }))
    }
}

fn rows(items: Vec<SdkItem>) -> Vec<Row> {
    items.into_iter().map(|item| decode(item).map_err(Box::new)).collect()
}

/// Finds the missing revisions of a subject.
#[derive(Debug, Clone)]
struct Revisions {
    backwards: bool,
    /// Whether the read includes the first revision.
    is_first_read: bool,
    /// The last revision that was read.
    last: Option<u64>,
}

impl Revisions {
    fn advance(&mut self, items: &[SdkItem], is_whole: bool) -> Vec<RangeInclusive<u64>> {
        let mut missing = Vec::new();
        let mut between = |low: u64, high: u64| {
            if high > low.saturating_add(1) {
                missing.push(low + 1..=high - 1);
            }
        };
        for revision in items.iter().filter_map(revision_of_item) {
            match (self.last, self.backwards) {
                (None, false) if self.is_first_read => between(0, revision),
                (None, _) => {}
                (Some(last), false) => between(last, revision),
                (Some(last), true) => between(revision, last),
            }
            self.last = Some(revision);
        }
        if let (true, true, true, Some(first)) =
            (self.backwards, is_whole, self.is_first_read, self.last)
        {
            between(0, first);
        }
        missing
    }
}

/// All events by time: the index has several partitions, which are merged.
pub(crate) struct AllPages {
    table: Table,
    partitions: Vec<Partition>,
    backwards: bool,
    remaining: Option<usize>,
    cursor: Option<Cursor>,
    ended: bool,
    /// Whether the table is known to have this layout.
    is_checked: bool,
}

/// One partition of the index, with entries that aren't merged yet.
struct Partition {
    query: Query,
    entries: VecDeque<Entry>,
    ended: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    time: i64,
    subject: String,
    revision: u64,
}

impl AllPages {
    fn new(
        table: Table,
        range: TimeRange,
        after: Option<Cursor>,
        backwards: bool,
        limit: Option<usize>,
        ended: bool,
    ) -> Result<Self, Error> {
        let position = match &after {
            None => None,
            Some(Cursor(RowKeys::AllByRevision { time, subject, revision })) => {
                Some(Entry { time: *time, subject: subject.clone(), revision: *revision })
            }
            Some(_) => return Err(CursorError::OtherRead.into()),
        };
        let stopped_in = position.as_ref().map(|entry| item::partition_of(&entry.subject));
        let partitions = (0..schema::ALL_EVENTS_PARTITIONS).map(|number| {
            let mut range = range;
            let mut start = None;
            if let (Some(entry), Some(stopped_in)) = (&position, stopped_in) {
                // Entries are merged by time, then by partition. So of this time, the partitions
                // before the one where the read stopped are done, and those after it aren't.
                let is_done = if backwards { number > stopped_in } else { number < stopped_in };
                let time = entry.time;
                if backwards {
                    let until = if is_done { time } else { time.saturating_add(1) };
                    range.until = Some(range.until.map_or(until, |of| of.min(until)));
                } else {
                    let since = if is_done { time.saturating_add(1) } else { time };
                    range.since = Some(range.since.map_or(since, |of| of.max(since)));
                }
                let is_within = range.holds(Some(time));
                start = (number == stopped_in && is_within).then(|| entry.start_key());
            }
            let is_empty = range.is_empty();
            let mut query =
                Query::of_all_in(&item::all_events_partition(number)).in_time_range(range);
            query.backwards = backwards;
            if let Some(start) = start {
                query = query.starting_after(start);
            }
            Partition { query, entries: VecDeque::new(), ended: is_empty }
        });
        Ok(Self {
            table,
            partitions: partitions.collect(),
            backwards,
            remaining: limit,
            cursor: after,
            ended,
            is_checked: false,
        })
    }

    async fn next_rows(&mut self) -> Result<Option<Rows>, Error> {
        if self.ended {
            return Ok(None);
        }
        let wanted = self.remaining.unwrap_or(KEYS_PER_REQUEST).min(KEYS_PER_REQUEST);
        let mut entries = Vec::with_capacity(wanted);
        while entries.len() < wanted {
            self.fill(wanted).await?;
            match self.take_next() {
                Some(entry) => entries.push(entry),
                None => break,
            }
        }
        if entries.len() < wanted {
            self.ended = true;
        }
        if entries.is_empty() && !self.is_checked {
            self.table.layout().check(&self.table).await?;
        }
        self.is_checked = true;
        if let Some(remaining) = &mut self.remaining {
            *remaining = remaining.saturating_sub(entries.len());
            self.ended |= *remaining == 0;
        }
        if let Some(Entry { time, subject, revision }) = entries.last().cloned() {
            self.cursor = Some(Cursor(RowKeys::AllByRevision { time, subject, revision }));
        }
        let keys = entries.iter().map(Entry::event_key).collect();
        let mut found = self.table.rows(&keys, false).await?;
        let mut items = Vec::with_capacity(entries.len());
        for entry in entries {
            match found.remove(&entry.event_key()) {
                Some(item) => items.push(item),
                // The copy that was read is behind the index, or the row was removed.
                None => items.extend(self.table.get(key(&entry.subject, entry.revision)).await?),
            }
        }
        let cursor = self.cursor.clone();
        Ok(Some(Rows { rows: rows(items), missing: Vec::new(), cursor, known: None }))
    }

    /// Reads on in the partitions of which no entry is left, so that the next one is known.
    async fn fill(&mut self, wanted: usize) -> Result<(), Error> {
        let table = &self.table;
        let empty = self
            .partitions
            .iter_mut()
            .filter(|partition| partition.entries.is_empty() && !partition.ended);
        try_join_all(empty.map(|partition| partition.fill(table, wanted))).await?;
        Ok(())
    }

    fn take_next(&mut self) -> Option<Entry> {
        let backwards = self.backwards;
        let with_entries = self.partitions.iter_mut().enumerate();
        let heads = with_entries.filter(|(_, partition)| !partition.entries.is_empty());
        let place = |(number, partition): &(usize, &mut Partition)| {
            (partition.entries.front().map(|entry| entry.time), *number)
        };
        let next = if backwards { heads.max_by_key(place) } else { heads.min_by_key(place) };
        next?.1.entries.pop_front()
    }
}

impl Partition {
    async fn fill(&mut self, table: &Table, wanted: usize) -> Result<(), Error> {
        while self.entries.is_empty() && !self.ended {
            let page = table.query(&self.query.clone().limited_to(Some(wanted))).await?;
            self.entries.extend(page.items.iter().filter_map(Entry::read));
            match page.next {
                Some(next) => self.query = self.query.clone().starting_after(next),
                None => self.ended = true,
            }
        }
        Ok(())
    }
}

impl Entry {
    fn read(item: &SdkItem) -> Option<Self> {
        let subject = item.get(attribute::SUBJECT)?.as_s().ok()?.clone();
        Some(Self { time: time_of(item)?, subject, revision: revision_of_item(item)? })
    }

    fn event_key(&self) -> EventKey {
        (self.subject.clone(), self.revision.to_string())
    }

    fn start_key(&self) -> SdkItem {
        let mut start = key(&self.subject, self.revision);
        let partition = item::all_events_partition(item::partition_of(&self.subject));
        start.insert(attribute::PK_ALL.to_owned(), string(partition));
        start.insert(attribute::TIME.to_owned(), number(self.time));
        start
    }
}
