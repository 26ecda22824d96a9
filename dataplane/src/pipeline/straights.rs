//! A burst's frames of the common shape: parse all, look up all, decide all.
//!
//! Each stage runs over the whole burst before the next begins, so that the misses of many look-ups overlap,
//! and no stage branches on what a frame holds: a decision is picked from a table by its kind and by whether
//! the customer is known. Such frames leave no state behind and ask for none, so that it does not matter that
//! they are judged before the burst's others.

use std::array;
use std::sync::Arc;

use super::{Arrival, Common, forward};
use crate::affected::{Attempt, Recorder};
use crate::counters::WorkerCounters;
use crate::frame::Addresses;
use crate::frame::straight::{self, Kind, Straight};
use crate::generation::Generation;
use crate::policy::decision::{Act, Ruling};
use crate::policy::rules::{Egress, is_single_host};
use crate::policy::{Decision, PoolId, PortId, Reason, Role, SourceValidation, Taken};
use crate::port::MAX_BURST;
use crate::route::Snapshot;
use crate::stages::{Lap, Stage};

/// One address family's frames of a burst, side by side.
pub(super) struct Lane<A> {
    customers: [A; MAX_BURST],
    /// In route mode: sources and destinations.
    ends: [(A, A); MAX_BURST],
    /// Each frame's place in the burst, and its kind.
    places: [(u8, Kind); MAX_BURST],
    count: usize,
}

impl<A: Copy> Lane<A> {
    fn new(nobody: A) -> Lane<A> {
        let nowhere = (0, Kind::OtherPort);
        Lane {
            customers: [nobody; MAX_BURST],
            ends: [(nobody, nobody); MAX_BURST],
            places: [nowhere; MAX_BURST],
            count: 0,
        }
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

    /// Each frame's place in the burst, with its source and destination, in route mode.
    pub(super) fn ends(&self) -> impl Iterator<Item = (u8, (A, A))> {
        self.places().iter().zip(&self.ends).map(|((at, _), ends)| (*at, *ends))
    }

    fn places(&self) -> &[(u8, Kind)] {
        &self.places[..self.count]
    }
}

/// The burst's segments from customers to port 25.
struct Mail<A> {
    customers: [A; MAX_BURST],
    destinations: [A; MAX_BURST],
    places: [u8; MAX_BURST],
    count: usize,
}

impl<A: Copy> Mail<A> {
    fn new(nobody: A) -> Mail<A> {
        Mail {
            customers: [nobody; MAX_BURST],
            destinations: [nobody; MAX_BURST],
            places: [0; MAX_BURST],
            count: 0,
        }
    }

    #[inline(always)]
    fn put(&mut self, count: usize, customer: A, destination: A, at: usize) {
        self.customers[count % MAX_BURST] = customer;
        self.destinations[count % MAX_BURST] = destination;
        self.places[count % MAX_BURST] = at as u8;
    }

    fn customers(&self) -> &[A] {
        &self.customers[..self.count]
    }
}

/// Room for the stages of one burst.
pub(super) struct Straights {
    common: Arc<Common>,
    v4: Lane<u32>,
    v6: Lane<u128>,
    mail_v4: Mail<u32>,
    mail_v6: Mail<u128>,
    ids: [u32; MAX_BURST],
    unions: [u32; MAX_BURST],
    /// Room for a destination's sets.
    sets: Vec<u64>,
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
    /// In route mode: where the router's own MACs are told.
    pub(super) router: Option<&'a Snapshot>,
}

impl Straights {
    pub(super) fn new(common: Arc<Common>) -> Straights {
        Straights {
            common,
            v4: Lane::new(0),
            v6: Lane::new(0),
            mail_v4: Mail::new(0),
            mail_v6: Mail::new(0),
            ids: [0; MAX_BURST],
            unions: [0; MAX_BURST],
            sets: Vec::new(),
            others: [0; MAX_BURST],
            others_count: 0,
        }
    }

    /// Places of the frames that are of another shape, in order.
    pub(super) fn others(&self) -> &[u8] {
        &self.others[..self.others_count]
    }

    /// The frames of the common shape that are no mail, of either family, in route mode.
    pub(super) fn lanes(&self) -> (&Lane<u32>, &Lane<u128>) {
        (&self.v4, &self.v6)
    }

    /// Judges the frames of the common shape, books them, and leaves the places of the others in
    /// [`others`](Straights::others). There are at most [`MAX_BURST`] frames. The port's books may be left to what follows.
    pub(super) fn judge<const BOOKS: bool>(
        &mut self,
        turn: &Turn<'_>,
        frames: &[&[u8]],
        decisions: &mut [Decision],
        affected: &mut Option<Recorder>,
        lap: &mut Lap,
    ) {
        let role = turn.generation.role(turn.arrival.port);
        self.parse::<BOOKS>(role, frames);
        lap.end(&turn.counters.stages, Stage::Parse);
        let outcomes = Outcomes::new(role, turn.out, turn.generation.source_validation());
        let pooled = matches!(role, Role::Subscriber | Role::Internet);

        // Mail first: what it asks of memory comes while the others are judged.
        let has_mail = self.mail_v4.count + self.mail_v6.count > 0;
        if has_mail {
            self.mail::<BOOKS>(turn, &outcomes, frames, decisions, affected);
            lap.end(&turn.counters.stages, Stage::Decide);
        }

        let Straights { v4, v6, ids, .. } = self;
        let ids4 = &mut ids[..v4.count];
        match pooled {
            true => turn.generation.pools_v4().lookup_burst(v4.customers(), ids4),
            false => ids4.fill(0),
        }
        lap.end(&turn.counters.stages, Stage::Lookup);
        if has_mail && let Some(affected) = affected {
            affected.locate();
        }
        let counts = decide(&outcomes, v4.places(), ids4, turn.counters, decisions);
        outcomes.book::<BOOKS>(counts, turn);
        lap.end(&turn.counters.stages, Stage::Decide);

        if v6.count > 0 {
            let ids6 = &mut ids[..v6.count];
            match pooled {
                true => turn.generation.pools_v6().lookup_burst(v6.customers(), ids6),
                false => ids6.fill(0),
            }
            lap.end(&turn.counters.stages, Stage::Lookup);
            let counts = decide(&outcomes, v6.places(), ids6, turn.counters, decisions);
            outcomes.book::<BOOKS>(counts, turn);
        }
    }

    #[inline]
    fn parse<const BRIDGE: bool>(&mut self, role: Role, frames: &[&[u8]]) {
        let inbound = role == Role::Internet;
        let outbound = role == Role::Subscriber;
        let (mut v4, mut v6, mut mail4, mut mail6, mut others) = (0, 0, 0, 0, 0);
        for (at, frame) in frames.iter().enumerate() {
            match straight::read(frame) {
                Some(Straight::V4 { source, destination, kind }) if kind != Kind::Smtp => {
                    self.v4.put(v4, if inbound { destination } else { source }, at, kind);
                    if !BRIDGE {
                        self.v4.ends[v4 % MAX_BURST] = (source, destination);
                    }
                    v4 += 1;
                }
                Some(Straight::V6 { source, destination, kind }) if kind != Kind::Smtp => {
                    self.v6.put(v6, if inbound { destination } else { source }, at, kind);
                    if !BRIDGE {
                        self.v6.ends[v6 % MAX_BURST] = (source, destination);
                    }
                    v6 += 1;
                }
                Some(Straight::V4 { source, destination, .. }) if outbound => {
                    self.mail_v4.put(mail4, source, destination, at);
                    mail4 += 1;
                }
                Some(Straight::V6 { source, destination, .. }) if outbound => {
                    self.mail_v6.put(mail6, source, destination, at);
                    mail6 += 1;
                }
                _ => {
                    self.others[others % MAX_BURST] = at as u8;
                    others += 1;
                }
            }
        }
        (self.v4.count, self.v6.count) = (v4, v6);
        (self.mail_v4.count, self.mail_v6.count) = (mail4, mail6);
        self.others_count = others;
    }

    /// Rules 6 and 12 to 19 for port 25.
    #[inline(never)]
    fn mail<const BOOKS: bool>(
        &mut self,
        turn: &Turn<'_>,
        outcomes: &Outcomes,
        frames: &[&[u8]],
        decisions: &mut [Decision],
        affected: &mut Option<Recorder>,
    ) {
        let generation = turn.generation;
        let Straights { common, mail_v4, mail_v6, ids, unions, sets, others, others_count, .. } = self;
        let mut port_25 =
            Port25::<BOOKS> { turn, outcomes, common, decisions, affected, others, others_count };
        let count = mail_v4.count;
        generation.pools_v4().lookup_burst(mail_v4.customers(), &mut ids[..count]);
        generation.sets().unions_v4(&mail_v4.destinations[..count], &mut unions[..count]);
        for at in 0..count {
            let (source, destination) = (mail_v4.customers[at], mail_v4.destinations[at]);
            port_25.judge(Segment {
                place: mail_v4.places[at],
                frame: frames[usize::from(mail_v4.places[at])],
                addresses: Addresses::V4 { source, destination },
                pool: PoolId(ids[at] as u16),
                sets: generation.sets().union(unions[at]),
            });
        }
        let count = mail_v6.count;
        if count > 0 {
            // Over IPv6, a destination may be of NAT64.
            sets.resize(generation.sets().words(), 0);
            generation.pools_v6().lookup_burst(mail_v6.customers(), &mut ids[..count]);
            for at in 0..count {
                let (source, destination) = (mail_v6.customers[at], mail_v6.destinations[at]);
                let addresses = Addresses::V6 { source, destination };
                generation.sets().of_destination(&addresses, sets);
                port_25.judge(Segment {
                    place: mail_v6.places[at],
                    frame: frames[usize::from(mail_v6.places[at])],
                    addresses,
                    pool: PoolId(ids[at] as u16),
                    sets,
                });
            }
        }
        others[..*others_count].sort_unstable();
    }
}

/// A segment from a customer to port 25.
#[derive(Clone, Copy)]
struct Segment<'a> {
    place: u8,
    frame: &'a [u8],
    addresses: Addresses,
    /// The customer's pool.
    pool: PoolId,
    /// The destination's sets.
    sets: &'a [u64],
}

/// Judges segments to port 25. What has to be answered or diverted is left to the general path, where answers and
/// what they cost follow the order of the packets.
struct Port25<'a, const BOOKS: bool> {
    turn: &'a Turn<'a>,
    outcomes: &'a Outcomes,
    common: &'a Common,
    decisions: &'a mut [Decision],
    affected: &'a mut Option<Recorder>,
    others: &'a mut [u8; MAX_BURST],
    others_count: &'a mut usize,
}

impl<const BOOKS: bool> Port25<'_, BOOKS> {
    // Inlined where the version of IP is known: nothing of a segment is put into memory then.
    #[inline(always)]
    fn judge(&mut self, segment: Segment<'_>) {
        let (generation, now) = (self.turn.generation, self.turn.arrival.now);
        let Segment { pool, sets, addresses, .. } = segment;
        // Rule 6 says the same of mail as of any other port.
        let base = &self.outcomes.0[Kind::OtherPort as usize * 2 + usize::from(pool == PoolId::NONE)];
        if base.taken == Taken::Drop {
            return self.settle(*base, segment);
        }
        let egress = Egress { generation, now, pool, customer: addresses.source(), routed: false, sets };
        let ruling = egress.judge(&mut ());
        let Ruling { reason, act, would, phase } = ruling;
        // What a router merely sees is nobody's attempt: see the general path.
        if !BOOKS && (act != Act::Forward || would.is_some()) && self.is_stranger(segment.frame) {
            return self.leave(segment.place);
        }
        match act {
            Act::Forward if base.would.is_some() => self.settle(Decision { reason, pool, ..*base }, segment),
            Act::Forward => self.settle(Decision { reason, would, phase, pool, ..*base }, segment),
            Act::Drop => self.settle(Decision { reason, pool, phase, ..Decision::UNDECIDED }, segment),
            Act::Reject(_) => self.reject(ruling, segment),
            Act::Divert(..) => self.leave(segment.place),
        }
    }

    #[inline(never)]
    fn is_stranger(&self, frame: &[u8]) -> bool {
        let Turn { generation, arrival, router, .. } = self.turn;
        let role = generation.role(arrival.port);
        router.is_some_and(|router| forward::stranger(router, *arrival, role, frame, || true).is_some())
    }

    /// A reject over its budget is settled here: once spent, a budget stays so for the burst, in whatever order it is
    /// asked.
    #[inline(never)]
    fn reject(&mut self, Ruling { reason, phase, .. }: Ruling, segment: Segment<'_>) {
        let Segment { addresses, frame, pool, place, .. } = segment;
        let now = self.turn.arrival.now.monotonic_micros;
        let suppressed = straight::is_answerable(frame, addresses.is_v6())
            && is_single_host(addresses.destination())
            && self.common.budget.is_spent(addresses.source(), now);
        match suppressed {
            true => {
                let decision = Decision { reason, pool, phase, suppressed, ..Decision::UNDECIDED };
                self.settle(decision, segment);
            }
            false => self.leave(place),
        }
    }

    #[inline(always)]
    fn leave(&mut self, place: u8) {
        self.others[*self.others_count % MAX_BURST] = place;
        *self.others_count += 1;
    }

    #[inline(always)]
    fn settle(&mut self, decision: Decision, segment: Segment<'_>) {
        let Turn { counters, arrival, .. } = self.turn;
        if BOOKS {
            counters.port(arrival.port).count(&decision);
        }
        counters.pool_packet(decision.pool);
        counters.pool_verdicts(decision.pool, &decision, 1);
        self.decisions[usize::from(segment.place)] = decision;
        if let Some(affected) = self.affected {
            let decision = &self.decisions[usize::from(segment.place)];
            note(self.turn, affected, decision, segment.addresses, segment.sets, segment.frame);
        }
    }
}

/// Notes a customer whose mail is denied, or would be.
#[inline(never)]
fn note(
    turn: &Turn<'_>,
    affected: &mut Recorder,
    decision: &Decision,
    addresses: Addresses,
    sets: &[u64],
    frame: &[u8],
) {
    let denied = decision.taken != Taken::Forward;
    if !Attempt::is_one(denied, decision.reason, decision.would) {
        return;
    }
    let (customer, other_end) = Attempt::ends(&addresses);
    let attempt = Attempt {
        customer,
        other_end,
        pool: decision.pool,
        destination: turn.generation.destination(sets),
        monitored: !denied,
        opens: straight::opens_connection(frame, addresses.is_v6()),
        answer: false,
    };
    affected.note(&attempt, turn.arrival.now);
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
        let decision = &mut decisions[usize::from(at)];
        // The whole of it, then its pool: two moves, where a new value would be put together field by field.
        *decision = outcomes.0[outcome];
        decision.pool = pool;
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
    fn book<const BOOKS: bool>(&self, counts: Counts, turn: &Turn<'_>) {
        let cells = turn.counters.port(turn.arrival.port);
        for (at, decision) in self.0.iter().enumerate() {
            let count = counts.get(at);
            if count > 0 {
                if BOOKS {
                    cells.count_many(decision, count);
                }
                turn.counters.pool_verdicts(PoolId::NONE, decision, count);
            }
        }
    }
}
