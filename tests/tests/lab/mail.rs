//! Mail, as customers notice Outbound Port 25 Blocking.

use std::net::IpAddr;

use sekisho_tests::lab::address::{CARRIER, DYNAMIC, OWN, STATIC, WORLD};
use sekisho_tests::lab::configuration::Configuration;
use sekisho_tests::lab::mail::{Handed, Letter, USER};
use sekisho_tests::lab::{Lab, await_that};

fn letter<'a>(from: IpAddr, server: IpAddr, domain: &'a str, subject: &'a str) -> Letter<'a> {
    Letter { from, server, port: 25, with_password: false, domain, subject }
}

#[test]
fn mail_to_a_server_elsewhere_is_refused_on_port_25_and_arrives_on_587_with_a_password() {
    let lab = Lab::new();
    let world = lab.world_mail_server();
    let sekisho = lab.start(&Configuration::phase_2());
    for (customer, server) in DYNAMIC.into_iter().zip(WORLD) {
        let subject = format!("from {customer}");
        let direct = letter(customer, server, world.domain, &subject);
        assert_eq!(lab.hand_over(&direct), Handed::Refused);

        let submitted = Letter { port: 587, ..direct };
        assert_eq!(lab.hand_over(&submitted), Handed::Declined, "it is the server that wants a password");
        assert!(!world.has_mail(&subject));
        assert_eq!(lab.hand_over(&Letter { with_password: true, ..submitted }), Handed::Over);
        let mail = world.await_mail(&subject);
        assert!(mail.contains(&customer.to_string()), "the server sees who it came from: {mail}");
    }
    let counters = sekisho.end();
    assert_eq!(counters.done("port25-egress", "reject"), 2, "{counters}");
    assert!(counters.reason("submission") > 20, "{counters}");
}

#[test]
fn a_denied_connection_is_left_without_an_answer_where_the_policy_says_drop() {
    let lab = Lab::new();
    let world = lab.world_mail_server();
    let sekisho = lab.start(&Configuration::phase_2().action("drop"));
    let direct = letter(DYNAMIC[0], WORLD[0], world.domain, "never");
    assert_eq!(lab.hand_over(&direct), Handed::Silent);
    let counters = sekisho.end();
    assert!(counters.done("port25-egress", "drop") > 1, "the customer's host tries again: {counters}");
    assert_eq!(counters.done("port25-egress", "reject"), 0, "{counters}");
}

#[test]
fn who_is_monitored_sends_as_before_and_is_counted() {
    let lab = Lab::new();
    let world = lab.world_mail_server();
    let sekisho = lab.start(&Configuration::phase_2().action("monitor"));
    let direct = letter(DYNAMIC[0], WORLD[0], world.domain, "monitored");
    assert_eq!(lab.hand_over(&direct), Handed::Over);
    world.await_mail("monitored");
    let counters = sekisho.end();
    assert_eq!(counters.total("denied_packets"), 0, "{counters}");
    assert!(
        counters.would_deny("port25-egress") > 5 && counters.would_deny("port25-mirror") > 5,
        "{counters}"
    );
}

#[test]
fn the_providers_own_server_takes_mail_on_port_25_and_hands_it_on() {
    let lab = Lab::new();
    let (own, world) = (lab.own_mail_server(), lab.world_mail_server());
    let sekisho = lab.start(&Configuration::phase_2());
    for (customer, server) in DYNAMIC.into_iter().zip(OWN) {
        let subject = format!("to a neighbour, from {customer}");
        assert_eq!(lab.hand_over(&letter(customer, server, own.domain, &subject)), Handed::Over);
        own.await_mail(&subject);

        // What the server sends itself is nobody's port 25 that is blocked.
        let subject = format!("to the world, from {customer}");
        let submitted =
            Letter { port: 587, with_password: true, ..letter(customer, server, world.domain, &subject) };
        assert_eq!(lab.hand_over(&submitted), Handed::Over);
        world.await_mail(&subject);
    }
    let counters = sekisho.end();
    assert_eq!(counters.total("denied_packets"), 0, "{counters}");
    assert!(counters.reason("allowed-destination") > 10, "{counters}");
    assert!(counters.reason("server-origin") > 10, "{counters}");
}

#[test]
fn a_static_customers_mail_passes_on_port_25() {
    let lab = Lab::new();
    let world = lab.world_mail_server();
    let sekisho = lab.start(&Configuration::phase_2());
    for n in 0..2 {
        for (what, server) in [("another provider", WORLD[n]), ("a carrier", CARRIER[n])] {
            let subject = format!("to {what}, from {}", STATIC[n]);
            assert_eq!(lab.hand_over(&letter(STATIC[n], server, world.domain, &subject)), Handed::Over);
            world.await_mail(&subject);
            assert_eq!(lab.hand_over(&letter(DYNAMIC[n], server, world.domain, "never")), Handed::Refused);
        }
    }
    assert!(!world.has_mail("never"));
    let counters = sekisho.end();
    assert!(counters.reason("exempt-pool") > 20, "{counters}");
    assert_eq!(counters.reason("port25-egress"), 4, "{counters}");
    assert_eq!(counters.reason("port25-mirror"), 0, "{counters}");
}

#[test]
fn a_server_that_authorises_by_address_relays_for_who_has_just_fetched_mail_over_pop3() {
    let lab = Lab::new();
    let (own, world) = (lab.own_mail_server(), lab.world_mail_server());
    let sekisho = lab.start(&Configuration::phase_2());
    for (customer, server) in DYNAMIC.into_iter().zip(OWN) {
        let subject = format!("after POP, from {customer}");
        let mail = letter(customer, server, world.domain, &subject);
        assert_eq!(lab.hand_over(&mail), Handed::Declined, "who is that?");

        let fetched = lab.fetch_mail(customer, server);
        assert_eq!(fetched.code, Some(0), "{USER} fetches mail: {fetched:?}");
        assert!(
            own.authorised().lines().any(|line| line == format!("{customer} OK")),
            "{}",
            own.authorised()
        );
        assert_eq!(lab.hand_over(&mail), Handed::Over);
        world.await_mail(&subject);
    }
    // Another address was not used to fetch mail.
    assert_eq!(lab.hand_over(&letter(STATIC[0], OWN[0], world.domain, "never")), Handed::Declined);
    sekisho.end();
}

#[test]
fn the_checkpoint_opens_the_own_servers_port_25_to_who_has_just_fetched_mail() {
    let lab = Lab::new();
    let own = lab.own_mail_server();
    own.grant_at_login(&lab);
    let closed = Configuration { allow: "[]", ..Configuration::phase_2() };
    let sekisho = lab.start(&closed);
    for (customer, server) in DYNAMIC.into_iter().zip(OWN) {
        let hand_over = |subject: &str| lab.hand_over(&letter(customer, server, own.domain, subject));
        assert_eq!(hand_over("never"), Handed::Refused, "nobody has fetched mail yet");

        let fetched = lab.fetch_mail(customer, server);
        assert_eq!(fetched.code, Some(0), "{USER} fetches mail: {fetched:?}");
        let granted = sekisho.ask("grants").expect("sekisho answers");
        let [grant] = &granted["grants"].as_array().expect("a list")[..] else { panic!("{granted}") };
        assert_eq!(
            (&grant["address"], &grant["reason"]),
            (&customer.to_string().into(), &format!("pop3:{USER}").into())
        );
        let subject = format!("after POP at the checkpoint, from {customer}");
        assert_eq!(hand_over(&subject), Handed::Over);
        own.await_mail(&subject);

        let revoked = sekisho.command(&["revoke", &customer.to_string()]);
        assert_eq!(revoked.code, Some(0), "{revoked:?}");
        assert_eq!(hand_over("never"), Handed::Refused, "the grant was taken back");

        let address = customer.to_string();
        let short = ["grant", address.as_str(), "--for", "1s", "--reason", "short"];
        assert_eq!(sekisho.command(&short).code, Some(0));
        let is_over = || {
            sekisho.ask("grants").expect("sekisho answers")["grants"].as_array().is_some_and(Vec::is_empty)
        };
        await_that("the grant is over", is_over);
        assert_eq!(hand_over("never"), Handed::Refused, "the grant is over");
    }
    assert!(!own.has_mail("never"));
    let counters = sekisho.end();
    assert!(counters.reason("exempt-grant") > 10, "{counters}");
}
