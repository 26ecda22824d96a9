//! A reload with a net: what it replaced is kept ready, and comes back by itself unless somebody confirms.
//!
//! While a reload awaits its confirmation, the tables before it stay compiled beside those in force. Going back is then
//! one publication under a new number: nothing is read, nothing is compiled, and nothing can be refused. The time runs
//! on the tables' thread and depends on no client: whoever gave the command may be gone, or cut off by what it did.
//! Going back further compiles the configuration that the history kept. Either way phases that have begun stay begun, and
//! grants go on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sekisho_dataplane::generation::Generation;
use serde::{Deserialize, Serialize};

use super::control::contents;
use super::difference::Difference;
use super::event::Event;
use super::history::{Author, Awaited, KEPT, MOST_BYTES, New};
use super::tables::{InForce, ReloadError, Tables};
use crate::clock;
use crate::config::{Config, format_duration};
use crate::rpc::Error;

/// How long a reload may await its confirmation, in microseconds.
pub const TIMES: std::ops::RangeInclusive<u64> = 1_000_000..=86_400 * 1_000_000;

/// What a reload that is to be confirmed has replaced.
pub(super) struct Pending {
    /// The generation in force.
    generation: u64,
    /// What was before, with its tables.
    before: Arc<InForce>,
    /// When they come back.
    pub(super) until: Instant,
    /// How long that is altogether.
    time: Duration,
}

/// What `rollback` gives.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct RolledBack {
    /// The generation in force now.
    pub generation: u64,
    /// The one that was.
    pub left: u64,
    /// The one whose configuration is in force again.
    pub restores: u64,
    /// What that was read from.
    pub config: String,
    /// What it says that the configuration left does not.
    pub difference: Difference,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Old generations that a worker still held when it was no longer waited for; they are freed later.
    pub still_held: usize,
}

/// What `confirm` gives.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Confirmed {
    /// The generation that stays in force.
    pub generation: u64,
    /// How long before its end, in seconds.
    pub seconds_left: f64,
}

impl Pending {
    pub(super) fn new(before: Arc<InForce>, generation: u64, time: Duration) -> Pending {
        Pending { generation, before, until: Instant::now() + time, time }
    }

    /// What people are told.
    pub(super) fn awaited(&self, now: Instant) -> Awaited {
        Awaited {
            generation: self.generation,
            previous: self.before.generation,
            seconds_left: self.until.saturating_duration_since(now).as_secs_f64(),
        }
    }
}

impl Tables {
    /// Until something comes back by itself.
    pub(super) fn until_rollback(&self) -> Option<Duration> {
        self.history.until().map(|until| until.saturating_duration_since(Instant::now()))
    }

    /// Refuses what has to wait for a confirmation.
    pub(super) fn must_not_be_pending(&self) -> Result<(), ReloadError> {
        self.history.awaited().map_or(Ok(()), |awaited| Err(ReloadError::AwaitsConfirmation(awaited)))
    }

    /// Keeps what is in force.
    pub(crate) fn confirm(
        &mut self,
        generation: Option<u64>,
        (uid, pid): (u32, i32),
    ) -> Result<Confirmed, Error> {
        let Some(Awaited { generation: awaits, seconds_left, .. }) = self.history.awaited() else {
            let last = self.history.list().into_iter().next();
            let timer = last.filter(|last| last.author == Author::Timer);
            let why = timer.map_or(String::new(), |last| {
                let (number, at) = (last.generation, last.at);
                format!(": the last one came to its end at {at}, generation {number} is in force")
            });
            return Err(Error::new(Error::NOT_FOUND, format!("no reload awaits confirmation{why}")));
        };
        if generation.is_some_and(|wanted| wanted != awaits) {
            let message = format!("generation {awaits} awaits confirmation, no other");
            return Err(Error::new(Error::NOT_FOUND, message));
        }
        self.history.take_pending(|_| true);
        self.happened(Event::Confirmed { generation: awaits, uid, pid });
        Ok(Confirmed { generation: awaits, seconds_left })
    }

    /// Goes back if the time for a confirmation is over.
    pub(super) fn roll_back_if_due(&mut self) {
        if self.until_rollback() != Some(Duration::ZERO) {
            return;
        }
        // What is taken out is not awaited any more, whatever comes of it.
        if let Some(pending) = self.history.take_pending(|_| true) {
            let why = format!("not confirmed within {}", format_duration(pending.time.as_micros() as u64));
            self.restore_pending(pending, Author::Timer, why);
        }
    }

    /// Goes back to a generation of the history; if none is named, to the one before the one in force.
    pub(crate) fn roll_back(&mut self, wanted: Option<u64>, who: (u32, i32)) -> Result<RolledBack, Error> {
        let author = Author::Peer { uid: who.0, pid: who.1 };
        let why = format!("asked for by {author}");
        if let Some(pending) = self.history.take_pending(|p| wanted.is_none_or(|n| n == p.before.generation))
        {
            return Ok(self.restore_pending(pending, author, why));
        }
        let left = self.in_force();
        let none = |message: String| Err(Error::new(Error::NOT_FOUND, message));
        let Some(restores) = wanted.or_else(|| self.history.before()) else {
            return none("the history has no generation before this one".into());
        };
        if restores == left.generation {
            return none(format!("generation {restores} is in force already"));
        }
        let config = match self.history.config(restores) {
            Some(Some(config)) => config,
            Some(None) => {
                return none(format!(
                    "the configuration of generation {restores} is not kept any more: those of older \
                     generations take up to {} MiB; reload its file",
                    MOST_BYTES >> 20
                ));
            }
            None => {
                return none(format!(
                    "generation {restores} is not among the last {KEPT}; `sekisho rollback --list` shows them"
                ));
            }
        };
        let begun = Instant::now();
        let compiled = self
            .compiler
            .compile(&config, self.grants.table())
            .map_err(|error| Error::from(ReloadError::from(error)))?;
        let (generation, in_force) = InForce::of(config, compiled);
        // What was to be confirmed is left.
        self.history.take_pending(|_| true);
        Ok(self.restore(generation, in_force, Restoration { restores, author, why, begun }))
    }

    fn restore_pending(&mut self, pending: Pending, author: Author, why: String) -> RolledBack {
        let Pending { before, .. } = pending;
        let begun = Instant::now();
        let number = self.compiler.next_number();
        let generation = before.bare.with_grants(self.grants.table()).renumbered(number);
        let in_force = before.again(number);
        let restores = before.generation;
        self.restore(generation, in_force, Restoration { restores, author, why, begun })
    }

    fn restore(&mut self, generation: Generation, in_force: InForce, what: Restoration) -> RolledBack {
        let Restoration { restores, author, why, begun } = what;
        let left = self.in_force();
        let (number, config) = (in_force.generation, Arc::clone(&in_force.config));
        in_force.advance(clock::now());
        let still_held = self.put_in_force(generation, in_force);
        // It may name other tables of the kernel than what is left. They are followed from what it had of them.
        self.follow_configuration(&config, &contents(&config));
        let seconds = begun.elapsed().as_secs_f64();
        // What takes a while with many prefixes is behind what matters.
        let difference = Difference::between(&left.config, &config);
        self.record(author, &config, Some(restores), &difference);
        let rolled_back = RolledBack {
            generation: number,
            left: left.generation,
            restores,
            config: config.path.display().to_string(),
            difference,
            seconds,
            still_held,
        };
        self.happened(Event::RolledBack { generation: number, left: left.generation, restores, why });
        rolled_back
    }

    /// Publishes, waits for the workers and frees; gives how many old generations are held all the same.
    pub(super) fn put_in_force(&mut self, generation: Generation, in_force: InForce) -> usize {
        self.publisher.publish(generation);
        self.follow_routes(&in_force.config);
        self.slot.put(in_force);
        let still_held = self.wait_for_workers();
        self.publisher.reclaim();
        still_held
    }

    /// Notes what is in force now.
    pub(super) fn record(
        &self,
        author: Author,
        config: &Arc<Config>,
        restores: Option<u64>,
        difference: &Difference,
    ) {
        let in_force = self.in_force();
        let (generation, at_micros) = (in_force.generation, in_force.since_micros);
        self.history.record(&New { generation, at_micros, author, config, restores, difference });
    }
}

/// What is restored, why, and since when.
struct Restoration {
    restores: u64,
    author: Author,
    why: String,
    begun: Instant,
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use sekisho_dataplane::RejectLimits;
    use sekisho_dataplane::pipeline::Common;
    use sekisho_dataplane::publication::publish;

    use super::*;
    use crate::compile::Compiler;
    use crate::daemon::Books;
    use crate::daemon::followed::FollowedTables;
    use crate::daemon::history::{History, State};
    use crate::daemon::kernel::Kernel;
    use crate::daemon::tables::Slot;
    use crate::daemon::wake::bell;
    use crate::grants::Grants;

    const TEXT: &str = "[[port]]\nname = \"a\"\nrole = \"subscriber\"\npeer = \"b\"\ndriver = \"memory\"\n\
                        [[port]]\nname = \"b\"\nrole = \"internet\"\npeer = \"a\"\ndriver = \"memory\"\n\
                        [[policy]]\nname = \"p\"\n[[pool]]\nname = \"q\"\npolicy = \"p\"\nprefixes = [\"192.0.2.0/24\"]\n";

    #[test]
    fn a_rollback_that_panics_leaves_nothing_that_awaits_confirmation() {
        let config = Config::from_toml(TEXT, Path::new("/etc/s.toml")).unwrap();
        let mut compiler = Compiler::default();
        let compiled = compiler.compile(&config, Vec::new()).unwrap();
        let mut faulty = config.clone();
        // Nothing makes such a configuration: comparing it with another finds no policy, and panics.
        faulty.pools[0].policy = 7;
        let (_, before) = InForce::of(Arc::new(faulty), compiled);
        let compiled = compiler.compile(&config, Vec::new()).unwrap();
        let (generation, in_force) = InForce::of(Arc::new(config), compiled);
        let (publisher, readers) = publish(generation, 1);
        // No worker takes a burst, and none holds anything.
        drop(readers);
        let common = Arc::new(Common::new(2, RejectLimits::default()));
        let (reports, _reported) = crossbeam::channel::unbounded();
        let books = Arc::new(Books::new(Vec::new(), common, None));
        let (bell, _ear) = bell().unwrap();
        let ways = (crossbeam::channel::unbounded().0, reports.clone(), bell.clone());
        let kernel = Kernel::start(Default::default(), None, &books, ways).unwrap();
        let mut tables = Tables {
            in_force_of_tables: Default::default(),
            remembered: Default::default(),
            routing: None,
            compiler,
            grants: Grants::default(),
            publisher,
            slot: Arc::new(Slot::new(in_force)),
            books,
            start: "/etc/s.toml".into(),
            state: None,
            unwritten: Vec::new(),
            reports,
            bell,
            followed: FollowedTables::default(),
            kernel: kernel.line(),
            table_refused: None,
            history: Arc::new(History::default()),
        };
        tables.record(Author::Start, &tables.in_force().config, None, &Difference::default());
        tables.history.hold(Pending::new(Arc::new(before), 2, Duration::ZERO));
        assert_eq!(tables.history.list()[0].state, State::AwaitsConfirmation);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| tables.roll_back_if_due()));
        assert!(panicked.is_err());
        assert_eq!(tables.history.awaited(), None);
        assert_eq!(tables.history.list()[0].state, State::InForce);
        assert!(tables.must_not_be_pending().is_ok(), "the next reload mends it");
    }
}
