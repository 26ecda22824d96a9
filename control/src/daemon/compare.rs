//! Compares the dataplane's routes and neighbours with the kernel's, entry by entry, while both change.
//!
//! The kernel is asked for everything anew, on sockets of its own and on a thread of its own: the one that mirrors goes on, and is only asked
//! to have done what it has heard. The dataplane's routes are read a page at a time, and between two pages they are anybody's. So a
//! route that changes meanwhile may differ; what differs is looked at again, and what has changed by then is the
//! same on both sides.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ipnetwork::IpNetwork;
use sekisho_dataplane::route::LinkId;
use serde::{Deserialize, Serialize};

use super::mirror::SharedRoutes;
use crate::netlink::{LOCAL, Listener, MAIN, Model};
use crate::routing::StaticRoutes;
use crate::twin::Mapping;

/// Routes that are read in one go: about a millisecond.
const PAGE: usize = 4096;
/// Differences that are named.
const NAMED: usize = 10;
/// How often what differs is looked at again, and after how long.
const LOOKS: usize = 5;
const BETWEEN: Duration = Duration::from_millis(50);

/// What a comparison with the kernel found.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Compared {
    /// Routes that the kernel wants in the dataplane.
    pub kernel_routes: usize,
    /// Routes that are there, but for those of the configuration.
    pub mirrored_routes: usize,
    /// Neighbours that the kernel knows on links that work.
    pub kernel_neighbours: usize,
    /// Neighbours in the dataplane.
    pub mirrored_neighbours: usize,
    /// What is in the one and not in the other, or otherwise.
    pub differing: usize,
    /// Some of these.
    pub named: Vec<String>,
    /// How long it took.
    pub seconds: f64,
}

/// What may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Route(IpNetwork),
    Neighbour(LinkId, IpAddr),
}

/// Compares. `catch_up` has the mirror do what it has heard, and gives its mapping then.
///
/// # Errors
/// When the kernel can't be asked.
pub(super) fn compare(
    routes: &SharedRoutes,
    mut kernel: Listener,
    catch_up: impl Fn() -> io::Result<Mapping>,
) -> io::Result<Compared> {
    let begun = Instant::now();
    let look = |kernel: &mut Listener| {
        kernel.turn(&mut |_| {})?;
        let mapping = catch_up()?;
        kernel.turn(&mut |_| {})?;
        io::Result::Ok(mapping)
    };
    let mapping = look(&mut kernel)?;
    let mut found = Compared::default();
    let mut differing = everything(routes, &mapping, kernel.model(), &mut found);
    for _ in 1..LOOKS {
        if differing.is_empty() {
            break;
        }
        std::thread::sleep(BETWEEN);
        let mapping = look(&mut kernel)?;
        let some: Vec<Subject> = differing.iter().copied().collect();
        for page in some.chunks(PAGE) {
            let routes = locked(routes);
            let same = page
                .iter()
                .filter(|subject| difference(&routes, &mapping, kernel.model(), **subject).is_none());
            for subject in same {
                differing.remove(subject);
            }
        }
    }
    let mapping = catch_up()?;
    let routes = locked(routes);
    let named =
        differing.iter().filter_map(|subject| difference(&routes, &mapping, kernel.model(), *subject));
    found.named = named.take(NAMED).collect();
    found.differing = differing.len();
    found.seconds = begun.elapsed().as_secs_f64();
    Ok(found)
}

fn locked(routes: &SharedRoutes) -> MutexGuard<'_, StaticRoutes> {
    routes.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All that there is on either side; gives what differs.
fn everything(
    routes: &SharedRoutes,
    mapping: &Mapping,
    model: &Model,
    found: &mut Compared,
) -> BTreeSet<Subject> {
    let mut differing = BTreeSet::new();
    let mut last = None;
    loop {
        let page: Vec<_> = {
            let routes = locked(routes);
            let entries = routes.routes.entries_behind(last).take(PAGE);
            entries.map(|entry| (routes.fixes_route(&entry.prefix), entry)).collect()
        };
        let Some((_, end)) = page.last() else { break };
        last = Some(end.prefix);
        for (_, entry) in page.into_iter().filter(|(fixed, _)| !fixed) {
            found.mirrored_routes += 1;
            if mapping.wanted(model, entry.prefix).as_ref() != Some(&entry.kind) {
                differing.insert(Subject::Route(entry.prefix));
            }
        }
    }
    let only_main = model.routes(MAIN).filter(|(prefix, _)| model.best(LOCAL, prefix).is_none());
    let mut prefixes = model.routes(LOCAL).chain(only_main).map(|(prefix, _)| prefix).peekable();
    while prefixes.peek().is_some() {
        let wanted: Vec<_> = prefixes
            .by_ref()
            .take(PAGE)
            .filter_map(|prefix| Some((prefix, mapping.wanted(model, prefix)?)))
            .collect();
        let routes = locked(routes);
        for (prefix, kind) in wanted.into_iter().filter(|(prefix, _)| !routes.fixes_route(prefix)) {
            found.kernel_routes += 1;
            if routes.routes.route(&prefix).as_ref() != Some(&kind) {
                differing.insert(Subject::Route(prefix));
            }
        }
    }
    let known = mapping.all_neighbours(model);
    let routes = locked(routes);
    let there = routes.routes.neighbours();
    let there = there.filter(|known| !routes.fixes_neighbour(known.link, known.address));
    found.mirrored_neighbours = there.count();
    for ((link, address), _) in known {
        if !routes.fixes_neighbour(link, address) {
            found.kernel_neighbours += 1;
            let subject = Subject::Neighbour(link, address);
            if difference(&routes, mapping, model, subject).is_some() {
                differing.insert(subject);
            }
        }
    }
    differing
}

/// What differs, in words.
fn difference(routes: &StaticRoutes, mapping: &Mapping, model: &Model, subject: Subject) -> Option<String> {
    match subject {
        Subject::Route(prefix) => {
            let (kernel, ours) = (mapping.wanted(model, prefix), routes.routes.route(&prefix));
            let differs = kernel != ours && !routes.fixes_route(&prefix);
            let shown = |kind: Option<_>| kind.map_or("nothing".to_owned(), |kind| format!("{kind:?}"));
            differs.then(|| format!("{prefix}: the kernel {}, the dataplane {}", shown(kernel), shown(ours)))
        }
        Subject::Neighbour(link, address) => {
            let kernel = mapping.mac(model, link, address);
            let ours = routes.routes.neighbour(link, address);
            // What the kernel no longer knows is no difference: it is forgotten when the notification comes.
            let differs = kernel.is_some() && kernel != ours && !routes.fixes_neighbour(link, address);
            differs.then(|| format!("{address} on link {}: other neighbours", link.0))
        }
    }
}
