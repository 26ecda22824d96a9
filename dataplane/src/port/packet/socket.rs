//! AF_PACKET sockets: the system calls of packet(7), each with its arguments made certain.

#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use libc::{c_int, c_uint, sock_filter, socklen_t};

use crate::port::system::{self, Errno};

/// How a ring is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RingShape {
    /// A power of two, at least a page.
    pub(super) block_size: usize,
    pub(super) blocks: usize,
    /// Bytes of a slot; a ring of variable frames only needs it to be right in form.
    pub(super) slot_size: usize,
}

impl RingShape {
    pub(super) fn len(&self) -> usize {
        self.block_size * self.blocks
    }
}

/// The layouts of a ring's headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// TPACKET_V2: slots of one size.
    V2,
    /// TPACKET_V3: blocks of frames one behind the other.
    V3,
}

/// Which of a fanout group's parameters is which is in packet(7).
#[derive(Clone, Copy, Debug)]
pub(super) struct FanoutGroup(u16);

/// An AF_PACKET socket for whole frames.
pub(in crate::port) struct Socket(OwnedFd);

impl Socket {
    /// A socket that is bound to nothing and receives nothing.
    pub(in crate::port) fn new() -> Result<Socket, Errno> {
        system::socket(libc::AF_PACKET, libc::SOCK_RAW).map(Socket)
    }

    /// `T` is the plain structure that packet(7) or socket(7) names for the option.
    fn set<T: Copy>(&self, level: c_int, option: c_int, value: &T) -> Result<(), Errno> {
        system::set_option(&self.0, level, option, value)
    }

    /// `T` is the plain structure for the option; zeros must be a valid value of it.
    fn get<T: Copy>(&self, level: c_int, option: c_int, zero: T) -> Result<T, Errno> {
        system::get_option(&self.0, level, option, zero)
    }

    fn enable(&self, option: c_int) -> Result<(), Errno> {
        self.set(libc::SOL_PACKET, option, &1)
    }

    pub(super) fn set_version(&self, version: Version) -> Result<(), Errno> {
        let version: c_int = match version {
            Version::V2 => 1,
            Version::V3 => 2,
        };
        self.set(libc::SOL_PACKET, libc::PACKET_VERSION, &version)
    }

    /// A `virtio_net_hdr` stands before each frame, received or sent.
    pub(super) fn enable_offload_header(&self) -> Result<(), Errno> {
        self.enable(libc::PACKET_VNET_HDR)
    }

    /// What is sent from here is not received.
    pub(super) fn ignore_outgoing(&self) -> Result<(), Errno> {
        self.enable(libc::PACKET_IGNORE_OUTGOING)
    }

    /// Frames go to the device, not to its queueing discipline.
    pub(super) fn bypass_queueing(&self) -> Result<(), Errno> {
        self.enable(libc::PACKET_QDISC_BYPASS)
    }

    /// A frame that can't be sent is skipped, and does not stop those behind it.
    pub(super) fn skip_bad_frames(&self) -> Result<(), Errno> {
        self.enable(libc::PACKET_LOSS)
    }

    /// As many bytes may be on their way out of the socket; without CAP_NET_ADMIN no more than the system allows.
    pub(super) fn set_send_buffer(&self, bytes: usize) -> Result<(), Errno> {
        let bytes = c_int::try_from(bytes).unwrap_or(c_int::MAX);
        match self.set(libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &bytes) {
            Err(Errno(libc::EPERM)) => self.set(libc::SOL_SOCKET, libc::SO_SNDBUF, &bytes),
            other => other,
        }
    }

    /// Makes a receive ring of blocks; one that has frames is handed over after `retire_millis` though not full.
    pub(super) fn make_block_ring(&self, shape: RingShape, retire_millis: u32) -> Result<(), Errno> {
        let request = libc::tpacket_req3 {
            tp_block_size: shape.block_size as c_uint,
            tp_block_nr: shape.blocks as c_uint,
            tp_frame_size: shape.slot_size as c_uint,
            tp_frame_nr: (shape.len() / shape.slot_size) as c_uint,
            tp_retire_blk_tov: retire_millis,
            tp_sizeof_priv: 0,
            tp_feature_req_word: 0,
        };
        self.set(libc::SOL_PACKET, libc::PACKET_RX_RING, &request)
    }

    /// Makes a receive ring of slots.
    pub(super) fn make_slot_ring(&self, shape: RingShape) -> Result<(), Errno> {
        self.set(libc::SOL_PACKET, libc::PACKET_RX_RING, &Self::slots(shape))
    }

    /// Makes a transmit ring.
    pub(super) fn make_transmit_ring(&self, shape: RingShape) -> Result<(), Errno> {
        self.set(libc::SOL_PACKET, libc::PACKET_TX_RING, &Self::slots(shape))
    }

    fn slots(shape: RingShape) -> libc::tpacket_req {
        libc::tpacket_req {
            tp_block_size: shape.block_size as c_uint,
            tp_block_nr: shape.blocks as c_uint,
            tp_frame_size: shape.slot_size as c_uint,
            tp_frame_nr: (shape.block_size / shape.slot_size * shape.blocks) as c_uint,
        }
    }

    /// Binds to an interface, to receive all that comes by it.
    pub(super) fn bind_to_receive(&self, interface: u32) -> Result<(), Errno> {
        self.bind(interface, (libc::ETH_P_ALL as u16).to_be())
    }

    /// Binds to an interface, to send only.
    pub(super) fn bind_to_send(&self, interface: u32) -> Result<(), Errno> {
        self.bind(interface, 0)
    }

    fn bind(&self, interface: u32, protocol: u16) -> Result<(), Errno> {
        let address = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: protocol,
            sll_ifindex: interface as c_int,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        let (pointer, size) = (std::ptr::from_ref(&address).cast(), size_of_val(&address) as socklen_t);
        // SAFETY: `pointer` and `size` describe `address`, which the kernel only reads.
        match unsafe { libc::bind(self.0.as_raw_fd(), pointer, size) } {
            0 => Ok(()),
            _ => Err(Errno::last()),
        }
    }

    /// The interface that it is bound to; none if that has been removed.
    pub(super) fn interface(&self) -> Option<u32> {
        let mut address = libc::sockaddr_ll {
            sll_family: 0,
            sll_protocol: 0,
            sll_ifindex: 0,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        let mut size = size_of_val(&address) as socklen_t;
        let pointer = std::ptr::from_mut(&mut address).cast();
        // SAFETY: `pointer` and `size` describe `address`; the kernel writes no more than `size` bytes, numbers all.
        let done = unsafe { libc::getsockname(self.0.as_raw_fd(), pointer, &mut size) } == 0;
        u32::try_from(address.sll_ifindex).ok().filter(|index| done && *index > 0)
    }

    /// Frames for any station are received.
    pub(in crate::port) fn listen_to_all(&self, interface: u32) -> Result<(), Errno> {
        let request = libc::packet_mreq {
            mr_ifindex: interface as c_int,
            mr_type: libc::PACKET_MR_PROMISC as u16,
            mr_alen: 0,
            mr_address: [0; 8],
        };
        self.set(libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &request)
    }

    /// Founds a fanout group whose members get the frames that `program` gives them by number.
    pub(super) fn found_group(&self, program: &[sock_filter]) -> Result<FanoutGroup, Errno> {
        self.join(0, libc::PACKET_FANOUT_FLAG_UNIQUEID)?;
        let group: c_int = self.get(libc::SOL_PACKET, libc::PACKET_FANOUT, 0)?;
        self.attach(libc::SOL_PACKET, libc::PACKET_FANOUT_DATA, program)?;
        Ok(FanoutGroup(group as u16))
    }

    /// Joins a fanout group behind those that are in it.
    pub(super) fn join_group(&self, group: FanoutGroup) -> Result<(), Errno> {
        self.join(group.0, 0)
    }

    fn join(&self, group: u16, flags: c_uint) -> Result<(), Errno> {
        let kind = libc::PACKET_FANOUT_CBPF | libc::PACKET_FANOUT_FLAG_IGNORE_OUTGOING | flags;
        self.set(libc::SOL_PACKET, libc::PACKET_FANOUT, &(u32::from(group) | kind << 16))
    }

    /// Nothing is received until [`unmute`](Socket::unmute).
    pub(super) fn mute(&self) -> Result<(), Errno> {
        let nothing = sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: 0 };
        self.attach(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &[nothing])
    }

    /// Undoes [`mute`](Socket::mute).
    pub(super) fn unmute(&self) -> Result<(), Errno> {
        self.set(libc::SOL_SOCKET, libc::SO_DETACH_FILTER, &0)
    }

    fn attach(&self, level: c_int, option: c_int, program: &[sock_filter]) -> Result<(), Errno> {
        // The kernel reads the program before the call returns and never writes to it.
        let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
        self.set(level, option, &program)
    }

    /// Frames that found no room in the receive ring since the last call.
    pub(super) fn take_drops(&self) -> u64 {
        let zero = libc::tpacket_stats_v3 { tp_packets: 0, tp_drops: 0, tp_freeze_q_cnt: 0 };
        let statistics = self.get(libc::SOL_PACKET, libc::PACKET_STATISTICS, zero);
        statistics.map_or(0, |statistics| u64::from(statistics.tp_drops))
    }

    /// Forgets the error that an interface leaves when it goes down, which would else wake every poll.
    pub(super) fn forget_error(&self) {
        let _: Result<c_int, Errno> = self.get(libc::SOL_SOCKET, libc::SO_ERROR, 0);
    }

    /// Sends what the transmit ring has, as far as that goes without waiting.
    pub(super) fn send_queued(&self) -> Result<(), Errno> {
        // SAFETY: no buffer and no address; the frames are in the ring.
        let sent = unsafe {
            libc::sendto(self.0.as_raw_fd(), std::ptr::null(), 0, libc::MSG_DONTWAIT, std::ptr::null(), 0)
        };
        match sent {
            0.. => Ok(()),
            _ => Err(Errno::last()),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
