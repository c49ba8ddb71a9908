//! [`Explorer`]: what the page shows, and where it is served.

use std::future::Future;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::routing::{get, post};
use axum::{Router, middleware};
use eventdb::Aggregate;
use eventdb::aws_sdk_dynamodb::Client;
use serde::Serialize;
use tokio::net::TcpListener;

use crate::guard::{self, Guard};
use crate::page;
use crate::problem::causes;
use crate::sources::{FailureBucket, LagOfReadModels};
use crate::store::{Consumed, Store};
use crate::views::{self, state::StateViewer};

/// A page that shows what is in a store: see the [crate's documentation](crate).
pub struct Explorer {
    client: Client,
    table: String,
    feed: Option<String>,
    what: What,
}

/// What the page can show besides the tables.
#[derive(Default)]
pub(crate) struct What {
    /// Whether the store is in a file or in memory.
    pub(crate) is_embedded: bool,
    pub(crate) states: Vec<StateViewer>,
    pub(crate) failures: Option<Box<dyn FailureBucket>>,
    pub(crate) lag: Option<Box<dyn LagOfReadModels>>,
}

impl std::fmt::Debug for Explorer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Explorer").field("table", &self.table).finish_non_exhaustive()
    }
}

/// What all answers have in common.
#[derive(Clone)]
pub(crate) struct Explored {
    pub(crate) store: Arc<Store>,
    pub(crate) what: Arc<What>,
    pub(crate) consumed: Arc<Mutex<Consumed>>,
}

/// A page that is being served.
pub struct Page {
    listener: TcpListener,
    port: u16,
    guard: Guard,
    router: Router,
    consumed: Arc<Mutex<Consumed>>,
}

impl std::fmt::Debug for Page {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Page").field("port", &self.port).finish_non_exhaustive()
    }
}

/// The page can't be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExploreError {
    /// The table can't be described.
    #[error("the table `{table}` can't be described: {reason}")]
    Table {
        /// The name of the table.
        table: String,
        /// What DynamoDB answers.
        reason: String,
    },
    /// The table isn't a table of events.
    #[error(
        "the table `{table}` isn't a table of events: its keys are {keys}; they must be `subject` and \
         `time_type`, or `subject` and `revision`"
    )]
    NotEvents {
        /// The name of the table.
        table: String,
        /// The names of its keys.
        keys: String,
    },
    /// The port can't be listened on.
    #[error("127.0.0.1:{port} can't be listened on; another port may be free")]
    Listen {
        /// The port.
        port: u16,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The system gives no random numbers.
    #[error("the system has no random numbers for a token: {0}")]
    Random(String),
    /// Serving has failed.
    #[error("the page can't be served any more")]
    Serve(#[source] std::io::Error),
}

impl Explorer {
    /// A page for the store in this table. Its layout is found out.
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { client, table: table.into(), feed: None, what: What::default() }
    }

    /// Also shows where an event stands in the feed in this table.
    #[must_use]
    pub fn feed(mut self, table: impl Into<String>) -> Self {
        self.feed = Some(table.into());
        self
    }

    /// Says that the store is an embedded database, which has no publisher and no failure bucket.
    #[must_use]
    pub fn embedded(mut self) -> Self {
        self.what.is_embedded = true;
        self
    }

    /// Shows the states of an aggregate, under this name, for the subjects that begin with this prefix.
    ///
    /// The page gets each state as JSON. It is folded from the subject's first 1,000 events when
    /// somebody looks at it.
    #[must_use]
    pub fn aggregate<A: Aggregate + Serialize>(
        mut self,
        name: impl Into<String>,
        subject_prefix: impl Into<String>,
    ) -> Self {
        self.what.states.push(StateViewer::of::<A>(name.into(), subject_prefix.into()));
        self
    }

    /// Shows the records that couldn't be published.
    #[must_use]
    pub fn failures(mut self, bucket: impl FailureBucket) -> Self {
        self.what.failures = Some(Box::new(bucket));
        self
    }

    /// Shows how much the read models lack.
    #[must_use]
    pub fn read_models(mut self, lag: impl LagOfReadModels) -> Self {
        self.what.lag = Some(Box::new(lag));
        self
    }

    /// Listens on 127.0.0.1, on this port, or on any free one if it is 0. The table is described once.
    ///
    /// # Errors
    /// If the table can't be described or isn't a table of events, or the port isn't free.
    pub async fn listen(self, port: u16) -> Result<Page, ExploreError> {
        let Self { client, table, feed, what } = self;
        let described = client.describe_table().table_name(&table).send().await;
        let described = described.map_err(|error| ExploreError::Table {
            table: table.clone(),
            reason: causes(&error),
        })?;
        let description = described.table.unwrap_or_else(|| {
            eventdb::aws_sdk_dynamodb::types::TableDescription::builder().build()
        });
        let mut store = Store::describe(client, &description)
            .map_err(|keys| ExploreError::NotEvents { table, keys: keys.join(" and ") })?;
        store.feed = feed;
        let listen = |source| ExploreError::Listen { port, source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(listen)?;
        let port = listener.local_addr().map_err(listen)?.port();
        let guard = Guard::new(port).map_err(|error| ExploreError::Random(error.to_string()))?;
        let consumed = Arc::new(Mutex::new(Consumed::default()));
        let explored = Explored {
            store: Arc::new(store),
            what: Arc::new(what),
            consumed: Arc::clone(&consumed),
        };
        let router = router(explored, &guard);
        Ok(Page { listener, port, guard, router, consumed })
    }
}

fn router(explored: Explored, guard: &Guard) -> Router {
    let data = views::routes()
        .with_state(explored)
        .layer(middleware::from_fn_with_state(guard.clone(), guard::check_session));
    Router::new()
        .route("/api/session", post(guard::open))
        .with_state(guard.clone())
        .merge(data)
        .route("/", get(page::document))
        .route("/page.js", get(page::code))
        .route("/page.css", get(page::style))
        .route("/icon.svg", get(page::icon))
        .layer(middleware::from_fn_with_state(guard.clone(), guard::check_host))
}

impl Page {
    /// The address to open, with the token that works once.
    pub fn address(&self) -> String {
        match self.guard.token() {
            // Behind the `#`, it isn't sent to the server, nor written to a log.
            Some(token) => format!("http://127.0.0.1:{}/#token={token}", self.port),
            None => format!("http://127.0.0.1:{}/", self.port),
        }
    }

    /// Serves the page until this future ends.
    ///
    /// # Errors
    /// [`ExploreError::Serve`].
    pub async fn serve_until(
        self,
        end: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ExploreError> {
        // A browser keeps connections open, so nothing would end if they had to end first.
        tokio::select! {
            served = axum::serve(self.listener, self.router).into_future() => {
                served.map_err(ExploreError::Serve)
            }
            () = end => Ok(()),
        }
    }

    /// What was consumed so far: requests to DynamoDB, and read units.
    pub fn consumed(&self) -> impl Fn() -> (u64, f64) + Send + use<> {
        let consumed = Arc::clone(&self.consumed);
        move || {
            let consumed = consumed.lock().unwrap_or_else(PoisonError::into_inner);
            (consumed.requests, consumed.read_units)
        }
    }
}
