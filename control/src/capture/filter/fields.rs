//! What an expression asks of a frame, read from as much of the frame as there is.
//!
//! The dataplane's parser refuses what contradicts itself, and rightly: it decides. This one only describes, and a capture
//! is there for the malformed and the cut as well, so each field is read where it stands or is not there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sekisho_dataplane::frame::Link;

use super::Protocol;

/// Tags, labels and headers that are looked behind.
const DEEPEST: usize = 32;

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMP6: u8 = 58;
const SCTP: u8 = 132;

/// The network protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Network {
    V4,
    V6,
    Arp,
    Other,
}

/// A frame's fields.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields {
    network: Network,
    /// The protocol behind the network's headers.
    upper: Option<u8>,
    /// Source and destination; of ARP, sender and target.
    pub(super) addresses: Option<[IpAddr; 2]>,
    /// Source and destination, of TCP, UDP and SCTP, where they are.
    pub(super) ports: Option<[u16; 2]>,
}

impl Fields {
    pub(super) fn of(link: Link, frame: &[u8]) -> Fields {
        network(link, frame).unwrap_or(Fields {
            network: Network::Other,
            upper: None,
            addresses: None,
            ports: None,
        })
    }

    pub(super) fn is(&self, protocol: Protocol) -> bool {
        let is_ip = matches!(self.network, Network::V4 | Network::V6);
        match protocol {
            Protocol::Ip => self.network == Network::V4,
            Protocol::Ip6 => self.network == Network::V6,
            Protocol::Arp => self.network == Network::Arp,
            Protocol::Tcp => is_ip && self.upper == Some(TCP),
            Protocol::Udp => is_ip && self.upper == Some(UDP),
            Protocol::Icmp => self.network == Network::V4 && self.upper == Some(ICMP),
            Protocol::Icmp6 => self.network == Network::V6 && self.upper == Some(ICMP6),
        }
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_be_bytes)
}

/// Looks behind the link's headers.
fn network(link: Link, frame: &[u8]) -> Option<Fields> {
    match link {
        Link::Ethernet => behind_type(u16_at(frame, 12)?, frame.get(14..)?),
        Link::Cooked => behind_type(u16_at(frame, 14)?, frame.get(16..)?),
        Link::Cooked2 => behind_type(u16_at(frame, 0)?, frame.get(20..)?),
        Link::Raw | Link::Ipv4 | Link::Ipv6 => by_nibble(frame),
        Link::Loopback => by_nibble(frame.get(4..)?),
    }
}

fn behind_type(mut kind: u16, mut rest: &[u8]) -> Option<Fields> {
    for _ in 0..DEEPEST {
        match kind {
            0x0800 => return ipv4(rest),
            0x86dd => return ipv6(rest),
            0x0806 | 0x8035 => return arp(kind, rest),
            0x8100 | 0x88a8 | 0x9100 => (kind, rest) = (u16_at(rest, 2)?, rest.get(4..)?),
            // A PPPoE session's header, and PPP's protocol in two bytes.
            0x8864 => {
                return match u16_at(rest, 6)? {
                    0x0021 => ipv4(rest.get(8..)?),
                    0x0057 => ipv6(rest.get(8..)?),
                    _ => None,
                };
            }
            0x8847 | 0x8848 => {
                let is_last = rest.get(2)? & 1 == 1;
                rest = rest.get(4..)?;
                if is_last {
                    return by_nibble(rest);
                }
            }
            _ => return None,
        }
    }
    None
}

fn by_nibble(packet: &[u8]) -> Option<Fields> {
    match packet.first()? >> 4 {
        4 => ipv4(packet),
        6 => ipv6(packet),
        _ => None,
    }
}

fn ipv4(packet: &[u8]) -> Option<Fields> {
    let address = |at: usize| -> Option<IpAddr> {
        let bytes: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
        Some(Ipv4Addr::from(bytes).into())
    };
    let addresses = || Some([address(12)?, address(16)?]);
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let is_first = u16_at(packet, 6).is_some_and(|fragment| fragment & 0x1fff == 0);
    let upper = packet.get(9).copied();
    let ports = upper.filter(|_| is_first).and_then(|upper| ports(upper, packet.get(header..)?));
    Some(Fields { network: Network::V4, upper, addresses: addresses(), ports })
}

fn ipv6(packet: &[u8]) -> Option<Fields> {
    let address = |at: usize| -> Option<IpAddr> {
        let bytes: [u8; 16] = packet.get(at..at + 16)?.try_into().ok()?;
        Some(Ipv6Addr::from(bytes).into())
    };
    let addresses = || Some([address(8)?, address(24)?]);
    let (upper, ports) = chain(packet).unwrap_or((None, None));
    Some(Fields { network: Network::V6, upper, addresses: addresses(), ports })
}

/// What is behind the extension headers, as far as they are there.
fn chain(packet: &[u8]) -> Option<(Option<u8>, Option<[u16; 2]>)> {
    let mut next = *packet.get(6)?;
    let mut rest = packet.get(40..)?;
    for _ in 0..DEEPEST {
        let length = match next {
            // Hop-by-hop, routing, destination options; mobility, HIP, Shim6.
            0 | 43 | 60 | 135 | 139 | 140 => rest.get(1).map(|units| (usize::from(*units) + 1) * 8),
            // An authentication header counts in other units.
            51 => rest.get(1).map(|units| (usize::from(*units) + 2) * 4),
            44 => {
                let offset = u16_at(rest, 2);
                if offset.is_some_and(|offset| offset & 0xfff8 != 0) {
                    return Some((rest.first().copied(), None));
                }
                Some(8)
            }
            upper => return Some((Some(upper), ports(upper, rest))),
        };
        let (Some(following), Some(behind)) = (rest.first(), length.and_then(|length| rest.get(length..)))
        else {
            return Some((None, None));
        };
        (next, rest) = (*following, behind);
    }
    None
}

fn ports(upper: u8, segment: &[u8]) -> Option<[u16; 2]> {
    match upper {
        TCP | UDP | SCTP => Some([u16_at(segment, 0)?, u16_at(segment, 2)?]),
        _ => None,
    }
}

/// Sender and target, where ARP is about IPv4 over Ethernet (RFC 826).
fn arp(kind: u16, packet: &[u8]) -> Option<Fields> {
    let address = |at: usize| -> Option<IpAddr> {
        let bytes: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
        Some(Ipv4Addr::from(bytes).into())
    };
    let addresses = || Some([address(14)?, address(24)?]);
    let network = if kind == 0x0806 { Network::Arp } else { Network::Other };
    Some(Fields { network, upper: None, addresses: addresses(), ports: None })
}
