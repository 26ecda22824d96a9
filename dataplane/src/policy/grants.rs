//! Grants: temporary exemptions of customer addresses or prefixes.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

/// One grant, in force while `given <= now < until` (UTC microseconds).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Grant {
    /// Whom it exempts.
    pub prefix: IpNetwork,
    /// Its first instant.
    pub given: i64,
    /// The first instant after it.
    pub until: i64,
}

impl Grant {
    /// Whether it is in force.
    pub fn is_live(&self, now: i64) -> bool {
        self.given <= now && now < self.until
    }
}

/// Those of one length that hold the customer.
fn same_network(same_length: &[Grant], customer: IpAddr) -> &[Grant] {
    if same_length[0].prefix.is_ipv6() != customer.is_ipv6() {
        return &[];
    }
    let length = same_length[0].prefix.prefix();
    let Ok(network) = IpNetwork::new(customer, length).map(|prefix| prefix.network()) else {
        return &[];
    };
    let first = same_length.partition_point(|grant| grant.prefix.network() < network);
    let behind = &same_length[first..];
    &behind[..behind.partition_point(|grant| grant.prefix.network() == network)]
}

/// The grants of a generation. They are consulted only for port 25 that would be denied otherwise, and are
/// few; grants of one length lie together, sorted, so a look-up is one binary search for each length in use.
#[derive(Debug, Default)]
pub(crate) struct Grants {
    by_length: Box<[Box<[Grant]>]>,
}

impl Grants {
    pub(crate) fn new(mut grants: Vec<Grant>) -> Grants {
        let key = |grant: &Grant| (grant.prefix.is_ipv6(), grant.prefix.prefix());
        grants.sort_unstable_by_key(|grant| (key(grant), grant.prefix.network()));
        Grants { by_length: grants.chunk_by(|a, b| key(a) == key(b)).map(Box::from).collect() }
    }

    /// Whether a live grant covers the customer.
    pub(crate) fn cover(&self, customer: IpAddr, now: i64) -> bool {
        let live = |grant: &Grant| grant.is_live(now);
        self.by_length.iter().any(|same_length| same_network(same_length, customer).iter().any(live))
    }

    /// The grants that hold the customer, live or not, the longest prefix first.
    pub(crate) fn holding(&self, customer: IpAddr) -> Vec<Grant> {
        let longest_first = self.by_length.iter().rev();
        longest_first.flat_map(|same_length| same_network(same_length, customer)).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_covers_its_prefix_from_given_until_its_end() {
        let grant = |prefix: &str, given, until| Grant { prefix: prefix.parse().unwrap(), given, until };
        let grants = Grants::new(vec![
            grant("203.0.113.7/32", 100, 200),
            grant("203.0.113.7/32", 300, 400),
            grant("203.0.113.64/26", 0, 1000),
            grant("2001:db8::/64", 0, 1000),
        ]);
        let covered = |customer: &str, now| grants.cover(customer.parse().unwrap(), now);
        assert!(!covered("203.0.113.7", 99) && covered("203.0.113.7", 100));
        assert!(covered("203.0.113.7", 199) && !covered("203.0.113.7", 200));
        assert!(covered("203.0.113.7", 300) && !covered("203.0.113.8", 300));
        assert!(covered("203.0.113.127", 5) && !covered("203.0.113.128", 5));
        assert!(covered("2001:db8::9", 5) && !covered("2001:db8:0:1::9", 5));
        let holding = |customer: &str| grants.holding(customer.parse().unwrap());
        let lengths = |customer| holding(customer).iter().map(|g| g.prefix.prefix()).collect::<Vec<_>>();
        assert_eq!(lengths("203.0.113.7"), [32, 32], "whether they are live or not");
        assert_eq!((lengths("203.0.113.64"), lengths("2001:db8::1")), (vec![26], vec![64]));
    }
}
