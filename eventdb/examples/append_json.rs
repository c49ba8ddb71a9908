//! Appends events that come as JSON, and prints them as the table has them.
//!
//! `LIBRARY_TABLE=… cargo run --example append_json < appends.jsonl`: each line of its input is one
//! append, an array of `{ "source", "type", "subject", "data", "extensions"? }`. The history of
//! every subject that was appended to is printed then, one CloudEvent a line, in the order of
//! its revisions. With `AWS_ENDPOINT_URL_DYNAMODB` set it uses the table there. With `--times` it
//! says on standard error how long each append took, a line each; with `--by-revision` the table is one
//! by revision; with `--if-populated <subject>` or `--if-pristine <subject>`, nothing is appended
//! unless that subject has events, or has none.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what it prints is its purpose")]

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::time::Instant;

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::Client;
use eventdb::{EventCandidate, EventDb, Precondition, TableLayout};
use serde::Deserialize;
use serde_json::Value;

/// An event to be, as it stands in the input.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    source: String,
    #[serde(rename = "type")]
    ty: String,
    subject: String,
    data: Value,
    #[serde(default)]
    extensions: BTreeMap<String, String>,
}

impl From<Given> for EventCandidate {
    fn from(given: Given) -> Self {
        let builder = Self::builder();
        given
            .extensions
            .into_iter()
            .fold(builder, |builder, (name, value)| builder.extension(name, value))
            .source(given.source)
            .ty(given.ty)
            .subject(given.subject)
            .data(given.data)
            .build()
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let table = std::env::var("LIBRARY_TABLE").map_err(|_| "LIBRARY_TABLE must name the table")?;
    let configuration = aws_config::load_defaults(BehaviorVersion::latest()).await;
    let is_given = |option: &str| std::env::args().any(|argument| argument == option);
    let layout =
        if is_given("--by-revision") { TableLayout::ByRevision } else { TableLayout::ByTime };
    let db = EventDb::new(Client::new(&configuration), table).with_layout(layout);

    let tells_times = is_given("--times");
    let option = |name| std::env::args().skip_while(|argument| argument != name).nth(1);
    let if_populated = option("--if-populated").map(Precondition::subject_is_populated);
    let if_pristine = option("--if-pristine").map(Precondition::subject_is_pristine);
    let mut subjects = BTreeSet::new();
    for line in std::io::stdin().lines() {
        let append: Vec<Given> = serde_json::from_str(&line?)?;
        subjects.extend(append.iter().map(|given| given.subject.clone()));
        let started = Instant::now();
        let mut append = db.add_new_events(append.into_iter().map(EventCandidate::from));
        for precondition in if_populated.iter().chain(&if_pristine) {
            append = append.only_if(precondition.clone());
        }
        append.await?;
        if tells_times {
            eprintln!("append: {:.3} ms", started.elapsed().as_secs_f64() * 1e3);
        }
    }
    for subject in subjects {
        let history = db.fetch_events_for_subject(&subject).await?;
        if !history.invalid.is_empty() || !history.missing.is_empty() {
            return Err(format!("the history of {subject} has gaps or unreadable rows").into());
        }
        for event in history.events {
            println!("{}", serde_json::to_string(&event)?);
        }
    }
    Ok(())
}
