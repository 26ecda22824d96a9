//! The memory of a worker's frames as the kernel knows it.
//!
//! One piece of memory for all ports of a worker. Sockets of different interfaces share its registration
//! (XDP_SHARED_UMEM), each with a fill and a completion ring of its own; but the kernel binds a socket that shares in
//! the mode of the one that it shares with, zero-copy or copy. So the memory is registered once for either mode that is
//! in use, and sockets share with one of their own mode. A frame's address is the same in both, since it counts from
//! the same start. Any socket can lend the registration while it is bound, so that none is special: an interface that
//! goes away takes its own with it and no more.

use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::lane::Rings;
use super::settings::ZeroCopy;
use super::socket::{Binding, Socket};
use crate::port::mapping::Mapping;
use crate::port::system::Errno;

/// Frames of the memory by which a device is asked whether it has zero-copy mode.
const PROBE: usize = 2;

/// A worker's memory for frames.
pub(super) struct Region {
    pub(super) memory: Arc<Mapping>,
    /// A frame's size as a power of two.
    pub(super) shift: u32,
    pub(super) huge_pages: bool,
    /// Sockets that may lend, and whether they are in zero-copy mode.
    bound: Mutex<Vec<(bool, Weak<Socket>)>>,
}

/// A socket with its rings, and why it is not in zero-copy mode where that was tried.
pub(super) struct Opened {
    pub(super) socket: Arc<Socket>,
    pub(super) rings: Rings,
    pub(super) why_copy: Option<Errno>,
}

/// Why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Zero-copy mode was demanded.
    ZeroCopy(Errno),
    /// For whatever else.
    Socket(Errno),
}

impl From<Errno> for Refused {
    fn from(errno: Errno) -> Refused {
        Refused::Socket(errno)
    }
}

impl Region {
    /// Memory for `frames`, of huge pages if there are any, near `node` if that is known.
    pub(super) fn new(frames: usize, shift: u32, node: Option<u32>) -> Result<Region, Errno> {
        let bytes = frames << shift;
        let (memory, huge_pages) = match Mapping::in_huge_pages(bytes) {
            Ok(memory) => (memory, true),
            Err(_) => (Mapping::anonymous(bytes)?, false),
        };
        if let Some(node) = node {
            memory.prefer_node(node);
        }
        Ok(Region { memory: Arc::new(memory), shift, huge_pages, bound: Mutex::default() })
    }

    /// A socket at a queue of an interface, in zero-copy mode if that is wanted and to be had.
    ///
    /// What a [probe](Region::probe) said stays in `probed`, for who tries again: the kernel lets go of the queue some time
    /// after a probe that had it, and one more would have it again.
    pub(super) fn socket(
        &self,
        interface: u32,
        queue: u32,
        zero_copy: ZeroCopy,
        probed: &mut Option<Errno>,
    ) -> Result<Opened, Refused> {
        let mut bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        bound.retain(|(_, socket)| socket.strong_count() > 0);
        let (mut why_copy, mut registered) = (None, None);
        if zero_copy != ZeroCopy::Off {
            let tried = match self.shared(&bound, interface, queue, true) {
                Ok(None) => self.registered(interface, queue, &mut registered),
                Ok(Some(opened)) => Ok(opened),
                Err(errno) => Err(errno),
            };
            match tried {
                Ok((socket, rings)) => {
                    bound.push((true, Arc::downgrade(&socket)));
                    return Ok(Opened { socket, rings, why_copy: None });
                }
                // Somebody else has the queue, which is the same for either mode.
                Err(Errno(libc::EBUSY)) => return Err(Refused::Socket(Errno(libc::EBUSY))),
                // Memory that may be locked does not do for both modes. Whether the device has this one is still to be told.
                Err(errno @ Errno(libc::ENOBUFS)) => {
                    if probed.is_none() {
                        *probed = Some(self.probe(interface, queue, errno)?);
                    }
                    why_copy = *probed;
                }
                Err(errno) => why_copy = Some(errno),
            }
        }
        if let (ZeroCopy::On, Some(errno)) = (zero_copy, why_copy) {
            return Err(Refused::ZeroCopy(errno));
        }
        let (socket, rings) = match self.shared(&bound, interface, queue, false)? {
            Some(opened) => opened,
            None => {
                let (socket, rings) = match registered {
                    Some(registered) => registered,
                    None => self.register()?,
                };
                socket.bind(interface, queue, Binding::Own { zero_copy: false })?;
                (socket, rings)
            }
        };
        bound.push((false, Arc::downgrade(&socket)));
        Ok(Opened { socket, rings, why_copy })
    }

    /// A socket that shares with one of its mode; none if there is no such.
    fn shared(
        &self,
        bound: &[(bool, Weak<Socket>)],
        interface: u32,
        queue: u32,
        zero_copy: bool,
    ) -> Result<Option<(Arc<Socket>, Rings)>, Errno> {
        let lenders = bound.iter().filter(|(mode, _)| *mode == zero_copy);
        for lender in lenders.filter_map(|(_, socket)| socket.upgrade()) {
            let (socket, rings) = prepared()?;
            match socket.bind(interface, queue, Binding::Shared(lender.as_fd())) {
                Ok(()) => return Ok(Some((socket, rings))),
                // Its interface is gone: it has nothing to lend any more.
                Err(Errno(libc::EBADF)) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(None)
    }

    /// A socket in zero-copy mode that has registered the memory itself. If it can't be bound, it is left in `registered`.
    fn registered(
        &self,
        interface: u32,
        queue: u32,
        registered: &mut Option<(Arc<Socket>, Rings)>,
    ) -> Result<(Arc<Socket>, Rings), Errno> {
        let (socket, rings) = self.register()?;
        match socket.bind(interface, queue, Binding::Own { zero_copy: true }) {
            Ok(()) => Ok((socket, rings)),
            Err(errno) => {
                *registered = Some((socket, rings));
                Err(errno)
            }
        }
    }

    fn register(&self) -> Result<(Arc<Socket>, Rings), Errno> {
        let (socket, rings) = prepared()?;
        socket.register(&self.memory, self.shift)?;
        Ok((socket, rings))
    }

    /// Why a queue has no zero-copy mode, asked with hardly any memory; `known` if it has.
    fn probe(&self, interface: u32, queue: u32, known: Errno) -> Result<Errno, Errno> {
        let memory = Mapping::anonymous(PROBE << self.shift)?;
        let (socket, _rings) = prepared()?;
        socket.register(&memory, self.shift)?;
        match socket.bind(interface, queue, Binding::Own { zero_copy: true }) {
            Ok(()) => Ok(known),
            Err(Errno(libc::EBUSY)) => Err(Errno(libc::EBUSY)),
            Err(errno) => Ok(errno),
        }
    }
}

fn prepared() -> Result<(Arc<Socket>, Rings), Errno> {
    let socket = Arc::new(Socket::new()?);
    let rings = socket.make_rings()?;
    socket.widen();
    Ok((socket, rings))
}
