//! Loading an aggregate from its snapshot, if there is a valid one, and its events.

use std::time::Duration;

use chrono::DateTime;
use futures_util::TryStreamExt;
use futures_util::future::try_join;

use super::Repository;
use super::error::LoadError;
use crate::domain::aggregate::Aggregate;
use crate::event::Event;
use crate::store::{KnownRevision, MissingRevisions};

/// How often the end of a history is read again when it lies before the revision that its subject
/// has reached, before the events count as removed.
const END_RETRIES: u32 = 3;

/// An aggregate as it was loaded.
///
/// ```no_run
/// # async fn example<Book: eventdb::Aggregate>(books: eventdb::Repository<Book>)
/// # -> Result<(), eventdb::LoadError> {
/// let book = books.load("book:123").await?;
/// println!("{} is at revision {}, {:?}", book.subject, book.revision, book.read);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Loaded<A> {
    /// The subject.
    pub subject: String,
    /// Its state; the default if it has no events.
    pub state: A,
    /// Revision of its last event, 0 without events. An event of the original library behind one
    /// of ours is in the state and has no revision.
    pub revision: u64,
    /// What was read for it.
    pub read: EventsRead,
    /// The last event with a revision.
    pub(super) last: Option<Place>,
    /// Whether that event has its revision from its row, and not from its place in the history.
    pub(super) numbered: bool,
    /// The time of the latest event behind that one that wasn't counted.
    pub(super) uncounted: Option<i64>,
    /// Revision of the last snapshot, 0 without one.
    pub(super) snapshot: u64,
    /// The latest revision that was read, where an append can build on it.
    pub(super) known: Option<KnownRevision>,
}

/// What was read to load an aggregate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventsRead {
    /// Revision of the snapshot that was used, if any.
    pub snapshot: Option<u64>,
    /// Events that were folded.
    pub folded: u64,
    /// Events that were ignored because their type is unknown.
    pub ignored: u64,
}

/// The last event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Milliseconds.
    pub(super) time: i64,
    pub(super) id: String,
}

impl Place {
    pub(super) fn of(event: &Event) -> Self {
        Self { time: event.time.timestamp_millis(), id: event.id.clone() }
    }
}

impl<A: Aggregate> Repository<A> {
    /// Folds the events of a subject, strongly consistent, in constant memory.
    ///
    /// Only a complete history is folded. A gap, an unreadable row, or an end before the subject's
    /// current revision is an error.
    ///
    /// Events of the original library are folded in their places. Those before the first event of this
    /// crate count as revisions. Later ones don't, so the revision stays the same.
    ///
    /// # Cost
    /// As for [`EventDb::fetch_events_for_subject`](crate::EventDb::fetch_events_for_subject). With
    /// [snapshots](Self::with_snapshots): half a read unit per 4 KB of the snapshot, and the events
    /// from its last one on, in two requests. In both cases, half a read unit for the subject's
    /// current revision, in a concurrent request.
    ///
    /// # Errors
    /// [`LoadError`]: the store's error, or why the history can't be folded.
    ///
    /// ```no_run
    /// # async fn example<Book: eventdb::Aggregate>(books: eventdb::Repository<Book>)
    /// # -> Result<(), eventdb::LoadError> {
    /// let book = books.load("book:123").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn load(&self, subject: impl Into<String>) -> Result<Loaded<A>, LoadError> {
        let subject = subject.into();
        crate::codec::validation::check_stored_subject(&subject).map_err(crate::Error::from)?;
        let folded = self.fold_with_snapshot(&subject);
        let (loaded, end) = try_join(folded, async {
            let table = self.db.table();
            table.layout().recorded_end(table, &subject).await.map_err(LoadError::from)
        })
        .await?;
        self.complete(loaded, end).await
    }

    async fn fold_with_snapshot(&self, subject: &str) -> Result<Loaded<A>, LoadError> {
        if let Some(begun) = self.begin_with_snapshot(subject).await {
            let revision = begun.revision;
            if let Some(loaded) = self.fold_on(begun).await? {
                return Ok(loaded);
            }
            tracing::warn!(
                target: "eventdb", subject,
                "a snapshot is passed over: its event at revision {revision} isn't in the history"
            );
        }
        self.fold_all(subject.to_owned()).await
    }

    /// Sees to it that the state reaches the revision that the subject is known to have reached.
    /// It was learnt at another moment than the events were read, so these are read on first.
    pub(super) async fn complete(
        &self,
        mut loaded: Loaded<A>,
        revision: u64,
    ) -> Result<Loaded<A>, LoadError> {
        let mut retry = 0;
        while loaded.revision < revision {
            if retry > 0 {
                // A query isn't isolated from a transaction that commits meanwhile: its head may
                // show before its events. The read of a hole in the middle waits as long.
                if retry > END_RETRIES {
                    return Err(LoadError::MissingRevisions(MissingRevisions {
                        subject: loaded.subject,
                        revisions: loaded.revision + 1..=revision,
                    }));
                }
                tokio::time::sleep(Duration::from_millis(10 << retry)).await;
            }
            retry += 1;
            loaded = self.refresh(loaded).await?;
        }
        Ok(loaded)
    }

    /// Brings a state up to date by reading only the later events.
    pub(super) async fn refresh(&self, loaded: Loaded<A>) -> Result<Loaded<A>, LoadError> {
        let subject = loaded.subject.clone();
        // What wasn't counted can't be told from what has come since.
        if loaded.uncounted.is_some() {
            return self.fold_all(subject).await;
        }
        match self.fold_on(loaded).await? {
            Some(loaded) => Ok(loaded),
            None => self.fold_all(subject).await,
        }
    }

    async fn fold_all(&self, subject: String) -> Result<Loaded<A>, LoadError> {
        let mut loaded = Loaded {
            subject,
            state: A::default(),
            revision: 0,
            read: EventsRead::default(),
            last: None,
            numbered: false,
            uncounted: None,
            snapshot: 0,
            known: None,
        };
        let mut pages = self.db.fetch_events_for_subject(&loaded.subject).stream();
        while let Some(page) = pages.try_next().await? {
            check(page.invalid, page.missing)?;
            loaded.known = KnownRevision::later(loaded.known, page.known);
            page.events.into_iter().try_for_each(|event| loaded.fold(&event))?;
        }
        Ok(loaded)
    }

    /// Folds what comes after the last event of the given state; `None` when that event isn't in
    /// the history, so that the state is of another one.
    async fn fold_on(&self, mut loaded: Loaded<A>) -> Result<Option<Loaded<A>>, LoadError> {
        let Some(last) = loaded.last.clone() else {
            return self.fold_all(loaded.subject).await.map(Some);
        };
        let Some(since) = DateTime::from_timestamp_millis(last.time) else { return Ok(None) };
        // From the last event on, itself included: it proves that the state is of this history.
        let mut found = false;
        let request = self.db.fetch_events_for_subject(&loaded.subject);
        let mut pages = request.beginning_at(loaded.revision, since).stream();
        while let Some(page) = pages.try_next().await? {
            check(page.invalid, page.missing)?;
            loaded.known = KnownRevision::later(loaded.known, page.known);
            for event in page.events {
                if found {
                    loaded.fold(&event)?;
                } else if event.id == last.id
                    && event.revision.is_none_or(|revision| revision == loaded.revision)
                {
                    found = true;
                    loaded.numbered = event.revision.is_some();
                } else if event.time > since || event.revision > Some(loaded.revision) {
                    return Ok(None);
                }
                // Before it there may be others of its millisecond only among legacy events.
            }
        }
        Ok(found.then_some(loaded))
    }
}

fn check(
    invalid: Vec<crate::InvalidItem>,
    missing: Vec<MissingRevisions>,
) -> Result<(), LoadError> {
    if let Some(row) = invalid.into_iter().next() {
        return Err(LoadError::InvalidItem(Box::new(row)));
    }
    missing.into_iter().next().map_or(Ok(()), |missing| Err(LoadError::MissingRevisions(missing)))
}

impl<A: Aggregate> Loaded<A> {
    /// Folds the next event of the history.
    fn fold(&mut self, event: &Event) -> Result<(), LoadError> {
        match event.revision {
            // The store sees a hole between two numbered events, and this one behind legacy ones.
            Some(revision) if revision > self.revision.saturating_add(1) => {
                return Err(LoadError::MissingRevisions(MissingRevisions {
                    subject: self.subject.clone(),
                    revisions: self.revision + 1..=revision - 1,
                }));
            }
            Some(revision) => {
                self.revision = revision;
                self.numbered = true;
            }
            // A legacy event has no revision; its place in the history counts.
            None if !self.numbered => self.revision = self.revision.saturating_add(1),
            // Another writer's, which no head knows of.
            None => {}
        }
        if event.revision.is_none() && self.numbered {
            self.uncounted = self.uncounted.max(Some(event.time.timestamp_millis()));
        } else {
            self.uncounted = None;
            self.last = Some(Place::of(event));
        }
        match event.typed::<A::Event>()? {
            Some(typed) => {
                self.state.apply_stored(typed, event);
                self.read.folded += 1;
            }
            None => self.read.ignored += 1,
        }
        Ok(())
    }
}
