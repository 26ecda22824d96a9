//! Which of sixteen 16-bit numbers equal one.

/// A bit for each lane, four to a word from the lowest bits on, that equals `wanted`.
#[inline]
#[cfg(target_arch = "x86_64")]
pub(super) fn equal(words: [u64; 4], wanted: u16) -> u32 {
    use std::arch::x86_64::{
        _mm_cmpeq_epi16, _mm_movemask_epi8, _mm_packs_epi16, _mm_set_epi64x, _mm_set1_epi16,
    };
    let [a, b, c, d] = words.map(u64::cast_signed);
    #[allow(unsafe_code)]
    // SAFETY: SSE2 is part of x86-64; the operations are on values alone.
    unsafe {
        let wanted = _mm_set1_epi16(wanted.cast_signed());
        let low = _mm_cmpeq_epi16(_mm_set_epi64x(b, a), wanted);
        let high = _mm_cmpeq_epi16(_mm_set_epi64x(d, c), wanted);
        // All ones and all zeros keep their sign when they are packed into a byte each.
        _mm_movemask_epi8(_mm_packs_epi16(low, high)).cast_unsigned()
    }
}

/// A bit for each lane, four to a word from the lowest bits on, that equals `wanted`.
#[inline]
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn equal(words: [u64; 4], wanted: u16) -> u32 {
    plainly(words, wanted)
}

/// The same, as one would say it.
#[cfg(any(test, not(target_arch = "x86_64")))]
fn plainly(words: [u64; 4], wanted: u16) -> u32 {
    let lanes = words.iter().flat_map(|word| (0..4).map(move |lane| (word >> (lane * 16)) as u16));
    lanes.enumerate().filter(|(_, lane)| *lane == wanted).map(|(at, _)| 1 << at).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_lanes_that_are_found_are_those_that_are_equal(
            lanes in proptest::array::uniform16(prop::sample::select(vec![0u16, 1, 2, 0x7fff, 0x8000, 0xffff])),
            wanted in prop::sample::select(vec![0u16, 1, 2, 3, 0x7fff, 0x8000, 0xff00, 0xffff]),
        ) {
            let word = |at: usize| (0..4).map(|lane| u64::from(lanes[at * 4 + lane]) << (lane * 16)).sum();
            let words: [u64; 4] = std::array::from_fn(word);
            prop_assert_eq!(equal(words, wanted), plainly(words, wanted));
            let each = (0..16).filter(|at| lanes[*at] == wanted).map(|at| 1u32 << at).sum::<u32>();
            prop_assert_eq!(equal(words, wanted), each);
        }
    }
}
