//! Ctrl-C ends a command that waits, and says how to go on.
#![cfg(unix)]

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use eventdb::TableLayout;

use crate::output_schema;
use crate::repairing::{item, number, text, with_library};
use crate::store::{LAYOUTS, Store};

/// Starts a command that follows, waits for its first line, appends an event, waits for that, and presses
/// Ctrl-C. Returns both lines, and what it has told.
fn followed(store: &Store, arguments: &[&str], append: impl FnOnce()) -> (String, String, String) {
    let mut child = store
        .command(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut next = || lines.next().expect("a line").expect("UTF-8");
    let first = next();
    append();
    let second = next();
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().expect("it starts").success());
    let status = child.wait().expect("it ends");
    let mut told = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut told).expect("UTF-8");
    assert_eq!(status.code(), Some(0), "{told}");
    (first, second, told)
}

#[test]
fn a_history_is_followed_until_ctrl_c() {
    for layout in LAYOUTS {
        let store = Store::new("follow", layout);
        store.append("book:1", "{}");
        store.append("book:1", r#"{"number":2}"#);
        let arguments = ["cat", "book:1", "--last", "1", "--follow"];
        let append = || store.append("book:1", r#"{"number":3}"#);
        let (first, second, told) = followed(&store, &arguments, append);
        assert!(first.starts_with("     2  ") && first.ends_with(r#"{"number":2}"#), "{first}");
        assert!(second.starts_with("     3  ") && second.ends_with(r#"{"number":3}"#), "{second}");
        assert!(told.contains("to go on from here: --from-revision 4"), "{told}");
        assert!(told.contains("consumed"), "{told}");
    }
}

#[test]
fn the_feed_is_followed_until_ctrl_c() {
    let store = Store::new("follow-feed", TableLayout::ByRevision);
    let adopt = || {
        let adopt = ["verify", "adopt", "--unpublished", "--second-look-after", "1ms", "--yes"];
        assert_eq!(store.run(&adopt).status, 0);
    };
    store.append("book:1", "{}");
    adopt();
    for arguments in [&["feed", "--follow"][..], &["tail", "--follow", "-n", "1"]] {
        let append = || {
            store.append("book:2", "{}");
            adopt();
        };
        let (_, second, told) = followed(&store, arguments, append);
        assert!(second.contains("book:2"), "{second}");
        assert!(told.contains("to go on from here: --after "), "{told}");
    }
}

/// Presses Ctrl-C after the command has said that it works.
fn interrupted(store: &Store, arguments: &[&str]) -> String {
    let mut child = store
        .command(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut told = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut said = String::new();
    told.read_line(&mut said).expect("UTF-8");
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().expect("it starts").success());
    told.read_to_string(&mut said).expect("UTF-8");
    assert_eq!(child.wait().expect("it ends").code(), Some(2), "{said}");
    said
}

#[test]
fn an_import_and_an_export_say_how_to_go_on() {
    let store = Store::new("move-interrupted", TableLayout::ByTime);
    store.append("book:1", "{}");
    let said = interrupted(&store, &["import", "-", "--yes"]);
    assert!(said.contains("Repeat the command to go on"), "{said}");
    // A unit per second: it waits after its first request.
    let file = format!("{}.jsonl", store.file.display());
    let said = interrupted(&store, &["export", "--to", &file, "--rate", "1"]);
    assert!(said.contains("The same command goes on"), "{said}");
    let ran = store.run(&["export", "--to", &file]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert_eq!(std::fs::read_to_string(&file).expect("a file").lines().count(), 1);
    std::fs::remove_file(&file).expect("removed");
}

#[test]
fn the_page_is_served_until_ctrl_c() {
    let store = Store::new("explore", TableLayout::ByTime);
    let mut child = store
        .command(&["--json", "explore", "--port", "0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("UTF-8");
    let page = output_schema::lines(&line).remove(0);
    let address = page["address"].as_str().expect("an address");
    assert!(address.starts_with("http://127.0.0.1:"), "{address}");
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().expect("it starts").success());
    let status = child.wait().expect("it ends");
    let mut told = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut told).expect("UTF-8");
    assert_eq!(status.code(), Some(0), "{told}");
    assert!(told.contains("the page consumed 0 read units in 0 requests"), "{told}");
}

#[test]
fn an_export_that_is_interrupted_within_a_subject_has_nothing_twice() {
    let store = Store::new("export-within", TableLayout::ByTime);
    // A subject of the original library, which is read by itself, in several pages.
    with_library(&store, TableLayout::ByTime, async |client, _| {
        let row = |index: u64| {
            let time = 1_738_074_600_000 + index;
            let row = [
                ("subject", text("book:1")),
                ("time_type", text(&format!("{time}_book.borrowed"))),
                ("id", text(&format!("legacy-{index}"))),
                ("type", text("book.borrowed")),
                ("source", text("https://library.example.com")),
                ("time", number(time)),
                ("pk_all", text("all")),
                ("data", AttributeValue::M([("note".to_owned(), text(&"x".repeat(1_800)))].into())),
            ];
            let put = PutRequest::builder().set_item(item(&row)).build().expect("an item");
            WriteRequest::builder().put_request(put).build()
        };
        for batch in 0..60 {
            let rows = (batch * 25..(batch + 1) * 25).map(row).collect();
            let write = client.batch_write_item().request_items("Events", rows);
            write.send().await.expect("stored");
        }
    });
    let whole = store.run(&["export"]).stdout;
    assert_eq!(whole.lines().count(), 1_500);
    let file = format!("{}.jsonl", store.file.display());
    let mut interruptions = 0;
    // Each time it is interrupted later, until it isn't any more.
    for wait in (0..).step_by(200).map(Duration::from_millis) {
        let arguments = ["export", "--to", &file, "--rate", "1000"];
        let mut child = store
            .command(&arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut told = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut line = String::new();
        while !line.starts_with("exporting") {
            line.clear();
            assert_ne!(told.read_line(&mut line).expect("UTF-8"), 0, "it says that it works");
        }
        std::thread::sleep(wait);
        let id = child.id().to_string();
        let _ = Command::new("kill").args(["-INT", &id]).stderr(Stdio::null()).status();
        if child.wait().expect("it ends").code() == Some(0) {
            break;
        }
        interruptions += 1;
    }
    assert!(interruptions > 2, "interrupted {interruptions} times");
    assert!(std::fs::read_to_string(&file).expect("a file") == whole, "something is lost or twice");
    std::fs::remove_file(&file).expect("removed");
}
