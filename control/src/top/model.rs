//! What the screen shows: the last sample, and rates from the one before.

use super::feed::{Heard, Sample};
use super::history::GenerationRow;
use crate::config::parse_instant;
use crate::daemon::Awaited;
use crate::rpc::methods::status::WorkerStatus;

/// What pools are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    #[default]
    Denied,
    Packets,
    Monitored,
    Name,
}

impl Sort {
    pub(super) fn word(self) -> &'static str {
        match self {
            Sort::Denied => "denied",
            Sort::Packets => "packets",
            Sort::Monitored => "monitored",
            Sort::Name => "name",
        }
    }

    fn next(self) -> Sort {
        match self {
            Sort::Denied => Sort::Packets,
            Sort::Packets => Sort::Monitored,
            Sort::Monitored => Sort::Name,
            Sort::Name => Sort::Denied,
        }
    }
}

/// A port's line. Rates are per second.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct PortRow {
    pub(super) name: String,
    pub(super) role: String,
    pub(super) received: f64,
    pub(super) received_bits: f64,
    pub(super) left: f64,
    pub(super) left_bits: f64,
    pub(super) missed: u64,
    pub(super) outage: Option<String>,
}

/// A reason's line.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ReasonRow {
    pub(super) reason: String,
    pub(super) rate: f64,
    pub(super) count: u64,
}

/// A worker's line. The share is none before two samples.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct WorkerRow {
    pub(super) worker: usize,
    pub(super) core: usize,
    pub(super) running: bool,
    pub(super) packets: f64,
    pub(super) busy: Option<f64>,
}

/// A pool's line.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct PoolRow {
    pub(super) name: String,
    pub(super) title: String,
    pub(super) packets: f64,
    pub(super) denied: f64,
    pub(super) monitored: f64,
    pub(super) denied_count: u64,
    pub(super) packet_count: u64,
}

/// A phase's line.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct PhaseRow {
    pub(super) policy: String,
    pub(super) name: String,
    pub(super) begun: bool,
    /// Seconds until it begins, or since it did.
    pub(super) seconds: f64,
}

/// All that is shown of one daemon at one instant.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Scene {
    pub(super) version: String,
    pub(super) generation: u64,
    pub(super) since: String,
    /// What comes back by itself, if it is not confirmed.
    pub(super) awaited: Option<Awaited>,
    pub(super) reloads: u64,
    pub(super) refused: u64,
    pub(super) uptime: f64,
    pub(super) now: String,
    pub(super) ports: Vec<PortRow>,
    pub(super) denies: Vec<ReasonRow>,
    pub(super) workers: Vec<WorkerRow>,
    pub(super) pools: Vec<PoolRow>,
    pub(super) phases: Vec<PhaseRow>,
    /// The latest first.
    pub(super) generations: Vec<GenerationRow>,
}

/// The model.
#[derive(Debug, Default)]
pub(super) struct Screen {
    pub(super) scene: Scene,
    pub(super) sort: Sort,
    pub(super) help: bool,
    /// The last generations are shown, in the place of traffic.
    pub(super) history: bool,
    pub(super) paused: bool,
    /// Why the daemon can't be asked, if it can't.
    pub(super) gone: Option<String>,
    /// No keys: the frame is printed.
    pub(super) plain: bool,
    pub(super) last: Option<Box<Sample>>,
}

/// Per second. A counter that is lower than before belongs to a daemon that was started anew.
fn rate(now: u64, before: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { now.saturating_sub(before) as f64 / seconds } else { 0.0 }
}

impl Screen {
    pub(super) fn pause(&mut self) {
        self.paused = !self.paused;
    }

    pub(super) fn sort_by_next(&mut self) {
        self.sort = self.sort.next();
        self.arrange();
    }

    pub(super) fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Gone(why) => {
                self.gone = Some(why);
                self.last = None;
            }
            Heard::Sample(sample) => {
                self.gone = None;
                let same = |last: &Sample| {
                    last.status.pid == sample.status.pid && last.status.started == sample.status.started
                };
                let before = self.last.take().filter(|last| same(last));
                if !self.paused {
                    self.scene = Scene::of(&sample, before.as_deref());
                    self.arrange();
                }
                self.last = Some(sample);
            }
        }
    }

    pub(super) fn arrange(&mut self) {
        let sort = self.sort;
        self.scene.pools.sort_by(|a, b| {
            let key = |row: &PoolRow| match sort {
                Sort::Denied => (row.denied, row.denied_count as f64),
                Sort::Packets => (row.packets, row.packet_count as f64),
                Sort::Monitored => (row.monitored, 0.0),
                Sort::Name => (0.0, 0.0),
            };
            let ((a1, a2), (b1, b2)) = (key(a), key(b));
            b1.total_cmp(&a1).then(b2.total_cmp(&a2)).then_with(|| a.name.cmp(&b.name))
        });
    }
}

impl Scene {
    pub(super) fn of(now: &Sample, before: Option<&Sample>) -> Scene {
        let seconds = before.map_or(0.0, |before| now.at.duration_since(before.at).as_secs_f64());
        let status = &now.status;
        Scene {
            version: status.version.clone(),
            generation: status.generation,
            since: status.in_force_since.clone(),
            awaited: status.confirmation,
            reloads: status.reloads,
            refused: status.reloads_refused,
            uptime: status.uptime_seconds,
            now: now.phases.now.clone(),
            ports: ports(now, before, seconds),
            denies: denies(now, before, seconds),
            workers: workers(now, before, seconds),
            pools: pools(now, before, seconds),
            phases: phases(now),
            generations: status
                .generations
                .iter()
                .map(|record| GenerationRow::of(record, status.confirmation))
                .collect(),
        }
    }
}

fn ports(now: &Sample, before: Option<&Sample>, seconds: f64) -> Vec<PortRow> {
    let ports = now.status.ports.iter().map(|port| {
        let old = before.and_then(|before| before.status.ports.iter().find(|old| old.name == port.name));
        let rate = |now: u64, old: Option<u64>| rate(now, old.unwrap_or(now), seconds);
        PortRow {
            name: port.name.clone(),
            role: port.role.clone(),
            received: rate(port.received_packets, old.map(|old| old.received_packets)),
            received_bits: 8.0 * rate(port.received_bytes, old.map(|old| old.received_bytes)),
            left: rate(port.transmitted_packets, old.map(|old| old.transmitted_packets)),
            left_bits: 8.0 * rate(port.transmitted_bytes, old.map(|old| old.transmitted_bytes)),
            missed: port.missed_packets,
            outage: port.outage.clone(),
        }
    });
    ports.collect()
}

fn denies(now: &Sample, before: Option<&Sample>, seconds: f64) -> Vec<ReasonRow> {
    let count = |sample: &Sample, reason: &str| -> u64 {
        let done = sample.counters.totals.reasons.get(reason);
        done.map_or(0, |done| {
            done.iter().filter(|(what, _)| *what != "forward").map(|(_, count)| count).sum()
        })
    };
    let rows = now.counters.totals.reasons.keys().map(|reason| {
        let denied = count(now, reason);
        let old = before.map_or(denied, |before| count(before, reason));
        ReasonRow { reason: reason.clone(), rate: rate(denied, old, seconds), count: denied }
    });
    let mut rows: Vec<ReasonRow> = rows.filter(|row| row.count > 0).collect();
    rows.sort_by(|a, b| b.rate.total_cmp(&a.rate).then(b.count.cmp(&a.count)));
    rows
}

fn workers(now: &Sample, before: Option<&Sample>, seconds: f64) -> Vec<WorkerRow> {
    let workers = now.status.workers.iter().map(|worker| {
        let old =
            before.and_then(|before| before.status.workers.iter().find(|old| old.worker == worker.worker));
        WorkerRow {
            worker: worker.worker,
            core: worker.core,
            running: worker.running,
            packets: rate(worker.packets, old.map_or(worker.packets, |old| old.packets), seconds),
            busy: old.and_then(|old| busy(worker, old, seconds)),
        }
    });
    workers.collect()
}

/// The share of the time between two samples that went to rounds with packets in them.
fn busy(now: &WorkerStatus, old: &WorkerStatus, seconds: f64) -> Option<f64> {
    let busy = now.time.busy_cycles.saturating_sub(old.time.busy_cycles) as f64;
    let idle = now.time.idle_cycles.saturating_sub(old.time.idle_cycles) as f64;
    if seconds <= 0.0 {
        return None;
    }
    let awake = 1.0 - ((now.asleep_seconds - old.asleep_seconds) / seconds).clamp(0.0, 1.0);
    Some(if busy + idle > 0.0 { awake * busy / (busy + idle) } else { 0.0 })
}

fn pools(now: &Sample, before: Option<&Sample>, seconds: f64) -> Vec<PoolRow> {
    let pools = now.pools.pools.iter().map(|pool| {
        let counted = pool.counted;
        let old = before.and_then(|before| before.pools.pools.iter().find(|old| old.name == pool.name));
        let old = old.map_or(counted, |old| old.counted);
        PoolRow {
            name: pool.name.clone(),
            title: pool.title.clone().unwrap_or_default(),
            packets: rate(counted.packets, old.packets, seconds),
            denied: rate(counted.denied, old.denied, seconds),
            monitored: rate(counted.would_deny, old.would_deny, seconds),
            denied_count: counted.denied,
            packet_count: counted.packets,
        }
    });
    pools.collect()
}

fn phases(now: &Sample) -> Vec<PhaseRow> {
    let clock = parse_instant(&now.phases.now).ok();
    let mut phases: Vec<PhaseRow> = now
        .phases
        .phases
        .iter()
        .map(|phase| {
            let from = parse_instant(&phase.from).ok();
            let seconds =
                from.zip(clock).map_or(0.0, |(from, clock)| from.saturating_sub(clock) as f64 / 1e6);
            PhaseRow {
                policy: phase.policy.clone(),
                name: phase.name.clone(),
                begun: phase.begun,
                seconds: if phase.begun { -seconds } else { seconds },
            }
        })
        .collect();
    // The next first; then those in force, the newest first.
    phases.sort_by(|a, b| a.begun.cmp(&b.begun).then(a.seconds.total_cmp(&b.seconds)));
    phases
}
