//! Erasing and examining as a person does it, on database files.

use crate::store::{LAYOUTS, Store};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use eventdb::{EmbeddedDynamoDb, EventCandidate, EventDb, TableLayout};
use serde_json::json;

/// Works on the file of a store with the library.
pub(crate) fn with_library<F>(store: &Store, layout: TableLayout, work: F)
where
    F: AsyncFnOnce(Client, EventDb),
{
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    runtime.block_on(async {
        let database = EmbeddedDynamoDb::file(&store.file).await.expect("database");
        let db = EventDb::new(database.client(), "Events").with_layout(layout);
        work(database.client(), db).await;
        database.stop().await;
    });
}

fn registered(id: &str) -> EventCandidate {
    EventCandidate::builder()
        .source("https://library.example.com")
        .subject("reader:1")
        .ty("reader.registered")
        .data(json!({ "name": "Zoë" }))
        .id(id)
        .build()
}

pub(crate) fn item(
    attributes: &[(&str, AttributeValue)],
) -> Option<std::collections::HashMap<String, AttributeValue>> {
    Some(attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
}

pub(crate) fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

pub(crate) fn number(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

#[test]
fn data_is_erased_in_place_and_a_repetition_passes_over_it() {
    for layout in LAYOUTS {
        let store = Store::new("erase", layout);
        with_library(&store, layout, async |client, db| {
            db.add_new_events([registered("event-1")]).await.expect("stored");
            db.add_new_events([registered("event-2")]).await.expect("stored");
            let key = match layout {
                TableLayout::ByTime => {
                    [("subject", text("$head/reader:1")), ("time_type", text("$snapshot/Reader"))]
                }
                _ => [("subject", text("$snapshot/reader:1")), ("revision", number(77))],
            };
            client.put_item().table_name("Events").set_item(item(&key)).send().await.expect("put");
        });
        let dry = store.run(&["erase", "reader:1", "1", "9"]);
        assert_eq!(dry.status, 1, "{}", dry.stderr);
        assert!(dry.stdout.contains("event-1): would be erased"), "{}", dry.stdout);
        assert!(dry.stdout.contains("`reader:1` has no revision 9"), "{}", dry.stdout);
        assert!(dry.stdout.contains("1 snapshots would be removed"), "{}", dry.stdout);
        assert!(dry.stdout.contains("copies may remain: the failure bucket"), "{}", dry.stdout);
        assert!(store.run(&["cat", "reader:1"]).stdout.contains("Zoë"));

        let done = store.json(&["erase", "reader:1", "1", "--yes"]);
        assert_eq!((&done[0]["kind"], &done[0]["erasedBefore"]), (&json!("erased"), &json!(null)));
        assert_eq!(
            done[1],
            json!({
                "kind": "snapshotsRemoved", "subject": "reader:1", "snapshots": 1, "done": true,
            })
        );
        let history = store.json(&["cat", "reader:1"]);
        assert_eq!(history[0]["event"]["data"], json!({}));
        assert_eq!(history[1]["event"]["data"], json!({ "name": "Zoë" }));
        let again = store.json(&["erase", "reader:1", "1", "--yes"]);
        assert!(again[0]["erasedBefore"].is_string(), "{}", again[0]);
        assert_eq!(again[1]["snapshots"], 0);
        assert_eq!(store.run(&["erase", "reader:1", "9", "--yes"]).status, 1);
        assert_eq!(store.json(&["cat", "reader:1"]).len(), 2, "a mistyped revision makes no row");

        with_library(&store, layout, async |_, db| {
            let repeated = db.add_new_events([registered("event-1")]).await.expect("a repetition");
            assert_eq!(repeated[0].revision, Some(1));
            assert_eq!(repeated[0].data, json!({}));
            let mut other = registered("event-1");
            other.ty = "reader.removed".to_owned();
            db.add_new_events([other]).await.expect_err("another event");
        });
        let doctor = store.json(&["doctor"]);
        assert_eq!(doctor[0]["erased"], 1, "{}", doctor[0]);
    }
}

#[test]
fn a_sound_table_has_no_findings() {
    for layout in LAYOUTS {
        let store = Store::new("sound", layout);
        store.append("book:1", "{}");
        store.append("book:1", "{}");
        let ran = store.run(&["doctor"]);
        assert_eq!(ran.status, 0, "{}{}", ran.stdout, ran.stderr);
        assert!(
            ran.stdout.starts_with("2 events (0 without a revision, 0 erased)"),
            "{}",
            ran.stdout
        );
    }
}

#[test]
fn what_a_restore_or_another_program_leaves_is_found_and_repaired_where_that_is_safe() {
    for layout in LAYOUTS {
        let store = Store::new("restored", layout);
        store.append("book:1", "{}");
        store.append("book:2", "{}");
        let is_by_time = layout == TableLayout::ByTime;
        with_library(&store, layout, async |client, db| {
            db.add_new_events([registered("event-1")]).await.expect("stored");
            let put = |attributes: &[(&str, AttributeValue)]| {
                client.put_item().table_name("Events").set_item(item(attributes)).send()
            };
            let delete = |attributes: &[(&str, AttributeValue)]| {
                client.delete_item().table_name("Events").set_key(item(attributes)).send()
            };
            let stored = db.fetch_events_for_subject("reader:1").await.expect("read");
            let time = stored.events[0].time.timestamp_millis();
            if is_by_time {
                delete(&[("subject", text("$head/book:1")), ("time_type", text("$head"))])
                    .await
                    .expect("deleted");
                let key = format!("{time:013}_reader.registered");
                delete(&[("subject", text("reader:1")), ("time_type", text(&key))])
                    .await
                    .expect("deleted");
                put(&[
                    ("subject", text("$head/book:2")),
                    ("time_type", text("$snapshot/Book")),
                    ("revision", number(7)),
                ])
                .await
                .expect("put");
                put(&[("subject", text("other:1")), ("time_type", text("x"))]).await.expect("put");
            } else {
                delete(&[("subject", text("reader:1")), ("revision", number(1))])
                    .await
                    .expect("deleted");
                put(&[
                    ("subject", text("$snapshot/book:2")),
                    ("revision", number(5)),
                    ("state_revision", number(7)),
                ])
                .await
                .expect("put");
                put(&[("subject", text("other:1")), ("revision", number(1))]).await.expect("put");
            }
        });
        let names = |repaired: bool, arguments: &[&str]| {
            let lines = store.json(arguments);
            let of = lines.iter().filter(|line| line["kind"] == "finding");
            let of = of.filter(|line| line["repaired"] == repaired);
            let mut names: Vec<_> =
                of.map(|line| line["name"].as_str().expect("a name").to_owned()).collect();
            names.sort_unstable();
            names
        };
        let lasting: &[&str] = match is_by_time {
            true => &["foreign", "guardWithoutEvent", "headWithoutEvents"],
            false => &["foreign", "guardWithoutEvent"],
        };
        let repairable: &[&str] =
            if is_by_time { &["damagedSubject", "snapshotBeyond"] } else { &["snapshotBeyond"] };
        let mut all = [lasting, repairable].concat();
        all.sort_unstable();
        assert_eq!(names(false, &["doctor"]), all, "{layout}");
        let ran = store.run(&["doctor"]);
        assert_eq!(ran.status, 1);
        assert!(ran.stderr.contains("may be repaired by --write"), "{}", ran.stderr);
        assert_eq!(names(true, &["doctor", "--write"]), repairable, "{layout}");
        assert_eq!(names(false, &["doctor"]), lasting, "{layout}");
        store.append("book:1", "{}");
        assert_eq!(store.json(&["cat", "book:1"]).len(), 2);
    }
}

#[test]
fn subjects_from_before_their_index_are_entered_by_a_repair() {
    let store = Store::new("unlisted", TableLayout::ByTime);
    for subject in ["book:1", "book:2", "book:3"] {
        store.append(subject, "{}");
    }
    with_library(&store, TableLayout::ByTime, async |client, _| {
        for subject in ["book:1", "book:2"] {
            // As an earlier version has stored them.
            let head = format!("$head/{subject}");
            client
                .update_item()
                .table_name("Events")
                .set_key(item(&[("subject", text(&head)), ("time_type", text("$head"))]))
                .update_expression("REMOVE subject_partition, listed_subject")
                .send()
                .await
                .expect("changed");
        }
    });
    assert_eq!(store.run(&["subjects"]).stdout, "book:3\n");
    let ran = store.run(&["doctor"]);
    assert_eq!(ran.status, 1, "{}", ran.stderr);
    let said =
        "subjects that have events and aren't in the index `AllSubjects`: 2; the first: \"book:1\"";
    assert!(ran.stdout.contains(said), "{}", ran.stdout);
    let repaired = store.json(&["doctor", "--write"]);
    assert_eq!(
        (&repaired[0]["name"], &repaired[0]["repaired"]),
        (&json!("unlistedSubjects"), &json!(true))
    );
    assert_eq!(store.run(&["subjects"]).stdout, "book:1\nbook:2\nbook:3\n");
    assert_eq!(store.run(&["doctor"]).status, 0);
}

#[test]
fn a_feed_that_lists_more_than_a_restore_holds_is_found() {
    let store = Store::new("ahead", TableLayout::ByRevision);
    store.append("book:1", "{}");
    let adopt = ["verify", "adopt", "--unpublished", "--second-look-after", "1ms", "--yes"];
    assert_eq!(store.run(&adopt).status, 0);
    assert_eq!(store.run(&["doctor", "--with-feed"]).status, 0);
    with_library(&store, TableLayout::ByRevision, async |client, _| {
        let key = item(&[("subject", text("book:1")), ("revision", number(1))]);
        client.delete_item().table_name("Events").set_key(key).send().await.expect("deleted");
    });
    let ran = store.run(&["doctor", "--with-feed"]);
    assert_eq!(ran.status, 1);
    assert!(
        ran.stdout.contains("the feed lists 1 events that the table doesn't have"),
        "{}",
        ran.stdout
    );
}

/// How many snapshots the table has.
async fn snapshots(client: &Client) -> usize {
    let scan = client.scan().table_name("Events").consistent_read(true).send().await.expect("read");
    let is_snapshot = |key: &AttributeValue| {
        key.as_s().is_ok_and(|key| key.starts_with("$head/") || key.starts_with("$snapshot/"))
    };
    scan.items().iter().filter(|row| row.get("subject").is_some_and(is_snapshot)).count()
}

#[cfg(unix)]
#[test]
fn a_repair_that_was_killed_is_completed_by_another_one() {
    const SNAPSHOTS: usize = 60;
    for layout in LAYOUTS {
        for signal in ["-INT", "-KILL"] {
            let store = Store::new(&format!("repair-killed{signal}"), layout);
            // Snapshots of events that are gone.
            with_library(&store, layout, async |client, _| {
                for number_of in 0..SNAPSHOTS as u64 {
                    let mut attributes = match layout {
                        TableLayout::ByTime => vec![
                            ("subject", text(&format!("$head/book:{number_of}"))),
                            ("time_type", text("$snapshot/Book")),
                            ("revision", number(7)),
                        ],
                        _ => vec![
                            ("subject", text(&format!("$snapshot/book:{number_of}"))),
                            ("revision", number(5)),
                            ("state_revision", number(7)),
                        ],
                    };
                    attributes.push(("state", text("{}")));
                    let put = client.put_item().table_name("Events");
                    put.set_item(item(&attributes)).send().await.expect("stored");
                }
            });
            // So slow that it is in the middle for some seconds.
            let mut child = store
                .command(&["doctor", "--write", "--rate", "20"])
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::piped())
                .spawn()
                .expect("it starts");
            with_library(&store, layout, async |client, _| {
                while snapshots(&client).await == SNAPSHOTS {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
            });
            let id = child.id().to_string();
            let killed = std::process::Command::new("kill").args([signal, &id]).status();
            assert!(killed.expect("it starts").success());
            let ended = child.wait().expect("it ends");
            let mut said = String::new();
            let mut told = child.stderr.take().expect("a pipe");
            std::io::Read::read_to_string(&mut told, &mut said).expect("UTF-8");
            match signal {
                "-INT" => {
                    assert_eq!(ended.code(), Some(2), "{said}");
                    assert!(said.contains("What was repaired stays"), "{said}");
                }
                _ => assert_eq!(ended.code(), None, "{said}"),
            }
            with_library(&store, layout, async |client, _| {
                let left = snapshots(&client).await;
                assert!(0 < left && left < SNAPSHOTS, "{left} are left");
            });
            let again = store.run(&["doctor", "--write"]);
            assert_eq!(again.status, 0, "{}{}", again.stdout, again.stderr);
            let sound = store.run(&["doctor"]);
            assert!(sound.stdout.contains("0 snapshots, 0 guards: 0 findings"), "{}", sound.stdout);
        }
    }
}
