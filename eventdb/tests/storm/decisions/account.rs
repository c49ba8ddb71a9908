//! The domain of the storm over decisions: accounts, and events that say what their decision saw.

use std::collections::BTreeMap;

use eventdb::{Aggregate, DomainEvent, UnknownTypes};
use serde::{Deserialize, Serialize};

/// What a decision saw, by subject.
pub(crate) type Seen = BTreeMap<String, Account>;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum AccountEvent {
    #[serde(rename = "account.booked")]
    Booked {
        cents: i64,
        /// The call that decided on it.
        call: u64,
        /// Its place among the events of that call, from 0, and how many these are.
        place: usize,
        of: usize,
        seen: Seen,
    },
}

impl DomainEvent for AccountEvent {
    const UNKNOWN_TYPES: UnknownTypes = UnknownTypes::Reject;
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Account {
    /// How many events it is made of.
    pub(crate) revision: u64,
    pub(crate) cents: i64,
}

impl Aggregate for Account {
    type Event = AccountEvent;

    fn apply(&mut self, AccountEvent::Booked { cents, .. }: AccountEvent) {
        self.revision += 1;
        self.cents += cents;
    }
}

/// A decision that says no, because all of what it saw has too little.
#[derive(Debug, thiserror::Error)]
#[error("too little: {0:?}")]
pub(crate) struct TooLittle(pub(crate) Seen);

/// What a caller wants.
#[derive(Debug, Clone)]
pub(crate) struct Intent {
    pub(crate) kind: Kind,
    /// The account that is loaded first.
    pub(crate) account: String,
    pub(crate) other: String,
    pub(crate) cents: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One account, several events.
    Deposit,
    /// One account; nothing to do for 0 cents.
    Withdraw,
    /// Two accounts, events of both.
    Transfer,
    /// Two accounts, events of one: the other one vouches for it. Two of these must not meet.
    Overdraw,
    /// Several accounts, found on the way; events of the poorest.
    Collect,
    /// The same, with events of all of them.
    Share,
}

impl Intent {
    /// The bookings, by subject.
    pub(crate) fn decide(&self, seen: &Seen) -> Result<Vec<(String, i64)>, TooLittle> {
        let Self { kind, account, other, cents } = self;
        let total: i64 = seen.values().map(|account| account.cents).sum();
        let available = match kind {
            Kind::Withdraw | Kind::Transfer => seen[account].cents,
            _ => total,
        };
        if *kind != Kind::Deposit && available < *cents {
            return Err(TooLittle(seen.clone()));
        }
        let poorest = seen.iter().min_by_key(|(_, account)| account.cents);
        let poorest = poorest.map(|(subject, _)| subject.clone()).unwrap_or_default();
        Ok(match kind {
            Kind::Deposit => (1..=1 + *cents % 3).map(|part| (account.clone(), part)).collect(),
            Kind::Withdraw if *cents == 0 => vec![],
            Kind::Withdraw | Kind::Overdraw => vec![(account.clone(), -cents)],
            Kind::Transfer => vec![(account.clone(), -cents), (other.clone(), *cents)],
            Kind::Collect => vec![(poorest.clone(), -cents), (poorest, 1)],
            Kind::Share => seen.keys().map(|subject| (subject.clone(), 1)).collect(),
        })
    }

    /// The events of a call.
    pub(crate) fn events(
        &self,
        call: u64,
        seen: &Seen,
    ) -> Result<Vec<(String, AccountEvent)>, TooLittle> {
        let bookings = self.decide(seen)?;
        let of = bookings.len();
        let events = bookings.into_iter().enumerate().map(|(place, (subject, cents))| {
            (subject, AccountEvent::Booked { cents, call, place, of, seen: seen.clone() })
        });
        Ok(events.collect())
    }
}
