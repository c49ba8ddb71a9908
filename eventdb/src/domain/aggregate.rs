//! The trait that you implement for an aggregate: how its events change its state.

use crate::domain::domain_event::DomainEvent;
use crate::event::Event;

/// The state of one subject, folded from its events. It is independent of the store.
///
/// The default value is the state before the first event. [`apply`](Self::apply) can't fail, because
/// the event has already happened. Decisions are separate functions from a state to new events or
/// an error of the domain: see [`Repository::execute`].
///
/// [`Repository::execute`]: crate::Repository::execute
///
/// ```
/// use eventdb::{Aggregate, DomainEvent, UnknownTypes};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// enum BookEvent {
///     #[serde(rename = "book.borrowed", rename_all = "camelCase")]
///     Borrowed { user_id: String },
///     #[serde(rename = "book.returned")]
///     Returned,
/// }
/// # impl DomainEvent for BookEvent { const UNKNOWN_TYPES: UnknownTypes = UnknownTypes::Reject; }
///
/// #[derive(Default)]
/// struct Book {
///     borrower: Option<String>,
/// }
///
/// impl Aggregate for Book {
///     type Event = BookEvent;
///
///     fn apply(&mut self, event: BookEvent) {
///         match event {
///             BookEvent::Borrowed { user_id } => self.borrower = Some(user_id),
///             BookEvent::Returned => self.borrower = None,
///         }
///     }
/// }
///
/// #[derive(Debug, PartialEq)]
/// struct AlreadyBorrowed;
///
/// impl Book {
///     fn borrow(&self, user_id: &str) -> Result<Vec<BookEvent>, AlreadyBorrowed> {
///         match &self.borrower {
///             Some(borrower) if borrower == user_id => Ok(vec![]),
///             Some(_) => Err(AlreadyBorrowed),
///             None => Ok(vec![BookEvent::Borrowed { user_id: user_id.to_owned() }]),
///         }
///     }
/// }
/// ```
pub trait Aggregate: Default + Send + Sync + 'static {
    /// The type of its events.
    type Event: DomainEvent;

    /// Changes the state by an event.
    fn apply(&mut self, event: Self::Event);

    /// Changes the state by an event, and sees how it is stored: its time, id, revision and
    /// extensions. Implement it if the state needs them. By default, it calls
    /// [`apply`](Self::apply). It is called for every event, also for those that were just decided.
    ///
    /// ```
    /// # use eventdb::{Aggregate, DomainEvent, UnknownTypes};
    /// use eventdb::chrono::{DateTime, Utc};
    /// use eventdb::{Event, Metadata};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize)]
    /// # enum BookEvent { #[serde(rename = "book.borrowed")] Borrowed {} }
    /// # impl DomainEvent for BookEvent { const UNKNOWN_TYPES: UnknownTypes = UnknownTypes::Reject; }
    ///
    /// #[derive(Default)]
    /// struct Book {
    ///     loans: u64,
    ///     last_change: Option<(DateTime<Utc>, Option<String>)>,
    /// }
    ///
    /// impl Aggregate for Book {
    ///     type Event = BookEvent;
    ///
    ///     fn apply(&mut self, BookEvent::Borrowed {}: BookEvent) {
    ///         self.loans += 1;
    ///     }
    ///
    ///     fn apply_stored(&mut self, event: BookEvent, stored: &Event) {
    ///         self.last_change = Some((stored.time, Metadata::of(stored).user));
    ///         self.apply(event);
    ///     }
    /// }
    /// ```
    fn apply_stored(&mut self, event: Self::Event, stored: &Event) {
        let _ = stored;
        self.apply(event);
    }
}
