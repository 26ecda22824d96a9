//! The pipeline: a burst of frames through parse, look up, decide and act. No clock, no input or output.
//!
//! One worker owns one [`Pipeline`]; what the workers share is in [`Common`], without a lock. `run`, `replay`,
//! `explain`, the vectors, the fuzzers and the benches all call [`Pipeline::judge`]: there is no second
//! implementation of a rule.

mod forward;
mod straights;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::action::budget::RejectBudget;
use crate::action::reject::Answerable;
use crate::action::returns::Returns;
use crate::action::{RejectLimits, Replies};
use crate::affected::{Attempt, Recorder};
use crate::clock::Instant;
use crate::counters::{PortCells, WorkerCounters};
use crate::frame::{
    self, Addresses, Datagram, Fragment, Frame, Headers, Link, TCP_FLAGS, Upper, opens, protocol,
};
use crate::generation::Generation;
use crate::health::Checks;
use crate::policy::decision::{Act, Ruling};
use crate::policy::fragments::{Fate, FragmentTable, Key, Known, Later};
use crate::policy::rules::Case;
use crate::policy::{
    Decision, DivertFallback, FragmentLimits, PoolId, PortId, Reason, Reasons, RejectWith, Role, Taken, Trace,
};
use crate::port::MAX_BURST;
use crate::route::punt::Punts;
use crate::route::{Edit, OnlineRoutes, Snapshot};
use crate::stages::{Lap, Stage};
use crate::tap::Tap;
use forward::Forwarding;
use straights::{Straights, Turn};

/// What all workers share.
pub struct Common {
    budget: RejectBudget,
    returns: Returns,
    up: Box<[AtomicBool]>,
    failed: Box<[AtomicBool]>,
    /// By port: it does not answer checks of its health.
    silent: Box<[AtomicBool]>,
    checks: Option<Checks>,
    router: Option<Router>,
    tap: Tap,
}

/// What a router has besides.
struct Router {
    punts: Punts,
    icmp: RejectBudget,
}

impl Common {
    /// For so many ports, all of them up.
    pub fn new(ports: usize, rejects: RejectLimits) -> Common {
        Common {
            budget: RejectBudget::new(rejects),
            returns: Returns::new(),
            up: (0..ports).map(|_| AtomicBool::new(true)).collect(),
            failed: (0..ports).map(|_| AtomicBool::new(false)).collect(),
            silent: (0..ports).map(|_| AtomicBool::new(false)).collect(),
            checks: None,
            router: None,
            tap: Tap::default(),
        }
    }

    /// With checks of a filter's health.
    #[must_use]
    pub fn with_checks(self, checks: Option<Checks>) -> Common {
        Common { checks, ..self }
    }

    /// As a router: with queues to and from the kernel, and so often errors are sent by ICMP.
    #[must_use]
    pub fn with_router(self, punts: Punts, icmp: RejectLimits) -> Common {
        Common { router: Some(Router { punts, icmp: RejectBudget::new(icmp) }), ..self }
    }

    /// The queues to and from the kernel, of a router.
    pub fn punts(&self) -> Option<&Punts> {
        self.router.as_ref().map(|router| &router.punts)
    }

    fn icmp(&self) -> Option<&RejectBudget> {
        self.router.as_ref().map(|router| &router.icmp)
    }

    /// Where a capture takes its copies.
    pub fn tap(&self) -> &Tap {
        &self.tap
    }

    /// The checks of the filter's health, if there are any.
    pub fn checks(&self) -> Option<&Checks> {
        self.checks.as_ref()
    }

    /// Says whether a port answers checks of its health. One that does not gets nothing more, link or no link.
    pub fn set_answers(&self, port: PortId, answers: bool) {
        self.silent[usize::from(port.0)].store(!answers, Ordering::Relaxed);
    }

    /// Whether a port answers checks of its health, or has none.
    pub fn answers(&self, port: PortId) -> bool {
        !self.silent[usize::from(port.0)].load(Ordering::Relaxed)
    }

    /// Whether a port's driver says that it works.
    pub fn has_link(&self, port: PortId) -> bool {
        self.up[usize::from(port.0)].load(Ordering::Relaxed)
    }

    /// Says whether a port works. A filter that does not gets nothing more. One that has
    /// [failed](Common::fail) stays down.
    pub fn set_up(&self, port: PortId, up: bool) {
        let failed = self.failed[usize::from(port.0)].load(Ordering::Relaxed);
        self.up[usize::from(port.0)].store(up && !failed, Ordering::Relaxed);
    }

    /// Says that a port has stopped working for good.
    pub fn fail(&self, port: PortId) {
        self.failed[usize::from(port.0)].store(true, Ordering::Relaxed);
        self.set_up(port, false);
    }

    /// Whether a port works: its driver says so, and it answers.
    pub fn is_up(&self, port: PortId) -> bool {
        self.has_link(port) && self.answers(port)
    }
}

/// Where and when a burst was received.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// The port.
    pub port: PortId,
    /// How its frames begin.
    pub link: Link,
    /// The instant at which all of them are judged.
    pub now: Instant,
}

/// Where what becomes of a burst's frames is written down.
pub struct Outcomes<'a> {
    /// What was decided of each.
    pub decisions: &'a mut [Decision],
    /// What is to be changed in each before it leaves.
    pub edits: &'a mut [Edit],
}

/// One worker's way from frames to decisions, with the state it keeps.
pub struct Pipeline {
    counters: Arc<WorkerCounters>,
    state: State,
    straights: Box<Straights>,
    /// A router's.
    forwarding: Option<Box<Forwarding>>,
    measuring: bool,
}

/// What a worker remembers from one frame to the next, and what it shares.
struct State {
    common: Arc<Common>,
    fragments: FragmentTable,
    /// Room for a destination's sets.
    sets: Vec<u64>,
    affected: Option<Recorder>,
}

impl Pipeline {
    /// A pipeline that books into `counters`.
    pub fn new(common: Arc<Common>, counters: Arc<WorkerCounters>, fragments: FragmentLimits) -> Pipeline {
        let fragments = FragmentTable::new(fragments);
        let forwarding = common.router.as_ref().map(|_| Box::new(Forwarding::new(Arc::clone(&common))));
        Pipeline {
            counters,
            straights: Box::new(Straights::new(Arc::clone(&common))),
            state: State { common, fragments, sets: Vec::new(), affected: None },
            forwarding,
            measuring: false,
        }
    }

    /// Books who is denied on port 25, or would be.
    #[must_use]
    pub fn with_affected(mut self, affected: Recorder) -> Pipeline {
        self.state.affected = Some(affected);
        self
    }

    /// Judges a burst. `decisions[n]` is the outcome for `frames[n]`; the answers that rejects call for are
    /// added to `replies`.
    ///
    /// Frames of the common shape go straight through, a stage at a time for all of them; those of any other
    /// shape go one by one.
    ///
    /// # Panics
    /// If there are fewer decisions than frames, or the generation has no such port.
    pub fn judge(
        &mut self,
        generation: &Generation,
        arrival: Arrival,
        frames: &[&[u8]],
        decisions: &mut [Decision],
        replies: &mut Replies,
    ) {
        let role = self.begin(generation, arrival, frames);
        let decisions = &mut decisions[..frames.len()];
        let Pipeline { counters, state, straights, measuring, .. } = self;
        let mut lap = Lap::start(*measuring);
        let mut one = One { state, counters, generation, arrival, role, router: None };
        match generation.port(arrival.port).peer {
            // The common shape may have a tag: where none is allowed, every frame takes the general path.
            Some(out) if arrival.link == Link::Ethernet && generation.depth().l2_headers > 0 => {
                let turn = Turn { generation, arrival, out, counters, router: None };
                let chunks = frames.chunks(MAX_BURST).zip(decisions.chunks_mut(MAX_BURST));
                for (chunk, (frames, decisions)) in chunks.enumerate() {
                    let affected = &mut one.state.affected;
                    straights.judge::<true>(&turn, frames, decisions, affected, &mut lap);
                    for &at in straights.others() {
                        let at = usize::from(at);
                        let place = chunk * MAX_BURST + at;
                        decisions[at] = one.judge(frames[at], place, replies, &mut ());
                    }
                }
            }
            _ => {
                for (at, (frame, decision)) in frames.iter().zip(decisions).enumerate() {
                    *decision = one.judge(frame, at, replies, &mut ());
                }
            }
        }
        if let Some(affected) = &mut one.state.affected {
            affected.book(arrival.now);
        }
        lap.end(&counters.stages, Stage::Decide);
    }

    /// Whether the next bursts are measured by stage.
    pub(crate) fn measure(&mut self, measuring: bool) {
        self.measuring = measuring;
    }

    /// As [`judge`](Pipeline::judge), one frame at a time, reporting each rule that is looked at. The specification
    /// of [`judge`](Pipeline::judge), which must give the same.
    ///
    /// # Panics
    /// As [`judge`](Pipeline::judge).
    pub fn judge_traced<T: Trace>(
        &mut self,
        generation: &Generation,
        arrival: Arrival,
        frames: &[&[u8]],
        decisions: &mut [Decision],
        replies: &mut Replies,
        trace: &mut T,
    ) {
        let role = self.begin(generation, arrival, frames);
        let Pipeline { counters, state, .. } = self;
        let mut one = One { state, counters, generation, arrival, role, router: None };
        for (at, (frame, decision)) in frames.iter().zip(&mut decisions[..frames.len()]).enumerate() {
            *decision = one.judge(frame, at, replies, trace);
        }
        if let Some(affected) = &mut one.state.affected {
            affected.book(arrival.now);
        }
    }

    /// Judges a burst by the policy, and leads what it forwards to its next hops. `decisions[n]` is the outcome for
    /// `frames[n]`, `edits[n]` what is to be changed in it before it leaves; answers and fragments are added to `replies`.
    ///
    /// # Panics
    /// If there are fewer decisions or edits than frames, the generation has no such port, or the pipeline is no router's.
    pub fn judge_routed(
        &mut self,
        generation: &Generation,
        routes: &mut OnlineRoutes<'_>,
        arrival: Arrival,
        frames: &[&[u8]],
        outcomes: Outcomes<'_>,
        replies: &mut Replies,
    ) {
        let role = self.begin(generation, arrival, frames);
        let Pipeline { counters, state, straights, forwarding, measuring } = self;
        let forwarding = forwarding.as_mut().expect("a router's pipeline");
        let mut lap = Lap::start(*measuring);
        let (decisions, edits) =
            (&mut outcomes.decisions[..frames.len()], &mut outcomes.edits[..frames.len()]);
        edits.fill(Edit::NOTHING);
        let straight = arrival.link == Link::Ethernet && generation.depth().l2_headers > 0;
        let chunks =
            frames.chunks(MAX_BURST).zip(decisions.chunks_mut(MAX_BURST)).zip(edits.chunks_mut(MAX_BURST));
        for (chunk, ((frames, decisions), edits)) in chunks.enumerate() {
            let first = chunk * MAX_BURST;
            let number = {
                let snapshot = routes.snapshot();
                let mut one = One { state, counters, generation, arrival, role, router: Some(&snapshot) };
                if straight {
                    let turn =
                        Turn { generation, arrival, out: arrival.port, counters, router: Some(&snapshot) };
                    straights.judge::<false>(&turn, frames, decisions, &mut one.state.affected, &mut lap);
                    for &at in straights.others() {
                        let at = usize::from(at);
                        decisions[at] = one.judge_unbooked(frames[at], first + at, replies, &mut ());
                    }
                } else {
                    for (at, (frame, decision)) in frames.iter().zip(&mut *decisions).enumerate() {
                        *decision = one.judge_unbooked(frame, first + at, replies, &mut ());
                    }
                }
                snapshot.number()
            };
            lap.end(&counters.stages, Stage::Decide);
            let read = straight.then_some((&**straights, number));
            let turn = forward::Turn { generation, arrival, counters, straights: read };
            let burst = forward::Frames { frames, decisions, edits, first };
            forwarding.forward(&turn, routes, burst, replies, &mut lap);
        }
        routes.quiescent();
        if let Some(affected) = &mut state.affected {
            affected.book(arrival.now);
        }
        lap.end(&counters.stages, Stage::Decide);
    }

    /// As [`judge_routed`](Pipeline::judge_routed), one frame at a time, each by all the rules: the specification.
    ///
    /// # Panics
    /// As [`judge_routed`](Pipeline::judge_routed).
    #[allow(clippy::too_many_arguments)]
    pub fn judge_routed_traced<T: Trace>(
        &mut self,
        generation: &Generation,
        routes: &mut OnlineRoutes<'_>,
        arrival: Arrival,
        frames: &[&[u8]],
        outcomes: Outcomes<'_>,
        replies: &mut Replies,
        trace: &mut T,
    ) {
        let role = self.begin(generation, arrival, frames);
        let Pipeline { counters, state, forwarding, .. } = self;
        let forwarding = forwarding.as_mut().expect("a router's pipeline");
        let mut lap = Lap::start(false);
        for (at, frame) in frames.iter().enumerate() {
            let (decisions, edits) = (&mut outcomes.decisions[at..=at], &mut outcomes.edits[at..=at]);
            edits.fill(Edit::NOTHING);
            {
                let snapshot = routes.snapshot();
                let mut one = One { state, counters, generation, arrival, role, router: Some(&snapshot) };
                decisions[0] = one.judge_unbooked(frame, at, replies, trace);
            }
            let turn = forward::Turn { generation, arrival, counters, straights: None };
            let burst = forward::Frames { frames: &[frame], decisions, edits, first: at };
            forwarding.forward(&turn, routes, burst, replies, &mut lap);
        }
        routes.quiescent();
        if let Some(affected) = &mut state.affected {
            affected.book(arrival.now);
        }
    }

    /// Whether it leads packets to next hops.
    pub fn is_router(&self) -> bool {
        self.forwarding.is_some()
    }

    /// Whether frames wait for the MACs of their next hops.
    #[inline]
    pub fn has_waiting(&self) -> bool {
        self.forwarding.as_ref().is_some_and(|forwarding| forwarding.has_waiting())
    }

    /// Looks after the frames that wait: those whose next hop is known by now leave through `send`, which says whether
    /// there was room. Answers and fragments are added to `replies`, in answer to nothing.
    pub fn tend_waiting(
        &mut self,
        generation: &Generation,
        routes: &mut OnlineRoutes<'_>,
        now: Instant,
        replies: &mut Replies,
        send: impl FnMut(PortId, &[u8]) -> bool,
    ) {
        if let Some(forwarding) = &mut self.forwarding {
            forwarding.tend(generation, &self.counters, routes, now, replies, send);
            routes.quiescent();
        }
    }

    /// What is done once per burst.
    fn begin(&mut self, generation: &Generation, arrival: Arrival, frames: &[&[u8]]) -> Role {
        generation.advance(arrival.now.utc_micros);
        self.state.fragments.expire(arrival.now.monotonic_micros);
        self.state.sets.resize(generation.sets().words(), 0);
        let cells = self.counters.port(arrival.port);
        cells.received_packets.add(frames.len() as u64);
        cells.received_bytes.add(frames.iter().map(|frame| frame.len() as u64).sum());
        generation.role(arrival.port)
    }

    /// Where a capture takes its copies.
    #[inline]
    pub(crate) fn tap(&self) -> &Tap {
        self.state.common.tap()
    }

    /// The queues to and from the kernel, of a router.
    #[inline]
    pub(crate) fn punts(&self) -> Option<&Punts> {
        self.state.common.punts()
    }

    /// The checks of the filter's health, if there are any.
    pub(crate) fn checks(&self) -> Option<&Checks> {
        self.state.common.checks()
    }

    /// The counters that this pipeline books into.
    pub fn counters(&self) -> &Arc<WorkerCounters> {
        &self.counters
    }

    /// Datagrams that the fragment table remembers now.
    pub fn fragments_known(&self) -> usize {
        self.state.fragments.len()
    }
}

/// The general path: any frame, one at a time.
struct One<'a> {
    state: &'a mut State,
    counters: &'a WorkerCounters,
    generation: &'a Generation,
    arrival: Arrival,
    role: Role,
    /// In route mode: where the router's own addresses are told.
    router: Option<&'a Snapshot>,
}

impl One<'_> {
    /// As [`judge`](One::judge), but the port's books are left to what follows.
    fn judge_unbooked<T: Trace>(
        &mut self,
        frame: &[u8],
        at: usize,
        replies: &mut Replies,
        trace: &mut T,
    ) -> Decision {
        let decision = self.decide(frame, at, replies, trace);
        self.counters.pool_packet(decision.pool);
        // What was not for the router is no verdict of the policy.
        if !Reasons::STRANGERS.has(decision.reason) {
            self.counters.pool_verdicts(decision.pool, &decision, 1);
        }
        decision
    }

    /// Judges the frame at place `at` of its burst and books the outcome.
    fn judge<T: Trace>(&mut self, frame: &[u8], at: usize, replies: &mut Replies, trace: &mut T) -> Decision {
        let decision = self.decide(frame, at, replies, trace);
        self.cells().count(&decision);
        self.counters.pool_packet(decision.pool);
        self.counters.pool_verdicts(decision.pool, &decision, 1);
        decision
    }

    fn cells(&self) -> &PortCells {
        self.counters.port(self.arrival.port)
    }

    fn decide<T: Trace>(
        &mut self,
        frame: &[u8],
        at: usize,
        replies: &mut Replies,
        trace: &mut T,
    ) -> Decision {
        let outbound = self.role == Role::Subscriber;
        let parsed = frame::parse(self.arrival.link, frame, self.generation.depth());
        trace.rule("1", parsed == Frame::NotIp);
        let ruling = match &parsed {
            Frame::Ip(headers) => {
                trace.rule("3", false);
                let packet = Packet { frame, headers, pool: self.pool(headers) };
                let ruling = self.rule(&packet, trace);
                if ruling.reason == Reason::NotTcp {
                    self.count_other_mail(headers);
                }
                return self.carry_out(ruling, &packet, at, replies);
            }
            Frame::NotIp => Ruling::forward(Reason::NotIp),
            Frame::EncapDepth => {
                trace.rule("2", outbound);
                match outbound {
                    true => Ruling::drop(Reason::EncapDepth),
                    false => Ruling::forward(Reason::NotIp),
                }
            }
            Frame::Malformed => {
                trace.rule("3", true);
                Ruling::drop(Reason::Malformed)
            }
        };
        let (taken, out) = match ruling.act {
            Act::Forward => (Taken::Forward, self.way_out(None)),
            _ => (Taken::Drop, None),
        };
        decision(ruling, taken, out, PoolId::NONE)
    }

    /// The customer's pool.
    fn pool(&self, headers: &Headers) -> PoolId {
        match (self.role, headers.addresses) {
            (Role::Subscriber, Addresses::V4 { source, .. }) => self.generation.pool_of_v4(source),
            (Role::Subscriber, Addresses::V6 { source, .. }) => self.generation.pool_of_v6(source),
            (Role::Internet, Addresses::V4 { destination, .. }) => self.generation.pool_of_v4(destination),
            (Role::Internet, Addresses::V6 { destination, .. }) => self.generation.pool_of_v6(destination),
            (Role::Servers | Role::Filter, _) => PoolId::NONE,
        }
    }

    /// Rules 4 to 22 and the fragment rules.
    fn rule<T: Trace>(&mut self, packet: &Packet<'_>, trace: &mut T) -> Ruling {
        let (verdict, spoofed) = self.case(packet, trace).source();
        if let Some(ruling) = verdict {
            return ruling;
        }
        let ruling = match packet.headers.datagram {
            Datagram::Whole => self.case(packet, trace).ports(),
            Datagram::First(part) => self.first_fragment(packet, &part, trace),
            Datagram::Later(part) => self.later_fragment(packet, &part, trace),
        };
        // The rule that would have matched first is the one that is counted.
        match (ruling.act, spoofed) {
            (Act::Forward, Some(_)) => Ruling { would: spoofed, phase: None, ..ruling },
            _ => ruling,
        }
    }

    fn case<'b, T>(&'b mut self, packet: &Packet<'b>, trace: &'b mut T) -> Case<'b, T> {
        Case {
            generation: self.generation,
            now: self.arrival.now,
            role: self.role,
            frame: packet.frame,
            headers: packet.headers,
            pool: packet.pool,
            sets: &mut self.state.sets,
            trace,
        }
    }

    /// What is known of a fragment's datagram; none where there is no room to know anything.
    fn known(&mut self, packet: &Packet<'_>, part: &Fragment) -> Option<&mut Known> {
        let key = Key::new(self.arrival.port, packet.headers.addresses, part);
        self.state.fragments.entry(key, self.arrival.now.monotonic_micros)
    }

    /// F11, F3, F4 and rule 8, then F7, F10, and the rules on its own ports. The fate of those that follow
    /// is noted when the action is known.
    fn first_fragment<T: Trace>(&mut self, packet: &Packet<'_>, part: &Fragment, trace: &mut T) -> Ruling {
        let overlapped = self.known(packet, part).is_some_and(|known| known.is_overlapped());
        if let Some(ruling) = self.case(packet, trace).first_fragment(overlapped) {
            return ruling;
        }
        let header_end = packet.header_end(part);
        let Some(known) = self.known(packet, part) else {
            let refused = self.case(packet, trace).must_be_remembered(part.data);
            return refused.unwrap_or_else(|| self.case(packet, trace).ports());
        };
        let overlaps = known.first_overlaps(header_end);
        if overlaps {
            known.note_overlap(header_end);
        }
        trace.rule("F7", overlaps);
        match overlaps {
            true => Ruling::drop(Reason::FragmentOverlap),
            false => self.case(packet, trace).ports(),
        }
    }

    /// F11, F5, F7, F6, F8.
    fn later_fragment<T: Trace>(&mut self, packet: &Packet<'_>, part: &Fragment, trace: &mut T) -> Ruling {
        if let Some(ruling) = self.case(packet, trace).later_fragment(part.offset) {
            return ruling;
        }
        let later = match self.known(packet, part) {
            Some(known) => known.later(part.offset),
            None => {
                self.cells().unremembered.add(1);
                Later::Orphan
            }
        };
        trace.rule("F7", later == Later::Overlap);
        if later != Later::Overlap {
            trace.rule("F6", matches!(later, Later::Follow(_)));
            trace.rule("F8", later == Later::Orphan);
        }
        match later {
            Later::Overlap => Ruling::drop(Reason::FragmentOverlap),
            Later::Orphan => Ruling::forward(Reason::FragmentOrphan),
            Later::Follow(Fate::Forward) => Ruling::forward(Reason::FragmentFollow),
            Later::Follow(Fate::Drop) => Ruling::drop(Reason::FragmentFollow),
            Later::Follow(Fate::Divert) => Ruling {
                act: Act::Divert(DivertFallback::Drop, RejectWith::Rst),
                ..Ruling::drop(Reason::FragmentFollow)
            },
        }
    }

    /// Carries the ruling out and says what became of the packet.
    fn carry_out(
        &mut self,
        ruling: Ruling,
        packet: &Packet<'_>,
        at: usize,
        replies: &mut Replies,
    ) -> Decision {
        let stranger = self.stranger(&ruling, packet);
        if let (Some(reason), Act::Drop | Act::Reject(_) | Act::Divert(..)) = (stranger, ruling.act) {
            if let Datagram::First(part) = packet.headers.datagram {
                self.remember_first(packet, &part, Taken::Drop, ruling.reason);
            }
            return decision(Ruling::drop(reason), Taken::Drop, None, packet.pool);
        }
        let addresses = &packet.headers.addresses;
        let mut suppressed = false;
        let (taken, out) = match ruling.act {
            Act::Forward => (Taken::Forward, self.way_out(Some(addresses))),
            Act::Drop => (Taken::Drop, None),
            Act::Reject(with) => self.reject(with, packet, at, replies, &mut suppressed),
            Act::Divert(fallback, with) => match self.filter() {
                Some(filter) => {
                    if let Some(out) = self.peer() {
                        self.state.common.returns.note(addresses, self.arrival.port, out);
                    }
                    (Taken::Divert, Some(filter))
                }
                // Only what is outbound is ever answered; a later fragment's fallback is to drop.
                None if fallback == DivertFallback::Reject && self.role == Role::Subscriber => {
                    self.reject(with, packet, at, replies, &mut suppressed)
                }
                None => (Taken::Drop, None),
            },
        };
        if let Datagram::First(part) = packet.headers.datagram {
            self.remember_first(packet, &part, taken, ruling.reason);
        }
        if stranger.is_none() && (ruling.act != Act::Forward || ruling.would.is_some()) {
            self.note_affected(&ruling, packet);
        }
        Decision { suppressed, ..decision(ruling, taken, out, packet.pool) }
    }

    /// Why a packet that is to be answered, diverted or booked with its customer is nothing of a router's that merely
    /// sees it.
    fn stranger(&self, ruling: &Ruling, packet: &Packet<'_>) -> Option<Reason> {
        let router = self.router?;
        let denied = ruling.act != Act::Forward;
        let shows = matches!(ruling.act, Act::Reject(_) | Act::Divert(..))
            || Attempt::is_one(denied, ruling.reason, ruling.would);
        let plain = || forward::is_plain(packet.frame, packet.headers);
        shows.then(|| forward::stranger(router, self.arrival, self.role, packet.frame, plain)).flatten()
    }

    /// Notes who is denied on port 25, or would be. The sets at hand are those of the other end, for which the rules
    /// that deny port 25 have just asked.
    fn note_affected(&mut self, ruling: &Ruling, packet: &Packet<'_>) {
        let Some(affected) = &mut self.state.affected else { return };
        let denied = ruling.act != Act::Forward;
        if !Attempt::is_one(denied, ruling.reason, ruling.would) {
            return;
        }
        let Headers { addresses, upper, .. } = packet.headers;
        let answer = self.role == Role::Internet;
        let (customer, other_end) = match answer {
            true => Attempt::ends(&addresses.swapped()),
            false => Attempt::ends(addresses),
        };
        let flags = match upper {
            Upper::Found(transport) => packet.frame.get(transport.offset as usize + TCP_FLAGS),
            _ => None,
        };
        let attempt = Attempt {
            customer,
            other_end,
            pool: packet.pool,
            destination: self.generation.destination(&self.state.sets),
            monitored: !denied,
            opens: !answer && flags.is_some_and(|flags| opens(*flags)),
            answer,
        };
        affected.note(&attempt, self.arrival.now);
    }

    /// Notes the first fragment's fate for those that follow it. What rules 4 to 6 dropped says nothing of
    /// its datagram, and an overlap is noted already.
    fn remember_first(&mut self, packet: &Packet<'_>, part: &Fragment, taken: Taken, reason: Reason) {
        use Reason::{BogonSource, FragmentOverlap, SourceRoute, SpoofedSource};
        if matches!(reason, SourceRoute | BogonSource | SpoofedSource | FragmentOverlap) {
            return;
        }
        let header_end = packet.header_end(part);
        match self.known(packet, part) {
            Some(known) => known.note_first(Fate::after(taken), header_end),
            None => self.cells().unremembered.add(1),
        }
    }

    fn reject(
        &mut self,
        with: RejectWith,
        packet: &Packet<'_>,
        at: usize,
        replies: &mut Replies,
        suppressed: &mut bool,
    ) -> (Taken, Option<PortId>) {
        let answerable = Answerable::new(self.arrival.link, packet.frame, packet.headers);
        let Some(answerable) = answerable else { return (Taken::Drop, None) };
        let customer = packet.headers.addresses.source();
        if !self.state.common.budget.take(customer, self.arrival.now.monotonic_micros) {
            *suppressed = true;
            return (Taken::Drop, None);
        }
        let v6 = packet.headers.addresses.is_v6();
        let router = self
            .router
            .and_then(|router| forward::router_address(router, self.arrival.port, packet.frame, v6));
        answerable.answer(with, router, self.arrival.port, at, replies);
        (Taken::Reject, Some(self.arrival.port))
    }

    /// The filter, if there is one and it works.
    fn filter(&self) -> Option<PortId> {
        self.generation.filter().filter(|&port| self.state.common.is_up(port))
    }

    fn peer(&self) -> Option<PortId> {
        self.generation.port(self.arrival.port).peer
    }

    /// The port that a forwarded packet leaves by: the peer, or for what comes back from the filter the port
    /// that it would have left by without the filter.
    fn way_out(&self, addresses: Option<&Addresses>) -> Option<PortId> {
        self.peer().or_else(|| {
            if self.router.is_some() {
                return None;
            }
            let noted = addresses.and_then(|addresses| self.state.common.returns.port(addresses));
            noted.or_else(|| {
                let to_customer = addresses.is_some_and(|addresses| {
                    self.generation.pool_of(addresses.source()) == PoolId::NONE
                        && self.generation.pool_of(addresses.destination()) != PoolId::NONE
                });
                let role = if to_customer { Role::Subscriber } else { Role::Internet };
                self.generation.first(role)
            })
        })
    }

    /// UDP and SCTP to port 25 are counted and never denied (rule 9).
    fn count_other_mail(&self, headers: &Headers) {
        let Upper::Found(transport) = headers.upper else { return };
        if transport.ports.is_some_and(|ports| ports.destination == 25) {
            match transport.protocol {
                protocol::UDP => self.cells().mail_over_udp.add(1),
                protocol::SCTP => self.cells().mail_over_sctp.add(1),
                _ => {}
            }
        }
    }
}

/// An IP packet on the general path.
struct Packet<'a> {
    frame: &'a [u8],
    headers: &'a Headers,
    /// The customer's pool.
    pool: PoolId,
}

impl Packet<'_> {
    /// Where the upper-layer header of a first fragment ends, in bytes from the datagram's start and never
    /// beyond the fragment: TCP with its options, UDP's 8 bytes, else the end of the chain; the whole
    /// fragment where the chain was not walked to its end.
    fn header_end(&self, part: &Fragment) -> u32 {
        let whole = self.headers.end - part.data;
        match self.headers.upper {
            Upper::Found(transport) => {
                let header = transport.header_length(&self.frame[..self.headers.end as usize]) as u32;
                (transport.offset - part.data + header).min(whole)
            }
            _ => whole,
        }
    }
}

fn decision(ruling: Ruling, taken: Taken, out: Option<PortId>, pool: PoolId) -> Decision {
    Decision {
        reason: ruling.reason,
        taken,
        would: ruling.would,
        suppressed: false,
        pool,
        phase: ruling.phase,
        out,
    }
}
