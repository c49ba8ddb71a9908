//! Commands that arrive twice are executed once, and the second answer has the first one's events.

use std::future::{Future, IntoFuture};
use std::sync::Arc;
use std::task::Poll;

use eventdb::{
    CapacityMeter, Error, Event, ExecuteError, Executed, ExtensionValue, Metadata, Repository,
    Snapshots,
};
use serde_json::json;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::library::{Book, BookEvent, LOANS, No, User, UserEvent, borrowed};
use crate::support::{SOURCE, Store, candidate_of_type, event, meanwhile, revisions, with_store};

fn books(store: &Store) -> Repository<Book> {
    Repository::new(&store.db, SOURCE)
}

fn users(store: &Store) -> Repository<User> {
    Repository::new(&store.db, SOURCE)
}

type Result<T> = std::result::Result<T, ExecuteError<No>>;

async fn borrow(books: &Repository<Book>, user: &str, command: &str) -> Result<Executed<Book>> {
    books.execute("book:1", |book| book.borrow(user)).command(command).await
}

#[tokio::test]
async fn the_second_answer_has_the_first_ones_events() {
    with_store(|store| async move {
        let books = books(&store);
        let first = borrow(&books, "user:456", "command-1").await.unwrap();
        assert!(!first.is_repetition);
        assert_eq!(revisions(&first.events), [1]);

        // The decision would return no events.
        let second = borrow(&books, "user:456", "command-1").await.unwrap();
        assert!(second.is_repetition);
        assert_eq!(second.events, first.events);
        assert_eq!(second.aggregate.state, first.aggregate.state);

        // The decision would say no.
        books.execute("book:1", Book::give_back).command("command-2").await.unwrap();
        let other = borrow(&books, "user:789", "command-3").await.unwrap();
        let late = borrow(&books, "user:456", "command-1").await.unwrap();
        assert!(late.is_repetition);
        assert_eq!(late.events, first.events);
        assert_eq!(late.aggregate.revision, 3, "the state is the current one");

        // The decision would say yes.
        let returned = books.execute("book:1", Book::give_back).await.unwrap();
        let last = borrow(&books, "user:789", "command-3").await.unwrap();
        assert!(last.is_repetition);
        assert_eq!(last.events, other.events);
        assert_eq!(store.subject("book:1").await.last(), returned.events.last());
    })
    .await;
}

#[tokio::test]
async fn a_repetition_takes_at_most_two_requests_more() {
    with_store(|store| async move {
        let meter = CapacityMeter::new();
        let books = Repository::<Book>::new(&store.db.metered_by(&meter), SOURCE);
        let mut before = meter.total().requests;
        let mut requests = || {
            let since = meter.total().requests - before;
            before += since;
            since
        };
        let two = |_: &Book| Ok::<_, No>([borrowed("user:456"), BookEvent::Returned]);
        // The first append of a subject looks for rows of the original library.
        books.execute("book:1", two).await.unwrap();
        requests();
        books.execute("book:1", two).await.unwrap();
        let without = requests();
        books.execute("book:1", two).command("command-1").await.unwrap();
        assert_eq!(requests(), without, "the first time costs no request");
        books.execute("book:1", two).command("command-1").await.unwrap();
        assert!(requests() <= without + 2);
        books
            .execute("book:1", |_| Err::<[BookEvent; 0], _>(No::NotBorrowed))
            .command("command-1")
            .await
            .unwrap();
        assert!(requests() <= without + 2);
    })
    .await;
}

#[tokio::test]
async fn several_events_of_several_subjects_belong_to_one_command() {
    with_store(|store| async move {
        let (books, users) = (books(&store), users(&store));
        let lend = |user: &'static str| {
            books
                .execute_with("book:1", &users, user, move |book, of| {
                    Ok::<_, No>((book.borrow(user)?, of.take("book:1")?))
                })
                .command("command-1")
        };
        let (book, user) = lend("user:456").await.unwrap();
        assert!(!book.is_repetition && !user.is_repetition);
        // The user has as many books as allowed by now.
        for _ in 1..LOANS {
            users.execute("user:456", |user| user.take("book:2")).await.unwrap();
        }
        let (again, user_again) = lend("user:456").await.unwrap();
        assert!(again.is_repetition && user_again.is_repetition);
        assert_eq!((again.events, user_again.events), (book.events.clone(), user.events.clone()));
        assert_eq!(user_again.aggregate.state.books.len(), LOANS);

        let all = store.db.fetch_command(SOURCE, "command-1").await.unwrap().unwrap();
        assert_eq!(all, [book.events, user.events].concat());

        // Another command has the same id.
        let error = lend("user:789").await.unwrap_err();
        let ExecuteError::CommandReused { command, subject } = error else { panic!("{error}") };
        assert_eq!((&*command, &*subject), ("command-1", "user:456"));
    })
    .await;
}

#[tokio::test]
async fn many_events_of_one_command_come_back_in_their_order() {
    with_store(|store| async move {
        let many = |_: &Book| Ok::<_, No>(vec![borrowed("user:456"); 98]);
        let first = books(&store).execute("book:1", many).command("command-1").await.unwrap();
        let second = books(&store).execute("book:1", many).command("command-1").await.unwrap();
        assert_eq!(second.events, first.events);
        assert_eq!(second.events.len(), 98);
        let more = |_: &Book| Ok::<_, No>(vec![borrowed("user:456"); 100]);
        let error = books(&store).execute("book:1", more).command("command-2").await.unwrap_err();
        let ExecuteError::Store(Error::TooLarge { what, allowed, .. }) = error else {
            panic!("{error:?}")
        };
        assert_eq!((what, allowed), ("actions", 100));
    })
    .await;
}

#[tokio::test]
async fn rejections_and_decisions_without_events_are_not_remembered() {
    with_store(|store| async move {
        let books = books(&store);
        let back = || books.execute("book:1", Book::give_back).command("command-1");
        assert!(matches!(back().await.unwrap_err(), ExecuteError::Domain(No::NotBorrowed)));
        let nothing = books.execute("book:1", |_| Ok::<_, No>(None)).command("command-2");
        let nothing = nothing.await.unwrap();
        assert_eq!((nothing.events.len(), nothing.is_repetition), (0, false));
        for command in ["command-1", "command-2"] {
            assert_eq!(store.db.fetch_command(SOURCE, command).await.unwrap(), None);
        }
        assert_eq!(store.rows().await, []);

        borrow(&books, "user:456", "command-2").await.unwrap();
        assert!(!back().await.unwrap().is_repetition);
        assert!(back().await.unwrap().is_repetition);
    })
    .await;
}

const CALLERS: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn callers_that_send_a_command_at_the_same_time_get_the_same_events() {
    with_store(|store| async move {
        for round in 0..10 {
            let barrier = Arc::new(Barrier::new(CALLERS));
            let mut callers = JoinSet::new();
            let subject = format!("book:{round}");
            for caller in 0..CALLERS {
                let (books, users) = (books(&store), users(&store));
                let (barrier, subject) = (Arc::clone(&barrier), subject.clone());
                callers.spawn(async move {
                    barrier.wait().await;
                    // Every second caller would say no after the first one, the others yes.
                    let decide = |book: &Book, _: &User| {
                        let user = format!("user:{caller}");
                        let events = match caller % 2 {
                            0 => book.borrow(&user)?,
                            _ => vec![borrowed(&user), BookEvent::Returned],
                        };
                        Ok::<_, No>((events, [UserEvent::Took { book: user }]))
                    };
                    let command = format!("command-{subject}");
                    books
                        .execute_with(&*subject, &users, format!("user:of {subject}"), decide)
                        .command(command)
                        .await
                });
            }
            let outcomes: Vec<_> =
                callers.join_all().await.into_iter().map(|outcome| outcome.unwrap()).collect();
            let stored = store.subject(&subject).await;
            let of_user = store.subject(&format!("user:of {subject}")).await;
            assert_eq!(of_user.len(), 1, "executed once");
            for (book, user) in &outcomes {
                assert_eq!((&book.events, &user.events), (&stored, &of_user));
                assert_eq!(book.aggregate.revision, stored.len() as u64);
            }
            let first = outcomes.iter().filter(|(book, _)| !book.is_repetition).count();
            assert_eq!(first, 1);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn commands_that_meet_are_all_executed_once() {
    with_store(|store| async move {
        let mut callers = JoinSet::new();
        let barrier = Arc::new(Barrier::new(3 * CALLERS));
        for caller in 0..3 * CALLERS {
            let (books, barrier) = (books(&store), Arc::clone(&barrier));
            callers.spawn(async move {
                barrier.wait().await;
                let command = format!("command-{}", caller % CALLERS);
                let lend = |_: &Book| Ok::<_, No>([borrowed(&command)]);
                books.execute("book:1", lend).command(&*command).await.unwrap()
            });
        }
        let outcomes = callers.join_all().await;
        let stored = store.subject("book:1").await;
        store.assert_sound(&stored);
        assert_eq!(stored.len(), CALLERS);
        for executed in &outcomes {
            assert!(stored.contains(&executed.events[0]));
        }
        let first = outcomes.iter().filter(|executed| !executed.is_repetition).count();
        assert_eq!(first, CALLERS);
    })
    .await;
}

#[tokio::test]
async fn a_caller_that_hangs_up_and_repeats_is_served_once() {
    with_store(|store| async move {
        let books = books(&store);
        let lend = |_: &Book| Ok::<_, No>([borrowed("user:456")]);
        let mut served = 0;
        for number in 0..20_u64 {
            let command = format!("command-{number}");
            let request = books.execute("book:1", lend).command(&*command).into_future();
            // Dropped at another moment each time: after that many wake-ups.
            let mut wakes = 0;
            let mut request = std::pin::pin!(request);
            let hung_up = futures_util::future::poll_fn(|context| {
                wakes += 1;
                match request.as_mut().poll(context) {
                    Poll::Pending if wakes <= number => Poll::Pending,
                    other => Poll::Ready(other.is_pending()),
                }
            });
            served += u32::from(!hung_up.await);
            let executed = books.execute("book:1", lend).command(&*command).await.unwrap();
            assert_eq!(executed.events.len(), 1);
        }
        let stored = store.subject("book:1").await;
        store.assert_sound(&stored);
        assert_eq!(stored.len(), 20);
        assert!(served < 20, "nobody hung up");
    })
    .await;
}

#[tokio::test]
async fn a_command_can_be_asked_for() {
    with_store(|store| async move {
        assert_eq!(store.db.fetch_command(SOURCE, "command-1").await.unwrap(), None);
        let executed = borrow(&books(&store), "user:456", "command-1").await.unwrap();
        let found = store.db.fetch_command(SOURCE, "command-1").await.unwrap();
        assert_eq!(found, Some(executed.events));
        assert_eq!(store.db.fetch_command("https://other", "command-1").await.unwrap(), None);
        for (id, fault) in [
            ("", "empty"),
            ("a\nb", "control characters"),
            (&*"c".repeat(3000), "too long together with the source"),
        ] {
            let error = store.db.fetch_command(SOURCE, id).await.unwrap_err().to_string();
            assert!(error.contains("command id") && error.contains(fault), "{error}");
            let error = borrow(&books(&store), "user:456", id).await.unwrap_err().to_string();
            assert!(error.contains(fault), "{error}");
        }
        // Any other text is an id.
        for id in ["x", "#%/$", "Befehl ü 🚲", &"c".repeat(900)] {
            let lend = |_: &Book| Ok::<_, No>([borrowed("user:456")]);
            let executed = books(&store).execute("book:1", lend).command(id).await.unwrap();
            let found = store.db.fetch_command(SOURCE, id).await.unwrap();
            assert_eq!(found, Some(executed.events), "{id}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_caller_states_the_revision_that_it_saw() {
    with_store(|store| async move {
        let books = books(&store);
        let at = |revision| books.execute("book:1", Book::give_back).only_at_revision(revision);
        let first = books.execute("book:1", |book| book.borrow("user:456")).only_at_revision(0);
        assert_eq!(first.command("command-1").await.unwrap().aggregate.revision, 1);
        for revision in [0, 2, u64::MAX] {
            let error = at(revision).command("command-2").await.unwrap_err();
            assert!(!error.is_retryable());
            let ExecuteError::OtherRevision { subject, expected, actual } = error else {
                panic!("{error}")
            };
            assert_eq!((&*subject, expected, actual), ("book:1", revision, 1));
        }
        assert_eq!(at(1).command("command-2").await.unwrap().aggregate.revision, 2);
        // Repeated, with the revision of the first time.
        let again = at(1).command("command-2").await.unwrap();
        assert!(again.is_repetition);
        assert_eq!(revisions(&again.events), [2]);
        assert!(matches!(at(1).await.unwrap_err(), ExecuteError::OtherRevision { actual: 2, .. }));

        let users = users(&store);
        let both = |book: u64, user: u64| {
            books
                .execute_with("book:1", &users, "user:456", |book, user| {
                    Ok::<_, No>((book.borrow("user:456")?, user.take("book:1")?))
                })
                .only_at_revision(book)
                .only_at_other_revision(user)
        };
        for (book, user, subject) in [(1, 0, "book:1"), (2, 1, "user:456")] {
            let error = both(book, user).await.unwrap_err();
            let ExecuteError::OtherRevision { subject: of, .. } = error else { panic!("{error}") };
            assert_eq!(of, subject);
        }
        both(2, 0).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revision_that_others_pass_meanwhile_is_not_the_one_that_the_caller_saw() {
    with_store(|store| async move {
        let mut decisions = 0;
        let error = books(&store)
            .execute("book:1", |_| {
                decisions += 1;
                let other = candidate_of_type("book:1", "book.returned");
                meanwhile(store.db.add_new_events([other]).into_future()).unwrap();
                Ok::<_, No>([borrowed("user:456")])
            })
            .only_at_revision(0)
            .await
            .unwrap_err();
        assert!(matches!(error, ExecuteError::OtherRevision { expected: 0, actual: 1, .. }));
        assert_eq!(decisions, 1);
    })
    .await;
}

#[tokio::test]
async fn snapshots_are_written_and_used_with_commands() {
    with_store(|store| async move {
        let snapshots = Snapshots { name: "book", version: 1, every: 2 };
        let books = books(&store).with_snapshots(snapshots);
        for number in 0..4 {
            let lend = |_: &Book| Ok::<_, No>([borrowed("user:456")]);
            let command = format!("command-{number}");
            let executed = books.execute("book:1", lend).command(&*command).await.unwrap();
            if let Some(write) = executed.snapshot {
                write.await.unwrap();
            }
            let again = books.execute("book:1", lend).command(&*command).await.unwrap();
            assert!(again.is_repetition);
            assert_eq!(again.events, executed.events);
            assert_eq!(again.aggregate.state.loans, number + 1);
        }
        let loaded = books.load("book:1").await.unwrap();
        assert_eq!((loaded.read.snapshot, loaded.state.loans), (Some(4), 4));
    })
    .await;
}

#[tokio::test]
async fn a_repetition_may_come_with_another_trace() {
    with_store(|store| async move {
        let books = books(&store);
        let lend = |trace: &str| {
            let lend = |book: &Book| book.borrow("user:456");
            books.execute("book:1", lend).command("command-1").extension("traceid", trace)
        };
        let trace = |events: &[Event]| events[0].extensions["traceid"].clone();
        let first = lend("first").await.unwrap();
        assert_eq!(trace(&first.events), ExtensionValue::from("first"));
        assert_eq!(trace(&lend("second").await.unwrap().events), "first".into());
    })
    .await;
}

#[tokio::test]
async fn a_command_whose_event_was_removed_says_so() {
    with_store(|store| async move {
        let executed = borrow(&books(&store), "user:456", "command-1").await.unwrap();
        store.remove(&executed.events[0]).await;
        let error = store.db.fetch_command(SOURCE, "command-1").await.unwrap_err();
        let error = format!("{error:#}");
        for part in ["book:1", "was removed from the table", "command `command-1`"] {
            assert!(error.contains(part), "{error}");
        }
        assert!(store.db.fetch_events_for_subject("$command/x").await.is_err());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reaction_happens_once_per_event() {
    with_store(|store| async move {
        let lent = borrow(&books(&store), "user:456", "command-1").await.unwrap().events.remove(0);
        let barrier = Arc::new(Barrier::new(CALLERS));
        let mut deliveries = JoinSet::new();
        for _ in 0..CALLERS {
            let (users, event) = (users(&store), lent.clone());
            let barrier = Arc::clone(&barrier);
            deliveries.spawn(async move {
                barrier.wait().await;
                let take = |user: &User| user.take("book:1");
                users.execute("user:456", take).in_reaction_to("took", &event).await.unwrap()
            });
        }
        let outcomes = deliveries.join_all().await;
        let took = store.subject("user:456").await;
        assert_eq!(took.len(), 1);
        assert!(outcomes.iter().all(|executed| executed.events == took));
        let metadata = Metadata::of(&took[0]);
        assert_eq!(metadata.causation.as_deref(), Some(&*lent.id));
        assert_eq!(metadata.correlation.as_deref(), Some(&*lent.id));

        // Another reaction to the event, the same one to other events, and one over two subjects.
        let (users, books) = (users(&store), books(&store));
        let take = || users.execute("user:456", |user| user.take("book:2"));
        assert!(!take().in_reaction_to("counted", &lent).await.unwrap().is_repetition);
        assert!(!take().in_reaction_to("took", &took[0]).await.unwrap().is_repetition);
        let mut long = lent.clone();
        (long.id, long.source) = ("i".repeat(2048), "https://library.example.com/".repeat(50));
        for is_repetition in [false, true] {
            let both = books
                .execute_with("book:3", &users, "user:789", |_, user| {
                    Ok::<_, No>(([borrowed("user:789")], user.take("book:3")?))
                })
                .in_reaction_to("took", &long);
            assert_eq!(both.await.unwrap().0.is_repetition, is_repetition);
            let decided = store
                .db
                .decision()
                .in_reaction_to(SOURCE, "returned", &long)
                .execute(async |decision| {
                    let book = decision.load(&books, "book:3").await?;
                    let events = book.state.give_back().map_err(ExecuteError::Domain)?;
                    Ok::<_, ExecuteError<No>>(decision.append(&books, book, events)?)
                })
                .await
                .unwrap();
            assert_eq!(decided.is_repetition, is_repetition);
        }
    })
    .await;
}

/// The id is stored, so it must stay what it is.
#[tokio::test]
async fn the_command_id_of_a_reaction_never_changes() {
    with_store(|store| async move {
        let event = event("book:1", "evt-1", 1_738_074_600_000, json!({}));
        let take = |user: &User| user.take("book:1");
        users(&store).execute("user:456", take).in_reaction_to("took", &event).await.unwrap();
        let id = "reaction/took/49bbd356-d39c-5809-acd1-e24dc6c1ed99";
        assert!(store.db.fetch_command(SOURCE, id).await.unwrap().is_some());
    })
    .await;
}
