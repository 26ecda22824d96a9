//! The frames of checks: ARP (RFC 826, RFC 5227), Neighbor Discovery (RFC 4861), TCP's first two segments.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pnet::packet::arp::{ArpHardwareTypes, ArpOperations, ArpPacket, MutableArpPacket};
use pnet::packet::ethernet::{EtherTypes, EthernetPacket, MutableEthernetPacket};
use pnet::packet::icmpv6::{Icmpv6Packet, Icmpv6Type, Icmpv6Types, checksum};
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::ipv4::{self, Ipv4Packet, MutableIpv4Packet};
use pnet::packet::ipv6::{Ipv6Packet, MutableIpv6Packet};
use pnet::packet::tcp::{self, MutableTcpPacket, TcpFlags, TcpPacket};
use pnet::packet::{MutablePacket, Packet};
use pnet::util::MacAddr;

use crate::config::Health;

const ETHERNET: usize = 14;
/// Of that, the addresses; a tag stands behind them.
const ADDRESSES: usize = 12;
const TAG: u16 = 0x8100;
/// The least that an Ethernet frame carries, without its frame check sequence.
const SHORTEST: usize = 60;
/// From the ports for private use (RFC 6335 §6).
const SOURCE_PORT: u16 = 62_525;

/// What a frame answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The filter's MAC.
    Neighbour(MacAddr),
    /// It accepts a connection.
    Accepted {
        /// Its MAC.
        mac: MacAddr,
        /// Our number, and one.
        acknowledges: u32,
    },
}

/// Makes and reads the frames of one filter's checks.
pub(super) struct Probe {
    own: MacAddr,
    address: IpAddr,
    source: IpAddr,
    tcp_port: u16,
    vlan: Option<u16>,
}

impl Probe {
    pub(super) fn new(own: [u8; 6], health: &Health) -> Probe {
        let default = match health.address {
            // A probe (RFC 5227 §1.1).
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            // Made of the MAC (RFC 4291 §2.5.1).
            IpAddr::V6(_) => {
                let [a, b, c, d, e, f] = own;
                let halves = [a ^ 2, b, c, 0xff, 0xfe, d, e, f];
                Ipv6Addr::from_bits(0xfe80 << 112 | u128::from(u64::from_be_bytes(halves))).into()
            }
        };
        Probe {
            own: own.into(),
            address: health.address,
            source: health.source.unwrap_or(default),
            tcp_port: health.tcp_port,
            vlan: health.vlan,
        }
    }

    /// Asks for the filter's MAC.
    pub(super) fn neighbour(&self) -> Option<Vec<u8>> {
        let frame = match (self.source, self.address) {
            (IpAddr::V4(source), IpAddr::V4(address)) => self.arp(source, address),
            (IpAddr::V6(source), IpAddr::V6(address)) => self.solicitation(source, address),
            _ => None,
        };
        frame.map(|frame| self.tagged(frame))
    }

    /// With the tag of the filter's VLAN (IEEE 802.1Q), if it is in one.
    fn tagged(&self, mut frame: Vec<u8>) -> Vec<u8> {
        if let Some(vlan) = self.vlan {
            let tag = [TAG.to_be_bytes(), vlan.to_be_bytes()];
            frame.splice(ADDRESSES..ADDRESSES, tag.into_iter().flatten());
        }
        frame
    }

    /// Without that tag; none if it has another, or none, or one too many.
    fn untagged<'f>(&self, frame: &'f [u8]) -> Option<Cow<'f, [u8]>> {
        let Some(vlan) = self.vlan else { return Some(Cow::Borrowed(frame)) };
        let (addresses, rest) = frame.split_at_checked(ADDRESSES)?;
        let ([kind_high, kind_low, high, low], rest) = rest.split_first_chunk()?;
        let kind = u16::from_be_bytes([*kind_high, *kind_low]);
        // The priority is the sender's affair.
        let is_ours = kind == TAG && u16::from_be_bytes([*high, *low]) & 0xfff == vlan;
        is_ours.then(|| Cow::Owned([addresses, rest].concat()))
    }

    fn arp(&self, source: Ipv4Addr, address: Ipv4Addr) -> Option<Vec<u8>> {
        let mut frame = self.frame(MacAddr::broadcast(), EtherTypes::Arp, 28)?;
        let mut arp = MutableArpPacket::new(&mut frame[ETHERNET..])?;
        arp.set_hardware_type(ArpHardwareTypes::Ethernet);
        arp.set_protocol_type(EtherTypes::Ipv4);
        arp.set_hw_addr_len(6);
        arp.set_proto_addr_len(4);
        arp.set_operation(ArpOperations::Request);
        arp.set_sender_hw_addr(self.own);
        arp.set_sender_proto_addr(source);
        arp.set_target_proto_addr(address);
        Some(frame)
    }

    /// RFC 4861 §4.3, to the solicited-node address.
    fn solicitation(&self, source: Ipv6Addr, address: Ipv6Addr) -> Option<Vec<u8>> {
        let [.., x, y, z] = address.octets();
        let group =
            Ipv6Addr::from_bits(0xff02_0000_0000_0000_0000_0001_ff00_0000 | address.to_bits() & 0xff_ffff);
        let mut frame = self.frame(MacAddr(0x33, 0x33, 0xff, x, y, z), EtherTypes::Ipv6, 40 + 32)?;
        self.ipv6(&mut frame, (source, group), 32, IpNextHeaderProtocols::Icmpv6)?;
        let message = &mut frame[ETHERNET + 40..][..32];
        message[0] = Icmpv6Types::NeighborSolicit.0;
        message[8..24].copy_from_slice(&address.octets());
        message[24..26].copy_from_slice(&[1, 1]);
        message[26..].copy_from_slice(&self.own.octets());
        let sum = checksum(&Icmpv6Packet::new(message)?, &source, &group);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        Some(frame)
    }

    /// Asks for a connection.
    pub(super) fn syn(&self, mac: MacAddr, number: u32) -> Option<Vec<u8>> {
        self.segment(mac, number, TcpFlags::SYN)
    }

    /// Gives the connection up.
    pub(super) fn rst(&self, mac: MacAddr, number: u32) -> Option<Vec<u8>> {
        self.segment(mac, number, TcpFlags::RST)
    }

    fn segment(&self, mac: MacAddr, number: u32, flags: u8) -> Option<Vec<u8>> {
        const TCP: usize = 20;
        let (mut frame, at) = match (self.source, self.address) {
            (IpAddr::V4(source), IpAddr::V4(address)) => {
                let mut frame = self.frame(mac, EtherTypes::Ipv4, 20 + TCP)?;
                let mut ip = MutableIpv4Packet::new(&mut frame[ETHERNET..])?;
                ip.set_version(4);
                ip.set_header_length(5);
                ip.set_total_length(20 + TCP as u16);
                ip.set_flags(ipv4::Ipv4Flags::DontFragment);
                ip.set_ttl(64);
                ip.set_next_level_protocol(IpNextHeaderProtocols::Tcp);
                ip.set_source(source);
                ip.set_destination(address);
                let sum = ipv4::checksum(&ip.to_immutable());
                ip.set_checksum(sum);
                (frame, ETHERNET + 20)
            }
            (IpAddr::V6(source), IpAddr::V6(address)) => {
                let mut frame = self.frame(mac, EtherTypes::Ipv6, 40 + TCP)?;
                self.ipv6(&mut frame, (source, address), TCP as u16, IpNextHeaderProtocols::Tcp)?;
                (frame, ETHERNET + 40)
            }
            _ => return None,
        };
        let mut segment = MutableTcpPacket::new(&mut frame[at..][..TCP])?;
        segment.set_source(SOURCE_PORT);
        segment.set_destination(self.tcp_port);
        segment.set_sequence(number);
        segment.set_data_offset(5);
        segment.set_flags(flags);
        segment.set_window(1_024);
        let sum = match (self.source, self.address) {
            (IpAddr::V4(from), IpAddr::V4(to)) => tcp::ipv4_checksum(&segment.to_immutable(), &from, &to),
            (IpAddr::V6(from), IpAddr::V6(to)) => tcp::ipv6_checksum(&segment.to_immutable(), &from, &to),
            _ => return None,
        };
        segment.set_checksum(sum);
        Some(self.tagged(frame))
    }

    fn frame(&self, to: MacAddr, kind: pnet::packet::ethernet::EtherType, length: usize) -> Option<Vec<u8>> {
        let mut frame = vec![0; (ETHERNET + length).max(SHORTEST)];
        let mut ethernet = MutableEthernetPacket::new(&mut frame)?;
        ethernet.set_destination(to);
        ethernet.set_source(self.own);
        ethernet.set_ethertype(kind);
        Some(frame)
    }

    fn ipv6(
        &self,
        frame: &mut [u8],
        (source, destination): (Ipv6Addr, Ipv6Addr),
        length: u16,
        next: pnet::packet::ip::IpNextHeaderProtocol,
    ) -> Option<()> {
        let mut ethernet = MutableEthernetPacket::new(frame)?;
        let mut ip = MutableIpv6Packet::new(ethernet.payload_mut())?;
        ip.set_version(6);
        ip.set_payload_length(length);
        ip.set_next_header(next);
        // Neighbor Discovery wants it so, TCP does not mind.
        ip.set_hop_limit(255);
        ip.set_source(source);
        ip.set_destination(destination);
        Some(())
    }

    /// What a frame answers, if it comes from the filter's address.
    pub(super) fn read(&self, frame: &[u8]) -> Option<Answer> {
        let frame = self.untagged(frame)?;
        let ethernet = EthernetPacket::new(&frame)?;
        let mac = ethernet.get_source();
        match (ethernet.get_ethertype(), self.address) {
            (EtherTypes::Arp, IpAddr::V4(address)) => {
                let arp = ArpPacket::new(ethernet.payload())?;
                let is_answer =
                    arp.get_operation() == ArpOperations::Reply && arp.get_sender_proto_addr() == address;
                is_answer.then(|| Answer::Neighbour(arp.get_sender_hw_addr()))
            }
            (EtherTypes::Ipv4, IpAddr::V4(address)) => {
                let ip = Ipv4Packet::new(ethernet.payload())?;
                let is_tcp = ip.get_next_level_protocol() == IpNextHeaderProtocols::Tcp;
                (is_tcp && ip.get_source() == address).then(|| self.accepted(mac, ip.payload()))?
            }
            (EtherTypes::Ipv6, IpAddr::V6(address)) => {
                let ip = Ipv6Packet::new(ethernet.payload())?;
                match ip.get_next_header() {
                    IpNextHeaderProtocols::Tcp if ip.get_source() == address => {
                        self.accepted(mac, ip.payload())
                    }
                    IpNextHeaderProtocols::Icmpv6 => {
                        let message = ip.payload();
                        let kind: Icmpv6Type = Icmpv6Packet::new(message)?.get_icmpv6_type();
                        let target = message.get(8..24)?;
                        let is_answer = kind == Icmpv6Types::NeighborAdvert && target == address.octets();
                        is_answer.then_some(Answer::Neighbour(mac))
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }

    fn accepted(&self, mac: MacAddr, segment: &[u8]) -> Option<Answer> {
        let segment = TcpPacket::new(segment)?;
        let flags = TcpFlags::SYN | TcpFlags::ACK;
        let is_answer = segment.get_source() == self.tcp_port
            && segment.get_destination() == SOURCE_PORT
            && segment.get_flags() & (flags | TcpFlags::RST) == flags;
        is_answer.then(|| Answer::Accepted { mac, acknowledges: segment.get_acknowledgement() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HealthCheck;

    const OWN: [u8; 6] = [2, 0, 0, 0, 0, 9];

    fn probe(address: &str, vlan: Option<u16>) -> Probe {
        let address: IpAddr = address.parse().unwrap();
        let check = if address.is_ipv4() { HealthCheck::Arp } else { HealthCheck::Nd };
        let (interval_micros, fail_after) = (1_000_000, 3);
        Probe::new(
            OWN,
            &Health { check, address, tcp_port: 25, source: None, vlan, interval_micros, fail_after },
        )
    }

    #[test]
    fn a_frame_for_a_vlan_is_the_same_but_for_its_tag_and_answers_with_another_tag_are_none() {
        for address in ["192.0.2.9", "2001:db8::9"] {
            let (plain, tagged) = (probe(address, None), probe(address, Some(0x123)));
            let (without, with) = (plain.neighbour().unwrap(), tagged.neighbour().unwrap());
            assert_eq!(with[12..16], [0x81, 0, 0x01, 0x23]);
            assert_eq!([&with[..12], &with[16..]].concat(), without);
            assert!(with.len() <= sekisho_dataplane::health::CHECK_FRAME);
        }
        // An answer by ARP from the filter.
        let plain = probe("192.0.2.9", None);
        let mut answer = plain.neighbour().unwrap();
        answer[ETHERNET + 6..ETHERNET + 8].copy_from_slice(&[0, 2]);
        answer[ETHERNET + 14..ETHERNET + 18].copy_from_slice(&[192, 0, 2, 9]);
        let in_vlan = |control: [u8; 2]| [&answer[..12], &[0x81, 0], &control, &answer[12..]].concat();
        let heard = Some(Answer::Neighbour(OWN.into()));
        assert_eq!(plain.read(&answer), heard);
        assert_eq!(plain.read(&in_vlan([0x01, 0x23])), None);
        let tagged = probe("192.0.2.9", Some(0x123));
        assert_eq!(tagged.read(&in_vlan([0xe1, 0x23])), heard, "with any priority");
        assert_eq!(tagged.read(&in_vlan([0x01, 0x24])), None);
        assert_eq!(tagged.read(&answer), None);
        for length in 0..20 {
            assert_eq!(tagged.read(&answer[..length]), None);
        }
    }
}
