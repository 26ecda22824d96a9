//! IPv4 (RFC 791) with options (RFC 7126) and authentication headers (RFC 4302).

use pnet::packet::ipv4::{Ipv4Flags, Ipv4Packet};

use super::Depth;
use super::network::{Addresses, Datagram, Fragment, Network, Upper};
use super::transport::{Transport, protocol};

const END_OF_OPTIONS: u8 = 0;
const NO_OPERATION: u8 = 1;
/// Loose source and record route.
const LSRR: u8 = 0x83;
/// Strict source and record route.
const SSRR: u8 = 0x89;

/// Reads the packet at the start of `bytes`; `None` is malformed.
pub(super) fn parse(bytes: &[u8], depth: Depth) -> Option<Network> {
    let header = Ipv4Packet::new(bytes)?;
    if header.get_version() != 4 {
        return None;
    }
    let header_length = usize::from(header.get_header_length()) * 4;
    let total_length = usize::from(header.get_total_length());
    if header_length < Ipv4Packet::minimum_packet_size() || header_length > total_length {
        return None;
    }
    // Lengths decide, not the frame's end: what follows is padding.
    let packet = bytes.get(..total_length)?;
    let addresses = Addresses::V4 {
        source: header.get_source().to_bits(),
        destination: header.get_destination().to_bits(),
    };

    let offset = u32::from(header.get_fragment_offset()) * 8;
    let more = header.get_flags() & Ipv4Flags::MoreFragments != 0;
    let protocol = header.get_next_level_protocol().0;
    let part = Fragment {
        identification: u32::from(header.get_identification()),
        protocol,
        offset,
        data: header_length as u32,
    };
    let datagram = match (offset, more) {
        (0, false) => Datagram::Whole,
        (0, true) => Datagram::First(part),
        _ => Datagram::Later(part),
    };
    let upper = match datagram {
        Datagram::Later(_) => Upper::Hidden,
        _ => walk(packet, protocol, header_length, depth),
    };
    let network = Network {
        addresses,
        length: total_length as u32,
        source_route: has_source_route(&packet[Ipv4Packet::minimum_packet_size()..header_length]),
        routed: false,
        datagram,
        upper,
    };
    network.checked(packet)
}

/// Steps over authentication headers, the only ones that IPv4 has in front of the upper layer.
fn walk(packet: &[u8], mut protocol: u8, mut at: usize, depth: Depth) -> Upper {
    let mut headers = 0;
    while protocol == protocol::AUTHENTICATION {
        if headers == depth.extension_headers {
            return Upper::TooMany;
        }
        headers += 1;
        let Some(next) = authentication(packet, at) else { return Upper::Cut };
        (protocol, at) = next;
    }
    Upper::Found(Transport::read(protocol, packet, at))
}

/// Next header and end of the authentication header at `at`, if it is all there. Its length counts 4-byte
/// words, less two (RFC 4302 §2.2).
pub(super) fn authentication(packet: &[u8], at: usize) -> Option<(u8, usize)> {
    let &[next, length] = packet.get(at..)?.first_chunk::<2>()?;
    let end = at + (usize::from(length) + 2) * 4;
    (end <= packet.len()).then_some((next, end))
}

/// Whether the option list holds a source route, whatever length it claims. A list that breaks off is read
/// as far as it makes sense.
fn has_source_route(options: &[u8]) -> bool {
    let mut at = 0;
    while let Some(&kind) = options.get(at) {
        at += match kind {
            END_OF_OPTIONS => return false,
            NO_OPERATION => 1,
            LSRR | SSRR => return true,
            _ => match options.get(at + 1) {
                Some(&length) if length >= 2 => usize::from(length),
                _ => return false,
            },
        };
    }
    false
}
