//! Frames that wait until their next hop's MAC is known (RFC 1812 §3.3.2, RFC 4861 §7.2.2).
//!
//! Each worker has places of its own, made once. A frame is copied into one, so that none of a driver's memory waits with
//! it. Whoever is full drops what comes, not what waits: the first packets of a flow are those that are missed. Without a place
//! for the packet its next hop is asked for all the same. Places and asks are shared fairly among the links, so that who
//! scans a network without hosts takes neither from the others.
//!
//! All wait equally long, so that those that came first are those that are late first: nothing looks at more frames than
//! it takes out, but for a new snapshot, at which each is looked at once, and now and then: a route that changes to a next
//! hop which others have already needs no new snapshot, and one may be seen before the prefixes that it was made for change.

use arrayvec::ArrayVec;

use super::hops::Hops;
use super::shares::Shares;
use crate::clock::Instant;
use crate::policy::{Decision, PortId};
use crate::route::{LinkId, NextHop};

/// Frames that wait, at most, and of them for one next hop.
const PLACES: usize = 256;
const EACH: u8 = 16;
/// The longest that waits.
const LONGEST: usize = 9216;
/// How long: as long as the kernel asks by ARP, three times a second each.
const PATIENCE_MICROS: u64 = 3_000_000;
/// All are looked at once in so long.
const LOOK_MICROS: u64 = 100_000;
/// Hosts that are asked for in a second, at most.
const ASKS: u16 = 512;
const SECOND_MICROS: u64 = 1_000_000;
/// No place.
const NONE: u16 = u16::MAX;

/// Whom a frame waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whom {
    /// Another router, of which there are as many as routes name.
    Router,
    /// Its destination, of which there may be any number.
    Host,
}

/// Whether somebody is to be asked for a next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// Now.
    Now,
    /// That has been done.
    Done,
    /// Its link's share of this second is used up.
    Refused,
}

/// A frame that waits.
pub(super) struct Waiter {
    pub(super) next: NextHop,
    /// The port it came by.
    pub(super) port: PortId,
    /// What the policy decided.
    pub(super) decision: Decision,
    pub(super) frame: Vec<u8>,
}

/// A place, with its neighbours in the order in which the frames came.
struct Place {
    next: NextHop,
    port: PortId,
    decision: Decision,
    /// Until when the frame waits.
    until: u64,
    frame: Vec<u8>,
    before: u16,
    after: u16,
}

/// The frames of one worker that wait.
pub(super) struct Waiting {
    places: Box<[Place]>,
    free: ArrayVec<u16, PLACES>,
    oldest: u16,
    newest: u16,
    hops: Hops,
    shares: Shares,
    /// The asks of the second that began then.
    asks: Shares,
    second: u64,
    /// The snapshot that they were looked at with, and when.
    seen: u64,
    looked: u64,
}

impl Waiting {
    pub(super) fn new() -> Waiting {
        let next = NextHop { link: LinkId(0), address: None };
        let place = || Place {
            next,
            port: PortId(0),
            decision: Decision::UNDECIDED,
            until: 0,
            frame: Vec::with_capacity(LONGEST),
            before: NONE,
            after: NONE,
        };
        Waiting {
            places: (0..PLACES).map(|_| place()).collect(),
            free: (0..PLACES as u16).collect(),
            oldest: NONE,
            newest: NONE,
            hops: Hops::new(),
            shares: Shares::new(PLACES as u16),
            asks: Shares::new(ASKS),
            second: 0,
            seen: 0,
            looked: 0,
        }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.oldest == NONE
    }

    /// Whether all are to be looked at: the snapshot in force is another one, or the last time is some time ago.
    pub(super) fn are_due(&self, snapshot: u64, now: Instant) -> bool {
        let looked = self.looked..self.looked.saturating_add(LOOK_MICROS);
        snapshot != self.seen || !looked.contains(&now.monotonic_micros)
    }

    /// All were looked at.
    pub(super) fn looked_at(&mut self, snapshot: u64, now: Instant) {
        (self.seen, self.looked) = (snapshot, now.monotonic_micros);
    }

    /// Whether one more frame may wait for a next hop.
    fn may_wait(&mut self, next: NextHop) -> bool {
        self.shares.may_take(next.link) && self.hops.place(next).is_some_and(|hop| hop.waiting < EACH)
    }

    fn count(&mut self, next: NextHop) {
        self.shares.take(next.link);
        if let Some(hop) = self.hops.known(next) {
            hop.waiting += 1;
        }
    }

    fn discount(&mut self, next: NextHop) {
        self.shares.give_back(next.link);
        if let Some(hop) = self.hops.known(next) {
            hop.waiting -= 1;
        }
    }

    /// Has a copy of a frame wait; false if there is no place for it.
    pub(super) fn put(
        &mut self,
        next: NextHop,
        port: PortId,
        decision: &Decision,
        frame: &[u8],
        now: Instant,
    ) -> bool {
        if frame.len() > LONGEST || !self.may_wait(next) {
            return false;
        }
        let Some(at) = self.free.pop() else { return false };
        self.count(next);
        let before = self.newest;
        let place = &mut self.places[usize::from(at)];
        (place.next, place.port, place.decision) = (next, port, *decision);
        place.until = now.monotonic_micros.saturating_add(PATIENCE_MICROS);
        (place.before, place.after) = (before, NONE);
        place.frame.clear();
        place.frame.extend_from_slice(frame);
        self.newest = at;
        match before {
            NONE => self.oldest = at,
            before => self.places[usize::from(before)].after = at,
        }
        true
    }

    /// Whether a next hop is to be asked for; it has been, from now on.
    pub(super) fn ask(&mut self, next: NextHop, whom: Whom, now: Instant) -> Ask {
        let now = now.monotonic_micros;
        if self.hops.known(next).is_some_and(|hop| hop.is_asked(now)) {
            return Ask::Done;
        }
        if !(self.second..self.second.saturating_add(SECOND_MICROS)).contains(&now) {
            self.second = now;
            self.asks.clear();
        }
        if whom == Whom::Host && !self.asks.may_take(next.link) {
            return Ask::Refused;
        }
        let Some(hop) = self.hops.place(next) else { return Ask::Refused };
        hop.ask(now);
        if whom == Whom::Host {
            self.asks.take(next.link);
        }
        Ask::Now
    }

    /// Says that a next hop was not asked for, after all.
    pub(super) fn not_asked(&mut self, next: NextHop) {
        if let Some(hop) = self.hops.known(next) {
            hop.forget();
        }
    }

    /// The place of the frame that came first.
    pub(super) fn first(&self) -> Option<u16> {
        (self.oldest != NONE).then_some(self.oldest)
    }

    /// The place of the frame that came next.
    pub(super) fn after(&self, at: u16) -> Option<u16> {
        let after = self.places[usize::from(at)].after;
        (after != NONE).then_some(after)
    }

    /// Whether a frame has waited too long.
    pub(super) fn is_late(&self, at: u16, now: Instant) -> bool {
        let left = self.places[usize::from(at)].until.saturating_sub(now.monotonic_micros);
        left == 0 || left > PATIENCE_MICROS
    }

    /// Takes a frame out of its place, to be looked at; the place stays its own.
    pub(super) fn take(&mut self, at: u16) -> Waiter {
        let place = &mut self.places[usize::from(at)];
        let Place { next, port, decision, .. } = *place;
        Waiter { next, port, decision, frame: std::mem::take(&mut place.frame) }
    }

    /// Has a frame that was taken out wait on.
    pub(super) fn wait_on(&mut self, at: u16, waiter: Waiter) {
        self.places[usize::from(at)].frame = waiter.frame;
    }

    /// Has the frame in this place wait for another next hop, no longer than before; false if it may not.
    pub(super) fn turn(&mut self, at: u16, next: NextHop) -> bool {
        let old = self.places[usize::from(at)].next;
        self.discount(old);
        let may = self.may_wait(next);
        let now = if may { next } else { old };
        self.count(now);
        self.places[usize::from(at)].next = now;
        may
    }

    /// Gives the place of a frame back.
    pub(super) fn give_back(&mut self, at: u16, waiter: Waiter) {
        let place = &mut self.places[usize::from(at)];
        let Place { next, before, after, .. } = *place;
        place.frame = waiter.frame;
        match before {
            NONE => self.oldest = after,
            before => self.places[usize::from(before)].after = after,
        }
        match after {
            NONE => self.newest = before,
            after => self.places[usize::from(after)].before = before,
        }
        self.discount(next);
        self.free.push(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: i64) -> Instant {
        Instant::from_utc_micros(micros)
    }

    fn next(link: u32, n: u32) -> NextHop {
        NextHop { link: LinkId(link), address: Some(std::net::Ipv4Addr::from_bits(n).into()) }
    }

    fn put(waiting: &mut Waiting, next: NextHop, frame: &[u8], now: i64) -> bool {
        waiting.put(next, PortId(0), &Decision::UNDECIDED, frame, at(now))
    }

    /// The frames in their order.
    fn frames(waiting: &Waiting) -> Vec<Vec<u8>> {
        let places = std::iter::successors(waiting.first(), |at| waiting.after(*at));
        places.map(|at| waiting.places[usize::from(at)].frame.clone()).collect()
    }

    #[test]
    fn a_next_hop_has_its_share_of_the_places_and_is_asked_for_once_a_second() {
        let mut waiting = Waiting::new();
        assert!((0..EACH).all(|_| put(&mut waiting, next(1, 1), b"frame", 0)));
        assert!(!put(&mut waiting, next(1, 1), b"frame", 0));
        assert!(put(&mut waiting, next(1, 2), b"frame", 0));
        assert!(!put(&mut waiting, next(1, 3), &[0; LONGEST + 1], 0));
        let mut ask = |n, now| waiting.ask(next(1, n), Whom::Host, at(now));
        assert_eq!([ask(1, 0), ask(1, 10), ask(2, 10)], [Ask::Now, Ask::Done, Ask::Now]);
        assert_eq!([ask(2, 1_000_009), ask(2, 1_000_010)], [Ask::Done, Ask::Now]);
        waiting.not_asked(next(1, 2));
        assert_eq!(waiting.ask(next(1, 2), Whom::Host, at(1_000_011)), Ask::Now);
    }

    #[test]
    fn a_scan_of_one_link_leaves_places_and_asks_to_the_others_and_routers_are_always_asked_for() {
        let mut waiting = Waiting::new();
        let scanned = (0..10_000).filter(|n| put(&mut waiting, next(1, *n), b"scan", 0)).count();
        assert_eq!(scanned, PLACES / 2);
        let asked = (0..10_000).filter(|n| waiting.ask(next(1, *n), Whom::Host, at(0)) == Ask::Now).count();
        assert_eq!(asked, usize::from(ASKS) / 2);
        assert_eq!(waiting.ask(next(1, 10_001), Whom::Host, at(1)), Ask::Refused);
        assert_eq!(waiting.ask(next(1, 10_001), Whom::Router, at(1)), Ask::Now);
        assert!(put(&mut waiting, next(2, 7), b"other", 1));
        assert_eq!(waiting.ask(next(2, 7), Whom::Host, at(1)), Ask::Now);
        assert_eq!(waiting.ask(next(1, 10_002), Whom::Host, at(1_000_000)), Ask::Now, "the next second");
    }

    #[test]
    fn those_that_waited_too_long_are_first_and_the_others_keep_their_order() {
        let mut waiting = Waiting::new();
        for n in 0..4 {
            assert!(put(&mut waiting, next(1, n), &[n as u8], n.into()));
        }
        let first = waiting.first().unwrap();
        assert!(!waiting.is_late(first, at(2_999_999)) && waiting.is_late(first, at(3_000_000)));
        let second = waiting.after(first).unwrap();
        assert!(!waiting.is_late(second, at(3_000_000)));
        for at in [second, first] {
            let waiter = waiting.take(at);
            waiting.give_back(at, waiter);
        }
        assert_eq!(frames(&waiting), [[2], [3]]);
        let first = waiting.first().unwrap();
        let waiter = waiting.take(first);
        waiting.wait_on(first, waiter);
        assert!(put(&mut waiting, next(1, 9), &[9], 9));
        assert_eq!(frames(&waiting), [[2], [3], [9]]);
    }

    #[test]
    fn a_frame_that_turns_to_another_next_hop_counts_there() {
        let mut waiting = Waiting::new();
        (0..EACH).for_each(|_| assert!(put(&mut waiting, next(1, 1), b"full", 0)));
        assert!(put(&mut waiting, next(2, 2), b"turns", 0));
        let turning = waiting.newest;
        assert!(!waiting.turn(turning, next(1, 1)), "no more may wait for it");
        assert!(waiting.turn(turning, next(3, 3)));
        assert_eq!(waiting.take(turning).next, next(3, 3));
        for (link, n, count) in [(1, 1, EACH), (2, 2, 0), (3, 3, 1)] {
            assert_eq!(waiting.hops.known(next(link, n)).unwrap().waiting, count);
        }
    }

    #[test]
    fn whatever_comes_and_goes_the_order_stays_that_of_a_list() {
        let mut waiting = Waiting::new();
        let mut list: Vec<Vec<u8>> = Vec::new();
        let mut random = 1u32;
        for n in 0..20_000u32 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let bits = random >> 8;
            if bits % 5 < 2 && !list.is_empty() {
                let steps = bits as usize / 8 % list.len();
                let place = (0..steps).fold(waiting.first(), |at, _| waiting.after(at?)).unwrap();
                let waiter = waiting.take(place);
                assert_eq!(waiter.frame, list.remove(steps));
                waiting.give_back(place, waiter);
            } else if put(&mut waiting, next(bits % 7, bits % 64), &n.to_be_bytes(), 0) {
                list.push(n.to_be_bytes().to_vec());
            }
            if n % 64 == 0 {
                assert_eq!(frames(&waiting), list);
            }
            assert_eq!(waiting.free.len() + list.len(), PLACES);
        }
        while let Some(at) = waiting.first() {
            let waiter = waiting.take(at);
            waiting.give_back(at, waiter);
        }
        assert!(waiting.is_empty() && waiting.hops.known(next(0, 0)).is_none_or(|hop| hop.waiting == 0));
        assert!((0..7).all(|link| waiting.shares.may_take(LinkId(link))));
    }
}
