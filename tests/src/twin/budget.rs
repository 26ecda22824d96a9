//! The budgets of `reject` (section 4; 7.21), in whole numbers.

use std::collections::HashMap;
use std::net::IpAddr;

use super::config::{Limits, Micros};

/// A bucket. `cost` of its units pay for one answer; it holds `capacity` and gains `rate` of them a
/// microsecond.
#[derive(Clone, Debug)]
struct Bucket {
    units: u128,
    capacity: u128,
    rate: u128,
    cost: u128,
    filled: Micros,
}

impl Bucket {
    fn full(capacity: u128, rate: u128, cost: u128, now: Micros) -> Self {
        Self { units: capacity, capacity, rate, cost, filled: now }
    }

    fn can_pay(&mut self, now: Micros) -> bool {
        let passed = u128::try_from(now.saturating_sub(self.filled)).unwrap_or(0);
        self.units = self.capacity.min(self.units.saturating_add(passed * self.rate));
        self.filled = self.filled.max(now);
        self.capacity >= self.cost && self.units >= self.cost
    }

    fn pay(&mut self) {
        self.units -= self.cost;
    }
}

/// One bucket for every customer address, and one for all.
#[derive(Clone, Debug)]
pub(super) struct Budgets {
    customers: HashMap<IpAddr, Bucket>,
    all: Option<Bucket>,
    burst: u64,
    interval: Micros,
    per_second: u64,
}

impl Budgets {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            customers: HashMap::new(),
            all: None,
            burst: limits.reject_burst,
            interval: limits.reject_interval,
            per_second: limits.reject_per_second,
        }
    }

    /// Takes one answer to the customer from both budgets, or nothing from either.
    pub(super) fn take(&mut self, customer: IpAddr, now: Micros) -> bool {
        // One customer: `burst` answers, then one more every `interval`.
        let interval = u128::try_from(self.interval).unwrap_or(0);
        let own = self
            .customers
            .entry(customer)
            .or_insert_with(|| Bucket::full(u128::from(self.burst) * interval, 1, interval, now));
        // All customers: one second's answers, full at the start.
        let per_second = u128::from(self.per_second);
        let all =
            self.all.get_or_insert_with(|| Bucket::full(per_second * 1_000_000, per_second, 1_000_000, now));
        let both = own.can_pay(now) & all.can_pay(now);
        if both {
            own.pay();
            all.pay();
        }
        both
    }
}
