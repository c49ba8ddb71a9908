//! Tables by time from before the index of subjects, and how their subjects enter it.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, GlobalSecondaryIndex, KeySchemaElement,
    KeyType, LocalSecondaryIndex, Projection, ProjectionType, ScalarAttributeType,
};
use eventdb::{Error, EventDb, Examination, Problem};
use serde_json::json;

use crate::support::{Store, candidate, with_store_by_time};

const FIRST: i64 = 1_738_074_600_000;

fn text(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

async fn subjects(db: &EventDb) -> Vec<String> {
    let listed = db.fetch_subjects().await.unwrap();
    listed.subjects.into_iter().map(|listed| listed.subject).collect()
}

impl Store {
    /// Puts an event as the original library does.
    async fn put_event_of_before(&self, subject: &str, time: i64) {
        self.put_row([
            ("subject", text(subject)),
            ("time_type", text(format!("{time}_book.borrowed"))),
            ("id", text(format!("{subject}-{time}"))),
            ("type", text("book.borrowed")),
            ("source", text("https://library.example.com")),
            ("time", AttributeValue::N(time.to_string())),
            ("pk_all", text("all")),
            ("data", AttributeValue::M(HashMap::new())),
        ])
        .await;
    }

    fn head_key(subject: &str) -> HashMap<String, AttributeValue> {
        HashMap::from([
            ("subject".to_owned(), text(format!("$head/{subject}"))),
            ("time_type".to_owned(), text("$head")),
        ])
    }

    async fn head(&self, subject: &str) -> Option<HashMap<String, AttributeValue>> {
        let get = self.client.get_item().table_name(&self.table).consistent_read(true);
        get.set_key(Some(Self::head_key(subject))).send().await.unwrap().item
    }

    /// Leaves a head as an earlier version writes it.
    async fn take_out_of_index(&self, subject: &str) {
        let update = self.client.update_item().table_name(&self.table);
        update
            .set_key(Some(Self::head_key(subject)))
            .update_expression("REMOVE subject_partition, listed_subject")
            .send()
            .await
            .unwrap();
    }
}

/// How many subjects the examination has entered into the index, and how many it has left out.
fn unlisted(found: &Examination) -> (u64, u64) {
    let of = |is_repaired: bool| {
        let found = found.findings.iter().filter(|finding| finding.is_repaired == is_repaired);
        let count = |problem: &Problem| match problem {
            Problem::UnlistedSubjects { subjects, .. } => Some(*subjects),
            _ => None,
        };
        found.filter_map(|finding| count(&finding.problem)).sum()
    };
    (of(true), of(false))
}

#[tokio::test]
async fn a_subject_from_before_the_index_enters_it_with_its_next_event() {
    with_store_by_time(|store| async move {
        for subject in ["book:1", "book:2"] {
            store.fill(subject, 2).await;
            store.take_out_of_index(subject).await;
        }
        store.put_event_of_before("book:legacy", FIRST).await;
        assert_eq!(subjects(&store.db).await, [""; 0]);
        store.fill("book:2", 1).await;
        store.fill("book:legacy", 1).await;
        assert_eq!(subjects(&store.db).await, ["book:2", "book:legacy"]);
    })
    .await;
}

#[tokio::test]
async fn a_repair_enters_subjects_from_before_the_index_and_changes_nothing_else() {
    with_store_by_time(|store| async move {
        let examine = || store.db.examine().without_settings();
        for number in 0..30 {
            let subject = format!("book:{number:02}");
            store.fill(&subject, 2).await;
            store.take_out_of_index(&subject).await;
        }
        store.fill("book:listed", 1).await;
        for number in 0..30 {
            store.put_event_of_before(&format!("legacy:{number:02}"), FIRST).await;
            store.put_event_of_before(&format!("legacy:{number:02}"), FIRST + 1).await;
        }
        let before = store.rows().await;
        let found = examine().await.unwrap();
        assert_eq!(unlisted(&found), (0, 60), "{:?}", found.findings);
        assert!(!found.is_clean());
        assert_eq!(store.rows().await.len(), before.len(), "an examination writes nothing");

        let found = examine().repair().await.unwrap();
        assert_eq!(unlisted(&found), (60, 0), "{:?}", found.findings);
        assert!(found.is_clean());
        let mut expected: Vec<_> = (0..30).map(|number| format!("book:{number:02}")).collect();
        expected.push("book:listed".to_owned());
        expected.extend((0..30).map(|number| format!("legacy:{number:02}")));
        assert_eq!(subjects(&store.db).await, expected);
        for row in before {
            let key = store.key(&row);
            let get = store.client.get_item().table_name(&store.table).consistent_read(true);
            let mut after = get.set_key(Some(key)).send().await.unwrap().item.unwrap();
            if !row.contains_key("listed_subject") {
                after.retain(|name, _| !["listed_subject", "subject_partition"].contains(&&**name));
            }
            assert_eq!(after, row);
        }
        let found = examine().repair().await.unwrap();
        assert_eq!((unlisted(&found), found.repaired), ((0, 0), 0), "a repetition finds nothing");
        let next = store.db.add_new_events([candidate("legacy:07", json!({}))]).await.unwrap();
        assert_eq!(next[0].revision, Some(3));
    })
    .await;
}

#[tokio::test]
async fn a_repair_leaves_out_subjects_whose_rows_cannot_be_counted() {
    with_store_by_time(|store| async move {
        // Its first row doesn't sort by its time.
        store.put_event_of_before("legacy:old", 999_999_999_999).await;
        store.put_event_of_before("legacy:foreign", FIRST).await;
        for subject in ["legacy:foreign", "only:foreign"] {
            let key = text(format!("{}_other", FIRST + 1));
            store.put_row([("subject", text(subject)), ("time_type", key)]).await;
        }
        store.put_event_of_before("legacy:1", FIRST).await;
        let found = store.db.examine().without_settings().repair().await.unwrap();
        assert_eq!(unlisted(&found), (1, 2), "{:?}", found.findings);
        assert_eq!(subjects(&store.db).await, ["legacy:1"]);
        for left in ["legacy:old", "legacy:foreign"] {
            assert_eq!(store.head(left).await, None, "{left}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_head_that_is_missing_behind_events_with_revisions_is_another_finding() {
    with_store_by_time(|store| async move {
        store.fill("book:1", 1).await;
        let removal = store.client.delete_item().table_name(&store.table);
        removal.set_key(Some(Store::head_key("book:1"))).send().await.unwrap();
        let found = store.db.examine().without_settings().await.unwrap();
        assert_eq!((unlisted(&found), found.findings.len()), ((0, 0), 1), "{:?}", found.findings);
        let found = store.db.examine().without_settings().repair().await.unwrap();
        assert!(found.is_clean(), "{:?}", found.findings);
        assert_eq!(subjects(&store.db).await, ["book:1"]);
    })
    .await;
}

/// DynamoDB refuses items whose value is too long for the key of an index; the emulators don't.
#[tokio::test]
async fn a_subject_that_is_too_long_for_the_index_can_be_used_and_is_not_listed() {
    with_store_by_time(|store| async move {
        let (longest, too_long) = ("s".repeat(1024), "t".repeat(1025));
        for subject in [&longest, &too_long] {
            store.fill(subject, 2).await;
        }
        assert_eq!(subjects(&store.db).await, [longest]);
        let head = store.head(&too_long).await.unwrap();
        for indexed in ["subject_partition", "listed_subject"] {
            assert!(!head.contains_key(indexed), "{indexed}");
        }
        let found = store.db.examine().without_settings().repair().await.unwrap();
        assert!(found.is_clean(), "{:?}", found.findings);
    })
    .await;
}

#[tokio::test]
async fn a_table_from_before_the_index_works_and_says_how_to_add_it() {
    with_store_by_time(|store| async move {
        let table = format!("{}-before", store.table);
        create_table_of_before(&store.client, &table).await;
        // What starts with its table doesn't fail on an old one.
        EventDb::create_table(&store.client, &table).await.unwrap();
        let db = EventDb::new(store.client.clone(), &table);
        db.add_new_events([candidate("book:1", json!({}))]).await.unwrap();
        assert_eq!(db.fetch_all_events().await.unwrap().events.len(), 1);

        let refused = db.fetch_subjects().with_revisions().await;
        let found = db.examine().repair().await;
        if std::env::var_os("AWS_ENDPOINT_URL_DYNAMODB").is_some() {
            store.client.delete_table().table_name(&table).send().await.unwrap();
        }
        let Err(error @ Error::Refused { .. }) = refused else { panic!("{refused:?}") };
        let text = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        for part in ["`AllSubjects`", "docs/operating.md", "`eventdb doctor --write`"] {
            assert!(text.contains(part), "{text}");
        }
        let found = found.unwrap();
        assert_eq!(unlisted(&found), (0, 0), "there is nothing to enter them into");
        let is_missing = |problem: &Problem| {
            matches!(problem, Problem::Setting { text, .. } if text.contains("`AllSubjects` is missing"))
        };
        assert!(found.findings.iter().any(|finding| is_missing(&finding.problem)));
    })
    .await;
}

/// A table as earlier versions make it.
async fn create_table_of_before(client: &aws_sdk_dynamodb::Client, table: &str) {
    let attribute = |name: &str, ty: ScalarAttributeType| {
        AttributeDefinition::builder().attribute_name(name).attribute_type(ty).build().unwrap()
    };
    let keys = |names: &[&str]| -> Vec<KeySchemaElement> {
        let types = [KeyType::Hash, KeyType::Range];
        let key = |(name, ty): (&&str, KeyType)| {
            KeySchemaElement::builder().attribute_name(*name).key_type(ty).build().unwrap()
        };
        names.iter().zip(types).map(key).collect()
    };
    let projection = |ty: ProjectionType| Projection::builder().projection_type(ty).build();
    let global = |name: &str, names: &[&str], ty: ProjectionType| {
        let index = GlobalSecondaryIndex::builder().index_name(name);
        index.set_key_schema(Some(keys(names))).projection(projection(ty)).build().unwrap()
    };
    let local = LocalSecondaryIndex::builder()
        .index_name("SubjectEventsByType")
        .set_key_schema(Some(keys(&["subject", "type"])))
        .projection(projection(ProjectionType::KeysOnly))
        .build()
        .unwrap();
    let texts = ["subject", "time_type", "id", "type", "pk_all"];
    let mut attributes: Vec<_> =
        texts.into_iter().map(|name| attribute(name, ScalarAttributeType::S)).collect();
    attributes.push(attribute("time", ScalarAttributeType::N));
    client
        .create_table()
        .table_name(table)
        .billing_mode(BillingMode::PayPerRequest)
        .set_attribute_definitions(Some(attributes))
        .set_key_schema(Some(keys(&["subject", "time_type"])))
        .global_secondary_indexes(global(
            "AllEventsByTime",
            &["pk_all", "time"],
            ProjectionType::All,
        ))
        .global_secondary_indexes(global("AllEventsById", &["id"], ProjectionType::KeysOnly))
        .local_secondary_indexes(local)
        .send()
        .await
        .unwrap();
}
