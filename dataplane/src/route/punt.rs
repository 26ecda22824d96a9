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
//! waits for nobody. What finds no place is lost and counted. How much of each class a worker may hand over in a second
//! is bounded as well (a token bucket each, as the budgets of rejects): a flood of one class leaves the others their
//! share of the places, and the kernel its time.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

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
    /// Frames in a second of each class, which is also its burst's length in tenths of a second.
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

/// What was handed over, and what was not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PuntCounts {
    /// Handed over, by class.
    pub punted: [u64; PuntClass::ALL.len()],
    /// Over the class's share of a second.
    pub limited: [u64; PuntClass::ALL.len()],
    /// Without a free place, or too long for one.
    pub full: u64,
    /// Frames from the kernel that found no place, or no room at their port.
    pub unsent: u64,
    /// Addresses that were asked for, and asks that found no place.
    pub wanted: u64,
    /// Asks that found no place.
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
            let frame = PuntedFrame { port: PortId(0), length: 0, room: vec![0; longest].into() };
            // There is room for all places.
            let _ = way.free.push(Box::new(frame));
        }
        way
    }

    fn put(&self, port: PortId, bytes: &[u8]) -> bool {
        let Some(mut place) = self.free.pop() else { return false };
        if bytes.len() > place.room.len() {
            let _ = self.free.push(place);
            return false;
        }
        place.port = port;
        place.length = bytes.len();
        place.room[..bytes.len()].copy_from_slice(bytes);
        let _ = self.full.push(place);
        true
    }
}

/// A class's share.
#[derive(Debug)]
struct Share {
    /// In nanoseconds: the instant at which the bucket is full again.
    full_at: AtomicU64,
    each_nanos: Option<u64>,
    burst: u64,
    punted: AtomicU64,
    limited: AtomicU64,
}

/// The queues between all workers and the control side.
#[derive(Debug)]
pub struct Punts {
    inward: Way,
    outward: Way,
    wanted: ArrayQueue<Wanted>,
    shares: [CachePadded<Share>; PuntClass::ALL.len()],
    full: AtomicU64,
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
        let share = |per_second: u32| {
            CachePadded::new(Share {
                full_at: AtomicU64::new(0),
                each_nanos: 1_000_000_000u64.checked_div(u64::from(per_second)),
                burst: u64::from(per_second / 10).max(1),
                punted: AtomicU64::new(0),
                limited: AtomicU64::new(0),
            })
        };
        Punts {
            inward: Way::new(limits.places, limits.longest),
            outward: Way::new(limits.places, limits.longest),
            wanted: ArrayQueue::new(limits.places.max(1)),
            shares: limits.per_second.map(share),
            full: AtomicU64::new(0),
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

    /// Worker: hands a frame over; false if it is over the class's share, or there is no place.
    pub fn punt(&self, class: PuntClass, port: PortId, bytes: &[u8], now_micros: u64) -> bool {
        let share = &self.shares[class as usize];
        let now = (now_micros + 1).saturating_mul(1000);
        let take = |each| budget::take(&share.full_at, now, each, share.burst, LAG);
        if !share.each_nanos.is_some_and(take) {
            share.limited.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        let put = self.inward.put(port, bytes);
        if put { &share.punted } else { &self.full }.fetch_add(1, Ordering::Relaxed);
        put
    }

    /// Control: the next frame for the router itself.
    pub fn next_punted(&self) -> Option<Box<PuntedFrame>> {
        self.inward.full.pop()
    }

    /// Control: gives a place back that [`next_punted`](Punts::next_punted) gave.
    pub fn give_back(&self, frame: Box<PuntedFrame>) {
        let _ = self.inward.free.push(frame);
    }

    /// Control: has a frame leave by a port as it is; false if too many wait for that, or it is too long.
    pub fn send(&self, port: PortId, bytes: &[u8]) -> bool {
        let put = self.outward.put(port, bytes);
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

    /// Control: the next address that is asked for.
    pub fn next_wanted(&self) -> Option<Wanted> {
        self.wanted.pop()
    }

    /// What was handed over so far, and what was not.
    pub fn counts(&self) -> PuntCounts {
        let read = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        PuntCounts {
            punted: PuntClass::ALL.map(|class| read(&self.shares[class as usize].punted)),
            limited: PuntClass::ALL.map(|class| read(&self.shares[class as usize].limited)),
            full: read(&self.full),
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

    fn punts(places: usize, per_second: u32) -> Punts {
        let per_second = [per_second; PuntClass::ALL.len()];
        Punts::new(1, PuntLimits { places, longest: 64, per_second, resolves: true })
    }

    #[test]
    fn places_go_round_and_what_finds_none_is_counted() {
        let punts = punts(2, 1_000_000);
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
        let counts = punts.counts();
        assert_eq!((counts.punted, counts.full), ([0, 0, 3], 3));
    }

    #[test]
    fn a_class_has_its_share_of_each_second_and_leaves_the_others_theirs() {
        let punts = punts(1000, 100);
        let count = |class, now| (0..50).filter(|_| punts.punt(class, A, b"x", now)).count();
        assert_eq!(count(PuntClass::Rest, 0), 10, "a tenth of a second's at once");
        assert_eq!(count(PuntClass::Routing, 0), 10);
        assert_eq!(count(PuntClass::Rest, 50_000), 5);
        assert_eq!(punts.counts().limited, [0, 40, 85]);
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
