//! What a command works on: the tables, the publisher and the failure bucket of one store.

use std::num::NonZeroU32;
use std::path::PathBuf;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, KeyType, TableDescription};
use clap::Args;
use eventdb::internals::schema::{attribute, feed};
use eventdb::{CapacityMeter, EmbeddedDynamoDb, EventDb, Feed, TableLayout};

use crate::failure::Failure;
use crate::output::tell;

/// The options that say which store.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Which store")]
pub struct Connection {
    /// The CloudFormation stack of the store. Its outputs name everything else.
    #[arg(long, global = true, env = "EVENTDB_STACK", value_name = "NAME")]
    pub stack: Option<String>,

    /// A database file of the embedded DynamoDB, instead of AWS.
    #[arg(long, global = true, env = "EVENTDB_FILE", value_name = "PATH", conflicts_with_all = ["stack", "endpoint_url"])]
    pub file: Option<PathBuf>,

    /// The table of events. With --file, it can be left out if the file has only one.
    #[arg(long, global = true, env = "EVENTDB_TABLE", value_name = "NAME")]
    pub table: Option<String>,

    /// The table of the feed.
    #[arg(long, global = true, env = "EVENTDB_FEED", value_name = "NAME")]
    pub feed: Option<String>,

    /// The publisher: name or ARN of the function.
    #[arg(long, global = true, env = "EVENTDB_PUBLISHER", value_name = "NAME")]
    pub publisher: Option<String>,

    /// The bucket with the records that couldn't be published.
    #[arg(long, global = true, env = "EVENTDB_FAILURE_BUCKET", value_name = "NAME")]
    pub failure_bucket: Option<String>,

    /// The ARN of the topic on which events are published.
    #[arg(long, global = true, env = "EVENTDB_TOPIC", value_name = "ARN")]
    pub topic: Option<String>,

    /// The profile of the AWS configuration.
    #[arg(long, global = true, env = "AWS_PROFILE", value_name = "NAME")]
    pub profile: Option<String>,

    /// The AWS region.
    #[arg(long, global = true, env = "AWS_REGION", value_name = "NAME")]
    pub region: Option<String>,

    /// At most this many capacity units per second, read and written: for long work next to services.
    /// An event that is passed to the publisher counts as one, too.
    #[arg(long, global = true, value_name = "UNITS")]
    pub rate: Option<NonZeroU32>,

    /// Another address for all AWS services, such as that of the local pipeline.
    #[arg(long, global = true, env = "AWS_ENDPOINT_URL", value_name = "URL")]
    pub endpoint_url: Option<String>,
}

/// The AWS configuration, or an embedded database.
#[derive(Debug)]
enum Backend {
    Aws(Box<SdkConfig>),
    Embedded(EmbeddedDynamoDb),
}

/// An open connection.
#[derive(Debug)]
pub struct Session {
    options: Connection,
    backend: Backend,
    /// The client of the tables.
    pub dynamodb: Client,
    /// Everything that the requests to the tables consume.
    pub meter: CapacityMeter,
}

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

impl Connection {
    /// Opens the connection, and reads the outputs of the stack if there is one.
    ///
    /// # Errors
    /// If the file can't be opened, or the stack can't be read.
    pub async fn open(mut self) -> Result<Session, Failure> {
        let meter = self.meter();
        if let Some(path) = &self.file {
            if !path.exists() {
                let path = path.display();
                return Err(Failure::new(format!("there is no file `{path}`"))
                    .advice("`eventdb create-table --file PATH --table NAME` makes one."));
            }
            return Self::embedded(self, meter).await;
        }
        let config = self.aws().await;
        if let Some(stack) = self.stack.clone() {
            self.read_outputs(&config, &stack).await?;
        }
        let dynamodb = Client::new(&config);
        let backend = Backend::Aws(Box::new(config));
        Ok(Session { options: self, backend, dynamodb, meter })
    }

    /// Opens the connection, and creates the file if it is missing.
    ///
    /// # Errors
    /// If the file can't be opened or created.
    pub async fn open_or_create(self) -> Result<Session, Failure> {
        match self.file {
            Some(_) => {
                let meter = self.meter();
                Self::embedded(self, meter).await
            }
            None => self.open().await,
        }
    }

    fn meter(&self) -> CapacityMeter {
        self.rate.map_or_else(CapacityMeter::new, CapacityMeter::limited_to)
    }

    async fn embedded(self, meter: CapacityMeter) -> Result<Session, Failure> {
        let path = self.file.clone().unwrap_or_default();
        let database = EmbeddedDynamoDb::file(&path).await.map_err(|error| {
            Failure::of(format!("the file `{}` can't be opened", path.display()), &error)
        })?;
        let dynamodb = database.client();
        Ok(Session { options: self, backend: Backend::Embedded(database), dynamodb, meter })
    }

    async fn aws(&self) -> SdkConfig {
        let mut loader = aws_config::defaults(BehaviorVersion::latest());
        if let Some(profile) = &self.profile {
            loader = loader.profile_name(profile);
        }
        if let Some(region) = &self.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(url) = &self.endpoint_url {
            loader = loader.endpoint_url(url);
        }
        loader.load().await
    }

    async fn read_outputs(&mut self, config: &SdkConfig, stack: &str) -> Result<(), Failure> {
        let client = aws_sdk_cloudformation::Client::new(config);
        let answer = client.describe_stacks().stack_name(stack).send().await;
        let answer = answer
            .map_err(|error| Failure::of(format!("the stack `{stack}` can't be read"), &error))?;
        let outputs = answer.stacks.unwrap_or_default().into_iter().flat_map(|stack| stack.outputs);
        for output in outputs.flatten() {
            let place = match output.output_key.as_deref() {
                Some("TableName") => &mut self.table,
                Some("FeedTableName") => &mut self.feed,
                Some("PublisherName") => &mut self.publisher,
                Some("FailureBucketName") => &mut self.failure_bucket,
                Some("TopicArn") => &mut self.topic,
                _ => continue,
            };
            if place.is_none() {
                *place = output.output_value;
            }
        }
        Ok(())
    }
}

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

    /// The name of the feed's table; `None` if the store has no feed, or it isn't known.
    ///
    /// # Errors
    /// If a file can't be read, or has several feeds.
    pub async fn feed_name(&self) -> Result<Option<String>, Failure> {
        match (&self.options.feed, &self.backend) {
            (None, Backend::Embedded(_)) => {
                let is_feed =
                    |table: &TableDescription| keys_of(table) == [feed::PARTITION, feed::OFFSET];
                let mut found = self.tables(is_feed).await?;
                Ok((found.len() == 1).then(|| found.pop()).flatten())
            }
            (name, _) => Ok(name.clone()),
        }
    }

    /// The name of the publisher, and a client to invoke it.
    ///
    /// # Errors
    /// If it isn't known, or the store is a file.
    pub fn publisher(&self) -> Result<(aws_sdk_lambda::Client, String), Failure> {
        let config = self.aws("a publisher")?;
        let name = self.options.publisher.clone();
        let name = name.ok_or_else(|| self.lacks("publisher", "--publisher", "PublisherName"))?;
        // Lambda answers when the batch is published. A retry by the client would publish it twice.
        let lambda = aws_sdk_lambda::config::Builder::from(config)
            .retry_config(aws_config::retry::RetryConfig::disabled())
            .build();
        Ok((aws_sdk_lambda::Client::from_conf(lambda), name))
    }

    /// The name of the failure bucket, and a client to read it.
    ///
    /// # Errors
    /// If it isn't known, or the store is a file.
    pub fn failure_bucket(&self) -> Result<(aws_sdk_s3::Client, String), Failure> {
        let config = self.aws("a failure bucket")?;
        let name = self.options.failure_bucket.clone();
        let name = name
            .ok_or_else(|| self.lacks("failure bucket", "--failure-bucket", "FailureBucketName"))?;
        Ok((self.s3_client(config), name))
    }

    /// A client of S3, also if the store is a file.
    pub async fn s3(&self) -> aws_sdk_s3::Client {
        match &self.backend {
            Backend::Aws(config) => self.s3_client(config),
            Backend::Embedded(_) => self.s3_client(&self.options.aws().await),
        }
    }

    fn s3_client(&self, config: &SdkConfig) -> aws_sdk_s3::Client {
        let s3 = aws_sdk_s3::config::Builder::from(config)
            // An emulator has no host names for buckets.
            .force_path_style(self.options.endpoint_url.is_some())
            .build();
        aws_sdk_s3::Client::from_conf(s3)
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

    /// The ARN of the topic, and clients for it and for queues.
    ///
    /// # Errors
    /// If it isn't known, or the store is a file.
    pub fn topic(&self) -> Result<(aws_sdk_sns::Client, aws_sdk_sqs::Client, String), Failure> {
        let config = self.aws("a topic")?;
        let arn = self.options.topic.clone();
        let arn = arn.ok_or_else(|| self.lacks("topic", "--topic", "TopicArn"))?;
        Ok((aws_sdk_sns::Client::new(config), aws_sdk_sqs::Client::new(config), arn))
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

    /// The store in words, for somebody who has to find out what went wrong.
    pub fn described(&self) -> String {
        let Connection { stack, file, table, profile, region, endpoint_url, .. } = &self.options;
        let configured = match &self.backend {
            Backend::Aws(config) => config.region().map(ToString::to_string),
            Backend::Embedded(_) => None,
        };
        let parts = [
            ("file", file.as_ref().map(|file| file.display().to_string())),
            ("stack", stack.clone()),
            ("table", table.clone()),
            ("profile", profile.clone()),
            ("region", region.clone().or(configured)),
            ("endpoint", endpoint_url.clone()),
        ];
        let named = parts.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let named: Vec<String> = named.map(|(name, value)| format!("{name} `{value}`")).collect();
        named.join(", ")
    }

    /// The ARN of the topic, if it is known.
    pub fn topic_arn(&self) -> Option<&str> {
        self.options.topic.as_deref()
    }

    /// A client of the topic's subscriptions, in the given region or that of the connection.
    ///
    /// # Errors
    /// If the store is a file.
    pub fn sns(&self, region: Option<&str>) -> Result<aws_sdk_sns::Client, Failure> {
        let mut config = aws_sdk_sns::config::Builder::from(self.aws("a topic")?);
        if let Some(region) = region {
            config = config.region(Region::new(region.to_owned()));
        }
        Ok(aws_sdk_sns::Client::from_conf(config.build()))
    }

    /// A client of queues, in the given region or that of the connection.
    ///
    /// # Errors
    /// If the store is a file.
    pub fn sqs(&self, region: Option<&str>) -> Result<aws_sdk_sqs::Client, Failure> {
        let mut config = aws_sdk_sqs::config::Builder::from(self.aws("queues")?);
        if let Some(region) = region {
            config = config.region(Region::new(region.to_owned()));
        }
        Ok(aws_sdk_sqs::Client::from_conf(config.build()))
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

    /// Whether the store is a file.
    pub fn is_embedded(&self) -> bool {
        matches!(self.backend, Backend::Embedded(_))
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

    fn aws(&self, what: &str) -> Result<&SdkConfig, Failure> {
        match &self.backend {
            Backend::Aws(config) => Ok(config),
            Backend::Embedded(_) => Err(Failure::new(format!(
                "a store in a file has no {}; this command needs a deployed store",
                what.trim_start_matches("a ")
            ))),
        }
    }

    fn lacks(&self, what: &str, option: &str, output: &str) -> Failure {
        match &self.options.stack {
            Some(stack) => Failure::new(format!(
                "the stack `{stack}` has no output `{output}`: it has no {what}"
            ))
            .advice(format!("If it is called otherwise, give {option} NAME.")),
            None => Failure::new(format!("it isn't said which {what}"))
                .advice(format!("Give --stack NAME, or {option} NAME.")),
        }
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

    /// Says what was consumed, and ends the embedded database in an orderly way.
    pub async fn close(self) {
        let consumed = self.meter.total();
        if consumed.requests > 0 {
            let requests = if consumed.requests == 1 { "request" } else { "requests" };
            tell(format_args!(
                "consumed {} read units and {} write units in {} {requests}",
                consumed.read_units, consumed.write_units, consumed.requests
            ));
        }
        if let Backend::Embedded(database) = self.backend {
            database.stop().await;
        }
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
