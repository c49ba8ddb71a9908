//! `eventdb cat`: the history of a subject.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use clap::Args;
use eventdb::{Event, FetchEvents, History};
use futures_util::TryStreamExt;
use serde_json::json;

use crate::arguments::time;
use crate::connection::Session;
use crate::failure::Failure;
use crate::interrupt;
use crate::output::{FAINT, Output, STRONG, tell, visible};
use crate::verbs::{Ended, Outcome, cloud_event, revision, shown};

/// How often --follow looks for new events.
const POLLED_EVERY: Duration = Duration::from_secs(1);

/// Prints the events of a subject, one per line: revision, time, time since the event before, type and
/// data.
///
/// Exit status 1 if there are none, or if rows are missing or can't be read. Policy: ReadPolicyArn.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The subject.
    subject: String,
    /// Only events of this type.
    #[arg(long = "type", value_name = "TYPE")]
    ty: Option<String>,
    /// Only events with a time since then: a duration before now, or an RFC 3339 time.
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<DateTime<Utc>>,
    /// Only events from this revision on.
    #[arg(long, value_name = "NUMBER")]
    from_revision: Option<u64>,
    /// Only the last events.
    #[arg(long, value_name = "NUMBER")]
    last: Option<usize>,
    /// Wait for new events.
    #[arg(long, short)]
    follow: bool,
    /// Leave out the data.
    #[arg(long)]
    no_data: bool,
}

/// What was printed so far.
#[derive(Debug, Default)]
struct Printed {
    events: u64,
    /// Rows that are missing or can't be read.
    problems: u64,
    last_time: Option<DateTime<Utc>>,
    last_revision: Option<u64>,
}

/// Runs the command.
///
/// # Errors
/// If the subject can't be read, or the output can't be written.
pub async fn run(
    arguments: Arguments,
    session: &Session,
    output: &mut Output,
) -> Result<Outcome, Ended> {
    let store = session.store().await?;
    let failed = |error: &(dyn std::error::Error + 'static)| {
        Failure::of(format!("the subject `{}` can't be read", arguments.subject), error)
    };
    let request = || {
        let mut request = match &arguments.ty {
            Some(ty) => store.db.fetch_events_for_subject_and_type(&arguments.subject, ty),
            None => store.db.fetch_events_for_subject(&arguments.subject),
        };
        if let Some(since) = arguments.since {
            request = request.since(since);
        }
        if let Some(from) = arguments.from_revision {
            request = request.from_revision(from);
        }
        request
    };
    let mut printed = Printed::default();
    let mut is_interrupted = false;
    if let Some(last) = arguments.last {
        let mut history =
            request().backwards().limit(last).await.map_err(|error| failed(&error))?;
        history.events.reverse();
        history.invalid.reverse();
        print(&history, &arguments, &mut printed, output)?;
    } else {
        let mut pages = request().stream();
        loop {
            let page = tokio::select! {
                page = pages.try_next() => page.map_err(|error| failed(&error))?,
                () = interrupt::requested() => {
                    is_interrupted = true;
                    None
                }
            };
            let Some(page) = page else { break };
            print(&page, &arguments, &mut printed, output)?;
        }
    }
    if arguments.follow && !is_interrupted {
        interrupt::listen();
        output.flush()?;
        let mut interval = tokio::time::interval(POLLED_EVERY);
        loop {
            tokio::select! {
                _ = interval.tick() => {}
                () = interrupt::requested() => break,
            }
            let history = newer(&printed, request()).await.map_err(|error| failed(&error))?;
            print(&history, &arguments, &mut printed, output)?;
            output.flush()?;
        }
    }
    if arguments.follow || is_interrupted {
        tell(match printed.last_revision {
            Some(last) => format!("to go on from here: --from-revision {}", last.saturating_add(1)),
            None => "to go on from here: the same command".to_owned(),
        });
    }
    if printed.events == 0 {
        tell(format_args!("no events of the subject `{}`", visible(&arguments.subject)));
    }
    let is_fine = printed.problems == 0 && printed.events > 0 && !is_interrupted;
    Ok(if is_fine { Outcome::Fine } else { Outcome::Found })
}

/// Only events after those that were printed.
fn newer(printed: &Printed, mut request: FetchEvents) -> FetchEvents {
    if let Some(last) = printed.last_revision {
        request = request.from_revision(last.saturating_add(1));
    }
    if let Some(last) = printed.last_time {
        // In a table by time, this is what it reads from. Legacy events have no revision.
        let is_printed = printed.last_revision.is_none();
        request = request.since(last + TimeDelta::milliseconds(i64::from(is_printed)));
    }
    request
}

fn print(
    history: &History,
    arguments: &Arguments,
    printed: &mut Printed,
    output: &mut Output,
) -> Result<(), Ended> {
    for event in &history.events {
        let distance = printed.last_time.map(|last| event.time - last);
        let mut line = json!({ "kind": "event", "event": cloud_event(event)? });
        if arguments.no_data
            && let Some(event) = line.get_mut("event").and_then(|event| event.as_object_mut())
        {
            event.remove("data");
        }
        let text = text(event, distance, arguments.no_data, output);
        output.line(&line, text)?;
        printed.events += 1;
        printed.last_time = Some(event.time);
        printed.last_revision = printed.last_revision.max(event.revision);
    }
    for row in &history.invalid {
        tell(format_args!("{}", visible(&row.to_string())));
        printed.problems += 1;
    }
    for missing in &history.missing {
        let (first, last) = (missing.revisions.start(), missing.revisions.end());
        tell(format_args!("the revisions {first} to {last} are missing"));
        printed.problems += 1;
    }
    Ok(())
}

fn text(event: &Event, distance: Option<TimeDelta>, no_data: bool, output: &Output) -> String {
    let data =
        if no_data { String::new() } else { format!("  {}", visible(&event.data.to_string())) };
    format!(
        "{:>6}  {}  {:>10}  {}{data}",
        revision(event.revision),
        output.styled(FAINT, shown(event.time)),
        distance.map_or_else(String::new, since),
        output.styled(STRONG, visible(&event.ty)),
    )
}

/// A distance in its two largest units: `+3h 12m`.
fn since(distance: TimeDelta) -> String {
    let sign = if distance < TimeDelta::zero() { '-' } else { '+' };
    let exact = distance.abs().to_std().unwrap_or_default();
    let rounded = match exact.as_secs() {
        0 => Duration::from_millis(u64::try_from(exact.as_millis()).unwrap_or(0)),
        seconds => Duration::from_secs(seconds),
    };
    let text = humantime::format_duration(rounded).to_string();
    let largest: Vec<&str> = text.split(' ').take(2).collect();
    format!("{sign}{}", largest.join(" "))
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::since;

    #[test]
    fn distances_have_two_units() {
        assert_eq!(since(TimeDelta::zero()), "+0s");
        assert_eq!(since(TimeDelta::milliseconds(12)), "+12ms");
        assert_eq!(since(TimeDelta::milliseconds(61_999)), "+1m 1s");
        assert_eq!(since(TimeDelta::hours(-27)), "-1day 3h");
    }
}
