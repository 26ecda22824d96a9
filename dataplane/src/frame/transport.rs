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
/// UDP's header.
pub(crate) const UDP_SIZE: usize = 8;
const PORTS_SIZE: usize = 4;
const SMTP: u16 = 25;

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
                .map_or(TCP_MINIMUM, |tcp| {
                    (usize::from(tcp.get_data_offset()) * 4).max(TCP_MINIMUM)
                }),
            protocol::UDP => UDP_SIZE,
            _ => 0,
        }
    }
}
