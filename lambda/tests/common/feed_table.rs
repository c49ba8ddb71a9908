//! A **model** of the feed's table in DynamoDB: requests are slow, fail, stay unanswered or arrive
//! late. It keeps the order in which items were put.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use eventdb::FeedEntry;
use eventdb::internals::feed::chunk::{Chunk, End};
use eventdb::internals::schema::feed;
use eventdb_publisher::listing::{FeedFailure, FeedTable, Put};
use proptest::prelude::*;
use serde_dynamo::{AttributeValue, Item};

/// What becomes of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    /// It is carried out and answered after some milliseconds.
    Answered(u64),
    /// It fails and isn't carried out.
    Failed,
    /// It is carried out, but fails.
    FailedAfter,
    /// It isn't carried out or answered.
    Silent,
    /// It is carried out after some seconds and never answered.
    Late(u64),
    /// It is refused for good.
    Denied,
}

pub(crate) fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        10 => (1..80_u64).prop_map(Request::Answered),
        1 => Just(Request::Failed),
        1 => Just(Request::FailedAfter),
        1 => Just(Request::Silent),
        1 => (0..300_u64).prop_map(Request::Late),
        1 => Just(Request::Denied),
    ]
}

#[derive(Debug, Default)]
struct State {
    items: BTreeMap<(String, u64), Item>,
    /// The chunks in the order in which they were put.
    chunks: Vec<Chunk>,
    script: VecDeque<Request>,
    /// What becomes of every request, after the script.
    always: Option<Request>,
    /// How often the table was restored. A request of an earlier table isn't carried out.
    restores: u32,
    /// Whether the table is being restored.
    is_away: bool,
    /// Ids that were listed and got lost by a restore.
    lost: HashSet<String>,
}

/// The table. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct ModelFeedTable(Arc<Mutex<State>>);

impl ModelFeedTable {
    pub(crate) fn with_script(script: impl IntoIterator<Item = Request>) -> Self {
        let table = Self::default();
        table.0.lock().unwrap().script = script.into_iter().collect();
        table
    }

    /// From now on, this becomes of every request.
    pub(crate) fn always(&self, request: Option<Request>) {
        self.0.lock().unwrap().always = request;
    }

    /// What is in the table now, to restore it later.
    pub(crate) fn backup(&self) -> BTreeMap<(String, u64), Item> {
        self.0.lock().unwrap().items.clone()
    }

    /// Replaces the table by what it was. DynamoDB takes minutes for that, so that no invocation sees
    /// both tables, and no request of the old table reaches the new one.
    pub(crate) async fn restore(&self, backup: BTreeMap<(String, u64), Item>) {
        self.0.lock().unwrap().is_away = true;
        tokio::time::sleep(Duration::from_secs(60)).await;
        let mut state = self.0.lock().unwrap();
        state.is_away = false;
        state.restores += 1;
        state.items = backup;
        let kept: HashSet<_> = state
            .items
            .values()
            .filter_map(|item| Chunk::decode(item).ok())
            .map(|chunk| chunk.tag)
            .collect();
        let (kept, lost) = std::mem::take(&mut state.chunks)
            .into_iter()
            .partition(|chunk| kept.contains(&chunk.tag));
        state.chunks = kept;
        let lost: Vec<Chunk> = lost;
        state.lost.extend(lost.into_iter().flat_map(|chunk| chunk.entries).map(|entry| entry.id));
    }

    /// All entries, by partition in the order of their offsets.
    pub(crate) fn entries(&self) -> Vec<FeedEntry> {
        self.0.lock().unwrap().chunks.iter().flat_map(|chunk| chunk.entries.clone()).collect()
    }

    pub(crate) fn lost(&self) -> HashSet<String> {
        self.0.lock().unwrap().lost.clone()
    }

    /// Checks that every chunk was put where its partition ended at that time, so that no reader can
    /// see a gap, and nothing appears behind one.
    pub(crate) fn check_chain(&self) -> Result<(), String> {
        let state = self.0.lock().unwrap();
        let mut ends: BTreeMap<u32, End> = BTreeMap::new();
        for chunk in &state.chunks {
            let end = ends.entry(chunk.partition).or_default();
            if (chunk.offset, &chunk.previous_tag) != (end.offset, &end.tag) {
                return Err(format!("{chunk:?} isn't at the end {end:?}"));
            }
            *end = chunk.end();
        }
        Ok(())
    }

    /// Reads chunks as a reader of the feed does: at most `most`. DynamoDB doesn't isolate a query from
    /// concurrent writes, so those from the offset `split` on are as they are some time later. `None` while the table is being restored.
    pub(crate) async fn read(
        &self,
        partition: u32,
        from: u64,
        (split, later): (u64, Duration),
        most: usize,
    ) -> Option<Vec<Item>> {
        let key = partition.to_string();
        let within = |from: u64, to: u64| {
            let state = self.0.lock().unwrap();
            let range = (key.clone(), from)..(key.clone(), to.max(from));
            let items: Vec<_> = state.items.range(range).map(|(_, item)| item.clone()).collect();
            (!state.is_away).then_some((items, state.restores))
        };
        let (mut items, restores) = within(from, split)?;
        tokio::time::sleep(later).await;
        let (later, restores_later) = within(split.max(from), u64::MAX)?;
        items.extend(later);
        items.truncate(most);
        // A request isn't answered by two tables.
        (restores == restores_later).then_some(items)
    }

    fn next(&self) -> (Request, u32) {
        let mut state = self.0.lock().unwrap();
        let scripted = state.script.pop_front();
        (scripted.or(state.always).unwrap_or(Request::Answered(5)), state.restores)
    }

    /// Carries out a request at its time, if its table is still there.
    async fn carry_out<T: Send + 'static>(
        &self,
        action: impl FnOnce(&mut State) -> T + Send + 'static,
    ) -> Result<T, FeedFailure> {
        let (request, restores) = self.next();
        let failure =
            |code: &str, is_permanent| FeedFailure { is_permanent, code: code.to_owned() };
        let act = move |state: &Mutex<State>| {
            let mut state = state.lock().unwrap();
            match state.restores == restores && !state.is_away {
                true => Ok(action(&mut state)),
                false => Err(failure("ResourceNotFoundException", true)),
            }
        };
        match request {
            Request::Answered(milliseconds) => {
                tokio::time::sleep(Duration::from_millis(milliseconds)).await;
                act(&self.0)
            }
            Request::Failed => Err(failure("InternalServerError", false)),
            Request::FailedAfter => {
                act(&self.0).and_then(|_| Err(failure("InternalServerError", false)))
            }
            Request::Silent => std::future::pending().await,
            Request::Late(seconds) => {
                let state = Arc::clone(&self.0);
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_secs(seconds)).await;
                    let _ = act(&state);
                });
                std::future::pending().await
            }
            Request::Denied => Err(failure("AccessDeniedException", true)),
        }
    }
}

impl FeedTable for ModelFeedTable {
    async fn last(
        &self,
        partition: &str,
        most: i32,
        _with_entries: bool,
    ) -> Result<Vec<Item>, FeedFailure> {
        let partition = partition.to_owned();
        self.carry_out(move |state| {
            let items = state.items.iter().rev().filter(|((of, _), _)| *of == partition);
            items.map(|(_, item)| item.clone()).take(usize::try_from(most).unwrap()).collect()
        })
        .await
    }

    async fn put(&self, item: &Item) -> Result<Put, FeedFailure> {
        let item = item.clone();
        self.carry_out(move |state| {
            let Some(AttributeValue::S(partition)) = item.get(feed::PARTITION) else { panic!() };
            let Some(AttributeValue::N(offset)) = item.get(feed::OFFSET) else { panic!() };
            let key = (partition.clone(), offset.parse().unwrap());
            if let Some(existing) = state.items.get(&key) {
                return Put::Refused(existing.clone());
            }
            if let Ok(chunk) = Chunk::decode(&item) {
                state.chunks.push(chunk);
            }
            state.items.insert(key, item);
            Put::Stored
        })
        .await
    }
}
