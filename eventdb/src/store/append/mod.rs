//! Appending: from the caller's request to a settled outcome.

pub(crate) mod refusal;
mod stated_revisions;
pub(crate) mod transaction;

use std::collections::BTreeMap;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;

use chrono::DateTime;
use uuid::Uuid;

use crate::codec::validation;
use crate::event::candidate::EventCandidate;
use crate::event::{self, Event};
use crate::store::append::refusal::{Outcome, StoredKey, classify};
use crate::store::append::stated_revisions::StatedRevisions;
use crate::store::append::transaction::{Append, Sent, Transaction};
use crate::store::command::Command;
use crate::store::concurrently::concurrently;
use crate::store::error::{
    BoxError, CompleteEvent, Error, IdReuse, StoredEvent, UnsettledAppend, UnsettledEvents,
};
use crate::store::failure::Failure;
use crate::store::layout::{Base, Beginning, Plan, Verdict};
use crate::store::precondition::Precondition;
use crate::store::read::{decode, decode_repetition};
use crate::store::table::{Table, Written};

/// A request to append new events: see [`EventDb::add_new_events`](crate::EventDb::add_new_events).
#[derive(Debug, Clone)]
#[must_use = "a request does nothing until it is awaited"]
pub struct AddNewEvents {
    table: Table,
    candidates: Vec<EventCandidate>,
    preconditions: Vec<Precondition>,
    command: Option<Command>,
}

/// What came of an append that may have a command.
pub(crate) struct Appended {
    pub(crate) events: Vec<Event>,
    /// Whether another append of the same command had stored them.
    pub(crate) is_repetition: bool,
}

/// A request to append complete events: see [`EventDb::add_events`](crate::EventDb::add_events).
#[derive(Debug, Clone)]
#[must_use = "a request does nothing until it is awaited"]
pub struct AddEvents {
    table: Table,
    events: Vec<CompleteEvent>,
    preconditions: Vec<Precondition>,
}

impl AddNewEvents {
    pub(crate) fn new(table: Table, candidates: Vec<EventCandidate>) -> Self {
        Self { table, candidates, preconditions: Vec::new(), command: None }
    }

    /// Appends only if the command isn't done yet. Otherwise, its events are the result.
    pub(crate) fn of_command(mut self, command: Option<Command>) -> Self {
        self.command = command;
        self
    }

    /// Appends only if the precondition holds. Call it several times to require several
    /// preconditions.
    pub fn only_if(mut self, precondition: Precondition) -> Self {
        self.preconditions.push(precondition);
        self
    }

    pub(crate) async fn run(self) -> Result<Appended, Error> {
        let own_ids: Vec<bool> =
            self.candidates.iter().map(|candidate| candidate.id.is_some()).collect();
        let layout = self.table.layout();
        let events = self.candidates.into_iter().map(complete);
        let events: Vec<Event> = events.map(|event| layout.as_read_back(event)).collect();
        let rules = layout.rules();
        validation::check_new_events(&events, &own_ids, self.table.message_bytes(), rules)?;
        let append = Append {
            ids_are_guarded: own_ids.contains(&true),
            times_are_given: false,
            events,
            preconditions: self.preconditions,
            command: self.command,
            settled_on: None,
        };
        if append.command.is_none() {
            let events = run(&self.table, append, false).await?;
            return Ok(Appended { events, is_repetition: false });
        }
        // The ids were generated for this call.
        let ids: Vec<String> = append.events.iter().map(|event| event.id.clone()).collect();
        let events = run(&self.table, append, false).await?;
        let is_repetition = !events.iter().map(|event| &event.id).eq(&ids);
        Ok(Appended { events, is_repetition })
    }
}

impl AddEvents {
    pub(crate) fn new(table: Table, events: Vec<CompleteEvent>) -> Self {
        Self { table, events, preconditions: Vec::new() }
    }

    /// Appends only if the precondition holds. Call it several times to require several
    /// preconditions.
    pub fn only_if(mut self, precondition: Precondition) -> Self {
        self.preconditions.push(precondition);
        self
    }

    async fn run(self) -> Result<Vec<Event>, Error> {
        let layout = self.table.layout();
        let mut ids_are_guarded = false;
        let mut is_unsettled = false;
        let mut preconditions = self.preconditions;
        let mut settled_on: Option<Sent> = None;
        let mut command = None;
        let mut events = Vec::with_capacity(self.events.len());
        for CompleteEvent { event, append } in self.events {
            if let Some(append) = append {
                is_unsettled = true;
                ids_are_guarded |= append.ids_are_guarded;
                command = command.or_else(|| append.command.clone());
                if let Some(sent) = &append.sent {
                    settled_on.get_or_insert_default().include(sent);
                }
                for precondition in &append.preconditions {
                    if !preconditions.contains(precondition) {
                        preconditions.push(precondition.clone());
                    }
                }
            }
            let time = event::whole_milliseconds(event.time);
            events.push(layout.as_read_back(Event { time, ..event }));
        }
        validation::check_complete_events(&events, self.table.message_bytes(), layout.rules())?;
        let stated = StatedRevisions::of(&events, &mut preconditions)?;
        let times_are_given = true;
        let mut append =
            Append { events, times_are_given, ids_are_guarded, preconditions, command, settled_on };
        if append.settled_on.is_none()
            && append.command.is_none()
            && layout.guards_complete_events(&append)
        {
            validation::check_guards(&append.events, layout.rules())?;
            append.ids_are_guarded = true;
        }
        stated.judge(run(&self.table, append, is_unsettled).await)
    }
}

impl IntoFuture for AddNewEvents {
    type Output = Result<Vec<Event>, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.run().await.map(|appended| appended.events) })
    }
}

impl IntoFuture for AddEvents {
    type Output = Result<Vec<Event>, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

/// Completes a candidate. The id is generated here, once for all attempts. Each attempt sets the
/// time.
fn complete(candidate: EventCandidate) -> Event {
    Event {
        id: candidate.id.unwrap_or_else(|| Uuid::now_v7().to_string()),
        source: candidate.source,
        ty: candidate.ty,
        subject: candidate.subject,
        time: DateTime::UNIX_EPOCH,
        data: candidate.data,
        revision: None,
        datacontenttype: candidate.datacontenttype,
        dataschema: candidate.dataschema,
        extensions: candidate.extensions,
    }
}

/// The result of one attempt.
enum Attempt {
    /// The events were stored as the transaction has them.
    Stored,
    /// The append was stored before. These are its events.
    AlreadyStored(Vec<Event>),
    /// It wasn't stored: send the same again.
    Again(BoxError),
    /// It may have been stored: send the same again.
    Unanswered(BoxError),
    /// Another transaction was writing the same items: send the same again.
    Contended(BoxError),
    /// Other writers have appended to these subjects, whose histories end here or later: read where,
    /// and build the transaction again.
    Rebase(BTreeMap<String, Base>),
}

/// Carries out an append whose events have been checked.
///
/// `is_unsettled` says that an earlier attempt got no answer. Such an append may be stored already
/// or may still be stored, so only an answer of the table can settle it.
async fn run(table: &Table, append: Append, is_unsettled: bool) -> Result<Vec<Event>, Error> {
    for precondition in &append.preconditions {
        validation::check_subject(&precondition.subject, table.layout().rules())?;
    }
    if append.events.is_empty() && append.preconditions.is_empty() {
        return Ok(Vec::new());
    }
    append.check_size(table.layout())?;
    let mut appending = Appending {
        table: table.begin(),
        transaction: Transaction { append, actions: Vec::new() },
        plan: Plan::default(),
        unanswered: is_unsettled,
        attempts: 0,
    };
    let result = appending.run().await;
    let Appending { unanswered, attempts, transaction, plan, .. } = appending;
    let source = match result {
        Err(Error::Unavailable { source, .. } | Error::Refused { source, .. }) if unanswered => {
            source
        }
        Err(Error::Contended { subject, .. }) if unanswered => {
            format!("other writers were using the subject `{subject}` at each attempt").into()
        }
        result => return result,
    };
    let sent = table.layout().sent_on(&transaction.append, &plan);
    Err(unknown(transaction.append, sent, attempts, source))
}

/// A running append.
struct Appending {
    table: Table,
    /// The transaction as it was sent last.
    transaction: Transaction,
    /// What it builds on.
    plan: Plan,
    /// Whether a request has got no answer that may have stored the events or may still store them.
    unanswered: bool,
    /// How often a transaction was sent.
    attempts: u32,
}

impl Appending {
    async fn run(&mut self) -> Result<Vec<Event>, Error> {
        let layout = self.table.layout();
        self.plan = match layout.begin(&self.table, &self.transaction.append).await? {
            Beginning::On(plan) => plan,
            Beginning::AlreadyStored(events) => return Ok(events),
        };
        self.build()?;
        if self.transaction.actions.is_empty() {
            return Ok(Vec::new());
        }
        let subject = self.transaction.append.events.first().map(|event| event.subject.clone());
        let mut attempts =
            self.table.attempts(self.transaction.operation()).about(subject.as_deref());
        loop {
            self.attempts += 1;
            match self.attempt().await? {
                Attempt::Stored => {
                    return Ok(std::mem::take(&mut self.transaction.append.events));
                }
                Attempt::AlreadyStored(events) => return Ok(events),
                Attempt::Again(source) => attempts.pause(source).await?,
                Attempt::Unanswered(source) => {
                    // An append without events stores nothing, so its outcome doesn't matter.
                    self.unanswered = !self.transaction.append.events.is_empty();
                    attempts.pause(source).await?;
                }
                Attempt::Contended(source) => {
                    attempts.pause_after_conflict(source, subject.as_deref()).await?;
                }
                Attempt::Rebase(ends) => {
                    // DynamoDB evaluated the conditions, and our events aren't stored. An earlier
                    // unanswered request can't succeed any more, because its base has changed.
                    self.unanswered = false;
                    let overtaken = ends.iter().find(|(subject, end)| {
                        self.plan
                            .bases
                            .get(*subject)
                            .is_some_and(|base| base.revision != end.revision)
                    });
                    let Some((overtaken, _)) = overtaken else {
                        // No other writer: only the time of the last event wasn't known.
                        self.plan.bases.extend(ends);
                        self.build()?;
                        continue;
                    };
                    let source = "another writer of the subject was first".into();
                    attempts.pause_after_conflict(source, Some(overtaken)).await?;
                    // Read after the pause, because more events may have been stored during it.
                    let subjects = ends.keys().cloned().collect();
                    for (subject, base) in layout.ends(&self.table, subjects).await? {
                        let seen = ends.get(&subject).and_then(|end| end.last_time);
                        self.plan
                            .bases
                            .insert(subject, Base { last_time: base.last_time.max(seen), ..base });
                    }
                    self.build()?;
                }
            }
        }
    }

    fn build(&mut self) -> Result<(), Error> {
        let append = std::mem::take(&mut self.transaction.append);
        self.transaction = self.table.layout().build(append, &self.plan, self.table.now())?;
        Ok(())
    }

    async fn attempt(&mut self) -> Result<Attempt, Error> {
        let layout = self.table.layout();
        let transaction = &self.transaction;
        let reasons = match self.table.write(transaction).await {
            Ok(Written::Stored) => return Ok(Attempt::Stored),
            Ok(Written::Refused(reasons)) => reasons,
            Err(Failure::Busy(source)) => return Ok(Attempt::Again(source)),
            Err(Failure::Unanswered(source)) => return Ok(Attempt::Unanswered(source)),
            Err(Failure::Refused(source)) => return Err(self.table.refused(source)),
            Err(Failure::Service(source)) => return Err(self.table.refused(source)),
        };
        match classify(layout, transaction, &self.plan, &reasons) {
            Outcome::AlreadyStored(events) => Ok(Attempt::AlreadyStored(events)),
            Outcome::AlreadyGuarded(keys) => {
                let read = guarded_events(&self.table, &transaction.append.events, keys).await;
                if let Err(Error::Unavailable { .. } | Error::Refused { .. }) = read {
                    // It is stored, by this append or an earlier one, but can't be read back.
                    self.unanswered = true;
                }
                read.map(Attempt::AlreadyStored)
            }
            Outcome::CommandDone(guard) => {
                let Some(command) = &transaction.append.command else {
                    return Err(self.table.refused("no command was sent".into()));
                };
                let read = command.events(&self.table, &guard).await;
                if let Err(Error::Unavailable { .. } | Error::Refused { .. }) = read {
                    // It is stored, by this append or an earlier one, but can't be read back.
                    self.unanswered = true;
                }
                read.map(Attempt::AlreadyStored)
            }
            Outcome::Rebase(bases) => Ok(Attempt::Rebase(bases)),
            Outcome::Contended(code) => Ok(Attempt::Contended(code.into())),
            Outcome::Busy(code) => Ok(Attempt::Again(code.into())),
            Outcome::Refused(reason) => Err(self.table.refused(reason.into())),
            Outcome::Failed(error) => Err(error),
            Outcome::Conflict(conflict) => {
                match layout.examine(&self.table, conflict, &mut self.plan).await? {
                    Verdict::Again(reason) => Ok(Attempt::Again(reason.into())),
                    Verdict::Conflict(conflict) => Err(Error::Conflict(Box::new(conflict))),
                }
            }
        }
    }
}

/// The stored events of an append, read by the keys in their id guards.
pub(crate) async fn guarded_events(
    table: &Table,
    events: &[Event],
    keys: Vec<StoredKey>,
) -> Result<Vec<Event>, Error> {
    concurrently(keys, |key| async move {
        let row = table.get(key.key).await?;
        let given = events.get(key.index);
        let id = given.map(|event| event.id.clone()).unwrap_or_default();
        let reused = |reason, stored| Error::IdReused { index: key.index, id, reason, stored };
        let Some(row) = row else { return Err(reused(IdReuse::EventRemoved, None)) };
        let invalid = |invalid| Error::InvalidItem(Box::new(invalid));
        let (stored, difference) = match given {
            Some(given) => decode_repetition(row, given).map_err(invalid)?,
            None => (decode(row).map_err(invalid)?, None),
        };
        match difference {
            Some(attribute) => {
                Err(reused(IdReuse::OtherContent { attribute }, Some(StoredEvent::new(stored))))
            }
            None => Ok(stored),
        }
    })
    .await
}

fn unknown(append: Append, sent: Option<Sent>, attempts: u32, source: BoxError) -> Error {
    let Append { mut events, ids_are_guarded, preconditions, command, .. } = append;
    for event in &mut events {
        event.revision = None;
    }
    let append = Arc::new(UnsettledAppend { ids_are_guarded, preconditions, command, sent });
    Error::OutcomeUnknown { events: UnsettledEvents { events, append }, attempts, source }
}
