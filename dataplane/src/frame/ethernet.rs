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
