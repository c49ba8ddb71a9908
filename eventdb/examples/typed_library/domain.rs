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

#[derive(Debug, Default, PartialEq, Serialize)]
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

/// An e-mail address, which belongs to one reader. A separate subject is what makes it unique.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum AddressEvent {
    #[serde(rename = "address.claimed", rename_all = "camelCase")]
    Claimed { user_id: String },
}

impl DomainEvent for AddressEvent {
    const UNKNOWN_TYPES: UnknownTypes = UnknownTypes::Reject;
}

#[derive(Debug, Default, PartialEq)]
pub(crate) struct Address {
    owner: Option<String>,
}

impl Aggregate for Address {
    type Event = AddressEvent;

    fn apply(&mut self, AddressEvent::Claimed { user_id }: AddressEvent) {
        self.owner = Some(user_id);
    }
}

/// Why the library says no.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum Rejection {
    #[error("{0} has the book")]
    Borrowed(String),
    #[error("another reader has this address")]
    AddressTaken,
    #[error("the reader isn't registered")]
    NotRegistered,
    #[error("the reader has {LOANS} books already")]
    TooManyLoans,
}

/// A reader who is registered stays so; the address must be free.
pub(crate) fn register(
    user: &User,
    address: &Address,
    user_id: &str,
) -> Result<(Option<UserEvent>, Option<AddressEvent>), Rejection> {
    match &address.owner {
        Some(owner) if owner != user_id => Err(Rejection::AddressTaken),
        Some(_) => Ok((None, None)),
        None => Ok((
            (!user.is_registered).then_some(UserEvent::Registered),
            Some(AddressEvent::Claimed { user_id: user_id.to_owned() }),
        )),
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

    use super::{
        Address, AddressEvent, Book, BookEvent, Rejection, User, UserEvent, lend, register,
    };

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
    fn only_registered_readers_borrow_and_only_so_many() {
        given::<Book>([]).and::<User>([]).when(lend_dune).then_error(Rejection::NotRegistered);
        given::<Book>([])
            .and::<User>([UserEvent::Registered, took("book:1"), took("book:2"), took("book:3")])
            .when(lend_dune)
            .then_error(Rejection::TooManyLoans);
    }

    fn register_ada(
        user: &User,
        address: &Address,
    ) -> Result<(Option<UserEvent>, Option<AddressEvent>), Rejection> {
        register(user, address, "user:ada")
    }

    fn claimed(user: &str) -> AddressEvent {
        AddressEvent::Claimed { user_id: user.to_owned() }
    }

    #[test]
    fn registering_twice_is_registering_once() {
        let (user, _) = given::<User>([])
            .and::<Address>([])
            .when(register_ada)
            .then([UserEvent::Registered], [claimed("user:ada")]);
        assert!(user.is_registered);
        given::<User>([UserEvent::Registered])
            .and::<Address>([claimed("user:ada")])
            .when(register_ada)
            .then([], []);
    }

    #[test]
    fn an_address_belongs_to_one_reader() {
        given::<User>([])
            .and::<Address>([claimed("user:ben")])
            .when(register_ada)
            .then_error(Rejection::AddressTaken);
    }
}
