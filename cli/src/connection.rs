//! What a command works on: the tables, the publisher and the failure bucket of one store.

mod session;
mod tables;

use std::num::NonZeroU32;
use std::path::PathBuf;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::Client;
use clap::Args;
use eventdb::{CapacityMeter, EmbeddedDynamoDb};

pub use self::session::Session;
pub use self::tables::{Row, Store};
use crate::failure::Failure;

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
