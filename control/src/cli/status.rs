//! `sekisho status`: the running daemon at a glance.

use std::io::{self, Write};

use sekisho_dataplane::port::xdp::XdpManner;
use sekisho_dataplane::stages::EVERY;

use super::remote::Remote;
use super::{Failure, shorten};
use crate::daemon::{KernelRead, MirrorRead, PuntsRead, Recorded, TableState, TwinsRead};
use crate::rpc::methods::Nothing;
use crate::rpc::methods::status::{ServiceTime, StageCost, Status, WorkerStatus};
use crate::words::{plural, plural_of, span};

/// What `status` is asked.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Show where the workers' time goes: by stage, by burst
    #[arg(long)]
    stages: bool,
    #[command(flatten)]
    remote: Remote,
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> Result<(), Failure> {
    let print = if arguments.stages { print_stages } else { print };
    arguments.remote.show("status", &Nothing {}, out, print)
}

fn print_stages(status: &Status, out: &mut dyn Write) -> io::Result<()> {
    for WorkerStatus { worker, core, time, .. } in &status.workers {
        if time.measured_bursts == 0 {
            writeln!(out, "worker {worker} on core {core}: nothing measured yet; one burst in {EVERY} is\n")?;
            continue;
        }
        writeln!(
            out,
            "worker {worker} on core {core}: busy {:.1} % of its polls' time, {:.1} packets a burst",
            time.busy_share * 100.0,
            time.packets_per_burst
        )?;
        writeln!(out, "\n  {:<12}{:>12}{:>12}", "stage", "ns/packet", "cycles")?;
        for StageCost { stage, ns, cycles } in &time.stages {
            writeln!(out, "  {stage:<12}{ns:>12.2}{cycles:>12.1}")?;
        }
        writeln!(out, "\n  {:<12}{:>12}", "burst below", "bursts")?;
        for ServiceTime { below_ns, bursts } in &time.service {
            writeln!(out, "  {:<12}{bursts:>12}", format!("{:.2} µs", below_ns / 1e3))?;
        }
        writeln!(out, "  measured: {} bursts, one in {EVERY}\n", time.measured_bursts)?;
    }
    Ok(())
}

fn print(status: &Status, out: &mut dyn Write) -> io::Result<()> {
    let Status { version, pid, started, uptime_seconds, .. } = status;
    writeln!(
        out,
        "sekisho {version}, process {pid}, running for {} since {}",
        span(*uptime_seconds),
        seconds(started)
    )?;
    let cores: Vec<String> = status.workers.iter().map(|worker| worker.core.to_string()).collect();
    let workers = plural(status.workers.len(), "worker");
    let on = format!("{} {}", plural_of(cores.len(), "core"), cores.join(", "));
    writeln!(out, "  {workers} on {}, poll {}, batch {}", shorten(&on, 50), status.poll, status.batch)?;
    writeln!(
        out,
        "  generation {} in force since {}; {}, {} refused",
        status.generation,
        seconds(&status.in_force_since),
        plural(status.reloads as usize, "reload"),
        status.reloads_refused
    )?;
    if let Some(awaited) = &status.confirmation {
        writeln!(
            out,
            "  awaits confirmation: without it, generation {} comes back in {}",
            awaited.previous,
            span(awaited.seconds_left)
        )?;
    }
    writeln!(out, "  from {}", status.config)?;
    if status.config != status.start_config {
        writeln!(out, "  started from {}", status.start_config)?;
    }
    if let Some(metrics) = &status.metrics {
        writeln!(out, "  metrics at {metrics}")?;
    }
    if let Some(why) = &status.metrics_trouble {
        writeln!(out, "  no metrics: {}", shorten(why, 86))?;
    }
    for failed in &status.failed_threads {
        writeln!(out, "  {} has panicked; until a restart {}", failed.thread, shorten(&failed.what, 60))?;
    }
    for why in &status.routes_refused {
        writeln!(out, "  not in force: {}", shorten(why, 82))?;
    }
    let phases = &status.phases;
    write!(out, "  phases: {} begun, {} to come", phases.begun, phases.to_come)?;
    match &phases.next {
        None => writeln!(out)?,
        Some(next) => {
            writeln!(out, "; next {} of {} in {}", next.phase, next.policy, span(next.in_seconds))?;
        }
    }
    if status.grants > 0 {
        writeln!(out, "  grants: {}", status.grants)?;
    }
    history(&status.generations, out)?;
    let prefixes: usize = status.tables.iter().map(|table| table.prefixes).sum();
    let memory = status.memory_bytes as f64 / 1_048_576.0;
    writeln!(out, "  tables: {} in {memory:.1} MiB", plural(prefixes, "prefix"))?;

    if let Some(kernel) = &status.kernel {
        print_kernel(kernel, out)?;
    }
    if let Some(twins) = &status.twins {
        let TwinsRead { to_kernel, refused, limited, full, from_kernel, unsent, .. } = twins;
        let lost = refused + limited + full;
        writeln!(
            out,
            "  twins: {to_kernel} frames to the kernel, {lost} not; {from_kernel} from it, {unsent} not sent"
        )?;
        if twins.wants_lost > 0 {
            writeln!(out, "  next hops not asked for, since too many are: {} packets", twins.wants_lost)?;
        }
        for port in &status.ports {
            if let Some(lost) = port.punts.as_deref().and_then(over_share) {
                writeln!(out, "  {}: frames for the router over the port's share: {lost}", port.name)?;
            }
        }
    }
    writeln!(
        out,
        "\n{:<16}{:<12}{:<18}{:>13}{:>13}{:>10}  state",
        "port", "role", "driver", "received", "left", "missed"
    )?;
    for port in &status.ports {
        let driver = match &port.device {
            Some(device) => format!("{} {device}", port.driver),
            None => port.driver.clone(),
        };
        let state = port.outage.as_deref().unwrap_or("up");
        writeln!(
            out,
            "{:<16}{:<12}{:<18}{:>13}{:>13}{:>10}  {}",
            shorten(&port.name, 15),
            port.role,
            shorten(&driver, 17),
            port.received_packets,
            port.transmitted_packets,
            port.missed_packets,
            shorten(state, 14)
        )?;
    }
    // What has no room in the table.
    for port in &status.ports {
        if let Some(outage) = port.outage.as_deref().filter(|outage| outage.chars().count() > 14) {
            writeln!(out, "{}: {outage}", port.name)?;
        }
    }

    for (port, xdp) in status.ports.iter().filter_map(|port| Some((port, port.xdp.as_ref()?))) {
        writeln!(out, "{}: {}", port.name, XdpManner::from(xdp))?;
    }
    for (port, health) in status.ports.iter().filter_map(|port| Some((port, port.health.as_ref()?))) {
        writeln!(
            out,
            "{}: checked by {} at {}: {} of {} answered, the last {} not",
            port.name, health.check, health.address, health.answers, health.checks, health.failed_in_a_row
        )?;
    }

    writeln!(
        out,
        "\n{:<8}{:>5}{:>15}{:>15}{:>15}{:>15}  asleep",
        "worker", "core", "packets", "bursts", "idle rounds", "sleeps"
    )?;
    for worker in &status.workers {
        let asleep = match worker.running {
            true => span(worker.asleep_seconds),
            false => "ended".to_owned(),
        };
        writeln!(
            out,
            "{:<8}{:>5}{:>15}{:>15}{:>15}{:>15}  {asleep}",
            worker.worker, worker.core, worker.packets, worker.bursts, worker.idle_rounds, worker.sleeps
        )?;
    }
    let sums = status.totals;
    writeln!(
        out,
        "\n{} received: {} forwarded, {} denied, {} lost to errors",
        sums.received, sums.forwarded, sums.denied, sums.errors
    )
}

/// Frames for the router itself that went over a port's share, by class; nothing if none did.
fn over_share(punts: &[PuntsRead]) -> Option<String> {
    let lost = punts.iter().map(|punts| (punts.limited + punts.full, &punts.class));
    let lost: Vec<_> =
        lost.filter(|(count, _)| *count > 0).map(|(count, class)| format!("{count} {class}")).collect();
    (!lost.is_empty()).then(|| lost.join(", "))
}

/// The kernel's tables.
fn print_kernel(kernel: &KernelRead, out: &mut dyn Write) -> io::Result<()> {
    for TableState { table, prefixes, in_force, held, held_for_seconds } in &kernel.tables {
        let held = match (held, held_for_seconds) {
            (0, _) => String::new(),
            (held, Some(left)) => format!(", {held} lost and held for {}", span(*left)),
            (held, None) => format!(", {held} lost and held until there are routes again"),
        };
        writeln!(out, "  kernel table {table}: {}, {in_force} in force{held}", plural(*prefixes, "prefix"))?;
    }
    if let Some(mirror) = &kernel.mirror {
        let MirrorRead { routes_v4, routes_v6, neighbours, links, last_seconds, .. } = mirror;
        writeln!(
            out,
            "  mirrored: {routes_v4} IPv4 and {routes_v6} IPv6 routes, {neighbours} neighbours, {links} links; the last \
             batch in {:.1} ms",
            last_seconds * 1e3
        )?;
    }
    if kernel.conflicts > 0 {
        writeln!(out, "  kernel tables: {} in another pool already", plural(kernel.conflicts, "prefix"))?;
    }
    writeln!(
        out,
        "  kernel: {} heard, {}, {} lost notifications",
        plural(kernel.events as usize, "route"),
        plural(kernel.resyncs as usize, "resynchronisation"),
        kernel.overruns
    )
}

/// The generations before, on a line or two: `sekisho rollback --list` tells more.
fn history(generations: &[Recorded], out: &mut dyn Write) -> io::Result<()> {
    let before: Vec<String> = generations
        .iter()
        .skip(1)
        .map(|entry| format!("{} {} ({})", entry.generation, entry.state, entry.author))
        .collect();
    match before.is_empty() {
        true => Ok(()),
        false => writeln!(out, "  {}", shorten(&format!("before: {}", before.join(", ")), 98)),
    }
}

/// An instant without its fraction.
fn seconds(instant: &str) -> String {
    match instant.split_once('.') {
        Some((whole, _)) => format!("{whole}Z"),
        None => instant.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_told_without_its_fraction() {
        assert_eq!(seconds("2006-06-01T00:00:00.123456Z"), "2006-06-01T00:00:00Z");
        assert_eq!(seconds("2006-06-01T00:00:00Z"), "2006-06-01T00:00:00Z");
    }

    #[test]
    fn what_a_flooded_port_lost_is_told_by_class_and_nothing_of_a_quiet_one() {
        let class = |class: &str, limited, full| PuntsRead { class: class.into(), punted: 9, limited, full };
        let flooded = [class("neighbours", 3, 4), class("routing", 0, 0), class("rest", 0, 1)];
        assert_eq!(over_share(&flooded).as_deref(), Some("7 neighbours, 1 rest"));
        assert_eq!(over_share(&[class("neighbours", 0, 0)]), None);
    }
}
