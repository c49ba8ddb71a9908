//! The same job done by each contestant: append to a subject whose revision is known, and load it.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeValue, Put, ReturnConsumedCapacity, ReturnValuesOnConditionCheckFailure,
    ScalarAttributeType, TransactWriteItem, Update,
};
use chrono::{DateTime, Utc};
use cqrs_es::persist::{PersistedEventRepository, SerializedEvent};
use dynamo_es::DynamoEventRepository;
use event_store_adapter_rs::{
    AggregateId, DynamoDbOptions, DynamoDbTables, EventEnvelope, EventStoreForDynamoDB,
};
use eventdb::{EventCandidate, EventDb, Precondition};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::engine::{create_event_table, create_table};

const SOURCE: &str = "https://library.example.com";
const TYPE: &str = "book.borrowed";

/// What makes an event half a KB, with its surroundings.
pub const HALF_A_KB: usize = 230;

/// What an event holds: at the least 40 bytes.
pub fn data(filling: usize) -> Value {
    json!({ "userId": "user:456", "dueDate": "2025-02-15", "filling": "x".repeat(filling) })
}

/// A contestant.
pub enum Contestant {
    Eventdb(EventDb),
    Sdk(Client),
    EventStoreAdapter(EventStoreForDynamoDB<BookId, (), Value>),
    DynamoEs(DynamoEventRepository),
}

impl Contestant {
    pub const COUNT: usize = 4;

    /// Creates the tables of all.
    pub async fn create_tables(client: &Client) {
        create_event_table(client, "EventdbEvents").await;
        create_event_table(client, "SdkEvents").await;
        let text = || ScalarAttributeType::S;
        let number = || ScalarAttributeType::N;
        create_table(client, "Journal", &[("aid", text()), ("seq_nr", number())]).await;
        create_table(client, "JournalSnapshots", &[("aid", text()), ("skey", number())]).await;
        create_table(client, "Head", &[("aid", text())]).await;
        let keys = [("AggregateTypeAndId", text()), ("AggregateIdSequence", number())];
        create_table(client, "Events", &keys).await;
        create_table(client, "Snapshots", &keys[..1]).await;
    }

    /// All of them, on the given client.
    pub async fn all(client: &Client) -> [Self; Self::COUNT] {
        let tables = DynamoDbTables {
            journal_table_name: "Journal".to_owned(),
            snapshot_table_name: "JournalSnapshots".to_owned(),
            head_table_name: "Head".to_owned(),
            snapshot_history_index_name: "unused".to_owned(),
        };
        let adapter =
            EventStoreForDynamoDB::open(client.clone(), tables, DynamoDbOptions::default()).await;
        [
            Self::Eventdb(EventDb::new(client.clone(), "EventdbEvents")),
            Self::Sdk(client.clone()),
            Self::EventStoreAdapter(adapter.unwrap()),
            Self::DynamoEs(DynamoEventRepository::new(client.clone())),
        ]
    }

    pub fn name(&self) -> &'static str {
        match self {
            Self::Eventdb(_) => "eventdb",
            Self::Sdk(_) => "aws-sdk-dynamodb by hand",
            Self::EventStoreAdapter(_) => "event-store-adapter-rs",
            Self::DynamoEs(_) => "dynamo-es (cqrs-es)",
        }
    }

    /// Appends so many events of half a KB to a subject that is at the given revision.
    pub async fn append(&self, subject: &str, revision: u64, count: u64) {
        self.append_filled(subject, revision, count, HALF_A_KB).await;
    }

    /// Appends so many events with so many bytes of filling.
    pub async fn append_filled(&self, subject: &str, revision: u64, count: u64, filling: usize) {
        match self {
            Self::Eventdb(db) => {
                let candidates = (0..count).map(|_| {
                    EventCandidate::builder()
                        .source(SOURCE)
                        .ty(TYPE)
                        .subject(subject)
                        .data(data(filling))
                        .build()
                });
                let at = Precondition::subject_is_at_revision(subject, revision);
                db.add_new_events(candidates).only_if(at).await.unwrap();
            }
            Self::Sdk(client) => append_by_hand(client, subject, revision, count, filling).await,
            // It has no append of several events.
            Self::EventStoreAdapter(store) => {
                for sequence in revision + 1..=revision + count {
                    let id = BookId(subject.to_owned());
                    let event = EventEnvelope::new(id, sequence, Utc::now(), data(filling));
                    store.persist_event(event).await.unwrap();
                }
            }
            Self::DynamoEs(repository) => {
                let events: Vec<_> = (revision + 1..=revision + count)
                    .map(|sequence| {
                        SerializedEvent::new(
                            subject.to_owned(),
                            usize::try_from(sequence).unwrap(),
                            "book".to_owned(),
                            TYPE.to_owned(),
                            "1.0".to_owned(),
                            data(filling),
                            json!({}),
                        )
                    })
                    .collect();
                repository.persist::<cqrs::Book>(&events, None).await.unwrap();
            }
        }
    }

    /// Loads all events of a subject; returns how many.
    pub async fn load(&self, subject: &str) -> usize {
        match self {
            Self::Eventdb(db) => db.fetch_events_for_subject(subject).await.unwrap().events.len(),
            Self::Sdk(client) => load_by_hand(client, subject).await.len(),
            Self::EventStoreAdapter(store) => {
                let id = BookId(subject.to_owned());
                store.get_events_by_id_since_seq_nr(&id, 1).await.unwrap().len()
            }
            Self::DynamoEs(repository) => {
                repository.get_events::<cqrs::Book>(subject).await.unwrap().len()
            }
        }
    }
}

/// The id of an aggregate, as event-store-adapter-rs wants it.
#[derive(Debug, Clone)]
pub struct BookId(String);

impl AggregateId for BookId {
    fn type_name(&self) -> String {
        "book".to_owned()
    }

    fn value(&self) -> String {
        self.0.clone()
    }
}

/// An item as one would write it by hand.
#[derive(Serialize, Deserialize)]
pub struct Row {
    pub subject: String,
    time_type: String,
    id: String,
    #[serde(rename = "type")]
    ty: String,
    source: String,
    time: i64,
    pk_all: String,
    revision: u64,
    data: Value,
}

/// The very requests that eventdb sends.
async fn append_by_hand(client: &Client, subject: &str, revision: u64, count: u64, filling: usize) {
    let first = Utc::now().timestamp_millis();
    let rows: Vec<Row> = (0..count)
        .map(|place| {
            let time = first + i64::try_from(place).unwrap();
            Row {
                subject: subject.to_owned(),
                time_type: format!("{time:013}_{TYPE}"),
                id: uuid::Uuid::now_v7().to_string(),
                ty: TYPE.to_owned(),
                source: SOURCE.to_owned(),
                time,
                pk_all: "all".to_owned(),
                revision: revision + place + 1,
                data: data(filling),
            }
        })
        .collect();
    let last = rows.last().unwrap();
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let number = |number: i64| AttributeValue::N(number.to_string());
    let mut head = Update::builder()
        .table_name("SdkEvents")
        .key("subject", text(&format!("$head/{subject}")))
        .key("time_type", text("$head"))
        .update_expression(
            "SET #revision = :revision, #last_time = :last_time, #last_id = :last_id",
        )
        .expression_attribute_names("#revision", "revision")
        .expression_attribute_names("#last_time", "last_time")
        .expression_attribute_names("#last_id", "last_id")
        .expression_attribute_values(":revision", number(i64::try_from(last.revision).unwrap()))
        .expression_attribute_values(":last_time", number(last.time))
        .expression_attribute_values(":last_id", text(&last.id))
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
    head = if revision == 0 {
        head.condition_expression("attribute_not_exists(#revision)")
    } else {
        head.condition_expression("#revision = :base AND #last_time < :first_time")
            .expression_attribute_values(":base", number(i64::try_from(revision).unwrap()))
            .expression_attribute_values(":first_time", number(first))
    };
    let mut actions = vec![TransactWriteItem::builder().update(head.build().unwrap()).build()];
    for row in &rows {
        let put = Put::builder()
            .table_name("SdkEvents")
            .set_item(Some(serde_dynamo::to_item(row).unwrap()))
            .condition_expression("attribute_not_exists(#subject)")
            .expression_attribute_names("#subject", "subject")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .unwrap();
        actions.push(TransactWriteItem::builder().put(put).build());
    }
    client
        .transact_write_items()
        .set_transact_items(Some(actions))
        .client_request_token(uuid::Uuid::now_v7().to_string())
        .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
        .send()
        .await
        .unwrap();
}

async fn load_by_hand(client: &Client, subject: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut start: Option<HashMap<String, AttributeValue>> = None;
    loop {
        let page = client
            .query()
            .table_name("SdkEvents")
            .key_condition_expression("#subject = :subject")
            .expression_attribute_names("#subject", "subject")
            .expression_attribute_values(":subject", AttributeValue::S(subject.to_owned()))
            .consistent_read(true)
            .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
            .set_exclusive_start_key(start)
            .send()
            .await
            .unwrap();
        rows.extend(serde_dynamo::from_items::<_, Row>(page.items.unwrap_or_default()).unwrap());
        start = page.last_evaluated_key;
        if start.is_none() {
            return rows;
        }
    }
}

/// The time at which a row was stored.
pub fn time(row: &Row) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(row.time).unwrap()
}

/// What cqrs-es wants to know of an aggregate, though only its name matters here.
mod cqrs {
    use cqrs_es::event_sink::EventSink;
    use serde::{Deserialize, Serialize};

    #[derive(Debug, Default, Serialize, Deserialize)]
    pub struct Book;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    pub struct Borrowed;

    impl cqrs_es::DomainEvent for Borrowed {
        fn event_type(&self) -> String {
            "book.borrowed".to_owned()
        }

        fn event_version(&self) -> String {
            "1.0".to_owned()
        }
    }

    impl cqrs_es::Aggregate for Book {
        const TYPE: &'static str = "book";
        type Command = ();
        type Event = Borrowed;
        type Error = std::convert::Infallible;
        type Services = ();

        async fn handle(
            &mut self,
            (): (),
            (): &(),
            _: &EventSink<Self>,
        ) -> Result<(), Self::Error> {
            Ok(())
        }

        fn apply(&mut self, _: Borrowed) {}
    }
}
