//! Who has which book, in SQLite: a view and its positions, changed in one transaction. A subject
//! whose event can't be applied is parked next to its position.
//!
//! It needs nothing of the AWS SDK: a service takes `eventdb` without default features.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::DateTime;
use eventdb::{
    ApplyOutcome, BoxError, DomainEvent, Event, Parked, ParkingReadModel, Position, ReadModel,
    Step, UnknownTypes, UnreadableEvent,
};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};
use serde::{Deserialize, Serialize};

/// What the view needs of a book's events; all others are passed over.
#[derive(Debug, Serialize, Deserialize)]
enum BookEvent {
    #[serde(rename = "book.borrowed", rename_all = "camelCase")]
    Borrowed { user_id: String },
    #[serde(rename = "book.returned")]
    Returned {},
}

impl DomainEvent for BookEvent {
    const UNKNOWN_TYPES: UnknownTypes = UnknownTypes::Ignore;
}

/// The tables. Several read models may share one database: the positions of each have its name.
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS loan (book TEXT PRIMARY KEY, borrower TEXT NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS position (
        read_model      TEXT NOT NULL,
        subject         TEXT NOT NULL,
        revision        INTEGER NOT NULL,
        time            INTEGER NOT NULL,
        store           TEXT,
        parked_since    INTEGER,
        parked_revision INTEGER,
        parked_reason   TEXT,
        PRIMARY KEY (read_model, subject)
    ) STRICT;
    CREATE INDEX IF NOT EXISTS parked ON position (parked_since) WHERE parked_since IS NOT NULL;";

/// What can go wrong with the view.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoansError {
    #[error("the database of the view failed")]
    Database(#[from] rusqlite::Error),
    #[error("the event can't be read")]
    Event(#[from] Box<UnreadableEvent>),
    #[error("the position of `{subject}` is damaged")]
    Position { subject: String, source: BoxError },
}

/// The view. SQLite does one thing at a time, so one connection is enough; a call takes
/// microseconds, so it isn't moved to another thread.
pub(crate) struct Loans(Mutex<Connection>);

impl Loans {
    /// Opens the view in a file, which is made if it isn't there.
    pub(crate) fn open(file: &Path) -> Result<Self, LoansError> {
        let connection = Connection::open(file)?;
        connection.execute_batch(TABLES)?;
        Ok(Self(Mutex::new(connection)))
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who has a book.
    pub(crate) fn borrower(&self, book: &str) -> Result<Option<String>, LoansError> {
        let query = "SELECT borrower FROM loan WHERE book = ?1";
        Ok(self.lock().query_row(query, [book], |row| row.get(0)).optional()?)
    }

    /// The subjects that wait for somebody to look at them, the longest first.
    pub(crate) fn parked(&self) -> Result<Vec<(String, Parked)>, LoansError> {
        let connection = self.lock();
        let mut query = connection.prepare(
            "SELECT subject FROM position
             WHERE read_model = 'loans' AND parked_since IS NOT NULL ORDER BY parked_since",
        )?;
        let mut parked = Vec::new();
        for subject in query.query_map([], |row| row.get::<_, String>(0))? {
            let subject = subject?;
            let position = position(&connection, &subject)?;
            parked.extend(position.parked.map(|parked| (subject, parked)));
        }
        Ok(parked)
    }
}

impl ReadModel for Loans {
    type Error = LoansError;

    async fn position(&self, subject: &str) -> Result<Position, LoansError> {
        position(&self.lock(), subject)
    }

    async fn apply(&self, event: &Event, step: &Step) -> Result<ApplyOutcome, LoansError> {
        let change = event.typed()?;
        let mut connection = self.lock();
        // It takes the lock for writing now, so that nobody moves the position meanwhile.
        let transaction = Transaction::new(&mut connection, TransactionBehavior::Immediate)?;
        if !step.begins_at(&position(&transaction, &event.subject)?) {
            return Ok(ApplyOutcome::PositionDiffers);
        }
        match change {
            Some(BookEvent::Borrowed { user_id }) => transaction.execute(
                "INSERT INTO loan VALUES (?1, ?2)
                 ON CONFLICT (book) DO UPDATE SET borrower = excluded.borrower",
                (&event.subject, user_id),
            )?,
            Some(BookEvent::Returned {}) => {
                transaction.execute("DELETE FROM loan WHERE book = ?1", [&event.subject])?
            }
            None => 0,
        };
        let Position { revision, time, store, .. } = &step.to;
        let store = store.as_ref().map(|store| store.as_str());
        transaction.execute(
            "INSERT INTO position (read_model, subject, revision, time, store)
             VALUES ('loans', ?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET revision = ?2, time = ?3, store = ?4",
            (&event.subject, i64::try_from(*revision).ok(), time.timestamp_millis(), store),
        )?;
        transaction.commit()?;
        Ok(ApplyOutcome::Applied)
    }
}

impl ParkingReadModel for Loans {
    async fn mark(
        &self,
        subject: &str,
        at: &Position,
        parked: Option<&Parked>,
    ) -> Result<ApplyOutcome, LoansError> {
        let mut connection = self.lock();
        let transaction = Transaction::new(&mut connection, TransactionBehavior::Immediate)?;
        let current = position(&transaction, subject)?;
        if (current.revision, &current.store) != (at.revision, &at.store) {
            return Ok(ApplyOutcome::PositionDiffers);
        }
        // A subject may be parked at its first event, before it has a position.
        transaction.execute(
            "INSERT INTO position
             (read_model, subject, revision, time, parked_since, parked_revision, parked_reason)
             VALUES ('loans', ?1, 0, 0, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET parked_since = ?2, parked_revision = ?3, parked_reason = ?4",
            (
                subject,
                parked.map(|parked| parked.since.timestamp_millis()),
                parked.and_then(|parked| i64::try_from(parked.revision).ok()),
                parked.map(|parked| &parked.reason),
            ),
        )?;
        transaction.commit()?;
        Ok(ApplyOutcome::Applied)
    }
}

fn position(connection: &Connection, subject: &str) -> Result<Position, LoansError> {
    let query = "SELECT revision, time, store, parked_since, parked_revision, parked_reason
                 FROM position WHERE read_model = 'loans' AND subject = ?1";
    let row = connection
        .query_row(query, [subject], |row| {
            let revision_and_time: (i64, i64) = (row.get(0)?, row.get(1)?);
            let mark: (Option<i64>, Option<i64>, Option<String>) =
                (row.get(3)?, row.get(4)?, row.get(5)?);
            Ok((revision_and_time, row.get::<_, Option<String>>(2)?, mark))
        })
        .optional()?;
    let Some(((revision, at), store, mark)) = row else { return Ok(Position::default()) };
    let time = |milliseconds| {
        DateTime::from_timestamp_millis(milliseconds).ok_or("a time is out of range")
    };
    let read = || -> Result<Position, BoxError> {
        let parked = match mark {
            (Some(since), Some(revision), Some(reason)) => {
                Some(Parked::new(revision.try_into()?, time(since)?, reason))
            }
            _ => None,
        };
        let store = store.map(|text| text.parse()).transpose()?;
        Ok(Position::new(revision.try_into()?, time(at)?, store).with_parked(parked))
    };
    read().map_err(|source| LoansError::Position { subject: subject.to_owned(), source })
}
