//! The part of an append that heads need. Building it sends nothing.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::types::{
    AttributeValue, ConditionCheck, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};

use super::head;
use crate::schema::{attribute, limit};
use crate::store::append::transaction::{Action, Append, Transaction, size};
use crate::store::error::Error;
use crate::store::layout::Plan;
use crate::store::precondition::ExpectedState;
use crate::store::read::query::{number, string};

/// An action on a head item.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum HeadAction {
    /// Moves the head of a written subject.
    Move {
        subject: String,
        base: u64,
        first_time: i64,
        revision: u64,
        last_time: i64,
        last_id: String,
        expected: Vec<ExpectedState>,
    },
    /// Checks a subject that isn't written.
    Check { subject: String, expected: Vec<ExpectedState> },
}

/// Bytes and actions of heads and checks.
pub(crate) fn extra_size(append: &Append) -> (usize, usize) {
    let heads = append.subjects();
    let checks = append.checked_subjects();
    let key = |subject: &str| size(&head::key(subject));
    let head = |subject: &str| {
        let last = append.events.iter().rev().find(|event| event.subject == subject);
        // Its two numbers have at most 20 and 13 digits.
        let numbers = 11 + 8 + attribute::REVISION.len() + attribute::LAST_TIME.len();
        let last_id = attribute::LAST_ID.len() + last.map_or(0, |event| event.id.len());
        key(subject) + numbers + last_id + size(&head::listing(subject).into_iter().collect())
    };
    let bytes = heads.keys().map(|subject| head(subject)).sum::<usize>()
        + checks.keys().map(|subject| key(subject)).sum::<usize>();
    (bytes, heads.len() + checks.len())
}

/// The transaction on a plan.
///
/// # Errors
/// [`Error::NoLaterTime`] if no time is left after a subject's last event.
pub(crate) fn build(mut append: Append, plan: &Plan, now: i64) -> Result<Transaction, Error> {
    let mut actions = Vec::with_capacity(1 + append.events.len());
    let owned = |subjects: BTreeMap<&str, Vec<&ExpectedState>>| -> Vec<_> {
        subjects
            .into_iter()
            .map(|(subject, expected)| {
                (subject.to_owned(), expected.into_iter().cloned().collect())
            })
            .collect()
    };
    for (subject, expected) in owned(append.subjects()) {
        let base = plan.bases.get(&subject).copied().unwrap_or_default();
        let mut revision = base.revision;
        let mut time = base.last_time.map_or(now, |last| now.max(last.saturating_add(1)));
        let mut first_time = None;
        let mut last = (time, "");
        for (index, event) in append.events.iter_mut().enumerate() {
            if event.subject != subject {
                continue;
            }
            if !append.times_are_given && time > limit::TIME_MILLISECONDS {
                return Err(Error::NoLaterTime {
                    index,
                    subject,
                    last_time: head::time(base.last_time.unwrap_or(now)),
                });
            }
            // A caller may state any revision, even the largest. The condition then fails.
            revision = revision.saturating_add(1);
            event.revision = Some(revision);
            if append.times_are_given {
                time = event.time.timestamp_millis();
            } else {
                event.time = head::time(time);
            }
            first_time.get_or_insert(time);
            last = (time, &event.id);
            if !append.times_are_given {
                time = time.saturating_add(1);
            }
        }
        let (last_time, last_id) = (last.0, last.1.to_owned());
        actions.push(Action::Head(HeadAction::Move {
            subject,
            base: base.revision,
            first_time: first_time.unwrap_or(time),
            revision,
            last_time,
            last_id,
            expected,
        }));
    }
    actions.extend(append.puts());
    let checks = owned(append.checked_subjects()).into_iter();
    actions.extend(
        checks.map(|(subject, expected)| Action::Head(HeadAction::Check { subject, expected })),
    );
    Ok(Transaction { append, actions })
}

impl HeadAction {
    /// The action in the form of the AWS client.
    pub(crate) fn to_sdk(&self, table: &str) -> Result<TransactWriteItem, BuildError> {
        let write = TransactWriteItem::builder();
        Ok(match self {
            Self::Move { subject, base, first_time, revision, last_time, last_id, expected } => {
                let mut condition = Condition::default();
                condition.on_base(*base, *first_time);
                condition.all(expected);
                condition.value(":new_revision", number(*revision));
                condition.value(":new_last_time", number(*last_time));
                condition.value(":new_last_id", string(last_id));
                condition.name("#revision", attribute::REVISION);
                condition.name("#last_time", attribute::LAST_TIME);
                condition.name("#last_id", attribute::LAST_ID);
                let mut expression = "SET #revision = :new_revision, #last_time = :new_last_time, \
                                      #last_id = :new_last_id"
                    .to_owned();
                for (name, value) in head::listing(subject) {
                    expression.push_str(&format!(", #{name} = :{name}"));
                    condition.value(&format!(":{name}"), value);
                    condition.name(&format!("#{name}"), &name);
                }
                let update = Update::builder()
                    .table_name(table)
                    .set_key(Some(head::key(subject)))
                    .update_expression(expression)
                    .condition_expression(condition.expression())
                    .set_expression_attribute_names(Some(condition.names))
                    .set_expression_attribute_values(Some(condition.values))
                    .return_values_on_condition_check_failure(
                        ReturnValuesOnConditionCheckFailure::AllOld,
                    );
                write.update(update.build()?).build()
            }
            Self::Check { subject, expected } => {
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
        })
    }
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
    use serde_json::json;

    use super::*;
    use crate::event::Event;
    use crate::store::layout::{Base, TableLayout};
    use crate::store::precondition::Precondition;

    fn on(append: Append, base: Base, now: i64) -> Transaction {
        let bases = BTreeMap::from([("book:1".to_owned(), base)]);
        build(append, &Plan { bases, ..Plan::default() }, now).expect("transaction")
    }

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
            command: None,
            settled_on: None,
        }
    }

    fn token(append: Append, revision: u64, now: i64) -> String {
        on(append, Base { revision, last_time: None }, now).token("Events")
    }

    #[test]
    fn a_token_is_equal_only_for_equal_transactions() {
        let first = token(append(&["evt-1"]), 7, 1000);
        assert_eq!(first, token(append(&["evt-1"]), 7, 1000));
        assert_eq!(first.len(), 36, "DynamoDB takes at most 36 characters");
        let base = Base { revision: 7, last_time: None };
        let copied = on(append(&["evt-1"]), base, 1000).token("Copy");
        assert_ne!(first, copied, "another table of the same account");
        let mut other_data = append(&["evt-1"]);
        other_data.events[0].data = json!({}).into();
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

    /// DynamoDB refuses a token that it has seen with another text.
    #[test]
    fn the_text_of_a_repetition_is_the_same() {
        let base = Base { revision: 7, last_time: Some(5000) };
        let transaction = on(append(&["evt-1"]), base, 1000);
        let text = || {
            let actions = transaction.to_sdk(TableLayout::ByTime, "Events").expect("actions");
            let update = actions.first().and_then(|action| action.update.clone());
            update.map(|update| update.update_expression).expect("the head")
        };
        let first = text();
        assert!(first.ends_with(
            "#subject_partition = :subject_partition, #listed_subject = :listed_subject"
        ));
        assert!((0..20).all(|_| text() == first));
    }

    #[test]
    fn events_continue_their_subject_and_the_head_follows() {
        let base = Base { revision: 7, last_time: Some(5000) };
        let transaction = on(append(&["evt-1", "evt-2"]), base, 1000);
        let placed: Vec<_> = transaction
            .append
            .events
            .iter()
            .map(|event| (event.revision, event.time.timestamp_millis()))
            .collect();
        assert_eq!(placed, [(Some(8), 5001), (Some(9), 5002)]);
        assert_eq!(
            transaction.actions.first(),
            Some(&Action::Head(HeadAction::Move {
                subject: "book:1".to_owned(),
                base: 7,
                first_time: 5001,
                revision: 9,
                last_time: 5002,
                last_id: "evt-2".to_owned(),
                expected: Vec::new(),
            }))
        );
    }
}
