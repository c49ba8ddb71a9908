//! A subject that can't be applied is parked, and the others go on.

use eventdb::{
    DynamoDbReadModel, Event, ParkingReadModel, PositionTable, Projection, ProjectionError,
    ReadModel,
};
use serde_json::json;
use tokio::task::JoinSet;

use super::{Memory, body, counted, counts, message, model, positions, view_table};
use crate::support::{Store, candidate, with_store};

/// Five events of a subject, of which one can't be applied.
pub(crate) async fn fill_with_poison(store: &Store, subject: &str, poison: u64) -> Vec<Event> {
    let mut events = Vec::new();
    for number in 1..=5 {
        let number = if number == poison { json!("poison") } else { json!(number) };
        let candidate = candidate(subject, json!({ "number": number }));
        events.extend(store.db.add_new_events([candidate]).await.unwrap());
    }
    events
}

pub(crate) async fn repair(store: &Store, event: &Event) {
    let mut repaired = event.clone();
    repaired.data = json!({ "number": event.revision }).into();
    let row = store.item(&repaired);
    store.put_row(row.iter().map(|(name, value)| (name.as_str(), value.clone()))).await;
}

async fn parks_and_goes_on<M: ParkingReadModel + Clone>(store: &Store, model: M, poison: u64) {
    let subject = format!("book:{poison}");
    let events = fill_with_poison(store, &subject, poison).await;
    let others = store.fill(&format!("book:other-{poison}"), 1).await;
    let projection = Projection::new(model.clone()).reading(store.db.clone());
    let place = usize::try_from(poison - 1).unwrap();
    let batch = |receives: u32| {
        let messages = events[..4].iter().chain(&others);
        messages.map(move |event| (event.id.clone(), body(event, true), receives))
    };
    // The poisoned event and those behind it are to be delivered again.
    let failed = projection.handle_batch_or_park(batch(2), 3).await;
    assert_eq!(failed.len(), 4 - place);
    let failed = projection.handle_batch_or_park(batch(3), 3).await;
    assert_eq!(failed.len(), 4 - place - 1, "those behind it, which nobody has looked at");
    let position = model.position(&subject).await.unwrap();
    let parked = position.parked.clone().unwrap();
    assert_eq!((position.revision, parked.revision), (poison - 1, poison));
    assert!(parked.reason.contains(&format!("revision {poison} of `{subject}`")), "{parked:?}");

    // Everything is acknowledged from now on, the poisoned event, too, and nothing is applied.
    assert!(projection.handle_batch_or_park(batch(1), 3).await.is_empty());
    assert_eq!(projection.handle(&message(&events[4])).await.unwrap(), 0);
    assert_eq!(model.position(&subject).await.unwrap(), position);
    let error = projection.handle(&message(&events[place])).await;
    assert_eq!(error.unwrap(), 0);
    let again = projection.retry(&subject).await.unwrap_err();
    assert!(again.can_be_parked());
    assert_eq!(model.position(&subject).await.unwrap(), position);

    repair(store, &events[place]).await;
    assert_eq!(projection.retry(&subject).await.unwrap(), 5 - (poison - 1));
    // Its message is still what it was, and may be delivered again.
    assert_eq!(projection.handle(&message(&events[place])).await.unwrap(), 0);
    let position = model.position(&subject).await.unwrap();
    assert_eq!((position.revision, position.parked), (5, None));
    assert_eq!(projection.retry(&subject).await.unwrap(), 0);
    let next = store.db.add_new_events([candidate(&subject, json!({ "number": 6 }))]).await;
    assert_eq!(projection.handle(&message(&next.unwrap()[0])).await.unwrap(), 1);
}

#[tokio::test]
async fn a_subject_with_a_poisoned_event_is_parked_and_goes_on_from_the_store() {
    with_store(|store| async move {
        let table = view_table(&store.client).await;
        for poison in [1, 3] {
            let memory = Memory::default();
            parks_and_goes_on(&store, memory.clone(), poison).await;
            assert_eq!(memory.revisions(&format!("book:{poison}")), [1, 2, 3, 4, 5, 6]);
        }
        for poison in [2, 4] {
            let model = model(&store, &table, counts(&table));
            parks_and_goes_on(&store, model, poison).await;
            let counted = counted(&store.client, &table, &format!("book:{poison}")).await;
            assert_eq!(counted, ("6".to_owned(), "21".to_owned()));
        }
    })
    .await;
}

#[tokio::test]
async fn a_dynamodb_view_can_be_parked_before_its_first_event() {
    with_store(|store| async move {
        let table = view_table(&store.client).await;
        let model = model(&store, &table, counts(&table));
        let events = fill_with_poison(&store, "book:1", 1).await;
        let projection = Projection::new(model.clone()).reading(store.db.clone());
        let error = projection.handle(&message(&events[0])).await.unwrap_err();
        projection.park(&message(&events[0]), &error).await.unwrap();
        assert_eq!(projection.handle(&message(&events[4])).await.unwrap(), 0);
        // Without the event: what can't be repaired is passed over.
        store.remove(&events[0]).await;
        assert!(projection.retry("book:1").await.unwrap_err().can_be_parked());
        let projection = projection.passing_over("book:1", 1..=1);
        assert_eq!(projection.retry("book:1").await.unwrap(), 4);
        assert_eq!(model.position("book:1").await.unwrap().parked, None);
        assert_eq!(projection.handle(&message(&events[4])).await.unwrap(), 0);
    })
    .await;
}

#[tokio::test]
async fn parked_subjects_of_one_read_model_are_listed_and_go_on() {
    with_store(|store| async move {
        let table = view_table(&store.client).await;
        let model = model(&store, &table, counts(&table));
        assert_eq!(model.parked_subjects().await.unwrap(), []);
        let other = PositionTable { read_model: "counts/2".to_owned(), ..positions(&table) };
        let other = DynamoDbReadModel::new(store.client.clone(), other, counts(&table));
        let (projection, of_other) =
            (Projection::new(model.clone()), Projection::new(other.clone()));
        let (projection, of_other) =
            (projection.reading(store.db.clone()), of_other.reading(store.db.clone()));
        store.fill("book:good", 3).await;
        let mut parked = Vec::new();
        for (number, poison) in [(1, 3), (2, 1), (3, 2)] {
            let subject = format!("book:{number}");
            let events = fill_with_poison(&store, &subject, poison).await;
            let message = message(&events[4]);
            let error = projection.handle(&message).await.unwrap_err();
            projection.park(&message, &error).await.unwrap();
            let mark = model.position(&subject).await.unwrap().parked.unwrap();
            assert_eq!(mark.revision, poison);
            parked.push((mark.since, subject.clone(), mark));
            if number == 1 {
                of_other.park(&message, &error).await.unwrap();
            }
        }
        parked.sort_by_key(|(since, subject, _)| (*since, subject.clone()));
        let listed = model.parked_subjects().await.unwrap();
        let listed: Vec<_> =
            listed.into_iter().map(|of| (of.parked.since, of.subject, of.parked)).collect();
        assert_eq!(listed, parked);
        assert_eq!(other.parked_subjects().await.unwrap().len(), 1);

        for (_, subject, mark) in parked {
            let place = usize::try_from(mark.revision - 1).unwrap();
            repair(&store, &store.subject(&subject).await[place]).await;
            projection.retry(&subject).await.unwrap();
        }
        assert_eq!(model.parked_subjects().await.unwrap(), []);
        assert_eq!(other.parked_subjects().await.unwrap()[0].subject, "book:1");
    })
    .await;
}

#[tokio::test]
async fn what_is_left_alone_during_a_retry_is_applied_by_it() {
    with_store(|store| async move {
        let events = fill_with_poison(&store, "book:1", 3).await;
        let memory = Memory::default();
        let projection = Projection::new(memory.clone()).reading(store.db.clone());
        let error = projection.handle(&message(&events[4])).await.unwrap_err();
        projection.park(&message(&events[4]), &error).await.unwrap();
        repair(&store, &events[2]).await;
        // Messages are acknowledged while the retry runs.
        let mut running = JoinSet::new();
        for number in 6..=20 {
            let (db, projection) = (store.db.clone(), projection.clone());
            running.spawn(async move {
                let candidate = candidate("book:1", json!({ "number": number }));
                let events = db.add_new_events([candidate]).await.unwrap();
                projection.handle(&message(&events[0])).await.unwrap();
            });
        }
        let retry = projection.clone();
        running.spawn(async move {
            retry.retry("book:1").await.unwrap();
        });
        running.join_all().await;
        assert_eq!(memory.revisions("book:1"), (1..=20).collect::<Vec<_>>());
        assert_eq!(memory.of("book:1").0.parked, None);
    })
    .await;
}

#[tokio::test]
async fn a_subject_is_not_parked_without_a_store() {
    with_store(|store| async move {
        let events = fill_with_poison(&store, "book:1", 1).await;
        let projection = Projection::new(Memory::default());
        let error = projection.handle(&message(&events[0])).await.unwrap_err();
        let error = projection.park(&message(&events[0]), &error).await.unwrap_err();
        assert!(matches!(error, ProjectionError::ParkingWithoutStore { .. }), "{error}");
        // What isn't the event's fault parks nothing.
        let batch = [(events[1].id.clone(), body(&events[1], true), 100)];
        let failed = projection.handle_batch_or_park(batch, 3).await;
        assert!(matches!(failed[0].error, ProjectionError::Gap { .. }));
    })
    .await;
}
