//! The answer of a reject: a RST (RFC 9293 §3.10.7.1), or ICMPv4 3/13 (RFC 1812 §5.2.7.1), or ICMPv6 1/1
//! (RFC 4443 §3.1), sent back the way the packet came.
//!
//! A bridge has no address of its own, so the answer comes from the address that the packet was sent to.

use pnet::packet::icmp::{self, IcmpCode, IcmpPacket, IcmpTypes, MutableIcmpPacket};
use pnet::packet::icmpv6::{self, Icmpv6Code, Icmpv6Packet, Icmpv6Types, MutableIcmpv6Packet};
use pnet::packet::ip::{IpNextHeaderProtocol, IpNextHeaderProtocols};
use pnet::packet::ipv4::{self, Ipv4Packet, MutableIpv4Packet};
use pnet::packet::ipv6::{Ipv6Packet, MutableIpv6Packet};
use pnet::packet::tcp::{self, MutableTcpPacket, TcpFlags, TcpPacket};

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::frame::{Addresses, Headers, Link, Upper};
use crate::frame::{PPPOE_HEADER_SIZE, PPPOE_LENGTH_OFFSET, TCP_MINIMUM};
use crate::policy::rules::is_single_host;
use crate::policy::{PortId, RejectWith};

const TTL: u8 = 64;
/// An ICMPv4 error with its quote is at most this long (RFC 1812 §4.3.2.3).
const ICMP_MAXIMUM: usize = 576;
/// An ICMPv6 error with its quote is at most this long (RFC 4443 §2.4 (c)).
const ICMPV6_MAXIMUM: usize = 1280;
/// Type, code, checksum, and four bytes that are unused here.
const ICMP_HEADER: usize = 8;
/// The least that an Ethernet frame carries, without its frame check sequence (IEEE 802.3 §4A.2.3.2.4).
const ETHERNET_MINIMUM: usize = 60;

/// One answer: bytes in [`Replies`], and where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The port it leaves by.
    pub port: PortId,
    /// The place in the burst of the packet that it answers.
    pub answers: u32,
    start: u32,
    length: u32,
}

/// The answers that a burst called for. The room is taken once and used again for each burst.
#[derive(Debug, Default)]
pub struct Replies {
    bytes: Vec<u8>,
    list: Vec<Reply>,
}

impl Replies {
    /// Room for the answers to `burst` packets.
    pub fn with_capacity(burst: usize) -> Replies {
        // Tags, labels and session in front of the longest answer.
        let longest = 128 + ICMPV6_MAXIMUM;
        Replies { bytes: Vec::with_capacity(burst * longest), list: Vec::with_capacity(burst) }
    }

    /// Forgets them.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.list.clear();
    }

    /// The answers, in the order of the packets.
    pub fn iter(&self) -> impl Iterator<Item = (Reply, &[u8])> {
        self.list.iter().map(|reply| {
            let start = reply.start as usize;
            (*reply, &self.bytes[start..start + reply.length as usize])
        })
    }

    /// Whether the burst called for none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

/// A denied packet that may be answered: not a RST, nothing sent to a group, nothing from under MPLS labels,
/// no bogon, and TCP that shows its header.
pub(crate) struct Answerable<'a> {
    link: Link,
    frame: &'a [u8],
    headers: &'a Headers,
    tcp: TcpPacket<'a>,
}

impl<'a> Answerable<'a> {
    pub(crate) fn new(link: Link, frame: &'a [u8], headers: &'a Headers) -> Option<Answerable<'a>> {
        let Upper::Found(transport) = headers.upper else { return None };
        let tcp = TcpPacket::new(frame.get(transport.offset as usize..headers.end as usize)?)?;
        let encapsulation = headers.encapsulation;
        let silent = encapsulation.group
            || encapsulation.mpls
            || tcp.get_flags() & TcpFlags::RST != 0
            || !is_single_host(headers.addresses.destination());
        (!silent).then_some(Answerable { link, frame, headers, tcp })
    }

    /// Builds the answer and appends it to `replies`.
    pub(crate) fn answer(&self, with: RejectWith, port: PortId, answers: usize, replies: &mut Replies) {
        let frame = &mut replies.bytes;
        let start = frame.len();
        self.link_header(frame);
        let ip = frame.len();
        match (with, self.headers.addresses) {
            (RejectWith::Rst, Addresses::V4 { .. }) => self.rst(frame, Ipv4Packet::minimum_packet_size()),
            (RejectWith::Rst, Addresses::V6 { .. }) => self.rst(frame, Ipv6Packet::minimum_packet_size()),
            (RejectWith::Icmp, Addresses::V4 { .. }) => self.icmp(frame),
            (RejectWith::Icmp, Addresses::V6 { .. }) => self.icmpv6(frame),
        }
        self.pppoe_length(&mut frame[start..], ip - start);
        if self.link == Link::Ethernet && frame.len() - start < ETHERNET_MINIMUM {
            frame.resize(start + ETHERNET_MINIMUM, 0);
        }
        let length = (frame.len() - start) as u32;
        replies.list.push(Reply { port, answers: answers as u32, start: start as u32, length });
    }

    /// Everything in front of the IP header as it came, turned around.
    fn link_header(&self, reply: &mut Vec<u8>) {
        let start = reply.len();
        reply.extend_from_slice(&self.frame[..self.headers.encapsulation.ip as usize]);
        let header = &mut reply[start..];
        match self.link {
            Link::Ethernet => {
                let (destination, rest) = header.split_at_mut(6);
                destination.swap_with_slice(&mut rest[..6]);
            }
            // Cooked captures name no destination: the answer is marked as sent by this host (type 4), with
            // no address known.
            Link::Cooked => {
                header[..2].copy_from_slice(&[0, 4]);
                header[4..14].fill(0);
            }
            Link::Cooked2 => {
                header[10] = 4;
                header[11..20].fill(0);
            }
            Link::Raw | Link::Ipv4 | Link::Ipv6 | Link::Loopback => {}
        }
    }

    /// The PPPoE length counts the PPP protocol field and the answer's packet.
    fn pppoe_length(&self, frame: &mut [u8], ip: usize) {
        let Some(pppoe) = self.headers.encapsulation.pppoe else { return };
        let header = pppoe as usize;
        let protocol = ip - (header + PPPOE_HEADER_SIZE);
        let length = (protocol + frame.len() - ip) as u16;
        let at = header + PPPOE_LENGTH_OFFSET;
        frame[at..at + 2].copy_from_slice(&length.to_be_bytes());
    }

    /// RFC 9293 §3.10.7.1: `<SEQ=SEG.ACK><CTL=RST>`, or `<SEQ=0><ACK=SEG.SEQ+SEG.LEN><CTL=RST,ACK>`.
    fn rst(&self, frame: &mut Vec<u8>, ip_header: usize) {
        let ip = self.ip_header(frame, ip_header, TCP_MINIMUM, IpNextHeaderProtocols::Tcp);
        let flags = self.tcp.get_flags();
        let Some(mut rst) = MutableTcpPacket::new(&mut frame[ip + ip_header..]) else { return };
        rst.set_source(self.tcp.get_destination());
        rst.set_destination(self.tcp.get_source());
        rst.set_data_offset((TCP_MINIMUM / 4) as u8);
        if flags & TcpFlags::ACK != 0 {
            rst.set_sequence(self.tcp.get_acknowledgement());
            rst.set_flags(TcpFlags::RST);
        } else {
            rst.set_acknowledgement(self.tcp.get_sequence().wrapping_add(self.segment_length()));
            rst.set_flags(TcpFlags::RST | TcpFlags::ACK);
        }
        let checksum = match self.answering() {
            (IpAddr::V4(from), IpAddr::V4(to)) => tcp::ipv4_checksum(&rst.to_immutable(), &from, &to),
            (IpAddr::V6(from), IpAddr::V6(to)) => tcp::ipv6_checksum(&rst.to_immutable(), &from, &to),
            _ => return,
        };
        rst.set_checksum(checksum);
    }

    /// SEG.LEN: the payload by the IP length, and one each for SYN and FIN. A data offset below 5 counts as
    /// a header of 20 bytes.
    fn segment_length(&self) -> u32 {
        let header = (usize::from(self.tcp.get_data_offset()) * 4).max(TCP_MINIMUM) as u32;
        let Upper::Found(transport) = self.headers.upper else { return 0 };
        let payload = transport.available.saturating_sub(header);
        let flags = self.tcp.get_flags();
        let counted = [TcpFlags::SYN, TcpFlags::FIN].iter().filter(|&&flag| flags & flag != 0).count();
        payload + counted as u32
    }

    /// ICMPv4 destination unreachable, communication administratively prohibited.
    fn icmp(&self, frame: &mut Vec<u8>) {
        let header = Ipv4Packet::minimum_packet_size();
        let quote = self.quote(ICMP_MAXIMUM - header - ICMP_HEADER);
        let ip = self.ip_header(frame, header, ICMP_HEADER + quote.len(), IpNextHeaderProtocols::Icmp);
        let message = &mut frame[ip + header..];
        message[ICMP_HEADER..].copy_from_slice(quote);
        let Some(mut error) = MutableIcmpPacket::new(message) else { return };
        error.set_icmp_type(IcmpTypes::DestinationUnreachable);
        error.set_icmp_code(IcmpCode(13));
        let checksum = IcmpPacket::new(&frame[ip + header..]).map(|error| icmp::checksum(&error));
        frame[ip + header + 2..ip + header + 4]
            .copy_from_slice(&checksum.unwrap_or_default().to_be_bytes());
    }

    /// ICMPv6 destination unreachable, communication with destination administratively prohibited.
    fn icmpv6(&self, frame: &mut Vec<u8>) {
        let (IpAddr::V6(from), IpAddr::V6(to)) = self.answering() else { return };
        let header = Ipv6Packet::minimum_packet_size();
        let quote = self.quote(ICMPV6_MAXIMUM - header - ICMP_HEADER);
        let ip = self.ip_header(frame, header, ICMP_HEADER + quote.len(), IpNextHeaderProtocols::Icmpv6);
        let message = &mut frame[ip + header..];
        message[ICMP_HEADER..].copy_from_slice(quote);
        let Some(mut error) = MutableIcmpv6Packet::new(message) else { return };
        error.set_icmpv6_type(Icmpv6Types::DestinationUnreachable);
        error.set_icmpv6_code(Icmpv6Code(1));
        let checksum =
            Icmpv6Packet::new(&frame[ip + header..]).map(|error| icmpv6::checksum(&error, &from, &to));
        frame[ip + header + 2..ip + header + 4]
            .copy_from_slice(&checksum.unwrap_or_default().to_be_bytes());
    }

    /// As much of the denied packet as received, without padding, as `room` holds.
    fn quote(&self, room: usize) -> &'a [u8] {
        let packet = &self.frame[self.headers.encapsulation.ip as usize..self.headers.end as usize];
        &packet[..packet.len().min(room)]
    }

    /// The answer's source and destination.
    fn answering(&self) -> (IpAddr, IpAddr) {
        (self.headers.addresses.destination(), self.headers.addresses.source())
    }

    /// Appends an IP header and zeroed room for `payload` bytes; gives back where the header starts.
    fn ip_header(
        &self,
        frame: &mut Vec<u8>,
        header: usize,
        payload: usize,
        protocol: IpNextHeaderProtocol,
    ) -> usize {
        let start = frame.len();
        frame.resize(start + header + payload, 0);
        match self.headers.addresses {
            Addresses::V4 { source, destination } => {
                let Some(mut ip) = MutableIpv4Packet::new(&mut frame[start..]) else { return start };
                ip.set_version(4);
                ip.set_header_length((header / 4) as u8);
                ip.set_total_length((header + payload) as u16);
                ip.set_ttl(TTL);
                ip.set_next_level_protocol(protocol);
                ip.set_source(Ipv4Addr::from_bits(destination));
                ip.set_destination(Ipv4Addr::from_bits(source));
                ip.set_checksum(ipv4::checksum(&ip.to_immutable()));
            }
            Addresses::V6 { source, destination } => {
                let Some(mut ip) = MutableIpv6Packet::new(&mut frame[start..]) else { return start };
                ip.set_version(6);
                ip.set_payload_length(payload as u16);
                ip.set_hop_limit(TTL);
                ip.set_next_header(protocol);
                ip.set_source(Ipv6Addr::from_bits(destination));
                ip.set_destination(Ipv6Addr::from_bits(source));
            }
        }
        start
    }
}
