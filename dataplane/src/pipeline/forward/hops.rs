//! What a worker knows of next hops whose MACs are missing: how many frames wait for each, and when it was asked for.
//!
//! Next hops lie in a set-associative table under a keyed hash, so that a packet costs one look at a set, and nobody arranges
//! that others' are forgotten. Where a set is full, that which was asked for the longest ago makes room: it is asked
//! for again a little early. One that frames wait for stays.

use crate::keyed::{Keyed, number};
use crate::route::{LinkId, NextHop};

const WAYS: usize = 8;
const SETS: usize = 128;
/// A next hop is asked for once in so long.
const ASK_MICROS: u64 = 1_000_000;

/// A next hop.
#[derive(Clone, Copy)]
pub(super) struct Hop {
    next: NextHop,
    /// When it was asked for, and one; 0 is never.
    asked: u64,
    /// Frames that wait for it.
    pub(super) waiting: u8,
}

impl Hop {
    /// Whether it was asked for just now. A clock that was set back forgets what it asked.
    pub(super) fn is_asked(&self, now: u64) -> bool {
        self.asked != 0 && (self.asked - 1..self.asked.saturating_add(ASK_MICROS - 1)).contains(&now)
    }

    /// It is asked for now.
    pub(super) fn ask(&mut self, now: u64) {
        self.asked = now.saturating_add(1);
    }

    /// It was not, after all.
    pub(super) fn forget(&mut self) {
        self.asked = 0;
    }
}

/// The table.
pub(super) struct Hops {
    key: Keyed,
    sets: Box<[[Hop; WAYS]; SETS]>,
}

impl Hops {
    pub(super) fn new() -> Hops {
        let nobody = Hop { next: NextHop { link: LinkId(0), address: None }, asked: 0, waiting: 0 };
        Hops { key: Keyed::new(), sets: Box::new([[nobody; WAYS]; SETS]) }
    }

    fn set(&mut self, next: NextHop) -> &mut [Hop; WAYS] {
        let address = next.address.map_or(0, number);
        let hash = self.key.hash(address ^ u128::from(next.link.0) << 96);
        &mut self.sets[hash as usize % SETS]
    }

    /// What is known of a next hop.
    pub(super) fn known(&mut self, next: NextHop) -> Option<&mut Hop> {
        self.set(next).iter_mut().find(|hop| hop.next == next)
    }

    /// A next hop's place in the table; none if frames wait for all that lie where it would.
    pub(super) fn place(&mut self, next: NextHop) -> Option<&mut Hop> {
        let set = self.set(next);
        if let Some(at) = set.iter().position(|hop| hop.next == next) {
            return Some(&mut set[at]);
        }
        let idle = set.iter_mut().filter(|hop| hop.waiting == 0);
        let hop = idle.min_by_key(|hop| hop.asked)?;
        *hop = Hop { next, asked: 0, waiting: 0 };
        Some(hop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(n: u32) -> NextHop {
        NextHop { link: LinkId(1), address: Some(std::net::Ipv4Addr::from_bits(n).into()) }
    }

    #[test]
    fn a_next_hop_is_asked_for_once_a_second_and_again_after_the_clock_was_set_back() {
        let mut hops = Hops::new();
        let hop = hops.place(next(1)).unwrap();
        assert!(!hop.is_asked(0));
        hop.ask(5);
        let asked = [4, 5, 1_000_004, 1_000_005].map(|now| hop.is_asked(now));
        assert_eq!(asked, [false, true, true, false]);
        hop.forget();
        assert!(!hop.is_asked(5));
    }

    #[test]
    fn those_that_frames_wait_for_stay_and_the_others_make_room() {
        let mut hops = Hops::new();
        hops.place(next(0)).unwrap().waiting = 1;
        for n in 1..100_000 {
            hops.place(next(n)).unwrap().ask(u64::from(n));
        }
        assert_eq!(hops.known(next(0)).unwrap().waiting, 1);
        assert!(hops.known(next(1)).is_none(), "asked for the longest ago");
        assert!(hops.known(next(99_999)).is_some());
        hops.sets.iter_mut().flatten().for_each(|hop| hop.waiting = 1);
        assert!(hops.place(next(100_000)).is_none());
    }
}
