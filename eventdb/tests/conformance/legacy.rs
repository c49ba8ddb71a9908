//! A table that the ancestor has written can be read and continued, and the ancestor can read ours.
//!
//! The ancestor's rules are those of the article: no revision, no padding, no head.

use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use eventdb::{Error, Event, EventCandidate, FetchEvents, Precondition, Repository, SubjectState};
use futures_util::TryStreamExt;
use serde_json::json;

use crate::library::User;
use crate::support::{SOURCE, Store, at, candidate, candidate_with_id, with_store_by_time};

fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn number(number: i64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

pub(crate) async fn put_legacy(store: &Store, subject: &str, id: &str, time: i64, ty: &str) {
    let data = HashMap::from([("userId".to_owned(), text("user:456"))]);
    store
        .put_row([
            ("subject", text(subject)),
            ("time_type", text(&format!("{time}_{ty}"))),
            ("id", text(id)),
            ("type", text(ty)),
            ("source", text(SOURCE)),
            ("time", number(time)),
            ("pk_all", text("all")),
            ("data", AttributeValue::M(data)),
        ])
        .await;
}

const FIRST: i64 = 1_738_074_600_000;

/// Three events, two of them in one millisecond.
async fn legacy_store(store: &Store) {
    put_legacy(store, "book:1", "550e8400-e29b-41d4-a716-446655440000", FIRST, "book.borrowed")
        .await;
    put_legacy(store, "book:1", "legacy-2", FIRST + 5, "book.returned").await;
    put_legacy(store, "book:1", "legacy-3", FIRST + 5, "book.shelved").await;
}

#[tokio::test]
async fn legacy_events_are_read_by_every_operation() {
    with_store_by_time(|store| async move {
        legacy_store(&store).await;
        let db = &store.db;
        let history = db.fetch_events_for_subject("book:1").await.unwrap();
        let ids: Vec<_> = history.events.iter().map(|event| event.id.as_str()).collect();
        assert_eq!(ids, ["550e8400-e29b-41d4-a716-446655440000", "legacy-2", "legacy-3"]);
        let first = &history.events[0];
        assert_eq!((first.time, first.revision), (at(FIRST), None));
        assert_eq!(first.data, json!({ "userId": "user:456" }));
        assert_eq!(db.fetch_all_events().await.unwrap().events, history.events);
        assert_eq!(db.fetch_event("legacy-2").await.unwrap().as_ref(), history.events.get(1));
        let shelved = db.fetch_events_for_subject_and_type("book:1", "book.shelved").await.unwrap();
        assert_eq!(shelved.events, history.events[2..]);
        let rest = db.fetch_events_for_subject("book:1").limit(1).await.unwrap().cursor.unwrap();
        let rest = db.fetch_events_for_subject("book:1").after(rest).await.unwrap();
        assert_eq!(rest.events, history.events[1..]);
    })
    .await;
}

#[tokio::test]
async fn a_legacy_subject_is_continued_after_its_last_event() {
    with_store_by_time(|store| async move {
        legacy_store(&store).await;
        let stored =
            store.db.add_new_events([candidate("book:1", json!({}))]).await.unwrap().remove(0);
        assert_eq!(stored.revision, Some(4));
        let events = store.subject("book:1").await;
        assert_eq!(events.len(), 4);
        assert_eq!(events[3], stored);
    })
    .await;
}

#[tokio::test]
async fn preconditions_count_legacy_events() {
    with_store_by_time(|store| async move {
        let append = |subject: &str, precondition| {
            store.db.add_new_events([candidate(subject, json!({}))]).only_if(precondition)
        };
        for subject in ["book:1", "book:2", "book:3", "book:4", "book:5"] {
            put_legacy(&store, subject, &format!("legacy-of-{subject}"), FIRST, "book.borrowed")
                .await;
        }
        let actual =
            SubjectState::Populated { revision: 1, last_event_id: "legacy-of-book:1".to_owned() };
        for writing in ["book:1", "book:9"] {
            let pristine = Precondition::subject_is_pristine("book:1");
            let error = append(writing, pristine).await.unwrap_err();
            assert_eq!(error.conflict().unwrap().actual, actual);
        }
        append("book:2", Precondition::subject_is_at_revision("book:2", 1)).await.unwrap();
        append("book:9", Precondition::subject_is_populated("book:3")).await.unwrap();
        let at_event = Precondition::subject_is_at_event_id("book:4", "legacy-of-book:4");
        append("book:9", at_event).await.unwrap();
        let error = append("book:5", Precondition::subject_is_at_revision("book:5", 7)).await;
        assert_eq!(error.unwrap_err().conflict().unwrap().actual.revision(), 1);
    })
    .await;
}

#[tokio::test]
async fn sets_and_binary_of_other_writers_are_readable() {
    with_store_by_time(|store| async move {
        let set = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let data = HashMap::from([
            ("tags".to_owned(), AttributeValue::Ss(set(&["red"]))),
            ("sizes".to_owned(), AttributeValue::Ns(set(&["7"]))),
            ("cover".to_owned(), AttributeValue::B(Blob::new("\u{0}ab"))),
            ("pages".to_owned(), AttributeValue::Bs(vec![Blob::new("x")])),
        ]);
        store
            .put_row([
                ("subject", text("book:1")),
                ("time_type", text(&format!("{FIRST}_book.added"))),
                ("id", text("legacy-1")),
                ("type", text("book.added")),
                ("source", text(SOURCE)),
                ("time", number(FIRST)),
                ("pk_all", text("all")),
                ("data", AttributeValue::M(data)),
                ("unknown", AttributeValue::Bool(true)),
            ])
            .await;
        assert_eq!(
            store.subject("book:1").await[0].data,
            json!({ "tags": ["red"], "sizes": [7], "cover": "AGFi", "pages": ["eA=="] })
        );
    })
    .await;
}

/// The ancestor's validation of a row, as the article gives it.
fn assert_ancestor_reads(row: &HashMap<String, AttributeValue>) {
    for name in ["id", "type", "subject", "source"] {
        assert!(row[name].as_s().unwrap().chars().count() >= 3, "{name}");
    }
    let time: i64 = row["time"].as_n().unwrap().parse().unwrap();
    assert!(time >= 0);
    let ty = row["type"].as_s().unwrap();
    assert_eq!(row["time_type"].as_s().unwrap(), &format!("{time}_{ty}"));
    assert_eq!(row["pk_all"].as_s().unwrap(), "all");
    assert!(row["data"].is_m());
}

#[tokio::test]
async fn the_ancestor_can_read_our_events_in_our_order() {
    with_store_by_time(|store| async move {
        let full = EventCandidate::builder()
            .source(SOURCE)
            .ty("book.added")
            .subject("book:1")
            .data(json!({ "title": "Die Verwandlung" }))
            .datacontenttype("application/json")
            .dataschema("https://library.example.com/schema")
            .extension("correlationid", "order-77")
            .build();
        store.db.add_new_events([full, candidate("book:1", json!({}))]).await.unwrap();
        store.db.add_new_events([candidate_with_id("book:1", "command", json!({}))]).await.unwrap();
        // It queries a subject for all rows, in the order of the sort key.
        let query = store
            .client
            .query()
            .table_name(&store.table)
            .key_condition_expression("subject = :subject")
            .expression_attribute_values(":subject", text("book:1"))
            .send()
            .await
            .unwrap();
        let rows = query.items();
        let revisions: Vec<_> =
            rows.iter().map(|row| row["revision"].as_n().unwrap().as_str()).collect();
        assert_eq!(revisions, ["1", "2", "3"], "no head or guard among them");
        rows.iter().for_each(assert_ancestor_reads);
    })
    .await;
}

/// The ancestor puts without a condition, so that it may overwrite.
async fn overwrite(store: &Store, event: &Event) {
    let time = event.time.timestamp_millis();
    put_legacy(store, &event.subject, &format!("over-{}", event.id), time, &event.ty).await;
}

fn missing(history: &eventdb::History) -> Vec<(u64, u64)> {
    let ranges = history.missing.iter().map(|missing| missing.revisions.clone());
    ranges.map(|revisions| (*revisions.start(), *revisions.end())).collect()
}

async fn missing_both_ways(store: &Store, subject: &str) -> [Vec<(u64, u64)>; 2] {
    let forwards = store.db.fetch_events_for_subject(subject);
    let backwards = store.db.fetch_events_for_subject(subject).backwards();
    [missing(&forwards.await.unwrap()), missing(&backwards.await.unwrap())]
}

#[tokio::test]
async fn events_that_the_ancestor_overwrites_are_missing_forwards_and_backwards() {
    with_store_by_time(|store| async move {
        for (number, (overwritten, expected)) in [
            (vec![2], vec![(2, 2)]),
            (vec![1], vec![(1, 1)]),
            (vec![1, 2], vec![(1, 2)]),
            (vec![2, 4, 5], vec![(2, 2), (4, 5)]),
        ]
        .into_iter()
        .enumerate()
        {
            let subject = format!("book:{number}");
            let events = store.fill(&subject, 6).await;
            assert_eq!(missing_both_ways(&store, &subject).await, [vec![], vec![]]);
            for revision in &overwritten {
                overwrite(&store, &events[*revision - 1]).await;
            }
            let reversed = expected.iter().rev().copied().collect();
            assert_eq!(missing_both_ways(&store, &subject).await, [expected, reversed]);
            let history = store.db.fetch_events_for_subject(&subject).await.unwrap();
            assert_eq!(history.events.len(), 6, "what is there instead is read");
        }
    })
    .await;
}

#[tokio::test]
async fn where_legacy_events_were_continued_an_overwritten_event_is_missing_too() {
    with_store_by_time(|store| async move {
        legacy_store(&store).await;
        let ours = store.fill("book:1", 3).await;
        assert_eq!(missing_both_ways(&store, "book:1").await, [vec![], vec![]]);
        overwrite(&store, &ours[0]).await;
        assert_eq!(missing_both_ways(&store, "book:1").await, [vec![(4, 4)], vec![(4, 4)]]);
        overwrite(&store, &ours[1]).await;
        assert_eq!(missing_both_ways(&store, "book:1").await, [vec![(4, 5)], vec![(4, 5)]]);
    })
    .await;
}

#[tokio::test]
async fn events_of_the_ancestor_among_ours_are_read_and_count_for_nothing() {
    with_store_by_time(|store| async move {
        let first = store.fill("book:1", 1).await.remove(0);
        let time = first.time.timestamp_millis();
        // Before, in the same millisecond, and after, by a clock that is ahead.
        put_legacy(&store, "book:1", "legacy-1", time - 1_000, "book.lent").await;
        put_legacy(&store, "book:1", "legacy-2", time, "book.shelved").await;
        put_legacy(&store, "book:1", "legacy-3", time + 60_000, "book.lent").await;
        let next = store.fill("book:1", 2).await;
        assert_eq!(next.iter().map(|event| event.revision).collect::<Vec<_>>(), [Some(2), Some(3)]);
        assert_eq!(missing_both_ways(&store, "book:1").await, [vec![], vec![]]);
        let ids: Vec<_> = store.subject("book:1").await.into_iter().map(|event| event.id).collect();
        let expected = ["legacy-1", &first.id, "legacy-2", &next[0].id, &next[1].id, "legacy-3"];
        assert_eq!(ids, expected);
    })
    .await;
}

#[tokio::test]
async fn an_event_of_before_2001_behind_ours_is_read_but_not_as_a_later_one() {
    with_store_by_time(|store| async move {
        let ours = store.fill("book:1", 2).await;
        put_legacy(&store, "book:1", "legacy-1", 999_999_999_999, "book.borrowed").await;
        put_legacy(&store, "book:1", "legacy-2", -1, "book.borrowed").await;
        let next = store.fill("book:1", 1).await.remove(0);
        assert_eq!(next.revision, Some(3));
        assert_eq!(missing_both_ways(&store, "book:1").await, [vec![], vec![]]);
        assert_eq!(store.subject("book:1").await.len(), 5);
        // From an event on, as a snapshot is continued: nothing that is older may come once more.
        let of_subject = || store.db.fetch_events_for_subject("book:1");
        let since = of_subject().since(ours[1].time).await.unwrap().events;
        assert_eq!(since, [ours[1].clone(), next.clone()]);
        let since = of_subject().since(ours[1].time).backwards().await.unwrap().events;
        assert_eq!(since, [next.clone(), ours[1].clone()]);
        assert_eq!(of_subject().since(at(9_999_999_999_999 + 1)).await.unwrap().events, []);
    })
    .await;
}

/// Times whose digits don't sort as text: from before 1970 to the year 9999.
const SCATTERED: [i64; 9] = [
    -62_135_596_800_000,
    -20,
    -1,
    0,
    9,
    173_807_460_000,
    999_999_999_999,
    FIRST,
    253_402_300_799_999,
];

async fn scattered_store(store: &Store) -> Vec<Event> {
    for (number, time) in SCATTERED.into_iter().enumerate() {
        put_legacy(store, "book:1", &format!("legacy-{number}"), time, "book.borrowed").await;
    }
    let events = store.subject("book:1").await;
    assert_eq!(events.iter().map(|event| event.time).collect::<Vec<_>>(), SCATTERED.map(at));
    events
}

#[tokio::test]
async fn legacy_events_of_any_time_are_read_in_the_order_of_their_times() {
    with_store_by_time(|store| async move {
        let events = scattered_store(&store).await;
        let db = &store.db;
        assert_eq!(db.fetch_all_events().await.unwrap().events, events);
        for event in &events {
            assert_eq!(db.fetch_event(&event.id).await.unwrap().as_ref(), Some(event));
        }
        let requests: [fn(&Store) -> FetchEvents; 3] = [
            |store| store.db.fetch_events_for_subject("book:1"),
            |store| store.db.fetch_events_for_subject_and_type("book:1", "book.borrowed"),
            |store| store.db.fetch_all_events(),
        ];
        let bounds = [None, Some(-20), Some(1), Some(FIRST)];
        for request in requests {
            for since in bounds {
                for until in bounds {
                    for backwards in [false, true] {
                        for limit in [usize::MAX, 1, 3] {
                            let mut read = request(&store).limit(limit);
                            let mut expected = events.clone();
                            if let Some(since) = since {
                                read = read.since(at(since));
                                expected.retain(|event| event.time >= at(since));
                            }
                            if let Some(until) = until {
                                read = read.until(at(until));
                                expected.retain(|event| event.time < at(until));
                            }
                            if backwards {
                                read = read.backwards();
                                expected.reverse();
                            }
                            let description = format!("{since:?} {until:?} {backwards} {limit}");
                            // From cursor to cursor, so that all of it is read.
                            let mut found = Vec::new();
                            let mut next = read.clone().await.expect(&description);
                            while !next.events.is_empty() {
                                found.append(&mut next.events);
                                let cursor = next.cursor.expect("a cursor");
                                next = read.clone().after(cursor).await.expect(&description);
                            }
                            assert_eq!(found, expected, "{description}");
                        }
                    }
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn legacy_events_out_of_order_are_put_in_order_over_more_than_one_page() {
    with_store_by_time(|store| async move {
        let filling =
            AttributeValue::M(HashMap::from([("filling".to_owned(), text(&"x".repeat(300_000)))]));
        let times = [1, 999_999_999_999, FIRST, FIRST + 1, FIRST + 2];
        for time in times {
            store
                .put_row([
                    ("subject", text("book:1")),
                    ("time_type", text(&format!("{time}_book.added"))),
                    ("id", text(&format!("legacy-{time}"))),
                    ("type", text("book.added")),
                    ("source", text(SOURCE)),
                    ("time", number(time)),
                    ("pk_all", text("all")),
                    ("data", filling.clone()),
                ])
                .await;
        }
        let read = |request: FetchEvents| async move {
            let pages: Vec<_> = request.stream().try_collect().await.unwrap();
            pages
                .into_iter()
                .flat_map(|page| page.events)
                .map(|event| event.time.timestamp_millis())
                .collect::<Vec<_>>()
        };
        let of_subject = || store.db.fetch_events_for_subject("book:1");
        assert_eq!(read(of_subject()).await, times);
        assert_eq!(read(of_subject().backwards().limit(2)).await, [FIRST + 2, FIRST + 1]);
        assert_eq!(read(of_subject().until(at(FIRST))).await, [1, 999_999_999_999]);
    })
    .await;
}

#[tokio::test]
async fn a_legacy_subject_out_of_order_is_not_continued_until_its_rows_are_moved() {
    with_store_by_time(|store| async move {
        put_legacy(&store, "book:1", "legacy-1", 999_999_999_999, "book.borrowed").await;
        put_legacy(&store, "book:1", "legacy-2", 7, "book.borrowed").await;
        put_legacy(&store, "book:1", "legacy-3", FIRST, "book.borrowed").await;
        let read = || async {
            let ids = store.subject("book:1").await.into_iter().map(|event| event.id);
            ids.collect::<Vec<_>>()
        };
        assert_eq!(read().await, ["legacy-2", "legacy-1", "legacy-3"]);
        let cursor = store.db.fetch_events_for_subject("book:1").limit(2).await.unwrap().cursor;
        let append = || store.db.add_new_events([candidate("book:1", json!({}))]);
        for request in [
            append(),
            append().only_if(Precondition::subject_is_at_revision("book:1", 3)),
            append().only_if(Precondition::subject_is_pristine("book:1")),
            store
                .db
                .add_new_events([candidate("book:9", json!({}))])
                .only_if(Precondition::subject_is_populated("book:1")),
        ] {
            let error = request.await.unwrap_err();
            match &error {
                Error::OutOfOrder { subject, sort_key, belongs, rows: 2 } => {
                    assert_eq!(subject, "book:1");
                    assert_eq!(sort_key, "7_book.borrowed");
                    assert_eq!(belongs.as_deref(), Some("0000000000007_book.borrowed"));
                }
                other => panic!("{other:?}"),
            }
            assert!(error.to_string().contains("(and that of 1 more row)"), "{error}");
        }
        // As the guide describes it.
        for row in store.rows().await {
            let key = row["time_type"].as_s().unwrap().clone();
            let (time, ty) = key.split_once('_').unwrap();
            let mut moved = row.clone();
            moved.insert("time_type".to_owned(), text(&format!("{time:0>13}_{ty}")));
            store.put_row(moved.iter().map(|(name, value)| (name.as_str(), value.clone()))).await;
            if moved != row {
                let remove = store.client.delete_item().table_name(&store.table);
                let remove = remove.key("subject", text("book:1")).key("time_type", text(&key));
                remove.send().await.unwrap();
            }
        }
        assert_eq!(append().await.unwrap()[0].revision, Some(4));
        assert_eq!(read().await[..3], ["legacy-2", "legacy-1", "legacy-3"]);
        let rest =
            store.db.fetch_events_for_subject("book:1").after(cursor.unwrap()).await.unwrap();
        assert_eq!(rest.events.len(), 2, "a cursor from before still holds");
    })
    .await;
}

#[tokio::test]
async fn what_new_events_cannot_have_can_be_read() {
    with_store_by_time(|store| async move {
        let subjects = [
            "$price",
            "a\nb",
            "x",
            " ",
            "\u{1F4D5}a",
            "\u{1}\u{FFFF}",
            &"x".repeat(2_048),
            "$head",
        ];
        let types = ["", "ab", "a\u{7}b", "$type", "_", &"t".repeat(1_010)];
        let mut times = FIRST..;
        for (number, subject) in subjects.iter().enumerate() {
            for (of_type, ty) in types.iter().enumerate().skip(1) {
                let (id, time) = (format!("{number}{of_type}"), times.next().unwrap());
                put_legacy(&store, subject, &id, time, ty).await;
            }
        }
        let sources = ["my library", "urn:x[1]", "https://bücher.example", "%", "x"];
        for source in &sources {
            let time = times.next().unwrap();
            store
                .put_row([
                    ("subject", text("sources")),
                    ("time_type", text(&format!("{time}_book.borrowed"))),
                    ("id", text("i")),
                    ("type", text("book.borrowed")),
                    ("source", text(source)),
                    ("time", self::number(time)),
                    ("pk_all", text("all")),
                    ("data", AttributeValue::M(HashMap::new())),
                ])
                .await;
        }
        let db = &store.db;
        for (number, subject) in subjects.iter().enumerate() {
            let events = store.subject(subject).await;
            assert_eq!(events.len(), types.len() - 1, "{subject:?}");
            let first = db.fetch_events_for_subject(*subject).limit(1).await.unwrap();
            assert_eq!(first.events, events[..1], "{subject:?}");
            let loaded = Repository::<User>::new(db, SOURCE).load(*subject).await.unwrap();
            assert_eq!((loaded.read.ignored, loaded.revision), (5, 5), "{subject:?}");
            for (event, ty) in events.iter().zip(&types[1..]) {
                assert_eq!(
                    (&event.subject, &event.ty),
                    (&(*subject).to_owned(), &(*ty).to_owned())
                );
                let of_type = db.fetch_events_for_subject_and_type(*subject, *ty).await.unwrap();
                assert_eq!(of_type.events, std::slice::from_ref(event));
                assert!(event.id.starts_with(&number.to_string()));
                assert_eq!(db.fetch_event(&event.id).await.unwrap().as_ref(), Some(event));
            }
        }
        for source in sources {
            let found = db.fetch_event("i").from_source(source).await.unwrap();
            assert_eq!(found.map(|event| event.source).as_deref(), Some(source));
        }
        let all = db.fetch_all_events().await.unwrap();
        assert_eq!(all.events.len(), subjects.len() * (types.len() - 1) + sources.len());
        assert_eq!(all.invalid, []);
    })
    .await;
}
