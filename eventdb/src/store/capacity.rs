//! The capacity that operations consume, as DynamoDB reports it.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::ops::AddAssign;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_dynamodb::types;
use tokio::time::Instant;

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
/// [`EventDb::metered_by`](crate::EventDb::metered_by). It can also limit how much they consume per
/// second.
///
/// Clones share one sum and one limit.
#[derive(Debug, Clone, Default)]
pub struct CapacityMeter(Arc<Mutex<Metered>>);

#[derive(Debug, Default)]
struct Metered {
    total: ConsumedCapacity,
    limit: Option<Limit>,
}

/// What a request costs is known only afterwards. So each request is followed by a pause that is as
/// long as its units would have taken.
#[derive(Debug)]
struct Limit {
    units_per_second: f64,
    /// When everything that was consumed so far has had its time.
    settled_at: Instant,
}

impl CapacityMeter {
    /// A meter at zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// A meter at zero. Those who use it together consume at most this many units per second, reads
    /// and writes added up, on average: each request is followed by a pause. Use it where much is read
    /// or written next to services that need their share of the table.
    ///
    /// ```no_run
    /// # async fn example(db: eventdb::EventDb) -> Result<(), eventdb::Error> {
    /// # const RATE: std::num::NonZeroU32 = std::num::NonZeroU32::MIN;
    /// let slow = db.metered_by(&eventdb::CapacityMeter::limited_to(RATE));
    /// # Ok(())
    /// # }
    /// ```
    pub fn limited_to(units_per_second: NonZeroU32) -> Self {
        let limit = Limit {
            units_per_second: f64::from(units_per_second.get()),
            settled_at: Instant::now(),
        };
        Self(Arc::new(Mutex::new(Metered {
            total: ConsumedCapacity::default(),
            limit: Some(limit),
        })))
    }

    /// The sum so far.
    pub fn total(&self) -> ConsumedCapacity {
        self.metered().total.clone()
    }

    /// Returns the sum so far and resets the meter to zero.
    pub fn take(&self) -> ConsumedCapacity {
        std::mem::take(&mut self.metered().total)
    }

    /// Lets work that isn't measured take its part of the [limit](Self::limited_to), as if it had
    /// consumed these units, and waits as long as they take. It isn't added to the sum.
    pub async fn pace(&self, units: f64) {
        self.settle(units);
        self.keep_rate().await;
    }

    pub(crate) fn add(&self, consumed: &ConsumedCapacity) {
        self.metered().total += consumed;
        self.settle(consumed.read_units + consumed.write_units);
    }

    /// Waits until what was consumed has had its time.
    pub(crate) async fn keep_rate(&self) {
        let until = self.metered().limit.as_ref().map(|limit| limit.settled_at);
        if let Some(until) = until {
            tokio::time::sleep_until(until).await;
        }
    }

    fn settle(&self, units: f64) {
        if let Some(limit) = &mut self.metered().limit {
            let takes = Duration::try_from_secs_f64(units / limit.units_per_second);
            limit.settled_at = limit.settled_at.max(Instant::now()) + takes.unwrap_or_default();
        }
    }

    fn metered(&self) -> MutexGuard<'_, Metered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{CapacityMeter, ConsumedCapacity};

    #[tokio::test(start_paused = true)]
    async fn a_limited_meter_lets_so_many_units_pass_per_second() {
        let meter = CapacityMeter::limited_to(NonZeroU32::new(100).expect("a rate"));
        let begun = Instant::now();
        for _ in 0..4 {
            meter.add(&ConsumedCapacity {
                read_units: 30.0,
                write_units: 20.0,
                ..Default::default()
            });
            meter.keep_rate().await;
        }
        assert_eq!(begun.elapsed(), Duration::from_secs(2));
        meter.pace(100.0).await;
        assert_eq!(begun.elapsed(), Duration::from_secs(3));
        assert_eq!(meter.total().read_units, 120.0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_meter_without_a_limit_never_waits() {
        let meter = CapacityMeter::new();
        let begun = Instant::now();
        meter.pace(1e9).await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}
