//! What the store costs compared with the bare SDK and with other stores, in one run; and what becomes
//! of it as it grows.
//!
//! - `npm run bench:store` compares: the same job by each contestant, round by round, so that
//!   whatever else the machine does disturbs all alike.
//! - `npm run bench:contention` lets many writers meet on one subject.
//! - `npm run bench:costs` counts what each consumes, and writes `docs/costs.md`.
//! - `npm run bench:growth` grows a store and writes `docs/growth.md` and its plot;
//!   `npm run bench:streaming` streams a million events, and writes `docs/streaming.md`.
//! - `npm run bench:feed` follows a feed of a million entries.
//! - `npm run bench:moving` imports and exports a million events.

mod comparison;
mod contention;
mod contestants;
mod costs;
mod engine;
mod feed;
mod from_memory;
mod growth;
mod moving;

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("serve") => engine::serve(),
        Some("growth") => growth::run(),
        Some("streaming") => growth::run_streaming(),
        Some("contention") => contention::run(),
        Some("costs") => costs::run(),
        Some("feed") => feed::run(),
        Some("moving") => moving::run(),
        None => comparison::run(),
        Some(other) => {
            eprintln!(
                "{other} is unknown: give `growth`, `streaming`, `contention`, `costs`, `feed`, `moving` or \
                 nothing"
            );
            std::process::exit(2);
        }
    }
}

/// On one thread, so that what is allocated and consumed is all that was needed.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}
