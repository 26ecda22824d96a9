//! A burst's frames of the common shape: parse all, look up all, decide all.
//!
//! Each stage runs over the whole burst before the next begins, so that the misses of many look-ups overlap,
//! and no stage branches on what a frame holds: a decision is picked from a table by its kind and by whether
//! the customer is known. Such frames leave no state behind and ask for none, so that it does not matter that
//! they are judged before the burst's others.

use std::array;

use crate::counters::WorkerCounters;
use crate::frame::straight::{self, Kind, Straight};
use crate::generation::Generation;
use crate::policy::{Decision, PoolId, PortId, Reason, Role, SourceValidation, Taken};
use crate::port::MAX_BURST;

const KINDS: usize = 3;

/// One address family's frames of a burst, side by side.
struct Lane<A> {
    customers: [A; MAX_BURST],
    /// Each frame's place in the burst, and its kind.
    places: [(u8, Kind); MAX_BURST],
    count: usize,
}

impl<A: Copy> Lane<A> {
    fn new(nobody: A) -> Lane<A> {
        let nowhere = (0, Kind::OtherPort);
        Lane { customers: [nobody; MAX_BURST], places: [nowhere; MAX_BURST], count: 0 }
    }

    /// Puts a frame at `count`, which the caller keeps in a register and counts on.
    #[inline(always)]
    fn put(&mut self, count: usize, customer: A, at: usize, kind: Kind) {
        // A burst has at most MAX_BURST frames; the mask only spares the check.
        self.customers[count % MAX_BURST] = customer;
        self.places[count % MAX_BURST] = (at as u8, kind);
    }

    fn customers(&self) -> &[A] {
        &self.customers[..self.count]
    }

    fn places(&self) -> &[(u8, Kind)] {
        &self.places[..self.count]
    }
}

/// Room for the stages of one burst.
pub(super) struct Straights {
    v4: Lane<u32>,
    v6: Lane<u128>,
    ids: [u32; MAX_BURST],
    others: [u8; MAX_BURST],
    others_count: usize,
}

impl Straights {
    pub(super) fn new() -> Straights {
        Straights {
            v4: Lane::new(0),
            v6: Lane::new(0),
            ids: [0; MAX_BURST],
            others: [0; MAX_BURST],
            others_count: 0,
        }
    }

    /// Places of the frames that are of another shape.
    pub(super) fn others(&self) -> &[u8] {
        &self.others[..self.others_count]
    }

    /// Judges the frames of the common shape, books them, and leaves the places of the others in
    /// [`others`](Straights::others).
    /// There are at most [`MAX_BURST`] frames.
    pub(super) fn judge(
        &mut self,
        generation: &Generation,
        port: PortId,
        out: PortId,
        frames: &[&[u8]],
        decisions: &mut [Decision],
        counters: &WorkerCounters,
    ) {
        let role = generation.role(port);
        self.parse(role, frames);
        let outcomes = Outcomes::new(role, out, generation.source_validation());
        let mut counts = [0u64; 2 * KINDS];
        for v6 in [false, true] {
            let places = if v6 { self.v6.places() } else { self.v4.places() };
            let ids = &mut self.ids[..places.len()];
            match (role, v6) {
                (Role::Servers | Role::Filter, _) => ids.fill(0),
                (_, false) => generation.pools_v4().lookup_burst(self.v4.customers(), ids),
                (_, true) => generation.pools_v6().lookup_burst(self.v6.customers(), ids),
            }
            for (&(at, kind), &id) in places.iter().zip(&*ids) {
                let outcome = kind as usize * 2 + usize::from(id == 0);
                counts[outcome] += 1;
                let pool = PoolId(id as u16);
                decisions[usize::from(at)] = Decision { pool, ..outcomes.0[outcome] };
                counters.pool_packet(pool);
            }
        }
        let cells = counters.port(port);
        for (decision, count) in outcomes.0.iter().zip(counts) {
            if count > 0 {
                cells.count_many(decision, count);
                counters.pool_verdicts(PoolId::NONE, decision, count);
            }
        }
    }

    #[inline]
    fn parse(&mut self, role: Role, frames: &[&[u8]]) {
        let inbound = role == Role::Internet;
        let (mut v4, mut v6, mut others) = (0, 0, 0);
        for (at, frame) in frames.iter().enumerate() {
            match straight::read(frame) {
                Some(Straight::V4 { source, destination, kind }) => {
                    self.v4.put(v4, if inbound { destination } else { source }, at, kind);
                    v4 += 1;
                }
                Some(Straight::V6 { source, destination, kind }) => {
                    self.v6.put(v6, if inbound { destination } else { source }, at, kind);
                    v6 += 1;
                }
                None => {
                    self.others[others % MAX_BURST] = at as u8;
                    others += 1;
                }
            }
        }
        (self.v4.count, self.v6.count, self.others_count) = (v4, v6, others);
    }
}

/// The decisions that frames of the common shape can have, by kind and by whether the customer is unknown.
struct Outcomes([Decision; 2 * KINDS]);

impl Outcomes {
    fn new(role: Role, out: PortId, validation: SourceValidation) -> Outcomes {
        let tcp = |reason| if role == Role::Servers { Reason::ServerOrigin } else { reason };
        let reasons = [tcp(Reason::Submission), tcp(Reason::OtherPort), Reason::NotTcp];
        const { assert!(Kind::Submission as usize == 0 && Kind::Udp as usize == 2) };
        Outcomes(array::from_fn(|at| {
            let forward = Decision {
                reason: reasons[at / 2],
                taken: Taken::Forward,
                out: Some(out),
                ..Decision::UNDECIDED
            };
            let unknown = at % 2 == 1 && role == Role::Subscriber;
            match validation {
                SourceValidation::Enforce if unknown => {
                    Decision { reason: Reason::SpoofedSource, ..Decision::UNDECIDED }
                }
                SourceValidation::Monitor if unknown => {
                    Decision { would: Some(Reason::SpoofedSource), ..forward }
                }
                _ => forward,
            }
        }))
    }
}
