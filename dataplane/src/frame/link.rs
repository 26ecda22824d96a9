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
    let mut descent =
        Descent { frame, at: 0, end: frame.len(), tags: 0, pppoe: None, mpls: false, group: false, depth };
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

#[cfg(test)]
mod tests {
    use super::super::Headers;
    use super::super::sample::{self, IPV4, IPV6, TCP, bytes};
    use super::*;

    fn parse(link: Link, parts: &[&str]) -> Frame {
        super::parse(link, &bytes(parts), Depth::default())
    }

    #[track_caller]
    fn headers(link: Link, parts: &[&str]) -> Headers {
        sample::headers(parse(link, parts))
    }

    /// Type of packet, hardware, length of address, address.
    const COOKED: &str = "0000 0001 0006 020000000002 0000";
    /// Reserved, interface, hardware, type of packet, length of address, address.
    const COOKED2: &str = "0000 00000003 0001 00 06 020000000002 0000";

    #[test]
    fn cooked_headers_name_the_protocol() {
        for (kind, packet) in [("0800", IPV4), ("86dd", IPV6)] {
            assert_eq!(headers(Link::Cooked, &[COOKED, kind, packet, TCP]).encapsulation.ip, 16);
            assert_eq!(headers(Link::Cooked2, &[kind, COOKED2, packet, TCP]).encapsulation.ip, 20);
        }
        for kind in ["0806", "0004", "000c"] {
            assert_eq!(parse(Link::Cooked, &[COOKED, kind, IPV4, TCP]), Frame::NotIp);
            assert_eq!(parse(Link::Cooked2, &[kind, COOKED2, IPV4, TCP]), Frame::NotIp);
        }
    }

    #[test]
    fn tags_and_sessions_may_stand_behind_a_cooked_header() {
        let inner = headers(Link::Cooked, &[COOKED, "8100 0001 8864 1100 0001 002a 0021", IPV4, TCP]);
        assert_eq!((inner.encapsulation.pppoe, inner.encapsulation.ip), (Some(20), 28));
        let inner = headers(Link::Cooked2, &["88a8", COOKED2, "0001 0800", IPV4, TCP]);
        assert_eq!(inner.encapsulation.ip, 24);
    }

    #[test]
    fn a_frame_that_ends_inside_its_cooked_header_is_not_ip() {
        let whole = bytes(&[COOKED, "0800"]);
        for length in 0..whole.len() {
            assert_eq!(
                super::parse(Link::Cooked, &whole[..length], Depth::default()),
                Frame::NotIp,
                "{length}"
            );
        }
        assert_eq!(super::parse(Link::Cooked, &whole, Depth::default()), Frame::Malformed);
        let whole = bytes(&["86dd", COOKED2]);
        for length in 0..whole.len() {
            assert_eq!(
                super::parse(Link::Cooked2, &whole[..length], Depth::default()),
                Frame::NotIp,
                "{length}"
            );
        }
        assert_eq!(super::parse(Link::Cooked2, &whole, Depth::default()), Frame::Malformed);
    }

    #[test]
    fn cooked_packets_to_all_or_to_a_group_are_seen() {
        for (kind, group) in [(0, false), (1, true), (2, true), (3, false), (4, false)] {
            let mut frame = bytes(&[COOKED, "0800", IPV4, TCP]);
            frame[1] = kind;
            let got = sample::headers(super::parse(Link::Cooked, &frame, Depth::default()));
            assert_eq!(got.encapsulation.group, group, "{kind}");
            let mut frame = bytes(&["0800", COOKED2, IPV4, TCP]);
            frame[10] = kind;
            let got = sample::headers(super::parse(Link::Cooked2, &frame, Depth::default()));
            assert_eq!(got.encapsulation.group, group, "{kind}");
        }
    }

    #[test]
    fn loopback_families_come_in_either_byte_order() {
        for family in ["02000000", "00000002"] {
            assert_eq!(headers(Link::Loopback, &[family, IPV4, TCP]).encapsulation.ip, 4);
        }
        for family in
            ["0a000000", "18000000", "1c000000", "1e000000", "0000000a", "00000018", "0000001c", "0000001e"]
        {
            assert_eq!(headers(Link::Loopback, &[family, IPV6, TCP]).encapsulation.ip, 4);
        }
        for family in ["00000000", "01000000", "02000002", "00020000", "ffffffff", "020000", ""] {
            assert_eq!(parse(Link::Loopback, &[family]), Frame::NotIp, "{family}");
        }
        assert_eq!(parse(Link::Loopback, &["02000000", IPV6, TCP]), Frame::Malformed);
    }

    #[test]
    fn a_raw_packet_has_its_version_in_its_first_nibble() {
        assert_eq!(headers(Link::Raw, &[IPV4, TCP]).encapsulation.ip, 0);
        assert_eq!(headers(Link::Raw, &[IPV6, TCP]).encapsulation.ip, 0);
        for other in ["", "50", "00", "ff"] {
            assert_eq!(parse(Link::Raw, &[other]), Frame::NotIp, "{other}");
        }
        assert_eq!(parse(Link::Raw, &["45"]), Frame::Malformed);
    }

    #[test]
    fn a_link_of_one_version_carries_no_other() {
        assert_eq!(headers(Link::Ipv4, &[IPV4, TCP]).end, 40);
        assert_eq!(headers(Link::Ipv6, &[IPV6, TCP]).end, 60);
        assert_eq!(parse(Link::Ipv4, &[IPV6, TCP]), Frame::Malformed);
        assert_eq!(parse(Link::Ipv6, &[IPV4, TCP]), Frame::Malformed);
        assert_eq!(parse(Link::Ipv4, &[]), Frame::Malformed);
    }
}
