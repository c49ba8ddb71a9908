//! The scheduled verification: compares the table of events with the feed.

use std::time::Duration;

use chrono::{DateTime, Utc};
use eventdb::internals::schema::metric;
use eventdb::{EventDb, Feed, FeedError, Verification};
use serde_json::{Value, json};

use crate::metrics::header;

/// What a run of the verification does.
#[derive(Debug, Clone)]
pub struct Verifier {
    /// The store.
    pub db: EventDb,
    /// Its feed.
    pub feed: Feed,
    /// How far back the events of the latest time are compared, by the index; `None` if the table
    /// doesn't have the index.
    pub window: Option<Duration>,
    /// How long publishing may take: the time between the two looks.
    pub second_look_after: Duration,
}

/// The verification couldn't be done.
#[derive(Debug, thiserror::Error)]
#[error("the events can't be verified")]
pub struct VerificationError(#[from] FeedError);

impl VerificationError {
    /// The error and its causes, for the log.
    pub fn message(&self) -> String {
        let mut message = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        message
    }
}

/// What the verifications of one run have found.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// Of the latest events.
    pub window: Option<Verification>,
    /// Of a segment of the table.
    pub segment: Verification,
}

impl Verifier {
    /// Verifies the latest events, and one segment of the whole table: each run another one.
    ///
    /// # Errors
    /// If a table can't be read.
    pub async fn run(&self, now: DateTime<Utc>) -> Result<Report, VerificationError> {
        let window = match self.window {
            Some(window) => {
                let verify = self.feed.verify(&self.db).since(now - window);
                Some(verify.second_look_after(self.second_look_after).await?)
            }
            None => None,
        };
        let segment = self.feed.verify(&self.db).next_segment();
        let segment = segment.second_look_after(self.second_look_after).await?;
        let report = Report { window, segment };
        report.log();
        Ok(report)
    }
}

impl Report {
    /// How many events are known to be unpublished.
    pub fn unpublished_events(&self) -> u64 {
        let latest = self.window.as_ref().map_or(0, |found| found.unpublished_events);
        let rounds = self.segment.rounds.map_or(0, |rounds| rounds.unpublished_events);
        // The same events can be in both.
        latest.max(rounds)
    }

    /// Names what was found, without data of events.
    fn log(&self) {
        for found in self.window.iter().chain([&self.segment]) {
            for event in found.unpublished.iter().take(MOST_LOGGED) {
                tracing::error!(
                    subject = event.subject,
                    revision = event.revision,
                    id = event.id,
                    "an event is unpublished"
                );
            }
            for row in found.invalid.iter().take(MOST_LOGGED) {
                tracing::error!(
                    subject = row.subject,
                    sort_key = row.sort_key,
                    reason = row.reason,
                    "a row can't be published"
                );
            }
            for damaged in found.damaged.iter().take(MOST_LOGGED) {
                tracing::error!(%damaged, "a subject is damaged");
            }
        }
    }

    /// The metrics in CloudWatch's embedded metric format.
    pub fn embedded(&self, function_name: &str, now: DateTime<Utc>) -> Value {
        let found = || self.window.iter().chain([&self.segment]);
        let most = |count: fn(&Verification) -> u64| found().map(count).max().unwrap_or_default();
        let damaged = |found: &Verification| u64::try_from(found.damaged.len()).unwrap_or(u64::MAX);
        let since = self.segment.rounds.map_or(now, |rounds| rounds.complete_since);
        let timestamp = u64::try_from(now.timestamp_millis()).unwrap_or_default();
        let definition = |(name, unit): (&str, &str)| json!({ "Name": name, "Unit": unit });
        let definitions = [
            (metric::UNPUBLISHED_EVENTS, "Count"),
            (metric::INVALID_ROWS, "Count"),
            (metric::DAMAGED_SUBJECTS, "Count"),
            (metric::OLDEST_VERIFICATION, "Seconds"),
        ]
        .map(definition);
        json!({
            "_aws": header(timestamp, &definitions),
            metric::FUNCTION_NAME_DIMENSION: function_name,
            metric::UNPUBLISHED_EVENTS: self.unpublished_events(),
            metric::INVALID_ROWS: most(|found| found.invalid_rows),
            metric::DAMAGED_SUBJECTS: most(damaged),
            metric::OLDEST_VERIFICATION: (now - since).num_seconds().max(0),
            // Only in the log, because a metric has a price.
            "VerifiedEvents": found().map(|found| found.events).sum::<u64>(),
            "UnknownEvents": most(|found| found.unknown_events),
            "AcknowledgedEvents": most(|found| found.acknowledged),
        })
    }
}

/// Most findings of a kind that a run logs.
const MOST_LOGGED: usize = 100;
