//! `eventdb erase`: overwrite the data of single events in place.

use clap::Args;
use eventdb::EventData;
use serde_json::json;

use crate::connection::Session;
use crate::failure::Failure;
use crate::output::{Output, tell, visible};
use crate::verbs::{Ended, Outcome, shown};

/// Overwrites the data of events in place, and removes all snapshots of the subject.
///
/// The events stay where they are, with ids, types and times, and are marked as erased. Nothing is
/// published. Subject, type, id and extensions stay, too, unless --with-extensions is given. It says where
/// copies of the data may remain. Without --yes, it only says what it would do. A repetition changes
/// nothing.
///
/// Exit status 1 if the subject lacks one of the revisions. Policy: ErasePolicyArn.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The subject.
    subject: String,
    /// The revisions of the events, as `eventdb cat` prints them.
    #[arg(value_name = "REVISION", required = true, value_parser = clap::value_parser!(u64).range(1..))]
    revisions: Vec<u64>,
    /// What the data becomes: a JSON object, for example one that services can still read.
    #[arg(long, value_name = "JSON", default_value = "{}")]
    data: String,
    /// Remove the extensions of the events, too, such as the user of a command.
    #[arg(long)]
    with_extensions: bool,
    /// Do it, instead of only saying what would be done.
    #[arg(long)]
    yes: bool,
}

/// Where copies of the data may be, and what to do there.
const COPIES: [(&str, &str); 7] = [
    (
        "failureBucket",
        "the failure bucket keeps records that couldn't be published, with their data: look for the \
         subject there before any redrive, and delete such objects",
    ),
    (
        "queues",
        "queues and dead-letter queues of subscribers, up to their retention (at most 14 days)",
    ),
    ("stream", "the stream of the table keeps the data of its last 24 hours"),
    (
        "backups",
        "backups of the table, and its point-in-time recovery (up to 35 days): after a restore, erase \
         again",
    ),
    ("exports", "files of `eventdb export`, and tables that were copied or restored"),
    ("subscribers", "read models and other stores of subscribers: they must be told"),
    (
        "feed",
        "the feed and its acknowledgements keep subject, type, id and time of each event, and no data",
    ),
];

/// Runs the command.
///
/// # Errors
/// If the data isn't a JSON object, or the table can't be read or written.
pub async fn run(
    arguments: Arguments,
    session: &Session,
    output: &mut Output,
) -> Result<Outcome, Ended> {
    let Arguments { subject, revisions, data, with_extensions, yes } = arguments;
    let data = EventData::from_json(&data).map_err(|error| {
        Failure::of("--data can't be used", &error).and_advice("It must be a JSON object.")
    })?;
    let store = session.store().await?;
    let mut request = store.db.erase(&subject, revisions).data(data);
    if with_extensions {
        request = request.with_extensions();
    }
    if !yes {
        request = request.dry_run();
    }
    let erasure = request.await.map_err(|error| {
        Failure::of("the events can't be erased", &error)
            .and_advice("Some of them may be erased. Repeat the command: it goes on.")
    })?;
    let kind = if yes { "erased" } else { "wouldErase" };
    let would = if yes { "" } else { "would be " };
    for event in &erasure.events {
        let line = json!({
            "kind": kind, "subject": subject, "revision": event.revision, "id": event.id,
            "type": event.ty, "time": shown(event.time),
            "erasedBefore": event.erased_before.map(shown),
        });
        let what = format!(
            "revision {} of `{subject}` ({}, {}, {})",
            event.revision,
            shown(event.time),
            event.ty,
            event.id
        );
        let text = match event.erased_before {
            Some(time) => format!("{what}: was erased before, at {}", shown(time)),
            None => format!("{what}: {would}erased"),
        };
        output.line(&line, visible(&text))?;
    }
    for revision in &erasure.missing {
        let line = json!({ "kind": "notFound", "subject": subject, "revision": revision });
        output.line(&line, visible(&format!("`{subject}` has no revision {revision}")))?;
    }
    let line = json!({ "kind": "snapshotsRemoved", "subject": subject, "snapshots": erasure.snapshots, "done": yes });
    output.line(&line, format_args!("{} snapshots {would}removed", erasure.snapshots))?;
    for (place, text) in COPIES {
        let line = json!({ "kind": "copiesMayRemain", "place": place, "text": text });
        output.line(&line, format_args!("copies may remain: {text}"))?;
    }
    match yes {
        true => tell(
            "A service that runs may hold the state and write a snapshot again: restart services, then \
             repeat this command.",
        ),
        false => tell("Nothing was changed. Add --yes to do it."),
    }
    Ok(if erasure.missing.is_empty() { Outcome::Fine } else { Outcome::Found })
}
