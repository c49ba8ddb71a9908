//! Thousands of appends by writers that meet, are cut off and are killed, on a network on which
//! everything goes wrong; afterwards one history must explain all that anybody saw.
//!
//! It runs in virtual time on one thread, with the database engine called directly: a seed settles
//! what each writer does, which fault each request meets and what time it is, so that it always
//! gives the same run. A failing run prints its seed:
//! `EVENTDB_STORM_SEED=<seed> cargo test -p eventdb --test storm one_history` runs it again, and
//! `EVENTDB_STORM_APPENDS=1000000` makes it longer.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    missing_docs,
    reason = "a test fails by a panic"
)]

mod decisions;
mod network;
mod record;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use eventdb::{
    Error, Event, EventCandidate, EventDb, KnownRevision, Precondition, TableLayout,
    UnsettledEvents,
};
use fastrand::Rng;
use serde_json::{Value, json};
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::{sleep, timeout};

use crate::network::{Clock, Fault, KINDS, Network};
use crate::record::{Append, Outcome, Read, Record, assert_sound, ids};

const WRITERS: u64 = 16;
const SUBJECTS: u64 = 50;
const APPENDS: u64 = 20_000;
/// Of a hundred requests, how many meet a fault.
const PERCENTAGE: u8 = 12;
/// Of how many appends one is made by a service that is cut off while it makes it.
const CUT_OFF: u8 = 64;
/// As many requests as the store sends for one append before it gives up.
const ATTEMPTS: usize = 16;
const TABLE: &str = "StormEvents";
const SOURCE: &str = "https://library.example.com";

/// What all writers share.
struct Run {
    layout: TableLayout,
    network: Network,
    clock: Clock,
    begun: Cell<u64>,
    wanted: u64,
    record: RefCell<Record>,
    /// The services that were cut off in the middle of an append.
    cut_off: RefCell<Vec<JoinHandle<()>>>,
}

/// What came of a run.
struct Outcomes {
    histories: BTreeMap<String, Vec<Event>>,
    record: Record,
    met: BTreeMap<Fault, u64>,
    lasted: Duration,
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a whole number"))
}

#[test]
fn one_history_explains_what_everybody_saw_by_time() {
    one_history_explains_what_everybody_saw(TableLayout::ByTime);
}

#[test]
fn one_history_explains_what_everybody_saw_by_revision() {
    one_history_explains_what_everybody_saw(TableLayout::ByRevision);
}

fn one_history_explains_what_everybody_saw(layout: TableLayout) {
    let seed = from_environment("EVENTDB_STORM_SEED").unwrap_or_else(|| fastrand::u64(..));
    let wanted = from_environment("EVENTDB_STORM_APPENDS").unwrap_or(APPENDS);
    eprintln!("to run this again: EVENTDB_STORM_SEED={seed} EVENTDB_STORM_APPENDS={wanted}");
    let Outcomes { histories, record, met, lasted } = storm(layout, seed, wanted);
    record.assert_explained_by(&histories, layout);

    let outcomes = record.outcomes();
    let events = histories.values().map(Vec::len).sum::<usize>();
    let reads = record.reads.len();
    eprintln!("{events} events, {reads} reads, {outcomes:?}, {met:?}, in {lasted:?}");
    assert!(record.appends.len() >= usize::try_from(wanted).unwrap());
    if wanted >= APPENDS {
        // Each kind of fault was met, and each way to end.
        assert_eq!(met.len(), KINDS, "{met:?}");
        let endings = [
            ("acknowledged", record.appends.len() / 2),
            ("Conflict", 100),
            ("killed", 100),
            ("acknowledged once settled", 50),
            match layout {
                TableLayout::ByRevision => ("Conflict once settled", 20),
                _ => ("NotNewer once settled", 20),
            },
        ];
        for (ending, fewest) in endings {
            assert!(outcomes.get(ending).is_some_and(|count| *count > fewest), "{outcomes:?}");
        }
    }
}

#[test]
fn a_seed_always_gives_the_same_run() {
    for layout in [TableLayout::ByTime, TableLayout::ByRevision] {
        a_seed_gives_the_same_run(layout);
    }
}

fn a_seed_gives_the_same_run(layout: TableLayout) {
    /// All but the ids, which are random.
    fn without_ids(events: &[Event]) -> Vec<(&str, Option<u64>, DateTime<Utc>, &Value)> {
        events
            .iter()
            .map(|event| {
                (event.subject.as_str(), event.revision, event.time, event.data.as_value())
            })
            .collect()
    }
    let seed = fastrand::u64(..);
    let [first, second] = [(); 2].map(|()| storm(layout, seed, 1_000));
    assert_eq!((first.lasted, &first.met), (second.lasted, &second.met), "{seed}");
    assert_eq!(first.record.outcomes(), second.record.outcomes(), "{seed}");
    for (first, second) in first.record.appends.iter().zip(&second.record.appends) {
        assert_eq!((first.number, first.ended), (second.number, second.ended), "{seed}");
    }
    for (subject, events) in &first.histories {
        assert_eq!(without_ids(events), without_ids(&second.histories[subject]), "{seed}");
    }
}

fn storm(layout: TableLayout, seed: u64, wanted: u64) -> Outcomes {
    // The jitter of pauses, too.
    fastrand::seed(seed);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    LocalSet::new().block_on(&runtime.unwrap(), write_and_read(layout, seed, wanted))
}

async fn write_and_read(layout: TableLayout, seed: u64, wanted: u64) -> Outcomes {
    let clock = Clock::start();
    let network = Network::new(dynoxide::Database::memory().unwrap(), seed, PERCENTAGE, clock);
    let calm = network.calm().client();
    EventDb::create_table(&calm, TABLE).layout(layout).await.unwrap();
    let run = Rc::new(Run {
        layout,
        network: network.clone(),
        clock,
        begun: Cell::new(0),
        wanted,
        record: RefCell::default(),
        cut_off: RefCell::default(),
    });
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let random = Rng::with_seed(seed ^ (writer + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
            tokio::task::spawn_local(Writer::new(Rc::clone(&run), random).write())
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    for service in run.cut_off.take() {
        service.await.unwrap();
    }
    // What is on its way arrives.
    sleep(Duration::from_secs(60)).await;

    let db = EventDb::new(calm, TABLE).with_layout(layout);
    let mut histories = BTreeMap::new();
    for subject in 0..SUBJECTS {
        let history = db.fetch_events_for_subject(name(subject)).await.unwrap();
        assert!(history.invalid.is_empty() && history.missing.is_empty());
        histories.insert(name(subject), history.events);
    }
    let all = db.fetch_all_events().await.unwrap();
    assert_eq!(ids(&all.events), ids(histories.values().flatten()), "the index differs");
    Outcomes { histories, record: run.record.take(), met: network.met(), lasted: clock.elapsed() }
}

fn name(subject: u64) -> String {
    format!("book:{subject}")
}

/// A service that appends, reads, is killed and starts again.
struct Writer {
    run: Rc<Run>,
    random: Rng,
    network: Network,
    db: EventDb,
    /// Whether nothing that it sends is answered, until it gives up once.
    is_cut_off: bool,
    /// What it knows of subjects: their last events, which may be others' by now.
    known: BTreeMap<String, Event>,
    /// What it has read of subjects itself.
    read: BTreeMap<String, KnownRevision>,
}

/// What is sent, and can be sent again.
#[derive(Clone)]
enum Request {
    New(Vec<EventCandidate>),
    /// With ids of the caller's own, so that even a killed writer can repeat it.
    Owned(Vec<EventCandidate>),
    Complete(Vec<Event>),
    Unsettled(UnsettledEvents),
}

impl Writer {
    fn new(run: Rc<Run>, random: Rng) -> Self {
        let network = run.network.of_one_service();
        let db = EventDb::new(network.client(), TABLE).with_layout(run.layout);
        Self {
            run,
            random,
            network,
            db,
            is_cut_off: false,
            known: BTreeMap::new(),
            read: BTreeMap::new(),
        }
    }

    /// Another service that knows the same, and which is cut off while the others go on: for all
    /// its pauses it takes longer than a hundred of their appends.
    fn cut_off(&mut self) -> Self {
        let other = Self::new(Rc::clone(&self.run), self.random.fork());
        Self { is_cut_off: true, known: self.known.clone(), ..other }
    }

    async fn write(mut self) {
        while self.run.begun.get() < self.run.wanted {
            if self.random.u8(0..30) == 0 {
                self.read().await;
            } else {
                let number = self.run.begun.get();
                self.run.begun.set(number + 1);
                if self.random.u8(0..CUT_OFF) == 0 {
                    let mut other = self.cut_off();
                    let append =
                        tokio::task::spawn_local(async move { other.append(number).await });
                    self.run.cut_off.borrow_mut().push(append);
                } else {
                    self.append(number).await;
                }
            }
        }
    }

    async fn append(&mut self, number: u64) {
        let (request, preconditions) = self.request(number);
        let began = self.run.clock.elapsed();
        let (outcome, was_unsettled) = self.send(&request, &preconditions).await;
        let ended = self.run.clock.elapsed();
        if let Outcome::Acknowledged(events) = &outcome {
            for event in events {
                self.known.insert(event.subject.clone(), event.clone());
            }
        }
        let events = match request {
            Request::New(candidates) | Request::Owned(candidates) => {
                candidates.into_iter().map(|candidate| candidate.subject).collect()
            }
            Request::Complete(events) => events.into_iter().map(|event| event.subject).collect(),
            Request::Unsettled(_) => unreachable!("only what is sent again"),
        };
        let append = Append { number, events, preconditions, began, ended, outcome, was_unsettled };
        self.run.record.borrow_mut().appends.push(append);
    }

    /// Sends it until its outcome is known, as far as that is possible, and tells whether the store
    /// once didn't know it.
    async fn send(&mut self, request: &Request, preconditions: &[Precondition]) -> (Outcome, bool) {
        let mut request = request.clone();
        let mut is_certain = true;
        let mut was_unsettled = false;
        if self.is_cut_off && matches!(request, Request::Owned(_)) && self.random.bool() {
            // It had sent it before, and forgot what came of it.
            let _forgotten = self.send_once(request.clone(), preconditions).await;
            is_certain = false;
        }
        let outcome = loop {
            if self.is_cut_off {
                self.network.cut_off(ATTEMPTS);
            }
            let is_settling = matches!(request, Request::Unsettled(_));
            if is_settling && !self.is_cut_off && self.random.u8(0..3) == 0 {
                self.network.throttle(ATTEMPTS);
            }
            let sent = self.send_once(request.clone(), preconditions);
            let sent = if self.random.u8(0..10) == 0 {
                let killed_after = Duration::from_micros(self.random.u64(0..20_000));
                timeout(killed_after, sent).await.ok()
            } else {
                Some(sent.await)
            };
            self.is_cut_off &= sent.is_none();
            match (sent, &request) {
                // It starts again with what it had kept: all of the request, or nothing.
                (None, Request::Owned(_) | Request::Complete(_)) => is_certain = false,
                (None, Request::New(_) | Request::Unsettled(_)) => {
                    self.known.clear();
                    break Outcome::Unknown;
                }
                (Some(Ok(events)), _) => break Outcome::Acknowledged(events),
                (Some(Err(Error::OutcomeUnknown { events, .. })), _) => {
                    (is_certain, was_unsettled) = (false, true);
                    request = Request::Unsettled(events);
                }
                (Some(Err(error)), _) if is_settling && error.is_retryable() => {
                    panic!("nothing is known, but it says that nothing was stored: {error:#}");
                }
                // What had been sent before may have happened.
                (Some(Err(error)), _) if !is_certain && error.is_retryable() => {}
                (Some(Err(error)), _) => break Outcome::Refused(error),
            }
        };
        (outcome, was_unsettled)
    }

    fn send_once(
        &self,
        request: Request,
        preconditions: &[Precondition],
    ) -> impl Future<Output = Result<Vec<Event>, Error>> + use<> {
        let preconditions = preconditions.to_vec();
        let db = self.db.clone();
        async move {
            match request {
                Request::New(candidates) | Request::Owned(candidates) => {
                    let request = db.add_new_events(candidates);
                    preconditions.into_iter().fold(request, |r, p| r.only_if(p)).await
                }
                Request::Complete(events) => {
                    let request = db.add_events(events);
                    preconditions.into_iter().fold(request, |r, p| r.only_if(p)).await
                }
                // It brings its preconditions.
                Request::Unsettled(events) => db.add_events(events).await,
            }
        }
    }

    /// Some append; what it holds tells where it comes from.
    fn request(&mut self, number: u64) -> (Request, Vec<Precondition>) {
        let kind = self.random.u8(0..12);
        let subjects = if kind < 7 || self.random.bool() { 1 } else { self.random.u64(2..4) };
        let first = self.random.u64(0..SUBJECTS);
        let subjects: Vec<String> =
            (0..subjects).map(|offset| name((first + offset) % SUBJECTS)).collect();
        let most = if self.random.bool() { 2 } else { 5 };
        let events = self.random.u64(1..most).max(u64::try_from(subjects.len()).unwrap());
        let mut places = (0..events).map(|place| {
            let index = usize::try_from(place).unwrap() % subjects.len();
            (subjects[index].clone(), json!({ "append": number, "place": place }))
        });
        let other = name(self.random.u64(0..SUBJECTS));
        let preconditions = match kind {
            0 => vec![Precondition::subject_is_pristine(&subjects[0])],
            1 => vec![Precondition::subject_is_populated(other)],
            2 | 3 => self.at_known_revision(&subjects[0]),
            4 => self.at_known_event(&subjects[0]),
            7 => self.at_known_revision(&other),
            _ => vec![],
        };
        let request = match kind {
            5 | 6 | 8 => {
                let with_id = places.map(|(subject, data)| {
                    let id = format!("command-{number}-{}", data["place"]);
                    candidate(Some(id), subject, data)
                });
                Request::Owned(with_id.collect())
            }
            // Its time may be too early by the time that it arrives.
            9 => {
                let time =
                    self.run.clock.time() + TimeDelta::milliseconds(self.random.i64(0..2_000));
                let complete = places.zip(0..).map(|((subject, data), place)| {
                    Event::builder()
                        .id(format!("complete-{number}-{place}"))
                        .source(SOURCE)
                        .ty("book.borrowed")
                        .subject(subject)
                        .time(time + TimeDelta::milliseconds(place))
                        .data(data)
                        .build()
                });
                Request::Complete(complete.collect())
            }
            _ => Request::New(places.by_ref().map(|(s, data)| candidate(None, s, data)).collect()),
        };
        (request, preconditions)
    }

    fn at_known_revision(&self, subject: &str) -> Vec<Precondition> {
        let revision = self.known.get(subject).and_then(|event| event.revision).unwrap_or(0);
        if let Some(read) = self.read.get(subject).filter(|read| read.revision() == revision) {
            return vec![read.clone().into()];
        }
        vec![Precondition::subject_is_at_revision(subject, revision)]
    }

    fn at_known_event(&self, subject: &str) -> Vec<Precondition> {
        let event = self.known.get(subject).into_iter();
        event.map(|event| Precondition::subject_is_at_event_id(subject, &event.id)).collect()
    }

    /// Reads in every way; the whole of a subject goes on record.
    async fn read(&mut self) {
        let subject = name(self.random.u64(0..SUBJECTS));
        let began = self.run.clock.elapsed();
        let Ok(history) = self.db.fetch_events_for_subject(&subject).await else { return };
        let ended = self.run.clock.elapsed();
        assert_eq!((&history.invalid, &history.missing), (&vec![], &vec![]), "{subject}");
        if let Some(last) = history.events.last() {
            self.known.insert(subject.clone(), last.clone());
        }
        if let Some(known) = history.known_revision() {
            self.read.insert(subject.clone(), known.clone());
        }
        let some = self.random.choice(&history.events).cloned();
        let newest = history.events.len();
        self.run.record.borrow_mut().reads.push(Read {
            subject: subject.clone(),
            began,
            ended,
            events: history.events,
        });
        match self.random.u8(0..3) {
            0 => {
                let request = self.db.fetch_events_for_subject(&subject).backwards().limit(3);
                let Ok(history) = request.await else { return };
                let mut last = history.events;
                last.reverse();
                for pair in last.windows(2) {
                    assert_eq!(pair[0].revision.map(|revision| revision + 1), pair[1].revision);
                }
                let reached = last.last().and_then(|event| event.revision).unwrap_or(0);
                assert!(reached >= u64::try_from(newest).unwrap(), "{subject} went back");
            }
            1 => {
                let request = self.db.fetch_events_for_subject_and_type(&subject, "book.borrowed");
                let Ok(history) = request.await else { return };
                assert_sound(&subject, &history.events);
                assert!(history.events.len() >= newest, "{subject} went back");
            }
            _ => {
                let Some(event) = some else { return };
                // The index may not have it yet.
                if let Ok(Some(found)) = self.db.fetch_event(&event.id).await {
                    assert_eq!(found, event);
                }
            }
        }
    }
}

fn candidate(id: Option<String>, subject: String, data: Value) -> EventCandidate {
    EventCandidate::builder()
        .maybe_id(id)
        .source(SOURCE)
        .ty("book.borrowed")
        .subject(subject)
        .data(data)
        .build()
}
