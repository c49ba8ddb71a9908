//! What an import has found, and why it ended.

use std::fmt;
use std::io;

use crate::event::Event;
use crate::store::copy::{CopyError, LISTED_MISFITS};
use crate::store::error::Error;

/// What an import has found and done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportReport {
    /// Lines that were read, including empty ones.
    pub lines: u64,
    /// Events in them.
    pub events: u64,
    /// Events that the table had already.
    pub present: u64,
    /// Events that this call has written and verified. In a dry run, those that it would write.
    pub written: u64,
    /// What can't be imported, at most 1,000. A dry run looks at all lines; otherwise, the import stops
    /// before it writes the lines around the first misfit.
    pub misfits: Vec<ImportMisfit>,
    /// How many more there are.
    pub more_misfits: u64,
}

/// A line that can't be imported.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportMisfit {
    /// The number of the line, from 1.
    pub line: u64,
    /// The id of the event, if the line has one.
    pub id: Option<String>,
    /// The subject of the event, if the line has one.
    pub subject: Option<String>,
    /// The revision of the event, if it states one or counts as one.
    pub revision: Option<u64>,
    /// What is wrong, and what it must be.
    pub problem: String,
}

impl fmt::Display for ImportMisfit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "line {}", self.line)?;
        if let Some(subject) = &self.subject {
            write!(formatter, ", {subject:?}")?;
        }
        if let Some(revision) = self.revision {
            write!(formatter, ", revision {revision}")?;
        }
        if let Some(id) = &self.id {
            write!(formatter, ", event {id:?}")?;
        }
        write!(formatter, ": {}", self.problem)
    }
}

/// An import that couldn't be carried out. Everything that was written before stays. Repeat the call:
/// it passes over what is there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// A request failed, the table has a stream, or somebody else has written to it meanwhile.
    #[error(transparent)]
    Table(#[from] CopyError),
    /// The lines can't be read.
    #[error("line {line} can't be read: {source}")]
    Line {
        /// Its number, from 1.
        line: u64,
        /// The failure.
        source: io::Error,
    },
}

impl From<Error> for ImportError {
    fn from(error: Error) -> Self {
        Self::Table(error.into())
    }
}

impl ImportReport {
    pub(super) fn add_misfit(&mut self, misfit: ImportMisfit) {
        if self.misfits.len() < LISTED_MISFITS {
            self.misfits.push(misfit);
        } else {
            self.more_misfits += 1;
        }
    }
}

pub(super) fn misfit(line: u64, event: &Event, problem: String) -> ImportMisfit {
    ImportMisfit {
        line,
        id: Some(event.id.clone()),
        subject: Some(event.subject.clone()),
        revision: event.revision,
        problem,
    }
}
