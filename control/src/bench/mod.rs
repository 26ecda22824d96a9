//! Throughput of the operator's own tables and policy on this host, in memory: the answer to "will this box
//! hold my link?", but for what the network card itself costs.

pub mod traffic;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant as Stopwatch};

use sekisho_dataplane::clock::Instant;
use sekisho_dataplane::counters::{Totals, WorkerCounters};
use sekisho_dataplane::cycles;
use sekisho_dataplane::generation::Generation;
use sekisho_dataplane::pipeline::{Common, Pipeline};
use sekisho_dataplane::policy::PortId;
use sekisho_dataplane::port::MemoryDriver;
use sekisho_dataplane::port::memory::Ring;
use sekisho_dataplane::publication::{Reader, publish};
use sekisho_dataplane::route::RouteReader;
use sekisho_dataplane::stages::StageTotals;
use sekisho_dataplane::worker::Corridor;

use crate::compile::{Names, fragment_limits};
use crate::config::{Config, Mode};
use crate::cores;
use crate::report::Summary;
use crate::routing::{self, Device, StaticRoutes};

/// What is measured.
pub struct Plan<'a> {
    /// Its limits and batch size hold.
    pub config: &'a Config,
    /// The names of the generation.
    pub names: &'a Names,
    /// The port that receives the frames, by its place.
    pub port: usize,
    /// What is received, round and round.
    pub frames: &'a [Vec<u8>],
    /// One worker on each.
    pub cores: &'a [usize],
    /// How long.
    pub time: Duration,
}

/// What came out.
pub struct Measured {
    /// What the workers counted.
    pub totals: Totals,
    /// The same for reports.
    pub summary: Summary,
    /// What they measured.
    pub stages: StageTotals,
    /// The time that they took.
    pub seconds: f64,
    /// Ticks of the stage clock in a second.
    pub ticks_per_second: f64,
}

/// Runs one worker on each core until the time is over.
///
/// # Errors
/// When a worker can't be started or panicked.
pub fn measure(plan: &Plan<'_>, generation: Generation) -> Result<Measured, String> {
    let workers = plan.cores.len();
    let ticks_per_second = cycles::ticks_per_second();
    let common = Arc::new(routing::common(plan.config, false));
    let mut routing = match plan.config.dataplane.mode {
        Mode::Bridge => None,
        Mode::Route => Some(
            StaticRoutes::new(plan.config, workers, |_| Device::default(), false)
                .map_err(|e| e.to_string())?,
        ),
    };
    let mut readers_of_routes: Vec<Option<RouteReader>> =
        (0..workers).map(|_| routing.as_mut().map(|routing| routing.routes.reader())).collect();
    let (publisher, readers) = publish(generation, workers);
    let stop = AtomicBool::new(false);
    let (ready, counters) = mpsc::channel();
    // Nothing is ever sent: the workers begin when the other end is gone, however that comes about.
    let (start, begun) = crossbeam::channel::bounded::<()>(0);
    let (seconds, counters) = std::thread::scope(|scope| {
        for (reader, &core) in readers.into_iter().zip(plan.cores) {
            let routes = readers_of_routes.pop().flatten();
            let (common, ready, begun) = (Arc::clone(&common), ready.clone(), begun.clone());
            let stop = &stop;
            std::thread::Builder::new()
                .name(format!("sekisho-bench-{core}"))
                .spawn_scoped(scope, move || {
                    // Checked before the start; a core taken away since then costs speed and nothing else.
                    let _ = cores::pin(core);
                    let mut worker = Worker::new(plan, workers, common);
                    // Who does not listen any more has told it to stop.
                    let _ = ready.send(Arc::clone(&worker.counters));
                    drop(ready);
                    let _ = begun.recv();
                    worker.run(reader, routes, stop);
                })
                .map_err(|error| {
                    // Those that are there find `start` gone, and this.
                    stop.store(true, Ordering::Relaxed);
                    format!("the worker on core {core} can't be started: {error}")
                })?;
        }
        drop(ready);
        // Until all are ready, or have died before they were.
        let counters: Vec<Arc<WorkerCounters>> = counters.iter().collect();
        drop(start);
        let started = Stopwatch::now();
        std::thread::sleep(plan.time);
        stop.store(true, Ordering::Relaxed);
        Ok::<_, String>((started.elapsed().as_secs_f64(), counters))
    })?;
    drop(publisher);
    let totals = Totals::of(counters.iter().map(Arc::as_ref));
    Ok(Measured {
        summary: Summary::new(&totals),
        totals,
        stages: StageTotals::of_workers(counters.iter().map(Arc::as_ref)),
        seconds,
        ticks_per_second,
    })
}

struct Worker {
    corridor: Corridor<MemoryDriver>,
    counters: Arc<WorkerCounters>,
    port: PortId,
}

impl Worker {
    /// Made on the core that it runs on, so that its memory lies near.
    fn new(plan: &Plan<'_>, workers: usize, common: Arc<Common>) -> Worker {
        let ports = plan.config.ports.len();
        let port = PortId(plan.port as u8);
        let longest = plan.frames.iter().map(Vec::len).max().unwrap_or(0);
        let mut driver =
            MemoryDriver::new(ports, plan.frames.len(), (longest + 4).next_multiple_of(64), Ring::Endless);
        if plan.config.dataplane.mode == Mode::Route {
            driver = driver.with_fresh_headers();
        }
        for frame in plan.frames {
            driver.load(port, frame);
        }
        let counters = Arc::new(WorkerCounters::new(ports, plan.names.highest_pool() + 1));
        let fragments = fragment_limits(&plan.config.limits).share(workers);
        let pipeline = Pipeline::new(common, Arc::clone(&counters), fragments);
        let corridor = Corridor::new(driver, pipeline, plan.config.dataplane.batch);
        Worker { corridor, counters, port }
    }

    fn run(
        &mut self,
        mut generations: Reader<Generation>,
        mut routes: Option<RouteReader>,
        stop: &AtomicBool,
    ) {
        let mut generations = generations.online();
        let mut routes = routes.as_mut().map(RouteReader::online);
        let started = Stopwatch::now();
        let utc = jiff::Timestamp::now().as_microsecond();
        let mut clock = || {
            let passed = started.elapsed().as_micros() as u64;
            Instant { utc_micros: utc + passed as i64, monotonic_micros: passed }
        };
        while !stop.load(Ordering::Relaxed) {
            match &mut routes {
                None => self.corridor.serve(self.port, &mut generations, &mut clock),
                Some(routes) => self.corridor.serve_routed(self.port, &mut generations, routes, &mut clock),
            };
        }
    }
}
