//! The control thread: one loop around poll(2).

use std::collections::HashSet;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sekisho_dataplane::policy::PortId;
use sekisho_dataplane::port::AnyDriver;
use sekisho_dataplane::publication::publish;
use sekisho_dataplane::worker::PortFailure;
use serde_json::value::RawValue;

use super::books::{Books, FailedThread};
use super::capture::Captures;
use super::difference::Difference;
use super::event::{Event, Happened};
use super::followed::FollowedTables;
use super::following::TablesInForce;
use super::history::{Author, Awaited, History, Recorded};
use super::kernel::Kernel;
use super::metrics::Metrics;
use super::mirror::Mirror;
use super::readers::{self, Asked, Readers};
use super::remembered::Remembered;
use super::silence::{self, Silence};
use super::tables::{InForce, Report, Slot, Tables, Task};
use super::threads::Witness;
use super::twins::{self, Design};
use super::wake::{Ear, Signals, bell};
use super::workers::{self, Workers};
use super::{Ended, Error, FilterHealth, Options, drivers, health, metrics, notify, privilege};
use crate::affected::Affected;
use crate::clock;
use crate::compile::{Compiler, PhaseKey};
use crate::config::{Config, Contents, Mode};
use crate::cores;
use crate::doctor;
use crate::grants::Grants;
use crate::progress::Progress;
use crate::routing::{self, StaticRoutes};
use crate::rpc::{Peer, Serve, Served, Server, Socket, Ticket, methods, notification};
use crate::state::State;
use crate::twin::{Ferry, LinkMap, Told, Twin};
use crate::words;

/// The longest wait: how late a port that went down is told of, or a phase that began by a step of the clock. Verdicts
/// are not late, the workers look at the clock themselves.
const TICK: Duration = Duration::from_millis(250);
/// How long the workers have to end.
const END_PATIENCE: Duration = Duration::from_secs(5);
/// How long the tables' thread has for what it is at.
const TABLES_PATIENCE: Duration = Duration::from_secs(2);

/// Runs `config` until told to stop, or until captures are read through. The calling thread keeps no privilege beyond
/// that (`privilege.rs`): it is one that ends with the daemon.
///
/// # Errors
/// When it can't start, or what it wrote can't be put together.
pub fn run(config: Config, options: &Options) -> Result<Ended, Error> {
    drivers::check(&config)?;
    run_with(config, options, drivers::open)
}

/// As [`run`], with drivers that are opened otherwise: one for each worker.
pub(crate) fn run_with(
    config: Config,
    options: &Options,
    open: impl FnOnce(&Config, usize, &Arc<Silence>) -> Result<Vec<AnyDriver>, Error>,
) -> Result<Ended, Error> {
    // What is shown, and compared with later, does not depend on the folder that the daemon was started in.
    let config = Config { path: options.path.clone(), ..config };
    let all = cores::all().map_err(Error::Cores)?;
    let cores = cores::choose(config.dataplane.cores.as_deref()).map_err(Error::Cores)?;
    let system = |what: &str| {
        let what = what.to_owned();
        move |source| Error::System { what, source }
    };

    let server = config.socket().map(|path| Socket::bind(path, config.control.group.as_deref()));
    let server = server.transpose()?.map(Server::new);
    let (mut state, mut compiler) = (None, Compiler::default());
    if let Some(folder) = config.state() {
        let (opened, trouble) = State::open(folder);
        if let Some(trouble) = trouble {
            warn(&format!(
                "which phases had begun can't be read, and is decided by the clock alone now: {trouble}"
            ));
        }
        compiler = Compiler::remembering(opened.begun().cloned());
        state = Some(opened);
    }
    let (mut grants, trouble) = Grants::open(config.state(), clock::now());
    if let Some(trouble) = trouble {
        warn(&format!("the grants from before are none now, they can't be read: {trouble}"));
    }
    let (remembered, trouble) = Remembered::open(config.state());
    if let Some(trouble) = trouble {
        warn(&format!(
            "what kernel tables contained before can't be read, and is what they contain now: {trouble}"
        ));
    }
    let followed = FollowedTables::default();
    let (notices, contents) = followed.with(|followed| {
        followed.follow(&config, &contents(&config));
        followed.remember(remembered.contents());
        (followed.settle(Instant::now()), followed.contents())
    });
    for notice in notices {
        warn(&notice.event().to_string());
    }
    let config = config.with_tables(&contents).0.unwrap_or(config);
    let compiled = compiler.compile(&config, grants.table())?;
    let (generation, in_force) = InForce::of(Arc::new(config), compiled);
    let config = &in_force.config;
    in_force.advance(clock::now());
    let noted: HashSet<PhaseKey> = in_force.begun().cloned().collect();
    if let Some(Err(error)) = state.as_mut().map(|state| state.remember(noted.iter().cloned())) {
        warn(&Event::StateUnwritable { why: error.to_string() }.to_string());
    }

    let (bell, ear) = bell().map_err(system("no socket pair to be woken by"))?;
    let signals = Signals::listen(&bell).map_err(system("signals can't be handled"))?;
    doctor::addresses(config).iter().for_each(|warning| warn(warning));
    // Before there are twins that the kernel could forward by.
    let (silence, mut silenced) = Silence::begin(config, warn)?;
    let opened = open(config, cores.len(), &silence)?;
    // Before the workers, so that links find what they stand for.
    let designs = twins::designs(config);
    let twins = designs.iter().map(Design::make).collect::<Result<Vec<Twin>, Error>>()?;
    silenced.runs();
    // All that takes privilege is open; every thread is started after this.
    const KEPT: &str = "privileges can't be let go";
    privilege::gain_nothing().map_err(system(KEPT))?;
    let (publisher, readers) = publish(generation, cores.len());
    let mirrors = config.mirrors_kernel();
    let common = Arc::new(routing::common(config, mirrors).with_checks(health::checks(config)));
    let mut routing = match config.dataplane.mode {
        Mode::Bridge => None,
        Mode::Route => Some(StaticRoutes::new(config, cores.len(), routing::device, mirrors)?),
    };
    let filter = health::Monitor::new(config, &common, Instant::now());
    let room = config.affected.customers;
    let affected = (room > 0).then(|| Affected::new(cores.len(), room));
    let mut workers = Workers::new(bell.clone());
    let mut books = Vec::with_capacity(cores.len());
    for ((driver, generations), &core) in opened.into_iter().zip(readers).zip(&cores) {
        let recorder = affected.as_ref().map(|affected| affected.recorder(books.len()));
        let routes = routing.as_mut().map(|routing| routing.routes.reader());
        let readers = workers::Readers { generations, routes };
        books.push(workers.start(config, (core, cores.len()), driver, readers, &common, recorder)?);
    }
    let books = Arc::new(Books::new(books, Arc::clone(&common), affected));
    cores::keep_off(&cores, &all);

    let kept = privilege::of_tables(config);
    let (tasks, to_do) = crossbeam::channel::unbounded();
    let (reports, reported) = crossbeam::channel::unbounded();
    let (questions, asked) = crossbeam::channel::bounded(readers::WAITING);
    let history = Arc::new(History::default());
    books.grants.store(grants.len(), Ordering::Relaxed);
    let refused = routing.as_ref().map_or(Vec::new(), |routing| routing.refused().to_vec());
    let routing = routing.map(|routing| Arc::new(Mutex::new(routing)));
    let links = LinkMap::default();
    let mirror = routing.as_ref().filter(|_| mirrors).map(|routes| {
        let names = twins.iter().map(|twin| (twin.name.clone(), usize::from(twin.port.0)));
        Mirror::new(Arc::clone(routes), names, Arc::clone(&links), silence)
    });
    let mirror = mirror.transpose().map_err(system("no netlink socket for the kernel's routes"))?;
    let kernel =
        Kernel::start(config.kernel_tables(), mirror, &books, (tasks.clone(), reports.clone(), bell.clone()))
            .map_err(system("the thread for the kernel's routes can't be started"))?;
    let ferry = (!twins.is_empty()).then(|| {
        let lines = Arc::clone(&books);
        let is_up = move |port| lines.outage(port).is_none();
        let make = move |port| {
            let design = designs.iter().find(|design| design.port() == port);
            design.map_or(Err("nobody designed it".to_owned()), |design| {
                design.make().map_err(|error| error.to_string())
            })
        };
        let (to_tell, ring, names) = (reports.clone(), bell.clone(), Arc::clone(&in_force.names));
        let witness = Witness {
            reports: reports.clone(),
            control: bell.clone(),
            thread: "sekisho-twins",
            what: "nothing is carried between ports and the kernel",
        };
        let tell = move |told| {
            let name = |port| names.port(port).to_owned();
            let event = match told {
                Told::Gone { port, twin, why } => Event::TwinGone { port: name(port), twin, why },
                Told::Again { port, twin } => Event::TwinAgain { port: name(port), twin },
                Told::Failed { why } => return witness.failed(&why),
            };
            // Without a control thread the process is at its end.
            let _ = to_tell.send(Report::Happened(event));
            ring.ring();
        };
        Ferry::start(twins, Arc::clone(&common), links, Arc::clone(&books.ferry), is_up, make, tell)
    });
    let ferry = ferry.transpose().map_err(system("the thread for the ports' twins can't be started"))?;
    let slot = Arc::new(Slot::new(in_force));
    let (to_tell, ring) = (reports.clone(), bell.clone());
    let unwritable = move |why| {
        // Without a control thread the process is at its end.
        let _ = to_tell.send(Report::Happened(Event::GrantsUnwritable { why }));
        ring.ring();
    };
    let witness = Witness {
        reports: reports.clone(),
        control: bell.clone(),
        thread: "sekisho-grants",
        what: "grants are not saved, and end with the daemon",
    };
    let panicked = move |why: &str| witness.failed(why);
    let saver = privilege::of_state(&slot.get().config);
    // Less of what it has is never refused (capabilities(7)).
    let begin = move || {
        let _ = privilege::keep(saver);
    };
    grants
        .save_behind(begin, unwritable, panicked)
        .map_err(system("no thread to save grants can be started"))?;
    let readers = Readers {
        slot: Arc::clone(&slot),
        books: Arc::clone(&books),
        followed: followed.clone(),
        grants: grants.register(),
        saving: grants.standing(),
        start: options.path.clone(),
        routing: routing.clone(),
        kernel: kernel.line(),
        reports: reports.clone(),
        bell: bell.clone(),
    };
    let tables = Tables {
        followed,
        in_force_of_tables: TablesInForce::default(),
        remembered,
        kernel: kernel.line(),
        table_refused: None,
        compiler,
        grants,
        publisher,
        routing,
        slot: Arc::clone(&slot),
        books: Arc::clone(&books),
        start: options.path.clone(),
        unwritten: noted.iter().cloned().collect(),
        state,
        reports,
        bell,
        history: Arc::clone(&history),
    };
    tables.tell_refused(refused);
    tables.record(Author::Start, &tables.in_force().config, None, &Difference::default());
    let tables = std::thread::Builder::new()
        .name("sekisho-tables".to_owned())
        .spawn(move || {
            // Less of what it has is never refused (capabilities(7)).
            let _ = privilege::keep(kept);
            tables.run(&to_do);
        })
        .map_err(system("the tables' thread can't be started"))?;
    // It ends when nobody can ask any more, and is not waited for.
    std::thread::Builder::new()
        .name("sekisho-readers".to_owned())
        .spawn(move || {
            let _ = privilege::keep(kept);
            readers.run(&asked);
        })
        .map_err(system("the readers' thread can't be started"))?;
    // Metrics' thread is started with what is left.
    privilege::keep(privilege::of_control(&slot.get().config)).map_err(system(KEPT))?;

    let control = Control {
        metrics: Metrics::new(&slot.get().config, &books, &slot, Instant::now()),
        progress: Progress::new(server.is_none()),
        server,
        watchdog: notify::Watchdog::new(),
        outages: vec![None; slot.get().config.ports.len()],
        manners: vec![None; slot.get().config.ports.len()],
        books: Arc::clone(&books),
        slot: Arc::clone(&slot),
        history,
        start: options.path.clone(),
        tasks,
        questions,
        reported,
        workers,
        signals,
        ear,
        noted,
        failures: Vec::new(),
        reload_waits: Arc::default(),
        filter,
        captures: Captures::new(common),
        ports_due: Instant::now(),
        _kernel: kernel,
        _ferry: ferry,
        _silenced: silenced,
    };
    let (workers, failures) = control.run();
    let joined = workers.end(END_PATIENCE);
    let begun = Instant::now();
    while !tables.is_finished() && begun.elapsed() < TABLES_PATIENCE {
        std::thread::sleep(Duration::from_millis(1));
    }

    let in_force = slot.get();
    let closed = match joined.lost.is_empty() {
        true => drivers::close(joined.drivers).and_then(|truncated| {
            drivers::put_together(&in_force.config, cores.len())?;
            Ok(truncated)
        }),
        // What one of them lost is lacking in what the others wrote.
        false => Ok(Vec::new()),
    };
    drivers::clean_up(&in_force.config, cores.len());
    Ok(Ended { truncated: closed?, in_force, books, failures, lost: joined.lost })
}

/// What a configuration that was just read has of its kernel tables.
pub(super) fn contents(config: &Config) -> Contents {
    let pools = config.pools.iter().map(|pool| (pool.from_kernel, &pool.prefixes));
    let sets = config.sets.iter().map(|set| (set.from_kernel, &set.prefixes));
    let lists = pools.chain(sets).filter_map(|(from, prefixes)| Some((from?.table, prefixes)));
    lists.map(|(table, prefixes)| (table, prefixes.as_slice().into())).collect()
}

fn warn(message: &str) {
    // Nobody is left to tell if standard error is gone.
    let _ = writeln!(std::io::stderr(), "sekisho: warning: {message}");
}

/// What a method sees that is answered at once.
pub(crate) struct View<'a> {
    pub(crate) books: &'a Books,
    pub(crate) in_force: Arc<InForce>,
    /// The file that the daemon was started with.
    pub(crate) start: &'a Path,
    pub(crate) clients: usize,
    /// How the filter is, if it is checked.
    pub(crate) filter: Option<FilterHealth>,
    /// Where metrics are served.
    pub(crate) metrics: Option<String>,
    /// Why they are not, though they should be.
    pub(crate) metrics_trouble: Option<&'a str>,
    pub(super) history: &'a History,
}

impl View<'_> {
    /// The last generations, the latest first.
    pub(crate) fn generations(&self) -> Vec<Recorded> {
        self.history.list()
    }

    /// What is to be confirmed.
    pub(crate) fn awaited(&self) -> Option<Awaited> {
        self.history.awaited()
    }
}

/// To the threads that do what the control thread does not.
#[derive(Clone, Copy)]
pub(crate) struct Ways<'a> {
    /// To what changes something.
    pub(crate) tasks: &'a Sender<Task>,
    /// To what reads, which can be full.
    pub(crate) questions: &'a Sender<Asked>,
}

/// Serves requests with a view, and the other threads.
struct Desk<'a> {
    view: View<'a>,
    ways: Ways<'a>,
    captures: &'a mut Captures,
}

impl Serve for Desk<'_> {
    fn serve(&mut self, method: &str, params: Option<&RawValue>, peer: Peer, ticket: Ticket) -> Served {
        methods::serve(&self.view, self.ways, self.captures, method, params, peer, ticket)
    }
}

struct Control {
    /// None where nobody is served: captures are read through, and that is all.
    server: Option<Server>,
    watchdog: Option<notify::Watchdog>,
    progress: Progress,
    books: Arc<Books>,
    slot: Arc<Slot>,
    history: Arc<History>,
    start: PathBuf,
    tasks: Sender<Task>,
    questions: Sender<Asked>,
    reported: Receiver<Report>,
    workers: Workers,
    signals: Signals,
    ear: Ear,
    /// Phases of which everybody knows that they have begun.
    noted: HashSet<PhaseKey>,
    /// By port: why it was down when last looked at.
    outages: Vec<Option<String>>,
    /// By port: how its interface is used, as was told.
    manners: Vec<Option<String>>,
    ports_due: Instant,
    failures: Vec<String>,
    metrics: Metrics,
    /// A reload that a signal asked for has not begun yet.
    reload_waits: Arc<AtomicBool>,
    /// Checks the filter.
    filter: Option<health::Monitor>,
    captures: Captures,
    /// Ends with this.
    _kernel: Kernel,
    /// The same.
    _ferry: Option<Ferry>,
    /// What the kernel does not hear as long as this is there.
    _silenced: silence::Kept,
}

impl Control {
    /// The loop. Gives the workers back when they are to end.
    fn run(mut self) -> (Workers, Vec<String>) {
        self.say_that_it_runs();
        self.note_metrics(Instant::now());
        loop {
            let ready = self.wait();
            let now = Instant::now();
            self.ear.silence();
            self.note_failed_ports();
            if self.signals.wants_stop() || self.note_panics() || self.workers.have_all_ended() {
                break;
            }
            if self.signals.take_reload() && !self.reload_waits.swap(true, Ordering::AcqRel) {
                let _ = self.tasks.send(Task::Reload(Arc::clone(&self.reload_waits)));
            }
            self.take_reports();
            self.note_metrics(now);
            self.note_phases();
            if self.filter.as_mut().is_some_and(|filter| filter.look(now)) {
                self.ports_due = now;
            }
            self.note_ports(now);
            self.serve(&ready, now);
            if let Some(watchdog) = &mut self.watchdog {
                watchdog.look(&self.books, now);
            }
            self.progress.show(now, || format!("{} packets judged", self.books.totals().received));
        }
        self.progress.clear();
        notify::stopping();
        if let Some(server) = &mut self.server {
            server.publish(&notification("event", &Happened::now(Event::Stopping)));
            server.turn(&[], Instant::now(), &mut Nobody);
        }
        // Dropped here are the socket, which is removed, and the way to the tables' thread, which ends with that.
        (self.workers, self.failures)
    }

    /// Waits until there is something to do; gives back what the server's descriptors are ready for.
    fn wait(&mut self) -> Vec<PollFlags> {
        let now = Instant::now();
        let mut due = now + TICK;
        if let Some(server) = &self.server {
            due = [server.due(now), server.counters_due()].into_iter().flatten().fold(due, Instant::min);
        }
        if let Some(watchdog) = &self.watchdog {
            due = due.min(watchdog.due());
        }
        if let Some(filter) = &self.filter {
            due = due.min(filter.due(now));
        }
        if let Some(from) = self.slot.get().next_phase() {
            let micros = u64::try_from(from.saturating_sub(clock::now())).unwrap_or(0);
            due = due.min(now.checked_add(Duration::from_micros(micros)).unwrap_or(due));
        }
        let mut fds = vec![PollFd::from_borrowed_fd(self.ear.fd(), PollFlags::IN)];
        if let Some(server) = &self.server {
            server.watch(&mut fds, now);
        }
        let timeout = Timespec::try_from(due.saturating_duration_since(now)).ok();
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => fds[1..].iter().map(PollFd::revents).collect(),
            // Interrupted by a signal, or short of memory: looked at again in no time.
            Err(_) => Vec::new(),
        }
    }

    fn is_served(&self) -> bool {
        self.server.is_some()
    }

    fn say_that_it_runs(&self) {
        let in_force = self.slot.get();
        if let Some(server) = &self.server {
            let cores: Vec<String> =
                self.books.workers.iter().map(|worker| worker.core.to_string()).collect();
            let _ = writeln!(
                std::io::stderr(),
                "sekisho {}: generation {} is in force; {} on {} {}; control socket {}",
                env!("CARGO_PKG_VERSION"),
                in_force.generation,
                words::plural(cores.len(), "worker"),
                words::plural_of(cores.len(), "core"),
                cores.join(", "),
                server.socket().path().display()
            );
        }
        notify::ready(&self.status_line());
    }

    fn status_line(&self) -> String {
        let in_force = self.slot.get();
        let ports = in_force.config.ports.iter().zip(&self.outages);
        let down: Vec<&str> =
            ports.filter(|(_, outage)| outage.is_some()).map(|(port, _)| port.name.as_str()).collect();
        let down = if down.is_empty() { String::new() } else { format!("; down: {}", down.join(", ")) };
        let failed: Vec<String> =
            self.books.failed_threads().into_iter().map(|failed| failed.thread).collect();
        let failed =
            if failed.is_empty() { String::new() } else { format!("; failed: {}", failed.join(", ")) };
        let workers = words::plural(self.books.workers.len(), "worker");
        format!("generation {}, {workers}{down}{failed}", in_force.generation)
    }

    /// Tells the log, systemd and the subscribers.
    fn tell(&mut self, event: Event) {
        if self.is_served() {
            let _ = writeln!(std::io::stderr(), "sekisho: {event}");
        }
        let happened = Happened::now(event);
        if let Some(server) = &mut self.server {
            server.publish(&notification("event", &happened));
        }
        match happened.event {
            Event::ReloadBegun => notify::reloading(),
            Event::Reload { seconds, .. } => {
                self.books.reloads.done(seconds);
                notify::ready(&self.status_line());
            }
            Event::ReloadRefused { .. } => {
                self.books.reloads.refused();
                notify::ready(&self.status_line());
            }
            Event::ThreadFailed { thread, what, why } => {
                self.books.note_failed(FailedThread { thread, what, why });
                notify::status(&self.status_line());
            }
            Event::PortUp { .. } | Event::PortDown { .. } | Event::RolledBack { .. } => {
                notify::status(&self.status_line())
            }
            _ => {}
        }
    }

    fn take_reports(&mut self) {
        while let Ok(report) = self.reported.try_recv() {
            match report {
                Report::Happened(event) => self.tell(event),
                Report::Answer(ticket, answer) => {
                    if let Some(server) = &mut self.server {
                        server.finish(ticket, answer.as_deref());
                    }
                }
            }
        }
    }

    /// Has metrics served, if that has still to be done.
    fn note_metrics(&mut self, now: Instant) {
        if let Some(event) = self.metrics.look(now) {
            // What reads captures through tells no events.
            if let (Event::MetricsUnavailable { .. }, false) = (&event, self.is_served()) {
                warn(&event.to_string());
            }
            self.tell(event);
        }
    }

    fn note_failed_ports(&mut self) {
        while let Ok(PortFailure { worker, port, error }) = self.workers.failed.try_recv() {
            let name = self.slot.get().names.port(port).to_owned();
            let failure = format!("port {name}: {error}");
            // Each worker reads the whole capture and meets the same fault.
            if !self.failures.contains(&failure) {
                self.failures.push(failure);
            }
            self.tell(Event::PortFailed { port: name, worker, why: error.to_string() });
        }
    }

    /// Whether a worker has panicked.
    fn note_panics(&mut self) -> bool {
        let panicked: Vec<usize> = self.workers.panicked().collect();
        for worker in &panicked {
            self.tell(Event::WorkerFailed { worker: *worker });
        }
        !panicked.is_empty()
    }

    /// Begins the phases whose instant has come, for the case that no frame comes, and has those written down that a
    /// worker has begun.
    fn note_phases(&mut self) {
        let in_force = self.slot.get();
        in_force.advance(clock::now());
        if in_force.begun().all(|key| self.noted.contains(key)) {
            return;
        }
        let begun: Vec<PhaseKey> = in_force.begun().cloned().collect();
        for key in &begun {
            if self.noted.insert(key.clone()) {
                let of = |(policy, phase): (&crate::config::Policy, &crate::config::Phase)| {
                    policy.name == key.policy && phase.name == key.phase
                };
                let phases = in_force.phases().map(|(policy, phase, _)| (policy, phase));
                let from = phases.filter(|phase| of(*phase)).map(|(_, phase)| phase.from_text.clone()).next();
                self.tell(Event::PhaseBegun {
                    policy: key.policy.clone(),
                    phase: key.phase.clone(),
                    from: from.unwrap_or_else(|| clock::show(key.from_micros)),
                });
            }
        }
        let _ = self.tasks.send(Task::Remember(begun));
    }

    /// Not more often than need be, however many requests come: workers write what is read here.
    fn note_ports(&mut self, now: Instant) {
        if now < self.ports_due {
            return;
        }
        self.ports_due = now + TICK;
        let in_force = self.slot.get();
        for at in 0..self.outages.len() {
            let manner = self.books.manner(PortId(at as u8)).map(|manner| manner.to_string());
            if let Some(manner) = manner.filter(|manner| self.manners[at].as_ref() != Some(manner)) {
                self.manners[at] = Some(manner.clone());
                let port = in_force.config.ports[at].name.clone();
                self.tell(Event::PortAttached { port, manner });
            }
            let outage = self.books.outage(PortId(at as u8));
            if outage == self.outages[at] {
                continue;
            }
            self.outages[at].clone_from(&outage);
            let port = in_force.config.ports[at].name.clone();
            self.tell(match outage {
                None => Event::PortUp { port },
                Some(why) => Event::PortDown { port, why },
            });
        }
    }

    fn serve(&mut self, ready: &[PollFlags], now: Instant) {
        let Some(server) = &mut self.server else { return };
        let view = View {
            books: &self.books,
            in_force: self.slot.get(),
            start: &self.start,
            clients: server.clients(),
            filter: self.filter.as_ref().map(health::Monitor::shown),
            metrics: self.metrics.address().map(metrics::url),
            metrics_trouble: self.metrics.trouble(),
            history: &self.history,
        };
        let mut desk = Desk {
            view,
            ways: Ways { tasks: &self.tasks, questions: &self.questions },
            captures: &mut self.captures,
        };
        // A fault of ours in here costs the clients their connections, and nobody else anything.
        let served = catch_unwind(AssertUnwindSafe(|| {
            server.turn(ready, now, &mut desk);
            server.publish_counters(now, |missed| methods::subscribe::counters(&desk.view, missed));
        }));
        if served.is_err() {
            server.close_all();
        }
        self.captures.look(|client| server.is_connected(client));
        for event in self.captures.take_events() {
            self.tell(event);
        }
    }
}

/// Serves nobody, at the end.
struct Nobody;

impl Serve for Nobody {
    fn serve(&mut self, _: &str, _: Option<&RawValue>, _: Peer, _: Ticket) -> Served {
        Served::Answer(Err(crate::rpc::Error::new(crate::rpc::Error::BUSY, "the daemon ends")))
    }
}
