//! Pools from the kernel's tables: one announcement of a route reflector reaches two appliances.

use std::net::SocketAddr;

use sekisho_tests::lab::address::{DYNAMIC, WORLD};
use sekisho_tests::lab::bird::{Bird, configuration};
use sekisho_tests::lab::configuration::Configuration;
use sekisho_tests::lab::daemon::Daemon;
use sekisho_tests::lab::namespace::ip;
use sekisho_tests::lab::tcp::{Outcome, outcome};
use sekisho_tests::lab::{Lab, await_that};

/// Dynamic customers are those that a kernel table lists; all others are exempt.
fn from_table(list: &'static str) -> Configuration {
    let pools = "[[pool]]\nname = \"others\"\npolicy = \"static\"\nprefixes = [\"203.0.113.0/24\", \"2001:db8:d000::/40\"]\n";
    Configuration { dynamic: list, pools, ..Configuration::phase_2() }
}

const LIST: &str = "{ kernel-table = 2525, allow-empty = true, hold = \"20s\" }";

fn mail(lab: &Lab, version: usize) -> Outcome {
    outcome(&lab.subscriber, DYNAMIC[version], SocketAddr::new(WORLD[version], 25))
}

fn await_mail(lab: &Lab, outcome: Outcome) {
    for version in [0, 1] {
        await_that(&format!("port 25 is {outcome:?}"), || mail(lab, version) == outcome);
    }
}

/// A cable between an appliance and the reflector.
fn connect(appliance: &Lab, reflector: &Lab, number: usize) {
    let (here, there) = (appliance.checkpoint.name(), reflector.servers.name());
    ip(&format!("link add bgp netns {here} type veth peer name bgp{number} netns {there}"));
    appliance.checkpoint.ip(&format!("address add 10.25.{number}.2/24 dev bgp\nlink set bgp up"));
    reflector
        .servers
        .ip(&format!("address add 10.25.{number}.1/24 dev bgp{number}\nlink set bgp{number} up"));
}

fn start_bird(appliance: &Lab, number: usize) -> Bird<'_> {
    let [router, reflector] = [format!("10.25.{number}.2"), format!("10.25.{number}.1")];
    let text = configuration(
        "pools.conf",
        &[
            ("router id 192.0.2.10;", &format!("router id {router};")),
            ("define REFLECTOR = 192.0.2.1;", &format!("define REFLECTOR = {reflector};")),
        ],
    );
    Bird::start(&appliance.checkpoint, &appliance.folder, "pools", &text)
}

#[test]
fn an_announcement_with_a_community_blocks_port_25_on_two_appliances_until_it_is_withdrawn() {
    let (first, second) = (Lab::new(), Lab::new());
    let labs = [&first, &second];
    let echoes = labs.map(|lab| lab.internet.echo(&[25]));
    let mut daemons = labs.map(|lab| lab.start(&from_table(LIST)));
    labs.iter().for_each(|lab| await_mail(lab, Outcome::Talks));

    labs.iter().enumerate().for_each(|(number, lab)| connect(lab, &first, number));
    let neighbours = "define OWN_AS = 64500;";
    let range =
        configuration("reflector.conf", &[("neighbor range 192.0.2.0/24", "neighbor range 10.25.0.0/16")]);
    assert!(range.contains(neighbours));
    let reflector = Bird::start(&first.servers, &first.folder, "reflector", &range);
    let birds = [start_bird(&first, 0), start_bird(&second, 1)];
    for (daemon, lab) in daemons.iter_mut().zip(labs) {
        daemon.await_printed("kernel table 2525: generation");
        daemon.await_status("both are in force", |status| status["kernel"]["tables"][0]["in_force"] == 2);
        for version in [0, 1] {
            assert_eq!(mail(lab, version), Outcome::Refused);
        }
        let status = daemon.ask("status").unwrap();
        let table = &status["kernel"]["tables"][0];
        assert_eq!((&table["table"], &table["in_force"]), (&2525.into(), &2.into()), "{status:#}");
        assert_eq!(status["generations"][0]["by"], "kernel-table", "{status:#}");
        let history = daemon.command(&["rollback", "--list"]).stdout;
        assert!(history.contains("kernel table 2525") && history.contains("203.0.113.0/26"), "{history}");
    }

    // One prefix is left, so that its loss is the loss of all.
    reflector.command("disable pools6");
    daemons[0].await_status("one is left", |status| status["kernel"]["tables"][0]["in_force"] == 1);
    // A restart of BIRD opens nothing: what it takes out of the table before it has heard the reflector is held.
    birds[0].restart(|| assert_eq!(mail(&first, 0), Outcome::Refused));
    let mut tries = 0;
    await_that("BIRD has the routes again", || {
        assert_eq!(mail(&first, 0), Outcome::Refused, "after {tries} tries");
        tries += 1;
        let shown = birds[0].command("show protocols reflector1");
        let routes = first.checkpoint.run("ip", ["route", "show", "table", "2525"]);
        shown.contains("Established") && routes.contains("203.0.113.0/26")
    });

    for protocol in ["pools4", "pools6"] {
        reflector.command(&format!("disable {protocol}"));
    }
    labs.iter().for_each(|lab| await_mail(lab, Outcome::Talks));
    for daemon in &mut daemons {
        daemon.await_printed("kernel table 2525 lost");
        daemon.await_printed("that it lost are no longer in force");
    }
    drop(echoes);
    for daemon in daemons {
        let counters = daemon.end();
        assert!(counters.done("port25-egress", "reject") > 0, "{counters}");
    }
}

fn state(daemon: &Daemon<'_>) -> (u64, u64, u64) {
    let status = daemon.ask("status").unwrap();
    let number = |what: &str| status["kernel"]["tables"][0][what].as_u64().unwrap();
    (number("prefixes"), number("in_force"), number("held"))
}

#[test]
fn an_emptied_table_stays_in_force_until_somebody_says_that_it_is_meant() {
    let lab = Lab::new();
    let _echo = lab.internet.echo(&[25]);
    lab.checkpoint.ip("route add blackhole 203.0.113.0/26 table 2525");
    // What stands there already is read before the first packet is judged, by `check` as well.
    let mut daemon = lab.start(&from_table("{ kernel-table = 2525 }"));
    assert_eq!(mail(&lab, 0), Outcome::Refused);
    assert_eq!(daemon.ask("status").unwrap()["generation"], 1);
    let config = lab.file("sekisho.toml");
    let checked = lab.sekisho(["check", "-c", config.to_str().unwrap()]);
    assert!(checked.stdout.contains("from kernel table 2525, as it is now"), "{checked:?}");

    lab.checkpoint.ip("route flush table 2525");
    daemon
        .await_printed("kernel table 2525 has no routes any more; its 1 prefix stays in force until it has");
    assert_eq!((state(&daemon), mail(&lab, 0)), ((0, 1, 1), Outcome::Refused));
    lab.checkpoint
        .ip("route add blackhole 203.0.113.0/26 table 2525\nroute add blackhole 203.0.113.64/26 table 2525");
    daemon.await_status("it is back, with one more", |status| {
        let table = &status["kernel"]["tables"][0];
        (table["in_force"].as_u64(), table["held"].as_u64()) == (Some(2), Some(0))
    });

    lab.checkpoint.ip("route flush table 2525");
    daemon.await_printed("its 2 prefixes stay in force");
    assert_eq!(mail(&lab, 0), Outcome::Refused);
    let reloaded = daemon.command(&["reload"]);
    assert_eq!((reloaded.code, mail(&lab, 0)), (Some(0), Outcome::Refused), "a plain reload changes nothing");
    let reloaded = daemon.command(&["reload", "--allow-empty"]);
    assert_eq!((reloaded.code, mail(&lab, 0)), (Some(0), Outcome::Talks), "{reloaded:?}");

    // A rollback takes back what was configured, not what the table says.
    lab.checkpoint.ip("route add blackhole 203.0.113.0/26 table 2525");
    daemon.await_printed("+1 prefix: 203.0.113.0/26");
    assert_eq!(mail(&lab, 0), Outcome::Refused);
    let before = daemon.ask("status").unwrap()["generations"][1]["generation"].to_string();
    let rolled_back = daemon.command(&["rollback", &before]);
    assert_eq!(rolled_back.code, Some(0), "{rolled_back:?}");
    daemon
        .await_status("the table is in force again", |status| status["kernel"]["tables"][0]["in_force"] == 1);
    assert_eq!(mail(&lab, 0), Outcome::Refused);
    daemon.end();
}
