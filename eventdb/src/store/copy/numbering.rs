//! Which revisions events have, or count as.

use serde::{Deserialize, Serialize};

/// Which revisions the rows of a subject have, or count as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Numbering {
    pub(crate) last: u64,
    has_stated: bool,
}

impl Numbering {
    /// For events after this revision.
    pub(crate) fn after(revision: u64) -> Self {
        Self { last: revision, has_stated: false }
    }

    /// The revision of the next event, and what is wrong with it.
    pub(crate) fn next(&mut self, stated: Option<u64>) -> (u64, Option<String>) {
        let expected = self.last.saturating_add(1);
        let (revision, problem) = match stated {
            None if self.has_stated => {
                let problem = "an event without a revision stands behind events that have one, so \
                               it counts as none";
                (self.last, Some(problem.to_owned()))
            }
            None => (expected, None),
            Some(revision) if revision == expected => (revision, None),
            Some(revision) => {
                let problem = format!("the event before it has revision {}", self.last);
                (revision, Some(format!("{problem}; it must be {}", revision.saturating_sub(1))))
            }
        };
        self.has_stated |= stated.is_some();
        self.last = revision;
        (revision, problem)
    }

    /// A row that can't be read.
    pub(crate) fn pass(&mut self, stated: Option<u64>) {
        self.last = stated.unwrap_or(self.last.saturating_add(1));
        self.has_stated |= stated.is_some();
    }
}
