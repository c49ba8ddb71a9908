//! Which events are replayed, and what a look at the feed says of them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use eventdb::internals::schema::message_attribute;
use eventdb::{Event, EventDb, Feed, FeedCursor, FeedEntry, FeedError, Message, StoreId};
use futures_util::TryStreamExt;

use crate::replay::filter_policy::FilterPolicy;

/// How many events are read to find out how large their messages are.
const SAMPLE: usize = 100;

/// Which events are replayed.
#[derive(Debug, Clone)]
pub struct Selection {
    /// The filter of the subscription.
    pub filter: FilterPolicy,
    /// Only subjects that begin with this.
    pub subject_prefix: String,
    /// Only these types; empty for all.
    pub types: Vec<String>,
    /// Only events with a time from then on.
    pub since: Option<DateTime<Utc>>,
    /// Only events with a time before.
    pub until: Option<DateTime<Utc>>,
    /// Only the last one of each subject that the other conditions choose.
    pub last_only: bool,
}

/// Where an event is in its subject. Legacy events, without a revision, are before the others.
type Place = (Option<u64>, DateTime<Utc>);

/// What is to be replayed.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Which events.
    pub selection: Selection,
    /// How many. If the filter has a condition on the source, it is how many at most.
    pub messages: u64,
    /// How many entries the feed lists after the place where the replay begins.
    pub entries: u64,
    /// The store, as the messages name it.
    pub store: StoreId,
    /// The mean size of the first messages, in bytes.
    pub mean_bytes: u64,
    /// The last event of each subject, if only these are wanted.
    last: HashMap<String, Place>,
    /// Subjects of which the feed lists a later event before an earlier one.
    disordered: HashSet<String>,
}

impl Selection {
    fn chooses_in_general(&self, subject: &str, ty: &str, time: DateTime<Utc>) -> bool {
        subject.starts_with(&self.subject_prefix)
            && (self.types.is_empty() || self.types.iter().any(|wanted| wanted == ty))
            && self.since.is_none_or(|since| time >= since)
            && self.until.is_none_or(|until| time < until)
    }

    /// Whether the event is wanted, as one of all of its subject.
    pub fn chooses(&self, event: &Event, message: &Message) -> bool {
        self.chooses_in_general(&event.subject, &event.ty, event.time)
            && self.filter.matches(&message.attributes)
    }

    /// The same, as far as the feed tells: it doesn't list the source.
    fn may_choose(&self, entry: &FeedEntry) -> bool {
        self.chooses_in_general(&entry.subject, &entry.ty, entry.time)
            && (self.filter_needs_event() || self.filter.matches(&attributes_of(entry)))
    }

    /// Whether the filter asks for what the feed doesn't list.
    pub fn filter_needs_event(&self) -> bool {
        self.filter.mentions(message_attribute::SOURCE)
    }
}

/// The message attributes of an entry's event, apart from the source.
fn attributes_of(entry: &FeedEntry) -> Vec<(&'static str, String)> {
    let mut event = Event::builder()
        .id(&*entry.id)
        .source("unknown")
        .ty(&*entry.ty)
        .subject(&*entry.subject)
        .time(entry.time)
        .data(serde_json::json!({}))
        .build();
    event.revision = entry.revision;
    Message::new(&event).attributes
}

fn place(entry: &FeedEntry) -> Place {
    (entry.revision, entry.time)
}

impl Plan {
    /// Reads the entries of the feed up to its end, to find out what is to be replayed.
    ///
    /// It takes memory for the name of each chosen subject.
    ///
    /// # Errors
    /// If the feed or the first events can't be read.
    pub async fn make(
        selection: Selection,
        feed: &Feed,
        db: &EventDb,
        after: Option<&FeedCursor>,
    ) -> Result<Self, FeedError> {
        let store = db.store_id().await?;
        let mut latest: HashMap<String, Place> = HashMap::new();
        let mut disordered = HashSet::new();
        let mut messages = 0;
        let from = |cursor: Option<&FeedCursor>| match cursor {
            Some(cursor) => feed.follow().after(cursor.clone()),
            None => feed.follow(),
        };
        let chosen = selection.clone();
        let follow = from(after).until_caught_up();
        let mut pages = follow.matching(move |entry| chosen.may_choose(entry)).stream();
        let mut end = FeedCursor::default();
        while let Some(page) = pages.try_next().await? {
            for entry in page.entries {
                messages += 1;
                let place = place(&entry);
                match latest.get_mut(&entry.subject) {
                    None => {
                        latest.insert(entry.subject, place);
                    }
                    Some(latest) if *latest < place => *latest = place,
                    Some(latest) if *latest == place => {}
                    Some(_) => {
                        disordered.insert(entry.subject);
                    }
                }
            }
            end = page.cursor;
        }
        let chosen = selection.clone();
        let sample = from(after).until_caught_up().matching(move |entry| chosen.may_choose(entry));
        let mut sizes = Vec::new();
        let mut pages = sample.limit(SAMPLE).events_of(db).stream();
        while let Some(page) = pages.try_next().await? {
            sizes.extend(
                page.events.iter().map(|event| Message::of_store(event, &store).size() as u64),
            );
        }
        let mean_bytes = sizes.iter().sum::<u64>().div_ceil((sizes.len() as u64).max(1));
        let before: HashMap<u32, u64> = after.iter().flat_map(|cursor| cursor.offsets()).collect();
        let entries = end.offsets().map(|(partition, offset)| {
            offset.saturating_sub(before.get(&partition).copied().unwrap_or_default())
        });
        let entries = entries.sum();
        let last = if selection.last_only { std::mem::take(&mut latest) } else { HashMap::new() };
        if selection.last_only {
            messages = last.len() as u64;
            disordered.clear();
        }
        Ok(Self { selection, messages, entries, store, mean_bytes, last, disordered })
    }

    /// Whether the feed lists the events of a subject in another order than theirs.
    pub fn is_disordered(&self, subject: &str) -> bool {
        self.disordered.contains(subject)
    }

    /// How many subjects the feed lists in another order than theirs.
    pub fn disordered_subjects(&self) -> usize {
        self.disordered.len()
    }

    /// What to take of the feed.
    pub(crate) fn condition(self: &Arc<Self>) -> impl Fn(&FeedEntry) -> bool + use<> {
        let plan = Arc::clone(self);
        move |entry| {
            plan.selection.may_choose(entry)
                && (!plan.selection.last_only
                    || plan.last.get(&entry.subject) == Some(&place(entry)))
        }
    }
}
