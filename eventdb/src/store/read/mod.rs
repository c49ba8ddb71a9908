//! Reading one event by its id, and the events of a subject, of a type, or of all subjects.

pub(crate) mod fetch_event;
pub(crate) mod fetch_events;
pub(crate) mod query;
