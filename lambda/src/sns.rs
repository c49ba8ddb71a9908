//! The topic in SNS. Only this module uses the AWS client.

use std::time::Duration;

use aws_sdk_sns::config::retry::RetryConfig;
use aws_sdk_sns::config::timeout::TimeoutConfig;
use aws_sdk_sns::config::{
    BehaviorVersion, Config, Credentials, Region, SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_sdk_sns::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sns::operation::publish_batch::PublishBatchError;
use aws_sdk_sns::types::{
    BatchResultErrorEntry, MessageAttributeValue, PublishBatchRequestEntry, PublishBatchResultEntry,
};
use aws_sdk_sns::{Client, error::BuildError};
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use eventdb::Message;
use eventdb::internals::{ATTRIBUTE_TYPE, fifo};

use crate::configuration::{self, Configuration, Trust};
use crate::topic::{Answer, Entry, FailureKind, Limits, PublishFailure, Topic};

/// Time limit for establishing a connection, which is part of the time limit of a request.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The topic of the configuration, standard or FIFO.
#[derive(Debug, Clone)]
pub struct SnsTopic {
    client: Client,
    arn: String,
    fifo: bool,
    message_bytes: usize,
}

impl SnsTopic {
    /// Creates the client, without sending anything.
    ///
    /// ```
    /// # use eventdb_publisher::configuration::Configuration;
    /// use eventdb_publisher::sns::SnsTopic;
    ///
    /// # let configuration = Configuration::read(|name| match name {
    /// #     "EVENT_TOPIC_ARN" => Some("arn:aws:sns:eu-west-1:123456789012:Events".to_owned()),
    /// #     "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => Some("test".to_owned()),
    /// #     _ => None,
    /// # })?;
    /// let topic = SnsTopic::new(&configuration);
    /// # Ok::<(), eventdb_publisher::configuration::ConfigurationError>(())
    /// ```
    pub fn new(configuration: &Configuration) -> Self {
        Self::with_http_client(configuration, https_client(configuration.trust))
    }

    /// The same, with a client for HTTPS that others use too.
    pub fn with_http_client(configuration: &Configuration, http_client: SharedHttpClient) -> Self {
        let mut config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(configuration.region.clone()))
            .credentials_provider(credentials(&configuration.credentials))
            .http_client(http_client)
            // The publisher retries, because it knows the order of events and the remaining time.
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).build())
            // Meant for large downloads. These answers are small, and every request has a time limit.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        config.set_endpoint_url(configuration.endpoint.clone());
        Self {
            client: Client::from_conf(config.build()),
            arn: configuration.topic_arn.clone(),
            fifo: configuration.is_fifo(),
            message_bytes: configuration.message_bytes,
        }
    }
}

/// The credentials in the form that every AWS client of the function takes.
pub(crate) fn credentials(credentials: &configuration::Credentials) -> Credentials {
    Credentials::new(
        &credentials.access_key_id,
        &credentials.secret_access_key,
        credentials.session_token.clone(),
        None,
        "Lambda environment",
    )
}

/// The authorities of <https://www.amazontrust.com/repository/>. Reading the system's 140 or so would
/// take half of the function's start time.
const AMAZON_ROOTS: &[u8] = include_bytes!("amazon_roots.pem");

/// A client for HTTPS that trusts the given authorities.
/// `docs/decisions/0022-tls-with-ring-and-amazons-authorities.md` has the reasons.
pub fn https_client(trust: Trust) -> SharedHttpClient {
    let trusted = match trust {
        Trust::Amazon => TrustStore::empty().with_pem_certificate(AMAZON_ROOTS),
        Trust::System => TrustStore::default(),
    };
    let builder =
        aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring));
    match TlsContext::builder().with_trust_store(trusted).build() {
        Ok(context) => builder.tls_context(context).build_https(),
        // The default trusts the system's authorities.
        Err(_) => builder.build_https(),
    }
}

impl Topic for SnsTopic {
    fn limits(&self) -> Limits {
        Limits {
            message_bytes: self.message_bytes,
            request_bytes: self.message_bytes,
            ..Limits::default()
        }
    }

    async fn publish_batch(&self, entries: &[Entry]) -> Result<Answer, PublishFailure> {
        let entries: Result<Vec<_>, _> = entries
            .iter()
            .enumerate()
            .map(|(index, entry)| request_entry(index, entry, self.fifo))
            .collect();
        let entries = entries.map_err(|_| PublishFailure {
            kind: FailureKind::InvalidEntry,
            code: "IncompleteEntry".to_owned(),
        })?;
        let request = self.client.publish_batch().topic_arn(&self.arn);
        match request.set_publish_batch_request_entries(Some(entries)).send().await {
            Ok(output) => Ok(answer(output.successful(), output.failed())),
            Err(error) => Err(failure(&error)),
        }
    }
}

fn request_entry(
    index: usize,
    entry: &Entry,
    fifo: bool,
) -> Result<PublishBatchRequestEntry, BuildError> {
    let Message { body, attributes, .. } = &entry.message;
    let mut request = PublishBatchRequestEntry::builder().id(index.to_string()).message(body);
    for (name, value) in attributes {
        let value = MessageAttributeValue::builder()
            .data_type(ATTRIBUTE_TYPE)
            .string_value(value)
            .build()?;
        request = request.message_attributes(*name, value);
    }
    if fifo {
        request = request
            .message_group_id(fifo::message_group_id(&entry.subject))
            .message_deduplication_id(fifo::deduplication_id(&entry.source, &entry.id, None));
    }
    request.build()
}

fn answer(accepted: &[PublishBatchResultEntry], failed: &[BatchResultErrorEntry]) -> Answer {
    // Ids are the entries' indexes. An entry whose id isn't in the answer counts as failed.
    let accepted = accepted.iter().filter_map(|entry| entry.id()?.parse().ok()).collect();
    let failed = failed
        .iter()
        .filter_map(|entry| Some((entry.id().parse().ok()?, entry_failure(entry))))
        .collect();
    Answer { accepted, failed }
}

fn entry_failure(entry: &BatchResultErrorEntry) -> PublishFailure {
    // SNS may report throttling as the sender's fault, but it is temporary.
    let kind = match entry.sender_fault() && !is_throttling(entry.code()) {
        true => FailureKind::InvalidEntry,
        false => FailureKind::Transient,
    };
    PublishFailure { kind, code: entry.code().to_owned() }
}

fn failure(error: &SdkError<PublishBatchError>) -> PublishFailure {
    let (kind, code) = match error {
        SdkError::ServiceError(service) => {
            let code = service.err().code().unwrap_or("Unknown");
            (kind_of(code, service.raw().status().as_u16()), code)
        }
        SdkError::ConstructionFailure(_) => (FailureKind::InvalidEntry, "ConstructionFailure"),
        SdkError::TimeoutError(_) => (FailureKind::Transient, "Timeout"),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => {
            (FailureKind::Transient, "ConnectTimeout")
        }
        SdkError::DispatchFailure(failure) if failure.is_io() => {
            (FailureKind::Transient, "ConnectionFailure")
        }
        SdkError::DispatchFailure(_) => (FailureKind::Transient, "DispatchFailure"),
        SdkError::ResponseError(_) => (FailureKind::Transient, "UnreadableResponse"),
        _ => (FailureKind::Transient, "Unknown"),
    };
    PublishFailure { kind, code: code.to_owned() }
}

/// What can be done about an error of a whole request:
/// <https://docs.aws.amazon.com/sns/latest/api/API_PublishBatch.html#API_PublishBatch_Errors>
fn kind_of(code: &str, status: u16) -> FailureKind {
    match code {
        // Each of these is caused by one of the entries.
        "BatchRequestTooLong"
        | "InvalidBatchEntryId"
        | "InvalidParameter"
        | "InvalidParameterValue"
        | "ParameterValueInvalid"
        | "ValidationException"
        | "ValidationError" => FailureKind::InvalidEntry,
        _ if is_throttling(code) || status >= 500 || status == 408 || status == 429 => {
            FailureKind::Transient
        }
        _ => FailureKind::Denied,
    }
}

/// Throttling has many codes, for requests and for entries:
/// <https://docs.aws.amazon.com/sns/latest/api/CommonErrors.html>
fn is_throttling(code: &str) -> bool {
    code.contains("Throttl") || code.contains("LimitExceeded") || code.contains("SlowDown")
}
