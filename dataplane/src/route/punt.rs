//! Frames between workers and the control side: for the router itself, from the kernel, and what waits for a neighbour.
//!
//! ```text
//!             ┌──────── free ◀────────┐                          ┌──────── free ◀────────┐
//!   worker ───┤                       ├─── control     control ──┤                       ├─── a worker sends it
//!             └──────▶ punted ────────┘    (to the twin)         └──────▶ to send ───────┘
//!             ─────────▶ wanted ─────────▶ (asks the kernel to resolve)
//! ```
//!
//! All queues are bounded and have no lock; places are made once and go round, so that a worker allocates nothing and
//! waits for nobody. What finds no place is lost and counted.
//!
//! Each port has a share of its own for each class: how much is handed over in a second (a token bucket, as the budgets of
//! rejects), so that the kernel has its time; and how many places it has, which may not be more than are free. So a flood
//! on one port takes neither another port's ARP its turn nor its own port's.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crossbeam::queue::ArrayQueue;
use crossbeam::utils::CachePadded;

use super::LinkId;
use crate::action::budget;
use crate::policy::PortId;

/// What a punted frame is, for its share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PuntClass {
    /// ARP and neighbour discovery.
    Neighbours,
    /// OSPF, BGP and other protocols of routing daemons.
    Routing,
    /// Everything else for the router itself.
    Rest,
}

impl PuntClass {
    /// All of them.
    pub const ALL: [PuntClass; 3] = [PuntClass::Neighbours, PuntClass::Routing, PuntClass::Rest];

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            PuntClass::Neighbours => "neighbours",
            PuntClass::Routing => "routing",
            PuntClass::Rest => "rest",
        }
    }
}

/// Bounds of what is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PuntLimits {
    /// Places each way.
    pub places: usize,
    /// The longest frame.
    pub longest: usize,
    /// Frames in a second of each class by one port; a tenth of it at once.
    pub per_second: [u32; PuntClass::ALL.len()],
    /// Whether somebody resolves next hops. Where nobody does, frames do not wait for it.
    pub resolves: bool,
}

impl Default for PuntLimits {
    fn default() -> PuntLimits {
        PuntLimits { places: 2048, longest: 9216, per_second: [5_000, 20_000, 20_000], resolves: false }
    }
}

/// A frame on its way between a worker and the control side.
#[derive(Debug)]
pub struct PuntedFrame {
    /// The port it came by, or is to leave by.
    pub port: PortId,
    class: PuntClass,
    length: usize,
    room: Box<[u8]>,
}

impl PuntedFrame {
    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.room[..self.length]
    }
}

/// An address that a frame waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The link it is on.
    pub link: LinkId,
    /// The address.
    pub address: IpAddr,
}

/// What of one port and class was handed over, and what was not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShareCounts {
    /// Handed over.
    pub punted: u64,
    /// Over its share of a second.
    pub limited: u64,
    /// Over its share of the places, or too long for one.
    pub full: u64,
}

/// What went between workers and the control side besides what was [punted](Punts::share), and what did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PuntCounts {
    /// Frames from the kernel that found no place, or no room at their port.
    pub unsent: u64,
    /// Addresses that were asked for.
    pub wanted: u64,
    /// Asks that found no place, or went over their link's share.
    pub wants_lost: u64,
}

/// One way: places that are free, and places that are full.
#[derive(Debug)]
struct Way {
    free: ArrayQueue<Box<PuntedFrame>>,
    full: ArrayQueue<Box<PuntedFrame>>,
}

impl Way {
    fn new(places: usize, longest: usize) -> Way {
        let places = places.max(1);
        let way = Way { free: ArrayQueue::new(places), full: ArrayQueue::new(places) };
        for _ in 0..places {
            let room = vec![0; longest].into();
            let frame = PuntedFrame { port: PortId(0), class: PuntClass::Rest, length: 0, room };
            // There is room for all places.
            let _ = way.free.push(Box::new(frame));
        }
        way
    }

    fn put(&self, port: PortId, class: PuntClass, bytes: &[u8]) -> bool {
        let Some(mut place) = self.free.pop() else { return false };
        if bytes.len() > place.room.len() {
            let _ = self.free.push(place);
            return false;
        }
        (place.port, place.class) = (port, class);
        place.length = bytes.len();
        place.room[..bytes.len()].copy_from_slice(bytes);
        let _ = self.full.push(place);
        true
    }
}

/// What a port has of a class.
#[derive(Debug, Default)]
struct Share {
    /// In nanoseconds: the instant at which the bucket is full again.
    full_at: AtomicU64,
    /// Places that it has.
    held: AtomicUsize,
    punted: AtomicU64,
    limited: AtomicU64,
    full: AtomicU64,
}

/// How much of a class each port may have in a second.
#[derive(Clone, Copy, Debug)]
struct Rate {
    each_nanos: Option<u64>,
    burst: u64,
}

impl Rate {
    fn new(per_second: u32) -> Rate {
        Rate {
            each_nanos: 1_000_000_000u64.checked_div(per_second.into()),
            burst: u64::from(per_second / 10).max(1),
        }
    }
}

/// The queues between all workers and the control side.
#[derive(Debug)]
pub struct Punts {
    inward: Way,
    outward: Way,
    wanted: ArrayQueue<Wanted>,
    rates: [Rate; PuntClass::ALL.len()],
    /// By port and class.
    shares: Box<[[CachePadded<Share>; PuntClass::ALL.len()]]>,
    unsent: AtomicU64,
    asked: AtomicU64,
    asks_lost: AtomicU64,
    resolves: bool,
    /// By port: whether somebody takes its frames.
    taken: Box<[AtomicBool]>,
}

/// How far one worker's clock may lag behind another's, in nanoseconds.
const LAG: u64 = 1_000_000_000;

impl Punts {
    /// Queues for so many ports.
    pub fn new(ports: usize, limits: PuntLimits) -> Punts {
        Punts {
            inward: Way::new(limits.places, limits.longest),
            outward: Way::new(limits.places, limits.longest),
            wanted: ArrayQueue::new(limits.places.max(1)),
            rates: limits.per_second.map(Rate::new),
            shares: (0..ports).map(|_| Default::default()).collect(),
            unsent: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            asks_lost: AtomicU64::new(0),
            resolves: limits.resolves,
            taken: (0..ports).map(|_| AtomicBool::new(false)).collect(),
        }
    }

    /// Says whether somebody takes what is punted on a port: it has a twin.
    pub fn set_taken(&self, port: PortId, taken: bool) {
        if let Some(cell) = self.taken.get(usize::from(port.0)) {
            cell.store(taken, Ordering::Relaxed);
        }
    }

    /// Whether somebody takes what is punted on a port.
    #[inline]
    pub fn is_taken(&self, port: PortId) -> bool {
        self.taken.get(usize::from(port.0)).is_some_and(|cell| cell.load(Ordering::Relaxed))
    }

    /// Whether somebody resolves next hops.
    pub fn resolves(&self) -> bool {
        self.resolves
    }

    /// Worker: hands a frame over; false if that is more than the port's share of its class.
    ///
    /// # Panics
    /// If there is no such port.
    pub fn punt(&self, class: PuntClass, port: PortId, bytes: &[u8], now_micros: u64) -> bool {
        let share = &self.shares[usize::from(port.0)][class as usize];
        let Rate { each_nanos, burst } = self.rates[class as usize];
        let now = (now_micros + 1).saturating_mul(1000);
        if !each_nanos.is_some_and(|each| budget::take(&share.full_at, now, each, burst, LAG)) {
            share.limited.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        // Counted before it is there to be taken. Workers that meet here may be one too many each: places are bounded.
        let held = share.held.fetch_add(1, Ordering::Relaxed);
        let put = held < self.inward.free.len() && self.inward.put(port, class, bytes);
        if !put {
            share.held.fetch_sub(1, Ordering::Relaxed);
        }
        if put { &share.punted } else { &share.full }.fetch_add(1, Ordering::Relaxed);
        put
    }

    /// Control: the next frame for the router itself.
    pub fn next_punted(&self) -> Option<Box<PuntedFrame>> {
        self.inward.full.pop()
    }

    /// Control: gives a place back that [`next_punted`](Punts::next_punted) gave.
    pub fn give_back(&self, frame: Box<PuntedFrame>) {
        let share = &self.shares[usize::from(frame.port.0)][frame.class as usize];
        share.held.fetch_sub(1, Ordering::Relaxed);
        let _ = self.inward.free.push(frame);
    }

    /// Control: has a frame leave by a port as it is; false if too many wait for that, or it is too long.
    pub fn send(&self, port: PortId, bytes: &[u8]) -> bool {
        let put = self.outward.put(port, PuntClass::Rest, bytes);
        if !put {
            self.unsent.fetch_add(1, Ordering::Relaxed);
        }
        put
    }

    /// Worker: whether frames from the control side wait.
    #[inline]
    pub fn has_to_send(&self) -> bool {
        !self.outward.full.is_empty()
    }

    /// Worker: the next frame that is to leave.
    pub fn next_to_send(&self) -> Option<Box<PuntedFrame>> {
        self.outward.full.pop()
    }

    /// Worker: gives a place back that [`next_to_send`](Punts::next_to_send) gave.
    pub fn give_back_sent(&self, frame: Box<PuntedFrame>) {
        let _ = self.outward.free.push(frame);
    }

    /// Worker: counts a frame from the control side that found no room at its port.
    pub fn count_unsent(&self) {
        self.unsent.fetch_add(1, Ordering::Relaxed);
    }

    /// Worker: asks for a neighbour's MAC.
    pub fn ask(&self, wanted: Wanted) -> bool {
        let put = self.wanted.push(wanted).is_ok();
        if put { &self.asked } else { &self.asks_lost }.fetch_add(1, Ordering::Relaxed);
        put
    }

    /// Worker: counts a neighbour's MAC that it may not ask for, since too many are asked for already.
    pub fn count_unasked(&self) {
        self.asks_lost.fetch_add(1, Ordering::Relaxed);
    }

    /// Control: the next address that is asked for.
    pub fn next_wanted(&self) -> Option<Wanted> {
        self.wanted.pop()
    }

    /// What was handed over so far of a port and class, and what was not.
    ///
    /// # Panics
    /// If there is no such port.
    pub fn share(&self, port: PortId, class: PuntClass) -> ShareCounts {
        let share = &self.shares[usize::from(port.0)][class as usize];
        let read = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        ShareCounts { punted: read(&share.punted), limited: read(&share.limited), full: read(&share.full) }
    }

    /// The same of all ports and classes together.
    pub fn all_shares(&self) -> ShareCounts {
        let ports = (0..self.shares.len()).map(|port| PortId(port as u8));
        let shares = ports.flat_map(|port| PuntClass::ALL.map(|class| self.share(port, class)));
        shares.fold(ShareCounts::default(), |sum, share| ShareCounts {
            punted: sum.punted + share.punted,
            limited: sum.limited + share.limited,
            full: sum.full + share.full,
        })
    }

    /// What went otherwise so far, and what did not.
    pub fn counts(&self) -> PuntCounts {
        let read = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        PuntCounts {
            unsent: read(&self.unsent),
            wanted: read(&self.asked),
            wants_lost: read(&self.asks_lost),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PortId = PortId(0);
    const B: PortId = PortId(1);

    fn punts(places: usize, per_second: u32) -> Punts {
        let per_second = [per_second; PuntClass::ALL.len()];
        Punts::new(2, PuntLimits { places, longest: 64, per_second, resolves: true })
    }

    #[test]
    fn places_go_round_and_what_finds_none_is_counted() {
        // Twice as many as are full at once: of what is free a port gets half.
        let punts = punts(4, 1_000_000);
        let punt = |bytes: &[u8]| punts.punt(PuntClass::Rest, A, bytes, 1);
        assert!(punt(b"one") && punt(b"two") && !punt(b"three"));
        let first = punts.next_punted().unwrap();
        assert_eq!((first.port, first.bytes()), (A, &b"one"[..]));
        assert!(!punt(b"three"), "its place is not given back yet");
        punts.give_back(first);
        assert!(!punt(&[0; 65]), "too long for a place");
        assert!(punt(b"four"));
        let bytes = |frame: Option<Box<PuntedFrame>>| frame.map(|frame| frame.bytes().to_vec());
        assert_eq!(bytes(punts.next_punted()).as_deref(), Some(&b"two"[..]));
        assert_eq!(bytes(punts.next_punted()).as_deref(), Some(&b"four"[..]));
        assert!(punts.next_punted().is_none());
        assert_eq!(punts.all_shares(), ShareCounts { punted: 3, limited: 0, full: 3 });
    }

    #[test]
    fn each_port_has_its_share_of_each_second_for_each_class() {
        let punts = punts(1000, 100);
        let count = |port, class, now| (0..50).filter(|_| punts.punt(class, port, b"x", now)).count();
        assert_eq!(count(A, PuntClass::Rest, 0), 10, "a tenth of a second's at once");
        assert_eq!(count(A, PuntClass::Routing, 0), 10);
        assert_eq!(count(B, PuntClass::Rest, 0), 10, "what floods one port leaves the other its own");
        assert_eq!(count(A, PuntClass::Rest, 50_000), 5);
        let share = |port, class| punts.share(port, class);
        assert_eq!(share(A, PuntClass::Rest), ShareCounts { punted: 15, limited: 85, full: 0 });
        assert_eq!(share(B, PuntClass::Rest), ShareCounts { punted: 10, limited: 40, full: 0 });
        assert_eq!(share(A, PuntClass::Neighbours), ShareCounts::default());
        assert_eq!(punts.all_shares(), ShareCounts { punted: 35, limited: 165, full: 0 });
    }

    #[test]
    fn a_flood_that_nobody_takes_off_leaves_places_to_other_ports_and_classes() {
        let punts = punts(64, 1_000_000);
        let count = |port, class, now| (0..1000).filter(|_| punts.punt(class, port, b"x", now)).count();
        assert_eq!(count(A, PuntClass::Rest, 1), 32);
        assert_eq!(count(B, PuntClass::Neighbours, 1), 16);
        assert_eq!(count(A, PuntClass::Neighbours, 1), 8);
        assert_eq!(punts.share(A, PuntClass::Rest).full, 968);
        while let Some(frame) = punts.next_punted() {
            punts.give_back(frame);
        }
        assert_eq!(count(A, PuntClass::Rest, 2), 32, "its places are its own again");
    }

    #[test]
    fn frames_of_the_kernel_go_the_other_way_and_asks_are_bounded() {
        let punts = punts(1, 1);
        assert!(!punts.has_to_send());
        assert!(punts.send(A, b"arp") && !punts.send(A, b"more") && punts.has_to_send());
        let frame = punts.next_to_send().unwrap();
        assert_eq!(frame.bytes(), b"arp");
        punts.give_back_sent(frame);
        assert!(punts.send(A, b"again"));
        let wanted = Wanted { link: LinkId(7), address: "192.0.2.9".parse().unwrap() };
        assert!(punts.ask(wanted) && !punts.ask(wanted));
        assert_eq!((punts.next_wanted(), punts.next_wanted()), (Some(wanted), None));
        let counts = punts.counts();
        assert_eq!((counts.unsent, counts.wanted, counts.wants_lost), (1, 1, 1));
    }
}
