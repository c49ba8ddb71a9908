//! The publisher function, and the function that verifies. Their logic is in the library of this package.

use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use eventdb_publisher::batch::Payload;
use eventdb_publisher::configuration::{Configuration, ConfigurationError, VerifierConfiguration};
use eventdb_publisher::feed::{DynamoDbFeedTable, verifier};
use eventdb_publisher::handler::handle_with_feed;
use eventdb_publisher::listing::Feed;
use eventdb_publisher::sns::{SnsTopic, https_client};
use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use serde::de::IgnoredAny;
use tokio::time::Instant;
use tracing::{Instrument, Level};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Time reserved for the answer at the end of an invocation. After Lambda's time limit, nothing can
/// be reported, and the whole batch is delivered again.
const MARGIN: Duration = Duration::from_secs(1);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    match VerifierConfiguration::from_environment() {
        // Boxed, because the compiler doesn't compute the size of a future that deep.
        Some(configuration) => Box::pin(verify(configuration)).await,
        None => Box::pin(publish(Configuration::from_environment())).await,
    }
}

async fn publish(
    configuration: Result<Configuration, ConfigurationError>,
) -> Result<(), lambda_runtime::Error> {
    start_logging(configuration.as_ref().map_or(Level::INFO, |settings| settings.log_level));
    let configuration =
        configuration.inspect_err(|error| tracing::error!(%error, "the function can't start"))?;
    // One for both: reading the authorities takes time.
    let http_client = https_client(configuration.trust);
    let topic = SnsTopic::with_http_client(&configuration, http_client.clone());
    let feed = DynamoDbFeedTable::new(&configuration, http_client)
        .map(|table| Feed::new(table, configuration.feed_partitions));
    let (topic, feed) = (&topic, feed.as_ref());
    let function_name = configuration.function_name.as_str();
    lambda_runtime::run(service_fn(async |event: LambdaEvent<Payload>| {
        let invocation = tracing::info_span!("invocation", request_id = event.context.request_id);
        let left = event.context.deadline().duration_since(SystemTime::now()).unwrap_or_default();
        let deadline = Instant::now() + left.saturating_sub(MARGIN);
        let (answer, metrics) =
            handle_with_feed(topic, feed, event.payload, deadline).instrument(invocation).await;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let timestamp = u64::try_from(now.as_millis()).unwrap_or_default();
        // The answer matters more than the metrics, so an error in writing them is ignored.
        let _ = writeln!(std::io::stdout(), "{}", metrics.embedded(function_name, timestamp));
        answer.map_err(Diagnostic::from)
    }))
    .await
}

async fn verify(
    configuration: Result<VerifierConfiguration, ConfigurationError>,
) -> Result<(), lambda_runtime::Error> {
    start_logging(configuration.as_ref().map_or(Level::INFO, |settings| settings.log_level));
    let configuration =
        configuration.inspect_err(|error| tracing::error!(%error, "the function can't start"))?;
    let verifier = verifier(&configuration, https_client(configuration.trust));
    let (verifier, function_name) = (&verifier, configuration.function_name.as_str());
    lambda_runtime::run(service_fn(async |event: LambdaEvent<IgnoredAny>| {
        let invocation = tracing::info_span!("invocation", request_id = event.context.request_id);
        let report = verifier.run(SystemTime::now().into()).instrument(invocation).await;
        let report = report.map_err(|error| Diagnostic {
            error_type: "VerificationError".to_owned(),
            error_message: error.message(),
        })?;
        let line = report.embedded(function_name, SystemTime::now().into());
        let _ = writeln!(std::io::stdout(), "{line}");
        Ok::<_, Diagnostic>(line)
    }))
    .await
}

/// Logs JSON lines. The configured level applies only to this project. At its lowest level, the AWS
/// client would log whole messages with event data.
fn start_logging(level: Level) {
    let targets = Targets::new()
        .with_default(Level::WARN.min(level))
        .with_target("eventdb", level)
        .with_target("eventdb_publisher", level);
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_span_list(false)
        .with_target(false);
    tracing_subscriber::registry().with(lines).with(targets).init();
}
