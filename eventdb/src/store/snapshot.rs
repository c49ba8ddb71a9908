//! The snapshot items of a subject: saved states of aggregates.

use std::collections::HashMap;

use crate::schema::{self, attribute};
use crate::store::error::Error;
use crate::store::head::SdkItem;
use crate::store::read::query::{number, string};
use crate::store::table::Table;

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

/// It has the partition key of the subject's head, so the permission to write the head includes it.
/// It has no index attributes, so it isn't in any index and is never published.
fn key(subject: &str, aggregate: &str) -> SdkItem {
    let partition = format!("{}{subject}", schema::HEAD_PREFIX);
    let sort = format!("{}{aggregate}", schema::SNAPSHOT_SORT_KEY_PREFIX);
    HashMap::from([
        (attribute::SUBJECT.to_owned(), string(partition)),
        (attribute::TIME_TYPE.to_owned(), string(sort)),
    ])
}

fn read(item: &SdkItem) -> Option<Snapshot> {
    let number = |name: &str| item.get(name)?.as_n().ok()?.parse::<u64>().ok();
    let text = |name: &str| item.get(name)?.as_s().ok().cloned();
    Some(Snapshot {
        revision: number(attribute::REVISION)?,
        last_time: i64::try_from(number(attribute::LAST_TIME)?).ok()?,
        last_id: text(attribute::LAST_ID)?,
        version: u32::try_from(number(attribute::STATE_VERSION)?).ok()?,
        state: text(attribute::STATE)?,
    })
}

impl Table {
    /// The snapshot of a subject, if there is a readable one. The read is eventually consistent, so
    /// it may return an older snapshot. It costs half as much, and the events after the snapshot are
    /// read anyway.
    pub(crate) async fn snapshot(
        &self,
        subject: &str,
        aggregate: &str,
    ) -> Result<Option<Snapshot>, Error> {
        let item = self.get_eventually(key(subject, aggregate)).await?;
        Ok(item.as_ref().and_then(read))
    }

    /// Writes the snapshot without a condition. If it replaces a newer one, the next readers read
    /// a few more events, and a later snapshot replaces it.
    pub(crate) async fn put_snapshot(
        &self,
        subject: &str,
        aggregate: &str,
        snapshot: Snapshot,
    ) -> Result<(), Error> {
        let values = HashMap::from([
            (attribute::REVISION.to_owned(), number(snapshot.revision)),
            (attribute::LAST_TIME.to_owned(), number(snapshot.last_time)),
            (attribute::LAST_ID.to_owned(), string(snapshot.last_id)),
            (attribute::STATE_VERSION.to_owned(), number(snapshot.version)),
            (attribute::STATE.to_owned(), string(snapshot.state)),
        ]);
        self.set(key(subject, aggregate), values).await
    }
}
