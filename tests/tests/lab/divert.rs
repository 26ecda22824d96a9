//! `divert`: port 25 goes through an SMTP filter beside the checkpoint.

use std::net::IpAddr;

use sekisho_tests::lab::Lab;
use sekisho_tests::lab::address::{DYNAMIC, STATIC, WORLD};
use sekisho_tests::lab::configuration::Configuration;
use sekisho_tests::lab::filter::{CHECKED, CHECKED_V6, CHECKS_FROM, CHECKS_FROM_V6};
use sekisho_tests::lab::frame::{Segment, Side, fragments, tcp};
use sekisho_tests::lab::mail::{Handed, Letter};
use sekisho_tests::lab::sniffer::Way;

fn letter<'a>(from: IpAddr, server: IpAddr, subject: &'a str) -> Letter<'a> {
    Letter { from, server, port: 25, with_password: false, domain: "elsewhere.example", subject }
}

#[test]
fn mail_that_is_diverted_goes_through_a_postfix_and_arrives() {
    let lab = Lab::new();
    let world = lab.world_mail_server();
    let filter = lab.filter();
    let postfix = filter.start_postfix(&lab);
    let sekisho = lab.start(&Configuration::phase_2().divert(""));
    for (customer, server) in DYNAMIC.into_iter().zip(WORLD) {
        let subject = format!("filtered, from {customer}");
        assert_eq!(lab.hand_over(&letter(customer, server, &subject)), Handed::Over);
        let mail = world.await_mail(&subject);
        assert!(mail.contains("by mail.filter.example"), "{mail}");
        let client = format!("client=unknown[{customer}]");
        postfix.await_logged(&[&client]);
    }
    // Who may send by himself does so without it.
    assert_eq!(lab.hand_over(&letter(STATIC[0], WORLD[0], "on its own")), Handed::Over);
    assert!(!world.await_mail("on its own").contains("filter.example"));
    let counters = sekisho.end();
    assert!(counters.done("port25-egress", "divert") > 12, "{counters}");
    assert_eq!(counters.port("filter", "denied_packets"), 0, "{counters}");
    assert!(counters.port("filter", "forwarded_packets") > 12, "{counters}");
    assert_eq!(counters.lost(), 0, "{counters}");
}

#[test]
fn what_the_filters_script_sets_is_confined_to_its_interface_and_taken_back() {
    let lab = Lab::new();
    let world = lab.world_mail_server();
    let filter = lab.filter();
    // A host that is strict everywhere.
    let devices = ["all", "default", "up0", "flt0"];
    devices.iter().for_each(|device| filter.set_reverse_path(device, "1"));
    let before = filter.settings();
    let _postfix = filter.start_postfix(&lab);
    assert_eq!(devices.map(|device| filter.reverse_path(device)), ["1", "1", "1", "2"]);
    let sekisho = lab.start(&Configuration::phase_2().divert(""));
    for (customer, server) in DYNAMIC.into_iter().zip(WORLD) {
        let subject = format!("past a strict host, from {customer}");
        assert_eq!(lab.hand_over(&letter(customer, server, &subject)), Handed::Over);
        world.await_mail(&subject);
    }
    sekisho.end();
    filter.undo();
    assert_eq!(filter.settings(), before);
    filter.undo();
    assert_eq!(filter.settings(), before, "there is nothing more to undo");
}

#[test]
fn both_directions_and_every_fragment_pass_the_filter_unchanged_and_leave_by_the_right_port() {
    let lab = Lab::new();
    let filter = lab.filter();
    filter.give_back(&lab);
    let sekisho = lab.start(&Configuration::phase_2().divert(""));
    let at_filter = lab.sniff(&filter.namespace, "flt0", Way::In);
    let at = |port| {
        let (namespace, device) = lab.far_end(port);
        (lab.sniff(namespace, device, Way::In), namespace.sender(device))
    };
    let ((at_customer, mut customer), (at_world, mut world)) = (at("access"), at("core"));
    for n in 0..2 {
        let (here, there) = ((DYNAMIC[n], 40_000).into(), (WORLD[n], 25).into());
        let out = tcp(Side::Customer, here, there, Segment::Syn, &[0x2e; 600]);
        let back = tcp(Side::World, there, here, Segment::Ack, &[0x2f; 600]);
        let sent = [vec![out.clone()], fragments(&out, 24, 7).to_vec()].concat();
        let answered = [vec![back.clone()], fragments(&back, 24, 8).to_vec()].concat();
        sent.iter().for_each(|frame| customer.send(frame));
        for frame in &sent {
            at_filter.await_frame("it came to the filter", 0, |other| other == frame);
            at_world.await_frame("it came out to the world", 0, |other| other == frame);
        }
        answered.iter().for_each(|frame| world.send(frame));
        for frame in &answered {
            at_filter.await_frame("the answer came to the filter", 0, |other| other == frame);
            at_customer.await_frame("the answer came to the customer", 0, |other| other == frame);
        }
    }
    let counters = sekisho.end();
    let diverted: u64 = ["port25-egress", "port25-mirror", "fragment-follow"]
        .map(|reason| counters.done(reason, "divert"))
        .iter()
        .sum();
    assert_eq!(diverted, 12, "{counters}");
    // What the filter's kernel says of itself comes on top, such as reports of multicast listeners.
    assert!(counters.port("filter", "received_packets") >= 12, "{counters}");
}

fn health(check: &str, address: &str) -> String {
    let source = if address == CHECKED_V6 { CHECKS_FROM_V6 } else { CHECKS_FROM };
    let source = if check == "tcp" { format!(", source = \"{source}\"") } else { String::new() };
    let pace = "interval = \"500ms\", fail-after = 2";
    format!("health = {{ check = \"{check}\", address = \"{address}\", {pace}{source} }}")
}

#[test]
fn a_filter_that_dies_is_noticed_and_customers_are_refused_until_it_is_back() {
    for (check, address) in [("arp", CHECKED), ("nd", CHECKED_V6), ("tcp", CHECKED), ("tcp", CHECKED_V6)] {
        let lab = Lab::new();
        let world = lab.world_mail_server();
        let filter = lab.filter();
        filter.start_postfix(&lab);
        let mut sekisho = lab.start(&Configuration::phase_2().divert(&health(check, address)));
        sekisho.await_status("an answer", |status| status["ports"][4]["health"]["answers"] != 0);
        assert_eq!(lab.hand_over(&letter(DYNAMIC[0], WORLD[0], "before")), Handed::Over);
        world.await_mail("before");

        filter.die();
        sekisho.await_printed("port filter is down: the filter does not answer");
        assert_eq!(lab.hand_over(&letter(DYNAMIC[0], WORLD[0], "meanwhile")), Handed::Refused);

        filter.revive();
        sekisho.await_printed("port filter is up");
        assert_eq!(lab.hand_over(&letter(DYNAMIC[0], WORLD[0], "after")), Handed::Over);
        world.await_mail("after");
        assert!(!world.has_mail("meanwhile"));
        let counters = sekisho.end();
        assert_eq!(counters.done("port25-egress", "reject"), 1, "{counters}");
    }
}

#[test]
fn a_filter_in_a_vlan_is_checked_there_and_who_is_outside_does_not_answer_for_it() {
    for (check, address) in [("arp", CHECKED), ("nd", CHECKED_V6)] {
        let lab = Lab::new();
        let filter = lab.filter();
        // The same address outside of the VLAN.
        filter.namespace.ip(&format!("address add {CHECKED}/30 dev flt0"));
        let mut host = filter.in_vlan(&lab, 25);
        let keys = health(check, address).replace("interval", "vlan = 25, interval");
        let mut sekisho = lab.begin(&Configuration::phase_2().divert(&keys));
        sekisho.await_printed("port filter is down: the filter does not answer");
        host.answer_next();
        sekisho.await_printed("port filter is up");
        // Two answers in one round count once.
        let answers = || sekisho.ask("status").expect("it goes on")["ports"][4]["health"]["answers"].as_u64();
        while answers() < Some(4) {
            host.answer_next();
        }
        sekisho.await_printed("port filter is down: the filter does not answer");
        sekisho.end();
    }
}

#[test]
fn a_check_by_tcp_over_ipv6_goes_on_while_the_filter_forgets_our_address() {
    let lab = Lab::new();
    let filter = lab.filter();
    let _postfix = filter.start_postfix(&lab);
    let sekisho = lab.start(&Configuration::phase_2().divert(&health("tcp", CHECKED_V6)));
    sekisho.await_status("twenty answers", |status| {
        status["ports"][4]["health"]["answers"].as_u64() >= Some(20)
    });
    let health = sekisho.ask("status").expect("it goes on")["ports"][4]["health"].clone();
    let (checks, answers) = (health["checks"].as_u64().unwrap(), health["answers"].as_u64().unwrap());
    assert!(health["up"] == true && checks - answers <= 2, "{health}");
    sekisho.end();
}
