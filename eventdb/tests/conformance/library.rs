//! The aggregates of a library, as a team would write them.

use eventdb::{Aggregate, DomainEvent, UnknownTypes};
use serde::{Deserialize, Serialize};

/// Books that a user may have at a time.
pub(crate) const LOANS: usize = 3;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum BookEvent {
    #[serde(rename = "book.borrowed", rename_all = "camelCase")]
    Borrowed { user_id: String },
    #[serde(rename = "book.returned")]
    Returned,
}

impl DomainEvent for BookEvent {
    const UNKNOWN_TYPES: UnknownTypes = UnknownTypes::Reject;
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Book {
    pub(crate) borrower: Option<String>,
    pub(crate) loans: u64,
}

#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum No {
    #[error("somebody else has the book")]
    AlreadyBorrowed,
    #[error("nobody has the book")]
    NotBorrowed,
    #[error("the user has too many books")]
    TooManyLoans,
}

pub(crate) fn borrowed(user: &str) -> BookEvent {
    BookEvent::Borrowed { user_id: user.to_owned() }
}

impl Book {
    pub(crate) fn borrow(&self, user: &str) -> Result<Vec<BookEvent>, No> {
        match &self.borrower {
            Some(borrower) if borrower == user => Ok(vec![]),
            Some(_) => Err(No::AlreadyBorrowed),
            None => Ok(vec![borrowed(user)]),
        }
    }

    pub(crate) fn give_back(&self) -> Result<[BookEvent; 1], No> {
        self.borrower.as_ref().map(|_| [BookEvent::Returned]).ok_or(No::NotBorrowed)
    }
}

impl Aggregate for Book {
    type Event = BookEvent;

    fn apply(&mut self, event: BookEvent) {
        match event {
            BookEvent::Borrowed { user_id } => {
                self.borrower = Some(user_id);
                self.loans += 1;
            }
            BookEvent::Returned => self.borrower = None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum UserEvent {
    #[serde(rename = "user.took")]
    Took { book: String },
}

impl DomainEvent for UserEvent {
    const UNKNOWN_TYPES: UnknownTypes = UnknownTypes::Ignore;
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct User {
    pub(crate) books: Vec<String>,
}

impl User {
    pub(crate) fn take(&self, book: &str) -> Result<Vec<UserEvent>, No> {
        if self.books.len() < LOANS {
            Ok(vec![UserEvent::Took { book: book.to_owned() }])
        } else {
            Err(No::TooManyLoans)
        }
    }
}

impl Aggregate for User {
    type Event = UserEvent;

    fn apply(&mut self, UserEvent::Took { book }: UserEvent) {
        self.books.push(book);
    }
}
