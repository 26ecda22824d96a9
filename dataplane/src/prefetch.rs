//! Asking for memory before it is needed.

#![allow(unsafe_code)]

/// Asks for the cache line at the start of `bytes`. Changes nothing but time.
#[inline(always)]
pub(crate) fn line(bytes: &[u8]) {
    at(bytes.as_ptr());
}

/// Asks for the cache line that a value starts in. Changes nothing but time.
#[inline(always)]
pub(crate) fn value<T>(value: &T) {
    at(std::ptr::from_ref(value).cast());
}

#[inline(always)]
fn at(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch is a hint; it reads nothing that the program could see and never faults, whatever
    // the address (Intel SDM volume 2, PREFETCHh).
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
