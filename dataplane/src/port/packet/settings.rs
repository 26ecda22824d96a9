//! What can be chosen for a port.

use crate::port::Before;

/// How frames come from the kernel. Which of them costs less per frame differs from run to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Receive {
    /// In blocks (TPACKET_V3), which hold frames of any length one behind the other: 16 MiB take 100,000 of the
    /// smallest or 10,000 of 1,500 bytes. A block that is not full comes a millisecond late, which is what a
    /// frame waits on a quiet link (before Linux 6.18 up to two ticks of the kernel's clock, of 1 to 10 ms).
    /// Checksums that a sender left open are completed.
    #[default]
    Blocks,
    /// In slots (TPACKET_V2) of 2 KiB or what the MTU calls for: 16 MiB take 8,192 frames of any length. Each
    /// comes at once. Frames whose checksums a sender left open are not forwarded; off a wire there are none.
    Slots,
}

/// A port: an interface, and the rings that each worker has there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketPort {
    /// The interface's name.
    pub interface: String,
    /// How frames come.
    pub receive: Receive,
    /// Bytes of the receive ring, rounded up to a power of two.
    pub receive_bytes: usize,
    /// Bytes of the transmit ring, rounded up to a power of two.
    pub transmit_bytes: usize,
    /// What is done before it is opened.
    pub before: Before,
}

impl PacketPort {
    /// A port with the usual rings: 16 MiB to receive, 4 MiB to transmit.
    pub fn new(interface: impl Into<String>) -> PacketPort {
        PacketPort {
            interface: interface.into(),
            receive: Receive::default(),
            receive_bytes: 16 << 20,
            transmit_bytes: 4 << 20,
            before: Before::default(),
        }
    }
}
