//! `lag`: read models in DynamoDB that are behind.

use eventdb::aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType,
    ScalarAttributeType,
};
use eventdb::{EmbeddedDynamoDb, TableLayout};
use serde_json::Value;

use crate::store::Store;

/// A table for views, with the position of a read model at a revision of `book:1`, whose event has this
/// time.
pub(crate) fn read_model_at(store: &Store, revision: &str, milliseconds: i64) {
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    runtime.block_on(async {
        let database = EmbeddedDynamoDb::file(&store.file).await.expect("database");
        let client = database.client();
        let key = AttributeDefinition::builder()
            .attribute_name("id")
            .attribute_type(ScalarAttributeType::S)
            .build()
            .expect("a key");
        let hash = KeySchemaElement::builder().attribute_name("id").key_type(KeyType::Hash).build();
        client
            .create_table()
            .table_name("Views")
            .attribute_definitions(key)
            .key_schema(hash.expect("a key"))
            .billing_mode(BillingMode::PayPerRequest)
            .send()
            .await
            .expect("created");
        let text = |value: &str| AttributeValue::S(value.to_owned());
        let put = client.put_item().table_name("Views");
        put.item("id", text("$position/loans%2F2/book:1"))
            .item("revision", AttributeValue::N(revision.to_owned()))
            .item("time", AttributeValue::N(milliseconds.to_string()))
            .send()
            .await
            .expect("stored");
        database.stop().await;
    });
}

#[test]
fn a_read_model_that_is_behind_is_found() {
    for layout in [TableLayout::ByTime, TableLayout::ByRevision] {
        let store = Store::new("lag", layout);
        for _ in 0..3 {
            store.append("book:1", "{}");
        }
        store.append("book:2", "{}");
        let build = ["feed", "build", "--unpublished", "--second-look-after", "1ms", "--yes"];
        assert_eq!(store.run(&build).status, 0);
        read_model_at(&store, "2", 1_738_074_600_000);

        let lag = ["lag", "--positions", "Views"];
        let lines = store.json(&lag);
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["readModel"], "loans/2");
        assert_eq!((&lines[0]["events"], &lines[0]["subjects"]), (&2.into(), &2.into()));
        let ran = store.run(&lag);
        assert_eq!(ran.status, 1, "{}", ran.stderr);
        assert!(ran.stdout.starts_with("loans/2: 2 events of 2 subjects"), "{}", ran.stdout);
        for within in [["--limit", "2"], ["--age-limit", "1h"], ["--subject-prefix", "user:"]] {
            assert_eq!(store.run(&[&lag[..], &within].concat()).status, 0, "{within:?}");
        }

        let ran = store.run(&[&lag[..], &["--metric", "--read-model", "other"]].concat());
        assert_eq!(ran.status, 1);
        let metric: Value = serde_json::from_str(&ran.stdout).expect("JSON");
        assert_eq!((&metric["ReadModel"], &metric["LagEvents"]), (&"other".into(), &4.into()));
        let names = &metric["_aws"]["CloudWatchMetrics"][0]["Metrics"];
        assert_eq!(names[0]["Name"], "LagEvents");
        assert_eq!(names[1]["Unit"], "Seconds");
    }
}
