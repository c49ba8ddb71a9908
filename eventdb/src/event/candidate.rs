//! The event as a caller gives it, before the store completes it.

use std::collections::BTreeMap;

use bon::Builder;

use crate::event::ExtensionValue;
use crate::event::data::EventData;
use crate::event::metadata::Metadata;

/// A new event. The store adds the time, the revision and, if there is none yet, the id.
///
/// The attributes have the same limits as those of an [`Event`](crate::Event).
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
    /// CloudEvents extension attributes by name, such as `traceparent`.
    #[builder(field)]
    pub extensions: BTreeMap<String, ExtensionValue>,
    /// An id that you choose, such as the id of the command that led to the event. The store then
    /// recognises a repeated append permanently. This costs 2 write units and one transaction
    /// action per event. Give an id to every candidate of an append or to none. Without one, the
    /// store generates a UUID of version 7.
    pub id: Option<String>,
    /// Where the event comes from: a URI-reference.
    pub source: String,
    /// What happened (`type` in CloudEvents), such as `book.borrowed`.
    pub ty: String,
    /// The entity that it happened to, such as `book:123`.
    pub subject: String,
    /// The payload: a JSON object.
    #[builder(into)]
    pub data: EventData,
    /// Media type of the payload: `application/json` or one that ends in `+json`.
    pub datacontenttype: Option<String>,
    /// The payload's schema: an absolute URI.
    pub dataschema: Option<String>,
}

impl<S: event_candidate_builder::State> EventCandidateBuilder<S> {
    /// Adds who and what leads to the event, as extension attributes: see [`Metadata`].
    pub fn metadata(mut self, metadata: &Metadata) -> Self {
        metadata.add_to(&mut self.extensions);
        self
    }

    /// Adds a CloudEvents extension attribute. A second one with the same name replaces the first.
    ///
    /// ```
    /// use eventdb::EventCandidate;
    /// use serde_json::json;
    ///
    /// let candidate = EventCandidate::builder()
    ///     .extension("correlationid", "order-77")
    ///     .source("https://library.example.com")
    ///     .ty("book.borrowed")
    ///     .subject("book:123")
    ///     .data(json!({ "userId": "user:456" }))
    ///     .build();
    /// assert_eq!(candidate.extensions["correlationid"], "order-77".into());
    /// ```
    pub fn extension(mut self, name: impl Into<String>, value: impl Into<ExtensionValue>) -> Self {
        self.extensions.insert(name.into(), value.into());
        self
    }
}
