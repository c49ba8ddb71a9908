//! Every event is published at least once, and first copies are in order, for any pattern of failures
//! and deliveries.
//!
//! The model of Lambda is in `common/mapping.rs`.
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

use common::mapping::{config, deliver, in_virtual_time, mapping, step};
use common::{ScriptedTopic, Step, event_record, payload, poison_record};
use eventdb_publisher::handler::handle;
use proptest::collection::vec;
use proptest::prelude::*;
use tokio::time::Instant;

/// Records of a few subjects, with the revisions of each subject in order. `true` makes a poison row.
fn stream() -> impl Strategy<Value = Vec<(u8, bool)>> {
    vec((0..6_u8, prop::bool::weighted(0.03)), 1..60)
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
        let invoke = async |payload, life| {
            let deadline = Instant::now() + Duration::from_secs(30);
            tokio::time::timeout(life, handle(&topic, payload, deadline)).await.ok()
        };
        let destination = in_virtual_time(deliver(&topic, &records, &mapping, invoke));
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
