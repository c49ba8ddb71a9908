//! Sizes at their edges: the largest that is allowed works, one more is refused before it is sent.

use eventdb::internals::schema::limit;
use eventdb::{CapacityMeter, Error, EventCandidate, Message, Precondition, TimeLimits};
use serde_json::{Value, json};

use crate::support::{
    Store, candidate, candidate_with_id, revisions, with_store, with_store_by_revision,
    with_store_by_time,
};

fn too_large(error: Error) -> (&'static str, usize, usize) {
    match error {
        Error::TooLarge { what, actual, allowed } => (what, actual, allowed),
        other => panic!("{other:?}"),
    }
}

fn faults(error: Error) -> Vec<(String, String)> {
    match error {
        Error::Invalid(faults) => faults
            .as_slice()
            .iter()
            .map(|fault| (fault.attribute.clone(), fault.problem.clone()))
            .collect(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_append_has_at_most_100_actions() {
    with_store_by_time(|store| async move {
        let events = |count: usize| (0..count).map(|_| candidate("book:1", json!({})));
        let error = store.db.add_new_events(events(100)).await.unwrap_err();
        assert_eq!(too_large(error), ("actions", 101, 100));
        let error = store
            .db
            .add_new_events(events(99))
            .only_if(Precondition::subject_is_pristine("user:456"))
            .await
            .unwrap_err();
        assert_eq!(too_large(error), ("actions", 101, 100));
        assert_eq!(store.rows().await, []);
        assert_eq!(store.db.add_new_events(events(99)).await.unwrap().len(), 99);

        let guarded = |count: usize| {
            (0..count).map(|n| candidate_with_id("book:2", &format!("command-{n}"), json!({})))
        };
        let error = store.db.add_new_events(guarded(50)).await.unwrap_err();
        assert_eq!(too_large(error), ("actions", 101, 100));
        assert_eq!(store.db.add_new_events(guarded(49)).await.unwrap().len(), 49);

        let subjects =
            |count: usize| (0..count).map(|n| candidate(&format!("book:{}", n + 3), json!({})));
        let error = store.db.add_new_events(subjects(51)).await.unwrap_err();
        assert_eq!(too_large(error), ("actions", 102, 100));
        let stored = store.db.add_new_events(subjects(50)).await.unwrap();
        assert_eq!(revisions(&stored), [1; 50]);
    })
    .await;
}

#[tokio::test]
async fn an_append_has_at_most_4_megabytes() {
    with_store(|store| async move {
        let large = |bytes: usize| candidate("book:1", json!({ "filling": "x".repeat(bytes) }));
        let append = |last: usize| {
            let sizes = (0..16).map(|_| 261_000).chain([last]);
            store.db.add_new_events(sizes.map(large)).into_future()
        };
        let (what, actual, allowed) = too_large(append(100_000).await.unwrap_err());
        assert_eq!((what, allowed), ("bytes", limit::TRANSACTION_BYTES));
        // What is too much in all, the last event may have less.
        let fits = 100_000 - (actual - allowed);
        assert_eq!(too_large(append(fits + 1).await.unwrap_err()), ("bytes", allowed + 1, allowed));
        assert_eq!(store.rows().await, []);
        assert_eq!(append(fits).await.unwrap().len(), 17);
    })
    .await;
}

#[tokio::test]
async fn an_event_is_at_most_as_large_as_its_message_may_be() {
    with_store(|store| async move {
        let of_size = |bytes: usize| candidate("book:1", json!({ "filling": "x".repeat(bytes) }));
        let small = store.db.add_new_events([of_size(0)]).await.unwrap().remove(0);
        // Its message says the store, which the writer need not know.
        let longest = "s".repeat(limit::STORE_ID_BYTES).parse().unwrap();
        let room = limit::MESSAGE_BYTES - Message::of_store(&small, &longest).size();
        let largest = store.db.add_new_events([of_size(room)]).await.unwrap().remove(0);
        assert_eq!(Message::of_store(&largest, &longest).size(), limit::MESSAGE_BYTES);
        assert_eq!(store.subject("book:1").await[1], largest);
        let found = faults(store.db.add_new_events([of_size(room + 1)]).await.unwrap_err());
        let [(attribute, problem)] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(attribute, "data");
        assert!(problem.contains("262145 bytes") && problem.contains("262144"), "{problem}");
        // Bytes count, not characters.
        let unicode = candidate("book:1", json!({ "filling": "ü".repeat(room / 2 + 1) }));
        assert_eq!(faults(store.db.add_new_events([unicode]).await.unwrap_err()).len(), 1);
    })
    .await;
}

#[tokio::test]
async fn the_message_limit_can_be_raised_to_what_the_topic_takes() {
    with_store(|store| async move {
        let of = |data: String| candidate("book:1", json!({ "filling": data }));
        let raised = store.db.with_message_limit(300_000).unwrap();
        let small = raised.add_new_events([of(String::new())]).await.unwrap().remove(0);
        let longest = "s".repeat(limit::STORE_ID_BYTES).parse().unwrap();
        let room = 300_000 - Message::of_store(&small, &longest).size();
        let large = || of("x".repeat(room));
        let too_large = || of("x".repeat(room + 1));

        // Clones and stores made from this one keep it; the one that it was made from doesn't get it.
        let others = [
            raised.clone(),
            raised.with_time_limits(TimeLimits::default()),
            raised.metered_by(&CapacityMeter::new()),
        ];
        for db in &others {
            let stored = db.add_new_events([large()]).await.unwrap().remove(0);
            assert_eq!(Message::of_store(&stored, &longest).size(), 300_000);
            let found = faults(db.add_new_events([too_large()]).await.unwrap_err());
            let [(attribute, problem)] = found.as_slice() else { panic!("{found:?}") };
            assert_eq!(attribute, "data");
            assert!(problem.contains("300001 bytes") && problem.contains("300000"), "{problem}");
        }
        assert_eq!(faults(store.db.add_new_events([large()]).await.unwrap_err()).len(), 1);

        // Complete events have the same limit.
        let mut complete = raised.add_new_events([large()]).await.unwrap().remove(0);
        complete.revision = None;
        complete.subject = "book:2".to_owned();
        let stored = raised.add_events([complete.clone()]).await.unwrap().remove(0);
        assert_eq!(stored.revision, Some(1));
        complete.subject = "book:3".to_owned();
        assert_eq!(faults(store.db.add_events([complete.clone()]).await.unwrap_err()).len(), 1);
        complete.data = json!({ "filling": "x".repeat(room + 1) }).into();
        assert_eq!(faults(raised.add_events([complete]).await.unwrap_err()).len(), 1);
    })
    .await;
}

#[tokio::test]
async fn with_the_largest_message_limit_the_size_of_an_item_decides() {
    with_store_by_time(|store| async move {
        let largest = store.db.with_message_limit(limit::LARGEST_MESSAGE_BYTES).unwrap();
        let of = |data: String| candidate("book:1", json!({ "filling": data }));
        // 408,000 bytes in the item, twice as many in the message.
        let quotes = of("\"".repeat(408_000));
        let stored = largest.add_new_events([quotes]).await.unwrap().remove(0);
        assert!(Message::new(&stored).size() > 816_000);
        assert_eq!(largest.fetch_events_for_subject("book:1").await.unwrap().events, [stored]);

        let found = faults(largest.add_new_events([of("x".repeat(410_000))]).await.unwrap_err());
        let [(attribute, problem)] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(attribute, "data");
        assert!(problem.contains("too large to store"), "{problem}");
        assert!(problem.contains("409600"), "{problem}");
    })
    .await;
}

#[tokio::test]
async fn a_message_limit_is_one_that_sns_has() {
    with_store(|store| async move {
        for bytes in [limit::MESSAGE_BYTES, limit::LARGEST_MESSAGE_BYTES] {
            store.db.with_message_limit(bytes).unwrap();
        }
        for bytes in [0, limit::MESSAGE_BYTES - 1, limit::LARGEST_MESSAGE_BYTES + 1, usize::MAX] {
            let found = faults(store.db.with_message_limit(bytes).unwrap_err());
            let [(attribute, problem)] = found.as_slice() else { panic!("{found:?}") };
            assert_eq!(attribute, "message limit");
            assert!(problem.contains("from 262144 to 1048576"), "{problem}");
        }
    })
    .await;
}

async fn accepts(store: &Store, candidate: EventCandidate) {
    let stored = store.db.add_new_events([candidate]).await.unwrap().remove(0);
    let read = store.db.fetch_events_for_subject(&stored.subject).await.unwrap().events;
    assert_eq!(read.last(), Some(&stored));
}

async fn refuses(store: &Store, candidate: EventCandidate, attribute: &str) {
    let found = faults(store.db.add_new_events([candidate]).await.unwrap_err());
    assert!(
        found.iter().any(|(fault, _)| fault == attribute),
        "{attribute} is not among {found:?}"
    );
}

#[tokio::test]
async fn keys_are_at_most_as_long_as_dynamodb_takes_them() {
    with_store_by_time(|store| async move {
        let with = |subject: &str, ty: &str| {
            let mut candidate = candidate(subject, json!({}));
            candidate.ty = ty.to_owned();
            candidate
        };
        accepts(&store, with(&"s".repeat(2042), &"t".repeat(1010))).await;
        refuses(&store, with(&"s".repeat(2043), "book.borrowed"), "subject").await;
        refuses(&store, with("book:1", &"t".repeat(1011)), "type").await;
        accepts(&store, with("abc", "def")).await;
        accepts(&store, with("äöü", "📚📚📚")).await;
        refuses(&store, with("ab", "def"), "subject").await;
        refuses(&store, with("abc", "📚📚"), "type").await;

        let of_id = |source: &str, id: &str| {
            let mut candidate = candidate_with_id("book:1", id, json!({}));
            candidate.source = source.to_owned();
            candidate
        };
        // "$id/" and "#" take 5 bytes of the guard's key.
        accepts(&store, of_id("abc", &"i".repeat(2040))).await;
        refuses(&store, of_id("abc", &"i".repeat(2041)), "id").await;
        refuses(&store, of_id("a#c", &"i".repeat(2039)), "id").await;
    })
    .await;
}

/// The subject of every item is the sort key of `AllSubjects`, and DynamoDB refuses a row whose index key
/// is too long. The emulators don't.
#[tokio::test]
async fn items_of_a_table_by_revision_fit_into_the_index_of_subjects() {
    with_store_by_revision(|store| async move {
        // "$snapshot/" takes 10 bytes of the key of the subject's snapshots.
        accepts(&store, candidate(&"s".repeat(1014), json!({}))).await;
        refuses(&store, candidate(&"s".repeat(1015), json!({})), "subject").await;
        refuses(&store, candidate(&"ü".repeat(508), json!({})), "subject").await;

        let of_id = |id: usize| {
            let mut candidate = candidate_with_id("book:1", &"i".repeat(id), json!({}));
            candidate.source = "abc".to_owned();
            candidate
        };
        // "$id/", the source and "#" take 8 bytes.
        accepts(&store, of_id(1016)).await;
        refuses(&store, of_id(1017), "id").await;

        // "$command/", the source and "#" take 13 bytes.
        assert_eq!(store.db.fetch_command("abc", &"c".repeat(1011)).await.unwrap(), None);
        let error = store.db.fetch_command("abc", &"c".repeat(1012)).await.unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error}");
        assert!(error.to_string().contains("has 1025 bytes; it must have at most 1024"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn control_characters_and_noncharacters_are_refused_in_names_but_not_in_data() {
    with_store(|store| async move {
        for character in
            ['\0', '\n', '\u{1F}', '\u{7F}', '\u{9F}', '\u{FFFE}', '\u{FDD0}', '\u{10FFFF}']
        {
            let text = format!("book{character}1");
            refuses(&store, candidate(&text, json!({})), "subject").await;
            let mut of_type = candidate("book:1", json!({}));
            of_type.ty = text.clone();
            refuses(&store, of_type, "type").await;
            refuses(&store, candidate_with_id("book:1", &text, json!({})), "id").await;
            accepts(&store, candidate("book:1", json!({ "text": text }))).await;
        }
    })
    .await;
}

/// An array in an array in an array …, so many of them.
fn nested(levels: usize) -> Value {
    (0..levels).fold(json!("leaf"), |value, _| Value::Array(vec![value]))
}

fn deep(levels: usize) -> Value {
    Value::Object([("deep".to_owned(), nested(levels))].into_iter().collect())
}

#[tokio::test]
async fn data_nests_as_deep_as_dynamodb_stores() {
    with_store(|store| async move {
        // The object itself is one level.
        accepts(&store, candidate("book:1", deep(30))).await;
        let path = format!("data.deep{}", ".0".repeat(30));
        refuses(&store, candidate("book:1", deep(31)), &path).await;
        let path = format!("data.deep{}", ".0".repeat(30));
        refuses(&store, candidate("book:1", deep(1000)), &path).await;
        refuses(&store, candidate("book:1", json!({ "ok": { "": 1 } })), "data.ok").await;
    })
    .await;
}

#[tokio::test]
async fn numbers_are_those_that_dynamodb_holds_exactly() {
    with_store(|store| async move {
        for number in [1e-130, 9.99e125, -9.99e125, 0.1 + 0.2, f64::EPSILON] {
            accepts(&store, candidate("book:1", json!({ "number": number }))).await;
        }
        for number in [1e126, -1e126, 9e-131, f64::MAX, f64::MIN_POSITIVE] {
            refuses(&store, candidate("book:1", json!({ "a": [number] })), "data.a.0").await;
        }
    })
    .await;
}
