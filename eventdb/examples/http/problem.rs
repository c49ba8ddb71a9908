//! Errors as problem details: <https://www.rfc-editor.org/rfc/rfc9457>.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use eventdb::{ExecuteError, LoadError};
use serde::Serialize;

use crate::account::Rejection;

#[derive(Debug, Serialize)]
pub(crate) struct Problem {
    #[serde(skip)]
    status_code: StatusCode,
    status: u16,
    title: &'static str,
    detail: String,
}

impl Problem {
    pub(crate) fn new(status_code: StatusCode, title: &'static str, detail: String) -> Self {
        Self { status_code, status: status_code.as_u16(), title, detail }
    }

    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "The request is incomplete or malformed", detail.into())
    }

    /// What clients can't do anything about is logged, and not told.
    fn ours(error: &(dyn std::error::Error + 'static), is_retryable: bool) -> Self {
        tracing::error!(error, "the request failed");
        if is_retryable {
            let detail = "The same request may succeed later.".to_owned();
            Self::new(StatusCode::SERVICE_UNAVAILABLE, "The service is busy", detail)
        } else {
            let detail = "The operators of the service have to look at it.".to_owned();
            Self::new(StatusCode::INTERNAL_SERVER_ERROR, "The service failed", detail)
        }
    }
}

impl From<ExecuteError<Rejection>> for Problem {
    fn from(error: ExecuteError<Rejection>) -> Self {
        match &error {
            ExecuteError::Domain(rejection) => {
                Self::new(StatusCode::CONFLICT, "The bank says no", rejection.to_string())
            }
            ExecuteError::OtherRevision { actual, .. } => Self::new(
                StatusCode::PRECONDITION_FAILED,
                "The account has changed",
                format!("Its ETag is \"{actual}\". Read it again and decide again."),
            ),
            ExecuteError::CommandReused { command, .. } => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "The idempotency key was used before",
                format!("The key {command} belongs to a request for another account."),
            ),
            ExecuteError::Store(eventdb::Error::Invalid(errors)) => {
                Self::bad_request(errors.to_string())
            }
            ExecuteError::Load(LoadError::Store(eventdb::Error::Invalid(errors))) => {
                Self::bad_request(errors.to_string())
            }
            // Sent again with the same key, it is booked once.
            ExecuteError::Store(eventdb::Error::OutcomeUnknown { .. }) => Self::ours(&error, true),
            _ => Self::ours(&error, error.is_retryable()),
        }
    }
}

impl From<LoadError> for Problem {
    fn from(error: LoadError) -> Self {
        match &error {
            LoadError::Store(eventdb::Error::Invalid(errors)) => {
                Self::bad_request(errors.to_string())
            }
            LoadError::Store(store) => Self::ours(&error, store.is_retryable()),
            _ => Self::ours(&error, false),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let retry = (self.status_code == StatusCode::SERVICE_UNAVAILABLE)
            .then_some([(header::RETRY_AFTER, "1")]);
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        (self.status_code, retry, kind, Json(self)).into_response()
    }
}
