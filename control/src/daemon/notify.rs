//! What systemd is told (sd_notify(3)). Where nobody listens, nothing happens.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use sekisho_dataplane::worker::Rounds;

use super::books::Books;

fn tell(state: &[NotifyState<'_>]) {
    // Forwarding does not depend on whether the service manager hears of it.
    let _ = sd_notify::notify(state);
}

pub(super) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// A reload has begun; [`ready`] says that it has ended, well or not.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

pub(super) fn status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// Tells the watchdog that all is well, as long as every worker's rounds go on.
pub(super) struct Watchdog {
    every: Duration,
    due: Instant,
    seen: Vec<Rounds>,
}

impl Watchdog {
    /// The watchdog that the service manager asked for, if it did.
    pub(super) fn new() -> Option<Watchdog> {
        let limit = sd_notify::watchdog_enabled()?;
        // Half of it, as sd_watchdog_enabled(3) recommends.
        Some(Watchdog { every: limit / 2, due: Instant::now(), seen: Vec::new() })
    }

    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// Says so if all workers have made progress since the last time. A worker that stands still is found by the
    /// service manager, after as long as it allows. Gives back whether it was told that all is well.
    pub(super) fn look(&mut self, books: &Books, now: Instant) -> bool {
        if now < self.due {
            return false;
        }
        self.due = now + self.every;
        let rounds: Vec<Rounds> = books.workers.iter().map(|worker| worker.pulse.rounds()).collect();
        let goes_on = |(at, rounds): (usize, &Rounds)| {
            self.seen.get(at) != Some(rounds) || !books.workers[at].is_running()
        };
        let well = rounds.iter().enumerate().all(goes_on);
        if well {
            tell(&[NotifyState::Watchdog]);
        }
        self.seen = rounds;
        well
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sekisho_dataplane::RejectLimits;
    use sekisho_dataplane::counters::WorkerCounters;
    use sekisho_dataplane::pipeline::Common;

    use super::*;
    use crate::daemon::books::WorkerBooks;

    #[test]
    fn a_worker_that_stands_still_silences_the_watchdog() {
        let worker = WorkerBooks {
            core: 0,
            counters: Arc::new(WorkerCounters::new(1, 1)),
            pulse: Arc::default(),
            life: Arc::default(),
            watches: Vec::new(),
        };
        let limits = RejectLimits { burst: 1, interval_micros: 1, per_second: 1 };
        let books = Books::new(vec![worker], Arc::new(Common::new(1, limits)), None);
        let now = Instant::now();
        let every = Duration::from_secs(1);
        let mut watchdog = Watchdog { every, due: now, seen: Vec::new() };
        assert!(watchdog.look(&books, now), "nothing to compare with yet");
        assert!(!watchdog.look(&books, now + every / 2), "it is not time");
        assert!(!watchdog.look(&books, now + every), "no round since");
        assert!(!watchdog.look(&books, now + 2 * every));
    }
}
