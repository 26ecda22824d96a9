//! Links that go down, interfaces that go away and come back, and such as can't be used.

use super::*;
use crate::port::interface::{Channels, Interfaces, Name};
use crate::port::xdp::AttachedProgram;
use crate::port::{InterfaceError, Offloads};

#[test]
fn a_link_that_goes_down_is_told_and_comes_up_again() {
    for mode in BOTH {
        in_namespace(|| {
            let (mut driver, left, right) = bridge(mode);
            ip("link set far1 down");
            await_state(&mut driver, B, &down(Outage::NoCarrier));
            left.send(&numbered(1, 60));
            forward_all(&mut driver, 1);
            assert_eq!(driver.statistics(B).transmit_down, 1);
            ip("link set far1 up");
            await_state(&mut driver, B, &PortState::Up);

            ip("link set near0 down");
            await_state(&mut driver, A, &down(Outage::Disabled));
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
    for mode in BOTH {
        in_namespace(|| {
            let (mut driver, _left, right) = bridge(mode);
            (0..5).for_each(|n| assert!(driver.inject(B, &numbered(n, 60))));
            ip("link set near1 down");
            driver.flush().unwrap();
            assert!(!driver.is_up(B), "the device said so itself");
            assert_eq!(driver.statistics(B).transmit_down, 5);
            assert!(!driver.inject(B, &numbered(5, 60)));
            assert_eq!(driver.statistics(B).transmit_down, 6);
            assert_eq!(driver.census().sent, 0, "their frames are used again");

            ip("link set near1 up");
            await_state(&mut driver, B, &PortState::Up);
            for n in 6..600 {
                assert!(driver.inject(B, &numbered(n, 60)));
                driver.flush().unwrap();
            }
            for n in 6..600 {
                assert_eq!(right.receive(), Some(numbered(n, 60)), "{mode:?}");
            }
            let statistics = driver.statistics(B);
            assert_eq!((statistics.transmit_failed, statistics.queued_lost), (0, 5), "{statistics:?}");
            assert_eq!(statistics.queued_lost_bytes, 5 * 60);
        });
    }
}

#[test]
fn an_interface_that_is_removed_and_made_again_is_picked_up_by_itself() {
    for mode in BOTH {
        in_namespace(|| {
            let (mut driver, left, right) = bridge(mode);
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
                assert!(began.elapsed() < Duration::from_secs(10), "{:?}", driver.state(A));
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
            assert_eq!(right.receive(), Some(numbered(4, 60)), "{mode:?}");
        });
    }
}

#[test]
fn interfaces_that_are_made_again_many_times_leave_no_frame_behind() {
    in_namespace(|| {
        let (mut driver, _, _) = bridge(XdpMode::Native);
        for n in 0..12u32 {
            // Now this one, now that one, now both at once: then nobody is there to share with.
            let gone = [&[0][..], &[1], &[0, 1]][n as usize % 3];
            gone.iter().for_each(|pair| ip(&format!("link del near{pair}")));
            for at in gone {
                pair(&format!("near{at}"), &format!("far{at}"));
            }
            for at in gone {
                await_state(&mut driver, PortId(*at), &PortState::Up);
            }
            let (left, right) = (Station::at("far0"), Station::at("far1"));
            left.send(&numbered(n, 60));
            forward_all(&mut driver, 1);
            assert_eq!(right.receive(), Some(numbered(n, 60)));
        }
        let began = Instant::now();
        loop {
            driver.wait(Duration::from_millis(5));
            for port in [A, B] {
                assert!(receive_some(&mut driver, port, 0).is_empty());
                driver.state(port);
            }
            let Census { all, free, held, filled, sent, .. } = driver.census();
            assert_eq!(free + held + filled + sent, all);
            // A socket that was used and is not yet closed has its frames.
            if (held, sent) == (0, 0) && filled <= 2 * 8192 && driver.is_settled() {
                assert_eq!(driver.frames(), driver.census());
                break;
            }
            assert!(began.elapsed() < PATIENCE, "{:?}", driver.census());
        }
    });
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
        let mut driver = open(&[XdpPort::new("near0")]);
        await_state(&mut driver, A, &PortState::Up);
        ip("link del near0");
        make();
        assert_ne!(driver.state(A), PortState::Up, "the socket is of the one that is gone");
        await_state(&mut driver, A, &PortState::Up);
        Station::at("far0").send(&numbered(1, 60));
        assert_eq!(receive_some(&mut driver, A, 1), [numbered(1, 60)]);
    });
}

#[test]
fn an_interface_that_is_switched_off_at_the_start_is_waited_for() {
    in_namespace(|| {
        ip("link add near0 type veth peer name far0");
        let mut driver = open(&[XdpPort::new("near0")]);
        assert_eq!(driver.state(A), down(Outage::Disabled));
        ip("link set near0 up");
        ip("link set far0 up");
        await_state(&mut driver, A, &PortState::Up);
        Station::at("far0").send(&numbered(1, 60));
        assert_eq!(receive_some(&mut driver, A, 1), [numbered(1, 60)]);
    });
}

#[test]
fn frames_go_by_what_the_mtu_is_now() {
    in_namespace(|| {
        let (mut driver, _left, right) = bridge(XdpMode::Native);
        assert!(driver.inject(B, &numbered(1, 1514)));
        assert!(!driver.inject(B, &numbered(2, 1515)), "longer than the MTU allows");
        let mut tagged = numbered(3, 1518);
        tagged[12..14].copy_from_slice(&[0x81, 0x00]);
        assert!(driver.inject(B, &tagged), "a tag may come on top");
        driver.flush().unwrap();
        assert_eq!((right.receive().unwrap().len(), right.receive().unwrap().len()), (1514, 1518));
        ip("link set near1 mtu 1000");
        driver.state(B);
        assert!(!driver.inject(B, &numbered(4, 1015)) && driver.inject(B, &numbered(5, 1014)));
        assert_eq!(driver.statistics(B).oversize, 2);
    });
}

#[test]
fn an_mtu_that_is_too_large_is_refused_with_the_command_that_helps_and_larger_frames_are_had_for_it() {
    in_namespace(|| {
        pair("near0", "far0");
        let mtu = |mtu: u32| {
            ip(&format!("link set far0 mtu {mtu}"));
            ip(&format!("link set near0 mtu {mtu}"));
        };
        mtu(9000);
        let generic = || XdpDriver::open(&[port("near0", XdpMode::Generic)], 1);
        let error = generic().err().expect("no frame has room for this");
        assert!(matches!(error, InterfaceError::LongFrames { mtu: 9000, most: 3818, .. }), "{error}");
        assert!(error.to_string().contains("ip link set dev near0 mtu 3818"), "{error}");

        mtu(3000);
        let mut driver = generic().unwrap().remove(0);
        await_state(&mut driver, A, &PortState::Up);
        Station::at("far0").send(&numbered(1, 3014));
        assert_eq!(receive_some(&mut driver, A, 1), [numbered(1, 3014)]);

        mtu(9000);
        let state = driver.state(A);
        assert!(
            matches!(state, PortState::Down(Outage::Refused(InterfaceError::LongFrames { .. }))),
            "{state:?}"
        );
        mtu(1500);
        await_state(&mut driver, A, &PortState::Up);
    });
}

#[test]
fn an_interface_that_has_another_program_is_refused_with_its_name_and_number() {
    in_namespace(|| {
        pair("near0", "far0");
        let first = open(&[XdpPort::new("near0")]);
        let error = XdpDriver::open(&[XdpPort::new("near0")], 1).err().expect("there is one already");
        let InterfaceError::Occupied { program, id, .. } = &error else { panic!("{error}") };
        assert!(program == "sekisho" && *id > 0, "{error}");
        let told = AttachedProgram::of("near0").unwrap().expect("it has one");
        assert!(told.id == *id && told.is_own(), "{told:?}");
        assert_eq!(AttachedProgram::of("far0").unwrap(), None);
        assert_eq!(AttachedProgram::of("nodev9").unwrap(), None);
        drop(first);
        // It goes with whoever put it there, as soon as the kernel gets to it.
        let began = Instant::now();
        while let Err(error) = XdpDriver::open(&[XdpPort::new("near0")], 1) {
            assert!(began.elapsed() < PATIENCE, "{error}");
            std::thread::sleep(Duration::from_millis(5));
        }
    });
}

#[test]
fn what_the_device_lacks_is_done_without_and_told_or_refused_where_it_was_wanted() {
    in_namespace(|| {
        // No XDP in its driver, and no zero-copy.
        ip("link add near0 type bridge");
        ip("link set near0 up");
        Offloads::switch_off("near0").unwrap();
        let driver = open(&[XdpPort::new("near0")]);
        let manner = driver.watch(A).manner().unwrap();
        assert!(!manner.native && !manner.zero_copy, "{manner}");
        assert!(manner.why_generic.as_ref().is_some_and(|why| why.starts_with("native mode: ")), "{manner}");
        drop(driver);
        let refused = |port: XdpPort| {
            let began = Instant::now();
            loop {
                match XdpDriver::open(std::slice::from_ref(&port), 1).err().expect("the device can't") {
                    // Another test's child may have our descriptors until it is another program.
                    InterfaceError::Occupied { .. } if began.elapsed() < PATIENCE => {}
                    error => return error.to_string(),
                }
            }
        };
        let error = refused(port("near0", XdpMode::Native));
        assert!(error.contains("native mode") && error.contains("leave `mode` out"), "{error}");
        pair("near1", "far1");
        let error = refused(XdpPort { zero_copy: ZeroCopy::On, ..XdpPort::new("near1") });
        assert!(error.contains("zero-copy mode") && error.contains("leave `zero-copy` out"), "{error}");
    });
}

#[test]
fn in_generic_mode_an_interface_that_merges_is_refused_with_the_command_that_helps() {
    in_namespace(|| {
        ip("link add near0 type bridge");
        ip("link set near0 up");
        let error = XdpDriver::open(&[XdpPort::new("near0")], 1).err().expect("a bridge has GRO on");
        assert!(error.to_string().ends_with("ethtool -K near0 gro off"), "{error}");
        Offloads::switch_off("near0").unwrap();
        open(&[XdpPort::new("near0")]);
    });
}

#[test]
fn an_interface_that_stays_refused_is_said_to_be_so_all_the_time_and_picked_up_when_it_is_not() {
    in_namespace(|| {
        let bridge = || {
            ip("link add near0 type bridge");
            ip("link set near0 up");
        };
        bridge();
        Offloads::switch_off("near0").unwrap();
        let mut driver = open(&[port("near0", XdpMode::Generic)]);
        ip("link del near0");
        await_state(&mut driver, A, &down(Outage::Absent));
        // With GRO on.
        bridge();
        let is_refused =
            |state| matches!(state, PortState::Down(Outage::Refused(InterfaceError::Merges { .. })));
        let began = Instant::now();
        while !is_refused(driver.state(A)) {
            assert!(began.elapsed() < PATIENCE);
        }
        // It is tried again every second.
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(2500) {
            let state = driver.state(A);
            assert!(is_refused(state.clone()), "{state:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
        Offloads::switch_off("near0").unwrap();
        let began = Instant::now();
        while is_refused(driver.state(A)) {
            assert!(began.elapsed() < PATIENCE);
        }
        await_state(&mut driver, A, &PortState::Up);
    });
}

#[test]
fn more_receive_queues_than_workers_are_made_fewer_and_queues_to_send_by_more() {
    in_namespace(|| {
        ip("link add near0 numrxqueues 4 numtxqueues 4 type veth peer numrxqueues 4 numtxqueues 4 name far0");
        ip("link set near0 up");
        ip("link set far0 up");
        let interfaces = Interfaces::to_ask().unwrap();
        let name = Name::new("near0").unwrap();
        let queues = || {
            let channels = interfaces.channels(&name).unwrap().unwrap();
            (channels.receive, channels.transmit)
        };
        let before = interfaces.channels(&name).unwrap().unwrap();
        let more = Channels { receive: before.most_receive, transmit: before.most_transmit, ..before };
        interfaces.set_channels(&name, more).unwrap();
        assert!(queues().0 > 1);
        let one = open(&[XdpPort::new("near0")]);
        assert_eq!(queues().0, 1);
        assert_eq!(one.watch(A).manner().unwrap().queues, 1);
        drop(one);
    });
}

#[test]
fn two_workers_send_by_their_own_queues_and_what_is_spread_by_nobody_knows_what_is_refused() {
    in_namespace(|| {
        pair("near0", "far0");
        let mut drivers = XdpDriver::open(&[XdpPort::new("near0")], 2).unwrap();
        let far = Station::at("far0");
        for (driver, n) in drivers.iter_mut().zip(0..) {
            await_state(driver, A, &PortState::Up);
            assert!(driver.inject(A, &numbered(n, 60)));
            driver.flush().unwrap();
            assert_eq!(far.receive(), Some(numbered(n, 60)));
        }
        drop(drivers);

        pair("near1", "far1");
        let interfaces = Interfaces::to_ask().unwrap();
        let name = Name::new("near1").unwrap();
        let channels = interfaces.channels(&name).unwrap().unwrap();
        interfaces.set_channels(&name, Channels { receive: 2, transmit: 2, ..channels }).unwrap();
        let error =
            XdpDriver::open(&[XdpPort::new("near1")], 2).err().expect("nobody knows how that is spread");
        assert!(matches!(error, InterfaceError::SpreadsByPorts { flow: "udp4", .. }), "{error}");
        let error = XdpDriver::open(&[XdpPort::new("near1")], 9999).err().expect("so many there can't be");
        assert!(matches!(error, InterfaceError::FewQueues { workers: 9999, .. }), "{error}");
    });
}

#[test]
fn what_can_t_be_a_port_is_refused_with_its_reason() {
    in_namespace(|| {
        let refused = |interface: &str| {
            XdpDriver::open(&[XdpPort::new(interface)], 1).err().expect("this can't be a port")
        };
        assert_eq!(refused("eth/0"), InterfaceError::Name { interface: "eth/0".to_owned() });
        assert_eq!(refused("eth9"), InterfaceError::Absent { interface: "eth9".to_owned() });
        assert_eq!(refused("lo"), InterfaceError::NotEthernet { interface: "lo".to_owned(), hardware: 772 });
    });
}

#[test]
fn a_program_that_the_verifier_refuses_is_told_with_what_it_says() {
    // Returns what it never set.
    let rejected = crate::port::xdp::bpf::load(&[0x95]).expect_err("no verifier takes this");
    assert!(rejected.log.contains("R0 !read_ok"), "{}", rejected.log);
}
