//! Where the workers get a port's sockets when its interface has been removed and is there again.
//!
//! Sockets are opened by one thread at a time, in the workers' order: what the interface has once (a fanout group, whose
//! order says which worker gets which frames; an XDP program) is made together with them. The first worker that misses its
//! socket has a thread do it; the others find theirs here, or have theirs opened next where a driver opens only those that
//! are missing. Opening and closing rings takes tens of milliseconds (the kernel waits until no other core can be using
//! them), during which the worker serves its other ports.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::error::InterfaceError;
use super::interface::Interfaces;
use super::interface::Name;
use super::system::{Errno, leave_core};

/// After a failure, how long until the next attempt.
const PAUSE: Duration = Duration::from_secs(1);

/// Opens the sockets of all workers at one port.
pub(super) trait Opens: Send + Sync + 'static {
    /// What one worker has there.
    type Line: Send;

    /// The interface.
    fn name(&self) -> &Name;

    /// How many workers there are.
    fn workers(&self) -> usize;

    /// Opens the lines of the workers that miss theirs, or of all if they can't be had apart; in the workers' order, each
    /// with its worker.
    fn open(
        &self,
        interfaces: &Interfaces,
        missing: &[usize],
    ) -> Result<Vec<(usize, Self::Line)>, InterfaceError>;
}

/// One port's place for sockets that wait for their workers.
pub(super) struct Berth<O: Opens> {
    pub(super) opener: O,
    moored: Mutex<Moored<O::Line>>,
}

struct Moored<Line> {
    /// How often sockets have been opened.
    generation: u64,
    /// By worker.
    lines: Vec<Option<Line>>,
    /// Workers that wait for theirs.
    missing: Vec<usize>,
    opening: bool,
    failure: Option<(Instant, InterfaceError)>,
}

impl<Line> Moored<Line> {
    /// What is said while they are being opened: what failed last time stands until it does not.
    fn meanwhile(&self) -> Answer<Line> {
        match &self.failure {
            Some((_, error)) => Answer::Refused(error.clone()),
            None => Answer::Opening,
        }
    }
}

/// What a worker that misses its sockets gets.
pub(super) enum Answer<Line> {
    /// Here they are, and which generation they belong to.
    Line(u64, Line),
    /// They are being opened.
    Opening,
    /// They can't be opened now.
    Refused(InterfaceError),
}

impl<O: Opens> Berth<O> {
    pub(super) fn new(opener: O) -> Berth<O> {
        let lines = (0..opener.workers()).map(|_| None).collect();
        let moored = Moored { generation: 0, lines, missing: Vec::new(), opening: false, failure: None };
        Berth { opener, moored: Mutex::new(moored) }
    }

    fn moored(&self) -> MutexGuard<'_, Moored<O::Line>> {
        // What is in there is whole between any two statements.
        self.moored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the sockets of all workers now.
    pub(super) fn open(&self, interfaces: &Interfaces) -> Result<(), InterfaceError> {
        self.open_missing(interfaces, &(0..self.opener.workers()).collect::<Vec<_>>())
    }

    fn open_missing(&self, interfaces: &Interfaces, missing: &[usize]) -> Result<(), InterfaceError> {
        let lines = self.opener.open(interfaces, missing)?;
        let mut moored = self.moored();
        moored.generation += 1;
        let mut unclaimed = Vec::new();
        for (worker, line) in lines {
            moored.missing.retain(|other| *other != worker);
            unclaimed.extend(moored.lines.get_mut(worker).and_then(|place| place.replace(line)));
        }
        drop(moored);
        // Closing takes long, and nobody is to wait for it.
        drop(unclaimed);
        Ok(())
    }

    /// Asks for a worker's sockets that are newer than those of `generation`, and has them opened if nobody does.
    pub(super) fn ask(self: &Arc<Self>, worker: usize, generation: u64) -> Answer<O::Line> {
        let mut moored = self.moored();
        if moored.generation > generation
            && let Some(line) = moored.lines.get_mut(worker).and_then(Option::take)
        {
            return Answer::Line(moored.generation, line);
        }
        if !moored.missing.contains(&worker) {
            moored.missing.push(worker);
        }
        if moored.opening {
            return moored.meanwhile();
        }
        if let Some((at, error)) = &moored.failure
            && at.elapsed() < PAUSE
        {
            return Answer::Refused(error.clone());
        }
        moored.opening = true;
        let berth = Arc::clone(self);
        let thread = std::thread::Builder::new().name("port-open".to_owned());
        if let Err(error) = thread.spawn(move || berth.open_for_those()) {
            let error = InterfaceError::system(self.opener.name().as_str(), "start a thread", error.into());
            moored.opening = false;
            moored.failure = Some((Instant::now(), error.clone()));
            return Answer::Refused(error);
        }
        moored.meanwhile()
    }

    fn open_for_those(&self) {
        leave_core();
        let panicked = "open it, for which the thread panicked";
        let panicked =
            InterfaceError::system(self.opener.name().as_str(), panicked, Errno(libc::ENOTRECOVERABLE));
        let mut attempt = Attempt { berth: self, failure: Some(panicked) };
        let mut missing = self.moored().missing.clone();
        missing.sort_unstable();
        let interfaces = Interfaces::new().map_err(|errno| {
            InterfaceError::system(self.opener.name().as_str(), "open a packet socket", errno)
        });
        let opened = interfaces.and_then(|interfaces| self.open_missing(&interfaces, &missing));
        attempt.failure = opened.err();
    }
}

/// Somebody opens sockets. However it ends, others may try when this is dropped.
struct Attempt<'b, O: Opens> {
    berth: &'b Berth<O>,
    failure: Option<InterfaceError>,
}

impl<O: Opens> Drop for Attempt<'_, O> {
    fn drop(&mut self) {
        let mut moored = self.berth.moored();
        moored.opening = false;
        moored.failure = self.failure.take().map(|error| (Instant::now(), error));
    }
}

/// Closes sockets and rings elsewhere, since it takes long.
pub(super) fn dismiss(old: impl Send + 'static) {
    let thread = std::thread::Builder::new().name("port-close".to_owned());
    // Where no thread can be had, they are closed here.
    let _ = thread.spawn(move || {
        leave_core();
        drop(old);
    });
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    struct Stumbling(Name, AtomicBool);

    impl Opens for Stumbling {
        type Line = ();

        fn name(&self) -> &Name {
            &self.0
        }

        fn workers(&self) -> usize {
            1
        }

        fn open(&self, _: &Interfaces, missing: &[usize]) -> Result<Vec<(usize, ())>, InterfaceError> {
            assert!(self.1.swap(true, Ordering::Relaxed), "the first time");
            Ok(missing.iter().map(|worker| (*worker, ())).collect())
        }
    }

    #[test]
    fn a_thread_that_panics_is_told_as_a_failure_and_another_tries_again() {
        let name = Name::new("nodev9").expect("a name");
        let berth = Arc::new(Berth::new(Stumbling(name, AtomicBool::new(false))));
        let await_answer = |is_awaited: fn(&Answer<()>) -> bool| {
            let begun = Instant::now();
            while !is_awaited(&berth.ask(0, 0)) {
                assert!(
                    begun.elapsed() < 20 * PAUSE,
                    "not even with CAP_NET_RAW, which a look at interfaces takes"
                );
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        await_answer(
            |answer| matches!(answer, Answer::Refused(error) if error.to_string().contains("panicked")),
        );
        await_answer(|answer| matches!(answer, Answer::Line(1, ())));
    }
}
