//! A wrong configuration under real traffic: it comes back by itself, and mail notices for as long as it was said.

use std::fs;
use std::net::IpAddr;

use sekisho_tests::lab::Lab;
use sekisho_tests::lab::address::{DYNAMIC, OWN, WORLD};
use sekisho_tests::lab::configuration::Configuration;
use sekisho_tests::lab::daemon::argument;
use sekisho_tests::lab::frame::Side;
use sekisho_tests::lab::mail::{Handed, Letter};
use sekisho_tests::lab::traffic::{Arrivals, Flow};

/// One letter on port 25, and one on 587 with a password: what becomes of the first. The second always arrives.
fn mail(lab: &Lab, (server, domain): (IpAddr, &str), subject: &str) -> Handed {
    let submitted = Letter { from: DYNAMIC[0], server, port: 587, with_password: true, domain, subject };
    assert_eq!(lab.hand_over(&submitted), Handed::Over, "587 is open, {subject}");
    lab.hand_over(&Letter { port: 25, with_password: false, ..submitted })
}

#[test]
fn a_wrong_reload_comes_back_by_itself_and_mail_goes_on_as_before() {
    let lab = Lab::new();
    let (own, world) = (lab.own_mail_server(), lab.world_mail_server());
    let mut sekisho = lab.start(&Configuration::phase_1());
    let flows = [
        Flow::tcp(Side::Customer, (DYNAMIC[1], 40_000), (WORLD[1], 587)),
        Flow::udp(Side::World, (WORLD[1], 53), (DYNAMIC[1], 5_000)),
        Flow::tcp(Side::Customer, (DYNAMIC[1], 40_000), (WORLD[1], 25)),
    ];
    let traffic = lab.traffic(&flows);
    assert_eq!(mail(&lab, (WORLD[0], world.domain), "before"), Handed::Over);
    assert_eq!(mail(&lab, (OWN[0], own.domain), "before, to us"), Handed::Over);

    // Everybody is blocked years too early, and the provider's own server is forgotten.
    let wrong = lab.file("wrong.toml");
    let forgotten = Configuration { allow: "[]", ..Configuration::phase_2() };
    fs::write(&wrong, forgotten.to_toml()).expect("the lab's folder is writable");
    let reloaded = sekisho.ask(&format!("reload --confirm 6s {}", argument(&wrong))).expect("it is accepted");
    assert_eq!((&reloaded["generation"], &reloaded["confirmation"]["previous"]), (&2.into(), &1.into()));
    assert_eq!(mail(&lab, (WORLD[0], world.domain), "while it was wrong"), Handed::Refused);
    assert_eq!(
        lab.hand_over(&Letter {
            from: DYNAMIC[0],
            server: OWN[0],
            port: 25,
            with_password: false,
            domain: own.domain,
            subject: "never"
        }),
        Handed::Refused
    );
    let refused = sekisho.ask("reload").expect_err("another has to wait");
    assert!(refused.contains("generation 2 awaits confirmation"), "{refused}");

    sekisho.await_printed("rolled back from generation 2: generation 3 is in force");
    assert_eq!(mail(&lab, (WORLD[0], world.domain), "after"), Handed::Over);
    assert_eq!(mail(&lab, (OWN[0], own.domain), "after, to us"), Handed::Over);
    traffic.await_next(&flows[2]);
    let status = sekisho.ask("status").expect("it answers");
    assert_eq!((&status["generation"], &status["generations"][0]["by"]), (&3.into(), &"timer".into()));

    let [submission, other, port_25] = &traffic.end()[..] else { unreachable!() };
    let shown = |flow: &Arrivals| format!("{} of {} lost", flow.lost(), flow.sent());
    println!("587: {}; dns: {}; 25: {}", shown(submission), shown(other), shown(port_25));
    // It was blocked once, and was open before and after.
    assert!(port_25.changes() >= 2 && port_25.lost() > 100, "{}", shown(port_25));
    assert!(port_25.count() > 100, "{}", shown(port_25));
    for flow in [submission, other] {
        assert!(flow.lost() * 50 < flow.sent(), "others notice nothing: {}", shown(flow));
    }
    for subject in ["before", "while it was wrong", "after"] {
        world.await_mail(subject);
    }
    assert!(!own.has_mail("never"));
    let counters = sekisho.end();
    assert!(counters.done("port25-egress", "reject") >= 2, "{counters}");
}

#[test]
fn a_confirmed_reload_stays() {
    let lab = Lab::new();
    let world = lab.world_mail_server();
    let sekisho = lab.start(&Configuration::phase_1());
    let next = lab.file("next.toml");
    fs::write(&next, Configuration::phase_2().to_toml()).expect("the lab's folder is writable");
    sekisho.ask(&format!("reload --confirm 3s {}", argument(&next))).expect("it is accepted");
    assert_eq!(sekisho.command(&["confirm"]).code, Some(0));
    // Longer than the time for the confirmation.
    std::thread::sleep(std::time::Duration::from_millis(3_500));
    assert_eq!(mail(&lab, (WORLD[0], world.domain), "confirmed"), Handed::Refused);
    assert_eq!(sekisho.command(&["rollback"]).code, Some(0));
    assert_eq!(mail(&lab, (WORLD[0], world.domain), "taken back"), Handed::Over);
    sekisho.end();
}
