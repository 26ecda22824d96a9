//! The frames that answer a rejected packet: a TCP reset, or ICMP "administratively prohibited".
//!
//! They go back the way the packet came: MAC addresses swapped, VLAN tags and PPPoE session as they were.

use std::net::IpAddr;

use super::link::Envelope;
use super::packet::{ACK, FIN, Packet, RST, SYN, data_offset};

const HOP_LIMIT: u8 = 64;

/// RFC 9293 section 3.10.7.1: the reset that the sender of the segment accepts.
pub(super) fn reset(envelope: &Envelope<'_>, packet: &Packet<'_>, segment: &[u8]) -> Vec<u8> {
    let flags = segment[13];
    let (sequence, acknowledgment, reply_flags) = if flags & ACK != 0 {
        // <SEQ=SEG.ACK><CTL=RST>
        (be32(segment, 8), 0, RST)
    } else {
        // <SEQ=0><ACK=SEG.SEQ+SEG.LEN><CTL=RST,ACK>. 7.11: a fragment counts the payload bytes present;
        // 7.15: a data offset below 5 counts as a header of 20 bytes.
        let header = data_offset(segment).unwrap_or(20).max(20);
        let mut length = u32::try_from(segment.len().saturating_sub(header)).expect("an IP packet's length");
        length += u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
        (0, be32(segment, 4).wrapping_add(length), RST | ACK)
    };
    let mut tcp = Vec::new();
    tcp.extend_from_slice(&segment[2..4]);
    tcp.extend_from_slice(&segment[0..2]);
    tcp.extend_from_slice(&sequence.to_be_bytes());
    tcp.extend_from_slice(&acknowledgment.to_be_bytes());
    tcp.extend_from_slice(&[0x50, reply_flags, 0, 0, 0, 0, 0, 0]);
    let sum = upper_checksum(packet, 6, &tcp);
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    back(envelope, packet, 6, &tcp)
}

/// ICMPv4 3/13 or ICMPv6 1/1, from the denied destination, quoting as much of the packet as fits.
pub(super) fn prohibited(envelope: &Envelope<'_>, packet: &Packet<'_>) -> Vec<u8> {
    let (kind, code, protocol, header, most) =
        if packet.is_v6() { (1, 1, 58, 40, 1280) } else { (3, 13, 1, 20, 576) };
    let quote = &packet.bytes[..packet.bytes.len().min(most - header - 8)];
    let mut icmp = vec![kind, code, 0, 0, 0, 0, 0, 0];
    icmp.extend_from_slice(quote);
    let sum = if packet.is_v6() { upper_checksum(packet, protocol, &icmp) } else { checksum(&[&icmp]) };
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    back(envelope, packet, protocol, &icmp)
}

/// The frame that carries `payload` back to the sender of `packet`.
fn back(envelope: &Envelope<'_>, packet: &Packet<'_>, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut ip = Vec::new();
    match (packet.source, packet.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            ip.extend_from_slice(&[0x45, 0]);
            ip.extend_from_slice(&length16(20 + payload.len()));
            ip.extend_from_slice(&[0, 0, 0, 0, HOP_LIMIT, protocol, 0, 0]);
            ip.extend_from_slice(&destination.octets());
            ip.extend_from_slice(&source.octets());
            let sum = checksum(&[&ip]);
            ip[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        (source, destination) => {
            ip.extend_from_slice(&[0x60, 0, 0, 0]);
            ip.extend_from_slice(&length16(payload.len()));
            ip.extend_from_slice(&[protocol, HOP_LIMIT]);
            ip.extend_from_slice(&octets(destination));
            ip.extend_from_slice(&octets(source));
        }
    }
    ip.extend_from_slice(payload);

    let mut frame = envelope.head.to_vec();
    frame[..6].copy_from_slice(&envelope.head[6..12]);
    frame[6..12].copy_from_slice(&envelope.head[..6]);
    if let Some(at) = envelope.pppoe_at {
        // The PPP protocol field, in its width, counts into the PPPoE length.
        let length = envelope.head.len() - (at + 6) + ip.len();
        frame[at + 4..at + 6].copy_from_slice(&length16(length));
    }
    frame.extend_from_slice(&ip);
    frame
}

/// A checksum over the pseudo header of the reply and `payload`.
fn upper_checksum(packet: &Packet<'_>, protocol: u8, payload: &[u8]) -> u16 {
    let length = u32::try_from(payload.len()).expect("an IP packet's length").to_be_bytes();
    checksum(&[&octets(packet.destination), &octets(packet.source), &length, &[0, 0, 0, protocol], payload])
}

/// The Internet checksum (RFC 1071) over parts of which all but the last have an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum: u64 = 0;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded to sixteen bits")
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

fn length16(length: usize) -> [u8; 2] {
    u16::try_from(length).expect("a length in a reply").to_be_bytes()
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
