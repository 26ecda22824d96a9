//! The sending side of a port: a socket that only sends, and its ring of slots.
//!
//! A transmit ring knows three states of a slot: free, to be sent, being sent. We fill free slots in turn; the
//! kernel takes slots that are to be sent in turn, but only inside the system call that tells it to, so when
//! that returns, a slot is either the kernel's (being sent, until the frame's memory is free) or ours. That is
//! the account which the `unsafe` blocks of this file rest on, and why slots that are still to be sent can be
//! taken back.
//!
//! # One copy, and what it is worth
//!
//! Plain TPACKET sends the pages of the ring: the kernel copies fourteen bytes and refers to the rest. A device
//! that hands frames to another part of this host (veth, tap) must copy such a frame once more into memory
//! of its own before it may let go. An offload header (PACKET_VNET_HDR) names how many bytes the kernel shall
//! copy itself; told to copy all of them it makes a frame that is simply its own. Over veth that is worth a
//! third more throughput, for frames of 60 as of 1,500 bytes, and the slot is free when the call returns.
//! TPACKET_V2 or V3 makes no difference here, nor does the queueing discipline, which is bypassed.
//!
//! With an offload header the kernel does not hold frames against the MTU; [`driver`](super::driver) does.
//!
//! # Frames that the device refuses
//!
//! A device refuses a frame when its own ring is full, which passes, or because of the frame (veth: the other
//! end's MTU is smaller), which does not; the answer is the same, ENOBUFS, and the frame stays where it is. It
//! is offered again for [`PATIENCE`] and then made invalid, which makes the kernel skip it (PACKET_LOSS).

#![allow(unsafe_code)]

use std::mem::offset_of;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use libc::{sockaddr_ll, tpacket2_hdr};

use super::arrival::offload_header;
use super::mapping::Mapping;
use super::socket::{RingShape, Socket, Version};
use super::system::Errno;
use crate::port::Lost;

const STATUS: usize = offset_of!(tpacket2_hdr, tp_status);
const LENGTH: usize = offset_of!(tpacket2_hdr, tp_len);
/// Where the kernel looks for what is sent, if not told otherwise.
const DATA: usize = libc::TPACKET2_HDRLEN - size_of::<sockaddr_ll>();
const FRAME: usize = DATA + offload_header::SIZE;

/// Frames up to this length are copied by the kernel into memory of their own. Longer ones would need more than
/// a page in a row; of them it copies the first [`HEADERS`] bytes and refers to the rest.
const COPIED: usize = 3500;
const HEADERS: usize = 256;

/// Slots lie in blocks of this size at least.
const LEAST_BLOCK: usize = 65_536;

/// How long a frame that the device refuses is offered again.
const PATIENCE: Duration = Duration::from_micros(100);

/// What became of the frames that were queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flushed {
    /// All of them are with the device.
    All,
    /// Some are to be tried again.
    Later,
    /// The device has refused one for too long.
    Refused,
    /// There is no device, or it is switched off.
    Down,
}

/// The sending side of a port.
pub(super) struct Outlet {
    memory: Mapping,
    socket: Socket,
    /// A slot's size as a power of two.
    shift: u32,
    slots: usize,
    /// The slot that is filled next.
    next: usize,
    /// Slots before it that are to be sent.
    queued: usize,
    /// Since when the device refuses the first of them.
    refused: Option<Instant>,
    /// The first of them has been given up, and is still to be skipped by the kernel.
    is_given_up: bool,
}

impl Outlet {
    /// What a ring of `bytes` looks like for frames of `longest` bytes.
    pub(super) fn shape(bytes: usize, longest: usize) -> RingShape {
        let slot_size = (FRAME + longest).next_power_of_two();
        let block_size = slot_size.max(LEAST_BLOCK);
        RingShape { block_size, blocks: bytes / block_size, slot_size }
    }

    /// Bytes of the least piece of a ring for frames of `longest` bytes.
    pub(super) fn least(longest: usize) -> usize {
        Outlet::shape(0, longest).block_size
    }

    /// Gives `socket` a ring of `bytes` for frames of `longest` bytes.
    pub(super) fn new(socket: Socket, bytes: usize, longest: usize) -> Result<Outlet, Errno> {
        use std::os::fd::AsFd;
        let shape = Outlet::shape(bytes, longest);
        socket.set_version(Version::V2)?;
        socket.enable_offload_header()?;
        socket.bypass_queueing()?;
        socket.skip_bad_frames()?;
        socket.set_send_buffer(shape.len())?;
        socket.make_transmit_ring(shape)?;
        Ok(Outlet {
            memory: Mapping::new(socket.as_fd(), shape.len())?,
            socket,
            shift: shape.slot_size.trailing_zeros(),
            slots: shape.len() / shape.slot_size,
            next: 0,
            queued: 0,
            refused: None,
            is_given_up: false,
        })
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// The longest frame that has room in a slot.
    pub(super) fn room(&self) -> usize {
        (1 << self.shift) - FRAME
    }

    /// Frames that are to be sent.
    #[inline]
    pub(super) fn queued(&self) -> usize {
        self.queued
    }

    fn status(&self, slot: usize) -> &std::sync::atomic::AtomicU32 {
        self.memory.word((slot << self.shift) + STATUS)
    }

    /// The first slot that is to be sent.
    fn first(&self) -> usize {
        (self.next + self.slots - self.queued) % self.slots
    }

    /// Queues a frame of up to [`room`](Outlet::room) bytes; false if all slots are in use.
    #[inline]
    pub(super) fn put(&mut self, frame: &[u8]) -> bool {
        debug_assert!(frame.len() <= self.room(), "a frame of {} bytes", frame.len());
        let slot = self.next << self.shift;
        let is_free = self.status(self.next).load(Ordering::Acquire) == libc::TP_STATUS_AVAILABLE;
        if !is_free || frame.len() > self.room() {
            return false;
        }
        let copied = if frame.len() <= COPIED { frame.len() } else { HEADERS };
        // SAFETY: inside the slot, which is free and so ours.
        let bytes = unsafe { self.memory.bytes_mut(slot + DATA, offload_header::SIZE + frame.len()) };
        let (header, bytes) = bytes.split_at_mut(offload_header::SIZE);
        header.fill(0);
        header[offload_header::LENGTH..offload_header::LENGTH + 2]
            .copy_from_slice(&(copied as u16).to_ne_bytes());
        bytes.copy_from_slice(frame);
        let length = (offload_header::SIZE + frame.len()) as u32;
        self.memory.word(slot + LENGTH).store(length, Ordering::Relaxed);
        // After all of the above: the kernel reads the slot once it says so.
        self.status(self.next).store(libc::TP_STATUS_SEND_REQUEST, Ordering::Release);
        self.next = (self.next + 1) % self.slots;
        self.queued += 1;
        true
    }

    /// Has the device send what is queued.
    #[inline]
    pub(super) fn flush(&mut self) -> Flushed {
        if self.queued == 0 {
            return Flushed::All;
        }
        let sent = self.socket.send_queued();
        let last = (self.next + self.slots - 1) % self.slots;
        if self.status(last).load(Ordering::Acquire) != libc::TP_STATUS_SEND_REQUEST {
            // They are taken in turn: with the last, all are.
            (self.queued, self.refused, self.is_given_up) = (0, None, false);
            return Flushed::All;
        }
        self.remains(sent)
    }

    #[cold]
    fn remains(&mut self, sent: Result<(), Errno>) -> Flushed {
        let before = self.queued;
        while self.queued > 0
            && self.status(self.first()).load(Ordering::Acquire) != libc::TP_STATUS_SEND_REQUEST
        {
            self.queued -= 1;
            self.is_given_up = false;
        }
        match sent {
            Err(Errno(libc::ENETDOWN | libc::ENXIO | libc::ENODEV)) => Flushed::Down,
            // The socket's buffer is full, or a signal came: it goes on by itself.
            Ok(()) | Err(Errno(libc::EAGAIN | libc::EINTR)) => {
                self.refused = None;
                Flushed::Later
            }
            Err(_) => match self.refused {
                Some(since) if self.queued == before => match since.elapsed() > PATIENCE {
                    true => Flushed::Refused,
                    false => Flushed::Later,
                },
                _ => {
                    self.refused = Some(Instant::now());
                    Flushed::Later
                }
            },
        }
    }

    /// The length of the frame in a slot that is to be sent.
    fn length(&self, slot: usize) -> usize {
        let length = self.memory.word((slot << self.shift) + LENGTH).load(Ordering::Relaxed);
        (length as usize).saturating_sub(offload_header::SIZE)
    }

    /// Makes the first frame that is to be sent one that the kernel skips. None is lost if it is one already.
    pub(super) fn give_up_first(&mut self) -> Lost {
        if self.queued == 0 || self.is_given_up {
            return Lost::default();
        }
        self.is_given_up = true;
        let at = (self.first() << self.shift) + DATA + offload_header::LENGTH;
        // SAFETY: inside a slot that is to be sent, which the kernel looks at only inside `send_queued`; that
        // needs this borrow of `self`. More bytes than the frame has are to be copied: it can't be sent.
        unsafe { self.memory.bytes_mut(at, 2) }.fill(0xff);
        self.refused = None;
        Lost { frames: 1, bytes: self.length(self.first()) }
    }

    /// Takes back all frames that are to be sent, and says what these were, but for one that was given up.
    pub(super) fn take_back(&mut self) -> Lost {
        let first = self.first();
        let mut lost = Lost::default();
        for n in 0..self.queued {
            let slot = (first + n) % self.slots;
            if n > 0 || !self.is_given_up {
                lost.frames += 1;
                lost.bytes += self.length(slot);
            }
            // The kernel changes a slot that is to be sent only inside `send_queued`.
            self.status(slot).store(libc::TP_STATUS_AVAILABLE, Ordering::Release);
        }
        // The kernel waits at the first of them.
        self.next = first;
        (self.queued, self.refused, self.is_given_up) = (0, None, false);
        lost
    }
}
