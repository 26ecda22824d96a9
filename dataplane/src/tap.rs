//! Copies of judged frames for a capture: from workers that never wait to one reader on the control side.
//!
//! ```text
//!             ┌────────── free ◀───────────┐
//!   worker ───┤ takes a place, copies,     ├─── the reader writes it out and gives the place back
//!             └──────────▶ full ───────────┘
//! ```
//!
//! While nobody captures, a burst pays one relaxed load and a branch. While somebody does, a worker compares each
//! decision with what is [`Wanted`], takes a place off the `free` queue, copies, and puts it on the `full` one. Places
//! are made and freed by the control side alone; without a free one the copy is lost and counted. Both queues are
//! bounded and have no lock.
//!
//! A capture has a number, and each copy carries the number that its worker saw. A worker that comes late, with what
//! a capture wanted that is over, leaves a copy that nobody takes for one of the next capture.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crossbeam::queue::ArrayQueue;
use crossbeam::utils::CachePadded;

use crate::clock::Instant;
use crate::frame::Link;
use crate::policy::{Decision, PoolId, PortId, Reasons, Taken};

/// The most copies that wait for the reader.
pub const MAX_COPIES: usize = 4096;
/// As many workers may each have one place of an earlier capture in hand.
const LATE: usize = 1024;
/// No pool and no port has this number.
const ANY: u32 = u32::MAX;

/// Which frames are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Only those that were denied: dropped, rejected, diverted.
    pub denied: bool,
    /// Those with one of these reasons, and those that would have had one had their deny not been monitored.
    pub reasons: Reasons,
    /// Those of this pool.
    pub pool: Option<PoolId>,
    /// Those that were received on this port.
    pub port: Option<PortId>,
}

impl Wanted {
    /// Every frame.
    pub const ALL: Wanted = Wanted { denied: false, reasons: Reasons::ALL, pool: None, port: None };

    /// Whether a frame is wanted that was received on a port where some are.
    fn has(&self, decision: &Decision) -> bool {
        (!self.denied || decision.taken != Taken::Forward)
            && (self.reasons.has(decision.reason)
                || decision.would.is_some_and(|would| self.reasons.has(would)))
            && self.pool.is_none_or(|pool| pool == decision.pool)
    }
}

/// A copy of a frame, and what became of the frame.
#[derive(Debug)]
pub struct CopiedFrame {
    /// The outcome.
    pub decision: Decision,
    /// The port that received it.
    pub port: PortId,
    /// How it begins.
    pub link: Link,
    /// When it was judged, in UTC microseconds.
    pub utc_micros: i64,
    /// The number of the generation that it was judged by.
    pub generation: u64,
    /// Its length; there may be more of it than was copied.
    pub length: usize,
    /// Copies that had been lost before this one.
    pub lost_before: u64,
    capture: u64,
    copied: usize,
    room: Box<[u8]>,
}

impl CopiedFrame {
    fn new(room: usize) -> Box<CopiedFrame> {
        Box::new(CopiedFrame {
            decision: Decision::UNDECIDED,
            port: PortId(0),
            link: Link::Ethernet,
            utc_micros: 0,
            generation: 0,
            length: 0,
            lost_before: 0,
            capture: 0,
            copied: 0,
            // Written, so that the system has given the memory before a worker needs it.
            room: vec![0xff; room].into(),
        })
    }

    /// What was copied of it.
    pub fn bytes(&self) -> &[u8] {
        &self.room[..self.copied]
    }
}

/// What a burst has in common.
pub(crate) struct Origin {
    pub(crate) port: PortId,
    pub(crate) link: Link,
    pub(crate) now: Instant,
    pub(crate) generation: u64,
}

/// Where a capture takes its copies.
pub struct Tap {
    /// The number of the capture that runs; 0 is none.
    capture: CachePadded<AtomicU64>,
    /// The number of the last.
    last: AtomicU64,
    denied: AtomicBool,
    reasons: AtomicU64,
    pool: AtomicU32,
    port: AtomicU32,
    free: ArrayQueue<Box<CopiedFrame>>,
    full: ArrayQueue<Box<CopiedFrame>>,
    /// By the parity of the capture's number: a worker that comes late does not count for the next.
    lost: [CachePadded<AtomicU64>; 2],
}

impl Default for Tap {
    fn default() -> Tap {
        Tap {
            capture: CachePadded::default(),
            last: AtomicU64::new(0),
            denied: AtomicBool::new(false),
            reasons: AtomicU64::new(0),
            pool: AtomicU32::new(ANY),
            port: AtomicU32::new(ANY),
            free: ArrayQueue::new(MAX_COPIES + LATE),
            full: ArrayQueue::new(MAX_COPIES + LATE),
            lost: [CachePadded::default(), CachePadded::default()],
        }
    }
}

impl Tap {
    /// Begins a capture with so many places of so many bytes each, and ends one that runs. Gives its number.
    pub fn begin(&self, wanted: Wanted, copies: usize, room: usize) -> u64 {
        self.clear();
        let capture = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        for _ in 0..copies.clamp(1, MAX_COPIES) {
            if self.free.push(CopiedFrame::new(room)).is_err() {
                break;
            }
        }
        self.lost_of(capture).store(0, Ordering::Relaxed);
        self.denied.store(wanted.denied, Ordering::Relaxed);
        self.reasons.store(wanted.reasons.bits(), Ordering::Relaxed);
        self.pool.store(wanted.pool.map_or(ANY, |pool| pool.0.into()), Ordering::Relaxed);
        self.port.store(wanted.port.map_or(ANY, |port| port.0.into()), Ordering::Relaxed);
        // What is wanted is there before the number that says so.
        self.capture.store(capture, Ordering::Release);
        capture
    }

    /// Has no more frames copied. Copies that wait can still be taken.
    pub fn stop(&self) {
        self.capture.store(0, Ordering::Release);
    }

    /// Ends the capture and frees its places. One that a worker has in hand is freed the next time.
    pub fn clear(&self) {
        self.stop();
        while self.free.pop().is_some() {}
        while self.full.pop().is_some() {}
    }

    /// The next copy of the capture of this number.
    pub fn next(&self, capture: u64) -> Option<Box<CopiedFrame>> {
        loop {
            let copy = self.full.pop()?;
            if copy.capture == capture {
                return Some(copy);
            }
            // Of an earlier one, whose places may have another size.
        }
    }

    /// Gives a place back that [`next`](Tap::next) gave.
    pub fn give_back(&self, copy: Box<CopiedFrame>) {
        // There is room for all places at once.
        let _ = self.free.push(copy);
    }

    /// Copies of the capture of this number that found no place.
    pub fn lost(&self, capture: u64) -> u64 {
        self.lost_of(capture).load(Ordering::Relaxed)
    }

    fn lost_of(&self, capture: u64) -> &AtomicU64 {
        &self.lost[(capture & 1) as usize]
    }

    /// Whether a capture runs.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.capture.load(Ordering::Relaxed) != 0
    }

    /// Copies of a burst what is wanted.
    #[cold]
    pub(crate) fn copy<'a>(&self, origin: &Origin, frames: impl Iterator<Item = (&'a [u8], &'a Decision)>) {
        let capture = self.capture.load(Ordering::Acquire);
        let port = self.port.load(Ordering::Relaxed);
        if capture == 0 || (port != ANY && port != origin.port.0.into()) {
            return;
        }
        let pool = self.pool.load(Ordering::Relaxed);
        let wanted = Wanted {
            denied: self.denied.load(Ordering::Relaxed),
            reasons: Reasons::from_bits(self.reasons.load(Ordering::Relaxed)),
            pool: (pool != ANY).then_some(PoolId(pool as u16)),
            port: None,
        };
        let counted = self.lost(capture);
        let mut lost = 0;
        for (bytes, decision) in frames.filter(|(_, decision)| wanted.has(decision)) {
            let Some(mut copy) = self.free.pop() else {
                lost += 1;
                continue;
            };
            let copied = bytes.len().min(copy.room.len());
            copy.room[..copied].copy_from_slice(&bytes[..copied]);
            copy.copied = copied;
            copy.length = bytes.len();
            copy.decision = *decision;
            copy.port = origin.port;
            copy.link = origin.link;
            copy.utc_micros = origin.now.utc_micros;
            copy.generation = origin.generation;
            copy.lost_before = counted + lost;
            copy.capture = capture;
            if self.full.push(copy).is_err() {
                lost += 1;
            }
        }
        if lost > 0 {
            self.lost_of(capture).fetch_add(lost, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Reason;

    fn origin(port: u8) -> Origin {
        let now = Instant::from_utc_micros(1_000_007);
        Origin { port: PortId(port), link: Link::Ethernet, now, generation: 3 }
    }

    fn denied(reason: Reason, pool: u16) -> Decision {
        Decision { reason, pool: PoolId(pool), ..Decision::UNDECIDED }
    }

    fn forwarded(reason: Reason, would: Option<Reason>) -> Decision {
        Decision { reason, taken: Taken::Forward, would, ..Decision::UNDECIDED }
    }

    fn copy(tap: &Tap, port: u8, frames: &[(&[u8], Decision)]) {
        tap.copy(&origin(port), frames.iter().map(|(bytes, decision)| (*bytes, decision)));
    }

    fn all(tap: &Tap, capture: u64) -> Vec<CopiedFrame> {
        std::iter::from_fn(|| tap.next(capture).map(|copy| *copy)).collect()
    }

    #[test]
    fn only_what_is_wanted_is_copied_and_only_while_a_capture_runs() {
        let tap = Tap::default();
        let frames = [
            (&b"egress"[..], denied(Reason::Port25Egress, 4)),
            (b"mirror", denied(Reason::Port25Mirror, 4)),
            (b"other pool", denied(Reason::Port25Egress, 5)),
            (b"monitored", forwarded(Reason::NotInScope, Some(Reason::Port25Egress))),
            (b"web", forwarded(Reason::OtherPort, None)),
        ];
        let seen = |wanted: Wanted| {
            let capture = tap.begin(wanted, 16, 64);
            assert!(tap.is_open());
            copy(&tap, 1, &frames);
            let copies = all(&tap, capture);
            copies.iter().map(|copy| String::from_utf8(copy.bytes().to_vec()).unwrap()).collect::<Vec<_>>()
        };
        let egress = Reasons::of(&[Reason::Port25Egress]);
        assert_eq!(seen(Wanted::ALL).len(), 5);
        assert_eq!(seen(Wanted { denied: true, ..Wanted::ALL }), ["egress", "mirror", "other pool"]);
        assert_eq!(seen(Wanted { reasons: egress, ..Wanted::ALL }), ["egress", "other pool", "monitored"]);
        assert_eq!(seen(Wanted { pool: Some(PoolId(4)), ..Wanted::ALL }), ["egress", "mirror"]);
        assert_eq!(seen(Wanted { port: Some(PortId(0)), ..Wanted::ALL }), [""; 0]);
        assert_eq!(seen(Wanted { port: Some(PortId(1)), ..Wanted::ALL }).len(), 5);
        tap.stop();
        assert!(!tap.is_open());
        copy(&tap, 1, &frames);
        assert!(all(&tap, 6).is_empty());
    }

    #[test]
    fn a_copy_carries_what_became_of_the_frame_and_is_cut_to_its_place() {
        let tap = Tap::default();
        let capture = tap.begin(Wanted::ALL, 1, 4);
        copy(&tap, 2, &[(b"123456", denied(Reason::Malformed, 9))]);
        let copies = all(&tap, capture);
        let [copy] = &copies[..] else { panic!("{copies:?}") };
        assert_eq!((copy.bytes(), copy.length), (&b"1234"[..], 6));
        assert_eq!((copy.port, copy.generation, copy.utc_micros), (PortId(2), 3, 1_000_007));
        assert_eq!(copy.decision, denied(Reason::Malformed, 9));
    }

    #[test]
    fn without_a_free_place_copies_are_lost_and_counted_and_places_go_round() {
        let tap = Tap::default();
        let capture = tap.begin(Wanted::ALL, 2, 8);
        let frame = (&b"x"[..], denied(Reason::Malformed, 0));
        copy(&tap, 0, &[frame; 5]);
        assert_eq!(tap.lost(capture), 3);
        let copies = all(&tap, capture);
        assert_eq!(copies.len(), 2);
        copies.into_iter().for_each(|copy| tap.give_back(Box::new(copy)));
        copy(&tap, 0, &[frame; 3]);
        assert_eq!(tap.lost(capture), 4);
        let before: Vec<u64> = all(&tap, capture).iter().map(|copy| copy.lost_before).collect();
        assert_eq!(before, [3, 3]);
        let next = tap.begin(Wanted::ALL, 2, 8);
        assert_eq!((tap.lost(next), tap.lost(capture)), (0, 4));
    }

    #[test]
    fn what_a_worker_leaves_late_is_not_taken_for_one_of_the_next_capture() {
        let tap = Tap::default();
        let first = tap.begin(Wanted::ALL, 2, 8);
        copy(&tap, 0, &[(b"early", denied(Reason::Malformed, 0))]);
        let mut late = tap.next(first).unwrap();
        let second = tap.begin(Wanted::ALL, 2, 8);
        late.copied = 4;
        assert!(tap.full.push(late).is_ok());
        copy(&tap, 0, &[(b"next", denied(Reason::Malformed, 0))]);
        let copies = all(&tap, second);
        assert_eq!(copies.iter().map(|copy| copy.bytes()).collect::<Vec<_>>(), [b"next"]);
        tap.clear();
        assert!(tap.free.is_empty() && tap.full.is_empty());
    }
}
