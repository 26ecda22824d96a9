//! The rules, in their order: first match wins.
//!
//! Everything here is arithmetic over what [`parse`](crate::frame::parse) found and what a
//! [`Generation`] holds. The numbers are those of the policy; they are also what [`Trace`] reports, so that
//! `explain` shows the way of a packet through this very code.

use std::net::IpAddr;

use super::decision::{Act, PhaseId, Ruling};
use super::{Action, Kind, PoolId, Reason, Role, SourceValidation};
use crate::clock::Instant;
use crate::frame::{Addresses, Datagram, Headers, Transport, Upper, protocol};
use crate::generation::{Generation, Policy};

const SMTP: u16 = 25;
const SUBMISSION: u16 = 587;
const SUBMISSIONS: u16 = 465;

/// Watches the rules at work. `()` watches nothing and costs nothing.
pub trait Trace {
    /// Rule `number` was looked at and decided the packet, or did not.
    fn rule(&mut self, number: &'static str, matched: bool);
}

impl Trace for () {
    #[inline(always)]
    fn rule(&mut self, _: &'static str, _: bool) {}
}

/// One packet before its judge.
pub(crate) struct Case<'a, T> {
    pub(crate) generation: &'a Generation,
    pub(crate) now: Instant,
    pub(crate) role: Role,
    pub(crate) frame: &'a [u8],
    pub(crate) headers: &'a Headers,
    /// The customer's pool.
    pub(crate) pool: PoolId,
    /// Room for a destination's sets.
    pub(crate) sets: &'a mut [u64],
    pub(crate) trace: &'a mut T,
}

impl<T: Trace> Case<'_, T> {
    fn outbound(&self) -> bool {
        self.role == Role::Subscriber
    }

    fn inbound(&self) -> bool {
        self.role == Role::Internet
    }

    /// Reports rule `number` and gives back whether it matched.
    fn rule(&mut self, number: &'static str, matched: bool) -> bool {
        self.trace.rule(number, matched);
        matched
    }

    /// Rules 4 to 6, which hold for fragments and whole packets alike. What a monitored source validation
    /// would have said is the second value.
    pub(crate) fn source(&mut self) -> (Option<Ruling>, Option<Reason>) {
        if self.rule("4", self.headers.source_route) {
            return (Some(Ruling::drop(Reason::SourceRoute)), None);
        }
        if self.link_local() {
            return (None, None);
        }
        if is_bogon(&self.headers.addresses) {
            let exempt = self.configures_itself();
            return match self.rule("5", !exempt) {
                true => (Some(Ruling::drop(Reason::BogonSource)), None),
                false => (None, None),
            };
        }
        self.rule("5", false);
        let validation = self.generation.source_validation();
        let spoofed = self.outbound() && self.pool == PoolId::NONE && validation != SourceValidation::Off;
        match (self.rule("6", spoofed), validation) {
            (true, SourceValidation::Enforce) => (Some(Ruling::drop(Reason::SpoofedSource)), None),
            (true, _) => (None, Some(Reason::SpoofedSource)),
            (false, _) => (None, None),
        }
    }

    fn link_local(&self) -> bool {
        matches!(self.headers.addresses, Addresses::V6 { source, .. } if source >> 118 == 0xfe80 >> 6)
    }

    /// A host that has no address yet: DHCP (RFC 2131 §4.1), and from `::` neighbour discovery
    /// (RFC 4861 §4.1, §4.3) and multicast listener discovery (RFC 3590 §4).
    fn configures_itself(&self) -> bool {
        let Upper::Found(transport) = &self.headers.upper else { return false };
        match (self.headers.addresses, self.headers.datagram) {
            (Addresses::V4 { source: 0, .. }, Datagram::Whole | Datagram::First(_)) => {
                transport.protocol == protocol::UDP
                    && transport.ports.is_some_and(|p| p.source == 68 && p.destination == 67)
            }
            (Addresses::V6 { source: 0, .. }, Datagram::Whole) => {
                let kind = self.frame.get(transport.offset as usize);
                transport.protocol == protocol::ICMPV6
                    && transport.available > 0
                    && kind.is_some_and(|kind| matches!(kind, 131 | 132 | 133 | 135 | 143))
            }
            _ => false,
        }
    }

    /// F11, F3, F4 and rule 8 for a first fragment: a verdict that does not hang on its ports. Once an overlap
    /// was seen (F7), what F11 and rule 8 would let through is left to F7.
    pub(crate) fn first_fragment(&mut self, overlapped: bool) -> Option<Ruling> {
        let outbound = self.outbound();
        let v6 = matches!(self.headers.addresses, Addresses::V6 { .. });
        let upper = self.headers.upper;
        if self.rule("F11", upper == Upper::Nested && (outbound || !overlapped)) {
            return Some(self.chain());
        }
        if self.rule("F3", outbound && matches!(upper, Upper::Found(t) if t.is_short_tcp())) {
            return Some(Ruling::drop(Reason::TinyFragment));
        }
        let no_ports = v6 && matches!(upper, Upper::Found(t) if t.is_short_udp());
        if self.rule("F4", outbound && (upper == Upper::Cut || no_ports)) {
            return Some(Ruling::drop(Reason::HeaderChain));
        }
        if self.rule("8", upper == Upper::TooMany && (outbound || !overlapped)) {
            return Some(self.chain());
        }
        None
    }

    /// F11 and F5 for a later fragment.
    pub(crate) fn later_fragment(&mut self, offset: u32) -> Option<Ruling> {
        if self.rule("F11", self.headers.upper == Upper::Nested) {
            return Some(self.chain());
        }
        let tcp = matches!(self.headers.datagram, Datagram::Later(part) if part.protocol == protocol::TCP);
        if self.rule("F5", self.outbound() && tcp && offset == 8) {
            return Some(Ruling::drop(Reason::TinyFragment));
        }
        None
    }

    /// A chain that can't be followed: dropped from a customer, passed from elsewhere.
    fn chain(&self) -> Ruling {
        match self.outbound() {
            true => Ruling::drop(Reason::HeaderChain),
            false => Ruling::forward(Reason::Opaque),
        }
    }

    /// F10: whether a first fragment that can't be remembered must not pass. With the upper-layer header at
    /// the fragment's start, no later fragment can put TCP ports there.
    pub(crate) fn must_be_remembered(&mut self, data: u32) -> Option<Ruling> {
        let at_start = matches!(self.headers.upper, Upper::Found(t) if t.offset == data);
        let refused = self.outbound() && !at_start;
        self.rule("F10", refused).then_some(Ruling::drop(Reason::HeaderChain))
    }

    /// Rules 8 to 22, for a whole packet or a first fragment on its own ports.
    pub(crate) fn ports(&mut self) -> Ruling {
        let transport = match self.headers.upper {
            Upper::Found(transport) => transport,
            Upper::TooMany | Upper::Nested | Upper::Cut | Upper::Hidden => {
                self.rule("8", true);
                return self.chain();
            }
        };
        self.rule("8", false);
        if self.rule("9", transport.protocol != protocol::TCP) {
            return Ruling::forward(without_ports(transport.protocol));
        }
        if self.rule("11", matches!(self.role, Role::Servers | Role::Filter)) {
            return Ruling::forward(Reason::ServerOrigin);
        }
        let Some(ports) = transport.ports else {
            // A first fragment from outside that ends before its ports.
            return Ruling::forward(Reason::Opaque);
        };
        let smtp = match self.outbound() {
            true => ports.destination == SMTP,
            false => ports.either(SMTP),
        };
        if self.rule("10", !smtp) {
            return Ruling::forward(match ports.either(SUBMISSION) || ports.either(SUBMISSIONS) {
                true => Reason::Submission,
                false => Reason::OtherPort,
            });
        }
        if self.outbound() {
            return match self.link_local() {
                true => Ruling::forward(Reason::NotInScope),
                false => self.egress(self.headers.addresses),
            };
        }
        debug_assert!(self.inbound());
        if ports.source != SMTP {
            self.rule("22", true);
            return Ruling::forward(Reason::InboundMail);
        }
        self.mirror()
    }

    /// Rules 12 to 19 for port 25 between these addresses, the customer being the source.
    fn egress(&mut self, addresses: Addresses) -> Ruling {
        self.generation.sets().of_destination(&addresses, self.sets);
        let egress = Egress {
            generation: self.generation,
            now: self.now,
            pool: self.pool,
            customer: addresses.source(),
            routed: self.headers.routed,
            sets: self.sets,
        };
        egress.judge(self.trace)
    }

    /// Rules 20 and 21 for port 25's answers from outside.
    fn mirror(&mut self) -> Ruling {
        let generation = self.generation;
        let passes = Ruling::forward(Reason::ReturnAllowed);
        let policy = generation.policy_of(self.pool).filter(|policy| policy.mirror);
        if policy.is_none() || self.link_local() {
            self.rule("20", false);
            self.rule("21", true);
            return passes;
        }
        let swapped = self.egress(self.headers.addresses.swapped());
        let denied = swapped.act != Act::Forward;
        if self.rule("20", denied) {
            let act = match swapped.act {
                Act::Divert(fallback, with) => Act::Divert(fallback, with),
                _ => Act::Drop,
            };
            return Ruling { reason: Reason::Port25Mirror, act, would: None, phase: swapped.phase };
        }
        self.rule("21", true);
        // A monitored mirror passes, and is counted as what it would have been.
        match swapped.would {
            Some(_) => Ruling { would: Some(Reason::Port25Mirror), phase: swapped.phase, ..passes },
            None => passes,
        }
    }
}

/// Port 25 from a customer: what rules 12 to 19 look at.
pub(crate) struct Egress<'a> {
    pub(crate) generation: &'a Generation,
    pub(crate) now: Instant,
    pub(crate) pool: PoolId,
    pub(crate) customer: IpAddr,
    /// Behind an IPv6 routing header that hides the destination.
    pub(crate) routed: bool,
    /// The sets that hold the destination.
    pub(crate) sets: &'a [u64],
}

impl Egress<'_> {
    pub(crate) fn judge<T: Trace>(&self, trace: &mut T) -> Ruling {
        let mut rule = |number, matched| {
            trace.rule(number, matched);
            matched
        };
        let generation = self.generation;
        let policy = generation.policy_of(self.pool);
        let mut would = None;
        let mut phase = None;

        let quarantined = policy.is_some_and(|policy| policy.kind == Kind::Quarantine);
        if rule("12", quarantined)
            && let Some(policy) = policy
        {
            match policy.act(policy.action) {
                Some(act) => return Ruling { reason: Reason::Port25Quarantine, act, would, phase },
                None => would = Some(Reason::Port25Quarantine),
            }
        }
        if rule("13", self.routed) {
            return Ruling::drop(Reason::RoutedHeader);
        }
        let allowed = policy.is_some_and(|policy| policy.allow.intersects(self.sets));
        if rule("14", allowed) {
            return Ruling { would, ..Ruling::forward(Reason::AllowedDestination) };
        }
        if rule("15", policy.is_some_and(|policy| policy.kind == Kind::Exempt)) {
            return Ruling { would, ..Ruling::forward(Reason::ExemptPool) };
        }
        let granted = generation.grants().cover(self.customer, self.now.utc_micros);
        if rule("16", granted) {
            return Ruling { would, ..Ruling::forward(Reason::ExemptGrant) };
        }
        let unknown = policy.is_none() && generation.phases().any_in_force();
        if rule("17", unknown) {
            return Ruling::drop(Reason::Port25UnknownSource);
        }
        let deciding = policy.and_then(|policy| generation.deciding_phase(policy, self.sets));
        if rule("18", deciding.is_some())
            && let (Some(policy), Some((id, action))) = (policy, deciding)
        {
            match policy.act(action) {
                Some(act) => {
                    return Ruling { reason: Reason::Port25Egress, act, would: None, phase: Some(id) };
                }
                None if would.is_none() => (would, phase) = (Some(Reason::Port25Egress), Some(id)),
                None => {}
            }
        }
        rule("19", true);
        Ruling { reason: Reason::NotInScope, act: Act::Forward, would, phase }
    }
}

impl Transport {
    /// TCP with less than its header in the packet (RFC 1858).
    fn is_short_tcp(&self) -> bool {
        self.protocol == protocol::TCP && self.available < 20
    }

    /// UDP with less than its header in the packet.
    fn is_short_udp(&self) -> bool {
        self.protocol == protocol::UDP && self.available < 8
    }
}

/// Rule 9's reason for a protocol that is not TCP.
fn without_ports(protocol: u8) -> Reason {
    use protocol::{DCCP, ICMP, ICMPV6, IGMP, NO_NEXT_HEADER, SCTP, UDP, UDP_LITE};
    match protocol {
        ICMP | IGMP | UDP | DCCP | ICMPV6 | NO_NEXT_HEADER | SCTP | UDP_LITE => Reason::NotTcp,
        _ => Reason::Opaque,
    }
}

/// Rule 5: 0/8, 127/8, multicast, 240/4; ::/128, ::1/128, ::ffff:0:0/96, ff00::/8 (RFC 6890).
fn is_bogon(addresses: &Addresses) -> bool {
    match *addresses {
        Addresses::V4 { source, .. } => matches!(source >> 24, 0 | 127 | 224..),
        Addresses::V6 { source, .. } => source <= 1 || source >> 120 == 0xff || source >> 32 == 0xffff,
    }
}

/// Whether an address is one that a single host can have, and so may stand as an answer's source.
pub(crate) fn is_single_host(address: IpAddr) -> bool {
    !match address {
        IpAddr::V4(address) => is_bogon(&Addresses::V4 { source: address.to_bits(), destination: 0 }),
        IpAddr::V6(address) => is_bogon(&Addresses::V6 { source: address.to_bits(), destination: 0 }),
    }
}

impl Policy {
    /// What `action` does under this policy; `None` is to be monitored.
    fn act(&self, action: Action) -> Option<Act> {
        match action {
            Action::Drop => Some(Act::Drop),
            Action::Reject => Some(Act::Reject(self.reject_with)),
            Action::Divert => Some(Act::Divert(self.divert_fallback, self.reject_with)),
            Action::Monitor => None,
        }
    }
}

impl Generation {
    /// Of the phases in force that cover the destination: an enforced one before a monitored one, then the
    /// one that began first, then the first in the file. Phases lie in that order.
    fn deciding_phase(&self, policy: &Policy, sets: &[u64]) -> Option<(PhaseId, Action)> {
        policy.phases.iter().find_map(|&id| {
            let phase = self.phases().get(usize::from(id.0));
            let covers = match &phase.scope {
                super::phase::Scope::All => true,
                super::phase::Scope::Sets(mask) => mask.intersects(sets),
            };
            (phase.latch.has_begun() && covers).then_some((id, phase.action))
        })
    }
}
