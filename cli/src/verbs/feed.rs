//! `eventdb feed`: which events were published, in an order that can be followed.

use clap::{Args, Subcommand};
use eventdb::FeedCursor;
use serde_json::json;

use crate::connection::Session;
use crate::failure::Failure;
use crate::interrupt;
use crate::output::{Output, tell, visible};
use crate::progress::Progress;
use crate::verbs::verify::{self, Adopting};
use crate::verbs::{Ended, Outcome, cloud_event, entry_line, entry_text};

/// Reads the feed from its beginning, or from a cursor, and prints an entry per line.
///
/// At the end, it prints the cursor after which to go on. With --follow, it waits for new entries.
/// Policy: FollowPolicyArn.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    /// Wait for new entries instead of ending when everything is read.
    #[arg(long, short)]
    follow: bool,
    /// Begin after this cursor, which an earlier call has printed.
    #[arg(long, value_name = "CURSOR", conflicts_with = "from_now")]
    after: Option<FeedCursor>,
    /// Begin with what is published from now on.
    #[arg(long)]
    from_now: bool,
    /// Only events of these types.
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// Only events whose subject begins with this.
    #[arg(long, value_name = "PREFIX")]
    subject_prefix: Option<String>,
    /// Only these partitions of the feed.
    #[arg(long = "partition", value_name = "NUMBER")]
    partitions: Vec<u32>,
    /// At most this many entries.
    #[arg(long, value_name = "NUMBER")]
    limit: Option<usize>,
    /// Print the events with their data, as CloudEvents. It reads the table of events, too.
    #[arg(long)]
    events: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the events from before the feed in it, without publishing them
    ///
    /// Services and the publisher may write meanwhile. If it is interrupted, the next run goes on. It is
    /// the same as `eventdb verify adopt`. Policy: RepublishPolicyArn.
    Build(Adopting),
}

/// Runs the command.
///
/// # Errors
/// If the feed can't be read, or the output can't be written.
pub async fn run(
    arguments: Arguments,
    session: &Session,
    output: &mut Output,
) -> Result<Outcome, Ended> {
    if let Some(Action::Build(adopting)) = arguments.action {
        return verify::adopt(adopting, session, output).await;
    }
    let feed = session.feed().await?;
    let mut follow = feed.follow();
    if let Some(cursor) = arguments.after {
        follow = follow.after(cursor);
    }
    if arguments.from_now {
        follow = follow.from_now();
    }
    if !arguments.types.is_empty() {
        follow = follow.types(arguments.types);
    }
    if let Some(prefix) = arguments.subject_prefix {
        follow = follow.subject_prefix(prefix);
    }
    if !arguments.partitions.is_empty() {
        follow = follow.partitions(arguments.partitions);
    }
    if let Some(limit) = arguments.limit {
        follow = follow.limit(limit);
    }
    if !arguments.follow {
        follow = follow.until_caught_up();
    }
    let failed =
        |error: &(dyn std::error::Error + 'static)| Failure::of("the feed can't be read", error);
    let mut cursor = FeedCursor::default();
    let progress = Progress::new("entries", None);
    if arguments.events {
        let store = session.store().await?;
        let mut pages = follow.events_of(&store.db).stream();
        while let Some(page) = interrupt::next(&mut pages).await.map_err(|error| failed(&error))? {
            for event in &page.events {
                let line = cloud_event(event)?;
                let text = visible(&line.to_string());
                output.line(&json!({ "kind": "event", "event": line }), text)?;
            }
            for missing in &page.missing {
                tell(missing);
            }
            progress.add(page.events.len());
            cursor = page.cursor;
            output.flush()?;
        }
    } else {
        let mut pages = follow.stream();
        while let Some(page) = interrupt::next(&mut pages).await.map_err(|error| failed(&error))? {
            for entry in &page.entries {
                output.line(&entry_line(entry), entry_text(entry))?;
            }
            progress.add(page.entries.len());
            cursor = page.cursor;
            output.flush()?;
        }
    }
    drop(progress);
    super::cursor(&cursor, output)?;
    Ok(Outcome::Fine)
}
