//! The tool as a person uses it: what it prints, and its exit status, on a database file.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has done its work"
)]

#[cfg(unix)]
mod documented;
mod generated;
mod interrupting;
mod lagging;
mod looking;
mod moving;
mod output_schema;
mod positions;
mod repairing;
mod store;

use std::process::Stdio;

use eventdb::{EmbeddedDynamoDb, EventCandidate, EventDb, Feed, TableLayout};
use serde_json::{Value, json};

use crate::store::{LAYOUTS, Store, ran};

#[test]
fn a_history_is_printed_for_people_and_for_programs() {
    for layout in LAYOUTS {
        let store = Store::new("cat", layout);
        store.append("book:1", r#"{"reader":"Zoë"}"#);
        store.append("book:1", "{}");
        let ran = store.run(&["cat", "book:1"]);
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        let lines: Vec<&str> = ran.stdout.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("     1  ") && lines[0].ends_with(r#"{"reader":"Zoë"}"#));
        assert!(lines[1].starts_with("     2  ") && lines[1].contains("  +"), "{}", lines[1]);
        assert!(ran.stderr.contains("consumed"), "{}", ran.stderr);

        let lines = store.json(&["cat", "book:1", "--last", "1", "--no-data"]);
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["kind"], "event");
        assert_eq!(lines[0]["event"]["sequence"], "00000000000000000002");
        assert_eq!(lines[0]["event"].get("data"), None);

        let ran = store.run(&["cat", "book:2"]);
        assert_eq!((ran.status, ran.stdout.as_str()), (1, ""));
        assert!(ran.stderr.contains("no events of the subject `book:2`"), "{}", ran.stderr);
    }
}

#[test]
fn nothing_is_written_without_yes() {
    let store = Store::new("dry", TableLayout::ByRevision);
    let ran = store.run(&["append", "book:1", "book.borrowed", "--source", "https://x.example"]);
    assert_eq!(ran.status, 0);
    assert!(ran.stdout.starts_with("would append"), "{}", ran.stdout);
    assert!(ran.stderr.contains("--yes"), "{}", ran.stderr);
    assert_eq!(store.run(&["cat", "book:1"]).status, 1);
}

#[test]
fn a_conflict_is_found_and_wrong_input_is_a_failure() {
    let store = Store::new("conflict", TableLayout::ByTime);
    store.append("book:1", "{}");
    let append = |rest: &[&str]| {
        let arguments =
            ["append", "book:1", "book.borrowed", "--source", "https://x.example", "--yes"];
        store.run(&[&arguments, rest].concat())
    };
    let ran = append(&["--pristine"]);
    assert_eq!((ran.status, ran.stdout.as_str()), (1, ""));
    assert!(ran.stderr.contains("book:1"), "{}", ran.stderr);
    assert_eq!(append(&["--at-revision", "1"]).status, 0);
    assert_eq!(append(&["--populated"]).status, 0);
    let last = store.json(&["cat", "book:1", "--last", "1"]).remove(0);
    let last = last["event"]["id"].as_str().expect("an id");
    assert_eq!(append(&["--at-event", last]).status, 0);
    let ran = append(&["--at-event", last]);
    assert_eq!((ran.status, ran.stdout.as_str()), (1, ""));
    assert!(ran.stderr.contains("Nothing was written."), "{}", ran.stderr);
    for (rest, reason) in [
        (["--extension", "causationid"], "it must be a name and a text"),
        (["--data", "{"], "isn't JSON"),
        (["--data", "[1]"], "isn't a JSON object"),
        (["--at-revision", "one"], "invalid value 'one'"),
    ] {
        let ran = append(&rest);
        assert_eq!(ran.status, 2, "{rest:?}");
        assert!(ran.stderr.contains(reason), "{rest:?}: {}", ran.stderr);
    }
}

#[test]
fn an_event_is_shown_with_its_row_and_its_message() {
    for layout in LAYOUTS {
        let store = Store::new("show", layout);
        store.append("book:1", r#"{"reader":"reader:1"}"#);
        let id = store.json(&["cat", "book:1"])[0]["event"]["id"].as_str().expect("id").to_owned();
        let shown = store.json(&["show", &id]).remove(0);
        assert_eq!(shown["row"]["subject"], json!({ "S": "book:1" }));
        let message: Value =
            serde_json::from_str(shown["message"]["body"].as_str().expect("text")).expect("JSON");
        assert_eq!(message["data"], json!({ "reader": "reader:1" }));
        assert_eq!(shown["message"]["attributes"]["subject"], "book:1");
        let ran = store.run(&["show", "there-is-none"]);
        assert_eq!((ran.status, ran.stdout.as_str()), (1, ""));
    }
}

#[test]
fn unpublished_events_are_verified_acknowledged_and_adopted() {
    for layout in LAYOUTS {
        let store = Store::new("verify", layout);
        store.append("book:1", "{}");
        store.append("book:1", "{}");
        let verify = ["verify", "--second-look-after", "1ms"];
        let ran = store.run(&verify);
        assert_eq!(ran.status, 1);
        assert_eq!(ran.stdout.matches("unpublished  ").count(), 2, "{}", ran.stdout);
        assert!(ran.stderr.contains("eventdb republish"), "{}", ran.stderr);

        let ran = store.run(&["verify", "acknowledge", "book:1", "2", "--reason", "a drill"]);
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        let lines = store.json(&verify);
        let kinds: Vec<&str> = lines.iter().filter_map(|line| line["kind"].as_str()).collect();
        assert_eq!(kinds, ["unpublished", "verification"]);
        assert_eq!(lines[1]["acknowledged"], 1);
        assert_eq!(lines[0]["revision"], 1);

        let adopt = ["verify", "adopt", "--unpublished", "--second-look-after", "1ms"];
        let would = store.run(&adopt);
        assert_eq!(would.stdout, "would adopt 0 unknown and 1 unpublished events\n");
        assert_eq!(store.run(&verify).status, 1);
        assert_eq!(store.run(&[&adopt[..], &["--yes"]].concat()).status, 0);
        assert_eq!(store.run(&verify).status, 0);

        let entries = store.json(&["feed"]);
        assert_eq!(entries[0]["listing"], "adopted");
        let cursor = entries[1]["cursor"].as_str().expect("cursor");
        assert_eq!(store.json(&["feed", "--after", cursor]).len(), 1);
        let events = store.json(&["feed", "--events", "--type", "book.borrowed"]);
        assert_eq!(events[0]["event"]["subject"], "book:1");
        let ran = store.run(&["verify", "acknowledge", "book:1", "7", "--reason", "a drill"]);
        assert_eq!(ran.status, 2);
    }
}

#[test]
fn what_needs_a_deployed_store_says_so() {
    let store = Store::new("deployed", TableLayout::ByTime);
    let replay = ["replay", "--subscription", "arn:aws:sns:eu-west-1:111111111111:Topic:1"];
    for command in [&["republish", "--yes"][..], &["redrive", "--yes"], &replay] {
        let ran = store.run(command);
        assert_eq!((ran.status, ran.stdout.as_str()), (2, ""));
        assert!(ran.stderr.contains("needs a deployed store"), "{}", ran.stderr);
    }
}

#[test]
fn a_missing_store_is_explained() {
    let store = Store::new("missing", TableLayout::ByTime);
    let without_store = |arguments: &[&str]| {
        ran(store.command(arguments).env_remove("EVENTDB_FILE").output().expect("it starts"))
    };
    let ran = without_store(&["cat", "book:1"]);
    assert_eq!(ran.status, 2);
    assert!(ran.stderr.contains("Give --stack NAME, or --table NAME."), "{}", ran.stderr);
    let ran = without_store(&["cat", "book:1", "--file", "there-is-no-such-file.db"]);
    assert_eq!(ran.status, 2);
    assert!(ran.stderr.contains("there is no file `there-is-no-such-file.db`"), "{}", ran.stderr);
    let ran = without_store(&["cat", "book:1", "--since", "yesterday"]);
    assert_eq!(ran.status, 2);
    assert!(ran.stderr.contains("such as `24h`"), "{}", ran.stderr);
    let ran = store.run(&["cat", "book:1", "--table", "Feed"]);
    assert_eq!(ran.status, 2);
    assert!(ran.stderr.contains("isn't a table of events"), "{}", ran.stderr);
}

#[test]
fn a_reader_that_stops_early_is_no_error() {
    let store = Store::new("pipe", TableLayout::ByRevision);
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    runtime.block_on(async {
        let database = EmbeddedDynamoDb::file(&store.file).await.expect("database");
        let db = EventDb::new(database.client(), "Events").with_layout(TableLayout::ByRevision);
        for _ in 0..60 {
            let candidate = || {
                EventCandidate::builder()
                    .source("https://library.example.com")
                    .subject("book:1")
                    .ty("book.borrowed")
                    .data(json!({ "text": "x".repeat(1000) }))
                    .build()
            };
            db.add_new_events((0..20).map(|_| candidate())).await.expect("stored");
        }
        database.stop().await;
    });
    let mut child = store
        .command(&["cat", "book:1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    drop(child.stdout.take());
    let ended = ran(child.wait_with_output().expect("it ends"));
    assert_eq!(ended.status, 0, "{}", ended.stderr);
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}

#[test]
fn text_of_events_cannot_change_the_terminal() {
    let store = Store::new("control", TableLayout::ByRevision);
    store.append("book:1", r#"{"text":"\u001b[31mred\u009b"}"#);
    let id = store.json(&["cat", "book:1"])[0]["event"]["id"].as_str().expect("id").to_owned();
    for arguments in [["cat", "book:1"], ["show", &id]] {
        let ran = store.run(&arguments);
        assert_eq!(ran.status, 0);
        assert!(!ran.stdout.chars().any(|character| character.is_control() && character != '\n'));
    }
}

#[test]
fn a_feed_that_does_not_exist_is_explained() {
    let store = Store::new("nofeed", TableLayout::ByTime);
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    runtime.block_on(async {
        let database = EmbeddedDynamoDb::file(&store.file).await.expect("database");
        Feed::create_table(&database.client(), "Other").await.expect("created");
        database.stop().await;
    });
    let ran = store.run(&["feed"]);
    assert_eq!(ran.status, 2);
    assert!(ran.stderr.contains("Choose one with --feed NAME."), "{}", ran.stderr);
    let ran = store.run(&["feed", "--feed", "Events"]);
    assert_eq!(ran.status, 2);
    assert!(ran.stderr.contains("isn't a feed"), "{}", ran.stderr);
}

const VERBS: [&str; 20] = [
    "append",
    "cat",
    "completions",
    "create-table",
    "doctor",
    "erase",
    "export",
    "feed",
    "import",
    "lag",
    "man",
    "redrive",
    "replay",
    "republish",
    "show",
    "subjects",
    "tail",
    "trace",
    "types",
    "verify",
];

#[test]
fn every_command_has_help() {
    let store = Store::new("help", TableLayout::ByTime);
    let help = store.run(&["--help"]);
    assert_eq!(help.status, 0);
    for verb in VERBS {
        assert!(help.stdout.contains(verb), "{verb}");
        let ran = store.run(&[verb, "--help"]);
        assert_eq!(ran.status, 0, "{verb}");
        assert!(ran.stdout.contains("Usage: eventdb"), "{}", ran.stdout);
        // The short help is one line, and the long one says what the command needs.
        let needs = ["Policy:", "needs no store", "deploy the CDK construct"];
        let help = ran.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(needs.iter().any(|needs| help.contains(needs)), "{help}");
    }
    assert_eq!(store.run(&["unknown"]).status, 2);
}
