//! A subscriber: takes published events from its queue, applies each once and in the order of its
//! subject, and prints the read model: who has which book.
//!
//! `LIBRARY_QUEUE` names the queue; `npm run local` prints how to set it, and the outputs of the
//! deployed subscriber name it too. With `LIBRARY_TABLE` set, events that are missing are read from
//! that table; without, as in another account, those that come too early are left to be delivered again.
//! With `LIBRARY_TOPIC` set, an SNS envelope must be of that topic. It runs until Ctrl-C or, with
//! `--until-empty`, until nothing has come for two seconds.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example says what it does")]

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_config::BehaviorVersion;
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, Message};
use eventdb::{
    ApplyOutcome, DomainEvent, Event, EventDb, Position, Projection, ReadModel, ReceivedMessage,
    Step, TableLayout, UnknownTypes, UnreadableEvent,
};
use serde::{Deserialize, Serialize};

/// What the view needs of a book's events; all others are passed over.
#[derive(Debug, Serialize, Deserialize)]
enum BookEvent {
    #[serde(rename = "book.borrowed", rename_all = "camelCase")]
    Borrowed { user_id: String },
    #[serde(rename = "book.returned")]
    Returned {},
}

impl DomainEvent for BookEvent {
    const UNKNOWN_TYPES: UnknownTypes = UnknownTypes::Ignore;
}

/// Who has which book, and up to which event that is known. Positions are kept where the view is:
/// here in memory, so that both begin anew with the process.
#[derive(Default)]
struct Loans(Mutex<BTreeMap<String, Loan>>);

#[derive(Default)]
struct Loan {
    position: Position,
    borrower: Option<String>,
}

impl Loans {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Loan>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReadModel for Loans {
    type Error = Box<UnreadableEvent>;

    async fn position(&self, subject: &str) -> Result<Position, Self::Error> {
        Ok(self.lock().get(subject).map(|loan| loan.position.clone()).unwrap_or_default())
    }

    async fn apply(&self, event: &Event, step: &Step) -> Result<ApplyOutcome, Self::Error> {
        let change = event.typed()?;
        let mut loans = self.lock();
        let loan = loans.entry(event.subject.clone()).or_default();
        if !step.begins_at(&loan.position) {
            return Ok(ApplyOutcome::PositionDiffers);
        }
        loan.position = step.to.clone();
        match change {
            Some(BookEvent::Borrowed { user_id }) => loan.borrower = Some(user_id),
            Some(BookEvent::Returned {}) => loan.borrower = None,
            None => {}
        }
        Ok(ApplyOutcome::Applied)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let queue = std::env::var("LIBRARY_QUEUE").map_err(|_| "LIBRARY_QUEUE must name the queue")?;
    let topic = std::env::var("LIBRARY_TOPIC").ok();
    let (mut until_empty, mut layout) = (false, TableLayout::ByTime);
    for option in std::env::args().skip(1) {
        match option.as_str() {
            "--until-empty" => until_empty = true,
            "--by-revision" => layout = TableLayout::ByRevision,
            other => {
                return Err(
                    format!("{other} is unknown: give --until-empty or --by-revision").into()
                );
            }
        }
    }
    let configuration = aws_config::load_defaults(BehaviorVersion::latest()).await;
    let sqs = aws_sdk_sqs::Client::new(&configuration);
    let loans = Loans::default();
    let store = std::env::var("LIBRARY_TABLE").ok().map(|table| {
        EventDb::new(aws_sdk_dynamodb::Client::new(&configuration), table).with_layout(layout)
    });
    let projection = Projection::new(&loans).reading(store);
    loop {
        let receive = sqs
            .receive_message()
            .queue_url(&queue)
            .max_number_of_messages(10)
            .wait_time_seconds(if until_empty { 2 } else { 20 });
        let received = tokio::select! {
            received = receive.send() => received?.messages.unwrap_or_default(),
            interrupted = tokio::signal::ctrl_c() => return Ok(interrupted?),
        };
        if received.is_empty() && until_empty {
            break;
        }
        let (genuine, foreign): (Vec<_>, Vec<_>) =
            received.into_iter().partition(|message| is_of(message, topic.as_deref()));
        for message in &foreign {
            eprintln!("{}: of another topic, left", message.message_id().unwrap_or_default());
        }
        let bodies = genuine.iter().map(|message| {
            (message.message_id().unwrap_or_default(), message.body().unwrap_or(""))
        });
        let failed = projection.handle_batch(bodies).await;
        for message in &failed {
            eprintln!("{}: {}, left to be delivered again", message.id, message.error);
        }
        let applied = genuine.iter().filter(|message| {
            failed.iter().all(|failed| Some(failed.id.as_str()) != message.message_id())
        });
        delete(&sqs, &queue, applied).await?;
        print(&loans);
    }
    Ok(())
}

/// Whether the message is of the topic that we subscribed to, as far as it says.
fn is_of(message: &Message, topic: Option<&str>) -> bool {
    let received = ReceivedMessage::read(message.body().unwrap_or_default());
    match (topic, received) {
        (Some(topic), Ok(ReceivedMessage { topic_arn: Some(arn), .. })) => arn == topic,
        _ => true,
    }
}

/// Deletes what was applied; what can't be deleted is delivered again, and is recognised then.
async fn delete(
    sqs: &aws_sdk_sqs::Client,
    queue: &str,
    messages: impl Iterator<Item = &Message>,
) -> Result<(), Box<dyn Error>> {
    let entries = messages
        .enumerate()
        .map(|(index, message)| {
            DeleteMessageBatchRequestEntry::builder()
                .id(index.to_string())
                .set_receipt_handle(message.receipt_handle.clone())
                .build()
        })
        .collect::<Result<Vec<_>, _>>()?;
    if !entries.is_empty() {
        sqs.delete_message_batch().queue_url(queue).set_entries(Some(entries)).send().await?;
    }
    Ok(())
}

fn print(loans: &Loans) {
    println!();
    for (subject, Loan { position, borrower }) in &*loans.lock() {
        let borrower = borrower.as_deref().unwrap_or("nobody");
        println!("{subject} is with {borrower}, as of revision {}", position.revision);
    }
}
