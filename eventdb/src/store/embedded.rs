//! A DynamoDB emulator in the process, for experiments and tests.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use aws_credential_types::provider::{ProvideCredentials, future};
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::{Client, Config};
use dynoxide::Database;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A DynamoDB emulator that runs in this process on a free port of 127.0.0.1. The AWS client uses it
/// like the real DynamoDB.
///
/// The emulator is [dynoxide](https://docs.rs/dynoxide-rs), which is built on SQLite. Unlike the real
/// DynamoDB, it never throttles, updates its indexes immediately, and accepts any credentials. It
/// runs as long as this value or one of its clients exists, or until [`stop`](Self::stop).
///
/// ```
/// use eventdb::{EmbeddedDynamoDb, EventDb};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let dynamodb = EmbeddedDynamoDb::in_memory().await?;
/// EventDb::create_table(&dynamodb.client(), "TestEvents").await?;
/// let db = EventDb::new(dynamodb.client(), "TestEvents");
/// assert!(db.fetch_events_for_subject("book:123").await?.events.is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct EmbeddedDynamoDb {
    endpoint: String,
    running: Arc<Running>,
    server: JoinHandle<()>,
}

/// The server stops when the last one who has this is dropped.
#[derive(Debug)]
struct Running(Mutex<Option<oneshot::Sender<()>>>);

/// The credentials of a client, which keep the server running.
#[derive(Debug)]
struct KeepsRunning {
    _running: Arc<Running>,
}

impl ProvideCredentials for KeepsRunning {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let credentials = Credentials::new("embedded", "embedded", None, None, "embedded");
        future::ProvideCredentials::ready(Ok(credentials))
    }
}

/// The embedded database could not be opened or served.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let error = eventdb::EmbeddedDynamoDb::file("/nowhere/at/all.sqlite").await.unwrap_err();
/// assert!(error.to_string().contains("/nowhere/at/all.sqlite"));
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbeddedError {
    /// The database can't be opened or created.
    #[error("the embedded database {place} can't be opened: {reason}")]
    Open {
        /// The file, or `in memory`.
        place: String,
        /// The reason that the database gives.
        reason: String,
    },
    /// The emulator can't listen on a port of 127.0.0.1.
    #[error("the embedded database can't listen on 127.0.0.1")]
    Listen(#[from] std::io::Error),
}

impl EmbeddedDynamoDb {
    /// Starts with an empty database in memory, which is lost when it stops.
    ///
    /// # Errors
    /// See [`EmbeddedError`].
    pub async fn in_memory() -> Result<Self, EmbeddedError> {
        Self::serve("in memory".to_owned(), Database::memory()).await
    }

    /// Starts with the database in a file, which is created if it doesn't exist.
    ///
    /// # Errors
    /// See [`EmbeddedError`].
    ///
    /// ```no_run
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), eventdb::EmbeddedError> {
    /// let dynamodb = eventdb::EmbeddedDynamoDb::file("library.sqlite").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn file(path: impl AsRef<Path>) -> Result<Self, EmbeddedError> {
        let path = path.as_ref();
        let place = path.display().to_string();
        let Some(text) = path.to_str() else {
            return Err(EmbeddedError::Open {
                place,
                reason: "its name isn't valid Unicode".to_owned(),
            });
        };
        Self::serve(place, Database::new(text)).await
    }

    async fn serve(
        place: String,
        database: dynoxide::Result<Database>,
    ) -> Result<Self, EmbeddedError> {
        let database =
            database.map_err(|error| EmbeddedError::Open { place, reason: error.to_string() })?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(async move {
            let stopped = async {
                // An error means that nobody needs the server any more, which also stops it.
                let _ = stopped.await;
            };
            if let Err(reason) =
                dynoxide::server::serve_with_shutdown(listener, database, stopped).await
            {
                tracing::error!(target: "eventdb", reason, "the embedded database stopped");
            }
        });
        Ok(Self { endpoint, running: Arc::new(Running(Mutex::new(Some(stop)))), server })
    }

    /// The URL at which it listens, such as `http://127.0.0.1:40123`.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// A client that is connected to it, with placeholder credentials and region. The database keeps
    /// running as long as the client exists.
    pub fn client(&self) -> Client {
        let credentials = KeepsRunning { _running: Arc::clone(&self.running) };
        Client::from_conf(
            Config::builder()
                .behavior_version(BehaviorVersion::latest())
                .region(Region::from_static("eu-west-1"))
                .credentials_provider(credentials)
                .endpoint_url(&self.endpoint)
                .build(),
        )
    }

    /// Stops it, and waits until running requests have ended and the file is closed. Drop the
    /// clients first, so that their idle connections close immediately. Requests of other clients
    /// fail from then on.
    pub async fn stop(self) {
        let stop = self.running.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(stop) = stop {
            let _ = stop.send(());
        }
        let _ = self.server.await;
    }
}
