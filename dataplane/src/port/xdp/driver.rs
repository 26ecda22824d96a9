//! The driver `xdp` of one worker.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::closing::Closing;
use super::lane::{FRAMES, Lane};
use super::line::{HEADER, Line, Opener, SHIFTS, TAG, found, most_mtu, node_of};
use super::region::Region;
use super::settings::{XdpManner, XdpPort};
use super::socket::Socket;
use super::umem::{Census, MAX_LANES, Umem};
use crate::frame::Link;
use crate::policy::PortId;
use crate::port::berth::{Answer, Berth, dismiss};
use crate::port::error::InterfaceError;
use crate::port::interface::{Interfaces, Name, Seen};
use crate::port::system::{Errno, sleep_on};
use crate::port::watch::{Outage, PortState, PortStatistics, PortWatch};
use crate::port::{Burst, Driver, Held, Lost, MAX_BURST, PortError};

/// A place has as many bits, since [`MixedDriver`](crate::port::MixedDriver) wants the others.
const PLACE_BITS: u32 = 29;

/// Frames in the worker's hands at once: a burst, and some for answers.
const IN_HAND: usize = 2 * MAX_BURST;

/// How often a port is looked at while it works, and while it does not.
const LOOK_EVERY: Duration = Duration::from_millis(250);
const LOOK_WHILE_DOWN: Duration = Duration::from_millis(20);
/// The clock is asked whether it is time once in so many turns at a port.
const TURNS_PER_CLOCK: u32 = 1024;

/// EtherTypes of VLAN tags: a frame that begins with one may be longer by it.
const TAGS: [[u8; 2]; 3] = [[0x81, 0x00], [0x88, 0xa8], [0x91, 0x00]];

/// System calls that sent nothing until what is queued is left for later.
const VAIN_CALLS: u32 = 2;

/// A socket in use, with its rings.
struct Station {
    line: Arc<Socket>,
    lane: Lane,
    manner: XdpManner,
    may_poll: bool,
    /// Of the socket's statistics, what has been counted.
    counted: Counted,
    /// Descriptors that were made void here, and that the kernel will count as wrong.
    voided: u64,
    /// Kept for the program to stay.
    _attachment: Arc<super::line::Attachment>,
}

#[derive(Clone, Copy, Default)]
struct Counted {
    drops: u64,
    ring_full: u64,
    fill_empty: u64,
    invalid: u64,
}

struct Port {
    berth: Arc<Berth<Opener>>,
    station: Option<Station>,
    /// The one before, with what it still has.
    former: Option<Station>,
    /// Which of the berth's generations these are.
    generation: u64,
    /// The interface's number.
    interface: u32,
    /// The longest frame that may be sent, without a tag.
    longest: usize,
    is_up: bool,
    /// Whether it is among those with frames to be sent.
    is_queued: bool,
    turns: u32,
    looked: Instant,
    watch: PortWatch,
}

/// The driver `xdp` of one worker: an AF_XDP socket at each port, and one memory for the frames of all.
pub struct XdpDriver {
    worker: usize,
    umem: Umem,
    ports: Vec<Port>,
    /// Lanes that are in use or being closed.
    lanes: Vec<bool>,
    closing: Vec<Closing>,
    /// Ports with frames to be sent.
    queued: Vec<usize>,
    /// Of these, some could not be sent when they should.
    is_late: bool,
    interfaces: Interfaces,
    polled: Vec<libc::pollfd>,
}

impl XdpDriver {
    /// Opens `ports` for as many workers; gives a driver for each. A port's [`PortId`] is its place here.
    ///
    /// An interface that has no carrier or is switched off is no error: it is waited for.
    ///
    /// # Errors
    /// An interface is not there or can't be used as it is, or the process may not.
    pub fn open(ports: &[XdpPort], workers: usize) -> Result<Vec<XdpDriver>, InterfaceError> {
        let system = |errno| InterfaceError::of_xdp("xdp ports", "open a socket", errno);
        let interfaces = Interfaces::to_ask().map_err(system)?;
        let mut names = Vec::with_capacity(ports.len());
        for port in ports {
            let interface = || port.interface.clone();
            names.push(
                Name::new(&port.interface).ok_or_else(|| InterfaceError::Name { interface: interface() })?,
            );
        }
        let shift = shift(&interfaces, &names)?;
        let frames = frames(ports.len());
        if frames > 1 << (PLACE_BITS - shift) {
            let most = ((1 << (PLACE_BITS - shift)) - IN_HAND) / FRAMES as usize;
            return Err(InterfaceError::ManyPorts { ports: ports.len(), most });
        }
        let node = names.first().and_then(node_of);
        let region = |_| Region::new(frames, shift, node).map(Arc::new);
        let regions: Result<Vec<Arc<Region>>, Errno> = (0..workers).map(region).collect();
        let regions = regions
            .map_err(|errno| InterfaceError::of_xdp("xdp ports", "get memory for their frames", errno))?;
        let mut berths = Vec::with_capacity(ports.len());
        for (port, name) in ports.iter().zip(names) {
            let berth = Berth::new(Opener::new(port, name, regions.clone()));
            berth.opener.check(&interfaces)?;
            if interfaces.flags(&berth.opener.name).is_ok_and(|flags| flags.enabled) {
                berth.open(&interfaces)?;
            }
            berths.push(Arc::new(berth));
        }
        let drivers = regions.iter().enumerate().map(|(worker, region)| {
            XdpDriver::new(worker, &berths, Umem::new(Arc::clone(&region.memory), shift))
        });
        drivers.collect()
    }

    fn new(worker: usize, berths: &[Arc<Berth<Opener>>], umem: Umem) -> Result<XdpDriver, InterfaceError> {
        let interfaces = Interfaces::to_ask()
            .map_err(|errno| InterfaceError::of_xdp("xdp ports", "open a socket", errno))?;
        let ports = berths.iter().map(|berth| Port {
            berth: Arc::clone(berth),
            station: None,
            former: None,
            generation: 0,
            interface: 0,
            longest: 0,
            is_up: false,
            is_queued: false,
            turns: 0,
            looked: Instant::now(),
            watch: PortWatch::new(PortState::Down(Outage::Opening)),
        });
        let mut driver = XdpDriver {
            worker,
            umem,
            ports: ports.collect(),
            // Each port's, the one before, and one that is being closed.
            lanes: vec![false; (3 * berths.len()).min(usize::from(MAX_LANES))],
            closing: Vec::new(),
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
        self.count(usize::from(port.0));
        self.ports[usize::from(port.0)].watch.statistics()
    }

    /// Where this worker's frames are, as the rings and the account of frames say.
    pub fn frames(&self) -> Census {
        let umem = &self.umem;
        let (all, free, held) = (umem.all() as u64, umem.free() as u64, umem.held() as u64);
        let stations = self.ports.iter().flat_map(|port| port.station.iter().chain(&port.former));
        let (filled, sent) = stations.fold((0, 0), |(filled, sent), station| {
            let (inward, outward) = station.lane.frames();
            (filled + inward, sent + outward)
        });
        let closing = all.saturating_sub(free + held + filled + sent);
        Census { all, free, held, filled, sent, closing }
    }

    /// The same, counted one by one; those with sockets that are being closed are among the kernel's.
    #[cfg(test)]
    pub(super) fn census(&self) -> Census {
        self.umem.census()
    }

    /// Whether no socket is being closed.
    #[cfg(test)]
    pub(super) fn is_settled(&self) -> bool {
        self.closing.is_empty() && self.ports.iter().all(|port| port.former.is_none())
    }

    /// Parts with a port's socket, as if it alone were gone.
    #[cfg(test)]
    pub(super) fn part_with(&mut self, port: PortId) {
        self.retire(usize::from(port.0));
        self.close_former(usize::from(port.0));
    }

    /// A port's socket, as one has it who lends it.
    #[cfg(test)]
    pub(super) fn socket(&self, port: PortId) -> Arc<Socket> {
        let station = self.ports[usize::from(port.0)].station.as_ref();
        Arc::clone(&station.expect("the port has one").line)
    }

    /// Has all lanes be in use, or none.
    #[cfg(test)]
    pub(super) fn occupy_lanes(&mut self, occupied: bool) {
        self.lanes.fill(occupied);
    }

    /// Takes a port's socket for one in zero-copy mode.
    #[cfg(test)]
    pub(super) fn pretend_zero_copy(&mut self, port: PortId) {
        let station = self.ports[usize::from(port.0)].station.as_mut();
        station.expect("the port has one").manner.zero_copy = true;
    }

    /// Asks the kernel what it counted since the last time.
    fn count(&mut self, port: usize) {
        let Port { station: Some(station), watch, .. } = &mut self.ports[port] else { return };
        let Some(now) = station.line.statistics() else { return };
        let (cells, was) = (watch.cells(), station.counted);
        let counted = Counted {
            drops: now.rx_dropped + now.rx_ring_full,
            ring_full: now.rx_ring_full,
            fill_empty: now.rx_fill_ring_empty_descs,
            // Those that were made void here are not the device's fault.
            invalid: now.tx_invalid_descs.saturating_sub(station.voided).max(was.invalid),
        };
        cells.kernel_drops.add(counted.drops.saturating_sub(was.drops));
        cells.receive_ring_full.add(counted.ring_full.saturating_sub(was.ring_full));
        cells.fill_ring_empty.add(counted.fill_empty.saturating_sub(was.fill_empty));
        let invalid = counted.invalid - was.invalid;
        cells.transmit_failed.add(invalid);
        // The kernel does not say which, and so not how long they were.
        cells.lose_queued(Lost { frames: invalid as usize, bytes: 0 });
        station.counted = counted;
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
        self.reclaim();
        self.count(port);
        let state = self.find(port);
        if port == 0 {
            self.ports[port].watch.set_frames(self.frames());
        }
        if state != PortState::Up {
            self.lose_queued(port);
        }
        let Port { is_up, watch, .. } = &mut self.ports[port];
        *is_up = state == PortState::Up;
        if watch.state() != state {
            watch.set_state(state);
        }
    }

    /// Looks for a port's interface, and for a socket there.
    fn find(&mut self, port: usize) -> PortState {
        let berth = Arc::clone(&self.ports[port].berth);
        let Opener { name, .. } = &berth.opener;
        let refused = |(action, errno)| {
            PortState::Down(Outage::Refused(InterfaceError::of_xdp(name.as_str(), action, errno)))
        };
        let Seen { index, flags, mtu } = match self.interfaces.look(name) {
            Ok(Some(seen)) => seen,
            Ok(None) => {
                self.retire(port);
                return PortState::Down(Outage::Absent);
            }
            Err(failure) => return refused(failure),
        };
        if !self.is_fit(port, index) {
            self.retire(port);
        }
        let most = most_mtu(self.umem.shift());
        if mtu > most {
            let interface = name.as_str().to_owned();
            let error = InterfaceError::LongFrames { interface, mtu, most };
            return PortState::Down(Outage::Refused(error));
        }
        if !flags.enabled {
            return PortState::Down(Outage::Disabled);
        }
        if self.ports[port].station.is_none() {
            // So many former sockets are still being closed that another could not be had.
            if self.lanes.iter().all(|in_use| *in_use) {
                return PortState::Down(Outage::Opening);
            }
            match berth.ask(self.worker, self.ports[port].generation) {
                Answer::Line(generation, line) => {
                    self.ports[port].generation = generation;
                    if let Err(errno) = self.install(port, index, line) {
                        return refused(("have frames go to its socket", errno));
                    }
                }
                Answer::Opening => return PortState::Down(Outage::Opening),
                Answer::Refused(error) => return PortState::Down(Outage::Refused(error)),
            }
        }
        let Port { station, longest, watch, .. } = &mut self.ports[port];
        *longest = HEADER + mtu;
        if let Some(station) = station {
            station.line.forget_error();
            let Station { line, manner, may_poll, .. } = station;
            if *may_poll && line.is_polled() != manner.busy_poll {
                manner.busy_poll = !manner.busy_poll;
                watch.set_manner(manner.clone());
            }
        }
        match flags.running {
            true => PortState::Up,
            false => PortState::Down(Outage::NoCarrier),
        }
    }

    /// Whether a port's socket belongs to the interface that there is.
    fn is_fit(&self, port: usize, index: u32) -> bool {
        let Port { station, interface, .. } = &self.ports[port];
        let Some(station) = station else { return false };
        *interface == index && station.line.wake_to_receive() != Err(Errno(libc::ENXIO))
    }

    fn install(&mut self, port: usize, index: u32, line: Line) -> Result<(), Errno> {
        let Line { socket, rings, attachment, queue, manner, may_poll } = line;
        let Some(number) = self.lanes.iter().position(|in_use| !in_use) else {
            // Who asked has seen one.
            dismiss((socket, rings, attachment));
            return Err(Errno(libc::EBUSY));
        };
        let mut lane = Lane::new(number as u16, rings);
        // Before the kernel is given frames: what it has is not taken back while the socket is open.
        if let Err(errno) = attachment.enter(queue, &socket) {
            dismiss((socket, lane, attachment));
            return Err(errno);
        }
        lane.refill(&mut self.umem);
        self.lanes[number] = true;
        let port = &mut self.ports[port];
        port.watch.set_manner(manner.clone());
        port.interface = index;
        port.station = Some(Station {
            line: socket,
            lane,
            manner,
            may_poll,
            counted: Counted::default(),
            voided: 0,
            _attachment: attachment,
        });
        Ok(())
    }

    /// Parts with a port's socket. What has come is still received; frames that are in hand stay valid.
    fn retire(&mut self, port: usize) {
        self.count(port);
        self.lose_queued(port);
        if self.ports[port].station.is_some() {
            self.close_former(port);
            let Port { station, former, .. } = &mut self.ports[port];
            *former = station.take();
        }
    }

    fn close_former(&mut self, port: usize) {
        let Port { former, watch, .. } = &mut self.ports[port];
        let Some(Station { line, mut lane, manner, _attachment: attachment, .. }) = former.take() else {
            return;
        };
        if manner.zero_copy {
            // The device is gone, or another one. What it has not said to be sent is not.
            let lost = lane.unsent(&mut self.umem);
            watch.cells().transmit_down.add(lost.frames as u64);
            watch.cells().lose_queued(lost);
        }
        self.closing.push(Closing::new(lane.number(), line.closed(), manner.zero_copy));
        dismiss((line, lane, attachment));
    }

    /// Takes back the frames of sockets that are closed.
    fn reclaim(&mut self) {
        let XdpDriver { closing, umem, lanes, .. } = self;
        if closing.is_empty() {
            return;
        }
        let now = Instant::now();
        closing.retain(|closing| {
            if !closing.is_over(now) {
                return true;
            }
            umem.reclaim(closing.lane());
            lanes[usize::from(closing.lane())] = false;
            false
        });
    }

    /// Receives what a port's former ring still has, and closes it when that is all.
    #[cold]
    fn receive_last(&mut self, port: usize, burst: &mut Burst) {
        let Port { former: Some(former), watch, .. } = &mut self.ports[port] else { return };
        let had = burst.frames.len();
        former.lane.receive(&mut self.umem, burst, watch.cells());
        if burst.frames.len() == had {
            self.close_former(port);
        }
    }

    /// Loses what was to be sent by a port, as far as the kernel has not seen it.
    fn lose_queued(&mut self, port: usize) {
        let Port { station, watch, is_queued, .. } = &mut self.ports[port];
        if let Some(station) = station {
            if station.manner.zero_copy {
                // The device reads the ring when it likes. It sends them when it is on again.
                station.lane.rings.transmit.publish();
            } else {
                let lost = station.lane.take_back(&mut self.umem);
                station.voided += lost.frames as u64;
                watch.cells().transmit_down.add(lost.frames as u64);
                watch.cells().lose_queued(lost);
            }
        }
        *is_queued = false;
        self.queued.retain(|other| *other != port);
    }

    /// Whether a frame of this length may be sent by a port.
    #[inline]
    fn fits(port: &Port, length: usize, kind: impl FnOnce() -> Option<[u8; 2]>) -> bool {
        if length <= port.longest {
            return true;
        }
        let is_tagged = kind().is_some_and(|kind| TAGS.contains(&kind));
        is_tagged && length <= port.longest + TAG
    }

    /// Queues a frame; gives it back if it can't be sent, and counts why.
    #[inline]
    fn queue(&mut self, at: usize, frame: Held) -> Result<(), Held> {
        let XdpDriver { umem, ports, queued, .. } = self;
        let port = &mut ports[at];
        if !port.is_up {
            port.watch.cells().transmit_down.add(1);
            return Err(frame);
        }
        let kind = || umem.bytes(&frame).get(HEADER - 2..HEADER).and_then(|kind| kind.first_chunk().copied());
        if !Self::fits(port, frame.len(), kind) {
            port.watch.cells().oversize.add(1);
            return Err(frame);
        }
        if frame.len() < HEADER {
            port.watch.cells().transmit_failed.add(1);
            return Err(frame);
        }
        let Some(station) = &mut port.station else {
            port.watch.cells().transmit_down.add(1);
            return Err(frame);
        };
        if !station.lane.has_room(umem) {
            port.watch.cells().transmit_full.add(1);
            return Err(frame);
        }
        station.lane.send(umem, frame);
        if !port.is_queued {
            port.is_queued = true;
            queued.push(at);
        }
        Ok(())
    }

    /// Has a port's device send; false if some of it is to be tried again.
    fn send(&mut self, at: usize) -> bool {
        let Port { station: Some(station), .. } = &mut self.ports[at] else { return true };
        let Station { line, lane, manner, .. } = station;
        lane.rings.transmit.publish();
        if manner.zero_copy {
            if lane.rings.transmit.needs_wakeup() {
                let _ = line.wake_to_send();
            }
            lane.reap(&mut self.umem);
            return true;
        }
        let (mut left, mut vain) = (lane.rings.transmit.pending(), 0);
        while left > 0 {
            let result = line.wake_to_send();
            lane.reap(&mut self.umem);
            let now = lane.rings.transmit.pending();
            vain = if now < left { 0 } else { vain + 1 };
            left = now;
            if let Err(Errno(libc::ENETDOWN | libc::ENXIO | libc::ENODEV)) = result {
                self.look(at);
                // If it is up after all, that was an error which the socket had kept.
                return !self.ports[at].is_up;
            }
            if vain == VAIN_CALLS {
                return left == 0;
            }
        }
        true
    }

    fn send_all(&mut self) {
        self.is_late = false;
        let mut at = 0;
        while let Some(&port) = self.queued.get(at) {
            if self.send(port) {
                self.ports[port].is_queued = false;
                self.queued.retain(|other| *other != port);
            } else {
                self.is_late = true;
                at += 1;
            }
        }
    }
}

/// Frames that a worker has for so many ports.
fn frames(ports: usize) -> usize {
    IN_HAND + ports * FRAMES as usize
}

/// The size of frames that the interfaces' MTUs call for, as a power of two.
fn shift(interfaces: &Interfaces, names: &[Name]) -> Result<u32, InterfaceError> {
    let mut longest = 0;
    for name in names {
        longest = longest.max(found(interfaces, name)?.1);
    }
    Ok(shift_for(longest))
}

fn shift_for(longest_mtu: usize) -> u32 {
    let fits = SHIFTS.into_iter().find(|shift| longest_mtu <= most_mtu(*shift));
    // Of one that fits nowhere its check tells.
    fits.unwrap_or(SHIFTS[SHIFTS.len() - 1])
}

/// Bytes that the frames of one worker take in huge pages of 2 MiB, with so many ports of this largest MTU; in small ones
/// it is less than one of those less. The kernel locks them once for ports in zero-copy mode, and once for others.
pub fn memory_for(ports: usize, longest_mtu: usize) -> u64 {
    match ports {
        0 => 0,
        _ => ((frames(ports) as u64) << shift_for(longest_mtu)).next_multiple_of(2 << 20),
    }
}

impl Driver for XdpDriver {
    /// Reads the ring, and makes a system call only to look at the port now and then, or where the device is polled by it.
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
        let XdpDriver { umem, ports, .. } = self;
        let Port { station: Some(station), watch, .. } = &mut ports[at] else { return Ok(()) };
        let Station { line, lane, manner, .. } = station;
        lane.receive(umem, burst, watch.cells());
        if burst.frames.is_empty() && (manner.busy_poll || lane.rings.fill.needs_wakeup()) {
            // An error is looked at in time.
            let _ = line.wake_to_receive();
            lane.receive(umem, burst, watch.cells());
        }
        lane.refill(umem);
        Ok(())
    }

    #[inline]
    fn bytes(&self, frame: &Held) -> &[u8] {
        self.umem.bytes(frame)
    }

    #[inline]
    fn bytes_mut(&mut self, frame: &Held) -> &mut [u8] {
        self.umem.bytes_mut(frame)
    }

    fn push_tag(&mut self, frame: &mut Held, tag: [u8; TAG]) -> bool {
        self.umem.push_tag(frame, tag)
    }

    fn pop_tag(&mut self, frame: &mut Held) {
        self.umem.pop_tag(frame);
    }

    #[inline]
    fn transmit(&mut self, port: PortId, frame: Held) -> bool {
        match self.queue(usize::from(port.0), frame) {
            Ok(()) => true,
            Err(frame) => {
                self.umem.release(frame);
                false
            }
        }
    }

    fn answer(&mut self, port: PortId, bytes: &[u8], _cause: &Held) -> bool {
        self.inject(port, bytes)
    }

    #[inline]
    fn release(&mut self, frame: Held) {
        self.umem.release(frame);
    }

    /// Makes one system call for each port that has something to send, or as many as the kernel wants for that.
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
        let cells = self.ports[usize::from(port.0)].watch.cells();
        if bytes.len() > most_mtu(self.umem.shift()) + HEADER + 2 * TAG {
            cells.oversize.add(1);
            return false;
        }
        let Some(frame) = self.umem.take(bytes) else {
            cells.transmit_full.add(1);
            return false;
        };
        self.transmit(port, frame)
    }

    fn wait(&mut self, timeout: Duration) {
        let stations = self.ports.iter().filter_map(|port| port.station.as_ref());
        let is_ready = self.ports.iter().any(|port| port.former.is_some())
            || stations.clone().any(|station| station.lane.rings.receive.is_ready());
        if is_ready {
            return;
        }
        // What the device would not take is not waited for by poll(2).
        let timeout = if self.is_late { timeout.min(Duration::from_millis(1)) } else { timeout };
        let sockets = stations.clone().map(|station| &*station.line);
        let failed = sleep_on(sockets, &mut self.polled, timeout).next().is_some();
        if failed {
            stations.for_each(|station| station.line.forget_error());
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
