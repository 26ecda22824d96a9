//! Frames between the checks of a filter's health, which the control side makes and judges, and the filter's port.
//!
//! The first worker sends what is to be sent; whichever worker receives a frame for the checks' own MAC on that port
//! hands over a copy, and the frame goes no further. Both ways are bounded queues without a lock, and nobody waits. A
//! burst of another port pays one comparison.

use std::sync::atomic::{AtomicU64, Ordering};

use arrayvec::ArrayVec;
use crossbeam::queue::ArrayQueue;

use crate::policy::PortId;

/// The longest frame of a check; of a longer one that is received, its beginning is handed over.
pub const CHECK_FRAME: usize = 128;

/// A frame of a check.
pub type CheckFrame = ArrayVec<u8, CHECK_FRAME>;

/// As many frames wait for the control side at most, and for the worker.
const WAITING: usize = 32;

/// The way between the control side and the filter's port.
#[derive(Debug)]
pub struct Checks {
    port: PortId,
    own: [u8; 6],
    to_send: ArrayQueue<CheckFrame>,
    heard: ArrayQueue<CheckFrame>,
    missed: AtomicU64,
}

impl Checks {
    /// For a port, and for the MAC that the checks are sent from.
    pub fn new(port: PortId, own: [u8; 6]) -> Checks {
        let queue = || ArrayQueue::new(WAITING);
        Checks { port, own, to_send: queue(), heard: queue(), missed: AtomicU64::new(0) }
    }

    /// The port.
    pub fn port(&self) -> PortId {
        self.port
    }

    /// The MAC that the checks are sent from.
    pub fn own(&self) -> [u8; 6] {
        self.own
    }

    /// Has a frame sent; false if too many wait for that.
    pub fn send(&self, frame: CheckFrame) -> bool {
        self.to_send.push(frame).is_ok()
    }

    /// A frame that is to be sent.
    pub fn next_to_send(&self) -> Option<CheckFrame> {
        self.to_send.pop()
    }

    /// Whether a frame is meant for the checks.
    pub(crate) fn is_meant(&self, frame: &[u8]) -> bool {
        frame.get(..6).is_some_and(|destination| destination == self.own)
    }

    /// Hands over a frame that was meant for the checks. One too many is counted.
    pub(crate) fn hear(&self, frame: &[u8]) {
        let beginning: CheckFrame = frame.iter().copied().take(CHECK_FRAME).collect();
        if self.heard.push(beginning).is_err() {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A frame that was meant for the checks.
    pub fn next_heard(&self) -> Option<CheckFrame> {
        self.heard.pop()
    }

    /// Frames meant for the checks for which there was no room.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }
}
