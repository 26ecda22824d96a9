//! The driver at real interfaces: veth pairs in network namespaces that the tests make. They need root.

mod links;
mod twin;

use std::time::{Duration, Instant};

use super::{Census, XdpDriver, XdpMode, XdpPort, ZeroCopy};
use crate::policy::PortId;
use crate::port::packet::tests::frames::numbered;
use crate::port::packet::tests::lab::{Station, in_namespace, ip, pair};
use crate::port::{Burst, Driver, Held, MAX_BURST, Outage, PortState};

const A: PortId = PortId(0);
const B: PortId = PortId(1);

const BOTH: [XdpMode; 2] = [XdpMode::Native, XdpMode::Generic];

/// A port in this mode. What generic mode is preceded by is switched off.
fn port(interface: &str, mode: XdpMode) -> XdpPort {
    XdpPort { mode, ..XdpPort::new(interface) }
}

/// One worker's driver.
fn open(ports: &[XdpPort]) -> XdpDriver {
    XdpDriver::open(ports, 1).unwrap().remove(0)
}

/// Two pairs with a driver at the near ends, and stations at the far ends.
fn bridge(mode: XdpMode) -> (XdpDriver, Station, Station) {
    pair("near0", "far0");
    pair("near1", "far1");
    let mut driver = open(&[port("near0", mode), port("near1", mode)]);
    await_state(&mut driver, A, &PortState::Up);
    await_state(&mut driver, B, &PortState::Up);
    (driver, Station::at("far0"), Station::at("far1"))
}

/// Forwards one burst from A to B; how many were in it.
fn forward(driver: &mut XdpDriver) -> usize {
    let mut burst = Burst::new(64);
    driver.receive(A, &mut burst).unwrap();
    let count = burst.frames.len();
    for frame in burst.frames.drain(..) {
        driver.transmit(B, frame);
    }
    driver.flush().unwrap();
    count
}

/// How long it is quiet when nothing more comes.
const QUIET: Duration = Duration::from_millis(30);
/// How long what must come may take, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(10);

/// Forwards so many frames from A to B; no more may come.
fn forward_all(driver: &mut XdpDriver, wanted: usize) {
    let (mut count, began, mut last) = (0, Instant::now(), Instant::now());
    while last.elapsed() < QUIET || (count < wanted && began.elapsed() < PATIENCE) {
        match forward(driver) {
            0 => std::thread::sleep(Duration::from_micros(100)),
            some => (count, last) = (count + some, Instant::now()),
        }
    }
    assert_eq!(count, wanted, "frames that came");
}

/// Receives what comes at a port until it is quiet, and at least so many.
fn receive_some(driver: &mut XdpDriver, port: PortId, least: usize) -> Vec<Vec<u8>> {
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

/// Receives one frame and keeps it.
fn hold_one(driver: &mut XdpDriver, port: PortId) -> Held {
    let began = Instant::now();
    loop {
        let mut burst = Burst::new(1);
        driver.receive(port, &mut burst).unwrap();
        if let Some(frame) = burst.frames.pop() {
            return frame;
        }
        assert!(began.elapsed() < PATIENCE, "nothing came");
    }
}

fn await_state(driver: &mut XdpDriver, port: PortId, wanted: &PortState) {
    let began = Instant::now();
    while driver.state(port) != *wanted {
        assert!(began.elapsed() < PATIENCE, "{:?} and not {wanted:?}", driver.state(port));
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn down(outage: Outage) -> PortState {
    PortState::Down(outage)
}

#[test]
fn frames_are_forwarded_as_they_came_and_their_places_are_used_again() {
    for mode in BOTH {
        in_namespace(|| {
            let (mut driver, left, right) = bridge(mode);
            // Many times round all rings, and what is answered beside.
            for round in 0..400u32 {
                let sent: Vec<Vec<u8>> =
                    (0..32).map(|n| numbered(round * 32 + n, 60 + (n as usize * 47) % 1455)).collect();
                sent.iter().for_each(|frame| left.send(frame));
                let mut count = 0;
                let began = Instant::now();
                while count < sent.len() {
                    count += forward(&mut driver);
                    assert!(began.elapsed() < PATIENCE, "{mode:?}: {count} frames of round {round}");
                }
                for frame in &sent {
                    assert_eq!(right.receive().as_ref(), Some(frame), "{mode:?}");
                }
            }
            assert_eq!(driver.statistics(A), Default::default(), "{mode:?}");
            assert_eq!(driver.statistics(B), Default::default(), "{mode:?}");
            assert_eq!(driver.frames(), driver.census());
            let Census { all, free, held, filled, sent, .. } = driver.census();
            assert_eq!((held, sent, free + filled), (0, 0, all));
            let manner = driver.watch(A).manner().unwrap();
            assert_eq!((manner.native, manner.zero_copy), (mode == XdpMode::Native, false), "{manner}");
            assert!(manner.why_copy.is_some(), "veth has no zero-copy: {manner}");
        });
    }
}
