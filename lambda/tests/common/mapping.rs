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

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use eventdb_publisher::checkpoint::Checkpoint;
use eventdb_publisher::handler::HandlerError;
use eventdb_publisher::metrics::Metrics;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::Value;
use tokio::time::Instant;

use super::{ScriptedTopic, Step, payload};

/// How often the model retries a batch before it gives up on it.
const RETRIES: u32 = 3;

/// Most bytes of a payload. It is smaller than Lambda's 6 MB, so that small records reach it.
const PAYLOAD: usize = 8 * 1024;

/// The answer of an invocation.
pub(crate) type Answer = (Result<Checkpoint, HandlerError>, Metrics);

#[derive(Debug, Clone)]
pub(crate) struct Mapping {
    pub(crate) batch_size: usize,
    pub(crate) bisect: bool,
    /// Whether a checkpoint at the first record counts as a failure of the whole batch.
    pub(crate) split_at_first: bool,
    /// For each invocation, whether its answer is lost.
    pub(crate) lost_answers: Vec<bool>,
    /// For each invocation, after how many milliseconds its process is killed, if at all.
    pub(crate) kills: Vec<Option<u64>>,
    /// For each new batch, how many processed records are delivered again.
    pub(crate) repeated: Vec<usize>,
    /// Maximum age of a record.
    pub(crate) longest_age: Duration,
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
pub(crate) type FailureDestination = HashMap<usize, usize>;

/// Delivers the records like a stream mapping, and returns the records that it has given up on.
///
/// `invoke` gets a payload and for how long the process lives, and returns the function's answer, or
/// `None` if the process was killed before.
pub(crate) async fn deliver(
    topic: &ScriptedTopic,
    records: &[Value],
    mapping: &Mapping,
    invoke: impl AsyncFn(String, Duration) -> Option<Answer>,
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
        let life = kills.next().flatten().map_or(Duration::MAX, Duration::from_millis);
        let resume = match invoke(payload(&records[start..end]), life).await {
            None => start,
            Some((answer, metrics)) => {
                let answer = answer.unwrap();
                match (lost_answers.next(), answer.sequence_number()) {
                    (Some(true), _) => start,
                    (_, None) => continue,
                    (_, Some(number)) => {
                        assert!(metrics.failed + metrics.unlisted.unwrap_or(0) > 0);
                        let is_it = |record: &Value| record["dynamodb"]["SequenceNumber"] == number;
                        start + records[start..end].iter().position(is_it).unwrap()
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
pub(crate) fn config() -> ProptestConfig {
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

pub(crate) fn step() -> impl Strategy<Value = Step> {
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

pub(crate) fn mapping() -> impl Strategy<Value = Mapping> {
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

/// Runs a future in virtual time, on this thread, with the same jitter each time.
pub(crate) fn in_virtual_time<T>(future: impl Future<Output = T>) -> T {
    fastrand::seed(0);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(future)
}
