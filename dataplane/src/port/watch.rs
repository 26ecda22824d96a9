//! What a port's driver counts, and where others read it.

use std::sync::{Arc, Mutex, PoisonError};

use crossbeam::utils::CachePadded;

use super::error::InterfaceError;
use super::xdp::{Census, XdpManner};
use crate::counters::Cell;
use crate::port::Lost;

/// Whether a port works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortState {
    /// Frames come and go.
    Up,
    /// They don't. What is transmitted is lost and counted.
    Down(Outage),
}

/// Why a port does not work now. It is looked at again and again, so each may pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outage {
    /// There is no interface of its name.
    Absent,
    /// The interface is switched off (`ip link set … up` switches it on).
    Disabled,
    /// The interface has no carrier.
    NoCarrier,
    /// The interface is there again, and sockets are being opened.
    Opening,
    /// The interface is there again, but can't be used.
    Refused(InterfaceError),
}

/// What a worker counted on a port, beside what the pipeline counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortStatistics {
    /// Received by the interface, but the ring was full, or there was nothing to put them into.
    pub kernel_drops: u64,
    /// Of these, those for which the receive ring had no room (driver `xdp`).
    pub receive_ring_full: u64,
    /// How often the kernel found no free frame in the fill ring (driver `xdp`); a device may have some in its own.
    pub fill_ring_empty: u64,
    /// Longer than a ring has room for. Not forwarded.
    pub truncated: u64,
    /// Several segments in one, as GRO, LRO and TSO make them. Not forwarded.
    pub merged: u64,
    /// Left by the sender without a checksum, which was completed here.
    pub checksum_completed: u64,
    /// Left by the sender without a checksum that could be completed here. Not forwarded.
    pub checksum_incomplete: u64,
    /// What the ring said of them can't be right. Not forwarded.
    pub unreadable: u64,
    /// To be sent, but longer than the MTU allows.
    pub oversize: u64,
    /// To be sent, but all slots were in use.
    pub transmit_full: u64,
    /// To be sent, but the device would not have them.
    pub transmit_failed: u64,
    /// To be sent while the port was down.
    pub transmit_down: u64,
    /// Of the last two, those that had been queued before, and so were counted as sent.
    pub queued_lost: u64,
    /// The bytes of these.
    pub queued_lost_bytes: u64,
}

impl PortStatistics {
    /// Frames that the driver had and could not hand over. What the kernel dropped it never had.
    pub fn receive_errors(&self) -> u64 {
        self.truncated + self.merged + self.checksum_incomplete + self.unreadable
    }
}

/// One writer, any readers.
#[derive(Debug, Default)]
pub(super) struct Cells {
    pub(super) kernel_drops: Cell,
    pub(super) receive_ring_full: Cell,
    pub(super) fill_ring_empty: Cell,
    pub(super) truncated: Cell,
    pub(super) merged: Cell,
    pub(super) checksum_completed: Cell,
    pub(super) checksum_incomplete: Cell,
    pub(super) unreadable: Cell,
    pub(super) oversize: Cell,
    pub(super) transmit_full: Cell,
    pub(super) transmit_failed: Cell,
    pub(super) transmit_down: Cell,
    pub(super) queued_lost: Cell,
    pub(super) queued_lost_bytes: Cell,
}

impl Cells {
    /// Books frames that had been counted as sent.
    pub(super) fn lose_queued(&self, lost: Lost) {
        self.queued_lost.add(lost.frames as u64);
        self.queued_lost_bytes.add(lost.bytes as u64);
    }
}

#[derive(Debug)]
struct Board {
    cells: CachePadded<Cells>,
    /// These are written when they change, which is seldom, or four times a second.
    state: Mutex<PortState>,
    manner: Mutex<Option<XdpManner>>,
    frames: Mutex<Option<Census>>,
}

/// What one worker knows of one port, for any thread to read.
#[derive(Clone, Debug)]
pub struct PortWatch(Arc<Board>);

impl PortWatch {
    pub(super) fn new(state: PortState) -> PortWatch {
        PortWatch(Arc::new(Board {
            cells: CachePadded::default(),
            state: Mutex::new(state),
            manner: Mutex::default(),
            frames: Mutex::default(),
        }))
    }

    pub(super) fn cells(&self) -> &Cells {
        &self.0.cells
    }

    pub(super) fn set_state(&self, state: PortState) {
        *self.0.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// Whether the port works, as of the last time that the worker looked (about four times a second).
    pub fn state(&self) -> PortState {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_manner(&self, manner: XdpManner) {
        *self.0.manner.lock().unwrap_or_else(PoisonError::into_inner) = Some(manner);
    }

    /// How the interface is used, if that is by driver `xdp` and it has been there.
    pub fn manner(&self) -> Option<XdpManner> {
        self.0.manner.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_frames(&self, frames: Census) {
        *self.0.frames.lock().unwrap_or_else(PoisonError::into_inner) = Some(frames);
    }

    /// Where the frames of all this worker's ports are, if this is its first port of driver `xdp`; as of the last time that
    /// the worker looked.
    pub fn frames(&self) -> Option<Census> {
        *self.0.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was counted so far.
    pub fn statistics(&self) -> PortStatistics {
        let cells = self.cells();
        PortStatistics {
            kernel_drops: cells.kernel_drops.get(),
            receive_ring_full: cells.receive_ring_full.get(),
            fill_ring_empty: cells.fill_ring_empty.get(),
            truncated: cells.truncated.get(),
            merged: cells.merged.get(),
            checksum_completed: cells.checksum_completed.get(),
            checksum_incomplete: cells.checksum_incomplete.get(),
            unreadable: cells.unreadable.get(),
            oversize: cells.oversize.get(),
            transmit_full: cells.transmit_full.get(),
            transmit_failed: cells.transmit_failed.get(),
            transmit_down: cells.transmit_down.get(),
            queued_lost: cells.queued_lost.get(),
            queued_lost_bytes: cells.queued_lost_bytes.get(),
        }
    }
}
