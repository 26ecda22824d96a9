//! Several workers: which of them gets a frame.

use std::collections::HashMap;

use libc::sock_filter;
use proptest::prelude::*;

use super::frames::{Wrap, udp4, udp6, wrapped};
use super::lab::{Station, in_namespace, ip, pair};
use super::*;
use crate::frame::{Addresses, Depth, Frame, Link, parse};
use crate::port::packet::fanout;

/// What the kernel does with the program: `protocol` is the EtherType that it has read, `packet` what follows.
/// None: it looked at what is not there, which gives the frame to the first worker.
fn run(program: &[sock_filter], protocol: u32, packet: &[u8]) -> u32 {
    let (mut a, mut x, mut memory, mut at) = (0u32, 0u32, [0u32; 16], 0usize);
    loop {
        let sock_filter { code, jt, jf, k } = program[at];
        let code = u32::from(code);
        at += 1;
        let operand = if code & libc::BPF_X == 0 { k } else { x };
        match code & 0x07 {
            libc::BPF_LD if code & 0xe0 == libc::BPF_ABS => {
                assert_eq!(k, (libc::SKF_AD_OFF + libc::SKF_AD_PROTOCOL) as u32);
                a = protocol;
            }
            libc::BPF_LD if code & 0xe0 == libc::BPF_IND => {
                let size = match code & 0x18 {
                    libc::BPF_W => 4,
                    libc::BPF_H => 2,
                    _ => 1,
                };
                let from = (x + k) as usize;
                let Some(bytes) = packet.get(from..from + size) else { return 0 };
                a = bytes.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
            }
            libc::BPF_LD => a = memory[k as usize],
            libc::BPF_LDX if code & 0xe0 == libc::BPF_MEM => x = memory[k as usize],
            libc::BPF_LDX => x = k,
            libc::BPF_ST => memory[k as usize] = a,
            libc::BPF_ALU => {
                a = match code & 0xf0 {
                    libc::BPF_ADD => a.wrapping_add(operand),
                    libc::BPF_MUL => a.wrapping_mul(operand),
                    libc::BPF_XOR => a ^ operand,
                    libc::BPF_RSH => a >> operand,
                    other => panic!("operation {other:#x}"),
                }
            }
            libc::BPF_JMP => {
                let taken = match code & 0xf0 {
                    libc::BPF_JA => {
                        at += k as usize;
                        continue;
                    }
                    libc::BPF_JEQ => a == k,
                    libc::BPF_JSET => a & k != 0,
                    other => panic!("jump {other:#x}"),
                };
                at += usize::from(if taken { jt } else { jf });
            }
            libc::BPF_RET => return if code & 0x18 == libc::BPF_A { a } else { k },
            _ if code & 0xf8 == libc::BPF_TXA => a = x,
            _ => x = a,
        }
    }
}

/// As the kernel sees a frame, whose first tag it has taken out.
fn hash(frame: &[u8]) -> u32 {
    let kind = |at: usize| u32::from(frame[at]) << 8 | u32::from(frame[at + 1]);
    let is_tagged = matches!(kind(12), 0x8100 | 0x88a8);
    let at = if is_tagged { 16 } else { 12 };
    run(&fanout::program(), kind(at), &frame[at + 2..])
}

/// The same from the addresses that the parser finds.
fn expected(frame: &[u8]) -> u32 {
    let words = |address: u128| (0..4).fold(0, |sum, word| sum ^ (address >> (32 * word)) as u32);
    let sum = match parse(Link::Ethernet, frame, Depth::default()) {
        Frame::Ip(headers) => match headers.addresses {
            Addresses::V4 { source, destination } => source.wrapping_add(destination),
            Addresses::V6 { source, destination } => words(source).wrapping_add(words(destination)),
        },
        _ => return 0,
    };
    sum.wrapping_mul(0x9e37_79b1) >> 16
}

#[test]
fn the_program_is_short_enough_for_the_kernel() {
    assert!(fanout::program().len() < 256, "{}", fanout::program().len());
}

#[test]
fn the_program_finds_the_addresses_that_the_parser_finds() {
    for wrap in Wrap::ALL {
        for packet in [udp4([192, 0, 2, 1], [203, 0, 113, 77], [1, 2], 0, 0), udp6(1, 2, [1, 2], None)] {
            let frame = wrapped(wrap, &packet);
            assert_ne!(expected(&frame), 0, "{wrap:?}");
            assert_eq!(hash(&frame), expected(&frame), "{wrap:?}");
        }
    }
}

proptest! {
    #[test]
    fn both_directions_and_all_fragments_have_one_hash(
        from: [u8; 4], to: [u8; 4], ports: [u16; 2], other_ports: [u16; 2],
        wrap in prop::sample::select(&Wrap::ALL[..]), back in prop::sample::select(&Wrap::ALL[..]), offset in 1u16..0x2000,
    ) {
        let there = hash(&wrapped(wrap, &udp4(from, to, ports, 0, 0)));
        prop_assert_eq!(there, hash(&wrapped(back, &udp4(to, from, other_ports, 0, 1))));
        prop_assert_eq!(there, hash(&wrapped(wrap, &udp4(from, to, other_ports, offset, 0))));
        let there = hash(&wrapped(wrap, &udp6(from[0], to[0], ports, None)));
        prop_assert_eq!(there, hash(&wrapped(back, &udp6(to[0], from[0], other_ports, Some(1)))));
        prop_assert_eq!(there, hash(&wrapped(wrap, &udp6(from[0], to[0], other_ports, Some(offset << 3)))));
    }

    #[test]
    fn whatever_a_frame_holds_the_program_ends(kind: u16, bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        run(&fanout::program(), u32::from(kind), &bytes);
    }
}

/// Which worker receives a frame at a port; the frame is sent there first.
fn receiver(drivers: &mut [PacketDriver], station: &Station, port: PortId, frame: &[u8]) -> usize {
    station.send(frame);
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        assert!(Instant::now() < deadline, "no worker received a frame");
        for (worker, driver) in drivers.iter_mut().enumerate() {
            let mut burst = Burst::new(MAX_BURST);
            driver.receive(port, &mut burst).unwrap();
            let mut found = false;
            for held in burst.frames.drain(..) {
                found |= driver.bytes(&held) == frame;
                driver.release(held);
            }
            if found {
                return worker;
            }
        }
    }
}

/// Sends flows over both ports, both ways, whole and in fragments, and holds that each has one worker.
fn flows_meet(drivers: &mut [PacketDriver], left: &Station, right: &Station) {
    let mut counts: HashMap<usize, usize> = HashMap::new();
    for n in 0..8u8 {
        for wrap in [Wrap::Plain, Wrap::Vlan(7), Wrap::QinQ, Wrap::Pppoe] {
            let (near, far) = ([10, 0, n, 1], [198, 51, 100, n.wrapping_mul(37)]);
            let worker = receiver(drivers, left, A, &wrapped(wrap, &udp4(near, far, [5, 53], 0, 1)));
            *counts.entry(worker).or_default() += 1;
            for offset in [3, 700] {
                let fragment = wrapped(wrap, &udp4(near, far, [n.into(), 9], offset, 0));
                assert_eq!(receiver(drivers, left, A, &fragment), worker, "a later fragment");
            }
            let answer = wrapped(Wrap::Plain, &udp4(far, near, [53, 5], 0, 0));
            assert_eq!(receiver(drivers, right, B, &answer), worker, "the other direction");
        }
        let worker = receiver(drivers, left, A, &wrapped(Wrap::Plain, &udp6(n, 200, [5, 53], None)));
        *counts.entry(worker).or_default() += 1;
        let fragment = wrapped(Wrap::Vlan(3), &udp6(n, 200, [0, 0], Some(800)));
        assert_eq!(receiver(drivers, left, A, &fragment), worker);
        assert_eq!(receiver(drivers, right, B, &wrapped(Wrap::Plain, &udp6(200, n, [53, 5], None))), worker);
    }
    assert_eq!(counts.len(), drivers.len(), "all workers have something to do: {counts:?}");
    let other = frames::numbered(1, 60);
    assert_eq!(receiver(drivers, left, A, &other), 0, "what is not IP goes to the first");
    assert_eq!(receiver(drivers, right, B, &other), 0);
    for (driver, port) in
        drivers.iter_mut().flat_map(|driver| [A, B].map(|port| driver.statistics(port))).zip([A, B])
    {
        assert_eq!(driver, Default::default(), "{port:?}");
    }
}

#[test]
fn flows_and_their_fragments_meet_in_one_worker_whatever_happened_to_the_links() {
    for (receive, workers) in [(Receive::Blocks, 2), (Receive::Slots, 3)] {
        in_namespace(|| {
            pair("near0", "far0");
            pair("near1", "far1");
            let ports = [port("near0", receive), port("near1", receive)];
            let mut drivers = PacketDriver::open(&ports, workers).unwrap();
            let (left, right) = (Station::at("far0"), Station::at("far1"));
            flows_meet(&mut drivers, &left, &right);

            // The kernel has the sockets join their group anew.
            ip("link set near0 down");
            ip("link set near0 up");
            for driver in &mut drivers {
                await_state(driver, A, &PortState::Up);
            }
            flows_meet(&mut drivers, &left, &right);

            // New sockets, which the last worker asks for first.
            ip("link del near1");
            pair("near1", "far1");
            for driver in drivers.iter_mut().rev() {
                await_state(driver, B, &PortState::Up);
            }
            flows_meet(&mut drivers, &left, &Station::at("far1"));
        });
    }
}
