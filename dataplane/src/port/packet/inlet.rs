//! The receiving side of a port: its socket, its ring, and what is done to a frame before it is handed out.

#![allow(unsafe_code)]

use super::arrival::{Arrival, Tag, Unfinished};
use super::blocks::Blocks;
use super::settings::Receive;
use super::slots::Slots;
use super::socket::Socket;
use super::system::Errno;
use super::watch::Cells;
use crate::port::{Burst, Held};

/// Two MAC addresses: a tag stands behind them.
const ADDRESSES: usize = 12;
/// The header of Ethernet without a tag (IEEE 802.3 §3.1.1).
const ETHERNET: usize = 14;
/// EtherTypes of tags.
const TAGS: [[u8; 2]; 3] = [[0x81, 0x00], [0x88, 0xa8], [0x91, 0x00]];

enum Ring {
    Blocks(Blocks),
    Slots(Slots),
}

/// Calls the same method of whichever ring it is.
macro_rules! each {
    ($ring:expr, $name:ident => $call:expr) => {
        match $ring {
            Ring::Blocks($name) => $call,
            Ring::Slots($name) => $call,
        }
    };
}

/// The receiving side of a port.
pub(super) struct Inlet {
    ring: Ring,
    socket: Socket,
    /// What the places of its frames begin with.
    tag: u32,
    /// Frames that have been handed out and not given back.
    held: usize,
}

impl Inlet {
    /// Gives `socket` a ring of `bytes` for frames of `longest` bytes.
    pub(super) fn new(
        socket: Socket,
        receive: Receive,
        bytes: usize,
        longest: usize,
    ) -> Result<Inlet, Errno> {
        let ring = match receive {
            Receive::Blocks => Ring::Blocks(Blocks::new(&socket, Blocks::shape(bytes, longest))?),
            Receive::Slots => Ring::Slots(Slots::new(&socket, Slots::shape(bytes, longest))?),
        };
        Ok(Inlet { ring, socket, tag: 0, held: 0 })
    }

    /// Bytes of the least piece of a ring for frames of `longest` bytes.
    pub(super) fn least(receive: Receive, longest: usize) -> usize {
        match receive {
            Receive::Blocks => Blocks::shape(0, longest).block_size,
            Receive::Slots => Slots::shape(0, longest).block_size,
        }
    }

    /// What the places of its frames begin with from now on.
    pub(super) fn set_tag(&mut self, tag: u32) {
        self.tag = tag;
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Frames that have been handed out and not given back.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Whether [`receive`](Inlet::receive) will find something.
    #[inline]
    pub(super) fn is_ready(&self) -> bool {
        each!(&self.ring, ring => ring.is_ready())
    }

    /// Hands out what has come, and gives back at once what can't be forwarded.
    #[inline]
    pub(super) fn receive(&mut self, burst: &mut Burst, cells: &Cells) {
        for _ in burst.frames.len()..burst.limit {
            let Some(arrival) = each!(&mut self.ring, ring => ring.next()) else { break };
            match self.admit(&arrival, cells) {
                Some((start, length)) => {
                    self.held += 1;
                    // In units of two bytes; see `admit`.
                    let place = self.tag | (start >> 1) as u32;
                    burst.frames.push(Held { place, length: length as u32 });
                }
                None => each!(&mut self.ring, ring => ring.release(arrival.start)),
            }
        }
    }

    /// Makes a frame what it was on the wire: where it starts and how long it is; none if that can't be.
    #[inline]
    fn admit(&mut self, arrival: &Arrival, cells: &Cells) -> Option<(usize, usize)> {
        let is_plain = arrival.unfinished == Unfinished::Nothing && arrival.tag.is_none();
        if is_plain && is_sound(arrival) && !arrival.outgoing {
            return Some((arrival.start, arrival.length));
        }
        self.finish(arrival, cells)
    }

    fn finish(&mut self, arrival: &Arrival, cells: &Cells) -> Option<(usize, usize)> {
        if arrival.outgoing {
            return None;
        }
        if arrival.unfinished == Unfinished::Merged {
            cells.merged.add(1);
            return None;
        }
        if arrival.length < arrival.whole {
            cells.truncated.add(1);
            return None;
        }
        if !is_sound(arrival) {
            cells.unreadable.add(1);
            return None;
        }
        let bytes = each!(&mut self.ring, ring => ring.open_bytes(arrival));
        if let Unfinished::Checksum(incomplete) = arrival.unfinished {
            // Counted from the frame's start as the ring has it, before a tag is put in.
            if !incomplete.is_some_and(|incomplete| incomplete.complete(&mut bytes[Tag::SIZE..])) {
                cells.checksum_incomplete.add(1);
                return None;
            }
            cells.checksum_completed.add(1);
        }
        let Some(Tag { protocol, control }) = arrival.tag else {
            return Some((arrival.start, arrival.length));
        };
        bytes.copy_within(Tag::SIZE..Tag::SIZE + ADDRESSES, 0);
        let [protocol, control] = [protocol, control].map(u16::to_be_bytes);
        bytes[ADDRESSES..ADDRESSES + 2].copy_from_slice(&protocol);
        bytes[ADDRESSES + 2..ADDRESSES + Tag::SIZE].copy_from_slice(&control);
        Some((arrival.start - Tag::SIZE, arrival.length + Tag::SIZE))
    }

    /// Where a frame starts in the ring.
    #[inline]
    fn start(&self, frame: &Held) -> usize {
        ((frame.place ^ self.tag) as usize) << 1
    }

    /// The bytes of a frame that was received here.
    #[inline]
    pub(super) fn bytes(&self, frame: &Held) -> &[u8] {
        let start = self.start(frame);
        // SAFETY: the frame was received here, and as long as it is borrowed it has not been given back; there
        // is no second of it, since a `Held` can't be copied.
        unsafe { each!(&self.ring, ring => ring.bytes(start, frame.len())) }
    }

    /// The bytes of a frame that was received here, to be changed.
    #[inline]
    pub(super) fn bytes_mut(&mut self, frame: &Held) -> &mut [u8] {
        let start = self.start(frame);
        // SAFETY: as for `bytes`, and nobody else has slices of it, since `self` is borrowed.
        unsafe { each!(&mut self.ring, ring => ring.bytes_mut(start, frame.len())) }
    }

    /// Puts a tag behind the MACs of a frame, where a ring leaves room for one: in front of a frame that came without.
    pub(super) fn push_tag(&mut self, frame: &mut Held, tag: [u8; Tag::SIZE]) -> bool {
        let bytes = self.bytes_mut(frame);
        let kind = [bytes[ADDRESSES], bytes[ADDRESSES + 1]];
        if TAGS.contains(&kind) {
            return false;
        }
        let grown =
            Held { place: frame.place - (Tag::SIZE >> 1) as u32, length: frame.length + Tag::SIZE as u32 };
        // The room is there: `open_bytes` of both rings has it before each frame as it came, and a frame that begins
        // there has a tag by now, or came with one, and is refused above.
        let bytes = self.bytes_mut(&grown);
        bytes.copy_within(Tag::SIZE..Tag::SIZE + ADDRESSES, 0);
        bytes[ADDRESSES..ADDRESSES + Tag::SIZE].copy_from_slice(&tag);
        *frame = grown;
        true
    }

    /// Takes the four bytes behind the MACs out of a frame.
    pub(super) fn pop_tag(&mut self, frame: &mut Held) {
        self.bytes_mut(frame).copy_within(..ADDRESSES, Tag::SIZE);
        frame.place += (Tag::SIZE >> 1) as u32;
        frame.length -= Tag::SIZE as u32;
    }

    /// Gives a frame back that was received here.
    #[inline]
    pub(super) fn release(&mut self, frame: &Held) {
        self.held -= 1;
        let start = self.start(frame);
        each!(&mut self.ring, ring => ring.release(start));
    }
}

/// A network header stands at a multiple of sixteen, or of two with an offload header before the frame, and an
/// Ethernet header is fourteen bytes; so frames start at even places, as do those with a tag restored.
#[inline]
fn is_sound(arrival: &Arrival) -> bool {
    arrival.length == arrival.whole && arrival.length >= ETHERNET && arrival.start.is_multiple_of(2)
}
