//! `grants`: the grants that are not over. Takes [`Nothing`], gives [`Grants`].

use serde::{Deserialize, Serialize};

use super::{Call, Nothing, Params, give};
use crate::clock;
use crate::grants::Held;
use crate::rpc::Error;

/// What `grants` gives.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Grants {
    /// The daemon's clock, in UTC.
    pub now: String,
    /// How many there may be.
    pub limit: usize,
    /// Whether they survive a restart: there is a state folder.
    pub survive_restart: bool,
    /// IPv4 first, by length and address.
    pub grants: Vec<Held>,
}

pub(super) fn call(params: &Params<'_>) -> Result<Call, Error> {
    let Nothing {} = params.read()?;
    Ok(Call::read(|readers| {
        let in_force = readers.in_force();
        give(&Grants {
            now: clock::show(clock::now()),
            limit: in_force.config.limits.grants,
            survive_restart: in_force.config.state().is_some(),
            grants: readers.grants.page(None, usize::MAX),
        })
    }))
}
