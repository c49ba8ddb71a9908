//! Examining a table that was inherited, restored or written by other programs.

mod cursor;
mod items;
mod settings;

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;

use futures_util::TryStreamExt;

use crate::feed::Feed;
use crate::feed::error::FeedError;
use crate::feed::follow::Follow;
use crate::feed::verify::subjects::DamagedSubject;
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
    /// listed event, and the units of reading the feed. It needs the permissions `DescribeTable`,
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

/// What is wrong with a table.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Problem {
    /// A setting of the table isn't what the store needs.
    Setting {
        /// A name for programs, such as `missingIndex`.
        name: &'static str,
        /// What is wrong.
        text: String,
    },
    /// A row should be an event and can't be read as one.
    Unreadable(String),
    /// A row isn't the store's: another program has written it.
    Foreign,
    /// An item with a key of the store that this version doesn't know.
    Unknown,
    /// The event is too large for the topic.
    TooLarge {
        /// Bytes of its message.
        bytes: usize,
        /// The limit that was given.
        most: usize,
    },
    /// By time: the sort key doesn't sort by its time, because the time has too few digits.
    OldTime,
    /// By time: the event before it has the same time, so that only their types order the two.
    AmbiguousTime,
    /// The history of a subject isn't as the store writes it.
    Damaged(DamagedSubject),
    /// By time: a head whose subject has no events.
    HeadWithoutEvents {
        /// The revision of the head.
        revision: u64,
    },
    /// A snapshot includes events that the table doesn't have.
    SnapshotBeyond {
        /// The last revision that it includes.
        revision: u64,
    },
    /// The event of a guard isn't there.
    GuardWithoutEvent,
    /// The feed lists events that the table doesn't have, or has with other ids.
    FeedBeyond {
        /// How many.
        events: u64,
        /// The first one.
        first: String,
    },
}

impl Problem {
    /// A name for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Setting { name, .. } => name,
            Self::Unreadable(_) => "unreadable",
            Self::Foreign => "foreign",
            Self::Unknown => "unknown",
            Self::TooLarge { .. } => "tooLarge",
            Self::OldTime => "oldTime",
            Self::AmbiguousTime => "ambiguousTime",
            Self::Damaged(_) => "damagedSubject",
            Self::HeadWithoutEvents { .. } => "headWithoutEvents",
            Self::SnapshotBeyond { .. } => "snapshotBeyond",
            Self::GuardWithoutEvent => "guardWithoutEvent",
            Self::FeedBeyond { .. } => "feedBeyond",
        }
    }

    /// Whether [`repair`](Examine::repair) repairs it.
    pub fn is_repairable(&self) -> bool {
        use crate::feed::verify::subjects::Damage;
        match self {
            Self::SnapshotBeyond { .. } => true,
            Self::Damaged(subject) => matches!(subject.damage, Damage::NewerThanHead { .. }),
            _ => false,
        }
    }

    /// What to do about it.
    pub fn advice(&self) -> &'static str {
        use crate::feed::verify::subjects::Damage;
        match self {
            Self::Setting { .. } => {
                "set it in the deployment; a restored table doesn't get these settings back by itself"
            }
            Self::Unreadable(_) => {
                "it is never published and read models miss it: repair the row by hand, or acknowledge it \
                 with `eventdb verify acknowledge`"
            }
            Self::Foreign => {
                "find out which program writes it and let it use a separate table; then delete the row"
            }
            Self::Unknown => "a later version may have written it: use that version",
            Self::TooLarge { .. } => {
                "raise the limit of the topic (`maxMessageBytes`), or acknowledge it with `eventdb verify \
                 acknowledge`"
            }
            Self::OldTime => {
                "its subject can be read, but not appended to: export it, and import it into a new table"
            }
            Self::AmbiguousTime => {
                "reads order the two by their types: check that this is the order in which they happened"
            }
            Self::Damaged(subject) => match subject.damage {
                Damage::NewerThanHead { .. } => {
                    "an import was interrupted or another program has written: a repair moves the head to \
                     the last event, unless revisions are missing"
                }
                Damage::EndRemoved { .. } => {
                    "the last events are gone, as after a restore: restore them from a later backup or from \
                     an export with `eventdb import`; subscribers may have them already, so don't let \
                     others take their revisions"
                }
                _ => {
                    "restore the missing events from a backup or an export with `eventdb import`; \
                     `eventdb cat` shows the subject"
                }
            },
            Self::HeadWithoutEvents { .. } => {
                "all events of the subject are gone, as after a restore: import them, or use another \
                 subject"
            }
            Self::SnapshotBeyond { .. } => {
                "it would hide that events are gone: a repair removes it, and the next load makes a new one"
            }
            Self::GuardWithoutEvent => {
                "a repetition of the append fails: import the event, or delete the guard, and the append \
                 can be made again"
            }
            Self::FeedBeyond { .. } => {
                "the table was restored to an earlier time than the feed: import the events, or deploy a \
                 new feed, adopt into it, and let readers begin anew; read models are ahead, too: rebuild \
                 them"
            }
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting { text, .. } => formatter.write_str(text),
            Self::Unreadable(reason) => write!(formatter, "it can't be read as an event: {reason}"),
            Self::Foreign => formatter.write_str("it isn't a row of the store"),
            Self::Unknown => formatter.write_str("this version doesn't know what it is"),
            Self::TooLarge { bytes, most } => write!(
                formatter,
                "its message can have {bytes} bytes, and the topic takes at most {most}"
            ),
            Self::OldTime => formatter.write_str("its sort key doesn't sort by its time"),
            Self::AmbiguousTime => {
                formatter.write_str("it has the same time as the event before it")
            }
            Self::Damaged(subject) => write!(formatter, "{subject}"),
            Self::HeadWithoutEvents { revision } => {
                write!(formatter, "its head is at revision {revision}, but it has no events")
            }
            Self::SnapshotBeyond { revision } => write!(
                formatter,
                "a snapshot goes to revision {revision}, which the table doesn't have"
            ),
            Self::GuardWithoutEvent => {
                formatter.write_str("an id is guarded, but its event is gone")
            }
            Self::FeedBeyond { events, first } => write!(
                formatter,
                "the feed lists {events} events that the table doesn't have; the first: {first}"
            ),
        }
    }
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
    /// the last event, and snapshots of events that are gone are removed. Repeat it after an interruption.
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
