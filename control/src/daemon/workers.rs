//! The workers' threads: started on their cores, watched, stopped, joined.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender};
use sekisho_dataplane::affected::Recorder;
use sekisho_dataplane::counters::WorkerCounters;
use sekisho_dataplane::generation::Generation;
use sekisho_dataplane::pipeline::{Common, Pipeline};
use sekisho_dataplane::policy::PortId;
use sekisho_dataplane::port::{AnyDriver, Driver, PortWatch};
use sekisho_dataplane::publication::Reader;
use sekisho_dataplane::route::RouteReader;
use sekisho_dataplane::worker::{Corridor, Poll, PortFailure, Pulse, Worker};

use super::Error;
use super::books::WorkerBooks;
use super::privilege;
use super::wake::Bell;
use crate::clock;
use crate::compile::{MAX_POOLS, fragment_limits};
use crate::config::Config;
use crate::cores;

/// Whether a worker's thread goes on.
#[derive(Debug, Default)]
pub(super) struct Life(AtomicU8);

const RUNNING: u8 = 0;
const ENDED: u8 = 1;
const PANICKED: u8 = 2;

impl Life {
    pub(super) fn is_running(&self) -> bool {
        self.0.load(Ordering::Acquire) == RUNNING
    }

    pub(super) fn has_panicked(&self) -> bool {
        self.0.load(Ordering::Acquire) == PANICKED
    }
}

/// Says that a worker's thread has ended, however it did.
struct LastWord {
    life: Arc<Life>,
    bell: Bell,
}

impl Drop for LastWord {
    fn drop(&mut self) {
        let end = if std::thread::panicking() { PANICKED } else { ENDED };
        self.life.0.store(end, Ordering::Release);
        self.bell.ring();
    }
}

/// A worker that runs.
struct Running {
    life: Arc<Life>,
    thread: JoinHandle<AnyDriver>,
}

/// What a worker reads its tables with.
pub(super) struct Readers {
    pub(super) generations: Reader<Generation>,
    /// In route mode.
    pub(super) routes: Option<RouteReader>,
}

/// All workers.
pub(super) struct Workers {
    running: Vec<Running>,
    stop: Arc<AtomicBool>,
    /// Ports that failed.
    pub(super) failed: Receiver<PortFailure>,
    failures: Sender<PortFailure>,
    bell: Bell,
}

/// How the workers ended.
#[derive(Default)]
pub(super) struct Joined {
    /// Of those that ended in order.
    pub(super) drivers: Vec<AnyDriver>,
    /// The others, and what became of them.
    pub(super) lost: Vec<String>,
}

impl Workers {
    pub(super) fn new(bell: Bell) -> Workers {
        let (failures, failed) = crossbeam::channel::unbounded();
        Workers { running: Vec::new(), stop: Arc::default(), failed, failures, bell }
    }

    /// Starts the next worker.
    ///
    /// # Errors
    /// When the system has no thread for it.
    pub(super) fn start(
        &mut self,
        config: &Config,
        (core, workers): (usize, usize),
        driver: AnyDriver,
        tables: Readers,
        common: &Arc<Common>,
        affected: Option<Recorder>,
    ) -> Result<WorkerBooks, Error> {
        let watches = super::drivers::watches(&driver, config.ports.len());
        // Each driver has a poll loop of its own, made for it.
        let run = move |seat: Seat| match driver {
            AnyDriver::Memory(driver) => AnyDriver::Memory(seat.run(driver)),
            AnyDriver::Pcap(driver) => AnyDriver::Pcap(seat.run(driver)),
            AnyDriver::Packet(driver) => AnyDriver::Packet(seat.run(driver)),
            AnyDriver::Xdp(driver) => AnyDriver::Xdp(seat.run(driver)),
            AnyDriver::Mixed(driver) => AnyDriver::Mixed(seat.run(driver)),
        };
        self.spawn(config, (core, workers), watches, tables, (common, affected), run)
    }

    fn spawn(
        &mut self,
        config: &Config,
        (core, workers): (usize, usize),
        watches: Vec<Option<PortWatch>>,
        tables: Readers,
        (common, affected): (&Arc<Common>, Option<Recorder>),
        run: impl FnOnce(Seat) -> AnyDriver + Send + 'static,
    ) -> Result<WorkerBooks, Error> {
        let index = self.running.len();
        // A pool keeps its number as long as the daemon lives, and a reload may name as many as there are numbers.
        let counters = Arc::new(WorkerCounters::new(config.ports.len(), MAX_POOLS + 1));
        let pulse = Arc::<Pulse>::default();
        let life = Arc::<Life>::default();
        let pipeline = Pipeline::new(
            Arc::clone(common),
            Arc::clone(&counters),
            fragment_limits(&config.limits).share(workers),
        );
        let seat = Seat {
            index,
            ports: config.ports.len(),
            batch: config.dataplane.batch,
            poll: config.dataplane.poll,
            pipeline: match affected {
                Some(affected) => pipeline.with_affected(affected),
                None => pipeline,
            },
            generations: tables.generations,
            routes: tables.routes,
            stop: Arc::clone(&self.stop),
            pulse: Arc::clone(&pulse),
            common: Arc::clone(common),
            failures: self.failures.clone(),
        };
        let last_word = LastWord { life: Arc::clone(&life), bell: self.bell.clone() };
        let kept = privilege::of_workers(config);
        let body = move || {
            let _last_word = last_word;
            // Less of what it has is never refused (capabilities(7)).
            let _ = privilege::keep(kept);
            // Checked before the start; a core taken away since then costs speed and nothing else.
            let _ = cores::pin(core);
            run(seat)
        };
        let thread = std::thread::Builder::new()
            .name(format!("sekisho-w{index}"))
            .spawn(body)
            .map_err(|source| Error::System { what: format!("worker {index} can't be started"), source })?;
        self.running.push(Running { life: Arc::clone(&life), thread });
        Ok(WorkerBooks { core, counters, pulse, life, watches })
    }

    /// Workers that have panicked.
    pub(super) fn panicked(&self) -> impl Iterator<Item = usize> {
        let panicked = self.running.iter().enumerate().filter(|(_, running)| running.life.has_panicked());
        panicked.map(|(index, _)| index)
    }

    pub(super) fn have_all_ended(&self) -> bool {
        !self.running.iter().any(|running| running.life.is_running())
    }

    /// Tells the workers to end, and waits until they have, for so long at most. One that does not end is left behind.
    pub(super) fn end(self, patience: Duration) -> Joined {
        self.stop.store(true, Ordering::Relaxed);
        let begun = Instant::now();
        let mut joined = Joined::default();
        for (index, Running { thread, .. }) in self.running.into_iter().enumerate() {
            while !thread.is_finished() && begun.elapsed() < patience {
                std::thread::sleep(Duration::from_millis(1));
            }
            if !thread.is_finished() {
                joined.lost.push(format!("worker {index} did not end within {} s", patience.as_secs()));
                continue;
            }
            match thread.join() {
                Ok(driver) => joined.drivers.push(driver),
                Err(panic) => joined.lost.push(format!(
                    "worker {index} panicked ({}); the other workers were stopped",
                    panic_message(&*panic)
                )),
            }
        }
        joined
    }
}

/// What was said when a thread panicked.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let message = panic.downcast_ref::<&str>().copied();
    message.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// A worker but for its driver.
struct Seat {
    index: usize,
    ports: usize,
    batch: usize,
    poll: Poll,
    pipeline: Pipeline,
    generations: Reader<Generation>,
    routes: Option<RouteReader>,
    stop: Arc<AtomicBool>,
    pulse: Arc<Pulse>,
    common: Arc<Common>,
    failures: Sender<PortFailure>,
}

impl Seat {
    fn run<D: Driver>(self, driver: D) -> D {
        let worker = Worker {
            index: self.index,
            ports: (0..self.ports).map(|port| PortId(port as u8)).collect(),
            corridor: Corridor::new(driver, self.pipeline, self.batch),
            poll: self.poll,
            generations: self.generations,
            routes: self.routes,
            clock: clock::this_hosts(),
            stop: self.stop,
            pulse: self.pulse,
            common: self.common,
            failures: self.failures,
        };
        worker.run().0
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use sekisho_dataplane::RejectLimits;
    use sekisho_dataplane::port::memory::Ring;
    use sekisho_dataplane::port::{Burst, Held, MemoryDriver, PortError};
    use sekisho_dataplane::publication::publish;

    use super::*;
    use crate::compile::Compiler;
    use crate::daemon::wake::bell;

    /// Works for a while, and then meets a fault of ours.
    struct Faulty(u32);

    impl Driver for Faulty {
        fn receive(&mut self, _: PortId, _: &mut Burst) -> Result<(), PortError> {
            self.0 += 1;
            assert!(self.0 < 1000, "a fault that nobody thought of");
            Ok(())
        }
        fn bytes(&self, _: &Held) -> &[u8] {
            &[]
        }
        fn bytes_mut(&mut self, _: &Held) -> &mut [u8] {
            &mut []
        }
        fn push_tag(&mut self, _: &mut Held, _: [u8; 4]) -> bool {
            false
        }
        fn pop_tag(&mut self, _: &mut Held) {}
        fn transmit(&mut self, _: PortId, _: Held) -> bool {
            false
        }
        fn answer(&mut self, _: PortId, _: &[u8], _: &Held) -> bool {
            false
        }
        fn release(&mut self, _: Held) {}
        fn flush(&mut self) -> Result<(), (PortId, PortError)> {
            Ok(())
        }
        fn is_exhausted(&self, _: PortId) -> bool {
            false
        }
        fn inject(&mut self, _: PortId, _: &[u8]) -> bool {
            false
        }
    }

    #[test]
    fn a_worker_that_panics_is_told_and_the_others_are_stopped() {
        let text = "[dataplane]\npoll = \"interrupt\"\n\
                    [[port]]\nname = \"a\"\nrole = \"subscriber\"\npeer = \"b\"\ndriver = \"memory\"\n\
                    [[port]]\nname = \"b\"\nrole = \"internet\"\npeer = \"a\"\ndriver = \"memory\"\n";
        let config = Config::from_toml(text, Path::new("s.toml")).unwrap();
        let generation = Compiler::default().compile(&config, Vec::new()).unwrap().generation;
        let (mut publisher, readers) = publish(generation, 2);
        let mut readers: Vec<Readers> =
            readers.into_iter().map(|generations| Readers { generations, routes: None }).collect();
        let limits = RejectLimits { burst: 1, interval_micros: 1, per_second: 1 };
        let common = Arc::new(Common::new(2, limits));
        let (bell, _ear) = bell().unwrap();
        let mut workers = Workers::new(bell);
        let core = cores::all().unwrap()[0];
        // Frames that go round for ever: this one would never end by itself.
        let mut memory = MemoryDriver::new(2, 4, 64, Ring::Endless);
        assert!(memory.load(PortId(0), &[0; 60]));
        let driver = AnyDriver::Memory(memory);
        let good = workers.start(&config, (core, 2), driver, readers.remove(0), &common, None).unwrap();
        let run = |seat: Seat| {
            seat.run(Faulty(0));
            unreachable!("it panics")
        };
        let bad = workers
            .spawn(&config, (core, 2), vec![None; 2], readers.remove(0), (&common, None), run)
            .unwrap();

        let begun = Instant::now();
        while bad.is_running() {
            assert!(begun.elapsed() < Duration::from_secs(30));
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(good.is_running() && !workers.have_all_ended());
        assert_eq!(workers.panicked().collect::<Vec<_>>(), [1]);
        let again = Compiler::numbering_from(2).compile(&config, Vec::new()).unwrap().generation;
        publisher.publish(again);
        let joined = workers.end(Duration::from_secs(30));
        assert!(!good.is_running());
        assert_eq!(joined.drivers.len(), 1);
        let [lost] = &joined.lost[..] else { panic!("{:?}", joined.lost) };
        assert!(lost.contains("worker 1 panicked (a fault that nobody thought of"), "{lost}");
        assert_eq!(publisher.reclaim(), 0, "a worker that panicked holds no generation");
    }
}
