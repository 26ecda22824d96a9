//! Phases: what is blocked from when on.

use std::net::SocketAddr;
use std::time::Duration;

use sekisho_tests::lab::address::{CARRIER, DYNAMIC, OWN, WORLD};
use sekisho_tests::lab::configuration::{Configuration, PAST, Phase, in_future};
use sekisho_tests::lab::mail::{Handed, Letter};
use sekisho_tests::lab::tcp::{Outcome, outcome};
use sekisho_tests::lab::{Lab, await_that};

#[test]
fn phase_1_blocks_mail_to_carriers_and_phase_2_to_everyone() {
    let lab = Lab::new();
    let (own, world) = (lab.own_mail_server(), lab.world_mail_server());
    let sekisho = lab.start(&Configuration::phase_1());
    let hand_over = |n: usize, server, domain, subject: &str| {
        lab.hand_over(&Letter { from: DYNAMIC[n], server, port: 25, with_password: false, domain, subject })
    };
    for n in 0..2 {
        let subject = format!("in phase 1, to {}", WORLD[n]);
        assert_eq!(hand_over(n, CARRIER[n], world.domain, "never"), Handed::Refused);
        assert_eq!(hand_over(n, WORLD[n], world.domain, &subject), Handed::Over);
        world.await_mail(&subject);
    }

    let planned = sekisho.ask("reload --dry-run").expect("what is in force can be read again");
    assert_eq!(planned["generation"], 1, "a dry run changes nothing: {planned}");
    assert_eq!(sekisho.reload(&Configuration::phase_2()).as_ref(), Ok(&2));
    for n in 0..2 {
        assert_eq!(hand_over(n, CARRIER[n], world.domain, "never"), Handed::Refused);
        assert_eq!(hand_over(n, WORLD[n], world.domain, "never"), Handed::Refused);
        let subject = format!("in phase 2, to {}", OWN[n]);
        assert_eq!(hand_over(n, OWN[n], own.domain, &subject), Handed::Over);
        own.await_mail(&subject);
    }
    assert!(!world.has_mail("never"));
    sekisho.end();
}

#[test]
fn a_phase_begins_by_the_clock_without_a_reload() {
    let lab = Lab::new();
    let _servers = lab.internet.echo(&[25]);
    let to = |n: usize| outcome(&lab.subscriber, DYNAMIC[n], SocketAddr::new(WORLD[n], 25));
    let mut sekisho = lab.start(&Configuration::new([Phase::everyone("2100-01-01T00:00:00Z")]));
    assert_eq!([to(0), to(1)], [Outcome::Talks; 2]);

    let from = in_future(Duration::from_secs(3));
    assert_eq!(sekisho.reload(&Configuration::new([Phase::everyone(&from)])).as_ref(), Ok(&2));
    let has_begun = || sekisho.ask("phases").expect("sekisho answers")["phases"][0]["begun"] == true;
    let before = to(0);
    assert!(before == Outcome::Talks || has_begun(), "{from} is to come");
    await_that("the phase has begun", has_begun);
    assert_eq!([to(0), to(1)], [Outcome::Refused; 2]);
    sekisho.await_printed("phase all-operators of policy dynamic has begun");
    assert_eq!(sekisho.ask("status").expect("sekisho answers")["generation"], 2);
    sekisho.end();
}

#[test]
fn a_configuration_that_is_refused_changes_nothing() {
    let lab = Lab::new();
    let _servers = lab.internet.echo(&[25]);
    let to = |server| outcome(&lab.subscriber, DYNAMIC[0], SocketAddr::new(server, 25));
    let sekisho = lab.start(&Configuration::phase_1());

    let unknown = Phase { block: r#"["mobile-carrier"]"#, ..Phase::carriers(PAST) };
    let refusal = sekisho.reload(&Configuration::new([unknown])).expect_err("there is no such set");
    assert!(refusal.contains("mobile-carriers") && refusal.contains("sekisho.toml"), "{refusal}");
    let other_poll = Configuration { poll: "interrupt", ..Configuration::phase_2() };
    let refusal = sekisho.reload(&other_poll).expect_err("that needs a restart");
    assert!(refusal.contains("poll: adaptive → interrupt"), "{refusal}");

    let status = sekisho.ask("status").expect("sekisho answers");
    assert_eq!((&status["generation"], &status["reloads_refused"]), (&1.into(), &2.into()), "{status}");
    assert_eq!([to(CARRIER[0]), to(WORLD[0])], [Outcome::Refused, Outcome::Talks]);
    sekisho.end();
}
