//! What the bank's team writes: events, the state, and the decision.

use eventdb::{Aggregate, DomainEvent, UnknownTypes};
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum AccountEvent {
    #[serde(rename = "account.booked")]
    Booked { cents: i64 },
}

impl DomainEvent for AccountEvent {
    const UNKNOWN_TYPES: UnknownTypes = UnknownTypes::Reject;
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Account {
    pub(crate) balance: i64,
}

impl Aggregate for Account {
    type Event = AccountEvent;

    fn apply(&mut self, AccountEvent::Booked { cents }: AccountEvent) {
        self.balance = self.balance.saturating_add(cents);
    }
}

/// Why the bank says no.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum Rejection {
    #[error("the balance is {balance} cents, which is too little")]
    Overdrawn { balance: i64 },
    #[error("a booking of 0 cents books nothing")]
    Nothing,
}

impl Account {
    /// Books an amount, negative to withdraw it. The balance stays at 0 cents or more.
    pub(crate) fn book(&self, cents: i64) -> Result<[AccountEvent; 1], Rejection> {
        if cents == 0 {
            return Err(Rejection::Nothing);
        }
        match self.balance.checked_add(cents) {
            Some(0..) => Ok([AccountEvent::Booked { cents }]),
            _ => Err(Rejection::Overdrawn { balance: self.balance }),
        }
    }
}
