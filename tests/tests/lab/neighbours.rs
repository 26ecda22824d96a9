//! What hosts say before and beside all connections: ARP, neighbour discovery, DHCP, pings.

use std::net::SocketAddr;

use sekisho_tests::lab::Lab;
use sekisho_tests::lab::address::{DYNAMIC, ROUTER, WORLD};
use sekisho_tests::lab::configuration::Configuration;
use sekisho_tests::lab::frame::{Side, broadcast, other, udp};

#[test]
fn hosts_find_each_other_with_arp_and_neighbour_discovery_and_pings_pass_both_ways() {
    let lab = Lab::new();
    let sekisho = lab.start(&Configuration::phase_2());
    lab.subscriber.ip("neighbour flush dev sub0");
    for n in 0..2 {
        for (from, to) in
            [(&lab.subscriber, ROUTER[n]), (&lab.subscriber, WORLD[n]), (&lab.internet, DYNAMIC[n])]
        {
            let said = from.run("ping", ["-c", "3", "-i", "0.1", "-W", "20", &to.to_string()]);
            assert!(said.contains("3 received"), "{said}");
        }
    }
    let neighbours = lab.subscriber.run("ip", ["neighbour", "show", "dev", "sub0"]);
    for router in ROUTER {
        let line = neighbours.lines().find(|line| line.starts_with(&format!("{router} ")));
        assert!(line.is_some_and(|line| line.contains("lladdr")), "{router}: {neighbours}");
    }
    let counters = sekisho.end();
    assert!(counters.reason("not-ip") >= 2, "ARP: {counters}");
    assert_eq!(counters.total("denied_packets"), 0, "{counters}");
}

#[test]
fn what_hosts_without_an_address_say_passes_and_what_pretends_to_be_that_does_not() {
    let lab = Lab::new();
    let sekisho = lab.start(&Configuration::phase_2());
    let mut stations = lab.stations();
    let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
    let discover = udp(Side::Customer, at("0.0.0.0:68"), at("255.255.255.255:67"), &[1; 300]);
    let odd = udp(Side::Customer, at("0.0.0.0:68"), at("255.255.255.255:53"), &[1; 300]);
    let solicit = udp(Side::Customer, at("[fe80::10]:546"), at("[ff02::1:2]:547"), &[1; 60]);
    // Who has 203.0.113.1? Tell 203.0.113.10.
    let question = [
        &[0, 1, 8, 0, 6, 4, 0, 1][..],
        &[2, 0, 0, 0, 0, 0xc0, 203, 0, 113, 10],
        &[0, 0, 0, 0, 0, 0, 203, 0, 113, 1],
    ]
    .concat();
    let question = broadcast(other(Side::Customer, 0x0806, &question));
    let lldp = other(Side::Customer, 0x88cc, &[2, 7, 4, 2, 0, 0, 0, 0, 0xc0, 0, 0]);
    let sent = [broadcast(discover), broadcast(odd), solicit, question, lldp];
    assert_eq!(stations.outbound(&sent), [true, false, true, true, true]);

    let offer = udp(Side::World, at("203.0.113.1:67"), at("255.255.255.255:68"), &[2; 300]);
    assert_eq!(stations.inbound(&[broadcast(offer)]), [true]);
    let counters = sekisho.end();
    assert_eq!(counters.done("bogon-source", "drop"), 1, "{counters}");
    assert_eq!(counters.total("denied_packets"), 1, "{counters}");
}
