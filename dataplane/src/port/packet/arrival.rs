//! A frame as a receive ring hands it over, before it is judged fit to be forwarded.

use super::checksum::Incomplete;

/// The kernel's header for what a device would still have to do, one of which stands right before each frame
/// (`virtio_net_hdr`, linux/virtio_net.h, in the machine's byte order).
pub(super) mod offload_header {
    pub(in super::super) const SIZE: usize = 10;
    pub(in super::super) const LENGTH: usize = 2;
    const FLAGS: usize = 0;
    const SEGMENTS: usize = 1;
    const CHECKSUM_START: usize = 6;
    const CHECKSUM_OFFSET: usize = 8;
    const NEEDS_CHECKSUM: u8 = 1;

    use super::Unfinished;
    use crate::port::packet::checksum::Incomplete;

    /// What it says of its frame.
    pub(in super::super) fn read(header: &[u8]) -> Unfinished {
        let half = |at: usize| usize::from(u16::from_ne_bytes([header[at], header[at + 1]]));
        if header[SEGMENTS] != 0 {
            return Unfinished::Merged;
        }
        match header[FLAGS] & NEEDS_CHECKSUM {
            0 => Unfinished::Nothing,
            _ => Unfinished::Checksum(Some(Incomplete {
                start: half(CHECKSUM_START),
                offset: half(CHECKSUM_OFFSET),
            })),
        }
    }
}

/// What would still have to be done to a frame before it could go over a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfinished {
    /// It is as it came.
    Nothing,
    /// Its checksum; none: the ring does not say where.
    Checksum(Option<Incomplete>),
    /// It is several in one.
    Merged,
}

/// A VLAN tag that the kernel took out of the frame (IEEE 802.1Q §9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) protocol: u16,
    pub(super) control: u16,
}

impl Tag {
    pub(super) const SIZE: usize = 4;

    /// From the fields of a ring's header.
    #[inline]
    pub(super) fn of(status: u32, control: u16, protocol: u16) -> Option<Tag> {
        if status & libc::TP_STATUS_VLAN_VALID == 0 {
            return None;
        }
        let named = status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
        Some(Tag { protocol: if named { protocol } else { 0x8100 }, control })
    }
}

/// A frame that the kernel handed over. It belongs to whoever has this, who gives it back to its ring.
#[derive(Debug)]
#[must_use = "a frame that is not given back keeps its place in the ring for ever"]
pub(super) struct Arrival {
    /// Where it starts in the ring.
    pub(super) start: usize,
    /// How much of it is in the ring; nothing, if what the ring says of it can't be right.
    pub(super) length: usize,
    /// How long it was.
    pub(super) whole: usize,
    pub(super) tag: Option<Tag>,
    pub(super) unfinished: Unfinished,
    /// Sent from this host.
    pub(super) outgoing: bool,
}

impl Arrival {
    /// Stands for an entry of the ring that does not make sense.
    pub(super) fn unreadable(start: usize) -> Arrival {
        Arrival { start, length: 0, whole: 0, tag: None, unfinished: Unfinished::Nothing, outgoing: false }
    }
}
