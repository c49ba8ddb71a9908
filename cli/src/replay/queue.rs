//! The queue that a replay sends to.

use std::collections::HashSet;
use std::collections::VecDeque;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{
    BatchResultErrorEntry, MessageAttributeValue, QueueAttributeName, SendMessageBatchRequestEntry,
};
use eventdb::internals::schema::message_attribute;
use eventdb::internals::{ATTRIBUTE_TYPE, fifo};
use tokio::time::sleep;

use crate::failure::Failure;
use crate::replay::Replayed;

/// Most messages of a request:
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html>
const MESSAGES: usize = 10;

/// Bytes of a request, unless one message alone is larger. Every queue accepts as much.
const BYTES: usize = 262_144;

/// How often a message is sent that the queue can't take at the moment.
const ATTEMPTS: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// The queue that a replay sends to.
#[derive(Debug)]
pub struct Queue {
    client: Client,
    url: String,
    /// The name of the replay.
    replay: String,
}

impl Queue {
    /// The queue with this URL. `replay` is the name of the replay: each message has it as an attribute.
    pub fn new(client: Client, url: String, replay: String) -> Self {
        Self { client, url, replay }
    }

    /// Whether the queue is a FIFO queue.
    pub fn is_fifo(&self) -> bool {
        self.url.ends_with(".fifo")
    }

    /// How many messages wait in the queue, approximately.
    ///
    /// # Errors
    /// If the request fails.
    pub async fn waiting(&self) -> Result<u64, Failure> {
        let name = QueueAttributeName::ApproximateNumberOfMessages;
        let read = self.client.get_queue_attributes().queue_url(&self.url);
        let read = read.attribute_names(name.clone()).send().await.map_err(|error| {
            Failure::of(format!("the length of the queue `{}` can't be read", self.url), &error)
        })?;
        let waiting = read.attributes.unwrap_or_default().remove(&name);
        Ok(waiting.and_then(|number| number.parse().ok()).unwrap_or_default())
    }

    /// Sends a batch: see [`next_batch`]. Messages that the queue can't take at the moment are sent
    /// again.
    ///
    /// # Errors
    /// If the queue refuses a message, or can't take it for some time. The others may be sent.
    pub async fn send(&self, batch: &[Replayed]) -> Result<(), Failure> {
        let failed = |error: &(dyn std::error::Error + 'static)| {
            Failure::of(format!("the queue `{}` doesn't take the messages", self.url), error)
        };
        let mut entries = Vec::with_capacity(batch.len());
        for (index, replayed) in batch.iter().enumerate() {
            entries.push(self.entry(index, replayed).map_err(|error| failed(&error))?);
        }
        let mut pause = FIRST_PAUSE;
        for attempt in 1.. {
            let request = self.client.send_message_batch().queue_url(&self.url);
            let answer = request.set_entries(Some(entries.clone())).send().await;
            let refused = answer.map_err(|error| failed(&error))?.failed;
            let Some(first) = refused.first() else { break };
            if attempt == ATTEMPTS || refused.iter().any(BatchResultErrorEntry::sender_fault) {
                let code = first.code();
                let message = first.message().unwrap_or("no message");
                return Err(Failure::new(format!(
                    "the queue `{}` doesn't take {} of the messages: {code}: {message}",
                    self.url,
                    refused.len()
                )));
            }
            entries.retain(|entry| refused.iter().any(|refused| refused.id() == entry.id()));
            sleep(pause).await;
            pause *= 2;
        }
        Ok(())
    }

    fn entry(
        &self,
        index: usize,
        replayed: &Replayed,
    ) -> Result<SendMessageBatchRequestEntry, aws_sdk_sqs::error::BuildError> {
        let Replayed { subject, source, id, message } = replayed;
        let mut entry = SendMessageBatchRequestEntry::builder()
            .id(index.to_string())
            .message_body(&message.body);
        let mark = (message_attribute::REPLAY, &self.replay);
        let attributes = message.attributes.iter().map(|(name, value)| (*name, value));
        for (name, value) in attributes.chain([mark]) {
            let value = MessageAttributeValue::builder()
                .data_type(ATTRIBUTE_TYPE)
                .string_value(value)
                .build()?;
            entry = entry.message_attributes(name, value);
        }
        if self.is_fifo() {
            entry = entry
                .message_group_id(fifo::message_group_id(subject))
                .message_deduplication_id(fifo::deduplication_id(source, id, Some(&self.replay)));
        }
        entry.build()
    }
}

/// Takes the messages of the next request: at most one of each subject, so that none can overtake an
/// earlier one of its subject which has to be sent again.
pub fn next_batch(messages: &mut VecDeque<Replayed>) -> Vec<Replayed> {
    let mut batch: Vec<Replayed> = Vec::new();
    let mut bytes = 0;
    let mut passed_over = VecDeque::new();
    let mut subjects = HashSet::new();
    while batch.len() < MESSAGES {
        let Some(next) = messages.pop_front() else { break };
        let is_new = subjects.insert(next.subject.clone());
        let size = next.message.size() + message_attribute::REPLAY.len() + 64;
        if is_new && (batch.is_empty() || bytes + size <= BYTES) {
            bytes += size;
            batch.push(next);
        } else {
            passed_over.push_back(next);
        }
    }
    while let Some(last) = passed_over.pop_back() {
        messages.push_front(last);
    }
    batch
}

#[cfg(test)]
mod tests {
    use eventdb::{Event, Message};
    use serde_json::json;

    use super::{Replayed, VecDeque, next_batch};

    fn replayed(subject: &str, id: &str, bytes: usize) -> Replayed {
        let event = Event::builder()
            .id(id)
            .source("https://library.example.com")
            .ty("book.borrowed")
            .subject(subject)
            .time(eventdb::chrono::DateTime::UNIX_EPOCH)
            .data(json!({ "text": "x".repeat(bytes) }))
            .build();
        let message = Message::new(&event);
        Replayed { subject: event.subject, source: event.source, id: event.id, message }
    }

    fn batches(messages: impl IntoIterator<Item = Replayed>) -> Vec<Vec<String>> {
        let mut messages: VecDeque<_> = messages.into_iter().collect();
        let mut batches = Vec::new();
        while !messages.is_empty() {
            let batch = next_batch(&mut messages);
            batches.push(batch.into_iter().map(|replayed| replayed.id).collect());
        }
        batches
    }

    #[test]
    fn a_batch_has_ten_messages_and_one_of_each_subject() {
        let many = (0..25).map(|n| replayed(&format!("book:{n}"), &format!("e{n}"), 0));
        let sizes: Vec<_> = batches(many).iter().map(Vec::len).collect();
        assert_eq!(sizes, [10, 10, 5]);
        let few = [("a", "1"), ("a", "2"), ("b", "3"), ("a", "4"), ("b", "5")];
        let few = few.map(|(subject, id)| replayed(&format!("book:{subject}"), id, 0));
        assert_eq!(batches(few), [vec!["1", "3"], vec!["2", "5"], vec!["4"]]);
    }

    #[test]
    fn a_batch_has_as_many_bytes_as_every_queue_takes() {
        let large = [("a", 200_000), ("b", 100_000), ("c", 50_000), ("d", 300_000)];
        let large = large.map(|(subject, bytes)| replayed(subject, subject, bytes));
        assert_eq!(batches(large), [vec!["a", "c"], vec!["b"], vec!["d"]]);
    }
}
