//! The thread that follows the kernel's routing tables.
//!
//! It hears rtnetlink and hands contents of tables to the tables' thread, which makes generations of them: at most ten a second, and
//! fewer when tables are so large that reading them takes long. What has not been taken yet is replaced by what is newer.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, TryRecvError};
use ipnetwork::IpNetwork;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::CapabilitySet;
use serde::{Deserialize, Serialize};

use super::books::Books;
use super::event::Event;
use super::followed::TableState;
use super::privilege;
use super::tables::{Report, Task};
use super::wake::{Bell, Ear, bell};
use crate::netlink::{self, Counts, Listener, Wanted, is_listed};

/// Between two generations of tables.
const PAUSE: Duration = Duration::from_millis(100);
/// As a share of the time that it takes to read tables, so that this thread is at it a fifth of its time at most.
const PAUSE_SHARE: u32 = 4;
/// After a failure to hear the kernel.
const TRY_AGAIN: Duration = Duration::from_secs(1);
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
}

/// The thread. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Kernel(Line);

impl Kernel {
    /// Starts it. While it has no table to follow, it has no sockets either.
    pub(super) fn start(
        tables: BTreeSet<u32>,
        books: &Arc<Books>,
        (tasks, reports, control): (Sender<Task>, Sender<Report>, Bell),
    ) -> io::Result<Kernel> {
        let (bell, ear) = bell()?;
        let (commands, commanded) = crossbeam::channel::unbounded();
        let follower = Follower {
            wanted: Wanted { tables, neighbours: false },
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
        };
        let thread = std::thread::Builder::new().name("sekisho-netlink".to_owned());
        thread.spawn(move || {
            // To look at routes takes nothing. Less of what it has is never refused (capabilities(7)).
            let _ = privilege::keep(CapabilitySet::empty());
            follower.run();
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

struct Follower {
    wanted: Wanted,
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
}

impl Follower {
    fn run(mut self) {
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
                    if !self.wait(None, Instant::now() + TRY_AGAIN) {
                        return;
                    }
                    continue;
                }
            };
            loop {
                if let Err(error) = listener.turn(&mut |_| {}) {
                    self.tell_failure(&error);
                    // With new sockets everything is asked for anew.
                    if !self.wait(None, Instant::now() + TRY_AGAIN) {
                        return;
                    }
                    break;
                }
                self.told = None;
                self.books.kernel.show_counts(listener.counts());
                self.hand_over(&mut listener);
                let mut due = Instant::now() + IDLE;
                due = listener.due().map_or(due, |listener| due.min(listener));
                if !self.changed.is_empty() {
                    due = due.min(self.next);
                }
                if !self.wait(Some(&mut listener), due) {
                    return;
                }
            }
        }
    }

    /// Reads out what has changed and hands it over, if it is time.
    fn hand_over(&mut self, listener: &mut Listener) {
        let dirty = listener.model_mut().take_dirty();
        self.changed
            .extend(dirty.routes.into_iter().filter(|(_, some)| !some.is_empty()).map(|(table, _)| table));
        let begun = Instant::now();
        if self.changed.is_empty() || begun < self.next {
            return;
        }
        let model = listener.model();
        let read = |table: u32| {
            let routes = model.routes(table).filter(|(_, best)| is_listed(best.kind));
            let mut prefixes: Vec<IpNetwork> = routes.map(|(prefix, _)| prefix).collect();
            prefixes.sort_unstable();
            (table, prefixes.into())
        };
        let contents = std::mem::take(&mut self.changed).into_iter().map(read).collect();
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
                Ok(Command::Follow(tables)) => {
                    self.wanted.tables.clone_from(&tables);
                    // What a new table contains is handed over even if that is nothing.
                    self.changed.extend(&tables);
                    if let Some(listener) = &mut listener {
                        listener.follow(tables);
                    }
                }
                Err(TryRecvError::Empty) => return true,
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn tell_failure(&mut self, error: &io::Error) {
        let why = error.to_string();
        if self.told.as_ref() != Some(&why) {
            let _ = self.reports.send(Report::Happened(Event::KernelUnheard { why: why.clone() }));
            self.control.ring();
            self.told = Some(why);
        }
    }
}
