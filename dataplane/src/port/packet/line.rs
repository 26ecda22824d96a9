//! What one worker has at a port while its interface is there: a socket and ring in, a socket and ring out.

use super::berth::Opens;
use super::error::InterfaceError;
use super::fanout;
use super::inlet::Inlet;
use super::interface::{Interfaces, Name};
use super::offloads::Offloads;
use super::outlet::Outlet;
use super::settings::PacketPort;
use super::socket::Socket;
use super::system::Errno;

/// An Ethernet header, and a VLAN tag behind it (IEEE 802.3 §3.1.1, IEEE 802.1Q §9.3).
pub(super) const HEADER: usize = 14;
pub(super) const TAG: usize = 4;

/// Blocks or slots that a ring has at least.
const LEAST: usize = 4;

/// A worker's sockets and rings at a port.
pub(super) struct Line {
    pub(super) inlet: Inlet,
    pub(super) outlet: Outlet,
    /// The MTU that the rings were made for.
    pub(super) mtu: usize,
}

/// Opens the ports' lines, in the network namespace in which this was made.
pub(super) struct Opener {
    pub(super) port: PacketPort,
    pub(super) name: Name,
    pub(super) workers: usize,
}

impl Opener {
    /// Looks at a port's name and the form of its rings.
    pub(super) fn new(port: &PacketPort, workers: usize) -> Result<Opener, InterfaceError> {
        let name = Name::new(&port.interface)
            .ok_or_else(|| InterfaceError::Name { interface: port.interface.clone() })?;
        let mut port = port.clone();
        port.receive_bytes = port.receive_bytes.next_power_of_two();
        port.transmit_bytes = port.transmit_bytes.next_power_of_two();
        Ok(Opener { port, name, workers })
    }

    fn error(&self, action: &'static str) -> impl Fn(Errno) -> InterfaceError {
        let interface = self.name.as_str().to_owned();
        move |errno| InterfaceError::system(&interface, action, errno)
    }

    /// Whether the interface is one that can be used; its number and MTU.
    pub(super) fn check(&self, interfaces: &Interfaces) -> Result<(u32, usize), InterfaceError> {
        let interface = || self.name.as_str().to_owned();
        let index = interfaces.ethernet(&self.name, |action, errno| self.error(action)(errno))?;
        let merging = Offloads::ask(interfaces, &self.name)?.merging();
        if !merging.on().is_empty() {
            return Err(InterfaceError::Merges { interface: interface(), on: merging });
        }
        let mtu = interfaces.mtu(&self.name).map_err(self.error("read its MTU"))?;
        let small = |bytes, least| InterfaceError::SmallRing { interface: interface(), bytes, mtu, least };
        let (inward, outward) = (Inlet::least(self.port.receive, longest(mtu)), Outlet::least(longest(mtu)));
        if self.port.receive_bytes < LEAST * inward {
            return Err(small(self.port.receive_bytes, LEAST * inward));
        }
        if self.port.transmit_bytes < LEAST * outward {
            return Err(small(self.port.transmit_bytes, LEAST * outward));
        }
        Ok((index, mtu))
    }

    fn open_one(&self, index: u32, mtu: usize) -> Result<Line, InterfaceError> {
        let PacketPort { receive, receive_bytes, transmit_bytes, .. } = self.port;
        let open = || Socket::new().map_err(self.error("open a packet socket"));

        let socket = open()?;
        socket.ignore_outgoing().map_err(self.error("ignore what is sent"))?;
        if self.workers > 1 {
            // Until all are in their group: outside, each would receive everything.
            socket.mute().map_err(self.error("attach a filter"))?;
        }
        let inlet = Inlet::new(socket, receive, receive_bytes, longest(mtu))
            .map_err(self.error("make a receive ring"))?;
        inlet.socket().bind_to_receive(index).map_err(self.error("bind to it"))?;
        inlet.socket().listen_to_all(index).map_err(self.error("make it promiscuous"))?;

        let outlet =
            Outlet::new(open()?, transmit_bytes, longest(mtu)).map_err(self.error("make a transmit ring"))?;
        outlet.socket().bind_to_send(index).map_err(self.error("bind to it"))?;
        Ok(Line { inlet, outlet, mtu })
    }

    /// Puts the workers' sockets into one fanout group, in their order, and only then lets frames in.
    fn spread(&self, lines: &[Line]) -> Result<(), InterfaceError> {
        let mut sockets = lines.iter().map(|line| line.inlet.socket());
        let Some(first) = sockets.next() else { return Ok(()) };
        let group =
            first.found_group(&fanout::program()).map_err(self.error("spread frames over workers"))?;
        for socket in sockets {
            socket.join_group(group).map_err(self.error("spread frames over workers"))?;
        }
        for line in lines {
            line.inlet.socket().unmute().map_err(self.error("detach a filter"))?;
        }
        Ok(())
    }
}

impl Opens for Opener {
    type Line = Line;

    fn name(&self) -> &Name {
        &self.name
    }

    fn workers(&self) -> usize {
        self.workers
    }

    /// Opens the lines of all workers, since they have one fanout group. The interface must be switched on: a socket of one
    /// that is not can't join it.
    fn open(&self, interfaces: &Interfaces, _: &[usize]) -> Result<Vec<(usize, Line)>, InterfaceError> {
        let (index, mtu) = self.check(interfaces)?;
        self.port.before.run(self.name.as_str(), index)?;
        let mut lines = Vec::with_capacity(self.workers);
        for _ in 0..self.workers {
            lines.push(self.open_one(index, mtu)?);
        }
        if self.workers > 1 {
            self.spread(&lines)?;
        }
        Ok(lines.into_iter().enumerate().collect())
    }
}

/// The longest frame of an interface with this MTU.
pub(super) fn longest(mtu: usize) -> usize {
    HEADER + TAG + mtu
}
