//! What the function is told by its environment. The only place that reads it.

use std::fmt;

use eventdb::schema::{environment, limit};
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
    /// The topic's region, from its ARN: a topic takes messages in its own region only.
    pub region: String,
    /// What is logged, from `LOG_LEVEL`; `INFO` unless set.
    pub log_level: Level,
    /// Most bytes of a message, from `MESSAGE_BYTES`; 262,144 unless the topic takes more.
    pub message_bytes: usize,
    /// Name of the function, which is the dimension of its metrics.
    pub function_name: String,
    /// The function's credentials, which Lambda sets.
    pub credentials: Credentials,
    /// Another endpoint for SNS, from `AWS_ENDPOINT_URL_SNS` or `AWS_ENDPOINT_URL`: an emulator.
    pub endpoint: Option<String>,
    /// Whose certificates are trusted.
    pub trust: Trust,
}

/// Whose certificates are trusted when connecting to SNS.
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
    /// Amazon's own certification authorities, which vouch for all endpoints of the partition `aws`.
    Amazon,
    /// The system's, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name: for other partitions,
    /// other endpoints, and networks that put a proxy between.
    System,
}

/// Credentials of the function's role. Their `Debug` form shows the access key's id only.
///
/// Lambda gives a function new ones by giving it a new environment, so they are read once.
/// <https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime>
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// `AWS_ACCESS_KEY_ID`.
    pub access_key_id: String,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret_access_key: String,
    /// `AWS_SESSION_TOKEN`; always there in Lambda.
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

/// An environment variable is missing or wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the environment variable {name} {problem}; allowed is {allowed}")]
pub struct ConfigurationError {
    /// The variable.
    pub name: &'static str,
    /// What is wrong with it.
    pub problem: &'static str,
    /// What would be right.
    pub allowed: &'static str,
}

const ARN_ALLOWED: &str = "the ARN of an SNS topic: arn:aws:sns:<region>:<account>:<name>";

impl Configuration {
    /// Reads the settings from the process's environment.
    ///
    /// # Errors
    /// Names the first variable that is missing or wrong, and what is allowed.
    ///
    /// ```no_run
    /// let configuration = eventdb_publisher::configuration::Configuration::from_environment()?;
    /// # Ok::<(), eventdb_publisher::configuration::ConfigurationError>(())
    /// ```
    pub fn from_environment() -> Result<Self, ConfigurationError> {
        Self::read(|name| std::env::var(name).ok())
    }

    /// Reads the settings from anything that maps names to values; an empty value counts as none.
    ///
    /// # Errors
    /// Names the first variable that is missing or wrong, and what is allowed.
    ///
    /// ```
    /// use eventdb_publisher::configuration::Configuration;
    ///
    /// let error = Configuration::read(|_| None).unwrap_err();
    /// assert!(error.to_string().starts_with("the environment variable EVENT_TOPIC_ARN is missing"));
    /// ```
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigurationError> {
        let optional = |name: &str| variable(name).filter(|value| !value.is_empty());
        let required = |name, allowed| {
            optional(name).ok_or(ConfigurationError { name, problem: "is missing", allowed })
        };
        let topic_arn = required(environment::EVENT_TOPIC_ARN, ARN_ALLOWED)?;
        let endpoint = optional("AWS_ENDPOINT_URL_SNS").or_else(|| optional("AWS_ENDPOINT_URL"));
        let elsewhere = endpoint.is_some() || !topic_arn.starts_with("arn:aws:");
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
        })
    }

    /// Whether the topic is a FIFO topic. Only their names [end in `.fifo`], so no setting of its
    /// own could disagree with the topic.
    ///
    /// [end in `.fifo`]: https://docs.aws.amazon.com/sns/latest/api/API_CreateTopic.html
    ///
    /// ```
    /// # use eventdb_publisher::configuration::Configuration;
    /// # let configuration = Configuration::read(|name| match name {
    /// #     "EVENT_TOPIC_ARN" => Some("arn:aws:sns:eu-west-1:123456789012:Events".to_owned()),
    /// #     _ => Some("ERROR".to_owned()),
    /// # })?;
    /// assert!(!configuration.is_fifo());
    /// # Ok::<(), eventdb_publisher::configuration::ConfigurationError>(())
    /// ```
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
            problem: "is no topic",
            allowed: ARN_ALLOWED,
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
            problem: "is no size of a message that SNS allows",
            allowed: "a number of bytes from 262144 to 1048576, the MaximumMessageSize of the topic",
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
            problem: "is no log level",
            allowed: "ERROR, WARN, INFO, DEBUG or TRACE",
        }),
    }
}
