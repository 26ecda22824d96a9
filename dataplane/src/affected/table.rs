//! The customers with the most attempts, in bounded memory: Space-Saving in sets of [`WAYS`].
//!
//! A. Metwally, D. Agrawal, A. El Abbadi, "Efficient computation of frequent and top-k elements in data
//! streams", ICDT 2005. A customer that has no counter takes over the one with the smallest count and goes on
//! from that count, which is remembered as what it inherited. A keyed hash names the set of a customer, and each
//! set is a Space-Saving of its own, so that a packet costs one look at one set, however many customers there
//! are. For each set, with N packets booked in it:
//!
//! - what is counted for a customer since it has its counter is exact; what it had before that is at most what it
//!   inherited, which is at most N / [`WAYS`];
//! - a customer with more than N / [`WAYS`] packets has a counter;
//! - while no more than [`WAYS`] customers of a set were seen, nothing is lost, and all is exact;
//! - a customer that lost its counter is counted, and so are its packets: booked = listed + displaced.
//!
//! One worker writes, any thread reads, and neither waits. Numbers are cells as everywhere in the books. Whose
//! numbers they are changes when a counter is taken over: then, and only then, the entry's version is odd, and
//! who reads meanwhile reads again (a sequence lock whose every word is an atomic).

use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use super::Destination;
use super::distinct::{Distinct, DistinctCells};
use super::lanes;
use crate::counters::Cell;
use crate::policy::PoolId;
use crate::prefetch;

/// Customers of a set.
pub const WAYS: usize = 16;

/// Times that a reader tries to read an entry that is being taken over.
const TRIES: usize = 1_000;

/// Tags in a word.
const LANES: usize = 4;
const LANE_BITS: usize = 16;

/// One cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Set {
    /// By way: a part of the customer's hash; 0 is free. Four to a word, so that four are compared at once.
    tags: [AtomicU64; WAYS / LANES],
    /// What is here was booked after so many resets.
    epoch: AtomicU32,
    displaced_customers: Cell,
    displaced_packets: Cell,
}

impl Set {
    fn tag(&self, way: usize) -> u16 {
        (self.tags[way / LANES].load(Ordering::Acquire) >> (way % LANES * LANE_BITS)) as u16
    }

    fn set_tag(&self, way: usize, tag: u16) {
        let (word, shift) = (&self.tags[way / LANES], way % LANES * LANE_BITS);
        let others = word.load(Ordering::Relaxed) & !(0xffff << shift);
        // Who sees the tag sees the entry that was made for it.
        word.store(others | u64::from(tag) << shift, Ordering::Release);
    }

    /// A bit for each way whose tag is this one.
    #[inline]
    fn candidates(&self, tag: u16) -> u32 {
        let words = std::array::from_fn(|at| self.tags[at].load(Ordering::Relaxed));
        lanes::equal(words, tag)
    }

    /// Forgets everything.
    #[cold]
    fn clear(&self, epoch: u32) {
        self.tags.iter().for_each(|tags| tags.store(0, Ordering::Relaxed));
        self.displaced_customers.set(0);
        self.displaced_packets.set(0);
        // Who sees the new epoch sees an empty set.
        self.epoch.store(epoch, Ordering::Release);
    }
}

/// Four cache lines: who and when; the numbers; the sketch.
#[derive(Debug, Default)]
#[repr(C, align(128))]
struct Entry {
    /// Odd while it is being taken over.
    version: AtomicU32,
    pool: AtomicU32,
    /// The customer's address; IPv4 as IPv4-mapped, which rule 5 leaves no IPv6 source to be.
    customer: [AtomicU64; 2],
    /// UTC microseconds, as they are.
    first: AtomicU64,
    last: AtomicU64,
    inherited: Cell,
    /// Packets counted and inherited.
    weight: Cell,
    /// The hash of the other end of the last packet: the sketch has seen it.
    last_destination: AtomicU64,
    counts: Counts,
    distinct: DistinctCells,
}

const _: () = assert!(size_of::<Entry>() == 256 && size_of::<Set>() == 64);

#[derive(Debug, Default)]
#[repr(align(64))]
struct Counts {
    /// By whether it was only monitored, and by kind of destination.
    packets: [[Cell; Destination::COUNT]; 2],
    connections: Cell,
    answers: Cell,
}

impl Entry {
    #[inline]
    fn is_of(&self, customer: u128) -> bool {
        let [high, low] = halves(customer);
        let [own_high, own_low] = &self.customer;
        (own_high.load(Ordering::Relaxed) == high) & (own_low.load(Ordering::Relaxed) == low)
    }

    fn seen(&self) -> u64 {
        self.counts.packets.iter().flatten().map(Cell::get).sum()
    }

    #[cold]
    fn take_over(&self, pending: &Pending, inherited: u64, now: u64) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version.wrapping_add(1), Ordering::Relaxed);
        // No store below is seen before the version is odd.
        fence(Ordering::Release);
        for (own, half) in self.customer.iter().zip(halves(pending.customer)) {
            own.store(half, Ordering::Relaxed);
        }
        self.pool.store(u32::from(pending.pool.0), Ordering::Relaxed);
        self.first.store(now, Ordering::Relaxed);
        self.last.store(now, Ordering::Relaxed);
        self.counts.packets.iter().flatten().for_each(|cell| cell.set(0));
        self.counts.connections.set(0);
        self.counts.answers.set(0);
        self.inherited.set(inherited);
        self.weight.set(inherited);
        self.last_destination.store(!pending.destination, Ordering::Relaxed);
        self.distinct.clear();
        // Every store above is seen before the version is even.
        self.version.store(version.wrapping_add(2), Ordering::Release);
    }

    #[inline]
    fn count(&self, pending: &Pending, now: u64) {
        let Counts { packets, connections, answers } = &self.counts;
        packets.as_flattened()[pending.cell].add(1);
        connections.add(pending.opens.into());
        answers.add(pending.answer.into());
        self.weight.add(1);
        self.pool.store(u32::from(pending.pool.0), Ordering::Relaxed);
        self.last.store(now, Ordering::Relaxed);
        // Most knock at the same door again.
        if self.last_destination.load(Ordering::Relaxed) != pending.destination {
            self.last_destination.store(pending.destination, Ordering::Relaxed);
            self.distinct.add(pending.destination);
        }
    }

    /// What stands here of one customer; none if it is taken over all the time.
    fn read(&self) -> Option<Record> {
        for _ in 0..TRIES {
            let version = self.version.load(Ordering::Acquire);
            if version.is_multiple_of(2) {
                let record = self.numbers();
                // No load above is made after this.
                fence(Ordering::Acquire);
                if self.version.load(Ordering::Relaxed) == version {
                    return Some(record);
                }
            }
            std::hint::spin_loop();
        }
        None
    }

    fn numbers(&self) -> Record {
        let [high, low] = &self.customer;
        let customer =
            u128::from(high.load(Ordering::Relaxed)) << 64 | u128::from(low.load(Ordering::Relaxed));
        Record {
            customer: address(customer),
            pool: PoolId(self.pool.load(Ordering::Relaxed) as u16),
            first_micros: self.first.load(Ordering::Relaxed) as i64,
            last_micros: self.last.load(Ordering::Relaxed) as i64,
            packets: std::array::from_fn(|monitored| {
                std::array::from_fn(|kind| self.counts.packets[monitored][kind].get())
            }),
            connections: self.counts.connections.get(),
            answers: self.counts.answers.get(),
            inherited: self.inherited.get(),
            distinct: self.distinct.read(),
        }
    }
}

/// What one worker, or all of them, counted for a customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its address.
    pub customer: IpAddr,
    /// The pool that it was in with its last attempt.
    pub pool: PoolId,
    /// Its first attempt, in UTC microseconds.
    pub first_micros: i64,
    /// Its last.
    pub last_micros: i64,
    /// Packets: denied, and monitored; by [`Destination`].
    pub packets: [[u64; Destination::COUNT]; 2],
    /// Of these, first segments of a connection (SYN without ACK) from the customer.
    pub connections: u64,
    /// Of these, answers from outside to the customer (rule 20).
    pub answers: u64,
    /// At most so many more before it had its counter.
    pub inherited: u64,
    /// The distinct destinations.
    pub distinct: Distinct,
}

impl Record {
    /// All packets, denied and monitored.
    pub fn attempts(&self) -> u64 {
        self.packets.iter().flatten().sum()
    }

    /// Packets that were denied.
    pub fn denied(&self) -> u64 {
        self.packets[0].iter().sum()
    }

    /// Packets that a monitored rule would have denied.
    pub fn would_deny(&self) -> u64 {
        self.packets[1].iter().sum()
    }

    /// Packets, denied and monitored, to or from destinations of one kind.
    pub fn to(&self, destination: Destination) -> u64 {
        self.packets.iter().map(|by_kind| by_kind[destination as usize]).sum()
    }

    /// Adds what another worker counted for the same customer.
    pub(super) fn merge(&mut self, other: &Record) {
        if other.last_micros > self.last_micros {
            self.pool = other.pool;
        }
        self.first_micros = self.first_micros.min(other.first_micros);
        self.last_micros = self.last_micros.max(other.last_micros);
        for (own, other) in self.packets.iter_mut().flatten().zip(other.packets.iter().flatten()) {
            *own += other;
        }
        self.connections += other.connections;
        self.answers += other.answers;
        self.inherited += other.inherited;
        self.distinct.merge(&other.distinct);
    }
}

/// One worker's customers.
#[derive(Debug)]
pub(super) struct Table {
    sets: Box<[Set]>,
    entries: Box<[Entry]>,
    /// Resets so far. What was booked before the last is not there any more.
    epoch: AtomicU32,
}

/// Where a customer belongs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    set: u32,
    tag: u16,
    /// The way where it most likely is.
    way: u16,
}

/// An attempt that is not booked yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    pub(super) customer: u128,
    /// The hash of the other end.
    pub(super) destination: u64,
    pub(super) place: Place,
    pub(super) pool: PoolId,
    /// Which of a customer's counts it adds to: by whether it was only monitored, then by kind of destination.
    pub(super) cell: usize,
    pub(super) opens: bool,
    pub(super) answer: bool,
}

/// What a table holds besides records.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// By set: the most packets that a customer without a counter may have had.
    pub(super) floors: Vec<u64>,
    pub(super) displaced_customers: u64,
    pub(super) displaced_packets: u64,
    /// Customers whose entry was taken over all the time.
    pub(super) unread: u64,
}

impl Table {
    /// For at least so many customers.
    pub(super) fn new(customers: usize) -> Table {
        let sets = customers.div_ceil(WAYS).next_power_of_two();
        Table {
            sets: (0..sets).map(|_| Set::default()).collect(),
            entries: (0..sets * WAYS).map(|_| Entry::default()).collect(),
            epoch: AtomicU32::new(0),
        }
    }

    /// How many customers have room.
    pub(super) fn capacity(&self) -> usize {
        self.entries.len()
    }

    /// Where the customer with this hash belongs.
    #[inline]
    pub(super) fn place(&self, hash: u64) -> Place {
        Place { set: (hash >> 32) as u32 & (self.sets.len() as u32 - 1), tag: (hash as u16).max(1), way: 0 }
    }

    /// The number of the set.
    pub(super) fn set_of(&self, hash: u64) -> usize {
        self.place(hash).set as usize
    }

    /// Asks for the memory of a place.
    #[inline]
    pub(super) fn prefetch(&self, place: Place) {
        prefetch::value(&self.sets[place.set as usize]);
    }

    /// Finds the entry that most likely is the customer's, and asks for its memory.
    #[inline]
    pub(super) fn locate(&self, pending: &mut Pending) {
        let Place { set, tag, way } = &mut pending.place;
        *way = self.sets[*set as usize].candidates(*tag).trailing_zeros() as u16 % WAYS as u16;
        let entry = &self.entries[*set as usize * WAYS + usize::from(*way)];
        prefetch::value(entry);
        prefetch::value(&entry.counts);
    }

    /// Books a customer's packet. Called by one thread alone.
    #[inline]
    pub(super) fn book(&self, pending: &Pending, now: u64) {
        let Place { set, tag, way } = pending.place;
        let entries = &self.entries[set as usize * WAYS..][..WAYS];
        let set = &self.sets[set as usize];
        let epoch = self.epoch.load(Ordering::Relaxed);
        if set.epoch.load(Ordering::Relaxed) != epoch {
            set.clear(epoch);
        }
        let way = usize::from(way);
        let is_there = set.tag(way) == tag && entries[way].is_of(pending.customer);
        let way = match is_there {
            true => way,
            false => find(set, entries, tag, pending.customer)
                .unwrap_or_else(|| take_over(set, entries, tag, pending, now)),
        };
        entries[way].count(pending, now);
    }

    /// Forgets everything, while nobody books; the worker clears each set as it comes to it.
    pub(super) fn reset(&self) {
        self.epoch.fetch_add(1, Ordering::Relaxed);
    }

    /// Reads everything, while the worker goes on.
    pub(super) fn read(&self, mut each: impl FnMut(Record)) -> Reading {
        let epoch = self.epoch.load(Ordering::Relaxed);
        let mut reading = Reading::default();
        for (set, entries) in self.sets.iter().zip(self.entries.chunks_exact(WAYS)) {
            if set.epoch.load(Ordering::Acquire) != epoch {
                reading.floors.push(0);
                continue;
            }
            reading.floors.push(floor(set, entries));
            reading.displaced_customers += set.displaced_customers.get();
            reading.displaced_packets += set.displaced_packets.get();
            for (way, entry) in entries.iter().enumerate() {
                // Who sees the tag sees the customer that it stands for, or one that came later.
                if set.tag(way) != 0 {
                    match entry.read() {
                        Some(record) => each(record),
                        None => reading.unread += 1,
                    }
                }
            }
        }
        reading
    }
}

/// The way of a customer that has a counter.
#[inline]
fn find(set: &Set, entries: &[Entry], tag: u16, customer: u128) -> Option<usize> {
    let mut candidates = set.candidates(tag);
    while candidates != 0 {
        let way = candidates.trailing_zeros() as usize;
        if set.tag(way) == tag && entries.get(way).is_some_and(|entry| entry.is_of(customer)) {
            return Some(way);
        }
        candidates &= candidates - 1;
    }
    None
}

/// Gives a customer that has no counter a free one, or the one with the smallest count.
#[cold]
fn take_over(set: &Set, entries: &[Entry], tag: u16, pending: &Pending, now: u64) -> usize {
    let free = (0..WAYS).find(|way| set.tag(*way) == 0).map(|way| (way, 0));
    let (way, inherited) = free.unwrap_or_else(|| {
        let (way, weight) = least(entries).unwrap_or_default();
        set.displaced_customers.add(1);
        set.displaced_packets.add(entries[way].seen());
        (way, weight)
    });
    entries[way].take_over(pending, inherited, now);
    set.set_tag(way, tag);
    way
}

/// The way with the smallest count, and that count.
fn least(entries: &[Entry]) -> Option<(usize, u64)> {
    entries.iter().map(|entry| entry.weight.get()).enumerate().min_by_key(|(_, weight)| *weight)
}

/// The most packets that a customer without a counter in this set may have had.
fn floor(set: &Set, entries: &[Entry]) -> u64 {
    match set.displaced_customers.get() {
        0 => 0,
        _ => least(entries).map_or(0, |(_, weight)| weight),
    }
}

fn halves(customer: u128) -> [u64; 2] {
    [(customer >> 64) as u64, customer as u64]
}

fn address(customer: u128) -> IpAddr {
    let address = Ipv6Addr::from_bits(customer);
    address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4)
}
