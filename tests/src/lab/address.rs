//! Who has which address. All are kept for documentation (RFC 5737, RFC 3849, RFC 9637), as in `configs/nmtnet.toml`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

const fn v6(a: u16, b: u16, c: u16, last: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, last))
}

/// A host in both versions of IP.
pub type Host = [IpAddr; 2];

/// A customer with a dynamic address.
pub const DYNAMIC: Host = [v4(203, 0, 113, 10), v6(0x2001, 0xdb8, 0xd000, 0x10)];
/// A customer with a static address.
pub const STATIC: Host = [v4(198, 51, 100, 10), v6(0x2001, 0xdb8, 0x1000, 0x10)];
/// The customers' router.
pub const ROUTER: Host = [v4(203, 0, 113, 1), v6(0x2001, 0xdb8, 0xd000, 1)];
/// The provider's own mail server.
pub const OWN: Host = [v4(192, 0, 2, 25), v6(0x2001, 0xdb8, 0xa, 0x25)];
/// A mail server elsewhere.
pub const WORLD: Host = [v4(192, 0, 2, 200), v6(0x2001, 0xdb8, 0xb, 0x200)];
/// A mobile carrier's mail server.
pub const CARRIER: Host = [v4(198, 51, 100, 140), v6(0x3fff, 0xa00, 0, 0x140)];
