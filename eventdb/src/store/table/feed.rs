//! The requests of a reader of the feed.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

pub(crate) use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::client::Waiters;
use aws_sdk_dynamodb::error::{BuildError, ProvideErrorMetadata};
use aws_sdk_dynamodb::operation::get_item::GetItemError;
use aws_sdk_dynamodb::operation::query::QueryError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType,
    ReturnConsumedCapacity, ScalarAttributeType,
};
use serde_dynamo::Item;

use crate::codec::feed::chunk::{self, END_ATTRIBUTES};
use crate::codec::feed::entry::FeedEntry;
use crate::schema::feed;
use crate::store::capacity::Kind;
use crate::store::error::{BoxError, Error};
use crate::store::failure::Transmission;
use crate::store::layout::EventKey;
use crate::store::mismatch::unexplained;
use crate::store::read::query::{number, string};
use crate::store::table::Table;

/// Most keys of one `BatchGetItem`.
const KEYS_PER_REQUEST: usize = 100;

/// A table without indexes takes some seconds on AWS.
const READY_WITHIN: Duration = Duration::from_secs(60);

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
        let output = self
            .repeat("Query", || {
                let request = self
                    .client
                    .query()
                    .table_name(&*self.name)
                    .key_condition_expression("#partition = :partition AND #offset >= :offset")
                    .expression_attribute_names("#partition", feed::PARTITION)
                    .expression_attribute_names("#offset", feed::OFFSET)
                    .expression_attribute_values(
                        ":partition",
                        string(chunk::partition_key(partition)),
                    )
                    .expression_attribute_values(":offset", number(from))
                    .consistent_read(true);
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
        let names = ["#partition", "#offset", "#length", "#tag"];
        let output = self
            .repeat("Query", || {
                let mut request = self
                    .client
                    .query()
                    .table_name(&*self.name)
                    .key_condition_expression("#partition = :partition")
                    .projection_expression(names.join(", "))
                    .expression_attribute_values(
                        ":partition",
                        string(chunk::partition_key(partition)),
                    )
                    .scan_index_forward(false)
                    .consistent_read(true)
                    .limit(1);
                for (alias, name) in names.into_iter().zip(END_ATTRIBUTES) {
                    request = request.expression_attribute_names(alias, name);
                }
                send!(self, "Query", Kind::Read, request, |output| output
                    .consumed_capacity
                    .as_slice())
            })
            .await?;
        Ok(output.items.unwrap_or_default().into_iter().next().map(item))
    }

    /// The key of the row of a listed event.
    pub(crate) fn key_of_entry(&self, entry: &FeedEntry) -> EventKey {
        self.layout.key_of_entry(entry)
    }

    /// The rows with these keys, at most 100 and in no order. Those that aren't there are left out.
    pub(crate) async fn rows(
        &self,
        keys: &BTreeSet<EventKey>,
        consistent: bool,
    ) -> Result<HashMap<EventKey, SdkItem>, Error> {
        debug_assert!(keys.len() <= KEYS_PER_REQUEST, "DynamoDB would refuse it");
        let layout = self.layout;
        let items = keys.iter().map(|key| layout.key(key)).collect();
        let rows = self.get_many(items, consistent).await?;
        Ok(rows.into_iter().filter_map(|row| Some((layout.event_key(&row)?, row))).collect())
    }

    /// Creates the feed's table, unless one of that name is there, and waits until it is ready.
    pub(crate) async fn create_feed(&self) -> Result<(), Error> {
        let (attributes, keys) = feed_keys().map_err(|error| self.refused(Box::new(error)))?;
        let request = self
            .client
            .create_table()
            .table_name(&*self.name)
            .billing_mode(BillingMode::PayPerRequest)
            .set_attribute_definitions(Some(attributes))
            .set_key_schema(Some(keys));
        self.create(&request).await?;
        let refused = |reason: BoxError| self.refused(reason);
        let waiter =
            self.client.wait_until_table_exists().table_name(&*self.name).wait(READY_WITHIN);
        let ready = tokio::time::timeout(READY_WITHIN, waiter)
            .await
            .map_err(|_| refused("the table isn't ready within a minute".into()))?
            .map_err(|error| refused(Box::new(error)))?;
        let table = ready.into_result().ok().and_then(|output| output.table);
        let keys = table.iter().flat_map(|table| table.key_schema());
        let keys: Vec<_> = keys.map(KeySchemaElement::attribute_name).collect();
        if keys != [feed::PARTITION, feed::OFFSET] {
            let expected = [feed::PARTITION, feed::OFFSET];
            return Err(refused(
                format!(
                    "a table with this name exists, but its keys are {keys:?}; they must be \
                     {expected:?}"
                )
                .into(),
            ));
        }
        Ok(())
    }
}

fn feed_keys() -> Result<(Vec<AttributeDefinition>, Vec<KeySchemaElement>), BuildError> {
    let keys = [
        (feed::PARTITION, ScalarAttributeType::S, KeyType::Hash),
        (feed::OFFSET, ScalarAttributeType::N, KeyType::Range),
    ];
    let attributes = keys.iter().map(|(name, ty, _)| {
        AttributeDefinition::builder().attribute_name(*name).attribute_type(ty.clone()).build()
    });
    let schema = keys.iter().map(|(name, _, kind)| {
        KeySchemaElement::builder().attribute_name(*name).key_type(kind.clone()).build()
    });
    Ok((attributes.collect::<Result<_, _>>()?, schema.collect::<Result<_, _>>()?))
}

/// Whether a request was refused because there is no such table or it has other keys than a feed's.
pub(crate) fn is_of_no_feed(error: &Error) -> bool {
    let Error::Refused { source, .. } = error else { return false };
    // Another table's keys are those of neither layout.
    let source = unexplained(source);
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
