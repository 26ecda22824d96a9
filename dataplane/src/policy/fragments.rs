//! The fragment table: what was decided for the first fragment of a datagram, for those that follow it.
//!
//! Bounded in entries, and in entries per source, so that no customer can crowd out the others. All memory is
//! taken when the table is made. Entries leave in the order in which they came, since all live equally long.
//! One worker owns it: fragments of one datagram meet in one worker, so there is no lock.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use super::Taken;
use super::decision::PortId;
use crate::frame::{Addresses, Fragment};

/// What makes fragments belong together. VLAN tags and labels do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    port: PortId,
    addresses: Addresses,
    identification: u32,
    protocol: u8,
}

impl Key {
    pub(crate) fn new(port: PortId, addresses: Addresses, part: &Fragment) -> Key {
        Key { port, addresses, identification: part.identification, protocol: part.protocol }
    }
}

/// How a datagram's later fragments are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fate {
    Forward,
    Divert,
    Drop,
}

impl Fate {
    /// The fate of those that follow a first fragment with which `taken` was done. They are never answered.
    pub(crate) fn after(taken: Taken) -> Fate {
        match taken {
            Taken::Forward => Fate::Forward,
            Taken::Divert => Fate::Divert,
            Taken::Drop | Taken::Reject => Fate::Drop,
        }
    }
}

/// What is remembered of a datagram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    /// Of its first fragments so far: the worst fate, and the longest reach of the upper-layer header in
    /// bytes from the datagram's start.
    first: Option<(Fate, u32)>,
    /// The lowest offset of its later fragments so far.
    lowest: u32,
    /// An overlap was seen: the datagram is denied from then on.
    overlapped: bool,
}

impl Known {
    const NOTHING: Known = Known { first: None, lowest: u32::MAX, overlapped: false };

    /// Takes note of a first fragment. A deny outlives an open port that comes after it (F9).
    pub(crate) fn note_first(&mut self, fate: Fate, header_end: u32) {
        let (worst, longest) = self.first.unwrap_or((Fate::Forward, 0));
        self.first = Some((worst.max(fate), longest.max(header_end)));
    }

    /// Whether an overlap was seen before.
    pub(crate) fn is_overlapped(&self) -> bool {
        self.overlapped
    }

    /// Whether a later fragment that has been seen overlaps the upper-layer header of a first fragment: of the
    /// one that ends at `header_end`, or of one that came before and reached further (F7).
    pub(crate) fn first_overlaps(&self, header_end: u32) -> bool {
        let longest = self.first.map_or(0, |(_, longest)| longest);
        self.overlapped || self.lowest < header_end.max(longest)
    }

    /// Denies the datagram for good.
    pub(crate) fn note_overlap(&mut self, header_end: u32) {
        self.overlapped = true;
        self.note_first(Fate::Drop, header_end);
    }

    /// F7, F6, F8 for a later fragment at `offset`.
    pub(crate) fn later(&mut self, offset: u32) -> Later {
        match self.first {
            Some((_, header_end)) if offset < header_end => {
                self.note_overlap(header_end);
                Later::Overlap
            }
            first => {
                self.lowest = self.lowest.min(offset);
                first.map_or(Later::Orphan, |(fate, _)| Later::Follow(fate))
            }
        }
    }
}

/// What a later fragment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Later {
    Overlap,
    Follow(Fate),
    Orphan,
}

/// How large the table may grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentLimits {
    /// Datagrams remembered.
    pub datagrams: usize,
    /// Of them, datagrams of one source address.
    pub per_source: usize,
    /// How long one is remembered, from its first fragment seen, in microseconds.
    pub lifetime_micros: u64,
}

impl Default for FragmentLimits {
    fn default() -> Self {
        FragmentLimits { datagrams: 65_536, per_source: 256, lifetime_micros: 120_000_000 }
    }
}

impl FragmentLimits {
    /// The share of each of `workers`, so that the sum keeps the bound.
    pub fn share(self, workers: usize) -> FragmentLimits {
        FragmentLimits {
            datagrams: (self.datagrams / workers).max(1),
            per_source: (self.per_source / workers).max(1),
            ..self
        }
    }
}

/// Datagrams that are remembered.
pub(crate) struct FragmentTable {
    limits: FragmentLimits,
    datagrams: HashMap<Key, Known>,
    by_source: HashMap<IpAddr, usize>,
    /// In the order of their coming, with the instant of it.
    ages: VecDeque<(u64, Key)>,
}

impl FragmentTable {
    pub(crate) fn new(limits: FragmentLimits) -> FragmentTable {
        // Twice as large as they get: a map at most half full clears its tombstones in place and never grows.
        let room = limits.datagrams * 2;
        FragmentTable {
            limits,
            datagrams: HashMap::with_capacity(room),
            by_source: HashMap::with_capacity(room),
            ages: VecDeque::with_capacity(limits.datagrams),
        }
    }

    /// Forgets what has lived its time.
    pub(crate) fn expire(&mut self, now: u64) {
        while let Some(&(born, key)) = self.ages.front() {
            if now.saturating_sub(born) < self.limits.lifetime_micros {
                break;
            }
            self.ages.pop_front();
            self.datagrams.remove(&key);
            let source = key.addresses.source();
            if let Some(count) = self.by_source.get_mut(&source) {
                *count -= 1;
                if *count == 0 {
                    self.by_source.remove(&source);
                }
            }
        }
    }

    /// What is known of a datagram; nothing yet where there is room for it, `None` where there is not (F10).
    pub(crate) fn entry(&mut self, key: Key, now: u64) -> Option<&mut Known> {
        if !self.datagrams.contains_key(&key) {
            if self.datagrams.len() >= self.limits.datagrams {
                return None;
            }
            let count = self.by_source.entry(key.addresses.source()).or_insert(0);
            if *count >= self.limits.per_source {
                return None;
            }
            *count += 1;
            self.ages.push_back((now, key));
        }
        Some(self.datagrams.entry(key).or_insert(Known::NOTHING))
    }

    /// Datagrams remembered now.
    pub(crate) fn len(&self) -> usize {
        self.datagrams.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(source: u32, identification: u32) -> Key {
        let part = Fragment { identification, protocol: 6, offset: 0, data: 0 };
        Key::new(PortId(0), Addresses::V4 { source, destination: 9 }, &part)
    }

    #[test]
    fn an_entry_lives_from_its_first_fragment_for_the_lifetime() {
        let mut table = FragmentTable::new(FragmentLimits { lifetime_micros: 100, ..Default::default() });
        table.entry(key(1, 1), 0).unwrap().note_first(Fate::Drop, 20);
        table.expire(99);
        assert_eq!(table.entry(key(1, 1), 99).unwrap().later(24), Later::Follow(Fate::Drop));
        table.expire(100);
        assert_eq!(table.entry(key(1, 1), 100).unwrap().later(24), Later::Orphan);
    }

    #[test]
    fn the_table_and_each_source_are_bounded_and_room_comes_back() {
        let limits = FragmentLimits { datagrams: 3, per_source: 2, lifetime_micros: 100 };
        let mut table = FragmentTable::new(limits);
        assert!(table.entry(key(1, 1), 0).is_some());
        assert!(table.entry(key(1, 2), 0).is_some());
        assert!(table.entry(key(1, 3), 0).is_none(), "over its share");
        assert!(table.entry(key(1, 2), 0).is_some(), "known");
        assert!(table.entry(key(2, 1), 50).is_some());
        assert!(table.entry(key(3, 1), 50).is_none(), "full");
        table.expire(100);
        assert_eq!(table.len(), 1);
        assert!(table.entry(key(1, 3), 100).is_some());
    }

    #[test]
    fn the_table_never_takes_more_memory_than_at_first() {
        let limits = FragmentLimits { datagrams: 100, per_source: 100, lifetime_micros: 10 };
        let mut table = FragmentTable::new(limits);
        // What hashbrown calls capacity shrinks with its tombstones; a map that takes more memory has more.
        let room = |table: &FragmentTable| {
            [table.datagrams.capacity(), table.by_source.capacity(), table.ages.capacity()]
        };
        let before = room(&table);
        for n in 0..100_000 {
            table.expire(u64::from(n / 9));
            table.entry(key(n, n), u64::from(n / 9));
            assert!(room(&table).iter().zip(before).all(|(now, before)| *now <= before));
        }
    }
}
