//! Streams of addresses to look up.

use crate::tables::{Family, Prefixes};

/// Numbers that look random, the same each time (SplitMix64).
#[derive(Debug, Clone)]
pub struct Numbers(u64);

impl Numbers {
    /// A series of its own for each seed.
    pub fn new(seed: u64) -> Numbers {
        Numbers(seed)
    }

    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// The next 128 bits.
    pub fn wide(&mut self) -> u128 {
        u128::from(self.draw()) << 64 | u128::from(self.draw())
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.draw()) * u128::from(end)) >> 64) as u64
    }
}

/// The bits of an address of so many bits that are not in a prefix of `len`.
pub(crate) fn host_mask(bits: u8, len: u8) -> u128 {
    u128::MAX.checked_shr(128 - u32::from(bits) + u32::from(len)).unwrap_or(0)
}

/// Which addresses are looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    /// Any address; in IPv6 any of 2000::/3.
    Uniform,
    /// A random prefix, and a random address in it.
    Inside,
    /// Prefixes by Zipf's law, the k-th in a random order 1/k times as often as the first; 64 hosts in each.
    Zipf,
}

impl Spread {
    /// All of them.
    pub const ALL: [Spread; 3] = [Spread::Uniform, Spread::Inside, Spread::Zipf];

    /// What it is called in the names of benches.
    pub fn name(self) -> &'static str {
        match self {
            Spread::Uniform => "uniform",
            Spread::Inside => "inside",
            Spread::Zipf => "zipf",
        }
    }

    /// So many addresses.
    pub fn addresses<A: Family>(self, prefixes: &Prefixes<A>, count: usize) -> Vec<A> {
        let entries = &prefixes.entries;
        let mut numbers = Numbers::new(7);
        let inside = |place: usize, random: u128| {
            let (first, len, _) = entries[place];
            A::narrow(first.wide() | random & host_mask(A::BITS, len))
        };
        match self {
            Spread::Uniform if A::BITS == 32 => (0..count).map(|_| A::narrow(numbers.wide() >> 96)).collect(),
            Spread::Uniform => (0..count).map(|_| A::narrow(1 << 125 | numbers.wide() >> 3)).collect(),
            Spread::Inside => (0..count)
                .map(|_| inside(numbers.below(entries.len() as u64) as usize, numbers.wide()))
                .collect(),
            Spread::Zipf => {
                let mut order: Vec<usize> = (0..entries.len()).collect();
                for place in (1..order.len()).rev() {
                    order.swap(place, numbers.below(place as u64 + 1) as usize);
                }
                let mut sum = 0.0;
                let sums: Vec<f64> = (1..=entries.len())
                    .map(|rank| {
                        sum += 1.0 / rank as f64;
                        sum
                    })
                    .collect();
                (0..count)
                    .map(|_| {
                        let point = numbers.draw() as f64 / u64::MAX as f64 * sum;
                        let rank = sums.partition_point(|upto| *upto < point).min(entries.len() - 1);
                        let host = Numbers::new((rank as u64) << 6 | numbers.below(64)).wide();
                        inside(order[rank], host)
                    })
                    .collect()
            }
        }
    }
}
