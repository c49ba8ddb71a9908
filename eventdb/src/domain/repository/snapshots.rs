//! Snapshots: when they are written, and how far they are trusted.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::JoinHandle;

use super::load::{Loaded, Place};
use super::{EventsRead, Repository};
use crate::domain::aggregate::Aggregate;
use crate::domain::json;
use crate::event::path::Path;
use crate::store::Snapshot;
use crate::store::error::Error;

/// How the states of an aggregate are kept, so that long histories needn't be folded anew.
///
/// A snapshot lies beside the subject's head in the table, in no index, and isn't published. It is
/// written after an append, in the background, once `every` events have come since the last one.
/// It is a shortcut and never the truth: one of another version, one that can't be read, and one
/// whose last event isn't in the history are passed over and replaced. Removing them all changes
/// no answer.
///
/// For that the state's JSON must hold all that `apply` and the decisions look at: serde's `skip`
/// and rounding in the state itself make a state from a snapshot another one. So before a snapshot
/// is written its JSON is read back and must be written as the same JSON again (the order of arrays
/// doesn't count). A state that can't be read back, such as one with a NaN, is not written: see
/// [`SnapshotError`]. What serde leaves out both times can't be seen there;
/// [`testing::assert_snapshot_keeps`](crate::testing::assert_snapshot_keeps) compares the states.
///
/// With them, loading takes three requests however long the history, two of them at the same time:
/// half a read unit per 4 KB of the state, half a unit for the head, and the events since. Writing one takes a write unit per KB of the state, which as
/// JSON must fit in an item of 400 KB.
///
/// Where the original library writes to the same subject, no snapshot is taken while the last event
/// is one of its events. One that it stores with an earlier time than the snapshot's last event is
/// not in that snapshot.
///
/// ```
/// let snapshots = eventdb::Snapshots { name: "book", version: 1, every: 100 };
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshots {
    /// Tells apart the aggregates that are folded from the same subjects. At most 1,014 bytes.
    pub name: &'static str,
    /// Version of the state's schema. Raise it whenever the state, or what `apply` makes of an
    /// event, changes.
    pub version: u32,
    /// How many events later the next snapshot is written; 0 means the same as 1.
    pub every: u32,
}

/// [`Snapshots`] with the conversions, so that only those who use them need serde on their state.
pub(super) struct SnapshotCodec<A> {
    pub(super) policy: Snapshots,
    encode: fn(&A) -> Result<String, serde_json::Error>,
    decode: fn(&str) -> Result<A, serde_json::Error>,
}

impl<A> Clone for SnapshotCodec<A> {
    fn clone(&self) -> Self {
        Self { policy: self.policy, encode: self.encode, decode: self.decode }
    }
}

impl<A> fmt::Debug for SnapshotCodec<A> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.policy.fmt(formatter)
    }
}

impl<A: Serialize + DeserializeOwned> SnapshotCodec<A> {
    pub(super) fn new(policy: Snapshots) -> Self {
        Self { policy, encode: serde_json::to_string, decode: |state| serde_json::from_str(state) }
    }
}

/// The write of a snapshot, which runs in the background whether or not this is awaited.
///
/// Await it where the process may be stopped after the answer, as in a Lambda function. A failure
/// is logged, and the next append writes the snapshot instead.
///
/// ```no_run
/// # async fn example<A>(executed: eventdb::Executed<A>) -> Result<(), eventdb::SnapshotError> {
/// if let Some(write) = executed.snapshot {
///     write.await?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct SnapshotWrite(JoinHandle<Result<(), SnapshotError>>);

impl Future for SnapshotWrite {
    type Output = Result<(), SnapshotError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // The task ends otherwise only with its runtime, and then nobody polls.
        Pin::new(&mut self.0).poll(context).map(|joined| joined.unwrap_or(Ok(())))
    }
}

/// A snapshot that was not written. The events are stored all the same, and loading folds them.
///
/// ```
/// # use eventdb::SnapshotError;
/// fn is_a_mistake_in_the_state(error: &SnapshotError) -> bool {
///     !matches!(error, SnapshotError::Store(_))
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The state can't be written as JSON.
    #[error("the state can't be written as JSON")]
    Unserializable(#[source] serde_json::Error),

    /// The state's JSON can't be read as a state.
    #[error(
        "the state couldn't be read again from its JSON (NaN and infinite numbers become null \
         there)"
    )]
    NotReadBack(#[source] serde_json::Error),

    /// The state's JSON is read as another state.
    #[error("`{path}` would be read back as something else than what is written")]
    ReadAsAnother {
        /// Where in the state, as `state.loans.0`.
        path: String,
    },

    /// The store failed, or the state's JSON doesn't fit in an item.
    #[error(transparent)]
    Store(#[from] Error),
}

impl<A: Aggregate> SnapshotCodec<A> {
    /// An error unless a state that is read from this JSON is written alike again.
    fn check(&self, json: &str) -> Result<(), SnapshotError> {
        let read = (self.decode)(json).map_err(SnapshotError::NotReadBack)?;
        let again = (self.encode)(&read).map_err(SnapshotError::Unserializable)?;
        if again == json {
            return Ok(());
        }
        let values = [json, &again].map(serde_json::from_str::<serde_json::Value>);
        let [Ok(written), Ok(read)] = values else {
            return Err(SnapshotError::ReadAsAnother { path: STATE.to_owned() });
        };
        match json::difference(&written, &read, &Path::new(STATE)) {
            Some(path) => Err(SnapshotError::ReadAsAnother { path }),
            None => Ok(()),
        }
    }
}

/// What paths in a state begin with.
const STATE: &str = "state";

impl<A: Aggregate> Repository<A> {
    /// Where to begin according to the snapshot, if there is one to begin with.
    pub(super) async fn begin_with_snapshot(&self, subject: &str) -> Option<Loaded<A>> {
        let SnapshotCodec { policy, decode, .. } = self.snapshots.as_ref()?;
        let passed_over = |reason: &dyn fmt::Display| {
            tracing::warn!(
                target: "eventdb", subject, aggregate = policy.name,
                "a snapshot is passed over: {reason}"
            );
        };
        let snapshot = match self.db.table().snapshot(subject, policy.name).await {
            Ok(snapshot) => snapshot?,
            Err(error) => {
                passed_over(&error);
                return None;
            }
        };
        if snapshot.version != policy.version {
            tracing::debug!(
                target: "eventdb", subject, aggregate = policy.name,
                "a snapshot of version {} is passed over", snapshot.version
            );
            return None;
        }
        match decode(&snapshot.state) {
            Ok(state) => Some(Loaded {
                subject: subject.to_owned(),
                state,
                revision: snapshot.revision,
                read: EventsRead { snapshot: Some(snapshot.revision), ..EventsRead::default() },
                last: Some(Place { time: snapshot.last_time, id: snapshot.last_id }),
                numbered: false,
                uncounted: None,
                snapshot: snapshot.revision,
            }),
            // Its text may quote the state.
            Err(_) => {
                passed_over(&"its state doesn't have the shape of the aggregate");
                None
            }
        }
    }

    /// Begins to write a snapshot if it is time for one.
    pub(super) fn write_snapshot(&self, loaded: &mut Loaded<A>) -> Option<SnapshotWrite> {
        let codec = self.snapshots.clone()?;
        let last = loaded.last.as_ref()?;
        let since = loaded.revision.saturating_sub(loaded.snapshot);
        if since < u64::from(codec.policy.every.max(1)) || loaded.uncounted.is_some() {
            return None;
        }
        let state = (codec.encode)(&loaded.state).map_err(SnapshotError::Unserializable);
        let snapshot = |state| Snapshot {
            revision: loaded.revision,
            last_time: last.time,
            last_id: last.id.clone(),
            version: codec.policy.version,
            state,
        };
        let snapshot = state.map(snapshot);
        loaded.snapshot = loaded.revision;
        let db = self.db.clone();
        let subject = loaded.subject.clone();
        Some(SnapshotWrite(tokio::spawn(async move {
            let SnapshotCodec { policy, .. } = codec;
            let written = async {
                let snapshot = snapshot?;
                codec.check(&snapshot.state)?;
                Ok(db.table().put_snapshot(&subject, policy.name, snapshot).await?)
            };
            let written = written.await;
            if let Err(error) = &written {
                // The causes may quote the state.
                tracing::warn!(
                    target: "eventdb", subject, aggregate = policy.name,
                    "a snapshot was not written: {error}"
                );
            }
            written
        })))
    }
}
