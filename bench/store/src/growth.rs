//! What becomes of a store as it grows: appends, loads, memory.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Client;
use eventdb::{
    Aggregate, DomainEvent, EventCandidate, EventDb, Precondition, Repository, Snapshots,
    TableLayout, UnknownTypes,
};
use futures_util::TryStreamExt;
use plotters::prelude::{
    BLACK, BLUE, CYAN, ChartBuilder, Circle, Color, GREEN, IntoDrawingArea, IntoLogRange,
    LineSeries, MAGENTA, RED, SVGBackend, WHITE,
};
use serde::{Deserialize, Serialize};

use crate::contestants::{HALF_A_KB, data};
use crate::engine::{Count, Engine, create_event_table};

const SOURCE: &str = "https://library.example.com";
const SUBJECT: &str = "book:123";
const LAYOUTS: [TableLayout; 2] = [TableLayout::ByTime, TableLayout::ByRevision];
const APPENDS: usize = 200;
const LOADS: usize = 5;

#[derive(Serialize, Deserialize)]
enum BookEvent {
    #[serde(rename = "book.borrowed", rename_all = "camelCase")]
    Borrowed { user_id: String },
}

impl DomainEvent for BookEvent {
    const UNKNOWN_TYPES: UnknownTypes = UnknownTypes::Reject;
}

#[derive(Default, Serialize, Deserialize)]
struct Book {
    borrower: Option<String>,
    loans: u64,
}

impl Aggregate for Book {
    type Event = BookEvent;

    fn apply(&mut self, BookEvent::Borrowed { user_id }: BookEvent) {
        self.borrower = Some(user_id);
        self.loans += 1;
    }
}

/// What was measured at one size of the subject.
struct Size {
    events: u64,
    append: Duration,
    append_units: f64,
    load: Duration,
    load_units: f64,
    load_requests: u64,
    with_snapshot: Duration,
    with_snapshot_units: f64,
    with_snapshot_requests: u64,
}

pub fn run() {
    let runtime = crate::runtime();
    let engine = Engine::start();
    let count = Count::default();
    let (client, counting) = (engine.client(), engine.counting_client(&count));
    let sizes = LAYOUTS.map(|layout| {
        runtime.block_on(async {
            create_event_table(&client, &layout.to_string(), layout, false).await;
            sizes(&client, &counting, &count, layout).await
        })
    });
    write(&sizes);
}

/// The memory of a process that streams.
pub fn run_streaming() {
    let runtime = crate::runtime();
    let engine = Engine::start();
    let memory = runtime.block_on(memory(&engine.client()));
    write_streaming(&memory);
}

fn candidate(subject: &str) -> EventCandidate {
    EventCandidate::builder()
        .source(SOURCE)
        .ty("book.borrowed")
        .subject(subject)
        .data(data(HALF_A_KB))
        .build()
}

async fn fill(db: &EventDb, subject: &str, from: u64, to: u64) {
    let mut revision = from;
    while revision < to {
        let count = (to - revision).min(99);
        db.add_new_events((0..count).map(|_| candidate(subject))).await.unwrap();
        revision += count;
    }
}

async fn sizes(
    client: &Client,
    counting: &Client,
    count: &Count,
    layout: TableLayout,
) -> Vec<Size> {
    let open =
        |client: &Client| EventDb::new(client.clone(), layout.to_string()).with_layout(layout);
    let (db, counted) = (open(client), open(counting));
    let policy = Snapshots { name: "book", version: 1, every: 100 };
    let books = Repository::<Book>::new(&db, SOURCE);
    let mut sizes = Vec::new();
    for events in [1, 10, 100, 1_000, 10_000, 100_000] {
        eprintln!("{layout}: a subject of {events} events …");
        let subject = &*format!("book:{events}");
        fill(&db, subject, 0, events).await;
        let mut revision = events;
        until_the_clock_has_caught_up(&db, subject).await;
        // Loads first: appends make it longer.
        let load = median_of_loads(&books, subject).await;
        count.take();
        Repository::<Book>::new(&counted, SOURCE).load(subject).await.unwrap();
        let (load_requests, load_units) = count.take();

        // A snapshot as old as it gets before the next one.
        let kept = books.with_snapshots(Snapshots { every: 1, ..policy });
        let borrow = |_: &Book| {
            Ok::<_, std::fmt::Error>([BookEvent::Borrowed { user_id: "user:456".to_owned() }])
        };
        kept.execute(subject, borrow).await.unwrap().snapshot.unwrap().await.unwrap();
        fill(&db, subject, revision + 1, revision + 100).await;
        revision += 100;
        let with_snapshot = median_of_loads(&books.with_snapshots(policy), subject).await;
        count.take();
        let loaded =
            Repository::<Book>::new(&counted, SOURCE).with_snapshots(policy).load(subject).await;
        assert_eq!(loaded.unwrap().revision, revision);
        let (with_snapshot_requests, with_snapshot_units) = count.take();

        let mut appends = Vec::new();
        for _ in 0..APPENDS {
            let at = at(&db, subject, revision).await;
            let began = Instant::now();
            db.add_new_events([candidate(subject)]).only_if(at).await.unwrap();
            appends.push(began.elapsed());
            revision += 1;
        }
        appends.sort_unstable();
        let at = at(&counted, subject, revision).await;
        count.take();
        counted.add_new_events([candidate(subject)]).only_if(at).await.unwrap();
        let (_, append_units) = count.take();
        sizes.push(Size {
            events,
            append: appends[APPENDS / 2],
            append_units,
            load,
            load_units,
            load_requests,
            with_snapshot,
            with_snapshot_units,
            with_snapshot_requests,
        });
    }
    sizes
}

/// The revision as a known one, as loading gives it.
async fn at(db: &EventDb, subject: &str, revision: u64) -> Precondition {
    let last = db.fetch_events_for_subject(subject).backwards().limit(1).await.unwrap();
    let stated = || Precondition::subject_is_at_revision(subject, revision);
    last.known_revision().cloned().map_or_else(stated, Precondition::from)
}

/// A burst gives times ahead of the clock, and an append on it at a stated revision takes a second
/// attempt: not what is measured here.
async fn until_the_clock_has_caught_up(db: &EventDb, subject: &str) {
    let last = db.fetch_events_for_subject(subject).backwards().limit(1).await.unwrap();
    let ahead = last.events.last().unwrap().time - chrono::Utc::now();
    tokio::time::sleep(ahead.to_std().unwrap_or_default()).await;
}

async fn median_of_loads(books: &Repository<Book>, subject: &str) -> Duration {
    let mut taken = Vec::new();
    for _ in 0..LOADS {
        let began = Instant::now();
        books.load(subject).await.unwrap();
        taken.push(began.elapsed());
    }
    taken.sort_unstable();
    taken[LOADS / 2]
}

/// The most memory that was resident while so many events were streamed: of one subject, and of all.
async fn memory(client: &Client) -> Vec<(u64, u64, u64)> {
    let mut peaks = Vec::new();
    for events in [10_000_u64, 100_000, 1_000_000] {
        eprintln!("streaming {events} events …");
        let table = format!("Events{events}");
        create_event_table(client, &table, TableLayout::ByTime, false).await;
        let db = EventDb::new(client.clone(), table);
        fill(&db, SUBJECT, 0, events).await;
        let mut most = [0, 0];
        for (request, most) in
            [db.fetch_events_for_subject(SUBJECT), db.fetch_all_events()].into_iter().zip(&mut most)
        {
            forget_peak();
            let mut seen = 0;
            let mut pages = request.stream();
            while let Some(page) = pages.try_next().await.unwrap() {
                seen += page.events.len();
            }
            assert_eq!(u64::try_from(seen).unwrap(), events);
            *most = peak();
        }
        peaks.push((events, most[0], most[1]));
    }
    peaks
}

/// <https://man7.org/linux/man-pages/man5/proc_pid_clear_refs.5.html>
pub fn forget_peak() {
    std::fs::write("/proc/self/clear_refs", "5").expect("Linux");
}

/// In KiB.
pub fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

fn write(sizes: &[Vec<Size>; 2]) {
    let mut text = String::from(
        "# Growth\n\nWritten by `npm run bench:growth`, with the embedded engine in a separate \
         process: times are for comparing one size with another, not for AWS; requests and units are \
         what AWS would count. Events of 0.5 KB.\n\nAppends at a known \
         revision (the median of 200), and loading an aggregate: whole, and with a snapshot that \
         is 100 events old.\n",
    );
    for (title, sizes) in ["In a table by time", "In a table by revision"].iter().zip(sizes) {
        write!(
            text,
            "\n## {title}\n\n| events | append | write units | load | read units | requests | \
         with a snapshot | read units | requests |\n|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
        )
        .unwrap();
        rows(&mut text, sizes);
    }
    text.push_str(
        "\n![Time of an append and of a load as the subject grows](growth.svg)\n\n\
         What memory it takes to read many: [streaming.md](streaming.md).\n",
    );
    std::fs::write(docs().join("growth.md"), &text).unwrap();
    plot(sizes);
    println!("{text}");
}

fn rows(text: &mut String, sizes: &[Size]) {
    for size in sizes {
        writeln!(
            text,
            "| {} | {:.2} ms | {} | {:.2} ms | {} | {} | {:.2} ms | {} | {} |",
            size.events,
            milliseconds(size.append),
            size.append_units,
            milliseconds(size.load),
            size.load_units,
            size.load_requests,
            milliseconds(size.with_snapshot),
            size.with_snapshot_units,
            size.with_snapshot_requests,
        )
        .unwrap();
    }
}

fn write_streaming(memory: &[(u64, u64, u64)]) {
    let mut text = String::from(
        "# Streaming\n\nWritten by `npm run bench:streaming`, which takes some 15 minutes, most of \
         them to fill the tables. The most memory resident in the process that reads, page by \
         page, events of 0.5 KB:\n\n| events | of one subject | of all subjects |\n|---:|---:|---:|\n",
    );
    for (events, of_subject, of_all) in memory {
        let [one, all] = [of_subject, of_all].map(|kib| *kib as f64 / 1024.0);
        writeln!(text, "| {events} | {one:.1} MiB | {all:.1} MiB |").unwrap();
    }
    std::fs::write(docs().join("streaming.md"), &text).unwrap();
    println!("{text}");
}

fn plot([by_time, by_revision]: &[Vec<Size>; 2]) {
    let path = docs().join("growth.svg");
    let area = SVGBackend::new(&path, (720, 420)).into_drawing_area();
    area.fill(&WHITE).unwrap();
    let mut chart = ChartBuilder::on(&area)
        .margin(16)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d((1.0..100_000.0).log_scale(), (0.1..10_000.0).log_scale())
        .unwrap();
    chart
        .configure_mesh()
        .x_desc("events of the subject")
        .y_desc("milliseconds")
        .x_label_formatter(&|events| format!("{events:.0}"))
        .draw()
        .unwrap();
    type Of = fn(&Size) -> Duration;
    let series: [(&str, &[Size], Of, _); 6] = [
        ("append by time", by_time, |size| size.append, BLUE),
        ("load by time", by_time, |size| size.load, RED),
        ("load with a snapshot by time", by_time, |size| size.with_snapshot, BLACK),
        ("append by revision", by_revision, |size| size.append, CYAN),
        ("load by revision", by_revision, |size| size.load, MAGENTA),
        ("load with a snapshot by revision", by_revision, |size| size.with_snapshot, GREEN),
    ];
    for (name, sizes, of, colour) in series {
        let points: Vec<_> =
            sizes.iter().map(|size| (size.events as f64, milliseconds(of(size)))).collect();
        chart
            .draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))
            .unwrap()
            .label(name)
            .legend(move |(x, y)| Circle::new((x + 8, y), 4, colour.filled()));
        chart
            .draw_series(points.into_iter().map(|point| Circle::new(point, 4, colour.filled())))
            .unwrap();
    }
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()
        .unwrap();
    area.present().unwrap();
}
