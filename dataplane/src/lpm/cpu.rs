//! What the processor can do, asked once, and hints to its caches.
//!
//! The crate is compiled for any x86-64 (or another machine); the loops that gain from newer instructions
//! exist once for each [`Level`] and are chosen at run time. A [`Level`] is proof: one above
//! [`Level::PORTABLE`] exists only where the processor said yes.
#![allow(unsafe_code)]

/// A set of instructions that this processor has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Level(Tier);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Tier {
    Portable,
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    V3,
}

impl Level {
    /// What every machine can do.
    pub(super) const PORTABLE: Level = Level(Tier::Portable);

    /// The highest level of this processor.
    pub(super) fn best() -> Level {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        if is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("lzcnt")
            && is_x86_feature_detected!("popcnt")
        {
            return Level(Tier::V3);
        }
        Level::PORTABLE
    }

    /// Whether AVX2, BMI1, BMI2, LZCNT and POPCNT are there.
    #[inline(always)]
    pub(super) fn has_v3(self) -> bool {
        self.0 >= Tier::V3
    }

    /// All levels of this processor, lowest first.
    #[cfg(test)]
    pub(super) fn all() -> impl Iterator<Item = Level> {
        let best = Level::best();
        [Level::PORTABLE, best].into_iter().take(1 + usize::from(best != Level::PORTABLE))
    }
}

/// Asks for the line at `address` to be brought near; any address is fine, nothing is read.
#[inline(always)]
pub(super) fn prefetch<T>(address: *const T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint; it faults on no address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}
