//! Appending: from the caller's request to a settled outcome.

pub(crate) mod cancellation;
mod stated_revisions;
mod transaction;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;

use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use chrono::DateTime;
use futures_util::{StreamExt, TryStreamExt, stream};
use uuid::Uuid;

use crate::codec::validation;
use crate::event::candidate::EventCandidate;
use crate::event::decimal;
use crate::event::{self, Event};
use crate::schema::attribute;
use crate::store::append::cancellation::{CancellationOutcome, StoredKey, classify, may_be_legacy};
use crate::store::append::stated_revisions::StatedRevisions;
use crate::store::append::transaction::{Append, Base, Transaction};
use crate::store::error::{
    BoxError, CompleteEvent, Error, IdReuse, StoredEvent, UnsettledAppend, UnsettledEvents,
};
use crate::store::failure::Failure;
use crate::store::precondition::{ExpectedState, Precondition};
use crate::store::read::fetch_events::decode;
use crate::store::read::query::string;
use crate::store::table::Table;

/// Maximum number of concurrent reads of one append.
const CONCURRENT_READS: usize = 16;

/// A request to append new events: see [`EventDb::add_new_events`](crate::EventDb::add_new_events).
#[derive(Debug, Clone)]
#[must_use = "a request does nothing until it is awaited"]
pub struct AddNewEvents {
    table: Table,
    candidates: Vec<EventCandidate>,
    preconditions: Vec<Precondition>,
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
        Self { table, candidates, preconditions: Vec::new() }
    }

    /// Appends only if the precondition holds. Call it several times to require several
    /// preconditions.
    pub fn only_if(mut self, precondition: Precondition) -> Self {
        self.preconditions.push(precondition);
        self
    }

    async fn run(self) -> Result<Vec<Event>, Error> {
        let own_ids: Vec<bool> =
            self.candidates.iter().map(|candidate| candidate.id.is_some()).collect();
        let events: Vec<Event> = self.candidates.into_iter().map(complete).collect();
        validation::check_new_events(&events, &own_ids, self.table.message_bytes())?;
        let append = Append {
            ids_are_guarded: own_ids.contains(&true),
            times_are_given: false,
            events,
            preconditions: self.preconditions,
        };
        run(&self.table, append, false).await
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
        let mut ids_are_guarded = false;
        let mut is_unsettled = false;
        let mut preconditions = self.preconditions;
        let mut events = Vec::with_capacity(self.events.len());
        for CompleteEvent { event, append } in self.events {
            if let Some(append) = append {
                is_unsettled = true;
                ids_are_guarded |= append.ids_are_guarded;
                for precondition in &append.preconditions {
                    if !preconditions.contains(precondition) {
                        preconditions.push(precondition.clone());
                    }
                }
            }
            events.push(Event { time: event::whole_milliseconds(event.time), ..event });
        }
        validation::check_events_within(&events, self.table.message_bytes())?;
        let stated = StatedRevisions::of(&events, &mut preconditions)?;
        let append = Append { events, times_are_given: true, ids_are_guarded, preconditions };
        stated.judge(run(&self.table, append, is_unsettled).await)
    }
}

impl IntoFuture for AddNewEvents {
    type Output = Result<Vec<Event>, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
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
async fn run(table: &Table, mut append: Append, is_unsettled: bool) -> Result<Vec<Event>, Error> {
    for event in &mut append.events {
        decimal::make_canonical(&mut event.data);
    }
    for precondition in &append.preconditions {
        validation::check_subject(&precondition.subject)?;
    }
    if append.events.is_empty() && append.preconditions.is_empty() {
        return Ok(Vec::new());
    }
    append.check_size()?;
    let mut appending = Appending {
        table: table.begin(),
        transaction: Transaction { append, actions: Vec::new() },
        looked_for_legacy: HashSet::new(),
        unanswered: is_unsettled,
        attempts: 0,
    };
    let result = appending.run().await;
    let Appending { unanswered, attempts, transaction, .. } = appending;
    let source = match result {
        Err(Error::Unavailable { source, .. } | Error::Refused { source, .. }) if unanswered => {
            source
        }
        Err(Error::Contended { subject, .. }) if unanswered => {
            format!("other writers were using the subject `{subject}` at each attempt").into()
        }
        result => return result,
    };
    Err(unknown(transaction.append, attempts, source))
}

/// A running append.
struct Appending {
    table: Table,
    /// The transaction as it was sent last.
    transaction: Transaction,
    looked_for_legacy: HashSet<String>,
    /// Whether a request has got no answer that may have stored the events or may still store them.
    unanswered: bool,
    /// How often a transaction was sent.
    attempts: u32,
}

impl Appending {
    async fn run(&mut self) -> Result<Vec<Event>, Error> {
        let mut bases = self.bases().await?;
        self.build(&bases)?;
        let subject = self.transaction.append.events.first().map(|event| event.subject.clone());
        let mut attempts = self.table.attempts("TransactWriteItems").about(subject.as_deref());
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
                        bases.get(*subject).is_some_and(|base| base.revision != end.revision)
                    });
                    let Some((overtaken, _)) = overtaken else {
                        // No other writer: only the time of the last event wasn't known.
                        bases.extend(ends);
                        self.build(&bases)?;
                        continue;
                    };
                    let source = "another writer of the subject was first".into();
                    attempts.pause_after_conflict(source, Some(overtaken)).await?;
                    // Read after the pause, because more events may have been stored during it.
                    for (subject, base) in self.ends(ends.keys().cloned().collect()).await? {
                        let seen = ends.get(&subject).and_then(|end| end.last_time);
                        bases.insert(subject, Base { last_time: base.last_time.max(seen), ..base });
                    }
                    self.build(&bases)?;
                }
            }
        }
    }

    fn build(&mut self, bases: &BTreeMap<String, Base>) -> Result<(), Error> {
        let append = std::mem::take(&mut self.transaction.append);
        self.transaction = append.on(bases, self.table.now())?;
        Ok(())
    }

    /// Where the histories of the written subjects end. It is read only if no precondition states it.
    async fn bases(&mut self) -> Result<BTreeMap<String, Base>, Error> {
        let append = &self.transaction.append;
        let mut bases = BTreeMap::new();
        let mut unknown = Vec::new();
        let mut said_to_be_pristine = Vec::new();
        for (subject, expected) in append.subjects() {
            match stated_revision(&expected) {
                Some(revision) => {
                    bases.insert(subject.to_owned(), Base { revision, last_time: None });
                    if revision == 0 {
                        said_to_be_pristine.push(subject.to_owned());
                    }
                }
                None => unknown.push(subject.to_owned()),
            }
        }
        for (subject, expected) in append.checked_subjects() {
            if stated_revision(&expected) == Some(0) {
                said_to_be_pristine.push(subject.to_owned());
            }
        }
        // A legacy subject may have events but no head yet. It isn't pristine.
        let table = &self.table;
        stream::iter(said_to_be_pristine.clone())
            .map(|subject| async move { table.adopt_legacy_events(&subject).await })
            .buffer_unordered(CONCURRENT_READS)
            .try_collect::<Vec<_>>()
            .await?;
        bases.extend(self.ends(unknown.clone()).await?);
        self.looked_for_legacy.extend(said_to_be_pristine);
        self.looked_for_legacy.extend(unknown);
        Ok(bases)
    }

    /// Where the histories of subjects end, read from their heads.
    async fn ends(&self, subjects: Vec<String>) -> Result<Vec<(String, Base)>, Error> {
        let table = &self.table;
        stream::iter(subjects)
            .map(|subject| async move {
                let head = table.head(&subject).await?;
                let base = head.map_or(Base::default(), |head| Base {
                    revision: head.revision,
                    last_time: Some(head.last_time),
                });
                Ok((subject, base))
            })
            .buffer_unordered(CONCURRENT_READS)
            .try_collect()
            .await
    }

    async fn attempt(&mut self) -> Result<Attempt, Error> {
        let transaction = &self.transaction;
        let actions = transaction
            .to_sdk(self.table.name())
            .map_err(|error| self.table.refused(Box::new(error)))?;
        let reasons = match self.table.transact(actions, transaction.token(self.table.name())).await
        {
            Ok(()) => return Ok(Attempt::Stored),
            Err(Failure::Busy(source)) => return Ok(Attempt::Again(source)),
            Err(Failure::Unanswered(source)) => return Ok(Attempt::Unanswered(source)),
            Err(Failure::Refused(source)) => return Err(self.table.refused(source)),
            Err(Failure::Service(TransactWriteItemsError::TransactionCanceledException(
                cancelled,
            ))) => cancelled.cancellation_reasons.unwrap_or_default(),
            Err(Failure::Service(error)) => return Err(self.table.refused(Box::new(error))),
        };
        match classify(transaction, &reasons) {
            CancellationOutcome::AlreadyStored(events) => Ok(Attempt::AlreadyStored(events)),
            CancellationOutcome::AlreadyGuarded(keys) => {
                let read = guarded_events(&self.table, transaction, keys).await;
                if let Err(Error::Unavailable { .. } | Error::Refused { .. }) = read {
                    // It is stored, by this append or an earlier one, but can't be read back.
                    self.unanswered = true;
                }
                read.map(Attempt::AlreadyStored)
            }
            CancellationOutcome::Rebase(bases) => Ok(Attempt::Rebase(bases)),
            CancellationOutcome::Contended(code) => Ok(Attempt::Contended(code.into())),
            CancellationOutcome::Busy(code) => Ok(Attempt::Again(code.into())),
            CancellationOutcome::Refused(reason) => Err(self.table.refused(reason.into())),
            CancellationOutcome::Failed(error) => Err(error),
            CancellationOutcome::Conflict(conflict) => {
                // Look for legacy events once, and only if they could change the outcome.
                if may_be_legacy(&conflict)
                    && self.looked_for_legacy.insert(conflict.subject.clone())
                    && self.table.adopt_legacy_events(&conflict.subject).await?.is_some()
                {
                    return Ok(Attempt::Again("the subject had legacy events".into()));
                }
                Err(Error::Conflict(Box::new(conflict)))
            }
        }
    }
}

/// The stored events of an append, read by the keys in their id guards.
async fn guarded_events(
    table: &Table,
    transaction: &Transaction,
    keys: Vec<StoredKey>,
) -> Result<Vec<Event>, Error> {
    stream::iter(keys)
        .map(|key| async move {
            let row = table
                .get(HashMap::from([
                    (attribute::SUBJECT.to_owned(), string(key.subject)),
                    (attribute::TIME_TYPE.to_owned(), string(key.time_type)),
                ]))
                .await?;
            let given = transaction.append.events.get(key.index);
            let id = given.map(|event| event.id.clone()).unwrap_or_default();
            let reused = |reason, stored| Error::IdReused { index: key.index, id, reason, stored };
            let Some(row) = row else { return Err(reused(IdReuse::EventRemoved, None)) };
            let stored = decode(row).map_err(|invalid| Error::InvalidItem(Box::new(invalid)))?;
            match given.and_then(|given| given.difference(&stored)) {
                Some(attribute) => {
                    Err(reused(IdReuse::OtherContent { attribute }, Some(StoredEvent::new(stored))))
                }
                None => Ok(stored),
            }
        })
        .buffered(CONCURRENT_READS)
        .try_collect()
        .await
}

/// The revision that a precondition on a subject states, if any.
fn stated_revision(expected: &[&ExpectedState]) -> Option<u64> {
    expected.iter().find_map(|expected| expected.stated_revision())
}

fn unknown(append: Append, attempts: u32, source: BoxError) -> Error {
    let Append { mut events, ids_are_guarded, preconditions, .. } = append;
    for event in &mut events {
        event.revision = None;
    }
    let append = Arc::new(UnsettledAppend { ids_are_guarded, preconditions });
    Error::OutcomeUnknown { events: UnsettledEvents { events, append }, attempts, source }
}
