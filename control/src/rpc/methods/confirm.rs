//! `confirm`: keeps what a reload put in force that was to be confirmed. Takes [`Which`], gives [`Confirmed`].
//! `rollback` takes [`Which`] too, and gives [`RolledBack`]; without a generation it goes back to the one before.
//!
//! Errors: [`Error::NOT_FOUND`] where nothing awaits confirmation, or the history has no such generation.
//!
//! [`Confirmed`]: crate::daemon::Confirmed
//! [`RolledBack`]: crate::daemon::RolledBack

use serde::{Deserialize, Serialize};

use super::{Call, Params, give};
use crate::rpc::Error;

/// What `confirm` and `rollback` take.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Which {
    /// The generation to keep, or to go back to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
}

pub(super) fn call(params: &Params<'_>) -> Result<Call, Error> {
    let Which { generation } = params.read()?;
    params.must_change("to confirm")?;
    let who = (params.peer.uid, params.peer.pid);
    Ok(Call::change(move |tables| give(&tables.confirm(generation, who)?)))
}

pub(super) fn rollback(params: &Params<'_>) -> Result<Call, Error> {
    let Which { generation } = params.read()?;
    params.must_change("to roll back")?;
    let who = (params.peer.uid, params.peer.pid);
    Ok(Call::change(move |tables| give(&tables.roll_back(generation, who)?)))
}
