//! `eventdb lag`: how far read models are behind what was published.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::Utc;
use clap::Args;
use eventdb::internals::schema::metric;
use eventdb::{DynamoDbReadModel, Feed, FeedCursor, Lag};
use serde_json::{Value, json};

use crate::arguments::duration;
use crate::connection::Session;
use crate::failure::Failure;
use crate::output::{Output, tell, visible};
use crate::positions::Positions;
use crate::verbs::{Ended, Outcome, shown};

/// Compares the positions of read models in DynamoDB with the feed: how many events each lacks, and how
/// old the oldest of these is.
///
/// Without --read-model, it reads the whole table of the positions to find the names of the read
/// models. Exit status 1 if one is behind by more than a limit. A read model in another database is
/// compared by the library: `Follow::lag_of`. Policy: FollowPolicyArn, and `dynamodb:DescribeTable`,
/// `GetItem` and, without --read-model, `Scan` on the table of the positions.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The table in which the read models keep their positions.
    #[arg(long, value_name = "TABLE", env = "EVENTDB_POSITIONS")]
    positions: String,
    /// The name of a read model. It can be given several times.
    #[arg(long = "read-model", value_name = "NAME")]
    read_models: Vec<String>,
    /// Only events of these types: those that the read model takes.
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// Only events whose subject begins with this.
    #[arg(long, value_name = "PREFIX")]
    subject_prefix: Option<String>,
    /// Only what the feed lists after this cursor, which costs less.
    #[arg(long, value_name = "CURSOR")]
    after: Option<FeedCursor>,
    /// Exit status 1 if a read model lacks more events than this.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    limit: u64,
    /// Exit status 1 only if, in addition, the oldest of these events is older than this.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    age_limit: Option<Duration>,
    /// Print metrics in CloudWatch's embedded metric format, for a scheduled job whose output
    /// CloudWatch Logs gets.
    #[arg(long)]
    metric: bool,
}

/// Runs the command.
///
/// # Errors
/// If the feed or the positions can't be read.
pub async fn run(
    arguments: Arguments,
    session: &Session,
    output: &mut Output,
) -> Result<Outcome, Ended> {
    let feed = session.feed().await?;
    let positions = Positions::open(session.dynamodb.clone(), &arguments.positions).await?;
    let mut names: BTreeSet<String> = arguments.read_models.iter().cloned().collect();
    if names.is_empty() {
        names = positions.read_models().await?;
    }
    if names.is_empty() {
        tell(format_args!("no read model has a position in the table `{}`", arguments.positions));
    }
    let mut is_fine = true;
    for name in names {
        let lag =
            lag_of(&arguments, &feed, &positions.read_model(&name)).await.map_err(|error| {
                Failure::of(format!("the lag of the read model `{name}` can't be told"), &error)
            })?;
        let age = lag.age(Utc::now());
        let is_too_old = arguments.age_limit.is_none_or(|limit| age.is_some_and(|age| age > limit));
        is_fine &= lag.events <= arguments.limit || !is_too_old;
        let line = match arguments.metric {
            true => metrics(&name, &lag, age),
            false => json!({
                "kind": "lag",
                "readModel": name,
                "events": lag.events,
                "subjects": lag.subjects,
                "parkedSubjects": lag.parked,
                "oldest": lag.oldest.map(shown),
                "ageSeconds": age.map(|age| age.as_secs()),
            }),
        };
        let age = age.map_or_else(String::new, |age| {
            format!(", {} old", humantime::format_duration(Duration::from_secs(age.as_secs())))
        });
        match arguments.metric {
            true => output.line(&line, &line)?,
            false => output.line(&line, format_args!("{}: {lag}{age}", visible(&name)))?,
        }
    }
    Ok(if is_fine { Outcome::Fine } else { Outcome::Found })
}

async fn lag_of(
    arguments: &Arguments,
    feed: &Feed,
    model: &DynamoDbReadModel,
) -> Result<Lag, eventdb::LagError<eventdb::ReadModelError>> {
    let mut follow = feed.follow();
    if let Some(cursor) = &arguments.after {
        follow = follow.after(cursor.clone());
    }
    if !arguments.types.is_empty() {
        follow = follow.types(&arguments.types);
    }
    if let Some(prefix) = &arguments.subject_prefix {
        follow = follow.subject_prefix(prefix);
    }
    follow.lag_of(model).await
}

/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>
fn metrics(read_model: &str, lag: &Lag, age: Option<Duration>) -> Value {
    let units = [(metric::LAG_EVENTS, "Count"), (metric::LAG_AGE, "Seconds")];
    json!({
        "_aws": {
            "Timestamp": Utc::now().timestamp_millis(),
            "CloudWatchMetrics": [{
                "Namespace": metric::NAMESPACE,
                "Dimensions": [[metric::READ_MODEL_DIMENSION]],
                "Metrics": units.map(|(name, unit)| json!({ "Name": name, "Unit": unit })),
            }],
        },
        metric::READ_MODEL_DIMENSION: read_model,
        metric::LAG_EVENTS: lag.events,
        metric::LAG_AGE: age.unwrap_or_default().as_secs(),
    })
}
