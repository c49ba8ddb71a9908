//! The metrics of one invocation, as a log line that CloudWatch converts to metrics. No I/O.

use eventdb::internals::schema::metric;
use serde_json::{Value, json};

/// Most values of one metric in a line of the [embedded metric format].
///
/// [embedded metric format]: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
pub const VALUES: usize = 100;

/// The counts of one invocation.
///
/// ```
/// use eventdb_publisher::metrics::Metrics;
///
/// let metrics = Metrics { published: 2, lags: vec![180, 120], ..Metrics::default() };
/// let line = metrics.embedded("publisher", 1_738_074_600_000);
/// assert_eq!(line["PublishedEvents"], 2);
/// assert_eq!(line["PublishLag"], serde_json::json!([120, 180]));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Events that the topic has accepted.
    pub published: usize,
    /// Records that aren't new events.
    pub skipped: usize,
    /// Records that should have been published but weren't.
    pub failed: usize,
    /// Events that the topic has accepted but that couldn't be listed in the feed; `None` without a
    /// feed.
    pub unlisted: Option<usize>,
    /// Events that were published before, and weren't sent again.
    pub repeated: usize,
    /// Requests to the topic, including repetitions.
    pub requests: usize,
    /// For each published event whose record contains its arrival time in the stream: the
    /// milliseconds from then to its publication.
    pub lags: Vec<u64>,
}

impl Metrics {
    /// The metrics in embedded metric format. `timestamp` is in milliseconds since 1970.
    ///
    /// If there are more than [`VALUES`] lags, it contains an even sample of the sorted lags, so that
    /// minimum, maximum and percentiles stay right.
    pub fn embedded(&self, function_name: &str, timestamp: u64) -> Value {
        let mut definitions = vec![
            json!({ "Name": metric::PUBLISHED_EVENTS, "Unit": "Count" }),
            json!({ "Name": metric::SKIPPED_RECORDS, "Unit": "Count" }),
            json!({ "Name": metric::FAILED_RECORDS, "Unit": "Count" }),
        ];
        if !self.lags.is_empty() {
            definitions.push(json!({ "Name": metric::PUBLISH_LAG, "Unit": "Milliseconds" }));
        }
        if self.unlisted.is_some() {
            definitions.push(json!({ "Name": metric::UNLISTED_EVENTS, "Unit": "Count" }));
        }
        let mut line = json!({
            "_aws": header(timestamp, &definitions),
            metric::FUNCTION_NAME_DIMENSION: function_name,
            metric::PUBLISHED_EVENTS: self.published,
            metric::SKIPPED_RECORDS: self.skipped,
            metric::FAILED_RECORDS: self.failed,
            // Only in the log, because a metric has a price.
            "PublishRequests": self.requests,
            "RepeatedEvents": self.repeated,
        });
        if let Some(fields) = line.as_object_mut() {
            if !self.lags.is_empty() {
                fields.insert(metric::PUBLISH_LAG.to_owned(), json!(sample(&self.lags)));
            }
            if let Some(unlisted) = self.unlisted {
                fields.insert(metric::UNLISTED_EVENTS.to_owned(), json!(unlisted));
            }
        }
        line
    }
}

/// The member `_aws` of a line in embedded metric format. `timestamp` is in milliseconds since 1970.
pub(crate) fn header(timestamp: u64, definitions: &[Value]) -> Value {
    json!({
        "Timestamp": timestamp,
        "CloudWatchMetrics": [{
            "Namespace": metric::NAMESPACE,
            "Dimensions": [[metric::FUNCTION_NAME_DIMENSION]],
            "Metrics": definitions,
        }],
    })
}

fn sample(values: &[u64]) -> Vec<u64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    if sorted.len() <= VALUES {
        return sorted;
    }
    let last = sorted.len() - 1;
    (0..VALUES).filter_map(|step| sorted.get(step * last / (VALUES - 1)).copied()).collect()
}
