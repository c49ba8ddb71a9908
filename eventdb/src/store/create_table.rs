//! Creating a table for local work and tests. The CDK construct deploys tables for production.

use std::collections::BTreeSet;
use std::future::{Future, IntoFuture};
use std::pin::Pin;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::operation::create_table::builders::CreateTableFluentBuilder;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, IndexStatus, KeySchemaElement, KeyType,
    LocalSecondaryIndex, Projection, ProjectionType, ScalarAttributeType, StreamSpecification,
    StreamViewType, TableDescription,
};

use crate::schema::index;
use crate::store::error::Error;
use crate::store::layout::TableLayout;
use crate::store::table::Table;
use crate::store::{EventDb, mismatch};

/// A request to create a table: see [`EventDb::create_table`].
#[derive(Debug, Clone)]
#[must_use = "a request does nothing until it is awaited"]
pub struct CreateTable {
    client: Client,
    name: String,
    layout: TableLayout,
    left_out: Vec<&'static str>,
}

impl EventDb {
    /// Creates the table with its indexes and its stream, and waits until it is ready.
    ///
    /// Use it for local work and tests. For production, the CDK construct `EventDB` deploys the table
    /// with backups and deletion protection. If a table with this name exists, it isn't changed. A table
    /// by time from before the index `AllSubjects` is used as it is.
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
    pub fn create_table(client: &Client, name: impl Into<String>) -> CreateTable {
        CreateTable {
            client: client.clone(),
            name: name.into(),
            layout: TableLayout::default(),
            left_out: Vec::new(),
        }
    }
}

impl CreateTable {
    /// The layout of the table. Default: [`TableLayout::ByTime`].
    pub fn layout(mut self, layout: TableLayout) -> Self {
        self.layout = layout;
        self
    }

    /// Leaves out the index of all events by time: for tables by revision. Appends cost 1 write unit
    /// less per event, and [`EventDb::fetch_all_events`] is refused.
    pub fn without_all_events_by_time(mut self) -> Self {
        self.left_out.push(index::ALL_EVENTS_BY_TIME);
        self
    }

    /// Leaves out the index of ids: for tables by revision. Appends cost 1 write unit less per event,
    /// and [`EventDb::fetch_event`] is refused.
    pub fn without_all_events_by_id(mut self) -> Self {
        self.left_out.push(index::ALL_EVENTS_BY_ID);
        self
    }

    async fn run(self) -> Result<(), Error> {
        let Self { client, name, layout, left_out } = self;
        let table = Table::new(client, name);
        if let (TableLayout::ByTime, Some(index)) = (layout, left_out.first()) {
            return Err(table.refused(
                format!(
                    "a table by time needs the index {index}; only a table by revision can be \
                     created without it"
                )
                .into(),
            ));
        }
        layout.table_parts(&left_out).create(&table).await
    }
}

impl IntoFuture for CreateTable {
    type Output = Result<(), Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

/// The keys and indexes of a table.
pub(crate) struct TableParts {
    pub(crate) attributes: Vec<(&'static str, ScalarAttributeType)>,
    pub(crate) keys: [&'static str; 2],
    pub(crate) has_stream: bool,
    pub(crate) global_indexes: Vec<IndexParts>,
    pub(crate) local_indexes: Vec<IndexParts>,
}

/// One index of a table.
pub(crate) struct IndexParts {
    pub(crate) name: &'static str,
    pub(crate) keys: &'static [&'static str],
    pub(crate) projection: ProjectionType,
    /// The other attributes that it holds.
    pub(crate) included: &'static [&'static str],
    /// Whether a table without it is taken: one from before the index.
    pub(crate) may_be_missing: bool,
}

impl TableParts {
    /// Creates the table, unless one of that name is there, waits until it is ready, and checks it.
    pub(crate) async fn create(&self, table: &Table) -> Result<(), Error> {
        let request = self.on(table.creation()).map_err(|error| table.refused(Box::new(error)))?;
        let description = table.create(&request).await?;
        self.check(&description.unwrap_or_else(|| TableDescription::builder().build()))
            .map_err(|problem| table.refused(problem.into()))
    }

    fn on(
        &self,
        request: CreateTableFluentBuilder,
    ) -> Result<CreateTableFluentBuilder, BuildError> {
        let attributes = self
            .attributes
            .iter()
            .map(|(name, ty)| {
                AttributeDefinition::builder()
                    .attribute_name(*name)
                    .attribute_type(ty.clone())
                    .build()
            })
            .collect::<Result<_, _>>()?;
        let mut request = request
            .billing_mode(BillingMode::PayPerRequest)
            .set_attribute_definitions(Some(attributes))
            .set_key_schema(Some(keys(&self.keys)?));
        if self.has_stream {
            request = request.stream_specification(
                StreamSpecification::builder()
                    .stream_enabled(true)
                    .stream_view_type(StreamViewType::NewImage)
                    .build()?,
            );
        }
        for index in &self.global_indexes {
            request = request.global_secondary_indexes(
                GlobalSecondaryIndex::builder()
                    .index_name(index.name)
                    .set_key_schema(Some(keys(index.keys)?))
                    .projection(index.projection())
                    .build()?,
            );
        }
        for index in &self.local_indexes {
            request = request.local_secondary_indexes(
                LocalSecondaryIndex::builder()
                    .index_name(index.name)
                    .set_key_schema(Some(keys(index.keys)?))
                    .projection(index.projection())
                    .build()?,
            );
        }
        Ok(request)
    }

    /// What is wrong with the indexes of a table. One that is optional may be missing, but must be right.
    pub(crate) fn wrong_indexes(&self, table: &TableDescription) -> Vec<String> {
        let optional = [index::ALL_EVENTS_BY_TIME, index::ALL_EVENTS_BY_ID];
        let mut wrong = Vec::new();
        for needed in &self.global_indexes {
            let mut of_table = table.global_secondary_indexes().iter();
            let found = of_table.find(|index| index.index_name() == Some(needed.name));
            let may_be_missing = self.local_indexes.is_empty() && optional.contains(&needed.name);
            match found {
                None if may_be_missing => {}
                None if needed.may_be_missing => wrong.push(format!(
                    "the index `{}` is missing: {}",
                    needed.name,
                    mismatch::WITHOUT_INDEX_OF_SUBJECTS
                )),
                None => wrong.push(format!("the index `{}` is missing", needed.name)),
                Some(index) => wrong.extend(needed.problem(
                    index.key_schema(),
                    index.projection(),
                    index.index_status().is_none_or(|status| *status == IndexStatus::Active),
                )),
            }
        }
        for needed in &self.local_indexes {
            let mut of_table = table.local_secondary_indexes().iter();
            match of_table.find(|index| index.index_name() == Some(needed.name)) {
                None => wrong.push(format!(
                    "the local index `{}` is missing; it can't be added to an existing table",
                    needed.name
                )),
                Some(index) => {
                    wrong.extend(needed.problem(index.key_schema(), index.projection(), true));
                }
            }
        }
        wrong
    }

    /// Checks whether the table, which may have existed before, has these keys and indexes.
    fn check(&self, table: &TableDescription) -> Result<(), String> {
        let keys: Vec<_> =
            table.key_schema().iter().map(KeySchemaElement::attribute_name).collect();
        if keys != self.keys {
            return Err(format!(
                "a table with this name exists, but its keys are {keys:?}; they must be {:?}",
                self.keys
            ));
        }
        let global = table.global_secondary_indexes().iter().filter_map(|index| index.index_name());
        let local = table.local_secondary_indexes().iter().filter_map(|index| index.index_name());
        let found: BTreeSet<_> = global.chain(local).collect();
        let mut needed = self.global_indexes.iter().chain(&self.local_indexes);
        match needed.find(|index| !found.contains(index.name) && !index.may_be_missing) {
            None => Ok(()),
            Some(index) => Err(format!(
                "a table with this name exists, but it lacks the index `{}`",
                index.name
            )),
        }
    }
}

impl IndexParts {
    /// What is wrong with an index of this name, if anything is.
    fn problem(
        &self,
        keys: &[KeySchemaElement],
        projection: Option<&Projection>,
        is_active: bool,
    ) -> Option<String> {
        let keys: Vec<_> = keys.iter().map(KeySchemaElement::attribute_name).collect();
        let ty = projection.and_then(Projection::projection_type);
        let is_enough = ty.is_some_and(|ty| *ty == ProjectionType::All || *ty == self.projection);
        if keys != self.keys {
            Some(format!(
                "the keys of the index `{}` are {keys:?}; they must be {:?}",
                self.name, self.keys
            ))
        } else if !is_enough {
            Some(format!(
                "the index `{}` projects {}; it must project {}",
                self.name,
                ty.map_or("nothing", ProjectionType::as_str),
                self.projection.as_str()
            ))
        } else if !is_active {
            Some(format!("the index `{}` isn't active yet", self.name))
        } else {
            None
        }
    }

    fn projection(&self) -> Projection {
        let included = self.included.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        Projection::builder()
            .projection_type(self.projection.clone())
            .set_non_key_attributes((!included.is_empty()).then_some(included))
            .build()
    }
}

/// The partition key, then the sort key if there is one.
fn keys(names: &[&str]) -> Result<Vec<KeySchemaElement>, BuildError> {
    names
        .iter()
        .zip([KeyType::Hash, KeyType::Range])
        .map(|(name, ty)| KeySchemaElement::builder().attribute_name(*name).key_type(ty).build())
        .collect()
}
