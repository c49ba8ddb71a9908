//! What a read returns, page after page.

use aws_sdk_dynamodb::types::AttributeValue;
use eventdb::{Cursor, CursorError, Error, Event, FetchEvents, History, TableLayout};
use futures_util::{StreamExt, TryStreamExt};
use serde_json::json;

use crate::support::{
    SOURCE, Store, at, candidate, candidate_of_type, event, revisions, with_revision, with_store,
};

/// Twelve events of 100 KB, of two types, so that every read takes more than one page of 1 MB.
async fn fill_pages(store: &Store, subject: &str) -> Vec<Event> {
    let mut events = Vec::new();
    for number in 0..12 {
        let mut candidate =
            candidate(subject, json!({ "number": number, "filling": "x".repeat(100_000) }));
        candidate.ty = if number % 2 == 0 { "book.borrowed" } else { "book.returned" }.to_owned();
        events.extend(store.db.add_new_events([candidate]).await.unwrap());
    }
    events
}

pub(crate) async fn pages(request: FetchEvents) -> Vec<History> {
    request.stream().try_collect().await.unwrap()
}

fn joined(pages: &[History]) -> Vec<Event> {
    pages.iter().flat_map(|page| page.events.clone()).collect()
}

#[tokio::test]
async fn every_read_returns_all_pages() {
    with_store(|store| async move {
        let stored = fill_pages(&store, "book:1").await;
        let reversed: Vec<_> = stored.iter().rev().cloned().collect();
        let of_subject = || store.db.fetch_events_for_subject("book:1");
        let of_all = || store.db.fetch_all_events();
        assert_eq!(of_subject().await.unwrap().events, stored);
        assert_eq!(of_subject().backwards().await.unwrap().events, reversed);
        assert_eq!(of_all().await.unwrap().events, stored);
        assert_eq!(of_all().backwards().await.unwrap().events, reversed);
        assert!(pages(of_subject()).await.len() > 1);
        for request in [of_subject(), of_all()] {
            assert_eq!(joined(&pages(request).await), stored);
        }
        let borrowed: Vec<_> =
            stored.iter().filter(|event| event.ty == "book.borrowed").cloned().collect();
        let of_type = || store.db.fetch_events_for_subject_and_type("book:1", "book.borrowed");
        assert_eq!(of_type().await.unwrap().events, borrowed);
        assert_eq!(joined(&pages(of_type()).await), borrowed);
    })
    .await;
}

#[tokio::test]
async fn events_of_one_type_take_more_than_one_page_too() {
    with_store(|store| async move {
        let mut stored = Vec::new();
        for _ in 0..12 {
            let candidate = candidate("book:1", json!({ "filling": "x".repeat(100_000) }));
            stored.extend(store.db.add_new_events([candidate]).await.unwrap());
        }
        let of_type =
            store.db.fetch_events_for_subject_and_type("book:1", "book.borrowed").await.unwrap();
        assert_eq!(of_type.events, stored);
    })
    .await;
}

/// A page has at most 4,096 rows, even if they are less than 1 MB.
#[tokio::test]
async fn many_small_events_take_more_than_one_page() {
    with_store(|store| async move {
        for _ in 0..42 {
            let candidates = (0..98).map(|_| candidate("book:1", json!({})));
            store.db.add_new_events(candidates).await.unwrap();
        }
        let of_subject = || store.db.fetch_events_for_subject("book:1");
        let lengths: Vec<_> =
            pages(of_subject()).await.iter().map(|page| page.events.len()).collect();
        assert_eq!(lengths, [4_096, 20]);
        assert_eq!(joined(&pages(of_subject().limit(4_100)).await).len(), 4_100);
        let exported: Vec<_> = store.db.export().stream().try_collect().await.unwrap();
        assert!(exported.iter().all(|page| page.events.len() <= 4_096));
        assert_eq!(exported.iter().map(|page| page.events.len()).sum::<usize>(), 4_116);
    })
    .await;
}

/// All refinements against what they mean on a list.
#[tokio::test]
async fn refinements_narrow_a_read_alone_and_together() {
    with_store(|store| async move {
        // Two appends of each: more than one event at neighbouring milliseconds.
        let times = [1000, 1001, 1005, 2000, 2001, 3000];
        let given: Vec<_> = times
            .iter()
            .enumerate()
            .map(|(number, time)| event("book:1", &format!("evt-{number}"), *time, json!({})))
            .collect();
        let stored = store.db.add_events(given).await.unwrap();
        let bounds = [None, Some(0), Some(1001), Some(1002), Some(2000), Some(3000), Some(3001)];
        let requests: [fn(&Store) -> FetchEvents; 3] = [
            |store| store.db.fetch_events_for_subject("book:1"),
            |store| store.db.fetch_events_for_subject_and_type("book:1", "book.borrowed"),
            |store| store.db.fetch_all_events(),
        ];
        for request in requests {
            let cursors: Vec<_> = cursors_of(request(&store)).await;
            for since in bounds {
                for until in bounds {
                    for backwards in [false, true] {
                        for after in [None, Some(0), Some(2), Some(5)] {
                            for limit in [None, Some(0), Some(1), Some(4)] {
                                let mut read = request(&store);
                                if let Some(since) = since {
                                    read = read.since(at(since));
                                }
                                if let Some(until) = until {
                                    read = read.until(at(until));
                                }
                                if backwards {
                                    read = read.backwards();
                                }
                                if let Some(after) = after {
                                    read = read.after(cursors.get(after).unwrap().clone());
                                }
                                if let Some(limit) = limit {
                                    read = read.limit(limit);
                                }
                                let expected =
                                    refined(&stored, since, until, backwards, after, limit);
                                let description =
                                    format!("{since:?} {until:?} {backwards} {after:?} {limit:?}");
                                let found = read.await.expect(&description);
                                assert_eq!(
                                    revisions(&found.events),
                                    revisions(&expected),
                                    "{description}"
                                );
                            }
                        }
                    }
                }
            }
        }
    })
    .await;
}

/// The cursor at each event, taken from reads of one event each.
async fn cursors_of(request: FetchEvents) -> Vec<Cursor> {
    let mut cursors = Vec::new();
    let mut next = request.clone().limit(1).await.unwrap();
    while !next.events.is_empty() {
        let cursor = next.cursor.clone().unwrap();
        cursors.push(cursor.clone());
        next = request.clone().after(cursor).limit(1).await.unwrap();
    }
    cursors
}

fn refined(
    stored: &[Event],
    since: Option<i64>,
    until: Option<i64>,
    backwards: bool,
    after: Option<usize>,
    limit: Option<usize>,
) -> Vec<Event> {
    let mut expected: Vec<(usize, Event)> = stored.iter().cloned().enumerate().collect();
    if backwards {
        expected.reverse();
    }
    expected.retain(|(position, event)| {
        let time = event.time.timestamp_millis();
        since.is_none_or(|since| time >= since)
            && until.is_none_or(|until| time < until)
            && after.is_none_or(
                |after| {
                    if backwards { *position < after } else { *position > after }
                },
            )
    });
    expected.truncate(limit.unwrap_or(usize::MAX));
    expected.into_iter().map(|(_, event)| event).collect()
}

#[tokio::test]
async fn a_cursor_resumes_where_a_read_stopped_and_sees_what_came_since() {
    with_store(|store| async move {
        let stored = store.fill("book:1", 5).await;
        let requests: [fn(&Store) -> FetchEvents; 3] = [
            |store| store.db.fetch_events_for_subject("book:1"),
            |store| store.db.fetch_events_for_subject_and_type("book:1", "book.borrowed"),
            |store| store.db.fetch_all_events(),
        ];
        let mut kept = Vec::new();
        for request in requests {
            let first = request(&store).limit(3).await.unwrap();
            let text = first.cursor.unwrap().to_string();
            assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
            let cursor: Cursor = text.parse().unwrap();
            let rest = request(&store).after(cursor).await.unwrap();
            assert_eq!([first.events, rest.events].concat(), stored);
            let end = rest.cursor.unwrap();
            let nothing = request(&store).after(end.clone()).await.unwrap();
            assert_eq!(nothing.events, []);
            assert_eq!(nothing.cursor, Some(end.clone()), "a poll keeps its place");
            kept.push(end);
        }
        let more = store.fill("book:1", 2).await;
        for (request, cursor) in requests.iter().zip(kept) {
            assert_eq!(request(&store).after(cursor).await.unwrap().events, more);
        }
    })
    .await;
}

#[tokio::test]
async fn a_cursor_of_another_read_is_refused() {
    with_store(|store| async move {
        store.fill("book:1", 1).await;
        let db = &store.db;
        let of = |history: History| history.cursor.unwrap();
        let subject = of(db.fetch_events_for_subject("book:1").await.unwrap());
        let ty = of(db.fetch_events_for_subject_and_type("book:1", "book.borrowed").await.unwrap());
        let all = of(db.fetch_all_events().await.unwrap());
        for request in [
            db.fetch_events_for_subject("book:2").after(subject.clone()),
            db.fetch_events_for_subject("book:1").after(ty.clone()),
            db.fetch_events_for_subject("book:1").after(all.clone()),
            db.fetch_events_for_subject_and_type("book:1", "book.returned").after(ty),
            db.fetch_events_for_subject_and_type("book:1", "book.borrowed").after(all),
            db.fetch_all_events().after(subject),
        ] {
            let error = request.await.unwrap_err();
            assert!(matches!(error, Error::Cursor(CursorError::OtherRead)), "{error:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_read_of_nothing_is_empty() {
    with_store(|store| async move {
        let empty = History::default();
        let db = &store.db;
        assert_eq!(db.fetch_events_for_subject("book:1").await.unwrap(), empty);
        assert_eq!(
            db.fetch_events_for_subject_and_type("book:1", "book.borrowed").await.unwrap(),
            empty
        );
        assert_eq!(db.fetch_all_events().await.unwrap(), empty);
        assert_eq!(db.fetch_event("evt-1").await.unwrap(), None);
        assert_eq!(joined(&pages(db.fetch_all_events()).await), []);
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_the_reason() {
    with_store(|store| async move {
        let db = &store.db;
        let errors = [
            db.fetch_events_for_subject("$head/book:1").await.unwrap_err(),
            db.fetch_events_for_subject("$id/https://library.example.com#1").await.unwrap_err(),
            db.fetch_events_for_subject("").await.unwrap_err(),
            db.fetch_events_for_subject("x".repeat(2_049)).await.unwrap_err(),
            db.fetch_events_for_subject_and_type("book:1", "").await.unwrap_err(),
            db.fetch_events_for_subject_and_type("book:1", "x".repeat(1_025)).await.unwrap_err(),
            db.fetch_event("").await.unwrap_err(),
            db.fetch_event("x".repeat(2_049)).await.unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, Error::Invalid(_)), "{error:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_type_is_read_in_the_order_of_revisions_among_others() {
    with_store(|store| async move {
        let types =
            ["book.borrowed", "book.returned", "book.lost", "book.borrowed", "book.returned"];
        for ty in types {
            let mut candidate = candidate_of_type("book:1", ty);
            candidate.data = json!({}).into();
            store.db.add_new_events([candidate.clone(), candidate]).await.unwrap();
        }
        let of = |ty: &'static str| store.db.fetch_events_for_subject_and_type("book:1", ty);
        assert_eq!(revisions(&of("book.borrowed").await.unwrap().events), [1, 2, 7, 8]);
        assert_eq!(
            revisions(&of("book.returned").backwards().await.unwrap().events),
            [10, 9, 4, 3]
        );
        assert_eq!(revisions(&of("book.lost").limit(1).await.unwrap().events), [5]);
        assert_eq!(of("book").await.unwrap().events, []);
    })
    .await;
}

#[tokio::test]
async fn an_id_used_by_several_sources_finds_the_oldest_or_the_chosen() {
    with_store(|store| async move {
        let mut later = event("book:1", "evt-1", 2000, json!({ "n": 2 }));
        later.source = "https://other.example.com".to_owned();
        let earlier = event("book:2", "evt-1", 1000, json!({ "n": 1 }));
        store.db.add_events([later, earlier]).await.unwrap();
        let found = store.db.fetch_event("evt-1").await.unwrap().unwrap();
        assert_eq!((found.source.as_str(), found.data.as_value()), (SOURCE, &json!({ "n": 1 })));
        let chosen = store.db.fetch_event("evt-1").from_source("https://other.example.com");
        assert_eq!(chosen.await.unwrap().unwrap().data, json!({ "n": 2 }));
        let nobody = store.db.fetch_event("evt-1").from_source("https://nobody.example.com");
        assert_eq!(nobody.await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn a_bad_row_stops_nobody() {
    with_store(|store| async move {
        let stored = store.fill("book:1", 2).await;
        let text = |text: &str| AttributeValue::S(text.to_owned());
        // A row right behind the first, or in the next place, indexed like an event but without data
        // that can be read.
        let mut bad = with_revision(&stored[0], 3);
        bad.id = "evt-bad".to_owned();
        let mut row = store.item(&bad);
        if store.layout == TableLayout::ByTime {
            row.insert("time_type".to_owned(), text(&format!("{}_z", bad.time.timestamp_millis())));
            row.remove("revision");
        }
        row.insert("data".to_owned(), text("secret"));
        store.client.put_item().table_name(&store.table).set_item(Some(row)).send().await.unwrap();
        let reason = match store.layout {
            TableLayout::ByRevision => {
                "`data` isn't JSON that can be kept exactly: expected value at line 1 column 1"
            }
            _ => "`data` is text; it must be a map",
        };
        let db = &store.db;
        let reads = [
            db.fetch_events_for_subject("book:1").await.unwrap(),
            db.fetch_events_for_subject_and_type("book:1", "book.borrowed").await.unwrap(),
            db.fetch_all_events().await.unwrap(),
        ];
        for read in reads {
            assert_eq!(read.events, stored);
            let [invalid] = read.invalid.as_slice() else { panic!("{:?}", read.invalid) };
            assert_eq!(invalid.subject(), Some("book:1"));
            assert_eq!(invalid.reason, reason);
            assert!(invalid.item.contains_key("id"), "the row is whole");
            assert!(!format!("{invalid} {invalid:?}").contains("secret"));
        }
        let error = db.fetch_event("evt-bad").await.unwrap_err();
        assert!(matches!(error, Error::InvalidItem(_)), "{error:?}");
        assert!(!format!("{error} {error:?}").contains("secret"));
        // Nor does it stop writers.
        db.add_new_events([candidate("book:1", json!({}))]).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_removed_event_is_reported_as_missing() {
    with_store(|store| async move {
        let stored = store.fill("book:1", 6).await;
        for removed in [&stored[0], &stored[3], &stored[4]] {
            store.remove(removed).await;
        }
        let read = |request: FetchEvents| async move {
            let history = request.await.unwrap();
            let missing: Vec<_> =
                history.missing.iter().map(|missing| missing.revisions.clone()).collect();
            (revisions(&history.events), missing)
        };
        let of_subject = || store.db.fetch_events_for_subject("book:1");
        assert_eq!(read(of_subject()).await, (vec![2, 3, 6], vec![1..=1, 4..=5]));
        assert_eq!(read(of_subject().backwards()).await, (vec![6, 3, 2], vec![4..=5, 1..=1]));
        assert_eq!(read(of_subject().backwards().limit(3)).await, (vec![6, 3, 2], vec![4..=5]));
        let since_second = of_subject().since(stored[1].time);
        // By revision the whole subject is read for it, and nobody knows which time the first had.
        let (missing, backwards) = match store.layout {
            TableLayout::ByRevision => (vec![1..=1, 4..=5], vec![4..=5, 1..=1]),
            _ => (vec![4..=5], vec![4..=5]),
        };
        assert_eq!(read(since_second.clone()).await, (vec![2, 3, 6], missing));
        assert_eq!(read(since_second.backwards()).await, (vec![6, 3, 2], backwards));
        assert_eq!(read(of_subject().limit(2)).await, (vec![2, 3], vec![1..=1]));
    })
    .await;
}

#[tokio::test]
async fn a_read_says_whether_it_stopped_at_its_limit() {
    with_store(|store| async move {
        store.fill("book:1", 3).await;
        for request in [
            store.db.fetch_events_for_subject("book:1"),
            store.db.fetch_events_for_subject_and_type("book:1", "book.borrowed"),
            store.db.fetch_all_events(),
        ] {
            for (limit, reached) in [(0, true), (2, true), (3, true), (4, false)] {
                let history = request.clone().limit(limit).await.unwrap();
                assert_eq!((history.events.len(), history.limit_reached), (limit.min(3), reached));
            }
            assert!(!request.await.unwrap().limit_reached);
        }
    })
    .await;
}

#[tokio::test]
async fn single_events_are_streamed_up_to_the_first_fault() {
    with_store(|store| async move {
        let events = store.fill("book:1", 5).await;
        let read = async |backwards: bool, limit: Option<usize>| {
            let mut request = store.db.fetch_events_for_subject("book:1");
            if backwards {
                request = request.backwards();
            }
            if let Some(limit) = limit {
                request = request.limit(limit);
            }
            let mut stream = request.events();
            let mut read = Vec::new();
            let error = loop {
                match stream.next().await {
                    Some(Ok(event)) => read.push(event.revision.unwrap()),
                    Some(Err(error)) => break Some(error),
                    None => break None,
                }
            };
            assert!(stream.next().await.is_none(), "it ends after an error");
            (read, error.map(|error| error.to_string()))
        };
        assert_eq!(read(false, None).await, (vec![1, 2, 3, 4, 5], None));
        assert_eq!(read(true, Some(2)).await, (vec![5, 4], None));

        store.remove(&events[2]).await;
        for (backwards, before) in [(false, vec![1, 2]), (true, vec![5, 4])] {
            let (revisions, error) = read(backwards, None).await;
            assert_eq!(revisions, before);
            assert!(error.unwrap().contains("`book:1` lacks the revisions 3 to 3"));
        }
        store.remove(&events[0]).await;
        assert_eq!(read(true, Some(2)).await, (vec![5, 4], None));
        let (revisions, error) = read(false, None).await;
        assert!(revisions.is_empty());
        assert!(error.unwrap().contains("the revisions 1 to 1"));

        let mut row = store.item(&events[1]);
        row.insert("data".to_owned(), AttributeValue::N("1".to_owned()));
        store.put_row(row.iter().map(|(name, value)| (name.as_str(), value.clone()))).await;
        let request = store.db.fetch_events_for_subject("book:1").from_revision(2);
        let error = request.events().try_next().await.unwrap_err();
        assert!(matches!(error, Error::InvalidItem(_)), "{error}");
    })
    .await;
}
