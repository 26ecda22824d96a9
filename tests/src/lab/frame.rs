//! Frames that no host sends by itself, put together with an independent packet library.

use std::net::{IpAddr, SocketAddr};

use etherparse::{
    IpFragOffset, IpNumber, Ipv4Header, Ipv6FragmentHeader, Ipv6Header, PacketBuilder, PacketBuilderStep,
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
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            link.ipv4(source.octets(), destination.octets(), HOPS)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            link.ipv6(source.octets(), destination.octets(), HOPS)
        }
        _ => panic!("{source} and {destination} are of different versions"),
    }
}

/// A TCP segment.
pub fn tcp(
    from: Side,
    source: SocketAddr,
    destination: SocketAddr,
    what: Segment,
    payload: &[u8],
) -> Vec<u8> {
    let number = if matches!(what, Segment::Reset { .. }) { 0 } else { NUMBER };
    let segment =
        ip(from, source.ip(), destination.ip()).tcp(source.port(), destination.port(), number, 64_000);
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

/// What stands between the link's addresses and a packet on a provider's lines, the outermost first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wrap {
    /// VLAN tags: type, then priority and number.
    pub tags: Vec<(u16, u16)>,
    /// A PPPoE session (RFC 2516).
    pub session: Option<u16>,
}

/// The types of tags: of a customer's VLAN, and of a service that many of these go through.
pub const TAG: u16 = 0x8100;
/// See [`TAG`].
pub const SERVICE_TAG: u16 = 0x88a8;

/// EtherType, version and type, code: of a PPPoE session's frame.
const SESSION: [u8; 4] = [0x88, 0x64, 0x11, 0x00];
const PPP_IPV4: [u8; 2] = [0x00, 0x21];
const PPP_IPV6: [u8; 2] = [0x00, 0x57];

impl Wrap {
    /// Tags.
    pub fn tags(tags: impl Into<Vec<(u16, u16)>>) -> Wrap {
        Wrap { tags: tags.into(), session: None }
    }

    /// A session.
    pub fn session(number: u16) -> Wrap {
        Wrap { tags: Vec::new(), session: Some(number) }
    }

    fn tag_bytes(&self) -> Vec<u8> {
        self.tags
            .iter()
            .flat_map(|(kind, number)| [kind.to_be_bytes(), number.to_be_bytes()].concat())
            .collect()
    }

    /// A frame, wrapped; none if it is none that can be: a session carries IP alone.
    pub fn around(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let (addresses, rest) = frame.split_at_checked(LINK - 2)?;
        let mut wrapped = [addresses, &self.tag_bytes()].concat();
        match self.session {
            None => wrapped.extend(rest),
            Some(number) => {
                let (kind, packet) = rest.split_at_checked(2)?;
                let protocol = match kind {
                    [0x08, 0x00] => PPP_IPV4,
                    [0x86, 0xdd] => PPP_IPV6,
                    _ => return None,
                };
                let length = u16::try_from(packet.len() + 2).ok()?;
                wrapped.extend(SESSION);
                wrapped.extend([number.to_be_bytes(), length.to_be_bytes(), protocol].concat());
                wrapped.extend(packet);
            }
        }
        Some(wrapped)
    }

    /// What is inside; none if the frame is wrapped otherwise.
    pub fn inside(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let (addresses, rest) = frame.split_at_checked(LINK - 2)?;
        let rest = rest.strip_prefix(&self.tag_bytes()[..])?;
        let Some(number) = self.session else { return Some([addresses, rest].concat()) };
        let rest = rest.strip_prefix(&SESSION)?.strip_prefix(&number.to_be_bytes())?;
        let (length, rest) = rest.split_first_chunk()?;
        let (protocol, packet) = rest.get(..u16::from_be_bytes(*length).into())?.split_first_chunk()?;
        let kind: [u8; 2] = match *protocol {
            PPP_IPV4 => [0x08, 0x00],
            PPP_IPV6 => [0x86, 0xdd],
            _ => return None,
        };
        Some([addresses, &kind, packet].concat())
    }
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
            (header.identification, header.dont_fragment, header.more_fragments) =
                (identification, false, more);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_wrapped_is_found_inside_and_by_nobody_else() {
        let ends = ["192.0.2.1:1", "192.0.2.2:2"].map(|text| text.parse().unwrap());
        let frame = udp(Side::Customer, ends[0], ends[1], b"hello");
        let wraps = [
            Wrap::tags([(TAG, 100)]),
            Wrap::tags([(SERVICE_TAG, 200), (TAG, 300)]),
            Wrap::session(7),
            Wrap { tags: vec![(TAG, 100)], session: Some(7) },
        ];
        for wrap in &wraps {
            let wrapped = wrap.around(&frame).unwrap();
            let found = wraps.each_ref().map(|other| other.inside(&wrapped) == Some(frame.clone()));
            assert_eq!(found, wraps.each_ref().map(|other| other == wrap));
        }
    }
}
