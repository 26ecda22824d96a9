//! One packet's verdict, with every table entry and rule on the way.
//!
//! The packet is made up from the addresses and ports, and judged by the pipeline itself, which reports the
//! rules that it looks at; the table entries are looked up in the configuration, where they have names.
//! `sekisho explain -c` asks of a file, the daemon's method `explain` of the generation in force: the answer is
//! the same code's.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use clap::ValueEnum;
use ipnetwork::IpNetwork;
use pnet::packet::ethernet::{EtherTypes, MutableEthernetPacket};
use pnet::packet::ip::{IpNextHeaderProtocol, IpNextHeaderProtocols};
use pnet::packet::ipv4::{self, MutableIpv4Packet};
use pnet::packet::ipv6::MutableIpv6Packet;
use pnet::packet::tcp::{MutableTcpPacket, TcpFlags};
use pnet::packet::udp::MutableUdpPacket;
use pnet::util::MacAddr;
use sekisho_dataplane::Replies;
use sekisho_dataplane::clock::Instant;
use sekisho_dataplane::counters::WorkerCounters;
use sekisho_dataplane::frame::Link;
use sekisho_dataplane::generation::Generation;
use sekisho_dataplane::pipeline::{Arrival, Outcomes, Pipeline};
use sekisho_dataplane::policy::{Decision, FragmentLimits, Grant, Nat64, PhaseId, PortId, Role, Trace};
use sekisho_dataplane::route::{Edit, EntryKind, Mac, RouteReader, Routes, State};
use serde::{Deserialize, Serialize, Serializer};

use crate::clock;
use crate::compile::{Names, fragment_limits};
use crate::config::{Block, Config, Policy, Pool};
use crate::report::Outcome;
use crate::routing::{self, StaticRoutes};
use crate::words;

/// The packet that is asked about.
#[derive(Clone, Debug)]
pub struct Question {
    /// The port that receives it; the first subscriber port if not given.
    pub port: Option<String>,
    /// Source address.
    pub source: IpAddr,
    /// Destination address, of the same family.
    pub destination: IpAddr,
    /// Destination port.
    pub destination_port: u16,
    /// Source port.
    pub source_port: u16,
    /// Protocol.
    pub protocol: Protocol,
    /// The instant as who asks writes it: it is told with the same offset. None: in UTC.
    pub at: Option<String>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Unanswerable {
    /// An IPv4 and an IPv6 address.
    #[error("{source} and {destination} are of different address families", source = .0, destination = .1)]
    Families(IpAddr, IpAddr),
    /// No port has the name, or the role that is meant without a name.
    #[error("--in {wanted}: no such port; there are {names}")]
    Port {
        /// The name.
        wanted: String,
        /// The ports that there are.
        names: String,
    },
}

/// A source port as a client takes one, where none is given.
pub const SOURCE_PORT: u16 = 50_000;

/// The protocol of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, ValueEnum, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP: a SYN.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
    /// ICMP or ICMPv6: an echo request.
    Icmp,
}

impl Protocol {
    fn number(self, v6: bool) -> IpNextHeaderProtocol {
        match self {
            Protocol::Tcp => IpNextHeaderProtocols::Tcp,
            Protocol::Udp => IpNextHeaderProtocols::Udp,
            Protocol::Sctp => IpNextHeaderProtocols::Sctp,
            Protocol::Icmp if v6 => IpNextHeaderProtocols::Icmpv6,
            Protocol::Icmp => IpNextHeaderProtocols::Icmp,
        }
    }
}

/// What becomes of the packet, and what was looked at on the way. This is what `explain --json` prints.
#[derive(Serialize)]
pub struct Explanation<'a> {
    at: String,
    port: &'a str,
    role: &'static str,
    source: IpAddr,
    source_port: u16,
    destination: IpAddr,
    destination_port: u16,
    protocol: Protocol,
    pools: Vec<Entry<'a>>,
    sets: Vec<Entry<'a>>,
    phases: Vec<PhaseEntry<'a>>,
    grants: Vec<GrantEntry>,
    rules: Vec<RuleEntry>,
    /// In route mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<RouteEntry>,
    #[serde(flatten)]
    outcome: Outcome<'a>,
    /// For the text.
    #[serde(skip)]
    decision: Decision,
    #[serde(skip)]
    pool: Option<&'a Pool>,
    #[serde(skip)]
    followed: Option<&'a Policy>,
}

/// A table entry that holds an address.
#[derive(Serialize)]
struct Entry<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    #[serde(serialize_with = "as_text")]
    prefix: IpNetwork,
}

fn as_text<S: Serializer>(prefix: &IpNetwork, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(prefix)
}

#[derive(Serialize)]
struct PhaseEntry<'a> {
    name: &'a str,
    from: &'a str,
    in_force: bool,
    covers: bool,
    block: Vec<&'a str>,
}

/// A grant that holds the customer.
#[derive(Serialize)]
struct GrantEntry {
    address: String,
    until: String,
    live: bool,
}

/// Where the packet's destination leads.
#[derive(Serialize)]
struct RouteEntry {
    /// The longest prefix; none: no route.
    prefix: Option<String>,
    /// What it does.
    kind: &'static str,
    /// Its next hops.
    hops: Vec<HopEntry>,
    /// The MAC that the packet goes to.
    neighbour: Option<String>,
}

#[derive(Serialize, PartialEq)]
struct HopEntry {
    /// None: the destination itself.
    via: Option<IpAddr>,
    port: String,
    vlan: Option<u16>,
    /// Its MAC, if it is known.
    mac: Option<String>,
    state: &'static str,
}

/// What knows the routes.
struct Routing<'a> {
    /// Reads them as a worker does.
    reader: &'a mut RouteReader,
    /// Knows the prefixes.
    routes: &'a Routes,
}

impl Routing<'_> {
    /// The router's own MAC on a port.
    fn own_mac(&self, port: PortId) -> Option<Mac> {
        let snapshot = self.routes.snapshot();
        let link = snapshot.link_at(port, 0)?;
        Some(snapshot.links().get(usize::from(link))?.mac)
    }

    fn entry(&self, names: &Names, destination: IpAddr, edit: Edit) -> RouteEntry {
        let (prefix, id) = self.routes.lookup(destination);
        let snapshot = self.routes.snapshot();
        let entry = match destination {
            IpAddr::V4(_) => snapshot.entry_v4(id),
            IpAddr::V6(_) => snapshot.entry_v6(id),
        };
        let mut hops = Vec::new();
        for place in snapshot.adjacencies_of(entry) {
            let (adjacency, next) = (snapshot.adjacency(place), snapshot.next_hop(place));
            let hop = HopEntry {
                via: next.and_then(|next| next.address),
                port: match adjacency.state {
                    State::Down => String::new(),
                    _ => names.port(PortId(adjacency.port)).to_owned(),
                },
                vlan: (adjacency.vlan != 0).then_some(adjacency.vlan),
                mac: (adjacency.state == State::Ready).then(|| shown(&adjacency.macs[..6])),
                state: match adjacency.state {
                    State::Ready => "ready",
                    State::Unresolved => "unresolved",
                    State::Glean => "connected",
                    State::Down => "down",
                },
            };
            if !hops.contains(&hop) {
                hops.push(hop);
            }
        }
        RouteEntry {
            prefix: prefix.map(|prefix| prefix.to_string()),
            kind: match entry.kind {
                EntryKind::None => "no route",
                EntryKind::Forward => "unicast",
                EntryKind::Local => "local",
                EntryKind::Broadcast => "broadcast",
                EntryKind::Blackhole => "blackhole",
                EntryKind::Unreachable => "unreachable",
                EntryKind::Prohibit => "prohibit",
                EntryKind::Martian => "martian",
                EntryKind::LinkGroup => "group of the link",
                EntryKind::Group => "group",
            },
            hops,
            neighbour: (!edit.is_nothing()).then(|| shown(&edit.to())),
        }
    }
}

/// A MAC as it is written.
fn shown(mac: &[u8]) -> String {
    let bytes: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.join(":")
}

#[derive(Serialize)]
struct RuleEntry {
    rule: &'static str,
    matched: bool,
    text: &'static str,
}

#[derive(Default)]
struct Recorder(Vec<RuleEntry>);

impl Trace for Recorder {
    fn rule(&mut self, number: &'static str, matched: bool) {
        self.0.push(RuleEntry { rule: number, matched, text: text(number) });
    }
}

/// What a rule asks.
fn text(number: &str) -> &'static str {
    match number {
        "1" => "not IPv4 or IPv6",
        "2" => "more VLAN tags and MPLS labels than the limit, from a customer",
        "3" => "malformed headers",
        "4" => "source route, or routing header type 0",
        "5" => "a source address that no host has",
        "6" => "a customer-side source in no pool",
        "8" => "more extension headers than the limit",
        "9" => "not TCP",
        "10" => "not port 25",
        "11" => "TCP from the provider's servers or filter (goes before rule 10)",
        "12" => "the pool is in quarantine",
        "13" => "a routing header that hides the destination",
        "14" => "the destination is in a set that the policy allows",
        "15" => "the pool is exempt",
        "16" => "a live grant covers the customer",
        "17" => "the source is in no pool, and a phase is in force",
        "18" => "a phase in force covers the destination",
        "19" => "no phase in force covers the destination",
        "20" => "the same, with source and destination swapped, is denied",
        "21" => "an answer from port 25 outside, otherwise",
        "22" => "mail from outside",
        _ => "fragment rules",
    }
}

/// Judges the packet of `question` at the instant `at` (UTC microseconds) by `generation`, which was compiled from
/// `config`, and which `number` names. Phases of the generation begin if their instant is not after `at`.
/// `down` says of a port that it does not work, `routing` is there in route mode: it is locked while the packet takes its way and no longer.
///
/// # Errors
/// When the question is about a packet that can't be.
pub fn explain<'a>(
    config: &'a Config,
    names: &'a Names,
    (generation, number): (&Generation, u64),
    down: impl Fn(PortId) -> bool,
    routing: Option<&Mutex<StaticRoutes>>,
    question: &Question,
    at: i64,
) -> Result<Explanation<'a>, Unanswerable> {
    let Question { source, destination, .. } = *question;
    if source.is_ipv4() != destination.is_ipv4() {
        return Err(Unanswerable::Families(source, destination));
    }
    let port = port(config, question.port.as_deref())?;

    let mut recorder = Recorder::default();
    let (decision, route) = {
        let common = routing::common(config, false);
        for port in (0..config.ports.len()).map(|port| PortId(port as u8)).filter(|port| down(*port)) {
            common.set_up(port, false);
        }
        let counters = Arc::new(WorkerCounters::new(config.ports.len(), names.highest_pool() + 1));
        // One packet asks no other of its datagram: a table of one is enough.
        let fragments = FragmentLimits { datagrams: 1, ..fragment_limits(&config.limits) };
        let mut pipeline = Pipeline::new(Arc::new(common), counters, fragments);
        let arrival = Arrival { port, link: Link::Ethernet, now: Instant::from_utc_micros(at) };
        let mut decisions = [Decision::UNDECIDED];
        let mut replies = Replies::default();
        let mut frame = frame(question);
        let mut edits = [Edit::NOTHING];
        let route = match routing {
            None => {
                let trace = &mut recorder;
                pipeline.judge_traced(generation, arrival, &[&frame], &mut decisions, &mut replies, trace);
                None
            }
            Some(routing) => {
                let mut routing = routing.lock().unwrap_or_else(PoisonError::into_inner);
                let StaticRoutes { reader, routes, .. } = &mut *routing;
                let routing = Routing { reader, routes };
                // The router is who it is sent to.
                if let (Some(mac), Some(to)) = (routing.own_mac(port), frame.first_chunk_mut()) {
                    *to = mac;
                }
                replies = Replies::for_routing(1);
                let (mut online, outcomes) =
                    (routing.reader.online(), Outcomes { decisions: &mut decisions, edits: &mut edits });
                let (frames, trace) = ([&*frame], &mut recorder);
                pipeline.judge_routed_traced(
                    generation,
                    &mut online,
                    arrival,
                    &frames,
                    outcomes,
                    &mut replies,
                    trace,
                );
                drop(online);
                Some(routing.entry(names, destination, edits[0]))
            }
        };
        (decisions[0], route)
    };

    let role = config.ports[usize::from(port.0)].role;
    // Inbound, the customer is the destination, and the rules look at the source in its place.
    let (customer, other) = match role {
        Role::Internet => (destination, source),
        _ => (source, destination),
    };
    let pools = entries(config.pools.iter().map(|p| (&*p.name, p.title.as_deref(), &*p.prefixes)), customer);
    let sets_with =
        |address| entries(config.sets.iter().map(|set| (&*set.name, None, &*set.prefixes)), address);
    let mut sets = sets_with(other);
    for embedded in embedded(config, other) {
        sets.extend(sets_with(embedded.into()));
    }
    let in_sets = generation.sets_of(other);
    let pool = config.pools.iter().find(|pool| names.pool_named(&pool.name) == Some(decision.pool));
    let policy = pool.map(|pool| pool.policy);
    Ok(Explanation {
        at: question.at.clone().unwrap_or_else(|| clock::show(at)),
        port: names.port(port),
        role: words::role(role),
        source,
        source_port: question.source_port,
        destination,
        destination_port: question.destination_port,
        protocol: question.protocol,
        pools,
        sets,
        phases: policy.map_or(Vec::new(), |policy| phases(config, policy, generation, &in_sets)),
        grants: generation.grants_of(customer).iter().map(|grant| grant_entry(grant, at)).collect(),
        rules: recorder.0,
        route,
        outcome: Outcome::new(&decision, names, number),
        decision,
        pool,
        followed: policy.map(|policy| &config.policies[policy]),
    })
}

fn grant_entry(grant: &Grant, at: i64) -> GrantEntry {
    let (address, until) = (crate::grants::shown(grant.prefix), clock::show(grant.until));
    GrantEntry { address, until, live: grant.is_live(at) }
}

fn port(config: &Config, name: Option<&str>) -> Result<PortId, Unanswerable> {
    let at = match name {
        Some(name) => config.ports.iter().position(|port| port.name == name),
        None => config.ports.iter().position(|port| port.role == Role::Subscriber),
    };
    at.map(|at| PortId(at as u8)).ok_or_else(|| {
        let names: Vec<&str> = config.ports.iter().map(|port| port.name.as_str()).collect();
        Unanswerable::Port {
            wanted: name.unwrap_or("(a subscriber port)").to_owned(),
            names: names.join(", "),
        }
    })
}

/// The IPv4 addresses that an address under a NAT64 prefix embeds; sets are looked up with these too.
fn embedded(config: &Config, address: IpAddr) -> Vec<Ipv4Addr> {
    let IpAddr::V6(address) = address else { return Vec::new() };
    let operators = config.checks.nat64_prefixes.iter().filter_map(|prefix| Nat64::new(*prefix));
    let prefixes = std::iter::once(Nat64::WELL_KNOWN).chain(operators);
    prefixes.filter_map(|prefix| prefix.embedded(address.to_bits())).map(Ipv4Addr::from_bits).collect()
}

/// The entries that hold an address, the longest prefix first.
fn entries<'a>(
    tables: impl Iterator<Item = (&'a str, Option<&'a str>, &'a [IpNetwork])>,
    address: IpAddr,
) -> Vec<Entry<'a>> {
    let mut found: Vec<Entry<'a>> = tables
        .flat_map(|(name, title, prefixes)| {
            let holding = prefixes.iter().filter(move |prefix| prefix.contains(address));
            holding.map(move |prefix| Entry { name, title, prefix: *prefix })
        })
        .collect();
    found.sort_by_key(|entry| std::cmp::Reverse(entry.prefix.prefix()));
    found
}

/// The phases of the policy at place `policy`.
fn phases<'a>(
    config: &'a Config,
    policy: usize,
    generation: &Generation,
    in_sets: &[usize],
) -> Vec<PhaseEntry<'a>> {
    // The generation numbers the phases of all policies in the order of the configuration.
    let before: usize = config.policies[..policy].iter().map(|policy| policy.phases.len()).sum();
    let entry = |(at, phase): (usize, &'a crate::config::Phase)| {
        let (covers, block) = match &phase.block {
            Block::All => (true, vec!["all"]),
            Block::Sets(sets) => (
                sets.iter().any(|set| in_sets.contains(set)),
                sets.iter().map(|set| config.sets[*set].name.as_str()).collect(),
            ),
        };
        let in_force = generation.phase_has_begun(PhaseId((before + at) as u16));
        PhaseEntry { name: &phase.name, from: &phase.from_text, in_force, covers, block }
    };
    config.policies[policy].phases.iter().enumerate().map(entry).collect()
}

impl Explanation<'_> {
    /// Prints it for people.
    ///
    /// # Errors
    /// When `out` can't be written.
    pub fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let decision = &self.decision;
        let protocol = format!("{:?}", self.protocol).to_uppercase();
        writeln!(out, "{protocol} {} port {}", self.source, self.source_port)?;
        writeln!(out, "  to {} port {}", self.destination, self.destination_port)?;
        writeln!(out, "  received on {} ({}) at {}", self.port, self.role, self.at)?;

        writeln!(out, "\npools that hold the customer's address")?;
        for (at, Entry { name, title, prefix }) in self.pools.iter().enumerate() {
            let wins = if at == 0 { "longest prefix" } else { "" };
            let title = title.unwrap_or("");
            let line = format!("  {:<44}{name:<24}{wins:<16}{title}", prefix.to_string());
            writeln!(out, "{}", line.trim_end())?;
        }
        none(out, self.pools.is_empty())?;
        if let (Some(pool), Some(policy)) = (self.pool, self.followed) {
            let (kind, action) = (words::kind(policy.kind), words::action(policy.action));
            writeln!(out, "  pool {} follows policy {} ({kind}, {action})", pool.name, policy.name)?;
        }
        writeln!(out, "\nsets that hold the other address")?;
        for Entry { name, prefix, .. } in &self.sets {
            writeln!(out, "  {:<44}{name}", prefix.to_string())?;
        }
        none(out, self.sets.is_empty())?;
        writeln!(out, "\nphases of the policy")?;
        for PhaseEntry { name, from, in_force, covers, block } in &self.phases {
            let in_force = if *in_force { "in force" } else { "to come" };
            let covers = if *covers { "covers it" } else { "does not cover it" };
            writeln!(out, "  {name} from {from}: {in_force}, blocks {}, {covers}", block.join(", "))?;
        }
        none(out, self.phases.is_empty())?;
        if !self.grants.is_empty() {
            writeln!(out, "\ngrants that hold the customer's address")?;
        }
        for GrantEntry { address, until, live } in &self.grants {
            let live = if *live { "live" } else { "not live" };
            writeln!(out, "  {address:<44}{live}, until {until}")?;
        }
        writeln!(out, "\nrules in their order, first match wins")?;
        for RuleEntry { rule, matched, text } in &self.rules {
            writeln!(out, "  {rule:>3}  {}  {text}", if *matched { "yes" } else { "no " })?;
        }

        if let Some(route) = &self.route {
            route.print(out)?;
        }
        writeln!(out, "\n{}: {}", crate::report::verdict(decision.taken), decision.reason)?;
        writeln!(out, "  {} (rule {})", decision.reason.meaning(), decision.reason.rule())?;
        let outcome = serde_json::to_value(&self.outcome).map_err(io::Error::from)?;
        for key in ["action", "out", "pool", "policy", "phase", "would"] {
            if let Some(value) = outcome[key].as_str() {
                writeln!(out, "  {key}: {value}")?;
            }
        }
        Ok(())
    }
}

impl RouteEntry {
    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "\nroute to the destination")?;
        let prefix = self.prefix.as_deref().unwrap_or("-");
        writeln!(out, "  {prefix:<44}{}", self.kind)?;
        for HopEntry { via, port, vlan, mac, state } in &self.hops {
            let via = via.map_or("the destination itself".to_owned(), |via| format!("via {via}"));
            let vlan = vlan.map_or(String::new(), |vlan| format!(" VLAN {vlan}"));
            let mac = mac.as_deref().unwrap_or("no MAC");
            writeln!(out, "  {via:<44}on {port}{vlan}, {mac}, {state}")?;
        }
        match &self.neighbour {
            Some(neighbour) => writeln!(out, "  it leaves for {neighbour}"),
            None => Ok(()),
        }
    }
}

fn none(out: &mut impl Write, empty: bool) -> io::Result<()> {
    match empty {
        true => writeln!(out, "  none"),
        false => Ok(()),
    }
}

/// The packet that is asked about: a SYN, or the least that its protocol takes.
fn frame(question: &Question) -> Vec<u8> {
    const ETHERNET: usize = 14;
    const TRANSPORT: usize = 20;
    let v6 = question.source.is_ipv6();
    let ip = if v6 { 40 } else { 20 };
    let mut frame = vec![0u8; ETHERNET + ip + TRANSPORT];
    if let Some(mut ethernet) = MutableEthernetPacket::new(&mut frame) {
        // Locally administered addresses (IEEE 802 §8.4).
        ethernet.set_destination(MacAddr::new(2, 0, 0, 0, 0, 1));
        ethernet.set_source(MacAddr::new(2, 0, 0, 0, 0, 2));
        ethernet.set_ethertype(if v6 { EtherTypes::Ipv6 } else { EtherTypes::Ipv4 });
    }
    let protocol = question.protocol.number(v6);
    match (question.source, question.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            ipv4_header(&mut frame[ETHERNET..], source, destination, protocol);
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            ipv6_header(&mut frame[ETHERNET..], source, destination, protocol);
        }
        _ => {}
    }
    let transport = &mut frame[ETHERNET + ip..];
    match question.protocol {
        Protocol::Tcp => {
            if let Some(mut tcp) = MutableTcpPacket::new(transport) {
                tcp.set_source(question.source_port);
                tcp.set_destination(question.destination_port);
                tcp.set_data_offset(5);
                tcp.set_flags(TcpFlags::SYN);
            }
        }
        Protocol::Udp | Protocol::Sctp => {
            if let Some(mut udp) = MutableUdpPacket::new(transport) {
                udp.set_source(question.source_port);
                udp.set_destination(question.destination_port);
                udp.set_length(TRANSPORT as u16);
            }
        }
        Protocol::Icmp => transport[0] = if v6 { 128 } else { 8 },
    }
    frame
}

fn ipv4_header(packet: &mut [u8], source: Ipv4Addr, destination: Ipv4Addr, protocol: IpNextHeaderProtocol) {
    let length = packet.len() as u16;
    let Some(mut ip) = MutableIpv4Packet::new(packet) else { return };
    ip.set_version(4);
    ip.set_header_length(5);
    ip.set_total_length(length);
    ip.set_ttl(64);
    ip.set_next_level_protocol(protocol);
    ip.set_source(source);
    ip.set_destination(destination);
    ip.set_checksum(ipv4::checksum(&ip.to_immutable()));
}

fn ipv6_header(packet: &mut [u8], source: Ipv6Addr, destination: Ipv6Addr, protocol: IpNextHeaderProtocol) {
    let length = (packet.len() - 40) as u16;
    let Some(mut ip) = MutableIpv6Packet::new(packet) else { return };
    ip.set_version(6);
    ip.set_payload_length(length);
    ip.set_next_header(protocol);
    ip.set_hop_limit(64);
    ip.set_source(source);
    ip.set_destination(destination);
}
