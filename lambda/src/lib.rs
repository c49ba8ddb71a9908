//! The publisher of eventdb: it takes events from the table's DynamoDB stream to an SNS topic.
//!
//! One invocation of the function, from top to bottom:
//!
//! | step | module |
//! |---|---|
//! | a batch of stream records is read | [`batch`] |
//! | each is an event, something to skip, or unpublishable | [`record`] |
//! | events are queued by subject, in the order of their revision, and packed into requests | [`queues`] |
//! | requests are sent, a few at a time; what fails in passing is sent again | [`publish`] |
//! | Lambda is told from where to deliver again | [`checkpoint`] |
//! | what happened is counted | [`metrics`] |
//!
//! [`handler`] ties the steps together. Only [`sns`] knows the AWS client, which the rest sees as a
//! [`Topic`](topic::Topic), and only [`configuration`] knows the environment.
//!
//! # Promises
//! - Every event is accepted by the topic at least once, or its record is reported as failed, so
//!   that Lambda delivers it again and in the end hands it to the failure destination.
//! - Within one invocation an event is sent only after the topic has accepted the event before it
//!   in its subject. `docs/decisions/0020-one-event-of-a-subject-per-request.md` says what follows
//!   from that.
//! - No log line holds an event's data.

pub mod batch;
pub mod checkpoint;
pub mod configuration;
pub mod handler;
pub mod metrics;
pub mod publish;
pub mod queues;
pub mod record;
#[cfg(feature = "sns")]
pub mod sns;
pub mod topic;
