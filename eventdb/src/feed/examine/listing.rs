//! Whether the index of subjects has every subject that it can have, in a table by time.

use std::collections::BTreeSet;

use futures_util::{StreamExt, TryStreamExt, stream};

use crate::feed::examine::items::CONCURRENT_SUBJECTS;
use crate::feed::examine::{Examination, Finding, Problem};
use crate::schema::index;
use crate::store::error::Error;
use crate::store::items;
use crate::store::layout::by_time::head;
use crate::store::layout::{SdkItem, TableLayout};
use crate::store::table::Table;

/// The search for subjects that the index lacks.
pub(super) struct Listing {
    /// Whether the table has the index. Otherwise nothing is looked for.
    is_there: bool,
    repairs: bool,
    /// The subject whose rows are passing.
    current: Option<Current>,
    /// Subjects whose heads aren't in the index.
    unlisted: Vec<String>,
    /// Subjects with events but perhaps without a head.
    without_revisions: Vec<Current>,
    entered: Unlisted,
    left: Unlisted,
}

#[derive(Default)]
struct Current {
    subject: String,
    has_event: bool,
    has_revision: bool,
    /// Whether all rows are events that can be read, so that their number is the revision of the last.
    is_countable: bool,
}

/// Subjects that the index lacks.
#[derive(Default)]
struct Unlisted {
    subjects: u64,
    first: Option<String>,
}

impl Listing {
    pub(super) async fn of(table: &Table, repairs: bool) -> Result<Self, Error> {
        let is_there = table.layout() == TableLayout::ByTime && has_index(table).await?;
        Ok(Self {
            is_there,
            repairs,
            current: None,
            unlisted: Vec::new(),
            without_revisions: Vec::new(),
            entered: Unlisted::default(),
            left: Unlisted::default(),
        })
    }

    /// The next head.
    pub(super) fn head(&mut self, item: &SdkItem, subject: &str) {
        if self.is_there && !head::is_listed(item, subject) {
            self.unlisted.push(subject.to_owned());
        }
    }

    /// The next row of a subject, and what is wrong with it. The rows of a subject must follow each other.
    pub(super) fn row(&mut self, subject: &str, revision: Option<u64>, problems: &[Problem]) {
        if !self.is_there || !head::can_be_listed(subject) || items::is_like_own_item(subject) {
            return;
        }
        if self.current.as_ref().is_none_or(|current| current.subject != subject) {
            self.end_of_subject();
        }
        let first =
            || Current { subject: subject.to_owned(), is_countable: true, ..Current::default() };
        let current = self.current.get_or_insert_with(first);
        let is_foreign = problems.contains(&Problem::Foreign);
        let is_unreadable = problems.iter().any(|of| matches!(of, Problem::Unreadable(_)));
        current.has_event |= !is_foreign;
        current.has_revision |= revision.is_some();
        current.is_countable &= !is_foreign && !is_unreadable;
    }

    /// All rows have passed.
    pub(super) fn end_of_subject(&mut self) {
        // A head that is missing behind events with revisions is another problem, and repaired as such.
        let may_lack_head = |of: &Current| of.has_event && !of.has_revision;
        self.without_revisions.extend(self.current.take().filter(may_lack_head));
    }

    /// Looks at the subjects that have passed.
    pub(super) async fn look(&mut self, table: &Table) -> Result<(), Error> {
        let unlisted = std::mem::take(&mut self.unlisted);
        let repairs = self.repairs;
        let entered: Vec<(String, bool)> = stream::iter(unlisted)
            .map(|subject| async move {
                let is_entered = repairs && table.begin().list_subject(&subject).await?;
                Ok::<_, Error>((subject, is_entered))
            })
            .buffered(CONCURRENT_SUBJECTS)
            .try_collect()
            .await?;
        self.count(entered);

        let subjects = std::mem::take(&mut self.without_revisions);
        let key = |subject: &str| TableLayout::ByTime.event_key(&head::key(subject));
        let keys: BTreeSet<_> = subjects.iter().filter_map(|of| key(&of.subject)).collect();
        let heads = table.begin().all_rows(keys, true).await?;
        let has_head = |of: &Current| key(&of.subject).is_some_and(|key| heads.contains_key(&key));
        let headless: Vec<Current> = subjects.into_iter().filter(|of| !has_head(of)).collect();
        let entered: Vec<(String, bool)> = stream::iter(headless)
            .map(|of| async move {
                let is_entered =
                    repairs && of.is_countable && take_over(table, &of.subject).await?;
                Ok::<_, Error>((of.subject, is_entered))
            })
            .buffered(CONCURRENT_SUBJECTS)
            .try_collect()
            .await?;
        self.count(entered);
        Ok(())
    }

    fn count(&mut self, subjects: Vec<(String, bool)>) {
        for (subject, is_entered) in subjects {
            let of = if is_entered { &mut self.entered } else { &mut self.left };
            of.subjects += 1;
            of.first.get_or_insert(subject);
        }
    }

    /// Adds what was found: at most one finding of each kind, because in a table from before the index it
    /// can be every subject.
    pub(super) fn finish(self, found: &mut Examination) {
        for (of, is_repaired) in [(self.entered, true), (self.left, false)] {
            if let Unlisted { subjects, first: Some(first) } = of {
                let problem = Problem::UnlistedSubjects { subjects, first };
                found.add(Finding { is_repaired, ..Finding::of_table(problem) });
            }
        }
    }
}

/// Gives a subject of the original library its head, as its first append does.
async fn take_over(table: &Table, subject: &str) -> Result<bool, Error> {
    match table.begin().adopt_legacy_events(subject).await {
        Ok(head) => Ok(head.is_some()),
        // Its rows have their own findings.
        Err(Error::OutOfOrder { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

async fn has_index(table: &Table) -> Result<bool, Error> {
    let description = table.begin().describe().await?;
    let indexes = description.and_then(|table| table.global_secondary_indexes).unwrap_or_default();
    Ok(indexes.iter().any(|index| index.index_name() == Some(index::ALL_SUBJECTS)))
}
