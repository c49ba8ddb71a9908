//! What each contestant consumes, in DynamoDB's units and in dollars: prints `docs/costs.md`.

use std::fmt::Write as _;
use std::time::Duration;

use crate::contestants::Contestant;
use crate::engine::{Count, Engine};

/// On demand, us-east-1, November 2026: <https://aws.amazon.com/dynamodb/pricing/on-demand/>
const DOLLARS_PER_MILLION_WRITES: f64 = 0.625;
const DOLLARS_PER_MILLION_READS: f64 = 0.125;

/// Fillings that make an item in our table a bit smaller than these sizes.
const SIZES: [(&str, usize); 4] =
    [("0.5 KB", 230), ("1 KB", 740), ("4 KB", 3_800), ("10 KB", 9_950)];

/// Published designs that can't be run here: what their authors say of an append of one event of up
/// to 1 KB, in units.
const PUBLISHED: [(&str, &str, f64); 4] = [
    (
        "the original library: PutItem, three indexes, no concurrency control",
        "1 for the item, 1 for each index",
        4.0,
    ),
    (
        "akka-persistence-dynamodb: PutItem of an event, one index by slice",
        "1 for the item, 1 for the index",
        2.0,
    ),
    (
        "a version as sort key, PutItem if it isn't there (as in AWS's blog on CQRS)",
        "1 for the item; no order over subjects, no ids",
        1.0,
    ),
    (
        "Equinox.DynamoStore: events in a tip item, moved out when it is full",
        "1 for each KB of the tip, which an append rewrites",
        1.0,
    ),
];

pub fn run() {
    let runtime = crate::runtime();
    let engine = Engine::start();
    let count = Count::default();
    let counting = engine.counting_client(&count);
    let text = runtime.block_on(async {
        Contestant::create_tables(&engine.client()).await;
        let contestants = Contestant::all(&counting).await;
        let mut text = String::from(
            "# Costs compared with other designs\n\nWritten by `npm run bench:costs` from the capacity that \
             the embedded engine reports, whose figures are modelled on captured answers of AWS. \
             Dollars: on demand in us-east-1, $0.625 for a million write units and $0.125 for a \
             million read units, as of November 2026; storage, streams and messages are in the \
             [costs and limits](costs-and-limits.md).\n\n## Appending, per million events\n\nAt a known \
             revision of the subject, with optimistic concurrency.\n\n| by |",
        );
        for (size, _) in SIZES {
            write!(text, " {size} |").unwrap();
        }
        text.push_str(" 10 of 0.5 KB together |\n|---|---:|---:|---:|---:|---:|\n");
        for contestant in &contestants {
            write!(text, "| {} |", contestant.name()).unwrap();
            for (size, filling) in SIZES {
                let subject = format!("book:{}", size.replace(' ', "-"));
                let at = contestant.at(&subject, 0).await;
                contestant.append_filled(at, 0, 1, filling).await;
                catch_up().await;
                let at = contestant.at(&subject, 1).await;
                count.take();
                contestant.append_filled(at, 1, 1, filling).await;
                let (_, units) = count.take();
                write!(text, " {units} units, {} |", dollars(units, DOLLARS_PER_MILLION_WRITES))
                    .unwrap();
            }
            let at = contestant.at("book:ten", 0).await;
            contestant.append(at, 0, 10).await;
            catch_up().await;
            let at = contestant.at("book:ten", 10).await;
            count.take();
            contestant.append(at, 10, 10).await;
            let units = count.take().1 / 10.0;
            writeln!(text, " {units} units, {} |", dollars(units, DOLLARS_PER_MILLION_WRITES))
                .unwrap();
        }
        text.push_str("\n## Loading, per million subjects of 100 events of 0.5 KB\n\n| by | |\n|---|---:|\n");
        for contestant in &contestants {
            for quarter in 0..4 {
                // dynamo-es takes no more in one call.
                let at = contestant.at("book:hundred", quarter * 25).await;
                contestant.append(at, quarter * 25, 25).await;
                catch_up().await;
            }
            count.take();
            contestant.load("book:hundred").await;
            let (_, units) = count.take();
            writeln!(
                text,
                "| {} | {units} units, {} |",
                contestant.name(),
                dollars(units, DOLLARS_PER_MILLION_READS)
            )
            .unwrap();
        }
        text
    });
    let mut text = text;
    text.push_str(
        "\n## What the difference buys\n\nThe two other crates keep no index: events can be had by \
         their aggregate only. By revision, the event takes 1 of our units for each KB, and each of the two \
         indexes (all events by time, one by its id), which can be left out, 1 more. Of the 7 units by \
         time, 3 are for the indexes that the article asks for (all \
         events by time, one by its id, a subject's by type), 2 for the head, which carries the \
         revision, lets a conflict say what is there and lets appends depend on other subjects, and \
         2 for the event in a transaction. dynamo-es reads eventually consistent, at half the \
         units.\n\n## Published designs that are not run here\n\nComputed from \
         what their authors publish, for one event of up to 1 KB:\n\n| design | units | per million |\n\
         |---|---|---:|\n",
    );
    for (design, why, units) in PUBLISHED {
        writeln!(
            text,
            "| {design} | {units}: {why} | {} |",
            dollars(units, DOLLARS_PER_MILLION_WRITES)
        )
        .unwrap();
    }
    text.push_str("\nWhich layout to choose: [choosing](choosing.md#which-table-layout).\n");
    print!("{text}");
}

/// Waits until the clock has caught up with the times of a burst.
async fn catch_up() {
    tokio::time::sleep(Duration::from_millis(60)).await;
}

fn dollars(units: f64, of_a_million: f64) -> String {
    format!("${:.2}", units * of_a_million)
}
