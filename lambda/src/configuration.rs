//! The function's settings, from environment variables. Only this module reads them.

use std::fmt;

use eventdb::internals::schema::{environment, feed, limit};
use tracing::Level;

/// The function's settings.
///
/// ```
/// use eventdb_publisher::configuration::Configuration;
///
/// let configuration = Configuration::read(|name| match name {
///     "EVENT_TOPIC_ARN" => Some("arn:aws:sns:eu-west-1:123456789012:Events.fifo".to_owned()),
///     "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => Some("test".to_owned()),
///     _ => None,
/// })?;
/// assert_eq!(configuration.region, "eu-west-1");
/// assert!(configuration.is_fifo());
/// # Ok::<(), eventdb_publisher::configuration::ConfigurationError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Configuration {
    /// ARN of the topic, from `EVENT_TOPIC_ARN`.
    pub topic_arn: String,
    /// The topic's region, from its ARN. A topic accepts messages only in its region.
    pub region: String,
    /// The log level, from `LOG_LEVEL`. Default: `INFO`.
    pub log_level: Level,
    /// Most bytes of a message, from `MESSAGE_BYTES`. Default: 262,144.
    pub message_bytes: usize,
    /// Name of the function, which is the dimension of its metrics.
    pub function_name: String,
    /// The function's credentials, which Lambda sets.
    pub credentials: Credentials,
    /// Name of the feed's table, from `FEED_TABLE`. `None`: no feed is written.
    pub feed_table: Option<String>,
    /// Number of partitions with which the feed is created, from `FEED_PARTITIONS`. Default: 4.
    pub feed_partitions: u32,
    /// Another endpoint for DynamoDB, such as an emulator, from `AWS_ENDPOINT_URL_DYNAMODB` or
    /// `AWS_ENDPOINT_URL`.
    pub feed_endpoint: Option<String>,
    /// Another endpoint for SNS, such as an emulator, from `AWS_ENDPOINT_URL_SNS` or
    /// `AWS_ENDPOINT_URL`.
    pub endpoint: Option<String>,
    /// The trusted certification authorities.
    pub trust: Trust,
}

/// The certification authorities that are trusted for connections to SNS and DynamoDB.
///
/// ```
/// use eventdb_publisher::configuration::{Configuration, Trust};
///
/// let variables = |name: &str| match name {
///     "EVENT_TOPIC_ARN" => Some("arn:aws:sns:eu-west-1:123456789012:Events".to_owned()),
///     "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => Some("test".to_owned()),
///     _ => None,
/// };
/// assert_eq!(Configuration::read(variables)?.trust, Trust::Amazon);
/// # Ok::<(), eventdb_publisher::configuration::ConfigurationError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Amazon's certification authorities, which issue the certificates of all endpoints of the
    /// partition `aws`.
    Amazon,
    /// The system's authorities, or those in `SSL_CERT_FILE` and `SSL_CERT_DIR`: for other
    /// partitions, other endpoints, and networks with a TLS proxy.
    System,
}

/// Credentials of the function's role. The `Debug` form shows only the access key id.
///
/// They are read once, because Lambda starts a new execution environment for new credentials.
/// <https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime>
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// `AWS_ACCESS_KEY_ID`.
    pub access_key_id: String,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret_access_key: String,
    /// `AWS_SESSION_TOKEN`. Lambda always sets it.
    pub session_token: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

/// An environment variable is missing or invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the environment variable {name} {problem}; it must be {expected}")]
pub struct ConfigurationError {
    /// The variable.
    pub name: &'static str,
    /// What is wrong with it.
    pub problem: &'static str,
    /// What it must be.
    pub expected: &'static str,
}

const EXPECTED_ARN: &str = "the ARN of an SNS topic: arn:aws:sns:<region>:<account>:<name>";

impl Configuration {
    /// Reads the settings from the process's environment.
    ///
    /// # Errors
    /// The first variable that is missing or invalid, and what it must be.
    ///
    /// ```no_run
    /// let configuration = eventdb_publisher::configuration::Configuration::from_environment()?;
    /// # Ok::<(), eventdb_publisher::configuration::ConfigurationError>(())
    /// ```
    pub fn from_environment() -> Result<Self, ConfigurationError> {
        Self::read(|name| std::env::var(name).ok())
    }

    /// Reads the settings from a function that returns the values of variables. An empty value counts
    /// as missing.
    ///
    /// # Errors
    /// The first variable that is missing or invalid, and what it must be.
    ///
    /// ```
    /// use eventdb_publisher::configuration::Configuration;
    ///
    /// let error = Configuration::read(|_| None).unwrap_err();
    /// assert!(error.to_string().starts_with("the environment variable EVENT_TOPIC_ARN is missing"));
    /// ```
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigurationError> {
        let optional = |name: &str| variable(name).filter(|value| !value.is_empty());
        let required = |name, expected| {
            optional(name).ok_or(ConfigurationError { name, problem: "is missing", expected })
        };
        let topic_arn = required(environment::EVENT_TOPIC_ARN, EXPECTED_ARN)?;
        let endpoint = optional("AWS_ENDPOINT_URL_SNS").or_else(|| optional("AWS_ENDPOINT_URL"));
        let feed_table = optional(environment::FEED_TABLE);
        let feed_endpoint =
            optional("AWS_ENDPOINT_URL_DYNAMODB").or_else(|| optional("AWS_ENDPOINT_URL"));
        let is_feed_elsewhere = feed_table.is_some() && feed_endpoint.is_some();
        let elsewhere =
            endpoint.is_some() || is_feed_elsewhere || !topic_arn.starts_with("arn:aws:");
        let own_authorities =
            ["SSL_CERT_FILE", "SSL_CERT_DIR"].map(optional).iter().any(Option::is_some);
        Ok(Self {
            trust: if elsewhere || own_authorities { Trust::System } else { Trust::Amazon },
            region: region(&topic_arn)?,
            topic_arn,
            log_level: log_level(optional(environment::LOG_LEVEL).as_deref())?,
            message_bytes: message_bytes(optional(environment::MESSAGE_BYTES).as_deref())?,
            function_name: optional("AWS_LAMBDA_FUNCTION_NAME")
                .unwrap_or_else(|| env!("CARGO_PKG_NAME").to_owned()),
            credentials: Credentials {
                access_key_id: required("AWS_ACCESS_KEY_ID", "an access key, which Lambda sets")?,
                secret_access_key: required(
                    "AWS_SECRET_ACCESS_KEY",
                    "a secret access key, which Lambda sets",
                )?,
                session_token: optional("AWS_SESSION_TOKEN"),
            },
            endpoint,
            feed_table,
            feed_partitions: feed_partitions(optional(environment::FEED_PARTITIONS).as_deref())?,
            feed_endpoint,
        })
    }

    /// Whether the topic is a FIFO topic. The names of FIFO topics, and only these, [end in `.fifo`],
    /// so there is no need for a setting.
    ///
    /// [end in `.fifo`]: https://docs.aws.amazon.com/sns/latest/api/API_CreateTopic.html
    pub fn is_fifo(&self) -> bool {
        self.topic_arn.ends_with(".fifo")
    }
}

fn region(topic_arn: &str) -> Result<String, ConfigurationError> {
    let parts: Vec<_> = topic_arn.split(':').collect();
    match parts.as_slice() {
        ["arn", partition, "sns", region, account, name]
            if ![partition, region, account, name].iter().any(|part| part.is_empty()) =>
        {
            Ok((*region).to_owned())
        }
        _ => Err(ConfigurationError {
            name: environment::EVENT_TOPIC_ARN,
            problem: "isn't a topic",
            expected: EXPECTED_ARN,
        }),
    }
}

fn message_bytes(value: Option<&str>) -> Result<usize, ConfigurationError> {
    let allowed = limit::MESSAGE_BYTES..=limit::LARGEST_MESSAGE_BYTES;
    match value.map(str::parse) {
        None => Ok(limit::MESSAGE_BYTES),
        Some(Ok(bytes)) if allowed.contains(&bytes) => Ok(bytes),
        Some(_) => Err(ConfigurationError {
            name: environment::MESSAGE_BYTES,
            problem: "isn't a valid message size",
            expected: "the topic's MaximumMessageSize, a number of bytes from 262144 to 1048576",
        }),
    }
}

fn feed_partitions(value: Option<&str>) -> Result<u32, ConfigurationError> {
    match value.map(str::parse) {
        None => Ok(feed::DEFAULT_PARTITIONS),
        Some(Ok(partitions)) if (1..=feed::MOST_PARTITIONS).contains(&partitions) => Ok(partitions),
        Some(_) => Err(ConfigurationError {
            name: environment::FEED_PARTITIONS,
            problem: "isn't a number of partitions",
            expected: "a whole number from 1 to 256",
        }),
    }
}

fn log_level(value: Option<&str>) -> Result<Level, ConfigurationError> {
    match value {
        Some("ERROR") => Ok(Level::ERROR),
        Some("WARN") => Ok(Level::WARN),
        None | Some("INFO") => Ok(Level::INFO),
        Some("DEBUG") => Ok(Level::DEBUG),
        Some("TRACE") => Ok(Level::TRACE),
        Some(_) => Err(ConfigurationError {
            name: environment::LOG_LEVEL,
            problem: "isn't a log level",
            expected: "ERROR, WARN, INFO, DEBUG or TRACE",
        }),
    }
}
