//! `eventdb man`: the manual page.

use clap::{Args, Command, CommandFactory};
use clap_mangen::Man;

use crate::arguments;
use crate::failure::Failure;
use crate::output::Output;
use crate::verbs::Ended;

/// Prints the manual page of the tool or of a command. It needs no store.
///
/// For example: `eventdb man cat | man -l -`
#[derive(Debug, Args)]
pub struct Arguments {
    /// The command, such as `cat`.
    command: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// If there is no such command, or the output can't be written.
pub fn run(arguments: &Arguments, output: &mut Output) -> Result<(), Ended> {
    let mut tool = arguments::Arguments::command();
    // So that the pages of commands have the options that all of them have.
    tool.build();
    let command = match &arguments.command {
        None => tool,
        Some(name) => {
            let command = tool.find_subcommand(name).cloned();
            let command = command.ok_or_else(|| unknown(name, &tool))?;
            let page = format!("eventdb-{name}");
            command.display_name(page)
        }
    };
    let mut page = Vec::new();
    Man::new(command)
        .render(&mut page)
        .map_err(|error| Failure::of("the page can't be written", &error))?;
    Ok(output.raw(&page)?)
}

fn unknown(name: &str, tool: &Command) -> Failure {
    let names: Vec<&str> = tool.get_subcommands().map(Command::get_name).collect();
    Failure::new(format!("there is no command `{name}`; there are {}", names.join(", ")))
}
