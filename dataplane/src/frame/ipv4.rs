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

#[cfg(test)]
mod tests {
    use super::super::sample::{IPV4, TCP, bytes, headers, raw};
    use super::super::{Frame, Headers, Link};
    use super::*;

    /// A packet with options, padded to whole words.
    fn with_options(options: &str) -> Vec<u8> {
        let mut options = bytes(&[options]);
        options.resize(options.len().next_multiple_of(4), 0);
        let mut packet = bytes(&[IPV4]);
        packet[0] = 0x45 + (options.len() / 4) as u8;
        packet[3] += options.len() as u8;
        packet.extend(options);
        packet.extend(bytes(&[TCP]));
        packet
    }

    fn parse(packet: &[u8]) -> Frame {
        super::super::parse(Link::Raw, packet, Depth::default())
    }

    #[track_caller]
    fn transport(headers: &Headers) -> Transport {
        match headers.upper {
            Upper::Found(transport) => transport,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn lengths_decide_and_what_follows_is_padding() {
        let got = headers(raw(&[IPV4, TCP, "eeee eeee eeee"]));
        assert_eq!(got.end, 40);
        assert_eq!((transport(&got).offset, transport(&got).available), (20, 20));
        assert_eq!(got.datagram, Datagram::Whole);
    }

    #[test]
    fn lengths_that_contradict_each_other_or_the_frame_are_malformed() {
        let changed = |at: usize, value: u8| {
            let mut packet = bytes(&[IPV4, TCP]);
            packet[at] = value;
            parse(&packet)
        };
        assert!(matches!(changed(3, 40), Frame::Ip(_)));
        for (at, value, what) in [
            (0, 0x44, "a header of 16 bytes"),
            (0, 0x40, "a header of none"),
            (0, 0x4b, "a header longer than the packet"),
            (3, 41, "a packet longer than the frame"),
            (2, 0xff, "a packet much longer than the frame"),
            (3, 19, "a packet shorter than its header"),
            (3, 0, "a packet of nothing"),
        ] {
            assert_eq!(changed(at, value), Frame::Malformed, "{what}");
        }
        for length in 1..20 {
            assert_eq!(parse(&bytes(&[IPV4])[..length]), Frame::Malformed, "{length} bytes");
        }
    }

    #[test]
    fn the_upper_layer_stands_behind_the_options() {
        for options in ["01010101", "07070400000000", &"01".repeat(40)] {
            let packet = with_options(options);
            let got = headers(parse(&packet));
            let offset = usize::from(packet[0] & 0xf) * 4;
            assert_eq!(transport(&got).offset as usize, offset);
            assert_eq!(transport(&got).ports.map(|ports| ports.destination), Some(25));
            assert!(!got.source_route);
        }
    }

    #[test]
    fn source_routes_are_found_wherever_the_list_can_be_followed_to() {
        for (options, found) in [
            ("83 07 04 c6336401", true),
            ("89 07 04 c6336401", true),
            ("01 01 01 83", true),
            ("01 01 01 89", true),
            ("83 00 00 00", true),
            ("83 ff 00 00", true),
            ("94 04 0000 89 03 04 00", true),
            ("07 07 04 83830483 00", false),
            ("00 83 07 04", false),
            ("07 02 83 03", true),
            ("07 01 83 03", false),
            ("07 00 83 03", false),
            ("07 ff 83 03", false),
            ("01 01 01 07", false),
            ("88 04 0001", false),
            ("03 04 8383", false),
        ] {
            assert_eq!(headers(parse(&with_options(options))).source_route, found, "{options}");
        }
    }

    #[test]
    fn offset_and_flags_tell_which_part_of_a_datagram_it_is() {
        let part = |offset| Fragment { identification: 0x1234, protocol: 6, offset, data: 20 };
        for (field, expected) in [
            ([0x00, 0x00], Datagram::Whole),
            ([0x40, 0x00], Datagram::Whole),
            ([0x80, 0x00], Datagram::Whole),
            ([0x20, 0x00], Datagram::First(part(0))),
            ([0xe0, 0x00], Datagram::First(part(0))),
            ([0x00, 0x01], Datagram::Later(part(8))),
            ([0x20, 0x01], Datagram::Later(part(8))),
            ([0x10, 0x00], Datagram::Later(part(32_768))),
            ([0x1f, 0xff], Datagram::Later(part(65_528))),
        ] {
            let mut packet = bytes(&[IPV4, TCP]);
            packet[6..8].copy_from_slice(&field);
            let got = headers(parse(&packet));
            assert_eq!(got.datagram, expected, "{field:02x?}");
            assert_eq!(got.upper == Upper::Hidden, matches!(expected, Datagram::Later(_)));
        }
    }

    #[test]
    fn a_fragments_data_starts_behind_the_options() {
        let mut packet = with_options("01010101 01010101");
        packet[6] = 0x20;
        let Datagram::First(part) = headers(parse(&packet)).datagram else { panic!("the first") };
        assert_eq!(part.data, 28);
    }

    #[test]
    fn a_first_fragment_may_lack_what_a_whole_packet_must_have() {
        let mut packet = bytes(&["45000016 12342000 40060000 cb007105 c6336419 c350"]);
        let got = headers(parse(&packet));
        assert_eq!((transport(&got).available, transport(&got).ports), (2, None));
        packet[6] = 0;
        assert_eq!(parse(&packet), Frame::Malformed);
    }

    /// An authentication header of 12 bytes in front of `next`.
    fn authentication(next: u8) -> String {
        format!("{next:02x}010000 00000001 00000001")
    }

    /// So many authentication headers in front of the segment; `flags` are those of the fragment.
    fn authenticated(count: usize, flags: u8) -> Vec<u8> {
        let mut packet = bytes(&[IPV4]);
        for at in 0..count {
            packet.extend(bytes(&[&authentication(if at + 1 == count { 6 } else { 51 })]));
        }
        packet.extend(bytes(&[TCP]));
        packet[3] = packet.len() as u8;
        packet[6] = flags;
        packet[9] = 51;
        packet
    }

    #[test]
    fn authentication_headers_are_stepped_over_up_to_the_limit() {
        for count in 1..=8 {
            let got = headers(parse(&authenticated(count, 0)));
            assert_eq!(transport(&got).offset as usize, 20 + 12 * count);
            assert_eq!(transport(&got).protocol, protocol::TCP);
        }
        assert_eq!(headers(parse(&authenticated(9, 0))).upper, Upper::TooMany);
    }

    #[test]
    fn an_authentication_header_past_the_end_is_malformed_or_cut() {
        let cut_at = |length: u8, flags: u8| {
            let mut packet = authenticated(1, flags);
            packet[3] = length;
            parse(&packet)
        };
        for length in 20..32 {
            assert_eq!(cut_at(length, 0), Frame::Malformed, "{length}");
            assert_eq!(headers(cut_at(length, 0x20)).upper, Upper::Cut, "{length}");
        }
        assert!(matches!(headers(cut_at(32, 0x20)).upper, Upper::Found(_)));
        // Its key says 51, whatever stands behind.
        let Datagram::First(part) = headers(cut_at(52, 0x20)).datagram else { panic!("the first") };
        assert_eq!((part.protocol, part.data), (51, 20));
    }

    #[test]
    fn an_authentication_header_of_length_zero_has_eight_bytes() {
        let mut packet = bytes(&[IPV4, "06000000 00000001", TCP]);
        (packet[3], packet[9]) = (48, 51);
        assert_eq!(transport(&headers(parse(&packet))).offset, 28);
    }
}
