//! One piece of zeroed memory for a whole table.
//!
//! A table lives in one arena and its parts name each other by offsets, so that a reference costs four bytes
//! and a large table can ask for huge pages. Arenas of 2 MiB and more come straight from the kernel, whole
//! huge pages at a time; pages that nobody touches cost nothing, so an arena may also be a reserve to grow
//! into.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

/// Bytes of a cache line; every arena starts on one.
pub(super) const LINE: usize = 64;

const HUGE_PAGE: usize = 2 << 20;

/// Zeroed memory of a fixed size and place, shared by those who agree on who writes where.
#[derive(Debug)]
pub(super) struct Arena {
    start: NonNull<u8>,
    bytes: usize,
    origin: Origin,
}

#[derive(Debug)]
enum Origin {
    Heap(Layout),
    #[cfg_attr(miri, allow(dead_code))]
    Mapped {
        start: NonNull<u8>,
        bytes: usize,
    },
}

// SAFETY: the arena is plain memory that belongs to no thread. It hands out raw pointers only; whoever
// dereferences them argues for the access.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

impl Arena {
    /// `bytes` of zeroes, aligned to a cache line; `None` if the system has no such memory to give.
    pub(super) fn zeroed(bytes: usize) -> Option<Arena> {
        if bytes >= HUGE_PAGE && !cfg!(miri) {
            return Arena::mapped(bytes);
        }
        let layout = Layout::from_size_align(bytes.max(LINE), LINE).ok()?;
        // SAFETY: the layout is not of size zero.
        let start = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        Some(Arena { start, bytes, origin: Origin::Heap(layout) })
    }

    fn mapped(bytes: usize) -> Option<Arena> {
        let whole = bytes.checked_add(HUGE_PAGE)?;
        // SAFETY: a new private mapping of anonymous memory; it overlays nothing.
        let mapping = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                whole,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if mapping == libc::MAP_FAILED {
            return None;
        }
        let mapping = NonNull::new(mapping.cast::<u8>())?;
        let pad = mapping.addr().get().wrapping_neg() % HUGE_PAGE;
        // SAFETY: `pad` is less than the huge page that was mapped on top of `bytes`.
        let start = unsafe { mapping.add(pad) };
        // SAFETY: `start..start + bytes` is inside the mapping. It is advice: its failure changes nothing but
        // speed.
        unsafe { libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE) };
        Some(Arena { start, bytes, origin: Origin::Mapped { start: mapping, bytes: whole } })
    }

    /// The start of the memory, as units of `T`.
    pub(super) fn as_ptr<T>(&self) -> *mut T {
        debug_assert!(align_of::<T>() <= LINE);
        self.start.as_ptr().cast()
    }

    /// How many units of `T` there are.
    pub(super) fn len<T>(&self) -> usize {
        self.bytes / size_of::<T>()
    }

    /// Writes `units` at unit `at`, before the arena is shared.
    pub(super) fn fill<T: Plain>(&mut self, at: usize, units: &[T]) {
        assert!(at.checked_add(units.len()).is_some_and(|end| end <= self.len::<T>()));
        // SAFETY: within the arena, by the check above; `&mut self` keeps everyone else away, and any bytes
        // are a `T`.
        unsafe { self.as_ptr::<T>().add(at).copy_from_nonoverlapping(units.as_ptr(), units.len()) };
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        match self.origin {
            // SAFETY: allocated with this layout.
            Origin::Heap(layout) => unsafe { dealloc(self.start.as_ptr(), layout) },
            // SAFETY: mapped with this size; no pointer into it outlives its owner.
            Origin::Mapped { start, bytes } => unsafe {
                libc::munmap(start.as_ptr().cast(), bytes);
            },
        }
    }
}

/// Numbers: no padding, any bytes are a value.
pub(super) trait Plain: Copy {}
impl Plain for u16 {}
impl Plain for u32 {}
impl Plain for u64 {}
