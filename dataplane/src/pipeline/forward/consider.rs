//! Where one packet goes: the whole of a router's rules for a packet that the policy forwards, in their order, with no
//! state of its own. The specification of what the burst form does for the common case.
//!
//! The policy has been asked before, so a denied packet never comes here, whatever its time to live.

use std::net::IpAddr;

use crate::action::icmp::{Error, Redirect};
use crate::frame::{Addresses, Datagram, Frame, Headers, Link, Ports, Upper, protocol};
use crate::policy::{Reason, ReversePath, Role};
use crate::route::punt::PuntClass;
use crate::route::{Adjacency, Entry, EntryKind, NextHop, Snapshot, State, checksum, flow};

use super::super::Arrival;
use super::waiting::Whom;

/// EtherTypes.
const IPV4: [u8; 2] = [0x08, 0x00];
const ARP: [u8; 2] = [0x08, 0x06];
const VLAN: [u8; 2] = [0x81, 0x00];
/// What more may stand behind: further tags (IEEE 802.1Q, 802.1ad, and its forerunner), MPLS, PPPoE sessions.
const WRAPPINGS: [[u8; 2]; 6] = [VLAN, [0x88, 0xa8], [0x91, 0x00], [0x88, 0x47], [0x88, 0x48], [0x88, 0x64]];
const IPV6: [u8; 2] = [0x86, 0xdd];
const ETHERNET: usize = 14;
const TAG: usize = 4;
/// IPv4's "don't fragment".
const DONT_FRAGMENT: u8 = 0x40;

/// What is to become of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It goes to this next hop.
    Forward(Adjacency, NextHop),
    /// It goes there in fragments.
    Fragment(Adjacency),
    /// It is for the router itself.
    Punt(PuntClass),
    /// Its next hop's MAC is to be found out.
    Wait(NextHop, Whom),
    /// It is dropped in silence.
    Drop(Reason),
    /// It is dropped, and the sender is told.
    Refuse(Reason, Error),
}

/// A packet, with what the tries said of its addresses.
pub(super) struct Question<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) arrival: Arrival,
    pub(super) role: Role,
    pub(super) reverse_path: ReversePath,
    pub(super) frame: &'a [u8],
    pub(super) parsed: &'a Frame,
    /// The ids of its destination and its source.
    pub(super) destination: u32,
    pub(super) source: u32,
}

/// The VLAN that a frame is in, 0 for none; nothing where it has more in front of its packet than one tag.
pub(super) fn vlan(frame: &[u8]) -> Option<u16> {
    match frame.get(12..14)? {
        kind if kind == VLAN => {
            let tag = u16::from_be_bytes(frame.get(14..16)?.try_into().ok()?);
            Some(tag & 0x0fff)
        }
        _ => Some(0),
    }
}

/// The EtherType behind a frame's tag, if it has one.
fn kind(frame: &[u8]) -> Option<[u8; 2]> {
    let at = if frame.get(12..14)? == VLAN { 12 + TAG } else { 12 };
    frame.get(at..at + 2)?.try_into().ok()
}

/// Whether the way back to a packet's source, whose entry is asked for only then, leads where it must.
#[inline(always)]
pub(super) fn leads_back(
    reverse_path: ReversePath,
    snapshot: &Snapshot,
    link: u16,
    source: impl FnOnce() -> Entry,
) -> bool {
    match reverse_path {
        ReversePath::Off => true,
        ReversePath::Loose => source().kind == EntryKind::Forward,
        ReversePath::Strict => snapshot.leads_to(source(), link),
    }
}

/// Where a frame came in.
#[derive(Clone, Copy)]
pub(super) struct Inward {
    /// The place of the link.
    link: u16,
    /// It was sent to several stations.
    group: bool,
}

/// Where a frame came in; why the router takes no notice of it, if it does not.
pub(super) fn inward(
    snapshot: &Snapshot,
    arrival: Arrival,
    role: Role,
    frame: &[u8],
) -> Result<Inward, Reason> {
    if arrival.link != Link::Ethernet {
        return Err(Reason::OtherStation);
    }
    let vlan = vlan(frame).ok_or(Reason::NoLink)?;
    // A filter gets frames as they came to other ports, and may give them back so.
    let untagged = || snapshot.link_at(arrival.port, 0).filter(|_| role == Role::Filter);
    let link = snapshot.link_at(arrival.port, vlan).or_else(untagged).ok_or(Reason::NoLink)?;
    let own = snapshot.links().get(usize::from(link)).ok_or(Reason::NoLink)?.mac;
    let to = frame.first_chunk::<6>().ok_or(Reason::OtherStation)?;
    let group = to[0] & 1 == 1;
    if !group && *to != own && role != Role::Filter {
        return Err(Reason::OtherStation);
    }
    Ok(Inward { link, group })
}

/// Why a TCP packet is none that the router was to forward, so that it may neither answer nor divert it; nothing if it was.
/// `plain` says whether it stands where the router looks for it.
pub(in crate::pipeline) fn stranger(
    snapshot: &Snapshot,
    arrival: Arrival,
    role: Role,
    frame: &[u8],
    plain: impl FnOnce() -> bool,
) -> Option<Reason> {
    match inward(snapshot, arrival, role, frame) {
        Err(reason) => Some(reason),
        // RFC 1122 §3.2.2, RFC 1812 §5.3.4.
        Ok(Inward { group: true, .. }) => Some(Reason::OtherStation),
        Ok(_) if !plain() => Some(Reason::Unclaimed),
        Ok(_) => None,
    }
}

/// Whether a packet stands behind the Ethernet header, or one tag.
pub(in crate::pipeline) fn is_plain(frame: &[u8], headers: &Headers) -> bool {
    let at = headers.encapsulation.ip as usize;
    let expected = if frame.get(12..14) == Some(&VLAN) { ETHERNET + TAG } else { ETHERNET };
    at == expected && matches!(kind(frame), Some(IPV4 | IPV6))
}

impl Question<'_> {
    /// What is to become of the packet.
    pub(super) fn answer(&self) -> Fate {
        let Inward { link, group } = match inward(self.snapshot, self.arrival, self.role, self.frame) {
            Ok(inward) => inward,
            Err(reason) => return Fate::Drop(reason),
        };
        match self.parsed {
            Frame::Ip(headers) if is_plain(self.frame, headers) => self.packet(headers, link, group),
            // The kernel would look behind what this router does not, and route by its own tables.
            Frame::Ip(_) => Fate::Drop(Reason::Unclaimed),
            _ if kind(self.frame).is_some_and(|kind| WRAPPINGS.contains(&kind)) => {
                Fate::Drop(Reason::Unclaimed)
            }
            _ => Fate::Punt(self.class_of_other()),
        }
    }

    fn class_of_other(&self) -> PuntClass {
        match kind(self.frame) {
            Some(ARP) => PuntClass::Neighbours,
            _ => PuntClass::Rest,
        }
    }

    fn packet(&self, headers: &Headers, link: u16, group: bool) -> Fate {
        let snapshot = self.snapshot;
        let v6 = headers.addresses.is_v6();
        let entry =
            if v6 { snapshot.entry_v6(self.destination) } else { snapshot.entry_v4(self.destination) };
        let header = &self.frame[headers.encapsulation.ip as usize..headers.end as usize];
        if !v6 {
            let length = usize::from(header[0] & 0xf) * 4;
            if !header.get(..length).is_some_and(checksum::is_right_of) {
                return Fate::Drop(Reason::BadChecksum);
            }
        }
        match entry.kind {
            EntryKind::Local | EntryKind::LinkGroup => return Fate::Punt(self.class(headers)),
            EntryKind::Broadcast if group => return Fate::Punt(self.class(headers)),
            // What came to all stations of the link is for them (RFC 1812 §5.3.4).
            _ if group && entry.kind != EntryKind::Group => return Fate::Drop(Reason::OtherStation),
            EntryKind::Group => return Fate::Drop(Reason::Multicast),
            EntryKind::Broadcast => return Fate::Drop(Reason::DirectedBroadcast),
            EntryKind::Martian => return Fate::Drop(Reason::Martian),
            _ => {}
        }
        match scope(headers.addresses) {
            Scope::Any => {}
            Scope::Nobody => return Fate::Drop(Reason::Martian),
            Scope::Link => return Fate::Refuse(Reason::Martian, Error::BeyondScope),
        }
        if !self.came_right(v6, link) {
            return Fate::Drop(Reason::ReversePath);
        }
        let ttl = header[if v6 { 7 } else { 8 }];
        if ttl <= 1 {
            return Fate::Refuse(Reason::TtlExceeded, Error::TimeExceeded);
        }
        match entry.kind {
            EntryKind::Forward => {}
            EntryKind::Blackhole => return Fate::Drop(Reason::Blackhole),
            EntryKind::Unreachable if v6 => return Fate::Refuse(Reason::Unreachable, Error::NoRoute),
            EntryKind::Unreachable => return Fate::Refuse(Reason::Unreachable, Error::HostUnreachable),
            EntryKind::Prohibit => return Fate::Refuse(Reason::Prohibited, Error::Prohibited),
            _ => return Fate::Refuse(Reason::NoRoute, Error::NoRoute),
        }
        let place = snapshot.pick(entry, if entry.mask == 0 { 0 } else { flow_of(headers) });
        let adjacency = *snapshot.adjacency(place);
        let length = header.len();
        if adjacency.state != State::Down && length > usize::from(adjacency.mtu) {
            if v6 || header[6] & DONT_FRAGMENT != 0 {
                return Fate::Refuse(Reason::TooBig, Error::TooBig(adjacency.mtu));
            }
            if adjacency.state == State::Ready {
                return Fate::Fragment(adjacency);
            }
        }
        match (adjacency.state, snapshot.next_hop(place)) {
            (State::Ready, Some(next)) => Fate::Forward(adjacency, next),
            (State::Unresolved, Some(next)) => Fate::Wait(next, Whom::Router),
            (State::Glean, Some(next)) => {
                let address = Some(headers.addresses.destination());
                Fate::Wait(NextHop { address, ..next }, Whom::Host)
            }
            _ => Fate::Refuse(Reason::Unresolved, Error::HostUnreachable),
        }
    }

    /// The better first hop of a packet that leaves by the link that it came by (RFC 1812 §5.2.7.2, RFC 4861 §8.2): if
    /// its sender is in the same network as that hop, and knows the router by an address there. None for what a filter
    /// gives back.
    pub(super) fn redirect(
        &self,
        headers: &Headers,
        adjacency: &Adjacency,
        next: NextHop,
    ) -> Option<Redirect> {
        let Inward { link, .. } = inward(self.snapshot, self.arrival, self.role, self.frame).ok()?;
        if link != adjacency.link || self.role == Role::Filter {
            return None;
        }
        let own = &self.snapshot.links().get(usize::from(link))?.addresses;
        let (source, destination) = (headers.addresses.source(), headers.addresses.destination());
        let target = next.address?;
        let mut mac = [0; 6];
        mac.copy_from_slice(&adjacency.macs[..6]);
        let from = match target {
            IpAddr::V4(_) => {
                own.iter().find(|own| own.contains(source) && own.contains(target) && source != target)?.ip()
            }
            // A router is named by its link-local address, and names itself so.
            IpAddr::V6(router) if target != destination && !router.is_unicast_link_local() => return None,
            IpAddr::V6(_) if source == target || !own.iter().any(|own| own.contains(source)) => return None,
            IpAddr::V6(_) => {
                let of_link = |ip: &IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
                own.iter().map(|own| own.ip()).find(of_link)?
            }
        };
        (source.is_ipv4() == target.is_ipv4()).then_some(Redirect { from, target, mac })
    }

    /// RFC 3704 §2.2 and §2.4. What a filter gives back came elsewhere.
    fn came_right(&self, v6: bool, link: u16) -> bool {
        if self.role == Role::Filter {
            return true;
        }
        let snapshot = self.snapshot;
        let source = || if v6 { snapshot.entry_v6(self.source) } else { snapshot.entry_v4(self.source) };
        leads_back(self.reverse_path, snapshot, link, source)
    }

    /// The share that a packet for the router itself counts in.
    fn class(&self, headers: &Headers) -> PuntClass {
        const BGP: u16 = 179;
        /// RIP, RIPng, and BFD with one hop, echo and several (RFC 2453, RFC 2080, RFC 5881, RFC 5883).
        const ROUTING: [u16; 5] = [520, 521, 3784, 3785, 4784];
        /// EIGRP, OSPF, PIM, VRRP.
        const PROTOCOLS: [u8; 4] = [88, 89, 103, 112];
        let Upper::Found(transport) = headers.upper else { return PuntClass::Rest };
        let either = |ports: &Ports, known: &[u16]| known.iter().any(|port| ports.either(*port));
        match (transport.protocol, &transport.ports) {
            // Router and neighbour solicitations, advertisements and redirects (RFC 4861 §4).
            (protocol::ICMPV6, _) => match self.frame.get(transport.offset as usize) {
                Some(133..=137) => PuntClass::Neighbours,
                _ => PuntClass::Rest,
            },
            (protocol::TCP, Some(ports)) if either(ports, &[BGP]) => PuntClass::Routing,
            (protocol::UDP, Some(ports)) if either(ports, &ROUTING) => PuntClass::Routing,
            (protocol, _) if PROTOCOLS.contains(&protocol) => PuntClass::Routing,
            _ => PuntClass::Rest,
        }
    }
}

enum Scope {
    Any,
    /// No host has this source, or it may not leave its link (RFC 3927 §2.7).
    Nobody,
    /// A source of its link alone (RFC 4291 §2.5.6).
    Link,
}

/// How far a source goes. The policy's rule 5 has dropped most that go nowhere; it lets those pass that hosts without an
/// address use.
fn scope(addresses: Addresses) -> Scope {
    match addresses.source() {
        IpAddr::V4(source) if source.is_link_local() || source.octets()[0] == 0 => Scope::Nobody,
        IpAddr::V6(source) if source.is_unspecified() => Scope::Nobody,
        IpAddr::V6(source) if source.is_unicast_link_local() => Scope::Link,
        _ => Scope::Any,
    }
}

/// The hash of a packet's flow.
pub(super) fn flow_of(headers: &Headers) -> u32 {
    let ports = match (headers.datagram, headers.upper) {
        (Datagram::Whole, Upper::Found(transport)) => {
            transport.ports.map(|ports| (transport.protocol, ports))
        }
        _ => None,
    };
    let (protocol, ports) = match ports {
        Some((protocol, ports)) => (protocol, u32::from(ports.source) << 16 | u32::from(ports.destination)),
        None => (0, 0),
    };
    match headers.addresses {
        Addresses::V4 { source, destination } => flow::v4(source, destination, protocol, ports),
        Addresses::V6 { source, destination } => flow::v6(source, destination, protocol, ports),
    }
}
