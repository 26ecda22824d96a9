//! The driver at real interfaces: veth pairs in network namespaces that the tests make. They need root.

mod links;
mod sockets;
mod twin;

use std::time::{Duration, Instant};

use super::{Census, XdpDriver, XdpMode, XdpPort, ZeroCopy};
use crate::policy::PortId;
use crate::port::packet::tests::frames::numbered;
use crate::port::packet::tests::lab::{A, B, PATIENCE, Station, bridge_of, in_namespace, ip, pair};
use crate::port::packet::tests::moves::{Watched, await_state, forward, forward_all, hold_one, receive_some};
use crate::port::{Burst, Driver, Outage, PortState};

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
    bridge_of(|| open(&[port("near0", mode), port("near1", mode)]))
}

impl Watched for XdpDriver {
    fn look(&mut self, port: PortId) -> PortState {
        self.state(port)
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
