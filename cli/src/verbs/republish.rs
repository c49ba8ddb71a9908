//! `eventdb republish`: publish events that `verify` has found.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use clap::Args;
use eventdb::internals::schema::attribute;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::connection::{Row, Session, Store};
use crate::failure::Failure;
use crate::interrupt;
use crate::output::{Output, tell, visible};
use crate::progress::Progress;
use crate::publisher::{Publisher, stream_record};
use crate::verbs::verify::{self, Choice};
use crate::verbs::{Ended, Outcome};

/// Events that are passed to the publisher together.
const EVENTS_PER_BATCH: usize = 50;

/// Bytes of a batch. Lambda takes 6 MB: <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
const BYTES_PER_BATCH: usize = 4_000_000;

/// Passes unpublished events to the publisher, as the stream does.
///
/// It verifies first, or takes the lines of `eventdb verify --json` from a file. It publishes exactly
/// these events, and the publisher lists them in the feed. Without --yes, it only says how many messages
/// it would send. Ctrl-C stops it after the running batch. Policy: RepublishPolicyArn.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    choice: Choice,
    /// A file with the lines of `eventdb verify --json`; `-` is stdin.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["since", "segment"])]
    events: Option<PathBuf>,
    /// Do it, instead of only saying what would be done.
    #[arg(long)]
    yes: bool,
}

/// An event to be published: a line of `eventdb verify --json`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    subject: String,
    revision: Option<u64>,
    sort_key: String,
    id: String,
}

impl Wanted {
    fn shown(&self) -> String {
        let Self { subject, sort_key, id, .. } = self;
        visible(&format!("the event `{id}` (`{sort_key}` of the subject `{subject}`)"))
    }
}

/// Runs the command.
///
/// # Errors
/// If the events can't be found, or the publisher fails.
pub async fn run(
    arguments: Arguments,
    session: &Session,
    output: &mut Output,
) -> Result<Outcome, Ended> {
    interrupt::listen();
    let store = session.store().await?;
    let (client, name) = session.publisher()?;
    let stream = store.stream.clone().ok_or_else(|| {
        Failure::new(format!("the table `{}` has no stream, so nothing is published", store.table))
    })?;
    let (mut wanted, more) = match &arguments.events {
        Some(path) => (read_events(path)?, 0),
        None => {
            let found =
                verify::compare(&arguments.choice, &store, &session.feed().await?, &session.meter)
                    .await?;
            let kept = u64::try_from(found.unpublished.len()).unwrap_or(u64::MAX);
            let lines = found.unpublished.iter();
            let wanted = lines
                .map(|entry| serde_json::from_value(verify::unpublished_line(store.layout, entry)))
                .collect::<Result<Vec<Wanted>, _>>()
                .map_err(|error| Failure::of("the events can't be read", &error))?;
            (wanted, found.unpublished_events.saturating_sub(kept))
        }
    };
    // The events of a subject are published in their order.
    wanted.sort_unstable();
    wanted.dedup();
    if more > 0 {
        tell(format_args!("{more} more are unpublished: run it again after this."));
    }
    if !arguments.yes {
        let line = json!({ "kind": "wouldRepublish", "events": wanted.len() });
        output.line(&line, format_args!("would publish {} events", wanted.len()))?;
        tell("Nothing was sent. Add --yes to do it.");
        return Ok(if wanted.is_empty() { Outcome::Fine } else { Outcome::Found });
    }
    tell(format_args!("publishing {} events; Ctrl-C stops after the running batch", wanted.len()));
    let publisher = Publisher::new(client, name);
    let mut batches = Batches { session, store: &store, stream, wanted: wanted.into() };
    let (mut published, mut failed) = (0, 0);
    let progress = Progress::new("events", u64::try_from(batches.wanted.len()).ok());
    loop {
        let before = batches.wanted.len();
        let Some((mut batch, lost)) = batches.next().await? else { break };
        failed += lost;
        while !batch.is_empty() {
            let records: Vec<&Value> = batch.iter().map(|(_, record)| record).collect();
            session.meter.pace(records.len() as f64).await;
            match publisher.publish(&json!({ "Records": records })).await? {
                Ok(()) => {
                    published += batch.len();
                    batch.clear();
                }
                // Those before it are published. Those after it may be, too: the feed tells the publisher.
                Err(number) => {
                    let first = number.parse().unwrap_or(0).min(batch.len() - 1);
                    published += first;
                    failed += 1;
                    if let Some((event, _)) = batch.drain(..=first).next_back() {
                        tell(format_args!(
                            "{} can't be published; the log of the publisher says why",
                            event.shown()
                        ));
                    }
                    batch = renumbered(batch);
                }
            }
        }
        progress.add(before.saturating_sub(batches.wanted.len()));
        if interrupt::is_requested() {
            tell("interrupted; the rest stays unpublished: run it again to go on");
            break;
        }
    }
    drop(progress);
    let line = json!({ "kind": "republished", "events": published, "failed": failed });
    output.line(&line, format_args!("published {published} events; {failed} failed"))?;
    Ok(if failed == 0 && batches.wanted.is_empty() { Outcome::Fine } else { Outcome::Found })
}

/// Reads the events from lines of `eventdb verify --json`.
fn read_events(path: &Path) -> Result<Vec<Wanted>, Failure> {
    let name = path.display();
    let failed = |error: &(dyn std::error::Error + 'static)| {
        Failure::of(format!("`{name}` can't be read"), error)
    };
    let reader: Box<dyn BufRead> = match path.as_os_str() == "-" {
        true => Box::new(std::io::stdin().lock()),
        false => Box::new(BufReader::new(File::open(path).map_err(|error| failed(&error))?)),
    };
    let mut wanted = Vec::new();
    for (index, line) in reader.lines().enumerate() {
        let line = line.map_err(|error| failed(&error))?;
        let number = index + 1;
        let invalid = |error: &(dyn std::error::Error + 'static)| {
            Failure::of(
                format!("line {number} of `{name}` isn't one of `eventdb verify --json`"),
                error,
            )
        };
        if line.trim().is_empty() {
            continue;
        }
        let json: Value = serde_json::from_str(&line).map_err(|error| invalid(&error))?;
        if json.get("kind").and_then(Value::as_str) == Some("unpublished") {
            wanted.push(serde_json::from_value(json).map_err(|error| invalid(&error))?);
        }
    }
    Ok(wanted)
}

/// The records of the wanted events, in batches.
struct Batches<'run> {
    session: &'run Session,
    store: &'run Store,
    stream: String,
    wanted: VecDeque<Wanted>,
}

type Batch = Vec<(Wanted, Value)>;

impl Batches<'_> {
    /// The next batch, and how many events couldn't be found for it.
    async fn next(&mut self) -> Result<Option<(Batch, usize)>, Failure> {
        if self.wanted.is_empty() {
            return Ok(None);
        }
        let mut batch = Batch::new();
        let mut bytes = 0;
        let mut lost = 0;
        while batch.len() < EVENTS_PER_BATCH && bytes < BYTES_PER_BATCH {
            let Some(event) = self.wanted.pop_front() else { break };
            let row = self.session.row(self.store, &event.subject, &event.sort_key).await?;
            let id = |row: &Row| row.get(attribute::ID).and_then(|id| id.as_s().ok().cloned());
            match row {
                Some(row) if id(&row).as_ref() == Some(&event.id) => {
                    let record = stream_record(&row, &self.stream, &batch.len().to_string());
                    bytes += record.to_string().len();
                    batch.push((event, record));
                }
                Some(_) => {
                    tell(format_args!("{} isn't in its place any more; another is", event.shown()));
                    lost += 1;
                }
                None => {
                    tell(format_args!("{} isn't in the table any more", event.shown()));
                    lost += 1;
                }
            }
        }
        Ok(Some((batch, lost)))
    }
}

/// The publisher answers with a sequence number, which is the place in the batch.
fn renumbered(mut batch: Batch) -> Batch {
    for (place, (_, record)) in batch.iter_mut().enumerate() {
        if let Some(number) = record.pointer_mut("/dynamodb/SequenceNumber") {
            *number = place.to_string().into();
        }
    }
    batch
}
