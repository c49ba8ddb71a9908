//! `eventdb tail`: the last events, and those that are published from now on.

mod queue;

use std::collections::HashSet;

use clap::Args;
use eventdb::{Event, FeedCursor, FeedEntry, Listing};
use futures_util::TryStreamExt;
use serde_json::json;

use crate::connection::{Session, Store};
use crate::failure::Failure;
use crate::interrupt;
use crate::output::{Output, tell, visible};
use crate::verbs::tail::queue::TemporaryQueue;
use crate::verbs::{Ended, Outcome, cloud_event, entry_line, entry_text};

/// Prints the last events and, with --follow, those that are published from now on.
///
/// The last events are read by the index AllEventsByTime. It follows the feed if there is one. Else, or
/// with --queue, it subscribes a temporary queue to the topic, and removes both when it ends: after
/// Ctrl-C and after a failure, too. Policy: ReadPolicyArn; with --follow, FollowPolicyArn; with --queue,
/// TailPolicyArn.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Wait for new events.
    #[arg(long, short)]
    follow: bool,
    /// How many of the last events to print.
    #[arg(long, short = 'n', value_name = "NUMBER", default_value_t = 10)]
    last: usize,
    /// Only events of these types.
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// Only events whose subject begins with this.
    #[arg(long, value_name = "PREFIX")]
    subject_prefix: Option<String>,
    /// Print the events with their data, as CloudEvents.
    #[arg(long)]
    data: bool,
    /// Follow the topic with a temporary queue, even if there is a feed.
    #[arg(long, requires = "follow")]
    queue: bool,
}

/// Where new events come from.
enum Source {
    Feed(eventdb::Feed, FeedCursor),
    Queue(TemporaryQueue),
}

/// An event is printed once, although it may be both among the last and among the new ones.
#[derive(Debug, Default)]
struct Printed(HashSet<(String, String)>);

/// Runs the command.
///
/// # Errors
/// If the events can't be read or the queue can't be created, or the output can't be written.
pub async fn run(
    arguments: Arguments,
    session: &Session,
    output: &mut Output,
) -> Result<Outcome, Ended> {
    interrupt::listen();
    let store = session.store().await?;
    // What is published while the last events are read isn't missed.
    let source = match arguments.follow {
        false => None,
        true if !arguments.queue && session.has_feed().await? => {
            let feed = session.feed().await?;
            let end = end_of(&feed).await?;
            Some(Source::Feed(feed, end))
        }
        true => Some(Source::Queue(TemporaryQueue::create(session, &arguments).await?)),
    };
    let mut printed = Printed::default();
    let last = print_last(&arguments, &store, &mut printed, output).await;
    match source {
        None => last.map(|()| Outcome::Fine),
        Some(Source::Feed(feed, end)) => {
            last?;
            follow_feed(&arguments, &store, feed, end, printed, output).await
        }
        Some(Source::Queue(queue)) => {
            let ended = match last {
                Ok(()) => follow_queue(&arguments, &queue, printed, output).await,
                Err(ended) => Err(ended),
            };
            let removed = queue.remove().await;
            ended.and_then(|outcome| removed.map(|()| outcome).map_err(Ended::from))
        }
    }
}

async fn print_last(
    arguments: &Arguments,
    store: &Store,
    printed: &mut Printed,
    output: &mut Output,
) -> Result<(), Ended> {
    if arguments.last == 0 {
        return Ok(());
    }
    let mut events: Vec<Event> = Vec::new();
    let mut pages = store.db.fetch_all_events().backwards().limit(arguments.last).stream();
    loop {
        let page = tokio::select! {
            page = pages.try_next() => page,
            () = interrupt::requested() => return Ok(()),
        };
        let page = page.map_err(|error| Failure::of("the last events can't be read", &error))?;
        let Some(page) = page else { break };
        events.extend(page.events);
    }
    for event in events.iter().rev().filter(|event| arguments.chooses(event)) {
        print(event, arguments, printed, output)?;
    }
    Ok(output.flush()?)
}

/// Where the feed ends now.
async fn end_of(feed: &eventdb::Feed) -> Result<FeedCursor, Failure> {
    let mut pages = feed.follow().from_now().until_caught_up().stream();
    let mut cursor = FeedCursor::default();
    loop {
        let page = pages.try_next().await;
        let page = page.map_err(|error| Failure::of("the feed can't be read", &error))?;
        let Some(page) = page else { return Ok(cursor) };
        cursor = page.cursor;
    }
}

async fn follow_feed(
    arguments: &Arguments,
    store: &Store,
    feed: eventdb::Feed,
    mut cursor: FeedCursor,
    mut printed: Printed,
    output: &mut Output,
) -> Result<Outcome, Ended> {
    let mut follow = feed.follow().after(cursor.clone());
    if !arguments.types.is_empty() {
        follow = follow.types(arguments.types.clone());
    }
    if let Some(prefix) = &arguments.subject_prefix {
        follow = follow.subject_prefix(prefix);
    }
    let failed =
        |error: &(dyn std::error::Error + 'static)| Failure::of("the feed can't be read", error);
    tell("following the feed; Ctrl-C ends it");
    if arguments.data {
        let mut pages = follow.events_of(&store.db).stream();
        while let Some(page) = interrupt::next(&mut pages).await.map_err(|error| failed(&error))? {
            for event in &page.events {
                print(event, arguments, &mut printed, output)?;
            }
            for missing in &page.missing {
                tell(visible(&missing.to_string()));
            }
            cursor = page.cursor;
            output.flush()?;
        }
    } else {
        let mut pages = follow.stream();
        while let Some(page) = interrupt::next(&mut pages).await.map_err(|error| failed(&error))? {
            for entry in &page.entries {
                if printed.is_new(&entry.subject, &entry.id) {
                    output.line(&entry_line(entry), entry_text(entry))?;
                }
            }
            cursor = page.cursor;
            output.flush()?;
        }
    }
    tell("`eventdb feed` goes on from here:");
    super::cursor(&cursor, output)?;
    Ok(Outcome::Fine)
}

async fn follow_queue(
    arguments: &Arguments,
    queue: &TemporaryQueue,
    mut printed: Printed,
    output: &mut Output,
) -> Result<Outcome, Ended> {
    tell("following the topic; Ctrl-C ends it and removes the queue");
    let mut outcome = Outcome::Fine;
    loop {
        let messages = tokio::select! {
            messages = queue.receive() => messages?,
            () = interrupt::requested() => return Ok(outcome),
        };
        for message in messages {
            match message {
                Ok(event) if arguments.chooses(&event) => {
                    print(&event, arguments, &mut printed, output)?;
                }
                Ok(_) => {}
                Err(error) => {
                    tell(format_args!("a message isn't an event: {}", visible(&error.to_string())));
                    outcome = Outcome::Found;
                }
            }
        }
        output.flush()?;
    }
}

fn print(
    event: &Event,
    arguments: &Arguments,
    printed: &mut Printed,
    output: &mut Output,
) -> Result<(), Ended> {
    if !printed.is_new(&event.subject, &event.id) {
        return Ok(());
    }
    let entry = FeedEntry::new(event, None, Listing::Published);
    match arguments.data {
        true => {
            let line = json!({ "kind": "event", "event": cloud_event(event)? });
            let data = visible(&event.data.to_string());
            output.line(&line, format_args!("{}  {data}", entry_text(&entry)))?;
        }
        false => {
            let mut line = entry_line(&entry);
            if let Some(line) = line.as_object_mut() {
                // It isn't known whether the event was published.
                line.remove("listing");
            }
            output.line(&line, entry_text(&entry))?;
        }
    }
    Ok(())
}

impl Arguments {
    fn chooses(&self, event: &Event) -> bool {
        let has_type = self.types.is_empty() || self.types.contains(&event.ty);
        has_type
            && self.subject_prefix.as_ref().is_none_or(|prefix| event.subject.starts_with(prefix))
    }
}

impl Printed {
    /// Most events that it remembers. Those among the last ones are the first that it sees.
    const MOST: usize = 100_000;

    fn is_new(&mut self, subject: &str, id: &str) -> bool {
        let key = (subject.to_owned(), id.to_owned());
        match self.0.len() < Self::MOST {
            true => self.0.insert(key),
            false => !self.0.contains(&key),
        }
    }
}
