//! The memory that a socket's ring shares with the kernel.
//!
//! Header fields are read and written as atomics, so that looking at one which the kernel is writing is
//! harmless. Slices are another matter: a frame's bytes are ours from the moment its status word says so until
//! it is handed back, and only the ring that keeps that account can say when this is; so asking for a slice is
//! `unsafe` here, and argued where the account is kept.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, AtomicU32};

/// A socket's ring, mapped.
pub(super) struct Mapping {
    base: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping is this value's own; nothing about it is tied to the thread that made it.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps `length` bytes of the ring that `socket` has, all pages present.
    pub(super) fn new(socket: BorrowedFd<'_>, length: usize) -> io::Result<Mapping> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory that exists.
        let base =
            unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, socket.as_raw_fd(), 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        match NonNull::new(base.cast()) {
            Some(base) => Ok(Mapping { base, length }),
            None => Err(io::Error::from_raw_os_error(libc::ENOMEM)),
        }
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
    pub(super) unsafe fn bytes_mut(&mut self, at: usize, count: usize) -> &mut [u8] {
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
