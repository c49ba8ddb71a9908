//! How far a read model is behind what was published.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::codec::feed::entry::FeedEntry;
use crate::feed::error::FeedError;
use crate::feed::follow::Follow;
use crate::subscribe::read_model::ReadModel;

/// Positions that are read at the same time.
const CONCURRENT_READS: usize = 16;

/// How far a read model is behind: see [`Follow::lag_of`](crate::Follow::lag_of).
///
/// As text: `12 events of 3 subjects, the oldest from 2025-01-28T14:30:00.000Z; 1 subject parked`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lag {
    /// Listed events that the read model lacks.
    pub events: u64,
    /// Subjects of these events.
    pub subjects: u64,
    /// The time of the oldest of these events; `None` if there is none.
    pub oldest: Option<DateTime<Utc>>,
    /// Subjects that are [parked](crate::ParkingReadModel) and have such events.
    pub parked: u64,
}

impl Lag {
    /// How old the oldest event is that the read model lacks; `None` if it lacks none. An event with a
    /// time after `now` counts as new.
    pub fn age(&self, now: DateTime<Utc>) -> Option<Duration> {
        self.oldest.map(|oldest| (now - oldest).to_std().unwrap_or_default())
    }
}

impl fmt::Display for Lag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events, subjects, oldest, parked } = self;
        let Some(oldest) = oldest else { return formatter.write_str("0 events") };
        let oldest = oldest.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
        write!(formatter, "{events} events of {subjects} subjects, the oldest from {oldest}")?;
        match parked {
            0 => Ok(()),
            1 => formatter.write_str("; 1 subject parked"),
            parked => write!(formatter, "; {parked} subjects parked"),
        }
    }
}

/// Why the lag of a read model can't be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LagError<E> {
    /// The feed can't be read.
    #[error(transparent)]
    Feed(#[from] FeedError),
    /// A position can't be read.
    #[error("the position of `{subject}` can't be read")]
    Position {
        /// The subject.
        subject: String,
        /// The read model's error.
        source: E,
    },
}

/// What is known of a subject.
#[derive(Default)]
struct Subject {
    /// The last revision that the read model has.
    position: u64,
    is_parked: bool,
    /// How many events without a revision were listed. They count as the first ones.
    legacy: u64,
    /// Revisions and times of the events that it lacks.
    lacking: BTreeMap<u64, DateTime<Utc>>,
}

impl Follow {
    /// How many of the chosen events a read model lacks, and how old the oldest of these is. It reads
    /// the feed up to its end, from its beginning or [after](Self::after) a cursor.
    ///
    /// Choose the events that the read model takes, by [type](Self::types) and
    /// [subject](Self::subject_prefix); otherwise it seems to lack the others. It works with any
    /// [`ReadModel`], such as one in a relational database: only positions are read.
    ///
    /// # Cost
    /// That of following the feed, one [`ReadModel::position`] for each subject, and another one for
    /// each that lacks events. It takes memory for the names of the subjects.
    ///
    /// # Errors
    /// [`LagError::Feed`] and [`LagError::Position`].
    ///
    /// ```no_run
    /// # async fn example<Loans: eventdb::ReadModel>(feed: eventdb::Feed, loans: Loans)
    /// # -> Result<(), Box<dyn std::error::Error>> {
    /// let lag = feed.follow().types(["book.borrowed", "book.returned"]).lag_of(&loans).await?;
    /// println!("{lag}");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn lag_of<M: ReadModel>(self, read_model: &M) -> Result<Lag, LagError<M::Error>> {
        let mut subjects: HashMap<String, Subject> = HashMap::new();
        let mut pages = self.until_caught_up().stream();
        while let Some(page) = pages.try_next().await? {
            let mut new: Vec<String> = page
                .entries
                .iter()
                .filter(|entry| !subjects.contains_key(&entry.subject))
                .map(|entry| entry.subject.clone())
                .collect();
            new.sort_unstable();
            new.dedup();
            read_positions(read_model, new, &mut subjects).await?;
            for entry in page.entries {
                let FeedEntry { subject, revision, time, .. } = entry;
                let subject = subjects.entry(subject).or_default();
                let revision = revision.unwrap_or_else(|| {
                    subject.legacy += 1;
                    subject.legacy
                });
                if revision > subject.position {
                    subject.lacking.insert(revision, time);
                }
            }
        }
        // The read model has gone on meanwhile.
        subjects.retain(|_, subject| !subject.lacking.is_empty());
        let behind = subjects.keys().cloned().collect();
        read_positions(read_model, behind, &mut subjects).await?;
        let mut lag = Lag::default();
        for subject in subjects.values_mut() {
            subject.lacking.retain(|revision, _| *revision > subject.position);
            let Some(oldest) = subject.lacking.values().min() else { continue };
            lag.events += subject.lacking.len() as u64;
            lag.subjects += 1;
            lag.parked += u64::from(subject.is_parked);
            lag.oldest = Some(lag.oldest.map_or(*oldest, |earlier| earlier.min(*oldest)));
        }
        Ok(lag)
    }
}

async fn read_positions<M: ReadModel>(
    read_model: &M,
    names: Vec<String>,
    subjects: &mut HashMap<String, Subject>,
) -> Result<(), LagError<M::Error>> {
    let mut positions = stream::iter(names)
        .map(|subject| async move {
            match read_model.position(&subject).await {
                Ok(position) => Ok((subject, position)),
                Err(source) => Err(LagError::Position { subject, source }),
            }
        })
        .buffer_unordered(CONCURRENT_READS);
    while let Some((name, position)) = positions.try_next().await? {
        let subject = subjects.entry(name).or_default();
        subject.position = position.revision;
        subject.is_parked = position.parked.is_some();
    }
    Ok(())
}
