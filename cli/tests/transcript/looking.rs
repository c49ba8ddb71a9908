//! Looking into a store: its subjects, its types, its last events, what caused them.

use std::process::Stdio;

use eventdb::TableLayout;
use serde_json::Value;

use crate::store::{LAYOUTS, Store};

fn kinds(lines: &[Value]) -> Vec<&str> {
    lines.iter().filter_map(|line| line["kind"].as_str()).collect()
}

#[test]
fn subjects_are_listed_with_their_last_events_if_asked_for() {
    for layout in LAYOUTS {
        subjects_are_listed(layout);
    }
}

fn subjects_are_listed(layout: TableLayout) {
    let store = Store::new("subjects", layout);
    for subject in ["book:1", "book:1", "book:2", "reader:1"] {
        store.append(subject, "{}");
    }
    let ran = store.run(&["subjects", "book:"]);
    assert_eq!((ran.status, ran.stdout.as_str()), (0, "book:1\nbook:2\n"), "{}", ran.stderr);
    assert!(ran.stderr.contains("consumed"), "{}", ran.stderr);

    let lines = store.json(&["subjects", "--last-events"]);
    assert_eq!(kinds(&lines), ["subject"; 3]);
    assert_eq!(lines[0]["revision"], 2);
    assert_eq!(lines[0]["lastType"], "book.borrowed");
    let ran = store.run(&["subjects", "-l", "reader:"]);
    assert!(ran.stdout.starts_with("     1  20"), "{}", ran.stdout);
    assert!(ran.stdout.ends_with("  reader:1  book.borrowed\n"), "{}", ran.stdout);

    let first = store.json(&["subjects", "--limit", "2"]);
    assert_eq!(kinds(&first), ["subject", "subject", "cursor"]);
    let cursor = first[2]["cursor"].as_str().expect("text");
    let rest = store.json(&["subjects", "--after", cursor]);
    assert_eq!(rest[0]["subject"], "reader:1");

    let ran = store.run(&["subjects", "x"]);
    assert_eq!((ran.status, ran.stdout.as_str()), (0, ""));
    assert!(ran.stderr.contains("no subject begins with `x`"), "{}", ran.stderr);
    let ran = store.run(&["subjects", "--after", "nonsense"]);
    assert_eq!((ran.status, ran.stdout.as_str()), (2, ""));
}

#[test]
fn the_events_of_each_type_are_counted() {
    for layout in LAYOUTS {
        let store = Store::new("types", layout);
        store.append("book:1", "{}");
        store.append("book:2", "{}");
        store.append_with("book:1", &["--at-revision", "1"], "book.returned");
        let ran = store.run(&["types"]);
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        let lines: Vec<&str> = ran.stdout.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[0].starts_with("         2  book.borrowed  "), "{}", lines[0]);
        assert!(lines[1].starts_with("         1  book.returned  "), "{}", lines[1]);
        assert!(lines[2].starts_with("3 events of 2 types, "), "{}", lines[2]);

        let lines = store.json(&["types", "--since", "1h"]);
        assert_eq!(kinds(&lines), ["type", "type", "types"]);
        assert_eq!(lines[2]["events"], 3);
        assert_eq!(lines[2]["complete"], true);
        let rate = lines[2]["perDay"].as_f64().expect("a rate");
        assert!((71.0..=72.0).contains(&rate), "3 events in an hour, and not {rate} in a day");

        let none = store.json(&["types", "--until", "1h"]);
        assert_eq!(kinds(&none), ["types"]);
        // Nothing was published.
        let none = store.json(&["types", "--from-feed"]);
        assert_eq!(none[0]["events"], 0);
        let adopt = ["verify", "adopt", "--unpublished", "--second-look-after", "1ms", "--yes"];
        assert_eq!(store.run(&adopt).status, 0);
        let all = store.json(&["types", "--from-feed"]);
        assert_eq!(kinds(&all), ["type", "type", "types"]);
        assert_eq!(all[2]["events"], 3);
    }
}

#[test]
fn the_last_events_are_printed_without_their_data() {
    for layout in LAYOUTS {
        let store = Store::new("tail", layout);
        for number in 0..4 {
            store.append(&format!("book:{number}"), r#"{"secret":"Zoë"}"#);
        }
        let ran = store.run(&["tail", "-n", "2"]);
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        let lines: Vec<&str> = ran.stdout.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].contains("book:2") && lines[1].contains("book:3"), "{}", ran.stdout);
        assert!(!ran.stdout.contains("secret"));
        let ran = store.run(&["tail", "--data", "--subject-prefix", "book:3"]);
        assert!(ran.stdout.ends_with("{\"secret\":\"Zoë\"}\n"), "{}", ran.stdout);
        assert_eq!(ran.stdout.lines().count(), 1);
        assert_eq!(kinds(&store.json(&["tail"])), ["entry"; 4]);
        assert_eq!(kinds(&store.json(&["tail", "--data", "-n", "1"])), ["event"]);
        let ran = store.run(&["tail", "--follow", "--queue"]);
        assert_eq!((ran.status, ran.stdout.as_str()), (2, ""));
        assert!(ran.stderr.contains("a store in a file has no topic"), "{}", ran.stderr);
    }
}

#[test]
fn causes_and_effects_are_a_tree_over_subjects() {
    for layout in LAYOUTS {
        let store = Store::new("trace", layout);
        let append = |subject: &str, id: &str, rest: &[&str]| {
            store.append_with(subject, &[&["--id", id], rest].concat(), "book.borrowed");
        };
        append("book:1", "evt-1", &["--extension", "causationid=command-7"]);
        append("reader:1", "evt-2", &["--extension", "causationid=evt-1"]);
        append("fine:1", "evt-3", &["--extension", "causationid=evt-2"]);
        append("book:2", "evt-4", &["--extension", "correlationid=evt-1"]);
        append("book:3", "evt-5", &[]);
        let parent = |span| format!("traceparent=00-4bf92f3577b34da6a3ce929d0e0e4736-{span}-01");
        append("bill:1", "evt-6", &["--extension", &parent("00f067aa0ba902b7")]);
        append("bill:2", "evt-7", &["--extension", &parent("00f067aa0ba902b8")]);
        let ran = store.run(&["trace", "evt-2"]);
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        // Without the times, which are always as long.
        let lines: Vec<&str> = ran.stdout.lines().map(|line| &line[26..]).collect();
        assert_eq!(
            lines,
            [
                "command-7  (not an event of this store)",
                "  book:1 1  book.borrowed  evt-1",
                "    reader:1 1  book.borrowed  evt-2  <- this",
                "      fine:1 1  book.borrowed  evt-3",
                "book:2 1  book.borrowed  evt-4",
            ]
        );
        assert!(ran.stderr.contains("4 events; read 7 events from"), "{}", ran.stderr);
        let lines = store.json(&["trace", "evt-3"]);
        assert_eq!(
            kinds(&lines),
            ["missingCause", "traced", "traced", "traced", "traced", "trace"]
        );
        assert_eq!(lines[3]["asked"], true);
        assert_eq!(lines[5]["complete"], true);

        let lines = store.json(&["trace", "evt-7"]);
        assert_eq!(kinds(&lines), ["traced", "traced", "trace"]);
        assert_eq!([&lines[0]["id"], &lines[1]["id"]], ["evt-6", "evt-7"]);
        assert_eq!(lines[0]["trace"], "4bf92f3577b34da6a3ce929d0e0e4736");

        let ran = store.run(&["trace", "evt-2", "--limit", "1"]);
        assert_eq!(ran.status, 1);
        assert!(ran.stderr.contains("raise --limit"), "{}", ran.stderr);
        let lines = store.json(&["trace", "evt-3", "--causes", "1"]);
        assert!(lines.iter().any(|line| line["reason"] == "not read: raise --causes"));
        let ran = store.run(&["trace", "there-is-none"]);
        assert_eq!((ran.status, ran.stdout.as_str()), (1, ""));
    }
}

#[test]
fn causes_that_are_a_cycle_are_shown_once() {
    let store = Store::new("cycle", TableLayout::ByRevision);
    for (id, cause) in [("evt-1", "evt-2"), ("evt-2", "evt-1")] {
        let cause = format!("causationid={cause}");
        store.append_with("book:1", &["--id", id, "--extension", &cause], "book.borrowed");
    }
    let lines = store.json(&["trace", "evt-1"]);
    assert_eq!(kinds(&lines), ["traced", "traced", "traced", "trace"]);
    assert_eq!(lines[2]["cycle"], true);
}

#[test]
fn nothing_is_drawn_without_a_terminal() {
    let store = Store::new("plain", TableLayout::ByRevision);
    store.append("book:1", "{}");
    for arguments in
        [&["cat", "book:1"][..], &["types"], &["feed"], &["verify", "--second-look-after", "1ms"]]
    {
        let ran = store.run(arguments);
        let all = format!("{}{}", ran.stdout, ran.stderr);
        assert!(!all.contains(['\u{1b}', '\r']), "{arguments:?}: {all:?}");
    }
}

#[test]
fn a_reader_that_has_gone_is_no_error_for_any_command() {
    let store = Store::new("gone", TableLayout::ByTime);
    store.append("book:1", "{}");
    let id = store.json(&["tail", "-n", "1"])[0]["id"].as_str().expect("an id").to_owned();
    for arguments in
        [&["types"][..], &["tail"], &["trace", &id], &["man"], &["completions", "bash"]]
    {
        let mut child = store
            .command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        drop(child.stdout.take());
        let ended = crate::store::ran(child.wait_with_output().expect("it ends"));
        assert_eq!(ended.status, 0, "{arguments:?}: {}", ended.stderr);
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    }
}
