//! Reading all events of a store, subject by subject, in constant memory.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use crate::codec::cursor::{CursorError, read_text, write_text};
use crate::codec::item::InvalidItem;
use crate::event::Event;
use crate::store::EventDb;
use crate::store::copy::numbering::Numbering;
use crate::store::error::Error;
use crate::store::items::{self, ItemKind};
use crate::store::layout::{EventKey, SdkItem};
use crate::store::read::decode;
use crate::store::read::fetch_events::{FetchEvents, Row, revision_of};
use crate::store::read::query::TimeRange;
use crate::store::read::revision_of_item;
use crate::store::table::Table;
use crate::store::table::scan::{Scan, Segment};

/// Events of a page that comes from a subject that is read by itself.
const EVENTS_PER_PAGE: usize = 1_000;

impl EventDb {
    /// Reads all events, for a file or another store. The events of a subject follow each other in
    /// their order; the subjects are in no order.
    ///
    /// Events that the original library has stored without a revision get the one that they count as.
    /// [`import`](Self::import) reads what this writes. Guards of ids and snapshots aren't exported.
    ///
    /// # Cost
    /// 1 read unit per 4 KB of the whole table, whatever is chosen. Subjects that begin with an event
    /// of the original library are read twice. It needs the permissions `Scan` and `Query`, and in a
    /// table by time `GetItem`.
    ///
    /// ```
    /// use futures_util::TryStreamExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dynamodb = eventdb::EmbeddedDynamoDb::in_memory().await?;
    /// # eventdb::EventDb::create_table(&dynamodb.client(), "Events").await?;
    /// # let db = eventdb::EventDb::new(dynamodb.client(), "Events");
    /// let mut pages = db.export().subject_prefix("book:").stream();
    /// while let Some(page) = pages.try_next().await? {
    ///     for event in &page.events {
    ///         println!("{}", serde_json::to_string(event)?);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn export(&self) -> Export {
        Export {
            table: self.table().clone(),
            prefix: String::new(),
            types: Vec::new(),
            range: TimeRange::default(),
            after: None,
        }
    }
}

/// A request for all events of a store: see [`EventDb::export`].
#[derive(Debug, Clone)]
#[must_use = "a request does nothing until its stream is read"]
pub struct Export {
    table: Table,
    prefix: String,
    types: Vec<String>,
    range: TimeRange,
    after: Option<ExportCursor>,
}

/// Events that an export has read together.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct ExportPage {
    /// The chosen events.
    pub events: Vec<Event>,
    /// Rows that should be events and can't be read. They aren't chosen by type or time.
    pub invalid: Vec<InvalidItem>,
    /// Where to go on [`after`](Export::after) this page; `None` in the middle of a subject that was
    /// read by itself, where an export can't go on.
    pub cursor: Option<ExportCursor>,
}

/// Where an export stopped, as text that can be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportCursor(Position);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Position {
    #[serde(rename = "e")]
    key: EventKey,
    /// How far the revisions of the subject were counted.
    #[serde(rename = "n")]
    numbering: Numbering,
    /// Whether all rows of the subject are done.
    #[serde(rename = "d")]
    is_done: bool,
}

impl fmt::Display for ExportCursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_text(&self.0, formatter)
    }
}

impl FromStr for ExportCursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        read_text(text).map(Self)
    }
}

impl Export {
    /// Only events whose subject begins with this.
    pub fn subject_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Only events of these types. Without a type, all are chosen.
    pub fn types(mut self, types: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.types = types.into_iter().map(Into::into).collect();
        self
    }

    /// Only events with this time or a later one, in whole milliseconds.
    pub fn since(mut self, time: DateTime<Utc>) -> Self {
        self.range.since = Some(time.timestamp_millis());
        self
    }

    /// Only events before this time, in whole milliseconds.
    pub fn until(mut self, time: DateTime<Utc>) -> Self {
        self.range.until = Some(time.timestamp_millis());
        self
    }

    /// Goes on where an earlier export of the same table stopped.
    pub fn after(mut self, cursor: ExportCursor) -> Self {
        self.after = Some(cursor);
        self
    }

    /// The pages, each of at most 1 MB and 4,096 rows. A page can be empty. The stream ends after an error;
    /// go on after the last cursor.
    pub fn stream(self) -> BoxStream<'static, Result<ExportPage, Error>> {
        stream::try_unfold(Pages::begin(self), |mut pages| async move {
            Ok(pages.next().await?.map(|page| (page, pages)))
        })
        .boxed()
    }

    fn chooses(&self, event: &Event) -> bool {
        (self.types.is_empty() || self.types.contains(&event.ty))
            && self.range.holds(Some(event.time.timestamp_millis()))
    }
}

/// A running export.
struct Pages {
    request: Export,
    /// Where the next page of the scan begins; `None` after the last one.
    next: Option<Option<SdkItem>>,
    /// Rows of the page that weren't looked at yet.
    waiting: VecDeque<SdkItem>,
    subject: Option<String>,
    numbering: Numbering,
    /// The rows of the subject were all passed on.
    is_done: bool,
    /// The rest of a subject that is read by itself.
    whole: Option<BoxStream<'static, Result<Row, Error>>>,
    last_key: Option<EventKey>,
}

impl Pages {
    fn begin(request: Export) -> Self {
        let after = request.after.clone().map(|cursor| cursor.0);
        let start = after.as_ref().map(|position| request.table.layout().key(&position.key));
        Self {
            next: Some(start),
            waiting: VecDeque::new(),
            subject: after.as_ref().map(|position| position.key.0.clone()),
            numbering: after.as_ref().map(|position| position.numbering).unwrap_or_default(),
            is_done: after.as_ref().is_some_and(|position| position.is_done),
            whole: None,
            last_key: after.map(|position| position.key),
            request,
        }
    }

    async fn next(&mut self) -> Result<Option<ExportPage>, Error> {
        let mut page = ExportPage::default();
        if self.waiting.is_empty() && self.whole.is_none() {
            let Some(start) = self.next.take() else { return Ok(None) };
            if start.is_none() {
                self.request.table.layout().check(&self.request.table).await?;
            }
            let scan = Scan { segment: Segment::WHOLE_TABLE, consistent: true, attributes: None };
            let read = self.request.table.begin().scan(&scan, start).await?;
            self.waiting = read.items.into();
            self.next = read.next.map(Some);
        }
        if self.whole.is_some() {
            self.read_whole(&mut page).await?;
            return Ok(Some(page));
        }
        let layout = self.request.table.layout();
        while let Some(item) = self.waiting.pop_front() {
            let is_event = matches!(items::kind(&item), ItemKind::Event | ItemKind::Foreign);
            let Some(key) = layout.event_key(&item).filter(|_| is_event) else { continue };
            if self.subject.as_ref() != Some(&key.0) {
                self.subject = Some(key.0.clone());
                self.numbering = Numbering::default();
                self.is_done = false;
                // The rows of the original library may have to be sorted.
                if revision_of_item(&item).is_none() && key.0.starts_with(&self.request.prefix) {
                    let table = self.request.table.clone();
                    self.whole = Some(FetchEvents::of_subject(table, key.0.clone()).rows());
                    self.is_done = true;
                    self.last_key = Some(key);
                    return Ok(Some(page));
                }
            }
            self.last_key = Some(key);
            if !self.is_done {
                self.add(decode(item).map_err(Box::new), &mut page);
            }
        }
        page.cursor = self.cursor();
        Ok(Some(page))
    }

    /// Passes on some rows of a subject that is read by itself.
    async fn read_whole(&mut self, page: &mut ExportPage) -> Result<(), Error> {
        let Some(mut rows) = self.whole.take() else { return Ok(()) };
        for _ in 0..EVENTS_PER_PAGE {
            let Some(row) = rows.try_next().await? else { return Ok(()) };
            self.add(row, page);
        }
        self.whole = Some(rows);
        Ok(())
    }

    fn add(&mut self, row: Row, page: &mut ExportPage) {
        let is_of_prefix =
            self.subject.as_ref().is_some_and(|subject| subject.starts_with(&self.request.prefix));
        let revision = revision_of(&row);
        match row {
            Ok(mut event) => {
                let (counted, problem) = self.numbering.next(revision);
                if problem.is_none() {
                    event.revision = Some(counted);
                }
                if is_of_prefix && self.request.chooses(&event) {
                    page.events.push(event);
                }
            }
            Err(invalid) => {
                self.numbering.pass(revision);
                if is_of_prefix {
                    page.invalid.push(*invalid);
                }
            }
        }
    }

    fn cursor(&self) -> Option<ExportCursor> {
        let key = self.last_key.clone()?;
        Some(ExportCursor(Position { key, numbering: self.numbering, is_done: self.is_done }))
    }
}
