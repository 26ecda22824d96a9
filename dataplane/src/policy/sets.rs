//! Destination sets: one lookup gives the bitmap of all sets that hold an address, however many there are.
//!
//! A destination's sets are those of every prefix that covers it, not of the longest alone. So the compiler
//! gives each prefix the union of its own sets and of those of the prefixes around it, keeps each distinct
//! union once, and stores the union's number in the trie: cost and size of a lookup do not depend on the
//! number of sets.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::Ipv6Addr;

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};

use crate::frame::Addresses;
use crate::lpm::{self, BuildError, Table4, Table6};

/// A union of sets as a bitmap: bit `n` of word `n / 64` is set `n`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Mask(Box<[u64]>);

impl Mask {
    pub(crate) fn of(sets: impl IntoIterator<Item = usize>, words: usize) -> Mask {
        let mut bits = vec![0; words];
        for set in sets {
            bits[set / 64] |= 1 << (set % 64);
        }
        Mask(bits.into())
    }

    fn union(&self, other: &Mask) -> Mask {
        Mask(self.0.iter().zip(&other.0).map(|(a, b)| a | b).collect())
    }

    pub(crate) fn intersects(&self, bits: &[u64]) -> bool {
        self.0.iter().zip(bits).any(|(a, b)| a & b != 0)
    }
}

/// The sets of a generation.
#[derive(Debug)]
pub(crate) struct Sets {
    v4: Table4,
    v6: Table6,
    nat64: Box<[Nat64]>,
    words: usize,
    /// `unions[id * words..][..words]`; id 0 is the empty union.
    unions: Box<[u64]>,
}

impl Sets {
    pub(crate) fn build(sets: &[Vec<IpNetwork>], nat64: Vec<Nat64>) -> Result<Sets, BuildError> {
        let words = words_for(sets.len());
        let mut v4 = Vec::new();
        let mut v6 = Vec::new();
        for (set, prefixes) in sets.iter().enumerate() {
            for prefix in prefixes {
                match prefix {
                    IpNetwork::V4(prefix) => v4.push((*prefix, set)),
                    IpNetwork::V6(prefix) => v6.push((*prefix, set)),
                }
            }
        }
        let mut ids = Ids { words, known: HashMap::new(), unions: vec![0; words] };
        let v4 = ids.number(v4, |outer: &Ipv4Network, inner| outer.contains(inner.network()));
        let v6 = ids.number(v6, |outer: &Ipv6Network, inner| outer.contains(inner.network()));
        Ok(Sets {
            v4: Table4::build(&v4)?,
            v6: Table6::build(&v6)?,
            nat64: nat64.into(),
            words,
            unions: ids.unions.into(),
        })
    }

    /// How many words a bitmap of these sets has.
    pub(crate) fn words(&self) -> usize {
        self.words
    }

    /// Writes the bitmap of the sets that hold the destination into `bits` (RFC 6052: an address under a
    /// NAT64 prefix is also looked up as the IPv4 address that it embeds).
    pub(crate) fn of_destination(&self, addresses: &Addresses, bits: &mut [u64]) {
        bits.fill(0);
        match *addresses {
            Addresses::V4 { destination, .. } => self.add(self.v4.lookup(destination), bits),
            Addresses::V6 { destination, .. } => {
                self.add(self.v6.lookup(destination), bits);
                for prefix in &self.nat64 {
                    if let Some(embedded) = prefix.embedded(destination) {
                        self.add(self.v4.lookup(embedded), bits);
                    }
                }
            }
        }
    }

    fn add(&self, id: u32, bits: &mut [u64]) {
        for (bit, union) in bits.iter_mut().zip(self.union(id)) {
            *bit |= union;
        }
    }

    /// The numbers of the unions that hold IPv4 destinations.
    pub(crate) fn unions_v4(&self, destinations: &[u32], ids: &mut [u32]) {
        self.v4.lookup_burst(destinations, ids);
    }

    /// The bitmap of a union.
    pub(crate) fn union(&self, id: u32) -> &[u64] {
        let at = id as usize * self.words;
        &self.unions[at..at + self.words]
    }

    pub(crate) fn tables(&self) -> (&Table4, &Table6) {
        (&self.v4, &self.v6)
    }

    pub(crate) fn union_bytes(&self) -> usize {
        size_of_val(&*self.unions)
    }
}

/// Words of a bitmap of `sets` sets.
pub(crate) fn words_for(sets: usize) -> usize {
    sets.div_ceil(64)
}

/// Numbers distinct unions.
struct Ids {
    words: usize,
    known: HashMap<Mask, u32>,
    unions: Vec<u64>,
}

impl Ids {
    /// Prefixes with the number of the union that holds below each. In one pass over the sorted prefixes:
    /// those that cover the current one are a stack.
    fn number<P: Copy + Ord + Eq + Hash>(
        &mut self,
        mut prefixes: Vec<(P, usize)>,
        covers: impl Fn(&P, &P) -> bool,
    ) -> Vec<(P, u32)> {
        // ipnetwork orders by address, then by length: a covering prefix comes first.
        prefixes.sort_unstable();
        let mut numbered: Vec<(P, u32)> = Vec::with_capacity(prefixes.len());
        let mut around: Vec<(P, Mask)> = Vec::new();
        for same in prefixes.chunk_by(|a, b| a.0 == b.0) {
            let prefix = same[0].0;
            while around.last().is_some_and(|(outer, _)| !covers(outer, &prefix)) {
                around.pop();
            }
            let mut mask = Mask::of(same.iter().map(|(_, set)| *set), self.words);
            if let Some((_, outer)) = around.last() {
                mask = mask.union(outer);
            }
            numbered.push((prefix, self.id(&mask)));
            around.push((prefix, mask));
        }
        numbered
    }

    fn id(&mut self, mask: &Mask) -> u32 {
        if let Some(id) = self.known.get(mask) {
            return *id;
        }
        let id = self.known.len() as u32 + lpm::NO_MATCH + 1;
        self.unions.extend_from_slice(&mask.0);
        self.known.insert(mask.clone(), id);
        id
    }
}

/// A NAT64 prefix (RFC 6052 §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nat64 {
    prefix: u128,
    length: u8,
}

impl Nat64 {
    /// 64:ff9b::/96 (RFC 6052 §2.1).
    pub const WELL_KNOWN: Nat64 = Nat64 { prefix: 0x0064_ff9b << 96, length: 96 };

    /// The prefix, if it has a length that RFC 6052 gives a meaning: 32, 40, 48, 56, 64 or 96.
    pub fn new(prefix: Ipv6Network) -> Option<Nat64> {
        let length = prefix.prefix();
        matches!(length, 32 | 40 | 48 | 56 | 64 | 96)
            .then(|| Nat64 { prefix: prefix.network().to_bits(), length })
    }

    /// The IPv4 address embedded in `address`, if the prefix covers it. Bits 64 to 71 are left out.
    pub fn embedded(&self, address: u128) -> Option<u32> {
        if (address ^ self.prefix) >> (128 - u32::from(self.length)) != 0 {
            return None;
        }
        let octets = Ipv6Addr::from_bits(address).octets();
        let mut embedded = [0; 4];
        let places = (usize::from(self.length) / 8..).filter(|&place| place != 8);
        for (byte, place) in embedded.iter_mut().zip(places) {
            *byte = octets[place];
        }
        Some(u32::from_be_bytes(embedded))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sets(prefixes: &[&[&str]]) -> Sets {
        let parsed: Vec<Vec<IpNetwork>> =
            prefixes.iter().map(|set| set.iter().map(|p| p.parse().unwrap()).collect()).collect();
        Sets::build(&parsed, vec![Nat64::WELL_KNOWN]).unwrap()
    }

    fn of(sets: &Sets, destination: &str) -> Vec<usize> {
        let addresses = match destination.parse().unwrap() {
            std::net::IpAddr::V4(a) => Addresses::V4 { source: 0, destination: a.to_bits() },
            std::net::IpAddr::V6(a) => Addresses::V6 { source: 0, destination: a.to_bits() },
        };
        let mut bits = vec![0; sets.words()];
        sets.of_destination(&addresses, &mut bits);
        (0..bits.len() * 64).filter(|n| bits[n / 64] >> (n % 64) & 1 == 1).collect()
    }

    #[test]
    fn an_address_is_in_the_sets_of_all_prefixes_around_it() {
        let sets = sets(&[
            &["192.0.2.0/24", "2001:db8::/32"],
            &["192.0.2.128/25"],
            &["192.0.2.129/32", "192.0.2.0/24", "2001:db8:1::/48"],
            &["192.0.2.64/26"],
        ]);
        assert_eq!(of(&sets, "192.0.2.1"), [0, 2]);
        assert_eq!(of(&sets, "192.0.2.70"), [0, 2, 3]);
        assert_eq!(of(&sets, "192.0.2.128"), [0, 1, 2]);
        assert_eq!(of(&sets, "192.0.2.129"), [0, 1, 2]);
        assert_eq!(of(&sets, "198.51.100.1"), [0usize; 0]);
        assert_eq!(of(&sets, "2001:db8:2::1"), [0]);
        assert_eq!(of(&sets, "2001:db8:1::1"), [0, 2]);
        assert_eq!(of(&sets, "64:ff9b::192.0.2.70"), [0, 2, 3]);
    }

    #[test]
    fn more_than_sixty_four_sets_take_more_words() {
        let all: Vec<Vec<IpNetwork>> =
            (0..130u8).map(|n| vec![format!("10.0.{n}.0/24").parse().unwrap()]).collect();
        let sets = Sets::build(&all, vec![]).unwrap();
        assert_eq!(sets.words(), 3);
        for n in [0, 63, 64, 129] {
            assert_eq!(of(&sets, &format!("10.0.{n}.7")), [n]);
        }
    }

    #[test]
    fn nat64_prefixes_embed_as_rfc_6052_says() {
        // The examples of RFC 6052 §2.4 for 192.0.2.33.
        for (prefix, address) in [
            ("2001:db8::/32", "2001:db8:c000:221::"),
            ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
            ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
            ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
            ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"),
            ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"),
        ] {
            let nat64 = Nat64::new(prefix.parse().unwrap()).unwrap();
            let address: Ipv6Addr = address.parse().unwrap();
            assert_eq!(nat64.embedded(address.to_bits()), Some(0xc000_0221), "{prefix}");
            assert_eq!(nat64.embedded(address.to_bits() ^ 1 << 100), None, "{prefix}");
        }
        assert_eq!(Nat64::new("2001:db8::/33".parse().unwrap()), None);
    }
}
