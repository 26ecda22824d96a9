//! What is changed in a frame that a router forwards: its MACs, its tag, its time to live.

use super::snapshot::Adjacency;
use crate::port::{Driver, Held, TAG_LENGTH};

/// An Ethernet header without a tag, and where its tag would stand.
const ETHERNET: usize = 14;
const MACS: usize = 12;
const VLAN_TYPE: [u8; 2] = [0x81, 0x00];
/// In IPv4's header.
const TTL: usize = 8;
const CHECKSUM: usize = 10;
/// In IPv6's header.
const HOP_LIMIT: usize = 7;

/// As much of a frame without a tag as is changed, for either version of IP.
const V4_HEAD: usize = ETHERNET + CHECKSUM + 2;
const V6_HEAD: usize = ETHERNET + HOP_LIMIT + 1;

/// What makes a frame fit for its next hop. It knows nothing of tables, and can be carried out later.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Edit {
    macs: [u8; MACS],
    shape: Shape,
}

/// The VLAN of the tag that the frame is to have, 0 for none; whether it has a tag now; the version of its IP. One word,
/// so that one comparison tells the usual case.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Shape(u32);

impl Shape {
    const NOTHING: Shape = Shape(0);
    const TAGGED: u32 = 1 << 16;
    const V4: u32 = 1 << 24;
    const V6: u32 = 2 << 24;
    /// From no tag to no tag.
    const PLAIN_V4: Shape = Shape(Shape::V4);
    const PLAIN_V6: Shape = Shape(Shape::V6);

    #[inline(always)]
    fn new(vlan: u16, v6: bool, tagged: bool) -> Shape {
        let version = if v6 { Shape::V6 } else { Shape::V4 };
        Shape(version | if tagged { Shape::TAGGED } else { 0 } | u32::from(vlan))
    }

    fn vlan(self) -> u16 {
        self.0 as u16
    }

    fn is_tagged(self) -> bool {
        self.0 & Shape::TAGGED != 0
    }

    fn is_v6(self) -> bool {
        self.0 & Shape::V6 != 0
    }
}

impl std::fmt::Debug for Edit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.is_nothing() {
            return f.write_str("Edit::NOTHING");
        }
        let Edit { macs, shape } = self;
        let mut all = f.debug_struct("Edit");
        all.field("macs", macs).field("vlan", &shape.vlan());
        all.field("tagged", &shape.is_tagged()).field("v6", &shape.is_v6()).finish()
    }
}

impl Edit {
    /// Leaves a frame as it is.
    pub const NOTHING: Edit = Edit { macs: [0; MACS], shape: Shape::NOTHING };

    /// For a frame of this version of IP that goes to a next hop, and has a tag now or not.
    #[inline(always)]
    pub(crate) fn new(adjacency: &Adjacency, v6: bool, tagged: bool) -> Edit {
        Edit { macs: adjacency.macs, shape: Shape::new(adjacency.vlan, v6, tagged) }
    }

    /// The MAC that the frame goes to.
    pub fn to(&self) -> super::Mac {
        let [a, b, c, d, e, f, ..] = self.macs;
        [a, b, c, d, e, f]
    }

    /// Whether there is nothing to be changed.
    #[inline]
    pub fn is_nothing(&self) -> bool {
        self.shape == Shape::NOTHING
    }

    /// Changes a frame where it lies; false if there is no room for its tag, and it is as it was.
    #[inline(always)]
    pub(crate) fn carry_out<D: Driver>(&self, driver: &mut D, frame: &mut Held) -> bool {
        match self.shape {
            Shape::PLAIN_V4 => {
                if let Some(head) = driver.bytes_mut(frame).first_chunk_mut::<V4_HEAD>() {
                    self.plain_v4(head);
                }
                true
            }
            Shape::PLAIN_V6 => {
                if let Some(head) = driver.bytes_mut(frame).first_chunk_mut::<V6_HEAD>() {
                    self.plain_v6(head);
                }
                true
            }
            Shape::NOTHING => true,
            _ => self.carry_out_with_tag(driver, frame),
        }
    }

    /// The same where there is a tag before or after.
    fn carry_out_with_tag<D: Driver>(&self, driver: &mut D, frame: &mut Held) -> bool {
        match (self.shape.is_tagged(), self.shape.vlan()) {
            (false, 0) | (true, 1..) => {}
            (true, 0) => driver.pop_tag(frame),
            (false, _) => {
                if !driver.push_tag(frame, self.tag(0)) {
                    return false;
                }
            }
        }
        self.write(driver.bytes_mut(frame));
        true
    }

    /// Changes a frame of its own.
    pub fn carry_out_on(&self, frame: &mut Vec<u8>) {
        match (self.shape.is_tagged(), self.shape.vlan()) {
            _ if self.is_nothing() => return,
            (false, 0) | (true, 1..) => {}
            (true, 0) => {
                frame.drain(MACS..MACS + TAG_LENGTH);
            }
            (false, _) => {
                frame.splice(MACS..MACS, self.tag(0));
            }
        }
        self.write(frame);
    }

    /// The tag, with the priority of the one that there was (IEEE 802.1Q §9.6).
    fn tag(&self, priority: u8) -> [u8; TAG_LENGTH] {
        let [high, low] = self.shape.vlan().to_be_bytes();
        [VLAN_TYPE[0], VLAN_TYPE[1], priority & 0xf0 | high, low]
    }

    #[inline(always)]
    fn plain_v4(&self, head: &mut [u8; V4_HEAD]) {
        head[..MACS].copy_from_slice(&self.macs);
        if let Some(word) = head.last_chunk_mut() {
            decrement_ttl(word);
        }
    }

    #[inline(always)]
    fn plain_v6(&self, head: &mut [u8; V6_HEAD]) {
        head[..MACS].copy_from_slice(&self.macs);
        decrement_hop_limit(&mut head[ETHERNET + HOP_LIMIT]);
    }

    /// The frame's tag is pushed or popped by now.
    #[inline]
    fn write(&self, frame: &mut [u8]) {
        let Some(head) = frame.first_chunk_mut::<MACS>() else { return };
        *head = self.macs;
        let ip = match self.shape.vlan() {
            0 => ETHERNET,
            _ => {
                let tag = self.tag(frame[MACS + 2]);
                frame[MACS..MACS + TAG_LENGTH].copy_from_slice(&tag);
                ETHERNET + TAG_LENGTH
            }
        };
        let packet = frame.get_mut(ip..).unwrap_or_default();
        match self.shape.is_v6() {
            false => {
                if let Some(word) = packet.get_mut(TTL..).and_then(<[u8]>::first_chunk_mut) {
                    decrement_ttl(word);
                }
            }
            true => {
                if let Some(limit) = packet.get_mut(HOP_LIMIT) {
                    decrement_hop_limit(limit);
                }
            }
        }
    }
}

/// One router less to pass (RFC 1812 §5.3.1), with the checksum brought up to it (RFC 1624): time to live, protocol and
/// checksum, one word as it lies in the frame. Who calls has seen that the first is above 1.
///
/// What the checksum's sum gets is always the same, 0x0100: 1 in the order of bytes of a little-endian word, to which a
/// ones' complement sum does not matter (RFC 1071 §2 (B)). A carry, or a sum of 0xffff, goes round: 1 more. The checksum is
/// the word's upper half, so that the carry itself falls off its end.
#[inline(always)]
pub(crate) fn decrement_ttl(word: &mut [u8; CHECKSUM + 2 - TTL]) {
    const ONE: u32 = 1 << 16;
    let before = u32::from_le_bytes(*word);
    let round = if before >= 0xfffe_0000 { ONE } else { 0 };
    *word = before.wrapping_add(ONE - 1).wrapping_add(round).to_le_bytes();
}

/// The same for IPv6 (RFC 8200 §3), which has no checksum.
#[inline(always)]
fn decrement_hop_limit(limit: &mut u8) {
    *limit = limit.wrapping_sub(1);
}

#[cfg(test)]
mod tests {
    use super::super::checksum;
    use super::*;
    use crate::frame::sample::{IPV4, IPV6, MACS as SAMPLE_MACS, TCP, bytes};
    use crate::policy::PortId;
    use crate::port::memory::Ring;
    use crate::port::{Burst, MemoryDriver};

    const A: PortId = PortId(0);

    fn edit(vlan: u16, v6: bool, tagged: bool) -> Edit {
        let macs = [2, 9, 9, 9, 9, 9, 2, 8, 8, 8, 8, 8];
        Edit { macs, shape: Shape::new(vlan, v6, tagged) }
    }

    #[test]
    fn a_decrement_keeps_every_checksum_right_as_rfc_1624_says() {
        for checksum in 0..0xffffu16 {
            for (ttl, protocol) in [(2, 6), (64, 17), (255, 0), (255, 255)] {
                let [high, low] = checksum.to_be_bytes();
                let mut word = [ttl, protocol, high, low];
                decrement_ttl(&mut word);
                let before = u16::from_be_bytes([ttl, protocol]);
                let now = u16::from_be_bytes([ttl - 1, protocol]);
                let [high, low] = checksum::after(checksum, before, now).to_be_bytes();
                assert_eq!(word, [ttl - 1, protocol, high, low], "{checksum:04x}");
            }
        }
    }

    /// The same change by a driver and on bytes must come to the same frame.
    fn changed(edit: &Edit, frame: &[u8]) -> Vec<u8> {
        let mut on_bytes = frame.to_vec();
        edit.carry_out_on(&mut on_bytes);
        let mut driver = MemoryDriver::new(1, 1, 128, Ring::Once);
        assert!(driver.load(A, frame));
        let mut burst = Burst::new(1);
        driver.receive(A, &mut burst).unwrap();
        let mut held = burst.frames.pop().unwrap();
        assert!(edit.carry_out(&mut driver, &mut held));
        assert_eq!(driver.bytes(&held), on_bytes);
        assert!(driver.transmit(A, held));
        assert_eq!(driver.take(A).as_deref(), Some(&on_bytes[..]));
        on_bytes
    }

    #[test]
    fn macs_tag_and_time_to_live_change_and_nothing_else_does() {
        // TTL 64 becomes 63, and the checksum, worked out by hand, 0x0100 more.
        let header = "45000028 12344000 4006c249 cb007105 c6336419";
        let header_after = "45000028 12344000 3f06c349 cb007105 c6336419";
        let new = "020909090909 020808080808";
        for (tag_in, vlan, tag_out) in
            [("", 0, ""), ("8100 6064", 0, ""), ("", 100, "8100 0064"), ("8100 6064", 7, "8100 6007")]
        {
            let frame = bytes(&[SAMPLE_MACS, tag_in, "0800", header, TCP]);
            let expected = bytes(&[new, tag_out, "0800", header_after, TCP]);
            assert_eq!(
                changed(&edit(vlan, false, !tag_in.is_empty()), &frame),
                expected,
                "{tag_in} to {vlan}"
            );
            let frame = bytes(&[SAMPLE_MACS, tag_in, "86dd", IPV6, TCP]);
            let after = IPV6.replace("00140640", "0014063f");
            let expected = bytes(&[new, tag_out, "86dd", &after, TCP]);
            assert_eq!(changed(&edit(vlan, true, !tag_in.is_empty()), &frame), expected);
        }
        let frame = bytes(&[SAMPLE_MACS, "0800", IPV4, TCP]);
        assert_eq!(changed(&Edit::NOTHING, &frame), frame);
    }

    #[test]
    fn a_frame_without_room_for_a_tag_stays_as_it_is() {
        let frame = bytes(&[SAMPLE_MACS, "0800", IPV4, TCP]);
        let mut driver = MemoryDriver::new(1, 1, frame.len(), Ring::Once);
        assert!(driver.load(A, &frame));
        let mut burst = Burst::new(1);
        driver.receive(A, &mut burst).unwrap();
        let mut held = burst.frames.pop().unwrap();
        assert!(!edit(100, false, false).carry_out(&mut driver, &mut held));
        assert_eq!(driver.bytes(&held), frame);
        driver.release(held);
    }
}
