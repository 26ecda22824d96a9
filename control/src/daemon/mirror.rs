//! The kernel's routes and neighbours in the dataplane, on the thread that hears the kernel.
//!
//! What is dirty in the model becomes changes of the dataplane's routes, in batches. Neighbours that the kernel calls stale are
//! confirmed: it does not see the traffic that uses them, and would forget them, or believe in them for ever.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sekisho_dataplane::route::{Change, LinkId, RouteKind};
use serde::{Deserialize, Serialize};

use super::silence::Silence;
use crate::netlink::{self, Dirty, Interfaces, LOCAL, Listener, MAIN, Model, Wanted};
use crate::routing::{Released, StaticRoutes};
use crate::twin::{LinkMap, Mapping};

/// Changes that are made in one go: readers' ids are given back in between.
const BATCH: usize = 4096;
/// Between two rounds of asking after stale neighbours, and how many are asked after in one.
const ROUND: Duration = Duration::from_secs(1);
const ASKED: usize = 256;
/// Next hops that are remembered as asked for.
const MOST_HOPS: usize = 1 << 16;

/// Routes that the configuration and the kernel share.
pub(super) type SharedRoutes = Arc<Mutex<StaticRoutes>>;

/// What is mirrored, for `status` and the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct MirrorRead {
    /// Routes of IPv4 in the dataplane.
    pub routes_v4: usize,
    /// Routes of IPv6.
    pub routes_v6: usize,
    /// Neighbours whose MAC is known.
    pub neighbours: usize,
    /// Links that work.
    pub links: usize,
    /// Batches of changes since the start.
    pub batches: u64,
    /// Changes in them.
    pub changes: u64,
    /// Changes that the dataplane refused.
    pub refused: u64,
    /// How long the last batch took, from hearing of it to the dataplane, in seconds.
    pub last_seconds: f64,
    /// The longest that one took.
    pub longest_seconds: f64,
}

/// See the module's documentation.
pub(super) struct Mirror {
    routes: SharedRoutes,
    mapping: Mapping,
    links: LinkMap,
    interfaces: Interfaces,
    silence: Arc<Silence>,
    silence_due: Instant,
    stale: HashSet<(u32, IpAddr)>,
    /// Next hops that have been asked for, so that their MACs are known before a packet needs them.
    hops: HashSet<(LinkId, IpAddr)>,
    next_round: Instant,
    read: MirrorRead,
}

impl Mirror {
    pub(super) fn new(
        routes: SharedRoutes,
        twins: impl IntoIterator<Item = (String, usize)>,
        links: LinkMap,
        silence: Arc<Silence>,
    ) -> io::Result<Mirror> {
        Ok(Mirror {
            routes,
            mapping: Mapping::new(twins),
            links,
            interfaces: Interfaces::open()?,
            silence,
            silence_due: Instant::now(),
            stale: HashSet::new(),
            hops: HashSet::new(),
            next_round: Instant::now(),
            read: MirrorRead::default(),
        })
    }

    /// The kernel's tables that it needs.
    pub(super) fn tables() -> BTreeSet<u32> {
        [MAIN, LOCAL].into()
    }

    fn routes(&self) -> MutexGuard<'_, StaticRoutes> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings the dataplane to what is known now of what is dirty.
    pub(super) fn follow(&mut self, model: &Model, dirty: &Dirty) {
        // Before a link is told that could be forwarded by.
        self.silence.follow(model, dirty);
        let begun = Instant::now();
        let changes = self.mapping.changes(model, dirty);
        self.apply(&changes, begun);
        if !dirty.links.is_empty() {
            let links: HashMap<LinkId, u32> = self.mapping.interfaces().collect();
            *self.links.lock().unwrap_or_else(PoisonError::into_inner) = links;
        }
        for &(link, address) in &dirty.neighbours {
            let stale =
                self.mapping.is_up(link) && model.neighbour(link, address).is_some_and(|known| known.stale);
            match stale {
                true => self.stale.insert((link, address)),
                false => self.stale.remove(&(link, address)),
            };
        }
        self.resolve_hops(model, &changes);
    }

    /// Asks for the MACs of next hops that are new: a route that moves to one loses no packet to the question.
    fn resolve_hops(&mut self, model: &Model, changes: &[Change]) {
        if self.hops.len() > MOST_HOPS {
            self.hops.clear();
        }
        for change in changes {
            match change {
                Change::SetRoute { kind: RouteKind::Unicast(hops), .. } => {
                    for (link, via) in hops.iter().filter_map(|hop| Some((hop.link, hop.via?))) {
                        if !self.hops.insert((link, via)) {
                            continue;
                        }
                        let Some(index) = self.mapping.interface(link) else { continue };
                        if model.neighbour(index, via).is_none_or(|known| known.mac.is_none()) {
                            // What comes of it is a notification.
                            let _ = self.interfaces.resolve(index, via);
                        }
                    }
                }
                // Whoever leads there next asks again.
                Change::RemoveNeighbour { link, address } => drop(self.hops.remove(&(*link, *address))),
                Change::LinkDown(link) => self.hops.retain(|(of, _)| of != link),
                _ => {}
            }
        }
    }

    fn apply(&mut self, changes: &[Change], begun: Instant) {
        for batch in changes.chunks(BATCH) {
            let (changes, refused) = self.routes().mirror(batch);
            self.read.batches += 1;
            self.read.changes += changes as u64;
            self.read.refused += refused as u64;
        }
        if !changes.is_empty() {
            self.read.last_seconds = begun.elapsed().as_secs_f64();
            self.read.longest_seconds = self.read.longest_seconds.max(self.read.last_seconds);
        }
    }

    /// Puts what the kernel says, as far as it is known, in place of what the configuration no longer does.
    pub(super) fn release(&mut self, released: &Released, model: &Model) {
        let changes = self.mapping.released(model, released);
        self.apply(&changes, Instant::now());
        self.resolve_hops(model, &changes);
    }

    /// What is to be done again and again; when it is next.
    pub(super) fn tend(&mut self, now: Instant) -> Instant {
        if now >= self.next_round {
            self.next_round = now + ROUND;
            self.silence.renew(&mut self.silence_due, now);
            self.routes().routes.reclaim();
            let some: Vec<(u32, IpAddr)> = self.stale.iter().take(ASKED).copied().collect();
            for (link, address) in some {
                // What comes of it is a notification: confirmed, or failed.
                let _ = self.interfaces.resolve(link, address);
                self.stale.remove(&(link, address));
            }
        }
        self.next_round
    }

    /// What is mirrored.
    pub(super) fn read(&mut self) -> MirrorRead {
        let (counts, neighbours, links) = {
            let routes = self.routes();
            (routes.routes.counts(), routes.routes.neighbours().count(), routes.routes.links().count())
        };
        (self.read.routes_v4, self.read.routes_v6) = counts;
        (self.read.neighbours, self.read.links) = (neighbours, links);
        self.read
    }

    /// Someone who asks the kernel for everything anew.
    pub(super) fn second_listener() -> io::Result<Listener> {
        let wanted = Wanted { tables: Mirror::tables(), neighbours: true };
        Listener::open(wanted, netlink::ROOM)
    }

    /// What knows which interfaces of the kernel are links.
    pub(super) fn mapping(&self) -> Mapping {
        self.mapping.clone()
    }

    /// The routes that it changes.
    pub(super) fn shared(&self) -> SharedRoutes {
        Arc::clone(&self.routes)
    }
}
