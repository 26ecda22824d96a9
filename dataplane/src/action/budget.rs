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
//!
//! Workers that meet the same customer at once must not give it two buckets, nor fill again what one of them has
//! just taken from. So one at a time puts a customer into a set: who finds another at it does not wait, and leaves
//! this one packet without an answer. It looks again for the customer before it puts it there, and the bucket is
//! full before the customer's name is on it (release), which whoever finds the name sees (acquire). A bucket in
//! use is changed by compare-and-swap alone. A worker that is still at a bucket while it is given away takes its
//! token from the new customer: one answer less for that one, never one more.
//!
//! Workers read the clock each for itself, and one may lag behind: a refusal at its earlier instant must not move
//! a bucket back that another has emptied since. Only a bucket further ahead than [`LAG`] is, by a clock that was
//! set back.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam::utils::CachePadded;

use crate::keyed::{Keyed, number};

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
/// Microseconds that one worker's instant may be behind another's.
const LAG: u64 = 1_000_000;

#[derive(Default)]
struct Slot {
    customer: AtomicU64,
    full_at: AtomicU64,
}

/// One set of ways, on cache lines of its own.
#[derive(Default)]
struct Set {
    ways: CachePadded<[Slot; WAYS]>,
    /// Somebody puts a customer here.
    filling: AtomicBool,
}

/// What a refusal reads lies together; the one number that is written there is written for answers alone, which its
/// budget bounds.
#[repr(C, align(128))]
pub(crate) struct RejectBudget {
    /// In nanoseconds, since a second holds up to ten million tokens.
    all_full_at: AtomicU64,
    limits: RejectLimits,
    /// Nanoseconds until all together get one more token; none if they never do.
    each_nanos: Option<u64>,
    key: Keyed,
    sets: Box<[Set]>,
}

impl RejectBudget {
    pub(crate) fn new(limits: RejectLimits) -> RejectBudget {
        RejectBudget {
            all_full_at: AtomicU64::new(0),
            limits,
            each_nanos: 1_000_000_000u64.checked_div(u64::from(limits.per_second)),
            key: Keyed::new(),
            sets: (0..SETS).map(|_| Set::default()).collect(),
        }
    }

    /// Takes a token of the customer's and one of all customers', or none of either.
    pub(crate) fn take(&self, customer: IpAddr, now_micros: u64) -> bool {
        let RejectLimits { burst, interval_micros: interval, per_second } = self.limits;
        // Instant 0 is "full"; a clock that starts there is moved off it.
        let now = now_micros + 1;
        let Some(own) = self.bucket(customer, now) else { return false };
        if !take(own, now, interval, u64::from(burst), LAG) {
            return false;
        }
        let all = &self.all_full_at;
        let take_all = |each| take(all, now * 1000, each, u64::from(per_second), LAG * 1000);
        if !self.each_nanos.is_some_and(take_all) {
            let back = |full_at: u64| Some(full_at.saturating_sub(interval));
            let _ = own.fetch_update(Ordering::Relaxed, Ordering::Relaxed, back);
            return false;
        }
        true
    }

    /// Whether [`take`](RejectBudget::take) would say no now and change nothing. If it would, it still does for
    /// whoever asks later at the same instant: tokens only come with time. False where that can't be told without
    /// taking one.
    #[inline]
    pub(crate) fn is_spent(&self, customer: IpAddr, now_micros: u64) -> bool {
        let RejectLimits { burst, interval_micros: interval, per_second } = self.limits;
        let now = now_micros + 1;
        let Some(each) = self.each_nanos else { return true };
        let all = self.all_full_at.load(Ordering::Relaxed);
        if is_spent(all, now * 1000, each, u64::from(per_second), LAG * 1000) {
            return true;
        }
        let (hash, set) = self.place(customer);
        let known = set.ways.iter().find(|slot| slot.customer.load(Ordering::Acquire) == hash);
        known.is_some_and(|slot| {
            is_spent(slot.full_at.load(Ordering::Relaxed), now, interval, u64::from(burst), LAG)
        })
    }

    #[inline]
    fn place(&self, customer: IpAddr) -> (u64, &Set) {
        let hash = self.key.hash(number(customer)).max(1);
        (hash, &self.sets[hash as usize % SETS])
    }

    /// The customer's bucket; a full one if it had none. None while another customer is put beside it.
    fn bucket(&self, customer: IpAddr, now: u64) -> Option<&AtomicU64> {
        let (hash, set) = self.place(customer);
        let known = || set.ways.iter().find(|slot| slot.customer.load(Ordering::Acquire) == hash);
        if let Some(slot) = known() {
            return Some(&slot.full_at);
        }
        // Acquire and release: who comes after sees what was put here before.
        if set.filling.swap(true, Ordering::Acquire) {
            return None;
        }
        let slot = known().unwrap_or_else(|| {
            let nearest = set.ways.iter().min_by_key(|slot| slot.full_at.load(Ordering::Relaxed));
            let slot = nearest.unwrap_or(&set.ways[0]);
            slot.full_at.store(now, Ordering::Relaxed);
            slot.customer.store(hash, Ordering::Release);
            slot
        });
        set.filling.store(false, Ordering::Release);
        Some(&slot.full_at)
    }
}

/// Takes a token of a bucket of `burst` tokens that gets one each `interval`.
pub(crate) fn take(full_at: &AtomicU64, now: u64, interval: u64, burst: u64, lag: u64) -> bool {
    let whole = interval.saturating_mul(burst);
    let empty = now.saturating_add(whole);
    let mut taken = false;
    let next = |full_at: u64| {
        // Never much further ahead than an empty bucket: the clock has stepped back.
        let from = if full_at > empty.saturating_add(lag) { empty } else { full_at.max(now) };
        taken = from.saturating_add(interval) <= empty;
        let then = if taken { from + interval } else { from };
        (then != full_at).then_some(then)
    };
    // An error only says that the bucket is as it was.
    let _ = full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    taken
}

/// Whether a token would be refused, and the bucket left as it is.
#[inline]
fn is_spent(full_at: u64, now: u64, interval: u64, burst: u64, lag: u64) -> bool {
    let empty = now.saturating_add(interval.saturating_mul(burst));
    full_at >= now && full_at <= empty.saturating_add(lag) && full_at.saturating_add(interval) > empty
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
    fn a_spent_budget_is_known_before_it_is_asked_and_says_no() {
        let budget = budget(2, 1_000, 3);
        assert!(!budget.is_spent(customer(1), 0), "a customer that it does not know");
        let (mut spent, mut told) = (0, 0);
        for now in (0..3_000_000).step_by(250) {
            for n in 0..3 {
                let is_spent = budget.is_spent(customer(n), now);
                let taken = budget.take(customer(n), now);
                assert!(!(is_spent && taken), "customer {n} at {now}");
                (spent, told) = (spent + u32::from(is_spent), told + u32::from(!taken));
            }
        }
        assert!(spent > 30_000 && spent == told, "{spent} of {told}");
        assert!(RejectBudget::new(RejectLimits { per_second: 0, ..budget.limits }).is_spent(customer(1), 7));
    }

    #[test]
    fn nobody_is_answered_at_zero_per_second() {
        assert!(!budget(5, 1, 0).take(customer(1), 7));
    }

    #[test]
    fn after_a_clock_has_stepped_back_a_customer_has_its_burst_again_one_by_one() {
        let bucket = AtomicU64::new(0);
        let take = |now| take(&bucket, now, 1_000, 2, LAG);
        let late = 1_000_000_000;
        assert!(take(late) && take(late) && !take(late));
        // As empty as it was, whatever the clock says now.
        assert!(!take(5) && !take(1_004));
        assert!(take(1_005) && !take(1_006));
        assert!(take(2_005) && !take(2_006));
        assert!(take(4_005) && take(4_005) && !take(4_005));
    }

    #[test]
    fn after_a_clock_has_stepped_back_all_together_are_answered_again_at_their_rate() {
        let budget = budget(5, 10, 1_000);
        assert!(budget.take(customer(1), 1_000_000_000));
        assert!(!budget.take(customer(2), 5));
        assert!(budget.take(customer(2), 1_005) && !budget.take(customer(3), 1_006));
        assert!(budget.take(customer(3), 2_005));
    }

    #[test]
    fn a_worker_whose_clock_lags_gives_nothing_back() {
        let budget = budget(1_000_000, 1, 1_000);
        let now = 10_000_000;
        assert!((0..1_000).all(|n| budget.take(customer(n), now)));
        for n in 0..1_000 {
            assert!(!budget.take(customer(n), now - 900_000), "refused by the budget of all");
            assert!(!budget.take(customer(n), now));
        }
        assert!(budget.take(customer(1), now + 1_000), "one of all is back");
        assert!(!budget.take(customer(1), now + 1_000));
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

    #[test]
    fn threads_that_meet_new_customers_together_give_none_of_them_more_than_its_budget() {
        const CUSTOMERS: usize = 20_000;
        const THREADS: usize = 4;
        let budget = budget(2, 1_000_000_000, 10_000_000);
        let taken: Vec<AtomicU64> = (0..CUSTOMERS).map(|_| AtomicU64::new(0)).collect();
        let begun = std::sync::Barrier::new(THREADS);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    begun.wait();
                    for (n, taken) in taken.iter().enumerate() {
                        for _ in 0..2 {
                            taken.fetch_add(budget.take(customer(n as u32), 0).into(), Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        let taken: Vec<u64> = taken.into_iter().map(AtomicU64::into_inner).collect();
        assert!(taken.iter().all(|taken| *taken <= 2));
        // Each is answered but where two threads put customers into one set at the same moment.
        let whole = taken.iter().filter(|taken| **taken == 2).count();
        assert!(whole > CUSTOMERS * 9 / 10, "{whole}");
    }
}
