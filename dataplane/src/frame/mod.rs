//! Frames: from the bytes of a link to validated offsets and keys.
//!
//! One protocol a file. The packet views are pnet's; pnet clamps bad header lengths and does not walk IPv6
//! extension headers, so each file checks before it slices and keeps only what it has checked. Nothing is
//! copied: [`Headers`] holds offsets into the borrowed frame.
//!
//! A frame is read down to the ports of its outermost IP packet. Tunnels are not opened.

mod ethernet;
mod ipv4;
mod ipv6;
mod link;
mod mpls;
mod network;
mod pppoe;
pub(crate) mod straight;
mod transport;

pub use link::Link;
pub use network::{Addresses, Datagram, Fragment, Upper};
pub(crate) use pppoe::{HEADER_SIZE as PPPOE_HEADER_SIZE, LENGTH_OFFSET as PPPOE_LENGTH_OFFSET};
pub use transport::{Ports, Transport, protocol};
pub(crate) use transport::{TCP_FLAGS, TCP_MINIMUM, opens};

/// How many headers are read before a frame is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depth {
    /// VLAN tags and MPLS labels together.
    pub l2_headers: usize,
    /// IPv6 extension headers, and authentication headers in IPv4.
    pub extension_headers: usize,
}

impl Default for Depth {
    fn default() -> Self {
        Depth { l2_headers: 4, extension_headers: 8 }
    }
}

/// What a frame turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Not IPv4 or IPv6 after the link's headers, or cut inside them.
    NotIp,
    /// More VLAN tags and MPLS labels than [`Depth::l2_headers`], whatever follows.
    EncapDepth,
    /// An IP packet whose headers contradict themselves or the frame (policy rule 3).
    Malformed,
    /// An IP packet with the headers found in it.
    Ip(Headers),
}

/// The validated headers of an IP packet: offsets into its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// The link's side: everything in front of the IP header.
    pub encapsulation: Encapsulation,
    /// Source and destination of the outermost IP header.
    pub addresses: Addresses,
    /// Where the IP packet ends in the frame, by its own length; what follows is padding.
    pub end: u32,
    /// An IPv4 loose or strict source route, or an IPv6 routing header of type 0 (RFC 7126, RFC 5095).
    pub source_route: bool,
    /// An IPv6 routing header of type 2, 3 or 4 with segments left.
    pub routed: bool,
    /// Whole, or which part of a fragmented datagram.
    pub datagram: Datagram,
    /// What stands behind the IP header and its extension headers.
    pub upper: Upper,
}

/// What stands in front of the IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encapsulation {
    /// Where the IP header starts in the frame.
    pub ip: u32,
    /// Where the PPPoE header starts, if there is one.
    pub pppoe: Option<u32>,
    /// Under MPLS labels: no return label is known.
    pub mpls: bool,
    /// Sent to a group address of the link (broadcast or multicast).
    pub group: bool,
}

/// Reads a frame received over `link`.
pub fn parse(link: Link, frame: &[u8], depth: Depth) -> Frame {
    link::parse(link, frame, depth)
}

/// Which IP version the layer below announced.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    V4,
    V6,
}

/// The way from the link's headers into the IP packet `frame[at..end]`.
struct Descent<'a> {
    frame: &'a [u8],
    at: usize,
    end: usize,
    tags: usize,
    pppoe: Option<u32>,
    mpls: bool,
    group: bool,
    depth: Depth,
}

impl Descent<'_> {
    /// The bytes from here to the end of what the layers above bound.
    fn rest(&self) -> &[u8] {
        self.frame.get(self.at..self.end).unwrap_or(&[])
    }

    /// The version that the first nibble names.
    fn version_by_nibble(&self) -> Option<Version> {
        match self.rest().first()? >> 4 {
            4 => Some(Version::V4),
            6 => Some(Version::V6),
            _ => None,
        }
    }

    /// Reads the IP packet that starts here.
    fn ip(&self, version: Version) -> Frame {
        let packet = self.rest();
        let network = match version {
            Version::V4 => ipv4::parse(packet, self.depth),
            Version::V6 => ipv6::parse(packet, self.depth),
        };
        let Some(network) = network else { return Frame::Malformed };
        let mut upper = network.upper;
        if let Upper::Found(transport) = &mut upper {
            transport.offset += self.at as u32;
        }
        let shift = |part: Fragment| Fragment { data: part.data + self.at as u32, ..part };
        Frame::Ip(Headers {
            encapsulation: Encapsulation {
                ip: self.at as u32,
                pppoe: self.pppoe,
                mpls: self.mpls,
                group: self.group,
            },
            addresses: network.addresses,
            end: self.at as u32 + network.length,
            source_route: network.source_route,
            routed: network.routed,
            datagram: match network.datagram {
                Datagram::Whole => Datagram::Whole,
                Datagram::First(part) => Datagram::First(shift(part)),
                Datagram::Later(part) => Datagram::Later(shift(part)),
            },
            upper,
        })
    }
}

/// Big-endian 16 bits at `at`, if they are there.
fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// Packets written by hand, as hexadecimal text, for the tests of all protocols.
#[cfg(test)]
pub(crate) mod sample {
    use super::{Depth, Frame, Headers, Link, parse};

    /// To 02:00:00:00:00:01, from 02:00:00:00:00:02.
    pub(crate) const MACS: &str = "020000000001 020000000002";
    /// From 203.0.113.5 to 198.51.100.25: 20 bytes of TCP are to follow.
    pub(crate) const IPV4: &str = "45000028 12344000 40060000 cb007105 c6336419";
    /// From 2001:db8:d000:1::5 to 3fff:2::1: 20 bytes of TCP are to follow.
    pub(crate) const IPV6: &str =
        "60000000 00140640 20010db8d00000010000000000000005 3fff0002000000000000000000000001";
    /// From port 50000 to port 25: SYN, sequence number 1000, no options.
    pub(crate) const TCP: &str = "c3500019 000003e8 00000000 5002ffff 00000000";

    /// The bytes; blanks don't count.
    pub(crate) fn bytes(parts: &[&str]) -> Vec<u8> {
        let digits: String = parts.concat().split_whitespace().collect();
        let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal digits");
        (0..digits.len()).step_by(2).map(byte).collect()
    }

    /// What an Ethernet frame is, its addresses left out.
    pub(crate) fn ethernet(parts: &[&str]) -> Frame {
        parse(Link::Ethernet, &bytes(&[&[MACS], parts].concat()), Depth::default())
    }

    /// What the packet of a link without a header is.
    pub(crate) fn raw(parts: &[&str]) -> Frame {
        parse(Link::Raw, &bytes(parts), Depth::default())
    }

    /// The headers of what must be an IP packet.
    #[track_caller]
    pub(crate) fn headers(frame: Frame) -> Headers {
        match frame {
            Frame::Ip(headers) => headers,
            other => panic!("{other:?}"),
        }
    }
}
