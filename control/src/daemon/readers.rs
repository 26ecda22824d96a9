//! The readers' thread: answers what takes a while and changes nothing.
//!
//! Who may only read can ask for much: a configuration compiled for a dry run or for another instant, a list of a
//! million customers. None of it is done where generations are made, so that a confirmation, a rollback, a grant or a
//! phase never waits for a reader. What is needed is what is in force (whose tables a reader may hold on to, since they
//! are immutable), the books, and the register of grants, which is locked for a page at a time. The thread is nicer
//! than the others, since all of them share the cores that the workers leave.
//!
//! Readers wait for each other, in the order in which they asked. At most [`WAITING`] of them do.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender};
use sekisho_dataplane::generation::Generation;

use super::books::Books;
use super::compare::Compared;
use super::followed::FollowedTables;
use super::kernel::Line;
use super::load::{self, Comparison, Source};
use super::mirror::SharedRoutes;
use super::tables::{Answer, InForce, ReloadError, ReloadOptions, Reloaded, Report, Slot};
use super::wake::Bell;
use super::workers::panic_message;
use crate::compile::Compiler;
use crate::config::{Config, ConfigError, LoadOptions};
use crate::durable::Standing;
use crate::grants::Register;
use crate::rpc::{Error, Ticket};

/// Questions that wait for their answers, at most. As many as there are clients; those of clients that have gone count.
pub(super) const WAITING: usize = 64;
/// How much nicer than the other threads.
const NICER: i32 = 10;

/// A question, and whose it is.
pub(crate) struct Asked(pub(crate) Ticket, pub(crate) Box<dyn FnOnce(&Readers) -> Answer + Send>);

/// What there is to read. One thread has it.
pub(crate) struct Readers {
    pub(super) slot: Arc<Slot>,
    pub(super) books: Arc<Books>,
    /// The kernel's tables that pools and sets follow.
    pub(super) followed: FollowedTables,
    /// The grants that are not over.
    pub(crate) grants: Register,
    /// Whether all of them are saved; none if they are not.
    pub(crate) saving: Option<Standing>,
    /// The file that the daemon was started with.
    pub(super) start: PathBuf,
    /// Routes in route mode.
    pub(super) routing: Option<SharedRoutes>,
    /// Who follows the kernel's.
    pub(super) kernel: Line,
    pub(super) reports: Sender<Report>,
    pub(super) bell: Bell,
}

impl Readers {
    /// Answers until nobody asks any more.
    pub(super) fn run(self, asked: &Receiver<Asked>) {
        // Without it answers are made all the same.
        let _ = rustix::process::nice(NICER);
        while let Ok(Asked(ticket, question)) = asked.recv() {
            let answer = catch_unwind(AssertUnwindSafe(|| question(&self))).unwrap_or_else(|panic| {
                let panic = panic_message(&*panic);
                Err(Error::internal(format!("the request failed in the daemon: {panic}")))
            });
            // Without a control thread the process is at its end.
            let _ = self.reports.send(Report::Answer(ticket, answer));
            self.bell.ring();
        }
    }

    /// What is in force.
    pub(crate) fn in_force(&self) -> Arc<InForce> {
        self.slot.get()
    }

    /// Its generation, with the grants of now.
    pub(crate) fn generation(&self, in_force: &InForce) -> Generation {
        in_force.bare.with_grants(self.grants.table())
    }

    /// Routes in route mode.
    pub(crate) fn routes(&self) -> Option<SharedRoutes> {
        self.routing.clone()
    }

    /// Compares the routes in the dataplane with the kernel's.
    pub(crate) fn compare_routes(&self, patience: Duration) -> Result<Compared, Error> {
        if self.routing.is_none() || !self.in_force().config.mirrors_kernel() {
            return Err(Error::new(Error::NOT_FOUND, "the kernel's routes are not mirrored"));
        }
        self.kernel.compare(patience).map_err(Error::internal)
    }

    /// What the workers show.
    pub(crate) fn books(&self) -> &Books {
        &self.books
    }

    /// Reads and checks a configuration, for comparison with the one in force.
    pub(crate) fn load(&self, source: &Source, options: LoadOptions) -> Result<Config, ConfigError> {
        let followed = self.followed.copy();
        load::load(source, &self.start, options, &self.in_force().config, &followed.reading(options))
    }

    /// Says what a reload would change.
    pub(crate) fn dry_run(&self, options: &ReloadOptions) -> Result<Reloaded, ReloadError> {
        let (before, followed) = (self.in_force(), self.followed.copy());
        let Comparison { config, difference, seconds } = load::compare(
            &options.source,
            &self.start,
            options.load,
            &before,
            &followed.reading(options.load),
        )?;
        let begun = Instant::now();
        // It takes no number for a pool, and begins no phase.
        let compiled = Compiler::numbering_from(before.generation).compile(&config, self.grants.table())?;
        let tables = InForce::of(config, compiled).1;
        let path = options.source.path(&self.start);
        let mut reloaded = Reloaded::new(&path, &before, &tables, difference);
        reloaded.dry_run = true;
        reloaded.generation = before.generation;
        reloaded.seconds.validate = seconds;
        reloaded.seconds.compile = begun.elapsed().as_secs_f64();
        Ok(reloaded)
    }
}
