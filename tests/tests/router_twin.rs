//! Route mode against its slow twin, and its burst form against its one-by-one form, on any tables and any frames.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnetwork::IpNetwork;
use proptest::prelude::*;
use proptest::sample::select;
use sekisho_dataplane::clock::Instant;
use sekisho_dataplane::counters::{Totals, WorkerCounters};
use sekisho_dataplane::frame::Link as Medium;
use sekisho_dataplane::generation::{Blueprint, Generation, PhasePlan, PolicyPlan, PoolPlan, PortPlan};
use sekisho_dataplane::pipeline::{Arrival, Common, Outcomes, Pipeline};
use sekisho_dataplane::policy::{
    self, Action, Decision, DivertFallback, FragmentLimits, PoolId, PortId, Reason, RejectWith, ReversePath,
    Role, Taken,
};
use sekisho_dataplane::route::punt::{PuntLimits, Punts};
use sekisho_dataplane::route::{Change, Edit, Hop, Link, LinkId, Neighbour, RouteKind, Routes};
use sekisho_dataplane::{Made, RejectLimits, Replies};
use sekisho_tests::twin::router::{Check, Kind, Outcome, Router, Way};

/// Customers, others, others, and a filter.
const PORTS: usize = 4;
const FILTER: PortId = PortId(3);
/// What is done with mail of customers in networks 0 to 3.
const ACTIONS: [Action; 4] = [Action::Reject, Action::Divert, Action::Monitor, Action::Drop];

/// A router of the product.
struct Product {
    generation: Generation,
    pipeline: Pipeline,
    common: Arc<Common>,
    counters: Arc<WorkerCounters>,
    routes: Routes,
    reader: sekisho_dataplane::route::RouteReader,
}

impl Product {
    fn new(router: &Router) -> Product {
        let roles = [Role::Subscriber, Role::Servers, Role::Servers, Role::Filter];
        let ports = roles.map(|role| PortPlan { role, peer: None }).to_vec();
        let reverse_path = match router.check {
            Check::Off => ReversePath::Off,
            Check::Loose => ReversePath::Loose,
            Check::Strict => ReversePath::Strict,
        };
        let policies = ACTIONS.map(|action| PolicyPlan {
            kind: policy::Kind::Restrict,
            allow: Vec::new(),
            action,
            reject_with: RejectWith::Rst,
            divert_fallback: DivertFallback::Drop,
            mirror: false,
            phases: vec![PhasePlan { from: 0, block: None, action, latch: Arc::default() }],
        });
        let pools = (0..ACTIONS.len()).map(|policy| PoolPlan {
            id: PoolId(policy as u16 + 1),
            policy,
            prefixes: [(v4(policy as u8, 0), 24), (v6(policy as u16, 0), 64)]
                .map(|(address, length)| IpNetwork::new(address, length).unwrap())
                .to_vec(),
        });
        let blueprint = Blueprint {
            number: 1,
            ports,
            reverse_path,
            redirects: router.redirects,
            policies: policies.to_vec(),
            pools: pools.collect(),
            ..Blueprint::default()
        };
        let often = RejectLimits { burst: 1000, interval_micros: 1, per_second: 1_000_000 };
        let limits = PuntLimits { places: 1024, longest: 4096, per_second: [1_000_000; 3], resolves: false };
        let common = Arc::new(Common::new(PORTS, often).with_router(Punts::new(PORTS, limits), often));
        (0..PORTS as u8).for_each(|port| common.punts().unwrap().set_taken(PortId(port), true));
        let counters = Arc::new(WorkerCounters::new(PORTS, 1));
        let pipeline = Pipeline::new(Arc::clone(&common), Arc::clone(&counters), FragmentLimits::default());
        let mut routes = Routes::new(1).unwrap();
        let reader = routes.reader();
        let applied = routes.apply(&changes(router));
        assert_eq!(applied.refused, []);
        let generation = Generation::compile(&blueprint).unwrap();
        Product { generation, pipeline, common, counters, routes, reader }
    }
}

fn changes(router: &Router) -> Vec<Change> {
    let id = |link: usize| LinkId(10 + link as u32);
    let links = router.links.iter().enumerate().map(|(n, link)| {
        Change::LinkUp(Link {
            id: id(n),
            port: PortId(link.port),
            vlan: (link.vlan != 0).then_some(link.vlan),
            mac: link.mac,
            mtu: link.mtu as u16,
            addresses: link
                .addresses
                .iter()
                .map(|(a, length)| IpNetwork::new(*a, *length).unwrap())
                .collect(),
        })
    });
    let routes = router.routes.iter().map(|(prefix, length, kind)| Change::SetRoute {
        prefix: IpNetwork::new(*prefix, *length).unwrap(),
        kind: match kind {
            Kind::Via(hops, mtu) => {
                let mtu = mtu.map(|mtu| mtu as u16);
                let hop = |(link, via): &(usize, _)| Hop { mtu, ..Hop::new(id(*link), *via) };
                RouteKind::Unicast(hops.iter().map(hop).collect())
            }
            Kind::Blackhole => RouteKind::Blackhole,
            Kind::Unreachable => RouteKind::Unreachable,
            Kind::Prohibit => RouteKind::Prohibit,
        },
    });
    let neighbours = router.neighbours.iter().map(|(link, address, mac)| {
        Change::SetNeighbour(Neighbour { link: id(*link), address: *address, mac: *mac })
    });
    links.chain(routes).chain(neighbours).collect()
}

/// Networks 10.0.n.0/24 and 2001:db8:n::/64, one for each link, and some beyond.
fn v4(network: u8, host: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, network, host).into()
}

fn v6(network: u16, host: u16) -> IpAddr {
    Ipv6Addr::new(0x2001, 0xdb8, network, 0, 0, 0, 0, host).into()
}

fn mac(link: usize) -> [u8; 6] {
    [2, 0, 0, 0, 1, link as u8]
}

fn router() -> impl Strategy<Value = Router> {
    let link = |n: usize| {
        let (port, vlan) = [(0, 0), (0, 100), (1, 0), (2, 7)][n];
        select(vec![1500usize, 600]).prop_map(move |mtu| sekisho_tests::twin::router::Link {
            port,
            vlan,
            mac: mac(n),
            mtu,
            addresses: vec![
                (v4(n as u8, 1), 24),
                (v6(n as u16, 1), 64),
                (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1).into(), 64),
            ],
        })
    };
    let hop = (0usize..4, 0u8..4).prop_map(|(link, host)| (link, host));
    let mtu = select(vec![None, None, Some(40), Some(580), Some(1400), Some(9000)]);
    let kind = prop_oneof![
        5 => (prop::collection::vec(hop, 1..4), mtu).prop_map(Some),
        2 => Just(None),
    ];
    // Network 8 is one of link-local addresses.
    let route = (any::<bool>(), 0u8..9, select(vec![0u8, 16, 22, 24, 28, 32]), kind, 0u8..4);
    let neighbour = (0usize..4, any::<bool>(), 0u8..4);
    (
        (link(0), link(1), link(2), link(3)),
        prop::collection::vec(route, 0..8),
        prop::collection::vec(neighbour, 0..24),
        select(vec![Check::Off, Check::Loose, Check::Strict]),
        any::<bool>(),
    )
        .prop_map(|((a, b, c, d), routes, neighbours, check, redirects)| {
            let links = vec![a, b, c, d];
            let mut made: Vec<(IpAddr, u8, Kind)> = Vec::new();
            for (is_v6, network, length, hops, which) in routes {
                let length = if is_v6 { length * 2 } else { length };
                let address = match (network, is_v6) {
                    (8, false) => Ipv4Addr::new(169, 254, 3, which).into(),
                    (8, true) => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, which.into()).into(),
                    (_, true) => v6(network.into(), which.into()),
                    (_, false) => v4(network, which),
                };
                let prefix = IpNetwork::new(address, length).unwrap().network();
                if made.iter().any(|(other, of, _)| (*other, *of) == (prefix, length)) {
                    continue;
                }
                let via = |(link, host): (usize, u8)| {
                    let address = if is_v6 { v6(link as u16, host.into()) } else { v4(link as u8, host) };
                    (link, (host > 0).then_some(address))
                };
                let kind = match hops {
                    Some((hops, mtu)) => {
                        // Links that take as much, so that it does not matter which hop is taken; and each once.
                        let first = hops[0].0;
                        let mut same: Vec<_> = hops
                            .into_iter()
                            .filter(|hop| links[hop.0].mtu == links[first].mtu)
                            .map(via)
                            .collect();
                        same.sort();
                        same.dedup();
                        Kind::Via(same, mtu)
                    }
                    None => {
                        [Kind::Blackhole, Kind::Unreachable, Kind::Prohibit][usize::from(which % 3)].clone()
                    }
                };
                made.push((prefix, length, kind));
            }
            let mut known: Vec<(usize, IpAddr, [u8; 6])> = Vec::new();
            for (link, is_v6, host) in neighbours {
                let host = host + 1;
                let address = if is_v6 { v6(link as u16, host.into()) } else { v4(link as u8, host) };
                if !known.iter().any(|(on, other, _)| (*on, *other) == (link, address)) {
                    known.push((link, address, [2, 0, 0, link as u8, 2, host]));
                }
            }
            Router { links, routes: made, neighbours: known, check, redirects }
        })
}

/// A frame to be made.
#[derive(Clone, Debug)]
struct Shape {
    link: usize,
    to: u8,
    tag: Option<u16>,
    source: IpAddr,
    destination: IpAddr,
    ttl: u8,
    protocol: u8,
    ports: (u16, u16),
    payload: usize,
    flags: u16,
    options: bool,
    bad_checksum: bool,
    /// From one host of the link to another.
    stays: bool,
}

fn address(is_v6: bool) -> BoxedStrategy<IpAddr> {
    let odd: Vec<IpAddr> = match is_v6 {
        false => [
            "127.0.0.1",
            "224.0.0.5",
            "239.1.1.1",
            "240.0.0.1",
            "169.254.3.4",
            "255.255.255.255",
            "10.0.1.255",
            "10.0.2.0",
        ]
        .map(|text| text.parse().unwrap())
        .to_vec(),
        true => ["fe80::1", "fe80::9", "ff02::1", "ff0e::1", "::1", "fec0::1", "2001:db9::1"]
            .map(|text| text.parse().unwrap())
            .to_vec(),
    };
    let near = (0u8..8, 0u8..6).prop_map(move |(network, host)| match is_v6 {
        false => v4(network, host),
        true => v6(network.into(), host.into()),
    });
    prop_oneof![9 => near, 1 => select(odd)].boxed()
}

fn shape() -> impl Strategy<Value = Shape> {
    any::<bool>().prop_flat_map(|is_v6| {
        (
            (0usize..4, prop_oneof![12 => Just(0u8), 1 => Just(1u8), 1 => Just(2u8)]),
            prop_oneof![12 => Just(None), 1 => Just(Some(55u16)), 1 => Just(Some(0u16))],
            address(is_v6),
            address(is_v6),
            prop_oneof![8 => 2u8..=255, 1 => Just(1u8), 1 => Just(0u8)],
            select(vec![6u8, 6, 17, 17, 1, 58, 47, 132]),
            (1024u16..2000, select(vec![53u16, 443, 179, 25])),
            prop_oneof![6 => 20usize..60, 1 => 500usize..700, 1 => 1400usize..1452],
            prop_oneof![8 => Just(0x4000u16), 4 => Just(0u16), 1 => Just(0x2000), 1 => Just(0x0010)],
            (prop::bool::weighted(0.1), prop::bool::weighted(0.05), prop::bool::weighted(0.15)),
        )
            .prop_map(
                move |(
                    (link, to),
                    tag,
                    source,
                    destination,
                    ttl,
                    protocol,
                    ports,
                    payload,
                    flags,
                    (options, bad, stays),
                )| {
                    Shape {
                        link,
                        to,
                        tag,
                        source,
                        destination,
                        ttl,
                        protocol,
                        ports,
                        payload,
                        flags,
                        options,
                        bad_checksum: bad,
                        stays,
                    }
                },
            )
    })
}

fn checksum(header: &[u8]) -> u16 {
    let mut sum: u32 = header.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

impl Shape {
    fn frame(&self, router: &Router) -> (u8, Vec<u8>) {
        let link = &router.links[self.link];
        let to = match (self.to, self.destination) {
            (1, _) => [2, 9, 9, 9, 9, 9],
            (2, _) => [0xff; 6],
            (_, IpAddr::V4(a)) if a.is_multicast() => [1, 0, 0x5e, 1, 1, 1],
            (_, IpAddr::V6(a)) if a.is_multicast() => [0x33, 0x33, 0, 0, 0, 1],
            _ => link.mac,
        };
        let mut frame = [to, [2, 8, 8, 8, 8, 8]].concat();
        // What is untagged may come with a priority tag.
        let vlan = match (self.tag, link.vlan) {
            (Some(tag), 0) => Some(tag),
            (_, 0) => None,
            (Some(55), _) => Some(55),
            (_, vlan) => Some(vlan),
        };
        if let Some(vlan) = vlan {
            frame.extend([0x81, 0x00]);
            frame.extend((0xa000 | vlan).to_be_bytes());
        }
        let mut upper = vec![0u8; self.payload.max(20)];
        upper[..2].copy_from_slice(&self.ports.0.to_be_bytes());
        upper[2..4].copy_from_slice(&self.ports.1.to_be_bytes());
        match self.protocol {
            6 => upper[12] = 0x50,
            1 => upper[0] = [8, 3, 11, 0][self.payload % 4],
            58 => upper[0] = [128, 1, 3, 135, 137][self.payload % 5],
            _ => {}
        }
        let (mut source, mut destination) = (self.source, self.destination);
        if self.stays && to == link.mac {
            let hosts = [2 + self.ttl % 3, 2 + self.payload as u8 % 3];
            [source, destination] = hosts.map(|host| match source {
                IpAddr::V4(_) => v4(self.link as u8, host),
                IpAddr::V6(_) => v6(self.link as u16, host.into()),
            });
        }
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                frame.extend([0x08, 0x00]);
                // Two padding options and record route.
                let options: &[u8] = if self.options { &[1, 7, 7, 4, 0, 0, 0, 0] } else { &[] };
                let mut header = vec![0x45 + options.len() as u8 / 4, 0];
                header.extend(((20 + options.len() + upper.len()) as u16).to_be_bytes());
                header.extend([0x12, 0x34]);
                header.extend(self.flags.to_be_bytes());
                header.extend([self.ttl, self.protocol, 0, 0]);
                header.extend(source.octets());
                header.extend(destination.octets());
                header.extend(options);
                let sum = checksum(&header) ^ if self.bad_checksum { 0x0800 } else { 0 };
                header[10..12].copy_from_slice(&sum.to_be_bytes());
                frame.extend(header);
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                let fragment = self.flags & 0x2fff;
                let extension: Vec<u8> = match fragment {
                    0 => Vec::new(),
                    _ => {
                        let field = (fragment & 0x1fff) << 3 | fragment >> 13 & 1;
                        [&[self.protocol, 0][..], &field.to_be_bytes(), &[0, 0, 0, 9]].concat()
                    }
                };
                frame.extend(((extension.len() + upper.len()) as u16).to_be_bytes());
                frame.extend([if extension.is_empty() { self.protocol } else { 44 }, self.ttl]);
                frame.extend(source.octets());
                frame.extend(destination.octets());
                frame.extend(extension);
            }
            _ => unreachable!("of one family"),
        }
        frame.extend(upper);
        frame.resize(frame.len().max(60), 0);
        (link.port, frame)
    }
}

/// What a product's router did with a frame.
#[derive(Debug)]
struct Did {
    decision: Decision,
    /// The frame as it left.
    left: Vec<u8>,
    made: Vec<(PortId, Made, Vec<u8>)>,
}

fn run(product: &mut Product, port: u8, frames: &[Vec<u8>], burst: bool) -> Vec<Did> {
    let mut decisions = vec![Decision::UNDECIDED; frames.len()];
    let mut edits = vec![Edit::NOTHING; frames.len()];
    let mut replies = Replies::for_routing(frames.len() + 64);
    let slices: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    let now = Instant::from_utc_micros(1_780_000_000_000_000);
    let arrival = Arrival { port: PortId(port), link: Medium::Ethernet, now };
    let Product { generation, pipeline, reader, common, .. } = product;
    let mut online = reader.online();
    let outcomes = Outcomes { decisions: &mut decisions, edits: &mut edits };
    match burst {
        true => pipeline.judge_routed(generation, &mut online, arrival, &slices, outcomes, &mut replies),
        false => {
            pipeline.judge_routed_traced(
                generation,
                &mut online,
                arrival,
                &slices,
                outcomes,
                &mut replies,
                &mut (),
            );
        }
    }
    while let Some(frame) = common.punts().unwrap().next_punted() {
        common.punts().unwrap().give_back(frame);
    }
    let did = frames.iter().zip(decisions).zip(&edits).enumerate().map(|(at, ((frame, decision), edit))| {
        let mut left = frame.clone();
        edit.carry_out_on(&mut left);
        let mine = replies.iter().filter(|(reply, _)| reply.answers as usize == at);
        Did {
            decision,
            left,
            made: mine.map(|(reply, bytes)| (reply.port, reply.made, bytes.to_vec())).collect(),
        }
    });
    did.collect()
}

/// The frame that must leave: MACs, tag and time to live changed, and the checksum counted anew.
fn rewritten(frame: &[u8], (_, vlan, to, from): (u8, u16, [u8; 6], [u8; 6])) -> Vec<u8> {
    let tagged = frame[12..14] == [0x81, 0];
    let priority = if tagged { frame[14] & 0xf0 } else { 0 };
    let rest = &frame[if tagged { 16 } else { 12 }..];
    let mut out = [to, from].concat();
    if vlan != 0 {
        out.extend([0x81, 0, priority | (vlan >> 8) as u8, vlan as u8]);
    }
    let at = out.len() + 2;
    out.extend(rest);
    match out[at] >> 4 {
        4 => {
            out[at + 8] -= 1;
            out[at + 10..at + 12].fill(0);
            let header = usize::from(out[at] & 15) * 4;
            let sum = checksum(&out[at..at + header]);
            out[at + 10..at + 12].copy_from_slice(&sum.to_be_bytes());
        }
        _ => out[at + 7] -= 1,
    }
    out
}

/// What the policy does with a whole TCP segment to port 25 of a customer, and why; nothing of anything else.
fn mail_action(port: u8, frame: &[u8]) -> Option<(Action, &'static str)> {
    let at = if frame[12..14] == [0x81, 0] { 18 } else { 14 };
    let packet = &frame[at..];
    let (protocol, upper, network) = match packet[0] >> 4 {
        4 if packet[6] & 0x3f == 0 && packet[7] == 0 => match &packet[12..15] {
            [10, 0, network] => (packet[9], usize::from(packet[0] & 15) * 4, *network),
            [10, ..] | [169, 254, _] => (packet[9], usize::from(packet[0] & 15) * 4, u8::MAX),
            _ => return None,
        },
        6 => match &packet[8..14] {
            [0x20, 0x01, 0x0d, 0xb8, 0, network] => (packet[6], 40, *network),
            [0x20, 0x01, ..] | [0xfe, 0xc0, ..] => (packet[6], 40, u8::MAX),
            _ => return None,
        },
        _ => return None,
    };
    let mail = port == 0 && protocol == 6 && packet[upper + 2..upper + 4] == [0, 25];
    let action = ACTIONS.get(usize::from(network)).map(|action| (*action, "port25-egress"));
    mail.then(|| action.unwrap_or((Action::Drop, "port25-unknown-source")))
}

/// Whether the packet is part of a datagram, whose other parts the policy remembers.
fn is_fragment(frame: &[u8]) -> bool {
    let packet = &frame[if frame[12..14] == [0x81, 0] { 18 } else { 14 }..];
    match packet[0] >> 4 {
        4 => packet[6] & 0x3f != 0 || packet[7] != 0,
        _ => packet[6] == 44,
    }
}

/// Mail is judged by the policy, but only what is for the router is answered, diverted, or booked as denied.
fn differs_of_mail(
    router: &Router,
    port: u8,
    frame: &[u8],
    did: &Did,
    (action, reason): (Action, &'static str),
) -> Option<String> {
    let Did { decision, left, made } = did;
    let answered =
        matches!(&made[..], [(out, Made::Answer, bytes)] if out.0 == port && bytes[..6] == frame[6..12]);
    let (expected, fits) = match (router.overheard(port, frame), action) {
        (Some(reason), _) => (reason, decision.taken == Taken::Drop && made.is_empty()),
        (None, Action::Reject) => (reason, (decision.taken == Taken::Reject) == answered),
        (None, Action::Divert) => (reason, (decision.taken, decision.out) == (Taken::Divert, Some(FILTER))),
        (None, Action::Drop | Action::Monitor) => (reason, decision.taken == Taken::Drop && made.is_empty()),
    };
    let fits = fits && decision.reason.code() == expected && left == frame;
    (!fits).then(|| format!("{action:?} must be {expected}, was {did:?}"))
}

fn differs(router: &Router, port: u8, frame: &[u8], did: &Did) -> Option<String> {
    // What is only monitored is forwarded as anything else.
    if let Some(denied) = mail_action(port, frame).filter(|(action, _)| *action != Action::Monitor) {
        return differs_of_mail(router, port, frame, did, denied);
    }
    let Did { decision, .. } = did;
    let routed = decision.reason.rule() == "route";
    if decision.taken != Taken::Forward && !routed {
        // The policy's: a bogon, say.
        return None;
    }
    let overheard = router.overheard(port, frame).filter(|_| is_fragment(frame));
    if decision.taken == Taken::Drop && overheard == Some(decision.reason.code()) && did.made.is_empty() {
        return None;
    }
    let expected = router.outcome(port, frame);
    let fits = fits(router, &expected, port, frame, did);
    (!fits).then(|| format!("must be {expected:?}, was {did:?}"))
}

/// Whether a redirect says what it must, or there is none where there must be none.
fn redirects(router: &Router, way: Way, port: u8, frame: &[u8], made: &[(PortId, Made, Vec<u8>)]) -> bool {
    let Some((from, target, mac)) = router.redirect(port, frame, way) else { return made.is_empty() };
    let [(out, Made::Redirect, bytes)] = made else { return false };
    let packet = &bytes[if bytes[12..14] == [0x81, 0] { 18 } else { 14 }..];
    let right = match (from, target) {
        (IpAddr::V4(from), IpAddr::V4(target)) => {
            packet[12..16] == from.octets() && packet[20..22] == [5, 1] && packet[24..28] == target.octets()
        }
        (IpAddr::V6(from), IpAddr::V6(target)) => {
            packet[7] == 255
                && packet[8..24] == from.octets()
                && packet[40..42] == [137, 0]
                && packet[48..64] == target.octets()
                && packet[82..88] == mac
        }
        _ => false,
    };
    right && out.0 == port && bytes[..6] == frame[6..12]
}

fn fits(router: &Router, expected: &Outcome, port: u8, frame: &[u8], did: &Did) -> bool {
    let Did { decision, left, made } = did;
    let routed = decision.reason.rule() == "route";
    match expected {
        Outcome::Perhaps(ways, otherwise) => {
            fits(router, &Outcome::Forward(ways.clone()), port, frame, did)
                || fits(router, &Outcome::Fragments(ways.clone()), port, frame, did)
                || fits(router, otherwise, port, frame, did)
        }
        Outcome::Forward(ways) => {
            let way = ways.iter().find(|way| rewritten(frame, **way) == *left);
            decision.taken == Taken::Forward
                && !routed
                && way.is_some_and(|way| {
                    decision.out == Some(PortId(way.0)) && redirects(router, *way, port, frame, made)
                })
        }
        Outcome::Fragments(ways) => {
            decision.taken == Taken::Forward
                && decision.out.is_none()
                && made.len() > 1
                && made.iter().all(|(port, made, bytes)| {
                    *made == Made::Fragment
                        && ways
                            .iter()
                            .any(|way| way.0 == port.0 && bytes[..6] == way.2 && bytes[6..12] == way.3)
                })
        }
        Outcome::Local => decision.reason == Reason::Punted && decision.out.is_none(),
        Outcome::Drop(reason) => {
            decision.taken == Taken::Drop && decision.reason.code() == *reason && made.is_empty()
        }
        Outcome::Tell(reason, kind, code) => {
            let [(out, Made::Answer, bytes)] = &made[..] else {
                return false;
            };
            let at = if bytes[12..14] == [0x81, 0] { 18 } else { 14 };
            let upper = at + if bytes[at] >> 4 == 4 { 20 } else { 40 };
            decision.taken == Taken::Reject
                && decision.reason.code() == *reason
                && *out == PortId(port)
                && bytes[upper] == *kind
                && bytes[upper + 1] == *code
                && bytes[..6] == frame[6..12]
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_router_does_what_its_twin_says_in_bursts_and_one_by_one(
        router in router(),
        shapes in prop::collection::vec(shape(), 1..120),
    ) {
        let (mut bursts, mut single) = (Product::new(&router), Product::new(&router));
        for port in 0..PORTS as u8 {
            let made = shapes.iter().map(|shape| shape.frame(&router));
            let frames: Vec<Vec<u8>> = made.filter(|(on, _)| *on == port).map(|(_, frame)| frame).collect();
            if frames.is_empty() {
                continue;
            }
            let together = run(&mut bursts, port, &frames, true);
            let alone = run(&mut single, port, &frames, false);
            for ((frame, one), other) in frames.iter().zip(&together).zip(&alone) {
                prop_assert_eq!(one.decision, other.decision);
                prop_assert_eq!(&one.left, &other.left);
                prop_assert_eq!(&one.made, &other.made);
                let wrong = differs(&router, port, frame, one);
                prop_assert!(wrong.is_none(), "{}\n{:02x?}", wrong.unwrap_or_default(), frame);
            }
        }
        let books = |product: &Product| Totals::of([&*product.counters]);
        prop_assert_eq!(books(&bursts), books(&single));
        prop_assert!(books(&bursts).balance());
        bursts.routes.reclaim();
    }
}

/// A link of port 0, and one of port 2 for frames with a tag alone; a host of the first is known.
fn two_links() -> Router {
    let link = |n: usize, port, vlan| sekisho_tests::twin::router::Link {
        port,
        vlan,
        mac: mac(n),
        mtu: 1500,
        addresses: vec![(v4(n as u8, 1), 24)],
    };
    let neighbours = vec![(0, v4(0, 2), [2, 0, 0, 0, 2, 2])];
    let links = vec![link(0, 0, 0), link(1, 2, 7)];
    Router { links, routes: Vec::new(), neighbours, check: Check::Off, redirects: false }
}

/// A packet by UDP to a host of the first link, as it comes without a tag.
fn to_first_link(source: IpAddr, to: u8) -> Shape {
    Shape {
        link: 0,
        to,
        tag: None,
        source,
        destination: v4(0, 2),
        ttl: 64,
        protocol: 17,
        ports: (1024, 53),
        payload: 40,
        flags: 0,
        options: false,
        bad_checksum: false,
        stays: false,
    }
}

#[test]
fn frames_to_all_stations_by_a_link_that_is_not_there_are_of_no_link() {
    let router = two_links();
    let (_, frame) = to_first_link(v4(1, 5), 2).frame(&router);
    for burst in [true, false] {
        let did = run(&mut Product::new(&router), 2, std::slice::from_ref(&frame), burst);
        let Decision { taken, reason, out, .. } = did[0].decision;
        assert_eq!((taken, reason, out), (Taken::Drop, Reason::NoLink, None), "in a burst: {burst}");
    }
}

#[test]
fn no_redirect_is_sent_to_a_network_nor_to_the_router_itself() {
    let router = Router { redirects: true, ..two_links() };
    let made = [0, 1, 3, 255].map(|host| {
        let (_, frame) = to_first_link(v4(0, host), 0).frame(&router);
        run(&mut Product::new(&router), 0, &[frame], true)[0].made.len()
    });
    assert_eq!(made, [0, 0, 1, 0]);
}
