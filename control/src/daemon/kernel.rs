//! The thread that follows the kernel's routing tables.
//!
//! It hears rtnetlink and hands contents of tables to the tables' thread, which makes generations of them: at most ten a second, and
//! fewer when tables are so large that reading them takes long. What has not been taken yet is replaced by what is newer.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use ipnetwork::IpNetwork;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};

use super::books::Books;
use super::compare::{Compared, compare};
use super::event::Event;
use super::followed::TableState;
use super::mirror::{Mirror, MirrorRead};
use super::privilege;
use super::tables::{Report, Task};
use super::threads::Witness;
use super::wake::{Bell, Ear, bell};
use crate::netlink::{self, Counts, Listener, Model, Wanted, is_listed};
use crate::routing::Released;
use crate::twin::Mapping;

/// Between two generations of tables.
const PAUSE: Duration = Duration::from_millis(100);
/// As a share of the time that it takes to read tables, so that this thread is at it a fifth of its time at most.
const PAUSE_SHARE: u32 = 4;
/// After a failure to hear the kernel.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// How often next hops that the kernel does not tell are asked for again.
const UNTOLD_AGAIN: Duration = Duration::from_secs(10);
/// How long the mirror has for what it has heard.
const CATCH_UP: Duration = Duration::from_secs(30);
/// How much nicer than the others who compares is.
const NICER: i32 = 10;
/// The longest wait while the kernel is silent.
const IDLE: Duration = Duration::from_secs(10);

/// What is known of the kernel, for `status` and the metrics.
#[derive(Debug, Default)]
pub struct KernelBooks(Mutex<KernelRead>);

/// The same at one reading.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct KernelRead {
    /// The tables of pools and sets.
    pub tables: Vec<TableState>,
    /// Notifications and parts of dumps that were read.
    pub events: u64,
    /// Times that everything was read anew, the start included.
    pub resyncs: u64,
    /// Times that notifications were lost.
    pub overruns: u64,
    /// Messages that could not be read.
    pub unreadable: u64,
    /// Prefixes of tables that another pool has already.
    pub conflicts: usize,
    /// In route mode: what is mirrored of the kernel's routes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<MirrorRead>,
}

impl KernelRead {
    /// Whether anything of the kernel's is followed.
    pub fn is_followed(&self) -> bool {
        self.mirror.is_some() || !self.tables.is_empty()
    }
}

impl KernelBooks {
    fn with<T>(&self, look: impl FnOnce(&mut KernelRead) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is known.
    pub fn read(&self) -> KernelRead {
        self.with(|read| read.clone())
    }

    pub(super) fn show_tables(&self, tables: Vec<TableState>) {
        self.with(|read| read.tables = tables);
    }

    pub(super) fn show_conflicts(&self, conflicts: usize) {
        self.with(|read| read.conflicts = conflicts);
    }

    fn show_mirror(&self, mirror: MirrorRead) {
        self.with(|read| read.mirror = Some(mirror));
    }

    fn show_counts(&self, counts: Counts) {
        self.with(|read| {
            let Counts { events, resyncs, overruns, unreadable } = counts;
            *read = KernelRead { events, resyncs, overruns, unreadable, ..std::mem::take(read) };
        });
    }
}

/// What tables contain now, until the tables' thread takes it.
#[derive(Debug, Default)]
pub(crate) struct Mailbox(Mutex<BTreeMap<u32, Arc<[IpNetwork]>>>);

impl Mailbox {
    /// Puts contents in; whether nothing was in it.
    fn put(&self, contents: BTreeMap<u32, Arc<[IpNetwork]>>) -> bool {
        let mut box_ = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let was_empty = box_.is_empty();
        box_.extend(contents);
        was_empty
    }

    pub(super) fn take(&self) -> BTreeMap<u32, Arc<[IpNetwork]>> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

enum Command {
    Follow(BTreeSet<u32>),
    Release(Released),
    Compare(Sender<io::Result<Compared>>),
    CatchUp(Sender<Mapping>),
    Stop,
}

/// The way to the thread.
#[derive(Clone, Debug)]
pub(super) struct Line {
    commands: Sender<Command>,
    bell: Bell,
}

impl Line {
    /// Follows these tables from now on.
    pub(super) fn follow(&self, tables: BTreeSet<u32>) {
        let _ = self.commands.send(Command::Follow(tables));
        self.bell.ring();
    }

    /// Puts what the kernel says in place of this.
    pub(super) fn release(&self, released: Released) {
        let _ = self.commands.send(Command::Release(released));
        self.bell.ring();
    }

    /// Compares the dataplane's routes with the kernel's; in words, why that can't be done.
    pub(super) fn compare(&self, patience: Duration) -> Result<Compared, String> {
        let (answer, answered) = crossbeam::channel::bounded(1);
        let _ = self.commands.send(Command::Compare(answer));
        self.bell.ring();
        match answered.recv_timeout(patience) {
            Ok(result) => result.map_err(|error| format!("the kernel can't be asked: {error}")),
            Err(RecvTimeoutError::Timeout) => Err(format!("not compared within {} s", patience.as_secs())),
            Err(RecvTimeoutError::Disconnected) => Err("the comparison has failed in the daemon".to_owned()),
        }
    }

    /// Has the mirror do what it has heard; gives its mapping then.
    fn caught_up(&self) -> io::Result<Mapping> {
        let (answer, answered) = crossbeam::channel::bounded(1);
        let _ = self.commands.send(Command::CatchUp(answer));
        self.bell.ring();
        answered.recv_timeout(CATCH_UP).map_err(|_| io::ErrorKind::TimedOut.into())
    }
}

/// The thread. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Kernel(Line);

impl Kernel {
    /// Starts it. While it has no table to follow, it has no sockets either.
    pub(super) fn start(
        tables: BTreeSet<u32>,
        mirror: Option<Mirror>,
        books: &Arc<Books>,
        (tasks, reports, control): (Sender<Task>, Sender<Report>, Bell),
    ) -> io::Result<Kernel> {
        let (bell, ear) = bell()?;
        let (commands, commanded) = crossbeam::channel::unbounded();
        let follower = Follower {
            wanted: Wanted { tables: with_mirrored(tables, mirror.is_some()), neighbours: mirror.is_some() },
            released: Vec::new(),
            mirror,
            catching_up: Vec::new(),
            comparing: None,
            line: Line { commands: commands.clone(), bell: bell.clone() },
            commanded,
            ear,
            tasks,
            reports,
            control,
            books: Arc::clone(books),
            mailbox: Arc::default(),
            changed: BTreeSet::new(),
            next: Instant::now(),
            told: None,
            untold: None,
            untold_said: false,
        };
        let thread = std::thread::Builder::new().name("sekisho-netlink".to_owned());
        let kept = privilege::of_kernel(follower.mirror.is_some());
        let witness = Witness {
            reports: follower.reports.clone(),
            control: follower.control.clone(),
            thread: "sekisho-netlink",
            what: "the kernel's routes and tables are not followed, and what was known of them stays",
        };
        thread.spawn(move || {
            // Less of what it has is never refused (capabilities(7)).
            let _ = privilege::keep(kept);
            witness.of(|| follower.run());
        })?;
        Ok(Kernel(Line { commands, bell }))
    }

    /// Another way to it.
    pub(super) fn line(&self) -> Line {
        self.0.clone()
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        let _ = self.0.commands.send(Command::Stop);
        self.0.bell.ring();
    }
}

/// The tables of pools and sets, and those of the mirror.
fn with_mirrored(mut tables: BTreeSet<u32>, mirrors: bool) -> BTreeSet<u32> {
    if mirrors {
        tables.extend(Mirror::tables());
    }
    tables
}

/// Takes what is dirty: routes and neighbours to the dataplane, tables of pools to be read out.
fn take(model: &mut Model, mirror: &mut Option<Mirror>, changed: &mut BTreeSet<u32>) {
    let dirty = model.take_dirty();
    let mirrored = |table: &u32| mirror.is_some() && Mirror::tables().contains(table);
    let tables = dirty.routes.iter().filter(|(table, some)| !some.is_empty() && !mirrored(table));
    changed.extend(tables.map(|(table, _)| *table));
    if let Some(mirror) = mirror {
        mirror.follow(model, &dirty);
    }
}

struct Follower {
    wanted: Wanted,
    mirror: Option<Mirror>,
    released: Vec<Released>,
    catching_up: Vec<Sender<Mapping>>,
    comparing: Option<JoinHandle<()>>,
    /// To itself, for who compares.
    line: Line,
    commanded: Receiver<Command>,
    ear: Ear,
    tasks: Sender<Task>,
    reports: Sender<Report>,
    control: Bell,
    books: Arc<Books>,
    mailbox: Arc<Mailbox>,
    /// Tables that are to be read out.
    changed: BTreeSet<u32>,
    next: Instant,
    /// Why the kernel can't be heard, as it was told last.
    told: Option<String>,
    /// While next hops are untold: when they are asked for again.
    untold: Option<Instant>,
    /// That they are was said.
    untold_said: bool,
}

impl Follower {
    fn run(mut self) {
        // What is known outlives the sockets: what has gone meanwhile is found by comparison.
        let mut known: Option<Model> = None;
        loop {
            while self.wanted.tables.is_empty() {
                if !self.wait(None, Instant::now() + IDLE) {
                    return;
                }
            }
            let mut listener = match Listener::open(self.wanted.clone(), netlink::ROOM) {
                Ok(listener) => listener,
                Err(error) => {
                    self.tell_failure(&error);
                    self.release(known.as_ref().unwrap_or(&Model::default()));
                    if !self.wait(None, Instant::now() + TRY_AGAIN) {
                        return;
                    }
                    continue;
                }
            };
            if let Some(model) = known.take() {
                listener.recall(model);
            }
            loop {
                self.release(listener.model());
                let (mirror, changed) = (&mut self.mirror, &mut self.changed);
                if let Err(error) = listener.turn(&mut |model| take(model, mirror, changed)) {
                    self.tell_failure(&error);
                    // With new sockets everything is asked for anew.
                    if !self.wait(None, Instant::now() + TRY_AGAIN) {
                        return;
                    }
                    known = Some(listener.into_model());
                    self.changed.extend(self.wanted.tables.iter().copied());
                    break;
                }
                self.told = None;
                self.books.kernel.show_counts(listener.counts());
                self.hand_over(&mut listener);
                for answer in std::mem::take(&mut self.catching_up) {
                    if let Some(mirror) = &self.mirror {
                        let _ = answer.send(mirror.mapping());
                    }
                }
                let mut due = Instant::now() + IDLE;
                self.look_for_untold(&mut listener);
                if let Some(mirror) = &mut self.mirror {
                    due = due.min(mirror.tend(Instant::now()));
                    self.books.kernel.show_mirror(mirror.read());
                }
                due = listener.due().map_or(due, |listener| due.min(listener));
                if self.changed.iter().any(|table| listener.model().is_known(*table)) {
                    due = due.min(self.next);
                }
                if !self.wait(Some(&mut listener), due) {
                    return;
                }
            }
        }
    }

    fn release(&mut self, model: &Model) {
        for released in std::mem::take(&mut self.released) {
            if let Some(mirror) = &mut self.mirror {
                mirror.release(&released, model);
            }
        }
    }

    /// Has the dataplane's routes compared with the kernel's, on a thread of its own: this one goes on meanwhile.
    fn compare(&mut self, answer: Sender<io::Result<Compared>>) {
        let Some(mirror) = &self.mirror else { return };
        if self.comparing.as_ref().is_some_and(|thread| !thread.is_finished()) {
            let _ = answer.send(Err(io::Error::other("another comparison is not done yet")));
            return;
        }
        let (routes, line) = (mirror.shared(), self.line.clone());
        let compare = move || {
            // Nobody waits for it but who asked.
            let _ = rustix::process::nice(NICER);
            let compared =
                Mirror::second_listener().and_then(|kernel| compare(&routes, kernel, || line.caught_up()));
            let _ = answer.send(compared);
        };
        // Without a thread the answer's other end is gone, which is told.
        self.comparing = std::thread::Builder::new().name("sekisho-compare".to_owned()).spawn(compare).ok();
    }

    /// Says that routes lead by next hop objects that the kernel does not tell, and asks again now and then, as nobody says when it does.
    fn look_for_untold(&mut self, listener: &mut Listener) {
        let now = Instant::now();
        if self.mirror.is_none() {
            return;
        }
        if listener.model_mut().take_untold() {
            if !std::mem::replace(&mut self.untold_said, true) {
                self.report(Event::NextHopsUntold);
            }
            self.untold.get_or_insert(now + UNTOLD_AGAIN);
        }
        match self.untold {
            Some(due) if due > now => {}
            // What is untold still is said to be in the turn that asks.
            Some(_) => {
                self.untold = None;
                listener.refresh();
            }
            None if listener.due().is_none() => self.untold_said = false,
            None => {}
        }
    }

    /// Reads out what has changed and hands it over, if it is time.
    fn hand_over(&mut self, listener: &mut Listener) {
        take(listener.model_mut(), &mut self.mirror, &mut self.changed);
        let begun = Instant::now();
        let model = listener.model();
        // A table that nothing is known of yet is not empty.
        let known: BTreeSet<u32> =
            self.changed.iter().copied().filter(|table| model.is_known(*table)).collect();
        if known.is_empty() || begun < self.next {
            return;
        }
        self.changed.retain(|table| !known.contains(table));
        let read = |table: u32| {
            let routes = model.routes(table).filter(|(_, best)| is_listed(best.kind));
            let mut prefixes: Vec<IpNetwork> = routes.map(|(prefix, _)| prefix).collect();
            prefixes.sort_unstable();
            (table, prefixes.into())
        };
        let contents = known.into_iter().map(read).collect();
        if self.mailbox.put(contents) {
            let _ = self.tasks.send(Task::KernelTables(Arc::clone(&self.mailbox)));
        }
        self.next = Instant::now() + (begun.elapsed() * PAUSE_SHARE).max(PAUSE);
    }

    /// Waits for the kernel, a command or an instant. False when it is to end.
    fn wait(&mut self, mut listener: Option<&mut Listener>, due: Instant) -> bool {
        let timeout = Timespec::try_from(due.saturating_duration_since(Instant::now())).ok();
        {
            let mut fds = vec![PollFd::from_borrowed_fd(self.ear.fd(), PollFlags::IN)];
            if let Some(listener) = &listener {
                fds.push(PollFd::new(&**listener, PollFlags::IN));
            }
            // Interrupted is looked at again in no time.
            let _ = poll(&mut fds, timeout.as_ref());
        }
        self.ear.silence();
        loop {
            match self.commanded.try_recv() {
                Ok(Command::Release(released)) => self.released.push(released),
                Ok(Command::Compare(answer)) => self.compare(answer),
                Ok(Command::CatchUp(answer)) => self.catching_up.push(answer),
                Ok(Command::Follow(tables)) => {
                    let named = tables.clone();
                    let tables = with_mirrored(tables, self.mirror.is_some());
                    self.wanted.tables.clone_from(&tables);
                    // What a new table contains is handed over even if that is nothing.
                    self.changed.extend(&named);
                    if let Some(listener) = &mut listener {
                        listener.follow(tables);
                    }
                }
                Err(TryRecvError::Empty) => return true,
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn report(&self, event: Event) {
        // Without a control thread the process is at its end.
        let _ = self.reports.send(Report::Happened(event));
        self.control.ring();
    }

    fn tell_failure(&mut self, error: &io::Error) {
        let why = error.to_string();
        if self.told.as_ref() != Some(&why) {
            self.report(Event::KernelUnheard { why: why.clone() });
            self.told = Some(why);
        }
    }
}
