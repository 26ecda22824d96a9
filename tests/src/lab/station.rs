//! Two stations at the ends of the customers' cable, who send frames just as they are and see each that arrives.

use std::net::{IpAddr, SocketAddr};

use pnet::datalink::{self, Channel, Config, DataLinkSender};

use super::Lab;
use super::address::{DYNAMIC, WORLD};
use super::frame::{self, Side, udp};
use super::namespace::Namespace;
use super::sniffer::{Sniffer, Way};

/// Sends frames by an interface.
pub struct Sender(Box<dyn DataLinkSender>);

impl Namespace {
    /// Someone who sends frames by an interface here.
    pub fn sender(&self, device: &str) -> Sender {
        self.enter(|| {
            let interfaces = datalink::interfaces();
            let interface = interfaces.iter().find(|interface| interface.name == device);
            let interface = interface.unwrap_or_else(|| panic!("there is no interface {device}"));
            match datalink::channel(interface, Config::default()) {
                Ok(Channel::Ethernet(sender, _)) => Sender(sender),
                Ok(_) => panic!("{device} has another kind of channel"),
                Err(e) => panic!("{device}: {e}"),
            }
        })
    }
}

impl Sender {
    /// Sends a frame.
    pub fn send(&mut self, frame: &[u8]) {
        // There is no room for a moment where the other end of the cable is slow.
        while let Err(e) = self.0.send_to(frame, None).expect("a sender without a length limit") {
            assert_eq!(e.raw_os_error(), Some(rustix::io::Errno::NOBUFS.raw_os_error()), "{e}");
            std::thread::yield_now();
        }
    }

    /// Sends a frame, or does not if the link is down.
    pub fn send_if_up(&mut self, frame: &[u8]) {
        let _ = self.0.send_to(frame, None);
    }
}

/// A station.
struct Station {
    sender: Sender,
    sniffer: Sniffer,
    /// So many of its frames have been looked at.
    seen: usize,
}

/// One at the customer's end of the cable and one at the other.
pub struct Stations {
    customer: Station,
    world: Station,
    marks: u32,
}

impl Lab {
    /// Puts the stations there.
    pub fn stations(&self) -> Stations {
        let station = |port| {
            let (namespace, device) = self.far_end(port);
            let sniffer = self.sniff(namespace, device, Way::In);
            Station { sender: namespace.sender(device), sniffer, seen: 0 }
        };
        Stations { customer: station("access"), world: station("core"), marks: 0 }
    }
}

impl Stations {
    /// Sends frames from the customer's side; which of them arrived at the other, unchanged.
    ///
    /// # Panics
    /// When anything else arrived.
    pub fn outbound(&mut self, frames: &[Vec<u8>]) -> Vec<bool> {
        self.carry(Side::Customer, frames)
    }

    /// The other way round.
    ///
    /// # Panics
    /// When anything else arrived.
    pub fn inbound(&mut self, frames: &[Vec<u8>]) -> Vec<bool> {
        self.carry(Side::World, frames)
    }

    /// Whether one frame arrived, sent from that side.
    pub fn passes(&mut self, from: Side, frame: Vec<u8>) -> bool {
        self.carry(from, &[frame])[0]
    }

    fn carry(&mut self, from: Side, frames: &[Vec<u8>]) -> Vec<bool> {
        frames.iter().for_each(|frame| self.at(from).sender.send(frame));
        let mut others = self.until_mark(from);
        let arrived = frames.iter().map(|frame| {
            let at = others.iter().position(|other| other == frame);
            at.map(|at| others.remove(at)).is_some()
        });
        let arrived = arrived.collect();
        assert!(others.is_empty(), "{from:?} sent {frames:02x?}, and what came is {others:02x?}");
        arrived
    }

    /// What Sekisho sent back to the customer's station since the last time: answers to what it denied.
    pub fn answers(&mut self) -> Vec<Vec<u8>> {
        self.until_mark(Side::World)
    }

    fn at(&mut self, side: Side) -> &mut Station {
        match side {
            Side::Customer => &mut self.customer,
            Side::World => &mut self.world,
        }
    }

    /// Sends a mark from one side; gives what came at the other before it. One worker forwards in order, so what has not
    /// come before the mark does not come.
    fn until_mark(&mut self, from: Side) -> Vec<Vec<u8>> {
        self.marks += 1;
        let at = |host: IpAddr| SocketAddr::new(host, 9);
        let (source, destination) = match from {
            Side::Customer => (at(DYNAMIC[0]), at(WORLD[0])),
            Side::World => (at(WORLD[0]), at(DYNAMIC[0])),
        };
        let mark = udp(from, source, destination, format!("mark {}", self.marks).as_bytes());
        self.at(from).sender.send(&mark);
        let to = match from {
            Side::Customer => &mut self.world,
            Side::World => &mut self.customer,
        };
        let seen = to.sniffer.await_frame("the mark came", to.seen, |frame| frame == mark);
        let mut frames = to.sniffer.frames();
        let new = frames.drain(to.seen..seen).filter(|frame| frame::is_ours(frame)).collect();
        to.seen = seen + 1;
        new
    }
}
