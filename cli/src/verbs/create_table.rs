//! `eventdb create-table`: a table of events, on an endpoint or in a file.

use clap::Args;
use eventdb::{EventDb, Feed, TableLayout};
use serde_json::json;

use crate::connection::Session;
use crate::failure::Failure;
use crate::output::{Output, tell};
use crate::verbs::{Ended, Outcome};

/// Creates a table of events for local work and tests. On AWS, deploy the CDK construct instead.
///
/// With --feed NAME, it also creates the table of a feed. A table of that name that is there already
/// isn't changed.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The layout: byTime or byRevision.
    #[arg(long, value_name = "LAYOUT", default_value_t)]
    layout: TableLayout,
    /// Leave out the index AllEventsByTime. Only by revision.
    #[arg(long)]
    without_all_events_by_time: bool,
    /// Leave out the index AllEventsById. Only by revision.
    #[arg(long)]
    without_all_events_by_id: bool,
}

/// Runs the command.
///
/// # Errors
/// If the table can't be created.
pub async fn run(
    arguments: Arguments,
    session: &Session,
    output: &mut Output,
) -> Result<Outcome, Ended> {
    let table = session.new_table()?;
    let mut request = EventDb::create_table(&session.dynamodb, table).layout(arguments.layout);
    if arguments.without_all_events_by_time {
        request = request.without_all_events_by_time();
    }
    if arguments.without_all_events_by_id {
        request = request.without_all_events_by_id();
    }
    request
        .await
        .map_err(|error| Failure::of(format!("the table `{table}` can't be created"), &error))?;
    let feed = session.feed_table();
    if let Some(feed) = feed {
        Feed::create_table(&session.dynamodb, feed)
            .await
            .map_err(|error| Failure::of(format!("the table `{feed}` can't be created"), &error))?;
    }
    let layout = arguments.layout;
    let line =
        json!({ "kind": "created", "table": table, "layout": layout.to_string(), "feed": feed });
    output.line(&line, format_args!("created the table `{table}` ({layout})"))?;
    if let Some(feed) = feed {
        output.text(format_args!("created the feed `{feed}`"))?;
    }
    if !session.is_embedded() {
        tell("Its events are published only if a publisher reads its stream.");
    }
    Ok(Outcome::Fine)
}
