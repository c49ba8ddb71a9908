//! `doctor` and what read models and readers of the feed keep.

use eventdb::TableLayout;

use crate::lagging::read_model_at;
use crate::repairing::{item, number, text, with_library};
use crate::store::{LAYOUTS, Store};

#[test]
fn a_position_beyond_the_table_is_found() {
    for layout in LAYOUTS {
        let store = Store::new("positions", layout);
        store.append("book:1", "{}");
        store.append("book:1", "{}");
        let mut time = 0;
        with_library(&store, layout, async |_, db| {
            let history = db.fetch_events_for_subject("book:1").await.expect("read");
            time = history.events[1].time.timestamp_millis();
        });
        read_model_at(&store, "2", time);
        let doctor = ["doctor", "--positions", "Views"];
        let sound = store.run(&doctor);
        assert_eq!(sound.status, 0, "{}{}", sound.stdout, sound.stderr);
        assert!(sound.stdout.contains(", 1 positions: 0 findings"), "{}", sound.stdout);

        with_library(&store, layout, async |client, _| {
            let key = match layout {
                TableLayout::ByTime => [
                    ("subject", text("book:1")),
                    ("time_type", text(&format!("{time}_book.borrowed"))),
                ],
                _ => [("subject", text("book:1")), ("revision", number(2))],
            };
            client
                .delete_item()
                .table_name("Events")
                .set_key(item(&key))
                .send()
                .await
                .expect("deleted");
        });
        let found = store.json(&doctor);
        let found = found.iter().find(|line| line["name"] == "positionBeyond").expect("a finding");
        assert_eq!((&found["readModel"], &found["subject"]), (&"loans/2".into(), &"book:1".into()));
        assert_eq!(
            found["text"],
            "it is at revision 2, but the last event in the table has revision 1"
        );
        let ran = store.run(&doctor);
        assert_eq!(ran.status, 1);
        assert!(ran.stdout.contains("or rebuild the read model"), "{}", ran.stdout);
        let ran = store.run(&["doctor", "--positions", "Missing"]);
        assert_eq!(ran.status, 2);
        assert!(ran.stderr.contains("the table `Missing` can't be described"), "{}", ran.stderr);
    }
}

#[test]
fn a_cursor_that_the_feed_does_not_have_is_found() {
    let layout = TableLayout::ByRevision;
    let store = Store::new("cursor", layout);
    store.append("book:1", "{}");
    let build = ["feed", "build", "--unpublished", "--second-look-after", "1ms", "--yes"];
    assert_eq!(store.run(&build).status, 0);
    let lines = store.json(&["feed"]);
    let cursor = lines[1]["cursor"].as_str().expect("a cursor");
    let doctor = ["doctor", "--cursor", cursor];
    assert_eq!(store.run(&doctor).status, 0);
    // A restore to a time at which nothing was listed.
    with_library(&store, layout, async |client, _| {
        let scan = client.scan().table_name("Feed").send().await.expect("read");
        let chunks = scan.items().iter().filter(|row| row.contains_key("length"));
        for chunk in chunks {
            let key = ["partition", "offset"].map(|name| (name.to_owned(), chunk[name].clone()));
            let delete = client.delete_item().table_name("Feed").set_key(Some(key.into()));
            delete.send().await.expect("deleted");
        }
    });
    let found = store.json(&doctor);
    assert_eq!(found[0]["name"], "cursorOfOtherFeed");
    assert!(found[0]["text"].as_str().expect("text").contains("what precedes offset 1"));
    assert_eq!(store.run(&doctor).status, 1);
    assert_eq!(store.run(&["doctor", "--cursor", "no-cursor"]).status, 2);
}
