//! The positions of read models in a table of DynamoDB.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, KeyType};
use eventdb::futures_util::stream::BoxStream;
use eventdb::{CapacityMeter, DynamoDbReadModel, Error, PositionTable, StoredPosition};

use crate::failure::Failure;

/// How the key of a position begins.
const POSITION: &str = "$position/";

/// A table with the positions of read models.
#[derive(Debug, Clone)]
pub struct Positions {
    dynamodb: Client,
    table: String,
    partition_key: String,
    sort_key: Option<String>,
}

impl Positions {
    /// Describes the table, which tells the names of its keys.
    ///
    /// # Errors
    /// If it can't be described.
    pub async fn open(dynamodb: Client, table: &str) -> Result<Self, Failure> {
        let described = dynamodb.describe_table().table_name(table).send().await;
        let described = described.map_err(|error| {
            Failure::of(format!("the table `{table}` can't be described"), &error)
        })?;
        let keys = described.table.and_then(|table| table.key_schema).unwrap_or_default();
        let of = |key_type: KeyType| {
            let key = keys.iter().find(|key| key.key_type == key_type);
            key.map(|key| key.attribute_name().to_owned())
        };
        let lacks = || Failure::new(format!("the table `{table}` has no partition key"));
        Ok(Self {
            dynamodb,
            table: table.to_owned(),
            partition_key: of(KeyType::Hash).ok_or_else(lacks)?,
            sort_key: of(KeyType::Range),
        })
    }

    /// The names of the read models that have positions here. It reads the whole table.
    ///
    /// # Errors
    /// If it can't be read.
    pub async fn read_models(&self) -> Result<BTreeSet<String>, Failure> {
        let scan = self
            .dynamodb
            .scan()
            .table_name(&self.table)
            .projection_expression("#key")
            .filter_expression("begins_with(#key, :position)")
            .expression_attribute_names("#key", &self.partition_key)
            .expression_attribute_values(":position", AttributeValue::S(POSITION.to_owned()));
        let mut rows = scan.into_paginator().items().send();
        let mut names = BTreeSet::new();
        while let Some(row) = rows.next().await {
            let row = row.map_err(|error| {
                let table = &self.table;
                Failure::of(format!("the positions in the table `{table}` can't be read"), &error)
            })?;
            let key = row.get(&self.partition_key).and_then(|key| key.as_s().ok());
            let name = key.and_then(|key| key.strip_prefix(POSITION)?.split_once('/'));
            names.extend(name.map(|(name, _)| name.replace("%2F", "/").replace("%25", "%")));
        }
        Ok(names)
    }

    /// All positions in the table. Reading them counts on the meter.
    pub fn stored(
        &self,
        meter: &CapacityMeter,
    ) -> BoxStream<'static, Result<StoredPosition, Error>> {
        // Whose positions they are, the table says.
        self.read_model("").metered_by(meter).stored_positions()
    }

    /// A read model, to read its positions only.
    pub fn read_model(&self, name: &str) -> DynamoDbReadModel {
        let positions = PositionTable {
            table: self.table.clone(),
            partition_key: self.partition_key.clone(),
            sort_key: self.sort_key.clone(),
            read_model: name.to_owned(),
        };
        DynamoDbReadModel::new(self.dynamodb.clone(), positions, |_| Ok(vec![]))
    }
}
