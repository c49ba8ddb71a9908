//! The commands, one file each.

pub mod append;
pub mod cat;
pub mod completions;
pub mod create_table;
pub mod doctor;
pub mod erase;
pub mod explore;
pub mod export;
pub mod feed;
pub mod import;
pub mod lag;
pub mod man;
pub mod redrive;
pub mod replay;
pub mod republish;
pub mod show;
pub mod subjects;
pub mod tail;
pub mod trace;
pub mod types;
pub mod verify;

use chrono::{DateTime, SecondsFormat, Utc};
use eventdb::{Event, FeedEntry};

use crate::failure::Failure;
use crate::output::{Output, Stopped, tell};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// There is nothing to do: exit status 0.
    Fine,
    /// It found what it looks for: exit status 1.
    Found,
}

/// Why a command ended early.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// It couldn't do its work.
    #[error(transparent)]
    Failure(#[from] Failure),
    /// Its output can't be written.
    #[error(transparent)]
    Output(#[from] Stopped),
}

impl Ended {
    /// Also says on which store it failed.
    pub(crate) fn of_store(self, store: &str) -> Self {
        match self {
            Self::Failure(failure) => Self::Failure(failure.of_store(store)),
            Self::Output(stopped) => Self::Output(stopped),
        }
    }
}

/// Prints the place after which the next run goes on.
fn cursor(cursor: &impl std::fmt::Display, output: &mut Output) -> Result<(), Stopped> {
    match output.is_json() {
        true => {
            output.line(&serde_json::json!({ "kind": "cursor", "cursor": cursor.to_string() }), "")
        }
        false => {
            tell(format_args!("to go on from here: --after {cursor}"));
            Ok(())
        }
    }
}

/// A time as the tool prints it: RFC 3339, in milliseconds, in UTC.
fn shown(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// A revision as the tool prints it: legacy rows have none.
fn revision(revision: Option<u64>) -> String {
    revision.map_or_else(|| "-".to_owned(), |revision| revision.to_string())
}

/// An entry of the feed as a line of JSON.
fn entry_line(entry: &FeedEntry) -> serde_json::Value {
    serde_json::json!({
        "kind": "entry",
        "subject": entry.subject,
        "revision": entry.revision,
        "type": entry.ty,
        "id": entry.id,
        "time": shown(entry.time),
        "listing": entry.listing,
    })
}

/// An entry of the feed as text.
fn entry_text(entry: &FeedEntry) -> String {
    format!(
        "{}  {:>6}  {}  {}  {}",
        shown(entry.time),
        revision(entry.revision),
        crate::output::visible(&entry.subject),
        crate::output::visible(&entry.ty),
        crate::output::visible(&entry.id)
    )
}

/// The CloudEvent of an event, as one line of JSON.
fn cloud_event(event: &Event) -> Result<serde_json::Value, Failure> {
    serde_json::to_value(event).map_err(|error| Failure::of("the event can't be written", &error))
}
