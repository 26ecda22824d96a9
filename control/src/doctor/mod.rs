//! `sekisho doctor`: what this host, and the interfaces of a configuration, have that stands in the way, each with its
//! remedy. Nothing is changed, and no privilege is needed: everything is read from `/proc` and `/sys`, or asked by
//! ioctls that anybody may use.
//!
//! One subject a file. What only reads files takes them from a [`Host`], so that a test can be a host of its own.

mod cores;
mod daemon;
mod host;
mod memory;
mod ports;
mod privilege;
mod system;
mod warnings;

use serde::Serialize;

use crate::config::Config;

pub use host::Host;
pub use warnings::warnings;

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
}

impl Finding {
    fn ok(subject: impl Into<String>, found: impl Into<String>) -> Finding {
        let (subject, found) = (subject.into(), found.into());
        Finding { level: Level::Ok, subject, found, why: None, fix: None }
    }

    fn warn(
        subject: impl Into<String>,
        found: impl Into<String>,
        why: impl Into<String>,
        fix: impl Into<String>,
    ) -> Finding {
        let (why, fix) = (Some(why.into()), Some(fix.into()));
        Finding { level: Level::Warn, subject: subject.into(), found: found.into(), why, fix }
    }

    fn fail(
        subject: impl Into<String>,
        found: impl Into<String>,
        why: impl Into<String>,
        fix: impl Into<String>,
    ) -> Finding {
        Finding { level: Level::Fail, ..Finding::warn(subject, found, why, fix) }
    }
}

/// Everything that can be found on `host`; of ports, workers and folders only with a configuration.
pub fn examine(host: &Host, config: Option<&Config>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let workers = cores::workers(config);
    for port in config.iter().flat_map(|config| &config.ports) {
        ports::examine(host, port, workers.len(), &mut findings);
    }
    cores::examine(host, config, &workers, &mut findings);
    memory::examine(host, config, workers.len(), &mut findings);
    privilege::examine(host, config, &mut findings);
    system::examine(host, &mut findings);
    daemon::examine(config, &mut findings);
    findings
}
