//! Events below what caused them.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use chrono::{DateTime, Utc};

use crate::event::Event;
use crate::event::metadata::Metadata;
use crate::store::error::Error;

/// An event of a [`Trace`](crate::Trace), without its data.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TracedEvent {
    /// The event's id.
    pub id: String,
    /// The event's source.
    pub source: String,
    /// The event's subject.
    pub subject: String,
    /// The event's revision; `None` on a legacy row.
    pub revision: Option<u64>,
    /// The event's type.
    pub ty: String,
    /// The event's time.
    pub time: DateTime<Utc>,
    /// The id of what caused it (`causationid`).
    pub causation: Option<String>,
    /// What it has in common with others (`correlationid`).
    pub correlation: Option<String>,
    /// The id of the trace in `traceparent`.
    pub trace: Option<String>,
}

/// A line of a [`Trace`](crate::Trace).
#[derive(Debug, Clone, Copy)]
pub enum TraceLine<'trace> {
    /// An event.
    Event {
        /// The number of causes above it that are shown.
        depth: usize,
        /// The event.
        event: &'trace TracedEvent,
        /// Whether it is above already: if causes are a cycle, the first event is repeated where the
        /// cycle closes, without what is below it.
        is_repeated: bool,
    },
    /// A cause that isn't shown. Its effects are below it.
    MissingCause {
        /// The number of causes above it: 0.
        depth: usize,
        /// The id that its effects name.
        id: &'trace str,
        /// Why it isn't shown.
        reason: &'trace MissingCause,
    },
}

/// Why a cause isn't shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MissingCause {
    /// The store has no such event. What causes an event can also be a command, for example.
    #[error("not an event of this store")]
    NotStored,
    /// As many causes as were allowed had been read.
    #[error("not read: the limit of causes is reached")]
    LimitReached,
    /// It can't be read.
    #[error(transparent)]
    Unreadable(Error),
}

impl TracedEvent {
    pub(crate) fn of(event: &Event) -> Self {
        let Metadata { correlation, causation, .. } = Metadata::of(event);
        let parent = event.extensions.get("traceparent").map(ToString::to_string);
        Self {
            id: event.id.clone(),
            source: event.source.clone(),
            subject: event.subject.clone(),
            revision: event.revision,
            ty: event.ty.clone(),
            time: event.time,
            causation,
            correlation,
            trace: parent.as_deref().and_then(trace_id).map(str::to_owned),
        }
    }

    /// Whether it says what caused it, or what it belongs to.
    pub(crate) fn is_linked(&self) -> bool {
        self.causation.is_some() || self.correlation.is_some() || self.trace.is_some()
    }

    fn key(&self) -> (&str, &str) {
        (&self.source, &self.id)
    }
}

/// The id of the trace: <https://www.w3.org/TR/trace-context/#traceparent-header-field-values>
fn trace_id(traceparent: &str) -> Option<&str> {
    let id = traceparent.split('-').nth(1)?;
    (id.len() == 32 && id.bytes().any(|digit| digit != b'0')).then_some(id)
}

/// The lines of an event, its causes, and those of the linked events that belong to them.
pub(crate) fn lines<'trace>(
    asked: &'trace TracedEvent,
    causes: &'trace [TracedEvent],
    linked: &'trace [TracedEvent],
    missing: Option<(&'trace str, &'trace MissingCause)>,
) -> Vec<TraceLine<'trace>> {
    let start: Vec<&TracedEvent> = std::iter::once(asked).chain(causes).collect();
    let mut events = start.clone();
    events.extend(belonging(&start, linked));
    let mut seen = HashSet::new();
    events.retain(|event| seen.insert(event.key()));
    events.sort_by_key(|event| (event.time, &event.subject, event.revision));
    drawn(&events, missing)
}

/// Those that are linked to the first ones: by their causes, the correlation or the trace.
fn belonging<'trace>(
    start: &[&'trace TracedEvent],
    linked: &'trace [TracedEvent],
) -> Vec<&'trace TracedEvent> {
    let ids = || start.iter().map(|event| event.id.as_str());
    // What is the first of its business transaction has no correlation: its id is that of the others.
    let correlations: HashSet<&str> =
        ids().chain(start.iter().filter_map(|event| event.correlation.as_deref())).collect();
    let traces: HashSet<&str> = start.iter().filter_map(|event| event.trace.as_deref()).collect();
    let mut by_cause: HashMap<&str, Vec<&TracedEvent>> = HashMap::new();
    let mut found = Vec::new();
    let is_of = |set: &HashSet<&str>, name: &Option<String>| {
        name.as_deref().is_some_and(|name| set.contains(name))
    };
    for event in linked {
        if is_of(&correlations, &event.correlation) || is_of(&traces, &event.trace) {
            found.push(event);
        } else if let Some(cause) = &event.causation {
            by_cause.entry(cause).or_default().push(event);
        }
    }
    // What these caused, too, and so on.
    let mut open: VecDeque<&str> =
        ids().chain(found.iter().map(|event| event.id.as_str())).collect();
    while let Some(cause) = open.pop_front() {
        for effect in by_cause.remove(cause).unwrap_or_default() {
            open.push_back(&effect.id);
            found.push(effect);
        }
    }
    found
}

/// The events, which are in the order of time, each below its cause.
fn drawn<'trace>(
    events: &[&'trace TracedEvent],
    missing: Option<(&'trace str, &'trace MissingCause)>,
) -> Vec<TraceLine<'trace>> {
    let reason_of = |id: &str| match missing {
        Some((missing, reason)) if missing == id => reason,
        _ => &MissingCause::NotStored,
    };
    let ids: HashSet<&str> = events.iter().map(|event| event.id.as_str()).collect();
    let mut effects: HashMap<&str, Vec<&TracedEvent>> = HashMap::new();
    // The causes that aren't there, each with what it caused.
    let mut orphans: BTreeMap<&str, Vec<&TracedEvent>> = BTreeMap::new();
    let event_at = |depth, event| TraceLine::Event { depth, event, is_repeated: false };
    let mut roots: Vec<TraceLine<'trace>> = Vec::new();
    for &event in events {
        match event.causation.as_deref() {
            None => roots.push(event_at(0, event)),
            Some(cause) if ids.contains(cause) => effects.entry(cause).or_default().push(event),
            Some(id) => {
                if !orphans.contains_key(id) {
                    let reason = reason_of(id);
                    roots.push(TraceLine::MissingCause { depth: 0, id, reason });
                }
                orphans.entry(id).or_default().push(event);
            }
        }
    }
    effects.extend(orphans);
    let mut lines = Vec::new();
    let mut shown = HashSet::new();
    // Deep trees don't need a deep stack.
    let mut open: Vec<TraceLine<'trace>> = roots.into_iter().rev().collect();
    let mut rest = events.iter();
    loop {
        while let Some(line) = open.pop() {
            let (depth, id, line, is_new) = match line {
                TraceLine::MissingCause { depth, id, .. } => (depth, id, line, true),
                TraceLine::Event { depth, event, .. } => {
                    let is_new = shown.insert(event.key());
                    let line = TraceLine::Event { depth, event, is_repeated: !is_new };
                    (depth, event.id.as_str(), line, is_new)
                }
            };
            lines.push(line);
            if is_new {
                let below = effects.get(id).into_iter().flatten().rev();
                open.extend(below.map(|event| event_at(depth + 1, event)));
            }
        }
        // What is only below a cycle has no root.
        match rest.find(|event| !shown.contains(&event.key())) {
            Some(event) => open.push(event_at(0, event)),
            None => return lines,
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::{MissingCause, TraceLine, TracedEvent, lines, trace_id};

    fn event(id: &str, causation: Option<&str>, seconds: i64) -> TracedEvent {
        TracedEvent {
            id: id.to_owned(),
            source: "https://library.example.com".to_owned(),
            subject: "book:1".to_owned(),
            revision: Some(1),
            ty: "book.borrowed".to_owned(),
            time: DateTime::from_timestamp(seconds, 0).expect("a time"),
            causation: causation.map(str::to_owned),
            correlation: None,
            trace: None,
        }
    }

    fn drawn(asked: &TracedEvent, causes: &[TracedEvent], linked: &[TracedEvent]) -> Vec<String> {
        let text = |line: TraceLine<'_>| match line {
            TraceLine::Event { depth, event, is_repeated: false } => {
                format!("{depth} {}", event.id)
            }
            TraceLine::Event { depth, event, is_repeated: true } => {
                format!("{depth} {} again", event.id)
            }
            TraceLine::MissingCause { depth, id, .. } => format!("{depth} ({id})"),
        };
        lines(asked, causes, linked, None).into_iter().map(text).collect()
    }

    #[test]
    fn effects_are_below_their_causes_in_the_order_of_time() {
        let linked = [
            event("d", Some("b"), 4),
            event("c", Some("a"), 3),
            event("e", Some("d"), 1),
            event("other", Some("nobody"), 5),
        ];
        let tree = drawn(&event("b", Some("a"), 2), &[event("a", None, 1)], &linked);
        assert_eq!(tree, ["0 a", "1 b", "2 d", "3 e", "1 c"]);
    }

    #[test]
    fn a_cause_that_is_not_there_is_named_once() {
        let asked = event("b", Some("command-1"), 2);
        let mut sibling = event("c", Some("command-1"), 3);
        sibling.correlation = Some("b".to_owned());
        assert_eq!(drawn(&asked, &[], &[sibling]), ["0 (command-1)", "1 b", "1 c"]);
        let limit = MissingCause::LimitReached;
        let found = lines(&asked, &[], &[], Some(("command-1", &limit)));
        let TraceLine::MissingCause { reason: MissingCause::LimitReached, .. } = found[0] else {
            panic!("{found:?}");
        };
    }

    #[test]
    fn what_has_the_same_correlation_or_trace_belongs_to_it() {
        let mut asked = event("a", None, 1);
        asked.correlation = Some("loan-1".to_owned());
        asked.trace = Some("trace-1".to_owned());
        let linked = |correlation: Option<&str>, trace: Option<&str>, id, seconds| TracedEvent {
            correlation: correlation.map(str::to_owned),
            trace: trace.map(str::to_owned),
            ..event(id, None, seconds)
        };
        let all = [
            linked(Some("loan-1"), None, "b", 2),
            linked(None, Some("trace-1"), "c", 3),
            linked(Some("a"), None, "d", 4),
            linked(Some("loan-2"), Some("trace-2"), "x", 5),
            event("e", Some("c"), 6),
        ];
        assert_eq!(drawn(&asked, &[], &all), ["0 a", "0 b", "0 c", "1 e", "0 d"]);
    }

    #[test]
    fn cycles_are_shown_and_end() {
        let tree = drawn(&event("a", Some("b"), 1), &[event("b", Some("a"), 2)], &[]);
        assert_eq!(tree, ["0 a", "1 b", "2 a again"]);
        assert_eq!(drawn(&event("a", Some("a"), 1), &[], &[]), ["0 a", "1 a again"]);
    }

    #[test]
    fn a_long_chain_does_not_need_a_deep_stack() {
        let name = |number: i64| format!("e{number}");
        let chain: Vec<TracedEvent> = (1..100_000)
            .map(|number| event(&name(number), Some(&name(number - 1)), number))
            .collect();
        let asked = event("e0", None, 0);
        let found = lines(&asked, &[], &chain, None);
        let Some(TraceLine::Event { depth: 99_999, .. }) = found.last() else {
            panic!("{:?}", found.last());
        };
    }

    #[test]
    fn a_trace_is_the_second_part_of_a_traceparent() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(trace_id(&format!("00-{id}-00f067aa0ba902b7-01")), Some(id));
        for wrong in
            ["", "00", "00-abc-00f067aa0ba902b7-01", &format!("00-{}-1-01", "0".repeat(32))]
        {
            assert_eq!(trace_id(wrong), None, "{wrong}");
        }
    }
}
