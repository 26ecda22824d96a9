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
    let options = LoadOptions { allow_empty: arguments.allow_empty, ..LoadOptions::default() };
    let config = Config::load_with(&arguments.config, options)?;
    // What a client asks to be read again stays the same file, wherever the client is.
    let path = std::path::absolute(&arguments.config).unwrap_or_else(|_| arguments.config.clone());
    let ended = daemon::run(config, &Options { path })?;
    finish(&ended, arguments.json, out)
}

/// Prints the closing summary, and tells what went wrong.
fn finish(ended: &Ended, json: bool, out: &mut impl Write) -> Result<(), Failure> {
    let Ended { in_force, books, failures, truncated, lost } = ended;
    let totals = books.totals();
    if json {
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

#[cfg(test)]
mod tests {
    use sekisho_dataplane::port::memory::Ring;
    use sekisho_dataplane::port::{AnyDriver, MemoryDriver};

    use super::*;

    const PROCESS: &str = "SEKISHO_TEST_OF_A_PANIC";

    /// The whole daemon, with a driver that has one port fewer than the configuration: the last worker panics when
    /// it polls the missing one. Ends the process as the command does.
    #[test]
    fn a_worker_that_panics_is_told_of_and_ends_the_process_with_exit_code_1() {
        const NAME: &str =
            "cli::run::tests::a_worker_that_panics_is_told_of_and_ends_the_process_with_exit_code_1";
        let Some(folder) = std::env::var_os(PROCESS) else {
            let folder = tempfile::tempdir().unwrap();
            let output = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", NAME, "--nocapture"])
                .env(PROCESS, folder.path())
                .env_remove("NOTIFY_SOCKET")
                .output()
                .unwrap();
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let (printed, told) = (text(&output.stdout), text(&output.stderr));
            assert_eq!(output.status.code(), Some(1), "{told}");
            assert!(told.contains("has panicked; the others are stopped"), "{told}");
            assert!(told.contains("panicked (index out of bounds"), "{told}");
            // The books are closed all the same, with what the other worker did.
            assert!(printed.contains(": generation 1, ") && printed.contains("received"), "{printed}");
            assert!(!folder.path().join("control.sock").exists(), "nobody answers there any more");
            return;
        };
        let mut cores = crate::cores::all().unwrap();
        cores.truncate(2);
        let last = cores.len() - 1;
        let text = format!(
            "[dataplane]\ncores = {cores:?}\npoll = \"interrupt\"\n[control]\nsocket = \"control.sock\"\n\
             [[port]]\nname = \"a\"\nrole = \"subscriber\"\npeer = \"b\"\ndriver = \"memory\"\n\
             [[port]]\nname = \"b\"\nrole = \"internet\"\npeer = \"a\"\ndriver = \"memory\"\n"
        );
        let path = Path::new(&folder).join("s.toml");
        let config = Config::from_toml(&text, &path).unwrap();
        let memory = |ports| {
            // Frames that go round for ever: the other worker would never end by itself.
            let mut memory = MemoryDriver::new(ports, 4, 64, Ring::Endless);
            assert!(memory.load(PortId(0), &[0; 60]));
            AnyDriver::Memory(memory)
        };
        let drivers = (0..=last).map(|worker| memory(if worker == last { 1 } else { 2 })).collect();
        let ended = daemon::run_with(config, &Options { path }, |_, _, _| Ok(drivers));
        let mut out = std::io::stdout();
        let result = finish(&ended.unwrap(), false, &mut out);
        let code = super::super::conclude(result, &mut out);
        std::process::exit(i32::from(code != std::process::ExitCode::SUCCESS));
    }
}
