//! Following the feed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use eventdb::internals::feed::append::PartitionAppend;
use eventdb::internals::feed::chunk::{self, End};
use eventdb::internals::feed::partition_of;
use eventdb::{
    CapacityMeter, CursorError, Event, Feed, FeedCursor, FeedEntry, FeedError, FeedEventsPage,
    FeedPage, Follow, Listing, MissingReason, TableLayout,
};
use futures_util::{StreamExt, TryStreamExt, future};
use serde_json::json;
use uuid::Uuid;

use crate::support::{Store, at, candidate, candidate_of_type, event, with_revision, with_store};

const PARTITIONS: u32 = 4;

/// A feed, and a publisher that writes it.
pub(crate) struct Listed {
    pub(crate) store: Arc<Store>,
    pub(crate) feed: Feed,
    pub(crate) table: String,
}

/// Runs a test with a new store and a new feed.
pub(crate) async fn with_feed<F, T>(test: F)
where
    F: Fn(Arc<Listed>) -> T + Send + Sync + 'static,
    T: Future<Output = ()> + Send + 'static,
{
    let test = Arc::new(test);
    with_store(move |store| run(Arc::clone(&test), store)).await;
}

async fn run<F, T>(test: Arc<F>, store: Arc<Store>)
where
    F: Fn(Arc<Listed>) -> T + Send + Sync + 'static,
    T: Future<Output = ()> + Send + 'static,
{
    let table = format!("conformance-feed-{}", Uuid::now_v7());
    let client = store.client.clone();
    Feed::create_table(&client, &table).await.expect("feed table");
    let feed = Feed::new(client.clone(), &table);
    let listed = Arc::new(Listed { store, feed, table: table.clone() });
    let outcome = tokio::spawn(test(listed)).await;
    client.delete_table().table_name(&table).send().await.expect("deleted table");
    if let Err(failure) = outcome {
        std::panic::resume_unwind(failure.into_panic());
    }
}

fn entry(subject: &str, revision: u64) -> FeedEntry {
    let mut event = event(subject, &format!("{subject}#{revision}"), 1_738_074_600_000, json!({}));
    event.revision = Some(revision);
    FeedEntry::new(&event, None, Listing::Published)
}

pub(crate) fn entries_of(events: &[Event]) -> Vec<FeedEntry> {
    events.iter().map(|event| FeedEntry::new(event, None, Listing::Published)).collect()
}

type Row = HashMap<String, AttributeValue>;

impl Listed {
    /// Lists entries as an invocation of the publisher does.
    pub(crate) async fn list(&self, entries: impl IntoIterator<Item = FeedEntry>) {
        self.list_at(entries, 1_738_074_600_000).await;
    }

    pub(crate) async fn list_at(
        &self,
        entries: impl IntoIterator<Item = FeedEntry>,
        listed_at: i64,
    ) {
        self.put(chunk::encode_header(PARTITIONS, 1).into()).await;
        let mut by_partition: BTreeMap<u32, Vec<FeedEntry>> = BTreeMap::new();
        for entry in entries {
            by_partition.entry(partition_of(&entry.subject, PARTITIONS)).or_default().push(entry);
        }
        for (partition, entries) in by_partition {
            let end = match self.chunks(partition).await.last() {
                Some(last) => chunk::end_of(&last.clone().into()).expect("end"),
                None => End::default(),
            };
            let append = PartitionAppend::new(partition, entries, listed_at, end);
            let mut append = append.expect("entries");
            while let Some(item) = append.next_chunk() {
                match self.put(item.into()).await {
                    None => append.stored(),
                    Some(existing) => drop(append.refused(&existing.into()).expect("chunk")),
                }
            }
        }
    }

    /// Puts an item, or returns the one that has its key.
    async fn put(&self, item: Row) -> Option<Row> {
        let put = self
            .store
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(#partition)")
            .expression_attribute_names("#partition", "partition")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match put.send().await.map_err(aws_sdk_dynamodb::error::SdkError::into_service_error) {
            Ok(_) => None,
            Err(PutItemError::ConditionalCheckFailedException(refusal)) => refusal.item,
            Err(error) => panic!("{error:?}"),
        }
    }

    /// The chunks of a partition in their order.
    async fn chunks(&self, partition: u32) -> Vec<Row> {
        let query = self
            .store
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .key_condition_expression("#partition = :partition")
            .expression_attribute_names("#partition", "partition")
            .expression_attribute_values(":partition", AttributeValue::S(partition.to_string()));
        query.into_paginator().items().send().collect::<Result<_, _>>().await.expect("chunks")
    }

    async fn remove(&self, item: &Row) {
        self.store
            .client
            .delete_item()
            .table_name(&self.table)
            .key("partition", item["partition"].clone())
            .key("offset", item["offset"].clone())
            .send()
            .await
            .expect("removed");
    }

    async fn remove_all(&self) {
        let scan = self.store.client.scan().table_name(&self.table).consistent_read(true);
        let items: Vec<Row> =
            scan.into_paginator().items().send().collect::<Result<_, _>>().await.expect("scan");
        for item in items {
            self.remove(&item).await;
        }
    }

    /// Replaces an item whatever is there.
    async fn overwrite(&self, item: Row) {
        let put = self.store.client.put_item().table_name(&self.table).set_item(Some(item));
        put.send().await.expect("overwritten");
    }

    async fn read_after(&self, cursor: &FeedCursor) -> Result<Vec<FeedPage>, FeedError> {
        let read = read(self.feed.follow().after(cursor.clone())).await;
        // What a reader finds out, a look at the cursor alone finds out, too.
        let checked = self.feed.check(cursor).await;
        let said = |error: &FeedError| match error {
            FeedError::OtherFeed { what, .. } => Some(what.clone()),
            _ => None,
        };
        assert_eq!(
            checked.as_ref().err().and_then(said),
            read.as_ref().err().and_then(said),
            "{checked:?}"
        );
        read
    }
}

async fn read(follow: Follow) -> Result<Vec<FeedPage>, FeedError> {
    let pages: Vec<_> = follow.until_caught_up().stream().try_collect().await?;
    assert!(pages.last().is_some_and(|page| page.caught_up));
    assert!(pages.iter().filter(|page| page.caught_up).count() == 1);
    Ok(pages)
}

fn entries(pages: &[FeedPage]) -> Vec<FeedEntry> {
    pages.iter().flat_map(|page| page.entries.clone()).collect()
}

/// The ids of the entries, by partition.
fn by_partition(entries: &[FeedEntry]) -> BTreeMap<u32, Vec<String>> {
    let mut ids: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for entry in entries {
        ids.entry(partition_of(&entry.subject, PARTITIONS)).or_default().push(entry.id.clone());
    }
    ids
}

/// Entries of many subjects, some of whose names need escapes or several bytes per character.
fn many(revisions: std::ops::Range<u64>) -> Vec<FeedEntry> {
    let subjects = ["book:1", "book:2", "Büch:ß", "本:一", "\"quoted\"\n", "reader:42", "📚:7"];
    revisions.flat_map(|revision| subjects.map(|subject| entry(subject, revision))).collect()
}

#[tokio::test]
async fn every_entry_is_read_in_the_order_of_its_partition_from_any_cursor() {
    with_feed(|listed| async move {
        let all = many(1..12);
        for batch in all.chunks(9) {
            listed.list(batch.to_vec()).await;
        }
        for page_size in [1, 2, 5, 1000] {
            let pages = read(listed.feed.follow().page_size(page_size)).await.expect("pages");
            assert_eq!(by_partition(&entries(&pages)), by_partition(&all));
            for page in &pages {
                assert!(page.entries.len() <= page_size && by_partition(&page.entries).len() <= 1);
            }
            for (index, page) in pages.iter().enumerate() {
                let text = page.cursor.to_string();
                let cursor: FeedCursor = text.parse().expect("cursor");
                let rest = listed.read_after(&cursor).await.expect("rest");
                let expected = entries(&pages[index + 1..]);
                assert_eq!(by_partition(&entries(&rest)), by_partition(&expected));
            }
            let end = listed.feed.end().await.expect("end");
            assert_eq!(pages.last().map(|page| &page.cursor), Some(&end));
            assert_eq!(end.offsets().map(|(_, offset)| offset).sum::<u64>(), 77);
        }
    })
    .await;
}

#[tokio::test]
async fn a_partition_of_several_megabytes_is_read_page_by_page() {
    with_feed(|listed| async move {
        let long = |revision: u64| {
            let id = format!("{revision}-{}", "i".repeat(2000));
            let mut event = event("book:1", &id, 1_738_074_600_000, json!({}));
            event.revision = Some(revision);
            FeedEntry::new(&event, None, Listing::Published)
        };
        let all: Vec<_> = (1..=1200).map(long).collect();
        listed.list(all.clone()).await;
        let meter = CapacityMeter::new();
        let pages = read(listed.feed.metered_by(&meter).follow()).await.expect("pages");
        assert_eq!(entries(&pages), all);
        // 2.4 MB are read in at least three requests, next to the header and the other partitions.
        assert!(meter.total().requests >= 7, "{:?}", meter.total());
        assert!(meter.total().read_units >= 7.0, "{:?}", meter.total());
    })
    .await;
}

#[tokio::test]
async fn an_empty_feed_is_caught_up_and_followed_once_it_is_created() {
    with_feed(|listed| async move {
        assert_eq!(listed.feed.partitions().await.expect("none"), None);
        let empty = read(listed.feed.follow()).await.expect("page");
        assert_eq!(entries(&empty), []);
        assert_eq!(listed.feed.end().await.expect("end"), empty[0].cursor);
        let mut waiting =
            [listed.feed.follow(), listed.feed.follow().from_now()].map(Follow::stream);
        for stream in &mut waiting {
            assert!(stream.try_next().await.expect("page").expect("page").caught_up);
        }
        let all = many(1..3);
        listed.list(all.clone()).await;
        assert_eq!(listed.feed.partitions().await.expect("some"), Some(PARTITIONS));
        let after = listed.read_after(&empty[0].cursor).await.expect("pages");
        assert_eq!(by_partition(&entries(&after)), by_partition(&all));
        for mut stream in waiting {
            let mut found = Vec::new();
            loop {
                let page = stream.try_next().await.expect("page").expect("page");
                found.extend(page.entries);
                if page.caught_up {
                    break;
                }
            }
            assert_eq!(by_partition(&found), by_partition(&all));
        }
    })
    .await;
}

#[tokio::test]
async fn from_now_on_only_later_entries_are_read() {
    with_feed(|listed| async move {
        listed.list(many(1..5)).await;
        let now = read(listed.feed.follow().from_now()).await.expect("page");
        assert_eq!(entries(&now), []);
        let mut stream = listed.feed.follow().from_now().stream();
        assert!(stream.try_next().await.expect("page").expect("page").caught_up);
        let later = many(5..7);
        listed.list(later.clone()).await;
        let read = listed.read_after(&now[0].cursor).await.expect("pages");
        assert_eq!(by_partition(&entries(&read)), by_partition(&later));
        let page = stream.try_next().await.expect("page").expect("page");
        assert!(!page.entries.is_empty() && page.entries.iter().all(|entry| later.contains(entry)));
    })
    .await;
}

#[tokio::test]
async fn a_filter_passes_over_entries_and_the_cursor_moves_on() {
    with_feed(|listed| async move {
        let mut events = Vec::new();
        for (subject, ty) in [
            ("book:1", "book.borrowed"),
            ("book:1", "book.returned"),
            ("book:11", "book.borrowed"),
            ("Büch:ß", "book.borrowed"),
            ("reader:1", "reader.joined"),
        ] {
            let stored = listed.store.db.add_new_events([candidate_of_type(subject, ty)]).await;
            events.extend(stored.expect("stored"));
        }
        listed.list(entries_of(&events)).await;
        let end = listed.feed.end().await.expect("end");
        let ids = async |follow: Follow| {
            let pages = read(follow).await.expect("pages");
            assert_eq!(pages.last().map(|page| &page.cursor), Some(&end));
            entries(&pages).into_iter().map(|entry| entry.id).collect::<HashSet<_>>()
        };
        let of = |indices: &[usize]| {
            indices.iter().map(|index| events[*index].id.clone()).collect::<HashSet<_>>()
        };
        let follow = || listed.feed.follow();
        assert_eq!(ids(follow().types(["book.borrowed"])).await, of(&[0, 2, 3]));
        assert_eq!(ids(follow().types(["book.returned", "reader.joined"])).await, of(&[1, 4]));
        assert_eq!(ids(follow().types(Vec::<String>::new())).await, of(&[]));
        assert_eq!(ids(follow().subject_prefix("book:1")).await, of(&[0, 1, 2]));
        assert_eq!(ids(follow().subject_prefix("Bü")).await, of(&[3]));
        assert_eq!(ids(follow().subject_prefix("")).await, of(&[0, 1, 2, 3, 4]));
        let both = follow().subject_prefix("book:1").types(["book.borrowed"]);
        assert_eq!(ids(both).await, of(&[0, 2]));
    })
    .await;
}

#[tokio::test]
async fn two_readers_share_the_partitions_and_can_be_joined() {
    with_feed(|listed| async move {
        let first = many(1..6);
        listed.list(first.clone()).await;
        let share = async |partitions: [u32; 2], after: FeedCursor| {
            let follow = listed.feed.follow().partitions(partitions).after(after);
            read(follow).await.expect("pages")
        };
        let start = FeedCursor::default;
        let (one, other) = future::join(share([0, 3], start()), share([1, 2], start())).await;
        let (ids_of_one, ids_of_other) =
            (by_partition(&entries(&one)), by_partition(&entries(&other)));
        assert!(ids_of_one.keys().all(|partition| [0, 3].contains(partition)));
        assert!(ids_of_other.keys().all(|partition| [1, 2].contains(partition)));
        let both: BTreeMap<_, _> = ids_of_one.into_iter().chain(ids_of_other).collect();
        assert_eq!(both, by_partition(&first));
        // Then a single reader takes over.
        let cursor = |pages: &[FeedPage]| pages.last().expect("page").cursor.clone();
        let error = listed.read_after(&cursor(&one)).await.expect_err("other partitions");
        assert!(matches!(error, FeedError::CursorLacksPartition { partition: 1 }), "{error}");
        let joined = cursor(&one).joined_with(cursor(&other)).expect("one feed");
        let second = many(6..8);
        listed.list(second.clone()).await;
        let rest = listed.read_after(&joined).await.expect("pages");
        assert_eq!(by_partition(&entries(&rest)), by_partition(&second));
    })
    .await;
}

#[tokio::test]
async fn partitions_that_do_not_exist_are_refused_with_those_that_do() {
    with_feed(|listed| async move {
        let error = async |partitions: Vec<u32>| {
            let follow = listed.feed.follow().partitions(partitions);
            read(follow).await.expect_err("no partition").to_string()
        };
        // The feed isn't created yet.
        assert_eq!(error(vec![]).await, "no partition is chosen; choose at least one");
        assert_eq!(error(vec![256]).await, "a feed can't have a partition 256");
        listed.list(many(1..2)).await;
        let expected = "the feed has no partition 4; it has 4, with the numbers 0 to 3";
        assert_eq!(error(vec![0, 4]).await, expected);
    })
    .await;
}

#[tokio::test]
async fn a_limit_ends_the_stream_and_the_cursor_goes_on_there() {
    with_feed(|listed| async move {
        let all = many(1..8);
        listed.list(all.clone()).await;
        let mut found = Vec::new();
        let mut cursor = FeedCursor::default();
        loop {
            let follow = listed.feed.follow().after(cursor.clone()).limit(3).until_caught_up();
            let pages: Vec<FeedPage> = follow.stream().try_collect().await.expect("pages");
            let new = entries(&pages);
            assert!(new.len() <= 3);
            cursor = pages.last().expect("page").cursor.clone();
            if new.is_empty() {
                break;
            }
            found.extend(new);
        }
        assert_eq!(by_partition(&found), by_partition(&all));
        let none = listed.feed.follow().limit(0).stream().try_collect::<Vec<_>>().await;
        assert_eq!(none.expect("no page"), []);
        let follow = listed.feed.follow().subject_prefix("book:2").limit(2);
        let pages: Vec<FeedPage> = follow.stream().try_collect().await.expect("pages");
        assert_eq!(entries(&pages).len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_reader_that_follows_racing_writers_misses_nothing() {
    with_feed(|listed| async move {
        let writers: Vec<_> = (0..8_u64)
            .map(|writer| {
                let listed = Arc::clone(&listed);
                tokio::spawn(async move {
                    for batch in 0..5 {
                        let revision = writer * 100 + batch;
                        listed.list(many(revision..revision + 1)).await;
                    }
                })
            })
            .collect();
        let pauses = (Duration::from_millis(10), Duration::from_millis(20));
        let mut stream = listed.feed.follow().pauses(pauses.0, pauses.1).page_size(3).stream();
        let mut found = Vec::new();
        while found.len() < 8 * 5 * 7 {
            found.extend(stream.try_next().await.expect("page").expect("page").entries);
        }
        future::join_all(writers).await.into_iter().for_each(|writer| writer.expect("writer"));
        let distinct: HashSet<_> = found.iter().map(|entry| &entry.id).collect();
        assert_eq!(distinct.len(), found.len());
        assert_eq!(found.len(), 8 * 5 * 7);
    })
    .await;
}

/// Chunks of the partition of one subject.
async fn list_singly(listed: &Listed, revisions: std::ops::Range<u64>) -> Vec<Row> {
    for revision in revisions {
        listed.list([entry("book:1", revision)]).await;
    }
    listed.chunks(partition_of("book:1", PARTITIONS)).await
}

#[tokio::test]
async fn a_gap_is_an_error_wherever_the_reader_is() {
    with_feed(|listed| async move {
        let chunks = list_singly(&listed, 1..6).await;
        let cursors = read(listed.feed.follow().page_size(1)).await.expect("pages");
        let before = &cursors[1].cursor;
        assert_eq!(before.offsets().find(|(partition, _)| *partition == 1), Some((1, 2)));
        listed.remove(&chunks[2]).await;
        listed.remove(&chunks[3]).await;
        for follow in [listed.feed.follow(), listed.feed.follow().after(before.clone())] {
            let error = read(follow).await.expect_err("gap");
            assert!(
                matches!(error, FeedError::Gap { partition: 1, offset: 2, found: 4, .. }),
                "{error:?}"
            );
            assert!(!error.is_retryable());
            let text = error.to_string();
            assert!(text.contains("in partition 1, the entries from offset 2 to 4 are missing"));
        }
        // The beginning is missing.
        listed.remove(&chunks[0]).await;
        let error = read(listed.feed.follow()).await.expect_err("gap");
        assert!(matches!(error, FeedError::Gap { offset: 0, found: 1, .. }), "{error:?}");
        // What comes before the gap is delivered.
        let pages: Vec<_> =
            listed.feed.follow().after(cursors[0].cursor.clone()).stream().collect().await;
        assert!(pages.last().expect("last").is_err());
    })
    .await;
}

#[tokio::test]
async fn a_feed_that_was_restored_is_another_feed() {
    with_feed(|listed| async move {
        let chunks = list_singly(&listed, 1..5).await;
        let cursors = read(listed.feed.follow().page_size(1)).await.expect("pages");
        let cursor_at = |offset: u64| {
            let is_there = |page: &&FeedPage| page.cursor.offsets().any(|at| at == (1, offset));
            cursors.iter().find(is_there).expect("page").cursor.clone()
        };
        let refused = async |cursor: FeedCursor, reason: &str| {
            let error = listed.read_after(&cursor).await.expect_err("another feed");
            assert!(matches!(error, FeedError::OtherFeed { .. }), "{error:?}");
            assert!(error.to_string().contains(reason), "{error}");
        };
        // The last two chunks are lost, and nothing follows.
        listed.remove(&chunks[2]).await;
        listed.remove(&chunks[3]).await;
        refused(cursor_at(4), "what precedes offset 4 of partition 1").await;
        refused(cursor_at(3), "what precedes offset 3 of partition 1").await;
        listed.read_after(&cursor_at(2)).await.expect("these are still there");
        // Others are in their places.
        for revision in [13, 14, 15] {
            listed.list([entry("book:1", revision)]).await;
        }
        refused(cursor_at(4), "what precedes offset 4 of partition 1").await;
        refused(cursor_at(3), "what precedes offset 3 of partition 1").await;
        let rest = listed.read_after(&cursor_at(2)).await.expect("continued");
        assert_eq!(entries(&rest).len(), 3);
        // A chunk that follows another one.
        let mut foreign = listed.chunks(1).await.remove(4);
        foreign.insert("previous_tag".to_owned(), AttributeValue::S("foreign".to_owned()));
        listed.overwrite(foreign).await;
        let error = read(listed.feed.follow()).await.expect_err("another feed");
        assert!(matches!(error, FeedError::OtherFeed { .. }), "{error:?}");
    })
    .await;
}

#[tokio::test]
async fn a_chunk_that_was_read_in_part_is_recognised_after_a_restore() {
    with_feed(|listed| async move {
        listed.list((1..5).map(|revision| entry("book:1", revision))).await;
        let cursor =
            read(listed.feed.follow().page_size(2)).await.expect("pages")[0].cursor.clone();
        assert_eq!(cursor.offsets().find(|(partition, _)| *partition == 1), Some((1, 2)));
        let rest = listed.read_after(&cursor).await.expect("rest");
        assert_eq!(entries(&rest), [entry("book:1", 3), entry("book:1", 4)]);
        // The same place, but other entries.
        listed.remove(&listed.chunks(1).await[0]).await;
        listed.list((11..15).map(|revision| entry("book:1", revision))).await;
        let error = listed.read_after(&cursor).await.expect_err("another feed");
        assert!(matches!(error, FeedError::OtherFeed { .. }), "{error:?}");
    })
    .await;
}

#[tokio::test]
async fn a_feed_that_was_created_again_is_another_feed() {
    with_feed(|listed| async move {
        // Nothing was read of it, so only the header distinguishes the two.
        listed.list([entry("book:1", 1)]).await;
        let others = listed.feed.follow().partitions([0, 2, 3]);
        let cursor = read(others.clone()).await.expect("page")[0].cursor.clone();
        listed.remove_all().await;
        for is_created in [false, true] {
            if is_created {
                listed.list([entry("book:1", 1)]).await;
            }
            let error = read(others.clone().after(cursor.clone())).await.expect_err("another feed");
            assert!(error.to_string().contains("another feed: its header isn't"), "{error}");
        }
        let other = listed.feed.end().await.expect("end");
        assert_eq!(other.joined_with(cursor), Err(CursorError::OtherRead));
    })
    .await;
}

#[tokio::test]
async fn a_waiting_reader_notices_that_the_feed_was_replaced() {
    for replace_header in [false, true] {
        with_feed(move |listed| async move {
            let chunks = list_singly(&listed, 1..3).await;
            let mut stream = listed.feed.follow().stream();
            while !stream.try_next().await.expect("page").expect("page").caught_up {}
            if replace_header {
                listed.overwrite(chunk::encode_header(PARTITIONS, 2).into()).await;
            } else {
                listed.remove(&chunks[1]).await;
            }
            tokio::time::pause();
            tokio::time::advance(Duration::from_secs(31)).await;
            tokio::time::resume();
            let error = stream.try_next().await.expect_err("another feed");
            assert!(matches!(error, FeedError::OtherFeed { .. }), "{error:?}");
            assert!(stream.try_next().await.expect("ended").is_none());
        })
        .await;
    }
}

#[tokio::test]
async fn an_unreadable_item_is_named() {
    with_feed(|listed| async move {
        let mut chunks = list_singly(&listed, 1..4).await;
        chunks[1].insert("entries".to_owned(), AttributeValue::S("secret".to_owned()));
        listed.overwrite(chunks[1].clone()).await;
        let error = read(listed.feed.follow()).await.expect_err("unreadable").to_string();
        assert!(error.contains("partition \"1\" and offset 1 can't be read"), "{error}");
        assert!(error.contains(&listed.table) && !error.contains("secret"), "{error}");
        let header = HashMap::from([
            ("partition".to_owned(), AttributeValue::S("$feed".to_owned())),
            ("offset".to_owned(), AttributeValue::N("0".to_owned())),
            ("partitions".to_owned(), AttributeValue::Bool(true)),
        ]);
        listed.overwrite(header).await;
        let error = listed.feed.partitions().await.expect_err("unreadable").to_string();
        assert!(error.contains("`partitions` is missing"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn a_table_that_is_not_a_feed_is_an_error_that_says_what_to_do() {
    with_feed(|listed| async move {
        let missing = Feed::new(listed.store.client.clone(), "MissingFeed");
        let events = Feed::new(listed.store.client.clone(), &listed.store.table);
        for (feed, table) in [(missing, "MissingFeed"), (events, &listed.store.table)] {
            let errors = [
                read(feed.follow()).await.expect_err("no feed"),
                feed.end().await.expect_err("no feed"),
                feed.partitions().await.expect_err("no feed"),
            ];
            for error in errors {
                assert!(matches!(error, FeedError::NoFeed { .. }), "{error:?}");
                let text = error.to_string();
                assert!(text.contains(&format!("the table `{table}` isn't a feed")), "{text}");
                assert!(text.contains("`FeedTableName`"), "{text}");
            }
        }
        let error = Feed::create_table(&listed.store.client, &listed.store.table).await;
        let error = format!("{:#}", error.expect_err("other keys"));
        assert!(error.contains("they must be [\"partition\", \"offset\"]"), "{error}");
    })
    .await;
}

async fn fetch(listed: &Listed) -> FeedEventsPage {
    let follow = listed.feed.follow().until_caught_up();
    let mut pages = follow.events_of(&listed.store.db).stream();
    let mut all = pages.try_next().await.expect("page").expect("page");
    while let Some(page) = pages.try_next().await.expect("page") {
        all.events.extend(page.events);
        all.missing.extend(page.missing);
    }
    all
}

#[tokio::test]
async fn the_events_are_fetched_in_the_order_of_the_feed() {
    with_feed(|listed| async move {
        let mut stored = Vec::new();
        for number in 0..25 {
            for subject in ["book:1", "Büch:ß", "本:一", "📚:7", "\"quoted\"\\"] {
                let candidates =
                    (0..2).map(|part| candidate(subject, json!({ "number": [number, part] })));
                stored.extend(listed.store.db.add_new_events(candidates).await.expect("stored"));
            }
        }
        let mut entries = entries_of(&stored);
        // After a time-out, the publisher lists some a second time.
        entries.extend_from_within(30..40);
        let mut expected: BTreeMap<u32, Vec<Event>> = BTreeMap::new();
        for event in stored.iter().chain(&stored[30..40]) {
            let partition = partition_of(&event.subject, PARTITIONS);
            expected.entry(partition).or_default().push(event.clone());
        }
        listed.list(entries).await;
        let page = fetch(&listed).await;
        assert_eq!(page.missing, []);
        let mut found: BTreeMap<u32, Vec<Event>> = BTreeMap::new();
        for event in page.events {
            let partition = partition_of(&event.subject, PARTITIONS);
            found.entry(partition).or_default().push(event);
        }
        assert_eq!(found, expected);
    })
    .await;
}

#[tokio::test]
async fn an_event_that_cannot_be_fetched_is_told_with_the_reason() {
    with_feed(|listed| async move {
        let stored = listed.store.fill("book:1", 3).await;
        let mut entries = entries_of(&stored);
        entries.push(entry("book:1", 99));
        let mut other = stored[1].clone();
        other.id = "evt-before-restore".to_owned();
        entries.extend(entries_of(&[other]));
        let unreadable = event("book:1", "evt-unreadable", 1_738_074_600_000, json!({}));
        let unreadable = with_revision(&unreadable, 4);
        let mut row = listed.store.item(&unreadable);
        row.remove("source");
        listed.store.put_row(row.iter().map(|(name, value)| (name.as_str(), value.clone()))).await;
        entries.extend(entries_of(std::slice::from_ref(&unreadable)));
        listed.list(entries.clone()).await;
        let page = fetch(&listed).await;
        assert_eq!(page.events, stored);
        let ids: Vec<_> = page.missing.iter().map(|missing| missing.entry.id.as_str()).collect();
        assert_eq!(ids, ["book:1#99", "evt-before-restore", "evt-unreadable"]);
        assert!(
            matches!(&page.missing[1].reason, MissingReason::OtherEvent { id } if *id == stored[1].id),
            "{:?}",
            page.missing[1]
        );
        let told = page.missing.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(told.contains(
            "the event `evt-before-restore` was published, but the table has the event"
        ));
        assert!(matches!(page.missing[2].reason, MissingReason::Invalid(_)));
    })
    .await;
}

#[tokio::test]
async fn legacy_events_are_fetched_by_their_sort_keys() {
    with_feed(|listed| async move {
        if listed.store.layout != TableLayout::ByTime {
            // Only tables by time have legacy events.
            return;
        }
        let row = |time: i64| {
            let key = format!("{time}_book.borrowed");
            let fields = [
                ("subject", AttributeValue::S("book:1".to_owned())),
                ("time_type", AttributeValue::S(key.clone())),
                ("id", AttributeValue::S(format!("evt-{time}"))),
                ("type", AttributeValue::S("book.borrowed".to_owned())),
                ("source", AttributeValue::S("https://library.example.com".to_owned())),
                ("time", AttributeValue::N(time.to_string())),
                ("pk_all", AttributeValue::S("all".to_owned())),
                ("data", AttributeValue::M(HashMap::new())),
            ];
            (key, fields)
        };
        let mut entries = Vec::new();
        for time in [5, 1_738_074_600_000] {
            let (key, fields) = row(time);
            listed.store.put_row(fields).await;
            let mut event = event("book:1", &format!("evt-{time}"), time, json!({}));
            event.time = at(time);
            entries.push(FeedEntry::new(&event, Some(&key), Listing::Adopted));
        }
        listed.list(entries).await;
        let page = fetch(&listed).await;
        assert_eq!(page.missing, []);
        let ids: Vec<_> = page.events.iter().map(|event| event.id.as_str()).collect();
        assert_eq!(ids, ["evt-5", "evt-1738074600000"]);
    })
    .await;
}

/// A replica of a global table can have the entry before the event.
#[tokio::test]
async fn an_event_that_arrives_late_is_waited_for() {
    with_feed(|listed| async move {
        let now = eventdb::chrono::Utc::now();
        let mut late = event("book:1", "evt-late", now.timestamp_millis(), json!({}));
        late.revision = Some(1);
        listed.list_at(entries_of(std::slice::from_ref(&late)), now.timestamp_millis()).await;
        let arrives = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            listed.store.db.add_events([late.clone()]).await.expect("stored");
        };
        let (page, ()) = future::join(fetch(&listed), arrives).await;
        assert_eq!((page.events.len(), page.missing.len()), (1, 0));
        // What never arrives is told in the end.
        listed.list_at([entry("book:1", 99)], eventdb::chrono::Utc::now().timestamp_millis()).await;
        assert_eq!(fetch(&listed).await.missing.len(), 1);
    })
    .await;
}
