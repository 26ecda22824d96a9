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
use super::socket::{Binding, Socket};
use crate::port::mapping::Mapping;
use crate::port::system::Errno;

/// A worker's memory for frames.
pub(super) struct Region {
    pub(super) memory: Arc<Mapping>,
    /// A frame's size as a power of two.
    pub(super) shift: u32,
    pub(super) huge_pages: bool,
    /// Sockets that may lend, and whether they are in zero-copy mode.
    bound: Mutex<Vec<(bool, Weak<Socket>)>>,
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

    /// A socket at a queue of an interface, in this mode.
    pub(super) fn socket(
        &self,
        interface: u32,
        queue: u32,
        zero_copy: bool,
    ) -> Result<(Arc<Socket>, Rings), Errno> {
        let mut bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        bound.retain(|(_, socket)| socket.strong_count() > 0);
        let lenders: Vec<Arc<Socket>> = bound
            .iter()
            .filter(|(mode, _)| *mode == zero_copy)
            .filter_map(|(_, socket)| socket.upgrade())
            .collect();
        let mut opened = None;
        for lender in lenders {
            let (socket, rings) = prepared()?;
            match socket.bind(interface, queue, Binding::Shared(lender.as_fd())) {
                Ok(()) => {
                    opened = Some((socket, rings));
                    break;
                }
                // Its interface is gone: it has nothing to lend any more.
                Err(Errno(libc::EBADF)) => {}
                Err(errno) => return Err(errno),
            }
        }
        let (socket, rings) = match opened {
            Some(opened) => opened,
            None => {
                let (socket, rings) = prepared()?;
                socket.register(&self.memory, self.shift)?;
                socket.bind(interface, queue, Binding::Own { zero_copy })?;
                (socket, rings)
            }
        };
        let socket = Arc::new(socket);
        bound.push((zero_copy, Arc::downgrade(&socket)));
        Ok((socket, rings))
    }
}

fn prepared() -> Result<(Socket, Rings), Errno> {
    let socket = Socket::new()?;
    let rings = socket.make_rings()?;
    socket.widen();
    Ok((socket, rings))
}
