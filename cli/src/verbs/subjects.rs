//! `eventdb subjects`: the subjects of a store.

use clap::Args;
use eventdb::{Cursor, EventDb, ListedSubject};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::json;

use crate::connection::Session;
use crate::failure::Failure;
use crate::interrupt;
use crate::output::{Output, tell, visible};
use crate::verbs::{Ended, Outcome, revision, shown};

/// How many last events are read at the same time.
const READ_TOGETHER: usize = 16;

/// Lists the subjects that have events, in the order of their UTF-8 bytes.
///
/// It reads the index of the subjects, which is updated shortly after the table: half a read unit per
/// 4 KB of names. With --last-events, it also reads the last event of each subject: one read unit per
/// 4 KB of it. A table by time from before this index has to get it first; `eventdb doctor --write` then
/// enters the subjects that are there. Policy: ReadPolicyArn.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Only subjects that begin with this. The others aren't read.
    #[arg(default_value = "", hide_default_value = true)]
    prefix: String,
    /// Also print revision, time and type of each subject's last event.
    #[arg(long, short)]
    last_events: bool,
    /// At most this many subjects.
    #[arg(long, value_name = "NUMBER")]
    limit: Option<usize>,
    /// Begin after this cursor, which an earlier call with the same prefix has printed.
    #[arg(long, value_name = "CURSOR")]
    after: Option<Cursor>,
}

/// A subject, and its last event if it was read.
struct Listed {
    subject: String,
    last: Option<eventdb::Event>,
}

/// Runs the command.
///
/// # Errors
/// If the subjects can't be read, or the output can't be written.
pub async fn run(
    arguments: Arguments,
    session: &Session,
    output: &mut Output,
) -> Result<Outcome, Ended> {
    let store = session.store().await?;
    let mut request = store.db.fetch_subjects().subject_prefix(&*arguments.prefix);
    if let Some(limit) = arguments.limit {
        request = request.limit(limit);
    }
    if let Some(cursor) = arguments.after.clone() {
        request = request.after(cursor);
    }
    let mut pages = request.stream();
    let (mut subjects, mut cursor) = (0_u64, arguments.after);
    let mut is_complete = true;
    loop {
        let page = tokio::select! {
            page = pages.try_next() => page,
            () = interrupt::requested() => {
                tell("interrupted");
                is_complete = false;
                break;
            }
        };
        let page = page.map_err(|error| Failure::of("the subjects can't be listed", &error))?;
        let Some(page) = page else { break };
        let listed = stream::iter(page.subjects)
            .map(|listed| with_last_event(&store.db, listed, arguments.last_events));
        let mut listed = listed.buffered(READ_TOGETHER);
        while let Some(listed) = listed.try_next().await? {
            print(&listed, arguments.last_events, output)?;
            subjects += 1;
        }
        cursor = page.cursor;
        is_complete = !page.limit_reached;
        output.flush()?;
    }
    if subjects == 0 && is_complete {
        tell(match arguments.prefix.as_str() {
            "" => "the store has no subjects".to_owned(),
            prefix => visible(&format!("no subject begins with `{prefix}`")),
        });
    }
    if let (false, Some(cursor)) = (is_complete, cursor) {
        super::cursor(&cursor, output)?;
    }
    Ok(Outcome::Fine)
}

async fn with_last_event(
    db: &EventDb,
    listed: ListedSubject,
    is_wanted: bool,
) -> Result<Listed, Failure> {
    let subject = listed.subject;
    if !is_wanted {
        return Ok(Listed { subject, last: None });
    }
    let read = db.fetch_events_for_subject(&*subject).backwards().limit(1).await;
    let mut read = read.map_err(|error| {
        Failure::of(format!("the last event of `{}` can't be read", visible(&subject)), &error)
    })?;
    if let Some(row) = read.invalid.first() {
        tell(visible(&row.to_string()));
    }
    Ok(Listed { subject, last: read.events.pop() })
}

fn print(listed: &Listed, with_last_event: bool, output: &mut Output) -> Result<(), Ended> {
    let Listed { subject, last } = listed;
    let name = visible(subject);
    let Some(event) = last else {
        let text = match with_last_event {
            // It was removed meanwhile, or can't be read.
            true => format!("{:>6}  {:24}  {name}", "?", "?"),
            false => name,
        };
        return Ok(output.line(&json!({ "kind": "subject", "subject": subject }), text)?);
    };
    let line = json!({
        "kind": "subject",
        "subject": subject,
        "revision": event.revision,
        "lastTime": shown(event.time),
        "lastType": event.ty,
    });
    let (revision, time) = (revision(event.revision), shown(event.time));
    let text = format!("{revision:>6}  {time}  {name}  {}", visible(&event.ty));
    Ok(output.line(&line, text)?)
}
