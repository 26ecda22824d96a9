//! `routes`: what is mirrored of the kernel's routes, and whether that is all. Takes [`Ask`], gives [`Routes`].

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Call, Error, Params, give};
use crate::daemon::{Compared, KernelRead};

/// What `routes` takes.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// Whether to ask the kernel for everything anew, and to compare entry by entry.
    #[serde(default)]
    pub compare: bool,
}

/// What `routes` gives.
#[derive(Debug, Deserialize, Serialize)]
pub struct Routes {
    /// What is known.
    pub kernel: KernelRead,
    /// What a comparison found, if one was asked for.
    #[serde(default)]
    pub compared: Option<Compared>,
}

/// A full table is read and compared within some seconds.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn call(params: &Params<'_>) -> Result<Call, Error> {
    let Ask { compare } = params.read()?;
    Ok(Call::read(move |readers| {
        let compared = match compare {
            false => None,
            true => Some(readers.compare_routes(PATIENCE)?),
        };
        give(&Routes { kernel: readers.books().kernel.read(), compared })
    }))
}
