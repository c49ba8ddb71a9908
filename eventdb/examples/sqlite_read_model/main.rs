//! A read model on SQLite, fed by the bodies of messages, one a line, from standard input:
//! `cargo run --example sqlite_read_model < messages.jsonl`
//!
//! It is what a consumer on another database than DynamoDB looks like; `loans.rs` is all of it. The
//! view is in the file that `LIBRARY_VIEW` names, `loans.sqlite` if it names none. With the argument
//! `parked` it lists the parked subjects instead.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example says what it does")]

mod loans;

use std::error::Error;
use std::path::PathBuf;

use eventdb::{Projection, ReceivedMessage};
use loans::Loans;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let file = std::env::var_os("LIBRARY_VIEW").unwrap_or_else(|| "loans.sqlite".into());
    let loans = Loans::open(&PathBuf::from(file))?;
    if std::env::args().nth(1).as_deref() == Some("parked") {
        for (book, parked) in loans.parked()? {
            println!(
                "{book} at revision {} since {}: {}",
                parked.revision, parked.since, parked.reason
            );
        }
        return Ok(());
    }
    let projection = Projection::new(&loans);
    for line in std::io::stdin().lines() {
        let message = ReceivedMessage::read(&line?)?;
        let book = &message.event.subject;
        match projection.handle(&message).await {
            Ok(0) => println!("{book}: known already"),
            Ok(_) => {
                let borrower = loans.borrower(book)?;
                println!("{book} is with {}", borrower.as_deref().unwrap_or("nobody"));
            }
            Err(error) => eprintln!("{book}: {error}"),
        }
    }
    Ok(())
}
