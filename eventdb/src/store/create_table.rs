//! Creating a table for local work and tests. The CDK construct deploys tables for production.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::client::Waiters;
use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType,
    LocalSecondaryIndex, Projection, ProjectionType, ScalarAttributeType, StreamSpecification,
    StreamViewType, TableDescription,
};

use crate::schema::{attribute, index};
use crate::store::EventDb;
use crate::store::error::{BoxError, Error};
use crate::store::table::Table;

/// A table of a few indexes takes some ten seconds on AWS.
const READY_WITHIN: Duration = Duration::from_secs(60);

impl EventDb {
    /// Creates the table with its indexes and its stream, and waits until it is ready.
    ///
    /// Use it for local work and tests. For production, the CDK construct `EventDB` deploys the table
    /// with backups and deletion protection. If a table with this name exists, it isn't changed.
    ///
    /// # Errors
    /// [`Error::Refused`] if the database refuses the request, if the table isn't ready within a
    /// minute, or if a table with this name has other keys or indexes. [`Error::Unavailable`].
    ///
    /// ```no_run
    /// # async fn example(client: eventdb::aws_sdk_dynamodb::Client) -> Result<(), eventdb::Error> {
    /// eventdb::EventDb::create_table(&client, "TestEvents").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create_table(client: &Client, name: impl Into<String>) -> Result<(), Error> {
        let name = name.into();
        let refused = |source: BoxError| Error::Refused { table: name.clone(), source };
        let parts = parts().map_err(|error| refused(Box::new(error)))?;
        let table = Table::new(client.clone(), &*name);
        let request = client
            .create_table()
            .table_name(&name)
            .billing_mode(BillingMode::PayPerRequest)
            .set_attribute_definitions(Some(parts.attributes))
            .set_key_schema(Some(parts.keys))
            .set_global_secondary_indexes(Some(parts.global_indexes))
            .set_local_secondary_indexes(Some(parts.local_indexes))
            .stream_specification(parts.stream);
        table.create(&request).await?;
        let waiter = client.wait_until_table_exists().table_name(&name).wait(READY_WITHIN);
        let ready = tokio::time::timeout(READY_WITHIN, waiter)
            .await
            .map_err(|_| refused("the table isn't ready within a minute".into()))?
            .map_err(|error| refused(Box::new(error)))?;
        let table = ready.into_result().ok().and_then(|output| output.table);
        check(&table.unwrap_or_else(|| TableDescription::builder().build()))
            .map_err(|problem| refused(problem.into()))
    }
}

struct Parts {
    attributes: Vec<AttributeDefinition>,
    keys: Vec<KeySchemaElement>,
    global_indexes: Vec<GlobalSecondaryIndex>,
    local_indexes: Vec<LocalSecondaryIndex>,
    stream: StreamSpecification,
}

fn parts() -> Result<Parts, BuildError> {
    use ScalarAttributeType::{N, S};
    let attributes = [
        (attribute::SUBJECT, S),
        (attribute::TIME_TYPE, S),
        (attribute::ID, S),
        (attribute::TYPE, S),
        (attribute::TIME, N),
        (attribute::PK_ALL, S),
    ];
    let attributes = attributes
        .into_iter()
        .map(|(name, ty)| {
            AttributeDefinition::builder().attribute_name(name).attribute_type(ty).build()
        })
        .collect::<Result<_, _>>()?;
    let projection = |kind| Projection::builder().projection_type(kind).build();
    Ok(Parts {
        attributes,
        keys: keys(&[attribute::SUBJECT, attribute::TIME_TYPE])?,
        global_indexes: vec![
            GlobalSecondaryIndex::builder()
                .index_name(index::ALL_EVENTS_BY_TIME)
                .set_key_schema(Some(keys(&[attribute::PK_ALL, attribute::TIME])?))
                .projection(projection(ProjectionType::All))
                .build()?,
            GlobalSecondaryIndex::builder()
                .index_name(index::ALL_EVENTS_BY_ID)
                .set_key_schema(Some(keys(&[attribute::ID])?))
                .projection(projection(ProjectionType::KeysOnly))
                .build()?,
        ],
        local_indexes: vec![
            LocalSecondaryIndex::builder()
                .index_name(index::SUBJECT_EVENTS_BY_TYPE)
                .set_key_schema(Some(keys(&[attribute::SUBJECT, attribute::TYPE])?))
                .projection(projection(ProjectionType::KeysOnly))
                .build()?,
        ],
        stream: StreamSpecification::builder()
            .stream_enabled(true)
            .stream_view_type(StreamViewType::NewImage)
            .build()?,
    })
}

/// The partition key, then the sort key if there is one.
fn keys(names: &[&str]) -> Result<Vec<KeySchemaElement>, BuildError> {
    names
        .iter()
        .zip([KeyType::Hash, KeyType::Range])
        .map(|(name, ty)| KeySchemaElement::builder().attribute_name(*name).key_type(ty).build())
        .collect()
}

/// Checks whether the table, which may have existed before, can hold events.
fn check(table: &TableDescription) -> Result<(), String> {
    let keys: Vec<_> = table.key_schema().iter().map(KeySchemaElement::attribute_name).collect();
    if keys != [attribute::SUBJECT, attribute::TIME_TYPE] {
        return Err(format!(
            "a table with this name exists, but its keys are {keys:?}; they must be {:?}",
            [attribute::SUBJECT, attribute::TIME_TYPE]
        ));
    }
    let global = table.global_secondary_indexes().iter().filter_map(|index| index.index_name());
    let local = table.local_secondary_indexes().iter().filter_map(|index| index.index_name());
    let found: BTreeSet<_> = global.chain(local).collect();
    let needed =
        [index::ALL_EVENTS_BY_TIME, index::ALL_EVENTS_BY_ID, index::SUBJECT_EVENTS_BY_TYPE];
    match needed.into_iter().find(|name| !found.contains(name)) {
        None => Ok(()),
        Some(name) => {
            Err(format!("a table with this name exists, but it lacks the index `{name}`"))
        }
    }
}
