//! `eventdb trace`: what caused an event, and what it caused.

mod tree;

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use clap::Args;
use eventdb::{Event, EventDb, Metadata};
use futures_util::TryStreamExt;
use serde_json::{Value, json};

use crate::arguments::duration;
use crate::connection::Session;
use crate::failure::Failure;
use crate::interrupt;
use crate::output::{Output, tell, visible};
use crate::progress::Progress;
use crate::verbs::trace::tree::{Absent, Node, Tree};
use crate::verbs::{Ended, Outcome, revision, shown};

/// How far the clocks of writers may differ: an effect may seem to be this much older than its cause.
const CLOCKS_DIFFER: TimeDelta = TimeDelta::minutes(1);

/// Deeper lines aren't moved further to the right.
const DEEPEST_INDENT: usize = 40;

/// Prints what caused an event and what it caused, as a tree over all subjects.
///
/// The causes are read one by one, by the extension attribute `causationid`. No index leads to effects,
/// so the events from the first cause until --within after the event are read, in the order of time. Of
/// these it takes the effects, and those of the same `correlationid`, and those of the same trace in
/// `traceparent`. Data isn't printed.
///
/// Exit status 1 if there is no such event, or not everything could be read. Policy: ReadPolicyArn.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The id of the event.
    id: String,
    /// The source of the event, if several sources use the same id.
    #[arg(long)]
    source: Option<String>,
    /// How long after the event to look for effects.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1h")]
    within: Duration,
    /// Read at most this many events to look for effects.
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000)]
    limit: usize,
    /// Go back over at most this many causes.
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    causes: usize,
}

/// What is kept of an event that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Traced {
    id: String,
    source: String,
    subject: String,
    revision: Option<u64>,
    ty: String,
    time: DateTime<Utc>,
    causation: Option<String>,
    correlation: Option<String>,
    /// The id of the trace in `traceparent`.
    trace: Option<String>,
}

impl From<&Event> for Traced {
    fn from(event: &Event) -> Self {
        let Metadata { correlation, causation, .. } = Metadata::of(event);
        let parent = event.extensions.get("traceparent").map(ToString::to_string);
        Self {
            id: event.id.clone(),
            source: event.source.clone(),
            subject: event.subject.clone(),
            revision: event.revision,
            ty: event.ty.clone(),
            time: event.time,
            causation,
            correlation,
            trace: parent.as_deref().and_then(trace_id).map(str::to_owned),
        }
    }
}

/// The id of the trace: <https://www.w3.org/TR/trace-context/#traceparent-header-field-values>
fn trace_id(traceparent: &str) -> Option<&str> {
    let id = traceparent.split('-').nth(1)?;
    (id.len() == 32 && id.bytes().any(|digit| digit != b'0')).then_some(id)
}

/// Events that were read to look for effects.
struct Read {
    events: Vec<Traced>,
    rows: u64,
    until: DateTime<Utc>,
    is_complete: bool,
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
    interrupt::listen();
    let store = session.store().await?;
    let mut request = store.db.fetch_event(&*arguments.id);
    if let Some(source) = &arguments.source {
        request = request.from_source(source);
    }
    let found = request.await.map_err(|error| {
        Failure::of(format!("the event `{}` can't be read", visible(&arguments.id)), &error)
    })?;
    let Some(event) = found else {
        tell(format_args!("no event has the id `{}`", visible(&arguments.id)));
        return Ok(Outcome::Found);
    };
    let asked = Traced::from(&event);
    let (causes, absent) = causes_of(&asked, &store.db, arguments.causes).await?;
    let within = TimeDelta::from_std(arguments.within).unwrap_or(TimeDelta::MAX);
    let first = causes.iter().map(|cause| cause.time).min().unwrap_or(asked.time).min(asked.time);
    let since = first.checked_sub_signed(CLOCKS_DIFFER).unwrap_or(first);
    let until = asked.time.checked_add_signed(within).unwrap_or(DateTime::<Utc>::MAX_UTC);
    let read = effects(&store.db, since, until, &arguments, (&asked, &causes)).await?;
    let (rows, read_until, is_complete) = (read.rows, read.until, read.is_complete);
    let tree = Tree::new(asked, causes, read.events, absent);
    let mut missing = 0_u64;
    for (depth, node) in tree.nodes() {
        missing += u64::from(matches!(node, Node::Absent { .. }));
        let (line, text) = print(depth, &node, &arguments.id);
        output.line(&line, text)?;
    }
    let events = tree.len();
    let summary = json!({
        "kind": "trace",
        "events": events,
        "missing": missing,
        "rowsRead": rows,
        "readUntil": shown(read_until),
        "complete": is_complete,
    });
    if output.is_json() {
        output.line(&summary, "")?;
    }
    tell(format_args!(
        "{events} events; read {rows} events from {} to {} to find them",
        shown(since),
        shown(read_until)
    ));
    if !is_complete {
        tell("Effects after that weren't looked for: raise --limit to read on.");
    }
    Ok(if is_complete { Outcome::Fine } else { Outcome::Found })
}

/// The causes of an event, the nearest first, and why there are no more of them.
async fn causes_of(
    event: &Traced,
    db: &EventDb,
    most: usize,
) -> Result<(Vec<Traced>, Option<Absent>), Failure> {
    let mut causes: Vec<Traced> = Vec::new();
    let mut seen = HashSet::from([event.id.clone()]);
    let mut next = event.causation.clone();
    while let Some(id) = next {
        if !seen.insert(id.clone()) {
            // A cycle: the tree shows it.
            break;
        }
        if causes.len() == most || interrupt::is_requested() {
            return Ok((
                causes,
                Some(Absent { id, reason: "not read: raise --causes".to_owned() }),
            ));
        }
        match db.fetch_event(&*id).await {
            Ok(Some(cause)) => {
                let cause = Traced::from(&cause);
                next = cause.causation.clone();
                causes.push(cause);
            }
            Ok(None) => break,
            Err(error) if error.is_retryable() => {
                return Err(Failure::of(
                    format!("the cause `{}` can't be read", visible(&id)),
                    &error,
                ));
            }
            // For example, the row can't be read, or several sources use the same id.
            Err(error) => return Ok((causes, Some(Absent { id, reason: error.to_string() }))),
        }
    }
    Ok((causes, None))
}

/// Reads events in the order of time, and keeps those that belong to the event or to its causes.
async fn effects(
    db: &EventDb,
    since: DateTime<Utc>,
    until: DateTime<Utc>,
    arguments: &Arguments,
    (asked, causes): (&Traced, &[Traced]),
) -> Result<Read, Failure> {
    let progress = Progress::new("events", None);
    let request = db.fetch_all_events().since(since).until(until).limit(arguments.limit);
    let mut pages = request.stream();
    let mut linked = Vec::new();
    let mut last_time = None;
    let mut read = Read { events: Vec::new(), rows: 0, until, is_complete: true };
    loop {
        let page = tokio::select! {
            page = pages.try_next() => page,
            () = interrupt::requested() => {
                read.is_complete = false;
                break;
            }
        };
        let page = page.map_err(|error| Failure::of("the events can't be read", &error))?;
        let Some(page) = page else { break };
        progress.add(page.events.len());
        read.rows += u64::try_from(page.events.len() + page.invalid.len()).unwrap_or(u64::MAX);
        last_time = page.events.last().map(|event| event.time).or(last_time);
        let traced = page.events.iter().map(Traced::from);
        linked.extend(traced.filter(|event| {
            event.causation.is_some() || event.correlation.is_some() || event.trace.is_some()
        }));
    }
    let is_limit_reached = usize::try_from(read.rows).is_ok_and(|rows| rows >= arguments.limit);
    if is_limit_reached || !read.is_complete {
        read.is_complete = false;
        read.until = last_time.unwrap_or(since);
    }
    let start: Vec<&Traced> = std::iter::once(asked).chain(causes).collect();
    read.events = belonging(&start, linked);
    Ok(read)
}

/// Those that are linked to the first ones: by their causes, the correlation or the trace.
fn belonging(start: &[&Traced], mut linked: Vec<Traced>) -> Vec<Traced> {
    let mut ids: HashSet<String> = start.iter().map(|event| event.id.clone()).collect();
    // What is the first of its business transaction has no correlation: its id is that of the others.
    let mut correlations = ids.clone();
    correlations.extend(start.iter().filter_map(|event| event.correlation.clone()));
    let traces: HashSet<String> = start.iter().filter_map(|event| event.trace.clone()).collect();
    let mut found = Vec::new();
    loop {
        let is_of = |set: &HashSet<String>, name: &Option<String>| {
            name.as_ref().is_some_and(|name| set.contains(name))
        };
        let (new, rest): (Vec<Traced>, Vec<Traced>) = linked.into_iter().partition(|event| {
            is_of(&ids, &event.causation)
                || is_of(&correlations, &event.correlation)
                || is_of(&traces, &event.trace)
        });
        if new.is_empty() {
            return found;
        }
        ids.extend(new.iter().map(|event| event.id.clone()));
        found.extend(new);
        linked = rest;
    }
}

fn print(depth: usize, node: &Node<'_>, asked: &str) -> (Value, String) {
    let indent = "  ".repeat(depth.min(DEEPEST_INDENT));
    match node {
        Node::Event { event, is_repeated } => {
            let line = json!({
                "kind": "traced",
                "depth": depth,
                "asked": event.id == asked,
                "cycle": is_repeated,
                "id": event.id,
                "source": event.source,
                "subject": event.subject,
                "revision": event.revision,
                "type": event.ty,
                "time": shown(event.time),
                "causation": event.causation,
                "correlation": event.correlation,
                "trace": event.trace,
            });
            let note = match (is_repeated, event.id == asked) {
                (true, _) => "  (a cycle: it is above)",
                (false, true) => "  <- this",
                (false, false) => "",
            };
            let revision = revision(event.revision);
            let Traced { subject, ty, id, .. } = event;
            let text = visible(&format!("{subject} {revision}  {ty}  {id}"));
            (line, format!("{}  {indent}{text}{note}", shown(event.time)))
        }
        Node::Absent { id, reason } => {
            let line =
                json!({ "kind": "missingCause", "depth": depth, "id": id, "reason": reason });
            (line, format!("{:24}  {indent}{}  ({})", "", visible(id), visible(reason)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::trace_id;

    #[test]
    fn a_trace_is_the_second_part_of_a_traceparent() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(trace_id(&format!("00-{id}-00f067aa0ba902b7-01")), Some(id));
        for wrong in
            ["", "00", "00-abc-00f067aa0ba902b7-01", &format!("00-{}-1-01", "0".repeat(32))]
        {
            assert_eq!(trace_id(wrong), None, "{wrong}");
        }
    }
}
