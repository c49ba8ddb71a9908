//! The clients of the tables: the feed's, to list in it, and both, to verify. Only this module uses
//! that AWS client.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{
    BehaviorVersion, Config, Region, SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use eventdb::internals::feed::chunk::END_ATTRIBUTES;
use eventdb::internals::schema::feed;
use eventdb::{EventDb, Feed, TimeLimits};
use serde_dynamo::Item;

use crate::configuration::{Configuration, VerifierConfiguration};
use crate::listing::{FeedFailure, FeedTable, Put};
use crate::sns::credentials;
use crate::verification::Verifier;

/// Time limit for establishing a connection, which is part of the time limit of a request.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a read is tried. Nobody waits for a verification, so it is patient.
const VERIFICATION_REQUEST: Duration = Duration::from_secs(60);

/// The table that the configuration names.
#[derive(Debug, Clone)]
pub struct DynamoDbFeedTable {
    client: Client,
    name: String,
}

impl DynamoDbFeedTable {
    /// Creates the client, without sending anything. It uses the given connections. It returns `None`
    /// if the configuration names no table.
    pub fn new(configuration: &Configuration, http_client: SharedHttpClient) -> Option<Self> {
        let name = configuration.feed_table.clone()?;
        let mut config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            // The table is in the region of the function and of the topic.
            .region(Region::new(configuration.region.clone()))
            .credentials_provider(credentials(&configuration.credentials))
            .http_client(http_client)
            // The listing retries, because it knows what a refusal means and the remaining time.
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).build())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        config.set_endpoint_url(configuration.feed_endpoint.clone());
        Some(Self { client: Client::from_conf(config.build()), name })
    }
}

/// The verifier of the tables that the configuration names. Nothing is sent.
pub fn verifier(configuration: &VerifierConfiguration, http_client: SharedHttpClient) -> Verifier {
    let mut config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(configuration.region.clone()))
        .credentials_provider(credentials(&configuration.credentials))
        .http_client(http_client)
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    config.set_endpoint_url(configuration.endpoint.clone());
    let client = Client::from_conf(config.build());
    let limits = TimeLimits::default().operation(VERIFICATION_REQUEST);
    let db = EventDb::new(client.clone(), &configuration.event_table);
    Verifier {
        db: db.with_layout(configuration.layout).with_time_limits(limits),
        feed: Feed::new(client, &configuration.feed_table).with_time_limits(limits),
        window: configuration.window,
        second_look_after: configuration.second_look_after,
    }
}

impl FeedTable for DynamoDbFeedTable {
    async fn last(
        &self,
        partition: &str,
        most: i32,
        with_entries: bool,
    ) -> Result<Vec<Item>, FeedFailure> {
        let mut request = self
            .client
            .query()
            .table_name(&self.name)
            .key_condition_expression("#partition = :partition")
            .expression_attribute_names("#partition", feed::PARTITION)
            .expression_attribute_values(":partition", AttributeValue::S(partition.to_owned()))
            .scan_index_forward(false)
            // A refused put costs more than a consistent read.
            .consistent_read(true)
            .limit(most);
        if !with_entries {
            let mut projection = Vec::new();
            for (index, name) in END_ATTRIBUTES.iter().enumerate() {
                request = request.expression_attribute_names(format!("#a{index}"), *name);
                projection.push(format!("#a{index}"));
            }
            request = request.projection_expression(projection.join(", "));
        }
        match request.send().await {
            Ok(output) => Ok(output.items.unwrap_or_default().into_iter().map(item).collect()),
            Err(error) => Err(failure(&error)),
        }
    }

    async fn put(&self, new: &Item) -> Result<Put, FeedFailure> {
        let sent = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(new.clone().into()))
            .condition_expression("attribute_not_exists(#partition)")
            .expression_attribute_names("#partition", feed::PARTITION)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let error = match sent {
            Ok(_) => return Ok(Put::Stored),
            Err(error) => error,
        };
        if let Some(PutItemError::ConditionalCheckFailedException(refusal)) =
            error.as_service_error()
        {
            let existing = refusal.item.clone().unwrap_or_default();
            return Ok(Put::Refused(item(existing)));
        }
        Err(failure(&error))
    }
}

fn item(attributes: std::collections::HashMap<String, AttributeValue>) -> Item {
    attributes.into()
}

fn failure<E: ProvideErrorMetadata>(error: &SdkError<E>) -> FeedFailure {
    let (is_permanent, code) = match error {
        SdkError::ServiceError(service) => {
            let code = service.err().code().unwrap_or("Unknown");
            (is_permanent(code), code)
        }
        SdkError::ConstructionFailure(_) => (true, "ConstructionFailure"),
        SdkError::TimeoutError(_) => (false, "Timeout"),
        SdkError::DispatchFailure(_) => (false, "DispatchFailure"),
        SdkError::ResponseError(_) => (false, "UnreadableResponse"),
        _ => (false, "Unknown"),
    };
    FeedFailure { is_permanent, code: code.to_owned() }
}

/// Whether the same request would fail again:
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html>
fn is_permanent(code: &str) -> bool {
    ["AccessDenied", "NotFound", "Validation", "Credential", "Token", "Signature", "KMS"]
        .iter()
        .any(|kind| code.contains(kind))
        && !code.contains("Throttl")
}
