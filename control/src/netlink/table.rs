//! The routes to the prefixes of one table, in the kernel's order.
//!
//! The kernel keeps several routes to a prefix: of other metrics, of other types of service, and of the same metric behind
//! one another. What holds is the first with the lowest metric. To know which one holds when that goes, all have to be known.

use std::collections::HashMap;
use std::collections::hash_map::Entry as MapEntry;
use std::sync::Arc;

use ipnetwork::IpNetwork;

use super::route::{Best, Hop, How, Kind, Route};

/// Routes to one prefix; mostly one.
#[derive(Clone, Debug)]
enum Routes {
    One(Route),
    Many(Vec<Route>),
}

#[derive(Clone, Debug)]
struct Entry {
    routes: Routes,
    /// The last dump that named it, or the one that runs when a notification did.
    seen: u32,
}

/// A table.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    entries: HashMap<IpNetwork, Entry>,
}

/// What a change comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Another route holds now.
    Changed,
    /// The same one does.
    Same,
    /// What was to go is not there: something has been missed.
    Missed,
}

impl Routes {
    fn as_slice(&self) -> &[Route] {
        match self {
            Routes::One(route) => std::slice::from_ref(route),
            Routes::Many(routes) => routes,
        }
    }

    fn from(mut routes: Vec<Route>) -> Option<Routes> {
        match routes.len() {
            0 => None,
            1 => routes.pop().map(Routes::One),
            _ => Some(Routes::Many(routes)),
        }
    }

    fn best(&self) -> Option<&Route> {
        let usable = self.as_slice().iter().filter(|route| route.tos == 0 && route.kind != Kind::Throw);
        // The first of several with the same metric.
        usable.min_by_key(|route| route.metric)
    }
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What holds for a prefix.
    pub(super) fn best(&self, prefix: &IpNetwork) -> Option<Best> {
        let route = self.entries.get(prefix)?.routes.best()?;
        Some(Best { kind: route.kind, hops: Arc::clone(&route.hops) })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (IpNetwork, Best)> {
        self.entries.iter().filter_map(|(prefix, entry)| {
            let route = entry.routes.best()?;
            Some((*prefix, Best { kind: route.kind, hops: Arc::clone(&route.hops) }))
        })
    }

    /// A dump named a route. The first one for a prefix replaces what was known before this dump.
    pub(super) fn dumped(&mut self, prefix: IpNetwork, route: Route, dump: u32) -> Outcome {
        let entry = match self.entries.entry(prefix) {
            MapEntry::Vacant(free) => {
                free.insert(Entry { routes: Routes::One(route), seen: dump });
                return Outcome::Changed;
            }
            MapEntry::Occupied(taken) => taken.into_mut(),
        };
        let before = entry.routes.best().cloned();
        if entry.seen == dump {
            let mut routes = entry.routes.as_slice().to_vec();
            routes.push(route);
            entry.routes = Routes::Many(routes);
        } else {
            entry.routes = Routes::One(route);
            entry.seen = dump;
        }
        outcome(before.as_ref(), entry.routes.best())
    }

    /// Forgets what a dump did not name; gives those prefixes. `is_dumped` says which prefixes it was about.
    pub(super) fn sweep(&mut self, dump: u32, is_dumped: impl Fn(&IpNetwork) -> bool) -> Vec<IpNetwork> {
        let gone = self.entries.iter().filter(|(prefix, entry)| entry.seen != dump && is_dumped(prefix));
        let gone: Vec<IpNetwork> = gone.map(|(prefix, _)| *prefix).collect();
        for prefix in &gone {
            self.entries.remove(prefix);
        }
        gone
    }

    /// A notification: there is a route.
    pub(super) fn add(&mut self, prefix: IpNetwork, route: Route, how: How, dump: u32) -> Outcome {
        let entry = match self.entries.entry(prefix) {
            MapEntry::Vacant(free) => {
                free.insert(Entry { routes: Routes::One(route), seen: dump });
                return Outcome::Changed;
            }
            MapEntry::Occupied(taken) => taken.into_mut(),
        };
        entry.seen = dump;
        let before = entry.routes.best().cloned();
        match &mut entry.routes {
            // Most changes are of this kind; nothing is allocated for them.
            Routes::One(only)
                if how == How::Replace && (only.metric, only.tos) == (route.metric, route.tos) =>
            {
                *only = route;
            }
            routes => {
                let mut all = routes.as_slice().to_vec();
                insert(&mut all, route, how, prefix.is_ipv6());
                entry.routes = Routes::Many(all);
            }
        }
        if let Routes::Many(all) = &mut entry.routes
            && all.len() == 1
            && let Some(only) = all.pop()
        {
            entry.routes = Routes::One(only);
        }
        outcome(before.as_ref(), entry.routes.best())
    }

    /// A notification: a route has gone.
    pub(super) fn remove(&mut self, prefix: IpNetwork, route: &Route) -> Outcome {
        let MapEntry::Occupied(mut taken) = self.entries.entry(prefix) else { return Outcome::Missed };
        let before = taken.get().routes.best().cloned();
        let mut all = taken.get().routes.as_slice().to_vec();
        let found =
            if prefix.is_ipv6() { remove_hops(&mut all, route) } else { remove_route(&mut all, route) };
        if !found {
            return Outcome::Missed;
        }
        match Routes::from(all) {
            None => {
                taken.remove();
                outcome(before.as_ref(), None)
            }
            Some(routes) => {
                let entry = taken.get_mut();
                entry.routes = routes;
                outcome(before.as_ref(), entry.routes.best())
            }
        }
    }
}

fn outcome(before: Option<&Route>, after: Option<&Route>) -> Outcome {
    let holds = |route: &Route| (route.kind, Arc::clone(&route.hops));
    if before.map(holds) == after.map(holds) { Outcome::Same } else { Outcome::Changed }
}

fn same_place(a: &Route, b: &Route) -> bool {
    (a.metric, a.tos) == (b.metric, b.tos)
}

/// IPv6 joins routes of one metric that have gateways; each notification names all hops of the joined one.
fn joins(route: &Route) -> bool {
    route.kind == Kind::Unicast && route.hops.iter().all(|hop| hop.via.is_some())
}

fn is_hop(hops: &[Hop], wanted: &Hop) -> bool {
    hops.iter().any(|hop| (hop.link, hop.via) == (wanted.link, wanted.via))
}

fn insert(all: &mut Vec<Route>, route: Route, how: How, v6: bool) {
    let same = |other: &Route| same_place(other, &route);
    match how {
        How::Replace => {
            let alike = all.iter().position(|other| same(other) && (!v6 || joins(other) == joins(&route)));
            match alike.or_else(|| all.iter().position(same)) {
                Some(at) => all[at] = route.clone(),
                None => all.push(route.clone()),
            }
            // Nothing is there twice: a notification that is applied a second time changes nothing.
            let first = all.iter().position(|other| *other == route);
            let mut at = 0;
            all.retain(|other| {
                at += 1;
                *other != route || Some(at - 1) == first
            });
        }
        How::Append | How::Create => {
            if v6 && joins(&route) {
                let meets = |other: &Route| {
                    same(other) && joins(other) && other.hops.iter().any(|hop| is_hop(&route.hops, hop))
                };
                if let Some(at) = all.iter().position(meets) {
                    all[at] = route;
                    return;
                }
            }
            if all.contains(&route) {
                return;
            }
            match all.iter().position(same) {
                Some(at) if how == How::Create && !v6 => all.insert(at, route),
                _ => all.push(route),
            }
        }
    }
}

/// The kernel names all of what goes. What is like it and not the same is another route.
fn remove_route(all: &mut Vec<Route>, route: &Route) -> bool {
    let found = all.iter().position(|other| other == route);
    found.map(|at| all.remove(at)).is_some()
}

/// IPv6 names the hops that go: one, or all of a route.
fn remove_hops(all: &mut Vec<Route>, route: &Route) -> bool {
    let holds = |other: &Route| {
        same_place(other, route)
            && other.kind == route.kind
            && (route.hops.is_empty() || route.hops.iter().any(|hop| is_hop(&other.hops, hop)))
    };
    let Some(at) = all.iter().position(holds) else { return false };
    let left: Vec<Hop> = all[at].hops.iter().filter(|hop| !is_hop(&route.hops, hop)).copied().collect();
    if left.is_empty() || route.hops.is_empty() {
        all.remove(at);
    } else {
        all[at].hops = left.into();
    }
    true
}
