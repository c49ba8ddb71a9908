//! What the commands print: data on stdout, everything else on stderr.

use std::fmt;
use std::io::{self, BufWriter, ErrorKind, IsTerminal, Stdout, Write};

use serde::Serialize;

/// Where a command writes its data.
#[derive(Debug)]
pub struct Output {
    stdout: BufWriter<Stdout>,
    is_json: bool,
    /// A person who watches sees each line immediately.
    is_terminal: bool,
}

/// Nothing more can be written.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// The reader has closed the pipe, as `head` does. That isn't an error.
    #[error("the reader of the output has stopped")]
    ByReader,
    /// For example, the disk is full.
    #[error("the output can't be written")]
    ByError(#[source] io::Error),
}

impl Output {
    /// Writes to stdout: JSON lines, or text for people.
    pub fn new(is_json: bool) -> Self {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        Self { stdout: BufWriter::new(stdout), is_json, is_terminal }
    }

    /// Whether the lines are JSON.
    pub fn is_json(&self) -> bool {
        self.is_json
    }

    /// One result, in the form that was asked for. As JSON, it is an object with the member `kind`, which
    /// `output.schema.json` describes.
    ///
    /// # Errors
    /// If the line can't be written.
    pub fn line(&mut self, json: &impl Serialize, text: impl fmt::Display) -> Result<(), Stopped> {
        let written = match self.is_json {
            true => serde_json::to_writer(&mut self.stdout, json)
                .map_err(io::Error::from)
                .and_then(|()| self.stdout.write_all(b"\n")),
            false => writeln!(self.stdout, "{text}"),
        };
        written.map_err(stopped)?;
        if self.is_terminal { self.flush() } else { Ok(()) }
    }

    /// A line that is only for people.
    ///
    /// # Errors
    /// If the line can't be written.
    pub fn text(&mut self, text: impl fmt::Display) -> Result<(), Stopped> {
        if self.is_json {
            return Ok(());
        }
        writeln!(self.stdout, "{text}").map_err(stopped)
    }

    /// Passes on what is buffered.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn flush(&mut self) -> Result<(), Stopped> {
        self.stdout.flush().map_err(stopped)
    }
}

fn stopped(error: io::Error) -> Stopped {
    match error.kind() {
        ErrorKind::BrokenPipe => Stopped::ByReader,
        _ => Stopped::ByError(error),
    }
}

/// Tells the person something that isn't data.
#[expect(clippy::print_stderr, reason = "this is the tool's way to talk")]
pub fn tell(message: impl fmt::Display) {
    eprintln!("{message}");
}

/// Text with control characters made visible, so that an event's text can't change the terminal.
pub fn visible(text: &str) -> String {
    text.chars()
        .map(|character| match character.is_control() {
            true => character.escape_default().to_string(),
            false => character.to_string(),
        })
        .collect()
}
