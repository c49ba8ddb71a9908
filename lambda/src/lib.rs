//! The publisher of eventdb. It publishes events from the table's DynamoDB stream to an SNS topic.
//!
//! The steps of one invocation:
//!
//! | step | module |
//! |---|---|
//! | read a batch of stream records | [`batch`] |
//! | read each record: an event, something to skip, or an unpublishable row | [`record`] |
//! | queue the events by subject in the order of their revisions, and pack them into requests | [`queues`] |
//! | send several requests at the same time, and repeat temporary failures | [`publish`] |
//! | list the published events in the feed | [`listing`] |
//! | tell Lambda the record from which to deliver again | [`checkpoint`] |
//! | count what happened | [`metrics`] |
//!
//! [`handler`] runs the steps. A function with the variable `EVENT_TABLE` doesn't publish; on a schedule,
//! it compares the table of events with the feed: [`verification`]. Only [`sns`] and [`feed`] use AWS clients; the other modules use the
//! traits [`Topic`](topic::Topic) and [`FeedTable`](listing::FeedTable). Only [`configuration`] reads
//! environment variables.
//!
//! # Promises
//! - The topic accepts every event at least once, or the event's record is reported as failed. Then
//!   Lambda delivers it again, and finally passes it to the failure destination.
//! - With a feed, every event that the topic has accepted is listed in the feed, or its record is
//!   reported as failed.
//! - Within one invocation, an event is sent only after the topic has accepted the previous event of
//!   its subject. `docs/decisions/0020-one-event-of-a-subject-per-request.md` describes the
//!   consequences.
//! - Log lines never contain event data.

pub mod batch;
pub mod checkpoint;
pub mod configuration;
#[cfg(feature = "sns")]
pub mod feed;
pub mod handler;
pub mod listing;
pub mod metrics;
pub mod publish;
pub mod queues;
pub mod record;
#[cfg(feature = "sns")]
pub mod sns;
pub mod topic;
#[cfg(feature = "sns")]
pub mod verification;
