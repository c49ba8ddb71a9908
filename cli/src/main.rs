//! The tool `eventdb`.

use std::process::ExitCode;

use clap::Parser;
use eventdb_cli::arguments::Arguments;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    ExitCode::from(eventdb_cli::run(arguments).await)
}
