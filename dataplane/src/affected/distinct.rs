//! How many distinct destinations, without a list of them: HyperLogLog.
//!
//! P. Flajolet, É. Fusy, O. Gandouet, F. Meunier, "HyperLogLog: the analysis of a near-optimal cardinality
//! estimation algorithm", AofA 2007, with its correction for small numbers (linear counting). A destination's
//! keyed hash names one of [`REGISTERS`] registers and offers it a rank; a register keeps the highest. So what
//! is kept says how many there were, and of no address whether it was among them. The standard error is
//! [`STANDARD_ERROR`]; up to some thirty destinations it is about one. Hashes have 64 bits, and the paper's
//! correction for large numbers, which 32-bit hashes need, is left out.

use std::sync::atomic::{AtomicU64, Ordering};

/// Registers of a sketch.
pub const REGISTERS: usize = 128;
/// The standard error of an estimate, as a share of it: 1.04 divided by the square root of the registers.
pub const STANDARD_ERROR: f64 = 0.092;

const INDEX_BITS: u32 = REGISTERS.trailing_zeros();
const WORDS: usize = REGISTERS / 8;

/// A sketch that one thread writes and any thread reads: eight registers a word.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct DistinctCells([AtomicU64; WORDS]);

impl DistinctCells {
    /// Adds what has this hash.
    #[inline]
    pub(super) fn add(&self, hash: u64) {
        let register = hash as usize % REGISTERS;
        // The bit at the top ends a run of zeros that would go on for ever.
        let rank = u64::from((hash >> INDEX_BITS | 1 << (u64::BITS - INDEX_BITS)).trailing_zeros()) + 1;
        let (word, shift) = (&self.0[register / 8], register % 8 * 8);
        let before = word.load(Ordering::Relaxed);
        if before >> shift & 0xff < rank {
            word.store(before & !(0xff << shift) | rank << shift, Ordering::Relaxed);
        }
    }

    pub(super) fn clear(&self) {
        self.0.iter().for_each(|word| word.store(0, Ordering::Relaxed));
    }

    pub(super) fn read(&self) -> Distinct {
        let mut registers = [0; REGISTERS];
        for (bytes, word) in registers.chunks_exact_mut(8).zip(&self.0) {
            bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
        }
        Distinct(registers)
    }
}

/// A sketch that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distinct([u8; REGISTERS]);

impl Distinct {
    /// Adds what another sketch has seen. What both have seen counts once.
    pub fn merge(&mut self, other: &Distinct) {
        self.0.iter_mut().zip(&other.0).for_each(|(register, other)| *register = (*register).max(*other));
    }

    /// How many distinct things it has seen, about.
    pub fn estimate(&self) -> u64 {
        let registers = REGISTERS as f64;
        let alpha = 0.7213 / (1.0 + 1.079 / registers);
        let sum: f64 = self.0.iter().map(|rank| 0.5f64.powi(i32::from(*rank))).sum();
        let raw = alpha * registers * registers / sum;
        let empty = self.0.iter().filter(|rank| **rank == 0).count() as f64;
        let estimate = match raw <= 2.5 * registers && empty > 0.0 {
            true => registers * (registers / empty).ln(),
            false => raw,
        };
        estimate.round() as u64
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::BuildHasher;

    use proptest::prelude::*;

    use super::*;

    fn sketch(things: impl Iterator<Item = u64>) -> Distinct {
        let cells = DistinctCells::default();
        let hasher = foldhash::quality::FixedState::with_seed(7);
        things.for_each(|thing| cells.add(hasher.hash_one(u128::from(thing))));
        cells.read()
    }

    #[test]
    fn none_one_and_two_are_told_apart() {
        for count in 0..=2 {
            assert_eq!(sketch(0..count).estimate(), count);
        }
        assert_eq!(sketch([5, 5, 5, 5].into_iter()).estimate(), 1);
    }

    #[test]
    fn estimates_of_many_sketches_have_the_stated_standard_error() {
        for count in [20u64, 100, 1_000, 20_000] {
            let squares: f64 = (0..400u64)
                .map(|n| {
                    let estimate = sketch((0..count).map(|thing| n << 32 | thing)).estimate() as f64;
                    (estimate / count as f64 - 1.0).powi(2)
                })
                .sum();
            let deviation = (squares / 400.0).sqrt();
            assert!(deviation < STANDARD_ERROR * 1.15, "{count}: {deviation}");
        }
    }

    #[test]
    fn hashes_at_the_ends_have_a_rank() {
        let cells = DistinctCells::default();
        cells.add(0);
        cells.add(u64::MAX);
        assert_eq!((cells.read().0[0], cells.read().0[REGISTERS - 1]), (58, 1));
        cells.clear();
        assert_eq!(cells.read().estimate(), 0);
    }

    proptest! {
        #[test]
        fn an_estimate_is_near_an_exact_count_and_merging_is_a_union(
            one in proptest::collection::hash_set(0u64..5_000, 0..600),
            other in proptest::collection::hash_set(0u64..5_000, 0..600),
        ) {
            let mut merged = sketch(one.iter().copied());
            merged.merge(&sketch(other.iter().copied()));
            let union: HashSet<u64> = one.union(&other).copied().collect();
            prop_assert_eq!(&merged, &sketch(union.iter().copied()));
            // Five standard errors, and one for what rounds.
            let allowed = union.len() as f64 * STANDARD_ERROR * 5.0 + 1.0;
            prop_assert!((merged.estimate() as f64 - union.len() as f64).abs() <= allowed);
        }
    }
}
