//! `eventdb show`: one event, with its row and its message.

use clap::Args;
use eventdb::{FeedEntry, Listing, Message, StoreId};
use serde_json::json;

use crate::connection::Session;
use crate::failure::Failure;
use crate::output::{Output, tell, visible};
use crate::publisher::dynamodb_json;
use crate::verbs::verify::sort_key;
use crate::verbs::{Ended, Outcome, cloud_event};

/// Prints an event: the CloudEvent, its row in the table, and the message that is published.
///
/// Exit status 1 if there is no such event. Policy: ReadPolicyArn.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The id of the event.
    id: String,
    /// The source of the event, if several sources use the same id.
    #[arg(long)]
    source: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// If the event can't be read, or the output can't be written.
pub async fn run(
    arguments: Arguments,
    session: &Session,
    output: &mut Output,
) -> Result<Outcome, Ended> {
    let store = session.store().await?;
    let mut request = store.db.fetch_event(&arguments.id);
    if let Some(source) = &arguments.source {
        request = request.from_source(source);
    }
    let found = request.await.map_err(|error| {
        Failure::of(format!("the event `{}` can't be read", arguments.id), &error)
    })?;
    let Some(event) = found else {
        tell(format_args!("no event has the id `{}`", visible(&arguments.id)));
        return Ok(Outcome::Found);
    };
    let entry = FeedEntry::new(&event, None, Listing::Published);
    let key = sort_key(store.layout, &entry);
    let row = session.row(&store, &event.subject, &key).await?;
    let row = row.as_ref().map(dynamodb_json);
    let id = store.stream.as_deref().and_then(|stream| stream.parse::<StoreId>().ok());
    let message = match &id {
        Some(id) => Message::of_store(&event, id),
        None => Message::new(&event),
    };
    let line = json!({
        "kind": "event",
        "event": cloud_event(&event)?,
        "row": row,
        "message": { "body": message.body, "attributes": attributes(&message) },
    });
    let pretty = serde_json::to_string_pretty(&line)
        .map_err(|error| Failure::of("the event can't be written", &error))?;
    let lines: Vec<String> = pretty.lines().map(visible).collect();
    output.line(&line, lines.join("\n"))?;
    Ok(Outcome::Fine)
}

fn attributes(message: &Message) -> serde_json::Map<String, serde_json::Value> {
    let attributes = message.attributes.iter();
    attributes.map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect()
}
