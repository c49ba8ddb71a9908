//! Records what writers and readers saw, and checks that a single history explains all of it.
//!
//! The answer to an append contains its revisions, so the order of each subject is known. A history
//! is linearizable if this order respects real time and every operation was answered according to it.
//! This can be checked directly for histories of any length, without searching for an order.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use eventdb::{Error, Event, ExpectedState, Precondition, SubjectState, TableLayout};

/// One append, as its writer saw it.
#[derive(Debug)]
pub(crate) struct Append {
    pub(crate) number: u64,
    /// How many events on which subjects.
    pub(crate) events: Vec<String>,
    pub(crate) preconditions: Vec<Precondition>,
    pub(crate) began: Duration,
    pub(crate) ended: Duration,
    pub(crate) outcome: Outcome,
    /// Whether its outcome was unknown to the store, too, before it was settled.
    pub(crate) was_unsettled: bool,
}

#[derive(Debug)]
pub(crate) enum Outcome {
    Acknowledged(Vec<Event>),
    Refused(Error),
    /// Its writer was killed and doesn't know.
    Unknown,
}

/// One read of a whole subject.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) subject: String,
    pub(crate) began: Duration,
    pub(crate) ended: Duration,
    pub(crate) events: Vec<Event>,
}

/// All that happened.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) appends: Vec<Append>,
    pub(crate) reads: Vec<Read>,
}

/// The number of the append that an event is of, and its place in it.
fn origin(event: &Event) -> (u64, usize) {
    let number = event.data["append"].as_u64().unwrap();
    (number, usize::try_from(event.data["place"].as_u64().unwrap()).unwrap())
}

impl Record {
    /// Panics unless the histories, by subject, explain everything that was seen.
    pub(crate) fn assert_explained_by(
        &self,
        histories: &BTreeMap<String, Vec<Event>>,
        layout: TableLayout,
    ) {
        for (subject, events) in histories {
            assert_sound(subject, events);
            if layout == TableLayout::ByTime {
                assert_times_increase(subject, events);
            }
        }
        let mut stored = HashMap::<u64, BTreeMap<usize, &Event>>::new();
        for event in histories.values().flatten() {
            let (number, place) = origin(event);
            let twice = stored.entry(number).or_default().insert(place, event);
            assert!(twice.is_none(), "stored twice: {twice:?} and {event:?}");
        }
        for append in &self.appends {
            let events = stored.get(&append.number).map(|events| events.values().copied());
            let events: Vec<&Event> = events.into_iter().flatten().collect();
            append.assert_stored_as(&events, histories, layout);
        }
        let appends: HashMap<u64, &Append> =
            self.appends.iter().map(|append| (append.number, append)).collect();
        for (subject, events) in histories {
            assert_in_real_time(subject, events, &appends);
        }
        for append in self.appends.iter().filter(|append| stored.contains_key(&append.number)) {
            append.assert_others_were_as_required(histories, &appends);
        }
        for read in &self.reads {
            read.assert_true(&histories[&read.subject], &appends);
        }
    }

    /// How many appends ended in which way.
    pub(crate) fn outcomes(&self) -> BTreeMap<String, usize> {
        let mut outcomes = BTreeMap::new();
        for append in &self.appends {
            let mut name = match &append.outcome {
                Outcome::Acknowledged(_) => "acknowledged".to_owned(),
                Outcome::Refused(error) => {
                    let text = format!("{error:?}");
                    text.split(['(', ' ', '{']).next().unwrap().to_owned()
                }
                Outcome::Unknown => "killed".to_owned(),
            };
            if append.was_unsettled {
                name.push_str(" once settled");
            }
            *outcomes.entry(name).or_default() += 1;
        }
        outcomes
    }
}

/// Revisions without a gap.
pub(crate) fn assert_sound(subject: &str, events: &[Event]) {
    for (event, revision) in events.iter().zip(1..) {
        assert_eq!(event.revision, Some(revision), "{subject}");
    }
}

fn assert_times_increase(subject: &str, events: &[Event]) {
    for pair in events.windows(2) {
        assert!(pair[0].time < pair[1].time, "{subject}: {pair:?}");
    }
}

impl Append {
    fn is_acknowledged(&self) -> bool {
        matches!(self.outcome, Outcome::Acknowledged(_))
    }

    /// Whether one of its requests could be carried out after its writer had heard the last of it.
    fn may_yet_arrive(&self) -> bool {
        match &self.outcome {
            Outcome::Unknown => true,
            // When that has come true meanwhile.
            Outcome::Refused(Error::Conflict(conflict)) => {
                conflict.expected == ExpectedState::Populated
            }
            Outcome::Acknowledged(_) | Outcome::Refused(_) => false,
        }
    }

    fn assert_stored_as(
        &self,
        events: &[&Event],
        histories: &BTreeMap<String, Vec<Event>>,
        layout: TableLayout,
    ) {
        match &self.outcome {
            Outcome::Acknowledged(answered) => {
                let answered: Vec<&Event> = answered.iter().collect();
                assert_eq!(events, answered, "not stored as acknowledged: {self:?}");
            }
            _ if self.may_yet_arrive() => assert!(
                events.is_empty() || events.len() == self.events.len(),
                "stored in part: {self:?}"
            ),
            _ => assert!(events.is_empty(), "refused, but stored: {self:?}"),
        }
        if !events.is_empty() {
            let subjects: Vec<&String> = events.iter().map(|event| &event.subject).collect();
            assert_eq!(subjects, self.events.iter().collect::<Vec<_>>());
            self.assert_preconditions_held(events, histories);
        }
        if let Outcome::Refused(error) = &self.outcome {
            let is_due = matches!(error, Error::Conflict(_) | Error::NotNewer { .. });
            assert!(is_due || error.is_retryable(), "refused without a cause: {self:?}");
        }
        if let Outcome::Refused(Error::Conflict(conflict)) = &self.outcome {
            let is_asked_for = self.preconditions.iter().any(|precondition| {
                precondition.subject == conflict.subject
                    && precondition.expected == conflict.expected
            });
            // By revision, an append can only be stored where it was sent to.
            let is_asked_for = is_asked_for
                || self.was_unsettled
                    && layout == TableLayout::ByRevision
                    && matches!(conflict.expected, ExpectedState::Revision(_));
            assert!(is_asked_for, "a conflict with what nobody asked for: {self:?}");
            assert!(!conflict.expected.is_met_by(&conflict.actual), "no conflict: {self:?}");
            if let SubjectState::Populated { revision, last_event_id } = &conflict.actual {
                let history = &histories[&conflict.subject];
                let last = &history[usize::try_from(*revision).unwrap() - 1];
                assert_eq!(last.id, *last_event_id, "a state that never was: {self:?}");
            }
        }
    }

    /// On the subjects that were written, exactly; on others see
    /// [`Append::assert_others_were_as_required`].
    fn assert_preconditions_held(
        &self,
        events: &[&Event],
        histories: &BTreeMap<String, Vec<Event>>,
    ) {
        for Precondition { subject, expected, .. } in &self.preconditions {
            let Some(first) = events.iter().find(|event| event.subject == *subject) else {
                continue;
            };
            let before = usize::try_from(first.revision.unwrap()).unwrap() - 1;
            let last_before = before.checked_sub(1).map(|last| &histories[subject][last]);
            let held = match expected {
                ExpectedState::Pristine => before == 0,
                ExpectedState::Populated => before > 0,
                ExpectedState::Revision(revision) => usize::try_from(*revision).unwrap() == before,
                ExpectedState::EventId(id) => last_before.is_some_and(|event| event.id == *id),
                other => panic!("{other:?} is not expected"),
            };
            assert!(held, "stored against its precondition: {self:?}");
        }
    }

    /// Another subject tells no revision of that moment, but some moment between beginning and end
    /// must have found it as required.
    fn assert_others_were_as_required(
        &self,
        histories: &BTreeMap<String, Vec<Event>>,
        appends: &HashMap<u64, &Append>,
    ) {
        for Precondition { subject, expected, .. } in &self.preconditions {
            if self.events.contains(subject) {
                continue;
            }
            let history = &histories[subject];
            // The first revision that meets it, and the first one after it that doesn't.
            let (first, end) = match expected {
                ExpectedState::Pristine => (0, Some(1)),
                ExpectedState::Populated => (1, None),
                ExpectedState::Revision(revision) => {
                    let revision = usize::try_from(*revision).unwrap();
                    (revision, Some(revision + 1))
                }
                ExpectedState::EventId(id) => {
                    let index = history.iter().position(|event| event.id == *id);
                    let revision = index.expect("an event that exists") + 1;
                    (revision, Some(revision + 1))
                }
                other => panic!("{other:?} is not expected"),
            };
            assert!(first <= history.len(), "stored against its precondition: {self:?}");
            // An event isn't there before its append has begun, nor before the events before it.
            let mut begun = history[..first].iter().map(|event| appends[&origin(event).0].began);
            assert!(
                !self.is_acknowledged() || begun.all(|began| began < self.ended),
                "stored before its precondition was met: {self:?}"
            );
            // It is there once its append has been acknowledged, or one that comes after it.
            let later = end.and_then(|end| history.get(end - 1..)).unwrap_or_default();
            let mut later = later.iter().map(|event| appends[&origin(event).0]);
            assert!(
                later.all(|append| !append.is_acknowledged() || append.ended > self.began),
                "stored after its precondition had ceased to be met: {self:?}"
            );
        }
    }
}

/// What ended before something else began comes before it.
fn assert_in_real_time(subject: &str, events: &[Event], appends: &HashMap<u64, &Append>) {
    let mut latest_begin = Duration::ZERO;
    for event in events {
        let append = appends[&origin(event).0];
        // Another one may have arrived at any time since.
        if append.is_acknowledged() {
            assert!(
                append.ended >= latest_begin,
                "{subject}: revision {:?} ended before an earlier revision began",
                event.revision
            );
        }
        latest_begin = latest_begin.max(append.began);
    }
}

impl Read {
    /// It saw a beginning of the history: all that was acknowledged before it began, and nothing
    /// that was begun after it ended.
    fn assert_true(&self, history: &[Event], appends: &HashMap<u64, &Append>) {
        assert_sound(&self.subject, &self.events);
        assert_eq!(self.events, history[..self.events.len()], "{}", self.subject);
        for (index, event) in history.iter().enumerate() {
            let append = appends[&origin(event).0];
            let seen = index < self.events.len();
            assert!(
                seen || !append.is_acknowledged() || append.ended > self.began,
                "unseen: {event:?}"
            );
            assert!(!seen || append.began < self.ended, "seen before it was: {event:?}");
        }
    }
}

/// The ids of events, for comparing sets.
pub(crate) fn ids<'event>(
    events: impl IntoIterator<Item = &'event Event>,
) -> BTreeSet<&'event str> {
    events.into_iter().map(|event| event.id.as_str()).collect()
}
