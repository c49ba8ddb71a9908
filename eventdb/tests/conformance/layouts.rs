//! What differs between the two layouts, and how a store says that its table has the other one.

use std::fmt::Debug;

use aws_sdk_dynamodb::types::AttributeValue;
use eventdb::{
    CapacityMeter, Error, Event, EventData, EventDb, IdReuse, Precondition, Repository,
    SubjectState, TableLayout,
};
use futures_util::TryStreamExt;
use serde_json::{Value, json};

use crate::library::Book;
use crate::support::{
    SOURCE, at, candidate, candidate_with_id, event, revisions, with_revision, with_store,
    with_store_by_revision,
};

#[track_caller]
fn names_the_layout<T: Debug, E: std::error::Error>(
    what: &str,
    answer: Result<T, E>,
    layout: TableLayout,
) {
    let error = answer.expect_err(what);
    let text = format!("{error:#}");
    assert!(text.contains(&format!("with_layout(TableLayout::{layout:?})")), "{what}: {text}");
}

#[tokio::test]
async fn the_other_layout_is_named_by_every_operation() {
    with_store(|store| async move {
        let layout = store.layout;
        let other = match layout {
            TableLayout::ByTime => TableLayout::ByRevision,
            _ => TableLayout::ByTime,
        };
        let db = EventDb::new(store.client.clone(), &store.table).with_layout(other);
        for is_empty in [true, false] {
            if !is_empty {
                store.db.add_events([event("book:1", "evt-1", 1, json!({}))]).await.unwrap();
            }
            let one = || [candidate("book:2", json!({}))];
            names_the_layout("append", db.add_new_events(one()).await, layout);
            let pristine = Precondition::subject_is_pristine("book:2");
            names_the_layout("put", db.add_new_events(one()).only_if(pristine).await, layout);
            let pristine = Precondition::subject_is_pristine("book:3");
            names_the_layout("check", db.add_new_events(one()).only_if(pristine).await, layout);
            let guarded = [candidate_with_id("book:2", "command-1", json!({}))];
            names_the_layout("guard", db.add_new_events(guarded).await, layout);
            let complete = [event("book:2", "evt-2", 2, json!({}))];
            names_the_layout("complete", db.add_events(complete).await, layout);
            names_the_layout("subject", db.fetch_events_for_subject("book:1").await, layout);
            let first = db.fetch_events_for_subject("book:1").limit(1).backwards();
            names_the_layout("subject", first.await, layout);
            let of_type = db.fetch_events_for_subject_and_type("book:1", "book.borrowed").await;
            if other == TableLayout::ByRevision {
                names_the_layout("type", of_type, layout);
            } else {
                // This one needs an index that a table by revision doesn't have.
                assert!(format!("{:#}", of_type.unwrap_err()).contains("index"));
            }
            names_the_layout("all", db.fetch_all_events().await, layout);
            names_the_layout("all", db.fetch_all_events().backwards().await, layout);
            names_the_layout("id", db.fetch_event("evt-1").await, layout);
            let books = Repository::<Book>::new(&db, SOURCE);
            names_the_layout("load", books.load("book:1").await, layout);
        }
        assert_eq!(store.rows().await.iter().filter(|row| row.contains_key("pk_all")).count(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_missing_index_is_named() {
    with_store_by_revision(|store| async move {
        let table = format!("{}-small", store.table);
        EventDb::create_table(&store.client, &table)
            .layout(TableLayout::ByRevision)
            .without_all_events_by_time()
            .without_all_events_by_id()
            .await
            .unwrap();
        let db = EventDb::new(store.client.clone(), &table).with_layout(TableLayout::ByRevision);
        let stored = db.add_new_events([candidate("book:1", json!({}))]).await.unwrap();
        assert_eq!(db.fetch_events_for_subject("book:1").await.unwrap().events, stored);
        for error in [
            db.fetch_all_events().await.map(|_| ()).unwrap_err(),
            db.fetch_event("evt-1").await.map(|_| ()).unwrap_err(),
        ] {
            assert!(matches!(error, Error::Refused { .. }), "{error:?}");
            let text = format!("{error:#}");
            assert!(text.contains("doesn't have the index that this read needs"), "{text}");
        }
        store.client.delete_table().table_name(&table).send().await.unwrap();
        // A table by time needs its indexes.
        let refused = EventDb::create_table(&store.client, &table).without_all_events_by_id().await;
        assert!(format!("{:#}", refused.unwrap_err()).contains("table by revision"));
    })
    .await;
}

#[tokio::test]
async fn times_order_nothing_by_revision() {
    with_store_by_revision(|store| async move {
        let times = [1_738_074_600_000, 1_738_074_600_000, 5, 9_999_999_999_999];
        for (number, milliseconds) in times.into_iter().enumerate() {
            let id = format!("evt-{number}");
            store.db.add_events([event("book:1", &id, milliseconds, json!({}))]).await.unwrap();
        }
        let events = store.subject("book:1").await;
        assert_eq!(events.iter().map(|event| event.time).collect::<Vec<_>>(), times.map(at));
        assert_eq!(revisions(&events), [1, 2, 3, 4]);
        // The clock of the writer, whatever the last event says.
        let next = store.db.add_new_events([candidate("book:1", json!({}))]).await.unwrap();
        assert!(next[0].time < at(9_999_999_999_999));
        let all = store.db.fetch_all_events().await.unwrap().events;
        let by_time: Vec<_> = all.iter().map(|event| event.revision.unwrap()).collect();
        assert_eq!(by_time[0], 3, "{by_time:?}");
        assert_eq!(*by_time.last().unwrap(), 4, "{by_time:?}");
        let early = store.db.fetch_events_for_subject("book:1").until(at(6)).await.unwrap();
        assert_eq!(revisions(&early.events), [3]);
        let late = store.db.fetch_events_for_subject("book:1").since(at(6)).await.unwrap();
        assert_eq!(revisions(&late.events), [1, 2, 4, 5]);
    })
    .await;
}

#[tokio::test]
async fn an_append_by_revision_takes_so_many_requests() {
    with_store_by_revision(|store| async move {
        let meter = CapacityMeter::new();
        let db = store.db.metered_by(&meter);
        let one = || [candidate("book:1", json!({}))];
        let at_revision = |revision| Precondition::subject_is_at_revision("book:1", revision);
        db.add_new_events(one()).only_if(at_revision(0)).await.unwrap();
        assert_eq!(meter.take().requests, 1, "a pristine subject needs no look");
        db.add_new_events(one()).only_if(at_revision(1)).await.unwrap();
        assert_eq!(meter.take().requests, 2, "it is looked whether the revision exists");
        db.add_new_events(one()).await.unwrap();
        assert_eq!(meter.take().requests, 2, "the last event is read");

        let history = db.fetch_events_for_subject("book:1").await.unwrap();
        let known = history.known_revision().unwrap().clone();
        assert_eq!((known.subject(), known.revision()), ("book:1", 3));
        meter.take();
        // Of another store's table it proves nothing.
        let other = EventDb::new(store.client.clone(), &store.table).with_layout(store.layout);
        let other = other.metered_by(&meter);
        other.add_new_events(one()).only_if(known.clone().into()).await.unwrap();
        assert_eq!(meter.take().requests, 2);
        let known = db.fetch_events_for_subject("book:1").backwards().limit(1).await.unwrap();
        let known = known.known_revision().unwrap().clone();
        meter.take();
        db.add_new_events(one()).only_if(known.clone().into()).await.unwrap();
        assert_eq!(meter.take().requests, 1, "one PutItem");
        // The Put is refused, and one read says where the subject stands.
        let error = db.add_new_events(one()).only_if(known.into()).await.unwrap_err();
        assert_eq!(meter.take().requests, 2);
        let Error::Conflict(conflict) = error else { panic!("{error:?}") };
        assert_eq!(conflict.actual.revision(), 5);
    })
    .await;
}

#[tokio::test]
async fn a_repetition_is_found_although_its_precondition_no_longer_holds() {
    with_store(|store| async move {
        let first = store.fill("book:1", 1).await;
        let at = Precondition::subject_is_at_event_id("book:1", &first[0].id);
        let command = candidate_with_id("book:1", "command-1", json!({}));
        let append = || store.db.add_new_events([command.clone()]).only_if(at.clone());
        let stored = append().await.unwrap();
        assert_eq!(append().await.unwrap(), stored, "the subject is at another event now");
        store.fill("book:1", 1).await;
        assert_eq!(append().await.unwrap(), stored);
    })
    .await;
}

#[tokio::test]
async fn knowledge_of_another_subject_says_nothing() {
    with_store_by_revision(|store| async move {
        store.fill("book:1", 1).await;
        store.fill("book:2", 5).await;
        let known = store.db.fetch_events_for_subject("book:2").await.unwrap();
        let known = known.known_revision().unwrap().clone();
        let ahead = Precondition::subject_is_at_revision("book:1", 3);
        let append = store.db.add_new_events([candidate("book:1", json!({}))]).only_if(ahead);
        let error = append.only_if(known.into()).await.unwrap_err();
        assert!(error.is_conflict(), "{error}");
        assert_eq!(store.subject("book:1").await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn whether_a_stated_revision_exists_is_read_strongly_consistent() {
    with_store_by_revision(|store| async move {
        store.fill("book:1", 1).await;
        store.fill("book:2", 1).await;
        for (precondition, subject) in [
            (Precondition::subject_is_at_revision("book:1", 1), "book:1"),
            (Precondition::subject_is_populated("book:2"), "book:3"),
        ] {
            let meter = CapacityMeter::new();
            let db = store.db.metered_by(&meter);
            let append = db.add_new_events([candidate(subject, json!({}))]);
            append.only_if(precondition).await.unwrap();
            // A stale "no" would be a conflict that isn't one. An eventually consistent read costs half.
            let units = meter.total().read_units;
            assert!(units >= 1.0 && units.fract() == 0.0, "{subject}: {units}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_revision_that_was_not_reached_leaves_no_hole() {
    with_store(|store| async move {
        store.fill("book:1", 2).await;
        for revision in [3, 7, u64::MAX] {
            let ahead = Precondition::subject_is_at_revision("book:1", revision);
            let append = store.db.add_new_events([candidate("book:1", json!({}))]).only_if(ahead);
            let error = append.await.unwrap_err();
            let Error::Conflict(conflict) = error else { panic!("{error:?}") };
            assert!(
                matches!(conflict.actual, SubjectState::Populated { revision: 2, .. }),
                "{conflict:?}"
            );
        }
        assert_eq!(store.subject("book:1").await.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn complete_events_without_a_fixed_revision_are_guarded_by_revision() {
    with_store_by_revision(|store| async move {
        let complete = || event("book:1", "evt-1", 1_000, json!({ "n": 1 }));
        let stored = store.db.add_events([complete()]).await.unwrap();
        assert_eq!(store.db.add_events([complete()]).await.unwrap(), stored, "a repetition");
        store.fill("book:1", 1).await;
        assert_eq!(store.db.add_events([complete()]).await.unwrap(), stored, "also later");
        let elsewhere = store.db.add_events([event("book:2", "evt-1", 1_000, json!({ "n": 1 }))]);
        let error = elsewhere.await.unwrap_err();
        assert!(
            matches!(error, Error::IdReused { index: 0, reason: IdReuse::OtherContent { .. }, .. }),
            "{error:?}"
        );
        // With a stated revision there is one place where it can be, so it needs no guard.
        let numbered = with_revision(&event("book:3", "evt-3", 5, json!({})), 1);
        let guards = || async {
            let rows = store.rows().await;
            rows.iter().filter(|row| row["subject"].as_s().unwrap().starts_with("$id/")).count()
        };
        let before = guards().await;
        let stored = store.db.add_events([numbered.clone()]).await.unwrap();
        assert_eq!(store.db.add_events([numbered]).await.unwrap(), stored);
        assert_eq!(guards().await, before);
    })
    .await;
}

#[tokio::test]
async fn a_read_begins_at_a_revision() {
    with_store(|store| async move {
        let stored = store.fill("book:1", 7).await;
        let of = |revision| store.db.fetch_events_for_subject("book:1").from_revision(revision);
        for first in [0, 1, 2, 5, 7] {
            let expected = stored.iter().filter(|event| event.revision >= Some(first));
            let expected: Vec<_> = expected.cloned().collect();
            let read = of(first).await.unwrap();
            assert_eq!((read.events, read.missing), (expected.clone(), vec![]), "{first}");
            let backwards: Vec<_> = expected.into_iter().rev().collect();
            assert_eq!(of(first).backwards().await.unwrap().events, backwards, "{first}");
        }
        for beyond in [8, u64::MAX] {
            assert_eq!(of(beyond).await.unwrap().events, []);
        }
        assert_eq!(of(3).limit(2).await.unwrap().events, stored[2..4]);
        let two = of(3).limit(2).await.unwrap();
        let rest = of(3).after(two.cursor.unwrap()).await.unwrap();
        assert_eq!((rest.events, rest.missing), (stored[4..].to_vec(), vec![]));
        let since = of(3).since(stored[4].time).await.unwrap();
        assert_eq!(since.events, stored[4..]);
        let ty = store.db.fetch_events_for_subject_and_type("book:1", "book.borrowed");
        assert_eq!(ty.from_revision(6).await.unwrap().events, stored[5..]);
        let error = store.db.fetch_all_events().from_revision(2).await.unwrap_err();
        assert!(error.to_string().contains("from_revision"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn earlier_revisions_cost_nothing_by_revision() {
    with_store_by_revision(|store| async move {
        for _ in 0..10 {
            let filling = candidate("book:1", json!({ "filling": "x".repeat(200_000) }));
            store.db.add_new_events([filling]).await.unwrap();
        }
        let meter = CapacityMeter::new();
        let db = store.db.metered_by(&meter);
        let last = db.fetch_events_for_subject("book:1").from_revision(10).await.unwrap();
        assert_eq!(revisions(&last.events), [10]);
        let consumed = meter.take();
        assert_eq!(consumed.requests, 1);
        assert!(consumed.read_units <= 50.0, "{consumed:?}");
    })
    .await;
}

#[tokio::test]
async fn all_events_are_merged_by_time_over_the_partitions() {
    with_store(|store| async move {
        let mut stored = Vec::new();
        // 250 events of 25 subjects, with several of the same time in different partitions.
        for subject in 0..25_i64 {
            let events = (0..10_i64).map(|number| {
                let subject = format!("book:{subject}");
                let time = 1_000_000 + number * 7 + number % 3;
                event(&subject, &format!("{subject}/{number}"), time, json!({ "n": number }))
            });
            stored.extend(store.db.add_events(events).await.unwrap());
        }
        let ids = |events: &[Event]| {
            let mut ids: Vec<_> = events.iter().map(|event| event.id.clone()).collect();
            ids.sort();
            ids
        };
        let is_ordered = |events: &[Event]| events.is_sorted_by_key(|event| event.time);
        let all = store.db.fetch_all_events().await.unwrap().events;
        assert_eq!(ids(&all), ids(&stored));
        assert!(is_ordered(&all));
        let backwards = store.db.fetch_all_events().backwards().await.unwrap().events;
        let reversed: Vec<_> = backwards.iter().rev().cloned().collect();
        assert_eq!(ids(&reversed), ids(&stored));
        assert!(is_ordered(&reversed));
        let pages: Vec<_> = store.db.fetch_all_events().stream().try_collect().await.unwrap();
        let paged: Vec<_> = pages.iter().flat_map(|page| page.events.clone()).collect();
        assert_eq!(paged, all);

        // A read in steps of any size is the same read.
        for step in [1, 7, 64] {
            for is_backwards in [false, true] {
                let mut read = Vec::new();
                let mut cursor = None;
                loop {
                    let mut request = store.db.fetch_all_events().limit(step);
                    if is_backwards {
                        request = request.backwards();
                    }
                    if let Some(cursor) = cursor {
                        request = request.after(cursor);
                    }
                    let page = request.await.unwrap();
                    if page.events.is_empty() {
                        break;
                    }
                    read.extend(page.events);
                    cursor = page.cursor;
                }
                let expected = if is_backwards { &backwards } else { &all };
                assert_eq!(read, *expected, "{step}, backwards: {is_backwards}");
            }
        }
        let (since, until) = (1_000_015, 1_000_045);
        let within = store.db.fetch_all_events().since(at(since)).until(at(until)).await.unwrap();
        let expected =
            all.iter().filter(|event| (since..until).contains(&event.time.timestamp_millis()));
        assert_eq!(within.events, expected.cloned().collect::<Vec<_>>());
    })
    .await;
}

#[tokio::test]
async fn text_is_stored_unchanged_by_revision_and_as_its_values_by_time() {
    with_store(|store| async move {
        let texts = [
            "{ \"b\" : 1.0,\r\n\t\"a\":[ 1E+2, -0, 0.10 ] }",
            r#"{"text":"\u00e4\/\ud83d\udcda\u0000","z":{},"a":18446744073709551615}"#,
            r#" {"number":123456789012345.6,"least":1e-130} "#,
        ];
        for (number, text) in texts.into_iter().enumerate() {
            let data = EventData::from_json(text).unwrap();
            let values: Value = serde_json::from_str(text).unwrap();
            let subject = format!("book:{number}");
            let mut candidate = candidate_with_id(&subject, "evt-1", json!({}));
            candidate.source = format!("https://library.example.com/{number}");
            candidate.data = data;
            let stored = store.db.add_new_events([candidate.clone()]).await.unwrap();
            let read = store.subject(&subject).await;
            assert_eq!(read, stored);
            assert_eq!(read[0].data, values, "{text}");
            let is_unchanged = read[0].data.as_json() == text;
            assert_eq!(is_unchanged, store.layout == TableLayout::ByRevision, "{text}");
            assert_eq!(read[0].data.as_json(), stored[0].data.as_json());
            // Written in another way, it is still the same event.
            candidate.data = values.into();
            assert_eq!(store.db.add_new_events([candidate.clone()]).await.unwrap(), stored);
            candidate.data = json!({ "other": true }).into();
            let error = store.db.add_new_events([candidate]).await.unwrap_err();
            assert!(matches!(error, Error::IdReused { .. }), "{error}");
        }
    })
    .await;
}

#[tokio::test]
async fn one_rule_says_which_data_both_layouts_take() {
    with_store(|store| async move {
        let nested = |levels| format!(r#"{{"a":{}0{}}}"#, "[".repeat(levels), "]".repeat(levels));
        for (text, is_taken) in [
            (nested(30), true),
            (nested(31), false),
            (r#"{"a":9.99e125,"b":-1e-130}"#.to_owned(), true),
            (r#"{"a":1e126}"#.to_owned(), false),
            (r#"{"a":9e-131}"#.to_owned(), false),
            (r#"{"a":18446744073709551615,"b":-9223372036854775808}"#.to_owned(), true),
            (r#"{"":1}"#.to_owned(), false),
            (format!(r#"{{"{}":1}}"#, "n".repeat(65_535)), true),
            (format!(r#"{{"{}":1}}"#, "n".repeat(65_536)), false),
        ] {
            let start = text.get(..40).unwrap_or(&text).to_owned();
            let is_text = format!("{start}… of {} bytes", text.len());
            let values: Value = serde_json::from_str(&text).unwrap();
            // Text that can't even be read is refused immediately.
            let as_text = EventData::from_json(text);
            assert!(as_text.is_ok() || !is_taken, "{is_text}");
            for data in [Some(EventData::from(values)), as_text.ok()].into_iter().flatten() {
                let mut given = candidate("book:1", json!({}));
                given.data = data;
                match store.db.add_new_events([given]).await {
                    Ok(stored) => {
                        assert!(is_taken, "{is_text}");
                        assert_eq!(store.subject("book:1").await.last(), stored.last());
                    }
                    Err(Error::Invalid(_)) => assert!(!is_taken, "{is_text}"),
                    Err(error) => panic!("{is_text}: {error}"),
                }
            }
        }
        // There are no values that could be given instead.
        for (text, problem) in [
            (r#"{"a":1,"\u0061":2}"#, "two members have the name \"a\""),
            (r#"{"a":"\udc00"}"#, "surrogate"),
            (r#"{"a":12345678901234567890123}"#, "rounded"),
            (r#"{"a":0.10000000000000000555}"#, "rounded"),
            (r#"{"a":1e400}"#, "out of range"),
            ("[1]", "object"),
            ("\u{feff}{}", "expected value"),
        ] {
            let error = EventData::from_json(text).unwrap_err().to_string();
            assert!(error.contains(problem), "{text}: {error}");
        }
    })
    .await;
}

#[tokio::test]
async fn data_is_stored_as_json_text_by_revision() {
    with_store_by_revision(|store| async move {
        let data = json!({
            "text": "ä 📚 \" \\ \u{0} \u{1f}", "number": 0.1, "large": u64::MAX, "small": i64::MIN,
            "list": [null, true, [], {}], "nested": { " ": "" },
        });
        let stored = store.db.add_new_events([candidate("book:1", data.clone())]).await.unwrap();
        assert_eq!(store.subject("book:1").await, stored);
        let rows = store.rows().await;
        let text = rows[0]["data"].as_s().unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(text).unwrap(), data);
        // What another writer has put there is read exactly, or refused.
        for (text, is_taken) in [
            (r#"{"a": 1, "b": [1.50, 1e3]}"#, true),
            (r#"{"a":1,"a":2}"#, false),
            (r#"{"a":"\ud800"}"#, false),
            (r#"{"a":12345678901234567890123}"#, false),
            ("{", false),
            ("", false),
        ] {
            let mut row = rows[0].clone();
            row.insert("data".to_owned(), AttributeValue::S(text.to_owned()));
            store
                .client
                .put_item()
                .table_name(&store.table)
                .set_item(Some(row))
                .send()
                .await
                .unwrap();
            let history = store.db.fetch_events_for_subject("book:1").await.unwrap();
            assert_eq!(history.invalid.is_empty(), is_taken, "{text}");
        }
    })
    .await;
}
