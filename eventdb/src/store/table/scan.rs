//! Reading all items of a table, segment by segment.

use chrono::{DateTime, Utc};

use crate::store::capacity::Kind;
use crate::store::error::Error;
use crate::store::layout::SdkItem;
use crate::store::read::query::Page;
use crate::store::table::{ReturnConsumedCapacity, Table, Transmission};

/// A part of a table. DynamoDB assigns each partition key to one segment, so all rows of a subject are
/// in the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    /// From 0.
    pub(crate) index: u32,
    pub(crate) of: u32,
}

/// What DynamoDB says of a table's age and size.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Extent {
    /// When it was created or, if it was restored, when that was.
    pub(crate) created: Option<DateTime<Utc>>,
    /// How many items it has, as counted in the last six hours.
    pub(crate) items: u64,
}

impl Table {
    pub(crate) async fn extent(&self) -> Result<Extent, Error> {
        let Some(table) = self.describe().await? else { return Ok(Extent::default()) };
        let created = table
            .creation_date_time
            .and_then(|time| DateTime::from_timestamp(time.secs(), time.subsec_nanos()));
        let items = table.item_count.and_then(|items| u64::try_from(items).ok());
        Ok(Extent { created, items: items.unwrap_or_default() })
    }

    /// The next page of a segment, eventually consistent, at most 1 MB. The rows of a subject follow
    /// each other, in the order of their sort keys.
    pub(crate) async fn scan(
        &self,
        segment: Segment,
        after: Option<SdkItem>,
    ) -> Result<Page, Error> {
        let whole = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        let output = self
            .repeat("Scan", || {
                let request = self
                    .client
                    .scan()
                    .table_name(&*self.name)
                    .segment(whole(segment.index))
                    .total_segments(whole(segment.of))
                    .set_exclusive_start_key(after.clone());
                send!(self, "Scan", Kind::Read, request, |output| output
                    .consumed_capacity
                    .as_slice())
            })
            .await?;
        let next = output.last_evaluated_key.filter(|key| !key.is_empty());
        Ok(Page { items: output.items.unwrap_or_default(), next })
    }
}
