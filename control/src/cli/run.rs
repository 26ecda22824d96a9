//! `sekisho run`: workers on their cores, until they are told to stop or the captures are read through.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{self, Receiver, RecvTimeoutError};
use sekisho_dataplane::clock::Instant;
use sekisho_dataplane::counters::{PoolTotals, Totals, WorkerCounters};
use sekisho_dataplane::pipeline::{Common, Pipeline};
use sekisho_dataplane::policy::PortId;
use sekisho_dataplane::port::pcap::{self, Share, merge};
use sekisho_dataplane::port::{PcapDriver, PcapPort};
use sekisho_dataplane::publication::publish;
use sekisho_dataplane::worker::{Corridor, Poll, PortFailure, Rounds, Worker};

use super::Failure;
use crate::compile::{Compiled, Compiler, Names, fragment_limits, reject_limits};
use crate::config::{Config, Driver, Rate};
use crate::cores;
use crate::report::{self, PoolLine, Summary};
use crate::words;

/// What `run` is asked to do.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The configuration
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Print the closing summary as JSON
    #[arg(long)]
    json: bool,
}

type Ended = (PcapDriver, Rounds);

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> Result<(), Failure> {
    let config = super::load(&arguments.config)?;
    let ports = captures(&config)?;
    let cores = cores::choose(config.dataplane.cores.as_deref()).map_err(Failure::refused)?;
    let Compiled { generation, names, .. } = Compiler::default().compile(&config, Vec::new())?;
    let number = generation.number();

    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .map_err(|error| Failure::refused(format!("signal {signal} can't be handled: {error}")))?;
    }

    let workers = cores.len();
    let common = Arc::new(Common::new(config.ports.len(), reject_limits(&config.limits)));
    let (mut publisher, readers) = publish(generation, workers);
    let (failures, failed) = channel::unbounded();
    let mut counters = Vec::with_capacity(workers);
    let mut threads = Vec::with_capacity(workers);
    for (index, (generations, &core)) in readers.into_iter().zip(&cores).enumerate() {
        let driver = PcapDriver::open(&ports, Share { worker: index, workers })?;
        let books = Arc::new(WorkerCounters::new(config.ports.len(), names.highest_pool() + 1));
        counters.push(Arc::clone(&books));
        let fragments = fragment_limits(&config.limits).share(workers);
        let pipeline = Pipeline::new(Arc::clone(&common), books, fragments);
        let worker = Worker {
            index,
            ports: (0..config.ports.len()).map(|port| PortId(port as u8)).collect(),
            corridor: Corridor::new(driver, pipeline, config.dataplane.batch),
            generations,
            clock: this_hosts_clock(),
            stop: Arc::clone(&stop),
            poll: Poll::Busy,
            pulse: Arc::default(),
            common: Arc::clone(&common),
            failures: failures.clone(),
        };
        threads.push(start(worker, core, index)?);
    }
    drop(failures);

    let mut troubles = watch(&failed, &counters, &names);
    let drivers = join(threads, &stop)?;
    publisher.reclaim();
    for driver in drivers {
        let worker_is_first = troubles.truncated.is_empty();
        let truncated = driver.finish()?;
        if worker_is_first {
            troubles.truncated.extend(truncated.iter().map(ToString::to_string));
        }
    }
    for port in &ports {
        if let Some(path) = &port.write {
            merge(path, workers)?;
        }
    }

    let totals = Totals::of(counters.iter().map(Arc::as_ref));
    if arguments.json {
        serde_json::to_writer(&mut *out, &Summary::new(&totals)).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        head(out, &config, number, &cores, &counters)?;
        report::summary(out, &totals, &pools(&config, &names, &counters))?;
        written(out, &config)?;
    }
    out.flush()?;
    for truncation in &troubles.truncated {
        let _ = writeln!(std::io::stderr(), "sekisho: warning: {truncation}");
    }
    match troubles.failures.is_empty() {
        true => Ok(()),
        false => Err(Failure::refused(troubles.failures.join("\nsekisho: "))),
    }
}

/// The captures of all ports. Other drivers have no place here yet.
fn captures(config: &Config) -> Result<Vec<PcapPort>, Failure> {
    let ports = config.ports.iter().map(|port| match &port.driver {
        Driver::Pcap { read, write, rate } => Ok(PcapPort {
            read: read.clone(),
            write: write.clone(),
            rate: match rate {
                Rate::AsFastAsPossible => pcap::Rate::AsFastAsPossible,
                Rate::Capture => pcap::Rate::Capture,
            },
        }),
        Driver::Memory => Err(Failure::refused(format!(
            "port {}: driver \"memory\" is for tests and benches, nothing would ever arrive; use \"pcap\", or \
             give captures to `sekisho replay`",
            port.name
        ))),
        Driver::Packet { .. } | Driver::Xdp { .. } | Driver::Dpdk { .. } => Err(Failure::refused(format!(
            "port {}: this build has no driver for network interfaces yet; use driver \"pcap\"",
            port.name
        ))),
    });
    ports.collect()
}

/// This host's clocks, read once per burst.
fn this_hosts_clock() -> impl FnMut() -> Instant {
    let started = std::time::Instant::now();
    move || Instant {
        utc_micros: super::now(),
        monotonic_micros: started.elapsed().as_micros() as u64,
    }
}

fn start<C: FnMut() -> Instant + Send + 'static>(
    worker: Worker<PcapDriver, C>,
    core: usize,
    index: usize,
) -> Result<JoinHandle<Ended>, Failure> {
    let run = move || {
        // Checked before the start; a core taken away since then costs speed and nothing else.
        let _ = cores::pin(core);
        worker.run()
    };
    std::thread::Builder::new()
        .name(format!("sekisho-w{index}"))
        .spawn(run)
        .map_err(|error| Failure::refused(format!("worker {index} can't be started: {error}")))
}

#[derive(Default)]
struct Troubles {
    failures: Vec<String>,
    truncated: Vec<String>,
}

/// Waits until the workers have ended, showing on a terminal how far they are.
fn watch(failed: &Receiver<PortFailure>, counters: &[Arc<WorkerCounters>], names: &Names) -> Troubles {
    let mut troubles = Troubles::default();
    let mut shown = false;
    let mut stderr = std::io::stderr();
    loop {
        match failed.recv_timeout(Duration::from_secs(1)) {
            Ok(PortFailure { port, error, .. }) => {
                let failure = format!("port {}: {error}", names.port(port));
                // Each worker reads the whole capture and meets the same fault.
                if !troubles.failures.contains(&failure) {
                    troubles.failures.push(failure);
                }
            }
            Err(RecvTimeoutError::Timeout) if stderr.is_terminal() => {
                let received = Totals::of(counters.iter().map(Arc::as_ref)).received;
                let _ = write!(stderr, "\r{received} packets judged");
                shown = true;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    if shown {
        let _ = write!(stderr, "\r\x1b[K");
    }
    troubles
}

fn join(threads: Vec<JoinHandle<Ended>>, stop: &AtomicBool) -> Result<Vec<PcapDriver>, Failure> {
    let mut drivers = Vec::with_capacity(threads.len());
    let mut panicked = Vec::new();
    for (index, thread) in threads.into_iter().enumerate() {
        match thread.join() {
            Ok((driver, _)) => drivers.push(driver),
            Err(_) => {
                stop.store(true, Ordering::Relaxed);
                panicked.push(index.to_string());
            }
        }
    }
    match panicked.is_empty() {
        true => Ok(drivers),
        false => Err(Failure::refused(format!(
            "worker {} panicked; the other workers were stopped",
            panicked.join(", ")
        ))),
    }
}

fn pools<'a>(config: &'a Config, names: &Names, counters: &[Arc<WorkerCounters>]) -> Vec<PoolLine<'a>> {
    let lines = config.pools.iter().filter_map(|pool| {
        let id = names.pool_named(&pool.name)?;
        let totals = PoolTotals::of(counters.iter().map(Arc::as_ref), id);
        let line = PoolLine { name: &pool.name, title: pool.title.as_deref(), totals };
        (totals.packets > 0).then_some(line)
    });
    lines.collect()
}

fn head(
    out: &mut impl Write,
    config: &Config,
    generation: u64,
    cores: &[usize],
    counters: &[Arc<WorkerCounters>],
) -> Result<(), Failure> {
    let list: Vec<String> = cores.iter().map(ToString::to_string).collect();
    writeln!(
        out,
        "sekisho {}: generation {generation}, {} on {} {}\n",
        env!("CARGO_PKG_VERSION"),
        plural(cores.len(), "worker"),
        if cores.len() == 1 { "core" } else { "cores" },
        list.join(", ")
    )?;
    writeln!(out, "{:<16}{:<12}{:>12}{:>14}{:>12}{:>14}", "port", "role", "received", "bytes", "left", "bytes")?;
    for (at, port) in config.ports.iter().enumerate() {
        let totals = Totals::of_port(counters.iter().map(Arc::as_ref), PortId(at as u8));
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
    for port in &config.ports {
        if let Driver::Pcap { write: Some(path), .. } = &port.driver {
            writeln!(out, "\n{} wrote {}", port.name, path.display())?;
        }
    }
    Ok(())
}

fn plural(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    }
}
