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
        self.by_length.iter().any(|same_length| {
            if same_length[0].prefix.is_ipv6() != customer.is_ipv6() {
                return false;
            }
            let length = same_length[0].prefix.prefix();
            let Ok(network) = IpNetwork::new(customer, length).map(|prefix| prefix.network()) else {
                return false;
            };
            let first = same_length.partition_point(|grant| grant.prefix.network() < network);
            same_length[first..]
                .iter()
                .take_while(|grant| grant.prefix.network() == network)
                .any(|grant| grant.given <= now && now < grant.until)
        })
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
    }
}
