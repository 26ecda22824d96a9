//! The links that frames come over: Ethernet, and what captures hold in its place.

use pnet::packet::sll::SLLPacket;
use pnet::packet::sll2::SLL2Packet;

use super::ethernet;
use super::{Depth, Descent, Frame, Version};

/// The pseudo header of LINKTYPE_LINUX_SLL. What pnet calls its least size lacks the address, which pnet's own
/// accessors then look behind.
const COOKED_SIZE: usize = 16;
/// The same of LINKTYPE_LINUX_SLL2.
const COOKED2_SIZE: usize = 20;

/// How the bytes of a frame begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Link {
    /// Ethernet without its frame check sequence (IEEE 802.3).
    #[default]
    Ethernet,
    /// An IP packet and nothing else; the version is in its first nibble.
    Raw,
    /// An IPv4 packet and nothing else.
    Ipv4,
    /// An IPv6 packet and nothing else.
    Ipv6,
    /// Linux cooked capture, version 1: a 16-byte pseudo header.
    Cooked,
    /// Linux cooked capture, version 2: a 20-byte pseudo header.
    Cooked2,
    /// BSD loopback: the protocol family in four bytes, of either byte order.
    Loopback,
}

pub(super) fn parse(link: Link, frame: &[u8], depth: Depth) -> Frame {
    let mut descent = Descent {
        frame,
        at: 0,
        end: frame.len(),
        tags: 0,
        pppoe: None,
        mpls: false,
        group: false,
        depth,
    };
    match link {
        Link::Ethernet => ethernet::parse(&mut descent),
        Link::Raw => match descent.version_by_nibble() {
            Some(version) => descent.ip(version),
            None => Frame::NotIp,
        },
        Link::Ipv4 => descent.ip(Version::V4),
        Link::Ipv6 => descent.ip(Version::V6),
        Link::Cooked => {
            let header = frame.first_chunk::<COOKED_SIZE>().and_then(|header| SLLPacket::new(header));
            let Some(header) = header else { return Frame::NotIp };
            descent.group = is_group(header.get_packet_type());
            let protocol = header.get_protocol();
            descent.at = COOKED_SIZE;
            ethernet::after_type(&mut descent, protocol)
        }
        Link::Cooked2 => {
            let header = frame.first_chunk::<COOKED2_SIZE>().and_then(|header| SLL2Packet::new(header));
            let Some(header) = header else { return Frame::NotIp };
            descent.group = is_group(u16::from(header.get_packet_type()));
            let protocol = header.get_protocol_type();
            descent.at = COOKED2_SIZE;
            ethernet::after_type(&mut descent, protocol)
        }
        Link::Loopback => {
            let Some(family) = frame.first_chunk::<4>() else { return Frame::NotIp };
            descent.at = 4;
            match loopback_family(*family) {
                Some(version) => descent.ip(version),
                None => Frame::NotIp,
            }
        }
    }
}

/// LINUX_SLL packet types 1 (broadcast) and 2 (multicast).
fn is_group(packet_type: u16) -> bool {
    matches!(packet_type, 1 | 2)
}

/// AF_INET is 2 everywhere; AF_INET6 is 10 on Linux, 24 on NetBSD and OpenBSD, 28 on FreeBSD, 30 on macOS.
/// DLT_NULL writes it in the capturing host's byte order, DLT_LOOP in the network's.
fn loopback_family(bytes: [u8; 4]) -> Option<Version> {
    let number = u32::from_be_bytes(bytes);
    match number.min(number.swap_bytes()) {
        2 => Some(Version::V4),
        10 | 24 | 28 | 30 => Some(Version::V6),
        _ => None,
    }
}
