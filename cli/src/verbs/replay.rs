//! `eventdb replay`: send published events to one queue again.

use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::Args;
use eventdb::FeedCursor;
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use crate::arguments::time;
use crate::connection::Session;
use crate::failure::Failure;
use crate::interrupt;
use crate::output::{Output, tell};
use crate::replay::Replay;
use crate::replay::filter_policy::FilterPolicy;
use crate::replay::queue::{Queue, next_batch};
use crate::replay::selection::{Plan, Selection};
use crate::verbs::{Ended, Outcome};

/// Dollars for a million requests in us-east-1, without the free first million of a month.
const STANDARD_REQUESTS: f64 = 0.40;
const FIFO_REQUESTS: f64 = 0.50;
/// Dollars for a million read units on demand in us-east-1.
const READ_UNITS: f64 = 0.125;
/// SQS counts a request for each 64 KB.
const REQUEST_BYTES: u64 = 65_536;
/// Entries of the feed that a read unit reads.
const ENTRIES_PER_UNIT: u64 = 35;
const TOLD_EVERY: Duration = Duration::from_secs(10);
const QUEUE_READ_EVERY: Duration = Duration::from_secs(5);

/// Sends published events to one queue again, as its subscription delivers them, from the feed's
/// beginning or a cursor up to now.
///
/// First subscribe the queue, then replay: what arrives twice is passed over by its revision. Only
/// events that the subscription's filter lets through are sent. Each message has the attribute
/// `replay`, by which a consumer can hold back side effects. Without --yes, it only says how many
/// messages it would send and what that costs. Ctrl-C stops it and prints the cursor to go on after.
/// Events from before the feed must be adopted first (`eventdb feed build`). Policy: ReplayPolicyArn,
/// which lets you send to the queues in the setting `replayQueues`; for another queue also
/// `sqs:GetQueueUrl`, `GetQueueAttributes` and `SendMessage` on it. A queue of another account must allow
/// it (`allowReplay`), and SNS shows its subscription to that account only: give --queue and --filter.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The ARN of the queue's subscription. It tells the queue and the filter.
    #[arg(long, value_name = "ARN", required_unless_present = "queue")]
    subscription: Option<String>,
    /// The URL of the queue, instead of a subscription.
    #[arg(long, value_name = "URL", conflicts_with = "subscription", requires = "filter")]
    queue: Option<String>,
    /// A filter policy instead of that of the subscription; `{}` lets everything through.
    #[arg(long, value_name = "JSON")]
    filter: Option<FilterPolicy>,
    /// Send bare CloudEvents although the subscription delivers SNS's envelope.
    #[arg(long)]
    raw: bool,
    /// Only events whose subject begins with this.
    #[arg(long, value_name = "PREFIX", default_value = "", hide_default_value = true)]
    subject_prefix: String,
    /// Only events of these types.
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// Only events with a time since then: a duration before now, or an RFC 3339 time.
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<DateTime<Utc>>,
    /// Only events with a time before then.
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<DateTime<Utc>>,
    /// Only the last event of each subject, for a consumer that reads the rest from the store.
    #[arg(long)]
    last_only: bool,
    /// Go on after this cursor, which an interrupted replay has printed.
    #[arg(long, value_name = "CURSOR")]
    after: Option<FeedCursor>,
    /// Messages per second, at most.
    #[arg(long, value_name = "NUMBER", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    messages_per_second: u32,
    /// Wait while more messages than this wait in the queue. The consumer must be running.
    #[arg(long, value_name = "NUMBER")]
    most_waiting: Option<u64>,
    /// Do it, instead of only saying what would be done.
    #[arg(long)]
    yes: bool,
}

/// Runs the command.
///
/// # Errors
/// If the feed or the subscription can't be read, or the queue doesn't take the messages.
pub async fn run(
    arguments: Arguments,
    session: &Session,
    output: &mut Output,
) -> Result<Outcome, Ended> {
    let target = Target::find(&arguments, session).await?;
    let selection = Selection {
        filter: target.filter,
        subject_prefix: arguments.subject_prefix,
        types: arguments.types,
        since: arguments.since,
        until: arguments.until,
        last_only: arguments.last_only,
    };
    if selection.last_only && selection.filter_needs_event() {
        let reason =
            "--last-only can't be used with a filter on the source, which the feed doesn't list";
        return Err(Failure::new(reason)
            .advice("Give --filter with another policy, such as one on the subject.")
            .into());
    }
    let store = session.store().await?;
    let feed = session.feed().await?;
    let unread =
        |error: &(dyn std::error::Error + 'static)| Failure::of("the events can't be read", error);
    let plan = Plan::make(selection, &feed, &store.db, arguments.after.as_ref()).await;
    let plan = plan.map_err(|error| unread(&error))?;
    let estimate = Estimate::of(&plan, target.queue.is_fifo(), arguments.messages_per_second);
    if !arguments.yes {
        output
            .line(&estimate.line("wouldReplay"), format_args!("would send {}", estimate.text()))?;
        tell("Nothing was sent. Add --yes to do it.");
        return Ok(if plan.messages == 0 { Outcome::Fine } else { Outcome::Found });
    }
    interrupt::listen();
    tell(format_args!("sending {}; Ctrl-C stops", estimate.text()));
    if plan.disordered_subjects() > 0 {
        tell(format_args!(
            "{} subjects are sent as a whole, because the feed doesn't list them in order",
            plan.disordered_subjects()
        ));
    }
    let wanted = plan.messages;
    let mut replay = Replay::begin(plan, &feed, &store.db, arguments.after.clone());
    let mut sending = Sending {
        queue: &target.queue,
        rate: f64::from(arguments.messages_per_second),
        most_waiting: arguments.most_waiting,
        began: Instant::now(),
        sent: 0,
    };
    let mut progress = Progress { cursor: arguments.after, missing: 0 };
    let ended = tokio::select! {
        ended = send_all(&mut replay, &mut sending, &mut progress, wanted) => ended.map(|()| true),
        () = interrupt::requested() => Ok(false),
    };
    let sent = sending.sent;
    let cursor = progress.cursor.as_ref().map(ToString::to_string);
    let line = json!({
        "kind": "replayed",
        "messages": sent,
        "missing": progress.missing,
        "isComplete": matches!(ended, Ok(true)),
        "cursor": cursor,
    });
    output.line(&line, format_args!("sent {sent} messages"))?;
    let how_to_go_on = match &cursor {
        Some(cursor) => format!("to go on from here, repeat the command with --after {cursor}"),
        None => "to go on, repeat the command".to_owned(),
    };
    match ended {
        Ok(true) => {
            tell(format_args!(
                "later events: the same command with --after {}",
                cursor.unwrap_or_default()
            ));
            Ok(if progress.missing == 0 { Outcome::Fine } else { Outcome::Found })
        }
        Ok(false) => {
            tell(format_args!("interrupted; up to 100 messages may come twice; {how_to_go_on}"));
            Ok(Outcome::Found)
        }
        Err(failure) => {
            tell(how_to_go_on);
            Err(failure.into())
        }
    }
}

/// How far a replay is.
struct Progress {
    cursor: Option<FeedCursor>,
    missing: u64,
}

async fn send_all(
    replay: &mut Replay,
    sending: &mut Sending<'_>,
    progress: &mut Progress,
    wanted: u64,
) -> Result<(), Failure> {
    let mut told = Instant::now();
    loop {
        let page = replay.next().await;
        let page = page.map_err(|error| Failure::of("the events can't be read", &error))?;
        let Some(mut page) = page else { return Ok(()) };
        for missing in &page.missing {
            tell(missing);
            progress.missing += 1;
        }
        if !page.messages.is_empty() {
            sending.wait_for_consumer().await?;
        }
        while !page.messages.is_empty() {
            sending.send(&next_batch(&mut page.messages)).await?;
        }
        if let Some(cursor) = page.cursor {
            if told.elapsed() >= TOLD_EVERY {
                tell(format_args!("{} of {wanted} messages; --after {cursor}", sending.sent));
                told = Instant::now();
            }
            progress.cursor = Some(cursor);
        }
    }
}

/// The queue, and how fast it is filled.
struct Sending<'run> {
    queue: &'run Queue,
    rate: f64,
    most_waiting: Option<u64>,
    began: Instant,
    sent: u64,
}

impl Sending<'_> {
    async fn send(&mut self, batch: &[crate::replay::Replayed]) -> Result<(), Failure> {
        #[expect(clippy::cast_precision_loss, reason = "a rate needn't be exact")]
        let due = Duration::from_secs_f64(self.sent as f64 / self.rate);
        sleep_until(self.began + due).await;
        self.queue.send(batch).await?;
        self.sent += batch.len() as u64;
        Ok(())
    }

    async fn wait_for_consumer(&self) -> Result<(), Failure> {
        let Some(most) = self.most_waiting else { return Ok(()) };
        while self.queue.waiting().await? > most {
            sleep(QUEUE_READ_EVERY).await;
        }
        Ok(())
    }
}

/// The queue, and what its subscription lets through.
struct Target {
    queue: Queue,
    filter: FilterPolicy,
}

impl Target {
    async fn find(arguments: &Arguments, session: &Session) -> Result<Self, Failure> {
        let name = format!("replay-{}", Uuid::now_v7());
        if let Some(url) = &arguments.queue {
            // https://sqs.<region>.amazonaws.com/<account>/<name>
            let region = url.split('.').nth(1).filter(|_| url.contains("amazonaws.com"));
            let queue = Queue::new(session.sqs(region)?, url.clone(), name);
            let filter = arguments.filter.clone().unwrap_or_else(FilterPolicy::everything);
            return Ok(Self { queue, filter });
        }
        let arn = arguments.subscription.as_deref().unwrap_or_default();
        let failed = |what: &str, error: &(dyn std::error::Error + 'static)| {
            Failure::of(format!("{what} of the subscription `{arn}` can't be read"), error)
        };
        if let Some(topic) =
            session.topic_arn().filter(|topic| !arn.starts_with(&format!("{topic}:")))
        {
            return Err(Failure::new(format!(
                "the subscription `{arn}` isn't one of this store's topic `{topic}`"
            )));
        }
        let sns = session.sns(arn.split(':').nth(3))?;
        let read = sns.get_subscription_attributes().subscription_arn(arn).send().await;
        let read = read.map_err(|error| {
            failed("the attributes", &error).and_advice(
                "SNS shows a subscription only to the account that has made it: for one of another account, \
                 give --queue URL and --filter JSON.",
            )
        })?;
        let mut attributes = read.attributes.unwrap_or_default();
        let is_raw = attributes.get("RawMessageDelivery").is_some_and(|raw| raw == "true");
        if !is_raw && !arguments.raw {
            return Err(Failure::new(format!(
                "the subscription `{arn}` delivers SNS's envelope, and a replay sends bare CloudEvents"
            ))
            .advice("If the consumer reads both, as `ReceivedMessage` does, give --raw."));
        }
        let filter = match (&arguments.filter, attributes.remove("FilterPolicy")) {
            (Some(filter), _) => filter.clone(),
            (None, None) => FilterPolicy::everything(),
            (None, Some(policy)) => {
                if attributes.get("FilterPolicyScope").is_some_and(|scope| scope == "MessageBody") {
                    return Err(Failure::new(format!(
                        "the subscription `{arn}` filters by the message's body, which a replay can't"
                    ))
                    .advice("Give --filter with a policy on the message attributes, or `{}`."));
                }
                policy.parse().map_err(|error| failed("the filter policy", &error))?
            }
        };
        // AWS doesn't document that the attributes tell it.
        let endpoint = endpoint(&sns, arn).await.map_err(|error| failed("the endpoint", &error))?;
        // arn:aws:sqs:<region>:<account>:<name>
        let parts: Vec<&str> = endpoint.split(':').collect();
        let ["arn", _, "sqs", region, account, queue] = parts[..] else {
            return Err(Failure::new(format!(
                "the subscription `{arn}` delivers to `{endpoint}`, which isn't a queue"
            )));
        };
        let sqs = session.sqs(Some(region))?;
        let found = sqs.get_queue_url().queue_name(queue).queue_owner_aws_account_id(account);
        let found = found.send().await.map_err(|error| failed("the queue", &error))?;
        let url = found.queue_url.unwrap_or_default();
        Ok(Self { queue: Queue::new(sqs, url, name), filter })
    }
}

/// Where a subscription delivers, as the list of the topic's subscriptions says it.
async fn endpoint(
    sns: &aws_sdk_sns::Client,
    subscription: &str,
) -> Result<
    String,
    aws_sdk_sns::error::SdkError<
        aws_sdk_sns::operation::list_subscriptions_by_topic::ListSubscriptionsByTopicError,
    >,
> {
    let topic = subscription.rsplit_once(':').map_or(subscription, |(topic, _)| topic);
    let list = sns.list_subscriptions_by_topic().topic_arn(topic);
    let mut pages = list.into_paginator().send();
    while let Some(page) = pages.next().await {
        let listed = page?.subscriptions.unwrap_or_default();
        let found = listed.into_iter().find(|one| one.subscription_arn() == Some(subscription));
        if let Some(endpoint) = found.and_then(|found| found.endpoint) {
            return Ok(endpoint);
        }
    }
    Ok(String::new())
}

/// What a replay sends, and what it costs.
struct Estimate {
    messages: u64,
    bytes: u64,
    requests: u64,
    read_units: u64,
    dollars: f64,
    seconds: u64,
    rate: u32,
}

impl Estimate {
    fn of(plan: &Plan, is_fifo: bool, rate: u32) -> Self {
        let bytes = plan.messages * plan.mean_bytes;
        let requests = plan.messages.div_ceil(10).max(bytes.div_ceil(REQUEST_BYTES));
        let half_units = plan.messages * plan.mean_bytes.div_ceil(4096).max(1);
        let read_units = plan.entries.div_ceil(ENTRIES_PER_UNIT) + half_units.div_ceil(2);
        let price = if is_fifo { FIFO_REQUESTS } else { STANDARD_REQUESTS };
        #[expect(clippy::cast_precision_loss, reason = "an estimate needn't be exact")]
        let dollars = (requests as f64 * price + read_units as f64 * READ_UNITS) / 1e6;
        let seconds = plan.messages.div_ceil(u64::from(rate));
        Self { messages: plan.messages, bytes, requests, read_units, dollars, seconds, rate }
    }

    fn line(&self, kind: &str) -> serde_json::Value {
        json!({
            "kind": kind,
            "messages": self.messages,
            "bytes": self.bytes,
            "requests": self.requests,
            "readUnits": self.read_units,
            "dollars": self.dollars,
            "seconds": self.seconds,
        })
    }

    fn text(&self) -> String {
        format!(
            "{} messages of some {} bytes together, in at least {} requests; with {} read units, some \
             ${:.4} at the prices of us-east-1; at least {} at {} a second",
            self.messages,
            self.bytes,
            self.requests,
            self.read_units,
            self.dollars,
            humantime::format_duration(Duration::from_secs(self.seconds)),
            self.rate
        )
    }
}
