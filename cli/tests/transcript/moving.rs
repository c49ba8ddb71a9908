//! Exports and imports as a person makes them, on database files.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;

use crate::store::{LAYOUTS, Store, ran};
use eventdb::TableLayout;

fn other(layout: TableLayout) -> TableLayout {
    match layout {
        TableLayout::ByTime => TableLayout::ByRevision,
        _ => TableLayout::ByTime,
    }
}

/// A file next to the store.
fn path(store: &Store, suffix: &str) -> PathBuf {
    let mut path = store.file.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

fn filled(name: &str, layout: TableLayout) -> Store {
    let store = Store::new(name, layout);
    for subject in ["book:1", "book:2", "reader:1"] {
        store
            .append(subject, r#"{"text":"ä \" \u0000","most":18446744073709551615,"price":12.50}"#);
        store.append(subject, "{}");
    }
    store
}

fn sorted(lines: &str) -> Vec<&str> {
    let mut lines: Vec<_> = lines.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn a_store_moves_into_either_layout_and_a_repetition_changes_nothing() {
    for from in LAYOUTS {
        let store = filled("move", from);
        let exported = store.run(&["export"]);
        assert_eq!(exported.status, 0, "{}", exported.stderr);
        assert_eq!(exported.stdout.lines().count(), 6);
        let file = path(&store, ".jsonl.gz");
        let place = file.to_str().expect("a path");
        let ran = store.run(&["export", "--to", place]);
        assert_eq!((ran.status, ran.stdout.starts_with("exported 6 events to `")), (0, true));
        assert!(!path(&store, ".jsonl.gz.position").exists());
        assert!(fs::read(&file).expect("a file").starts_with(&[0x1f, 0x8b]));
        let again = store.run(&["export", "--to", place]);
        assert_eq!(again.status, 2);
        assert!(again.stderr.contains("exists already"), "{}", again.stderr);

        for to in [from, other(from)] {
            let target = Store::new(&format!("moved-{from}"), to);
            let dry = target.run(&["import", place]);
            let would = "would write 6 of 6 events; 0 were there already\n";
            assert_eq!((dry.status, dry.stdout.as_str()), (0, would), "{}", dry.stderr);
            assert_eq!(target.run(&["export"]).stdout, "");
            let done = target.run(&["import", place, "--yes"]);
            let wrote = "wrote and verified 6 of 6 events; 0 were there already\n";
            assert_eq!((done.status, done.stdout.as_str()), (0, wrote), "{}", done.stderr);
            let again = target.json(&["import", place, "--yes"]);
            assert_eq!(
                (again[0]["written"].as_u64(), again[0]["present"].as_u64()),
                (Some(0), Some(6))
            );
            if from == TableLayout::ByRevision && to == from {
                let moved = target.run(&["export"]).stdout;
                assert_eq!(sorted(&moved), sorted(&exported.stdout), "the text of data, too");
            }
            // They are listed in the feed, once.
            let verified = target.run(&["verify", "--second-look-after", "1ms"]);
            assert_eq!(verified.status, 0, "{}{}", verified.stdout, verified.stderr);
            assert_eq!(target.json(&["feed"]).len(), 7);
            // And it is a store like any other.
            target.append("book:1", "{}");
            assert_eq!(target.json(&["cat", "book:1"]).len(), 3);
        }
        fs::remove_file(file).expect("removed");
    }
}

#[test]
fn a_choice_is_exported_and_only_whole_subjects_can_be_imported() {
    let store = filled("choice", TableLayout::ByRevision);
    let books = store.run(&["export", "--subject-prefix", "book:"]);
    assert_eq!(books.stdout.lines().count(), 4);
    assert_eq!(store.run(&["export", "--type", "book.returned"]).stdout, "");
    assert_eq!(store.run(&["export", "--since", "1h", "--until", "0s"]).stdout.lines().count(), 6);
    assert_eq!(store.run(&["export", "--until", "1h"]).stdout, "");

    let file = path(&store, ".jsonl");
    let without_first: Vec<_> = books.stdout.lines().skip(1).collect();
    fs::write(&file, without_first.join("\n") + "\n\nnonsense\n").expect("written");
    let target = Store::new("choice-target", TableLayout::ByTime);
    let ran = target.run(&["import", file.to_str().expect("a path"), "--yes"]);
    assert_eq!(ran.status, 1, "{}", ran.stderr);
    assert!(ran.stdout.contains("line 1, \"book:"), "{}", ran.stdout);
    assert!(ran.stdout.contains("is neither in the line before it nor in the table"));
    assert!(ran.stdout.contains("line 5: isn't an event that a store can hold"), "{}", ran.stdout);
    assert!(ran.stderr.contains("Nothing was written."), "{}", ran.stderr);
    assert_eq!(target.run(&["export"]).stdout, "");
    fs::remove_file(file).expect("removed");
}

#[test]
fn an_import_says_what_differs_and_goes_on_where_a_subject_ends() {
    for layout in LAYOUTS {
        let store = filled("differs", layout);
        let exported = store.run(&["export", "--subject-prefix", "book:1"]).stdout;
        let lines: Vec<_> = exported.lines().collect();
        let target = Store::new("differs-target", layout);
        let import = |text: &str| {
            let mut child = target
                .command(&["import", "-", "--yes"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("it starts");
            child.stdin.take().expect("stdin").write_all(text.as_bytes()).expect("written");
            ran(child.wait_with_output().expect("it ends"))
        };
        assert_eq!(import(lines[0]).status, 0);
        let later = import(lines[1]);
        assert_eq!(later.status, 0, "{}{}", later.stdout, later.stderr);
        let changed = import(&lines[1].replace("\"id\":\"", "\"id\":\"x"));
        assert_eq!(changed.status, 1);
        assert!(changed.stdout.contains("is in the place of the event `x"), "{}", changed.stdout);
        let reserved = import(&lines[0].replace("book:1", "$head/book:1"));
        assert_eq!(reserved.status, 1);
        assert!(reserved.stdout.contains("reserved"), "{}", reserved.stdout);
    }
}

#[test]
fn an_interrupted_export_goes_on_at_its_position() {
    let store = filled("interrupted", TableLayout::ByRevision);
    let file = path(&store, ".jsonl");
    let place = file.to_str().expect("a path");
    let whole = store.run(&["export"]).stdout;
    // As it is left behind: half of the lines, some bytes more, and the position of those lines.
    let page = store.json(&["export", "--to", place]).remove(0);
    assert_eq!(page["events"], 6);
    let half: String = whole.lines().take(3).flat_map(|line| [line, "\n"]).collect();
    fs::write(&file, format!("{half}{{\"cut")).expect("written");
    let choice = serde_json::json!({
        "table": "Events", "subjectPrefix": null, "types": [], "since": null, "until": null,
    });
    let third: serde_json::Value =
        serde_json::from_str(whole.lines().nth(2).expect("a line")).expect("JSON");
    let revision: u64 = third["sequence"].as_str().expect("text").parse().expect("a number");
    let cursor = serde_json::json!({
        "e": [third["subject"], revision.to_string()],
        "n": { "last": revision, "has_stated": true },
        "d": false,
    });
    let position = |choice: &str| {
        let cursor = base64_url(cursor.to_string().as_bytes());
        let position = serde_json::json!({
            "choice": choice, "cursor": cursor, "events": 3, "bytes": half.len(),
            "upload": null, "parts": [],
        });
        fs::write(path(&store, ".jsonl.position"), position.to_string()).expect("written");
    };
    position("other options");
    let refused = store.run(&["export", "--to", place]);
    assert_eq!(refused.status, 2);
    assert!(refused.stderr.contains("was begun with other options"), "{}", refused.stderr);
    position(&choice.to_string());
    let done = store.run(&["export", "--to", place]);
    assert_eq!(done.status, 0, "{}", done.stderr);
    assert!(done.stderr.contains("going on after 3 events"), "{}", done.stderr);
    assert_eq!(fs::read_to_string(&file).expect("a file"), whole);
    fs::remove_file(file).expect("removed");
}

fn base64_url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let number = chunk.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
        let number = number << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            let digit = (number >> (18 - 6 * place)) & 63;
            text.push(char::from(DIGITS[digit as usize]));
        }
    }
    text
}

#[test]
fn a_reader_that_stops_early_and_a_rate_are_fine() {
    let store = filled("pipe", TableLayout::ByTime);
    let mut child = store
        .command(&["export", "--rate", "1000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    drop(child.stdout.take());
    let ended = ran(child.wait_with_output().expect("it ends"));
    assert_eq!(ended.status, 0, "{}", ended.stderr);
    assert_eq!(store.run(&["export", "--rate", "0"]).status, 2);
    let missing = store.run(&["import", "there-is-no-such-file"]);
    assert_eq!(missing.status, 2);
    assert!(missing.stderr.contains("can't be read"), "{}", missing.stderr);
}
