//! The tables of a store, and which of those of a file they are.

use aws_sdk_dynamodb::types::{AttributeValue, KeyType, TableDescription};
use eventdb::internals::schema::{attribute, feed};
use eventdb::{EventDb, Feed, TableLayout};

use super::{Backend, Session};
use crate::failure::Failure;
use crate::output::tell;

/// The table of events, and what DynamoDB says of it.
#[derive(Debug)]
pub struct Store {
    /// The name of the table.
    pub table: String,
    /// The layout of the table.
    pub layout: TableLayout,
    /// The store.
    pub db: EventDb,
    /// The ARN of the table's stream, if it has one.
    pub stream: Option<String>,
    /// About how many rows the table has. DynamoDB counts them about every six hours.
    pub rows: Option<u64>,
    /// About how many read units it takes to read the whole table, at half a unit per 4 KB.
    pub read_units: Option<u64>,
}

/// Bytes that half a strongly consistent read unit, or one other, reads.
const BYTES_PER_READ_UNIT: u64 = 8 * 1024;

impl Store {
    /// Says how large the table is, so that it is known what reading it takes.
    pub fn tell_size(&self, advice: &str) {
        if let (Some(rows), Some(units)) = (self.rows, self.read_units) {
            tell(format_args!(
                "the table `{}` has about {rows} rows; to read it takes about {units} read units: {advice}",
                self.table
            ));
        }
    }
}

impl Session {
    /// The table of events. It is described once, to find out its layout.
    ///
    /// # Errors
    /// If it isn't known which table, or it isn't the table of a store.
    pub async fn store(&self) -> Result<Store, Failure> {
        let name = self.table_of_events().await?;
        let description = self.describe(&name).await?;
        let Some(layout) = layout_of(&description) else {
            return Err(Failure::new(format!(
                "the table `{name}` isn't a table of events: its keys are {}; they must be `subject` \
                 and `time_type`, or `subject` and `revision`",
                keys_of(&description).join(" and ")
            )));
        };
        let db = EventDb::new(self.dynamodb.clone(), &name).with_layout(layout);
        Ok(Store {
            db: db.metered_by(&self.meter),
            table: name,
            layout,
            rows: positive(description.item_count),
            read_units: positive(description.table_size_bytes)
                .map(|bytes| bytes.div_ceil(BYTES_PER_READ_UNIT)),
            stream: description.latest_stream_arn,
        })
    }

    /// The feed.
    ///
    /// # Errors
    /// If it isn't known which table it is.
    pub async fn feed(&self) -> Result<Feed, Failure> {
        let name = match (&self.options.feed, &self.backend) {
            (Some(name), _) => name.clone(),
            (None, Backend::Embedded(_)) => self.only_table(is_feed, "feed", "--feed").await?,
            (None, Backend::Aws(_)) => return Err(self.lacks("feed", "--feed", "FeedTableName")),
        };
        Ok(Feed::new(self.dynamodb.clone(), name).metered_by(&self.meter))
    }

    /// The feed, if it is known which table it is.
    ///
    /// # Errors
    /// If the file can't be read.
    pub async fn feed_if_known(&self) -> Result<Option<Feed>, Failure> {
        match self.has_feed().await? {
            true => self.feed().await.map(Some),
            false => Ok(None),
        }
    }

    /// Whether it is known which table is the feed.
    ///
    /// # Errors
    /// If the file can't be read.
    pub async fn has_feed(&self) -> Result<bool, Failure> {
        match (&self.options.feed, &self.backend) {
            (Some(_), _) => Ok(true),
            (None, Backend::Aws(_)) => Ok(false),
            (None, Backend::Embedded(_)) => Ok(!self.tables(is_feed).await?.is_empty()),
        }
    }

    /// The name of the feed's table; `None` if the store has no feed, or it isn't known.
    ///
    /// # Errors
    /// If a file can't be read, or has several feeds.
    pub async fn feed_name(&self) -> Result<Option<String>, Failure> {
        match (&self.options.feed, &self.backend) {
            (None, Backend::Embedded(_)) => {
                let mut found = self.tables(is_feed).await?;
                Ok((found.len() == 1).then(|| found.pop()).flatten())
            }
            (name, _) => Ok(name.clone()),
        }
    }

    /// The table to be created, by its name.
    ///
    /// # Errors
    /// If no name is given.
    pub fn new_table(&self) -> Result<&str, Failure> {
        let lacks = || Failure::new("it isn't said which table to create; give --table NAME");
        self.options.table.as_deref().ok_or_else(lacks)
    }

    /// The name of the feed's table, if one is given.
    pub fn feed_table(&self) -> Option<&str> {
        self.options.feed.as_deref()
    }

    /// Reads the row of an event; `None` if there is none.
    ///
    /// # Errors
    /// If the request fails.
    pub async fn row(
        &self,
        store: &Store,
        subject: &str,
        sort_key: &str,
    ) -> Result<Option<Row>, Failure> {
        let (name, value) = match store.layout {
            TableLayout::ByRevision => {
                (attribute::REVISION, AttributeValue::N(sort_key.to_owned()))
            }
            _ => (attribute::TIME_TYPE, AttributeValue::S(sort_key.to_owned())),
        };
        let read = self
            .dynamodb
            .get_item()
            .table_name(&store.table)
            .key(attribute::SUBJECT, AttributeValue::S(subject.to_owned()))
            .key(name, value)
            .consistent_read(true)
            .send()
            .await;
        let read =
            read.map_err(|error| Failure::of("the row of the event can't be read", &error))?;
        Ok(read.item)
    }

    async fn table_of_events(&self) -> Result<String, Failure> {
        match (&self.options.table, &self.backend) {
            (Some(name), _) => Ok(name.clone()),
            (None, Backend::Embedded(_)) => {
                self.only_table(|table| layout_of(table).is_some(), "table of events", "--table")
                    .await
            }
            (None, Backend::Aws(_)) => Err(self.lacks("table of events", "--table", "TableName")),
        }
    }

    /// The only table of a file that is what is looked for.
    async fn only_table(
        &self,
        is_wanted: impl Fn(&TableDescription) -> bool,
        what: &str,
        option: &str,
    ) -> Result<String, Failure> {
        let mut found = self.tables(is_wanted).await?;
        let only = (found.len() == 1).then(|| found.pop()).flatten();
        only.ok_or_else(|| match found.is_empty() {
            true => Failure::new(format!("the file has no {what}")),
            false => Failure::new(format!("the file has several: {}", found.join(", ")))
                .advice(format!("Choose one with {option} NAME.")),
        })
    }

    /// The tables of a file that are what is looked for.
    async fn tables(
        &self,
        is_wanted: impl Fn(&TableDescription) -> bool,
    ) -> Result<Vec<String>, Failure> {
        let mut found = Vec::new();
        let mut pages = self.dynamodb.list_tables().into_paginator().items().send();
        while let Some(name) = pages.next().await {
            let name = name.map_err(|error| Failure::of("the file can't be read", &error))?;
            if is_wanted(&self.describe(&name).await?) {
                found.push(name);
            }
        }
        Ok(found)
    }

    async fn describe(&self, table: &str) -> Result<TableDescription, Failure> {
        let answer = self.dynamodb.describe_table().table_name(table).send().await;
        let answer = answer.map_err(|error| {
            Failure::of(format!("the table `{table}` can't be described"), &error)
        })?;
        answer.table.ok_or_else(|| Failure::new(format!("the table `{table}` has no description")))
    }
}

/// The attributes of an item.
pub type Row = std::collections::HashMap<String, AttributeValue>;

fn layout_of(table: &TableDescription) -> Option<TableLayout> {
    match keys_of(table)[..] {
        [attribute::SUBJECT, attribute::TIME_TYPE] => Some(TableLayout::ByTime),
        [attribute::SUBJECT, attribute::REVISION] => Some(TableLayout::ByRevision),
        _ => None,
    }
}

fn is_feed(table: &TableDescription) -> bool {
    keys_of(table) == [feed::PARTITION, feed::OFFSET]
}

/// An empty table may only be one that DynamoDB hasn't counted yet.
fn positive(number: Option<i64>) -> Option<u64> {
    number.and_then(|number| u64::try_from(number).ok()).filter(|number| *number > 0)
}

/// The names of the partition key and of the sort key.
fn keys_of(table: &TableDescription) -> Vec<&str> {
    let keys = table.key_schema();
    let of = |key_type: KeyType| {
        keys.iter().find(|key| key.key_type == key_type).map(|key| key.attribute_name())
    };
    of(KeyType::Hash).into_iter().chain(of(KeyType::Range)).collect()
}
