//! `frame::parse` against the crate etherparse, on frames made up, on any bytes, and on real captures.
//!
//! Everything that a header says is read by etherparse, header by header: addresses, lengths, protocols, fragments,
//! extension headers, ports. What this project does otherwise is policy.md's, and is done here by name:
//!
//! | etherparse | policy.md |
//! |---|---|
//! | opens at most three tags, neither PPPoE nor MPLS, and goes into MACsec | §7.1 to 7.3: `opened` |
//! | takes the version from the first nibble, whatever the EtherType was | rule 3: `OTHER_VERSION` |
//! | takes all there is where a length is wrong | rule 3: `WRONG_LENGTH` |
//! | takes all there is where the IPv6 payload length is 0 | §7.18: no payload, `NO_PAYLOAD` |
//! | stops at 135, 139, 140, a late Hop-by-Hop, a second AH in IPv4 | §7.5: walked, `WALKED_ON` |
//! | refuses an AH of length 0 | §7.5: walked as 8 bytes, `SHORT_AH` |
//! | walks as many headers as there are | rule 8: `TOO_MANY` |
//! | any Fragment header may follow another | F11: `NESTED` |
//! | walks on behind the header of a later fragment | §3: all of it is payload, `LATER` |
//! | refuses TCP with a wrong data offset, UDP under 8 bytes | rule 3: only port 25, only the ports, `LENIENT` |

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;

use etherparse::{
    IpAuthHeaderSlice, IpSlice, Ipv4HeaderSlice, Ipv6FragmentHeaderSlice, Ipv6HeaderSlice,
    Ipv6RawExtHeaderSlice, LaxLinkExtSlice, LaxNetSlice, LaxSlicedPacket, NetSlice, SlicedPacket,
    TcpHeaderSlice, TcpSlice, TransportSlice, UdpHeaderSlice, err,
};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config as Runs, RngSeed};
use sekisho_dataplane::frame::{Addresses, Datagram, Depth, Frame, Headers, Link, Ports, Upper, parse};
use sekisho_dataplane::port::pcap::{CaptureReader, CapturedFrame};
use sekisho_tests::{answers, frames};

const OTHER_VERSION: &str = "the version is not the EtherType's";
const WRONG_LENGTH: &str = "the IP length is wrong";
const NO_PAYLOAD: &str = "an IPv6 payload length of 0";
const WALKED_ON: &str = "walked on where etherparse stops";
const SHORT_AH: &str = "an AH of length 0";
const TOO_MANY: &str = "more extension headers than the limit";
const NESTED: &str = "a Fragment header behind another";
const LATER: &str = "a later fragment with a header that etherparse walks on behind";
const LENIENT: &str = "an upper-layer header that etherparse refuses";
const NOT_OPENED: &str = "link headers that etherparse does not open";

/// Agreements and differences by name, and how often each was seen.
#[derive(Debug, Default)]
struct Tally(RefCell<BTreeMap<&'static str, usize>>);

impl Tally {
    fn note(&self, what: &'static str) {
        *self.0.borrow_mut().entry(what).or_default() += 1;
    }

    fn count(&self, what: &str) -> usize {
        self.0.borrow().get(what).copied().unwrap_or(0)
    }
}

// ---------------------------------------------------------------------- down to the IP header

/// What stands behind the link's headers, by hand: etherparse opens only some of them.
#[derive(Debug, PartialEq, Eq)]
enum Opened {
    NotIp,
    TooDeep,
    /// Where the IP header is, where the link says that the packet ends at the latest, and the announced version.
    Ip {
        at: usize,
        end: usize,
        version: u8,
    },
}

fn opened(link: Link, frame: &[u8], limit: usize) -> Opened {
    let by_nibble = |at: usize, end: usize| match frame[..end].get(at).map(|byte| byte >> 4) {
        Some(version @ (4 | 6)) => Opened::Ip { at, end, version },
        _ => Opened::NotIp,
    };
    let end = frame.len();
    let (mut at, mut kind) = match link {
        Link::Raw => return by_nibble(0, end),
        Link::Ipv4 => return Opened::Ip { at: 0, end, version: 4 },
        Link::Ipv6 => return Opened::Ip { at: 0, end, version: 6 },
        Link::Loopback => {
            return match frame.first_chunk() {
                Some([2, 0, 0, 0] | [0, 0, 0, 2]) => Opened::Ip { at: 4, end, version: 4 },
                Some([10 | 24 | 28 | 30, 0, 0, 0] | [0, 0, 0, 10 | 24 | 28 | 30]) => {
                    Opened::Ip { at: 4, end, version: 6 }
                }
                _ => Opened::NotIp,
            };
        }
        Link::Ethernet => (14, 12),
        Link::Cooked => (16, 14),
        Link::Cooked2 => (20, 0),
    };
    if end < at {
        return Opened::NotIp;
    }
    let mut headers = 0;
    loop {
        match u16::from_be_bytes([frame[kind], frame[kind + 1]]) {
            0x0800 => return Opened::Ip { at, end, version: 4 },
            0x86dd => return Opened::Ip { at, end, version: 6 },
            0x8100 | 0x88a8 | 0x9100 => {
                headers += 1;
                if headers > limit {
                    return Opened::TooDeep;
                }
                (at, kind) = (at + 4, at + 2);
                if at > end {
                    return Opened::NotIp;
                }
            }
            0x8847 | 0x8848 => loop {
                headers += 1;
                if headers > limit {
                    return Opened::TooDeep;
                }
                at += 4;
                if at > end {
                    return Opened::NotIp;
                }
                if frame[at - 2] & 1 == 1 {
                    return by_nibble(at, end);
                }
            },
            0x8864 => {
                let Some(&[high, low]) = frame.get(at + 4..at + 6).and_then(|field| field.first_chunk())
                else {
                    return Opened::NotIp;
                };
                at += 6;
                let end = end.min(at + usize::from(u16::from_be_bytes([high, low])));
                return match frame[at..end] {
                    [0x21, ..] => Opened::Ip { at: at + 1, end, version: 4 },
                    [0x57, ..] => Opened::Ip { at: at + 1, end, version: 6 },
                    [0, 0x21, ..] => Opened::Ip { at: at + 2, end, version: 4 },
                    [0, 0x57, ..] => Opened::Ip { at: at + 2, end, version: 6 },
                    _ => Opened::NotIp,
                };
            }
            _ => return Opened::NotIp,
        }
    }
}

/// Where etherparse finds the IP header, if it opens such a link.
fn opened_by_etherparse(link: Link, frame: &[u8]) -> Option<Option<usize>> {
    let offset = |inner: &[u8]| inner.as_ptr() as usize - frame.as_ptr() as usize;
    match link {
        Link::Ethernet => {
            let packet = LaxSlicedPacket::from_ethernet(frame).ok()?;
            let macsec = packet.link_exts.iter().any(|ext| matches!(ext, LaxLinkExtSlice::Macsec(_)));
            let last = packet.ether_payload()?.ether_type.0;
            if macsec || packet.link_exts.is_full() || matches!(last, 0x8864 | 0x8847 | 0x8848) {
                return None;
            }
            Some(packet.net.as_ref().and_then(|net| match net {
                LaxNetSlice::Ipv4(ip) => Some(offset(ip.header().slice())),
                LaxNetSlice::Ipv6(ip) => Some(offset(ip.header().slice())),
                LaxNetSlice::Arp(_) => None,
            }))
        }
        Link::Cooked => match SlicedPacket::from_linux_sll(frame) {
            Ok(packet) if packet.link_exts.is_empty() => Some(match packet.net? {
                NetSlice::Ipv4(ip) => Some(offset(ip.header().slice())),
                NetSlice::Ipv6(ip) => Some(offset(ip.header().slice())),
                NetSlice::Arp(_) => None,
            }),
            _ => None,
        },
        _ => None,
    }
}

// ---------------------------------------------------------------------- the IP packet

/// What etherparse reads, with the differences above worked in. Offsets are from the IP header on.
#[derive(Debug, PartialEq, Eq)]
enum Packet {
    Malformed,
    Ip {
        source: IpAddr,
        destination: IpAddr,
        end: usize,
        source_route: bool,
        routed: bool,
        piece: Piece,
        upper: Behind,
    },
}

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Whole,
    First { identification: u32, data: usize },
    Later { identification: u32, offset: usize, data: usize },
}

#[derive(Debug, PartialEq, Eq)]
enum Behind {
    Found { protocol: u8, offset: usize, available: usize, ports: Option<(u16, u16)> },
    TooMany,
    Nested,
    Cut,
    Hidden,
}

fn packet(bytes: &[u8], version: u8, limit: usize, tally: &Tally) -> Packet {
    if bytes.first().is_some_and(|first| first >> 4 != version) {
        tally.note(OTHER_VERSION);
        return Packet::Malformed;
    }
    match version {
        4 => packet4(bytes, limit, tally),
        _ => packet6(bytes, limit, tally),
    }
}

fn packet4(bytes: &[u8], limit: usize, tally: &Tally) -> Packet {
    let Ok(header) = Ipv4HeaderSlice::from_slice(bytes) else { return Packet::Malformed };
    let (data, end) = (header.slice().len(), usize::from(header.total_len()));
    if end < data || end > bytes.len() {
        tally.note(WRONG_LENGTH);
        return Packet::Malformed;
    }
    let identification = u32::from(header.identification());
    let offset = usize::from(header.fragments_offset().value()) * 8;
    let piece = match (offset, header.more_fragments()) {
        (0, false) => Piece::Whole,
        (0, true) => Piece::First { identification, data },
        _ => Piece::Later { identification, offset, data },
    };
    let upper = match piece {
        Piece::Later { .. } => Behind::Hidden,
        _ => walk4(&bytes[..end], header.protocol().0, data, limit, tally),
    };
    finish(
        Packet::Ip {
            source: header.source_addr().into(),
            destination: header.destination_addr().into(),
            end,
            source_route: source_route(header.options()),
            routed: false,
            piece,
            upper,
        },
        &bytes[..end],
        tally,
    )
}

fn walk4(packet: &[u8], mut protocol: u8, mut at: usize, limit: usize, tally: &Tally) -> Behind {
    let mut count = 0;
    while protocol == 51 {
        if count == limit {
            tally.note(TOO_MANY);
            return Behind::TooMany;
        }
        count += 1;
        if count > 1 {
            tally.note(WALKED_ON);
        }
        let Some((next, length)) = authentication(&packet[at..], tally) else { return Behind::Cut };
        (protocol, at) = (next, at + length);
    }
    found(packet, protocol, at)
}

fn authentication(bytes: &[u8], tally: &Tally) -> Option<(u8, usize)> {
    match IpAuthHeaderSlice::from_slice(bytes) {
        Ok(header) => Some((header.next_header().0, header.slice().len())),
        Err(err::ip_auth::HeaderSliceError::Content(_)) => {
            tally.note(SHORT_AH);
            Some((bytes[0], 8))
        }
        // etherparse wants 12 bytes before it looks at the length.
        Err(err::ip_auth::HeaderSliceError::Len(_)) if bytes.len() >= 8 && bytes[1] == 0 => {
            tally.note(SHORT_AH);
            Some((bytes[0], 8))
        }
        Err(err::ip_auth::HeaderSliceError::Len(_)) => None,
    }
}

/// Options 131 and 137, wherever a walk over kinds and lengths meets them (etherparse does not walk).
fn source_route(options: &[u8]) -> bool {
    match options {
        [0, ..] | [] => false,
        [1, rest @ ..] => source_route(rest),
        [131 | 137, ..] => true,
        [_, length @ 2..=255, ..] => source_route(options.get(usize::from(*length)..).unwrap_or(&[])),
        _ => false,
    }
}

fn packet6(bytes: &[u8], limit: usize, tally: &Tally) -> Packet {
    let Ok(header) = Ipv6HeaderSlice::from_slice(bytes) else { return Packet::Malformed };
    let end = 40 + usize::from(header.payload_length());
    if end > bytes.len() {
        tally.note(WRONG_LENGTH);
        return Packet::Malformed;
    }
    if end == 40 && bytes.len() > 40 {
        tally.note(NO_PAYLOAD);
    }
    let mut walk =
        Walk { packet: &bytes[..end], limit, source_route: false, routed: false, piece: Piece::Whole };
    let upper = walk.down(header.next_header().0, tally);
    let Walk { source_route, routed, piece, .. } = walk;
    finish(
        Packet::Ip {
            source: header.source_addr().into(),
            destination: header.destination_addr().into(),
            end,
            source_route,
            routed,
            piece,
            upper,
        },
        &bytes[..end],
        tally,
    )
}

struct Walk<'a> {
    packet: &'a [u8],
    limit: usize,
    source_route: bool,
    routed: bool,
    piece: Piece,
}

impl Walk<'_> {
    /// The chain, one of etherparse's header slices at a time.
    fn down(&mut self, mut next: u8, tally: &Tally) -> Behind {
        let mut at = 40;
        let mut fragments = 0;
        for count in 0.. {
            if !matches!(next, 0 | 43 | 44 | 51 | 60 | 135 | 139 | 140) {
                return found(self.packet, next, at);
            }
            if count == self.limit {
                tally.note(TOO_MANY);
                return Behind::TooMany;
            }
            if matches!(next, 135 | 139 | 140) || (next == 0 && count > 0) {
                tally.note(WALKED_ON);
            }
            let bytes = &self.packet[at..];
            let length;
            match next {
                44 => {
                    let Ok(header) = Ipv6FragmentHeaderSlice::from_slice(bytes) else { return Behind::Cut };
                    fragments += 1;
                    let whole = self.piece == Piece::Whole;
                    if header.is_fragmenting_payload() && whole {
                        self.piece = piece6(&header, at + 8);
                    }
                    if header.is_fragmenting_payload() && fragments > 1 {
                        tally.note(NESTED);
                        return Behind::Nested;
                    }
                    if let Piece::Later { .. } = self.piece {
                        return Behind::Hidden;
                    }
                    (next, length) = (header.next_header().0, 8);
                }
                51 => {
                    let Some(step) = authentication(bytes, tally) else { return Behind::Cut };
                    (next, length) = step;
                }
                _ => {
                    let header = Ipv6RawExtHeaderSlice::from_slice(bytes);
                    if next == 43 {
                        // §7.18: type 0 counts though it be cut short.
                        self.source_route |= bytes.get(2) == Some(&0);
                        let fields =
                            header.as_ref().map_or(bytes.get(2..).unwrap_or(&[]), |header| header.payload());
                        self.routed |= matches!(fields, [2..=4, 1..=255, ..]);
                    }
                    let Ok(header) = header else { return Behind::Cut };
                    (next, length) = (header.next_header().0, header.slice().len());
                }
            }
            at += length;
        }
        unreachable!("the limit ends it")
    }
}

fn piece6(header: &Ipv6FragmentHeaderSlice<'_>, data: usize) -> Piece {
    let identification = header.identification();
    match usize::from(header.fragment_offset().value()) * 8 {
        0 => Piece::First { identification, data },
        offset => Piece::Later { identification, offset, data },
    }
}

fn found(packet: &[u8], protocol: u8, offset: usize) -> Behind {
    let bytes = &packet[offset..];
    // The ports have to be there, the header need not: etherparse gets it filled up with nothing.
    let mut whole = bytes.to_vec();
    whole.resize(bytes.len().max(20), 0);
    whole[12] = 0x50;
    let ports = match protocol {
        _ if bytes.len() < 4 => None,
        6 => TcpHeaderSlice::from_slice(&whole).ok().map(|tcp| (tcp.source_port(), tcp.destination_port())),
        17 | 132 => {
            UdpHeaderSlice::from_slice(&whole).ok().map(|udp| (udp.source_port(), udp.destination_port()))
        }
        _ => None,
    };
    Behind::Found { protocol, offset, available: bytes.len(), ports }
}

/// Rule 3's last clauses, and a look at what etherparse's own walk over the whole packet says.
fn finish(read: Packet, packet: &[u8], tally: &Tally) -> Packet {
    let Packet::Ip { piece, upper, .. } = &read else { return read };
    own_walk(piece, upper, packet, tally);
    let whole = *piece == Piece::Whole;
    let malformed = match upper {
        Behind::Cut => whole,
        Behind::Found { protocol: 6, offset, ports, .. } if whole => {
            let refused = TcpSlice::from_slice(&packet[*offset..]).is_err();
            if refused && ports.is_some_and(|(source, destination)| source != 25 && destination != 25) {
                tally.note(LENIENT);
            }
            ports.is_none_or(|(source, destination)| refused && (source == 25 || destination == 25))
        }
        Behind::Found { protocol: 17, offset, ports, .. } if whole => {
            if ports.is_some() && UdpHeaderSlice::from_slice(&packet[*offset..]).is_err() {
                tally.note(LENIENT);
            }
            ports.is_none()
        }
        _ => false,
    };
    if malformed { Packet::Malformed } else { read }
}

/// Where etherparse walks the whole chain by itself, it must come to the same end.
fn own_walk(piece: &Piece, upper: &Behind, packet: &[u8], tally: &Tally) {
    let Ok(ip) = IpSlice::from_slice(packet) else { return };
    let payload = ip.payload();
    let offset = payload.payload.as_ptr() as usize - packet.as_ptr() as usize;
    let number = payload.ip_number.0;
    // It stopped before the end, or at one of these inside a later fragment's payload.
    let stopped = matches!(number, 0 | 51 | 135 | 139 | 140);
    match (piece, upper) {
        (Piece::Later { .. }, _) => {
            tally.note(LATER);
            assert!(payload.fragmented || stopped);
        }
        (_, Behind::Found { protocol, offset: ours, .. }) if !stopped => {
            assert_eq!((number, offset), (*protocol, *ours));
            assert_eq!(payload.fragmented, *piece != Piece::Whole);
            tally.note("etherparse's own walk agrees");
        }
        _ => {}
    }
}

// ---------------------------------------------------------------------- ours against it

/// Ours in the same words.
fn ours(headers: &Headers) -> Packet {
    let Headers { encapsulation, addresses, end, source_route, routed, datagram, upper } = *headers;
    let from_ip = |at: u32| (at - encapsulation.ip) as usize;
    let piece = match datagram {
        Datagram::Whole => Piece::Whole,
        Datagram::First(part) => {
            assert_eq!(part.offset, 0);
            Piece::First { identification: part.identification, data: from_ip(part.data) }
        }
        Datagram::Later(part) => Piece::Later {
            identification: part.identification,
            offset: part.offset as usize,
            data: from_ip(part.data),
        },
    };
    Packet::Ip {
        source: addresses.source(),
        destination: addresses.destination(),
        end: from_ip(end),
        source_route,
        routed,
        piece,
        upper: match upper {
            Upper::Found(transport) => Behind::Found {
                protocol: transport.protocol,
                offset: from_ip(transport.offset),
                available: transport.available as usize,
                ports: transport.ports.map(|Ports { source, destination }| (source, destination)),
            },
            Upper::TooMany => Behind::TooMany,
            Upper::Nested => Behind::Nested,
            Upper::Cut => Behind::Cut,
            Upper::Hidden => Behind::Hidden,
        },
    }
}

/// Parses a frame both ways.
fn compare(link: Link, frame: &[u8], depth: Depth, tally: &Tally) -> Result<(), String> {
    let parsed = parse(link, frame, depth);
    let opened = opened(link, frame, depth.l2_headers);
    let differs = |what: String| {
        let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
        Err(format!("{link:?} {depth:?}: {what}\nours: {parsed:?}\n{hex}"))
    };
    match (opened_by_etherparse(link, frame), &opened) {
        (Some(Some(at)), Opened::Ip { at: by_hand, .. }) if at == *by_hand => {
            tally.note("etherparse finds the IP header")
        }
        (Some(None), Opened::NotIp) => tally.note("etherparse finds no IP header"),
        // Opened, and then refused.
        (Some(None), Opened::Ip { .. }) | (None, _) => tally.note(NOT_OPENED),
        (Some(_), Opened::TooDeep) => {}
        (Some(theirs), by_hand) => {
            return differs(format!("etherparse opens {theirs:?}, by hand {by_hand:?}"));
        }
    }
    let (at, end, version) = match opened {
        Opened::NotIp if parsed == Frame::NotIp => return Ok(()),
        Opened::TooDeep if parsed == Frame::EncapDepth => return Ok(()),
        Opened::Ip { at, end, version } => (at, end, version),
        _ => return differs(format!("opened: {opened:?}")),
    };
    let expected = packet(&frame[at..end], version, depth.extension_headers, tally);
    let got = match &parsed {
        Frame::Malformed => Packet::Malformed,
        Frame::Ip(headers) if headers.encapsulation.ip as usize == at => ours(headers),
        _ => return differs(format!("an IP header at {at}")),
    };
    match got == expected {
        true => {
            tally.note(match (&got, &parsed) {
                (Packet::Malformed, _) => "malformed",
                (_, Frame::Ip(Headers { addresses: Addresses::V4 { .. }, .. })) => "IPv4",
                _ => "IPv6",
            });
            Ok(())
        }
        false => differs(format!("expected {expected:?}")),
    }
}

const DEPTHS: [Depth; 3] = [
    Depth { l2_headers: 4, extension_headers: 8 },
    Depth { l2_headers: 0, extension_headers: 0 },
    Depth { l2_headers: 2, extension_headers: 3 },
];

fn runs(cases: u32) -> Runs {
    let asked = |name| std::env::var_os(name).is_some();
    let mut runs = Runs { failure_persistence: None, ..Runs::default() };
    if !asked("PROPTEST_CASES") {
        runs.cases = cases;
    }
    if !asked("PROPTEST_RNG_SEED") {
        runs.rng_seed = RngSeed::Fixed(25);
    }
    runs
}

proptest! {
    #![proptest_config(runs(20_000))]

    #[test]
    fn any_bytes_are_parsed_as_etherparse_reads_them(
        link in select(vec![
            Link::Ethernet, Link::Raw, Link::Ipv4, Link::Ipv6, Link::Cooked, Link::Cooked2, Link::Loopback,
        ]),
        depth in select(DEPTHS.to_vec()),
        mut bytes in prop::collection::vec(prop_oneof![any::<u8>(), select(vec![0, 6, 17, 43, 44, 51, 60, 0x45])], 0..160),
        start in select(vec![&[][..], &[0x08, 0x00, 0x45, 0, 0, 60], &[0x86, 0xdd, 0x60, 0, 0, 0, 0, 60], &[0x81, 0], &[0x88, 0x64], &[0x88, 0x47]]),
    ) {
        let at = match link {
            Link::Ethernet => 12,
            Link::Cooked => 14,
            Link::Cooked2 | Link::Loopback | Link::Raw | Link::Ipv4 | Link::Ipv6 => 0,
        };
        if let Some(room) = bytes.get_mut(at..at + start.len()) {
            room.copy_from_slice(start);
        }
        compare(link, &bytes, depth, &Tally::default()).map_err(TestCaseError::fail)?;
    }
}

/// The made-up frames, as they are, and their packets over the other links.
#[test]
fn made_up_frames_are_parsed_as_etherparse_reads_them() {
    let tally = Tally::default();
    let cases = std::env::var("PROPTEST_CASES").map_or(40_000, |cases| cases.parse().expect("a number"));
    for seed in 0..cases {
        let frame = frames::frame(seed);
        let depth = DEPTHS[if seed % 10 < 8 { 0 } else { seed as usize % 3 }];
        compare(Link::Ethernet, &frame, depth, &tally).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        let Some((ethernet, packet)) = frame.split_at_checked(14) else { continue };
        let kind = &ethernet[12..];
        for (link, header) in [
            (Link::Raw, vec![]),
            (Link::Ipv4, vec![]),
            (Link::Ipv6, vec![]),
            (Link::Cooked, [&[0; 14], kind].concat()),
            (Link::Cooked2, [kind, &[0; 18]].concat()),
            (Link::Loopback, vec![0, 0, 0, if seed % 2 == 0 { 2 } else { 28 }]),
        ] {
            let frame = [&header, packet].concat();
            compare(link, &frame, depth, &tally).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        }
    }
    // What never happens proves nothing.
    for what in [
        OTHER_VERSION,
        WRONG_LENGTH,
        NO_PAYLOAD,
        WALKED_ON,
        SHORT_AH,
        TOO_MANY,
        NESTED,
        LATER,
        LENIENT,
        NOT_OPENED,
        "etherparse finds the IP header",
        "etherparse finds no IP header",
        "etherparse's own walk agrees",
        "malformed",
        "IPv4",
        "IPv6",
    ] {
        assert!(tally.count(what) > 20, "{what}: {tally:?}");
    }
}

#[test]
fn real_frames_are_parsed_as_etherparse_reads_them() {
    let tally = Tally::default();
    let captures = answers::captures();
    assert!(captures.len() > 500, "{} captures", captures.len());
    for capture in &captures {
        let bytes = capture.bytes().unwrap_or_else(|e| panic!("{}: {e}", capture.name));
        let Ok(mut reader) = CaptureReader::from_reader(std::io::Cursor::new(bytes), &capture.name) else {
            continue;
        };
        let mut frame = CapturedFrame::default();
        // Of the largest captures, the first frames.
        while reader.packets() < 5_000 && reader.next(&mut frame).unwrap_or(false) {
            compare(frame.link.into(), &frame.bytes, Depth::default(), &tally)
                .unwrap_or_else(|e| panic!("{}, frame {}: {e}", capture.name, reader.packets()));
        }
    }
    assert!(tally.count("etherparse finds the IP header") > 4_000, "{tally:?}");
    assert!(tally.count("etherparse's own walk agrees") > 6_000, "{tally:?}");
    assert!(tally.count("IPv6") > 2_000 && tally.count("malformed") > 100, "{tally:?}");
}

/// etherparse's transport slices on packets that it accepts whole: ports and where the payload starts.
#[test]
fn ports_and_header_lengths_are_those_of_etherparse() {
    let mut compared = 0;
    for seed in 0..20_000 {
        let frame = frames::frame(seed);
        let Ok(theirs) = SlicedPacket::from_ethernet(&frame) else { continue };
        let Frame::Ip(headers) = parse(Link::Ethernet, &frame, Depth::default()) else { continue };
        let Upper::Found(transport) = headers.upper else { continue };
        let (ports, payload) = match &theirs.transport {
            Some(TransportSlice::Tcp(tcp)) => ((tcp.source_port(), tcp.destination_port()), tcp.payload()),
            Some(TransportSlice::Udp(udp)) => ((udp.source_port(), udp.destination_port()), udp.payload()),
            _ => continue,
        };
        let ours = transport.ports.map(|Ports { source, destination }| (source, destination));
        assert_eq!(ours, Some(ports), "seed {seed}");
        let data = payload.as_ptr() as usize - frame.as_ptr() as usize;
        assert_eq!(transport.offset as usize + transport.header_length(&frame), data, "seed {seed}");
        compared += 1;
    }
    assert!(compared > 1_000, "{compared}");
}
