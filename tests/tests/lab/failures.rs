//! What goes wrong around a checkpoint that was meant to be forgotten.

use std::fs;
use std::time::Duration;

use sekisho_tests::lab::address::{DYNAMIC, STATIC, WORLD};
use sekisho_tests::lab::configuration::{Configuration, Phase, in_future};
use sekisho_tests::lab::frame::{Segment, Side, tcp};
use sekisho_tests::lab::traffic::Flow;
use sekisho_tests::lab::{Lab, await_that};

fn flows() -> [Flow; 3] {
    [
        Flow::udp(Side::Customer, (DYNAMIC[0], 5_000), (WORLD[0], 53)),
        Flow::tcp(Side::Customer, (DYNAMIC[1], 40_000), (WORLD[1], 587)),
        Flow::udp(Side::World, (WORLD[0], 53), (STATIC[0], 5_000)),
    ]
}

#[test]
fn killed_without_warning_it_comes_up_again_and_only_what_came_meanwhile_is_lost() {
    let lab = Lab::new();
    let configuration = Configuration::phase_2();
    let mut sekisho = lab.start(&configuration);
    let traffic = lab.traffic(&flows());
    for _ in 0..3 {
        flows().iter().for_each(|flow| traffic.await_next(flow));

        let second = lab.refused(&configuration);
        assert_eq!(second.code, Some(1), "one is running already: {second:?}");
        let (pid, socket) = (sekisho.pid(), lab.file("control.sock"));
        assert_eq!(sekisho.ask("status").expect("it was not disturbed")["pid"], pid);

        sekisho.kill();
        assert!(socket.exists(), "nobody was there to remove it");
        sekisho = lab.start(&configuration);
        let status = sekisho.ask("status").expect("the socket is the new one's");
        assert!(status["pid"] != pid && status["generation"] == 1, "{status}");
    }
    flows().iter().for_each(|flow| traffic.await_next(flow));
    for arrivals in traffic.end() {
        assert!(
            arrivals.count() > 0 && arrivals.changes() <= 6,
            "{} changes, {arrivals:?}",
            arrivals.changes()
        );
    }
    sekisho.end();
}

#[test]
fn a_phase_that_has_begun_is_in_force_after_a_crash_even_if_the_clock_was_set_back() {
    let lab = Lab::new();
    let at = in_future(Duration::from_millis(500));
    let phase = |at: &str| Configuration::new([Phase::everyone(at)]).action("drop");
    let sekisho = lab.start(&phase(&at));
    let remembered = lab.file("state/phases.json");
    await_that("it is written down", || {
        fs::read_to_string(&remembered).is_ok_and(|text| text.contains("all-operators"))
    });
    sekisho.kill();

    // The host's clock is not ours to set. A day on which everything happens a hundred years later is the same.
    let later = "2126-01-01T00:00:00Z";
    let text = fs::read_to_string(&remembered).expect("it was there");
    let begun: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    let from = begun["begun"][0]["from"].as_str().expect("an instant");
    fs::write(&remembered, text.replace(from, later)).expect("it can be written");

    let sekisho = lab.start(&phase(later));
    let mut stations = lab.stations();
    let mail = tcp(Side::Customer, (DYNAMIC[0], 40_000).into(), (WORLD[0], 25).into(), Segment::Syn, b"");
    assert!(!stations.passes(Side::Customer, mail.clone()));
    sekisho.kill();

    fs::remove_file(&remembered).expect("it is there");
    let sekisho = lab.start(&phase(later));
    assert!(stations.passes(Side::Customer, mail), "without that memory it is to come");
    sekisho.end();
}

#[test]
fn a_link_that_goes_down_is_told_and_waited_for() {
    let lab = Lab::new();
    let mut sekisho = lab.start(&Configuration::phase_2());
    let traffic = lab.traffic(&flows());
    flows().iter().for_each(|flow| traffic.await_next(flow));
    for (namespace, device, why) in
        [(&lab.internet, "inet0", "no carrier"), (&lab.checkpoint, "core", "the interface is switched off")]
    {
        namespace.ip(&format!("link set {device} down"));
        sekisho.await_printed(&format!("port core is down: {why}"));
        assert_eq!(sekisho.ask("status").expect("it goes on")["ports"][1]["up"], false);
        namespace.ip(&format!("link set {device} up"));
        sekisho.await_printed("port core is up");
        flows().iter().for_each(|flow| traffic.await_next(flow));
    }
    traffic.end();
    let counters = sekisho.end();
    assert!(counters.driver("core", "transmit_down") > 0, "{counters}");
}

#[test]
fn an_interface_that_is_removed_and_made_again_is_picked_up() {
    let lab = Lab::new();
    let mut sekisho = lab.start(&Configuration::phase_2());
    let pid = sekisho.pid();
    for _ in 0..2 {
        lab.cut("access");
        sekisho.await_printed("port access is down: the interface is not there");
        let status = sekisho.ask("status").expect("it goes on");
        assert_eq!((&status["ports"][0]["up"], &status["ports"][2]["up"]), (&false.into(), &true.into()));

        lab.cable("access");
        lab.address_subscriber();
        sekisho.await_printed("port access is up");
        let traffic = lab.traffic(&flows());
        flows().iter().for_each(|flow| traffic.await_next(flow));
        for arrivals in traffic.end() {
            assert_eq!(arrivals.lost(), 0, "{arrivals:?}");
        }
    }
    assert_eq!(sekisho.ask("status").expect("it goes on")["pid"], pid);
    sekisho.end();
}

#[test]
fn interfaces_that_are_all_removed_and_made_again_are_picked_up() {
    let lab = Lab::new();
    let sekisho = lab.start(&Configuration::phase_2());
    const PORTS: [&str; 4] = ["access", "core", "mail", "mail-up"];
    for _ in 0..2 {
        PORTS.iter().for_each(|port| lab.cut(port));
        let all = |up: bool| {
            sekisho.await_status("all are so", |status| {
                (0..PORTS.len()).all(|port| status["ports"][port]["up"] == up)
            });
        };
        all(false);
        PORTS.iter().for_each(|port| lab.cable(port));
        all(true);
        let mut stations = lab.stations();
        let ends = ((DYNAMIC[0], 40_000).into(), (WORLD[0], 587).into());
        assert!(stations.passes(Side::Customer, tcp(Side::Customer, ends.0, ends.1, Segment::Syn, b"")));
    }
    sekisho.end();
}

#[test]
fn an_interface_that_is_removed_under_traffic_takes_only_its_own_port_down() {
    let lab = Lab::new();
    let mut sekisho = lab.start(&Configuration::phase_2());
    let traffic = lab.traffic(&flows());
    flows().iter().for_each(|flow| traffic.await_next(flow));
    // The servers' cable, and the customers' traffic goes on.
    lab.cut("mail");
    sekisho.await_printed("port mail is down: the interface is not there");
    lab.cable("mail");
    sekisho.await_printed("port mail is up");
    flows().iter().for_each(|flow| traffic.await_next(flow));
    for arrivals in traffic.end() {
        assert_eq!(arrivals.lost(), 0, "{arrivals:?}");
    }
    sekisho.end();
}
