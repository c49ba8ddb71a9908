//! Listing subjects.

use eventdb::{CapacityMeter, Error, EventDb, ListedSubject, Precondition, Subjects, TableLayout};
use futures_util::TryStreamExt;
use serde_json::json;

use crate::support::{Store, candidate, candidate_with_id, with_store};

fn names(listed: &[ListedSubject]) -> Vec<&str> {
    listed.iter().map(|listed| listed.subject.as_str()).collect()
}

/// Subjects that sort in other ways by characters, by UTF-16 or by case.
async fn fill(store: &Store) -> Vec<String> {
    let mut subjects: Vec<String> = (0..40).map(|number| format!("book:{number}")).collect();
    subjects.extend(
        [
            "book",
            "book;",
            "Book:1",
            "book:\u{FF5E}",
            "book:😀",
            "book:\u{10FFFD}",
            "größe",
            "user:1",
        ]
        .map(str::to_owned),
    );
    for subjects in subjects.chunks(12) {
        let candidates = subjects.iter().map(|subject| candidate(subject, json!({})));
        store.db.add_new_events(candidates).await.unwrap();
    }
    store.fill("book:7", 2).await;
    // Neither the guard of an id nor a subject that is only checked is listed, and no snapshot.
    let pristine = Precondition::subject_is_pristine("user:2");
    let guarded = candidate_with_id("user:1", "evt-1", json!({}));
    store.db.add_new_events([guarded]).only_if(pristine).await.unwrap();
    subjects.sort();
    subjects
}

#[tokio::test]
async fn subjects_are_listed_in_order_by_prefix_and_in_pages() {
    with_store(|store| async move {
        assert_eq!(store.db.fetch_subjects().await.unwrap(), Subjects::default());
        let all = fill(&store).await;
        let listed = store.db.fetch_subjects().await.unwrap();
        assert_eq!(names(&listed.subjects), all);
        assert!(listed.subjects.iter().all(|listed| listed.revision.is_none()));
        assert!(!listed.limit_reached);

        let too_long = "x".repeat(3000);
        for prefix in
            ["book:", "book", "book:1", "book:\u{10FFFD}", "😀", "\u{10FFFD}", &too_long, "book:7"]
        {
            let expected: Vec<_> = all.iter().filter(|name| name.starts_with(prefix)).collect();
            let request = || store.db.fetch_subjects().subject_prefix(prefix);
            assert_eq!(names(&request().await.unwrap().subjects), expected, "{prefix}");
            // The same, in pages of a few, each from the text of the cursor before it.
            let mut paged = Vec::new();
            let mut cursor: Option<String> = None;
            loop {
                let request = match &cursor {
                    Some(text) => request().after(text.parse().unwrap()),
                    None => request(),
                };
                let page = request.limit(3).await.unwrap();
                paged.extend(names(&page.subjects).into_iter().map(str::to_owned));
                cursor = page.cursor.map(|cursor| cursor.to_string());
                if !page.limit_reached {
                    break;
                }
            }
            assert_eq!(paged.iter().collect::<Vec<_>>(), expected, "{prefix}");
        }

        let none = store.db.fetch_subjects().limit(0).await.unwrap();
        assert!(none.subjects.is_empty() && none.limit_reached);
        let first = store.db.fetch_subjects().limit(1).await.unwrap().cursor.unwrap();
        for other in [
            store.db.fetch_subjects().subject_prefix("user:").after(first.clone()).await.err(),
            store.db.fetch_all_events().after(first).await.err(),
        ] {
            assert!(matches!(other, Some(Error::Cursor(_))), "{other:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn many_subjects_come_in_pages_and_with_their_revisions_if_asked_for() {
    with_store(|store| async move {
        let mut expected = Vec::new();
        for batch in 0..22 {
            let names: Vec<_> = (0..50).map(|number| format!("s:{batch:02}{number:02}")).collect();
            let candidates = names.iter().map(|name| candidate(name, json!({})));
            store.db.add_new_events(candidates).await.unwrap();
            expected.extend(names);
        }
        let pages: Vec<_> = store.db.fetch_subjects().stream().try_collect().await.unwrap();
        let sizes: Vec<_> = pages.iter().map(|page| page.subjects.len()).collect();
        assert_eq!(sizes, [1000, 100]);
        let all: Vec<_> = pages.iter().flat_map(|page| names(&page.subjects)).collect();
        assert_eq!(all, expected);

        store.fill("s:0007", 4).await;
        let large = candidate("s:0008", json!({ "filling": "x".repeat(20_000) }));
        store.db.add_new_events([large]).await.unwrap();
        let meter = CapacityMeter::new();
        let request = || store.db.metered_by(&meter).fetch_subjects().subject_prefix("s:0");
        request().await.unwrap();
        let names_only = meter.take();
        let some = request().with_revisions().await.unwrap();
        let revisions: Vec<_> = some.subjects.iter().map(|listed| listed.revision).collect();
        let mut expected = vec![Some(1); 500];
        expected[7] = Some(5);
        expected[8] = Some(2);
        assert_eq!(revisions, expected);
        // By time, the head is read, which is small; by revision, the last event.
        let units = meter.take().read_units - names_only.read_units;
        if std::env::var_os("AWS_ENDPOINT_URL_DYNAMODB").is_none() {
            let expected = if store.layout == TableLayout::ByTime { 500.0 } else { 504.0 };
            assert!((units - expected).abs() < 0.01, "{units}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_store_that_is_opened_with_the_other_layout_says_so_when_subjects_are_listed() {
    with_store(|store| async move {
        store.fill("book:1", 1).await;
        let other = match store.layout {
            TableLayout::ByTime => TableLayout::ByRevision,
            _ => TableLayout::ByTime,
        };
        let wrong = EventDb::new(store.client.clone(), &store.table).with_layout(other);
        for prefix in ["", "book:"] {
            let error = wrong.fetch_subjects().subject_prefix(prefix).await.unwrap_err();
            assert!(error_text(&error).contains("with_layout"), "{error:?}");
        }
    })
    .await;
}

fn error_text(error: &Error) -> String {
    std::error::Error::source(error).map(ToString::to_string).unwrap_or_default()
}
