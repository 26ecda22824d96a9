//! Numbered frames at a moderate, steady rate, and which of them arrived.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::frame::{Segment, Side, tcp, udp};
use super::sniffer::{Sniffer, Way};
use super::station::Sender;
use super::{Lab, PATIENCE};

/// Between two frames of a flow: five hundred a second, or as many as the machine has time for.
const PAUSE: Duration = Duration::from_millis(2);

/// What a flow's frames are, but for their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Where they come from.
    pub side: Side,
    /// Source and destination.
    pub ends: [SocketAddr; 2],
    /// Whether they are TCP segments of a connection, or else UDP datagrams.
    pub is_tcp: bool,
}

impl Flow {
    /// TCP segments.
    pub fn tcp(side: Side, source: (IpAddr, u16), destination: (IpAddr, u16)) -> Flow {
        Flow { side, ends: [source.into(), destination.into()], is_tcp: true }
    }

    /// UDP datagrams.
    pub fn udp(side: Side, source: (IpAddr, u16), destination: (IpAddr, u16)) -> Flow {
        Flow { side, ends: [source.into(), destination.into()], is_tcp: false }
    }

    /// One of its frames. Of different lengths, as they are in real traffic; the number is what they end with.
    fn frame(&self, number: u64) -> Vec<u8> {
        let [source, destination] = self.ends;
        let mut payload = vec![number as u8; (number * 37 % 900) as usize];
        payload.extend(number.to_be_bytes());
        match self.is_tcp {
            true => tcp(self.side, source, destination, Segment::Ack, &payload),
            false => udp(self.side, source, destination, &payload),
        }
    }

    /// The number of a frame, if it is one of these, with every byte as it was sent.
    fn number(&self, frame: &[u8]) -> Option<u64> {
        let [source, destination] = self.ends.map(|end| end.port().to_be_bytes());
        let ports = if self.ends[0].is_ipv4() { 34..38 } else { 54..58 };
        // Most frames are another flow's.
        if frame.get(ports) != Some([source, destination].as_flattened()) {
            return None;
        }
        let number = u64::from_be_bytes(*frame.last_chunk()?);
        // Far more than are ever sent: a number that is none makes a frame of that length all the same.
        (number < 1 << 32 && self.frame(number) == frame).then_some(number)
    }
}

/// What became of a flow.
#[derive(Clone, Debug)]
pub struct Arrivals {
    /// By number: whether the frame arrived.
    pub arrived: Vec<bool>,
}

impl Arrivals {
    /// How many were sent.
    pub fn sent(&self) -> u64 {
        self.arrived.len() as u64
    }

    /// How many arrived.
    pub fn count(&self) -> u64 {
        self.arrived.iter().filter(|arrived| **arrived).count() as u64
    }

    /// How many did not.
    pub fn lost(&self) -> u64 {
        self.sent() - self.count()
    }

    /// How often it changed from one frame to the next whether they arrive.
    pub fn changes(&self) -> usize {
        self.arrived.windows(2).filter(|two| two[0] != two[1]).count()
    }
}

/// Frames that are being sent, and caught at the other end.
pub struct Traffic {
    flows: Vec<Flow>,
    sent: Vec<Arc<AtomicU64>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<(Side, Sender)>>,
    /// At the customer's, and at the other end.
    sniffers: [Sniffer; 2],
}

impl Lab {
    /// Sends frames of some flows from now on.
    pub fn traffic(&self, flows: &[Flow]) -> Traffic {
        let sniff = |port| {
            let (namespace, device) = self.far_end(port);
            self.sniff(namespace, device, Way::In)
        };
        let sniffers = [sniff("access"), sniff("core")];
        let stop = Arc::new(AtomicBool::new(false));
        let sent: Vec<Arc<AtomicU64>> = flows.iter().map(|_| Arc::default()).collect();
        let threads = [(Side::Customer, "access"), (Side::World, "core")].map(|(side, port)| {
            let (namespace, device) = self.far_end(port);
            let mut sender = namespace.sender(device);
            let own: Vec<(Flow, Arc<AtomicU64>)> = flows
                .iter()
                .zip(&sent)
                .filter(|(flow, _)| flow.side == side)
                .map(|(flow, sent)| (*flow, Arc::clone(sent)))
                .collect();
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    for (flow, sent) in &own {
                        let number = sent.fetch_add(1, Ordering::Relaxed);
                        sender.send_if_up(&flow.frame(number));
                    }
                    thread::sleep(PAUSE);
                }
                (side, sender)
            })
        });
        Traffic { flows: flows.to_vec(), sent, stop, threads: threads.into(), sniffers }
    }
}

impl Traffic {
    fn sniffer(&self, from: Side) -> &Sniffer {
        match from {
            Side::Customer => &self.sniffers[1],
            Side::World => &self.sniffers[0],
        }
    }

    /// Waits until a frame of this flow arrives that is sent from now on.
    pub fn await_next(&self, flow: &Flow) {
        let at = self.flows.iter().position(|other| other == flow).expect("a flow that is sent");
        let next = self.sent[at].load(Ordering::Relaxed);
        let is_next = |frame: &[u8]| flow.number(frame).is_some_and(|number| number >= next);
        self.sniffer(flow.side).await_frame(&format!("{flow:?} arrives"), 0, is_next);
    }

    /// Stops, waits for what is under way, and gives what became of each flow.
    ///
    /// # Panics
    /// When frames arrived twice, altered, or in another order.
    pub fn end(mut self) -> Vec<Arrivals> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in std::mem::take(&mut self.threads) {
            let (side, mut sender) = thread.join().expect("no panic in a sender");
            self.flush(side, &mut sender);
        }
        let Traffic { flows, sent, sniffers: [customer, world], .. } = self;
        let caught = [customer.end(), world.end()];
        flows
            .iter()
            .zip(&sent)
            .map(|(flow, sent)| {
                let sent = sent.load(Ordering::Relaxed);
                let frames = &caught[usize::from(flow.side == Side::Customer)];
                let numbers: Vec<u64> = frames.iter().filter_map(|frame| flow.number(frame)).collect();
                assert!(numbers.is_sorted_by(|a, b| a < b), "{flow:?}: in another order, or twice");
                let mut arrived = vec![false; sent as usize];
                numbers.iter().for_each(|number| arrived[*number as usize] = true);
                Arrivals { arrived }
            })
            .collect()
    }

    /// Between two hosts, all frames go through one worker, in order. So when something between them has arrived that
    /// was sent at last, nothing is under way any more.
    fn flush(&self, side: Side, sender: &mut Sender) {
        let mut pairs: Vec<[IpAddr; 2]> = Vec::new();
        for flow in self.flows.iter().filter(|flow| flow.side == side) {
            let pair = flow.ends.map(|end| end.ip());
            if !pairs.contains(&pair) {
                pairs.push(pair);
            }
        }
        for [source, destination] in pairs {
            let last = Flow::udp(side, (source, 7), (destination, 7));
            let begun = Instant::now();
            let mut number = 0;
            loop {
                sender.send(&last.frame(number));
                number += 1;
                thread::sleep(Duration::from_millis(50));
                if self.sniffer(side).frames().iter().rev().any(|frame| last.number(frame).is_some()) {
                    break;
                }
                assert!(begun.elapsed() < PATIENCE, "{last:?}: nothing arrives");
            }
        }
    }
}
