//! The checksum of an IPv4 header: RFC 1071, and RFC 1624 for one that changes.

/// An IPv4 header without options.
const PLAIN: usize = 20;

/// Folds a sum of 16-bit words into one, with the carries added in.
#[inline]
fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// Whether the checksum of a header without options is right: the ones' complement sum of its 16-bit words is 0xffff
/// (RFC 1071 §1). The sum of wider words is the same once folded, and so is that in another order of bytes (§2 (B), (C)); what
/// folds to 0xffff is a multiple of it, or 0, which the sum of a header never is: the header tells its version.
#[inline(always)]
pub(crate) fn is_right(header: &[u8; PLAIN]) -> bool {
    let word = |at: usize| {
        let bytes: &[u8; 8] = header[at..].first_chunk().expect("within the header");
        u64::from_ne_bytes(*bytes)
    };
    let [.., a, b, c, d] = *header;
    let (sum, carry) = word(0).overflowing_add(word(8));
    let rest = u64::from(u32::from_ne_bytes([a, b, c, d])) + u64::from(carry);
    let (sum, carry) = sum.overflowing_add(rest);
    // The carry comes round: there is room for it.
    is_multiple_of_0xffff(sum.wrapping_add(carry.into()))
}

/// Without a division: the inverse of an odd number, modulo 2^64, takes its multiples, and no other numbers, to the small ones
/// (Granlund and Montgomery 1994, §9).
#[inline(always)]
fn is_multiple_of_0xffff(sum: u64) -> bool {
    const INVERSE: u64 = 0xfffe_fffe_fffe_ffff;
    const { assert!(INVERSE.wrapping_mul(0xffff) == 1) };
    sum.wrapping_mul(INVERSE) <= u64::MAX / 0xffff
}

/// The same for any header.
pub(crate) fn is_right_of(header: &[u8]) -> bool {
    of(header) == 0
}

/// The checksum that a header must have whose field for it is 0. A header has an even number of bytes.
pub(crate) fn of(header: &[u8]) -> u16 {
    let words = header.chunks_exact(2).map(|pair| u64::from(u16::from_be_bytes([pair[0], pair[1]])));
    !fold(words.sum())
}

/// The checksum after one 16-bit word of the header has changed (RFC 1624 §3, equation 3): what is done in its place is
/// held to it.
#[cfg(test)]
pub(crate) fn after(checksum: u16, before: u16, now: u16) -> u16 {
    !fold(u64::from(!checksum) + u64::from(!before) + u64::from(now))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// In wide words, and in all of its 16-bit words.
    fn is_right(header: &[u8]) -> bool {
        let by_wide_words = super::is_right(header.try_into().unwrap());
        assert_eq!(by_wide_words, is_right_of(header));
        by_wide_words
    }

    #[test]
    fn carries_of_every_width_come_round() {
        for header in [[0xff; PLAIN], [0x45; PLAIN]] {
            let mut header = header;
            header[10..12].fill(0);
            let checksum = of(&header).to_be_bytes();
            header[10..12].copy_from_slice(&checksum);
            assert!(is_right(&header));
            for bit in 0..8 * PLAIN {
                header[bit / 8] ^= 1 << (bit % 8);
                assert!(!is_right(&header), "{bit}");
                header[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }

    #[test]
    fn the_example_of_rfc_1624_comes_out_as_it_says() {
        assert_eq!(after(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    proptest! {
        #[test]
        fn a_changed_word_comes_to_what_the_whole_header_would(
            mut header in proptest::collection::vec(any::<u8>(), 20),
            at in 0usize..10,
            now in any::<u16>(),
        ) {
            // A header is never all zeros: it has a version.
            header[0] = 0x45;
            header[10..12].fill(0);
            let checksum = of(&header);
            header[10..12].copy_from_slice(&checksum.to_be_bytes());
            prop_assert!(is_right(&header));
            if at != 0 && at != 5 {
                let before = u16::from_be_bytes([header[2 * at], header[2 * at + 1]]);
                let incremental = after(checksum, before, now);
                header[2 * at..2 * at + 2].copy_from_slice(&now.to_be_bytes());
                header[10..12].fill(0);
                prop_assert_eq!(incremental, of(&header));
                header[10..12].copy_from_slice(&incremental.to_be_bytes());
                prop_assert!(is_right(&header));
            }
            header[10] ^= 0x10;
            prop_assert!(!is_right(&header));
        }
    }
}
