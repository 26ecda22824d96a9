//! `sekisho doctor`: what this host, and the interfaces of a configuration, have that stands in the way, each with its
//! remedy. To look needs no privilege: everything is read from `/proc` and `/sys`, or asked of the kernel by questions that
//! anybody may ask. A finding tells its remedy as a command, and where that can be taken back, as a [`Change`] too:
//! `--fix` applies those, and the [`Journal`] remembers what was there before.
//!
//! One subject a file. What only reads files takes them from a [`Host`], so that a test can be a host of its own.

mod change;
mod cores;
mod daemon;
mod device;
mod far_end;
mod genetlink;
mod host;
mod interrupts;
mod journal;
mod memory;
mod ports;
mod privilege;
mod system;
mod warnings;

use serde::Serialize;

use crate::config::Config;

pub use change::{Change, Setting};
pub use host::Host;
pub use journal::{Done, Journal};
pub use warnings::{addresses, warnings};

/// How much something matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, but slower or less safely than it could.
    Warn,
    /// `run` refuses, or frames are lost.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub level: Level,
    /// What was looked at: a port, or a part of the host.
    pub subject: String,
    /// What was found.
    pub found: String,
    /// Why that matters; none if all is well.
    pub why: Option<String>,
    /// What to do: a command, or what to write where.
    pub fix: Option<String>,
    /// The same as settings that doctor can change, and change back; empty where it can't.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
}

impl Finding {
    fn ok(subject: impl Into<String>, found: impl Into<String>) -> Finding {
        let (subject, found) = (subject.into(), found.into());
        Finding { level: Level::Ok, subject, found, why: None, fix: None, changes: Vec::new() }
    }

    fn warn(
        subject: impl Into<String>,
        found: impl Into<String>,
        why: impl Into<String>,
        fix: impl Into<String>,
    ) -> Finding {
        let (why, fix) = (Some(why.into()), Some(fix.into()));
        let (subject, found) = (subject.into(), found.into());
        Finding { level: Level::Warn, subject, found, why, fix, changes: Vec::new() }
    }

    fn fail(
        subject: impl Into<String>,
        found: impl Into<String>,
        why: impl Into<String>,
        fix: impl Into<String>,
    ) -> Finding {
        Finding { level: Level::Fail, ..Finding::warn(subject, found, why, fix) }
    }

    /// With the settings that its fix is.
    fn by(mut self, changes: impl IntoIterator<Item = Change>) -> Finding {
        self.changes.extend(changes);
        self
    }
}

/// Everything that can be found on `host`; of ports, workers and folders only with a configuration.
pub fn examine(host: &Host, config: Option<&Config>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let workers = cores::workers(config);
    if let Some(config) = config {
        for port in &config.ports {
            ports::examine(host, (&config.dataplane, port), &workers, &mut findings);
        }
    }
    cores::examine(host, config, &workers, &mut findings);
    memory::examine(host, config, workers.len(), &mut findings);
    privilege::examine(host, config, &mut findings);
    system::examine(host, &mut findings);
    if config.is_some_and(Config::mirrors_kernel) {
        system::next_hops(host, &mut findings);
    }
    daemon::examine(config, &mut findings);
    findings
}
