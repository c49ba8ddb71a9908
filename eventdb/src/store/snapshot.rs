//! The snapshot items of a subject: states that were folded already.

use std::collections::HashMap;

use crate::schema::{self, attribute};
use crate::store::error::Error;
use crate::store::head::SdkItem;
use crate::store::read::query::{number, string};
use crate::store::table::Table;

/// A state, and the event up to which it was folded.
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

/// It lies beside the subject's head, so whoever may move the head may write it. It has no
/// attribute of an index, so no index holds it and it is never published.
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
    /// The snapshot of a subject, if there is one that looks like one. It may be an older one, for
    /// the read is eventually consistent: that is half the price, and the events after it are read
    /// anyway.
    pub(crate) async fn snapshot(
        &self,
        subject: &str,
        aggregate: &str,
    ) -> Result<Option<Snapshot>, Error> {
        let item = self.get_eventually(key(subject, aggregate)).await?;
        Ok(item.as_ref().and_then(read))
    }

    /// Writes the snapshot, whatever was there. An older one that overtakes a newer one costs the
    /// next readers some events more, and is replaced in turn.
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
