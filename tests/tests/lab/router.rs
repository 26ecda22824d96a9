//! Route mode with real neighbours: BIRD on both sides, links that flap, and the kernel's answers to the same questions.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use sekisho_tests::lab::bird::{Bird, configuration};
use sekisho_tests::lab::router::{Forwarder, RouterLab};
use sekisho_tests::lab::tcp::{Outcome, outcome};
use sekisho_tests::lab::{await_some, await_that};

const WORLD: [&str; 2] = ["198.51.100.80", "3fff:b::80"];
const ROUTER: [&str; 2] = ["203.0.113.1", "2001:db8:d000::1"];

/// The upstreams' BIRD: two sessions with the router, the same prefixes on both.
const UPSTREAMS: &str = "log syslog all;
router id 192.0.2.2;
protocol device { scan time 1; }
protocol kernel { ipv4 { import none; export where source = RTS_BGP; }; }
protocol kernel { ipv6 { import none; export where source = RTS_BGP; }; }
protocol static world4 { ipv4; route 198.51.100.0/24 blackhole; }
protocol static world6 { ipv6; route 3fff:b::/32 blackhole; }
template bgp to_router {
    local as 64511;
    hold time 9; connect delay time 1; connect retry time 2; error wait time 1, 5;
    ipv4 { import all; export where source = RTS_STATIC; next hop self; };
}
protocol bgp core from to_router {
    neighbor 192.0.2.1 as 64500;
    ipv6 { import all; export where source = RTS_STATIC; next hop address 2001:db8:a::2; };
}
protocol bgp transit from to_router {
    neighbor 192.0.2.5 as 64500;
    ipv6 { import all; export where source = RTS_STATIC; next hop address 2001:db8:a:1::2; };
}
";

/// The customer's BIRD: it speaks OSPF, and has a network behind it.
const CUSTOMER: &str = "log syslog all;
router id 203.0.113.10;
protocol device { scan time 1; }
protocol static behind { ipv4; route 203.0.113.128/26 blackhole; }
protocol ospf v2 { ipv4 { import none; export where source = RTS_STATIC; };
    area 0 { interface \"cust0\" { hello 1; wait 2; dead count 4; }; }; }
";

fn birds(lab: &RouterLab) -> [Bird<'_>; 3] {
    let router = configuration(
        "router.conf",
        &[("protocol device { scan time 10; }", "protocol device { scan time 1; }")],
    );
    [
        Bird::start(&lab.router, &lab.folder, "router", &router),
        Bird::start(&lab.world, &lab.folder, "world", UPSTREAMS),
        Bird::start(&lab.customer, &lab.folder, "customer", CUSTOMER),
    ]
}

fn route(lab: &RouterLab, prefix: &str) -> String {
    lab.router.run("ip", ["route", "show", prefix])
}

#[test]
fn routes_of_bgp_and_ospf_appear_move_and_vanish_and_bird_restarts_without_a_gap() {
    let lab = RouterLab::new("routing", Forwarder::Sekisho);
    let [router, world, _customer] = birds(&lab);
    for (address, gateway) in WORLD.into_iter().zip(ROUTER) {
        lab.await_reached(address);
        assert_eq!(lab.way(address), [gateway, address]);
    }
    // OSPF goes by multicast to the router and back.
    await_that("the network behind the customer is known", || {
        route(&lab, "203.0.113.128/26").contains("203.0.113.10")
    });
    lab.await_mirrored();

    // Port 25 is refused on the way that BGP has found.
    let mail = |to: &str| {
        outcome(
            &lab.customer,
            "203.0.113.10".parse::<IpAddr>().unwrap(),
            SocketAddr::new(to.parse().unwrap(), 25),
        )
    };
    assert_eq!(mail(WORLD[0]), Outcome::Refused);

    world.command("disable core");
    await_that("the route has moved to the other upstream", || {
        route(&lab, "198.51.100.0/24").contains("192.0.2.6")
    });
    WORLD.iter().for_each(|address| lab.await_reached(address));
    lab.await_mirrored();
    world.command("disable transit");
    await_that("there is no route", || route(&lab, "198.51.100.0/24").is_empty());
    await_that("the customer is told so", || {
        let output = lab.customer.output("ping", ["-n", "-c", "1", "-W", "1", WORLD[0]]);
        String::from_utf8_lossy(&output.stdout)
            .contains("From 203.0.113.1 icmp_seq=1 Destination Net Unreachable")
    });
    world.command("enable core");
    world.command("enable transit");
    await_that("the route is back", || route(&lab, "198.51.100.0/24").contains("192.0.2.2"));
    WORLD.iter().for_each(|address| lab.await_reached(address));

    // `persist` leaves the routes where they are, and so does the mirror. The world's BIRD forgets the way back meanwhile.
    lab.world.ip("route add 203.0.113.0/24 via 192.0.2.1 metric 4000");
    router.restart(|| (0..20).for_each(|_| assert!(lab.reaches(WORLD[0]))));
    router.await_up("upstream1");
    lab.await_reached(WORLD[0]);

    // A link that goes down takes its routes with it, in silence, as the kernel says nothing of them.
    lab.world.ip("link set up0 down");
    await_that("the route has moved to the other cable", || {
        route(&lab, "198.51.100.0/24").contains("192.0.2.6")
    });
    WORLD.iter().for_each(|address| lab.await_reached(address));
    lab.await_mirrored();
    lab.world.ip("link set up0 up\naddress add 2001:db8:a::2/64 dev up0");
    await_that("it is back", || route(&lab, "198.51.100.0/24").contains("192.0.2.2"));
    WORLD.iter().for_each(|address| lab.await_reached(address));
    lab.await_mirrored();
}

#[test]
fn a_neighbour_that_changes_its_mac_in_silence_is_found_again() {
    let lab = RouterLab::new("neighbour", Forwarder::Sekisho);
    lab.world.ip("route add default via 192.0.2.1");
    // Before the next hop is known: a neighbour that is reachable already keeps its time.
    for (what, value) in
        [("base_reachable_time_ms", "1000"), ("delay_first_probe_time", "1"), ("gc_stale_time", "5")]
    {
        lab.router.set(&format!("ipv4/neigh/sk-core/{what}"), value);
    }
    lab.router.ip("route add 198.51.100.0/24 via 192.0.2.2");
    lab.await_reached(WORLD[0]);
    // Nobody tells: no address is there while the MAC changes, and the ones of before come back without a word.
    lab.world.ip("link set up0 down
         link set up0 address 02:00:00:00:77:01 arp off
         link set up0 up
         link set up0 arp on
         route replace default via 192.0.2.1");
    // The kernel's time for it is over, which it decides by chance and within a minute.
    let known = lab.router.run("ip", ["neigh", "show", "192.0.2.2", "dev", "sk-core"]);
    if let Some(old) = known.split_whitespace().skip_while(|word| *word != "lladdr").nth(1) {
        lab.router.ip(&format!("neigh change 192.0.2.2 lladdr {old} dev sk-core nud stale"));
    }
    lab.await_reached(WORLD[0]);
    let neighbours = lab.router.run("ip", ["neigh", "show", "dev", "sk-core"]);
    assert!(neighbours.contains("192.0.2.2 lladdr 02:00:00:00:77:01"), "{neighbours}");
    lab.await_mirrored();
    // Used by what the kernel never sees, it stays known all the same.
    for _ in 0..40 {
        assert!(lab.reaches(WORLD[0]));
        std::thread::sleep(Duration::from_millis(100));
    }
    lab.await_mirrored();
}

/// What a port's frames for the router itself were handed over or not, by class.
fn punts(lab: &RouterLab, port: &str, class: &str, what: &str) -> Option<u64> {
    let status: serde_json::Value =
        serde_json::from_str(&lab.ask(&["status", "--json"]).stdout).expect("JSON");
    let port = status["ports"].as_array()?.iter().find(|told| told["name"] == port)?;
    port["punts"].as_array()?.iter().find(|punts| punts["class"] == class)?[what].as_u64()
}

#[test]
fn a_scan_of_a_network_without_hosts_leaves_other_next_hops_their_turn() {
    let lab = RouterLab::new("scan", Forwarder::Sekisho);
    lab.world.ip("route add default via 192.0.2.1
         route add default via 2001:db8:a::1");
    lab.await_reached("2001:db8:a::2");
    assert!(punts(&lab, "access", "neighbours", "punted").is_some_and(|count| count > 0));
    let (stop, scanned) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let socket = lab.world.enter(|| UdpSocket::bind("[2001:db8:a::2]:0")).expect("a socket");
            let mut at = 0u16;
            while !stop.load(Ordering::Relaxed) {
                let [high, low] = at.to_be_bytes();
                let nobody = format!("[2001:db8:d000::{high:x}:{low:x}]:33434");
                // What is refused by an error for one before is sent all the same.
                scanned.fetch_add(socket.send_to(b"scan", nobody).is_ok().into(), Ordering::Relaxed);
                at = at.wrapping_add(1).max(0x100);
                if at.is_multiple_of(8) {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        });
        let _stop = Stop(&stop);
        for _ in 0..3 {
            let before = scanned.load(Ordering::Relaxed);
            await_that("many are scanned", || scanned.load(Ordering::Relaxed) > before + 2000);
            lab.router.ip("neigh flush dev sk-core");
            lab.await_reached("2001:db8:a::2");
            lab.await_reached("192.0.2.2");
        }
    });
    let twins: serde_json::Value =
        serde_json::from_str(&lab.ask(&["status", "--json"]).stdout).expect("JSON");
    assert!(twins["twins"]["wants_lost"].as_u64().is_some_and(|lost| lost > 0), "{}", twins["twins"]);
}

/// Has a thread end, also when its test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn the_router_learns_its_own_way_up_from_router_advertisements() {
    let lab = RouterLab::new("slaac", Forwarder::Sekisho);
    lab.router.set("ipv6/conf/sk-transit/accept_ra", "2");
    let config = lab.file("radvd.conf");
    std::fs::write(
        &config,
        "interface up1 { AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4;\n prefix 2001:db8:a:2::/64 {}; };\n",
    )
    .unwrap();
    let pid = lab.file("radvd.pid");
    lab.world.ip("route add 2001:db8:d000::/64 via 2001:db8:a:1::1");
    lab.world.run("radvd", ["-C", config.to_str().unwrap(), "-p", pid.to_str().unwrap(), "-m", "none"]);
    await_that("the router has a default route", || {
        lab.router.run("ip", ["-6", "route", "show", "default"]).contains("proto ra")
    });
    await_that("the router has an address", || {
        lab.router.run("ip", ["-6", "address", "show", "dev", "sk-transit"]).contains("2001:db8:a:2:")
    });
    lab.await_reached("3fff:c::80");
    assert_eq!(lab.way("3fff:c::80"), [ROUTER[1], "3fff:c::80"]);
    lab.await_mirrored();
}

#[test]
fn bulk_flows_through_it_and_mtr_sees_the_way() {
    let lab = RouterLab::new("bulk", Forwarder::Sekisho);
    lab.world.ip("route add default via 192.0.2.1");
    lab.router.ip("route add 198.51.100.0/24 via 192.0.2.2");
    lab.await_reached(WORLD[0]);
    lab.world.start("iperf3", ["-s", "-D"], &lab.file("iperf3.log"));
    // The server is in the background before it listens.
    let received = await_some("iperf3 has a result", || {
        let report = lab.customer.output("iperf3", ["-c", WORLD[0], "-t", "2", "--json"]);
        let report: serde_json::Value = serde_json::from_slice(&report.stdout).ok()?;
        report["end"]["sum_received"]["bytes"].as_u64()
    });
    assert!(received > 1 << 20, "{received} bytes");
    let seen = lab.customer.run("mtr", ["-n", "-r", "-c", "2", "-i", "0.2", WORLD[0]]);
    let hops: Vec<&str> = seen
        .lines()
        .filter(|line| line.contains("|--"))
        .filter_map(|line| line.split_whitespace().nth(1))
        .collect();
    assert_eq!(hops, [ROUTER[0], WORLD[0]], "{seen}");
}

/// What is asked of both: arguments of `ping`.
const PROBES: &[&str] = &[
    "203.0.113.1",
    "2001:db8:d000::1",
    "192.0.2.1",
    "192.0.2.2",
    "198.51.100.80",
    "3fff:b::80",
    "-t 1 198.51.100.80",
    "-t 1 3fff:b::80",
    "-t 2 198.51.100.80",
    "-M do -s 1472 198.51.100.80",
    "-M do -s 1400 198.51.100.81",
    "-s 1400 -M do 3fff:b::81",
    "-M do -s 1372 198.51.100.82",
    "-M do -s 1352 198.51.100.82",
    "-s 1400 198.51.100.82",
    "-s 1352 -M do 3fff:b::82",
    "-s 1302 -M do 3fff:b::82",
    "-s 1400 -M do 3fff:b::83",
    "-s 3000 198.51.100.80",
    "-s 3000 3fff:b::80",
    "-Q 32 198.51.100.80",
    "10.1.0.1",
    "10.2.0.1",
    "10.3.0.1",
    "10.9.9.9",
    "3fff:1::1",
    "3fff:2::1",
    "3fff:9::9",
    "192.0.2.130",
];

/// What the customer is told, without times.
fn answer(lab: &RouterLab, probe: &str) -> String {
    let arguments = ["-n", "-c", "1", "-W", "2"].into_iter().chain(probe.split_whitespace());
    let output = lab.customer.output("ping", arguments);
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    let told =
        text.lines().filter(|line| line.contains("from") || line.contains("From") || line.contains("error"));
    let told = told.map(|line| line.split(" time=").next().unwrap_or(line).trim());
    told.collect::<Vec<_>>().join("; ")
}

#[test]
fn the_kernel_gives_the_same_answers_on_the_same_network() {
    let answers = [Forwarder::Kernel, Forwarder::Sekisho].map(|forwarder| {
        let lab = RouterLab::new(&format!("{forwarder:?}").to_lowercase(), forwarder);
        let twin = if forwarder == Forwarder::Sekisho { "sk-" } else { "" };
        lab.world.ip("route add default via 192.0.2.1
             route add default via 2001:db8:a::1
             address add 198.51.100.81/32 dev lo
             address add 3fff:b::81/128 dev lo
             address add 198.51.100.82/32 dev lo
             address add 3fff:b::82/128 dev lo
             address add 3fff:b::83/128 dev lo");
        lab.router.ip(&format!(
            "route add 198.51.100.0/25 via 192.0.2.2
             route add 3fff:b::/32 via 2001:db8:a::2
             route add 198.51.100.81/32 via 192.0.2.6
             route add 198.51.100.82/32 via 192.0.2.2 mtu 1380
             route add 3fff:b::82/128 via 2001:db8:a::2 mtu lock 1350
             route add 3fff:b::83/128 via 2001:db8:a::2 mtu 1350
             link set {twin}transit mtu 1300
             route add unreachable 10.1.0.0/16
             route add prohibit 10.2.0.0/16
             route add blackhole 10.3.0.0/16
             route add unreachable 3fff:1::/32
             route add prohibit 3fff:2::/32
             route add 192.0.2.128/28 dev {twin}transit"
        ));
        // The way is warm: what is asked for first waits for its neighbours.
        for address in [WORLD[0], WORLD[1], "192.0.2.2", "192.0.2.6"] {
            lab.await_reached(address);
        }
        let answers: Vec<(String, String)> =
            PROBES.iter().map(|probe| ((*probe).to_owned(), answer(&lab, probe))).collect();
        answers
    });
    let [kernel, ours] = answers;
    let differing: Vec<_> = kernel.iter().zip(&ours).filter(|(kernel, ours)| kernel != ours).collect();
    assert!(differing.is_empty(), "the kernel and Sekisho differ: {differing:#?}");
    assert!(ours.iter().filter(|(_, answer)| answer.contains("ttl=63")).count() >= 6, "{ours:#?}");
}

#[test]
fn a_thousand_routes_a_second_change_and_the_mirror_is_the_kernels_table_in_the_end() {
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench/routes");
    let output = std::process::Command::new(script)
        .arg("5")
        .env("SEKISHO_BIN", sekisho_tests::binary::sekisho())
        .output()
        .expect("bench/routes starts");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    println!("{text}");
    // What is lost beside other tests says nothing of the routes.
    let compared: Vec<&str> = text.lines().filter(|line| line.starts_with("compared in")).collect();
    assert_eq!(compared.len(), 2, "{text}");
    assert!(compared.iter().all(|line| line.ends_with("; 0 differ")), "{text}");
    assert!(text.contains("5000 changes in"), "{text}");
}
