//! `check`: what a configuration says, as `sekisho check --json` prints it. Takes [`Which`].
//!
//! Without parameters it tells of the configuration in force. Of another one it can tell what stands in files that the
//! daemon may read and the caller may not; so that needs the right to change.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Answer, Call, Params, give};
use crate::clock;
use crate::compile::Compiler;
use crate::config::LoadOptions;
use crate::daemon::{Readers, ReloadError, Source};
use crate::outline::Outline;
use crate::rpc::Error;

/// What `check` takes.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Which {
    /// A file, by its absolute path.
    pub path: Option<PathBuf>,
    /// Or the text itself; files that it names are relative to the folder of the daemon's own configuration.
    pub toml: Option<String>,
    /// Accept pools and `allow` sets without prefixes.
    pub allow_empty: bool,
}

impl Which {
    /// None for the daemon's own.
    pub(super) fn source(self) -> Result<Option<Source>, Error> {
        match (self.path, self.toml) {
            (Some(_), Some(_)) => Err(Error::params("either `path` or `toml`, not both")),
            (Some(path), None) if path.is_relative() => Err(Error::params("`path` must be absolute")),
            (Some(path), None) => Ok(Some(Source::Path(path))),
            (None, Some(toml)) => Ok(Some(Source::Text(toml))),
            (None, None) => Ok(None),
        }
    }
}

pub(super) fn call(params: &Params<'_>) -> Result<Call, Error> {
    let which: Which = params.read()?;
    // What it says is asked, not what it would take away.
    let load = LoadOptions { allow_empty: which.allow_empty, allow_shrink: true };
    let source = which.source()?;
    if source.is_some() {
        params.must_change("to have the daemon read another configuration than its own")?;
    }
    Ok(Call::read(move |readers| match &source {
        None => in_force(readers),
        Some(source) => another(readers, source, load),
    }))
}

fn in_force(readers: &Readers) -> Answer {
    let in_force = readers.in_force();
    let begun = |policy: &_, phase: &_| in_force.has_begun(policy, phase);
    give(&Outline::new(&in_force.config, &in_force.bare, begun))
}

fn another(readers: &Readers, source: &Source, options: LoadOptions) -> Answer {
    let config = readers.load(source, options).map_err(ReloadError::from)?;
    let compiled = Compiler::default().compile(&config, Vec::new()).map_err(ReloadError::from)?;
    let now = clock::now();
    give(&Outline::new(&config, &compiled.generation, |_, phase| phase.from_micros <= now))
}
