//! Who is denied on port 25, or would be: each customer address with what it tried.
//!
//! A worker books each packet that rules 12, 13, 17, 18 or 20 deny, or would deny under `monitor`, for the
//! customer that it is from or to, in a table of its own ([`table`](self)): no lock, no queue, no allocation,
//! and nothing that could be lost on the way to another thread. While a table has room for all customers,
//! every number in it but the estimate of [distinct destinations](Distinct) is exact, whatever the rate; beyond
//! that, Space-Saving keeps those with the most packets and says how far each count may be off. Packets that
//! are not denied pay one branch a burst.
//!
//! No destination address is kept: a destination leaves its kind, a rank in a sketch under a keyed hash, and the last
//! one that hash.

mod banks;
mod distinct;
mod lanes;
mod report;
mod table;

use std::net::IpAddr;
use std::sync::Arc;

use arrayvec::ArrayVec;

use crate::clock::Instant;
use crate::frame::Addresses;
use crate::keyed::{Keyed, mapped, number};
use crate::policy::{PoolId, Reason, Reasons};
use crate::port::MAX_BURST;
use banks::Banks;
use table::{Pending, Table};

pub use distinct::{Distinct, REGISTERS, STANDARD_ERROR};
pub use report::{Customer, Report};
pub use table::{Record, WAYS};

/// What stands at the other end, by the sets that hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A server of the provider's own: in a set that some policy allows always.
    Own,
    /// In another set.
    Listed,
    /// In no set.
    Other,
}

impl Destination {
    /// All kinds.
    pub const ALL: [Destination; 3] = [Destination::Own, Destination::Listed, Destination::Other];
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();
}

/// A packet that was denied, or would have been.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    /// The customer's address; IPv4 as IPv4-mapped.
    pub(crate) customer: u128,
    /// The other end's.
    pub(crate) other_end: u128,
    pub(crate) pool: PoolId,
    pub(crate) destination: Destination,
    /// Forwarded: a monitored rule would have denied it.
    pub(crate) monitored: bool,
    /// The first segment of a connection.
    pub(crate) opens: bool,
    /// From outside to the customer.
    pub(crate) answer: bool,
}

impl Attempt {
    /// Whether what became of a packet is one: a deny on port 25, or one that was only monitored.
    #[inline]
    pub(crate) fn is_one(denied: bool, reason: Reason, would: Option<Reason>) -> bool {
        let reason = if denied { Some(reason) } else { would };
        reason.is_some_and(|reason| Reasons::PORT_25.has(reason))
    }

    /// The customer and the other end, in the order of a packet from the customer.
    #[inline]
    pub(crate) fn ends(addresses: &Addresses) -> (u128, u128) {
        match *addresses {
            Addresses::V4 { source, destination } => (mapped(source), mapped(destination)),
            Addresses::V6 { source, destination } => (source, destination),
        }
    }
}

/// The tables of all workers, for those who read. One key for all, so that what they counted can be added.
#[derive(Debug)]
pub struct Affected {
    key: Keyed,
    banks: Vec<Arc<Banks>>,
}

impl Affected {
    /// Tables for at least `customers` customers each, one for each of `workers`.
    pub fn new(workers: usize, customers: usize) -> Affected {
        Affected { key: Keyed::new(), banks: (0..workers).map(|_| Arc::new(Banks::new(customers))).collect() }
    }

    /// What a worker books with. One thread alone may have it.
    ///
    /// # Panics
    /// If there is no such worker.
    pub fn recorder(&self, worker: usize) -> Recorder {
        let banks = Arc::clone(&self.banks[worker]);
        let turn = banks.turn();
        let table = Arc::clone(banks.table(turn));
        Recorder { key: self.key.clone(), banks, turn, table, pending: Box::default() }
    }

    /// How many customers each worker has room for.
    pub fn capacity(&self) -> usize {
        self.banks.first().map_or(0, |banks| banks.table(banks.turn()).capacity())
    }

    /// Begins anew: workers book into empty tables from their next bursts on, and what they booked before can be read
    /// as [`former`](Affected::former) until this is called again. The former tables rest when every worker has come to
    /// the end of the burst that it is in, and this must not be called again before. One thread alone may call it.
    pub fn turn_over(&self) {
        self.banks.iter().for_each(|banks| banks.turn_over());
    }

    /// What all workers have booked, while they go on.
    pub fn read(&self) -> Report {
        self.read_turn(0)
    }

    /// What they had booked when all began anew; nothing before the first time.
    pub fn former(&self) -> Report {
        match self.banks.first().is_some_and(|banks| banks.turn() > 0) {
            true => self.read_turn(1),
            false => Report::default(),
        }
    }

    fn read_turn(&self, back: u32) -> Report {
        let hash = |customer: IpAddr| self.key.hash(number(customer));
        let tables = self.banks.iter().map(|banks| Arc::clone(banks.table(banks.turn().wrapping_sub(back))));
        report::read(&tables.collect::<Vec<_>>(), hash)
    }
}

/// A worker's hand: it gathers a burst's attempts and books them at the burst's end.
#[derive(Debug)]
pub struct Recorder {
    key: Keyed,
    banks: Arc<Banks>,
    /// Whose table this is.
    turn: u32,
    table: Arc<Table>,
    pending: Box<ArrayVec<Pending, MAX_BURST>>,
}

impl Recorder {
    /// Notes an attempt, and asks for the memory that finding its customer takes.
    #[inline]
    pub(crate) fn note(&mut self, attempt: &Attempt, now: Instant) {
        if self.pending.is_full() {
            self.book_all(now);
        }
        if self.pending.is_empty() && self.banks.turn() != self.turn {
            self.follow();
        }
        let pending = Pending {
            customer: attempt.customer,
            destination: self.key.hash(attempt.other_end),
            place: self.table.place(self.key.hash(attempt.customer)),
            pool: attempt.pool,
            cell: usize::from(attempt.monitored) * Destination::COUNT + attempt.destination as usize,
            opens: attempt.opens,
            answer: attempt.answer,
        };
        self.table.prefetch(pending.place);
        self.pending.push(pending);
    }

    /// Finds those whose memory has come, and asks for the memory that booking takes.
    #[inline]
    pub(crate) fn locate(&mut self) {
        for pending in self.pending.iter_mut() {
            self.table.locate(pending);
        }
    }

    /// Books what was noted.
    #[inline]
    pub(crate) fn book(&mut self, now: Instant) {
        if !self.pending.is_empty() {
            self.book_all(now);
        }
    }

    /// Goes on in the table whose turn it is.
    #[cold]
    fn follow(&mut self) {
        self.turn = self.banks.turn();
        self.table = Arc::clone(self.banks.table(self.turn));
    }

    fn book_all(&mut self, now: Instant) {
        for pending in self.pending.iter() {
            self.table.book(pending, now.utc_micros as u64);
        }
        self.pending.clear();
    }
}

#[cfg(test)]
mod tests;
