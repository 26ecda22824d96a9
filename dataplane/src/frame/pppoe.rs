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
