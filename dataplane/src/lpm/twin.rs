//! The slow, obvious twins that the tables are held against, and the prefixes and addresses to do it with.

use std::collections::BTreeMap;

use ipnetwork::{Ipv4Network, Ipv6Network};
use proptest::prelude::*;

use super::prefix::Address;

/// A map of prefixes, looked up by trying every length.
#[derive(Debug, Clone)]
pub(super) struct Twin<A>(pub(super) BTreeMap<(u8, A), u32>);

impl<A: Address> Twin<A> {
    pub(super) fn lookup(&self, address: A) -> u32 {
        let by_length = (0..=A::BITS).rev().map(|len| (len, address.and_not(A::host_mask(len))));
        by_length.filter_map(|key| self.0.get(&key)).next().copied().unwrap_or(0)
    }

    /// Scans all prefixes: slower, and still more obvious.
    pub(super) fn scan(&self, address: A) -> u32 {
        let around = self.0.iter().filter(|((len, first), _)| address.and_not(A::host_mask(*len)) == *first);
        around.max_by_key(|((len, _), _)| *len).map_or(0, |(_, id)| *id)
    }

    /// The addresses where answers change, and their neighbours.
    pub(super) fn boundaries(&self) -> Vec<A> {
        let mut addresses = vec![A::ZERO, A::MAX];
        for &(len, first) in self.0.keys() {
            let last = first.or(A::host_mask(len));
            addresses.extend([first, last]);
            addresses.extend((first > A::ZERO).then(|| first.before()));
            addresses.extend((last < A::MAX).then(|| last.next()));
        }
        addresses
    }
}

impl Twin<u32> {
    pub(super) fn entries(&self) -> Vec<(Ipv4Network, u32)> {
        self.0.iter().map(|(&(len, first), &id)| (Ipv4Network::new(first.into(), len).unwrap(), id)).collect()
    }
}

impl Twin<u128> {
    pub(super) fn entries(&self) -> Vec<(Ipv6Network, u32)> {
        self.0.iter().map(|(&(len, first), &id)| (Ipv6Network::new(first.into(), len).unwrap(), id)).collect()
    }
}

/// Addresses that crowd: many have their first bits in common, so that prefixes made of them nest and touch.
fn crowded<A: Address + Arbitrary + 'static>(around: &'static [A]) -> impl Strategy<Value = A> {
    let near = (prop::sample::select(around), any::<A>(), 0..=A::BITS).prop_map(|(base, random, common)| {
        base.and_not(A::host_mask(common)).or(random.and(A::host_mask(common)))
    });
    prop_oneof![1 => any::<A>(), 4 => near]
}

fn prefix<A: Address + Arbitrary + 'static>(
    around: &'static [A],
    lengths: &'static [u8],
) -> impl Strategy<Value = ((u8, A), u32)> {
    let len = prop_oneof![1 => 0..=A::BITS, 3 => prop::sample::select(lengths)];
    let id = prop_oneof![4 => 1u32..=5, 1 => 1u32..=super::MAX_ID];
    (crowded(around), len, id).prop_map(|(address, len, id)| ((len, address.and_not(A::host_mask(len))), id))
}

const AROUND_4: &[u32] = &[0, u32::MAX, 0x0a00_0000, 0x0a00_ffff, 0xc0a8_0100, 0x6440_0000];
const LENGTHS_4: &[u8] = &[0, 1, 8, 16, 17, 18, 19, 20, 23, 24, 24, 24, 25, 26, 30, 31, 32, 32];

pub(super) fn prefix_4() -> impl Strategy<Value = ((u8, u32), u32)> {
    prefix(AROUND_4, LENGTHS_4)
}

pub(super) fn twin_4(most: usize) -> impl Strategy<Value = Twin<u32>> {
    prop::collection::vec(prefix_4(), 0..most).prop_map(|prefixes| Twin(prefixes.into_iter().collect()))
}

pub(super) fn addresses_4(most: usize) -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(crowded(AROUND_4), 0..most)
}

const AROUND_6: &[u128] = &[
    0,
    u128::MAX,
    0x2001_0db8 << 96,
    0x2001_0db8_0001_ffff << 64,
    0x2001_0db8_0001_ffff_0000_0000_0000_00ff,
    0x2a00_0000_1234 << 80,
    0xfe80 << 112 | 1,
];
const LENGTHS_6: &[u8] = &[
    0, 3, 8, 15, 16, 17, 20, 28, 29, 32, 32, 36, 40, 44, 48, 48, 56, 60, 63, 64, 64, 65, 96, 112, 126, 127,
    128, 128,
];

pub(super) fn prefix_6() -> impl Strategy<Value = ((u8, u128), u32)> {
    prefix(AROUND_6, LENGTHS_6)
}

pub(super) fn twin_6(most: usize) -> impl Strategy<Value = Twin<u128>> {
    prop::collection::vec(prefix_6(), 0..most).prop_map(|prefixes| Twin(prefixes.into_iter().collect()))
}

pub(super) fn addresses_6(most: usize) -> impl Strategy<Value = Vec<u128>> {
    prop::collection::vec(crowded(AROUND_6), 0..most)
}

/// Numbers that look random, the same each time.
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}

proptest! {
    #[test]
    fn the_twins_agree_with_each_other(twin in twin_4(40), addresses in addresses_4(50)) {
        for address in addresses.into_iter().chain(twin.boundaries()) {
            prop_assert_eq!(twin.lookup(address), twin.scan(address));
        }
    }
}
