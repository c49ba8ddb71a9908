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
use eventdb::{EventCandidate, EventDb, Precondition, TableLayout};
use serde::de::DeserializeOwned;
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

/// The same as a type.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Borrowed {
    user_id: String,
    due_date: String,
    filling: String,
}

fn borrowed(filling: usize) -> Borrowed {
    Borrowed {
        user_id: "user:456".to_owned(),
        due_date: "2025-02-15".to_owned(),
        filling: "x".repeat(filling),
    }
}

const WITHOUT_INDEXES: &str = "EventdbEventsWithoutIndexes";

fn table(of: &str, layout: TableLayout) -> String {
    format!("{of}Events-{layout}")
}

/// A contestant.
pub enum Contestant {
    /// With the layout of its table and its name.
    Eventdb(EventDb, &'static str),
    Sdk(Client, TableLayout),
    EventStoreAdapter(EventStoreForDynamoDB<BookId, (), Borrowed>),
    DynamoEs(DynamoEventRepository),
}

impl Contestant {
    pub const COUNT: usize = 7;

    /// Creates the tables of all.
    pub async fn create_tables(client: &Client) {
        for layout in [TableLayout::ByTime, TableLayout::ByRevision] {
            create_event_table(client, &table("Eventdb", layout), layout, false).await;
            create_event_table(client, &table("Sdk", layout), layout, false).await;
        }
        create_event_table(client, WITHOUT_INDEXES, TableLayout::ByRevision, true).await;
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
        use TableLayout::ByRevision;
        let tables = DynamoDbTables {
            journal_table_name: "Journal".to_owned(),
            snapshot_table_name: "JournalSnapshots".to_owned(),
            head_table_name: "Head".to_owned(),
            snapshot_history_index_name: "unused".to_owned(),
        };
        let adapter =
            EventStoreForDynamoDB::open(client.clone(), tables, DynamoDbOptions::default()).await;
        let [by_time, by_time_by_hand] = Self::eventdb_and_by_hand(client, TableLayout::ByTime);
        let [by_revision, by_revision_by_hand] = Self::eventdb_and_by_hand(client, ByRevision);
        [
            by_time,
            by_time_by_hand,
            by_revision,
            by_revision_by_hand,
            Self::eventdb(
                client,
                WITHOUT_INDEXES.to_owned(),
                ByRevision,
                "eventdb by revision, without its two indexes",
            ),
            Self::EventStoreAdapter(adapter.unwrap()),
            Self::DynamoEs(DynamoEventRepository::new(client.clone())),
        ]
    }

    /// Those that do the same.
    pub fn eventdb_and_by_hand(client: &Client, layout: TableLayout) -> [Self; 2] {
        let name = match layout {
            TableLayout::ByTime => "eventdb by time",
            _ => "eventdb by revision",
        };
        let eventdb = Self::eventdb(client, table("Eventdb", layout), layout, name);
        [eventdb, Self::Sdk(client.clone(), layout)]
    }

    fn eventdb(client: &Client, table: String, layout: TableLayout, name: &'static str) -> Self {
        Self::Eventdb(EventDb::new(client.clone(), table).with_layout(layout), name)
    }

    pub fn name(&self) -> &'static str {
        match self {
            Self::Eventdb(_, name) => name,
            Self::Sdk(_, TableLayout::ByTime) => "aws-sdk-dynamodb by hand, by time",
            Self::Sdk(..) => "aws-sdk-dynamodb by hand, by revision",
            Self::EventStoreAdapter(_) => "event-store-adapter-rs",
            Self::DynamoEs(_) => "dynamo-es (cqrs-es)",
        }
    }

    /// Loads the subject, as a service does before it decides what to append. This isn't part of the
    /// append that is measured, but it fills the caches, so each contestant does it.
    pub async fn at(&self, subject: &str, revision: u64) -> Precondition {
        let stated = || Precondition::subject_is_at_revision(subject, revision);
        match self {
            Self::Eventdb(db, ..) => {
                let history = db.fetch_events_for_subject(subject).await.unwrap();
                history.known_revision().cloned().map_or_else(stated, Precondition::from)
            }
            _ => {
                self.load(subject).await;
                stated()
            }
        }
    }

    /// Appends so many events of half a KB to a subject that is at the given revision.
    pub async fn append(&self, at: Precondition, revision: u64, count: u64) {
        self.append_filled(at, revision, count, HALF_A_KB).await;
    }

    /// Appends so many events with so many bytes of filling.
    pub async fn append_filled(&self, at: Precondition, revision: u64, count: u64, filling: usize) {
        let subject = &*at.subject.clone();
        match self {
            Self::Eventdb(db, ..) => {
                let candidates = (0..count).map(|_| {
                    EventCandidate::builder()
                        .source(SOURCE)
                        .ty(TYPE)
                        .subject(subject)
                        .data(data(filling))
                        .build()
                });
                db.add_new_events(candidates).only_if(at).await.unwrap();
            }
            Self::Sdk(client, TableLayout::ByTime) => {
                append_by_hand(client, subject, revision, count, filling).await;
            }
            Self::Sdk(client, _) => {
                append_by_hand_by_revision(client, subject, revision, count, filling).await;
            }
            // It has no append of several events.
            Self::EventStoreAdapter(store) => {
                for sequence in revision + 1..=revision + count {
                    let id = BookId(subject.to_owned());
                    let event = EventEnvelope::new(id, sequence, Utc::now(), borrowed(filling));
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

    /// Loads all events of a subject, each with its data as a type; returns how many.
    pub async fn load(&self, subject: &str) -> usize {
        match self {
            Self::Eventdb(db, ..) => {
                let events = db.fetch_events_for_subject(subject).await.unwrap().events;
                let typed = events.into_iter().map(|event| {
                    let data = event.data_as::<Borrowed>().unwrap();
                    (event, data)
                });
                typed.collect::<Vec<_>>().len()
            }
            Self::Sdk(client, TableLayout::ByTime) => {
                load_by_hand::<Row>(client, &table("Sdk", TableLayout::ByTime), subject).await.len()
            }
            Self::Sdk(client, layout) => {
                let rows: Vec<RowByRevision> =
                    load_by_hand(client, &table("Sdk", *layout), subject).await;
                let typed = rows.into_iter().map(|row| {
                    let data: Borrowed = serde_json::from_str(&row.data).unwrap();
                    (row, data)
                });
                typed.collect::<Vec<_>>().len()
            }
            Self::EventStoreAdapter(store) => {
                let id = BookId(subject.to_owned());
                store.get_events_by_id_since_seq_nr(&id, 1).await.unwrap().len()
            }
            Self::DynamoEs(repository) => {
                let events = repository.get_events::<cqrs::Book>(subject).await.unwrap();
                let typed = events.into_iter().map(|event| {
                    let data: Borrowed = serde_json::from_value(event.payload).unwrap();
                    (event.sequence, data)
                });
                typed.collect::<Vec<_>>().len()
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
    data: Borrowed,
}

/// The same in a table by revision.
#[derive(Serialize, Deserialize)]
struct RowByRevision {
    subject: String,
    revision: u64,
    id: String,
    #[serde(rename = "type")]
    ty: String,
    source: String,
    time: i64,
    pk_all: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject_partition: Option<String>,
    data: String,
}

/// The very requests that eventdb sends.
async fn append_by_hand(client: &Client, subject: &str, revision: u64, count: u64, filling: usize) {
    let table = table("Sdk", TableLayout::ByTime);
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
                data: borrowed(filling),
            }
        })
        .collect();
    let last = rows.last().unwrap();
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let number = |number: i64| AttributeValue::N(number.to_string());
    let mut head = Update::builder()
        .table_name(&*table)
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
            .table_name(&*table)
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

/// The very requests that eventdb sends by revision: a Put for one event, a transaction of Puts for
/// several.
async fn append_by_hand_by_revision(
    client: &Client,
    subject: &str,
    revision: u64,
    count: u64,
    filling: usize,
) {
    let table = table("Sdk", TableLayout::ByRevision);
    let partition = eventdb::internals::item::partition_of(subject);
    let first = Utc::now().timestamp_millis();
    let items = (0..count).map(|place| {
        let row = RowByRevision {
            subject: subject.to_owned(),
            revision: revision + place + 1,
            id: uuid::Uuid::now_v7().to_string(),
            ty: TYPE.to_owned(),
            source: SOURCE.to_owned(),
            time: first + i64::try_from(place).unwrap(),
            pk_all: format!("all-{partition:02}"),
            subject_partition: (revision + place == 0).then(|| format!("subjects-{partition:02}")),
            data: serde_json::to_string(&borrowed(filling)).unwrap(),
        };
        serde_dynamo::to_item(row).unwrap()
    });
    let all_old = ReturnValuesOnConditionCheckFailure::AllOld;
    let is_free = "attribute_not_exists(#subject)";
    if count == 1 {
        for item in items {
            client
                .put_item()
                .table_name(&*table)
                .set_item(Some(item))
                .condition_expression(is_free)
                .expression_attribute_names("#subject", "subject")
                .return_values_on_condition_check_failure(all_old.clone())
                .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
                .send()
                .await
                .unwrap();
        }
        return;
    }
    let actions = items.map(|item| {
        let put = Put::builder()
            .table_name(&*table)
            .set_item(Some(item))
            .condition_expression(is_free)
            .expression_attribute_names("#subject", "subject")
            .return_values_on_condition_check_failure(all_old.clone())
            .build()
            .unwrap();
        TransactWriteItem::builder().put(put).build()
    });
    client
        .transact_write_items()
        .set_transact_items(Some(actions.collect()))
        .client_request_token(uuid::Uuid::now_v7().to_string())
        .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
        .send()
        .await
        .unwrap();
}

async fn load_by_hand<R: DeserializeOwned>(client: &Client, table: &str, subject: &str) -> Vec<R> {
    let mut rows = Vec::new();
    let mut start: Option<HashMap<String, AttributeValue>> = None;
    loop {
        let page = client
            .query()
            .table_name(table)
            .key_condition_expression("#subject = :subject")
            .expression_attribute_names("#subject", "subject")
            .expression_attribute_values(":subject", AttributeValue::S(subject.to_owned()))
            .consistent_read(true)
            .limit(4_096)
            .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
            .set_exclusive_start_key(start)
            .send()
            .await
            .unwrap();
        rows.extend(serde_dynamo::from_items::<_, R>(page.items.unwrap_or_default()).unwrap());
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
