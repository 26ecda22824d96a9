//! The frames of one worker, and whose each of them is.
//!
//! All ports of a worker have their frames in one piece of memory, so that a frame goes from one to another by its
//! address alone. A frame is always in one of four states, and this table says in which:
//!
//! ```text
//!                fill                arrive
//!       Free ─────────▶ Filled(lane) ──────▶ Held ───┐
//!        ▲ ▲                                 ▲  │    │ send
//!        │ │              take (our own)     │  │    ▼
//!        │ └─────────────────────────────────┘  │  Sent(lane)
//!        │               release ◀──────────────┘    │
//!        └───────────────────────────────────────────┘ complete
//! ```
//!
//! `Filled` and `Sent` are the kernel's, who may write or read them at any time; `Free` is nobody's; `Held` is whoever's
//! has the one [`Held`] that was made when it became so. That token can't be duplicated, and each way out of the
//! state consumes it. What the kernel names that it can't have (a frame of another lane, one that is not its own,
//! bytes outside a frame) is refused. That is the account which the `unsafe` blocks of this file rest on.

#![allow(unsafe_code)]

use std::sync::Arc;

use crate::port::mapping::Mapping;
use crate::port::{Held, MACS_LENGTH, TAG_LENGTH};

/// A frame and what is in it, as rings name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Descriptor {
    pub(super) address: u64,
    pub(super) length: u32,
}

/// Whose a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owner(u16);

impl Owner {
    const FREE: Owner = Owner(0);
    const HELD: Owner = Owner(1);

    fn filled(lane: u16) -> Owner {
        Owner(2 + 2 * lane)
    }

    fn sent(lane: u16) -> Owner {
        Owner(3 + 2 * lane)
    }
}

/// The most lanes of a worker.
pub(super) const MAX_LANES: u16 = u16::MAX / 2 - 1;

/// A worker's frames.
pub(super) struct Umem {
    memory: Arc<Mapping>,
    /// A frame's size as a power of two.
    shift: u32,
    owners: Box<[Owner]>,
    /// Where those begin that are free.
    free: Vec<u32>,
    /// How many are held.
    held: usize,
}

impl Umem {
    /// Frames of 2^`shift` bytes, as many as `memory` has room for.
    pub(super) fn new(memory: Arc<Mapping>, shift: u32) -> Umem {
        let count = memory.len() >> shift;
        assert!(u32::try_from(memory.len()).is_ok(), "{} bytes of frames", memory.len());
        // The first first.
        let free = (0..count).rev().map(|frame| (frame << shift) as u32).collect();
        Umem { memory, shift, owners: vec![Owner::FREE; count].into(), free, held: 0 }
    }

    /// A frame's size as a power of two.
    pub(super) fn shift(&self) -> u32 {
        self.shift
    }

    /// How many frames there are.
    pub(super) fn all(&self) -> usize {
        self.owners.len()
    }

    /// Frames that are held.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Frames that are free.
    pub(super) fn free(&self) -> usize {
        self.free.len()
    }

    /// Where the frame begins that a place is in.
    #[inline]
    fn start(&self, place: u32) -> u32 {
        place >> self.shift << self.shift
    }

    #[inline]
    fn owner(&mut self, place: u32) -> &mut Owner {
        &mut self.owners[(place >> self.shift) as usize]
    }

    /// A free frame, for the kernel to fill.
    #[inline]
    pub(super) fn fill(&mut self, lane: u16) -> Option<u64> {
        let place = self.free.pop()?;
        *self.owner(place) = Owner::filled(lane);
        Some(place.into())
    }

    /// The kernel has filled one. None, and nothing is changed, if it can't have.
    #[inline]
    pub(super) fn arrive(&mut self, lane: u16, Descriptor { address, length }: Descriptor) -> Option<Held> {
        let place = u32::try_from(address).ok()?;
        let before = place - self.start(place);
        let owner = self.owners.get_mut((place >> self.shift) as usize)?;
        if *owner != Owner::filled(lane) || length > (1 << self.shift) - before {
            return None;
        }
        *owner = Owner::HELD;
        self.held += 1;
        Some(Held { place, length })
    }

    /// A free frame with these bytes; none if they don't fit, or none is free.
    #[inline]
    pub(super) fn take(&mut self, bytes: &[u8]) -> Option<Held> {
        if bytes.len() > 1 << self.shift {
            return None;
        }
        let place = self.free.pop()?;
        *self.owner(place) = Owner::HELD;
        self.held += 1;
        // SAFETY: inside the frame, which was free and has no other token than the one that is made here.
        unsafe { self.memory.bytes_mut(place as usize, bytes.len()) }.copy_from_slice(bytes);
        Some(Held { place, length: bytes.len() as u32 })
    }

    /// A frame for the kernel to send.
    #[inline]
    pub(super) fn send(&mut self, lane: u16, frame: Held) -> Descriptor {
        let Held { place, length } = frame;
        let owner = self.owner(place);
        debug_assert_eq!(*owner, Owner::HELD, "the frame at {place}");
        *owner = Owner::sent(lane);
        self.held -= 1;
        Descriptor { address: place.into(), length }
    }

    /// The kernel has sent one; false, and nothing is changed, if it can't have.
    #[inline]
    pub(super) fn complete(&mut self, lane: u16, address: u64) -> bool {
        let Ok(place) = u32::try_from(address) else { return false };
        match self.owners.get_mut((place >> self.shift) as usize) {
            Some(owner) if *owner == Owner::sent(lane) => *owner = Owner::FREE,
            _ => return false,
        }
        self.free.push(self.start(place));
        true
    }

    /// Whether the kernel has a frame to send, for this lane.
    pub(super) fn is_sent(&self, lane: u16, address: u64) -> bool {
        let place = u32::try_from(address).ok();
        let owner = place.and_then(|place| self.owners.get((place >> self.shift) as usize));
        owner.is_some_and(|owner| *owner == Owner::sent(lane))
    }

    /// A frame is given back.
    #[inline]
    pub(super) fn release(&mut self, frame: Held) {
        let owner = self.owner(frame.place);
        debug_assert_eq!(*owner, Owner::HELD, "the frame at {}", frame.place);
        *owner = Owner::FREE;
        self.held -= 1;
        self.free.push(self.start(frame.place));
    }

    /// The bytes of a frame.
    #[inline]
    pub(super) fn bytes(&self, frame: &Held) -> &[u8] {
        // SAFETY: inside a frame that is held: its only token is borrowed as long as the bytes are.
        unsafe { self.memory.bytes(frame.place as usize, frame.len()) }
    }

    /// The bytes of a frame, to be changed.
    #[inline]
    pub(super) fn bytes_mut(&mut self, frame: &Held) -> &mut [u8] {
        // SAFETY: as above, and the frames are borrowed as a whole.
        unsafe { self.memory.bytes_mut(frame.place as usize, frame.len()) }
    }

    /// Puts a tag behind the MACs, which move to the front where there is room: before a frame that the kernel has filled
    /// there is. Else what is behind them moves.
    pub(super) fn push_tag(&mut self, frame: &mut Held, tag: [u8; TAG_LENGTH]) -> bool {
        let start = self.start(frame.place);
        let (before, length) = ((frame.place - start) as usize, frame.len());
        let longer = Held { place: frame.place, length: frame.length + TAG_LENGTH as u32 };
        if length < MACS_LENGTH {
            return false;
        }
        if before >= TAG_LENGTH {
            *frame = Held { place: longer.place - TAG_LENGTH as u32, ..longer };
            self.bytes_mut(frame).copy_within(TAG_LENGTH..TAG_LENGTH + MACS_LENGTH, 0);
        } else if before + longer.len() <= 1 << self.shift {
            *frame = longer;
            self.bytes_mut(frame).copy_within(MACS_LENGTH..length, MACS_LENGTH + TAG_LENGTH);
        } else {
            return false;
        }
        self.bytes_mut(frame)[MACS_LENGTH..MACS_LENGTH + TAG_LENGTH].copy_from_slice(&tag);
        true
    }

    /// Takes the four bytes behind the MACs out; the MACs move to them.
    pub(super) fn pop_tag(&mut self, frame: &mut Held) {
        self.bytes_mut(frame).copy_within(..MACS_LENGTH, TAG_LENGTH);
        let (place, length) = (frame.place + TAG_LENGTH as u32, frame.length - TAG_LENGTH as u32);
        *frame = Held { place, length };
    }

    /// Takes all frames back that the kernel had for a lane; how many. Its socket must be closed, so that the kernel
    /// does not touch them any more.
    pub(super) fn reclaim(&mut self, lane: u16) -> usize {
        let had = self.free.len();
        for (frame, owner) in self.owners.iter_mut().enumerate() {
            if *owner == Owner::filled(lane) || *owner == Owner::sent(lane) {
                *owner = Owner::FREE;
                self.free.push((frame << self.shift) as u32);
            }
        }
        self.free.len() - had
    }

    /// Where frames are, counted one by one.
    #[cfg(test)]
    pub(super) fn census(&self) -> Census {
        let mut census = Census { all: self.owners.len() as u64, ..Census::default() };
        for owner in &self.owners {
            match *owner {
                Owner::FREE => census.free += 1,
                Owner::HELD => census.held += 1,
                Owner(with) if with % 2 == 0 => census.filled += 1,
                _ => census.sent += 1,
            }
        }
        census
    }
}

/// Where a worker's frames are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// How many there are.
    pub all: u64,
    /// Nobody's.
    pub free: u64,
    /// In the worker's hands.
    pub held: u64,
    /// The kernel's, to be filled, or filled and not received yet.
    pub filled: u64,
    /// The kernel's, to be sent.
    pub sent: u64,
    /// With sockets that are being closed.
    pub closing: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn umem() -> Umem {
        Umem::new(Arc::new(Mapping::anonymous(8 << 11).unwrap()), 11)
    }

    #[test]
    fn a_tag_is_put_before_a_frame_s_type_or_behind_where_nothing_is_free_before_it_and_taken_out_again() {
        let mut umem = umem();
        let frame: Vec<u8> = (0..60).collect();
        let tagged = [&frame[..12], &[0x81, 0, 0, 100], &frame[12..]].concat();
        let address = umem.fill(0).unwrap();
        let filled = umem.arrive(0, Descriptor { address: address + 256, length: 60 }).unwrap();
        umem.bytes_mut(&filled).copy_from_slice(&frame);
        let own = umem.take(&frame).unwrap();
        for mut held in [filled, own] {
            assert!(umem.push_tag(&mut held, [0x81, 0, 0, 100]));
            assert_eq!(umem.bytes(&held), tagged);
            umem.pop_tag(&mut held);
            assert_eq!(umem.bytes(&held), frame);
            assert!(umem.push_tag(&mut held, [0x81, 0, 0, 100]), "there is room where one was");
            umem.release(held);
        }
        let mut full = umem.take(&[7; 2048]).unwrap();
        assert!(!umem.push_tag(&mut full, [0; 4]));
        assert_eq!(umem.bytes(&full), [7; 2048]);
        umem.release(full);
        assert_eq!(umem.free(), 8);
    }

    #[test]
    fn a_frame_that_the_kernel_can_t_have_is_refused() {
        let mut umem = umem();
        let address = umem.fill(3).unwrap();
        let at = |address, length| Descriptor { address, length };
        for (lane, wrong) in [
            (4, at(address, 60)),
            (3, at(address + 2048, 60)),
            (3, at(address + 2000, 60)),
            (3, at(8 << 11, 1)),
            (3, at(u64::MAX, 1)),
        ] {
            assert_eq!(umem.arrive(lane, wrong), None, "{lane} {wrong:?}");
        }
        assert!(!umem.complete(3, address), "it was not sent");
        let held = umem.arrive(3, at(address + 256, 60)).unwrap();
        assert_eq!(umem.arrive(3, at(address + 256, 60)), None, "not twice");
        let sent = umem.send(5, held);
        assert!(!umem.complete(4, sent.address) && umem.complete(5, sent.address));
        assert!(!umem.complete(5, sent.address), "not twice");
        assert_eq!(umem.free(), 8);
    }

    #[test]
    fn what_a_closed_lane_had_is_taken_back_and_nothing_else() {
        let mut umem = umem();
        let kept = umem.fill(1).unwrap();
        umem.fill(2).unwrap();
        let sent = umem.take(b"sent").unwrap();
        umem.send(2, sent);
        let held = umem.take(b"held").unwrap();
        assert_eq!(umem.reclaim(2), 2);
        assert_eq!(umem.bytes(&held), b"held");
        assert_eq!(umem.census(), Census { all: 8, free: 6, held: 1, filled: 1, ..Census::default() });
        umem.release(held);
        assert!(umem.arrive(1, Descriptor { address: kept, length: 9 }).is_some());
        assert_eq!(umem.take(&[0; 2049]), None, "too long for a frame");
    }
}
