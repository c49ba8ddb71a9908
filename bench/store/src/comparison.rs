//! The same job by each contestant, side by side.

use std::time::{Duration, Instant};

use cpu_time::ProcessTime;
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
            count.take();
            runtime.block_on(work(contestant, job, &subject, &mut done[index]));
            let (requests, units) = count.take();
            let allocations = allocations(&runtime, &contestants[index], job);
            lines.push((contestant.name(), median(&taken[index]), requests, units, allocations));
        }
        let sdk = lines[1].1;
        for (mut name, taken, requests, units, allocations) in lines {
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
    }
    decoding();
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
        contestant.append(subject, revision, count).await;
        revision += count;
        // Until the clock has caught up with the times of the burst.
        tokio::time::sleep(Duration::from_millis(count)).await;
    }
}

/// The next job of its kind; appends go round over subjects, for times of a burst run ahead of the
/// clock, and a subject that is written again within that would not be a usual one.
async fn work(contestant: &Contestant, job: Job, subjects: &str, done: &mut u64) {
    match job {
        Job::Append { events } => {
            let subject = format!("{subjects}-{}", *done % SUBJECTS);
            contestant.append(&subject, *done / SUBJECTS * events, events).await;
            *done += 1;
        }
        Job::Load { events } => {
            let loaded = contestant.load(&format!("book:{events:05}")).await;
            let reads_one_page_only = matches!(contestant, Contestant::DynamoEs(_));
            assert!(loaded as u64 == events || reads_one_page_only, "{loaded} of {events}");
        }
    }
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
    let (wall, processor) = (Instant::now(), ProcessTime::now());
    for _ in 0..times {
        work(contestant, job, subject, &mut done).await;
    }
    Taken { wall: wall.elapsed() / times, processor: processor.elapsed() / times }
}

/// How often memory was allocated for one job.
fn allocations(runtime: &Runtime, contestant: &Contestant, job: Job) -> u64 {
    let subject = format!("book:{}-allocations", name(job));
    let mut done = runtime.block_on(begin(contestant, job, &subject));
    let mut once = || runtime.block_on(work(contestant, job, &subject, &mut done));
    // The first may have a connection to open.
    once();
    allocation_counter::measure(once).count_total
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
