//! `reload`: puts a configuration in force, or says what that would change. Takes [`Request`], gives [`Reloaded`].
//!
//! Errors: [`Error::CONFIGURATION`] with every problem, its file, line and column; [`Error::NEEDS_RESTART`] with what
//! can't change while the daemon runs; [`Error::UNCONFIRMED`] while another reload awaits its confirmation. After any error, what is in force is as it was.
//!
//! [`Reloaded`]: crate::daemon::Reloaded

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::Which;
use super::{Call, Params, give};
use crate::config::{LoadOptions, parse_duration};
use crate::daemon::{Author, CONFIRM_TIMES, ReloadOptions, Source};
use crate::rpc::Error;

/// What `reload` takes.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// A file, by its absolute path; if nothing is given, the file that the daemon was started with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Or the text itself; files that it names are relative to the folder of the daemon's own configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub toml: Option<String>,
    /// Say what would change, and change nothing.
    pub dry_run: bool,
    /// Go back by itself if `confirm` does not follow within this time, such as `60s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirm: Option<String>,
    /// Accept that a pool or an `allow` set is empty which was not so before.
    pub allow_empty: bool,
    /// Accept that a pool or a set loses more than half of the prefixes that it has in force.
    pub allow_shrink: bool,
}

pub(super) fn call(params: &Params<'_>) -> Result<Call, Error> {
    let Request { path, toml, dry_run, confirm, allow_empty, allow_shrink } = params.read()?;
    let source = Which { path, toml, allow_empty }.source()?;
    match (&source, dry_run) {
        (None, true) => {}
        (_, false) => params.must_change("reload")?,
        (Some(_), true) => {
            params.must_change("to have the daemon read another configuration than its own")?;
        }
    }
    if dry_run && confirm.is_some() {
        return Err(Error::params("a dry run puts nothing in force that could be confirmed"));
    }
    let options = ReloadOptions {
        source: source.unwrap_or(Source::Start),
        load: LoadOptions { allow_empty, allow_shrink },
        confirm: confirm.as_deref().map(time).transpose()?,
        author: Author::Peer { uid: params.peer.uid, pid: params.peer.pid },
    };
    Ok(match dry_run {
        true => Call::read(move |readers| give(&readers.dry_run(&options)?)),
        false => Call::change(move |tables| give(&tables.reload(&options)?)),
    })
}

/// How long a confirmation is waited for.
fn time(text: &str) -> Result<Duration, Error> {
    match parse_duration(text) {
        Ok(micros) if CONFIRM_TIMES.contains(&micros) => Ok(Duration::from_micros(micros)),
        Ok(_) => Err(Error::params("a confirmation is waited for between 1s and 1d")),
        Err(error) => Err(Error::params(format!("{error}: write how long, such as 60s or 5m"))),
    }
}
