//! `eventdb completions`: what a shell needs to complete the command line.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::arguments;
use crate::output::{Output, Stopped};

/// Prints the completions for a shell. It needs no store.
///
/// For example: `eventdb completions bash > ~/.local/share/bash-completion/completions/eventdb`
#[derive(Debug, Args)]
pub struct Arguments {
    /// The shell.
    shell: Shell,
}

/// Runs the command.
///
/// # Errors
/// If the output can't be written.
pub fn run(arguments: &Arguments, output: &mut Output) -> Result<(), Stopped> {
    let mut completions = Vec::new();
    let mut command = arguments::Arguments::command();
    clap_complete::generate(arguments.shell, &mut command, "eventdb", &mut completions);
    output.raw(&completions)
}
