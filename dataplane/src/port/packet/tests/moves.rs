//! What a test does with a driver, whichever it is.

use std::time::{Duration, Instant};

use super::lab::{A, B, PATIENCE, QUIET};
use crate::policy::PortId;
use crate::port::{Burst, Driver, Held, MAX_BURST, PortState};

/// A driver that can be asked to look at a port now.
pub(in crate::port) trait Watched: Driver {
    /// What it finds.
    fn look(&mut self, port: PortId) -> PortState;
}

/// Forwards one burst from A to B; how many were in it.
pub(in crate::port) fn forward(driver: &mut impl Driver) -> usize {
    let mut burst = Burst::new(64);
    driver.receive(A, &mut burst).unwrap();
    let count = burst.frames.len();
    for frame in burst.frames.drain(..) {
        driver.transmit(B, frame);
    }
    driver.flush().unwrap();
    count
}

/// Does `step` until it has brought `wanted` things, and then nothing more for a while.
pub(in crate::port) fn until_quiet(wanted: usize, mut step: impl FnMut() -> usize) {
    let (mut count, began, mut last) = (0, Instant::now(), Instant::now());
    while last.elapsed() < QUIET || (count < wanted && began.elapsed() < PATIENCE) {
        match step() {
            0 => std::thread::sleep(Duration::from_micros(100)),
            some => (count, last) = (count + some, Instant::now()),
        }
    }
    assert_eq!(count, wanted, "frames that came");
}

/// Forwards so many frames from A to B; no more may come.
pub(in crate::port) fn forward_all(driver: &mut impl Driver, wanted: usize) {
    until_quiet(wanted, || forward(driver));
}

/// Receives what comes at a port until it is quiet, and at least so many.
pub(in crate::port) fn receive_some(driver: &mut impl Driver, port: PortId, least: usize) -> Vec<Vec<u8>> {
    let (mut received, began, mut last) = (Vec::new(), Instant::now(), Instant::now());
    while last.elapsed() < QUIET || (received.len() < least && began.elapsed() < PATIENCE) {
        let mut burst = Burst::new(MAX_BURST);
        driver.receive(port, &mut burst).unwrap();
        if !burst.frames.is_empty() {
            last = Instant::now();
        }
        for frame in burst.frames.drain(..) {
            received.push(driver.bytes(&frame).to_vec());
            driver.release(frame);
        }
    }
    received
}

/// Receives one frame at a port and keeps it.
pub(in crate::port) fn hold_one(driver: &mut impl Driver, port: PortId) -> Held {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut burst = Burst::new(1);
        driver.receive(port, &mut burst).unwrap();
        match burst.frames.pop() {
            Some(frame) => return frame,
            None => assert!(Instant::now() < deadline, "no frame came"),
        }
    }
}

/// Looks at a port until it is in this state.
pub(in crate::port) fn await_state(driver: &mut impl Watched, port: PortId, wanted: &PortState) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let state = driver.look(port);
        if state == *wanted {
            assert_eq!(driver.is_up(port), state == PortState::Up);
            return;
        }
        assert!(Instant::now() < deadline, "{state:?} and not {wanted:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
