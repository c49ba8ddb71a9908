//! `eventdb export`: all events, or some, as lines of CloudEvents JSON.

use chrono::{DateTime, Utc};
use clap::Args;
use eventdb::{ExportCursor, Message};
use futures_util::TryStreamExt;
use serde_json::json;

use crate::arguments::time;
use crate::connection::Session;
use crate::destination::Destination;
use crate::failure::Failure;
use crate::interrupt;
use crate::output::{Output, tell, visible};
use crate::progress::Progress;
use crate::verbs::{Ended, Outcome, shown};

/// Writes events as lines of CloudEvents JSON, the events of a subject one after the other.
///
/// It reads the whole table, whatever is chosen. Interrupted, the same command goes on where it was: next
/// to the file or object, NAME.position says how far it goes. To go on with stdout, give --after.
///
/// The file has the data of the events: keep it as well as the table. Guards of ids and snapshots aren't
/// in it. Exit status 1 if rows can't be read. Policy: ExportPolicyArn; for S3, also PutObject, GetObject
/// and DeleteObject on the object and its .position. In S3, an export that is never continued leaves an
/// upload in parts, which a lifecycle rule of the bucket should remove.
#[derive(Debug, Args)]
pub struct Arguments {
    /// A file, s3://BUCKET/KEY, or `-` for stdout. With the ending .gz, it is compressed.
    #[arg(long, value_name = "PLACE", default_value = "-")]
    to: String,
    /// Compress it with gzip, whatever its name.
    #[arg(long)]
    gzip: bool,
    /// Only events whose subject begins with this.
    #[arg(long, value_name = "PREFIX")]
    subject_prefix: Option<String>,
    /// Only events of these types. Without all its events, a subject can't be imported.
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// Only events with a time since then: a duration before now, or an RFC 3339 time.
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<DateTime<Utc>>,
    /// Only events with a time before this.
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<DateTime<Utc>>,
    /// Begin after this cursor, which an interrupted export to stdout has printed.
    #[arg(long, value_name = "CURSOR")]
    after: Option<ExportCursor>,
}

/// Runs the command.
///
/// # Errors
/// If the table can't be read, or the events can't be written.
pub async fn run(
    arguments: Arguments,
    session: &Session,
    output: &mut Output,
) -> Result<Outcome, Ended> {
    let store = session.store().await?;
    let choice = json!({
        "table": store.table, "subjectPrefix": arguments.subject_prefix, "types": arguments.types,
        "since": arguments.since.map(shown), "until": arguments.until.map(shown),
    });
    let mut destination =
        Destination::open(&arguments.to, arguments.gzip, choice.to_string(), session).await?;
    let mut request = store.db.export().types(arguments.types);
    if let Some(prefix) = arguments.subject_prefix {
        request = request.subject_prefix(prefix);
    }
    if let Some(since) = arguments.since {
        request = request.since(since);
    }
    if let Some(until) = arguments.until {
        request = request.until(until);
    }
    let kept = destination.position().cursor.as_deref().map(str::parse).transpose();
    let kept = kept.map_err(|error| Failure::of("the kept position can't be used", &error))?;
    if kept.is_some() {
        let events = destination.position().events;
        tell(format_args!("going on after {events} events that are in `{}`", arguments.to));
    }
    if let Some(cursor) = kept.or(arguments.after) {
        request = request.after(cursor);
    }
    let mut pages = request.stream();
    interrupt::listen();
    tell(format_args!("exporting `{}`", store.table));
    let progress = Progress::new("events", None);
    let mut unreadable = 0_u64;
    while !destination.is_whole() {
        let page = tokio::select! {
            biased;
            () = interrupt::requested() => {
                destination.suspend(output).await?;
                return Err(stopped(&destination, &arguments.to, Failure::new("interrupted")).into());
            }
            page = pages.try_next() => page,
        };
        let page = match page {
            Ok(Some(page)) => page,
            Ok(None) => break,
            Err(error) => {
                destination.suspend(output).await?;
                let failure = Failure::of("the table can't be read", &error);
                return Err(stopped(&destination, &arguments.to, failure).into());
            }
        };
        for row in &page.invalid {
            unreadable += 1;
            tell(format_args!("{}", visible(&row.to_string())));
        }
        progress.add(page.events.len());
        for event in &page.events {
            destination.add(&Message::new(event).body);
        }
        if let Some(cursor) = page.cursor {
            destination.reached(cursor, output).await?;
        }
    }
    drop(progress);
    let is_stdout = destination.is_stdout();
    let events = destination.finish(output).await?.events;
    let line = json!({
        "kind": "exported", "to": arguments.to, "events": events, "unreadable": unreadable,
    });
    let text = format!("exported {events} events to `{}`", arguments.to);
    match is_stdout {
        true => tell(format_args!("exported {events} events")),
        false => output.line(&line, text)?,
    }
    if unreadable > 0 {
        tell(format_args!(
            "{unreadable} rows can't be read as events and were left out; `eventdb doctor` says more"
        ));
    }
    Ok(if unreadable == 0 { Outcome::Fine } else { Outcome::Found })
}

/// Says how to go on.
fn stopped(destination: &Destination, to: &str, failure: Failure) -> Failure {
    let position = destination.position();
    match (destination.is_stdout(), &position.cursor) {
        (true, Some(cursor)) => failure.and_advice(format!("To go on from here: --after {cursor}")),
        (true, None) => failure,
        (false, _) => failure.and_advice(format!(
            "`{to}` isn't complete. The same command goes on: it keeps its position in `{to}.position`."
        )),
    }
}
