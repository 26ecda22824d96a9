//! `sekisho counters`: everything that the running daemon counts.

use std::io::{self, Write};

use sekisho_dataplane::counters::Totals;

use super::remote::Remote;
use super::{Failure, shorten};
use crate::report;
use crate::rpc::methods::counters::{Counters, Wanted};

/// What `counters` is asked.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Each worker's share as well
    #[arg(long)]
    workers: bool,
    #[command(flatten)]
    remote: Remote,
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> Result<(), Failure> {
    arguments.remote.show("counters", &Wanted { workers: arguments.workers }, out, print)
}

fn print(counters: &Counters, mut out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "generation {}, {}\n", counters.generation, counters.at)?;
    writeln!(
        out,
        "{:<26}{:<12}{:>15}{:>15}{:>15}{:>15}",
        "port", "role", "received", "forwarded", "denied", "left"
    )?;
    for port in &counters.ports {
        line(out, &port.port, port)?;
        for (what, count) in port.driver.iter().filter(|(_, count)| **count > 0) {
            writeln!(out, "  {what} {count}")?;
        }
    }
    for worker in &counters.workers {
        for port in &worker.ports {
            line(out, &format!("worker {} {}", worker.worker, port.port), port)?;
        }
    }
    writeln!(out)?;
    report::summary(&mut out, &Totals::from(&counters.totals), &[])
}

fn line(out: &mut dyn Write, name: &str, port: &crate::rpc::methods::counters::PortCounts) -> io::Result<()> {
    let counts = &port.counts;
    writeln!(
        out,
        "{:<26}{:<12}{:>15}{:>15}{:>15}{:>15}",
        shorten(name, 25),
        port.role,
        counts.received_packets,
        counts.forwarded_packets,
        counts.denied_packets,
        counts.transmitted_packets
    )
}
