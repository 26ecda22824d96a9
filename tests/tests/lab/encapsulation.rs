//! What customers' frames are wrapped in: VLAN tags, tags in tags, PPPoE sessions.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};

use sekisho_tests::lab::Lab;
use sekisho_tests::lab::address::{DYNAMIC, STATIC, WORLD};
use sekisho_tests::lab::configuration::Configuration;
use sekisho_tests::lab::frame::{NUMBER, Segment, Side, in_session, other, tagged, tcp, udp};
use sekisho_tests::lab::tcp::{Outcome, connected, outcome};

const C_TAG: u16 = 0x8100;
const S_TAG: u16 = 0x88a8;

/// A customer, and a host outside, in one VLAN.
struct Wrapped {
    customer: [IpAddr; 2],
    host: [IpAddr; 2],
    /// The interface in it at either end.
    device: &'static str,
}

fn addresses(first: &str, second: &str) -> [IpAddr; 2] {
    [first, second].map(|text| text.parse().expect("an address"))
}

/// Gives both ends of the cable an interface in VLAN 100.
fn vlan(lab: &Lab) -> Wrapped {
    for (end, base, host) in [(&lab.subscriber, "sub0", 66), (&lab.internet, "inet0", 65)] {
        end.ip(&format!(
            "link add link {base} name v100 type vlan id 100
             address add 203.0.113.{host}/27 dev v100
             address add 2001:db8:d001::{host}/64 dev v100
             link set v100 up"
        ));
    }
    Wrapped {
        customer: addresses("203.0.113.66", "2001:db8:d001::66"),
        host: addresses("203.0.113.65", "2001:db8:d001::65"),
        device: "v100",
    }
}

/// Gives both ends of the cable an interface in VLAN 300 of service 200.
fn vlan_in_service(lab: &Lab) -> Wrapped {
    // Room for the second tag; for the first there always is.
    for (end, device) in [
        (&lab.subscriber, "sub0"),
        (&lab.checkpoint, "access"),
        (&lab.checkpoint, "core"),
        (&lab.internet, "inet0"),
    ] {
        end.ip(&format!("link set {device} mtu 1504"));
    }
    for (end, base, host) in [(&lab.subscriber, "sub0", 98), (&lab.internet, "inet0", 97)] {
        end.ip(&format!(
            "link add link {base} name s200 type vlan proto 802.1ad id 200
             link add link s200 name c300 type vlan id 300
             link set s200 mtu 1500
             link set c300 mtu 1500
             address add 203.0.113.{host}/27 dev c300
             address add 2001:db8:d002::{host}/64 dev c300
             link set s200 up
             link set c300 up"
        ));
    }
    Wrapped {
        customer: addresses("203.0.113.98", "2001:db8:d002::98"),
        host: addresses("203.0.113.97", "2001:db8:d002::97"),
        device: "c300",
    }
}

/// Customers in a VLAN are blocked and served as others are, with frames of full size.
fn is_judged(lab: &Lab, wrapped: &Wrapped) {
    let _servers = lab.internet.echo(&[25, 587]);
    let sekisho = lab.start(&Configuration::phase_2());
    for (customer, host) in wrapped.customer.into_iter().zip(wrapped.host) {
        let to = |port| outcome(&lab.subscriber, customer, SocketAddr::new(host, port));
        assert_eq!(to(25), Outcome::Refused, "the RST found its way back into {}", wrapped.device);
        assert_eq!(to(587), Outcome::Talks);

        let stream = connected(&lab.subscriber, Some(customer), SocketAddr::new(host, 587)).expect("it talks");
        let sent: Vec<u8> = (0..300_000_u32).map(|n| (n * n >> 7) as u8).collect();
        let mut received = vec![0; sent.len()];
        std::thread::scope(|scope| {
            scope.spawn(|| (&stream).write_all(&sent).expect("it talks"));
            (&stream).read_exact(&mut received).expect("it talks");
        });
        assert!(received == sent);
    }
    let counters = sekisho.end();
    assert_eq!(counters.done("port25-egress", "reject"), 2, "{counters}");
    assert_eq!(counters.lost(), 0, "{counters}");
}

#[test]
fn connections_in_a_vlan_pass_and_are_judged() {
    let lab = Lab::new();
    let wrapped = vlan(&lab);
    is_judged(&lab, &wrapped);
}

#[test]
fn connections_in_a_vlan_of_a_service_pass_and_are_judged() {
    let lab = Lab::new();
    let wrapped = vlan_in_service(&lab);
    is_judged(&lab, &wrapped);
}

#[test]
fn tagged_frames_and_pppoe_sessions_arrive_as_they_were_sent_or_not_at_all() {
    let lab = Lab::new();
    let sekisho = lab.start(&Configuration::phase_2());
    let mut stations = lab.stations();
    let mut rejects = 0;
    for n in 0..2 {
        let connection = |source: IpAddr, port| {
            tcp(Side::Customer, (source, 40_000).into(), (WORLD[n], port).into(), Segment::Syn, b"")
        };
        let datagram = udp(Side::Customer, (DYNAMIC[n], 5_000).into(), (WORLD[n], 53).into(), &[7; 200]);
        type Wrap = fn(Vec<u8>) -> Vec<u8>;
        let wraps: [(&str, Wrap); 6] = [
            ("plain", |frame| frame),
            ("a tag", |frame| tagged(frame, &[(C_TAG, 100)])),
            ("a tag with a priority", |frame| tagged(frame, &[(C_TAG, 0xe064)])),
            ("two tags", |frame| tagged(frame, &[(S_TAG, 200), (C_TAG, 300)])),
            ("a session", |frame| in_session(frame, 77)),
            ("a session in a VLAN", |frame| tagged(in_session(frame, 78), &[(C_TAG, 100)])),
        ];
        for (what, wrap) in wraps {
            let sent = [
                wrap(datagram.clone()),
                wrap(connection(DYNAMIC[n], 587)),
                wrap(connection(DYNAMIC[n], 25)),
                wrap(connection(STATIC[n], 25)),
            ];
            assert_eq!(stations.outbound(&sent), [true, true, false, true], "{what}");
            rejects += 1;

            let mut answers = stations.answers();
            let answer = answers.pop().unwrap_or_else(|| panic!("{what}: no answer"));
            assert!(answers.is_empty(), "{what}: {answers:02x?}");
            let answered = tcp(
                Side::World,
                (WORLD[n], 25).into(),
                (DYNAMIC[n], 40_000).into(),
                Segment::Reset { acknowledges: NUMBER + 1 },
                b"",
            );
            same_but_for_choices(&answer, &wrap(answered), what);
        }
    }

    // PPPoE's own messages: discovery, and LCP in a session.
    let discovery = other(Side::Customer, 0x8863, &[0x11, 0x09, 0, 0, 0, 4, 1, 1, 0, 0]);
    let lcp = other(Side::Customer, 0x8864, &[0x11, 0, 0, 77, 0, 10, 0xc0, 0x21, 9, 1, 0, 8, 1, 2, 3, 4]);
    assert_eq!(stations.outbound(&[discovery, lcp]), [true, true]);

    let counters = sekisho.end();
    assert_eq!(counters.done("port25-egress", "reject"), rejects, "{counters}");
    assert_eq!(counters.lost(), 0, "{counters}");
}

/// An answer is as it has to be, but for what Sekisho may choose: hop limit, identification, flow label and window, and
/// the checksums over them; those are tcpdump's matter.
#[track_caller]
fn same_but_for_choices(answer: &[u8], wanted: &[u8], what: &str) {
    assert_eq!(answer.len(), wanted.len(), "{what}: {answer:02x?} and not {wanted:02x?}");
    let masked = |frame: &[u8]| {
        let mut frame = frame.to_vec();
        let length = frame.len();
        let tcp = length - 20;
        frame[tcp + 14..tcp + 18].fill(0);
        match frame[tcp - 20] == 0x45 {
            true => {
                frame[tcp - 16..tcp - 13].fill(0);
                frame[tcp - 12] = 0;
                frame[tcp - 10..tcp - 8].fill(0);
            }
            false => {
                frame[tcp - 39..tcp - 36].fill(0);
                frame[tcp - 33] = 0;
            }
        }
        frame
    };
    assert_eq!(masked(answer), masked(wanted), "{what}");
}
