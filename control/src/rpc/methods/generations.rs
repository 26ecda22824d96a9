//! `generations`: the last generations, and what is to be confirmed. Takes [`Nothing`], gives [`Generations`].
//! It has no pages: [`KEPT`](crate::daemon::KEPT) generations are listed, each with a bounded difference.

use serde::{Deserialize, Serialize};

use super::{Answer, Nothing, Params, give};
use crate::daemon::{Awaited, Recorded, View};

/// What `generations` gives.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Generations {
    /// What comes back by itself, if it is not confirmed.
    pub confirmation: Option<Awaited>,
    /// The latest first.
    pub generations: Vec<Recorded>,
}

pub(super) fn answer(view: &View<'_>, params: &Params<'_>) -> Answer {
    let Nothing {} = params.read()?;
    give(&Generations { confirmation: view.awaited(), generations: view.generations() })
}
