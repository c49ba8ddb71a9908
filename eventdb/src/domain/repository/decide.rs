//! Decisions over any number of subjects, which are found while deciding.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::attempt::{append, command, done, pause_after, reaction_id};
use super::error::{ExecuteError, LoadError};
use super::load::Loaded;
use super::{Repository, SnapshotWrite};
use crate::domain::aggregate::Aggregate;
use crate::domain::domain_event::UnwritableEvent;
use crate::event::candidate::EventCandidate;
use crate::event::metadata::Metadata;
use crate::event::{Event, ExtensionValue};
use crate::store::EventDb;
use crate::store::append::Appended;
use crate::store::concurrently::concurrently;
use crate::store::precondition::Precondition;

/// A request to decide over any number of subjects: see [`EventDb::decision`].
#[derive(Debug, Clone)]
#[must_use = "it does nothing until `execute`"]
pub struct DecisionRequest {
    db: EventDb,
    extensions: BTreeMap<String, ExtensionValue>,
    command: Option<(String, String)>,
}

/// A decision that is being made: see [`EventDb::decision`].
///
/// It loads aggregates and collects their new events. Nothing is written before it has been made.
#[derive(Debug)]
pub struct Decision {
    table: String,
    extensions: BTreeMap<String, ExtensionValue>,
    // Shared with the request, so that the decision needn't hand it back.
    collected: Arc<Mutex<Collected>>,
}

/// What a decision depends on, and its new events.
#[derive(Default)]
struct Collected {
    preconditions: Vec<Precondition>,
    candidates: Vec<EventCandidate>,
    parts: Vec<Part>,
    other_table: Option<String>,
}

/// The new events of one aggregate.
struct Part {
    events: usize,
    /// Folds the stored events, and writes a snapshot if one is due.
    complete: Box<dyn FnOnce(Vec<Event>) -> Option<SnapshotWrite> + Send>,
}

/// The result of a [decision](EventDb::decision) over any number of subjects.
#[derive(Debug)]
#[non_exhaustive]
pub struct Decided<T> {
    /// What the decision returned. `None` if the command was done before.
    pub value: Option<T>,
    /// The stored events, in the order in which they were appended.
    pub events: Vec<Event>,
    /// Whether the command was done before, so that the events are those of that call.
    pub is_repetition: bool,
    /// How often the decision was made: the number of conflicts plus one.
    pub attempts: u32,
    /// The snapshots that are being written.
    pub snapshots: Vec<SnapshotWrite>,
}

impl EventDb {
    /// Begins a decision over any number of subjects, of one or several kinds of aggregates. Which
    /// subjects it needs may depend on what it has loaded.
    ///
    /// All its events are stored or none, and only if no subject that it has loaded has changed in
    /// the meantime, whether or not it gets events. So the decision is right at the instant at which
    /// it is stored, as if no other one were under way. If a subject has changed, the decision is
    /// made again, with random pauses, until the operation's [time limit](crate::TimeLimits). So it
    /// should have no side effects. The compiler helps: an async closure can't change variables
    /// outside.
    ///
    /// A rejection, and a decision without events, may be based on states that didn't exist at the
    /// same time. What the decision learns in other ways, such as from a read of all events or from
    /// a read model, isn't checked. To make sure that there is only one of something, give it a
    /// subject: docs/modelling.md has an example for e-mail addresses.
    ///
    /// # Cost
    /// [`load`](Repository::load) for each subject, and one append. Each subject takes 1 action of
    /// the transaction, and each event 1 more in a table by time; in a table by revision, each event
    /// and each subject without new events. At most 100 actions. Each subject without new events
    /// costs 2 write units.
    ///
    /// ```
    /// use eventdb::{Aggregate, DomainEvent, EmbeddedDynamoDb, EventDb, ExecuteError, Repository};
    /// # use eventdb::UnknownTypes;
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize)]
    /// # enum AccountEvent { #[serde(rename = "account.booked")] Booked { cents: i64 } }
    /// # impl DomainEvent for AccountEvent { const UNKNOWN_TYPES: UnknownTypes = UnknownTypes::Reject; }
    /// # #[derive(Default)]
    /// # struct Account { cents: i64 }
    /// # impl Aggregate for Account {
    /// #     type Event = AccountEvent;
    /// #     fn apply(&mut self, AccountEvent::Booked { cents }: AccountEvent) { self.cents += cents; }
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dynamodb = EmbeddedDynamoDb::in_memory().await?;
    /// # EventDb::create_table(&dynamodb.client(), "Accounts").await?;
    /// # let db = EventDb::new(dynamodb.client(), "Accounts");
    /// # let accounts = Repository::<Account>::new(&db, "https://bank.example.com");
    /// # accounts.execute("account:2", |_| Ok::<_, String>([AccountEvent::Booked { cents: 7 }])).await?;
    /// // Withdraws from the first account that has enough.
    /// let withdrawn = db
    ///     .decision()
    ///     .execute(async |decision| {
    ///         for subject in ["account:1", "account:2", "account:3"] {
    ///             let account = decision.load(&accounts, subject).await?;
    ///             if account.state.cents >= 5 {
    ///                 let events = [AccountEvent::Booked { cents: -5 }];
    ///                 decision.append(&accounts, account, events)?;
    ///                 return Ok(subject);
    ///             }
    ///         }
    ///         Err(ExecuteError::Domain("no account has enough"))
    ///     })
    ///     .await?;
    /// assert_eq!(withdrawn.value, Some("account:2"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn decision(&self) -> DecisionRequest {
        DecisionRequest { db: self.clone(), extensions: BTreeMap::new(), command: None }
    }
}

impl DecisionRequest {
    /// Gives the command an id, which must be unique per `source`: see
    /// [`Execute::command`](crate::Execute::command).
    pub fn command(mut self, source: impl Into<String>, id: impl Into<String>) -> Self {
        self.command = Some((source.into(), id.into()));
        self
    }

    /// Executes the command because of an event, once: see
    /// [`Execute::in_reaction_to`](crate::Execute::in_reaction_to). The command id is unique per
    /// `source`.
    pub fn in_reaction_to(self, source: impl Into<String>, reaction: &str, event: &Event) -> Self {
        self.command(source, reaction_id(reaction, event)).metadata(&Metadata::caused_by(event))
    }

    /// Says who and what led to the command: see [`Metadata`]. It is added to the new events.
    pub fn metadata(mut self, metadata: &Metadata) -> Self {
        metadata.add_to(&mut self.extensions);
        self
    }

    /// Adds a CloudEvents extension attribute to the new events. It replaces that of a
    /// [repository](Repository::with_extension).
    pub fn extension(mut self, name: impl Into<String>, value: impl Into<ExtensionValue>) -> Self {
        self.extensions.insert(name.into(), value.into());
        self
    }

    /// Makes the decision: see [`EventDb::decision`].
    ///
    /// # Errors
    /// The error that the decision returns, [`ExecuteError::Contended`],
    /// [`ExecuteError::DifferentTables`] if it uses a repository of another table, and
    /// [`ExecuteError::Store`].
    pub async fn execute<T, E, F>(
        self,
        mut decide: impl FnMut(Decision) -> F,
    ) -> Result<Decided<T>, ExecuteError<E>>
    where
        F: Future<Output = Result<T, ExecuteError<E>>>,
    {
        let Self { db, extensions, command: id } = self;
        let command = match &id {
            Some((source, id)) => command(&db, source, Some(id))?,
            None => None,
        };
        let command = command.as_ref();
        let mut attempts = db.table().attempts("execute");
        loop {
            let collected = Arc::default();
            let decided = decide(Decision {
                table: db.table().name().to_owned(),
                extensions: extensions.clone(),
                collected: Arc::clone(&collected),
            })
            .await;
            let Collected { preconditions, candidates, parts, other_table } =
                std::mem::take(&mut *lock(&collected));
            if let Some(other) = other_table {
                return Err(ExecuteError::DifferentTables(db.table().name().to_owned(), other));
            }
            let appended = match &decided {
                Ok(_) if !candidates.is_empty() => {
                    append(&db, candidates, preconditions, command).await
                }
                // Whether the command is done can't matter to these.
                Err(ExecuteError::Load(_) | ExecuteError::Store(_)) => {
                    Ok(Appended { events: Vec::new(), is_repetition: false })
                }
                _ => match done(&db, command).await? {
                    Some(events) => Ok(Appended { events, is_repetition: true }),
                    None => Ok(Appended { events: Vec::new(), is_repetition: false }),
                },
            };
            let attempts_made = attempts.count();
            match appended {
                Ok(Appended { events, is_repetition: true }) => {
                    return Ok(Decided {
                        value: None,
                        events,
                        is_repetition: true,
                        attempts: attempts_made,
                        snapshots: Vec::new(),
                    });
                }
                Ok(Appended { events, .. }) => {
                    let value = Some(decided?);
                    let mut rest = events.as_slice();
                    let mut snapshots = Vec::new();
                    for Part { events, complete } in parts {
                        let (of_it, others) = rest.split_at(events.min(rest.len()));
                        snapshots.extend(complete(of_it.to_vec()));
                        rest = others;
                    }
                    return Ok(Decided {
                        value,
                        events,
                        is_repetition: false,
                        attempts: attempts_made,
                        snapshots,
                    });
                }
                Err(error) => {
                    pause_after(&mut attempts, error).await?;
                }
            }
        }
    }
}

impl Decision {
    /// Loads the aggregate of a subject. From now on, the decision depends on it: its events are
    /// stored only if the subject doesn't change.
    ///
    /// # Errors
    /// As for [`Repository::load`].
    pub async fn load<A: Aggregate>(
        &self,
        repository: &Repository<A>,
        subject: impl Into<String>,
    ) -> Result<Loaded<A>, LoadError> {
        self.check_table(repository);
        let loaded = repository.load(subject).await?;
        self.depend_on(&loaded);
        Ok(loaded)
    }

    /// Loads several aggregates of one kind at the same time, like [`load`](Self::load). They are in
    /// the order of the subjects.
    ///
    /// # Errors
    /// As for [`Repository::load`].
    pub async fn load_all<A: Aggregate>(
        &self,
        repository: &Repository<A>,
        subjects: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<Vec<Loaded<A>>, LoadError> {
        self.check_table(repository);
        let subjects: Vec<String> = subjects.into_iter().map(Into::into).collect();
        let load = |subject: String| async move { repository.load(subject).await };
        let loaded: Vec<Loaded<A>> = concurrently(subjects, load).await?;
        for loaded in &loaded {
            self.depend_on(loaded);
        }
        Ok(loaded)
    }

    /// Adds new events of an aggregate. They are stored when the decision has been made.
    ///
    /// # Errors
    /// [`UnwritableEvent`] if an event couldn't be stored and read back.
    pub fn append<A: Aggregate>(
        &self,
        repository: &Repository<A>,
        aggregate: Loaded<A>,
        events: impl IntoIterator<Item = A::Event>,
    ) -> Result<(), UnwritableEvent> {
        self.check_table(repository);
        self.depend_on(&aggregate);
        let decision = repository.decision(&aggregate.subject, events)?;
        let mut candidates = decision.candidates.clone();
        for candidate in &mut candidates {
            candidate.extensions.extend(self.extensions.clone());
        }
        let repository = repository.clone();
        let mut collected = lock(&self.collected);
        collected.candidates.extend(candidates);
        collected.parts.push(Part {
            events: decision.candidates.len(),
            complete: Box::new(move |events| {
                let appended = Appended { events, is_repetition: false };
                repository.executed(aggregate, decision, appended, 1).snapshot
            }),
        });
        Ok(())
    }

    fn check_table<A: Aggregate>(&self, repository: &Repository<A>) {
        let table = repository.db.table().name();
        if table != self.table {
            lock(&self.collected).other_table = Some(table.to_owned());
        }
    }

    fn depend_on<A: Aggregate>(&self, loaded: &Loaded<A>) {
        let precondition = loaded.precondition();
        let mut collected = lock(&self.collected);
        if !collected.preconditions.contains(&precondition) {
            collected.preconditions.push(precondition);
        }
    }
}

fn lock(collected: &Mutex<Collected>) -> MutexGuard<'_, Collected> {
    collected.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Collected {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Collected")
            .field("preconditions", &self.preconditions)
            .field("events", &self.candidates.len())
            .finish_non_exhaustive()
    }
}
