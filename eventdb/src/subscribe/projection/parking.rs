//! Parking the subject of an event that can't be applied, and going on with it.

use std::time::SystemTime;

use futures_util::TryStreamExt;

use super::error::{Causes, FailedMessage, ProjectionError, refused};
use super::handling::Handling;
use super::{Projection, REFUSALS};
use crate::codec::received_message::ReceivedMessage;
use crate::event::whole_milliseconds;
use crate::subscribe::event_reader::{EventReader, SubjectRow};
use crate::subscribe::read_model::{ApplyOutcome, Parked, ParkingReadModel, Position, Step};

/// Most characters of the reason in a mark.
const MARK_CHARACTERS: usize = 1000;

impl<M: ParkingReadModel, R: EventReader> Projection<M, R> {
    /// Parks the subject of a message that can't be applied, so that the message can be acknowledged.
    ///
    /// From then on, the messages of the subject are acknowledged without being applied: `handle`
    /// returns 0. Other subjects go on. The mark at the subject's position says since when and why.
    /// When the cause is removed, [`retry`](Self::retry) reads on from the store, so nothing is lost.
    ///
    /// Park a subject when its message has been delivered several times in vain, and watch for the
    /// log's error. [`handle_batch_or_park`](Self::handle_batch_or_park) does so.
    ///
    /// # Errors
    /// [`ProjectionError::ParkingWithoutStore`], and errors of the read model.
    ///
    /// ```no_run
    /// # async fn example<Loans: eventdb::ParkingReadModel>(
    /// #     projection: eventdb::Projection<Loans, eventdb::EventDb>,
    /// #     message: eventdb::ReceivedMessage, receives: u32)
    /// # -> Result<(), eventdb::ProjectionError<Loans::Error>> {
    /// if let Err(error) = projection.handle(&message).await {
    ///     if receives < 5 || !error.can_be_parked() {
    ///         return Err(error); // deliver it again
    ///     }
    ///     projection.park(&message, &error).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn park(
        &self,
        message: &ReceivedMessage,
        error: &ProjectionError<M::Error>,
    ) -> Result<(), ProjectionError<M::Error>> {
        let event = &message.event;
        let subject = &event.subject;
        if self.read(subject, &Position::default(), None).is_none() {
            return Err(ProjectionError::ParkingWithoutStore { subject: subject.clone() });
        }
        let revision = match event.revision {
            Some(revision) => revision,
            None => self.place_of(event).await?,
        };
        let store = message.store.as_ref().map(|store| self.current(store));
        let handling = Handling { projection: self, event, revision, store };
        let parked = Parked {
            revision: error.failed_revision().unwrap_or(revision),
            since: whole_milliseconds(SystemTime::now().into()),
            reason: Causes(error).to_string().chars().take(MARK_CHARACTERS).collect(),
        };
        let mut position = Position::default();
        for _ in 0..REFUSALS {
            position = self.position(subject).await?;
            handling.check_store(&position)?;
            if position.parked.is_some() || position.revision >= revision {
                return Ok(());
            }
            if self.mark(subject, &position, Some(&parked)).await? == ApplyOutcome::Applied {
                tracing::error!(
                    target: "eventdb", subject, revision = parked.revision,
                    "the subject is parked: {}", parked.reason
                );
                return Ok(());
            }
        }
        Err(refused(subject, &position))
    }

    /// Continues a parked subject: reads on from the store, up to its end, and removes the mark. It
    /// returns the number of applied events. For a subject that isn't parked, it applies what is
    /// missing.
    ///
    /// If an event fails again, the subject stays parked, with what was applied before.
    ///
    /// # Cost
    /// Two reads of the subject from its position on, and one call of
    /// [`ReadModel::apply`](crate::ReadModel::apply) for each event.
    ///
    /// # Errors
    /// [`ProjectionError::ReadModel`] if an event fails again, and those of reading.
    ///
    /// ```no_run
    /// # async fn example<Loans: eventdb::ParkingReadModel>(
    /// #     projection: eventdb::Projection<Loans, eventdb::EventDb>)
    /// # -> Result<(), eventdb::ProjectionError<Loans::Error>> {
    /// let applied = projection.retry("book:123").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn retry(&self, subject: &str) -> Result<u64, ProjectionError<M::Error>> {
        let mut applied = 0;
        let mut refusals = 0;
        loop {
            let position = self.position(subject).await?;
            let (count, reached) = self.read_on(subject, &position).await?;
            applied += count;
            let is_moved = match reached {
                Some(reached) if position.parked.is_some() => {
                    self.mark(subject, &reached, None).await? == ApplyOutcome::PositionDiffers
                }
                // What was left alone while the mark was there has been read after it was removed.
                Some(_) if count == 0 => return Ok(applied),
                Some(_) => false,
                None => true,
            };
            refusals = if is_moved && count == 0 { refusals + 1 } else { 0 };
            if refusals == REFUSALS {
                return Err(refused(subject, &position));
            }
        }
    }

    /// Like [`handle_batch`](Self::handle_batch), but a subject whose message was received at least
    /// `most_receives` times is [parked](Self::park), if its error
    /// [can be parked](ProjectionError::can_be_parked). Each message comes with the number of times
    /// that it was received (`ApproximateReceiveCount` of SQS).
    ///
    /// Choose a number below the `maxReceiveCount` of the queue, so that the message doesn't become a
    /// dead letter first.
    ///
    /// ```no_run
    /// # async fn example<Loans: eventdb::ParkingReadModel>(
    /// #     projection: eventdb::Projection<Loans, eventdb::EventDb>) {
    /// let messages = [("c80e8021-a70a-42c7-a470-796e1186f753", "{…}", 3)];
    /// for failed in projection.handle_batch_or_park(messages, 4).await {
    ///     println!("to be delivered again: {}", failed.id);
    /// }
    /// # }
    /// ```
    pub async fn handle_batch_or_park<I, B>(
        &self,
        messages: impl IntoIterator<Item = (I, B, u32)>,
        most_receives: u32,
    ) -> Vec<FailedMessage<M::Error>>
    where
        I: Into<String>,
        B: AsRef<str>,
    {
        let messages: Vec<(String, B, u32)> =
            messages.into_iter().map(|(id, body, receives)| (id.into(), body, receives)).collect();
        let batch = messages.iter().map(|(id, body, _)| (id.as_str(), body.as_ref()));
        let mut failed = Vec::new();
        for FailedMessage { id, error } in self.handle_batch(batch).await {
            let message = messages.iter().find(|(given, ..)| *given == id);
            let (Some((_, body, receives)), true) = (message, error.can_be_parked()) else {
                failed.push(FailedMessage { id, error });
                continue;
            };
            if *receives < most_receives {
                failed.push(FailedMessage { id, error });
                continue;
            }
            let parked = match ReceivedMessage::read(body.as_ref()) {
                Ok(message) => self.park(&message, &error).await,
                Err(error) => Err(error.into()),
            };
            if let Err(error) = parked {
                let causes = Causes(&error);
                tracing::warn!(target: "eventdb", message = id, "not parked: {causes}");
                failed.push(FailedMessage { id, error });
            }
        }
        failed
    }

    async fn mark(
        &self,
        subject: &str,
        position: &Position,
        parked: Option<&Parked>,
    ) -> Result<ApplyOutcome, ProjectionError<M::Error>> {
        self.read_model
            .mark(subject, position, parked)
            .await
            .map_err(|source| ProjectionError::Position { subject: subject.to_owned(), source })
    }

    /// Applies the events after a position up to the end of the subject, and keeps its mark. Returns
    /// their number and the new position, or `None` if somebody else has moved it.
    async fn read_on(
        &self,
        subject: &str,
        position: &Position,
    ) -> Result<(u64, Option<Position>), ProjectionError<M::Error>> {
        let Some(mut rows) = self.read(subject, position, None) else {
            return Err(ProjectionError::ParkingWithoutStore { subject: subject.to_owned() });
        };
        let unreadable = |source| ProjectionError::Store { subject: subject.to_owned(), source };
        let mut reached = position.clone();
        let mut seen = position.revision;
        let mut applied = 0;
        let mut invalid = None;
        while let Some(row) = rows.try_next().await.map_err(unreadable)? {
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
            self.check_hole(subject, seen, revision, &mut invalid)?;
            seen = revision;
            if !self.takes(&event) {
                continue;
            }
            let store = position.store.as_ref().map(|store| self.current(store).clone());
            let step = Step {
                from_revision: reached.revision,
                from_store: reached.store.clone(),
                to: Position::new(revision, event.time, store).with_parked(position.parked.clone()),
            };
            let outcome = self.read_model.apply(&event, &step).await.map_err(|source| {
                ProjectionError::ReadModel {
                    subject: subject.to_owned(),
                    revision,
                    id: event.id.clone(),
                    source,
                }
            })?;
            if outcome == ApplyOutcome::PositionDiffers {
                return Ok((applied, None));
            }
            applied += 1;
            reached = step.to;
        }
        if let Some(source) = invalid
            && !self.passes_over(subject, seen + 1..=seen + 1)
        {
            let (subject, revisions) = (subject.to_owned(), seen + 1..=seen + 1);
            return Err(ProjectionError::InvalidItem { subject, revisions, source });
        }
        Ok((applied, Some(reached)))
    }
}
