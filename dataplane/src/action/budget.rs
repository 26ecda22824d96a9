//! The budgets of rejects: one per customer address, one for all together; shared by all workers, without a
//! lock, in bounded memory.
//!
//! A token bucket is kept as one number, the instant at which it will be full again (the virtual scheduling
//! form of the generic cell rate algorithm, ITU-T I.371 §A). Taking a token moves that instant one interval
//! on, by compare-and-swap; a bucket whose instant has passed is full, so a slot in that state holds nothing
//! and can be given to another customer.
//!
//! Customers lie in a set-associative table under a keyed 64-bit hash. Two customers with the same hash would
//! share a bucket; by chance that does not happen, and the key keeps it from being arranged. If all ways of a
//! set are in use, the one nearest to full is given away: that customer is full again a little early, which
//! the budget of all together bounds.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::utils::CachePadded;

/// How often a reject answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RejectLimits {
    /// Answers that a customer address gets at once.
    pub burst: u32,
    /// Microseconds until it gets one more.
    pub interval_micros: u64,
    /// Answers in a second, all customers together.
    pub per_second: u32,
}

impl Default for RejectLimits {
    fn default() -> Self {
        RejectLimits { burst: 5, interval_micros: 10_000_000, per_second: 10_000 }
    }
}

const WAYS: usize = 8;
const SETS: usize = 1 << 14;

#[derive(Default)]
struct Slot {
    customer: AtomicU64,
    full_at: AtomicU64,
}

/// One set of ways, on cache lines of its own.
type Set = CachePadded<[Slot; WAYS]>;

pub(crate) struct RejectBudget {
    limits: RejectLimits,
    hasher: RandomState,
    sets: Box<[Set]>,
    /// In nanoseconds, since a second holds up to ten million tokens.
    all_full_at: CachePadded<AtomicU64>,
}

impl RejectBudget {
    pub(crate) fn new(limits: RejectLimits) -> RejectBudget {
        RejectBudget {
            limits,
            hasher: RandomState::new(),
            sets: (0..SETS).map(|_| Set::default()).collect(),
            all_full_at: CachePadded::default(),
        }
    }

    /// Takes a token of the customer's and one of all customers', or none of either.
    pub(crate) fn take(&self, customer: IpAddr, now_micros: u64) -> bool {
        let RejectLimits { burst, interval_micros: interval, per_second } = self.limits;
        // Instant 0 is "full"; a clock that starts there is moved off it.
        let now = now_micros + 1;
        let own = self.bucket(customer, now);
        if !take(own, now, interval, u64::from(burst)) {
            return false;
        }
        let each = 1_000_000_000u64.checked_div(u64::from(per_second)).unwrap_or(0);
        if per_second == 0 || !take(&self.all_full_at, now * 1000, each, u64::from(per_second)) {
            own.fetch_sub(interval, Ordering::Relaxed);
            return false;
        }
        true
    }

    /// The customer's bucket; a full one if it had none.
    fn bucket(&self, customer: IpAddr, now: u64) -> &AtomicU64 {
        let hash = self.hasher.hash_one(customer).max(1);
        let ways = &*self.sets[hash as usize % SETS];
        if let Some(slot) = ways.iter().find(|slot| slot.customer.load(Ordering::Relaxed) == hash) {
            return &slot.full_at;
        }
        loop {
            let nearest = ways.iter().min_by_key(|slot| slot.full_at.load(Ordering::Relaxed));
            let slot = nearest.unwrap_or(&ways[0]);
            let before = slot.customer.load(Ordering::Relaxed);
            if slot.customer.compare_exchange(before, hash, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                slot.full_at.fetch_min(now, Ordering::Relaxed);
                return &slot.full_at;
            }
        }
    }
}

/// Takes a token of a bucket of `burst` tokens that gets one each `interval`.
fn take(full_at: &AtomicU64, now: u64, interval: u64, burst: u64) -> bool {
    let whole = interval.saturating_mul(burst);
    let mut taken = false;
    let next = |full_at: u64| {
        // Never further ahead than an empty bucket: the clock may have stepped back.
        let from = full_at.clamp(now, now + whole);
        taken = from + interval <= now + whole;
        let then = if taken { from + interval } else { from };
        (then != full_at).then_some(then)
    };
    // An error only says that the bucket is as it was.
    let _ = full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn customer(n: u32) -> IpAddr {
        IpAddr::V4(std::net::Ipv4Addr::from_bits(n))
    }

    fn budget(burst: u32, interval_micros: u64, per_second: u32) -> RejectBudget {
        RejectBudget::new(RejectLimits { burst, interval_micros, per_second })
    }

    #[test]
    fn a_customer_has_a_burst_and_then_one_each_interval() {
        let budget = budget(5, 10_000_000, 10_000);
        assert!((0..5).all(|n| budget.take(customer(1), n)));
        assert!(!budget.take(customer(1), 5));
        assert!(budget.take(customer(2), 5), "another customer");
        assert!(!budget.take(customer(1), 9_999_999));
        assert!(budget.take(customer(1), 10_000_000));
        assert!(!budget.take(customer(1), 10_000_001));
        assert!((0..5).all(|n| budget.take(customer(1), 1_000_000_000 + n)), "full again");
        assert!(!budget.take(customer(1), 1_000_000_005));
    }

    #[test]
    fn a_refusal_for_all_costs_the_customer_nothing() {
        let budget = budget(1, 10_000_000, 2);
        assert!(budget.take(customer(1), 0) && budget.take(customer(2), 0));
        assert!(!budget.take(customer(3), 0));
        assert!(budget.take(customer(3), 500_000), "one token of all is back");
        assert!(!budget.take(customer(3), 2_000_000));
    }

    #[test]
    fn nobody_is_answered_at_zero_per_second() {
        assert!(!budget(5, 1, 0).take(customer(1), 7));
    }

    #[test]
    fn a_clock_that_steps_back_does_not_silence_a_customer_for_long() {
        let budget = budget(2, 1_000, 10_000);
        let late = 1_000_000_000;
        assert!(budget.take(customer(1), late) && budget.take(customer(1), late));
        assert!(!budget.take(customer(1), 5));
        assert!(budget.take(customer(1), 1_005) || budget.take(customer(1), 2_010));
    }

    #[test]
    fn a_table_full_of_customers_still_gives_each_new_one_its_answer() {
        let budget = budget(1, 1_000_000_000, 10_000_000);
        let customers = (WAYS * SETS * 2) as u32;
        assert!((0..customers).all(|n| budget.take(customer(n), u64::from(n))));
    }

    #[test]
    fn threads_together_never_take_more_than_the_budget() {
        let budget = budget(1_000, 1_000_000_000, 10_000_000);
        let taken = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        taken.fetch_add(budget.take(customer(7), 0).into(), Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(taken.into_inner(), 1_000);
    }
}
