//! Triangular spamming: a spammer sends with a customer's address by another line, and the mail server's answers come
//! to the customer's (Qian et al., "Investigation of Triangular Spamming", 2010).

use std::net::IpAddr;

use sekisho_tests::lab::Lab;
use sekisho_tests::lab::address::{CARRIER, DYNAMIC, OWN, STATIC, WORLD};
use sekisho_tests::lab::configuration::Configuration;
use sekisho_tests::lab::frame::{Segment, Side, tcp};

#[test]
fn answers_from_port_25_outside_reach_no_customer_who_could_not_have_asked() {
    let lab = Lab::new();
    let sekisho = lab.start(&Configuration::phase_2());
    let mut stations = lab.stations();
    for n in 0..2 {
        let answer = |from: IpAddr, port, to: IpAddr, what| {
            tcp(Side::World, (from, port).into(), (to, 40_000).into(), what, b"")
        };
        let sent = [
            answer(WORLD[n], 25, DYNAMIC[n], Segment::SynAck),
            answer(WORLD[n], 25, DYNAMIC[n], Segment::Ack),
            answer(CARRIER[n], 25, DYNAMIC[n], Segment::SynAck),
            // Who may ask gets the answer.
            answer(OWN[n], 25, DYNAMIC[n], Segment::SynAck),
            answer(WORLD[n], 25, STATIC[n], Segment::SynAck),
            answer(WORLD[n], 587, DYNAMIC[n], Segment::SynAck),
            // A customer's own mail server is no matter of outbound port 25.
            tcp(Side::World, (WORLD[n], 40_000).into(), (DYNAMIC[n], 25).into(), Segment::Syn, b""),
        ];
        assert_eq!(stations.inbound(&sent), [false, false, false, true, true, true, true]);
        // Nobody is told: neither the server, nor the customer.
        assert!(stations.outbound(&[]).is_empty());
    }
    assert!(stations.answers().is_empty());
    let counters = sekisho.end();
    assert_eq!(counters.done("port25-mirror", "drop"), 6, "{counters}");
    assert_eq!(counters.reason("return-allowed"), 4, "{counters}");
    assert_eq!(counters.reason("inbound-mail"), 2, "{counters}");
}
