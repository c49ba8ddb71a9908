//! A writer waits until a view shows its event.

use std::time::Duration;

use eventdb::{Projection, ProjectionError, WaitError};
use serde_json::json;

use super::parking::fill_with_poison;
use super::{Memory, counts, message, model, view_table};
use crate::support::{candidate, with_store};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(500);

#[tokio::test]
async fn a_writer_waits_until_the_view_shows_its_event() {
    with_store(|store| async move {
        let table = view_table(&store.client).await;
        let view = model(&store, &table, counts(&table));
        let events = store.fill("book:1", 3).await;
        // Another process keeps the view up to date; the writer only knows its positions.
        let writer = Projection::new(view.clone());
        assert_eq!(writer.wait_for("book:1", 0, Duration::MAX).await.unwrap().revision, 0);
        let error = writer.wait_for("book:1", 3, SHORT).await.unwrap_err();
        let WaitError::TimedOut { ref subject, revision: 3, position: Some(0), within: SHORT } =
            error
        else {
            panic!("{error}")
        };
        assert_eq!(subject, "book:1");
        assert_eq!(
            error.to_string(),
            "after 500 ms the read model hasn't reached revision 3 of `book:1` yet; it is at \
             revision 0"
        );

        let (consumer, last) = (Projection::new(view).reading(store.db.clone()), &events[2]);
        let (position, applied) = tokio::join!(writer.wait_for("book:1", 3, LONG), async {
            // The writer has looked at least once, and found nothing.
            writer.wait_for("book:1", 1, SHORT).await.unwrap_err();
            consumer.handle(&message(last)).await.unwrap()
        });
        assert_eq!((position.unwrap().revision, applied), (3, 3));
        // What is further is shown, too.
        assert_eq!(writer.wait_for("book:1", 2, LONG).await.unwrap().revision, 3);
        writer.wait_for("book:1", 4, SHORT).await.unwrap_err();
        let passing = writer.passing_over("book:1", 4..=4);
        assert_eq!(passing.wait_for("book:1", 4, LONG).await.unwrap().revision, 3);
    })
    .await;
}

#[tokio::test]
async fn a_writer_waits_for_the_last_event_of_a_type_that_the_view_takes() {
    with_store(|store| async move {
        let mut events = Vec::new();
        for ty in ["taken", "other", "taken", "other", "other"] {
            let mut candidate = candidate("book:1", json!({ "number": 1 }));
            ty.clone_into(&mut candidate.ty);
            events.extend(store.db.add_new_events([candidate]).await.unwrap());
        }
        let memory = Memory::default();
        let projection =
            Projection::new(memory.clone()).reading(store.db.clone()).delivering_types(["taken"]);
        let at = async |revision| {
            let position = projection.wait_for("book:1", revision, LONG).await;
            position.unwrap().revision
        };
        let not_at = async |revision| {
            projection.wait_for("book:1", revision, SHORT).await.unwrap_err();
        };
        not_at(1).await;
        projection.handle(&message(&events[0])).await.unwrap();
        assert_eq!(at(2).await, 1, "the second isn't for this view");
        not_at(3).await;
        not_at(5).await;
        projection.handle(&message(&events[2])).await.unwrap();
        assert_eq!(at(5).await, 3);
        // Of an event that isn't stored, nobody knows whether the view takes it.
        not_at(6).await;
        let mut next = candidate("book:1", json!({ "number": 1 }));
        "other".clone_into(&mut next.ty);
        let (position, _) = tokio::join!(projection.wait_for("book:1", 6, LONG), async {
            not_at(6).await;
            store.db.add_new_events([next]).await.unwrap()
        });
        assert_eq!(position.unwrap().revision, 3);

        let without = Projection::new(memory).delivering_types(["taken"]);
        let error = without.wait_for("book:1", 5, SHORT).await.unwrap_err();
        let WaitError::Projection(ProjectionError::FilterWithoutStore { .. }) = error else {
            panic!("{error}")
        };
    })
    .await;
}

#[tokio::test]
async fn nobody_waits_for_a_parked_subject() {
    with_store(|store| async move {
        let events = fill_with_poison(&store, "book:1", 3).await;
        let memory = Memory::default();
        let projection = Projection::new(memory.clone()).reading(store.db.clone());
        let error = projection.handle(&message(&events[4])).await.unwrap_err();
        let (waited, ()) = tokio::join!(projection.wait_for("book:1", 4, LONG), async {
            projection.wait_for("book:1", 3, SHORT).await.unwrap_err();
            projection.park(&message(&events[4]), &error).await.unwrap();
        });
        let error = waited.unwrap_err();
        let WaitError::Parked { ref subject, revision: 4, ref parked } = error else {
            panic!("{error}")
        };
        assert_eq!((&**subject, parked.revision), ("book:1", 3));
        assert!(error.to_string().contains("parked at revision 3 since "), "{error}");
        // What was applied before is shown.
        assert_eq!(projection.wait_for("book:1", 2, LONG).await.unwrap().revision, 2);
    })
    .await;
}
