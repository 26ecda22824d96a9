//! Small frames, large frames, small rings.

use super::frames::{Wrap, numbered, wrapped};
use super::lab::{Station, in_namespace, ip, pair};
use super::*;
use crate::port::InterfaceError;

#[test]
fn the_smallest_and_the_largest_frames_pass_and_larger_ones_are_counted() {
    for receive in BOTH {
        in_namespace(|| {
            let (mut driver, left, right) = bridge(receive);
            let mut tagged = numbered(4, 1514);
            tagged.splice(12..12, [0x81, 0x00, 0x00, 0x64]);
            let whole = [numbered(1, 14), numbered(2, 60), numbered(3, 1514), tagged.clone()];
            whole.iter().for_each(|frame| left.send(frame));
            forward_all(&mut driver, whole.len());
            for frame in &whole {
                assert_eq!(right.receive().as_ref(), Some(frame), "{receive:?}: {} bytes", frame.len());
            }
            assert_eq!(driver.statistics(B).oversize, 0);

            // Four bytes more are for a tag only, eight not even for two.
            assert!(!driver.inject(B, &numbered(5, 1515)));
            assert!(!driver.inject(B, &numbered(6, 1518)));
            tagged.splice(12..12, [0x88, 0xa8, 0x00, 0x64]);
            assert!(!driver.inject(B, &tagged));
            assert!(!driver.inject(B, &numbered(7, 60_000)));
            assert_eq!(driver.statistics(B).oversize, 4);
            assert!(!driver.inject(B, &[0; 13]));
            assert_eq!(driver.statistics(B).transmit_failed, 1);
            driver.flush().unwrap();
            assert_eq!(right.receive_now(), None);
        });
    }
}

#[test]
fn a_frame_longer_than_the_ring_has_room_for_is_counted_and_rings_grow_with_the_mtu() {
    for receive in BOTH {
        in_namespace(|| {
            let (mut driver, left, right) = bridge(receive);
            for interface in ["near0", "far0", "near1", "far1"] {
                ip(&format!("link set {interface} mtu 9000"));
            }
            let long = numbered(1, 9014);
            left.send(&long);
            left.send(&numbered(2, 60));
            let next = hold_one(&mut driver, A);
            let statistics = driver.statistics(A);
            assert_eq!(statistics.truncated, 1, "{receive:?}: {statistics:?}");
            assert_eq!(driver.bytes(&next), numbered(2, 60), "the next one is not the worse for it");
            driver.release(next);

            await_state(&mut driver, A, &PortState::Up);
            await_state(&mut driver, B, &PortState::Up);
            left.send(&long);
            forward_all(&mut driver, 1);
            assert_eq!(right.receive(), Some(long));
        });
    }
}

#[test]
fn what_finds_the_receive_ring_full_is_counted_and_the_rest_comes_in_order() {
    for receive in BOTH {
        in_namespace(|| {
            const SENT: u32 = 5000;
            pair("near0", "far0");
            let small = PacketPort { receive_bytes: 256 << 10, ..port("near0", receive) };
            let mut driver = open(&[small]);
            let far = Station::at("far0");
            (0..SENT).for_each(|n| far.send(&numbered(n, 60)));
            let received = receive_some(&mut driver, A, 100);
            let dropped = driver.statistics(A).kernel_drops;
            assert!(dropped > 0);
            let sum = received.len() as u64 + dropped;
            assert_eq!(sum, u64::from(SENT), "{receive:?}: {} and {dropped}", received.len());
            let numbers: Vec<u32> = received.iter().map(|frame| frames::number(frame)).collect();
            assert!(numbers.is_sorted());
            far.send(&numbered(SENT, 60));
            assert_eq!(receive_some(&mut driver, A, 1), [numbered(SENT, 60)], "and it goes on");
        });
    }
}

#[test]
fn a_ring_whose_frames_are_all_held_gives_none_twice() {
    for receive in BOTH {
        in_namespace(|| {
            pair("near0", "far0");
            let small = PacketPort { receive_bytes: 256 << 10, ..port("near0", receive) };
            let mut driver = open(&[small]);
            let far = Station::at("far0");
            let mut held = Vec::new();
            let mut last = Instant::now();
            for n in 0.. {
                far.send(&numbered(n, 1514));
                let mut burst = Burst::new(MAX_BURST);
                driver.receive(A, &mut burst).unwrap();
                if !burst.frames.is_empty() {
                    last = Instant::now();
                } else if last.elapsed() > Duration::from_millis(100) {
                    break;
                }
                held.append(&mut burst.frames.drain(..).collect());
            }
            let numbers: Vec<u32> = held.iter().map(|frame| frames::number(driver.bytes(frame))).collect();
            assert!(numbers.iter().is_sorted_by(|one, next| one < next), "{receive:?}: {numbers:?}");
            assert!(numbers.len() >= 100, "{receive:?}: {}", numbers.len());

            // Given back in disorder, all but one, whose place is then passed over.
            held.reverse();
            let one = held.remove(30);
            let bytes = driver.bytes(&one).to_vec();
            held.into_iter().for_each(|frame| driver.release(frame));
            (0..1000).for_each(|n| far.send(&numbered(n, 60)));
            assert!(!receive_some(&mut driver, A, 1).is_empty());
            assert_eq!(driver.bytes(&one), bytes);
            driver.release(one);
            far.send(&numbered(7, 60));
            assert_eq!(receive_some(&mut driver, A, 1).last(), Some(&numbered(7, 60)));
        });
    }
}

#[test]
fn what_finds_the_transmit_ring_full_is_counted() {
    in_namespace(|| {
        pair("near0", "far0");
        let small = PacketPort { transmit_bytes: 256 << 10, ..PacketPort::new("near0") };
        let mut driver = open(&[small]);
        await_state(&mut driver, A, &PortState::Up);
        let far = Station::at("far0");
        let queued = (0..200).filter(|n| driver.inject(A, &numbered(*n, 1514))).count();
        assert_eq!(queued, 128, "as many slots of 2 KiB");
        assert_eq!(driver.statistics(A).transmit_full, 72);
        driver.flush().unwrap();
        for n in 0..128 {
            assert_eq!(far.receive(), Some(numbered(n, 1514)));
        }
        assert!(driver.inject(A, &numbered(200, 60)));
        driver.flush().unwrap();
        assert_eq!(far.receive(), Some(numbered(200, 60)));
    });
}

#[test]
fn a_frame_that_the_device_refuses_does_not_stop_those_behind_it() {
    in_namespace(|| {
        pair("near0", "far0");
        ip("link set far0 mtu 1000");
        let mut driver = open(&[PacketPort::new("near0")]);
        await_state(&mut driver, A, &PortState::Up);
        let far = Station::at("far0");
        for n in 0..6 {
            assert!(driver.inject(A, &numbered(n, if n % 2 == 0 { 1514 } else { 60 })));
        }
        driver.flush().unwrap();
        let began = Instant::now();
        while driver.is_late && began.elapsed() < Duration::from_secs(5) {
            driver.receive(A, &mut Burst::new(1)).unwrap();
        }
        let counted = driver.statistics(A);
        assert_eq!((counted.transmit_failed, counted.queued_lost), (3, 3));
        assert_eq!(counted.queued_lost_bytes, 3 * 1514);
        for n in [1, 3, 5] {
            assert_eq!(far.receive(), Some(numbered(n, 60)));
        }
        assert_eq!(driver.state(A), PortState::Up);
    });
}

#[test]
fn rings_that_are_too_small_or_too_large_are_refused_with_the_size_that_would_do() {
    in_namespace(|| {
        pair("near0", "far0");
        let refused = |port: PacketPort, count: usize| {
            PacketDriver::open(&vec![port; count], 1).err().expect("these rings can't be")
        };
        let small = PacketPort { receive_bytes: 4096, ..PacketPort::new("near0") };
        assert!(matches!(refused(small, 1), InterfaceError::SmallRing { least: 32_768, mtu: 1500, .. }));
        let small = PacketPort { transmit_bytes: 65_536, ..PacketPort::new("near0") };
        assert!(matches!(refused(small, 1), InterfaceError::SmallRing { least: 262_144, .. }));
        let large = PacketPort { receive_bytes: 1 << 30, ..PacketPort::new("near0") };
        let error = refused(large, 3);
        assert!(matches!(error, InterfaceError::LargeRings { ports: 3, most: 0x1000_0000, .. }), "{error}");
    });
}

#[test]
fn a_burst_of_tagged_frames_of_full_size_keeps_its_tags() {
    in_namespace(|| {
        let (mut driver, left, right) = bridge(Receive::Blocks);
        let packet: Vec<u8> = std::iter::once(0x45).chain((1..1500).map(|n| n as u8)).collect();
        let sent: Vec<Vec<u8>> = (0..200).map(|n| wrapped(Wrap::Vlan(n), &packet)).collect();
        sent.iter().for_each(|frame| left.send(frame));
        forward_all(&mut driver, sent.len());
        for frame in &sent {
            assert_eq!(right.receive().as_ref(), Some(frame));
        }
    });
}
