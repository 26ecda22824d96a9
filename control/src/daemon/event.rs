//! What happens in a daemon, for its log, for systemd and for whoever subscribed.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::clock;
use crate::grants::Held;

/// Something that happened. As JSON, the kind stands under `event`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A reload has begun.
    ReloadBegun,
    /// A new generation is in force.
    Reload {
        /// Its number.
        generation: u64,
        /// What it was compiled from.
        config: String,
        /// How long it took altogether.
        seconds: f64,
    },
    /// A reload changed nothing.
    ReloadRefused {
        /// Why, with file, line and column.
        message: String,
    },
    /// What a reload put in force comes to its end unless it is confirmed.
    ConfirmationAwaited {
        /// The generation in force.
        generation: u64,
        /// The one that comes back.
        previous: u64,
        /// In so many seconds.
        seconds: f64,
    },
    /// It was confirmed, and stays.
    Confirmed {
        /// The generation in force.
        generation: u64,
        /// The user who confirmed.
        uid: u32,
        /// That user's process.
        pid: i32,
    },
    /// An earlier configuration is in force again.
    RolledBack {
        /// The generation in force.
        generation: u64,
        /// The one that was.
        left: u64,
        /// The one whose configuration is in force again.
        restores: u64,
        /// Why.
        why: String,
    },
    /// From now on, a phase denies.
    PhaseBegun {
        /// Its policy.
        policy: String,
        /// Its name.
        phase: String,
        /// Its instant, as the configuration writes it.
        from: String,
    },
    /// A port's interface is used in this way from now on: driver `xdp`.
    PortAttached {
        /// Its name.
        port: String,
        /// Mode, zero-copy or copy, queues, with the reasons.
        manner: String,
    },
    /// A port works again.
    PortUp {
        /// Its name.
        port: String,
    },
    /// A port does not work. It is looked at again.
    PortDown {
        /// Its name.
        port: String,
        /// Why.
        why: String,
    },
    /// A port has stopped working for a worker, and will not work again.
    PortFailed {
        /// Its name.
        port: String,
        /// The worker.
        worker: usize,
        /// Why.
        why: String,
    },
    /// A worker has panicked. The daemon ends.
    WorkerFailed {
        /// Its number.
        worker: usize,
    },
    /// What has begun could not be written down. It is tried again.
    StateUnwritable {
        /// Why.
        why: String,
    },
    /// A customer is exempt for a time.
    Granted {
        /// The grant.
        #[serde(flatten)]
        grant: Held,
        /// There was one already.
        extended: bool,
    },
    /// A grant was taken back.
    Revoked {
        /// The address or prefix.
        address: String,
        /// The user who did.
        uid: u32,
        /// That user's process.
        pid: i32,
    },
    /// A grant is over.
    GrantExpired {
        /// The address or prefix.
        address: String,
    },
    /// Grants could not be written down. It is tried again.
    GrantsUnwritable {
        /// Why.
        why: String,
    },
    /// Metrics are served from now on.
    MetricsServed {
        /// Where.
        url: String,
    },
    /// Metrics can't be served. It is tried again.
    MetricsUnavailable {
        /// Why.
        why: String,
    },
    /// Somebody sees traffic from now on.
    CaptureBegun {
        /// Which.
        what: String,
        /// The user who does.
        uid: u32,
        /// That user's process.
        pid: i32,
    },
    /// Nobody does any more.
    CaptureEnded {
        /// Frames that were handed over.
        captured: u64,
        /// Copies for which there was no room.
        lost: u64,
    },
    /// A kernel's table has made a generation.
    KernelTable {
        /// The table.
        table: u32,
        /// The generation's number.
        generation: u64,
        /// What changed, in a line.
        changes: String,
        /// How long it took altogether.
        seconds: f64,
    },
    /// A kernel's table that a pool or set follows has had no routes yet.
    KernelTableEmpty {
        /// The table.
        table: u32,
    },
    /// A kernel's table lost much. That stays in force for a time.
    KernelTableHeld {
        /// The table.
        table: u32,
        /// So many prefixes.
        lost: usize,
        /// Of so many.
        had: usize,
        /// For so many seconds; none: until the table has routes again.
        seconds: Option<f64>,
    },
    /// What a table lost is no longer held.
    KernelTableShrunk {
        /// The table.
        table: u32,
        /// So many prefixes.
        lost: usize,
    },
    /// What a kernel's table contains can't be put in force.
    KernelTableRefused {
        /// The table.
        table: u32,
        /// Why.
        why: String,
    },
    /// What kernel tables contain could not be written down. It is tried again.
    KernelTablesUnwritable {
        /// Why.
        why: String,
    },
    /// The kernel's routes can't be heard. It is tried again.
    KernelUnheard {
        /// Why.
        why: String,
    },
    /// A route or a neighbour of the configuration is not in force; all else is.
    RouteRefused {
        /// Which, and why.
        why: String,
    },
    /// A port's twin was deleted and can't be made again yet. It is tried again.
    TwinGone {
        /// The port's name.
        port: String,
        /// The interface's.
        twin: String,
        /// Why not.
        why: String,
    },
    /// A port's twin was deleted and is there again.
    TwinAgain {
        /// The port's name.
        port: String,
        /// The interface's.
        twin: String,
    },
    /// A thread beside the workers has panicked. What it did is not done any more, until the daemon is started again.
    ThreadFailed {
        /// Its name.
        thread: String,
        /// What is not done any more.
        what: String,
        /// What was said.
        why: String,
    },
    /// The kernel names next hop objects in place of next hops: such routes are unreachable here.
    NextHopsUntold,
    /// The daemon ends.
    Stopping,
}

/// An event and its instant.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Happened {
    /// When, in UTC.
    pub at: String,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

impl Happened {
    pub(super) fn now(event: Event) -> Happened {
        Happened { at: clock::show(clock::now()), event }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::ReloadBegun => write!(f, "reload: reading the configuration"),
            Event::Reload { generation, config, seconds } => {
                write!(
                    f,
                    "reload: generation {generation} is in force, from {config}, in {:.1} ms",
                    seconds * 1e3
                )
            }
            Event::ReloadRefused { message } => write!(f, "reload refused, nothing has changed: {message}"),
            Event::ConfirmationAwaited { generation, previous, seconds } => {
                write!(
                    f,
                    "generation {generation} awaits confirmation; without it, generation {previous} comes back in \
                     {seconds:.0} s"
                )
            }
            Event::Confirmed { generation, uid, pid } => {
                write!(f, "generation {generation} is confirmed, by uid {uid}, process {pid}")
            }
            Event::RolledBack { generation, left, restores, why } => {
                write!(
                    f,
                    "rolled back from generation {left}: generation {generation} is in force, with what generation \
                     {restores} said; {why}"
                )
            }
            Event::PhaseBegun { policy, phase, from } => {
                write!(f, "phase {phase} of policy {policy} has begun (from {from})")
            }
            Event::PortAttached { port, manner } => write!(f, "port {port} is attached: {manner}"),
            Event::PortUp { port } => write!(f, "port {port} is up"),
            Event::PortDown { port, why } => write!(f, "port {port} is down: {why}"),
            Event::PortFailed { port, worker, why } => {
                write!(f, "port {port} has failed for worker {worker}: {why}")
            }
            Event::WorkerFailed { worker } => {
                write!(f, "worker {worker} has panicked; the others are stopped")
            }
            Event::StateUnwritable { why } => {
                write!(
                    f,
                    "which phases have begun can't be written down, and would be forgotten by a restart: {why}"
                )
            }
            Event::Granted { grant: Held { address, until, reason, uid, pid, .. }, extended } => {
                let done = if *extended { "extended" } else { "granted" };
                write!(f, "{done} {address} until {until}, by uid {uid}, process {pid}: {reason}")
            }
            Event::Revoked { address, uid, pid } => {
                write!(f, "revoked the grant of {address}, by uid {uid}, process {pid}")
            }
            Event::GrantExpired { address } => write!(f, "the grant of {address} is over"),
            Event::GrantsUnwritable { why } => {
                write!(f, "grants can't be written down, and would be forgotten by a restart: {why}")
            }
            Event::MetricsServed { url } => write!(f, "metrics at {url}"),
            Event::MetricsUnavailable { why } => {
                write!(f, "metrics can't be served, which is tried again: {why}")
            }
            Event::CaptureBegun { what, uid, pid } => {
                write!(f, "capture begun: {what}, by uid {uid}, process {pid}")
            }
            Event::CaptureEnded { captured, lost } => {
                write!(f, "capture ended: {captured} captured, {lost} lost")
            }
            Event::KernelTable { table, generation, changes, seconds } => {
                write!(
                    f,
                    "kernel table {table}: generation {generation} is in force, in {:.1} ms; {changes}",
                    seconds * 1e3
                )
            }
            Event::KernelTableHeld { table, lost, had, seconds: Some(seconds) } => {
                write!(
                    f,
                    "kernel table {table} lost {lost} of {had} prefixes, which stay in force for {seconds:.0} s; \
                     `sekisho reload --allow-shrink` takes it for meant"
                )
            }
            Event::KernelTableHeld { table, had, seconds: None, .. } => {
                write!(
                    f,
                    "kernel table {table} has no routes any more; its {} in force until it has; `sekisho reload \
                     --allow-empty` takes it for meant",
                    if *had == 1 { "1 prefix stays".to_owned() } else { format!("{had} prefixes stay") }
                )
            }
            Event::KernelTableEmpty { table } => write!(
                f,
                "kernel table {table} has no routes yet: customers of a pool that follows it are in no pool until it has, and \
                 `[checks]` takes their addresses for spoofed; `ip route show table {table}`"
            ),
            Event::KernelTableShrunk { table, lost } => {
                write!(f, "kernel table {table}: {lost} prefixes that it lost are no longer in force")
            }
            Event::KernelTableRefused { table, why } => {
                write!(f, "kernel table {table} is not in force as it is, and what was before stays: {why}")
            }
            Event::KernelTablesUnwritable { why } => {
                write!(
                    f,
                    "what kernel tables contain can't be written down, and would be forgotten by a restart: {why}"
                )
            }
            Event::KernelUnheard { why } => {
                write!(f, "the kernel's routes can't be heard, and what was known of them stays: {why}")
            }
            Event::RouteRefused { why } => {
                write!(f, "of the configuration's routes one is not in force: {why}")
            }
            Event::TwinGone { port, twin, why } => {
                write!(
                    f,
                    "port {port}: its twin {twin} was deleted and can't be made again, which is tried again: {why}"
                )
            }
            Event::TwinAgain { port, twin } => {
                write!(
                    f,
                    "port {port}: its twin {twin} was deleted and is there again with what the configuration says; routes over it \
                     that nobody sets again are gone"
                )
            }
            Event::ThreadFailed { thread, what, why } => {
                write!(f, "the thread {thread} has panicked ({why}); until a restart {what}")
            }
            Event::NextHopsUntold => {
                write!(
                    f,
                    "the kernel tells of some routes a next hop object alone, and they are unreachable here; sysctl -w \
                     net.ipv4.nexthop_compat_mode=1 has it tell the next hops, which is looked for again"
                )
            }
            Event::Stopping => write!(f, "stopping"),
        }
    }
}
