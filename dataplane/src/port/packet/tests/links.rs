//! Links that go down, interfaces that go away and come back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::frames::numbered;
use super::lab::{Station, in_namespace, ip, pair};
use super::*;
use crate::port::{Before, Errno, InterfaceError, Offloads};

#[test]
fn a_link_that_goes_down_is_told_and_comes_up_again() {
    for receive in BOTH {
        in_namespace(|| {
            let (mut driver, left, right) = bridge(receive);
            assert_eq!(driver.state(A), PortState::Up);

            ip("link set far1 down");
            await_state(&mut driver, B, &down(Outage::NoCarrier));
            left.send(&numbered(1, 60));
            forward_all(&mut driver, 1);
            assert_eq!(driver.statistics(B).transmit_down, 1);
            ip("link set far1 up");
            await_state(&mut driver, B, &PortState::Up);

            ip("link set near0 down");
            await_state(&mut driver, A, &down(Outage::Disabled));
            // The other end of the pair has no carrier, and this one does not hear it.
            driver.wait(Duration::from_millis(5));
            ip("link set near0 up");
            await_state(&mut driver, A, &PortState::Up);
            left.send(&numbered(2, 60));
            forward_all(&mut driver, 1);
            assert_eq!(right.receive(), Some(numbered(2, 60)), "and not what was lost");
        });
    }
}

#[test]
fn what_was_queued_when_the_link_went_down_is_lost_counted_and_not_sent_later() {
    in_namespace(|| {
        let (mut driver, _left, right) = bridge(Receive::Blocks);
        (0..5).for_each(|n| assert!(driver.inject(B, &numbered(n, 60 + n as usize))));
        ip("link set near1 down");
        driver.flush().unwrap();
        assert!(!driver.is_up(B), "the device said so itself");
        let counted = driver.statistics(B);
        assert_eq!((counted.transmit_down, counted.queued_lost), (5, 5));
        assert_eq!(counted.queued_lost_bytes, 60 + 61 + 62 + 63 + 64);
        assert!(!driver.inject(B, &numbered(5, 60)));
        assert_eq!(driver.statistics(B).transmit_down, 6);

        ip("link set near1 up");
        await_state(&mut driver, B, &PortState::Up);
        (6..600).for_each(|n| {
            assert!(driver.inject(B, &numbered(n, 60)));
            driver.flush().unwrap();
        });
        for n in 6..600 {
            assert_eq!(right.receive(), Some(numbered(n, 60)));
        }
    });
}

#[test]
fn a_short_interruption_that_nobody_saw_changes_nothing() {
    in_namespace(|| {
        let (mut driver, left, right) = bridge(Receive::Blocks);
        ip("link set near1 down");
        ip("link set near1 up");
        left.send(&numbered(1, 60));
        forward_all(&mut driver, 1);
        assert_eq!(right.receive(), Some(numbered(1, 60)));
        assert_eq!(driver.statistics(B), Default::default());
    });
}

#[test]
fn an_interface_that_is_removed_and_made_again_is_picked_up_by_itself() {
    for receive in BOTH {
        in_namespace(|| {
            let (mut driver, left, right) = bridge(receive);
            left.send(&numbered(1, 100));
            left.send(&numbered(2, 100));
            let (one, other) = (hold_one(&mut driver, A), hold_one(&mut driver, A));

            (10..20).for_each(|n| left.send(&numbered(n, 60)));
            ip("link del near0");
            await_state(&mut driver, A, &down(Outage::Absent));
            let last = receive_some(&mut driver, A, 10);
            assert_eq!(last, (10..20).map(|n| numbered(n, 60)).collect::<Vec<_>>(), "what had come");
            assert!(!driver.inject(A, &numbered(3, 60)));
            assert_eq!(driver.statistics(A).transmit_down, 1);
            assert_eq!(driver.bytes(&one), numbered(1, 100), "frames in hand stay what they were");

            pair("near0", "far0");
            let left = Station::at("far0");
            let began = Instant::now();
            while !driver.is_up(A) {
                assert!(began.elapsed() < Duration::from_secs(10));
                let mut burst = Burst::new(1);
                driver.receive(A, &mut burst).unwrap();
                assert!(burst.frames.is_empty());
            }
            assert!(driver.transmit(B, one));
            driver.flush().unwrap();
            assert_eq!(right.receive(), Some(numbered(1, 100)));
            assert_eq!(driver.bytes(&other), numbered(2, 100));
            driver.release(other);

            left.send(&numbered(4, 60));
            forward_all(&mut driver, 1);
            assert_eq!(right.receive(), Some(numbered(4, 60)), "{receive:?}");
            assert_eq!(driver.watch(A).state(), PortState::Up);
        });
    }
}

#[test]
fn an_interface_that_is_made_again_with_the_same_number_is_picked_up() {
    in_namespace(|| {
        let make = || {
            ip("link add near0 index 77 type veth peer name far0 index 78");
            ip("link set near0 up");
            ip("link set far0 up");
        };
        make();
        let mut driver = open(&[PacketPort::new("near0")]);
        await_state(&mut driver, A, &PortState::Up);
        ip("link del near0");
        make();
        assert_eq!(driver.state(A), down(Outage::Opening));
        await_state(&mut driver, A, &PortState::Up);
        Station::at("far0").send(&numbered(1, 60));
        assert_eq!(receive_some(&mut driver, A, 1), [numbered(1, 60)]);
    });
}

#[test]
fn an_interface_that_is_made_again_but_merges_frames_stays_down_until_that_is_switched_off() {
    in_namespace(|| {
        pair("near0", "far0");
        let mut driver = open(&[PacketPort::new("near0")]);
        ip("link del near0");
        ip("link add near0 type bridge");
        ip("link set near0 up");
        let began = Instant::now();
        loop {
            match driver.state(A) {
                PortState::Down(Outage::Refused(InterfaceError::Merges { .. })) => break,
                state => assert!(began.elapsed() < Duration::from_secs(10), "{state:?}"),
            }
        }
        Offloads::switch_off("near0").unwrap();
        await_state(&mut driver, A, &PortState::Up);
    });
}

#[test]
fn an_interface_that_is_made_again_many_times_leaves_nothing_behind() {
    in_namespace(|| {
        pair("near0", "far0");
        let mut driver = open(&[PacketPort::new("near0")]);
        for n in 0..5 {
            ip("link del near0");
            if n % 2 == 0 {
                await_state(&mut driver, A, &down(Outage::Absent));
            }
            pair("near0", "far0");
            await_state(&mut driver, A, &PortState::Up);
            Station::at("far0").send(&numbered(n, 60));
            assert_eq!(receive_some(&mut driver, A, 1), [numbered(n, 60)]);
        }
    });
}

#[test]
fn an_interface_that_is_switched_off_at_the_start_is_waited_for() {
    for workers in [1, 2] {
        in_namespace(|| {
            ip("link add near0 type veth peer name far0");
            let mut drivers = PacketDriver::open(&[PacketPort::new("near0")], workers).unwrap();
            assert!(drivers.iter_mut().all(|driver| driver.state(A) == down(Outage::Disabled)));
            ip("link set near0 up");
            ip("link set far0 up");
            drivers.iter_mut().for_each(|driver| await_state(driver, A, &PortState::Up));
            Station::at("far0").send(&numbered(1, 60));
            assert_eq!(receive_some(&mut drivers[0], A, 1), [numbered(1, 60)]);
        });
    }
}

#[test]
fn what_can_t_be_a_port_is_refused_with_its_reason() {
    in_namespace(|| {
        let refused = |interface: &str| {
            PacketDriver::open(&[PacketPort::new(interface)], 1).err().expect("this can't be a port")
        };
        assert_eq!(refused("eth/0"), InterfaceError::Name { interface: "eth/0".to_owned() });
        assert_eq!(refused("eth9"), InterfaceError::Absent { interface: "eth9".to_owned() });
        assert_eq!(refused("lo"), InterfaceError::NotEthernet { interface: "lo".to_owned(), hardware: 772 });
    });
}

#[test]
fn what_has_to_be_done_before_is_done_at_each_interface_of_the_name_and_without_it_the_port_stays_closed() {
    in_namespace(|| {
        pair("near0", "far0");
        let (told, fails) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(true)));
        let (tell, fail) = (Arc::clone(&told), Arc::clone(&fails));
        let before = Before::new(move |index| {
            tell.lock().unwrap().push(index);
            match fail.load(Ordering::Relaxed) {
                true => Err(std::io::Error::from_raw_os_error(libc::EOPNOTSUPP)),
                false => Ok(()),
            }
        });
        let port = PacketPort { before, ..PacketPort::new("near0") };
        let heard = InterfaceError::Heard { interface: "near0".to_owned(), errno: Errno(libc::EOPNOTSUPP) };
        let refused = PacketDriver::open(std::slice::from_ref(&port), 1).err();
        assert_eq!(refused.as_ref(), Some(&heard));
        assert!(heard.to_string().contains("would answer and forward by itself"), "{heard}");

        fails.store(false, Ordering::Relaxed);
        let mut driver = open(std::slice::from_ref(&port));
        assert_eq!(driver.state(A), PortState::Up);
        fails.store(true, Ordering::Relaxed);
        ip("link del near0");
        await_state(&mut driver, A, &down(Outage::Absent));
        pair("near0", "far0");
        await_state(&mut driver, A, &down(Outage::Refused(heard)));
        fails.store(false, Ordering::Relaxed);
        await_state(&mut driver, A, &PortState::Up);
        let told = told.lock().unwrap();
        let first = told[0];
        assert!(told[1] == first && told.len() >= 4, "{told:?}");
        assert!(told[2..].iter().all(|index| *index != first), "another interface of the name: {told:?}");
    });
}
