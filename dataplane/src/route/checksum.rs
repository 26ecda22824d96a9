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

/// Whether the checksum of a header without options is right. The order of bytes does not matter to a ones' complement
/// sum (RFC 1071 §2 (B)).
#[inline]
pub(crate) fn is_right(header: &[u8; PLAIN]) -> bool {
    let word = |at: usize| {
        u64::from(u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]))
    };
    let sum = word(0) + word(4) + word(8) + word(12) + word(16);
    // Five words of 32 bits: folded once, it is below three times 0xffff, and never 0.
    let once = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
    (once == 0xffff) | (once == 0x1_fffe)
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

/// The checksum after the time to live, the upper byte of its word, has become one less: [`after`] for that word, where
/// what is added is always the same. The sum of a header is never 0, so its checksum is never 0xffff.
#[inline(always)]
pub(crate) fn after_decrement(checksum: u16) -> u16 {
    let sum = u32::from(checksum) + 0x0100;
    (sum + u32::from(sum >= 0xffff)) as u16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_example_of_rfc_1624_comes_out_as_it_says() {
        assert_eq!(after(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    #[test]
    fn a_time_to_live_that_is_one_less_is_the_same_as_any_other_change() {
        for checksum in 0..0xffffu16 {
            assert_eq!(after_decrement(checksum), after(checksum, 0x4011, 0x3f11), "{checksum:04x}");
            assert_eq!(after_decrement(checksum), after(checksum, 0x0201, 0x0101), "{checksum:04x}");
        }
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
            prop_assert!(is_right(header.as_slice().try_into().unwrap()) && is_right_of(&header));
            if at != 0 && at != 5 {
                let before = u16::from_be_bytes([header[2 * at], header[2 * at + 1]]);
                let incremental = after(checksum, before, now);
                header[2 * at..2 * at + 2].copy_from_slice(&now.to_be_bytes());
                header[10..12].fill(0);
                prop_assert_eq!(incremental, of(&header));
                header[10..12].copy_from_slice(&incremental.to_be_bytes());
                prop_assert!(is_right(header.as_slice().try_into().unwrap()));
            }
            header[10] ^= 0x10;
            prop_assert!(!is_right(header.as_slice().try_into().unwrap()) && !is_right_of(&header));
        }
    }
}
