//! A read model that sends mails, and how a new one takes its place: no mail is sent twice, none is
//! missed, and writers don't stop.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use eventdb::{
    ApplyOutcome, Event, EventDb, Feed, FeedEntry, Listing, Message, Position, Projection,
    ReadModel, ReceivedMessage, Step, StoreId,
};
use futures_util::TryStreamExt;
use tokio::sync::{mpsc, watch};

/// What the subscriptions of a topic do: each queue gets each message.
pub(crate) type Queue = mpsc::UnboundedReceiver<String>;

/// How often a mail was sent about each event, by the ids of the events.
#[derive(Default)]
pub(crate) struct Mails(Mutex<BTreeMap<String, u64>>);

impl Mails {
    fn send(&self, event: &Event) {
        *lock(&self.0).entry(event.id.clone()).or_default() += 1;
    }

    /// The ids of the events, and how many mails were sent about each.
    pub(crate) fn sent(&self) -> BTreeMap<String, u64> {
        lock(&self.0).clone()
    }
}

/// Which events a read model sends mails about.
enum Sending {
    /// None yet: it is being built from the history.
    HeldBack,
    /// Those behind these revisions of their subjects. Another read model has sent the others.
    After(HashMap<String, u64>),
}

/// How often each book was borrowed. In a database, the count, the position and the mail to be sent would
/// change in one transaction.
pub(crate) struct Loans {
    mails: Arc<Mails>,
    state: Mutex<State>,
}

struct State {
    positions: HashMap<String, Position>,
    counts: BTreeMap<String, u64>,
    sending: Sending,
}

impl Loans {
    /// The first of its kind: it sends all mails.
    pub(crate) fn first(mails: &Arc<Mails>) -> Self {
        Self::with(mails, Sending::After(HashMap::new()))
    }

    /// One that is built next to another, and sends no mails until it takes over.
    pub(crate) fn rebuilt(mails: &Arc<Mails>) -> Self {
        Self::with(mails, Sending::HeldBack)
    }

    fn with(mails: &Arc<Mails>, sending: Sending) -> Self {
        let (positions, counts) = Default::default();
        Self { mails: Arc::clone(mails), state: Mutex::new(State { positions, counts, sending }) }
    }

    /// How often each book was borrowed.
    pub(crate) fn counts(&self) -> BTreeMap<String, u64> {
        lock(&self.state).counts.clone()
    }

    fn revisions(&self) -> HashMap<String, u64> {
        let state = lock(&self.state);
        let positions = state.positions.iter();
        positions.map(|(subject, position)| (subject.clone(), position.revision)).collect()
    }

    /// Sends the mails that the other one hasn't sent, and from now on those about later events. The
    /// other one must have stopped, and this one must be getting no events meanwhile.
    ///
    /// # Errors
    /// If the store can't be read.
    pub(crate) async fn take_over(&self, other: &Self, db: &EventDb) -> Result<(), eventdb::Error> {
        let sent = other.revisions();
        for (subject, last) in self.revisions() {
            let first = sent.get(&subject).map_or(1, |sent| sent.saturating_add(1));
            if first > last {
                continue;
            }
            let history = db.fetch_events_for_subject(&*subject).from_revision(first).await?;
            let is_due = |event: &&Event| event.revision.is_some_and(|revision| revision <= last);
            history.events.iter().filter(is_due).for_each(|event| self.mails.send(event));
        }
        lock(&self.state).sending = Sending::After(sent);
        Ok(())
    }
}

impl ReadModel for Loans {
    type Error = Infallible;

    async fn position(&self, subject: &str) -> Result<Position, Infallible> {
        Ok(lock(&self.state).positions.get(subject).cloned().unwrap_or_default())
    }

    async fn apply(&self, event: &Event, step: &Step) -> Result<ApplyOutcome, Infallible> {
        let mut state = lock(&self.state);
        let position = state.positions.entry(event.subject.clone()).or_default();
        if !step.begins_at(position) {
            return Ok(ApplyOutcome::PositionDiffers);
        }
        *position = step.to.clone();
        *state.counts.entry(event.subject.clone()).or_default() += 1;
        if let Sending::After(sent) = &state.sending {
            let is_sent = sent.get(&event.subject).is_some_and(|sent| step.to.revision <= *sent);
            if !is_sent {
                self.mails.send(event);
            }
        }
        Ok(ApplyOutcome::Applied)
    }
}

/// The topic and the publisher of a store inside the process: it lists events in the feed and passes
/// them to the queues.
pub(crate) struct Topic {
    feed: Feed,
    store: StoreId,
    queues: Mutex<Vec<mpsc::UnboundedSender<String>>>,
}

impl Topic {
    /// The topic of a store with this feed.
    pub(crate) fn new(feed: Feed, store: StoreId) -> Self {
        Self { feed, store, queues: Mutex::default() }
    }

    /// A queue that gets all messages from now on.
    pub(crate) fn subscribe(&self) -> Queue {
        let (sender, queue) = mpsc::unbounded_channel();
        lock(&self.queues).push(sender);
        queue
    }

    /// Publishes stored events.
    ///
    /// # Errors
    /// If the feed can't be written.
    pub(crate) async fn publish(&self, events: &[Event]) -> Result<(), eventdb::FeedError> {
        for event in events {
            // A queue that nobody reads any more gets nothing.
            let message = Message::of_store(event, &self.store);
            lock(&self.queues).retain(|queue| queue.send(message.body.clone()).is_ok());
        }
        // As the publisher does: after the topic has them.
        let entries = events.iter().map(|event| FeedEntry::new(event, None, Listing::Published));
        self.feed.adopt_events(entries).await
    }
}

/// Handles the messages of a queue until it is told to stop, or the topic is gone.
///
/// # Errors
/// If a message can't be handled.
pub(crate) async fn consume(
    mut queue: Queue,
    loans: Arc<Loans>,
    db: EventDb,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let projection = Projection::new(loans).reading(db);
    loop {
        let message = tokio::select! {
            biased;
            _ = stop.wait_for(|stops| *stops) => return Ok(()),
            message = queue.recv() => message,
        };
        let Some(message) = message else { return Ok(()) };
        projection.handle(&ReceivedMessage::read(&message)?).await?;
    }
}

/// Fills a new read model from the feed until it has caught up, while writers go on.
///
/// # Errors
/// If the feed can't be followed.
pub(crate) async fn fill(
    loans: &Arc<Loans>,
    feed: &Feed,
    db: &EventDb,
) -> Result<u64, Box<dyn Error>> {
    let projection = Projection::new(Arc::clone(loans)).reading(db.clone());
    let mut pages = feed.follow().events_of(db).apply_to(projection);
    while let Some(progress) = pages.try_next().await? {
        if progress.caught_up {
            return Ok(progress.applied);
        }
    }
    Err("the feed has ended".into())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
