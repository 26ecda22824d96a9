//! The one registry of what is counted: status, counters, subscriptions, metrics and the summary all read it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use sekisho_dataplane::counters::{PoolTotals, Totals, WorkerCounters};
use sekisho_dataplane::cycles;
use sekisho_dataplane::pipeline::Common;
use sekisho_dataplane::policy::{PoolId, PortId};
use sekisho_dataplane::port::xdp::{Census, XdpManner};
use sekisho_dataplane::port::{Outage, PortState, PortStatistics, PortWatch};
use sekisho_dataplane::route::punt::{PuntClass, ShareCounts};
use sekisho_dataplane::worker::Pulse;

use serde::{Deserialize, Serialize};

use super::kernel::KernelBooks;
use super::workers::Life;
use crate::affected::Affected;
use crate::clock;
use crate::twin::FerryCounts;

/// What one worker shows of itself.
#[derive(Debug)]
pub struct WorkerBooks {
    /// Its core.
    pub core: usize,
    /// What it counts.
    pub counters: Arc<WorkerCounters>,
    /// That it goes on.
    pub pulse: Arc<Pulse>,
    /// Whether it does.
    pub(super) life: Arc<Life>,
    /// By port: what its driver shows, if it does.
    pub(super) watches: Vec<Option<PortWatch>>,
}

impl WorkerBooks {
    /// Where its frames of driver `xdp` are.
    pub fn frames(&self) -> Option<Census> {
        self.watches.iter().flatten().find_map(PortWatch::frames)
    }

    /// Whether it still polls its ports.
    pub fn is_running(&self) -> bool {
        self.life.is_running()
    }
}

/// Bounds of the histogram of reloads, in seconds: a few prefixes take a millisecond, the Internet's some hundred.
const RELOAD_BOUNDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// What became of reloads.
#[derive(Debug, Default)]
pub struct Reloads(Mutex<ReloadsRead>);

/// Reloads, at one reading.
#[derive(Clone, Debug)]
pub struct ReloadsRead {
    /// So many put a generation in force.
    pub done: u64,
    /// So many changed nothing.
    pub refused: u64,
    /// How long those that were done took together.
    pub seconds: f64,
    /// By upper bound in seconds, and not added up.
    pub buckets: Vec<(f64, u64)>,
}

impl Default for ReloadsRead {
    fn default() -> ReloadsRead {
        let bounds = RELOAD_BOUNDS.into_iter().chain([f64::INFINITY]);
        ReloadsRead { done: 0, refused: 0, seconds: 0.0, buckets: bounds.map(|bound| (bound, 0)).collect() }
    }
}

impl Reloads {
    fn with<T>(&self, look: impl FnOnce(&mut ReloadsRead) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Books one that took so long.
    pub(super) fn done(&self, seconds: f64) {
        self.with(|reloads| {
            reloads.done += 1;
            reloads.seconds += seconds;
            if let Some((_, count)) = reloads.buckets.iter_mut().find(|(bound, _)| seconds <= *bound) {
                *count += 1;
            }
        });
    }

    /// Books one that changed nothing.
    pub(super) fn refused(&self) {
        self.with(|reloads| reloads.refused += 1);
    }

    /// What was booked so far.
    pub fn read(&self) -> ReloadsRead {
        self.with(|reloads| reloads.clone())
    }
}

/// A thread beside the workers that a fault of ours has ended.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct FailedThread {
    /// Its name.
    pub thread: String,
    /// What is not done any more.
    pub what: String,
    /// What was said.
    pub why: String,
}

/// What was carried between workers and twins, and what was not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct TwinsRead {
    /// Frames for the router itself that the kernel was given.
    pub to_kernel: u64,
    /// Frames that it did not take: the twin was down, or full.
    pub refused: u64,
    /// Frames for the router itself over their share of a second.
    pub limited: u64,
    /// Frames for the router itself that found no place on their way.
    pub full: u64,
    /// Frames that the kernel sent.
    pub from_kernel: u64,
    /// Of these, lost on the way to their port.
    pub unsent: u64,
    /// Addresses that workers wanted to know the MACs of.
    pub wanted: u64,
    /// Addresses that they wanted to know them of as well, and that were too many.
    pub wants_lost: u64,
}

/// Frames for the router itself of one class that came by one port.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct PuntsRead {
    /// `neighbours`, `routing` or `rest`.
    pub class: String,
    /// Handed over by workers.
    pub punted: u64,
    /// Over the port's share of a second.
    pub limited: u64,
    /// Over its share of the places.
    pub full: u64,
}

/// What all workers show.
pub struct Books {
    /// By number.
    pub workers: Vec<WorkerBooks>,
    /// When the daemon started, in UTC microseconds.
    pub started_micros: i64,
    /// What became of reloads.
    pub reloads: Reloads,
    started: Instant,
    started_ticks: u64,
    /// Who is denied, or would be; none if nobody is booked.
    pub affected: Option<Affected>,
    pub(super) common: Arc<Common>,
    /// What was carried between workers and twins.
    pub ferry: Arc<FerryCounts>,
    /// What is known of the kernel's tables.
    pub kernel: KernelBooks,
    /// Routes and neighbours of the configuration that are not in force, and why.
    pub(crate) routes_refused: Mutex<Vec<String>>,
    failed_threads: Mutex<Vec<FailedThread>>,
    /// Grants that are not over, as far as the tables' thread has looked.
    pub(crate) grants: AtomicUsize,
}

impl Books {
    pub(super) fn new(workers: Vec<WorkerBooks>, common: Arc<Common>, affected: Option<Affected>) -> Books {
        Books {
            workers,
            started_micros: clock::now(),
            reloads: Reloads::default(),
            started: Instant::now(),
            started_ticks: cycles::ticks(),
            affected,
            common,
            ferry: Arc::default(),
            kernel: KernelBooks::default(),
            routes_refused: Mutex::default(),
            failed_threads: Mutex::default(),
            grants: AtomicUsize::new(0),
        }
    }

    pub(super) fn note_failed(&self, failed: FailedThread) {
        self.failed_threads.lock().unwrap_or_else(PoisonError::into_inner).push(failed);
    }

    /// Threads beside the workers that a fault of ours has ended.
    pub fn failed_threads(&self) -> Vec<FailedThread> {
        self.failed_threads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Books of workers that this process drives by itself, as benches do.
    pub fn of_counters(counters: impl IntoIterator<Item = Arc<WorkerCounters>>, ports: usize) -> Books {
        let workers = counters.into_iter().enumerate().map(|(core, counters)| WorkerBooks {
            core,
            counters,
            pulse: Arc::default(),
            life: Arc::default(),
            watches: Vec::new(),
        });
        let common = Common::new(ports, sekisho_dataplane::RejectLimits::default());
        Books::new(workers.collect(), Arc::new(common), None)
    }

    /// Ticks of the stage clock in a second, as they were since the start.
    pub fn ticks_per_second(&self) -> f64 {
        cycles::ticks().wrapping_sub(self.started_ticks) as f64 / self.uptime_seconds()
    }

    /// For how many seconds the daemon has been running, however the clock was set meanwhile.
    pub fn uptime_seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    fn counters(&self) -> impl Iterator<Item = &WorkerCounters> {
        self.workers.iter().map(|worker| &*worker.counters)
    }

    /// Everything.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::of(self.counters());
        self.workers.iter().flat_map(|worker| worker.watches.iter().flatten()).for_each(|watch| {
            add_driver(&mut totals, watch);
        });
        totals
    }

    /// One port, all workers.
    pub fn port(&self, port: PortId) -> Totals {
        let mut totals = Totals::of_port(self.counters(), port);
        self.watches(port).for_each(|watch| add_driver(&mut totals, watch));
        totals
    }

    /// One pool, all workers.
    pub fn pool(&self, pool: PoolId) -> PoolTotals {
        PoolTotals::of(self.counters(), pool)
    }

    /// One port, one worker.
    pub fn port_of_worker(&self, worker: usize, port: PortId) -> Totals {
        let worker = &self.workers[worker];
        let mut totals = Totals::of_port([&*worker.counters], port);
        if let Some(Some(watch)) = worker.watches.get(usize::from(port.0)) {
            add_driver(&mut totals, watch);
        }
        totals
    }

    fn watches(&self, port: PortId) -> impl Iterator<Item = &PortWatch> {
        self.workers.iter().filter_map(move |worker| worker.watches.get(usize::from(port.0))?.as_ref())
    }

    /// Why a port does not work, or none if it does.
    pub fn outage(&self, port: PortId) -> Option<String> {
        let down = self.watches(port).find_map(|watch| match watch.state() {
            PortState::Up => None,
            PortState::Down(outage) => Some(told(&outage)),
        });
        let down = down.or_else(|| (!self.common.has_link(port)).then(|| "down".to_owned()));
        down.or_else(|| (!self.common.answers(port)).then(|| "the filter does not answer".to_owned()))
    }

    /// How a port's interface is used by driver `xdp`: the same for all workers.
    pub fn manner(&self, port: PortId) -> Option<XdpManner> {
        self.watches(port).find_map(PortWatch::manner)
    }

    /// What was carried between workers and twins; none where there are none.
    pub fn twins(&self) -> Option<TwinsRead> {
        let punts = self.common.punts()?;
        let (counts, shares) = (punts.counts(), punts.all_shares());
        let read = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        Some(TwinsRead {
            to_kernel: read(&self.ferry.to_kernel),
            refused: read(&self.ferry.refused),
            limited: shares.limited,
            full: shares.full,
            from_kernel: read(&self.ferry.from_kernel),
            unsent: counts.unsent,
            wanted: counts.wanted,
            wants_lost: counts.wants_lost,
        })
    }

    /// Frames for the router itself that came by a port, by class; none where the port has no twin.
    pub fn punts(&self, port: PortId) -> Option<Vec<PuntsRead>> {
        let punts = self.common.punts().filter(|punts| punts.is_taken(port))?;
        let classes = PuntClass::ALL.into_iter().map(|class| {
            let ShareCounts { punted, limited, full } = punts.share(port, class);
            PuntsRead { class: class.name().to_owned(), punted, limited, full }
        });
        Some(classes.collect())
    }

    /// What a port's driver counted, if it counts by itself.
    pub fn statistics(&self, port: PortId) -> Option<PortStatistics> {
        self.watches(port).map(PortWatch::statistics).reduce(|a, b| PortStatistics {
            kernel_drops: a.kernel_drops + b.kernel_drops,
            receive_ring_full: a.receive_ring_full + b.receive_ring_full,
            fill_ring_empty: a.fill_ring_empty + b.fill_ring_empty,
            truncated: a.truncated + b.truncated,
            merged: a.merged + b.merged,
            checksum_completed: a.checksum_completed + b.checksum_completed,
            checksum_incomplete: a.checksum_incomplete + b.checksum_incomplete,
            unreadable: a.unreadable + b.unreadable,
            oversize: a.oversize + b.oversize,
            transmit_full: a.transmit_full + b.transmit_full,
            transmit_failed: a.transmit_failed + b.transmit_failed,
            transmit_down: a.transmit_down + b.transmit_down,
            queued_lost: a.queued_lost + b.queued_lost,
            queued_lost_bytes: a.queued_lost_bytes + b.queued_lost_bytes,
        })
    }
}

/// The pipeline counts what it is given; the driver knows of the rest.
fn add_driver(totals: &mut Totals, watch: &PortWatch) {
    let counted = watch.statistics();
    totals.add_driver(counted.receive_errors(), counted.queued_lost, counted.queued_lost_bytes);
}

fn told(outage: &Outage) -> String {
    match outage {
        Outage::Absent => "the interface is not there".to_owned(),
        Outage::Disabled => "the interface is switched off".to_owned(),
        Outage::NoCarrier => "no carrier".to_owned(),
        Outage::Opening => "being opened".to_owned(),
        Outage::Refused(error) => error.to_string(),
    }
}
