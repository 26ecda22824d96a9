//! From a checked configuration to the blueprint of a generation.
//!
//! A [`Compiler`] lives as long as the process. It gives pools numbers that stay with their names, so that
//! counters go on from one generation to the next, and keeps the latches of phases, so that a phase that has
//! begun stays begun.

use std::collections::HashMap;
use std::sync::Arc;

use sekisho_dataplane::RejectLimits;
use sekisho_dataplane::frame::Depth;
use sekisho_dataplane::generation::{
    Blueprint, CompileError, Generation, PhasePlan, PolicyPlan, PoolPlan, PortPlan,
};
use sekisho_dataplane::policy::{FragmentLimits, Grant, Latch, Nat64, PhaseId, PoolId, PortId};

use crate::config::{Block, Config, Limits};

/// What identifies a phase from one configuration to the next.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PhaseKey {
    /// Its policy's name.
    pub policy: String,
    /// Its own.
    pub phase: String,
    /// Its first instant, in UTC microseconds.
    pub from_micros: i64,
}

/// Why a configuration can't become a generation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The tables refuse it.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// More names of pools than there are numbers.
    #[error("{0} pools; at most {max} are possible: join pools that have one policy", max = MAX_POOLS)]
    TooManyPools(usize),
    /// More together with the names that earlier configurations gave.
    #[error(
        "{names} names of pools since the start, {now} of them in use now; at most {max} have numbers: restart to \
         number them anew",
        max = MAX_POOLS
    )]
    TooManyPoolNames {
        /// All of them.
        names: usize,
        /// Those of this configuration.
        now: usize,
    },
}

/// Pools are numbered from 1; 0 is "in no pool".
pub const MAX_POOLS: usize = sekisho_dataplane::lpm::MAX_ID as usize;

/// Compiles configurations one after the other.
#[derive(Default)]
pub struct Compiler {
    generations: u64,
    pools: HashMap<String, PoolId>,
    latches: HashMap<PhaseKey, Arc<Latch>>,
}

/// A generation with the names of what its numbers mean.
pub struct Compiled {
    /// The tables.
    pub generation: Generation,
    /// The names.
    pub names: Names,
    /// The phases, in the order of the configuration, and whether they have begun.
    pub phases: Vec<(PhaseKey, Arc<Latch>)>,
}

impl Compiler {
    /// A compiler that remembers phases which began before it was made.
    pub fn remembering(begun: impl IntoIterator<Item = PhaseKey>) -> Compiler {
        let latches = begun.into_iter().map(|key| {
            let latch = Arc::new(Latch::default());
            latch.begin();
            (key, latch)
        });
        Compiler { latches: latches.collect(), ..Compiler::default() }
    }

    /// A compiler that remembers nothing, and whose next generation has this number.
    pub fn numbering_from(next: u64) -> Compiler {
        Compiler { generations: next.saturating_sub(1), ..Compiler::default() }
    }

    /// Takes the next generation's number, for tables that are there already.
    pub fn next_number(&mut self) -> u64 {
        self.generations += 1;
        self.generations
    }

    /// Compiles `config` with `grants` as the next generation.
    ///
    /// # Errors
    /// When the tables refuse it; nothing has changed then but the numbers given to new pools.
    pub fn compile(&mut self, config: &Config, grants: Vec<Grant>) -> Result<Compiled, Error> {
        let blueprint = self.blueprint(config, grants)?;
        let generation = Generation::compile(&blueprint)?;
        self.generations = blueprint.number;
        let keys = config.policies.iter().flat_map(keys);
        let latches = blueprint.policies.iter().flat_map(|policy| &policy.phases);
        let phases = keys.zip(latches.map(|phase| Arc::clone(&phase.latch))).collect();
        // Of phases that nobody holds any more, those that have begun are remembered.
        self.latches.retain(|_, latch| latch.has_begun() || Arc::strong_count(latch) > 1);
        Ok(Compiled { generation, names: Names::new(config, &blueprint), phases })
    }

    fn blueprint(&mut self, config: &Config, grants: Vec<Grant>) -> Result<Blueprint, Error> {
        let mut pools = Vec::with_capacity(config.pools.len());
        for pool in &config.pools {
            let id = self.pool_id(&pool.name).ok_or_else(|| self.too_many(config))?;
            pools.push(PoolPlan { id, policy: pool.policy, prefixes: pool.prefixes.clone() });
        }
        Ok(Blueprint {
            number: self.generations + 1,
            ports: config.ports.iter().map(|port| PortPlan { role: port.role, peer: port.peer }).collect(),
            pools,
            sets: config.sets.iter().map(|set| set.prefixes.clone()).collect(),
            policies: config.policies.iter().map(|policy| self.policy(policy)).collect(),
            grants,
            source_validation: Some(config.checks.source_validation),
            reverse_path: config.checks.urpf,
            redirects: config.routing.redirects,
            nat64: config.checks.nat64_prefixes.iter().filter_map(|p| Nat64::new(*p)).collect(),
            depth: Depth {
                l2_headers: config.limits.l2_headers,
                extension_headers: config.limits.extension_headers,
            },
        })
    }

    /// Why there is no number left: for what is there now, or for that and what has been since the start.
    fn too_many(&self, config: &Config) -> Error {
        let now = config.pools.len();
        let new = config.pools.iter().filter(|pool| !self.pools.contains_key(&pool.name)).count();
        match now {
            ..=MAX_POOLS => Error::TooManyPoolNames { names: self.pools.len() + new, now },
            _ => Error::TooManyPools(now),
        }
    }

    fn pool_id(&mut self, name: &str) -> Option<PoolId> {
        if let Some(id) = self.pools.get(name) {
            return Some(*id);
        }
        let next = self.pools.len() + 1;
        if next > MAX_POOLS {
            return None;
        }
        let id = PoolId(next as u16);
        self.pools.insert(name.to_owned(), id);
        Some(id)
    }

    fn policy(&mut self, policy: &crate::config::Policy) -> PolicyPlan {
        let phases = policy.phases.iter().zip(keys(policy)).map(|(phase, key)| PhasePlan {
            from: phase.from_micros,
            block: match &phase.block {
                Block::All => None,
                Block::Sets(sets) => Some(sets.clone()),
            },
            action: phase.action.unwrap_or(policy.action),
            latch: Arc::clone(self.latches.entry(key).or_default()),
        });
        PolicyPlan {
            kind: policy.kind,
            allow: policy.allow.clone(),
            action: policy.action,
            reject_with: policy.reject_with,
            divert_fallback: policy.divert_fallback,
            mirror: policy.mirror,
            phases: phases.collect(),
        }
    }
}

/// A policy's phases, as they are known from one configuration to the next.
fn keys(policy: &crate::config::Policy) -> impl Iterator<Item = PhaseKey> {
    policy.phases.iter().map(|phase| PhaseKey {
        policy: policy.name.clone(),
        phase: phase.name.clone(),
        from_micros: phase.from_micros,
    })
}

/// The names behind a generation's numbers, for reports.
#[derive(Clone, Debug, Default)]
pub struct Names {
    ports: Vec<String>,
    /// By pool number: the pool's name and its policy's.
    pools: HashMap<u16, (String, String)>,
    phases: Vec<String>,
}

impl Names {
    fn new(config: &Config, blueprint: &Blueprint) -> Names {
        let pools =
            config.pools.iter().zip(&blueprint.pools).map(|(pool, plan)| {
                (plan.id.0, (pool.name.clone(), config.policies[pool.policy].name.clone()))
            });
        let phases = config.policies.iter().flat_map(|policy| &policy.phases);
        Names {
            ports: config.ports.iter().map(|port| port.name.clone()).collect(),
            pools: pools.collect(),
            phases: phases.map(|phase| phase.name.clone()).collect(),
        }
    }

    /// A port's name.
    pub fn port(&self, port: PortId) -> &str {
        self.ports.get(usize::from(port.0)).map_or("", String::as_str)
    }

    /// The port of this name.
    pub fn port_named(&self, name: &str) -> Option<PortId> {
        self.ports.iter().position(|port| port == name).map(|at| PortId(at as u8))
    }

    /// All ports' names, in their order.
    pub fn ports(&self) -> &[String] {
        &self.ports
    }

    /// A pool's name; none for "in no pool".
    pub fn pool(&self, pool: PoolId) -> Option<&str> {
        self.pools.get(&pool.0).map(|(name, _)| name.as_str())
    }

    /// The name of a pool's policy.
    pub fn policy_of(&self, pool: PoolId) -> Option<&str> {
        self.pools.get(&pool.0).map(|(_, policy)| policy.as_str())
    }

    /// The pool of this name.
    pub fn pool_named(&self, name: &str) -> Option<PoolId> {
        self.pools.iter().find(|(_, (pool, _))| pool == name).map(|(id, _)| PoolId(*id))
    }

    /// The pools' numbers in the order of `config`, which the names were made for.
    pub fn pools_in_order(&self, config: &Config) -> Vec<PoolId> {
        let numbers: HashMap<&str, u16> =
            self.pools.iter().map(|(id, (name, _))| (name.as_str(), *id)).collect();
        let number = |name: &str| numbers.get(name).map_or(PoolId::NONE, |id| PoolId(*id));
        config.pools.iter().map(|pool| number(&pool.name)).collect()
    }

    /// The highest pool number in use.
    pub fn highest_pool(&self) -> usize {
        self.pools.keys().max().map_or(0, |id| usize::from(*id))
    }

    /// A phase's name.
    pub fn phase(&self, phase: PhaseId) -> Option<&str> {
        self.phases.get(usize::from(phase.0)).map(String::as_str)
    }
}

/// The bounds of a fragment table.
pub fn fragment_limits(limits: &Limits) -> FragmentLimits {
    FragmentLimits {
        datagrams: limits.fragments,
        per_source: limits.fragments_per_source,
        lifetime_micros: limits.fragment_lifetime_micros,
    }
}

/// The budgets of rejects.
pub fn reject_limits(limits: &Limits) -> RejectLimits {
    RejectLimits {
        burst: limits.reject_burst,
        interval_micros: limits.reject_interval_micros,
        per_second: limits.reject_per_second,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Pool;

    fn config(names: impl Iterator<Item = String>) -> Config {
        let text = "[[port]]\nname = \"a\"\nrole = \"subscriber\"\npeer = \"b\"\ndriver = \"memory\"\n\
                    [[port]]\nname = \"b\"\nrole = \"internet\"\npeer = \"a\"\ndriver = \"memory\"\n\
                    [[policy]]\nname = \"p\"\n";
        let pools =
            names.map(|name| Pool { name, title: None, policy: 0, prefixes: Vec::new(), from_kernel: None });
        let config = Config::from_toml(text, Path::new("/etc/s.toml")).unwrap();
        Config { pools: pools.collect(), ..config }
    }

    #[test]
    fn too_many_pools_at_once_are_told_otherwise_than_too_many_names_since_the_start() {
        let all = config((0..=MAX_POOLS).map(|n| n.to_string()));
        let error = Compiler::default().compile(&all, Vec::new()).err().unwrap().to_string();
        assert_eq!(error, "32768 pools; at most 32767 are possible: join pools that have one policy");

        let mut compiler = Compiler::default();
        compiler.compile(&config((0..20_000).map(|n| format!("a{n}"))), Vec::new()).unwrap();
        let others = config((0..20_000).map(|n| format!("b{n}")));
        let error = compiler.compile(&others, Vec::new()).err().unwrap().to_string();
        assert!(
            error.starts_with("40000 names of pools since the start, 20000 of them in use now"),
            "{error}"
        );
        assert!(error.ends_with("restart to number them anew"), "{error}");
    }
}
