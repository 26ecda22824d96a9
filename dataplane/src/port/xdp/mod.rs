//! Network interfaces by AF_XDP sockets (the kernel's networking/af_xdp.rst): frames move between a device and the
//! worker's own memory before the network stack sees them, and from one port to another by their address.
//!
//! ```text
//!                        one memory for all ports of a worker (UMEM)
//!           ┌──────────────────────────────────────────────────────────────────┐
//!           │   free ──fill ring A──▶ kernel ──receive ring A──▶ held           │
//!  port A ══╪    ▲                                                │             ╪══ port B
//!           │    └──completion ring B── kernel ◀──transmit ring B──┘             │
//!           └──────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Whose a frame is, and why it can be nobody else's, is argued in `umem`; that rings which are full lose none, in
//! `lane`; a test holds both to a kernel of its own through a million mixed operations. The other files: `ring` (one
//! ring), `socket`, `bpf` (system calls), `program` (five instructions), `region` (the memory as the kernel knows it), `line`
//! (all that is opened at a port), `queues` (which worker gets what), `attached` (one question by netlink), `driver`.
//!
//! # What leaves is what came
//!
//! - VLAN tags that a device takes out would be lost, since nothing in AF_XDP tells of them: that is switched off, and
//!   an interface where it can't be is refused.
//! - GRO comes behind the program in native mode, and puts together only what is none of ours. In generic mode it comes
//!   before, and an interface that has it on is refused with the command that switches it off.
//! - Whether a checksum is still open can't be told. Off a wire none is; a sender behind a veth or tap device must complete
//!   its own (`ethtool -K … tx off`, and `txvlan off` for tags). The driver `packet` completes them.
//! - A frame must fit into 2 KiB, or 4 KiB where an MTU calls for it, less what the kernel keeps free before it. So an MTU
//!   may be 1,770 without more ado, 3,818 at most ([`InterfaceError::LongFrames`](crate::port::InterfaceError)). Frames
//!   longer than the MTU of the port that they are to leave by are counted; a VLAN tag may come on top.
//!
//! # Modes
//!
//! The program runs in the device's driver (native mode) if that has XDP, else in the network stack (generic mode); the
//! device reads and writes the worker's memory (zero-copy) if its driver can, else the kernel copies. Both are tried, either
//! can be demanded, and what came of it is told with the reason ([`XdpManner`]).
//!
//! In copy mode frames are sent inside a system call, up to 256 in one where the kernel lets itself be told so
//! (Linux 6.17), else 32. In zero-copy mode the device is woken only when it says that it sleeps (need_wakeup). A worker
//! that never sleeps polls the device itself by a system call when its ring is empty (SO_PREFER_BUSY_POLL), if the
//! interface waits with its interrupts for that (`napi_defer_hard_irqs` and `gro_flush_timeout` in /sys/class/net).
//!
//! # What can happen to an interface
//!
//! As with the driver `packet`: nothing that happens to one ends its port. What was queued when a link went down is
//! taken back and counted in copy mode, where the kernel reads the ring only when it is told to; in zero-copy mode the
//! device sends it when the link is up again. A socket's frames are used again when it is closed.
//!
//! # Why `libc`
//!
//! Five structures, four rings and a dozen system calls are what there is. `xsk-rs` and `libxdp-sys` build libxdp and
//! libbpf, C libraries with a build of their own (clang, libelf); `aya` loads object files that clang has compiled;
//! `xdpilone` has rings alone and counts no frames. Here a frame's account and its ring are one thing, which is where
//! the argument is.

mod attached;
mod bpf;
mod closing;
mod driver;
mod lane;
mod line;
mod program;
mod queues;
mod region;
mod ring;
mod settings;
mod socket;
#[cfg(test)]
mod tests;
mod umem;

pub use attached::AttachedProgram;
pub use driver::{XdpDriver, memory_for};
pub use line::MOST_MTU;
pub use settings::{XdpManner, XdpMode, XdpPort, ZeroCopy};
pub use umem::Census;
