//! What bounds a router, and that one who fills a bound takes nothing from the others: frames that wait for next hops, what
//! is asked of the kernel, frames for the router itself, errors by ICMP.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnetwork::IpNetwork;
use sekisho_dataplane::clock::Instant;
use sekisho_dataplane::counters::{Totals, WorkerCounters};
use sekisho_dataplane::frame::Link as Medium;
use sekisho_dataplane::generation::{Blueprint, Generation, PortPlan};
use sekisho_dataplane::pipeline::{Arrival, Common, Outcomes, Pipeline};
use sekisho_dataplane::policy::{Decision, FragmentLimits, PortId, Reason, Role, Taken};
use sekisho_dataplane::route::punt::{PuntLimits, Punts};
use sekisho_dataplane::route::{Change, Edit, Hop, Link, LinkId, Neighbour, RouteKind, RouteReader, Routes};
use sekisho_dataplane::{RejectLimits, Replies};

const PORTS: usize = 3;
const STATION: [u8; 6] = [2, 8, 8, 8, 8, 8];
/// A router beyond each link, whose MAC nobody knows at first.
const BEYOND: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const PUNTS: PuntLimits =
    PuntLimits { places: 4096, longest: 2048, per_second: [1_000_000; 3], resolves: true };
const ERRORS: RejectLimits = RejectLimits { burst: 1000, interval_micros: 1, per_second: 1_000_000 };

/// A router on 10.0.0.0/16, 10.1.0.0/16 and 10.2.0.0/16, by a port each.
struct Router {
    generation: Generation,
    pipeline: Pipeline,
    common: Arc<Common>,
    counters: Arc<WorkerCounters>,
    routes: Routes,
    reader: RouteReader,
    now: i64,
}

fn mac(port: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, port]
}

fn host(port: u8, n: u16) -> Ipv4Addr {
    let [high, low] = n.to_be_bytes();
    Ipv4Addr::new(10, port, high, low)
}

impl Router {
    fn new(punts: PuntLimits, errors: RejectLimits) -> Router {
        let ports = vec![PortPlan { role: Role::Servers, peer: None }; PORTS];
        let blueprint = Blueprint { number: 1, ports, ..Blueprint::default() };
        let common = Arc::new(Common::new(PORTS, errors).with_router(Punts::new(PORTS, punts), errors));
        (0..PORTS as u8).for_each(|port| common.punts().unwrap().set_taken(PortId(port), true));
        let counters = Arc::new(WorkerCounters::new(PORTS, 1));
        let pipeline = Pipeline::new(Arc::clone(&common), Arc::clone(&counters), FragmentLimits::default());
        let mut routes = Routes::new(1).unwrap();
        let reader = routes.reader();
        let links = (0..PORTS as u8).map(|port| {
            Change::LinkUp(Link {
                id: LinkId(port.into()),
                port: PortId(port),
                vlan: None,
                mac: mac(port),
                mtu: 1500,
                addresses: vec![IpNetwork::new(host(port, 1).into(), 16).unwrap()],
            })
        });
        assert_eq!(routes.apply(&links.collect::<Vec<_>>()).refused, []);
        let generation = Generation::compile(&blueprint).unwrap();
        Router { generation, pipeline, common, counters, routes, reader, now: 1_780_000_000_000_000 }
    }

    fn punts(&self) -> &Punts {
        self.common.punts().unwrap()
    }

    /// Routes the network beyond by the router at this port.
    fn lead_beyond(&mut self, port: u8) {
        let hop = Hop::new(LinkId(port.into()), Some(host(port, 9).into()));
        let prefix = IpNetwork::new(BEYOND.into(), 32).unwrap();
        let applied = self.routes.apply(&[Change::SetRoute { prefix, kind: RouteKind::Unicast(vec![hop]) }]);
        assert_eq!(applied.refused, []);
    }

    fn resolve(&mut self, port: u8, address: Ipv4Addr) {
        let neighbour = Neighbour { link: LinkId(port.into()), address: address.into(), mac: STATION };
        assert_eq!(self.routes.apply(&[Change::SetNeighbour(neighbour)]).refused, []);
    }

    fn receive(&mut self, port: u8, frames: &[Vec<u8>], replies: &mut Replies) -> Vec<Decision> {
        let mut decisions = vec![Decision::UNDECIDED; frames.len()];
        let mut edits = vec![Edit::NOTHING; frames.len()];
        let slices: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
        let now = Instant::from_utc_micros(self.now);
        let arrival = Arrival { port: PortId(port), link: Medium::Ethernet, now };
        let outcomes = Outcomes { decisions: &mut decisions, edits: &mut edits };
        let Router { pipeline, generation, reader, .. } = self;
        pipeline.judge_routed(generation, &mut reader.online(), arrival, &slices, outcomes, replies);
        decisions
    }

    fn receive_one(&mut self, port: u8, frame: Vec<u8>) -> Decision {
        self.receive(port, &[frame], &mut Replies::for_routing(1))[0]
    }

    /// Looks after the frames that wait; gives those that left, with their ports.
    fn tend(&mut self) -> Vec<(PortId, Vec<u8>)> {
        let mut left = Vec::new();
        let now = Instant::from_utc_micros(self.now);
        let Router { pipeline, generation, reader, .. } = self;
        let mut replies = Replies::for_routing(32);
        pipeline.tend_waiting(generation, &mut reader.online(), now, &mut replies, |port, frame| {
            left.push((port, frame.to_vec()));
            true
        });
        left
    }

    /// The addresses that are asked for, with their links' ports.
    fn wanted(&self) -> Vec<(u8, IpAddr)> {
        let wanted = std::iter::from_fn(|| self.punts().next_wanted());
        wanted.map(|wanted| (wanted.link.0 as u8, wanted.address)).collect()
    }

    fn waiting(&self) -> u64 {
        Totals::of([&*self.counters]).waiting
    }
}

fn frame(port: u8, source: Ipv4Addr, destination: Ipv4Addr, ttl: u8) -> Vec<u8> {
    let mut frame =
        [&mac(port)[..], &STATION, &[8, 0, 0x45, 0, 0, 46, 0, 0, 0x40, 0, ttl, 17, 0, 0]].concat();
    frame.extend(source.octets());
    frame.extend(destination.octets());
    let words = frame[14..34].chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let sum = words.sum::<u32>();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame.extend([0x9c, 0x40, 0, 53, 0, 26, 0, 0]);
    frame.resize(60, 0);
    frame
}

fn arp(port: u8) -> Vec<u8> {
    let mut frame = [&[0xff; 6][..], &STATION, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1, port]].concat();
    frame.resize(60, 0);
    frame
}

/// Packets from port 1 to hosts of port 0's network, which nobody is.
fn scan(router: &mut Router, hosts: std::ops::Range<u16>) {
    let hosts: Vec<u16> = hosts.collect();
    for hosts in hosts.chunks(32) {
        let frames: Vec<_> = hosts.iter().map(|n| frame(1, host(1, 2), host(0, *n), 64)).collect();
        router.receive(1, &frames, &mut Replies::for_routing(32));
    }
}

#[test]
fn a_scan_of_a_network_without_hosts_leaves_other_next_hops_their_turn() {
    let mut router = Router::new(PUNTS, ERRORS);
    router.lead_beyond(0);
    scan(&mut router, 100..3000);
    let asked = router.wanted().len();
    assert!((32..=512).contains(&asked), "{asked} asks of one second");
    // A host of another network: its packet waits, and goes on.
    let decision = router.receive_one(0, frame(0, host(0, 2), host(2, 7), 64));
    assert_eq!(decision.out, None);
    assert_eq!(router.wanted(), [(2, host(2, 7).into())]);
    router.resolve(2, host(2, 7));
    let left = router.tend();
    assert_eq!((left.len(), left[0].0), (1, PortId(2)));
    // A router in the network that is scanned: asked for, whether or not there is a place for the packet.
    let before = router.waiting();
    let place = router.receive_one(1, frame(1, host(1, 2), BEYOND, 64)).reason != Reason::Unresolved;
    assert_eq!(router.wanted(), [(0, host(0, 9).into())]);
    router.resolve(0, host(0, 9));
    assert_eq!(router.tend().len(), usize::from(place));
    assert_eq!(router.waiting() + u64::from(place), before + u64::from(place));
    let next = router.receive_one(1, frame(1, host(1, 2), BEYOND, 64));
    assert_eq!((next.taken, next.out), (Taken::Forward, Some(PortId(0))));
    // When those that wait have waited too long, all is as before, and the books balance.
    router.now += 3_000_000;
    while router.waiting() > 0 {
        router.tend();
    }
    assert!(Totals::of([&*router.counters]).balance());
}

#[test]
fn an_ask_that_finds_no_place_is_counted_and_comes_again_with_the_next_packet() {
    let mut router = Router::new(PuntLimits { places: 1, ..PUNTS }, ERRORS);
    for n in [7, 8] {
        router.receive_one(0, frame(0, host(0, 2), host(2, n), 64));
    }
    assert_eq!(router.punts().counts().wants_lost, 1);
    assert_eq!(router.wanted(), [(2, host(2, 7).into())]);
    router.receive_one(0, frame(0, host(0, 2), host(2, 7), 64));
    router.receive_one(0, frame(0, host(0, 2), host(2, 8), 64));
    assert_eq!(router.wanted(), [(2, host(2, 8).into())], "at once, and the other not again");
}

#[test]
fn a_packet_whose_route_leads_elsewhere_meanwhile_waits_for_whom_it_leads_to() {
    let mut router = Router::new(PUNTS, ERRORS);
    router.lead_beyond(1);
    router.receive_one(0, frame(0, host(0, 2), BEYOND, 64));
    assert_eq!(router.wanted(), [(1, host(1, 9).into())]);
    router.lead_beyond(2);
    assert_eq!(router.tend(), []);
    assert_eq!(router.wanted(), [(2, host(2, 9).into())]);
    router.resolve(1, host(1, 9));
    assert_eq!(router.tend(), [], "it does not go there any more");
    router.resolve(2, host(2, 9));
    let left = router.tend();
    assert_eq!((left.len(), left[0].0), (1, PortId(2)));
    assert!(Totals::of([&*router.counters]).balance());
}

#[test]
fn a_packet_whose_route_leads_to_a_known_router_meanwhile_does_not_wait_until_it_is_late() {
    let mut router = Router::new(PUNTS, ERRORS);
    // Another prefix has this router already, so that nothing but the prefix changes.
    let hop = Hop::new(LinkId(2), Some(host(2, 9).into()));
    let prefix = "198.51.100.0/24".parse().unwrap();
    router.routes.apply(&[Change::SetRoute { prefix, kind: RouteKind::Unicast(vec![hop]) }]);
    router.resolve(2, host(2, 9));
    router.lead_beyond(1);
    router.receive_one(0, frame(0, host(0, 2), BEYOND, 64));
    assert_eq!(router.tend(), []);
    router.lead_beyond(2);
    router.now += 100_000;
    let left = router.tend();
    assert_eq!((left.len(), left[0].0), (1, PortId(2)));
    assert_eq!(router.waiting(), 0);
    assert!(Totals::of([&*router.counters]).balance());
}

#[test]
fn a_flood_of_one_port_leaves_the_others_theirs() {
    let mut router = Router::new(PuntLimits { per_second: [1000; 3], ..PUNTS }, ERRORS);
    let punted = |decisions: &[Decision]| {
        decisions.iter().filter(|decision| decision.reason == Reason::Punted).count()
    };
    let mut flooded = 0;
    for _ in 0..20 {
        flooded += punted(&router.receive(0, &vec![arp(0); 32], &mut Replies::for_routing(32)));
    }
    assert_eq!(flooded, 100, "a tenth of a second's");
    let others = router.receive(1, &vec![arp(1); 32], &mut Replies::for_routing(32));
    assert_eq!(punted(&others), 32);
}

#[test]
fn an_error_that_finds_no_room_costs_its_sender_no_token() {
    let errors = RejectLimits { burst: 40, interval_micros: 1_000_000_000, per_second: 1_000_000 };
    let mut router = Router::new(PUNTS, errors);
    let expired: Vec<_> = (0..40).map(|_| frame(0, host(0, 2), host(1, 3), 1)).collect();
    // Room for 32 frames of its own.
    let mut replies = Replies::for_routing(0);
    router.receive(0, &expired, &mut replies);
    assert_eq!(replies.iter().count(), 32);
    let mut replies = Replies::for_routing(32);
    let decisions = router.receive(0, &expired[..9], &mut replies);
    assert_eq!(replies.iter().count(), 8, "as many as are left");
    assert!(decisions[8].suppressed);
    let totals = Totals::of([&*router.counters]);
    assert_eq!((totals.replies_lost, totals.suppressed), (8, 1));
    assert!(totals.balance());
}
