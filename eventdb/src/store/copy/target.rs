//! The table that a copy or an import writes to.

use std::collections::BTreeSet;

use futures_util::{StreamExt, TryStreamExt, stream};

use crate::event::Event;
use crate::schema::attribute;
use crate::store::copy::CopyError;
use crate::store::error::Error;
use crate::store::layout::{EventKey, SdkItem};
use crate::store::read::{decode, with_contents_of};
use crate::store::table::Table;

/// Rows of one subject that are written at the same time.
const CONCURRENT_PUTS: usize = 4;

#[derive(Debug, Clone)]
pub(super) struct Target(pub(super) Table);

impl Target {
    /// Fails if the table has the other layout.
    pub(super) async fn check(&self) -> Result<(), Error> {
        self.0.layout().check(&self.0).await
    }

    /// Whether what is written can be published.
    pub(super) async fn has_stream(&self) -> Result<bool, Error> {
        let description = self.0.describe().await?;
        let stream = description.and_then(|table| table.stream_specification);
        Ok(stream.is_some_and(|stream| stream.stream_enabled))
    }

    /// Writes those of the events that aren't there yet, and returns how many.
    pub(super) async fn write(&self, subject: &str, events: &[Event]) -> Result<u64, CopyError> {
        if events.is_empty() {
            return Ok(0);
        }
        let layout = self.0.layout();
        let keys: BTreeSet<EventKey> =
            events.iter().map(|event| layout.key_of_event(event)).collect();
        let there = self.0.all_rows(keys, true).await?;
        let mut missing = Vec::new();
        for event in events {
            match there.get(&layout.key_of_event(event)) {
                Some(row) => self.compare(subject, event, row.clone())?,
                None => missing.push(event.clone()),
            }
        }
        self.put_all(&missing, false).await?;
        Ok(u64::try_from(missing.len()).unwrap_or(u64::MAX))
    }

    /// Writes events that aren't there, one after the other if their order counts.
    pub(super) async fn put_all(&self, events: &[Event], in_order: bool) -> Result<(), CopyError> {
        stream::iter(events.to_vec())
            .map(|event| {
                let this = self.clone();
                async move { this.put(&event).await }
            })
            .buffer_unordered(if in_order { 1 } else { CONCURRENT_PUTS })
            .try_collect()
            .await
    }

    async fn put(&self, event: &Event) -> Result<(), CopyError> {
        let layout = self.0.layout();
        let existing = self.0.put_if_absent(layout.encode(event), attribute::SUBJECT).await?;
        if let Some(row) = existing {
            // It was put by a request without an answer, or by somebody else.
            self.compare(&event.subject, event, row)?;
        }
        Ok(())
    }

    fn compare(&self, subject: &str, event: &Event, row: SdkItem) -> Result<(), CopyError> {
        match difference(event, row) {
            None => Ok(()),
            Some(problem) => Err(self.differs(subject, problem)),
        }
    }

    pub(super) fn differs(&self, subject: &str, problem: String) -> CopyError {
        let table = self.0.name().to_owned();
        CopyError::Differs { table, subject: subject.to_owned(), problem }
    }

    /// Writes where a subject ends, if the layout keeps that, and checks that it ends there.
    pub(super) async fn finish(&self, last: &Event) -> Result<u64, CopyError> {
        let layout = self.0.layout();
        let written = match layout.end_item(last) {
            Some(end) => self.put_same(&last.subject, end).await?,
            None => 0,
        };
        let end = layout.end_of_copy(&self.0, &last.subject).await?;
        match Some(end) == last.revision {
            true => Ok(written),
            false => Err(self.differs(&last.subject, format!("it goes to revision {end}"))),
        }
    }

    /// Lets a subject end at least at this event, if the layout keeps where subjects end.
    pub(super) async fn advance(&self, last: &Event) -> Result<(), CopyError> {
        match self.0.layout().advance_end(&self.0, last).await? {
            true => Ok(()),
            false => {
                let problem = "somebody else appends to it at this moment; repeat the import, and let \
                               nobody write meanwhile";
                Err(self.differs(&last.subject, problem.to_owned()))
            }
        }
    }

    /// Puts an item that nobody changes, and returns 0 if it is there already. What an earlier version
    /// has left out of it is added.
    pub(super) async fn put_same(&self, subject: &str, item: SdkItem) -> Result<u64, CopyError> {
        let key = self.0.layout().key_of(item.clone());
        let is_part = |there: &SdkItem| there.iter().all(|(name, of)| item.get(name) == Some(of));
        match self.0.get(key.clone()).await? {
            Some(there) if there == item => Ok(0),
            Some(there) if is_part(&there) => {
                let mut added = item;
                added.retain(|name, _| !there.contains_key(name));
                let problem = "somebody else changes it at this moment";
                match self.0.update_if(key, there, added, &[]).await? {
                    true => Ok(1),
                    false => Err(self.differs(subject, problem.to_owned())),
                }
            }
            Some(there) => Err(self.differs(subject, format!("the item {there:?}"))),
            None => {
                self.0.put_if_absent(item, attribute::SUBJECT).await?;
                Ok(1)
            }
        }
    }
}

/// What another row in the place of an event is; `None` if it is this event.
pub(super) fn difference(event: &Event, row: SdkItem) -> Option<String> {
    let revision = event.revision.unwrap_or_default();
    let is_erased = row.contains_key(attribute::ERASED);
    match decode(row) {
        Ok(stored) if stored == *event => None,
        Ok(stored) if is_erased && with_contents_of(event, &stored) == *event => None,
        Ok(stored) => Some(format!(
            "the event `{}` of revision {} is in the place of the event `{}` of revision {revision}",
            stored.id,
            stored.revision.unwrap_or_default(),
            event.id
        )),
        Err(invalid) => Some(invalid.to_string()),
    }
}
