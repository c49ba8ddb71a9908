//! The work of the tool `eventdb`: one module per command in [`verbs`].
//!
//! [`arguments`] is the command line, [`connection`] finds the tables, the publisher and the failure
//! bucket, [`publisher`] passes records to the publisher, [`lines`] and [`destination`] read and write
//! events in files and in [`s3`], [`replay`] sends events to a queue, [`output`] prints, [`progress`]
//! shows how far long work is, and [`interrupt`] ends it.

pub mod arguments;
pub mod connection;
pub mod destination;
pub mod failure;
pub mod interrupt;
pub mod lines;
pub mod output;
pub mod positions;
pub mod progress;
pub mod publisher;
pub mod replay;
pub mod s3;
pub mod verbs;

use crate::arguments::{Arguments, Verb};
use crate::output::{Output, Stopped, tell};
use crate::verbs::{Ended, Outcome};

/// Runs a command, and returns the exit status: 0 fine, 1 it found what it looks for, 2 it couldn't run.
pub async fn run(arguments: Arguments) -> u8 {
    let mut output = Output::new(arguments.json);
    let ended = match perform(arguments, &mut output).await {
        Ok(outcome) => output.flush().map(|()| outcome).map_err(Ended::from),
        Err(ended) => {
            // What was found before it failed is still useful.
            let _ = output.flush();
            Err(ended)
        }
    };
    match ended {
        Ok(Outcome::Fine) | Err(Ended::Output(Stopped::ByReader)) => 0,
        Ok(Outcome::Found) => 1,
        Err(Ended::Output(stopped)) => {
            tell(failure::Failure::of("eventdb", &stopped));
            2
        }
        Err(Ended::Failure(failure)) => {
            tell(format_args!("eventdb: {failure}"));
            2
        }
    }
}

async fn perform(arguments: Arguments, output: &mut Output) -> Result<Outcome, Ended> {
    let Arguments { connection, verb, .. } = arguments;
    match &verb {
        Verb::Completions(arguments) => {
            verbs::completions::run(arguments, output)?;
            return Ok(Outcome::Fine);
        }
        Verb::Man(arguments) => {
            verbs::man::run(arguments, output)?;
            return Ok(Outcome::Fine);
        }
        _ => {}
    }
    let session = match &verb {
        Verb::CreateTable(_) => connection.open_or_create().await?,
        _ => connection.open().await?,
    };
    let outcome = match verb {
        Verb::Cat(arguments) => verbs::cat::run(arguments, &session, output).await,
        Verb::Show(arguments) => verbs::show::run(arguments, &session, output).await,
        Verb::Append(arguments) => verbs::append::run(arguments, &session, output).await,
        Verb::Feed(arguments) => verbs::feed::run(arguments, &session, output).await,
        Verb::Verify(arguments) => verbs::verify::run(arguments, &session, output).await,
        Verb::Republish(arguments) => verbs::republish::run(arguments, &session, output).await,
        Verb::Redrive(arguments) => verbs::redrive::run(arguments, &session, output).await,
        Verb::Explore(arguments) => verbs::explore::run(arguments, &session, output).await,
        Verb::Export(arguments) => verbs::export::run(arguments, &session, output).await,
        Verb::Import(arguments) => verbs::import::run(arguments, &session, output).await,
        Verb::Doctor(arguments) => verbs::doctor::run(arguments, &session, output).await,
        Verb::Erase(arguments) => verbs::erase::run(arguments, &session, output).await,
        Verb::Lag(arguments) => verbs::lag::run(arguments, &session, output).await,
        Verb::Replay(arguments) => verbs::replay::run(arguments, &session, output).await,
        Verb::CreateTable(arguments) => verbs::create_table::run(arguments, &session, output).await,
        Verb::Subjects(arguments) => verbs::subjects::run(arguments, &session, output).await,
        Verb::Types(arguments) => verbs::types::run(arguments, &session, output).await,
        Verb::Tail(arguments) => verbs::tail::run(arguments, &session, output).await,
        Verb::Trace(arguments) => verbs::trace::run(arguments, &session, output).await,
        // They need no store.
        Verb::Completions(_) | Verb::Man(_) => Ok(Outcome::Fine),
    };
    let outcome = outcome.map_err(|ended| ended.of_store(&session.described()));
    session.close().await;
    outcome
}
