//! The capacity that operations consume, as DynamoDB reports it.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_dynamodb::types;

/// Capacity units and requests, as DynamoDB reports them in its answers.
///
/// Failed requests are counted, but DynamoDB doesn't report their units.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct ConsumedCapacity {
    /// [Read units](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/capacity-mode.html),
    /// of 4 KB each if strongly consistent.
    pub read_units: f64,
    /// Write units, of 1 KB each.
    pub write_units: f64,
    /// The units, both read and write, that the table itself consumed.
    pub table_units: f64,
    /// The units, both read and write, that each index consumed.
    pub index_units: BTreeMap<String, f64>,
    /// Number of requests, including failed ones.
    pub requests: u64,
}

impl AddAssign<&Self> for ConsumedCapacity {
    fn add_assign(&mut self, other: &Self) {
        self.read_units += other.read_units;
        self.write_units += other.write_units;
        self.table_units += other.table_units;
        self.requests += other.requests;
        for (index, units) in &other.index_units {
            *self.index_units.entry(index.clone()).or_default() += units;
        }
    }
}

/// Whether the units of a request are read or write units.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Read,
    Write,
}

impl ConsumedCapacity {
    /// A failed request, whose units aren't known.
    pub(crate) fn unanswered() -> Self {
        Self { requests: 1, ..Self::default() }
    }

    /// The capacity that one answered request consumed.
    pub(crate) fn of_request(kind: Kind, parts: &[types::ConsumedCapacity]) -> Self {
        let mut total = Self { requests: 1, ..Self::default() };
        let units = |capacity: &types::Capacity| capacity.capacity_units.unwrap_or_default();
        for part in parts {
            let part_units = part.capacity_units.unwrap_or_default();
            match kind {
                Kind::Read => total.read_units += part_units,
                // DynamoDB answers and bills a repeated transaction as a read.
                Kind::Write => match part.read_capacity_units {
                    Some(read) if part.write_capacity_units.is_none() => total.read_units += read,
                    _ => total.write_units += part_units,
                },
            }
            total.table_units += part.table.as_ref().map(units).unwrap_or_default();
            let indexes = [&part.local_secondary_indexes, &part.global_secondary_indexes];
            for (index, capacity) in indexes.into_iter().flatten().flatten() {
                *total.index_units.entry(index.clone()).or_default() += units(capacity);
            }
        }
        total
    }
}

/// Adds up the capacity that the operations of a store consume: see
/// [`EventDb::metered_by`](crate::EventDb::metered_by).
///
/// Clones share one sum.
#[derive(Debug, Clone, Default)]
pub struct CapacityMeter(Arc<Mutex<ConsumedCapacity>>);

impl CapacityMeter {
    /// A meter at zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// The sum so far.
    pub fn total(&self) -> ConsumedCapacity {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the sum so far and resets the meter to zero.
    pub fn take(&self) -> ConsumedCapacity {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn add(&self, consumed: &ConsumedCapacity) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += consumed;
    }
}
