//! `phases`: the phases, past, in force and to come. Takes a [`Page`], gives [`Phases`].

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::page::{Page, Pages};
use super::{Answer, Params, give};
use crate::clock;
use crate::config::{Phase, Policy};
use crate::daemon::View;
use crate::outline::phase_line;

/// What `phases` gives.
#[derive(Debug, Deserialize, Serialize)]
pub struct Phases {
    /// The generation in force.
    pub generation: u64,
    /// The daemon's clock, in UTC.
    pub now: String,
    /// How many phases there are.
    #[serde(default)]
    pub found: usize,
    /// The page: phases of all policies, in the order of the configuration.
    pub phases: Vec<PhaseStatus>,
    /// What to ask for `after` to get the next page, if there is one.
    #[serde(default)]
    pub next: Option<String>,
}

impl Pages for Phases {
    fn next(&mut self) -> Option<String> {
        self.next.take()
    }

    fn append(&mut self, page: Phases) {
        self.phases.extend(page.phases);
        self.next = page.next;
    }
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
    let page = Page::of(params)?;
    let in_force = &view.in_force;
    let all: Vec<_> = in_force.phases().collect();
    let (rows, next) = page.of_generation(in_force.generation, all.len())?;
    // A phase looks at the others of its policy.
    let begun: HashSet<(&str, &str)> = all
        .iter()
        .filter(|(.., begun)| *begun)
        .map(|(policy, phase, _)| (policy.name.as_str(), phase.name.as_str()))
        .collect();
    let begun = |policy: &Policy, phase: &Phase| begun.contains(&(policy.name.as_str(), phase.name.as_str()));
    let phases = all[rows].iter().map(|(policy, phase, _)| {
        let line = phase_line(&in_force.config, policy, phase, &begun);
        PhaseStatus {
            policy: policy.name.clone(),
            name: line.name.to_owned(),
            from: line.from.to_owned(),
            state: line.state.to_owned(),
            begun: begun(policy, phase),
            block: line.block.into_iter().map(str::to_owned).collect(),
            action: line.action.to_owned(),
        }
    });
    give(&Phases {
        generation: in_force.generation,
        now: clock::show(clock::now()),
        found: all.len(),
        phases: phases.collect(),
        next,
    })
}
