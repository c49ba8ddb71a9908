//! The source from which a projection reads missing events.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures_util::stream::BoxStream;

use crate::codec::item::InvalidItem;
use crate::event::{BoxError, Event};
use crate::subscribe::read_model::Position;

/// The source from which a [`Projection`](crate::Projection) reads missing events: an `EventDb`
/// (feature `dynamodb`), or anything else that returns the history of a subject, such as an API of
/// the service that owns the store.
///
/// ```
/// use chrono::{DateTime, Utc};
/// use eventdb::{Event, EventReader, Position, SubjectRow, SubjectRows};
/// use futures_util::{StreamExt, stream};
///
/// /// A history in memory.
/// struct Kept(Vec<Event>);
///
/// impl EventReader for Kept {
///     fn read_subject(
///         &self,
///         subject: &str,
///         after: &Position,
///         _until: Option<DateTime<Utc>>,
///     ) -> Option<SubjectRows<'_>> {
///         let (subject, after) = (subject.to_owned(), after.revision);
///         let events = self.0.iter().filter(move |event| {
///             event.subject == subject && event.revision > Some(after)
///         });
///         Some(stream::iter(events).map(|event| Ok(SubjectRow::Event(event.clone()))).boxed())
///     }
/// }
/// ```
pub trait EventReader: Send + Sync {
    /// Reads the events of a subject after a position, up to and including a time. Returns `None` if
    /// this reader can't read events.
    ///
    /// - They must be in the order of their revisions, and complete at the time of the call.
    /// - Each must have a revision. For rows that were stored without one, it is the row's place in
    ///   the history, as the store counts it.
    /// - Events up to the position and after the time are allowed. They are ignored.
    fn read_subject<'a>(
        &'a self,
        subject: &'a str,
        after: &'a Position,
        until: Option<DateTime<Utc>>,
    ) -> Option<SubjectRows<'a>>;
}

/// The result of [`EventReader::read_subject`]. After an error, the stream isn't read further.
pub type SubjectRows<'a> = BoxStream<'a, Result<SubjectRow, BoxError>>;

/// A row of a subject's history.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "nearly every row is an event")]
pub enum SubjectRow {
    /// An event with its revision.
    Event(Event),
    /// A row that can't be read as an event.
    Invalid(Box<InvalidItem>),
}

/// The reader of a projection that can't read events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NoEventReader;

impl EventReader for NoEventReader {
    fn read_subject<'a>(
        &'a self,
        _: &'a str,
        _: &'a Position,
        _: Option<DateTime<Utc>>,
    ) -> Option<SubjectRows<'a>> {
        None
    }
}

impl<R: EventReader> EventReader for Option<R> {
    fn read_subject<'a>(
        &'a self,
        subject: &'a str,
        after: &'a Position,
        until: Option<DateTime<Utc>>,
    ) -> Option<SubjectRows<'a>> {
        self.as_ref()?.read_subject(subject, after, until)
    }
}

macro_rules! delegate {
    ($($pointer:ty),*) => {$(
        impl<R: EventReader + ?Sized> EventReader for $pointer {
            fn read_subject<'a>(
                &'a self,
                subject: &'a str,
                after: &'a Position,
                until: Option<DateTime<Utc>>,
            ) -> Option<SubjectRows<'a>> {
                (**self).read_subject(subject, after, until)
            }
        }
    )*};
}

delegate!(&R, Arc<R>, Box<R>);
