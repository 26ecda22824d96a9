//! `reject`: who is denied hears it at once, from a bridge that has no address of its own.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use sekisho_tests::lab::Lab;
use sekisho_tests::lab::address::{CARRIER, DYNAMIC, WORLD};
use sekisho_tests::lab::configuration::{Configuration, driver};
use sekisho_tests::lab::frame::{SERVICE_TAG, Segment, Side, TAG, Wrap, tcp};
use sekisho_tests::lab::mail::{Handed, Letter};
use sekisho_tests::lab::tcp::{Outcome, outcome};

/// A host sends its SYN again after a second: who has heard before that has not waited for a timeout.
const AT_ONCE: Duration = Duration::from_secs(1);

fn letter(from: IpAddr, server: IpAddr) -> Letter<'static> {
    let (domain, subject) = ("elsewhere.example", "never");
    Letter { from, server, port: 25, with_password: false, domain, subject }
}

/// A customer hears at once, over a connection and over swaks, and needs no second SYN for it.
fn hears_at_once(lab: &Lab, answer: &'static str, customers: [IpAddr; 2], servers: [IpAddr; 2]) {
    let (connection, mail) = match answer {
        "rst" => (Outcome::Refused, Handed::Refused),
        _ => (Outcome::Prohibited, Handed::Prohibited),
    };
    let sekisho = lab.start(&Configuration::phase_2().reject_with(answer));
    for (customer, server) in customers.into_iter().zip(servers) {
        let begun = Instant::now();
        assert_eq!(outcome(&lab.subscriber, customer, SocketAddr::new(server, 25)), connection);
        assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
        assert_eq!(lab.hand_over(&letter(customer, server)), mail, "{customer}");
    }
    let counters = sekisho.end();
    assert_eq!(counters.done("port25-egress", "reject"), 4, "one SYN each: {counters}");
    assert_eq!(counters.reason("port25-egress"), 4, "{counters}");
    assert_eq!(counters.lost(), 0, "{counters}");
}

#[test]
fn a_rst_or_an_icmp_error_ends_a_mail_programs_attempt_at_once() {
    for answer in ["rst", "icmp"] {
        hears_at_once(&Lab::new(), answer, DYNAMIC, WORLD);
    }
}

#[test]
fn they_find_their_way_back_through_a_vlan() {
    for answer in ["rst", "icmp"] {
        let lab = Lab::new();
        let line = lab.line(&Wrap::tags([(TAG, 100)]), 1_500);
        hears_at_once(&lab, answer, line.customer, line.host);
    }
}

#[test]
fn they_find_their_way_back_through_two_tags() {
    for answer in ["rst", "icmp"] {
        let lab = Lab::new();
        let line = lab.line(&Wrap::tags([(SERVICE_TAG, 200), (TAG, 300)]), 1_480);
        hears_at_once(&lab, answer, line.customer, line.host);
    }
}

#[test]
fn they_find_their_way_back_through_a_pppoe_session() {
    for answer in ["rst", "icmp"] {
        let lab = Lab::new();
        let line = lab.line(&Wrap::session(77), 1_492);
        hears_at_once(&lab, answer, line.customer, line.host);
    }
}

#[test]
fn over_the_budget_there_is_silence_whichever_worker_the_customer_comes_to() {
    let lab = Lab::new();
    // Frames are spread by their addresses: one customer comes to either worker, by the servers that it asks.
    let few = Configuration { reject_burst: 5, reject_interval: "1h", ..Configuration::phase_2() };
    let sekisho = lab.start(&Configuration { cores: vec![0, 1], ..few });
    let mut customer = lab.subscriber.sender("sub0");
    let servers = (1..60).map(|last| IpAddr::from([192, 0, 2, 64 + last]));
    for server in servers {
        let (from, to) = ((DYNAMIC[0], 40_000).into(), (server, 25).into());
        customer.send(&tcp(Side::Customer, from, to, Segment::Syn, b""));
    }
    sekisho.await_counters("all have come", |counters| counters.reason("port25-egress") >= 59);
    assert_eq!(lab.hand_over(&letter(DYNAMIC[0], CARRIER[0])), Handed::Silent);
    assert_eq!(lab.hand_over(&letter(DYNAMIC[1], CARRIER[1])), Handed::Refused, "another has its own budget");
    let shares = sekisho.ask("counters --workers").expect("it goes on");
    let counters = sekisho.end();
    let rejected = counters.done("port25-egress", "reject");
    assert_eq!(rejected, 6, "five of one customer, one of another: {counters}");
    assert_eq!(counters.total("rejects_suppressed"), counters.done("port25-egress", "drop"), "{counters}");
    assert!(counters.total("rejects_suppressed") >= 54, "{counters}");
    let seen = shares["workers"].as_array().expect("workers are listed").iter().filter(|worker| {
        let ports = worker["ports"].as_array().expect("ports are listed");
        ports.iter().any(|port| port["reasons"].get("port25-egress").is_some())
    });
    // A veth pair has one queue to receive by, and a queue belongs to one worker with driver `xdp`.
    let judges = if driver() == "xdp" { 1 } else { 2 };
    assert_eq!(seen.count(), judges, "so many workers judged some of it: {shares}");
}

#[test]
fn a_customers_own_postfix_keeps_the_mail_and_says_why() {
    for (answer, why) in [("rst", "Connection refused"), ("icmp", "No route to host")] {
        let lab = Lab::new();
        let postfix = lab.customers_mail_server();
        let sekisho = lab.start(&Configuration::phase_2().reject_with(answer));
        let mail = Letter { port: 587, with_password: true, ..letter(DYNAMIC[0], DYNAMIC[0]) };
        assert_eq!(lab.hand_over(&mail), Handed::Over, "to the customer's own server");
        postfix.await_logged(&["status=deferred", &format!("connect to {}", WORLD[0]), why]);
        let queue = postfix.queue(&lab.subscriber);
        assert!(queue.contains(why) && queue.contains("someone@elsewhere.example"), "{queue}");
        let counters = sekisho.end();
        assert!(counters.done("port25-egress", "reject") >= 1, "{counters}");
    }
}
