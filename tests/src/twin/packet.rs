//! The IP packet: lengths, options, the chain of extension headers, fragments, ports.
//!
//! Every header is read by its offset into a slice that ends where the IP length says.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const ICMPV6: u8 = 58;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AH: u8 = 51;

pub(super) const RST: u8 = 0x04;
pub(super) const ACK: u8 = 0x10;
pub(super) const SYN: u8 = 0x02;
pub(super) const FIN: u8 = 0x01;

/// Rule 3 speaks: the packet is malformed.
pub(super) struct Malformed;

/// An IP packet whose headers are whole as far as rule 3 asks for it.
pub(super) struct Packet<'a> {
    /// The whole IP packet, ending where its length says.
    pub(super) bytes: &'a [u8],
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    /// Rule 4: LSRR, SSRR or a type 0 routing header.
    pub(super) source_route: bool,
    /// Rule 13: a routing header of type 2, 3 or 4 with segments left.
    pub(super) routed: bool,
    /// `None` for a whole packet and for an atomic fragment (F1).
    pub(super) fragment: Option<Fragment<'a>>,
    /// What stands behind the IP header.
    pub(super) chain: Chain<'a>,
}

/// A fragment that is not atomic.
pub(super) struct Fragment<'a> {
    pub(super) identification: u32,
    /// The IPv4 protocol; IPv6 datagrams are not told apart by it (section 3).
    pub(super) protocol: Option<u8>,
    /// In bytes; 0: the first fragment.
    pub(super) offset: usize,
    /// What the fragment carries of the datagram.
    pub(super) data: &'a [u8],
}

/// How the walk along the extension headers ended.
pub(super) enum Chain<'a> {
    /// At an upper-layer protocol, whose bytes are `payload`.
    Whole { protocol: u8, payload: &'a [u8] },
    /// In a first fragment, at a header past its end (7.4).
    Cut,
    /// At the ninth header (rule 8).
    TooLong,
    /// At a non-atomic Fragment header behind another Fragment header (F11).
    Nested,
    /// At once: a later fragment carries no headers.
    LaterFragment,
}

/// Source and destination port.
#[derive(Clone, Copy)]
pub(super) struct Ports {
    pub(super) source: u16,
    pub(super) destination: u16,
}

impl Ports {
    pub(super) fn either(self, port: u16) -> bool {
        self.source == port || self.destination == port
    }
}

impl<'a> Packet<'a> {
    /// Reads the packet that link headers of that `version` promise; `limit` extension headers are walked.
    pub(super) fn read(version: u8, body: &'a [u8], limit: usize) -> Result<Self, Malformed> {
        let packet = if version == 4 { Self::read_v4(body, limit)? } else { Self::read_v6(body, limit)? };
        // Rule 3: an unfragmented TCP or UDP too short for its ports; TCP also: the data offset, when a
        // port is 25.
        if packet.fragment.is_none()
            && let Chain::Whole { protocol, payload } = packet.chain
        {
            if matches!(protocol, TCP | UDP) && payload.len() < 4 {
                return Err(Malformed);
            }
            if protocol == TCP && ports(payload).is_some_and(|p| p.either(25)) {
                let header = data_offset(payload).ok_or(Malformed)?;
                if header < 20 || header > payload.len() {
                    return Err(Malformed);
                }
            }
        }
        Ok(packet)
    }

    fn read_v4(body: &'a [u8], limit: usize) -> Result<Self, Malformed> {
        if body.len() < 20 || body[0] >> 4 != 4 {
            return Err(Malformed);
        }
        let header = usize::from(body[0] & 15) * 4;
        let total = usize::from(be16(body, 2));
        if header < 20 || header > total || total > body.len() {
            return Err(Malformed);
        }
        let bytes = &body[..total];
        let flags = be16(bytes, 6);
        let offset = usize::from(flags & 0x1fff) * 8;
        let more = flags & 0x2000 != 0;
        let protocol = bytes[9];
        let fragment = (offset > 0 || more).then(|| Fragment {
            identification: u32::from(be16(bytes, 4)),
            protocol: Some(protocol),
            offset,
            data: &bytes[header..],
        });

        let chain = if offset > 0 {
            Chain::LaterFragment
        } else {
            // 7.5: of the extension headers only AH is walked in IPv4.
            let mut next = protocol;
            let mut at = header;
            let mut count = 0;
            loop {
                if next != AH {
                    break Chain::Whole { protocol: next, payload: &bytes[at..] };
                }
                if count == limit {
                    break Chain::TooLong;
                }
                count += 1;
                match header_length(AH, &bytes[at..]) {
                    Some(length) => {
                        next = bytes[at];
                        at += length;
                    }
                    None if fragment.is_some() => break Chain::Cut,
                    None => return Err(Malformed),
                }
            }
        };
        Ok(Self {
            bytes,
            source: IpAddr::V4(Ipv4Addr::new(bytes[12], bytes[13], bytes[14], bytes[15])),
            destination: IpAddr::V4(Ipv4Addr::new(bytes[16], bytes[17], bytes[18], bytes[19])),
            source_route: has_source_route(&bytes[20..header]),
            routed: false,
            fragment,
            chain,
        })
    }

    fn read_v6(body: &'a [u8], limit: usize) -> Result<Self, Malformed> {
        if body.len() < 40 || body[0] >> 4 != 6 {
            return Err(Malformed);
        }
        // 7.18: a payload length of 0 is no payload.
        let total = 40 + usize::from(be16(body, 4));
        if total > body.len() {
            return Err(Malformed);
        }
        let bytes = &body[..total];
        let mut source_route = false;
        let mut routed = false;
        let mut fragment: Option<Fragment<'a>> = None;
        let mut fragment_headers = 0;

        let mut next = bytes[6];
        let mut at = 40;
        let mut count = 0;
        let chain = loop {
            if !is_extension(next) {
                break Chain::Whole { protocol: next, payload: &bytes[at..] };
            }
            // Rule 8: the walk stops at the ninth.
            if count == limit {
                break Chain::TooLong;
            }
            count += 1;
            // Rule 4; 7.18: it counts even cut short.
            if next == ROUTING && bytes.get(at + 2) == Some(&0) {
                source_route = true;
            }
            let Some(length) = header_length(next, &bytes[at..]) else {
                // 7.4: past the end.
                if fragment.is_some() {
                    break Chain::Cut;
                }
                return Err(Malformed);
            };
            if next == ROUTING && matches!(bytes[at + 2], 2..=4) && bytes[at + 3] > 0 {
                routed = true;
            }
            if next == FRAGMENT {
                let offset = usize::from(be16(bytes, at + 2) & 0xfff8);
                let more = bytes[at + 3] & 1 == 1;
                fragment_headers += 1;
                if offset > 0 || more {
                    // 7.16: behind an atomic Fragment header, the inner identification is the datagram's.
                    fragment.get_or_insert(Fragment {
                        identification: be32(bytes, at + 4),
                        protocol: None,
                        offset,
                        data: &bytes[at + 8..],
                    });
                    if fragment_headers > 1 {
                        break Chain::Nested;
                    }
                    if offset > 0 {
                        break Chain::LaterFragment;
                    }
                }
            }
            next = bytes[at];
            at += length;
        };
        Ok(Self {
            bytes,
            source: v6(bytes, 8),
            destination: v6(bytes, 24),
            source_route,
            routed,
            fragment,
            chain,
        })
    }

    /// The TCP segment, where the chain leads to one.
    pub(super) fn tcp(&self) -> Option<&'a [u8]> {
        self.upper(TCP)
    }

    /// The UDP datagram, where the chain leads to one.
    pub(super) fn udp(&self) -> Option<&'a [u8]> {
        self.upper(UDP)
    }

    /// The bytes of the upper-layer protocol, where the chain leads to that one.
    pub(super) fn upper(&self, wanted: u8) -> Option<&'a [u8]> {
        match self.chain {
            Chain::Whole { protocol, payload } if protocol == wanted => Some(payload),
            _ => None,
        }
    }

    pub(super) fn is_v6(&self) -> bool {
        self.source.is_ipv6()
    }
}

impl Fragment<'_> {
    /// Where the upper-layer header starts, counted like fragment offsets.
    pub(super) fn upper_at(&self, payload: &[u8]) -> usize {
        self.data.len() - payload.len()
    }

    /// Where L4 ends in a first fragment, counted like fragment offsets (section 3; 7.15).
    pub(super) fn l4_end(&self, chain: &Chain<'_>) -> usize {
        let Chain::Whole { protocol, payload } = *chain else {
            return self.data.len();
        };
        let header = match protocol {
            TCP => data_offset(payload).unwrap_or(20).max(20),
            UDP => 8,
            _ => 0,
        };
        self.data.len().min(self.upper_at(payload) + header)
    }
}

/// The ports of TCP or UDP, where there are four bytes for them.
pub(super) fn ports(payload: &[u8]) -> Option<Ports> {
    (payload.len() >= 4).then(|| Ports { source: be16(payload, 0), destination: be16(payload, 2) })
}

/// TCP's data offset, in bytes.
pub(super) fn data_offset(segment: &[u8]) -> Option<usize> {
    segment.get(12).map(|b| usize::from(b >> 4) * 4)
}

/// 7.5: what is walked as an extension header of IPv6.
fn is_extension(next: u8) -> bool {
    matches!(next, HOP_BY_HOP | ROUTING | FRAGMENT | AH | 60 | 135 | 139 | 140)
}

/// The length of the extension header at the start of `bytes`; `None` where it goes past the end.
fn header_length(kind: u8, bytes: &[u8]) -> Option<usize> {
    let length = match kind {
        FRAGMENT => 8,
        AH => (usize::from(*bytes.get(1)?) + 2) * 4,
        _ => (usize::from(*bytes.get(1)?) + 1) * 8,
    };
    (length <= bytes.len()).then_some(length)
}

/// Rule 4; 7.18: LSRR (131) or SSRR (137) of whatever length. An option list that breaks off ends there
/// (7.4).
fn has_source_route(mut options: &[u8]) -> bool {
    while let [kind, rest @ ..] = options {
        match kind {
            0 => return false,
            1 => options = rest,
            131 | 137 => return true,
            _ => match rest.first() {
                Some(length) if *length >= 2 && usize::from(*length) <= options.len() => {
                    options = &options[usize::from(*length)..];
                }
                _ => return false,
            },
        }
    }
    false
}

fn v6(bytes: &[u8], at: usize) -> IpAddr {
    let octets: [u8; 16] = bytes[at..at + 16].try_into().expect("sixteen bytes");
    IpAddr::V6(Ipv6Addr::from(octets))
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
