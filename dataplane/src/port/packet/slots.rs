//! A receive ring of slots (TPACKET_V2): one frame each, handed over at once.
//!
//! A slot belongs to us from the moment its status word says so until the [`Arrival`], or the
//! [`Held`](crate::port::Held) made of it, is given back. Neither can be duplicated, and a slot that was read is
//! marked as such in the same word, so that it is not read again while the ring comes round. That is the account
//! which the `unsafe` blocks of this file rest on.
//!
//! Such a ring can't have offload headers: where the kernel can't write one (see [`blocks`](super::blocks)) it
//! drops the frame, but in a ring of slots it then takes the slot for filled and never goes on (seen in
//! Linux 6.1 and 6.7, `tpacket_rcv`). So a frame that arrives without its checksum is not forwarded from here.

#![allow(unsafe_code)]

use std::mem::offset_of;
use std::sync::atomic::Ordering;

use libc::{sockaddr_ll, tpacket2_hdr};

use super::arrival::{Arrival, Tag, Unfinished};
use super::mapping::Mapping;
use super::socket::{RingShape, Socket, Version};
use super::system::Errno;

const STATUS: usize = offset_of!(tpacket2_hdr, tp_status);
const LENGTH: usize = offset_of!(tpacket2_hdr, tp_len);
const STORED: usize = offset_of!(tpacket2_hdr, tp_snaplen);
const START: usize = offset_of!(tpacket2_hdr, tp_mac);
const VLAN_CONTROL: usize = offset_of!(tpacket2_hdr, tp_vlan_tci);
const VLAN_PROTOCOL: usize = offset_of!(tpacket2_hdr, tp_vlan_tpid);
const HEADER: usize = libc::TPACKET2_HDRLEN;
const PACKET_TYPE: usize = HEADER - size_of::<sockaddr_ll>() + offset_of!(sockaddr_ll, sll_pkttype);

/// Our mark on a slot that has been read. To the kernel a slot that is not its own is not its own; this bit it
/// sets with PACKET_COPY_THRESH only.
const READ: u32 = libc::TP_STATUS_COPY;

/// The mark of newer kernels on several TCP segments in one (linux/if_packet.h). Older ones leave their checksums
/// open, which is enough to tell.
const SEGMENTS: u32 = 1 << 8;

/// The most that stands before a frame in a slot: headers and their padding.
const OVERHEAD: usize = 96;
/// Slots lie in blocks of this size at least.
const LEAST_BLOCK: usize = 65_536;

/// A receive ring of slots.
pub(super) struct Slots {
    memory: Mapping,
    /// A slot's size as a power of two.
    shift: u32,
    slots: usize,
    /// The slot that comes next.
    slot: usize,
}

impl Slots {
    /// What a ring of `bytes` looks like for frames of `longest` bytes.
    pub(super) fn shape(bytes: usize, longest: usize) -> RingShape {
        let slot_size = (longest + OVERHEAD).next_power_of_two();
        let block_size = slot_size.max(LEAST_BLOCK);
        RingShape { block_size, blocks: bytes / block_size, slot_size }
    }

    /// Gives the socket its ring.
    pub(super) fn new(socket: &Socket, shape: RingShape) -> Result<Slots, Errno> {
        use std::os::fd::AsFd;
        socket.set_version(Version::V2)?;
        socket.make_slot_ring(shape)?;
        Ok(Slots {
            memory: Mapping::new(socket.as_fd(), shape.len())?,
            shift: shape.slot_size.trailing_zeros(),
            slots: shape.len() / shape.slot_size,
            slot: 0,
        })
    }

    fn status(&self) -> u32 {
        self.memory.word((self.slot << self.shift) + STATUS).load(Ordering::Acquire)
    }

    /// Whether [`next`](Slots::next) will find something.
    #[inline]
    pub(super) fn is_ready(&self) -> bool {
        self.status() & libc::TP_STATUS_USER != 0
    }

    /// The next frame.
    #[inline]
    pub(super) fn next(&mut self) -> Option<Arrival> {
        let status = self.status();
        if status & libc::TP_STATUS_USER == 0 {
            return None;
        }
        let at = self.slot << self.shift;
        self.memory.word(at + STATUS).store(READ, Ordering::Relaxed);
        self.slot = (self.slot + 1) % self.slots;
        let word = |offset: usize| self.memory.word(at + offset).load(Ordering::Relaxed);
        let half = |offset: usize| self.memory.half(at + offset).load(Ordering::Relaxed);
        let (before, length) = (usize::from(half(START)), word(STORED) as usize);
        if before < HEADER - size_of::<sockaddr_ll>() + Tag::SIZE || before + length > 1 << self.shift {
            return Some(Arrival::unreadable(at));
        }
        let unfinished = match status {
            _ if status & SEGMENTS != 0 => Unfinished::Merged,
            _ if status & libc::TP_STATUS_CSUMNOTREADY != 0 => Unfinished::Checksum(None),
            _ => Unfinished::Nothing,
        };
        let [packet_type, ..] = half(PACKET_TYPE).to_ne_bytes();
        Some(Arrival {
            start: at + before,
            length,
            whole: word(LENGTH) as usize,
            tag: Tag::of(status, half(VLAN_CONTROL), half(VLAN_PROTOCOL)),
            unfinished,
            outgoing: packet_type == libc::PACKET_OUTGOING,
        })
    }

    /// The bytes of a frame that has not been handed out yet, and as many before it as a tag has.
    pub(super) fn open_bytes(&mut self, arrival: &Arrival) -> &mut [u8] {
        // SAFETY: inside the slot, which is ours while the arrival is; nobody else has slices of it, since
        // there is one arrival only and `self` is borrowed.
        unsafe { self.memory.bytes_mut(arrival.start - Tag::SIZE, Tag::SIZE + arrival.length) }
    }

    /// The bytes of a frame.
    ///
    /// # Safety
    /// A frame that was received here and has not been given back covers them.
    #[inline]
    pub(super) unsafe fn bytes(&self, start: usize, length: usize) -> &[u8] {
        // SAFETY: the slot is ours until the frame is given back.
        unsafe { self.memory.bytes(start, length) }
    }

    /// The bytes of a frame, to be changed.
    ///
    /// # Safety
    /// A frame that was received here and has not been given back covers them, or they are of its four bytes before.
    #[inline]
    pub(super) unsafe fn bytes_mut(&mut self, start: usize, length: usize) -> &mut [u8] {
        // SAFETY: the slot is ours until the frame is given back; nobody else has slices of it, since `self` is borrowed.
        unsafe { self.memory.bytes_mut(start, length) }
    }

    /// Gives back the frame that covers `start`.
    #[inline]
    pub(super) fn release(&mut self, start: usize) {
        let at = start >> self.shift << self.shift;
        // After everything that was read or written there, before the kernel writes again.
        self.memory.word(at + STATUS).store(libc::TP_STATUS_KERNEL, Ordering::Release);
    }
}
