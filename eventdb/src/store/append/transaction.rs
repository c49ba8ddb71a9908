//! The transaction of an append. Building it sends nothing.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::types::{
    AttributeValue, ConditionCheck, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem,
    Update,
};
use uuid::Uuid;

use crate::codec::item;
use crate::event::Event;
use crate::schema::{self, attribute, limit};
use crate::store::error::Error;
use crate::store::head::{self, SdkItem};
use crate::store::precondition::{ExpectedState, Precondition};
use crate::store::read::query::{number, string};

/// So many events always fit in a transaction, even if all have [`limit::ITEM_BYTES`].
const EVENTS_THAT_ALWAYS_FIT: usize = limit::TRANSACTION_BYTES / limit::ITEM_BYTES - 1;

/// What a caller wants to append. The ids are fixed. The times and revisions depend on the
/// [`Base`]s.
#[derive(Debug, Clone, Default)]
pub(crate) struct Append {
    pub(crate) events: Vec<Event>,
    /// Whether the caller has set the times. Otherwise, the store does.
    pub(crate) times_are_given: bool,
    /// Whether id guards are written, by which a repetition is recognised.
    pub(crate) ids_are_guarded: bool,
    pub(crate) preconditions: Vec<Precondition>,
}

/// Where the history of a written subject is assumed to end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Base {
    pub(crate) revision: u64,
    /// In milliseconds. `None` if it isn't known; then the condition checks it.
    pub(crate) last_time: Option<i64>,
}

/// One action of a transaction, in the store's terms.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Moves the head of a written subject.
    MoveHead {
        subject: String,
        base: u64,
        first_time: i64,
        revision: u64,
        last_time: i64,
        last_id: String,
        expected: Vec<ExpectedState>,
    },
    /// Stores an event, if no row has its key.
    PutEvent { index: usize },
    /// Stores the guard of an event's id, if it isn't guarded yet.
    GuardId { index: usize },
    /// Checks a subject that isn't written.
    Check { subject: String, expected: Vec<ExpectedState> },
}

/// An append on certain bases, ready to be sent any number of times.
#[derive(Debug, Clone)]
pub(crate) struct Transaction {
    /// The append, with its events as they will be stored.
    pub(crate) append: Append,
    pub(crate) actions: Vec<Action>,
}

impl Append {
    /// The written subjects, each once.
    pub(crate) fn subjects(&self) -> BTreeMap<&str, Vec<&ExpectedState>> {
        let mut subjects = BTreeMap::new();
        for event in &self.events {
            subjects.entry(event.subject.as_str()).or_insert_with(|| {
                let preconditions = self.preconditions.iter();
                preconditions
                    .filter(|precondition| precondition.subject == event.subject)
                    .map(|precondition| &precondition.expected)
                    .collect()
            });
        }
        subjects
    }

    /// The subjects that are only checked, each once.
    pub(crate) fn checked_subjects(&self) -> BTreeMap<&str, Vec<&ExpectedState>> {
        let written = self.subjects();
        let mut checked = BTreeMap::<_, Vec<_>>::new();
        for precondition in &self.preconditions {
            if !written.contains_key(precondition.subject.as_str()) {
                checked
                    .entry(precondition.subject.as_str())
                    .or_default()
                    .push(&precondition.expected);
            }
        }
        checked
    }

    /// Refuses an append that doesn't fit in a transaction, before anything is sent.
    ///
    /// Revisions aren't known yet, so each counts with its maximum size.
    pub(crate) fn check_size(&self) -> Result<(), Error> {
        let heads = self.subjects();
        let checks = self.checked_subjects();
        let guards = if self.ids_are_guarded { self.events.len() } else { 0 };
        let actions = heads.len() + checks.len() + self.events.len() + guards;
        if actions > limit::TRANSACTION_ACTIONS {
            return Err(Error::TooLarge {
                what: "actions",
                actual: actions,
                allowed: limit::TRANSACTION_ACTIONS,
            });
        }
        // The size of each event has been checked, so these fit together with heads and guards.
        if self.events.len() <= EVENTS_THAT_ALWAYS_FIT {
            return Ok(());
        }
        let key_of_head = |subject: &str| size(&head::key(subject));
        let head = |subject: &str| {
            let last = self.events.iter().rev().find(|event| event.subject == subject);
            // Its two numbers have at most 20 and 13 digits.
            let numbers = 11 + 8 + attribute::REVISION.len() + attribute::LAST_TIME.len();
            let last_id = attribute::LAST_ID.len() + last.map_or(0, |event| event.id.len());
            key_of_head(subject) + numbers + last_id
        };
        let mut bytes = self.events.iter().map(item::largest_size).sum::<usize>()
            + heads.keys().map(|subject| head(subject)).sum::<usize>()
            + checks.keys().map(|subject| key_of_head(subject)).sum::<usize>();
        if self.ids_are_guarded {
            bytes += self.events.iter().map(|event| size(&guard_item(event))).sum::<usize>();
        }
        if bytes > limit::TRANSACTION_BYTES {
            return Err(Error::TooLarge {
                what: "bytes",
                actual: bytes,
                allowed: limit::TRANSACTION_BYTES,
            });
        }
        Ok(())
    }

    /// The transaction on the given bases. A subject without a base counts as pristine.
    ///
    /// # Errors
    /// [`Error::NoLaterTime`] if no time is left after a subject's last event.
    pub(crate) fn on(
        mut self,
        bases: &BTreeMap<String, Base>,
        now: i64,
    ) -> Result<Transaction, Error> {
        let mut actions = Vec::with_capacity(1 + self.events.len());
        let owned = |subjects: BTreeMap<&str, Vec<&ExpectedState>>| -> Vec<_> {
            subjects
                .into_iter()
                .map(|(subject, expected)| {
                    (subject.to_owned(), expected.into_iter().cloned().collect())
                })
                .collect()
        };
        for (subject, expected) in owned(self.subjects()) {
            let base = bases.get(&subject).copied().unwrap_or_default();
            let mut revision = base.revision;
            let mut time = base.last_time.map_or(now, |last| now.max(last.saturating_add(1)));
            let mut first_time = None;
            let mut last = (time, "");
            for (index, event) in self.events.iter_mut().enumerate() {
                if event.subject != subject {
                    continue;
                }
                if !self.times_are_given && time > limit::TIME_MILLISECONDS {
                    return Err(Error::NoLaterTime {
                        index,
                        subject,
                        last_time: head::time(base.last_time.unwrap_or(now)),
                    });
                }
                // A caller may state any revision, even the largest. The condition then fails.
                revision = revision.saturating_add(1);
                event.revision = Some(revision);
                if self.times_are_given {
                    time = event.time.timestamp_millis();
                } else {
                    event.time = head::time(time);
                }
                first_time.get_or_insert(time);
                last = (time, &event.id);
                if !self.times_are_given {
                    time = time.saturating_add(1);
                }
            }
            let (last_time, last_id) = (last.0, last.1.to_owned());
            actions.push(Action::MoveHead {
                subject,
                base: base.revision,
                first_time: first_time.unwrap_or(time),
                revision,
                last_time,
                last_id,
                expected,
            });
        }
        actions.extend((0..self.events.len()).map(|index| Action::PutEvent { index }));
        if self.ids_are_guarded {
            actions.extend((0..self.events.len()).map(|index| Action::GuardId { index }));
        }
        let checks = owned(self.checked_subjects()).into_iter();
        actions.extend(checks.map(|(subject, expected)| Action::Check { subject, expected }));
        Ok(Transaction { append: self, actions })
    }
}

impl Transaction {
    /// A token that is equal only for equal transactions, so that DynamoDB recognises a repetition
    /// for ten minutes.
    /// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html#DDB-TransactWriteItems-request-ClientRequestToken>
    ///
    /// A token counts for a whole account, so the table is part of it: a copy of a store gets the
    /// same events, and must not be taken for a repetition.
    pub(crate) fn token(&self, table: &str) -> String {
        /// Any constant.
        const NAMESPACE: Uuid = Uuid::from_u128(0x6b1f_3a52_0e0b_4b5c_9f65_21b8_5a3c_7d10);
        let mut text = format!("{table:?} {:?}", self.actions);
        for event in &self.append.events {
            text.push_str(&serde_json::to_string(event).unwrap_or_default());
        }
        Uuid::new_v5(&NAMESPACE, text.as_bytes()).to_string()
    }

    /// The actions in the form of the AWS client.
    pub(crate) fn to_sdk(
        &self,
        table: &str,
    ) -> Result<Vec<TransactWriteItem>, aws_sdk_dynamodb::error::BuildError> {
        self.actions.iter().map(|action| self.action_to_sdk(action, table)).collect()
    }

    fn action_to_sdk(
        &self,
        action: &Action,
        table: &str,
    ) -> Result<TransactWriteItem, aws_sdk_dynamodb::error::BuildError> {
        let write = TransactWriteItem::builder();
        let put = |item: SdkItem| {
            Put::builder()
                .table_name(table)
                .set_item(Some(item))
                .condition_expression("attribute_not_exists(#subject)")
                .expression_attribute_names("#subject", attribute::SUBJECT)
                .return_values_on_condition_check_failure(
                    ReturnValuesOnConditionCheckFailure::AllOld,
                )
                .build()
        };
        let event = |index: &usize| self.append.events.get(*index);
        Ok(match action {
            Action::MoveHead {
                subject,
                base,
                first_time,
                revision,
                last_time,
                last_id,
                expected,
            } => {
                let mut condition = Condition::default();
                condition.on_base(*base, *first_time);
                condition.all(expected);
                condition.value(":new_revision", number(*revision));
                condition.value(":new_last_time", number(*last_time));
                condition.value(":new_last_id", string(last_id));
                condition.name("#revision", attribute::REVISION);
                condition.name("#last_time", attribute::LAST_TIME);
                condition.name("#last_id", attribute::LAST_ID);
                let update = Update::builder()
                    .table_name(table)
                    .set_key(Some(head::key(subject)))
                    .update_expression(
                        "SET #revision = :new_revision, #last_time = :new_last_time, \
                         #last_id = :new_last_id",
                    )
                    .condition_expression(condition.expression())
                    .set_expression_attribute_names(Some(condition.names))
                    .set_expression_attribute_values(Some(condition.values))
                    .return_values_on_condition_check_failure(
                        ReturnValuesOnConditionCheckFailure::AllOld,
                    );
                write.update(update.build()?).build()
            }
            Action::Check { subject, expected } => {
                let mut condition = Condition::default();
                condition.all(expected);
                let check = ConditionCheck::builder()
                    .table_name(table)
                    .set_key(Some(head::key(subject)))
                    .condition_expression(condition.expression())
                    .set_expression_attribute_names(Some(condition.names))
                    .set_expression_attribute_values(
                        (!condition.values.is_empty()).then_some(condition.values),
                    )
                    .return_values_on_condition_check_failure(
                        ReturnValuesOnConditionCheckFailure::AllOld,
                    );
                write.condition_check(check.build()?).build()
            }
            Action::PutEvent { index } => {
                let item = event(index).map(|event| item::encode(event).into()).unwrap_or_default();
                write.put(put(item)?).build()
            }
            Action::GuardId { index } => {
                let item = event(index).map(guard_item).unwrap_or_default();
                write.put(put(item)?).build()
            }
        })
    }
}

/// The item that guards the id of an event and holds the event's key. It has no index attributes, so
/// it isn't in any index.
fn guard_item(event: &Event) -> SdkItem {
    let partition_key = item::id_guard_partition_key(&event.source, &event.id);
    let text = |name: &str, value: String| (name.to_owned(), string(value));
    HashMap::from([
        text(attribute::SUBJECT, partition_key),
        text(attribute::TIME_TYPE, schema::ID_GUARD_SORT_KEY.to_owned()),
        text(attribute::EVENT_SUBJECT, event.subject.clone()),
        text(attribute::EVENT_TIME_TYPE, item::time_type(event.time, &event.ty)),
    ])
}

fn size(item: &SdkItem) -> usize {
    item.iter().map(|(name, value)| name.len() + value.as_s().map_or(0, String::len)).sum()
}

/// A condition expression with its names and values.
#[derive(Default)]
struct Condition {
    parts: Vec<String>,
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

impl Condition {
    fn name(&mut self, alias: &str, name: &str) {
        self.names.insert(alias.to_owned(), name.to_owned());
    }

    fn value(&mut self, alias: &str, value: AttributeValue) {
        self.values.insert(alias.to_owned(), value);
    }

    fn expression(&self) -> String {
        self.parts.join(" AND ")
    }

    fn exists(&mut self, exists: bool) {
        self.name("#subject", attribute::SUBJECT);
        let function = if exists { "attribute_exists" } else { "attribute_not_exists" };
        self.parts.push(format!("{function}(#subject)"));
    }

    /// The head is still at the base revision, and its last event is older than the new events.
    fn on_base(&mut self, revision: u64, first_time: i64) {
        if revision == 0 {
            return self.exists(false);
        }
        self.value(":base", number(revision));
        self.value(":first_time", number(first_time));
        self.parts.push("#revision = :base AND #last_time < :first_time".to_owned());
    }

    fn all(&mut self, expected: &[ExpectedState]) {
        for (index, state) in expected.iter().enumerate() {
            match state {
                ExpectedState::Pristine | ExpectedState::Revision(0) => self.exists(false),
                ExpectedState::Populated => self.exists(true),
                ExpectedState::Revision(revision) => {
                    self.name("#revision", attribute::REVISION);
                    let alias = format!(":revision{index}");
                    self.parts.push(format!("#revision = {alias}"));
                    self.value(&alias, number(*revision));
                }
                ExpectedState::EventId(id) => {
                    self.name("#last_id", attribute::LAST_ID);
                    let alias = format!(":last_id{index}");
                    self.parts.push(format!("#last_id = {alias}"));
                    self.value(&alias, string(id));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn append(ids: &[&str]) -> Append {
        let event = |id: &&str| {
            Event::builder()
                .id(*id)
                .source("https://library.example.com")
                .ty("book.borrowed")
                .subject("book:1")
                .time(chrono::DateTime::UNIX_EPOCH)
                .data(json!({ "userId": "user:456" }))
                .build()
        };
        Append {
            events: ids.iter().map(event).collect(),
            times_are_given: false,
            ids_are_guarded: false,
            preconditions: vec![Precondition::subject_is_populated("user:456")],
        }
    }

    fn token(append: Append, revision: u64, now: i64) -> String {
        let base = Base { revision, last_time: None };
        let bases = BTreeMap::from([("book:1".to_owned(), base)]);
        append.on(&bases, now).expect("transaction").token("Events")
    }

    #[test]
    fn a_token_is_equal_only_for_equal_transactions() {
        let first = token(append(&["evt-1"]), 7, 1000);
        assert_eq!(first, token(append(&["evt-1"]), 7, 1000));
        assert_eq!(first.len(), 36, "DynamoDB takes at most 36 characters");
        let bases = BTreeMap::from([("book:1".to_owned(), Base { revision: 7, last_time: None })]);
        let copied = append(&["evt-1"]).on(&bases, 1000).expect("transaction").token("Copy");
        assert_ne!(first, copied, "another table of the same account");
        let mut other_data = append(&["evt-1"]);
        other_data.events[0].data = json!({});
        let mut other_condition = append(&["evt-1"]);
        other_condition.preconditions = Vec::new();
        for other in [
            token(append(&["evt-2"]), 7, 1000),
            token(append(&["evt-1"]), 8, 1000),
            token(append(&["evt-1"]), 7, 1001),
            token(other_data, 7, 1000),
            token(other_condition, 7, 1000),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn events_continue_their_subject_and_the_head_follows() {
        let base = Base { revision: 7, last_time: Some(5000) };
        let bases = BTreeMap::from([("book:1".to_owned(), base)]);
        let transaction = append(&["evt-1", "evt-2"]).on(&bases, 1000).expect("transaction");
        let placed: Vec<_> = transaction
            .append
            .events
            .iter()
            .map(|event| (event.revision, event.time.timestamp_millis()))
            .collect();
        assert_eq!(placed, [(Some(8), 5001), (Some(9), 5002)]);
        assert_eq!(
            transaction.actions.first(),
            Some(&Action::MoveHead {
                subject: "book:1".to_owned(),
                base: 7,
                first_time: 5001,
                revision: 9,
                last_time: 5002,
                last_id: "evt-2".to_owned(),
                expected: Vec::new(),
            })
        );
    }
}
