//! Prefixes to look up in: pools as an ISP has them, and the table of a router with full routes.
//!
//! A full table is read from the folder that `SEKISHO_FIB_DIR` names (`fib-v4.txt.gz` and `fib-v6.txt.gz`:
//! gzip text, one `prefix id` a line), and made up, with the same number of prefixes of the same lengths,
//! where there is none. What is made up is less clustered than what networks announce, so its tables are
//! two to three times as large, and slower: compare shares, not nanoseconds, between the two.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use ipnetwork::{Ipv4Network, Ipv6Network};

use crate::streams::{Numbers, host_mask};

/// An address as a number, with the network type that goes with it.
pub trait Family: Copy + Ord + Send + Sync + 'static {
    /// Bits of an address.
    const BITS: u8;
    /// The network that callers of the tables write.
    type Network: Copy;

    /// Widens, at the low end.
    fn wide(self) -> u128;
    /// Takes back what [`wide`](Self::wide) made.
    fn narrow(wide: u128) -> Self;
    /// A network without host bits.
    fn network(self, len: u8) -> Self::Network;
}

impl Family for u32 {
    const BITS: u8 = 32;
    type Network = Ipv4Network;

    fn wide(self) -> u128 {
        self.into()
    }
    fn narrow(wide: u128) -> u32 {
        wide as u32
    }
    fn network(self, len: u8) -> Ipv4Network {
        Ipv4Network::new(self.into(), len).expect("at most 32 bits")
    }
}

impl Family for u128 {
    const BITS: u8 = 128;
    type Network = Ipv6Network;

    fn wide(self) -> u128 {
        self
    }
    fn narrow(wide: u128) -> u128 {
        wide
    }
    fn network(self, len: u8) -> Ipv6Network {
        Ipv6Network::new(self.into(), len).expect("at most 128 bits")
    }
}

/// A set of prefixes with ids, in order of (address, length).
#[derive(Debug, Clone)]
pub struct Prefixes<A> {
    /// What it is called in the names of benches.
    pub name: &'static str,
    /// Address, length, id.
    pub entries: Vec<(A, u8, u32)>,
}

impl<A: Family> Prefixes<A> {
    /// As the tables want them.
    pub fn networks(&self) -> Vec<(A::Network, u32)> {
        self.entries.iter().map(|&(address, len, id)| (address.network(len), id)).collect()
    }

    fn make(
        name: &'static str,
        count: usize,
        mut prefix: impl FnMut(&mut Numbers) -> (u128, u8),
        id: impl Fn(usize, u128) -> u32,
    ) -> Self {
        let mut numbers = Numbers::new(count as u64);
        let mut made = BTreeMap::new();
        while made.len() < count {
            let (address, len) = prefix(&mut numbers);
            let id = id(made.len(), address);
            made.entry((A::narrow(address & !host_mask(A::BITS, len)), len)).or_insert(id);
        }
        Prefixes { name, entries: made.into_iter().map(|((address, len), id)| (address, len, id)).collect() }
    }

    /// Every so-manieth prefix, of those that are not very short.
    fn thinned(&self, name: &'static str, count: usize, shortest: u8) -> Self {
        let long: Vec<_> = self.entries.iter().filter(|(_, len, _)| *len >= shortest).copied().collect();
        let entries = (0..count).map(|place| long[place * long.len() / count]).collect();
        Prefixes { name, entries }
    }
}

/// A weighted choice of prefix lengths: (length, weight).
fn length(numbers: &mut Numbers, mix: &[(u8, u32)]) -> u8 {
    let all: u32 = mix.iter().map(|(_, weight)| weight).sum();
    let mut pick = numbers.below(all.into()) as u32;
    for &(len, weight) in mix {
        if pick < weight {
            return len;
        }
        pick -= weight;
    }
    unreachable!("the weights add up")
}

/// The prefixes of a router's IPv4 table, thousands by length.
const ROUTES_4: &[(u8, u32)] = &[
    (8, 19),
    (10, 38),
    (11, 103),
    (12, 302),
    (13, 578),
    (14, 1194),
    (15, 2053),
    (16, 13414),
    (17, 8141),
    (18, 13694),
    (19, 24715),
    (20, 42430),
    (21, 53632),
    (22, 111840),
    (23, 103473),
    (24, 564494),
    (25, 9848),
    (26, 180),
    (27, 17223),
    (28, 3066),
    (29, 1574),
    (30, 80482),
    (31, 12490),
    (32, 7529),
];

/// The same for IPv6.
const ROUTES_6: &[(u8, u32)] = &[
    (20, 13),
    (24, 30),
    (28, 198),
    (29, 4288),
    (30, 597),
    (31, 301),
    (32, 22669),
    (33, 3089),
    (34, 2612),
    (35, 1002),
    (36, 6200),
    (37, 913),
    (38, 1666),
    (39, 1476),
    (40, 13963),
    (41, 938),
    (42, 4917),
    (43, 1075),
    (44, 15460),
    (45, 1901),
    (46, 3428),
    (47, 3853),
    (48, 82899),
    (64, 183),
    (127, 215),
    (128, 2400),
];

/// Pools of subscribers: most of them /20 to /24, some longer.
const POOLS_4: &[(u8, u32)] =
    &[(18, 1), (19, 1), (20, 2), (21, 2), (22, 3), (23, 2), (24, 6), (25, 1), (26, 1), (29, 1)];

/// The same for IPv6: delegations of an access node, and some of single subscribers.
const POOLS_6: &[(u8, u32)] = &[(36, 1), (40, 3), (44, 4), (48, 8), (52, 1), (56, 2), (64, 1)];

/// The tables of one family, smallest first: 64, 1,000 and 10,000 pools; 100,000 routes; all routes.
pub fn tables_4() -> Vec<Prefixes<u32>> {
    // Pools lie in a few blocks of the ISP; unicast addresses only.
    let pools = |name, count| {
        Prefixes::make(
            name,
            count,
            |numbers| {
                let block = [0x0a00_0000u128, 0x2e00_0000, 0x6440_0000, 0xb200_0000, 0xd900_0000]
                    [numbers.below(5) as usize];
                (block | numbers.below(1 << 24) as u128, length(numbers, POOLS_4))
            },
            |number, _| 1 + number as u32 % 32_000,
        )
    };
    let full = read("fib-v4.txt.gz", |address| match address {
        IpAddr::V4(address) => Some(u32::from(address)),
        IpAddr::V6(_) => None,
    });
    let full = full.unwrap_or_else(|| {
        Prefixes::make(
            "full",
            1_072_529,
            |numbers| {
                let len = length(numbers, ROUTES_4);
                // What is longer than a /24 is of the ISP itself, and lies in some 25,000 of them.
                let address =
                    if len > 24 { numbers.below(25_500) * 0x51_3100 } else { numbers.below(0xdf00_0000) };
                let host = if len > 24 { numbers.below(256) } else { 0 };
                (u128::from(0x0100_0000 + address % 0xdf00_0000 + host), len)
            },
            |_, address| next_hop(address >> 12),
        )
    });
    vec![pools("64", 64), pools("1k", 1_000), pools("10k", 10_000), full.thinned("100k", 100_000, 16), full]
}

/// The same for IPv6.
pub fn tables_6() -> Vec<Prefixes<u128>> {
    let pools = |name, count| {
        Prefixes::make(
            name,
            count,
            |numbers| {
                let block =
                    [0x2001_0db8u128, 0x2400_1234, 0x2a00_5678, 0x2a02_9abc][numbers.below(4) as usize] << 96;
                (block | numbers.wide() & u128::MAX >> 32, length(numbers, POOLS_6))
            },
            |number, _| 1 + number as u32 % 32_000,
        )
    };
    let full = read("fib-v6.txt.gz", |address| match address {
        IpAddr::V6(address) => Some(u128::from(address)),
        IpAddr::V4(_) => None,
    });
    let full = full.unwrap_or_else(|| {
        Prefixes::make(
            "full",
            176_388,
            |numbers| {
                // Registries hand out from a few /12s; most of what is announced lies in some thousand /32s.
                let registry = [0x2001u128, 0x2400, 0x2600, 0x2800, 0x2a00, 0x2a0f, 0x2c0f]
                    [numbers.below(7) as usize]
                    << 112;
                let member = u128::from(numbers.below(3_000).pow(2) / 3_000 * 21) << 96;
                (registry | member | numbers.wide() & u128::MAX >> 32, length(numbers, ROUTES_6))
            },
            |_, address| next_hop(address >> 92),
        )
    });
    vec![pools("64", 64), pools("1k", 1_000), pools("10k", 10_000), full.thinned("100k", 100_000, 20), full]
}

/// One of 512 next hops for a block of addresses: neighbours share theirs.
fn next_hop(block: u128) -> u32 {
    1 + Numbers::new(block as u64).below(512) as u32
}

fn read<A: Family>(file: &str, address: impl Fn(IpAddr) -> Option<A>) -> Option<Prefixes<A>> {
    let path = PathBuf::from(std::env::var_os("SEKISHO_FIB_DIR")?).join(file);
    let mut text = String::new();
    std::fs::File::open(&path)
        .and_then(|file| flate2::read::GzDecoder::new(file).read_to_string(&mut text))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let entry = |line: &str| {
        let (prefix, id) = line.split_once(' ')?;
        let (first, len) = prefix.split_once('/')?;
        let first = first
            .parse::<Ipv4Addr>()
            .map(IpAddr::from)
            .or_else(|_| first.parse::<Ipv6Addr>().map(IpAddr::from));
        Some((address(first.ok()?)?, len.parse().ok()?, 1 + mix(id.parse().ok()?) % 512))
    };
    let entries =
        text.lines().map(|line| entry(line).unwrap_or_else(|| panic!("{}: {line:?}", path.display())));
    Some(Prefixes { name: "full", entries: entries.collect() })
}

/// Spreads ids of origin networks over next hops: the finaliser of Murmur3.
fn mix(mut id: u32) -> u32 {
    id = (id ^ id >> 16).wrapping_mul(0x85eb_ca6b);
    id = (id ^ id >> 13).wrapping_mul(0xc2b2_ae35);
    id ^ id >> 16
}
