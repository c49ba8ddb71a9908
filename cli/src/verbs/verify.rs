//! `eventdb verify`: find stored events that were not published.

use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use eventdb::{CapacityMeter, Damage, Feed, FeedEntry, TableLayout, Verification};
use serde_json::{Value, json};

use crate::arguments::{duration, time};
use crate::connection::{Session, Store};
use crate::failure::Failure;
use crate::interrupt;
use crate::output::{Output, tell, visible};
use crate::progress;
use crate::verbs::{Ended, Outcome, entry_text, shown};

/// Compares the table of events with the feed.
///
/// An event counts as unpublished if the feed doesn't list it in two looks, some minutes apart. It also
/// finds rows that aren't events, and subjects with missing revisions. Exit status 1 if it finds
/// something. Policy: VerifyPolicyArn.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    choice: Choice,
}

/// Which events to compare.
#[derive(Debug, Args)]
pub struct Choice {
    /// Only events with a time since then: a duration before now, or an RFC 3339 time. Without this
    /// option, everything is compared, and only that is a proof.
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<DateTime<Utc>>,
    /// Only one part of the table: its number from 0, and the number of parts.
    #[arg(long, value_name = "NUMBER/PARTS", value_parser = segment, conflicts_with = "since")]
    segment: Option<(u32, u32)>,
    /// How long publishing may take: the time between the two looks.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "5m")]
    second_look_after: Duration,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the events from before the feed in it, without publishing them
    Adopt(Adopting),
    /// Say that an event or a row will never be published, and why
    Acknowledge {
        /// The subject.
        subject: String,
        /// The revision or, in a table by time, the row's `time_type`, as `verify` prints it.
        row: String,
        /// Why it isn't published, for those who look later.
        #[arg(long)]
        reason: String,
    },
}

/// What to list without publishing it.
#[derive(Debug, Args)]
pub struct Adopting {
    #[command(flatten)]
    choice: Choice,
    /// Also those that `verify` finds as unpublished, for example after an import.
    #[arg(long)]
    unpublished: bool,
    /// The number of partitions, if the feed is still empty.
    #[arg(long, value_name = "NUMBER", default_value_t = 4)]
    partitions: u32,
    /// Do it, instead of only saying what would be done.
    #[arg(long)]
    yes: bool,
}

fn segment(text: &str) -> Result<(u32, u32), String> {
    let parts =
        text.split_once('/').and_then(|(index, of)| Some((index.parse().ok()?, of.parse().ok()?)));
    let valid = parts.filter(|(index, of): &(u32, u32)| index < of);
    valid.ok_or_else(|| "it must be such as `0/16`, `1/16`, up to `15/16`".to_owned())
}

/// Runs the command.
///
/// # Errors
/// If the tables can't be read, or the output can't be written.
pub async fn run(
    arguments: Arguments,
    session: &Session,
    output: &mut Output,
) -> Result<Outcome, Ended> {
    match arguments.action {
        None => {
            let (store, feed) = (session.store().await?, session.feed().await?);
            let found = compare(&arguments.choice, &store, &feed, &session.meter).await?;
            print(store.layout, &found, output)?;
            Ok(if found.is_clean() { Outcome::Fine } else { Outcome::Found })
        }
        Some(Action::Adopt(adopting)) => adopt(adopting, session, output).await,
        Some(Action::Acknowledge { subject, row, reason }) => {
            acknowledge(session, &subject, &row, &reason).await
        }
    }
}

/// Compares the chosen events with the feed.
pub(super) async fn compare(
    choice: &Choice,
    store: &Store,
    feed: &Feed,
    meter: &CapacityMeter,
) -> Result<Verification, Failure> {
    let mut verify = feed.verify(&store.db).second_look_after(choice.second_look_after);
    if let Some(since) = choice.since {
        verify = verify.since(since);
    }
    if let Some((index, of)) = choice.segment {
        verify = verify.segment(index, of);
    }
    interrupt::listen();
    tell(format_args!(
        "comparing `{}` with its feed; if an event isn't listed, it looks again after {}",
        store.table,
        humantime::format_duration(choice.second_look_after)
    ));
    // A part of the table has no known size.
    let is_everything = choice.since.is_none() && choice.segment.is_none();
    let estimate = store.read_units.filter(|_| is_everything);
    let verifying = progress::of_read_units(meter, estimate, verify.into_future());
    tokio::select! {
        found = verifying => found.map_err(|error| Failure::of("the events can't be verified", &error)),
        () = interrupt::requested() => {
            Err(Failure::new("interrupted before the end, so nothing was found out; nothing was changed")
                .advice("Run it again. --since and --segment choose a part, which takes less time."))
        }
    }
}

/// The sort key of an event's row, as text.
pub(super) fn sort_key(layout: TableLayout, entry: &FeedEntry) -> String {
    match (layout, entry.revision) {
        (TableLayout::ByRevision, Some(revision)) => revision.to_string(),
        _ => entry.sort_key_by_time(),
    }
}

/// An unpublished event as a line of JSON, with what is needed to find its row.
pub(super) fn unpublished_line(layout: TableLayout, entry: &FeedEntry) -> Value {
    json!({
        "kind": "unpublished",
        "subject": entry.subject,
        "revision": entry.revision,
        "sortKey": sort_key(layout, entry),
        "type": entry.ty,
        "id": entry.id,
        "time": shown(entry.time),
    })
}

fn print(layout: TableLayout, found: &Verification, output: &mut Output) -> Result<(), Ended> {
    for entry in &found.unpublished {
        let text = format!("unpublished  {}", entry_text(entry));
        output.line(&unpublished_line(layout, entry), text)?;
    }
    for row in &found.invalid {
        let line = json!({
            "kind": "invalidRow",
            "subject": row.subject,
            "sortKey": row.sort_key,
            "id": row.id,
            "reason": row.reason,
        });
        output.line(&line, format_args!("invalid      {}", visible(&row.to_string())))?;
    }
    for damaged in &found.damaged {
        let damage = match damaged.damage {
            Damage::Missing { revisions, first } => {
                json!({ "damage": "missing", "revisions": revisions, "first": first })
            }
            Damage::Repeated { revision } => json!({ "damage": "repeated", "revision": revision }),
            Damage::EndRemoved { head, last } => {
                json!({ "damage": "endRemoved", "head": head, "last": last })
            }
            Damage::NewerThanHead { head, last } => {
                json!({ "damage": "newerThanHead", "head": head, "last": last })
            }
            _ => json!({ "damage": "other" }),
        };
        let mut line = json!({ "kind": "damagedSubject", "subject": damaged.subject });
        if let (Some(line), Some(damage)) = (line.as_object_mut(), damage.as_object()) {
            line.extend(damage.clone());
        }
        output.line(&line, format_args!("damaged      {}", visible(&damaged.to_string())))?;
    }
    let summary = json!({
        "kind": "verification",
        "events": found.events,
        "unpublished": found.unpublished_events,
        "unknown": found.unknown_events,
        "invalidRows": found.invalid_rows,
        "damagedSubjects": found.damaged.len(),
        "acknowledged": found.acknowledged,
    });
    output.line(&summary, found)?;
    if found.unpublished_events > 0 {
        tell(
            "`eventdb republish` publishes what is unpublished; `eventdb verify acknowledge` accepts it.",
        );
    }
    if found.unknown_events > 0 {
        tell(
            "Unknown events are older than the feed. `eventdb verify adopt` lists them in it, without \
             publishing them.",
        );
    }
    Ok(())
}

/// Lists events without publishing them.
pub(super) async fn adopt(
    Adopting { choice, unpublished, partitions, yes }: Adopting,
    session: &Session,
    output: &mut Output,
) -> Result<Outcome, Ended> {
    let (store, feed) = (session.store().await?, session.feed().await?);
    let failed = |error: &(dyn std::error::Error + 'static)| {
        Failure::of("the events can't be adopted", error)
    };
    let found = match unpublished || !yes {
        true => Some(compare(&choice, &store, &feed, &session.meter).await?),
        false => None,
    };
    let of_unpublished =
        found.as_ref().filter(|_| unpublished).map_or(0, |found| found.unpublished.len());
    if !yes {
        let unknown = found.as_ref().map_or(0, |found| found.unknown_events);
        let line =
            json!({ "kind": "wouldAdopt", "unknown": unknown, "unpublished": of_unpublished });
        output.line(
            &line,
            format_args!("would adopt {unknown} unknown and {of_unpublished} unpublished events"),
        )?;
        tell("Nothing was changed. Add --yes to do it.");
        return Ok(Outcome::Fine);
    }
    let adopting = feed.adopt(&store.db).partitions_of_new_feed(partitions).into_future();
    let adopting = progress::of_read_units(&session.meter, store.read_units, adopting);
    let adopted = tokio::select! {
        adopted = adopting => adopted,
        () = interrupt::requested() => {
            let interrupted = Failure::new("interrupted; what was adopted until now stays in the feed");
            return Err(interrupted.advice("Run it again to go on.").into());
        }
    };
    let adopted = adopted.map_err(|error| failed(&error))?.adopted;
    if let Some(found) = found {
        feed.adopt_events(found.unpublished).await.map_err(|error| failed(&error))?;
    }
    let line = json!({ "kind": "adopted", "unknown": adopted, "unpublished": of_unpublished });
    output.line(
        &line,
        format_args!("adopted {adopted} unknown and {of_unpublished} unpublished events"),
    )?;
    Ok(Outcome::Fine)
}

async fn acknowledge(
    session: &Session,
    subject: &str,
    row: &str,
    reason: &str,
) -> Result<Outcome, Ended> {
    let (store, feed) = (session.store().await?, session.feed().await?);
    let everything = Choice { since: None, segment: None, second_look_after: Duration::ZERO };
    let found = compare(&everything, &store, &feed, &session.meter).await?;
    let event = found.unpublished.iter().find(|entry| {
        let is_row = entry.revision.map(|revision| revision.to_string()).as_deref() == Some(row)
            || entry.sort_key_by_time() == row;
        entry.subject == subject && is_row
    });
    let invalid = found.invalid.iter().find(|invalid| {
        let revision = invalid.revision.map(|revision| revision.to_string());
        invalid.subject == subject && (invalid.sort_key == row || revision.as_deref() == Some(row))
    });
    let acknowledged = match (event, invalid) {
        (Some(event), _) => feed.acknowledge(&store.db, event, reason).await,
        (None, Some(invalid)) => feed.acknowledge_row(invalid, reason).await,
        (None, None) => {
            return Err(Failure::new(format!(
                "`verify` finds no unpublished event and no invalid row `{row}` of the subject \
                 `{subject}`"
            ))
            .into());
        }
    };
    acknowledged.map_err(|error| Failure::of("it can't be acknowledged", &error))?;
    tell(format_args!("acknowledged: `{row}` of the subject `{subject}`"));
    Ok(Outcome::Fine)
}
