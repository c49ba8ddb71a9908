//! Whether the revisions of a subject are complete, and whether its head says so, too.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use futures_util::TryStreamExt;

use crate::store::error::Error;
use crate::store::layout::TableLayout;
use crate::store::layout::by_time::head::{self, Head};
use crate::store::read::fetch_events::{FetchEvents, revision_of};
use crate::store::table::{KEYS_PER_REQUEST, Table};

/// A subject whose history isn't as the store writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DamagedSubject {
    /// The subject.
    pub subject: String,
    /// What is wrong with it.
    pub damage: Damage,
}

/// What is wrong with the history of a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damage {
    /// Events are missing before its last one: somebody has removed or overwritten them.
    Missing {
        /// How many revisions are missing.
        revisions: u64,
        /// The first one.
        first: u64,
    },
    /// Two events have the same revision, so one of them was written by another program.
    Repeated {
        /// The lowest such revision.
        revision: u64,
    },
    /// In a table by time: the head says that the history goes on after the last event, so somebody
    /// has removed its end.
    EndRemoved {
        /// The revision of the head.
        head: u64,
        /// The revision of the last event.
        last: u64,
    },
    /// In a table by time: the last event is newer than the head, so another program has written it,
    /// or the head was changed. The next append may fail.
    NewerThanHead {
        /// The revision of the head; 0 if there is none.
        head: u64,
        /// The revision of the last event.
        last: u64,
    },
}

impl fmt::Display for DamagedSubject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the subject `{}`: ", self.subject)?;
        match self.damage {
            Damage::Missing { revisions, first } => write!(
                formatter,
                "{revisions} revisions are missing, the first of them is {first}; somebody has \
                 removed or overwritten these events"
            ),
            Damage::Repeated { revision } => write!(
                formatter,
                "the revision {revision} occurs more than once; another program has written it"
            ),
            Damage::EndRemoved { head, last } => write!(
                formatter,
                "its head is at revision {head}, but its last event has revision {last}; somebody has \
                 removed the end"
            ),
            Damage::NewerThanHead { head, last } => write!(
                formatter,
                "its last event has revision {last}, but its head is at revision {head}; another \
                 program has written events, or the head was changed"
            ),
        }
    }
}

/// The revisions of one subject, in any order.
#[derive(Debug, Default)]
struct Revisions {
    /// How many there are without a gap, counting rows without a revision.
    complete: u64,
    /// Those after a gap.
    later: BTreeSet<u64>,
    repeated: Option<u64>,
    has_revisions: bool,
}

impl Revisions {
    /// `None` is a legacy row. Such rows count as the first revisions.
    fn add(&mut self, revision: Option<u64>) {
        let next = self.complete.saturating_add(1);
        let Some(revision) = revision else {
            self.complete = next;
            return;
        };
        self.has_revisions = true;
        if revision == next {
            self.complete = next;
        } else if revision < next || !self.later.insert(revision) {
            let lowest = self.repeated.map_or(revision, |repeated| repeated.min(revision));
            self.repeated = Some(lowest);
        }
        while self.later.remove(&self.complete.saturating_add(1)) {
            self.complete += 1;
        }
    }

    fn last(&self) -> u64 {
        self.later.last().copied().unwrap_or(self.complete)
    }

    fn is_sound(&self) -> bool {
        self.later.is_empty() && self.repeated.is_none()
    }

    fn damages(&self) -> Vec<Damage> {
        let present = u64::try_from(self.later.len()).unwrap_or(u64::MAX);
        let revisions = (self.last() - self.complete).saturating_sub(present);
        let missing = (revisions > 0)
            .then(|| Damage::Missing { revisions, first: self.complete.saturating_add(1) });
        let repeated = self.repeated.map(|revision| Damage::Repeated { revision });
        missing.into_iter().chain(repeated).collect()
    }
}

/// The check of all subjects whose rows it sees.
#[derive(Debug)]
pub(in crate::feed) struct Subjects {
    table: Table,
    current: Option<(String, Revisions)>,
    /// Subjects whose heads must still be read, and their last revisions.
    heads: BTreeMap<String, u64>,
    pub(in crate::feed) damaged: Vec<DamagedSubject>,
}

impl Subjects {
    pub(in crate::feed) fn of(table: Table) -> Self {
        Self { table, current: None, heads: BTreeMap::new(), damaged: Vec::new() }
    }

    /// The next row. The rows of a subject must follow each other.
    pub(in crate::feed) async fn add(
        &mut self,
        subject: &str,
        revision: Option<u64>,
    ) -> Result<(), Error> {
        match &mut self.current {
            Some((current, revisions)) if current == subject => revisions.add(revision),
            _ => {
                self.end_of_subject().await?;
                let mut revisions = Revisions::default();
                revisions.add(revision);
                self.current = Some((subject.to_owned(), revisions));
            }
        }
        Ok(())
    }

    /// All rows were added.
    pub(in crate::feed) async fn finish(&mut self) -> Result<(), Error> {
        self.end_of_subject().await?;
        self.compare_heads().await
    }

    async fn end_of_subject(&mut self) -> Result<(), Error> {
        let Some((subject, revisions)) = self.current.take() else { return Ok(()) };
        if !revisions.is_sound() {
            return self.examine(subject).await;
        }
        if self.table.layout() == TableLayout::ByTime && revisions.has_revisions {
            self.heads.insert(subject, revisions.last());
            if self.heads.len() >= KEYS_PER_REQUEST {
                return self.compare_heads().await;
            }
        }
        Ok(())
    }

    async fn compare_heads(&mut self) -> Result<(), Error> {
        let subjects = std::mem::take(&mut self.heads);
        if subjects.is_empty() {
            return Ok(());
        }
        let layout = self.table.layout();
        let key = |subject: &str| layout.event_key(&head::key(subject)).unwrap_or_default();
        let keys = subjects.keys().map(|subject| key(subject)).collect();
        let heads = self.table.begin().rows(&keys, false).await?;
        for (subject, last) in subjects {
            let head = heads.get(&key(&subject)).and_then(Head::read);
            if head.is_none_or(|head| head.revision != last) {
                self.examine(subject).await?;
            }
        }
        Ok(())
    }

    /// Reads a subject again, strongly consistent, because events may have been appended while the
    /// table was read.
    async fn examine(&mut self, subject: String) -> Result<(), Error> {
        let by_time = self.table.layout() == TableLayout::ByTime;
        let before = if by_time { self.table.begin().stored_head(&subject).await? } else { None };
        let mut revisions = Revisions::default();
        let mut rows = FetchEvents::of_subject(self.table.clone(), subject.clone()).rows();
        while let Some(row) = rows.try_next().await? {
            revisions.add(revision_of(&row));
        }
        let mut damages = revisions.damages();
        if by_time && revisions.has_revisions {
            let last = revisions.last();
            // An append stores the event and the head together, so a head that was read before the
            // events can't be newer, and one that was read after them can't be older.
            let after = self.table.begin().stored_head(&subject).await?;
            let before = before.map_or(0, |head| head.revision);
            let after = after.map_or(0, |head| head.revision);
            if before > last {
                damages.push(Damage::EndRemoved { head: before, last });
            }
            if after < last {
                damages.push(Damage::NewerThanHead { head: after, last });
            }
        }
        let damaged = |damage| DamagedSubject { subject: subject.clone(), damage };
        self.damaged.extend(damages.into_iter().map(damaged));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Damage, Revisions};

    fn damages(revisions: &[u64]) -> Vec<Damage> {
        let mut of_subject = Revisions::default();
        revisions.iter().for_each(|revision| of_subject.add(Some(*revision)));
        of_subject.damages()
    }

    #[test]
    fn revisions_are_complete_in_any_order() {
        assert_eq!(damages(&[]), []);
        assert_eq!(damages(&[1, 2, 3]), []);
        assert_eq!(damages(&[3, 1, 2]), []);
    }

    #[test]
    fn gaps_and_repetitions_are_found() {
        assert_eq!(damages(&[2, 3]), [Damage::Missing { revisions: 1, first: 1 }]);
        assert_eq!(damages(&[1, 4, 7]), [Damage::Missing { revisions: 4, first: 2 }]);
        assert_eq!(damages(&[1, 2, 2, 3, 1]), [Damage::Repeated { revision: 1 }]);
        assert_eq!(damages(&[1, 3, 3]).len(), 2);
        assert_eq!(damages(&[1, u64::MAX]).len(), 1);
    }

    #[test]
    fn rows_without_a_revision_count_as_the_first_ones() {
        let mut revisions = Revisions::default();
        for revision in [None, None, Some(3), Some(4)] {
            revisions.add(revision);
        }
        assert!(revisions.is_sound());
        assert_eq!(revisions.last(), 4);
    }
}
