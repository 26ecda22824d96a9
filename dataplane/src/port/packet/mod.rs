//! Network interfaces by AF_PACKET sockets with memory-mapped rings (packet(7), the kernel's
//! networking/packet_mmap.rst): any interface that carries Ethernet, without help from its driver.
//!
//! ```text
//!  interface ──▶ receive ring ──Held──▶ pipeline ──copy──▶ transmit ring ──sendto──▶ interface
//!                (blocks, V3)           (in place)         (slots, V2)     once a burst
//! ```
//!
//! Per worker and port there is one socket that receives (`inlet`) and one that sends (`outlet`): their rings
//! have different layouts, and neither's errors are the other's. A frame is handed out where the kernel put it
//! and copied once, into the slot that it leaves by.
//!
//! # What leaves is what came
//!
//! Between the wire and a socket the kernel does things to frames, and each is undone or refused here, never
//! passed on:
//!
//! - The outer VLAN tag is taken out, its TPID and TCI put into the ring's header. It is put back in place: the
//!   addresses move four bytes to the front, over the end of the offload header that stood there and has been
//!   read; that this header is always there is why no headroom is reserved (PACKET_RESERVE).
//! - A sender on a virtual link leaves checksums open. They are completed (`checksum`), or the frame is
//!   counted and not forwarded.
//! - GRO, LRO and TSO make one frame of several, told by the offload header whatever their length. An interface
//!   that has one of the first two on is refused with the command that switches it off
//!   ([`Offloads`](crate::port::Offloads)); what the other end of a veth pair does can't be asked, so its frames are
//!   counted and not forwarded.
//! - What this host sends itself by the interface is not received (PACKET_IGNORE_OUTGOING; in a fanout group that
//!   option has no effect, so the group has a flag for it, and before Linux 6.2, which does not know the flag,
//!   the packet type in the ring tells).
//! - Frames longer than a ring has room for arrive cut and are counted. Frames longer than the MTU of the
//!   interface that they are to leave by are counted too; one that begins with a VLAN tag may be longer by that
//!   tag. For two tags on frames of full size the interface needs an MTU that is larger by four.
//!
//! # Several workers
//!
//! All fragments of a datagram and both directions of a flow meet in one worker; how is told in `fanout`.
//! With one worker there is no fanout.
//!
//! # What can happen to an interface
//!
//! Nothing that happens to an interface ends its port. It is looked at four times a second: a link that is down
//! is waited for, an interface that was removed and is there again (or whose MTU outgrew the rings) gets new
//! sockets (`berth`); meanwhile what would leave by it is lost and counted. Frames that the worker holds stay
//! valid until it gives them back, and the ring that they are in stays mapped for them.
//!
//! # Why `libc`
//!
//! The structures and options of packet(7) are in the `libc` crate (MIT or Apache-2.0). `rustix` and `nix` wrap
//! sockets safely but not these options; `socket2` neither; the crates that wrap AF_PACKET itself (`afpacket`,
//! `pnet_datalink`) copy each frame out or make a system call for each. The `unsafe` code is in the files that
//! talk to the kernel: `socket`, `interface`, `mapping`, and in the rings that keep account of whose memory
//! is whose: `blocks`, `slots`, `outlet`, `inlet`.
//!
//! # Measured
//!
//! One worker between two veth pairs, 60-byte frames at 1.0 to 1.2 million a second from another core, counted where
//! they arrive; two cores of an AMD EPYC (shared), Linux 6.18, medians of five rounds taken in turns:
//!
//! | | Mpps |
//! |---|---|
//! | slots in (V2), slots out, as here | 0.88 |
//! | blocks in (V3), slots out, as here | 0.83 |
//! | blocks in, slots out, without an offload header on what is sent | 0.64 |
//! | DPDK 22.11 `net_af_packet`, testpmd io | 0.55 |
//! | `pnet_datalink` 0.35 channel | 0.24 |
//!
//! What is left is the kernel's: about a microsecond a frame for making it, the pair, and the stack that it arrives
//! at, all on the worker's core. Ring and block sizes, TPACKET_V2 or V3 on either side, bursts from 32 to 256 and the
//! queueing discipline make no difference that could be told from noise. From one far end to the other a lone frame
//! takes 9 µs with slots and 550 µs with blocks (medians), which is the retire timeout.

use super::{berth, error, interface, mapping, offloads, system, watch};

mod arrival;
mod blocks;
mod checksum;
mod driver;
mod fanout;
mod inlet;
mod line;
mod outlet;
mod settings;
mod slots;
pub(super) mod socket;
#[cfg(test)]
pub(in crate::port) mod tests;

pub use driver::PacketDriver;
pub use settings::{PacketPort, Receive};
