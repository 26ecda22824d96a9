//! `grant`: exempts a customer for a time. Takes [`Request`], gives [`Granted`]. `revoke` takes [`Whom`] and gives the
//! grant that is no more.
//!
//! A grant is in force when it is answered, and saved after that: see [`grants`].
//!
//! Errors: [`Error::LIMIT`] where there are as many as `[limits] grants` allows, [`Error::NOT_FOUND`] where there is
//! nothing to revoke.

use serde::{Deserialize, Serialize};

use super::{Call, Params, give};
use crate::config::parse_duration;
use crate::grants::{self, Held};
use crate::rpc::Error;

/// What `grant` takes.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The customer's address, or a prefix.
    pub address: String,
    /// For how long, such as `30m`.
    pub r#for: String,
    /// Why: one line.
    pub reason: String,
}

/// What `grant` gives.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Granted {
    /// The grant.
    pub grant: Held,
    /// There was one for this address or prefix already.
    pub extended: bool,
    /// Whether it survives a restart: there is a state folder, and nothing in it that can't be read.
    pub survives_restart: bool,
    /// It is on the disk within so many seconds, unless the disk refuses, which an event tells; until then it does not
    /// survive a crash. None if it does not survive a restart.
    #[serde(default)]
    pub saved_within_seconds: Option<f64>,
    /// The customer's pool.
    pub pool: Option<String>,
    /// Why it may have no effect.
    pub note: Option<String>,
}

/// What `revoke` takes.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Whom {
    /// The address or prefix that was granted.
    pub address: String,
}

pub(super) fn call(params: &Params<'_>) -> Result<Call, Error> {
    let Request { address, r#for, reason } = params.read()?;
    params.must_change("to grant")?;
    let bad = |error: grants::Refused| Error::params(error.to_string());
    let prefix = grants::prefix(&address).map_err(bad)?;
    let micros = parse_duration(&r#for)
        .map_err(|error| Error::params(format!("{error}: write how long, such as 30m or 1h30m")))?;
    let who = (params.peer.uid, params.peer.pid);
    Ok(Call::change(move |tables| give(&tables.grant(prefix, micros, &reason, who)?)))
}

pub(super) fn revoke(params: &Params<'_>) -> Result<Call, Error> {
    let Whom { address } = params.read()?;
    params.must_change("to revoke")?;
    let prefix = grants::prefix(&address).map_err(|error| Error::params(error.to_string()))?;
    let who = (params.peer.uid, params.peer.pid);
    Ok(Call::change(move |tables| give(&tables.revoke(prefix, who)?)))
}
