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
use super::transport::{TCP_FLAGS, TCP_RST, opens};
use crate::route::checksum;

/// What a frame of the common shape is, in the words of rules 9 and 10.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// TCP with a port 587 or 465.
    Submission,
    /// Other TCP, not port 25.
    OtherPort,
    /// UDP, not to or from port 25.
    Udp,
    /// TCP to port 25, with a whole header.
    Smtp,
}

/// A frame of the common shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Straight {
    V4 { source: u32, destination: u32, kind: Kind, transit: Transit },
    V6 { source: u128, destination: u128, kind: Kind, transit: Transit },
}

/// What a router asks of a packet of the common shape, read while its header is at hand. A bridge does not ask, and
/// pays nothing for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Transit(u32);

impl Transit {
    /// Of a packet that all the rules are to be asked about: no MTU is so long.
    pub(crate) const DOUBTFUL: Transit = Transit(Transit::LENGTH);
    const LENGTH: u32 = 0xff_ffff;
    const TAGGED: u32 = 1 << 24;

    #[inline(always)]
    fn new(length: usize, tagged: bool, sound: bool) -> Transit {
        let length = if sound { length as u32 } else { Transit::LENGTH };
        Transit(length | if tagged { Transit::TAGGED } else { 0 })
    }

    /// The IP packet's length, longer than any if the packet is not plainly one that may be led on.
    #[inline(always)]
    pub(crate) fn length(self) -> u32 {
        self.0 & Transit::LENGTH
    }

    /// Whether its frame has a tag.
    #[inline(always)]
    pub(crate) fn is_tagged(self) -> bool {
        self.0 & Transit::TAGGED != 0
    }
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
    match u16::from_ne_bytes([head[12], head[13]]) {
        IPV4_TYPE => v4(head[ETHERNET..].try_into().ok()?, frame.len() - ETHERNET, false),
        IPV6_TYPE => v6(frame.get(ETHERNET..)?.first_chunk()?, frame.len() - ETHERNET, false),
        VLAN_TYPE => match u16::from_ne_bytes([head[16], head[17]]) {
            IPV4_TYPE => v4(frame.get(ETHERNET + TAG..)?.first_chunk()?, frame.len() - ETHERNET - TAG, true),
            IPV6_TYPE => v6(frame.get(ETHERNET + TAG..)?.first_chunk()?, frame.len() - ETHERNET - TAG, true),
            _ => None,
        },
        _ => None,
    }
}

/// The TCP flags of a frame that was read as [mail](Kind::Smtp).
#[inline]
fn mail_flags(frame: &[u8], v6: bool) -> Option<u8> {
    let tagged = frame.get(12..14) == Some(&VLAN_TYPE.to_ne_bytes());
    let link = if tagged { ETHERNET + TAG } else { ETHERNET };
    let header = if v6 { IPV6_HEADER } else { IPV4_HEADER };
    frame.get(link + header + TCP_FLAGS).copied()
}

/// Whether a frame that was read as [mail](Kind::Smtp) opens a connection.
#[inline]
pub(crate) fn opens_connection(frame: &[u8], v6: bool) -> bool {
    mail_flags(frame, v6).is_some_and(opens)
}

/// Whether a frame that was read as [mail](Kind::Smtp) is no RST, and to one station alone.
#[inline]
pub(crate) fn is_answerable(frame: &[u8], v6: bool) -> bool {
    frame.first().is_some_and(|octet| octet & 1 == 0)
        && mail_flags(frame, v6).is_some_and(|flags| flags & TCP_RST == 0)
}

// EtherTypes as they lie in a frame, so that they are compared without being turned round.
const IPV4_TYPE: u16 = u16::from_ne_bytes([0x08, 0x00]);
const IPV6_TYPE: u16 = u16::from_ne_bytes([0x86, 0xdd]);
const VLAN_TYPE: u16 = u16::from_ne_bytes([0x81, 0x00]);

#[inline(always)]
fn v4(packet: &[u8; IPV4], available: usize, tagged: bool) -> Option<Straight> {
    let word = |at: usize| u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]]);
    // Version, header length, type of service and total length.
    let first = word(0);
    let total = (first & 0xffff) as usize;
    // Don't-fragment and the reserved bit do not make a fragment.
    let fragment = word(4) & 0x3fff;
    let (source, destination) = (word(12), word(16));
    // Rule 5: 0/8, 127/8 and all from 224/3 on are left to the general path.
    let network = source >> 24;
    let shaped = (first >> 24 == 0x45)
        & (total.wrapping_sub(IPV4_HEADER + PORTS) <= available.wrapping_sub(IPV4_HEADER + PORTS))
        & (fragment == 0)
        & (network.wrapping_sub(1) < 223)
        & (network != 127);
    if !shaped {
        return None;
    }
    let kind = kind(packet[9], word(20), || {
        // Rule 3's last clause.
        let header = usize::from(packet[32] >> 4) * 4;
        (header >= TCP_HEADER) & (IPV4_HEADER + header <= total)
    })?;
    // The time to live, the checksum, and no source that stays on its link (169.254/16).
    let header = packet.first_chunk().expect("within the packet");
    let sound = (packet[8] > 1) & checksum::is_right(header) & (source >> 16 != 0xa9fe);
    Some(Straight::V4 { source, destination, kind, transit: Transit::new(total, tagged, sound) })
}

#[inline(always)]
fn v6(packet: &[u8; IPV6], available: usize, tagged: bool) -> Option<Straight> {
    let word = |at: usize| u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]]);
    // Payload length, next header and hop limit.
    let second = word(4);
    let payload = (second >> 16) as usize;
    // Only 2000::/3, the unicast space in use: link-local and rule 5's sources are left to the general path.
    let shaped = (packet[0] >> 4 == 6)
        & (payload >= PORTS)
        & (payload <= available - IPV6_HEADER)
        & (packet[8] >> 5 == 1);
    if !shaped {
        return None;
    }
    let kind = kind((second >> 8) as u8, word(40), || {
        let header = usize::from(packet[52] >> 4) * 4;
        (header >= TCP_HEADER) & (header <= payload)
    })?;
    let transit = Transit::new(payload + IPV6_HEADER, tagged, second & 0xff > 1);
    Some(Straight::V6 { source: address(packet, 8), destination: address(packet, 24), kind, transit })
}

#[inline(always)]
fn address(packet: &[u8; IPV6], at: usize) -> u128 {
    let mut octets = [0; 16];
    octets.copy_from_slice(&packet[at..at + 16]);
    u128::from_be_bytes(octets)
}

/// Ports that the rules know by number, one bit each; everything from 1023 on is like 1023.
const KNOWN: [u8; 1024] = {
    let mut known = [0; 1024];
    known[25] = SMTP;
    known[465] = SUBMISSION;
    known[587] = SUBMISSION;
    known
};
const SMTP: u8 = 1;
const SUBMISSION: u8 = 2;

/// The kind of a packet with these ports, the source in the upper half. Which ports a packet has is not to be
/// predicted, so only mail takes a branch; it is TCP with a `whole` header, or of another shape.
#[inline(always)]
fn kind(protocol: u8, ports: u32, whole: impl Fn() -> bool) -> Option<Kind> {
    let destination = KNOWN[(ports & 0xffff).min(1023) as usize];
    let known = KNOWN[(ports >> 16).min(1023) as usize] | destination;
    let udp = protocol == UDP;
    if (known & SMTP != 0) | ((protocol != TCP) & !udp) {
        let mail = (destination == SMTP) & (protocol == TCP);
        return (mail && whole()).then_some(Kind::Smtp);
    }
    Some(KINDS[usize::from(udp) * 4 + usize::from(known) % 4])
}

/// By whether it is UDP, and by the ports known.
const KINDS: [Kind; 8] = {
    let (other, submission, udp) = (Kind::OtherPort, Kind::Submission, Kind::Udp);
    [other, other, submission, submission, udp, udp, udp, udp]
};
