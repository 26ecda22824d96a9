//! AF_XDP sockets: the system calls of the kernel's networking/af_xdp.rst, each with its arguments made certain.

#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use libc::{c_int, off_t, socklen_t, xdp_ring_offset};

use super::lane::{IN, OUT, Rings};
use super::ring::{ADDRESS, Consumer, DESCRIPTOR, Layout, Producer, Slots};
use crate::port::mapping::Mapping;
use crate::port::system::{self, Errno};

/// How many frames one system call sends in copy mode, where the kernel lets itself be told (Linux 6.17); else 32.
const XDP_MAX_TX_SKB_BUDGET: c_int = 9;
const SEND_AT_ONCE: u32 = 256;

/// Microseconds that a call may poll the device for; sockets here never wait, so it only says that they may poll.
const BUSY_POLL_MICROS: c_int = 20;
/// Frames that one poll of the device takes.
const BUSY_POLL_BUDGET: c_int = 64;

/// Bytes that may be on their way out of a socket in copy mode.
const SEND_BUFFER: c_int = 16 << 20;

/// How a socket gets at the frames of its memory.
#[derive(Clone, Copy, Debug)]
pub(super) enum Binding<'a> {
    /// It has registered them itself.
    Own { zero_copy: bool },
    /// By another socket that has, and in that one's mode (XDP_SHARED_UMEM).
    Shared(BorrowedFd<'a>),
}

/// When a socket was closed; nothing before.
pub(super) type Closed = Arc<OnceLock<Instant>>;

/// Tells that what stands before it was dropped.
struct Signal(Closed);

impl Drop for Signal {
    fn drop(&mut self) {
        let _ = self.0.set(Instant::now());
    }
}

/// An AF_XDP socket.
///
/// Whoever lends it, or has its rings, has it too: the kernel keeps a socket as long as a ring of it is mapped. So it is
/// closed when the last of them lets go, wherever that is.
pub(super) struct Socket {
    // Fields are dropped in their order.
    descriptor: OwnedFd,
    closed: Signal,
}

impl Socket {
    /// A socket that is bound to nothing.
    pub(super) fn new() -> Result<Socket, Errno> {
        let descriptor = system::socket(libc::AF_XDP, libc::SOCK_RAW)?;
        Ok(Socket { descriptor, closed: Signal(Closed::default()) })
    }

    /// Where it will be told that it is closed.
    pub(super) fn closed(&self) -> Closed {
        Arc::clone(&self.closed.0)
    }

    /// `T` is the plain structure that linux/if_xdp.h or socket(7) names for the option.
    fn set<T: Copy>(&self, level: c_int, option: c_int, value: &T) -> Result<(), Errno> {
        system::set_option(&self.descriptor, level, option, value)
    }

    /// `T` is the plain structure for the option, numbers all; the kernel may know less of it and leaves zeros.
    fn get<T: Copy>(&self, level: c_int, option: c_int, zero: T) -> Result<T, Errno> {
        system::get_option(&self.descriptor, level, option, zero)
    }

    /// Registers frames of 2^`shift` bytes. The kernel pins their memory, so it stays what it is as long as the kernel uses
    /// it, even if it is unmapped before.
    pub(super) fn register(&self, memory: &Mapping, shift: u32) -> Result<(), Errno> {
        let region = libc::xdp_umem_reg {
            addr: memory.start(),
            len: (memory.len() >> shift << shift) as u64,
            chunk_size: 1 << shift,
            headroom: 0,
            flags: 0,
            tx_metadata_len: 0,
        };
        self.set(libc::SOL_XDP, libc::XDP_UMEM_REG, &region)
    }

    /// Makes the socket's rings, and maps them. They keep the socket.
    pub(super) fn make_rings(self: &Arc<Self>) -> Result<Rings, Errno> {
        for (ring, entries) in [
            (libc::XDP_UMEM_FILL_RING, IN),
            (libc::XDP_RX_RING, IN),
            (libc::XDP_UMEM_COMPLETION_RING, OUT),
            (libc::XDP_TX_RING, OUT),
        ] {
            self.set(libc::SOL_XDP, ring, &entries)?;
        }
        let zero = xdp_ring_offset { producer: 0, consumer: 0, desc: 0, flags: 0 };
        let offsets = libc::xdp_mmap_offsets { rx: zero, tx: zero, fr: zero, cr: zero };
        let offsets = self.get(libc::SOL_XDP, libc::XDP_MMAP_OFFSETS, offsets)?;
        let fill = (offsets.fr, libc::XDP_UMEM_PGOFF_FILL_RING as off_t);
        let completion = (offsets.cr, libc::XDP_UMEM_PGOFF_COMPLETION_RING as off_t);
        Ok(Rings {
            fill: Producer::new(self.map(fill, ADDRESS, IN)?),
            completion: Consumer::new(self.map(completion, ADDRESS, OUT)?),
            receive: Consumer::new(self.map((offsets.rx, libc::XDP_PGOFF_RX_RING), DESCRIPTOR, IN)?),
            transmit: Producer::new(self.map((offsets.tx, libc::XDP_PGOFF_TX_RING), DESCRIPTOR, OUT)?),
            _socket: Some(Arc::clone(self)),
        })
    }

    fn map(&self, (offsets, at): (xdp_ring_offset, off_t), entry: usize, count: u32) -> Result<Slots, Errno> {
        let layout = Layout {
            producer: offsets.producer as usize,
            consumer: offsets.consumer as usize,
            flags: offsets.flags as usize,
            entries: offsets.desc as usize,
        };
        let memory = Mapping::of(self.descriptor.as_fd(), layout.entries + count as usize * entry, at)?;
        Ok(Slots::new(Arc::new(memory), layout, count))
    }

    /// Binds to a queue of an interface.
    pub(super) fn bind(&self, interface: u32, queue: u32, binding: Binding<'_>) -> Result<(), Errno> {
        let (flags, lender) = match binding {
            Binding::Own { zero_copy: true } => (libc::XDP_ZEROCOPY | libc::XDP_USE_NEED_WAKEUP, 0),
            Binding::Own { zero_copy: false } => (libc::XDP_COPY | libc::XDP_USE_NEED_WAKEUP, 0),
            // Everything else is as it is there.
            Binding::Shared(lender) => (libc::XDP_SHARED_UMEM, lender.as_raw_fd()),
        };
        let address = libc::sockaddr_xdp {
            sxdp_family: libc::AF_XDP as u16,
            sxdp_flags: flags,
            sxdp_ifindex: interface,
            sxdp_queue_id: queue,
            sxdp_shared_umem_fd: lender as u32,
        };
        let (pointer, size) = (std::ptr::from_ref(&address).cast(), size_of_val(&address) as socklen_t);
        // SAFETY: `pointer` and `size` describe `address`, which the kernel only reads.
        match unsafe { libc::bind(self.descriptor.as_raw_fd(), pointer, size) } {
            0 => Ok(()),
            _ => Err(Errno::last()),
        }
    }

    /// Whether frames reach the device without being copied by the kernel.
    pub(super) fn is_zero_copy(&self) -> bool {
        let options = self.get(libc::SOL_XDP, libc::XDP_OPTIONS, libc::xdp_options { flags: 0 });
        options.is_ok_and(|options| options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0)
    }

    /// As many bytes and frames may be on their way as goes; what the kernel does not know it does without.
    pub(super) fn widen(&self) {
        let _ = self.set(libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &SEND_BUFFER);
        let _ = self.set(libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, &SEND_AT_ONCE);
    }

    /// Has the device polled by this socket's system calls, in place of interrupts.
    pub(super) fn prefer_busy_polling(&self) -> Result<(), Errno> {
        self.set(libc::SOL_SOCKET, libc::SO_PREFER_BUSY_POLL, &1)?;
        self.set(libc::SOL_SOCKET, libc::SO_BUSY_POLL, &BUSY_POLL_MICROS)?;
        self.set(libc::SOL_SOCKET, libc::SO_BUSY_POLL_BUDGET, &BUSY_POLL_BUDGET)
    }

    /// Whether the kernel knows which device to poll for this socket. Since Linux 6.14 it does in zero-copy mode alone;
    /// before, once a frame has come.
    pub(super) fn is_polled(&self) -> bool {
        self.get(libc::SOL_SOCKET, libc::SO_INCOMING_NAPI_ID, 0 as c_int).is_ok_and(|id| id != 0)
    }

    /// What the kernel counted since the socket was made.
    pub(super) fn statistics(&self) -> Option<libc::xdp_statistics> {
        let zero = libc::xdp_statistics {
            rx_dropped: 0,
            rx_invalid_descs: 0,
            tx_invalid_descs: 0,
            rx_ring_full: 0,
            rx_fill_ring_empty_descs: 0,
            tx_ring_empty_descs: 0,
        };
        self.get(libc::SOL_XDP, libc::XDP_STATISTICS, zero).ok()
    }

    /// Tells the kernel that there is something in the transmit ring; in copy mode it is sent by this.
    #[inline]
    pub(super) fn wake_to_send(&self) -> Result<(), Errno> {
        // SAFETY: no buffer and no address; the frames are in the ring.
        let sent = unsafe {
            libc::sendto(
                self.descriptor.as_raw_fd(),
                std::ptr::null(),
                0,
                libc::MSG_DONTWAIT,
                std::ptr::null(),
                0,
            )
        };
        if sent >= 0 { Ok(()) } else { Err(Errno::last()) }
    }

    /// Tells the kernel that there is something in the fill ring, or has it poll the device. Also tells whether the
    /// socket is still bound: ENXIO if not.
    #[inline]
    pub(super) fn wake_to_receive(&self) -> Result<(), Errno> {
        // SAFETY: no buffer and no address; frames come by the ring.
        let received = unsafe {
            libc::recvfrom(
                self.descriptor.as_raw_fd(),
                std::ptr::null_mut(),
                0,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
            )
        };
        if received >= 0 { Ok(()) } else { Err(Errno::last()) }
    }

    /// Forgets the error that an interface leaves when it goes away, which would else wake every poll.
    pub(super) fn forget_error(&self) {
        let _: Result<c_int, Errno> = self.get(libc::SOL_SOCKET, libc::SO_ERROR, 0);
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
