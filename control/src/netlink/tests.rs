//! The model against a slow twin of the kernel: lists in the kernel's order, searched from the front.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use proptest::prelude::*;

use super::Model;
use super::model::Subject;
use super::route::{Best, Event, Hop, How, Kind, Link, Route};

const TABLE: u32 = 2525;

/// A route of the twin: for IPv6, each hop is a route of its own, as in the kernel.
#[derive(Clone, Debug, PartialEq)]
struct Held {
    prefix: IpNetwork,
    route: Route,
}

#[derive(Clone, Debug)]
enum Step {
    Add(usize, usize, How),
    Remove(usize),
    LinkDown(u32),
    /// What was told since the last resynchronisation is lost from here on, until the next one.
    Lose,
    /// A dump, with so many steps between its parts.
    Sync(Vec<Step>),
}

fn prefixes(v6: bool) -> Vec<IpNetwork> {
    let texts: &[&str] =
        if v6 { &["2001:db8::/32", "::/0"] } else { &["10.0.0.0/8", "10.1.0.0/16", "0.0.0.0/0"] };
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn routes(v6: bool) -> Vec<Route> {
    let via = |text: &str| Some(text.parse::<IpAddr>().unwrap());
    let vias =
        if v6 { [via("fe80::1"), via("fe80::2"), None] } else { [via("192.0.2.1"), via("fe80::2"), None] };
    let hop = |link, via| Hop { link, via, weight: 1, encapsulated: false, mtu: None };
    let mut hop_sets: Vec<Vec<Hop>> = vec![];
    for link in [1, 2] {
        hop_sets.extend(vias.iter().map(|via| vec![hop(link, *via)]));
    }
    if !v6 {
        hop_sets.push(vec![hop(1, vias[0]), hop(2, vias[1])]);
    }
    let mut routes = vec![];
    for metric in [0, 10] {
        // Of routes with and without gateways and the same metric, IPv6 takes the one whose gateway it reaches: which one that
        // is, nobody tells. Here they have metrics of their own.
        let with_gateways =
            hop_sets.iter().filter(|hops| !v6 || hops.iter().all(|hop| hop.via.is_some()) == (metric == 0));
        for hops in with_gateways {
            routes.push(Route { kind: Kind::Unicast, metric, tos: 0, hops: hops.as_slice().into() });
        }
        if !v6 || metric == 10 {
            routes.push(Route { kind: Kind::Blackhole, metric, tos: 0, hops: [].into() });
        }
    }
    routes.push(Route { kind: Kind::Throw, metric: if v6 { 10 } else { 0 }, tos: 0, hops: [].into() });
    if !v6 {
        routes.push(Route { kind: Kind::Unreachable, metric: 0, tos: 16, hops: [].into() });
    }
    routes
}

struct Kernel {
    v6: bool,
    held: Vec<Held>,
}

fn place(route: &Route) -> (u32, u8) {
    (route.metric, route.tos)
}

fn joins(route: &Route) -> bool {
    route.kind == Kind::Unicast && route.hops.iter().all(|hop| hop.via.is_some())
}

impl Kernel {
    /// All hops of the routes that are joined with the one at `at`, its own first.
    fn joined(&self, at: usize) -> Route {
        let first = &self.held[at];
        if !self.v6 || !joins(&first.route) {
            return first.route.clone();
        }
        let others = self.held.iter().enumerate().filter(|(other, held)| {
            *other != at
                && held.prefix == first.prefix
                && place(&held.route) == place(&first.route)
                && joins(&held.route)
        });
        let hops = first.route.hops.iter().chain(others.flat_map(|(_, held)| held.route.hops.iter()));
        Route { hops: hops.copied().collect(), ..first.route.clone() }
    }

    fn add(&mut self, prefix: IpNetwork, route: &Route, how: How) -> Option<Event> {
        let same = |held: &Held| held.prefix == prefix && place(&held.route) == place(route);
        if self.held.iter().any(|held| held.prefix == prefix && held.route == *route) {
            return None;
        }
        let held = Held { prefix, route: route.clone() };
        let how = if self.held.iter().any(same) { how } else { How::Create };
        let at = match how {
            How::Replace => {
                let alike = |held: &Held| same(held) && (!self.v6 || joins(&held.route) == joins(route));
                let at = self.held.iter().position(alike).or_else(|| self.held.iter().position(same))?;
                // What was joined with it is replaced too.
                let was = self.held[at].clone();
                self.held[at] = held;
                if self.v6 && joins(&was.route) {
                    let mut index = 0;
                    self.held.retain(|other| {
                        index += 1;
                        index - 1 == at || !(same(other) && joins(&other.route))
                    });
                }
                self.held.iter().position(|held| held.prefix == prefix && held.route == *route)?
            }
            How::Create if !self.v6 => {
                let at = self.held.iter().position(same).unwrap_or(self.held.len());
                self.held.insert(at, held);
                at
            }
            How::Append | How::Create => {
                self.held.push(held);
                self.held.len() - 1
            }
        };
        Some(Event::Route(TABLE, prefix, self.joined(at), how))
    }

    fn remove(&mut self, which: usize) -> Option<Event> {
        let at = (!self.held.is_empty()).then(|| which % self.held.len())?;
        let Held { prefix, route } = self.held.remove(at);
        Some(Event::RouteGone(TABLE, prefix, route))
    }

    /// IPv4 says nothing, IPv6 tells of each.
    fn link_down(&mut self, link: u32) -> Vec<Event> {
        let mut events = vec![];
        self.held.retain(|held| {
            let hops = &held.route.hops;
            let gone = !hops.is_empty() && hops.iter().all(|hop| hop.link == link);
            if gone && self.v6 {
                events.push(Event::RouteGone(TABLE, held.prefix, held.route.clone()));
            }
            !gone
        });
        events
    }

    fn dump(&self) -> Vec<(IpNetwork, Route)> {
        let mut dump: Vec<(IpNetwork, Route)> = vec![];
        for metric in [0, 10] {
            for at in (0..self.held.len()).filter(|at| self.held[*at].route.metric == metric) {
                let Held { prefix, route } = &self.held[at];
                let told = |(known, other): &(IpNetwork, Route)| {
                    self.v6 && known == prefix && place(other) == place(route) && joins(other) && joins(route)
                };
                if !dump.iter().any(told) {
                    dump.push((*prefix, self.joined(at)));
                }
            }
        }
        dump
    }

    fn best(&self, prefix: &IpNetwork) -> Option<(Kind, BTreeSet<Hop>)> {
        let usable = self.held.iter().enumerate().filter(|(_, held)| {
            held.prefix == *prefix && held.route.tos == 0 && held.route.kind != Kind::Throw
        });
        let (at, held) = usable.min_by_key(|(_, held)| held.route.metric)?;
        Some((held.route.kind, self.joined(at).hops.iter().copied().collect()))
    }
}

struct Both {
    kernel: Kernel,
    model: Model,
    losing: bool,
    lost: bool,
}

impl Both {
    fn new(v6: bool) -> Both {
        Both { kernel: Kernel { v6, held: vec![] }, model: Model::new([TABLE]), losing: false, lost: false }
    }

    fn step(&mut self, step: &Step, kept: &mut Option<Vec<Event>>) {
        let v6 = self.kernel.v6;
        let events: Vec<Event> = match step {
            Step::Add(prefix, route, how) => {
                let (prefixes, routes) = (prefixes(v6), routes(v6));
                let route = &routes[route % routes.len()];
                self.kernel.add(prefixes[prefix % prefixes.len()], route, *how).into_iter().collect()
            }
            Step::Remove(which) => self.kernel.remove(*which).into_iter().collect(),
            Step::LinkDown(link) => {
                let mut events = self.kernel.link_down(*link);
                for up in [true, false] {
                    let (index, name, mac, vlan) = (*link, format!("l{link}"), None, None);
                    events.push(Event::Link(Link { index, name, mac, mtu: 1500, up, carrier: up, vlan }));
                }
                events
            }
            Step::Lose => {
                self.losing = true;
                return;
            }
            Step::Sync(between) => {
                if kept.is_none() {
                    self.sync(between);
                }
                return;
            }
        };
        for event in events {
            if self.losing {
                self.lost = true;
            } else if let (Some(kept), Event::Route(..) | Event::RouteGone(..)) = (&mut *kept, &event) {
                kept.push(event);
            } else {
                self.model.apply(event);
            }
        }
    }

    /// As the listener does it: the parts of the dump are read at different times, and what is told meanwhile is kept.
    fn sync(&mut self, between: &[Step]) {
        (self.losing, self.lost) = (false, false);
        self.model.take_stale();
        self.model.begin();
        let mut kept = Some(vec![]);
        let mut read: BTreeSet<IpNetwork> = BTreeSet::new();
        for (part, prefix) in prefixes(self.kernel.v6).into_iter().enumerate() {
            read.insert(prefix);
            for (prefix, route) in self.kernel.dump().into_iter().filter(|(of, _)| *of == prefix) {
                self.model.dumped(Event::Route(TABLE, prefix, route, How::Create));
            }
            if let Some(step) = between.get(part) {
                self.step(step, &mut kept);
            }
        }
        self.model.end(Subject::Routes { table: TABLE, v6: self.kernel.v6 });
        kept.into_iter().flatten().for_each(|event| self.model.apply_again(event));
    }

    fn told(&self, prefix: &IpNetwork) -> Option<(Kind, BTreeSet<Hop>)> {
        let Best { kind, hops } = self.model.best(TABLE, prefix)?;
        Some((kind, hops.iter().copied().collect()))
    }
}

fn plain_step() -> impl Strategy<Value = Step> {
    let how = prop_oneof![Just(How::Replace), Just(How::Append), Just(How::Create)];
    prop_oneof![
        6 => (0..3usize, 0..40usize, how).prop_map(|(prefix, route, how)| Step::Add(prefix, route, how)),
        3 => (0..40usize).prop_map(Step::Remove),
        1 => (1..3u32).prop_map(Step::LinkDown),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => plain_step(),
        1 => Just(Step::Lose),
        2 => proptest::collection::vec(plain_step(), 0..4).prop_map(Step::Sync),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn the_model_holds_what_the_kernel_holds_whatever_is_lost_and_whatever_changes_during_a_dump(
        v6 in any::<bool>(),
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let mut both = Both::new(v6);
        let mut known: std::collections::HashMap<IpNetwork, Option<(Kind, BTreeSet<Hop>)>> = Default::default();
        for step in &steps {
            both.step(step, &mut None);
            // The listener asks anew when it has been told that something is lost, or the model says so.
            if both.lost || both.model.take_stale().routes {
                both.sync(&[]);
            }
            // Links that went down during a dump ask for another.
            while both.model.take_stale().routes {
                both.sync(&[]);
            }
            let dirty = both.model.take_dirty();
            for prefix in dirty.routes.values().flatten() {
                known.insert(*prefix, both.told(prefix));
            }
            for prefix in prefixes(v6) {
                prop_assert_eq!(both.told(&prefix), both.kernel.best(&prefix), "{} after {:?}", prefix, step);
                // Who only looks at what is dirty knows as much.
                let followed = known.get(&prefix).cloned().flatten();
                prop_assert_eq!(followed, both.told(&prefix), "{} was not dirty after {:?}", prefix, step);
            }
        }
    }
}

#[test]
fn a_route_that_took_anothers_place_and_went_while_a_dump_ran_takes_nothing_with_it() {
    use How::{Append, Replace};
    let mut both = Both::new(false);
    let during = vec![Step::Add(2, 16, Replace), Step::Remove(20)];
    let steps = [
        Step::Add(0, 0, Replace),
        Step::Add(2, 18, Replace),
        Step::Add(0, 8, Replace),
        Step::Remove(8),
        Step::Add(1, 0, Replace),
        Step::Add(0, 0, Replace),
        Step::Remove(0),
        Step::Add(2, 19, Append),
        Step::Add(0, 0, Replace),
        Step::Sync(during),
    ];
    for step in &steps {
        both.step(step, &mut None);
    }
    assert!(both.model.take_stale().routes, "nobody can tell");
    both.sync(&[]);
    for prefix in prefixes(false) {
        assert_eq!(both.told(&prefix), both.kernel.best(&prefix));
    }
}

#[test]
fn what_belongs_to_an_interface_goes_with_it() {
    let mut model = Model::new([]);
    let link = Link { index: 7, name: "a".into(), mac: None, mtu: 1500, up: true, carrier: true, vlan: None };
    model.apply(Event::Link(link));
    model.apply(Event::Address(7, "192.0.2.1/24".parse().unwrap()));
    let neighbour = super::Neighbour { mac: Some([2; 6]), stale: false, failed: false };
    let host: IpAddr = "192.0.2.2".parse().unwrap();
    model.apply(Event::Neighbour(7, host, neighbour));
    let dirty = model.take_dirty();
    assert!(dirty.links.contains(&7) && dirty.neighbours.contains(&(7, host)));
    model.apply(Event::LinkGone(7));
    assert!(model.take_stale().routes, "IPv4 says nothing of the routes that went with it");
    let dirty = model.take_dirty();
    assert!(dirty.links.contains(&7) && dirty.neighbours.contains(&(7, host)));
    assert_eq!((model.addresses(7).count(), model.neighbours().count(), model.links().count()), (0, 0, 0));
}

#[test]
fn a_dump_without_what_was_there_takes_it_away() {
    let mut model = Model::new([TABLE]);
    let (host, network): (IpAddr, IpNetwork) =
        ("192.0.2.2".parse().unwrap(), "192.0.2.1/24".parse().unwrap());
    let neighbour = super::Neighbour { mac: Some([2; 6]), stale: false, failed: false };
    model.apply(Event::Address(7, network));
    model.apply(Event::Neighbour(7, host, neighbour));
    model.apply(Event::Neighbour(8, host, neighbour));
    model.begin();
    model.end(Subject::Addresses);
    model.begin();
    model.dumped(Event::Neighbour(8, host, neighbour));
    model.end(Subject::Neighbours);
    assert_eq!(model.addresses(7).count(), 0);
    assert_eq!(model.neighbours().map(|(link, ..)| link).collect::<Vec<_>>(), [8]);
}

#[test]
fn a_table_is_known_when_dumps_of_both_versions_have_told_it_and_not_before() {
    let mut model = Model::new([TABLE]);
    let dump = |model: &mut Model, v6| {
        model.begin();
        model.end(Subject::Routes { table: TABLE, v6 });
    };
    dump(&mut model, false);
    assert!(!model.is_known(TABLE));
    dump(&mut model, true);
    assert!(model.is_known(TABLE) && !model.is_known(1), "it is empty, which is something to know");
    model.follow(&BTreeSet::from([1]));
    model.follow(&BTreeSet::from([1, TABLE]));
    assert!(!model.is_known(TABLE), "nobody has followed it meanwhile");
}
