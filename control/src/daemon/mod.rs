//! The daemon: workers that forward, and everything beside them.
//!
//! ```text
//!   signals ───┐                               ┌─▶ worker 0, on its core ──┐
//!   clients ──▶│ control ──tasks──▶ tables ────┼─▶ worker 1, on its core ──┼─▶ counters, pulses, port states
//!   systemd ◀──┤ (poll(2))  ◀─reports─        publish                      │
//!              │         ──questions──▶ readers                            │
//!              └──────────────────────◀────────────────────────────────────┘
//! ```
//!
//! Four kinds of threads. The *workers* poll their ports and nothing else. The *control* thread waits in poll(2) for
//! clients, signals and the clock; it reads what the workers show, and never does what takes long. The *tables*
//! thread does what changes something, one thing after the other: it validates and compiles configurations, publishes
//! generations and frees the old ones, and writes down which phases have begun. The *readers'* thread answers what takes
//! long and changes nothing. All keep off the workers' cores where there is another core.
//!
//! What fails takes only itself down: a request that fails, or panics, leaves the tables as they were; a port that dies
//! leaves the other ports; only a worker that panics ends the process, with the others stopped and exit code 1, since
//! half a bridge that looks alive is worse than none.

mod books;
mod capture;
mod compare;
mod confirm;
mod control;
mod difference;
mod drivers;
mod event;
mod fixed;
mod followed;
mod following;
mod grants;
mod health;
mod history;
mod kernel;
mod load;
mod metrics;
mod mirror;
mod notify;
pub(crate) mod privilege;
mod readers;
mod remembered;
mod silence;
mod tables;
mod threads;
mod twins;
mod wake;
mod workers;

pub use books::{Books, FailedThread, PuntsRead, Reloads, ReloadsRead, TwinsRead, WorkerBooks};
pub(crate) use capture::{Captures, NotCapturing};
pub use compare::Compared;
pub use confirm::{Confirmed, RolledBack, TIMES as CONFIRM_TIMES};
pub use control::run;
#[cfg(test)]
pub(crate) use control::run_with;
pub(crate) use control::{View, Ways};
pub use difference::{Changed, Counted, Difference, Moved, NAMED, Part, PhaseName};
pub use event::{Event, Happened};
pub use followed::TableState;
pub use health::FilterHealth;
pub use history::{Author, Awaited, KEPT, MOST_BYTES, Recorded, State};
pub use kernel::{KernelBooks, KernelRead};
pub(crate) use load::Source;
pub use mirror::MirrorRead;
pub(crate) use readers::{Asked, Readers};
pub(crate) use tables::Slot;
pub use tables::{InForce, Reloaded, Steps};
pub(crate) use tables::{ReloadError, ReloadOptions, Tables, Task};
pub(crate) use workers::panic_message;

use std::path::PathBuf;
use std::sync::Arc;

use sekisho_dataplane::lpm::BuildError;
use sekisho_dataplane::port::InterfaceError;
use sekisho_dataplane::port::pcap::CaptureError;

use crate::compile;
use crate::rpc::SocketError;

/// Why the daemon did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration can't become tables.
    #[error(transparent)]
    Compile(#[from] compile::Error),
    /// There is no room for routes.
    #[error(transparent)]
    Routes(#[from] BuildError),
    /// A capture can't be read or written.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// A network interface can't be used.
    #[error(transparent)]
    Packet(#[from] InterfaceError),
    /// There is no place for the control socket.
    #[error("the control socket can't be made: {0}")]
    Socket(#[from] SocketError),
    /// A core is not there.
    #[error("{0}")]
    Cores(String),
    /// A port has a driver that this build does not run.
    #[error("port {port}: {why}")]
    Driver {
        /// Its name.
        port: String,
        /// What there is in its place.
        why: &'static str,
    },
    /// A port's twin can't be made as it is to be.
    #[error("port {port}: {why}; a twin takes CAP_NET_ADMIN and /dev/net/tun, `twin = false` does without")]
    Twin {
        /// The port's name.
        port: String,
        /// What failed.
        why: String,
    },
    /// The kernel would hear a port's device as well.
    #[error(
        "port {port}: the kernel can't be kept from hearing {device} as well ({why}), and would answer and forward by itself; that \
         takes CAP_NET_ADMIN, the queueing discipline clsact and the classifier bpf (NET_SCH_INGRESS, NET_CLS_BPF); \
         `twin = false` does without"
    )]
    Heard {
        /// The port's name.
        port: String,
        /// Its interface.
        device: String,
        /// What the kernel said.
        why: String,
    },
    /// The system has no thread or pipe for us.
    #[error("{what}: {source}")]
    System {
        /// What was wanted.
        what: String,
        /// Why not.
        source: std::io::Error,
    },
}

/// How a run ended, with everything that a summary says.
pub struct Ended {
    /// What was in force at the end.
    pub in_force: Arc<InForce>,
    /// What was counted.
    pub books: Arc<Books>,
    /// Ports that failed, and why.
    pub failures: Vec<String>,
    /// Captures that ended inside a packet.
    pub truncated: Vec<String>,
    /// Workers that panicked or did not come to their end, and why. Nothing was put together from their captures.
    pub lost: Vec<String>,
}

/// What a run is asked for.
#[derive(Debug)]
pub struct Options {
    /// The file that `reload` reads again.
    pub path: PathBuf,
}
