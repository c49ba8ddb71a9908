//! Verifying that every stored event was published: the table of events compared with the feed.
//!
//! `docs/decisions/0061-verifying.md` has the reasons.

pub(super) mod acknowledged;
pub(crate) mod adopt;
mod rounds;
mod start;
pub(crate) mod stored;
pub(crate) mod subjects;
mod unlisted;

use std::collections::HashSet;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::TryStreamExt;

use crate::codec::feed::chunk::{self, Header};
use crate::codec::feed::entry::FeedEntry;
use crate::feed::error::FeedError;
use crate::feed::follow::Follow;
use crate::feed::verify::acknowledged::RowName;
use crate::feed::verify::rounds::Rounds;
use crate::feed::verify::stored::{InvalidRow, Scope, StoredRow};
use crate::feed::verify::subjects::{DamagedSubject, Subjects};
use crate::feed::verify::unlisted::Unlisted;
use crate::store::layout::TableLayout;
use crate::store::read::query::TimeRange;
use crate::store::table::Table;
use crate::store::table::scan::{Extent, Segment};

/// How long an event may take from the table to the feed before it counts as unpublished.
const SECOND_LOOK_AFTER: Duration = Duration::from_secs(300);

/// Most findings of a kind that are kept. All are counted.
const FINDINGS: usize = 10_000;

/// Rows of a segment, so that a comparison takes some 20 MB.
const ROWS_PER_SEGMENT: u64 = 1_000_000;

/// Most segments of a scan: <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_Scan.html>
const MOST_SEGMENTS: u32 = 1_000_000;

/// Tables that were created within this time were created together, so the feed has missed nothing.
const CREATED_TOGETHER: TimeDelta = TimeDelta::hours(1);

/// A request to verify that stored events were published: see [`Feed::verify`](crate::Feed::verify).
///
/// It compares all events, unless [`segment`](Self::segment) or [`since`](Self::since) chooses some.
/// Only a comparison of everything is a proof.
#[derive(Debug, Clone)]
#[must_use = "a request does nothing until it is awaited"]
pub struct Verify {
    feed: Table,
    events: Table,
    choice: Choice,
    second_look_after: Duration,
}

#[derive(Debug, Clone, Copy)]
enum Choice {
    Everything,
    Segment(Segment),
    NextSegment,
    Since(DateTime<Utc>),
}

/// What a comparison of the table of events with the feed has found.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Verification {
    /// How many events were compared.
    pub events: u64,
    /// Events that the feed doesn't list, after two looks. At most 10,000 are here; see
    /// [`unpublished_events`](Self::unpublished_events).
    pub unpublished: Vec<FeedEntry>,
    /// How many events the feed doesn't list.
    pub unpublished_events: u64,
    /// Rows that should be events and can't be read, at most 10,000; see
    /// [`invalid_rows`](Self::invalid_rows).
    pub invalid: Vec<InvalidRow>,
    /// How many rows can't be read.
    pub invalid_rows: u64,
    /// Subjects whose revisions aren't complete, or whose heads disagree. They aren't looked for with
    /// [`since`](Verify::since).
    pub damaged: Vec<DamagedSubject>,
    /// Events that are older than the feed and that it doesn't list. Nobody knows whether they were
    /// published. [`Feed::adopt`](crate::Feed::adopt) lists them.
    pub unknown_events: u64,
    /// Events and rows that were [acknowledged](crate::Feed::acknowledge).
    pub acknowledged: u64,
    /// With [`next_segment`](Verify::next_segment): what the latest verification of each segment says.
    pub rounds: Option<VerificationRounds>,
}

/// What the latest verifications of all segments say together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerificationRounds {
    /// Every segment was verified since then. Before the first round is complete, it is when the first
    /// round began.
    pub complete_since: DateTime<Utc>,
    /// How many events were unpublished when their segments were verified.
    pub unpublished_events: u64,
}

impl Verification {
    /// Whether there is nothing to do: every event was published or acknowledged, or is older than the
    /// feed, and every row and subject is as the store writes it.
    pub fn is_clean(&self) -> bool {
        self.unpublished_events == 0 && self.invalid_rows == 0 && self.damaged.is_empty()
    }
}

impl fmt::Display for Verification {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} events compared: {} unpublished, {} unknown; {} invalid rows, {} damaged subjects; {} \
             acknowledged",
            self.events,
            self.unpublished_events,
            self.unknown_events,
            self.invalid_rows,
            self.damaged.len(),
            self.acknowledged
        )
    }
}

impl Verify {
    pub(super) fn new(feed: Table, events: Table) -> Self {
        Self { feed, events, choice: Choice::Everything, second_look_after: SECOND_LOOK_AFTER }
    }

    /// Only one of this many segments of the table, from 0. Each subject is in one of them, and all of
    /// them together are everything. This replaces an earlier choice.
    ///
    /// The request fails with [`FeedError::UnknownSegment`] unless `index` is less than `of`, which is
    /// at most 1,000,000.
    pub fn segment(mut self, index: u32, of: u32) -> Self {
        self.choice = Choice::Segment(Segment { index, of });
        self
    }

    /// Only the segment whose turn it is. A program that verifies regularly this way verifies
    /// everything in turn: each segment has some million rows, and the feed's table keeps when each was
    /// verified. This replaces an earlier choice.
    ///
    /// It also needs the permission `PutItem` on the feed, and consumes some write units more.
    pub fn next_segment(mut self) -> Self {
        self.choice = Choice::NextSegment;
        self
    }

    /// Only the events whose time is at least this, by the index `AllEventsByTime`. It costs much less
    /// than everything. It doesn't find an event that was stored since then with an earlier time, or
    /// without what the index needs. This replaces an earlier choice.
    pub fn since(mut self, time: DateTime<Utc>) -> Self {
        self.choice = Choice::Since(time);
        self
    }

    /// How long to wait before the second look, if the first one finds that events are missing in the
    /// feed: 5 minutes, unless another time is given. It should be longer than publishing takes.
    pub fn second_look_after(mut self, time: Duration) -> Self {
        self.second_look_after = time;
        self
    }

    async fn run(self) -> Result<Verification, FeedError> {
        let comparison = Comparison::begin(&self.feed, &self.events).await?;
        let scopes = match self.choice {
            Choice::Everything => comparison.all_segments(),
            Choice::Since(time) => {
                let since = Some(time.timestamp_millis());
                vec![Scope::Times(TimeRange { since, until: None })]
            }
            Choice::Segment(segment) => {
                let Segment { index, of } = segment;
                if index >= of || of > MOST_SEGMENTS {
                    return Err(FeedError::UnknownSegment { index, of });
                }
                vec![Scope::Segment(segment)]
            }
            Choice::NextSegment => return self.compare_next(&comparison).await,
        };
        self.compare(&comparison, scopes).await
    }

    async fn compare_next(&self, comparison: &Comparison) -> Result<Verification, FeedError> {
        let mut rounds = Rounds::read(&self.feed, comparison.segments, self.feed.now()).await?;
        let segment = rounds.next();
        let mut found = self.compare(comparison, vec![Scope::Segment(segment)]).await?;
        rounds.add(segment, self.feed.now(), found.unpublished_events);
        rounds.write(&self.feed).await?;
        found.rounds = rounds.complete_since().map(|complete_since| VerificationRounds {
            complete_since,
            unpublished_events: rounds.unpublished(),
        });
        Ok(found)
    }

    async fn compare(
        &self,
        comparison: &Comparison,
        scopes: Vec<Scope>,
    ) -> Result<Verification, FeedError> {
        let acknowledged = acknowledged::read(&self.feed).await?;
        let mut found = Verification::default();
        let mut candidates = Unlisted::default();
        let mut with_candidates = Vec::new();
        let mut first_end = None;
        for scope in scopes {
            let (mut known, mut unknown) = (candidates.none_of(), candidates.none_of());
            comparison
                .look(scope, &acknowledged, &mut found, |entry, is_unknown| {
                    if is_unknown { unknown.add(entry) } else { known.add(entry) }
                })
                .await?;
            // The table is read first. So an event that is stored meanwhile isn't missed in the feed.
            let follow = comparison.follow(scope).await?;
            let end = unlisted::remove_listed([&mut known, &mut unknown], follow).await?;
            first_end.get_or_insert(end);
            found.unknown_events += unknown.len();
            if !known.is_empty() {
                with_candidates.push(scope);
                candidates.extend(known);
            }
        }
        if candidates.is_empty() {
            return Ok(found);
        }
        tokio::time::sleep(self.second_look_after).await;
        let follow = match (self.choice, first_end) {
            // The first look has read only a part of the feed, which was chosen by the clocks of writers.
            (Choice::Since(_), _) | (_, None) => Follow::new(self.feed.clone()),
            (_, Some(end)) => Follow::new(self.feed.clone()).after(end),
        };
        unlisted::remove_listed([&mut candidates], follow).await?;
        for scope in with_candidates {
            if candidates.is_empty() {
                break;
            }
            let mut events = stored::events(&self.events, scope);
            while let Some(entry) = events.try_next().await? {
                if candidates.contains(&entry) {
                    found.add_unpublished(entry, &acknowledged, self.events.layout());
                }
            }
        }
        Ok(found)
    }
}

impl IntoFuture for Verify {
    type Output = Result<Verification, FeedError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl Verification {
    fn add_unpublished(
        &mut self,
        entry: FeedEntry,
        acknowledged: &HashSet<RowName>,
        layout: TableLayout,
    ) {
        if acknowledged.contains(&RowName::of_entry(layout, &entry)) {
            self.acknowledged += 1;
            return;
        }
        self.unpublished_events += 1;
        if self.unpublished.len() < FINDINGS {
            self.unpublished.push(entry);
        }
    }

    fn add_invalid(&mut self, row: InvalidRow, acknowledged: &HashSet<RowName>) {
        if acknowledged.contains(&RowName::of_row(&row)) {
            self.acknowledged += 1;
            return;
        }
        self.invalid_rows += 1;
        if self.invalid.len() < FINDINGS {
            self.invalid.push(row);
        }
    }
}

/// A comparison of the two tables.
struct Comparison {
    feed: Table,
    events: Table,
    header: Option<Header>,
    /// Events of earlier times may have been published before there was a feed, in milliseconds.
    unknown_before: Option<i64>,
    /// In how many segments the whole table of events is compared.
    segments: u32,
}

impl Comparison {
    async fn begin(feed: &Table, events: &Table) -> Result<Self, FeedError> {
        let table = feed.begin();
        let failed = |error| FeedError::of_table(feed.name(), error);
        let header = table.feed_header().await.map_err(failed)?;
        let decoded = header.as_ref().map(chunk::decode_header).transpose();
        let decoded = decoded.map_err(|source| FeedError::invalid_item(feed.name(), source))?;
        let is_complete = table.get(chunk::complete_key().into()).await.map_err(failed)?.is_some();
        let extent = events.begin().extent().await?;
        let unknown_before = match is_complete || created_together(feed, extent).await? {
            true => None,
            false => Some(header.as_ref().and_then(chunk::created_at).unwrap_or(i64::MAX)),
        };
        let segments = u32::try_from(extent.items / ROWS_PER_SEGMENT + 1);
        Ok(Self {
            feed: feed.clone(),
            events: events.clone(),
            header: decoded,
            unknown_before,
            segments: segments.unwrap_or(MOST_SEGMENTS).min(MOST_SEGMENTS),
        })
    }

    fn is_unknown(&self, entry: &FeedEntry) -> bool {
        self.unknown_before.is_some_and(|before| entry.time.timestamp_millis() < before)
    }

    /// The whole table, in parts that take little memory.
    fn all_segments(&self) -> Vec<Scope> {
        let of = self.segments;
        (0..of).map(|index| Scope::Segment(Segment { index, of })).collect()
    }

    /// Reads the rows of a scope, and passes on each event and whether it is older than the feed.
    async fn look(
        &self,
        scope: Scope,
        acknowledged: &HashSet<RowName>,
        found: &mut Verification,
        mut add: impl FnMut(&FeedEntry, bool),
    ) -> Result<(), FeedError> {
        let mut subjects = Subjects::of(self.events.clone());
        let mut pages = stored::pages(&self.events, scope);
        while let Some(rows) = pages.try_next().await? {
            for row in rows {
                let (subject, revision) = match &row {
                    StoredRow::Event(entry) => (&entry.subject, entry.revision),
                    StoredRow::Invalid(row) => (&row.subject, row.revision),
                };
                if let Scope::Segment(_) = scope {
                    subjects.add(subject, revision).await?;
                }
                match row {
                    StoredRow::Event(entry) => {
                        found.events += 1;
                        add(&entry, self.is_unknown(&entry));
                    }
                    StoredRow::Invalid(row) => found.add_invalid(row, acknowledged),
                }
            }
        }
        subjects.finish().await?;
        found.damaged.extend(subjects.damaged);
        Ok(())
    }

    /// Follows the part of the feed that can list the events of a scope.
    async fn follow(&self, scope: Scope) -> Result<Follow, FeedError> {
        let follow = Follow::new(self.feed.clone());
        let (Scope::Times(TimeRange { since: Some(since), .. }), Some(header)) =
            (scope, &self.header)
        else {
            return Ok(follow);
        };
        Ok(follow.after(start::listed_since(&self.feed, header, since).await?))
    }
}

/// Whether the feed was created with the table of events or before it, so that it has missed nothing.
/// A restored table counts as created when it was restored.
async fn created_together(feed: &Table, events: Extent) -> Result<bool, FeedError> {
    let feed = feed.begin().extent().await?;
    Ok(match (feed.created, events.created) {
        (Some(feed), Some(events)) => feed - events < CREATED_TOGETHER,
        _ => false,
    })
}
