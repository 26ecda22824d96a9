//! PPPoE session frames (RFC 2516) and the PPP protocol field (RFC 1661 §2).

use super::{Descent, Frame, Version, u16_at};

/// Version and type, code, session, length.
pub(crate) const HEADER_SIZE: usize = 6;
/// Where the length field stands in the header.
pub(crate) const LENGTH_OFFSET: usize = 4;

const PPP_IPV4: u16 = 0x0021;
const PPP_IPV6: u16 = 0x0057;

pub(super) fn parse(descent: &mut Descent<'_>) -> Frame {
    let header = descent.rest();
    let Some(length) = u16_at(header, LENGTH_OFFSET) else { return Frame::NotIp };
    descent.pppoe = Some(descent.at as u32);
    descent.at += HEADER_SIZE;
    // The length bounds what follows; a longer one than the frame says nothing.
    descent.end = descent.end.min(descent.at + usize::from(length));
    let Some((protocol, size)) = ppp_protocol(descent.rest()) else { return Frame::NotIp };
    descent.at += size;
    match protocol {
        PPP_IPV4 => descent.ip(Version::V4),
        PPP_IPV6 => descent.ip(Version::V6),
        _ => Frame::NotIp,
    }
}

/// The protocol and its width: the low bit of its last byte is set, so a first byte that has it set is a
/// compressed field (RFC 1661 §6.5).
fn ppp_protocol(bytes: &[u8]) -> Option<(u16, usize)> {
    let first = *bytes.first()?;
    if first & 1 != 0 {
        return Some((u16::from(first), 1));
    }
    Some((u16_at(bytes, 0)?, 2))
}

#[cfg(test)]
mod tests {
    use super::super::Frame;
    use super::super::sample::{IPV4, IPV6, TCP, ethernet, headers};

    #[test]
    fn the_protocol_field_is_two_bytes_or_compressed_to_one() {
        for (session, ip, packet) in [
            ("1100 0001 002a 0021", 22, IPV4),
            ("1100 0001 0029 21", 21, IPV4),
            ("1100 0001 003e 0057", 22, IPV6),
            ("1100 0001 003d 57", 21, IPV6),
        ] {
            let headers = headers(ethernet(&["8864", session, packet, TCP]));
            assert_eq!(headers.encapsulation.pppoe, Some(14), "{session}");
            assert_eq!(headers.encapsulation.ip, ip, "{session}");
        }
    }

    #[test]
    fn a_session_behind_tags_says_where_its_header_is() {
        let headers = headers(ethernet(&["88a8 0001 8100 0002 8864 1100 0007 002a 0021", IPV4, TCP]));
        assert_eq!(headers.encapsulation.pppoe, Some(22));
        assert_eq!(headers.encapsulation.ip, 30);
    }

    #[test]
    fn a_session_counts_nothing_towards_the_depth() {
        let four = "8100 0001 8100 0001 8100 0001 8100 0001";
        assert!(matches!(ethernet(&[four, "8864 1100 0001 002a 0021", IPV4, TCP]), Frame::Ip(_)));
    }

    #[test]
    fn version_type_and_code_are_not_checked() {
        for header in ["1100", "2100", "1109", "ffff"] {
            assert!(
                matches!(ethernet(&["8864", header, "0001 002a 0021", IPV4, TCP]), Frame::Ip(_)),
                "{header}"
            );
        }
    }

    #[test]
    fn the_length_bounds_the_packet() {
        let with = |length: &str| ethernet(&["8864 1100 0001", length, "0021", IPV4, TCP, "eeee"]);
        assert!(matches!(with("002a"), Frame::Ip(_)));
        // More than the packet needs is padding; more than there is says nothing.
        assert!(matches!(with("002c"), Frame::Ip(_)));
        assert!(matches!(with("ffff"), Frame::Ip(_)));
        assert_eq!(with("0029"), Frame::Malformed, "one byte less than the IP packet has");
        assert_eq!(with("0002"), Frame::Malformed, "the protocol and nothing else");
        assert_eq!(with("0001"), Frame::NotIp, "half a protocol");
        assert_eq!(with("0000"), Frame::NotIp);
    }

    #[test]
    fn the_lower_byte_of_a_protocol_alone_is_not_a_compressed_one() {
        // 0x57 and 0x21 have their low bit set; 0xc0 has not, so two bytes are its field.
        for protocol in ["c021", "8021", "8057", "c023", "0031", "31", "2101", "0121"] {
            assert_eq!(
                ethernet(&["8864 1100 0001 0040", protocol, IPV4, TCP]),
                not_ip(protocol),
                "{protocol}"
            );
        }
    }

    /// `21 01` is a compressed 0x21 with a packet that begins with 01.
    fn not_ip(protocol: &str) -> Frame {
        if protocol == "2101" { Frame::Malformed } else { Frame::NotIp }
    }

    #[test]
    fn a_frame_that_ends_inside_the_header_is_not_ip() {
        for header in
            ["", "11", "1100", "1100 00", "1100 0001", "1100 0001 00", "1100 0001 0010", "1100 0001 0010 00"]
        {
            assert_eq!(ethernet(&["8864", header]), Frame::NotIp, "{header}");
        }
    }
}
