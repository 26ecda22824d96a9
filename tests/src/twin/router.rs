//! The slow, obvious twin of a router: plain lists, asked anew for each packet, which is read by its offsets. It shares no
//! code with the product. What a packet must come to is written after RFC 1812, RFC 4443, RFC 3704 and the others named
//! at each rule.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A station's address.
pub type Mac = [u8; 6];

/// A network that the router is on.
#[derive(Clone, Debug)]
pub struct Link {
    /// Its port's number.
    pub port: u8,
    /// Its VLAN, 0 for what is untagged.
    pub vlan: u16,
    /// The router's MAC.
    pub mac: Mac,
    /// The longest packet.
    pub mtu: usize,
    /// The router's addresses with their networks' lengths.
    pub addresses: Vec<(IpAddr, u8)>,
}

/// What a route does.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Next hops: a link's place, and the next router if it is not the destination itself; and the longest packet, if the
    /// route says one.
    Via(Vec<(usize, Option<IpAddr>)>, Option<usize>),
    /// In silence.
    Blackhole,
    /// Telling that the host is unreachable.
    Unreachable,
    /// Telling that it is prohibited.
    Prohibit,
}

/// How sources are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Not at all.
    Off,
    /// There must be a way to them.
    Loose,
    /// It must lead where the packet came from.
    Strict,
}

/// All that the router knows.
#[derive(Clone, Debug)]
pub struct Router {
    /// Its networks.
    pub links: Vec<Link>,
    /// Prefix, length, and what is done.
    pub routes: Vec<(IpAddr, u8, Kind)>,
    /// A link's place, an address there, its MAC.
    pub neighbours: Vec<(usize, IpAddr, Mac)>,
    /// How sources are checked.
    pub check: Check,
    /// Whether hosts are told of better first hops.
    pub redirects: bool,
}

/// A way on: port, VLAN, MACs in the order of a frame.
pub type Way = (u8, u16, Mac, Mac);

/// What a frame must come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It leaves by one of these ways.
    Forward(BTreeSet<Way>),
    /// One of its next hops is not known: it leaves by one of these ways, or it is this.
    Perhaps(BTreeSet<Way>, Box<Outcome>),
    /// It leaves in fragments by one of these ways.
    Fragments(BTreeSet<Way>),
    /// It is for the router itself.
    Local,
    /// It is dropped for this reason.
    Drop(&'static str),
    /// It is dropped for this reason, and the sender is told by this type and code.
    Tell(&'static str, u8, u8),
}

/// Where an address leads.
enum Lead {
    Local,
    Broadcast,
    LinkGroup,
    Group,
    Martian,
    Nowhere,
    Route(Kind),
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(a) => u128::from(a.to_bits()) << 96,
        IpAddr::V6(a) => a.to_bits(),
    }
}

fn within(address: IpAddr, prefix: IpAddr, length: u8) -> bool {
    let same = address.is_ipv4() == prefix.is_ipv4();
    same && (length == 0 || (bits(address) ^ bits(prefix)) >> (128 - u32::from(length)) == 0)
}

/// All hosts of a network of IPv4 (RFC 1812 §4.2.2.11).
fn is_broadcast(address: IpAddr, own: IpAddr, length: u8) -> bool {
    let (IpAddr::V4(address), IpAddr::V4(own)) = (address, own) else { return false };
    let hosts = u32::MAX.checked_shr(length.into()).unwrap_or(0);
    length < 31 && matches!(address.to_bits(), a if a == own.to_bits() | hosts || a == own.to_bits() & !hosts)
}

/// RFC 1812 §5.3.7, RFC 3927, RFC 4291 §2.5, with the lengths of their prefixes.
fn special(address: IpAddr) -> Option<(u8, Lead)> {
    let v4 = |text: &str, length| within(address, IpAddr::V4(text.parse::<Ipv4Addr>().unwrap()), length);
    let v6 = |text: &str, length| within(address, IpAddr::V6(text.parse::<Ipv6Addr>().unwrap()), length);
    if v4("255.255.255.255", 32) {
        return Some((32, Lead::Local));
    }
    if v4("224.0.0.0", 24) {
        return Some((24, Lead::LinkGroup));
    }
    for (prefix, length) in
        [("224.0.0.0", 4), ("240.0.0.0", 4), ("0.0.0.0", 8), ("127.0.0.0", 8), ("169.254.0.0", 16)]
    {
        if v4(prefix, length) {
            let group = prefix == "224.0.0.0";
            return Some((length, if group { Lead::Group } else { Lead::Martian }));
        }
    }
    if v6("ff01::", 16) || v6("ff02::", 16) {
        return Some((16, Lead::LinkGroup));
    }
    if v6("ff00::", 8) {
        return Some((8, Lead::Group));
    }
    for (prefix, length) in [("::", 128), ("::1", 128), ("::ffff:0:0", 96), ("fec0::", 10), ("fe80::", 10)] {
        if v6(prefix, length) {
            return Some((length, Lead::Martian));
        }
    }
    None
}

impl Router {
    fn lead(&self, address: IpAddr) -> Lead {
        let own =
            || self.links.iter().enumerate().flat_map(|(n, l)| l.addresses.iter().map(move |a| (n, *a)));
        if own().any(|(_, (own, _))| own == address) {
            return Lead::Local;
        }
        if own().any(|(_, (own, length))| is_broadcast(address, own, length)) {
            return Lead::Broadcast;
        }
        // The longest of what was set, what is connected and what is special; of equals in this order.
        let mut found: Option<(u8, u8, Lead)> = None;
        let mut offer = |length: u8, rank: u8, lead: Lead| {
            if found.as_ref().is_none_or(|(best, by, _)| (length, rank) > (*best, *by)) {
                found = Some((length, rank, lead));
            }
        };
        for (prefix, length, kind) in &self.routes {
            if within(address, *prefix, *length) {
                offer(*length, 2, Lead::Route(kind.clone()));
            }
        }
        for (link, (own, length)) in own() {
            let whole = if own.is_ipv4() { 32 } else { 128 };
            let link_local = matches!(own, IpAddr::V6(own) if own.is_unicast_link_local());
            if within(address, own, length) && length < whole && !link_local {
                offer(length, 1, Lead::Route(Kind::Via(vec![(link, None)], None)));
            }
        }
        if let Some((length, lead)) = special(address) {
            offer(length, 0, lead);
        }
        // RFC 1812 §4.2.2.11 (e), RFC 3927 §7, RFC 4291 §2.5.3 and §2.5.6: no route leads there.
        let never = match address {
            IpAddr::V4(address) => address.is_loopback() || address.is_link_local(),
            IpAddr::V6(address) => address.is_loopback() || address.is_unicast_link_local(),
        };
        match found {
            Some((_, _, Lead::Route(Kind::Via(..)))) if never => Lead::Martian,
            Some((_, _, lead)) => lead,
            None => Lead::Nowhere,
        }
    }

    fn mac(&self, link: usize, address: IpAddr) -> Option<Mac> {
        let found = self.neighbours.iter().find(|(on, known, _)| *on == link && *known == address);
        found.map(|(_, _, mac)| *mac)
    }

    /// The link that a frame came by, and whether it is to several stations; why the router takes no notice of it, if it
    /// does not.
    fn inlet(&self, port: u8, frame: &[u8]) -> Result<(usize, bool), &'static str> {
        let half = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
        let vlan = if half(12) == 0x8100 { half(14) & 0xfff } else { 0 };
        let inlet = self.links.iter().position(|link| link.port == port && link.vlan == vlan);
        let inlet = inlet.ok_or("no-link")?;
        let group = frame[0] & 1 == 1;
        match group || frame[..6] == self.links[inlet].mac {
            true => Ok((inlet, group)),
            false => Err("other-station"),
        }
    }

    /// Why the policy may neither answer nor divert a frame: the router only sees it (RFC 1122 §3.2.2 for what is to all
    /// stations).
    pub fn overheard(&self, port: u8, frame: &[u8]) -> Option<&'static str> {
        match self.inlet(port, frame) {
            Err(reason) => Some(reason),
            Ok((_, group)) => group.then_some("other-station"),
        }
    }

    /// What a frame that the policy forwards must come to.
    pub fn outcome(&self, port: u8, frame: &[u8]) -> Outcome {
        let half = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
        let (kind, at) = match half(12) {
            0x8100 => (half(16), 18),
            kind => (kind, 14),
        };
        let (inlet, group) = match self.inlet(port, frame) {
            Ok(found) => found,
            Err(reason) => return Outcome::Drop(reason),
        };
        let header = &frame[at..];
        let (source, destination, ttl, length): (IpAddr, IpAddr, u8, usize) = match kind {
            0x0800 => {
                let four =
                    |at: usize| IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(&header[at..at + 4]).unwrap()));
                let words = (0..usize::from(header[0] & 15) * 2).map(|n| u32::from(half(at + 2 * n)));
                let sum = words.sum::<u32>();
                if (sum & 0xffff) + (sum >> 16) != 0xffff && (sum & 0xffff) + (sum >> 16) != 0x1_fffe {
                    return Outcome::Drop("bad-checksum");
                }
                (four(12), four(16), header[8], usize::from(half(at + 2)))
            }
            0x86dd => {
                let six = |at: usize| {
                    IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(&header[at..at + 16]).unwrap()))
                };
                (six(8), six(24), header[7], usize::from(half(at + 4)) + 40)
            }
            0x8100 | 0x88a8 | 0x9100 | 0x8847 | 0x8848 | 0x8864 => return Outcome::Drop("unclaimed"),
            _ => return Outcome::Local,
        };
        let v6 = kind == 0x86dd;
        let tell = |reason, v4: (u8, u8), of_v6: (u8, u8)| {
            let (kind, code) = if v6 { of_v6 } else { v4 };
            match self.may_be_told(source, destination, group, &header[..length]) {
                true => Outcome::Tell(reason, kind, code),
                false => Outcome::Drop(reason),
            }
        };
        let lead = self.lead(destination);
        match &lead {
            Lead::Local | Lead::LinkGroup => return Outcome::Local,
            Lead::Broadcast if group => return Outcome::Local,
            Lead::Group => return Outcome::Drop("multicast"),
            // RFC 1812 §5.3.4.
            _ if group => return Outcome::Drop("other-station"),
            Lead::Broadcast => return Outcome::Drop("directed-broadcast"),
            Lead::Martian => return Outcome::Drop("martian"),
            Lead::Nowhere | Lead::Route(_) => {}
        }
        match source {
            IpAddr::V4(source) if source.is_link_local() || source.octets()[0] == 0 => {
                return Outcome::Drop("martian");
            }
            IpAddr::V6(source) if source.is_unspecified() => return Outcome::Drop("martian"),
            IpAddr::V6(source) if source.is_unicast_link_local() => return tell("martian", (3, 1), (1, 2)),
            _ => {}
        }
        let back = match self.lead(source) {
            Lead::Route(Kind::Via(hops, _)) => Some(hops),
            _ => None,
        };
        let right = match (self.check, back) {
            (Check::Off, _) => true,
            (_, None) => false,
            (Check::Loose, Some(_)) => true,
            (Check::Strict, Some(hops)) => hops.iter().any(|(link, _)| *link == inlet),
        };
        if !right {
            return Outcome::Drop("reverse-path");
        }
        if ttl <= 1 {
            return tell("ttl-exceeded", (11, 0), (3, 0));
        }
        let (hops, said) = match lead {
            Lead::Route(Kind::Via(hops, said)) => (hops, said),
            Lead::Route(Kind::Blackhole) => return Outcome::Drop("blackhole"),
            Lead::Route(Kind::Unreachable) => return tell("unreachable", (3, 1), (1, 0)),
            Lead::Route(Kind::Prohibit) => return tell("prohibited", (3, 13), (1, 1)),
            _ => return tell("no-route", (3, 0), (1, 0)),
        };
        // All hops of a route take as much here: the tests see to it.
        let least = if v6 { 1280 } else { 68 };
        let mtu = said.map_or(usize::MAX, |said| said.max(least)).min(self.links[hops[0].0].mtu);
        let may_be_fragmented = !v6 && header[6] & 0x40 == 0;
        if length > mtu && !may_be_fragmented {
            return tell("too-big", (3, 4), (2, 0));
        }
        let ways = hops.iter().map(|(link, via)| {
            let mac = self.mac(*link, via.unwrap_or(destination))?;
            let link = &self.links[*link];
            Some((link.port, link.vlan, mac, link.mac))
        });
        let known: BTreeSet<Option<Way>> = ways.collect();
        let unknown = known.contains(&None);
        let ways: BTreeSet<Way> = known.into_iter().flatten().collect();
        let unresolved = || tell("unresolved", (3, 1), (1, 3));
        match (unknown, length > mtu) {
            (true, _) if ways.is_empty() => unresolved(),
            (true, _) => Outcome::Perhaps(ways, Box::new(unresolved())),
            (false, true) => Outcome::Fragments(ways),
            (false, false) => Outcome::Forward(ways),
        }
    }

    /// The better first hop that the sender of a frame is told of, if it goes on by one of these ways: RFC 1812 §5.2.7.2,
    /// RFC 4861 §8.2. The address of the router that it is told by, the hop, and its MAC.
    pub fn redirect(&self, port: u8, frame: &[u8], way: Way) -> Option<(IpAddr, IpAddr, Mac)> {
        let (inlet, group) = self.inlet(port, frame).ok()?;
        let link = &self.links[inlet];
        if !self.redirects || (link.port, link.vlan) != (way.0, way.1) {
            return None;
        }
        let packet = &frame[if frame[12..14] == [0x81, 0] { 18 } else { 14 }..];
        let (source, destination, length): (IpAddr, IpAddr, usize) = match packet[0] >> 4 {
            4 => {
                let four =
                    |at: usize| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]);
                (four(12).into(), four(16).into(), usize::from(packet[2]) << 8 | usize::from(packet[3]))
            }
            _ => {
                let six = |at: usize| Ipv6Addr::from(<[u8; 16]>::try_from(&packet[at..at + 16]).unwrap());
                let length = usize::from(packet[4]) << 8 | usize::from(packet[5]);
                (six(8).into(), six(24).into(), length + 40)
            }
        };
        // Whose MAC the frame has got is the next hop.
        let Lead::Route(Kind::Via(hops, _)) = self.lead(destination) else { return None };
        let mut next =
            hops.into_iter().filter(|(on, _)| *on == inlet).map(|(_, via)| via.unwrap_or(destination));
        let next = next.find(|next| self.mac(inlet, *next) == Some(way.2))?;
        let both = |address: IpAddr| {
            let own = link.addresses.iter().filter(move |(own, length)| within(address, *own, *length));
            own.map(|(own, _)| *own).collect::<Vec<_>>()
        };
        let from = match next {
            IpAddr::V4(_) => *both(source).iter().find(|own| both(next).contains(own))?,
            IpAddr::V6(router) if next == destination || router.is_unicast_link_local() => {
                both(source).first()?;
                let own = link.addresses.iter().map(|(own, _)| *own);
                own.into_iter().find(|own| matches!(own, IpAddr::V6(own) if own.is_unicast_link_local()))?
            }
            IpAddr::V6(_) => return None,
        };
        let told = source != next && self.may_be_told(source, destination, group, &packet[..length]);
        told.then_some((from, next, way.2))
    }

    /// RFC 1812 §4.3.2.7, RFC 4443 §2.4 (e).
    fn may_be_told(&self, source: IpAddr, destination: IpAddr, group: bool, packet: &[u8]) -> bool {
        let single = |address: IpAddr| match address {
            IpAddr::V4(a) => !matches!(a.octets()[0], 0 | 127 | 224..),
            IpAddr::V6(a) => {
                !(a.is_multicast() || a.is_unspecified() || a.is_loopback() || a.to_ipv4_mapped().is_some())
            }
        };
        if group || !single(source) || !single(destination) {
            return false;
        }
        let (protocol, upper, later) = match packet[0] >> 4 {
            4 => {
                let offset = u16::from_be_bytes([packet[6], packet[7]]) & 0x1fff;
                (packet[9], usize::from(packet[0] & 15) * 4, offset != 0)
            }
            // The tests' packets have at most a Fragment header.
            _ if packet[6] == 44 => (packet[40], 48, u16::from_be_bytes([packet[42], packet[43]]) >> 3 != 0),
            _ => (packet[6], 40, false),
        };
        let error = match (protocol, packet.get(upper)) {
            (1, Some(kind)) => matches!(kind, 3 | 4 | 5 | 11 | 12),
            (58, Some(kind)) => *kind < 128 || *kind == 137,
            (1 | 58, None) => true,
            _ => false,
        };
        let nobody = matches!(
            self.lead(source),
            Lead::Local | Lead::Broadcast | Lead::Group | Lead::LinkGroup
        ) || matches!((self.lead(source), source), (Lead::Martian, IpAddr::V4(_)))
            || matches!((self.lead(source), source), (Lead::Martian, IpAddr::V6(a)) if !a.is_unicast_link_local());
        !later && !error && !nobody
    }
}
