//! `sekisho check`: validates and compiles a configuration and prints what it says.

use std::io::Write;
use std::path::PathBuf;

use serde::Serialize;

use super::Failure;
use crate::compile::Compiler;
use crate::config::{Block, Config, LoadOptions, Phase, Problem};
use crate::words;

/// What `check` is asked to do.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The configuration
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Accept pools and `allow` sets without prefixes
    #[arg(long)]
    allow_empty: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    ports: Vec<PortLine<'a>>,
    pools: Vec<PoolLine<'a>>,
    sets: Vec<SetLine<'a>>,
    policies: Vec<PolicyLine<'a>>,
    tables: Vec<TableLine>,
    memory_bytes: usize,
}

#[derive(Serialize)]
struct PortLine<'a> {
    name: &'a str,
    role: &'static str,
    peer: Option<&'a str>,
}

#[derive(Serialize)]
struct PoolLine<'a> {
    name: &'a str,
    title: Option<&'a str>,
    policy: &'a str,
    prefixes_v4: usize,
    prefixes_v6: usize,
}

#[derive(Serialize)]
struct SetLine<'a> {
    name: &'a str,
    prefixes: usize,
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
struct PhaseLine<'a> {
    name: &'a str,
    from: &'a str,
    state: &'static str,
    block: Vec<&'a str>,
    action: &'static str,
}

#[derive(Serialize)]
struct TableLine {
    table: &'static str,
    prefixes: usize,
    bytes: usize,
}

#[derive(Serialize)]
struct Refusal<'a> {
    ok: bool,
    problems: &'a [Problem],
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> Result<(), Failure> {
    let options = LoadOptions { allow_empty: arguments.allow_empty };
    let config = match Config::load_with(&arguments.config, options) {
        Ok(config) => config,
        Err(error) => {
            if arguments.json {
                write_json(out, &Refusal { ok: false, problems: error.problems() })?;
            }
            return Err(error.into());
        }
    };
    let compiled = Compiler::default().compile(&config, Vec::new())?;
    let tables = compiled.generation.sizes().map(|size| TableLine {
        table: size.table,
        prefixes: size.prefixes,
        bytes: size.bytes,
    });
    let report = Report::new(&config, tables.into(), super::now());
    match arguments.json {
        true => write_json(out, &report),
        false => report.print(out, &arguments.config.display().to_string()),
    }
}

fn write_json(out: &mut impl Write, value: &impl Serialize) -> Result<(), Failure> {
    serde_json::to_writer(&mut *out, value).map_err(std::io::Error::from)?;
    writeln!(out)?;
    Ok(())
}

impl<'a> Report<'a> {
    fn new(config: &'a Config, tables: Vec<TableLine>, now: i64) -> Report<'a> {
        Report {
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
                })
                .collect(),
            sets: config
                .sets
                .iter()
                .map(|set| SetLine { name: &set.name, prefixes: set.prefixes.len() })
                .collect(),
            policies: config.policies.iter().map(|policy| policy_line(config, policy, now)).collect(),
            memory_bytes: tables.iter().map(|table| table.bytes).sum(),
            tables,
        }
    }

    fn print(&self, out: &mut impl Write, file: &str) -> Result<(), Failure> {
        writeln!(out, "{file}: accepted\n")?;
        writeln!(out, "{:<24}{:<12}peer", "port", "role")?;
        for port in &self.ports {
            writeln!(out, "{:<24}{:<12}{}", port.name, port.role, port.peer.unwrap_or("-"))?;
        }
        writeln!(out, "\n{:<24}{:<20}{:>10}{:>10}  title", "pool", "policy", "IPv4", "IPv6")?;
        for pool in &self.pools {
            let (v4, v6, title) = (pool.prefixes_v4, pool.prefixes_v6, pool.title.unwrap_or(""));
            let line = format!("{:<24}{:<20}{v4:>10}{v6:>10}  {title}", pool.name, pool.policy);
            writeln!(out, "{}", line.trim_end())?;
        }
        writeln!(out, "\n{:<24}{:>10}", "set", "prefixes")?;
        for set in &self.sets {
            writeln!(out, "{:<24}{:>10}", set.name, set.prefixes)?;
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

fn policy_line<'a>(
    config: &'a Config,
    policy: &'a crate::config::Policy,
    now: i64,
) -> PolicyLine<'a> {
    let set = |at: &usize| config.sets[*at].name.as_str();
    let done = |phase: &Phase| phase.action.unwrap_or(policy.action);
    // Phases are a union: once a later one denies all in the same way, an earlier one has nothing to add.
    let is_past = |phase: &Phase| {
        policy.phases.iter().any(|later| {
            later.block == Block::All
                && later.from_micros <= now
                && later.from_micros > phase.from_micros
                && done(later) == done(phase)
        })
    };
    PolicyLine {
        name: &policy.name,
        kind: words::kind(policy.kind),
        action: words::action(policy.action),
        allow: policy.allow.iter().map(set).collect(),
        mirror: policy.mirror,
        phases: policy
            .phases
            .iter()
            .map(|phase| PhaseLine {
                name: &phase.name,
                from: &phase.from_text,
                state: match phase {
                    phase if phase.from_micros > now => "to come",
                    phase if is_past(phase) => "past",
                    _ => "in force",
                },
                block: match &phase.block {
                    Block::All => vec!["all"],
                    Block::Sets(sets) => sets.iter().map(set).collect(),
                },
                action: words::action(done(phase)),
            })
            .collect(),
    }
}
