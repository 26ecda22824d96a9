//! Checked, sorted prefixes, and the runs of addresses that share an answer.

use std::fmt::Debug;

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};

use super::{BuildError, MAX_ID};

/// An address as a number in host order: `u32` for IPv4, `u128` for IPv6.
pub(super) trait Address: Copy + Ord + Debug {
    /// Bits of an address.
    #[cfg(test)]
    const BITS: u8;
    /// The lowest address.
    const ZERO: Self;
    /// The highest address.
    const MAX: Self;

    /// The bits beyond the first `len`, all set.
    fn host_mask(len: u8) -> Self;
    /// `self | other`
    fn or(self, other: Self) -> Self;
    /// `self & other`
    fn and(self, other: Self) -> Self;
    /// `self & !other`
    fn and_not(self, other: Self) -> Self;
    /// The next address; the caller knows there is one.
    fn next(self) -> Self;
    /// The address before; the caller knows there is one.
    #[cfg(test)]
    fn before(self) -> Self;
    /// How many leading bits `self` and `other` have in common.
    fn common(self, other: Self) -> u8;
}

macro_rules! address {
    ($type:ty) => {
        impl Address for $type {
            #[cfg(test)]
            const BITS: u8 = <$type>::BITS as u8;
            const ZERO: Self = 0;
            const MAX: Self = <$type>::MAX;

            fn host_mask(len: u8) -> Self {
                <$type>::MAX.checked_shr(len.into()).unwrap_or(0)
            }
            fn or(self, other: Self) -> Self {
                self | other
            }
            fn and(self, other: Self) -> Self {
                self & other
            }
            fn and_not(self, other: Self) -> Self {
                self & !other
            }
            fn next(self) -> Self {
                self + 1
            }
            #[cfg(test)]
            fn before(self) -> Self {
                self - 1
            }
            fn common(self, other: Self) -> u8 {
                (self ^ other).leading_zeros() as u8
            }
        }
    };
}

address!(u32);
address!(u128);

/// A network of either family, as callers write it.
pub(super) trait Network: Copy {
    /// What its addresses are as numbers.
    type Address: Address;
    /// The address and the length, unchecked.
    fn parts(self) -> (Self::Address, u8);
    /// The same, for an error.
    fn any(self) -> IpNetwork;
}

impl Network for Ipv4Network {
    type Address = u32;

    fn parts(self) -> (u32, u8) {
        (self.ip().into(), self.prefix())
    }
    fn any(self) -> IpNetwork {
        self.into()
    }
}

impl Network for Ipv6Network {
    type Address = u128;

    fn parts(self) -> (u128, u8) {
        (self.ip().into(), self.prefix())
    }
    fn any(self) -> IpNetwork {
        self.into()
    }
}

/// A prefix without host bits and an id within `1..=MAX_ID`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Prefix<A> {
    pub(super) address: A,
    pub(super) len: u8,
    pub(super) id: u16,
}

impl<A: Address> Prefix<A> {
    /// Checks one entry.
    pub(super) fn checked<N: Network<Address = A>>(network: N, id: u32) -> Result<Self, BuildError> {
        let (address, len) = network.parts();
        if address.and(A::host_mask(len)) != A::ZERO {
            return Err(BuildError::HostBits(network.any()));
        }
        if id == 0 || id > MAX_ID {
            return Err(BuildError::IdOutOfRange { prefix: network.any(), id });
        }
        Ok(Prefix { address, len, id: id as u16 })
    }

    /// The last address inside.
    pub(super) fn last(&self) -> A {
        self.address.or(A::host_mask(self.len))
    }

    fn key(&self) -> (A, u8) {
        (self.address, self.len)
    }
}

/// Checks all entries and puts them into the order of (address, length); entries already in that order are
/// not sorted again.
pub(super) fn sorted<N: Network>(entries: &[(N, u32)]) -> Result<Vec<Prefix<N::Address>>, BuildError> {
    let mut prefixes: Vec<Prefix<N::Address>> = Vec::with_capacity(entries.len());
    let mut in_order = true;
    for &(network, id) in entries {
        let prefix = Prefix::checked(network, id)?;
        in_order &= prefixes.last().is_none_or(|before| before.key() < prefix.key());
        prefixes.push(prefix);
    }
    if !in_order {
        prefixes.sort_unstable_by_key(Prefix::key);
        if let Some(pair) = prefixes.windows(2).find(|pair| pair[0].key() == pair[1].key()) {
            let twice = entries.iter().find(|(network, _)| network.parts() == pair[0].key());
            if let Some((network, _)) = twice {
                return Err(BuildError::Duplicate(network.any()));
            }
        }
    }
    Ok(prefixes)
}

/// From `start` up to the start of the next run, every lookup answers `id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run<A> {
    pub(super) start: A,
    pub(super) id: u16,
}

/// A part of the address space.
#[derive(Debug, Clone, Copy)]
pub(super) struct Region<A> {
    /// Its lowest address.
    pub(super) first: A,
    /// Its highest address.
    pub(super) last: A,
    /// What a lookup answers where no prefix inside the region matches.
    pub(super) outer: u16,
}

/// Working memory of [`flatten_into`], so that small repeated jobs allocate nothing: the prefixes around the
/// present address, innermost last, each as its last address and its id.
pub(super) type Stack<A> = Vec<(A, u16)>;

/// Flattens nested prefixes within a region, in order of (address, length), into the runs of the region: the
/// first starts where it starts, none starts beyond it, and neighbours differ. Linear in the number of
/// prefixes.
pub(super) fn flatten_into<A: Address>(
    region: Region<A>,
    prefixes: impl IntoIterator<Item = Prefix<A>>,
    stack: &mut Stack<A>,
    runs: &mut Vec<Run<A>>,
) {
    runs.clear();
    stack.clear();
    runs.push(Run { start: region.first, id: region.outer });
    let outer = region.outer;
    let mut emit = |start: A, id: u16| {
        let count = runs.len();
        let last = &mut runs[count - 1];
        if last.start == start {
            last.id = id;
            if count > 1 && runs[count - 2].id == id {
                runs.pop();
            }
        } else if last.id != id {
            runs.push(Run { start, id });
        }
    };
    for prefix in prefixes {
        while let Some(&(last, _)) = stack.last()
            && last < prefix.address
        {
            stack.pop();
            emit(last.next(), stack.last().map_or(outer, |&(_, id)| id));
        }
        emit(prefix.address, prefix.id);
        stack.push((prefix.last(), prefix.id));
    }
    while let Some((last, _)) = stack.pop() {
        if last == region.last {
            break;
        }
        emit(last.next(), stack.last().map_or(outer, |&(_, id)| id));
    }
}

/// The runs of a whole table: from the lowest address on, no match outside all prefixes.
pub(super) fn flatten<A: Address>(prefixes: &[Prefix<A>]) -> Vec<Run<A>> {
    let mut runs = Vec::with_capacity(prefixes.len() / 2 + 16);
    let whole = Region { first: A::ZERO, last: A::MAX, outer: 0 };
    flatten_into(whole, prefixes.iter().copied(), &mut Vec::new(), &mut runs);
    runs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::twin::{addresses_4, twin_4};
    use super::*;

    fn network(text: &str) -> Ipv4Network {
        text.parse().unwrap()
    }

    #[test]
    fn entries_are_sorted_by_address_and_then_by_length() {
        let entries = [("10.0.0.0/16", 2), ("192.0.2.1/32", 4), ("10.0.0.0/8", 1), ("10.0.1.0/24", 3)]
            .map(|(text, id)| (network(text), id));
        let ids: Vec<u16> = sorted(&entries).unwrap().iter().map(|prefix| prefix.id).collect();
        assert_eq!(ids, [1, 2, 3, 4]);
    }

    #[test]
    fn what_is_no_table_is_refused_with_the_prefix_that_is_wrong() {
        let twice = [(network("10.0.0.0/8"), 1), (network("192.0.2.0/24"), 2), (network("10.0.0.0/8"), 3)];
        assert_eq!(sorted(&twice), Err(BuildError::Duplicate(network("10.0.0.0/8").into())));
        let host = [(network("10.0.0.1/8"), 1)];
        assert_eq!(sorted(&host), Err(BuildError::HostBits(network("10.0.0.1/8").into())));
        for id in [0, MAX_ID + 1, u32::MAX] {
            let prefix = network("10.0.0.0/8").into();
            assert_eq!(sorted(&[(network("10.0.0.0/8"), id)]), Err(BuildError::IdOutOfRange { prefix, id }));
        }
        assert!(sorted(&[(network("10.0.0.0/8"), MAX_ID)]).is_ok());
    }

    proptest! {
        #[test]
        fn runs_say_what_the_prefixes_say(twin in twin_4(60), addresses in addresses_4(50)) {
            let runs = flatten(&sorted(&twin.entries()).unwrap());
            prop_assert_eq!(runs[0].start, 0);
            prop_assert!(runs.windows(2).all(|pair| pair[0].start < pair[1].start && pair[0].id != pair[1].id));
            for address in addresses.into_iter().chain(twin.boundaries()) {
                let run = runs.partition_point(|run| run.start <= address) - 1;
                prop_assert_eq!(u32::from(runs[run].id), twin.lookup(address));
            }
        }
    }
}
