//! What the kernel tells, in our words.

use std::net::IpAddr;
use std::sync::Arc;

use ipnetwork::IpNetwork;

/// The kernel's main table.
pub const MAIN: u32 = 254;
/// The kernel's table of its own addresses.
pub const LOCAL: u32 = 255;

/// What becomes of a packet that a route matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// It goes to a next hop.
    Unicast,
    /// It goes to next hops that the kernel does not tell: it names a next hop object alone, which it does where
    /// `net.ipv4.nexthop_compat_mode` is 0.
    Untold,
    /// It is for this host, `anycast` included.
    Local,
    /// It is for every host of a link.
    Broadcast,
    /// It is for a group.
    Multicast,
    /// It is dropped without an answer.
    Blackhole,
    /// It is answered: host unreachable.
    Unreachable,
    /// It is answered: administratively prohibited.
    Prohibit,
    /// The look-up goes on in the next table: here, as if there were no route.
    Throw,
}

/// A next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hop {
    /// The interface's index.
    pub link: u32,
    /// The gateway; of IPv6 also for a destination of IPv4. None: the destination itself is on the link.
    pub via: Option<IpAddr>,
    /// Its share among the hops of a route, from 1.
    pub weight: u16,
    /// It wants an encapsulation, which nobody here does.
    pub encapsulated: bool,
    /// The longest packet that goes this way, if the route says one.
    pub mtu: Option<u32>,
}

/// One of the routes to a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    /// What it does.
    pub kind: Kind,
    /// The lowest metric wins.
    pub metric: u32,
    /// IPv4 only: it is for packets with this type of service; 0 for all.
    pub tos: u8,
    /// Where it leads to.
    pub hops: Arc<[Hop]>,
}

/// What holds for a prefix in a table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Best {
    /// What it does.
    pub kind: Kind,
    /// Where it leads to.
    pub hops: Arc<[Hop]>,
}

/// How a new route stands to those of the same prefix and metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It takes the first one's place.
    Replace,
    /// It stands behind them.
    Append,
    /// It stands before them; the usual case is that there are none.
    Create,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number for it.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its MAC, if it is Ethernet.
    pub mac: Option<[u8; 6]>,
    /// The largest packet.
    pub mtu: u32,
    /// It is set up.
    pub up: bool,
    /// It has a carrier.
    pub carrier: bool,
    /// What it stands on, for a VLAN interface with its tag.
    pub vlan: Option<(u32, u16)>,
}

/// A neighbour, as its link-layer address is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Neighbour {
    /// Its MAC, while the kernel would use it.
    pub mac: Option<[u8; 6]>,
    /// The kernel would ask before it relied on it for long.
    pub stale: bool,
    /// The kernel has asked in vain.
    pub failed: bool,
}

/// A notification, or a part of a dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An interface is there, or has changed.
    Link(Link),
    /// An interface is gone.
    LinkGone(u32),
    /// An interface has an address of its own, with its prefix's length.
    Address(u32, IpNetwork),
    /// It no longer has it.
    AddressGone(u32, IpNetwork),
    /// A neighbour is known, or no longer reached.
    Neighbour(u32, IpAddr, Neighbour),
    /// A neighbour is forgotten.
    NeighbourGone(u32, IpAddr),
    /// A table has a route.
    Route(u32, IpNetwork, Route, How),
    /// A table no longer has it.
    RouteGone(u32, IpNetwork, Route),
    /// A next hop object was changed or deleted: routes may have gone without a word.
    NextHopObject,
}
