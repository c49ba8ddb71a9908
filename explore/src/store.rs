//! The store as the page reads it: every request is counted, so that its costs can be shown.

use std::collections::HashMap;

use eventdb::aws_sdk_dynamodb::Client;
use eventdb::aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use eventdb::aws_sdk_dynamodb::types::{
    AttributeValue, ConsumedCapacity, KeyType, ReturnConsumedCapacity, TableDescription,
};
use eventdb::internals::schema::attribute;
use eventdb::{CapacityMeter, EventDb, TableLayout};
use serde::Serialize;

use crate::problem::Problem;

/// The attributes of an item.
pub(crate) type Row = HashMap<String, AttributeValue>;

/// The tables of a store.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    pub(crate) client: Client,
    pub(crate) table: String,
    pub(crate) layout: TableLayout,
    /// The ARN of the table's stream.
    pub(crate) stream: Option<String>,
    /// How many items the table has, by DynamoDB's count of the last hours.
    pub(crate) items: Option<i64>,
    pub(crate) feed: Option<String>,
}

/// What an answer has consumed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Consumed {
    /// Requests to DynamoDB.
    pub(crate) requests: u64,
    pub(crate) read_units: f64,
    /// Rows that DynamoDB has read.
    pub(crate) rows: u64,
}

impl std::ops::AddAssign for Consumed {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.read_units += other.read_units;
        self.rows += other.rows;
    }
}

/// Rows of a query, and where it goes on.
#[derive(Debug, Default)]
pub(crate) struct Queried {
    pub(crate) rows: Vec<Row>,
    pub(crate) next: Option<Row>,
}

/// The store for one answer to the page.
#[derive(Debug)]
pub(crate) struct Reader<'store> {
    pub(crate) store: &'store Store,
    meter: CapacityMeter,
    own: Consumed,
}

impl Store {
    /// What DynamoDB says about a table of events.
    ///
    /// # Errors
    /// The keys of a table that isn't one.
    pub(crate) fn describe(
        client: Client,
        description: &TableDescription,
    ) -> Result<Self, Vec<String>> {
        let keys = description.key_schema();
        let of = |key_type: KeyType| {
            keys.iter().find(|key| key.key_type == key_type).map(|key| key.attribute_name())
        };
        let names: Vec<&str> = of(KeyType::Hash).into_iter().chain(of(KeyType::Range)).collect();
        let layout = match names[..] {
            [attribute::SUBJECT, attribute::TIME_TYPE] => TableLayout::ByTime,
            [attribute::SUBJECT, attribute::REVISION] => TableLayout::ByRevision,
            _ => return Err(names.into_iter().map(str::to_owned).collect()),
        };
        Ok(Self {
            client,
            table: description.table_name().unwrap_or_default().to_owned(),
            layout,
            stream: description.latest_stream_arn.clone(),
            items: description.item_count,
            feed: None,
        })
    }

    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader { store: self, meter: CapacityMeter::new(), own: Consumed::default() }
    }

    /// Whether its rows are sorted by revision.
    pub(crate) fn is_by_revision(&self) -> bool {
        self.layout == TableLayout::ByRevision
    }
}

impl Reader<'_> {
    /// The store, counted.
    pub(crate) fn db(&self) -> EventDb {
        let Store { client, table, layout, .. } = self.store;
        EventDb::new(client.clone(), table).with_layout(*layout).metered_by(&self.meter)
    }

    /// What was consumed so far.
    pub(crate) fn consumed(&self) -> Consumed {
        let through_store = self.meter.total();
        let mut consumed = self.own;
        consumed.requests += through_store.requests;
        consumed.read_units += through_store.read_units;
        consumed
    }

    /// Counts rows that were read through [`db`](Self::db).
    pub(crate) fn count_rows(&mut self, rows: usize) {
        self.own.rows += u64::try_from(rows).unwrap_or(u64::MAX);
    }

    fn count(&mut self, rows: i32, capacity: Option<&ConsumedCapacity>) {
        self.own.requests += 1;
        self.own.rows += u64::try_from(rows).unwrap_or_default();
        self.own.read_units += capacity.and_then(|part| part.capacity_units).unwrap_or_default();
    }

    /// Sends several queries at the same time.
    pub(crate) async fn queries(
        &mut self,
        queries: Vec<QueryFluentBuilder>,
    ) -> Result<Vec<Queried>, Problem> {
        let sent = queries
            .into_iter()
            .map(|query| query.return_consumed_capacity(ReturnConsumedCapacity::Total).send());
        let mut all = Vec::new();
        for answer in futures_util::future::join_all(sent).await {
            let answer = answer.map_err(|error| Problem::of("the table can't be read", &error))?;
            self.count(answer.scanned_count, answer.consumed_capacity.as_ref());
            all.push(Queried {
                rows: answer.items.unwrap_or_default(),
                next: answer.last_evaluated_key,
            });
        }
        Ok(all)
    }

    /// Sends a query.
    pub(crate) async fn query(&mut self, query: QueryFluentBuilder) -> Result<Queried, Problem> {
        Ok(self.queries(vec![query]).await?.pop().unwrap_or_default())
    }

    /// A query of the table of events.
    pub(crate) fn of_events(&self) -> QueryFluentBuilder {
        self.store.client.query().table_name(&self.store.table)
    }

    /// Reads one item; `None` if there is none.
    pub(crate) async fn item(&mut self, table: &str, key: Row) -> Result<Option<Row>, Problem> {
        let answer = self
            .store
            .client
            .get_item()
            .table_name(table)
            .set_key(Some(key))
            .consistent_read(true)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await
            .map_err(|error| Problem::of("the row can't be read", &error))?;
        self.count(1, answer.consumed_capacity.as_ref());
        Ok(answer.item)
    }
}

/// The text of an attribute, if it is text.
pub(crate) fn text<'row>(row: &'row Row, name: &str) -> Option<&'row str> {
    row.get(name)?.as_s().ok().map(String::as_str)
}

/// The number of an attribute, if it is one of this type.
pub(crate) fn number<T: std::str::FromStr>(row: &Row, name: &str) -> Option<T> {
    row.get(name)?.as_n().ok()?.parse().ok()
}

/// An item in DynamoDB's JSON, with the types of its values.
pub(crate) fn dynamodb_json(row: Row) -> serde_json::Value {
    serde_json::to_value(serde_dynamo::Item::from(row)).unwrap_or_default()
}
