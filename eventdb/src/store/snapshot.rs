//! The snapshot items of a subject: states that were folded already.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity};

use crate::schema::{self, attribute};
use crate::store::EventDb;
use crate::store::capacity::Kind;
use crate::store::error::Error;
use crate::store::head::SdkItem;
use crate::store::read::query::{number, string};

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

impl EventDb {
    /// The snapshot of a subject, if there is one that looks like one. It may be an older one, for
    /// the read is eventually consistent: that is half the price, and the events after it are read
    /// anyway.
    pub(crate) async fn snapshot(
        &self,
        subject: &str,
        aggregate: &str,
    ) -> Result<Option<Snapshot>, Error> {
        let request = self
            .client
            .get_item()
            .table_name(&*self.table)
            .set_key(Some(key(subject, aggregate)))
            .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
            .send();
        let output = self
            .send("GetItem", Kind::Read, request, |output| output.consumed_capacity.as_slice())
            .await
            .map_err(|failure| self.read_error(failure))?;
        Ok(output.item.as_ref().and_then(read))
    }

    /// Writes the snapshot, whatever was there. An older one that overtakes a newer one costs the
    /// next readers some events more, and is replaced in turn.
    pub(crate) async fn put_snapshot(
        &self,
        subject: &str,
        aggregate: &str,
        snapshot: Snapshot,
    ) -> Result<(), Error> {
        let values = [
            (attribute::REVISION, ":revision", number(snapshot.revision)),
            (attribute::LAST_TIME, ":last_time", number(snapshot.last_time)),
            (attribute::LAST_ID, ":last_id", string(snapshot.last_id)),
            (attribute::STATE_VERSION, ":version", number(snapshot.version)),
            (attribute::STATE, ":state", string(snapshot.state)),
        ];
        let mut names = HashMap::new();
        let mut given = HashMap::<String, AttributeValue>::new();
        let mut assignments = Vec::new();
        for (name, placeholder, value) in values {
            let alias = placeholder.replace(':', "#");
            assignments.push(format!("{alias} = {placeholder}"));
            names.insert(alias, name.to_owned());
            given.insert(placeholder.to_owned(), value);
        }
        let request = self
            .client
            .update_item()
            .table_name(&*self.table)
            .set_key(Some(key(subject, aggregate)))
            .update_expression(format!("SET {}", assignments.join(", ")))
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values(Some(given))
            .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
            .send();
        self.send("UpdateItem", Kind::Write, request, |output| output.consumed_capacity.as_slice())
            .await
            .map(|_| ())
            .map_err(|failure| self.read_error(failure))
    }
}
