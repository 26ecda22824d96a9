//! The answer of a reject: a RST (RFC 9293 §3.10.7.1), or ICMPv4 3/13 (RFC 1812 §5.2.7.1), or ICMPv6 1/1
//! (RFC 4443 §3.1), sent back the way the packet came.
//!
//! A bridge has no address of its own, so the answer comes from the address that the packet was sent to; a router's ICMP
//! comes from the router.

use std::net::IpAddr;

use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::tcp::{self, MutableTcpPacket, TcpFlags, TcpPacket};

use super::answer::{Answered, IpHeader, Replies};
use super::icmp;
use crate::frame::{Headers, Link, TCP_MINIMUM, Upper};
use crate::policy::rules::is_single_host;
use crate::policy::{PortId, RejectWith};

/// A denied packet that may be answered: not a RST, nothing sent to a group, nothing from under MPLS labels,
/// no bogon, and TCP that shows its header.
pub(crate) struct Answerable<'a> {
    answered: Answered<'a>,
    tcp: TcpPacket<'a>,
}

impl<'a> Answerable<'a> {
    pub(crate) fn new(link: Link, frame: &'a [u8], headers: &'a Headers) -> Option<Answerable<'a>> {
        let Upper::Found(transport) = headers.upper else { return None };
        let tcp = TcpPacket::new(frame.get(transport.offset as usize..headers.end as usize)?)?;
        let encapsulation = headers.encapsulation;
        let silent = encapsulation.group
            || encapsulation.mpls
            || tcp.get_flags() & TcpFlags::RST != 0
            || !is_single_host(headers.addresses.destination());
        (!silent).then_some(Answerable { answered: Answered { link, frame, headers }, tcp })
    }

    /// Builds the answer and appends it to `replies`. ICMP comes from the router, if there is one.
    pub(crate) fn answer(
        &self,
        with: RejectWith,
        router: Option<IpAddr>,
        port: PortId,
        answers: usize,
        replies: &mut Replies,
    ) {
        let answered = &self.answered;
        answered.answer(port, answers, replies, |frame| match with {
            RejectWith::Rst => self.rst(frame),
            RejectWith::Icmp => {
                let from = router.unwrap_or(answered.headers.addresses.destination());
                let service = if router.is_some() { icmp::CONTROL } else { 0 };
                icmp::append(frame, answered, icmp::Error::Prohibited, from, service);
            }
        });
    }

    /// RFC 9293 §3.10.7.1: `<SEQ=SEG.ACK><CTL=RST>`, or `<SEQ=0><ACK=SEG.SEQ+SEG.LEN><CTL=RST,ACK>`.
    fn rst(&self, frame: &mut Vec<u8>) {
        let addresses = self.answered.headers.addresses;
        let (from, to) = (addresses.destination(), addresses.source());
        let header = IpHeader { from, to, protocol: IpNextHeaderProtocols::Tcp, service: 0 };
        let at = header.append(frame, TCP_MINIMUM);
        let flags = self.tcp.get_flags();
        let Some(mut rst) = MutableTcpPacket::new(&mut frame[at..]) else { return };
        rst.set_source(self.tcp.get_destination());
        rst.set_destination(self.tcp.get_source());
        rst.set_data_offset((TCP_MINIMUM / 4) as u8);
        if flags & TcpFlags::ACK != 0 {
            rst.set_sequence(self.tcp.get_acknowledgement());
            rst.set_flags(TcpFlags::RST);
        } else {
            rst.set_acknowledgement(self.tcp.get_sequence().wrapping_add(self.segment_length()));
            rst.set_flags(TcpFlags::RST | TcpFlags::ACK);
        }
        let checksum = match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => tcp::ipv4_checksum(&rst.to_immutable(), &from, &to),
            (IpAddr::V6(from), IpAddr::V6(to)) => tcp::ipv6_checksum(&rst.to_immutable(), &from, &to),
            _ => return,
        };
        rst.set_checksum(checksum);
    }

    /// SEG.LEN: the payload by the IP length, and one each for SYN and FIN. A data offset below 5 counts as
    /// a header of 20 bytes.
    fn segment_length(&self) -> u32 {
        let header = (usize::from(self.tcp.get_data_offset()) * 4).max(TCP_MINIMUM) as u32;
        let Upper::Found(transport) = self.answered.headers.upper else { return 0 };
        let payload = transport.available.saturating_sub(header);
        let flags = self.tcp.get_flags();
        let counted = [TcpFlags::SYN, TcpFlags::FIN].iter().filter(|&&flag| flags & flag != 0).count();
        payload + counted as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::sample::{IPV4, IPV6, TCP, bytes, headers};
    use crate::frame::{Depth, parse};

    /// The answers to [`TCP`] in [`IPV4`] and in [`IPV6`], worked out apart from any code of this project.
    const RST4: &str = "45000028 00000000 4006147e c6336419 cb007105 \
        0019c350 00000000 000003e9 50140000 822b0000";
    const RST6: &str = "60000000 00140640 3fff0002000000000000000000000001 20010db8d00000010000000000000005 \
        0019c350 00000000 000003e9 50140000 aabc0000";
    const ICMP4: &str = "45000044 00000000 40011467 c6336419 cb007105 030da7e8 00000000";
    const ICMP6: &str = "60000000 00443a40 3fff0002000000000000000000000001 20010db8d00000010000000000000005 \
        01010554 00000000";

    fn answer(link: Link, frame: &[u8], with: RejectWith) -> Option<Vec<u8>> {
        let headers = headers(parse(link, frame, Depth::default()));
        let answerable = Answerable::new(link, frame, &headers)?;
        // Behind an answer that is there already.
        let mut replies = Replies::behind(&[0xee; 3]);
        answerable.answer(with, None, PortId(3), 7, &mut replies);
        let all: Vec<_> = replies.iter().collect();
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].0.port, all[0].0.answers), (PortId(3), 7));
        Some(all[0].1.to_vec())
    }

    /// What answers the frame must be exactly the other one.
    #[track_caller]
    fn answers(link: Link, with: RejectWith, frame: &[&str], expected: &[&str]) {
        let got = answer(link, &bytes(frame), with).expect("an answer");
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(hex(&got), hex(&bytes(expected)));
        checksums_are_right(&got);
    }

    /// The ones' complement sum of RFC 1071 §1, 0 where the checksum in the bytes is right.
    fn sum(parts: &[&[u8]]) -> u16 {
        let sum: u32 = parts
            .iter()
            .flat_map(|part| part.chunks(2))
            .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)))
            .sum();
        !((sum & 0xffff) + (sum >> 16)) as u16
    }

    #[track_caller]
    fn checksums_are_right(frame: &[u8]) {
        let v4 = frame.windows(2).position(|pair| pair == [0x45, 0]);
        let v6 = frame.windows(4).position(|head| head == [0x60, 0, 0, 0]);
        match (v4, v6) {
            (Some(at), None) => {
                let packet = &frame[at..];
                let packet = &packet[..usize::from(packet[2]) << 8 | usize::from(packet[3])];
                assert_eq!(sum(&[&packet[..20]]), 0, "the header's");
                let pseudo = [0, packet[9], 0, (packet.len() - 20) as u8];
                match packet[9] {
                    1 => assert_eq!(sum(&[&packet[20..]]), 0, "ICMP's"),
                    _ => assert_eq!(sum(&[&packet[12..20], &pseudo, &packet[20..]]), 0, "TCP's"),
                }
            }
            (_, Some(at)) => {
                let packet = &frame[at..];
                let length = usize::from(packet[4]) << 8 | usize::from(packet[5]);
                let upper = &packet[40..40 + length];
                let pseudo = [0, 0, packet[4], packet[5], 0, 0, 0, packet[6]];
                assert_eq!(sum(&[&packet[8..40], &pseudo, upper]), 0);
            }
            _ => panic!("no packet"),
        }
    }

    const THERE: &str = "020000000001 020000000002";
    const BACK: &str = "020000000002 020000000001";
    const PAD: &str = "000000000000";

    #[test]
    fn a_plain_frame_is_answered_with_a_rst() {
        answers(Link::Ethernet, RejectWith::Rst, &[THERE, "0800", IPV4, TCP], &[BACK, "0800", RST4, PAD]);
        answers(Link::Ethernet, RejectWith::Rst, &[THERE, "86dd", IPV6, TCP], &[BACK, "86dd", RST6]);
    }

    #[test]
    fn a_plain_frame_is_answered_with_an_icmp_error_that_quotes_it() {
        let with = RejectWith::Icmp;
        answers(Link::Ethernet, with, &[THERE, "0800", IPV4, TCP, "eeee"], &[BACK, "0800", ICMP4, IPV4, TCP]);
        answers(Link::Ethernet, with, &[THERE, "86dd", IPV6, TCP, "eeee"], &[BACK, "86dd", ICMP6, IPV6, TCP]);
    }

    #[test]
    fn tags_come_back_with_all_their_bits_and_a_session_with_its_own_length() {
        let tags = "88a8 e123 8100 7fff 8864";
        for (session, ppp, rst, icmp) in
            [("1100 abcd", "0021", "002a", "0046"), ("1100 abcd", "21", "0029", "0045")]
        {
            // The length that came says more than there is; the answer has its own.
            let frame = [THERE, tags, session, "0100", ppp, IPV4, TCP];
            answers(Link::Ethernet, RejectWith::Rst, &frame, &[BACK, tags, session, rst, ppp, RST4]);
            let quoted = [BACK, tags, session, icmp, ppp, ICMP4, IPV4, TCP];
            answers(Link::Ethernet, RejectWith::Icmp, &frame, &quoted);
        }
        let frame = [THERE, "8100 0064 8864 1100 0001 003e 0057", IPV6, TCP];
        let back = [BACK, "8100 0064 8864 1100 0001 003e 0057", RST6];
        answers(Link::Ethernet, RejectWith::Rst, &frame, &back);
    }

    #[test]
    fn a_cooked_frame_is_answered_as_sent_by_this_host() {
        let came = "0000 0001 0006 020000000002 0000";
        let back = "0004 0001 0000 000000000000 0000";
        answers(Link::Cooked, RejectWith::Rst, &[came, "0800", IPV4, TCP], &[back, "0800", RST4]);
        answers(
            Link::Cooked,
            RejectWith::Icmp,
            &[came, "86dd", IPV6, TCP],
            &[back, "86dd", ICMP6, IPV6, TCP],
        );
        let came = "0800 0000 00000003 0001 00 06 020000000002 0000";
        let back = "0800 0000 00000003 0001 04 00 000000000000 0000";
        answers(Link::Cooked2, RejectWith::Rst, &[came, IPV4, TCP], &[back, RST4]);
        let came = "8100 0000 00000003 0001 00 06 020000000002 0000 0064 0800";
        let back = "8100 0000 00000003 0001 04 00 000000000000 0000 0064 0800";
        answers(Link::Cooked2, RejectWith::Rst, &[came, IPV4, TCP], &[back, RST4]);
    }

    #[test]
    fn a_packet_without_a_link_header_is_answered_without_one() {
        for link in [Link::Raw, Link::Ipv4] {
            answers(link, RejectWith::Rst, &[IPV4, TCP], &[RST4]);
            answers(link, RejectWith::Icmp, &[IPV4, TCP], &[ICMP4, IPV4, TCP]);
        }
        for link in [Link::Raw, Link::Ipv6] {
            answers(link, RejectWith::Rst, &[IPV6, TCP], &[RST6]);
        }
        answers(Link::Loopback, RejectWith::Rst, &["02000000", IPV4, TCP], &["02000000", RST4]);
    }

    /// The sequence number, acknowledgement number and flags of the RST that answers such a segment.
    fn numbers(segment: &str, payload: usize) -> (u32, u32, u8) {
        let mut frame = bytes(&[IPV4, segment]);
        frame.resize(frame.len() + payload, 0x55);
        frame[3] = frame.len() as u8;
        // What follows the packet is no payload.
        frame.extend([0xee; 11]);
        let rst = answer(Link::Raw, &frame, RejectWith::Rst).expect("an answer");
        checksums_are_right(&rst);
        let word = |at: usize| u32::from_be_bytes([rst[at], rst[at + 1], rst[at + 2], rst[at + 3]]);
        assert_eq!(rst[32], 0x50, "no options");
        (word(24), word(28), rst[33])
    }

    #[test]
    fn a_rst_has_the_numbers_that_the_senders_stack_accepts() {
        const RST: u8 = 0x04;
        const RST_ACK: u8 = 0x14;
        let segment =
            |offset_and_flags: &str| format!("c3500019 fffffffe 12345678 {offset_and_flags}ffff 00000000");
        for (offset_and_flags, payload, expected) in [
            ("5002", 0, (0, 0xffff_ffff, RST_ACK)),
            ("5002", 1, (0, 0, RST_ACK)),
            ("5003", 10, (0, 10, RST_ACK)),
            ("5001", 0, (0, 0xffff_ffff, RST_ACK)),
            ("5000", 3, (0, 1, RST_ACK)),
            ("5028", 0, (0, 0xffff_fffe, RST_ACK)),
            ("5010", 7, (0x1234_5678, 0, RST)),
            ("5012", 7, (0x1234_5678, 0, RST)),
            ("5011", 0, (0x1234_5678, 0, RST)),
            // Options are no payload.
            ("7002", 8, (0, 0xffff_ffff, RST_ACK)),
            ("7002", 12, (0, 3, RST_ACK)),
        ] {
            assert_eq!(
                numbers(&segment(offset_and_flags), payload),
                expected,
                "{offset_and_flags}, {payload}"
            );
        }
    }

    #[test]
    fn an_icmp_error_quotes_as_much_as_it_may() {
        let quoted = |mut frame: Vec<u8>, length: usize, at: usize| {
            frame.resize(length, 0x55);
            let field = match at {
                2 => length as u16,
                _ => (length - 40) as u16,
            };
            frame[at..at + 2].copy_from_slice(&field.to_be_bytes());
            let error = answer(Link::Raw, &frame, RejectWith::Icmp).expect("an answer");
            let header = if at == 2 { 28 } else { 48 };
            assert_eq!(error[header..], frame[..error.len() - header]);
            error.len()
        };
        // RFC 1812 §4.3.2.3, RFC 4443 §2.4 (c).
        for (length, error) in [(40, 68), (548, 576), (549, 576), (1500, 576)] {
            assert_eq!(quoted(bytes(&[IPV4, TCP]), length, 2), error);
        }
        for (length, error) in [(60, 108), (1232, 1280), (1233, 1280), (1500, 1280)] {
            assert_eq!(quoted(bytes(&[IPV6, TCP]), length, 4), error);
        }
    }

    #[test]
    fn some_packets_are_never_answered() {
        let mut silent = vec![
            ("a RST", bytes(&[THERE, "0800", IPV4, "c3500019 000003e8 00000000 5004ffff 00000000"])),
            ("a RST with ACK", bytes(&[THERE, "0800", IPV4, "c3500019 000003e8 00000000 5014ffff 00000000"])),
            ("a broadcast", bytes(&["ffffffffffff 020000000002 0800", IPV4, TCP])),
            ("a multicast", bytes(&["01005e000001 020000000002 0800", IPV4, TCP])),
            ("labels", bytes(&[THERE, "8847 00010140", IPV4, TCP])),
        ];
        for (what, destination) in [
            ("to a group", "e0000001"),
            ("to all", "ffffffff"),
            ("to this host", "7f000001"),
            ("to nobody", "00000000"),
        ] {
            silent
                .push((what, bytes(&[THERE, "0800 45000028 12340000 40060000 cb007105", destination, TCP])));
        }
        for (what, destination) in
            [("to a group", "ff0e0000000000000000000000000025"), ("to nobody", &"0".repeat(32))]
        {
            let source = "20010db8d00000010000000000000005";
            silent.push((what, bytes(&[THERE, "86dd 60000000 00140640", source, destination, TCP])));
        }
        for (what, frame) in silent {
            for with in [RejectWith::Rst, RejectWith::Icmp] {
                assert_eq!(answer(Link::Ethernet, &frame, with), None, "{what}");
            }
        }
        // A cooked frame that was sent to all.
        for kind in ["0001", "0002"] {
            let frame = bytes(&[kind, "0001 0006 020000000002 0000 0800", IPV4, TCP]);
            assert_eq!(answer(Link::Cooked, &frame, RejectWith::Rst), None);
        }
    }

    #[test]
    fn a_first_fragment_is_answered_for_the_bytes_it_has() {
        let mut frame = bytes(&["45000030 12342000 40060000 cb007105 c6336419", TCP, "5555555555555555"]);
        let rst = answer(Link::Raw, &frame, RejectWith::Rst).expect("an answer");
        assert_eq!(rst[28..32], [0, 0, 3, 0xf1], "SYN and eight bytes");
        assert_eq!(rst[6..8], [0, 0], "the answer is whole");
        // A later one shows no ports.
        frame[7] = 1;
        assert_eq!(answer(Link::Raw, &frame, RejectWith::Rst), None);
    }
}
