//! Who and what led to an event, as CloudEvents extension attributes.

use std::collections::BTreeMap;

use crate::event::{Event, ExtensionValue};

const CORRELATION: &str = "correlationid";
const CAUSATION: &str = "causationid";
const USER: &str = "authid";
const USER_KIND: &str = "authtype";

/// Who and what led to an event. It is set per command, stored and published with the events, and
/// read from them, for example in a [`ReadModel`](crate::ReadModel).
///
/// The attributes are those of CloudEvents' extensions [Correlation] and [Auth Context], so other
/// tools understand them.
///
/// [Correlation]: https://github.com/cloudevents/spec/blob/main/cloudevents/extensions/correlation.md
/// [Auth Context]: https://github.com/cloudevents/spec/blob/main/cloudevents/extensions/authcontext.md
///
/// ```
/// use eventdb::{EventCandidate, Metadata};
/// use serde_json::json;
///
/// let metadata = Metadata::default().correlation("order-77").user("user:456");
/// let candidate = EventCandidate::builder()
///     .metadata(&metadata)
///     .source("https://library.example.com")
///     .ty("book.borrowed")
///     .subject("book:123")
///     .data(json!({}))
///     .build();
/// assert_eq!(candidate.extensions["correlationid"], "order-77".into());
/// assert_eq!(candidate.extensions["authid"], "user:456".into());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metadata {
    /// What all messages and events of one business transaction have in common (`correlationid`).
    pub correlation: Option<String>,
    /// The id of the message or event that led to this event (`causationid`).
    pub causation: Option<String>,
    /// The user who wanted it (`authid`, with `authtype` = `user`).
    pub user: Option<String>,
}

impl Metadata {
    /// That of an event.
    ///
    /// ```
    /// use eventdb::{Event, Metadata};
    ///
    /// fn wanted_by(event: &Event) -> Option<String> {
    ///     Metadata::of(event).user
    /// }
    /// ```
    pub fn of(event: &Event) -> Self {
        let text = |name: &str| event.extensions.get(name).map(ToString::to_string);
        Self { correlation: text(CORRELATION), causation: text(CAUSATION), user: text(USER) }
    }

    /// That of what an event leads to: its correlation, or its id if it has none, and its id as the
    /// causation.
    pub fn caused_by(event: &Event) -> Self {
        let correlation = Self::of(event).correlation.unwrap_or_else(|| event.id.clone());
        Self::default().correlation(correlation).causation(&*event.id)
    }

    /// Sets the correlation.
    #[must_use]
    pub fn correlation(self, id: impl Into<String>) -> Self {
        Self { correlation: Some(id.into()), ..self }
    }

    /// Sets the causation.
    #[must_use]
    pub fn causation(self, id: impl Into<String>) -> Self {
        Self { causation: Some(id.into()), ..self }
    }

    /// Sets the user.
    #[must_use]
    pub fn user(self, id: impl Into<String>) -> Self {
        Self { user: Some(id.into()), ..self }
    }

    /// Adds what is set.
    pub(crate) fn add_to(&self, extensions: &mut BTreeMap<String, ExtensionValue>) {
        let kind = self.user.as_ref().map(|_| "user".to_owned());
        for (name, value) in [
            (CORRELATION, &self.correlation),
            (CAUSATION, &self.causation),
            (USER, &self.user),
            (USER_KIND, &kind),
        ] {
            if let Some(value) = value {
                extensions.insert(name.to_owned(), value.clone().into());
            }
        }
    }
}
