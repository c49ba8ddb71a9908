//! Reading the missing events of a projection from the store.

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::codec::item::InvalidItem;
use crate::event::BoxError;
use crate::schema::attribute;
use crate::store::EventDb;
use crate::store::read::fetch_events::{FetchEvents, Row};
use crate::subscribe::event_reader::{EventReader, SubjectRow, SubjectRows};
use crate::subscribe::read_model::Position;

impl EventReader for EventDb {
    fn read_subject<'a>(
        &'a self,
        subject: &'a str,
        after: &'a Position,
        until: Option<DateTime<Utc>>,
    ) -> Option<SubjectRows<'a>> {
        let mut request = self.fetch_events_for_subject(subject);
        // Times that don't order a subject's events can't end its read.
        if let Some(time) = until.filter(|_| !self.table().layout().sorts_by_revision()) {
            request = request.until(time + TimeDelta::milliseconds(1));
        }
        if after.revision == 0 {
            return Some(counted(request, Places::default()));
        }
        let tail = request.clone().beginning_at(after.revision, after.time);
        let rows = async move {
            // The place of a row without a revision is known only if the history was read from its
            // first row.
            let mut rows = tail.rows();
            let first = rows.try_next().await?;
            let is_numbered = first.as_ref().is_none_or(|row| revision(row).is_some());
            if !is_numbered {
                return Ok(counted(request, Places::default()));
            }
            let places = Places { last: 0, behind_numbered: true };
            let rows = stream::iter(first.map(Ok)).chain(rows);
            Ok::<_, crate::Error>(numbered(rows.boxed(), places))
        };
        Some(stream::once(rows).map_err(BoxError::from).try_flatten().boxed())
    }
}

/// Counts the rows of a history in the same way as the store does when it adopts legacy events.
#[derive(Debug, Default)]
struct Places {
    /// The revision of the last row.
    last: u64,
    /// Whether a row with a revision was read. Later rows without one aren't counted.
    behind_numbered: bool,
}

impl Places {
    /// The row as it counts.
    fn place(&mut self, row: Row) -> Option<SubjectRow> {
        let revision = match revision(&row) {
            Some(revision) => {
                self.behind_numbered = true;
                Some(revision)
            }
            None if self.behind_numbered => None,
            None => Some(self.last + 1),
        };
        self.last = revision.unwrap_or(self.last);
        match row {
            Ok(mut event) => {
                event.revision = Some(revision?);
                Some(SubjectRow::Event(event))
            }
            Err(invalid) => Some(SubjectRow::Invalid(invalid)),
        }
    }
}

fn counted<'a>(request: FetchEvents, places: Places) -> SubjectRows<'a> {
    numbered(request.rows(), places)
}

fn numbered<'a>(
    rows: stream::BoxStream<'static, Result<Row, crate::Error>>,
    mut places: Places,
) -> SubjectRows<'a> {
    rows.try_filter_map(move |row| std::future::ready(Ok(places.place(row))))
        .map_err(BoxError::from)
        .boxed()
}

/// The revision of a row, even if the row can't be read as an event.
fn revision(row: &Row) -> Option<u64> {
    match row {
        Ok(event) => event.revision,
        Err(invalid) => stored_revision(invalid),
    }
}

fn stored_revision(row: &InvalidItem) -> Option<u64> {
    match row.item.get(attribute::REVISION) {
        Some(serde_dynamo::AttributeValue::N(number)) => number.parse().ok(),
        _ => None,
    }
}
