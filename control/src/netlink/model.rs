//! What is known of the kernel: events in, changes out.
//!
//! Changes are told as what is dirty, not as what happened: whoever follows asks for what holds now. A route that moved ten times
//! since it was last asked for is one change, and a batch is as large as it is convenient.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnetwork::IpNetwork;

use super::route::{Best, Event, Hop, How, Kind, Link, Neighbour, Route};
use super::table::{Outcome, Table};

/// What a dump is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// Interfaces.
    Links,
    /// Their addresses.
    Addresses,
    /// Neighbours.
    Neighbours,
    /// The routes of one version of IP in one table.
    Routes {
        /// The table.
        table: u32,
        /// IPv6, or IPv4.
        v6: bool,
    },
}

/// The kernel's tables that are wanted, as far as they are known.
#[derive(Debug, Default)]
pub struct Model {
    tables: HashMap<u32, Table>,
    links: BTreeMap<u32, Link>,
    addresses: BTreeSet<(u32, IpNetwork)>,
    neighbours: HashMap<(u32, IpAddr), Neighbour>,
    /// Sets of hops that routes share.
    hops: HashSet<Arc<[Hop]>>,
    /// With more of them, those that no route has any more are forgotten.
    hops_pruned_at: usize,
    /// Tables that a dump has told, by version of IP.
    known: HashSet<(u32, bool)>,
    /// Numbers dumps.
    dump: u32,
    /// What the dump that runs has named, but for routes.
    named: Named,
    /// Where a route took the place of another while that dump ran.
    replaced: HashSet<(u32, IpNetwork)>,
    dirty: Dirty,
    stale: Stale,
    /// A route has been told without its next hops.
    untold: bool,
}

#[derive(Debug, Default)]
struct Named {
    links: HashSet<u32>,
    addresses: HashSet<(u32, IpNetwork)>,
    neighbours: HashSet<(u32, IpAddr)>,
}

/// What has changed since it was taken.
#[derive(Debug, Default)]
pub struct Dirty {
    /// Interfaces: they or their addresses.
    pub links: BTreeSet<u32>,
    /// Prefixes of tables.
    pub routes: HashMap<u32, HashSet<IpNetwork>>,
    /// Neighbours.
    pub neighbours: HashSet<(u32, IpAddr)>,
}

/// What of the model may be wrong, and has to be dumped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stale {
    /// Routes may have gone without a word, or a notification does not fit.
    pub routes: bool,
}

impl Model {
    /// A model that is told nothing yet, of these tables.
    pub fn new(tables: impl IntoIterator<Item = u32>) -> Model {
        let tables = tables.into_iter().map(|table| (table, Table::default())).collect();
        Model { tables, ..Model::default() }
    }

    /// The tables that are followed.
    pub fn tables(&self) -> impl Iterator<Item = u32> + '_ {
        self.tables.keys().copied()
    }

    /// Begins or stops following tables. A new one is empty until a dump says otherwise.
    pub fn follow(&mut self, tables: &BTreeSet<u32>) {
        self.tables.retain(|table, _| tables.contains(table));
        for table in tables {
            self.tables.entry(*table).or_default();
        }
        self.dirty.routes.retain(|table, _| tables.contains(table));
        self.known.retain(|(table, _)| tables.contains(table));
    }

    /// Whether a route has been told without its next hops since the last time.
    pub fn take_untold(&mut self) -> bool {
        std::mem::take(&mut self.untold)
    }

    /// Whether dumps have told what a table contains, since it was followed.
    pub fn is_known(&self, table: u32) -> bool {
        [false, true].iter().all(|v6| self.known.contains(&(table, *v6)))
    }

    /// Prefixes with a route in a table.
    pub fn len(&self, table: u32) -> usize {
        self.tables.get(&table).map_or(0, Table::len)
    }

    /// What holds for a prefix in a table.
    pub fn best(&self, table: u32, prefix: &IpNetwork) -> Option<Best> {
        self.tables.get(&table)?.best(prefix)
    }

    /// Everything that holds in a table.
    pub fn routes(&self, table: u32) -> impl Iterator<Item = (IpNetwork, Best)> + '_ {
        self.tables.get(&table).into_iter().flat_map(Table::iter)
    }

    /// An interface.
    pub fn link(&self, index: u32) -> Option<&Link> {
        self.links.get(&index)
    }

    /// All interfaces.
    pub fn links(&self) -> impl Iterator<Item = &Link> {
        self.links.values()
    }

    /// An interface's own addresses.
    pub fn addresses(&self, link: u32) -> impl Iterator<Item = IpNetwork> + '_ {
        self.addresses.iter().filter(move |(of, _)| *of == link).map(|(_, network)| *network)
    }

    /// A neighbour.
    pub fn neighbour(&self, link: u32, address: IpAddr) -> Option<Neighbour> {
        self.neighbours.get(&(link, address)).copied()
    }

    /// All neighbours.
    pub fn neighbours(&self) -> impl Iterator<Item = (u32, IpAddr, Neighbour)> + '_ {
        self.neighbours.iter().map(|((link, address), neighbour)| (*link, *address, *neighbour))
    }

    /// What has changed since the last time.
    pub fn take_dirty(&mut self) -> Dirty {
        std::mem::take(&mut self.dirty)
    }

    /// Whether nothing has.
    pub fn is_clean(&self) -> bool {
        let Dirty { links, routes, neighbours } = &self.dirty;
        links.is_empty() && neighbours.is_empty() && routes.values().all(HashSet::is_empty)
    }

    /// What has to be dumped since the last time this was asked.
    pub fn take_stale(&mut self) -> Stale {
        std::mem::take(&mut self.stale)
    }

    /// A dump begins.
    pub fn begin(&mut self) {
        self.dump = self.dump.wrapping_add(1);
        self.named = Named::default();
        self.replaced.clear();
    }

    /// A part of the dump that runs.
    pub fn dumped(&mut self, event: Event) {
        match event {
            Event::Route(table, prefix, route, _) => {
                let route = self.shared(route);
                let dump = self.dump;
                let Some(known) = self.tables.get_mut(&table) else { return };
                if known.dumped(prefix, route, dump) == Outcome::Changed {
                    self.dirty.routes.entry(table).or_default().insert(prefix);
                }
            }
            Event::Link(ref link) => {
                self.named.links.insert(link.index);
                self.apply(event);
            }
            Event::Address(link, network) => {
                self.named.addresses.insert((link, network));
                self.apply(event);
            }
            Event::Neighbour(link, address, _) => {
                self.named.neighbours.insert((link, address));
                self.apply(event);
            }
            Event::LinkGone(_)
            | Event::AddressGone(..)
            | Event::NeighbourGone(..)
            | Event::RouteGone(..)
            | Event::NextHopObject => {}
        }
    }

    /// The dump is complete: what it has not named is not there.
    pub fn end(&mut self, subject: Subject) {
        match subject {
            Subject::Links => {
                let gone: Vec<u32> =
                    self.links.keys().filter(|index| !self.named.links.contains(index)).copied().collect();
                gone.into_iter().for_each(|index| self.apply(Event::LinkGone(index)));
            }
            Subject::Addresses => {
                let named = &self.named.addresses;
                let gone: Vec<_> =
                    self.addresses.iter().filter(|one| !named.contains(one)).copied().collect();
                gone.into_iter().for_each(|(link, network)| self.apply(Event::AddressGone(link, network)));
            }
            Subject::Neighbours => {
                let named = &self.named.neighbours;
                let gone: Vec<_> =
                    self.neighbours.keys().filter(|one| !named.contains(one)).copied().collect();
                gone.into_iter().for_each(|(link, address)| self.apply(Event::NeighbourGone(link, address)));
            }
            Subject::Routes { table, v6 } => {
                let dump = self.dump;
                let Some(known) = self.tables.get_mut(&table) else { return };
                self.known.insert((table, v6));
                let gone = known.sweep(dump, |prefix| prefix.is_ipv6() == v6);
                if !gone.is_empty() {
                    self.dirty.routes.entry(table).or_default().extend(gone);
                }
            }
        }
    }

    /// A notification.
    pub fn apply(&mut self, event: Event) {
        match event {
            Event::Link(link) => {
                let before = self.links.get(&link.index);
                if before == Some(&link) {
                    return;
                }
                let usable = |link: &Link| link.up && link.carrier;
                // IPv4 routes of a link that goes down vanish without a word.
                self.stale.routes |= before.is_some_and(usable) && !usable(&link);
                self.dirty.links.insert(link.index);
                self.links.insert(link.index, link);
            }
            Event::LinkGone(index) => {
                if self.links.remove(&index).is_some() {
                    self.stale.routes = true;
                    self.dirty.links.insert(index);
                }
                self.addresses.retain(|(link, _)| *link != index);
                let neighbours = self.neighbours.extract_if(|(link, _), _| *link == index);
                self.dirty.neighbours.extend(neighbours.map(|(key, _)| key));
            }
            Event::Address(link, network) => {
                if self.addresses.insert((link, network)) {
                    self.dirty.links.insert(link);
                }
            }
            Event::AddressGone(link, network) => {
                if self.addresses.remove(&(link, network)) {
                    self.stale.routes = true;
                    self.dirty.links.insert(link);
                }
            }
            Event::Neighbour(link, address, neighbour) => {
                if self.neighbours.insert((link, address), neighbour) != Some(neighbour) {
                    self.dirty.neighbours.insert((link, address));
                }
            }
            Event::NeighbourGone(link, address) => {
                if self.neighbours.remove(&(link, address)).is_some() {
                    self.dirty.neighbours.insert((link, address));
                }
            }
            Event::Route(table, prefix, route, how) => {
                let route = self.shared(route);
                let dump = self.dump;
                let Some(known) = self.tables.get_mut(&table) else { return };
                let outcome = known.add(prefix, route, how, dump);
                self.note(table, prefix, outcome);
            }
            Event::RouteGone(table, prefix, route) => {
                let Some(known) = self.tables.get_mut(&table) else { return };
                let outcome = known.remove(prefix, &route);
                self.note(table, prefix, outcome);
            }
            Event::NextHopObject => self.stale.routes = true,
        }
    }

    /// A notification that came while a dump ran: the dump may have it already.
    ///
    /// A route that was put in the place of another and removed again can't be told from one that never was, if the dump
    /// has it neither way: applied to the dump, it would take away what came after it. That wants another dump.
    pub fn apply_again(&mut self, event: Event) {
        match event {
            Event::Route(table, prefix, _, How::Replace) => {
                self.apply(event);
                self.replaced.insert((table, prefix));
            }
            Event::RouteGone(table, prefix, _) => {
                let stale = self.stale;
                self.apply(event);
                self.stale = Stale { routes: stale.routes || self.replaced.contains(&(table, prefix)) };
            }
            event => self.apply(event),
        }
    }

    fn note(&mut self, table: u32, prefix: IpNetwork, outcome: Outcome) {
        match outcome {
            Outcome::Changed => {
                self.dirty.routes.entry(table).or_default().insert(prefix);
            }
            Outcome::Same => {}
            Outcome::Missed => self.stale.routes = true,
        }
    }

    /// The route with hops that others have too.
    fn shared(&mut self, route: Route) -> Route {
        self.untold |= route.kind == Kind::Untold;
        let hops = match self.hops.get(&route.hops) {
            Some(hops) => Arc::clone(hops),
            None => {
                const FEW: usize = 1024;
                if self.hops.len() > self.hops_pruned_at.max(FEW) {
                    self.hops.retain(|hops| Arc::strong_count(hops) > 1);
                    self.hops_pruned_at = 2 * self.hops.len();
                }
                self.hops.insert(Arc::clone(&route.hops));
                Arc::clone(&route.hops)
            }
        };
        Route { hops, ..route }
    }
}
