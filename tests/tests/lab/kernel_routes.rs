//! The mirror of the kernel's routes against what `ip` shows of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use sekisho_control::netlink::{Best, Kind, Listener, MAIN, ROOM, Wanted, read_table};
use sekisho_tests::lab::namespace::Namespace;
use sekisho_tests::lab::{Lab, PATIENCE};
use serde_json::Value;

type Hops = BTreeSet<(String, Option<IpAddr>)>;
type Shown = BTreeMap<String, (Kind, Hops)>;

/// What `ip` shows: of each prefix the first route with the lowest metric.
fn shown(namespace: &Namespace, table: u32) -> Shown {
    let mut all: BTreeMap<String, (u64, Kind, Hops)> = BTreeMap::new();
    for family in ["-4", "-6"] {
        let table = table.to_string();
        let output = namespace.output("ip", ["-json", family, "route", "show", "table", &table]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let routes: Vec<Value> = serde_json::from_str(&text).unwrap_or_default();
        // IPv6 joins what is shown one by one. Every link has its own fe80::/64.
        for route in routes.into_iter().filter(|route| route["dst"] != "fe80::/64") {
            let destination = route["dst"].as_str().expect("a route has a destination");
            let prefix = match destination {
                "default" if family == "-4" => "0.0.0.0/0".to_owned(),
                "default" => "::/0".to_owned(),
                host if !host.contains('/') => format!("{host}/{}", if family == "-4" { 32 } else { 128 }),
                prefix => prefix.to_owned(),
            };
            let kind = match route["type"].as_str() {
                None | Some("unicast") => Kind::Unicast,
                Some("blackhole") => Kind::Blackhole,
                Some("unreachable") => Kind::Unreachable,
                Some("prohibit") => Kind::Prohibit,
                Some(other) => panic!("a route of type {other}"),
            };
            let hop = |hop: &Value| {
                let device = hop["dev"].as_str()?.to_owned();
                let via = hop["gateway"].as_str().or_else(|| hop["via"]["host"].as_str());
                Some((device, via.map(|via| via.parse::<IpAddr>().expect("an address"))))
            };
            let mut hops: BTreeSet<_> = match route["nexthops"].as_array() {
                Some(hops) => hops.iter().filter(|hop| !is_dead(hop)).filter_map(hop).collect(),
                None => hop(&route).into_iter().collect(),
            };
            if kind != Kind::Unicast {
                hops.clear();
            }
            let metric = route["metric"].as_u64().unwrap_or(0);
            match all.get_mut(&prefix) {
                Some((known, ..)) if *known < metric => {}
                Some((known, _, others)) if *known == metric && family == "-6" => others.extend(hops),
                Some((known, ..)) if *known == metric => {}
                _ => drop(all.insert(prefix, (metric, kind, hops))),
            }
        }
    }
    all.into_iter().map(|(prefix, (_, kind, hops))| (prefix, (kind, hops))).collect()
}

/// Its link has gone down, or has no address any more.
fn is_dead(hop: &Value) -> bool {
    hop["flags"].as_array().is_some_and(|flags| flags.iter().any(|flag| flag == "dead"))
}

fn mirrored(listener: &Listener, table: u32) -> Shown {
    let model = listener.model();
    let name = |index: u32| model.link(index).map_or_else(|| index.to_string(), |link| link.name.clone());
    let of = |(prefix, best): (ipnetwork::IpNetwork, Best)| {
        let hops = best.hops.iter().filter(|_| best.kind == Kind::Unicast);
        (prefix.to_string(), (best.kind, hops.map(|hop| (name(hop.link), hop.via)).collect()))
    };
    model.routes(table).filter(|(prefix, _)| prefix.to_string() != "fe80::/64").map(of).collect()
}

/// Turns the listener until it holds what `ip` shows.
fn await_same(namespace: &Namespace, listener: &mut Listener, table: u32, what: &str) {
    let begun = Instant::now();
    loop {
        let mut heard = None;
        while heard != Some(listener.counts()) {
            heard = Some(listener.counts());
            listener.turn(&mut |_| {}).unwrap_or_else(|e| panic!("{what}: {e}"));
        }
        let (kernel, ours) = (shown(namespace, table), mirrored(listener, table));
        if kernel == ours {
            return;
        }
        if begun.elapsed() > PATIENCE {
            let differing = kernel.iter().filter(|(prefix, route)| ours.get(*prefix) != Some(route)).take(5);
            panic!(
                "{what}: {} in the kernel, {} mirrored, {:?} differ\n{differing:?}",
                kernel.len(),
                ours.len(),
                differing.clone().map(|(prefix, _)| ours.get(prefix)).collect::<Vec<_>>(),
                differing = differing.collect::<Vec<_>>()
            );
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn listener(namespace: &Namespace, table: u32, room: usize) -> Listener {
    let wanted = Wanted { tables: [table].into(), neighbours: true };
    namespace.enter(|| Listener::open(wanted, room)).expect("netlink sockets")
}

#[test]
fn the_mirror_holds_what_ip_shows_after_every_kind_of_change() {
    let lab = Lab::new();
    let world = &lab.internet;
    let mut listener = listener(world, MAIN, ROOM);
    await_same(world, &mut listener, MAIN, "at the start");
    let resyncs = listener.counts().resyncs;
    for step in [
        "route add 10.1.0.0/16 via 203.0.113.10",
        "route add 10.1.0.0/16 via 203.0.113.11 metric 20",
        "route replace 10.1.0.0/16 via 203.0.113.12",
        "route append 10.1.0.0/16 via 203.0.113.13",
        "route del 10.1.0.0/16 via 203.0.113.12",
        "route del 10.1.0.0/16 via 203.0.113.13",
        "route del 10.1.0.0/16",
        "route add 10.2.0.0/16 nexthop via 203.0.113.10 weight 2 nexthop via 192.0.2.25 weight 1",
        "route change 10.2.0.0/16 nexthop via 203.0.113.14 nexthop via 192.0.2.26",
        "route add 10.3.0.0/16 via inet6 2001:db8:d000::10 dev inet0",
        "route add 10.4.0.0/16 via 10.99.0.1 dev inet1 onlink",
        "route add unreachable 10.5.0.0/16",
        "route add prohibit 10.6.0.0/16",
        "route add blackhole 10.7.0.0/16",
        "route replace 10.7.0.0/16 via 203.0.113.10",
        "route add 3fff:1::/32 via 2001:db8:d000::10",
        "route append 3fff:1::/32 via 2001:db8:d000::11",
        "route append 3fff:1::/32 via 2001:db8:a::25 dev inet1",
        "route del 3fff:1::/32 via 2001:db8:d000::10",
        "route replace 3fff:1::/32 via 2001:db8:d000::12",
        "route add 3fff:1::/32 via 2001:db8:d000::13 metric 50",
        "route add blackhole 3fff:2::/32",
        "nexthop add id 7 via 203.0.113.20 dev inet0",
        "route add 10.8.0.0/16 nhid 7",
        "nexthop replace id 7 via 203.0.113.21 dev inet0",
        "nexthop add id 8 via 192.0.2.27 dev inet1",
        "nexthop add id 9 group 7/8",
        "route add 10.9.0.0/16 nhid 9",
    ] {
        world.ip(step);
        await_same(world, &mut listener, MAIN, step);
    }
    // IPv4 routes that go without a word: with an object, an address, a link.
    for step in [
        "nexthop del id 7",
        "address del 192.0.2.1/26 dev inet1",
        "link set inet0 down",
        "link set inet0 up",
        "link del inet1",
    ] {
        world.ip(step);
        await_same(world, &mut listener, MAIN, step);
    }
    let counts = listener.counts();
    assert!(counts.resyncs > resyncs + 2, "{counts:?}");
    assert_eq!((counts.overruns, counts.unreadable), (0, 0), "{counts:?}");
}

#[test]
fn a_hundred_thousand_routes_are_followed_and_what_does_not_fit_is_asked_for_again() {
    const ROUTES: u32 = 100_000;
    let prefix = |n: u32| format!("{}.{}.{}.0/24", 20 + (n >> 16), n >> 8 & 255, n & 255);
    let lines = |what: &str| {
        (0..ROUTES).fold(String::new(), |mut lines, n| {
            let _ = writeln!(lines, "route {what} {} table 2525", prefix(n));
            lines
        })
    };
    let lab = Lab::new();
    let world = &lab.internet;
    // One with room and one that has next to none: both are right in the end.
    let mut roomy = listener(world, 2525, ROOM);
    let mut narrow = listener(world, 2525, 4096);
    for listener in [&mut roomy, &mut narrow] {
        listener.turn(&mut |_| {}).expect("a first dump");
    }
    let begun = Instant::now();
    world.ip(&lines("add blackhole"));
    let added = begun.elapsed();
    for (what, listener) in [("with room", &mut roomy), ("without", &mut narrow)] {
        await_same(world, listener, 2525, what);
    }
    println!(
        "{ROUTES} routes: `ip` {added:?}, both mirrors {:?} after the first, {:?} {:?}",
        begun.elapsed(),
        roomy.counts(),
        narrow.counts()
    );
    assert!(roomy.counts().overruns == 0 || roomy.room() < ROOM, "{:?}", roomy.counts());
    assert!(narrow.counts().overruns > 0 && narrow.counts().resyncs > 1, "{:?}", narrow.counts());
    let read = world.enter(|| read_table(2525)).expect("a table that can be read");
    assert_eq!(read.len(), ROUTES as usize);

    // While half of them go, the narrow one dumps again and again.
    let half = (0..ROUTES).step_by(2).fold(String::new(), |mut lines, n| {
        let _ = writeln!(lines, "route del {} table 2525", prefix(n));
        lines
    });
    std::thread::scope(|scope| {
        let deleting = scope.spawn(|| world.ip(&half));
        while !deleting.is_finished() {
            narrow.turn(&mut |_| {}).expect("a dump");
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    await_same(world, &mut narrow, 2525, "half of them are gone");
    await_same(world, &mut roomy, 2525, "half of them are gone");
    assert_eq!(narrow.model().len(2525), ROUTES as usize / 2);
}
