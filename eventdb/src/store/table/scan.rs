//! Reading all items of a table, segment by segment.

use chrono::{DateTime, Utc};

use crate::store::capacity::Kind;
use crate::store::error::Error;
use crate::store::layout::SdkItem;
use crate::store::read::query::{Page, string};
use crate::store::table::{ROWS_PER_PAGE, ReturnConsumedCapacity, Table, Transmission};

/// A part of a table. DynamoDB assigns each partition key to one segment, so all rows of a subject are
/// in the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    /// From 0.
    pub(crate) index: u32,
    pub(crate) of: u32,
}

impl Segment {
    /// All rows are in this one.
    pub(crate) const WHOLE_TABLE: Self = Self { index: 0, of: 1 };
}

/// What a scan reads of each item of a segment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scan {
    pub(crate) segment: Segment,
    pub(crate) consistent: bool,
    /// Only these attributes; `None` for all.
    pub(crate) attributes: Option<&'static [&'static str]>,
}

/// Items that have an attribute, and whose partition key begins with a text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Marked<'name> {
    pub(crate) attribute: &'name str,
    pub(crate) partition_key: &'name str,
    pub(crate) prefix: &'name str,
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

    /// The next page of a scan, at most 1 MB. The rows of a subject follow each other, in the order of
    /// their sort keys.
    pub(crate) async fn scan(&self, scan: &Scan, after: Option<SdkItem>) -> Result<Page, Error> {
        let whole = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        let output = self
            .repeat("Scan", || {
                let mut request = self
                    .client
                    .scan()
                    .table_name(&*self.name)
                    .consistent_read(scan.consistent)
                    .limit(ROWS_PER_PAGE)
                    .set_exclusive_start_key(after.clone());
                // For each page of a segment, the embedded database reads and sorts the whole table.
                if scan.segment != Segment::WHOLE_TABLE {
                    request = request
                        .segment(whole(scan.segment.index))
                        .total_segments(whole(scan.segment.of));
                }
                if let Some(attributes) = scan.attributes {
                    let aliases = (0..attributes.len()).map(|index| format!("#a{index}"));
                    let aliases: Vec<_> = aliases.collect();
                    request = request.projection_expression(aliases.join(", "));
                    for (alias, name) in aliases.into_iter().zip(attributes) {
                        request = request.expression_attribute_names(alias, *name);
                    }
                }
                send!(self, "Scan", Kind::Read, request, |output| output
                    .consumed_capacity
                    .as_slice())
            })
            .await?;
        let next = output.last_evaluated_key.filter(|key| !key.is_empty());
        Ok(Page { items: output.items.unwrap_or_default(), next })
    }

    /// The next page of a consistent scan that returns these items only. All items are read for it.
    pub(crate) async fn scan_marked(
        &self,
        marked: Marked<'_>,
        after: Option<SdkItem>,
    ) -> Result<Page, Error> {
        let output = self
            .repeat("Scan", || {
                let request = self
                    .client
                    .scan()
                    .table_name(&*self.name)
                    .consistent_read(true)
                    .limit(ROWS_PER_PAGE)
                    .filter_expression("attribute_exists(#mark) AND begins_with(#key, :prefix)")
                    .expression_attribute_names("#mark", marked.attribute)
                    .expression_attribute_names("#key", marked.partition_key)
                    .expression_attribute_values(":prefix", string(marked.prefix))
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
