//! Routes as workers see them, held to a plain model.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};

use ipnetwork::IpNetwork;
use proptest::prelude::*;

use super::*;
use crate::lpm::MAX_ID;
use crate::policy::PortId;

fn net(text: &str) -> IpNetwork {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn link(id: u32, vlan: Option<u16>, addresses: &[&str]) -> Change {
    let addresses = addresses.iter().map(|text| net(text)).collect();
    let mac = [2, 0, 0, 0, 0, id as u8];
    Change::LinkUp(Link { id: LinkId(id), port: PortId(id as u8 % 2), vlan, mac, mtu: 1500, addresses })
}

fn hop(link: u32, via: &str) -> Hop {
    Hop::new(LinkId(link), Some(ip(via)))
}

fn route(prefix: &str, hops: &[Hop]) -> Change {
    Change::SetRoute { prefix: net(prefix), kind: RouteKind::Unicast(hops.to_vec()) }
}

fn neighbour(link: u32, address: &str, mac: u8) -> Change {
    Change::SetNeighbour(Neighbour { link: LinkId(link), address: ip(address), mac: [2, 1, 1, 1, 1, mac] })
}

/// What an address leads to, as a worker finds it.
fn ask(routes: &mut OnlineRoutes<'_>, address: &str, flow: u32) -> (EntryKind, Option<(Adjacency, NextHop)>) {
    look(routes, ip(address), flow)
}

fn look(
    routes: &mut OnlineRoutes<'_>,
    address: IpAddr,
    flow: u32,
) -> (EntryKind, Option<(Adjacency, NextHop)>) {
    let (v4, v6) = routes.tries();
    let id = match address {
        IpAddr::V4(address) => v4.lookup(address.to_bits()),
        IpAddr::V6(address) => v6.lookup(address.to_bits()),
    };
    let snapshot = routes.snapshot();
    let entry = if address.is_ipv4() { snapshot.entry_v4(id) } else { snapshot.entry_v6(id) };
    if entry.kind != EntryKind::Forward {
        return (entry.kind, None);
    }
    let place = snapshot.pick(entry, flow);
    (entry.kind, Some((*snapshot.adjacency(place), snapshot.next_hop(place).unwrap())))
}

#[test]
fn a_route_leads_to_the_mac_of_its_next_hop_by_the_port_and_tag_of_its_link() {
    let mut routes = Routes::new(1).unwrap();
    let mut reader = routes.reader();
    let applied = routes.apply(&[
        link(1, None, &["192.0.2.1/24"]),
        link(2, Some(100), &["198.51.100.1/30", "2001:db8::1/64"]),
        route("0.0.0.0/0", &[hop(2, "198.51.100.2")]),
        route("2001:db8:1::/48", &[hop(2, "fe80::2")]),
        neighbour(2, "198.51.100.2", 9),
    ]);
    assert!(applied.published && applied.refused.is_empty());
    let mut online = reader.online();
    let (kind, way) = ask(&mut online, "203.0.113.9", 0);
    let (adjacency, next) = way.unwrap();
    assert_eq!((kind, adjacency.state), (EntryKind::Forward, State::Ready));
    assert_eq!((adjacency.port, adjacency.vlan, adjacency.mtu), (0, 100, 1500));
    assert_eq!(adjacency.macs, [2, 1, 1, 1, 1, 9, 2, 0, 0, 0, 0, 2]);
    assert_eq!(next, NextHop { link: LinkId(2), address: Some(ip("198.51.100.2")) });
    assert_eq!(ask(&mut online, "2001:db8:1::7", 0).1.unwrap().0.state, State::Unresolved);
    routes.apply(&[neighbour(2, "fe80::2", 8)]);
    assert_eq!(ask(&mut online, "2001:db8:1::7", 0).1.unwrap().0.macs[..6], [2, 1, 1, 1, 1, 8]);
    let snapshot = online.snapshot();
    assert_eq!(snapshot.link_at(PortId(1), 0), Some(0));
    assert_eq!((snapshot.link_at(PortId(0), 100), snapshot.link_at(PortId(0), 0)), (Some(1), None));
    assert_eq!(snapshot.link_at(PortId(9), 0), None);
}

#[test]
fn own_addresses_connected_hosts_broadcasts_groups_and_martians_are_told_apart() {
    let mut routes = Routes::new(1).unwrap();
    let mut reader = routes.reader();
    routes.apply(&[
        link(1, None, &["192.0.2.1/24", "2001:db8::1/64", "fe80::1/64"]),
        neighbour(1, "192.0.2.7", 7),
    ]);
    let mut online = reader.online();
    let mut kind = |address| ask(&mut online, address, 0).0;
    assert_eq!(kind("192.0.2.1"), EntryKind::Local);
    assert_eq!(kind("2001:db8::1"), EntryKind::Local);
    assert_eq!(kind("fe80::1"), EntryKind::Local);
    assert_eq!(kind("192.0.2.255"), EntryKind::Broadcast);
    assert_eq!(kind("192.0.2.0"), EntryKind::Broadcast);
    assert_eq!(kind("255.255.255.255"), EntryKind::Local);
    assert_eq!(kind("224.0.0.5"), EntryKind::LinkGroup);
    assert_eq!(kind("239.1.2.3"), EntryKind::Group);
    assert_eq!(kind("ff02::1"), EntryKind::LinkGroup);
    assert_eq!(kind("ff0e::1"), EntryKind::Group);
    for martian in ["0.1.2.3", "127.0.0.1", "169.254.1.1", "240.0.0.1", "::1", "fe80::2", "::ffff:1.2.3.4"] {
        assert_eq!(kind(martian), EntryKind::Martian, "{martian}");
    }
    assert_eq!(kind("203.0.113.1"), EntryKind::None);
    assert_eq!(ask(&mut online, "192.0.2.7", 0).1.unwrap().0.state, State::Ready);
    assert_eq!(ask(&mut online, "192.0.2.8", 0).1.unwrap().0.state, State::Glean);
    routes.apply(&[Change::LinkDown(LinkId(1))]);
    for gone in ["192.0.2.1", "192.0.2.7", "192.0.2.255", "2001:db8::1"] {
        assert_eq!(ask(&mut online, gone, 0).0, EntryKind::None, "{gone}");
    }
    assert_eq!(routes.neighbours().count(), 0);
}

#[test]
fn no_route_leads_to_addresses_of_a_host_or_a_link_alone() {
    let mut routes = Routes::new(1).unwrap();
    let mut reader = routes.reader();
    let never = ["169.254.0.0/16", "169.254.7.0/24", "127.0.0.0/8", "fe80::/64", "::1/128"];
    let set: Vec<_> = never.into_iter().chain(["240.0.0.0/4", "168.0.0.0/6", "::/0"]).collect();
    let mut changes = vec![link(1, None, &["192.0.2.1/24", "169.254.9.1/24", "fe80::1/64"])];
    changes.extend(set.iter().map(|prefix| {
        let via = if prefix.contains(':') { "2001:db8::9" } else { "192.0.2.9" };
        route(prefix, &[hop(1, via)])
    }));
    changes.push(neighbour(1, "169.254.9.2", 2));
    assert_eq!(routes.apply(&changes).refused, []);
    let mut online = reader.online();
    let mut kind = |address| ask(&mut online, address, 0).0;
    for address in ["169.254.1.1", "169.254.7.7", "169.254.9.2", "169.254.9.3", "127.0.0.1", "::1", "fe80::9"]
    {
        assert_eq!(kind(address), EntryKind::Martian, "{address}");
    }
    assert_eq!(kind("169.254.9.1"), EntryKind::Local, "the router's own");
    for address in ["169.253.1.1", "240.0.0.1", "2001:db8:9::1"] {
        assert_eq!(kind(address), EntryKind::Forward, "{address}");
    }
    // What was set is told as it was, and goes.
    assert_eq!(routes.entries().count(), set.len());
    let gone: Vec<_> = set.iter().map(|prefix| Change::RemoveRoute(prefix.parse().unwrap())).collect();
    assert_eq!(routes.apply(&gone).refused, []);
    assert_eq!(ask(&mut online, "169.254.7.7", 0).0, EntryKind::Martian);
    assert_eq!(routes.entries().count(), 0);
}

#[test]
fn a_host_follows_the_route_that_its_network_has() {
    let mut routes = Routes::new(1).unwrap();
    let mut reader = routes.reader();
    routes.apply(&[
        link(1, None, &["192.0.2.1/24"]),
        link(2, None, &["198.51.100.1/24"]),
        neighbour(1, "192.0.2.7", 7),
        neighbour(2, "198.51.100.2", 2),
    ]);
    let mut online = reader.online();
    let state =
        |online: &mut OnlineRoutes<'_>| ask(online, "192.0.2.7", 0).1.map(|(a, _)| (a.link, a.macs[5]));
    assert_eq!(state(&mut online), Some((0, 7)));
    // A longer prefix leads its hosts elsewhere, until it is gone.
    routes.apply(&[route("192.0.2.0/28", &[hop(2, "198.51.100.2")])]);
    assert_eq!(state(&mut online), Some((1, 2)));
    routes.apply(&[Change::RemoveRoute(net("192.0.2.0/28"))]);
    assert_eq!(state(&mut online), Some((0, 7)));
    routes.apply(&[Change::SetRoute { prefix: net("192.0.2.7/32"), kind: RouteKind::Blackhole }]);
    assert_eq!(ask(&mut online, "192.0.2.7", 0).0, EntryKind::Blackhole);
    routes.apply(&[Change::RemoveRoute(net("192.0.2.7/32"))]);
    assert_eq!(state(&mut online), Some((0, 7)));
    // The kernel's own route for the network is the same to them.
    let on_link = Hop::new(LinkId(1), None);
    routes.apply(&[route("192.0.2.0/24", &[on_link])]);
    assert_eq!(state(&mut online), Some((0, 7)));
    assert_eq!(
        routes.entries().collect::<Vec<_>>(),
        [RouteEntry { prefix: net("192.0.2.0/24"), kind: RouteKind::Unicast(vec![on_link]) }]
    );
}

#[test]
fn flows_are_shared_among_the_hops_whose_links_work() {
    let mut routes = Routes::new(1).unwrap();
    let mut reader = routes.reader();
    routes.apply(&[
        link(1, None, &[]),
        link(2, None, &[]),
        route("203.0.113.0/24", &[Hop { weight: 3, ..hop(1, "192.0.2.9") }, hop(2, "198.51.100.9")]),
    ]);
    let mut online = reader.online();
    let mut spread = || {
        let ways = (0..64).map(|flow| ask(&mut online, "203.0.113.1", flow).1.unwrap().1.link);
        let ones = ways.filter(|link| *link == LinkId(1)).count();
        (ones, 64 - ones)
    };
    assert_eq!(spread(), (48, 16));
    routes.apply(&[Change::LinkDown(LinkId(1))]);
    assert_eq!(spread(), (0, 64));
    routes.apply(&[link(1, None, &[]), Change::LinkDown(LinkId(2))]);
    assert_eq!(spread(), (64, 0));
    routes.apply(&[link(2, None, &[])]);
    assert_eq!(spread(), (48, 16));
}

#[test]
fn what_can_not_be_done_is_refused_and_the_rest_of_the_batch_is() {
    let mut routes = Routes::new(1).unwrap();
    let applied = routes.apply(&[
        link(1, None, &[]),
        route("203.0.113.1/24", &[hop(1, "192.0.2.9")]),
        route("203.0.113.0/24", &[]),
        route("203.0.113.0/24", &vec![hop(1, "192.0.2.9"); 65]),
        route("203.0.113.0/24", &[hop(1, "192.0.2.9")]),
    ]);
    let places: Vec<_> = applied.refused.iter().map(|refusal| refusal.change).collect();
    assert_eq!(places, [1, 2, 3]);
    assert_eq!(
        applied.refused[1].error.to_string(),
        "203.0.113.0/24: a route that forwards, but has no next hop"
    );
    assert_eq!(routes.entries().count(), 1);
}

#[test]
fn ids_are_used_again_once_no_worker_has_them_and_run_out_while_one_does() {
    let mut routes = Routes::new(1).unwrap();
    let mut reader = routes.reader();
    let mut online = reader.online();
    routes.apply(&[link(1, None, &[])]);
    let via = |n: u32| Hop::new(LinkId(1), Some(Ipv4Addr::from_bits(n).into()));
    let held = online.snapshot();
    let mut refused = 0;
    for batch in 0..4 {
        let changes: Vec<_> =
            (0..10_000).map(|n| route("203.0.113.0/24", &[via(batch * 10_000 + n)])).collect();
        refused += routes.apply(&changes).refused.len();
    }
    let most = MAX_ID as usize;
    assert!(refused > 40_000 - most && refused < 41_000 - most, "{refused} refused");
    assert_eq!(routes.entries().count(), 1, "it has the last that it could");
    assert!(routes.reclaim() > 30_000);
    drop(held);
    online.quiescent();
    assert_eq!(routes.reclaim(), 0);
    let applied = routes.apply(&[route("203.0.113.0/24", &[via(1_000_000)])]);
    assert_eq!(applied.refused, []);
}

#[test]
fn workers_never_find_another_prefixs_hop_while_ids_go_from_hand_to_hand() {
    // Each prefix has hops of its own, one after the other; all share few ids.
    const PREFIXES: u32 = 8;
    let rounds = if cfg!(miri) { 10 } else { 4_000 };
    let mut routes = Routes::new(2).unwrap();
    routes.apply(&[link(1, None, &[])]);
    let prefix = |n: u32| IpNetwork::new(Ipv4Addr::from_bits(0x0a00_0000 + (n << 16)).into(), 16).unwrap();
    let via = |n: u32, round: u32| {
        let via = Ipv4Addr::from_bits(0xc000_0000 | n << 16 | round & 0xffff).into();
        RouteKind::Unicast(vec![Hop::new(LinkId(1), Some(via))])
    };
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for mut reader in [routes.reader(), routes.reader()] {
            let done = &done;
            scope.spawn(move || {
                let mut found = 0u64;
                let mut turns = 0u64;
                while !done.load(Ordering::Relaxed) {
                    let mut online = reader.online();
                    // Between two sleeps.
                    for _ in 0..100 {
                        let mut ids = [0; PREFIXES as usize];
                        let addresses: [u32; PREFIXES as usize] =
                            std::array::from_fn(|n| 0x0a00_0001 + ((n as u32) << 16));
                        online.tries().0.lookup_burst(&addresses, &mut ids);
                        let snapshot = online.snapshot();
                        for (n, id) in ids.into_iter().enumerate() {
                            let entry = snapshot.entry_v4(id);
                            if id == 0 {
                                continue;
                            }
                            assert_eq!(
                                entry.kind,
                                EntryKind::Forward,
                                "id {id} is in a trie, and means nothing"
                            );
                            let next = snapshot.next_hop(snapshot.pick(entry, 0)).unwrap();
                            let Some(IpAddr::V4(via)) = next.address else { panic!("{next:?}") };
                            assert_eq!(via.octets()[1], n as u8, "another prefix's hop");
                            found += 1;
                        }
                        drop(snapshot);
                        online.quiescent();
                        turns += 1;
                    }
                }
                assert!(found > 0 && turns > 0);
            });
        }
        for round in 0..rounds {
            let changes: Vec<Change> = (0..PREFIXES)
                .map(|n| match (round + n) % 5 {
                    0 => Change::RemoveRoute(prefix(n)),
                    _ => Change::SetRoute { prefix: prefix(n), kind: via(n, round) },
                })
                .collect();
            assert_eq!(routes.apply(&changes).refused, []);
        }
        done.store(true, Ordering::Relaxed);
    });
    routes.reclaim();
    assert_eq!(routes.reclaim(), 0);
}

/// The plain model: everything that is known, asked for each address anew.
#[derive(Default)]
struct Model {
    links: BTreeMap<LinkId, Link>,
    routes: BTreeMap<(IpAddr, u8), RouteKind>,
    neighbours: BTreeMap<(IpAddr, LinkId), Mac>,
}

/// Whom a packet may go to, with which MAC and how long; no MTU where the link does not work.
type To = (LinkId, Option<IpAddr>, Option<Mac>, Option<u16>);
/// What an address leads to: what it is, and whom it may go to.
type Way = (EntryKind, BTreeSet<To>);

impl Model {
    fn apply(&mut self, change: &Change) {
        match change.clone() {
            Change::LinkUp(link) => {
                self.links.insert(link.id, link);
            }
            Change::LinkDown(link) => {
                if self.links.remove(&link).is_some() {
                    self.neighbours.retain(|(_, on), _| *on != link);
                }
            }
            Change::SetRoute { prefix, kind } => {
                self.routes.insert((prefix.ip(), prefix.prefix()), kind);
            }
            Change::RemoveRoute(prefix) => {
                self.routes.remove(&(prefix.ip(), prefix.prefix()));
            }
            Change::SetNeighbour(Neighbour { link, address, mac }) => {
                self.neighbours.insert((address, link), mac);
            }
            Change::RemoveNeighbour { link, address } => {
                self.neighbours.remove(&(address, link));
            }
        }
    }

    fn way(&self, address: IpAddr) -> Way {
        let own =
            || self.links.values().flat_map(|link| link.addresses.iter().map(move |net| (link.id, *net)));
        if own().any(|(_, net)| net.ip() == address) {
            return (EntryKind::Local, BTreeSet::new());
        }
        let is_broadcast = |net: IpNetwork| {
            net.is_ipv4() && net.prefix() < 31 && (net.network() == address || net.broadcast() == address)
        };
        if own().any(|(_, net)| is_broadcast(net)) {
            return (EntryKind::Broadcast, BTreeSet::new());
        }
        let bits = if address.is_ipv4() { 32 } else { 128 };
        for length in (0..=bits).rev() {
            let prefix = IpNetwork::new(address, length).unwrap().network();
            if let Some(kind) = self.routes.get(&(prefix, length)) {
                return match kind {
                    RouteKind::Unicast(hops) => {
                        let works = |hop: &&Hop| self.links.contains_key(&hop.link);
                        let all = hops.iter().filter(works).count() == 0;
                        let hops = hops.iter().filter(|hop| all || works(hop));
                        (EntryKind::Forward, hops.map(|hop| self.hop(*hop, address, length)).collect())
                    }
                    RouteKind::Local => (EntryKind::Local, BTreeSet::new()),
                    RouteKind::Broadcast => (EntryKind::Broadcast, BTreeSet::new()),
                    RouteKind::Blackhole => (EntryKind::Blackhole, BTreeSet::new()),
                    RouteKind::Unreachable => (EntryKind::Unreachable, BTreeSet::new()),
                    RouteKind::Prohibit => (EntryKind::Prohibit, BTreeSet::new()),
                };
            }
            let on =
                own().filter(|(_, net)| length < bits && net.prefix() == length && net.network() == prefix);
            if let Some((link, _)) = on.min_by_key(|(link, _)| *link) {
                return (
                    EntryKind::Forward,
                    BTreeSet::from([self.hop(Hop::new(link, None), address, length)]),
                );
            }
        }
        (EntryKind::None, BTreeSet::new())
    }

    fn hop(&self, Hop { link, via, mtu, .. }: Hop, to: IpAddr, length: u8) -> To {
        // A host of a network that is connected on one link.
        let bits = if to.is_ipv4() { 32 } else { 128 };
        let host = via.is_none() && (length == bits || self.neighbours.contains_key(&(to, link)));
        let via = if host { Some(to) } else { via };
        let mac = via.and_then(|via| self.neighbours.get(&(via, link)).copied());
        let least = if to.is_ipv4() { 68 } else { 1280 };
        let longest = self.links.get(&link).map(|link| mtu.unwrap_or(u16::MAX).max(least).min(link.mtu));
        (link, via, mac.filter(|_| self.links.contains_key(&link)), longest)
    }
}

/// Addresses of few networks, so that prefixes nest and addresses meet.
fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (0u32..4, 0u32..16).prop_map(|(a, b)| Ipv4Addr::from_bits(0x0a00_0000 | a << 6 | b).into()),
        (0u128..4, 0u128..8)
            .prop_map(|(a, b)| std::net::Ipv6Addr::from_bits(0x2001_0db8 << 96 | a << 64 | b).into()),
    ]
}

fn prefix() -> impl Strategy<Value = IpNetwork> {
    (address(), prop_oneof![Just(0u8), 24..=32u8]).prop_map(|(address, length)| {
        let length = if address.is_ipv4() { length } else { length * 4 };
        let net = IpNetwork::new(address, length).unwrap();
        IpNetwork::new(net.network(), length).unwrap()
    })
}

fn change() -> impl Strategy<Value = Change> {
    let on = || (1u32..4).prop_map(LinkId);
    let mtu = proptest::sample::select(vec![None, None, Some(60), Some(1300), Some(9000)]);
    let hop = (on(), proptest::option::weighted(0.7, address()), 0u16..3, mtu)
        .prop_map(|(link, via, weight, mtu)| Hop { link, via, weight, mtu });
    let kind = prop_oneof![
        6 => proptest::collection::vec(hop, 1..4).prop_map(|mut hops| {
            // A host's own prefix is for one hop on its link.
            if hops.len() > 1 {
                hops.iter_mut().for_each(|hop| hop.via = hop.via.or(Some("10.0.0.77".parse().unwrap())));
            }
            RouteKind::Unicast(hops)
        }),
        1 => Just(RouteKind::Local),
        1 => Just(RouteKind::Broadcast),
        1 => Just(RouteKind::Blackhole),
        1 => Just(RouteKind::Unreachable),
        1 => Just(RouteKind::Prohibit),
    ];
    let own =
        (address(), prop_oneof![Just(30u8), Just(26), Just(31), Just(32)]).prop_map(|(address, length)| {
            let length = if address.is_ipv4() { length } else { length * 4 };
            IpNetwork::new(address, length).unwrap()
        });
    let up = (on(), proptest::collection::vec(own, 0..3), proptest::sample::select(vec![1500, 1290]));
    let up = up.prop_map(|(id, addresses, mtu)| {
        Change::LinkUp(Link {
            id,
            port: PortId(0),
            vlan: Some(id.0 as u16),
            mac: [id.0 as u8; 6],
            mtu,
            addresses,
        })
    });
    let mac = (0u8..3).prop_map(|n| [2, 0, 0, 0, 0, n]);
    prop_oneof![
        3 => up,
        1 => on().prop_map(Change::LinkDown),
        6 => (prefix(), kind).prop_map(|(prefix, kind)| Change::SetRoute { prefix, kind }),
        4 => prefix().prop_map(Change::RemoveRoute),
        6 => (on(), address(), mac)
            .prop_map(|(link, address, mac)| Change::SetNeighbour(Neighbour { link, address, mac })),
        3 => (on(), address()).prop_map(|(link, address)| Change::RemoveNeighbour { link, address }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn any_changes_come_to_what_a_plain_model_says(
        batches in proptest::collection::vec(proptest::collection::vec(change(), 1..6), 1..12),
    ) {
        let mut routes = Routes::new(1).unwrap();
        let mut reader = routes.reader();
        let mut online = reader.online();
        let mut model = Model::default();
        for batch in &batches {
            prop_assert_eq!(routes.apply(batch).refused, vec![]);
            batch.iter().for_each(|change| model.apply(change));
            for a in 0..4u32 {
                for b in 0..16u32 {
                    let v4 = IpAddr::from(Ipv4Addr::from_bits(0x0a00_0000 | a << 6 | b));
                    let v6 = std::net::Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(a) << 64 | u128::from(b));
                    for address in [v4, v6.into()] {
                        let mut found: Way = (EntryKind::None, BTreeSet::new());
                        for flow in 0..64 {
                            let (kind, way) = look(&mut online, address, flow);
                            found.0 = kind;
                            found.1.extend(way.map(|(adjacency, next)| {
                                let ready = adjacency.state == State::Ready;
                                let mac = ready.then(|| adjacency.macs[..6].try_into().unwrap());
                                let works = adjacency.state != State::Down;
                                (next.link, next.address, mac, works.then_some(adjacency.mtu))
                            }));
                        }
                        prop_assert_eq!(found, model.way(address), "{}", address);
                    }
                }
            }
            online.quiescent();
            let entries: BTreeMap<_, _> =
                routes.entries().map(|entry| ((entry.prefix.ip(), entry.prefix.prefix()), entry.kind)).collect();
            prop_assert_eq!(entries.len(), model.routes.len());
            for (key, kind) in &model.routes {
                match (kind, &entries[key]) {
                    (RouteKind::Unicast(set), RouteKind::Unicast(got)) => prop_assert_eq!(set.len(), got.len()),
                    (set, got) => prop_assert_eq!(set, got),
                }
            }
        }
    }
}
