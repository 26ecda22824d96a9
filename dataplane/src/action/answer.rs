//! Frames that are made here in answer to one that was received, and sent back the way it came.

use std::net::IpAddr;

use pnet::packet::ip::IpNextHeaderProtocol;
use pnet::packet::ipv4::{self, Ipv4Packet, MutableIpv4Packet};
use pnet::packet::ipv6::{Ipv6Packet, MutableIpv6Packet};

use crate::frame::{Headers, Link, PPPOE_HEADER_SIZE, PPPOE_LENGTH_OFFSET};
use crate::policy::PortId;

const TTL: u8 = 64;
/// The longest ICMPv6 error with its quote (RFC 4443 §2.4 (c)), which is longer than any other answer.
pub(super) const LONGEST: usize = 1280;
/// The least that an Ethernet frame carries, without its frame check sequence (IEEE 802.3 §4A.2.3.2.4).
pub(crate) const ETHERNET_MINIMUM: usize = 60;

/// What a frame made here is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// An answer, which leaves by the port that the packet came by.
    Answer,
    /// A fragment of the packet.
    Fragment,
    /// A redirect, which leaves by the port that the packet came by, and by which it goes on.
    Redirect,
}

/// One frame made here: bytes in [`Replies`], and where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The port it leaves by.
    pub port: PortId,
    /// The place in the burst of the packet that it answers.
    pub answers: u32,
    /// What it is.
    pub made: Made,
    start: u32,
    length: u32,
}

/// The frames made for a burst. The room is taken once and used again for each burst.
#[derive(Debug, Default)]
pub struct Replies {
    bytes: Vec<u8>,
    list: Vec<Reply>,
}

impl Replies {
    /// Room for the answers to `burst` packets.
    pub fn with_capacity(burst: usize) -> Replies {
        // Tags, labels and session in front of the longest answer.
        let longest = 128 + LONGEST;
        Replies { bytes: Vec::with_capacity(burst * longest), list: Vec::with_capacity(burst) }
    }

    /// Room for the answers to `burst` packets, or for their fragments.
    pub fn for_routing(burst: usize) -> Replies {
        // What finds no room is counted: whole bursts of long packets for a link that takes only short ones.
        const EACH: usize = 2048;
        const JUMBO: usize = 1 << 16;
        const FRAGMENTS: usize = 4;
        Replies {
            bytes: Vec::with_capacity(burst * EACH + JUMBO),
            list: Vec::with_capacity(burst * FRAGMENTS + JUMBO / EACH),
        }
    }

    /// Forgets them.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.list.clear();
    }

    /// The frames, in the order of the packets.
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

    /// Whether so many frames with so many bytes together find room without more memory.
    pub(crate) fn has_room(&self, frames: usize, bytes: usize) -> bool {
        self.list.len() + frames <= self.list.capacity() && self.bytes.len() + bytes <= self.bytes.capacity()
    }

    /// Adds a frame that `write` appends.
    pub(crate) fn add(&mut self, port: PortId, answers: usize, made: Made, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        let length = (self.bytes.len() - start) as u32;
        self.list.push(Reply { port, answers: answers as u32, made, start: start as u32, length });
    }

    #[cfg(test)]
    pub(super) fn behind(bytes: &[u8]) -> Replies {
        Replies { bytes: bytes.to_vec(), list: Vec::new() }
    }
}

/// A packet that is answered.
#[derive(Clone, Copy)]
pub(super) struct Answered<'a> {
    pub(super) link: Link,
    pub(super) frame: &'a [u8],
    pub(super) headers: &'a Headers,
}

impl<'a> Answered<'a> {
    /// Appends the answer whose IP packet `packet` appends.
    pub(super) fn answer(
        &self,
        port: PortId,
        answers: usize,
        replies: &mut Replies,
        packet: impl FnOnce(&mut Vec<u8>),
    ) {
        self.made(Made::Answer, port, answers, replies, packet);
    }

    /// The same of what is no answer in the books.
    pub(super) fn made(
        &self,
        made: Made,
        port: PortId,
        answers: usize,
        replies: &mut Replies,
        packet: impl FnOnce(&mut Vec<u8>),
    ) {
        replies.add(port, answers, made, |frame| {
            let start = frame.len();
            self.link_header(frame);
            let ip = frame.len();
            packet(frame);
            self.pppoe_length(&mut frame[start..], ip - start);
            if self.link == Link::Ethernet && frame.len() - start < ETHERNET_MINIMUM {
                frame.resize(start + ETHERNET_MINIMUM, 0);
            }
        });
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

    /// As much of the packet as received, without padding, as `room` holds.
    pub(super) fn quote(&self, room: usize) -> &'a [u8] {
        let packet = &self.frame[self.headers.encapsulation.ip as usize..self.headers.end as usize];
        &packet[..packet.len().min(room)]
    }
}

/// What stands in an answer's IP header.
#[derive(Clone, Copy)]
pub(super) struct IpHeader {
    pub(super) from: IpAddr,
    pub(super) to: IpAddr,
    pub(super) protocol: IpNextHeaderProtocol,
    /// IPv4's type of service (RFC 1812 §4.3.2.5).
    pub(super) service: u8,
}

impl IpHeader {
    /// Its length.
    pub(super) fn length(&self) -> usize {
        match self.from {
            IpAddr::V4(_) => Ipv4Packet::minimum_packet_size(),
            IpAddr::V6(_) => Ipv6Packet::minimum_packet_size(),
        }
    }

    /// Appends it and zeroed room for `payload` bytes; gives back where that is.
    pub(super) fn append(&self, frame: &mut Vec<u8>, payload: usize) -> usize {
        let (start, header) = (frame.len(), self.length());
        frame.resize(start + header + payload, 0);
        match (self.from, self.to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let Some(mut ip) = MutableIpv4Packet::new(&mut frame[start..]) else { return start };
                ip.set_version(4);
                ip.set_header_length((header / 4) as u8);
                ip.set_dscp(self.service >> 2);
                ip.set_total_length((header + payload) as u16);
                ip.set_ttl(TTL);
                ip.set_next_level_protocol(self.protocol);
                ip.set_source(from);
                ip.set_destination(to);
                ip.set_checksum(ipv4::checksum(&ip.to_immutable()));
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let Some(mut ip) = MutableIpv6Packet::new(&mut frame[start..]) else { return start };
                ip.set_version(6);
                ip.set_payload_length(payload as u16);
                ip.set_hop_limit(TTL);
                ip.set_next_header(self.protocol);
                ip.set_source(from);
                ip.set_destination(to);
            }
            _ => {}
        }
        start + header
    }
}
