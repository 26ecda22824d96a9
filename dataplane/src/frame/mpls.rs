//! MPLS label stacks (RFC 3032).

use super::{Descent, Frame};

const LABEL_SIZE: usize = 4;
/// The S bit of a label stack entry (RFC 3032 §2.1).
const BOTTOM_OF_STACK: u8 = 0x01;

pub(super) fn parse(descent: &mut Descent<'_>) -> Frame {
    descent.mpls = true;
    loop {
        if descent.tags == descent.depth.l2_headers {
            return Frame::EncapDepth;
        }
        let Some(label) = descent.rest().first_chunk::<LABEL_SIZE>() else { return Frame::NotIp };
        let bottom = label[2] & BOTTOM_OF_STACK != 0;
        descent.tags += 1;
        descent.at += LABEL_SIZE;
        if bottom {
            break;
        }
    }
    // A label stack names no protocol: the first nibble is what everybody goes by (RFC 4928 §2).
    match descent.version_by_nibble() {
        Some(version) => descent.ip(version),
        None => Frame::NotIp,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Frame;
    use super::super::sample::{IPV4, IPV6, TCP, ethernet, headers};

    #[test]
    fn the_payload_is_told_by_its_first_nibble() {
        for (labels, packet, ip) in [
            ("00010140", IPV4, 18),
            ("00010140", IPV6, 18),
            ("00010040 00020140", IPV4, 22),
            ("00010040 00020040 00030040 fffff1ff", IPV6, 30),
        ] {
            for kind in ["8847", "8848"] {
                let headers = headers(ethernet(&[kind, labels, packet, TCP]));
                assert_eq!(headers.encapsulation.ip, ip, "{labels}");
                assert!(headers.encapsulation.mpls);
            }
        }
    }

    #[test]
    fn labels_count_with_tags_and_the_fifth_is_too_deep() {
        assert!(matches!(ethernet(&["8100 0001 8100 0001 8847 00010040 00020140", IPV4, TCP]), Frame::Ip(_)));
        for headers in [
            "8847 00010040 00020040 00030040 00040040 00050140",
            "8100 0001 8100 0001 8100 0001 8847 00010040 00020140",
            "8100 0001 8100 0001 8100 0001 8100 0001 8847 00010140",
            // Cut inside the fifth, or in front of it.
            "8847 00010040 00020040 00030040 00040040 0005",
            "8847 00010040 00020040 00030040 00040040",
        ] {
            assert_eq!(ethernet(&[headers]), Frame::EncapDepth, "{headers}");
        }
    }

    #[test]
    fn what_is_neither_version_or_ends_in_the_stack_is_not_ip() {
        for frame in [
            "8847 00010140 50000000",
            "8847 00010140 00000000",
            "8847 00010140",
            "8847 000101",
            "8847",
            "8847 00010040 0002",
        ] {
            assert_eq!(ethernet(&[frame]), Frame::NotIp, "{frame}");
        }
    }

    #[test]
    fn only_the_lowest_bit_of_the_third_byte_is_the_bottom() {
        // Everything but that bit is set: what follows is taken for labels.
        assert_eq!(ethernet(&["8847 fffffeff", IPV4, TCP]), Frame::EncapDepth);
        assert!(matches!(ethernet(&["8847 000001ff", IPV4, TCP]), Frame::Ip(_)));
    }
}
