//! A generation: one immutable whole of tables, policies, phases, grants and the topology of ports.
//!
//! The control side describes it in a [`Blueprint`], compiles it off the worker cores and publishes it (see
//! [`publication`](crate::publication)). Every packet is judged by exactly one generation: a worker takes it
//! once per burst and nothing in it changes, but for the latches of phases, which only ever go from unset to
//! set.
//!
//! Its number stands for a validated configuration. Grants come and go beside it: [`Generation::with_grants`]
//! gives a generation of the same number that shares all tables, so that a grant costs no compilation.

use std::net::IpAddr;
use std::sync::Arc;

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};

use crate::affected::Destination;
use crate::frame::{Addresses, Depth};
use crate::lpm::{BuildError, Table4, Table6};
use crate::policy::grants::Grants;
use crate::policy::phase::{Phase, Phases, Scope};
use crate::policy::sets::{Mask, Nat64, Sets, words_for};
use crate::policy::{
    Action, DivertFallback, Grant, Kind, Latch, PhaseId, PoolId, PortId, RejectWith, ReversePath, Role,
    SourceValidation,
};

/// What a generation is compiled from. Indices are places in the lists of the blueprint itself.
#[derive(Clone, Debug, Default)]
pub struct Blueprint {
    /// The generation's number.
    pub number: u64,
    /// The ports, in the order of their [`PortId`]s.
    pub ports: Vec<PortPlan>,
    /// The customers' pools.
    pub pools: Vec<PoolPlan>,
    /// The destination sets.
    pub sets: Vec<Vec<IpNetwork>>,
    /// The policies.
    pub policies: Vec<PolicyPlan>,
    /// The grants.
    pub grants: Vec<Grant>,
    /// Rule 6; `None` is off.
    pub source_validation: Option<SourceValidation>,
    /// Whether the way back to a source must lead where its packet came from, in route mode.
    pub reverse_path: ReversePath,
    /// Whether hosts are told of better first hops, in route mode.
    pub redirects: bool,
    /// Operators' NAT64 prefixes; the well-known one is always there.
    pub nat64: Vec<Nat64>,
    /// How deep frames are read.
    pub depth: Depth,
}

/// A port in a blueprint.
#[derive(Clone, Debug)]
pub struct PortPlan {
    /// Which side it faces.
    pub role: Role,
    /// The port that its frames leave by; none for a filter.
    pub peer: Option<usize>,
}

/// A pool in a blueprint.
#[derive(Clone, Debug)]
pub struct PoolPlan {
    /// Its number, which keeps its counters from one generation to the next.
    pub id: PoolId,
    /// Its policy.
    pub policy: usize,
    /// Its prefixes.
    pub prefixes: Vec<IpNetwork>,
}

/// A policy in a blueprint.
#[derive(Clone, Debug)]
pub struct PolicyPlan {
    /// What holds.
    pub kind: Kind,
    /// Sets that are always reachable.
    pub allow: Vec<usize>,
    /// What a deny does.
    pub action: Action,
    /// How a reject answers.
    pub reject_with: RejectWith,
    /// What a divert does while the filter is down.
    pub divert_fallback: DivertFallback,
    /// Whether answers from outside are denied as well.
    pub mirror: bool,
    /// The phases, in the order of the file.
    pub phases: Vec<PhasePlan>,
}

/// A phase in a blueprint.
#[derive(Clone, Debug)]
pub struct PhasePlan {
    /// Its first instant, in UTC microseconds.
    pub from: i64,
    /// The sets it denies; `None` is all destinations.
    pub block: Option<Vec<usize>>,
    /// What a deny of it does.
    pub action: Action,
    /// Whether it has begun; shared between generations that hold the same phase.
    pub latch: Arc<Latch>,
}

/// Why a blueprint can't be compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// A table refuses its prefixes.
    #[error(transparent)]
    Table(#[from] BuildError),
    /// An index points past the end of its list.
    #[error("the blueprint names {what} {index}, and has {count}")]
    Missing {
        /// What is missing.
        what: &'static str,
        /// Its index.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// More ports than a port number counts.
    #[error("{0} ports; at most {max} are possible", max = MAX_PORTS)]
    TooManyPorts(usize),
    /// More phases than a phase number counts.
    #[error("{0} phases; at most 65535 are possible")]
    TooManyPhases(usize),
}

/// Ports are numbered with eight bits.
pub const MAX_PORTS: usize = 256;

/// A policy, compiled.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) kind: Kind,
    pub(crate) allow: Mask,
    pub(crate) action: Action,
    pub(crate) reject_with: RejectWith,
    pub(crate) divert_fallback: DivertFallback,
    pub(crate) mirror: bool,
    /// In the order in which they decide: enforced before monitored, then by instant, then as in the file.
    pub(crate) phases: Box<[PhaseId]>,
}

/// A port, compiled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Port {
    pub(crate) role: Role,
    pub(crate) peer: Option<PortId>,
}

/// The number of a table of this generation, with what it holds and takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableSize {
    /// The table's name in reports and metrics.
    pub table: &'static str,
    /// Prefixes in it.
    pub prefixes: usize,
    /// Bytes that it takes.
    pub bytes: usize,
}

/// One compiled generation. See the module's documentation.
#[derive(Debug)]
pub struct Generation {
    number: u64,
    grants: Grants,
    tables: Arc<Tables>,
}

/// Everything that a configuration says, compiled. Generations that differ in their grants alone share it; it is
/// freed with the last of them, by whoever frees that one.
#[derive(Debug)]
struct Tables {
    pools_v4: Table4,
    pools_v6: Table6,
    sets: Sets,
    /// The sets that some policy always allows.
    own: Mask,
    /// By pool id: the place of its policy.
    policy_of_pool: Box<[u16]>,
    policies: Box<[Policy]>,
    phases: Phases,
    source_validation: SourceValidation,
    reverse_path: ReversePath,
    redirects: bool,
    depth: Depth,
    ports: Box<[Port]>,
    filter: Option<PortId>,
}

const NO_POLICY: u16 = u16::MAX;

impl Generation {
    /// Compiles a blueprint.
    ///
    /// # Errors
    /// When a table refuses its prefixes (a duplicate, host bits set, too many), or an index is wrong.
    pub fn compile(plan: &Blueprint) -> Result<Generation, CompileError> {
        let ports = compile_ports(&plan.ports)?;
        let words = words_for(plan.sets.len());
        let mut phases = Vec::new();
        let mut policies = Vec::with_capacity(plan.policies.len());
        for policy in &plan.policies {
            policies.push(compile_policy(policy, plan.sets.len(), words, &mut phases)?);
        }
        if phases.len() > usize::from(u16::MAX) {
            return Err(CompileError::TooManyPhases(phases.len()));
        }

        let pools = plan.pools.iter().map(|pool| usize::from(pool.id.0) + 1).max().unwrap_or(0);
        let mut policy_of_pool = vec![NO_POLICY; pools];
        let mut v4: Vec<(Ipv4Network, u32)> = Vec::new();
        let mut v6: Vec<(Ipv6Network, u32)> = Vec::new();
        for pool in &plan.pools {
            check("policy", pool.policy, policies.len())?;
            policy_of_pool[usize::from(pool.id.0)] = pool.policy as u16;
            for prefix in &pool.prefixes {
                match prefix {
                    IpNetwork::V4(prefix) => v4.push((*prefix, u32::from(pool.id.0))),
                    IpNetwork::V6(prefix) => v6.push((*prefix, u32::from(pool.id.0))),
                }
            }
        }
        let nat64 = [Nat64::WELL_KNOWN].into_iter().chain(plan.nat64.iter().copied()).collect();
        let tables = Tables {
            pools_v4: Table4::build(&v4)?,
            pools_v6: Table6::build(&v6)?,
            sets: Sets::build(&plan.sets, nat64)?,
            own: Mask::of(plan.policies.iter().flat_map(|policy| policy.allow.iter().copied()), words),
            policy_of_pool: policy_of_pool.into(),
            policies: policies.into(),
            phases: Phases::new(phases),
            source_validation: plan.source_validation.unwrap_or(SourceValidation::Off),
            reverse_path: plan.reverse_path,
            redirects: plan.redirects,
            depth: plan.depth,
            filter: ports.iter().position(|port| port.role == Role::Filter).map(|n| PortId(n as u8)),
            ports,
        };
        Ok(Generation {
            number: plan.number,
            grants: Grants::new(plan.grants.clone()),
            tables: Arc::new(tables),
        })
    }

    /// The same with other grants. The tables are shared, so the cost is that of the grants, whatever the tables
    /// hold. The number stays: it stands for a configuration, and grants are no part of one.
    pub fn with_grants(&self, grants: Vec<Grant>) -> Generation {
        Generation { number: self.number, grants: Grants::new(grants), tables: Arc::clone(&self.tables) }
    }

    /// The same under another number, for tables that are put in force again.
    pub fn renumbered(self, number: u64) -> Generation {
        Generation { number, ..self }
    }

    /// The generation's number.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// How deep frames are read.
    pub fn depth(&self) -> Depth {
        self.tables.depth
    }

    /// The port that diverted packets go to.
    pub fn filter(&self) -> Option<PortId> {
        self.tables.filter
    }

    /// How many ports there are.
    pub fn port_count(&self) -> usize {
        self.tables.ports.len()
    }

    /// Which side a port faces.
    pub fn role(&self, port: PortId) -> Role {
        self.port(port).role
    }

    /// The pool of an address, by the longest prefix.
    #[inline]
    pub fn pool_of(&self, address: IpAddr) -> PoolId {
        match address {
            IpAddr::V4(address) => self.pool_of_v4(address.to_bits()),
            IpAddr::V6(address) => self.pool_of_v6(address.to_bits()),
        }
    }

    /// The pool of an IPv4 address in host order.
    #[inline]
    pub fn pool_of_v4(&self, address: u32) -> PoolId {
        PoolId(self.tables.pools_v4.lookup(address) as u16)
    }

    /// The pool of an IPv6 address in host order.
    #[inline]
    pub fn pool_of_v6(&self, address: u128) -> PoolId {
        PoolId(self.tables.pools_v6.lookup(address) as u16)
    }

    /// The sets that hold a destination, by their places in the blueprint.
    pub fn sets_of(&self, destination: IpAddr) -> Vec<usize> {
        let addresses = match destination {
            IpAddr::V4(a) => Addresses::V4 { source: 0, destination: a.to_bits() },
            IpAddr::V6(a) => Addresses::V6 { source: 0, destination: a.to_bits() },
        };
        let mut bits = vec![0u64; self.tables.sets.words()];
        self.tables.sets.of_destination(&addresses, &mut bits);
        (0..bits.len() * 64).filter(|set| bits[set / 64] >> (set % 64) & 1 == 1).collect()
    }

    /// The grants that hold a customer's address, live or not, the longest prefix first.
    pub fn grants_of(&self, customer: IpAddr) -> Vec<Grant> {
        self.grants.holding(customer)
    }

    /// Whether a phase has begun, by its place in the generation.
    pub fn phase_has_begun(&self, phase: PhaseId) -> bool {
        self.tables.phases.get(usize::from(phase.0)).latch.has_begun()
    }

    /// Begins the phases whose instant is not after `now`.
    #[inline]
    pub fn advance(&self, now_utc_micros: i64) {
        self.tables.phases.advance(now_utc_micros);
    }

    /// What the tables hold and take.
    pub fn sizes(&self) -> [TableSize; 4] {
        let (sets_v4, sets_v6) = self.tables.sets.tables();
        let size = |table, prefixes, bytes| TableSize { table, prefixes, bytes };
        [
            size("pools_v4", self.tables.pools_v4.prefixes(), self.tables.pools_v4.memory_bytes()),
            size("pools_v6", self.tables.pools_v6.prefixes(), self.tables.pools_v6.memory_bytes()),
            size("sets_v4", sets_v4.prefixes(), sets_v4.memory_bytes() + self.tables.sets.union_bytes()),
            size("sets_v6", sets_v6.prefixes(), sets_v6.memory_bytes()),
        ]
    }

    pub(crate) fn pools_v4(&self) -> &Table4 {
        &self.tables.pools_v4
    }

    pub(crate) fn pools_v6(&self) -> &Table6 {
        &self.tables.pools_v6
    }

    pub(crate) fn port(&self, port: PortId) -> Port {
        self.tables.ports[usize::from(port.0)]
    }

    /// The internet port of the first pair, where what nobody else knows leaves.
    pub(crate) fn first(&self, role: Role) -> Option<PortId> {
        self.tables.ports.iter().position(|port| port.role == role).map(|at| PortId(at as u8))
    }

    pub(crate) fn source_validation(&self) -> SourceValidation {
        self.tables.source_validation
    }

    pub(crate) fn reverse_path(&self) -> ReversePath {
        self.tables.reverse_path
    }

    pub(crate) fn redirects(&self) -> bool {
        self.tables.redirects
    }

    pub(crate) fn sets(&self) -> &Sets {
        &self.tables.sets
    }

    /// What a destination in these sets is to a customer.
    pub(crate) fn destination(&self, sets: &[u64]) -> Destination {
        match sets.iter().any(|word| *word != 0) {
            true if self.tables.own.intersects(sets) => Destination::Own,
            true => Destination::Listed,
            false => Destination::Other,
        }
    }

    pub(crate) fn grants(&self) -> &Grants {
        &self.grants
    }

    pub(crate) fn phases(&self) -> &Phases {
        &self.tables.phases
    }

    pub(crate) fn policy_of(&self, pool: PoolId) -> Option<&Policy> {
        let policy = *self.tables.policy_of_pool.get(usize::from(pool.0))?;
        self.tables.policies.get(usize::from(policy))
    }
}

fn check(what: &'static str, index: usize, count: usize) -> Result<(), CompileError> {
    match index < count {
        true => Ok(()),
        false => Err(CompileError::Missing { what, index, count }),
    }
}

fn compile_ports(plans: &[PortPlan]) -> Result<Box<[Port]>, CompileError> {
    if plans.len() > MAX_PORTS {
        return Err(CompileError::TooManyPorts(plans.len()));
    }
    plans
        .iter()
        .map(|plan| {
            if let Some(peer) = plan.peer {
                check("port", peer, plans.len())?;
            }
            Ok(Port { role: plan.role, peer: plan.peer.map(|peer| PortId(peer as u8)) })
        })
        .collect()
}

fn compile_policy(
    plan: &PolicyPlan,
    sets: usize,
    words: usize,
    phases: &mut Vec<Phase>,
) -> Result<Policy, CompileError> {
    for &set in plan.allow.iter().chain(plan.phases.iter().filter_map(|p| p.block.as_ref()).flatten()) {
        check("set", set, sets)?;
    }
    let mut order: Vec<usize> = (0..plan.phases.len()).collect();
    order.sort_by_key(|&at| (plan.phases[at].action == Action::Monitor, plan.phases[at].from));
    let first = phases.len();
    phases.extend(plan.phases.iter().map(|phase| Phase {
        from: phase.from,
        latch: Arc::clone(&phase.latch),
        scope: match &phase.block {
            None => Scope::All,
            Some(blocked) => Scope::Sets(Mask::of(blocked.iter().copied(), words)),
        },
        action: phase.action,
    }));
    Ok(Policy {
        kind: plan.kind,
        allow: Mask::of(plan.allow.iter().copied(), words),
        action: plan.action,
        reject_with: plan.reject_with,
        divert_fallback: plan.divert_fallback,
        mirror: plan.mirror,
        phases: order.iter().map(|at| PhaseId((first + at) as u16)).collect(),
    })
}
