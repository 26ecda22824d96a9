//! What customers' packets are wrapped in: VLAN tags, tags in tags, PPPoE sessions.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::thread;

use sekisho_tests::lab::Lab;
use sekisho_tests::lab::address::{DYNAMIC, STATIC, WORLD};
use sekisho_tests::lab::configuration::Configuration;
use sekisho_tests::lab::frame::{NUMBER, SERVICE_TAG, Segment, Side, TAG, Wrap, other, tcp, udp};
use sekisho_tests::lab::sniffer::Way;
use sekisho_tests::lab::tcp::{Outcome, connected, outcome};

/// Customers with such a line are blocked and served as others are, with frames of full size.
fn is_judged(lab: &Lab, wrap: &Wrap, mtu: usize) {
    let sekisho = lab.start(&Configuration::phase_2());
    let line = lab.line(wrap, mtu);
    let _servers = lab.internet.echo(&[25, 587]);
    let arrived = lab.sniff(&lab.internet, "inet0", Way::In);
    for (customer, host) in line.customer.into_iter().zip(line.host) {
        let to = |port| outcome(&lab.subscriber, customer, SocketAddr::new(host, port));
        assert_eq!(to(25), Outcome::Refused, "the RST finds its way back in {wrap:?}");
        assert_eq!(to(587), Outcome::Talks);

        let stream =
            connected(&lab.subscriber, Some(customer), SocketAddr::new(host, 587)).expect("it talks");
        let sent: Vec<u8> = (0..200_000_u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
        let mut received = vec![0; sent.len()];
        thread::scope(|scope| {
            scope.spawn(|| (&stream).write_all(&sent).expect("it talks"));
            (&stream).read_exact(&mut received).expect("it talks");
        });
        assert!(received == sent);
    }
    drop(line);
    let counters = sekisho.end();
    assert_eq!(counters.done("port25-egress", "reject"), 2, "{counters}");
    assert_eq!(counters.lost(), 0, "{counters}");
    let frames = arrived.end();
    let packets: Vec<usize> =
        frames.iter().filter_map(|frame| Some(wrap.inside(frame)?.len() - 14)).collect();
    assert!(packets.len() > 280 && packets.iter().max() == Some(&mtu), "wrapped, and as large as may be");
}

#[test]
fn connections_in_a_vlan_pass_and_are_judged() {
    is_judged(&Lab::new(), &Wrap::tags([(TAG, 100)]), 1_500);
}

#[test]
fn connections_in_a_vlan_of_a_service_pass_and_are_judged() {
    let lab = Lab::new();
    // Room for the second tag, for the first there always is; who wraps sends by a socket that allows for none.
    lab.checkpoint.ip("link set access mtu 1504\nlink set core mtu 1504");
    lab.subscriber.ip("link set sub0 mtu 1508");
    lab.internet.ip("link set inet0 mtu 1508");
    is_judged(&lab, &Wrap::tags([(SERVICE_TAG, 200), (TAG, 300)]), 1_500);
}

#[test]
fn connections_in_a_pppoe_session_pass_and_are_judged() {
    is_judged(&Lab::new(), &Wrap::session(77), 1_492);
}

#[test]
fn wrapped_frames_arrive_as_they_were_sent_or_not_at_all() {
    let lab = Lab::new();
    let sekisho = lab.start(&Configuration::phase_2());
    let mut stations = lab.stations();
    let wraps = [
        Wrap::default(),
        Wrap::tags([(TAG, 100)]),
        // With a priority; and without a number.
        Wrap::tags([(TAG, 0xe064)]),
        Wrap::tags([(TAG, 0x6000)]),
        Wrap::tags([(SERVICE_TAG, 200), (TAG, 300)]),
        Wrap::session(77),
        Wrap { session: Some(78), ..Wrap::tags([(SERVICE_TAG, 200), (TAG, 300)]) },
    ];
    for n in 0..2 {
        let connection = |source: IpAddr, port| {
            tcp(Side::Customer, (source, 40_000).into(), (WORLD[n], port).into(), Segment::Syn, b"")
        };
        let datagram = udp(Side::Customer, (DYNAMIC[n], 5_000).into(), (WORLD[n], 53).into(), &[7; 200]);
        let refused = Segment::Reset { acknowledges: NUMBER + 1 };
        let answer = tcp(Side::World, (WORLD[n], 25).into(), (DYNAMIC[n], 40_000).into(), refused, b"");
        for wrap in &wraps {
            let wrapped = |frame: &[u8]| wrap.around(frame).expect("IP can be wrapped");
            let sent = [
                wrapped(&datagram),
                wrapped(&connection(DYNAMIC[n], 587)),
                wrapped(&connection(DYNAMIC[n], 25)),
                wrapped(&connection(STATIC[n], 25)),
            ];
            assert_eq!(stations.outbound(&sent), [true, true, false, true], "{wrap:?}");
            let answers = stations.answers();
            let [answered] = &answers[..] else { panic!("{wrap:?}: {answers:02x?}") };
            let inside =
                wrap.inside(answered).unwrap_or_else(|| panic!("{wrap:?} not around {answered:02x?}"));
            same_but_for_choices(&inside, &answer);
        }
    }

    // PPPoE's own messages: discovery, and LCP in a session.
    let discovery = other(Side::Customer, 0x8863, &[0x11, 0x09, 0, 0, 0, 4, 1, 1, 0, 0]);
    let lcp = other(Side::Customer, 0x8864, &[0x11, 0, 0, 77, 0, 10, 0xc0, 0x21, 9, 1, 0, 8, 1, 2, 3, 4]);
    assert_eq!(stations.outbound(&[discovery, lcp]), [true, true]);

    let counters = sekisho.end();
    assert_eq!(counters.done("port25-egress", "reject"), 2 * wraps.len() as u64, "{counters}");
    assert_eq!(counters.lost(), 0, "{counters}");
}

/// An answer is as it has to be, but for what Sekisho may choose: hop limit, identification, window, the checksums over
/// them, and padding.
#[track_caller]
fn same_but_for_choices(answer: &[u8], wanted: &[u8]) {
    let choices = |frame: &[u8]| {
        let mut frame = frame.to_vec();
        // IPv4: identification and flags, hops, checksum; IPv6: flow label, hops.
        let (tcp, ip) = match frame[12..14] == [0x08, 0x00] {
            true => (34, [18..21, 22..23, 24..26]),
            false => (54, [15..18, 21..22, 0..0]),
        };
        for range in ip.into_iter().chain(std::iter::once(tcp + 14..tcp + 18)) {
            frame[range].fill(0);
        }
        frame
    };
    let (frame, padding) = answer.split_at(wanted.len());
    assert!(choices(frame) == choices(wanted), "{frame:02x?} and not {wanted:02x?}");
    assert!(padding.iter().all(|byte| *byte == 0), "{padding:02x?}");
}
