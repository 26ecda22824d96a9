//! The driver `packet` of one worker.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::berth::{Answer, dismiss};
use super::error::InterfaceError;
use super::inlet::Inlet;
use super::interface::{Interfaces, Seen};
use super::line::{HEADER, Line, Opener, TAG};
use super::outlet::{Flushed, Outlet};
use super::settings::PacketPort;
use super::system::sleep_on;
use super::watch::{Outage, PortState, PortStatistics, PortWatch};
use crate::frame::Link;
use crate::policy::PortId;
use crate::port::{Burst, Driver, Held, PortError};

/// A place has as many bits, since [`MixedDriver`](crate::port::MixedDriver) wants the others.
const PLACE_BITS: u32 = 29;

type Berth = super::berth::Berth<Opener>;

/// How often a port is looked at while it works, and while it does not.
const LOOK_EVERY: Duration = Duration::from_millis(250);
const LOOK_WHILE_DOWN: Duration = Duration::from_millis(20);
/// The clock is asked whether it is time once in so many turns at a port.
const TURNS_PER_CLOCK: u32 = 1024;

/// EtherTypes of VLAN tags: a frame that begins with one may be longer by it.
const TAGS: [[u8; 2]; 3] = [[0x81, 0x00], [0x88, 0xa8], [0x91, 0x00]];

/// How long a ring that is no longer in use is still read: a block that is not full comes late.
const LAST_FRAMES: Duration = Duration::from_millis(20);

/// A receiving side, kept as long as frames of it are in use.
struct Area {
    inlet: Inlet,
    /// Nobody reads it any more: closed with the last frame.
    retired: bool,
}

struct Port {
    berth: Arc<Berth>,
    /// Its receiving side, by its place among the areas.
    area: Option<usize>,
    /// The one before, with what it still has, and since when it is the one before.
    former: Option<(usize, Instant)>,
    outlet: Option<Outlet>,
    /// Which of the berth's generations these are.
    generation: u64,
    /// The MTU that its rings are made for.
    made_for: usize,
    /// The longest frame that may be sent, without a tag.
    longest: usize,
    is_up: bool,
    turns: u32,
    looked: Instant,
    watch: PortWatch,
}

/// The driver `packet` of one worker: an AF_PACKET socket to receive and one to send at each port.
pub struct PacketDriver {
    worker: usize,
    ports: Vec<Port>,
    /// The upper bits of a place say in which of these it is, the lower where, in units of two bytes.
    areas: Vec<Option<Area>>,
    offset_bits: u32,
    /// Ports with frames to be sent.
    queued: Vec<usize>,
    /// Of these, some could not be sent when they should.
    pub(super) is_late: bool,
    interfaces: Interfaces,
    polled: Vec<libc::pollfd>,
}

impl PacketDriver {
    /// Opens `ports` for as many workers; gives a driver for each. A port's [`PortId`] is its place here.
    ///
    /// An interface that has no carrier or is switched off is no error: it is waited for.
    ///
    /// # Errors
    /// An interface is not there or can't be used as it is, or the process may not.
    pub fn open(ports: &[PacketPort], workers: usize) -> Result<Vec<PacketDriver>, InterfaceError> {
        let interfaces = Interfaces::new()
            .map_err(|errno| InterfaceError::system("packet ports", "open a packet socket", errno))?;
        let mut berths = Vec::with_capacity(ports.len());
        for port in ports {
            let berth = Berth::new(Opener::new(port, workers)?);
            berth.opener.check(&interfaces)?;
            berths.push(Arc::new(berth));
        }
        let offset_bits = offset_bits(&berths)?;
        for berth in &berths {
            let flags = interfaces.flags(&berth.opener.name);
            if flags.is_ok_and(|flags| flags.enabled) {
                berth.open(&interfaces)?;
            }
        }
        (0..workers).map(|worker| PacketDriver::new(worker, &berths, offset_bits)).collect()
    }

    fn new(worker: usize, berths: &[Arc<Berth>], offset_bits: u32) -> Result<PacketDriver, InterfaceError> {
        let interfaces = Interfaces::new()
            .map_err(|errno| InterfaceError::system("packet ports", "open a packet socket", errno))?;
        let ports = berths.iter().map(|berth| Port {
            berth: Arc::clone(berth),
            area: None,
            former: None,
            outlet: None,
            generation: 0,
            made_for: 0,
            longest: 0,
            is_up: false,
            turns: 0,
            looked: Instant::now(),
            watch: PortWatch::new(PortState::Down(Outage::Opening)),
        });
        let areas = (2 * berths.len()).min(1 << (PLACE_BITS - offset_bits));
        let mut driver = PacketDriver {
            worker,
            ports: ports.collect(),
            areas: (0..areas).map(|_| None).collect(),
            offset_bits,
            queued: Vec::with_capacity(berths.len()),
            is_late: false,
            interfaces,
            polled: Vec::with_capacity(berths.len()),
        };
        (0..driver.ports.len()).for_each(|port| driver.look(port));
        Ok(driver)
    }

    /// What this worker knows of a port, for any thread to read.
    pub fn watch(&self, port: PortId) -> PortWatch {
        self.ports[usize::from(port.0)].watch.clone()
    }

    /// Looks whether a port works, and picks it up if its interface is there again. The worker does this by
    /// itself four times a second, in [`receive`](Driver::receive) and [`wait`](Driver::wait).
    pub fn state(&mut self, port: PortId) -> PortState {
        self.look(usize::from(port.0));
        self.ports[usize::from(port.0)].watch.state()
    }

    /// What this worker counted on a port.
    pub fn statistics(&mut self, port: PortId) -> PortStatistics {
        self.count_drops(usize::from(port.0));
        self.ports[usize::from(port.0)].watch.statistics()
    }

    /// Asks the kernel what it dropped since the last time.
    fn count_drops(&mut self, port: usize) {
        let Port { area: Some(area), watch, .. } = &self.ports[port] else { return };
        if let Some(area) = &self.areas[*area] {
            watch.cells().kernel_drops.add(area.inlet.socket().take_drops());
        }
    }

    #[cold]
    fn look_if_due(&mut self, port: usize) {
        let Port { looked, is_up, .. } = &self.ports[port];
        if looked.elapsed() >= if *is_up { LOOK_EVERY } else { LOOK_WHILE_DOWN } {
            self.look(port);
        }
    }

    #[cold]
    fn look(&mut self, port: usize) {
        self.ports[port].looked = Instant::now();
        self.count_drops(port);
        let state = self.find(port);
        if state != PortState::Up {
            self.lose_queued(port);
        }
        let Port { is_up, watch, .. } = &mut self.ports[port];
        *is_up = state == PortState::Up;
        if watch.state() != state {
            watch.set_state(state);
        }
    }

    /// Looks for a port's interface, and for sockets there.
    fn find(&mut self, port: usize) -> PortState {
        let berth = Arc::clone(&self.ports[port].berth);
        let name = &berth.opener.name;
        let refused = |(action, errno)| {
            PortState::Down(Outage::Refused(InterfaceError::system(name.as_str(), action, errno)))
        };
        let Seen { index, flags, mtu } = match self.interfaces.look(name) {
            Ok(Some(seen)) => seen,
            Ok(None) => {
                self.retire(port);
                return PortState::Down(Outage::Absent);
            }
            Err(failure) => return refused(failure),
        };
        if !self.is_fit(port, index, mtu) {
            self.retire(port);
        }
        if !flags.enabled {
            return PortState::Down(Outage::Disabled);
        }
        if self.ports[port].area.is_none() {
            match berth.ask(self.worker, self.ports[port].generation) {
                Answer::Line(generation, line) => self.install(port, generation, line),
                Answer::Opening => return PortState::Down(Outage::Opening),
                Answer::Refused(error) => return PortState::Down(Outage::Refused(error)),
            }
        }
        let Port { area, outlet, longest, .. } = &mut self.ports[port];
        *longest = HEADER + mtu;
        if let Some(area) = area.and_then(|area| self.areas[area].as_ref()) {
            area.inlet.socket().forget_error();
        }
        if let Some(outlet) = outlet {
            outlet.socket().forget_error();
        }
        match flags.running {
            true => PortState::Up,
            false => PortState::Down(Outage::NoCarrier),
        }
    }

    /// Whether a port's sockets belong to the interface that there is, and have room for its frames.
    fn is_fit(&self, port: usize, index: u32, mtu: usize) -> bool {
        let Port { area, outlet, made_for, .. } = &self.ports[port];
        let inlet = area.and_then(|area| self.areas[area].as_ref()).map(|area| area.inlet.socket());
        let outlet = outlet.as_ref().map(Outlet::socket);
        let is_bound = |socket: Option<&_>| socket.and_then(super::socket::Socket::interface) == Some(index);
        mtu <= *made_for && is_bound(inlet) && is_bound(outlet)
    }

    fn install(&mut self, port: usize, generation: u64, line: Line) {
        let Line { mut inlet, outlet, mtu } = line;
        let Some(area) = self.areas.iter().position(Option::is_none) else {
            // Frames of that many former sockets are still held, which no worker does. Asked for again later.
            dismiss((inlet, outlet));
            self.ports[port].generation = generation;
            return;
        };
        inlet.set_tag((area as u32) << self.offset_bits);
        self.areas[area] = Some(Area { inlet, retired: false });
        let port = &mut self.ports[port];
        (port.area, port.outlet) = (Some(area), Some(outlet));
        (port.generation, port.made_for) = (generation, mtu);
    }

    /// Parts with a port's sockets. What has come is still received; frames that are in use stay valid.
    fn retire(&mut self, port: usize) {
        self.lose_queued(port);
        let Port { area, outlet, .. } = &mut self.ports[port];
        let Some(at) = area.take() else { return };
        if let Some(outlet) = outlet.take() {
            dismiss(outlet);
        }
        self.close_former(port);
        self.ports[port].former = Some((at, Instant::now()));
        if let Some(area) = &self.areas[at] {
            // What comes from now on comes to the next one.
            let _ = area.inlet.socket().mute();
        }
    }

    fn close_former(&mut self, port: usize) {
        let Some((at, _)) = self.ports[port].former.take() else { return };
        let slot = &mut self.areas[at];
        if let Some(area) = slot {
            area.retired = true;
        }
        if slot.as_ref().is_some_and(|area| area.inlet.held() == 0) {
            dismiss(slot.take());
        }
    }

    /// Receives what a port's former ring still has, and closes it if there is nothing for a while.
    #[cold]
    fn receive_last(&mut self, port: usize, burst: &mut Burst) {
        let Port { former: Some((at, since)), watch, .. } = &self.ports[port] else { return };
        let (since, had) = (*since, burst.frames.len());
        if let Some(area) = &mut self.areas[*at] {
            area.inlet.receive(burst, watch.cells());
        }
        if burst.frames.len() == had && since.elapsed() > LAST_FRAMES {
            self.close_former(port);
        }
    }

    /// Loses what was to be sent by a port.
    fn lose_queued(&mut self, port: usize) {
        let Port { outlet, watch, .. } = &mut self.ports[port];
        if let Some(outlet) = outlet {
            let lost = outlet.take_back();
            watch.cells().transmit_down.add(lost.frames as u64);
            watch.cells().lose_queued(lost);
        }
        self.queued.retain(|other| *other != port);
    }

    #[inline]
    fn area(&self, frame: &Held) -> &Area {
        let area = (frame.place >> self.offset_bits) as usize;
        self.areas[area].as_ref().expect("an area is kept while frames of it are in use")
    }

    #[inline]
    fn area_mut(&mut self, frame: &Held) -> &mut Area {
        let area = (frame.place >> self.offset_bits) as usize;
        self.areas[area].as_mut().expect("an area is kept while frames of it are in use")
    }

    /// Queues a copy of a frame that is in `areas`, or elsewhere.
    #[inline]
    fn queue(port: &mut Port, at: usize, queued: &mut Vec<usize>, frame: &[u8]) -> bool {
        let cells = port.watch.cells();
        let Some(outlet) = port.outlet.as_mut().filter(|_| port.is_up) else {
            cells.transmit_down.add(1);
            return false;
        };
        if frame.len() > port.longest {
            let is_tagged =
                frame.get(HEADER - 2..HEADER).is_some_and(|kind| TAGS.iter().any(|tag| tag == kind));
            let longest = if is_tagged { port.longest + TAG } else { port.longest };
            if frame.len() > longest.min(outlet.room()) {
                cells.oversize.add(1);
                return false;
            }
        }
        if frame.len() < HEADER {
            cells.transmit_failed.add(1);
            return false;
        }
        if !outlet.put(frame) {
            cells.transmit_full.add(1);
            return false;
        }
        if outlet.queued() == 1 {
            queued.push(at);
        }
        true
    }

    /// Has a port's device send; false if some of it is to be tried again.
    fn send(&mut self, port: usize) -> bool {
        let Some(outlet) = &mut self.ports[port].outlet else { return true };
        match outlet.flush() {
            Flushed::All => true,
            Flushed::Later => false,
            Flushed::Refused => {
                // It may be that nothing can be sent at all.
                self.look(port);
                let Port { outlet: Some(outlet), watch, .. } = &mut self.ports[port] else { return true };
                if outlet.queued() > 0 {
                    let lost = outlet.give_up_first();
                    watch.cells().transmit_failed.add(lost.frames as u64);
                    watch.cells().lose_queued(lost);
                }
                outlet.queued() == 0
            }
            Flushed::Down => {
                self.look(port);
                // If it is up after all, that was an error which the socket had kept.
                self.ports[port].outlet.as_ref().is_none_or(|outlet| outlet.queued() == 0)
            }
        }
    }

    fn send_all(&mut self) {
        self.is_late = false;
        let mut at = 0;
        while let Some(&port) = self.queued.get(at) {
            if self.send(port) {
                self.queued.retain(|other| *other != port);
            } else {
                self.is_late = true;
                at += 1;
            }
        }
    }
}

/// How many bits say where in its ring a frame is: rings of 2^n bytes at even places need n - 1.
fn offset_bits(berths: &[Arc<Berth>]) -> Result<u32, InterfaceError> {
    let largest = berths.iter().map(|berth| berth.opener.port.receive_bytes).max().unwrap_or(2);
    let bits_for = |bytes: usize| bytes.trailing_zeros() - 1;
    // One more than there are ports, so that a port can be picked up while frames of its former ring are held.
    let most_bits = PLACE_BITS - (berths.len() + 1).next_power_of_two().trailing_zeros();
    match bits_for(largest) {
        bits if bits <= most_bits => Ok(bits),
        _ => {
            let most = 2usize << most_bits;
            Err(InterfaceError::LargeRings { ports: berths.len(), bytes: largest, most })
        }
    }
}

impl Driver for PacketDriver {
    /// Reads the ring's status words, and makes no system call, but for looking at the port now and then.
    #[inline]
    fn receive(&mut self, port: PortId, burst: &mut Burst) -> Result<(), PortError> {
        let at = usize::from(port.0);
        burst.link = Link::Ethernet;
        let turns = &mut self.ports[at].turns;
        *turns = turns.wrapping_add(1);
        if turns.is_multiple_of(TURNS_PER_CLOCK) {
            self.look_if_due(at);
        }
        if self.is_late {
            self.send_all();
        }
        if self.ports[at].former.is_some() {
            self.receive_last(at, burst);
            if !burst.frames.is_empty() {
                return Ok(());
            }
        }
        let Port { area: Some(area), watch, .. } = &self.ports[at] else { return Ok(()) };
        if let Some(area) = &mut self.areas[*area] {
            area.inlet.receive(burst, watch.cells());
        }
        Ok(())
    }

    #[inline]
    fn bytes(&self, frame: &Held) -> &[u8] {
        self.area(frame).inlet.bytes(frame)
    }

    #[inline]
    fn bytes_mut(&mut self, frame: &Held) -> &mut [u8] {
        self.area_mut(frame).inlet.bytes_mut(frame)
    }

    fn push_tag(&mut self, frame: &mut Held, tag: [u8; TAG]) -> bool {
        self.area_mut(frame).inlet.push_tag(frame, tag)
    }

    fn pop_tag(&mut self, frame: &mut Held) {
        self.area_mut(frame).inlet.pop_tag(frame);
    }

    #[inline]
    fn transmit(&mut self, port: PortId, frame: Held) -> bool {
        let at = usize::from(port.0);
        let area = self.areas[(frame.place >> self.offset_bits) as usize].as_ref();
        let bytes = area.expect("an area is kept while frames of it are in use").inlet.bytes(&frame);
        let is_queued = Self::queue(&mut self.ports[at], at, &mut self.queued, bytes);
        self.release(frame);
        is_queued
    }

    fn answer(&mut self, port: PortId, bytes: &[u8], _cause: &Held) -> bool {
        self.inject(port, bytes)
    }

    #[inline]
    fn release(&mut self, frame: Held) {
        let slot = &mut self.areas[(frame.place >> self.offset_bits) as usize];
        let area = slot.as_mut().expect("an area is kept while frames of it are in use");
        area.inlet.release(&frame);
        if area.retired && area.inlet.held() == 0 {
            dismiss(slot.take());
        }
    }

    /// Makes one system call for each port that has something to send.
    #[inline]
    fn flush(&mut self) -> Result<(), (PortId, PortError)> {
        if !self.queued.is_empty() {
            self.send_all();
        }
        Ok(())
    }

    /// Never: an interface that was removed may come back.
    fn is_exhausted(&self, _port: PortId) -> bool {
        false
    }

    fn inject(&mut self, port: PortId, bytes: &[u8]) -> bool {
        let at = usize::from(port.0);
        Self::queue(&mut self.ports[at], at, &mut self.queued, bytes)
    }

    fn wait(&mut self, timeout: Duration) {
        let areas = self.areas.iter().flatten().filter(|area| !area.retired);
        if areas.clone().any(|area| area.inlet.is_ready()) {
            return;
        }
        // What the device would not take is not waited for by poll(2).
        let timeout = if self.is_late { timeout.min(Duration::from_millis(1)) } else { timeout };
        let sockets = areas.clone().map(|area| area.inlet.socket());
        for failed in sleep_on(sockets, &mut self.polled, timeout) {
            if let Some(area) = areas.clone().nth(failed) {
                area.inlet.socket().forget_error();
            }
        }
        (0..self.ports.len()).for_each(|port| self.look_if_due(port));
        if self.is_late {
            self.send_all();
        }
    }

    fn is_up(&self, port: PortId) -> bool {
        self.ports[usize::from(port.0)].is_up
    }
}
