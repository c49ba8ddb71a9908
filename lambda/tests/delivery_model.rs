//! Every event is published at least once, and first copies are in order, for any pattern of failures
//! and deliveries.
//!
//! [`deliver`] is a **model** of Lambda's event source mapping. It follows the AWS documentation:
//! - A batch has at most the configured number of records, and its payload has at most 6 MB. The
//!   batches of a shard are delivered one after the other (`ParallelizationFactor` is 1).
//!   <https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventsourcemapping.html#invocation-eventsourcemapping-batching>
//!   <https://docs.aws.amazon.com/lambda/latest/dg/services-dynamodb-eventsourcemapping.html>
//! - Each event is processed at least once: records that were processed already may be delivered
//!   again, at the beginning of a batch.
//!   <https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventsourcemapping.html>
//! - A reported failure is a checkpoint: the records before it are done, the rest is delivered again.
//!   <https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html>
//! - A batch that fails as a whole is split in two if bisecting is enabled. A record that still fails
//!   after the retries goes to the failure destination.
//!   <https://docs.aws.amazon.com/lambda/latest/dg/services-dynamodb-errors.html>
//! - If a function ends without an answer, because it was killed or timed out, the whole batch has
//!   failed. The messages that it had sent may have arrived.
//! - Records that have become too old go to the failure destination, too (same page).
//! - The test's input decides what the documentation leaves open: whether a checkpoint at the first
//!   record splits the batch, and whether an answer is lost, so that the batch is delivered again.
//!
//! Shards aren't modelled. Each shard is delivered separately, and it ends before the shards begin
//! into which it was split. So the events of a subject are in one queue.
//!
//! A failing run prints the smallest failing case and its seed. To repeat it:
//! `PROPTEST_RNG_SEED=<seed> cargo test -p eventdb-publisher --test delivery_model`. With
//! `PROPTEST_CASES=100000`, the test runs longer.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    missing_docs,
    reason = "a test fails by a panic"
)]

mod common;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use common::{ScriptedTopic, Step, event_record, payload, poison_record, sequence_number};
use eventdb_publisher::handler::handle;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::Value;
use tokio::time::Instant;

/// How often the model retries a batch before it gives up on it.
const RETRIES: u32 = 3;

/// Most bytes of a payload. It is smaller than Lambda's 6 MB, so that small records reach it.
const PAYLOAD: usize = 8 * 1024;

#[derive(Debug, Clone)]
struct Mapping {
    batch_size: usize,
    bisect: bool,
    /// Whether a checkpoint at the first record counts as a failure of the whole batch.
    split_at_first: bool,
    /// For each invocation, whether its answer is lost.
    lost_answers: Vec<bool>,
    /// For each invocation, after how many milliseconds its process is killed, if at all.
    kills: Vec<Option<u64>>,
    /// For each new batch, how many processed records are delivered again.
    repeated: Vec<usize>,
    /// Maximum age of a record.
    longest_age: Duration,
}

/// The number of records in the batch that begins with the first of the given records.
fn fill(records: &[Value], batch_size: usize) -> usize {
    let mut bytes = 0;
    let sizes = records.iter().map(|record| record.to_string().len());
    let fits = sizes.take(batch_size).take_while(|size| {
        bytes += size;
        bytes <= PAYLOAD
    });
    // A single record always fits, because an item has at most 400 KB.
    fits.count().max(1)
}

/// The records that the model has given up on: for each position, the number of messages that had
/// been accepted by then.
type FailureDestination = HashMap<usize, usize>;

/// Delivers the records like a stream mapping, and returns the records that it has given up on.
async fn deliver(
    topic: &ScriptedTopic,
    records: &[Value],
    mapping: &Mapping,
) -> FailureDestination {
    let mut destination = FailureDestination::new();
    let give_up = |destination: &mut FailureDestination, start, end| {
        let accepted = topic.accepted().len();
        for position in start..end {
            destination.entry(position).or_insert(accepted);
        }
    };
    let mut lost_answers = mapping.lost_answers.iter().copied();
    let mut kills = mapping.kills.iter().copied();
    let mut repeated = mapping.repeated.iter().copied();
    let began = Instant::now();
    let mut position = 0;
    // The batches to be delivered before the next records of the stream.
    let mut batches: VecDeque<(usize, usize, u32)> = VecDeque::new();
    loop {
        let (start, end, retries) = match batches.pop_front() {
            Some(batch) => batch,
            None if position < records.len() => {
                // After records that Lambda has given up on, no order is guaranteed.
                let given_up = destination.keys().max().map_or(0, |last| last + 1);
                let again = repeated.next().unwrap_or(0);
                let start = position.saturating_sub(again).max(given_up);
                let end = start + fill(&records[start..], mapping.batch_size);
                position = position.max(end);
                (start, end, 0)
            }
            None => return destination,
        };
        if began.elapsed() > mapping.longest_age {
            give_up(&mut destination, start, end);
            continue;
        }
        let deadline = Instant::now() + Duration::from_secs(30);
        let life = kills.next().flatten().map_or(Duration::MAX, Duration::from_millis);
        let invocation = handle(topic, payload(&records[start..end]), deadline);
        let resume = match tokio::time::timeout(life, invocation).await {
            Err(_) => start,
            Ok((answer, metrics)) => {
                let answer = answer.unwrap();
                match (lost_answers.next(), answer.sequence_number()) {
                    (Some(true), _) => start,
                    (_, None) => continue,
                    (_, Some(number)) => {
                        assert!(metrics.failed > 0);
                        (start..end).find(|position| sequence_number(*position) == number).unwrap()
                    }
                }
            }
        };
        if resume > start {
            batches.push_front((resume, end, retries));
        } else if mapping.bisect && mapping.split_at_first && end - start > 1 {
            let middle = start + (end - start) / 2;
            batches.push_front((middle, end, retries));
            batches.push_front((start, middle, retries));
        } else if retries < RETRIES {
            batches.push_front((start, end, retries + 1));
        } else {
            give_up(&mut destination, start, end);
        }
    }
}

/// The options from the environment, with a seed that is printed if a case fails.
fn config() -> ProptestConfig {
    let from_environment = ProptestConfig::default();
    let seed = match from_environment.rng_seed {
        RngSeed::Fixed(seed) => seed,
        RngSeed::Random => fastrand::u64(..),
    };
    let cases = match std::env::var_os("PROPTEST_CASES") {
        Some(_) => from_environment.cases,
        None => 400,
    };
    eprintln!("to repeat this run: PROPTEST_RNG_SEED={seed} PROPTEST_CASES={cases}");
    ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(seed),
        // The seed is enough to repeat a case.
        failure_persistence: None,
        ..from_environment
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Accept),
        1 => Just(Step::Pass),
        1 => Just(Step::Refuse),
        1 => Just(Step::Omit),
        1 => Just(Step::FailBefore),
        1 => Just(Step::FailAfter),
        1 => Just(Step::SilentBefore),
        1 => Just(Step::SilentAfter),
        1 => Just(Step::RefuseRequest),
        1 => Just(Step::Deny),
    ]
}

fn mapping() -> impl Strategy<Value = Mapping> {
    let kill = prop_oneof![
        4 => Just(None),
        1 => (0..200_u64).prop_map(Some),
        1 => (0..8_000_u64).prop_map(Some),
    ];
    (
        1..40_usize,
        any::<bool>(),
        any::<bool>(),
        vec(prop::bool::weighted(0.2), 0..20),
        vec(kill, 0..20),
        vec(prop_oneof![3 => Just(0), 1 => 1..8_usize], 0..20),
        prop_oneof![4 => Just(Duration::MAX), 1 => (5..60_u64).prop_map(Duration::from_secs)],
    )
        .prop_map(
            |(batch_size, bisect, split_at_first, lost_answers, kills, repeated, longest_age)| {
                Mapping {
                    batch_size,
                    bisect,
                    split_at_first,
                    lost_answers,
                    kills,
                    repeated,
                    longest_age,
                }
            },
        )
}

/// Records of a few subjects, with the revisions of each subject in order. `true` makes a poison row.
fn stream() -> impl Strategy<Value = Vec<(u8, bool)>> {
    vec((0..6_u8, prop::bool::weighted(0.03)), 1..60)
}

/// Runs a future in virtual time, on this thread, with the same jitter each time.
fn in_virtual_time<T>(future: impl Future<Output = T>) -> T {
    fastrand::seed(0);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(future)
}

fn revision(id: &str) -> (&str, u64) {
    let (subject, revision) = id.split_once('#').unwrap();
    (subject, revision.parse().unwrap())
}

fn assert_first_copies_in_order(accepted: &[String]) {
    let mut seen = HashSet::new();
    let mut last: HashMap<&str, u64> = HashMap::new();
    for id in accepted.iter().filter(|id| seen.insert(id.as_str())) {
        let (subject, revision) = revision(id);
        let last = last.entry(subject).or_default();
        assert!(*last < revision, "{id} came after revision {last}");
        *last = revision;
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn at_least_once_and_first_copies_in_order(
        stream in stream(),
        mapping in mapping(),
        script in vec(step(), 0..120),
    ) {
        let mut revisions: HashMap<u8, u64> = HashMap::new();
        let records: Vec<_> = stream
            .iter()
            .enumerate()
            .map(|(position, &(subject, poison))| {
                let revision = revisions.entry(subject).and_modify(|n| *n += 1).or_insert(1);
                let subject = format!("book:{subject}");
                if poison {
                    poison_record(position, &subject, *revision)
                } else {
                    event_record(position, &subject, *revision)
                }
            })
            .collect();
        let latency = Duration::from_millis(20);
        let topic = ScriptedTopic { latency, ..ScriptedTopic::with_script(script) };
        let destination = in_virtual_time(deliver(&topic, &records, &mapping));
        let accepted = topic.accepted();
        assert_first_copies_in_order(&accepted);
        let id_of = |position: usize| records[position]["dynamodb"]["NewImage"]["id"]["S"].as_str();
        for (position, &(subject, poison)) in stream.iter().enumerate() {
            let given_up = destination.get(&position);
            let published =
                id_of(position).is_some_and(|id| accepted.iter().any(|other| other == id));
            prop_assert!(published || given_up.is_some(), "{position} is lost");
            if !poison {
                continue;
            }
            // Until Lambda has given up on it, it holds back the later events of its subject.
            let Some(&by_then) = given_up else { panic!("{position} isn't given up") };
            for (behind, other) in stream.iter().enumerate().skip(position + 1) {
                let overtakes = other.0 == subject
                    && accepted[..by_then].iter().any(|id| id_of(behind) == Some(id));
                prop_assert!(!overtakes, "{behind} came before {position} was given up");
            }
        }
    }

    #[test]
    fn swaps_within_a_batch_are_put_right(
        order in Just((1..=30_u64).collect::<Vec<_>>()).prop_shuffle(),
        script in vec(step(), 0..60),
    ) {
        let records: Vec<_> = order
            .iter()
            .enumerate()
            .map(|(position, revision)| {
                event_record(position, &format!("book:{}", revision % 3), revision / 3 + 1)
            })
            .collect();
        // The failures stop before the model gives up and splits the batch.
        let script: VecDeque<_> = script.into_iter().filter(|step| *step != Step::Deny).collect();
        let topic = ScriptedTopic { script: Mutex::new(script), ..ScriptedTopic::default() };
        let deadline = Duration::from_secs(30);
        let (answer, _) = in_virtual_time(async {
            handle(&topic, payload(&records), Instant::now() + deadline).await
        });
        let accepted = topic.accepted();
        assert_first_copies_in_order(&accepted);
        // Records before the checkpoint are done, even if their revision is later.
        let answer = answer.unwrap();
        let done = records.iter().take_while(|record| {
            record["dynamodb"]["SequenceNumber"].as_str() != answer.sequence_number()
        });
        for record in done {
            let id = record["dynamodb"]["NewImage"]["id"]["S"].as_str().unwrap();
            prop_assert!(accepted.iter().any(|other| other == id), "{id} is lost");
        }
    }
}
