//! `eventdb trace`: what caused an event, and what it caused.

use std::time::Duration;

use clap::Args;
use eventdb::{MissingCause, Trace, TraceLine};
use serde_json::{Value, json};

use crate::arguments::duration;
use crate::connection::Session;
use crate::failure::Failure;
use crate::interrupt;
use crate::output::{Output, tell, visible};
use crate::progress::Progress;
use crate::verbs::{Ended, Outcome, revision, shown};

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
    let request = store.db.fetch_trace(&event).within(arguments.within).limit(arguments.limit);
    let trace = tokio::select! {
        trace = request.causes(arguments.causes).begin() => trace,
        () = interrupt::requested() => {
            tell("stopped before the causes were read");
            return Ok(Outcome::Found);
        }
    };
    let mut trace = trace.map_err(|error| {
        Failure::of(format!("the causes of `{}` can't be read", visible(&arguments.id)), &error)
    })?;
    read_effects(&mut trace).await?;
    let (mut events, mut missing) = (0_u64, 0_u64);
    for line in trace.lines() {
        match line {
            TraceLine::Event { is_repeated, .. } => events += u64::from(!is_repeated),
            TraceLine::MissingCause { .. } => missing += 1,
        }
        let (line, text) = print(line, &arguments.id);
        output.line(&line, text)?;
    }
    let (rows, is_complete) = (trace.rows_read(), trace.is_complete());
    let read_until = shown(trace.read_until());
    let summary = json!({
        "kind": "trace",
        "events": events,
        "missing": missing,
        "rowsRead": rows,
        "readUntil": read_until,
        "complete": is_complete,
    });
    if output.is_json() {
        output.line(&summary, "")?;
    }
    tell(format_args!(
        "{events} events; read {rows} events from {} to {read_until} to find them",
        shown(trace.since()),
    ));
    if !is_complete {
        tell("Effects after that weren't looked for: raise --limit to read on.");
    }
    Ok(if is_complete { Outcome::Fine } else { Outcome::Found })
}

/// Reads until the end, or until it is interrupted.
async fn read_effects(trace: &mut Trace) -> Result<(), Failure> {
    let progress = Progress::new("events", None);
    loop {
        let rows = tokio::select! {
            rows = trace.read_on() => rows,
            () = interrupt::requested() => return Ok(()),
        };
        let rows = rows.map_err(|error| Failure::of("the events can't be read", &error))?;
        let Some(rows) = rows else { return Ok(()) };
        progress.add(rows);
    }
}

fn print(line: TraceLine<'_>, asked: &str) -> (Value, String) {
    let indent = |depth: usize| "  ".repeat(depth.min(DEEPEST_INDENT));
    match line {
        TraceLine::Event { depth, event, is_repeated } => {
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
            let text = format!("{} {revision}  {}  {}", event.subject, event.ty, event.id);
            (line, format!("{}  {}{}{note}", shown(event.time), indent(depth), visible(&text)))
        }
        TraceLine::MissingCause { depth, id, reason } => {
            let reason = match reason {
                MissingCause::LimitReached => "not read: raise --causes".to_owned(),
                other => other.to_string(),
            };
            let line =
                json!({ "kind": "missingCause", "depth": depth, "id": id, "reason": reason });
            let text = format!("{}  ({})", visible(id), visible(&reason));
            (line, format!("{:24}  {}{text}", "", indent(depth)))
        }
    }
}
