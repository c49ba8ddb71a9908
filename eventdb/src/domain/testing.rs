//! Tests of decisions without a database: given some events, when a decision is made, then the result
//! is these events or this error.
//!
//! Events are converted to JSON and back by the same rules as in a
//! [`Repository`](crate::Repository), so a test also fails if an event can't be stored and read
//! again. Tests are stricter in one point: the event that is read must equal the original one, so you
//! notice what your serde attributes leave out or round. A failing test panics with a coloured diff.
//! For tests with a database, use [`EmbeddedDynamoDb`](crate::EmbeddedDynamoDb).
//!
//! ```
//! use eventdb::testing::given;
//! # use eventdb::{Aggregate, DomainEvent, UnknownTypes};
//! # use serde::{Deserialize, Serialize};
//! # #[derive(Debug, PartialEq, Serialize, Deserialize)]
//! # enum BookEvent {
//! #     #[serde(rename = "book.borrowed")] Borrowed { user: String },
//! #     #[serde(rename = "book.returned")] Returned,
//! # }
//! # impl DomainEvent for BookEvent { const UNKNOWN_TYPES: UnknownTypes = UnknownTypes::Reject; }
//! # #[derive(Default)] struct Book { borrower: Option<String> }
//! # impl Aggregate for Book {
//! #     type Event = BookEvent;
//! #     fn apply(&mut self, event: BookEvent) {
//! #         self.borrower = match event {
//! #             BookEvent::Borrowed { user } => Some(user),
//! #             BookEvent::Returned => None,
//! #         };
//! #     }
//! # }
//! # impl Book {
//! #     fn borrow(&self, user: &str) -> Result<Vec<BookEvent>, AlreadyBorrowed> {
//! #         match self.borrower {
//! #             Some(_) => Err(AlreadyBorrowed),
//! #             None => Ok(vec![BookEvent::Borrowed { user: user.to_owned() }]),
//! #         }
//! #     }
//! # }
//! # #[derive(Debug, PartialEq)] struct AlreadyBorrowed;
//!
//! let borrowed = |user: &str| BookEvent::Borrowed { user: user.to_owned() };
//!
//! given::<Book>([borrowed("user:456"), BookEvent::Returned])
//!     .when(|book| book.borrow("user:789"))
//!     .then([borrowed("user:789")]);
//!
//! given::<Book>([borrowed("user:456")])
//!     .when(|book| book.borrow("user:789"))
//!     .then_error(AlreadyBorrowed);
//! ```

// Failing is what a test is for.
#![allow(clippy::panic)]

use std::fmt::Debug;

use chrono::{DateTime, TimeDelta, Utc};
use pretty_assertions::Comparison;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::domain::aggregate::Aggregate;
use crate::domain::domain_event::DomainEvent;
use crate::event::Event;
use crate::event::candidate::EventCandidate;

/// A state that is folded from the given events.
///
/// # Panics
/// When an event can't be written or read back.
///
/// See [the module](self) for an example.
#[track_caller]
pub fn given<A: Aggregate>(events: impl IntoIterator<Item = A::Event>) -> Given<A> {
    let mut given = Given { state: A::default(), revision: 0, time: DateTime::UNIX_EPOCH };
    given.fold(None, events);
    given
}

/// The state for a decision: see [`given`].
#[derive(Debug)]
#[must_use = "it tests nothing without `when` and `then`"]
pub struct Given<A> {
    state: A,
    revision: u64,
    /// That of the last event.
    time: DateTime<Utc>,
}

impl<A: Aggregate> Given<A> {
    /// Further events, which were stored at this time. Use it if the state depends on
    /// [how events are stored](Aggregate::apply_stored). Other events are stored a millisecond after
    /// the one before, and the first one in 1970.
    ///
    /// # Panics
    /// When an event can't be written or read back.
    ///
    /// ```
    /// # use eventdb::Aggregate;
    /// # use eventdb::testing::given;
    /// # fn example<Book: Aggregate>(borrowed: Book::Event, yesterday: chrono::DateTime<chrono::Utc>) {
    /// let book = given::<Book>([]).at(yesterday, [borrowed]);
    /// # }
    /// ```
    #[track_caller]
    pub fn at(mut self, time: DateTime<Utc>, events: impl IntoIterator<Item = A::Event>) -> Self {
        self.fold(Some(time), events);
        self
    }

    #[track_caller]
    fn fold(&mut self, time: Option<DateTime<Utc>>, events: impl IntoIterator<Item = A::Event>) {
        for event in events {
            self.revision += 1;
            self.time = time.unwrap_or(self.time + TimeDelta::milliseconds(1));
            let (read, stored) = stored(&event, self.revision, self.time);
            self.state.apply_stored(read, &stored);
        }
    }

    /// The state after further events.
    #[track_caller]
    fn after(mut self, events: Vec<A::Event>) -> A {
        self.fold(None, events);
        self.state
    }

    /// A second aggregate, for a decision on both.
    ///
    /// # Panics
    /// When an event can't be written or read back.
    ///
    /// ```
    /// # use eventdb::Aggregate;
    /// # use eventdb::testing::given;
    /// # fn example<Book: Aggregate, User: Aggregate<Event: std::fmt::Debug + PartialEq>>(
    /// #     registered: User::Event, lend: impl Fn(&Book, &User) -> Result<(Vec<Book::Event>, Vec<User::Event>), String>)
    /// # where Book::Event: std::fmt::Debug + PartialEq {
    /// given::<Book>([]).and::<User>([registered]).when(lend).then([], []);
    /// # }
    /// ```
    #[track_caller]
    pub fn and<B: Aggregate>(self, events: impl IntoIterator<Item = B::Event>) -> GivenBoth<A, B> {
        GivenBoth { one: self, other: given(events) }
    }

    /// The decision.
    ///
    /// See [the module](self) for an example.
    pub fn when<I, E>(self, decide: impl FnOnce(&A) -> Result<I, E>) -> Then<A, E>
    where
        I: IntoIterator<Item = A::Event>,
    {
        let decided = decide(&self.state).map(|events| events.into_iter().collect());
        Then { given: self, decided }
    }
}

/// The result of a decision: see [`given`].
#[derive(Debug)]
#[must_use = "it tests nothing without `then`"]
pub struct Then<A: Aggregate, E> {
    given: Given<A>,
    decided: Result<Vec<A::Event>, E>,
}

impl<A: Aggregate, E> Then<A, E>
where
    A::Event: Debug + PartialEq,
    E: Debug,
{
    /// Asserts that the decision returned exactly these events, or none. Returns the state after
    /// them.
    ///
    /// # Panics
    /// If it didn't, or if an event can't be stored and read back.
    ///
    /// See [the module](self) for an example.
    #[track_caller]
    pub fn then(self, expected: impl IntoIterator<Item = A::Event>) -> A {
        let Self { given, decided } = self;
        let events = accepted(decided);
        compare::<A>("", &events, &expected.into_iter().collect::<Vec<_>>());
        given.after(events)
    }

    /// Hands out what was decided, for assertions that need more than equality. The events are as
    /// they would be read after they are stored.
    ///
    /// # Panics
    /// If the decision was rejected, or if an event can't be stored and read back.
    ///
    /// ```
    /// # use eventdb::Aggregate;
    /// # use eventdb::testing::given;
    /// # fn example<Book: Aggregate>(borrow: impl Fn(&Book) -> Result<Vec<Book::Event>, String>)
    /// # where Book::Event: std::fmt::Debug + PartialEq {
    /// let events = given::<Book>([]).when(borrow).then_events();
    /// assert_eq!(events.len(), 1);
    /// # }
    /// ```
    #[track_caller]
    pub fn then_events(self) -> Vec<A::Event> {
        let events = accepted(self.decided);
        check_stored(&events);
        events
    }

    /// Hands out what was decided, events or an error, without any assertion.
    pub fn decided(self) -> Result<Vec<A::Event>, E> {
        self.decided
    }

    /// Asserts that the decision returned this error.
    ///
    /// # Panics
    /// When it wasn't, or with another one.
    ///
    /// See [the module](self) for an example.
    #[track_caller]
    pub fn then_error(self, expected: E)
    where
        E: PartialEq,
    {
        compare_error(&self.decided, expected);
    }
}

/// Two states to decide on: see [`Given::and`].
#[derive(Debug)]
#[must_use = "it tests nothing without `when` and `then`"]
pub struct GivenBoth<A, B> {
    one: Given<A>,
    other: Given<B>,
}

impl<A: Aggregate, B: Aggregate> GivenBoth<A, B> {
    /// The decision, which returns the events of both.
    ///
    /// See [`Given::and`] for an example.
    pub fn when<I, J, E>(
        self,
        decide: impl FnOnce(&A, &B) -> Result<(I, J), E>,
    ) -> ThenBoth<A, B, E>
    where
        I: IntoIterator<Item = A::Event>,
        J: IntoIterator<Item = B::Event>,
    {
        let decided = decide(&self.one.state, &self.other.state)
            .map(|(one, other)| (one.into_iter().collect(), other.into_iter().collect()));
        ThenBoth { one: self.one, other: self.other, decided }
    }
}

/// What was decided for two aggregates: see [`Given::and`].
#[derive(Debug)]
#[must_use = "it tests nothing without `then`"]
pub struct ThenBoth<A: Aggregate, B: Aggregate, E> {
    one: Given<A>,
    other: Given<B>,
    #[expect(clippy::type_complexity, reason = "an alias would hide the types from `derive`")]
    decided: Result<(Vec<A::Event>, Vec<B::Event>), E>,
}

impl<A: Aggregate, B: Aggregate, E> ThenBoth<A, B, E>
where
    A::Event: Debug + PartialEq,
    B::Event: Debug + PartialEq,
    E: Debug,
{
    /// Exactly these events were decided on, for the one and the other. Returns their states.
    ///
    /// # Panics
    /// When they weren't, or one can't be stored and read back.
    ///
    /// See [`Given::and`] for an example.
    #[track_caller]
    pub fn then(
        self,
        expected: impl IntoIterator<Item = A::Event>,
        expected_of_other: impl IntoIterator<Item = B::Event>,
    ) -> (A, B) {
        let (one, other) = accepted(self.decided);
        compare::<A>(" of the first", &one, &expected.into_iter().collect::<Vec<_>>());
        let expected_of_other: Vec<_> = expected_of_other.into_iter().collect();
        compare::<B>(" of the second", &other, &expected_of_other);
        (self.one.after(one), self.other.after(other))
    }

    /// Hands out what was decided for the one and the other: see [`Then::then_events`].
    ///
    /// # Panics
    /// If the decision was rejected, or if an event can't be stored and read back.
    #[track_caller]
    pub fn then_events(self) -> (Vec<A::Event>, Vec<B::Event>) {
        let (one, other) = accepted(self.decided);
        check_stored(&one);
        check_stored(&other);
        (one, other)
    }

    /// Asserts that the decision returned this error.
    ///
    /// # Panics
    /// When it wasn't, or with another one.
    ///
    /// ```
    /// # use eventdb::Aggregate;
    /// # use eventdb::testing::given;
    /// # fn example<Book: Aggregate, User: Aggregate<Event: std::fmt::Debug + PartialEq>>(
    /// #     lend: impl Fn(&Book, &User) -> Result<(Vec<Book::Event>, Vec<User::Event>), String>)
    /// # where Book::Event: std::fmt::Debug + PartialEq {
    /// given::<Book>([]).and::<User>([]).when(lend).then_error("nobody knows the user".to_owned());
    /// # }
    /// ```
    #[track_caller]
    pub fn then_error(self, expected: E)
    where
        E: PartialEq,
    {
        compare_error(&self.decided, expected);
    }
}

#[track_caller]
fn compare<A: Aggregate>(whose: &str, decided: &Vec<A::Event>, expected: &Vec<A::Event>)
where
    A::Event: Debug + PartialEq,
{
    assert!(
        decided == expected,
        "other events{whose} were decided on than expected:\n\n{}\n",
        Comparison::new(decided, expected)
    );
    check_stored(decided);
}

#[track_caller]
fn check_stored<E: DomainEvent + Debug + PartialEq>(events: &[E]) {
    for event in events {
        let (restored, _) = stored(event, 1, DateTime::UNIX_EPOCH);
        assert!(
            restored == *event,
            "an event is another one once it is stored:\n\n{}\n",
            Comparison::new(event, &restored)
        );
    }
}

#[track_caller]
fn accepted<T, E: Debug>(decided: Result<T, E>) -> T {
    match decided {
        Ok(events) => events,
        Err(error) => panic!("expected events, but the decision was rejected: {error:?}"),
    }
}

#[track_caller]
fn compare_error<T: Debug + PartialEq, E: Debug + PartialEq>(decided: &Result<T, E>, expected: E) {
    let expected = Err(expected);
    assert!(
        *decided == expected,
        "another outcome than the expected error:\n\n{}\n",
        Comparison::new(decided, &expected)
    );
}

/// Checks that a state comes back from a snapshot as it was: what serde skips or rounds in it
/// would make another answer of [`Snapshots`](crate::Snapshots).
///
/// # Panics
/// When the state can't be written as JSON, can't be read again, or is another one then.
///
/// ```
/// use eventdb::testing::assert_snapshot_keeps;
/// # use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// struct Book {
///     borrower: Option<String>,
/// }
///
/// assert_snapshot_keeps(&Book { borrower: Some("user:456".to_owned()) });
/// ```
#[track_caller]
pub fn assert_snapshot_keeps<S>(state: &S)
where
    S: Serialize + DeserializeOwned + Debug + PartialEq,
{
    let json = serde_json::to_string(state)
        .unwrap_or_else(|error| panic!("the state can't be written as JSON: {error}"));
    let restored: S = serde_json::from_str(&json)
        .unwrap_or_else(|error| panic!("the state can't be read again from {json}: {error}"));
    assert!(
        restored == *state,
        "a state is another one once it comes from a snapshot:\n\n{}\n",
        Comparison::new(state, &restored)
    );
}

/// The event as it comes back from the store, and as it is stored.
#[track_caller]
fn stored<E: DomainEvent>(event: &E, revision: u64, time: DateTime<Utc>) -> (E, Event) {
    let (candidate, read) =
        match EventCandidate::typed_and_read_back(event, "https://eventdb.example.com", "test:1") {
            Ok(written) => written,
            Err(error) => panic!("{error}{}", causes(&error)),
        };
    let mut stored = Event::builder()
        .id(format!("test-{revision}"))
        .source(candidate.source)
        .ty(candidate.ty)
        .subject(candidate.subject)
        .time(time)
        .data(candidate.data)
        .maybe_dataschema(candidate.dataschema)
        .build();
    stored.revision = Some(revision);
    (read, stored)
}

/// What an error doesn't say itself.
fn causes(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |error| error.source())
        .map(|cause| format!("\n  because: {cause}"))
        .collect()
}
