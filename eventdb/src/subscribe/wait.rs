//! Waiting until a read model shows an event, such as the caller's own.

use std::time::Duration;

use futures_util::TryStreamExt;
use tokio::time::{Instant, sleep, timeout_at};

use crate::subscribe::event_reader::{EventReader, SubjectRow};
use crate::subscribe::projection::{Projection, ProjectionError};
use crate::subscribe::read_model::{Parked, Position, ReadModel};

/// The pause after the first look at a position. Each later one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// Why [`Projection::wait_for`] ended before the read model had reached the revision.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError<E> {
    /// The time is over. The event is stored all the same, and the read model may still apply it.
    #[error(
        "after {} ms the read model hasn't reached revision {revision} of `{subject}` yet{}",
        .within.as_millis(),
        .position.map(|position| format!("; it is at revision {position}")).unwrap_or_default()
    )]
    TimedOut {
        /// The subject.
        subject: String,
        /// The revision that was waited for.
        revision: u64,
        /// The last position that was read; `None` if none could be read in this time.
        position: Option<u64>,
        /// The given time.
        within: Duration,
    },

    /// The subject is parked before the revision, so it waits for somebody, not for a moment.
    #[error(
        "the read model won't reach revision {revision} of `{subject}`, because the subject is \
         parked at revision {} since {}: {}", .parked.revision, .parked.since, .parked.reason
    )]
    Parked {
        /// The subject.
        subject: String,
        /// The revision that was waited for.
        revision: u64,
        /// The mark.
        parked: Parked,
    },

    /// The position, or the history of the subject, couldn't be read.
    #[error(transparent)]
    Projection(#[from] ProjectionError<E>),
}

/// What the position must reach.
struct Target {
    revision: u64,
    /// Whether it can't become less: each row up to it was read, or no types are held back.
    is_final: bool,
}

impl<M: ReadModel, R: EventReader> Projection<M, R> {
    /// Waits until the read model shows an event, for example so that a user finds the own change on
    /// the next page: until the position of the subject has reached the given revision, at most for
    /// the given time. Returns the position. Revision 0 is reached always.
    ///
    /// Give it the revision of the last event that was appended to the subject. Another process may
    /// keep the read model up to date. If the projection takes
    /// [some types only](Self::delivering_types), it waits for the last event up to the revision that
    /// it takes. Revisions that it [passes over](Self::passing_over) aren't waited for.
    ///
    /// The positions must be those of the store in which the revision was assigned.
    ///
    /// # Cost
    /// One call of [`ReadModel::position`] for each look, after 0, 20, 60, 140 and 300 ms and then
    /// each 250 ms. With some types only, also one read of the subject from the position on.
    ///
    /// # Errors
    /// [`WaitError::TimedOut`]; [`WaitError::Parked`] as soon as the subject is parked before the
    /// revision; and what reading causes. Whatever the error, the event is stored: don't append it
    /// again.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # async fn example<Loans: eventdb::ReadModel>(
    /// #     db: eventdb::EventDb, candidates: Vec<eventdb::EventCandidate>, loans: Loans)
    /// # -> Result<(), Box<dyn std::error::Error>> {
    /// let stored = db.add_new_events(candidates).await?;
    /// let projection = eventdb::Projection::new(loans).reading(db);
    /// if let Some(last) = stored.last() {
    ///     let revision = last.revision.unwrap_or_default();
    ///     match projection.wait_for(&last.subject, revision, Duration::from_secs(2)).await {
    ///         Ok(_) => println!("the view shows it"),
    ///         Err(error) => println!("stored, but not shown yet: {error}"),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn wait_for(
        &self,
        subject: &str,
        revision: u64,
        within: Duration,
    ) -> Result<Position, WaitError<M::Error>> {
        let mut last = None;
        let waiting = self.wait(subject, revision, &mut last);
        // So long a time that it has no end isn't limited.
        let waited = match Instant::now().checked_add(within) {
            Some(until) => timeout_at(until, waiting).await,
            None => Ok(waiting.await),
        };
        waited.unwrap_or_else(|_| {
            let subject = subject.to_owned();
            Err(WaitError::TimedOut { subject, revision, position: last, within })
        })
    }

    async fn wait(
        &self,
        subject: &str,
        revision: u64,
        last: &mut Option<u64>,
    ) -> Result<Position, WaitError<M::Error>> {
        let mut target: Option<Target> = None;
        let mut pause = FIRST_PAUSE;
        loop {
            let position = self.position(subject).await?;
            *last = Some(position.revision);
            if position.revision >= revision {
                return Ok(position);
            }
            let target = match &target {
                Some(target) if target.is_final => target,
                _ => target.insert(self.target(subject, &position, revision).await?),
            };
            if position.revision >= target.revision {
                return Ok(position);
            }
            if let Some(parked) = position.parked {
                return Err(WaitError::Parked { subject: subject.to_owned(), revision, parked });
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// The last revision up to the given one that the projection moves the position to.
    async fn target(
        &self,
        subject: &str,
        position: &Position,
        revision: u64,
    ) -> Result<Target, ProjectionError<M::Error>> {
        let last_of = |first: u64, last: u64| {
            (first..=last).rev().find(|one| !self.passes_over(subject, *one..=*one))
        };
        let mut target = Target { revision: position.revision, is_final: true };
        let mut seen = position.revision;
        if self.holds_types_back() {
            let Some(mut rows) = self.read(subject, position, None) else {
                let subject = subject.to_owned();
                return Err(ProjectionError::FilterWithoutStore { subject, revision });
            };
            let unreadable =
                |source| ProjectionError::Store { subject: subject.to_owned(), source };
            while let Some(row) = rows.try_next().await.map_err(unreadable)? {
                let SubjectRow::Event(event) = row else { continue };
                let Some(read) = event.revision.filter(|read| *read > seen) else { continue };
                if read > revision {
                    break;
                }
                // Of a row that isn't there or can't be read, nobody knows the type.
                if let Some(missing) = last_of(seen + 1, read - 1) {
                    target = Target { revision: missing, is_final: false };
                }
                seen = read;
                if self.takes(&event) {
                    target.revision = read;
                }
            }
        }
        if let Some(missing) = last_of(seen + 1, revision) {
            let is_final = !self.holds_types_back();
            target = Target { revision: missing, is_final };
        }
        Ok(target)
    }
}
