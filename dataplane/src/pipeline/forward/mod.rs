//! Route mode's stage: a burst that the policy has judged, led to its next hops.
//!
//! Frames of the common shape go through in bulk, a stage at a time: the policy has read them, all destinations are looked
//! up in one interleaved burst, then the snapshot is taken and each frame's way on is written down as an [`Edit`]. Whatever is not
//! plainly right about a frame is left to [`consider`], which knows all rules and is the specification; the tests hold the
//! two against each other.
//!
//! Nothing is changed in a frame here. The worker carries the edits out where the frames lie.

mod consider;
mod fragments;
mod hops;
mod inlet;
mod shares;
mod waiting;

use std::net::IpAddr;
use std::sync::Arc;

use arrayvec::ArrayVec;

use super::straights::{self, Straights};
use super::{Arrival, Common};
use crate::action::Replies;
use crate::action::icmp::{Error, Faulty};
use crate::counters::WorkerCounters;
use crate::frame::straight::Transit;
use crate::frame::{self, Addresses, Frame, Headers, Link};
use crate::generation::Generation;
use crate::lpm::{Reader4, Reader6};
use crate::policy::{Decision, PortId, Reason, ReversePath, Role, Taken};
use crate::port::MAX_BURST;
use crate::route::punt::Wanted;
use crate::route::{self, Adjacency, Edit, EntryKind, NextHop, OnlineRoutes, Snapshot, State};
use crate::stages::{Lap, Stage};
use consider::{Fate, Question, leads_back};
pub(super) use consider::{is_plain, stranger};
pub(super) use inlet::Inlet;
use waiting::{Ask, Waiter, Waiting, Whom};

const ETHERNET: usize = 14;
const TAG: usize = 4;
const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
// EtherTypes as they lie in a frame.
const VLAN_TYPE: u16 = u16::from_ne_bytes([0x81, 0x00]);
/// The frames made for one that waits, and their bytes: as many fragments as the longest falls into, as a rule.
const ROOM: (usize, usize) = (16, 16 * 1024);

/// One family's frames of a burst that are not of the common shape, side by side.
struct Lane<A> {
    destinations: [A; MAX_BURST],
    sources: [A; MAX_BURST],
    ids: [u32; MAX_BURST],
    source_ids: [u32; MAX_BURST],
    /// Each frame's place in the burst.
    places: [u8; MAX_BURST],
    count: usize,
}

impl<A: Copy> Lane<A> {
    fn new(nobody: A) -> Lane<A> {
        Lane {
            destinations: [nobody; MAX_BURST],
            sources: [nobody; MAX_BURST],
            ids: [0; MAX_BURST],
            source_ids: [0; MAX_BURST],
            places: [0; MAX_BURST],
            count: 0,
        }
    }

    #[inline(always)]
    fn put(&mut self, destination: A, source: A, at: usize) {
        let count = self.count % MAX_BURST;
        self.destinations[count] = destination;
        self.sources[count] = source;
        self.places[count] = at as u8;
        self.count += 1;
    }
}

/// What the tries said of a lane of frames of the common shape: of their destinations, and of their sources if those are
/// asked for.
struct Ids {
    destinations: [u32; MAX_BURST],
    sources: [u32; MAX_BURST],
}

impl Ids {
    const NONE: Ids = Ids { destinations: [0; MAX_BURST], sources: [0; MAX_BURST] };
}

/// What a worker keeps for this stage.
pub(super) struct Forwarding {
    common: Arc<Common>,
    ids4: Box<Ids>,
    ids6: Box<Ids>,
    v4: Box<Lane<u32>>,
    v6: Box<Lane<u128>>,
    /// Places of frames without addresses.
    others: Box<[u8; MAX_BURST]>,
    others_count: usize,
    waiting: Waiting,
}

/// The burst at hand.
pub(super) struct Turn<'a> {
    pub(super) generation: &'a Generation,
    pub(super) arrival: Arrival,
    pub(super) counters: &'a WorkerCounters,
    /// What the policy's stage has read of the frames of the common shape, which go through in bulk, and the number of
    /// the snapshot by which it knew whose they are.
    pub(super) straights: Option<(&'a Straights, u64)>,
}

/// The burst's frames, and what is said of each.
pub(super) struct Frames<'a> {
    pub(super) frames: &'a [&'a [u8]],
    pub(super) decisions: &'a mut [Decision],
    pub(super) edits: &'a mut [Edit],
    /// The place of the first in the burst.
    pub(super) first: usize,
}

impl Forwarding {
    pub(super) fn new(common: Arc<Common>) -> Forwarding {
        Forwarding {
            common,
            ids4: Box::new(Ids::NONE),
            ids6: Box::new(Ids::NONE),
            v4: Box::new(Lane::new(0)),
            v6: Box::new(Lane::new(0)),
            others: Box::new([0; MAX_BURST]),
            others_count: 0,
            waiting: Waiting::new(),
        }
    }

    /// Leads at most [`MAX_BURST`] frames to their next hops, and books what became of all of them.
    pub(super) fn forward(
        &mut self,
        turn: &Turn<'_>,
        routes: &mut OnlineRoutes<'_>,
        mut burst: Frames<'_>,
        replies: &mut Replies,
        lap: &mut Lap,
    ) {
        self.read(turn, &burst);
        lap.end(&turn.counters.stages, Stage::Parse);
        let (tries4, tries6, mut snapshots) = routes.parts();
        let asks_sources = turn.generation.reverse_path() != ReversePath::Off;
        if let Some((straights, _)) = turn.straights {
            let (v4, v6) = straights.lanes();
            let Forwarding { ids4, ids6, .. } = self;
            let count = v4.places().len();
            tries4.lookup_burst(v4.destinations(), &mut ids4.destinations[..count]);
            if asks_sources {
                tries4.lookup_burst(v4.sources(), &mut ids4.sources[..count]);
            }
            let count = v6.places().len();
            if count > 0 {
                tries6.lookup_burst(v6.destinations(), &mut ids6.destinations[..count]);
                if asks_sources {
                    tries6.lookup_burst(v6.sources(), &mut ids6.sources[..count]);
                }
            }
        }
        let Lane { destinations, sources, ids, source_ids, count, .. } = &mut *self.v4;
        if *count > 0 {
            tries4.lookup_burst(&destinations[..*count], &mut ids[..*count]);
            tries4.lookup_burst(&sources[..*count], &mut source_ids[..*count]);
        }
        let Lane { destinations, sources, ids, source_ids, count, .. } = &mut *self.v6;
        if *count > 0 {
            tries6.lookup_burst(&destinations[..*count], &mut ids[..*count]);
            tries6.lookup_burst(&sources[..*count], &mut source_ids[..*count]);
        }
        lap.end(&turn.counters.stages, Stage::Lookup);
        // Only now: what was looked up has its meaning in it.
        let snapshot = snapshots.burst();
        let mut one = One {
            common: &self.common,
            waiting: &mut self.waiting,
            turn,
            tries: (tries4, tries6),
            snapshot: &snapshot,
            role: turn.generation.role(turn.arrival.port),
        };
        if let Some((straights, number)) = turn.straights {
            // What is said of them is so only with the links that they were read by, and what a filter gives back came
            // by others.
            let in_bulk = number == snapshot.number() && one.role != Role::Filter;
            let (v4, v6) = straights.lanes();
            one.lane::<false, _>(straights, v4, &self.ids4, in_bulk, &mut burst, replies);
            if !v6.places().is_empty() {
                one.lane::<true, _>(straights, v6, &self.ids6, in_bulk, &mut burst, replies);
            }
        }
        one.all(&self.v4, &mut burst, replies);
        one.all(&self.v6, &mut burst, replies);
        for &at in &self.others[..self.others_count] {
            one.slow(usize::from(at), (0, 0), &mut burst, replies);
        }
        lap.end(&turn.counters.stages, Stage::Decide);
    }

    /// Sorts the frames that are to be forwarded and are not of the common shape, by family.
    #[inline]
    fn read(&mut self, turn: &Turn<'_>, burst: &Frames<'_>) {
        (self.v4.count, self.v6.count, self.others_count) = (0, 0, 0);
        let all = burst.frames.len();
        match turn.straights {
            None => (0..all).for_each(|at| self.sort(turn, burst, at)),
            Some((straights, _)) => {
                // A bit for each, so that they come once, and in their order.
                let mut rest = [0u64; MAX_BURST / 64];
                straights.rest().for_each(|at| rest[usize::from(at) / 64] |= 1 << (at % 64));
                for (word, mut bits) in rest.into_iter().enumerate() {
                    while bits != 0 {
                        self.sort(turn, burst, word * 64 + bits.trailing_zeros() as usize);
                        bits &= bits - 1;
                    }
                }
            }
        }
    }

    fn sort(&mut self, turn: &Turn<'_>, burst: &Frames<'_>, at: usize) {
        let decision = &burst.decisions[at];
        if decision.taken != Taken::Forward {
            turn.counters.port(turn.arrival.port).count(decision);
            return;
        }
        match frame::parse(turn.arrival.link, burst.frames[at], turn.generation.depth()) {
            Frame::Ip(Headers { addresses: Addresses::V4 { source, destination }, .. }) => {
                self.v4.put(destination, source, at);
            }
            Frame::Ip(Headers { addresses: Addresses::V6 { source, destination }, .. }) => {
                self.v6.put(destination, source, at);
            }
            _ => {
                self.others[self.others_count % MAX_BURST] = at as u8;
                self.others_count += 1;
            }
        }
    }

    /// Whether frames wait for their next hops.
    #[inline]
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Looks after the frames that wait: those whose next hop is known by now leave through `send`, those that waited too
    /// long are dropped. Answers and fragments are added to `replies`, in answer to nothing.
    pub(super) fn tend(
        &mut self,
        generation: &Generation,
        counters: &WorkerCounters,
        routes: &mut OnlineRoutes<'_>,
        now: crate::clock::Instant,
        replies: &mut Replies,
        mut send: impl FnMut(PortId, &[u8]) -> bool,
    ) {
        let newest = routes.snapshot().number();
        let all = self.waiting.are_due(newest, now);
        let mut next = self.waiting.first();
        while let Some(at) = next {
            // Those behind came later, and are no more late.
            let late = self.waiting.is_late(at, now);
            if !all && !late {
                break;
            }
            // What finds no room is looked at the next time.
            if !replies.is_empty() && !replies.has_room(ROOM.0, ROOM.1) {
                return;
            }
            next = self.waiting.after(at);
            let mut waiter = self.waiting.take(at);
            let arrival = Arrival { port: waiter.port, link: Link::Ethernet, now };
            let turn = Turn { generation, arrival, counters, straights: None };
            let outcome = self.again(&turn, routes, at, &waiter, late, replies);
            let cells = counters.port(waiter.port);
            let Some((decision, edit)) = outcome else {
                self.waiting.wait_on(at, waiter);
                continue;
            };
            cells.waited.add(1);
            cells.count(&decision);
            if let (Taken::Forward, Some(out)) = (decision.taken, decision.out) {
                edit.carry_out_on(&mut waiter.frame);
                match send(out, &waiter.frame) {
                    true => {
                        let cells = counters.port(out);
                        cells.transmitted_packets.add(1);
                        cells.transmitted_bytes.add(waiter.frame.len() as u64);
                    }
                    false => cells.forwards_lost.add(1),
                }
            }
            self.waiting.give_back(at, waiter);
        }
        if all {
            self.waiting.looked_at(newest, now);
        }
    }

    /// Looks at the frame in this place once more; nothing if it is to wait on.
    fn again(
        &mut self,
        turn: &Turn<'_>,
        routes: &mut OnlineRoutes<'_>,
        at: u16,
        waiter: &Waiter,
        late: bool,
        replies: &mut Replies,
    ) -> Option<(Decision, Edit)> {
        let parsed = frame::parse(Link::Ethernet, &waiter.frame, turn.generation.depth());
        let (tries4, tries6, mut snapshots) = routes.parts();
        let tries = (tries4, tries6);
        let ids = ids(tries, &parsed);
        let snapshot = snapshots.burst();
        let role = turn.generation.role(turn.arrival.port);
        let mut one =
            One { common: &self.common, waiting: &mut self.waiting, turn, tries, snapshot: &snapshot, role };
        let (mut decision, mut edit) = (waiter.decision, Edit::NOTHING);
        let mut fate = one.question(&waiter.frame, &parsed, ids).answer();
        if let Fate::Wait(next, whom) = fate {
            if late {
                fate = Fate::Refuse(Reason::Unresolved, Error::HostUnreachable);
            } else if next == waiter.next {
                return None;
            } else {
                // Its route has changed meanwhile, and whom it leads to now nobody may have asked for.
                one.ask(next, whom);
                if one.waiting.turn(at, next) {
                    return None;
                }
                fate = Fate::Drop(Reason::Unresolved);
            }
        }
        one.carry_out(fate, &parsed, 0, &waiter.frame, (&mut decision, &mut edit), replies);
        Some((decision, edit))
    }
}

/// What the tries say of a packet's destination and source.
fn ids((v4, v6): (&Reader4, &Reader6), parsed: &Frame) -> (u32, u32) {
    match parsed {
        Frame::Ip(Headers { addresses: Addresses::V4 { source, destination }, .. }) => {
            (v4.lookup(*destination), v4.lookup(*source))
        }
        Frame::Ip(Headers { addresses: Addresses::V6 { source, destination }, .. }) => {
            (v6.lookup(*destination), v6.lookup(*source))
        }
        _ => (0, 0),
    }
}

/// Why a packet's sender is told nothing.
enum Untold {
    /// It must not be.
    Never,
    /// The answers of this burst have no room for it.
    NoRoom,
    /// Senders have been told enough.
    OverBudget,
}

/// One burst under one snapshot.
struct One<'a> {
    common: &'a Common,
    waiting: &'a mut Waiting,
    turn: &'a Turn<'a>,
    tries: (&'a Reader4, &'a Reader6),
    snapshot: &'a Snapshot,
    role: Role,
}

impl One<'_> {
    /// A lane of frames of the common shape.
    #[inline]
    fn lane<const V6: bool, A: Copy>(
        &mut self,
        straights: &Straights,
        lane: &straights::Lane<A>,
        ids: &Ids,
        in_bulk: bool,
        burst: &mut Frames<'_>,
        replies: &mut Replies,
    ) {
        let mut doubtful = ArrayVec::new();
        let generation = self.turn.generation;
        let asks_links = generation.reverse_path() != ReversePath::Off || generation.redirects();
        match (in_bulk, asks_links) {
            (false, _) => doubtful.extend((0..lane.places().len()).map(|n| n as u8)),
            (true, false) => bulk::<V6, false>(self, lane.of_router(), ids, burst, &mut doubtful),
            (true, true) => bulk::<V6, true>(self, lane.of_router(), ids, burst, &mut doubtful),
        }
        let mut counts = lane.counts();
        for &n in &doubtful {
            let (at, kind) = lane.places()[usize::from(n)];
            let decision = &burst.decisions[usize::from(at)];
            // What the policy denies stays as it was counted.
            if decision.taken == Taken::Forward {
                counts.take_back(kind, decision);
                let ids = (ids.destinations[usize::from(n)], ids.sources[usize::from(n)]);
                self.slow(usize::from(at), ids, burst, replies);
            }
        }
        let port = self.turn.arrival.port;
        straights.book(port, counts, self.turn.counters.port(port));
    }

    /// Frames of other shapes.
    fn all<A>(&mut self, lane: &Lane<A>, burst: &mut Frames<'_>, replies: &mut Replies) {
        let ids = lane.ids.iter().zip(&lane.source_ids);
        for (&at, (&id, &source)) in lane.places[..lane.count].iter().zip(ids) {
            self.slow(usize::from(at), (id, source), burst, replies);
        }
    }

    fn question<'b>(
        &'b self,
        frame: &'b [u8],
        parsed: &'b Frame,
        (destination, source): (u32, u32),
    ) -> Question<'b> {
        Question {
            snapshot: self.snapshot,
            arrival: self.turn.arrival,
            role: self.role,
            reverse_path: self.turn.generation.reverse_path(),
            frame,
            parsed,
            destination,
            source,
        }
    }

    /// One frame by all the rules.
    #[inline(never)]
    fn slow(&mut self, at: usize, ids: (u32, u32), burst: &mut Frames<'_>, replies: &mut Replies) {
        let frame = burst.frames[at];
        let checks = self.common.checks().filter(|checks| checks.port() == self.turn.arrival.port);
        if checks.is_some_and(|checks| checks.is_meant(frame)) {
            // Whoever hears it takes it out.
            burst.decisions[at].out = None;
            self.turn.counters.port(self.turn.arrival.port).count(&burst.decisions[at]);
            return;
        }
        let parsed = frame::parse(self.turn.arrival.link, frame, self.turn.generation.depth());
        let fate = self.question(frame, &parsed, ids).answer();
        let (decision, edit) = (&mut burst.decisions[at], &mut burst.edits[at]);
        let waits = self.carry_out(fate, &parsed, burst.first + at, frame, (decision, edit), replies);
        if !waits {
            self.turn.counters.port(self.turn.arrival.port).count(decision);
        }
    }

    /// Does what is to become of a packet. Says whether it waits: then it is booked when it does not any more.
    fn carry_out(
        &mut self,
        fate: Fate,
        parsed: &Frame,
        answers: usize,
        frame: &[u8],
        (decision, edit): (&mut Decision, &mut Edit),
        replies: &mut Replies,
    ) -> bool {
        let port = self.turn.arrival.port;
        let cells = self.turn.counters.port(port);
        decision.out = None;
        match fate {
            Fate::Forward(adjacency, next) => {
                if self.turn.generation.redirects() {
                    self.redirect((&adjacency, next), parsed, answers, frame, replies);
                }
                let tagged = frame.get(12..14) == Some(&VLAN_TYPE.to_ne_bytes());
                let v6 = matches!(parsed, Frame::Ip(headers) if headers.addresses.is_v6());
                decision.out = Some(PortId(adjacency.port));
                *edit = Edit::new(&adjacency, v6, tagged);
            }
            Fate::Fragment(adjacency) => {
                let Frame::Ip(headers) = parsed else { return false };
                let packet = &frame[headers.encapsulation.ip as usize..headers.end as usize];
                match fragments::fragment(packet, &adjacency, answers, replies) {
                    Some(_) => cells.fragmented.add(1),
                    None => cells.forwards_lost.add(1),
                }
            }
            Fate::Punt(class) => {
                let now = self.turn.arrival.now.monotonic_micros;
                let punts = self.common.punts().filter(|punts| punts.is_taken(port));
                decision.would = None;
                decision.phase = None;
                let reason = match punts {
                    None => Reason::Unclaimed,
                    Some(punts) if punts.punt(class, port, frame, now) => {
                        decision.reason = Reason::Punted;
                        return false;
                    }
                    Some(_) => Reason::PuntOverflow,
                };
                drop_for(decision, reason);
            }
            Fate::Wait(next, whom) => {
                return self.wait((next, whom), parsed, answers, frame, decision, replies);
            }
            Fate::Drop(reason) => drop_for(decision, reason),
            Fate::Refuse(reason, error) => {
                self.refuse((reason, error), parsed, answers, frame, decision, replies)
            }
        }
        false
    }

    /// Has a packet wait, if somebody finds its next hop's MAC out.
    fn wait(
        &mut self,
        (next, whom): (NextHop, Whom),
        parsed: &Frame,
        answers: usize,
        frame: &[u8],
        decision: &mut Decision,
        replies: &mut Replies,
    ) -> bool {
        let punts = self.common.punts().filter(|punts| punts.resolves());
        if punts.is_none() || next.address.is_none() {
            let refused = (Reason::Unresolved, Error::HostUnreachable);
            self.refuse(refused, parsed, answers, frame, decision, replies);
            return false;
        }
        let arrival = self.turn.arrival;
        self.ask(next, whom);
        let waits = self.waiting.put(next, arrival.port, decision, frame, arrival.now);
        match waits {
            true => self.turn.counters.port(arrival.port).waits.add(1),
            // Nobody is told: the next hop may answer yet.
            false => drop_for(decision, Reason::Unresolved),
        }
        waits
    }

    /// Has a next hop's MAC found out, unless that was asked just now.
    fn ask(&mut self, next: NextHop, whom: Whom) {
        let (Some(punts), Some(address)) = (self.common.punts(), next.address) else { return };
        match self.waiting.ask(next, whom, self.turn.arrival.now) {
            Ask::Done => {}
            Ask::Refused => punts.count_unasked(),
            Ask::Now => {
                if !punts.ask(Wanted { link: next.link, address }) {
                    self.waiting.not_asked(next);
                }
            }
        }
    }

    /// Tells a packet's sender of a better first hop, if there is one on its own link.
    #[cold]
    fn redirect(
        &self,
        (adjacency, next): (&Adjacency, NextHop),
        parsed: &Frame,
        answers: usize,
        frame: &[u8],
        replies: &mut Replies,
    ) {
        let Frame::Ip(headers) = parsed else { return };
        let Some(to) = self.question(frame, parsed, (0, 0)).redirect(headers, adjacency, next) else {
            return;
        };
        let port = self.turn.arrival.port;
        match self.may_tell(headers, frame, replies) {
            Ok(faulty) => faulty.redirect(&to, port, answers, replies),
            Err(Untold::NoRoom) => self.turn.counters.port(port).redirects_lost.add(1),
            Err(Untold::Never | Untold::OverBudget) => {}
        }
    }

    /// The packet that its sender is told of, which takes a token, if that may be: an error is answered to no other, nothing
    /// is sent to all stations of a network nor to the router itself (RFC 1812 §4.3.2.7), and not more than the budgets allow.
    fn may_tell<'p>(
        &self,
        headers: &'p Headers,
        frame: &'p [u8],
        replies: &Replies,
    ) -> Result<Faulty<'p>, Untold> {
        let arrival = self.turn.arrival;
        let faulty = Faulty::new(arrival.link, frame, headers).ok_or(Untold::Never)?;
        let budget = self.common.icmp().ok_or(Untold::Never)?;
        if !self.may_be_told(headers) {
            return Err(Untold::Never);
        }
        // What finds no room costs nobody a token.
        if !replies.has_room(1, faulty.longest()) {
            return Err(Untold::NoRoom);
        }
        match budget.take(headers.addresses.source(), arrival.now.monotonic_micros) {
            true => Ok(faulty),
            false => Err(Untold::OverBudget),
        }
    }

    /// Whether a packet's source is one host that is not the router itself.
    fn may_be_told(&self, headers: &Headers) -> bool {
        let kind = match headers.addresses {
            Addresses::V4 { source, .. } => self.snapshot.entry_v4(self.tries.0.lookup(source)).kind,
            Addresses::V6 { source, .. } => self.snapshot.entry_v6(self.tries.1.lookup(source)).kind,
        };
        let source = headers.addresses.source();
        let link_local = matches!(source, IpAddr::V6(source) if source.is_unicast_link_local());
        match kind {
            EntryKind::Broadcast | EntryKind::Local | EntryKind::LinkGroup | EntryKind::Group => false,
            EntryKind::Martian => link_local,
            _ => true,
        }
    }

    /// Drops a packet, and tells its sender if that may be and the budgets allow it.
    fn refuse(
        &mut self,
        (reason, error): (Reason, Error),
        parsed: &Frame,
        answers: usize,
        frame: &[u8],
        decision: &mut Decision,
        replies: &mut Replies,
    ) {
        let arrival = self.turn.arrival;
        drop_for(decision, reason);
        let Frame::Ip(headers) = parsed else { return };
        let from = router_address(self.snapshot, arrival.port, frame, headers.addresses.is_v6());
        let Some(from) = from else { return };
        match self.may_tell(headers, frame, replies) {
            Ok(faulty) => faulty.answer(error, from, arrival.port, answers, replies),
            Err(Untold::NoRoom) => self.turn.counters.port(arrival.port).replies_lost.add(1),
            Err(Untold::OverBudget) => {
                decision.suppressed = true;
                return;
            }
            Err(Untold::Never) => return,
        }
        (decision.taken, decision.out) = (Taken::Reject, Some(arrival.port));
    }
}

/// Leads the frames of a lane on that are plainly to be forwarded, and says which are left for [`slow`](One::slow). A
/// function of its own, which shares its registers with nothing else.
#[inline(never)]
fn bulk<const V6: bool, const ASKS_LINKS: bool>(
    one: &One<'_>,
    lane: impl ExactSizeIterator<Item = (u8, Transit)>,
    ids: &Ids,
    burst: &mut Frames<'_>,
    doubtful: &mut ArrayVec<u8, MAX_BURST>,
) {
    let One { snapshot, turn, .. } = *one;
    let entries = snapshot.entries(V6);
    let entry_of = |id: u32| entries.get(id as usize).copied().unwrap_or_default();
    let (reverse_path, redirects) = (turn.generation.reverse_path(), turn.generation.redirects());
    let mut inlet = Inlet::new(turn.arrival.port, snapshot);
    let frames = burst.frames;
    let (decisions, edits) = (&mut burst.decisions[..frames.len()], &mut burst.edits[..frames.len()]);
    let destinations = &ids.destinations[..lane.len()];
    for (n, ((at, transit), &id)) in lane.zip(destinations).enumerate() {
        let at = usize::from(at);
        let entry = entry_of(id);
        let place = match entry.mask {
            0 => entry.first,
            _ => snapshot.pick(entry, flow::<V6>(frames[at], transit)),
        };
        let adjacency = snapshot.adjacency(place);
        let plain = (entry.kind == EntryKind::Forward)
            & (adjacency.state == State::Ready)
            & (transit.length() <= u32::from(adjacency.mtu));
        let mut comes_right = || {
            let link = inlet.link_of(frames[at]);
            let source = || entry_of(ids.sources[n]);
            // Its sender may have a better first hop.
            !(redirects && adjacency.link == link) && leads_back(reverse_path, snapshot, link, source)
        };
        if !plain || ASKS_LINKS && !comes_right() {
            doubtful.push(n as u8);
            continue;
        }
        decisions[at].out = Some(PortId(adjacency.port));
        edits[at] = Edit::new(adjacency, V6, transit.is_tagged());
    }
}

/// The router's own address on the link that a frame came by.
pub(super) fn router_address(snapshot: &Snapshot, port: PortId, frame: &[u8], v6: bool) -> Option<IpAddr> {
    let link = snapshot.link_at(port, consider::vlan(frame)?).or_else(|| snapshot.link_at(port, 0))?;
    let link = snapshot.links().get(usize::from(link))?;
    match v6 {
        true => link.v6.map(IpAddr::V6),
        false => link.v4.map(IpAddr::V4),
    }
}

fn drop_for(decision: &mut Decision, reason: Reason) {
    decision.reason = reason;
    decision.taken = Taken::Drop;
    decision.would = None;
    decision.phase = None;
    decision.out = None;
}

/// The hash of a flow of the common shape: no options, no fragment, TCP or UDP.
#[inline(never)]
fn flow<const V6: bool>(frame: &[u8], transit: Transit) -> u32 {
    let ip = if transit.is_tagged() { ETHERNET + TAG } else { ETHERNET };
    let packet = frame.get(ip..).unwrap_or_default();
    let word = |at: usize| {
        packet.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |word| u32::from_be_bytes(*word))
    };
    if V6 {
        let address = |at: usize| {
            packet.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |address| u128::from_be_bytes(*address))
        };
        route::flow::v6(
            address(8),
            address(24),
            packet.get(6).copied().unwrap_or_default(),
            word(IPV6_HEADER),
        )
    } else {
        route::flow::v4(word(12), word(16), packet.get(9).copied().unwrap_or_default(), word(IPV4_HEADER))
    }
}
