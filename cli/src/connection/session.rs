//! An open connection, and the clients of the services of a store.

use aws_config::{Region, SdkConfig};
use aws_sdk_dynamodb::Client;
use eventdb::CapacityMeter;

use super::{Backend, Connection};
use crate::failure::Failure;
use crate::output::tell;

/// An open connection.
#[derive(Debug)]
pub struct Session {
    pub(super) options: Connection,
    pub(super) backend: Backend,
    /// The client of the tables.
    pub dynamodb: Client,
    /// Everything that the requests to the tables consume.
    pub meter: CapacityMeter,
}

impl Session {
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

    /// Whether the store is a file.
    pub fn is_embedded(&self) -> bool {
        matches!(self.backend, Backend::Embedded(_))
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

    pub(super) fn lacks(&self, what: &str, option: &str, output: &str) -> Failure {
        match &self.options.stack {
            Some(stack) => Failure::new(format!(
                "the stack `{stack}` has no output `{output}`: it has no {what}"
            ))
            .advice(format!("If it is called otherwise, give {option} NAME.")),
            None => Failure::new(format!("it isn't said which {what}"))
                .advice(format!("Give --stack NAME, or {option} NAME.")),
        }
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
