//! Offloads: at our end they are refused, at the far end their frames are recognised.

use super::frames::{Wrap, udp4, udp6, wrapped};
use super::lab::{Station, in_namespace, ip};
use super::*;
use crate::port::{InterfaceError, Offload, Offloads};

const TCP_SEGMENTS: u8 = 1;
const UDP_SEGMENTS: u8 = 5;

/// One's complement sum over the pseudo header and what follows the header at `at`, of an IPv4 packet there.
fn udp4_verifies(frame: &[u8], at: usize) -> bool {
    let packet = &frame[at..];
    let mut all = packet[12..20].to_vec();
    all.extend([0, 17]);
    all.extend(&packet[24..26]);
    all.extend(&packet[20..]);
    let sum: u32 =
        all.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum();
    (sum & 0xffff) + (sum >> 16) == 0xffff
}

/// A UDP datagram over IPv4 that has the sum of its pseudo header where the checksum belongs.
fn open_datagram() -> Vec<u8> {
    let mut packet = udp4([192, 0, 2, 1], [198, 51, 100, 9], [5353, 5353], 0, 0);
    packet[24..26].copy_from_slice(&24u16.to_be_bytes());
    let words = [0xc000, 0x0201, 0xc633, 0x6409, 17, 24];
    let sum = words.iter().sum::<u32>();
    packet[26..28].copy_from_slice(&((sum & 0xffff) as u16 + (sum >> 16) as u16).to_be_bytes());
    packet
}

/// Forwards until that was counted at A.
fn await_count(driver: &mut PacketDriver, is_there: impl Fn(PortStatistics) -> bool) {
    let began = Instant::now();
    while !is_there(driver.statistics(A)) {
        assert!(began.elapsed() < PATIENCE, "{:?}", driver.statistics(A));
        assert_eq!(forward(driver), 0);
    }
}

#[test]
fn checksums_that_the_far_end_left_open_are_completed_or_their_frames_counted() {
    for receive in BOTH {
        in_namespace(|| {
            let (mut driver, left, right) = bridge(receive);
            // Plain, and with a tag, which the ring's headers do not count in.
            for (wrap, at) in [(Wrap::Plain, 14), (Wrap::Vlan(100), 18)] {
                let frame = wrapped(wrap, &open_datagram());
                assert!(!udp4_verifies(&frame, at));
                left.send_without_checksum(&frame, at as u16 + 20, 6);
                if receive == Receive::Slots {
                    forward_all(&mut driver, 0);
                    continue;
                }
                forward_all(&mut driver, 1);
                let received = right.receive().expect("it is forwarded");
                assert!(udp4_verifies(&received, at), "{wrap:?}");
                assert_eq!(received[..at + 26], frame[..at + 26]);
                assert_eq!(received[at + 28..], frame[at + 28..]);
            }
            await_count(&mut driver, |counted| counted.checksum_completed + counted.checksum_incomplete == 2);
            assert_eq!(right.receive_now(), None);
            let statistics = driver.statistics(A);
            let counts = (statistics.checksum_completed, statistics.checksum_incomplete);
            match receive {
                Receive::Blocks => assert_eq!(counts, (2, 0)),
                Receive::Slots => assert_eq!(counts, (0, 2)),
            }
        });
    }
}

#[test]
fn a_checksum_that_is_no_sum_can_t_be_completed() {
    in_namespace(|| {
        let (mut driver, left, right) = bridge(Receive::Blocks);
        let mut packet = open_datagram();
        packet[9] = 132;
        left.send_without_checksum(&wrapped(Wrap::Plain, &packet), 34, 8);
        await_count(&mut driver, |statistics| statistics.checksum_incomplete == 1);
        assert_eq!(right.receive_now(), None);
    });
}

#[test]
fn segments_that_the_far_end_left_uncut_are_counted_whatever_their_length() {
    in_namespace(|| {
        let (mut driver, left, right) = bridge(Receive::Blocks);
        for payload in [1000, 5000, 40_000] {
            let mut packet = udp4([192, 0, 2, 1], [198, 51, 100, 9], [5353, 5353], 0, 0);
            packet.truncate(20);
            (packet[9], packet[2], packet[3]) = (6, 0, 0);
            packet.extend([0x13, 0x88, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
            packet.extend(std::iter::repeat_n(7, payload));
            let length = packet.len() as u16;
            packet[2..4].copy_from_slice(&length.to_be_bytes());
            left.send_uncut(&wrapped(Wrap::Plain, &packet), TCP_SEGMENTS, 54, 500, 34, 16);
        }
        let mut packet = open_datagram();
        packet.extend([7; 600]);
        let length = packet.len() as u16;
        packet[2..4].copy_from_slice(&length.to_be_bytes());
        left.send_uncut(&wrapped(Wrap::Plain, &packet), UDP_SEGMENTS, 42, 300, 34, 6);
        let plain = wrapped(Wrap::Plain, &udp6(1, 2, [1, 2], None));
        left.send(&plain);
        forward_all(&mut driver, 1);
        assert_eq!(driver.statistics(A).merged, 4);
        assert_eq!(right.receive(), Some(plain));
        assert_eq!(right.receive_now(), None);
    });
}

#[test]
fn an_interface_that_merges_what_it_receives_is_refused_with_the_command_that_helps() {
    in_namespace(|| {
        ip("link add near0 type bridge");
        let Err(error) = PacketDriver::open(&[PacketPort::new("near0")], 1) else {
            panic!("a bridge has GRO on");
        };
        assert!(matches!(&error, InterfaceError::Merges { on, .. } if on.on() == [Offload::Gro]), "{error}");
        assert!(error.to_string().ends_with("ethtool -K near0 gro off"), "{error}");
        Offloads::switch_off("near0").unwrap();
        assert_eq!(Offloads::of("near0").unwrap().merging().remedy(), None);
        assert!(PacketDriver::open(&[PacketPort::new("near0")], 1).is_ok());
    });
}

#[test]
fn a_far_end_with_its_offloads_off_finishes_its_frames_itself() {
    in_namespace(|| {
        let (mut driver, left, right) = bridge(Receive::Slots);
        let names = |interface| Offloads::of(interface).unwrap().to_string();
        assert!(
            names("far0").contains("tx"),
            "a veth interface leaves checksums to others: {}",
            names("far0")
        );
        Offloads::switch_off("far0").unwrap();
        assert_eq!(Offloads::of("far0").unwrap().remedy(), None);
        left.send_without_checksum(&wrapped(Wrap::Plain, &open_datagram()), 34, 6);
        forward_all(&mut driver, 1);
        assert!(udp4_verifies(&right.receive().expect("it is forwarded"), 14));
        let _: Station = left;
    });
}
