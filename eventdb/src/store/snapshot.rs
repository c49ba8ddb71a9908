//! Snapshots: saved states of aggregates. Where they are stored is a matter of the layout.

use crate::schema::attribute;
use crate::store::layout::SdkItem;
use crate::store::read::query::{number, string};

/// A state, and the last event that it includes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) revision: u64,
    /// Milliseconds.
    pub(crate) last_time: i64,
    pub(crate) last_id: String,
    /// Of the state's schema.
    pub(crate) version: u32,
    /// JSON.
    pub(crate) state: String,
}

impl Snapshot {
    /// The snapshot of an item; `None` if it isn't one, or is that of another aggregate. `revision` is
    /// the name of the attribute that holds the revision.
    pub(crate) fn read(item: &SdkItem, aggregate: &str, revision: &str) -> Option<Self> {
        let number = |name: &str| item.get(name)?.as_n().ok()?.parse::<u64>().ok();
        let text = |name: &str| item.get(name)?.as_s().ok().cloned();
        if text(attribute::AGGREGATE).is_some_and(|name| name != aggregate) {
            return None;
        }
        Some(Self {
            revision: number(revision)?,
            last_time: i64::try_from(number(attribute::LAST_TIME)?).ok()?,
            last_id: text(attribute::LAST_ID)?,
            version: u32::try_from(number(attribute::STATE_VERSION)?).ok()?,
            state: text(attribute::STATE)?,
        })
    }

    /// Its attributes. `revision` is the name of the one that holds the revision.
    pub(crate) fn attributes(self, revision: &str) -> SdkItem {
        SdkItem::from([
            (revision.to_owned(), number(self.revision)),
            (attribute::LAST_TIME.to_owned(), number(self.last_time)),
            (attribute::LAST_ID.to_owned(), string(self.last_id)),
            (attribute::STATE_VERSION.to_owned(), number(self.version)),
            (attribute::STATE.to_owned(), string(self.state)),
        ])
    }
}
