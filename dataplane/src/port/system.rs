//! What the drivers of network interfaces need of the system beside their own sockets.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use libc::{c_int, c_void, socklen_t};

/// What the kernel answered where it refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    pub(super) fn last() -> Errno {
        Errno::from(io::Error::last_os_error())
    }

    /// What it means, without its number.
    pub(super) fn words(self) -> String {
        let told = self.to_string();
        told.split(" (os error").next().unwrap_or_default().to_lowercase()
    }
}

impl From<io::Error> for Errno {
    fn from(error: io::Error) -> Errno {
        Errno(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

impl std::fmt::Display for Errno {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        io::Error::from_raw_os_error(self.0).fmt(f)
    }
}

/// A new socket of this family and kind, that is bound to nothing and never waits.
pub(super) fn socket(family: c_int, kind: c_int) -> Result<OwnedFd, Errno> {
    // SAFETY: takes no pointers.
    let number = unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0) };
    match number {
        // SAFETY: the number was just given to us and nobody else has it.
        0.. => Ok(unsafe { OwnedFd::from_raw_fd(number) }),
        _ => Err(Errno::last()),
    }
}

/// Sets an option of a socket. `T` is the plain structure that the option's documentation names.
pub(super) fn set_option<T: Copy>(
    socket: &OwnedFd,
    level: c_int,
    option: c_int,
    value: &T,
) -> Result<(), Errno> {
    let (pointer, size) = (std::ptr::from_ref(value).cast::<c_void>(), size_of::<T>() as socklen_t);
    // SAFETY: `pointer` and `size` describe `value`, which the kernel only reads.
    match unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, pointer, size) } {
        0 => Ok(()),
        _ => Err(Errno::last()),
    }
}

/// Reads an option of a socket. `T` is the plain structure for it, numbers all, for which any bytes are a value; the
/// kernel may know less of it, and leaves what was in `zero`.
pub(super) fn get_option<T: Copy>(
    socket: &OwnedFd,
    level: c_int,
    option: c_int,
    zero: T,
) -> Result<T, Errno> {
    let mut value = zero;
    let mut size = size_of::<T>() as socklen_t;
    let pointer = std::ptr::from_mut(&mut value).cast::<c_void>();
    // SAFETY: `pointer` and `size` describe `value`; the kernel writes no more than `size` bytes, numbers all.
    match unsafe { libc::getsockopt(socket.as_raw_fd(), level, option, pointer, &mut size) } {
        0 => Ok(value),
        _ => Err(Errno::last()),
    }
}

/// Lets this thread run on any core, whatever the core of the one that started it.
pub(super) fn leave_core() {
    let everywhere = [u64::MAX; 128];
    // SAFETY: the pointer and the size describe `everywhere`, which the kernel only reads; a mask is bits.
    unsafe { libc::sched_setaffinity(0, size_of_val(&everywhere), everywhere.as_ptr().cast()) };
}

/// Sleeps until one of the sockets has frames or an error, or a signal comes, or `timeout` is over. Gives the
/// places of those with errors.
pub(super) fn sleep_on<'a, S: AsFd + 'a>(
    sockets: impl Iterator<Item = &'a S>,
    polled: &mut Vec<libc::pollfd>,
    timeout: Duration,
) -> impl Iterator<Item = usize> {
    polled.clear();
    polled.extend(sockets.map(|socket| libc::pollfd {
        fd: socket.as_fd().as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    }));
    let timeout = libc::timespec {
        tv_sec: timeout.as_secs().min(86_400) as libc::time_t,
        tv_nsec: timeout.subsec_nanos().into(),
    };
    // SAFETY: the pointer and the count describe `polled`; `timeout` outlives the call; no signal mask.
    let ready =
        unsafe { libc::ppoll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, &timeout, std::ptr::null()) };
    let polled = if ready > 0 { polled.as_slice() } else { &[] };
    polled.iter().enumerate().filter(|(_, socket)| socket.revents & libc::POLLERR != 0).map(|(at, _)| at)
}
