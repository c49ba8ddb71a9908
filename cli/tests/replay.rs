//! Replays on an embedded database: which messages are sent, and what a consumer makes of them. Sending
//! them to a queue is tested in `tests/pipeline`.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has done its work"
)]

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::Mutex;

use eventdb::{
    ApplyOutcome, EmbeddedDynamoDb, Event, EventCandidate, EventDb, Feed, FeedCursor, FeedEntry,
    Listing, Message, Position, Projection, ReadModel, ReceivedMessage, Step, TableLayout,
};
use eventdb_cli::replay::filter_policy::FilterPolicy;
use eventdb_cli::replay::selection::{Plan, Selection};
use eventdb_cli::replay::{Replay, Replayed};
use serde_json::json;

const LAYOUTS: [TableLayout; 2] = [TableLayout::ByTime, TableLayout::ByRevision];

struct Library {
    db: EventDb,
    feed: Feed,
    _database: EmbeddedDynamoDb,
}

impl Library {
    async fn new(layout: TableLayout) -> Self {
        let database = EmbeddedDynamoDb::in_memory().await.unwrap();
        let client = database.client();
        EventDb::create_table(&client, "Events").layout(layout).await.unwrap();
        Feed::create_table(&client, "Feed").await.unwrap();
        let db = EventDb::new(client.clone(), "Events").with_layout(layout);
        Self { db, feed: Feed::new(client, "Feed"), _database: database }
    }

    async fn append(&self, subject: &str, ty: &str, source: &str) -> Event {
        let candidate = EventCandidate::builder()
            .source(source)
            .subject(subject)
            .ty(ty)
            .data(json!({ "subject": subject }))
            .build();
        self.db.add_new_events([candidate]).await.unwrap().remove(0)
    }

    /// Some events of three subjects, listed in their order.
    async fn fill(&self) -> Vec<Event> {
        let mut events = Vec::new();
        for number in 0..24 {
            let subject = ["book:1", "book:2", "user:1"][number % 3];
            let ty = ["book.borrowed", "book.returned"][number / 3 % 2];
            let source = ["https://library.example.com", "https://readers.example.com"][number % 2];
            events.push(self.append(subject, ty, source).await);
        }
        self.adopt(&events).await;
        events
    }

    async fn adopt(&self, events: &[Event]) {
        let entries = events.iter().map(|event| FeedEntry::new(event, None, Listing::Adopted));
        self.feed.adopt_events(entries).await.unwrap();
    }

    async fn replayed(
        &self,
        selection: Selection,
        after: Option<FeedCursor>,
    ) -> (Plan, Vec<Replayed>, Option<FeedCursor>) {
        let plan = Plan::make(selection, &self.feed, &self.db, after.as_ref()).await.unwrap();
        let mut replay = Replay::begin(plan.clone(), &self.feed, &self.db, after);
        let (mut messages, mut cursor) = (Vec::new(), None);
        while let Some(page) = replay.next().await.unwrap() {
            assert_eq!(page.missing, Vec::<String>::new());
            messages.extend(page.messages);
            cursor = page.cursor.or(cursor);
        }
        (plan, messages, cursor)
    }
}

fn all() -> Selection {
    Selection {
        filter: FilterPolicy::everything(),
        subject_prefix: String::new(),
        types: Vec::new(),
        since: None,
        until: None,
        last_only: false,
    }
}

fn ids(messages: &[Replayed]) -> BTreeMap<&str, Vec<&str>> {
    let mut ids: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for replayed in messages {
        ids.entry(&replayed.subject).or_default().push(&replayed.id);
    }
    ids
}

fn expected<'a>(events: impl IntoIterator<Item = &'a Event>) -> BTreeMap<&'a str, Vec<&'a str>> {
    let mut ids: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for event in events {
        ids.entry(&event.subject).or_default().push(&event.id);
    }
    ids
}

/// The revisions of each subject, as they were applied.
#[derive(Default)]
struct Applied(Mutex<HashMap<String, (Position, Vec<u64>)>>);

impl ReadModel for Applied {
    type Error = Infallible;

    async fn position(&self, subject: &str) -> Result<Position, Infallible> {
        let applied = self.0.lock().unwrap();
        Ok(applied.get(subject).map(|(position, _)| position.clone()).unwrap_or_default())
    }

    async fn apply(&self, event: &Event, step: &Step) -> Result<ApplyOutcome, Infallible> {
        let mut applied = self.0.lock().unwrap();
        let (position, revisions) = applied.entry(event.subject.clone()).or_default();
        if !step.begins_at(position) {
            return Ok(ApplyOutcome::PositionDiffers);
        }
        *position = step.to.clone();
        revisions.push(step.to.revision);
        Ok(ApplyOutcome::Applied)
    }
}

#[tokio::test]
async fn a_consumer_without_access_to_the_store_gets_the_whole_history() {
    for layout in LAYOUTS {
        let library = Library::new(layout).await;
        let events = library.fill().await;
        let (plan, messages, _) = library.replayed(all(), None).await;
        assert_eq!((plan.messages, plan.entries, plan.disordered_subjects()), (24, 24, 0));
        assert_eq!(ids(&messages), expected(&events));
        let store = library.db.store_id().await.unwrap();
        let projection = Projection::new(Applied::default());
        for replayed in &messages {
            let event = events.iter().find(|event| event.id == replayed.id).unwrap();
            assert_eq!(replayed.message, Message::of_store(event, &store), "as it was published");
            let received = ReceivedMessage::read(&replayed.message.body).unwrap();
            assert_eq!(received.replay, None);
            let received = received.with_attributes([("type", "x"), ("replay", "replay-1")]);
            assert_eq!(received.replay.as_deref(), Some("replay-1"));
            // In their order, so that none has to be delivered again.
            assert_eq!(projection.handle(&received).await.unwrap(), 1);
        }
        let size = messages.iter().map(|replayed| replayed.message.size()).max().unwrap() as u64;
        assert!((size - 60..=size).contains(&plan.mean_bytes), "{} of {size}", plan.mean_bytes);
    }
}

#[tokio::test]
async fn only_what_the_filter_and_the_options_choose_is_sent() {
    for layout in LAYOUTS {
        let library = Library::new(layout).await;
        let events = library.fill().await;
        let (since, until) = (events[6].time, events[18].time);
        let by_source = r#"{"source":["https://readers.example.com"]}"#;
        let by_type = r#"{"type":["book.returned"],"subject":[{"prefix":"book:"}]}"#;
        type Chooses = Box<dyn Fn(&Event) -> bool>;
        let cases: Vec<(Selection, Chooses)> = vec![
            (
                Selection { filter: by_source.parse().unwrap(), ..all() },
                Box::new(|event| event.source == "https://readers.example.com"),
            ),
            (
                Selection { filter: by_type.parse().unwrap(), ..all() },
                Box::new(|event| event.ty == "book.returned" && event.subject != "user:1"),
            ),
            (
                Selection { subject_prefix: "user:".to_owned(), ..all() },
                Box::new(|event| event.subject == "user:1"),
            ),
            (
                Selection { types: vec!["book.borrowed".to_owned()], ..all() },
                Box::new(|event| event.ty == "book.borrowed"),
            ),
            (
                Selection { since: Some(since), until: Some(until), ..all() },
                Box::new(move |event| event.time >= since && event.time < until),
            ),
            (Selection { last_only: true, ..all() }, Box::new(|event| event.revision == Some(8))),
            (
                Selection { last_only: true, filter: by_type.parse().unwrap(), ..all() },
                Box::new(|event| event.revision == Some(8) && event.subject != "user:1"),
            ),
        ];
        for (selection, chooses) in cases {
            let (plan, messages, _) = library.replayed(selection.clone(), None).await;
            let chosen: Vec<_> = events.iter().filter(|event| chooses(event)).collect();
            assert!(!chosen.is_empty());
            assert_eq!(ids(&messages), expected(chosen.iter().copied()), "{selection:?}");
            if !selection.filter_needs_event() {
                assert_eq!(plan.messages, chosen.len() as u64, "{selection:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_replay_goes_on_where_it_stopped() {
    let library = Library::new(TableLayout::ByRevision).await;
    library.fill().await;
    let (_, _, cursor) = library.replayed(all(), None).await;
    let more = [
        library.append("book:1", "book.borrowed", "https://library.example.com").await,
        library.append("book:3", "book.borrowed", "https://library.example.com").await,
    ];
    library.adopt(&more).await;
    let (plan, messages, _) = library.replayed(all(), cursor).await;
    assert_eq!((plan.messages, plan.entries), (2, 2));
    assert_eq!(ids(&messages), expected(&more));
}

#[tokio::test]
async fn what_the_feed_does_not_list_in_order_is_sent_in_order() {
    for layout in LAYOUTS {
        let library = Library::new(layout).await;
        let mut events = Vec::new();
        for _ in 0..4 {
            for subject in ["book:1", "book:2"] {
                events.push(
                    library.append(subject, "book.borrowed", "https://library.example.com").await,
                );
            }
        }
        // The feed was switched on later; then the earlier events of one subject were adopted.
        let (early, late): (Vec<Event>, Vec<Event>) = events
            .iter()
            .cloned()
            .partition(|event| event.subject == "book:1" && event.revision <= Some(2));
        library.adopt(&late).await;
        library.adopt(&early).await;
        let (plan, messages, cursor) = library.replayed(all(), None).await;
        assert_eq!((plan.messages, plan.disordered_subjects()), (8, 1));
        assert_eq!(ids(&messages), expected(&events));
        assert!(cursor.is_some());
    }
}
