//! Appending: from the caller's request to a settled outcome.

pub(crate) mod cancellation;
mod transaction;

use std::collections::{HashMap, HashSet};
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::ReturnConsumedCapacity;
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use chrono::DateTime;
use futures_util::{StreamExt, TryStreamExt, stream};
use uuid::Uuid;

use crate::codec::validation;
use crate::event::Event;
use crate::event::candidate::EventCandidate;
use crate::event::decimal;
use crate::schema::attribute;
use crate::store::EventDb;
use crate::store::append::cancellation::{StoredKey, Verdict, judge, may_be_legacy};
use crate::store::append::transaction::{Append, Base, Transaction};
use crate::store::capacity::Kind;
use crate::store::error::{
    BoxError, CompleteEvent, Error, IdReuse, UnsettledAppend, UnsettledEvents,
};
use crate::store::failure::Failure;
use crate::store::precondition::{ExpectedState, Precondition};
use crate::store::read::fetch_events::decode;
use crate::store::read::query::string;

/// Heads that are read at the same time.
const CONCURRENT_READS: usize = 16;

/// The pauses between attempts: 15 of them, each random between one and two times a delay that
/// doubles from 10 ms to 1 s.
pub(crate) fn pauses() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_jitter()
        .with_min_delay(Duration::from_millis(10))
        .with_max_delay(Duration::from_secs(1))
        .with_max_times(15)
        .build()
}

/// A request to append new events: see [`EventDb::add_new_events`].
///
/// ```no_run
/// # use eventdb::{AddNewEvents, Precondition};
/// # async fn example(request: AddNewEvents) -> Result<(), eventdb::Error> {
/// let events = request.only_if(Precondition::subject_is_populated("user:456")).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a request does nothing until it is awaited"]
pub struct AddNewEvents {
    db: EventDb,
    candidates: Vec<EventCandidate>,
    preconditions: Vec<Precondition>,
}

/// A request to append complete events: see [`EventDb::add_events`].
///
/// ```no_run
/// # use eventdb::{AddEvents, Precondition};
/// # async fn example(request: AddEvents) -> Result<(), eventdb::Error> {
/// let events = request.only_if(Precondition::subject_is_at_revision("book:123", 7)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a request does nothing until it is awaited"]
pub struct AddEvents {
    db: EventDb,
    events: Vec<CompleteEvent>,
    preconditions: Vec<Precondition>,
}

impl AddNewEvents {
    pub(crate) fn new(db: EventDb, candidates: Vec<EventCandidate>) -> Self {
        Self { db, candidates, preconditions: Vec::new() }
    }

    /// Lets the append happen only if the precondition holds; called again, only if all hold.
    ///
    /// ```no_run
    /// # use eventdb::{AddNewEvents, Precondition};
    /// # fn example(request: AddNewEvents) -> AddNewEvents {
    /// request.only_if(Precondition::subject_is_at_revision("book:123", 7))
    /// # }
    /// ```
    pub fn only_if(mut self, precondition: Precondition) -> Self {
        self.preconditions.push(precondition);
        self
    }

    async fn run(self) -> Result<Vec<Event>, Error> {
        let own_ids: Vec<bool> =
            self.candidates.iter().map(|candidate| candidate.id.is_some()).collect();
        let events: Vec<Event> = self.candidates.into_iter().map(complete).collect();
        validation::check_new_events(&events, &own_ids)?;
        let append = Append {
            ids_are_guarded: own_ids.contains(&true),
            times_are_given: false,
            events,
            preconditions: self.preconditions,
        };
        self.db.append(append).await
    }
}

impl AddEvents {
    pub(crate) fn new(db: EventDb, events: Vec<CompleteEvent>) -> Self {
        Self { db, events, preconditions: Vec::new() }
    }

    /// Lets the append happen only if the precondition holds; called again, only if all hold.
    ///
    /// ```no_run
    /// # use eventdb::{AddEvents, Precondition};
    /// # fn example(request: AddEvents) -> AddEvents {
    /// request.only_if(Precondition::subject_is_pristine("book:123"))
    /// # }
    /// ```
    pub fn only_if(mut self, precondition: Precondition) -> Self {
        self.preconditions.push(precondition);
        self
    }

    async fn run(self) -> Result<Vec<Event>, Error> {
        let mut ids_are_guarded = false;
        let mut preconditions = self.preconditions;
        let mut events = Vec::with_capacity(self.events.len());
        for CompleteEvent { event, append } in self.events {
            if let Some(append) = append {
                ids_are_guarded |= append.ids_are_guarded;
                for precondition in &append.preconditions {
                    if !preconditions.contains(precondition) {
                        preconditions.push(precondition.clone());
                    }
                }
            }
            events.push(event);
        }
        validation::check_events(&events)?;
        let append = Append { events, times_are_given: true, ids_are_guarded, preconditions };
        self.db.append(append).await
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

/// Gives an id once, before the first attempt; the time is given with each base.
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

/// What one attempt came to.
enum Attempt {
    /// As the transaction has it.
    Stored,
    /// It was stored before, as these.
    Found(Vec<Event>),
    /// Send the same again.
    Again(BoxError),
    /// Send the same again; it may have happened.
    Unanswered(BoxError),
    /// Build on these and send that.
    Rebase(HashMap<String, Base>),
}

impl EventDb {
    /// Carries out an append whose events have been checked.
    async fn append(&self, mut append: Append) -> Result<Vec<Event>, Error> {
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
        let mut looked_for_legacy = HashSet::new();
        let mut bases = self.bases(&append, &mut looked_for_legacy).await?;
        let mut transaction = append.on(&bases, self.now())?;
        let mut pauses = pauses();
        let mut attempts = 0;
        let mut unanswered = false;
        loop {
            attempts += 1;
            let attempt = self.attempt(&transaction, &mut looked_for_legacy).await;
            let source = match attempt {
                Ok(Attempt::Stored) => return Ok(transaction.append.events),
                Ok(Attempt::Found(events)) => return Ok(events),
                Ok(Attempt::Again(source)) => source,
                Ok(Attempt::Unanswered(source)) => {
                    // Preconditions alone store nothing, whatever came of them.
                    unanswered = !transaction.append.events.is_empty();
                    source
                }
                Ok(Attempt::Rebase(newer)) => {
                    // The conditions were looked at and our events aren't there: whatever was
                    // unanswered can't happen any more, since its base is gone.
                    unanswered = false;
                    bases.extend(newer);
                    transaction = transaction.append.on(&bases, self.now())?;
                    "other writers of the same subject were quicker each time".into()
                }
                Err(Error::Refused { source, .. }) if unanswered => {
                    return Err(unknown(transaction.append, attempts, source));
                }
                Err(error) => return Err(error),
            };
            match pauses.next() {
                Some(pause) => tokio::time::sleep(pause).await,
                None if unanswered => {
                    return Err(unknown(transaction.append, attempts, source));
                }
                None => return Err(Error::Unavailable { attempts, source }),
            }
        }
    }

    /// Milliseconds since 1970 by the client's clock.
    fn now(&self) -> i64 {
        let time = self.client.config().time_source().unwrap_or_default().now();
        let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
    }

    /// Where the histories of the written subjects end, read only where it isn't stated.
    async fn bases(
        &self,
        append: &Append,
        looked_for_legacy: &mut HashSet<String>,
    ) -> Result<HashMap<String, Base>, Error> {
        let mut bases = HashMap::new();
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
        // A legacy subject has events but no head yet: without this it would pass for pristine.
        stream::iter(said_to_be_pristine.clone())
            .map(|subject| async move { self.adopt_legacy_events(&subject).await })
            .buffer_unordered(CONCURRENT_READS)
            .try_collect::<Vec<_>>()
            .await?;
        let heads: Vec<_> = stream::iter(unknown.clone())
            .map(|subject| async move {
                let head = self.head(&subject).await?;
                Ok::<_, Error>((subject, head))
            })
            .buffer_unordered(CONCURRENT_READS)
            .try_collect()
            .await?;
        for (subject, head) in heads {
            let base = head.map_or(Base::default(), |head| Base {
                revision: head.revision,
                last_time: Some(head.last_time),
            });
            bases.insert(subject, base);
        }
        looked_for_legacy.extend(said_to_be_pristine);
        looked_for_legacy.extend(unknown);
        Ok(bases)
    }

    async fn attempt(
        &self,
        transaction: &Transaction,
        looked_for_legacy: &mut HashSet<String>,
    ) -> Result<Attempt, Error> {
        let reasons = match self.transact(transaction).await {
            Ok(()) => return Ok(Attempt::Stored),
            Err(Failure::Busy(source)) => return Ok(Attempt::Again(source)),
            Err(Failure::Unanswered(source)) => return Ok(Attempt::Unanswered(source)),
            Err(Failure::Refused(source)) => return Err(self.refused(source)),
            Err(Failure::Service(TransactWriteItemsError::TransactionCanceledException(
                cancelled,
            ))) => cancelled.cancellation_reasons.unwrap_or_default(),
            Err(Failure::Service(error)) => return Err(self.refused(Box::new(error))),
        };
        match judge(transaction, &reasons) {
            Verdict::Repeated(events) => Ok(Attempt::Found(events)),
            Verdict::Guarded(keys) => match self.guarded_events(transaction, keys).await {
                // It is stored, by this append or an earlier one, and only can't be read back.
                Err(Error::Unavailable { source, .. }) => Ok(Attempt::Unanswered(source)),
                read => read.map(Attempt::Found),
            },
            Verdict::Rebase(bases) => Ok(Attempt::Rebase(bases)),
            Verdict::Busy(code) => Ok(Attempt::Again(code.into())),
            Verdict::Refused(reason) => Err(self.refused(reason.into())),
            Verdict::Failed(error) => Err(error),
            Verdict::Conflict(conflict) => {
                // Looked for once only, and only where the answer could change the verdict.
                if may_be_legacy(&conflict)
                    && looked_for_legacy.insert(conflict.subject.clone())
                    && self.adopt_legacy_events(&conflict.subject).await?.is_some()
                {
                    return Ok(Attempt::Again("the subject had legacy events".into()));
                }
                Err(Error::Conflict(Box::new(conflict)))
            }
        }
    }

    async fn transact(
        &self,
        transaction: &Transaction,
    ) -> Result<(), Failure<TransactWriteItemsError>> {
        let actions =
            transaction.to_sdk(&self.table).map_err(|error| Failure::Refused(Box::new(error)))?;
        let request = self
            .client
            .transact_write_items()
            .set_transact_items(Some(actions))
            .client_request_token(transaction.token())
            .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
            .customize()
            // Each attempt is ours, so that each one's outcome is known.
            .config_override(
                aws_sdk_dynamodb::Config::builder().retry_config(RetryConfig::disabled()),
            )
            .send();
        self.send("TransactWriteItems", Kind::Write, request, |output| {
            output.consumed_capacity.as_deref().unwrap_or_default()
        })
        .await
        .map(|_| ())
    }

    /// The stored events behind the guards of all ids of an append.
    async fn guarded_events(
        &self,
        transaction: &Transaction,
        keys: Vec<StoredKey>,
    ) -> Result<Vec<Event>, Error> {
        stream::iter(keys)
            .map(|key| async move {
                let row = self
                    .get(HashMap::from([
                        (attribute::SUBJECT.to_owned(), string(key.subject)),
                        (attribute::TIME_TYPE.to_owned(), string(key.time_type)),
                    ]))
                    .await?;
                let given = transaction.append.events.get(key.index);
                let id = given.map(|event| event.id.clone()).unwrap_or_default();
                let reused = |reason| Error::IdReused { index: key.index, id, reason };
                let Some(row) = row else { return Err(reused(IdReuse::EventRemoved)) };
                let stored =
                    decode(row).map_err(|invalid| Error::InvalidItem(Box::new(invalid)))?;
                match given.and_then(|given| given.difference(&stored)) {
                    Some(attribute) => Err(reused(IdReuse::OtherContent { attribute })),
                    None => Ok(stored),
                }
            })
            .buffered(CONCURRENT_READS)
            .try_collect()
            .await
    }
}

fn unknown(append: Append, attempts: u32, source: BoxError) -> Error {
    let Append { mut events, ids_are_guarded, preconditions, .. } = append;
    for event in &mut events {
        event.revision = None;
    }
    let append = Arc::new(UnsettledAppend { ids_are_guarded, preconditions });
    Error::OutcomeUnknown { events: UnsettledEvents { events, append }, attempts, source }
}

/// The revision that the preconditions on a subject state, if one does.
fn stated_revision(expected: &[&ExpectedState]) -> Option<u64> {
    expected.iter().find_map(|expected| match expected {
        ExpectedState::Pristine => Some(0),
        ExpectedState::Revision(revision) => Some(*revision),
        ExpectedState::Populated | ExpectedState::EventId(_) => None,
    })
}
