//! Follows the feed and prints the published events, one CloudEvent a line.
//!
//! `LIBRARY_TABLE=… LIBRARY_FEED=… cargo run --example follow_feed -- [--wait] [CURSOR]`:
//! without `--wait` it ends when it has caught up, and with `--by-revision` the table is one by revision. The cursor of each page goes to standard error, and given as
//! an argument, it goes on there. With `AWS_ENDPOINT_URL_DYNAMODB` set it uses the tables there.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what it prints is its purpose")]

use std::error::Error;

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::Client;
use eventdb::{EventDb, Feed, TableLayout};
use futures_util::TryStreamExt;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let table = std::env::var("LIBRARY_TABLE").map_err(|_| "LIBRARY_TABLE must name the table")?;
    let feed = std::env::var("LIBRARY_FEED").map_err(|_| "LIBRARY_FEED must name the feed")?;
    let configuration = aws_config::load_defaults(BehaviorVersion::latest()).await;
    let client = Client::new(&configuration);
    let mut db = EventDb::new(client.clone(), table);

    let mut follow = Feed::new(client, feed).follow();
    let mut waits = false;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--wait" => waits = true,
            "--by-revision" => db = db.with_layout(TableLayout::ByRevision),
            cursor => follow = follow.after(cursor.parse()?),
        }
    }
    if !waits {
        follow = follow.until_caught_up();
    }
    let mut pages = follow.events_of(&db).stream();
    while let Some(page) = pages.try_next().await? {
        for event in &page.events {
            println!("{}", serde_json::to_string(event)?);
        }
        if let Some(missing) = page.missing.first() {
            return Err(missing.to_string().into());
        }
        eprintln!("{}", page.cursor);
    }
    Ok(())
}
