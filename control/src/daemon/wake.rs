//! How other threads and signal handlers wake the control thread out of poll(2).

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

/// Wakes the control thread.
#[derive(Clone, Debug)]
pub(super) struct Bell(Arc<UnixStream>);

impl Bell {
    pub(super) fn ring(&self) {
        // If it is full, the control thread will wake anyway.
        let _ = (&*self.0).write(&[0]);
    }
}

/// Where the control thread hears the bell.
#[derive(Debug)]
pub(super) struct Ear(UnixStream);

impl Ear {
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Takes what rang so far.
    pub(super) fn silence(&mut self) {
        let mut bytes = [0; 256];
        while matches!(self.0.read(&mut bytes), Ok(count) if count == bytes.len()) {}
    }
}

/// A bell, and who hears it.
pub(super) fn bell() -> io::Result<(Bell, Ear)> {
    let (write, read) = UnixStream::pair()?;
    write.set_nonblocking(true)?;
    read.set_nonblocking(true)?;
    Ok((Bell(Arc::new(write)), Ear(read)))
}

/// What signals ask for.
#[derive(Debug)]
pub(super) struct Signals {
    stop: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
}

impl Signals {
    /// From now on SIGTERM and SIGINT ask for the end, and SIGHUP for a reload. A second SIGTERM or SIGINT ends the
    /// process at once, should the first have found it stuck.
    pub(super) fn listen(bell: &Bell) -> io::Result<Signals> {
        let signals = Signals { stop: Arc::default(), reload: Arc::default() };
        for (signal, flag) in [(SIGINT, &signals.stop), (SIGTERM, &signals.stop), (SIGHUP, &signals.reload)] {
            if signal != SIGHUP {
                signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(flag))?;
            }
            // In this order: who is woken by the bell finds the flag set.
            signal_hook::flag::register(signal, Arc::clone(flag))?;
            pipe::register(signal, bell.0.try_clone()?)?;
        }
        Ok(signals)
    }

    pub(super) fn wants_stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    pub(super) fn take_reload(&self) -> bool {
        self.reload.swap(false, Ordering::Relaxed)
    }
}
