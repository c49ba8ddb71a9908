//! What an append stores.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_async::time::StaticTimeSource;
use chrono::{TimeDelta, Utc};
use eventdb::{Error, Event, EventCandidate, EventDb, ExtensionValue, Precondition, TableLayout};
use serde_json::json;
use uuid::Uuid;

use crate::support::{
    SOURCE, at, candidate, candidate_of_type, event, revisions, with_revision, with_store,
    with_store_by_time,
};

#[tokio::test]
async fn a_new_event_gets_an_id_a_time_and_a_revision() {
    with_store(|store| async move {
        let before = Utc::now() - TimeDelta::milliseconds(1);
        let stored = store
            .db
            .add_new_events([candidate("book:123", json!({ "userId": "user:456" }))])
            .await
            .unwrap();
        let [stored] = stored.as_slice() else { panic!("{stored:?}") };
        assert_eq!(stored.id.parse::<Uuid>().unwrap().get_version_num(), 7);
        assert!(before <= stored.time && stored.time <= Utc::now());
        assert_eq!(stored.revision, Some(1));
        assert_eq!(store.subject("book:123").await, std::slice::from_ref(stored));
    })
    .await;
}

#[tokio::test]
async fn every_attribute_comes_back_unchanged() {
    with_store(|store| async move {
        let candidate = EventCandidate::builder()
            .source("/library/Z%C3%BCrich?shelf=7#top")
            .ty("buch.ausgeliehen – 借りた 📚")
            .subject("книга:٣/\u{1F4D5} ü")
            .data(json!({
                "text": "Zürich \u{0} \n \u{FFFF} \u{1F600}",
                "empty": "", "null": null, "true": true, "false": false,
                "numbers": [0, -1, 1.5, 1e-7, 9_007_199_254_740_993_u64, u64::MAX, i64::MIN, 1e100],
                "nested": { "list": [[], {}, [null]], "ключ with spaces.and.dots": 1 },
            }))
            .datacontenttype("application/vnd.library+json; charset=utf-8")
            .dataschema("https://library.example.com/schemas/borrowed#1")
            .extension("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
            .extension("attempt", -7)
            .extension("replayed", true)
            .build();
        let stored = store.db.add_new_events([candidate.clone()]).await.unwrap().remove(0);
        let read = store.subject(&candidate.subject).await.remove(0);
        assert_eq!(read, stored);
        assert_eq!(read.source, candidate.source);
        assert_eq!(read.ty, candidate.ty);
        assert_eq!(read.data, candidate.data);
        assert_eq!(read.datacontenttype, candidate.datacontenttype);
        assert_eq!(read.dataschema, candidate.dataschema);
        assert_eq!(read.extensions, candidate.extensions);
        assert_eq!(store.db.fetch_event(&stored.id).await.unwrap(), Some(stored.clone()));
        let of_type =
            store.db.fetch_events_for_subject_and_type(&stored.subject, &stored.ty).await.unwrap();
        assert_eq!(of_type.events, std::slice::from_ref(&stored));
        assert_eq!(store.db.fetch_all_events().await.unwrap().events, [stored]);
    })
    .await;
}

#[tokio::test]
async fn equal_numbers_are_equal_however_they_were_written() {
    with_store(|store| async move {
        let data = json!({ "price": 1.0, "zero": -0.0, "thousand": 1e3 });
        let stored = store.db.add_new_events([candidate("book:123", data)]).await.unwrap();
        let read = store.subject("book:123").await;
        assert_eq!(read, stored, "what was answered is what is read");
        assert_eq!(read[0].data.as_json(), r#"{"price":1,"thousand":1000,"zero":0}"#);
        assert_eq!(read[0].data.as_json(), stored[0].data.as_json());
    })
    .await;
}

#[tokio::test]
async fn revisions_have_no_gap_and_times_increase_over_appends_of_any_size() {
    with_store(|store| async move {
        for size in [1, 10, 1, 50, 3] {
            let candidates = (0..size).map(|number| candidate("book:123", json!({ "n": number })));
            store.db.add_new_events(candidates).await.unwrap();
        }
        let events = store.subject("book:123").await;
        assert_eq!(events.len(), 65);
        store.assert_sound(&events);
    })
    .await;
}

#[tokio::test]
async fn an_append_over_several_subjects_keeps_the_given_order() {
    with_store(|store| async move {
        let subjects = ["book:2", "book:1", "book:2", "user:456", "book:1", "book:2"];
        let stored = store
            .db
            .add_new_events(subjects.map(|subject| candidate(subject, json!({}))))
            .await
            .unwrap();
        let order: Vec<_> = stored.iter().map(|event| event.subject.as_str()).collect();
        assert_eq!(order, subjects);
        assert_eq!(revisions(&stored), [1, 1, 2, 1, 2, 3]);
        for subject in ["book:1", "book:2", "user:456"] {
            let of_subject: Vec<_> =
                stored.iter().filter(|event| event.subject == subject).cloned().collect();
            assert_eq!(store.subject(subject).await, of_subject);
        }
    })
    .await;
}

#[tokio::test]
async fn an_append_over_several_subjects_happens_whole_or_not_at_all() {
    with_store(|store| async move {
        store.fill("book:2", 1).await;
        let before = store.rows().await.len();
        let error = store
            .db
            .add_new_events(["book:1", "book:2", "book:3"].map(|book| candidate(book, json!({}))))
            .only_if(Precondition::subject_is_pristine("book:2"))
            .await
            .unwrap_err();
        assert!(error.is_conflict(), "{error}");
        assert_eq!(store.rows().await.len(), before);
        assert_eq!(store.subject("book:1").await, []);
        // The others are as pristine as before, not merely empty.
        store
            .db
            .add_new_events(["book:1", "book:3"].map(|book| candidate(book, json!({}))))
            .only_if(Precondition::subject_is_pristine("book:1"))
            .only_if(Precondition::subject_is_pristine("book:3"))
            .await
            .unwrap();
    })
    .await;
}

#[tokio::test]
async fn an_empty_append_succeeds_and_stores_nothing() {
    with_store(|store| async move {
        assert_eq!(store.db.add_new_events([]).await.unwrap(), []);
        assert_eq!(store.db.add_events(Vec::<Event>::new()).await.unwrap(), []);
        assert_eq!(store.rows().await, []);
    })
    .await;
}

#[tokio::test]
async fn events_of_one_millisecond_and_type_are_all_kept() {
    with_store(|store| async move {
        let candidates: Vec<_> =
            (0..99).map(|n| candidate("book:123", json!({ "n": n }))).collect();
        store.db.add_new_events(candidates).await.unwrap();
        let numbers: Vec<_> = store
            .subject("book:123")
            .await
            .iter()
            .map(|event| event.data["n"].as_i64().unwrap())
            .collect();
        assert_eq!(numbers, (0..99).collect::<Vec<_>>());
    })
    .await;
}

#[tokio::test]
async fn complete_events_keep_their_id_and_time() {
    with_store(|store| async move {
        let given = [
            event("book:123", "evt-1", 1_738_074_600_000, json!({ "n": 1 })),
            event("book:123", "evt-2", 1_738_074_600_001, json!({ "n": 2 })),
        ];
        let stored = store.db.add_events(given.clone()).await.unwrap();
        assert_eq!(stored, [with_revision(&given[0], 1), with_revision(&given[1], 2)]);
        assert_eq!(store.subject("book:123").await, stored);
    })
    .await;
}

#[tokio::test]
async fn a_complete_event_that_is_not_newer_is_refused_and_named() {
    with_store_by_time(|store| async move {
        let last = event("book:123", "evt-1", 1_738_074_600_000, json!({}));
        store.db.add_events([last.clone()]).await.unwrap();
        for milliseconds in [1_738_074_600_000, 1_738_074_599_999, 0] {
            let error = store
                .db
                .add_events([
                    event("book:9", "evt-2", 5, json!({})),
                    event("book:123", "evt-3", milliseconds, json!({})),
                ])
                .await
                .unwrap_err();
            match &error {
                Error::NotNewer { index, subject, last_time } => {
                    assert_eq!((*index, subject.as_str()), (1, "book:123"));
                    assert_eq!(*last_time, last.time);
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(store.subject("book:123").await.len(), 1);
        assert_eq!(store.subject("book:9").await, []);
    })
    .await;
}

#[tokio::test]
async fn complete_events_out_of_order_or_before_1970_are_refused_before_sending() {
    with_store_by_time(|store| async move {
        let mut fine = event("book:2", "evt-4", 10, json!({}));
        fine.time += TimeDelta::nanoseconds(1);
        let error = store
            .db
            .add_events([
                event("book:1", "evt-1", 10, json!({})),
                event("book:1", "evt-2", 10, json!({})),
                event("book:2", "evt-3", 10, json!({})),
                fine,
                event("book:3", "evt-5", -1, json!({})),
                event("book:4", "evt-6", 10_000_000_000_000, json!({})),
            ])
            .await
            .unwrap_err();
        let Error::Invalid(faults) = &error else { panic!("{error:?}") };
        let found: Vec<_> =
            faults.as_slice().iter().map(|fault| (fault.index, fault.attribute.as_str())).collect();
        assert_eq!(found, [1, 3, 4, 5].map(|index| (Some(index), "time")));
        assert!(error.to_string().contains("1969-12-31T23:59:59.999Z"), "{error}");
        assert_eq!(store.rows().await, []);
    })
    .await;
}

/// An event as another producer of CloudEvents sends it.
fn sent(subject: &str, id: &str, time: &str) -> Event {
    let event = json!({
        "specversion": "1.0", "id": id, "source": SOURCE, "type": "book.borrowed",
        "subject": subject, "time": time, "data": {},
    });
    serde_json::from_value(event).expect(time)
}

#[tokio::test]
async fn times_of_other_producers_are_stored_in_whole_milliseconds_of_utc() {
    with_store(|store| async move {
        // The SDK for Python sends microseconds; others an offset, or a leap second.
        for (number, (time, stored)) in [
            ("2025-01-28T14:30:00.123456+00:00", "2025-01-28T14:30:00.123Z"),
            ("2025-01-28T14:30:00.123999999Z", "2025-01-28T14:30:00.123Z"),
            ("2025-01-28T16:00:00.5+01:30", "2025-01-28T14:30:00.500Z"),
            ("2016-12-31T23:59:60.500Z", "2017-01-01T00:00:00.500Z"),
            ("2016-12-31T15:59:60-08:00", "2017-01-01T00:00:00.000Z"),
            ("1970-01-01T00:00:00.0009Z", "1970-01-01T00:00:00.000Z"),
        ]
        .into_iter()
        .enumerate()
        {
            let subject = format!("book:{number}");
            let event = sent(&subject, &format!("evt-{number}"), time);
            let answered = store.db.add_events([event.clone()]).await.expect(time);
            let json = serde_json::to_value(&answered[0]).unwrap();
            assert_eq!(json["time"], stored);
            assert_eq!(store.subject(&subject).await, answered);
            assert_eq!(store.db.add_events([event]).await.unwrap(), answered, "a repetition");
        }
    })
    .await;
}

#[tokio::test]
async fn a_time_set_by_hand_is_stored_like_any_other() {
    with_store(|store| async move {
        let mut fine = event("book:123", "evt-1", 1_738_074_600_000, json!({}));
        fine.time += TimeDelta::nanoseconds(999_999);
        let stored = store.db.add_events([fine.clone()]).await.unwrap();
        assert_eq!(stored[0].time, at(1_738_074_600_000));
        assert_eq!(store.subject("book:123").await, stored);
        assert_eq!(store.db.add_events([fine]).await.unwrap(), stored);
        if store.layout == TableLayout::ByRevision {
            return;
        }
        // What differs only below a millisecond isn't later.
        let mut next = event("book:123", "evt-2", 1_738_074_600_000, json!({}));
        next.time += TimeDelta::nanoseconds(999_999);
        let error = store.db.add_events([next]).await.unwrap_err();
        assert!(matches!(error, Error::NotNewer { index: 0, .. }), "{error:?}");
    })
    .await;
}

#[tokio::test]
async fn a_leap_second_is_ordered_as_it_is_stored() {
    with_store_by_time(|store| async move {
        let leap = |id: &str, time: &str| sent("book:123", id, time);
        let error = store
            .db
            .add_events([
                leap("evt-1", "2016-12-31T23:59:60.500Z"),
                leap("evt-2", "2017-01-01T00:00:00.200Z"),
            ])
            .await
            .unwrap_err();
        assert!(
            error.to_string().contains("event 1: `time` is 2017-01-01T00:00:00.200Z"),
            "{error}"
        );
        let same =
            [leap("evt-1", "2016-12-31T23:59:60.000Z"), leap("evt-2", "2017-01-01T00:00:00.000Z")];
        let error = store.db.add_events(same).await.unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error:?}");
        let stored = store
            .db
            .add_events([
                leap("evt-1", "2016-12-31T23:59:60.500Z"),
                leap("evt-2", "2017-01-01T00:00:00.501Z"),
            ])
            .await
            .unwrap();
        assert_eq!(revisions(&stored), [1, 2]);
        assert_eq!(store.subject("book:123").await, stored);
    })
    .await;
}

#[tokio::test]
async fn a_stated_revision_is_the_one_that_is_assigned_or_nothing_is_stored() {
    with_store(|store| async move {
        let stating = |subject: &str, number: i64, revision: u64| {
            with_revision(&event(subject, &format!("evt-{number}"), number, json!({})), revision)
        };
        let refused = |events: Vec<Event>| {
            let store = std::sync::Arc::clone(&store);
            async move {
                match store.db.add_events(events).await.unwrap_err() {
                    Error::OtherRevision { index, subject, stated, assigned } => {
                        (index, subject, stated, assigned)
                    }
                    other => panic!("{other:?}"),
                }
            }
        };
        let is =
            |index, subject: &str, stated, assigned| (index, subject.to_owned(), stated, assigned);
        let copied = vec![stating("book:1", 1, 1), stating("book:1", 3, 3)];
        assert_eq!(refused(copied).await, is(1, "book:1", 3, 2));
        for (stated, ahead) in [(0, 1), (2, 1), (7, 1), (u64::MAX, 1)] {
            let first = vec![stating("book:1", 1, stated)];
            assert_eq!(refused(first).await, is(0, "book:1", stated, ahead));
        }
        let none_first = vec![event("book:1", "evt-1", 1, json!({})), stating("book:1", 2, 1)];
        assert_eq!(refused(none_first).await, is(1, "book:1", 1, 2));
        assert_eq!(store.rows().await, []);

        let copied =
            vec![stating("book:1", 1, 1), stating("book:2", 5, 1), stating("book:1", 2, 2)];
        let stored = store.db.add_events(copied.clone()).await.unwrap();
        assert_eq!(stored, copied);
        assert_eq!(store.db.add_events(copied).await.unwrap(), stored, "a repetition");
        let next = [event("book:1", "evt-3", 3, json!({})), stating("book:1", 4, 4)];
        assert_eq!(revisions(&store.db.add_events(next).await.unwrap()), [3, 4]);

        let behind = vec![event("book:9", "evt-9", 9, json!({})), stating("book:1", 6, 6)];
        assert_eq!(refused(behind).await, is(1, "book:1", 6, 5));
        // Also an event that is there already, under another revision. By revision only the stated
        // place is looked at, and the next free one is named.
        let elsewhere = if store.layout == TableLayout::ByTime { 2 } else { 5 };
        assert_eq!(refused(vec![stating("book:1", 2, 3)]).await, is(0, "book:1", 3, elsewhere));
        assert_eq!(store.subject("book:1").await.len(), 4);
        assert_eq!(store.subject("book:9").await, []);
        // A precondition of the caller's own is answered as one.
        let at_five = Precondition::subject_is_at_revision("book:1", 5);
        let error =
            store.db.add_events([stating("book:1", 6, 6)]).only_if(at_five).await.unwrap_err();
        assert!(error.is_conflict(), "{error:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_writers_that_state_the_same_revision_one_gets_it() {
    with_store(|store| async move {
        let writers = (0..8_i64).map(|number| {
            let db = store.db.clone();
            let event = event("book:123", &format!("evt-{number}"), 1_000 + number, json!({}));
            tokio::spawn(async move { db.add_events([with_revision(&event, 1)]).await })
        });
        let mut stored = 0;
        for outcome in futures_util::future::join_all(writers).await {
            match outcome.unwrap() {
                Ok(events) => {
                    assert_eq!(revisions(&events), [1]);
                    stored += 1;
                }
                Err(Error::OtherRevision { index: 0, stated: 1, assigned: 2, .. }) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_eq!(stored, 1);
        store.assert_sound(&store.subject("book:123").await);
    })
    .await;
}

#[tokio::test]
async fn every_fault_of_every_event_is_reported_at_once() {
    with_store(|store| async move {
        let bad = EventCandidate::builder()
            .source("no uri\u{7}")
            .ty("ab")
            .subject("$head/book:123")
            .data(json!(["no", "object"]))
            .datacontenttype("text/plain")
            .dataschema("relative")
            .extension("Not-Allowed", "x")
            .extension("sequence", "1")
            .extension("empty", "")
            .build();
        let error =
            store.db.add_new_events([candidate("book:1", json!({})), bad]).await.unwrap_err();
        let Error::Invalid(faults) = &error else { panic!("{error:?}") };
        let mut by_attribute = BTreeMap::<_, usize>::new();
        for fault in faults.as_slice() {
            assert_eq!(fault.index, Some(1));
            *by_attribute.entry(fault.attribute.as_str()).or_default() += 1;
        }
        let expected = BTreeMap::from([
            ("data", 1),
            ("datacontenttype", 1),
            ("dataschema", 1),
            ("extensions.Not-Allowed", 1),
            ("extensions.empty", 1),
            ("extensions.sequence", 1),
            ("source", 2),
            ("subject", 1),
            ("type", 1),
        ]);
        assert_eq!(by_attribute, expected);
        assert_eq!(store.rows().await, []);
        assert!(!error.is_conflict() && !error.is_retryable());
    })
    .await;
}

#[tokio::test]
async fn a_new_event_is_later_than_the_last_even_when_that_lies_in_the_future() {
    with_store_by_time(|store| async move {
        let future = Utc::now().timestamp_millis() + 3_600_000;
        store.db.add_events([event("book:123", "evt-1", future, json!({}))]).await.unwrap();
        let stored =
            store.db.add_new_events([candidate("book:123", json!({}))]).await.unwrap().remove(0);
        assert_eq!(stored.time, at(future + 1));
        let pinned = store
            .db
            .add_new_events([candidate("book:123", json!({}))])
            .only_if(Precondition::subject_is_at_revision("book:123", 2))
            .await
            .unwrap();
        assert_eq!(pinned[0].time, at(future + 2), "without a read before");
        store.assert_sound(&store.subject("book:123").await);
    })
    .await;
}

#[tokio::test]
async fn times_keep_their_order_from_the_first_to_the_last_that_has_13_digits() {
    with_store_by_time(|store| async move {
        let times = [0, 9, 10, 999_999_999_999, 1_000_000_000_000, 9_999_999_999_999];
        for (number, milliseconds) in times.into_iter().enumerate() {
            let id = format!("evt-{number}");
            store.db.add_events([event("book:123", &id, milliseconds, json!({}))]).await.unwrap();
        }
        let events = store.subject("book:123").await;
        assert_eq!(events.iter().map(|event| event.time).collect::<Vec<_>>(), times.map(at));
        store.assert_sound(&events);
        let candidates = [candidate("book:9", json!({})), candidate("book:123", json!({}))];
        let error = store.db.add_new_events(candidates).await.unwrap_err();
        match &error {
            Error::NoLaterTime { index, subject, last_time } => {
                assert_eq!((*index, subject.as_str()), (1, "book:123"));
                assert_eq!(*last_time, at(9_999_999_999_999));
            }
            other => panic!("{other:?}"),
        }
        assert!(error.to_string().contains("2286-11-20T17:46:39.999Z"), "{error}");
        assert_eq!(store.subject("book:123").await.len(), times.len());
        assert_eq!(store.subject("book:9").await, []);
    })
    .await;
}

#[tokio::test]
async fn times_are_those_of_the_clients_clock() {
    with_store(|store| async move {
        let ahead = Utc::now().timestamp() + 120;
        let clock = StaticTimeSource::from_secs(ahead.unsigned_abs());
        let configuration = store.client.config().to_builder().time_source(clock).build();
        let db =
            EventDb::new(Client::from_conf(configuration), &store.table).with_layout(store.layout);
        let candidates = [1, 2].map(|number| candidate("book:123", json!({ "number": number })));
        let stored = db.add_new_events(candidates).await.unwrap();
        let times: Vec<_> = stored.iter().map(|event| event.time).collect();
        assert_eq!(times, [at(ahead * 1_000), at(ahead * 1_000 + 1)]);
    })
    .await;
}

#[tokio::test]
async fn after_a_last_time_that_no_calendar_has_nothing_is_stored() {
    with_store_by_time(|store| async move {
        store.fill("book:123", 1).await;
        let head = [
            ("subject", AttributeValue::S("$head/book:123".to_owned())),
            ("time_type", AttributeValue::S("$head".to_owned())),
            ("revision", AttributeValue::N("1".to_owned())),
            ("last_time", AttributeValue::N(i64::MAX.to_string())),
            ("last_id", AttributeValue::S("evt-1".to_owned())),
        ];
        store.put_row(head).await;
        let error = store.db.add_new_events([candidate("book:123", json!({}))]).await.unwrap_err();
        assert!(error.to_string().contains("2286-11-20T17:46:39.999Z"), "{error}");
        let complete = event("book:123", "evt-2", 9_999_999_999_999, json!({}));
        let error = store.db.add_events([complete]).await.unwrap_err();
        assert!(matches!(error, Error::NotNewer { index: 0, .. }), "{error:?}");
        assert_eq!(store.subject("book:123").await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn the_heads_of_subjects_are_in_no_history_and_only_in_the_index_of_subjects() {
    with_store_by_time(|store| async move {
        let stored = store.fill("book:123", 3).await;
        assert_eq!(store.db.fetch_all_events().await.unwrap().events, stored);
        let (events, heads): (Vec<_>, Vec<_>) =
            store.rows().await.into_iter().partition(|row| row.contains_key("pk_all"));
        for indexed in ["subject_partition", "listed_subject"] {
            assert!(events.iter().all(|row| !row.contains_key(indexed)), "{indexed}");
        }
        let [head] = heads.as_slice() else { panic!("{heads:?}") };
        // By the CRC-32 of `book:123`.
        assert_eq!(head["subject_partition"].as_s().unwrap(), "subjects-05");
        assert_eq!(head["listed_subject"].as_s().unwrap(), "book:123");
        for indexed in ["id", "type", "time", "pk_all"] {
            assert!(!head.contains_key(indexed), "{indexed}");
        }
        assert_eq!(head["subject"].as_s().unwrap(), "$head/book:123");
    })
    .await;
}

#[tokio::test]
async fn extensions_of_all_types_are_told_apart() {
    with_store(|store| async move {
        let mut candidate = candidate_of_type("book:123", "book.borrowed");
        candidate.extensions = BTreeMap::from([
            ("number".to_owned(), ExtensionValue::Integer(i32::MIN)),
            ("text".to_owned(), ExtensionValue::String("7".to_owned())),
            ("truth".to_owned(), ExtensionValue::Boolean(false)),
        ]);
        let extensions = candidate.extensions.clone();
        store.db.add_new_events([candidate]).await.unwrap();
        assert_eq!(store.subject("book:123").await[0].extensions, extensions);
        assert_eq!(store.subject("book:123").await[0].source, SOURCE);
    })
    .await;
}

#[tokio::test]
async fn an_append_at_a_stated_revision_right_after_a_burst_takes_two_attempts() {
    with_store_by_time(|store| async move {
        let mut revision = 0;
        for _ in 0..20 {
            let burst = (0..99).map(|n| candidate("book:1", json!({ "n": n })));
            revision += store.db.add_new_events(burst).await.unwrap().len() as u64;
        }
        let last = store.db.fetch_events_for_subject("book:1").backwards().limit(1).await.unwrap();
        let ahead = last.events[0].time - chrono::Utc::now();
        let meter = eventdb::CapacityMeter::new();
        let events = store
            .db
            .metered_by(&meter)
            .add_new_events([candidate("book:1", json!({}))])
            .only_if(Precondition::subject_is_at_revision("book:1", revision))
            .await
            .unwrap();
        assert_eq!(events[0].revision, Some(revision + 1));
        assert!(events[0].time > last.events[0].time);
        // One in vain tells how far ahead of the clock the burst has run.
        let expected = if ahead > chrono::TimeDelta::zero() { 2 } else { 1 };
        assert_eq!(meter.total().requests, expected, "{ahead} ahead");
    })
    .await;
}
