//! The same job by each contestant, side by side.

use std::time::{Duration, Instant};

use cpu_time::ProcessTime;
use eventdb::{Precondition, TableLayout};
use tokio::runtime::Runtime;

use crate::contestants::{Contestant, HALF_A_KB, Row, time};
use crate::engine::{Count, Engine};

const ROUNDS: usize = 15;
const SUBJECTS: u64 = 40;

/// A job, done so many times in a round.
#[derive(Clone, Copy)]
enum Job {
    Append { events: u64 },
    Load { events: u64 },
}

const JOBS: [(Job, u32); 4] = [
    (Job::Append { events: 1 }, 120),
    (Job::Append { events: 10 }, 80),
    (Job::Load { events: 100 }, 60),
    (Job::Load { events: 10_000 }, 1),
];

/// What one job took, on the average of a round.
#[derive(Debug, Clone, Copy)]
struct Taken {
    wall: Duration,
    processor: Duration,
}

pub fn run() {
    let runtime = crate::runtime();
    let engine = Engine::start();
    let client = engine.client();
    let count = Count::default();
    let counting_client = engine.counting_client(&count);
    let (contestants, counted) = runtime.block_on(async {
        Contestant::create_tables(&client).await;
        let contestants = Contestant::all(&client).await;
        for contestant in &contestants {
            fill(contestant, "book:00100", 100).await;
            fill(contestant, "book:10000", 10_000).await;
        }
        (contestants, Contestant::all(&counting_client).await)
    });
    println!(
        "| job | by | wall | to the SDK | CPU | to the SDK | requests | capacity units | allocations |"
    );
    println!("|---|---|---:|---:|---:|---:|---:|---:|---:|");
    let mut aims = Vec::new();
    let only = std::env::var("EVENTDB_BENCH_JOB").unwrap_or_default();
    for (job, times) in JOBS {
        if !name(job).contains(&only) {
            continue;
        }
        let mut taken: [Vec<Taken>; Contestant::COUNT] = Default::default();
        let mut done = [0; Contestant::COUNT];
        for round in 0..=ROUNDS {
            // The first one meets cold caches, so each is first in turn.
            for turn in 0..Contestant::COUNT {
                let index = (round + turn) % Contestant::COUNT;
                let subject = format!("book:{}-{round}", name(job));
                let one = runtime.block_on(measure(&contestants[index], job, times, &subject));
                // The first round warms up.
                if round > 0 {
                    taken[index].push(one);
                }
            }
        }
        let mut lines = Vec::new();
        for (index, contestant) in counted.iter().enumerate() {
            let subject = format!("book:{}-counted", name(job));
            done[index] = runtime.block_on(begin(contestant, job, &subject));
            let (requests, units) =
                runtime.block_on(counted_work(contestant, job, &subject, &mut done[index], &count));
            let allocations = allocations(&runtime, &contestants[index], job);
            lines.push((contestant.name(), median(&taken[index]), requests, units, allocations));
        }
        for (index, (mut name, taken, requests, units, allocations)) in
            lines.iter().copied().enumerate()
        {
            let sdk = lines[by_hand(index)].1;
            if name.starts_with("dynamo-es") && matches!(job, Job::Load { events: 10_000 }) {
                name = "dynamo-es (cqrs-es), which reads the first 1 MB only";
            }
            println!(
                "| {} | {name} | {} | {:.2} | {} | {:.2} | {requests} | {units} | {allocations} |",
                title(job),
                milliseconds(taken.wall),
                taken.wall.as_secs_f64() / sdk.wall.as_secs_f64(),
                milliseconds(taken.processor),
                taken.processor.as_secs_f64() / sdk.processor.as_secs_f64(),
            );
        }
        let taken: Vec<Taken> = lines.iter().map(|line| line.1).collect();
        aims.extend(aims_of(job, &taken));
    }
    println!(
        "\n| append an event at a known revision, answered from memory | CPU | on top of the SDK |"
    );
    println!("|---|---:|---:|");
    for (layout, name) in
        [(TableLayout::ByTime, "by time"), (TableLayout::ByRevision, "by revision")]
    {
        let [ours, by_hand] = crate::from_memory::append(&runtime, layout);
        println!("| eventdb {name} | {ours:.1} µs | {:.1} µs |", ours - by_hand);
        println!("| aws-sdk-dynamodb by hand, {name} | {by_hand:.1} µs | |");
        aims.push(Aim {
            what: format!(
                "append answered from memory: µs of CPU {name} on top of the SDK by hand"
            ),
            measured: ours - by_hand,
            allowed: 20.0,
        });
    }
    println!("\n| aim | measured | allowed | |\n|---|---:|---:|---|");
    for Aim { what, measured, allowed } in aims {
        let is_met = if measured <= allowed { "met" } else { "**missed**" };
        println!("| {what} | {measured:.2} | {allowed} | {is_met} |");
    }
    decoding();
}

/// The contestants in the order of [`Contestant::all`].
mod at {
    pub const BY_TIME: usize = 0;
    pub const BY_TIME_BY_HAND: usize = 1;
    pub const BY_REVISION: usize = 2;
    pub const BY_REVISION_BY_HAND: usize = 3;
    pub const EVENT_STORE_ADAPTER: usize = 5;
    pub const DYNAMO_ES: usize = 6;
}

/// The contestant that does the same by hand.
fn by_hand(index: usize) -> usize {
    if index <= at::BY_TIME_BY_HAND { at::BY_TIME_BY_HAND } else { at::BY_REVISION_BY_HAND }
}

/// What one version must keep.
struct Aim {
    what: String,
    measured: f64,
    allowed: f64,
}

fn aims_of(job: Job, taken: &[Taken]) -> Vec<Aim> {
    let wall =
        |one: usize, other: usize| taken[one].wall.as_secs_f64() / taken[other].wall.as_secs_f64();
    let aim = |what: &str, measured, allowed| Aim {
        what: format!("{}: {what}", title(job)),
        measured,
        allowed,
    };
    let mut aims = Vec::new();
    for (layout, ours, by_hand) in [
        ("by time", at::BY_TIME, at::BY_TIME_BY_HAND),
        ("by revision", at::BY_REVISION, at::BY_REVISION_BY_HAND),
    ] {
        let ratio = wall(ours, by_hand);
        aims.push(aim(&format!("wall {layout} compared with the SDK by hand"), ratio, 1.05));
    }
    let against = |other, name: &str, allowed| {
        aim(
            &format!("wall by revision compared with {name}"),
            wall(at::BY_REVISION, other),
            allowed,
        )
    };
    match job {
        Job::Append { events: 1 } => aims.extend([
            against(at::DYNAMO_ES, "dynamo-es", 0.5),
            against(at::EVENT_STORE_ADAPTER, "event-store-adapter-rs", 0.5),
        ]),
        Job::Append { .. } => {}
        Job::Load { .. } => {
            aims.push(against(at::EVENT_STORE_ADAPTER, "event-store-adapter-rs (aim 1.2)", 1.4));
        }
    }
    aims
}

fn name(job: Job) -> String {
    match job {
        Job::Append { events } => format!("append-{events}"),
        Job::Load { events } => format!("load-{events}"),
    }
}

fn title(job: Job) -> String {
    match job {
        Job::Append { events: 1 } => "append an event at a known revision".to_owned(),
        Job::Append { events } => format!("append {events} events together"),
        Job::Load { events } => format!("load {events} events"),
    }
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.3} ms", duration.as_secs_f64() * 1_000.0)
}

async fn fill(contestant: &Contestant, subject: &str, events: u64) {
    let mut revision = 0;
    while revision < events {
        // dynamo-es takes no more in one call.
        let count = (events - revision).min(25);
        let at = Precondition::subject_is_at_revision(subject, revision);
        contestant.append(at, revision, count).await;
        revision += count;
        // Until the clock has caught up with the times of the burst.
        tokio::time::sleep(Duration::from_millis(count)).await;
    }
}

/// The next job of its kind; appends go round over subjects, for times of a burst run ahead of the
/// clock, and a subject that is written again within that would not be a usual one.
async fn work(contestant: &Contestant, job: Job, subjects: &str, done: &mut u64) -> Taken {
    let begin = || (Instant::now(), ProcessTime::now());
    let taken = |(wall, processor): (Instant, ProcessTime)| Taken {
        wall: wall.elapsed(),
        processor: processor.elapsed(),
    };
    match job {
        Job::Append { events } => {
            let subject = format!("{subjects}-{}", *done % SUBJECTS);
            let revision = *done / SUBJECTS * events;
            let at = contestant.at(&subject, revision).await;
            let began = begin();
            contestant.append(at, revision, events).await;
            *done += 1;
            taken(began)
        }
        Job::Load { events } => {
            let subject = format!("book:{events:05}");
            let began = begin();
            let loaded = contestant.load(&subject).await;
            let taken = taken(began);
            let reads_one_page_only = matches!(contestant, Contestant::DynamoEs(_));
            assert!(loaded as u64 == events || reads_one_page_only, "{loaded} of {events}");
            taken
        }
    }
}

/// The requests and units of one job.
async fn counted_work(
    contestant: &Contestant,
    job: Job,
    subjects: &str,
    done: &mut u64,
    count: &Count,
) -> (u64, f64) {
    match job {
        Job::Append { events } => {
            let subject = format!("{subjects}-{}", *done % SUBJECTS);
            let revision = *done / SUBJECTS * events;
            let at = contestant.at(&subject, revision).await;
            count.take();
            contestant.append(at, revision, events).await;
        }
        Job::Load { events } => {
            count.take();
            contestant.load(&format!("book:{events:05}")).await;
        }
    }
    count.take()
}

/// Lets each subject have events already: a first one is another job.
async fn begin(contestant: &Contestant, job: Job, subjects: &str) -> u64 {
    let mut done = 0;
    if matches!(job, Job::Append { .. }) {
        while done < SUBJECTS {
            work(contestant, job, subjects, &mut done).await;
        }
    }
    done
}

async fn measure(contestant: &Contestant, job: Job, times: u32, subject: &str) -> Taken {
    let mut done = begin(contestant, job, subject).await;
    let (mut wall, mut processor) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..times {
        let taken = work(contestant, job, subject, &mut done).await;
        wall += taken.wall;
        processor += taken.processor;
    }
    Taken { wall: wall / times, processor: processor / times }
}

/// How often memory was allocated for one job.
fn allocations(runtime: &Runtime, contestant: &Contestant, job: Job) -> u64 {
    let subject = format!("book:{}-allocations", name(job));
    let mut done = runtime.block_on(begin(contestant, job, &subject));
    // The first may have a connection to open.
    runtime.block_on(work(contestant, job, &subject, &mut done));
    match job {
        Job::Append { events } => {
            let revision = done / SUBJECTS * events;
            let subject = format!("{subject}-{}", done % SUBJECTS);
            let at = runtime.block_on(contestant.at(&subject, revision));
            let append = || runtime.block_on(contestant.append(at, revision, events));
            allocation_counter::measure(append).count_total
        }
        Job::Load { .. } => {
            let load = || {
                runtime.block_on(work(contestant, job, &subject, &mut done));
            };
            allocation_counter::measure(load).count_total
        }
    }
}

fn median(taken: &[Taken]) -> Taken {
    let middle = |of: fn(&Taken) -> Duration| {
        let mut all: Vec<Duration> = taken.iter().map(of).collect();
        all.sort_unstable();
        all[all.len() / 2]
    };
    Taken { wall: middle(|taken| taken.wall), processor: middle(|taken| taken.processor) }
}

/// From items to events, and from items to a plain struct.
fn decoding() {
    let items: Vec<_> = (1..=10_000_u64)
        .map(|revision| {
            let mut event = eventdb::Event::builder()
                .id(format!("0194b1c0-0000-7000-8000-{revision:012}"))
                .source("https://library.example.com")
                .ty("book.borrowed")
                .subject("book:123")
                .time(chrono::Utc::now())
                .data(crate::contestants::data(HALF_A_KB))
                .build();
            event.revision = Some(revision);
            eventdb::internals::item::encode(&event)
        })
        .collect();
    let mut rates: [Vec<f64>; 2] = Default::default();
    for _ in 0..ROUNDS {
        let (copy, began) = (items.clone(), ProcessTime::now());
        let events: Vec<_> =
            copy.into_iter().map(|item| eventdb::internals::item::decode(item).unwrap()).collect();
        rates[0].push(events.len() as f64 / began.elapsed().as_secs_f64());
        let (copy, began) = (items.clone(), ProcessTime::now());
        let rows: Vec<Row> =
            copy.into_iter().map(|item| serde_dynamo::from_item(item).unwrap()).collect();
        rates[1].push(rows.len() as f64 / began.elapsed().as_secs_f64());
        assert_eq!(events[0].time, time(&rows[0]));
    }
    for rate in &mut rates {
        rate.sort_by(f64::total_cmp);
    }
    let [ours, plain] = rates.map(|rates| rates[ROUNDS / 2]);
    println!(
        "\nDecoding: {ours:.0} events/s from items to `Event`, {plain:.0} items/s by serde_dynamo \
         into a struct: {:.2} times as fast.",
        ours / plain
    );
}
