//! IPv4 fragmentation (RFC 791 §3.2, RFC 1812 §4.2.2.7): a packet that is longer than the next link takes, and may be
//! fragmented, leaves as several.

use crate::action::{ETHERNET_MINIMUM, Made, Replies};
use crate::policy::PortId;
use crate::route::{Adjacency, checksum};

const PLAIN: usize = 20;
const MORE: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;
/// An option that every fragment has.
const COPIED: u8 = 0x80;
/// MACs, tag, EtherType, the longest header; with that, also what pads a frame.
const OVERHEAD: usize = 18 + 60;
const _: () = assert!(OVERHEAD >= ETHERNET_MINIMUM);

/// Writes the fragments of a packet to `replies`, ready to leave; says how many, none if there is no room for them.
pub(super) fn fragment(
    packet: &[u8],
    adjacency: &Adjacency,
    answers: usize,
    replies: &mut Replies,
) -> Option<u64> {
    let header =
        packet.get(..usize::from(packet.first()? & 0xf) * 4).filter(|header| header.len() >= PLAIN)?;
    let data = packet.get(header.len()..)?;
    // Data of each but the last is a multiple of eight.
    let each = usize::from(adjacency.mtu).checked_sub(header.len())? & !7;
    if each == 0 {
        return None;
    }
    let count = data.len().div_ceil(each);
    if !replies.has_room(count, data.len() + count * OVERHEAD) {
        return None;
    }
    let field = u16::from_be_bytes([header[6], header[7]]);
    // Beyond the longest datagram the offset would begin anew, and a fragment would be the first that was none.
    if usize::from(field & OFFSET) * 8 + data.len() > usize::from(u16::MAX) {
        return None;
    }
    for (n, part) in data.chunks(each).enumerate() {
        let last = n + 1 == count;
        let more = if last { field & MORE } else { MORE };
        let offset = (field & OFFSET) + (n * each / 8) as u16;
        replies.add(PortId(adjacency.port), answers, Made::Fragment, |frame| {
            let start = frame.len();
            link_header(frame, adjacency);
            let ip = frame.len();
            frame.extend_from_slice(&header[..PLAIN]);
            append_options(frame, &header[PLAIN..], n == 0);
            let length = frame.len() - ip;
            let header = &mut frame[ip..];
            header[0] = 0x40 | (length / 4) as u8;
            header[2..4].copy_from_slice(&((length + part.len()) as u16).to_be_bytes());
            // The bit that is reserved goes along.
            let field = field & !(MORE | OFFSET) | more | offset & OFFSET;
            header[6..8].copy_from_slice(&field.to_be_bytes());
            header[8] = header[8].saturating_sub(1);
            header[10..12].fill(0);
            let checksum = checksum::of(header);
            header[10..12].copy_from_slice(&checksum.to_be_bytes());
            frame.extend_from_slice(part);
            frame.resize(frame.len().max(start + ETHERNET_MINIMUM), 0);
        });
    }
    Some(count as u64)
}

fn link_header(frame: &mut Vec<u8>, adjacency: &Adjacency) {
    frame.extend_from_slice(&adjacency.macs);
    if adjacency.vlan != 0 {
        frame.extend_from_slice(&[0x81, 0x00]);
        frame.extend_from_slice(&adjacency.vlan.to_be_bytes());
    }
    frame.extend_from_slice(&[0x08, 0x00]);
}

/// All options in the first fragment, those to be copied in the others, padded to whole words.
fn append_options(frame: &mut Vec<u8>, options: &[u8], first: bool) {
    if first {
        frame.extend_from_slice(options);
        return;
    }
    let (mut at, start) = (0, frame.len());
    while let Some(&kind) = options.get(at) {
        let length = match kind {
            0 => break,
            1 => 1,
            _ => match options.get(at + 1) {
                Some(&length) if length >= 2 => usize::from(length),
                _ => break,
            },
        };
        let Some(option) = options.get(at..at + length) else { break };
        if kind & COPIED != 0 {
            frame.extend_from_slice(option);
        }
        at += length;
    }
    let written = frame.len() - start;
    frame.resize(start + written.next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::State;

    fn packet(options: &[u8], field: u16, data: usize) -> Vec<u8> {
        let length = PLAIN + options.len();
        let mut packet = vec![0x40 | (length / 4) as u8, 0x20, 0, 0, 0x12, 0x34, 0, 0, 64, 17, 0, 0];
        packet.extend([203, 0, 113, 5, 198, 51, 100, 25]);
        packet.extend(options);
        packet[2..4].copy_from_slice(&((length + data) as u16).to_be_bytes());
        packet[6..8].copy_from_slice(&field.to_be_bytes());
        let checksum = checksum::of(&packet);
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
        packet.extend((0..data).map(|n| n as u8));
        packet
    }

    #[test]
    fn what_would_be_longer_than_a_datagram_is_not_made_a_first_fragment() {
        // Offset 8120 of 8191, and behind 576 bytes what would stand at offset 0 of the next.
        let packet = packet(&[], MORE | (8192 - 72), 600);
        let macs = [0; 12];
        let adjacency = Adjacency { macs, vlan: 0, mtu: 600, link: 0, port: 3, state: State::Ready };
        let mut replies = Replies::for_routing(1);
        assert_eq!(fragment(&packet, &adjacency, 0, &mut replies), None);
        assert!(replies.is_empty());
    }

    fn fragments(packet: &[u8], mtu: u16) -> Vec<Vec<u8>> {
        let macs = [1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2];
        let adjacency = Adjacency { macs, vlan: 100, mtu, link: 0, port: 3, state: State::Ready };
        let mut replies = Replies::for_routing(1);
        let count = fragment(packet, &adjacency, 0, &mut replies).unwrap();
        let frames: Vec<_> = replies.iter().map(|(_, bytes)| bytes.to_vec()).collect();
        assert_eq!(frames.len() as u64, count);
        frames
            .iter()
            .map(|frame| {
                assert_eq!(frame[..18], [&macs[..], &[0x81, 0, 0, 100, 8, 0]].concat());
                assert!(frame.len() >= ETHERNET_MINIMUM);
                let (packet, padding) =
                    frame[18..].split_at(u16::from_be_bytes([frame[20], frame[21]]).into());
                assert!(padding.is_empty() || frame.len() == ETHERNET_MINIMUM);
                assert!(padding.iter().all(|byte| *byte == 0));
                let header = usize::from(packet[0] & 0xf) * 4;
                assert!(packet.len() <= usize::from(mtu));
                assert!(checksum::is_right_of(&packet[..header]));
                assert_eq!(
                    (packet[1], packet[8], packet[9]),
                    (0x20, 63, 17),
                    "service, time to live, protocol"
                );
                packet.to_vec()
            })
            .collect()
    }

    /// Puts fragments together by their offsets, and says whether more are to come.
    fn together(fragments: &[Vec<u8>]) -> (Vec<u8>, u16, bool) {
        let field = |packet: &[u8]| u16::from_be_bytes([packet[6], packet[7]]);
        let first = field(&fragments[0]) & OFFSET;
        let mut data = Vec::new();
        for (n, packet) in fragments.iter().enumerate() {
            let header = usize::from(packet[0] & 0xf) * 4;
            assert_eq!(usize::from(field(packet) & OFFSET) * 8, usize::from(first) * 8 + data.len());
            if n + 1 < fragments.len() {
                assert_ne!(field(packet) & MORE, 0);
            }
            data.extend_from_slice(&packet[header..]);
        }
        (data, first, field(fragments.last().unwrap()) & MORE != 0)
    }

    #[test]
    fn fragments_come_together_to_the_packet() {
        for (mtu, field, data) in [
            (600, 0, 1480),
            (600, 0, 577),
            (68, 0, 1480),
            (1499, 0, 1480),
            (576, MORE | 185, 1480),
            (576, 185, 700),
        ] {
            let whole = packet(&[], field, data);
            let parts = fragments(&whole, mtu);
            assert!(parts.len() > 1);
            assert_eq!(together(&parts), (whole[PLAIN..].to_vec(), field & OFFSET, field & MORE != 0));
        }
    }

    #[test]
    fn options_that_are_to_be_copied_stand_in_every_fragment_and_others_in_the_first() {
        // Router alert, which is copied; record route, which is not; padding.
        let options = [0x94, 4, 0, 0, 7, 7, 4, 0, 0, 0, 0, 0];
        let parts = fragments(&packet(&options, 0, 1000), 576);
        assert_eq!(parts[0][PLAIN..PLAIN + 12], options);
        assert_eq!((parts[1][0] & 0xf, &parts[1][PLAIN..PLAIN + 4]), (6, &options[..4]));
        assert_eq!(together(&parts).0.len(), 1000);
    }
}
