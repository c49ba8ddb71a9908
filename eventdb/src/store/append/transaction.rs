//! The transaction of an append. Building it sends nothing.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::types::{Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem};
use uuid::Uuid;

use crate::codec::cloud_event;
use crate::event::Event;
use crate::schema::{attribute, limit};
use crate::store::command::Command;
use crate::store::error::Error;
use crate::store::layout::by_time::append::HeadAction;
use crate::store::layout::{SdkItem, TableLayout, by_revision};
use crate::store::precondition::{ExpectedState, Precondition};

/// So many events always fit in a transaction, even if all have [`limit::ITEM_BYTES`].
const EVENTS_THAT_ALWAYS_FIT: usize = limit::TRANSACTION_BYTES / limit::ITEM_BYTES - 1;

/// What a caller wants to append. The ids are fixed. The times and revisions depend on where the
/// histories end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Append {
    pub(crate) events: Vec<Event>,
    /// Whether the caller has set the times. Otherwise, the store does.
    pub(crate) times_are_given: bool,
    /// Whether id guards are written, by which a repetition is recognised.
    pub(crate) ids_are_guarded: bool,
    pub(crate) preconditions: Vec<Precondition>,
    /// The command that the append belongs to. Its guard recognises a repetition.
    pub(crate) command: Option<Command>,
    /// Of an append that is being settled, what it built on when it was sent. It can be stored only
    /// there.
    pub(crate) settled_on: Option<Sent>,
}

/// What an append without an answer built on, in a table by revision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    /// The revisions before the first events of the written subjects.
    pub(crate) bases: BTreeMap<String, u64>,
    /// The checks of other subjects.
    pub(crate) checks: BTreeMap<String, u64>,
    /// The subjects whose preconditions were resolved.
    pub(crate) resolved: BTreeSet<String>,
}

impl Sent {
    /// Adds what another append was sent on.
    pub(crate) fn include(&mut self, other: &Self) {
        self.bases.extend(other.bases.clone());
        self.checks.extend(other.checks.clone());
        self.resolved.extend(other.resolved.clone());
    }
}

/// One action of a transaction, in the store's terms.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Stores an event, if no row has its key.
    PutEvent { index: usize },
    /// Stores the guard of an event's id, if it isn't guarded yet.
    GuardId { index: usize },
    /// Stores the guard of the command, if the command isn't done yet.
    GuardCommand,
    /// By time: moves or checks the head of a subject.
    Head(HeadAction),
    /// By revision: checks that a subject doesn't have this revision yet.
    CheckAbsent { subject: String, revision: u64 },
}

/// An append on a certain plan, ready to be sent any number of times.
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
    pub(crate) fn check_size(&self, layout: TableLayout) -> Result<(), Error> {
        let (bytes, actions) = layout.extra_size(self);
        let guards = if self.ids_are_guarded { self.events.len() } else { 0 };
        let command = self.command.as_ref().map(|command| command.guard(layout, &self.events));
        let command_bytes = command.as_ref().map_or(0, |guard| {
            // Revisions have at most 20 digits.
            size(guard) + 20 * self.events.len()
        });
        if command_bytes > limit::ITEM_BYTES {
            return Err(Error::TooLarge {
                what: "bytes",
                actual: command_bytes,
                allowed: limit::ITEM_BYTES,
            });
        }
        let actions = actions + self.events.len() + guards + usize::from(command.is_some());
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
        let event = |event: &Event| layout.rules().item_size(event);
        let mut bytes = bytes + command_bytes + self.events.iter().map(event).sum::<usize>();
        if self.ids_are_guarded {
            bytes += self.events.iter().map(|event| size(&layout.guard(event))).sum::<usize>();
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

    /// The actions that store the events and their guards.
    pub(crate) fn puts(&self) -> impl Iterator<Item = Action> + use<> {
        let guards = if self.ids_are_guarded { self.events.len() } else { 0 };
        let events = (0..self.events.len()).map(|index| Action::PutEvent { index });
        let command = self.command.as_ref().map(|_| Action::GuardCommand);
        events.chain((0..guards).map(|index| Action::GuardId { index })).chain(command)
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
        let mut text = format!("{table:?} {:?} {:?}", self.append.command, self.actions);
        for event in &self.append.events {
            text.push_str(&cloud_event::to_json(event, None));
        }
        Uuid::new_v5(&NAMESPACE, text.as_bytes()).to_string()
    }

    /// The DynamoDB operation that it is sent as.
    pub(crate) fn operation(&self) -> &'static str {
        match self.actions.as_slice() {
            [Action::PutEvent { .. }] => "PutItem",
            _ => "TransactWriteItems",
        }
    }

    /// The event's item, if the append is nothing but storing one. Then it needs no transaction.
    pub(crate) fn single_put(&self, layout: TableLayout) -> Option<SdkItem> {
        match (self.actions.as_slice(), self.append.events.as_slice()) {
            ([Action::PutEvent { .. }], [event]) => Some(layout.encode(event)),
            _ => None,
        }
    }

    /// The actions in the form of the AWS client.
    pub(crate) fn to_sdk(
        &self,
        layout: TableLayout,
        table: &str,
    ) -> Result<Vec<TransactWriteItem>, BuildError> {
        let put = |item: SdkItem| {
            let put = Put::builder()
                .table_name(table)
                .set_item(Some(item))
                .condition_expression("attribute_not_exists(#subject)")
                .expression_attribute_names("#subject", attribute::SUBJECT)
                .return_values_on_condition_check_failure(
                    ReturnValuesOnConditionCheckFailure::AllOld,
                )
                .build()?;
            Ok(TransactWriteItem::builder().put(put).build())
        };
        let event = |index: &usize| self.append.events.get(*index);
        let action = |action: &Action| match action {
            Action::Head(action) => action.to_sdk(table),
            Action::CheckAbsent { subject, revision } => {
                by_revision::check_absent(table, subject, *revision)
            }
            Action::PutEvent { index } => {
                put(event(index).map(|event| layout.encode(event)).unwrap_or_default())
            }
            Action::GuardId { index } => {
                put(event(index).map(|event| layout.guard(event)).unwrap_or_default())
            }
            Action::GuardCommand => {
                let command = self.append.command.as_ref();
                put(command
                    .map(|command| command.guard(layout, &self.append.events))
                    .unwrap_or_default())
            }
        };
        self.actions.iter().map(action).collect()
    }
}

/// Size in bytes of an item that holds text only.
pub(crate) fn size(item: &SdkItem) -> usize {
    let value = |value: &aws_sdk_dynamodb::types::AttributeValue| {
        value.as_s().or_else(|_| value.as_n()).map_or(0, String::len)
    };
    item.iter().map(|(name, of)| name.len() + value(of)).sum()
}
