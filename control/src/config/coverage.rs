//! The addresses that a list of prefixes covers together.

use ipnetwork::IpNetwork;

/// Ranges of addresses, first and last: sorted, apart from each other and not adjoining.
pub(crate) struct Coverage {
    v4: Vec<(u128, u128)>,
    v6: Vec<(u128, u128)>,
}

impl Coverage {
    /// What these cover.
    pub(crate) fn of<'p>(prefixes: impl IntoIterator<Item = &'p IpNetwork>) -> Coverage {
        let (v4, v6): (Vec<&IpNetwork>, Vec<&IpNetwork>) =
            prefixes.into_iter().partition(|prefix| prefix.is_ipv4());
        Coverage { v4: joined(v4), v6: joined(v6) }
    }

    /// Whether all of a prefix is covered.
    pub(crate) fn covers(&self, prefix: IpNetwork) -> bool {
        let ranges = if prefix.is_ipv4() { &self.v4 } else { &self.v6 };
        let (first, last) = range(prefix);
        let behind = ranges.partition_point(|range| range.0 <= first);
        behind.checked_sub(1).is_some_and(|at| last <= ranges[at].1)
    }
}

fn range(prefix: IpNetwork) -> (u128, u128) {
    match prefix {
        IpNetwork::V4(prefix) => {
            (u128::from(prefix.network().to_bits()), u128::from(prefix.broadcast().to_bits()))
        }
        IpNetwork::V6(prefix) => (prefix.network().to_bits(), prefix.broadcast().to_bits()),
    }
}

fn joined(prefixes: Vec<&IpNetwork>) -> Vec<(u128, u128)> {
    let mut ranges: Vec<(u128, u128)> = prefixes.into_iter().map(|prefix| range(*prefix)).collect();
    ranges.sort_unstable();
    let mut joined: Vec<(u128, u128)> = Vec::new();
    for (first, last) in ranges {
        match joined.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => joined.push((first, last)),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prefix(text: &str) -> IpNetwork {
        text.parse().unwrap()
    }

    #[test]
    fn neighbours_cover_together_what_none_of_them_covers() {
        let list = ["10.0.0.0/25", "10.0.0.128/25", "0.0.0.0/32", "2001:db8::/33", "2001:db8:8000::/33"];
        let coverage = Coverage::of(&list.map(prefix));
        for (text, covered) in [
            ("10.0.0.0/24", true),
            ("10.0.0.0/23", false),
            ("10.0.1.0/32", false),
            ("2001:db8::/32", true),
            ("2001:db8::/31", false),
            ("::/128", false),
            ("0.0.0.0/0", false),
        ] {
            assert_eq!(coverage.covers(prefix(text)), covered, "{text}");
        }
        let all = Coverage::of(&["0.0.0.0/0", "::/0"].map(prefix));
        assert!(all.covers(prefix("255.255.255.255/32")) && all.covers(prefix("::/0")));
        assert!(!Coverage::of(&[]).covers(prefix("10.0.0.0/8")));
    }

    proptest! {
        #[test]
        fn a_prefix_is_covered_when_each_of_its_addresses_is_in_one_of_the_list(
            list in prop::collection::vec((0u32..64, 26u8..=32), 0..12), (at, length) in (0u32..64, 26u8..=32)
        ) {
            let network = |(at, length): (u32, u8)| -> IpNetwork {
                let mask = u32::MAX << (32 - length);
                IpNetwork::new(std::net::Ipv4Addr::from_bits(at & mask).into(), length).unwrap()
            };
            let list: Vec<IpNetwork> = list.into_iter().map(network).collect();
            let asked = network((at, length));
            let slow = asked.iter().all(|address| list.iter().any(|prefix| prefix.contains(address)));
            prop_assert_eq!(Coverage::of(&list).covers(asked), slow);
        }
    }
}
