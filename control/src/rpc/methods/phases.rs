//! `phases`: the phases, past, in force and to come. Takes [`Nothing`], gives [`Phases`].

use serde::{Deserialize, Serialize};

use super::{Answer, Nothing, Params, give};
use crate::clock;
use crate::daemon::View;
use crate::outline::policy_line;

/// What `phases` gives.
#[derive(Debug, Deserialize, Serialize)]
pub struct Phases {
    /// The generation in force.
    pub generation: u64,
    /// The daemon's clock, in UTC.
    pub now: String,
    /// The phases of all policies, in the order of the configuration.
    pub phases: Vec<PhaseStatus>,
}

/// A phase.
#[derive(Debug, Deserialize, Serialize)]
pub struct PhaseStatus {
    /// Its policy.
    pub policy: String,
    /// Its name.
    pub name: String,
    /// Its instant, as the configuration writes it.
    pub from: String,
    /// `to come`, `in force`, or `past`: in force still, but a later one denies all that it denies, and in the same way.
    pub state: String,
    /// Whether it has begun. One that has stays begun, also if the clock steps back.
    pub begun: bool,
    /// The sets that it denies, or `all`.
    pub block: Vec<String>,
    /// What a deny of it does.
    pub action: String,
}

pub(super) fn answer(view: &View<'_>, params: &Params<'_>) -> Answer {
    let Nothing {} = params.read()?;
    let in_force = &view.in_force;
    let begun = |policy: &_, phase: &_| in_force.has_begun(policy, phase);
    let policies =
        in_force.config.policies.iter().map(|policy| policy_line(&in_force.config, policy, &begun));
    let phases = policies.flat_map(|policy| {
        policy.phases.into_iter().map(move |phase| PhaseStatus {
            policy: policy.name.to_owned(),
            name: phase.name.to_owned(),
            from: phase.from.to_owned(),
            state: phase.state.to_owned(),
            begun: phase.state != "to come",
            block: phase.block.into_iter().map(str::to_owned).collect(),
            action: phase.action.to_owned(),
        })
    });
    give(&Phases {
        generation: in_force.generation,
        now: clock::show(clock::now()),
        phases: phases.collect(),
    })
}
