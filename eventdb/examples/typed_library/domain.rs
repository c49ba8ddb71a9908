//! What the library's team writes: events, states, decisions, and their tests. No database in sight.

use std::collections::BTreeSet;

use eventdb::{Aggregate, DomainEvent, Shape, UnknownTypes, Upcaster};
use serde::{Deserialize, Serialize};

/// Books that a reader may have at a time.
const LOANS: usize = 3;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum BookEvent {
    #[serde(rename = "book.borrowed", rename_all = "camelCase")]
    Borrowed { user_id: String, due_date: String },
    #[serde(rename = "book.returned", rename_all = "camelCase")]
    Returned { user_id: String },
}

impl DomainEvent for BookEvent {
    const UNKNOWN_TYPES: UnknownTypes = UnknownTypes::Reject;
    const UPCASTERS: &'static [Upcaster] = &[Upcaster::from_type("book.lent", from_lent)];
}

/// Until 2019 it was called so, and the members had other names.
fn from_lent(shape: &mut Shape) -> Result<(), String> {
    shape.ty = "book.borrowed".to_owned();
    for (old, new) in [("user", "userId"), ("until", "dueDate")] {
        let value = shape.data.remove(old).ok_or_else(|| format!("`{old}` is missing"))?;
        shape.data.insert(new.to_owned(), value);
    }
    Ok(())
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Book {
    pub(crate) borrower: Option<String>,
    pub(crate) loans: u64,
}

impl Aggregate for Book {
    type Event = BookEvent;

    fn apply(&mut self, event: BookEvent) {
        match event {
            BookEvent::Borrowed { user_id, .. } => {
                self.borrower = Some(user_id);
                self.loans += 1;
            }
            BookEvent::Returned { .. } => self.borrower = None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum UserEvent {
    #[serde(rename = "user.registered")]
    Registered,
    #[serde(rename = "user.took-book")]
    TookBook { book: String },
}

impl DomainEvent for UserEvent {
    const UNKNOWN_TYPES: UnknownTypes = UnknownTypes::Reject;
}

#[derive(Debug, Default, PartialEq)]
pub(crate) struct User {
    is_registered: bool,
    books: BTreeSet<String>,
}

impl Aggregate for User {
    type Event = UserEvent;

    fn apply(&mut self, event: UserEvent) {
        match event {
            UserEvent::Registered => self.is_registered = true,
            UserEvent::TookBook { book } => {
                self.books.insert(book);
            }
        }
    }
}

/// Why the library says no.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum Rejection {
    #[error("{0} has the book")]
    Borrowed(String),
    #[error("the reader isn't registered")]
    NotRegistered,
    #[error("the reader has {LOANS} books already")]
    TooManyLoans,
}

impl User {
    /// A reader who is registered stays so.
    pub(crate) fn register(&self) -> Result<Option<UserEvent>, Rejection> {
        Ok((!self.is_registered).then_some(UserEvent::Registered))
    }
}

/// A book is lent to a registered reader if it is free; the reader's limit counts too.
pub(crate) fn lend(
    book: &Book,
    user: &User,
    book_id: &str,
    user_id: &str,
    due_date: &str,
) -> Result<(Vec<BookEvent>, Vec<UserEvent>), Rejection> {
    match &book.borrower {
        // The command came twice.
        Some(borrower) if borrower == user_id => Ok((vec![], vec![])),
        Some(borrower) => Err(Rejection::Borrowed(borrower.clone())),
        None if !user.is_registered => Err(Rejection::NotRegistered),
        None if user.books.len() >= LOANS => Err(Rejection::TooManyLoans),
        None => Ok((
            vec![BookEvent::Borrowed {
                user_id: user_id.to_owned(),
                due_date: due_date.to_owned(),
            }],
            vec![UserEvent::TookBook { book: book_id.to_owned() }],
        )),
    }
}

#[cfg(test)]
mod tests {
    use eventdb::testing::given;

    use super::{Book, BookEvent, Rejection, User, UserEvent, lend};

    fn lend_dune(book: &Book, user: &User) -> Result<(Vec<BookEvent>, Vec<UserEvent>), Rejection> {
        lend(book, user, "book:dune", "user:ada", "2026-12-07")
    }

    fn borrowed(user: &str) -> BookEvent {
        BookEvent::Borrowed { user_id: user.to_owned(), due_date: "2026-12-07".to_owned() }
    }

    fn took(book: &str) -> UserEvent {
        UserEvent::TookBook { book: book.to_owned() }
    }

    #[test]
    fn a_free_book_is_lent() {
        given::<Book>([borrowed("user:ben"), BookEvent::Returned { user_id: "user:ben".into() }])
            .and::<User>([UserEvent::Registered])
            .when(lend_dune)
            .then([borrowed("user:ada")], [took("book:dune")]);
    }

    #[test]
    fn a_book_that_somebody_has_is_not() {
        given::<Book>([borrowed("user:ben")])
            .and::<User>([UserEvent::Registered])
            .when(lend_dune)
            .then_error(Rejection::Borrowed("user:ben".to_owned()));
    }

    #[test]
    fn a_repeated_command_does_nothing() {
        given::<Book>([borrowed("user:ada")])
            .and::<User>([UserEvent::Registered, took("book:dune")])
            .when(lend_dune)
            .then([], []);
    }

    #[test]
    fn only_registered_readers_borrow_and_only_so_many() {
        given::<Book>([]).and::<User>([]).when(lend_dune).then_error(Rejection::NotRegistered);
        given::<Book>([])
            .and::<User>([UserEvent::Registered, took("book:1"), took("book:2"), took("book:3")])
            .when(lend_dune)
            .then_error(Rejection::TooManyLoans);
    }

    #[test]
    fn registering_twice_is_registering_once() {
        let user = given::<User>([]).when(User::register).then([UserEvent::Registered]);
        assert!(user.is_registered);
        given::<User>([UserEvent::Registered]).when(User::register).then([]);
    }
}
