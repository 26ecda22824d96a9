//! A netlink socket: requests out, datagrams in.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};

use super::decode::{Message, messages};

/// The kernel fills datagrams of at most 32 KiB in a dump; a notification is one message.
const DATAGRAM: usize = 64 << 10;

/// See the module's documentation.
pub(super) struct Socket {
    inner: netlink_sys::Socket,
    buffer: Vec<u8>,
    sequence: u32,
}

/// What came of trying to receive.
pub(super) enum Received {
    /// A datagram's messages, and whether the dump that they are of was disturbed.
    Messages(Vec<Message>, bool),
    /// Nothing is there yet.
    Nothing,
    /// The kernel had more to say than there was room for.
    Lost,
}

impl Socket {
    /// A socket that hears notifications of some groups.
    pub(super) fn open(groups: &[u32]) -> io::Result<Socket> {
        let mut inner = netlink_sys::Socket::new(NETLINK_ROUTE)?;
        inner.set_non_blocking(true)?;
        inner.bind_auto()?;
        // Without it the kernel dumps all tables, whatever was asked for; then we choose.
        let _ = inner.set_netlink_get_strict_chk(true);
        for group in groups {
            inner.add_membership(*group)?;
        }
        Ok(Socket { inner, buffer: Vec::with_capacity(DATAGRAM), sequence: 0 })
    }

    /// Gives it room for so many bytes of notifications; gives how many there are. Beyond the system's limit
    /// (`net.core.rmem_max`) that takes CAP_NET_ADMIN.
    pub(super) fn make_room(&self, bytes: usize) -> io::Result<usize> {
        if set_socket_recv_buffer_size_force(self, bytes).is_err() {
            set_socket_recv_buffer_size(self, bytes)?;
        }
        self.inner.get_rx_buf_sz()
    }

    /// Sends a request.
    pub(super) fn send(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.inner.send(&bytes, 0).map(|_| ())
    }

    /// Throws away what is there: answers to what nobody waited for.
    pub(super) fn discard(&mut self) {
        while matches!(self.receive(), Ok(Received::Messages(..) | Received::Lost)) {}
    }

    /// Takes a datagram, if one is there.
    pub(super) fn receive(&mut self) -> io::Result<Received> {
        self.buffer.clear();
        match self.inner.recv(&mut self.buffer, 0) {
            Ok(_) => {
                let (messages, disturbed) = messages(&self.buffer);
                Ok(Received::Messages(messages, disturbed))
            }
            Err(error) => match error.raw_os_error() {
                Some(code) if code == rustix::io::Errno::NOBUFS.raw_os_error() => Ok(Received::Lost),
                _ if error.kind() == io::ErrorKind::WouldBlock => Ok(Received::Nothing),
                _ if error.kind() == io::ErrorKind::Interrupted => Ok(Received::Nothing),
                _ => Err(error),
            },
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

/// Waits until one of them has something, or some milliseconds are over.
pub(super) fn wait(sockets: &[&Socket], milliseconds: u64) {
    let mut fds: Vec<PollFd<'_>> =
        sockets.iter().map(|socket| PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN)).collect();
    let timeout =
        Timespec { tv_sec: (milliseconds / 1000) as i64, tv_nsec: (milliseconds % 1000 * 1_000_000) as i64 };
    // Interrupted is as good as nothing: whoever waits looks again.
    let _ = poll(&mut fds, Some(&timeout));
}
