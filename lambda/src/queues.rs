//! Decides the order in which events are sent, and packs them into requests. No I/O.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

use crate::record::{SortKey, Unpublishable};
use crate::topic::{Entry, Limits};

/// The events of a batch, queued by subject.
///
/// A subject is always in one of three states: ready (its next event may be sent), in flight (one of
/// its events is being sent), or failed (none of its events is sent any more).
///
/// ```
/// use eventdb_publisher::queues::Queues;
///
/// let mut queues = Queues::new(Vec::new(), &[]);
/// assert!(queues.next_request().is_none());
/// assert!(queues.into_failed().is_empty());
/// ```
#[derive(Debug)]
pub struct Queues {
    waiting: HashMap<String, VecDeque<Entry>>,
    /// The longest queue first, then by position in the batch. The subject with the most events
    /// determines the number of requests, so it must never wait for others.
    ready: BinaryHeap<(usize, Reverse<usize>, String)>,
    failed: Vec<usize>,
    limits: Limits,
}

impl Queues {
    /// Queues the events of a batch. Some rows of the batch may be unpublishable.
    ///
    /// The events of a subject are sorted by revision, because DynamoDB orders a stream only by item.
    /// Legacy rows, which have no revision, come first, in the order of their keys.
    ///
    /// An unpublishable row fails immediately, together with all later events of its subject.
    ///
    /// ```
    /// use eventdb_publisher::queues::Queues;
    /// use eventdb_publisher::record::Unpublishable;
    ///
    /// let row = Unpublishable { position: 3, subject: None, sort_key: None, reason: "…".to_owned() };
    /// assert_eq!(Queues::new(Vec::new(), &[row]).into_failed(), [3]);
    /// ```
    pub fn new(entries: Vec<Entry>, unpublishable: &[Unpublishable]) -> Self {
        let mut queues = Self {
            waiting: HashMap::new(),
            ready: BinaryHeap::new(),
            failed: unpublishable.iter().map(|row| row.position).collect(),
            limits: Limits::default(),
        };
        // For each subject, the first sort key that can't be published. Sort keys have the order of
        // the events. An unpublishable row may lack its revision, but it has a sort key. If it
        // doesn't, it counts as the first row.
        let mut barriers: HashMap<&str, Option<&SortKey>> = HashMap::new();
        for row in unpublishable {
            let Some(subject) = &row.subject else { continue };
            let key = row.sort_key.as_ref();
            let barrier = barriers.entry(subject).or_insert(key);
            *barrier = key.min(*barrier);
        }
        for entry in entries {
            queues.waiting.entry(entry.subject.clone()).or_default().push_back(entry);
        }
        for (subject, queue) in &mut queues.waiting {
            let queue_in_order = queue.make_contiguous();
            queue_in_order.sort_by(|one, other| order(one).cmp(&order(other)));
            let barrier = barriers.get(subject.as_str());
            let sendable = queue
                .iter()
                .take_while(|entry| barrier.is_none_or(|key| entry.sort_key.as_ref() < *key))
                .count();
            queues.failed.extend(queue.drain(sendable..).map(|entry| entry.position));
            queues.ready.extend(readiness(subject, queue));
        }
        queues
    }

    /// Limits requests to what the topic accepts, instead of the default. Larger messages must have
    /// been [refused](crate::batch::Batch::refuse_larger_than) before.
    #[must_use]
    pub fn within(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Returns the entries of the next request: the next events of ready subjects, within the limits
    /// of the topic. Their subjects are in flight until [`accepted`](Self::accepted) or
    /// [`failed`](Self::failed) is called for each entry.
    ///
    /// ```
    /// # let mut queues = eventdb_publisher::queues::Queues::new(Vec::new(), &[]);
    /// while let Some(entries) = queues.next_request() {
    ///     assert!(entries.len() <= eventdb_publisher::topic::limit::ENTRIES);
    /// #   entries.iter().for_each(|entry| queues.accepted(entry));
    /// }
    /// ```
    pub fn next_request(&mut self) -> Option<Vec<Entry>> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        while entries.len() < self.limits.entries {
            let Some((_, _, subject)) = self.ready.peek() else { break };
            let Some(queue) = self.waiting.get_mut(subject) else { break };
            let fits =
                |entry: &mut Entry| bytes + entry.message.size() <= self.limits.request_bytes;
            // An entry that doesn't fit becomes the first of the next request.
            let Some(entry) = queue.pop_front_if(fits) else { break };
            bytes += entry.message.size();
            entries.push(entry);
            self.ready.pop();
        }
        (!entries.is_empty()).then_some(entries)
    }

    /// The topic has accepted an entry, so the next event of its subject may be sent.
    pub fn accepted(&mut self, entry: &Entry) {
        if let Some(queue) = self.waiting.get(&entry.subject) {
            self.ready.extend(readiness(&entry.subject, queue));
        }
    }

    /// An entry has failed finally, so no more events of its subject are sent.
    pub fn failed(&mut self, entry: &Entry) {
        self.failed.push(entry.position);
        let held_back = self.waiting.remove(&entry.subject).unwrap_or_default();
        self.failed.extend(held_back.iter().map(|entry| entry.position));
    }

    /// Positions of all records that weren't published: those that failed, and those that were never
    /// sent.
    pub fn into_failed(self) -> Vec<usize> {
        let never_sent = self.waiting.values().flatten().map(|entry| entry.position);
        self.failed.iter().copied().chain(never_sent).collect()
    }
}

fn order(entry: &Entry) -> (Option<u64>, Option<&SortKey>, usize) {
    (entry.revision, entry.sort_key.as_ref(), entry.position)
}

fn readiness(subject: &str, queue: &VecDeque<Entry>) -> Option<(usize, Reverse<usize>, String)> {
    let first = queue.front()?;
    Some((queue.len(), Reverse(first.position), subject.to_owned()))
}
