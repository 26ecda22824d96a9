//! The driver at real interfaces: veth pairs in network namespaces that the tests make. They need root.

mod far_ends;
pub(in crate::port) mod frames;
pub(in crate::port) mod lab;
mod links;
pub(in crate::port) mod moves;
mod sizes;
mod spreading;

use std::time::{Duration, Instant};

use super::{PacketDriver, PacketPort, Receive};
use crate::policy::PortId;
use crate::port::{Burst, Driver, MAX_BURST, Outage, PortState, PortStatistics};
use frames::Wrap;
use lab::{A, B, PATIENCE, Station, bridge_of, in_namespace, pair};
use moves::{Watched, await_state, forward, forward_all, hold_one, receive_some};

const BOTH: [Receive; 2] = [Receive::Blocks, Receive::Slots];

fn port(interface: &str, receive: Receive) -> PacketPort {
    PacketPort { receive, ..PacketPort::new(interface) }
}

/// One worker's driver.
fn open(ports: &[PacketPort]) -> PacketDriver {
    PacketDriver::open(ports, 1).unwrap().remove(0)
}

/// Two pairs with a driver at the near ends, and stations at the far ends.
fn bridge(receive: Receive) -> (PacketDriver, Station, Station) {
    bridge_of(|| open(&[port("near0", receive), port("near1", receive)]))
}

impl Watched for PacketDriver {
    fn look(&mut self, port: PortId) -> PortState {
        self.state(port)
    }
}

fn down(outage: Outage) -> PortState {
    PortState::Down(outage)
}

#[test]
fn frames_leave_unchanged_and_in_the_order_in_which_they_came() {
    for receive in BOTH {
        in_namespace(|| {
            let (mut driver, left, right) = bridge(receive);
            let sent: Vec<Vec<u8>> =
                (0..500).map(|n| frames::numbered(n, 60 + (n as usize * 53) % 1455)).collect();
            sent.iter().for_each(|frame| left.send(frame));
            forward_all(&mut driver, sent.len());
            for frame in &sent {
                assert_eq!(right.receive().as_ref(), Some(frame), "{receive:?}");
            }
            assert_eq!(right.receive_now(), None);
            assert_eq!(left.receive_now(), None, "nothing goes back");
        });
    }
}

#[test]
fn tags_labels_and_sessions_leave_byte_for_byte_as_they_came() {
    for receive in BOTH {
        in_namespace(|| {
            let (mut driver, left, right) = bridge(receive);
            let packets = [
                frames::udp4([192, 0, 2, 1], [198, 51, 100, 9], [7, 9], 0, 0),
                frames::udp6(1, 2, [7, 9], None),
            ];
            let mut sent = Vec::new();
            for packet in &packets {
                sent.extend(Wrap::ALL.map(|wrap| frames::wrapped(wrap, packet)));
                // Priority tags: of VLAN 0, and with every bit.
                sent.push(frames::wrapped(Wrap::Vlan(0), packet));
                sent.push(frames::wrapped(Wrap::Vlan(0xffff), packet));
            }
            // The tag that some switches write for a service, and three tags.
            let mut odd = frames::numbered(1, 100);
            odd.splice(12..12, [0x91, 0x00, 0x00, 0x05]);
            sent.push(odd.clone());
            odd.splice(12..12, [0x88, 0xa8, 0x00, 0x06, 0x81, 0x00, 0xe0, 0x07]);
            sent.push(odd);
            sent.iter().for_each(|frame| left.send(frame));
            forward_all(&mut driver, sent.len());
            for frame in &sent {
                assert_eq!(right.receive().as_ref(), Some(frame), "{receive:?}");
            }
            // And as the driver shows them to the pipeline.
            sent.iter().for_each(|frame| left.send(frame));
            assert_eq!(receive_some(&mut driver, A, sent.len()), sent);
        });
    }
}

#[test]
fn a_hundred_thousand_frames_pass_and_none_is_lost() {
    const COUNT: u32 = 100_000;
    const C: PortId = PortId(2);
    in_namespace(|| {
        pair("near0", "far0");
        pair("near1", "far1");
        let ports = ["near0", "near1", "far1"].map(PacketPort::new);
        let mut driver = open(&ports);
        [A, B, C].iter().for_each(|port| await_state(&mut driver, *port, &PortState::Up));
        let left = Station::at("far0");
        let sender = std::thread::spawn(move || {
            let began = Instant::now();
            for n in 0..COUNT {
                left.send(&frames::numbered(n, 60));
                // At most so many a second.
                while began.elapsed() < Duration::from_micros(u64::from(n) * 10) {
                    std::thread::yield_now();
                }
            }
        });
        let mut next = 0;
        let mut last = Instant::now();
        while next < COUNT && last.elapsed() < Duration::from_secs(5) {
            forward(&mut driver);
            let mut burst = Burst::new(MAX_BURST);
            driver.receive(C, &mut burst).unwrap();
            for frame in burst.frames.drain(..) {
                assert_eq!(frames::number(driver.bytes(&frame)), next);
                (next, last) = (next + 1, Instant::now());
                driver.release(frame);
            }
        }
        sender.join().unwrap();
        let statistics = [A, B, C].map(|port| driver.statistics(port));
        assert_eq!(next, COUNT, "{statistics:?}");
        assert_eq!(statistics, [PortStatistics::default(); 3]);
    });
}

#[test]
fn what_this_host_sends_by_the_interface_is_not_received() {
    for (receive, workers) in [(Receive::Blocks, 1), (Receive::Slots, 1), (Receive::Blocks, 2)] {
        in_namespace(|| {
            pair("near0", "far0");
            let mut drivers = PacketDriver::open(&[port("near0", receive)], workers).unwrap();
            await_state(&mut drivers[0], A, &PortState::Up);
            let (host, far) = (Station::at("near0"), Station::at("far0"));
            for n in 0..10 {
                host.send(&frames::numbered(n, 60));
                assert!(drivers[0].inject(A, &frames::numbered(n, 60)));
                drivers[0].flush().unwrap();
            }
            for _ in 0..20 {
                assert!(far.receive().is_some());
            }
            for driver in &mut drivers {
                assert_eq!(receive_some(driver, A, 0), Vec::<Vec<u8>>::new());
            }
        });
    }
}

#[test]
fn a_driver_can_be_given_to_its_workers_thread() {
    in_namespace(|| {
        pair("near0", "far0");
        let far = Station::at("far0");
        let mut driver = open(&[PacketPort::new("near0")]);
        await_state(&mut driver, A, &PortState::Up);
        let watch = driver.watch(A);
        let worker = std::thread::spawn(move || {
            assert!(!driver.inject(A, &frames::numbered(1, 2000)));
            assert!(driver.inject(A, &frames::numbered(2, 60)));
            driver.flush().unwrap();
        });
        assert_eq!(far.receive(), Some(frames::numbered(2, 60)));
        worker.join().unwrap();
        assert_eq!(watch.statistics(), PortStatistics { oversize: 1, ..Default::default() });
        assert_eq!(watch.state(), PortState::Up, "as it was last seen");
    });
}

#[test]
fn waiting_ends_when_a_frame_comes_and_when_the_time_is_over() {
    for receive in BOTH {
        in_namespace(|| {
            let (mut driver, left, _right) = bridge(receive);
            let began = Instant::now();
            driver.wait(Duration::from_millis(30));
            assert!(began.elapsed() >= Duration::from_millis(29));

            let sender = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(50));
                left.send(&frames::numbered(1, 60));
                left
            });
            let began = Instant::now();
            driver.wait(Duration::from_secs(20));
            assert!(began.elapsed() < Duration::from_secs(10), "{receive:?}");
            assert_eq!(receive_some(&mut driver, A, 1).len(), 1);
            let left = sender.join().unwrap();

            left.send(&frames::numbered(2, 60));
            std::thread::sleep(Duration::from_millis(20));
            let began = Instant::now();
            driver.wait(Duration::from_secs(20));
            assert!(began.elapsed() < Duration::from_secs(10), "what is there already is not waited for");
        });
    }
}
