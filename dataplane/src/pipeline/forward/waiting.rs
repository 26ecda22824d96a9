//! Frames that wait until their next hop's MAC is known (RFC 1812 §3.3.2, RFC 4861 §7.2.2).
//!
//! Each worker has places of its own, made once. A frame is copied into one, so that none of a driver's memory waits with
//! it. Whoever is full drops what comes, not what waits: the first packets of a flow are those that are missed.

use arrayvec::ArrayVec;

use crate::clock::Instant;
use crate::policy::{Decision, PortId};
use crate::route::{LinkId, NextHop};

/// Frames that wait, at most, and of them for one next hop.
const PLACES: usize = 256;
const EACH: usize = 16;
/// The longest that waits.
const LONGEST: usize = 9216;
/// How long: as long as the kernel asks by ARP, three times a second each.
const PATIENCE_MICROS: u64 = 3_000_000;
/// A next hop is asked for once in so long.
const ASK_MICROS: u64 = 1_000_000;

/// A frame that waits.
pub(super) struct Waiter {
    pub(super) next: NextHop,
    /// The port it came by.
    pub(super) port: PortId,
    /// What the policy decided.
    pub(super) decision: Decision,
    /// Until when it waits.
    until: u64,
    pub(super) frame: Vec<u8>,
}

/// The frames of one worker that wait.
pub(super) struct Waiting {
    waiters: ArrayVec<Waiter, PLACES>,
    free: Vec<Waiter>,
    /// What was asked for, and when.
    asked: ArrayVec<(NextHop, u64), PLACES>,
    /// The snapshot that they were looked at with.
    pub(super) seen: u64,
}

/// What becomes of a frame that is to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    /// It waits, and its next hop is to be asked for.
    Ask,
    /// It waits.
    Waits,
    /// There is no place.
    Full,
}

impl Waiting {
    pub(super) fn new() -> Waiting {
        let next = NextHop { link: LinkId(0), address: None };
        let waiter = || Waiter {
            next,
            port: PortId(0),
            decision: Decision::UNDECIDED,
            until: 0,
            frame: Vec::with_capacity(LONGEST),
        };
        Waiting {
            waiters: ArrayVec::new(),
            free: (0..PLACES).map(|_| waiter()).collect(),
            asked: ArrayVec::new(),
            seen: 0,
        }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    /// Has a copy of a frame wait.
    pub(super) fn put(
        &mut self,
        next: NextHop,
        port: PortId,
        decision: &Decision,
        frame: &[u8],
        now: Instant,
    ) -> Put {
        let now = now.monotonic_micros;
        let same = self.waiters.iter().filter(|waiter| waiter.next == next).count();
        if same >= EACH || frame.len() > LONGEST {
            return Put::Full;
        }
        let Some(mut waiter) = self.free.pop() else { return Put::Full };
        (waiter.next, waiter.port, waiter.decision) = (next, port, *decision);
        waiter.until = now.saturating_add(PATIENCE_MICROS);
        waiter.frame.clear();
        waiter.frame.extend_from_slice(frame);
        // There are as many places as waiters.
        self.waiters.push(waiter);
        match self.may_ask(next, now) {
            true => Put::Ask,
            false => Put::Waits,
        }
    }

    /// Whether a next hop has not been asked for in a while; it has been, from now on.
    fn may_ask(&mut self, next: NextHop, now: u64) -> bool {
        // A clock that was set back forgets what it asked.
        self.asked.retain(|(_, at)| (*at..at.saturating_add(ASK_MICROS)).contains(&now));
        if self.asked.iter().any(|(asked, _)| *asked == next) {
            return false;
        }
        // Without a place it is asked for again, that is all.
        let _ = self.asked.try_push((next, now));
        true
    }

    /// Takes out the first of those that need not wait any more: all at a new snapshot, else those that waited too long.
    /// Says whether it waited too long. Those that wait on are put [back](Waiting::wait_on).
    pub(super) fn take(&mut self, from: usize, all: bool, now: Instant) -> Option<(Waiter, bool)> {
        let late = |waiter: &Waiter| {
            let left = waiter.until.saturating_sub(now.monotonic_micros);
            left == 0 || left > PATIENCE_MICROS
        };
        let at = (from..self.waiters.len()).find(|&at| all || late(&self.waiters[at]))?;
        let waiter = self.waiters.remove(at);
        let late = late(&waiter);
        Some((waiter, late))
    }

    /// Has a frame that was taken out wait on, in its order.
    pub(super) fn wait_on(&mut self, at: usize, waiter: Waiter) {
        self.waiters.insert(at.min(self.waiters.len()), waiter);
    }

    /// Gives a place back.
    pub(super) fn give_back(&mut self, waiter: Waiter) {
        self.free.push(waiter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: i64) -> Instant {
        Instant::from_utc_micros(micros)
    }

    fn next(n: u32) -> NextHop {
        NextHop { link: LinkId(1), address: Some(std::net::Ipv4Addr::from_bits(n).into()) }
    }

    #[test]
    fn a_next_hop_has_its_share_of_the_places_and_is_asked_for_once_a_second() {
        let mut waiting = Waiting::new();
        let mut put = |n, now| waiting.put(next(n), PortId(0), &Decision::UNDECIDED, b"frame", at(now));
        assert_eq!(put(1, 0), Put::Ask);
        assert!((1..EACH).all(|_| put(1, 10) == Put::Waits));
        assert_eq!(put(1, 20), Put::Full);
        assert_eq!(put(2, 20), Put::Ask);
        assert_eq!(put(2, 1_000_019), Put::Waits);
        assert_eq!(put(2, 1_000_020), Put::Ask);
        for n in 3..300 {
            put(n, 1_000_030);
        }
        assert_eq!(put(1000, 1_000_040), Put::Full, "all places are taken");
    }

    #[test]
    fn those_that_waited_too_long_are_taken_out_and_the_others_keep_their_order() {
        let mut waiting = Waiting::new();
        for n in 0..3 {
            waiting.put(next(n), PortId(0), &Decision::UNDECIDED, &[n as u8], at(i64::from(n)));
        }
        assert!(waiting.take(0, false, at(2_999_999)).is_none());
        let (first, late) = waiting.take(0, false, at(3_000_000)).unwrap();
        assert!(late && first.frame == [0]);
        assert!(waiting.take(0, false, at(3_000_000)).is_none());
        let (second, late) = waiting.take(0, true, at(3_000_000)).unwrap();
        assert!(!late && second.frame == [1]);
        waiting.wait_on(0, second);
        let (second, _) = waiting.take(0, true, at(3_000_000)).unwrap();
        assert_eq!(second.frame, [1]);
        waiting.give_back(first);
        waiting.give_back(second);
        assert!(!waiting.is_empty());
    }
}
