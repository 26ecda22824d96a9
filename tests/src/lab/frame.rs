//! Frames that no host sends by itself, put together with an independent packet library.

use std::net::{IpAddr, SocketAddr};

use etherparse::{
    EtherType, IpFragOffset, IpNumber, Ipv4Header, Ipv6FragmentHeader, Ipv6Header, PacketBuilder,
    PacketBuilderStep,
};

/// Addresses of no interface, so that no kernel answers.
const CUSTOMER: [u8; 6] = [0x02, 0, 0, 0, 0, 0xc0];
const WORLD: [u8; 6] = [0x02, 0, 0, 0, 0, 0xd0];

/// The sequence number of what is sent.
pub const NUMBER: u32 = 1_000;
const HOPS: u8 = 64;
const LINK: usize = 14;

/// Which side a frame comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A customer's.
    Customer,
    /// The other.
    World,
}

impl Side {
    fn link(self) -> [[u8; 6]; 2] {
        match self {
            Side::Customer => [CUSTOMER, WORLD],
            Side::World => [WORLD, CUSTOMER],
        }
    }
}

/// Whether a frame is one of ours, and not a kernel's.
pub fn is_ours(frame: &[u8]) -> bool {
    [CUSTOMER, WORLD].iter().any(|own| frame.get(6..12) == Some(own))
}

/// What a TCP segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment {
    /// It asks for a connection.
    Syn,
    /// It answers that.
    SynAck,
    /// It is in the middle of one.
    Ack,
    /// It refuses one.
    Reset {
        /// What it answers.
        acknowledges: u32,
    },
}

fn ip(from: Side, source: IpAddr, destination: IpAddr) -> PacketBuilderStep<etherparse::IpHeaders> {
    let [ours, theirs] = from.link();
    let link = PacketBuilder::ethernet2(ours, theirs);
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => link.ipv4(source.octets(), destination.octets(), HOPS),
        (IpAddr::V6(source), IpAddr::V6(destination)) => link.ipv6(source.octets(), destination.octets(), HOPS),
        _ => panic!("{source} and {destination} are of different versions"),
    }
}

/// A TCP segment.
pub fn tcp(from: Side, source: SocketAddr, destination: SocketAddr, what: Segment, payload: &[u8]) -> Vec<u8> {
    let number = if matches!(what, Segment::Reset { .. }) { 0 } else { NUMBER };
    let segment = ip(from, source.ip(), destination.ip()).tcp(source.port(), destination.port(), number, 64_000);
    let segment = match what {
        Segment::Syn => segment.syn(),
        Segment::SynAck => segment.syn().ack(501),
        Segment::Ack => segment.ack(501),
        Segment::Reset { acknowledges } => segment.rst().ack(acknowledges),
    };
    let mut frame = Vec::new();
    segment.write(&mut frame, payload).expect("a segment of that size");
    frame
}

/// A UDP datagram.
pub fn udp(from: Side, source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let datagram = ip(from, source.ip(), destination.ip()).udp(source.port(), destination.port());
    datagram.write(&mut frame, payload).expect("a datagram of that size");
    frame
}

/// Anything else behind the link's header.
pub fn other(from: Side, kind: u16, payload: &[u8]) -> Vec<u8> {
    let [ours, theirs] = from.link();
    [&theirs[..], &ours, &kind.to_be_bytes(), payload].concat()
}

/// The same frame to everybody.
pub fn broadcast(mut frame: Vec<u8>) -> Vec<u8> {
    frame[..6].fill(0xff);
    frame
}

/// The same frame with VLAN tags, the outermost first: type and number.
pub fn tagged(mut frame: Vec<u8>, tags: &[(u16, u16)]) -> Vec<u8> {
    let tags: Vec<u8> =
        tags.iter().flat_map(|(kind, number)| [kind.to_be_bytes(), number.to_be_bytes()].concat()).collect();
    frame.splice(12..12, tags);
    frame
}

/// The same packet in a PPPoE session (RFC 2516).
pub fn in_session(mut frame: Vec<u8>, session: u16) -> Vec<u8> {
    let is_v4 = frame[12..LINK] == EtherType::IPV4.0.to_be_bytes();
    let protocol: u16 = if is_v4 { 0x0021 } else { 0x0057 };
    let length = (frame.len() - LINK + 2) as u16;
    let header = [0x8864, 0x1100, session, length, protocol].map(u16::to_be_bytes).concat();
    frame.splice(12..LINK, header);
    frame
}

/// Cuts a packet behind so many bytes of what IP carries, a multiple of 8.
pub fn fragments(frame: &[u8], at: usize, identification: u16) -> [Vec<u8>; 2] {
    let (link, packet) = frame.split_at(LINK);
    let piece = |header: &[u8], payload: &[u8]| [link, header, payload].concat();
    let offset = |bytes: usize| IpFragOffset::try_new((bytes / 8) as u16).expect("an offset of that size");
    if packet[0] >> 4 == 4 {
        let (header, payload) = Ipv4Header::from_slice(packet).expect("an IPv4 packet");
        let cut = |from: usize, payload: &[u8], more: bool| {
            let mut header = header.clone();
            (header.identification, header.dont_fragment, header.more_fragments) = (identification, false, more);
            header.fragment_offset = offset(from);
            header.set_payload_len(payload.len()).expect("shorter than it was");
            header.header_checksum = header.calc_header_checksum();
            piece(&header.to_bytes(), payload)
        };
        [cut(0, &payload[..at], true), cut(at, &payload[at..], false)]
    } else {
        let (header, payload) = Ipv6Header::from_slice(packet).expect("an IPv6 packet");
        let cut = |from: usize, payload: &[u8], more: bool| {
            let mut outer = header.clone();
            outer.next_header = IpNumber::IPV6_FRAGMENTATION_HEADER;
            outer.payload_length = (8 + payload.len()) as u16;
            let inner =
                Ipv6FragmentHeader::new(header.next_header, offset(from), more, identification.into());
            piece(&[&outer.to_bytes()[..], &inner.to_bytes()].concat(), payload)
        };
        [cut(0, &payload[..at], true), cut(at, &payload[at..], false)]
    }
}
