//! Reading: one event by its id; the events of a subject, of a type, of all subjects.

pub(crate) mod fetch_event;
pub(crate) mod fetch_events;
pub(crate) mod query;
