//! Copying a store into a table of the other layout.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::{AttributeValue, StreamSpecification};
use eventdb::{CopyError, Event, EventData, EventDb, Precondition, Repository, TableLayout};
use serde_json::json;

use crate::legacy::put_legacy;
use crate::library::Book;
use crate::support::{
    SOURCE, Store, at, candidate, candidate_with_id, event, with_revision, with_store,
    with_store_by_revision, with_store_by_time,
};

fn other(layout: TableLayout) -> TableLayout {
    match layout {
        TableLayout::ByTime => TableLayout::ByRevision,
        _ => TableLayout::ByTime,
    }
}

/// Runs a test with a table of the layout, which has no stream.
async fn with_target<F>(store: &Store, number: u8, layout: TableLayout, test: F)
where
    F: AsyncFnOnce(EventDb),
{
    let name = format!("{}-copy-{number}", store.table);
    EventDb::create_table(&store.client, &name).layout(layout).await.unwrap();
    set_stream(store, &name, false).await;
    test(EventDb::new(store.client.clone(), &name).with_layout(layout)).await;
    store.client.delete_table().table_name(&name).send().await.unwrap();
}

async fn set_stream(store: &Store, table: &str, enabled: bool) {
    let stream = StreamSpecification::builder().stream_enabled(enabled);
    let stream = match enabled {
        true => stream.stream_view_type(aws_sdk_dynamodb::types::StreamViewType::NewImage),
        false => stream,
    };
    let update = store.client.update_table().table_name(table);
    update.stream_specification(stream.build().unwrap()).send().await.unwrap();
}

async fn histories(db: &EventDb, subjects: &[&str]) -> BTreeMap<String, Vec<Event>> {
    let mut histories = BTreeMap::new();
    for subject in subjects {
        let history = db.fetch_events_for_subject(*subject).await.unwrap();
        assert_eq!((history.invalid, history.missing), (vec![], vec![]), "{subject}");
        histories.insert((*subject).to_owned(), history.events);
    }
    histories
}

const SUBJECTS: [&str; 5] = ["book:1", "book:lent", "bücher:📚", "book:many", "book:commands"];

async fn fill(store: &Store) {
    let data =
        json!({ "text": "ä \" \u{0}", "number": 0.1, "list": [null, [], {}], "most": u64::MAX });
    store.db.add_new_events([candidate("book:1", data)]).await.unwrap();
    // Their times increase, which a table by time demands and one by revision doesn't see to.
    let numbered = |subject: &'static str, from: u64, to: u64| {
        (from..=to).map(move |revision| {
            let time = 1_738_074_600_000 + i64::try_from(revision).unwrap();
            let event =
                event(subject, &format!("{subject}-{revision}"), time, json!({ "n": revision }));
            with_revision(&event, revision)
        })
    };
    store.db.add_events(numbered("bücher:📚", 1, 3)).await.unwrap();
    for last in (50..=250).step_by(50) {
        store.db.add_events(numbered("book:many", last - 49, last)).await.unwrap();
    }
    let books = Repository::<Book>::new(&store.db, SOURCE);
    books.execute("book:lent", |book| book.borrow("user:456")).command("lend#1").await.unwrap();
    let commands = ["command-1", "command#2"].map(command);
    store.db.add_new_events(commands).await.unwrap();
}

fn command(id: &str) -> eventdb::EventCandidate {
    let mut command = candidate_with_id("book:commands", id, json!({ "id": id }));
    command.extensions.insert("traceparent".to_owned(), "00-0-0-01".into());
    command.dataschema = Some("https://library.example.com/schema".to_owned());
    command
}

#[tokio::test]
async fn a_store_moves_to_the_other_layout_and_back() {
    with_store(|store| async move {
        fill(&store).await;
        let before = histories(&store.db, &SUBJECTS).await;
        let events: usize = before.values().map(Vec::len).sum();
        with_target(&store, 1, other(store.layout), async |there: EventDb| {
            let report = store.db.copy_to(&there).await.unwrap();
            assert_eq!(report.misfits, []);
            assert_eq!((report.subjects, report.guards), (5, 3));
            assert_eq!(report.events, u64::try_from(events).unwrap());
            assert!(report.written >= report.events + 3, "{report:?}");
            assert_eq!(histories(&there, &SUBJECTS).await, before);
            let again = store.db.copy_to(&there).await.unwrap();
            assert_eq!(again.written, 0, "it was complete");

            with_target(&store, 2, store.layout, async |back: EventDb| {
                let report = there.copy_to(&back).await.unwrap();
                assert_eq!((report.misfits, report.guards), (vec![], 3));
                assert_eq!(histories(&back, &SUBJECTS).await, before);
                goes_on(&back, &before).await;
            })
            .await;
            goes_on(&there, &before).await;
        })
        .await;
    })
    .await;
}

/// The copy is a store like any other.
async fn goes_on(db: &EventDb, before: &BTreeMap<String, Vec<Event>>) {
    for id in ["command-1", "command#2"] {
        let stored = db.add_new_events([command(id)]).await.unwrap();
        assert!(before["book:commands"].contains(&stored[0]), "recognised by its guard");
    }
    let lent = db.fetch_command(SOURCE, "lend#1").await.unwrap();
    assert_eq!(lent.as_ref(), before.get("book:lent"));
    for (subject, events) in before {
        let end = events.last().unwrap();
        let at = Precondition::subject_is_at_revision(subject, end.revision.unwrap());
        let next = candidate(subject, json!({ "after": "the copy" }));
        let stored = db.add_new_events([next]).only_if(at).await.unwrap();
        assert_eq!(stored[0].revision, end.revision.map(|revision| revision + 1));
        let id = Precondition::subject_is_at_event_id(subject, &stored[0].id);
        assert_eq!(db.add_new_events([]).only_if(id).await.unwrap(), []);
    }
}

#[tokio::test]
async fn events_of_the_original_library_get_the_revisions_that_they_count_as() {
    with_store_by_time(|store| async move {
        put_legacy(&store, "$price", "1", 1_738_074_600_000, "a").await;
        put_legacy(&store, "book:1", "legacy-1", 1_738_074_600_000, "book.borrowed").await;
        put_legacy(&store, "book:1", "legacy-2", 1_738_074_600_005, "book.returned").await;
        put_legacy(&store, "book:1", "legacy-3", 1_738_074_600_005, "book.shelved").await;
        store.db.add_new_events([candidate("book:1", json!({}))]).await.unwrap();
        // Its sort keys don't sort by time: only the order of the read says its revisions.
        put_legacy(&store, "book:old", "late", 1_738_074_600_000, "book.borrowed").await;
        put_legacy(&store, "book:old", "early", 999_999_999_999, "book.borrowed").await;
        let expected = BTreeMap::from(
            [("$price", vec!["1"]), ("book:old", vec!["early", "late"])].map(|(s, i)| (s, i)),
        );
        with_target(&store, 1, TableLayout::ByRevision, async |there: EventDb| {
            let report = store.db.copy_to(&there).await.unwrap();
            assert_eq!((report.misfits, report.events), (vec![], 7));
            for (subject, ids) in &expected {
                let events = there.fetch_events_for_subject(*subject).await.unwrap().events;
                let found: Vec<_> = events.iter().map(|event| event.id.as_str()).collect();
                assert_eq!(found, *ids);
            }
            let before = store.subject("book:1").await;
            let numbered: Vec<Event> =
                (1..).zip(&before).map(|(n, event)| with_revision(event, n)).collect();
            assert_eq!(there.fetch_events_for_subject("book:1").await.unwrap().events, numbered);
            with_target(&store, 2, TableLayout::ByTime, async |back: EventDb| {
                let report = there.copy_to(&back).await.unwrap();
                assert_eq!((report.misfits, report.events), (vec![], 7));
                let back = back.fetch_events_for_subject("book:1").await.unwrap().events;
                assert_eq!(back, numbered);
            })
            .await;
        })
        .await;
    })
    .await;
}

async fn misfits(store: &Store) -> Vec<String> {
    // It doesn't exist.
    let nowhere = EventDb::new(store.client.clone(), "nowhere").with_layout(other(store.layout));
    let dry = store.db.copy_to(&nowhere).dry_run().await.unwrap();
    with_target(store, 9, other(store.layout), async |there: EventDb| {
        let report = store.db.copy_to(&there).await.unwrap();
        assert_eq!(report, dry);
        assert_eq!(report.written, 0);
        let scan = store.client.scan().table_name(format!("{}-copy-9", store.table));
        assert_eq!(scan.send().await.unwrap().count, 0, "nothing is written");
    })
    .await;
    let mut misfits: Vec<String> = dry.misfits.iter().map(ToString::to_string).collect();
    misfits.sort();
    misfits
}

#[tokio::test]
async fn what_does_not_fit_by_time_is_listed_before_anything_is_written() {
    with_store_by_revision(|store| async move {
        store.fill("book:fits", 3).await;
        let early = |subject: &str, id: &str, time| event(subject, id, time, json!({}));
        store
            .db
            .add_events([early("book:time", "evt-1", 5), early("book:time", "evt-2", 5)])
            .await
            .unwrap();
        let row = |subject: &str, data: &str| {
            let mut event = with_revision(&early(subject, subject, 7), 1);
            event.data = EventData::from_json(data).unwrap();
            event
        };
        let mut long_type = row("book:type", "{}");
        long_type.ty = "t".repeat(1_011);
        let mut before_1970 = row("book:1969", "{}");
        before_1970.time = at(-1);
        let mut unreadable = store.item(&row("book:unreadable", "{}"));
        unreadable.remove("source");
        for event in [
            row("book:number", r#"{"a":1e300}"#),
            row("book:name", r#"{"":1}"#),
            row(&format!("book:{}", "s".repeat(2_038)), "{}"),
            with_revision(&row("book:hole", "{}"), 2),
            long_type,
            before_1970,
        ] {
            let item = store.item(&event);
            store.put_row(item.iter().map(|(name, value)| (&**name, value.clone()))).await;
        }
        store.put_row(unreadable.iter().map(|(name, value)| (&**name, value.clone()))).await;
        let command = candidate_with_id("book:guarded", "command-1", json!({}));
        let guarded = store.db.add_new_events([command]).await.unwrap();
        store.remove(&guarded[0]).await;
        let misfits = misfits(&store).await;
        let expected = [
            "\"$id/https://library.example.com#command-1\": guards an id, but an event of it is missing",
            "\"book:1969\", revision 1: `time` is 1969-12-31T23:59:59.999Z; it must be from 1970",
            "\"book:hole\", revision 2: the event before it has revision 0; it must be 1",
            "\"book:name\", revision 1: `data` isn't JSON that can be kept exactly: a member has a name of 0 bytes",
            "\"book:number\", revision 1: `data` has the number 1e300, which DynamoDB can't hold",
            "\"book:sssssss",
            "\"book:time\", revision 2: `time` is 1970-01-01T00:00:00.005Z, which isn't after",
            "\"book:type\", revision 1: `type` has 1011 bytes; it must have at most 1010",
            "\"book:unreadable\", revision 1: the row with the key",
        ];
        assert_eq!(misfits.len(), expected.len(), "{misfits:#?}");
        for (misfit, expected) in misfits.iter().zip(expected) {
            assert!(misfit.starts_with(expected), "{misfit}\n{expected}");
        }
    })
    .await;
}

#[tokio::test]
async fn what_does_not_fit_by_revision_is_listed_before_anything_is_written() {
    with_store_by_time(|store| async move {
        store.fill("book:fits", 3).await;
        let hole = store.fill("book:hole", 3).await;
        store.remove(&hole[1]).await;
        let end = store.fill("book:end", 3).await;
        store.remove(&end[2]).await;
        let last = store.fill("book:legacy", 1).await;
        let after = last[0].time.timestamp_millis() + 60_000;
        put_legacy(&store, "book:legacy", "later", after, "book.borrowed").await;
        // An empty object as deep as DynamoDB takes it is one level too deep for JSON text.
        let mut deep = AttributeValue::M([].into());
        for _ in 0..31 {
            deep = AttributeValue::M([("a".to_owned(), deep)].into());
        }
        let mut row = store.item(&with_revision(&event("book:deep", "evt-1", 5, json!({})), 1));
        row.insert("data".to_owned(), deep);
        store.put_row(row.iter().map(|(name, value)| (&**name, value.clone()))).await;
        let long = candidate_with_id("book:long-id", &"i".repeat(1_500), json!({}));
        store.db.add_new_events([long]).await.unwrap();
        let misfits = misfits(&store).await;
        let expected = [
            "\"$id/https://library.example.com#iiiii",
            "\"book:deep\", revision 1: `data` isn't JSON that can be kept exactly: objects and arrays",
            "\"book:end\", revision 3: is the end of the subject, but the events after revision 2",
            "\"book:hole\", revision 3: the event before it has revision 1; it must be 2",
            "\"book:legacy\", revision 1: an event without a revision stands behind",
        ];
        assert_eq!(misfits.len(), expected.len(), "{misfits:#?}");
        let of_long_id = "is a key of 1532 bytes; it must have at most 1024";
        assert!(misfits[0].ends_with(of_long_id), "{}", misfits[0]);
        for (misfit, expected) in misfits.iter().zip(expected) {
            assert!(misfit.starts_with(expected), "{misfit}\n{expected}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_copy_is_continued_and_overwrites_nothing() {
    with_store(|store| async move {
        fill(&store).await;
        let before = histories(&store.db, &SUBJECTS).await;
        let events: Vec<Event> = before.values().flatten().cloned().collect();
        with_target(&store, 1, other(store.layout), async |there: EventDb| {
            // An interrupted copy has left some rows, in any order, and no ends.
            let name = format!("{}-copy-1", store.table);
            let put = async |event: &Event| {
                let item = match store.layout {
                    TableLayout::ByTime => eventdb::internals::item::encode_by_revision(event),
                    _ => eventdb::internals::item::encode(event),
                };
                let put = store.client.put_item().table_name(&name);
                put.set_item(Some(item.into())).send().await.unwrap();
            };
            for event in events.iter().step_by(3) {
                put(event).await;
            }
            let report = store.db.copy_to(&there).await.unwrap();
            let (all, left) = (events.len(), events.len().div_ceil(3));
            let ends = if store.layout == TableLayout::ByTime { 0 } else { SUBJECTS.len() };
            assert_eq!(report.written, u64::try_from(all - left + 3 + ends).unwrap());
            assert_eq!(histories(&there, &SUBJECTS).await, before);
            let listed = async || there.fetch_subjects().await.unwrap().subjects.len();
            assert_eq!(listed().await, SUBJECTS.len());
            if store.layout == TableLayout::ByRevision {
                // The head is from a version before the index of subjects.
                let head = store.client.update_item().table_name(&name);
                head.key("subject", AttributeValue::S("$head/book:1".to_owned()))
                    .key("time_type", AttributeValue::S("$head".to_owned()))
                    .update_expression("REMOVE subject_partition, listed_subject")
                    .send()
                    .await
                    .unwrap();
                assert_eq!(listed().await, SUBJECTS.len() - 1);
                assert_eq!(store.db.copy_to(&there).await.unwrap().written, 1);
                assert_eq!(listed().await, SUBJECTS.len());
            }

            // Somebody has written to it.
            let mut changed = before["book:1"][0].clone();
            changed.data = json!({ "other": true }).into();
            put(&changed).await;
            let error = store.db.copy_to(&there).await.unwrap_err();
            let CopyError::Differs { subject, .. } = &error else { panic!("{error}") };
            assert_eq!(subject, "book:1");
            put(&before["book:1"][0]).await;
            there.add_new_events([candidate("bücher:📚", json!({}))]).await.unwrap();
            let error = store.db.copy_to(&there).await.unwrap_err();
            let CopyError::Differs { subject, .. } = &error else { panic!("{error}") };
            assert_eq!(subject, "bücher:📚");
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn nothing_is_copied_into_a_table_whose_events_would_be_published() {
    with_store(|store| async move {
        store.fill("book:1", 2).await;
        with_target(&store, 1, other(store.layout), async |there: EventDb| {
            set_stream(&store, &format!("{}-copy-1", store.table), true).await;
            let error = store.db.copy_to(&there).await.unwrap_err();
            assert!(matches!(error, CopyError::HasStream { .. }), "{error}");
            assert!(error.to_string().contains("publish: false"), "{error}");
            assert_eq!(there.fetch_events_for_subject("book:1").await.unwrap().events, []);
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_wrong_layout_is_named_before_anything_is_copied() {
    with_store(|store| async move {
        store.fill("book:1", 2).await;
        let wrong = store.db.with_layout(other(store.layout));
        with_target(&store, 1, other(store.layout), async |there: EventDb| {
            for (from, to) in [(&wrong, &there), (&store.db, &there.with_layout(store.layout))] {
                let error = from.copy_to(to).await.unwrap_err();
                let CopyError::Store(error) = &error else { panic!("{error}") };
                let reason = std::error::Error::source(error).unwrap().to_string();
                assert!(reason.contains("with_layout"), "{reason}");
            }
        })
        .await;
    })
    .await;
}
