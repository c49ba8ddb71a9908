//! What a caller gives: an event that the store has yet to complete.

use std::collections::BTreeMap;

use bon::Builder;
use serde_json::Value;

use crate::event::ExtensionValue;

/// An event to be: the store gives it a time, a revision and, unless it has one, an id.
///
/// The limits of each attribute are those of [`Event`](crate::Event)'s.
///
/// ```
/// use eventdb::EventCandidate;
/// use serde_json::json;
///
/// let candidate = EventCandidate::builder()
///     .source("https://library.example.com")
///     .ty("book.borrowed")
///     .subject("book:123")
///     .data(json!({ "userId": "user:456", "dueDate": "2025-02-15" }))
///     .build();
/// assert_eq!(candidate.id, None);
/// ```
#[derive(Debug, Clone, PartialEq, Builder)]
#[builder(on(String, into))]
#[non_exhaustive]
pub struct EventCandidate {
    /// Further CloudEvents attributes by name, `traceparent` among them.
    #[builder(field)]
    pub extensions: BTreeMap<String, ExtensionValue>,
    /// An id of the caller's own, such as that of the command which led to the event. The store
    /// then recognises a repetition of the append for ever, at the price of 2 write units and one
    /// transaction action per event. Give one to every candidate of an append or to none.
    /// Without one, a UUID of version 7 is made.
    pub id: Option<String>,
    /// Where the event comes from: a URI-reference.
    pub source: String,
    /// What happened (`type` in CloudEvents), such as `book.borrowed`.
    pub ty: String,
    /// The entity it happened to, such as `book:123`.
    pub subject: String,
    /// The payload: a JSON object.
    pub data: Value,
    /// Media type of the payload: `application/json` or one that ends in `+json`.
    pub datacontenttype: Option<String>,
    /// The payload's schema: an absolute URI.
    pub dataschema: Option<String>,
}

impl<S: event_candidate_builder::State> EventCandidateBuilder<S> {
    /// Adds a CloudEvents extension attribute; a second one of the same name replaces the first.
    ///
    /// ```
    /// # use eventdb::EventCandidate;
    /// # let builder = EventCandidate::builder();
    /// let builder = builder.extension("correlationid", "order-77");
    /// ```
    pub fn extension(mut self, name: impl Into<String>, value: impl Into<ExtensionValue>) -> Self {
        self.extensions.insert(name.into(), value.into());
        self
    }
}
