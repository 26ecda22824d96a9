//! What the processor can do, asked once, and hints to its caches.
//!
//! The crate is compiled for any x86-64 (or another machine); the loops that gain from newer instructions exist once for
//! each [`Level`] and are chosen at run time. A [`Level`] is proof: one above [`Level::PORTABLE`] exists only where the
//! processor said yes.
#![allow(unsafe_code)]

/// A set of instructions that this processor has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Level(Tier);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Tier {
    Portable,
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    V3,
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    V4,
}

impl Level {
    /// What every machine can do.
    pub(super) const PORTABLE: Level = Level(Tier::Portable);

    /// The highest level of this processor.
    pub(super) fn best() -> Level {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        {
            let v3 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("bmi1")
                && is_x86_feature_detected!("bmi2")
                && is_x86_feature_detected!("lzcnt")
                && is_x86_feature_detected!("popcnt");
            let v4 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            if v3 && v4 {
                return Level(Tier::V4);
            }
            if v3 {
                return Level(Tier::V3);
            }
        }
        Level::PORTABLE
    }

    /// Whether AVX2, BMI1, BMI2, LZCNT and POPCNT are there.
    pub(super) fn has_v3(self) -> bool {
        self.0 >= Tier::V3
    }

    /// Whether AVX-512 F, BW, DQ and VL are there as well.
    pub(super) fn has_v4(self) -> bool {
        self.0 >= Tier::V4
    }

    /// All levels of this processor, lowest first.
    #[cfg(test)]
    pub(super) fn all() -> impl Iterator<Item = Level> {
        let best = Level::best();
        [Tier::Portable, Tier::V3, Tier::V4].into_iter().map(Level).filter(move |level| *level <= best)
    }
}

/// Elements of a group: as many lookups of a burst go through a table together at most.
pub(super) const LANES: usize = 64;

/// What the loops of all tables need of a processor.
pub(super) trait Machine {
    /// Which of the values have their highest bit set; bit `i` stands for the value at `i`.
    ///
    /// # Safety
    ///
    /// The processor has what the implementation uses.
    unsafe fn high(values: &[u16; LANES]) -> u64;

    /// Which of the values have any of `bits`.
    ///
    /// # Safety
    ///
    /// The processor has what the implementation uses.
    unsafe fn having(values: &[u32; LANES], bits: u32) -> u64;
}

/// Any machine: [`Level::PORTABLE`].
pub(super) struct Portable;

impl Machine for Portable {
    #[inline(always)]
    unsafe fn high(values: &[u16; LANES]) -> u64 {
        values.iter().rev().fold(0, |mask, value| mask << 1 | u64::from(value >> 15))
    }

    #[inline(always)]
    unsafe fn having(values: &[u32; LANES], bits: u32) -> u64 {
        values.iter().rev().fold(0, |mask, value| mask << 1 | u64::from(value & bits != 0))
    }
}

/// Where [`Level::has_v3`].
#[cfg(target_arch = "x86_64")]
pub(super) struct V3;

#[cfg(target_arch = "x86_64")]
impl Machine for V3 {
    #[inline(always)]
    unsafe fn high(values: &[u16; LANES]) -> u64 {
        use std::arch::x86_64::*;
        let mut mask = 0;
        for part in 0..2 {
            // SAFETY: the processor has AVX2, says the caller; 32 of 64 values are read from the 32 * `part`th on.
            unsafe {
                let at = values.as_ptr().add(32 * part).cast::<__m256i>();
                // Packing saturates, so it keeps the signs; it mixes up the quarters, which are put in order again.
                let packed = _mm256_packs_epi16(_mm256_loadu_si256(at), _mm256_loadu_si256(at.add(1)));
                let packed = _mm256_permute4x64_epi64::<0b11_01_10_00>(packed);
                mask |= u64::from(_mm256_movemask_epi8(packed) as u32) << (32 * part);
            }
        }
        mask
    }

    #[inline(always)]
    unsafe fn having(values: &[u32; LANES], bits: u32) -> u64 {
        use std::arch::x86_64::*;
        let mut mask = 0;
        for part in 0..8 {
            // SAFETY: the processor has AVX2, says the caller; 8 of 64 values are read from the 8 * `part`th on.
            unsafe {
                let eight = _mm256_loadu_si256(values.as_ptr().add(8 * part).cast());
                let without = _mm256_and_si256(eight, _mm256_set1_epi32(bits as i32));
                let without = _mm256_cmpeq_epi32(without, _mm256_setzero_si256());
                let without = _mm256_movemask_ps(_mm256_castsi256_ps(without)) as u64;
                mask |= (without ^ 0xff) << (8 * part);
            }
        }
        mask
    }
}

/// Where [`Level::has_v4`].
#[cfg(target_arch = "x86_64")]
pub(super) struct V4;

#[cfg(target_arch = "x86_64")]
impl Machine for V4 {
    #[inline(always)]
    unsafe fn high(values: &[u16; LANES]) -> u64 {
        use std::arch::x86_64::*;
        // SAFETY: the processor has AVX-512 BW, says the caller; 2 * 32 values are read.
        unsafe {
            let at = values.as_ptr().cast::<__m512i>();
            let low = _mm512_movepi16_mask(_mm512_loadu_si512(at));
            let high = _mm512_movepi16_mask(_mm512_loadu_si512(at.add(1)));
            u64::from(low) | u64::from(high) << 32
        }
    }

    #[inline(always)]
    unsafe fn having(values: &[u32; LANES], bits: u32) -> u64 {
        use std::arch::x86_64::*;
        let mut mask = 0;
        for part in 0..4 {
            // SAFETY: the processor has AVX-512 F, says the caller; 16 of 64 values are read from the 16 * `part`th on.
            unsafe {
                let sixteen = _mm512_loadu_si512(values.as_ptr().add(16 * part).cast());
                mask |= u64::from(_mm512_test_epi32_mask(sixteen, _mm512_set1_epi32(bits as i32))) << (16 * part);
            }
        }
        mask
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
