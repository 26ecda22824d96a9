//! What a configuration says, in short: what `sekisho check` prints, and the daemon's method `check` answers.

use std::io::{self, Write};

use sekisho_dataplane::generation::{Generation, TableSize};
use serde::{Deserialize, Serialize};

use crate::config::{Block, Config, Mode, Phase, Policy};
use crate::doctor::warnings;
use crate::words;

/// The outline of a configuration.
#[derive(Serialize)]
pub struct Outline<'a> {
    ok: bool,
    ports: Vec<PortLine<'a>>,
    pools: Vec<PoolLine<'a>>,
    sets: Vec<SetLine<'a>>,
    policies: Vec<PolicyLine<'a>>,
    /// In route mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    routing: Option<RoutingLine>,
    tables: Vec<TableLine>,
    memory_bytes: usize,
    /// What is right and would not run, or not on this host.
    pub(crate) warnings: Vec<String>,
}

#[derive(Serialize)]
struct PortLine<'a> {
    name: &'a str,
    role: &'static str,
    peer: Option<&'a str>,
}

/// What a configuration says of routes.
#[derive(Serialize)]
struct RoutingLine {
    links: usize,
    routes_v4: usize,
    routes_v6: usize,
    neighbours: usize,
    urpf: &'static str,
}

impl RoutingLine {
    fn new(config: &Config) -> RoutingLine {
        let links = config.ports.iter().map(|port| 1 + port.router.vlans.len()).sum();
        let v4 = config.routes.iter().filter(|route| route.to.is_ipv4()).count();
        RoutingLine {
            links,
            routes_v4: v4,
            routes_v6: config.routes.len() - v4,
            neighbours: config.neighbours.len(),
            urpf: words::reverse_path(config.checks.urpf),
        }
    }
}

#[derive(Serialize)]
struct PoolLine<'a> {
    name: &'a str,
    title: Option<&'a str>,
    policy: &'a str,
    prefixes_v4: usize,
    prefixes_v6: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    kernel_table: Option<u32>,
}

#[derive(Serialize)]
struct SetLine<'a> {
    name: &'a str,
    prefixes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    kernel_table: Option<u32>,
}

#[derive(Serialize)]
struct PolicyLine<'a> {
    name: &'a str,
    kind: &'static str,
    action: &'static str,
    allow: Vec<&'a str>,
    mirror: bool,
    phases: Vec<PhaseLine<'a>>,
}

#[derive(Serialize)]
pub(crate) struct PhaseLine<'a> {
    pub(crate) name: &'a str,
    pub(crate) from: &'a str,
    pub(crate) state: &'static str,
    pub(crate) block: Vec<&'a str>,
    pub(crate) action: &'static str,
}

/// A table, with what it holds and takes.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct TableLine {
    /// Its name.
    pub table: String,
    /// Prefixes in it.
    pub prefixes: usize,
    /// Bytes that it takes.
    pub bytes: usize,
}

impl From<TableSize> for TableLine {
    fn from(size: TableSize) -> TableLine {
        TableLine { table: size.table.to_owned(), prefixes: size.prefixes, bytes: size.bytes }
    }
}

impl<'a> Outline<'a> {
    /// The outline of `config`, compiled to `generation`; `begun` says of a phase whether it has begun.
    pub fn new(
        config: &'a Config,
        generation: &Generation,
        begun: impl Fn(&Policy, &Phase) -> bool,
    ) -> Outline<'a> {
        let tables = generation.sizes().map(TableLine::from);
        Outline {
            ok: true,
            ports: config
                .ports
                .iter()
                .map(|port| PortLine {
                    name: &port.name,
                    role: words::role(port.role),
                    peer: port.peer.map(|peer| config.ports[peer].name.as_str()),
                })
                .collect(),
            pools: config
                .pools
                .iter()
                .map(|pool| PoolLine {
                    name: &pool.name,
                    title: pool.title.as_deref(),
                    policy: &config.policies[pool.policy].name,
                    prefixes_v4: pool.prefixes.iter().filter(|prefix| prefix.is_ipv4()).count(),
                    prefixes_v6: pool.prefixes.iter().filter(|prefix| prefix.is_ipv6()).count(),
                    kernel_table: pool.from_kernel.map(|from| from.table),
                })
                .collect(),
            sets: config
                .sets
                .iter()
                .map(|set| SetLine {
                    name: &set.name,
                    prefixes: set.prefixes.len(),
                    kernel_table: set.from_kernel.map(|from| from.table),
                })
                .collect(),
            policies: config.policies.iter().map(|policy| policy_line(config, policy, &begun)).collect(),
            warnings: warnings(config),
            routing: (config.dataplane.mode == Mode::Route).then(|| RoutingLine::new(config)),
            memory_bytes: tables.iter().map(|table| table.bytes).sum(),
            tables: tables.into(),
        }
    }

    /// Prints it for people.
    ///
    /// # Errors
    /// When `out` can't be written.
    pub fn print(&self, out: &mut impl Write, file: &str) -> io::Result<()> {
        writeln!(out, "{file}: accepted\n")?;
        writeln!(out, "{:<24}{:<12}peer", "port", "role")?;
        for port in &self.ports {
            writeln!(out, "{:<24}{:<12}{}", port.name, port.role, port.peer.unwrap_or("-"))?;
        }
        if let Some(RoutingLine { links, routes_v4, routes_v6, neighbours, urpf }) = &self.routing {
            writeln!(
                out,
                "\nroute mode: {links} links, {routes_v4} IPv4 and {routes_v6} IPv6 routes, \
                 {neighbours} neighbours, urpf {urpf}"
            )?;
        }
        writeln!(out, "\n{:<24}{:<20}{:>10}{:>10}  title", "pool", "policy", "IPv4", "IPv6")?;
        for pool in &self.pools {
            let (v4, v6, title) = (pool.prefixes_v4, pool.prefixes_v6, pool.title.unwrap_or(""));
            let line = format!("{:<24}{:<20}{v4:>10}{v6:>10}  {title}", pool.name, pool.policy);
            writeln!(out, "{}", line.trim_end())?;
            if let Some(table) = pool.kernel_table {
                writeln!(out, "  from kernel table {table}, as it is now")?;
            }
        }
        writeln!(out, "\n{:<24}{:>10}", "set", "prefixes")?;
        for set in &self.sets {
            let table =
                set.kernel_table.map_or(String::new(), |table| format!("  from kernel table {table}"));
            writeln!(out, "{:<24}{:>10}{table}", set.name, set.prefixes)?;
        }
        for policy in &self.policies {
            let mirror = if policy.mirror { "" } else { ", no mirror" };
            let PolicyLine { name, kind, action, .. } = policy;
            writeln!(out, "\npolicy {name}: {kind}, {action}{mirror}")?;
            if !policy.allow.is_empty() {
                writeln!(out, "  always reachable: {}", policy.allow.join(", "))?;
            }
            for phase in &policy.phases {
                let block = phase.block.join(", ");
                let PhaseLine { name, from, state, action, .. } = phase;
                writeln!(out, "  {state:<9} {name} from {from}: {action} to {block}")?;
            }
        }
        writeln!(out, "\n{:<24}{:>10}{:>14}", "table", "prefixes", "bytes")?;
        for table in &self.tables {
            writeln!(out, "{:<24}{:>10}{:>14}", table.table, table.prefixes, table.bytes)?;
        }
        writeln!(out, "{:<24}{:>10}{:>14}", "sum", "", self.memory_bytes)?;
        Ok(())
    }
}

/// One policy and its phases.
fn policy_line<'a>(
    config: &'a Config,
    policy: &'a Policy,
    begun: &impl Fn(&Policy, &Phase) -> bool,
) -> PolicyLine<'a> {
    PolicyLine {
        name: &policy.name,
        kind: words::kind(policy.kind),
        action: words::action(policy.action),
        allow: policy.allow.iter().map(|at| config.sets[*at].name.as_str()).collect(),
        mirror: policy.mirror,
        phases: policy.phases.iter().map(|phase| phase_line(config, policy, phase, begun)).collect(),
    }
}

/// One phase of a policy.
pub(crate) fn phase_line<'a>(
    config: &'a Config,
    policy: &'a Policy,
    phase: &'a Phase,
    begun: &impl Fn(&Policy, &Phase) -> bool,
) -> PhaseLine<'a> {
    let done = |phase: &Phase| phase.action.unwrap_or(policy.action);
    // Phases are a union: once a later one denies all in the same way, an earlier one has nothing to add.
    let is_past = || {
        policy.phases.iter().any(|later| {
            later.block == Block::All
                && begun(policy, later)
                && later.from_micros > phase.from_micros
                && done(later) == done(phase)
        })
    };
    PhaseLine {
        name: &phase.name,
        from: &phase.from_text,
        state: match phase {
            phase if !begun(policy, phase) => "to come",
            _ if is_past() => "past",
            _ => "in force",
        },
        block: match &phase.block {
            Block::All => vec!["all"],
            Block::Sets(sets) => sets.iter().map(|at| config.sets[*at].name.as_str()).collect(),
        },
        action: words::action(done(phase)),
    }
}
