//! The writer of routes, on the control thread.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Bound;
use std::sync::Arc;

use ipnetwork::IpNetwork;

use super::Mac;
use super::change::{
    Applied, Change, Hop, Link, LinkId, Neighbour, Refusal, RouteEntry, RouteError, RouteKind,
};
use super::family::{Family, Prefixes};
use super::groups::{BUCKETS, Groups, fixed};
use super::reader::RouteReader;
use super::snapshot::{
    Adjacency, EntryKind, LinkEntry, NO_LINK, NextHop, PortLinks, Snapshot, State, Topology, VLANS,
};
use crate::lpm::{BuildError, Live4, Live6};
use crate::publication::{Publisher, Reader, publish};

/// Destinations that are not forwarded to, and sources that nothing comes from (RFC 1812 §5.3.7, RFC 6890). A route within
/// one of them holds, since it was set on purpose, but for [those](Family::is_never_forwarded) that never leave a host or
/// a link.
const MARTIANS: [&str; 9] = [
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "240.0.0.0/4",
    "::/128",
    "::1/128",
    "::ffff:0:0/96",
    "fec0::/10",
    "fe80::/10",
];
/// Groups that do not leave their link (RFC 5771 §4, RFC 4291 §2.7).
const LINK_GROUPS: [&str; 3] = ["224.0.0.0/24", "ff01::/16", "ff02::/16"];
/// All other groups.
const GROUPS: [&str; 2] = ["224.0.0.0/4", "ff00::/8"];
/// All stations of whichever link (RFC 919 §7).
const ALL_STATIONS: &str = "255.255.255.255/32";

/// What an adjacency is made for: a next hop, and what its route says of the MTU.
type Way = (NextHop, Option<u16>);

/// The adjacencies that groups lead to. Places are given away at once: snapshots have copies of their own.
#[derive(Default)]
struct Adjacencies {
    by_way: BTreeMap<Way, u32>,
    ways: Vec<Way>,
    users: Vec<usize>,
    free: Vec<u32>,
    ready: Vec<Adjacency>,
}

impl Adjacencies {
    fn take(&mut self, way: Way) -> u32 {
        if let Some(place) = self.by_way.get(&way) {
            self.users[*place as usize] += 1;
            return *place;
        }
        let place = self.free.pop().unwrap_or(self.ways.len() as u32);
        if place as usize == self.ways.len() {
            self.ways.push(way);
            self.users.push(0);
            self.ready.push(Adjacency::DOWN);
        }
        self.ways[place as usize] = way;
        self.users[place as usize] = 1;
        self.by_way.insert(way, place);
        place
    }

    /// The places of all that lead to a next hop.
    fn places(&self, next: NextHop) -> Vec<u32> {
        self.by_way.range((next, None)..=(next, Some(u16::MAX))).map(|(_, place)| *place).collect()
    }

    fn give(&mut self, place: u32) {
        self.users[place as usize] -= 1;
        if self.users[place as usize] == 0 {
            self.by_way.remove(&self.ways[place as usize]);
            self.ready[place as usize] = Adjacency::DOWN;
            self.free.push(place);
        }
    }
}

/// One family: its prefixes and its groups.
struct Half<A: Family> {
    prefixes: Prefixes<A>,
    groups: Groups,
}

/// The routes, as the control thread changes them. See the [module](super).
pub struct Routes {
    v4: Half<u32>,
    v6: Half<u128>,
    links: BTreeMap<LinkId, Link>,
    neighbours: BTreeMap<(IpAddr, LinkId), Mac>,
    adjacencies: Adjacencies,
    topology: Arc<Topology>,
    publisher: Publisher<Snapshot>,
    readers: Vec<Reader<Snapshot>>,
    /// What the snapshot in force says is no longer so.
    stale: bool,
    /// An id has a meaning that no snapshot tells.
    unpublished: bool,
    number: u64,
}

impl Routes {
    /// No routes yet, for as many workers.
    ///
    /// # Errors
    /// When memory does not suffice.
    pub fn new(workers: usize) -> Result<Routes, BuildError> {
        let (publisher, readers) = publish(Snapshot::default(), workers);
        let mut routes = Routes {
            v4: Half { prefixes: Prefixes::new(Live4::build(&[])?), groups: Groups::default() },
            v6: Half { prefixes: Prefixes::new(Live6::build(&[])?), groups: Groups::default() },
            links: BTreeMap::new(),
            neighbours: BTreeMap::new(),
            adjacencies: Adjacencies::default(),
            topology: Arc::default(),
            publisher,
            readers,
            stale: true,
            unpublished: false,
            number: 0,
        };
        let martian = |id| move |implied: &mut super::family::Implied| implied.martian = id;
        let kinds = [
            (&MARTIANS[..], EntryKind::Martian),
            (&LINK_GROUPS, EntryKind::LinkGroup),
            (&GROUPS, EntryKind::Group),
            (&[ALL_STATIONS], EntryKind::Local),
        ];
        // The meanings are in force before the prefixes that have them.
        routes.publish();
        for (texts, kind) in kinds {
            for prefix in texts.iter().map(|text| text.parse().expect("a prefix")) {
                match prefix {
                    IpNetwork::V4(net) => {
                        routes.v4.prefixes.imply((net.ip().to_bits(), net.prefix()), martian(fixed(kind)))?;
                    }
                    IpNetwork::V6(net) => {
                        routes.v6.prefixes.imply((net.ip().to_bits(), net.prefix()), martian(fixed(kind)))?;
                    }
                }
            }
        }
        Ok(routes)
    }

    /// A worker's reader.
    ///
    /// # Panics
    /// If it is asked for more often than there are workers.
    pub fn reader(&mut self) -> RouteReader {
        let snapshots = self.readers.pop().expect("one reader for each worker");
        RouteReader::new(self.v4.prefixes.trie.reader(), self.v6.prefixes.trie.reader(), snapshots)
    }

    /// Makes changes, in their order, and says what came of them. Workers see each from some burst on; of different
    /// prefixes in any order.
    pub fn apply(&mut self, changes: &[Change]) -> Applied {
        let changed = |routes: &Routes| routes.v4.prefixes.changed + routes.v6.prefixes.changed;
        let (before, number) = (changed(self), self.number);
        let mut refused = Vec::new();
        self.foresee(changes);
        for (at, change) in changes.iter().enumerate() {
            if let Err(error) = self.change(change) {
                refused.push(Refusal { change: at, error });
            }
        }
        if self.stale {
            self.publish();
        }
        if self.v4.groups.has_unmarked() || self.v6.groups.has_unmarked() {
            let mark = self.publisher.mark();
            self.v4.groups.mark(mark);
            self.v6.groups.mark(mark);
        }
        self.reclaim();
        Applied { prefixes: changed(self) - before, published: self.number != number, refused }
    }

    /// Frees what no worker can have in hand any more, and says how many ids and snapshots still wait for that.
    pub fn reclaim(&mut self) -> usize {
        let snapshots = self.publisher.reclaim();
        let Routes { v4, v6, adjacencies, publisher, .. } = self;
        for groups in [&mut v4.groups, &mut v6.groups] {
            while let Some(freed) = groups.bury(|mark| publisher.has_passed(mark)) {
                freed.iter().for_each(|place| adjacencies.give(*place));
            }
        }
        v4.prefixes.trie.reclaim();
        v6.prefixes.trie.reclaim();
        snapshots + v4.groups.counts().1 + v6.groups.counts().1
    }

    /// The routes as they were set, IPv4 first, in the order of their prefixes.
    pub fn entries(&self) -> impl Iterator<Item = RouteEntry> {
        self.entries_behind(None)
    }

    /// The same from behind a prefix on, for who reads them bit by bit.
    pub fn entries_behind(&self, last: Option<IpNetwork>) -> impl Iterator<Item = RouteEntry> {
        fn behind<A: Family>(half: &Half<A>, from: Bound<(A, u8)>) -> impl Iterator<Item = (IpNetwork, u16)> {
            let routes = half.prefixes.routes.range((from, Bound::Unbounded));
            routes.map(|(&(at, length), &id)| (at.network(length), id))
        }
        let (from_v4, from_v6) = match last {
            None => (Bound::Unbounded, Bound::Unbounded),
            Some(IpNetwork::V4(net)) => {
                (Bound::Excluded((net.ip().to_bits(), net.prefix())), Bound::Unbounded)
            }
            // There is no IPv4 prefix as long as that.
            Some(IpNetwork::V6(net)) => {
                (Bound::Excluded((u32::MAX, u8::MAX)), Bound::Excluded((net.ip().to_bits(), net.prefix())))
            }
        };
        behind(&self.v4, from_v4).chain(behind(&self.v6, from_v6)).map(|(prefix, id)| self.entry(prefix, id))
    }

    /// A prefix's route as it was set, if it has one.
    pub fn route(&self, prefix: &IpNetwork) -> Option<RouteKind> {
        let id = match prefix {
            IpNetwork::V4(net) => self.v4.prefixes.routes.get(&(net.ip().to_bits(), net.prefix())),
            IpNetwork::V6(net) => self.v6.prefixes.routes.get(&(net.ip().to_bits(), net.prefix())),
        };
        id.map(|id| self.entry(*prefix, *id).kind)
    }

    fn entry(&self, prefix: IpNetwork, id: u16) -> RouteEntry {
        let groups = if prefix.is_ipv6() { &self.v6.groups } else { &self.v4.groups };
        let mut kind = kind_of(groups, id);
        if let RouteKind::Unicast(hops) = &mut kind {
            // As it was set.
            let whole = prefix.prefix() == if prefix.is_ipv6() { 128 } else { 32 };
            let itself = hops.iter_mut().filter(|hop| whole && hop.via == Some(prefix.ip()));
            itself.for_each(|hop| hop.via = None);
        }
        RouteEntry { prefix, kind }
    }

    /// The links that work.
    pub fn links(&self) -> impl Iterator<Item = &Link> {
        self.links.values()
    }

    /// The neighbours whose MAC is known.
    pub fn neighbours(&self) -> impl Iterator<Item = Neighbour> {
        self.neighbours.iter().map(|(&(address, link), &mac)| Neighbour { link, address, mac })
    }

    /// A neighbour's MAC, if it is known.
    pub fn neighbour(&self, link: LinkId, address: IpAddr) -> Option<Mac> {
        self.neighbours.get(&(address, link)).copied()
    }

    /// The snapshot in force.
    pub fn snapshot(&self) -> &Snapshot {
        self.publisher.current()
    }

    /// What an address leads to, as the writer sees it: the longest prefix that is set or implied, and the id.
    pub fn lookup(&self, address: IpAddr) -> (Option<IpNetwork>, u32) {
        fn longest<A: Family>(half: &Half<A>, address: A) -> (Option<IpNetwork>, u32) {
            let found = (0..=A::BITS).rev().find_map(|length| {
                let at = address.truncated(length);
                let id = half.prefixes.id((at, length));
                (id != 0).then(|| (Some(at.network(length)), u32::from(id)))
            });
            found.unwrap_or((None, 0))
        }
        match address {
            IpAddr::V4(address) => longest(&self.v4, address.to_bits()),
            IpAddr::V6(address) => longest(&self.v6, address.to_bits()),
        }
    }

    /// How many routes are set, of each family.
    pub fn counts(&self) -> (usize, usize) {
        (self.v4.prefixes.routes.len(), self.v6.prefixes.routes.len())
    }

    /// How many groups of next hops there are, and how many bytes look-ups may touch, of each family.
    pub fn sizes(&self) -> [(usize, usize); 2] {
        let Routes { v4, v6, .. } = self;
        [
            (v4.groups.counts().0, v4.prefixes.trie.memory_bytes()),
            (v6.groups.counts().0, v6.prefixes.trie.memory_bytes()),
        ]
    }

    /// Gives ids to the new ways on that a batch leads to, so that they are published together. What is not used after
    /// all is given away again.
    fn foresee(&mut self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::SetRoute { prefix, kind: RouteKind::Unicast(hops) }
                    if (1..=BUCKETS).contains(&hops.len()) =>
                {
                    match prefix {
                        IpNetwork::V4(net) => {
                            let hops = of_host((net.ip().to_bits(), net.prefix()), hops);
                            self.add_group(&hops, |routes| &mut routes.v4)
                        }
                        IpNetwork::V6(net) => {
                            let hops = of_host((net.ip().to_bits(), net.prefix()), hops);
                            self.add_group(&hops, |routes| &mut routes.v6)
                        }
                    };
                }
                Change::SetNeighbour(Neighbour { link, address, .. }) => {
                    let hop = Hop::new(*link, Some(*address));
                    match address {
                        _ if is_link_local(*address) => None,
                        IpAddr::V4(_) => self.add_group(&[hop], |routes| &mut routes.v4),
                        IpAddr::V6(_) => self.add_group(&[hop], |routes| &mut routes.v6),
                    };
                }
                _ => {}
            }
        }
        if self.unpublished {
            self.publish();
        }
    }

    fn change(&mut self, change: &Change) -> Result<(), RouteError> {
        match change {
            Change::LinkUp(link) => self.link_up(link),
            Change::LinkDown(link) => self.link_down(*link),
            Change::SetRoute { prefix, kind } => self.set_route(*prefix, Some(kind)),
            Change::RemoveRoute(prefix) => self.set_route(*prefix, None),
            Change::SetNeighbour(Neighbour { link, address, mac }) => {
                self.set_neighbour(*link, *address, Some(*mac))
            }
            Change::RemoveNeighbour { link, address } => self.set_neighbour(*link, *address, None),
        }
    }

    fn set_route(&mut self, prefix: IpNetwork, kind: Option<&RouteKind>) -> Result<(), RouteError> {
        if let Some(RouteKind::Unicast(hops)) = kind {
            match hops.len() {
                0 => return Err(RouteError::NoHops(prefix)),
                hops if hops > BUCKETS => return Err(RouteError::TooManyHops { prefix, hops }),
                _ => {}
            }
        }
        match prefix {
            IpNetwork::V4(net) if net.ip() != net.network() => Err(BuildError::HostBits(prefix).into()),
            IpNetwork::V6(net) if net.ip() != net.network() => Err(BuildError::HostBits(prefix).into()),
            IpNetwork::V4(net) => {
                self.set_route_of::<u32>((net.ip().to_bits(), net.prefix()), kind, |routes| &mut routes.v4)
            }
            IpNetwork::V6(net) => {
                self.set_route_of::<u128>((net.ip().to_bits(), net.prefix()), kind, |routes| &mut routes.v6)
            }
        }
    }

    fn set_route_of<A: Family>(
        &mut self,
        key: (A, u8),
        kind: Option<&RouteKind>,
        half: fn(&mut Routes) -> &mut Half<A>,
    ) -> Result<(), RouteError> {
        let (at, length) = key;
        let id = match kind {
            None => 0,
            Some(RouteKind::Local) => fixed(EntryKind::Local),
            Some(RouteKind::Broadcast) => fixed(EntryKind::Broadcast),
            Some(RouteKind::Blackhole) => fixed(EntryKind::Blackhole),
            Some(RouteKind::Unreachable) => fixed(EntryKind::Unreachable),
            Some(RouteKind::Prohibit) => fixed(EntryKind::Prohibit),
            Some(RouteKind::Unicast(hops)) => self.group_of(&of_host(key, hops), half, at.network(length))?,
        };
        let Half { prefixes, groups } = half(self);
        let had = prefixes.set_route(key, id)?;
        groups.take(id);
        groups.give(had);
        if had != id {
            self.after_change(key, half)?;
        }
        Ok(())
    }

    /// The id of these hops; a new one is in the snapshot in force before this gives it.
    fn group_of<A: Family>(
        &mut self,
        hops: &[Hop],
        half: fn(&mut Routes) -> &mut Half<A>,
        prefix: IpNetwork,
    ) -> Result<u16, RouteError> {
        let id = self.add_group(hops, half).ok_or(RouteError::TooManyGroups(prefix))?;
        if self.unpublished {
            self.publish();
        }
        Ok(id)
    }

    /// The id of these hops, which may not be in force yet; none if there are no more.
    fn add_group<A: Family>(&mut self, hops: &[Hop], half: fn(&mut Routes) -> &mut Half<A>) -> Option<u16> {
        let mut sorted: Vec<Hop> = hops.iter().map(|hop| Hop { weight: hop.weight.max(1), ..*hop }).collect();
        sorted.sort_unstable();
        if let Some(id) = half(self).groups.find(&sorted) {
            return Some(id);
        }
        let places: Box<[u32]> = sorted
            .iter()
            .map(|hop| {
                let mtu = hop.mtu.map(|mtu| mtu.max(A::LEAST_MTU));
                let place = self.adjacencies.take((NextHop { link: hop.link, address: hop.via }, mtu));
                self.resolve(place);
                place
            })
            .collect();
        let Some(id) = half(self).groups.add(sorted.into(), places.clone()) else {
            places.iter().for_each(|place| self.adjacencies.give(*place));
            return None;
        };
        let ready = std::mem::take(&mut self.adjacencies.ready);
        half(self).groups.share(id, |place| ready[place as usize].state != State::Down);
        self.adjacencies.ready = ready;
        self.unpublished = true;
        Some(id)
    }

    /// Brings an adjacency up to what is known of its link and neighbour.
    fn resolve(&mut self, place: u32) {
        let (NextHop { link, address }, least) = self.adjacencies.ways[place as usize];
        let adjacency = match self.links.get(&link) {
            None => Adjacency::DOWN,
            Some(known) => {
                let mac = address.and_then(|address| self.neighbours.get(&(address, link)));
                let mut macs = [0; 12];
                macs[..6].copy_from_slice(mac.unwrap_or(&[0; 6]));
                macs[6..].copy_from_slice(&known.mac);
                let state = match (mac, address) {
                    (Some(_), _) => State::Ready,
                    (None, Some(_)) => State::Unresolved,
                    (None, None) => State::Glean,
                };
                let number = self.links.range(..link).count() as u16;
                let mtu = least.map_or(known.mtu, |least| least.min(known.mtu));
                let (vlan, port) = (known.vlan.unwrap_or(0), known.port.0);
                Adjacency { macs, vlan, mtu, link: number, port, state }
            }
        };
        if self.adjacencies.ready[place as usize] != adjacency {
            self.adjacencies.ready[place as usize] = adjacency;
            self.stale = true;
        }
    }

    fn link_up(&mut self, link: &Link) -> Result<(), RouteError> {
        if self.links.get(&link.id) == Some(link) {
            return Ok(());
        }
        let before = self.links.insert(link.id, link.clone());
        self.links_changed(before.as_ref(), Some(link))
    }

    fn link_down(&mut self, link: LinkId) -> Result<(), RouteError> {
        let Some(before) = self.links.remove(&link) else { return Ok(()) };
        let known: Vec<IpAddr> =
            self.neighbours.keys().filter(|(_, on)| *on == link).map(|(a, _)| *a).collect();
        let mut result = Ok(());
        for address in known {
            result = result.and(self.set_neighbour(link, address, None));
        }
        result.and(self.links_changed(Some(&before), None))
    }

    /// Numbers links anew, brings all adjacencies up to them, and what their addresses imply.
    fn links_changed(&mut self, before: Option<&Link>, now: Option<&Link>) -> Result<(), RouteError> {
        self.topology = Arc::new(topology(&self.links));
        self.stale = true;
        for place in 0..self.adjacencies.ways.len() as u32 {
            if self.adjacencies.users[place as usize] > 0 {
                self.resolve(place);
            }
        }
        let ready = std::mem::take(&mut self.adjacencies.ready);
        for groups in [&mut self.v4.groups, &mut self.v6.groups] {
            for id in groups.ids() {
                groups.share(id, |place| ready[place as usize].state != State::Down);
            }
        }
        self.adjacencies.ready = ready;
        let addresses = |link: Option<&Link>| link.map(|link| link.addresses.clone()).unwrap_or_default();
        let mut concerned = addresses(before);
        concerned.extend(addresses(now));
        concerned.sort_unstable();
        concerned.dedup();
        let mut result = Ok(());
        for address in concerned {
            result = result.and(match address {
                IpNetwork::V4(net) => {
                    self.imply::<u32>(net.ip().into(), net.prefix(), |routes| &mut routes.v4)
                }
                IpNetwork::V6(net) => {
                    self.imply::<u128>(net.ip().into(), net.prefix(), |routes| &mut routes.v6)
                }
            });
        }
        result
    }

    /// What an address of the router implies, or no longer does: itself, its network, all stations there.
    fn imply<A: Family>(
        &mut self,
        address: IpAddr,
        length: u8,
        half: fn(&mut Routes) -> &mut Half<A>,
    ) -> Result<(), RouteError> {
        let Some(own) = A::number(address) else { return Ok(()) };
        let network = (own.truncated(length), length);
        let broadcasts = match A::BITS {
            // A link with two addresses has no broadcast (RFC 3021); nor has IPv6.
            32 if length < 31 => vec![(own.truncated(length), 32), (own.last(length), 32)],
            _ => Vec::new(),
        };
        for key in [(own, A::BITS)].into_iter().chain(broadcasts) {
            let id = self.own_id::<A>(key.0);
            half(self).prefixes.imply(key, |implied| implied.own = id)?;
            self.after_change(key, half)?;
        }
        let on = self.links.values().find(|link| {
            // Link-local addresses are no destinations beyond their link.
            !is_link_local(address)
                && link.addresses.iter().any(|other| {
                    other.prefix() == length
                        && A::number(other.ip()).is_some_and(|other| other.truncated(length) == network.0)
                })
        });
        let id = match on.map(|link| link.id) {
            Some(link) if length < A::BITS => {
                self.group_of(&[Hop::new(link, None)], half, network.0.network(length))?
            }
            _ => 0,
        };
        let Half { prefixes, groups } = half(self);
        let mut had = 0;
        prefixes.imply(network, |implied| had = std::mem::replace(&mut implied.connected, id))?;
        groups.take(id);
        groups.give(had);
        self.after_change(network, half)
    }

    /// What the router's own addresses make of an address.
    fn own_id<A: Family>(&self, address: A) -> u16 {
        let own = self.links.values().flat_map(|link| &link.addresses);
        let own = own.filter_map(|net| Some((A::number(net.ip())?, net.prefix())));
        let mut broadcast = false;
        for (own, length) in own {
            if own == address {
                return fixed(EntryKind::Local);
            }
            broadcast |= A::BITS == 32
                && length < 31
                && (own.truncated(length) == address || own.last(length) == address);
        }
        if broadcast { fixed(EntryKind::Broadcast) } else { 0 }
    }

    fn set_neighbour(&mut self, link: LinkId, address: IpAddr, mac: Option<Mac>) -> Result<(), RouteError> {
        let had = match mac {
            Some(mac) => self.neighbours.insert((address, link), mac),
            None => self.neighbours.remove(&(address, link)),
        };
        if had == mac {
            return Ok(());
        }
        for place in self.adjacencies.places(NextHop { link, address: Some(address) }) {
            self.resolve(place);
        }
        match address {
            IpAddr::V4(address) => self.place_host::<u32>(address.to_bits(), |routes| &mut routes.v4),
            IpAddr::V6(address) => self.place_host::<u128>(address.to_bits(), |routes| &mut routes.v6),
        }
    }

    /// Looks anew at hosts within a prefix that leads elsewhere now.
    fn after_change<A: Family>(
        &mut self,
        key: (A, u8),
        half: fn(&mut Routes) -> &mut Half<A>,
    ) -> Result<(), RouteError> {
        let (at, length) = key;
        let Half { prefixes, groups } = half(self);
        let was_connected = prefixes.concerns_hosts(key);
        let is_connected = connected_hop(groups, prefixes.id(key)).is_some();
        prefixes.note_connected(key, is_connected);
        if !was_connected && !is_connected {
            return Ok(());
        }
        let (first, last) = (at.address(), at.last(length).address());
        let within = self.neighbours.range((first, LinkId(0))..=(last, LinkId(u32::MAX)));
        let hosts: Vec<A> = within.filter_map(|((address, _), _)| A::number(*address)).collect();
        let mut result = Ok(());
        for host in hosts {
            result = result.and(self.place_host(host, half));
        }
        result
    }

    /// Gives a neighbour a prefix of its own if its longest prefix is connected, on its link; takes it away else.
    fn place_host<A: Family>(
        &mut self,
        address: A,
        half: fn(&mut Routes) -> &mut Half<A>,
    ) -> Result<(), RouteError> {
        let key = (address, A::BITS);
        let Half { prefixes, groups } = half(self);
        let (around, length) = prefixes.around(address);
        let hop = if length < A::BITS { connected_hop(groups, around) } else { None };
        let hop = hop
            .filter(|hop| self.neighbours.contains_key(&(address.address(), hop.link)))
            .map(|hop| Hop { via: Some(address.address()), weight: 1, ..hop });
        let id = match hop {
            Some(hop) => self.group_of(&[hop], half, address.network(A::BITS))?,
            None => 0,
        };
        let Half { prefixes, groups } = half(self);
        let mut had = 0;
        prefixes.imply(key, |implied| had = std::mem::replace(&mut implied.host, id))?;
        groups.take(id);
        groups.give(had);
        Ok(())
    }

    /// Puts what is known in force.
    fn publish(&mut self) {
        self.number += 1;
        let mut buckets = Vec::new();
        let mut entries = |groups: &Groups| {
            let mut entries = groups.entries.clone();
            for &id in &groups.shared {
                let Some(group) = groups.group(id) else { continue };
                entries[usize::from(id)].first = buckets.len() as u32;
                buckets.extend(&group.buckets);
            }
            entries.into_boxed_slice()
        };
        let (v4, v6) = (entries(&self.v4.groups), entries(&self.v6.groups));
        self.publisher.publish(Snapshot {
            number: self.number,
            topology: Arc::clone(&self.topology),
            v4,
            v6,
            buckets: buckets.into(),
            adjacencies: self.adjacencies.ready.clone().into(),
            next_hops: self.adjacencies.ways.iter().map(|(next, _)| *next).collect(),
        });
        self.stale = false;
        self.unpublished = false;
    }
}

/// The hops of a route to one host: on a link itself, the next hop is the host.
fn of_host<A: Family>((at, length): (A, u8), hops: &[Hop]) -> Vec<Hop> {
    let itself = (length == A::BITS).then(|| at.address());
    hops.iter().map(|hop| Hop { via: hop.via.or(itself), ..*hop }).collect()
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// The hop to the link whose hosts an id leads to directly.
fn connected_hop(groups: &Groups, id: u16) -> Option<Hop> {
    match &*groups.group(id)?.hops {
        [hop @ Hop { via: None, .. }] => Some(*hop),
        _ => None,
    }
}

fn kind_of(groups: &Groups, id: u16) -> RouteKind {
    if let Some(group) = groups.group(id) {
        return RouteKind::Unicast(group.hops.to_vec());
    }
    let known = [
        (EntryKind::Local, RouteKind::Local),
        (EntryKind::Broadcast, RouteKind::Broadcast),
        (EntryKind::Unreachable, RouteKind::Unreachable),
        (EntryKind::Prohibit, RouteKind::Prohibit),
    ];
    let found = known.into_iter().find(|(kind, _)| fixed(*kind) == id);
    found.map_or(RouteKind::Blackhole, |(_, kind)| kind)
}

/// The links as workers see them.
fn topology(links: &BTreeMap<LinkId, Link>) -> Topology {
    let v4 = |link: &Link| {
        link.addresses.iter().find_map(|net| match net {
            IpNetwork::V4(net) => Some(net.ip()),
            IpNetwork::V6(_) => None,
        })
    };
    let v6 = |link: &Link| {
        link.addresses.iter().find_map(|net| match net {
            IpNetwork::V6(net) if !net.ip().is_unicast_link_local() => Some(net.ip()),
            _ => None,
        })
    };
    let any_v4 = links.values().find_map(v4);
    let any_v6 = links.values().find_map(v6);
    let entry = |link: &Link| LinkEntry {
        id: link.id,
        port: link.port,
        vlan: link.vlan.unwrap_or(0),
        mac: link.mac,
        mtu: link.mtu,
        v4: v4(link).or(any_v4),
        v6: v6(link).or(any_v6),
        addresses: link.addresses.as_slice().into(),
    };
    let entries: Box<[LinkEntry]> = links.values().map(entry).collect();
    let count = entries.iter().map(|link| usize::from(link.port.0) + 1).max().unwrap_or(0);
    let mut ports = vec![PortLinks { untagged: NO_LINK, tagged: None }; count];
    for (place, link) in entries.iter().enumerate().take(usize::from(NO_LINK)) {
        let port = &mut ports[usize::from(link.port.0)];
        match link.vlan {
            0 => port.untagged = place as u16,
            vlan => {
                let tagged = port.tagged.get_or_insert_with(|| vec![NO_LINK; VLANS].into());
                if let Some(slot) = tagged.get_mut(usize::from(vlan)) {
                    *slot = place as u16;
                }
            }
        }
    }
    Topology { links: entries, ports: ports.into() }
}
