//! Keyed hashes of addresses, for the bounded tables that strangers fill.
//!
//! foldhash takes a nanosecond or two where the standard library's SipHash takes ten and more, which on a packet's way
//! is what the rest of its judgement takes. It is no cryptographic hash: that nobody arranges collisions rests on the
//! key, which the operating system's randomness gives, and on that no hash ever leaves the process.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use foldhash::SharedSeed;
use foldhash::quality::SeedableRandomState;

/// A key, and the hash under it. Clones hash alike.
#[derive(Clone, Debug)]
pub(crate) struct Keyed(SeedableRandomState);

impl Keyed {
    /// With a key of its own.
    pub(crate) fn new() -> Keyed {
        // The standard library asks the system for its keys.
        let seed = RandomState::new().hash_one(0u8);
        Keyed(SeedableRandomState::with_seed(seed, SharedSeed::global_random()))
    }

    #[inline]
    pub(crate) fn hash(&self, address: u128) -> u64 {
        self.0.hash_one(address)
    }
}

/// An address as one number; IPv4 as IPv4-mapped, which no IPv6 packet's source may be (rule 5).
#[inline]
pub(crate) fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => mapped(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The same for an IPv4 address in host order.
#[inline]
pub(crate) fn mapped(address: u32) -> u128 {
    0xffff << 32 | u128::from(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_hash_alike_and_others_do_not() {
        let (one, other) = (Keyed::new(), Keyed::new());
        assert_eq!(one.hash(7), one.clone().hash(7));
        assert!((0..4).any(|n| one.hash(n) != other.hash(n)));
    }

    #[test]
    fn the_two_versions_of_ip_share_no_number() {
        assert_eq!(number("203.0.113.7".parse().unwrap()), mapped(0xcb00_7107));
        assert_ne!(number("::203.0.113.7".parse().unwrap()), mapped(0xcb00_7107));
    }
}
