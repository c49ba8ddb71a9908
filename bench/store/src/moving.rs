//! Importing and exporting a million events, by time and by revision: how fast, and how much memory it
//! takes. `npm run bench:moving -- 20000` moves so many at most.

use std::time::Instant;

use aws_sdk_dynamodb::Client;
use eventdb::{CapacityMeter, EventDb, Message, TableLayout};
use futures_util::{TryStreamExt, stream};

use crate::engine::{Engine, create_event_table};
use crate::growth::{forget_peak, peak};

const EVENTS_PER_SUBJECT: u64 = 50;

pub fn run() {
    let most = std::env::args().nth(2).map_or(1_000_000, |most| most.parse().unwrap());
    let runtime = crate::runtime();
    let engine = Engine::start();
    let smaller = [10_000, 100_000].into_iter().filter(|events| *events < most);
    let sizes: Vec<u64> = smaller.chain([most]).collect();
    println!(
        "| layout | events | what | events per second | units per event | memory resident, at most |"
    );
    println!("|---|---:|---|---:|---:|---:|");
    for layout in [TableLayout::ByTime, TableLayout::ByRevision] {
        for events in &sizes {
            runtime.block_on(moved(&engine.client(), layout, *events));
        }
    }
}

async fn moved(client: &Client, layout: TableLayout, events: u64) {
    let table = format!("{layout}{events}");
    create_event_table(client, &table, layout, false).await;
    let meter = CapacityMeter::new();
    let db = EventDb::new(client.clone(), &table).with_layout(layout).metered_by(&meter);
    let print = |what: &str, started: Instant| {
        let units = meter.take();
        println!(
            "| {layout} | {events} | {what} | {:.0} | {:.1} | {:.1} MiB |",
            events as f64 / started.elapsed().as_secs_f64(),
            (units.read_units + units.write_units) / events as f64,
            peak() as f64 / 1024.0
        );
    };

    forget_peak();
    let started = Instant::now();
    let lines = stream::iter((0..events).map(|number| Ok(line(number))));
    // Nothing publishes here.
    let report = db.import().publish().lines(lines).await.unwrap();
    assert_eq!((report.written, report.misfits), (events, vec![]));
    print("import", started);

    forget_peak();
    let started = Instant::now();
    let mut pages = db.export().stream();
    let (mut read, mut bytes) = (0, 0);
    while let Some(page) = pages.try_next().await.unwrap() {
        read += page.events.len() as u64;
        bytes += page.events.iter().map(|event| Message::new(event).body.len()).sum::<usize>();
    }
    assert_eq!(read, events);
    assert!(bytes > 0);
    print("export", started);
}

/// An event of half a KB.
fn line(number: u64) -> String {
    let (subject, revision) = (number / EVENTS_PER_SUBJECT, number % EVENTS_PER_SUBJECT + 1);
    let note = "x".repeat(250);
    format!(
        r#"{{"specversion":"1.0","id":"event-{number}","source":"https://library.example.com","type":"book.borrowed","subject":"book:{subject}","time":"2025-01-28T14:30:{revision:02}.000Z","sequence":"{revision:020}","data":{{"note":"{note}"}}}}"#
    )
}
