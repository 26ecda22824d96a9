//! IPv6 (RFC 8200) and its chain of extension headers (RFC 7045, RFC 7112).

use pnet::packet::ipv6::Ipv6Packet;

use super::network::{Addresses, Datagram, Fragment, Network, Upper};
use super::transport::{Transport, protocol};
use super::{Depth, ipv4, u16_at};

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;
const MOBILITY: u8 = 135;
const HIP: u8 = 139;
const SHIM6: u8 = 140;

const FRAGMENT_SIZE: usize = 8;

/// Reads the packet at the start of `bytes`; `None` is malformed.
pub(super) fn parse(bytes: &[u8], depth: Depth) -> Option<Network> {
    let header = Ipv6Packet::new(bytes)?;
    if header.get_version() != 6 {
        return None;
    }
    // A payload length of 0 is no payload: jumbograms (RFC 2675) are not forwarded by anybody.
    let length = Ipv6Packet::minimum_packet_size() + usize::from(header.get_payload_length());
    let packet = bytes.get(..length)?;
    let addresses = Addresses::V6 {
        source: header.get_source().to_bits(),
        destination: header.get_destination().to_bits(),
    };
    let mut chain = Chain { source_route: false, routed: false, datagram: Datagram::Whole };
    let upper = chain.walk(packet, header.get_next_header().0, depth);
    let network = Network {
        addresses,
        length: length as u32,
        source_route: chain.source_route,
        routed: chain.routed,
        datagram: chain.datagram,
        upper,
    };
    network.checked(packet)
}

/// What is learned on the way down the chain.
struct Chain {
    source_route: bool,
    routed: bool,
    datagram: Datagram,
}

impl Chain {
    fn walk(&mut self, packet: &[u8], mut next: u8, depth: Depth) -> Upper {
        let mut at = Ipv6Packet::minimum_packet_size();
        let mut headers = 0;
        let mut fragmented = false;
        while is_extension(next) {
            if headers == depth.extension_headers {
                return Upper::TooMany;
            }
            headers += 1;
            if next == ROUTING {
                self.routing(&packet[at..]);
            }
            if next == FRAGMENT {
                let Some(header) = FragmentHeader::read(packet, at) else { return Upper::Cut };
                if fragmented && !header.atomic() {
                    // F11. Behind an atomic header the datagram is the inner one.
                    if self.datagram == Datagram::Whole {
                        self.datagram = header.datagram();
                    }
                    return Upper::Nested;
                }
                fragmented = true;
                if !header.atomic() {
                    self.datagram = header.datagram();
                    if let Datagram::Later(_) = self.datagram {
                        return Upper::Hidden;
                    }
                }
                (next, at) = (header.next, at + FRAGMENT_SIZE);
                continue;
            }
            let step = match next {
                protocol::AUTHENTICATION => ipv4::authentication(packet, at),
                _ => options(packet, at),
            };
            let Some(step) = step else { return Upper::Cut };
            (next, at) = step;
        }
        Upper::Found(Transport::read(next, packet, at))
    }

    /// A type 0 routing header counts even where it is cut short; the others count whole.
    fn routing(&mut self, header: &[u8]) {
        match (header.get(2), header.get(3)) {
            (Some(0), _) => self.source_route = true,
            (Some(2..=4), Some(1..)) => self.routed = true,
            _ => {}
        }
    }
}

fn is_extension(next: u8) -> bool {
    matches!(
        next,
        HOP_BY_HOP
            | ROUTING
            | FRAGMENT
            | protocol::AUTHENTICATION
            | DESTINATION_OPTIONS
            | MOBILITY
            | HIP
            | SHIM6
    )
}

/// Next header and end of the header at `at`, if it is all there. Its length counts 8-byte words beyond the
/// first (RFC 6564 §4).
fn options(packet: &[u8], at: usize) -> Option<(u8, usize)> {
    let &[next, length] = packet.get(at..)?.first_chunk::<2>()?;
    let end = at + (usize::from(length) + 1) * 8;
    (end <= packet.len()).then_some((next, end))
}

/// RFC 8200 §4.5.
struct FragmentHeader {
    next: u8,
    offset: u32,
    more: bool,
    identification: u32,
    data: u32,
}

impl FragmentHeader {
    fn read(packet: &[u8], at: usize) -> Option<FragmentHeader> {
        let header = packet.get(at..at + FRAGMENT_SIZE)?;
        let offset = u16_at(header, 2)?;
        Some(FragmentHeader {
            next: header[0],
            offset: u32::from(offset & !7),
            more: offset & 1 != 0,
            identification: u32::from_be_bytes(*header.last_chunk::<4>()?),
            data: (at + FRAGMENT_SIZE) as u32,
        })
    }

    fn atomic(&self) -> bool {
        self.offset == 0 && !self.more
    }

    fn datagram(&self) -> Datagram {
        let part = Fragment {
            identification: self.identification,
            protocol: 0,
            offset: self.offset,
            data: self.data,
        };
        match self.offset {
            0 => Datagram::First(part),
            _ => Datagram::Later(part),
        }
    }
}
