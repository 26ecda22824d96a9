//! What the kernel says of twins, as changes of the dataplane's routes.
//!
//! Links are numbered as in the configuration, by port and VLAN, so that static routes and the kernel's speak of the same ones;
//! here it is known which interface of the kernel each is. What holds for a prefix is a function of the model alone
//! ([`Mapping::wanted`]), which is also what the mirror is compared with.
//!
//! - The kernel looks up its table `local` first: what stands there for a prefix goes before the table `main`.
//! - A hop over an interface that is no twin, or that wants an encapsulation, is none for the fast path. A route without
//!   any other is unreachable here: nothing that customers send leaves by a management port.
//!
//! What the configuration says goes before that: [`StaticRoutes`](crate::routing::StaticRoutes) sees to it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use sekisho_dataplane::policy::PortId;
use sekisho_dataplane::route::{Change, Hop, Link, LinkId, Mac, Neighbour, RouteKind};

use crate::netlink::{self, Dirty, Kind, LOCAL, MAIN, Model};
use crate::routing::{Released, link_id};

/// An interface of the kernel that stands for a link.
#[derive(Clone, Debug)]
struct Mapped {
    id: LinkId,
    /// As it was told last; none while it does not work.
    told: Option<Link>,
}

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub struct Mapping {
    /// By the twin's name: its port.
    twins: BTreeMap<String, usize>,
    /// By the kernel's index.
    links: HashMap<u32, Mapped>,
}

impl Mapping {
    /// For the twins of ports.
    pub fn new(twins: impl IntoIterator<Item = (String, usize)>) -> Mapping {
        Mapping { twins: twins.into_iter().collect(), ..Mapping::default() }
    }

    /// What the kernel says of what the configuration no longer does.
    pub fn released(&self, model: &Model, released: &Released) -> Vec<Change> {
        let routes = released.prefixes.iter().map(|prefix| self.route(model, *prefix));
        let neighbours = released.neighbours.iter().map(|&(link, address)| {
            let index = self.interface(link);
            let known =
                index.and_then(|index| self.neighbour(index, address, model.neighbour(index, address)));
            known.unwrap_or(Change::RemoveNeighbour { link, address })
        });
        routes.chain(neighbours).collect()
    }

    /// The kernel's interface of a link.
    pub fn interface(&self, link: LinkId) -> Option<u32> {
        self.links.iter().find(|(_, mapped)| mapped.id == link).map(|(index, _)| *index)
    }

    /// All interfaces that stand for links.
    pub fn interfaces(&self) -> impl Iterator<Item = (LinkId, u32)> + '_ {
        self.links.iter().map(|(index, mapped)| (mapped.id, *index))
    }

    /// Whether an interface stands for a link that works.
    pub fn is_up(&self, index: u32) -> bool {
        self.links.get(&index).is_some_and(|mapped| mapped.told.is_some())
    }

    /// The changes that bring the dataplane to what is known now of what is dirty.
    pub fn changes(&mut self, model: &Model, dirty: &Dirty) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut new = BTreeSet::new();
        let mut links = dirty.links.clone();
        // What stands on a twin is known by it.
        links.extend(
            model
                .links()
                .filter(|link| link.vlan.is_some_and(|(below, _)| dirty.links.contains(&below)))
                .map(|l| l.index),
        );
        for index in links {
            self.link(model, index, &mut changes, &mut new);
        }
        // Routes that were told before their link was, and neighbours that went with it.
        if !new.is_empty() {
            for table in [LOCAL, MAIN] {
                let over = model
                    .routes(table)
                    .filter(|(_, best)| best.hops.iter().any(|hop| new.contains(&hop.link)));
                let prefixes: Vec<IpNetwork> = over.map(|(prefix, _)| prefix).collect();
                changes.extend(prefixes.into_iter().filter_map(|prefix| self.followed(model, prefix)));
            }
            let of_new = model.neighbours().filter(|(link, ..)| new.contains(link));
            changes.extend(
                of_new
                    .filter_map(|(link, address, neighbour)| self.neighbour(link, address, Some(neighbour))),
            );
        }
        for table in [LOCAL, MAIN] {
            let prefixes = dirty.routes.get(&table).into_iter().flatten();
            changes.extend(prefixes.filter_map(|prefix| self.followed(model, *prefix)));
        }
        changes.extend(
            dirty
                .neighbours
                .iter()
                .filter_map(|&(link, address)| self.neighbour(link, address, model.neighbour(link, address))),
        );
        changes
    }

    fn link(&mut self, model: &Model, index: u32, changes: &mut Vec<Change>, new: &mut BTreeSet<u32>) {
        let place = model.link(index).and_then(|link| self.place(model, link));
        let Some((port, vlan)) = place else {
            if let Some(Mapped { id, told: Some(_) }) = self.links.remove(&index) {
                changes.push(Change::LinkDown(id));
                // Where another took its place before its end was heard, that works on.
                let other = self.links.iter().find(|(_, mapped)| mapped.id == id && mapped.told.is_some());
                if let Some((other, Mapped { told: Some(link), .. })) = other {
                    new.insert(*other);
                    changes.push(Change::LinkUp(link.clone()));
                }
            }
            return;
        };
        let id = link_id(port, vlan);
        let told = model.link(index).filter(|link| link.up && link.carrier).map(|link| Link {
            id,
            port: PortId(port as u8),
            vlan,
            mac: link.mac.unwrap_or_default(),
            mtu: u16::try_from(link.mtu).unwrap_or(u16::MAX),
            addresses: model.addresses(index).filter_map(of_router).collect(),
        });
        let before = self.links.insert(index, Mapped { id, told: told.clone() });
        let was_up = before.as_ref().is_some_and(|mapped| mapped.told.is_some());
        match told {
            Some(link) => {
                if !was_up {
                    new.insert(index);
                }
                if before.and_then(|mapped| mapped.told).as_ref() != Some(&link) {
                    changes.push(Change::LinkUp(link));
                }
            }
            None => {
                if before.is_none() {
                    new.insert(index);
                }
                if was_up {
                    changes.push(Change::LinkDown(id));
                }
            }
        }
    }

    /// The port of an interface, and its VLAN.
    fn place(&self, model: &Model, link: &netlink::Link) -> Option<(usize, Option<u16>)> {
        if let Some(port) = self.twins.get(&link.name) {
            return Some((*port, None));
        }
        let (below, tag) = link.vlan?;
        Some((*self.twins.get(&model.link(below)?.name)?, Some(tag)))
    }

    fn neighbour(&self, index: u32, address: IpAddr, known: Option<netlink::Neighbour>) -> Option<Change> {
        let Mapped { id: link, told } = self.links.get(&index)?;
        let link = *link;
        if address.is_multicast() || told.is_none() {
            return None;
        }
        Some(match known.and_then(|neighbour| neighbour.mac) {
            Some(mac) => Change::SetNeighbour(Neighbour { link, address, mac }),
            None => Change::RemoveNeighbour { link, address },
        })
    }

    fn followed(&self, model: &Model, prefix: IpNetwork) -> Option<Change> {
        is_routed(&prefix).then(|| self.route(model, prefix))
    }

    fn route(&self, model: &Model, prefix: IpNetwork) -> Change {
        match self.wanted(model, prefix) {
            Some(kind) => Change::SetRoute { prefix, kind },
            None => Change::RemoveRoute(prefix),
        }
    }

    /// What the dataplane has to do with a prefix, as the kernel says it.
    pub fn wanted(&self, model: &Model, prefix: IpNetwork) -> Option<RouteKind> {
        if !is_routed(&prefix) {
            return None;
        }
        let local = model.best(LOCAL, &prefix).and_then(|best| match best.kind {
            Kind::Local => Some(RouteKind::Local),
            Kind::Broadcast => {
                best.hops.iter().any(|hop| self.links.contains_key(&hop.link)).then_some(RouteKind::Broadcast)
            }
            _ => None,
        });
        local.or_else(|| {
            let best = model.best(MAIN, &prefix)?;
            Some(match best.kind {
                Kind::Unicast => self.unicast(&best.hops),
                Kind::Blackhole => RouteKind::Blackhole,
                // What leads somewhere else must not be led on by a shorter prefix.
                Kind::Unreachable | Kind::Untold => RouteKind::Unreachable,
                Kind::Prohibit => RouteKind::Prohibit,
                Kind::Local => RouteKind::Local,
                Kind::Broadcast | Kind::Multicast | Kind::Throw => return None,
            })
        })
    }

    fn unicast(&self, hops: &[netlink::Hop]) -> RouteKind {
        let mut usable: Vec<Hop> = hops
            .iter()
            .filter(|hop| !hop.encapsulated)
            .filter_map(|hop| {
                let link = self.links.get(&hop.link)?.id;
                let mtu = hop.mtu.map(|mtu| u16::try_from(mtu).unwrap_or(u16::MAX));
                Some(Hop { weight: hop.weight, mtu, ..Hop::new(link, hop.via) })
            })
            .collect();
        usable.sort_unstable();
        if usable.is_empty() { RouteKind::Unreachable } else { RouteKind::Unicast(usable) }
    }

    /// The neighbours that the kernel knows on links that work.
    pub fn all_neighbours(&self, model: &Model) -> BTreeMap<(LinkId, IpAddr), Mac> {
        let changes = model
            .neighbours()
            .filter_map(|(link, address, known)| self.neighbour(link, address, Some(known)));
        let known = changes.filter_map(|change| match change {
            Change::SetNeighbour(Neighbour { link, address, mac }) => Some(((link, address), mac)),
            _ => None,
        });
        known.collect()
    }

    /// The MAC that the kernel knows of a neighbour on a link that works.
    pub fn mac(&self, model: &Model, link: LinkId, address: IpAddr) -> Option<Mac> {
        let index = self.interface(link)?;
        match self.neighbour(index, address, model.neighbour(index, address))? {
            Change::SetNeighbour(Neighbour { mac, .. }) => Some(mac),
            _ => None,
        }
    }
}

/// An address of the router. That of the link itself is one host: every link has the same network of these.
fn of_router(network: IpNetwork) -> Option<IpNetwork> {
    if is_of_the_link(network.ip()) { IpNetwork::new(network.ip(), 128).ok() } else { Some(network) }
}

fn is_of_the_link(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// Whether a prefix is one of packets that go from link to link: not the host's own, nor those of each link.
fn is_routed(prefix: &IpNetwork) -> bool {
    let address = prefix.ip();
    let whole = prefix.prefix() == 0;
    whole || !(address.is_loopback() || address.is_multicast() || is_of_the_link(address))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::netlink::{Event, How, Route};

    fn link(index: u32, name: &str, vlan: Option<(u32, u16)>, carrier: bool) -> Event {
        let mac = Some([2, 0, 0, 0, 0, index as u8]);
        Event::Link(netlink::Link { index, name: name.into(), mac, mtu: 1500, up: true, carrier, vlan })
    }

    fn prefix(text: &str) -> IpNetwork {
        text.parse().unwrap()
    }

    fn route(table: u32, to: &str, kind: Kind, hops: &[(u32, Option<&str>)]) -> Event {
        let hop = |(link, via): &(u32, Option<&str>)| {
            let via = via.map(|via| via.parse().unwrap());
            netlink::Hop { link: *link, via, weight: 1, encapsulated: false, mtu: None }
        };
        let hops: Arc<[netlink::Hop]> = hops.iter().map(hop).collect();
        Event::Route(table, prefix(to), Route { kind, metric: 0, tos: 0, hops }, How::Create)
    }

    struct Host {
        model: Model,
        mapping: Mapping,
    }

    impl Host {
        fn new() -> Host {
            let twins = [("sk-access".to_owned(), 0), ("sk-core".to_owned(), 1)];
            Host { model: Model::new([MAIN, LOCAL]), mapping: Mapping::new(twins) }
        }

        fn told(&mut self, events: impl IntoIterator<Item = Event>) -> Vec<Change> {
            events.into_iter().for_each(|event| self.model.apply(event));
            let dirty = self.model.take_dirty();
            self.mapping.changes(&self.model, &dirty)
        }

        fn wanted(&self, to: &str) -> Option<RouteKind> {
            self.mapping.wanted(&self.model, prefix(to))
        }
    }

    fn hop(port: usize, vlan: Option<u16>, via: Option<&str>) -> Hop {
        Hop::new(link_id(port, vlan), via.map(|via| via.parse().unwrap()))
    }

    #[test]
    fn twins_and_vlans_on_them_are_links_and_other_interfaces_are_none() {
        let mut host = Host::new();
        let changes = host.told([
            link(5, "sk-access", None, true),
            link(6, "eth0", None, true),
            link(7, "customers", Some((5, 100)), true),
            Event::Address(7, prefix("192.0.2.1/24")),
            Event::Address(7, prefix("fe80::1/64")),
        ]);
        let up: Vec<_> = changes
            .iter()
            .map(|change| match change {
                Change::LinkUp(link) => (link.id, link.vlan, link.addresses.len()),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(up, [(link_id(0, None), None, 0), (link_id(0, Some(100)), Some(100), 2)]);
        assert_eq!(host.told([link(5, "sk-access", None, true)]), [], "it is as it was");
        let changes = host.told([link(5, "sk-access", None, false), Event::LinkGone(7)]);
        assert_eq!(changes, [link_id(0, None), link_id(0, Some(100))].map(Change::LinkDown));
        assert!(!host.mapping.is_up(5));
    }

    #[test]
    fn a_route_leads_over_twins_alone_and_what_only_leads_elsewhere_is_unreachable() {
        let mut host = Host::new();
        host.told([link(5, "sk-access", None, true), link(6, "eth0", None, true)]);
        host.told([
            route(MAIN, "10.1.0.0/16", Kind::Unicast, &[(5, Some("192.0.2.2")), (6, Some("198.51.100.1"))]),
            route(MAIN, "0.0.0.0/0", Kind::Unicast, &[(6, Some("198.51.100.1"))]),
            route(MAIN, "10.2.0.0/16", Kind::Blackhole, &[]),
            route(MAIN, "fe80::/64", Kind::Unicast, &[(5, None)]),
            route(LOCAL, "127.0.0.0/8", Kind::Local, &[(1, None)]),
            route(LOCAL, "192.0.2.1/32", Kind::Local, &[(5, None)]),
            route(LOCAL, "198.51.100.255/32", Kind::Broadcast, &[(6, None)]),
            route(LOCAL, "192.0.2.255/32", Kind::Broadcast, &[(5, None)]),
        ]);
        let unicast = |hops: Vec<Hop>| Some(RouteKind::Unicast(hops));
        assert_eq!(host.wanted("10.1.0.0/16"), unicast(vec![hop(0, None, Some("192.0.2.2"))]));
        assert_eq!(host.wanted("0.0.0.0/0"), Some(RouteKind::Unreachable));
        assert_eq!(host.wanted("10.2.0.0/16"), Some(RouteKind::Blackhole));
        assert_eq!(host.wanted("192.0.2.1/32"), Some(RouteKind::Local));
        assert_eq!(host.wanted("192.0.2.255/32"), Some(RouteKind::Broadcast));
        for none in ["fe80::/64", "127.0.0.0/8", "198.51.100.255/32", "10.3.0.0/16"] {
            assert_eq!(host.wanted(none), None, "{none}");
        }
    }

    #[test]
    fn routes_that_were_told_before_their_link_and_neighbours_that_went_with_it_come_with_it() {
        let mut host = Host::new();
        let neighbour = netlink::Neighbour { mac: Some([2, 0, 0, 0, 0, 9]), stale: false, failed: false };
        let address: IpAddr = "192.0.2.2".parse().unwrap();
        let changes = host.told([
            route(MAIN, "10.1.0.0/16", Kind::Unicast, &[(5, Some("192.0.2.2"))]),
            Event::Neighbour(5, address, neighbour),
        ]);
        assert_eq!(changes.len(), 1, "{changes:?}");
        let set =
            Change::SetNeighbour(Neighbour { link: link_id(0, None), address, mac: [2, 0, 0, 0, 0, 9] });
        let kind = RouteKind::Unicast(vec![hop(0, None, Some("192.0.2.2"))]);
        let via = Change::SetRoute { prefix: prefix("10.1.0.0/16"), kind };
        let changes = host.told([link(5, "sk-access", None, true)]);
        assert_eq!(changes[1..], [via.clone(), set.clone()], "{changes:?}");
        assert_eq!(host.told([link(5, "sk-access", None, false)]).len(), 1);
        assert_eq!(host.told([link(5, "sk-access", None, true)])[1..], [via, set]);
        let gone = host.told([Event::Neighbour(
            5,
            address,
            netlink::Neighbour { mac: None, stale: false, failed: true },
        )]);
        assert_eq!(gone, [Change::RemoveNeighbour { link: link_id(0, None), address }]);
    }

    #[test]
    fn what_the_configuration_no_longer_says_is_what_the_kernel_says_of_it() {
        let mut host = Host::new();
        let neighbour = netlink::Neighbour { mac: Some([2, 0, 0, 0, 0, 9]), stale: false, failed: false };
        let [known, unknown]: [IpAddr; 2] = ["192.0.2.2", "192.0.2.3"].map(|ip| ip.parse().unwrap());
        host.told([
            link(5, "sk-access", None, true),
            route(MAIN, "10.1.0.0/16", Kind::Blackhole, &[]),
            Event::Neighbour(5, known, neighbour),
        ]);
        let (here, elsewhere) = (link_id(0, None), link_id(1, None));
        let released = Released {
            prefixes: vec![prefix("10.1.0.0/16"), prefix("10.2.0.0/16")],
            neighbours: vec![(here, known), (here, unknown), (elsewhere, known)],
        };
        let gone = |link, address| Change::RemoveNeighbour { link, address };
        assert_eq!(
            host.mapping.released(&host.model, &released),
            [
                Change::SetRoute { prefix: prefix("10.1.0.0/16"), kind: RouteKind::Blackhole },
                Change::RemoveRoute(prefix("10.2.0.0/16")),
                Change::SetNeighbour(Neighbour { link: here, address: known, mac: [2, 0, 0, 0, 0, 9] }),
                gone(here, unknown),
                gone(elsewhere, known),
            ]
        );
    }

    #[test]
    fn a_twin_that_was_made_again_works_on_though_the_end_of_the_former_is_heard_later() {
        let mut host = Host::new();
        let mac = Some([2, 0, 0, 0, 0, 9]);
        let neighbour = netlink::Neighbour { mac, stale: false, failed: false };
        let known: IpAddr = "192.0.2.2".parse().unwrap();
        host.told([link(7, "sk-access", None, true)]);
        host.told([
            link(9, "sk-access", None, true),
            route(MAIN, "192.0.2.0/24", Kind::Unicast, &[(9, None)]),
            Event::Neighbour(9, known, neighbour),
        ]);
        let changes = host.told([Event::LinkGone(7)]);
        let id = link_id(0, None);
        assert_eq!(changes[0], Change::LinkDown(id));
        assert!(
            matches!(&changes[1], Change::LinkUp(link) if link.id == id && link.mac[5] == 9),
            "{changes:?}"
        );
        let kind = RouteKind::Unicast(vec![hop(0, None, None)]);
        assert_eq!(
            changes[2..],
            [
                Change::SetRoute { prefix: prefix("192.0.2.0/24"), kind },
                Change::SetNeighbour(Neighbour { link: id, address: known, mac: [2, 0, 0, 0, 0, 9] }),
            ]
        );
        assert_eq!(host.mapping.interface(id), Some(9));
    }
}
