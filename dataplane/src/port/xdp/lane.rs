//! The four rings of one socket, and what frames do in them.
//!
//! ```text
//!                     ┌─ fill ring ───────▶┐          ┌▶─ receive ring ──┐
//!   free frames ──────┤                    │  kernel  │                  ├──▶ held by the worker
//!        ▲            └─◀ completion ring ─┘          └─◀ transmit ring ─┘
//!        └──────────────────┘                                 of whichever port it leaves by
//! ```
//!
//! A lane never has more than [`OUT`] frames on their way out, so its transmit and completion rings can't overflow,
//! and never more than twice [`IN`] on their way in (those in the fill ring, in the device's own ring, and received
//! ones that were not fetched). So a port whose device takes nothing any more keeps no more than its share,
//! and the others go on.

use std::collections::HashSet;
use std::sync::Arc;

use super::ring::{Consumer, Producer};
use super::socket::Socket;
use super::umem::{Descriptor, Umem};
use crate::port::watch::Cells;
use crate::port::{Burst, Held, Lost};

/// Entries of the fill and receive rings: what comes while a worker is away for a moment. All of these frames are gone
/// through in turn, so that more of them would cost cache.
pub(super) const IN: u32 = 4096;
/// Entries of the transmit and completion rings.
pub(super) const OUT: u32 = 2048;

/// Frames that a lane may have, whatever happens: with so many for each, none has to wait for another.
pub(super) const FRAMES: u32 = 2 * IN + OUT;

/// The fill ring is topped up when so many are missing.
const REFILL: u32 = 64;

/// An Ethernet header (IEEE 802.3 §3.1.1).
const ETHERNET: u32 = 14;

/// A socket's rings.
pub(super) struct Rings {
    pub(super) fill: Producer,
    pub(super) receive: Consumer,
    pub(super) transmit: Producer,
    pub(super) completion: Consumer,
    /// Behind them, since it is told closed when it is dropped, and is not closed while they are mapped. A test has none.
    pub(super) _socket: Option<Arc<Socket>>,
}

/// One socket's rings with their frames.
pub(super) struct Lane {
    number: u16,
    pub(super) rings: Rings,
    /// Frames on their way in.
    inward: u32,
    /// Frames on their way out.
    outward: u32,
}

impl Lane {
    /// A lane of this number, which nobody else may have meanwhile.
    pub(super) fn new(number: u16, rings: Rings) -> Lane {
        Lane { number, rings, inward: 0, outward: 0 }
    }

    /// Frames on their way in, and out.
    pub(super) fn frames(&self) -> (u64, u64) {
        (self.inward.into(), self.outward.into())
    }

    pub(super) fn number(&self) -> u16 {
        self.number
    }

    /// Gives the kernel frames to fill, if many are missing.
    #[inline]
    pub(super) fn refill(&mut self, umem: &mut Umem) {
        let missing = (2 * IN - self.inward).min(self.rings.fill.room(REFILL));
        if missing < REFILL {
            return;
        }
        for _ in 0..missing {
            let Some(address) = umem.fill(self.number) else { break };
            self.rings.fill.put_address(address);
            self.inward += 1;
        }
        self.rings.fill.publish();
    }

    /// Hands out what has come. What the kernel names that it can't have is counted.
    #[inline]
    pub(super) fn receive(&mut self, umem: &mut Umem, burst: &mut Burst, cells: &Cells) {
        let wanted = (burst.limit - burst.frames.len()) as u32;
        let count = self.rings.receive.available(wanted).min(wanted);
        for _ in 0..count {
            let descriptor = self.rings.receive.descriptor();
            let Some(frame) = umem.arrive(self.number, descriptor) else {
                cells.unreadable.add(1);
                continue;
            };
            self.inward = self.inward.saturating_sub(1);
            if descriptor.length < ETHERNET {
                cells.unreadable.add(1);
                umem.release(frame);
                continue;
            }
            burst.frames.push(frame);
        }
        self.rings.receive.release();
    }

    /// Whether another frame may be on its way out.
    #[inline]
    pub(super) fn has_room(&mut self, umem: &mut Umem) -> bool {
        if self.outward == OUT {
            self.reap(umem);
        }
        self.outward < OUT && self.rings.transmit.room(1) > 0
    }

    /// Writes a frame into the transmit ring; there must be room.
    #[inline]
    pub(super) fn send(&mut self, umem: &mut Umem, frame: Held) {
        let descriptor = umem.send(self.number, frame);
        self.rings.transmit.put(descriptor);
        self.outward += 1;
    }

    /// Takes back frames that have been sent.
    #[inline]
    pub(super) fn reap(&mut self, umem: &mut Umem) {
        let count = self.rings.completion.available(OUT);
        for _ in 0..count {
            let address = self.rings.completion.address();
            if umem.complete(self.number, address) {
                self.outward = self.outward.saturating_sub(1);
            }
        }
        self.rings.completion.release();
    }

    /// What is not known to have been sent: in the ring, or with a device that has not said so. No frame changes hands.
    pub(super) fn unsent(&mut self, umem: &mut Umem) -> Lost {
        self.reap(umem);
        self.rings.transmit.publish();
        let mut lost = Lost { frames: self.outward as usize, bytes: 0 };
        // A frame's last descriptor is the one that counts.
        let mut seen = HashSet::new();
        for Descriptor { address, length } in self.rings.transmit.latest() {
            if umem.is_sent(self.number, address) && seen.insert(address >> umem.shift()) {
                lost.bytes += length as usize;
            }
        }
        lost
    }

    /// Takes back frames that the kernel has not looked at yet. Only for a socket in copy mode: there the
    /// kernel reads the transmit ring in system calls of this thread and at no other time.
    pub(super) fn take_back(&mut self, umem: &mut Umem) -> Lost {
        self.reap(umem);
        self.rings.transmit.publish();
        let mut lost = Lost::default();
        for Descriptor { address, length } in self.rings.transmit.void_pending() {
            if umem.complete(self.number, address) {
                self.outward = self.outward.saturating_sub(1);
                lost.frames += 1;
                lost.bytes += length as usize;
            }
        }
        lost
    }
}
