//! Asking for memory before it is needed.

#![allow(unsafe_code)]

/// Asks for the cache line at the start of `bytes`. Changes nothing but time.
#[inline(always)]
pub(crate) fn line(bytes: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch is a hint; it reads nothing that the program could see and never faults, whatever
    // the address (Intel SDM volume 2, PREFETCHh).
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(bytes.as_ptr().cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = bytes;
}
