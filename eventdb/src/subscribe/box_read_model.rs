//! Read models of different types in one collection.

use std::fmt;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::event::{BoxError, Event};
use crate::subscribe::read_model::{ApplyOutcome, Position, ReadModel, Step};

/// A read model whose type isn't known when the program is compiled, for example one of several in a
/// list. Cheap to clone.
///
/// ```
/// use eventdb::{BoxReadModel, Event, EventDb, Projection, ReadModel, ReceivedMessage};
///
/// /// One consumer that feeds several views.
/// async fn feed(views: &[BoxReadModel], db: &EventDb, message: &ReceivedMessage)
/// -> Result<(), Box<dyn std::error::Error>> {
///     for view in views {
///         Projection::new(view).reading(db).handle(message).await?;
///     }
///     Ok(())
/// }
///
/// fn views(loans: impl ReadModel + 'static, fines: impl ReadModel + 'static) -> [BoxReadModel; 2] {
///     [BoxReadModel::new(loans), BoxReadModel::new(fines)]
/// }
/// ```
#[derive(Clone)]
pub struct BoxReadModel(Arc<dyn AnyReadModel>);

/// The error of a [`BoxReadModel`]: that of the read model in it. It says the same, and can be
/// downcast.
///
/// ```
/// fn is_of_dynamodb(error: &eventdb::BoxReadModelError) -> bool {
///     error.as_inner().is::<eventdb::ReadModelError>()
/// }
/// ```
#[derive(Debug)]
pub struct BoxReadModelError(BoxError);

trait AnyReadModel: Send + Sync {
    fn position<'a>(&'a self, subject: &'a str) -> BoxFuture<'a, Result<Position, BoxError>>;

    fn apply<'a>(
        &'a self,
        event: &'a Event,
        step: &'a Step,
    ) -> BoxFuture<'a, Result<ApplyOutcome, BoxError>>;
}

impl<M: ReadModel> AnyReadModel for M {
    fn position<'a>(&'a self, subject: &'a str) -> BoxFuture<'a, Result<Position, BoxError>> {
        ReadModel::position(self, subject).map(|read| read.map_err(BoxError::from)).boxed()
    }

    fn apply<'a>(
        &'a self,
        event: &'a Event,
        step: &'a Step,
    ) -> BoxFuture<'a, Result<ApplyOutcome, BoxError>> {
        ReadModel::apply(self, event, step).map(|applied| applied.map_err(BoxError::from)).boxed()
    }
}

impl BoxReadModel {
    /// Hides the type of a read model.
    pub fn new(read_model: impl ReadModel + 'static) -> Self {
        Self(Arc::new(read_model))
    }
}

impl ReadModel for BoxReadModel {
    type Error = BoxReadModelError;

    async fn position(&self, subject: &str) -> Result<Position, BoxReadModelError> {
        self.0.position(subject).await.map_err(BoxReadModelError)
    }

    async fn apply(&self, event: &Event, step: &Step) -> Result<ApplyOutcome, BoxReadModelError> {
        self.0.apply(event, step).await.map_err(BoxReadModelError)
    }
}

impl fmt::Debug for BoxReadModel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("BoxReadModel").finish_non_exhaustive()
    }
}

impl BoxReadModelError {
    /// The read model's error.
    pub fn as_inner(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
        &*self.0
    }
}

impl fmt::Display for BoxReadModelError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl std::error::Error for BoxReadModelError {
    // The message is that of the read model's error, so the source is its cause.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}
