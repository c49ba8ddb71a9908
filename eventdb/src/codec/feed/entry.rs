//! [`FeedEntry`]: the name of an event in the feed.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::codec::item;
use crate::event::Event;

/// An event as the feed lists it. It contains what is needed to find the event and to choose it, but
/// not its data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FeedEntry {
    /// The event's subject.
    pub subject: String,
    /// The event's revision; `None` on a legacy row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// The event's type.
    #[serde(rename = "type")]
    pub ty: String,
    /// The event's id.
    pub id: String,
    /// The event's time, in whole milliseconds.
    #[serde(with = "chrono::serde::ts_milliseconds")]
    pub time: DateTime<Utc>,
    /// The row's sort key in a table by time, if it isn't made from `time` and `ty` in the usual way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    time_type: Option<String>,
    /// Why the event is in the feed.
    #[serde(default, skip_serializing_if = "Listing::is_published")]
    pub listing: Listing,
}

/// Why an event is in the feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Listing {
    /// The topic has accepted it.
    #[default]
    Published,
    /// It was listed without being published, because it was stored before the feed was created or
    /// was imported.
    Adopted,
}

impl Listing {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    fn is_published(&self) -> bool {
        *self == Self::Published
    }
}

impl FeedEntry {
    /// The entry of an event. `time_type` is the row's sort key in a table by time, and `None` in a
    /// table by revision.
    pub fn new(event: &Event, time_type: Option<&str>, listing: Listing) -> Self {
        let Event { subject, revision, ty, id, time, .. } = event;
        Self {
            subject: subject.clone(),
            revision: *revision,
            ty: ty.clone(),
            id: id.clone(),
            time: *time,
            time_type: None,
            listing,
        }
        .stored_at(time_type)
    }

    /// The same entry for a row with this sort key in a table by time.
    fn stored_at(self, time_type: Option<&str>) -> Self {
        let usual = item::time_type(self.time, &self.ty);
        let time_type = time_type.filter(|key| *key != usual).map(str::to_owned);
        Self { time_type, ..self }
    }

    /// The entry of an event of which only these attributes are known, as in an index.
    #[cfg(feature = "dynamodb")]
    pub(crate) fn of_attributes(
        (subject, revision): (String, Option<u64>),
        (ty, id): (String, String),
        time: DateTime<Utc>,
        time_type: Option<&str>,
    ) -> Self {
        let listing = Listing::Published;
        Self { subject, revision, ty, id, time, time_type: None, listing }.stored_at(time_type)
    }

    /// The row's sort key in a table by time.
    pub fn sort_key_by_time(&self) -> String {
        self.time_type.clone().unwrap_or_else(|| item::time_type(self.time, &self.ty))
    }

    /// What distinguishes the event from all others in the feed.
    pub fn key(&self) -> EntryKey {
        let place = self.revision.map_or_else(|| Err(self.sort_key_by_time()), Ok);
        EntryKey { subject: self.subject.clone(), place, id: self.id.clone() }
    }
}

/// What identifies an event in the feed: its subject, its place in it, and its id. Another event can
/// be in the same place after the table was restored.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryKey {
    subject: String,
    /// The revision or, on a legacy row, the sort key.
    place: Result<u64, String>,
    id: String,
}
