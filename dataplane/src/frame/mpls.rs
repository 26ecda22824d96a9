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
