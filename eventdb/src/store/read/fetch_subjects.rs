//! Listing the subjects of a store.

use std::collections::{HashMap, VecDeque};
use std::future::{Future, IntoFuture};
use std::pin::Pin;

use futures_util::future::try_join_all;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};

use crate::codec::cursor::{Cursor, CursorError, RowKeys};
use crate::codec::item;
use crate::schema::{self, limit};
use crate::store::error::Error;
use crate::store::mismatch;
use crate::store::read::query::Query;
use crate::store::table::Table;

/// Most subjects of a page.
const SUBJECTS_PER_PAGE: usize = 1000;

/// A request for the subjects of a store: see [`EventDb::fetch_subjects`](crate::EventDb::fetch_subjects).
///
/// If you await it, it reads all pages and returns one [`Subjects`]. As a [`stream`](Self::stream), it
/// yields one [`Subjects`] per page, in constant memory.
///
/// ```no_run
/// # async fn example(db: eventdb::EventDb) -> Result<(), eventdb::Error> {
/// let books = db.fetch_subjects().subject_prefix("book:").limit(50).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a request does nothing until it is awaited"]
pub struct FetchSubjects {
    table: Table,
    prefix: String,
    after: Option<Cursor>,
    limit: Option<usize>,
    with_revisions: bool,
}

/// Subjects of a store, in the order of their UTF-8 bytes.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Subjects {
    /// The subjects.
    pub subjects: Vec<ListedSubject>,
    /// The position of the last subject, to continue [`after`](FetchSubjects::after) it. If there was
    /// none, it is the position at which the read began, if any.
    pub cursor: Option<Cursor>,
    /// Whether the read stopped at its [limit](FetchSubjects::limit), so that more subjects may
    /// follow.
    pub limit_reached: bool,
}

/// A subject that has events.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListedSubject {
    /// The subject.
    pub subject: String,
    /// The revision of its last event, if it was [asked for](FetchSubjects::with_revisions). `None`, too,
    /// if the head of a table by time is gone or can't be read.
    pub revision: Option<u64>,
}

impl FetchSubjects {
    pub(crate) fn new(table: Table) -> Self {
        Self { table, prefix: String::new(), after: None, limit: None, with_revisions: false }
    }

    /// Only subjects that begin with this text. The others aren't read.
    pub fn subject_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Only subjects after the position at which an earlier read with the same prefix stopped.
    ///
    /// ```no_run
    /// # async fn example(db: eventdb::EventDb) -> Result<(), eventdb::Error> {
    /// let first = db.fetch_subjects().limit(100).await?;
    /// if let Some(cursor) = first.cursor {
    ///     let more = db.fetch_subjects().limit(100).after(cursor).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn after(mut self, cursor: Cursor) -> Self {
        self.after = Some(cursor);
        self
    }

    /// At most this number of subjects. [`Subjects::limit_reached`] tells whether more may follow.
    pub fn limit(mut self, subjects: usize) -> Self {
        self.limit = Some(subjects);
        self
    }

    /// Also reads the revision of each subject's last event, strongly consistent. This is one more request
    /// for each subject: by time, 1 read unit for its head; by revision, 1 read unit per 4 KB of its last
    /// event.
    pub fn with_revisions(mut self) -> Self {
        self.with_revisions = true;
        self
    }

    /// A stream of pages, each of at most 1,000 subjects. The stream ends after an error. To continue,
    /// start a new read with the cursor of the last page.
    ///
    /// ```no_run
    /// use futures_util::TryStreamExt;
    ///
    /// # async fn example(db: eventdb::EventDb) -> Result<(), eventdb::Error> {
    /// let mut pages = db.fetch_subjects().stream();
    /// while let Some(page) = pages.try_next().await? {
    ///     for listed in page.subjects {
    ///         println!("{}", listed.subject);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn stream(self) -> BoxStream<'static, Result<Subjects, Error>> {
        stream::try_unfold(None, move |reader| {
            let request = self.clone();
            async move {
                let mut reader: Reader = match reader {
                    Some(reader) => reader,
                    None => request.begin()?,
                };
                let page = reader.next().await?;
                Ok(page.map(|page| (page, Some(reader))))
            }
        })
        .boxed()
    }

    fn begin(self) -> Result<Reader, Error> {
        let after = match &self.after {
            None => None,
            Some(Cursor(RowKeys::Subjects { subject })) if subject.starts_with(&self.prefix) => {
                Some(subject.clone())
            }
            Some(_) => return Err(CursorError::OtherRead.into()),
        };
        let from = after.as_deref().unwrap_or(&self.prefix);
        // DynamoDB refuses longer text, and the index has no subject as long.
        let is_possible = self.prefix.len() <= limit::SORT_KEY_BYTES;
        let end = first_after(&self.prefix);
        let sort_key = self.table.layout().listed_subject();
        let partition = |number: u32| {
            let name = item::subject_partition(number);
            Partition {
                query: Query::of_subjects_in(&name, sort_key, from, end.as_deref()),
                subjects: VecDeque::new(),
                ended: !is_possible,
            }
        };
        let partitions = (0..schema::ALL_EVENTS_PARTITIONS).map(partition).collect();
        Ok(Reader { after, partitions, ended: !is_possible, taken: 0, request: self })
    }

    async fn collect(self) -> Result<Subjects, Error> {
        let mut all = Subjects {
            cursor: self.after.clone(),
            limit_reached: self.limit == Some(0),
            ..Subjects::default()
        };
        let mut pages = self.stream();
        while let Some(page) = pages.try_next().await? {
            all.subjects.extend(page.subjects);
            all.cursor = page.cursor;
            all.limit_reached = page.limit_reached;
        }
        Ok(all)
    }
}

impl IntoFuture for FetchSubjects {
    type Output = Result<Subjects, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.collect())
    }
}

/// A running read. It merges the partitions of the index, each of which is sorted.
struct Reader {
    request: FetchSubjects,
    /// The last subject that was returned, or after which the read began.
    after: Option<String>,
    partitions: Vec<Partition>,
    taken: usize,
    ended: bool,
}

struct Partition {
    query: Query,
    subjects: VecDeque<String>,
    ended: bool,
}

impl Reader {
    async fn next(&mut self) -> Result<Option<Subjects>, Error> {
        let left = self.request.limit.map(|limit| limit.saturating_sub(self.taken));
        let wanted = left.unwrap_or(usize::MAX).min(SUBJECTS_PER_PAGE);
        if self.ended || wanted == 0 {
            return Ok(None);
        }
        let mut names = Vec::new();
        while names.len() < wanted {
            self.fill(wanted).await?;
            match self.take_next() {
                Some(name) => names.push(name),
                None => {
                    self.ended = true;
                    break;
                }
            }
        }
        self.taken += names.len();
        if let Some(last) = names.last() {
            self.after = Some(last.clone());
        }
        let cursor = self.after.clone().map(|subject| Cursor(RowKeys::Subjects { subject }));
        let limit_reached = self.request.limit == Some(self.taken);
        Ok(Some(Subjects { subjects: self.listed(names).await?, cursor, limit_reached }))
    }

    /// Reads on in the partitions of which no subject is left, so that the next one is known.
    async fn fill(&mut self, wanted: usize) -> Result<(), Error> {
        let FetchSubjects { table, prefix, .. } = &self.request;
        // Rows that are read but not chosen: the one at the cursor.
        let rows = wanted + usize::from(self.request.after.is_some());
        let after = self.request.after.as_ref().and(self.after.as_deref());
        let empty = self
            .partitions
            .iter_mut()
            .filter(|partition| partition.subjects.is_empty() && !partition.ended);
        try_join_all(empty.map(|partition| partition.fill(table, prefix, after, rows))).await?;
        Ok(())
    }

    fn take_next(&mut self) -> Option<String> {
        let next = self
            .partitions
            .iter_mut()
            .filter(|partition| !partition.subjects.is_empty())
            .min_by(|one, other| one.subjects.front().cmp(&other.subjects.front()));
        next?.subjects.pop_front()
    }

    async fn listed(&self, names: Vec<String>) -> Result<Vec<ListedSubject>, Error> {
        let FetchSubjects { table, with_revisions, .. } = &self.request;
        let revisions = match with_revisions {
            true => table.layout().last_revisions(table, &names).await?,
            false => HashMap::new(),
        };
        let listed = |subject: String| {
            let revision = revisions.get(&subject).copied();
            ListedSubject { subject, revision }
        };
        Ok(names.into_iter().map(listed).collect())
    }
}

impl Partition {
    async fn fill(
        &mut self,
        table: &Table,
        prefix: &str,
        after: Option<&str>,
        rows: usize,
    ) -> Result<(), Error> {
        while self.subjects.is_empty() && !self.ended {
            let page = table.query(&self.query.clone().limited_to(Some(rows))).await;
            let page = page.map_err(mismatch::explained_for_subjects)?;
            for item in &page.items {
                let subject = item.get(table.layout().listed_subject());
                let subject = subject.and_then(|value| value.as_s().ok());
                let chosen = subject.filter(|subject| {
                    subject.starts_with(prefix) && after.is_none_or(|after| ***subject > *after)
                });
                self.subjects.extend(chosen.cloned());
            }
            match page.next {
                Some(next) => self.query = self.query.clone().starting_after(next),
                None => self.ended = true,
            }
        }
        Ok(())
    }
}

/// The first text after all that begin with the prefix; `None` if there is none.
fn first_after(prefix: &str) -> Option<String> {
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        if let Some(next) = (last..=char::MAX).nth(1) {
            text.push(next);
            return Some(text);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_is_behind_all_that_begin_with_it() {
        let ends = [
            ("", None),
            ("book:", Some("book;")),
            ("a\u{10FFFF}", Some("b")),
            ("\u{10FFFF}\u{10FFFF}", None),
            ("x\u{D7FF}", Some("x\u{E000}")),
        ];
        for (prefix, end) in ends {
            assert_eq!(first_after(prefix).as_deref(), end, "{prefix:?}");
            let longest = format!("{prefix}\u{10FFFF}\u{10FFFF}");
            assert!(end.is_none_or(|end| *end > *longest), "{prefix:?}");
        }
    }
}
