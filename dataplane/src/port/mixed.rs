//! Any driver, and several drivers behind one.
//!
//! A worker whose ports all have one driver runs with that driver alone, so that nothing stands between the
//! poll loop and its rings. Where a configuration mixes drivers, [`MixedDriver`] puts theirs together: a frame
//! that stays with its driver moves as before, one that leaves by a port of another is copied there.

use std::collections::VecDeque;
use std::time::Duration;

use arrayvec::ArrayVec;

use super::{
    Burst, Driver, Held, Lost, MAX_BURST, MemoryDriver, PacketDriver, PcapDriver, PortError, TAG_LENGTH,
    XdpDriver,
};
use crate::frame::Link;
use crate::policy::PortId;

/// One of the drivers that there are.
#[allow(clippy::large_enum_variant)] // One for each worker, never moved while frames are.
pub enum AnyDriver {
    /// Rings in memory.
    Memory(MemoryDriver),
    /// Captures.
    Pcap(PcapDriver),
    /// AF_PACKET rings.
    Packet(PacketDriver),
    /// AF_XDP sockets.
    Xdp(XdpDriver),
    /// Several together.
    Mixed(MixedDriver),
}

/// Calls the same method of whichever driver it is.
macro_rules! each {
    ($any:expr, $driver:ident => $call:expr) => {
        match $any {
            AnyDriver::Memory($driver) => $call,
            AnyDriver::Pcap($driver) => $call,
            AnyDriver::Packet($driver) => $call,
            AnyDriver::Xdp($driver) => $call,
            AnyDriver::Mixed($driver) => $call,
        }
    };
}

impl Driver for AnyDriver {
    fn receive(&mut self, port: PortId, burst: &mut Burst) -> Result<(), PortError> {
        each!(self, driver => driver.receive(port, burst))
    }

    fn bytes(&self, frame: &Held) -> &[u8] {
        each!(self, driver => driver.bytes(frame))
    }

    fn bytes_mut(&mut self, frame: &Held) -> &mut [u8] {
        each!(self, driver => driver.bytes_mut(frame))
    }

    fn push_tag(&mut self, frame: &mut Held, tag: [u8; TAG_LENGTH]) -> bool {
        each!(self, driver => driver.push_tag(frame, tag))
    }

    fn pop_tag(&mut self, frame: &mut Held) {
        each!(self, driver => driver.pop_tag(frame))
    }

    fn transmit(&mut self, port: PortId, frame: Held) -> bool {
        each!(self, driver => driver.transmit(port, frame))
    }

    fn transmit_all(&mut self, port: PortId, frames: &mut ArrayVec<Held, MAX_BURST>) -> Lost {
        each!(self, driver => driver.transmit_all(port, frames))
    }

    fn answer(&mut self, port: PortId, bytes: &[u8], cause: &Held) -> bool {
        each!(self, driver => driver.answer(port, bytes, cause))
    }

    fn release(&mut self, frame: Held) {
        each!(self, driver => driver.release(frame))
    }

    fn release_all(&mut self, frames: &mut ArrayVec<Held, MAX_BURST>) {
        each!(self, driver => driver.release_all(frames))
    }

    fn flush(&mut self) -> Result<(), (PortId, PortError)> {
        each!(self, driver => driver.flush())
    }

    fn is_exhausted(&self, port: PortId) -> bool {
        each!(self, driver => driver.is_exhausted(port))
    }

    fn inject(&mut self, port: PortId, bytes: &[u8]) -> bool {
        each!(self, driver => driver.inject(port, bytes))
    }

    fn wait(&mut self, timeout: Duration) {
        each!(self, driver => driver.wait(timeout))
    }

    fn is_up(&self, port: PortId) -> bool {
        each!(self, driver => driver.is_up(port))
    }
}

/// Which driver serves a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its place among the drivers.
    pub driver: usize,
    /// The port's number there.
    pub port: PortId,
}

/// Several drivers that serve one worker together.
pub struct MixedDriver {
    drivers: Vec<AnyDriver>,
    /// By port.
    routes: Box<[Route]>,
    /// How the frames in hand begin: what is not Ethernet can't leave by another driver.
    link: Link,
    /// Ports that stopped working and that nobody was told of yet.
    untold: VecDeque<(PortId, PortError)>,
}

/// A frame's driver stands in the uppermost bits of its place.
const TAG: u32 = 29;
/// As many drivers can stand together.
pub(super) const MAX_DRIVERS: usize = 1 << (u32::BITS - TAG);

fn tagged(driver: usize, frame: Held) -> Held {
    debug_assert!(frame.place >> TAG == 0, "a place above {}", 1 << TAG);
    Held { place: frame.place | (driver as u32) << TAG, ..frame }
}

fn untagged(frame: &Held) -> (usize, Held) {
    let place = frame.place & ((1 << TAG) - 1);
    ((frame.place >> TAG) as usize, Held { place, length: frame.length })
}

impl MixedDriver {
    /// Puts `drivers` together; `routes` says for each port which of them serves it.
    ///
    /// # Panics
    /// If there are more than eight drivers, or a route names one that is not there.
    pub fn new(drivers: Vec<AnyDriver>, routes: Vec<Route>) -> MixedDriver {
        assert!(drivers.len() <= MAX_DRIVERS, "{} drivers, more than {MAX_DRIVERS}", drivers.len());
        assert!(routes.iter().all(|route| route.driver < drivers.len()), "a route to no driver");
        MixedDriver { drivers, routes: routes.into(), link: Link::Ethernet, untold: VecDeque::new() }
    }

    /// The driver that serves a port, and the port's number there.
    pub fn driver_of(&self, port: PortId) -> (&AnyDriver, PortId) {
        let route = self.route(port);
        (&self.drivers[route.driver], route.port)
    }

    /// The drivers, one by one.
    pub fn into_drivers(self) -> Vec<AnyDriver> {
        self.drivers
    }

    fn route(&self, port: PortId) -> Route {
        self.routes[usize::from(port.0)]
    }

    /// The port that a driver knows by this number.
    fn port_of(&self, route: Route) -> PortId {
        let port = self.routes.iter().position(|other| *other == route);
        port.map_or(PortId(0), |port| PortId(port as u8))
    }
}

impl Driver for MixedDriver {
    fn receive(&mut self, port: PortId, burst: &mut Burst) -> Result<(), PortError> {
        let route = self.route(port);
        let had = burst.frames.len();
        let result = self.drivers[route.driver].receive(route.port, burst);
        for frame in &mut burst.frames[had..] {
            let Held { place, length } = *frame;
            *frame = tagged(route.driver, Held { place, length });
        }
        self.link = burst.link;
        result
    }

    fn bytes(&self, frame: &Held) -> &[u8] {
        let (driver, frame) = untagged(frame);
        self.drivers[driver].bytes(&frame)
    }

    fn bytes_mut(&mut self, frame: &Held) -> &mut [u8] {
        let (driver, frame) = untagged(frame);
        self.drivers[driver].bytes_mut(&frame)
    }

    fn push_tag(&mut self, frame: &mut Held, tag: [u8; TAG_LENGTH]) -> bool {
        let (driver, mut inner) = untagged(frame);
        let pushed = self.drivers[driver].push_tag(&mut inner, tag);
        *frame = tagged(driver, inner);
        pushed
    }

    fn pop_tag(&mut self, frame: &mut Held) {
        let (driver, mut inner) = untagged(frame);
        self.drivers[driver].pop_tag(&mut inner);
        *frame = tagged(driver, inner);
    }

    fn transmit(&mut self, port: PortId, frame: Held) -> bool {
        let (from, frame) = untagged(&frame);
        let route = self.route(port);
        if from == route.driver {
            return self.drivers[from].transmit(route.port, frame);
        }
        let mut sent = false;
        if self.link == Link::Ethernet
            && let Ok([from, to]) = self.drivers.get_disjoint_mut([from, route.driver])
        {
            sent = to.inject(route.port, from.bytes(&frame));
        }
        self.drivers[from].release(frame);
        sent
    }

    fn answer(&mut self, port: PortId, bytes: &[u8], cause: &Held) -> bool {
        let (from, cause) = untagged(cause);
        let route = self.route(port);
        match from == route.driver {
            true => self.drivers[from].answer(route.port, bytes, &cause),
            false => self.link == Link::Ethernet && self.drivers[route.driver].inject(route.port, bytes),
        }
    }

    fn release(&mut self, frame: Held) {
        let (driver, frame) = untagged(&frame);
        self.drivers[driver].release(frame);
    }

    fn flush(&mut self) -> Result<(), (PortId, PortError)> {
        for driver in 0..self.drivers.len() {
            // Each tells of each of its ports once at most.
            for _ in 0..self.routes.len() {
                let Err((port, error)) = self.drivers[driver].flush() else { break };
                self.untold.push_back((self.port_of(Route { driver, port }), error));
            }
        }
        self.untold.pop_front().map_or(Ok(()), Err)
    }

    fn is_exhausted(&self, port: PortId) -> bool {
        let route = self.route(port);
        self.drivers[route.driver].is_exhausted(route.port)
    }

    fn inject(&mut self, port: PortId, bytes: &[u8]) -> bool {
        let route = self.route(port);
        self.drivers[route.driver].inject(route.port, bytes)
    }

    /// None of the drivers can wait for another's ports: they take turns.
    fn wait(&mut self, timeout: Duration) {
        const TURN: Duration = Duration::from_millis(1);
        for driver in &mut self.drivers {
            driver.wait(timeout.min(TURN));
        }
    }

    fn is_up(&self, port: PortId) -> bool {
        let route = self.route(port);
        self.drivers[route.driver].is_up(route.port)
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::Ring;
    use super::super::pcap::{PcapPort, Share};
    use super::*;

    const A: PortId = PortId(0);
    const B: PortId = PortId(1);

    /// Port 0 at one driver, ports 1 and 2 at another.
    fn two() -> MixedDriver {
        let memory = |ports| MemoryDriver::new(ports, 4, 64, Ring::Once);
        let mut first = memory(1);
        assert!(first.load(PortId(0), b"from the first") && first.load(PortId(0), b"and once more"));
        let route = |driver, port| Route { driver, port: PortId(port) };
        MixedDriver::new(
            vec![AnyDriver::Memory(first), AnyDriver::Memory(memory(2))],
            vec![route(0, 0), route(1, 0), route(1, 1)],
        )
    }

    fn memory(driver: AnyDriver) -> MemoryDriver {
        match driver {
            AnyDriver::Memory(driver) => driver,
            _ => unreachable!("two() makes no others"),
        }
    }

    #[test]
    fn a_frame_that_changes_drivers_is_copied_and_its_place_is_free_again() {
        let mut driver = two();
        let mut burst = Burst::new(2);
        driver.receive(A, &mut burst).unwrap();
        let frames: Vec<Held> = burst.frames.drain(..).collect();
        assert_eq!(driver.bytes(&frames[0]), b"from the first");
        assert!(driver.answer(PortId(2), b"an answer", &frames[0]));
        let [one, other] = frames.try_into().unwrap();
        assert!(driver.transmit(B, one) && driver.transmit(A, other));
        driver.flush().unwrap();
        assert!(driver.is_exhausted(A));

        let mut drivers = driver.into_drivers().into_iter().map(memory);
        let (mut first, mut second) = (drivers.next().unwrap(), drivers.next().unwrap());
        assert_eq!(first.free(), 3, "one of four is on its way out");
        assert_eq!(first.take(PortId(0)).as_deref(), Some(&b"and once more"[..]));
        assert_eq!(second.take(PortId(0)).as_deref(), Some(&b"from the first"[..]));
        assert_eq!(second.take(PortId(1)).as_deref(), Some(&b"an answer"[..]));
    }

    #[test]
    fn a_frame_that_finds_no_room_at_the_other_driver_is_given_back() {
        let mut driver = two();
        let mut burst = Burst::new(1);
        for _ in 0..4 {
            assert!(driver.inject(B, b"full"));
        }
        driver.receive(A, &mut burst).unwrap();
        let frame = burst.frames.pop().unwrap();
        assert!(!driver.transmit(B, frame));
        let first = memory(driver.into_drivers().swap_remove(0));
        assert_eq!(first.free(), 3, "only the frame that was not received is in use");
    }

    #[test]
    fn every_port_that_stops_working_with_a_flush_is_told_of_once() {
        let full = || {
            let port = PcapPort { write: Some("/dev/full".into()), ..PcapPort::default() };
            let driver = PcapDriver::open(&[port.clone(), port], Share { worker: 0, workers: 1 }).unwrap();
            AnyDriver::Pcap(driver)
        };
        let route = |driver, port| Route { driver, port: PortId(port) };
        let routes = [route(0, 0), route(0, 1), route(1, 0), route(1, 1)];
        let mut driver = MixedDriver::new(vec![full(), full()], routes.to_vec());
        let mut told = Vec::new();
        // More than what waits in memory to be written.
        for _ in 0..1_000 {
            for port in 0..4 {
                assert!(driver.inject(PortId(port), &[0; 1_500]));
            }
            while let Err((port, _)) = driver.flush() {
                told.push(port.0);
            }
            if !told.is_empty() {
                break;
            }
        }
        assert_eq!(told, [0, 1, 2, 3], "one after the other");
        assert!(driver.inject(A, &[0; 60]) && driver.flush().is_ok(), "and not again");
    }

    #[test]
    fn what_is_not_ethernet_does_not_leave_by_another_driver() {
        let mut driver = two();
        let mut burst = Burst::new(1);
        driver.receive(A, &mut burst).unwrap();
        driver.link = Link::Raw;
        let frame = burst.frames.pop().unwrap();
        assert!(!driver.transmit(B, frame));
    }
}
