//! Passing one event to the read model, after the missing events of its subject.

use futures_util::{StreamExt, TryStreamExt, stream};

use super::error::{OtherStore, ProjectionError, unreadable};
use super::{Projection, REFUSALS};
use crate::codec::store_id::StoreId;
use crate::event::Event;
use crate::subscribe::event_reader::{EventReader, SubjectRow};
use crate::subscribe::read_model::{ApplyOutcome, Position, ReadModel, Step};

/// An event to be passed to the read model.
pub(super) struct Handling<'a, M, R> {
    pub(super) projection: &'a Projection<M, R>,
    pub(super) event: &'a Event,
    pub(super) revision: u64,
    /// The store that it comes from, or the store that this one has become.
    pub(super) store: Option<&'a StoreId>,
}

impl<M: ReadModel, R: EventReader> Handling<'_, M, R> {
    /// Applies an event of the subject, which must have its revision.
    pub(super) async fn apply(
        &self,
        event: &Event,
        from: &Position,
    ) -> Result<ApplyOutcome, ProjectionError<M::Error>> {
        let revision = event.revision.unwrap_or(self.revision);
        let step = Step {
            from_revision: from.revision,
            from_store: from.store.clone(),
            to: Position::new(revision, event.time, self.store.cloned()),
        };
        let applied = self.projection.read_model.apply(event, &step).await;
        applied.map_err(|source| ProjectionError::ReadModel {
            subject: event.subject.clone(),
            revision,
            id: event.id.clone(),
            source,
        })
    }

    /// Applies the missing events and the event, from the read model's position on.
    pub(super) async fn catch_up(
        &self,
        is_known_to_be_stored: bool,
    ) -> Result<u64, ProjectionError<M::Error>> {
        let read_model = &self.projection.read_model;
        let subject = &self.event.subject;
        let mut is_known_to_be_stored = is_known_to_be_stored;
        let mut applied = 0;
        let mut last: Option<Position> = None;
        let mut refusals = 0;
        loop {
            let position = read_model
                .position(subject)
                .await
                .map_err(|source| ProjectionError::Position { subject: subject.clone(), source })?;
            self.check_store(&position)?;
            if position.revision >= self.revision {
                return Ok(applied);
            }
            if let Some(parked) = &position.parked {
                // It will be read from the store.
                tracing::debug!(
                    target: "eventdb", subject, revision = self.revision,
                    "left alone, because the subject is parked at revision {}", parked.revision
                );
                return Ok(applied);
            }
            // A step is refused if another worker processes the same subject. Then the position has
            // moved, and fewer events are left, so this ends.
            if last.as_ref() == Some(&position) {
                refusals += 1;
                if refusals == REFUSALS {
                    return Err(ProjectionError::StepRefused {
                        subject: subject.clone(),
                        position: position.revision,
                        attempts: REFUSALS,
                    });
                }
            } else {
                refusals = 0;
            }
            last = Some(position.clone());
            let (count, reached) = self.close_gap(position, &mut is_known_to_be_stored).await?;
            applied += count;
            let Some(from) = reached else { continue };
            let outcome = if self.event.revision.is_some() {
                self.apply(self.event, &from).await?
            } else {
                let event = Event { revision: Some(self.revision), ..self.event.clone() };
                self.apply(&event, &from).await?
            };
            if outcome == ApplyOutcome::Applied {
                return Ok(applied + 1);
            }
        }
    }

    pub(super) fn check_store(&self, position: &Position) -> Result<(), ProjectionError<M::Error>> {
        match &position.store {
            Some(expected) if Some(self.projection.current(expected)) != self.store => {
                Err(ProjectionError::OtherStore(Box::new(OtherStore {
                    subject: self.event.subject.clone(),
                    id: self.event.id.clone(),
                    position: position.revision,
                    expected: expected.clone(),
                    actual: self.store.cloned(),
                })))
            }
            _ => Ok(()),
        }
    }

    /// Applies the events between the position and the event. Returns their number and the position
    /// from which the event may be applied, or `None` if another worker has moved it.
    async fn close_gap(
        &self,
        position: Position,
        is_known_to_be_stored: &mut bool,
    ) -> Result<(u64, Option<Position>), ProjectionError<M::Error>> {
        let subject = &self.event.subject;
        let next = position.revision.saturating_add(1);
        let hole = next..=self.revision.saturating_sub(1);
        if hole.is_empty() {
            return Ok((0, Some(position)));
        }
        // A row without a revision may be anywhere, whatever its time.
        let until = self.event.revision.map(|_| self.event.time);
        let Some(mut rows) = self.projection.read(subject, &position, until) else {
            if self.projection.passes_over(subject, hole) {
                return Ok((0, Some(position)));
            }
            return Err(ProjectionError::Gap {
                subject: subject.clone(),
                position: position.revision,
                revision: self.revision,
            });
        };
        if !*is_known_to_be_stored {
            self.check_that_it_is_stored().await?;
            *is_known_to_be_stored = true;
        }
        let mut reached = position.clone();
        // Events of types that are held back don't move the position.
        let mut seen = position.revision;
        let mut applied = 0;
        let mut invalid = None;
        while let Some(row) = rows.try_next().await.map_err(unreadable(self.event))? {
            let event = match row {
                SubjectRow::Event(event) => event,
                SubjectRow::Invalid(row) => {
                    invalid.get_or_insert(row);
                    continue;
                }
            };
            let Some(revision) = event.revision.filter(|revision| *revision > seen) else {
                // The unreadable row is before the last applied event.
                invalid = None;
                continue;
            };
            if revision >= self.revision {
                break;
            }
            self.projection.check_hole(subject, seen, revision, &mut invalid)?;
            seen = revision;
            if !self.projection.takes(&event) {
                continue;
            }
            if self.apply(&event, &reached).await? == ApplyOutcome::PositionDiffers {
                return Ok((applied, None));
            }
            applied += 1;
            reached = Position::new(revision, event.time, self.store.cloned());
        }
        self.projection.check_hole(subject, seen, self.revision, &mut invalid)?;
        Ok((applied, Some(reached)))
    }

    /// Checks that the reader reads the store that the event comes from.
    async fn check_that_it_is_stored(&self) -> Result<(), ProjectionError<M::Error>> {
        let event = self.event;
        let before = Position::new(self.revision - 1, event.time, self.store.cloned());
        let rows = self.projection.read(&event.subject, &before, Some(event.time));
        let mut rows = rows.unwrap_or_else(|| stream::empty().boxed());
        while let Some(row) = rows.try_next().await.map_err(unreadable(event))? {
            if let SubjectRow::Event(stored) = row
                && stored.revision == event.revision
                && stored.id == event.id
                && stored.source == event.source
            {
                return Ok(());
            }
        }
        Err(ProjectionError::NotInStore {
            subject: event.subject.clone(),
            revision: event.revision,
            id: event.id.clone(),
        })
    }
}
