//! A TAP interface: an Ethernet interface of the kernel whose other end is a file of ours.

#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

/// The longest name of an interface.
pub const LONGEST_NAME: usize = 15;

const IFF_TAP: i16 = 0x0002;
/// Frames come as they are, with nothing in front.
const IFF_NO_PI: i16 = 0x1000;

/// `struct ifreq`, as far as TUNSETIFF reads it.
#[repr(C)]
struct Request {
    name: [u8; LONGEST_NAME + 1],
    flags: i16,
    rest: [u8; 22],
}

mod calls {
    nix::ioctl_write_ptr_bad!(set_interface, 0x4004_54ca, super::Request);
    nix::ioctl_write_ptr!(set_carrier, b'T', 226, i32);
}

/// See the module's documentation. The interface goes when this is dropped, unless somebody made it before.
#[derive(Debug)]
pub struct Tap(File);

impl Tap {
    /// Makes it, or takes the other end of one that is there (`ip tuntap add mode tap name …`).
    ///
    /// # Errors
    /// Without `/dev/net/tun`, without CAP_NET_ADMIN where it has to be made, or when the name is another interface's.
    pub fn open(name: &str) -> io::Result<Tap> {
        if name.is_empty() || name.len() > LONGEST_NAME {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a name has 1 to 15 bytes"));
        }
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let file =
            OpenOptions::new().read(true).write(true).custom_flags(nonblocking).open("/dev/net/tun")?;
        let mut request = Request { name: [0; LONGEST_NAME + 1], flags: IFF_TAP | IFF_NO_PI, rest: [0; 22] };
        request.name[..name.len()].copy_from_slice(name.as_bytes());
        // SAFETY: TUNSETIFF reads a `struct ifreq`, 40 bytes on 64-bit systems, which `Request` is: 16 bytes of name with a
        // zero at the end, the flags, and the rest. It is borrowed for the call alone.
        unsafe { calls::set_interface(file.as_raw_fd(), &raw const request) }?;
        Ok(Tap(file))
    }

    /// Says whether the line is up.
    ///
    /// # Errors
    /// From a kernel before 5.0.
    pub fn set_carrier(&self, up: bool) -> io::Result<()> {
        let value = i32::from(up);
        // SAFETY: TUNSETCARRIER reads an `int`, borrowed for the call alone.
        unsafe { calls::set_carrier(self.0.as_raw_fd(), &raw const value) }?;
        Ok(())
    }

    /// Whether this says that somebody has deleted the interface, for whoever reads.
    pub fn is_gone(error: &io::Error) -> bool {
        error.raw_os_error() == Some(nix::errno::Errno::EBADFD as i32)
    }

    /// A frame that the kernel sends, if there is one.
    ///
    /// # Errors
    /// As read(2); WouldBlock if there is none.
    pub fn receive(&self, frame: &mut [u8]) -> io::Result<usize> {
        (&self.0).read(frame)
    }

    /// Gives the kernel a frame.
    ///
    /// # Errors
    /// As write(2): when the interface is down, for instance.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        (&self.0).write(frame).map(|_| ())
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
