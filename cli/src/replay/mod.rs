//! Replaying published events into one queue, as the subscription of the queue delivers them.
//!
//! It reads the feed, not the table: the feed says what was published, its cursor lets a replay go on
//! where it stopped, and nothing appears behind it. If the feed lists a later event of a subject before
//! an earlier one, as after an adoption, that subject's events are read from the table, in their order.

pub mod filter_policy;
pub mod queue;
pub mod selection;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use eventdb::{Event, EventDb, Feed, FeedCursor, FeedError, FeedEventsPage, History, Message};
use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;

use crate::replay::selection::Plan;

/// A message to be sent, and what a FIFO queue needs next to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replayed {
    /// The event's subject.
    pub subject: String,
    /// The event's source.
    pub source: String,
    /// The event's id.
    pub id: String,
    /// The message, as the publisher has sent it.
    pub message: Message,
}

/// Messages of a replay, in their order.
#[derive(Debug, Default)]
pub struct Page {
    /// The messages.
    pub messages: VecDeque<Replayed>,
    /// What couldn't be read, in words.
    pub missing: Vec<String>,
    /// Where to go on when these messages are sent; `None` if only the next page tells.
    pub cursor: Option<FeedCursor>,
}

/// A running replay.
pub struct Replay {
    plan: Arc<Plan>,
    db: EventDb,
    pages: BoxStream<'static, Result<FeedEventsPage, FeedError>>,
    /// Subjects whose whole history is sent, or was.
    whole: HashSet<String>,
    waiting: VecDeque<String>,
    history: Option<BoxStream<'static, Result<History, eventdb::Error>>>,
    /// The cursor of a page, until the histories that it asks for are sent.
    cursor: Option<FeedCursor>,
}

impl Replay {
    /// Begins a replay, after a cursor if there is one.
    pub fn begin(plan: Plan, feed: &Feed, db: &EventDb, after: Option<FeedCursor>) -> Self {
        let plan = Arc::new(plan);
        let mut follow = feed.follow().until_caught_up().matching(plan.condition());
        if let Some(cursor) = after {
            follow = follow.after(cursor);
        }
        Self {
            plan,
            pages: follow.events_of(db).stream(),
            db: db.clone(),
            whole: HashSet::new(),
            waiting: VecDeque::new(),
            history: None,
            cursor: None,
        }
    }

    /// The next messages; `None` when everything is sent that was listed after the replay began.
    ///
    /// # Errors
    /// If the feed or the events can't be read.
    pub async fn next(&mut self) -> Result<Option<Page>, FeedError> {
        loop {
            if let Some(history) = &mut self.history {
                match history.try_next().await? {
                    Some(history) => return Ok(Some(self.of_history(&history))),
                    None => self.history = None,
                }
            } else if let Some(subject) = self.waiting.pop_front() {
                self.history = Some(self.db.fetch_events_for_subject(subject).stream());
            } else if let Some(cursor) = self.cursor.take() {
                return Ok(Some(Page { cursor: Some(cursor), ..Page::default() }));
            } else {
                let Some(page) = self.pages.try_next().await? else { return Ok(None) };
                return Ok(Some(self.of_feed(page)));
            }
        }
    }

    fn of_feed(&mut self, page: FeedEventsPage) -> Page {
        let mut messages = VecDeque::new();
        for event in page.events {
            if !self.plan.is_disordered(&event.subject) {
                messages.extend(self.message(&event));
            } else if self.whole.insert(event.subject.clone()) {
                self.waiting.push_back(event.subject);
            }
        }
        let missing = page.missing.iter().map(ToString::to_string).collect();
        let cursor = match self.waiting.is_empty() {
            true => Some(page.cursor),
            false => {
                self.cursor = Some(page.cursor);
                None
            }
        };
        Page { messages, missing, cursor }
    }

    fn of_history(&self, history: &History) -> Page {
        let messages = history.events.iter().filter_map(|event| self.message(event)).collect();
        let missing = history.invalid.iter().map(ToString::to_string).collect();
        Page { messages, missing, cursor: None }
    }

    fn message(&self, event: &Event) -> Option<Replayed> {
        let message = Message::of_store(event, &self.plan.store);
        let is_chosen = self.plan.selection.chooses(event, &message);
        is_chosen.then(|| Replayed {
            subject: event.subject.clone(),
            source: event.source.clone(),
            id: event.id.clone(),
            message,
        })
    }
}

impl std::fmt::Debug for Replay {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Replay").field("plan", &self.plan).finish_non_exhaustive()
    }
}
