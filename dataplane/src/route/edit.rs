//! What is changed in a frame that a router forwards: its MACs, its tag, its time to live.

use super::checksum;
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

/// What is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u8)]
enum Kind {
    /// Nothing.
    #[default]
    Nothing,
    V4,
    V6,
}

/// What makes a frame fit for its next hop. It knows nothing of tables, and can be carried out later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Edit {
    macs: [u8; MACS],
    /// The tag's VLAN; 0 is no tag.
    vlan: u16,
    /// The frame has a tag now.
    tagged: bool,
    kind: Kind,
}

impl Edit {
    /// Leaves a frame as it is.
    pub const NOTHING: Edit = Edit { macs: [0; MACS], vlan: 0, tagged: false, kind: Kind::Nothing };

    /// For a frame of this version of IP that goes to a next hop, and has a tag now or not.
    #[inline]
    pub(crate) fn new(adjacency: &Adjacency, v6: bool, tagged: bool) -> Edit {
        let kind = if v6 { Kind::V6 } else { Kind::V4 };
        Edit { macs: adjacency.macs, vlan: adjacency.vlan, tagged, kind }
    }

    /// The MAC that the frame goes to.
    pub fn to(&self) -> super::Mac {
        let [a, b, c, d, e, f, ..] = self.macs;
        [a, b, c, d, e, f]
    }

    /// Whether there is nothing to be changed.
    #[inline]
    pub fn is_nothing(&self) -> bool {
        self.kind == Kind::Nothing
    }

    /// Changes a frame where it lies; false if there is no room for its tag, and it is as it was.
    #[inline]
    pub(crate) fn carry_out<D: Driver>(&self, driver: &mut D, frame: &mut Held) -> bool {
        match (self.tagged, self.vlan) {
            _ if self.is_nothing() => return true,
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
        match (self.tagged, self.vlan) {
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
        let [high, low] = self.vlan.to_be_bytes();
        [VLAN_TYPE[0], VLAN_TYPE[1], priority & 0xf0 | high, low]
    }

    /// The frame's tag is pushed or popped by now.
    #[inline(always)]
    fn write(&self, frame: &mut [u8]) {
        let Some(head) = frame.first_chunk_mut::<MACS>() else { return };
        *head = self.macs;
        let ip = match self.vlan {
            0 => ETHERNET,
            _ => {
                let tag = self.tag(frame[MACS + 2]);
                frame[MACS..MACS + TAG_LENGTH].copy_from_slice(&tag);
                ETHERNET + TAG_LENGTH
            }
        };
        match self.kind {
            Kind::Nothing => {}
            Kind::V4 => {
                if let Some(header) = frame.get_mut(ip..).and_then(<[u8]>::first_chunk_mut) {
                    decrement_ttl(header);
                }
            }
            Kind::V6 => {
                if let Some(limit) = frame.get_mut(ip + HOP_LIMIT) {
                    *limit = limit.saturating_sub(1);
                }
            }
        }
    }
}

/// One router less to pass (RFC 1812 §5.3.1), with the checksum brought up to it (RFC 1624).
#[inline(always)]
pub(crate) fn decrement_ttl(header: &mut [u8; 20]) {
    // Time to live, protocol, checksum: one word. Who calls has seen that the first is above 1.
    let word = u32::from_be_bytes([header[TTL], header[TTL + 1], header[CHECKSUM], header[CHECKSUM + 1]]);
    let front = (word >> 16).saturating_sub(0x0100) << 16;
    let now = front | u32::from(checksum::after_decrement(word as u16));
    header[TTL..CHECKSUM + 2].copy_from_slice(&now.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::sample::{IPV4, IPV6, MACS as SAMPLE_MACS, TCP, bytes};
    use crate::policy::PortId;
    use crate::port::memory::Ring;
    use crate::port::{Burst, MemoryDriver};

    const A: PortId = PortId(0);

    fn edit(vlan: u16, v6: bool, tagged: bool) -> Edit {
        let macs = [2, 9, 9, 9, 9, 9, 2, 8, 8, 8, 8, 8];
        Edit { macs, vlan, tagged, kind: if v6 { Kind::V6 } else { Kind::V4 } }
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
