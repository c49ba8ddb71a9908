//! Every event that the topic has accepted is listed in the feed in the end, or Lambda has given up on
//! its record, for any pattern of failures and deliveries. Offsets are dense at all times. A reader that
//! follows meanwhile has exactly what is listed in the end, or was told that it is another feed.
//!
//! Several shards are delivered at the same time by the model of Lambda in `common/mapping.rs`, with
//! the model of the feed's table in `common/feed_table.rs`. Here, shards are split while records of a
//! subject are still under way, so events of a subject may be in two shards. An invocation that
//! Lambda has given up on may end, or go on next to its repetition. Tables are restored: then the feed
//! lacks events, or the stream brings other events with revisions that were there before.
//!
//! `PROPTEST_RNG_SEED` and `PROPTEST_CASES` work as in `delivery_model.rs`.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    reason = "a test fails by a panic"
)]

mod common;

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::feed_table::{ModelFeedTable, Request, request};
use common::mapping::{Mapping, config, deliver, in_virtual_time, mapping, step};
use common::{ScriptedTopic, Step, event_record, payload};
use eventdb::internals::feed::partition_of;
use eventdb::internals::feed::read::{BrokenChain, PartitionRead, Position};
use eventdb_publisher::handler::handle_with_feed;
use eventdb_publisher::listing::Feed;
use futures_util::future::join_all;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

const TIME_LIMIT: Duration = Duration::from_secs(30);

/// An event of the stream.
#[derive(Debug, Clone)]
struct Arrival {
    subject: u8,
    /// Whether its subject moves to another shard here.
    moves: bool,
}

/// One read of a reader of the feed.
#[derive(Debug, Clone, Copy)]
struct Read {
    /// How many entries it sees earlier than the others.
    split: u64,
    /// How many milliseconds earlier.
    earlier: u64,
    /// How many milliseconds later the next read follows.
    pause: u64,
    /// Whether it checks that the feed is still the same.
    checks: bool,
}

#[derive(Debug, Clone)]
struct Case {
    arrivals: Vec<Arrival>,
    /// From this arrival on, revisions are used a second time.
    table_restored: Option<usize>,
    mappings: Vec<Mapping>,
    /// For each killed invocation, whether it goes on.
    overtaken: Vec<bool>,
    topic: Vec<Step>,
    feed: Vec<Request>,
    partitions: u32,
    processes: usize,
    /// Whether the records are so young that the feed isn't searched.
    young: bool,
    /// When the feed's table fails, for how long, and how.
    outage: Option<(u64, u64, Request)>,
    /// When the feed's table is copied, and how much later it is restored from the copy.
    feed_restored: Option<(u64, u64)>,
    reads: Vec<Read>,
}

fn read() -> impl Strategy<Value = Read> {
    (0..6_u64, 0..500_u64, 0..500_u64, prop::bool::weighted(0.03))
        .prop_map(|(split, earlier, pause, checks)| Read { split, earlier, pause, checks })
}

fn case() -> impl Strategy<Value = Case> {
    let arrival = (0..6_u8, prop::bool::weighted(0.1))
        .prop_map(|(subject, moves)| Arrival { subject, moves });
    let kind = prop_oneof![Just(Request::Failed), Just(Request::Silent), Just(Request::Denied)];
    let first = (
        vec(arrival, 1..50),
        prop::option::weighted(0.3, 1..50_usize),
        vec(mapping(), 1..4),
        vec(any::<bool>(), 0..20),
        vec(step(), 0..60),
        vec(request(), 0..150),
    );
    let second = (
        1..4_u32,
        1..4_usize,
        any::<bool>(),
        prop::option::weighted(0.4, (0..20_000_u64, 0..60_000_u64, kind)),
        prop::option::weighted(
            0.4,
            prop_oneof![(0..2_000_u64, 0..2_000_u64), (0..5_000_u64, 0..20_000_u64)],
        ),
        vec(read(), 1..50),
    );
    (first, second).prop_map(
        |(
            (arrivals, table_restored, mappings, overtaken, topic, feed),
            (partitions, processes, young, outage, feed_restored, reads),
        )| Case {
            arrivals,
            table_restored,
            mappings,
            overtaken,
            topic,
            feed,
            partitions,
            processes,
            young,
            outage,
            feed_restored,
            reads,
        },
    )
}

/// What a reader has that has followed one partition.
#[derive(Debug, Default)]
struct Followed {
    ids: Vec<String>,
    /// Why it began again.
    broken: Vec<BrokenChain>,
}

/// Follows a partition until the publisher is done. If it is another feed, it begins again.
async fn follow(
    table: &ModelFeedTable,
    partition: u32,
    reads: &[Read],
    is_done: &Cell<bool>,
) -> Followed {
    let mut followed = Followed::default();
    let mut read = PartitionRead::after(Position::default());
    let mut failures = 0;
    let mut broken_after_end = 0;
    let mut reads_without_new = 1;
    for script in reads.iter().cycle() {
        let last = is_done.get();
        if script.checks || last {
            read.check_again();
        }
        let from = read.read_from();
        let split = (from + script.split, Duration::from_millis(script.earlier));
        let items = table.read(partition, from, split, 3).await;
        reads_without_new += 1;
        match items.map(|items| read.take(&items)) {
            None => {}
            Some(Ok(new)) => {
                failures = 0;
                if !new.is_empty() {
                    reads_without_new = 1;
                } else if last {
                    break;
                }
                let new = new.into_iter().flat_map(|new| new.entries);
                followed.ids.extend(new.map(|entry| entry.id));
            }
            Some(Err(broken)) => {
                failures += 1;
                read.check_again();
                if failures == 4 {
                    failures = 0;
                    followed.ids.clear();
                    followed.broken.push(broken);
                    read = PartitionRead::after(Position::default());
                    // Nothing changes any more, so from the beginning it would be broken again.
                    broken_after_end += u32::from(last);
                    if broken_after_end == 2 {
                        break;
                    }
                }
            }
        }
        // A reader that finds nothing looks less often.
        let pause = script.pause * (reads_without_new / 20).clamp(1, 20);
        sleep(Duration::from_millis(pause)).await;
    }
    followed
}

/// The records of each shard.
fn shards(case: &Case) -> Vec<Vec<Value>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut shards = vec![Vec::new(); case.mappings.len()];
    let mut homes: HashMap<u8, usize> = HashMap::new();
    let mut revisions: HashMap<u8, u64> = HashMap::new();
    for (index, Arrival { subject, moves }) in case.arrivals.iter().enumerate() {
        if case.table_restored == Some(index) {
            revisions.values_mut().for_each(|revision| *revision = revision.saturating_sub(2));
        }
        let revision = revisions.entry(*subject).and_modify(|n| *n += 1).or_insert(1);
        let home = homes.entry(*subject).or_insert(usize::from(*subject) % shards.len());
        if *moves {
            *home = (*home + 1) % shards.len();
        }
        let shard = &mut shards[*home];
        let mut record = event_record(shard.len(), &format!("book:{subject}"), *revision);
        record["dynamodb"]["NewImage"]["id"]["S"] = json!(format!("{subject}#{revision}@{index}"));
        if case.young {
            record["dynamodb"]["ApproximateCreationDateTime"] = json!(now);
        }
        shard.push(record);
    }
    shards
}

fn id(record: &Value) -> String {
    record["dynamodb"]["NewImage"]["id"]["S"].as_str().unwrap().to_owned()
}

/// Delivers all shards, and returns the ids of the records that Lambda has given up on.
async fn deliver_all(
    case: &Case,
    shards: &[Vec<Value>],
    topic: &Arc<ScriptedTopic>,
    table: &ModelFeedTable,
) -> HashSet<String> {
    let new_process = || Arc::new(Feed::new(table.clone(), case.partitions));
    let processes: Vec<_> = (0..case.processes).map(|_| Mutex::new(new_process())).collect();
    let overtaken = Mutex::new(case.overtaken.iter());
    let invocations = Mutex::new(0..);
    let invoke = async |payload: String, life: Duration| {
        let number: usize = invocations.lock().unwrap().next().unwrap();
        let process = &processes[number % processes.len()];
        let (topic, feed) = (Arc::clone(topic), Arc::clone(&*process.lock().unwrap()));
        let started = Instant::now();
        let mut invocation = tokio::spawn(async move {
            handle_with_feed(&*topic, Some(&*feed), payload, started + TIME_LIMIT).await
        });
        match timeout(life, &mut invocation).await {
            Ok(answer) => {
                assert!(started.elapsed() <= TIME_LIMIT, "it has waited too long");
                Some(answer.unwrap())
            }
            Err(_) => {
                if overtaken.lock().unwrap().next() != Some(&true) {
                    invocation.abort();
                }
                *process.lock().unwrap() = new_process();
                None
            }
        }
    };
    let shards = shards.iter().zip(&case.mappings);
    let given_up = join_all(shards.map(async |(records, mapping)| {
        let destination = deliver(topic, records, mapping, &invoke).await;
        destination.keys().map(|position| id(&records[*position])).collect::<Vec<_>>()
    }));
    given_up.await.into_iter().flatten().collect()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn published_events_are_listed_and_offsets_are_dense(case in case()) {
        let shards = shards(&case);
        let latency = Duration::from_millis(20);
        let topic = Arc::new(ScriptedTopic { latency, ..ScriptedTopic::with_script(case.topic.clone()) });
        let table = ModelFeedTable::with_script(case.feed.clone());
        let is_done = Cell::new(false);
        let (given_up, followed) = in_virtual_time(async {
            let outage = async {
                if let Some((start, length, request)) = case.outage {
                    sleep(Duration::from_millis(start)).await;
                    table.always(Some(request));
                    sleep(Duration::from_millis(length)).await;
                    table.always(None);
                }
            };
            let restore = async {
                if let Some((copied, later)) = case.feed_restored {
                    sleep(Duration::from_millis(copied)).await;
                    let backup = table.backup();
                    sleep(Duration::from_millis(later)).await;
                    table.restore(backup).await;
                }
            };
            let delivery = async {
                let delivery = deliver_all(&case, &shards, &topic, &table);
                let (given_up, (), ()) = tokio::join!(delivery, outage, restore);
                // Until the invocations that Lambda has given up on and late requests are done.
                sleep(Duration::from_secs(400)).await;
                is_done.set(true);
                given_up
            };
            let readers = (0..case.partitions)
                .map(|partition| follow(&table, partition, &case.reads, &is_done));
            tokio::join!(delivery, join_all(readers))
        });
        let mut listed_by_partition: BTreeMap<u32, Vec<String>> = BTreeMap::new();
        for entry in table.entries() {
            let partition = partition_of(&entry.subject, case.partitions);
            listed_by_partition.entry(partition).or_default().push(entry.id);
        }
        for (partition, followed) in (0..).zip(followed) {
            let listed = listed_by_partition.remove(&partition).unwrap_or_default();
            prop_assert_eq!(followed.ids, listed, "partition {}", partition);
            let is_other = |broken: &BrokenChain| matches!(broken, BrokenChain::OtherFeed { .. });
            prop_assert!(followed.broken.iter().all(is_other), "{:?}", followed.broken);
            prop_assert!(followed.broken.is_empty() || case.feed_restored.is_some());
        }
        prop_assert_eq!(table.check_chain(), Ok(()));
        let accepted: HashSet<_> = topic.accepted().into_iter().collect();
        let listed: HashSet<_> = table.entries().into_iter().map(|entry| entry.id).collect();
        for id in accepted.difference(&listed) {
            let is_lost = table.lost().contains(id);
            prop_assert!(given_up.contains(id) || is_lost, "{} is published, but not listed", id);
        }
        for id in &listed {
            prop_assert!(accepted.contains(id), "{} is listed, but not published", id);
        }
        for id in shards.iter().flatten().map(id) {
            prop_assert!(accepted.contains(&id) || given_up.contains(&id), "{} is lost", id);
        }
    }
}

fn distinct_subjects(count: usize) -> Vec<Value> {
    (0..count).map(|position| event_record(position, &format!("book:{position}"), 1)).collect()
}

fn young(records: &[Value]) -> Vec<Value> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut records = records.to_vec();
    for record in &mut records {
        record["dynamodb"]["ApproximateCreationDateTime"] = json!(now);
    }
    records
}

fn ids(table: &ModelFeedTable) -> Vec<String> {
    let mut ids: Vec<_> = table.entries().into_iter().map(|entry| entry.id).collect();
    ids.sort();
    ids
}

async fn invoke(
    topic: &ScriptedTopic,
    feed: &Feed<ModelFeedTable>,
    records: &[Value],
) -> (Option<String>, eventdb_publisher::metrics::Metrics) {
    let deadline = Instant::now() + TIME_LIMIT;
    let (answer, metrics) = handle_with_feed(topic, Some(feed), payload(records), deadline).await;
    (answer.unwrap().sequence_number().map(str::to_owned), metrics)
}

#[tokio::test(start_paused = true)]
async fn a_failing_feed_holds_nothing_back_and_is_counted() {
    for request in [Request::Denied, Request::Failed, Request::Silent, Request::FailedAfter] {
        let table = ModelFeedTable::default();
        table.always(Some(request));
        let (topic, feed) = (ScriptedTopic::default(), Feed::new(table.clone(), 4));
        let records = young(&distinct_subjects(20));
        let started = Instant::now();
        let (checkpoint, metrics) = invoke(&topic, &feed, &records).await;
        assert_eq!(topic.accepted().len(), 20, "{request:?}");
        assert_eq!((metrics.published, metrics.failed, metrics.unlisted), (20, 0, Some(20)));
        assert_eq!(checkpoint, Some(common::sequence_number(0)));
        assert!(
            started.elapsed() < Duration::from_secs(10),
            "{request:?}: {:?}",
            started.elapsed()
        );
        // The same process lists them once the feed works, without publishing them again.
        table.always(None);
        let (checkpoint, metrics) = invoke(&topic, &feed, &records).await;
        assert_eq!((checkpoint, metrics.unlisted, metrics.repeated), (None, Some(0), 20));
        assert_eq!(topic.accepted().len(), 20, "{request:?}");
        let listed: HashSet<_> = ids(&table).into_iter().collect();
        assert_eq!(listed.len(), 20, "{request:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn another_process_finds_in_the_feed_what_was_published_before() {
    let table = ModelFeedTable::default();
    let topic = ScriptedTopic::default();
    let records = distinct_subjects(20);
    for published in [20, 0] {
        let (checkpoint, metrics) = invoke(&topic, &Feed::new(table.clone(), 4), &records).await;
        assert_eq!((checkpoint, metrics.published), (None, published));
    }
    assert_eq!((topic.accepted().len(), ids(&table).len()), (20, 20));
    // Another event with the same subject and revision, after the events' table was restored.
    let mut other = records[7].clone();
    other["dynamodb"]["NewImage"]["id"]["S"] = json!("another");
    let (_, metrics) = invoke(&topic, &Feed::new(table.clone(), 4), &[other]).await;
    assert_eq!((metrics.published, ids(&table).len()), (1, 21));
}

#[tokio::test(start_paused = true)]
async fn a_feed_keeps_the_number_of_partitions_with_which_it_was_created() {
    let table = ModelFeedTable::default();
    let topic = ScriptedTopic::default();
    for (partitions, subject) in [(2, "book"), (16, "reader")] {
        let feed = Feed::new(table.clone(), partitions);
        let records: Vec<_> =
            (0..40).map(|n| event_record(n, &format!("{subject}:{n}"), 1)).collect();
        invoke(&topic, &feed, &young(&records)).await;
    }
    assert_eq!(ids(&table).len(), 80);
    let backup = table.backup();
    let partitions: HashSet<_> = backup.keys().map(|(partition, _)| partition.as_str()).collect();
    assert_eq!(partitions, HashSet::from(["$feed", "0", "1"]));
    table.check_chain().unwrap();
}

#[tokio::test(start_paused = true)]
async fn only_what_the_topic_has_accepted_is_listed() {
    let table = ModelFeedTable::default();
    let topic = ScriptedTopic::with_always("book:3#1", Step::Refuse);
    let feed = Feed::new(table.clone(), 4);
    let (checkpoint, metrics) = invoke(&topic, &feed, &young(&distinct_subjects(5))).await;
    assert_eq!(checkpoint, Some(common::sequence_number(3)));
    assert_eq!((metrics.published, metrics.failed, metrics.unlisted), (4, 1, Some(0)));
    assert_eq!(ids(&table), ["book:0#1", "book:1#1", "book:2#1", "book:4#1"]);
}

/// A process that kept where its last chunk ended would leave a gap.
#[tokio::test(start_paused = true)]
async fn a_warm_process_lists_at_the_end_of_a_restored_feed() {
    let table = ModelFeedTable::default();
    let (topic, feed) = (ScriptedTopic::default(), Feed::new(table.clone(), 1));
    let publish =
        async |subject: &str| invoke(&topic, &feed, &young(&[event_record(0, subject, 1)])).await.0;
    publish("book:1").await;
    let backup = table.backup();
    publish("book:2").await;
    table.restore(backup).await;
    assert_eq!(publish("book:3").await, None);
    assert_eq!(ids(&table), ["book:1#1", "book:3#1"]);
    table.check_chain().unwrap();
}

#[tokio::test(start_paused = true)]
async fn racing_invocations_list_behind_each_other() {
    let table = ModelFeedTable::default();
    let topic = ScriptedTopic::default();
    let invocations = join_all((0..16).map(async |invocation| {
        let feed = Feed::new(table.clone(), 1);
        let records: Vec<_> =
            (0..10).map(|n| event_record(n, &format!("{invocation}:{n}"), 1)).collect();
        invoke(&topic, &feed, &young(&records)).await.0
    }));
    assert!(invocations.await.iter().all(Option::is_none));
    assert_eq!(ids(&table).len(), 160);
    table.check_chain().unwrap();
}

/// The new feed has as many entries as the reader has read, so only the tags distinguish the two.
#[tokio::test(start_paused = true)]
async fn a_reader_notices_a_restored_feed_whether_it_checks_or_reads_on() {
    let topic = ScriptedTopic::default();
    for checks in [true, false] {
        let table = ModelFeedTable::default();
        let publish = async |subject: &str| {
            let feed = Feed::new(table.clone(), 1);
            invoke(&topic, &feed, &young(&[event_record(0, subject, 1)])).await;
        };
        publish("book:1").await;
        let backup = table.backup();
        publish("book:2").await;
        let mut reader = PartitionRead::after(Position::default());
        let mut read = async || {
            if checks {
                reader.check_again();
            }
            let from = reader.read_from();
            let items = table.read(0, from, (from, Duration::ZERO), 10).await.unwrap();
            reader.take(&items).map(|new| new.len())
        };
        assert_eq!(read().await, Ok(2));
        table.restore(backup).await;
        publish("book:3").await;
        if !checks {
            assert_eq!(read().await, Ok(0));
            publish("book:4").await;
        }
        assert_eq!(read().await, Err(BrokenChain::OtherFeed { offset: 2 }));
    }
}
