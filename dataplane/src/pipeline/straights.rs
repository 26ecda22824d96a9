//! A burst's frames of the common shape: parse all, look up all, decide all.
//!
//! Each stage runs over the whole burst before the next begins, so that the misses of many look-ups overlap,
//! and no stage branches on what a frame holds: a decision is picked from a table by its kind and by whether
//! the customer is known. Such frames leave no state behind and ask for none, so that it does not matter that
//! they are judged before the burst's others.

use std::array;
use std::sync::Arc;

use super::forward::Inlet;
use super::{Arrival, Common, forward};
use crate::affected::{Attempt, Recorder};
use crate::counters::{PortCells, WorkerCounters};
use crate::frame::Addresses;
use crate::frame::straight::{self, Kind, Straight, Transit};
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
    /// Each frame's place in the burst, and its kind.
    places: [(u8, Kind); MAX_BURST],
    count: usize,
    /// In route mode: the other ends, whether those are the sources, and what a router asks of each packet.
    peers: [A; MAX_BURST],
    inbound: bool,
    transits: [Transit; MAX_BURST],
    /// In route mode: what is still to be booked.
    counts: Counts,
}

impl<A: Copy> Lane<A> {
    fn new(nobody: A) -> Lane<A> {
        let nowhere = (0, Kind::OtherPort);
        Lane {
            customers: [nobody; MAX_BURST],
            places: [nowhere; MAX_BURST],
            count: 0,
            peers: [nobody; MAX_BURST],
            inbound: false,
            transits: [Transit::DOUBTFUL; MAX_BURST],
            counts: Counts::default(),
        }
    }

    /// Puts a frame at `count`, which the caller keeps in a register and counts on.
    #[inline(always)]
    fn put(&mut self, count: usize, customer: A, at: usize, kind: Kind) {
        // A burst has at most MAX_BURST frames; the mask only spares the check.
        self.customers[count % MAX_BURST] = customer;
        self.places[count % MAX_BURST] = (at as u8, kind);
    }

    /// Puts down what a router needs to know of the same frame.
    #[inline(always)]
    fn lead(&mut self, count: usize, peer: A, transit: Transit) {
        self.peers[count % MAX_BURST] = peer;
        self.transits[count % MAX_BURST] = transit;
    }

    /// Has a router ask all its rules about the frames at such places.
    #[inline(never)]
    fn doubt(&mut self, mut is_doubtful: impl FnMut(usize) -> bool) {
        let places = self.places[..self.count].iter();
        for (&(at, _), transit) in places.zip(&mut self.transits) {
            if is_doubtful(usize::from(at)) {
                *transit = Transit::DOUBTFUL;
            }
        }
    }

    fn customers(&self) -> &[A] {
        &self.customers[..self.count]
    }

    /// Each frame's place in the burst, and its kind.
    pub(super) fn places(&self) -> &[(u8, Kind)] {
        &self.places[..self.count]
    }

    /// In route mode: where the packets go.
    pub(super) fn destinations(&self) -> &[A] {
        let destinations = if self.inbound { &self.customers } else { &self.peers };
        &destinations[..self.count]
    }

    /// In route mode: where they come from.
    pub(super) fn sources(&self) -> &[A] {
        let sources = if self.inbound { &self.peers } else { &self.customers };
        &sources[..self.count]
    }

    /// In route mode: each frame's place in the burst, and what a router asks of it. What the policy denies is in doubt.
    pub(super) fn of_router(&self) -> impl ExactSizeIterator<Item = (u8, Transit)> {
        self.places().iter().zip(&self.transits[..self.count]).map(|((at, _), transit)| (*at, *transit))
    }

    /// In route mode: how many have each outcome, which the port's books do not know yet.
    pub(super) fn counts(&self) -> Counts {
        self.counts
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
    /// By port.
    outcomes: Box<[Outcomes]>,
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
        let outcomes = common.up.iter().map(|_| Outcomes::UNKNOWN).collect();
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
            outcomes,
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

    /// Places of all that is in neither lane; some may come twice.
    pub(super) fn rest(&self) -> impl Iterator<Item = u8> {
        let Straights { mail_v4, mail_v6, .. } = self;
        let mail = mail_v4.places[..mail_v4.count].iter().chain(&mail_v6.places[..mail_v6.count]);
        mail.chain(self.others()).copied()
    }

    /// Books in a port's cells what lanes counted, by outcome.
    #[inline]
    pub(super) fn book(&self, port: PortId, counts: Counts, cells: &PortCells) {
        for (decision, count) in self.outcomes[usize::from(port.0)].counted(counts) {
            cells.count_many(decision, count);
        }
    }

    /// Judges the frames of the common shape, books them, and leaves the places of the others in
    /// [`others`](Straights::others). There are at most [`MAX_BURST`] frames. In route mode the port's books are left to
    /// what follows, with what a router has to know of frames that are for it.
    pub(super) fn judge<const BOOKS: bool>(
        &mut self,
        turn: &Turn<'_>,
        frames: &[&[u8]],
        decisions: &mut [Decision],
        affected: &mut Option<Recorder>,
        lap: &mut Lap,
    ) {
        let role = turn.generation.role(turn.arrival.port);
        let inlet = turn.router.map(|snapshot| Inlet::new(turn.arrival.port, snapshot));
        match BOOKS {
            true => self.parse::<true>(role, frames, None),
            false => self.parse_for_router(role, frames, inlet),
        }
        lap.end(&turn.counters.stages, Stage::Parse);
        let port = usize::from(turn.arrival.port.0);
        self.outcomes[port].follow((role, turn.out, turn.generation.source_validation()));
        let pooled = matches!(role, Role::Subscriber | Role::Internet);

        // Mail first: what it asks of memory comes while the others are judged.
        let has_mail = self.mail_v4.count + self.mail_v6.count > 0;
        if has_mail {
            self.mail::<BOOKS>(turn, frames, decisions, affected);
            lap.end(&turn.counters.stages, Stage::Decide);
        }

        let Straights { v4, v6, ids, outcomes, .. } = self;
        let outcomes = &outcomes[port];
        let ids4 = &mut ids[..v4.count];
        match pooled {
            true => turn.generation.pools_v4().lookup_burst(v4.customers(), ids4),
            false => ids4.fill(0),
        }
        lap.end(&turn.counters.stages, Stage::Lookup);
        if has_mail && let Some(affected) = affected {
            affected.locate();
        }
        v4.counts = decide(outcomes, v4.places(), ids4, turn.counters, decisions);
        outcomes.book::<BOOKS>(v4.counts, turn);
        if !BOOKS && outcomes.denies(v4.counts) {
            v4.doubt(|at| decisions[at].taken != Taken::Forward);
        }
        lap.end(&turn.counters.stages, Stage::Decide);

        if v6.count > 0 {
            let ids6 = &mut ids[..v6.count];
            match pooled {
                true => turn.generation.pools_v6().lookup_burst(v6.customers(), ids6),
                false => ids6.fill(0),
            }
            lap.end(&turn.counters.stages, Stage::Lookup);
            v6.counts = decide(outcomes, v6.places(), ids6, turn.counters, decisions);
            outcomes.book::<BOOKS>(v6.counts, turn);
            if !BOOKS && outcomes.denies(v6.counts) {
                v6.doubt(|at| decisions[at].taken != Taken::Forward);
            }
        }
    }

    /// A function of its own, which shares its registers with nothing else.
    #[inline(never)]
    fn parse_for_router(&mut self, role: Role, frames: &[&[u8]], inlet: Option<Inlet<'_>>) {
        self.parse::<false>(role, frames, inlet);
    }

    #[inline]
    fn parse<const BRIDGE: bool>(&mut self, role: Role, frames: &[&[u8]], inlet: Option<Inlet<'_>>) {
        // What the MACs of untagged frames differ in from the router's, and whether there are others.
        let own = inlet.as_ref().map_or(0, Inlet::own);
        let (mut strange, mut tagged) = (inlet.as_ref().map_or(0, Inlet::missing), false);
        let inbound = role == Role::Internet;
        let outbound = role == Role::Subscriber;
        let (mut v4, mut v6, mut mail4, mut mail6, mut others) = (0, 0, 0, 0, 0);
        for (at, frame) in frames.iter().enumerate() {
            match straight::read(frame) {
                Some(Straight::V4 { source, destination, kind, transit }) if kind != Kind::Smtp => {
                    let (customer, peer) =
                        if inbound { (destination, source) } else { (source, destination) };
                    self.v4.put(v4, customer, at, kind);
                    if !BRIDGE {
                        strange |= Inlet::to(frame) ^ own;
                        tagged |= transit.is_tagged();
                        self.v4.lead(v4, peer, transit);
                    }
                    v4 += 1;
                }
                Some(Straight::V6 { source, destination, kind, transit }) if kind != Kind::Smtp => {
                    let (customer, peer) =
                        if inbound { (destination, source) } else { (source, destination) };
                    self.v6.put(v6, customer, at, kind);
                    if !BRIDGE {
                        strange |= Inlet::to(frame) ^ own;
                        tagged |= transit.is_tagged();
                        self.v6.lead(v6, peer, transit);
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
        if !BRIDGE {
            (self.v4.inbound, self.v6.inbound) = (inbound, inbound);
            self.v6.counts = Counts::default();
            if let Some(mut inlet) = inlet
                && (tagged || Inlet::is_strange(strange))
            {
                self.v4.doubt(|at| !inlet.is_own(frames[at]));
                self.v6.doubt(|at| !inlet.is_own(frames[at]));
            }
        }
        (self.mail_v4.count, self.mail_v6.count) = (mail4, mail6);
        self.others_count = others;
    }

    /// Rules 6 and 12 to 19 for port 25.
    #[inline(never)]
    fn mail<const BOOKS: bool>(
        &mut self,
        turn: &Turn<'_>,
        frames: &[&[u8]],
        decisions: &mut [Decision],
        affected: &mut Option<Recorder>,
    ) {
        let generation = turn.generation;
        let Straights { common, mail_v4, mail_v6, ids, unions, sets, others, others_count, outcomes, .. } =
            self;
        let outcomes = &outcomes[usize::from(turn.arrival.port.0)];
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
        let base = &self.outcomes.decisions[Kind::OtherPort as usize * 2 + usize::from(pool == PoolId::NONE)];
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
pub(super) struct Counts(u64);

impl Counts {
    const BITS: usize = 10;
    const FITS: () = assert!(MAX_BURST < 1 << Counts::BITS && OUTCOMES * Counts::BITS <= 64);

    #[inline(always)]
    fn add(&mut self, outcome: usize) {
        let () = Counts::FITS;
        self.0 += 1u64.wrapping_shl((outcome * Counts::BITS) as u32);
    }

    /// Takes one back that has this decision, and was of this kind.
    #[inline(always)]
    pub(super) fn take_back(&mut self, kind: Kind, decision: &Decision) {
        self.0 -= 1u64.wrapping_shl((outcome(kind, decision.pool) * Counts::BITS) as u32);
    }

    /// Of one of [`OUTCOMES`].
    fn get(self, outcome: usize) -> u64 {
        self.0 >> (outcome * Counts::BITS) & ((1 << Counts::BITS) - 1)
    }
}

/// The last stage: a decision for each frame, by its kind and by whether its customer is known. A function of its own, so
/// that its loop has all the registers.
#[inline(never)]
fn decide(
    outcomes: &Outcomes,
    places: &[(u8, Kind)],
    ids: &[u32],
    counters: &WorkerCounters,
    decisions: &mut [Decision],
) -> Counts {
    let mut counts = Counts::default();
    let packets = counters.pool_packets();
    let outcomes = &outcomes.decisions;
    for (&(at, kind), &id) in places.iter().zip(ids) {
        let pool = PoolId(id as u16);
        let outcome = outcome(kind, pool);
        counts.add(outcome);
        let decision = &mut decisions[usize::from(at)];
        // The whole of it, then its pool: two moves, where a new value would be put together field by field.
        *decision = outcomes[outcome];
        decision.pool = pool;
        packets.count(pool);
    }
    counts
}

/// Submission, other ports and UDP; known customers and unknown.
const OUTCOMES: usize = 6;
/// A power of two of places for them, so that a mask spares the check.
const PLACES: usize = 8;

#[inline(always)]
fn outcome(kind: Kind, pool: PoolId) -> usize {
    (kind as usize * 2 + usize::from(pool == PoolId::NONE)) % PLACES
}

/// The decisions that frames of the common shape can have, by kind and by whether the customer is unknown.
///
/// A port's are made when what they follow from changes, and not for each burst: what was written field by field just
/// before is not yet where a read of several fields finds it, and the read waits for all writes to get there.
struct Outcomes {
    of: Option<(Role, PortId, SourceValidation)>,
    decisions: [Decision; PLACES],
}

impl Outcomes {
    const UNKNOWN: Outcomes = Outcomes { of: None, decisions: [Decision::UNDECIDED; PLACES] };

    /// Makes them for a port of this role, whose frames leave there.
    #[inline(always)]
    fn follow(&mut self, of: (Role, PortId, SourceValidation)) {
        if self.of != Some(of) {
            self.make(of);
        }
    }

    #[cold]
    fn make(&mut self, (role, out, validation): (Role, PortId, SourceValidation)) {
        self.of = Some((role, out, validation));
        let tcp = |reason| match role {
            Role::Servers | Role::Filter => Reason::ServerOrigin,
            Role::Subscriber | Role::Internet => reason,
        };
        let other = tcp(Reason::OtherPort);
        // The last are nobody's.
        let reasons = [tcp(Reason::Submission), other, Reason::NotTcp, other];
        const { assert!(Kind::Submission as usize == 0 && Kind::Udp as usize == 2) };
        self.decisions = array::from_fn(|at| {
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
        });
    }

    /// The decisions that were counted, and how often.
    #[inline(always)]
    fn counted(&self, counts: Counts) -> impl Iterator<Item = (&Decision, u64)> {
        let all = self.decisions[..OUTCOMES].iter().enumerate();
        all.map(move |(at, decision)| (decision, counts.get(at))).filter(|(_, count)| *count > 0)
    }

    /// Whether something of what was counted is denied.
    fn denies(&self, counts: Counts) -> bool {
        self.counted(counts).any(|(decision, _)| decision.taken != Taken::Forward)
    }

    /// Books what was counted by outcome.
    #[inline(always)]
    fn book<const BOOKS: bool>(&self, counts: Counts, turn: &Turn<'_>) {
        let cells = turn.counters.port(turn.arrival.port);
        for (decision, count) in self.counted(counts) {
            if BOOKS {
                cells.count_many(decision, count);
            }
            turn.counters.pool_verdicts(PoolId::NONE, decision, count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_denied_something_only_if_a_frame_of_it_is() {
        for validation in [SourceValidation::Enforce, SourceValidation::Monitor, SourceValidation::Off] {
            let mut outcomes = Outcomes::UNKNOWN;
            outcomes.follow((Role::Subscriber, PortId(1), validation));
            for counted in 0..OUTCOMES {
                let mut counts = Counts::default();
                counts.add(counted);
                let unknown = counted % 2 == 1;
                let denied = unknown && validation == SourceValidation::Enforce;
                assert_eq!(outcomes.denies(counts), denied, "{validation:?}, outcome {counted}");
            }
        }
    }
}
