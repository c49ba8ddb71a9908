//! Revisions that complete events state: each event gets its stated revision, or nothing is stored.

use std::collections::HashMap;

use crate::event::Event;
use crate::store::error::{Error, IdReuse, StoredEvent};
use crate::store::precondition::{ExpectedState, Precondition};

/// The stated revisions of an append. They act as preconditions: the events of a subject can get
/// their revisions only if the subject is at the revision before the first one.
pub(crate) struct StatedRevisions {
    /// The events that state one.
    events: Vec<Stated>,
    /// For each subject, the revision that it must be at, unless the caller gave this precondition.
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
    /// Collects the stated revisions of the events, and adds the preconditions that they imply.
    ///
    /// # Errors
    /// [`Error::OtherRevision`] if the stated revisions of a subject aren't consecutive.
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

    /// Translates the outcome of an append: a conflict that a stated revision has caused becomes
    /// [`Error::OtherRevision`].
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

    /// Checks the revisions of the stored events. Those of a repeated append may differ.
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
