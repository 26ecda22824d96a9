//! Static routing: what a configuration says of links, routes and neighbours, as changes to the routes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use ipnetwork::IpNetwork;
use sekisho_dataplane::RejectLimits;
use sekisho_dataplane::pipeline::Common;
use sekisho_dataplane::policy::PortId;
use sekisho_dataplane::route::punt::{PuntLimits, Punts};
use sekisho_dataplane::route::{Change, Hop, Link, LinkId, Mac, Neighbour, RouteKind, RouteReader, Routes};

use crate::compile::reject_limits;
use crate::config::{Config, Driver, Limits, Mode, Port, StaticKind};

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
    let (Driver::Packet { device, .. } | Driver::Xdp { device, .. }) = &port.driver else {
        return Device::default();
    };
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
    neighbours: BTreeMap<(LinkId, std::net::IpAddr), Mac>,
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

/// Static routes in force.
pub struct StaticRoutes {
    /// The routes.
    pub routes: Routes,
    /// For who explains.
    pub reader: RouteReader,
    plan: Plan,
    mirrors: bool,
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
        let mut routes = StaticRoutes { routes, reader, plan: Plan::default(), mirrors };
        routes.follow(config, device);
        Ok(routes)
    }

    /// For an explanation.
    pub fn shown(&mut self) -> crate::explain::Routing<'_> {
        crate::explain::Routing { reader: &mut self.reader, routes: &self.routes }
    }

    /// The prefixes whose routes the configuration says.
    pub fn fixed_prefixes(&self) -> BTreeSet<IpNetwork> {
        self.plan.routes.keys().copied().collect()
    }

    /// The neighbours that it says, once more.
    pub fn fixed_neighbours(&self) -> Vec<Change> {
        let neighbours = self.plan.neighbours.iter();
        let set = |(&(link, address), &mac): (&(LinkId, std::net::IpAddr), &Mac)| {
            Change::SetNeighbour(Neighbour { link, address, mac })
        };
        neighbours.map(set).collect()
    }

    /// Brings the routes to what another configuration says; tells what could not be done.
    pub fn follow(&mut self, config: &Config, device: impl Fn(&Port) -> Device) -> Vec<String> {
        let plan = Plan::new(config, device, self.mirrors);
        let changes = plan.changes_from(&self.plan);
        self.plan = plan;
        let applied = self.routes.apply(&changes);
        applied.refused.iter().map(|refusal| refusal.error.to_string()).collect()
    }
}
