//! A receive ring of blocks (TPACKET_V3): frames of any length one behind the other.
//!
//! The kernel fills a block and hands it over whole, when it is full or has waited for the retire timeout. A
//! frame belongs to us from then until its [`Arrival`], or the [`Held`](crate::port::Held) made of it, is given
//! back; `outstanding` counts those of each block, the unread ones among them, and the block goes back to the
//! kernel when none is left. Neither kind of token can be duplicated. That is the account which the `unsafe`
//! blocks of this file rest on.

#![allow(unsafe_code)]

use std::mem::offset_of;
use std::sync::atomic::Ordering;

use libc::{sockaddr_ll, tpacket_block_desc, tpacket_hdr_v1, tpacket_hdr_variant1, tpacket3_hdr};

use super::arrival::{Arrival, Tag, Unfinished, offload_header};
use super::mapping::Mapping;
use super::socket::{RingShape, Socket, Version};
use super::system::Errno;

/// A block is handed over at the latest after as many milliseconds: the least that there is. It is also how
/// long a frame may wait on a quiet link; kernels before 6.18 count in ticks, which may be 4 or 10 ms.
const RETIRE_MILLIS: u32 = 1;

/// Frames of full size that a block has room for at least, so that little of it stays empty.
const FRAMES: usize = 4;
/// Blocks of less make no difference to the throughput, but more work.
const LEAST_BLOCK: usize = 8192;

/// Offsets in a block's header.
const BLOCK: usize = offset_of!(tpacket_block_desc, hdr);
const STATUS: usize = BLOCK + offset_of!(tpacket_hdr_v1, block_status);
const COUNT: usize = BLOCK + offset_of!(tpacket_hdr_v1, num_pkts);
const FIRST: usize = BLOCK + offset_of!(tpacket_hdr_v1, offset_to_first_pkt);

/// Offsets in a frame's header.
const NEXT: usize = offset_of!(tpacket3_hdr, tp_next_offset);
const STORED: usize = offset_of!(tpacket3_hdr, tp_snaplen);
const LENGTH: usize = offset_of!(tpacket3_hdr, tp_len);
const FRAME_STATUS: usize = offset_of!(tpacket3_hdr, tp_status);
const START: usize = offset_of!(tpacket3_hdr, tp_mac);
const VLAN_CONTROL: usize = offset_of!(tpacket3_hdr, hv1) + offset_of!(tpacket_hdr_variant1, tp_vlan_tci);
const VLAN_PROTOCOL: usize = offset_of!(tpacket3_hdr, hv1) + offset_of!(tpacket_hdr_variant1, tp_vlan_tpid);
const HEADER: usize = libc::TPACKET3_HDRLEN;
const ADDRESS: usize = HEADER - size_of::<sockaddr_ll>();
const PACKET_TYPE: usize = ADDRESS + offset_of!(sockaddr_ll, sll_pkttype);

/// The most that stands before a frame in a block: headers, their padding, the offload header.
const OVERHEAD: usize = 128;

/// A receive ring of blocks.
pub(super) struct Blocks {
    memory: Mapping,
    /// A block's size as a power of two.
    shift: u32,
    /// By block: frames that have not been given back.
    outstanding: Box<[u32]>,
    /// The block that is being read, or comes next.
    block: usize,
    /// Where the next frame of the block is.
    next: usize,
    /// Unread frames of the block.
    left: u32,
}

impl Blocks {
    /// What a ring of `bytes` looks like for frames of `longest` bytes.
    pub(super) fn shape(bytes: usize, longest: usize) -> RingShape {
        let block_size = (FRAMES * (longest + OVERHEAD)).next_power_of_two().max(LEAST_BLOCK);
        RingShape { block_size, blocks: bytes / block_size, slot_size: block_size }
    }

    /// Gives the socket its ring.
    pub(super) fn new(socket: &Socket, shape: RingShape) -> Result<Blocks, Errno> {
        use std::os::fd::AsFd;
        socket.set_version(Version::V3)?;
        socket.enable_offload_header()?;
        socket.make_block_ring(shape, RETIRE_MILLIS)?;
        Ok(Blocks {
            memory: Mapping::new(socket.as_fd(), shape.len())?,
            shift: shape.block_size.trailing_zeros(),
            outstanding: vec![0; shape.blocks].into(),
            block: 0,
            next: 0,
            left: 0,
        })
    }

    fn base(&self, block: usize) -> usize {
        block << self.shift
    }

    /// Whether there is something new in a block. One whose frames have not all been given back was read.
    fn is_handed_over(&self, block: usize) -> bool {
        if self.outstanding[block] > 0 {
            return false;
        }
        let status = self.memory.word(self.base(block) + STATUS).load(Ordering::Acquire);
        status & libc::TP_STATUS_USER != 0
    }

    /// Whether [`next`](Blocks::next) will find something.
    #[inline]
    pub(super) fn is_ready(&self) -> bool {
        self.left > 0 || self.is_handed_over(self.block)
    }

    fn give_back(&self, block: usize) {
        // After everything that was read or written there, before the kernel writes again.
        self.memory.word(self.base(block) + STATUS).store(libc::TP_STATUS_KERNEL, Ordering::Release);
    }

    fn go_on(&mut self) {
        self.block = (self.block + 1) % self.outstanding.len();
    }

    /// Starts on the next block that has been handed over and has frames. The kernel hands over an empty one
    /// when a frame comes that needs a block to itself.
    fn open(&mut self) -> bool {
        for _ in 0..self.outstanding.len() {
            if !self.is_handed_over(self.block) {
                return false;
            }
            let base = self.base(self.block);
            let count = self.memory.word(base + COUNT).load(Ordering::Relaxed);
            let first = self.memory.word(base + FIRST).load(Ordering::Relaxed) as usize;
            if count > 0 && first + HEADER <= 1 << self.shift {
                self.outstanding[self.block] = count;
                (self.left, self.next) = (count, base + first);
                return true;
            }
            self.give_back(self.block);
            self.go_on();
        }
        false
    }

    /// The next frame.
    #[inline]
    pub(super) fn next(&mut self) -> Option<Arrival> {
        if self.left == 0 && !self.open() {
            return None;
        }
        let at = self.next;
        let end = self.base(self.block) + (1 << self.shift);
        let arrival = self.read(at, end);
        self.left -= 1;
        if self.left == 0 {
            self.go_on();
            return Some(arrival);
        }
        let next = at + self.memory.word(at + NEXT).load(Ordering::Relaxed) as usize;
        if next <= at || !next.is_multiple_of(8) || next + HEADER > end {
            // Where the others of this block are can't be known.
            self.outstanding[self.block] -= self.left;
            self.left = 0;
            self.go_on();
        }
        self.next = next;
        Some(arrival)
    }

    /// Reads the header at `at` of a frame in a block that ends at `end`.
    #[inline]
    fn read(&self, at: usize, end: usize) -> Arrival {
        let word = |offset: usize| self.memory.word(at + offset).load(Ordering::Relaxed);
        let half = |offset: usize| self.memory.half(at + offset).load(Ordering::Relaxed);
        let status = word(FRAME_STATUS);
        let (start, length) = (at + usize::from(half(START)), word(STORED) as usize);
        // A frame for which the kernel finds no offload header to write (virtio_net_hdr knows TCP and UDP
        // only) is dropped when its place in the block is already taken: what stands there is of an earlier one.
        let is_written = status & libc::TP_STATUS_USER != 0;
        let header = start.wrapping_sub(offload_header::SIZE);
        if !is_written || header < at + HEADER - size_of::<sockaddr_ll>() || start + length > end {
            return Arrival::unreadable(at);
        }
        // SAFETY: inside the block, which is ours: this frame counts as outstanding and has not been handed out.
        let header = unsafe { self.memory.bytes(header, offload_header::SIZE) };
        let unfinished = match status & libc::TP_STATUS_CSUMNOTREADY {
            0 => offload_header::read(header),
            // The header should say so as well; if it does not, where the checksum is isn't known.
            _ => match offload_header::read(header) {
                Unfinished::Nothing => Unfinished::Checksum(None),
                told => told,
            },
        };
        let [packet_type, ..] = half(PACKET_TYPE).to_ne_bytes();
        Arrival {
            start,
            length,
            whole: word(LENGTH) as usize,
            tag: Tag::of(status, word(VLAN_CONTROL) as u16, half(VLAN_PROTOCOL)),
            unfinished,
            outgoing: packet_type == libc::PACKET_OUTGOING,
        }
    }

    /// The bytes of a frame that has not been handed out yet, and as many before it as a tag has: they were the
    /// end of its offload header.
    pub(super) fn open_bytes(&mut self, arrival: &Arrival) -> &mut [u8] {
        // SAFETY: inside the block, which is ours while the arrival is; nobody else has slices of it, since
        // there is one arrival only and `self` is borrowed.
        unsafe { self.memory.bytes_mut(arrival.start - Tag::SIZE, Tag::SIZE + arrival.length) }
    }

    /// The bytes of a frame.
    ///
    /// # Safety
    /// A frame that was received here and has not been given back covers them.
    #[inline]
    pub(super) unsafe fn bytes(&self, start: usize, length: usize) -> &[u8] {
        // SAFETY: the frame counts as outstanding, so its block is ours.
        unsafe { self.memory.bytes(start, length) }
    }

    /// The bytes of a frame, to be changed.
    ///
    /// # Safety
    /// A frame that was received here and has not been given back covers them, or they are of its four bytes before.
    #[inline]
    pub(super) unsafe fn bytes_mut(&mut self, start: usize, length: usize) -> &mut [u8] {
        // SAFETY: the frame counts as outstanding, so its block is ours; nobody else has slices of it, since `self` is borrowed.
        unsafe { self.memory.bytes_mut(start, length) }
    }

    /// Gives back the frame that covers `start`.
    #[inline]
    pub(super) fn release(&mut self, start: usize) {
        let block = start >> self.shift;
        self.outstanding[block] -= 1;
        if self.outstanding[block] == 0 {
            self.give_back(block);
        }
    }
}
