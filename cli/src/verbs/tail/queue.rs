//! A queue that exists as long as somebody looks at the topic.

use std::collections::HashMap;
use std::error::Error;
use std::future::Future;
use std::time::Duration;

use aws_sdk_sqs::types::{
    DeleteMessageBatchRequestEntry, Message, MessageSystemAttributeName, QueueAttributeName,
};
use eventdb::{Event, MessageError, ReceivedMessage};
use serde_json::json;

use crate::connection::Session;
use crate::failure::Failure;
use crate::output::tell;
use crate::verbs::tail::Arguments;

/// How long one request waits for messages. That is the most that SQS allows.
const WAITS_SECONDS: i32 = 20;

/// Messages of one request. That is the most that SQS allows.
const MESSAGES: i32 = 10;

/// What the queue keeps if it can't be removed, in seconds.
const KEEPS_SECONDS: u32 = 300;

/// How often the removal is tried.
const REMOVALS: u32 = 3;

/// A queue and its subscription.
#[derive(Debug)]
pub(super) struct TemporaryQueue {
    sns: aws_sdk_sns::Client,
    sqs: aws_sdk_sqs::Client,
    url: String,
    subscription: Option<String>,
}

impl TemporaryQueue {
    /// Creates the queue and subscribes it. If that fails halfway, what was created is removed.
    pub(super) async fn create(session: &Session, arguments: &Arguments) -> Result<Self, Failure> {
        let (sns, sqs, topic) = session.topic()?;
        let name = format!("eventdb-tail-{}", unique());
        let created = sqs
            .create_queue()
            .queue_name(&name)
            .attributes(QueueAttributeName::MessageRetentionPeriod, KEEPS_SECONDS.to_string())
            .attributes(QueueAttributeName::SqsManagedSseEnabled, "true")
            .send()
            .await
            .map_err(|error| Failure::of(format!("the queue `{name}` can't be created"), &error))?;
        let url = created.queue_url.unwrap_or_default();
        let mut queue = Self { sns, sqs, url, subscription: None };
        match queue.subscribe(&topic, arguments).await {
            Ok(()) => {
                tell(format_args!("the queue `{name}` is subscribed to `{topic}`"));
                Ok(queue)
            }
            Err(failure) => {
                // The first failure says more.
                let _ = queue.remove().await;
                Err(failure)
            }
        }
    }

    async fn subscribe(&mut self, topic: &str, arguments: &Arguments) -> Result<(), Failure> {
        let read = self
            .sqs
            .get_queue_attributes()
            .queue_url(&self.url)
            .attribute_names(QueueAttributeName::QueueArn)
            .send()
            .await
            .map_err(|error| Failure::of("the ARN of the queue can't be read", &error))?;
        let arn = read.attributes.unwrap_or_default().remove(&QueueAttributeName::QueueArn);
        let arn = arn.ok_or_else(|| Failure::new("the queue has no ARN"))?;
        self.sqs
            .set_queue_attributes()
            .queue_url(&self.url)
            .attributes(QueueAttributeName::Policy, policy(&arn, topic))
            .send()
            .await
            .map_err(|error| {
                Failure::of("the topic can't be allowed to send to the queue", &error)
            })?;
        let mut request = self
            .sns
            .subscribe()
            .topic_arn(topic)
            .protocol("sqs")
            .endpoint(&arn)
            .attributes("RawMessageDelivery", "true")
            .return_subscription_arn(true);
        if let Some(filter) = filter(arguments) {
            request = request.attributes("FilterPolicy", filter);
        }
        let subscribed = request.send().await.map_err(|error| {
            Failure::of(format!("the queue can't be subscribed to `{topic}`"), &error)
        })?;
        self.subscription = subscribed.subscription_arn;
        Ok(())
    }

    /// Waits for messages, and takes them out of the queue.
    pub(super) async fn receive(&self) -> Result<Vec<Result<Event, MessageError>>, Failure> {
        let received = self
            .sqs
            .receive_message()
            .queue_url(&self.url)
            .wait_time_seconds(WAITS_SECONDS)
            .max_number_of_messages(MESSAGES)
            .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
            .send()
            .await
            .map_err(|error| Failure::of("the queue can't be read", &error))?;
        let messages = received.messages.unwrap_or_default();
        let entries: Vec<_> = messages.iter().enumerate().filter_map(taken).collect();
        if !entries.is_empty() {
            let request = self.sqs.delete_message_batch().queue_url(&self.url);
            // What isn't deleted is received again, and passed over.
            if let Err(error) = request.set_entries(Some(entries)).send().await {
                tell(Failure::of("messages can't be taken out of the queue", &error));
            }
        }
        let event = |message: Message| {
            ReceivedMessage::read(&message.body.unwrap_or_default()).map(|message| message.event)
        };
        Ok(messages.into_iter().map(event).collect())
    }

    /// Removes the subscription and the queue.
    pub(super) async fn remove(self) -> Result<(), Failure> {
        let mut failures = Vec::new();
        if let Some(arn) = &self.subscription {
            let unsubscribe = || self.sns.unsubscribe().subscription_arn(arn).send();
            if let Err(error) = repeatedly(unsubscribe).await {
                let command = format!("aws sns unsubscribe --subscription-arn {arn}");
                failures.push((command, Failure::of("the subscription stays", &error)));
            }
        }
        let delete = || self.sqs.delete_queue().queue_url(&self.url).send();
        if let Err(error) = repeatedly(delete).await {
            let command = format!("aws sqs delete-queue --queue-url {}", self.url);
            failures.push((command, Failure::of("the queue stays", &error)));
        }
        if failures.is_empty() {
            tell("the queue and its subscription are removed");
            return Ok(());
        }
        let (commands, failures): (Vec<_>, Vec<_>) = failures.into_iter().unzip();
        let failures: Vec<String> = failures.iter().map(ToString::to_string).collect();
        Err(Failure::new(failures.join("\n"))
            .advice(format!("Remove it by hand:\n{}", commands.join("\n"))))
    }
}

async fn repeatedly<Done, Failed, Trying>(act: impl Fn() -> Trying) -> Result<(), Failed>
where
    Failed: Error,
    Trying: Future<Output = Result<Done, Failed>>,
{
    let mut attempt = 1;
    loop {
        match act().await {
            Ok(_) => return Ok(()),
            Err(error) if attempt == REMOVALS => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
        }
        attempt += 1;
    }
}

/// Only this topic may send, and only to this queue.
fn policy(queue: &str, topic: &str) -> String {
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": { "Service": "sns.amazonaws.com" },
            "Action": "sqs:SendMessage",
            "Resource": queue,
            "Condition": { "ArnEquals": { "aws:SourceArn": topic } },
        }],
    })
    .to_string()
}

/// What isn't asked for isn't sent to the queue.
fn filter(arguments: &Arguments) -> Option<String> {
    let mut filter = HashMap::new();
    if !arguments.types.is_empty() {
        filter.insert("type", json!(arguments.types));
    }
    if let Some(prefix) = &arguments.subject_prefix {
        filter.insert("subject", json!([{ "prefix": prefix }]));
    }
    (!filter.is_empty()).then(|| json!(filter).to_string())
}

fn taken((index, message): (usize, &Message)) -> Option<DeleteMessageBatchRequestEntry> {
    let receipt = message.receipt_handle.clone()?;
    DeleteMessageBatchRequestEntry::builder()
        .id(index.to_string())
        .receipt_handle(receipt)
        .build()
        .ok()
}

/// A name that no other queue has.
fn unique() -> String {
    let time = chrono::Utc::now().timestamp_micros();
    format!("{time}-{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::policy;

    #[test]
    fn only_the_topic_may_send_to_the_queue() {
        let policy: Value = serde_json::from_str(&policy("queue-arn", "topic-arn")).expect("JSON");
        let statement = &policy["Statement"][0];
        assert_eq!(statement["Resource"], "queue-arn");
        assert_eq!(statement["Condition"]["ArnEquals"]["aws:SourceArn"], "topic-arn");
        assert_eq!(statement["Action"], "sqs:SendMessage");
    }
}
