//! `eventdb import`: events from lines of CloudEvents JSON.

use clap::Args;
use eventdb::{EventDb, Feed, FeedEntry, ImportError, ImportReport, Listing};
use futures_util::{Stream, StreamExt};
use serde_json::json;

use crate::connection::{Session, Store};
use crate::failure::Failure;
use crate::interrupt;
use crate::lines;
use crate::output::{Output, tell, visible};
use crate::progress::Progress;
use crate::verbs::{Ended, Outcome};

/// Events that are looked for in the feed together.
const EVENTS_PER_ADOPTION: usize = 100_000;

/// Writes events into a table of either layout, with their ids, times and revisions, or says of each
/// line why not.
///
/// Without --yes, it checks everything and writes nothing. With --yes, it checks everything first, except
/// from stdin. What is there already isn't written again, so an interrupted import is continued by the
/// same command, and a repeated one changes nothing. What was written is read back and compared. Nobody
/// may write to the same subjects meanwhile.
///
/// A table with a stream is refused, because the publisher would publish the events; with --publish, that
/// is what should happen. Otherwise the events are listed in the feed as adopted, so that they don't count
/// as unpublished.
///
/// Exit status 1 if something doesn't fit. Policy: ImportPolicyArn.
#[derive(Debug, Args)]
pub struct Arguments {
    /// A file, s3://BUCKET/KEY, or `-` for stdin. Compressed data is recognised.
    #[arg(value_name = "PLACE")]
    from: String,
    /// Let the publisher publish the events.
    #[arg(long)]
    publish: bool,
    /// Do it, instead of only saying what would be done.
    #[arg(long)]
    yes: bool,
}

/// Runs the command.
///
/// # Errors
/// If the lines or the table can't be read or written.
pub async fn run(
    arguments: Arguments,
    session: &Session,
    output: &mut Output,
) -> Result<Outcome, Ended> {
    let Arguments { from, publish, yes } = arguments;
    let store = session.store().await?;
    // Nothing reads the stream of a table in a file.
    let publishes = publish || session.is_embedded();
    let feed = if publish { None } else { session.feed_if_known().await? };
    interrupt::listen();
    tell(format_args!(
        "{} `{from}` {} `{}`; Ctrl-C stops after the running batch",
        if yes { "importing" } else { "comparing" },
        if yes { "into" } else { "with" },
        store.table
    ));
    let report = work(&from, yes, publishes, session, &store, feed.as_ref()).await?;
    print(&report, yes && !interrupt::is_requested(), output)?;
    if interrupt::is_requested() {
        return Err(Failure::new("interrupted before the end")
            .advice("Repeat the command to go on: it passes over what is there.")
            .into());
    }
    if !report.misfits.is_empty() {
        match yes && from == "-" {
            true => tell(
                "It stopped there. What was before is imported. Repair the lines and repeat it.",
            ),
            false => tell("Nothing was written."),
        }
        return Ok(Outcome::Found);
    }
    if !yes {
        tell("Nothing was written. Add --yes to do it.");
    } else if feed.is_none() && !publish && !session.is_embedded() {
        tell(
            "If the store has a feed, list the events in it before publication is switched on: \
             `eventdb verify adopt --unpublished`.",
        );
    }
    Ok(Outcome::Fine)
}

async fn work(
    from: &str,
    yes: bool,
    publishes: bool,
    session: &Session,
    store: &Store,
    feed: Option<&Feed>,
) -> Result<ImportReport, Failure> {
    if !yes || from != "-" {
        let lines = counted(lines::open(from, session).await?);
        let import = request(&store.db, publishes).dry_run();
        let checked = import.lines(lines).await.map_err(|error| failed(&error))?;
        if !yes || !checked.misfits.is_empty() || interrupt::is_requested() {
            return Ok(checked);
        }
    }
    let lines = counted(lines::open(from, session).await?);
    let mut waiting = Vec::new();
    let stored = async |events: Vec<eventdb::Event>| {
        let Some(feed) = feed else { return Ok(()) };
        waiting.extend(events.iter().map(|event| FeedEntry::new(event, None, Listing::Adopted)));
        match waiting.len() >= EVENTS_PER_ADOPTION {
            true => adopt(feed, &mut waiting).await,
            false => Ok(()),
        }
    };
    let report = request(&store.db, publishes).batches(lines, stored).await;
    // What was stored before a failure is adopted, too.
    if let Some(feed) = feed {
        adopt(feed, &mut waiting).await?;
    }
    report
}

fn request(db: &EventDb, publishes: bool) -> eventdb::Import {
    let import = db.import();
    if publishes { import.publish() } else { import }
}

/// The lines up to an interruption, with their progress.
fn counted<L: Stream + Send>(lines: L) -> impl Stream<Item = L::Item> + Send + use<L> {
    let progress = Progress::new("lines", None);
    lines.take_until(Box::pin(interrupt::requested())).inspect(move |_| progress.add(1))
}

async fn adopt(feed: &Feed, waiting: &mut Vec<FeedEntry>) -> Result<(), Failure> {
    let adopted = feed.adopt_unlisted(std::mem::take(waiting)).await.map_err(|error| {
        Failure::of("the events are imported, but can't be listed in the feed", &error)
            .advice("Repeat the command: it lists them.")
    })?;
    if adopted > 0 {
        tell(format_args!("{adopted} events were listed in the feed, without publishing them"));
    }
    Ok(())
}

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Self {
        failed(&error)
    }
}

fn failed(error: &ImportError) -> Failure {
    let failure = Failure::of("the events can't be imported", error);
    match error {
        ImportError::Table(eventdb::CopyError::HasStream { .. }) => failure.and_advice(
            "To publish the events, add --publish. Otherwise switch publication off (with the \
             construct: `publish: false`), import, and switch it on again.",
        ),
        _ => failure.and_advice("Repeat the command to go on: it passes over what is there."),
    }
}

fn print(report: &ImportReport, yes: bool, output: &mut Output) -> Result<(), Ended> {
    for misfit in &report.misfits {
        let line = json!({
            "kind": "misfit", "line": misfit.line, "subject": misfit.subject,
            "revision": misfit.revision, "id": misfit.id, "problem": misfit.problem,
        });
        output.line(&line, visible(&misfit.to_string()))?;
    }
    if report.more_misfits > 0 {
        tell(format_args!("{} more lines don't fit", report.more_misfits));
    }
    let kind = if yes && report.misfits.is_empty() { "imported" } else { "wouldImport" };
    let line = json!({
        "kind": kind, "lines": report.lines, "events": report.events, "written": report.written,
        "present": report.present,
        "misfits": u64::try_from(report.misfits.len()).unwrap_or(u64::MAX) + report.more_misfits,
    });
    let done = if kind == "imported" { "wrote and verified" } else { "would write" };
    let (written, events, present) = (report.written, report.events, report.present);
    let text = format!("{done} {written} of {events} events; {present} were there already");
    output.line(&line, text)?;
    Ok(())
}
