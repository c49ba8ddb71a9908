//! The function's settings, from environment variables. Only this module reads them.

use std::fmt;
#[cfg(feature = "sns")]
use std::time::Duration;

#[cfg(feature = "sns")]
use eventdb::TableLayout;
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

/// The settings of a function that verifies instead of publishing: one with `EVENT_TABLE`.
///
/// ```
/// use eventdb_publisher::configuration::VerifierConfiguration;
///
/// let configuration = VerifierConfiguration::read(|name| match name {
///     "EVENT_TABLE" => Some("LibraryEvents".to_owned()),
///     "FEED_TABLE" => Some("LibraryFeed".to_owned()),
///     "TABLE_LAYOUT" => Some("byRevision".to_owned()),
///     "VERIFICATION_WINDOW" => Some("7200".to_owned()),
///     "AWS_REGION" => Some("eu-west-1".to_owned()),
///     "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => Some("test".to_owned()),
///     _ => None,
/// })?;
/// assert_eq!(configuration.window, Some(std::time::Duration::from_secs(7200)));
/// # Ok::<(), eventdb_publisher::configuration::ConfigurationError>(())
/// ```
#[cfg(feature = "sns")]
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifierConfiguration {
    /// Name of the table of events, from `EVENT_TABLE`.
    pub event_table: String,
    /// The layout of that table, from `TABLE_LAYOUT`. Default: by time.
    pub layout: TableLayout,
    /// Name of the feed's table, from `FEED_TABLE`.
    pub feed_table: String,
    /// How far back events are compared by the index, from `VERIFICATION_WINDOW`, in seconds. `None`
    /// if the table doesn't have the index.
    pub window: Option<Duration>,
    /// The time between the two looks, from `SECOND_LOOK_AFTER`, in seconds. Default: 300.
    pub second_look_after: Duration,
    /// The log level, from `LOG_LEVEL`. Default: `INFO`.
    pub log_level: Level,
    /// Name of the function, which is the dimension of its metrics.
    pub function_name: String,
    /// The region of the tables, from `AWS_REGION`.
    pub region: String,
    /// The function's credentials, which Lambda sets.
    pub credentials: Credentials,
    /// Another endpoint for DynamoDB, such as an emulator.
    pub endpoint: Option<String>,
    /// The trusted certification authorities.
    pub trust: Trust,
}

#[cfg(feature = "sns")]
impl VerifierConfiguration {
    /// Reads the settings from the process's environment; `None` if this function publishes.
    ///
    /// # Errors
    /// The first variable that is missing or invalid, and what it must be.
    pub fn from_environment() -> Option<Result<Self, ConfigurationError>> {
        let variable = |name: &str| std::env::var(name).ok();
        variable(environment::EVENT_TABLE).map(|_| Self::read(variable))
    }

    /// Reads the settings from a function that returns the values of variables. An empty value counts
    /// as missing.
    ///
    /// # Errors
    /// The first variable that is missing or invalid, and what it must be.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigurationError> {
        let variables = Variables(variable);
        let region = variables.required("AWS_REGION", "a region, which Lambda sets")?;
        let endpoint = variables.endpoint("AWS_ENDPOINT_URL_DYNAMODB");
        let is_amazon = endpoint.is_none() && !region.starts_with("cn-");
        let layout = variables.optional(environment::TABLE_LAYOUT).map(|layout| layout.parse());
        Ok(Self {
            event_table: variables.required(environment::EVENT_TABLE, "the name of a table")?,
            feed_table: variables.required(environment::FEED_TABLE, "the name of a table")?,
            layout: layout
                .transpose()
                .map_err(|_| ConfigurationError {
                    name: environment::TABLE_LAYOUT,
                    problem: "isn't the layout of a table",
                    expected: "byTime or byRevision",
                })?
                .unwrap_or_default(),
            window: variables.seconds(environment::VERIFICATION_WINDOW)?,
            second_look_after: variables
                .seconds(environment::SECOND_LOOK_AFTER)?
                .unwrap_or(SECOND_LOOK_AFTER),
            log_level: log_level(variables.optional(environment::LOG_LEVEL).as_deref())?,
            function_name: variables.function_name(),
            credentials: variables.credentials()?,
            trust: variables.trust(is_amazon),
            region,
            endpoint,
        })
    }
}

/// The time between the two looks of a verification, unless another one is set.
#[cfg(feature = "sns")]
const SECOND_LOOK_AFTER: Duration = Duration::from_secs(300);

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
        let variables = Variables(variable);
        let topic_arn = variables.required(environment::EVENT_TOPIC_ARN, EXPECTED_ARN)?;
        let endpoint = variables.endpoint("AWS_ENDPOINT_URL_SNS");
        let feed_table = variables.optional(environment::FEED_TABLE);
        let feed_endpoint = variables.endpoint("AWS_ENDPOINT_URL_DYNAMODB");
        let is_feed_elsewhere = feed_table.is_some() && feed_endpoint.is_some();
        let elsewhere =
            endpoint.is_some() || is_feed_elsewhere || !topic_arn.starts_with("arn:aws:");
        Ok(Self {
            trust: variables.trust(!elsewhere),
            region: region(&topic_arn)?,
            topic_arn,
            log_level: log_level(variables.optional(environment::LOG_LEVEL).as_deref())?,
            message_bytes: message_bytes(
                variables.optional(environment::MESSAGE_BYTES).as_deref(),
            )?,
            function_name: variables.function_name(),
            credentials: variables.credentials()?,
            endpoint,
            feed_table,
            feed_partitions: feed_partitions(
                variables.optional(environment::FEED_PARTITIONS).as_deref(),
            )?,
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

/// The environment variables. An empty value counts as missing.
struct Variables<F>(F);

impl<F: Fn(&str) -> Option<String>> Variables<F> {
    fn optional(&self, name: &str) -> Option<String> {
        (self.0)(name).filter(|value| !value.is_empty())
    }

    fn required(
        &self,
        name: &'static str,
        expected: &'static str,
    ) -> Result<String, ConfigurationError> {
        self.optional(name).ok_or(ConfigurationError { name, problem: "is missing", expected })
    }

    #[cfg(feature = "sns")]
    fn seconds(&self, name: &'static str) -> Result<Option<Duration>, ConfigurationError> {
        let seconds = self.optional(name).map(|seconds| seconds.parse().map(Duration::from_secs));
        seconds.transpose().map_err(|_| ConfigurationError {
            name,
            problem: "isn't a number of seconds",
            expected: "a whole number, such as 3600",
        })
    }

    /// The endpoint of a service, if it isn't that of AWS.
    fn endpoint(&self, name: &str) -> Option<String> {
        self.optional(name).or_else(|| self.optional("AWS_ENDPOINT_URL"))
    }

    fn trust(&self, is_amazon: bool) -> Trust {
        let given =
            ["SSL_CERT_FILE", "SSL_CERT_DIR"].iter().any(|name| self.optional(name).is_some());
        if is_amazon && !given { Trust::Amazon } else { Trust::System }
    }

    fn function_name(&self) -> String {
        let name = self.optional("AWS_LAMBDA_FUNCTION_NAME");
        name.unwrap_or_else(|| env!("CARGO_PKG_NAME").to_owned())
    }

    fn credentials(&self) -> Result<Credentials, ConfigurationError> {
        Ok(Credentials {
            access_key_id: self
                .required("AWS_ACCESS_KEY_ID", "an access key, which Lambda sets")?,
            secret_access_key: self
                .required("AWS_SECRET_ACCESS_KEY", "a secret access key, which Lambda sets")?,
            session_token: self.optional("AWS_SESSION_TOKEN"),
        })
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
