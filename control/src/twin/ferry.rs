//! The thread between workers and twins.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::CapabilitySet;
use sekisho_dataplane::pipeline::Common;
use sekisho_dataplane::policy::PortId;
use sekisho_dataplane::route::LinkId;
use sekisho_dataplane::route::punt::{PuntClass, Punts};

use super::Tap;
use crate::daemon::{panic_message, privilege};
use crate::netlink::Interfaces;

/// Workers ring no bell, so they are asked: the longest that a frame for the router lies about.
const TICK: Duration = Duration::from_millis(1);
/// Frames of one twin, and of workers, in a turn.
const TURN: usize = 256;
/// An address is asked for once in this time, however many frames wait for it.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// Addresses that are remembered as asked for.
const ASKED: usize = 4096;
/// Between two attempts at making a twin that was deleted.
const MAKE_AGAIN: Duration = Duration::from_secs(1);
/// How often the ports' lines are looked at.
const LINES: Duration = Duration::from_millis(100);
/// The longest frame.
const LONGEST: usize = 65_536;

/// A port's twin.
#[derive(Debug)]
pub struct Twin {
    /// The port.
    pub port: PortId,
    /// The interface's name.
    pub name: String,
    /// Its other end.
    pub tap: Tap,
}

/// What the ferry could not carry.
#[derive(Debug, Default)]
pub struct FerryCounts {
    /// Frames given to the kernel.
    pub to_kernel: AtomicU64,
    /// Frames that it did not take: the twin is down, or full.
    pub refused: AtomicU64,
    /// Frames that it sent.
    pub from_kernel: AtomicU64,
    /// Of these, those without a place on their way to a worker.
    pub unsent: AtomicU64,
    /// Addresses that it was asked for.
    pub asked: AtomicU64,
}

/// What becomes of twins, and of this thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Somebody has deleted a port's twin, and it can't be made again now.
    Gone {
        /// The port.
        port: PortId,
        /// The interface's name.
        twin: String,
        /// Why not.
        why: String,
    },
    /// It was made again, as it was at the start.
    Again {
        /// The port.
        port: PortId,
        /// The interface's name.
        twin: String,
    },
    /// A fault of ours has ended the thread.
    Failed {
        /// What was said.
        why: String,
    },
}

/// Which interface of the kernel each link is.
pub type LinkMap = Arc<Mutex<HashMap<LinkId, u32>>>;

/// See the module's documentation. It ends when this is dropped.
#[derive(Debug)]
pub struct Ferry {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ferry {
    /// Starts it. `is_up` says whether a port works, `make` makes its twin again, and `tell` is told of that.
    ///
    /// # Errors
    /// Without a thread or a socket.
    pub fn start(
        twins: Vec<Twin>,
        common: Arc<Common>,
        links: LinkMap,
        counts: Arc<FerryCounts>,
        is_up: impl Fn(PortId) -> bool + Send + 'static,
        make: impl Fn(PortId) -> Result<Twin, String> + Send + 'static,
        tell: impl Fn(Told) + Send + 'static,
    ) -> io::Result<Ferry> {
        let stop = Arc::new(AtomicBool::new(false));
        let interfaces = Interfaces::open()?;
        let carrying = Carrying {
            twins: twins.into_iter().map(Place::new).collect(),
            stop: Arc::clone(&stop),
            frame: vec![0; LONGEST],
            asked: HashMap::new(),
            lines_due: Instant::now(),
            interfaces,
            common,
            links,
            counts,
        };
        let thread = std::thread::Builder::new().name("sekisho-twins".to_owned()).spawn(move || {
            // To ask the kernel for a neighbour takes it with every request. Less of what it has is never refused
            // (capabilities(7)).
            let _ = privilege::keep(CapabilitySet::NET_ADMIN);
            let mut carrying = carrying;
            // What it leaves behind is not used again.
            let run = catch_unwind(AssertUnwindSafe(|| carrying.run(&is_up, &make, &tell)));
            carrying.let_go();
            if let Err(panic) = run {
                tell(Told::Failed { why: panic_message(&*panic).to_owned() });
            }
        })?;
        Ok(Ferry { stop, thread: Some(thread) })
    }
}

impl Drop for Ferry {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A twin's place.
struct Place {
    port: PortId,
    name: String,
    /// None while it is deleted.
    tap: Option<Tap>,
    /// What its line was told last.
    line: Option<bool>,
    /// Before this it is not made again: who deletes it all the time must not keep everybody busy.
    again: Instant,
    /// Why it can't be, as was told last.
    told: Option<String>,
}

impl Place {
    fn new(Twin { port, name, tap }: Twin) -> Place {
        Place { port, name, tap: Some(tap), line: None, again: Instant::now(), told: None }
    }
}

struct Carrying {
    twins: Vec<Place>,
    stop: Arc<AtomicBool>,
    frame: Vec<u8>,
    asked: HashMap<(LinkId, IpAddr), Instant>,
    lines_due: Instant,
    interfaces: Interfaces,
    common: Arc<Common>,
    links: LinkMap,
    counts: Arc<FerryCounts>,
}

impl Carrying {
    fn run(
        &mut self,
        is_up: &impl Fn(PortId) -> bool,
        make: &impl Fn(PortId) -> Result<Twin, String>,
        tell: &impl Fn(Told),
    ) {
        let common = Arc::clone(&self.common);
        let Some(punts) = common.punts() else { return };
        self.twins.iter().for_each(|place| punts.set_taken(place.port, true));
        while !self.stop.load(Ordering::Relaxed) {
            self.wait();
            self.make_again(punts, make, tell);
            self.look_at_lines(is_up);
            self.take_from_kernel(punts);
            self.give_to_kernel(punts);
            self.ask(punts);
        }
    }

    /// Nobody takes what is for the router any more.
    fn let_go(&self) {
        if let Some(punts) = self.common.punts() {
            self.twins.iter().for_each(|place| punts.set_taken(place.port, false));
        }
    }

    fn wait(&self) {
        let taps = self.twins.iter().filter_map(|place| place.tap.as_ref());
        let mut fds: Vec<PollFd<'_>> =
            taps.map(|tap| PollFd::from_borrowed_fd(tap.as_fd(), PollFlags::IN)).collect();
        let timeout = Timespec { tv_sec: 0, tv_nsec: TICK.as_nanos() as i64 };
        // Interrupted is looked at again in no time.
        let _ = poll(&mut fds, Some(&timeout));
    }

    fn make_again(
        &mut self,
        punts: &Punts,
        make: &impl Fn(PortId) -> Result<Twin, String>,
        tell: &impl Fn(Told),
    ) {
        let now = Instant::now();
        for place in self.twins.iter_mut().filter(|place| place.tap.is_none() && place.again <= now) {
            place.again = now + MAKE_AGAIN;
            let (port, twin) = (place.port, place.name.clone());
            match make(port) {
                Ok(made) => {
                    (place.tap, place.line, place.told) = (Some(made.tap), None, None);
                    punts.set_taken(port, true);
                    tell(Told::Again { port, twin });
                }
                Err(why) if place.told.as_ref() != Some(&why) => {
                    place.told = Some(why.clone());
                    tell(Told::Gone { port, twin, why });
                }
                Err(_) => {}
            }
        }
    }

    fn look_at_lines(&mut self, is_up: &impl Fn(PortId) -> bool) {
        let now = Instant::now();
        if now < self.lines_due {
            return;
        }
        self.lines_due = now + LINES;
        for place in &mut self.twins {
            let up = is_up(place.port);
            let Some(tap) = &place.tap else { continue };
            if place.line != Some(up) && tap.set_carrier(up).is_ok() {
                place.line = Some(up);
            }
        }
    }

    fn take_from_kernel(&mut self, punts: &Punts) {
        for place in &mut self.twins {
            for _ in 0..TURN {
                let Some(tap) = &place.tap else { break };
                match tap.receive(&mut self.frame) {
                    Ok(length) => {
                        self.counts.from_kernel.fetch_add(1, Ordering::Relaxed);
                        if !punts.send(place.port, &self.frame[..length]) {
                            self.counts.unsent.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    Err(error) => {
                        // Else it is a line that is down, or nothing to read; both are looked at again.
                        if Tap::is_gone(&error) {
                            place.tap = None;
                            punts.set_taken(place.port, false);
                        }
                        break;
                    }
                }
            }
        }
    }

    fn give_to_kernel(&mut self, punts: &Punts) {
        for _ in 0..TURN * PuntClass::ALL.len() {
            let Some(frame) = punts.next_punted() else { break };
            let place = self.twins.iter().find(|place| place.port == frame.port);
            let tap = place.and_then(|place| place.tap.as_ref());
            let taken = tap.is_some_and(|tap| tap.send(frame.bytes()).is_ok());
            let count = if taken { &self.counts.to_kernel } else { &self.counts.refused };
            count.fetch_add(1, Ordering::Relaxed);
            punts.give_back(frame);
        }
    }

    fn ask(&mut self, punts: &Punts) {
        let now = Instant::now();
        for _ in 0..TURN {
            let Some(wanted) = punts.next_wanted() else { break };
            let key = (wanted.link, wanted.address);
            if self.asked.get(&key).is_some_and(|asked| now.duration_since(*asked) < ASK_AGAIN) {
                continue;
            }
            if self.asked.len() >= ASKED {
                self.asked.retain(|_, asked| now.duration_since(*asked) < ASK_AGAIN);
                // All of them are new: whoever comes now asks again later.
                if self.asked.len() >= ASKED {
                    punts.count_unasked();
                    continue;
                }
            }
            self.asked.insert(key, now);
            let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(index) = links.get(&wanted.link).copied() else { continue };
            drop(links);
            if self.interfaces.resolve(index, wanted.address).is_ok() {
                self.counts.asked.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}
