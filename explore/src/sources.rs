//! What the page can show besides the tables, if the one who serves it knows it.

use std::future::Future;
use std::pin::Pin;

use eventdb::BoxError;
use eventdb::chrono::{DateTime, Utc};
use serde::Serialize;

/// The future of an answer.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The bucket with the records that couldn't be published.
pub trait FailureBucket: Send + Sync + 'static {
    /// Lists at most 100 failed batches, in the order of their keys, after this key.
    ///
    /// # Errors
    /// If the bucket can't be listed.
    fn list(&self, after: Option<String>) -> BoxFuture<'_, Result<FailedBatches, BoxError>>;

    /// Reads one failed batch: its content as JSON.
    ///
    /// # Errors
    /// If it can't be read.
    fn read(&self, key: String) -> BoxFuture<'_, Result<serde_json::Value, BoxError>>;
}

/// Some failed batches.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FailedBatches {
    /// The batches.
    pub batches: Vec<FailedBatch>,
    /// Whether there are more.
    pub has_more: bool,
}

/// A batch of records that Lambda gave up on.
#[derive(Debug, Clone, Serialize)]
pub struct FailedBatch {
    /// The key of the object.
    pub key: String,
    /// When Lambda gave up.
    pub time: Option<DateTime<Utc>>,
    /// The size of the object, in bytes.
    pub bytes: u64,
}

/// How far the read models are.
pub trait LagOfReadModels: Send + Sync + 'static {
    /// How much each read model lacks.
    ///
    /// # Errors
    /// If it can't be found out.
    fn lag(&self) -> BoxFuture<'_, Result<Vec<ReadModelLag>, BoxError>>;
}

/// How much a read model lacks.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadModelLag {
    /// Its name.
    pub name: String,
    /// The number of events that it lacks; `None` if it isn't known.
    pub events: Option<u64>,
    /// The time of the oldest event that it lacks.
    pub oldest: Option<DateTime<Utc>>,
    /// What else is known, in words.
    pub note: Option<String>,
}
