//! Builds a read model from the feed, prints the progress, and goes on after a kill: the number of
//! events of each subject, in a table.
//!
//! `LIBRARY_TABLE=… LIBRARY_FEED=… LIBRARY_VIEW=… cargo run --example fill_read_model -- [--wait]`:
//! without `--wait` it ends when it has caught up, and with `--by-revision` the table is one by
//! revision. `LIBRARY_VIEW` names an existing table with the partition key `subject` (text), for the
//! view and its positions. The cursor is kept in the file `fill_read_model.cursor`.

#![allow(clippy::print_stdout, reason = "what it prints is its purpose")]

use std::error::Error;
use std::io::ErrorKind;

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem, Update};
use eventdb::{DynamoDbReadModel, EventDb, Feed, PositionTable, Projection, TableLayout};
use futures_util::TryStreamExt;

const CURSOR_FILE: &str = "fill_read_model.cursor";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let name = |variable: &str| {
        std::env::var(variable).map_err(|_| format!("{variable} must name a table"))
    };
    let (table, feed, view) =
        (name("LIBRARY_TABLE")?, name("LIBRARY_FEED")?, name("LIBRARY_VIEW")?);
    let client = Client::new(&aws_config::load_defaults(BehaviorVersion::latest()).await);
    let mut db = EventDb::new(client.clone(), table);
    let mut follow = Feed::new(client.clone(), feed).follow();
    let mut waits = false;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--wait" => waits = true,
            "--by-revision" => db = db.with_layout(TableLayout::ByRevision),
            other => return Err(format!("unknown argument `{other}`").into()),
        }
    }
    if !waits {
        follow = follow.until_caught_up();
    }
    match std::fs::read_to_string(CURSOR_FILE) {
        Ok(text) => follow = follow.after(text.trim().parse()?),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }

    let positions = PositionTable {
        table: view.clone(),
        partition_key: "subject".to_owned(),
        sort_key: None,
        read_model: "counts".to_owned(),
    };
    let counts = DynamoDbReadModel::new(client, positions, move |event| {
        let update = Update::builder()
            .table_name(&view)
            .key("subject", AttributeValue::S(event.subject.clone()))
            .update_expression("ADD events :one")
            .expression_attribute_values(":one", AttributeValue::N("1".to_owned()));
        Ok(vec![TransactWriteItem::builder().update(update.build()?).build()])
    });
    let projection = Projection::new(counts).reading(db.clone());
    let mut pages = follow.events_of(&db).apply_to(projection);
    while let Some(progress) = pages.try_next().await? {
        // A crash before this line is harmless: what is applied is passed over.
        std::fs::write(CURSOR_FILE, progress.cursor.to_string())?;
        println!("{progress}{}", if progress.caught_up { ", caught up" } else { "" });
    }
    Ok(())
}
