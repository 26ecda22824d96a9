//! Route mode: the router's own addresses at its ports, `[[route]]` and `[[neighbour]]`.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::error::quoted;
use super::keys::{Key, Shape, Takes, Without};
use super::model::{
    Driver, Mode, Port, RouterPort, Routing, StaticHop, StaticKind, StaticNeighbour, StaticRoute, Vlan,
};
use super::prefix::parse_prefix;
use super::reader::{Entry, Table, Value, Word, described};
use super::report::{Report, listed};
use super::source::Place;
use crate::twin::{LONGEST_NAME, vlan_name};

/// Keys of a port that a router's has.
const PORT_KEYS: [&str; 5] = ["mac", "mtu", "addresses", "vlans", "twin"];

pub(super) static VLAN: Shape = Shape {
    what: "a VLAN",
    keys: &[
        Key::new(
            "id",
            Takes::Whole(1, LAST_VLAN as u64),
            Without::RefusedFor("every VLAN"),
            "The tag's number (IEEE 802.1Q).",
        ),
        Key::new(
            "addresses",
            Takes::Some("a list of addresses with their networks' lengths"),
            Without::Means("none"),
            "The router's own addresses in it.",
        ),
    ],
    remarks: &[],
};

pub(super) static ROUTE: Shape = Shape {
    what: "a route",
    keys: &[
        Key::new(
            "to",
            Takes::Some("a prefix"),
            Without::RefusedFor("every route"),
            "Destinations; the longest prefix that holds one decides.",
        ),
        Key::new(
            "via",
            Takes::Some("a list of 1 to 64 addresses"),
            Without::Means("destinations are on the link of port themselves"),
            "The next routers. Flows are shared among them.",
        ),
        Key::new(
            "kind",
            Takes::word::<KindName>(),
            Without::Means("\"unicast\""),
            "\"unicast\": forwarded. \"blackhole\": dropped in silence. \"unreachable\" and \"prohibit\": dropped, and the \
             sender is told.",
        ),
        Key::new(
            "port",
            Takes::Some("the name of a port"),
            Without::Means("the port in whose network via is"),
            "Where its next routers are.",
        ),
        Key::new("vlan", Takes::Whole(1, LAST_VLAN as u64), Without::Means("no tag"), "The VLAN of port."),
    ],
    remarks: &[(&["dev", "device", "interface"], "name the port with `port`")],
};

pub(super) static ROUTING: Shape = Shape {
    what: "[routing]",
    keys: &[
        Key::new(
            "kernel",
            Takes::Truth,
            Without::Means("true where a port has a twin"),
            "Whether the kernel's main table and its neighbours are mirrored.",
        ),
        Key::new(
            "redirects",
            Takes::Truth,
            Without::Means("false"),
            "Whether a host whose packet leaves by the link that it came by is told of the better first hop (ICMP redirects), \
             as often as of errors.",
        ),
    ],
    remarks: &[],
};

pub(super) static NEIGHBOUR: Shape = Shape {
    what: "a neighbour",
    keys: &[
        Key::new(
            "address",
            Takes::Some("an address"),
            Without::RefusedFor("every neighbour"),
            "The address that packets are for.",
        ),
        Key::new("mac", Takes::Some("a MAC"), Without::RefusedFor("every neighbour"), "The MAC that it has."),
        Key::new(
            "port",
            Takes::Some("the name of a port"),
            Without::Means("the port in whose network it is"),
            "Where it is.",
        ),
        Key::new("vlan", Takes::Whole(1, LAST_VLAN as u64), Without::Means("no tag"), "The VLAN of port."),
    ],
    remarks: &[(&["lladdr"], "write `mac`")],
};

/// The highest number of a VLAN (IEEE 802.1Q §9.6).
const LAST_VLAN: u16 = 4094;
/// Ways on that the dataplane has numbers for, in each version of IP, less those that stand for what is no way.
const MOST_WAYS: usize = sekisho_dataplane::lpm::MAX_ID as usize - 64;
const MTU: u16 = 1500;
/// What IPv4 must take at least (RFC 791 §3.2), and the longest that a length field tells.
const MTUS: std::ops::RangeInclusive<u16> = 68..=u16::MAX;

#[derive(Clone, Copy)]
enum KindName {
    Unicast,
    Blackhole,
    Unreachable,
    Prohibit,
}

impl Word for KindName {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("unicast", Self::Unicast),
        ("blackhole", Self::Blackhole),
        ("unreachable", Self::Unreachable),
        ("prohibit", Self::Prohibit),
    ];
}

/// The router's addresses, and where they stand.
#[derive(Default)]
pub(super) struct Addresses {
    own: HashMap<IpAddr, Place>,
    /// Interfaces that are made, by their names.
    interfaces: HashMap<String, Place>,
}

/// Reads a router's keys of a port.
pub(super) fn port(
    report: &mut Report,
    table: &Table<'_>,
    mode: Mode,
    addresses: &mut Addresses,
) -> RouterPort {
    if mode == Mode::Bridge {
        for entry in PORT_KEYS.iter().filter_map(|key| table.get(key)) {
            let help = "remove it, or write `mode = \"route\"` under [dataplane]";
            report.refuse(entry.key_place.clone(), format!("`{}` belongs to route mode", entry.key), help);
        }
        return RouterPort::default();
    }
    let mac = table.get("mac").and_then(|entry| mac(report, &entry));
    let mtu = table.get("mtu").and_then(|entry| entry.whole(report, MTUS, MTU));
    let own = table.get("addresses").map(|entry| addresses.read(report, &entry));
    let mut vlans: Vec<Vlan> = Vec::new();
    let entry = table.get("vlans");
    let values = entry.as_ref().and_then(|entry| entry.list(report, "{ id = 100 }")).unwrap_or(&[]);
    for value in values {
        let title = format!("a VLAN of {}", table.title);
        let Some(vlan) = Table::of(report, value, title, &VLAN) else { continue };
        let id = vlan.require(report, "id", "100");
        let number = id.as_ref().and_then(|entry| entry.whole(report, 1..=LAST_VLAN, 1));
        let own = vlan.get("addresses").map(|entry| addresses.read(report, &entry));
        let (Some(id), Some(number)) = (id, number) else { continue };
        if vlans.iter().any(|other| other.id == number) {
            let help = "name each VLAN once, with all its addresses";
            report.refuse(id.place(), format!("VLAN {number} is given twice"), help);
            continue;
        }
        vlans.push(Vlan { id: number, addresses: own.unwrap_or_default() });
    }
    let twin = twin(report, table, addresses);
    for vlan in vlans.iter().filter(|_| twin.is_some()) {
        let name = vlan_name(twin.as_deref().unwrap_or_default(), vlan.id);
        if let Some(other) = addresses.interfaces.insert(name.clone(), table.place.clone()) {
            let message = format!(
                "two interfaces would have the name {}: VLAN {} of {}",
                quoted(&name),
                vlan.id,
                table.title
            );
            let help = "give one of the ports another `twin`, of at most 10 bytes";
            report.refuse_beside(table.place.clone(), message, help, other, "the other stands here");
        }
    }
    RouterPort { mac, mtu, addresses: own.unwrap_or_default(), vlans, twin }
}

/// The name of a port's twin. Ports of this host's interfaces have one unless they say otherwise; others if they say so.
fn twin(report: &mut Report, table: &Table<'_>, addresses: &mut Addresses) -> Option<String> {
    const HELP: &str = "write a name of at most 15 letters, digits, `-`, `_` and `.`, such as `\"sk-access\"`, or `false` for none";
    let word = |key| Some(table.get(key)?.value.get_ref().as_str()?.to_owned());
    let is_live = word("driver").is_some_and(|driver| driver == "packet" || driver == "xdp");
    let (name, place) = match table.get("twin") {
        None if !is_live => return None,
        // A device may well have the port's own name.
        None => (format!("sk-{}", word("name")?).chars().take(LONGEST_NAME).collect(), table.place.clone()),
        Some(entry) if entry.value.get_ref().as_bool() == Some(false) => return None,
        Some(entry) => (entry.string(report)?.to_owned(), entry.place()),
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_name = !name.is_empty() && name.len() <= LONGEST_NAME && name.chars().all(is_plain);
    if !is_name || name == "." || name == ".." {
        report.refuse(place, format!("{} can't be the name of an interface", quoted(&name)), HELP);
        return None;
    }
    if let Some(other) = addresses.interfaces.insert(name.clone(), place.clone()) {
        let message = format!("two interfaces would have the name {}", quoted(&name));
        report.refuse_beside(
            place,
            message,
            "give one of them another `twin`",
            other,
            "the other stands here",
        );
    }
    Some(name)
}

/// `[routing]`.
pub(super) fn routing(report: &mut Report, root: &Table<'_>, mode: Mode) -> Routing {
    let mut routing = Routing::default();
    let Some(entry) = root.get("routing") else { return routing };
    let Some(table) = Table::of(report, entry.value, "[routing]".to_owned(), &ROUTING) else {
        return routing;
    };
    if mode == Mode::Bridge {
        let help = "remove it, or write `mode = \"route\"` under [dataplane]";
        report.refuse(entry.key_place.clone(), "`[routing]` belongs to route mode", help);
        return routing;
    }
    if let Some(entry) = table.get("kernel") {
        routing.kernel = entry.boolean(report).unwrap_or(routing.kernel);
    }
    if let Some(entry) = table.get("redirects") {
        routing.redirects = entry.boolean(report).unwrap_or(routing.redirects);
    }
    routing
}

/// Captures and rings in memory have no MAC of their own.
pub(super) fn refuse_no_mac(
    report: &mut Report,
    table: &Table<'_>,
    mode: Mode,
    driver: Option<&Driver>,
    router: &RouterPort,
) {
    let without = matches!(driver, Some(Driver::Pcap { .. } | Driver::Memory));
    if mode == Mode::Route && without && router.mac.is_none() && table.get("mac").is_none() {
        let message = format!("{} has no `mac`, and its driver no device to take it from", table.title);
        report.refuse(
            table.place.clone(),
            message,
            "add `mac = \"02:00:00:00:00:01\"`, another one for each port",
        );
    }
}

impl Addresses {
    /// Addresses with the lengths of their networks' prefixes.
    fn read(&mut self, report: &mut Report, entry: &Entry<'_>) -> Vec<IpNetwork> {
        const HELP: &str =
            "write an address of a host and its network's length, such as `192.0.2.1/24` or `2001:db8::1/64`";
        let mut found = Vec::new();
        for value in entry.list(report, "\"192.0.2.1/24\"").unwrap_or(&[]) {
            let place = Place::main(value.span());
            let Some(text) = value.get_ref().as_str() else {
                report.refuse(place, format!("an address must be a string, not {}", described(value)), HELP);
                continue;
            };
            let network = text.contains('/').then(|| text.parse::<IpNetwork>().ok()).flatten();
            let Some(network) = network.filter(|network| is_host(network.ip())) else {
                report.refuse(place, format!("{} is no address with a length", quoted(text)), HELP);
                continue;
            };
            let broadcast = network.is_ipv4()
                && network.prefix() < 31
                && (network.ip() == network.network() || network.ip() == network.broadcast());
            if broadcast {
                let message = format!("{} is the address of all stations of its network", quoted(text));
                report.refuse(place, message, HELP);
                continue;
            }
            let link_local = matches!(network.ip(), IpAddr::V6(ip) if ip.is_unicast_link_local());
            match self.own.get(&network.ip()) {
                // Each link has its own.
                Some(_) if link_local => found.push(network),
                Some(other) => report.refuse_beside(
                    place,
                    format!("the router has the address `{}` already", network.ip()),
                    "give each of its networks an address of its own",
                    other.clone(),
                    "it stands here",
                ),
                None => {
                    self.own.insert(network.ip(), place);
                    found.push(network);
                }
            }
        }
        found
    }
}

fn is_host(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    !(address.is_unspecified() || address.is_multicast() || address.is_loopback() || broadcast)
}

/// Six bytes in hexadecimal, of one station.
fn mac(report: &mut Report, entry: &Entry<'_>) -> Option<[u8; 6]> {
    let text = entry.string(report)?;
    let bytes: Option<Vec<u8>> = text
        .split(':')
        .map(|byte| if byte.len() == 2 { u8::from_str_radix(byte, 16).ok() } else { None })
        .collect();
    let mac = bytes.and_then(|bytes| <[u8; 6]>::try_from(bytes).ok());
    let single = mac.filter(|mac| mac[0] & 1 == 0 && *mac != [0; 6]);
    if single.is_none() {
        let help = "write six bytes of one station's address, such as `02:00:00:00:00:01`";
        report.refuse(entry.place(), format!("{} is no MAC of a station", quoted(text)), help);
    }
    single
}

/// Reads `[[route]]` and `[[neighbour]]`.
pub(super) fn read(
    report: &mut Report,
    root: &Table<'_>,
    mode: Mode,
    ports: &[Port],
) -> (Vec<StaticRoute>, Vec<StaticNeighbour>) {
    if mode == Mode::Bridge {
        for entry in ["route", "neighbour"].iter().filter_map(|key| root.get(key)) {
            let help = "a bridge has no routes: remove it, or write `mode = \"route\"` under [dataplane]";
            report.refuse(
                entry.key_place.clone(),
                format!("`[[{}]]` belongs to route mode", entry.key),
                help,
            );
        }
        return (Vec::new(), Vec::new());
    }
    let places = Places(ports);
    let mut routes = Vec::new();
    let mut seen: HashMap<IpNetwork, Place> = HashMap::new();
    let entry = root.get("route");
    for value in entry.as_ref().map_or(&[][..], |entry| entry.tables(report)) {
        let Some(table) = titled(report, value, "route", "to", &ROUTE) else { continue };
        if let Some((route, place)) = places.route(report, &table) {
            match seen.get(&route.to) {
                Some(other) => report.refuse_beside(
                    place,
                    format!("there are two routes to `{}`", route.to),
                    "keep one; several next hops share the flows: `via = [\"…\", \"…\"]`",
                    other.clone(),
                    "the first stands here",
                ),
                None => {
                    seen.insert(route.to, place);
                    routes.push(route);
                }
            }
        }
    }
    let mut neighbours: Vec<StaticNeighbour> = Vec::new();
    let mut known = HashSet::new();
    let entry = root.get("neighbour");
    for value in entry.as_ref().map_or(&[][..], |entry| entry.tables(report)) {
        let Some(table) = titled(report, value, "neighbour", "address", &NEIGHBOUR) else { continue };
        let Some(neighbour) = places.neighbour(report, &table) else { continue };
        if known.insert((neighbour.port, neighbour.vlan, neighbour.address)) {
            neighbours.push(neighbour);
        } else {
            let message = format!("there are two neighbours `{}` on one link", neighbour.address);
            report.refuse(table.place.clone(), message, "an address has one MAC: keep one of the two");
        }
    }
    for v6 in [false, true] {
        let ways = ways_on(&routes, &neighbours, v6);
        let place = routes.iter().rev().find(|route| route.to.is_ipv6() == v6).and_then(|r| seen.get(&r.to));
        if let (Some(place), true) = (place, ways > MOST_WAYS) {
            let message = format!("routes and neighbours of one version of IP lead {ways} different ways");
            let help = format!("there is room for {MOST_WAYS}, and the kernel's beside them: join some");
            report.refuse(place.clone(), message, &help);
        }
    }
    (routes, neighbours)
}

/// How many different sets of next hops, and neighbours beside them, the dataplane would have to number.
fn ways_on(routes: &[StaticRoute], neighbours: &[StaticNeighbour], v6: bool) -> usize {
    let mut ways: HashSet<Vec<StaticHop>> = HashSet::new();
    for route in routes.iter().filter(|route| route.to.is_ipv6() == v6) {
        if let StaticKind::Via(hops) = &route.kind {
            let mut hops = hops.clone();
            hops.sort_unstable_by_key(|hop| (hop.port, hop.vlan, hop.via));
            ways.insert(hops);
        }
    }
    let neighbours = neighbours.iter().filter(|neighbour| neighbour.address.is_ipv6() == v6);
    ways.extend(neighbours.map(|StaticNeighbour { port, vlan, address, .. }| {
        vec![StaticHop { port: *port, vlan: *vlan, via: Some(*address) }]
    }));
    ways.len()
}

/// A table called by what it is and by the value of one of its keys.
fn titled<'a>(
    report: &mut Report,
    value: &'a Value<'a>,
    kind: &str,
    key: &str,
    shape: &Shape,
) -> Option<Table<'a>> {
    let text = value.get_ref().as_table().and_then(|table| table.get(key)).and_then(|v| v.get_ref().as_str());
    let title = match text {
        Some(text) => format!("{kind} {}", quoted(text)),
        None => format!("a {kind}"),
    };
    Table::of(report, value, title, shape)
}

/// The ports, where links are named.
struct Places<'a>(&'a [Port]);

/// A link: a port, and a VLAN there.
type LinkPlace = (usize, Option<u16>);

impl Places<'_> {
    fn route(&self, report: &mut Report, table: &Table<'_>) -> Option<(StaticRoute, Place)> {
        let to = table.require(report, "to", "\"0.0.0.0/0\"")?;
        let prefix = to.string(report).and_then(|text| match parse_prefix(text) {
            Ok(prefix) => Some(prefix),
            Err(error) => {
                report.refuse(to.place(), format!("{} is {error}", quoted(text)), error.help());
                None
            }
        });
        let kind = table.get("kind");
        let (kind_entry, kind) = match kind {
            Some(entry) => {
                let word = entry.word(report);
                (Some(entry), word)
            }
            None => (None, Some(KindName::Unicast)),
        };
        let link = self.link(report, table);
        let hops = table.get("via").and_then(|via| self.hops(report, &via, link, prefix));
        let kind = match kind? {
            KindName::Unicast => match (hops, link, table.get("via").is_some()) {
                (Some(hops), _, _) if !hops.is_empty() => StaticKind::Via(hops),
                (_, Some((port, vlan)), false) => StaticKind::Via(vec![StaticHop { port, vlan, via: None }]),
                (_, _, true) => return None,
                (_, None, false) => {
                    if table.get("port").is_none() {
                        let message = format!("{} has no next hop", table.title);
                        let help = "add `via = [\"192.0.2.1\"]`, or `port = \"…\"` for hosts that are on the link \
                                    themselves, or `kind = \"blackhole\"`";
                        report.refuse(table.place.clone(), message, help);
                    }
                    return None;
                }
            },
            other => {
                if let (Some(via), Some(kind)) = (table.get("via"), &kind_entry) {
                    let help = "remove `via`: what does not forward has no next hop";
                    report.refuse_beside(
                        via.key_place.clone(),
                        format!("{} drops, and has a next hop", table.title),
                        help,
                        kind.place(),
                        "it drops by this",
                    );
                }
                match other {
                    KindName::Unreachable => StaticKind::Unreachable,
                    KindName::Prohibit => StaticKind::Prohibit,
                    _ => StaticKind::Blackhole,
                }
            }
        };
        Some((StaticRoute { to: prefix?, kind }, to.place()))
    }

    fn hops(
        &self,
        report: &mut Report,
        via: &Entry<'_>,
        link: Option<LinkPlace>,
        prefix: Option<IpNetwork>,
    ) -> Option<Vec<StaticHop>> {
        const MOST: usize = 64;
        let values = via.list(report, "\"192.0.2.1\"")?;
        if values.is_empty() || values.len() > MOST {
            let message = format!("a route has 1 to {MOST} next hops, not {}", values.len());
            report.refuse(via.place(), message, "name the next routers, or leave `via` out");
            return None;
        }
        let mut hops: Vec<StaticHop> = Vec::new();
        for value in values {
            let place = Place::main(value.span());
            let text = value.get_ref().as_str();
            let Some(address) = text.and_then(|text| text.parse().ok()).filter(|a| is_host(*a)) else {
                let what = text.map_or(described(value).to_owned(), quoted);
                let help = "write one address without a length, such as `192.0.2.1`";
                report.refuse(place, format!("{what} is no address of a router"), help);
                continue;
            };
            if prefix.is_some_and(|prefix| prefix.is_ipv6() && address.is_ipv4()) {
                let help = "write a next hop of IPv6, such as the router's link-local address with `port`";
                report.refuse(place, format!("IPv6 does not go by `{address}`"), help);
                continue;
            }
            let Some((port, vlan)) = link.or_else(|| self.on(address)) else {
                let message = format!("`{address}` is on no network of a port");
                let help = "correct it, or say where it is: `port = \"…\"`, and `vlan` if it is in one";
                report.refuse(place, message, help);
                continue;
            };
            if hops.iter().any(|hop| hop.via == Some(address)) {
                report.refuse(place, format!("`{address}` is named twice"), "name each next hop once");
                continue;
            }
            hops.push(StaticHop { port, vlan, via: Some(address) });
        }
        Some(hops)
    }

    fn neighbour(&self, report: &mut Report, table: &Table<'_>) -> Option<StaticNeighbour> {
        let entry = table.require(report, "address", "\"192.0.2.1\"");
        let address = entry.as_ref().and_then(|entry| {
            let text = entry.string(report)?;
            let address = text.parse().ok().filter(|address| is_host(*address));
            if address.is_none() {
                let help = "write one address without a length, such as `192.0.2.1` or `2001:db8::1`";
                report.refuse(entry.place(), format!("{} is no address of a host", quoted(text)), help);
            }
            address
        });
        let mac = table.require(report, "mac", "\"02:00:00:00:00:01\"").and_then(|entry| mac(report, &entry));
        let link = self.link(report, table);
        let (address, mac) = (address?, mac?);
        let (port, vlan) = match (link, table.get("port").is_some()) {
            (Some(link), _) => link,
            (None, true) => return None,
            (None, false) => {
                let found = self.on(address);
                if let (None, Some(entry)) = (found, &entry) {
                    let message = format!("`{address}` is on no network of a port");
                    let help = "correct it, or say where it is: `port = \"…\"`, and `vlan` if it is in one";
                    report.refuse(entry.place(), message, help);
                }
                found?
            }
        };
        Some(StaticNeighbour { port, vlan, address, mac })
    }

    /// The link that a table names by `port` and `vlan`.
    fn link(&self, report: &mut Report, table: &Table<'_>) -> Option<LinkPlace> {
        let vlan_entry = table.get("vlan");
        let Some(entry) = table.get("port") else {
            if let Some(vlan) = vlan_entry {
                let help = "add the `port` that is in this VLAN";
                report.refuse(vlan.key_place.clone(), "`vlan` stands without `port`", help);
            }
            return None;
        };
        let name = entry.string(report)?;
        let Some(port) = self.0.iter().position(|port| port.name == name) else {
            let names = || self.0.iter().map(|port| port.name.as_str());
            let help = match report.nearest(name, names()) {
                Some(near) => format!("did you mean {}?", quoted(near)),
                None => format!("the ports are {}", listed(names())),
            };
            report.refuse(entry.place(), format!("there is no port {}", quoted(name)), help);
            return None;
        };
        let Some(vlan) = vlan_entry else { return Some((port, None)) };
        let id = vlan.whole(report, 1..=LAST_VLAN, 1)?;
        if !self.0[port].router.vlans.iter().any(|vlan| vlan.id == id) {
            let help = format!("add it to the port: `vlans = [{{ id = {id} }}]`");
            report.refuse(vlan.place(), format!("port {} is not in VLAN {id}", quoted(name)), help);
            return None;
        }
        Some((port, Some(id)))
    }

    /// The link whose network has an address; the longest, if there are several.
    fn on(&self, address: IpAddr) -> Option<LinkPlace> {
        let links = self.0.iter().enumerate().flat_map(|(at, port)| {
            let untagged = port.router.addresses.iter().map(move |net| ((at, None), *net));
            let tagged = port
                .router
                .vlans
                .iter()
                .flat_map(move |vlan| vlan.addresses.iter().map(move |net| ((at, Some(vlan.id)), *net)));
            untagged.chain(tagged)
        });
        let link_local = matches!(address, IpAddr::V6(ip) if ip.is_unicast_link_local());
        let holding = links.filter(|(_, net)| !link_local && net.contains(address) && net.ip() != address);
        holding.max_by_key(|(_, net)| net.prefix()).map(|(link, _)| link)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Config;
    use super::*;

    const ROUTER: &str = r#"
[dataplane]
mode = "route"
[[port]]
name = "access"
role = "subscriber"
driver = "memory"
mac = "02:00:00:00:00:01"
addresses = ["192.0.2.1/24", "2001:db8::1/64", "fe80::1/64"]
vlans = [{ id = 100, addresses = ["203.0.113.1/25", "fe80::1/64"] }, { id = 7 }]
[[port]]
name = "core"
role = "internet"
driver = "memory"
mac = "02:00:00:00:00:02"
mtu = 9000
addresses = ["198.51.100.1/31"]
"#;

    fn load(more: &str) -> Result<Config, Vec<String>> {
        Config::from_toml(&format!("{ROUTER}{more}"), Path::new("r.toml")).map_err(|error| {
            let told =
                |p: &super::super::Problem| format!("{}:{}: {}; {}", p.line, p.column, p.message, p.help);
            error.problems().iter().map(told).collect()
        })
    }

    /// What is wrong, where there is one thing; lines are counted from the end of what is right.
    #[track_caller]
    fn only(more: &str) -> String {
        let problems = load(more).expect_err("it is wrong");
        assert_eq!(problems.len(), 1, "{problems:?}");
        let (line, rest) = problems[0].split_once(':').unwrap();
        format!("{}:{rest}", line.parse::<usize>().unwrap() - ROUTER.lines().count())
    }

    #[test]
    fn routes_and_neighbours_find_their_links_by_their_addresses() {
        let config = load(
            r#"
[[route]]
to = "0.0.0.0/0"
via = ["198.51.100.0", "203.0.113.9"]
[[route]]
to = "::/0"
via = ["fe80::9"]
port = "access"
vlan = 100
[[route]]
to = "10.0.0.0/8"
kind = "blackhole"
[[route]]
to = "172.16.0.0/12"
port = "core"
[[neighbour]]
address = "198.51.100.0"
mac = "02:00:00:00:00:09"
[[neighbour]]
address = "192.0.2.77"
mac = "02:00:00:00:00:0a"
port = "core"
[checks]
urpf = "strict"
"#,
        )
        .unwrap();
        let hop = |port, vlan, via: &str| StaticHop { port, vlan, via: Some(via.parse().unwrap()) };
        let kinds: Vec<_> = config.routes.iter().map(|route| route.kind.clone()).collect();
        assert_eq!(
            kinds,
            [
                StaticKind::Via(vec![hop(1, None, "198.51.100.0"), hop(0, Some(100), "203.0.113.9")]),
                StaticKind::Via(vec![hop(0, Some(100), "fe80::9")]),
                StaticKind::Blackhole,
                StaticKind::Via(vec![StaticHop { port: 1, vlan: None, via: None }]),
            ]
        );
        let on: Vec<_> =
            config.neighbours.iter().map(|neighbour| (neighbour.port, neighbour.mac[5])).collect();
        assert_eq!(on, [(1, 9), (1, 10)]);
        assert_eq!(config.checks.urpf, sekisho_dataplane::policy::ReversePath::Strict);
        assert_eq!((config.ports[0].router.mtu, config.ports[1].router.mtu), (None, Some(9000)));
        assert_eq!(config.ports[0].router.vlans[1], Vlan { id: 7, addresses: vec![] });
        assert!(config.ports.iter().all(|port| port.peer.is_none()));
    }

    #[test]
    fn what_is_wrong_with_a_route_is_told_with_its_place_and_remedy() {
        for (more, told) in [
            (
                "[[route]]\nto = \"10.0.0.1/8\"\nkind = \"blackhole\"\n",
                "2:6: `10.0.0.1/8` is a prefix with host bits set; write `10.0.0.0/8`, or `10.0.0.1/32` for the one address",
            ),
            (
                "[[route]]\nto = \"10.0.0.0/8\"\n",
                "1:1: route `10.0.0.0/8` has no next hop; add `via = [\"192.0.2.1\"]`, or `port = \"…\"` for hosts that are on the link themselves, or `kind = \"blackhole\"`",
            ),
            (
                "[[route]]\nto = \"10.0.0.0/8\"\nvia = [\"172.16.0.1\"]\n",
                "3:8: `172.16.0.1` is on no network of a port; correct it, or say where it is: `port = \"…\"`, and `vlan` if it is in one",
            ),
            (
                "[[route]]\nto = \"10.0.0.0/8\"\nvia = [\"192.0.2.1\"]\n",
                "3:8: `192.0.2.1` is on no network of a port; correct it, or say where it is: `port = \"…\"`, and `vlan` if it is in one",
            ),
            (
                "[[route]]\nto = \"10.0.0.0/8\"\nvia = [\"192.0.2.9\"]\nport = \"acces\"\n",
                "4:8: there is no port `acces`; did you mean `access`?",
            ),
            (
                "[[route]]\nto = \"10.0.0.0/8\"\nvia = [\"192.0.2.9\"]\nport = \"access\"\nvlan = 8\n",
                "5:8: port `access` is not in VLAN 8; add it to the port: `vlans = [{ id = 8 }]`",
            ),
            (
                "[[route]]\nto = \"10.0.0.0/8\"\nvia = []\n",
                "3:7: a route has 1 to 64 next hops, not 0; name the next routers, or leave `via` out",
            ),
            (
                "[[route]]\nto = \"10.0.0.0/8\"\nvia = [\"192.0.2.9\", \"192.0.2.9\"]\n",
                "3:21: `192.0.2.9` is named twice; name each next hop once",
            ),
            (
                "[[route]]\nto = \"::/0\"\nvia = [\"192.0.2.9\"]\n",
                "3:8: IPv6 does not go by `192.0.2.9`; write a next hop of IPv6, such as the router's link-local address with `port`",
            ),
            (
                "[[route]]\nto = \"10.0.0.0/8\"\nkind = \"blackhole\"\nvia = [\"192.0.2.9\"]\n",
                "4:1: route `10.0.0.0/8` drops, and has a next hop; remove `via`: what does not forward has no next hop",
            ),
            (
                "[[route]]\nto = \"10.0.0.0/8\"\nport = \"core\"\n[[route]]\nto = \"10.0.0.0/8\"\nport = \"access\"\n",
                "5:6: there are two routes to `10.0.0.0/8`; keep one; several next hops share the flows: `via = [\"…\", \"…\"]`",
            ),
            (
                "[[neighbour]]\naddress = \"192.0.2.9\"\nmac = \"01:00:00:00:00:01\"\n",
                "3:7: `01:00:00:00:00:01` is no MAC of a station; write six bytes of one station's address, such as `02:00:00:00:00:01`",
            ),
            (
                "[[neighbour]]\naddress = \"10.2.3.4\"\nmac = \"02:00:00:00:00:01\"\n",
                "2:11: `10.2.3.4` is on no network of a port; correct it, or say where it is: `port = \"…\"`, and `vlan` if it is in one",
            ),
            (
                "[[neighbour]]\naddress = \"192.0.2.9\"\nlladdr = \"02:00:00:00:00:01\"\nmac = \"02:00:00:00:00:01\"\n",
                "3:1: unknown key `lladdr` in neighbour `192.0.2.9`; write `mac`",
            ),
        ] {
            assert_eq!(only(more), told);
        }
    }

    #[test]
    fn what_is_wrong_with_a_routers_port_is_told_with_its_place_and_remedy() {
        let port =
            |keys: &str| format!("[[port]]\nname = \"x\"\nrole = \"servers\"\ndriver = \"memory\"\n{keys}\n");
        let mac = "mac = \"02:00:00:00:00:03\"\n";
        assert_eq!(
            only(&port("")),
            "1:1: port `x` has no `mac`, and its driver no device to take it from; add `mac = \"02:00:00:00:00:01\"`, another one for each port"
        );
        for (keys, told) in [
            (
                "peer = \"core\"",
                "6:8: port `x` has a `peer` in route mode; remove `peer`: in route mode a packet leaves by the port that its route names",
            ),
            (
                "addresses = [\"192.0.2.1/24\"]",
                "6:14: the router has the address `192.0.2.1` already; give each of its networks an address of its own",
            ),
            (
                "addresses = [\"10.0.0.1\"]",
                "6:14: `10.0.0.1` is no address with a length; write an address of a host and its network's length, such as `192.0.2.1/24` or `2001:db8::1/64`",
            ),
            (
                "addresses = [\"10.0.0.255/24\"]",
                "6:14: `10.0.0.255/24` is the address of all stations of its network; write an address of a host and its network's length, such as `192.0.2.1/24` or `2001:db8::1/64`",
            ),
            (
                "mtu = 60",
                "6:7: `mtu` must lie between 68 and 65535; write a number from 68 to 65535; the default is 1500",
            ),
            (
                "vlans = [{ id = 5 }, { id = 5 }]",
                "6:29: VLAN 5 is given twice; name each VLAN once, with all its addresses",
            ),
            (
                "vlans = [{ id = 4095 }]",
                "6:17: `id` must lie between 1 and 4094; write a number from 1 to 4094; the default is 1",
            ),
        ] {
            assert_eq!(only(&port(&format!("{mac}{keys}"))), told);
        }
    }

    #[test]
    fn what_belongs_to_route_mode_is_refused_in_bridge_mode() {
        let text = ROUTER.replace("mode = \"route\"", "mode = \"bridge\"")
            + "[[route]]\nto = \"10.0.0.0/8\"\n[checks]\nurpf = \"loose\"\n";
        let error = Config::from_toml(&text, Path::new("r.toml")).unwrap_err();
        let told: Vec<_> = error.problems().iter().map(|problem| problem.message.as_str()).collect();
        for what in ["`mac`", "`addresses`", "`vlans`", "`mtu`", "`[[route]]`", "`urpf`"] {
            assert!(told.contains(&format!("{what} belongs to route mode").as_str()), "{what}: {told:?}");
        }
    }
}
