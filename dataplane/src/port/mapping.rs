//! Memory that is shared with the kernel: a socket's rings, and the frames that they name.
//!
//! Header fields are read and written as atomics, so that looking at one which the kernel is writing is
//! harmless. Slices are another matter: a frame's bytes are ours from the moment its status word says so until
//! it is handed back, and only the ring that keeps that account can say when this is; so asking for a slice is
//! `unsafe` here, and argued where the account is kept.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64};

/// A socket's ring, or memory of this process, mapped.
pub(super) struct Mapping {
    base: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping is this value's own; nothing about it is tied to the thread that made it.
unsafe impl Send for Mapping {}
// SAFETY: what can be done with a shared one is to read and write atomics; who asks for a slice vouches for it.
unsafe impl Sync for Mapping {}

/// Bytes of a huge page, as x86-64 and most others have them.
const HUGE_PAGE: usize = 2 << 20;

impl Mapping {
    /// Maps `length` bytes of the ring that `socket` has, all pages present.
    pub(super) fn new(socket: BorrowedFd<'_>, length: usize) -> io::Result<Mapping> {
        Mapping::of(socket, length, 0)
    }

    /// Maps `length` bytes at `offset` of what `socket` has, all pages present.
    pub(super) fn of(socket: BorrowedFd<'_>, length: usize, offset: libc::off_t) -> io::Result<Mapping> {
        Mapping::map(length, libc::MAP_SHARED | libc::MAP_POPULATE, socket.as_raw_fd(), offset)
    }

    /// Memory of this process, in pages of the usual size; in larger ones if the kernel likes.
    pub(super) fn anonymous(length: usize) -> io::Result<Mapping> {
        let mapping = Mapping::map(length, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)?;
        // SAFETY: advice about a mapping of our own, which changes nothing of what is in there.
        unsafe { libc::madvise(mapping.base.as_ptr().cast(), length, libc::MADV_HUGEPAGE) };
        Ok(mapping)
    }

    /// Memory of this process in huge pages, of which so many must be set aside (hugetlbfs); a little more than was
    /// asked for, since they are whole.
    pub(super) fn in_huge_pages(length: usize) -> io::Result<Mapping> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_HUGETLB | libc::MAP_HUGE_2MB;
        Mapping::map(length.next_multiple_of(HUGE_PAGE), flags | libc::MAP_POPULATE, -1, 0)
    }

    fn map(length: usize, flags: i32, socket: i32, offset: libc::off_t) -> io::Result<Mapping> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory that exists.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, socket, offset) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        match NonNull::new(base.cast()) {
            Some(base) => Ok(Mapping { base, length }),
            None => Err(io::Error::from_raw_os_error(libc::ENOMEM)),
        }
    }

    /// Has pages that are not there yet taken from a node of memory, as far as it has some.
    pub(super) fn prefer_node(&self, node: u32) {
        let mut nodes = [0u64; 16];
        let Some(word) = nodes.get_mut(node as usize / 64) else { return };
        *word = 1 << (node % 64);
        // SAFETY: a mapping of our own and a mask with its length in bits, which the kernel only reads.
        unsafe {
            libc::syscall(
                libc::SYS_mbind,
                self.base.as_ptr(),
                self.length,
                libc::MPOL_PREFERRED,
                nodes.as_ptr(),
                size_of_val(&nodes) * 8,
                0,
            )
        };
    }

    /// Where it begins, for the kernel.
    pub(super) fn start(&self) -> u64 {
        self.base.as_ptr().expose_provenance() as u64
    }

    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Where `count` bytes at `at` are.
    ///
    /// # Panics
    /// If they are not inside the mapping.
    #[inline]
    fn address(&self, at: usize, count: usize) -> NonNull<u8> {
        assert!(at <= self.length && count <= self.length - at, "byte {at} of a ring of {}", self.length);
        // SAFETY: inside the mapping, as was just checked.
        unsafe { self.base.add(at) }
    }

    /// The 32-bit field at `at`.
    #[inline]
    pub(super) fn word(&self, at: usize) -> &AtomicU32 {
        let field: NonNull<AtomicU32> = self.address(at, size_of::<AtomicU32>()).cast();
        assert!(field.is_aligned(), "byte {at} is not a 32-bit field");
        // SAFETY: inside the mapping, aligned, and any bits are a valid value; an atomic may be shared with
        // another writer, here the kernel.
        unsafe { field.as_ref() }
    }

    /// The 64-bit field at `at`.
    #[inline]
    pub(super) fn long(&self, at: usize) -> &AtomicU64 {
        let field: NonNull<AtomicU64> = self.address(at, size_of::<AtomicU64>()).cast();
        assert!(field.is_aligned(), "byte {at} is not a 64-bit field");
        // SAFETY: as in `word`.
        unsafe { field.as_ref() }
    }

    /// The 16-bit field at `at`.
    #[inline]
    pub(super) fn half(&self, at: usize) -> &AtomicU16 {
        let field: NonNull<AtomicU16> = self.address(at, size_of::<AtomicU16>()).cast();
        assert!(field.is_aligned(), "byte {at} is not a 16-bit field");
        // SAFETY: as in `word`.
        unsafe { field.as_ref() }
    }

    /// The bytes `at..at + count`.
    ///
    /// # Safety
    /// While the slice lives, the kernel does not write there, nor does anybody else.
    #[inline]
    pub(super) unsafe fn bytes(&self, at: usize, count: usize) -> &[u8] {
        // SAFETY: inside the mapping; unchanged while borrowed, as the caller vouches.
        unsafe { std::slice::from_raw_parts(self.address(at, count).as_ptr(), count) }
    }

    /// The bytes `at..at + count`, to be written.
    ///
    /// # Safety
    /// While the slice lives, the kernel neither reads nor writes there, nor does anybody else.
    #[inline]
    #[allow(clippy::mut_from_ref)] // Whoever shares it keeps account of whose bytes are whose.
    pub(super) unsafe fn bytes_mut(&self, at: usize, count: usize) -> &mut [u8] {
        // SAFETY: inside the mapping; nobody else's while borrowed, as the caller vouches.
        unsafe { std::slice::from_raw_parts_mut(self.address(at, count).as_ptr(), count) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `base` and `length` are what `mmap` gave; borrows of the memory ended with this value.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.length) };
    }
}
