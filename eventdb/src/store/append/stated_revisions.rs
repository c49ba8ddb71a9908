//! Revisions that complete events state: each gets the one it states, or nothing is stored.

use std::collections::HashMap;

use crate::event::Event;
use crate::store::error::{Error, IdReuse, StoredEvent};
use crate::store::precondition::{ExpectedState, Precondition};

/// The stated revisions of an append. They hold as preconditions do: a subject's events can only
/// get theirs where it is at the revision before the first.
pub(crate) struct StatedRevisions {
    /// The events that state one.
    events: Vec<Stated>,
    /// By subject, the revision that it must be at, where no precondition of the caller says so.
    bases: HashMap<String, u64>,
}

struct Stated {
    index: usize,
    id: String,
    subject: String,
    /// Place among the events of its subject in this append, from 1.
    place: u64,
    revision: u64,
}

impl StatedRevisions {
    /// Takes them from the events, and adds what must hold for them to the preconditions.
    ///
    /// # Errors
    /// [`Error::OtherRevision`] when the events of a subject don't follow one another.
    pub(crate) fn of(
        events: &[Event],
        preconditions: &mut Vec<Precondition>,
    ) -> Result<Self, Error> {
        let mut places = HashMap::<&str, u64>::new();
        let mut bases = HashMap::<&str, u64>::new();
        let mut stated = Vec::new();
        for (index, event) in events.iter().enumerate() {
            let place = places.entry(&event.subject).or_default();
            *place += 1;
            let Some(revision) = event.revision else { continue };
            let base = revision.checked_sub(*place);
            let known = bases.get(event.subject.as_str()).copied();
            match (base, known) {
                (Some(base), None) => {
                    bases.insert(&event.subject, base);
                }
                (Some(base), Some(known)) if base == known => {}
                _ => {
                    return Err(Error::OtherRevision {
                        index,
                        subject: event.subject.clone(),
                        stated: revision,
                        assigned: known.unwrap_or_default().saturating_add(*place),
                    });
                }
            }
            stated.push(Stated {
                index,
                id: event.id.clone(),
                subject: event.subject.clone(),
                place: *place,
                revision,
            });
        }
        let mut added = HashMap::new();
        for (subject, base) in bases {
            let precondition = Precondition::subject_is_at_revision(subject, base);
            if !preconditions.contains(&precondition) {
                preconditions.push(precondition);
                added.insert(subject.to_owned(), base);
            }
        }
        Ok(Self { events: stated, bases: added })
    }

    /// Says of an append's outcome what it means for the stated revisions.
    pub(crate) fn judge(self, outcome: Result<Vec<Event>, Error>) -> Result<Vec<Event>, Error> {
        match outcome {
            Ok(stored) => self.found_in(stored),
            Err(Error::Conflict(conflict)) => {
                let first = self.events.iter().find(|stated| stated.subject == conflict.subject);
                let base = self.bases.get(&conflict.subject);
                match (first, base) {
                    (Some(first), Some(base))
                        if conflict.expected == ExpectedState::Revision(*base) =>
                    {
                        Err(Error::OtherRevision {
                            index: first.index,
                            subject: conflict.subject,
                            stated: first.revision,
                            assigned: conflict.actual.revision().saturating_add(first.place),
                        })
                    }
                    _ => Err(Error::Conflict(conflict)),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// A repetition finds what is stored, which may be under other revisions.
    fn found_in(self, stored: Vec<Event>) -> Result<Vec<Event>, Error> {
        for stated in self.events {
            let Some(found) = stored.get(stated.index) else { continue };
            match found.revision {
                Some(assigned) if assigned == stated.revision => {}
                Some(assigned) => {
                    return Err(Error::OtherRevision {
                        index: stated.index,
                        subject: stated.subject,
                        stated: stated.revision,
                        assigned,
                    });
                }
                None => {
                    return Err(Error::IdReused {
                        index: stated.index,
                        id: stated.id,
                        reason: IdReuse::OtherContent { attribute: "revision" },
                        stored: Some(StoredEvent::new(found.clone())),
                    });
                }
            }
        }
        Ok(stored)
    }
}
