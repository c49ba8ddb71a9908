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
/// Exit status 1 if a precondition isn't met. Policy: AppendPolicyArn and
/// ReadPolicyArn.
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
    /// Only if the event with this id is the subject's last one.
    #[arg(long, value_name = "ID", conflicts_with = "at_revision")]
    at_event: Option<String>,
    /// Only if the subject has no events.
    #[arg(long, conflicts_with_all = ["at_revision", "at_event"])]
    pristine: bool,
    /// Only if the subject has events.
    #[arg(long, conflicts_with = "pristine")]
    populated: bool,
    /// An extension attribute, such as `causationid=ID`, `correlationid=ID` or `traceparent=TEXT`.
    #[arg(long = "extension", value_name = "NAME=TEXT", value_parser = extension)]
    extensions: Vec<(String, String)>,
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
    let preconditions = arguments.preconditions();
    let Arguments { subject, ty, source, data, id, extensions, yes, .. } = arguments;
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
    let mut candidate = EventCandidate::builder();
    for (name, value) in extensions {
        candidate = candidate.extension(name, value);
    }
    let candidate =
        candidate.source(source).subject(&*subject).ty(ty).data(data).maybe_id(id).build();
    let mut append = store.db.add_new_events([candidate]);
    for precondition in preconditions {
        append = append.only_if(precondition);
    }
    let stored = match append.await {
        Ok(stored) => stored,
        Err(error) if error.is_conflict() => {
            tell(visible(&error.to_string()));
            tell("Nothing was written. `eventdb cat` shows the history of the subject.");
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

impl Arguments {
    fn preconditions(&self) -> Vec<Precondition> {
        let subject = &*self.subject;
        let at_revision =
            self.at_revision.map(|number| Precondition::subject_is_at_revision(subject, number));
        let at_event =
            self.at_event.as_ref().map(|id| Precondition::subject_is_at_event_id(subject, id));
        let pristine = self.pristine.then(|| Precondition::subject_is_pristine(subject));
        let populated = self.populated.then(|| Precondition::subject_is_populated(subject));
        [at_revision, at_event, pristine, populated].into_iter().flatten().collect()
    }
}

fn extension(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| "it must be a name and a text, such as `causationid=evt-1`".to_owned())?;
    Ok((name.to_owned(), value.to_owned()))
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
