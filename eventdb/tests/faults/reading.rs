//! Pages that are changed or incomplete.

use std::sync::atomic::Ordering;

use eventdb::TableLayout;
use serde_json::{Value, json};

use crate::world::{Fault, candidate, on_both_layouts, two, world};

/// By time, because by revision no key lies before a subject's first row.
#[tokio::test]
async fn an_empty_page_with_more_behind_it_does_not_end_a_read() {
    fn without_rows(body: &mut Value) {
        // Ends just before the first row: the next page begins where this one did.
        let key = body["Items"][0].clone();
        body["LastEvaluatedKey"] = json!({ "subject": key["subject"], "time_type": { "S": "0" } });
        body["Items"] = json!([]);
        body["Count"] = json!(0);
    }
    let faults = vec![Fault::Change(without_rows)];
    let world = world(TableLayout::ByTime, "Query", faults, None).await;
    let stored = world.calm.add_new_events(two()).await.unwrap();
    let history = world.db.fetch_events_for_subject("book:1").await.unwrap();
    assert_eq!(history.events, stored);
    assert_eq!(world.sent.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_page_that_was_read_in_the_midst_of_a_transaction_is_read_again() {
    on_both_layouts(async |layout| {
        fn without_the_second(body: &mut Value) {
            body["Items"].as_array_mut().unwrap().remove(1);
            body["Count"] = json!(2);
        }
        let world = world(layout, "Query", vec![Fault::Change(without_the_second)], None).await;
        let stored =
            world.calm.add_new_events([candidate(), candidate(), candidate()]).await.unwrap();
        let history = world.db.fetch_events_for_subject("book:1").await.unwrap();
        assert_eq!(history.events, stored);
        assert_eq!(history.missing, []);
        assert_eq!(world.sent.load(Ordering::Relaxed), 2);
    })
    .await;
}

#[tokio::test]
async fn an_attribute_type_of_the_future_makes_a_row_invalid_and_nothing_else() {
    on_both_layouts(async |layout| {
        fn of_the_future(body: &mut Value) {
            body["Items"][0]["data"] = json!({ "M": { "vector": { "QUBIT": "01" } } });
        }
        let world = world(layout, "Query", vec![Fault::Change(of_the_future)], None).await;
        let stored = world.calm.add_new_events(two()).await.unwrap();
        let history = world.db.fetch_events_for_subject("book:1").await.unwrap();
        assert_eq!(history.events, stored[1..]);
        assert_eq!(history.invalid.len(), 1);
    })
    .await;
}
