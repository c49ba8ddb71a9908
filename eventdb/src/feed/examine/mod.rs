//! Examining a table that was inherited, restored or written by other programs.

mod cursor;
mod items;
mod listing;
mod problem;
mod settings;

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;

use futures_util::TryStreamExt;

pub use problem::Problem;

use crate::feed::Feed;
use crate::feed::error::FeedError;
use crate::feed::follow::Follow;
use crate::store::EventDb;
use crate::store::table::Table;

/// Most findings that are kept. All are counted.
const FINDINGS: usize = 10_000;

impl EventDb {
    /// Examines the whole table: its settings, every row, the heads of subjects, snapshots and guards, and
    /// on demand whether the [feed](Examine::feed) lists what the table doesn't have.
    ///
    /// It is meant for a table that was inherited, restored from a backup, filled by an import or written
    /// by other programs. It takes little memory, whatever the size of the table.
    ///
    /// # Cost
    /// 1 read unit per 4 KB of the table; by time, half a unit to one and a half per subject more; for each
    /// snapshot and guard, half a unit per 4 KB of its event. With a feed, half a unit per 4 KB of every
    /// listed event, and the units of reading the feed. To enter a subject into the index `AllSubjects`, 2
    /// write units, and for one of the original library as many read units as for its events. It needs
    /// the permissions `DescribeTable`,
    /// `DescribeContinuousBackups`, `Scan`, `Query`, `GetItem` and `BatchGetItem`, with
    /// [`repair`](Examine::repair) also `PutItem`, `UpdateItem` and `DeleteItem`, and with a feed `Query`
    /// and `GetItem` on it.
    ///
    /// # Errors
    /// [`FeedError::Store`] if a request fails, and with a feed all others of [`FeedError`].
    ///
    /// ```no_run
    /// # async fn example(db: eventdb::EventDb) -> Result<(), eventdb::FeedError> {
    /// let examination = db.examine().await?;
    /// for finding in &examination.findings {
    ///     println!("{finding}: {}", finding.problem.advice());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn examine(&self) -> Examine {
        Examine { events: self.table().clone(), feed: None, repairs: false, with_settings: true }
    }
}

/// A request to examine a table: see [`EventDb::examine`].
#[derive(Debug, Clone)]
#[must_use = "a request does nothing until it is awaited"]
pub struct Examine {
    events: Table,
    feed: Option<Table>,
    repairs: bool,
    with_settings: bool,
}

/// What an examination has found.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Examination {
    /// Rows that are events.
    pub events: u64,
    /// Events that the original library has stored without a revision. They are fine: they count as
    /// the first revisions of their subjects.
    pub without_revision: u64,
    /// Events whose data was erased.
    pub erased: u64,
    /// Heads of subjects; by revision, there are none.
    pub heads: u64,
    /// Snapshots.
    pub snapshots: u64,
    /// Guards of ids and commands.
    pub guards: u64,
    /// What is wrong, at most 10,000.
    pub findings: Vec<Finding>,
    /// How many more there are.
    pub more_findings: u64,
    /// How many of all were repaired.
    pub repaired: u64,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Finding {
    /// What.
    pub problem: Problem,
    /// The subject or partition key, if it is about one.
    pub subject: Option<String>,
    /// The sort key of the row, if it is about one.
    pub sort_key: Option<String>,
    /// Whether this examination has repaired it.
    pub is_repaired: bool,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.subject, &self.sort_key) {
            (Some(subject), Some(sort_key)) => write!(formatter, "({subject:?}, {sort_key}): ")?,
            (Some(subject), None) => write!(formatter, "{subject:?}: ")?,
            _ => {}
        }
        write!(formatter, "{}", self.problem)?;
        if self.is_repaired {
            formatter.write_str(" (repaired)")?;
        }
        Ok(())
    }
}

impl Examination {
    /// Whether nothing is wrong, or everything was repaired.
    pub fn is_clean(&self) -> bool {
        self.findings.iter().all(|finding| finding.is_repaired) && self.more_findings == 0
    }

    fn add(&mut self, finding: Finding) {
        self.repaired += u64::from(finding.is_repaired);
        if self.findings.len() < FINDINGS {
            self.findings.push(finding);
        } else {
            self.more_findings += u64::from(!finding.is_repaired);
        }
    }
}

impl Finding {
    fn of_table(problem: Problem) -> Self {
        Self { problem, subject: None, sort_key: None, is_repaired: false }
    }

    fn of_subject(subject: impl Into<String>, problem: Problem) -> Self {
        Self { subject: Some(subject.into()), ..Self::of_table(problem) }
    }
}

impl Examine {
    /// Compares the feed with the table, too. Publication should rest meanwhile, or entries that are newer
    /// than a read are found.
    pub fn feed(mut self, feed: &Feed) -> Self {
        self.feed = Some(feed.table.clone());
        self
    }

    /// Doesn't look at the settings of the table: for a table that isn't on AWS.
    pub fn without_settings(mut self) -> Self {
        self.with_settings = false;
        self
    }

    /// Repairs what is safe, each on the condition that nobody has changed it: heads are moved forward to
    /// the last event, snapshots of events that are gone are removed, and in a table by time with the
    /// index `AllSubjects`, subjects that it lacks are entered. Repeat it after an interruption: it goes
    /// on with what is left.
    ///
    /// A subject that only the original library has written gets its head for that, as with its first
    /// append. Events that the original library adds to it afterwards aren't counted, so stop that library
    /// first.
    pub fn repair(mut self) -> Self {
        self.repairs = true;
        self
    }

    async fn run(self) -> Result<Examination, FeedError> {
        let mut found = Examination::default();
        self.events.layout().check(&self.events).await?;
        if self.with_settings {
            for problem in settings::examine(&self.events).await? {
                found.add(Finding::of_table(problem));
            }
        }
        items::examine(&self.events, self.repairs, &mut found).await?;
        if let Some(feed) = &self.feed {
            self.examine_feed(feed, &mut found).await?;
        }
        Ok(found)
    }

    async fn examine_feed(&self, feed: &Table, found: &mut Examination) -> Result<(), FeedError> {
        let events = EventDb::of_table(self.events.clone());
        let follow = Follow::new(feed.clone()).until_caught_up();
        let mut pages = follow.events_of(&events).stream();
        let (mut count, mut first) = (0, None);
        while let Some(page) = pages.try_next().await? {
            count += u64::try_from(page.missing.len()).unwrap_or(u64::MAX);
            first = first.or_else(|| page.missing.first().map(ToString::to_string));
        }
        if let Some(first) = first {
            found.add(Finding::of_table(Problem::FeedBeyond { events: count, first }));
        }
        Ok(())
    }
}

impl IntoFuture for Examine {
    type Output = Result<Examination, FeedError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
