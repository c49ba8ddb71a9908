//! Commands and decisions on the same network: callers that meet on few accounts, are cut off and
//! killed, and send their commands again, also with another decision.
//!
//! Each event says what its decision saw. Afterwards, one serial order must explain all decisions.
//!
//! `EVENTDB_STORM_SEED=<seed> cargo test -p eventdb --test storm one_order` runs a failing run again,
//! and `EVENTDB_STORM_CALLS=100000` makes it longer.

mod account;
mod record;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use eventdb::{
    Error, Event, EventDb, ExecuteError, Executed, LoadError, Repository, Snapshots, TableLayout,
};
use fastrand::Rng;
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};

use crate::network::{Clock, Network};
use crate::{ATTEMPTS, PERCENTAGE, SOURCE, TABLE, from_environment};
use account::{Account, AccountEvent, Intent, Kind, Seen, TooLittle};
use record::{Answer, Call, Ending, Record};

const CALLERS: u64 = 12;
/// So few that most decisions meet others.
const ACCOUNTS: u64 = 16;
const CALLS: u64 = 800;
/// Of how many calls one is cut off.
const CUT_OFF: u8 = 24;
/// How many of the latest commands may be sent again by anybody.
const REMEMBERED: usize = 12;

#[test]
fn one_order_explains_what_every_decision_saw_by_time() {
    one_order_explains_what_every_decision_saw(TableLayout::ByTime);
}

#[test]
fn one_order_explains_what_every_decision_saw_by_revision() {
    one_order_explains_what_every_decision_saw(TableLayout::ByRevision);
}

fn one_order_explains_what_every_decision_saw(layout: TableLayout) {
    let seed = from_environment("EVENTDB_STORM_SEED").unwrap_or_else(|| fastrand::u64(..));
    let calls = from_environment("EVENTDB_STORM_CALLS").unwrap_or(CALLS);
    eprintln!("to run this again: EVENTDB_STORM_SEED={seed} EVENTDB_STORM_CALLS={calls}");
    let (record, lasted) = storm(layout, seed, calls);
    record.assert_explained();
    let endings = record.endings();
    eprintln!("{} events, {endings:?}, in {lasted:?}", record.events());
    if calls >= CALLS {
        // Each way to end was met.
        for (ending, fewest) in [
            ("stored", 100),
            ("repeated", 30),
            ("without events", 3),
            ("rejected", 20),
            ("killed", 15),
            ("OtherRevision", 1),
            ("CommandReused", 3),
            ("settled", 0),
        ] {
            assert!(endings.get(ending).is_some_and(|count| *count > fewest), "{endings:?}");
        }
    }
}

#[test]
fn a_seed_always_gives_the_same_decisions() {
    for layout in [TableLayout::ByTime, TableLayout::ByRevision] {
        let seed = fastrand::u64(..);
        let [(first, lasted), (second, lasted_again)] = [(); 2].map(|()| storm(layout, seed, 150));
        assert_eq!(lasted, lasted_again, "{seed}");
        assert_eq!(first.endings(), second.endings(), "{seed}");
        assert_eq!(first.events(), second.events(), "{seed}");
    }
}

fn storm(layout: TableLayout, seed: u64, calls: u64) -> (Record, Duration) {
    // The jitter of pauses, too.
    fastrand::seed(seed);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    LocalSet::new().block_on(&runtime.unwrap(), call_and_read(layout, seed, calls))
}

/// What all callers share.
struct Run {
    clock: Clock,
    begun: Cell<u64>,
    wanted: u64,
    record: RefCell<Record>,
    /// The latest commands.
    commands: RefCell<VecDeque<(u64, Intent)>>,
}

async fn call_and_read(layout: TableLayout, seed: u64, wanted: u64) -> (Record, Duration) {
    let clock = Clock::start();
    let network = Network::new(dynoxide::Database::memory().unwrap(), seed, PERCENTAGE, clock);
    let calm = network.calm().client();
    EventDb::create_table(&calm, TABLE).layout(layout).await.unwrap();
    let run = Rc::new(Run {
        clock,
        begun: Cell::new(0),
        wanted,
        record: RefCell::default(),
        commands: RefCell::default(),
    });
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let random = Rng::with_seed(seed ^ (caller + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let network = network.of_one_service();
            let db = EventDb::new(network.client(), TABLE).with_layout(layout);
            let accounts = Repository::new(&db, SOURCE);
            // Some use snapshots of others, some read whole histories.
            let accounts = match caller % 2 {
                0 => accounts.with_snapshots(Snapshots { name: "account", version: 1, every: 8 }),
                _ => accounts,
            };
            let caller = Caller { run: Rc::clone(&run), random, network, db, accounts };
            tokio::task::spawn_local(caller.work())
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    // What is on its way arrives.
    sleep(Duration::from_secs(60)).await;

    let mut record = run.record.take();
    let db = EventDb::new(calm, TABLE).with_layout(layout);
    for account in 0..ACCOUNTS {
        let history = db.fetch_events_for_subject(name(account)).await.unwrap();
        assert!(history.invalid.is_empty() && history.missing.is_empty());
        record.histories.insert(name(account), history.events);
    }
    let commands: Vec<u64> = record.calls.iter().filter_map(|call| call.command).collect();
    for command in commands {
        let events = db.fetch_command(SOURCE, &command_id(command)).await.unwrap();
        record.commands.insert(command, events);
    }
    (record, clock.elapsed())
}

fn name(account: u64) -> String {
    format!("account:{account}")
}

fn command_id(command: u64) -> String {
    format!("command-{command}")
}

/// A service that executes commands, is killed and starts again.
struct Caller {
    run: Rc<Run>,
    random: Rng,
    network: Network,
    db: EventDb,
    accounts: Repository<Account>,
}

/// One call.
struct Order {
    number: u64,
    command: Option<u64>,
    /// The revision of the first account that the caller requires.
    required: Option<u64>,
    intent: Intent,
}

type Answered = Result<Answer, ExecuteError<TooLittle>>;

impl Caller {
    async fn work(mut self) {
        while let Some(number) = self.next_call() {
            let order = self.order(number);
            self.make(order).await;
        }
    }

    fn next_call(&self) -> Option<u64> {
        let number = self.run.begun.get();
        self.run.begun.set(number + 1);
        (number < self.run.wanted).then_some(number)
    }

    /// A new command, one that was sent before, or none.
    fn order(&mut self, number: u64) -> Order {
        let mut intent = self.intent();
        let command = match self.random.u8(0..10) {
            0..2 => None,
            2..5 => {
                let commands = self.run.commands.borrow();
                self.random.choice(commands.iter().cloned()).map(|(command, former)| {
                    match self.random.u8(0..4) {
                        // Another decision on other accounts.
                        0 => {}
                        // Another one on the same accounts.
                        1 => {
                            let Intent { kind, cents, .. } = intent;
                            intent = Intent { kind, cents, ..former };
                        }
                        _ => intent = former,
                    }
                    command
                })
            }
            _ => {
                let mut commands = self.run.commands.borrow_mut();
                commands.push_back((number, intent.clone()));
                if commands.len() > REMEMBERED {
                    commands.pop_front();
                }
                Some(number)
            }
        };
        let required = (self.random.u8(0..10) == 0 && intent.is_of_repositories())
            .then(|| self.last_seen(&intent.account));
        Order { number, command, required, intent }
    }

    fn intent(&mut self) -> Intent {
        const KINDS: [Kind; 8] = [
            Kind::Deposit,
            Kind::Deposit,
            Kind::Withdraw,
            Kind::Transfer,
            Kind::Overdraw,
            Kind::Collect,
            Kind::Collect,
            Kind::Share,
        ];
        let kind = KINDS[self.random.usize(0..KINDS.len())];
        let account = self.random.u64(0..ACCOUNTS);
        let other = (account + self.random.u64(1..ACCOUNTS)) % ACCOUNTS;
        let cents = match kind {
            Kind::Withdraw if self.random.bool() => 0,
            _ => self.random.i64(0..8),
        };
        Intent { kind, account: name(account), other: name(other), cents }
    }

    /// The revision that somebody was told last, or the next one.
    fn last_seen(&mut self, account: &str) -> u64 {
        let record = self.run.record.borrow();
        let told = record.calls.iter().rev().find_map(|call| match &call.ending {
            Ending::Answered(answer) => answer.states.get(account).map(|state| state.revision),
            _ => None,
        });
        told.unwrap_or(0) + u64::from(self.random.u8(0..4) == 0)
    }

    /// Makes the call, and makes it again if its end is unknown and it is a command.
    async fn make(&mut self, mut order: Order) {
        if self.random.u8(0..CUT_OFF) == 0 {
            self.network.cut_off(ATTEMPTS);
        }
        loop {
            let began = self.run.clock.elapsed();
            let ending = self.end_of(&order).await;
            let ended = self.run.clock.elapsed();
            let is_unknown = matches!(ending, Ending::Killed | Ending::Failed(_));
            self.run.record.borrow_mut().calls.push(Call {
                number: order.number,
                command: order.command,
                required: order.required.map(|revision| (order.intent.account.clone(), revision)),
                began,
                ended,
                ending,
            });
            let is_worth_it = is_unknown && order.command.is_some() && self.random.u8(0..8) > 0;
            let Some(number) = is_worth_it.then(|| self.next_call()).flatten() else { return };
            order.number = number;
        }
    }

    async fn end_of(&mut self, order: &Order) -> Ending {
        let killed_after = if self.random.u8(0..8) == 0 {
            Duration::from_micros(self.random.u64(0..30_000))
        } else {
            Duration::MAX
        };
        let answered = match timeout(killed_after, self.call(order)).await {
            Ok(answered) => answered,
            Err(_) => return Ending::Killed,
        };
        match answered {
            Ok(answer) => Ending::Answered(answer),
            Err(ExecuteError::Domain(TooLittle(seen))) => Ending::Rejected(seen),
            Err(ExecuteError::OtherRevision { subject, expected, actual }) => {
                assert_eq!(Some(expected), order.required);
                Ending::OtherRevision { subject, actual }
            }
            Err(ExecuteError::CommandReused { subject, .. }) => Ending::CommandReused(subject),
            Err(ExecuteError::Store(Error::OutcomeUnknown { events, .. })) => {
                if order.command.is_some() && self.random.bool() {
                    return Ending::Killed;
                }
                let mut events = events;
                loop {
                    match self.db.add_events(events).await {
                        Ok(events) => return Ending::Settled(events),
                        Err(Error::OutcomeUnknown { events: still, .. }) => events = still,
                        Err(error) if error.is_retryable() => {
                            panic!("nothing is known, but nothing was stored, it says: {error:#}")
                        }
                        Err(error) => return Ending::Failed(format!("settled: {error:?}")),
                    }
                }
            }
            Err(ExecuteError::Load(LoadError::Store(error)) | ExecuteError::Store(error))
                if error.is_retryable() =>
            {
                Ending::Failed(format!("{error:?}"))
            }
            Err(error @ ExecuteError::Contended { .. }) => Ending::Failed(format!("{error:?}")),
            Err(error) => panic!("failed without a cause: {error:?}"),
        }
    }

    async fn call(&self, order: &Order) -> Answered {
        match order.intent.kind {
            Kind::Deposit | Kind::Withdraw => self.execute(order).await,
            Kind::Transfer | Kind::Overdraw => self.execute_with(order).await,
            Kind::Collect | Kind::Share => self.decide(order).await,
        }
    }

    async fn execute(&self, Order { number, command, required, intent }: &Order) -> Answered {
        let mut request = self.accounts.execute(&*intent.account, |account| {
            let seen = Seen::from([(intent.account.clone(), *account)]);
            let events = intent.events(*number, &seen)?.into_iter();
            Ok(events.map(|(_, event)| event).collect::<Vec<_>>())
        });
        if let Some(command) = command {
            request = request.command(command_id(*command));
        }
        if let Some(revision) = required {
            request = request.only_at_revision(*revision);
        }
        let executed = request.await?;
        Ok(Answer::of([executed]))
    }

    async fn execute_with(&self, Order { number, command, required, intent }: &Order) -> Answered {
        let Intent { account, other, .. } = intent;
        let mut request =
            self.accounts.execute_with(&**account, &self.accounts, &**other, |one, another| {
                let seen = Seen::from([(account.clone(), *one), (other.clone(), *another)]);
                let events = intent.events(*number, &seen)?;
                let (of_one, of_other): (Vec<_>, Vec<_>) =
                    events.into_iter().partition(|(subject, _)| subject == account);
                let events = |of: Vec<(String, AccountEvent)>| of.into_iter().map(|(_, e)| e);
                Ok((events(of_one), events(of_other)))
            });
        if let Some(command) = command {
            request = request.command(command_id(*command));
        }
        if let Some(revision) = required {
            request = request.only_at_revision(*revision);
        }
        let (one, another) = request.await?;
        Ok(Answer::of([one, another]))
    }

    /// Each account tells which one comes next.
    async fn decide(&self, Order { number, command, intent, .. }: &Order) -> Answered {
        let mut request = self.db.decision();
        if let Some(command) = command {
            request = request.command(SOURCE, command_id(*command));
        }
        let accounts = &self.accounts;
        let decided = request
            .execute(async |decision| {
                let mut loaded = BTreeMap::new();
                let mut next = intent.account.clone();
                for _ in 0..2 + intent.cents % 4 {
                    let account = decision.load(accounts, &*next).await?;
                    let richest = account.state.cents.unsigned_abs() % ACCOUNTS;
                    loaded.insert(next, account);
                    next = name(richest);
                    if loaded.contains_key(&next) {
                        break;
                    }
                }
                let seen: Seen =
                    loaded.iter().map(|(subject, of)| (subject.clone(), of.state)).collect();
                let mut events = intent.events(*number, &seen).map_err(ExecuteError::Domain)?;
                while let Some((subject, _)) = events.first() {
                    let account = loaded.remove(subject).unwrap();
                    let of_it = events.extract_if(.., |(of, _)| *of == account.subject);
                    let of_it: Vec<_> = of_it.map(|(_, event)| event).collect();
                    decision.append(accounts, account, of_it)?;
                }
                Ok::<_, ExecuteError<TooLittle>>(())
            })
            .await?;
        assert_eq!(decided.value.is_none(), decided.is_repetition);
        Ok(Answer {
            events: decided.events,
            is_repetition: decided.is_repetition,
            states: BTreeMap::new(),
        })
    }
}

impl Intent {
    /// Whether a repository executes it, which can require a revision.
    fn is_of_repositories(&self) -> bool {
        !matches!(self.kind, Kind::Collect | Kind::Share)
    }
}

impl Answer {
    fn of<const COUNT: usize>(executed: [Executed<Account>; COUNT]) -> Self {
        let mut answer = Self { events: vec![], is_repetition: false, states: BTreeMap::new() };
        for Executed { aggregate, events, is_repetition, .. } in executed {
            assert_eq!(aggregate.revision, aggregate.state.revision, "{}", aggregate.subject);
            answer.is_repetition = is_repetition;
            answer.events.extend::<Vec<Event>>(events);
            answer.states.insert(aggregate.subject, aggregate.state);
        }
        answer
    }
}
