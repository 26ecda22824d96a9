//! A burst's frames of the common shape: parse all, look up all, decide all.
//!
//! Each stage runs over the whole burst before the next begins, so that the misses of many look-ups overlap,
//! and no stage branches on what a frame holds: a decision is picked from a table by its kind and by whether
//! the customer is known. Such frames leave no state behind and ask for none, so that it does not matter that
//! they are judged before the burst's others.

use std::array;
use std::net::IpAddr;

use super::Arrival;
use crate::counters::WorkerCounters;
use crate::frame::straight::{self, Kind, Straight};
use crate::generation::Generation;
use crate::policy::decision::Act;
use crate::policy::rules::Egress;
use crate::policy::{Decision, PoolId, PortId, Reason, Role, SourceValidation, Taken};
use crate::port::MAX_BURST;
use crate::stages::{Lap, Stage};

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

/// The burst's segments to port 25 over IPv4.
struct Mail {
    customers: [u32; MAX_BURST],
    destinations: [u32; MAX_BURST],
    places: [u8; MAX_BURST],
    count: usize,
}

/// Room for the stages of one burst.
pub(super) struct Straights {
    v4: Lane<u32>,
    v6: Lane<u128>,
    mail: Mail,
    ids: [u32; MAX_BURST],
    unions: [u32; MAX_BURST],
    others: [u8; MAX_BURST],
    others_count: usize,
}

/// The burst at hand.
pub(super) struct Turn<'a> {
    pub(super) generation: &'a Generation,
    pub(super) arrival: Arrival,
    /// Where what is forwarded leaves.
    pub(super) out: PortId,
    pub(super) counters: &'a WorkerCounters,
}

impl Straights {
    pub(super) fn new() -> Straights {
        Straights {
            v4: Lane::new(0),
            v6: Lane::new(0),
            mail: Mail {
                customers: [0; MAX_BURST],
                destinations: [0; MAX_BURST],
                places: [0; MAX_BURST],
                count: 0,
            },
            ids: [0; MAX_BURST],
            unions: [0; MAX_BURST],
            others: [0; MAX_BURST],
            others_count: 0,
        }
    }

    /// Places of the frames that are of another shape, in order.
    pub(super) fn others(&self) -> &[u8] {
        &self.others[..self.others_count]
    }

    /// Judges the frames of the common shape, books them, and leaves the places of the others in
    /// [`others`](Straights::others). There are at most [`MAX_BURST`] frames.
    pub(super) fn judge(
        &mut self,
        turn: &Turn<'_>,
        frames: &[&[u8]],
        decisions: &mut [Decision],
        lap: &mut Lap,
    ) {
        let role = turn.generation.role(turn.arrival.port);
        self.parse(role, frames);
        lap.end(&turn.counters.stages, Stage::Parse);
        let outcomes = Outcomes::new(role, turn.out, turn.generation.source_validation());
        let pooled = matches!(role, Role::Subscriber | Role::Internet);
        let Straights { v4, v6, ids, .. } = self;

        let ids4 = &mut ids[..v4.count];
        match pooled {
            true => turn.generation.pools_v4().lookup_burst(v4.customers(), ids4),
            false => ids4.fill(0),
        }
        lap.end(&turn.counters.stages, Stage::Lookup);
        let counts = decide(&outcomes, v4.places(), ids4, turn.counters, decisions);
        outcomes.book(counts, turn);
        lap.end(&turn.counters.stages, Stage::Decide);

        if v6.count > 0 {
            let ids6 = &mut ids[..v6.count];
            match pooled {
                true => turn.generation.pools_v6().lookup_burst(v6.customers(), ids6),
                false => ids6.fill(0),
            }
            lap.end(&turn.counters.stages, Stage::Lookup);
            let counts = decide(&outcomes, v6.places(), ids6, turn.counters, decisions);
            outcomes.book(counts, turn);
        }
        if self.mail.count > 0 {
            self.mail(turn, &outcomes, decisions);
        }
    }

    #[inline]
    fn parse(&mut self, role: Role, frames: &[&[u8]]) {
        let inbound = role == Role::Internet;
        let outbound = role == Role::Subscriber;
        let (mut v4, mut v6, mut mail, mut others) = (0, 0, 0, 0);
        for (at, frame) in frames.iter().enumerate() {
            match straight::read(frame) {
                Some(Straight::V4 { source, destination, kind: Kind::Smtp }) if outbound => {
                    self.mail.customers[mail % MAX_BURST] = source;
                    self.mail.destinations[mail % MAX_BURST] = destination;
                    self.mail.places[mail % MAX_BURST] = at as u8;
                    mail += 1;
                }
                Some(Straight::V4 { source, destination, kind }) if kind != Kind::Smtp => {
                    self.v4.put(v4, if inbound { destination } else { source }, at, kind);
                    v4 += 1;
                }
                Some(Straight::V6 { source, destination, kind }) => {
                    self.v6.put(v6, if inbound { destination } else { source }, at, kind);
                    v6 += 1;
                }
                _ => {
                    self.others[others % MAX_BURST] = at as u8;
                    others += 1;
                }
            }
        }
        (self.v4.count, self.v6.count) = (v4, v6);
        (self.mail.count, self.others_count) = (mail, others);
    }

    /// Rules 6 and 12 to 19 for port 25 from customers. What has to be answered or diverted is left to the
    /// general path.
    fn mail(&mut self, turn: &Turn<'_>, outcomes: &Outcomes, decisions: &mut [Decision]) {
        let Turn { generation, arrival, counters, .. } = *turn;
        let count = self.mail.count;
        let (ids, unions) = (&mut self.ids[..count], &mut self.unions[..count]);
        generation.pools_v4().lookup_burst(&self.mail.customers[..count], ids);
        generation.sets().unions_v4(&self.mail.destinations[..count], unions);
        let cells = counters.port(arrival.port);
        for at in 0..count {
            let (pool, place) = (PoolId(ids[at] as u16), self.mail.places[at]);
            let unknown = pool == PoolId::NONE;
            let spoofed = &outcomes.0[Kind::OtherPort as usize * 2 + usize::from(unknown)];
            let decision = if spoofed.taken == Taken::Drop {
                *spoofed
            } else {
                let egress = Egress {
                    generation,
                    now: arrival.now,
                    pool,
                    customer: IpAddr::V4(self.mail.customers[at].into()),
                    routed: false,
                    sets: generation.sets().union(unions[at]),
                };
                let ruling = egress.judge(&mut ());
                let (taken, out) = match ruling.act {
                    Act::Forward => (Taken::Forward, Some(turn.out)),
                    Act::Drop => (Taken::Drop, None),
                    Act::Reject(_) | Act::Divert(..) => {
                        self.others[self.others_count % MAX_BURST] = place;
                        self.others_count += 1;
                        continue;
                    }
                };
                let (would, phase) = match (taken, spoofed.would) {
                    (Taken::Forward, Some(_)) => (spoofed.would, None),
                    _ => (ruling.would, ruling.phase),
                };
                Decision { reason: ruling.reason, taken, would, phase, pool, out, ..*spoofed }
            };
            cells.count(&decision);
            counters.pool_packet(pool);
            counters.pool_verdicts(pool, &decision, 1);
            decisions[usize::from(place)] = decision;
        }
        // Answers and what they cost follow the order of the packets.
        self.others[..self.others_count].sort_unstable();
    }
}

/// How many frames had each outcome: ten bits for each of six, in one register, since a burst counts no
/// higher than 256.
#[derive(Clone, Copy, Default)]
struct Counts(u64);

impl Counts {
    const BITS: usize = 10;
    const FITS: () = assert!(MAX_BURST < 1 << Counts::BITS && OUTCOMES * Counts::BITS <= 64);

    #[inline(always)]
    fn add(&mut self, outcome: usize) {
        let () = Counts::FITS;
        self.0 += 1 << (outcome * Counts::BITS);
    }

    fn get(self, outcome: usize) -> u64 {
        self.0 >> (outcome * Counts::BITS) & ((1 << Counts::BITS) - 1)
    }
}

/// The last stage: a decision for each frame, by its kind and by whether its customer is known.
#[inline(always)]
fn decide(
    outcomes: &Outcomes,
    places: &[(u8, Kind)],
    ids: &[u32],
    counters: &WorkerCounters,
    decisions: &mut [Decision],
) -> Counts {
    let mut counts = Counts::default();
    for (&(at, kind), &id) in places.iter().zip(ids) {
        let outcome = (kind as usize * 2 + usize::from(id == 0)) % OUTCOMES;
        counts.add(outcome);
        let pool = PoolId(id as u16);
        decisions[usize::from(at)] = Decision { pool, ..outcomes.0[outcome] };
        counters.pool_packet(pool);
    }
    counts
}

/// Submission, other ports and UDP; known customers and unknown.
const OUTCOMES: usize = 6;

/// The decisions that frames of the common shape can have, by kind and by whether the customer is unknown.
struct Outcomes([Decision; OUTCOMES]);

impl Outcomes {
    fn new(role: Role, out: PortId, validation: SourceValidation) -> Outcomes {
        let tcp = |reason| match role {
            Role::Servers | Role::Filter => Reason::ServerOrigin,
            Role::Subscriber | Role::Internet => reason,
        };
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

    /// Books what was counted by outcome.
    #[inline(always)]
    fn book(&self, counts: Counts, turn: &Turn<'_>) {
        let cells = turn.counters.port(turn.arrival.port);
        for (at, decision) in self.0.iter().enumerate() {
            let count = counts.get(at);
            if count > 0 {
                cells.count_many(decision, count);
                turn.counters.pool_verdicts(PoolId::NONE, decision, count);
            }
        }
    }
}
