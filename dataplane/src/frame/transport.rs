//! The upper-layer header: TCP (RFC 9293), UDP (RFC 768), SCTP (RFC 9260), ICMP.

use pnet::packet::tcp::TcpPacket;

use super::u16_at;

/// Protocol numbers (IANA) that the policy names.
pub mod protocol {
    #![allow(missing_docs)]
    pub const ICMP: u8 = 1;
    pub const IGMP: u8 = 2;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const DCCP: u8 = 33;
    pub const AUTHENTICATION: u8 = 51;
    pub const ICMPV6: u8 = 58;
    pub const NO_NEXT_HEADER: u8 = 59;
    pub const SCTP: u8 = 132;
    pub const UDP_LITE: u8 = 136;
}

/// TCP's header without options.
pub(crate) const TCP_MINIMUM: usize = 20;
/// Where TCP's header has its flags.
pub(crate) const TCP_FLAGS: usize = 13;
/// TCP's flag RST.
pub(super) const TCP_RST: u8 = 0x04;
/// UDP's header.
pub(crate) const UDP_SIZE: usize = 8;
const PORTS_SIZE: usize = 4;
const SMTP: u16 = 25;

/// Whether these flags are those of a connection's first segment: SYN without ACK, nor RST.
#[inline]
pub(crate) fn opens(flags: u8) -> bool {
    const SYN: u8 = 0x02;
    const ACK: u8 = 0x10;
    flags & (SYN | TCP_RST | ACK) == SYN
}

/// Source and destination port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
}

impl Ports {
    /// Whether either of them is `port`.
    pub fn either(&self, port: u16) -> bool {
        self.source == port || self.destination == port
    }
}

/// The header at the end of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transport {
    /// The protocol (IPv4) or last next header (IPv6).
    pub protocol: u8,
    /// Where it starts in the frame.
    pub offset: u32,
    /// How many of its bytes the packet has.
    pub available: u32,
    /// TCP's, UDP's or SCTP's ports, where the packet has them.
    pub ports: Option<Ports>,
}

impl Transport {
    /// The header at `packet[offset..]`; `offset` is at most the packet's length.
    pub(super) fn read(protocol: u8, packet: &[u8], offset: usize) -> Transport {
        let bytes = packet.get(offset..).unwrap_or(&[]);
        let has_ports = matches!(protocol, protocol::TCP | protocol::UDP | protocol::SCTP);
        let ports = match (u16_at(bytes, 0), u16_at(bytes, 2)) {
            (Some(source), Some(destination)) if has_ports => Some(Ports { source, destination }),
            _ => None,
        };
        Transport { protocol, offset: offset as u32, available: bytes.len() as u32, ports }
    }

    /// Rule 3's last clause, for an unfragmented packet: TCP and UDP have their ports, and TCP to or from
    /// port 25 has the header that its data offset claims.
    pub(super) fn can_be_judged(&self, packet: &[u8]) -> bool {
        let available = self.available as usize;
        match self.protocol {
            protocol::UDP => available >= PORTS_SIZE,
            protocol::TCP => match self.ports {
                None => false,
                Some(ports) if ports.either(SMTP) => {
                    let header = packet.get(self.offset as usize..).and_then(TcpPacket::new);
                    header.is_some_and(|tcp| {
                        let length = usize::from(tcp.get_data_offset()) * 4;
                        length >= TCP_MINIMUM && length <= available
                    })
                }
                Some(_) => true,
            },
            _ => true,
        }
    }

    /// How many bytes of `frame` the header takes by its own account: TCP with its options (20 bytes where
    /// the data offset is below 5 or cut off), UDP's 8, nothing for others.
    pub fn header_length(&self, frame: &[u8]) -> usize {
        match self.protocol {
            protocol::TCP => frame
                .get(self.offset as usize..)
                .and_then(TcpPacket::new)
                .map_or(TCP_MINIMUM, |tcp| (usize::from(tcp.get_data_offset()) * 4).max(TCP_MINIMUM)),
            protocol::UDP => UDP_SIZE,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::{bytes, headers, raw};
    use super::super::{Frame, Upper};
    use super::*;

    /// An IPv4 packet of that protocol with those bytes behind its header.
    fn packet(protocol: u8, upper: &[&str]) -> Vec<u8> {
        let upper = bytes(upper);
        let mut packet = bytes(&["45000000 00000000 40000000 cb007105 c6336419"]);
        packet[3] = 20 + upper.len() as u8;
        packet[9] = protocol;
        packet.extend(upper);
        packet
    }

    fn parse(protocol: u8, upper: &[&str]) -> Frame {
        super::super::parse(super::super::Link::Raw, &packet(protocol, upper), Default::default())
    }

    #[track_caller]
    fn found(frame: Frame) -> Transport {
        match headers(frame).upper {
            Upper::Found(transport) => transport,
            other => panic!("{other:?}"),
        }
    }

    const REST: &str = "00000001 00000002 5010ffff 00000000";

    #[test]
    fn tcp_udp_and_sctp_have_ports_and_others_none() {
        let ports = Some(Ports { source: 50_000, destination: 25 });
        for protocol in [protocol::TCP, protocol::UDP, protocol::SCTP] {
            let transport = found(parse(protocol, &["c3500019", REST]));
            assert_eq!((transport.protocol, transport.ports), (protocol, ports));
            assert_eq!((transport.offset, transport.available), (20, 20));
        }
        for protocol in
            [protocol::ICMP, protocol::IGMP, protocol::DCCP, protocol::UDP_LITE, 50, 47, 4, 41, 255]
        {
            assert_eq!(found(parse(protocol, &["c3500019", REST])).ports, None, "{protocol}");
        }
    }

    #[test]
    fn tcp_and_udp_without_their_ports_are_malformed() {
        for protocol in [protocol::TCP, protocol::UDP] {
            for upper in ["", "c3", "c350", "c35000"] {
                assert_eq!(parse(protocol, &[upper]), Frame::Malformed, "{protocol}: {upper}");
            }
        }
        assert!(found(parse(protocol::UDP, &["c3500035"])).ports.is_some());
        assert!(found(parse(protocol::TCP, &["c35001bb"])).ports.is_some());
        assert_eq!(found(parse(protocol::SCTP, &["c350"])).ports, None);
    }

    #[test]
    fn tcp_of_port_25_must_have_the_header_that_its_data_offset_tells() {
        for ports in ["c3500019", "0019c350"] {
            for (offset, options, good) in [
                ("50", "", true),
                ("40", "", false),
                ("00", "", false),
                ("60", "", false),
                ("60", "01010101", true),
                ("f0", "01010101", false),
                ("5f", "", true),
            ] {
                let upper = [ports, "00000001 00000002", offset, "10ffff 00000000", options];
                assert_eq!(matches!(parse(protocol::TCP, &upper), Frame::Ip(_)), good, "{offset} {options}");
            }
            assert_eq!(parse(protocol::TCP, &[ports, "00000001 00000002 5010ffff 000000"]), Frame::Malformed);
        }
        // Of other ports nobody asks more than the ports.
        for upper in [["c35001bb", "00000001 00000002 4010ffff 00000000"], ["c3501900", "0000"]] {
            assert!(matches!(parse(protocol::TCP, &upper), Frame::Ip(_)));
        }
    }

    #[test]
    fn a_headers_length_is_its_own_account_and_never_less_than_it_takes() {
        let length = |protocol, upper: &[&str]| {
            let packet = packet(protocol, upper);
            found(super::super::parse(super::super::Link::Raw, &packet, Default::default()))
                .header_length(&packet)
        };
        assert_eq!(length(protocol::TCP, &["c35001bb", REST]), 20);
        assert_eq!(length(protocol::TCP, &["c35001bb 00000001 00000002 f010ffff 00000000"]), 60);
        assert_eq!(length(protocol::TCP, &["c35001bb 00000001 00000002 4010ffff 00000000"]), 20);
        assert_eq!(length(protocol::TCP, &["c35001bb"]), 20, "no data offset there");
        assert_eq!(length(protocol::UDP, &["c35001bb"]), 8);
        assert_eq!(length(protocol::ICMP, &["08000000"]), 0);
    }

    #[test]
    fn ports_are_found_on_either_side() {
        let ports = Ports { source: 587, destination: 25 };
        assert!(ports.either(25) && ports.either(587) && !ports.either(465));
        let transport = found(raw(&["45000018 00000000 40110000 cb007105 c6336419 024b0019"]));
        assert_eq!(transport.ports, Some(ports));
    }
}
