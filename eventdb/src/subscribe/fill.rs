//! Filling a read model from the feed, and keeping it up to date.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use tokio::time::Instant;

use crate::codec::feed::cursor::FeedCursor;
use crate::codec::received_message::ReceivedMessage;
use crate::codec::store_id::StoreId;
use crate::event::Event;
use crate::feed::error::FeedError;
use crate::feed::events::{FeedEventsPage, FollowEvents, MissingEvent};
use crate::feed::reader::end_of_partitions;
use crate::store::error::Error;
use crate::store::table::Table;
use crate::subscribe::event_reader::EventReader;
use crate::subscribe::projection::{Projection, ProjectionError};
use crate::subscribe::read_model::ReadModel;

/// How many subjects of a page are applied at the same time.
const CONCURRENT_SUBJECTS: usize = 16;

/// How old the known end of the feed may be.
const END_READ_EVERY: Duration = Duration::from_secs(5);

/// How far a read model is that is filled from the feed: see
/// [`FollowEvents::apply_to`](crate::FollowEvents::apply_to).
///
/// As text: `12000 events, 340 per second, 8000 remaining`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct FillProgress {
    /// Where to go on after an interruption. Everything before it is applied.
    pub cursor: FeedCursor,
    /// Events that this stream has passed to the projection.
    pub handled: u64,
    /// Events that this stream has changed the read model with. It is less if some were applied
    /// before, and more if events that weren't listed yet were read from the store.
    pub applied: u64,
    /// Events per second that this stream has passed to the projection, since it began. While it
    /// waits for new events, the number falls.
    pub per_second: f64,
    /// Entries of the feed after the cursor, of all types and subjects. The number is at most 5 seconds
    /// old.
    pub remaining: u64,
    /// Whether the read model has everything that was listed when the end of the feed was last read:
    /// see [`FeedPage::caught_up`](crate::FeedPage::caught_up).
    pub caught_up: bool,
}

impl fmt::Display for FillProgress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { handled, per_second, remaining, .. } = self;
        write!(formatter, "{handled} events, {per_second:.0} per second, {remaining} remaining")
    }
}

/// Why a read model can't be filled further. What was applied stays applied: after the cause is
/// removed, go on with the cursor of the last progress.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FillError<E> {
    /// The feed can't be followed.
    #[error(transparent)]
    Feed(#[from] FeedError),
    /// The store's id can't be found out.
    #[error(transparent)]
    Store(#[from] Error),
    /// The feed lists an event that the table doesn't have.
    #[error("{0}; repair the table, or let the projection pass over this revision")]
    Missing(Box<MissingEvent>),
    /// An event can't be applied.
    #[error(transparent)]
    Projection(#[from] ProjectionError<E>),
}

impl FollowEvents {
    /// Passes the events to a read model: builds it from nothing, and keeps it up to date. The stream
    /// yields the progress after each page that was applied, and waits and ends as the
    /// [stream of entries](crate::Follow::stream).
    ///
    /// Nothing is missed or applied twice, while writers go on and whenever the process is killed:
    /// the read model's positions tell what it has. Keep the cursor, and follow
    /// [`after`](crate::Follow::after) it the next time. Without a cursor, it begins at the beginning
    /// of the feed and passes over what is applied. A consumer of the queue may run at the same time.
    ///
    /// Events that were stored before the feed aren't listed in it:
    /// [adopt](crate::Feed::adopt) them first. The projection should [read](Projection::reading)
    /// the store, so that revisions that aren't listed yet, or that the request doesn't choose, are
    /// read from there. If it takes some types only, tell it so
    /// ([`delivering_types`](Projection::delivering_types)); the other types then count as applied.
    ///
    /// An event that can't be applied ends the stream with an error. [Park](Projection::park) its
    /// subject, or let the projection [pass over](Projection::passing_over) the revision, and go on.
    ///
    /// # Cost
    /// That of following the feed and fetching the events, one [`ReadModel::apply`] for each event,
    /// and each 5 seconds 1 read unit per 4 KB of the last chunk of each partition.
    ///
    /// ```no_run
    /// use futures_util::TryStreamExt;
    ///
    /// # async fn example<Loans: eventdb::ReadModel + 'static>(
    /// #     feed: eventdb::Feed, db: eventdb::EventDb, loans: Loans, kept: Option<String>)
    /// # -> Result<(), Box<dyn std::error::Error>> {
    /// let mut follow = feed.follow();
    /// if let Some(text) = kept {
    ///     follow = follow.after(text.parse()?);
    /// }
    /// let projection = eventdb::Projection::new(loans).reading(db.clone());
    /// let mut progress = follow.events_of(&db).apply_to(projection);
    /// while let Some(progress) = progress.try_next().await? {
    ///     println!("{progress}");
    ///     let text = progress.cursor.to_string(); // keep it, to go on there
    ///     if progress.caught_up {
    ///         println!("the new read model can be used");
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn apply_to<M, R>(
        self,
        projection: Projection<M, R>,
    ) -> BoxStream<'static, Result<FillProgress, FillError<M::Error>>>
    where
        M: ReadModel + 'static,
        R: EventReader + 'static,
    {
        let begin = async move {
            let store = self.db.store_id().await?;
            let feed = self.feed_table();
            let began = Instant::now();
            let pages = self.stream();
            Ok::<_, FillError<M::Error>>(Filling {
                pages,
                projection,
                store,
                feed,
                began,
                end: None,
                handled: 0,
                applied: 0,
            })
        };
        stream::once(begin)
            .map_ok(|filling| {
                stream::try_unfold(filling, |mut filling| async move {
                    Ok(filling.next().await?.map(|progress| (progress, filling)))
                })
            })
            .try_flatten()
            .boxed()
    }
}

/// A read model that is being filled.
struct Filling<M, R> {
    pages: BoxStream<'static, Result<FeedEventsPage, FeedError>>,
    projection: Projection<M, R>,
    store: StoreId,
    feed: Table,
    began: Instant,
    /// How many entries each partition had, and when that was read.
    end: Option<(Instant, BTreeMap<u32, u64>)>,
    handled: u64,
    applied: u64,
}

impl<M: ReadModel, R: EventReader> Filling<M, R> {
    async fn next(&mut self) -> Result<Option<FillProgress>, FillError<M::Error>> {
        let Some(page) = self.pages.try_next().await? else { return Ok(None) };
        let FeedEventsPage { events, missing, cursor, caught_up } = page;
        // All others of the page first: their subjects needn't wait.
        let count = events.len() as u64;
        self.applied += apply(&self.projection, &self.store, events).await?;
        self.handled += count;
        for missing in missing {
            let entry = &missing.entry;
            let is_passed_over = entry.revision.is_some_and(|revision| {
                self.projection.passes_over(&entry.subject, revision..=revision)
            });
            if !is_passed_over {
                return Err(FillError::Missing(Box::new(missing)));
            }
        }
        let remaining = if caught_up { 0 } else { self.remaining(&cursor).await? };
        let seconds = self.began.elapsed().as_secs_f64().max(f64::EPSILON);
        #[expect(clippy::cast_precision_loss, reason = "a rate needn't be exact")]
        let per_second = self.handled as f64 / seconds;
        let Self { handled, applied, .. } = *self;
        Ok(Some(FillProgress { cursor, handled, applied, per_second, remaining, caught_up }))
    }

    async fn remaining(&mut self, cursor: &FeedCursor) -> Result<u64, FeedError> {
        let is_new = |read: &(Instant, BTreeMap<u32, u64>)| read.0.elapsed() < END_READ_EVERY;
        if !self.end.as_ref().is_some_and(is_new) {
            let partitions = cursor.offsets().map(|(partition, _)| partition);
            let end = end_of_partitions(&self.feed.begin(), partitions).await?;
            let end = end.into_iter().map(|(partition, position)| (partition, position.offset));
            self.end = Some((Instant::now(), end.collect()));
        }
        let Some((_, end)) = &self.end else { return Ok(0) };
        let of_partition = |(partition, offset): (u32, u64)| {
            end.get(&partition).map_or(0, |end| end.saturating_sub(offset))
        };
        Ok(cursor.offsets().map(of_partition).sum())
    }
}

/// Applies the events of a page: those of a subject in their order, several subjects at the same
/// time.
async fn apply<M: ReadModel, R: EventReader>(
    projection: &Projection<M, R>,
    store: &StoreId,
    events: Vec<Event>,
) -> Result<u64, ProjectionError<M::Error>> {
    let mut subjects: BTreeMap<String, Vec<Event>> = BTreeMap::new();
    for event in events {
        subjects.entry(event.subject.clone()).or_default().push(event);
    }
    stream::iter(subjects.into_values())
        .map(|events| async move {
            let mut applied = 0;
            for event in events {
                let message = ReceivedMessage::of_store(event, store.clone());
                applied += projection.handle(&message).await?;
            }
            Ok(applied)
        })
        .buffer_unordered(CONCURRENT_SUBJECTS)
        .try_fold(0, |sum, applied| std::future::ready(Ok(sum + applied)))
        .await
}
