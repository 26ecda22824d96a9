//! Ports: where frames come from and where they go, each driver behind one small trait.
//!
//! A driver serves all the ports of one worker, so that a frame moves between two of them without a copy: what
//! [`Driver::receive`] hands over is a [`Held`] frame, a place in the driver's memory, and transmitting it
//! moves that place. A [`Held`] frame can't be duplicated; whoever has it gives it back by transmitting or
//! releasing it.

mod before;
mod berth;
mod error;
mod interface;
mod mapping;
pub mod memory;
mod mixed;
mod offloads;
pub mod packet;
pub mod pcap;
mod spread;
mod system;
mod watch;
pub mod xdp;

pub use before::Before;
pub use error::InterfaceError;
pub use interface::Rings;
pub use memory::MemoryDriver;
pub use mixed::{AnyDriver, MixedDriver, Route};
pub use offloads::{Offload, Offloads};
pub use packet::{PacketDriver, PacketPort};
pub use pcap::{PcapDriver, PcapPort, Rate};
pub(crate) use spread::spread_of;
pub use spread::worker_for;
pub use system::Errno;
pub use watch::{Outage, PortState, PortStatistics, PortWatch};
pub use xdp::{XdpDriver, XdpPort};

use std::time::Duration;

use arrayvec::ArrayVec;

use crate::frame::Link;
use crate::policy::PortId;

/// The most frames that are received at once.
pub const MAX_BURST: usize = 256;

/// The length of a VLAN tag (IEEE 802.1Q §9.3), and of the MACs before it.
pub const TAG_LENGTH: usize = 4;
const MACS_LENGTH: usize = 12;

/// A frame in its driver's memory, owned by whoever holds this.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a frame is given back by transmitting or releasing it"]
pub struct Held {
    place: u32,
    length: u32,
}

impl Held {
    /// The frame's length in bytes.
    #[inline]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.length as usize
    }
}

/// Frames received together on one port.
#[derive(Debug)]
pub struct Burst {
    /// The frames.
    pub frames: ArrayVec<Held, MAX_BURST>,
    /// How they begin.
    pub link: Link,
    /// How many are wanted at most.
    pub limit: usize,
}

impl Burst {
    /// An empty burst that takes up to `limit` frames.
    pub fn new(limit: usize) -> Burst {
        Burst { frames: ArrayVec::new(), link: Link::Ethernet, limit: limit.clamp(1, MAX_BURST) }
    }
}

/// Frames that found no room on their way out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// How many.
    pub frames: usize,
    /// Their bytes.
    pub bytes: usize,
}

/// Why a port stopped working.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// A capture can't be read or written.
    #[error(transparent)]
    Capture(#[from] pcap::CaptureError),
    /// A network interface can't be used.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
}

/// The ports of one worker.
///
/// Per frame nothing here allocates, locks or makes a system call, unless the medium demands it (a file
/// does); [`flush`](Driver::flush) is where what a burst queued is handed on.
pub trait Driver {
    /// Takes frames off a port's receive queue, up to `burst.limit`, all of one link type. None is no news.
    ///
    /// # Errors
    /// The port has stopped working; it is not asked again.
    fn receive(&mut self, port: PortId, burst: &mut Burst) -> Result<(), PortError>;

    /// The bytes of a frame.
    fn bytes(&self, frame: &Held) -> &[u8];

    /// The bytes of a frame, to be changed in place.
    fn bytes_mut(&mut self, frame: &Held) -> &mut [u8];

    /// Puts a VLAN tag between the MACs of a frame and what follows them; false if there is no room, and the frame is as
    /// it was. A frame that has a tag already may have none.
    fn push_tag(&mut self, frame: &mut Held, tag: [u8; TAG_LENGTH]) -> bool;

    /// Takes the four bytes behind the MACs out of a frame, which has as many.
    fn pop_tag(&mut self, frame: &mut Held);

    /// Queues a frame to leave by `port`; false if there is no room, and the frame is released.
    fn transmit(&mut self, port: PortId, frame: Held) -> bool;

    /// Queues frames to leave by `port`, in their order; gives back what found no room.
    fn transmit_all(&mut self, port: PortId, frames: &mut ArrayVec<Held, MAX_BURST>) -> Lost {
        let mut lost = Lost::default();
        for frame in frames.drain(..) {
            let length = frame.len();
            if !self.transmit(port, frame) {
                lost.frames += 1;
                lost.bytes += length;
            }
        }
        lost
    }

    /// Queues a frame made here, in answer to `cause`; false if there is no room.
    fn answer(&mut self, port: PortId, bytes: &[u8], cause: &Held) -> bool;

    /// Gives a frame back.
    fn release(&mut self, frame: Held);

    /// Gives frames back.
    fn release_all(&mut self, frames: &mut ArrayVec<Held, MAX_BURST>) {
        frames.drain(..).for_each(|frame| self.release(frame));
    }

    /// Hands on what was queued since the last time.
    ///
    /// # Errors
    /// The named port has stopped working. Others may have as well: whoever is told of one asks again.
    fn flush(&mut self) -> Result<(), (PortId, PortError)>;

    /// Whether a port will never receive again.
    fn is_exhausted(&self, port: PortId) -> bool;

    /// Queues a copy of an Ethernet frame that another driver received; false if there is no room.
    fn inject(&mut self, port: PortId, bytes: &[u8]) -> bool;

    /// Sleeps until a port may have frames to receive, for `timeout` at most. Never while frames are in hand.
    fn wait(&mut self, timeout: Duration) {
        std::thread::sleep(timeout.min(Duration::from_millis(1)));
    }

    /// Whether a port works now: a cable that was pulled may be plugged in again. Asked often.
    fn is_up(&self, _port: PortId) -> bool {
        true
    }
}
