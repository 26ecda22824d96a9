//! A router's ports and the kernel of its host, which forwards too: what a port receives is the workers' alone.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};

use sekisho_tests::lab::frame::{self, Segment, Side};
use sekisho_tests::lab::router::{Forwarder, RouterLab};
use sekisho_tests::lab::tcp::{Outcome, outcome};
use sekisho_tests::lab::{await_some, await_that};

const CUSTOMER: [&str; 2] = ["203.0.113.10", "2001:db8:d000::10"];
const WORLD: [&str; 2] = ["198.51.100.80", "3fff:b::80"];
/// The device that is there from now on: whoever knows its MAC has the kernel's ear.
const DEVICE: [u8; 6] = [2, 0, 0, 0, 0x66, 1];

fn mail() -> [Vec<u8>; 2] {
    let at = |host: &str, port| SocketAddr::new(host.parse().expect("an address"), port);
    [0, 1].map(|n| {
        let mut frame =
            frame::tcp(Side::Customer, at(CUSTOMER[n], 40_000), at(WORLD[n], 25), Segment::Syn, b"");
        frame[..6].copy_from_slice(&DEVICE);
        frame
    })
}

/// What the router's kernel has forwarded since it was made, of both versions of IP.
fn forwarded_by_the_kernel(lab: &RouterLab) -> [u64; 2] {
    let v4 = lab.router.run("cat", ["/proc/net/snmp"]);
    let mut lines = v4.lines().filter(|line| line.starts_with("Ip: ")).map(str::split_whitespace);
    let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
    let v4 = names.zip(values).find(|(name, _)| *name == "ForwDatagrams").map(|(_, value)| value);
    let v6 = lab.router.run("cat", ["/proc/net/snmp6"]);
    let v6 = v6.lines().find_map(|line| line.strip_prefix("Ip6OutForwDatagrams"));
    [v4, v6].map(|value| value.and_then(|value| value.trim().parse().ok()).expect("a number"))
}

/// Packets to port 25 that have come to the world.
fn arrived(lab: &RouterLab) -> u64 {
    let told = lab.world.run("nft", ["-j", "list", "table", "inet", "mail"]);
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    let rules = told["nftables"].as_array().expect("a list").iter().filter_map(|entry| entry.get("rule"));
    let counted = rules.filter_map(|rule| {
        rule["expr"].as_array()?.iter().find_map(|part| part["counter"]["packets"].as_u64())
    });
    counted.sum()
}

fn lab(name: &str) -> RouterLab {
    let lab = RouterLab::new(name, Forwarder::Sekisho);
    lab.world.ip("route add default via 192.0.2.1\nroute add default via 2001:db8:a::1");
    lab.router.ip("route add 198.51.100.0/24 via 192.0.2.2\nroute add 3fff:b::/32 via 2001:db8:a::2");
    for rule in [
        "add table inet mail",
        "add chain inet mail in { type filter hook prerouting priority -300; }",
        "add rule inet mail in tcp dport 25 counter",
    ] {
        lab.world.run("nft", [rule]);
    }
    WORLD.iter().for_each(|address| lab.await_reached(address));
    lab
}

/// What becomes of the cable that was there.
#[derive(Clone, Copy, Debug)]
enum Former {
    Removed,
    Renamed,
}

/// The customer's cable is another one, and port 25 is asked for on it from its first moment on.
fn lay_again(lab: &RouterLab, end: Former) {
    let stop = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        match end {
            Former::Removed => lab.router.ip("link del access"),
            Former::Renamed => {
                lab.customer.ip("link set cust0 down\nlink set cust0 name oldc0");
                lab.router.ip("link set access down\nlink set access name old0");
            }
        }
        lab.router.ip(&format!("link add new0 type veth peer name cust0 netns {}", lab.customer.name()));
        let mut sender = lab.customer.sender("cust0");
        scope.spawn(move || {
            let mail = mail();
            while !stop.load(Ordering::Relaxed) {
                mail.iter().for_each(|frame| sender.send_if_up(frame));
            }
        });
        lab.customer.without_offloads("cust0");
        lab.customer.ip("link set cust0 up");
        lab.router.without_offloads("new0");
        lab.router
            .ip("link set new0 address 02:00:00:00:66:01\nlink set new0 name access\nlink set access up");
        await_that("the port is up again", || lab.port_is_up("access"));
        stop.store(true, Ordering::Relaxed);
    });
    lab.address_customer();
}

#[test]
fn what_comes_by_a_device_that_was_made_again_or_renamed_is_judged_from_its_first_frame_on() {
    let lab = lab("again");
    let _echo = lab.world.echo(&[25, 587]);
    let before = forwarded_by_the_kernel(&lab);
    for take_away in [Former::Removed, Former::Renamed, Former::Removed] {
        lay_again(&lab, take_away);
        WORLD.iter().for_each(|address| lab.await_reached(address));
        assert_eq!(forwarded_by_the_kernel(&lab), before, "{take_away:?}");
        assert_eq!(arrived(&lab), 0, "{take_away:?}");
        let filter = lab.router.run("tc", ["filter", "show", "dev", "access", "ingress"]);
        assert!(filter.contains("pref 2525"), "{filter}");
        for (from, to) in CUSTOMER.iter().zip(WORLD) {
            let from: IpAddr = from.parse().unwrap();
            let to = |port| SocketAddr::new(to.parse().unwrap(), port);
            assert_eq!(outcome(&lab.customer, from, to(587)), Outcome::Talks);
            // Refused, or in silence: what was sent before has used up the answers.
            assert_ne!(outcome(&lab.customer, from, to(25)), Outcome::Talks);
        }
    }
}

#[test]
fn a_filter_that_somebody_takes_off_comes_back_and_all_is_as_before_when_the_daemon_has_ended() {
    let mut lab = lab("taken");
    let filter = |lab: &RouterLab| lab.router.run("tc", ["filter", "show", "dev", "access", "ingress"]);
    let rules = |lab: &RouterLab| {
        ["-4", "-6"].map(|v| lab.router.run("ip", [v, "rule"]).matches("iif access").count())
    };
    assert_eq!(rules(&lab), [1, 1]);
    // Who starts another one by mistake takes nothing away.
    let text = std::fs::read_to_string(lab.file("sekisho.toml")).expect("it was written");
    let other = lab.file("other.toml");
    lab.router.ip("link add spare0 type veth peer name spare1\nlink set spare0 up");
    let text = text.replace("control.sock", "other.sock").replace("\"state\"", "\"other\"");
    let spare = "[[port]]\nname = \"spare\"\nrole = \"internet\"\ndriver = \"packet\"\ndevice = \"spare0\"\n";
    std::fs::write(&other, format!("{text}\n{spare}")).expect("the lab's folder is writable");
    let started = lab.router.output(
        sekisho_tests::binary::sekisho().to_str().expect("a plain path"),
        ["run", "-c", other.to_str().expect("a plain path")],
    );
    let said = String::from_utf8_lossy(&started.stderr).into_owned();
    assert!(started.status.code() == Some(1) && said.contains("can't make sk-access"), "{said}");
    assert!(filter(&lab).contains("pref 2525") && rules(&lab) == [1, 1]);
    // And at a device that nobody had, it leaves nothing.
    let spare = lab.router.run("tc", ["filter", "show", "dev", "spare0", "ingress"]);
    assert!(!spare.contains("pref 2525"), "{spare}");
    assert!(["-4", "-6"].iter().all(|v| !lab.router.run("ip", [*v, "rule"]).contains("iif spare0")));

    lab.router.run("tc", ["qdisc", "del", "dev", "access", "clsact"]);
    for v in ["-4", "-6"] {
        lab.router.run("ip", [v, "rule", "del", "pref", "25", "iif", "access"]);
    }
    await_that("it is back", || filter(&lab).contains("pref 2525") && rules(&lab) == [1, 1]);
    lab.end();
    let left = await_some("the daemon has taken it back", || {
        let (filter, rules) = (filter(&lab), rules(&lab));
        (rules == [0, 0]).then_some(filter)
    });
    assert!(!left.contains("pref 2525"), "{left}");
}
