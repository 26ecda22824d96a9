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

#[cfg(test)]
mod tests {
    use super::super::sample::{self, TCP, bytes};
    use super::super::{Frame, Headers, Link};
    use super::*;

    const ADDRESSES: &str = "20010db8d00000010000000000000005 3fff0002000000000000000000000001";

    /// A packet whose first header is `next`, with whatever stands behind the fixed header.
    fn packet(next: u8, behind: &[&str]) -> Vec<u8> {
        let behind = bytes(behind);
        let mut packet = bytes(&["60000000 0000 0040", ADDRESSES]);
        packet[4..6].copy_from_slice(&(behind.len() as u16).to_be_bytes());
        packet[6] = next;
        packet.extend(behind);
        packet
    }

    fn parse(next: u8, behind: &[&str]) -> Frame {
        super::super::parse(Link::Raw, &packet(next, behind), Depth::default())
    }

    #[track_caller]
    fn headers(next: u8, behind: &[&str]) -> Headers {
        sample::headers(parse(next, behind))
    }

    #[track_caller]
    fn transport(headers: &Headers) -> Transport {
        match headers.upper {
            Upper::Found(transport) => transport,
            other => panic!("{other:?}"),
        }
    }

    /// Options of 8 bytes in front of `next`, in the shape that most extension headers have.
    fn options_before(next: u8) -> String {
        format!("{next:02x}00 0104 00000000")
    }

    fn fragment_before(next: u8, offset: u16, more: bool, identification: u32) -> String {
        format!("{next:02x}00 {:04x} {identification:08x}", offset | u16::from(more))
    }

    #[test]
    fn every_extension_header_is_stepped_over() {
        for kind in [HOP_BY_HOP, ROUTING, DESTINATION_OPTIONS, MOBILITY, HIP, SHIM6] {
            let got = headers(kind, &[&options_before(6), TCP]);
            assert_eq!((transport(&got).protocol, transport(&got).offset), (6, 48), "{kind}");
            // A length of 2 is 24 bytes.
            let got = headers(kind, &["0602 0104 00000000", &"00".repeat(16), TCP]);
            assert_eq!(transport(&got).offset, 64, "{kind}");
        }
        // An authentication header counts 4-byte words, less two.
        let got = headers(51, &["06010000 00000001 00000001", TCP]);
        assert_eq!(transport(&got).offset, 52);
        let got = headers(FRAGMENT, &[&fragment_before(6, 0, false, 7), TCP]);
        assert_eq!((transport(&got).offset, got.datagram), (48, Datagram::Whole));
    }

    #[test]
    fn what_is_no_extension_header_ends_the_chain() {
        for next in [1, 2, 4, 17, 41, 47, 50, 58, 59, 132, 136, 253, 254, 255] {
            let got = headers(HOP_BY_HOP, &[&options_before(next), TCP]);
            assert_eq!((transport(&got).protocol, transport(&got).offset), (next, 48));
        }
    }

    #[test]
    fn a_chain_is_walked_eight_headers_deep() {
        let chain = |count: usize| {
            let mut chain = String::new();
            for at in 0..count {
                chain += &options_before(if at + 1 == count { 6 } else { 60 });
            }
            headers(60, &[&chain, TCP]).upper
        };
        for count in 1..=8 {
            assert!(matches!(chain(count), Upper::Found(t) if t.offset as usize == 40 + 8 * count));
        }
        assert_eq!(chain(9), Upper::TooMany);
        assert_eq!(chain(30), Upper::TooMany);
        let depth = Depth { extension_headers: 0, ..Depth::default() };
        let one = super::super::parse(Link::Raw, &packet(60, &[&options_before(6), TCP]), depth);
        assert_eq!(sample::headers(one).upper, Upper::TooMany);
    }

    #[test]
    fn lengths_decide_and_what_follows_is_padding() {
        let mut frame = packet(6, &[TCP]);
        frame.extend([0xee; 9]);
        let got = sample::headers(super::super::parse(Link::Raw, &frame, Depth::default()));
        assert_eq!((got.end, transport(&got).available), (60, 20));
        frame.truncate(59);
        assert_eq!(super::super::parse(Link::Raw, &frame, Depth::default()), Frame::Malformed);
        for length in 1..40 {
            let cut = super::super::parse(Link::Raw, &frame[..length], Depth::default());
            assert_eq!(cut, Frame::Malformed, "{length} bytes");
        }
    }

    #[test]
    fn a_payload_length_of_zero_is_no_payload() {
        let without = |next: u8| {
            let mut frame = packet(next, &[TCP]);
            frame[5] = 0;
            super::super::parse(Link::Raw, &frame, Depth::default())
        };
        assert_eq!(without(6), Frame::Malformed, "TCP without ports");
        assert_eq!(without(60), Frame::Malformed, "a header past the end");
        let got = sample::headers(without(59));
        assert_eq!((got.end, transport(&got).available), (40, 0));
    }

    #[test]
    fn a_header_past_the_end_is_malformed_or_in_a_first_fragment_cut() {
        for (kind, header) in [
            (HOP_BY_HOP, "0601 0104 00000000"),
            (ROUTING, "0602 0400 00000000 00000000 00000000"),
            (51, "0602 0000 00000000"),
            (FRAGMENT, "0600 0000 000000"),
            (SHIM6, "06"),
            (HIP, ""),
        ] {
            assert_eq!(parse(kind, &[header]), Frame::Malformed, "{kind}");
            if kind != FRAGMENT {
                let got = headers(FRAGMENT, &[&fragment_before(kind, 0, true, 7), header]);
                assert_eq!(got.upper, Upper::Cut, "{kind}");
            }
        }
    }

    #[test]
    fn fragments_are_told_by_offset_and_more() {
        let part = |offset| Fragment { identification: 7, protocol: 0, offset, data: 48 };
        let of = |offset, more| headers(FRAGMENT, &[&fragment_before(6, offset, more, 7), TCP]);
        let first = of(0, true);
        assert_eq!(first.datagram, Datagram::First(part(0)));
        assert_eq!(transport(&first).offset, 48);
        for more in [false, true] {
            let later = of(8, more);
            assert_eq!((later.datagram, later.upper), (Datagram::Later(part(8)), Upper::Hidden));
        }
        assert_eq!(of(0xfff8, false).datagram, Datagram::Later(part(65_528)));
        // The two reserved bits say nothing.
        let got = headers(FRAGMENT, &["06ff 0006 00000007", TCP]);
        assert_eq!(got.datagram, Datagram::Whole);
    }

    #[test]
    fn headers_in_front_of_a_fragment_header_are_not_its_data() {
        let got =
            headers(60, &[&options_before(44), &fragment_before(60, 0, true, 7), &options_before(6), TCP]);
        let Datagram::First(part) = got.datagram else { panic!("{:?}", got.datagram) };
        assert_eq!((part.data, transport(&got).offset), (56, 64));
    }

    #[test]
    fn behind_a_later_fragments_header_is_payload() {
        let got = headers(FRAGMENT, &[&fragment_before(43, 8, false, 7), "0600 0001 00000000"]);
        assert_eq!((got.upper, got.source_route), (Upper::Hidden, false));
    }

    #[test]
    fn a_fragment_header_behind_another_must_be_atomic() {
        let atomic = |next| fragment_before(next, 0, false, 9);
        let first = |next| fragment_before(next, 0, true, 7);
        let later = |next| fragment_before(next, 8, false, 8);
        let identification = |datagram| match datagram {
            Datagram::First(part) | Datagram::Later(part) => Some(part.identification),
            Datagram::Whole => None,
        };
        for (outer, inner, upper, expected) in [
            (atomic(44), atomic(6), None, None),
            (first(44), atomic(6), None, Some(7)),
            (first(44), first(6), Some(Upper::Nested), Some(7)),
            (first(44), later(6), Some(Upper::Nested), Some(7)),
            (atomic(44), first(6), Some(Upper::Nested), Some(7)),
            (atomic(44), later(6), Some(Upper::Nested), Some(8)),
            (later(44), first(6), Some(Upper::Hidden), Some(8)),
        ] {
            let got = headers(FRAGMENT, &[&outer, &inner, TCP]);
            assert_eq!(identification(got.datagram), expected, "{outer}, {inner}");
            match upper {
                Some(upper) => assert_eq!(got.upper, upper, "{outer}, {inner}"),
                None => assert_eq!(transport(&got).offset, 56, "{outer}, {inner}"),
            }
        }
        // With other headers in between.
        let got = headers(FRAGMENT, &[&first(60), &options_before(44), &first(6), TCP]);
        assert_eq!(got.upper, Upper::Nested);
    }

    #[test]
    fn a_routing_header_of_type_0_counts_even_cut_short() {
        let whole = headers(ROUTING, &["0600 0000 00000000", TCP]);
        assert!(whole.source_route && !whole.routed);
        let got = headers(FRAGMENT, &[&fragment_before(43, 0, true, 7), "0602 0001 00000000"]);
        assert!(got.source_route && got.upper == Upper::Cut);
        let got = headers(FRAGMENT, &[&fragment_before(43, 0, true, 7), "0602 00"]);
        assert!(got.source_route);
        let got = headers(FRAGMENT, &[&fragment_before(43, 0, true, 7), "0602"]);
        assert!(!got.source_route);
    }

    #[test]
    fn routing_headers_with_segments_left_hide_the_destination() {
        for (fields, routed) in [
            ("0201", true),
            ("0301", true),
            ("04ff", true),
            ("0200", false),
            ("0400", false),
            ("0101", false),
            ("0501", false),
            ("fd01", false),
        ] {
            let got = headers(ROUTING, &["0600", fields, "00000000", TCP]);
            assert_eq!((got.routed, got.source_route), (routed, false), "{fields}");
        }
        // Any of several.
        let got = headers(ROUTING, &["2b00 0400 00000000", "0600 0401 00000000", TCP]);
        assert!(got.routed);
    }
}
