//! Classifying the failure of a request: whether it was carried out and may be repeated.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_dynamodb::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};

use crate::store::error::BoxError;

/// Whether a failed request was carried out and may be repeated.
#[derive(Debug)]
pub(crate) enum Failure<E> {
    /// It wasn't carried out and may be sent again.
    Busy(BoxError),
    /// No answer came: it may have been carried out.
    Unanswered(BoxError),
    /// It wasn't carried out, and repeating it won't help.
    Refused(BoxError),
    /// The service returned an error that the caller has to interpret.
    Service(E),
}

impl<E: std::error::Error + Send + Sync + 'static> Failure<E> {
    /// The same for a caller that doesn't look into the service's error.
    pub(crate) fn boxed(self) -> Failure<BoxError> {
        match self {
            Self::Busy(source) => Failure::Busy(source),
            Self::Unanswered(source) => Failure::Unanswered(source),
            Self::Refused(source) => Failure::Refused(source),
            Self::Service(error) => Failure::Service(Box::new(error)),
        }
    }
}

/// Error codes of requests that may be repeated.
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

/// Error codes of requests whose credentials are invalid or have expired.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/CommonErrors.html>
const CREDENTIALS_CODES: [&str; 6] = [
    "ExpiredTokenException",
    "ExpiredToken",
    "UnrecognizedClientException",
    "InvalidClientTokenId",
    "MissingAuthenticationTokenException",
    "InvalidSignatureException",
];

/// Whether a request was passed to the network. The client reports it just before, once it has the
/// endpoint, the credentials and the signature.
#[derive(Debug, Clone, Default)]
pub(crate) struct Transmission(Arc<AtomicBool>);

impl Transmission {
    fn has_begun(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Intercept for Transmission {
    fn name(&self) -> &'static str {
        "eventdb::Transmission"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.store(true, Ordering::Release);
        Ok(())
    }
}

/// A request that wasn't sent, and what to do about it.
#[derive(Debug)]
pub(crate) struct NeverSent {
    advice: &'static str,
    source: Option<BoxError>,
}

impl NeverSent {
    fn new(advice: &'static str, source: impl Into<BoxError>) -> Box<Self> {
        Box::new(Self { advice, source: Some(source.into()) })
    }
}

impl fmt::Display for NeverSent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "nothing was sent: {}", self.advice)
    }
}

impl StdError for NeverSent {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// DynamoDB doesn't accept the credentials.
#[derive(Debug, thiserror::Error)]
#[error("DynamoDB doesn't accept the credentials: renew them, or check which ones the client uses")]
struct CredentialsNotAccepted(#[source] BoxError);

/// The time limit for one request has passed.
#[derive(Debug, thiserror::Error)]
#[error("no answer within the time limit")]
struct NoAnswer;

impl<E> Failure<E> {
    /// No answer came within the time limit.
    pub(crate) fn of_silence(transmission: &Transmission) -> Self {
        if transmission.has_begun() {
            Self::Unanswered(Box::new(NoAnswer))
        } else {
            let advice = "the client got no credentials within the time limit; check its \
                          credentials provider";
            Self::Busy(Box::new(NeverSent { advice, source: None }))
        }
    }
}

impl<E> Failure<E>
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    pub(crate) fn of(error: SdkError<E>, transmission: &Transmission) -> Self {
        match error {
            SdkError::ServiceError(context) => {
                let status = context.raw().status().as_u16();
                let error = context.into_err();
                match error.code() {
                    Some(code) if BUSY_CODES.contains(&code) => Self::Busy(Box::new(error)),
                    Some(code) if CREDENTIALS_CODES.contains(&code) => {
                        Self::Refused(Box::new(CredentialsNotAccepted(Box::new(error))))
                    }
                    Some("TransactionInProgressException") => Self::Unanswered(Box::new(error)),
                    // A 5xx answer doesn't say whether the request was carried out.
                    _ if status >= 500 => Self::Unanswered(Box::new(error)),
                    _ => Self::Service(error),
                }
            }
            error if !transmission.has_begun() => {
                if credentials_may_arrive(&error) {
                    Self::Busy(NeverSent::new(
                        "the client got no credentials in time; check its credentials provider",
                        error,
                    ))
                } else {
                    Self::Refused(NeverSent::new(repair(&error), error))
                }
            }
            error if is_about_trust(&error) => {
                let advice = "the certificate of the endpoint isn't trusted; check the endpoint's \
                              address and the authorities that the client trusts";
                Self::Refused(NeverSent::new(advice, error))
            }
            error if no_connection(&error) => {
                let advice = "no connection; check the endpoint's address and the network";
                Self::Busy(NeverSent::new(advice, error))
            }
            error => Self::Unanswered(error.into()),
        }
    }
}

/// An error and all its causes, including the errors that an [`std::io::Error`] wraps.
fn chain<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| match error.downcast_ref::<std::io::Error>() {
        Some(io) => io.get_ref().map(|inner| inner as &(dyn StdError + 'static)),
        None => error.source(),
    })
}

/// Whether the credentials are only late, or their provider is temporarily unreachable.
fn credentials_may_arrive(error: &(dyn StdError + 'static)) -> bool {
    chain(error).filter_map(|error| error.downcast_ref::<CredentialsError>()).any(|error| {
        matches!(
            error,
            CredentialsError::ProviderTimedOut(_)
                | CredentialsError::ProviderError(_)
                | CredentialsError::Unhandled(_)
        )
    })
}

/// What to repair if the client couldn't build the request.
fn repair(error: &(dyn StdError + 'static)) -> &'static str {
    if chain(error).any(|error| error.is::<CredentialsError>()) {
        return "there are no credentials; configure a credentials provider for the client";
    }
    let text = |word: &str| chain(error).any(|error| error.to_string().contains(word));
    if text("egion") {
        "the client has no region; set one, for example with AWS_REGION"
    } else if text("ndpoint") {
        "the client has no usable endpoint; correct its endpoint URL, or remove it"
    } else if text("auth") || text("identity") {
        "there are no credentials; configure a credentials provider for the client"
    } else {
        "the client's configuration is incomplete"
    }
}

/// Whether the connection was closed before anything was sent, because the client doesn't trust the
/// server's certificate.
fn is_about_trust(error: &(dyn StdError + 'static)) -> bool {
    chain(error).any(|error| {
        matches!(
            error.downcast_ref::<rustls::Error>(),
            Some(
                rustls::Error::InvalidCertificate(_)
                    | rustls::Error::NoCertificatesPresented
                    | rustls::Error::UnsupportedNameType
            )
        )
    })
}

/// Whether no connection was established (an unknown host name, or nothing listens there). Nothing
/// was sent then.
fn no_connection(error: &(dyn StdError + 'static)) -> bool {
    use hyper_util::client::legacy::Error as ClientError;
    chain(error).any(|error| {
        error.downcast_ref::<ClientError>().is_some_and(ClientError::is_connect)
            || error
                .downcast_ref::<std::io::Error>()
                .is_some_and(|io| io.kind() == std::io::ErrorKind::ConnectionRefused)
    })
}
