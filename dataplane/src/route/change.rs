//! What changes routes: said by the control side, once per batch, in an order that is the order of effect.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::Mac;
use crate::lpm::BuildError;
use crate::policy::PortId;

/// A link's number: a kernel interface's index, or one that the configuration gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u32);

/// A network that the router is on: a port, or a VLAN of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub id: LinkId,
    /// The port.
    pub port: PortId,
    /// The VLAN, if it is not what is untagged.
    pub vlan: Option<u16>,
    /// The router's own MAC there.
    pub mac: Mac,
    /// The longest IP packet.
    pub mtu: u16,
    /// The router's own addresses there, with the lengths of their prefixes.
    pub addresses: Vec<IpNetwork>,
}

/// One next hop of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hop {
    /// The link it is on.
    pub link: LinkId,
    /// The router there; none if destinations are on the link themselves.
    pub via: Option<IpAddr>,
    /// Its share of the flows beside the other hops' of the route; 0 counts as 1.
    pub weight: u16,
    /// The longest IP packet on this way, where that is less than the link takes; never less than the family's least.
    pub mtu: Option<u16>,
}

impl Hop {
    /// A hop with all of a link's MTU, alone or with an equal share.
    pub fn new(link: LinkId, via: Option<IpAddr>) -> Hop {
        Hop { link, via, weight: 1, mtu: None }
    }
}

/// What a route does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RouteKind {
    /// Forwards, by one hop or by several that share the flows.
    Unicast(Vec<Hop>),
    /// The router itself.
    Local,
    /// All stations of a network that the router is on.
    Broadcast,
    /// Drops in silence.
    Blackhole,
    /// Drops; the sender is told that the host is unreachable.
    Unreachable,
    /// Drops; the sender is told that it is prohibited.
    Prohibit,
}

/// An address of a link whose MAC is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The link.
    pub link: LinkId,
    /// The address.
    pub address: IpAddr,
    /// Its MAC.
    pub mac: Mac,
}

/// A route as it was set, for comparisons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteEntry {
    /// Its prefix.
    pub prefix: IpNetwork,
    /// What it does; the hops in ascending order.
    pub kind: RouteKind,
}

/// One change. Each says how things are from then on: a change that is repeated changes nothing, nor does removing
/// what is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A link is there and works, with these properties.
    LinkUp(Link),
    /// A link is gone, or does not work. Its neighbours are forgotten; routes over it stay as they are, without a
    /// working hop there.
    LinkDown(LinkId),
    /// A prefix has this route, whatever it had before.
    SetRoute {
        /// The prefix.
        prefix: IpNetwork,
        /// What it does.
        kind: RouteKind,
    },
    /// A prefix has no route of its own.
    RemoveRoute(IpNetwork),
    /// A neighbour's MAC is known.
    SetNeighbour(Neighbour),
    /// A neighbour's MAC is not known any more.
    RemoveNeighbour {
        /// The link.
        link: LinkId,
        /// The address.
        address: IpAddr,
    },
}

/// What a batch came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Prefixes that lead elsewhere now, hosts included.
    pub prefixes: usize,
    /// Whether a snapshot was published.
    pub published: bool,
    /// What could not be done. Everything else was.
    pub refused: Vec<Refusal>,
}

/// A change that could not be made: the prefix leads where it led before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its place in the batch.
    pub change: usize,
    /// Why.
    pub error: RouteError,
}

/// Why a change could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// The trie refuses the prefix.
    #[error(transparent)]
    Table(#[from] BuildError),
    /// More different ways on, neighbours on connected networks included, than ids.
    #[error("{0}: more next-hop groups and neighbours than {max} of one family", max = crate::lpm::MAX_ID)]
    TooManyGroups(IpNetwork),
    /// A route without a hop.
    #[error("{0}: a route that forwards, but has no next hop")]
    NoHops(IpNetwork),
    /// More hops than flows can be shared among.
    #[error("{prefix}: {hops} next hops; at most {max} share the flows", max = super::groups::BUCKETS)]
    TooManyHops {
        /// The prefix.
        prefix: IpNetwork,
        /// How many.
        hops: usize,
    },
}
