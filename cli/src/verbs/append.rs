//! `eventdb append`: append an event, for repairs and drills.

use std::io::Read;

use clap::Args;
use eventdb::{EventCandidate, Precondition};
use serde_json::{Value, json};

use crate::connection::Session;
use crate::failure::Failure;
use crate::output::{Output, tell, visible};
use crate::verbs::{Ended, Outcome, cloud_event, revision};

/// Appends one event. Without --yes, it only says what it would append.
///
/// Exit status 1 if a precondition isn't met. Policy: AppendPolicyArn.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The subject.
    subject: String,
    /// The type of the event.
    #[arg(value_name = "TYPE")]
    ty: String,
    /// The source of the event, a URI.
    #[arg(long)]
    source: String,
    /// The data, a JSON object; `-` reads it from stdin.
    #[arg(long, value_name = "JSON", default_value = "{}")]
    data: String,
    /// The id of the event. A repetition with the same id appends nothing.
    #[arg(long)]
    id: Option<String>,
    /// Only if the subject is at this revision.
    #[arg(long, value_name = "NUMBER")]
    at_revision: Option<u64>,
    /// Only if the subject has no events.
    #[arg(long, conflicts_with = "at_revision")]
    pristine: bool,
    /// Do it, instead of only saying what would be done.
    #[arg(long)]
    yes: bool,
}

/// Runs the command.
///
/// # Errors
/// If the data isn't JSON, or the event can't be stored.
pub async fn run(
    arguments: Arguments,
    session: &Session,
    output: &mut Output,
) -> Result<Outcome, Ended> {
    let Arguments { subject, ty, source, data, id, at_revision, pristine, yes } = arguments;
    let data = read_data(&data)?;
    if !yes {
        let line = json!({
            "kind": "wouldAppend", "subject": subject, "type": ty, "source": source, "id": id,
            "data": data,
        });
        output.line(&line, visible(&format!("would append `{ty}` to `{subject}`: {data}")))?;
        tell("Nothing was written. Add --yes to do it.");
        return Ok(Outcome::Fine);
    }
    let store = session.store().await?;
    let candidate = EventCandidate::builder()
        .source(source)
        .subject(&*subject)
        .ty(ty)
        .data(data)
        .maybe_id(id)
        .build();
    let mut append = store.db.add_new_events([candidate]);
    if let Some(revision) = at_revision {
        append = append.only_if(Precondition::subject_is_at_revision(&*subject, revision));
    }
    if pristine {
        append = append.only_if(Precondition::subject_is_pristine(&*subject));
    }
    let stored = match append.await {
        Ok(stored) => stored,
        Err(error) if error.is_conflict() => {
            tell(error);
            return Ok(Outcome::Found);
        }
        Err(error) => return Err(Failure::of("the event can't be appended", &error).into()),
    };
    for event in &stored {
        let line = json!({ "kind": "appended", "event": cloud_event(event)? });
        let revision = revision(event.revision);
        output.line(
            &line,
            format_args!("appended {} as revision {revision} of `{subject}`", event.id),
        )?;
    }
    Ok(Outcome::Fine)
}

fn read_data(text: &str) -> Result<Value, Failure> {
    let read = match text {
        "-" => {
            let mut data = String::new();
            std::io::stdin()
                .read_to_string(&mut data)
                .map_err(|error| Failure::of("the data can't be read from stdin", &error))?;
            data
        }
        text => text.to_owned(),
    };
    serde_json::from_str(&read).map_err(|error| {
        Failure::new(format!("--data isn't JSON: {error}"))
            .advice("It must be an object, such as --data '{\"userId\":\"user:456\"}'.")
    })
}
