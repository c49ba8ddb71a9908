//! Records what callers were answered, and checks that one serial order of all stored decisions
//! explains what each of them saw.
//!
//! The histories tell after which decision each event came, and each event what its decision saw. So
//! the order of any two decisions that have a subject in common is known, and nothing has to be
//! searched: there is a serial order if the graph of these orders, and of what ended before
//! something else began, has no cycle.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use eventdb::{Aggregate, Event};

use super::account::{Account, AccountEvent, Seen};
use crate::record::assert_sound;

/// One call, as its caller saw it.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) number: u64,
    pub(crate) command: Option<u64>,
    /// The revision that a subject must have.
    pub(crate) required: Option<(String, u64)>,
    pub(crate) began: Duration,
    pub(crate) ended: Duration,
    pub(crate) ending: Ending,
}

#[derive(Debug)]
pub(crate) enum Ending {
    Answered(Answer),
    /// Its outcome was unknown, and its events were given to the store again.
    Settled(Vec<Event>),
    Rejected(Seen),
    OtherRevision {
        subject: String,
        actual: u64,
    },
    CommandReused(String),
    /// Nothing was stored, says the error.
    Failed(#[expect(dead_code, reason = "it is printed")] String),
    /// It doesn't know.
    Killed,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) events: Vec<Event>,
    pub(crate) is_repetition: bool,
    /// The states that it came with.
    pub(crate) states: BTreeMap<String, Account>,
}

/// All that happened, and what is stored afterwards.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) calls: Vec<Call>,
    pub(crate) histories: BTreeMap<String, Vec<Event>>,
    /// What the store says of each command.
    pub(crate) commands: BTreeMap<u64, Option<Vec<Event>>>,
}

/// A decision whose events are stored.
struct Decision<'record> {
    call: &'record Call,
    /// In the order of their places.
    events: Vec<&'record Event>,
    /// How many there should be.
    of: usize,
    seen: Seen,
    /// When somebody was first told that it is stored.
    known: Duration,
}

/// What the histories tell.
struct Judge<'record> {
    record: &'record Record,
    /// What is stored, by the number of its call.
    decisions: BTreeMap<u64, Decision<'record>>,
    /// The calls that the events of a subject are of.
    writers: BTreeMap<&'record str, Vec<u64>>,
    /// The states of a subject, from the one without events on.
    states: BTreeMap<&'record str, Vec<Account>>,
}

fn revision(event: &Event) -> usize {
    usize::try_from(event.revision.unwrap()).unwrap()
}

fn length(state: &Account) -> usize {
    usize::try_from(state.revision).unwrap()
}

impl Call {
    /// The events that it was answered with.
    fn told(&self) -> &[Event] {
        match &self.ending {
            Ending::Answered(answer) => &answer.events,
            Ending::Settled(events) => events,
            _ => &[],
        }
    }
}

impl Record {
    pub(crate) fn events(&self) -> usize {
        self.histories.values().map(Vec::len).sum()
    }

    /// How many calls ended in which way.
    pub(crate) fn endings(&self) -> BTreeMap<&'static str, usize> {
        let mut endings = BTreeMap::new();
        for call in &self.calls {
            let name = match &call.ending {
                Ending::Answered(Answer { is_repetition: true, .. }) => "repeated",
                Ending::Answered(Answer { events, .. }) if events.is_empty() => "without events",
                Ending::Answered(_) => "stored",
                Ending::Settled(_) => "settled",
                Ending::Rejected(_) => "rejected",
                Ending::OtherRevision { .. } => "OtherRevision",
                Ending::CommandReused(_) => "CommandReused",
                Ending::Failed(_) => "failed",
                Ending::Killed => "killed",
            };
            *endings.entry(name).or_default() += 1;
        }
        endings
    }

    /// Panics unless one serial order explains everything that was seen.
    pub(crate) fn assert_explained(&self) {
        for (subject, events) in &self.histories {
            assert_sound(subject, events);
        }
        let judge = Judge::new(self);
        for decision in judge.decisions.values() {
            judge.assert_whole(decision);
        }
        judge.assert_commands_were_executed_once();
        for call in &self.calls {
            judge.assert_answered_truly(call);
        }
        judge.assert_serial();
    }
}

impl<'record> Judge<'record> {
    fn new(record: &'record Record) -> Self {
        let calls: BTreeMap<u64, &Call> =
            record.calls.iter().map(|call| (call.number, call)).collect();
        let mut places = HashMap::<&str, (u64, usize)>::new();
        let (mut writers, mut states) = (BTreeMap::new(), BTreeMap::new());
        let mut decisions = BTreeMap::<u64, Decision<'_>>::new();
        for (subject, history) in &record.histories {
            let (mut of_subject, mut state) = (vec![], Account::default());
            let mut states_of_subject = vec![state];
            for event in history {
                let booked: AccountEvent = event.typed().unwrap().unwrap();
                let AccountEvent::Booked { call, place, of, ref seen, .. } = booked;
                let decision = decisions.entry(call).or_insert_with(|| Decision {
                    call: calls[&call],
                    events: vec![],
                    of,
                    seen: seen.clone(),
                    known: Duration::MAX,
                });
                assert_eq!((&decision.seen, decision.of), (seen, of), "decided twice: {event:?}");
                decision.events.push(event);
                places.insert(&event.id, (call, place));
                of_subject.push(call);
                state.apply(booked);
                states_of_subject.push(state);
            }
            writers.insert(&**subject, of_subject);
            states.insert(&**subject, states_of_subject);
        }
        for decision in decisions.values_mut() {
            decision.events.sort_by_key(|event| places[&*event.id].1);
            let in_order = decision.events.iter().map(|event| places[&*event.id].1);
            assert!(in_order.eq(0..decision.of), "stored in part or twice: {:?}", decision.call);
        }
        for call in &record.calls {
            let Some(event) = call.told().first() else { continue };
            let place = places.get(&*event.id);
            let (origin, _) = place.unwrap_or_else(|| panic!("told, but not stored: {call:?}"));
            let known = &mut decisions.get_mut(origin).unwrap().known;
            *known = call.ended.min(*known);
        }
        Self { record, decisions, writers, states }
    }

    /// All its events are directly behind what it saw, which is what was there.
    fn assert_whole(&self, decision: &Decision<'_>) {
        let Decision { call, events, seen, .. } = decision;
        let mut next: BTreeMap<&str, usize> =
            seen.iter().map(|(subject, seen)| (&**subject, length(seen) + 1)).collect();
        for event in events {
            let next = next.get_mut(&*event.subject).unwrap();
            assert_eq!(revision(event), *next, "not where it was decided: {call:?}");
            *next += 1;
        }
        self.assert_existed(call, seen);
        if let Some((subject, required)) = &call.required {
            assert_eq!(seen[subject].revision, *required, "against its condition: {call:?}");
        }
    }

    /// These are states of the histories that lack nothing that was known before the call.
    fn assert_existed(&self, call: &Call, seen: &Seen) {
        for (subject, state) in seen {
            let existed = self.states[&**subject].get(length(state));
            assert_eq!(existed, Some(state), "a state of {subject} that never was: {call:?}");
        }
        for before in self.record.calls.iter().filter(|before| before.ended < call.began) {
            for event in before.told() {
                let is_seen =
                    seen.get(&event.subject).is_none_or(|seen| length(seen) >= revision(event));
                assert!(is_seen, "{event:?} was known, but not seen by {call:?}");
            }
        }
    }

    fn assert_commands_were_executed_once(&self) {
        let mut stored = BTreeMap::<u64, Vec<&Event>>::new();
        for Decision { call, events, .. } in self.decisions.values() {
            let Some(command) = call.command else { continue };
            let twice = stored.insert(command, events.clone());
            assert!(twice.is_none(), "executed twice: {call:?} and {twice:?}");
        }
        for (command, events) in &self.record.commands {
            let events = events.as_ref().map(|events| events.iter().collect());
            assert_eq!(stored.get(command), events.as_ref(), "command {command}");
        }
    }

    /// The call was answered with what it has stored, or what another one of the same command has.
    fn assert_answered_truly(&self, call: &Call) {
        let own = self.decisions.get(&call.number).map(|decision| &*decision.events);
        let own = own.unwrap_or_default();
        let of_command = call.command.and_then(|command| self.record.commands[&command].as_ref());
        let of_command: Vec<&Event> = of_command.into_iter().flatten().collect();
        match &call.ending {
            Ending::Answered(Answer { is_repetition: true, events, states }) => {
                assert!(own.is_empty(), "called a repetition: {call:?}");
                assert_same(events, &of_command, call);
                self.assert_existed(call, states);
            }
            Ending::Answered(Answer { events, states, .. }) => {
                assert_same(events, own, call);
                self.assert_existed(call, states);
            }
            Ending::Settled(events) if call.command.is_some() => {
                assert_same(events, &of_command, call);
            }
            Ending::Settled(events) => assert_same(events, own, call),
            Ending::CommandReused(subject) => {
                let is_of = |event: &&Event| event.subject == *subject;
                assert!(of_command.iter().any(is_of), "not reused: {call:?}");
            }
            Ending::Rejected(seen) => self.assert_existed(call, seen),
            Ending::OtherRevision { subject, actual } => {
                let is_state = self.states[&**subject].iter().any(|s| s.revision == *actual);
                assert!(is_state, "a revision that never was: {call:?}");
            }
            Ending::Failed(_) | Ending::Killed => {}
        }
        let may_have_stored =
            matches!(call.ending, Ending::Answered(_) | Ending::Settled(_) | Ending::Killed);
        assert!(may_have_stored || own.is_empty(), "stored, but answered otherwise: {call:?}");
        // Once its events were told, a command is never rejected, nor for nothing.
        let says_no = match &call.ending {
            Ending::Rejected(_) | Ending::OtherRevision { .. } => true,
            Ending::Answered(answer) => answer.events.is_empty(),
            _ => false,
        };
        if says_no && call.command.is_some() {
            let told = self.record.calls.iter().find(|before| {
                let is_told = before.ended < call.began && !before.told().is_empty();
                before.command == call.command && is_told
            });
            assert!(told.is_none(), "forgotten: {call:?} after {told:?}");
        }
    }

    /// There is an order in which each decision saw what those before it had left, and no decision
    /// comes before one that was known when it began.
    fn assert_serial(&self) {
        // How many must come before each one, and which come after it.
        let mut waits_for = BTreeMap::<u64, BTreeSet<u64>>::new();
        let mut after = BTreeMap::<u64, Vec<u64>>::new();
        let mut comes_before = |one: u64, other: u64| {
            if waits_for.entry(other).or_default().insert(one) {
                after.entry(one).or_default().push(other);
            }
        };
        for (number, decision) in &self.decisions {
            for (subject, seen) in &decision.seen {
                let writers = &self.writers[&**subject];
                let (seen, following) = writers.split_at(length(seen));
                if let Some(writer) = seen.last() {
                    comes_before(*writer, *number);
                }
                if let Some(writer) = following.first().filter(|writer| *writer != number) {
                    comes_before(*number, *writer);
                }
            }
        }
        let mut left: BTreeSet<u64> = self.decisions.keys().copied().collect();
        let mut by_known: Vec<(Duration, u64)> =
            self.decisions.iter().map(|(number, decision)| (decision.known, *number)).collect();
        by_known.sort_unstable();
        let mut by_known = by_known.into_iter().peekable();
        let mut ready: Vec<u64> = left.iter().copied().collect();
        ready.retain(|number| waits_for.get(number).is_none_or(BTreeSet::is_empty));
        loop {
            while by_known.next_if(|(_, number)| !left.contains(number)).is_some() {}
            let first_known = by_known.peek().map_or(Duration::MAX, |(known, _)| *known);
            let is_next = |number: &u64| self.decisions[number].call.began <= first_known;
            let Some(index) = ready.iter().position(is_next) else { break };
            let number = ready.swap_remove(index);
            left.remove(&number);
            for other in after.remove(&number).unwrap_or_default() {
                let waits_for = waits_for.get_mut(&other).unwrap();
                waits_for.remove(&number);
                if waits_for.is_empty() {
                    ready.push(other);
                }
            }
        }
        let some: Vec<&Call> =
            left.iter().take(4).map(|number| self.decisions[number].call).collect();
        let count = left.len();
        assert!(left.is_empty(), "{count} decisions have no serial order, such as {some:#?}");
    }
}

fn assert_same(told: &[Event], stored: &[&Event], call: &Call) {
    let key = |event: &&Event| (event.subject.clone(), event.revision);
    let (mut told, mut stored): (Vec<&Event>, _) = (told.iter().collect(), stored.to_vec());
    told.sort_by_key(key);
    stored.sort_by_key(key);
    assert_eq!(told, stored, "answered with other events than are stored: {call:?}");
}
