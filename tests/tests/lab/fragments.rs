//! Packets in pieces.

use std::net::IpAddr;

use sekisho_tests::lab::Lab;
use sekisho_tests::lab::address::{DYNAMIC, WORLD};
use sekisho_tests::lab::configuration::Configuration;
use sekisho_tests::lab::frame::{Segment, Side, fragments, tcp};

#[test]
fn pings_too_large_for_a_frame_pass_both_ways() {
    let lab = Lab::new();
    let sekisho = lab.start(&Configuration::phase_2());
    for n in 0..2 {
        for (from, to) in [(&lab.subscriber, WORLD[n]), (&lab.internet, DYNAMIC[n])] {
            let said = from.run("ping", ["-c", "3", "-i", "0.1", "-W", "20", "-s", "3000", &to.to_string()]);
            assert!(said.contains("3 received"), "{said}");
        }
    }
    let counters = sekisho.end();
    // 3 pings of 3 pieces each way, there and back, for both versions: two thirds are later ones.
    assert_eq!(counters.reason("fragment-follow"), 48, "{counters}");
    assert_eq!(counters.total("denied_packets"), 0, "{counters}");
}

#[test]
fn no_piece_of_mail_to_port_25_gets_through_however_it_is_cut() {
    let lab = Lab::new();
    let sekisho = lab.start(&Configuration::phase_2());
    let mut stations = lab.stations();
    for n in 0..2 {
        let segment = |to: IpAddr, port| {
            tcp(Side::Customer, (DYNAMIC[n], 40_000).into(), (to, port).into(), Segment::Syn, &[0x2e; 600])
        };
        // Behind the TCP header: the first tells the ports, and the second has its fate.
        assert_eq!(stations.outbound(&fragments(&segment(WORLD[n], 587), 24, 1)), [true, true]);
        assert_eq!(stations.outbound(&fragments(&segment(WORLD[n], 25), 24, 2)), [false, false]);
        // Inside it: whatever the port, no honest host does that (RFC 1858, RFC 7112).
        assert_eq!(stations.outbound(&fragments(&segment(WORLD[n], 587), 8, 3)), [false, false]);
        assert_eq!(stations.outbound(&fragments(&segment(WORLD[n], 25), 8, 4)), [false, false]);
        // The second first: it passes, tells nothing, and never becomes whole.
        let [first, second] = fragments(&segment(WORLD[n], 25), 24, 5);
        assert_eq!(stations.outbound(&[second, first]), [true, false]);
    }
    let answers = stations.answers();
    assert_eq!(answers.len(), 4, "first pieces with a SYN are answered, once each: {answers:02x?}");
    let counters = sekisho.end();
    assert_eq!(counters.reason("port25-egress"), 4, "{counters}");
    assert_eq!(counters.reason("fragment-orphan"), 2, "{counters}");
    assert!(counters.reason("tiny-fragment") >= 4, "{counters}");
}
