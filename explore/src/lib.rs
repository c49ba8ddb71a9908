//! A page on 127.0.0.1 that shows what is in an event store. It only reads.
//!
//! The tool serves it with `eventdb explore`. A program of yours can serve the same page with your
//! [aggregates](Explorer::aggregate): then it also shows the state of a subject after each event, and
//! what changed.
//!
//! ```no_run
//! use eventdb::{Aggregate, DomainEvent};
//! use eventdb_explore::Explorer;
//!
//! # async fn example<Book: Aggregate + serde::Serialize>(
//! #     client: eventdb::aws_sdk_dynamodb::Client,
//! # ) -> Result<(), eventdb_explore::ExploreError> {
//! let page = Explorer::new(client, "LibraryEvents")
//!     .aggregate::<Book>("Book", "book:")
//!     .listen(0)
//!     .await?;
//! println!("Open {}", page.address());
//! page.serve_until(std::future::pending()).await
//! # }
//! ```
//!
//! # Who can read it
//!
//! It listens on 127.0.0.1 only. The address that [`Page::address`] returns has a token, which works
//! once: the page exchanges it for a cookie of this browser, and takes it out of the address.
//! Requests must name 127.0.0.1 or `localhost` as their host, and must come from the page itself.
//! Everything is embedded: the page loads nothing from elsewhere, and its content security policy
//! forbids it.

mod explorer;
mod guard;
mod page;
mod problem;
mod sources;
mod store;
mod views;

pub use explorer::{ExploreError, Explorer, Page};
pub use sources::{
    BoxFuture, FailedBatch, FailedBatches, FailureBucket, LagOfReadModels, ReadModelLag,
};
