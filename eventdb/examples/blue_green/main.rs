//! Blue and green: a read model that sends mails is built again next to the old one, from the feed, while
//! a writer goes on. When the new one has caught up, it takes over. No mail is sent twice or missed.
//!
//! `cargo run --example blue_green` runs it on a database inside the process.

#![allow(clippy::print_stdout, reason = "what it prints is the point of an example")]

mod rebuild;
mod switch;

use std::error::Error;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let switched = switch::switch().await?;
    let (stored, mails) = (&switched.stored, switched.mails.sent());
    println!("{} events before the rebuild, {} in all", switched.before, stored.len());
    let old: u64 = switched.old.counts().values().sum();
    let new: u64 = switched.new.counts().values().sum();
    println!("the old read model had {old} of them when it stopped, the new one has {new}");
    let twice = mails.values().filter(|times| **times > 1).count();
    let missed = stored.iter().filter(|id| !mails.contains_key(*id)).count();
    println!("{} mails: {twice} sent twice, {missed} missed", mails.len());
    match (twice, missed) {
        (0, 0) => Ok(()),
        _ => Err("each event should have one mail".into()),
    }
}
