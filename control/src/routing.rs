//! Static routing: what a configuration says of links, routes and neighbours, as changes to the routes.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::IpNetwork;
use sekisho_dataplane::RejectLimits;
use sekisho_dataplane::pipeline::Common;
use sekisho_dataplane::policy::PortId;
use sekisho_dataplane::route::punt::{PuntLimits, Punts};
use sekisho_dataplane::route::{
    Applied, Change, Hop, Link, LinkId, Mac, Neighbour, RouteKind, RouteReader, Routes,
};

use crate::compile::reject_limits;
use crate::config::{Config, Limits, Mode, Port, StaticKind};

/// What is longest without another word.
const MTU: u16 = 1500;
/// Links are numbered by port and VLAN.
const VLANS: u32 = 4096;

/// How often errors are sent by ICMP.
pub fn icmp_limits(limits: &Limits) -> RejectLimits {
    RejectLimits {
        burst: limits.icmp_burst,
        interval_micros: limits.icmp_interval_micros,
        per_second: limits.icmp_per_second,
    }
}

/// The number of a link that the configuration names. Links of the kernel have other numbers.
pub fn link_id(port: usize, vlan: Option<u16>) -> LinkId {
    LinkId(port as u32 * VLANS + u32::from(vlan.unwrap_or(0)))
}

/// Queues to and from the kernel for a configuration in route mode; none in bridge mode. `resolves` says whether somebody
/// finds out the MACs of next hops.
pub fn punts(config: &Config, resolves: bool) -> Option<Punts> {
    /// Frames each way.
    const PLACES: usize = 1024;
    /// MACs, two tags, EtherType, and some more.
    const LINK: usize = 32;
    if config.dataplane.mode == Mode::Bridge {
        return None;
    }
    let longest = config.ports.iter().map(|port| port.router.mtu.or(device(port).mtu).unwrap_or(MTU)).max();
    let longest = usize::from(longest.unwrap_or(MTU).max(MTU)) + LINK;
    Some(Punts::new(
        config.ports.len(),
        PuntLimits { places: PLACES, longest, resolves, ..PuntLimits::default() },
    ))
}

/// What all workers share, for a bridge or a router.
pub fn common(config: &Config, resolves: bool) -> Common {
    let common = Common::new(config.ports.len(), reject_limits(&config.limits));
    match punts(config, resolves) {
        Some(punts) => common.with_router(punts, icmp_limits(&config.limits)),
        None => common,
    }
}

/// What a device says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// Its MAC.
    pub mac: Option<Mac>,
    /// Its MTU.
    pub mtu: Option<u16>,
}

/// What this host's device of a port says of itself; nothing where there is none.
pub fn device(port: &Port) -> Device {
    let Some(device) = port.driver.device() else { return Device::default() };
    let read = |what| fs::read_to_string(format!("/sys/class/net/{device}/{what}")).ok();
    let mac = read("address").and_then(|text| {
        let bytes: Option<Vec<u8>> =
            text.trim().split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
        bytes?.try_into().ok()
    });
    let mtu = read("mtu").and_then(|text| text.trim().parse::<u32>().ok());
    Device { mac, mtu: mtu.map(|mtu| u16::try_from(mtu).unwrap_or(u16::MAX)) }
}

/// The router's MAC at a port, and the longest IP packet there.
pub fn mac_and_mtu(at: usize, port: &Port, device: Device) -> (Mac, u16) {
    let mac = port.router.mac.or(device.mac).unwrap_or([0x02, 0, 0, 0, 0, at as u8]);
    (mac, port.router.mtu.or(device.mtu).unwrap_or(MTU))
}

/// What a configuration says of the routes, one change for each thing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    links: BTreeMap<LinkId, Link>,
    routes: BTreeMap<IpNetwork, RouteKind>,
    neighbours: BTreeMap<(LinkId, IpAddr), Mac>,
}

impl Plan {
    /// The plan of a configuration. `device` says what a port's device says of itself. With `mirrors`, the kernel says what
    /// the links of ports with twins are.
    pub fn new(config: &Config, device: impl Fn(&Port) -> Device, mirrors: bool) -> Plan {
        let mut plan = Plan::default();
        if config.dataplane.mode == Mode::Bridge {
            return plan;
        }
        for (at, port) in config.ports.iter().enumerate() {
            if mirrors && port.router.twin.is_some() {
                continue;
            }
            let (mac, mtu) = mac_and_mtu(at, port, device(port));
            let mut add = |vlan: Option<u16>, addresses: &[IpNetwork]| {
                let id = link_id(at, vlan);
                let link = Link { id, port: PortId(at as u8), vlan, mac, mtu, addresses: addresses.to_vec() };
                plan.links.insert(id, link);
            };
            add(None, &port.router.addresses);
            port.router.vlans.iter().for_each(|vlan| add(Some(vlan.id), &vlan.addresses));
        }
        for route in &config.routes {
            let kind = match &route.kind {
                StaticKind::Via(hops) => RouteKind::Unicast(
                    hops.iter().map(|hop| Hop::new(link_id(hop.port, hop.vlan), hop.via)).collect(),
                ),
                StaticKind::Blackhole => RouteKind::Blackhole,
                StaticKind::Unreachable => RouteKind::Unreachable,
                StaticKind::Prohibit => RouteKind::Prohibit,
            };
            plan.routes.insert(route.to, kind);
        }
        for neighbour in &config.neighbours {
            let link = link_id(neighbour.port, neighbour.vlan);
            plan.neighbours.insert((link, neighbour.address), neighbour.mac);
        }
        plan
    }

    /// The changes that lead here from another plan.
    pub fn changes_from(&self, before: &Plan) -> Vec<Change> {
        let mut changes = Vec::new();
        let gone = before.links.keys().filter(|id| !self.links.contains_key(id));
        changes.extend(gone.map(|id| Change::LinkDown(*id)));
        let new = self.links.iter().filter(|(id, link)| before.links.get(id) != Some(link));
        changes.extend(new.map(|(_, link)| Change::LinkUp(link.clone())));
        let gone = before.neighbours.keys().filter(|key| !self.neighbours.contains_key(key));
        changes.extend(gone.map(|&(link, address)| Change::RemoveNeighbour { link, address }));
        let new = self.neighbours.iter().filter(|(key, mac)| before.neighbours.get(key) != Some(mac));
        changes.extend(
            new.map(|(&(link, address), &mac)| Change::SetNeighbour(Neighbour { link, address, mac })),
        );
        let gone = before.routes.keys().filter(|prefix| !self.routes.contains_key(prefix));
        changes.extend(gone.map(|prefix| Change::RemoveRoute(*prefix)));
        let new = self.routes.iter().filter(|(prefix, kind)| before.routes.get(prefix) != Some(kind));
        changes.extend(new.map(|(&prefix, kind)| Change::SetRoute { prefix, kind: kind.clone() }));
        changes
    }
}

/// What a configuration no longer says, so that the kernel does again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Released {
    /// Routes.
    pub prefixes: Vec<IpNetwork>,
    /// Neighbours.
    pub neighbours: Vec<(LinkId, IpAddr)>,
}

/// Static routes in force, beside the kernel's where these are mirrored.
///
/// What the configuration says of a prefix or a neighbour holds, whatever the kernel says of it. That is looked at as the kernel's
/// changes are made, under the lock that a reload makes its own under: neither comes between the other's reading and doing.
pub struct StaticRoutes {
    /// The routes.
    pub routes: Routes,
    /// For who explains.
    pub reader: RouteReader,
    plan: Plan,
    mirrors: bool,
    refused: Vec<String>,
}

impl StaticRoutes {
    /// The routes of a configuration in route mode, for so many workers; with `mirrors`, beside the kernel's.
    ///
    /// # Errors
    /// When memory does not suffice.
    pub fn new(
        config: &Config,
        workers: usize,
        device: impl Fn(&Port) -> Device,
        mirrors: bool,
    ) -> Result<StaticRoutes, sekisho_dataplane::lpm::BuildError> {
        let mut routes = Routes::new(workers + 1)?;
        let reader = routes.reader();
        let mut routes = StaticRoutes { routes, reader, plan: Plan::default(), mirrors, refused: Vec::new() };
        routes.follow(config, device);
        Ok(routes)
    }

    /// Whether the configuration says what becomes of this prefix.
    pub fn fixes_route(&self, prefix: &IpNetwork) -> bool {
        self.plan.routes.contains_key(prefix)
    }

    /// Whether the configuration says this neighbour's MAC.
    pub fn fixes_neighbour(&self, link: LinkId, address: IpAddr) -> bool {
        self.plan.neighbours.contains_key(&(link, address))
    }

    /// What of the configuration could not be done, in words.
    pub fn refused(&self) -> &[String] {
        &self.refused
    }

    /// Brings the routes to what another configuration says. What it no longer says goes, unless the kernel's are mirrored: that is
    /// given back, so that what the kernel says of it takes its place.
    pub fn follow(&mut self, config: &Config, device: impl Fn(&Port) -> Device) -> Released {
        let plan = Plan::new(config, device, self.mirrors);
        let mut changes = plan.changes_from(&self.plan);
        let mut released = Released::default();
        if self.mirrors {
            changes.retain(|change| match change {
                Change::RemoveRoute(prefix) => {
                    released.prefixes.push(*prefix);
                    false
                }
                Change::RemoveNeighbour { link, address } => {
                    released.neighbours.push((*link, *address));
                    false
                }
                _ => true,
            });
        }
        let before = std::mem::replace(&mut self.plan, plan);
        let applied = self.routes.apply(&changes);
        self.note_refused(&changes, &applied, &before);
        released
    }

    /// What was refused is tried again with the next configuration. Until then what the one before said of it stays; where that
    /// said nothing, the kernel's may hold.
    fn note_refused(&mut self, changes: &[Change], applied: &Applied, before: &Plan) {
        self.refused = applied.refused.iter().map(|refusal| refusal.error.to_string()).collect();
        for refusal in &applied.refused {
            match &changes[refusal.change] {
                Change::SetRoute { prefix, .. } => match before.routes.get(prefix) {
                    Some(kind) => drop(self.plan.routes.insert(*prefix, kind.clone())),
                    None => drop(self.plan.routes.remove(prefix)),
                },
                Change::SetNeighbour(Neighbour { link, address, .. }) => {
                    let key = (*link, *address);
                    match before.neighbours.get(&key) {
                        Some(mac) => drop(self.plan.neighbours.insert(key, *mac)),
                        None => drop(self.plan.neighbours.remove(&key)),
                    }
                }
                _ => {}
            }
        }
    }

    /// Makes changes as the kernel says them, but for what the configuration says; how many, and how many of them were refused.
    pub fn mirror(&mut self, changes: &[Change]) -> (usize, usize) {
        if self.plan.routes.is_empty() && self.plan.neighbours.is_empty() {
            return (changes.len(), self.routes.apply(changes).refused.len());
        }
        let mut wanted = Vec::with_capacity(changes.len());
        for change in changes {
            let is_fixed = match change {
                Change::SetRoute { prefix, .. } | Change::RemoveRoute(prefix) => self.fixes_route(prefix),
                Change::SetNeighbour(Neighbour { link, address, .. })
                | Change::RemoveNeighbour { link, address } => self.fixes_neighbour(*link, *address),
                Change::LinkUp(_) | Change::LinkDown(_) => false,
            };
            if is_fixed {
                continue;
            }
            wanted.push(change.clone());
            if let Change::LinkUp(link) = change {
                // Those of the configuration went with the link.
                let on_it = (link.id, IpAddr::V4(Ipv4Addr::UNSPECIFIED))..;
                let on_it = self.plan.neighbours.range(on_it).take_while(|((of, _), _)| *of == link.id);
                wanted.extend(
                    on_it.map(|(&(link, address), &mac)| {
                        Change::SetNeighbour(Neighbour { link, address, mac })
                    }),
                );
            }
        }
        (wanted.len(), self.routes.apply(&wanted).refused.len())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use sekisho_dataplane::route::{Refusal, RouteError};

    use super::*;

    const PORTS: &str = "[dataplane]\nmode = \"route\"\n[[port]]\nname = \"a\"\nrole = \"subscriber\"\n\
        driver = \"memory\"\nmac = \"02:00:00:00:00:01\"\ntwin = \"sk-a\"\naddresses = [\"192.0.2.1/24\"]\n";
    const SAID: &str = "[[route]]\nto = \"10.0.0.0/8\"\nvia = [\"192.0.2.9\"]\n\
        [[neighbour]]\naddress = \"192.0.2.9\"\nmac = \"02:00:00:00:00:09\"\n";

    fn config(more: &str) -> Config {
        let text = format!("{PORTS}{more}");
        Config::from_toml(&text, Path::new("/etc/s.toml")).unwrap_or_else(|error| panic!("{error}"))
    }

    fn prefix() -> IpNetwork {
        "10.0.0.0/8".parse().unwrap()
    }

    fn neighbour(mac: u8) -> Neighbour {
        Neighbour { link: link_id(0, None), address: "192.0.2.9".parse().unwrap(), mac: [2, 0, 0, 0, 0, mac] }
    }

    /// The link of the port, as the kernel tells it.
    fn up() -> Change {
        Change::LinkUp(Link {
            id: link_id(0, None),
            port: PortId(0),
            vlan: None,
            mac: [2, 0, 0, 0, 0, 1],
            mtu: 1500,
            addresses: vec!["192.0.2.1/24".parse().unwrap()],
        })
    }

    fn mirrored(config: &Config) -> StaticRoutes {
        let mut routes = StaticRoutes::new(config, 0, |_| Device::default(), true).unwrap();
        assert_eq!(routes.mirror(&[up()]).1, 0);
        routes
    }

    #[test]
    fn what_the_configuration_says_stays_whatever_the_kernel_says_of_it() {
        let mut routes = mirrored(&config(SAID));
        let Neighbour { link, address, .. } = neighbour(0);
        let own = |routes: &StaticRoutes| {
            let leads = matches!(routes.routes.route(&prefix()), Some(RouteKind::Unicast(_)));
            leads && routes.routes.neighbour(link, address) == Some(neighbour(9).mac)
        };
        assert!(own(&routes));
        for change in [
            Change::SetRoute { prefix: prefix(), kind: RouteKind::Blackhole },
            Change::RemoveRoute(prefix()),
            Change::SetNeighbour(neighbour(7)),
            Change::RemoveNeighbour { link, address },
        ] {
            assert_eq!(routes.mirror(std::slice::from_ref(&change)), (0, 0));
            assert!(own(&routes), "{change:?}");
        }
        routes.mirror(&[Change::LinkDown(link)]);
        assert_eq!(routes.routes.neighbour(link, address), None);
        routes.mirror(&[up()]);
        assert!(own(&routes), "it comes back with its link");
    }

    #[test]
    fn what_a_reload_says_anew_goes_before_what_the_kernel_said_and_what_it_leaves_is_given_back() {
        let mut routes = mirrored(&config(""));
        let blackhole = Change::SetRoute { prefix: prefix(), kind: RouteKind::Blackhole };
        routes.mirror(&[blackhole.clone(), Change::SetNeighbour(neighbour(7))]);
        assert_eq!(routes.follow(&config(SAID), |_| Device::default()), Released::default());
        // What the kernel's thread had at hand meanwhile comes too late, whenever it comes.
        routes.mirror(&[blackhole, Change::SetNeighbour(neighbour(7))]);
        let Neighbour { link, address, mac } = neighbour(9);
        assert!(matches!(routes.routes.route(&prefix()), Some(RouteKind::Unicast(_))));
        assert_eq!(routes.routes.neighbour(link, address), Some(mac));

        let released = routes.follow(&config(""), |_| Device::default());
        assert_eq!(released, Released { prefixes: vec![prefix()], neighbours: vec![(link, address)] });
        assert!(routes.routes.route(&prefix()).is_some(), "until the kernel has said what holds");
        routes.mirror(&[Change::RemoveRoute(prefix()), Change::RemoveNeighbour { link, address }]);
        assert_eq!((routes.routes.route(&prefix()), routes.routes.neighbour(link, address)), (None, None));
    }

    #[test]
    fn what_can_not_be_done_is_told_leaves_the_rest_and_is_tried_again_with_the_next_configuration() {
        let mut routes = mirrored(&config(SAID));
        let Neighbour { link, address, .. } = neighbour(9);
        let kind = RouteKind::Blackhole;
        let changes =
            [Change::SetNeighbour(neighbour(9)), Change::SetRoute { prefix: prefix(), kind: kind.clone() }];
        let refused = vec![Refusal { change: 1, error: RouteError::TooManyGroups(prefix()) }];
        routes.note_refused(&changes, &Applied { refused, ..Applied::default() }, &Plan::default());
        assert!(
            routes.refused()[0].starts_with("10.0.0.0/8: more next-hop groups"),
            "{:?}",
            routes.refused()
        );
        assert!(!routes.fixes_route(&prefix()) && routes.fixes_neighbour(link, address));
        routes.mirror(&[Change::SetRoute { prefix: prefix(), kind }]);
        assert_eq!(routes.routes.route(&prefix()), Some(RouteKind::Blackhole), "the kernel's");
        routes.follow(&config(SAID), |_| Device::default());
        assert!(routes.refused().is_empty() && routes.fixes_route(&prefix()));
        assert!(matches!(routes.routes.route(&prefix()), Some(RouteKind::Unicast(_))));
    }

    #[test]
    fn where_a_route_can_not_be_changed_the_one_before_stays_and_goes_when_no_configuration_says_it() {
        const PORT: &str = "[dataplane]\nmode = \"route\"\n[[port]]\nname = \"a\"\nrole = \"subscriber\"\n\
            driver = \"memory\"\nmac = \"02:00:00:00:00:01\"\naddresses = [\"10.0.0.1/8\"]\n";
        let config = |more: &str| {
            Config::from_toml(&format!("{PORT}{more}"), Path::new("/etc/s.toml"))
                .unwrap_or_else(|e| panic!("{e}"))
        };
        let to = |via: &str| config(&format!("[[route]]\nto = \"192.0.2.0/24\"\nvia = [\"{via}\"]\n"));
        let prefix: IpNetwork = "192.0.2.0/24".parse().unwrap();
        let leads = |via: &str| {
            Some(RouteKind::Unicast(vec![Hop::new(link_id(0, None), Some(via.parse().unwrap()))]))
        };
        let mut routes = StaticRoutes::new(&to("10.0.0.2"), 0, |_| Device::default(), false).unwrap();
        // What no file can say is refused for sure.
        let mut other = to("10.0.0.3");
        other.routes[0].kind = StaticKind::Via(Vec::new());
        routes.follow(&other, |_| Device::default());
        assert_eq!((routes.refused().len(), routes.routes.route(&prefix)), (1, leads("10.0.0.2")));
        assert!(routes.fixes_route(&prefix), "nobody else changes it meanwhile");
        routes.follow(&config(""), |_| Device::default());
        assert_eq!((routes.refused().len(), routes.routes.route(&prefix)), (0, None));
    }
}
