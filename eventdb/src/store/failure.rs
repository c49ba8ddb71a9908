//! Sending one request: its span, what it consumed, and what its failure means.

use std::future::Future;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types;
use tracing::Instrument;

use crate::store::EventDb;
use crate::store::capacity::{ConsumedCapacity, Kind};
use crate::store::error::{BoxError, Error};

/// What the failure of a request says about the request.
#[derive(Debug)]
pub(crate) enum Failure<E> {
    /// It wasn't carried out and may be sent again.
    Busy(BoxError),
    /// No answer came: it may have been carried out.
    Unanswered(BoxError),
    /// It wasn't carried out, and never will be as it is.
    Refused(BoxError),
    /// The service's own word, for the caller to look into.
    Service(E),
}

/// Codes with which DynamoDB asks to be asked again.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html>
const BUSY_CODES: [&str; 7] = [
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ThrottlingException",
    "Throttling",
    "LimitExceededException",
    "ReplicatedWriteConflictException",
    "TransactionConflictException",
];

impl<E> Failure<E>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    pub(crate) fn of(error: SdkError<E>) -> Self {
        match error {
            SdkError::ServiceError(context) => {
                let status = context.raw().status().as_u16();
                let error = context.into_err();
                match error.code() {
                    Some(code) if BUSY_CODES.contains(&code) => Self::Busy(Box::new(error)),
                    Some("TransactionInProgressException") => Self::Unanswered(Box::new(error)),
                    // An answer of 5xx doesn't tell how far the service had come.
                    _ if status >= 500 => Self::Unanswered(Box::new(error)),
                    _ => Self::Service(error),
                }
            }
            SdkError::ConstructionFailure(_) => Self::Refused(Box::new(error)),
            error if is_connection_refused(&error) => Self::Busy(Box::new(error)),
            error => Self::Unanswered(Box::new(error)),
        }
    }
}

/// Nothing was sent when nobody listens.
fn is_connection_refused(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<std::io::Error>()
            && io.kind() == std::io::ErrorKind::ConnectionRefused
        {
            return true;
        }
        next = error.source();
    }
    false
}

impl EventDb {
    /// Sends a request inside a span with OpenTelemetry's names for databases, and meters it.
    /// <https://opentelemetry.io/docs/specs/semconv/database/dynamodb/>
    pub(crate) async fn send<O, E>(
        &self,
        operation: &'static str,
        kind: Kind,
        request: impl Future<Output = Result<O, SdkError<E>>>,
        consumed: impl FnOnce(&O) -> &[types::ConsumedCapacity],
    ) -> Result<O, Failure<E>>
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let span = tracing::info_span!(
            target: "eventdb",
            "DynamoDB",
            otel.name = operation,
            otel.kind = "client",
            otel.status_code = tracing::field::Empty,
            db.system.name = "aws.dynamodb",
            db.operation.name = operation,
            db.collection.name = &*self.table,
            aws.dynamodb.consumed_capacity = tracing::field::Empty,
            error.r#type = tracing::field::Empty,
        );
        let result = request.instrument(span.clone()).await;
        let consumed = match &result {
            Ok(output) => {
                let consumed = ConsumedCapacity::of_request(kind, consumed(output));
                span.record(
                    "aws.dynamodb.consumed_capacity",
                    consumed.read_units + consumed.write_units,
                );
                consumed
            }
            Err(error) => {
                span.record("otel.status_code", "ERROR");
                span.record("error.type", error.code().unwrap_or("no answer"));
                ConsumedCapacity { requests: 1, ..ConsumedCapacity::default() }
            }
        };
        if let Some(meter) = &self.meter {
            meter.add(&consumed);
        }
        result.map_err(Failure::of)
    }

    /// The error of a failed read, which the client has retried already.
    pub(crate) fn read_error<E>(&self, failure: Failure<E>) -> Error
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        match failure {
            Failure::Busy(source) | Failure::Unanswered(source) => {
                Error::Unavailable { attempts: 1, source }
            }
            Failure::Refused(source) => self.refused(source),
            Failure::Service(source) => self.refused(Box::new(source)),
        }
    }

    pub(crate) fn refused(&self, source: BoxError) -> Error {
        Error::Refused { table: self.table.to_string(), source }
    }
}
