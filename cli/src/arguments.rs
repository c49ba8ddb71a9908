//! The command line.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use clap::{Parser, Subcommand};

use crate::connection::Connection;
use crate::verbs::{
    append, cat, completions, create_table, doctor, erase, explore, export, feed, import, lag, man,
    redrive, replay, republish, show, subjects, tail, trace, types, verify,
};

/// Looks into an event store of the crate `eventdb`, and operates it.
///
/// Data goes to stdout, everything else to stderr. Exit status: 0 fine; 1 it found what it looks for,
/// for example an unpublished event; 2 it couldn't run.
#[derive(Debug, Parser)]
#[command(name = "eventdb", version, max_term_width = 100, propagate_version = true)]
pub struct Arguments {
    /// Which store.
    #[command(flatten)]
    pub connection: Connection,

    /// Print JSON lines instead of text for people.
    #[arg(long, global = true)]
    pub json: bool,

    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do. A verb has a short help here. What its arguments say of themselves is its long help; a
/// comment here would replace that.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "see above")]
pub enum Verb {
    #[command(about = "Show the history of a subject")]
    Cat(cat::Arguments),
    #[command(about = "Show one event, found by its id, with its row and its message")]
    Show(show::Arguments),
    #[command(about = "List the subjects, with their last events if asked for")]
    Subjects(subjects::Arguments),
    #[command(about = "Count the events of each type, and say how often they happen")]
    Types(types::Arguments),
    #[command(about = "Show the last events, and those that are published from now on")]
    Tail(tail::Arguments),
    #[command(about = "Show what caused an event and what it caused, as a tree")]
    Trace(trace::Arguments),
    #[command(about = "Append an event, for repairs and drills")]
    Append(append::Arguments),
    #[command(
        about = "Read the feed: which events were published, in an order that can be followed"
    )]
    Feed(feed::Arguments),
    #[command(about = "Find stored events that were not published")]
    Verify(verify::Arguments),
    #[command(about = "Publish events that `verify` has found")]
    Republish(republish::Arguments),
    #[command(about = "Publish the records in the failure bucket")]
    Redrive(redrive::Arguments),
    #[command(about = "Look into the store in a browser")]
    Explore(explore::Arguments),
    #[command(about = "Write all events, or some, as lines of CloudEvents JSON")]
    Export(export::Arguments),
    #[command(about = "Read events from lines of CloudEvents JSON into a table")]
    Import(import::Arguments),
    #[command(about = "Examine a table that was inherited, restored or written by other programs")]
    Doctor(doctor::Arguments),
    #[command(about = "Overwrite the data of single events in place")]
    Erase(erase::Arguments),
    #[command(about = "Show how far read models are behind what was published")]
    Lag(lag::Arguments),
    #[command(about = "Send published events to one queue again")]
    Replay(replay::Arguments),
    #[command(about = "Create a table of events, and a feed, on an endpoint or in a file")]
    CreateTable(create_table::Arguments),
    #[command(about = "Print the completions for a shell")]
    Completions(completions::Arguments),
    #[command(about = "Print the manual page of the tool or of a command")]
    Man(man::Arguments),
}

/// Reads a point in time: a duration before now, such as `24h` or `7days`, or an RFC 3339 time.
///
/// # Errors
/// What is allowed.
pub fn time(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.to_utc());
    }
    let before = duration(text).ok().and_then(|before| TimeDelta::from_std(before).ok());
    before.and_then(|before| Utc::now().checked_sub_signed(before)).ok_or_else(|| {
        "it must be a duration before now, such as `24h` or `7days`, or a time such as \
         `2025-01-28T14:30:00Z`"
            .to_owned()
    })
}

/// Reads a duration, such as `30s`, `5m` or `2h 30m`.
///
/// # Errors
/// What is allowed.
pub fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| "it must be a duration such as `30s`, `5m` or `2h 30m`".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::{Arguments, time};

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn times_are_durations_before_now_or_rfc_3339() {
        assert_eq!(time("2025-01-28T14:30:00Z").map(|time| time.timestamp()), Ok(1_738_074_600));
        assert!(time("24h").is_ok_and(|time| time < chrono::Utc::now()));
        for wrong in ["", "yesterday", "99999999999999years", "2025-01-28"] {
            assert!(time(wrong).is_err_and(|error| error.contains("24h")), "{wrong}");
        }
    }
}
