//! What the commands print: data on stdout, everything else on stderr.

use std::fmt;
use std::io::{self, BufWriter, ErrorKind, IsTerminal, Stdout, Write};

use anstream::{AutoStream, ColorChoice};
use anstyle::Style;
use serde::Serialize;

use crate::progress;

/// Where a command writes its data.
#[derive(Debug)]
pub struct Output {
    stdout: BufWriter<Stdout>,
    is_json: bool,
    /// A person who watches sees each line immediately.
    is_terminal: bool,
    is_colored: bool,
}

/// What is less important, such as times.
pub const FAINT: Style = Style::new().dimmed();

/// What a person looks for first, such as the type of an event.
pub const STRONG: Style = Style::new().bold();

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
        // It knows NO_COLOR and the like, too.
        let is_colored = !is_json && AutoStream::choice(&stdout) != ColorChoice::Never;
        Self { stdout: BufWriter::new(stdout), is_json, is_terminal, is_colored }
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
        let (stdout, is_json) = (&mut self.stdout, self.is_json);
        let write = |stdout: &mut BufWriter<Stdout>| match is_json {
            true => serde_json::to_writer(&mut *stdout, json)
                .map_err(io::Error::from)
                .and_then(|()| stdout.write_all(b"\n")),
            false => writeln!(stdout, "{text}"),
        };
        let written = match self.is_terminal {
            true => progress::aside(|| write(stdout).and_then(|()| stdout.flush())),
            false => write(stdout),
        };
        written.map_err(stopped)
    }

    /// Text in a style, if the output is a terminal with colours.
    pub fn styled(&self, style: Style, text: impl fmt::Display) -> String {
        match self.is_colored {
            true => format!("{style}{text}{style:#}"),
            false => text.to_string(),
        }
    }

    /// What isn't lines, such as a manual page.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn raw(&mut self, bytes: &[u8]) -> Result<(), Stopped> {
        self.stdout.write_all(bytes).map_err(stopped)
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

    /// Data that is the same for people and for programs.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn data(&mut self, data: &[u8]) -> Result<(), Stopped> {
        self.stdout.write_all(data).map_err(stopped)
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
    progress::aside(|| eprintln!("{message}"));
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
