//! Snapshots: when they are written, and when they are used.

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
use crate::store::error::Error;
use crate::store::snapshot::Snapshot;

/// Saves states of an aggregate, so that long histories needn't be folded each time.
///
/// A snapshot is an item in the table. It isn't in any index and isn't published. It is written in
/// the background after an append, as soon as there are `every` events since the last one. Snapshots
/// are only a cache: those with another version, unreadable ones, and those whose last event isn't in
/// the history are ignored and replaced. Deleting all of them changes no result.
///
/// So the state's JSON must contain everything that `apply` and the decisions use. With serde's
/// `skip` or with rounding in the state, a state from a snapshot would differ. So before a snapshot is
/// written, its JSON is read back and must give the same JSON again (except for the order of
/// arrays). A state that can't be read back, such as one with a NaN, isn't written: see
/// [`SnapshotError`]. This check can't find values that serde leaves out in both directions.
/// [`testing::assert_snapshot_keeps`](crate::testing::assert_snapshot_keeps) compares the states.
///
/// With snapshots, loading takes three requests for a history of any length, two of them concurrent:
/// half a read unit per 4 KB of the state, half a read unit for the head, and the later events.
/// Writing a snapshot takes a write unit per KB of the state. The state's JSON must fit in an item of
/// 400 KB.
///
/// If the original library writes to the same subject, no snapshot is written while the last event is
/// one of its events. If it later stores an event with an earlier time than the snapshot's last
/// event, the snapshot doesn't include that event.
///
/// ```
/// let snapshots = eventdb::Snapshots { name: "book", version: 1, every: 100 };
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshots {
    /// Distinguishes aggregates that are folded from the same subjects. At most 1,014 bytes.
    pub name: &'static str,
    /// Version of the state's schema. Increase it whenever the state or `apply` changes.
    pub version: u32,
    /// The number of events between two snapshots; 0 means the same as 1.
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
/// Await it if the process may be stopped after the answer, as in a Lambda function. A failure is
/// logged, and the next append writes the snapshot instead.
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

/// A snapshot that wasn't written. The events are stored anyway, and loading folds them.
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
        /// The path in the state, such as `state.loans.0`.
        path: String,
    },

    /// The store failed, or the state's JSON doesn't fit in an item.
    #[error(transparent)]
    Store(#[from] Error),
}

impl<A: Aggregate> SnapshotCodec<A> {
    /// Checks that a state that is read from this JSON gives the same JSON again.
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
    /// The state in the snapshot, if there is a valid one.
    pub(super) async fn begin_with_snapshot(&self, subject: &str) -> Option<Loaded<A>> {
        let SnapshotCodec { policy, decode, .. } = self.snapshots.as_ref()?;
        let passed_over = |reason: &dyn fmt::Display| {
            tracing::warn!(
                target: "eventdb", subject, aggregate = policy.name,
                "a snapshot is passed over: {reason}"
            );
        };
        let snapshot =
            match self.db.table().layout().snapshot(self.db.table(), subject, policy.name).await {
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
                known: None,
            }),
            // Its text may quote the state.
            Err(_) => {
                passed_over(&"its state doesn't have the shape of the aggregate");
                None
            }
        }
    }

    /// Starts writing a snapshot if one is due.
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
                let table = db.table();
                Ok(table.layout().put_snapshot(table, &subject, policy.name, snapshot).await?)
            };
            let written = written.await;
            if let Err(error) = &written {
                // The causes may quote the state.
                tracing::warn!(
                    target: "eventdb", subject, aggregate = policy.name,
                    "a snapshot wasn't written: {error}"
                );
            }
            written
        })))
    }
}
