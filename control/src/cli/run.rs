//! `sekisho run`: the daemon, in the foreground, until it is told to stop or the captures are read through.

use std::io::Write;
use std::path::{Path, PathBuf};

use sekisho_dataplane::policy::PortId;

use super::Failure;
use crate::config::{Config, Driver, LoadOptions};
use crate::daemon::{self, Books, Ended, InForce, Options};
use crate::report::{self, PoolLine, Summary};
use crate::words;

/// What `run` is asked to do.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The configuration
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Accept pools and `allow` sets without prefixes
    #[arg(long)]
    allow_empty: bool,
    /// Print the closing summary as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> Result<(), Failure> {
    let options = LoadOptions { allow_empty: arguments.allow_empty };
    let config = Config::load_with(&arguments.config, options)?;
    // What a client asks to be read again stays the same file, wherever the client is.
    let path = std::path::absolute(&arguments.config).unwrap_or_else(|_| arguments.config.clone());
    let ended = daemon::run(config, &Options { path })?;
    let Ended { in_force, books, failures, truncated, lost } = &ended;

    let totals = books.totals();
    if arguments.json {
        serde_json::to_writer(&mut *out, &Summary::new(&totals)).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        head(out, in_force, books)?;
        report::summary(out, &totals, &pools(in_force, books))?;
        if lost.is_empty() {
            written(out, &in_force.config)?;
        }
    }
    out.flush()?;
    for truncation in truncated {
        let _ = writeln!(std::io::stderr(), "sekisho: warning: {truncation}");
    }
    let troubles: Vec<&str> = lost.iter().chain(failures).map(String::as_str).collect();
    match troubles.is_empty() {
        true => Ok(()),
        false => Err(Failure::refused(troubles.join("\nsekisho: "))),
    }
}

/// The pools that had packets.
fn pools<'a>(in_force: &'a InForce, books: &Books) -> Vec<PoolLine<'a>> {
    let pools = in_force.config.pools.iter().zip(in_force.names.pools_in_order(&in_force.config));
    let lines = pools.filter_map(|(pool, id)| {
        let totals = books.pool(id);
        let line = PoolLine { name: &pool.name, title: pool.title.as_deref(), totals };
        (totals.packets > 0).then_some(line)
    });
    lines.collect()
}

fn head(out: &mut impl Write, in_force: &InForce, books: &Books) -> Result<(), Failure> {
    let cores: Vec<String> = books.workers.iter().map(|worker| worker.core.to_string()).collect();
    writeln!(
        out,
        "sekisho {}: generation {}, {} on {} {}\n",
        env!("CARGO_PKG_VERSION"),
        in_force.generation,
        words::plural(cores.len(), "worker"),
        words::plural_of(cores.len(), "core"),
        cores.join(", ")
    )?;
    writeln!(
        out,
        "{:<16}{:<12}{:>12}{:>14}{:>12}{:>14}",
        "port", "role", "received", "bytes", "left", "bytes"
    )?;
    for (at, port) in in_force.config.ports.iter().enumerate() {
        let totals = books.port(PortId(at as u8));
        writeln!(
            out,
            "{:<16}{:<12}{:>12}{:>14}{:>12}{:>14}",
            port.name,
            words::role(port.role),
            totals.received,
            totals.received_bytes,
            totals.transmitted,
            totals.transmitted_bytes
        )?;
    }
    writeln!(out)?;
    Ok(())
}

fn written(out: &mut impl Write, config: &Config) -> Result<(), Failure> {
    let written: Vec<(&str, &Path)> = config
        .ports
        .iter()
        .filter_map(|port| match &port.driver {
            Driver::Pcap { write: Some(path), .. } => Some((port.name.as_str(), path.as_path())),
            _ => None,
        })
        .collect();
    if !written.is_empty() {
        writeln!(out)?;
    }
    for (port, path) in written {
        writeln!(out, "{port} wrote {}", path.display())?;
    }
    Ok(())
}
