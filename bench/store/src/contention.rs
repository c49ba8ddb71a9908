//! Many writers of one subject, released together: the store's own append and execute, compared
//! with a plain loop that reads, appends under a condition and repeats.

use std::sync::Arc;
use std::time::{Duration, Instant};

use eventdb::{
    Aggregate, DomainEvent, Error, EventCandidate, EventDb, Precondition, Repository, UnknownTypes,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::engine::Engine;

const WRITERS: [usize; 3] = [20, 40, 200];
const ROUNDS: usize = 5;
const SOURCE: &str = "https://library.example.com";

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Book {
    #[serde(rename = "book.noted")]
    Noted { writer: usize },
}

impl DomainEvent for Book {
    const UNKNOWN_TYPES: UnknownTypes = UnknownTypes::Reject;
}

#[derive(Default)]
struct Notes(usize);

impl Aggregate for Notes {
    type Event = Book;

    fn apply(&mut self, _: Book) {
        self.0 += 1;
    }
}

#[derive(Clone, Copy, Debug)]
enum Way {
    Loop,
    Append,
    Execute,
}

pub fn run() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let engine = Engine::start();
        let client = engine.client();
        EventDb::create_table(&client, "Contention").await.unwrap();
        let db = EventDb::new(client, "Contention");
        println!("| writers | plain loop | append | to the loop | execute | to the loop |");
        println!("|---:|---:|---:|---:|---:|---:|");
        for writers in WRITERS {
            let mut times = [const { Vec::new() }; 3];
            for round in 0..ROUNDS {
                for (times, way) in times.iter_mut().zip([Way::Loop, Way::Append, Way::Execute]) {
                    let subject = format!("book:{writers}-{round}-{way:?}");
                    times.push(race(&db, subject, writers, way).await);
                }
            }
            let [plain, append, execute] = times.map(|mut times| {
                times.sort();
                times[times.len() / 2]
            });
            println!(
                "| {writers} | {} ms | {} ms | {:.2} | {} ms | {:.2} |",
                plain.as_millis(),
                append.as_millis(),
                append.as_secs_f64() / plain.as_secs_f64(),
                execute.as_millis(),
                execute.as_secs_f64() / plain.as_secs_f64(),
            );
        }
    });
}

/// How long it takes until all writers have stored their event.
async fn race(db: &EventDb, subject: String, writers: usize, way: Way) -> Duration {
    let barrier = Arc::new(Barrier::new(writers + 1));
    let mut tasks = JoinSet::new();
    for writer in 0..writers {
        let (db, subject, barrier) = (db.clone(), subject.clone(), Arc::clone(&barrier));
        tasks.spawn(async move {
            barrier.wait().await;
            match way {
                Way::Loop => plain_loop(&db, &subject, writer).await,
                Way::Append => {
                    db.add_new_events([candidate(&subject, writer)]).await.unwrap();
                }
                Way::Execute => {
                    Repository::<Notes>::new(&db, SOURCE)
                        .execute(&subject, |_| {
                            Ok::<_, std::convert::Infallible>([Book::Noted { writer }])
                        })
                        .await
                        .unwrap();
                }
            }
        });
    }
    barrier.wait().await;
    let begun = Instant::now();
    tasks.join_all().await;
    let elapsed = begun.elapsed();
    let stored = db.fetch_events_for_subject(&subject).await.unwrap().events.len();
    assert_eq!(stored, writers, "each writer has stored one event");
    elapsed
}

async fn plain_loop(db: &EventDb, subject: &str, writer: usize) {
    loop {
        let last = db.fetch_events_for_subject(subject).backwards().limit(1).await.unwrap();
        let revision = last.events.first().and_then(|event| event.revision).unwrap_or(0);
        let append = db
            .add_new_events([candidate(subject, writer)])
            .only_if(Precondition::subject_is_at_revision(subject, revision));
        match append.await {
            Ok(_) => return,
            Err(Error::Conflict(_)) => {}
            Err(error) => panic!("{error:#}"),
        }
    }
}

fn candidate(subject: &str, writer: usize) -> EventCandidate {
    EventCandidate::builder()
        .source(SOURCE)
        .ty("book.noted")
        .subject(subject)
        .data(serde_json::json!({ "writer": writer }))
        .build()
}
