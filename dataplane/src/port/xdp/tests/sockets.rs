//! Sockets that one worker loses alone, that somebody else has, that are lent, and what they had when they went.

#![allow(unsafe_code)]

use std::sync::Arc;

use super::super::region::{Refused, Region};
use super::super::socket::Socket;
use super::*;
use crate::port::interface::{Interfaces, Name};
use crate::port::{Errno, InterfaceError};

#[test]
fn a_worker_that_loses_its_socket_alone_gets_another_and_the_others_keep_theirs() {
    in_namespace(|| {
        pair("near0", "far0");
        let mut drivers = XdpDriver::open(&[XdpPort::new("near0")], 2).unwrap();
        let far = Station::at("far0");
        let await_up = |drivers: &mut [XdpDriver]| {
            for (driver, n) in drivers.iter_mut().zip(0..) {
                await_state(driver, A, &PortState::Up);
                assert!(driver.inject(A, &numbered(n, 60)));
                driver.flush().unwrap();
                assert_eq!(far.receive(), Some(numbered(n, 60)));
            }
        };
        await_up(&mut drivers);
        for lost in [0, 1, 0] {
            let kept = Arc::downgrade(&drivers[1 - lost].socket(A));
            drivers[lost].part_with(A);
            await_up(&mut drivers);
            assert!(kept.upgrade().is_some(), "it has nothing to do with the other's");
        }
    });
}

fn index_of(interface: &str) -> u32 {
    let index = Interfaces::to_ask().unwrap().index(&Name::new(interface).unwrap());
    index.unwrap().expect("the interface is there")
}

/// A socket of somebody else at the queue of `near0`.
fn stranger() -> Arc<Socket> {
    let region = Region::new(64, 11, None).unwrap();
    region.socket(index_of("near0"), 0, ZeroCopy::Off, &mut None).expect("nobody has the queue").socket
}

#[test]
fn a_queue_that_somebody_has_is_waited_for_and_refused_if_it_stays_so() {
    in_namespace(|| {
        pair("near0", "far0");
        let former = stranger();
        let error = XdpDriver::open(&[XdpPort::new("near0")], 1).err().expect("it is somebody else's");
        assert!(matches!(error, InterfaceError::Busy { queue: 0, .. }), "{error}");
        assert!(error.to_string().contains("`ss --xdp --processes` tells whose"), "{error}");
        // As a process that was killed a moment ago.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(300));
                drop(former);
            });
            let driver = open(&[XdpPort::new("near0")]);
            let manner = driver.watch(A).manner().unwrap();
            assert!(manner.why_copy.as_ref().is_some_and(|why| why.contains("not supported")), "{manner}");
        });
    });
}

#[test]
fn a_program_of_our_own_that_is_about_to_go_is_waited_for() {
    in_namespace(|| {
        pair("near0", "far0");
        let first = open(&[XdpPort::new("near0")]);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(300));
                drop(first);
            });
            open(&[XdpPort::new("near0")]);
        });
    });
}

#[test]
fn frames_of_a_socket_that_is_lent_are_not_used_again_before_it_is_closed() {
    in_namespace(|| {
        let (mut driver, _, _) = bridge(XdpMode::Native);
        let lent = driver.socket(A);
        let closed = lent.closed();
        driver.part_with(A);
        ip("link del near0");
        let look = |driver: &mut XdpDriver| {
            driver.wait(Duration::from_millis(5));
            driver.state(A);
        };
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(300) {
            look(&mut driver);
            assert!(!driver.is_settled() && closed.get().is_none());
        }
        drop(lent);
        while !driver.is_settled() {
            assert!(begun.elapsed() < PATIENCE, "{:?}", driver.census());
            look(&mut driver);
        }
        assert!(closed.get().is_some());
    });
}

#[test]
fn a_port_whose_socket_finds_no_lane_is_not_up_before_one_is_free() {
    in_namespace(|| {
        pair("near0", "far0");
        let mut driver = open(&[XdpPort::new("near0")]);
        await_state(&mut driver, A, &PortState::Up);
        ip("link del near0");
        await_state(&mut driver, A, &down(Outage::Absent));
        let begun = Instant::now();
        while !driver.is_settled() {
            assert!(begun.elapsed() < PATIENCE, "{:?}", driver.census());
            receive_some(&mut driver, A, 0);
        }
        driver.occupy_lanes(true);
        pair("near0", "far0");
        await_state(&mut driver, A, &down(Outage::Opening));
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(300) {
            receive_some(&mut driver, A, 0);
            assert_eq!(driver.state(A), down(Outage::Opening));
        }
        driver.occupy_lanes(false);
        await_state(&mut driver, A, &PortState::Up);
    });
}

#[test]
fn what_a_device_that_is_gone_has_not_sent_in_zero_copy_mode_is_booked_as_lost() {
    in_namespace(|| {
        let (mut driver, _, right) = bridge(XdpMode::Native);
        driver.pretend_zero_copy(B);
        assert!(driver.inject(B, &numbered(0, 60)));
        driver.flush().unwrap();
        assert_eq!(right.receive(), Some(numbered(0, 60)));
        for n in 1..6 {
            assert!(driver.inject(B, &numbered(n, 60 + n as usize)));
        }
        ip("link del near1");
        await_state(&mut driver, B, &down(Outage::Absent));
        assert!(receive_some(&mut driver, B, 0).is_empty());
        let statistics = driver.statistics(B);
        assert_eq!((statistics.transmit_down, statistics.queued_lost), (5, 5), "{statistics:?}");
        assert_eq!(statistics.queued_lost_bytes, 5 * 60 + 15);
    });
}

/// CAP_IPC_LOCK, of linux/capability.h.
const IPC_LOCK: u32 = 14;

/// Lets this thread lock no more memory than anybody may.
fn give_up_locking() {
    let mut header = [0x2008_0522u32, 0];
    let mut sets = [0u32; 6];
    // SAFETY: a header of version 3, which stands for this thread, and the two times three sets that go with it.
    let done = unsafe { libc::syscall(libc::SYS_capget, header.as_mut_ptr(), sets.as_mut_ptr()) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    sets[0] &= !(1 << IPC_LOCK);
    // SAFETY: as above; the kernel only reads them.
    let done = unsafe { libc::syscall(libc::SYS_capset, header.as_mut_ptr(), sets.as_ptr()) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

/// Has the process lock so many bytes at most; gives what it was. Whoever has the capability does not mind.
fn limit_locking(bytes: u64) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure that the call fills.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit) }, 0);
    let was = std::mem::replace(&mut limit.rlim_cur, bytes.min(limit.rlim_max));
    // SAFETY: the same, which the kernel only reads.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit) }, 0);
    was
}

#[test]
fn the_reason_for_copying_is_the_device_s_also_where_little_memory_may_be_locked() {
    in_namespace(|| {
        let ports = [("near0", "far0"), ("near1", "far1")];
        ports.iter().for_each(|(near, far)| pair(near, far));
        give_up_locking();
        let was = limit_locking(6 << 20);
        // The frames may be locked once, and not twice.
        let region = Region::new((4 << 20) >> 11, 11, None).unwrap();
        let mut opened = Vec::new();
        for round in 0..4 {
            let (near, far) = ports[round % 2];
            if round > 1 {
                ip(&format!("link del {near}"));
                opened.remove(0);
                pair(near, far);
            }
            let one = region.socket(index_of(near), 0, ZeroCopy::Auto, &mut None).expect("it copies");
            assert_eq!(one.why_copy, Some(Errno(libc::EOPNOTSUPP)), "round {round}");
            opened.push(one);
        }
        let mut probed = None;
        let wanted = region.socket(index_of("far0"), 0, ZeroCopy::On, &mut probed).err();
        assert_eq!(wanted, Some(Refused::ZeroCopy(Errno(libc::EOPNOTSUPP))));
        assert_eq!(probed, Some(Errno(libc::EOPNOTSUPP)));
        // Who was told is not asked again: a device that has the mode would have the queue again.
        let mut probed = Some(Errno(libc::ENOBUFS));
        let again = region.socket(index_of("far0"), 0, ZeroCopy::On, &mut probed).err();
        assert_eq!(again, Some(Refused::ZeroCopy(Errno(libc::ENOBUFS))));
        let error = XdpDriver::open(&[XdpPort::new("far0")], 1).err().expect("a port's frames are more");
        assert!(matches!(error, InterfaceError::Locked { mebibytes: 21, .. }), "{error}");
        limit_locking(was);
    });
}
