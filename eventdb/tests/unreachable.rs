//! What the store says when a request can't reach DynamoDB: what never left the process is never
//! an unknown outcome, and nobody waits longer than the time limits.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    reason = "a test fails by a panic"
)]

use std::future::{Future, IntoFuture};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_dynamodb::config::{
    BehaviorVersion, Builder, Credentials, ProvideCredentials, Region, SharedCredentialsProvider,
};
use aws_sdk_dynamodb::{Client, Config};
use eventdb::{Error, EventCandidate, EventDb, Precondition, TimeLimits};
use serde_json::json;
use tokio::net::TcpListener;

/// Limits short enough for a test, and long enough for several attempts.
fn short() -> TimeLimits {
    TimeLimits::default().attempt(Duration::from_millis(150)).operation(Duration::from_millis(900))
}

/// Everything a client needs, but nobody listens at its endpoint.
fn complete() -> Builder {
    Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("eu-west-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .endpoint_url("http://127.0.0.1:9")
}

fn store(configuration: Builder) -> EventDb {
    EventDb::new(Client::from_conf(configuration.build()), "TestEvents").with_time_limits(short())
}

fn append(db: &EventDb) -> impl Future<Output = Result<Vec<eventdb::Event>, Error>> {
    let candidate = EventCandidate::builder()
        .source("https://library.example.com")
        .ty("book.borrowed")
        .subject("book:1")
        .data(json!({}))
        .build();
    // Nothing has to be read before it is sent.
    db.add_new_events([candidate])
        .only_if(Precondition::subject_is_at_revision("book:1", 7))
        .into_future()
}

/// The errors of an append and of a read, and that each came within the time limits.
async fn errors(db: &EventDb, limits: TimeLimits) -> [Error; 2] {
    let begun = Instant::now();
    let append = append(db).await.unwrap_err();
    let read = db.fetch_events_for_subject("book:1").await.unwrap_err();
    let most = limits.operation * 2 + Duration::from_secs(2);
    assert!(begun.elapsed() < most, "it took {:?}", begun.elapsed());
    [append, read]
}

async fn assert_refused(db: &EventDb, advice: &str) {
    let begun = Instant::now();
    for error in errors(db, short()).await {
        assert!(
            matches!(&error, Error::Refused { table, .. } if table == "TestEvents"),
            "{error:?}"
        );
        assert!(!error.is_retryable());
        let text = format!("{error:#}");
        assert!(text.contains("nothing was sent") && text.contains(advice), "{text}");
    }
    // No pause, no second attempt.
    assert!(begun.elapsed() < short().operation, "it took {:?}", begun.elapsed());
}

async fn assert_unavailable(db: &EventDb, limits: TimeLimits) {
    for error in errors(db, limits).await {
        let Error::Unavailable { attempts, table, .. } = &error else { panic!("{error:#}") };
        assert!(*attempts > 1, "it was tried again: {error:#}");
        assert_eq!(table, "TestEvents");
        assert!(error.is_retryable());
        assert!(error.to_string().contains("nothing was sent"), "{error}");
    }
}

/// A provider that answers as the function says.
#[derive(Debug)]
struct Provider(fn() -> Option<CredentialsError>);

impl ProvideCredentials for Provider {
    fn provide_credentials<'a>(
        &'a self,
    ) -> aws_credential_types::provider::future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let answer = (self.0)();
        aws_credential_types::provider::future::ProvideCredentials::new(async move {
            match answer {
                Some(error) => Err(error),
                None => std::future::pending().await,
            }
        })
    }
}

fn with_provider(answer: fn() -> Option<CredentialsError>) -> EventDb {
    store(complete().credentials_provider(SharedCredentialsProvider::new(Provider(answer))))
}

#[tokio::test]
async fn without_credentials_it_is_refused_immediately() {
    let none = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("eu-west-1"))
        .endpoint_url("http://127.0.0.1:9");
    assert_refused(&store(none), "no credentials").await;
    let not_loaded = with_provider(|| Some(CredentialsError::not_loaded("no profile")));
    assert_refused(&not_loaded, "no credentials").await;
    let wrong = with_provider(|| Some(CredentialsError::invalid_configuration("a loop of roles")));
    assert_refused(&wrong, "a loop of roles").await;
}

#[tokio::test]
async fn without_a_region_it_is_refused_immediately() {
    let none = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(Credentials::new("test", "test", None, None, "test"));
    assert_refused(&store(none), "region").await;
}

#[tokio::test]
async fn an_endpoint_that_is_no_address_is_refused_immediately() {
    for endpoint in ["dynamodb", "not an address"] {
        assert_refused(&store(complete().endpoint_url(endpoint)), "endpoint").await;
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_refused_immediately() {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let configuration = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key.unwrap())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(configuration));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let _ = acceptor.accept(connection).await;
        }
    });
    let untrusted = store(complete().endpoint_url(format!("https://localhost:{port}")))
        // The authorities of the system are read first.
        .with_time_limits(TimeLimits::default());
    for error in errors(&untrusted, short()).await {
        assert!(matches!(error, Error::Refused { .. }), "{error:#}");
        let text = format!("{error:#}");
        assert!(text.contains("nothing was sent") && text.contains("certificate"), "{text}");
    }
}

#[tokio::test]
async fn credentials_that_do_not_come_are_waited_for_and_nothing_was_sent() {
    assert_unavailable(&with_provider(|| None), short()).await;
    let failed = || Some(CredentialsError::provider_error("503"));
    assert_unavailable(&with_provider(failed), short()).await;
    let late = || Some(CredentialsError::provider_timed_out(Duration::from_secs(5)));
    assert_unavailable(&with_provider(late), short()).await;
}

#[tokio::test]
async fn a_name_that_nobody_knows_and_a_port_where_nobody_listens_are_tried_again() {
    // The limit of an attempt isn't short: after it, nobody knows whether a request was sent, and it is the
    // system that says how long it looks for a name.
    let limits = short().attempt(Duration::from_secs(5)).operation(Duration::from_secs(2));
    let name = store(complete().endpoint_url("http://dynamodb.invalid")).with_time_limits(limits);
    let port = store(complete()).with_time_limits(limits);
    tokio::join!(assert_unavailable(&name, limits), assert_unavailable(&port, limits));
}

#[tokio::test]
async fn an_endpoint_that_stays_silent_ends_an_append_as_unknown_within_the_time_limit() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut silent = Vec::new();
        while let Ok((connection, _)) = listener.accept().await {
            silent.push(connection);
        }
    });
    let [append, read] = errors(&store(complete().endpoint_url(endpoint)), short()).await;
    let Error::OutcomeUnknown { attempts, .. } = &append else { panic!("{append:#}") };
    assert!(*attempts > 1);
    assert!(format!("{append:#}").contains("no answer within the time limit"), "{append:#}");
    assert!(matches!(&read, Error::Unavailable { operation: "Query", .. }), "{read:#}");
}

#[test]
fn the_time_limits_are_as_documented() {
    let limits = TimeLimits::default();
    assert_eq!(limits.attempt, Duration::from_secs(5));
    assert_eq!(limits.operation, Duration::from_secs(30));
}
