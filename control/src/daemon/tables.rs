//! The tables in force, and the thread that makes new ones.
//!
//! Who only reads is answered elsewhere (`readers.rs`): what stands on this thread changes something.
//!
//! A reload validates, compiles, publishes, waits until every worker has left the old generation, and frees it, in
//! this order and on this thread alone. Up to the publication it has touched nothing that is in force; the publication
//! is one pointer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};
use sekisho_dataplane::generation::Generation;
use sekisho_dataplane::policy::Latch;
use sekisho_dataplane::publication::Publisher;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::books::Books;
use super::confirm::Pending;
use super::difference::Difference;
use super::event::Event;
use super::followed::FollowedTables;
use super::following::TablesInForce;
use super::history::{Author, Awaited, History};
use super::kernel::{Line, Mailbox};
use super::load::{self, Comparison, Source};
use super::mirror::SharedRoutes;
use super::remembered::Remembered;
use super::wake::Bell;
use super::workers::panic_message;
use crate::clock;
use crate::compile::{self, Compiled, Compiler, Names, PhaseKey};
use crate::config::{Colour, Config, ConfigError, LoadOptions, Phase, Policy, Pool};
use crate::grants::Grants;
use crate::outline::TableLine;
use crate::routing::{self, Released};
use crate::rpc::methods::affected::nobody_is_booked;
use crate::rpc::{Error, Ticket};
use crate::state::State;

/// What is in force: a configuration, and the generation that was compiled from it.
#[derive(Clone, Debug)]
pub struct InForce {
    /// The configuration.
    pub config: Arc<Config>,
    /// The names of what the generation numbers.
    pub names: Arc<Names>,
    /// The generation's number.
    pub generation: u64,
    /// Since when, in UTC microseconds.
    pub since_micros: i64,
    /// The tables' sizes.
    pub tables: Vec<TableLine>,
    /// The tables themselves, for who reads: the generation without grants.
    pub(crate) bare: Arc<Generation>,
    /// By pool, in the order of the configuration: how many prefixes of its are IPv4's.
    pub(crate) pool_prefixes_v4: Arc<[usize]>,
    /// The phases, in the order of the configuration.
    phases: Vec<(PhaseKey, Arc<Latch>)>,
}

impl InForce {
    /// What stands beside a generation that is about to be published.
    pub(crate) fn of(config: Arc<Config>, compiled: Compiled) -> (Generation, InForce) {
        let Compiled { generation, names, phases } = compiled;
        let v4 = |pool: &Pool| pool.prefixes.iter().filter(|prefix| prefix.is_ipv4()).count();
        let in_force = InForce {
            pool_prefixes_v4: config.pools.iter().map(v4).collect(),
            config,
            names: Arc::new(names),
            generation: generation.number(),
            since_micros: clock::now(),
            tables: generation.sizes().map(TableLine::from).into(),
            bare: Arc::new(generation.with_grants(Vec::new())),
            phases,
        };
        (generation, in_force)
    }

    /// The same under another number, from now on.
    pub(super) fn again(&self, generation: u64) -> InForce {
        let bare = self.bare.with_grants(Vec::new()).renumbered(generation);
        InForce { generation, since_micros: clock::now(), bare: Arc::new(bare), ..self.clone() }
    }

    /// Each phase, its policy, and whether it has begun.
    pub fn phases(&self) -> impl Iterator<Item = (&Policy, &Phase, bool)> {
        let policies = self.config.policies.iter();
        let phases = policies.flat_map(|policy| policy.phases.iter().map(move |phase| (policy, phase)));
        phases.zip(&self.phases).map(|((policy, phase), (_, latch))| (policy, phase, latch.has_begun()))
    }

    /// Whether a phase of this configuration has begun.
    pub fn has_begun(&self, policy: &Policy, phase: &Phase) -> bool {
        self.phases
            .iter()
            .any(|(key, latch)| key.policy == policy.name && key.phase == phase.name && latch.has_begun())
    }

    /// Begins the phases whose instant has come, as a worker does with its next burst.
    pub(super) fn advance(&self, now: i64) {
        let due = self.phases.iter().filter(|(key, latch)| key.from_micros <= now && !latch.has_begun());
        due.for_each(|(_, latch)| latch.begin());
    }

    /// The phases that have begun.
    pub(super) fn begun(&self) -> impl Iterator<Item = &PhaseKey> {
        self.phases.iter().filter(|(_, latch)| latch.has_begun()).map(|(key, _)| key)
    }

    /// The next instant at which a phase begins, in UTC microseconds.
    pub(super) fn next_phase(&self) -> Option<i64> {
        let waiting = self.phases.iter().filter(|(_, latch)| !latch.has_begun());
        waiting.map(|(key, _)| key.from_micros).min()
    }
}

/// Where every thread finds what is in force.
#[derive(Debug)]
pub(crate) struct Slot(Mutex<Arc<InForce>>);

impl Slot {
    pub(crate) fn new(in_force: InForce) -> Slot {
        Slot(Mutex::new(Arc::new(in_force)))
    }

    pub(crate) fn get(&self) -> Arc<InForce> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn put(&self, in_force: InForce) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(in_force);
    }
}

/// What a request for the tables' thread comes to.
pub(crate) type Answer = Result<Box<RawValue>, Error>;

/// Something to do for the tables' thread.
pub(crate) enum Task {
    /// A request.
    Call(Ticket, Box<dyn FnOnce(&mut Tables) -> Answer + Send>),
    /// SIGHUP. The flag says that one is waiting, so that a storm of them makes no queue.
    Reload(Arc<AtomicBool>),
    /// Phases have begun.
    Remember(Vec<PhaseKey>),
    /// Kernel tables that are followed have changed.
    KernelTables(Arc<Mailbox>),
}

/// What the tables' thread tells the control thread.
pub(super) enum Report {
    Answer(Ticket, Answer),
    Happened(Event),
}

/// Why a reload changed nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReloadError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Compile(#[from] compile::Error),
    #[error("this needs a restart of the daemon: {}", .0.join("; "))]
    NeedsRestart(Vec<String>),
    #[error(
        "generation {} awaits confirmation ({:.0} s left): `sekisho confirm` or `sekisho rollback` first",
        .0.generation, .0.seconds_left
    )]
    AwaitsConfirmation(Awaited),
}

impl From<ReloadError> for Error {
    fn from(error: ReloadError) -> Error {
        let (code, data) = match &error {
            ReloadError::Config(config) => {
                let found = config.found();
                let message = format!(
                    "the configuration is refused: {found} problem{}",
                    if found == 1 { "" } else { "s" }
                );
                let data = serde_json::json!({
                    "rendered": config.render(Colour::Off),
                    "problems": config.problems(),
                    "found": found,
                });
                return Error { data: Some(data), ..Error::new(Error::CONFIGURATION, message) };
            }
            ReloadError::Compile(_) => (Error::CONFIGURATION, None),
            ReloadError::NeedsRestart(changes) => {
                (Error::NEEDS_RESTART, Some(serde_json::json!({ "changes": changes })))
            }
            ReloadError::AwaitsConfirmation(awaited) => {
                (Error::UNCONFIRMED, Some(serde_json::json!(awaited)))
            }
        };
        Error { data, ..Error::new(code, error.to_string()) }
    }
}

/// What a reload did, or would do.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Reloaded {
    /// Nothing was published.
    pub dry_run: bool,
    /// The generation in force now.
    pub generation: u64,
    /// The one that was before, which is the same after a dry run.
    pub previous: u64,
    /// What was read.
    pub config: String,
    /// What it says that the configuration before does not.
    pub difference: Difference,
    /// How long each step took.
    pub seconds: Steps,
    /// Prefixes in the new tables.
    pub prefixes: usize,
    /// Bytes that they take.
    pub memory_bytes: usize,
    /// Old generations that a worker still held when it was no longer waited for; they are freed later.
    pub still_held: usize,
    /// What comes back by itself, if it is not confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmation: Option<Awaited>,
}

impl Reloaded {
    /// What a reload from this file, of what was before, came to.
    pub(super) fn new(path: &Path, before: &InForce, now: &InForce, difference: Difference) -> Reloaded {
        Reloaded {
            dry_run: false,
            generation: now.generation,
            previous: before.generation,
            config: path.display().to_string(),
            difference,
            seconds: Steps::default(),
            prefixes: now.tables.iter().map(|table| table.prefixes).sum(),
            memory_bytes: now.tables.iter().map(|table| table.bytes).sum(),
            still_held: 0,
            confirmation: None,
        }
    }
}

/// How long the steps of a reload took, in seconds; none for those that a dry run leaves out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Steps {
    /// Reading and checking.
    pub validate: f64,
    /// Making tables.
    pub compile: f64,
    /// Putting them in force.
    pub publish: Option<f64>,
    /// Waiting until every worker had left the old ones.
    pub quiesce: Option<f64>,
    /// Freeing those.
    pub free: Option<f64>,
}

impl Steps {
    /// All steps together.
    pub fn sum(&self) -> f64 {
        let later = [self.publish, self.quiesce, self.free];
        self.validate + self.compile + later.into_iter().flatten().sum::<f64>()
    }
}

/// What a reload is asked for.
#[derive(Clone, Debug)]
pub(crate) struct ReloadOptions {
    pub(crate) source: Source,
    pub(crate) load: LoadOptions,
    /// How long to wait for a confirmation; none if none is needed.
    pub(crate) confirm: Option<Duration>,
    pub(crate) author: Author,
}

/// How long a worker is waited for that does not leave the old generation. It is stuck then, and so is what it holds.
const QUIESCE_PATIENCE: Duration = Duration::from_secs(5);
/// How often what could not be done at once is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// Everything that makes tables. One thread has it.
pub(crate) struct Tables {
    pub(super) compiler: Compiler,
    /// The grants that are not over.
    pub(crate) grants: Grants,
    pub(super) publisher: Publisher<Generation>,
    /// In route mode: what the configuration says of routes.
    pub(super) routing: Option<SharedRoutes>,
    pub(super) slot: Arc<Slot>,
    pub(super) books: Arc<Books>,
    /// The file that the daemon was started with.
    pub(super) start: PathBuf,
    pub(super) state: Option<State>,
    /// Phases that could not be written down yet.
    pub(super) unwritten: Vec<PhaseKey>,
    pub(super) reports: Sender<Report>,
    pub(super) bell: Bell,
    /// The last generations, and what a reload replaced that is to be confirmed.
    pub(super) history: Arc<History>,
    /// The kernel's tables that pools and sets follow.
    pub(super) followed: FollowedTables,
    /// What of them is in force.
    pub(super) in_force_of_tables: TablesInForce,
    /// What they last contained.
    pub(super) remembered: Remembered,
    /// Where they come from.
    pub(super) kernel: Line,
    /// Why a table's contents can't be put in force, as it was told last.
    pub(super) table_refused: Option<String>,
}

impl Tables {
    /// Does tasks until nobody gives any more.
    pub(super) fn run(mut self, tasks: &Receiver<Task>) {
        loop {
            let task = tasks.recv_timeout(self.patience());
            // Before the task: a confirmation that comes too late is none.
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.roll_back_if_due())) {
                let message = format!("the rollback failed in the daemon: {}", panic_message(&*panic));
                self.happened(Event::ReloadRefused { message });
            }
            match task {
                Ok(Task::Call(ticket, call)) => {
                    // The tables are replaced as a whole, at the end of what can panic: whatever a panic left behind
                    // is not in force.
                    let answer = catch_unwind(AssertUnwindSafe(|| call(&mut self)));
                    let answer = answer.unwrap_or_else(|panic| {
                        let panic = panic_message(&*panic);
                        Err(Error::internal(format!("the request failed in the daemon: {panic}")))
                    });
                    self.report(Report::Answer(ticket, answer));
                }
                Ok(Task::Reload(waiting)) => {
                    // Before the file is read: who asks from now on may mean a later one.
                    waiting.store(false, Ordering::Release);
                    let options = ReloadOptions {
                        source: Source::Start,
                        load: LoadOptions::default(),
                        confirm: None,
                        author: Author::Signal,
                    };
                    // What comes of it is told as an event. The same holds for a panic as above.
                    let result = catch_unwind(AssertUnwindSafe(|| self.reload(&options).map(|_| ())));
                    if let Err(panic) = result {
                        let message = format!("it failed in the daemon: {}", panic_message(&*panic));
                        self.happened(Event::ReloadRefused { message });
                    }
                }
                Ok(Task::Remember(begun)) => {
                    let news = self.unwritten.is_empty();
                    self.unwritten.extend(begun);
                    self.remember(news);
                }
                Ok(Task::KernelTables(mailbox)) => self.take_tables(&mailbox),
                Err(RecvTimeoutError::Timeout) => {
                    self.publisher.reclaim();
                    self.remember(false);
                }
                Err(RecvTimeoutError::Disconnected) => {
                    // First what nobody can say again.
                    self.grants.end();
                    let contents = self.followed.with(|followed| followed.contents());
                    self.remember_tables(&contents, true);
                    return;
                }
            }
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.follow_tables())) {
                let why = format!("it failed in the daemon: {}", panic_message(&*panic));
                self.happened(Event::KernelTableRefused { table: 0, why });
            }
            self.expire_grants();
        }
    }

    fn report(&self, report: Report) {
        // Without a control thread the process is at its end.
        let _ = self.reports.send(report);
        self.bell.ring();
    }

    pub(super) fn happened(&self, event: Event) {
        self.report(Report::Happened(event));
    }

    /// Writes down what has begun. Says so if that can't be done, the first time.
    fn remember(&mut self, first: bool) {
        let Some(state) = self.state.as_mut().filter(|_| !self.unwritten.is_empty()) else {
            self.unwritten.clear();
            return;
        };
        match state.remember(self.unwritten.iter().cloned()) {
            Ok(()) => self.unwritten.clear(),
            Err(error) if first => self.happened(Event::StateUnwritable { why: error.to_string() }),
            Err(_) => {}
        }
    }

    /// What is in force.
    pub(crate) fn in_force(&self) -> Arc<InForce> {
        self.slot.get()
    }

    /// What the workers show.
    pub(crate) fn books(&self) -> &Books {
        &self.books
    }

    /// The generation in force.
    pub(crate) fn generation(&self) -> &Generation {
        self.publisher.current()
    }

    /// Puts a configuration in force.
    pub(crate) fn reload(&mut self, options: &ReloadOptions) -> Result<Reloaded, ReloadError> {
        self.happened(Event::ReloadBegun);
        let result = self.try_reload(options);
        self.happened(match &result {
            Ok(reloaded) => Event::Reload {
                generation: reloaded.generation,
                config: reloaded.config.clone(),
                seconds: reloaded.seconds.sum(),
            },
            Err(error) => Event::ReloadRefused { message: error.to_string() },
        });
        if let Ok(Reloaded { confirmation: Some(awaited), .. }) = &result {
            let Awaited { generation, previous, seconds_left: seconds } = *awaited;
            self.happened(Event::ConfirmationAwaited { generation, previous, seconds });
        }
        result
    }

    fn try_reload(&mut self, options: &ReloadOptions) -> Result<Reloaded, ReloadError> {
        self.must_not_be_pending()?;
        let before = self.in_force();
        let followed = self.followed.copy();
        let reading = followed.reading(options.load);
        let Comparison { config, difference, seconds } =
            load::compare(&options.source, &self.start, options.load, &before, &reading)?;
        let read = reading.read.take();
        let mut clock = Stopwatch(Instant::now());
        let compiled = self.compiler.compile(&config, self.grants.table())?;
        let (generation, in_force) = InForce::of(Arc::clone(&config), compiled);
        let path = options.source.path(&self.start);
        let mut reloaded = Reloaded::new(&path, &before, &in_force, difference);
        let mut seconds = Steps { validate: seconds, compile: clock.lap(), ..Steps::default() };
        in_force.advance(clock::now());
        self.publisher.publish(generation);
        self.follow_routes(&config);
        self.slot.put(in_force);
        seconds.publish = Some(clock.lap());
        self.followed.with(|followed| followed.accept(options.load));
        self.follow_configuration(&config, &read);
        self.record(options.author, &config, None, &reloaded.difference);
        match options.confirm {
            Some(time) => {
                let pending = Pending::new(before, reloaded.generation, time);
                reloaded.confirmation = Some(self.history.hold(pending));
            }
            // The tables that it shares are freed below.
            None => drop(before),
        }
        reloaded.still_held = self.wait_for_workers();
        seconds.quiesce = Some(clock.lap());
        self.publisher.reclaim();
        seconds.free = Some(clock.lap());
        reloaded.seconds = seconds;
        Ok(reloaded)
    }

    /// Has the list of affected customers begun anew. When this is done, the former one rests.
    pub(crate) fn turn_affected_over(&mut self) -> Result<(), Error> {
        let Some(affected) = &self.books.affected else { return Err(nobody_is_booked()) };
        let stuck = || Error::internal("a worker does not move on; see `sekisho status`");
        if self.publisher.reclaim() > 0 {
            return Err(stuck());
        }
        affected.turn_over();
        // Whoever has taken this generation has come to the end of the burst that it was in.
        self.publisher.publish(self.publisher.current().with_grants(self.grants.table()));
        let held = self.wait_for_workers();
        self.publisher.reclaim();
        if held == 0 { Ok(()) } else { Err(stuck()) }
    }

    /// Brings static routes to what a configuration says. What can't be done is told, and leaves the others.
    pub(super) fn follow_routes(&mut self, config: &Config) {
        let Some(routing) = &self.routing else { return };
        let (released, refused) = {
            let mut routing = routing.lock().unwrap_or_else(PoisonError::into_inner);
            (routing.follow(config, routing::device), routing.refused().to_vec())
        };
        if released != Released::default() {
            self.kernel.release(released);
        }
        self.tell_refused(refused);
    }

    /// Says which of the configuration's routes and neighbours are not in force.
    pub(super) fn tell_refused(&self, refused: Vec<String>) {
        for why in &refused {
            self.happened(Event::RouteRefused { why: why.clone() });
        }
        *self.books.routes_refused.lock().unwrap_or_else(PoisonError::into_inner) = refused;
    }

    /// How long to wait for a task. A grant that is over leaves within a second.
    fn patience(&self) -> Duration {
        let behind = self.followed.with(|followed| self.remembered.is_behind(&followed.contents()));
        let nothing_to_do = self.grants.is_empty() && !behind;
        let patience = if nothing_to_do { TRY_AGAIN } else { Duration::from_secs(1) };
        let due = self.followed.with(|followed| followed.due());
        let held = due.map(|due| due.saturating_duration_since(Instant::now()));
        [self.until_rollback(), held].into_iter().flatten().fold(patience, Duration::min)
    }

    /// Waits until no worker holds an old generation any more; gives back how many are held all the same.
    pub(super) fn wait_for_workers(&self) -> usize {
        let begun = Instant::now();
        loop {
            let held = self.publisher.held();
            match begun.elapsed() {
                _ if held == 0 => return 0,
                waited if waited > QUIESCE_PATIENCE => return held,
                // A burst takes some ten microseconds.
                waited if waited < Duration::from_millis(1) => std::hint::spin_loop(),
                _ => std::thread::sleep(Duration::from_micros(200)),
            }
        }
    }
}

struct Stopwatch(Instant);

impl Stopwatch {
    /// Seconds since the last time.
    fn lap(&mut self) -> f64 {
        let now = Instant::now();
        let lap = now.duration_since(self.0).as_secs_f64();
        self.0 = now;
        lap
    }
}
