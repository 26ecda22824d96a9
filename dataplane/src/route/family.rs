//! One family's tries and prefixes, as the writer knows them.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};

use super::groups::{fixed, leads_on};
use super::snapshot::EntryKind;
use crate::lpm::{BuildError, Live4, Live6};

/// Addresses of one family as numbers, and the trie for them.
pub(super) trait Family: Copy + Ord + Hash {
    type Trie;
    const BITS: u8;
    /// What every link takes (RFC 791 §3.2, RFC 8200 §5).
    const LEAST_MTU: u16;

    fn number(address: IpAddr) -> Option<Self>;
    fn address(self) -> IpAddr;
    fn network(self, length: u8) -> IpNetwork;
    /// Without the bits beyond the first `length`.
    fn truncated(self, length: u8) -> Self;
    /// With all of them set.
    fn last(self, length: u8) -> Self;
    /// Whether no router forwards to these addresses, whatever routes say: those of a host alone and those of a link alone
    /// (RFC 1812 §4.2.2.11, RFC 3927 §7, RFC 4291 §2.5.3 and §2.5.6).
    fn is_never_forwarded((at, length): (Self, u8)) -> bool {
        match at.address() {
            IpAddr::V4(at) => at.is_loopback() && length >= 8 || at.is_link_local() && length >= 16,
            IpAddr::V6(at) => at.is_loopback() && length == 128 || at.is_unicast_link_local() && length >= 10,
        }
    }
    fn insert(trie: &mut Self::Trie, at: Self, length: u8, id: u16) -> Result<(), BuildError>;
    fn remove(trie: &mut Self::Trie, at: Self, length: u8) -> Result<(), BuildError>;
}

macro_rules! family {
    ($number:ty, $trie:ty, $network:ty, $address:ty, $variant:ident, $bits:literal, $mtu:literal) => {
        impl Family for $number {
            type Trie = $trie;
            const BITS: u8 = $bits;
            const LEAST_MTU: u16 = $mtu;

            fn number(address: IpAddr) -> Option<Self> {
                match address {
                    IpAddr::$variant(address) => Some(address.to_bits()),
                    _ => None,
                }
            }
            fn address(self) -> IpAddr {
                IpAddr::$variant(<$address>::from_bits(self))
            }
            fn network(self, length: u8) -> IpNetwork {
                IpNetwork::$variant(network::<$network>(<$network>::new(<$address>::from_bits(self), length)))
            }
            fn truncated(self, length: u8) -> Self {
                self & !<$number>::MAX.checked_shr(length.into()).unwrap_or(0)
            }
            fn last(self, length: u8) -> Self {
                self | <$number>::MAX.checked_shr(length.into()).unwrap_or(0)
            }
            fn insert(trie: &mut $trie, at: Self, length: u8, id: u16) -> Result<(), BuildError> {
                let network = network::<$network>(<$network>::new(<$address>::from_bits(at), length));
                trie.insert(network, id.into()).map(|_| ())
            }
            fn remove(trie: &mut $trie, at: Self, length: u8) -> Result<(), BuildError> {
                let network = network::<$network>(<$network>::new(<$address>::from_bits(at), length));
                trie.remove(network).map(|_| ())
            }
        }
    };
}

family!(u32, Live4, Ipv4Network, Ipv4Addr, V4, 32, 68);
family!(u128, Live6, Ipv6Network, Ipv6Addr, V6, 128, 1280);

/// Lengths come from prefixes that exist, or are counted down from one.
fn network<N>(made: Result<N, ipnetwork::IpNetworkError>) -> N {
    made.expect("a length within the family's")
}

/// What can be said of one prefix; the first that is there holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Implied {
    /// By an address of the router: itself, or all stations of its network.
    pub(super) own: u16,
    /// A network that the router is on.
    pub(super) connected: u16,
    /// A neighbour.
    pub(super) host: u16,
    /// What no router forwards to.
    pub(super) martian: u16,
}

impl Implied {
    fn is_nothing(&self) -> bool {
        *self == Implied::default()
    }
}

/// The prefixes of one family.
pub(super) struct Prefixes<A: Family> {
    pub(super) trie: A::Trie,
    /// Routes that were set, by prefix.
    pub(super) routes: BTreeMap<(A, u8), u16>,
    /// What links and neighbours imply.
    implied: BTreeMap<(A, u8), Implied>,
    /// Prefixes that lead to hosts of a link directly.
    connected: BTreeMap<(A, u8), ()>,
    /// Prefixes that changed.
    pub(super) changed: usize,
}

impl<A: Family> Prefixes<A> {
    pub(super) fn new(trie: A::Trie) -> Prefixes<A> {
        let (routes, implied, connected) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Prefixes { trie, routes, implied, connected, changed: 0 }
    }

    /// The id that a prefix has in the trie; 0 if it has none of its own.
    pub(super) fn id(&self, key: (A, u8)) -> u16 {
        let route = self.routes.get(&key).copied().unwrap_or(0);
        let Implied { own, connected, host, martian } = self.implied(key);
        let id = [own, route, connected, host, martian].into_iter().find(|id| *id != 0).unwrap_or(0);
        // No route changes what these are; what says that they are dropped may stand.
        if leads_on(id) && A::is_never_forwarded(key) { fixed(EntryKind::Martian) } else { id }
    }

    /// The id that a prefix would have without a host there.
    fn id_without_host(&self, key: (A, u8)) -> u16 {
        let route = self.routes.get(&key).copied().unwrap_or(0);
        let Implied { own, connected, martian, .. } = self.implied(key);
        [own, route, connected, martian].into_iter().find(|id| *id != 0).unwrap_or(0)
    }

    fn implied(&self, key: (A, u8)) -> Implied {
        self.implied.get(&key).copied().unwrap_or_default()
    }

    /// Changes what is implied of a prefix, and the trie.
    pub(super) fn imply(
        &mut self,
        key: (A, u8),
        change: impl FnOnce(&mut Implied),
    ) -> Result<(), BuildError> {
        let before = self.id(key);
        let was = self.implied(key);
        let mut now = was;
        change(&mut now);
        self.put(key, now);
        let result = self.follow(key, before);
        if result.is_err() {
            self.put(key, was);
        }
        result
    }

    fn put(&mut self, key: (A, u8), implied: Implied) {
        match implied.is_nothing() {
            true => self.implied.remove(&key),
            false => self.implied.insert(key, implied),
        };
    }

    /// Gives a prefix a route, or takes it away with 0; gives the one that it had.
    pub(super) fn set_route(&mut self, key: (A, u8), id: u16) -> Result<u16, BuildError> {
        let before = self.id(key);
        let replace = |routes: &mut BTreeMap<_, _>, id| match id {
            0 => routes.remove(&key).unwrap_or(0),
            id => routes.insert(key, id).unwrap_or(0),
        };
        let had = replace(&mut self.routes, id);
        if let Err(error) = self.follow(key, before) {
            replace(&mut self.routes, had);
            return Err(error);
        }
        Ok(had)
    }

    /// Brings the trie to what a prefix leads to now.
    fn follow(&mut self, (at, length): (A, u8), before: u16) -> Result<(), BuildError> {
        match self.id((at, length)) {
            id if id == before => return Ok(()),
            0 => A::remove(&mut self.trie, at, length)?,
            id => A::insert(&mut self.trie, at, length, id)?,
        }
        self.changed += 1;
        Ok(())
    }

    /// Notes whether a prefix leads to hosts of a link directly.
    pub(super) fn note_connected(&mut self, key: (A, u8), connected: bool) {
        match connected {
            true => self.connected.insert(key, ()),
            false => self.connected.remove(&key),
        };
    }

    /// Whether a neighbour within this prefix may depend on it: it is connected, or within one that is.
    pub(super) fn concerns_hosts(&self, (at, length): (A, u8)) -> bool {
        !self.connected.is_empty()
            && (0..=length).any(|length| self.connected.contains_key(&(at.truncated(length), length)))
    }

    /// The id of the longest prefix of a neighbour's address that is no host's, with its length.
    pub(super) fn around(&self, address: A) -> (u16, u8) {
        let found = (0..=A::BITS).rev().find_map(|length| {
            let id = self.id_without_host((address.truncated(length), length));
            (id != 0).then_some((id, length))
        });
        found.unwrap_or((0, 0))
    }
}
