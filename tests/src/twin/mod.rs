//! The slow, obvious twin of the decision engine.
//!
//! It is written from policy.md alone, rule by rule, and shares no code with the product: every header is
//! read by its offset, every prefix is looked at, every table is a map. Numbers in comments are
//! policy.md's: a plain number is a rule of section 2, F1–F11 are section 3's, 7.n is the n-th detail of
//! section 7.
//!
//! Where policy.md leaves something open, the reading taken is marked "Reading:".

mod budget;
mod config;
mod fragments;
mod link;
mod packet;
mod reply;
pub mod router;

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use budget::Budgets;
use config::{Action, Block, Kind, Pool, Port, RejectWith, Role, SourceValidation};
pub use config::{ConfigError, Micros, TwinConfig, duration, instant};
use fragments::{Datagram, Fate, Fragments};
use link::{Envelope, Link};
use packet::{Chain, Fragment, ICMPV6, Packet, Ports, RST, TCP, UDP};

/// Where a frame, or the answer to it, leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Nothing leaves.
    Nowhere,
    /// The port of that name.
    Port(String),
    /// By some port: the documents do not say which.
    Unsaid,
}

/// What became of a frame: the fields of a line of `replay --json`, and the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// `forward` or `deny`.
    pub verdict: &'static str,
    /// A code of policy.md.
    pub reason: &'static str,
    /// `drop`, `reject` or `divert`; `None` on forward.
    pub action: Option<&'static str>,
    /// Of the source outbound, of the destination inbound.
    pub pool: Option<String>,
    /// That pool's policy.
    pub policy: Option<String>,
    /// The phase that decided.
    pub phase: Option<String>,
    /// The reason that a monitored deny would have had.
    pub would: Option<&'static str>,
    /// Where the frame or the answer left.
    pub out: Exit,
    /// Whether the reject budget was spent.
    pub suppressed: bool,
    /// The frame that answers.
    pub reply: Option<Vec<u8>>,
}

/// The twin: a configuration and what lives from frame to frame.
#[derive(Clone, Debug)]
pub struct Twin {
    config: Arc<TwinConfig>,
    /// Of every policy's phases, which have begun (section 5: they stay begun).
    begun: Vec<Vec<bool>>,
    fragments: Fragments,
    budgets: Budgets,
    /// By which ports packets from one address to another leave without the filter, as far as diverted ones
    /// tell.
    diverted: HashMap<(IpAddr, IpAddr), BTreeSet<String>>,
}

/// A packet on its way through the rules.
struct Arrival<'a> {
    port: &'a Port,
    now: Micros,
    envelope: &'a Envelope<'a>,
    packet: &'a Packet<'a>,
}

impl Arrival<'_> {
    fn outbound(&self) -> bool {
        self.port.role == Role::Subscriber
    }

    fn inbound(&self) -> bool {
        self.port.role == Role::Internet
    }

    /// The customer's address and the other side's, where the port has a customer's side.
    fn customer_and_peer(&self) -> Option<(IpAddr, IpAddr)> {
        match self.port.role {
            Role::Subscriber => Some((self.packet.source, self.packet.destination)),
            Role::Internet => Some((self.packet.destination, self.packet.source)),
            Role::Servers | Role::Filter => None,
        }
    }
}

/// What the rules say.
#[derive(Debug)]
struct Ruling {
    does: Does,
    reason: &'static str,
    phase: Option<String>,
    would: Option<&'static str>,
}

#[derive(Clone, Copy, Debug)]
enum Does {
    Forward,
    /// A rule's own "drop".
    Drop,
    /// The verdict of an earlier fragment that was diverted.
    Divert,
    /// A deny of the policy of that index, with its action.
    Deny {
        action: Action,
        policy: usize,
    },
}

fn forward(reason: &'static str) -> Ruling {
    Ruling { does: Does::Forward, reason, phase: None, would: None }
}

fn drop(reason: &'static str) -> Ruling {
    Ruling { does: Does::Drop, reason, phase: None, would: None }
}

/// What was done with the packet.
enum Done {
    Forwarded,
    Dropped { suppressed: bool },
    Rejected(Vec<u8>),
    Diverted { to: String },
}

/// How rules 12 to 18 end for a customer.
struct Judgement {
    end: End,
    /// The first deny that is only monitored, with its phase.
    would: Option<(&'static str, Option<String>)>,
}

enum End {
    Open(&'static str),
    /// A rule's own drop.
    Dropped(&'static str),
    Denied {
        reason: &'static str,
        action: Action,
        policy: usize,
        phase: Option<String>,
    },
}

impl Twin {
    /// A twin that has seen nothing yet.
    pub fn new(config: TwinConfig) -> Self {
        Self {
            begun: config.policies.iter().map(|p| vec![false; p.phases.len()]).collect(),
            fragments: Fragments::new(&config.limits),
            budgets: Budgets::new(&config.limits),
            diverted: HashMap::new(),
            config: Arc::new(config),
        }
    }

    /// Judges a frame received on the port of that name, which must be one of the configuration's.
    pub fn judge(&mut self, port: &str, now: Micros, frame: &[u8]) -> Outcome {
        let config = Arc::clone(&self.config);
        let port = config.port(port).expect("a port of the configuration");
        self.begin_phases(now);

        let envelope = match link::open(frame, config.limits.l2_headers) {
            // Rule 1.
            Link::NotIp => return without_packet(port, forward("not-ip")),
            // Rule 2.
            Link::TooDeep if port.role == Role::Subscriber => {
                return without_packet(port, drop("encap-depth"));
            }
            Link::TooDeep => return without_packet(port, forward("not-ip")),
            Link::Ip(envelope) => envelope,
        };
        let read = Packet::read(envelope.version, envelope.body, config.limits.extension_headers);
        let Ok(packet) = read else {
            // Rule 3.
            return without_packet(port, drop("malformed"));
        };
        let arrival = Arrival { port, now, envelope: &envelope, packet: &packet };
        let (ruling, done) = self.rule(&arrival);
        self.outcome(&arrival, ruling, done)
    }

    /// Section 5: a phase that has begun stays begun if the clock steps back.
    fn begin_phases(&mut self, now: Micros) {
        for (policy, begun) in self.config.policies.iter().zip(&mut self.begun) {
            for (phase, begun) in policy.phases.iter().zip(begun) {
                *begun |= phase.from <= now;
            }
        }
    }

    /// Rules 4 to 22, section 3 among them, and the action.
    fn rule(&mut self, a: &Arrival<'_>) -> (Ruling, Done) {
        let mut would = None;
        let (mut ruling, done) = match self.before_fragments(a, &mut would) {
            Some(ruling) => {
                let done = self.act(a, &ruling);
                (ruling, done)
            }
            // Rule 7.
            None => match &a.packet.fragment {
                None => {
                    let ruling = self.whole(a);
                    let done = self.act(a, &ruling);
                    (ruling, done)
                }
                Some(first) if first.offset == 0 => self.first_fragment(a, first),
                Some(later) => {
                    let ruling = self.later_fragment(a, later);
                    let done = self.act(a, &ruling);
                    (ruling, done)
                }
            },
        };
        // `would` is what a deny would have been: on a deny it says nothing. The first one goes before the
        // later.
        ruling.would = if matches!(done, Done::Forwarded) { would.or(ruling.would) } else { None };
        (ruling, done)
    }

    /// Rules 4, 5 and 6.
    fn before_fragments(&self, a: &Arrival<'_>, would: &mut Option<&'static str>) -> Option<Ruling> {
        // Rule 4.
        if a.packet.source_route {
            return Some(drop("source-route"));
        }
        // 7.7: fe80::/10 sources are exempt from rules 5 and 6.
        if is_link_local(a.packet.source) {
            return None;
        }
        // Rule 5.
        let exempt = is_exempt_from_5(a.packet);
        if is_bogon(a.packet.source) && !exempt {
            return Some(drop("bogon-source"));
        }
        // Rule 6.
        if a.outbound() && !exempt && self.config.pool_of(a.packet.source).is_none() {
            match self.config.source_validation {
                SourceValidation::Enforce => return Some(drop("spoofed-source")),
                SourceValidation::Monitor => *would = Some("spoofed-source"),
                SourceValidation::Off => {}
            }
        }
        None
    }

    /// Rules 8 to 22, for a whole packet or an atomic fragment (F1) and for a first fragment (F2).
    fn whole(&self, a: &Arrival<'_>) -> Ruling {
        let (protocol, payload) = match a.packet.chain {
            Chain::Whole { protocol, payload } => (protocol, payload),
            // Rule 8. A first fragment does not come here with it.
            Chain::TooLong if a.outbound() => return drop("header-chain"),
            Chain::TooLong => return forward("opaque"),
            // 7.4: a first fragment that ends inside its chain; outbound F4 has dropped it.
            Chain::Cut | Chain::Nested | Chain::LaterFragment => return forward("opaque"),
        };
        // Rule 9; 7.6.
        if protocol != TCP {
            return match protocol {
                1 | 2 | UDP | 33 | ICMPV6 | 59 | 132 | 136 => forward("not-tcp"),
                _ => forward("opaque"),
            };
        }
        // Rule 11 comes before rule 10.
        if matches!(a.port.role, Role::Servers | Role::Filter) {
            return forward("server-origin");
        }
        // 7.10: a first fragment of TCP without ports, inbound; outbound F3 has dropped it.
        let Some(ports) = packet::ports(payload) else {
            return forward("opaque");
        };
        if a.outbound() { self.outbound(a, ports) } else { self.inbound(a, ports) }
    }

    /// Rules 10 and 12 to 19.
    fn outbound(&self, a: &Arrival<'_>, ports: Ports) -> Ruling {
        // Rule 10.
        if ports.destination != 25 {
            return forward(other_than_25(ports));
        }
        // 7.7, 7.14: link-local sources are exempt from rules 12 to 20.
        if is_link_local(a.packet.source) {
            return forward("not-in-scope");
        }
        let judgement = self.judge_customer(a.packet.source, a.packet.destination, a);
        match judgement.end {
            End::Dropped(reason) => drop(reason),
            End::Denied { reason, action, policy, phase } => {
                Ruling { does: Does::Deny { action, policy }, reason, phase, would: None }
            }
            End::Open(reason) => {
                let (would, phase) =
                    judgement.would.map_or((None, None), |(would, phase)| (Some(would), phase));
                Ruling { does: Does::Forward, reason, phase, would }
            }
        }
    }

    /// Rules 10 and 20 to 22.
    fn inbound(&self, a: &Arrival<'_>, ports: Ports) -> Ruling {
        // Rule 10.
        if !ports.either(25) {
            return forward(other_than_25(ports));
        }
        // Rule 22.
        if ports.source != 25 {
            return forward("inbound-mail");
        }
        // Rule 20. 7.7, 7.14: not for link-local sources.
        // Reading: with source and destination swapped, neither for a link-local customer.
        let customer = a.packet.destination;
        let pool = self.config.pool_of(customer);
        if let Some(pool) = pool
            && !is_link_local(a.packet.source)
            && !is_link_local(customer)
            && self.config.policies[self.config.policy_of(pool)].mirror
        {
            let judgement = self.judge_customer(customer, a.packet.source, a);
            match judgement.end {
                // 7.20: rule 13's action is drop.
                End::Dropped(_) => return drop("port25-mirror"),
                End::Denied { action, policy, phase, .. } => {
                    let does = Does::Deny { action, policy };
                    return Ruling { does, reason: "port25-mirror", phase, would: None };
                }
                // 7.8: a monitored mirror.
                End::Open(_) => {
                    if let Some((_, phase)) = judgement.would {
                        let would = Some("port25-mirror");
                        return Ruling { does: Does::Forward, reason: "return-allowed", phase, would };
                    }
                }
            }
        }
        // Rule 21.
        forward("return-allowed")
    }

    /// Rules 12 to 19 for a customer who sends to port 25 of `destination`.
    fn judge_customer(&self, source: IpAddr, destination: IpAddr, a: &Arrival<'_>) -> Judgement {
        let config = &self.config;
        let mut would: Option<(&'static str, Option<String>)> = None;
        let policy = config.pool_of(source).map(|pool| config.policy_of(pool));

        // Rule 12.
        if let Some(index) = policy
            && config.policies[index].kind == Kind::Quarantine
        {
            let reason = "port25-quarantine";
            match config.policies[index].action {
                // 7.8: the reason goes into `would`, and the rules go on.
                Action::Monitor => would = Some((reason, None)),
                action => {
                    return Judgement {
                        end: End::Denied { reason, action, policy: index, phase: None },
                        would,
                    };
                }
            }
        }
        // Rule 13.
        if a.packet.routed {
            return Judgement { end: End::Dropped("routed-header"), would };
        }
        if let Some(index) = policy {
            let policy = &config.policies[index];
            // Rule 14.
            if policy.allow.iter().any(|set| config.set_holds(set, destination)) {
                return Judgement { end: End::Open("allowed-destination"), would };
            }
            // Rule 15.
            if policy.kind == Kind::Exempt {
                return Judgement { end: End::Open("exempt-pool"), would };
            }
        }
        // Rule 16.
        let covers = |g: &config::Grant| g.prefix.contains(source) && g.given <= a.now && a.now < g.until;
        if config.grants.iter().any(covers) {
            return Judgement { end: End::Open("exempt-grant"), would };
        }
        let Some(index) = policy else {
            // Rule 17.
            if self.begun.iter().flatten().any(|begun| *begun) {
                return Judgement { end: End::Dropped("port25-unknown-source"), would };
            }
            return Judgement { end: End::Open("not-in-scope"), would };
        };
        // Rule 18. 7.9, 7.19: an enforced phase goes before a monitored one, then the one that began first
        // decides, then the first in the file.
        let deciding = config.policies[index]
            .phases
            .iter()
            .zip(&self.begun[index])
            .filter(|(phase, begun)| {
                **begun
                    && match &phase.block {
                        Block::All => true,
                        Block::Sets(names) => names.iter().any(|set| config.set_holds(set, destination)),
                    }
            })
            .map(|(phase, _)| phase)
            .min_by_key(|phase| (phase.action == Action::Monitor, phase.from));
        if let Some(phase) = deciding {
            let reason = "port25-egress";
            let name = Some(phase.name.clone());
            if phase.action != Action::Monitor {
                let end = End::Denied { reason, action: phase.action, policy: index, phase: name };
                return Judgement { end, would };
            }
            // Reading: of two monitored denies the first, which would have decided, is the one that is told.
            would.get_or_insert((reason, name));
        }
        // Rule 19.
        Judgement { end: End::Open("not-in-scope"), would }
    }

    // ------------------------------------------------------------------ section 3

    fn datagram(&self, a: &Arrival<'_>, fragment: &Fragment<'_>) -> Datagram {
        Datagram {
            port: a.port.name.clone(),
            source: a.packet.source,
            destination: a.packet.destination,
            identification: fragment.identification,
            protocol: fragment.protocol,
        }
    }

    /// A first fragment: F11, F3, F4 and rule 8, F10, F7, then the rules of section 2 (F2, F9).
    fn first_fragment(&mut self, a: &Arrival<'_>, first: &Fragment<'_>) -> (Ruling, Done) {
        let datagram = self.datagram(a, first);
        let l4_end = first.l4_end(&a.packet.chain);
        let overlapped = self.fragments.find(&datagram, a.now).is_some_and(|entry| entry.overlapped);
        let remembered = self.fragments.find_or_make(&datagram, a.now).is_some();

        let ruling = self.cut_short(a, first, overlapped).unwrap_or_else(|| {
            let entry = self.fragments.find(&datagram, a.now);
            match entry {
                // F7, the later fragment first; and further first fragments after an overlap.
                Some(entry) if entry.overlapped || entry.overlaps(l4_end) => drop(entry.overlap()),
                // F10: outbound, what cannot be remembered must have its upper-layer header at offset 0.
                None if a.outbound() && !remembered && upper_at(a.packet, first) != Some(0) => {
                    drop("header-chain")
                }
                _ => self.whole(a),
            }
        });
        let done = self.act(a, &ruling);
        let fate = match &done {
            Done::Forwarded => Fate::Forward,
            Done::Diverted { .. } => Fate::Divert,
            Done::Dropped { .. } | Done::Rejected(_) => Fate::Drop,
        };
        if let Some(entry) = self.fragments.find(&datagram, a.now) {
            entry.first(fate, l4_end);
        }
        (ruling, done)
    }

    /// F11, F3, F4, and rule 8, which stands with F4. They do not look at what is known of the datagram,
    /// but for: after an overlap, what they let through is `fragment-overlap`.
    fn cut_short(&self, a: &Arrival<'_>, first: &Fragment<'_>, overlapped: bool) -> Option<Ruling> {
        match a.packet.chain {
            // F11 and rule 8.
            Chain::Nested | Chain::TooLong if a.outbound() => Some(drop("header-chain")),
            // Reading: "let through" is "forwarded".
            Chain::Nested | Chain::TooLong if overlapped => None,
            Chain::Nested | Chain::TooLong => Some(forward("opaque")),
            // F3.
            Chain::Whole { protocol: TCP, payload } if a.outbound() && payload.len() < 20 => {
                Some(drop("tiny-fragment"))
            }
            // F4; 7.4 says the same of an IPv4 chain (AH).
            Chain::Cut if a.outbound() => Some(drop("header-chain")),
            // F4; 7.10.
            Chain::Whole { protocol: UDP, payload }
                if a.outbound() && payload.len() < 8 && first.protocol.is_none() =>
            {
                Some(drop("header-chain"))
            }
            _ => None,
        }
    }

    /// A later fragment: F11, F5, F7, F6, F8.
    fn later_fragment(&mut self, a: &Arrival<'_>, later: &Fragment<'_>) -> Ruling {
        // F11: an atomic Fragment header in front of this one.
        if matches!(a.packet.chain, Chain::Nested) {
            return if a.outbound() { drop("header-chain") } else { forward("opaque") };
        }
        // F5.
        if a.outbound() && later.protocol == Some(TCP) && later.offset == 8 {
            return drop("tiny-fragment");
        }
        let datagram = self.datagram(a, later);
        // F10: what cannot be remembered is an orphan.
        let Some(entry) = self.fragments.find_or_make(&datagram, a.now) else {
            return forward("fragment-orphan");
        };
        // Reading: offsets alone decide, so a fragment without a byte overlaps like another.
        entry.lowest = entry.lowest.min(later.offset);
        let Some(fate) = entry.fate else {
            // F8.
            return forward("fragment-orphan");
        };
        // F7.
        if later.offset < entry.l4_end {
            return drop(entry.overlap());
        }
        // F6.
        let does = match fate {
            Fate::Forward => Does::Forward,
            Fate::Divert => Does::Divert,
            Fate::Drop => Does::Drop,
        };
        Ruling { does, reason: "fragment-follow", phase: None, would: None }
    }

    // ------------------------------------------------------------------ section 4

    /// Does what the ruling says.
    fn act(&mut self, a: &Arrival<'_>, ruling: &Ruling) -> Done {
        const DROPPED: Done = Done::Dropped { suppressed: false };
        let (action, policy) = match ruling.does {
            Does::Forward => return Done::Forwarded,
            Does::Drop => return DROPPED,
            Does::Divert => return self.divert(a).unwrap_or(DROPPED),
            Does::Deny { action, policy } => (action, policy),
        };
        match action {
            Action::Reject => self.reject(a, policy),
            Action::Divert => match self.divert(a) {
                Some(done) => done,
                // The filter is down.
                None if self.config.policies[policy].divert_fallback == Action::Reject => {
                    self.reject(a, policy)
                }
                None => DROPPED,
            },
            Action::Drop => DROPPED,
            Action::Monitor => unreachable!("a monitored deny is no deny"),
        }
    }

    /// The unchanged frame goes to the filter; `None` if there is no live one.
    fn divert(&mut self, a: &Arrival<'_>) -> Option<Done> {
        let to = self.config.live_filter()?.name.clone();
        // Without the filter it would leave by the peer, and an answer to it by the port that it came from.
        let (source, destination) = (a.packet.source, a.packet.destination);
        if let Some(peer) = &a.port.peer {
            self.diverted.entry((source, destination)).or_default().insert(peer.clone());
            self.diverted.entry((destination, source)).or_default().insert(a.port.name.clone());
        }
        Some(Done::Diverted { to })
    }

    /// Answers the packet if it may be answered and the budgets allow it.
    fn reject(&mut self, a: &Arrival<'_>, policy: usize) -> Done {
        let dropped = Done::Dropped { suppressed: false };
        // Never in answer to an inbound packet (so rule 20 drops), to a multicast or broadcast, a bogon, a
        // RST, nor inside MPLS (7.2). Later fragments do not come here.
        // Reading: rule 5 has dropped what a bogon sends, so "a bogon" is what is sent to one; the answer
        // would have it for its source.
        let segment = a.packet.tcp().expect("a policy denies nothing but TCP");
        if a.inbound()
            || a.envelope.mpls
            || a.envelope.to_group()
            || is_group(a.packet.destination)
            || is_bogon(a.packet.destination)
            || segment[13] & RST != 0
        {
            return dropped;
        }
        if !self.budgets.take(a.packet.source, a.now) {
            return Done::Dropped { suppressed: true };
        }
        Done::Rejected(match self.config.policies[policy].reject_with {
            RejectWith::Rst => reply::reset(a.envelope, a.packet, segment),
            RejectWith::Icmp => reply::prohibited(a.envelope, a.packet),
        })
    }

    /// The line that `replay` prints.
    fn outcome(&self, a: &Arrival<'_>, ruling: Ruling, done: Done) -> Outcome {
        let pool: Option<&Pool> =
            a.customer_and_peer().and_then(|(customer, _)| self.config.pool_of(customer));
        let mut outcome = without_packet(a.port, ruling);
        outcome.pool = pool.map(|p| p.name.clone());
        outcome.policy = pool.map(|p| p.policy.clone());
        match done {
            Done::Forwarded => {
                outcome.verdict = "forward";
                outcome.action = None;
                // What comes back from the filter leaves by the port it would have left by without the
                // filter. Which one that is, nobody says where nothing was diverted between the two, or by
                // different ports.
                if a.port.role == Role::Filter {
                    let exits = self.diverted.get(&(a.packet.source, a.packet.destination));
                    let only = exits.filter(|exits| exits.len() == 1).and_then(BTreeSet::first);
                    outcome.out = only.map_or(Exit::Unsaid, |port| Exit::Port(port.clone()));
                }
            }
            Done::Dropped { suppressed } => {
                outcome.verdict = "deny";
                outcome.action = Some("drop");
                outcome.out = Exit::Nowhere;
                outcome.suppressed = suppressed;
            }
            Done::Rejected(reply) => {
                outcome.verdict = "deny";
                outcome.action = Some("reject");
                outcome.out = Exit::Port(a.port.name.clone());
                outcome.reply = Some(reply);
            }
            Done::Diverted { to } => {
                outcome.verdict = "deny";
                outcome.action = Some("divert");
                outcome.out = Exit::Port(to);
            }
        }
        outcome
    }
}

/// The outcome of a frame that has no IP packet to look at: forwarded to the peer, or dropped.
fn without_packet(port: &Port, ruling: Ruling) -> Outcome {
    let forwarded = matches!(ruling.does, Does::Forward);
    Outcome {
        verdict: if forwarded { "forward" } else { "deny" },
        reason: ruling.reason,
        action: if forwarded { None } else { Some("drop") },
        pool: None,
        policy: None,
        phase: ruling.phase,
        would: ruling.would,
        out: match &port.peer {
            _ if !forwarded => Exit::Nowhere,
            Some(peer) => Exit::Port(peer.clone()),
            None => Exit::Unsaid,
        },
        suppressed: false,
        reply: None,
    }
}

/// Where the upper-layer header of a first fragment starts, counted like fragment offsets.
fn upper_at(packet: &Packet<'_>, first: &Fragment<'_>) -> Option<usize> {
    match packet.chain {
        Chain::Whole { payload, .. } => Some(first.upper_at(payload)),
        _ => None,
    }
}

/// Rule 10's reasons.
fn other_than_25(ports: Ports) -> &'static str {
    if ports.either(587) || ports.either(465) { "submission" } else { "other-port" }
}

/// Rule 5's ranges.
fn is_bogon(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => {
            let first = a.octets()[0];
            first == 0 || first == 127 || first >= 224
        }
        IpAddr::V6(a) => {
            let o = a.octets();
            let mapped = o[..10].iter().all(|b| *b == 0) && o[10] == 0xff && o[11] == 0xff;
            let unspecified_or_loopback = o[..15].iter().all(|b| *b == 0) && o[15] <= 1;
            mapped || unspecified_or_loopback || o[0] == 0xff
        }
    }
}

/// Rule 5's exemptions; 7.17.
fn is_exempt_from_5(packet: &Packet<'_>) -> bool {
    match packet.source {
        // DHCP, first fragments too.
        IpAddr::V4(a) if a.is_unspecified() => packet
            .udp()
            .and_then(packet::ports)
            .is_some_and(|ports| ports.source == 68 && ports.destination == 67),
        // Neighbour discovery and MLD, unfragmented only.
        IpAddr::V6(a) if a.is_unspecified() && packet.fragment.is_none() => packet
            .upper(ICMPV6)
            .and_then(|message| message.first())
            .is_some_and(|kind| matches!(kind, 133 | 135 | 131 | 132 | 143)),
        _ => false,
    }
}

/// fe80::/10.
fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(a) => a.octets()[0] == 0xfe && a.octets()[1] & 0xc0 == 0x80,
    }
}

/// A multicast address, or 255.255.255.255.
fn is_group(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => a.octets()[0] & 0xf0 == 0xe0 || a.octets() == [255; 4],
        IpAddr::V6(a) => a.octets()[0] == 0xff,
    }
}
