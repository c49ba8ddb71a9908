//! Aggregates in the store: loading, decisions and snapshots.

mod attempt;
mod decide;
mod error;
mod execute;
mod execute_with;
mod load;
mod snapshots;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use decide::{Decided, Decision, DecisionRequest};
pub use error::{ExecuteError, LoadError};
pub use execute::{Execute, Executed};
pub use execute_with::ExecuteWith;
pub use load::{EventsRead, Loaded};
pub use snapshots::{SnapshotError, SnapshotWrite, Snapshots};

use crate::domain::aggregate::Aggregate;
use crate::event::ExtensionValue;
use crate::store::EventDb;
use snapshots::SnapshotCodec;

/// The aggregates of one type in a store. It loads them and executes decisions on them.
///
/// It has no state, and cloning it is cheap.
///
/// ```
/// use eventdb::{Aggregate, DomainEvent, EmbeddedDynamoDb, EventDb, Repository, UnknownTypes};
/// # use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// enum BookEvent {
///     #[serde(rename = "book.borrowed")]
///     Borrowed { user: String },
/// }
/// # impl DomainEvent for BookEvent { const UNKNOWN_TYPES: UnknownTypes = UnknownTypes::Reject; }
///
/// #[derive(Default)]
/// struct Book {
///     borrower: Option<String>,
/// }
/// # impl Aggregate for Book {
/// #     type Event = BookEvent;
/// #     fn apply(&mut self, BookEvent::Borrowed { user }: BookEvent) { self.borrower = Some(user); }
/// # }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dynamodb = EmbeddedDynamoDb::in_memory().await?;
/// # EventDb::create_table(&dynamodb.client(), "LibraryEvents").await?;
/// # let db = EventDb::new(dynamodb.client(), "LibraryEvents");
/// let books = Repository::<Book>::new(&db, "https://library.example.com");
/// let borrowed = books
///     .execute("book:123", |book| match book.borrower {
///         None => Ok([BookEvent::Borrowed { user: "user:456".to_owned() }]),
///         Some(_) => Err("somebody has it"),
///     })
///     .await?;
/// assert_eq!(borrowed.aggregate.revision, 1);
/// assert_eq!(books.load("book:123").await?.state.borrower.as_deref(), Some("user:456"));
/// # Ok(())
/// # }
/// ```
pub struct Repository<A> {
    db: EventDb,
    source: Arc<str>,
    extensions: BTreeMap<String, ExtensionValue>,
    snapshots: Option<SnapshotCodec<A>>,
}

impl<A> Clone for Repository<A> {
    fn clone(&self) -> Self {
        Self {
            db: self.db.clone(),
            source: self.source.clone(),
            extensions: self.extensions.clone(),
            snapshots: self.snapshots.clone(),
        }
    }
}

impl<A> fmt::Debug for Repository<A> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Repository")
            .field("db", &self.db)
            .field("source", &self.source)
            .field("snapshots", &self.snapshots)
            .finish_non_exhaustive()
    }
}

impl<A: Aggregate> Repository<A> {
    /// The aggregates in the given store. New events have the given `source`.
    pub fn new(db: &EventDb, source: impl Into<String>) -> Self {
        Self {
            db: db.clone(),
            source: source.into().into(),
            extensions: BTreeMap::new(),
            snapshots: None,
        }
    }

    /// The same repository, but its new events also have this CloudEvents extension attribute, such
    /// as the `traceparent` of the current request.
    ///
    /// ```no_run
    /// # use eventdb::{Aggregate, Repository};
    /// # fn example<Book: Aggregate>(books: &Repository<Book>, traceparent: &str) {
    /// let books = books.with_extension("traceparent", traceparent);
    /// # }
    /// ```
    #[must_use]
    pub fn with_extension(
        &self,
        name: impl Into<String>,
        value: impl Into<ExtensionValue>,
    ) -> Self {
        let mut same = self.clone();
        same.extensions.insert(name.into(), value.into());
        same
    }

    /// The same repository, with snapshots: see [`Snapshots`].
    ///
    /// ```no_run
    /// # use eventdb::{Aggregate, Repository, Snapshots};
    /// # fn example<Book>(books: Repository<Book>)
    /// # where Book: Aggregate + serde::Serialize + serde::de::DeserializeOwned {
    /// let books = books.with_snapshots(Snapshots { name: "book", version: 1, every: 100 });
    /// # }
    /// ```
    #[must_use]
    pub fn with_snapshots(&self, snapshots: Snapshots) -> Self
    where
        A: Serialize + DeserializeOwned,
    {
        Self { snapshots: Some(SnapshotCodec::new(snapshots)), ..self.clone() }
    }
}
