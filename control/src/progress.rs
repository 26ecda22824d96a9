//! How far something is that takes its time, on one line of a terminal.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

const PERIOD: Duration = Duration::from_secs(1);

/// The line. Nothing is shown where standard error is no terminal.
pub(crate) struct Progress {
    due: Option<Instant>,
    shown: bool,
}

impl Progress {
    /// Shown only if it is `wanted`.
    pub(crate) fn new(wanted: bool) -> Progress {
        let wanted = wanted && io::stderr().is_terminal();
        Progress { due: wanted.then(|| Instant::now() + PERIOD), shown: false }
    }

    /// Shows what `told` says, if it is time to.
    pub(crate) fn show<T: Display>(&mut self, now: Instant, told: impl FnOnce() -> T) {
        if self.due.is_some_and(|due| due <= now) {
            // Nobody is left to tell if standard error is gone.
            let _ = write!(io::stderr(), "\r{}", told());
            self.due = Some(now + PERIOD);
            self.shown = true;
        }
    }

    /// Leaves the line empty.
    pub(crate) fn clear(&mut self) {
        if self.shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
