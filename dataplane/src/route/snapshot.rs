//! What ids mean: the immutable half of route mode's tables.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnetwork::IpNetwork;

use super::{LinkId, Mac};
use crate::policy::PortId;

/// What a trie's id stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum EntryKind {
    /// No route.
    #[default]
    None,
    /// Forwards.
    Forward,
    /// The router itself.
    Local,
    /// All stations of a network that the router is on.
    Broadcast,
    /// Drops in silence.
    Blackhole,
    /// Drops; the sender is told.
    Unreachable,
    /// Drops; the sender is told.
    Prohibit,
    /// No destination and no source of a packet that is forwarded (RFC 1812 §5.3.7, RFC 4291 §2.5).
    Martian,
    /// A group that does not leave its link.
    LinkGroup,
    /// Another group.
    Group,
}

/// What a trie's id stands for, with the adjacencies it forwards to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Entry {
    /// What it does.
    pub kind: EntryKind,
    /// Buckets that flows are shared among, less one: a power of two less one. 0 is one adjacency.
    pub mask: u8,
    /// The adjacency, or where the buckets start.
    pub(crate) first: u32,
}

/// What is known of a next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum State {
    /// Its link is gone or does not work.
    #[default]
    Down,
    /// Its MAC is known.
    Ready,
    /// Its MAC is not known.
    Unresolved,
    /// It is the destination itself, which is not known.
    Glean,
}

/// How a frame is made fit for its next hop. One half of a cache line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(32))]
pub struct Adjacency {
    /// Destination and source, as they lie in a frame.
    pub macs: [u8; 12],
    /// The VLAN's tag; 0 is none.
    pub vlan: u16,
    /// The longest IP packet.
    pub mtu: u16,
    /// The link's place in [`Snapshot::links`].
    pub link: u16,
    /// The port it leaves by.
    pub port: u8,
    /// Whether the MAC is known.
    pub state: State,
}

impl Adjacency {
    /// One that leads nowhere.
    pub(super) const DOWN: Adjacency =
        Adjacency { macs: [0; 12], vlan: 0, mtu: 0, link: NO_LINK, port: 0, state: State::Down };
}

/// Whom an adjacency leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NextHop {
    /// The link.
    pub link: LinkId,
    /// The address; none is the destination itself.
    pub address: Option<IpAddr>,
}

/// A link, as workers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkEntry {
    /// Its number.
    pub id: LinkId,
    /// The port.
    pub port: PortId,
    /// The VLAN; 0 is what is untagged.
    pub vlan: u16,
    /// The router's own MAC.
    pub mac: Mac,
    /// The longest IP packet.
    pub mtu: u16,
    /// Where ICMP errors come from: an address of the link, else one of any other.
    pub v4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub v6: Option<Ipv6Addr>,
    /// All of the router's addresses there, with the lengths of their prefixes.
    pub addresses: Box<[IpNetwork]>,
}

/// No link has this place.
pub(super) const NO_LINK: u16 = u16::MAX;
/// As many VLANs are there on a port.
pub(super) const VLANS: usize = 4096;

/// The links of one port.
#[derive(Clone, Debug)]
pub(super) struct PortLinks {
    pub(super) untagged: u16,
    /// By VLAN, if the port has any.
    pub(super) tagged: Option<Box<[u16]>>,
}

/// The links, which change seldom: shared by snapshots.
#[derive(Debug, Default)]
pub(super) struct Topology {
    pub(super) links: Box<[LinkEntry]>,
    /// By port; ports beyond the end have none.
    pub(super) ports: Box<[PortLinks]>,
}

/// One state of next hops, links and neighbours.
#[derive(Debug, Default)]
pub struct Snapshot {
    pub(super) number: u64,
    pub(super) topology: Arc<Topology>,
    pub(super) v4: Box<[Entry]>,
    pub(super) v6: Box<[Entry]>,
    pub(super) buckets: Box<[u32]>,
    pub(super) adjacencies: Box<[Adjacency]>,
    pub(super) next_hops: Box<[NextHop]>,
}

impl Snapshot {
    /// Counts the snapshots.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The links.
    pub fn links(&self) -> &[LinkEntry] {
        &self.topology.links
    }

    /// The place of a port's link, for frames with this VLAN's tag, or for those with none (also a priority tag's 0).
    #[inline]
    pub fn link_at(&self, port: PortId, vlan: u16) -> Option<u16> {
        let port = self.topology.ports.get(usize::from(port.0))?;
        let link = match vlan {
            0 => port.untagged,
            _ => *port.tagged.as_ref()?.get(usize::from(vlan))?,
        };
        (link != NO_LINK).then_some(link)
    }

    /// What the ids of a family's trie stand for.
    #[inline]
    pub(crate) fn entries(&self, v6: bool) -> &[Entry] {
        if v6 { &self.v6 } else { &self.v4 }
    }

    /// What an id of the IPv4 trie stands for.
    #[inline]
    pub fn entry_v4(&self, id: u32) -> Entry {
        self.v4.get(id as usize).copied().unwrap_or_default()
    }

    /// What an id of the IPv6 trie stands for.
    #[inline]
    pub fn entry_v6(&self, id: u32) -> Entry {
        self.v6.get(id as usize).copied().unwrap_or_default()
    }

    /// The place of the adjacency that a flow takes.
    #[inline]
    pub fn pick(&self, entry: Entry, flow: u32) -> u32 {
        match entry.mask {
            0 => entry.first,
            mask => {
                let bucket = entry.first as usize + (flow & u32::from(mask)) as usize;
                self.buckets.get(bucket).copied().unwrap_or(u32::MAX)
            }
        }
    }

    /// The adjacency at this place.
    #[inline]
    pub fn adjacency(&self, place: u32) -> &Adjacency {
        const DOWN: &Adjacency = &Adjacency::DOWN;
        self.adjacencies.get(place as usize).unwrap_or(DOWN)
    }

    /// Whom the adjacency at this place leads to.
    pub fn next_hop(&self, place: u32) -> Option<NextHop> {
        self.next_hops.get(place as usize).copied()
    }

    /// All adjacencies that an entry forwards to.
    pub fn adjacencies_of(&self, entry: Entry) -> impl Iterator<Item = u32> {
        let places = 0..=u32::from(entry.mask);
        places.filter(move |_| entry.kind == EntryKind::Forward).map(move |flow| self.pick(entry, flow))
    }

    /// Whether a source with this entry is one that a packet of this link may come from: strictly, if the way to it
    /// leads there.
    #[inline]
    pub fn leads_to(&self, entry: Entry, link: u16) -> bool {
        self.adjacencies_of(entry).any(|place| self.adjacency(place).link == link)
    }
}
