//! Ethernet II with VLAN tags (IEEE 802.3, 802.1Q, 802.1ad).

use pnet::packet::ethernet::{EtherType, EtherTypes, EthernetPacket};
use pnet::packet::vlan::VlanPacket;

use super::{Descent, Frame, Version, mpls, pppoe};

/// The pre-standard service tag that some switches still write.
const VLAN_9100: EtherType = EtherType(0x9100);
const MPLS_MULTICAST: EtherType = EtherType(0x8848);

pub(super) fn parse(descent: &mut Descent<'_>) -> Frame {
    let Some(header) = EthernetPacket::new(descent.frame) else { return Frame::NotIp };
    // The group bit is the first on the wire (IEEE 802.3 §3.2.3).
    descent.group = header.get_destination().is_multicast();
    let ether_type = header.get_ethertype();
    descent.at = EthernetPacket::minimum_packet_size();
    after_type(descent, ether_type)
}

/// Goes on behind an EtherType, whichever header it stood in.
pub(super) fn after_type(descent: &mut Descent<'_>, mut ether_type: EtherType) -> Frame {
    loop {
        match ether_type {
            EtherTypes::Ipv4 => return descent.ip(Version::V4),
            EtherTypes::Ipv6 => return descent.ip(Version::V6),
            EtherTypes::Vlan | EtherTypes::PBridge | VLAN_9100 => {
                if descent.tags == descent.depth.l2_headers {
                    return Frame::EncapDepth;
                }
                let Some(tag) = VlanPacket::new(descent.rest()) else { return Frame::NotIp };
                ether_type = tag.get_ethertype();
                descent.tags += 1;
                descent.at += VlanPacket::minimum_packet_size();
            }
            EtherTypes::Mpls | MPLS_MULTICAST => return mpls::parse(descent),
            EtherTypes::PppoeSession => return pppoe::parse(descent),
            _ => return Frame::NotIp,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::{IPV4, IPV6, MACS, TCP, bytes, ethernet, headers};
    use super::super::{Depth, Frame, Link, parse};

    #[test]
    fn the_ip_header_stands_behind_the_ether_type() {
        for packet in [["0800", IPV4, TCP], ["86dd", IPV6, TCP]] {
            let headers = headers(ethernet(&packet));
            assert_eq!(headers.encapsulation.ip, 14);
            assert_eq!(headers.encapsulation.pppoe, None);
            assert!(!headers.encapsulation.mpls && !headers.encapsulation.group);
        }
    }

    #[test]
    fn tags_of_three_ether_types_nest_four_deep() {
        let tags = ["9100 0001", "88a8 e002", "8100 0003", "8100 0fff"];
        for count in 0..=4 {
            let headers = headers(ethernet(&[&tags[4 - count..].concat(), "0800", IPV4, TCP]));
            assert_eq!(headers.encapsulation.ip as usize, 14 + 4 * count);
        }
    }

    #[test]
    fn the_fifth_tag_is_too_deep_whatever_follows_and_be_it_cut() {
        let four = "8100 0001 8100 0002 8100 0003 8100 0004";
        for fifth in ["8100 0005 0800", "9100", "88a8 00", "8100 0005 0806", "8847 00000140"] {
            assert_eq!(ethernet(&[four, fifth]), Frame::EncapDepth, "{fifth}");
        }
        assert_eq!(ethernet(&[four, "0806"]), Frame::NotIp);
        assert!(matches!(ethernet(&[four, "0800", IPV4, TCP]), Frame::Ip(_)));
    }

    #[test]
    fn the_limit_is_the_configurations() {
        let frame = bytes(&[MACS, "8100 0001 8100 0002 0800", IPV4, TCP]);
        let with = |l2_headers| parse(Link::Ethernet, &frame, Depth { l2_headers, ..Depth::default() });
        assert!(matches!(with(2), Frame::Ip(_)));
        assert_eq!(with(1), Frame::EncapDepth);
        assert_eq!(with(0), Frame::EncapDepth);
    }

    #[test]
    fn a_frame_that_ends_inside_its_link_headers_is_not_ip() {
        let frame = bytes(&[MACS, "8100 0001 88a8 0002 0800"]);
        for length in 0..frame.len() {
            let cut = parse(Link::Ethernet, &frame[..length], Depth::default());
            assert_eq!(cut, Frame::NotIp, "{length} bytes");
        }
        // Where the EtherType is there, its packet is what is missing.
        assert_eq!(parse(Link::Ethernet, &frame, Depth::default()), Frame::Malformed);
    }

    #[test]
    fn what_is_no_ip_packet_is_not_ip() {
        for kind in ["0806", "88cc", "8863 1109", "88e5", "002a aaaa03", "05dc", "0000", "ffff"] {
            assert_eq!(ethernet(&[kind, IPV4, TCP]), Frame::NotIp, "{kind}");
        }
    }

    #[test]
    fn a_packet_of_another_version_than_the_ether_types_is_malformed() {
        assert_eq!(ethernet(&["0800", IPV6, TCP]), Frame::Malformed);
        assert_eq!(ethernet(&["86dd", IPV4, TCP, "00000000"]), Frame::Malformed);
    }

    #[test]
    fn group_addresses_of_the_link_are_seen() {
        for (destination, group) in
            [("ffffffffffff", true), ("01005e000001", true), ("333300000001", true), ("fe0000000001", false)]
        {
            let frame = bytes(&[destination, "020000000002 0800", IPV4, TCP]);
            let headers = headers(parse(Link::Ethernet, &frame, Depth::default()));
            assert_eq!(headers.encapsulation.group, group, "{destination}");
        }
    }
}
