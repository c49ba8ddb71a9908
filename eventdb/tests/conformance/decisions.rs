//! Decisions over any number of subjects: as if they were made one after the other.

use std::collections::BTreeMap;
use std::future::IntoFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use eventdb::{
    Aggregate, Decided, DomainEvent, Error, EventDb, ExecuteError, Metadata, Repository, Snapshots,
    UnknownTypes,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::library::{Book, BookEvent, No, User, UserEvent, borrowed};
use crate::support::{SOURCE, Store, candidate_of_type, meanwhile, revisions, with_store};

fn books(store: &Store) -> Repository<Book> {
    Repository::new(&store.db, SOURCE)
}

fn users(store: &Store) -> Repository<User> {
    Repository::new(&store.db, SOURCE)
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum AccountEvent {
    /// With the revisions of all accounts that the decision has seen.
    #[serde(rename = "account.withdrawn")]
    Withdrawn { seen: Vec<u64> },
    #[serde(rename = "account.deposited")]
    Deposited { cents: u64 },
}

impl DomainEvent for AccountEvent {
    const UNKNOWN_TYPES: UnknownTypes = UnknownTypes::Reject;
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Account {
    cents: i64,
}

impl Aggregate for Account {
    type Event = AccountEvent;

    fn apply(&mut self, event: AccountEvent) {
        self.cents += match event {
            AccountEvent::Withdrawn { .. } => -100,
            AccountEvent::Deposited { cents } => i64::try_from(cents).unwrap(),
        };
    }
}

const ACCOUNTS: [&str; 4] = ["account:1", "account:2", "account:3", "account:4"];

/// Withdraws from one account, as long as all together stay at 0 or more.
async fn withdraw(db: EventDb, from: usize) -> Result<Decided<()>, ExecuteError<&'static str>> {
    let accounts = Repository::<Account>::new(&db, SOURCE);
    db.decision()
        .execute(async |decision| {
            let mut loaded = decision.load_all(&accounts, ACCOUNTS).await?;
            if loaded.iter().map(|account| account.state.cents).sum::<i64>() < 100 {
                return Err(ExecuteError::Domain("too little"));
            }
            let seen = loaded.iter().map(|account| account.revision).collect();
            let events = [AccountEvent::Withdrawn { seen }];
            decision.append(&accounts, loaded.swap_remove(from), events)?;
            Ok(())
        })
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn decisions_that_meet_are_serializable() {
    with_store(|store| async move {
        let accounts = Repository::<Account>::new(&store.db, SOURCE);
        for account in ACCOUNTS {
            let deposit = |_: &Account| Ok::<_, No>([AccountEvent::Deposited { cents: 300 }]);
            accounts.execute(account, deposit).await.unwrap();
        }
        // 16 want 100 of the 1,200 that all accounts have together. Each may overdraw its own.
        let barrier = Arc::new(Barrier::new(16));
        let mut deciders = JoinSet::new();
        for decider in 0..16 {
            let (db, barrier) = (store.db.clone(), Arc::clone(&barrier));
            deciders.spawn(async move {
                barrier.wait().await;
                withdraw(db, decider % ACCOUNTS.len()).await
            });
        }
        let outcomes = deciders.join_all().await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 12);
        for outcome in &outcomes {
            let is_rejection = matches!(outcome, Err(ExecuteError::Domain("too little")));
            assert!(outcome.is_ok() || is_rejection, "{outcome:?}");
        }
        // There is an order in which each decision has seen exactly what those before it left: each
        // adds one revision, so the sums of what they have seen give that order.
        let mut decisions = Vec::new();
        for (index, account) in ACCOUNTS.iter().enumerate() {
            let history = store.subject(account).await;
            store.assert_sound(&history);
            for event in history {
                if let Some(AccountEvent::Withdrawn { seen }) = event.typed().unwrap() {
                    decisions.push((seen.iter().sum::<u64>(), seen, index));
                }
            }
        }
        decisions.sort();
        let mut state = vec![1; ACCOUNTS.len()];
        for (_, seen, written) in decisions {
            assert_eq!(seen, state);
            state[written] += 1;
        }
        assert_eq!(state.iter().sum::<u64>(), 4 + 12);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decision_depends_on_every_subject_that_it_has_loaded() {
    with_store(|store| async move {
        let (books, users) = (books(&store), users(&store));
        let decisions = AtomicU32::new(0);
        let decided = store
            .db
            .decision()
            .execute(async |decision| {
                let count = decisions.fetch_add(1, Ordering::Relaxed);
                let user = decision.load(&users, "user:456").await?;
                let book = decision.load(&books, "book:1").await?;
                if count == 0 {
                    // The user is only looked at, and changes after that.
                    let took = candidate_of_type("user:456", "user.unknown");
                    meanwhile(store.db.add_new_events([took]).into_future()).unwrap();
                }
                let seen = user.revision;
                let events = book.state.borrow("user:456").map_err(ExecuteError::Domain)?;
                decision.append(&books, book, events)?;
                Ok(seen)
            })
            .await
            .unwrap();
        assert_eq!((decided.value, decided.attempts), (Some(1), 2));
        assert_eq!(revisions(&decided.events), [1]);
        assert_eq!(store.subject("book:1").await, decided.events);
    })
    .await;
}

#[tokio::test]
async fn subjects_are_found_while_deciding() {
    with_store(|store| async move {
        let (books, users) = (books(&store), users(&store));
        for book in ["book:1", "book:2"] {
            users.execute("user:456", |user| user.take(book)).await.unwrap();
            books.execute(book, |book| book.borrow("user:456")).await.unwrap();
        }
        // All books of a user come back.
        let metadata = Metadata::default().user("user:456");
        let decided = store
            .db
            .decision()
            .metadata(&metadata)
            .execute(async |decision| {
                let user = decision.load(&users, "user:456").await?;
                for book in decision.load_all(&books, &user.state.books).await? {
                    let events = book.state.give_back().map_err(ExecuteError::Domain)?;
                    decision.append(&books, book, events)?;
                }
                let events = [UserEvent::Took { book: "nothing".to_owned() }];
                decision.append(&users, user, events)?;
                Ok::<_, ExecuteError<No>>(())
            })
            .await
            .unwrap();
        let subjects: Vec<_> = decided.events.iter().map(|event| &*event.subject).collect();
        assert_eq!(subjects, ["book:1", "book:2", "user:456"]);
        assert_eq!(revisions(&decided.events), [2, 2, 3]);
        assert!(decided.events.iter().all(|event| Metadata::of(event) == metadata));
        assert_eq!(books.load("book:2").await.unwrap().state.borrower, None);
    })
    .await;
}

#[tokio::test]
async fn a_decision_fits_in_one_transaction() {
    with_store(|store| async move {
        let books = books(&store);
        let lend = async |subjects: usize| {
            let subjects: Vec<_> = (1..=subjects).map(|number| format!("book:{number}")).collect();
            store
                .db
                .decision()
                .execute(async |decision| {
                    let mut loaded = decision.load_all(&books, &subjects).await?;
                    let first = loaded.swap_remove(0);
                    decision.append(&books, first, [borrowed("user:456")])?;
                    Ok::<_, ExecuteError<No>>(())
                })
                .await
        };
        assert_eq!(revisions(&lend(99).await.unwrap().events), [1]);
        let error = lend(101).await.unwrap_err();
        let ExecuteError::Store(Error::TooLarge { what, allowed, .. }) = error else {
            panic!("{error}")
        };
        assert_eq!((what, allowed), ("actions", 100));
    })
    .await;
}

#[tokio::test]
async fn rejections_and_decisions_for_nothing_write_nothing() {
    with_store(|store| async move {
        let books = books(&store);
        let rejected = store
            .db
            .decision()
            .execute(async |decision| {
                let book = decision.load(&books, "book:1").await?;
                decision.append(&books, book, [borrowed("user:456")])?;
                Err::<(), _>(ExecuteError::Domain("no"))
            })
            .await;
        assert!(matches!(rejected, Err(ExecuteError::Domain("no"))));
        let nothing = store
            .db
            .decision()
            .execute(async |decision| {
                let book = decision.load(&books, "book:1").await?;
                decision.append(&books, book, [])?;
                Ok::<_, ExecuteError<No>>(7)
            })
            .await
            .unwrap();
        assert_eq!((nothing.value, nothing.events.len(), nothing.attempts), (Some(7), 0, 1));
        assert_eq!(store.rows().await, []);

        let other = EventDb::new(store.client.clone(), "Other").with_layout(store.layout);
        let others = Repository::<Book>::new(&other, SOURCE);
        let mixed = store
            .db
            .decision()
            .execute(async |decision| {
                decision.load(&others, "book:1").await?;
                Ok::<_, ExecuteError<No>>(())
            })
            .await;
        let text = mixed.unwrap_err().to_string();
        assert!(text.contains("`Other`"), "{text}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_command_over_many_subjects_is_executed_once() {
    with_store(|store| async move {
        let barrier = Arc::new(Barrier::new(8));
        let mut callers = JoinSet::new();
        for caller in 0..8 {
            let (db, barrier) = (store.db.clone(), Arc::clone(&barrier));
            callers.spawn(async move {
                let books = Repository::<Book>::new(&db, SOURCE);
                barrier.wait().await;
                db.decision()
                    .command(SOURCE, "command-1")
                    .execute(async |decision| {
                        for subject in ["book:1", "book:2", "book:3"] {
                            let book = decision.load(&books, subject).await?;
                            let events = book
                                .state
                                .borrow(&format!("user:{caller}"))
                                .map_err(ExecuteError::Domain)?;
                            decision.append(&books, book, events)?;
                        }
                        Ok::<_, ExecuteError<No>>(caller)
                    })
                    .await
                    .unwrap()
            });
        }
        let outcomes = callers.join_all().await;
        let mut stored = Vec::new();
        for subject in ["book:1", "book:2", "book:3"] {
            stored.extend(store.subject(subject).await);
        }
        assert_eq!(stored.len(), 3);
        for decided in &outcomes {
            assert_eq!(decided.events, stored);
            assert_eq!(decided.is_repetition, decided.value.is_none());
        }
        assert_eq!(outcomes.iter().filter(|decided| !decided.is_repetition).count(), 1);
        assert_eq!(store.db.fetch_command(SOURCE, "command-1").await.unwrap(), Some(stored));
    })
    .await;
}

#[tokio::test]
async fn snapshots_are_written_after_decisions() {
    with_store(|store| async move {
        let snapshots = Snapshots { name: "book", version: 1, every: 2 };
        let books = books(&store).with_snapshots(snapshots);
        let mut written = Vec::new();
        for _ in 0..2 {
            let decided = store
                .db
                .decision()
                .execute(async |decision| {
                    let both = decision.load_all(&books, ["book:1", "book:2"]).await?;
                    for (book, count) in both.into_iter().zip([1, 2]) {
                        let events = vec![borrowed("user:456"); count];
                        decision.append(&books, book, events)?;
                    }
                    Ok::<_, ExecuteError<No>>(())
                })
                .await
                .unwrap();
            written.push(decided.snapshots.len());
            for write in decided.snapshots {
                write.await.unwrap();
            }
        }
        assert_eq!(written, [1, 2]);
        for (subject, loans) in [("book:1", 2), ("book:2", 4)] {
            let loaded = books.load(subject).await.unwrap();
            assert_eq!((loaded.read.snapshot, loaded.state.loans), (Some(loans), loans));
        }
    })
    .await;
}

/// Uniqueness: each e-mail address is a subject.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum AddressEvent {
    #[serde(rename = "address.claimed")]
    Claimed { by: String },
    #[serde(rename = "address.released")]
    Released,
}

impl DomainEvent for AddressEvent {
    const UNKNOWN_TYPES: UnknownTypes = UnknownTypes::Reject;
}

#[derive(Debug, Default)]
struct Address {
    owner: Option<String>,
}

impl Aggregate for Address {
    type Event = AddressEvent;

    fn apply(&mut self, event: AddressEvent) {
        self.owner = match event {
            AddressEvent::Claimed { by } => Some(by),
            AddressEvent::Released => None,
        };
    }
}

async fn move_to(
    db: &EventDb,
    user: &str,
    from: Option<&str>,
    to: &str,
) -> Result<(), ExecuteError<&'static str>> {
    let addresses = Repository::<Address>::new(db, SOURCE);
    db.decision()
        .execute(async |decision| {
            if let Some(from) = from {
                let old = decision.load(&addresses, from).await?;
                decision.append(&addresses, old, [AddressEvent::Released])?;
            }
            let new = decision.load(&addresses, to).await?;
            if new.state.owner.is_some() {
                return Err(ExecuteError::Domain("this address is taken"));
            }
            let claimed = AddressEvent::Claimed { by: user.to_owned() };
            decision.append(&addresses, new, [claimed])?;
            Ok(())
        })
        .await
        .map(|_| ())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_address_has_one_owner() {
    with_store(|store| async move {
        let barrier = Arc::new(Barrier::new(8));
        let mut callers = JoinSet::new();
        for caller in 0..8 {
            let (db, barrier) = (store.db.clone(), Arc::clone(&barrier));
            callers.spawn(async move {
                let (user, own) = (format!("user:{caller}"), format!("email:{caller}"));
                move_to(&db, &user, None, &own).await.unwrap();
                barrier.wait().await;
                (user, move_to(&db, &format!("user:{caller}"), Some(&own), "email:ada").await)
            });
        }
        let outcomes: BTreeMap<_, _> = callers.join_all().await.into_iter().collect();
        let (winners, losers): (Vec<_>, Vec<_>) =
            outcomes.into_iter().partition(|(_, outcome)| outcome.is_ok());
        assert_eq!((winners.len(), losers.len()), (1, 7));
        for (_, outcome) in losers {
            assert!(matches!(outcome, Err(ExecuteError::Domain("this address is taken"))));
        }
        // The losers keep theirs.
        let addresses = Repository::<Address>::new(&store.db, SOURCE);
        let owner = addresses.load("email:ada").await.unwrap().state.owner.unwrap();
        assert_eq!(owner, winners[0].0);
        for caller in 0..8 {
            let own = addresses.load(format!("email:{caller}")).await.unwrap();
            let expected = (format!("user:{caller}") != owner).then(|| format!("user:{caller}"));
            assert_eq!(own.state.owner, expected);
        }
        move_to(&store.db, &owner, Some("email:ada"), "email:free").await.unwrap();
        move_to(&store.db, "user:9", None, "email:ada").await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_subject_that_cannot_be_loaded_ends_the_decision() {
    with_store(|store| async move {
        let books = books(&store);
        let error = store
            .db
            .decision()
            .execute(async |decision| {
                let book = decision.load(&books, "book:1").await?;
                decision.append(&books, book, [BookEvent::Returned])?;
                let other = decision.load(&books, "$head/x").await?;
                decision.append(&books, other, [BookEvent::Returned])?;
                Ok::<_, ExecuteError<No>>(())
            })
            .await
            .unwrap_err();
        assert!(matches!(error, ExecuteError::Load(_)), "{error}");
        assert_eq!(store.rows().await, []);
    })
    .await;
}
