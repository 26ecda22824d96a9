//! What IPv4 and IPv6 have in common.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::transport::Transport;

/// Source and destination, as numbers in host order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Addresses {
    /// IPv4.
    V4 {
        /// Source address.
        source: u32,
        /// Destination address.
        destination: u32,
    },
    /// IPv6.
    V6 {
        /// Source address.
        source: u128,
        /// Destination address.
        destination: u128,
    },
}

impl Addresses {
    /// Whether they are IPv6 addresses.
    #[inline]
    pub(crate) fn is_v6(&self) -> bool {
        matches!(self, Addresses::V6 { .. })
    }

    /// The source.
    pub fn source(&self) -> IpAddr {
        match *self {
            Addresses::V4 { source, .. } => IpAddr::V4(Ipv4Addr::from_bits(source)),
            Addresses::V6 { source, .. } => IpAddr::V6(Ipv6Addr::from_bits(source)),
        }
    }

    /// The destination.
    pub fn destination(&self) -> IpAddr {
        match *self {
            Addresses::V4 { destination, .. } => IpAddr::V4(Ipv4Addr::from_bits(destination)),
            Addresses::V6 { destination, .. } => IpAddr::V6(Ipv6Addr::from_bits(destination)),
        }
    }

    /// The same with source and destination exchanged.
    pub fn swapped(&self) -> Addresses {
        match *self {
            Addresses::V4 { source, destination } => {
                Addresses::V4 { source: destination, destination: source }
            }
            Addresses::V6 { source, destination } => {
                Addresses::V6 { source: destination, destination: source }
            }
        }
    }
}

/// Which part of a datagram a packet is (RFC 791 §3.2, RFC 8200 §4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Datagram {
    /// All of it: not fragmented, or an atomic fragment (RFC 6946).
    Whole,
    /// The fragment at offset 0, with more to come.
    First(Fragment),
    /// A fragment at a higher offset.
    Later(Fragment),
}

/// A fragment's place in its datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// The identification that its datagram's fragments share.
    pub identification: u32,
    /// IPv4's protocol, which is part of a datagram's key there; 0 for IPv6.
    pub protocol: u8,
    /// Its offset in the datagram in bytes.
    pub offset: u32,
    /// Where its data starts in the frame.
    pub data: u32,
}

/// What stands behind the IP header and its extension headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upper {
    /// The chain was walked to its end.
    Found(Transport),
    /// More extension headers than the limit; the walk stopped.
    TooMany,
    /// A Fragment header that is not atomic behind another Fragment header; the walk stopped.
    Nested,
    /// A header reaches past the end of a first fragment.
    Cut,
    /// A later fragment: what it holds is payload.
    Hidden,
}

/// An IP packet's headers, with offsets from the IP header on.
pub(super) struct Network {
    pub(super) addresses: Addresses,
    pub(super) length: u32,
    pub(super) source_route: bool,
    pub(super) routed: bool,
    pub(super) datagram: Datagram,
    pub(super) upper: Upper,
}

impl Network {
    /// The packet, unless rule 3 calls it malformed: a header past the end, or an unfragmented TCP or UDP
    /// header that can't be judged. `packet` ends where the IP length says.
    pub(super) fn checked(self, packet: &[u8]) -> Option<Network> {
        let malformed = match (self.datagram, &self.upper) {
            (Datagram::Whole, Upper::Cut) => true,
            (Datagram::Whole, Upper::Found(transport)) => !transport.can_be_judged(packet),
            _ => false,
        };
        (!malformed).then_some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::{IPV4, IPV6, TCP, headers, raw};
    use super::*;

    #[test]
    fn addresses_are_numbers_in_host_order() {
        let v4 = headers(raw(&[IPV4, TCP])).addresses;
        assert_eq!(v4, Addresses::V4 { source: 0xcb00_7105, destination: 0xc633_6419 });
        assert_eq!(v4.source().to_string(), "203.0.113.5");
        assert_eq!(v4.destination().to_string(), "198.51.100.25");
        let v6 = headers(raw(&[IPV6, TCP])).addresses;
        assert_eq!(v6.source().to_string(), "2001:db8:d000:1::5");
        assert_eq!(v6.destination().to_string(), "3fff:2::1");
        for addresses in [v4, v6] {
            assert_eq!(addresses.swapped().source(), addresses.destination());
            assert_eq!(addresses.swapped().destination(), addresses.source());
        }
    }
}
