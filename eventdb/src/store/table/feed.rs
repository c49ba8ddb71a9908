//! The requests of a reader of the feed.

use std::collections::HashMap;

pub(crate) use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::operation::get_item::GetItemError;
use aws_sdk_dynamodb::operation::query::QueryError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity, ScalarAttributeType};
use serde_dynamo::Item;

use crate::codec::feed::chunk::{self, END_ATTRIBUTES};
use crate::schema::feed;
use crate::store::capacity::Kind;
use crate::store::create_table::TableParts;
use crate::store::error::Error;
use crate::store::failure::Transmission;
use crate::store::read::query::{number, string};
use crate::store::table::{ROWS_PER_PAGE, Table};

type SdkItem = HashMap<String, AttributeValue>;

/// What a read of a partition has found.
pub(crate) struct FeedItems {
    pub(crate) items: Vec<Item>,
    /// Whether nothing followed when they were read.
    pub(crate) is_end: bool,
}

impl Table {
    /// The header of the feed, strongly consistent.
    pub(crate) async fn feed_header(&self) -> Result<Option<Item>, Error> {
        let header = self.get(chunk::header_key().into()).await?;
        Ok(header.map(item))
    }

    /// The chunks of a partition from this offset on, strongly consistent: at most 1 MB.
    pub(crate) async fn feed_chunks(&self, partition: u32, from: u64) -> Result<FeedItems, Error> {
        self.feed_items(&chunk::partition_key(partition), from).await
    }

    /// The items with this partition key from this sort key on, strongly consistent: at most 1 MB.
    pub(crate) async fn feed_items(&self, partition: &str, from: u64) -> Result<FeedItems, Error> {
        let output = self
            .repeat("Query", || {
                let request = self
                    .client
                    .query()
                    .table_name(&*self.name)
                    .key_condition_expression("#partition = :partition AND #offset >= :offset")
                    .expression_attribute_names("#partition", feed::PARTITION)
                    .expression_attribute_names("#offset", feed::OFFSET)
                    .expression_attribute_values(":partition", string(partition))
                    .expression_attribute_values(":offset", number(from))
                    .consistent_read(true)
                    .limit(ROWS_PER_PAGE);
                send!(self, "Query", Kind::Read, request, |output| output
                    .consumed_capacity
                    .as_slice())
            })
            .await?;
        let is_end = output.last_evaluated_key.is_none_or(|key| key.is_empty());
        let items = output.items.unwrap_or_default().into_iter().map(item).collect();
        Ok(FeedItems { items, is_end })
    }

    /// The last chunk of a partition without its entries, strongly consistent.
    pub(crate) async fn feed_end(&self, partition: u32) -> Result<Option<Item>, Error> {
        self.feed_last(&chunk::partition_key(partition)).await
    }

    /// The last item with this partition key, without a chunk's entries, strongly consistent.
    pub(crate) async fn feed_last(&self, partition: &str) -> Result<Option<Item>, Error> {
        self.feed_extent(partition, None).await
    }

    /// The first chunk of a partition from this offset on, without its entries, strongly consistent.
    pub(crate) async fn feed_first_from(
        &self,
        partition: u32,
        from: u64,
    ) -> Result<Option<Item>, Error> {
        self.feed_extent(&chunk::partition_key(partition), Some(from)).await
    }

    /// Without the entries: the first item from a sort key on, or the last one.
    async fn feed_extent(&self, partition: &str, from: Option<u64>) -> Result<Option<Item>, Error> {
        let names = ["#partition", "#offset", "#length", "#tag", "#listed_at"];
        let output = self
            .repeat("Query", || {
                let mut request = self
                    .client
                    .query()
                    .table_name(&*self.name)
                    .key_condition_expression(match from {
                        Some(_) => "#partition = :partition AND #offset >= :offset",
                        None => "#partition = :partition",
                    })
                    .projection_expression(names.join(", "))
                    .expression_attribute_values(":partition", string(partition))
                    .scan_index_forward(from.is_some())
                    .consistent_read(true)
                    .limit(1);
                if let Some(from) = from {
                    request = request.expression_attribute_values(":offset", number(from));
                }
                let attributes = END_ATTRIBUTES.into_iter().chain([feed::LISTED_AT]);
                for (alias, name) in names.into_iter().zip(attributes) {
                    request = request.expression_attribute_names(alias, name);
                }
                send!(self, "Query", Kind::Read, request, |output| output
                    .consumed_capacity
                    .as_slice())
            })
            .await?;
        Ok(output.items.unwrap_or_default().into_iter().next().map(item))
    }

    /// Puts an item if no item has its key; otherwise it returns the item that has it.
    pub(crate) async fn put_in_feed(&self, new: Item) -> Result<Option<Item>, Error> {
        let existing = self.put_if_absent(new.into(), feed::PARTITION).await?;
        Ok(existing.map(item))
    }

    /// Creates the feed's table, unless one of that name is there, and waits until it is ready.
    pub(crate) async fn create_feed(&self) -> Result<(), Error> {
        let keys = [feed::PARTITION, feed::OFFSET];
        let parts = TableParts {
            attributes: keys
                .into_iter()
                .zip([ScalarAttributeType::S, ScalarAttributeType::N])
                .collect(),
            keys,
            has_stream: false,
            global_indexes: Vec::new(),
            local_indexes: Vec::new(),
        };
        parts.create(self).await
    }
}

/// Whether a request was refused because there is no such table or it has other keys than a feed's.
pub(crate) fn is_of_no_feed(error: &Error) -> bool {
    let Error::Refused { source, .. } = error else { return false };
    let code = match source.downcast_ref::<QueryError>() {
        Some(error) => error.code(),
        None => source.downcast_ref::<GetItemError>().and_then(ProvideErrorMetadata::code),
    };
    matches!(code, Some("ResourceNotFoundException" | "ValidationException"))
}

/// An item of the feed. Only its texts and numbers are kept: the feed has no others.
fn item(item: SdkItem) -> Item {
    let known = |value: &AttributeValue| value.is_s() || value.is_n();
    item.into_iter().filter(|(_, value)| known(value)).collect::<SdkItem>().into()
}
