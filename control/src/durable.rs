//! Small files that outlive the daemon, read as a whole and replaced as a whole; on a thread of their own where nobody
//! may wait for the disk.
//!
//! A new file is written beside the old one, brought to the disk, and put in its place by rename(2): whenever the
//! process or the host dies, the one or the other is there, whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use rustix::fs::OFlags;

use crate::daemon::panic_message;

/// Reads a file of at most `largest` bytes; none if there is none yet.
///
/// # Errors
/// When it can't be read; of the kind `InvalidData` if it is larger.
pub(crate) fn read(path: &Path, largest: u64) -> io::Result<Option<Vec<u8>>> {
    let length = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        // Where the folder is no folder there is no file either.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    if length > largest {
        let message = format!("{length} bytes, more than {largest}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    fs::read(path).map(Some)
}

/// Replaces the file `name` of a folder, which is made if it is not there; a new one has this mode, less the umask.
///
/// # Errors
/// When it can't be written. The old file is there then.
pub(crate) fn replace(
    folder: &Path,
    name: &str,
    mode: u32,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let beside = folder.join(format!("{name}.new"));
    // A link that somebody put there is not followed.
    let flags = OFlags::NOFOLLOW.bits() as i32;
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .custom_flags(flags)
        .open(&beside)?;
    let mut file = BufWriter::new(file);
    write(&mut file)?;
    file.write_all(b"\n")?;
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(&beside, folder.join(name))?;
    // The rename is on the disk when the folder is (open(2), fsync(2)).
    File::open(folder)?.sync_all()
}

/// How far what is written is behind what is there. Changes are counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    changes: AtomicU64,
    written: AtomicU64,
}

impl Standing {
    /// Whether every change is on the disk.
    pub(crate) fn is_saved(&self) -> bool {
        self.0.written.load(Ordering::Acquire) == self.0.changes.load(Ordering::Acquire)
    }
}

/// Writes behind those who change something: whoever does so goes on at once, and a thread writes what is there, the
/// first change at once and further ones together. When this is dropped, what is not written yet is, and is waited for.
#[derive(Debug)]
pub(crate) struct WriteBehind {
    standing: Standing,
    bell: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl WriteBehind {
    /// Starts a thread, which calls `begin` first. `write` writes down everything, and says whether it could; it is called at most once each `pace`, and
    /// tried again if it could not. `panicked` is told if a fault of ours ends the thread.
    ///
    /// # Errors
    /// When the system has no thread for it.
    pub(crate) fn start(
        name: &str,
        pace: Duration,
        begin: impl FnOnce() + Send + 'static,
        write: impl FnMut() -> bool + Send + 'static,
        panicked: impl FnOnce(&str) + Send + 'static,
    ) -> io::Result<WriteBehind> {
        let standing = Standing::default();
        let (bell, rung) = bounded(1);
        let counts = standing.clone();
        let run = move || {
            begin();
            // What it leaves behind is not used again.
            let followed = catch_unwind(AssertUnwindSafe(|| follow(&counts, &rung, pace, write)));
            if let Err(panic) = followed {
                panicked(panic_message(&*panic));
            }
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run)?;
        Ok(WriteBehind { standing, bell: Some(bell), thread: Some(thread) })
    }

    /// Something has changed.
    pub(crate) fn changed(&self) {
        self.standing.0.changes.fetch_add(1, Ordering::Release);
        if let Some(bell) = &self.bell {
            // If it rings already, that is enough.
            let _ = bell.try_send(());
        }
    }

    pub(crate) fn standing(&self) -> Standing {
        self.standing.clone()
    }
}

impl Drop for WriteBehind {
    fn drop(&mut self) {
        drop(self.bell.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn follow(standing: &Standing, rung: &Receiver<()>, pace: Duration, mut write: impl FnMut() -> bool) {
    let mut save = || {
        let changes = standing.0.changes.load(Ordering::Acquire);
        if !standing.is_saved() && write() {
            standing.0.written.store(changes, Ordering::Release);
        }
    };
    let mut open = true;
    while open {
        if standing.is_saved() {
            open = rung.recv().is_ok();
        }
        save();
        let next = Instant::now() + pace;
        while open {
            match rung.recv_deadline(next) {
                Ok(()) => {}
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => open = false,
            }
        }
    }
    save();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_changes_something_does_not_wait_and_changes_are_written_together() {
        let (begun, begins) = bounded(0);
        let (go_on, may_go_on) = bounded(0);
        let write = move || {
            begun.send(()).unwrap();
            may_go_on.recv().unwrap()
        };
        let pace = Duration::from_millis(1);
        let behind = WriteBehind::start("test", pace, || {}, write, |_| {}).unwrap();
        assert!(behind.standing().is_saved());
        behind.changed();
        begins.recv().unwrap();
        // The disk is busy, for as long as it likes.
        (0..100).for_each(|_| behind.changed());
        assert!(!behind.standing().is_saved());
        go_on.send(true).unwrap();
        begins.recv().unwrap();
        // That one fails, and is tried again.
        go_on.send(false).unwrap();
        begins.recv().unwrap();
        assert!(!behind.standing().is_saved());
        go_on.send(true).unwrap();
        let standing = behind.standing();
        while !standing.is_saved() {
            std::thread::yield_now();
        }
        assert!(begins.recv_timeout(pace * 20).is_err(), "nothing is written that has not changed");
    }

    #[test]
    fn a_fault_of_ours_is_told_and_what_is_not_written_is_not_called_saved() {
        let (tell, told) = bounded(1);
        let write = || panic!("a fault that nobody thought of");
        let panicked = move |why: &str| tell.send(why.to_owned()).unwrap();
        let behind = WriteBehind::start("test", Duration::from_millis(1), || {}, write, panicked).unwrap();
        behind.changed();
        assert_eq!(told.recv().unwrap(), "a fault that nobody thought of");
        assert!(!behind.standing().is_saved());
    }

    #[test]
    fn what_is_not_written_at_the_end_is_written_then_and_without_waiting_for_the_pace() {
        let (written, writes) = bounded(10);
        let write = move || written.send(()).is_ok();
        let behind = WriteBehind::start("test", Duration::from_secs(3600), || {}, write, |_| {}).unwrap();
        behind.changed();
        writes.recv().unwrap();
        behind.changed();
        drop(behind);
        assert_eq!(writes.len(), 1);
    }
}
