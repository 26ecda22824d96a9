//! `status`: the daemon at a glance. Takes [`Nothing`], gives a [`Status`].

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use sekisho_dataplane::counters::Totals;
use sekisho_dataplane::policy::{PortId, Role};
use sekisho_dataplane::port::xdp::{Census, XdpManner};
use sekisho_dataplane::stages::{Stage, StageTotals};
use serde::{Deserialize, Serialize};

use super::{Answer, Nothing, Params, give};
use crate::clock;
use crate::config::{Driver, Port};
use crate::daemon::{Awaited, FailedThread, FilterHealth, KernelRead, PuntsRead, Recorded, TwinsRead, View};
use crate::outline::TableLine;
use crate::words;

/// What `status` gives.
#[derive(Debug, Deserialize, Serialize)]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// When it started, in UTC.
    pub started: String,
    /// For how long it has been running, in seconds.
    pub uptime_seconds: f64,
    /// The configuration in force.
    pub config: String,
    /// The file that the daemon was started with, and `reload` reads again.
    pub start_config: String,
    /// The generation in force.
    pub generation: u64,
    /// Since when, in UTC.
    pub in_force_since: String,
    /// What comes back by itself, if it is not confirmed.
    #[serde(default)]
    pub confirmation: Option<Awaited>,
    /// The last generations, the latest first.
    #[serde(default)]
    pub generations: Vec<Recorded>,
    /// Reloads that put a new generation in force.
    pub reloads: u64,
    /// Reloads that changed nothing, since something was wrong.
    pub reloads_refused: u64,
    /// `busy`, `adaptive` or `interrupt`.
    pub poll: String,
    /// Frames per burst, at most.
    pub batch: usize,
    /// The ports, in the order of the configuration.
    pub ports: Vec<PortStatus>,
    /// The workers.
    pub workers: Vec<WorkerStatus>,
    /// All ports together.
    pub totals: Sums,
    /// Phases at a glance.
    pub phases: PhaseCount,
    /// Grants that are not over.
    pub grants: usize,
    /// The tables.
    pub tables: Vec<TableLine>,
    /// Bytes that they take.
    pub memory_bytes: usize,
    /// The kernel's tables, if any are followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<KernelRead>,
    /// In route mode: what was carried between workers and the kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub twins: Option<TwinsRead>,
    /// Routes and neighbours of the configuration that are not in force, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes_refused: Vec<String>,
    /// Threads beside the workers that have panicked: what they did is not done until a restart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed_threads: Vec<FailedThread>,
    /// Where metrics are served, if they are.
    pub metrics: Option<String>,
    /// Why they are not, though they should be; it is tried again.
    #[serde(default)]
    pub metrics_trouble: Option<String>,
    /// Connections to the control socket, this one included.
    pub clients: usize,
}

/// A port.
#[derive(Debug, Deserialize, Serialize)]
pub struct PortStatus {
    /// Its name.
    pub name: String,
    /// `subscriber`, `internet`, `servers` or `filter`.
    pub role: String,
    /// The port that its frames leave by.
    pub peer: Option<String>,
    /// `packet`, `xdp` or `pcap`.
    pub driver: String,
    /// The interface, if it is one.
    pub device: Option<String>,
    /// How the interface is used, once it has been there: driver `xdp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xdp: Option<XdpStatus>,
    /// Whether it works.
    pub up: bool,
    /// Why not.
    pub outage: Option<String>,
    /// What the checks of a filter say, if it is checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<FilterHealth>,
    /// In route mode, where the port has a twin: frames for the router itself, by class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub punts: Option<Vec<PuntsRead>>,
    /// Frames received.
    pub received_packets: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Frames that left by it, answers included.
    pub transmitted_packets: u64,
    /// Their bytes.
    pub transmitted_bytes: u64,
    /// Frames that the interface received and the worker could not be given: the ring was full.
    pub missed_packets: u64,
}

/// How an interface is used by driver `xdp`.
#[derive(Debug, Deserialize, Serialize)]
pub struct XdpStatus {
    /// `native` or `generic`.
    pub mode: String,
    /// Why not native, where that was tried.
    pub why_generic: Option<String>,
    /// Whether frames come and go without being copied by the kernel.
    pub zero_copy: bool,
    /// Why not.
    pub why_copy: Option<String>,
    /// Queues that frames are received by.
    pub queues: u32,
    /// Whether frames are in huge pages.
    pub huge_pages: bool,
    /// Whether workers poll the device, in place of interrupts.
    pub busy_poll: bool,
}

impl From<XdpManner> for XdpStatus {
    fn from(manner: XdpManner) -> XdpStatus {
        let XdpManner { native, why_generic, zero_copy, why_copy, queues, huge_pages, busy_poll } = manner;
        let mode = if native { "native" } else { "generic" }.to_owned();
        XdpStatus { mode, why_generic, zero_copy, why_copy, queues, huge_pages, busy_poll }
    }
}

impl From<&XdpStatus> for XdpManner {
    fn from(status: &XdpStatus) -> XdpManner {
        let XdpStatus { mode, why_generic, zero_copy, why_copy, queues, huge_pages, busy_poll } = status;
        XdpManner {
            native: mode == "native",
            why_generic: why_generic.clone(),
            zero_copy: *zero_copy,
            why_copy: why_copy.clone(),
            queues: *queues,
            huge_pages: *huge_pages,
            busy_poll: *busy_poll,
        }
    }
}

/// A worker.
#[derive(Debug, Deserialize, Serialize)]
pub struct WorkerStatus {
    /// Its number.
    pub worker: usize,
    /// Its core.
    pub core: usize,
    /// Whether it polls; not any more when its ports are read through or have failed.
    pub running: bool,
    /// Packets that it judged.
    pub packets: u64,
    /// Bursts that they came in.
    pub bursts: u64,
    /// Rounds over its ports that found nothing.
    pub idle_rounds: u64,
    /// Times that it slept.
    pub sleeps: u64,
    /// For how long, in seconds.
    pub asleep_seconds: f64,
    /// What it measured of its time.
    pub time: TimeStatus,
    /// Where its frames are: driver `xdp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frames: Option<FramesStatus>,
}

/// Where a worker's frames of driver `xdp` are. All are somewhere.
#[derive(Debug, Deserialize, Serialize)]
pub struct FramesStatus {
    /// How many there are.
    pub all: u64,
    /// Nobody's.
    pub free: u64,
    /// In the worker's hands.
    pub held: u64,
    /// The kernel's, to be filled, or filled and not received yet.
    pub filled: u64,
    /// The kernel's, to be sent.
    pub sent: u64,
    /// With sockets that are being closed.
    pub closing: u64,
}

impl From<Census> for FramesStatus {
    fn from(Census { all, free, held, filled, sent, closing }: Census) -> FramesStatus {
        FramesStatus { all, free, held, filled, sent, closing }
    }
}

/// A worker's books of time: means and shares of the bursts that were measured, one in
/// [`EVERY`](sekisho_dataplane::stages::EVERY).
#[derive(Debug, Deserialize, Serialize)]
pub struct TimeStatus {
    /// Bursts that were measured.
    pub measured_bursts: u64,
    /// Packets in a burst.
    pub packets_per_burst: f64,
    /// The share of polling that found frames, from 0 to 1.
    pub busy_share: f64,
    /// Cycles of measured rounds that found frames.
    pub busy_cycles: u64,
    /// Cycles of measured rounds that found none.
    pub idle_cycles: u64,
    /// What a packet costs, by stage of its way.
    pub stages: Vec<StageCost>,
    /// How long bursts took, from receiving to transmitting.
    pub service: Vec<ServiceTime>,
}

/// What a packet costs in a stage.
#[derive(Debug, Deserialize, Serialize)]
pub struct StageCost {
    /// `receive`, `parse`, `lookup`, `decide` or `act`.
    pub stage: String,
    /// Nanoseconds.
    pub ns: f64,
    /// Cycles of the stage clock.
    pub cycles: f64,
}

/// Bursts of one power of two of cycles.
#[derive(Debug, Deserialize, Serialize)]
pub struct ServiceTime {
    /// They took less than so many nanoseconds, and half of it at least.
    pub below_ns: f64,
    /// So many of those measured.
    pub bursts: u64,
}

impl TimeStatus {
    fn of(totals: &StageTotals, ticks_per_second: f64) -> TimeStatus {
        let ns = |ticks: f64| ticks / ticks_per_second * 1e9;
        let stages = Stage::ALL.map(|stage| {
            let cycles = totals.ticks_per_packet(stage);
            StageCost { stage: stage.name().to_owned(), ns: ns(cycles), cycles }
        });
        let taken = totals.service.iter().enumerate().filter(|(_, bursts)| **bursts > 0);
        TimeStatus {
            measured_bursts: totals.bursts,
            packets_per_burst: totals.packets as f64 / totals.bursts.max(1) as f64,
            busy_share: totals.busy_share(),
            busy_cycles: totals.busy,
            idle_cycles: totals.idle,
            stages: stages.into(),
            service: taken
                .map(|(power, &bursts)| ServiceTime { below_ns: ns((1u64 << power) as f64), bursts })
                .collect(),
        }
    }
}

/// What became of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Sums {
    /// Received.
    pub received: u64,
    /// Forwarded.
    pub forwarded: u64,
    /// Denied: dropped, rejected or diverted.
    pub denied: u64,
    /// Lost to errors.
    pub errors: u64,
}

impl From<&Totals> for Sums {
    fn from(totals: &Totals) -> Sums {
        Sums {
            received: totals.received,
            forwarded: totals.forwarded(),
            denied: totals.denied(),
            errors: totals.errors(),
        }
    }
}

/// Phases at a glance.
#[derive(Debug, Deserialize, Serialize)]
pub struct PhaseCount {
    /// So many have begun.
    pub begun: usize,
    /// So many are to come.
    pub to_come: usize,
    /// The next of these.
    pub next: Option<NextPhase>,
}

/// The phase that begins next.
#[derive(Debug, Deserialize, Serialize)]
pub struct NextPhase {
    /// Its policy.
    pub policy: String,
    /// Its name.
    pub phase: String,
    /// Its instant, as the configuration writes it.
    pub from: String,
    /// In how many seconds that is.
    pub in_seconds: f64,
}

pub(super) fn answer(view: &View<'_>, params: &Params<'_>) -> Answer {
    let Nothing {} = params.read()?;
    give(&Status::of(view))
}

impl Status {
    fn of(view: &View<'_>) -> Status {
        let (books, in_force) = (view.books, &*view.in_force);
        let config = &in_force.config;
        let reloads = books.reloads.read();
        Status {
            metrics: view.metrics.clone(),
            metrics_trouble: view.metrics_trouble.map(str::to_owned),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started: clock::show(books.started_micros),
            uptime_seconds: books.uptime_seconds(),
            config: config.path.display().to_string(),
            start_config: view.start.display().to_string(),
            generation: in_force.generation,
            in_force_since: clock::show(in_force.since_micros),
            confirmation: view.awaited(),
            generations: view.generations(),
            reloads: reloads.done,
            reloads_refused: reloads.refused,
            poll: words::poll(config.dataplane.poll).to_owned(),
            batch: config.dataplane.batch,
            ports: config.ports.iter().enumerate().map(|(at, port)| port_status(view, at, port)).collect(),
            workers: workers(view),
            totals: Sums::from(&books.totals()),
            phases: phase_count(view),
            grants: books.grants.load(Ordering::Relaxed),
            memory_bytes: in_force.tables.iter().map(|table| table.bytes).sum(),
            tables: in_force.tables.clone(),
            kernel: Some(books.kernel.read()).filter(KernelRead::is_followed),
            twins: books.twins(),
            routes_refused: books.routes_refused.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            failed_threads: books.failed_threads(),
            clients: view.clients,
        }
    }
}

fn port_status(view: &View<'_>, at: usize, port: &Port) -> PortStatus {
    let id = PortId(at as u8);
    let totals = view.books.port(id);
    let outage = view.books.outage(id);
    let (driver, device) = match &port.driver {
        Driver::Pcap { .. } => ("pcap", None),
        Driver::Memory => ("memory", None),
        Driver::Packet { device, .. } => ("packet", Some(device)),
        Driver::Xdp { device, .. } => ("xdp", Some(device)),
        Driver::Dpdk { device } => ("dpdk", Some(device)),
    };
    PortStatus {
        name: port.name.clone(),
        role: words::role(port.role).to_owned(),
        peer: port.peer.map(|peer| view.in_force.config.ports[peer].name.clone()),
        driver: driver.to_owned(),
        device: device.cloned(),
        xdp: view.books.manner(id).map(XdpStatus::from),
        up: outage.is_none(),
        outage,
        health: view.filter.clone().filter(|_| port.role == Role::Filter),
        punts: view.books.punts(id),
        received_packets: totals.received,
        received_bytes: totals.received_bytes,
        transmitted_packets: totals.transmitted,
        transmitted_bytes: totals.transmitted_bytes,
        missed_packets: view.books.statistics(id).map_or(0, |counted| counted.kernel_drops),
    }
}

fn workers(view: &View<'_>) -> Vec<WorkerStatus> {
    let rate = view.books.ticks_per_second();
    let workers = view.books.workers.iter().enumerate().map(|(number, worker)| {
        let rounds = worker.pulse.rounds();
        WorkerStatus {
            worker: number,
            core: worker.core,
            running: worker.is_running(),
            packets: Totals::of([&*worker.counters]).received,
            bursts: rounds.bursts,
            idle_rounds: rounds.idle,
            sleeps: rounds.sleeps,
            asleep_seconds: rounds.asleep_micros as f64 / 1e6,
            time: TimeStatus::of(&StageTotals::of_workers([&*worker.counters]), rate),
            frames: worker.frames().map(FramesStatus::from),
        }
    });
    workers.collect()
}

fn phase_count(view: &View<'_>) -> PhaseCount {
    let begun = view.in_force.phases().filter(|(.., begun)| *begun).count();
    let waiting = || view.in_force.phases().filter(|(.., begun)| !begun);
    let next = waiting().min_by_key(|(_, phase, _)| phase.from_micros).map(|(policy, phase, _)| NextPhase {
        policy: policy.name.clone(),
        phase: phase.name.clone(),
        from: phase.from_text.clone(),
        in_seconds: phase.from_micros.saturating_sub(clock::now()) as f64 / 1e6,
    });
    PhaseCount { begun, to_come: waiting().count(), next }
}
