//! The common shape of a frame, read straight from its bytes.
//!
//! Nearly all traffic is Ethernet with at most one VLAN tag, IPv4 without options or IPv6 without extension
//! headers, not a fragment, TCP or UDP. For such a frame the rules need its addresses and whether it is
//! submission or mail, and nothing in it can be malformed that the checks here do not look at. What is of any
//! other shape is left to [`parse`](super::parse), whose outcome for these frames is the same: the tests hold
//! the two against each other.
//!
//! Each check reads from an array of known length, so that one comparison of the frame's length serves all.

use super::transport::protocol::{TCP, UDP};

/// What a frame of the common shape is, in the words of rules 9 and 10.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// TCP with a port 587 or 465.
    Submission,
    /// Other TCP, not port 25.
    OtherPort,
    /// UDP, not to or from port 25.
    Udp,
    /// TCP over IPv4 to port 25, with a whole header.
    Smtp,
}

/// A frame of the common shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Straight {
    V4 { source: u32, destination: u32, kind: Kind },
    V6 { source: u128, destination: u128, kind: Kind },
}

const ETHERNET: usize = 14;
const TAG: usize = 4;
/// The IP header and as much as a TCP header has behind it. A shorter UDP packet is left to the general path
/// unless its frame is padded, as all are on a wire.
const IPV4: usize = 40;
const IPV6: usize = 60;
const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
const PORTS: usize = 4;
const TCP_HEADER: usize = 20;

/// Reads an Ethernet frame; none if it is not of the common shape.
#[inline(always)]
pub(crate) fn read(frame: &[u8]) -> Option<Straight> {
    let head = frame.first_chunk::<{ ETHERNET + IPV4 }>()?;
    match u16::from_be_bytes([head[12], head[13]]) {
        0x0800 => v4(head[ETHERNET..].try_into().ok()?, frame.len() - ETHERNET),
        0x86dd => v6(frame.get(ETHERNET..)?.first_chunk()?, frame.len() - ETHERNET),
        0x8100 => match u16::from_be_bytes([head[16], head[17]]) {
            0x0800 => v4(frame.get(ETHERNET + TAG..)?.first_chunk()?, frame.len() - ETHERNET - TAG),
            0x86dd => v6(frame.get(ETHERNET + TAG..)?.first_chunk()?, frame.len() - ETHERNET - TAG),
            _ => None,
        },
        _ => None,
    }
}

#[inline(always)]
fn v4(packet: &[u8; IPV4], available: usize) -> Option<Straight> {
    let total = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
    // Don't-fragment and the reserved bit do not make a fragment.
    let fragment = u16::from_be_bytes([packet[6], packet[7]]) & 0x3fff;
    let shaped = (packet[0] == 0x45)
        & (total >= IPV4_HEADER + PORTS)
        & (total <= available)
        & (fragment == 0);
    let source = u32::from_be_bytes([packet[12], packet[13], packet[14], packet[15]]);
    let destination = u32::from_be_bytes([packet[16], packet[17], packet[18], packet[19]]);
    // Rule 5: 0/8, 127/8 and all from 224/3 on are left to the general path.
    let network = source >> 24;
    let plain_source = (network != 0) & (network != 127) & (network < 224);
    if !(shaped & plain_source) {
        return None;
    }
    let ports = [packet[20], packet[21], packet[22], packet[23]];
    let kind = match kind(packet[9], ports) {
        Some(kind) => kind,
        None => {
            // Rule 3's last clause.
            let header = usize::from(packet[32] >> 4) * 4;
            let whole = (header >= TCP_HEADER) & (IPV4_HEADER + header <= total);
            let to_smtp = (packet[9] == TCP) & (ports[2..] == [0, 25]);
            (whole & to_smtp).then_some(Kind::Smtp)?
        }
    };
    Some(Straight::V4 { source, destination, kind })
}

#[inline(always)]
fn v6(packet: &[u8; IPV6], available: usize) -> Option<Straight> {
    let total = IPV6_HEADER + usize::from(u16::from_be_bytes([packet[4], packet[5]]));
    let shaped = (packet[0] >> 4 == 6) & (total >= IPV6_HEADER + PORTS) & (total <= available);
    // Only 2000::/3, the unicast space in use: link-local and rule 5's sources are left to the general path.
    let plain_source = packet[8] >> 5 == 1;
    let kind = kind(packet[6], [packet[40], packet[41], packet[42], packet[43]])?;
    let (source, destination) = (address(packet, 8), address(packet, 24));
    (shaped & plain_source).then_some(Straight::V6 { source, destination, kind })
}

#[inline(always)]
fn address(packet: &[u8; IPV6], at: usize) -> u128 {
    let mut octets = [0; 16];
    octets.copy_from_slice(&packet[at..at + 16]);
    u128::from_be_bytes(octets)
}

/// Without a branch: which ports a packet has is not to be predicted.
#[inline(always)]
fn kind(protocol: u8, ports: [u8; PORTS]) -> Option<Kind> {
    let source = u16::from_be_bytes([ports[0], ports[1]]);
    let destination = u16::from_be_bytes([ports[2], ports[3]]);
    let is = |port: u16| (source == port) | (destination == port);
    let udp = protocol == UDP;
    let submission = is(587) | is(465);
    let kind = KINDS[usize::from(udp) * 2 + usize::from(submission)];
    (!is(25) & ((protocol == TCP) | udp)).then_some(kind)
}

/// By whether it is UDP, and by whether a port is submission's.
const KINDS: [Kind; 4] = [Kind::OtherPort, Kind::Submission, Kind::Udp, Kind::Udp];
