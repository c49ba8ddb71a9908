//! `eventdb types`: the types of the events, how many there are of each, and how often they happen.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use clap::Args;
use serde_json::json;

use crate::arguments::time;
use crate::connection::Session;
use crate::failure::Failure;
use crate::interrupt;
use crate::output::{Output, tell, visible};
use crate::progress::Progress;
use crate::verbs::{Ended, Outcome, shown};

const MILLISECONDS_PER_DAY: f64 = 86_400_000.0;

/// Counts the events of each type.
///
/// It reads every event of the time, by the index AllEventsByTime: half a read unit per 4 KB, and in a
/// table by revision one unit more for each event. With --from-feed, it reads the entries of the feed
/// instead, some 30 for half a unit; these are the events that were published. Policy: ReadPolicyArn;
/// with --from-feed, FollowPolicyArn.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Only events with a time since then: a duration before now, or an RFC 3339 time.
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<DateTime<Utc>>,
    /// Only events with a time before then.
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<DateTime<Utc>>,
    /// Read the feed instead of the table.
    #[arg(long)]
    from_feed: bool,
}

/// The events of a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct OfType {
    events: u64,
    first: DateTime<Utc>,
    last: DateTime<Utc>,
}

/// What was counted.
#[derive(Debug, Default)]
struct Counted {
    types: BTreeMap<String, OfType>,
    invalid: u64,
    is_interrupted: bool,
}

/// Runs the command.
///
/// # Errors
/// If the events can't be read, or the output can't be written.
pub async fn run(
    arguments: Arguments,
    session: &Session,
    output: &mut Output,
) -> Result<Outcome, Ended> {
    let counted = match arguments.from_feed {
        true => count_feed(&arguments, session).await?,
        false => count_table(&arguments, session).await?,
    };
    let (first, last) = counted.span().unzip();
    let since = arguments.since.or(first);
    // To the end of the time that was asked for, also if nothing happened there.
    let until = arguments.until.or(arguments.since.map(|_| Utc::now())).or(last);
    let mut types: Vec<_> = counted.types.iter().collect();
    types.sort_by_key(|(_, of_type)| std::cmp::Reverse(of_type.events));
    let width = types.iter().map(|(ty, _)| visible(ty).chars().count()).max().unwrap_or(0);
    for (ty, of_type) in &types {
        let rate = per_day(of_type.events, since, until);
        let line = json!({
            "kind": "type",
            "type": ty,
            "events": of_type.events,
            "perDay": rate,
            "first": shown(of_type.first),
            "last": shown(of_type.last),
        });
        output.line(
            &line,
            format_args!(
                "{:>10}  {:width$}  {:>12}  last {}",
                of_type.events,
                visible(ty),
                rate.map_or_else(|| "-".to_owned(), rate_text),
                shown(of_type.last)
            ),
        )?;
    }
    let events: u64 = counted.types.values().map(|of_type| of_type.events).sum();
    let rate = per_day(events, since, until);
    let line = json!({
        "kind": "types",
        "types": types.len(),
        "events": events,
        "perDay": rate,
        "since": since.map(shown),
        "until": until.map(shown),
        "invalidRows": counted.invalid,
        "complete": !counted.is_interrupted,
    });
    let rate = rate.map_or_else(String::new, |rate| format!(", {}", rate_text(rate)));
    output.line(&line, format_args!("{events} events of {} types{rate}", types.len()))?;
    if counted.invalid > 0 {
        tell(format_args!(
            "{} rows can't be read as events: `eventdb verify` names them",
            counted.invalid
        ));
    }
    if counted.is_interrupted {
        tell("interrupted: these are the events that were read until then");
    }
    let is_fine = counted.invalid == 0 && !counted.is_interrupted;
    Ok(if is_fine { Outcome::Fine } else { Outcome::Found })
}

async fn count_table(arguments: &Arguments, session: &Session) -> Result<Counted, Failure> {
    let store = session.store().await?;
    let mut request = store.db.fetch_all_events();
    if let Some(since) = arguments.since {
        request = request.since(since);
    }
    if let Some(until) = arguments.until {
        request = request.until(until);
    }
    let is_everything = arguments.since.is_none() && arguments.until.is_none();
    if is_everything {
        store.tell_size("it reads every event; --since and --until choose a time");
    }
    let progress = Progress::new("events", is_everything.then_some(store.rows).flatten());
    let mut counted = Counted::default();
    let mut pages = request.stream();
    loop {
        let page = interrupt::next(&mut pages).await;
        let page = page.map_err(|error| Failure::of("the events can't be read", &error))?;
        let Some(page) = page else { break };
        progress.add(page.events.len());
        for event in &page.events {
            counted.add(&event.ty, event.time);
        }
        counted.invalid += u64::try_from(page.invalid.len()).unwrap_or(u64::MAX);
    }
    counted.is_interrupted = interrupt::is_requested();
    Ok(counted)
}

async fn count_feed(arguments: &Arguments, session: &Session) -> Result<Counted, Failure> {
    let feed = session.feed().await?;
    let progress = Progress::new("entries", None);
    let mut counted = Counted::default();
    let mut pages = feed.follow().until_caught_up().stream();
    loop {
        let page = interrupt::next(&mut pages).await;
        let page = page.map_err(|error| Failure::of("the feed can't be read", &error))?;
        let Some(page) = page else { break };
        progress.add(page.entries.len());
        for entry in &page.entries {
            let is_chosen = arguments.since.is_none_or(|since| entry.time >= since)
                && arguments.until.is_none_or(|until| entry.time < until);
            if is_chosen {
                counted.add(&entry.ty, entry.time);
            }
        }
    }
    counted.is_interrupted = interrupt::is_requested();
    Ok(counted)
}

impl Counted {
    fn add(&mut self, ty: &str, time: DateTime<Utc>) {
        match self.types.get_mut(ty) {
            Some(of_type) => {
                of_type.events += 1;
                of_type.first = of_type.first.min(time);
                of_type.last = of_type.last.max(time);
            }
            None => {
                self.types.insert(ty.to_owned(), OfType { events: 1, first: time, last: time });
            }
        }
    }

    /// The times of the first and of the last event.
    fn span(&self) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        let first = self.types.values().map(|of_type| of_type.first).min()?;
        let last = self.types.values().map(|of_type| of_type.last).max()?;
        Some((first, last))
    }
}

/// How many events happen in a day; `None` if all happened within a moment.
#[expect(clippy::cast_precision_loss, reason = "a rate isn't exact")]
fn per_day(events: u64, since: Option<DateTime<Utc>>, until: Option<DateTime<Utc>>) -> Option<f64> {
    let milliseconds = (until? - since?).num_milliseconds();
    (milliseconds > 0).then(|| events as f64 * MILLISECONDS_PER_DAY / milliseconds as f64)
}

/// A rate in the unit in which it is a number that people can imagine.
fn rate_text(per_day: f64) -> String {
    let units = [("second", 86_400.0), ("minute", 1_440.0), ("hour", 24.0)];
    let unit = units.into_iter().find(|(_, of_day)| per_day >= *of_day);
    let (name, of_day) = unit.unwrap_or(("day", 1.0));
    format!("{:.1}/{name}", per_day / of_day)
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::{per_day, rate_text};

    #[test]
    fn a_rate_is_that_of_the_time_that_was_read() {
        let at = DateTime::from_timestamp_millis;
        assert_eq!(per_day(48, at(0), at(86_400_000)), Some(48.0));
        assert_eq!(per_day(48, at(0), at(0)), None);
        assert_eq!(per_day(48, None, at(0)), None);
    }

    #[test]
    fn a_rate_has_the_unit_that_fits() {
        for (per_day, text) in [
            (0.5, "0.5/day"),
            (24.0, "1.0/hour"),
            (1_440.0, "1.0/minute"),
            (172_800.0, "2.0/second"),
        ] {
            assert_eq!(rate_text(per_day), text);
        }
    }
}
